//! Registered models and their versions, now or at a moment of the past; experiments.

use runlode::mlflow::ApiResult;
use runlode::mlflow::entity::{Experiment, ModelVersion, View};
use serde_json::{Value, json};

use super::at::{as_of, or_newest};
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
    let models = found.models.iter().map(|model| {
        json!({
            "name": model.name,
            "created_ms": model.creation_timestamp,
            "updated_ms": model.last_updated_timestamp,
            "description": model.description,
            "tags": model.tags,
            "aliases": model.aliases,
            "versions": found.versions.iter().filter(|version| version.name == model.name).count(),
        })
    });
    let models: Vec<Value> = models.collect();
    let versions = found.versions.iter().filter(|_| name.is_some()).map(version_json);
    door.answer(&json!({
        "position": found.position,
        "models": models,
        "versions": versions.collect::<Vec<_>>(),
    }))
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
    let (position, list) = match as_of(&request.fields()?)? {
        Some(at) => {
            let past = door.mlflow.experiments_as_of(at)?;
            (past.position, past.experiments.iter().map(experiment_json).collect())
        }
        None => (door.mlflow.positions()?.published.0, experiments_now(door)?),
    };
    door.answer(&json!({ "position": position, "experiments": list }))
}

fn experiments_now(door: &Door) -> ApiResult<Vec<Value>> {
    let (mut list, mut token) = (Vec::new(), None);
    loop {
        let page = door.mlflow.search_experiments(View::All, PAGE, "", &[], token.as_deref())?;
        list.extend(page.items.iter().map(experiment_json));
        token = page.next_page_token;
        if token.is_none() {
            return Ok(list);
        }
    }
}
