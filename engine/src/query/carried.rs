//! Entities as bytes, from the process that holds a store to another one: keys and states as the index has them.

use std::sync::Arc;

use super::snapshot::Snapshot;
use crate::entity::{EntityKey, EntityState};
use crate::error::{Error, Result};
use crate::index::{keys, rows};

impl EntityKey {
    /// The key as bytes, in the order of keys.
    pub fn to_bytes(&self) -> Vec<u8> {
        keys::entity(self)
    }

    /// The inverse of [`EntityKey::to_bytes`]; `None` for other bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        keys::read_entity(bytes)
    }
}

impl Snapshot {
    /// The state of an entity as bytes, for [`EntityState::from_bytes`]; `None` if it does not exist.
    ///
    /// # Errors
    /// Those of [`Snapshot::entity`].
    pub fn entity_bytes(&self, key: &EntityKey) -> Result<Option<Vec<u8>>> {
        let Some(state) = self.entity(key)? else { return Ok(None) };
        let mut out = Vec::new();
        rows::put_entity(&state, &mut out)?;
        Ok(Some(out))
    }
}

impl EntityState {
    /// The state in bytes of [`Snapshot::entity_bytes`].
    ///
    /// # Errors
    /// `Invalid` for bytes of another kind of entity, or of another version.
    pub fn from_bytes(key: &EntityKey, bytes: &[u8]) -> Result<Arc<Self>> {
        rows::read_entity(key, bytes)
            .map_err(|_| Error::invalid("state of an entity", "its bytes cannot be read; use one version of Runlode"))
    }
}
