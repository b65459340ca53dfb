//! Whether the process of a run is still there, as lists show it.

use std::convert::Infallible;
use std::sync::Arc;

use runlode::engine::search::{SearchQuery, View};
use runlode::mlflow::{Liveness, Watch};
use runlode::{ExperimentId, RunId, RunState, Snapshot, Stats, filter};

use crate::error::Result;

/// The first runs with status RUNNING, of all experiments.
///
/// # Errors
/// Those of the search.
pub(crate) fn running(snapshot: &Snapshot, runs_max: usize) -> Result<Vec<RunId>> {
    let query = SearchQuery {
        experiments: snapshot.experiments()?.into_iter().map(|(id, _)| id).collect(),
        filter: Some(filter::parse("attributes.status = 'RUNNING'")?),
        view: View::ActiveOnly,
        limit: runs_max,
        ..SearchQuery::new(ExperimentId(0))
    };
    Ok(snapshot.search(&query)?.runs)
}

/// Whether a process still logs to a run.
pub(crate) fn look(watch: &Watch, state: &RunState, metrics: &[(Arc<str>, Stats)]) -> Liveness {
    let last_point_ms = || Ok::<_, Infallible>(metrics.iter().map(|(_, stats)| stats.time_max_ms).max());
    let Ok(liveness) = watch.look(state, last_point_ms);
    liveness
}

/// The status to print: a RUNNING run without a live process is `lost` or `silent`.
pub(crate) fn status(state: &RunState, liveness: Option<&Liveness>) -> String {
    match liveness {
        Some(Liveness::Lost { .. }) => "lost".to_owned(),
        Some(Liveness::Silent { .. }) => "silent".to_owned(),
        _ => <&str>::from(state.status).to_owned(),
    }
}
