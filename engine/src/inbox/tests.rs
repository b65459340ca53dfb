#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::segment::{FRAMES_AT, INBOX_DIR, dir_of, path_of};
use super::*;
use crate::entity::EntityKey;
use crate::event::{ExperimentCreated, RunCreated, RunDeleted, RunPurged, RunStatus};
use crate::id::{ExperimentId, KeyId, RunId, StoreId, WriterId};
use crate::ingest::batch::{Batch, Durability};
use crate::ingest::encode::KeyedPoint;
use crate::point::Point;
use crate::query::points::HistoryQuery;
use crate::storage::memory::Memory;
use crate::storage::sim::{Call, Failure, Fault, SimDisk};
use crate::storage::{OpenMode, Storage, write_all_at};
use crate::store::Store;
use crate::time::{Clock, ManualClock, TimestampMs};
use crate::{CompactOptions, Error, VerifyOptions};

const EXPERIMENT: ExperimentId = ExperimentId(1);

pub(super) fn run_id(number: u8) -> RunId {
    RunId([number; 16])
}

pub(super) fn create_run(number: u8) -> RunCreated {
    RunCreated {
        run: run_id(number),
        experiment: EXPERIMENT,
        name: "r".into(),
        user_id: "u".into(),
        status: RunStatus::Running,
        start_time_ms: 5,
        artifact_location: None,
        tags: vec![],
    }
}

pub(super) struct World {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) clock: Arc<ManualClock>,
}

impl World {
    pub(super) fn on(storage: Arc<dyn Storage>) -> Self {
        Self { storage, clock: Arc::new(ManualClock::at(TimestampMs(1_700_000_000_000))) }
    }

    pub(super) fn try_open(&self) -> crate::Result<Store> {
        let options = Store::options("unused").storage(self.storage.clone()).background(false).seed(7);
        options.clock(self.clock.clone()).segment_bytes(16 << 10, 64 << 10).open()
    }

    pub(super) fn open(&self) -> Store {
        self.try_open().unwrap()
    }

    pub(super) fn create(storage: Arc<dyn Storage>, runs: u8) -> (Self, Store) {
        let world = Self::on(storage);
        let store = world.open();
        let created = ExperimentCreated {
            experiment: EXPERIMENT,
            name: "e".into(),
            artifact_location: None,
            creation_time_ms: 1,
            last_update_time_ms: 1,
            tags: vec![],
        };
        let batch = (1..=runs).fold(Batch::new().event(created), |batch, run| batch.event(create_run(run)));
        store.append(batch, Durability::Sync).unwrap();
        (world, store)
    }

    pub(super) fn writer(&self, store: &Store, number: u8) -> InboxWriter {
        InboxWriter::create_on(self.storage.clone(), store.id(), WriterId([number; 16]), self.clock.clone()).unwrap()
    }

    /// So late that locks are tried again.
    pub(super) fn later(&self) {
        self.clock.advance_ms(2_000);
    }

    pub(super) fn inboxes(&self) -> Vec<String> {
        let entries = self.storage.list(INBOX_DIR).unwrap_or_default();
        entries.into_iter().filter(|entry| entry.is_dir).map(|entry| entry.name).collect()
    }
}

fn memory(runs: u8) -> (World, Store) {
    World::create(Arc::new(Memory::new()), runs)
}

fn point(step: i64, value: f64) -> Point {
    Point { step, time: TimestampMs(1_000 + step.max(0)), value }
}

pub(super) fn values(store: &Store, run: u8, key: &str) -> Vec<f64> {
    store.snapshot().unwrap().history(run_id(run), key, &HistoryQuery::default()).unwrap().columns.values
}

pub(super) fn verify(store: &Store) {
    let report = store.verify(&VerifyOptions::default()).unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
}

#[test]
fn points_of_other_processes_are_read_once() {
    let (world, store) = memory(2);
    let writer = world.writer(&store, 1);
    assert!(world.inboxes().is_empty(), "a writer that logs nothing leaves nothing");
    let (loss, acc) = (writer.metric_key("loss").unwrap(), writer.metric_key("acc").unwrap());
    // The holder's own numbers are others.
    store.metric_key("other").unwrap();
    for step in 0..20 {
        let number = writer.log_point(run_id(1), loss, point(step, step as f64), Durability::Buffered).unwrap();
        assert_eq!(number, step as u64 + 1);
    }
    writer.log_row(run_id(2), 7, TimestampMs(9), &[(loss, 0.5), (acc, 0.25)], Durability::Sync).unwrap();
    let points: Vec<_> = (20..60).map(|step| KeyedPoint { key: acc, point: point(step, step as f64) }).collect();
    writer.log_points(run_id(1), &points, Durability::Buffered).unwrap();
    assert!(values(&store, 1, "loss").is_empty());
    let report = store.merge_inboxes().unwrap();
    assert_eq!((report.points_count, report.frames_count, report.batches_count), (62, 22, 1));
    assert_eq!((report.inboxes_open, report.inboxes_removed, report.problems.len()), (1, 0, 0));
    assert_eq!(store.applied_number(writer.id()).unwrap(), writer.last_number());
    let check = |store: &Store| {
        assert_eq!(values(store, 1, "loss"), (0..20).map(f64::from).collect::<Vec<_>>());
        assert_eq!(values(store, 1, "acc"), (20..60).map(f64::from).collect::<Vec<_>>());
        assert_eq!((values(store, 2, "loss"), values(store, 2, "acc")), (vec![0.5], vec![0.25]));
    };
    check(&store);
    assert_eq!(store.merge_inboxes().unwrap().frames_count, 0);
    writer.log_point(run_id(2), acc, point(8, 0.75), Durability::Buffered).unwrap();
    assert_eq!(store.merge_inboxes().unwrap().points_count, 1);
    assert_eq!(values(&store, 2, "acc"), [0.25, 0.75]);
    writer.close().unwrap();
    // Not durable in the log yet: it stays.
    assert_eq!(store.merge_inboxes().unwrap().inboxes_removed, 0);
    store.flush().unwrap();
    assert_eq!(store.merge_inboxes().unwrap().inboxes_removed, 1);
    assert!(world.inboxes().is_empty());
    verify(&store);
    drop(store);
    let store = world.open();
    assert_eq!(store.applied_number(WriterId([1; 16])).unwrap(), 23);
    verify(&store);
    store.close().unwrap();
}

#[test]
fn long_rows_many_segments_and_large_frames_are_merged() {
    let (world, store) = memory(1);
    let writer = world.writer(&store, 1);
    let keys: Vec<KeyId> = (0..40).map(|key| writer.metric_key(&format!("k{key}")).unwrap()).collect();
    let mut expected: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for step in 0..600i64 {
        // Narrow rows and wide ones (of 4 keys on, in tests), and now and then a frame that needs a segment of its own.
        let count = [1, 2, 3, 5, 40][step as usize % 5];
        let row: Vec<_> = keys[..count].iter().map(|key| (*key, step as f64)).collect();
        writer.log_row(run_id(1), step, TimestampMs(step), &row, Durability::Buffered).unwrap();
        (0..count).for_each(|key| expected.entry(key).or_default().push(step as f64));
        if step == 300 {
            let points = (0..30_000).map(|at| KeyedPoint { key: keys[39], point: point(at, at as f64 + 0.1) });
            writer.log_points(run_id(1), &points.collect::<Vec<_>>(), Durability::Buffered).unwrap();
        }
        if step % 37 == 0 {
            store.merge_inboxes().unwrap();
        }
    }
    let report = store.merge_inboxes().unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    for key in 0..39 {
        assert_eq!(values(&store, 1, &format!("k{key}")), expected[&key], "key {key}");
    }
    assert_eq!(values(&store, 1, "k39").len(), expected[&39].len() + 30_000);
    store.flush().unwrap();
    store.merge_inboxes().unwrap();
    let left = world.storage.list(&dir_of(writer.id())).unwrap();
    assert_eq!(left.len(), 2, "the lock and the open segment: {left:?}");
    verify(&store);
    drop(writer);
    world.later();
    assert_eq!(store.merge_inboxes().unwrap().inboxes_removed, 1, "its lock is free");
    assert!(world.inboxes().is_empty());
}

#[test]
fn the_last_number_outlives_checkpoint_reopen_compaction_and_a_new_index() {
    let (world, store) = memory(1);
    let (a, b) = (world.writer(&store, 1), world.writer(&store, 2));
    let (loss_a, loss_b) = (a.metric_key("a").unwrap(), b.metric_key("b").unwrap());
    let log = |round: i64| {
        for step in 0..50 {
            a.log_point(run_id(1), loss_a, point(round * 50 + step, 1.0), Durability::Buffered).unwrap();
            b.log_point(run_id(1), loss_b, point(round * 50 + step, 2.0), Durability::Buffered).unwrap();
        }
    };
    log(0);
    store.merge_inboxes().unwrap();
    store.flush().unwrap();
    store.checkpoint().unwrap();
    log(1);
    store.merge_inboxes().unwrap();
    drop(store);
    // The process died; inboxes are there from their beginning on.
    let store = world.open();
    assert_eq!((store.applied_number(a.id()).unwrap(), store.applied_number(b.id()).unwrap()), (100, 100));
    assert_eq!(store.merge_inboxes().unwrap().frames_count, 0);
    log(2);
    assert_eq!(store.merge_inboxes().unwrap().frames_count, 100);
    store.compact(&CompactOptions::default()).unwrap();
    log(3);
    store.merge_inboxes().unwrap();
    store.compact(&CompactOptions::default()).unwrap();
    verify(&store);
    drop(store);
    world.storage.remove("index.redb").unwrap();
    let store = world.open();
    assert!(store.open_notes().rebuilt.is_some());
    assert_eq!((store.applied_number(a.id()).unwrap(), store.applied_number(b.id()).unwrap()), (200, 200));
    assert_eq!(store.merge_inboxes().unwrap().frames_count, 0);
    assert_eq!((values(&store, 1, "a").len(), values(&store, 1, "b").len()), (200, 200));
    verify(&store);
}

#[test]
fn points_of_deleted_runs_stay_and_those_of_purged_ones_go() {
    let (world, store) = memory(3);
    let writer = world.writer(&store, 1);
    let key = writer.metric_key("m").unwrap();
    for run in 1..=3 {
        writer.log_point(run_id(run), key, point(1, f64::from(run)), Durability::Buffered).unwrap();
    }
    let gone =
        Batch::new().event(RunDeleted { run: run_id(1), at_ms: 1 }).event(RunDeleted { run: run_id(2), at_ms: 1 });
    store.append(gone, Durability::Sync).unwrap();
    store.append(Batch::new().event(RunPurged { run: run_id(2) }), Durability::Sync).unwrap();
    let report = store.merge_inboxes().unwrap();
    assert_eq!((report.points_count, report.points_dropped, report.frames_count), (2, 1, 3));
    assert_eq!((values(&store, 1, "m"), values(&store, 3, "m")), (vec![1.0], vec![3.0]));
    // A batch of nothing but dropped points still says that it was merged.
    writer.log_point(run_id(2), key, point(2, 1.0), Durability::Buffered).unwrap();
    let report = store.merge_inboxes().unwrap();
    assert_eq!((report.points_count, report.points_dropped), (0, 1));
    drop(store);
    let store = world.open();
    assert_eq!(store.applied_number(writer.id()).unwrap(), 4);
    assert_eq!(store.merge_inboxes().unwrap().frames_count, 0);
    verify(&store);
}

#[test]
fn an_inbox_waits_for_a_run_that_the_store_does_not_know() {
    let (world, store) = memory(1);
    let writer = world.writer(&store, 1);
    let key = writer.metric_key("m").unwrap();
    for (step, run) in [(1, 1), (2, 9), (3, 1)] {
        writer.log_point(run_id(run), key, point(step, f64::from(run)), Durability::Buffered).unwrap();
    }
    for _ in 0..2 {
        let report = store.merge_inboxes().unwrap();
        assert_eq!(report.problems.len(), 1);
        assert_eq!(report.problems[0].kind, InboxProblemKind::UnknownRun);
        assert_eq!((report.inboxes_open, store.applied_number(writer.id()).unwrap()), (1, 1));
        store.flush().unwrap();
    }
    store.append(Batch::new().event(create_run(9)), Durability::Sync).unwrap();
    let report = store.merge_inboxes().unwrap();
    assert_eq!((report.points_count, report.problems.len()), (2, 0));
    assert_eq!((values(&store, 1, "m").len(), values(&store, 9, "m").len()), (2, 1));
    assert!(store.snapshot().unwrap().entity(&EntityKey::Run(run_id(9))).unwrap().is_some());
}

/// Three frames of one writer, dead, and where they lie.
fn dead_inbox(sync: bool) -> (World, Arc<SimDisk>, Store, Vec<u64>) {
    let disk = Arc::new(SimDisk::new(1));
    let (world, store) = World::create(disk.clone(), 1);
    let writer = world.writer(&store, 1);
    let key = writer.metric_key("m").unwrap();
    let mut places = vec![FRAMES_AT];
    for step in 0..3 {
        let durability = if sync { Durability::Sync } else { Durability::Buffered };
        writer.log_point(run_id(1), key, point(step, step as f64), durability).unwrap();
        let bytes = disk.file_bytes(&path_of(writer.id(), 1)).unwrap();
        places.push(u64::from_le_bytes(bytes[64..72].try_into().unwrap()));
    }
    (world, disk, store, places)
}

#[test]
fn damage_in_the_middle_is_left_alone_and_reported() {
    let (world, disk, store, places) = dead_inbox(true);
    let path = path_of(WriterId([1; 16]), 1);
    disk.flip_bit(&path, places[1] + 40, 3).unwrap();
    let report = store.merge_inboxes().unwrap();
    assert_eq!((report.points_count, report.problems.len()), (1, 1), "{report:?}");
    assert_eq!(report.problems[0].kind, InboxProblemKind::Damage);
    store.flush().unwrap();
    world.later();
    let report = store.merge_inboxes().unwrap();
    assert_eq!((report.problems.len(), report.inboxes_removed), (1, 0));
    assert_eq!(world.inboxes().len(), 1);
    assert_eq!(values(&store, 1, "m"), [0.0]);
    let findings = store.verify(&VerifyOptions::default()).unwrap().findings;
    assert_eq!(findings.iter().map(|finding| finding.kind).collect::<Vec<_>>(), [crate::FindingKind::Inbox]);
    // Frames that are whole need no header.
    drop(store);
    disk.flip_bit(&path, places[1] + 40, 3).unwrap();
    disk.flip_bit(&path, 20, 3).unwrap();
    let store = world.open();
    let report = store.merge_inboxes().unwrap();
    assert_eq!((report.points_count, report.problems.len()), (2, 0));
    assert_eq!(values(&store, 1, "m"), [0.0, 1.0, 2.0]);
}

#[test]
fn a_torn_end_is_the_end_and_a_hole_of_a_power_cut_is_counted() {
    for (torn, expected, lost) in [(2, vec![0.0, 1.0], 0), (1, vec![0.0, 2.0], 1)] {
        let (world, disk, store, places) = dead_inbox(false);
        disk.overwrite_at_rest(&path_of(WriterId([1; 16]), 1), places[torn], &[0; 48]).unwrap();
        // On the mount of the writer it would be damage.
        disk.mount_again();
        let mut all = store.merge_inboxes().unwrap();
        store.flush().unwrap();
        let last = store.merge_inboxes().unwrap();
        all.frames_lost += last.frames_lost;
        assert_eq!(values(&store, 1, "m"), expected);
        assert_eq!((all.frames_lost, last.inboxes_removed, last.problems.len()), (lost, 1, 0));
        assert!(world.inboxes().is_empty());
        verify(&store);
    }
}

#[test]
fn a_half_copied_frame_is_not_there_yet() {
    for maps in [true, false] {
        let disk = Arc::new(SimDisk::new(1));
        disk.set_maps(maps);
        let (world, store) = World::create(disk.clone(), 1);
        let writer = world.writer(&store, 1);
        let key = writer.metric_key("m").unwrap();
        let path = path_of(writer.id(), 1);
        writer.log_point(run_id(1), key, point(0, 0.0), Durability::Buffered).unwrap();
        let at = disk.file_bytes(&path).unwrap().iter().rposition(|byte| *byte != 0).unwrap() as u64 / 16 * 16 + 16;
        let before = disk.file_bytes(&path).unwrap();
        writer.log_point(run_id(1), key, point(1, 1.0), Durability::Buffered).unwrap();
        let whole = disk.file_bytes(&path).unwrap();
        // As it was while the second frame was being copied.
        let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
        for cut in [at + 1, at + 20, at + 40] {
            write_all_at(&*file, &before, 0).unwrap();
            write_all_at(&*file, &whole[at as usize..cut as usize], at).unwrap();
            world.later();
            let report = store.merge_inboxes().unwrap();
            assert_eq!((report.problems.len(), values(&store, 1, "m")), (0, vec![0.0]), "cut at {cut}");
        }
        write_all_at(&*file, &whole, 0).unwrap();
        assert_eq!(store.merge_inboxes().unwrap().points_count, 1);
        assert_eq!(values(&store, 1, "m"), [0.0, 1.0]);
    }
}

#[test]
fn gaps_and_files_of_others_are_reported() {
    let (world, disk, store, _) = dead_inbox(true);
    let writer = world.writer(&store, 3);
    let key = writer.metric_key("m").unwrap();
    for step in 0..4_000 {
        writer.log_point(run_id(1), key, point(step, 1.0), Durability::Buffered).unwrap();
    }
    assert!(disk.open(&path_of(writer.id(), 2), OpenMode::Read).is_ok(), "more than one segment");
    drop(writer);
    // Its first segment was not copied; another inbox is of another store; a third of another writer.
    disk.remove(&path_of(WriterId([3; 16]), 1)).unwrap();
    let other = InboxWriter::create_on(disk.clone(), StoreId([9; 16]), WriterId([4; 16]), world.clock.clone());
    assert!(matches!(other, Err(Error::Invalid { .. })));
    let bytes = disk.file_bytes(&path_of(WriterId([1; 16]), 1)).unwrap();
    disk.create_dir(&dir_of(WriterId([5; 16]))).unwrap();
    let copy = disk.open(&path_of(WriterId([5; 16]), 1), OpenMode::CreateNew).unwrap();
    write_all_at(&*copy, &bytes, 0).unwrap();
    disk.create_dir("inbox/what").unwrap();
    let report = store.merge_inboxes().unwrap();
    let kinds: Vec<_> = report.problems.iter().map(|problem| (problem.kind, problem.writer)).collect();
    assert_eq!(report.points_count, 3);
    let expected = [
        (InboxProblemKind::Foreign, None),
        (InboxProblemKind::Gap, Some(WriterId([3; 16]))),
        (InboxProblemKind::Foreign, Some(WriterId([5; 16]))),
    ];
    assert_eq!(kinds, expected, "{:?}", report.problems);
    store.flush().unwrap();
    world.later();
    let report = store.merge_inboxes().unwrap();
    assert_eq!((report.problems.len(), report.inboxes_removed), (3, 1));
}

#[test]
fn leftovers_without_a_segment_are_removed_after_a_while() {
    let (world, store) = memory(1);
    world.storage.create_dir(&dir_of(WriterId([8; 16]))).unwrap();
    store.merge_inboxes().unwrap();
    assert_eq!(world.inboxes().len(), 1);
    world.clock.advance_ms(61_000);
    store.merge_inboxes().unwrap();
    assert!(world.inboxes().is_empty());
    // One that is made just then is made again.
    let writer = world.writer(&store, 1);
    let key = writer.metric_key("m").unwrap();
    writer.log_point(run_id(1), key, point(1, 1.0), Durability::Buffered).unwrap();
    assert_eq!(store.merge_inboxes().unwrap().points_count, 1);
}

#[test]
fn a_close_leaves_nothing_of_writers_that_have_ended() {
    let (world, store) = memory(1);
    let writers: Vec<InboxWriter> = (1..=4).map(|number| world.writer(&store, number)).collect();
    let log = |writer: &InboxWriter, value: f64| {
        let key = writer.metric_key("m").unwrap();
        writer.log_point(run_id(1), key, point(value as i64, value), Durability::Buffered).unwrap();
    };
    writers.iter().zip([1.0, 2.0, 3.0, 4.0]).for_each(|(writer, value)| log(writer, value));
    store.merge_inboxes().unwrap();
    let [closed, dead, dead_with_news, living]: [InboxWriter; 4] = writers.try_into().unwrap();
    closed.close().unwrap();
    drop(dead);
    log(&dead_with_news, 5.0);
    drop(dead_with_news);
    log(&living, 6.0);
    store.close().unwrap();
    assert_eq!(world.inboxes(), [living.id().to_string()]);
    let store = world.open();
    assert_eq!(values(&store, 1, "m"), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(store.applied_number(living.id()).unwrap(), 2);
    verify(&store);
}

#[test]
fn a_writer_refuses_what_is_wrong_and_waits_only_for_a_living_holder() {
    let (world, store) = memory(1);
    let writer = world.writer(&store, 1);
    let key = writer.metric_key("m").unwrap();
    assert_eq!(writer.metric_key("m").unwrap(), key);
    for bad in ["", "a\0b"] {
        assert!(matches!(writer.metric_key(bad), Err(Error::Invalid { .. })));
    }
    let log = |key, point| writer.log_point(run_id(1), key, point, Durability::Buffered);
    assert!(matches!(log(KeyId(5), point(0, 0.0)), Err(Error::Invalid { .. })));
    assert!(matches!(log(key, Point { time: TimestampMs(-1), ..point(0, 0.0) }), Err(Error::Invalid { .. })));
    assert!(writer.log_row(run_id(1), 0, TimestampMs(0), &[], Durability::Buffered).is_err());
    assert_eq!(log(key, point(0, 0.0)).unwrap(), 1);
    // Beyond the limit it asks, and goes on when the answer is no.
    let asked = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counter = asked.clone();
    writer.set_limit_bytes(100 << 10);
    writer.set_patience(Arc::new(move || counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 3 < 2));
    for step in 1..6_000 {
        log(key, point(step, 1.0)).unwrap();
    }
    assert!(asked.load(std::sync::atomic::Ordering::Relaxed) >= 3);
    // A living holder makes room.
    let holder = store.clone();
    writer.set_patience(Arc::new(move || {
        holder.merge_inboxes().unwrap();
        holder.flush().unwrap();
        holder.merge_inboxes().unwrap();
        true
    }));
    for step in 6_000..20_000 {
        log(key, point(step, 1.0)).unwrap();
    }
    store.merge_inboxes().unwrap();
    assert_eq!(values(&store, 1, "m").len(), 20_000);
}

#[test]
fn an_open_for_reading_shows_inboxes_and_verify_reads_them() {
    let (world, store) = memory(2);
    let writer = world.writer(&store, 1);
    let keys: Vec<KeyId> = (0..6).map(|key| writer.metric_key(&format!("k{key}")).unwrap()).collect();
    let log = |step: i64, count: usize| {
        let row: Vec<_> = keys[..count].iter().map(|key| (*key, step as f64)).collect();
        writer.log_row(run_id(1), step, TimestampMs(step), &row, Durability::Buffered).unwrap();
    };
    log(1, 6);
    store.merge_inboxes().unwrap();
    (2..40).for_each(|step| log(step, [1, 2, 6][step as usize % 3]));
    let report = store.verify(&VerifyOptions::default()).unwrap();
    assert_eq!((report.inboxes_count, report.inbox_frames_unmerged, report.is_sound()), (1, 38, true));
    drop(store);
    let before: Vec<_> = world.storage.list(&dir_of(writer.id())).unwrap();
    let options = Store::options("unused").storage(world.storage.clone()).read_only(true);
    let reader = options.clone().clock(world.clock.clone()).open().unwrap();
    assert_eq!(reader.open_notes().inboxes.frames_count, 38);
    let expected = |key: usize| -> Vec<f64> {
        let logged = |step: &i64| *step == 1 || [1, 2, 6][*step as usize % 3] > key;
        (1i64..40).filter(logged).map(|step| step as f64).collect()
    };
    for key in 0..6 {
        assert_eq!(values(&reader, 1, &format!("k{key}")), expected(key));
    }
    assert_eq!(reader.snapshot().unwrap().latest(run_id(1)).unwrap().len(), 6);
    let report = reader.verify(&VerifyOptions::default()).unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
    assert_eq!(report.inbox_frames_unmerged, 0, "they are shown");
    drop(reader);
    assert_eq!(world.storage.list(&dir_of(writer.id())).unwrap(), before);
    let store = world.open();
    assert_eq!(store.merge_inboxes().unwrap().frames_count, 38);
    assert_eq!(values(&store, 1, "k0"), expected(0));
}

#[test]
fn a_disk_error_stops_one_inbox_and_no_other() {
    let (world, disk, store, _) = dead_inbox(true);
    let writer = world.writer(&store, 2);
    let key = writer.metric_key("m").unwrap();
    // No space to be born; then there is some.
    disk.inject(Fault::new(&[Call::Allocate], Failure::Full).at("inbox/news").for_ever());
    let log = |step| writer.log_point(run_id(1), key, point(step, step as f64), Durability::Buffered);
    assert!(matches!(log(10), Err(Error::StorageFull { .. })));
    disk.clear_faults();
    assert_eq!(log(10).unwrap(), 1);
    disk.inject(Fault::new(&[Call::Open], Failure::Io).at(path_of(WriterId([1; 16]), 1)).for_ever());
    let report = store.merge_inboxes().unwrap();
    assert_eq!((report.points_count, report.problems.len()), (1, 1), "{report:?}");
    assert_eq!(report.problems[0].kind, InboxProblemKind::Unreadable);
    disk.clear_faults();
    let report = store.merge_inboxes().unwrap();
    assert_eq!((report.points_count, report.problems.len()), (3, 0));
    assert_eq!(values(&store, 1, "m"), [0.0, 1.0, 2.0, 10.0]);
}

#[test]
fn a_closed_writer_answers_closed() {
    let (world, store) = memory(1);
    let writer = world.writer(&store, 1);
    let key = writer.metric_key("m").unwrap();
    writer.log_point(run_id(1), key, point(0, 0.0), Durability::Buffered).unwrap();
    writer.close_now().unwrap();
    let again = writer.log_point(run_id(1), key, point(0, 0.0), Durability::Buffered);
    assert!(matches!(again, Err(Error::Closed)));
    writer.close_now().unwrap();
    store.merge_inboxes().unwrap();
    store.flush().unwrap();
    assert_eq!(store.merge_inboxes().unwrap().inboxes_removed, 1);
}

/// Real files: one thread logs while another merges, as two processes would.
#[test]
fn a_holder_merges_while_writers_write() {
    const FRAMES: i64 = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::options(dir.path().join("s")).open().unwrap();
    let created = ExperimentCreated {
        experiment: EXPERIMENT,
        name: "e".into(),
        artifact_location: None,
        creation_time_ms: 1,
        last_update_time_ms: 1,
        tags: vec![],
    };
    store.append(Batch::new().event(created).event(create_run(1)).event(create_run(2)), Durability::Sync).unwrap();
    let path = dir.path().join("s");
    std::thread::scope(|scope| {
        let writers: Vec<_> = [1, 2]
            .into_iter()
            .map(|number| {
                let (path, id) = (path.clone(), store.id());
                scope.spawn(move || {
                    let clock: Arc<dyn Clock> = Arc::new(crate::SystemClock::default());
                    let writer = InboxWriter::create(&path, id, clock).unwrap();
                    let keys = [writer.metric_key("a").unwrap(), writer.metric_key("b").unwrap()];
                    for step in 0..FRAMES {
                        let row = [(keys[0], step as f64), (keys[1], -(step as f64))];
                        let durability = if step % 5_000 == 4_999 { Durability::Sync } else { Durability::Buffered };
                        writer.log_row(run_id(number), step, TimestampMs(step), &row, durability).unwrap();
                    }
                    let id = writer.id();
                    writer.close().unwrap();
                    id
                })
            })
            .collect();
        while !writers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            assert_eq!(store.merge_inboxes().unwrap().problems, []);
        }
        for writer in writers {
            let id = writer.join().unwrap();
            store.merge_inboxes().unwrap();
            assert_eq!(store.applied_number(id).unwrap(), FRAMES as u64);
        }
    });
    let expected: Vec<f64> = (0..FRAMES).map(|step| step as f64).collect();
    for run in [1, 2] {
        assert_eq!(values(&store, run, "a"), expected);
        assert_eq!(store.snapshot().unwrap().stats(run_id(run), "b").unwrap().unwrap().count_raw, FRAMES as u64);
    }
    store.flush().unwrap();
    store.merge_inboxes().unwrap();
    assert_eq!(std::fs::read_dir(path.join("inbox")).unwrap().count(), 1, "only the word is left");
    verify(&store);
    store.close().unwrap();
}

#[derive(Debug, Clone)]
enum Step {
    Row { writer: usize, run: u8, keys: usize },
    Points { writer: usize, run: u8, count: usize },
    Merge,
    Checkpoint,
    Seal,
    Compact,
    Reopen,
    Close { writer: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        30 => (0usize..3, 1u8..4, 1usize..7).prop_map(|(writer, run, keys)| Step::Row { writer, run, keys }),
        6 => (0usize..3, 1u8..4, 1usize..40).prop_map(|(writer, run, count)| Step::Points { writer, run, count }),
        8 => Just(Step::Merge),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Seal),
        1 => Just(Step::Compact),
        2 => Just(Step::Reopen),
        1 => (0usize..3).prop_map(|writer| Step::Close { writer }),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn points_are_merged_once_however_merges_are_cut(steps in steps()) {
        let (world, mut store) = memory(3);
        let mut writers: Vec<InboxWriter> = (0..3).map(|number| world.writer(&store, number)).collect();
        let (mut fresh, mut time) = (10, 0);
        let mut expected: BTreeMap<(u8, usize), Vec<f64>> = BTreeMap::new();
        for step in steps.into_iter().chain([Step::Merge]) {
            time += 1;
            match step {
                Step::Row { writer, run, keys } => {
                    // Numbers differ from writer to writer.
                    let row: Vec<_> = (0..keys)
                        .map(|key| (key + writer) % 7)
                        .map(|key| {
                            expected.entry((run, key)).or_default().push(f64::from(time));
                            (writers[writer].metric_key(&format!("k{key}")).unwrap(), f64::from(time))
                        })
                        .collect();
                    let time = i64::from(time);
                    writers[writer].log_row(run_id(run), time, TimestampMs(time), &row, Durability::Buffered).unwrap();
                }
                Step::Points { writer, run, count } => {
                    let points: Vec<_> = (0..count)
                        .map(|at| {
                            let key = at % 3;
                            // In the order that a history has: by time and step.
                            let value = f64::from(time) + at as f64 / 100.0;
                            expected.entry((run, key)).or_default().push(value);
                            let step = i64::from(time) * 100 + at as i64;
                            let key = writers[writer].metric_key(&format!("k{key}")).unwrap();
                            KeyedPoint { key, point: Point { step, time: TimestampMs(i64::from(time)), value } }
                        })
                        .collect();
                    writers[writer].log_points(run_id(run), &points, Durability::Buffered).unwrap();
                }
                Step::Merge => {
                    let report = store.merge_inboxes().unwrap();
                    prop_assert!(report.problems.is_empty(), "{:?}", report.problems);
                }
                Step::Checkpoint => { store.flush().unwrap(); store.checkpoint().unwrap(); }
                Step::Seal => { store.flush().unwrap(); store.seal().unwrap(); }
                Step::Compact => { store.compact(&CompactOptions::default()).unwrap(); }
                Step::Reopen => { drop(store); store = world.open(); }
                Step::Close { writer } => {
                    fresh += 1;
                    let old = std::mem::replace(&mut writers[writer], world.writer(&store, fresh));
                    if fresh % 2 == 0 { old.close().unwrap() } else { drop(old) }
                    world.later();
                }
            }
        }
        for writer in &writers {
            prop_assert_eq!(store.applied_number(writer.id()).unwrap(), writer.last_number());
        }
        for ((run, key), expected) in &expected {
            prop_assert_eq!(&values(&store, *run, &format!("k{key}")), expected, "run {} key {}", run, key);
            let stats = store.snapshot().unwrap().stats(run_id(*run), &format!("k{key}")).unwrap();
            prop_assert_eq!(stats.map(|stats| stats.count_raw), Some(expected.len() as u64));
        }
        let report = store.verify(&VerifyOptions::default()).unwrap();
        prop_assert!(report.is_sound(), "{:?}", report.findings);
    }
}

/// Does something on a thread of its own; a hang is a failure, not a test that never ends.
fn within_a_minute<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(std::time::Duration::from_secs(60)).unwrap_or_else(|_| panic!("{what} hangs"))
}

/// A store whose memory is full of what the full disk does not let it seal, and a client that goes on logging.
fn full(seed: u64) -> (Arc<SimDisk>, Store, InboxWriter, KeyId, usize) {
    let disk = Arc::new(SimDisk::new(seed));
    let (world, store) = World::create(disk.clone(), 2);
    store.close().unwrap();
    let options = Store::options("unused").storage(disk.clone()).memory_bytes(16 << 20).seed(7);
    let store = options.segment_bytes(32 << 20, 32 << 20).open().unwrap();
    // All that the client needs is there before.
    let writer = world.writer(&store, 1);
    let key = writer.metric_key("m").unwrap();
    writer.log_point(run_id(1), key, point(0, 0.0), Durability::Buffered).unwrap();
    store.merge_inboxes().unwrap();
    disk.set_space(Some(0));
    // Rows of few keys take more of memory than of the log.
    let keys: Vec<KeyId> = (0..12).map(|key| store.metric_key(&format!("own {key}")).unwrap()).collect();
    let appender = store.run(run_id(2)).unwrap();
    let (refused, rows) = within_a_minute("an append", move || {
        for step in 0.. {
            let row: Vec<(KeyId, f64)> = keys.iter().map(|key| (*key, step as f64)).collect();
            if let Err(error) = appender.log_row(step, TimestampMs(step), &row, Durability::Buffered) {
                return (error, step as usize);
            }
        }
        unreachable!("the memory has an end")
    });
    assert!(disk.list("log").unwrap().len() <= 2, "the log had to go on in another segment: it is full, not memory");
    assert!(refused.is_full(), "{refused}");
    (disk, store, writer, key, rows)
}

#[test]
fn nothing_waits_or_is_lost_while_memory_and_disk_are_full() {
    let (disk, store, writer, key, rows) = full(11);
    for step in 1..400 {
        writer.log_point(run_id(1), key, point(step, step as f64), Durability::Buffered).unwrap();
    }
    for _ in 0..3 {
        let reader = store.clone();
        let merged = within_a_minute("a merge", move || reader.merge_inboxes());
        assert!(merged.as_ref().is_err_and(Error::is_full), "{merged:?}");
        assert!(store.has_unmerged_points(run_id(1)).unwrap());
        assert!(!store.has_unmerged_points(run_id(2)).unwrap());
    }
    writer.log_point(run_id(2), key, point(1, 7.0), Durability::Buffered).unwrap();
    assert!(store.has_unmerged_points(run_id(2)).unwrap(), "a look goes on where the last one ended");
    disk.set_space(None);
    let reader = store.clone();
    within_a_minute("the merge after there is space", move || {
        while let Err(error) = reader.merge_inboxes() {
            assert!(error.is_full(), "{error}");
            std::thread::yield_now();
        }
    });
    assert_eq!(values(&store, 1, "m"), (0..400).map(f64::from).collect::<Vec<_>>());
    assert_eq!(values(&store, 2, "own 7").len(), rows);
    assert!(!store.has_unmerged_points(run_id(1)).unwrap() && !store.has_unmerged_points(run_id(2)).unwrap());
    let report = store.merge_inboxes().unwrap();
    assert_eq!((report.frames_count, report.problems.len()), (0, 0));
    writer.close().unwrap();
    store.close().unwrap();
}

#[test]
fn a_failed_log_ends_all_waits_of_a_full_store() {
    let (_disk, store, writer, key, _) = full(13);
    writer.log_point(run_id(1), key, point(1, 1.0), Durability::Buffered).unwrap();
    store.core().pipeline.log.poison("a test says so");
    let reader = store.clone();
    let merged = within_a_minute("a merge", move || reader.merge_inboxes());
    assert!(matches!(merged, Err(Error::Poisoned { .. })), "{merged:?}");
}

#[test]
fn a_close_ends_all_waits_of_a_full_store() {
    let (disk, store, writer, key, rows) = full(12);
    for step in 1..400 {
        writer.log_point(run_id(1), key, point(step, step as f64), Durability::Buffered).unwrap();
    }
    let reader = store.clone();
    let merging = std::thread::spawn(move || while reader.merge_inboxes().is_ok_and(|_| true) {});
    let closing = store.clone();
    // Whether there is room for the last checkpoint is another matter.
    let _ = within_a_minute("a close", move || closing.close());
    merging.join().unwrap();
    drop((store, writer));
    disk.set_space(None);
    let store = World::on(disk).open();
    store.merge_inboxes().unwrap();
    assert_eq!(values(&store, 1, "m"), (0..400).map(f64::from).collect::<Vec<_>>());
    assert_eq!(values(&store, 2, "own 7").len(), rows);
}

#[test]
fn foreign_files_are_reported_and_block_nothing() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let folder = tempfile::tempdir().unwrap();
    let (world, store) = World::create(Arc::new(crate::storage::disk::Disk::new(folder.path())), 1);
    let good = world.writer(&store, 1);
    let key = good.metric_key("m").unwrap();
    good.log_point(run_id(1), key, point(0, 1.0), Durability::Buffered).unwrap();
    let planted = folder.path().join(dir_of(WriterId([2; 16])));
    std::fs::create_dir(&planted).unwrap();
    mknodat(CWD, planted.join("00000001.seg"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let linked = folder.path().join(dir_of(WriterId([3; 16])));
    std::fs::create_dir(&linked).unwrap();
    std::os::unix::fs::symlink(folder.path().join("FORMAT"), linked.join("00000001.seg")).unwrap();
    std::os::unix::fs::symlink("/etc", folder.path().join(dir_of(WriterId([4; 16])))).unwrap();
    let endless = folder.path().join(dir_of(WriterId([6; 16])));
    std::fs::create_dir(&endless).unwrap();
    std::fs::File::create(endless.join("00000001.seg")).unwrap().set_len(1 << 40).unwrap();
    let merged = store.clone();
    let report = within_a_minute("a merge", move || merged.merge_inboxes()).unwrap();
    assert_eq!(values(&store, 1, "m"), [1.0]);
    let told: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told.iter().any(|what| what.contains("has 1099511627776 bytes")), "{told:?}");
    assert!(told.iter().any(|what| what.contains("is a pipe, not a regular file")), "{told:?}");
    assert!(told.iter().any(|what| what.contains("is a symbolic link, not a regular file")), "{told:?}");
    assert!(told.iter().any(|what| what.contains("is no inbox")), "{told:?}");
    let verified = store.clone();
    let report = within_a_minute("a verify", move || verified.verify(&VerifyOptions::default())).unwrap();
    assert_eq!(report.findings.len(), 3, "{:?}", report.findings);
    std::fs::remove_file(folder.path().join("inbox/news")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.path().join("inbox/news")).unwrap();
    let second = world.writer(&store, 5);
    let refused = second.log_point(run_id(1), second.metric_key("m").unwrap(), point(1, 2.0), Durability::Buffered);
    assert!(matches!(refused, Err(Error::NotAFile { .. })), "{refused:?}");
    drop(store);
    let store = world.open();
    store.merge_inboxes().unwrap();
}
