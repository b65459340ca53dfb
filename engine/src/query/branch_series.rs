//! The series from which a metric of a branch is put together.

use crate::id::{KeyId, RunId};

/// The series from which a metric of a branch is put together.
#[derive(Debug, Clone)]
pub(crate) struct BranchSeries {
    pub(super) run: RunId,
    /// The branch's own points, if it may have any.
    pub(super) own: Option<KeyId>,
    /// The series of the branches that it continues, the nearest first, each with its last step that counts.
    pub(super) continued: Vec<(KeyId, i64)>,
    /// The series that holds the recorded statistics of the continued part.
    pub(super) kept: Option<KeyId>,
}

impl BranchSeries {
    /// Each series, with its last step that counts.
    pub(super) fn parts(&self) -> impl Iterator<Item = (KeyId, i64)> + '_ {
        self.own.iter().map(|key| (*key, i64::MAX)).chain(self.continued.iter().copied())
    }
}
