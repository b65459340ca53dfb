//! Reads that MLflow's API lacks: whole histories as columns, runs as a table, the past, the audit of changes, and the
//! log as it grows.
//!
//! ```text
//!   REST /api/runlode/v1     Python's own API
//!              \              /
//!               v            v
//!   Mlflow: one call, one answer, both plain values      this module
//! ```
//!
//! - Arguments and answers are owned and plain (texts, numbers, columns): they travel between processes as they are.
//! - Every answer that can age says the position that it was read at.
//! - Unlike MLflow's calls, these say `RESOURCE_DOES_NOT_EXIST` of a run that is not there instead of nothing.

mod audit;
mod curves;
mod histories;
mod past;
mod past_lists;
mod run_keys;
pub mod spare;
mod table;
mod table_columns;
mod table_rows;
mod tail;

pub use audit::{EntityChanges, EntityName};
pub use curves::{CurveHead, Curves, CurvesQuery};
pub use histories::{Buckets, HistoriesQuery, MetricHistories};
pub use past::{PastHistory, PastRegistry, PastRun};
pub use past_lists::{PastExperiments, PastLoggedModels};
pub use run_keys::RunKeys;
pub use table::{RunColumns, RunWindow, RunsQuery, WindowQuery};
pub use table_columns::{ColumnValues, RunColumn, TextColumn};
pub use tail::{Field, TailEvent, TailPage, TailPoints};

use super::error::{ApiError, ApiResult};
use super::{Mlflow, names};
use crate::{AsOf, ExperimentId, Lifecycle, Positions, Snapshot};

impl Mlflow {
    /// The id of the experiment with this name; created if there is none. However many callers race, all get the same
    /// id.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for a name that cannot be, or whose experiment is deleted.
    pub fn ensure_experiment(&self, name: &str) -> ApiResult<String> {
        names::experiment_name(name)?;
        Ok(self.store().get_or_create_experiment(name)?.to_string())
    }

    /// The last published, durable, applied and sealed positions.
    ///
    /// # Errors
    /// None of its own.
    pub fn positions(&self) -> ApiResult<Positions> {
        Ok(self.store().positions())
    }

    /// The position that belongs to a moment of the past, at most the newest.
    ///
    /// # Errors
    /// Those of reading the log.
    pub fn position_at(&self, at: AsOf) -> ApiResult<u64> {
        Ok(self.snapshot()?.as_of(at)?.position().0)
    }

    /// When the first change of the store was made, in Unix ms; `None` in an empty store.
    ///
    /// # Errors
    /// Those of reading the log.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let store = runlode::Store::open(dir.path().join("exp"))?;
    /// assert!(store.mlflow().first_ms()?.is_some(), "the experiment `Default`");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn first_ms(&self) -> ApiResult<Option<i64>> {
        Ok(self.snapshot()?.first_time()?.map(|time| time.0))
    }

    /// The experiments that callers name, by name or else by number; without any, all active ones.
    fn named_experiments(&self, snapshot: &Snapshot, named: Option<&[String]>) -> ApiResult<Vec<ExperimentId>> {
        let mut ids = Vec::new();
        match named {
            None => {
                let all = snapshot.experiments()?.into_iter();
                ids.extend(all.filter(|(_, state)| state.lifecycle == Lifecycle::Active).map(|(id, _)| id));
            }
            Some(named) => {
                for text in named {
                    ids.push(experiment_named(snapshot, text)?);
                }
            }
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }
}

fn experiment_named(snapshot: &Snapshot, text: &str) -> ApiResult<ExperimentId> {
    if let Some((id, _)) = snapshot.experiment_by_name(text)? {
        return Ok(id);
    }
    if let Ok(id) = text.parse::<u64>().map(ExperimentId)
        && snapshot.experiment(id)?.is_some()
    {
        return Ok(id);
    }
    Err(ApiError::absent(format!("There is no experiment of the name or id '{text}'")))
}

#[cfg(test)]
mod tests;
