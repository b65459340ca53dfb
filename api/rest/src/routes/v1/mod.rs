//! `/api/runlode/v1` of Runlode's own pages, for anybody: tables and curves as columns, the past, a stream of changes.
//!
//! | Call | Answer |
//! |---|---|
//! | `GET about` | version, positions, time of the first batch, whether MLflow's pages are here |
//! | `GET experiments` | all experiments |
//! | `GET runs?experiment_id=&filter=&order_by=&view=&column=&common_metrics=&common_params=&offset=&limit=` | columns of some rows of the table, `total` |
//! | `GET keys?experiment_id=&runs_max=` | metrics, params and tags that the newest runs have, with their counts |
//! | `GET groups?by=&column=` and those of `runs` | runs in groups, with their counts and the ranges of metrics |
//! | `GET run?run_id=` | one run whole |
//! | `POST curves` `{series: [{run_id, key}], start_step, end_step, buckets, points}` | columns of many curves |
//! | `GET branch?run_id=&branch=&key=` | the curve of a branch |
//! | `GET models`, `GET models?name=` | registered models, versions |
//! | `GET lineage?name=` | where the versions of a model come from, as nodes and edges |
//! | `GET logged-models?experiment_id=`, `GET logged-model?model_id=` | logged models |
//! | `GET files?run_id=&path=`, `GET model?run_id=&path=` | a folder of files; what an `MLmodel` says (also `model_id=`, `name=&version=`) |
//! | `POST promote`, `POST rollback`, `GET audit`, `GET audit/events` | changes decided in the store; the audit ([`careful`]) |
//! | `GET find?text=` | the entity that a text names |
//! | `GET moment` | the position of a moment |
//! | `GET events?from=` | the stream |
//! | `GET tail?from=&batches=` | the log itself, page by page |
//! | `GET file?run_id=&path=` | a file |
//! | `GET artifact-page?run_id=&path=` | an HTML file, alone in its sandbox |
//!
//! `runs` and `groups` take the same fields as JSON in a POST. All but the stream, the log and those of files take `as_of`: a position, or a time by RFC 3339. Each handler parses, limits, asks the store and
//! renders; docs/api.md is the description for users.

mod about;
mod at;
mod careful;
mod columns;
mod curves;
mod events;
mod files;
mod groups;
mod json;
mod keys;
mod limit;
mod lineage;
mod logged;
mod registry;
mod runs;
mod tail;
mod warm;

use axum::http::Method;

use crate::route::{Api, Route, Work};

pub(crate) use warm::warm;

/// Largest body of a request: ten thousand names.
const NAMES_BYTES_MAX: usize = 8 << 20;

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::streaming(Method::GET, "/api/runlode/v1/about", |door, request| Box::pin(about::about(door, request))),
        Route::get("/api/runlode/v1/moment", Work::Read, about::moment).api(Api::Root),
        Route::get("/api/runlode/v1/experiments", Work::Read, registry::experiments).api(Api::Root),
        Route::get("/api/runlode/v1/runs", Work::Read, runs::table).api(Api::Root),
        // Filters that name many runs are longer than an address.
        Route::post("/api/runlode/v1/runs", Work::Read, runs::table).api(Api::Root).body_bytes_max(NAMES_BYTES_MAX),
        Route::post("/api/runlode/v1/groups", Work::Read, groups::groups)
            .api(Api::Root)
            .body_bytes_max(NAMES_BYTES_MAX),
        Route::get("/api/runlode/v1/keys", Work::Read, keys::keys).api(Api::Root),
        Route::get("/api/runlode/v1/groups", Work::Read, groups::groups).api(Api::Root),
        Route::get("/api/runlode/v1/logged-models", Work::Read, logged::list).api(Api::Root),
        Route::get("/api/runlode/v1/logged-model", Work::Read, logged::one).api(Api::Root),
        Route::get("/api/runlode/v1/files", Work::Read, files::list).api(Api::Root),
        Route::get("/api/runlode/v1/model", Work::Read, files::model).api(Api::Root),
        Route::get("/api/runlode/v1/run", Work::Read, runs::run).api(Api::Root),
        Route::get("/api/runlode/v1/find", Work::Read, runs::find).api(Api::Root),
        Route::post("/api/runlode/v1/curves", Work::Read, curves::many).api(Api::Root).body_bytes_max(NAMES_BYTES_MAX),
        Route::get("/api/runlode/v1/branch", Work::Read, curves::of_branch).api(Api::Root),
        Route::get("/api/runlode/v1/models", Work::Read, registry::models).api(Api::Root),
        Route::get("/api/runlode/v1/lineage", Work::Read, lineage::of_model).api(Api::Root),
        Route::post("/api/runlode/v1/promote", Work::Slow, careful::promote).api(Api::Root),
        Route::post("/api/runlode/v1/rollback", Work::Slow, careful::rollback).api(Api::Root),
        Route::get("/api/runlode/v1/tail", Work::Read, tail::page).api(Api::Root),
        Route::get("/api/runlode/v1/audit", Work::Read, careful::audit).api(Api::Root),
        Route::get("/api/runlode/v1/audit/events", Work::Read, careful::events).api(Api::Root),
        Route::streaming(Method::GET, "/api/runlode/v1/events", |door, request| {
            Box::pin(events::stream(door, request))
        }),
        Route::streaming(Method::GET, "/api/runlode/v1/file", |door, request| Box::pin(files::file(door, request))),
        Route::streaming(Method::GET, "/api/runlode/v1/artifact-page", |door, request| {
            Box::pin(files::page(door, request))
        }),
    ]
}
