//! What a first visit of the pages needs, found before anybody comes: the columns and keys of the store's runs, and whether
//! there are pages of MLflow (a Python says it).
//!
//! It runs once, beside the first requests. If another process holds the store, its runs are left alone: that process has
//! a training to run.

use std::sync::Arc;

use super::runs;
use crate::door::Door;
use crate::request::Request;

/// The table of all experiments, as the pages ask for it first.
const TABLE: &str = "column=run_id&column=status&column=start_time&common_metrics=4&common_params=3&limit=200";

/// Asks for them. Whatever fails here fails again in a request, which says why.
pub(crate) async fn warm(door: Arc<Door>) {
    let of_store = door.clone();
    // A task that panicked has said so.
    let _ = tokio::task::spawn_blocking(move || {
        if !of_store.asks_another() {
            let request = Request { query: TABLE.to_owned(), is_read: true, ..Request::default() };
            let _ = of_store.answered(runs::table, &request);
        }
    })
    .await;
    if door.options.serve_ui {
        door.pages.are_there().await;
    }
}
