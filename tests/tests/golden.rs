//! Files of each format version, written once and opened for ever: `tests/golden/README.md` says how they were made.
//!
//! - Their answers never change, whatever is built on top.
//! - What this build writes for the same work is the same, byte for byte, in FORMAT, MANIFEST and the log: a changed
//!   byte is a changed format, and needs a version of its own.
//! - Frames, sections and payloads are pinned in hex beside the text that describes them.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runlode_engine::entity::EntityKey;
use runlode_engine::event::batch::{
    Definition, Merged, NoteKind, Origin, SectionKind, StoreNote, put_definition, put_section,
};
use runlode_engine::event::payload::{Decoded, encode};
use runlode_engine::event::section::{put_row, put_series};
use runlode_engine::event::*;
use runlode_engine::log::frame::HeadCrc;
use runlode_engine::log::{FrameHeader, FrameKind};
use runlode_engine::point::Point;
use runlode_engine::search::filter::{metric, param, tag};
use runlode_engine::search::saved::{SNAP_PATH, SnapFile};
use runlode_engine::search::{SearchQuery, View};
use runlode_engine::storage::disk::Disk;
use runlode_engine::storage::memory::Memory;
use runlode_engine::storage::{OpenMode, Storage, read_exact_at, write_all_at};
use runlode_engine::{
    Batch, ColumnSet, ContextId, Durability, ExperimentId, HistoryQuery, InboxWriter, KeyId, KeyedPoint, LookUp, Lsn,
    ManualClock, MetricContext, ModelId, Options, RegisteredModelId, RunId, SeriesId, Store, StoreId, TimestampMs,
    VerifyOptions, WriterId,
};

const RUN: RunId = RunId([0x11; 16]);
const GONE: RunId = RunId([0x22; 16]);
const MODEL: ModelId = ModelId([0x33; 16]);
const REGISTERED: RegisteredModelId = RegisteredModelId(4);

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/v1")
}

/// The same work in segments of version 2.
fn golden_2() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/v2")
}

fn options(dir: &Path) -> Options {
    let clock = Arc::new(ManualClock::at(TimestampMs(1_700_000_000_000)));
    Store::options(dir).background(false).mmap(false).seed(1).clock(clock).segment_bytes(8 << 10, 16 << 10)
}

fn pairs(all: &[(&str, &str)]) -> Vec<KeyValue> {
    all.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

/// The work whose files are kept. Never change it: add another version beside it.
fn make(dir: &Path) {
    let store = options(dir).open().unwrap();
    let experiment = ExperimentId(1);
    let run = |run: RunId, name: &str| RunCreated {
        run,
        experiment,
        name: name.into(),
        user_id: "ann".into(),
        status: RunStatus::Running,
        start_time_ms: 1_700_000_000_000,
        artifact_location: None,
        tags: pairs(&[("mlflow.source.name", "train.py")]),
    };
    let first = Batch::new()
        .event(ExperimentCreated {
            experiment,
            name: "digits".into(),
            artifact_location: Some("s3://bucket/digits".into()),
            creation_time_ms: 1,
            last_update_time_ms: 2,
            tags: pairs(&[("team", "vision")]),
        })
        .event(run(RUN, "trial-17"))
        .event(ParamsLogged { run: RUN, params: pairs(&[("lr", "0.1"), ("größe", "3")]) })
        .event(run(GONE, "gone"))
        .actor("ann")
        .idempotency_key(b"golden-1");
    store.append(first, Durability::Sync).unwrap();
    let point = |step: i64, value: f64| Point { step, time: TimestampMs(1_000 + step.clamp(0, 5_000)), value };
    let context = MetricContext {
        model_id: Some(MODEL.to_string()),
        dataset_name: Some("train".into()),
        dataset_digest: Some("d1".into()),
        ..MetricContext::default()
    };
    let mut odd = Batch::new();
    for (step, value) in [
        (i64::MIN, -0.0),
        (i64::MAX, f64::NAN),
        (5, f64::INFINITY),
        (5, f64::NEG_INFINITY),
        (3, f64::from_bits(0x7ff8_0000_dead_beef)),
        (3, 0.1),
        (3, 0.1),
    ] {
        odd.push_metric(RUN, "odd", point(step, value), None);
    }
    let odd = odd.metric(RUN, "with context", point(0, 2.5), Some(context));
    // Version 1 was begun when late points were not looked up.
    store.append(odd.look_up(LookUp::Nothing), Durability::Sync).unwrap();
    let (loss, lr) = (store.metric_key("loss").unwrap(), store.metric_key("lr").unwrap());
    let handle = store.run(RUN).unwrap();
    for step in 0..400 {
        let value = f64::from((1.0 / f32::from(step as i16 + 1)).sqrt());
        handle.log_row(step, point(step, 0.0).time, &[(loss, value), (lr, 0.001)], Durability::Buffered).unwrap();
    }
    store.flush().unwrap();
    store.seal().unwrap();
    let version = |version: u32| ModelVersionCreated {
        model: REGISTERED,
        version,
        source: "models:/m".into(),
        storage_location: None,
        run_id: Some(RUN.to_string()),
        run_link: None,
        model_id: Some(MODEL.to_string()),
        user_id: None,
        description: Some("first".into()),
        stage: Stage::None,
        status: VersionStatus::Ready,
        status_message: None,
        creation_time_ms: 5,
        last_updated_time_ms: 5,
        tags: vec![],
    };
    let second = Batch::new()
        .event(LoggedModelCreated {
            model: MODEL,
            experiment,
            name: "forest".into(),
            model_type: "sklearn".into(),
            source_run: RUN.to_string(),
            artifact_location: None,
            status: LoggedModelStatus::Ready,
            status_message: None,
            creation_time_ms: 3,
            last_updated_time_ms: 3,
            params: pairs(&[("trees", "10")]),
            tags: vec![],
        })
        .event(RegisteredModelCreated {
            model: REGISTERED,
            name: "classifier".into(),
            description: None,
            creation_time_ms: 4,
            last_updated_time_ms: 4,
            tags: vec![],
        })
        .event(version(1))
        .event(version(2))
        .event(AliasSet { model: REGISTERED, alias: "champion".into(), version: 2 })
        .event(ModelVersionStageChanged { model: REGISTERED, version: 1, stage: Stage::Archived, at_ms: 6 })
        .event(RunUpdated { run: RUN, status: Some(RunStatus::Finished), end_time_ms: Some(9), name: None })
        .event(RunDeleted { run: GONE, at_ms: 7 });
    store.append(second, Durability::Sync).unwrap();
    handle.log_point(loss, point(400, 0.25), Durability::Sync).unwrap();
    store.close().unwrap();
}

/// What is asked, in words that do not depend on how states are printed.
fn answers(store: &Store) -> String {
    let snapshot = store.snapshot().unwrap();
    let mut out = String::new();
    let mut say = |line: String| writeln!(out, "{line}").unwrap();
    for (id, e) in snapshot.experiments().unwrap() {
        let place = e.artifact_location.as_deref().unwrap_or("-");
        say(format!(
            "experiment {id} {} {place} {} {} {:?}",
            e.name, e.creation_time_ms, e.last_update_time_ms, e.tags
        ));
        for id in snapshot.runs_of(id).unwrap() {
            let run = snapshot.run(id).unwrap().unwrap();
            let status: &str = run.status.into();
            let lifecycle = runlode_engine::search::lifecycle_text(snapshot.lifecycle(&run).unwrap());
            say(format!("run {id} {} {} {status} {lifecycle} {}", run.name, run.user_id, run.start_time_ms));
            say(format!("  end {:?}, params {:?}, tags {:?}", run.end_time_ms, run.params, run.tags));
            for (key, stats) in snapshot.latest(id).unwrap() {
                let query = HistoryQuery { columns: ColumnSet::ALL, ..HistoryQuery::default() };
                let columns = snapshot.history(id, &key, &query).unwrap().columns;
                let (raw, exact) = (stats.count_raw, snapshot.count_exact(id, &key).unwrap());
                let last = stats.last();
                say(format!(
                    "  {key}: {raw} logged, {exact} once, last {} @{} {:x}",
                    last.step,
                    last.time,
                    last.value.to_bits()
                ));
                for i in (0..columns.len()).filter(|i| columns.len() < 20 || i % 50 == 0 || i + 1 == columns.len()) {
                    let point = columns.point(i);
                    let context = columns.context(i);
                    let context = (context.0 != 0).then(|| snapshot.metric_context(context).unwrap());
                    let context = context.map_or(String::new(), |c| format!(" {:?} {:?}", c.model_id, c.dataset_name));
                    let (step, bits, lsn) = (point.step, point.value.to_bits(), columns.lsns[i]);
                    say(format!("    {step} @{} {bits:x} in batch {lsn}{context}", point.time));
                }
            }
            for record in snapshot.events(&EntityKey::Run(id)).unwrap() {
                let Decoded::Known(event) = record.event else { panic!("an event of version 1 is unknown") };
                say(format!("  {}.{} @{} {:?} {}", record.lsn, record.index, record.time, record.actor, event.name()));
            }
        }
    }
    let model = snapshot.logged_model(MODEL).unwrap().unwrap();
    say(format!("logged model {} {} {} {:?}", model.name, model.model_type, model.source_run, model.params));
    for (id, model) in snapshot.registered_models().unwrap() {
        say(format!("registered {} {} {:?} {:?}", id.0, model.name, model.versions, model.aliases));
        for number in &model.versions {
            let version = snapshot.model_version(id, *number).unwrap().unwrap();
            let stage: &str = version.stage.into();
            say(format!("  {number} {} {:?} {stage} {:?}", version.source, version.run_id, version.description));
        }
    }
    out
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Only by hand: `RUNLODE_GOLDEN_WRITE=1 cargo test -p runlode-tests --test golden write`.
#[test]
fn write_the_golden_files() {
    if std::env::var("RUNLODE_GOLDEN_WRITE").is_err() {
        return;
    }
    let (store, left) = (golden_2().join("store"), golden_2().join("left"));
    assert!(!store.exists(), "{} is there; golden files are never replaced", store.display());
    make(&store);
    make_left(&left);
    // Derived, and taken: not part of the golden stores.
    for name in ["index.redb", "LOCK"] {
        std::fs::remove_file(store.join(name)).unwrap();
        std::fs::remove_file(left.join(name)).unwrap();
    }
}

/// A store that was killed just after its log went on in the second segment. Never change it.
fn make_left(dir: &Path) {
    let store = options(dir).open().unwrap();
    let created = |number: u64| ExperimentCreated {
        experiment: ExperimentId(number),
        name: format!("experiment {number}"),
        artifact_location: None,
        creation_time_ms: 1,
        last_update_time_ms: 2,
        tags: pairs(&[("text", &"x".repeat(100))]),
    };
    for number in 1.. {
        store.append(Batch::new().event(created(number)), Durability::Sync).unwrap();
        if dir.join("log/00000002.seg").exists() {
            break;
        }
    }
}

#[test]
fn a_left_segment_is_read_and_written_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    make_left(dir.path());
    let golden = golden_2().join("left");
    for name in ["log/00000001.seg", "log/00000002.seg"] {
        assert!(std::fs::read(dir.path().join(name)).unwrap() == std::fs::read(golden.join(name)).unwrap(), "{name}");
    }
    let first = std::fs::read(golden.join("log/00000001.seg")).unwrap();
    assert_eq!(first.windows(16).filter(|bytes| *bytes == b"RUNLODE SEG LEFT").count(), 1);
    // Opened from what was written then.
    let copied = tempfile::tempdir().unwrap();
    copy(&golden, copied.path());
    let store = options(copied.path()).open().unwrap();
    let experiments = store.snapshot().unwrap().experiments().unwrap();
    let names: Vec<String> = experiments.iter().map(|(_, experiment)| experiment.name.to_string()).collect();
    assert!(names.len() > 20 && names.last().unwrap() == &format!("experiment {}", names.len()), "{names:?}");
    assert!(store.verify(&VerifyOptions::default()).unwrap().is_sound());
    store.close().unwrap();
    // Its end may not be missing: the mark says that the second one was used.
    let copied = tempfile::tempdir().unwrap();
    copy(&golden, copied.path());
    std::fs::remove_file(copied.path().join("log/00000002.seg")).unwrap();
    assert!(matches!(options(copied.path()).open(), Err(runlode_engine::Error::MissingFile { .. })));
}

#[test]
fn version_1_is_read_as_it_was_written() {
    is_read_as_it_was_written(&golden());
}

#[test]
fn version_2_is_read_as_it_was_written() {
    is_read_as_it_was_written(&golden_2());
}

fn is_read_as_it_was_written(version: &Path) {
    let expected = std::fs::read_to_string(golden().join("answers.txt")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    copy(&version.join("store"), dir.path());
    let read_only = Store::options(dir.path()).read_only(true).open().unwrap();
    assert_eq!(answers(&read_only), expected);
    drop(read_only);
    // The index is rebuilt from the log, and again by a second open.
    for _ in 0..2 {
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(answers(&store), expected);
        let findings = store.verify(&VerifyOptions::default()).unwrap().findings;
        assert!(findings.is_empty(), "{findings:?}");
        store.close().unwrap();
    }
}

#[test]
fn this_build_writes_version_2_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("store");
    make(&made);
    let mut files = vec!["FORMAT".to_owned(), "MANIFEST".to_owned()];
    for entry in std::fs::read_dir(golden_2().join("store/log")).unwrap() {
        files.push(format!("log/{}", entry.unwrap().file_name().to_str().unwrap()));
    }
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        let (new, old) =
            (std::fs::read(made.join(&file)).unwrap(), std::fs::read(golden_2().join("store").join(&file)).unwrap());
        let differs = (0..new.len().max(old.len())).find(|i| new.get(*i) != old.get(*i));
        assert_eq!(differs, None, "{file} differs at this byte ({} bytes, {} before)", new.len(), old.len());
    }
}

/// `search.snap` of the golden work, as this build writes it.
/// Searches in the order of start times use columns once they have looked at so many runs without them.
const WALKED_RUNS: usize = 16_384;

fn search_snap(dir: &Path) -> Vec<u8> {
    make(dir);
    let store = options(dir).search_snap_runs_min(1).open().unwrap();
    for _ in 0..=WALKED_RUNS {
        assert_eq!(search(&store), [RUN]);
    }
    store.close().unwrap();
    std::fs::read(dir.join(SNAP_PATH)).unwrap()
}

fn search(store: &Store) -> Vec<RunId> {
    let filter = metric("loss").le(0.25) & param("lr").eq("0.1") & tag("mlflow.source.name").like("train%");
    let query = SearchQuery { filter: Some(filter), view: View::All, ..SearchQuery::new(ExperimentId(1)) };
    store.snapshot().unwrap().search(&query).unwrap().runs
}

/// The file of builds that keep the rows by start time; [`SNAP_PATH`] is that of earlier ones, by creation.
const SNAP_BY_START_PATH: &str = "search-by-start.snap";

#[test]
fn search_snap_of_version_1_is_written_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let written = search_snap(dir.path());
    let path = golden().join(SNAP_BY_START_PATH);
    if std::env::var("RUNLODE_GOLDEN_WRITE").is_ok() && !path.exists() {
        std::fs::write(&path, &written).unwrap();
    }
    let golden = std::fs::read(path).unwrap();
    assert!(written == golden, "{} bytes, {} before", written.len(), golden.len());
}

#[test]
fn search_snap_of_version_1_is_read_in_either_order_of_rows() {
    let dir = tempfile::tempdir().unwrap();
    search_snap(dir.path());
    for name in [SNAP_PATH, SNAP_BY_START_PATH] {
        std::fs::copy(golden().join(name), dir.path().join(SNAP_PATH)).unwrap();
        let store = options(dir.path()).search_snap_runs_min(1).open().unwrap();
        let file = SnapFile::open(&Disk::read_only(dir.path()), store.id()).unwrap().unwrap();
        let [part] = file.parts() else { panic!("{:?}", file.parts()) };
        assert_eq!((part.experiment, file.load(part).unwrap().len()), (ExperimentId(1), 2));
        for _ in 0..=WALKED_RUNS {
            assert_eq!(search(&store), [RUN]);
        }
        store.close().unwrap();
    }
}

/// The id of the golden inbox's writer.
const WRITER: WriterId = WriterId([0x55; 16]);

/// A store in memory that knows the run of the golden inbox.
fn store_for_inbox() -> (Arc<dyn Storage>, Store) {
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let clock = Arc::new(ManualClock::at(TimestampMs(1_700_000_000_000)));
    let store =
        Store::options("unused").storage(storage.clone()).background(false).seed(1).clock(clock).open().unwrap();
    let experiment = ExperimentId(1);
    let batch = Batch::new()
        .event(ExperimentCreated {
            experiment,
            name: "digits".into(),
            artifact_location: None,
            creation_time_ms: 1,
            last_update_time_ms: 1,
            tags: vec![],
        })
        .event(RunCreated {
            run: RUN,
            experiment,
            name: "first".into(),
            user_id: "ann".into(),
            status: RunStatus::Running,
            start_time_ms: 1,
            artifact_location: None,
            tags: vec![],
        });
    store.append(batch, Durability::Sync).unwrap();
    (storage, store)
}

fn inbox_path() -> String {
    format!("inbox/{WRITER}/00000001.seg")
}

/// The one segment of an inbox as this build writes it, up to the end of its frames.
fn inbox_segment() -> Vec<u8> {
    let (storage, store) = store_for_inbox();
    let clock = Arc::new(ManualClock::at(TimestampMs(1_700_000_000_500)));
    let writer = InboxWriter::create_on(storage.clone(), store.id(), WRITER, clock.clone()).unwrap();
    let keys = ["loss", "lr", "acc"].map(|name| writer.metric_key(name).unwrap());
    let at = |step: i64, value: f64| Point { step, time: TimestampMs(1_700_000_000_000 + step), value };
    writer.log_point(RUN, keys[0], at(1, 0.5), Durability::Buffered).unwrap();
    clock.advance_ms(10);
    let row = [(keys[0], 0.25), (keys[1], 0.1)];
    writer.log_row(RUN, 2, TimestampMs(1_700_000_000_002), &row, Durability::Sync).unwrap();
    let points: Vec<_> = (3..20).map(|step| KeyedPoint { key: keys[2], point: at(step, step as f64) }).collect();
    writer.log_points(RUN, &points, Durability::Buffered).unwrap();
    writer.close().unwrap();
    let file = storage.open(&inbox_path(), OpenMode::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    read_exact_at(&*file, &mut bytes, 0).unwrap();
    bytes.truncate(u64::from_le_bytes(bytes[64..72].try_into().unwrap()) as usize);
    bytes
}

#[test]
fn inboxes_of_version_1_are_read_and_written_byte_for_byte() {
    let written = inbox_segment();
    let path = golden().join("inbox.seg");
    if std::env::var("RUNLODE_GOLDEN_WRITE").is_ok() && !path.exists() {
        std::fs::write(&path, &written).unwrap();
    }
    let golden_bytes = std::fs::read(path).unwrap();
    assert!(written == golden_bytes, "{} bytes, {} before", written.len(), golden_bytes.len());

    let (storage, store) = store_for_inbox();
    storage.create_dir(&format!("inbox/{WRITER}")).unwrap();
    let file = storage.open(&inbox_path(), OpenMode::CreateNew).unwrap();
    write_all_at(&*file, &golden_bytes, 0).unwrap();
    let report = store.merge_inboxes().unwrap();
    assert_eq!((report.points_count, report.frames_count, report.problems.len()), (20, 3, 0));
    assert_eq!(store.applied_number(WRITER).unwrap(), 3);
    let snapshot = store.snapshot().unwrap();
    let values = |key: &str| snapshot.history(RUN, key, &HistoryQuery::default()).unwrap().columns.values;
    assert_eq!((values("loss"), values("lr")), (vec![0.5, 0.25], vec![0.1]));
    assert_eq!(values("acc"), (3..20).map(f64::from).collect::<Vec<_>>());

    let merged = Merged {
        writer: WRITER,
        first: 1,
        last: 300,
        time_first: TimestampMs(1_700_000_000_500),
        time_last: TimestampMs(1_700_000_000_510),
    };
    let mut bytes = Vec::new();
    Origin { merged: Some(merged), ..Origin::default() }.put(&mut bytes);
    // No actor, no key, no request; then 299 more numbers and 10 ms more.
    let pin = format!("0101000024000000{}{}01ab02e8a7abfef96214", "00".repeat(10), "55".repeat(16));
    assert_eq!(hex(&bytes), pin);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Structure by structure, in the order of `golden/v1/pins.txt`.
fn pins() -> String {
    let mut out = String::new();
    let header = FrameHeader {
        len_bytes: 100,
        lsn: Lsn(0x0102_0304_0506),
        time: TimestampMs(1_700_000_000_000),
        payload_crc: 0xdead_beef,
        kind: FrameKind::Batch,
        unsynced: 5,
    };
    writeln!(out, "frame header {}", hex(&header.encode(&HeadCrc::new(StoreId([7; 16]))))).unwrap();
    let mut section = |name: &str, kind: SectionKind, body: &dyn Fn(&mut Vec<u8>) -> u8| {
        let mut bytes = Vec::new();
        put_section(&mut bytes, kind, |out| body(out));
        writeln!(out, "{name} {}", hex(&bytes)).unwrap();
    };
    section("dictionary section", SectionKind::Dictionary, &|out| {
        put_definition(out, &Definition::Key(KeyId(3), "loss"));
        put_definition(out, &Definition::Context(ContextId(1), &MetricContext::default().encode()));
        0
    });
    let series = SeriesId { run: RUN, key: KeyId(3) };
    section("series section", SectionKind::Series, &|out| {
        put_series(out, series, ContextId(0), &[1, 2, 3], &[1_000, 1_010, 1_020], &[0.5, 0.25, 0.125])
    });
    section("odd series section", SectionKind::Series, &|out| {
        let values = [f64::NAN, -0.0, 0.1, f64::INFINITY];
        put_series(out, series, ContextId(1), &[i64::MIN, i64::MAX, 0, -1], &[5, 0, i64::MAX, 7], &values)
    });
    section("row section", SectionKind::Row, &|out| {
        put_row(out, RUN, ContextId(0), 7, TimestampMs(1_000), &[(KeyId(1), 0.5), (KeyId(2), 0.1)])
    });
    section("event section", SectionKind::Event, &|out| {
        encode(&ParamsLogged { run: RUN, params: pairs(&[("lr", "0.1")]) }.into(), out).unwrap();
        0
    });
    let mut bytes = Vec::new();
    Origin { actor: "ann".into(), key: b"k".to_vec(), request_hash: 9, merged: None, store: None }.put(&mut bytes);
    writeln!(out, "origin section {}", hex(&bytes)).unwrap();
    out
}

#[test]
fn frames_sections_and_payloads_are_pinned() {
    let path = golden().join("pins.txt");
    if std::env::var("RUNLODE_GOLDEN_WRITE").is_ok() && !path.exists() {
        std::fs::create_dir_all(golden()).unwrap();
        std::fs::write(&path, pins()).unwrap();
    }
    assert_eq!(pins(), std::fs::read_to_string(path).unwrap());
}

// ---- where batches come from -----------------------------------------------------------------------------------------

const OTHER: StoreId = StoreId([0x77; 16]);

fn noted() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/v1-notes")
}

/// A store that holds batches of another one, forgot them, and saw some again. Never change it.
fn make_noted(dir: &Path) {
    let store = options(dir).open().unwrap();
    let note = |kind, first, last, extra: &[u8]| StoreNote {
        kind,
        store: OTHER,
        first,
        last,
        time: TimestampMs(1_600_000_000_000),
        extra: extra.to_vec(),
    };
    let created = ExperimentCreated {
        experiment: ExperimentId(1),
        name: "theirs".into(),
        artifact_location: None,
        creation_time_ms: 1,
        last_update_time_ms: 2,
        tags: Vec::new(),
    };
    let first = Batch::new().event(created).actor("ann").of_store(note(NoteKind::Holds, 3, 3, &[1, 0, 2, 0]));
    store.append(first, Durability::Sync).unwrap();
    store.append(Batch::new().of_store(note(NoteKind::Seen, 4, 300, &[])), Durability::Sync).unwrap();
    let forgotten = SourceForgotten { store: OTHER, seen: 300 };
    store.append(Batch::new().event(forgotten), Durability::Sync).unwrap();
    store.append(Batch::new().of_store(note(NoteKind::Seen, 1, 7, &[])), Durability::Sync).unwrap();
    let copied = StoreCopied { store: StoreId([0x88; 16]), from: 1, to: 2 };
    store.append(Batch::new().event(copied), Durability::Sync).unwrap();
    store.close().unwrap();
}

#[test]
fn notes_of_other_stores_are_read_and_written_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    make_noted(dir.path());
    let segment = dir.path().join("log/00000001.seg");
    if std::env::var("RUNLODE_GOLDEN_WRITE").is_ok() && !noted().exists() {
        for name in ["FORMAT", "MANIFEST", "log/00000001.seg"] {
            let to = noted().join("store").join(name);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(dir.path().join(name), to).unwrap();
        }
    }
    let golden = noted().join("store");
    // Behind the header: that of version 1 was kept.
    let (now, then) = (std::fs::read(&segment).unwrap(), std::fs::read(golden.join("log/00000001.seg")).unwrap());
    assert_eq!(now[64..], then[64..]);
    // Opened from what was written then.
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("log")).unwrap();
    for name in ["FORMAT", "MANIFEST", "log/00000001.seg"] {
        std::fs::copy(golden.join(name), copy.path().join(name)).unwrap();
    }
    let store = options(copy.path()).open().unwrap();
    assert_eq!((store.seen(OTHER).unwrap(), store.forgotten(OTHER).unwrap()), (7, 300));
    assert_eq!(store.copied_from().unwrap(), [(StoreId([0x88; 16]), Lsn(2))]);
    let experiment = EntityKey::Experiment(ExperimentId(1));
    let events = store.snapshot().unwrap().events(&experiment).unwrap();
    let found = events[0].note.as_deref().unwrap();
    assert_eq!((found.kind, found.store, found.first, found.last), (NoteKind::Holds, OTHER, 3, 3));
    assert_eq!((found.time, found.extra.as_slice()), (TimestampMs(1_600_000_000_000), &[1, 0, 2, 0][..]));
    assert!(store.verify(&VerifyOptions::default()).unwrap().is_sound());
}
