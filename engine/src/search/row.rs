//! What search reads of a run, and what it asks the store for.

use crate::entity::{Lifecycle, RunState};
use crate::error::Result;
use crate::event::RunStatus;
use crate::id::{ExperimentId, KeyId, RunId};
use crate::point::Stats;

/// Tag of a data set input that filters read as `dataset.context`.
pub(crate) const DATASET_CONTEXT_TAG: &str = "mlflow.data.context";

/// One run as search sees it.
#[derive(Debug, Clone, Copy)]
pub struct RunRow<'a> {
    /// Its id.
    pub run: RunId,
    /// Its state.
    pub state: &'a RunState,
    /// The effective lifecycle ([`RunState::lifecycle_in`]).
    pub lifecycle: Lifecycle,
    /// Stats of all its series, in any order, a key once.
    pub stats: &'a [(KeyId, Stats)],
}

/// What search asks the store for: names of keys, and what columns do not hold.
///
/// All answers must be of the position that the projection (or the rows) stand at.
pub trait Source {
    /// The number of a metric key; `None` if no point was ever logged under it.
    fn metric_key(&self, name: &str) -> Result<Option<KeyId>>;

    /// Stats of a series, to build the column of an aggregate on its first use; `None` if it has no points.
    fn stats(&self, run: RunId, key: KeyId) -> Result<Option<Stats>>;

    /// The artifact place of a run; `explicit` is [`RunState::artifact_location`].
    fn artifact_uri(&self, experiment: ExperimentId, run: RunId, explicit: Option<&str>) -> String;
}

/// A status as filters and orders read it.
pub(crate) fn status_text(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Running => "RUNNING",
        RunStatus::Scheduled => "SCHEDULED",
        RunStatus::Finished => "FINISHED",
        RunStatus::Failed => "FAILED",
        RunStatus::Killed => "KILLED",
    }
}

/// A lifecycle as filters read it.
pub fn lifecycle_text(lifecycle: Lifecycle) -> &'static str {
    match lifecycle {
        Lifecycle::Active => "active",
        Lifecycle::Deleted => "deleted",
        Lifecycle::Purged => "purged",
    }
}

/// A time as search compares it: `i64::MIN` is kept for "none", so that time counts as the one after it.
pub(crate) fn time_key(time_ms: i64) -> i64 {
    time_ms.max(i64::MIN + 1)
}

/// A param or tag as a number: what `str::parse::<f64>` takes (also `inf` and `nan`), nothing else.
pub(crate) fn number_of_text(text: &str) -> Option<f64> {
    // Most texts are no numbers; a look at the first byte spares the parser.
    let first = *text.as_bytes().first()?;
    if first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.' | b'i' | b'I' | b'n' | b'N') {
        text.parse().ok()
    } else {
        None
    }
}
