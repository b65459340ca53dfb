//! What a page asks first, and the position of a moment.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request as HttpRequest, Response};
use runlode::mlflow::ApiResult;
use serde_json::{Value, json};

use super::at::{as_of, or_newest};
use crate::answer::Answer;
use crate::door::Door;
use crate::request::Request;

fn about_json(door: &Door, mlflow_pages: bool) -> ApiResult<Value> {
    let positions = door.mlflow.positions()?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "api": 1,
        "position": positions.published.0,
        "durable": positions.durable.0,
        "first_ms": door.mlflow.first_ms()?,
        "now_ms": i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
        "mlflow_pages": mlflow_pages,
        "read_only": door.options.read_only,
    }))
}

pub(super) async fn about(door: Arc<Door>, _: HttpRequest<Body>) -> Response<Body> {
    let mlflow_pages = door.options.serve_ui && door.pages.are_there().await;
    match tokio::task::block_in_place(|| door.answer(&about_json(&door, mlflow_pages)?)) {
        Ok(answer) => answer.into_response(&door.memory),
        Err(error) => door.refused(&error),
    }
}

pub(super) fn moment(door: &Door, request: &Request) -> ApiResult<Answer> {
    let position = door.mlflow.position_at(or_newest(as_of(&request.fields()?)?))?;
    Answer::json(&json!({ "position": position }))
}
