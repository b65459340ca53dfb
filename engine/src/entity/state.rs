//! States of entities at a position: `apply` makes them from events, index.redb stores them, readers get them.
//! Immutable once published: a change makes a new value in a new [`Arc`].
//!
//! Invariants: lists of keys and values are sorted by key and hold each key once. `last` is the position of the last
//! event that touched the entity; optimistic checks use it as the entity's version.

use std::sync::Arc;

use rkyv::{Archive, Deserialize, Serialize};

use crate::event::{ArchivedRunStatus, DatasetInput, KeyValue, LoggedModelStatus, RunStatus, Stage, VersionStatus};
use crate::id::{ExperimentId, Lsn, ModelId, RegisteredModelId, RunId};

/// An entity that events can touch. Also the key of the entity's event list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntityKey {
    /// An experiment.
    Experiment(ExperimentId),
    /// An experiment's name, taken or free.
    ExperimentName(Arc<str>),
    /// A run.
    Run(RunId),
    /// A logged model.
    LoggedModel(ModelId),
    /// A registered model.
    RegisteredModel(RegisteredModelId),
    /// A registered model's name, taken or free.
    ModelName(Arc<str>),
    /// A model version.
    ModelVersion(RegisteredModelId, u32),
    /// A data set of an experiment, by name and digest.
    Dataset(ExperimentId, Arc<str>, Arc<str>),
}

/// The state of an entity.
#[derive(Debug, Clone, PartialEq)]
pub enum EntityState {
    /// State of [`EntityKey::Experiment`].
    Experiment(ExperimentState),
    /// State of [`EntityKey::ExperimentName`]: its owner.
    ExperimentName(NameState),
    /// State of [`EntityKey::Run`].
    Run(RunState),
    /// State of [`EntityKey::LoggedModel`].
    LoggedModel(LoggedModelState),
    /// State of [`EntityKey::RegisteredModel`].
    RegisteredModel(RegisteredModelState),
    /// State of [`EntityKey::ModelName`]: its owner.
    ModelName(NameState),
    /// State of [`EntityKey::ModelVersion`].
    ModelVersion(ModelVersionState),
    /// State of [`EntityKey::Dataset`]: the first one logged.
    Dataset(DatasetState),
}

/// Active or deleted (restorable).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
#[repr(u8)]
pub enum Lifecycle {
    /// In use.
    Active = 0,
    /// Deleted; can be restored.
    Deleted = 1,
    /// Purged: its data is gone, or will be at the next compaction. Never changes again.
    Purged = 2,
}

/// The owner of a name. A name that was never used has no state. `owner: None` is a released name, kept for its `last`.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct NameState {
    /// Experiment id or registered model number.
    pub owner: Option<u64>,
    /// Last change.
    pub last: Lsn,
}

/// An experiment.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ExperimentState {
    /// Name.
    pub name: String,
    /// Explicit artifact location.
    pub artifact_location: Option<String>,
    /// Active or deleted.
    pub lifecycle: Lifecycle,
    /// Position of the last delete or restore (or the creation); see [`RunState::lifecycle_in`].
    pub lifecycle_lsn: Lsn,
    /// Creation, Unix ms.
    pub creation_time_ms: i64,
    /// Last update, Unix ms.
    pub last_update_time_ms: i64,
    /// Tags.
    pub tags: Vec<KeyValue>,
    /// Position of its creation.
    pub created: Lsn,
    /// Last change.
    pub last: Lsn,
}

/// A data set as a run's input: identity and tags; the rest is the experiment's [`DatasetState`].
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct DatasetRef {
    /// Name.
    pub name: String,
    /// Digest.
    pub digest: String,
    /// Tags of the input.
    pub tags: Vec<KeyValue>,
}

/// The beginning of a run's branch; see [`crate::branch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Rewind {
    /// The branch that it continues.
    pub from: u32,
    /// Points of that branch with a greater step are not in it.
    pub to_step: i64,
    /// Position of the rewind.
    pub lsn: Lsn,
    /// When, Unix ms.
    pub at_ms: i64,
}

/// The run that another one continues; see [`crate::branch`]. How far, says the first of its rewinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ForkedFrom {
    /// The parent.
    pub run: RunId,
    /// The branch of the parent that is continued.
    pub branch: u32,
    /// Points of the parent above this position are not shared.
    pub up_to: Lsn,
}

/// A process that logs to a run.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Lease {
    /// Name of its machine.
    pub host: String,
    /// Its id there.
    pub pid: u32,
    /// When it started, in clock ticks since its machine booted.
    pub process_start: u64,
    /// Id of the machine's boot.
    pub boot_id: String,
    /// When the lease was taken, Unix ms.
    pub at_ms: i64,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct RunState {
    /// Its experiment.
    pub experiment: ExperimentId,
    /// Name.
    pub name: String,
    /// The user.
    pub user_id: String,
    /// Status.
    pub status: RunStatus,
    /// Start, Unix ms.
    pub start_time_ms: i64,
    /// End, Unix ms.
    pub end_time_ms: Option<i64>,
    /// Explicit artifact location.
    pub artifact_location: Option<String>,
    /// The run's own lifecycle; the effective one is [`RunState::lifecycle_in`].
    pub lifecycle: Lifecycle,
    /// Position of the run's own last delete or restore (or its creation).
    pub lifecycle_lsn: Lsn,
    /// When it was deleted, Unix ms.
    pub deleted_time_ms: Option<i64>,
    /// Params.
    pub params: Vec<KeyValue>,
    /// Tags.
    pub tags: Vec<KeyValue>,
    /// Data sets, in the order of logging.
    pub datasets: Vec<DatasetRef>,
    /// Input models, in the order of logging, once each.
    pub model_inputs: Vec<String>,
    /// Output models with step, in the order of logging; duplicates kept.
    pub model_outputs: Vec<(String, i64)>,
    /// Artifacts: path and length, sorted by path.
    pub artifacts: Vec<(String, Option<u64>)>,
    /// Number of project launches.
    pub launches: u32,
    /// Rewinds, in order: the n-th one began branch n. The branch of the last one is live; without rewinds, branch 0
    /// is.
    pub rewinds: Vec<Rewind>,
    /// The run that it was forked from. Its branch 0 is then empty, and branch 1 continues the parent.
    pub forked: Option<ForkedFrom>,
    /// The process that logs to it, or the last one that did.
    pub lease: Option<Lease>,
    /// Position of its creation.
    pub created: Lsn,
    /// Last change (metric points do not count).
    pub last: Lsn,
}

impl From<&ArchivedRewind> for Rewind {
    fn from(row: &ArchivedRewind) -> Self {
        Self {
            from: row.from.to_native(),
            to_step: row.to_step.to_native(),
            lsn: Lsn(row.lsn.0.to_native()),
            at_ms: row.at_ms.to_native(),
        }
    }
}

impl From<&ArchivedForkedFrom> for ForkedFrom {
    fn from(row: &ArchivedForkedFrom) -> Self {
        Self { run: RunId(row.run.0), branch: row.branch.to_native(), up_to: Lsn(row.up_to.0.to_native()) }
    }
}

impl ExperimentState {
    /// Whether it was purged: it is in no list any more. Such an experiment is deleted and has no name.
    pub fn is_purged(&self) -> bool {
        self.lifecycle == Lifecycle::Deleted && self.name.is_empty()
    }
}

impl RunState {
    /// An active run in which nothing is recorded yet.
    pub fn new(experiment: ExperimentId, created: Lsn) -> Self {
        Self {
            experiment,
            name: String::new(),
            user_id: String::new(),
            status: RunStatus::Running,
            start_time_ms: 0,
            end_time_ms: None,
            artifact_location: None,
            lifecycle: Lifecycle::Active,
            lifecycle_lsn: created,
            deleted_time_ms: None,
            params: Vec::new(),
            tags: Vec::new(),
            datasets: Vec::new(),
            model_inputs: Vec::new(),
            model_outputs: Vec::new(),
            artifacts: Vec::new(),
            launches: 0,
            rewinds: Vec::new(),
            forked: None,
            lease: None,
            created,
            last: created,
        }
    }

    /// The effective lifecycle: deleting or restoring an experiment affects all its runs; the later of both changes
    /// counts.
    pub fn lifecycle_in(&self, experiment: &ExperimentState) -> Lifecycle {
        if self.lifecycle == Lifecycle::Purged || self.lifecycle_lsn > experiment.lifecycle_lsn {
            self.lifecycle
        } else {
            experiment.lifecycle
        }
    }

    /// The live branch.
    pub fn branch(&self) -> u32 {
        self.rewinds.len() as u32
    }
}

impl ArchivedRunState {
    /// [`RunState::branch`], read in place.
    pub fn branch(&self) -> u32 {
        self.rewinds.len() as u32
    }

    /// [`RunState::lifecycle_in`], read in place.
    pub fn lifecycle_in(&self, experiment: &ExperimentState) -> Lifecycle {
        let own = match self.lifecycle {
            ArchivedLifecycle::Active => Lifecycle::Active,
            ArchivedLifecycle::Deleted => Lifecycle::Deleted,
            ArchivedLifecycle::Purged => Lifecycle::Purged,
        };
        if own == Lifecycle::Purged || self.lifecycle_lsn.0 > experiment.lifecycle_lsn.0 {
            own
        } else {
            experiment.lifecycle
        }
    }

    /// [`RunState::status`], read in place.
    pub fn status(&self) -> RunStatus {
        match self.status {
            ArchivedRunStatus::Running => RunStatus::Running,
            ArchivedRunStatus::Scheduled => RunStatus::Scheduled,
            ArchivedRunStatus::Finished => RunStatus::Finished,
            ArchivedRunStatus::Failed => RunStatus::Failed,
            ArchivedRunStatus::Killed => RunStatus::Killed,
        }
    }
}

/// A run's point that is a metric of a logged model too, whatever model its context names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Archive, Serialize, Deserialize)]
pub struct SharedPoint {
    /// The run.
    pub run: RunId,
    /// Key of the metric.
    pub key: String,
    /// Step.
    pub step: i64,
    /// Time, Unix ms.
    pub time_ms: i64,
    /// Bits of the value.
    pub value_bits: u64,
    /// Name of the data set that it was measured on.
    pub dataset_name: Option<String>,
    /// Digest of that data set.
    pub dataset_digest: Option<String>,
}

/// A logged model.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct LoggedModelState {
    /// Its experiment.
    pub experiment: ExperimentId,
    /// Name.
    pub name: String,
    /// Type.
    pub model_type: String,
    /// The run that created it, as given.
    pub source_run: String,
    /// Explicit artifact location.
    pub artifact_location: Option<String>,
    /// Status.
    pub status: LoggedModelStatus,
    /// Message to the status.
    pub status_message: Option<String>,
    /// Active or deleted.
    pub lifecycle: Lifecycle,
    /// Creation, Unix ms.
    pub creation_time_ms: i64,
    /// Last update, Unix ms.
    pub last_updated_time_ms: i64,
    /// Params.
    pub params: Vec<KeyValue>,
    /// Tags.
    pub tags: Vec<KeyValue>,
    /// Series that hold points of this model: run and key, sorted.
    pub metric_series: Vec<(RunId, String)>,
    /// Points that a run logged without naming this model and that are its metrics too, sorted.
    pub shared_points: Vec<SharedPoint>,
    /// Position of its creation.
    pub created: Lsn,
    /// Last change.
    pub last: Lsn,
}

/// A registered model.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct RegisteredModelState {
    /// Name.
    pub name: String,
    /// Description.
    pub description: Option<String>,
    /// Creation, Unix ms.
    pub creation_time_ms: i64,
    /// Last update, Unix ms.
    pub last_updated_time_ms: i64,
    /// Tags.
    pub tags: Vec<KeyValue>,
    /// Aliases and the version each names, sorted.
    pub aliases: Vec<(String, u32)>,
    /// Highest version number ever used.
    pub version_last: u32,
    /// Numbers of the versions that exist, ascending.
    pub versions: Vec<u32>,
    /// Deleted: hidden, its name free.
    pub deleted: bool,
    /// Position of its creation.
    pub created: Lsn,
    /// Last change.
    pub last: Lsn,
}

/// A model version.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ModelVersionState {
    /// Its source, as given.
    pub source: String,
    /// Resolved location of its files.
    pub storage_location: Option<String>,
    /// The run, as given.
    pub run_id: Option<String>,
    /// Link to the run.
    pub run_link: Option<String>,
    /// Logged model, as given.
    pub model_id: Option<String>,
    /// The user.
    pub user_id: Option<String>,
    /// Description.
    pub description: Option<String>,
    /// Stage.
    pub stage: Stage,
    /// Status.
    pub status: VersionStatus,
    /// Message to the status.
    pub status_message: Option<String>,
    /// Creation, Unix ms.
    pub creation_time_ms: i64,
    /// Last update, Unix ms.
    pub last_updated_time_ms: i64,
    /// Tags.
    pub tags: Vec<KeyValue>,
    /// Deleted: hidden, its number stays used.
    pub deleted: bool,
    /// Position of its creation.
    pub created: Lsn,
    /// Last change.
    pub last: Lsn,
}

/// A data set of an experiment: the first one logged under this name and digest.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct DatasetState {
    /// Kind of source.
    pub source_type: String,
    /// Source.
    pub source: String,
    /// Schema.
    pub schema: Option<String>,
    /// Profile.
    pub profile: Option<String>,
    /// Position of the event that logged it.
    pub last: Lsn,
}

impl From<&DatasetInput> for DatasetRef {
    fn from(input: &DatasetInput) -> Self {
        let mut tags = input.tags.clone();
        tags.sort_by(|a, b| a.0.cmp(&b.0));
        Self { name: input.name.clone(), digest: input.digest.clone(), tags }
    }
}

impl EntityState {
    /// Position of the last event that touched it.
    pub fn last(&self) -> Lsn {
        match self {
            Self::Experiment(state) => state.last,
            Self::ExperimentName(state) | Self::ModelName(state) => state.last,
            Self::Run(state) => state.last,
            Self::LoggedModel(state) => state.last,
            Self::RegisteredModel(state) => state.last,
            Self::ModelVersion(state) => state.last,
            Self::Dataset(state) => state.last,
        }
    }

    /// Estimated bytes in memory, including the allocator's overhead.
    pub fn bytes(&self) -> usize {
        fn texts<'a>(list: impl IntoIterator<Item = &'a String>) -> usize {
            list.into_iter().map(|text| text.len() + 16).sum()
        }
        fn pairs(list: &[KeyValue]) -> usize {
            size_of_val(list) + texts(list.iter().flat_map(|(key, value)| [key, value]))
        }
        let owned = match self {
            Self::Experiment(state) => texts([&state.name]) + texts(&state.artifact_location) + pairs(&state.tags),
            Self::ExperimentName(_) | Self::ModelName(_) => 0,
            Self::Run(state) => {
                let datasets = state.datasets.iter();
                texts([&state.name, &state.user_id])
                    + texts(&state.artifact_location)
                    + pairs(&state.params)
                    + pairs(&state.tags)
                    + datasets
                        .map(|set| size_of_val(set) + texts([&set.name, &set.digest]) + pairs(&set.tags))
                        .sum::<usize>()
                    + size_of_val(state.model_inputs.as_slice())
                    + texts(&state.model_inputs)
                    + size_of_val(state.model_outputs.as_slice())
                    + texts(state.model_outputs.iter().map(|(model, _)| model))
                    + size_of_val(state.rewinds.as_slice())
                    + texts(state.lease.iter().flat_map(|lease| [&lease.host, &lease.boot_id]))
                    + size_of_val(state.artifacts.as_slice())
                    + texts(state.artifacts.iter().map(|(path, _)| path))
            }
            Self::LoggedModel(state) => {
                texts([&state.name, &state.model_type, &state.source_run])
                    + texts(state.artifact_location.iter().chain(&state.status_message))
                    + pairs(&state.params)
                    + pairs(&state.tags)
            }
            Self::RegisteredModel(state) => {
                texts([&state.name])
                    + texts(&state.description)
                    + pairs(&state.tags)
                    + size_of_val(state.aliases.as_slice())
                    + texts(state.aliases.iter().map(|(alias, _)| alias))
                    + size_of_val(state.versions.as_slice())
            }
            Self::ModelVersion(state) => {
                let optional = [&state.storage_location, &state.run_id, &state.run_link, &state.model_id];
                let more = [&state.user_id, &state.description, &state.status_message];
                texts([&state.source]) + texts(optional.into_iter().chain(more).flatten()) + pairs(&state.tags)
            }
            Self::Dataset(state) => {
                texts([&state.source_type, &state.source]) + texts(state.schema.iter().chain(&state.profile))
            }
        };
        size_of::<Self>() + 32 + owned
    }
}
