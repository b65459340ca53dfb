//! What a page asks first, the position of a moment, and HTML artifacts.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, Request as HttpRequest, Response, header};
use runlode::mlflow::{ApiResult, ErrorCode};
use serde_json::{Value, json};

use super::at::{as_of, or_newest};
use crate::answer::Answer;
use crate::door::Door;
use crate::request::Request;
use crate::routes::artifacts::file_of_run;

/// What an HTML artifact may do: run its own scripts, in an origin of its own, without any network.
const ARTIFACT_POLICY: &str = "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; \
                               style-src 'unsafe-inline'; img-src data: blob:; font-src data:; media-src data: blob:; \
                               frame-ancestors 'self'";

/// Time of the first batch that the log holds, Unix ms.
fn first_ms(door: &Door) -> ApiResult<Option<i64>> {
    match door.mlflow.tail(0, 1, 0) {
        Ok(page) => {
            let event = page.events.first().map(|event| event.time_ms);
            Ok(event.or(page.points.first().map(|points| points.time_ms)))
        }
        Err(error) if error.code == ErrorCode::InvalidParameterValue => Ok(None),
        Err(error) => Err(error),
    }
}

fn about_json(door: &Door, mlflow_pages: bool) -> ApiResult<Value> {
    let positions = door.mlflow.positions()?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "api": 1,
        "position": positions.published.0,
        "durable": positions.durable.0,
        "first_ms": first_ms(door)?,
        "now_ms": i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
        "mlflow_pages": mlflow_pages,
    }))
}

pub(super) async fn about(door: Arc<Door>, _: HttpRequest<Body>) -> Response<Body> {
    let mlflow_pages = door.options.serve_ui && door.pages.folder().await.is_ok();
    match tokio::task::block_in_place(|| door.answer(&about_json(&door, mlflow_pages)?)) {
        Ok(answer) => answer.into_response(&door.memory),
        Err(error) => door.refused(&error),
    }
}

pub(super) fn moment(door: &Door, request: &Request) -> ApiResult<Answer> {
    let position = door.mlflow.position_at(or_newest(as_of(&request.fields()?)?))?;
    Answer::json(&json!({ "position": position }))
}

pub(super) async fn artifact_page(door: Arc<Door>, request: HttpRequest<Body>) -> Response<Body> {
    let mut response = file_of_run(door, request).await;
    let headers = response.headers_mut();
    let is_html = headers.get(header::CONTENT_DISPOSITION).and_then(|value| value.to_str().ok()).is_some_and(|value| {
        let value = value.trim_end_matches('"').to_ascii_lowercase();
        value.ends_with(".html") || value.ends_with(".htm")
    });
    // Anything else stays what it is: an attachment.
    if is_html {
        headers.remove(header::CONTENT_DISPOSITION);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(ARTIFACT_POLICY));
    }
    response
}
