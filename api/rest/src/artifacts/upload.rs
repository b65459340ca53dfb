//! Bodies that become files, in constant memory: piece by piece, each to be there in time.

use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;
use runlode::mlflow::{ApiError, ApiResult, ErrorCode};

use super::joined;
use super::local::{LocalFolder, Upload};
use super::paths::ArtifactPath;
use super::repository::{Repository, Spot};

/// How long a client may send nothing.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long the rest of a refused body is read, so that the client gets to read why.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// Writes a body to a place, in pieces of such a length. Durable when it returns; nothing is left of it when it fails.
///
/// # Errors
/// Those of the repository; `BAD_REQUEST` when the body breaks off.
pub(crate) async fn receive(spot: &Spot, mut body: Body, piece_bytes: usize) -> ApiResult<()> {
    let received = match &spot.repository {
        Repository::Local(folder) => receive_local(folder, &spot.path, &mut body, piece_bytes).await,
        #[cfg(feature = "s3")]
        Repository::Object(folder) => folder.receive(&spot.path, &mut body).await,
    };
    if received.is_err() {
        drain(body).await;
    }
    received
}

async fn receive_local(
    folder: &std::sync::Arc<LocalFolder>,
    path: &ArtifactPath,
    body: &mut Body,
    piece_bytes: usize,
) -> ApiResult<()> {
    let mut upload: Option<Upload> = None;
    loop {
        let mut piece = Vec::new();
        let last = !fill(body, &mut piece, piece_bytes).await?;
        let (folder, path) = (folder.clone(), path.clone());
        // A file that fits into one piece is begun, written and named in one go.
        upload = joined(tokio::task::spawn_blocking(move || {
            let mut upload = upload.map_or_else(|| folder.begin(&path), Ok)?;
            upload.write(&piece)?;
            if last { upload.finish().map(|()| None) } else { Ok(Some(upload)) }
        }))
        .await?;
        if last {
            return Ok(());
        }
    }
}

/// Reads until a piece is full; false at the end of the body.
///
/// # Errors
/// `BAD_REQUEST` when the body breaks off, or stops coming.
pub(super) async fn fill(body: &mut Body, piece: &mut Vec<u8>, bytes: usize) -> ApiResult<bool> {
    let broken = |why: String| ApiError::new(ErrorCode::BadRequest, format!("The artifact did not come whole: {why}."));
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

/// Reads a body to its end and forgets it: a client that is cut off while it sends does not read the answer.
pub(super) async fn drain(mut body: Body) {
    let to_the_end = async { while let Some(Ok(_)) = body.frame().await {} };
    // Whoever is slower than this is cut off.
    let _ = tokio::time::timeout(DRAIN_MAX, to_the_end).await;
}
