//! Machines that cannot reach one another log into one store's inbox, are killed, forked, and merged while they go on.
//! In the end everything is in the store, once.
//!
//! The other processes are this test binary; environment variables tell them what to do.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use runlode::mlflow::NewRun;
use runlode::mlflow::entity::View;
use runlode::shared::{MlflowCalls, closed_position, is_offline_store};
use runlode::sync::{Report, Source};
use runlode::{LocalStore, Lsn, Store, TimestampMs};

const DIR: &str = "RUNLODE_OFFLINE_TEST_DIR";
const WORD: &str = "RUNLODE_OFFLINE_TEST_WORD";
const POINTS: i64 = 1_000;

fn online(path: &Path) -> MlflowCalls {
    Store::options(path).offline(false).open_apart().unwrap().mlflow()
}

fn offline(path: &Path) -> MlflowCalls {
    Store::options(path).offline(true).open_apart().unwrap().mlflow()
}

fn new_run(shared: &MlflowCalls, experiment: &str, name: &str) -> String {
    let experiment = shared.ensure_experiment(experiment).unwrap();
    let new = NewRun { experiment_id: Some(&experiment), run_name: Some(name), start_time: 1, ..NewRun::default() };
    let run = shared.create_run(&new).unwrap().info.run_id;
    shared.log_param(&run, "name", name).unwrap();
    run
}

fn log(shared: &MlflowCalls, run: &str, steps: std::ops::Range<i64>) {
    let logger = shared.logger(run).unwrap();
    let key = logger.key("loss").unwrap();
    for step in steps {
        let time = TimestampMs(1_000 + step);
        logger.log_row(step, time, &[(key, step as f64)], runlode::Durability::Buffered).unwrap();
    }
}

fn own_stores(main: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(main.join("inbox")) else { return Vec::new() };
    let mut found: Vec<_> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.join("FORMAT").exists()).collect();
    found.sort();
    found
}

fn merge(main: &MlflowCalls) -> Report {
    let mut report = Report::default();
    for folder in own_stores(&main.status().unwrap().folder) {
        assert!(is_offline_store(&folder));
        let store = LocalStore::options(&folder).create(false).read_only(true).open().unwrap();
        let applied = main.sync_position(&store.engine().id().to_string()).unwrap();
        let target = main.store_id().unwrap().parse().unwrap();
        let mut source = Source::new(&store, Lsn(applied), target).unwrap().to_published();
        while let Some(chunk) = source.next_chunk().unwrap() {
            report.add(main.sync_apply(&chunk.encode()).unwrap());
        }
    }
    assert_eq!(report.problems, []);
    report
}

/// All of a run is there, once.
fn check(shared: &MlflowCalls, run: &str, points: i64) {
    let (columns, _) = shared.metric_history(run, "loss", None, None).unwrap();
    assert_eq!(columns.steps, (0..points).collect::<Vec<_>>(), "{run}");
    assert!(columns.values.iter().zip(0..).all(|(value, step)| *value == f64::from(step)));
    let run = shared.run(run).unwrap();
    assert_eq!(run.params, [("name".to_owned(), run.info.run_name.clone())]);
}

fn runs_of(shared: &MlflowCalls, experiment: &str) -> BTreeSet<String> {
    let id = shared.experiment_by_name(experiment).unwrap().unwrap().experiment_id;
    let found = shared.search_runs(&[id], "", View::All, 1_000, &[], None).unwrap();
    found.items.into_iter().map(|run| run.info.run_id).collect()
}

#[test]
fn four_writers_without_a_holder_then_beside_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let writers: Vec<(MlflowCalls, String)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let path = &path;
                scope.spawn(move || {
                    let shared = offline(path);
                    let run = new_run(&shared, "array", &format!("task-{number}"));
                    log(&shared, &run, 0..POINTS);
                    (shared, run)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!((own_stores(&path).len(), path.join("FORMAT").exists()), (4, false));

    let main = online(&path);
    assert_eq!(merge(&main).points_count, 4 * POINTS as u64);
    writers.iter().for_each(|(_, run)| check(&main, run, POINTS));
    assert_eq!(runs_of(&main, "array"), writers.iter().map(|(_, run)| run.clone()).collect());
    assert_eq!((merge(&main).batches_count, merge(&main).points_count), (0, 0));

    // All go on, beside a holder, a client of it, and merges in between.
    let client = online(&path);
    std::thread::scope(|scope| {
        for (shared, run) in &writers {
            scope.spawn(move || log(shared, run, POINTS..2 * POINTS));
        }
        let here = new_run(&client, "array", "here");
        for part in 0..5 {
            log(&client, &here, part * 200..(part + 1) * 200);
            merge(&client);
        }
        check(&main, &here, POINTS);
    });
    merge(&main);
    writers.iter().for_each(|(_, run)| check(&client, run, 2 * POINTS));
    assert_eq!(runs_of(&client, "array").len(), 5);
    let later = new_run(&writers[0].0, "array", "later");
    for (shared, _) in writers {
        shared.close().unwrap();
    }
    assert!(own_stores(&path).iter().all(|own| closed_position(own).is_some()));
    merge(&main);
    assert_eq!(main.run_info(&later).unwrap().run_name, "later");

    client.close().unwrap();
    main.close().unwrap();
    let store = LocalStore::open(&path).unwrap();
    assert!(store.verify().unwrap().is_sound());
}

/// A process that is offline because its environment says so, and the runs that it names: up to its end, or until it is
/// done and waits.
fn peer(dir: &Path, word: &str) -> (Child, Vec<String>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["other_process", "--exact", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(WORD, word)
        .env("RUNLODE_OFFLINE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let mut said = Vec::new();
    for line in output.lines().map_while(Result::ok) {
        match line.strip_prefix("> ") {
            Some("done") => break,
            Some(run) => said.push(run.to_owned()),
            None => {}
        }
    }
    (child, said)
}

#[test]
fn other_process() {
    let (Ok(dir), Ok(word)) = (std::env::var(DIR), std::env::var(WORD)) else { return };
    let shared = Store::options(&dir).open().unwrap().mlflow();
    let say = |text: &str| {
        println!("\n> {text}");
        std::io::stdout().flush().unwrap();
    };
    let log_run = |name: &str| {
        let run = new_run(&shared, "array", name);
        log(&shared, &run, 0..POINTS);
        say(&run);
    };
    log_run(&word);
    if word == "fork" {
        // SAFETY: the child calls what a child of a training script calls, and ends without unwinding.
        #[expect(unsafe_code, reason = "fork is what is tested")]
        let child = unsafe { libc::fork() };
        if child == 0 {
            log_run("child");
            Store::close_all().unwrap();
            std::process::exit(0);
        }
        let mut status = 0;
        // SAFETY: waits for the child that was just made.
        #[expect(unsafe_code, reason = "fork is what is tested")]
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!((waited, status), (child, 0));
        let run = new_run(&shared, "array", "parent");
        log(&shared, &run, 0..POINTS);
        say(&run);
        shared.close().unwrap();
    } else {
        say("done");
        // Killed here.
        let _ = std::io::stdin().read_line(&mut String::new());
    }
}

#[test]
fn what_a_killed_process_logged_offline_comes_in() {
    let dir = tempfile::tempdir().unwrap();
    let main = online(dir.path());
    let (mut child, runs) = peer(dir.path(), "killed");
    child.kill().unwrap();
    child.wait().unwrap();
    merge(&main);
    assert_eq!(runs.len(), 1);
    check(&main, &runs[0], POINTS);
    // Nobody said that it is the end.
    assert!(own_stores(dir.path()).iter().all(|own| closed_position(own).is_none()));
    assert_eq!(merge(&main).points_count, 0);
}

#[test]
fn a_forked_child_has_a_store_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, runs) = peer(dir.path(), "fork");
    assert!(child.wait().unwrap().success());
    assert_eq!((runs.len(), own_stores(dir.path()).len()), (3, 2));
    let main = online(dir.path());
    merge(&main);
    runs.iter().for_each(|run| check(&main, run, POINTS));
    assert_eq!(runs_of(&main, "array").len(), 3);
    assert!(own_stores(dir.path()).iter().all(|own| closed_position(own).is_some()));
}
