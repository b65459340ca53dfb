use std::time::{Duration, Instant};

use super::*;
use crate::compaction::CompactOptions;
use crate::event::{ExperimentCreated, RunCreated, RunStatus};
use crate::id::{ExperimentId, Lsn, RunId};
use crate::ingest::batch::{Batch, Durability};
use crate::options::Options;
use crate::point::Point;
use crate::query::points::HistoryQuery;
use crate::storage::Storage;
use crate::storage::sim::{Call, Failure, Fault, PowerCut, SimDisk};
use crate::store::Store;
use crate::time::{ManualClock, TimestampMs};
use crate::verify::VerifyOptions;

const EXPERIMENT: ExperimentId = ExperimentId(1);

fn run_id(number: u8) -> RunId {
    RunId([number; 16])
}

fn options(disk: &SimDisk) -> Options {
    Store::options("simulated")
        .storage(Arc::new(disk.clone()))
        .background(false)
        .clock(Arc::new(ManualClock::at(TimestampMs(1_000_000))))
        .seed(5)
        .segment_bytes(4 << 10, 16 << 10)
}

fn experiment() -> ExperimentCreated {
    ExperimentCreated {
        experiment: EXPERIMENT,
        name: "e".into(),
        artifact_location: None,
        creation_time_ms: 1,
        last_update_time_ms: 1,
        tags: vec![],
    }
}

fn run(number: u8) -> RunCreated {
    RunCreated {
        run: run_id(number),
        experiment: EXPERIMENT,
        name: format!("run-{number}"),
        user_id: "u".into(),
        status: RunStatus::Running,
        start_time_ms: 5,
        artifact_location: None,
        tags: vec![],
    }
}

/// One piece of work: a new run with points, and points of the run before.
fn work(store: &Store, number: u8) {
    let mut batch = Batch::new().event(run(number));
    for step in 0..8 {
        let point = Point { step, time: TimestampMs(2_000 + step), value: f64::from(number) + step as f64 };
        batch = batch.metric(run_id(number), "loss", point, None);
        if number > 1 {
            let point = Point { step: 100 + step, ..point };
            batch = batch.metric(run_id(number - 1), "loss", point, None);
        }
    }
    store.append(batch, Durability::Sync).unwrap();
}

/// What a store says of the first runs.
fn picture(store: &Store, runs: u8) -> Vec<String> {
    let snapshot = store.snapshot().unwrap();
    let mut out = vec![format!("{:?}", snapshot.experiments().unwrap())];
    out.push(format!("{:?}", snapshot.runs_of(EXPERIMENT).unwrap()));
    for number in 1..=runs {
        out.push(format!("{:?}", snapshot.run(run_id(number)).unwrap()));
        out.push(format!("{:?}", snapshot.latest(run_id(number)).unwrap()));
        let page = snapshot.history(run_id(number), "loss", &HistoryQuery::default()).unwrap();
        out.push(format!("{:?}", page.columns));
    }
    out
}

/// What a store that never failed says.
fn expected(runs: u8) -> Vec<String> {
    let store = options(&SimDisk::new(1)).open().unwrap();
    store.append(Batch::new().event(experiment()), Durability::Sync).unwrap();
    (1..=runs).for_each(|number| work(&store, number));
    picture(&store, runs)
}

/// The first line that differs, not all of both.
fn same(found: &[String], expected: &[String], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected, "{what}");
    }
}

fn begun(disk: &SimDisk) -> Store {
    let store = options(disk).open().unwrap();
    store.append(Batch::new().event(experiment()), Durability::Sync).unwrap();
    work(&store, 1);
    store.seal().unwrap();
    work(&store, 2);
    store.checkpoint().unwrap();
    work(&store, 3);
    store
}

/// Goes on behind a trouble: the next attempts, at most a few, succeed, and nothing is missing, now and later.
fn goes_on(disk: &SimDisk, store: Store, what: &str) {
    work(&store, 4);
    assert!(store.core().pipeline.log.poisoned().is_none(), "{what}");
    let mut attempts = 0;
    while let Err(error) = store.checkpoint() {
        attempts += 1;
        assert!(attempts <= 4, "{what}: {error}");
    }
    work(&store, 5);
    store.seal().unwrap_or_else(|error| panic!("{what}: {error}"));
    work(&store, 6);
    let positions = store.positions();
    assert!(positions.applied > Lsn(4) && positions.sealed == positions.applied, "{what}");
    let all = expected(6);
    same(&picture(&store, 6), &all, what);
    let report = store.verify(&VerifyOptions::default()).unwrap();
    assert!(report.is_sound(), "{what}: {:#?}", report.findings);
    let files = store.core().index.read().unwrap().files().unwrap().len();
    let there = disk_series(disk);
    assert!(there.len() <= files + store.core().upkeep.lock().retired.len(), "{what}: leftovers among {there:?}");
    drop(store);
    for disk in [disk.after_process_crash(), disk.after_power_cut(PowerCut::seeded(7))] {
        let store = options(&disk).open().unwrap_or_else(|error| panic!("{what}: {error}"));
        same(&picture(&store, 6), &all, what);
        assert!(store.verify(&VerifyOptions::default()).unwrap().is_sound(), "{what}");
        store.close().unwrap();
    }
}

fn disk_series(disk: &SimDisk) -> Vec<String> {
    use crate::storage::Storage;
    disk.list("series").unwrap().into_iter().map(|entry| entry.name).collect()
}

/// Faults at each call of a checkpoint or seal in turn, until none strikes.
fn at_each(calls: &'static [Call], failure: Failure, times: u64, path: &str, step: fn(&Store) -> Result<Lsn>) {
    let mut struck = 0;
    for number in 0..400 {
        let disk = SimDisk::new(number);
        let store = begun(&disk);
        disk.inject(Fault::new(calls, failure).at(path).skip(number).times(times));
        let failed = step(&store).is_err();
        disk.clear_faults();
        struck += u64::from(failed);
        goes_on(&disk, store, &format!("{failure:?} x {times} at {path}, call {number}"));
        if !failed && number > 3 {
            break;
        }
    }
    assert!(struck > 1, "{failure:?} at {path} struck {struck} times");
}

#[test]
fn a_checkpoint_that_failed_at_any_call_is_made_by_the_next_one() {
    for failure in [Failure::Io, Failure::Full] {
        at_each(Call::OPERATIONS, failure, 1, "index", Store::checkpoint);
    }
    for drop_pages in [false, true] {
        at_each(&[Call::Sync], Failure::LostSync { drop_pages }, 1, "index", Store::checkpoint);
    }
}

#[test]
fn a_seal_that_failed_at_any_call_is_made_by_the_next_one() {
    at_each(Call::OPERATIONS, Failure::Io, 1, "index", Store::seal);
    at_each(Call::OPERATIONS, Failure::Io, 1, "series", Store::seal);
    at_each(Call::OPERATIONS, Failure::Full, 1, "series", Store::seal);
}

#[test]
fn a_disk_that_is_full_from_any_call_on_is_waited_out() {
    at_each(Call::OPERATIONS, Failure::Full, u64::MAX, "index", Store::checkpoint);
}

/// After an error redb refuses reads, too; what refuses them is still the full disk.
#[test]
fn while_the_disk_is_full_every_call_works_or_says_that_it_is_full() {
    const CALLS: &[Call] = &[Call::Create, Call::Write, Call::SetLen, Call::Allocate, Call::Rename];
    let mut refused = 0;
    for skip in 0..30 {
        let disk = SimDisk::new(skip);
        begun(&disk).close().unwrap();
        // Nothing is in memory but what the log has.
        let store = options(&disk).open().unwrap();
        work(&store, 4);
        disk.inject(Fault::new(CALLS, Failure::Full).at("index").skip(skip).for_ever());
        let mut check = |what: &str, result: Result<()>| match result {
            Ok(()) => false,
            Err(Error::StorageFull { .. }) => {
                refused += 1;
                true
            }
            Err(error) => panic!("{what}, call {skip}: {error:?}"),
        };
        let failed = check("checkpoint", store.checkpoint().map(drop));
        let tag = |number| {
            let event = crate::event::RunTagsSet { run: run_id(number), tags: vec![("t".into(), "v".into())] };
            store.append(Batch::new().event(event), Durability::Sync).map(drop)
        };
        let point = |number| {
            let point = Point { step: 500, time: TimestampMs(9_000), value: 1.0 };
            store.append(Batch::new().metric(run_id(number), "other", point, None), Durability::Sync).map(drop)
        };
        for number in 1..=3 {
            check("a tag", tag(number));
            check("a point", point(number));
            check("a read", store.snapshot().and_then(|snapshot| snapshot.run(run_id(number))).map(drop));
            check("latest", store.snapshot().and_then(|snapshot| snapshot.latest(run_id(number))).map(drop));
            let history = |snapshot: crate::Snapshot| {
                snapshot.history(run_id(number), "loss", &HistoryQuery::default()).map(drop)
            };
            check("a history", store.snapshot().and_then(history));
            check("a rewind", store.rewind(run_id(number), 3, None).map(drop));
        }
        check("runs", store.snapshot().and_then(|snapshot| snapshot.runs_of(EXPERIMENT)).map(drop));
        check(
            "a purge",
            store
                .append(Batch::new().event(crate::event::RunDeleted { run: run_id(1), at_ms: 1 }), Durability::Sync)
                .map(drop),
        );
        check("a flush", store.flush().map(drop));
        check("a seal", store.seal().map(drop));
        check("a compaction", store.compact(&CompactOptions::default()).map(drop));
        check("maintenance", store.maintain());
        check("a late verify", store.verify(&VerifyOptions::default()).map(drop));
        check("a close", store.close());
        if !failed && skip > 3 {
            break;
        }
    }
    assert!(refused > 10, "{refused} calls were refused");
}

#[test]
fn a_close_on_a_full_disk_says_so_and_the_next_open_does_what_is_left() {
    const CALLS: &[Call] = &[Call::Create, Call::Write, Call::SetLen, Call::Allocate, Call::Rename];
    let mut full = 0;
    for skip in 0..40 {
        let disk = SimDisk::new(skip);
        disk.set_maps(skip % 2 == 0);
        let store = begun(&disk);
        work(&store, 4);
        disk.inject(Fault::new(CALLS, Failure::Full).skip(skip).for_ever());
        match store.close() {
            Ok(()) => break,
            Err(Error::StorageFull { .. }) => full += 1,
            Err(error) => panic!("call {skip}: {error}"),
        }
        disk.clear_faults();
        // All was synced, so the power may go too.
        let disk = disk.after_power_cut(PowerCut::seeded(skip));
        let store = options(&disk).open().unwrap();
        same(&picture(&store, 4), &expected(4), &format!("call {skip}"));
        assert!(store.verify(&VerifyOptions::default()).unwrap().is_sound());
        store.close().unwrap();
    }
    assert!(full > 2, "{full} closes met a full disk");
}

#[test]
fn verify_judges_the_pages_of_the_index_that_are_used_and_no_others() {
    const BLOCK_BYTES: u64 = 4_104;
    let disk = SimDisk::new(7);
    let store = begun(&disk);
    work(&store, 4);
    store.close().unwrap();
    let bytes = disk.file_bytes("index.redb").unwrap();
    let (mut used, mut unused) = (0, 0);
    for page in 1..bytes.len() as u64 / BLOCK_BYTES {
        let at = (page * BLOCK_BYTES) as usize;
        if bytes[at..at + BLOCK_BYTES as usize].iter().all(|byte| *byte == 0) {
            continue;
        }
        let damaged = disk.after_process_crash();
        damaged.flip_bit("index.redb", at as u64 + 100, 3).unwrap();
        let reader = options(&damaged).read_only(true).open().unwrap();
        same(&picture(&reader, 4), &expected(4), "read");
        let report = reader.verify(&VerifyOptions::default()).unwrap();
        drop(reader);
        if report.is_sound() {
            unused += 1;
            // Nothing refers to it, so a writer goes on with this index, and changes no answer.
            let store = options(&damaged).open().unwrap();
            same(&picture(&store, 4), &expected(4), "opened");
            store.checkpoint().unwrap();
            assert!(store.verify(&VerifyOptions::default()).unwrap().is_sound());
        } else {
            used += 1;
            assert!(report.is_repairable(), "page {page}: {:?}", report.findings);
        }
    }
    assert!(used > 3 && unused > 0, "{used} pages are used, {unused} are not");
}

#[test]
fn an_index_that_does_not_open_is_made_again_beside() {
    let disk = SimDisk::new(3);
    let store = begun(&disk);
    disk.inject(Fault::new(&[Call::Sync], Failure::Io).at("index"));
    store.checkpoint().unwrap_err();
    // Both its headers are gone.
    disk.overwrite_at_rest("index.redb", 0, &[0; 4_096]).unwrap();
    work(&store, 4);
    store.checkpoint().unwrap();
    same(&picture(&store, 4), &expected(4), "now");
    drop(store);
    let store = options(&disk).open().unwrap();
    same(&picture(&store, 4), &expected(4), "opened");
    assert!(store.verify(&VerifyOptions::default()).unwrap().is_sound());
}

#[test]
fn an_index_of_a_compacted_store_is_made_again_beside() {
    let disk = SimDisk::new(4);
    let store = begun(&disk);
    store.compact(&CompactOptions::default()).unwrap();
    disk.inject(Fault::new(&[Call::Sync], Failure::Io).at("index"));
    work(&store, 4);
    store.checkpoint().unwrap_err();
    disk.overwrite_at_rest("index.redb", 0, &[0; 4_096]).unwrap();
    work(&store, 5);
    store.seal().unwrap();
    work(&store, 6);
    same(&picture(&store, 6), &expected(6), "now");
    assert!(store.verify(&VerifyOptions::default()).unwrap().is_sound());
    store.compact(&CompactOptions::default()).unwrap();
    same(&picture(&store, 6), &expected(6), "now");
    store.close().unwrap();
    same(&picture(&options(&disk).open().unwrap(), 6), &expected(6), "opened");
}

#[test]
fn a_rebuild_beside_that_fails_at_any_call_is_begun_again() {
    for number in (0..600).step_by(3) {
        let disk = SimDisk::new(number);
        let store = begun(&disk);
        disk.inject(Fault::new(&[Call::Sync], Failure::Io).at("index"));
        store.checkpoint().unwrap_err();
        disk.overwrite_at_rest("index.redb", 0, &[0; 4_096]).unwrap();
        disk.inject(
            Fault::new(&[Call::Write, Call::Sync, Call::Create, Call::Rename], Failure::Io).at("e").skip(number),
        );
        let failed = store.checkpoint().is_err();
        disk.clear_faults();
        if store.core().pipeline.log.poisoned().is_none() {
            goes_on(&disk, store, &format!("call {number}"));
        }
        if !failed {
            break;
        }
    }
}

#[test]
fn the_background_goes_on_after_an_error_of_the_index() {
    let disk = SimDisk::new(9);
    drop(begun(&disk));
    let clock = Arc::new(ManualClock::at(TimestampMs(1_000_000)));
    let store = options(&disk).background(true).clock(clock.clone()).open().unwrap();
    disk.inject(Fault::new(&[Call::Write, Call::Sync], Failure::Io).at("index").times(3));
    let until = Instant::now() + Duration::from_secs(20);
    let mut number = 4;
    let mut failures = 0;
    while store.positions().applied < Lsn(8) || store.core().index.failed() {
        assert!(Instant::now() < until, "{:?}", store.positions());
        // Checkpoints are due every five seconds.
        clock.advance_ms(10_000);
        failures += u64::from(store.core().index.failed());
        if number < 200 {
            work(&store, number);
            number += 1;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(failures > 0, "the fault did not strike");
    let said = picture(&store, number - 1);
    assert!(store.verify(&VerifyOptions::default()).unwrap().is_sound());
    store.close().unwrap();
    same(&picture(&options(&disk).open().unwrap(), number - 1), &said, "opened");
}

#[test]
fn the_background_prepares_segments_again_after_a_file_could_not_be_made() {
    let disk = SimDisk::new(10);
    let store = options(&disk).background(true).open().unwrap();
    disk.inject(Fault::new(&[Call::Create], Failure::Io).at("log/"));
    let log = &store.core().pipeline.log;
    let segments = || disk.list("log").unwrap().iter().filter(|entry| entry.name.ends_with(".seg")).count();
    assert_eq!(segments(), 1);
    store.append(Batch::new().event(experiment()), Durability::Sync).unwrap();
    // More than half of the segment, so that the next one is due, and not all of it: the append makes none.
    let before = log.placed_bytes();
    let mut number = 1;
    while log.placed_bytes() - before < 2400 {
        work(&store, number);
        number += 1;
    }
    assert!(log.placed_bytes() - before < 3600);
    let until = Instant::now() + Duration::from_secs(20);
    while segments() < 2 {
        assert!(Instant::now() < until, "nobody prepares the next segment");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(log.poisoned().is_none());
    store.close().unwrap();
}

/// Series files that MANIFEST does not list, by path.
fn derived(disk: &SimDisk) -> Vec<String> {
    disk.list("series").unwrap().into_iter().map(|entry| format!("series/{}", entry.name)).collect()
}

/// Each piece of work in a series file of its own.
fn sealed_by_pieces(disk: &SimDisk, pieces: u8) -> Store {
    let store = options(disk).open().unwrap();
    store.append(Batch::new().event(experiment()), Durability::Sync).unwrap();
    for number in 1..=pieces {
        work(&store, number);
        store.seal().unwrap();
    }
    store
}

#[test]
fn a_lost_derived_file_is_made_again_when_a_read_meets_it() {
    let disk = SimDisk::new(1);
    sealed_by_pieces(&disk, 3).close().unwrap();
    let files = derived(&disk);
    assert_eq!(files.len(), 3);
    let store = options(&disk).open().unwrap();
    disk.remove(&files[1]).unwrap();
    let read = store.snapshot().unwrap().history(run_id(2), "loss", &HistoryQuery::default());
    assert!(matches!(read, Err(Error::MissingFile { .. })), "{read:?}");
    store.checkpoint().unwrap();
    same(&picture(&store, 3), &expected(3), "in the same life");
    assert!(store.verify(&VerifyOptions::default()).unwrap().is_sound());
    store.close().unwrap();
    let store = options(&disk).open().unwrap();
    assert_eq!(store.open_notes().rebuilt, None);
    same(&picture(&store, 3), &expected(3), "in the next life");
}

#[test]
fn a_damaged_chunk_of_a_derived_file_is_made_again_when_a_read_meets_it() {
    let disk = SimDisk::new(1);
    let store = sealed_by_pieces(&disk, 2);
    let files = derived(&disk);
    disk.flip_bit(&files[0], 60, 3).unwrap();
    let read = store.snapshot().unwrap().history(run_id(1), "loss", &HistoryQuery::default());
    assert!(matches!(read, Err(Error::Corrupt(_))), "{read:?}");
    store.seal().unwrap();
    same(&picture(&store, 2), &expected(2), "in the same life");
    assert!(store.verify(&VerifyOptions::default()).unwrap().is_sound());
}

#[test]
fn a_series_file_under_another_name_never_answers() {
    // The file of another piece of work; and one of the same number, from a life that went another way.
    for of_another_life in [false, true] {
        let disk = SimDisk::new(1);
        sealed_by_pieces(&disk, 3).close().unwrap();
        let files = derived(&disk);
        let other = match of_another_life {
            false => disk.file_bytes(&files[0]).unwrap(),
            true => {
                let disk = SimDisk::new(1);
                let store = sealed_by_pieces(&disk, 1);
                (2..6).for_each(|number| work(&store, number));
                store.seal().unwrap();
                disk.file_bytes(&files[1]).unwrap()
            }
        };
        disk.remove(&files[1]).unwrap();
        let file = disk.open(&files[1], crate::storage::OpenMode::CreateNew).unwrap();
        crate::storage::write_all_at(&*file, &other, 0).unwrap();
        // A reader does not need it, and its verification finds it.
        let reader = options(&disk).read_only(true).open().unwrap();
        same(&picture(&reader, 3), &expected(3), "read only");
        let report = reader.verify(&VerifyOptions::default()).unwrap();
        assert!(!report.is_sound() && report.is_repairable(), "{:?}", report.findings);
        let store = options(&disk).open().unwrap();
        assert!(store.open_notes().rebuilt.is_some());
        same(&picture(&store, 3), &expected(3), "at the open");
        assert!(store.verify(&VerifyOptions::default()).unwrap().is_sound());
    }
}

#[test]
fn an_index_on_disk_that_says_something_else_is_found_and_made_again() {
    let disk = SimDisk::new(1);
    sealed_by_pieces(&disk, 3).close().unwrap();
    let sound = |disk: &SimDisk| {
        let reader = options(disk).read_only(true).open().unwrap();
        reader.verify(&VerifyOptions::default()).unwrap()
    };
    let report = sound(&disk);
    assert!(report.is_sound() && report.chunks_count > 0, "{:?}", report.findings);
    // Any page that was written; those that nothing refers to any more change no answer.
    let mut found = 0;
    let bytes = disk.file_bytes("index.redb").unwrap();
    let used: Vec<u64> =
        (1..bytes.len() as u64 / 4104).filter(|page| bytes[*page as usize * 4104 + 4100] == b'p').collect();
    for page in used.iter().step_by(3) {
        let disk = disk.after_process_crash();
        disk.flip_bit("index.redb", page * 4104 + 7, 1).unwrap();
        let report = sound(&disk);
        assert!(report.is_repairable(), "page {page}: {:?}", report.findings);
        found += u64::from(!report.is_sound());
        let repaired = options(&disk).repair().unwrap();
        assert!(repaired.verified.is_sound(), "page {page}: {:?}", repaired.verified.findings);
        let store = options(&disk).open().unwrap();
        same(&picture(&store, 3), &expected(3), "repaired");
    }
    assert!(found > 2, "{found} damaged pages were found");
    // None at all is allowed, and said.
    disk.remove("index.redb").unwrap();
    let report = sound(&disk);
    assert!(report.is_sound() && report.not_there == ["index.redb"], "{report:?}");
}
