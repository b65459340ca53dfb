//! Creating, changing, ending and deleting runs: the decisions that every API shares.

mod inputs;
pub(crate) mod points;

use std::sync::Arc;

use runlode_engine::event::{
    KeyValue, ParamsLogged, RunCreated, RunDeleted, RunPurged, RunRestored, RunStatus, RunTagDeleted, RunTagsSet,
    RunUpdated,
};
use runlode_engine::{Batch, Durability, EntityKind, Error, ExperimentId, Lsn, Result, RunId, TimestampMs};

use crate::experiment::owned;
use crate::key;
use crate::lease::Process;
use crate::{EntityKey, Lifecycle, LocalStore, RunState, TAG_RUN_NAME, new_run_id, run_name};

/// MLflow's tag for the run that a run belongs to.
const PARENT_TAG: &str = "mlflow.parentRunId";
/// The tag that says which run a run was forked from, and at which step.
pub const FORK_TAG: &str = "runlode.fork";

/// Attributes of a new run; all have defaults.
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

/// Changes to a run; `None` leaves an attribute unchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RunChange {
    pub(crate) status: Option<RunStatus>,
    pub(crate) end_time_ms: Option<i64>,
    pub(crate) name: Option<String>,
}

/// A run's name was given twice, with different values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamesDiffer {
    pub(crate) name: String,
    pub(crate) tag: String,
}

/// The name given for a new run, by argument or by the tag `mlflow.runName`; an empty one counts as none.
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
    ///
    /// ```
    /// use runlode::{RunSpec, RunStatus};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// let run = digits.create_run(RunSpec::new())?;
    /// assert_eq!(run.info()?.status, RunStatus::Running);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the name; names need not be unique.
    ///
    /// ```
    /// use runlode::RunSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// assert_eq!(digits.create_run(RunSpec::named("trial-17"))?.info()?.name, "trial-17");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    /// The user who runs it. Default: empty.
    ///
    /// ```
    /// use runlode::RunSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// assert_eq!(digits.create_run(RunSpec::new().user("ada"))?.info()?.user, "ada");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = user.into();
        self
    }

    /// Adds a tag.
    ///
    /// ```
    /// use runlode::RunSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// digits.create_run(RunSpec::new().tag("kind", "ablation"))?;
    /// assert_eq!(digits.search_runs("tags.kind = 'ablation'").find()?.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((key.into(), value.into()));
        self
    }

    /// The parent run, under which pages show it.
    ///
    /// ```
    /// use runlode::RunSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// let sweep = digits.create_run(RunSpec::named("sweep"))?;
    /// digits.create_run(RunSpec::named("trial-1").parent(sweep.id()))?;
    /// let children = format!("tags.`mlflow.parentRunId` = '{}'", sweep.id());
    /// assert_eq!(digits.search_runs(&children).find()?[0].name, "trial-1");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn parent(self, parent: RunId) -> Self {
        self.tag("mlflow.parentRunId", parent.to_string())
    }

    /// The id, if the caller has one. Default: random.
    ///
    /// ```
    /// use runlode::{RunSpec, new_run_id};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// let id = new_run_id()?;
    /// assert_eq!(digits.create_run(RunSpec::new().id(id))?.id(), id);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn id(mut self, id: RunId) -> Self {
        self.id = Some(id);
        self
    }

    /// Its status. Default: running.
    ///
    /// ```
    /// use runlode::{RunSpec, RunStatus};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// let run = digits.create_run(RunSpec::new().status(RunStatus::Scheduled))?;
    /// assert_eq!(run.info()?.status, RunStatus::Scheduled);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn status(mut self, status: RunStatus) -> Self {
        self.status = Some(status);
        self
    }

    /// When it started. Default: now.
    ///
    /// ```
    /// use runlode::{RunSpec, TimestampMs};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// let run = digits.create_run(RunSpec::new().start_time(TimestampMs(1_700_000_000_000)))?;
    /// assert_eq!(run.info()?.started.0, 1_700_000_000_000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn start_time(mut self, start_time: TimestampMs) -> Self {
        self.start_time = Some(start_time);
        self
    }

    /// Location of its artifacts. Default: below its experiment's.
    ///
    /// ```
    /// use runlode::RunSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// let run = digits.create_run(RunSpec::new().artifact_location("s3://team/trial-17"))?;
    /// assert_eq!(run.artifact_place()?, "s3://team/trial-17");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn artifact_location(mut self, location: impl Into<String>) -> Self {
        self.artifact_location = Some(location.into());
        self
    }
}

/// What became of [`LocalRun::end`](crate::LocalRun::end).
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The run ended now, by the batch at this position.
    Now(Lsn),
    /// It had ended before with this status, and is unchanged.
    Before(RunStatus),
}

impl LocalStore {
    /// Creates a run; if it runs, it is `process`'s. Whether the experiment is there and active is the append's to say:
    /// it alone knows.
    pub(crate) fn begin_run(&self, experiment: ExperimentId, spec: RunSpec, process: Option<Process>) -> Result<RunId> {
        let (id, batch) = self.new_run(experiment, spec, process)?;
        self.append(batch, Durability::Sync)?;
        Ok(id)
    }

    /// Creates a run in the parent's experiment, whose metrics begin with the parent's points up to a step. Tags say where
    /// it comes from: `mlflow.parentRunId`, so that it is shown below its parent, and [`FORK_TAG`].
    pub(crate) fn begin_fork(
        &self,
        parent: RunId,
        to_step: i64,
        mut spec: RunSpec,
        process: Option<Process>,
    ) -> Result<RunId> {
        let state = self.run_state(parent)?;
        for (key, value) in [(PARENT_TAG, parent.to_string()), (FORK_TAG, format!("{parent} at step {to_step}"))] {
            if !spec.tags.iter().any(|(given, _)| given == key) {
                spec.tags.push((key.to_owned(), value));
            }
        }
        let named = spec.tags.iter().any(|(key, value)| key == TAG_RUN_NAME && !value.is_empty());
        if spec.name.as_deref().unwrap_or_default().is_empty() && !named {
            spec.name = Some(format!("{}-fork", state.name));
        }
        let (id, batch) = self.new_run(state.experiment, spec, process)?;
        self.append_fork(id, parent, to_step, batch)?;
        Ok(id)
    }

    /// The id of a new run, and the batch that creates it.
    fn new_run(&self, experiment: ExperimentId, spec: RunSpec, process: Option<Process>) -> Result<(RunId, Batch)> {
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
        Ok((id, batch))
    }

    /// Changes status, end and name of a run. One that runs again is leased to `process`.
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

    /// Ends a run, unless it has ended already.
    pub(crate) fn end_run(&self, run: RunId, status: RunStatus, end_time_ms: Option<i64>) -> Result<Ended> {
        loop {
            let state = self.run_state(run)?;
            if has_ended(state.status) {
                return Ok(Ended::Before(state.status));
            }
            let end_time_ms = Some(end_time_ms.unwrap_or_else(|| self.now().0));
            let ended = RunUpdated { run, status: Some(status), end_time_ms, name: None };
            // If several callers end it at once, exactly one of them is the first.
            let batch = Batch::new().event(ended).expect(EntityKey::Run(run), state.last);
            match self.append(batch, Durability::Sync) {
                Err(Error::Conflict { .. }) => {}
                result => return Ok(Ended::Now(result?.lsn)),
            }
        }
    }

    /// Records that a process logs to a run from now on. `None`: the lease is its already.
    pub(crate) fn lease_run(&self, run: RunId, process: Process) -> Result<Option<Lsn>> {
        if self.run_state(run)?.lease.as_ref().is_some_and(|lease| process.is_of(lease)) {
            return Ok(None);
        }
        self.append_event(process.lease(run, self.now().0)).map(Some)
    }

    /// Sets tags of a run: of equal keys the last one wins; `mlflow.runName` renames it, and is ignored if empty.
    /// Returns the position of the change.
    pub(crate) fn set_run_tags<K: AsRef<str>, V: AsRef<str>>(&self, run: RunId, tags: &[(K, V)]) -> Result<Lsn> {
        tags.iter().try_for_each(|(key, _)| key::check_as("tag key", key.as_ref()))?;
        let mut batch = Batch::new();
        push_tags(&mut batch, run, owned(tags));
        if batch.events_count() == 0 {
            return Ok(self.positions().published);
        }
        Ok(self.append(batch, Durability::Sync)?.lsn)
    }

    /// Sets a tag if it has the expected value. Returns whether it had.
    pub(crate) fn swap_run_tag(&self, run: RunId, key: &str, before: Option<&str>, after: &str) -> Result<bool> {
        loop {
            let state = self.run_state(run)?;
            if tag_of(&state, key) != before {
                return Ok(false);
            }
            let tags = vec![(key.to_owned(), after.to_owned())];
            let batch = Batch::new().event(RunTagsSet { run, tags }).expect(EntityKey::Run(run), state.last);
            match self.append(batch, Durability::Sync) {
                // The run changed meanwhile, but maybe not this tag.
                Err(Error::Conflict { .. }) => {}
                result => return result.map(|_| true),
            }
        }
    }

    /// Deletes a tag of a run. Deleting `mlflow.runName` does not change the run's name.
    pub(crate) fn delete_run_tag(&self, run: RunId, key: &str) -> Result<Lsn> {
        self.append_event(RunTagDeleted { run, key: key.to_owned() })
    }

    /// Logs params of a run, all or none.
    pub(crate) fn log_run_params<K: AsRef<str>, V: AsRef<str>>(&self, run: RunId, params: &[(K, V)]) -> Result<Lsn> {
        params.iter().try_for_each(|(key, _)| key::check_as("param key", key.as_ref()))?;
        self.append_event(ParamsLogged { run, params: owned(params) })
    }

    /// The state of an existing run, deleted or not.
    pub(crate) fn run_state(&self, run: RunId) -> Result<Arc<RunState>> {
        let found = self.snapshot_of_entities()?.run(run)?.filter(|state| state.lifecycle != Lifecycle::Purged);
        found.ok_or_else(|| Error::NotFound { entity: EntityKind::Run, id: run.to_string() })
    }

    /// Deletes a run. [`LocalStore::restore_run`] takes it back.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// store.delete_run(run.id())?;
    /// assert!(run.log_metrics(0, &[("loss", 2.3)]).is_err(), "it is deleted");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete_run(&self, run: RunId) -> Result<Lsn> {
        self.append_event(RunDeleted { run, at_ms: self.now().0 })
    }

    /// Restores a deleted run.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Purged`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// store.delete_run(run.id())?;
    /// store.restore_run(run.id())?;
    /// run.log_metrics(0, &[("loss", 2.3)])?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn restore_run(&self, run: RunId) -> Result<Lsn> {
        self.append_event(RunRestored { run })
    }

    /// Purges a deleted run: it is hidden at once and for good, and removed from disk at the next compaction.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`] if the run is not deleted.
    ///
    /// ```
    /// use runlode::CompactOptions;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// store.delete_run(run.id())?;
    /// store.purge_run(run.id())?;
    /// store.compact(&CompactOptions::default())?; // now its data is gone from the disk
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn purge_run(&self, run: RunId) -> Result<Lsn> {
        self.append_event(RunPurged { run })
    }
}

/// Whether a run of this status has ended.
pub(crate) fn has_ended(status: RunStatus) -> bool {
    matches!(status, RunStatus::Finished | RunStatus::Failed | RunStatus::Killed)
}

/// The value of a run's tag; `None` if it is not set.
pub(crate) fn tag_of<'a>(state: &'a RunState, key: &str) -> Option<&'a str> {
    state.tags.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

/// Adds tags to a batch as MLflow sets them: of equal keys the last one wins; `mlflow.runName` renames the run, and is
/// ignored if empty.
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
