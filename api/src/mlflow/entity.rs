//! Results of MLflow calls: plain values, each like MLflow's entity of the same name.
//!
//! `None` is a field that MLflow leaves unset, and differs from an empty text: the wire and the Python entities keep
//! them apart. Times are Unix milliseconds. Lists are in the order of the answer.

use std::sync::Arc;

use crate::{LoggedModelStatus, RunStatus, Stage, Stats, VersionStatus};

/// A key and a value.
pub type Tag = (String, String);

/// Which lifecycle stages are shown.
pub use runlode_engine::search::View;

/// An experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Experiment {
    /// Id, decimal.
    pub experiment_id: String,
    /// Name, unique among active and deleted experiments.
    pub name: String,
    /// Location of its artifacts, as rendered for the client.
    pub artifact_location: String,
    /// Whether it is deleted.
    pub deleted: bool,
    /// Time of creation.
    pub creation_time: i64,
    /// Time of the last delete, restore or rename.
    pub last_update_time: i64,
    /// Tags, by key.
    pub tags: Vec<Tag>,
}

/// The attributes of a run, without the data it logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunInfo {
    /// Id, 32 hex digits.
    pub run_id: String,
    /// Name; need not be unique.
    pub run_name: String,
    /// Id of its experiment.
    pub experiment_id: String,
    /// The user who created it; may be empty.
    pub user_id: String,
    /// Status.
    pub status: RunStatus,
    /// Start time.
    pub start_time: i64,
    /// End time; `None` if it has not ended.
    pub end_time: Option<i64>,
    /// Location of its artifacts, as rendered for the client.
    pub artifact_uri: String,
    /// Whether it is deleted, by itself or with its experiment.
    pub deleted: bool,
}

/// A run with the data it logged.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Attributes of the run.
    pub info: RunInfo,
    /// Latest value of each key, by key.
    pub metrics: Vec<Metric>,
    /// Params, by key.
    pub params: Vec<Tag>,
    /// Tags, by key.
    pub tags: Vec<Tag>,
    /// Data sets that it read, in the order of logging.
    pub dataset_inputs: Vec<DatasetInput>,
    /// Ids of the models that it read. A search leaves them out.
    pub model_inputs: Vec<String>,
    /// Ids of the models that it produced, each with its step.
    pub model_outputs: Vec<(String, i64)>,
}

/// A metric point.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Key of the metric.
    pub key: Arc<str>,
    /// Value, bit for bit as logged.
    pub value: f64,
    /// Time, Unix ms.
    pub timestamp: i64,
    /// Step; may be negative.
    pub step: i64,
    /// Id of the logged model it was measured on.
    pub model_id: Option<String>,
    /// Name of the data set it was measured on.
    pub dataset_name: Option<String>,
    /// Digest of that data set.
    pub dataset_digest: Option<String>,
    /// Id of the run, if an answer holds points of several.
    pub run_id: Option<String>,
}

impl Metric {
    /// The last point of a run's metric.
    pub(crate) fn last(key: Arc<str>, stats: &Stats) -> Self {
        let last = stats.last();
        Self {
            key,
            value: last.value,
            timestamp: last.time.0,
            step: last.step,
            model_id: None,
            dataset_name: None,
            dataset_digest: None,
            run_id: None,
        }
    }
}

/// A data set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dataset {
    /// Name; with the digest it identifies the data set in an experiment.
    pub name: String,
    /// Digest of its content.
    pub digest: String,
    /// Type of the source: `local`, `code`, ...
    pub source_type: String,
    /// Source of its content.
    pub source: String,
    /// Schema as JSON text.
    pub schema: Option<String>,
    /// Profile as JSON text.
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
    /// Id of the experiment.
    pub experiment_id: String,
    /// Name of the data set.
    pub name: String,
    /// Digest of its content.
    pub digest: String,
    /// Value of the tag `mlflow.data.context`.
    pub context: Option<String>,
}

/// A model that a run logged.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedModel {
    /// Id: `m-` and 32 hex digits.
    pub model_id: String,
    /// Id of its experiment.
    pub experiment_id: String,
    /// Name; need not be unique.
    pub name: String,
    /// Type, free text; `None` and empty differ.
    pub model_type: String,
    /// Id of the run that produced it; may be empty.
    pub source_run_id: String,
    /// Location of its files, as rendered for the client.
    pub artifact_uri: String,
    /// Status.
    pub status: LoggedModelStatus,
    /// Message that explains the status.
    pub status_message: Option<String>,
    /// Time of creation.
    pub creation_timestamp_ms: i64,
    /// Time of the last change of its status.
    pub last_updated_timestamp_ms: i64,
    /// Tags, by key.
    pub tags: Vec<Tag>,
    /// Params, by key.
    pub params: Vec<Tag>,
    /// Every point logged with its id, each with its run's id.
    pub metrics: Vec<Metric>,
}

/// A registered model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredModel {
    /// Name, unique in the store.
    pub name: String,
    /// Time of creation.
    pub creation_timestamp: i64,
    /// Time of the last change.
    pub last_updated_timestamp: i64,
    /// Description; `None` if never set or cleared.
    pub description: Option<String>,
    /// The highest version of each stage.
    pub latest_versions: Vec<ModelVersion>,
    /// Tags, by key.
    pub tags: Vec<Tag>,
    /// Aliases with their versions, by alias.
    pub aliases: Vec<(String, u32)>,
}

/// A version of a registered model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelVersion {
    /// Current name of the model.
    pub name: String,
    /// Number, from 1.
    pub version: u32,
    /// Time of creation.
    pub creation_timestamp: i64,
    /// Time of the last change.
    pub last_updated_timestamp: i64,
    /// The user who created it, if named.
    pub user_id: Option<String>,
    /// Stage.
    pub current_stage: Stage,
    /// Description.
    pub description: Option<String>,
    /// Source of its files, as given.
    pub source: String,
    /// Id of the run that produced it, as given.
    pub run_id: Option<String>,
    /// Link to that run, as given.
    pub run_link: Option<String>,
    /// Id of the logged model, as given; not sent on the wire.
    pub model_id: Option<String>,
    /// Status.
    pub status: VersionStatus,
    /// Message that explains the status.
    pub status_message: Option<String>,
    /// Tags, by key.
    pub tags: Vec<Tag>,
    /// Aliases that point to it; empty in searches.
    pub aliases: Vec<String>,
}

/// One page of an answer, with the token of the next one.
#[derive(Debug, Clone, PartialEq)]
pub struct Paged<T> {
    /// Items of the page, in order.
    pub items: Vec<T>,
    /// Token of the next page; `None` on the last page.
    pub next_page_token: Option<String>,
}
