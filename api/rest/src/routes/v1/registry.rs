//! Registered models and their versions, now or at a moment of the past; experiments.

use std::collections::HashMap;

use runlode::mlflow::ApiResult;
use runlode::mlflow::entity::{Experiment, ModelVersion, RegisteredModel, View};
use serde_json::{Value, json};

use super::at::{as_of, or_newest};
use super::json::JsonWriter;
use crate::answer::Answer;
use crate::door::Door;
use crate::request::Request;

/// Experiments that are read at a time.
const PAGE: i64 = 1_000;

pub(super) fn version_json(version: &ModelVersion) -> Value {
    let stage: &str = version.current_stage.into();
    json!({
        "name": version.name,
        "version": version.version,
        "created_ms": version.creation_timestamp,
        "updated_ms": version.last_updated_timestamp,
        "user_id": version.user_id,
        "stage": stage,
        "description": version.description,
        "source": version.source,
        "run_id": version.run_id,
        "model_id": version.model_id,
        "tags": version.tags,
        "aliases": version.aliases,
    })
}

pub(super) fn models(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let name = fields.text("name")?.filter(|name| !name.is_empty());
    let found = door.mlflow.registry_as_of(name, or_newest(as_of(&fields)?))?;
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for version in &found.versions {
        *counts.entry(&version.name).or_default() += 1;
    }
    let model_json = |model: &RegisteredModel| {
        json!({
            "name": model.name,
            "created_ms": model.creation_timestamp,
            "updated_ms": model.last_updated_timestamp,
            "description": model.description,
            "tags": model.tags,
            "aliases": model.aliases,
            "versions": counts.get(&*model.name).copied().unwrap_or(0),
        })
    };
    let mut out = JsonWriter::new(door);
    out.begin(b"{")?;
    out.field("position", &found.position)?;
    out.list("models", found.models.iter().map(model_json))?;
    out.list("versions", found.versions.iter().filter(|_| name.is_some()).map(version_json))?;
    out.end(b"}")?;
    out.finish()
}

fn experiment_json(experiment: &Experiment) -> Value {
    json!({
        "experiment_id": experiment.experiment_id,
        "name": experiment.name,
        "deleted": experiment.deleted,
        "created_ms": experiment.creation_time,
        "updated_ms": experiment.last_update_time,
        "tags": experiment.tags,
    })
}

pub(super) fn experiments(door: &Door, request: &Request) -> ApiResult<Answer> {
    let at = as_of(&request.fields()?)?;
    let mut out = JsonWriter::new(door);
    out.begin(b"{")?;
    match at {
        Some(at) => {
            let past = door.mlflow.experiments_as_of(at)?;
            out.field("position", &past.position)?;
            out.list("experiments", past.experiments.iter().map(experiment_json))?;
        }
        None => {
            out.field("position", &door.mlflow.positions()?.published.0)?;
            out.name("experiments")?;
            out.begin(b"[")?;
            experiments_now(door, &mut out)?;
            out.end(b"]")?;
        }
    }
    out.end(b"}")?;
    out.finish()
}

fn experiments_now(door: &Door, out: &mut JsonWriter) -> ApiResult<()> {
    let mut token = None;
    loop {
        let page = door.mlflow.search_experiments(View::All, PAGE, "", &[], token.as_deref())?;
        page.items.iter().try_for_each(|experiment| out.value(&experiment_json(experiment)))?;
        token = page.next_page_token;
        if token.is_none() {
            return Ok(());
        }
    }
}
