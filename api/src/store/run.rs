//! Runs: one training each, with its metrics, params, tags and artifacts.

use super::{History, Row, owned, place};
use crate::engine::KeyedPoint;
use crate::info::{MetricInfo, RunInfo};
use crate::key;
use crate::mlflow::{Liveness, Rewound};
use crate::run::RunChange;
use crate::shared::{Asks, Logger, Shared};
use crate::{DatasetInput, Durability, Ended, KeyId, ModelId, Point, Result, RunId, RunSpec, RunStatus, TimestampMs};

/// A run of a store. Cloning is cheap; clones may log from many threads.
///
/// ```
/// use runlode::{RunSpec, RunStatus, Store};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = Store::open(&path)?;
/// let run = store.experiment("digits")?.create_run(RunSpec::named("trial-17"))?;
/// run.log_params(&[("lr", "0.01"), ("batch", "32")])?;
/// for step in 0..100 {
///     run.log_metrics(step, &[("loss", 1.0 / (step + 1) as f64), ("acc", 0.5)])?;
/// }
/// run.set_tags(&[("note", "converged")])?;
/// run.end(RunStatus::Finished)?;
///
/// let loss = run.latest("loss")?.expect("logged above");
/// assert_eq!((loss.count, loss.last.step, loss.min), (100, 99, 0.01));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Run {
    shared: Shared,
    id: RunId,
    logger: Logger,
}

impl Run {
    pub(super) fn new(shared: Shared, id: RunId) -> Self {
        let logger = Logger::of(shared.clone(), id);
        Self { shared, id, logger }
    }

    /// Id of the run.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
    /// assert_eq!(store.run(run.id())?.info()?.id, run.id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn id(&self) -> RunId {
        self.id
    }

    /// Reads its current state: status, params, tags, and the latest value of each metric.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) once it is purged.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
    /// run.log_metrics(0, &[("loss", 2.3)])?;
    /// run.log_params(&[("lr", "0.1")])?;
    /// let info = run.info()?;
    /// assert_eq!((&*info.metrics[0].key, info.params[0].1.as_str()), ("loss", "0.1"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn info(&self) -> Result<RunInfo> {
        self.shared.run_info(self.id)
    }

    // ---- points ------------------------------------------------------------------------------------------------------

    /// Logs one row: several metrics at one step, with the current time. On return it survives the end of this process.
    /// For a loop that logs the same keys at every step, [`Run::row`] is faster.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a key that cannot be (empty, longer than 250 characters, no normal
    /// path, or with characters other than letters, digits and `_-./: `); [`Error::Deleted`](crate::Error::Deleted),
    /// [`Error::StorageFull`](crate::Error::StorageFull). Nothing of the row is logged then.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
    /// for step in 0..10 {
    ///     run.log_metrics(step, &[("loss", 1.0 / (step + 1) as f64), ("acc", 0.5)])?;
    /// }
    /// assert_eq!(run.latest("acc")?.expect("logged above").count, 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn log_metrics(&self, step: i64, metrics: &[(&str, f64)]) -> Result<()> {
        let durability = self.shared.settings().metric_durability;
        self.logger.log_row_at(step, None, &self.keyed(metrics)?, durability)
    }

    /// Logs one row with the given time and durability.
    ///
    /// # Errors
    /// As [`Run::log_metrics`]; and [`Error::Invalid`](crate::Error::Invalid) for a negative time.
    ///
    /// ```
    /// use runlode::{Durability, TimestampMs};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
    /// run.log_metrics_at(7, TimestampMs(1_700_000_000_000), &[("loss", 0.3)], Durability::Sync)?;
    /// assert_eq!(run.latest("loss")?.expect("logged above").last.time.0, 1_700_000_000_000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn log_metrics_at(
        &self,
        step: i64,
        time: TimestampMs,
        metrics: &[(&str, f64)],
        durability: Durability,
    ) -> Result<()> {
        self.logger.log_row_at(step, Some(time), &self.keyed(metrics)?, durability)
    }

    /// Logs points of one metric, in the order given; all or nothing.
    ///
    /// # Errors
    /// As [`Run::log_metrics_at`].
    ///
    /// ```
    /// use runlode::{Durability, Point, RunSpec, Store, TimestampMs};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let run = Store::open(&path)?.experiment("digits")?.create_run(RunSpec::new())?;
    /// let points: Vec<_> = (0..1000).map(|step| Point { step, time: TimestampMs(step), value: 0.5 }).collect();
    /// run.log_points("loss", &points, Durability::Sync)?;
    /// assert_eq!(run.history("loss")?.count(), 1000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn log_points(&self, key: &str, points: &[Point], durability: Durability) -> Result<()> {
        let key = self.key(key)?;
        let points: Vec<KeyedPoint> = points.iter().map(|point| KeyedPoint { key, point: *point }).collect();
        self.logger.log_points_typed(&points, durability)
    }

    /// The hot path: rows of the same keys, whose names are looked up once. A row is logged without an allocation or a
    /// round trip, in well under a microsecond.
    ///
    /// # Errors
    /// As [`Run::log_metrics`].
    ///
    /// ```
    /// use runlode::{RunSpec, Store};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let run = Store::open(&path)?.experiment("digits")?.create_run(RunSpec::new())?;
    /// let mut row = run.row(&["loss", "acc"])?;
    /// for step in 0..1000 {
    ///     row.log(step, &[1.0 / (step + 1) as f64, 0.5])?;
    /// }
    /// assert_eq!(run.latest("loss")?.expect("logged above").count, 1000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn row(&self, keys: &[&str]) -> Result<Row> {
        self.shared.check_run(self.id)?;
        let keys = keys.iter().map(|key| self.key(key)).collect::<Result<_>>()?;
        Ok(Row::new(self.logger.clone(), keys, self.shared.settings().metric_durability))
    }

    fn key(&self, name: &str) -> Result<KeyId> {
        key::check_as("metric key", name)?;
        self.logger.key_of(name)
    }

    fn keyed(&self, metrics: &[(&str, f64)]) -> Result<Vec<(KeyId, f64)>> {
        metrics.iter().map(|(key, value)| Ok((self.key(key)?, *value))).collect()
    }

    // ---- reading -----------------------------------------------------------------------------------------------------

    /// A metric without its points: count, latest point, extremes. `None`: the run has no such metric.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) once the run is purged.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
    /// run.log_metrics(0, &[("loss", 2.3)])?;
    /// run.log_metrics(1, &[("loss", 1.9)])?;
    /// let loss = run.latest("loss")?.expect("logged above");
    /// assert_eq!((loss.count, loss.last.value, loss.max), (2, 1.9, 2.3));
    /// assert_eq!(run.latest("acc")?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn latest(&self, key: &str) -> Result<Option<MetricInfo>> {
        self.shared.metric_info(self.id, key)
    }

    /// The points of a metric, in order of time, then step, then value: an iterator that reads some ten thousand points
    /// at a time, so that a history of any length takes little memory.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) once the run is purged. A metric that the run does not have has no
    /// points.
    ///
    /// ```
    /// use runlode::{RunSpec, Store};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let run = Store::open(&path)?.experiment("digits")?.create_run(RunSpec::new())?;
    /// for step in 0..100 {
    ///     run.log_metrics(step, &[("loss", step as f64)])?;
    /// }
    /// let window = run.history("loss")?.steps(10..20);
    /// let sum: f64 = window.map(|point| point.map(|point| point.value)).sum::<runlode::Result<f64>>()?;
    /// assert_eq!(sum, 145.0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn history(&self, key: &str) -> Result<History> {
        History::begin(self.shared.clone(), self.id, key)
    }

    /// Whether a process still logs to the run: a run with status running may be lost.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    ///
    /// ```
    /// use runlode::{Liveness, RunStatus};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
    /// assert!(matches!(run.liveness()?, Liveness::Alive { .. }), "this process logs to it");
    /// run.end(RunStatus::Finished)?;
    /// assert_eq!(run.liveness()?, Liveness::Finished);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn liveness(&self) -> Result<Liveness> {
        self.shared.liveness(self.id)
    }

    /// Location of its artifacts: a path, or a URI.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    ///
    /// ```
    /// use runlode::{RunSpec, Store};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let run = Store::open(&path)?.experiment("digits")?.create_run(RunSpec::new())?;
    /// assert!(run.artifact_place()?.ends_with(&format!("artifacts/1/{}/artifacts", run.id())));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn artifact_place(&self) -> Result<String> {
        let info = self.info()?;
        match info.artifact_location {
            Some(own) => Ok(self.shared.settings().places.rendered(&own)),
            None => place::below_experiment(&self.shared, info.experiment, &format!("{}/artifacts", self.id)),
        }
    }

    // ---- changes -----------------------------------------------------------------------------------------------------

    /// Logs params, all or none. Logging one again with the same value is fine.
    ///
    /// # Errors
    /// [`Error::ParamChanged`](crate::Error::ParamChanged) if one has another value;
    /// [`Error::Invalid`](crate::Error::Invalid), [`Error::Deleted`](crate::Error::Deleted).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
    /// run.log_params(&[("lr", "0.01"), ("batch", "32")])?;
    /// run.log_params(&[("lr", "0.01")])?; // a retry
    /// assert!(run.log_params(&[("lr", "0.1")]).is_err(), "a param never changes");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn log_params(&self, params: &[(&str, &str)]) -> Result<()> {
        self.shared.log_run_params(self.id, &owned(params)).map(drop)
    }

    /// Sets tags, all or none; of equal keys the last one wins. The tag `mlflow.runName` also renames the run.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid), [`Error::Deleted`](crate::Error::Deleted).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
    /// run.set_tags(&[("note", "first try"), ("note", "converged")])?;
    /// assert!(run.info()?.tags.contains(&("note".to_owned(), "converged".to_owned())));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_tags(&self, tags: &[(&str, &str)]) -> Result<()> {
        self.shared.set_run_tags(self.id, &owned(tags)).map(drop)
    }

    /// Deletes a tag.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) if there is no such tag; [`Error::Deleted`](crate::Error::Deleted).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
    /// run.set_tags(&[("note", "converged")])?;
    /// run.delete_tag("note")?;
    /// assert!(run.delete_tag("note").is_err(), "it is gone");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete_tag(&self, key: &str) -> Result<()> {
        self.shared.delete_run_tag(self.id, key).map(drop)
    }

    /// Renames the run; an empty name changes nothing.
    ///
    /// # Errors
    /// [`Error::Deleted`](crate::Error::Deleted).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
    /// run.rename("best of three")?;
    /// assert_eq!(run.info()?.name, "best of three");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rename(&self, name: &str) -> Result<()> {
        self.change(RunChange { name: Some(name.to_owned()), ..RunChange::default() })
    }

    /// Sets the status only, also of a run that has ended. If it is running again, this process holds its lease.
    ///
    /// # Errors
    /// [`Error::Deleted`](crate::Error::Deleted).
    ///
    /// ```
    /// use runlode::RunStatus;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
    /// run.end(RunStatus::Failed)?;
    /// run.set_status(RunStatus::Running)?; // resumed
    /// assert_eq!(run.info()?.status, RunStatus::Running);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_status(&self, status: RunStatus) -> Result<()> {
        self.change(RunChange { status: Some(status), ..RunChange::default() })
    }

    fn change(&self, change: RunChange) -> Result<()> {
        self.shared.change_run(self.id, &change)
    }

    /// Ends the run now, with a status. A run that has ended keeps its first end.
    ///
    /// # Errors
    /// [`Error::Deleted`](crate::Error::Deleted).
    ///
    /// ```
    /// use runlode::{Ended, RunStatus};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
    /// assert!(matches!(run.end(RunStatus::Finished)?, Ended::Now(_)));
    /// assert_eq!(run.end(RunStatus::Failed)?, Ended::Before(RunStatus::Finished));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn end(&self, status: RunStatus) -> Result<Ended> {
        self.shared.end_run(self.id, status, None)
    }

    /// Records that this process continues a run that another process began. Otherwise the run counts as lost once that
    /// process is gone.
    ///
    /// # Errors
    /// [`Error::Deleted`](crate::Error::Deleted).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
    /// // In the process that goes on with a run which another one began:
    /// let resumed = store.run(run.id())?;
    /// resumed.lease()?;
    /// assert!(!resumed.liveness()?.is_lost());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lease(&self) -> Result<()> {
        self.shared.take_run(self.id)
    }

    /// Creates a run whose metrics begin with this run's points up to a step, as they are now, without a copy; both go on
    /// independently. It is in the same experiment, and has the tags `mlflow.parentRunId` and `runlode.fork`. Params are
    /// not taken over: its own may differ.
    ///
    /// # Errors
    /// [`Error::Deleted`](crate::Error::Deleted) for the experiment; as
    /// [`Experiment::create_run`](crate::Experiment::create_run).
    ///
    /// ```
    /// use runlode::{RunSpec, Store};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let run = Store::open(&path)?.experiment("digits")?.create_run(RunSpec::new())?;
    /// for step in 0..1000 {
    ///     run.log_metrics(step, &[("loss", 1.0)])?;
    /// }
    /// let fork = run.fork(899, RunSpec::named("lower-lr"))?;
    /// fork.log_metrics(900, &[("loss", 0.5)])?;
    /// assert_eq!(fork.latest("loss")?.expect("shared").count, 901);
    /// assert_eq!(run.latest("loss")?.expect("logged above").count, 1000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fork(&self, at_step: i64, spec: RunSpec) -> Result<Self> {
        let id = self.shared.fork_run(self.id, at_step, &spec)?;
        Ok(Self::new(self.shared.clone(), id))
    }

    /// Rewinds the run, to resume it from the checkpoint of a step: points with a greater step are hidden, and points
    /// logged next continue the remaining ones as one curve. The dead branch stays readable.
    ///
    /// # Errors
    /// [`Error::Deleted`](crate::Error::Deleted); [`Error::Corrupt`](crate::Error::Corrupt) if points that are needed
    /// are damaged.
    ///
    /// ```
    /// use runlode::{RunSpec, Store};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let run = Store::open(&path)?.experiment("digits")?.create_run(RunSpec::new())?;
    /// for step in 0..1000 {
    ///     run.log_metrics(step, &[("loss", 1.0)])?;
    /// }
    /// assert_eq!(run.rewind(899)?.points_hidden, 100);
    /// run.log_metrics(900, &[("loss", 0.5)])?;
    /// assert_eq!(run.latest("loss")?.expect("logged above").count, 901);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rewind(&self, to_step: i64) -> Result<Rewound> {
        self.shared.rewind(self.id, to_step)
    }

    /// Logs data sets and models that the run reads.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid), [`Error::Deleted`](crate::Error::Deleted).
    ///
    /// ```
    /// use runlode::{DatasetInput, RunSpec, Store};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let run = Store::open(&path)?.experiment("digits")?.create_run(RunSpec::new())?;
    /// let digits = DatasetInput {
    ///     name: "digits".into(),
    ///     digest: "f53dbb44".into(),
    ///     source_type: "local".into(),
    ///     source: "digits.csv".into(),
    ///     schema: None,
    ///     profile: None,
    ///     tags: vec![("mlflow.data.context".into(), "training".into())],
    /// };
    /// run.log_inputs(&[digits], &[])?;
    /// assert_eq!(run.info()?.datasets[0].digest, "f53dbb44");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn log_inputs(&self, datasets: &[DatasetInput], models: &[ModelId]) -> Result<()> {
        let models: Vec<String> = models.iter().map(ToString::to_string).collect();
        self.shared.log_run_inputs(self.id, datasets, &models).map(drop)
    }

    /// Logs models that the run produced, each with its step.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid), [`Error::Deleted`](crate::Error::Deleted).
    ///
    /// ```
    /// use runlode::LoggedModelSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
    /// let model = store.experiment("digits")?.create_logged_model(LoggedModelSpec::new().source_run(run.id()))?;
    /// run.log_outputs(&[(model.id(), 100)])?;
    /// assert_eq!(run.info()?.model_outputs, [(model.id().to_string(), 100)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn log_outputs(&self, models: &[(ModelId, i64)]) -> Result<()> {
        let models: Vec<_> = models.iter().map(|(model, step)| (model.to_string(), *step)).collect();
        self.shared.log_run_outputs(self.id, &models).map(drop)
    }

    /// Records that an artifact was stored: its path below [`Run::artifact_place`], and its length.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid), [`Error::Deleted`](crate::Error::Deleted).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
    /// // After the file was written to `run.artifact_place()`:
    /// run.log_artifact_reference("plots/roc.png", Some(18_340))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn log_artifact_reference(&self, path: &str, size_bytes: Option<u64>) -> Result<()> {
        self.shared.log_artifact(self.id, path, size_bytes).map(drop)
    }

    /// Deletes the run; [`Run::restore`] undoes it. A deleted run stays deleted.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
    /// run.delete()?;
    /// assert!(run.info()?.deleted);
    /// assert!(run.log_metrics(0, &[("loss", 2.3)]).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete(&self) -> Result<()> {
        self.shared.delete_run(self.id).map(drop)
    }

    /// Restores the run; an active run stays active.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
    /// run.delete()?;
    /// run.restore()?;
    /// assert!(!run.info()?.deleted);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn restore(&self) -> Result<()> {
        self.shared.restore_run(self.id).map(drop)
    }
}
