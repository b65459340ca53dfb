//! The log as a stream of server-sent events: what changed, from a position on.
//!
//! ```text
//!   log -> batches since the client's position, a few times a second -> one event `change` for all of them
//!                                                                        id: the next position
//! ```
//!
//! - A client that comes back sends the last id (browsers do by themselves) and misses nothing. If it is too far behind,
//!   or the log no longer holds its position, it gets `reset` with the position to read everything at.
//! - An event names runs with the kinds of their changes, and carries new points; of many points only run and key.
//! - Only durable batches are told. The streams end when the server stops.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderValue, Request as HttpRequest, Response, StatusCode, header};
use bytes::Bytes;
use futures_util::stream;
use runlode::mlflow::{ApiError, ApiResult, ErrorCode, Field, TailPage};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::answer::{double_value, error_response};
use crate::door::Door;
use crate::request::Request;

/// How often the log is read for new batches.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often a silent stream shows that it is there.
const BEAT_EVERY: Duration = Duration::from_secs(15);
/// Batches that are read at a time: one may hold megabytes.
const PAGE_BATCHES: u64 = 64;
/// Pages that one event tells of.
const PAGES_MAX: usize = 32;
/// A client that is this many batches behind reads everything again.
const BEHIND_MAX: u64 = 100_000;
/// Most points in an event; of more only the names of the series.
const POINTS_MAX: usize = 2_000;
/// Most runs and series that an event names.
const NAMES_MAX: usize = 2_000;
/// Most streams at a time.
const STREAMS_MAX: usize = 256;

static STREAMS: AtomicUsize = AtomicUsize::new(0);

/// Counts a stream while it lasts.
struct Counted;

impl Counted {
    fn begin() -> Option<Self> {
        let counted = Self;
        if STREAMS.fetch_add(1, Ordering::AcqRel) < STREAMS_MAX { Some(counted) } else { None }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        STREAMS.fetch_sub(1, Ordering::AcqRel);
    }
}

struct Stream {
    door: Arc<Door>,
    stopping: watch::Receiver<bool>,
    next: u64,
    said: Instant,
    begun: bool,
    _counted: Counted,
}

pub(super) async fn stream(door: Arc<Door>, request: HttpRequest<Body>) -> Response<Body> {
    if let Some(refusal) = door.guard.check_costly(request.uri(), request.headers()) {
        return refusal;
    }
    let fields = Request { query: request.uri().query().unwrap_or_default().to_owned(), ..Request::default() };
    let last = request.headers().get("last-event-id").and_then(|id| id.to_str().ok()?.parse::<u64>().ok());
    let from = match (last, fields.query_fields().int("from")) {
        (Some(last), _) => Some(last),
        (None, Ok(from)) => from.and_then(|from| u64::try_from(from).ok()),
        (None, Err(error)) => return error_response(&error),
    };
    let Some(counted) = Counted::begin() else {
        let message = format!("{STREAMS_MAX} streams are open already; close one, or try again later.");
        return error_response(&ApiError::new(ErrorCode::TemporarilyUnavailable, message));
    };
    let next = match from {
        Some(from) => from,
        None => match door.mlflow.positions() {
            Ok(positions) => positions.published.0 + 1,
            Err(error) => return door.refused(&error),
        },
    };
    let stopping = door.stopping.subscribe();
    let begin = Stream { door, stopping, next, said: Instant::now(), begun: false, _counted: counted };
    let body = stream::unfold(begin, |stream| async move {
        let (text, stream) = stream.more().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), stream))
    });
    let mut response = Response::new(Body::from_stream(body));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that gather answers would hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

impl Stream {
    /// The next event, or a beat. `None` ends the stream.
    async fn more(mut self) -> Option<(String, Self)> {
        if !std::mem::replace(&mut self.begun, true) {
            let next = self.next;
            return Some((format!("retry: 2000\nevent: begin\nid: {next}\ndata: {{\"next\":{next}}}\n\n"), self));
        }
        loop {
            if *self.stopping.borrow() {
                return None;
            }
            let (door, next) = (self.door.clone(), self.next);
            let read = tokio::task::spawn_blocking(move || match door.newest() {
                Some(newest) => gather(&newest, next),
                None => gather(&door, next),
            })
            .await;
            match read {
                Ok(Ok(Told::Nothing)) => {}
                Ok(Ok(Told::Change { next, data })) => {
                    self.next = next;
                    self.said = Instant::now();
                    return Some((format!("event: change\nid: {next}\ndata: {data}\n\n"), self));
                }
                Ok(Ok(Told::Reset { next })) => {
                    self.next = next;
                    self.said = Instant::now();
                    return Some((format!("event: reset\nid: {next}\ndata: {{\"next\":{next}}}\n\n"), self));
                }
                // The store failed. The stream ends; a browser connects again by itself, and gets the error as its answer.
                Ok(Err(_)) | Err(_) => return None,
            }
            if self.said.elapsed() >= BEAT_EVERY {
                self.said = Instant::now();
                return Some((": here\n\n".to_owned(), self));
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = self.stopping.changed() => {}
            }
        }
    }
}

enum Told {
    Nothing,
    Change { next: u64, data: String },
    Reset { next: u64 },
}

/// What happened since a position.
fn gather(door: &Door, from: u64) -> ApiResult<Told> {
    let newest = door.mlflow.positions()?.published.0 + 1;
    if newest.saturating_sub(from) > BEHIND_MAX {
        return Ok(Told::Reset { next: newest });
    }
    let mut change = Gathered::default();
    let mut next = from;
    for _ in 0..PAGES_MAX {
        let page = match door.mlflow.tail(next, PAGE_BATCHES, 0) {
            Ok(page) => page,
            // The log no longer holds it.
            Err(error) if error.code == ErrorCode::InvalidParameterValue => return Ok(Told::Reset { next: newest }),
            Err(error) => return Err(error),
        };
        if page.next == next {
            break;
        }
        next = page.next;
        change.add(page);
    }
    if next == from {
        return Ok(Told::Nothing);
    }
    Ok(Told::Change { next, data: change.json(next).to_string() })
}

#[derive(Default)]
struct Gathered {
    /// Kinds of events of each run.
    runs: Map<String, Value>,
    experiments: bool,
    models: bool,
    points_count: usize,
    points: Vec<Value>,
    /// Series of which there were too many points.
    series: Vec<Value>,
    /// There were more names than an event holds.
    more: bool,
}

impl Gathered {
    fn add(&mut self, page: TailPage) {
        for event in page.events {
            let name = event.event.as_str();
            self.experiments |= name.starts_with("Experiment");
            let of_models = ["RegisteredModel", "ModelVersion", "Alias", "LoggedModel"];
            self.models |= of_models.iter().any(|kind| name.starts_with(kind));
            let run = event.fields.iter().find_map(|(field, value)| match value {
                Field::Text(id) if field == "run_id" => Some(id.clone()),
                _ => None,
            });
            if let Some(run) = run {
                if self.runs.len() >= NAMES_MAX && !self.runs.contains_key(&run) {
                    self.more = true;
                    continue;
                }
                let kinds = self.runs.entry(run).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(kinds) = kinds
                    && !kinds.iter().any(|known| known == name)
                {
                    kinds.push(name.into());
                }
            }
        }
        for series in page.points {
            self.points_count += series.steps.len();
            if self.points_count <= POINTS_MAX {
                let values: Vec<Value> = series.values.iter().map(|value| double_value(*value)).collect();
                self.points.push(json!([series.run_id, series.key, series.steps, series.timestamps, values]));
            } else if self.series.len() < NAMES_MAX {
                let name = json!([series.run_id, series.key]);
                if self.series.last() != Some(&name) {
                    self.series.push(name);
                }
            } else {
                self.more = true;
            }
        }
    }

    fn json(self, next: u64) -> Value {
        json!({
            "next": next,
            "runs": self.runs,
            "experiments": self.experiments,
            "models": self.models,
            "points": self.points,
            "series": self.series,
            "more": self.more,
        })
    }
}
