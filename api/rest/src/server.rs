//! The server: connections, their limits, and how requests reach handlers.
//!
//! - At most [`CONNECTIONS_MAX`] connections, fewer if memory is small; `runlode_http` has their rules. A body must
//!   arrive within the time in [`crate::body`].
//! - A body is read completely, up to its route's limit, before the handler runs: no handler sees half a request. All
//!   bodies together take a bounded amount of memory ([`crate::body`]). A refused body is still read, within limits, so
//!   that the client can read the reason.
//! - When stopped, the server takes no new connections, answers open requests, and ends within [`DRAIN_TIMEOUT`].
//! - If the store refuses all writes the server ends, so that its supervisor restarts it and reopens the store.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawPathParams, State};
use axum::http::{HeaderMap, HeaderValue, Method, Request as HttpRequest, Response, StatusCode, Uri, header};
use axum::routing::{MethodFilter, MethodRouter, on};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use runlode::engine::checksum::fnv;
use runlode::mlflow::{ApiError, Call, ErrorCode};
use runlode_http::Connections;
use tokio::net::TcpListener;

use crate::again;
use crate::answer::{Answer, error_response, no_endpoint, with_slash};
use crate::body::{RETRY_AFTER_S, Whole};
use crate::client::{Client, Stream};
use crate::door::Door;
use crate::guard::{Asked, HeaderParts};
use crate::memory::Turn;
use crate::request::Request;
use crate::route::{Handler, Plain, Route, Work};
use crate::routes::{self, server_info, v1};

/// Most connections at a time.
const CONNECTIONS_MAX: usize = 4096;
/// How much of an unwanted body is read, and for how long: if the client still sends when the answer comes, the
/// connection is reset and the answer is lost.
const UNWANTED_BYTES_MAX: usize = 256 << 20;
const UNWANTED_TIMEOUT: Duration = Duration::from_secs(10);
/// How long open requests may take to end when the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Everybody on the network could read and change the store.
    #[error(
        "{0} is reachable from other machines, and Runlode has no users and passwords yet; serve on 127.0.0.1, or \
         pass --allow-unauthenticated if you trust the network"
    )]
    Exposed(SocketAddr),
    /// Artifacts cannot be kept or found as the options say.
    #[error("{0}")]
    Artifacts(String),
    /// The address is in use, or not of this machine.
    #[error("cannot listen on {address}: {source}; choose another --port")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: std::io::Error,
    },
}

/// Why a server ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It was stopped.
    Stopped,
    /// The store refuses writes; reopen it.
    StoreFailed(String),
}

/// A listening server.
#[derive(Debug)]
pub struct Server {
    door: Arc<Door>,
    router: Router,
    listener: TcpListener,
    address: SocketAddr,
}

/// Serves a door until `stop` is ready.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(door: Arc<Door>, stop: impl Future<Output = ()>) -> Result<Ended, ServeError> {
    Ok(Server::bind(door).await?.run(stop).await)
}

impl Server {
    /// Listens on the configured address; port 0 means any free one.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn bind(door: Arc<Door>) -> Result<Self, ServeError> {
        let address = door.options.address;
        if !address.ip().is_loopback() && !door.options.allow_unauthenticated {
            return Err(ServeError::Exposed(address));
        }
        if let Some(problem) = &door.artifacts_problem {
            return Err(ServeError::Artifacts(problem.clone()));
        }
        let listen = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let router = router(&door);
        Ok(Self { door, router, listener, address })
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` is ready or the store fails.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Ended {
        let connections = Connections::of(self.door.memory.connections_max(CONNECTIONS_MAX));
        tokio::spawn(v1::warm(self.door.clone()));
        let mut failed = self.door.failed.subscribe();
        let mut stop = pin!(stop);
        let ended = loop {
            tokio::select! {
                () = &mut stop => break Ended::Stopped,
                _ = failed.changed() => break Ended::StoreFailed(failed.borrow().clone().unwrap_or_default()),
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        // Answers are small and urgent. If the peer has gone, the first read will show it.
                        let _ = stream.set_nodelay(true);
                        let (door, router) = (self.door.clone(), self.router.clone());
                        let (stream, client) = Stream::new(stream);
                        tokio::spawn(connections.open().serve(stream, move |mut request| {
                            let (door, router) = (door.clone(), router.clone());
                            request.extensions_mut().insert(client.clone());
                            async move { answer(&door, router, request, peer).await }
                        }));
                    }
                    // Out of file handles, or the peer has gone: neither is a reason to stop.
                    Err(_) => {
                        connections.give_up_one();
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                },
            }
        };
        drop(self.listener);
        self.door.stopping.send_replace(true);
        connections.drain(DRAIN_TIMEOUT).await;
        ended
    }
}

/// Guard, route, handler, headers.
async fn answer(
    door: &Arc<Door>,
    mut router: Router,
    request: HttpRequest<Incoming>,
    peer: SocketAddr,
) -> Response<Body> {
    let parts = HeaderParts::of(request.headers());
    let unread = Unread::of(&request);
    let mut request = request.map(|body| unread.take(body));
    let mut response = match below(&door.options.static_prefix, request.uri()) {
        Below::Nowhere => error_response(&no_endpoint(request.uri().path())),
        // The pages' links are relative to a path that ends in a slash.
        _ if !request.uri().path().ends_with('/') && request.uri().path() == door.options.static_prefix => {
            with_slash(&door.options.static_prefix)
        }
        path => {
            let cleaned = match path {
                Below::Cleaned(path) => Some(path),
                _ => None,
            };
            let asked = Asked {
                method: request.method(),
                version: request.version(),
                uri: request.uri(),
                path: cleaned.as_deref().unwrap_or(request.uri().path()),
                headers: request.headers(),
            };
            match door.guard.check(asked) {
                Some(refusal) => refusal,
                None => {
                    if let Some(path) = cleaned {
                        *request.uri_mut() = with_path(request.uri(), &path);
                    }
                    request.extensions_mut().insert(Peer(peer));
                    match server_info::refused_workspace(request.uri().path(), request.headers()) {
                        Some(refusal) => error_response(&refusal),
                        // The router is always ready, and cannot fail.
                        None => match tower_call(&mut router, request).await {
                            Ok(response) => response,
                            Err(never) => match never {},
                        },
                    }
                }
            }
        }
    };
    if !unread.finish().await {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    door.guard.finish(&parts, response.headers_mut());
    response
}

/// The body of a request. A handler may read as much of it as it likes; the rest is read afterwards.
#[derive(Debug, Clone)]
struct Unread {
    /// None: read to its end.
    body: Arc<Mutex<Option<Incoming>>>,
    /// The client waits for permission to send it.
    asks_first: bool,
}

impl Unread {
    fn of(request: &HttpRequest<Incoming>) -> Self {
        Self { body: Arc::default(), asks_first: request.headers().contains_key(header::EXPECT) }
    }

    /// The body as handlers see it.
    fn take(&self, body: Incoming) -> Body {
        if body.is_end_stream() {
            return Body::empty();
        }
        *self.body.lock() = Some(body);
        Body::new(self.clone())
    }

    /// Reads and drops the rest; returns whether the connection can go on.
    async fn finish(mut self) -> bool {
        if self.is_end_stream() {
            return true;
        }
        if self.asks_first {
            return false;
        }
        let rest = async {
            let mut bytes = 0;
            while let Some(frame) = self.frame().await {
                bytes += frame.ok()?.data_ref().map_or(0, bytes::Bytes::len);
                if bytes > UNWANTED_BYTES_MAX {
                    return None;
                }
            }
            Some(())
        };
        matches!(tokio::time::timeout(UNWANTED_TIMEOUT, rest).await, Ok(Some(())))
    }
}

impl HttpBody for Unread {
    type Data = bytes::Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, hyper::Error>>> {
        let mut body = self.body.lock();
        let Some(incoming) = body.as_mut() else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(incoming).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            *body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.lock().as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.lock().as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

async fn tower_call(router: &mut Router, request: HttpRequest<Body>) -> Result<Response<Body>, Infallible> {
    tower_service::Service::call(router, request).await
}

/// The peer of the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Where a path leads, seen from the static prefix.
#[derive(Debug, PartialEq, Eq)]
enum Below {
    /// Not below the prefix.
    Nowhere,
    /// It needs no change.
    AsItIs,
    /// Without the prefix and doubled slashes.
    Cleaned(String),
}

fn below(prefix: &str, uri: &Uri) -> Below {
    let path = uri.path();
    let Some(rest) = path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/')) else {
        return Below::Nowhere;
    };
    if prefix.is_empty() && !path.contains("//") {
        return Below::AsItIs;
    }
    let mut clean = String::with_capacity(rest.len() + 1);
    for c in rest.chars() {
        if c != '/' || !clean.ends_with('/') {
            clean.push(c);
        }
    }
    if clean.is_empty() {
        clean.push('/');
    }
    Below::Cleaned(clean)
}

fn with_path(uri: &Uri, path: &str) -> Uri {
    let text = uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    // Part of a valid path is valid.
    text.parse().unwrap_or_else(|_| uri.clone())
}

/// All routes as a router.
pub(crate) fn router(door: &Arc<Door>) -> Router {
    let mut router: Router<Arc<Door>> = Router::new();
    for route in routes::served(door) {
        for path in route.paths() {
            router = router.route(&path, method_router(route.clone()));
        }
    }
    router
        .fallback(|uri: Uri| async move { error_response(&no_endpoint(uri.path())) })
        .method_not_allowed_fallback(
            |uri: Uri| async move { error_response(&no_endpoint(uri.path()).with_status(405)) },
        )
        .with_state(door.clone())
}

fn method_router(route: Route) -> MethodRouter<Arc<Door>> {
    let filter = MethodFilter::try_from(route.method.clone()).unwrap_or(MethodFilter::GET);
    let handler = match route.handler {
        Handler::Plain(handler) => handler,
        Handler::Streaming(handler) => {
            return on(filter, move |State(door): State<Arc<Door>>, request: HttpRequest<Body>| {
                handler(door.newest().map_or(door, Arc::new), request)
            });
        }
    };
    let route = Arc::new(route);
    on(filter, move |State(door): State<Arc<Door>>, parts: RawPathParams, request: HttpRequest<Body>| {
        let route = route.clone();
        async move {
            let door = door.newest().map_or(door, Arc::new);
            match handle(&door, &route, handler, &parts, request).await {
                Ok(answer) => answer.into_response(&door.memory),
                Err(error) => door.refused(&error),
            }
        }
    })
}

async fn handle(
    door: &Door,
    route: &Route,
    handler: Plain,
    parts: &RawPathParams,
    request: HttpRequest<Body>,
) -> Result<Answer, ApiError> {
    let (head, body) = request.into_parts();
    (route.allowed)(door)?;
    if route.work == Work::Read
        && let Some(refusal) = door.guard.check_costly(&head.uri, &head.headers)
    {
        return Ok(Answer::Raw(refusal));
    }
    if route.json_only {
        check_content_type(&head.headers)?;
    }
    check_content_encoding(&head.headers)?;
    let fields_in_body = has_fields_in_body(&head.method, &head.uri, &body);
    let whole = match fields_in_body {
        false => Whole::empty(&door.bodies),
        true => {
            let bytes_max = door.memory.body_bytes_max(route.body_bytes_max);
            match door.bodies.read(body, &head.headers, bytes_max).await {
                Ok(whole) => whole,
                Err(error) => return later(error),
            }
        }
    };
    let body = whole.bytes.clone();
    // Only once the whole body is here, so that a slow client holds nobody up.
    let turn = match route.work {
        Work::Quick => Turn::None,
        Work::Slow => Turn::Slow,
        Work::Read => Turn::Read,
    };
    let running = match door.memory.turn(body.len(), turn).await {
        Ok(running) => running,
        Err(error) => return later(error),
    };
    let call = call_of(&head.method, &head.uri, &head.headers, &body);
    let peer = head.extensions.get::<Peer>().map(|peer| peer.0.ip().to_string()).unwrap_or_default();
    let user = head.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let request = Request {
        body,
        query: head.uri.query().unwrap_or_default().to_owned(),
        path: parts.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        client: format!("{peer} {user}"),
        fields_in_body,
        is_read: is_read(&head.method),
        ..Request::default()
    };
    let waited = match head.extensions.get::<Arc<Client>>() {
        Some(client) if route.work == Work::Read => Some(door.for_waiting(client.clone(), running.steps())),
        _ => None,
    };
    let door = waited.as_ref().unwrap_or(door);
    let answer = || match call {
        None => door.answered(handler, &request),
        Some(call) => {
            let result = door.for_call(call).and_then(|door| door.answered(handler, &request));
            match result {
                Err(ApiError { repeated: Some(lsn), .. }) => again::answer(door, lsn),
                result => result,
            }
        }
    };
    match route.work {
        Work::Quick if !door.asks_another() => answer(),
        Work::Quick | Work::Slow | Work::Read => tokio::task::block_in_place(answer),
    }
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Whether the body holds the fields of a request. Some clients of MLflow send those of a GET as JSON; MLflow reads them
/// there unless the URL has a query.
fn has_fields_in_body(method: &Method, uri: &Uri, body: &Body) -> bool {
    let asks = uri.query().is_some_and(|query| query.bytes().any(|byte| byte != b'&'));
    !is_read(method) || !(asks || body.is_end_stream())
}

/// The answer to a call that found no room: says when to try again.
fn later(error: ApiError) -> Result<Answer, ApiError> {
    if error.code != ErrorCode::TemporarilyUnavailable {
        return Err(error);
    }
    let mut response = error_response(&error);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
    Ok(Answer::Raw(response))
}

/// The actor and idempotency key of a changing call; `None` if neither is given.
fn call_of(method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Option<Call> {
    if is_read(method) {
        return None;
    }
    let key = headers.get("idempotency-key").map(|key| key.as_bytes().to_vec()).unwrap_or_default();
    let actor = headers.get(header::AUTHORIZATION).and_then(user_of).unwrap_or_default();
    if key.is_empty() && actor.is_empty() {
        return None;
    }
    // The same key with another request is a mistake.
    let parts = [method.as_str().as_bytes(), uri.path().as_bytes(), body];
    let request_hash = fnv(parts.iter().flat_map(|part| part.iter().chain([&0])).copied());
    Some(Call { actor, idempotency_key: key, request_hash })
}

/// The user of a basic login. It is recorded but not checked: there are no users yet.
fn user_of(value: &HeaderValue) -> Option<String> {
    let encoded = value.to_str().ok()?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, _) = text.split_once(':')?;
    Some(user.chars().take(250).collect())
}

/// A compressed body is refused rather than misread.
fn check_content_encoding(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let plain = |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity");
    match encodings.find(|value| !value.is_empty() && !plain(value)) {
        None => Ok(()),
        Some(encoding) => {
            let encoding = String::from_utf8_lossy(encoding.as_bytes());
            let message = format!("Content-Encoding '{encoding}' is not supported; send the body unencoded.");
            Err(ApiError::invalid(message).with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE.as_u16()))
        }
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let bad = |message: &str| Err(ApiError::invalid(message));
    match headers.get(header::CONTENT_TYPE) {
        None => bad("Bad Request. Content-Type header is missing."),
        Some(value) => {
            let kind = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
            if kind.eq_ignore_ascii_case("application/json") {
                return Ok(());
            }
            bad("Bad Request. Content-Type must be one of ['application/json'].")
        }
    }
}

#[cfg(test)]
mod tests {
    use runlode::LocalStore;
    use tower_service::Service;

    use super::*;
    use crate::door::ServeOptions;

    /// A broken body must not create a run with default values.
    #[test]
    fn a_body_that_cannot_be_read_makes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let door = Arc::new(Door::new(LocalStore::open(dir.path().join("store")).unwrap(), ServeOptions::default()));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let ask = |path: &str, headers: &[(&str, &str)], body: &[u8]| {
            let mut request = HttpRequest::builder().method("POST").uri(format!("/api/2.0/mlflow/{path}"));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let (request, mut router) = (request.body(Body::from(body.to_vec())).unwrap(), router(&door));
            let answered = runtime.block_on(async { tokio::spawn(async move { router.call(request).await }).await });
            answered.unwrap().unwrap().status().as_u16()
        };
        let json = ("content-type", "application/json");
        let gzip: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xab, 0xae, 5, 0, 0x43, 0xbf, 0xa6, 0xa3, 2, 0, 0, 0];
        let bodies: [&[u8]; 9] =
            [b"", b"null", b"{", b"{\"experiment_id\": \"0\"", b"[]", b"\"x\"", b"7", gzip, b"experiment_id=0"];
        for path in ["runs/create", "experiments/create", "registered-models/create", "logged-models"] {
            for body in bodies {
                assert_eq!(ask(path, &[json], body), 400, "{path} {body:?}");
            }
            for encoding in ["gzip", "deflate", "br", "identity, gzip", "x"] {
                for body in [gzip, b"{\"name\": \"n\", \"experiment_id\": \"0\"}"] {
                    assert_eq!(ask(path, &[json, ("content-encoding", encoding)], body), 415, "{path} {encoding}");
                }
            }
            for kind in ["text/plain", "application/xml", "application/x-www-form-urlencoded"] {
                assert_eq!(ask(path, &[("content-type", kind)], b"{}"), 400, "{path} {kind}");
            }
            assert_eq!(ask(path, &[], b"{}"), 400, "{path}");
        }
        let snapshot = door.mlflow.local().unwrap().snapshot().unwrap();
        for (id, _) in snapshot.experiments().unwrap() {
            assert!(snapshot.runs_of(id).unwrap().is_empty());
            assert!(snapshot.logged_models_of(id).unwrap().is_empty());
        }
        assert!(snapshot.registered_models().unwrap().is_empty());
        assert!(snapshot.experiments().unwrap().len() <= 1);
        assert_eq!(ask("runs/create", &[json, ("content-encoding", "identity")], b"{}"), 200);
    }
}
