//! `/api/runlode/v1`: what MLflow's API has no words for: history of an entity, as-of reads, downsampling.

use super::Route;

pub(crate) fn routes() -> Vec<Route> {
    Vec::new()
}
