//! Unusual surroundings of a store: a limit on the size of files, a store of another user, pipes and links in the place
//! of its files.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use runlode::mlflow::ErrorCode;
use runlode_engine::InboxWriter;
use runlode_engine::event::RunTagsSet;
use runlode_engine::point::Point;
use runlode_engine::{
    Batch, CompactOptions, Durability, Error, ExperimentId, HistoryQuery, Options, RunId, Store, SystemClock,
    TimestampMs, VerifyOptions,
};
use runlode_tests::create;

const RUN: RunId = RunId([1; 16]);
const WORK: &str = "RUNLODE_LIMITS_WORK";

fn create(store: &Store) {
    let experiment = ExperimentId(1);
    let batch = Batch::new().event(create::experiment(experiment, "limits")).event(create::run(RUN, experiment));
    store.append(batch, Durability::Sync).unwrap();
}

fn log(store: &Store, step: i64) -> Result<(), Error> {
    let value = f64::from_bits((step as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2);
    let row: Vec<_> = (0..50).map(|key| (store.metric_key(&format!("m{key}")).unwrap(), value)).collect();
    store.run(RUN)?.log_row(step, TimestampMs(step), &row, Durability::Buffered).map(drop)
}

fn count(store: &Store) -> usize {
    store.snapshot().unwrap().history(RUN, "m0", &HistoryQuery::default()).unwrap().columns.len()
}

/// Does something on a thread of its own; a hang is a failure, not a test that never ends.
fn soon<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("{what} hangs"))
}

/// The part of the next test that runs with a limit.
fn log_until_refused(dir: &Path) {
    for mmap in [true, false] {
        let dir = dir.join(mmap.to_string());
        let options = || Store::options(&dir).mmap(mmap).segment_bytes(256 << 10, 64 << 20);
        let store = options().open().unwrap();
        create(&store);
        // The log goes on in segments that are short enough; index and series files are not.
        let mut logged = 0;
        while logged < 6_000 && log(&store, logged as i64).is_ok() {
            logged += 1;
        }
        // This needs a segment that is too long.
        let tags = (0..5).map(|tag| (format!("t{tag}"), "x".repeat(900_000))).collect();
        let batch = Batch::new().event(RunTagsSet { run: RUN, tags });
        let refused = store.append(batch, Durability::Sync).unwrap_err();
        assert!(refused.is_full(), "{refused}");
        assert_eq!(count(&store), logged);
        // An inbox of another process: its second or third segment is too long.
        let writer = InboxWriter::create(&dir, store.id(), std::sync::Arc::new(SystemClock::default())).unwrap();
        let key = writer.metric_key("other").unwrap();
        let point = |step: i64| Point { step, time: TimestampMs(step), value: step as f64 };
        let refused =
            (0..10_000_000).find_map(|step| writer.log_point(RUN, key, point(step), Durability::Buffered).err());
        assert!(refused.is_some_and(|error| error.is_full()));
        // Whether there is room for its last checkpoint is another matter.
        let _ = store.close();
        let store = options().open().unwrap();
        assert_eq!(count(&store), logged);
    }
}

#[test]
fn a_limit_on_file_sizes_is_a_full_disk() {
    if let Some(dir) = std::env::var_os(WORK) {
        return log_until_refused(&PathBuf::from(dir));
    }
    let dir = tempfile::tempdir().unwrap();
    // By 512 or 1,024 bytes, as the shell likes.
    let script = "ulimit -f 2048; exec \"$0\" --exact a_limit_on_file_sizes_is_a_full_disk --nocapture";
    let mut limited = Command::new("sh");
    limited.arg("-c").arg(script).arg(std::env::current_exe().unwrap()).env(WORK, dir.path());
    let output = limited.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {told}", output.status);
    for mmap in ["true", "false"] {
        let store = Store::open(dir.path().join(mmap)).unwrap();
        assert!(store.verify(&VerifyOptions::default()).unwrap().is_sound());
        log(&store, 1 << 40).unwrap();
    }
}

/// Owner, group and mode of all below a folder.
fn belongings(dir: &Path, out: &mut BTreeMap<PathBuf, (u32, u32, u32)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let found = std::fs::symlink_metadata(&path).unwrap();
        out.insert(path.clone(), (found.uid(), found.gid(), found.mode() & 0o7777));
        if found.is_dir() {
            belongings(&path, out);
        }
    }
}

#[test]
fn what_root_does_in_a_users_store_leaves_nothing_of_roots() {
    // Files that this process makes are its own.
    let dir = tempfile::tempdir().unwrap();
    if std::fs::metadata(dir.path()).unwrap().uid() != 0 {
        println!("skipped: only root can do this");
        return;
    }
    for mode in [0o700, 0o755, 0o2770] {
        let path = dir.path().join(format!("{mode:o}"));
        std::fs::create_dir(&path).unwrap();
        chown(&path, Some(4_321), Some(8_765)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let shared = runlode::Store::open(&path).unwrap();
        let store = shared.local().unwrap();
        create(store.engine());
        for step in 0..2_000 {
            log(store.engine(), step).unwrap();
        }
        let writer = InboxWriter::create(&path, store.engine().id(), std::sync::Arc::new(SystemClock::default()));
        let writer = writer.unwrap();
        let key = writer.metric_key("other").unwrap();
        let point = Point { step: 1, time: TimestampMs(1), value: 1.0 };
        writer.log_point(RUN, key, point, Durability::Sync).unwrap();
        store.engine().flush().unwrap();
        store.engine().seal().unwrap();
        let check = |when: &str| {
            let mut found = BTreeMap::new();
            belongings(&path, &mut found);
            assert!(found.len() > 5, "{when}: {found:?}");
            for (path, (uid, gid, of_file)) in found {
                assert_eq!((uid, gid), (4_321, 8_765), "{when}: {}", path.display());
                let more = of_file & !mode & 0o777;
                assert_eq!(more, 0, "{when}: {} has mode {of_file:o} in {mode:o}", path.display());
            }
        };
        check("while it is open");
        drop(writer);
        store.engine().merge_inboxes().unwrap();
        store.engine().compact(&CompactOptions::default()).unwrap();
        check("compacted");
        drop(store);
        shared.close().unwrap();
        check("closed");
    }
}

fn options(dir: &Path, read_only: bool) -> Options {
    Store::options(dir).background(false).read_only(read_only).create(false)
}

/// What an open and a look at everything say: `Err` has no `Store` in it, which would hold the lock.
fn look(dir: &Path, read_only: bool) -> Result<usize, Error> {
    let store = options(dir, read_only).open()?;
    let history = store.snapshot()?.history(RUN, "m0", &HistoryQuery::default())?;
    Ok(history.columns.len())
}

#[test]
fn pipes_and_links_in_the_place_of_files_are_named_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let original = dir.path().join("store");
    let store = options(&original, false).create(true).open().unwrap();
    create(&store);
    for step in 0..100 {
        log(&store, step).unwrap();
    }
    store.flush().unwrap();
    drop(store);
    let victim = dir.path().join("victim");
    std::fs::write(&victim, b"precious").unwrap();
    let mut files = BTreeMap::new();
    belongings(&original, &mut files);
    let files: Vec<PathBuf> = files.into_keys().map(|path| path.strip_prefix(&original).unwrap().into()).collect();
    assert!(["LOCK", "FORMAT", "MANIFEST"].iter().all(|name| files.contains(&PathBuf::from(name))), "{files:?}");
    for name in &files {
        for kind in ["pipe", "link"] {
            let copy = dir.path().join("copy");
            let _ = std::fs::remove_dir_all(&copy);
            let copied = Command::new("cp").arg("-a").arg(&original).arg(&copy).status().unwrap();
            assert!(copied.success());
            let place = copy.join(name);
            if place.is_dir() {
                std::fs::remove_dir_all(&place).unwrap();
            } else {
                std::fs::remove_file(&place).unwrap();
            }
            match kind {
                "pipe" => assert!(Command::new("mkfifo").arg(&place).status().unwrap().success()),
                _ => symlink(&victim, &place).unwrap(),
            }
            for read_only in [true, false] {
                let what = format!("{} is a {kind}, read only: {read_only}", name.display());
                let (copy, of_call) = (copy.clone(), what.clone());
                match soon(&what, move || look(&copy, read_only)) {
                    // A derived file, rebuilt; or one that this open does not need.
                    Ok(found) => assert_eq!(found, 100, "{what}"),
                    Err(Error::NotAFile { path, .. }) => assert!(path.ends_with(name), "{what}: {}", path.display()),
                    Err(error) => {
                        assert!(error.to_string().contains(&name.display().to_string()), "{of_call}: {error}")
                    }
                }
                assert_eq!(std::fs::read(&victim).unwrap(), b"precious", "{what}");
            }
        }
    }
}

#[test]
fn a_sparse_segment_of_any_length_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = options(&path, false).create(true).open().unwrap();
    create(&store);
    log(&store, 1).unwrap();
    drop(store);
    for name in ["log/00000001.seg", "MANIFEST", "FORMAT"] {
        let file = std::fs::OpenOptions::new().write(true).open(path.join(name)).unwrap();
        let len = file.metadata().unwrap().len();
        file.set_len(1 << 40).unwrap();
        for read_only in [true, false] {
            let path = path.clone();
            let error = soon(name, move || look(&path, read_only)).unwrap_err();
            assert!(error.to_string().contains(name) && error.to_string().contains("1099511627776"), "{name}: {error}");
        }
        file.set_len(len).unwrap();
        assert_eq!(look(&path, true).unwrap(), 1);
    }
}

/// A small file system; unmounted with its test.
struct Mounted(PathBuf);

impl Mounted {
    /// `None`: this process may not mount.
    fn tmpfs(at: PathBuf, size: &str) -> Option<Self> {
        std::fs::create_dir(&at).unwrap();
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&at).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(at))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_read_that_would_come_short_says_that_the_disk_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::tmpfs(dir.path().join("small"), "4m") else {
        println!("skipped: only root can mount a small file system");
        return;
    };
    let path = mounted.0.join("store");
    let shared = runlode::Store::open(&path).unwrap().mlflow();
    let store = shared.local().unwrap();
    create(store.engine());
    let writer = InboxWriter::create(&path, store.engine().id(), std::sync::Arc::new(SystemClock::default())).unwrap();
    let key = writer.metric_key("other").unwrap();
    let point = |step: i64| Point { step, time: TimestampMs(step), value: step as f64 };
    writer.log_point(RUN, key, point(0), Durability::Buffered).unwrap();
    let run = RUN.to_string();
    assert_eq!(shared.metric_history(&run, "other", None, None).unwrap().0.steps, [0]);
    // The disk, then the segments that are prepared in it: first by large rows, then to the last byte.
    let filler = mounted.0.join("filler");
    let mut bytes = std::fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut bytes, &[1; 4096]).is_ok() {}
    let mut logged = 0;
    while log(store.engine(), logged).is_ok() {
        logged += 1;
    }
    let (own, handle) = (store.engine().metric_key("own").unwrap(), store.engine().run(RUN).unwrap());
    while handle.log_row(logged, TimestampMs(1), &[(own, 0.5)], Durability::Buffered).is_ok() {
        logged += 1;
    }
    for step in 1..300 {
        writer.log_point(RUN, key, point(step), Durability::Buffered).unwrap();
    }
    let reader = store.clone();
    let refused = soon("a read", move || reader.snapshot().map(drop)).unwrap_err();
    assert!(refused.is_full(), "{refused}");
    let reader = shared.clone();
    let refused = soon("a history", move || reader.metric_history(&RUN.to_string(), "other", None, None).map(drop));
    assert_eq!(refused.unwrap_err().code, ErrorCode::ResourceExhausted);
    shared.run_info(&run).unwrap();
    std::fs::remove_file(&filler).unwrap();
    drop(bytes);
    let reader = shared.clone();
    let steps = soon("a history once there is space", move || {
        loop {
            match reader.metric_history(&RUN.to_string(), "other", None, None) {
                Ok(history) => break history.0.steps,
                Err(error) => assert_eq!(error.code, ErrorCode::ResourceExhausted, "{error}"),
            }
        }
    });
    assert_eq!(steps, (0..300).collect::<Vec<_>>());
    drop((handle, store, writer));
    shared.close().unwrap();
}
