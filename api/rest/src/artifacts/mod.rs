//! Files of artifacts: where they may be, and their bytes in and out. `routes::artifacts` has the endpoints.
//!
//! ```text
//! path without tricks -> entity's place -> a root of this server, or refused -> folder or object store
//! paths                  runlode::mlflow   repository                            local, object
//!                        bytes out: serve (headers, ranges)    bytes in: pieces, upload
//! ```

mod content_type;
mod local;
#[cfg(feature = "s3")]
mod object;
mod paths;
pub(crate) mod pieces;
mod repository;
pub(crate) mod serve;
pub(crate) mod upload;

use runlode::mlflow::{ApiError, ApiResult, ErrorCode};
use tokio::task::JoinHandle;

pub(crate) use self::local::LocalFile;
pub(crate) use self::paths::{ArtifactPath, Entry};
pub(crate) use self::repository::{Artifacts, Repository, Spot};

/// The result of a blocking task.
pub(crate) async fn joined<T>(task: JoinHandle<ApiResult<T>>) -> ApiResult<T> {
    task.await.unwrap_or_else(|error| {
        Err(ApiError::new(ErrorCode::InternalError, format!("reading or writing an artifact was interrupted: {error}")))
    })
}
