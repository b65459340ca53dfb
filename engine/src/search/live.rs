//! The projections of an open store, by experiment: the position of each, and which version of it is in `search.snap`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;

use super::table::Projection;
use crate::id::{ExperimentId, Lsn};

/// A projection, with the position it shows.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) projection: Projection,
    /// Position that the projection shows; `None`: it is not built.
    pub(crate) position: Option<Lsn>,
    /// Whether some rows are newer than `position`, because an update was interrupted.
    pub(crate) torn: bool,
    /// Position of the experiment's lifecycle that the rows show.
    pub(crate) lifecycle_lsn: Lsn,
    /// Generation of the index at `position`: compactions up to it took nothing from frames above.
    pub(crate) generation: u64,
    /// The experiment's list has every run that changed above this position.
    pub(crate) listed_above: Lsn,
    /// Number of rows changed since the projection was built.
    pub(crate) changes: u64,
    /// The version in `search.snap`, if there is one.
    pub(crate) saved: Option<SavedAt>,
}

/// State of a projection when it was saved to `search.snap`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SavedAt {
    /// [`Standing::changes`] at that time.
    pub(crate) changes: u64,
    /// Bytes placed in the log since the open, at that time.
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

    /// Whether changed runs must be read before it can answer at this position or later.
    pub(crate) fn is_behind(&self, position: Lsn) -> bool {
        self.position < Some(position) || self.torn
    }

    /// Frees its memory. Runs on the list stay known.
    pub(crate) fn forget(&mut self) {
        *self = Self::new(self.projection.experiment(), self.listed_above);
    }

    /// Number of rows that changed since the last save; `None`: never saved.
    pub(crate) fn changed_since_save(&self, listed: usize) -> Option<u64> {
        self.saved.map(|saved| self.changes - saved.changes.min(self.changes) + listed as u64)
    }
}

/// The projections of an open store, by experiment.
#[derive(Debug, Default)]
pub(crate) struct Projections {
    of: Mutex<FxHashMap<ExperimentId, Arc<RwLock<Standing>>>>,
    /// The position at the open: lists have every change above it.
    began: Mutex<Lsn>,
    /// Locked while a save runs; see [`super::saved`].
    pub(crate) saving: Mutex<Saving>,
    /// See [`Projections::bytes_max`].
    bytes_max: AtomicU64,
    /// See [`Projections::walked`].
    walked: AtomicU64,
    /// See [`Projections::count_once`].
    once: AtomicU64,
}

impl Projections {
    /// The memory that all projections together may take.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max.load(Ordering::Relaxed)
    }

    /// Sets the memory that all projections together may take.
    pub(crate) fn set_bytes_max(&self, bytes: u64) {
        self.bytes_max.store(bytes, Ordering::Relaxed);
    }

    /// Number of runs that searches looked at one by one since the open, instead of making columns.
    pub(crate) fn walked(&self) -> u64 {
        self.walked.load(Ordering::Relaxed)
    }

    pub(crate) fn add_walked(&self, runs: u64) {
        self.walked.fetch_add(runs, Ordering::Relaxed);
    }

    /// Counts a search by columns of its own; the number of those before.
    pub(crate) fn count_once(&self) -> u64 {
        self.once.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether an experiment has columns, of any position.
    pub(crate) fn is_built(&self, experiment: ExperimentId) -> bool {
        let standing = self.of.lock().get(&experiment).cloned();
        // One that is locked is being built or brought up to date.
        standing.is_some_and(|standing| standing.try_read().is_none_or(|standing| standing.position.is_some()))
    }

    /// Sets where the lists begin: after the replay of an open, before anything is appended.
    pub(crate) fn begin(&self, published: Lsn) {
        *self.began.lock() = published;
    }

    pub(crate) fn get(&self, experiment: ExperimentId) -> Arc<RwLock<Standing>> {
        let began = *self.began.lock();
        let make = || Arc::new(RwLock::new(Standing::new(experiment, began)));
        self.of.lock().entry(experiment).or_insert_with(make).clone()
    }

    /// All projections, by experiment.
    pub(crate) fn all(&self) -> Vec<(ExperimentId, Arc<RwLock<Standing>>)> {
        let mut all: Vec<_> = self.of.lock().iter().map(|(id, standing)| (*id, standing.clone())).collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }

    /// Forgets projections that no search uses right now, if all of them together take more than this. They are built
    /// again at the next search.
    pub(crate) fn bound(&self, bytes_max: u64) {
        let mut of = self.of.lock();
        let bytes: usize =
            of.values().filter_map(|standing| Some(standing.try_read()?.projection.memory_bytes())).sum();
        if bytes as u64 > bytes_max {
            // A projection that is being built or searched has a second owner.
            of.values_mut().filter_map(Arc::get_mut).for_each(|standing| standing.get_mut().forget());
        }
    }
}

/// What the saver remembers between saves.
#[derive(Debug, Default)]
pub(crate) struct Saving {
    pub(crate) next_ms: u64,
}
