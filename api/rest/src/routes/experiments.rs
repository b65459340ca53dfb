//! Experiments.

use percent_encoding::percent_decode_str;
use runlode::mlflow::entity::Experiment;
use runlode::mlflow::{ApiError, ApiResult, scheme};
use serde::Serialize;

use crate::answer::{Answer, Named, PairJson, pairs};
use crate::door::Door;
use crate::request::Request;
use crate::route::{Route, Work};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::post("experiments/create", Work::Slow, create),
        Route::get("experiments/get", Work::Quick, get),
        Route::get("experiments/get-by-name", Work::Quick, get_by_name),
        Route::post("experiments/delete", Work::Slow, delete),
        Route::post("experiments/restore", Work::Slow, restore),
        Route::post("experiments/update", Work::Slow, update),
        Route::post("experiments/set-experiment-tag", Work::Slow, set_tag),
        Route::post("experiments/delete-experiment-tag", Work::Slow, delete_tag),
    ]
}

/// An experiment on the wire.
#[derive(Debug, Serialize)]
pub(crate) struct ExperimentJson<'a> {
    experiment_id: &'a str,
    name: &'a str,
    artifact_location: &'a str,
    lifecycle_stage: &'static str,
    last_update_time: i64,
    creation_time: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<PairJson<'a>>,
}

impl<'a> From<&'a Experiment> for ExperimentJson<'a> {
    fn from(experiment: &'a Experiment) -> Self {
        Self {
            experiment_id: &experiment.experiment_id,
            name: &experiment.name,
            artifact_location: &experiment.artifact_location,
            lifecycle_stage: lifecycle_stage(experiment.deleted),
            last_update_time: experiment.last_update_time,
            creation_time: experiment.creation_time,
            tags: pairs(&experiment.tags),
        }
    }
}

/// `active` or `deleted`.
pub(crate) fn lifecycle_stage(deleted: bool) -> &'static str {
    if deleted { "deleted" } else { "active" }
}

fn answer(door: &Door, experiment: &Experiment) -> ApiResult<Answer> {
    door.answer(&Named("experiment", ExperimentJson::from(experiment)))
}

/// What MLflow's server refuses of an artifact location, and its store does not.
fn check_location(location: &str) -> ApiResult<()> {
    let (rest, fragment) = location.split_once('#').unwrap_or((location, ""));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let has_params = scheme(location).is_none_or(|scheme| matches!(scheme, "http" | "https" | "ftp" | "sftp"));
    let last = path.rsplit('/').next().unwrap_or_default();
    let params = last.split_once(';').map_or("", |(_, params)| params);
    if !fragment.is_empty() || (has_params && !params.is_empty()) {
        return Err(ApiError::invalid("'artifact_location' URL can't include fragments or params."));
    }
    if percent_decode_str(query).decode_utf8_lossy().contains("..") {
        return Err(ApiError::invalid("Invalid query string"));
    }
    Ok(())
}

fn create(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let name = fields.required("name")?;
    let location = fields.text("artifact_location")?.filter(|location| !location.is_empty());
    let tags = fields.pairs_of_new("tags")?;
    location.map_or(Ok(()), check_location)?;
    let plain = location.is_none() && tags.is_empty();
    let created = match door.mlflow.create_experiment(name, location, &tags) {
        // This client saw that the name was free, but lost the race: it wants the winner's experiment.
        Err(error) if plain && error.code == runlode::mlflow::ErrorCode::ResourceAlreadyExists => {
            if !door.creations.use_credit(&request.client, name) {
                return Err(error);
            }
            match door.mlflow.experiment_by_name(name)? {
                Some(experiment) if !experiment.deleted => experiment.experiment_id,
                _ => return Err(error),
            }
        }
        result => {
            let created = result?;
            // The 404 before this create has been used.
            door.creations.use_credit(&request.client, name);
            created
        }
    };
    Answer::json(&Named("experiment_id", created))
}

fn get(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    answer(door, &door.mlflow.experiment(fields.required("experiment_id")?)?)
}

fn get_by_name(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let name = fields.required("experiment_name")?;
    match door.mlflow.experiment_by_name(name)? {
        Some(experiment) => answer(door, &experiment),
        None => {
            door.creations.give_credit(&request.client, name);
            Err(ApiError::absent(format!("Could not find experiment with name '{name}'")))
        }
    }
}

fn delete(door: &Door, request: &Request) -> ApiResult<Answer> {
    door.mlflow.delete_experiment(request.fields()?.required("experiment_id")?)?;
    Ok(Answer::Nothing)
}

fn restore(door: &Door, request: &Request) -> ApiResult<Answer> {
    door.mlflow.restore_experiment(request.fields()?.required("experiment_id")?)?;
    Ok(Answer::Nothing)
}

fn update(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let id = fields.required("experiment_id")?;
    door.mlflow.rename_experiment(id, fields.required("new_name")?)?;
    Ok(Answer::Nothing)
}

fn set_tag(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let (id, key) = (fields.required("experiment_id")?, fields.required("key")?);
    door.mlflow.set_experiment_tag(id, key, fields.text("value")?.unwrap_or_default())?;
    Ok(Answer::Nothing)
}

fn delete_tag(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    door.mlflow.delete_experiment_tag(fields.required("experiment_id")?, fields.required("key")?)?;
    Ok(Answer::Nothing)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use runlode::LocalStore;
    use runlode::mlflow::ErrorCode;
    use serde_json::{Value, json};

    use super::*;
    use crate::door::ServeOptions;

    const CLIENTS: usize = 64;

    fn request(fields: &Value) -> Request {
        // All from one address, like processes of one machine or behind one router.
        Request {
            body: fields.to_string().into(),
            fields_in_body: true,
            client: "127.0.0.1".to_owned(),
            ..Request::default()
        }
    }

    fn id(answer: Answer) -> String {
        let Answer::Json(body) = answer else { panic!("no JSON") };
        let answer: Value = serde_json::from_slice(&body).unwrap();
        let id = answer.get("experiment_id").unwrap_or_else(|| &answer["experiment"]["experiment_id"]);
        id.as_str().unwrap().to_owned()
    }

    /// What MLflow's client does to set an experiment. `wait` is called between its two requests.
    fn set_experiment(door: &Door, name: &str, wait: impl Fn()) -> ApiResult<String> {
        match get_by_name(door, &request(&json!({ "experiment_name": name }))) {
            Err(error) if error.code == ErrorCode::ResourceDoesNotExist => {
                wait();
                create(door, &request(&json!({ "name": name }))).map(id)
            }
            found => found.map(id),
        }
    }

    #[test]
    fn every_client_of_a_lost_race_gets_the_winners_experiment() {
        let dir = tempfile::tempdir().unwrap();
        let door = Door::new(LocalStore::open(dir.path().join("store")).unwrap(), ServeOptions::default());
        for round in 0..12 {
            let name = format!("race-{round}");
            let (all_asked, begun) = (Barrier::new(CLIENTS), Barrier::new(CLIENTS));
            let ids: Vec<String> = std::thread::scope(|scope| {
                let one = |at: usize| {
                    let (door, name, all_asked, begun) = (&door, &name, &all_asked, &begun);
                    scope.spawn(move || {
                        begun.wait();
                        let wait = || match round % 3 {
                            // All get 404 before the first one creates.
                            0 => drop(all_asked.wait()),
                            // Without synchronisation.
                            1 => {}
                            // Some ask while others already create.
                            _ => std::thread::sleep(std::time::Duration::from_micros((at as u64 * 7919) % 2_000)),
                        };
                        set_experiment(door, name, wait).unwrap()
                    })
                };
                let threads: Vec<_> = (0..CLIENTS).map(one).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(ids.iter().all(|id| *id == ids[0]), "round {round}: {ids:?}");
            // Each 404 was used once, the winner's too.
            let error = create(&door, &request(&json!({ "name": name }))).unwrap_err();
            assert_eq!(error.code, ErrorCode::ResourceAlreadyExists);
        }
    }
}
