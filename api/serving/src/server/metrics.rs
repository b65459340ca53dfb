//! What the server has done, as Prometheus reads it (`/metrics`, text format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// Upper bounds of the histogram of latencies, in microseconds.
const BOUNDS_US: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

/// Counters of a server. Each is exact; together they are of no one moment.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// Requests to `/invocations` by the status of their answer.
    answered: Mutex<BTreeMap<u16, u64>>,
    /// Requests by the bucket of their latency; the last is beyond all bounds.
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    latency_sum_us: AtomicU64,
    rows: AtomicU64,
    waiting: AtomicUsize,
    predicting: AtomicUsize,
    batches: AtomicU64,
    batched: AtomicU64,
    reloads: AtomicU64,
}

impl Metrics {
    pub(super) fn answered(&self, status: u16, latency: Duration) {
        *self.answered.lock().entry(status).or_default() += 1;
        let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.iter().position(|bound| latency_us <= *bound).unwrap_or(BOUNDS_US.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.latency_sum_us.fetch_add(latency_us, Ordering::Relaxed);
    }

    pub(super) fn rows(&self, rows_count: usize) {
        self.rows.fetch_add(rows_count as u64, Ordering::Relaxed);
    }

    pub(super) fn waiting(&self, count: usize) {
        self.waiting.store(count, Ordering::Relaxed);
    }

    pub(super) fn predicting(&self, count: usize) {
        self.predicting.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn predicted(&self, count: usize) {
        self.predicting.fetch_sub(count, Ordering::Relaxed);
    }

    pub(super) fn batch(&self, requests_count: usize) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.batched.fetch_add(requests_count as u64, Ordering::Relaxed);
    }

    pub(super) fn reloaded(&self) {
        self.reloads.fetch_add(1, Ordering::Relaxed);
    }

    /// The text that `/metrics` answers.
    pub(super) fn text(&self, model: &str, restarts_count: usize) -> String {
        let mut out = String::new();
        let head = |out: &mut String, name: &str, kind: &str, help: &str| {
            let _ = writeln!(out, "# HELP runlode_serving_{name} {help}\n# TYPE runlode_serving_{name} {kind}");
        };
        head(&mut out, "requests_total", "counter", "Requests to /invocations by status of the answer.");
        for (status, count) in &*self.answered.lock() {
            let _ = writeln!(out, "runlode_serving_requests_total{{status=\"{status}\"}} {count}");
        }
        head(&mut out, "request_seconds", "histogram", "Time from a request's head to its answer.");
        let mut below = 0;
        for (bound, bucket) in BOUNDS_US.iter().zip(&self.buckets) {
            below += bucket.load(Ordering::Relaxed);
            let bound = *bound as f64 / 1e6;
            let _ = writeln!(out, "runlode_serving_request_seconds_bucket{{le=\"{bound}\"}} {below}");
        }
        below += self.buckets[BOUNDS_US.len()].load(Ordering::Relaxed);
        let sum = self.latency_sum_us.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(
            out,
            "runlode_serving_request_seconds_bucket{{le=\"+Inf\"}} {below}\nrunlode_serving_request_seconds_sum {sum}\n\
             runlode_serving_request_seconds_count {below}"
        );
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for (name, kind, help, value) in [
            ("rows_total", "counter", "Rows that the model was given.", load(&self.rows)),
            ("waiting", "gauge", "Requests that wait for the model.", self.waiting.load(Ordering::Relaxed) as u64),
            ("predicting", "gauge", "Requests that the model has now.", self.predicting.load(Ordering::Relaxed) as u64),
            ("batches_total", "counter", "Predictions for several requests at once.", load(&self.batches)),
            ("batched_requests_total", "counter", "Requests predicted together with others.", load(&self.batched)),
            (
                "worker_restarts_total",
                "counter",
                "Processes started in place of one that ended.",
                restarts_count as u64,
            ),
            ("reloads_total", "counter", "Models taken in place of an earlier one.", load(&self.reloads)),
        ] {
            head(&mut out, name, kind, help);
            let _ = writeln!(out, "runlode_serving_{name} {value}");
        }
        head(&mut out, "model_info", "gauge", "The model that is served.");
        let model = model.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = writeln!(out, "runlode_serving_model_info{{model=\"{model}\"}} 1");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up() {
        let metrics = Metrics::default();
        metrics.answered(200, Duration::from_micros(400));
        metrics.answered(200, Duration::from_millis(7));
        metrics.answered(400, Duration::from_secs(60));
        let text = metrics.text("models:/a\"b/1", 2);
        for line in [
            "runlode_serving_requests_total{status=\"200\"} 2",
            "runlode_serving_requests_total{status=\"400\"} 1",
            "runlode_serving_request_seconds_bucket{le=\"0.0005\"} 1",
            "runlode_serving_request_seconds_bucket{le=\"0.01\"} 2",
            "runlode_serving_request_seconds_bucket{le=\"10\"} 2",
            "runlode_serving_request_seconds_bucket{le=\"+Inf\"} 3",
            "runlode_serving_request_seconds_count 3",
            "runlode_serving_worker_restarts_total 2",
            "runlode_serving_model_info{model=\"models:/a\\\"b/1\"} 1",
        ] {
            assert!(text.lines().any(|given| given == line), "{line}\n{text}");
        }
    }
}
