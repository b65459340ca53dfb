//! `runlode sync` and `runlode merge` as real processes, which are killed, while writers go on; and copies of stores in
//! use.
//!
//! This binary is the command `runlode` when [`AS_COMMAND`] is set, and a process that writes to a store when [`WRITE`]
//! is; otherwise it runs the tests one by one. `RUNLODE_SYNC_KILLS` sets how often a sync is killed,
//! `RUNLODE_COPY_ROUNDS` how often a store in use is copied.
//!
//! Long, because its tests share this binary, the writer and the stores that the processes use.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use runlode::engine::VerifyOptions;
use runlode::mlflow::entity::View;
use runlode::mlflow::{Mlflow, NewMetric, NewRun, Settings};
use runlode::shared::MlflowCalls;
use runlode::sync::{CHUNK_BYTES_MAX, Source};
use runlode::{Durability, LocalStore, Lsn, Store, TimestampMs};
use runlode_engine::checksum::Crc32;
use runlode_engine::storage::sim::SimRng;
use runlode_tests::knob;
use serde_json::Value;

/// Makes this binary the command `runlode`.
const AS_COMMAND: &str = "RUNLODE_AS_COMMAND";
/// Makes it a process that writes to this store.
const WRITE: &str = "RUNLODE_SYNC_WRITE";
/// The run that it writes to, and its word.
const WORD: &str = "RUNLODE_SYNC_WORD";

type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    ("a_store_comes_into_another_while_both_are_in_use", a_store_comes_into_another_while_both_are_in_use),
    ("a_server_takes_a_store_and_is_killed_meanwhile", a_server_takes_a_store_and_is_killed_meanwhile),
    ("a_killed_sync_goes_on_where_it_stopped", a_killed_sync_goes_on_where_it_stopped),
    ("a_large_store_is_sent_in_little_memory", a_large_store_is_sent_in_little_memory),
    ("stores_in_the_inbox_are_merged", stores_in_the_inbox_are_merged),
    ("what_is_no_chunk_changes_nothing", what_is_no_chunk_changes_nothing),
    ("a_source_that_is_compacted_meanwhile_loses_nothing", a_source_that_is_compacted_meanwhile_loses_nothing),
    ("compacted_stores_come_over_once", compacted_stores_come_over_once),
    ("a_source_that_was_taken_back_is_told", a_source_that_was_taken_back_is_told),
    (
        "a_copy_of_a_store_that_is_compacted_is_sound_or_refused",
        a_copy_of_a_store_that_is_compacted_is_sound_or_refused,
    ),
    ("a_copy_of_a_store_in_use_is_sound_and_whole", a_copy_of_a_store_in_use_is_sound_and_whole),
];

fn main() -> ExitCode {
    if std::env::var_os(AS_COMMAND).is_some() {
        return runlode_cli::run();
    }
    if let Some(store) = std::env::var_os(WRITE) {
        write(Path::new(&store), &std::env::var(WORD).unwrap());
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let exact = arguments.iter().any(|argument| argument == "--exact");
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |name: &str| {
        wanted.is_empty() || wanted.iter().any(|part| if exact { name == *part } else { name.contains(part.as_str()) })
    };
    let chosen: Vec<&Test> = TESTS.iter().filter(|(name, _)| is_wanted(name)).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        for (name, _) in chosen {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", chosen.len());
    let mut failed = 0;
    for (name, test) in &chosen {
        let begun = Instant::now();
        let good = std::panic::catch_unwind(test).is_ok();
        failed += usize::from(!good);
        println!("test {name} ... {} ({:.1} s)", if good { "ok" } else { "FAILED" }, begun.elapsed().as_secs_f64());
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    let (passed, out) = (chosen.len() - failed, TESTS.len() - chosen.len());
    println!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {out} filtered out\n");
    // As other test binaries do, so that cargo says which one it was.
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(101) }
}

// ---- the other processes ---------------------------------------------------------------------------------------------

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(AS_COMMAND, "1").args(arguments).stdin(Stdio::null());
    command.env_remove("MLFLOW_TRACKING_TOKEN").env_remove("MLFLOW_TRACKING_USERNAME");
    command
}

/// Exit status, standard output, standard error.
fn runlode(arguments: &[&str]) -> (i32, String, String) {
    let output = command(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// What a sync without problems says.
fn sync(from: &Path, to: &str) -> Value {
    let (code, out, err) = runlode(&["sync", text(from), to, "--json"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(said["problems_count"], 0, "{said}");
    said
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Ends with its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `runlode serve`, and where it listens.
struct Server {
    process: Process,
    address: String,
}

impl Server {
    fn start(store: &Path, port: &str) -> Self {
        let mut child = command(&["serve", text(store), "--port", port, "--no-ui", "--json", "--allow-sync"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        Self { process: Process(child), address: said["address"].as_str().unwrap().to_owned() }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Status and body.
    fn ask(&self, method: &str, path: &str, length: usize, body: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/octet-stream\r\n\
             Content-Length: {length}\r\n\r\n",
            self.address
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A server that refuses what is announced does not read it.
        let _ = stream.write_all(body);
        if body.len() < length {
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        (status, body.to_owned())
    }

    fn post(&self, body: &[u8]) -> (u16, String) {
        self.ask("POST", "/api/runlode/v1/sync", body.len(), body)
    }

    /// In good order.
    fn stop(mut self) {
        assert!(Command::new("kill").args(["-TERM", &self.process.0.id().to_string()]).status().unwrap().success());
        assert!(self.process.0.wait().unwrap().success());
    }
}

/// A process that logs steps 0, 1, 2, ... of a key of its own, with a tag now and then.
struct Writer {
    process: Process,
    input: Option<ChildStdin>,
    key: String,
    /// The last step that was acknowledged, and the last one that a tag says.
    point: Arc<AtomicI64>,
    tag: Arc<AtomicI64>,
}

impl Writer {
    fn start(store: &Path, run: &str, key: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(WRITE, store)
            .env(WORD, format!("{run} {key}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (point, tag) = (Arc::new(AtomicI64::new(-1)), Arc::new(AtomicI64::new(-1)));
        let (ready, is_ready) = mpsc::channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let last = (point.clone(), tag.clone());
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let Some((kind, step)) = line.split_once(' ') else { continue };
                let of = if kind == "point" { &last.0 } else { &last.1 };
                of.store(step.parse().unwrap(), Ordering::SeqCst);
                let _ = ready.send(());
            }
        });
        let input = child.stdin.take();
        let process = Process(child);
        is_ready.recv_timeout(Duration::from_secs(30)).expect("a writer logs nothing");
        Self { process, input, key: key.to_owned(), point, tag }
    }

    fn acknowledged(&self) -> (i64, i64) {
        (self.point.load(Ordering::SeqCst), self.tag.load(Ordering::SeqCst))
    }

    fn end(mut self) {
        drop(self.input.take());
        assert!(self.process.0.wait().unwrap().success(), "a writer failed");
    }
}

/// What such a process does until its input ends.
fn write(store: &Path, word: &str) {
    let (run, key) = word.split_once(' ').unwrap();
    let (send, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = send.send(());
    });
    let shared = Store::options(store).open().unwrap().mlflow();
    let logger = shared.logger(run).unwrap();
    // Many keys, so that segments are filled, sealed and released meanwhile.
    let others = (0..100).map(|other| (logger.key(&format!("{key}-{other}")).unwrap(), other as f64));
    let mut row: Vec<_> = others.collect();
    row.push((logger.key(key).unwrap(), 0.0));
    for step in 0.. {
        row.last_mut().unwrap().1 = value(step);
        logger.log_row(step, TimestampMs(step), &row, Durability::Buffered).unwrap();
        println!("point {step}");
        if step % 64 == 63 {
            shared.set_tag(run, key, &step.to_string()).unwrap();
            println!("tag {step}");
        }
        if ended.try_recv().is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    shared.close().unwrap();
}

// ---- stores ----------------------------------------------------------------------------------------------------------

fn open(store: &Path) -> MlflowCalls {
    Store::options(store).open().unwrap().mlflow()
}

fn value(step: i64) -> f64 {
    match step % 10 {
        7 => f64::from_bits(0x7ff8_0000_0000_1234),
        8 => -0.0,
        9 => f64::NEG_INFINITY,
        _ => 1.0 / (step + 1) as f64,
    }
}

fn pair(key: &str, value: impl ToString) -> (String, String) {
    (key.to_owned(), value.to_string())
}

/// Adds runs with params, tags, points and artifacts to an experiment; their ids.
fn fill(store: &Path, experiment: &str, runs: usize, points: i64) -> Vec<String> {
    let shared = open(store);
    let id = match shared.experiment_by_name(experiment).unwrap() {
        Some(found) => found.experiment_id,
        None => shared.create_experiment(experiment, None, &[pair("kind", "test")]).unwrap(),
    };
    let runs = (0..runs)
        .map(|number| {
            let run = shared.create_run(&NewRun { experiment_id: Some(&id), ..NewRun::default() }).unwrap().info.run_id;
            shared.log_batch(&run, &[], &[pair("lr", 0.1), pair("n", number)], &[pair("note", "a\u{fc}\n")]).unwrap();
            points_of(&shared, &run, 0, points);
            let folder = store.join(format!("artifacts/{id}/{run}/artifacts"));
            fs::create_dir_all(folder.join("plots/deep")).unwrap();
            fs::write(folder.join("model.bin"), vec![number as u8; 70_000]).unwrap();
            fs::write(folder.join("plots/deep/a b \u{fc}.txt"), format!("of {run}")).unwrap();
            fs::write(folder.join("empty"), "").unwrap();
            run
        })
        .collect();
    shared.close().unwrap();
    runs
}

fn points_of(shared: &MlflowCalls, run: &str, from: i64, to: i64) {
    for from in (from..to).step_by(400) {
        let steps = from..to.min(from + 400);
        let metric =
            |key, step| NewMetric { key, value: value(step), timestamp: 9 + step, step, ..NewMetric::default() };
        let metrics: Vec<_> = steps.flat_map(|step| [metric("loss", step), metric("acc", step)]).collect();
        shared.log_batch(run, &metrics, &[], &[]).unwrap();
    }
}

/// Everything that clients can see of each run, ids of experiments by their names. What is in use is opened for
/// reading only.
fn seen(store: &Path) -> BTreeMap<String, String> {
    let store = LocalStore::options(store).create(false).read_only(true).open().unwrap();
    let mlflow = Mlflow::new(store, Settings::with_root("root:/", "/"));
    let mut out = BTreeMap::new();
    for experiment in mlflow.search_experiments(View::All, 1000, "", &[], None).unwrap().items {
        let ids = [experiment.experiment_id.clone()];
        for run in mlflow.search_runs(&ids, "", View::All, 1000, &[], None).unwrap().items {
            let id = run.info.run_id.clone();
            let mut info = run.info;
            (info.experiment_id, info.artifact_uri) = (experiment.name.clone(), String::new());
            let mut text = format!("{info:?}{:?}{:?}{:?}", run.params, run.tags, run.dataset_inputs);
            for metric in run.metrics {
                let (columns, _) = mlflow.metric_history(&id, &metric.key, None, None).unwrap();
                let bits: Vec<u64> = columns.values.iter().map(|value| value.to_bits()).collect();
                write!(text, "{}{:?}{:?}{bits:?}", metric.key, columns.steps, columns.timestamps).unwrap();
            }
            out.insert(id, text);
        }
    }
    out
}

/// Every run of one store is in the other one as it is.
fn assert_holds(to: &Path, from: &Path) {
    let (to, from) = (seen(to), seen(from));
    for (run, said) in &from {
        let found = to.get(run).unwrap_or_else(|| panic!("run {run} is missing"));
        if found != said {
            let at = found.bytes().zip(said.bytes()).take_while(|(a, b)| a == b).count();
            let part = |text: &str| {
                String::from_utf8_lossy(text.as_bytes().get(at.saturating_sub(60)..).unwrap_or_default())
                    .chars()
                    .take(160)
                    .collect::<String>()
            };
            panic!("run {run} differs at {at}:\n{}\n{}", part(found), part(said));
        }
    }
}

/// Files of default artifact places, by run and path: whatever the experiment's id is.
fn artifacts(store: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut out = BTreeMap::new();
    for file in files_below(&store.join("artifacts")) {
        out.insert(file.iter().skip(1).collect(), fs::read(store.join("artifacts").join(&file)).unwrap());
    }
    out
}

/// Files below a folder, in the order in which rsync takes them.
fn files_below(top: &Path) -> Vec<PathBuf> {
    let (mut out, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(top.join(&folder)).into_iter().flatten().map_while(Result::ok) {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(folder.join(entry.file_name())),
                Ok(kind) if kind.is_file() => out.push(folder.join(entry.file_name())),
                _ => {}
            }
        }
    }
    out.sort();
    out
}

/// Copies a folder as rsync does: by name, each folder listed when it is reached; waits before each file.
fn copy(from: &Path, to: &Path, wait: &mut dyn FnMut()) {
    fs::create_dir_all(to).unwrap();
    let entries = fs::read_dir(from).into_iter().flatten().map_while(Result::ok);
    let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names {
        let (source, target) = (from.join(&name), to.join(&name));
        match fs::symlink_metadata(&source) {
            Ok(about) if about.is_dir() => copy(&source, &target, wait),
            Ok(about) if about.is_file() => {
                wait();
                // What is gone by now is gone, which rsync says and goes on.
                match fs::copy(&source, &target) {
                    Ok(_) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => panic!("{}: {error}", source.display()),
                }
            }
            _ => {}
        }
    }
}

fn assert_sound(store: &Path) {
    let (code, out, err) = runlode(&["verify", text(store)]);
    assert_eq!(code, 0, "{out}{err}");
}

// ---- directory to directory ------------------------------------------------------------------------------------------

fn a_store_comes_into_another_while_both_are_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b, c) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"));
    fill(&b, "theirs", 1, 5);
    fill(&b, "both", 1, 5);
    let both = fill(&a, "both", 2, 900);
    fill(&a, "alone", 2, 900);
    let said = sync(&a, text(&b));
    assert_eq!((&said["points"], &said["artifact_files"]), (&Value::from(4 * 1800), &Value::from(12)), "{said}");
    assert_holds(&b, &a);
    let (there, here) = (artifacts(&b), artifacts(&a));
    assert!(here.iter().all(|(path, bytes)| there.get(path) == Some(bytes)), "artifacts differ");
    assert_eq!(there.len(), here.len() + 6);
    let again = sync(&a, text(&b));
    for count in ["batches", "events", "points", "artifact_files", "known"] {
        assert_eq!(again[count], 0, "{again}");
    }
    assert_eq!(again["through"], said["through"]);
    let (code, out, _) = runlode(&["sync", text(&a), text(&b)]);
    assert!(code == 0 && out.contains("everything was there already"), "{code} {out}");
    // A file that changed there, of another size or as large.
    let experiment = open(&a).run_info(&both[0]).unwrap().experiment_id;
    Store::close_all().unwrap();
    let file = a.join(format!("artifacts/{experiment}/{}/artifacts/model.bin", both[0]));
    fs::write(&file, vec![77; 70_000]).unwrap();
    assert_eq!(sync(&a, text(&b))["artifact_files"], 1);
    assert_eq!(
        artifacts(&b)[&file.strip_prefix(a.join("artifacts")).unwrap().iter().skip(1).collect::<PathBuf>()][0],
        77
    );
    // To a store that is not there yet.
    sync(&a, text(&c));
    assert_holds(&c, &a);
    assert_eq!(artifacts(&c), artifacts(&a));

    // Both are held by writers now, which go on.
    let target = fill(&b, "theirs", 1, 0).remove(0);
    let writers =
        [Writer::start(&a, &both[0], "w0"), Writer::start(&a, &both[0], "w1"), Writer::start(&b, &target, "w2")];
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(50));
        let before: Vec<_> = writers.iter().map(Writer::acknowledged).collect();
        let deadline = Instant::now() + Duration::from_secs(10);
        // What a writer has not synced yet may still be lost there; it comes a moment later.
        while let Some(missing) = {
            sync(&a, text(&b));
            missing(&b, &both[0], &writers[..2], &before)
        } {
            assert!(Instant::now() < deadline, "{missing}");
        }
    }
    writers.into_iter().for_each(Writer::end);
    sync(&a, text(&b));
    assert_holds(&b, &a);
    assert_sound(&b);
    assert_eq!(sync(&a, text(&b))["points"], 0);

    // Wrong usage, no store, the same store and a copy of it: an error in a sentence, and status 2.
    let copied = dir.path().join("copied");
    copy(&a, &copied, &mut || {});
    let nowhere = dir.path().join("nowhere");
    for (from, to, word) in [
        (&nowhere, text(&b), "does not exist"),
        (&a, text(&a), "the same store"),
        (&copied, text(&a), "copies of it"),
        (&a, "https://localhost:1", "may be started again"),
        (&a, "http://127.0.0.1:9", "may be started again"),
    ] {
        let (code, out, err) = runlode(&["sync", text(from), to, "--json"]);
        assert_eq!((code, out.as_str(), err.lines().count()), (2, "", 1), "{err}");
        assert!(err.contains(word), "{err}");
    }
    assert!(!nowhere.exists());

    // Where they disagree: said, and status 1.
    let (d, e) = (dir.path().join("d"), dir.path().join("e"));
    let run = fill(&d, "x", 1, 3).remove(0);
    sync(&d, text(&e));
    for (store, value) in [(&d, "1"), (&e, "2")] {
        let shared = open(store);
        shared.log_batch(&run, &[], &[pair("late", value)], &[]).unwrap();
        shared.close().unwrap();
    }
    let (code, out, _) = runlode(&["sync", text(&d), text(&e), "--json"]);
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &said["problems_count"]), (1, &Value::from(1)), "{said}");
    assert!(seen(&e)[&run].contains("runlode.conflict.late"), "{said}");
    assert_eq!(sync(&d, text(&e))["batches"], 0);
}

/// What of the points and tags that were acknowledged is not in a store that another process holds.
fn missing(store: &Path, run: &str, writers: &[Writer], acknowledged: &[(i64, i64)]) -> Option<String> {
    let shared = open(store);
    assert!(!shared.holds().unwrap());
    let found = missing_in(&shared, run, writers, acknowledged);
    shared.close().unwrap();
    found
}

fn missing_in(shared: &MlflowCalls, run: &str, writers: &[Writer], acknowledged: &[(i64, i64)]) -> Option<String> {
    let tags = shared.run(run).unwrap().tags;
    for (writer, (point, tag)) in writers.iter().zip(acknowledged) {
        let (columns, _) = shared.metric_history(run, &writer.key, None, None).unwrap();
        let count = columns.steps.len() as i64;
        assert_eq!(columns.steps, (0..count).collect::<Vec<_>>(), "{}: a hole, or a point twice", writer.key);
        let found = tags.iter().find(|(key, _)| *key == writer.key).map_or(-1, |(_, step)| step.parse().unwrap());
        if count <= *point || found < *tag {
            let key = &writer.key;
            return Some(format!("{key}: {count} points, tag {found}; acknowledged: point {point}, tag {tag}"));
        }
    }
    None
}

// ---- to a server -----------------------------------------------------------------------------------------------------

fn a_server_takes_a_store_and_is_killed_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    fill(&b, "theirs", 1, 5);
    fill(&a, "both", 2, 900);
    let server = Server::start(&b, "0");
    let said = sync(&a, &server.url());
    assert_eq!((&said["points"], &said["artifact_files"]), (&Value::from(2 * 1800), &Value::from(6)), "{said}");
    let again = sync(&a, &server.url());
    assert_eq!((&again["batches"], &again["points"], &again["artifact_files"]), (&0.into(), &0.into(), &0.into()));
    let (there, here) = (artifacts(&b), artifacts(&a));
    assert!(here.iter().all(|(path, bytes)| there.get(path) == Some(bytes)), "{:?}\n{:?}", there.keys(), here.keys());
    // A name that MLflow servers refuse is reported, and stops nothing.
    let odd = a.join("artifacts").join(files_below(&a.join("artifacts"))[0].parent().unwrap()).join("odd%41#?.txt");
    fs::write(&odd, "odd").unwrap();
    let (code, out, err) = runlode(&["sync", text(&a), &server.url(), "--json"]);
    assert!(code == 1 && err.is_empty() && out.contains("odd%41"), "{code} {out} {err}");
    fs::remove_file(&odd).unwrap();
    // A directory as target, while the server holds it: over its socket.
    fill(&a, "more", 1, 10);
    assert_eq!(sync(&a, text(&b))["points"], 20);
    assert_eq!(sync(&a, &server.url())["points"], 0);

    let mut server = server;
    let mut rng = SimRng::new(7);
    let mut ended_by_itself = 0;
    for _ in 0..knob("RUNLODE_SYNC_KILLS", 10).div_ceil(2) {
        fill(&a, "large", 2, 60_000);
        let mut sending = command(&["sync", text(&a), &server.url(), "--json"]);
        let sending = sending.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(20 + rng.below(120)));
        server.process.0.kill().unwrap();
        server.process.0.wait().unwrap();
        let output = sending.wait_with_output().unwrap();
        let code = output.status.code().unwrap();
        assert!(code == 0 || code == 2, "{code}: {}", String::from_utf8_lossy(&output.stderr));
        ended_by_itself += u64::from(code == 0);
        server = Server::start(&b, "0");
    }
    println!("{ended_by_itself} syncs were done before their server was killed");
    sync(&a, &server.url());
    assert_eq!(sync(&a, &server.url())["points"], 0);
    server.stop();
    assert_holds(&b, &a);
    assert_sound(&b);
}

fn a_large_store_is_sent_in_little_memory() {
    let points = knob("RUNLODE_SYNC_POINTS", 1_000_000);
    let dir = tempfile::tempdir().unwrap();
    let (a, b, c) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"));
    let shared = open(&a);
    for _ in 0..10 {
        let run = shared.create_run(&NewRun::default()).unwrap().info.run_id;
        let logger = shared.logger(&run).unwrap();
        let keys: Vec<_> = (0..20).map(|key| logger.key(&format!("m{key}")).unwrap()).collect();
        for step in 0..(points / 200) as i64 {
            let row: Vec<_> = keys.iter().map(|key| (*key, value(step))).collect();
            logger.log_row(step, TimestampMs(step), &row, Durability::Buffered).unwrap();
        }
    }
    shared.close().unwrap();
    let timed = |what: &str, to: &str, server: u32| {
        let begun = Instant::now();
        let mut child = command(&["sync", text(&a), to, "--json"]).stdout(Stdio::null()).spawn().unwrap();
        let (mut sender, mut taker) = (0, 0);
        let code = loop {
            sender = memory_mib(child.id()).unwrap_or(0).max(sender);
            taker = memory_mib(server).unwrap_or(0).max(taker);
            match child.try_wait().unwrap() {
                Some(status) => break status.code(),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        assert_eq!(code, Some(0));
        let seconds = begun.elapsed().as_secs_f64();
        let each_ns = seconds * 1e9 / points as f64;
        println!(
            "{points} points to {what}: {seconds:.1} s, {each_ns:.0} ns a point; {sender} MiB, server {taker} MiB"
        );
        assert!(sender < 1_000 && taker < 1_000);
    };
    let server = Server::start(&b, "0");
    timed("a server", &server.url(), server.process.0.id());
    server.stop();
    timed("a folder", text(&c), 0);
    assert_eq!(sync(&a, text(&b))["batches"], 0);
    // By hand as well: some runs of it.
    let (there, here) = (open(&b), open(&a));
    for run in here.search_runs(&["0".to_owned()], "", View::All, 3, &[], None).unwrap().items {
        let (columns, _) = here.metric_history(&run.info.run_id, "m7", None, None).unwrap();
        let (found, _) = there.metric_history(&run.info.run_id, "m7", None, None).unwrap();
        assert!(columns.steps == found.steps && columns.timestamps == found.timestamps);
        assert!(columns.values.iter().zip(&found.values).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
    Store::close_all().unwrap();
}

/// Memory of a process, without mapped files.
fn memory_mib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? >> 10)
}

// ---- kill -9 of who sends --------------------------------------------------------------------------------------------

fn a_killed_sync_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    fill(&a, "one", 3, 20_000);
    fill(&a, "two", 40, 20);
    let mut rng = SimRng::new(11);
    let mut killed = 0;
    let begun = Instant::now();
    sync(&a, text(&dir.path().join("measure")));
    let whole_ms = begun.elapsed().as_millis() as u64;
    for round in 0..knob("RUNLODE_SYNC_KILLS", 10) {
        let child = command(&["sync", text(&a), text(&b), "--json"]).stdout(Stdio::null()).spawn().unwrap();
        let mut process = Process(child);
        std::thread::sleep(Duration::from_millis(20 + rng.below(whole_ms / 2)));
        process.0.kill().unwrap();
        killed += u64::from(!process.0.wait().unwrap().success());
        fill(&a, if round % 2 == 0 { "two" } else { "three" }, 1 + round as usize % 7, 8_000);
    }
    println!("{killed} syncs were killed; a whole one takes {whole_ms} ms");
    sync(&a, text(&b));
    assert_eq!(seen(&b), seen(&a));
    assert_eq!(artifacts(&b), artifacts(&a));
    assert_sound(&b);
    assert_eq!(sync(&a, text(&b))["batches"], 0);
    // No partial artifact is left.
    assert!(files_below(&b.join("artifacts")).iter().all(|path| !text(path).contains(".sync-")));
}

// ---- merge -----------------------------------------------------------------------------------------------------------

fn stores_in_the_inbox_are_merged() {
    let dir = tempfile::tempdir().unwrap();
    let hub = dir.path().join("hub");
    fill(&hub, "theirs", 1, 5);
    let stores = ["node-1", "node-2", "node-3"].map(|name| hub.join("inbox").join(name));
    for (number, store) in stores.iter().enumerate() {
        fill(store, "sweep", 2, 100 + number as i64);
    }
    // One goes on meanwhile; what is no store is left alone.
    fs::create_dir_all(hub.join("inbox/other")).unwrap();
    let run = fill(&stores[0], "sweep", 1, 0).remove(0);
    let writer = Writer::start(&stores[0], &run, "w");
    std::thread::sleep(Duration::from_millis(100));
    let (code, out, err) = runlode(&["merge", text(&hub), "--json"]);
    assert_eq!((code, out.lines().count()), (0, 3), "{out}{err}");
    assert_holds(&hub, &stores[1]);
    assert_holds(&hub, &stores[2]);
    let shared = open(&hub);
    let sweep = shared.experiment_by_name("sweep").unwrap().unwrap().experiment_id;
    assert_eq!(shared.search_runs(&[sweep], "", View::ActiveOnly, 100, &[], None).unwrap().items.len(), 7);
    shared.close().unwrap();
    writer.end();
    // While another process holds it.
    let server = Server::start(&hub, "0");
    assert_eq!(runlode(&["merge", text(&hub)]).0, 0);
    server.stop();
    for store in &stores {
        assert_holds(&hub, store);
    }
    let found = artifacts(&hub);
    assert!(stores.iter().flat_map(|store| artifacts(store)).all(|(path, bytes)| found.get(&path) == Some(&bytes)));
    assert_sound(&hub);
    // `--hold` takes what comes, until it is ended.
    let mut child = command(&["merge", text(&hub), "--hold"]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (send, said) = mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| send.send(line)));
    let mut process = Process(child);
    fill(&stores[2], "sweep", 1, 50);
    let line = said.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(line.contains("node-3"), "{line}");
    assert!(Command::new("kill").args(["-TERM", &process.0.id().to_string()]).status().unwrap().success());
    process.0.wait().unwrap();
    assert_holds(&hub, &stores[2]);
}

// ---- hostile ---------------------------------------------------------------------------------------------------------

/// What a chunk is made of, by hand: numbers LEB128, little endian.
fn forged(source: [u8; 16], keys: &[&str], batches: &[u8]) -> Vec<u8> {
    let mut out = b"RLSYNC\x02\x00".to_vec();
    out.extend(source);
    // Says nothing of a position.
    out.push(0);
    out.push(keys.len() as u8);
    for key in keys {
        out.push(key.len() as u8);
        out.extend(key.bytes());
    }
    // Nothing seen of others, no experiments, no runs.
    out.extend([0, 0, 0]);
    out.extend(batches);
    let crc = Crc32::of(&out);
    out.extend(crc.0.to_le_bytes());
    out
}

fn what_is_no_chunk_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    fill(&a, "both", 2, 500);
    fill(&b, "both", 1, 50);
    let before = seen(&b);
    let server = Server::start(&b, "0");
    let chunk_of = |store: &Path| {
        let store = LocalStore::options(store).create(false).read_only(true).open().unwrap();
        let mut source = Source::new(&store, Lsn::ZERO, runlode::engine::StoreId([0; 16])).unwrap();
        source.next_chunk().unwrap().unwrap().encode()
    };
    let chunk = chunk_of(&a);
    assert!(chunk.len() < CHUNK_BYTES_MAX);
    let mut flipped = chunk.clone();
    flipped[chunk.len() / 2] ^= 1;
    let mut version = chunk.clone();
    version[6] = 9;
    let who = [9; 16];
    let endless = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    let last = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    // One batch: store, first and last position, time, no actor, then events and points.
    let batch_of =
        |who: [u8; 16], position: &[u8], rest: &[u8]| [&[1][..], &who, position, position, &[0, 0], rest].concat();
    let batch = |position: &[u8], rest: &[u8]| batch_of(who, position, rest);
    let point = |columns: &[u8]| [&[0, 1], &[3; 16][..], &[0, 0], columns].concat();
    let bad: Vec<(&str, Vec<u8>)> = vec![
        ("empty", vec![]),
        ("garbage", (0..5000u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect()),
        ("json", b"{\"a\": 1}".to_vec()),
        ("cut", chunk[..chunk.len() - 5].to_vec()),
        ("head only", chunk[..8].to_vec()),
        ("flipped", flipped),
        ("version", version),
        ("100 MB", vec![0x5a; 100_000_000]),
        ("its own", chunk_of(&b)),
        ("batches without end", forged(who, &[], &endless)),
        ("bytes behind the end", forged(who, &[], &[0, 1, 2, 3])),
        ("an event that is none", forged(who, &[], &batch(&[5], &[1, 3, 1, 2, 3, 0, 0, 0, 0]))),
        ("an event without end", forged(who, &[], &batch(&[5], &[&[1][..], &endless, &[0]].concat()))),
        ("columns of different lengths", forged(who, &["k"], &batch(&[5], &point(&[1, 0, 0, 0])))),
        ("a key that is not named", forged(who, &[], &batch(&[5], &point(&[0, 0, 0])))),
        ("a key that is no name", forged(who, &["a\u{7}\u{0}"], &batch(&[5], &[0, 0]))),
        ("a position that no store has", forged(who, &[], &batch(&last, &[0, 0]))),
    ];
    for (name, body) in &bad {
        let (status, answer) = server.post(body);
        // A body larger than any chunk is not read to its end.
        assert_eq!(status, if body.len() > 66 << 20 { 413 } else { 400 }, "{name}: {answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["error_code"], "INVALID_PARAMETER_VALUE", "{name}: {answer}");
        assert!(answer["message"].as_str().unwrap().len() > 10, "{name}: {answer}");
    }
    let large = 200 << 20;
    let (status, answer) = server.ask("POST", "/api/runlode/v1/sync", large, &vec![0; 1 << 20]);
    assert!(status == 413 && answer.contains("error_code"), "{status} {answer}");
    // Cut on its way.
    let (status, _) = server.ask("POST", "/api/runlode/v1/sync", chunk.len(), &chunk[..chunk.len() / 2]);
    assert!(status == 400 || status == 0, "{status}");
    for query in ["", "?source=", "?source=xyz", "?source=0123"] {
        let (status, answer) = server.ask("GET", &format!("/api/runlode/v1/sync{query}"), 0, b"");
        assert!(status == 400 && answer.contains("INVALID_PARAMETER_VALUE"), "{query}: {status} {answer}");
    }
    // Points of an unknown run: a reported problem, not an error.
    let (status, answer) = server.post(&forged(
        [8; 16],
        &["k"],
        &batch_of([8; 16], &[5], &point(&[1, 2, 1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0])),
    ));
    let said: Value = serde_json::from_str(&answer).unwrap();
    assert!(status == 200 && said["problems_count"] == 1 && said["through"] == 5, "{status} {said}");
    // The good one goes in after all that.
    assert_eq!(server.post(&chunk).0, 200);
    assert_eq!(server.post(&chunk).0, 200);
    server.stop();
    let after = seen(&b);
    assert!(before.iter().all(|(run, said)| after.get(run) == Some(said)));
    assert_holds(&b, &a);
    assert_sound(&b);
}

// ---- sources that change ---------------------------------------------------------------------------------------------

fn a_source_that_is_compacted_meanwhile_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    fill(&a, "one", 2, 60_000);
    fill(&a, "two", 2, 60_000);
    let reading = LocalStore::options(&a).create(false).read_only(true).open().unwrap();
    let target = LocalStore::options(&b).open().unwrap();
    let mlflow = Mlflow::new(target.clone(), Settings::with_root("root:/", "/"));
    let mut source = Source::new(&reading, Lsn::ZERO, target.engine().id()).unwrap();
    let before = files_below(&a.join("log"));
    let (code, out, err) = runlode(&["compact", text(&a)]);
    assert_eq!(code, 0, "{out}{err}");
    assert_ne!(files_below(&a.join("log")), before);
    let mut chunks = 0;
    // It may fail, and then says nothing of what it did not read; it may not leave anything out.
    let rest = loop {
        match source.next_chunk() {
            Ok(Some(chunk)) => {
                mlflow.sync_apply(&chunk.encode()).unwrap();
                chunks += 1;
            }
            Ok(None) => break "done".to_owned(),
            Err(error) => break error.to_string(),
        }
    };
    println!("{chunks} chunks of a log of {} files, then: {rest}", before.len());
    drop(reading);
    target.close().unwrap();
    sync(&a, text(&b));
    assert_eq!(seen(&b), seen(&a));
}

/// What `runlode runs` says of the metrics of each run, how many points a chart of it counts, and in which runs a search
/// finds as many. The first two of them must agree.
fn counts(store: &Path) -> BTreeMap<String, String> {
    let (code, out, err) = runlode(&["runs", text(store), "--json"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let said: Value = serde_json::from_str(&out).unwrap();
    let store = LocalStore::options(store).create(false).read_only(true).open().unwrap();
    let mlflow = Mlflow::new(store.clone(), Settings::with_root("root:/", "/"));
    let experiments = mlflow.search_experiments(View::All, 1000, "", &[], None).unwrap().items;
    let ids: Vec<String> = experiments.into_iter().map(|experiment| experiment.experiment_id).collect();
    let snapshot = store.snapshot().unwrap();
    let mut out = BTreeMap::new();
    for run in said.as_array().unwrap() {
        let id = run["run_id"].as_str().unwrap();
        for (key, metric) in run["metrics"].as_object().unwrap() {
            let points = metric["points"].as_u64().unwrap();
            let chart = snapshot.downsample(id.parse().unwrap(), key, None, 2).unwrap();
            assert_eq!(chart.count, points, "{id} {key}");
            let filter = format!("metrics.{key}.count >= {points} and metrics.{key}.count <= {points}");
            let found = mlflow.search_runs(&ids, &filter, View::All, 1000, &[], None).unwrap().items;
            assert!(found.iter().any(|found| found.info.run_id == id), "{id} {key}");
            out.insert(format!("{id} {key}"), metric.to_string());
        }
    }
    out
}

fn compact(store: &Path) {
    let (code, out, err) = runlode(&["compact", text(store)]);
    assert_eq!(code, 0, "{out}{err}");
}

/// The output of `runlode tail`, without actors: batches that are only points do not keep them.
fn tail(store: &Path) -> Vec<Value> {
    let (code, out, err) = runlode(&["tail", text(store), "--json"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let lines = out.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line["actor"] = Value::Null;
        line
    });
    lines.filter(|line| line["points"] != 0 || line["events"] != Value::Array(Vec::new())).collect()
}

fn compacted_stores_come_over_once() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| dir.path().join(name));
    let run = fill(&a, "one", 2, 5_000).remove(0);
    let before = tail(&a);
    compact(&a);
    let after = tail(&a);
    assert_eq!(after[..before.len()], before, "a tail has points that are in series files only");
    let goes_on = |from: i64, to: i64| {
        let shared = open(&a);
        points_of(&shared, &run, from, to);
        shared.close().unwrap();
    };
    goes_on(5_000, 14_000);
    let server = Server::start(&c, "0");
    let (url, here) = (server.url(), text(&b).to_owned());
    let both = |points: u64| {
        for to in [&here, &url] {
            assert_eq!(sync(&a, to)["points"], points, "{to}");
            let again = sync(&a, to);
            assert_eq!((&again["points"], &again["batches"]), (&Value::from(0), &Value::from(0)), "{again}");
        }
        let said = counts(&a);
        assert_eq!((counts(&b), counts(&c)), (said.clone(), said));
        assert_eq!((&seen(&b), &seen(&c)), (&seen(&a), &seen(&a)));
    };
    both(4 * 5_000 + 2 * 9_000);
    // The target is compacted as well, and the source once more.
    compact(&b);
    compact(&a);
    both(0);
    goes_on(14_000, 18_000);
    compact(&a);
    both(2 * 4_000);
    goes_on(18_000, 18_100);
    both(2 * 100);
    server.stop();
    for store in [&a, &b, &c] {
        assert_sound(store);
    }

    // A copy of a compacted store, whole and up to a position in the middle.
    let middle = before[before.len() / 2]["position"].as_u64().unwrap();
    for until in [None, Some(middle.to_string())] {
        let mut arguments = vec!["replay", text(&a), "--into", text(&d)];
        arguments.extend(until.iter().flat_map(|until| ["--until", until.as_str()]));
        let (code, out, err) = runlode(&arguments);
        assert_eq!(code, 0, "{out}{err}");
        assert_sound(&d);
        match &until {
            None => assert_eq!((counts(&d), seen(&d)), (counts(&a), seen(&a))),
            Some(_) => {
                let points = |line: &Value| line["points"].as_u64().unwrap();
                let until = before.iter().filter(|line| line["position"].as_u64().unwrap() <= middle);
                assert_eq!(tail(&d).iter().map(points).sum::<u64>(), until.map(points).sum::<u64>());
                counts(&d);
            }
        }
        fs::remove_dir_all(&d).unwrap();
    }
}

fn a_source_that_was_taken_back_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b, backup) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("backup"));
    fill(&a, "one", 1, 10);
    copy(&a, &backup, &mut || {});
    fill(&a, "one", 2, 500);
    sync(&a, text(&b));
    let before = seen(&b);
    let (code, out, err) = runlode(&["sync", text(&backup), text(&b), "--json"]);
    assert_eq!((code, err.as_str()), (1, ""), "{out}");
    assert!(out.contains("an older copy"), "{out}");
    assert_eq!(seen(&b), before);
}

// ---- copies of a store in use ----------------------------------------------------------------------------------------

fn a_copy_of_a_store_that_is_compacted_is_sound_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let mut rng = SimRng::new(3);
    let (mut sound, mut made_sound, mut refused) = (0, 0, Vec::new());
    for round in 0..knob("RUNLODE_COPY_ROUNDS", 3) {
        fill(&store, "one", 2, 40_000);
        let before = seen(&store);
        let mut compacting = Process(command(&["compact", text(&store)]).stdout(Stdio::null()).spawn().unwrap());
        let copied = dir.path().join(format!("copy-{round}"));
        copy(&store, &copied, &mut || std::thread::sleep(Duration::from_micros(rng.below(30_000))));
        assert!(compacting.0.wait().unwrap().success());
        let (code, out, err) = runlode(&["verify", text(&copied)]);
        if code == 0 {
            assert!(seen(&copied) == before, "the copy verifies, and differs");
            sound += 1;
        } else {
            let (repaired, said, error) = runlode(&["verify", "--repair", text(&copied)]);
            if repaired == 0 {
                assert!(seen(&copied) == before, "the copy is repaired, and differs");
                made_sound += 1;
            } else {
                refused.push(format!("{code} {out}{err}; {repaired} {said}{error}"));
            }
        }
        fs::remove_dir_all(&copied).unwrap();
    }
    println!("{sound} copies are sound, {made_sound} after a repair; refused: {refused:#?}");
}

fn a_copy_of_a_store_in_use_is_sound_and_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let run = fill(&store, "one", 1, 500).remove(0);
    let writers: Vec<Writer> = (0..4).map(|number| Writer::start(&store, &run, &format!("w{number}"))).collect();
    let mut rng = SimRng::new(5);
    let mut torn = 0;
    for round in 0..knob("RUNLODE_COPY_ROUNDS", 3) {
        std::thread::sleep(Duration::from_millis(rng.below(400)));
        let copied = dir.path().join(format!("copy-{round}"));
        let before: Vec<_> = writers.iter().map(Writer::acknowledged).collect();
        let (begun, points) = (Instant::now(), before[0].0 * 100);
        copy(&store, &copied, &mut || std::thread::sleep(Duration::from_micros(rng.below(15_000))));
        // Frames that were written while the log was copied may have a hole before them. Then the copy ends there.
        let (code, said, err) = runlode(&["verify", text(&copied)]);
        assert_eq!(code, 0, "{said}{err}");
        torn += u32::from(said.contains("written meanwhile"));
        let shared = open(&copied);
        assert!(shared.holds().unwrap());
        assert_eq!(missing_in(&shared, &run, &writers, &before), None);
        let report = shared.local().unwrap().engine().verify(&VerifyOptions::default()).unwrap();
        assert!(report.is_sound(), "{:?}", report.findings);
        shared.close().unwrap();
        assert_sound(&copied);
        fs::remove_dir_all(&copied).unwrap();
        println!("copy {round}: {points} points of the first writer, {:?}", begun.elapsed());
    }
    println!("{torn} copies had a torn end");
    for writer in writers {
        writer.end();
    }
}
