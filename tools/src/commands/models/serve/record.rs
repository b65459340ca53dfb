//! What a server writes about itself: start and end of serving at the model, windows of what it served in a run.
//!
//! Serving never depends on it. A call that fails is noted, and the next one is tried.
//!
//! - Start and end are the tag `runlode.serving.HOST:PORT` of the version or logged model: `{"state": "serving"}` or
//!   `"ended"` with times in milliseconds, host, process id and URI. The history of the tag is the history of serving.
//! - A window is a step of the run: `serving/requests`, `serving/latency_p99_ms`, `serving/input/COLUMN/mean`...

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use runlode::RunId;
use runlode_serving::server::Window;
use serde_json::json;

use super::place::{Identity, Place};
use crate::output::note;

/// The metric that each window has.
pub(super) const REQUESTS: &str = "serving/requests";

/// The server that is recorded.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) place: Place,
    pub(super) uri: String,
    pub(super) address: SocketAddr,
    /// Where windows are logged.
    pub(super) run: Option<RunId>,
    /// The model that is served, and since when.
    pub(super) serving: Option<(Identity, i64)>,
    /// Of the next window. A run that has windows already is continued.
    pub(super) step: i64,
}

pub(super) fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

impl Recorder {
    /// Says that a model is served from now on, and that the one before is not.
    pub(super) fn started(&mut self, identity: Identity) {
        self.ended();
        let start_ms = now_ms();
        self.tag(&identity, &json!({ "state": "serving", "start_ms": start_ms }));
        self.serving = Some((identity, start_ms));
    }

    /// Says that the model is not served any more.
    pub(super) fn ended(&mut self) {
        if let Some((identity, start_ms)) = self.serving.take() {
            self.tag(&identity, &json!({ "state": "ended", "start_ms": start_ms, "end_ms": now_ms() }));
        }
    }

    fn tag(&self, identity: &Identity, what: &serde_json::Value) {
        let mut what = what.clone();
        what["uri"] = json!(self.uri);
        what["host"] = json!(rustix::system::uname().nodename().to_string_lossy());
        what["address"] = json!(self.address.to_string());
        what["pid"] = json!(std::process::id());
        let key = format!("runlode.serving.{}", self.address);
        if let Err(error) = self.place.tag(identity, &key, &what.to_string()) {
            note(format!("serving is not recorded: {error}"));
        }
    }

    /// Logs a window; an empty one leaves no step.
    pub(super) fn window(&mut self, window: &Window) {
        let Some(run) = self.run else { return };
        if window.requests_count == 0 {
            return;
        }
        if let Err(error) = self.place.log(run, self.step, now_ms(), &metrics(window)) {
            note(format!("what was served is not logged: {error}"));
            return;
        }
        self.step += 1;
    }
}

fn metrics(window: &Window) -> Vec<(String, f64)> {
    let mut metrics = vec![
        (REQUESTS.to_owned(), window.requests_count as f64),
        ("serving/errors".to_owned(), window.errors_count as f64),
        ("serving/rows".to_owned(), window.rows_count as f64),
    ];
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
        metrics.extend(window.latency_ms(share).map(|ms| (format!("serving/latency_{name}_ms"), ms)));
    }
    for column in &window.columns {
        let name: String = column.name.chars().map(|letter| if is_plain(letter) { letter } else { '_' }).collect();
        let mut push = |what: &str, value: f64| metrics.push((format!("serving/input/{name}/{what}"), value));
        push("missing", column.missing_count as f64 / (column.rows_count.max(1)) as f64);
        if column.numbers_count > 0 {
            push("mean", column.mean);
            push("std", column.std());
            push("min", column.min);
            push("max", column.max);
        }
    }
    metrics
}

/// Whether MLflow takes the letter in the name of a metric.
fn is_plain(letter: char) -> bool {
    letter.is_alphanumeric() || "_-. ".contains(letter)
}
