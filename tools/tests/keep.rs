//! `gc`, `du`, `compact` and `backup` as users run them: beside a server, beside writing processes, and killed.
//!
//! `RUNLODE_KEEP_KILLS` sets how often each command is killed.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use runlode::{AsOf, HistoryQuery, LocalStore, Lsn, RunSpec, Snapshot, Store};
use serde_json::Value;
use support::{command, commands, database, done, json, refused, runlode, said};
use tempfile::TempDir;

const WRITES: &str = "RUNLODE_KEEP_WRITES";

fn kills() -> u64 {
    std::env::var("RUNLODE_KEEP_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(4)
}

#[test]
fn every_command_of_the_pages_runs_as_it_stands_there() {
    let dir = TempDir::new().unwrap();
    let run = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[0], "runlode", "{line}");
        let output = command(&words[1..]).current_dir(dir.path()).output().unwrap();
        let (code, out, error) = said(&output);
        assert_eq!((code, error.as_str()), (Some(0), ""), "{line}");
        assert!(!out.is_empty(), "{line}");
    };
    run(&format!("runlode import sqlite:///{} ./store", database().display()));
    let pages = [include_str!("../../docs/keeping.md"), include_str!("../../docs/backup.md")];
    let lines: Vec<String> = pages.iter().flat_map(|page| commands(page)).collect();
    assert!(lines.len() >= 14, "{lines:?}");
    lines.iter().for_each(|line| run(line));
    assert_eq!(run_names(&dir.path().join("copy")), run_names(&dir.path().join("store")));
    assert_eq!(run_names(&dir.path().join("copy-of-then")), run_names(&dir.path().join("store")));
}

fn run_names(store: &Path) -> BTreeSet<String> {
    let store = Store::open(store).unwrap();
    let names = store.search_runs("").find().unwrap().into_iter().map(|run| format!("{} {}", run.id, run.name));
    let names = names.collect();
    store.close().unwrap();
    names
}

/// `runlode serve` on a free port, which holds the store.
struct Server(Child);

impl Server {
    fn start(store: &str) -> Self {
        let mut child =
            command(&["serve", store, "--port", "0", "--no-ui", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("address"), "the server did not start");
        Self(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A store with runs of some size; the runs.
fn with_runs(path: &Path, count: u64) -> Vec<String> {
    let store = LocalStore::open(path).unwrap();
    let experiment = store.get_or_create_experiment("digits").unwrap();
    let mut runs = Vec::new();
    for number in 0..count {
        let run = store.create_run(experiment, RunSpec::named(format!("trial-{number}"))).unwrap();
        let mut state = number;
        let mut row = Vec::new();
        for step in 0..3_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            row.push((step, (state >> 11) as f64));
        }
        for (step, value) in row {
            run.log_metrics(step, &[("loss", value)]).unwrap();
        }
        let folder = path.join(format!("artifacts/{experiment}/{}/artifacts", run.id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("weights.bin"), vec![number as u8; 1_000_000]).unwrap();
        runs.push(run.id().to_string());
    }
    store.close().unwrap();
    runs
}

fn delete(store: &Path, runs: &[String]) {
    let store = Store::open(store).unwrap();
    for run in runs {
        store.run(run.parse().unwrap()).unwrap().delete().unwrap();
    }
    store.close().unwrap();
}

fn du(store: &str, by: &str) -> Value {
    let du = json(&["du", store, "--by", by, "--json"]);
    let rows: u64 = du["rows"].as_array().unwrap().iter().map(|row| row["bytes"].as_u64().unwrap()).sum();
    let others: u64 = du["others"].as_object().unwrap().values().map(|bytes| bytes.as_u64().unwrap()).sum();
    assert_eq!(rows + others, du["bytes"].as_u64().unwrap(), "{by}: {du}");
    du
}

#[test]
fn a_collection_beside_a_server_frees_what_du_says() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    let runs = with_runs(&path, 10);
    let store = path.to_str().unwrap();
    let server = Server::start(store);
    done(&["compact", store]);
    let before = du(store, "experiment")["bytes"].as_u64().unwrap();
    delete(&path, &runs[..5]);
    let plan = json(&["gc", store, "--older-than", "0", "--plan", "--json"]);
    assert_eq!((plan["items"].as_array().unwrap().len(), plan["report"].is_null()), (5, true), "{plan}");
    assert_eq!(json(&["gc", store, "--plan", "--json"])["items"].as_array().unwrap().len(), 0, "they are young");
    let gone = json(&["gc", store, "--older-than", "0", "--json"]);
    assert_eq!(
        (&gone["report"]["runs"], gone["report"]["skipped"].as_array().unwrap().len()),
        (&5.into(), 0),
        "{gone}"
    );
    for by in ["run", "metric", "artifact"] {
        du(store, by);
    }
    let after = du(store, "experiment")["bytes"].as_u64().unwrap();
    assert!(gone["report"]["bytes_after"].as_u64().unwrap().abs_diff(after) < 64 << 10, "{after}: {gone}");
    drop(server);
    done(&["verify", store]);
    let held = du(store, "experiment")["bytes"].as_u64().unwrap();
    assert!(after <= before && held * 100 <= before * 55, "{held} of {before}");
    let receipts = &gone["report"]["receipts"];
    let tail = done(&["tail", store, "--from", &receipts[0].to_string(), "--json"]);
    assert!(tail.contains("GarbageCollected") && tail.contains(&runs[0]), "{tail}");
    assert!(refused(&["gc", store, "--older-than", "soon"]).contains("90d"));
}

/// Opens the store as one of several processes, and logs until it is killed.
#[test]
fn writer() {
    let Ok(path) = std::env::var(WRITES) else { return };
    let store = Store::open(&path).unwrap();
    let run = store.experiment("digits").unwrap().create_run(RunSpec::new()).unwrap();
    println!("ready");
    for step in 0.. {
        run.log_metrics(step, &[("loss", step as f64), ("acc", -(step as f64))]).unwrap();
        if step % 200 == 0 {
            run.set_tags(&[("step", &step.to_string())]).unwrap();
        }
    }
}

/// A process that writes; killed when dropped.
struct Writer(Child);

impl Writer {
    fn start(store: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer", "--nocapture"])
            .env(WRITES, store)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.contains("ready")), "the writer did not start");
        Self(child)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Everything that a store says of its runs up to a position.
fn answers(snapshot: &Snapshot, at: Lsn) -> Vec<String> {
    let mut all = Vec::new();
    let view = snapshot.as_of(AsOf::Position(at)).unwrap();
    for (id, _) in snapshot.experiments().unwrap() {
        for run in snapshot.runs_of(id).unwrap() {
            let Some((state, lifecycle)) = view.run(run).unwrap() else { continue };
            all.push(format!("{run} {state:?} {lifecycle:?}"));
            for key in ["loss", "acc"] {
                let query = HistoryQuery { limit: usize::MAX, ..HistoryQuery::default() };
                let columns = view.history(run, key, &query).unwrap().columns;
                all.push(format!("{run} {key} {:?} {:?} {:?}", columns.steps, columns.times, columns.values));
            }
        }
    }
    all
}

#[test]
fn backups_beside_four_writing_processes_are_the_store_at_their_positions() {
    let dir = TempDir::new().unwrap();
    let (path, target) = (dir.path().join("store"), dir.path().join("backups"));
    let (store, target) = (path.to_str().unwrap(), target.to_str().unwrap());
    Store::open(&path).unwrap().close().unwrap();
    let writers: Vec<Writer> = (0..4).map(|_| Writer::start(&path)).collect();
    let mut positions = Vec::new();
    for name in ["one", "two", "three"] {
        let made = json(&["backup", store, target, "--name", name, "--json"]);
        positions.push((name, made["position"].as_u64().unwrap()));
        if name == "two" {
            done(&["compact", store]);
        }
    }
    drop(writers);
    assert!(positions[0].1 < positions[1].1 && positions[1].1 < positions[2].1, "{positions:?}");
    assert!(done(&["backup", "check", target]).contains("3 backups"));
    let original = LocalStore::open(&path).unwrap();
    let of_original = original.snapshot().unwrap();
    for (name, position) in &positions {
        let copy = dir.path().join(name);
        done(&["backup", "restore", target, copy.to_str().unwrap(), "--at", name]);
        let restored = LocalStore::open(&copy).unwrap();
        assert_eq!(restored.positions().published, Lsn(*position), "{name}");
        let (here, there) =
            (answers(&of_original, Lsn(*position)), answers(&restored.snapshot().unwrap(), Lsn(*position)));
        assert!(here.len() >= 12, "{name}: {}", here.len());
        assert!(here == there, "{name} differs");
        assert!(restored.verify().unwrap().is_sound(), "{name}");
    }
}

/// Starts a command and kills it after some time; whether it was killed.
fn killed(arguments: &[&str], after: Duration) -> bool {
    let mut child = command(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let until = Instant::now() + after;
    while Instant::now() < until {
        if let Some(status) = child.try_wait().unwrap() {
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            assert!(status.success(), "{arguments:?}: {said}");
            return false;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    true
}

/// How long a command takes.
fn took(arguments: &[&str]) -> Duration {
    let begun = Instant::now();
    done(arguments);
    begun.elapsed()
}

fn copied(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[test]
fn commands_that_are_killed_lose_nothing_and_are_completed_by_a_rerun() {
    let dir = TempDir::new().unwrap();
    let origin = dir.path().join("origin");
    let runs = with_runs(&origin, 6);
    delete(&origin, &runs[..3]);
    let fresh = |name: String| -> PathBuf {
        let path = dir.path().join(name);
        copied(&origin, &path);
        path
    };
    let path = fresh("measured".into());
    let store = path.to_str().unwrap();
    let measured = took(&["backup", store, dir.path().join("b").to_str().unwrap()]);
    let compacts = took(&["compact", store]);
    let collects = took(&["gc", store, "--older-than", "0"]);
    let kept: BTreeSet<String> = runs[3..].iter().cloned().collect();
    let mut interrupted = 0;
    for round in 1..=kills() {
        let part = |whole: Duration| whole.mul_f64(round as f64 / (kills() as f64 + 0.5));
        let path = fresh(format!("store-{round}"));
        let store = path.to_str().unwrap();
        interrupted += u32::from(killed(&["compact", store], part(compacts)));
        done(&["verify", store]);
        interrupted += u32::from(killed(&["gc", store, "--older-than", "0"], part(collects)));
        done(&["verify", store]);
        done(&["gc", store, "--older-than", "0"]);
        let left = json(&["gc", store, "--older-than", "0", "--plan", "--json"]);
        assert_eq!(left["items"].as_array().unwrap().len(), 0, "round {round}: {left}");
        let there: BTreeSet<String> = std::fs::read_dir(path.join("artifacts/1"))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(there, kept, "round {round}");
        let backups = dir.path().join(format!("backups-{round}"));
        let target = backups.to_str().unwrap();
        done(&["backup", store, target, "--name", "whole"]);
        delete(&path, &runs[3..4]);
        interrupted += u32::from(killed(&["backup", store, target, "--name", "killed"], part(measured)));
        done(&["backup", "check", target]);
        done(&["backup", store, target, "--name", "again"]);
        done(&["backup", "check", target]);
        let copy = dir.path().join(format!("copy-{round}"));
        let restore = ["backup", "restore", target, copy.to_str().unwrap(), "--at", "whole"];
        if killed(&restore, part(measured)) {
            interrupted += 1;
            if !copy.exists() {
                done(&restore);
            }
        }
        let of_copy = run_names(&copy);
        assert_eq!(of_copy.len(), 3, "round {round}");
        for gone in [path, backups, copy] {
            std::fs::remove_dir_all(gone).unwrap();
        }
    }
    assert!(interrupted > 0, "no command was killed in time");
}

#[test]
fn damage_of_a_backup_is_named_and_no_is_the_answer() {
    let dir = TempDir::new().unwrap();
    let (path, target) = (dir.path().join("store"), dir.path().join("backups"));
    with_runs(&path, 1);
    done(&["backup", path.to_str().unwrap(), target.to_str().unwrap(), "--name", "only"]);
    let folder = std::fs::read_dir(target.join("blobs")).unwrap().next().unwrap().unwrap().path();
    let blob = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    let (code, out, _) = said(&runlode(&["backup", "check", target.to_str().unwrap()]));
    assert!(code == Some(1) && out.contains("another SHA-256; needed by only"), "{out}");
    let copy = dir.path().join("copy");
    let error = refused(&["backup", "restore", target.to_str().unwrap(), copy.to_str().unwrap()]);
    assert!(error.contains("is damaged") && !copy.exists(), "{error}");
    assert!(refused(&["backup", "list", "ftp://x/y"]).contains("s3://BUCKET"));
    assert!(refused(&["backup", path.to_str().unwrap(), path.to_str().unwrap()]).contains("holds no backups"));
}
