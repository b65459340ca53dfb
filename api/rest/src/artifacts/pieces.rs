//! Reads bodies piece by piece, each within a time limit.

use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;
use runlode::mlflow::{ApiError, ApiResult, ErrorCode};

/// How long a client may send nothing.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long the rest of a refused body is read, so that the client can read the reason.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// Reads until a piece is full; false at the end of the body.
///
/// # Errors
/// `BAD_REQUEST` when the body breaks off, or stops coming.
pub(crate) async fn fill(body: &mut Body, piece: &mut Vec<u8>, bytes: usize) -> ApiResult<bool> {
    let broken =
        |why: String| ApiError::new(ErrorCode::BadRequest, format!("The artifact did not arrive completely: {why}."));
    while piece.len() < bytes {
        match tokio::time::timeout(SILENCE_MAX, body.frame()).await {
            Err(_) => return Err(broken(format!("nothing came for {} s", SILENCE_MAX.as_secs()))),
            Ok(None) => return Ok(false),
            Ok(Some(Err(error))) => return Err(broken(error.to_string())),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    piece.extend_from_slice(&data);
                }
            }
        }
    }
    Ok(true)
}

/// Reads a body to its end and drops it: a client that is cut off while it sends does not read the answer.
pub(crate) async fn drain(mut body: Body) {
    let to_the_end = async { while let Some(Ok(_)) = body.frame().await {} };
    // A slower client is cut off.
    let _ = tokio::time::timeout(DRAIN_MAX, to_the_end).await;
}
