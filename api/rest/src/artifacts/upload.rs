//! Receives bodies as files, in constant memory: piece by piece, each within a time limit.

use axum::body::Body;
use runlode::mlflow::ApiResult;

use super::joined;
use super::local::{LocalFolder, Upload};
use super::paths::ArtifactPath;
use super::pieces::{drain, fill};
use super::repository::{Repository, Spot};

/// Writes a body to a place, in pieces of this length. Durable when it returns; after a failure nothing of it is left.
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
        // A file of one piece is created, written and named in one go.
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
