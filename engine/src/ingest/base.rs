//! The newest state of entities: hot versions first, then the index as of the last checkpoint.
//!
//! Reading in this order misses no entity: the shared index read is refreshed before hot versions are pruned.

use std::cell::RefCell;
use std::sync::Arc;

use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use crate::entity::{EntityKey, EntityState, States};
use crate::error::{Error, Result};
use crate::hot::entities::HotEntities;
use crate::id::{KeyId, Lsn, RunId, SeriesId};
use crate::index::IndexRead;
use crate::point::Stats;

/// Reads the newest state of entities and series.
#[derive(Debug)]
pub(crate) struct Newest {
    pub(crate) hot: Arc<HotEntities>,
    index: RwLock<Arc<IndexRead>>,
}

impl Newest {
    pub(crate) fn new(hot: Arc<HotEntities>, index: IndexRead) -> Self {
        Self { hot, index: RwLock::new(Arc::new(index)) }
    }

    /// The index as of the last checkpoint.
    pub(crate) fn index(&self) -> Arc<IndexRead> {
        self.index.read().clone()
    }

    /// Reads from this index from now on: a checkpoint was committed.
    pub(crate) fn refresh(&self, index: IndexRead) {
        *self.index.write() = Arc::new(index);
    }

    /// The newest state of an entity; `None` if it does not exist.
    pub(crate) fn get(&self, key: &EntityKey) -> Result<Option<Arc<EntityState>>> {
        if let Some(state) = self.hot.newest(key) {
            return Ok(Some(state));
        }
        // The lock is held only to clone; the read itself is of an immutable snapshot.
        self.index().entity(key)
    }

    /// Stats of series of a run as of the last checkpoint.
    pub(crate) fn stats_of(&self, run: RunId, keys: &[KeyId]) -> Result<Vec<Option<Stats>>> {
        let index = self.index();
        // Most runs with many keys that are not in memory are new.
        if keys.len() > 1 && !index.has_stats_of(run)? {
            return Ok(vec![None; keys.len()]);
        }
        keys.iter().map(|&key| index.stats(SeriesId { run, key })).collect()
    }
}

/// The entities that a batch is validated against, each as it was first read.
#[derive(Debug)]
pub(crate) struct Reads<'a> {
    newest: &'a Newest,
    seen: RefCell<FxHashMap<EntityKey, Option<Arc<EntityState>>>>,
}

impl<'a> Reads<'a> {
    pub(crate) fn new(newest: &'a Newest) -> Self {
        Self { newest, seen: RefCell::default() }
    }

    pub(crate) fn into_seen(self) -> Seen {
        Seen(self.seen.into_inner())
    }
}

impl States for Reads<'_> {
    fn get(&self, key: &EntityKey) -> Result<Option<Arc<EntityState>>> {
        if let Some(state) = self.seen.borrow().get(key) {
            return Ok(state.clone());
        }
        let state = self.newest.get(key)?;
        self.seen.borrow_mut().insert(key.clone(), state.clone());
        Ok(state)
    }
}

/// The entities that a batch was validated against. If none has changed since, the batch is applied to these states.
#[derive(Debug, Default)]
pub(crate) struct Seen(FxHashMap<EntityKey, Option<Arc<EntityState>>>);

impl Seen {
    /// Whether every entity is still in its newest state. `pruned`: hot versions at most this were dropped. `read_at`:
    /// the position that was published when the reads began.
    pub(crate) fn still_holds(&self, hot: &HotEntities, pruned: Lsn, read_at: Lsn) -> bool {
        self.0.iter().all(|(key, state)| match hot.newest_lsn(key) {
            Some(newest) => state.as_ref().is_some_and(|state| state.last() == newest),
            // Not hot: it has not changed above `pruned`, so the state read at `read_at` or later is the newest.
            None => pruned <= read_at,
        })
    }

    /// Keys of the entities, to find conflicts within a group of batches.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &EntityKey> {
        self.0.keys()
    }
}

impl States for Seen {
    fn get(&self, key: &EntityKey) -> Result<Option<Arc<EntityState>>> {
        self.0
            .get(key)
            .cloned()
            .ok_or_else(|| Error::Internal(format!("{key:?} was read under the sequencer but not before")))
    }
}
