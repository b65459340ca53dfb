//! Runs: what one training logs.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use runlode_engine as engine;
use runlode_engine::event::{
    ArtifactLogged, DatasetInput, KeyValue, ParamsLogged, RunCreated, RunDeleted, RunInputsLogged, RunOutputsLogged,
    RunPurged, RunRestored, RunStatus, RunTagDeleted, RunTagsSet, RunUpdated,
};
use runlode_engine::point::Point;
use runlode_engine::{
    Batch, Durability, EntityKind, Error, ExperimentId, KeyId, Lsn, MetricContext, ModelId, Result, Rewound, RunId,
    TimestampMs,
};

use crate::experiment::owned;
use crate::key;
use crate::lease::Process;
use crate::{EntityKey, Lifecycle, LocalStore, RunState, TAG_RUN_NAME, new_run_id, run_name};

/// What a new run is given; everything has a default.
///
/// ```
/// use runlode::RunSpec;
///
/// let spec = RunSpec::named("trial-17").user("ada").tag("kind", "ablation");
/// # let _ = spec;
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct RunSpec {
    pub(crate) name: Option<String>,
    pub(crate) user: String,
    pub(crate) tags: Vec<KeyValue>,
    pub(crate) id: Option<RunId>,
    pub(crate) status: Option<RunStatus>,
    pub(crate) start_time: Option<TimestampMs>,
    pub(crate) artifact_location: Option<String>,
}

/// What of a run is changed; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RunChange {
    pub(crate) status: Option<RunStatus>,
    pub(crate) end_time_ms: Option<i64>,
    pub(crate) name: Option<String>,
}

/// The name of a run is given twice, and differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamesDiffer {
    pub(crate) name: String,
    pub(crate) tag: String,
}

/// The name that a new run is given, by argument or by the tag `mlflow.runName`; an empty one is none.
pub(crate) fn given_name(name: Option<&str>, tags: &[KeyValue]) -> std::result::Result<Option<String>, NamesDiffer> {
    let tagged = tags.iter().find(|(key, _)| key == TAG_RUN_NAME).map(|(_, name)| name.as_str());
    match (name.filter(|name| !name.is_empty()), tagged.filter(|name| !name.is_empty())) {
        (Some(name), Some(tag)) if name != tag => Err(NamesDiffer { name: name.to_owned(), tag: tag.to_owned() }),
        (Some(name), _) | (None, Some(name)) => Ok(Some(name.to_owned())),
        (None, None) => Ok(None),
    }
}

impl RunSpec {
    /// All defaults: a random name, status running, starting now.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a name; names need not be unique.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    /// Who runs it. Default: empty.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = user.into();
        self
    }

    /// Adds a tag.
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((key.into(), value.into()));
        self
    }

    /// The run it belongs under, on the pages.
    pub fn parent(self, parent: RunId) -> Self {
        self.tag("mlflow.parentRunId", parent.to_string())
    }

    /// Its id, when the caller has one. Default: random.
    pub fn id(mut self, id: RunId) -> Self {
        self.id = Some(id);
        self
    }

    /// Its status. Default: running.
    pub fn status(mut self, status: RunStatus) -> Self {
        self.status = Some(status);
        self
    }

    /// When it started. Default: now.
    pub fn start_time(mut self, start_time: TimestampMs) -> Self {
        self.start_time = Some(start_time);
        self
    }

    /// Where it keeps its artifacts. Default: below its experiment's place.
    pub fn artifact_location(mut self, location: impl Into<String>) -> Self {
        self.artifact_location = Some(location.into());
        self
    }
}

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

/// What became of [`LocalRun::end`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The run ended now: the position of the batch that says so.
    Now(Lsn),
    /// It had ended before, with this status, and stays as it is.
    Before(RunStatus),
}

impl LocalStore {
    /// Creates a run in an experiment. One that runs is this process's: without it, it counts as lost.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Deleted`] for the experiment; [`Error::Invalid`] for bad tags, or when name and
    /// tag `mlflow.runName` differ; [`Error::AlreadyExists`] for a given id.
    pub fn create_run(&self, experiment: ExperimentId, spec: RunSpec) -> Result<LocalRun> {
        let id = self.begin_run(experiment, spec, Process::current())?;
        self.run(id)
    }

    /// Creates a run; if it runs, it is `process`'s. Whether the experiment is there and active is the append's to say:
    /// it alone knows.
    pub(crate) fn begin_run(&self, experiment: ExperimentId, spec: RunSpec, process: Option<Process>) -> Result<RunId> {
        let given = given_name(spec.name.as_deref(), &spec.tags).map_err(|NamesDiffer { name, tag }| {
            let why = format!("the tag says `{tag}`, the name says `{name}`: give one of them, or the same");
            Error::invalid(TAG_RUN_NAME, why)
        })?;
        let name = given.map_or_else(run_name, Ok)?;
        let mut tags = spec.tags;
        tags.retain(|(key, _)| key != TAG_RUN_NAME);
        tags.push((TAG_RUN_NAME.to_owned(), name.clone()));
        let id = spec.id.map_or_else(new_run_id, Ok)?;
        let status = spec.status.unwrap_or(RunStatus::Running);
        let artifact_location = match spec.artifact_location {
            None => self.lasting_place(experiment, &format!("{id}/artifacts"))?,
            given => given,
        };
        let mut batch = Batch::new().event(RunCreated {
            run: id,
            experiment,
            name,
            user_id: spec.user,
            status,
            start_time_ms: spec.start_time.unwrap_or_else(|| self.now()).0,
            artifact_location,
            tags,
        });
        if let Some(process) = process.filter(|_| status == RunStatus::Running) {
            batch.push_event(process.lease(id, self.now().0));
        }
        self.append(batch, Durability::Sync)?;
        Ok(id)
    }

    /// Changes status, end and name of a run. One that runs again is `process`'s.
    pub(crate) fn update_run(&self, run: RunId, change: RunChange, process: Option<Process>) -> Result<()> {
        let RunChange { status, end_time_ms, name } = change;
        let name = name.filter(|name| !name.is_empty());
        if status.is_none() && end_time_ms.is_none() && name.is_none() {
            return Ok(());
        }
        let mut batch = Batch::new();
        if let Some(name) = &name {
            batch.push_event(RunTagsSet { run, tags: vec![(TAG_RUN_NAME.to_owned(), name.clone())] });
        }
        batch.push_event(RunUpdated { run, status, end_time_ms, name });
        if let Some(process) = process.filter(|_| status == Some(RunStatus::Running))
            && !self.run_state(run)?.lease.as_ref().is_some_and(|lease| process.is_of(lease))
        {
            batch.push_event(process.lease(run, self.now().0));
        }
        self.append(batch, Durability::Sync)?;
        Ok(())
    }

    /// Ends a run, unless it has ended.
    pub(crate) fn end_run(&self, run: RunId, status: RunStatus, end_time_ms: Option<i64>) -> Result<Ended> {
        loop {
            let state = self.run_state(run)?;
            if has_ended(state.status) {
                return Ok(Ended::Before(state.status));
            }
            let end_time_ms = Some(end_time_ms.unwrap_or_else(|| self.now().0));
            let ended = RunUpdated { run, status: Some(status), end_time_ms, name: None };
            // Whoever ends it at the same time, one of them is the first.
            let batch = Batch::new().event(ended).expect(EntityKey::Run(run), state.last);
            match self.append(batch, Durability::Sync) {
                Err(Error::Conflict { .. }) => {}
                result => return Ok(Ended::Now(result?.lsn)),
            }
        }
    }

    /// Says that a process logs to a run from now on; `None`: it is its already.
    pub(crate) fn lease_run(&self, run: RunId, process: Process) -> Result<Option<Lsn>> {
        if self.run_state(run)?.lease.as_ref().is_some_and(|lease| process.is_of(lease)) {
            return Ok(None);
        }
        self.append_event(process.lease(run, self.now().0)).map(Some)
    }

    /// Sets tags of a run: of equal keys the last one wins; `mlflow.runName` renames it, and does nothing if it is empty.
    /// The position that it holds from.
    pub(crate) fn set_run_tags<K: AsRef<str>, V: AsRef<str>>(&self, run: RunId, tags: &[(K, V)]) -> Result<Lsn> {
        let mut batch = Batch::new();
        push_tags(&mut batch, run, owned(tags));
        if batch.events_count() == 0 {
            return Ok(self.positions().published);
        }
        Ok(self.append(batch, Durability::Sync)?.lsn)
    }

    /// Sets a tag if it has the value that is expected; whether it had.
    pub(crate) fn swap_run_tag(&self, run: RunId, key: &str, before: Option<&str>, after: &str) -> Result<bool> {
        loop {
            let state = self.run_state(run)?;
            if tag_of(&state, key) != before {
                return Ok(false);
            }
            let tags = vec![(key.to_owned(), after.to_owned())];
            let batch = Batch::new().event(RunTagsSet { run, tags }).expect(EntityKey::Run(run), state.last);
            match self.append(batch, Durability::Sync) {
                // The run was changed in between, the tag maybe not.
                Err(Error::Conflict { .. }) => {}
                result => return result.map(|_| true),
            }
        }
    }

    /// Deletes a tag of a run; the run keeps its name when that of the name goes.
    pub(crate) fn delete_run_tag(&self, run: RunId, key: &str) -> Result<Lsn> {
        self.append_event(RunTagDeleted { run, key: key.to_owned() })
    }

    /// Logs params of a run, all or none.
    pub(crate) fn log_run_params<K: AsRef<str>, V: AsRef<str>>(&self, run: RunId, params: &[(K, V)]) -> Result<Lsn> {
        self.append_event(ParamsLogged { run, params: owned(params) })
    }

    /// Logs what a run reads; models by their ids.
    pub(crate) fn log_run_inputs(&self, run: RunId, datasets: &[DatasetInput], models: &[String]) -> Result<Lsn> {
        self.append_event(RunInputsLogged { run, datasets: datasets.to_vec(), models: models.to_vec() })
    }

    /// Logs the models that a run made, by their ids, each with its step.
    pub(crate) fn log_run_outputs(&self, run: RunId, models: &[(String, i64)]) -> Result<Lsn> {
        self.append_event(RunOutputsLogged { run, models: models.to_vec() })
    }

    /// A run that is there, deleted or not.
    pub(crate) fn run_state(&self, run: RunId) -> Result<Arc<RunState>> {
        let found = self.snapshot_of_entities()?.run(run)?.filter(|state| state.lifecycle != Lifecycle::Purged);
        found.ok_or_else(|| Error::NotFound { entity: EntityKind::Run, id: run.to_string() })
    }

    /// A handle to a run that exists, to go on logging to it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Deleted`], [`Error::Purged`].
    pub fn run(&self, id: RunId) -> Result<LocalRun> {
        Ok(LocalRun { store: self.clone(), handle: self.engine().run(id)?, id, keys: Arc::default() })
    }

    /// Deletes a run. [`LocalStore::restore_run`] takes it back.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn delete_run(&self, run: RunId) -> Result<Lsn> {
        self.append_event(RunDeleted { run, at_ms: self.now().0 })
    }

    /// Restores a deleted run.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Purged`].
    pub fn restore_run(&self, run: RunId) -> Result<Lsn> {
        self.append_event(RunRestored { run })
    }

    /// Purges a deleted run: it is hidden at once and for good, and leaves the disk at the next compaction.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`] when the run is not deleted.
    pub fn purge_run(&self, run: RunId) -> Result<Lsn> {
        self.append_event(RunPurged { run })
    }
}

impl LocalRun {
    /// Its id.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// The store it lives in.
    pub fn store(&self) -> &LocalStore {
        &self.store
    }

    /// The engine's handle, for loops that keep key numbers of their own.
    pub fn handle(&self) -> &engine::RunHandle {
        &self.handle
    }

    /// Says that this process goes on logging to the run, that another one began: else it counts as lost once that
    /// one is gone. `None`: it is this process's already, or the system does not tell processes apart.
    ///
    /// # Errors
    /// [`Error::Deleted`].
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
    /// [`Error::Deleted`], [`Error::Purged`]; [`Error::Corrupt`] if points that are needed are damaged.
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

    /// The number of a metric's key, which is checked when it is first used: MLflow's rule holds at every door. A new one
    /// is known only while `new` is held, until a point of it is logged.
    fn key(&self, name: &str, new: &mut Option<NewKeys>) -> Result<KeyId> {
        // Nothing that a panic could leave half done.
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

    /// Keeps the numbers of keys that were just logged.
    fn learn(&self, new: Option<NewKeys>) {
        if let Some(NewKeys { named, .. }) = new {
            self.keys.write().unwrap_or_else(PoisonError::into_inner).extend(named);
        }
    }

    /// Logs one row: several metrics at one step, now. The row outlives the process when this returns.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a key that MLflow would refuse (empty, longer than 250 characters, no normal path, or with
    /// characters other than letters, digits and `_-./: `), [`Error::Deleted`]; nothing of the row is then logged.
    pub fn log_metrics(&self, step: i64, metrics: &[(&str, f64)]) -> Result<Lsn> {
        self.log_metrics_at(step, self.store.now(), metrics, Durability::Buffered)
    }

    /// Logs one row at a given time, with a given durability.
    ///
    /// # Errors
    /// As [`LocalRun::log_metrics`]; and [`Error::Invalid`] for a negative time.
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

    /// Logs one point, with a given durability.
    ///
    /// # Errors
    /// As [`LocalRun::log_metrics_at`].
    pub fn log_metric_at(&self, key: &str, point: Point, durability: Durability) -> Result<Lsn> {
        let mut new = None;
        let lsn = self.handle.log_point(self.key(key, &mut new)?, point, durability)?;
        self.learn(new);
        Ok(lsn)
    }

    /// Logs one point that was measured on a logged model, a data set, or both.
    ///
    /// # Errors
    /// As [`LocalRun::log_metrics_at`].
    pub fn log_metric_of(&self, key: &str, point: Point, context: MetricContext) -> Result<Lsn> {
        check_metric_key(key)?;
        let batch = Batch::new().metric(self.id, key, point, Some(context));
        Ok(self.store.append(batch, Durability::Buffered)?.lsn)
    }

    /// Logs a param. Logging it again with the same value is fine.
    ///
    /// # Errors
    /// [`Error::ParamChanged`] when it has another value; [`Error::Invalid`], [`Error::Deleted`].
    pub fn log_param(&self, key: &str, value: &str) -> Result<Lsn> {
        self.log_params(&[(key, value)])
    }

    /// Logs params, all or none.
    ///
    /// # Errors
    /// As [`LocalRun::log_param`].
    pub fn log_params(&self, params: &[(&str, &str)]) -> Result<Lsn> {
        self.store.log_run_params(self.id, params)
    }

    /// Sets a tag. The tag `mlflow.runName` also renames the run.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Deleted`].
    pub fn set_tag(&self, key: &str, value: &str) -> Result<Lsn> {
        self.set_tags(&[(key, value)])
    }

    /// Sets tags, all or none; of equal keys the last one wins.
    ///
    /// # Errors
    /// As [`LocalRun::set_tag`].
    pub fn set_tags(&self, tags: &[(&str, &str)]) -> Result<Lsn> {
        self.store.set_run_tags(self.id, tags)
    }

    /// Deletes a tag.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such tag; [`Error::Deleted`].
    pub fn delete_tag(&self, key: &str) -> Result<Lsn> {
        self.store.delete_run_tag(self.id, key)
    }

    /// Gives the run another name.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Deleted`].
    pub fn rename(&self, name: &str) -> Result<Lsn> {
        self.set_tag(TAG_RUN_NAME, name)
    }

    /// Logs data sets and models that the run reads.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Deleted`].
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

    /// Logs models that the run made, each with the step it was made at.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Deleted`].
    pub fn log_outputs(&self, models: &[(ModelId, i64)]) -> Result<Lsn> {
        let models: Vec<_> = models.iter().map(|(model, step)| (model.to_string(), *step)).collect();
        self.store.log_run_outputs(self.id, &models)
    }

    /// Notes that an artifact was stored: its path below the run's artifact place, and its length.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Deleted`].
    pub fn log_artifact_reference(&self, path: &str, size_bytes: Option<u64>) -> Result<Lsn> {
        self.store.append_event(ArtifactLogged { run: self.id, path: path.to_owned(), size_bytes })
    }

    /// Sets the status only.
    ///
    /// # Errors
    /// [`Error::Deleted`].
    pub fn set_status(&self, status: RunStatus) -> Result<()> {
        let change = RunChange { status: Some(status), ..RunChange::default() };
        self.store.update_run(self.id, change, Process::current())
    }

    /// Ends the run now, with a status. A run that has ended stays as it ended first: to change that, see
    /// [`LocalRun::set_status`] and MLflow's `update_run`.
    ///
    /// # Errors
    /// [`Error::Deleted`].
    pub fn end(&self, status: RunStatus) -> Result<Ended> {
        self.store.end_run(self.id, status, None)
    }
}

/// Whether a run of this status has ended.
pub(crate) fn has_ended(status: RunStatus) -> bool {
    matches!(status, RunStatus::Finished | RunStatus::Failed | RunStatus::Killed)
}

/// Keys that this handle has not logged yet.
struct NewKeys {
    reserved: engine::ReservedKeys,
    named: Vec<(Box<str>, KeyId)>,
}

fn check_metric_key(name: &str) -> Result<()> {
    key::check_as("metric key", name)
}

/// The value of a run's tag.
pub(crate) fn tag_of<'a>(state: &'a RunState, key: &str) -> Option<&'a str> {
    state.tags.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

/// Adds tags to a batch as MLflow sets them: of equal keys the last one wins, `mlflow.runName` renames the run, and
/// does nothing when it is empty.
pub(crate) fn push_tags(batch: &mut Batch, run: RunId, tags: Vec<KeyValue>) {
    let mut last: Vec<KeyValue> = Vec::with_capacity(tags.len());
    for (key, value) in tags.into_iter().filter(|(key, value)| key != TAG_RUN_NAME || !value.is_empty()) {
        match last.iter_mut().find(|(known, _)| *known == key) {
            Some(slot) => slot.1 = value,
            None => last.push((key, value)),
        }
    }
    let name = last.iter().find(|(key, _)| key == TAG_RUN_NAME).map(|(_, name)| name.clone());
    if !last.is_empty() {
        batch.push_event(RunTagsSet { run, tags: last });
    }
    if name.is_some() {
        batch.push_event(RunUpdated { run, status: None, end_time_ms: None, name });
    }
}
