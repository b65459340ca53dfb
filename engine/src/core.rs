//! The parts of one open store that its readers and its background work share. Decides nothing.

mod chunk_rows;
mod files;
mod past;
mod times;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::error::{Error, Result};
use crate::id::{Lsn, SeriesId, StoreId};
use crate::index::Index;
use crate::ingest::pipeline::Pipeline;
use crate::missing::Missing;
use crate::pins::Pins;
use crate::search::live::Projections;
use crate::series::{Directories, SeriesCache, ValueHint};
use crate::storage::Storage;

pub(crate) use chunk_rows::{IndexedChunk, chunk_rows, chunks_of, for_each_chunk, rows_of};
pub(crate) use files::{SeriesFiles, file_row, series_number, series_path};
pub(crate) use past::{PastMemory, PastRun};
pub(crate) use times::{Times, first_time};

/// The part of the memory budget for redb's cache: one in this many bytes.
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
    /// Which positions times mean.
    pub(crate) times: Times,
    /// What was read of the last moment of the past.
    pub(crate) past: PastMemory,
    /// Locked by checkpoint and seal, and by the first and last steps of a compaction, so that one runs at a time.
    pub(crate) upkeep: Mutex<Upkeep>,
    pub(crate) keeping: Keeping,
    pub(crate) applied: AtomicU64,
    pub(crate) sealed: AtomicU64,
    pub(crate) memory_bytes: u64,
    /// Experiments with fewer runs are not saved to `search.snap`.
    pub(crate) search_snap_runs_min: usize,
    pub(crate) read_only: bool,
    /// Whether an open for reading uses the store's own index.
    pub(crate) from_index: bool,
    /// Parts of the store that were missing when it was opened for reading; set before the replay.
    pub(crate) missing: OnceLock<Vec<Missing>>,
}

/// The compaction that runs, if any. It rewrites files without the lock of `upkeep`.
#[derive(Debug, Default)]
pub(crate) struct Keeping {
    /// Locked by a compaction as a whole, before `upkeep`, and by a close.
    pub(crate) compacting: Mutex<()>,
    /// The store is being closed: a compaction ends at its next step.
    pub(crate) closes: AtomicBool,
    /// Bytes that it has read.
    pub(crate) done_bytes: AtomicU64,
    /// Bytes that it will read; 0 if none runs.
    pub(crate) total_bytes: AtomicU64,
}

/// State that upkeep keeps between its steps.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    /// The encodings that pack each series well; bounded, and cleared as a whole.
    pub(crate) hints: FxHashMap<SeriesId, ValueHint>,
    /// Number of the next series file.
    pub(crate) next_file: u64,
    /// Events of unknown kinds that the last replay found above the applied position: (tag, count).
    pub(crate) unknown: Vec<(u16, u64)>,
    /// Generation of the last swap.
    pub(crate) generation: u64,
    /// Series files that compaction replaced, each with the mark of the first snapshot that does not use it. A file is
    /// kept, and open, while an older snapshot may read it.
    pub(crate) retired: Vec<(u64, u64)>,
    /// Series files whose seal failed: leftovers, unless the commit succeeded all the same.
    pub(crate) doubtful: Vec<u64>,
    /// How many times in a row reopening the index failed.
    pub(crate) reopens_failed: u32,
    /// Number of runs whose purge came into the index since the open.
    pub(crate) purges: u64,
    /// As `purges`, when the last compaction began.
    pub(crate) purges_compacted: u64,
    /// How often the index was made anew since the open.
    pub(crate) rebuilds: u64,
}

impl Core {
    pub(crate) fn applied(&self) -> Lsn {
        Lsn(self.applied.load(Ordering::Acquire))
    }

    pub(crate) fn sealed(&self) -> Lsn {
        Lsn(self.sealed.load(Ordering::Acquire))
    }

    /// Parts of the store that were missing at this open.
    pub(crate) fn missing(&self) -> &[Missing] {
        self.missing.get().map_or(&[], Vec::as_slice)
    }

    pub(crate) fn check_complete(&self, up_to: Lsn) -> Result<()> {
        match self.missing().iter().find(|missing| missing.first <= up_to) {
            Some(missing) => Err(missing.to_error()),
            None => Ok(()),
        }
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.read_only { Err(Error::ReadOnly) } else { Ok(()) }
    }
}
