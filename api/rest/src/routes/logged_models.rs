//! Logged models. Searches are in `search`, their files in `artifacts`.

use runlode::LoggedModelStatus;
use runlode::mlflow::entity::LoggedModel;
use runlode::mlflow::{ApiError, ApiResult, NewLoggedModel};
use serde::Serialize;

use super::metrics::MetricJson;
use crate::answer::{Answer, Named, PairJson, pairs};
use crate::door::Door;
use crate::request::Request;
use crate::route::{Route, Work};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::post("logged-models", Work::Slow, create),
        // Reads every point that was logged on the model.
        Route::get("logged-models/{model_id}", Work::Read, get),
        Route::patch("logged-models/{model_id}", Work::Slow, finalize),
        Route::delete("logged-models/{model_id}", Work::Slow, delete),
        Route::post("logged-models/{model_id}/params", Work::Slow, log_params),
        Route::patch("logged-models/{model_id}/tags", Work::Slow, set_tags),
        Route::delete("logged-models/{model_id}/tags/{*key}", Work::Slow, delete_tag),
    ]
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

fn answer(door: &Door, model: &LoggedModel) -> ApiResult<Answer> {
    door.answer(&Named("model", LoggedModelJson::from(model)))
}

fn create(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let model = door.mlflow.create_logged_model(&NewLoggedModel {
        experiment_id: fields.required("experiment_id")?,
        name: fields.text("name")?.filter(|name| !name.is_empty()),
        model_type: fields.text("model_type")?.unwrap_or_default(),
        source_run_id: fields.text("source_run_id")?.unwrap_or_default(),
        params: &fields.pairs("params")?,
        tags: &fields.pairs("tags")?,
    })?;
    answer(door, &model)
}

fn get(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.query_fields();
    // Anything but `true` is false.
    let allow_deleted = fields.text("allow_deleted")?.is_some_and(|text| text.eq_ignore_ascii_case("true"));
    answer(door, &door.mlflow.logged_model(request.part("model_id"), allow_deleted)?)
}

fn finalize(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    // The id in the body counts, as in MLflow.
    let id = fields.required("model_id")?;
    let Some(status) = fields.one_of("status", STATUSES)? else {
        // MLflow treats an unknown name as "unspecified", which would hide a mistake.
        let given = fields.text("status")?.filter(|text| !text.is_empty()).ok_or_else(|| fields.missing("status"))?;
        let names: Vec<&str> = STATUSES.iter().map(|(name, ..)| *name).collect();
        return Err(ApiError::invalid(format!(
            "Invalid value \"{given}\" for parameter 'status' supplied: it must be one of {}.",
            names.join(", ")
        )));
    };
    answer(door, &door.mlflow.finalize_logged_model(id, status)?)
}

fn delete(door: &Door, request: &Request) -> ApiResult<Answer> {
    door.mlflow.delete_logged_model(request.part("model_id"))?;
    Ok(Answer::Nothing)
}

fn log_params(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    fields.required("model_id")?;
    door.mlflow.log_logged_model_params(request.part("model_id"), &fields.pairs("params")?)?;
    Ok(Answer::Nothing)
}

fn set_tags(door: &Door, request: &Request) -> ApiResult<Answer> {
    door.mlflow.set_logged_model_tags(request.part("model_id"), &request.fields()?.pairs("tags")?)?;
    Ok(Answer::Nothing)
}

fn delete_tag(door: &Door, request: &Request) -> ApiResult<Answer> {
    door.mlflow.delete_logged_model_tag(request.part("model_id"), request.part("key"))?;
    Ok(Answer::Nothing)
}
