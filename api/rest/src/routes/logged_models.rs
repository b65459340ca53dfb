//! Logged models.

use runlode::LoggedModelStatus;
use runlode::mlflow::entity::LoggedModel;
use serde::Serialize;

use super::Route;
use super::metrics::MetricJson;
use crate::answer::{PairJson, pairs};

pub(crate) fn routes() -> Vec<Route> {
    Vec::new()
}

#[derive(Debug, Serialize)]
struct LoggedModelInfoJson<'a> {
    model_id: &'a str,
    experiment_id: &'a str,
    name: &'a str,
    creation_timestamp_ms: i64,
    last_updated_timestamp_ms: i64,
    artifact_uri: &'a str,
    status: &'static str,
    model_type: &'a str,
    source_run_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_message: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<PairJson<'a>>,
}

#[derive(Debug, Serialize)]
struct LoggedModelDataJson<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    params: Vec<PairJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metrics: Vec<MetricJson<'a>>,
}

/// A logged model on the wire.
#[derive(Debug, Serialize)]
pub(crate) struct LoggedModelJson<'a> {
    info: LoggedModelInfoJson<'a>,
    data: LoggedModelDataJson<'a>,
}

/// Names of the states, and their numbers.
pub(crate) const STATUSES: &[(&str, i64, LoggedModelStatus)] = &[
    ("LOGGED_MODEL_STATUS_UNSPECIFIED", 0, LoggedModelStatus::Unspecified),
    ("LOGGED_MODEL_PENDING", 1, LoggedModelStatus::Pending),
    ("LOGGED_MODEL_READY", 2, LoggedModelStatus::Ready),
    ("LOGGED_MODEL_UPLOAD_FAILED", 3, LoggedModelStatus::UploadFailed),
];

impl<'a> From<&'a LoggedModel> for LoggedModelJson<'a> {
    fn from(model: &'a LoggedModel) -> Self {
        let status = STATUSES.iter().find(|(.., status)| *status == model.status).map_or("", |(name, ..)| name);
        Self {
            info: LoggedModelInfoJson {
                model_id: &model.model_id,
                experiment_id: &model.experiment_id,
                name: &model.name,
                creation_timestamp_ms: model.creation_timestamp_ms,
                last_updated_timestamp_ms: model.last_updated_timestamp_ms,
                artifact_uri: &model.artifact_uri,
                status,
                model_type: &model.model_type,
                source_run_id: &model.source_run_id,
                status_message: model.status_message.as_deref(),
                tags: pairs(&model.tags),
            },
            data: LoggedModelDataJson {
                params: pairs(&model.params),
                metrics: model.metrics.iter().map(Into::into).collect(),
            },
        }
    }
}
