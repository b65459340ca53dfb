//! The series from which a metric of a branch is put together.

use crate::id::{KeyId, Lsn, RunId};

/// A part of a metric of a branch: a series, up to a step and a position.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    /// The run, or one that it was forked from.
    pub(super) run: RunId,
    pub(super) key: KeyId,
    /// Points with a greater step do not count.
    pub(super) step_last: i64,
    /// Points above this position do not count.
    pub(super) up_to: Lsn,
}

impl Part {
    /// All of a series.
    pub(super) fn whole(run: RunId, key: KeyId) -> Self {
        Self { run, key, step_last: i64::MAX, up_to: Lsn::MAX }
    }
}

/// The series from which a metric of a branch is put together.
#[derive(Debug, Clone)]
pub(crate) struct BranchSeries {
    pub(super) run: RunId,
    /// The branch's own points, if it may have any.
    pub(super) own: Option<KeyId>,
    /// The series of the branches that it continues, the nearest first.
    pub(super) continued: Vec<Part>,
    /// The series that holds the recorded statistics of the continued part.
    pub(super) kept: Option<KeyId>,
}

impl BranchSeries {
    /// Each series, with what counts of it.
    pub(super) fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        self.own.iter().map(|key| Part::whole(self.run, *key)).chain(self.continued.iter().copied())
    }
}
