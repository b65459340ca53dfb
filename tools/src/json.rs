//! Entities and numbers as JSON.

use runlode::engine::Missing;
use runlode::engine::entity::Rewind;
use runlode::mlflow::Liveness;
use runlode::{
    ExperimentState, Lifecycle, LoggedModelState, LoggedModelStatus, ModelId, ModelVersionState, RegisteredModelState,
    RunId, RunState, Stats, VersionStatus,
};
use serde_json::{Map, Value, json};

/// A metric value: a number, or one of the texts `NaN`, `Infinity`, `-Infinity`. -0.0 keeps its sign.
pub(crate) fn number(value: f64) -> Value {
    match serde_json::Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => json!("NaN"),
        None if value > 0.0 => json!("Infinity"),
        None => json!("-Infinity"),
    }
}

/// What a store lacks.
pub(crate) fn missing(part: &Missing) -> Value {
    let (first, last) = (Some(part.first.0).filter(|first| *first > 0), part.last.map(|last| last.0));
    json!({
        "file": part.path, "kind": part.kind.name(), "why": part.why, "first": first, "last": last, "help": part.help(),
    })
}

pub(crate) fn pairs(pairs: &[(String, String)]) -> Value {
    Value::Object(pairs.iter().map(|(key, value)| (key.clone(), json!(value))).collect())
}

/// Tags of an experiment or registered model, without those that record its origin.
fn own_tags(tags: &[(String, String)]) -> Value {
    let own = tags.iter().filter(|(key, _)| !runlode::is_origin_tag(key));
    Value::Object(own.map(|(key, value)| (key.clone(), json!(value))).collect())
}

pub(crate) fn lifecycle(lifecycle: Lifecycle) -> &'static str {
    match lifecycle {
        Lifecycle::Active => "active",
        Lifecycle::Deleted => "deleted",
        Lifecycle::Purged => "purged",
    }
}

pub(crate) fn version_status(status: VersionStatus) -> &'static str {
    match status {
        VersionStatus::PendingRegistration => "PENDING_REGISTRATION",
        VersionStatus::FailedRegistration => "FAILED_REGISTRATION",
        VersionStatus::Ready => "READY",
    }
}

pub(crate) fn stats(stats: &Stats) -> Value {
    json!({
        "latest": number(stats.last_value),
        "step": stats.last_step,
        "time_ms": stats.last_time_ms,
        "min": number(stats.min),
        "max": number(stats.max),
        "first": number(stats.first_value),
        "points": stats.count_raw,
    })
}

pub(crate) fn run<'m>(
    id: RunId,
    state: &RunState,
    lifecycle_now: Lifecycle,
    liveness: Option<&Liveness>,
    metrics: impl IntoIterator<Item = (&'m str, &'m Stats)>,
) -> Value {
    let metrics: Map<String, Value> =
        metrics.into_iter().map(|(key, of_key)| (key.to_owned(), stats(of_key))).collect();
    let status: &str = state.status.into();
    let mut run = json!({
        "run_id": id.to_string(),
        "experiment_id": state.experiment.to_string(),
        "name": state.name,
        "status": status,
        "lifecycle": lifecycle(lifecycle_now),
        "user_id": state.user_id,
        "start_time_ms": state.start_time_ms,
        "end_time_ms": state.end_time_ms,
        "artifact_location": state.artifact_location,
        "params": pairs(&state.params),
        "tags": pairs(&state.tags),
        "metrics": metrics,
        "datasets": state.datasets.iter().map(|dataset| json!({
            "name": dataset.name, "digest": dataset.digest, "tags": pairs(&dataset.tags),
        })).collect::<Vec<_>>(),
        "model_inputs": state.model_inputs,
        "model_outputs": state.model_outputs.iter().map(|(model, step)| json!({
            "model_id": model, "step": step,
        })).collect::<Vec<_>>(),
        "artifacts": state.artifacts.iter().map(|(path, bytes)| json!({
            "path": path, "size_bytes": bytes,
        })).collect::<Vec<_>>(),
        "created_at_position": state.created.0,
        "changed_at_position": state.last.0,
    });
    let Some(object) = run.as_object_mut() else { return run };
    if let Some(Liveness::Lost { since_ms }) = liveness {
        object.insert("lost".to_owned(), json!(true));
        object.insert("last_seen_ms".to_owned(), json!(since_ms));
    }
    if let Some(Liveness::Silent { since_ms }) = liveness {
        object.insert("silent".to_owned(), json!(true));
        object.insert("last_seen_ms".to_owned(), json!(since_ms));
    }
    if let (Some(forked), Some(first)) = (&state.forked, state.rewinds.first()) {
        let from = json!({
            "run_id": forked.run.to_string(), "step": first.to_step, "branch": forked.branch, "position": forked.up_to.0,
        });
        object.insert("forked_from".to_owned(), from);
    }
    if !state.rewinds.is_empty() {
        let branch = |(number, rewind): (u32, &Rewind)| {
            json!({
                "branch": number, "from_branch": rewind.from, "from_step": rewind.to_step,
                "began_ms": rewind.at_ms, "began_at_position": rewind.lsn.0,
            })
        };
        object.insert("branches".to_owned(), (1..).zip(&state.rewinds).map(branch).collect());
    }
    run
}

pub(crate) fn experiment(id: runlode::ExperimentId, state: &ExperimentState) -> Value {
    json!({
        "experiment_id": id.to_string(),
        "name": state.name,
        "lifecycle": lifecycle(state.lifecycle),
        "artifact_location": state.artifact_location,
        "creation_time_ms": state.creation_time_ms,
        "last_update_time_ms": state.last_update_time_ms,
        "tags": own_tags(&state.tags),
    })
}

pub(crate) fn registered_model(state: &RegisteredModelState, versions: Vec<Value>) -> Value {
    let aliases: Map<String, Value> =
        state.aliases.iter().map(|(alias, version)| (alias.clone(), json!(version))).collect();
    json!({
        "name": state.name,
        "description": state.description,
        "creation_time_ms": state.creation_time_ms,
        "last_updated_time_ms": state.last_updated_time_ms,
        "tags": own_tags(&state.tags),
        "aliases": aliases,
        "versions": versions,
        "changed_at_position": state.last.0,
    })
}

pub(crate) fn model_version(version: u32, state: &ModelVersionState) -> Value {
    let stage: &str = state.stage.into();
    json!({
        "version": version,
        "stage": stage,
        "status": version_status(state.status),
        "source": state.source,
        "storage_location": state.storage_location,
        "run_id": state.run_id,
        "model_id": state.model_id,
        "user_id": state.user_id,
        "description": state.description,
        "creation_time_ms": state.creation_time_ms,
        "last_updated_time_ms": state.last_updated_time_ms,
        "tags": pairs(&state.tags),
        "changed_at_position": state.last.0,
    })
}

/// A status in MLflow's words.
pub(crate) fn model_status(status: LoggedModelStatus) -> &'static str {
    match status {
        LoggedModelStatus::Unspecified => "UNSPECIFIED",
        LoggedModelStatus::Pending => "PENDING",
        LoggedModelStatus::Ready => "READY",
        LoggedModelStatus::UploadFailed => "UPLOAD_FAILED",
    }
}

pub(crate) fn logged_model(id: ModelId, state: &LoggedModelState) -> Value {
    json!({
        "model_id": id.to_string(),
        "experiment_id": state.experiment.to_string(),
        "name": state.name,
        "model_type": state.model_type,
        "status": model_status(state.status),
        "status_message": state.status_message,
        "lifecycle": lifecycle(state.lifecycle),
        "source_run_id": state.source_run,
        "artifact_location": state.artifact_location,
        "creation_time_ms": state.creation_time_ms,
        "last_updated_time_ms": state.last_updated_time_ms,
        "params": pairs(&state.params),
        "tags": pairs(&state.tags),
        "metrics": state.metric_series.iter().map(|(run, key)| json!({
            "run_id": run.to_string(), "key": key,
        })).collect::<Vec<_>>(),
        "changed_at_position": state.last.0,
    })
}

/// Files as a list.
pub(crate) fn files<'f>(files: impl IntoIterator<Item = (&'f String, &'f Option<u64>)>) -> Value {
    let files = files.into_iter().map(|(path, bytes)| json!({ "path": path, "size_bytes": bytes }));
    Value::Array(files.collect())
}
