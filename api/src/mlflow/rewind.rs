//! Rewinding a run to a step, and reading the dead branches that this leaves.
//!
//! MLflow has no such calls; its own see only the live branch. The results are plain numbers and columns that can be
//! sent to another process.

use super::{ApiError, ApiResult, MetricColumns, Mlflow};
use crate::engine::HistoryQuery;
use crate::{Error, Lifecycle};

/// The result of a rewind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewound {
    /// Number of points that the run no longer shows.
    pub points_hidden: u64,
    /// Number of the branch that is live now.
    pub branch: u32,
    /// Position of the rewind.
    pub position: u64,
}

impl From<crate::engine::Rewound> for Rewound {
    fn from(done: crate::engine::Rewound) -> Self {
        Self { points_hidden: done.points_hidden, branch: done.branch, position: done.lsn.0 }
    }
}

/// A branch of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunBranch {
    /// Number of the branch, from 0.
    pub branch: u32,
    /// The branch that it continues; `None` for the first one.
    pub from: Option<u32>,
    /// The last step taken from that branch.
    pub from_step: Option<i64>,
    /// Time of the rewind that began it, Unix ms; `None` for the first one.
    pub began_ms: Option<i64>,
    /// Time of the rewind that ended it, Unix ms; `None` for the live one.
    pub ended_ms: Option<i64>,
    /// Position of the rewind that ended it.
    pub ended_position: Option<u64>,
    /// Its metrics, by key.
    pub metrics: Vec<BranchMetric>,
}

/// A metric as a branch shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct BranchMetric {
    /// Key.
    pub key: String,
    /// Number of points.
    pub points: u64,
    /// Step of the latest point.
    pub last_step: i64,
    /// Value of the latest point.
    pub last_value: f64,
}

impl Mlflow {
    /// Rewinds a run: points with a step above `to_step` are hidden, and points logged next continue the remaining
    /// ones.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for a deleted run, `RESOURCE_DOES_NOT_EXIST`.
    pub fn rewind_run(&self, id: &str, to_step: i64) -> ApiResult<Rewound> {
        let run = self.run_id(id)?;
        self.active_run(&self.snapshot()?, run)?;
        Ok(self.store().rewind_run(run, to_step)?.into())
    }

    /// The branches of a run, the live one last. A run that was never rewound has one.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`.
    pub fn run_branches(&self, id: &str) -> ApiResult<Vec<RunBranch>> {
        let run = self.run_id(id)?;
        let snapshot = self.snapshot()?;
        self.run_state(&snapshot, run)?;
        let mut out = Vec::new();
        for branch in snapshot.branches(run)? {
            let metrics = snapshot.branch_latest(run, branch.number)?.into_iter().map(|(key, stats)| BranchMetric {
                key: (*key).to_owned(),
                points: stats.count_raw,
                last_step: stats.last_step,
                last_value: stats.last_value,
            });
            out.push(RunBranch {
                branch: branch.number,
                from: branch.from.map(|(from, _)| from),
                from_step: branch.from.map(|(_, step)| step),
                began_ms: branch.began.map(|(_, ms)| ms),
                ended_ms: branch.ended.map(|(_, ms, _)| ms),
                ended_position: branch.ended.map(|(lsn, ..)| lsn.0),
                metrics: metrics.collect(),
            });
        }
        Ok(out)
    }

    /// A metric of a branch in history order, including the points of the branches that it continues. Empty if the
    /// branch does not have the metric.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST` for the run, or for the branch.
    pub fn branch_history(&self, id: &str, branch: u32, key: &str) -> ApiResult<MetricColumns> {
        let run = self.run_id(id)?;
        let snapshot = self.snapshot()?;
        if self.run_state(&snapshot, run)?.lifecycle == Lifecycle::Purged {
            return Err(super::run_absent(id));
        }
        match snapshot.branch_history(run, branch, key, &HistoryQuery::default()) {
            Ok(page) => Ok(MetricColumns {
                steps: page.columns.steps,
                timestamps: page.columns.times,
                values: page.columns.values,
            }),
            Err(Error::NotFound { .. }) => Err(ApiError::absent(format!("Run with id={id} has no branch {branch}"))),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LocalStore;
    use crate::mlflow::{ErrorCode, NewLoggedModel, NewMetric, NewRun, Settings};

    fn mlflow() -> (tempfile::TempDir, Mlflow, String) {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::options(dir.path().join("exp")).background(false).open().unwrap();
        let mlflow = Mlflow::new(store.clone(), Settings::in_process(&store));
        let run = mlflow.create_run(&NewRun::default()).unwrap().info.run_id;
        (dir, mlflow, run)
    }

    #[test]
    fn a_resumed_run_is_one_clean_curve_and_the_dead_branch_stays_readable() {
        let (_dir, mlflow, run) = mlflow();
        let log = |step: i64, value: f64| {
            let metric = NewMetric { key: "loss", value, timestamp: 1_000 + step, step, ..NewMetric::default() };
            mlflow.log_metric(&run, &metric).unwrap();
        };
        (0..10).for_each(|step| log(step, 1.0));
        let done = mlflow.rewind_run(&run, 6).unwrap();
        assert_eq!((done.points_hidden, done.branch), (3, 1));
        assert_eq!(mlflow.run(&run).unwrap().metrics[0].step, 6);
        (7..9).for_each(|step| log(step, 2.0));

        let history = mlflow.branch_history(&run, 1, "loss").unwrap();
        assert_eq!(history.steps, (0..9).collect::<Vec<i64>>());
        assert_eq!(history.values, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0]);
        assert_eq!(mlflow.branch_history(&run, 0, "loss").unwrap().values, [1.0; 10]);
        assert_eq!(mlflow.branch_history(&run, 0, "acc").unwrap().steps.len(), 0);
        let absent = mlflow.branch_history(&run, 2, "loss").unwrap_err();
        assert_eq!(absent.code, ErrorCode::ResourceDoesNotExist);

        let branches = mlflow.run_branches(&run).unwrap();
        let shape: Vec<_> = branches.iter().map(|b| (b.branch, b.from, b.from_step, b.ended_ms.is_some())).collect();
        assert_eq!(shape, [(0, None, None, true), (1, Some(0), Some(6), false)]);
        assert_eq!(branches[0].ended_position, Some(done.position));
        let metrics: Vec<_> = branches.iter().map(|b| (b.metrics[0].points, b.metrics[0].last_step)).collect();
        assert_eq!(metrics, [(10, 9), (9, 8)]);

        mlflow.delete_run(&run).unwrap();
        assert!(mlflow.rewind_run(&run, 1).is_err());
    }

    #[test]
    fn metrics_of_a_logged_model_follow_the_run() {
        let (_dir, mlflow, run) = mlflow();
        let model = mlflow.create_logged_model(&NewLoggedModel { experiment_id: "0", ..Default::default() }).unwrap();
        let log = |step: i64, value: f64| {
            let metric = NewMetric {
                key: "acc",
                value,
                timestamp: 1_000 + step,
                step,
                model_id: Some(&model.model_id),
                ..NewMetric::default()
            };
            mlflow.log_metric(&run, &metric).unwrap();
        };
        let shown = || {
            let metrics = mlflow.logged_model(&model.model_id, false).unwrap().metrics;
            metrics.iter().map(|metric| (metric.step, metric.value)).collect::<Vec<_>>()
        };
        (0..5).for_each(|step| log(step, step as f64));
        assert_eq!(shown().len(), 5);
        mlflow.rewind_run(&run, 2).unwrap();
        assert_eq!(shown(), [(0, 0.0), (1, 1.0), (2, 2.0)]);
        log(3, 30.0);
        assert_eq!(shown(), [(0, 0.0), (1, 1.0), (2, 2.0), (3, 30.0)]);
        mlflow.rewind_run(&run, -1).unwrap();
        assert_eq!(shown(), []);
    }
}
