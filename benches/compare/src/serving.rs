//! `runlode models serve` beside `mlflow models serve`: the same models, one row a request, in the same run.
//!
//! ```text
//! serving.py -> models -> mlflow models serve --env-manager local                <- load: 1 and 64 connections
//!                    `--> runlode models serve --env-manager local [--batch]     <- the same
//! ```
//! Both run scikit-learn in the same Python; an ONNX graph runs in Runlode's own process. Memory is the resident memory of
//! a server and all processes below it, after the load. The first answer is timed from the start of the command; for
//! scikit-learn it is bound by what the model imports. With `--tract BINARY` the ONNX models are served by that
//! program's `tract`, too.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Options;
use crate::client::Client;
use crate::load::Measured;
use crate::servers::{self, Server};

const MANY: usize = 64;
/// Bodies that are sent in turn.
const BODIES: usize = 64;
/// Milliseconds to the first answer of an ONNX model.
const FIRST_MS_BAR: f64 = 100.0;
/// Memory of a server with ONNX Runtime, and with `tract`.
const RUNTIME_MIB_BAR: f64 = 48.0;
const TRACT_MIB_BAR: f64 = 24.0;

/// A model, the requests that it gets, and the bars that it must reach.
struct Case {
    model: &'static str,
    body: fn(usize) -> Vec<u8>,
    is_onnx: bool,
    lines: &'static [Line],
}

/// A comparison: connections, whether with `--batch`, the wanted ratio of the rates, the wanted ratio of the p99.
struct Line {
    connections: usize,
    is_batch: bool,
    bar: Option<f64>,
    p99_bar: Option<f64>,
}

const fn line(connections: usize, is_batch: bool, bar: Option<f64>, p99_bar: Option<f64>) -> Line {
    Line { connections, is_batch, bar, p99_bar }
}

const CASES: [Case; 3] = [
    Case {
        model: "digits",
        body: pixels,
        is_onnx: true,
        lines: &[line(1, false, None, None), line(MANY, false, Some(20.0), Some(0.1))],
    },
    Case {
        model: "columns",
        body: columns,
        is_onnx: true,
        lines: &[line(1, false, Some(20.0), None), line(MANY, false, Some(20.0), None)],
    },
    Case {
        model: "sklearn",
        body: columns,
        is_onnx: false,
        lines: &[line(1, false, Some(3.0), None), line(MANY, false, None, None), line(MANY, true, Some(10.0), None)],
    },
];

/// What one server did: at one connection and at [`MANY`].
struct Figures {
    first_ms: f64,
    one: Measured,
    many: Measured,
    memory_mib: f64,
}

impl Figures {
    fn at(&self, connections: usize) -> &Measured {
        if connections == 1 { &self.one } else { &self.many }
    }
}

/// Measures all; whether every bar is reached.
pub(crate) fn measure(options: &Options) -> Result<bool, String> {
    let work = servers::work_dir()?;
    let models = work.path().join("models");
    eprintln!("making the models");
    let script = options.prefill.with_file_name("serving.py");
    let status =
        Command::new(&options.python).arg(script).arg(&models).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !status.map_err(|error| format!("{}: {error}", options.python.display()))?.success() {
        return Err(
            "the models cannot be made; the Python needs mlflow, scikit-learn, skl2onnx and onnxruntime".to_owned()
        );
    }
    let mut all_ok = true;
    let mut document = Vec::new();
    for case in CASES.iter().filter(|case| options.only.as_ref().is_none_or(|only| only == case.model)) {
        all_ok &= one_case(options, case, &models, work.path(), &mut document)?;
    }
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&document).map_err(|error| error.to_string())?;
        std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(all_ok)
}

fn one_case(
    options: &Options,
    case: &Case,
    models: &Path,
    work: &Path,
    document: &mut Vec<Value>,
) -> Result<bool, String> {
    let model = models.join(case.model);
    let duration = Duration::from_secs(options.seconds);
    let own = |program: &Path, more: &[&str]| {
        let name = format!("runlode {}", more.join(" "));
        figures(&name, || servers::runlode_model(program, &options.python, &model, more), case.body, duration)
    };
    eprintln!("{}", case.model);
    let ours = own(&options.runlode, &[])?;
    let batch =
        if case.lines.iter().any(|line| line.is_batch) { Some(own(&options.runlode, &["--batch"])?) } else { None };
    let tract = match &options.tract {
        Some(program) if case.is_onnx => Some(own(program, &["--engine", "tract"])?),
        _ => None,
    };
    let theirs = figures("mlflow", || servers::mlflow_model(&options.python, &model, work), case.body, duration)?;
    let mut all_ok = true;
    for line in case.lines {
        let name = format!("{}.{}{}", case.model, line.connections, if line.is_batch { ".batch" } else { "" });
        let own = if line.is_batch { batch.as_ref().unwrap_or(&ours) } else { &ours };
        let (own, theirs) = (own.at(line.connections), theirs.at(line.connections));
        let (ratio, p99) = (own.rate / theirs.rate, own.p99_ms / theirs.p99_ms);
        let ok = line.bar.is_none_or(|bar| ratio >= bar) && line.p99_bar.is_none_or(|bar| p99 <= bar);
        all_ok &= ok;
        println!(
            "{name:18} {ratio:8.1}x  {:10}  {}   {:9.1}/s p50 {:.2} ms p99 {:.2} ms   mlflow {:9.1}/s p50 {:.2} ms p99 {:.2} ms{}",
            line.bar.map_or_else(String::new, |bar| format!("bar {bar:.1}x")),
            verdict(ok),
            own.rate,
            own.p50_ms,
            own.p99_ms,
            theirs.rate,
            theirs.p50_ms,
            theirs.p99_ms,
            line.p99_bar.map_or_else(String::new, |bar| format!("   p99 {:.0}%, bar {:.0}%", p99 * 100.0, bar * 100.0)),
        );
        document.push(json!({ "name": name, "ratio": ratio, "bar": line.bar, "p99_bar": line.p99_bar, "runlode": own, "mlflow": theirs }));
    }
    for (name, own, first_bar, memory_bar) in [
        ("", Some(&ours), case.is_onnx.then_some(FIRST_MS_BAR), case.is_onnx.then_some(RUNTIME_MIB_BAR)),
        (".tract", tract.as_ref(), Some(FIRST_MS_BAR), Some(TRACT_MIB_BAR)),
    ] {
        let Some(own) = own else { continue };
        for (what, unit, own, theirs, bar) in [
            ("first", "ms", own.first_ms, theirs.first_ms, first_bar),
            ("memory", "MiB", own.memory_mib, theirs.memory_mib, memory_bar),
        ] {
            let name = format!("{}{name}.{what}", case.model);
            let ok = bar.is_none_or(|bar| own <= bar);
            all_ok &= ok;
            let bar_text = bar.map_or_else(String::new, |bar| format!("bar {bar:.0}"));
            println!("{name:18} {own:8.1} {unit:3} {bar_text:8} {}   mlflow {theirs:8.1} {unit}", verdict(ok));
            document.push(json!({ "name": name, "unit": unit, "bar": bar, "runlode": own, "mlflow": theirs }));
        }
        if name == ".tract" {
            let (one, many) = (own.one.rate, own.many.rate);
            println!("{}{name:11} {one:9.1}/s at one connection, {many:.1}/s at {MANY}", case.model);
            document.push(json!({ "name": format!("{}{name}", case.model), "one": own.one, "many": own.many }));
        }
    }
    Ok(all_ok)
}

fn verdict(ok: bool) -> &'static str {
    if ok { "ok   " } else { "short" }
}

fn figures(
    name: &str,
    start: impl Fn() -> Result<Server, String>,
    body: fn(usize) -> Vec<u8>,
    duration: Duration,
) -> Result<Figures, String> {
    let bodies: Vec<Vec<u8>> = (0..BODIES).map(body).collect();
    let begin = Instant::now();
    let server = start()?;
    Client::connect(&server.address)?.call("POST", "/invocations", &bodies[0])?;
    let first_ms = begin.elapsed().as_secs_f64() * 1e3;
    let one = load(&server, 1, &bodies, duration)?;
    let many = load(&server, MANY, &bodies, duration)?;
    let memory_mib = server.tree_memory_mib()?;
    eprintln!("  {name}: {:.1}/s, {:.1}/s, {memory_mib:.0} MiB", one.rate, many.rate);
    Ok(Figures { first_ms, one, many, memory_mib })
}

/// One row of 20 columns, of other numbers for each request.
fn columns(number: usize) -> Vec<u8> {
    let names: Vec<String> = (0..20).map(|place| format!("x{place}")).collect();
    let row: Vec<f64> = (0..20).map(|place| ((number * 31 + place * 17) % 1000) as f64 / 250.0 - 2.0).collect();
    json!({ "dataframe_split": { "columns": names, "data": [row] } }).to_string().into_bytes()
}

/// One picture of 64 pixels.
fn pixels(number: usize) -> Vec<u8> {
    let row: Vec<f64> = (0..64).map(|place| ((number * 31 + place * 7) % 17) as f64).collect();
    json!({ "inputs": [row] }).to_string().into_bytes()
}

/// Sends requests over so many connections for so long.
fn load(server: &Server, connections: usize, bodies: &[Vec<u8>], duration: Duration) -> Result<Measured, String> {
    let stop = AtomicBool::new(false);
    let one = |share: usize| -> Result<Vec<f64>, String> {
        let mut client = Client::connect(&server.address)?;
        let mut times = Vec::new();
        for number in share.. {
            let start = Instant::now();
            client.call("POST", "/invocations", &bodies[number % bodies.len()])?;
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
