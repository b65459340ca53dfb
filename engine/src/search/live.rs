//! Projections that stand in memory, by experiment: where each stands, and what of it is in `search.snap`.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;

use super::table::Projection;
use crate::id::{ExperimentId, Lsn};

/// A projection, and what it stands for.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) projection: Projection,
    /// It stands at this position; `None`: not made.
    pub(crate) position: Option<Lsn>,
    /// Some rows are newer than that: bringing it forward was cut.
    pub(crate) torn: bool,
    /// Position of the experiment's lifecycle that it shows.
    pub(crate) lifecycle_lsn: Lsn,
    /// Generation of the index at its position: compactions up to it took nothing from frames above.
    pub(crate) generation: u64,
    /// The experiment's list has every run that changed above this.
    pub(crate) listed_above: Lsn,
    /// Rows changed since it was made; only grows while it stands.
    pub(crate) changes: u64,
    /// Of what is in `search.snap`, if anything of it is.
    pub(crate) saved: Option<SavedAt>,
}

/// What a projection in `search.snap` has of the one that stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SavedAt {
    /// [`Standing::changes`] then.
    pub(crate) changes: u64,
    /// Bytes placed in the log by then, in this life.
    pub(crate) log_bytes: u64,
}

impl Standing {
    pub(crate) fn new(experiment: ExperimentId, listed_above: Lsn) -> Self {
        Self {
            projection: Projection::new(experiment),
            position: None,
            torn: false,
            lifecycle_lsn: Lsn::ZERO,
            generation: 0,
            listed_above,
            changes: 0,
            saved: None,
        }
    }

    /// Whether it must be read anew where it changed, to answer at this position or later.
    pub(crate) fn is_behind(&self, position: Lsn) -> bool {
        self.position < Some(position) || self.torn
    }

    /// Gives its memory back. What the list has stays known.
    pub(crate) fn forget(&mut self) {
        *self = Self::new(self.projection.experiment(), self.listed_above);
    }

    /// Rows that changed since the last save; `None`: never saved.
    pub(crate) fn changed_since_save(&self, listed: usize) -> Option<u64> {
        self.saved.map(|saved| self.changes - saved.changes.min(self.changes) + listed as u64)
    }
}

/// Projections by experiment.
#[derive(Debug, Default)]
pub(crate) struct Projections {
    of: Mutex<FxHashMap<ExperimentId, Arc<RwLock<Standing>>>>,
    /// Where this life began: lists have what changed above it.
    began: Mutex<Lsn>,
    /// One save at a time; see [`super::saved`].
    pub(crate) saving: Mutex<Saving>,
}

impl Projections {
    /// Says where the lists begin: after the replay of an open, before anything is appended.
    pub(crate) fn begin(&self, published: Lsn) {
        *self.began.lock() = published;
    }

    pub(crate) fn get(&self, experiment: ExperimentId) -> Arc<RwLock<Standing>> {
        let began = *self.began.lock();
        let make = || Arc::new(RwLock::new(Standing::new(experiment, began)));
        self.of.lock().entry(experiment).or_insert_with(make).clone()
    }

    /// All of them, by experiment.
    pub(crate) fn all(&self) -> Vec<(ExperimentId, Arc<RwLock<Standing>>)> {
        let mut all: Vec<_> = self.of.lock().iter().map(|(id, standing)| (*id, standing.clone())).collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }

    /// Forgets those that nobody searches right now, if all together take more than this: they are made again when
    /// they are asked for.
    pub(crate) fn bound(&self, bytes_max: u64) {
        let mut of = self.of.lock();
        let bytes: usize =
            of.values().filter_map(|standing| Some(standing.try_read()?.projection.memory_bytes())).sum();
        if bytes as u64 > bytes_max {
            // One that is being made or searched has a second owner.
            of.values_mut().filter_map(Arc::get_mut).for_each(|standing| standing.get_mut().forget());
        }
    }
}

/// What the saver remembers.
#[derive(Debug, Default)]
pub(crate) struct Saving {
    pub(crate) next_ms: u64,
}
