//! The data of a run that search reads, and the lookups that it needs from the store.

use crate::entity::{Lifecycle, RunState};
use crate::error::Result;
use crate::event::RunStatus;
use crate::id::{ExperimentId, KeyId, RunId};
use crate::point::Stats;

/// Tag of a data set input that filters read as `dataset.context`.
pub(crate) const DATASET_CONTEXT_TAG: &str = "mlflow.data.context";

/// One run, as search reads it.
#[derive(Debug, Clone, Copy)]
pub struct RunRow<'a> {
    /// Id of the run.
    pub run: RunId,
    /// State of the run.
    pub state: &'a RunState,
    /// The effective lifecycle ([`RunState::lifecycle_in`]).
    pub lifecycle: Lifecycle,
    /// Stats of all its series, in any order, each key once.
    pub stats: &'a [(KeyId, Stats)],
}

/// Lookups that search needs from the store: names of keys, and data that columns do not hold.
///
/// All answers must be of the same position as the projection (or the rows).
pub trait Source {
    /// The number of a metric key; `None` if no point was ever logged under it.
    fn metric_key(&self, name: &str) -> Result<Option<KeyId>>;

    /// Stats of a series, to build the column of an aggregate on its first use; `None` if it has no points.
    fn stats(&self, run: RunId, key: KeyId) -> Result<Option<Stats>>;

    /// The artifact location of a run; `explicit` is [`RunState::artifact_location`].
    fn artifact_uri(&self, experiment: ExperimentId, run: RunId, explicit: Option<&str>) -> String;
}

/// A status in the form that filters and orders read.
pub(crate) fn status_text(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Running => "RUNNING",
        RunStatus::Scheduled => "SCHEDULED",
        RunStatus::Finished => "FINISHED",
        RunStatus::Failed => "FAILED",
        RunStatus::Killed => "KILLED",
    }
}

/// A lifecycle in the form that filters read.
pub fn lifecycle_text(lifecycle: Lifecycle) -> &'static str {
    match lifecycle {
        Lifecycle::Active => "active",
        Lifecycle::Deleted => "deleted",
        Lifecycle::Purged => "purged",
    }
}

/// A time as search compares it. `i64::MIN` means "none", so that time is moved to the one after it.
pub(crate) fn time_key(time_ms: i64) -> i64 {
    time_ms.max(i64::MIN + 1)
}

/// A param or tag as a number: anything `str::parse::<f64>` accepts (also `inf` and `nan`), nothing else.
pub(crate) fn number_of_text(text: &str) -> Option<f64> {
    // Most texts are not numbers: checking the first byte saves the parser's work.
    let first = *text.as_bytes().first()?;
    if first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.' | b'i' | b'I' | b'n' | b'N') {
        text.parse().ok()
    } else {
        None
    }
}
