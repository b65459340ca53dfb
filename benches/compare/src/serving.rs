//! `runlode models serve` beside `mlflow models serve`: one scikit-learn model of 20 columns, one row a request.
//!
//! ```text
//! serving.py -> model -> mlflow models serve --env-manager local             <- load: 1 and 64 connections
//!                   `--> runlode models serve --env-manager local [--batch]  <- the same
//! ```
//! Both run the model in the same Python. Memory is the resident memory of a server and all processes below it, after
//! the load. The first answer is timed from the start of the command; it is bound by what the model imports.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Options;
use crate::client::Client;
use crate::load::Measured;
use crate::servers::{self, Server};

/// Requests a second at one connection, over MLflow's.
const ONE_BAR: f64 = 3.0;
/// Requests a second at 64 connections with `--batch`, over MLflow's.
const BATCH_BAR: f64 = 10.0;
const MANY: usize = 64;

/// What one server did.
struct Figures {
    first_ms: f64,
    one: Measured,
    many: Measured,
    memory_mib: f64,
}

/// Measures all; whether every bar is reached.
pub(crate) fn measure(options: &Options) -> Result<bool, String> {
    let work = servers::work_dir()?;
    let model = work.path().join("model");
    eprintln!("making the model");
    let script = options.prefill.with_file_name("serving.py");
    let status =
        Command::new(&options.python).arg(script).arg(&model).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !status.map_err(|error| format!("{}: {error}", options.python.display()))?.success() {
        return Err("the model cannot be made; the Python needs mlflow and scikit-learn".to_owned());
    }
    let duration = Duration::from_secs(options.seconds);
    let ours = figures("runlode", || servers::runlode_model(&options.runlode, &options.python, &model, &[]), duration)?;
    let batch = figures(
        "runlode --batch",
        || servers::runlode_model(&options.runlode, &options.python, &model, &["--batch"]),
        duration,
    )?;
    let theirs = figures("mlflow", || servers::mlflow_model(&options.python, &model, work.path()), duration)?;

    let mut all_ok = true;
    let mut document = Vec::new();
    for (name, bar, ours, theirs) in [
        ("serving.1", Some(ONE_BAR), &ours.one, &theirs.one),
        ("serving.64", None, &ours.many, &theirs.many),
        ("serving.64.batch", Some(BATCH_BAR), &batch.many, &theirs.many),
    ] {
        let ratio = ours.rate / theirs.rate;
        let ok = bar.is_none_or(|bar| ratio >= bar);
        all_ok &= ok;
        println!(
            "{name:18} {ratio:8.1}x  {:10}  {}   {:9.1}/s p50 {:.2} ms p99 {:.2} ms   mlflow {:9.1}/s p50 {:.2} ms p99 {:.2} ms",
            bar.map_or_else(String::new, |bar| format!("bar {bar:.1}x")),
            if ok { "ok   " } else { "short" },
            ours.rate,
            ours.p50_ms,
            ours.p99_ms,
            theirs.rate,
            theirs.p50_ms,
            theirs.p99_ms,
        );
        document.push(json!({ "name": name, "ratio": ratio, "bar": bar, "runlode": ours, "mlflow": theirs }));
    }
    for (name, unit, ours, theirs) in [
        ("serving.first", "ms", ours.first_ms, theirs.first_ms),
        ("serving.memory", "MiB", ours.memory_mib, theirs.memory_mib),
    ] {
        println!("{name:18} {ours:8.1} {unit:3}   mlflow {theirs:8.1} {unit}");
        document.push(json!({ "name": name, "unit": unit, "runlode": ours, "mlflow": theirs }));
    }
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&document).map_err(|error| error.to_string())?;
        std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(all_ok)
}

fn figures(name: &str, start: impl Fn() -> Result<Server, String>, duration: Duration) -> Result<Figures, String> {
    let begin = Instant::now();
    let server = start()?;
    Client::connect(&server.address)?.call("POST", "/invocations", &body(0))?;
    let first_ms = begin.elapsed().as_secs_f64() * 1e3;
    let one = load(&server, 1, duration)?;
    let many = load(&server, MANY, duration)?;
    let memory_mib = server.tree_memory_mib()?;
    eprintln!("  {name}: {:.1}/s, {:.1}/s", one.rate, many.rate);
    Ok(Figures { first_ms, one, many, memory_mib })
}

/// One row, of other numbers for each request.
fn body(number: usize) -> Vec<u8> {
    let names: Vec<String> = (0..20).map(|place| format!("x{place}")).collect();
    let row: Vec<f64> = (0..20).map(|place| ((number * 31 + place * 17) % 1000) as f64 / 250.0 - 2.0).collect();
    json!({ "dataframe_split": { "columns": names, "data": [row] } }).to_string().into_bytes()
}

/// Sends requests over so many connections for so long.
fn load(server: &Server, connections: usize, duration: Duration) -> Result<Measured, String> {
    let stop = AtomicBool::new(false);
    let one = |share: usize| -> Result<Vec<f64>, String> {
        let mut client = Client::connect(&server.address)?;
        let mut times = Vec::new();
        for number in 0.. {
            let body = body(number * connections + share);
            let start = Instant::now();
            client.call("POST", "/invocations", &body)?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        Ok(times)
    };
    let start = Instant::now();
    let mut times = std::thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> = (0..connections).map(|share| scope.spawn(move || one(share))).collect();
        std::thread::sleep(duration);
        stop.store(true, Ordering::Relaxed);
        let joined =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".to_owned())));
        joined.collect::<Result<Vec<_>, String>>()
    })?
    .concat();
    let rate = times.len() as f64 / start.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    Ok(Measured { rate, p50_ms: at(0.5), p99_ms: at(0.99), count: times.len() })
}
