//! A copy of a store as it was at a moment: writes its files, and opens it once to make its index.

use std::path::Path;
use std::sync::Arc;

use crate::compaction::export::ReplayIntoReport;
use crate::error::{Error, Result};
use crate::id::StoreId;
use crate::open::new_store_id;
use crate::options::Options;
use crate::query::past::AsOf;
use crate::storage::Storage;
use crate::storage::disk::Disk;
use crate::store::Store;

impl Store {
    /// Writes the store as it was at a moment into a new folder: a store with the same ids, times and positions, in
    /// which search answers as this one did then. Runs that were purged since are purged there too.
    ///
    /// # Errors
    /// `Invalid` if the folder is not empty; `Corrupt`, `MissingFile` if this store is damaged; `Io`, `StorageFull`.
    pub fn replay_into(&self, dir: impl AsRef<Path>, until: Option<AsOf>) -> Result<ReplayIntoReport> {
        let dir = dir.as_ref();
        std::fs::create_dir_all(dir).map_err(|error| Error::io("create", dir, error))?;
        let storage: Arc<dyn Storage> = Arc::new(Disk::new(dir));
        let entries = storage.list("").map_err(|error| Error::io("list", dir, error))?;
        if !entries.is_empty() {
            let why = "it is not empty; give a new folder, or remove what an earlier replay left there";
            return Err(Error::invalid(format!("folder {}", dir.display()), why));
        }
        let options = Options::new(dir).clock(self.core().pipeline.clock.clone()).background(false);
        self.replay_to(&storage, new_store_id(None)?, options, until)
    }

    /// As [`Store::replay_into`], on any storage, with an id for the copy and options for opening it once.
    ///
    /// # Errors
    /// As [`Store::replay_into`].
    pub fn replay_to(
        &self,
        storage: &Arc<dyn Storage>,
        store_id: StoreId,
        options: Options,
        until: Option<AsOf>,
    ) -> Result<ReplayIntoReport> {
        let mut report = self.core().export(storage, store_id, until)?;
        let copy = options.storage(storage.clone()).open()?;
        let replayed = &copy.open_notes().replay;
        report.events_count = replayed.events_count;
        report.unknown.clone_from(&replayed.unknown);
        copy.close()?;
        Ok(report)
    }
}
