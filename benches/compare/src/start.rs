//! What an idle server costs: its memory with 10,000 runs, and the time from its start to its first answers.
//!
//! ```text
//! compare start --runlode BINARY [--runs N] [--points N] [--json FILE]
//! ```
//! - Runs are made over HTTP: 5 params, 3 tags and 5 metrics of 20 points each. Memory is `VmRSS`, of which `RssAnon` is
//!   the server's own; the rest are pages of its program and of the store's files, which the system may take back.
//! - Starts are the slowest of [`STARTS`], from the spawn of the process to the whole answer, in the page cache's warmth.

use std::path::Path;
use std::time::{Duration, Instant};

use runlode_engine::event::{ExperimentCreated, RunCreated, RunStatus};
use runlode_engine::point::Point;
use runlode_engine::{Batch, CompactOptions, Durability, ExperimentId, KeyedPoint, RunId, Store, TimestampMs};
use serde_json::json;

use crate::Options;
use crate::client::Client;
use crate::servers::{self, Server};

/// Most memory of an idle server.
const MEMORY_MIB_BAR: f64 = 40.0;
/// Longest way to the first answer.
const START_MS_BAR: f64 = 100.0;
const STARTS: usize = 5;
/// How long a server is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(12);
const METRICS: u64 = 5;
const METRIC_POINTS: u64 = 20;
const SEARCHES: u64 = 50;
const RUNS_OF_POINTS: u64 = 100;
const KEYS_OF_POINTS: usize = 10;

const SEARCH_EXPERIMENTS: &str = "/api/2.0/mlflow/experiments/search";
const SEARCH_RUNS: &str = "/api/2.0/mlflow/runs/search";

/// The lines, and whether all bars are reached.
struct Lines {
    ok: bool,
    document: Vec<serde_json::Value>,
}

impl Lines {
    fn tell(&mut self, name: &str, measured: f64, unit: &str, bar: Option<f64>, note: &str) {
        let ok = bar.is_none_or(|bar| measured <= bar);
        self.ok &= ok;
        let bar_text = bar.map_or_else(String::new, |bar| format!("bar {bar:.0} {unit}"));
        let said = if bar.is_none() {
            ""
        } else if ok {
            "ok"
        } else {
            "short"
        };
        println!("{name:24} {measured:8.1} {unit:3}  {bar_text:11}  {said:5}  {note}");
        self.document.push(json!({ "name": name, "measured": measured, "unit": unit, "bar": bar, "note": note }));
    }
}

/// Measures all; whether every bar is reached.
pub(crate) fn measure(options: &Options) -> Result<bool, String> {
    let work = servers::work_dir()?;
    let mut lines = Lines { ok: true, document: Vec::new() };
    memory(options, &work.path().join("runs"), &mut lines)?;
    points(options, &work.path().join("points"), &mut lines)?;
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&lines.document).map_err(|error| error.to_string())?;
        std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(lines.ok)
}

fn memory(options: &Options, store: &Path, lines: &mut Lines) -> Result<(), String> {
    let server = servers::runlode(&options.runlode, store)?;
    eprintln!("making {} runs over HTTP", options.runs);
    fill(&server, options.runs as u64)?;
    let told = |lines: &mut Lines, name: &str, server: &Server, bar: Option<f64>| {
        std::thread::sleep(IDLE);
        let (resident, own) = server.memory_mib()?;
        lines.tell(name, resident, "MiB", bar, &format!("resident, of which {own:.1} its own; {} runs", options.runs));
        Ok::<(), String>(())
    };
    told(lines, "memory.just_written", &server, None)?;
    drop(server);
    start(options, store, "start.runs", lines)?;
    let server = servers::runlode(&options.runlode, store)?;
    told(lines, "memory.idle", &server, Some(MEMORY_MIB_BAR))?;
    let mut client = Client::connect(&server.address)?;
    for number in 0..SEARCHES {
        client.call("POST", SEARCH_RUNS, &search(number))?;
    }
    drop(client);
    told(lines, "memory.after_searches", &server, Some(MEMORY_MIB_BAR))
}

fn search(number: u64) -> Vec<u8> {
    let body = json!({
        "experiment_ids": ["1"],
        "filter": format!("metrics.m{} > 0.5 and params.p{} != '3'", number % METRICS, number % METRICS),
        "order_by": ["metrics.m1 DESC"],
        "max_results": 100,
    });
    body.to_string().into_bytes()
}

fn fill(server: &Server, runs: u64) -> Result<(), String> {
    let mut client = Client::connect(&server.address)?;
    client.call("POST", "/api/2.0/mlflow/experiments/create", br#"{"name": "compare"}"#)?;
    let fill_some = |share: u64| -> Result<(), String> {
        let mut client = Client::connect(&server.address)?;
        for number in (share..runs).step_by(8) {
            let time = 1_790_000_000_000 + number;
            let tags: Vec<_> =
                (0..3).map(|k| json!({ "key": format!("t{k}"), "value": format!("v{}", number % 97) })).collect();
            let body =
                json!({ "experiment_id": "1", "start_time": time, "run_name": format!("run-{number}"), "tags": tags });
            let answer = client.call("POST", "/api/2.0/mlflow/runs/create", body.to_string().as_bytes())?;
            let answer: serde_json::Value = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
            let params: Vec<_> = (0..5)
                .map(|k| json!({ "key": format!("p{k}"), "value": (number * (k + 1) % 10).to_string() }))
                .collect();
            let metrics: Vec<_> = (0..METRICS * METRIC_POINTS)
                .map(|k| {
                    let value = ((number * 7919 + k * 104_729) % 10_007) as f64 / 10_007.0;
                    json!({ "key": format!("m{}", k % METRICS), "value": value, "timestamp": time + k, "step": k / METRICS })
                })
                .collect();
            let body = json!({ "run_id": answer["run"]["info"]["run_id"], "params": params, "metrics": metrics });
            client.call("POST", "/api/2.0/mlflow/runs/log-batch", body.to_string().as_bytes())?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|share| scope.spawn(move || fill_some(share))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into())))
    })
}

fn points(options: &Options, store: &Path, lines: &mut Lines) -> Result<(), String> {
    eprintln!("making {} points", options.points);
    log_points(store, options.points).map_err(|error| error.to_string())?;
    start(options, store, "start.closed", lines)?;
    let open = Store::open(store).map_err(|error| error.to_string())?;
    open.compact(&CompactOptions::default()).map_err(|error| error.to_string())?;
    open.close().map_err(|error| error.to_string())?;
    start(options, store, "start.compacted", lines)
}

fn run_id(number: u64) -> RunId {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&(number + 1).to_be_bytes());
    RunId(id)
}

/// As many points, over [`RUNS_OF_POINTS`] runs of [`KEYS_OF_POINTS`] keys; then a plain close.
fn log_points(path: &Path, points: u64) -> runlode_engine::Result<()> {
    let store = Store::open(path)?;
    let experiment = ExperimentId(1);
    let mut batch = Batch::new().event(ExperimentCreated {
        experiment,
        name: "points".into(),
        artifact_location: None,
        creation_time_ms: 0,
        last_update_time_ms: 0,
        tags: Vec::new(),
    });
    for number in 0..RUNS_OF_POINTS {
        batch.push_event(RunCreated {
            run: run_id(number),
            experiment,
            name: format!("run-{number}"),
            user_id: "ann".into(),
            status: RunStatus::Running,
            start_time_ms: 1_790_000_000_000,
            artifact_location: None,
            tags: Vec::new(),
        });
    }
    store.append(batch, Durability::Sync)?;
    let keys =
        (0..KEYS_OF_POINTS).map(|key| store.metric_key(&format!("metric_{key}"))).collect::<Result<Vec<_>, _>>()?;
    let mut row = Vec::with_capacity(KEYS_OF_POINTS * 100);
    for number in 0..RUNS_OF_POINTS {
        let run = store.run(run_id(number))?;
        let steps = points / RUNS_OF_POINTS / KEYS_OF_POINTS as u64;
        for first in (0..steps).step_by(100) {
            row.clear();
            for step in first..steps.min(first + 100) {
                for (at, key) in keys.iter().enumerate() {
                    let noise = (step.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(at as u32) >> 40) as f32;
                    let time = TimestampMs(1_790_000_000_000 + (step * 100 + noise as u64 % 20) as i64);
                    let value = f64::from(noise / 16_777_216.0);
                    row.push(KeyedPoint { key: *key, point: Point { step: step as i64, time, value } });
                }
            }
            run.log_points(&row, Durability::Buffered)?;
        }
    }
    store.close()
}

/// Starts a server some times, and asks at once: the slowest answers.
fn start(options: &Options, store: &Path, name: &str, lines: &mut Lines) -> Result<(), String> {
    let (mut health, mut searched) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let start = Instant::now();
        let server = servers::runlode(&options.runlode, store)?;
        let mut client = Client::connect(&server.address)?;
        client.call("GET", "/health", b"")?;
        health.push(start.elapsed().as_secs_f64() * 1e3);
        client.call("POST", SEARCH_EXPERIMENTS, br#"{"max_results": 100}"#)?;
        let body = json!({ "experiment_ids": ["1"], "max_results": 10 });
        client.call("POST", SEARCH_RUNS, body.to_string().as_bytes())?;
        searched.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let slowest = |times: &[f64]| times.iter().copied().fold(0.0, f64::max);
    let note = |times: &[f64]| {
        format!("slowest of {STARTS}: {}", times.iter().map(|ms| format!("{ms:.0} ")).collect::<String>())
    };
    lines.tell(&format!("{name}.health"), slowest(&health), "ms", Some(START_MS_BAR), note(&health).trim_end());
    lines.tell(&format!("{name}.searched"), slowest(&searched), "ms", Some(START_MS_BAR), note(&searched).trim_end());
    Ok(())
}
