//! Logged models: a list, and one with the versions that were made of it. Now, or at a moment of the past.

use std::collections::BTreeMap;

use runlode::LoggedModelStatus;
use runlode::mlflow::ApiResult;
use runlode::mlflow::entity::{LoggedModel, Metric, View};
use serde_json::{Value, json};

use super::at::{as_of, or_newest};
use super::json::JsonWriter;
use super::limit::positive;
use super::registry::version_json;
use crate::answer::{Answer, double_value};
use crate::door::Door;
use crate::request::Request;

/// Most models of an answer, and models without `limit`.
const MODELS_MAX: i64 = 5_000;
const MODELS: i64 = 500;
/// Experiments that are asked for at a time.
const PAGE: i64 = 1_000;

fn status_word(status: LoggedModelStatus) -> &'static str {
    match status {
        LoggedModelStatus::Unspecified => "UNSPECIFIED",
        LoggedModelStatus::Pending => "PENDING",
        LoggedModelStatus::Ready => "READY",
        LoggedModelStatus::UploadFailed => "UPLOAD_FAILED",
    }
}

/// The newest point of each metric on each data set, by key.
fn newest(metrics: &[Metric]) -> Vec<Value> {
    let mut last: BTreeMap<(&str, Option<&str>, Option<&str>), &Metric> = BTreeMap::new();
    for metric in metrics {
        let place = (&*metric.key, metric.dataset_name.as_deref(), metric.dataset_digest.as_deref());
        let is_newer = last.get(&place).is_none_or(|old| (old.step, old.timestamp) <= (metric.step, metric.timestamp));
        if is_newer {
            last.insert(place, metric);
        }
    }
    let json_of = |metric: &Metric| {
        json!({
            "key": &*metric.key, "value": double_value(metric.value), "step": metric.step, "time_ms": metric.timestamp,
            "dataset": metric.dataset_name, "digest": metric.dataset_digest, "run_id": metric.run_id,
        })
    };
    last.into_values().map(json_of).collect()
}

fn model_json(model: &LoggedModel) -> Value {
    json!({
        "model_id": model.model_id,
        "name": model.name,
        "type": model.model_type,
        "status": status_word(model.status),
        "status_message": model.status_message,
        "experiment_id": model.experiment_id,
        "run_id": model.source_run_id,
        "artifact_uri": model.artifact_uri,
        "created_ms": model.creation_timestamp_ms,
        "updated_ms": model.last_updated_timestamp_ms,
        "params": model.params,
        "tags": model.tags,
        "metrics": newest(&model.metrics),
    })
}

/// The experiments that a request names; without names all active ones.
fn experiments(door: &Door, named: Vec<String>) -> ApiResult<Vec<String>> {
    if !named.is_empty() {
        return Ok(named);
    }
    let (mut ids, mut token) = (Vec::new(), None);
    loop {
        let page = door.mlflow.search_experiments(View::ActiveOnly, PAGE, "", &[], token.as_deref())?;
        ids.extend(page.items.into_iter().map(|experiment| experiment.experiment_id));
        token = page.next_page_token;
        if token.is_none() {
            return Ok(ids);
        }
    }
}

pub(super) fn list(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let limit = positive(&fields, "limit", MODELS, MODELS_MAX)?;
    let named = fields.texts("experiment_id")?;
    let (position, more, models) = match as_of(&fields)? {
        Some(at) => {
            let past = door.mlflow.logged_models_as_of(&named, limit, at)?;
            (past.position, past.total > past.models.len() as u64, past.models)
        }
        None => {
            let position = door.mlflow.positions()?.published.0;
            let ids = experiments(door, named)?;
            let page = door.mlflow.search_logged_models(&ids, "", &[], limit as i64, &[], None)?;
            (position, page.next_page_token.is_some(), page.items)
        }
    };
    let mut out = JsonWriter::new(door);
    out.begin(b"{")?;
    out.field("position", &position)?;
    out.field("more", &more)?;
    out.list("models", models.iter().map(model_json))?;
    out.end(b"}")?;
    out.finish()
}

pub(super) fn one(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let id = fields.required("model_id")?;
    let at = as_of(&fields)?;
    let (position, model) = match at {
        Some(at) => {
            let past = door.mlflow.logged_model_as_of(id, at)?;
            (past.position, past.models.into_iter().next())
        }
        None => (door.mlflow.positions()?.published.0, Some(door.mlflow.logged_model(id, true)?)),
    };
    let registry = door.mlflow.registry_as_of(None, or_newest(at))?;
    let versions = registry.versions.iter().filter(|version| version.model_id.as_deref() == Some(id));
    let versions: Vec<Value> = versions.map(version_json).collect();
    door.answer(&json!({ "position": position, "model": model.as_ref().map(model_json), "versions": versions }))
}
