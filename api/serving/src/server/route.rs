//! From a request's head to its answer: paths, methods, time limits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use hyper::{Method, Request, Uri, Version};
use parking_lot::{Mutex, RwLock};
use percent_encoding::percent_decode_str;
use tokio::sync::oneshot;

use super::answer::{self, Answer, Fault};
use super::body::{self, Bodies};
use super::content_type;
use super::input::{self, Prepared};
use super::metrics::Metrics;
use super::model::Model;
use super::options::ServerOptions;
use super::queue::{Job, Queue, Work};
use super::sample::{Sampler, Window};
use crate::gather;

/// A path of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    Invocations,
    Ping,
    Version,
    Metrics,
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct Door {
    model: RwLock<Arc<Model>>,
    options: ServerOptions,
    queue: Queue,
    bodies: Bodies,
    metrics: Arc<Metrics>,
    sampler: Option<Sampler>,
    /// Restarts of models that were replaced.
    earlier_restarts: Mutex<usize>,
}

impl Door {
    pub(super) fn new(
        model: Model,
        options: ServerOptions,
        queue: Queue,
        bodies: Bodies,
        metrics: Arc<Metrics>,
    ) -> Self {
        let sampler = options.samples_inputs.then(Sampler::default);
        let model = RwLock::new(Arc::new(model));
        Self { model, options, queue, bodies, metrics, sampler, earlier_restarts: Mutex::new(0) }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.options.timeout
    }

    /// Takes another model; the one before.
    pub(super) fn replace(&self, model: Model) -> Arc<Model> {
        let mut earlier = self.earlier_restarts.lock();
        let replaced = std::mem::replace(&mut *self.model.write(), Arc::new(model));
        *earlier += replaced.engine.restarts_count();
        self.metrics.reloaded();
        replaced
    }

    pub(super) fn take_window(&self) -> Window {
        self.sampler.as_ref().map(Sampler::take).unwrap_or_default()
    }

    /// Answers one request.
    pub(super) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let start = Instant::now();
        if is_malformed(head.version, &head.headers) {
            return answer::malformed();
        }
        let path = match place(&head.uri) {
            Place::At(path) => path,
            Place::Slash(path) => {
                body::drain(body).await;
                return answer::redirect(&absolute(&head.headers, &path, head.uri.query()));
            }
            Place::Nowhere => {
                body::drain(body).await;
                return answer::not_found();
            }
        };
        let allowed = if path == Path::Invocations { Method::POST } else { Method::GET };
        if head.method != allowed {
            body::drain(body).await;
            return answer::method_not_allowed(if path == Path::Invocations { "POST" } else { "GET" });
        }
        match path {
            Path::Ping => answer::whole(200, "application/json", "\n"),
            Path::Version => answer::whole(200, "application/json", self.options.version.clone()),
            Path::Metrics => {
                let model = self.model.read().clone();
                let restarts_count = *self.earlier_restarts.lock() + model.engine.restarts_count();
                answer::whole(200, "text/plain; version=0.0.4", self.metrics.text(&model.name, restarts_count))
            }
            Path::Invocations => {
                let scored = self.score(&head.headers, body, start + self.options.timeout);
                let answer = match tokio::time::timeout(self.options.timeout, scored).await {
                    Ok(Ok(answer)) => answer,
                    Ok(Err(fault)) => fault.answer(),
                    Err(_) => Fault::timed_out().answer(),
                };
                let (status, latency) = (answer.status().as_u16(), start.elapsed());
                self.metrics.answered(status, latency);
                if let Some(sampler) = &self.sampler {
                    sampler.answered(status, latency);
                }
                answer
            }
        }
    }

    async fn score(&self, headers: &HeaderMap, body: Incoming, until: Instant) -> Result<Answer, Fault> {
        let body = self.bodies.read(body).await?;
        // Of several headers the first one counts.
        let content_type = headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let format = content_type::format(content_type.as_deref())?;
        let model = self.model.read().clone();
        let Prepared { work, params, is_unwrapped, fault } = input::prepare(&model, format, &body.bytes)?;
        drop(body);
        if let Work::Typed(input) = &work {
            let rows_count = gather::rows(input).unwrap_or(1);
            self.metrics.rows(rows_count);
            if let Some(sampler) = &self.sampler {
                sampler.input(input, rows_count);
            }
        }
        let (reply, answered) = oneshot::channel();
        let engine = model.engine.clone();
        drop(model);
        if !self.queue.push(Job { engine, work, params, until, reply }) {
            return Err(Fault::busy("Too many requests wait for the model; send this one again later."));
        }
        match answered.await {
            Ok(output) => {
                let output = output?;
                match fault {
                    Some(fault) => Err(fault),
                    None => Ok(answer::whole(200, "application/json", answer::predictions(&output, is_unwrapped))),
                }
            }
            // Its thread dropped it: its time is over, or the engine failed.
            Err(_) if Instant::now() >= until => Err(Fault::timed_out()),
            Err(_) => Err(Fault::internal("The engine failed on this request; the server's log says where.")),
        }
    }
}

/// Whether a request of HTTP/1.1 names no host or several, or has a body that is coded otherwise than in chunks.
fn is_malformed(version: Version, headers: &HeaderMap) -> bool {
    let is_chunked = |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    (version >= Version::HTTP_11 && headers.get_all(HOST).iter().count() != 1)
        || !headers.get_all(TRANSFER_ENCODING).iter().all(is_chunked)
}

/// Where a request goes.
#[derive(Debug, PartialEq)]
enum Place {
    At(Path),
    /// There is such a path without the slash at the end.
    Slash(String),
    Nowhere,
}

fn place(uri: &Uri) -> Place {
    // A request as to a proxy.
    if uri.scheme().is_some() || uri.authority().is_some() {
        return Place::Nowhere;
    }
    let path = percent_decode_str(uri.path()).decode_utf8_lossy();
    if let Some(path) = known(&path) {
        return Place::At(path);
    }
    let cut = path.trim_end_matches('/');
    if cut.len() < path.len() && known(cut).is_some() { Place::Slash(cut.to_owned()) } else { Place::Nowhere }
}

fn known(path: &str) -> Option<Path> {
    match path {
        "/invocations" => Some(Path::Invocations),
        "/ping" | "/health" => Some(Path::Ping),
        "/version" => Some(Path::Version),
        "/metrics" => Some(Path::Metrics),
        _ => None,
    }
}

/// The place to go to, with the host that the client named.
fn absolute(headers: &HeaderMap, path: &str, query: Option<&str>) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let start = if host.is_empty() { String::new() } else { format!("http://{host}") };
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{start}{path}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_one_host_and_codes_its_body_in_chunks_only() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, HeaderValue::from_static(value));
            }
            headers
        };
        for (pairs, is_bad) in [
            (&[("host", "a")][..], false),
            (&[], true),
            (&[("host", "a"), ("host", "a")], true),
            (&[("host", "a"), ("transfer-encoding", "Chunked")], false),
            (&[("host", "a"), ("transfer-encoding", "gzip, chunked")], true),
        ] {
            assert_eq!(is_malformed(Version::HTTP_11, &headers(pairs)), is_bad, "{pairs:?}");
        }
        assert!(!is_malformed(Version::HTTP_10, &headers(&[])));
    }

    #[test]
    fn paths_lead_where_mlflow_has_them() {
        for (uri, expected) in [
            ("/ping", Place::At(Path::Ping)),
            ("/health?x=1", Place::At(Path::Ping)),
            ("/%70ing", Place::At(Path::Ping)),
            ("/invocations", Place::At(Path::Invocations)),
            ("/invocations/", Place::Slash("/invocations".to_owned())),
            ("/ping//", Place::Slash("/ping".to_owned())),
            ("/", Place::Nowhere),
            ("/Ping", Place::Nowhere),
            ("//ping", Place::Nowhere),
            ("http://127.0.0.1/ping", Place::Nowhere),
        ] {
            assert_eq!(place(&uri.parse().unwrap()), expected, "{uri}");
        }
    }
}
