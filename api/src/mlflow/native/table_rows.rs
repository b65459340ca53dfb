//! What a table of runs reads: the store now, or as it was.

use std::sync::Arc;

use crate::{Lifecycle, PastView, Result, RunId, RunState, Snapshot, Stats};

/// A reader of runs: the store now, or as it was.
pub(super) trait Rows {
    fn run(&self, id: RunId) -> Result<Option<(Arc<RunState>, Option<Lifecycle>)>>;
    fn stats(&self, id: RunId, key: &str) -> Result<Option<Stats>>;
    fn count(&self, id: RunId, key: &str) -> Result<u64>;
    fn latest(&self, id: RunId) -> Result<Vec<(Arc<str>, Stats)>>;
}

impl Rows for Snapshot {
    fn run(&self, id: RunId) -> Result<Option<(Arc<RunState>, Option<Lifecycle>)>> {
        Ok(Self::run(self, id)?.map(|state| (state, None)))
    }

    fn stats(&self, id: RunId, key: &str) -> Result<Option<Stats>> {
        Self::stats(self, id, key)
    }

    fn count(&self, id: RunId, key: &str) -> Result<u64> {
        self.count_exact(id, key)
    }

    fn latest(&self, id: RunId) -> Result<Vec<(Arc<str>, Stats)>> {
        Self::latest(self, id)
    }
}

impl Rows for PastView<'_> {
    fn run(&self, id: RunId) -> Result<Option<(Arc<RunState>, Option<Lifecycle>)>> {
        Ok(PastView::run(self, id)?.map(|(state, lifecycle)| (Arc::new(state), Some(lifecycle))))
    }

    fn stats(&self, id: RunId, key: &str) -> Result<Option<Stats>> {
        PastView::stats(self, id, key)
    }

    fn count(&self, id: RunId, key: &str) -> Result<u64> {
        Ok(PastView::stats(self, id, key)?.map_or(0, |stats| stats.count_raw))
    }

    fn latest(&self, id: RunId) -> Result<Vec<(Arc<str>, Stats)>> {
        PastView::latest(self, id)
    }
}
