//! Damages whole files of a store, one at a time: removed, emptied, cut, lengthened, swapped with a sibling, replaced
//! by an old version or another store's file, by a pipe, a link, a folder. For every way in (library for reading, for
//! writing, shared, repair, sync source, commands) the answers are the same, or the missing part is reported: never
//! another answer, a hang or a panic.
//!
//! This binary is the command `runlode` when [`AS_COMMAND`] is set.
//!
//! Long, because each kind of damage goes through the same ways in, and one table holds the answers.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use runlode::engine::event::{RunCreated, RunStatus};
use runlode::engine::point::Point;
use runlode::engine::storage::disk::Disk;
use runlode::engine::{InboxWriter, KeyedPoint, Options, VerifyOptions};
use runlode::mlflow::NewRun;
use runlode::sync::Source;
use runlode::{
    Batch, Cached, Clock, CompactOptions, Durability, ExperimentId, HistoryQuery, LocalStore, RunId, Snapshot, Store,
    SystemClock,
};
use runlode::{TimestampMs, engine};
use runlode_tests::create;
use serde_json::Value;

/// Makes this binary the command `runlode`.
const AS_COMMAND: &str = "RUNLODE_AS_COMMAND";
/// A door that is not through after this long hangs.
const PATIENCE: Duration = Duration::from_secs(60);
type Test = (&'static str, fn() -> Vec<String>);

const TESTS: &[Test] = &[
    ("every_file_of_a_store_is_whole_or_missed", every_file_of_a_store_is_whole_or_missed),
    ("a_merge_never_removes_a_store_that_lacks_a_file", a_merge_never_removes_a_store_that_lacks_a_file),
    ("a_damaged_cache_is_made_again_or_told", a_damaged_cache_is_made_again_or_told),
    (
        "an_inbox_is_missed_where_it_lies_and_its_end_not_in_a_copy",
        an_inbox_is_missed_where_it_lies_and_its_end_not_in_a_copy,
    ),
];

const RUNS: u8 = 4;
const KEYS: [&str; 2] = ["loss", "acc"];

fn main() -> ExitCode {
    if std::env::var_os(AS_COMMAND).is_some() {
        return runlode_cli::run();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    let mut failed = false;
    for (name, test) in TESTS.iter().filter(|(name, _)| is_wanted(name)) {
        if arguments.iter().any(|argument| argument == "--list") {
            println!("{name}: test");
            continue;
        }
        let begun = Instant::now();
        let failures = test();
        for failure in failures.iter().take(200) {
            println!("  {failure}");
        }
        let word = if failures.is_empty() { "ok" } else { "FAILED" };
        println!("test {name} ... {word} ({} failures, {:.1} s)", failures.len(), begun.elapsed().as_secs_f64());
        failed |= !failures.is_empty();
    }
    if failed { ExitCode::from(101) } else { ExitCode::SUCCESS }
}

// ---- the store ---------------------------------------------------------------------------------------------------

/// Of each run its name, param and status, and the points of each metric.
type Answers = BTreeMap<String, Vec<(i64, u64)>>;

fn run_id(number: u8) -> RunId {
    RunId([number; 16])
}

fn options(dir: &Path) -> Options {
    engine::Store::options(dir)
        .background(false)
        .segment_bytes(8 << 10, 16 << 10)
        .memory_bytes(16 << 20)
        .search_snap_runs_min(1)
}

fn created(number: u8) -> RunCreated {
    RunCreated {
        run: run_id(number),
        experiment: ExperimentId(0),
        name: format!("run-{number}"),
        user_id: "u".into(),
        status: RunStatus::Running,
        start_time_ms: 5,
        artifact_location: None,
        tags: vec![("kind".into(), format!("{number}"))],
    }
}

/// Logs steps of the first runs, a batch for each ten.
fn log(store: &engine::Store, runs: u8, steps: std::ops::Range<i64>) {
    for from in steps.clone().step_by(10) {
        let mut batch = Batch::new();
        for run in 1..=runs {
            for step in from..(from + 10).min(steps.end) {
                for (at, key) in KEYS.into_iter().enumerate() {
                    let value = f64::from(run) + step as f64 * 0.5 + at as f64 * 1e6;
                    batch = batch.metric(run_id(run), key, Point { step, time: TimestampMs(step), value }, None);
                }
            }
        }
        store.append(batch, Durability::Sync).unwrap();
        store.maintain().unwrap();
    }
}

fn search(store: &engine::Store) {
    // Lists of the newest runs need no columns.
    let order = vec![engine::search::OrderKey::ascending(engine::search::NumberKey::StartTime)];
    let query = engine::search::SearchQuery { order, ..engine::search::SearchQuery::new(ExperimentId(0)) };
    store.snapshot().unwrap().search(&query).unwrap();
}

/// A store with truth and derived series files, segments of every kind, saved searches and an inbox; and the same as it
/// was earlier.
fn build(dir: &Path, old: &Path) {
    let store = options(dir).open().unwrap();
    let experiment = create::experiment(ExperimentId(0), "Default");
    store.append(Batch::new().event(experiment), Durability::Sync).unwrap();
    for run in 1..RUNS {
        store.append(Batch::new().event(created(run)), Durability::Sync).unwrap();
    }
    log(&store, 2, 0..300);
    store.compact(&CompactOptions::default()).unwrap();
    log(&store, 3, 300..500);
    store.seal().unwrap();
    search(&store);
    store.close().unwrap();
    copy(dir, old);
    let store = options(dir).open().unwrap();
    store.append(Batch::new().event(created(RUNS)), Durability::Sync).unwrap();
    log(&store, RUNS, 500..700);
    store.seal().unwrap();
    log(&store, 2, 700..760);
    search(&store);
    let id = store.id();
    store.close().unwrap();
    // A process that does not hold the store, and dies before the next one does.
    let writer = InboxWriter::create(dir, id, Arc::new(SystemClock::default())).unwrap();
    let key = writer.metric_key("inbox").unwrap();
    for step in 0..20 {
        let point = Point { step, time: TimestampMs(step), value: 3.0 };
        writer.log_point(run_id(1), key, point, Durability::Sync).unwrap();
    }
    drop(writer);
    // And one whose points take several segments.
    let writer = InboxWriter::create(dir, id, Arc::new(SystemClock::default())).unwrap();
    let key = writer.metric_key("inbox long").unwrap();
    // Not late, which would cost each merge a look-up of each point.
    let now_ms = SystemClock::default().now().0;
    for frame in 0..14 {
        let point = |at: i64| {
            let step = frame * 2_000 + at;
            let value = f64::from_bits((step as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2);
            KeyedPoint { key, point: Point { step, time: TimestampMs(now_ms), value } }
        };
        let points: Vec<_> = (0..2_000).map(point).collect();
        writer.log_points(run_id(2), &points, Durability::Buffered).unwrap();
    }
    drop(writer);
}

/// Two stores that are sent: one that was compacted at its end, and one of raw segments.
fn build_to_send(dir: &Path, compacts: bool) {
    let store = options(dir).open().unwrap();
    let experiment = create::experiment(ExperimentId(0), "Default");
    store.append(Batch::new().event(experiment), Durability::Sync).unwrap();
    for run in 1..=RUNS {
        store.append(Batch::new().event(created(run)), Durability::Sync).unwrap();
        log(&store, run, i64::from(run) * 100..i64::from(run) * 100 + 60);
    }
    if compacts {
        store.compact(&CompactOptions::default()).unwrap();
    }
    store.close().unwrap();
}

fn answers(snapshot: &Snapshot) -> runlode::Result<Answers> {
    let mut out = Answers::new();
    for run in snapshot.runs_of(ExperimentId(0))? {
        let Some(state) = snapshot.run(run)? else { continue };
        out.insert(format!("{run} {} {:?} {:?}", state.name, state.status, state.tags), Vec::new());
        for (key, stats) in snapshot.latest(run)? {
            let page = snapshot.history(run, &key, &HistoryQuery { limit: 100_000, ..HistoryQuery::default() })?;
            let values = page.columns.values.iter().map(|value| value.to_bits());
            let points = page.columns.steps.iter().copied().zip(values).collect();
            out.insert(format!("{run} {key} {} {} {}", stats.count_raw, stats.min, stats.max), points);
        }
    }
    let query = engine::search::SearchQuery::new(ExperimentId(0));
    out.insert(format!("found {:?}", snapshot.search(&query)?.runs), Vec::new());
    Ok(out)
}

fn without_inbox(answers: &Answers) -> Answers {
    answers
        .iter()
        .filter(|(key, _)| !key.contains(" inbox"))
        .map(|(key, points)| (key.clone(), points.clone()))
        .collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (name, kind) = (to.join(entry.file_name()), entry.file_type().unwrap());
        if kind.is_dir() {
            copy(&entry.path(), &name);
        } else if kind.is_file() {
            fs::copy(entry.path(), name).unwrap();
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path()).unwrap(), name).unwrap();
        } else {
            pipe(&name);
        }
    }
}

fn pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

fn files_below(dir: &Path, below: &str, out: &mut Vec<String>) {
    let mut entries: Vec<_> = fs::read_dir(dir.join(below)).unwrap().map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().into_string().unwrap();
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        if entry.file_type().unwrap().is_dir() {
            files_below(dir, &path, out);
        } else {
            out.push(path);
        }
    }
}

// ---- damage ------------------------------------------------------------------------------------------------------

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    Removed,
    Emptied,
    Cut,
    Lengthened,
    Swapped,
    Old,
    Foreign,
    Pipe,
    Link,
    LinkToForeign,
    Folder,
}

const DAMAGES: [Damage; 11] = [
    Damage::Removed,
    Damage::Emptied,
    Damage::Cut,
    Damage::Lengthened,
    Damage::Swapped,
    Damage::Old,
    Damage::Foreign,
    Damage::Pipe,
    Damage::Link,
    Damage::LinkToForeign,
    Damage::Folder,
];

struct Sample {
    dir: PathBuf,
    old: PathBuf,
    /// Another store.
    other: PathBuf,
    files: Vec<String>,
    answers: Answers,
    without_inbox: Answers,
}

impl Sample {
    /// The file of another store that lies where this one does: the same, or the first in the same folder.
    fn foreign(&self, file: &str) -> Option<PathBuf> {
        let same = self.other.join(file);
        if same.exists() {
            return Some(same);
        }
        if let Some((inbox, name)) = file.strip_prefix("inbox/").and_then(|file| file.split_once('/')) {
            // Ids of processes are random.
            let mut files = Vec::new();
            files_below(&self.other, "", &mut files);
            let is_one = |other: &&String| {
                other
                    .strip_prefix("inbox/")
                    .and_then(|other| other.split_once('/'))
                    .is_some_and(|(of, at)| of != inbox && at == name)
            };
            return files.iter().find(is_one).map(|other| self.other.join(other));
        }
        let folder = same.parent()?;
        let mut others: Vec<PathBuf> = fs::read_dir(folder).ok()?.map(|entry| entry.unwrap().path()).collect();
        others.sort();
        others.into_iter().find(|path| path.is_file())
    }

    /// Damages a file of a copy; false where that would be nothing.
    fn damage(&self, dir: &Path, file: &str, damage: Damage) -> bool {
        let path = dir.join(file);
        let bytes = fs::read(&path).unwrap();
        let replace = |with: &[u8]| {
            fs::write(&path, with).unwrap();
            with != bytes.as_slice()
        };
        match damage {
            Damage::Removed => fs::remove_file(&path).unwrap(),
            Damage::Emptied => return replace(&[]),
            Damage::Cut => return replace(&bytes[..bytes.len() / 2]),
            Damage::Lengthened => return replace(&[bytes.as_slice(), &[0xab; 100]].concat()),
            Damage::Swapped => {
                let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
                let beside = |other: &&String| {
                    *other != file && other.rsplit_once('/').map_or("", |(folder, _)| folder) == folder
                };
                // The next one, and from the last one the first.
                let at = self.files.iter().position(|other| other == file).unwrap();
                let Some(other) = self.files.iter().cycle().skip(at + 1).take(self.files.len()).find(beside) else {
                    return false;
                };
                let theirs = fs::read(dir.join(other)).unwrap();
                fs::write(dir.join(other), &bytes).unwrap();
                return replace(&theirs);
            }
            Damage::Old => match fs::read(self.old.join(file)) {
                Ok(old) => return replace(&old),
                Err(_) => return false,
            },
            Damage::Foreign => match self.foreign(file) {
                Some(other) => return replace(&fs::read(other).unwrap()),
                None => return false,
            },
            Damage::Pipe => {
                fs::remove_file(&path).unwrap();
                pipe(&path);
            }
            Damage::Link => {
                fs::rename(&path, dir.join("moved")).unwrap();
                symlink(dir.join("moved"), &path).unwrap();
            }
            Damage::LinkToForeign => {
                let Some(other) = self.foreign(file) else { return false };
                fs::remove_file(&path).unwrap();
                symlink(other, &path).unwrap();
            }
            Damage::Folder => {
                fs::remove_file(&path).unwrap();
                fs::create_dir(&path).unwrap();
            }
        }
        true
    }
}

// ---- doors -------------------------------------------------------------------------------------------------------

#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Same,
    Told(String),
    Wrong(String),
}

fn told(error: impl ToString) -> Outcome {
    Outcome::Told(error.to_string())
}

macro_rules! or_told {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(error) => return told(error),
        }
    };
}

impl Sample {
    fn is_right(&self, found: &Answers) -> bool {
        *found == self.answers
    }

    fn wrong(&self, found: &Answers) -> Outcome {
        let lacks: Vec<&String> = self.answers.keys().filter(|key| !found.contains_key(*key)).take(3).collect();
        let more: Vec<&String> = found.keys().filter(|key| !self.answers.contains_key(*key)).take(3).collect();
        Outcome::Wrong(format!("lacks {lacks:?}, has {more:?}, or other points"))
    }

    fn read(&self, dir: &Path) -> Outcome {
        let store = or_told!(LocalStore::options(dir).create(false).read_only(true).open());
        let notes = &store.engine().open_notes().missing;
        let verified = or_told!(store.engine().verify(&VerifyOptions::default()));
        let found = match store.snapshot().and_then(|snapshot| answers(&snapshot)) {
            Ok(found) => found,
            Err(error) if verified.is_sound() && notes.is_empty() => {
                return Outcome::Wrong(format!("sound, and yet: {error}"));
            }
            Err(error) => return told(error),
        };
        if self.is_right(&found) {
            return Outcome::Same;
        }
        match notes.first() {
            Some(missing) => told(missing),
            None => self.wrong(&found),
        }
    }

    fn write(&self, dir: &Path) -> Outcome {
        let store = or_told!(options(dir).create(false).open());
        or_told!(store.merge_inboxes());
        let found = or_told!(store.snapshot().and_then(|snapshot| answers(&snapshot)));
        if !self.is_right(&found) {
            let problems = store.merge_inboxes().unwrap().problems;
            return problems.first().map_or_else(|| self.wrong(&found), told);
        }
        let verified = or_told!(store.verify(&VerifyOptions::default()));
        if let Some(finding) = verified.findings.iter().find(|finding| !finding.path.starts_with("inbox")) {
            return told(finding);
        }
        or_told!(store.close());
        // What a life on top of it leaves is read by the next one.
        let store = or_told!(options(dir).create(false).open());
        let again = or_told!(store.snapshot().and_then(|snapshot| answers(&snapshot)));
        if again == found { Outcome::Same } else { Outcome::Wrong("the next open answers otherwise".into()) }
    }

    fn repair(&self, dir: &Path) -> Outcome {
        let report = or_told!(options(dir).repair());
        let sound = report.verified.findings.is_empty() && report.lost.is_empty();
        match self.read(dir) {
            Outcome::Same => Outcome::Same,
            _ if !sound => told("repaired, and something is still told"),
            Outcome::Told(what) => Outcome::Wrong(format!("repaired and sound, and yet: {what}")),
            wrong => wrong,
        }
    }

    fn share(&self, dir: &Path) -> Outcome {
        let how = LocalStore::options(dir).create(false);
        let shared = or_told!(runlode::Options::from(how).hold());
        let store = or_told!(shared.local());
        let mut found = store.snapshot().and_then(|snapshot| answers(&snapshot));
        // A read that needs a lost file makes the store rebuild it.
        let begun = Instant::now();
        while found.is_err() && begun.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(50));
            found = store.snapshot().and_then(|snapshot| answers(&snapshot));
        }
        let problems = or_told!(store.engine().merge_inboxes()).problems;
        drop(store);
        or_told!(shared.close());
        let found = or_told!(found);
        if self.is_right(&found) {
            return Outcome::Same;
        }
        problems.first().map_or_else(|| self.wrong(&found), told)
    }

    /// Sends the store to one that is empty; once it is whole again the target gets all of it.
    fn send(&self, dir: &Path, target: &Path, file: &str) -> Outcome {
        let shared = Store::options(target).offline(false).open().unwrap().mlflow();
        let pull = |from: &Path| -> Result<(), String> {
            let store = LocalStore::options(from).create(false).read_only(true).open().map_err(|e| e.to_string())?;
            let applied = shared.sync_position(&store.engine().id().to_string()).map_err(|e| e.message)?;
            let target = shared.store_id().map_err(|e| e.message)?.parse().unwrap();
            let mut source =
                Source::new(&store, runlode::Lsn(applied), target).map_err(|e| e.to_string())?.to_published();
            while let Some(chunk) = source.next_chunk().map_err(|e| e.to_string())? {
                let report = shared.sync_apply(&chunk.encode()).map_err(|e| e.message)?;
                if let Some(problem) = report.problems.first() {
                    return Err(problem.what.clone());
                }
            }
            match store.engine().open_notes().missing.first() {
                Some(missing) => Err(missing.to_string()),
                None => Ok(()),
            }
        };
        let content = || {
            let store = shared.local().unwrap();
            answers(&store.snapshot().unwrap()).unwrap()
        };
        let first = pull(dir);
        if first.is_ok() && !file.starts_with("inbox/") && content() != self.without_inbox {
            return Outcome::Wrong("sent without a word, and something is not there".into());
        }
        if let Err(error) = pull(&self.dir) {
            return Outcome::Wrong(format!("whole again, and refused: {error}"));
        }
        let all = content() == self.without_inbox;
        shared.close().unwrap();
        match (all, first) {
            (false, first) => Outcome::Wrong(format!("whole again, and not all came over; before: {first:?}")),
            (true, Ok(())) => Outcome::Same,
            (true, Err(error)) => Outcome::Told(error),
        }
    }

    /// Commands that read; those that succeed say what they say of the whole store.
    fn command(&self, dir: &Path, scratch: &Path, turn: usize, expected: &BTreeMap<String, String>) -> Outcome {
        let run = run_id(1).to_string();
        let into = scratch.join("copy");
        let store = dir.to_str().unwrap();
        let all: [Vec<&str>; 6] = [
            vec!["show", store, &run, "--json"],
            vec!["history", store, &run, "--json"],
            vec!["plot", store, &run, "loss", "--json"],
            vec!["tail", store, "--json"],
            vec!["replay", store, "--into", into.to_str().unwrap(), "--json"],
            vec!["runs", store],
        ];
        let chosen = [vec!["verify", store, "--json"], vec!["runs", store, "--json"], all[turn % all.len()].clone()];
        let mut outcome = Outcome::Same;
        for arguments in chosen {
            let name = arguments[0];
            let Some((code, out, err)) = runlode(&arguments, scratch) else {
                return Outcome::Wrong(format!("`{name}` hangs"));
            };
            if err.contains("panicked") || !(0..=2).contains(&code) {
                return Outcome::Wrong(format!("`{name}` ends with {code}: {err}"));
            }
            if code == 0 {
                let key = format!("{name} {}", arguments.contains(&"--json"));
                if expected.get(&key).is_some_and(|expected| *expected != out) {
                    return Outcome::Wrong(format!("`{name}` says without a word: {out}"));
                }
                continue;
            }
            if out.trim().is_empty() && err.trim().is_empty() {
                return Outcome::Wrong(format!("`{name}` ends with {code} and says nothing"));
            }
            let json = arguments.contains(&"--json") && !out.trim().is_empty();
            let lines = out.lines().map(serde_json::from_str::<Value>);
            if json && name != "tail" && lines.filter(Result::is_err).count() > 0 {
                return Outcome::Wrong(format!("`{name} --json` says what is no JSON: {out}"));
            }
            if code == 1 && json && !out.contains("missing") && !out.contains("problems") {
                return Outcome::Wrong(format!("`{name} --json` does not name it: {out}"));
            }
            outcome = told(format!("{name}: {err}{out}"));
        }
        outcome
    }
}

/// Exit status, standard output, standard error; `None` if it does not end.
fn runlode(arguments: &[&str], scratch: &Path) -> Option<(i32, String, String)> {
    let (out, err) = (scratch.join("out"), scratch.join("err"));
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(AS_COMMAND, "1")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(fs::File::create(&out).unwrap())
        .stderr(fs::File::create(&err).unwrap())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let text = |path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
    Some((status.code().unwrap_or(-1), text(out), text(err)))
}

/// Does it on a thread of its own: a panic, or an answer that does not come, is an outcome too.
fn guarded(work: impl FnOnce() -> Outcome + Send + 'static) -> Outcome {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let outcome = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Outcome::Wrong("a panic".into()));
        let _ = sender.send(outcome);
    });
    receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| Outcome::Wrong("it hangs".into()))
}

fn every_file_of_a_store_is_whole_or_missed() -> Vec<String> {
    // In memory where there is such a place: thousands of syncs of small files.
    let shm = Path::new("/dev/shm");
    let place = if shm.is_dir() { shm.to_path_buf() } else { std::env::temp_dir() };
    let root = tempfile::Builder::new().prefix("runlode-damage-").tempdir_in(place).unwrap();
    let at = |name: &str| root.path().join(name);
    let (dir, old, other) = (at("store"), at("old"), at("other"));
    build(&dir, &old);
    build(&other, &at("other-old"));
    let mut files = Vec::new();
    files_below(&dir, "", &mut files);
    let whole = |kind: &str| files.iter().filter(|file| file.starts_with(kind)).count();
    assert!(whole("log/") >= 4 && whole("series/") >= 3 && whole("inbox/") >= 7, "{files:?}");
    assert!(
        ["FORMAT", "MANIFEST", "LOCK", "index.redb", "search.snap"].iter().all(|name| whole(name) == 1),
        "{files:?}"
    );

    let store = LocalStore::options(&dir).create(false).read_only(true).open().unwrap();
    let all = answers(&store.snapshot().unwrap()).unwrap();
    let verified = store.engine().verify(&VerifyOptions::default()).unwrap();
    assert!(verified.is_sound(), "{:?}", verified.findings);
    drop(store);
    let less = without_inbox(&all);
    assert_ne!(all, less);
    let mut expected = BTreeMap::new();
    let store = dir.to_str().unwrap();
    for arguments in [vec!["runs", store, "--json"], vec!["runs", store]] {
        let (code, out, err) = runlode(&arguments, root.path()).unwrap();
        assert_eq!(code, 0, "{err}");
        expected.insert(format!("{} {}", arguments[0], arguments.contains(&"--json")), out);
    }
    let mut samples = vec![Sample { dir: dir.clone(), old, other, files, answers: all, without_inbox: less }];
    for (name, compacts) in [("compacted", true), ("raw", false)] {
        let (dir, other) = (at(name), at("other"));
        build_to_send(&dir, compacts);
        let mut files = Vec::new();
        files_below(&dir, "", &mut files);
        let store = LocalStore::options(&dir).create(false).read_only(true).open().unwrap();
        let all = answers(&store.snapshot().unwrap()).unwrap();
        samples.push(Sample { dir, old: at("none"), other, files, answers: all.clone(), without_inbox: all });
    }
    let samples: Vec<Arc<Sample>> = samples.into_iter().map(Arc::new).collect();
    let cases: Vec<(usize, String, Damage)> = samples
        .iter()
        .enumerate()
        .flat_map(|(at, sample)| sample.files.iter().map(move |file| (at, file)))
        .flat_map(|(at, file)| DAMAGES.map(|damage| (at, file.clone(), damage)))
        .collect();
    let (next, counts) = (AtomicUsize::new(0), [const { AtomicUsize::new(0) }; 2]);
    let mut failures = Vec::new();
    std::thread::scope(|scope| {
        let work = || {
            let mut failures = Vec::new();
            loop {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                let Some((which, file, damage)) = cases.get(turn) else { return failures };
                let case = root.path().join(format!("case-{turn}"));
                let sample = &samples[*which];
                let outcomes = match which {
                    0 => doors(sample, &case, turn, file, *damage, &expected),
                    _ => sync_door(sample, &case, file, *damage),
                };
                for (door, outcome) in outcomes {
                    match outcome {
                        Outcome::Same => counts[0].fetch_add(1, Ordering::Relaxed),
                        Outcome::Told(_) => counts[1].fetch_add(1, Ordering::Relaxed),
                        Outcome::Wrong(what) => {
                            failures.push(format!("store {which}, {file} {damage:?}, {door}: {what}"));
                            0
                        }
                    };
                }
                fs::remove_dir_all(&case).unwrap_or(());
            }
        };
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        workers.into_iter().for_each(|worker| failures.extend(worker.join().unwrap()));
    });
    println!("{} cases: {counts:?} answered the same, or told", cases.len());
    failures
}

/// What comes of one damage at every door.
fn doors(
    sample: &Arc<Sample>,
    case: &Path,
    turn: usize,
    file: &str,
    damage: Damage,
    expected: &BTreeMap<String, String>,
) -> Vec<(&'static str, Outcome)> {
    let damaged = |name: &str| {
        let dir = case.join(name);
        copy(&sample.dir, &dir);
        // As if it had been made there: a copy of a store in use may lack the end of an inbox.
        engine::note_again(&Disk::new(&dir)).unwrap();
        sample.damage(&dir, file, damage).then_some(dir)
    };
    let mut out = Vec::new();
    let Some(dir) = damaged("read") else {
        return out;
    };
    type Door = fn(&Sample, &Path) -> Outcome;
    let doors: [(&'static str, Door); 4] =
        [("read", Sample::read), ("write", Sample::write), ("repair", Sample::repair), ("shared", Sample::share)];
    for (name, door) in doors {
        let dir = if name == "read" { Some(dir.clone()) } else { damaged(name) };
        let sample = sample.clone();
        if let Some(dir) = dir {
            out.push((name, guarded(move || door(&sample, &dir))));
        }
    }
    out.push(("command", sample.command(&dir, case, turn, expected)));
    out
}

/// What a target gets of a damaged source, and once it is whole again.
fn sync_door(sample: &Arc<Sample>, case: &Path, file: &str, damage: Damage) -> Vec<(&'static str, Outcome)> {
    let dir = case.join("from");
    copy(&sample.dir, &dir);
    if !sample.damage(&dir, file, damage) {
        return Vec::new();
    }
    let (target, sample, name) = (case.join("target"), sample.clone(), file.to_owned());
    vec![("sync", guarded(move || sample.send(&dir, &target, &name)))]
}

/// A machine that reaches no holder logs into a store of its own. Each of its segments is missing during a merge that
/// removes stores, with and without the index, which would vouch for the end.
fn a_merge_never_removes_a_store_that_lacks_a_file() -> Vec<String> {
    const POINTS: i64 = 150_000;
    let root = tempfile::tempdir().unwrap();
    let main = root.path().join("main");
    let shared = Store::options(&main).offline(true).open_apart().unwrap().mlflow();
    let run = shared.create_run(&NewRun { start_time: 1, ..NewRun::default() }).unwrap().info.run_id;
    let logger = shared.logger(&run).unwrap();
    let key = logger.key("loss").unwrap();
    for step in 0..POINTS {
        logger.log_row(step, TimestampMs(step), &[(key, step as f64)], Durability::Buffered).unwrap();
    }
    // It would keep the store open.
    drop(logger);
    let name = shared.status().unwrap().own_store.unwrap().file_name().unwrap().to_owned();
    shared.close().unwrap();
    let log = main.join("inbox").join(&name).join("log");
    let mut segments: Vec<_> = fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    segments.sort();
    assert!(segments.len() >= 3, "{segments:?}");
    let points = |main: &Path| {
        let store = LocalStore::options(main).create(false).read_only(true).open().unwrap();
        let found = store.snapshot().unwrap().stats(run.parse().unwrap(), "loss").unwrap();
        found.map_or(0, |stats| stats.count_raw) as i64
    };
    let mut failures = Vec::new();
    for (segment, with_index) in segments.iter().flat_map(|segment| [(segment, true), (segment, false)]) {
        let main_here = root.path().join("case");
        copy(&main, &main_here);
        let own = main_here.join("inbox").join(&name);
        if !with_index {
            fs::remove_file(own.join("index.redb")).unwrap();
        }
        let (file, kept) = (own.join("log").join(segment), root.path().join("away"));
        fs::rename(&file, &kept).unwrap();
        let merge = || runlode(&["merge", main_here.to_str().unwrap(), "--remove"], root.path()).unwrap();
        let (code, out, err) = merge();
        let is_there = own.join("FORMAT").exists();
        let what = format!("{segment:?}, index {with_index}: {code} {out}{err}");
        // A segment that was never used may be away: then all came over.
        match (code, is_there) {
            (0, false) if points(&main_here) == POINTS => {}
            (1, true) => {
                fs::rename(&kept, &file).unwrap();
                let (code, out, err) = merge();
                if code != 0 || own.exists() || points(&main_here) != POINTS {
                    let points = points(&main_here);
                    failures.push(format!("{what}; back again: {code} {out}{err}, {points} points"));
                }
            }
            _ => failures.push(what),
        }
        fs::remove_dir_all(&main_here).unwrap();
    }
    failures
}

/// A store without an index, read by one that is kept elsewhere: whatever happens to the files there, the answers are
/// those of the store.
fn a_damaged_cache_is_made_again_or_told() -> Vec<String> {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    let (store, other, cache) = (at("store"), at("other"), at("cache"));
    for (dir, compacts) in [(&store, true), (&other, false)] {
        build_to_send(dir, compacts);
        fs::remove_file(dir.join("index.redb")).unwrap();
        Store::options(dir).open_to_read_cached(at("cache").join(dir.file_name().unwrap())).unwrap();
    }
    // Each store has a folder of its id.
    let of = |name: &str| {
        let folder = fs::read_dir(cache.join(name)).unwrap().next().unwrap().unwrap();
        (folder.path(), folder.file_name())
    };
    let ((own, id), (others, _)) = (of("store"), of("other"));
    let read = |cache: &Path| {
        let (reader, cached) = Store::options(&store).open_to_read_cached(cache).map_err(|e| e.to_string())?;
        let found = answers(&reader.snapshot().map_err(|e| e.to_string())?);
        Ok::<_, String>((found.map_err(|e| e.to_string())?, cached))
    };
    let (expected, cached) = read(&cache.join("store")).unwrap();
    assert_eq!(cached, Cached::Used);
    let mut files = Vec::new();
    files_below(&own, "", &mut files);
    assert!(files.iter().any(|file| file.ends_with("index.redb")), "{files:?}");
    let (none, less) = (at("none"), expected.clone());
    let sample =
        Sample { dir: own.clone(), old: none, other: others, files, answers: expected.clone(), without_inbox: less };
    let mut failures = Vec::new();
    let cases = sample.files.iter().flat_map(|file| DAMAGES.map(|damage| (file, damage)));
    for (turn, (file, damage)) in cases.enumerate() {
        let here = at(&format!("case-{turn}"));
        copy(&own, &here.join(&id));
        if sample.damage(&here.join(&id), file, damage) {
            match read(&here) {
                Ok((found, _)) if found != expected => failures.push(format!("{file} {damage:?}: another answer")),
                // What cannot be used is told, or made again.
                Ok(_) | Err(_) => {}
            }
        }
        fs::remove_dir_all(&here).unwrap();
    }
    failures
}

/// Of a process that was killed, each segment, its inbox and all inboxes are away for a while: every command says so, and
/// a merge waits. In a copy the last segment may be away, because it may have been made while the store was copied.
fn an_inbox_is_missed_where_it_lies_and_its_end_not_in_a_copy() -> Vec<String> {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("store");
    build(&dir, &root.path().join("old"));
    let mut files = Vec::new();
    files_below(&dir, "inbox", &mut files);
    let folder = |file: &String| file.rsplit_once('/').unwrap().0.to_owned();
    let of_long = files.iter().find(|file| file.ends_with("00000003.seg")).map(folder).unwrap();
    let mut taken: Vec<String> = files.into_iter().filter(|file| file.starts_with(&of_long)).collect();
    taken.retain(|file| file.ends_with(".seg"));
    let last = taken.last().unwrap().clone();
    taken.extend([of_long, "inbox".to_owned()]);
    let dir_text = |dir: &Path| dir.to_str().unwrap().to_owned();
    let ask = |dir: &Path, name: &str| runlode(&[name, &dir_text(dir), "--json"], root.path()).unwrap();
    let points = |dir: &Path| {
        let store = LocalStore::options(dir).create(false).read_only(true).open().unwrap();
        let stats = store.snapshot().unwrap().stats(run_id(2), "inbox long").unwrap();
        stats.map_or(0, |stats| stats.count_raw)
    };
    let all = points(&dir);
    let mut failures = Vec::new();
    let away = root.path().join("away");
    for file in &taken {
        fs::rename(dir.join(file), &away).unwrap();
        for name in ["verify", "runs"] {
            let (code, out, err) = ask(&dir, name);
            if code != 1 || !out.contains("inbox") {
                failures.push(format!("`{name}` without {file}: {code} {out}{err}"));
            }
        }
        // A holder merges what comes before, and nothing after.
        let here = root.path().join("here");
        copy(&dir, &here);
        engine::note_again(&Disk::new(&here)).unwrap();
        let store = options(&here).create(false).open().unwrap();
        let problems = store.merge_inboxes().unwrap().problems;
        store.close().unwrap();
        if problems.is_empty() {
            failures.push(format!("a holder misses nothing without {file}"));
        }
        if file != "inbox" && !file.ends_with(".seg") {
            // The whole inbox comes back.
            copy(&away, &here.join(file));
        } else if file != "inbox" {
            fs::copy(&away, here.join(file)).unwrap();
        }
        let back = || {
            let store = options(&here).create(false).open().unwrap();
            let problems = store.merge_inboxes().unwrap().problems;
            store.close().unwrap();
            problems
        };
        if file != "inbox" && (!back().is_empty() || points(&here) != all || ask(&here, "verify").0 != 0) {
            failures.push(format!("{file} is back, and there are {} of {all} points", points(&here)));
        }
        fs::remove_dir_all(&here).unwrap();
        fs::rename(&away, dir.join(file)).unwrap();
        let (code, out, _) = ask(&dir, "verify");
        if code != 0 || points(&dir) != all {
            failures.push(format!("{file} is back: {code} {out}"));
        }
        // A copy that was made without it.
        if file.ends_with(".seg") {
            copy(&dir, &here);
            fs::remove_file(here.join(file)).unwrap();
            let (code, out, err) = ask(&here, "verify");
            if code != i32::from(*file != last) {
                failures.push(format!("a copy without {file}: {code} {out}{err}"));
            }
            fs::remove_dir_all(&here).unwrap();
        }
    }
    failures
}
