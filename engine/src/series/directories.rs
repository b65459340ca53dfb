//! Chunk directories of series that were read recently, so that a query need not walk through the index.

use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::list::ChunkList;
use crate::id::{Lsn, SeriesId};

/// Maximum number of chunks kept: about 64 MiB.
const CHUNKS_MAX: usize = 300_000;
/// Approximate bytes of one chunk.
const CHUNK_BYTES: u64 = 224;
/// The part of the memory budget for them: one in this many bytes.
const MEMORY_PART: u64 = 8;

/// (sealed position, generation) at which a list was read; at another one the list may differ.
type Stamp = (Lsn, u64);

#[derive(Debug, Default)]
struct State {
    lists: FxHashMap<SeriesId, (Stamp, Arc<ChunkList>)>,
    chunks_count: usize,
}

/// A bounded cache, cleared as a whole when it is full.
#[derive(Debug)]
pub(crate) struct Directories {
    chunks_max: usize,
    state: Mutex<State>,
}

impl Directories {
    /// An empty cache that takes its part of a memory budget.
    pub(crate) fn new(memory_bytes: u64) -> Self {
        let chunks_max = usize::try_from(memory_bytes / MEMORY_PART / CHUNK_BYTES).unwrap_or(CHUNKS_MAX);
        Self { chunks_max: chunks_max.min(CHUNKS_MAX), state: Mutex::default() }
    }

    pub(crate) fn get(&self, series: SeriesId, stamp: Stamp) -> Option<Arc<ChunkList>> {
        let state = self.state.lock();
        state.lists.get(&series).filter(|(at, _)| *at == stamp).map(|(_, list)| list.clone())
    }

    pub(crate) fn put(&self, series: SeriesId, stamp: Stamp, list: Arc<ChunkList>) {
        let mut state = self.state.lock();
        if state.chunks_count > self.chunks_max {
            *state = State::default();
        }
        state.chunks_count += list.refs().len() + 1;
        if let Some((_, old)) = state.lists.insert(series, (stamp, list)) {
            state.chunks_count -= old.refs().len() + 1;
        }
    }

    pub(crate) fn clear(&self) {
        *self.state.lock() = State::default();
    }
}
