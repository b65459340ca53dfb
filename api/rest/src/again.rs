//! Answers a repeated call (same idempotency key): nothing is done, and the result of the first call is shown.
//!
//! The log says what the first call created ([`Made`]). The REST endpoint that gets it reads its present state, in the
//! shape of the first answer.

use runlode::Lsn;
use runlode::mlflow::{ApiError, ApiResult, Made};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::door::Door;
use crate::request::Request;
use crate::routes;

/// The answer to the call whose batch is at a position.
pub(crate) fn answer(door: &Door, lsn: Lsn) -> ApiResult<Answer> {
    let Some(made) = door.mlflow.made_at(lsn)?.into_iter().next() else { return Ok(Answer::Nothing) };
    match made {
        Made::Experiment(id) => Answer::json(&json!({ "experiment_id": id })),
        Made::Run(id) => get(door, "runs/get", &with_fields(&json!({ "run_id": id }))),
        Made::RunUpdate(id) => routes::run_info_answer(&door.mlflow.run(&id)?.info),
        Made::LoggedModel(id) => {
            let path = vec![("model_id".to_owned(), id)];
            get(door, "logged-models/{model_id}", &Request { path, ..Request::default() })
        }
        Made::RegisteredModel(name) => get(door, "registered-models/get", &with_fields(&json!({ "name": name }))),
        Made::ModelVersion(name, version) => {
            get(door, "model-versions/get", &with_fields(&json!({ "name": name, "version": version })))
        }
    }
}

/// What an endpoint answers.
fn get(door: &Door, path: &str, request: &Request) -> ApiResult<Answer> {
    let route = routes::all().into_iter().find(|route| route.path == path && route.method == axum::http::Method::GET);
    let handler = route.and_then(|route| route.plain());
    let handler = handler.ok_or_else(|| ApiError::absent(format!("{path} is not served here")))?;
    handler(door, request)
}

fn with_fields(fields: &Value) -> Request {
    Request { body: fields.to_string().into(), fields_in_body: true, ..Request::default() }
}

#[cfg(test)]
mod tests {
    use runlode::LocalStore;
    use runlode::mlflow::{Call, NewRun};

    use super::*;
    use crate::door::ServeOptions;

    #[test]
    fn a_repeated_call_shows_what_the_first_one_made() {
        let dir = tempfile::tempdir().unwrap();
        let door = Door::new(LocalStore::open(dir.path().join("store")).unwrap(), ServeOptions::default());
        let call = |hash| Call { actor: "ann".to_owned(), idempotency_key: b"k1".to_vec(), request_hash: hash };
        let first = door.for_call(call(1)).unwrap();
        let run = first.mlflow.create_run(&NewRun::default()).unwrap();
        let repeated = door.for_call(call(1)).unwrap_err().repeated.unwrap();
        let Answer::Json(body) = answer(&door, repeated).unwrap() else { panic!("no JSON") };
        let shown: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(shown["run"]["info"]["run_id"], run.info.run_id.as_str());
        // Two calls at the same time: the second one finds out at its append.
        let late = first.mlflow.create_run(&NewRun::default()).unwrap_err();
        assert_eq!(late.repeated, Some(repeated));
        assert_eq!(door.for_call(call(2)).unwrap_err().code, runlode::mlflow::ErrorCode::ResourceConflict);
        let snapshot = door.mlflow.local().unwrap().snapshot().unwrap();
        let events = snapshot.events(&runlode::EntityKey::Run(run.info.run_id.parse().unwrap())).unwrap();
        assert_eq!(events[0].actor.as_deref(), Some("ann"));
        assert_eq!(snapshot.runs_of(runlode::ExperimentId(0)).unwrap().len(), 1);
    }
}
