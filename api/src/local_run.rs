//! A run of a store whose engine is in this process.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use runlode_engine as engine;
use runlode_engine::event::{ArtifactLogged, DatasetInput, RunStatus};
use runlode_engine::point::Point;
use runlode_engine::{Durability, KeyId, Lsn, MetricContext, ModelId, Result, Rewound, RunId, TimestampMs};

use crate::key;
use crate::lease::Process;
use crate::run::RunChange;
use crate::run::points::{Equal, RunPoint};
use crate::{Ended, ExperimentId, LocalStore, RunSpec, TAG_RUN_NAME};

/// A run that is logged to. Cloning is cheap; clones may log from many threads.
///
/// ```
/// use runlode::{Durability, Point, RunSpec, RunStatus, LocalStore, TimestampMs};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = LocalStore::open(&path)?;
/// let run = store.create_run(store.get_or_create_experiment("digits")?, RunSpec::new())?;
/// run.log_param("lr", "0.01")?;
/// run.log_metrics(0, &[("loss", 2.3), ("acc", 0.1)])?;
/// run.log_metric_at("loss", Point { step: 1, time: TimestampMs(1_700_000_000_000), value: f64::NAN }, Durability::Sync)?;
/// run.set_tag("note", "diverged")?;
/// run.end(RunStatus::Failed)?;
/// assert_eq!(store.snapshot()?.run(run.id())?.expect("made above").status, RunStatus::Failed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct LocalRun {
    store: LocalStore,
    handle: engine::RunHandle,
    id: RunId,
    keys: Arc<RwLock<HashMap<Box<str>, KeyId>>>,
}

impl LocalRun {
    pub(crate) fn of(store: &LocalStore, id: RunId) -> Result<Self> {
        Ok(Self { store: store.clone(), handle: store.engine().run(id)?, id, keys: Arc::default() })
    }

    /// Id of the run.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// assert_eq!(store.run(run.id())?.id(), run.id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn id(&self) -> RunId {
        self.id
    }

    /// The store of the run.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// assert_eq!(run.store().path(), store.path());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn store(&self) -> &LocalStore {
        &self.store
    }

    /// The engine's handle, for loops that keep key numbers themselves.
    ///
    /// ```
    /// use runlode::{Durability, TimestampMs};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// let loss = store.engine().metric_key("loss")?;
    /// for step in 0..1000 {
    ///     run.handle().log_row(step, TimestampMs(step), &[(loss, 0.5)], Durability::Buffered)?;
    /// }
    /// assert_eq!(store.snapshot()?.latest(run.id())?[0].1.count_raw, 1000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn handle(&self) -> &engine::RunHandle {
        &self.handle
    }

    /// Records that this process continues a run that another process began. Otherwise the run counts as lost once that
    /// process is gone. `None`: the lease is this process's already, or the system cannot tell processes apart.
    ///
    /// # Errors
    /// [`crate::Error::Deleted`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// assert_eq!(run.lease()?, None, "the run is this process's already");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lease(&self) -> Result<Option<Lsn>> {
        match Process::current() {
            Some(process) => self.store.lease_run(self.id, process),
            None => Ok(None),
        }
    }

    /// Rewinds the run, as when it is resumed from the checkpoint of a step: points with a greater step are hidden, and
    /// what is logged next continues the rest as one curve. The dead branch stays readable: [`crate::Snapshot::branches`].
    ///
    /// # Errors
    /// [`crate::Error::Deleted`], [`crate::Error::Purged`]; [`crate::Error::Corrupt`] if points that are needed are damaged.
    ///
    /// ```
    /// use runlode::{RunSpec, LocalStore};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = LocalStore::open(&path)?;
    /// let run = store.create_run(store.get_or_create_experiment("digits")?, RunSpec::new())?;
    /// for step in 0..1000 {
    ///     run.log_metrics(step, &[("loss", 1.0)])?;
    /// }
    /// assert_eq!(run.rewind(899)?.points_hidden, 100);
    /// run.log_metrics(900, &[("loss", 0.5)])?;
    /// let snapshot = store.snapshot()?;
    /// assert_eq!(snapshot.count_exact(run.id(), "loss")?, 901);
    /// assert_eq!(snapshot.branch_count(run.id(), 0, "loss")?, 1000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rewind(&self, to_step: i64) -> Result<Rewound> {
        self.store.rewind_run(self.id, to_step)
    }

    /// The number of a metric's key. On first use the key is checked against MLflow's rule, which holds for every API.
    /// A new number is valid only while `new` is held, until a point of it is logged.
    fn key(&self, name: &str, new: &mut Option<NewKeys>) -> Result<KeyId> {
        // A panic cannot leave the map half done.
        if let Some(id) = self.keys.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(*id);
        }
        check_metric_key(name)?;
        let new = match new {
            Some(new) => new,
            None => new.insert(NewKeys { reserved: self.store.engine().reserve_keys()?, named: Vec::new() }),
        };
        let id = new.reserved.metric_key(name)?;
        new.named.push((name.into(), id));
        Ok(id)
    }

    /// Remembers the numbers of keys that were just logged.
    fn learn(&self, new: Option<NewKeys>) {
        if let Some(NewKeys { named, .. }) = new {
            self.keys.write().unwrap_or_else(PoisonError::into_inner).extend(named);
        }
    }

    /// Logs one row: several metrics at one step, with the current time. On return the row survives the end of the
    /// process.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for a key that MLflow would refuse (empty, longer than 250 characters, no normal path,
    /// or with characters other than letters, digits and `_-./: `), [`crate::Error::Deleted`]; nothing of the row is
    /// then logged.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// run.log_metrics(0, &[("loss", 2.3), ("acc", 0.1)])?;
    /// assert_eq!(store.snapshot()?.latest(run.id())?.len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn log_metrics(&self, step: i64, metrics: &[(&str, f64)]) -> Result<Lsn> {
        self.log_metrics_at(step, self.store.now(), metrics, Durability::Buffered)
    }

    /// Logs one row with the given time and durability.
    ///
    /// # Errors
    /// As [`LocalRun::log_metrics`]; and [`crate::Error::Invalid`] for a negative time.
    ///
    /// ```
    /// use runlode::{Durability, TimestampMs};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// run.log_metrics_at(7, TimestampMs(1_700_000_000_000), &[("loss", 0.3)], Durability::Sync)?;
    /// assert_eq!(store.snapshot()?.latest(run.id())?[0].1.last_step, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn log_metrics_at(
        &self,
        step: i64,
        time: TimestampMs,
        metrics: &[(&str, f64)],
        durability: Durability,
    ) -> Result<Lsn> {
        let mut new = None;
        let row: Vec<(KeyId, f64)> =
            metrics.iter().map(|(key, value)| Ok((self.key(key, &mut new)?, *value))).collect::<Result<_>>()?;
        let lsn = self.handle.log_row(step, time, &row, durability)?;
        self.learn(new);
        Ok(lsn)
    }

    /// Logs one point with the given durability.
    ///
    /// # Errors
    /// As [`LocalRun::log_metrics_at`].
    ///
    /// ```
    /// use runlode::{Durability, Point, TimestampMs};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// let point = Point { step: 7, time: TimestampMs(1_700_000_000_000), value: 0.3 };
    /// run.log_metric_at("loss", point, Durability::Sync)?;
    /// assert_eq!(store.snapshot()?.latest(run.id())?[0].1.last_value, 0.3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn log_metric_at(&self, key: &str, point: Point, durability: Durability) -> Result<Lsn> {
        let mut new = None;
        let lsn = self.handle.log_point(self.key(key, &mut new)?, point, durability)?;
        self.learn(new);
        Ok(lsn)
    }

    /// Logs one point that was measured on a logged model, a data set, or both. A point that the run has for another
    /// model becomes one of both.
    ///
    /// # Errors
    /// As [`LocalRun::log_metrics_at`]; and [`crate::Error::NotFound`] for a model that does not exist.
    ///
    /// ```
    /// use runlode::{MetricContext, Point, TimestampMs};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// let on = MetricContext { dataset_name: Some("digits-test".into()), ..MetricContext::default() };
    /// run.log_metric_of("acc", Point { step: 7, time: TimestampMs(1_700_000_000_000), value: 0.9 }, on)?;
    /// assert_eq!(store.snapshot()?.latest(run.id())?[0].1.count_raw, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn log_metric_of(&self, key: &str, point: Point, context: MetricContext) -> Result<Lsn> {
        check_metric_key(key)?;
        let point = RunPoint { key, point, context: (!context.is_empty()).then_some(context) };
        match self.store.log_run_batch(self.id, &[point], Equal::Another, Vec::new(), Vec::new(), Durability::Buffered)
        {
            Ok(Some(lsn)) => Ok(lsn),
            Ok(None) => Ok(self.store.positions().published),
            Err(refused) => Err(refused.into_error(self.id)),
        }
    }

    /// Logs a param. Logging it again with the same value is fine.
    ///
    /// # Errors
    /// [`crate::Error::ParamChanged`] if it has another value; [`crate::Error::Invalid`], [`crate::Error::Deleted`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// run.log_param("lr", "0.01")?;
    /// run.log_param("lr", "0.01")?; // a retry
    /// assert!(run.log_param("lr", "0.1").is_err(), "a param never changes");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn log_param(&self, key: &str, value: &str) -> Result<Lsn> {
        self.log_params(&[(key, value)])
    }

    /// Logs params, all or none.
    ///
    /// # Errors
    /// As [`LocalRun::log_param`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// run.log_params(&[("lr", "0.01"), ("batch", "32")])?;
    /// assert_eq!(store.snapshot()?.run(run.id())?.expect("made above").params.len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn log_params(&self, params: &[(&str, &str)]) -> Result<Lsn> {
        self.store.log_run_params(self.id, params)
    }

    /// Sets a tag. The tag `mlflow.runName` also renames the run.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`], [`crate::Error::Deleted`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// run.set_tag("note", "converged")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_tag(&self, key: &str, value: &str) -> Result<Lsn> {
        self.set_tags(&[(key, value)])
    }

    /// Sets tags, all or none; of equal keys the last one wins.
    ///
    /// # Errors
    /// As [`LocalRun::set_tag`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// run.set_tags(&[("note", "converged"), ("kind", "ablation")])?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_tags(&self, tags: &[(&str, &str)]) -> Result<Lsn> {
        self.store.set_run_tags(self.id, tags)
    }

    /// Deletes a tag.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`] if there is no such tag; [`crate::Error::Deleted`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// run.set_tag("note", "converged")?;
    /// run.delete_tag("note")?;
    /// assert!(run.delete_tag("note").is_err(), "it is gone");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete_tag(&self, key: &str) -> Result<Lsn> {
        self.store.delete_run_tag(self.id, key)
    }

    /// Renames the run.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`], [`crate::Error::Deleted`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// run.rename("best of three")?;
    /// assert_eq!(store.snapshot()?.run(run.id())?.expect("made above").name, "best of three");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rename(&self, name: &str) -> Result<Lsn> {
        self.set_tag(TAG_RUN_NAME, name)
    }

    /// Logs data sets and models that the run reads.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`], [`crate::Error::Deleted`].
    ///
    /// ```
    /// use runlode::{DatasetInput, RunSpec, LocalStore};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = LocalStore::open(&path)?;
    /// let run = store.create_run(store.get_or_create_experiment("digits")?, RunSpec::new())?;
    /// run.log_inputs(
    ///     vec![DatasetInput {
    ///         name: "digits".into(),
    ///         digest: "f53dbb44".into(),
    ///         source_type: "local".into(),
    ///         source: "digits.csv".into(),
    ///         schema: None,
    ///         profile: None,
    ///         tags: vec![("mlflow.data.context".into(), "training".into())],
    ///     }],
    ///     &[],
    /// )?;
    /// assert_eq!(store.snapshot()?.run(run.id())?.expect("made above").datasets.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn log_inputs(&self, datasets: Vec<DatasetInput>, models: &[ModelId]) -> Result<Lsn> {
        let models: Vec<String> = models.iter().map(ToString::to_string).collect();
        self.store.log_run_inputs(self.id, &datasets, &models)
    }

    /// Logs models that the run produced, each with its step.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`], [`crate::Error::Deleted`].
    ///
    /// ```
    /// use runlode::LoggedModelSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// let model = store.create_logged_model(experiment, LoggedModelSpec::new().source_run(run.id()))?;
    /// run.log_outputs(&[(model, 100)])?;
    /// assert_eq!(store.snapshot()?.run(run.id())?.expect("made above").model_outputs.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn log_outputs(&self, models: &[(ModelId, i64)]) -> Result<Lsn> {
        let models: Vec<_> = models.iter().map(|(model, step)| (model.to_string(), *step)).collect();
        self.store.log_run_outputs(self.id, &models)
    }

    /// Records that an artifact was stored: its path below the run's artifact location, and its length.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`], [`crate::Error::Deleted`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// // After the file was written:
    /// run.log_artifact_reference("plots/roc.png", Some(18_340))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn log_artifact_reference(&self, path: &str, size_bytes: Option<u64>) -> Result<Lsn> {
        self.store.append_event(ArtifactLogged { run: self.id, path: path.to_owned(), size_bytes })
    }

    /// Sets the status only.
    ///
    /// # Errors
    /// [`crate::Error::Deleted`].
    ///
    /// ```
    /// use runlode::RunStatus;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// run.set_status(RunStatus::Scheduled)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_status(&self, status: RunStatus) -> Result<()> {
        let change = RunChange { status: Some(status), ..RunChange::default() };
        self.store.update_run(self.id, change, Process::current())
    }

    /// Ends the run now, with a status. A run that has ended keeps its first end; [`LocalRun::set_status`] and MLflow's
    /// `update_run` can change that.
    ///
    /// # Errors
    /// [`crate::Error::Deleted`].
    ///
    /// ```
    /// use runlode::{Ended, RunStatus};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// assert!(matches!(run.end(RunStatus::Finished)?, Ended::Now(_)));
    /// assert_eq!(run.end(RunStatus::Failed)?, Ended::Before(RunStatus::Finished));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn end(&self, status: RunStatus) -> Result<Ended> {
        self.store.end_run(self.id, status, None)
    }
}

impl LocalStore {
    /// Creates a run in an experiment. One that runs is this process's: without it, it counts as lost.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), [`Error::Deleted`](crate::Error::Deleted) for the experiment;
    /// [`Error::Invalid`](crate::Error::Invalid) for bad tags, or when name and tag `mlflow.runName` differ;
    /// [`Error::AlreadyExists`](crate::Error::AlreadyExists) for a given id.
    ///
    /// ```
    /// use runlode::RunSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let digits = store.get_or_create_experiment("digits")?;
    /// let run = store.create_run(digits, RunSpec::named("trial-17").user("ada"))?;
    /// assert_eq!(store.snapshot()?.run(run.id())?.expect("made above").name, "trial-17");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create_run(&self, experiment: ExperimentId, spec: RunSpec) -> Result<LocalRun> {
        let id = self.begin_run(experiment, spec, Process::current())?;
        self.run(id)
    }

    /// A handle to a run that exists, to go on logging to it.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), [`Error::Deleted`](crate::Error::Deleted),
    /// [`Error::Purged`](crate::Error::Purged).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// store.run(run.id())?.log_metrics(0, &[("loss", 2.3)])?;
    /// assert!(store.run(runlode::new_run_id()?).is_err(), "no such run");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run(&self, id: RunId) -> Result<LocalRun> {
        LocalRun::of(self, id)
    }
}

/// Numbers of keys that this handle has not logged yet.
struct NewKeys {
    reserved: engine::ReservedKeys,
    named: Vec<(Box<str>, KeyId)>,
}

fn check_metric_key(name: &str) -> Result<()> {
    key::check_as("metric key", name)
}
