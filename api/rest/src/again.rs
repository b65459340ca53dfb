//! The answer to a call that was made before under its idempotency key: nothing is done, what was made then is shown.
//!
//! The log says what the first call did: the events of its batch. Their entity is read as it stands now, by the REST
//! endpoint that gets it, and put into the shape of the first answer.

use runlode::engine::event::payload::Decoded;
use runlode::mlflow::{ApiError, ApiResult};
use runlode::{Event, Lsn, RegisteredModelId};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::door::Door;
use crate::request::Request;
use crate::routes;

/// The answer to the call whose batch is at a position.
pub(crate) fn answer(door: &Door, lsn: Lsn) -> ApiResult<Answer> {
    for record in door.mlflow.store().engine().events_at(lsn)? {
        let Decoded::Known(event) = record.event else { continue };
        let shown = match event {
            Event::ExperimentCreated(e) => json!({ "experiment_id": e.experiment.to_string() }),
            Event::RunCreated(e) => run(door, &e.run.to_string())?,
            Event::RunUpdated(e) => {
                let mut found = run(door, &e.run.to_string())?;
                json!({ "run_info": found["run"]["info"].take() })
            }
            Event::LoggedModelCreated(e) => logged_model(door, &e.model.to_string())?,
            Event::LoggedModelFinalized(e) => logged_model(door, &e.model.to_string())?,
            Event::RegisteredModelCreated(e) => registered_model(door, e.model)?,
            Event::RegisteredModelRenamed(e) => registered_model(door, e.model)?,
            Event::RegisteredModelUpdated(e) => registered_model(door, e.model)?,
            Event::ModelVersionCreated(e) => version(door, e.model, e.version)?,
            Event::ModelVersionUpdated(e) => version(door, e.model, e.version)?,
            Event::ModelVersionStageChanged(e) => version(door, e.model, e.version)?,
            _ => continue,
        };
        return Answer::json(&shown);
    }
    Ok(Answer::Nothing)
}

/// The JSON that an endpoint answers.
fn get(door: &Door, path: &str, request: &Request) -> ApiResult<Value> {
    let route = routes::all().into_iter().find(|route| route.path == path && route.method == axum::http::Method::GET);
    let route = route.ok_or_else(|| ApiError::absent(format!("{path} is not served here")))?;
    match (route.handler)(door, request)? {
        Answer::Json(body) => serde_json::from_slice(&body)
            .map_err(|error| ApiError::invalid(format!("the answer of {path} is no JSON: {error}"))),
        _ => Ok(Value::Object(serde_json::Map::new())),
    }
}

fn with_fields(fields: &Value) -> Request {
    Request { body: fields.to_string().into(), fields_in_body: true, ..Request::default() }
}

fn run(door: &Door, id: &str) -> ApiResult<Value> {
    get(door, "runs/get", &with_fields(&json!({ "run_id": id })))
}

fn logged_model(door: &Door, id: &str) -> ApiResult<Value> {
    let path = vec![("model_id".to_owned(), id.to_owned())];
    get(door, "logged-models/{model_id}", &Request { path, ..Request::default() })
}

fn name(door: &Door, id: RegisteredModelId) -> ApiResult<String> {
    let found = door.mlflow.store().snapshot()?.registered_model_by_id(id)?;
    found.map(|model| model.name.clone()).ok_or_else(|| ApiError::absent("the model of this call is gone"))
}

fn registered_model(door: &Door, id: RegisteredModelId) -> ApiResult<Value> {
    get(door, "registered-models/get", &with_fields(&json!({ "name": name(door, id)? })))
}

fn version(door: &Door, id: RegisteredModelId, version: u32) -> ApiResult<Value> {
    let fields = json!({ "name": name(door, id)?, "version": version.to_string() });
    get(door, "model-versions/get", &with_fields(&fields))
}

#[cfg(test)]
mod tests {
    use runlode::Store;
    use runlode::mlflow::{Call, NewRun};

    use super::*;
    use crate::door::ServeOptions;

    #[test]
    fn a_repeated_call_shows_what_the_first_one_made() {
        let dir = tempfile::tempdir().unwrap();
        let door = Door::new(Store::open(dir.path().join("store")).unwrap(), ServeOptions::default());
        let call = |hash| Call { actor: "ann".to_owned(), idempotency_key: b"k1".to_vec(), request_hash: hash };
        let first = door.for_call(call(1)).unwrap();
        let run = first.mlflow.create_run(&NewRun::default()).unwrap();
        let repeated = door.for_call(call(1)).unwrap_err().repeated.unwrap();
        let Answer::Json(body) = answer(&door, repeated).unwrap() else { panic!("no JSON") };
        let shown: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(shown["run"]["info"]["run_id"], run.info.run_id.as_str());
        // Two calls at once: the second one finds out at its append.
        let late = first.mlflow.create_run(&NewRun::default()).unwrap_err();
        assert_eq!(late.repeated, Some(repeated));
        assert_eq!(door.for_call(call(2)).unwrap_err().code, runlode::mlflow::ErrorCode::ResourceConflict);
        let snapshot = door.mlflow.store().snapshot().unwrap();
        let events = snapshot.events(&runlode::EntityKey::Run(run.info.run_id.parse().unwrap())).unwrap();
        assert_eq!(events[0].actor.as_deref(), Some("ann"));
        assert_eq!(snapshot.runs_of(runlode::ExperimentId(0)).unwrap().len(), 1);
    }
}
