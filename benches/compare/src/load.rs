//! The loads: what each of 8 connections sends, one request behind the other, for some seconds.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;

use crate::client::Client;

const CONNECTIONS: usize = 8;

/// What was measured of one load on one server.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    pub(crate) rate: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) count: usize,
}

type Request = Box<dyn Fn(u64) -> (&'static str, String, Vec<u8>) + Sync>;

/// One kind of request.
pub(crate) struct Load {
    pub(crate) name: &'static str,
    /// How many times MLflow's rate is wanted.
    pub(crate) bar: f64,
    /// How long a server is measured that answers this slowly.
    pub(crate) slow: Duration,
    request: Request,
}

/// Every load; numbers of runs are as the prefill made them.
pub(crate) fn all(runs: usize) -> Vec<Load> {
    let runs = runs as u64;
    let run = move |i: u64| format!("{:032x}", (i * 7919) % runs);
    let load = |name, bar, slow, request: Request| Load { name, bar, slow: Duration::from_secs(slow), request };
    let now = 1_795_000_000_000u64;
    let search = |limit: u64| {
        move |_: u64| {
            let body = json!({
                "experiment_ids": ["1"],
                "filter": "metrics.m0 > 0.5 and params.p1 != '3'",
                "order_by": ["metrics.m1 DESC"],
                "max_results": limit,
            });
            ("POST", "/api/2.0/mlflow/runs/search".to_owned(), body.to_string().into_bytes())
        }
    };
    let first = run(0);
    let (history, interval) = (first.clone(), first);
    vec![
        load(
            "log-metric",
            150.0,
            5,
            Box::new(move |i| {
                let body = json!({ "run_id": run(i), "key": "live", "value": 0.5, "timestamp": now + i, "step": i });
                ("POST", "/api/2.0/mlflow/runs/log-metric".to_owned(), body.to_string().into_bytes())
            }),
        ),
        load(
            "log-batch",
            75.0,
            10,
            Box::new(move |i| {
                let metrics: Vec<_> = (0..1000)
                    .map(|k| json!({ "key": format!("k{}", k % 10), "value": 0.25, "timestamp": now + i, "step": i * 100 + k / 10 }))
                    .collect();
                let body = json!({ "run_id": run(i), "metrics": metrics });
                ("POST", "/api/2.0/mlflow/runs/log-batch".to_owned(), body.to_string().into_bytes())
            }),
        ),
        load(
            "create-run",
            50.0,
            5,
            Box::new(move |i| {
                let body = json!({
                    "experiment_id": "0",
                    "start_time": now + i,
                    "run_name": "created",
                    "tags": [{ "key": "mlflow.user", "value": "ann" }, { "key": "mlflow.source.name", "value": "x.py" }],
                });
                ("POST", "/api/2.0/mlflow/runs/create".to_owned(), body.to_string().into_bytes())
            }),
        ),
        load(
            "get-run",
            100.0,
            5,
            Box::new(move |i| ("GET", format!("/api/2.0/mlflow/runs/get?run_id={}", run(i)), Vec::new())),
        ),
        load("search-100", 200.0, 15, Box::new(search(100))),
        load("search-1000", 40.0, 15, Box::new(search(1000))),
        load(
            "history-100k",
            60.0,
            40,
            Box::new(move |_| {
                let path = format!("/api/2.0/mlflow/metrics/get-history?run_id={history}&metric_key=loss");
                ("GET", path, Vec::new())
            }),
        ),
        load(
            "bulk-interval",
            50.0,
            10,
            Box::new(move |_| {
                let path = format!(
                    "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval?run_ids={interval}&metric_key=loss&max_results=320"
                );
                ("GET", path, Vec::new())
            }),
        ),
    ]
}

impl Load {
    /// Sends it over 8 connections for so long.
    pub(crate) fn run(&self, address: &str, duration: Duration) -> Result<Measured, String> {
        let next = AtomicU64::new(0);
        let stop = AtomicBool::new(false);
        let one = |warm: bool| -> Result<Vec<f64>, String> {
            let mut client = Client::connect(address)?;
            let mut times = Vec::new();
            loop {
                let (method, path, body) = (self.request)(next.fetch_add(1, Ordering::Relaxed));
                let start = Instant::now();
                client.call(method, &path, &body)?;
                times.push(start.elapsed().as_secs_f64() * 1e3);
                if warm || stop.load(Ordering::Relaxed) {
                    return Ok(times);
                }
            }
        };
        one(true)?;
        let start = Instant::now();
        let mut times = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(|| one(false))).collect();
            std::thread::sleep(duration);
            stop.store(true, Ordering::Relaxed);
            let joined =
                threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into())));
            joined.collect::<Result<Vec<_>, String>>()
        })?
        .concat();
        let rate = times.len() as f64 / start.elapsed().as_secs_f64();
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        let measured = Measured { rate, p50_ms: at(0.5), p99_ms: at(0.99), count: times.len() };
        eprintln!("  {address} {}: {:.1}/s", self.name, measured.rate);
        Ok(measured)
    }
}
