//! Keys and events as bytes, for another process.

use crate::engine::event::payload::{self, Decoded};
use crate::{EntityKey, Error, Result, Snapshot};

/// A key in bytes of another process.
pub(super) fn key(bytes: &[u8]) -> Result<EntityKey> {
    let refused = || Error::invalid("key of an entity", "its bytes cannot be read; use one version of Runlode");
    EntityKey::from_bytes(bytes).ok_or_else(refused)
}

/// An event for another process: its position, who wrote it, its bytes.
pub(super) type EventBytes = (u64, Option<String>, Vec<u8>);

/// The events of an entity for another process.
pub(super) fn events(snapshot: &Snapshot, key: &EntityKey) -> Result<Vec<EventBytes>> {
    let bytes = |event: &Decoded| {
        let mut out = Vec::new();
        match event {
            Decoded::Known(event) => payload::encode(event, &mut out)?,
            Decoded::Unknown { tag, version, bytes } => {
                out.extend_from_slice(&tag.to_le_bytes());
                out.extend_from_slice(&version.to_le_bytes());
                out.extend_from_slice(bytes);
            }
        }
        Ok::<_, Error>(out)
    };
    snapshot.events(key)?.into_iter().map(|record| Ok((record.lsn.0, record.actor, bytes(&record.event)?))).collect()
}
