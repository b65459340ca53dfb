//! Chunk directories of series that were read lately, so that a query costs no walk through the index.

use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::points::ChunkList;
use crate::id::{Lsn, SeriesId};

/// Chunks kept, at most: about 64 MiB.
const CHUNKS_MAX: usize = 300_000;

/// (sealed position, generation) that a list was read at; another one may list other chunks.
type Stamp = (Lsn, u64);

#[derive(Debug, Default)]
struct State {
    lists: FxHashMap<SeriesId, (Stamp, Arc<ChunkList>)>,
    chunks_count: usize,
}

/// A bounded cache; forgotten as a whole when it is full.
#[derive(Debug, Default)]
pub(crate) struct Directories {
    state: Mutex<State>,
}

impl Directories {
    pub(crate) fn get(&self, series: SeriesId, stamp: Stamp) -> Option<Arc<ChunkList>> {
        let state = self.state.lock();
        state.lists.get(&series).filter(|(at, _)| *at == stamp).map(|(_, list)| list.clone())
    }

    pub(crate) fn put(&self, series: SeriesId, stamp: Stamp, list: Arc<ChunkList>) {
        let mut state = self.state.lock();
        if state.chunks_count > CHUNKS_MAX {
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
