//! The Nth call of a kind fails in a real process on a real file system (`strace -e inject`): the process says what
//! failed and does not panic, nothing is wrong afterwards, and a rerun completes.
//!
//! Two kinds of work: an append loop with checkpoints and seals, and the import of a small MLflow database. Skipped,
//! with a line that says so, where strace is missing or may not trace. `RUNLODE_INJECT_CALLS` is how many calls of
//! each kind fail in turn.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use runlode_engine::point::Point;
use runlode_engine::{Batch, Durability, ExperimentId, HistoryQuery, Result, RunId, Store, TimestampMs, VerifyOptions};
use runlode_tests::{create, knob};

const WORK: &str = "RUNLODE_INJECT_WORK";
const DIR: &str = "RUNLODE_INJECT_DIR";
const RUN: RunId = RunId([1; 16]);
const POINTS: u64 = 12;
/// Exit status of the child after a reported error.
const TOLD: i32 = 3;

fn options(dir: &Path) -> runlode_engine::Options {
    Store::options(dir).background(false).mmap(false).memory_bytes(16 << 20).segment_bytes(4 << 10, 16 << 10)
}

fn count(store: &Store) -> Result<u64> {
    let page = store.snapshot()?.history(RUN, "n", &HistoryQuery::default())?;
    for (index, step) in page.columns.steps.iter().enumerate() {
        assert_eq!(*step, index as i64, "a hole");
    }
    Ok(page.columns.len() as u64)
}

/// Logs until there are [`POINTS`] points; sealed and closed.
fn append(dir: &Path) -> Result<()> {
    let store = options(dir).open()?;
    if store.snapshot()?.run(RUN)?.is_none() {
        let experiment = ExperimentId(0);
        let batch = Batch::new().event(create::experiment(experiment, "Default")).event(create::run(RUN, experiment));
        store.append(batch, Durability::Sync)?;
    }
    for number in count(&store)?..POINTS {
        let point = Point { step: number as i64, time: TimestampMs(1), value: 0.5 };
        store.append(Batch::new().metric(RUN, "n", point, None), Durability::Sync)?;
        println!("\nack {number}");
        match number % 5 {
            1 => drop(store.checkpoint()?),
            2 => drop(store.seal()?),
            3 => store.maintain()?,
            _ => {}
        }
    }
    store.close()
}

fn import(dir: &Path) -> std::result::Result<(), String> {
    use runlode_cli::import::{ImportOptions, import_sqlite};
    let store =
        runlode::LocalStore::options(dir).default_experiment(false).open().map_err(|error| error.to_string())?;
    let database = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mlflow.db");
    let imported = import_sqlite(&database, &store, &ImportOptions::default(), &mut |_| {});
    imported.map_err(|error| error.to_string())?;
    store.close().map_err(|error| error.to_string())
}

/// Runs in a process of its own, only.
#[test]
fn child() {
    let (Ok(work), Ok(dir)) = (std::env::var(WORK), std::env::var(DIR)) else { return };
    let told = match work.as_str() {
        "append" => append(Path::new(&dir)).map_err(|error| error.to_string()),
        _ => import(Path::new(&dir)),
    };
    if let Err(error) = told {
        println!("\ntold: {error}");
        std::process::exit(TOLD);
    }
}

fn child_command(program: &str, work: &str, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.env(WORK, work).env(DIR, dir);
    command
}

const ARGS: [&str; 4] = ["child", "--exact", "--nocapture", "--test-threads=1"];

fn strace_works() -> std::result::Result<(), String> {
    let run = Command::new("strace").args(["-f", "-e", "trace=fsync", "true"]).output();
    match run {
        Err(error) => Err(format!("strace cannot be run ({error}); install it to run this test")),
        Ok(output) if !output.status.success() => {
            Err(format!("strace may not trace here: {}", String::from_utf8_lossy(&output.stderr).trim()))
        }
        Ok(_) => Ok(()),
    }
}

/// One run of the work in which one call fails.
fn injected(work: &str, dir: &Path, call: &str, error: &str, nth: u64) -> Output {
    let me = std::env::current_exe().unwrap();
    let mut command = child_command("strace", work, dir);
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={call}:error={error}:when={nth}")]);
    // Only calls on the store's own files: not those of the loader, or of the output.
    let names = [
        "",
        "FORMAT",
        "FORMAT.tmp",
        "LOCK",
        "MANIFEST",
        "MANIFEST.tmp",
        "index.redb",
        "index.redb.tmp",
        "search.snap",
        "search.snap.tmp",
        "log",
        "series",
    ];
    let mut paths: Vec<PathBuf> = names.iter().map(|name| dir.join(name)).collect();
    for number in 1..=6 {
        paths.push(dir.join(format!("log/{number:08}.seg")));
        paths.push(dir.join(format!("series/{number:08}.ser")));
        paths.push(dir.join(format!("series/{number:08}.ser.tmp")));
    }
    for path in paths {
        command.arg("-P").arg(path);
    }
    command.arg(me).args(ARGS).output().unwrap()
}

fn plain(work: &str, dir: &Path) -> Output {
    child_command(std::env::current_exe().unwrap().to_str().unwrap(), work, dir).args(ARGS).output().unwrap()
}

/// Every call of every kind fails in turn; `check` looks at what is left at once, and after the rerun.
fn all_calls(work: &str, calls: u64, check: impl Fn(&str, &Path, &Output, bool)) {
    if let Err(why) = strace_works() {
        println!("skipped: {why}");
        return;
    }
    let (mut told, mut runs) = (0, 0);
    for call in ["fsync", "fdatasync", "rename,renameat,renameat2", "pwrite64", "openat", "ftruncate,fallocate"] {
        for error in ["EIO", "ENOSPC"] {
            for nth in 1..=calls {
                let dir = tempfile::tempdir().unwrap();
                let path = dir.path().join("store");
                let place = format!("{work}: {call} number {nth} fails with {error}");
                let output = injected(work, &path, call, error, nth);
                let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
                assert!(!err.contains("panicked") && !out.contains("panicked"), "{place}: {out}{err}");
                let code = output.status.code();
                assert!(
                    code == Some(0) || code == Some(TOLD),
                    "{place}: it ended with {:?}: {out}{err}",
                    output.status
                );
                assert!(code != Some(TOLD) || out.contains("told: "), "{place}: {out}{err}");
                runs += 1;
                told += u64::from(code == Some(TOLD));
                check(&place, &path, &output, false);
                let again = plain(work, &path);
                assert!(again.status.success(), "{place}: the rerun: {}", String::from_utf8_lossy(&again.stdout));
                check(&place, &path, &again, true);
            }
        }
    }
    println!("{work}: {told} of {runs} injected failures were told, the others had no such call");
    assert!(told * 4 >= runs, "{work}: only {told} of {runs} failures struck");
}

#[test]
fn appends_survive_any_failing_call() {
    all_calls("append", knob("RUNLODE_INJECT_CALLS", 5), |place, dir, output, rerun| {
        let text = String::from_utf8_lossy(&output.stdout);
        let acked = text.lines().filter_map(|line| line.strip_prefix("ack ")?.parse::<u64>().ok()).max();
        let store = options(dir).open().unwrap_or_else(|error| panic!("{place}: {error}"));
        let found = count(&store).unwrap();
        let least = if rerun { POINTS } else { acked.map_or(0, |last| last + 1) };
        assert!(found >= least && found <= POINTS, "{place}: {found} points of {least}");
        assert!(store.verify(&VerifyOptions::default()).unwrap().is_sound(), "{place}");
    });
}

#[test]
fn an_import_survives_any_failing_call() {
    all_calls("import", knob("RUNLODE_INJECT_CALLS", 5).min(3), |place, dir, _, rerun| {
        if rerun {
            let store = Store::open(dir).unwrap_or_else(|error| panic!("{place}: {error}"));
            assert!(store.verify(&VerifyOptions::default()).unwrap().is_sound(), "{place}");
            let snapshot = store.snapshot().unwrap();
            let experiments = snapshot.experiments().unwrap();
            let runs: usize = experiments.iter().map(|(id, _)| snapshot.runs_of(*id).unwrap().len()).sum();
            assert_eq!((experiments.len() >= 5, runs), (true, 25), "{place}");
        }
    });
}
