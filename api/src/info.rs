//! Results of reads of entities: plain values that can be sent between processes.

use std::sync::Arc;

use crate::experiment::own_tags;
use crate::registry::{self, version_absent};
use crate::{
    Error, ExperimentId, ExperimentState, Lifecycle, LocalStore, LoggedModelState, LoggedModelStatus, ModelId,
    ModelVersionState, Point, RegisteredModelState, Result, RunId, RunStatus, Snapshot, Stage, Stats, TimestampMs,
    VersionStatus,
};

/// A key and a value.
pub type Pair = (String, String);

/// Which entities are shown: active ones, deleted ones, or both.
pub use crate::engine::search::View;

/// An experiment: see [`Experiment::info`](crate::Experiment::info).
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let store = runlode::Store::open(dir.path().join("exp"))?;
/// let info = store.experiment("digits")?.info()?;
/// assert_eq!((info.name.as_str(), info.deleted, info.artifact_location), ("digits", false, None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExperimentInfo {
    /// Id of the experiment.
    pub id: ExperimentId,
    /// Name, unique among active and deleted experiments.
    pub name: String,
    /// Explicit location of its artifacts; `None`: below the store.
    pub artifact_location: Option<String>,
    /// Whether it is deleted.
    pub deleted: bool,
    /// Time of creation.
    pub created: TimestampMs,
    /// Time of the last delete, restore or rename.
    pub updated: TimestampMs,
    /// Tags, by key.
    pub tags: Vec<Pair>,
}

/// A metric of a run, without its points.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let store = runlode::Store::open(dir.path().join("exp"))?;
/// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
/// run.log_metrics(0, &[("loss", 2.3)])?;
/// run.log_metrics(1, &[("loss", f64::NAN)])?;
/// let loss = &run.info()?.metrics[0];
/// assert_eq!((loss.count, loss.min, loss.max), (2, 2.3, 2.3));
/// assert!(loss.last.value.is_nan());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct MetricInfo {
    /// Key of the metric.
    pub key: Arc<str>,
    /// Number of points.
    pub count: u64,
    /// The latest point: greatest in step, then time, then value.
    pub last: Point,
    /// Least value, NaN skipped.
    pub min: f64,
    /// Greatest value, NaN skipped.
    pub max: f64,
}

/// Compares bit for bit, so a NaN equals itself.
impl PartialEq for MetricInfo {
    fn eq(&self, other: &Self) -> bool {
        let bits = |of: &Self| (of.min.to_bits(), of.max.to_bits());
        (&self.key, self.count, bits(self)) == (&other.key, other.count, bits(other)) && self.last.repeats(&other.last)
    }
}

/// A data set that a run read: its identity in the experiment, and the tags of this use.
///
/// ```
/// use runlode::DatasetInput;
///
/// # let dir = tempfile::tempdir()?;
/// # let store = runlode::Store::open(dir.path().join("exp"))?;
/// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
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
/// let used = &run.info()?.datasets[0];
/// assert_eq!((used.name.as_str(), used.tags[0].1.as_str()), ("digits", "training"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetUse {
    /// Name of the data set.
    pub name: String,
    /// Digest of its content.
    pub digest: String,
    /// Tags, `mlflow.data.context` among them.
    pub tags: Vec<Pair>,
}

/// A run with everything it logged except the points: see [`Run::info`](crate::Run::info).
///
/// ```
/// use runlode::RunStatus;
///
/// # let dir = tempfile::tempdir()?;
/// # let store = runlode::Store::open(dir.path().join("exp"))?;
/// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
/// run.log_params(&[("lr", "0.1")])?;
/// let info = run.info()?;
/// assert_eq!((info.status, info.ended, info.params.len()), (RunStatus::Running, None, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RunInfo {
    /// Id of the run.
    pub id: RunId,
    /// Experiment of the run.
    pub experiment: ExperimentId,
    /// Name; need not be unique.
    pub name: String,
    /// The user who created it; may be empty.
    pub user: String,
    /// Status as last set; whether its process still exists is not checked.
    pub status: RunStatus,
    /// Start time.
    pub started: TimestampMs,
    /// End time; `None` if it has not ended.
    pub ended: Option<TimestampMs>,
    /// Whether it is deleted, by itself or with its experiment.
    pub deleted: bool,
    /// Explicit location of its artifacts; `None`: below its experiment's.
    pub artifact_location: Option<String>,
    /// Metrics, by key.
    pub metrics: Vec<MetricInfo>,
    /// Params, by key.
    pub params: Vec<Pair>,
    /// Tags, by key.
    pub tags: Vec<Pair>,
    /// Data sets that it read, in the order of logging.
    pub datasets: Vec<DatasetUse>,
    /// Ids of the models that it read.
    pub model_inputs: Vec<String>,
    /// Ids of the models that it produced, each with its step.
    pub model_outputs: Vec<(String, i64)>,
}

/// A logged model: see [`LoggedModel::info`](crate::LoggedModel::info).
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let store = runlode::Store::open(dir.path().join("exp"))?;
/// # let model = store.experiment("digits")?.create_logged_model(runlode::LoggedModelSpec::named("mlp"))?;
/// let info = model.info()?;
/// assert_eq!((info.name.as_str(), info.deleted), ("mlp", false));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedModelInfo {
    /// Id of the logged model.
    pub id: ModelId,
    /// Experiment of the model.
    pub experiment: ExperimentId,
    /// Name; need not be unique.
    pub name: String,
    /// Type, free text; may be empty.
    pub model_type: String,
    /// Id of the run that produced it, as given; may be empty.
    pub source_run: String,
    /// Explicit location of its files; `None`: below its experiment's.
    pub artifact_location: Option<String>,
    /// Whether its files are complete.
    pub status: LoggedModelStatus,
    /// Whether it is deleted.
    pub deleted: bool,
    /// Time of creation.
    pub created: TimestampMs,
    /// Time of the last change of its status.
    pub updated: TimestampMs,
    /// Params, by key.
    pub params: Vec<Pair>,
    /// Tags, by key.
    pub tags: Vec<Pair>,
}

/// A registered model: see [`RegisteredModel::info`](crate::RegisteredModel::info).
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let store = runlode::Store::open(dir.path().join("exp"))?;
/// # let fraud = store.create_registered_model("fraud")?;
/// # let version = fraud.create_version(runlode::VersionSpec::from_source("s3://models/a"))?;
/// fraud.set_alias("champion", version)?;
/// let info = fraud.info()?;
/// assert_eq!((info.versions, info.aliases), (vec![1], vec![("champion".to_owned(), 1)]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredModelInfo {
    /// Name, unique in the store.
    pub name: String,
    /// Description; `None` if never set or cleared.
    pub description: Option<String>,
    /// Time of creation.
    pub created: TimestampMs,
    /// Time of the last change.
    pub updated: TimestampMs,
    /// Tags, by key.
    pub tags: Vec<Pair>,
    /// Aliases with their versions, by alias.
    pub aliases: Vec<(String, u32)>,
    /// Numbers of its versions, ascending.
    pub versions: Vec<u32>,
}

/// A version of a registered model: see [`RegisteredModel::version`](crate::RegisteredModel::version).
///
/// ```
/// use runlode::{Stage, engine::event::VersionStatus};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = runlode::Store::open(dir.path().join("exp"))?;
/// # let fraud = store.create_registered_model("fraud")?;
/// # let version = fraud.create_version(runlode::VersionSpec::from_source("s3://models/a"))?;
/// let info = fraud.version(version)?;
/// assert_eq!((info.source.as_str(), info.stage, info.status), ("s3://models/a", Stage::None, VersionStatus::Ready));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionInfo {
    /// Number, from 1.
    pub version: u32,
    /// The version's stage; a new one has none.
    pub stage: Stage,
    /// Source of its files, as given.
    pub source: String,
    /// Id of the run that produced it, as given.
    pub run: Option<String>,
    /// Id of the logged model that it is made from, as given.
    pub model: Option<String>,
    /// The user who created it, if named.
    pub user: Option<String>,
    /// Description; `None` if never set or cleared.
    pub description: Option<String>,
    /// Whether the version can be used.
    pub status: VersionStatus,
    /// Time of creation.
    pub created: TimestampMs,
    /// Time of the last change.
    pub updated: TimestampMs,
    /// Tags, by key.
    pub tags: Vec<Pair>,
}

fn experiment(id: ExperimentId, state: &ExperimentState) -> ExperimentInfo {
    ExperimentInfo {
        id,
        name: state.name.clone(),
        artifact_location: state.artifact_location.clone(),
        deleted: state.lifecycle != Lifecycle::Active,
        created: TimestampMs(state.creation_time_ms),
        updated: TimestampMs(state.last_update_time_ms),
        tags: own_tags(&state.tags),
    }
}

fn metric(key: Arc<str>, stats: &Stats) -> MetricInfo {
    MetricInfo { key, count: stats.count_raw, last: stats.last(), min: stats.min, max: stats.max }
}

/// A run at a snapshot; `None` if it does not exist.
pub(crate) fn run(snapshot: &Snapshot, id: RunId) -> Result<Option<RunInfo>> {
    let Some(state) = snapshot.run(id)?.filter(|state| state.lifecycle != Lifecycle::Purged) else { return Ok(None) };
    let datasets = state.datasets.iter().map(|used| DatasetUse {
        name: used.name.clone(),
        digest: used.digest.clone(),
        tags: used.tags.clone(),
    });
    Ok(Some(RunInfo {
        id,
        experiment: state.experiment,
        name: state.name.clone(),
        user: state.user_id.clone(),
        status: state.status,
        started: TimestampMs(state.start_time_ms),
        ended: state.end_time_ms.map(TimestampMs),
        deleted: snapshot.lifecycle(&state)? != Lifecycle::Active,
        artifact_location: state.artifact_location.clone(),
        metrics: snapshot.latest(id)?.into_iter().map(|(key, stats)| metric(key, &stats)).collect(),
        params: state.params.clone(),
        tags: state.tags.clone(),
        datasets: datasets.collect(),
        model_inputs: state.model_inputs.clone(),
        model_outputs: state.model_outputs.clone(),
    }))
}

fn logged_model(id: ModelId, state: &LoggedModelState) -> LoggedModelInfo {
    LoggedModelInfo {
        id,
        experiment: state.experiment,
        name: state.name.clone(),
        model_type: state.model_type.clone(),
        source_run: state.source_run.clone(),
        artifact_location: state.artifact_location.clone(),
        status: state.status,
        deleted: state.lifecycle != Lifecycle::Active,
        created: TimestampMs(state.creation_time_ms),
        updated: TimestampMs(state.last_updated_time_ms),
        params: state.params.clone(),
        tags: state.tags.clone(),
    }
}

fn registered_model(state: &RegisteredModelState) -> RegisteredModelInfo {
    RegisteredModelInfo {
        name: state.name.clone(),
        description: state.description.clone(),
        created: TimestampMs(state.creation_time_ms),
        updated: TimestampMs(state.last_updated_time_ms),
        tags: own_tags(&state.tags),
        aliases: state.aliases.clone(),
        versions: state.versions.clone(),
    }
}

fn version(number: u32, state: &ModelVersionState) -> VersionInfo {
    VersionInfo {
        version: number,
        stage: state.stage,
        source: state.source.clone(),
        run: state.run_id.clone(),
        model: state.model_id.clone(),
        user: state.user_id.clone(),
        description: state.description.clone(),
        status: state.status,
        created: TimestampMs(state.creation_time_ms),
        updated: TimestampMs(state.last_updated_time_ms),
        tags: state.tags.clone(),
    }
}

/// The error for an entity that does not exist.
fn absent(entity: crate::EntityKind, id: impl ToString) -> Error {
    Error::NotFound { entity, id: id.to_string() }
}

fn version_at(snapshot: &Snapshot, name: &str, number: u32) -> Result<VersionInfo> {
    let (model, _) = registry::find(snapshot, name)?;
    let found = snapshot.model_version(model, number)?.filter(|found| !found.deleted);
    found.map(|state| version(number, &state)).ok_or_else(|| version_absent(name, number))
}

impl LocalStore {
    pub(crate) fn experiment_info(&self, id: ExperimentId) -> Result<ExperimentInfo> {
        let found = self.snapshot_of_entities()?.experiment(id)?;
        found.map(|state| experiment(id, &state)).ok_or_else(|| absent(crate::EntityKind::Experiment, id))
    }

    pub(crate) fn experiment_named(&self, name: &str) -> Result<ExperimentInfo> {
        let found = self.snapshot_of_entities()?.experiment_by_name(name)?;
        found.map(|(id, state)| experiment(id, &state)).ok_or_else(|| absent(crate::EntityKind::Experiment, name))
    }

    pub(crate) fn experiment_infos(&self) -> Result<Vec<ExperimentInfo>> {
        let all = self.snapshot_of_entities()?.experiments()?;
        Ok(all.into_iter().map(|(id, state)| experiment(id, &state)).collect())
    }

    pub(crate) fn run_info(&self, id: RunId) -> Result<RunInfo> {
        run(&self.snapshot_of_run(id)?, id)?.ok_or_else(|| absent(crate::EntityKind::Run, id))
    }

    /// Checks that points may be logged to a run.
    pub(crate) fn check_run(&self, id: RunId) -> Result<()> {
        let snapshot = self.snapshot_of_entities()?;
        let state = snapshot.run(id)?.filter(|state| state.lifecycle != Lifecycle::Purged);
        match snapshot.lifecycle(&*state.ok_or_else(|| absent(crate::EntityKind::Run, id))?)? {
            Lifecycle::Active => Ok(()),
            _ => Err(Error::Deleted { entity: crate::EntityKind::Run, id: id.to_string() }),
        }
    }

    pub(crate) fn metric_info(&self, run: RunId, key: &str) -> Result<Option<MetricInfo>> {
        let snapshot = self.snapshot_of_run(run)?;
        if snapshot.run(run)?.is_none_or(|state| state.lifecycle == Lifecycle::Purged) {
            return Err(absent(crate::EntityKind::Run, run));
        }
        let stats = snapshot.stats(run, key)?;
        Ok(stats.map(|stats| metric(key.into(), &stats)))
    }

    pub(crate) fn logged_model_info(&self, id: ModelId) -> Result<LoggedModelInfo> {
        let found = self.snapshot_of_entities()?.logged_model(id)?;
        found.map(|state| logged_model(id, &state)).ok_or_else(|| absent(crate::EntityKind::LoggedModel, id))
    }

    pub(crate) fn registered_model_info(&self, name: &str) -> Result<RegisteredModelInfo> {
        Ok(registered_model(&registry::find(&self.snapshot_of_entities()?, name)?.1))
    }

    pub(crate) fn registered_model_infos(&self) -> Result<Vec<RegisteredModelInfo>> {
        let all = self.snapshot_of_entities()?.registered_models()?;
        Ok(all.iter().filter(|(_, state)| !state.deleted).map(|(_, state)| registered_model(state)).collect())
    }

    pub(crate) fn version_info(&self, name: &str, number: u32) -> Result<VersionInfo> {
        version_at(&self.snapshot_of_entities()?, name, number)
    }

    pub(crate) fn version_infos(&self, name: &str) -> Result<Vec<VersionInfo>> {
        let snapshot = self.snapshot_of_entities()?;
        let (model, state) = registry::find(&snapshot, name)?;
        let mut versions = Vec::with_capacity(state.versions.len());
        for number in &state.versions {
            let found = snapshot.model_version(model, *number)?.filter(|found| !found.deleted);
            versions.extend(found.map(|state| version(*number, &state)));
        }
        Ok(versions)
    }

    pub(crate) fn version_by_alias(&self, name: &str, alias: &str) -> Result<VersionInfo> {
        // One view for both: the alias may move, and its old version go, in between.
        let snapshot = self.snapshot_of_entities()?;
        let (_, state) = registry::find(&snapshot, name)?;
        let named = state.aliases.iter().find(|(known, _)| known == alias);
        match named {
            Some((_, number)) => version_at(&snapshot, name, *number),
            None => Err(absent(crate::EntityKind::Alias, alias)),
        }
    }
}
