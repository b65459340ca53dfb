//! `/api/runlode/v1/sync`: another store's batches come into this one.
//!
//! | Call | Answer |
//! |---|---|
//! | `GET sync?source=STORE_ID` | `store_id` of this store, `position` of the source up to which all is here, `experiments[[theirs, ours]]` |
//! | `POST sync`, a chunk as `application/octet-stream` | what it did: `batches_count`, `events_count`, `points_count`, `problems[]`, `through` |
//!
//! A chunk that comes twice changes nothing; what it holds is on the disk when the answer comes.

use runlode::mlflow::{ApiError, ApiResult};
use serde_json::json;

use super::{Api, Route, Work};
use crate::answer::Answer;
use crate::door::Door;
use crate::request::Request;

/// Greatest chunk. Senders cut at 8 MiB, but a batch is never cut.
const CHUNK_BYTES_MAX: usize = 128 << 20;

pub(crate) fn routes() -> Vec<Route> {
    let mut apply =
        Route::post("/api/runlode/v1/sync", Work::Slow, apply).api(Api::Root).body_bytes_max(CHUNK_BYTES_MAX);
    apply.json_only = false;
    vec![Route::get("/api/runlode/v1/sync", Work::Quick, position).api(Api::Root), apply]
}

fn position(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let source = fields.required("source")?;
    Answer::json(&json!({
        "store_id": door.mlflow.store().engine().id().to_string(),
        "position": door.mlflow.sync_position(source)?,
        "experiments": door.mlflow.sync_experiments(source)?,
    }))
}

fn apply(door: &Door, request: &Request) -> ApiResult<Answer> {
    if request.body.is_empty() {
        return Err(ApiError::invalid("The body is a chunk of a sync; `runlode sync` sends them."));
    }
    Answer::json(&door.mlflow.sync_apply(&request.body)?)
}
