//! Artifacts: listing, reading with ranges, uploading; the `mlflow-artifacts` proxy.

use std::sync::Arc;

use axum::Router;

use crate::door::Door;

/// Routes that stream: they read and write bodies piece by piece.
pub(crate) fn router() -> Router<Arc<Door>> {
    Router::new()
}
