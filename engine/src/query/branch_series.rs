//! Which series a metric of a branch is put together from.

use crate::id::{KeyId, RunId};

/// The series that a metric of a branch is put together from.
#[derive(Debug, Clone)]
pub(crate) struct BranchSeries {
    pub(super) run: RunId,
    /// Its own points, if it may have some.
    pub(super) own: Option<KeyId>,
    /// Those of the branches that it continues, the nearest first, with the last step that counts.
    pub(super) continued: Vec<(KeyId, i64)>,
    /// The series of the statistics of what it continues.
    pub(super) kept: Option<KeyId>,
}

impl BranchSeries {
    /// Each series that it is put together from, with the last step that counts.
    pub(super) fn parts(&self) -> impl Iterator<Item = (KeyId, i64)> + '_ {
        self.own.iter().map(|key| (*key, i64::MAX)).chain(self.continued.iter().copied())
    }
}
