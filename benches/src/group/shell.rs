//! The tool's commands that read, as cold processes on a large store, alone and beside a server; and what a server with a
//! browser costs a training.
//!
//! `RUNLODE_SHELL_RUNS` and `RUNLODE_SHELL_POINTS` set the size of the store; the promise is for 100,000 runs and 100 M
//! points. `RUNLODE_TOOL` is the tool, by default the `runlode` beside this program.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use runlode::RunSpec;
use runlode_engine::point::Point;
use runlode_engine::{Durability, KeyedPoint, RunId, TimestampMs};

use crate::Result;
use crate::bars::Context;
use crate::engine;
use crate::report::Measured;
use crate::timing::Samples;

const RUNS: u64 = 20_000;
const POINTS: u64 = 10_000_000;
const KEYS: usize = 5;
/// Cold processes for one number.
const TRIES: usize = 15;
/// How long a training logs alone, and then beside a server.
const TRAINING: Duration = Duration::from_secs(4);
/// Charts that a browser asks for, evenly over a second.
const CHARTS_S: u32 = 20;

fn knob(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn tool() -> Result<PathBuf> {
    let beside = || Ok::<_, std::io::Error>(std::env::current_exe()?.with_file_name("runlode"));
    let path = std::env::var_os("RUNLODE_TOOL").map_or_else(beside, |path| Ok(path.into()))?;
    match path.exists() {
        true => Ok(path),
        false => {
            Err(format!("{} is missing: build it with `cargo build --release -p runlode-cli`", path.display()).into())
        }
    }
}

/// See the module.
pub(crate) fn run(context: &Context<'_>) -> Result {
    let tool = tool()?;
    let path = context.dir.join("store");
    let (runs, points) = (knob("RUNLODE_SHELL_RUNS", RUNS), knob("RUNLODE_SHELL_POINTS", POINTS));
    context.progress(&format!("a store of {runs} runs and {points} points"));
    make(&path, runs, points)?;
    let id = engine::run_id(runs / 2).to_string();
    let end = {
        let store = runlode_engine::Store::options(&path).read_only(true).from_index(true).open()?;
        store.positions().published.0.to_string()
    };
    let text = path.to_str().ok_or("the folder's name is no text")?;
    let key = engine::key_name(0);
    let filter = format!("metrics.{key} > 0.5 and attributes.run_name like '%7%'");
    let commands: [(&str, Vec<&str>); 5] = [
        ("runs", vec!["runs", text, "-n", "1"]),
        ("show", vec!["show", text, &id]),
        ("tail", vec!["tail", text, "--from", &end]),
        ("plot", vec!["plot", text, &id, &key]),
        ("filter", vec!["runs", text, &filter]),
    ];
    context.progress("commands that read, alone");
    let floor = time_of(Path::new("true"), &[])?;
    let mut most_kib = (0, "");
    for (name, arguments) in &commands {
        let ms = time_of(&tool, arguments)?;
        let kib = memory_of(&tool, arguments)?;
        if *name != "filter" && kib > most_kib.0 {
            most_kib = (kib, name);
        }
        context.tell(
            Measured::new(&format!("shell.{name}"), ms)
                .beside(format!("{floor:.1} ms"))
                .note(format!("median of {TRIES} processes, beside the start of `true`; peak {} MiB", kib >> 10)),
        );
    }
    context.tell(
        Measured::new("shell.memory", most_kib.0 as f64 / 1024.0)
            .note(format!("greatest VmHWM, that of `{}`, read every 0.2 ms", most_kib.1)),
    );
    context.progress("the same beside a server");
    let server = Server::start(&tool, text)?;
    let mut slowest = (0.0, "");
    for (name, arguments) in commands.iter().filter(|(name, _)| *name != "filter") {
        let ms = time_of(&tool, arguments)?;
        if ms > slowest.0 {
            slowest = (ms, name);
        }
    }
    drop(server);
    context.tell(
        Measured::new("shell.beside", slowest.0)
            .beside(format!("{floor:.1} ms"))
            .note(format!("median of {TRIES} processes of the slowest, `{}`", slowest.1)),
    );
    training(context, &tool, &context.dir.join("training"))
}

fn make(path: &Path, runs: u64, points: u64) -> Result {
    let store = engine::create(path, runs)?;
    let keys = engine::keys(&store, KEYS)?;
    let per_run = points / runs.max(1);
    let mut batch = Vec::new();
    for number in 0..runs {
        batch.clear();
        batch.extend((0..per_run).map(|at| {
            let step = (at / KEYS as u64) as i64;
            let value = ((number * 31 + at * 7) % 1_000) as f64 / 1_000.0;
            let point = Point { step, time: TimestampMs(1_700_000_000_000 + step * 100), value };
            KeyedPoint { key: keys[at as usize % KEYS], point }
        }));
        let run: RunId = engine::run_id(number);
        store.run(run)?.log_points(&batch, Durability::Buffered)?;
    }
    engine::compact_and_close(store)
}

/// Median time of a command as a cold process, in ms.
fn time_of(program: &Path, arguments: &[&str]) -> Result<f64> {
    let mut samples = Samples::with_capacity(TRIES);
    for _ in 0..TRIES {
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::null());
        let status = samples.time(|| command.status())?;
        if !status.success() {
            return Err(format!("{arguments:?} failed").into());
        }
    }
    Ok(samples.p50_ns() / 1e6)
}

/// The greatest memory of a command, in KiB.
fn memory_of(program: &Path, arguments: &[&str]) -> Result<u64> {
    let mut most = 0;
    for _ in 0..3 {
        let mut child = Command::new(program).args(arguments).stdout(Stdio::null()).spawn()?;
        let status = format!("/proc/{}/status", child.id());
        while child.try_wait()?.is_none() {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            most = most.max(kib.unwrap_or(0));
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    Ok(most)
}

/// `runlode serve`; ended when dropped.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(tool: &Path, store: &str) -> Result<Self> {
        let mut child = Command::new(tool)
            .args(["serve", store, "--port", "0", "--no-ui", "--json"])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no pipe to the server")?).read_line(&mut line)?;
        let told: serde_json::Value = serde_json::from_str(&line)?;
        let address = told["address"].as_str().ok_or("the server does not say where it is")?.to_owned();
        Ok(Self { child, address })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request on a connection that stays open; the answer must be 200.
fn get(stream: &mut BufReader<TcpStream>, path: &str) -> Result {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.get_mut().write_all(request.as_bytes())?;
    let (mut length, mut line) = (0, String::new());
    stream.read_line(&mut line)?;
    if !line.starts_with("HTTP/1.1 200") {
        return Err(format!("{path}: {line}").into());
    }
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(())
}

/// Logs at full speed for a while; times of all calls.
fn log(run: &runlode::Run, step: &mut i64) -> Result<Samples> {
    let mut samples = Samples::with_capacity(32 << 20);
    let until = Instant::now() + TRAINING;
    while Instant::now() < until {
        for _ in 0..1_000 {
            *step += 1;
            let value = (*step % 977) as f64;
            samples.time(|| run.log_metrics(*step, &[("loss", value), ("accuracy", value * 0.5)]))?;
        }
    }
    Ok(samples)
}

fn training(context: &Context<'_>, tool: &Path, path: &Path) -> Result {
    context.progress("a training at full speed, alone and beside a server with a browser");
    let store = runlode::Store::open(path)?;
    let run = store.experiment("e")?.create_run(RunSpec::named("training"))?;
    let mut step = 0;
    log(&run, &mut step)?;
    let mut alone = log(&run, &mut step)?;
    let server = Server::start(tool, path.to_str().ok_or("the folder's name is no text")?)?;
    let done = AtomicBool::new(false);
    let (mut beside, mut charts) = std::thread::scope(|scope| -> Result<_> {
        let browser = scope.spawn(|| -> std::result::Result<Samples, String> {
            let ask = || -> Result<Samples> {
                let mut samples = Samples::with_capacity(1 << 12);
                let stream = TcpStream::connect(&server.address)?;
                stream.set_nodelay(true)?;
                let mut stream = BufReader::new(stream);
                let path = format!("/api/runlode/v1/downsample?run_id={}&metric_key=loss&buckets=320", run.id());
                let (begun, mut asked) = (Instant::now(), 0);
                while !done.load(Ordering::Acquire) {
                    samples.time(|| get(&mut stream, &path))?;
                    asked += 1;
                    let next = Duration::from_secs(1) * asked / CHARTS_S;
                    std::thread::sleep(next.saturating_sub(begun.elapsed()));
                }
                Ok(samples)
            };
            ask().map_err(|error| error.to_string())
        });
        let logged = log(&run, &mut step);
        done.store(true, Ordering::Release);
        let charts = browser.join().map_err(|_| "the browser's thread panicked")??;
        Ok((logged?, charts))
    })?;
    drop(server);
    let (p99_alone, p99_beside) = (alone.quantile_ns(0.99), beside.quantile_ns(0.99));
    context.tell(
        Measured::new("shell.training_p99", p99_beside / p99_alone)
            .own(format!("{:.2} us", p99_beside / 1e3))
            .beside(format!("{:.2} us", p99_alone / 1e3))
            .note(format!("{} calls alone, {} beside", alone.count(), beside.count())),
    );
    context.tell(Measured::new("shell.charts", charts.quantile_ns(0.99) / 1e6).note(format!(
        "p99 of {} charts of 320 buckets; median {:.1} ms, worst {:.1} ms",
        charts.count(),
        charts.p50_ns() / 1e6,
        charts.max_ns() / 1e6
    )));
    drop(run);
    store.close()?;
    Ok(())
}
