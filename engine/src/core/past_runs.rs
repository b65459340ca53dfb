//! The runs of the last position whose past was searched, so that the next search there reads nothing again.
//!
//! What was true at a position stays true, so nothing here grows old; only runs that are purged later must be left out by
//! the reader. One position is kept: about 1 KiB a run and its tags and params, and 100 bytes for each metric of a run that
//! a search named. A search at another position replaces it.

use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::entity::{Lifecycle, RunState};
use crate::error::Result;
use crate::id::{ExperimentId, KeyId, Lsn, RunId};
use crate::point::Stats;

/// A run as it was, with its effective lifecycle.
#[derive(Debug)]
pub(crate) struct PastRun {
    pub(crate) id: RunId,
    pub(crate) state: RunState,
    pub(crate) lifecycle: Lifecycle,
}

type Runs = Arc<Vec<PastRun>>;

/// The runs at one position, as far as they were asked for.
#[derive(Debug, Default)]
pub(crate) struct RunsThen {
    position: Lsn,
    experiments: Mutex<FxHashMap<ExperimentId, Runs>>,
    stats: Mutex<FxHashMap<(RunId, KeyId), Option<Stats>>>,
}

/// The runs at the position that was searched last.
#[derive(Debug, Default)]
pub(crate) struct PastRuns {
    last: Mutex<Arc<RunsThen>>,
}

impl PastRuns {
    /// The runs at a position; what was kept of another one goes.
    pub(crate) fn at(&self, position: Lsn) -> Arc<RunsThen> {
        let mut last = self.last.lock();
        if last.position != position {
            *last = Arc::new(RunsThen { position, ..RunsThen::default() });
        }
        last.clone()
    }
}

impl RunsThen {
    /// The runs of an experiment, which `read` reads the first time.
    pub(crate) fn of(&self, experiment: ExperimentId, read: impl FnOnce() -> Result<Vec<PastRun>>) -> Result<Runs> {
        if let Some(runs) = self.experiments.lock().get(&experiment) {
            return Ok(runs.clone());
        }
        let runs = Arc::new(read()?);
        self.experiments.lock().insert(experiment, runs.clone());
        Ok(runs)
    }

    /// The statistics of a metric of a run, which `read` reads the first time.
    pub(crate) fn stats(
        &self,
        series: (RunId, KeyId),
        read: impl FnOnce() -> Result<Option<Stats>>,
    ) -> Result<Option<Stats>> {
        if let Some(stats) = self.stats.lock().get(&series) {
            return Ok(*stats);
        }
        let stats = read()?;
        self.stats.lock().insert(series, stats);
        Ok(stats)
    }
}
