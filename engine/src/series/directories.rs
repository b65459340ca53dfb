//! Chunk directories of series that were read lately, so that a query costs no walk through the index.

use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::list::ChunkList;
use crate::id::{Lsn, SeriesId};

/// Chunks kept, at most: about 64 MiB.
const CHUNKS_MAX: usize = 300_000;
/// What one takes, about.
const CHUNK_BYTES: u64 = 224;
/// Part of the memory budget that they get.
const MEMORY_PART: u64 = 8;

/// (sealed position, generation) that a list was read at; another one may list other chunks.
type Stamp = (Lsn, u64);

#[derive(Debug, Default)]
struct State {
    lists: FxHashMap<SeriesId, (Stamp, Arc<ChunkList>)>,
    chunks_count: usize,
}

/// A bounded cache; forgotten as a whole when it is full.
#[derive(Debug)]
pub(crate) struct Directories {
    chunks_max: usize,
    state: Mutex<State>,
}

impl Directories {
    /// Which take their part of a memory budget.
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
