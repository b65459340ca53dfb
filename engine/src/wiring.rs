//! What the background work and the readers of one open store share. Wiring of parts; decides nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;

use crate::error::{Error, Result};
use crate::id::{Lsn, SeriesId, StoreId};
use crate::inbox::Inboxes;
use crate::index::{ChunkRows, Index};
use crate::ingest::pipeline::Pipeline;
use crate::pins::Pins;
use crate::query::directories::Directories;
use crate::query::projections::Projections;
use crate::series::{SeriesCache, SeriesFile, SeriesFileInfo, ValueHint};
use crate::storage::Storage;

/// Part of the memory budget that redb's cache gets.
const INDEX_CACHE_PART: u64 = 8;

/// Bytes of the memory budget that redb's cache gets.
pub(crate) fn index_cache_bytes(memory_bytes: u64) -> u64 {
    memory_bytes / INDEX_CACHE_PART
}

/// Parts of one open store.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) store_id: StoreId,
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) index: Index,
    pub(crate) pins: Arc<Pins>,
    pub(crate) files: SeriesFiles,
    pub(crate) cache: SeriesCache,
    pub(crate) directories: Directories,
    pub(crate) projections: Projections,
    /// What other processes of this host log; one merge at a time. Taken before `upkeep`, never after.
    pub(crate) inboxes: Mutex<Inboxes>,
    /// One of checkpoint, seal and compaction at a time.
    pub(crate) upkeep: Mutex<Upkeep>,
    pub(crate) applied: AtomicU64,
    pub(crate) sealed: AtomicU64,
    pub(crate) memory_bytes: u64,
    /// Experiments of fewer runs are not saved to `search.snap`.
    pub(crate) search_snap_runs_min: usize,
    pub(crate) read_only: bool,
}

/// What upkeep remembers between its steps.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    /// What was found to pack a series well; bounded, forgotten as a whole.
    pub(crate) hints: FxHashMap<SeriesId, ValueHint>,
    /// Number of the next series file.
    pub(crate) next_file: u64,
    /// Events of unknown kinds that the last replay met above the applied position: (tag, count).
    pub(crate) unknown: Vec<(u16, u64)>,
    /// Generation of the last swap.
    pub(crate) generation: u64,
    /// Series files that compaction replaced, each with the mark of the first snapshot that does not know it: kept,
    /// and open, while an older snapshot may come to them.
    pub(crate) retired: Vec<(u64, u64)>,
    /// Series files whose seal failed: leftovers, unless its commit came through in spite of that.
    pub(crate) doubtful: Vec<u64>,
    /// How often in a row the index could not be opened again.
    pub(crate) reopens_failed: u32,
}

impl Core {
    pub(crate) fn applied(&self) -> Lsn {
        Lsn(self.applied.load(Ordering::Acquire))
    }

    pub(crate) fn sealed(&self) -> Lsn {
        Lsn(self.sealed.load(Ordering::Acquire))
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.read_only { Err(Error::ReadOnly) } else { Ok(()) }
    }
}

/// Open series files, by number.
#[derive(Debug)]
pub(crate) struct SeriesFiles {
    storage: Arc<dyn Storage>,
    store_id: StoreId,
    open: RwLock<FxHashMap<u64, Arc<SeriesFile>>>,
}

/// Where the series file of a number lies.
pub(crate) fn series_path(number: u64) -> String {
    format!("series/{number:08}.ser")
}

/// The directory of a file that was just written, as rows of the index.
pub(crate) fn chunk_rows(info: &SeriesFileInfo) -> ChunkRows<'_> {
    let mut entries = info.entries().zip(0u32..);
    Box::new(move |row| {
        let ((series, entry), chunk) = entries.next()?;
        entry.encode(row);
        Some((series, info.file_id, chunk))
    })
}

impl SeriesFiles {
    pub(crate) fn new(storage: Arc<dyn Storage>, store_id: StoreId) -> Self {
        Self { storage, store_id, open: RwLock::default() }
    }

    pub(crate) fn get(&self, number: u64) -> Result<Arc<SeriesFile>> {
        if let Some(file) = self.open.read().get(&number) {
            return Ok(file.clone());
        }
        let file = SeriesFile::open(&*self.storage, &series_path(number), self.store_id)?;
        Ok(self.open.write().entry(number).or_insert(file).clone())
    }

    pub(crate) fn forget(&self, number: u64) {
        self.open.write().remove(&number);
    }
}
