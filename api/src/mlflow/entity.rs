//! What MLflow calls answer: plain values, each as MLflow's entity of the same name has it.
//!
//! `None` is what MLflow leaves unset, and is not the same as an empty text: the wire and the Python entities keep them
//! apart. Times are Unix milliseconds. Lists are in the order in which they are answered.

use std::sync::Arc;

use crate::{LoggedModelStatus, RunStatus, Stage, VersionStatus};

/// A key and a value.
pub type Tag = (String, String);

/// Which lifecycle stages are shown.
pub use runlode_engine::search::View;

/// An experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Experiment {
    /// Decimal.
    pub experiment_id: String,
    /// Unique among active and deleted ones.
    pub name: String,
    /// Rendered place of its artifacts.
    pub artifact_location: String,
    /// Deleted, or active.
    pub deleted: bool,
    /// Creation.
    pub creation_time: i64,
    /// Last delete, restore or rename.
    pub last_update_time: i64,
    /// Sorted by key.
    pub tags: Vec<Tag>,
}

/// What a run is, without what it logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunInfo {
    /// 32 hex digits.
    pub run_id: String,
    /// Name.
    pub run_name: String,
    /// Its experiment.
    pub experiment_id: String,
    /// Who; may be empty.
    pub user_id: String,
    /// Status.
    pub status: RunStatus,
    /// Start.
    pub start_time: i64,
    /// End, if it has ended.
    pub end_time: Option<i64>,
    /// Rendered place of its artifacts.
    pub artifact_uri: String,
    /// Deleted, by itself or with its experiment; or active.
    pub deleted: bool,
}

/// A run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// What it is.
    pub info: RunInfo,
    /// Latest value of each key, by key.
    pub metrics: Vec<Metric>,
    /// By key.
    pub params: Vec<Tag>,
    /// By key.
    pub tags: Vec<Tag>,
    /// Data sets, in the order of logging.
    pub dataset_inputs: Vec<DatasetInput>,
    /// Ids of the models it read. A search leaves them out.
    pub model_inputs: Vec<String>,
    /// Models that it made, and the step of each.
    pub model_outputs: Vec<(String, i64)>,
}

/// A metric point.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Key.
    pub key: Arc<str>,
    /// Bit for bit as it was logged.
    pub value: f64,
    /// Unix ms.
    pub timestamp: i64,
    /// May be negative.
    pub step: i64,
    /// The logged model it was measured on.
    pub model_id: Option<String>,
    /// Name of the data set it was measured on.
    pub dataset_name: Option<String>,
    /// Its digest.
    pub dataset_digest: Option<String>,
    /// The run, where an answer holds points of several.
    pub run_id: Option<String>,
}

/// A data set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dataset {
    /// With the digest its identity in an experiment.
    pub name: String,
    /// Of its content.
    pub digest: String,
    /// `local`, `code`, ...
    pub source_type: String,
    /// Where it comes from.
    pub source: String,
    /// JSON text.
    pub schema: Option<String>,
    /// JSON text.
    pub profile: Option<String>,
}

/// A data set that a run read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DatasetInput {
    /// Tags, `mlflow.data.context` among them.
    pub tags: Vec<Tag>,
    /// The data set.
    pub dataset: Dataset,
}

/// A data set of an experiment, once for each context it was used in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DatasetSummary {
    /// The experiment.
    pub experiment_id: String,
    /// Name.
    pub name: String,
    /// Digest.
    pub digest: String,
    /// Value of the tag `mlflow.data.context`.
    pub context: Option<String>,
}

/// A model that a run logged.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedModel {
    /// `m-` and 32 hex digits.
    pub model_id: String,
    /// Its experiment.
    pub experiment_id: String,
    /// Name.
    pub name: String,
    /// Type; `None` and empty differ.
    pub model_type: String,
    /// The run that made it; may be empty.
    pub source_run_id: String,
    /// Rendered place of its files.
    pub artifact_uri: String,
    /// Status.
    pub status: LoggedModelStatus,
    /// Message to the status.
    pub status_message: Option<String>,
    /// Creation.
    pub creation_timestamp_ms: i64,
    /// Last status change.
    pub last_updated_timestamp_ms: i64,
    /// By key.
    pub tags: Vec<Tag>,
    /// By key.
    pub params: Vec<Tag>,
    /// Every point logged with its id, each with its run.
    pub metrics: Vec<Metric>,
}

/// A registered model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredModel {
    /// Unique.
    pub name: String,
    /// Creation.
    pub creation_timestamp: i64,
    /// Last change.
    pub last_updated_timestamp: i64,
    /// Description.
    pub description: Option<String>,
    /// The highest version of each stage.
    pub latest_versions: Vec<ModelVersion>,
    /// By key.
    pub tags: Vec<Tag>,
    /// Alias and version, by alias.
    pub aliases: Vec<(String, u32)>,
}

/// A version of a registered model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelVersion {
    /// The model's name now.
    pub name: String,
    /// From 1.
    pub version: u32,
    /// Creation.
    pub creation_timestamp: i64,
    /// Last change.
    pub last_updated_timestamp: i64,
    /// Who.
    pub user_id: Option<String>,
    /// Stage.
    pub current_stage: Stage,
    /// Description.
    pub description: Option<String>,
    /// Where it came from.
    pub source: String,
    /// The run, as given.
    pub run_id: Option<String>,
    /// Link to the run, as given.
    pub run_link: Option<String>,
    /// Logged model, as given; not on the wire.
    pub model_id: Option<String>,
    /// Status.
    pub status: VersionStatus,
    /// Message to the status.
    pub status_message: Option<String>,
    /// By key.
    pub tags: Vec<Tag>,
    /// Names that point to it; empty in searches.
    pub aliases: Vec<String>,
}

/// One page of an answer, and the token of the next one.
#[derive(Debug, Clone, PartialEq)]
pub struct Paged<T> {
    /// In order.
    pub items: Vec<T>,
    /// `None` on the last page.
    pub next_page_token: Option<String>,
}
