//! The table of all endpoints: which method and path leads to which function.
//!
//! A handler is a plain function of the door and a whole request; reading, limits, threads and headers are the
//! server's. Those of files and pages stream. Each module lists its own routes; paths are relative to
//! `/api/2.0/mlflow` and `/ajax-api/2.0/mlflow` unless the route says otherwise.

mod absent;
mod artifacts;
mod experiments;
mod graphql;
mod logged_models;
mod metrics;
mod model_versions;
mod native;
mod pages;
mod registered_models;
mod runs;
mod search;
pub(crate) mod server_info;
mod sync;
mod ui;
pub(crate) mod v1;

pub(crate) use runs::info_answer as run_info_answer;

use crate::door::Door;
use crate::request::Request;
use crate::route::Route;

/// All endpoints, except those of the pages.
pub(crate) fn all() -> Vec<Route> {
    [
        experiments::routes(),
        runs::routes(),
        metrics::routes(),
        search::routes(),
        logged_models::routes(),
        registered_models::routes(),
        model_versions::routes(),
        server_info::routes(),
        absent::routes(),
        graphql::routes(),
        native::routes(),
        v1::routes(),
        sync::routes(),
        artifacts::routes(),
    ]
    .concat()
}

/// All endpoints that a server has.
pub(crate) fn served(door: &Door) -> Vec<Route> {
    if door.options.serve_ui { [all(), pages::routes(), ui::routes()].concat() } else { all() }
}

/// Every endpoint of whole requests with these bytes as its body, and as its query. Nothing may panic, and nothing be answered by a 500.
pub(crate) fn probe(door: &Door, bytes: &[u8]) {
    let query: String = String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).collect();
    for route in all() {
        let Some(handler) = route.plain() else { continue };
        for fields_in_body in [true, false] {
            let body = bytes::Bytes::copy_from_slice(bytes);
            let request = Request { body, query: query.clone(), fields_in_body, ..Request::default() };
            if let Err(error) = (route.allowed)(door).and_then(|()| handler(door, &request)) {
                assert_ne!(error.status(), 500, "{}: {error}", route.path);
            }
        }
    }
}
