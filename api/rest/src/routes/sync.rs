//! `/api/runlode/v1/sync`: receives another store's batches.
//!
//! | Call | Answer |
//! |---|---|
//! | `GET sync?source=STORE_ID` | `store_id` of this store, `position` of the source up to which all is here, `experiments[[theirs, ours]]` |
//! | `POST sync`, a chunk as `application/octet-stream` | what it did: `batches_count`, `events_count`, `points_count`, `problems[]`, `through` |
//!
//! A chunk that comes twice changes nothing; what it holds is on the disk when the answer comes.
//!
//! Both calls need `runlode serve --allow-sync`. A chunk is history as somebody else tells it: it may say anything of any
//! run, in any name, at any time. The positions tell which stores there are, and cost a look at every experiment.

use runlode::mlflow::{ApiError, ApiResult, ErrorCode};
use serde_json::json;

use crate::answer::Answer;
use crate::door::Door;
use crate::request::Request;
use crate::route::{Api, Route, Work};

/// Largest chunk. Senders cut at 8 MiB, but a batch is never cut.
const CHUNK_BYTES_MAX: usize = 128 << 20;

pub(crate) fn routes() -> Vec<Route> {
    let mut apply =
        Route::post("/api/runlode/v1/sync", Work::Slow, apply).api(Api::Root).body_bytes_max(CHUNK_BYTES_MAX);
    apply.json_only = false;
    let position = Route::get("/api/runlode/v1/sync", Work::Read, position).api(Api::Root);
    [position, apply].map(|route| route.allowed(check_allowed)).to_vec()
}

/// Other stores may send only if the operator allows it.
fn check_allowed(door: &Door) -> ApiResult<()> {
    if door.options.allow_sync {
        return Ok(());
    }
    let message =
        "This server does not accept data of other stores. Its operator can allow it: `runlode serve --allow-sync`.";
    Err(ApiError::new(ErrorCode::PermissionDenied, message))
}

fn position(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let source = fields.required("source")?;
    Answer::json(&json!({
        "store_id": door.mlflow.store_id()?,
        "position": door.mlflow.sync_position(source)?,
        "experiments": door.mlflow.sync_experiments(source)?,
    }))
}

fn apply(door: &Door, request: &Request) -> ApiResult<Answer> {
    if request.body.is_empty() {
        return Err(ApiError::invalid("The body must be a chunk of a sync; `runlode sync` sends such chunks."));
    }
    Answer::json(&door.mlflow.sync_apply(&request.body)?)
}

#[cfg(test)]
mod tests {
    use runlode::LocalStore;

    use super::*;
    use crate::door::ServeOptions;

    #[test]
    fn other_stores_send_only_where_they_may() {
        let dir = tempfile::tempdir().unwrap();
        let door = |name: &str, allow_sync| {
            let store = LocalStore::open(dir.path().join(name)).unwrap();
            Door::new(store, ServeOptions { allow_sync, ..ServeOptions::default() })
        };
        let (closed, open) = (door("closed", false), door("open", true));
        assert_eq!(routes().len(), 2);
        for route in routes() {
            let refused = (route.allowed)(&closed).unwrap_err();
            assert_eq!((refused.code, refused.status()), (ErrorCode::PermissionDenied, 403));
            assert!(refused.message.contains("runlode serve --allow-sync"), "{}", refused.message);
            (route.allowed)(&open).unwrap();
        }
        let body = b"no chunk".as_slice().into();
        let chunk = apply(&open, &Request { body, fields_in_body: true, ..Request::default() });
        assert_eq!(chunk.unwrap_err().status(), 400);
    }
}
