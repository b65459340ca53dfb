//! Damaged groups of short chunks in series files that have the only copy: lost points are reported, others stay readable.

use std::sync::Arc;

use super::*;
use crate::compaction::install::adopt;
use crate::core::{IndexedChunk, for_each_chunk};
use crate::event::{ExperimentCreated, RunCreated, RunStatus};
use crate::id::{ExperimentId, KeyId};
use crate::point::{Point, Stats};
use crate::query::points::HistoryQuery;
use crate::repair::refuse_twins;
use crate::series::{ChunkEntry, SeriesFile};
use crate::storage::Storage;
use crate::storage::sim::SimDisk;
use crate::time::TimestampMs;
use crate::verify::{FindingKind, VerifyOptions};
use crate::{Batch, Durability, Snapshot, Store};

const RUN: RunId = RunId([7; 16]);
/// Enough for several groups.
const KEYS: usize = 200;
const STEPS: i64 = 20;

fn name(key: usize) -> String {
    format!("metric_{key:03}")
}

fn value(key: usize, step: i64) -> f64 {
    ((key as i64 * STEPS + step) as f64 * 0.37).sin()
}

fn options(disk: &SimDisk) -> crate::options::Options {
    Store::options("unused").storage(Arc::new(disk.clone())).background(false).seed(1)
}

fn log(store: &Store, steps: Range<i64>) {
    let keys: Vec<KeyId> = (0..KEYS).map(|key| store.metric_key(&name(key)).unwrap()).collect();
    let run = store.run(RUN).unwrap();
    for step in steps {
        let row: Vec<_> = keys.iter().enumerate().map(|(at, key)| (*key, value(at, step))).collect();
        run.log_row(step, TimestampMs(1_000 + step), &row, Durability::Buffered).unwrap();
    }
    store.flush().unwrap();
}

fn made(disk: &SimDisk) -> Store {
    let store = options(disk).open().unwrap();
    let experiment = ExperimentId(1);
    let created = ExperimentCreated {
        experiment,
        name: "e".into(),
        artifact_location: None,
        creation_time_ms: 0,
        last_update_time_ms: 0,
        tags: Vec::new(),
    };
    let run = RunCreated {
        run: RUN,
        experiment,
        name: "r".into(),
        user_id: String::new(),
        status: RunStatus::Running,
        start_time_ms: 0,
        artifact_location: None,
        tags: Vec::new(),
    };
    store.append(Batch::new().event(created).event(run), Durability::Buffered).unwrap();
    log(&store, 0..STEPS);
    store.seal().unwrap();
    store
}

/// A closed store whose points are in one series file that is the truth, and the path of the file.
fn compacted() -> (SimDisk, String) {
    let disk = SimDisk::new(1);
    let store = made(&disk);
    store.compact(&CompactOptions::default()).unwrap();
    let path = only_file(&store);
    store.close().unwrap();
    (disk.after_process_crash(), path)
}

fn only_file(store: &Store) -> String {
    let truth = store.core().pipeline.log.truth_files();
    assert_eq!(truth.len(), 1, "{truth:?}");
    truth[0].name.clone()
}

/// The entries of a file, with the numbers of their keys.
fn entries(disk: &SimDisk, path: &str, store: &Store) -> Vec<(KeyId, ChunkEntry)> {
    let file = SeriesFile::open(disk, path, store.id()).unwrap();
    file.directory().map(|item| item.unwrap()).map(|(series, entry)| (series.key, entry)).collect()
}

/// Flips a bit in the group of the file's first chunk. Returns the names of its series.
fn damage(disk: &SimDisk, path: &str, store: &Store) -> Vec<String> {
    let entries = entries(disk, path, store);
    let group = entries[0].1;
    assert!(group.slot.is_some() && group.summary.is_none(), "{group:?}");
    disk.flip_bit(path, group.offset + 9, 3).unwrap();
    let dictionary = &store.core().pipeline.dictionary;
    let of = entries.iter().filter(|(_, entry)| entry.offset == group.offset);
    of.map(|(key, _)| dictionary.key_name(*key).unwrap().to_string()).collect()
}

fn points(snapshot: &Snapshot, key: &str) -> Result<Vec<Point>> {
    let columns = snapshot.history(RUN, key, &HistoryQuery::default())?.columns;
    Ok((0..columns.len()).map(|at| columns.point(at)).collect())
}

fn latest(snapshot: &Snapshot, key: &str) -> Stats {
    let key = snapshot.core.pipeline.dictionary.find_key(key).unwrap();
    snapshot.stats_of(RUN).unwrap().into_iter().find(|(known, _)| *known == key).unwrap().1
}

/// Of these series the points are lost, all others are as they were logged.
fn check(store: &Store, lost: &[String]) {
    let snapshot = store.snapshot().unwrap();
    for key in 0..KEYS {
        let (name, stats) = (name(key), latest(&snapshot, &name(key)));
        assert_eq!((stats.count_raw, stats.first_step, stats.last_step), (STEPS as u64, 0, STEPS - 1), "{name}");
        let found = points(&snapshot, &name);
        if lost.contains(&name) {
            assert!(matches!(found, Err(Error::Corrupt(_))), "{name}: {found:?}");
            continue;
        }
        let values: Vec<f64> = found.unwrap().iter().map(|point| point.value).collect();
        assert_eq!(values, (0..STEPS).map(|step| value(key, step)).collect::<Vec<_>>(), "{name}");
        assert_eq!(stats.last_value, value(key, STEPS - 1), "{name}");
    }
}

#[test]
fn a_damaged_group_costs_only_its_own_series_when_the_index_is_rebuilt() {
    let (disk, path) = compacted();
    let store = options(&disk).open().unwrap();
    assert!(store.open_notes().missing.is_empty());
    check(&store, &[]);
    store.close().unwrap();
    let disk = disk.after_process_crash();
    let lost = damage(&disk, &path, &options(&disk.after_process_crash()).open().unwrap());
    assert!(!lost.is_empty() && lost.len() < KEYS, "{}", lost.len());
    disk.remove("index.redb").unwrap();
    disk.sync_dir("").unwrap();
    for read_only in [true, false] {
        let store = options(&disk).read_only(read_only).open().unwrap();
        let missing = &store.open_notes().missing;
        assert_eq!(missing.len(), 1, "read only {read_only}: {missing:?}");
        assert!(missing[0].to_string().contains(&path) && missing[0].why.contains("damaged"), "{}", missing[0]);
        check(&store, &lost);
        let snapshot = store.snapshot().unwrap();
        assert!(latest(&snapshot, &lost[0]).last_value.is_nan());
        if read_only {
            continue;
        }
        let report = store.verify(&VerifyOptions::default()).unwrap();
        let is_of_file = |finding: &&crate::verify::Finding| finding.path.to_string_lossy().contains(&path);
        let of_file: Vec<_> = report.findings.iter().filter(is_of_file).collect();
        assert_eq!(of_file.len(), lost.len(), "{report:#?}");
        assert!(of_file.iter().all(|finding| finding.kind == FindingKind::Chunk), "{report:#?}");
        // The series go on where they were.
        log(&store, STEPS..STEPS + 1);
        let snapshot = store.snapshot().unwrap();
        for key in 0..KEYS {
            let stats = latest(&snapshot, &name(key));
            assert_eq!((stats.count_raw, stats.last_value), (STEPS as u64 + 1, value(key, STEPS)));
        }
        // A compaction cannot read it either, and leaves everything as it is.
        store.seal().unwrap();
        let refused = store.compact(&CompactOptions::default());
        assert!(matches!(refused, Err(Error::Corrupt(_))), "{refused:?}");
        assert_eq!(points(&store.snapshot().unwrap(), &name(KEYS - 1)).unwrap().len(), STEPS as usize + 1);
        // A rebuild beside the running store is no other.
        store.core().remake_derived().unwrap();
        assert_eq!(latest(&store.snapshot().unwrap(), &lost[0]).count_raw, STEPS as u64 + 1);
        store.close().unwrap();
        // The index is whole now, so an open has nothing to tell.
        assert!(options(&disk).open().unwrap().open_notes().missing.is_empty());
    }
}

#[test]
fn a_compaction_never_writes_what_was_flipped_after_it_was_read() {
    let disk = SimDisk::new(2);
    let store = made(&disk);
    store.compact(&CompactOptions::default()).unwrap();
    let path = only_file(&store);
    // This thread now holds the last group that it read.
    let last = name(KEYS - 1);
    assert_eq!(points(&store.snapshot().unwrap(), &last).unwrap().len(), STEPS as usize);
    let group = entries(&disk, &path, &store).last().unwrap().1;
    assert!(group.slot.is_some(), "{group:?}");
    disk.flip_bit(&path, group.offset + 9, 3).unwrap();
    log(&store, STEPS..STEPS + 1);
    store.seal().unwrap();
    match store.compact(&CompactOptions::default()) {
        // What was read before the flip may be written: it is right.
        Ok(_) => {
            let found = points(&store.snapshot().unwrap(), &last).unwrap();
            let expected: Vec<f64> = (0..=STEPS).map(|step| value(KEYS - 1, step)).collect();
            assert_eq!(found.iter().map(|point| point.value).collect::<Vec<_>>(), expected);
            assert!(store.verify(&VerifyOptions::default()).unwrap().is_sound());
        }
        Err(Error::Corrupt(_)) => assert_eq!(store.core().pipeline.log.truth_files()[0].name, path),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn two_rows_of_one_chunk_are_found() {
    let (disk, _) = compacted();
    let store = options(&disk).open().unwrap();
    let core = store.core();
    let read = core.index.read().unwrap();
    let mut all = Vec::new();
    for_each_chunk(&read, |IndexedChunk { series, file, chunk, entry }| {
        all.push((series, file, chunk, entry));
        Ok(())
    })
    .unwrap();
    let (series, file, chunk, entry) = all[1];
    assert!(store.verify(&VerifyOptions::default()).unwrap().is_sound());
    // A row of the second chunk alone, beside the one that it shares with the first.
    let mut row = Vec::new();
    crate::core::rows_of(file, std::iter::once((series, chunk, entry)))(&mut row).unwrap();
    let change = IndexChange {
        applied: read.applied(),
        sealed: read.sealed(),
        generation: read.generation(),
        chunks_added: vec![(series, file, chunk, row)],
        ..IndexChange::default()
    };
    core.index.write(&change).unwrap();
    core.pipeline.newest.refresh(core.index.read().unwrap());
    let report = store.verify(&VerifyOptions::default()).unwrap();
    assert!(report.findings.iter().any(|finding| finding.kind == FindingKind::ChunkRow), "{report:#?}");
}

#[test]
fn a_damaged_group_stops_no_repair_unless_another_file_may_have_its_points() {
    let disk = SimDisk::new(3);
    let store = made(&disk);
    log(&store, STEPS..2 * STEPS);
    store.seal().unwrap();
    let paths: Vec<String> =
        disk.list("series").unwrap().iter().map(|entry| format!("series/{}", entry.name)).collect();
    assert_eq!(paths.len(), 2);
    let open = || -> Vec<(Arc<SeriesFile>, u64)> {
        paths.iter().map(|path| (SeriesFile::open(&disk, path, store.id()).unwrap(), 0)).collect()
    };
    refuse_twins(&open()).unwrap();
    damage(&disk, &paths[0], &store);
    refuse_twins(&open()).unwrap();
    let mut twins = open();
    twins.push(open().remove(0));
    assert!(matches!(refuse_twins(&twins), Err(Error::Corrupt(_))));
}

#[test]
fn adopting_twice_changes_nothing() {
    let (disk, path) = compacted();
    let lost = damage(&disk, &path, &options(&disk.after_process_crash()).open().unwrap());
    disk.remove("index.redb").unwrap();
    disk.sync_dir("").unwrap();
    let store = options(&disk).open().unwrap();
    check(&store, &lost);
    adopt(store.core()).unwrap();
    check(&store, &lost);
}
