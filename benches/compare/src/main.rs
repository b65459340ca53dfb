//! Runlode's REST server beside `mlflow server`: the same data, the same requests, the same run.
//!
//! ```text
//! prefill.py -> mlflow.db -> mlflow server (its default workers)   <- load: 8 keep-alive connections, --seconds each
//!                   `-> runlode import -> runlode serve            <- the same
//!                                         bare axum handler        <- log-metric only: what HTTP and JSON cost
//! ```
//! `compare start` measures what an idle server costs: see `start`. `compare serving` measures a served model: see
//! `serving`. `compare predict` scores a file: see `predict`.
//!
//! Each line is the ratio of the rates, beside its bar; latencies stand beside. Servers listen on loopback, as child
//! processes, and are ended by their pid.

mod bare;
mod client;
mod load;
mod predict;
mod processes;
mod servers;
mod serving;
mod start;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use load::{Load, Measured};

/// What the command line says.
struct Options {
    runlode: PathBuf,
    python: PathBuf,
    prefill: PathBuf,
    predict: PathBuf,
    /// A program with `tract` built in.
    tract: Option<PathBuf>,
    runs: usize,
    points: u64,
    seconds: u64,
    only: Option<String>,
    json: Option<PathBuf>,
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        runlode: "runlode".into(),
        python: "python3".into(),
        prefill: "prefill.py".into(),
        predict: "predict.py".into(),
        tract: None,
        runs: 10_000,
        points: 100_000_000,
        seconds: 5,
        only: None,
        json: None,
    };
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{name} {value}: no number"));
        match name.as_str() {
            "--runlode" => options.runlode = value.into(),
            "--python" => options.python = value.into(),
            "--prefill" => options.prefill = value.into(),
            "--predict" => options.predict = value.into(),
            "--tract" => options.tract = Some(value.into()),
            "--runs" => options.runs = number()? as usize,
            "--points" => options.points = number()?,
            "--seconds" => options.seconds = number()?,
            "--only" => options.only = Some(value),
            "--json" => options.json = Some(value.into()),
            _ => return Err(format!("unknown option {name}")),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("bare") {
        return match bare::serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("compare bare: {error}");
                ExitCode::from(2)
            }
        };
    }
    let mut args = std::env::args().skip(1).peekable();
    let what = args.next_if(|first| first == "start" || first == "serving" || first == "predict");
    let measure: fn(&Options) -> Result<bool, String> = match what.as_deref() {
        Some("start") => start::measure,
        Some("predict") => predict::measure,
        Some(_) => serving::measure,
        None => compare,
    };
    match options(args).and_then(|options| measure(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::from(2)
        }
    }
}

/// A line of the comparison, and whether its bar is reached.
fn line(name: &str, what: &str, ratio: f64, bar: f64, ours: &Measured, theirs: &Measured) -> bool {
    let ok = ratio >= bar;
    let p99 = ours.p99_ms <= theirs.p99_ms / 10.0;
    println!(
        "{name:18} {ratio:8.1}x  bar {bar:5.1}x  {}   {:9.1}/s p50 {:.2} ms p99 {:.2} ms   {what} {:9.1}/s p50 {:.2} ms \
         p99 {:.2} ms{}",
        if ok { "ok   " } else { "short" },
        ours.rate,
        ours.p50_ms,
        ours.p99_ms,
        theirs.rate,
        theirs.p50_ms,
        theirs.p99_ms,
        if p99 || what != "mlflow" { "" } else { "  p99 short" },
    );
    ok && (p99 || what != "mlflow")
}

fn compare(options: &Options) -> Result<bool, String> {
    let work = servers::work_dir()?;
    let database = work.path().join("mlflow.db");
    servers::prefill(&options.python, &options.prefill, &database, options.runs)?;
    let store = work.path().join("store");
    servers::import(&options.runlode, &database, &store)?;
    let duration = Duration::from_secs(options.seconds);
    let wanted = |load: &Load| options.only.as_ref().is_none_or(|only| load.name.starts_with(only.as_str()));
    let loads: Vec<Load> = load::all(options.runs).into_iter().filter(wanted).collect();

    let mut all_ok = true;
    let mut document = Vec::new();
    let ours: Vec<Measured> = {
        let server = servers::runlode(&options.runlode, &store)?;
        loads.iter().map(|load| load.run(&server.address, duration)).collect::<Result<_, _>>()?
    };
    let bare = match loads.iter().find(|load| load.name == "log-metric") {
        None => None,
        Some(load) => {
            let server = servers::bare()?;
            Some(load.run(&server.address, duration)?)
        }
    };
    let theirs: Vec<Measured> = {
        let server = servers::mlflow(&options.python, &database, work.path())?;
        loads.iter().map(|load| load.run(&server.address, duration.max(load.slow))).collect::<Result<_, _>>()?
    };
    for ((load, ours), theirs) in loads.iter().zip(&ours).zip(&theirs) {
        let ratio = ours.rate / theirs.rate;
        all_ok &= line(load.name, "mlflow", ratio, load.bar, ours, theirs);
        document.push(serde_json::json!({ "name": load.name, "ratio": ratio, "bar": load.bar, "runlode": ours, "mlflow": theirs }));
        if let (Some(bare), "log-metric") = (&bare, load.name) {
            let share = ours.rate / bare.rate;
            all_ok &= line("log-metric.bare", "bare axum", share, 0.4, ours, bare);
            document.push(serde_json::json!({ "name": "log-metric.bare", "ratio": share, "bar": 0.4, "runlode": ours, "bare": bare }));
        }
    }
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&document).map_err(|error| error.to_string())?;
        std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(all_ok)
}
