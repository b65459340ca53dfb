//! The files of a store as they are at one position, for a backup beside whoever writes it.
//!
//! Frozen are FORMAT, the log's segments, the series files that hold released points, and MANIFEST, in this order: what a
//! store cannot rebuild. Index, derived series files and `search.snap` are left out; the first open of a copy makes them.
//! Points that other processes still have in inboxes are not in the log yet, and so above the position.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::id::{Lsn, StoreId};
use crate::log::format_file::{FORMAT_PATH, FormatFile};
use crate::log::frozen::{self, FrozenFile};
use crate::storage::Storage;
use crate::storage::disk::Disk;

/// A store's files at a position, held open: they stay readable whatever the store does meanwhile.
///
/// ```
/// use runlode_engine::Frozen;
///
/// let dir = tempfile::tempdir()?;
/// let store = runlode_engine::Store::open(dir.path().join("store"))?;
/// let frozen = Frozen::of(dir.path().join("store"))?;
/// assert_eq!((frozen.store, frozen.position), (store.id(), store.positions().published));
/// assert_eq!(frozen.files.last().expect("MANIFEST").path, "MANIFEST");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Frozen {
    /// The store.
    pub store: StoreId,
    /// The last position that the files hold.
    pub position: Lsn,
    /// The files, MANIFEST last.
    pub files: Vec<FrozenFile>,
}

impl Frozen {
    /// Freezes the store in a folder, whichever process writes it. Writes nothing; everything up to the position is
    /// durable on return.
    ///
    /// # Errors
    /// `NotFound` if there is no store; `MissingFile`, `Corrupt` if something that cannot be rebuilt is missing or
    /// damaged (frames of sealed segments are not read); `Io`.
    pub fn of(dir: impl AsRef<Path>) -> Result<Self> {
        Self::of_storage(&(Arc::new(Disk::read_only(dir.as_ref())) as Arc<dyn Storage>))
    }

    /// As [`Frozen::of`], on any storage.
    ///
    /// # Errors
    /// As [`Frozen::of`].
    pub fn of_storage(storage: &Arc<dyn Storage>) -> Result<Self> {
        let Some(format) = FormatFile::read(&**storage)? else {
            let id = storage.display_path("").display().to_string();
            return Err(Error::NotFound { entity: crate::error::EntityKind::Store, id });
        };
        let mut log = frozen::freeze(storage, format.store)?;
        let mut files = vec![FrozenFile::open(&**storage, FORMAT_PATH, true)?];
        files.append(&mut log.files);
        Ok(Self { store: format.store, position: log.position, files })
    }
}

#[cfg(test)]
mod tests;
