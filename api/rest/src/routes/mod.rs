//! The table of all endpoints: which method and path leads to which function.
//!
//! A handler is a plain function of the door and a whole request; reading, limits, threads and headers are the
//! server's. Each module lists its own routes; paths are relative to `/api/2.0/mlflow` and `/ajax-api/2.0/mlflow`
//! unless the route says otherwise.

mod experiments;
mod graphql;
mod logged_models;
mod metrics;
mod model_versions;
mod native;
mod registered_models;
mod runs;
mod search;
pub(crate) mod server_info;
mod sync;

use axum::http::Method;
use runlode::mlflow::ApiResult;
pub(crate) use runs::info_answer as run_info_answer;

use crate::answer::Answer;
use crate::door::Door;
use crate::request::Request;

/// How an endpoint is served.
pub(crate) type Handler = fn(&Door, &Request) -> ApiResult<Answer>;

/// What a handler may do to the thread that it runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Some microseconds: runs where the request was read.
    Quick,
    /// Waits for the disk, or computes for long: others go on meanwhile.
    Slow,
    /// As slow, and reads as much as the client asks for: a few of them run at a time, since each holds much. It ends when
    /// the client has gone, and is not for pages of other origins to ask.
    Read,
}

/// Which API a route belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    /// `/api/2.0/mlflow/` and `/ajax-api/2.0/mlflow/`.
    V2,
    /// `/api/3.0/mlflow/` and `/ajax-api/3.0/mlflow/`.
    V3,
    /// `/ajax-api/2.0/mlflow/` only: what only the pages call.
    Pages,
    /// `/ajax-api/3.0/mlflow/` only.
    Pages3,
    /// The path as it is, below the static prefix.
    Root,
}

/// One endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) api: Api,
    /// `{name}` stands for one part, `{*name}` for the rest.
    pub(crate) path: &'static str,
    pub(crate) handler: Handler,
    pub(crate) work: Work,
    /// Greatest body.
    pub(crate) body_bytes_max: usize,
    /// Whether the body must be JSON, by its Content-Type.
    pub(crate) json_only: bool,
    /// Whether this server answers it at all; asked before the body is read.
    pub(crate) allowed: fn(&Door) -> ApiResult<()>,
}

/// Greatest body unless a route says otherwise.
const BODY_BYTES_MAX: usize = 16 << 20;

impl Route {
    pub(crate) fn new(method: Method, path: &'static str, work: Work, handler: Handler) -> Self {
        let json_only = matches!(method, Method::POST | Method::PUT);
        let allowed = |_: &Door| Ok(());
        Self { method, api: Api::V2, path, handler, work, body_bytes_max: BODY_BYTES_MAX, json_only, allowed }
    }

    pub(crate) fn get(path: &'static str, work: Work, handler: Handler) -> Self {
        Self::new(Method::GET, path, work, handler)
    }

    pub(crate) fn post(path: &'static str, work: Work, handler: Handler) -> Self {
        Self::new(Method::POST, path, work, handler)
    }

    pub(crate) fn patch(path: &'static str, work: Work, handler: Handler) -> Self {
        Self::new(Method::PATCH, path, work, handler)
    }

    pub(crate) fn delete(path: &'static str, work: Work, handler: Handler) -> Self {
        Self::new(Method::DELETE, path, work, handler)
    }

    pub(crate) fn api(mut self, api: Api) -> Self {
        self.api = api;
        self
    }

    pub(crate) fn allowed(mut self, allowed: fn(&Door) -> ApiResult<()>) -> Self {
        self.allowed = allowed;
        self
    }

    pub(crate) fn body_bytes_max(mut self, bytes: usize) -> Self {
        self.body_bytes_max = bytes;
        self
    }

    /// Every path that leads here.
    pub(crate) fn paths(&self) -> Vec<String> {
        let below = |prefixes: &[&str]| prefixes.iter().map(|prefix| format!("{prefix}/{}", self.path)).collect();
        match self.api {
            Api::V2 => below(&["/api/2.0/mlflow", "/ajax-api/2.0/mlflow"]),
            Api::V3 => below(&["/api/3.0/mlflow", "/ajax-api/3.0/mlflow"]),
            Api::Pages => below(&["/ajax-api/2.0/mlflow"]),
            Api::Pages3 => below(&["/ajax-api/3.0/mlflow"]),
            Api::Root => vec![self.path.to_owned()],
        }
    }
}

/// All endpoints that are plain functions. Files, pages and streams are wired in `server`.
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
        graphql::routes(),
        native::routes(),
        sync::routes(),
        crate::artifacts::routes(),
    ]
    .concat()
}

/// Every endpoint with these bytes as its body, and as its query. Nothing may panic, and nothing be answered by a 500.
pub(crate) fn probe(door: &Door, bytes: &[u8]) {
    let query: String = String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).collect();
    for route in all() {
        for fields_in_body in [true, false] {
            let body = bytes::Bytes::copy_from_slice(bytes);
            let request = Request { body, query: query.clone(), fields_in_body, ..Request::default() };
            if let Err(error) = (route.allowed)(door).and_then(|()| (route.handler)(door, &request)) {
                assert_ne!(error.status(), 500, "{}: {error}", route.path);
            }
        }
    }
}
