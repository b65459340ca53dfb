//! MLflow's web pages, out of the user's own installed mlflow.

use std::sync::Arc;

use axum::Router;

use crate::door::Door;

/// `/` and `/static-files/`.
pub(crate) fn router() -> Router<Arc<Door>> {
    Router::new()
}
