//! A route: method, path, handler, and what the server does before the handler runs.

use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request as HttpRequest, Response};
use runlode::mlflow::ApiResult;

use crate::answer::Answer;
use crate::door::Door;
use crate::request::Request;

/// A handler of a whole request.
pub(crate) type Plain = fn(&Door, &Request) -> ApiResult<Answer>;

/// A handler that reads or writes a body piece by piece.
pub(crate) type Streaming = fn(Arc<Door>, HttpRequest<Body>) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// The handler of an endpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Handler {
    Plain(Plain),
    Streaming(Streaming),
}

/// What a handler may do to the thread that it runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Some microseconds: runs on the thread that read the request.
    Quick,
    /// Waits for the disk, or computes for long: other requests go on meanwhile.
    Slow,
    /// Slow, and reads as much as the client asks for. Only a few run at a time, since each holds much memory. It stops
    /// if the client has gone, and pages of other origins may not call it.
    Read,
}

/// The API of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
    /// Largest body.
    pub(crate) body_bytes_max: usize,
    /// Whether the body must be JSON, by its Content-Type.
    pub(crate) json_only: bool,
    /// Whether this server answers it at all; checked before the body is read.
    pub(crate) allowed: fn(&Door) -> ApiResult<()>,
}

/// Largest body, unless a route says otherwise.
const BODY_BYTES_MAX: usize = 16 << 20;

impl Route {
    pub(crate) fn new(method: Method, path: &'static str, work: Work, handler: Plain) -> Self {
        let json_only = matches!(method, Method::POST | Method::PUT);
        let allowed = |_: &Door| Ok(());
        let handler = Handler::Plain(handler);
        Self { method, api: Api::V2, path, handler, work, body_bytes_max: BODY_BYTES_MAX, json_only, allowed }
    }

    pub(crate) fn get(path: &'static str, work: Work, handler: Plain) -> Self {
        Self::new(Method::GET, path, work, handler)
    }

    pub(crate) fn post(path: &'static str, work: Work, handler: Plain) -> Self {
        Self::new(Method::POST, path, work, handler)
    }

    pub(crate) fn patch(path: &'static str, work: Work, handler: Plain) -> Self {
        Self::new(Method::PATCH, path, work, handler)
    }

    pub(crate) fn delete(path: &'static str, work: Work, handler: Plain) -> Self {
        Self::new(Method::DELETE, path, work, handler)
    }

    /// An endpoint of [`Api::Root`] that streams. Its handler gets the raw request, and is responsible for reading,
    /// limits and threads.
    pub(crate) fn streaming(method: Method, path: &'static str, handler: Streaming) -> Self {
        let allowed = |_: &Door| Ok(());
        let handler = Handler::Streaming(handler);
        Self { method, api: Api::Root, path, handler, work: Work::Quick, body_bytes_max: 0, json_only: false, allowed }
    }

    /// Its handler, if that takes complete requests.
    pub(crate) fn plain(&self) -> Option<Plain> {
        match self.handler {
            Handler::Plain(handler) => Some(handler),
            Handler::Streaming(_) => None,
        }
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

    /// All paths of the route.
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
