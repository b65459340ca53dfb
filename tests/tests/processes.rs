//! Processes that share a store: they race for it, are killed, stopped and forked, and nothing is lost or done twice.
//!
//! The other processes are this test binary; environment variables tell them what to do. They report on their standard
//! output, and end when their standard input does. `RUNLODE_SHARED_ROUNDS` sets how often holders are killed.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use runlode::engine::{HistoryQuery, InboxWriter, KeyedPoint, SystemClock};
use runlode::mlflow::{ErrorCode, NewMetric, NewRun};
use runlode::shared::MlflowCalls;
use runlode::{Durability, LocalStore, Point, Store, TimestampMs};
use runlode_tests::knob;

const ROLE: &str = "RUNLODE_SHARED_ROLE";
const DIR: &str = "RUNLODE_SHARED_DIR";
const WORD: &str = "RUNLODE_SHARED_WORD";

// ---- the other processes ---------------------------------------------------------------------------------------------

/// Lines that a process said, and when.
type Lines = Vec<(Instant, String)>;

struct Peer {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<(Instant, String)>,
}

impl Peer {
    fn start(role: &str, dir: &Path, word: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["peer", "--exact", "--nocapture", "--test-threads=1"])
            .envs([(ROLE, role), (WORD, word)])
            .env(DIR, dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some(line) = line.strip_prefix("> ")
                    && send.send((Instant::now(), line.to_owned())).is_err()
                {
                    return;
                }
            }
        });
        let input = child.stdin.take();
        Self { child, input, lines }
    }

    /// The next line that it reports.
    fn line(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(30)).expect("the other process says nothing").1
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Stops it, all of it: a thread goes on until it has seen the signal.
    fn stop(&self) {
        self.signal("-STOP");
        let tasks = format!("/proc/{}/task", self.child.id());
        let is_stopped = |task: std::io::Result<std::fs::DirEntry>| {
            let line = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
            // Behind the name, which may hold anything.
            line.rsplit_once(") ").unwrap().1.starts_with('T')
        };
        let until = Instant::now() + Duration::from_secs(10);
        while !std::fs::read_dir(&tasks).unwrap().all(is_stopped) {
            assert!(Instant::now() < until, "it does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets it end in good order.
    fn end(mut self) -> Lines {
        drop(self.input.take());
        assert!(self.child.wait().unwrap().success(), "the other process failed");
        self.lines.iter().collect()
    }

    fn kill(mut self) -> Lines {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines.iter().collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(line: impl std::fmt::Display) {
    std::io::stdout().write_all(format!("\n> {line}\n").as_bytes()).unwrap();
}

fn input_ended() -> Receiver<()> {
    let (send, ended) = channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = send.send(());
    });
    ended
}

fn open(dir: &Path) -> MlflowCalls {
    Store::options(dir).open().unwrap().mlflow()
}

fn metric(key: &str, step: i64) -> NewMetric<'_> {
    NewMetric { key, value: step as f64, timestamp: 1, step, ..NewMetric::default() }
}

#[test]
fn peer() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (dir, word) = (std::env::var(DIR).unwrap(), std::env::var(WORD).unwrap());
    let (dir, word) = (Path::new(&dir), word.as_str());
    match role.as_str() {
        "hold" => hold(dir),
        "race" => race(dir, word),
        "write" => write(dir, word),
        "fork" => fork(dir),
        "fork inbox" => fork_inbox(dir),
        "leak" => leak(dir),
        _ => panic!("no such role: {role}"),
    }
}

/// Has the store open until its input ends.
fn hold(dir: &Path) {
    let ended = input_ended();
    let shared = open(dir);
    say(if shared.holds().unwrap() { "holds" } else { "is a client" });
    ended.recv().unwrap();
    shared.close().unwrap();
}

/// What MLflow's client does: asks for an experiment, creates it, starts a run in it.
fn race(dir: &Path, name: &str) {
    let shared = open(dir);
    let experiment = match shared.experiment_by_name(name).unwrap() {
        Some(experiment) => experiment.experiment_id,
        None => shared.create_experiment(name, None, &[]).unwrap(),
    };
    let run = shared.create_run(&NewRun { experiment_id: Some(&experiment), ..NewRun::default() }).unwrap();
    shared.log_metric(&run.info.run_id, &metric("m", 1)).unwrap();
    say(format!("{} {}", experiment, run.info.run_id));
    shared.close().unwrap();
}

/// Logs points 0, 1, 2, ... of a key of its own by a logger, and sets a tag now and then, until its input ends.
fn write(dir: &Path, word: &str) {
    let (run, key) = word.split_once(' ').unwrap();
    let ended = input_ended();
    let shared = open(dir);
    let logger = shared.logger(run).unwrap();
    let number = logger.key(key).unwrap();
    say("ready");
    for step in 0.. {
        logger.log_row(step, TimestampMs(1), &[(number, step as f64)], Durability::Buffered).unwrap();
        say(format!("point {step}"));
        if step % 64 == 63 {
            let begun = Instant::now();
            shared.set_tag(run, key, &step.to_string()).unwrap();
            say(format!("tag {step} {}", begun.elapsed().as_millis()));
        }
        if ended.try_recv().is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_micros(300));
    }
    shared.close().unwrap();
}

#[expect(unsafe_code, reason = "to fork is what is tested")]
fn forked(child: impl FnOnce() -> bool) -> i32 {
    // SAFETY: the child goes on in this thread alone, as children of Python's `os.fork` do; what it calls copes with
    // that, which is what is tested. It leaves by _exit.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let good = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(false);
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(!good)) };
    }
    pid
}

#[expect(unsafe_code, reason = "waits for the child that was forked")]
fn wait_for(pid: i32) -> bool {
    let mut status = 0;
    // SAFETY: `status` is valid for the one int that is written.
    unsafe { libc::waitpid(pid, &raw mut status, 0) == pid && status == 0 }
}

/// Forks children, as holder and with a thread that logs: they use handles of before the fork.
fn fork(dir: &Path) {
    let shared = open(dir);
    assert!(shared.holds().unwrap());
    let run = shared.create_run(&NewRun::default()).unwrap().info.run_id;
    let logger = shared.logger(&run).unwrap();
    let key = logger.key("of all").unwrap();
    let handle = shared.local().unwrap().engine().run(run.parse().unwrap()).unwrap();
    let log = |step: i64| logger.log_row(step, TimestampMs(1), &[(key, step as f64)], Durability::Buffered).unwrap();
    let busy = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut step = 1_000_000;
            while busy.load(std::sync::atomic::Ordering::Relaxed) {
                log(step);
                step += 1;
            }
        });
        log(0);
        let children: Vec<i32> = (1..=4)
            .map(|number| {
                forked(|| {
                    let refused = handle.log_row(1, TimestampMs(1), &[(key, 1.0)], Durability::Buffered);
                    assert!(matches!(refused, Err(runlode::Error::Forked)));
                    log(number * 10);
                    shared.log_metric(&run, &metric("of all", number * 10 + 1)).unwrap();
                    shared.set_tag(&run, &format!("child {number}"), "was here").unwrap();
                    assert!(!shared.holds().unwrap());
                    let grandchild = forked(|| {
                        log(number * 10 + 2);
                        shared.run_info(&run).is_ok()
                    });
                    wait_for(grandchild)
                })
            })
            .collect();
        for child in children {
            assert!(wait_for(child), "a forked child failed");
        }
        busy.store(false, std::sync::atomic::Ordering::Relaxed);
    });
    let found = shared.metric_history(&run, "of all", None, None).unwrap().0.steps;
    let few: Vec<i64> = found.into_iter().filter(|step| *step < 1_000_000).collect();
    assert_eq!(few, [0, 10, 11, 12, 20, 21, 22, 30, 31, 32, 40, 41, 42]);
    assert_eq!(shared.run(&run).unwrap().tags.iter().filter(|(key, _)| key.starts_with("child ")).count(), 4);
    say("done");
}

/// Forks children that use their parent's inbox writers: one that has an inbox, and one that has not made it yet.
fn fork_inbox(dir: &Path) {
    let shared = open(dir);
    let run = shared.create_run(&NewRun::default()).unwrap().info.run_id.parse().unwrap();
    let store = shared.local().unwrap();
    let engine = store.engine();
    let writer = || InboxWriter::create(dir, engine.id(), Arc::new(SystemClock::default())).unwrap();
    let (used, unused) = (writer(), writer());
    let (key, other) = (used.metric_key("m").unwrap(), unused.metric_key("m").unwrap());
    let point = |step| Point { step, time: TimestampMs(1), value: 1.0 };
    let log = |writer: &InboxWriter, key, step| writer.log_point(run, key, point(step), Durability::Buffered);
    log(&used, key, 0).unwrap();
    let child = forked(|| {
        let points = [KeyedPoint { key, point: point(2) }];
        let refused = [
            log(&used, key, 1).map(drop),
            log(&unused, other, 1).map(drop),
            used.log_points(run, &points, Durability::Buffered).map(drop),
            used.metric_key("m").map(drop),
            used.flush(),
            used.close_now(),
        ];
        let all = refused.iter().all(|refused| matches!(refused, Err(runlode::Error::Forked)));
        // One of its own it may have.
        let own = writer();
        let key = own.metric_key("m").unwrap();
        log(&own, key, 10).unwrap();
        all && own.close().is_ok()
    });
    assert!(wait_for(child), "the forked child failed");
    log(&used, key, 3).unwrap();
    log(&unused, other, 4).unwrap();
    assert_eq!((used.last_number(), unused.last_number()), (2, 1));
    let report = engine.merge_inboxes().unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let found = engine.snapshot().unwrap().history(run, "m", &HistoryQuery::default()).unwrap();
    assert_eq!(found.columns.steps, [0, 3, 4, 10]);
    say("done");
}

/// Holds the store, and has a forked child that never touches it and outlives its parent.
fn leak(dir: &Path) {
    let shared = open(dir);
    assert!(shared.holds().unwrap());
    let child = forked(|| {
        std::thread::sleep(Duration::from_secs(20));
        true
    });
    say(child);
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

// ---- tests -----------------------------------------------------------------------------------------------------------

#[test]
fn a_race_for_a_new_name_has_one_winner_and_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let count = knob("RUNLODE_SHARED_RACERS", 32);
    let peers: Vec<Peer> = (0..count).map(|_| Peer::start("race", &store, "new name")).collect();
    let mut experiments = BTreeMap::new();
    for peer in peers {
        let line = peer.line();
        let (experiment, run) = line.split_once(' ').unwrap();
        experiments.entry(experiment.to_owned()).or_insert_with(Vec::new).push(run.to_owned());
        peer.end();
    }
    assert_eq!(experiments.len(), 1, "{experiments:?}");
    let shared = open(&store);
    for run in experiments.values().flatten() {
        assert_eq!(shared.metric_history(run, "m", None, None).unwrap().0.steps, [1]);
    }
    let in_default = shared.search_runs(&["0".to_owned()], "", Default::default(), 10, &[], None).unwrap();
    assert!(in_default.items.is_empty(), "runs in Default");
    shared.close().unwrap();
}

/// Reads what writers said; the last acknowledged point of each.
fn last_points(lines: &[(Instant, String)]) -> Option<i64> {
    lines.iter().filter_map(|(_, line)| line.strip_prefix("point ")?.parse().ok()).next_back()
}

fn assert_all_there(shared: &MlflowCalls, run: &str, key: &str, last: Option<i64>) {
    let (columns, _) = shared.metric_history(run, key, None, None).unwrap();
    let found = columns.steps.len() as i64;
    assert!(found > last.unwrap_or(-1), "{key}: {found} points are there, and {last:?} was acknowledged");
    assert!(found <= last.unwrap_or(-1) + 2, "{key}: {found} points are there, and {last:?} was the last");
    assert_eq!(columns.steps, (0..found).collect::<Vec<_>>(), "{key}: a hole, or a point twice");
}

#[test]
fn killed_holders_are_followed_and_nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let shared = open(&store);
    let run = shared.create_run(&NewRun::default()).unwrap().info.run_id;
    shared.close().unwrap();
    let mut slowest = 0;
    let mut done: Vec<(String, Option<i64>)> = Vec::new();
    let mut writers: Vec<(String, Peer, Lines)> = Vec::new();
    for number in 0..4 + knob("RUNLODE_SHARED_ROUNDS", 4) {
        let key = format!("writer-{number}");
        let writer = Peer::start("write", &store, &format!("{run} {key}"));
        assert_eq!(writer.line(), "ready");
        writers.push((key, writer, Vec::new()));
        if number < 4 {
            continue;
        }
        std::thread::sleep(Duration::from_millis(150));
        // The oldest one has held the store since the one before it was killed, or came first.
        let pid = holder_pid(&store);
        let place = writers.iter().position(|(_, writer, _)| writer.child.id() == pid);
        let (key, writer, mut lines) = writers.remove(place.expect("one of the writers holds the store"));
        lines.extend(writer.kill());
        let killed = Instant::now();
        done.push((key, last_points(&lines)));
        std::thread::sleep(Duration::from_millis(400));
        for (key, writer, lines) in &mut writers {
            lines.extend(writer.lines.try_iter());
            let meanwhile = lines.iter().filter(|(at, line)| *at > killed && line.starts_with("point "));
            assert!(meanwhile.count() > 10, "{key} did not go on logging");
        }
    }
    for (key, writer, mut lines) in writers {
        lines.extend(writer.end());
        let waits = lines.iter().filter_map(|(_, line)| line.strip_prefix("tag ")?.split_once(' ')?.1.parse().ok());
        slowest = slowest.max(waits.max().unwrap_or(0));
        done.push((key, last_points(&lines)));
    }
    assert!(slowest < 2_000, "a decision waited for {slowest} ms");
    let shared = open(&store);
    for (key, last) in &done {
        assert_all_there(&shared, &run, key, *last);
    }
    let report = shared.local().unwrap().verify().unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
    println!("the longest wait for a decision was {slowest} ms");
}

/// The process that LOCK names.
fn holder_pid(store: &Path) -> u32 {
    let text = String::from_utf8_lossy(&std::fs::read(store.join("LOCK")).unwrap()).into_owned();
    text.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_stopped_holder_keeps_the_store_and_points_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let holder = Peer::start("hold", &store, "");
    assert_eq!(holder.line(), "holds");
    let shared = open(&store);
    let run = shared.create_run(&NewRun::default()).unwrap().info.run_id;
    shared.log_metric(&run, &metric("m", 0)).unwrap();
    holder.stop();
    let begun = Instant::now();
    for step in 1..1000 {
        shared.log_metric(&run, &metric("m", step)).unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "points waited for a stopped holder");
    let begun = Instant::now();
    let error = shared.set_tag(&run, "a", "b").unwrap_err();
    assert_eq!(error.code, ErrorCode::TemporarilyUnavailable);
    assert!(error.message.contains(&format!("process {}", holder.child.id())), "{error}");
    assert!((9..14).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    holder.signal("-CONT");
    shared.set_tag(&run, "a", "c").unwrap();
    assert_eq!(shared.metric_history(&run, "m", None, None).unwrap().0.steps.len(), 1000);
    assert!(!shared.holds().unwrap());
    holder.end();
    shared.set_tag(&run, "a", "d").unwrap();
    assert!(shared.holds().unwrap());
    shared.close().unwrap();
}

#[test]
fn forked_children_reopen_what_their_parent_had_open() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::start("fork", &dir.path().join("store"), "");
    assert_eq!(peer.line(), "done");
    peer.end();
}

#[test]
fn a_forked_child_does_not_log_into_its_parents_inbox() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::start("fork inbox", &dir.path().join("store"), "");
    assert_eq!(peer.line(), "done");
    peer.end();
}

#[test]
fn a_forked_child_that_lives_on_does_not_keep_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let parent = Peer::start("leak", &store, "");
    let child = parent.line();
    let shared = open(&store);
    assert!(!shared.holds().unwrap());
    let run = shared.create_run(&NewRun::default()).unwrap().info.run_id;
    // Not by what it says: the child keeps its standard output open.
    drop(parent);
    let begun = Instant::now();
    shared.set_tag(&run, "a", "b").unwrap();
    assert!(shared.holds().unwrap());
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(Command::new("kill").args(["-0", &child]).status().unwrap().success(), "the child is gone too");
    assert!(Command::new("kill").args(["-KILL", &child]).status().unwrap().success());
    shared.close().unwrap();
    LocalStore::open(&store).unwrap().close().unwrap();
}
