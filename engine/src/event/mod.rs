//! The vocabulary: what can happen in a store. One variant, one past fact.
//!
//! Each kind has a tag that is never reused (table below) and a version; [`payload`] frames them, `upcast` reads old
//! versions. A tag or version that this build does not know is kept in the log, skipped by projections and reported.
//!
//! Metric points are not events: `section` lays them out by columns, in the same frame. Times inside an event are the
//! entity's own (creation, update), as the caller decided them; the frame has the time of the append. An event holds
//! everything that replay needs.
//!
//! | tags | of |
//! |---|---|
//! | 1-9 | experiments |
//! | 10-29 | runs |
//! | 30-39 | logged models |
//! | 40-49 | registered models |
//! | 50-59 | model versions |
//! | 60-69 | project launches |
//! | 70-79 | the store itself |
//!
//! Retired tags: none yet.

pub mod batch;
pub mod payload;
#[cfg(not(feature = "testing"))]
pub(crate) mod section;
#[cfg(feature = "testing")]
pub mod section;
pub(crate) mod upcast;
mod values;

use rkyv::{Archive, Deserialize, Serialize};

pub use values::*;

use crate::id::{ExperimentId, ModelId, RegisteredModelId, RunId, StoreId};

macro_rules! events {
    ($($(#[$doc:meta])* $tag:literal $name:ident { $($(#[$fdoc:meta])* $field:ident : $type:ty),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Archive, Serialize, Deserialize)]
            pub struct $name { $($(#[$fdoc])* pub $field: $type),* }

            impl From<$name> for Event {
                fn from(event: $name) -> Self { Event::$name(event) }
            }
        )*

        /// One fact.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub enum Event { $($(#[$doc])* $name($name)),* }

        impl Event {
            /// The tag on disk; see the module's table.
            pub fn tag(&self) -> u16 {
                match self { $(Event::$name(_) => $tag),* }
            }

            /// The name, as histories print it.
            pub fn name(&self) -> &'static str {
                match self { $(Event::$name(_) => stringify!($name)),* }
            }
        }

        /// Every kind: (tag, name).
        pub const KINDS: &[(u16, &str)] = &[$(($tag, stringify!($name))),*];

        /// Calls a macro with `tag => Name` for every kind; `payload` makes its tables with it.
        macro_rules! for_each_event { ($m:ident) => { $m! { $($tag => $name),* } } }
        pub(crate) use for_each_event;
    };
}

events! {
    /// An experiment was created.
    1 ExperimentCreated {
        /// Its id.
        experiment: ExperimentId,
        /// Its name, unique among active and deleted ones.
        name: String,
        /// Explicit artifact location; `None` is the store's default.
        artifact_location: Option<String>,
        /// Creation, Unix ms.
        creation_time_ms: i64,
        /// Last update, Unix ms.
        last_update_time_ms: i64,
        /// Tags given at creation.
        tags: Vec<KeyValue>,
    }
    /// An experiment was renamed.
    2 ExperimentRenamed {
        /// The experiment.
        experiment: ExperimentId,
        /// New name.
        name: String,
        /// When, Unix ms.
        at_ms: i64,
    }
    /// Tags of an experiment were set.
    3 ExperimentTagsSet {
        /// The experiment.
        experiment: ExperimentId,
        /// The tags.
        tags: Vec<KeyValue>,
    }
    /// A tag of an experiment was deleted.
    4 ExperimentTagDeleted {
        /// The experiment.
        experiment: ExperimentId,
        /// The tag's key.
        key: String,
    }
    /// An experiment and all its runs were deleted; they can be restored.
    5 ExperimentDeleted {
        /// The experiment.
        experiment: ExperimentId,
        /// When, Unix ms.
        at_ms: i64,
    }
    /// An experiment and all its runs were restored.
    6 ExperimentRestored {
        /// The experiment.
        experiment: ExperimentId,
        /// When, Unix ms.
        at_ms: i64,
    }
    /// A deleted experiment without runs was purged: it leaves all lists, and its name is free.
    7 ExperimentPurged {
        /// The experiment.
        experiment: ExperimentId,
        /// When, Unix ms.
        at_ms: i64,
    }
    /// A run was created.
    10 RunCreated {
        /// Its id.
        run: RunId,
        /// The experiment it belongs to.
        experiment: ExperimentId,
        /// Its name.
        name: String,
        /// The user; may be empty.
        user_id: String,
        /// Status at creation.
        status: RunStatus,
        /// Start, Unix ms.
        start_time_ms: i64,
        /// Explicit artifact location; `None` is the default of its experiment.
        artifact_location: Option<String>,
        /// Tags given at creation.
        tags: Vec<KeyValue>,
    }
    /// Status, end or name of a run changed; fields that are `None` stay.
    11 RunUpdated {
        /// The run.
        run: RunId,
        /// New status.
        status: Option<RunStatus>,
        /// New end, Unix ms.
        end_time_ms: Option<i64>,
        /// New name.
        name: Option<String>,
    }
    /// A run was deleted; it can be restored.
    12 RunDeleted {
        /// The run.
        run: RunId,
        /// When, Unix ms.
        at_ms: i64,
    }
    /// A run was restored.
    13 RunRestored {
        /// The run.
        run: RunId,
    }
    /// A run was purged: hidden at once, removed from the disk by the next compaction.
    14 RunPurged {
        /// The run.
        run: RunId,
    }
    /// Params were logged.
    15 ParamsLogged {
        /// The run.
        run: RunId,
        /// The params; a key's value never changes.
        params: Vec<KeyValue>,
    }
    /// Tags of a run were set.
    16 RunTagsSet {
        /// The run.
        run: RunId,
        /// The tags; of equal keys the last one wins.
        tags: Vec<KeyValue>,
    }
    /// A tag of a run was deleted.
    17 RunTagDeleted {
        /// The run.
        run: RunId,
        /// The tag's key.
        key: String,
    }
    /// Inputs of a run were logged.
    18 RunInputsLogged {
        /// The run.
        run: RunId,
        /// Data sets.
        datasets: Vec<DatasetInput>,
        /// Model ids, as given.
        models: Vec<String>,
    }
    /// Outputs of a run were logged.
    19 RunOutputsLogged {
        /// The run.
        run: RunId,
        /// Model ids as given, with the step; duplicates are kept.
        models: Vec<(String, i64)>,
    }
    /// An artifact of a run was stored.
    20 ArtifactLogged {
        /// The run.
        run: RunId,
        /// Path below the run's artifact location.
        path: String,
        /// Length in bytes, if known.
        size_bytes: Option<u64>,
    }
    /// A run was rewound to a step: a new branch is live, which continues another one up to there. See
    /// [`crate::branch`].
    21 RunRewound {
        /// The run.
        run: RunId,
        /// The branch that begins, from 1.
        branch: u32,
        /// The branch that it continues.
        from: u32,
        /// Points of `from` with a greater step are not in the new branch.
        to_step: i64,
        /// When, Unix ms.
        at_ms: i64,
        /// Statistics of what it continues, one for each metric with points there, by key.
        kept: Vec<KeptSeries>,
    }
    /// A process began to log to a run, or resumed it. The run is not lost while the process lives.
    22 RunLeased {
        /// The run.
        run: RunId,
        /// Name of the machine.
        host: String,
        /// Id of the process there.
        pid: u32,
        /// When the process started, in clock ticks since its machine booted.
        process_start: u64,
        /// Id of the machine's boot.
        boot_id: String,
        /// When, Unix ms.
        at_ms: i64,
    }
    /// A run continues another one: its curves begin with those of the parent up to a step. No point is copied. See
    /// [`crate::branch`].
    23 RunForked {
        /// The run, which has no points yet; its branch 1 begins.
        run: RunId,
        /// The run that it continues.
        parent: RunId,
        /// The branch of the parent that it continues.
        parent_branch: u32,
        /// Points of the parent above this position are not in it.
        up_to: u64,
        /// Points of the parent with a greater step are not in it.
        to_step: i64,
        /// When, Unix ms.
        at_ms: i64,
        /// Statistics of what it continues, one for each metric with points there, by key.
        kept: Vec<KeptSeries>,
    }
    /// A logged model was created.
    30 LoggedModelCreated {
        /// Its id.
        model: ModelId,
        /// The experiment it belongs to.
        experiment: ExperimentId,
        /// Its name.
        name: String,
        /// Its type; may be empty.
        model_type: String,
        /// The run that created it, as given; may be empty.
        source_run: String,
        /// Explicit artifact location; `None` is the default.
        artifact_location: Option<String>,
        /// Status.
        status: LoggedModelStatus,
        /// Message to the status.
        status_message: Option<String>,
        /// Creation, Unix ms.
        creation_time_ms: i64,
        /// Last update, Unix ms.
        last_updated_time_ms: i64,
        /// Params; append only.
        params: Vec<KeyValue>,
        /// Tags.
        tags: Vec<KeyValue>,
    }
    /// A logged model's status was set.
    31 LoggedModelFinalized {
        /// The model.
        model: ModelId,
        /// The status.
        status: LoggedModelStatus,
        /// When, Unix ms.
        at_ms: i64,
    }
    /// Tags of a logged model were set.
    32 LoggedModelTagsSet {
        /// The model.
        model: ModelId,
        /// The tags.
        tags: Vec<KeyValue>,
    }
    /// A tag of a logged model was deleted.
    33 LoggedModelTagDeleted {
        /// The model.
        model: ModelId,
        /// The tag's key.
        key: String,
    }
    /// Params of a logged model were logged.
    34 LoggedModelParamsLogged {
        /// The model.
        model: ModelId,
        /// The params; a key twice is an error.
        params: Vec<KeyValue>,
    }
    /// A logged model was deleted.
    35 LoggedModelDeleted {
        /// The model.
        model: ModelId,
        /// When, Unix ms.
        at_ms: i64,
    }
    /// A run began to log metrics on a logged model: says where to find the model's own metrics. The points are the
    /// run's, with the model in their context.
    36 LoggedModelMetricsLogged {
        /// The model.
        model: ModelId,
        /// The run.
        run: RunId,
        /// Keys of the metrics.
        keys: Vec<String>,
    }
    /// An existing point of a run is a metric of a logged model too. MLflow's tables have one row for the run, and one
    /// for each model.
    37 LoggedModelPointShared {
        /// The model.
        model: ModelId,
        /// The run.
        run: RunId,
        /// Key of the metric.
        key: String,
        /// Step of the point.
        step: i64,
        /// Its time, Unix ms.
        time_ms: i64,
        /// The bits of its value.
        value_bits: u64,
        /// Name of the data set that it was measured on.
        dataset_name: Option<String>,
        /// Digest of that data set.
        dataset_digest: Option<String>,
    }
    /// A registered model was created.
    40 RegisteredModelCreated {
        /// Its number; random, never reused.
        model: RegisteredModelId,
        /// Its name, unique.
        name: String,
        /// Description.
        description: Option<String>,
        /// Creation, Unix ms.
        creation_time_ms: i64,
        /// Last update, Unix ms.
        last_updated_time_ms: i64,
        /// Tags.
        tags: Vec<KeyValue>,
    }
    /// A registered model's description was set or cleared.
    41 RegisteredModelUpdated {
        /// The model.
        model: RegisteredModelId,
        /// The description; `None` clears it.
        description: Option<String>,
        /// When, Unix ms.
        at_ms: i64,
    }
    /// A registered model was renamed; versions, tags and aliases keep belonging to it.
    42 RegisteredModelRenamed {
        /// The model.
        model: RegisteredModelId,
        /// New name.
        name: String,
        /// When, Unix ms.
        at_ms: i64,
    }
    /// Tags of a registered model were set.
    43 RegisteredModelTagsSet {
        /// The model.
        model: RegisteredModelId,
        /// The tags.
        tags: Vec<KeyValue>,
    }
    /// A tag of a registered model was deleted.
    44 RegisteredModelTagDeleted {
        /// The model.
        model: RegisteredModelId,
        /// The tag's key.
        key: String,
    }
    /// A registered model and its versions were deleted.
    45 RegisteredModelDeleted {
        /// The model.
        model: RegisteredModelId,
    }
    /// An alias was set, or moved.
    46 AliasSet {
        /// The model.
        model: RegisteredModelId,
        /// The alias.
        alias: String,
        /// The version it names now.
        version: u32,
    }
    /// An alias was deleted.
    47 AliasDeleted {
        /// The model.
        model: RegisteredModelId,
        /// The alias.
        alias: String,
    }
    /// A model version was created.
    50 ModelVersionCreated {
        /// The model.
        model: RegisteredModelId,
        /// Its number, from 1; never reused within the model.
        version: u32,
        /// Its source, as given.
        source: String,
        /// Resolved location of its files.
        storage_location: Option<String>,
        /// The run, as given.
        run_id: Option<String>,
        /// Link to the run, as given.
        run_link: Option<String>,
        /// Logged model, as given.
        model_id: Option<String>,
        /// The user.
        user_id: Option<String>,
        /// Description.
        description: Option<String>,
        /// Stage.
        stage: Stage,
        /// Status.
        status: VersionStatus,
        /// Message to the status.
        status_message: Option<String>,
        /// Creation, Unix ms.
        creation_time_ms: i64,
        /// Last update, Unix ms.
        last_updated_time_ms: i64,
        /// Tags.
        tags: Vec<KeyValue>,
    }
    /// A version's description was set or cleared.
    51 ModelVersionUpdated {
        /// The model.
        model: RegisteredModelId,
        /// The version.
        version: u32,
        /// The description; `None` clears it.
        description: Option<String>,
        /// When, Unix ms.
        at_ms: i64,
    }
    /// A version's stage changed.
    52 ModelVersionStageChanged {
        /// The model.
        model: RegisteredModelId,
        /// The version.
        version: u32,
        /// The new stage.
        stage: Stage,
        /// When, Unix ms.
        at_ms: i64,
    }
    /// Tags of a version were set.
    53 ModelVersionTagsSet {
        /// The model.
        model: RegisteredModelId,
        /// The version.
        version: u32,
        /// The tags.
        tags: Vec<KeyValue>,
    }
    /// A tag of a version was deleted.
    54 ModelVersionTagDeleted {
        /// The model.
        model: RegisteredModelId,
        /// The version.
        version: u32,
        /// The tag's key.
        key: String,
    }
    /// A version was deleted; its number stays used, its aliases are removed.
    55 ModelVersionDeleted {
        /// The model.
        model: RegisteredModelId,
        /// The version.
        version: u32,
        /// When, Unix ms.
        at_ms: i64,
    }
    /// A project was launched for a run.
    60 ProjectLaunched {
        /// The run.
        run: RunId,
        /// The project, as given.
        uri: String,
        /// Commit or other version, if known.
        version: Option<String>,
        /// Entry point.
        entry_point: String,
        /// Parameters, raw.
        parameters: Vec<KeyValue>,
        /// Environment: `local`, `virtualenv`, `conda`, `docker`, ...
        environment: String,
        /// Backend: `local`, `kubernetes`.
        backend: String,
        /// Attempt, from 1.
        attempt: u32,
    }
    /// Frames `from..=to` were lost, and an operator accepted the loss.
    70 LossAccepted {
        /// First lost position.
        from: u64,
        /// Last lost position.
        to: u64,
    }
    /// The log was copied from another store's: batches `from..=to` without a note of their own were decided by that
    /// store, at the same positions. Everything of that store up to `to` is here.
    71 StoreCopied {
        /// The other store.
        store: StoreId,
        /// First position; above `to` if none of them is the other store's own.
        from: u64,
        /// Last position.
        to: u64,
    }
    /// What was noted as seen of another store is forgotten: from here on its batches are taken again.
    72 SourceForgotten {
        /// The other store.
        store: StoreId,
        /// The position up to which it was seen.
        seen: u64,
    }
    /// A garbage collection removed data for good: its receipt. The purges of its runs are in the same batch.
    73 GarbageCollected {
        /// When, Unix ms.
        at_ms: i64,
        /// What was deleted before this went, Unix ms.
        deleted_before_ms: i64,
        /// What went.
        removed: Vec<Removed>,
    }
}

impl Event {
    /// The run and branch that this event begins, with the statistics of what the branch continues.
    pub(crate) fn begun_branch(&self) -> Option<(RunId, u32, &[KeptSeries])> {
        match self {
            Self::RunRewound(event) => Some((event.run, event.branch, &event.kept)),
            Self::RunForked(event) => Some((event.run, 1, &event.kept)),
            _ => None,
        }
    }

    /// Whether it may change which runs accept points: deletes, restores and purges.
    pub(crate) fn changes_lifecycle(&self) -> bool {
        matches!(
            self,
            Self::ExperimentDeleted(_)
                | Self::ExperimentRestored(_)
                | Self::RunDeleted(_)
                | Self::RunRestored(_)
                | Self::RunPurged(_)
        )
    }
}
