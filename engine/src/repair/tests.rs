use super::*;
use crate::compaction::CompactOptions;
use crate::event::{ExperimentCreated, RunCreated, RunStatus};
use crate::id::{ExperimentId, RunId};
use crate::ingest::batch::{Batch, Durability};
use crate::point::Point;
use crate::query::points::HistoryQuery;
use crate::storage::sim::{Keep, PowerCut, SimDisk};
use crate::time::{ManualClock, TimestampMs};

const EXPERIMENT: ExperimentId = ExperimentId(1);
const RUN: RunId = RunId([3; 16]);
const KEYS: [&str; 2] = ["loss", "acc"];

fn options(disk: &SimDisk) -> Options {
    Store::options("simulated")
        .storage(Arc::new(disk.clone()))
        .background(false)
        .clock(Arc::new(ManualClock::at(TimestampMs(1_000_000))))
        .seed(5)
        .segment_bytes(1 << 10, 4 << 10)
}

fn open(disk: &SimDisk) -> Store {
    options(disk).open().unwrap()
}

fn log(store: &Store, steps: std::ops::Range<i64>) {
    for step in steps {
        let mut batch = Batch::new();
        for key in KEYS {
            let point = Point { step, time: TimestampMs(2_000 + step), value: step as f64 / 3.0 };
            batch = batch.metric(RUN, key, point, None);
        }
        store.append(batch, Durability::Buffered).unwrap();
        store.maintain().unwrap();
    }
    store.flush().unwrap();
}

/// What a store says.
fn picture(store: &Store) -> Vec<String> {
    let snapshot = store.snapshot().unwrap();
    let mut out = vec![
        format!("{:?}", snapshot.experiments().unwrap()),
        format!("{:?}", snapshot.run(RUN).unwrap()),
        format!("{:?}", snapshot.latest(RUN).unwrap()),
    ];
    for key in KEYS {
        let query = HistoryQuery { columns: ColumnSet::ALL, ..HistoryQuery::default() };
        out.push(format!("{:?}", snapshot.history(RUN, key, &query).unwrap().columns));
        out.push(format!("{:?}", snapshot.count_exact(RUN, key).unwrap()));
    }
    out
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    /// One life.
    Plain,
    /// Lives that ended in crashes, sealed in between.
    Crashes,
    /// The same, compacted in the middle.
    Compacted,
}

/// A store that is not held any more, what it says, and its last position.
fn made(kind: Made, close: bool) -> (SimDisk, Vec<String>, Lsn) {
    let disk = SimDisk::new(kind as u64);
    let mut store = open(&disk);
    let created = ExperimentCreated {
        experiment: EXPERIMENT,
        name: "e".into(),
        artifact_location: None,
        creation_time_ms: 1,
        last_update_time_ms: 1,
        tags: vec![],
    };
    let run = RunCreated {
        run: RUN,
        experiment: EXPERIMENT,
        name: "r".into(),
        user_id: "u".into(),
        status: RunStatus::Running,
        start_time_ms: 5,
        artifact_location: None,
        tags: vec![],
    };
    store.append(Batch::new().event(created).event(run), Durability::Sync).unwrap();
    log(&store, 0..40);
    if kind != Made::Plain {
        for life in 1..4 {
            drop(store);
            store = open(&disk);
            log(&store, life * 40..life * 40 + 20);
            store.seal().unwrap();
            if kind == Made::Compacted && life == 2 {
                store.compact(&CompactOptions::default()).unwrap();
            }
            log(&store, life * 40 + 20..life * 40 + 40);
        }
        store.checkpoint().unwrap();
    }
    let said = picture(&store);
    if close {
        store.close().unwrap();
    } else {
        drop(store);
    }
    // All that is there is durable.
    let disk = disk.after_power_cut(PowerCut { keep: Keep::Everything, seed: 1 });
    let store = disk.after_process_crash();
    let end = open(&store).positions().published;
    (disk, said, end)
}

fn remove(disk: &SimDisk, path: &str) {
    disk.remove(path).unwrap();
    disk.sync_dir("").unwrap();
}

fn check(disk: &SimDisk, said: &[String], end: Lsn, what: &str) {
    let store = open(disk);
    assert_eq!(picture(&store), said, "{what}");
    assert!(store.verify(&VerifyOptions::default()).unwrap().is_sound(), "{what}");
    let experiment = ExperimentCreated {
        experiment: ExperimentId(2),
        name: "later".into(),
        artifact_location: None,
        creation_time_ms: 1,
        last_update_time_ms: 1,
        tags: vec![],
    };
    let lsn = store.append(Batch::new().event(experiment), Durability::Sync).unwrap().lsn;
    assert!(lsn > end, "{what}: {lsn} was given out before");
    store.close().unwrap();
    assert!(open(disk).snapshot().unwrap().experiment(ExperimentId(2)).unwrap().is_some(), "{what}");
}

type Damage = (&'static str, fn(&SimDisk));

const DAMAGES: [Damage; 6] = [
    ("no FORMAT", |disk| remove(disk, "FORMAT")),
    ("a bad FORMAT", |disk| disk.flip_bit("FORMAT", 17, 3).unwrap()),
    ("no MANIFEST", |disk| remove(disk, "MANIFEST")),
    ("a bad MANIFEST", |disk| disk.flip_bit("MANIFEST", 70, 3).unwrap()),
    ("neither", |disk| {
        remove(disk, "MANIFEST");
        remove(disk, "FORMAT");
    }),
    ("neither, and no index", |disk| {
        remove(disk, "MANIFEST");
        remove(disk, "FORMAT");
        remove(disk, "index.redb");
    }),
];

#[test]
fn a_sound_store_is_left_as_it_is() {
    for kind in [Made::Plain, Made::Crashes, Made::Compacted] {
        let (disk, said, end) = made(kind, true);
        let report = options(&disk).repair().unwrap();
        assert!(report.rebuilt.is_empty() && report.lost.is_empty() && report.verified.is_sound(), "{report:?}");
        check(&disk, &said, end, "sound");
    }
}

#[test]
fn format_and_manifest_are_rebuilt() {
    for kind in [Made::Plain, Made::Crashes, Made::Compacted] {
        for close in [true, false] {
            let (sound, said, end) = made(kind, close);
            for (what, damage) in DAMAGES {
                let what = format!("{kind:?}, closed {close}, {what}");
                let disk = sound.after_process_crash();
                damage(&disk);
                let refused = options(&disk).open();
                // A log that is whole from its first frame on says all that MANIFEST said.
                let whole = kind == Made::Plain && what.ends_with("no MANIFEST");
                if !whole {
                    let text = refused.expect_err(&what).to_string();
                    assert!(text.contains("`runlode verify --repair`"), "{what}: {text}");
                }
                let disk = sound.after_process_crash();
                damage(&disk);
                let report = options(&disk).repair().unwrap_or_else(|error| panic!("{what}: {error}"));
                assert!(!report.rebuilt.is_empty() && report.lost.is_empty(), "{what}: {report:?}");
                assert!(report.verified.is_sound(), "{what}: {:#?}", report.verified.findings);
                check(&disk, &said, end, &what);
            }
        }
    }
}

#[test]
fn an_interrupted_repair_can_be_run_again() {
    for (kind, close) in [(Made::Crashes, false), (Made::Compacted, true)] {
        let (sound, said, end) = made(kind, close);
        for (what, damage) in DAMAGES {
            let disk = sound.after_process_crash();
            damage(&disk);
            disk.record();
            options(&disk).repair().unwrap();
            let recording = disk.recording().unwrap();
            for (number, crashed) in recording.crashes(1) {
                let keep = Keep::ALL[(number % Keep::ALL.len() as u64) as usize];
                let lives = [crashed.after_process_crash(), crashed.after_power_cut(PowerCut { keep, seed: number })];
                for disk in lives {
                    let what = format!("{kind:?}, {what}, cut at operation {number}");
                    let report = options(&disk).repair().unwrap_or_else(|error| panic!("{what}: {error}"));
                    assert!(report.verified.is_sound(), "{what}: {:#?}", report.verified.findings);
                    check(&disk, &said, end, &what);
                }
            }
        }
    }
}

/// A store whose index speaks of frames that are gone from the log: the picture is that of what is left.
fn lost_end() -> (SimDisk, Vec<String>, Lsn) {
    let (disk, ..) = made(Made::Crashes, false);
    let store = open(&disk);
    log(&store, 500..503);
    let said = picture(&store);
    let before = disk.after_process_crash();
    log(&store, 503..520);
    store.seal().unwrap();
    let end = store.positions().published;
    drop(store);
    // Everything as before, but for index and series files: those of a younger copy.
    for path in ["index.redb".to_owned()].into_iter().chain(series_numbers(&disk).unwrap().into_iter().map(series_path))
    {
        let bytes = disk.file_bytes(&path).unwrap();
        let _ = before.remove(&path);
        let file = before.open(&path, OpenMode::CreateNew).unwrap();
        crate::storage::write_all_at(file.as_ref(), &bytes, 0).unwrap();
        file.sync_all().unwrap();
    }
    before.sync_dir("series").unwrap();
    before.sync_dir("").unwrap();
    (before, said, end)
}

fn accepted_events(store: &Store) -> Vec<LossAccepted> {
    let log = &store.core().pipeline.log;
    let mut frames = log.read_from(log.first(), Lsn::MAX).unwrap();
    let mut found = Vec::new();
    while let Some(frame) = frames.next_frame().unwrap() {
        for section in sections(frame.payload).flatten().filter(|s| s.kind == SectionKind::Event as u8) {
            if let Ok(Decoded::Known(Event::LossAccepted(loss))) = decode(section.body) {
                found.push(loss);
            }
        }
    }
    found
}

#[test]
fn a_lost_end_is_given_up_only_if_that_is_accepted() {
    let (damaged, said, end) = lost_end();
    let disk = damaged.after_process_crash();
    let text = options(&disk).open().unwrap_err().to_string();
    assert!(text.contains("`runlode verify --repair --accept-loss`"), "{text}");
    assert!(matches!(options(&disk).repair(), Err(Error::Corrupt(_))));
    let report = options(&disk).accept_loss(true).repair().unwrap();
    assert!(report.verified.is_sound(), "{:#?}", report.verified.findings);
    assert_eq!(report.lost.len(), 1);
    assert_eq!(report.lost[0].1, end);
    assert_eq!(accepted_events(&open(&disk)).len(), 1);
    check(&disk, &said, end, "accepted");
}

#[test]
fn a_lost_end_with_its_manifest_is_given_up_as_well() {
    let (damaged, said, end) = lost_end();
    remove(&damaged, "MANIFEST");
    assert!(matches!(options(&damaged.after_process_crash()).repair(), Err(Error::Corrupt(_))));
    let report = options(&damaged).accept_loss(true).repair().unwrap();
    assert_eq!((report.rebuilt.len(), report.lost.len()), (2, 1), "{report:?}");
    check(&damaged, &said, end, "accepted");
}

#[test]
fn an_interrupted_acceptance_can_be_run_again() {
    let (damaged, said, end) = lost_end();
    let disk = damaged.after_process_crash();
    disk.record();
    options(&disk).accept_loss(true).repair().unwrap();
    for (number, crashed) in disk.recording().unwrap().crashes(2) {
        for disk in [crashed.after_process_crash(), crashed.after_power_cut(PowerCut::seeded(number))] {
            let what = format!("cut at operation {number}");
            let report = options(&disk).accept_loss(true).repair().unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(report.verified.is_sound(), "{what}");
            assert!(!accepted_events(&open(&disk)).is_empty(), "{what}");
            check(&disk, &said, end, &what);
        }
    }
}

#[test]
fn a_missing_segment_is_refused_by_name_and_nothing_is_written() {
    let (disk, ..) = made(Made::Crashes, true);
    remove(&disk, "MANIFEST");
    disk.remove("log/00000002.seg").unwrap();
    disk.sync_dir("log").unwrap();
    let before: Vec<String> = disk.list("").unwrap().into_iter().map(|entry| entry.name).collect();
    let error = options(&disk).repair().unwrap_err();
    assert!(
        matches!(&error, Error::MissingFile { path, .. } if path.to_string_lossy().ends_with("log/00000002.seg")),
        "{error}"
    );
    let after: Vec<String> = disk.list("").unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(before, after);
}

#[test]
fn a_held_store_and_a_folder_without_a_store_are_refused() {
    let (disk, ..) = made(Made::Plain, true);
    let store = open(&disk);
    assert!(matches!(options(&disk).repair(), Err(Error::Locked { .. })));
    store.close().unwrap();
    assert!(matches!(options(&SimDisk::new(1)).repair(), Err(Error::NotFound { .. })));
}
