//! Opens for reading that use the store's own index.

use super::*;
use crate::VerifyOptions;
use crate::error::Error;

const RUNS: u16 = 1_500;

fn numbered(number: u16) -> RunId {
    let mut id = [7; 16];
    id[..2].copy_from_slice(&number.to_be_bytes());
    RunId(id)
}

fn log(store: &Store, runs: std::ops::Range<u16>) {
    let key = store.metric_key("loss").unwrap();
    for number in runs {
        store.append(Batch::new().event(run(numbered(number))), Durability::Buffered).unwrap();
        let points: Vec<KeyedPoint> =
            (0..20).map(|step| KeyedPoint { key, point: point(step, f64::from(number) + step as f64) }).collect();
        store.run(numbered(number)).unwrap().log_points(&points, Durability::Buffered).unwrap();
    }
}

/// A store of which half is in index and files, and all is on the disk; its writer is still there, as after a kill.
fn half_indexed() -> (Memory, Store) {
    let memory = Memory::new();
    let storage: Arc<dyn Storage> = Arc::new(memory.clone());
    let store = options(&storage).open().unwrap();
    store.append(Batch::new().event(experiment(EXPERIMENT, "e")), Durability::Sync).unwrap();
    log(&store, 0..RUNS / 2);
    store.flush().unwrap();
    store.seal().unwrap();
    store.checkpoint().unwrap();
    log(&store, RUNS / 2..RUNS);
    store.flush().unwrap();
    (memory, store)
}

/// Everything in this storage is refused that would write.
fn reader(memory: &Memory, from_index: bool) -> Store {
    let storage: Arc<dyn Storage> = Arc::new(memory.read_only());
    options(&storage).create(false).read_only(true).from_index(from_index).open().unwrap()
}

#[test]
fn a_reader_replays_only_the_log_above_the_index_and_answers_as_from_the_whole_log() {
    let (memory, writer) = half_indexed();
    let (fast, whole) = (reader(&memory, true), reader(&memory, false));
    assert_eq!(fast.open_notes().rebuilt, None);
    let frames = |store: &Store| store.open_notes().replay.frames_count;
    assert!(frames(&fast) * 3 < frames(&whole) * 2, "{} of {}", frames(&fast), frames(&whole));
    let (of_fast, of_whole) = (fast.snapshot().unwrap(), whole.snapshot().unwrap());
    assert_eq!(of_fast.position(), of_whole.position());
    for number in 0..RUNS {
        let id = numbered(number);
        assert_eq!(of_fast.run(id).unwrap(), of_whole.run(id).unwrap(), "{number}");
        assert_eq!(of_fast.latest(id).unwrap(), of_whole.latest(id).unwrap(), "{number}");
        assert_eq!(values(&fast, id, "loss"), values(&whole, id, "loss"), "{number}");
    }
    assert_eq!(of_fast.runs_of(EXPERIMENT).unwrap(), of_whole.runs_of(EXPERIMENT).unwrap());
    assert!(fast.verify(&VerifyOptions::default()).unwrap().is_sound());
    writer.close().unwrap();
}

#[test]
fn while_another_process_writes_the_store_a_reader_never_mixes_commits() {
    let (memory, writer) = half_indexed();
    let before = reader(&memory, true);
    let known: Vec<_> = {
        let whole = reader(&memory, false);
        let snapshot = whole.snapshot().unwrap();
        (0..RUNS).map(|number| snapshot.run(numbered(number)).unwrap()).collect()
    };
    // Pages that the reader's commit uses are free after the next one, and are written by the one after that.
    for number in 0..4 {
        log(&writer, RUNS + number..RUNS + number + 1);
        writer.flush().unwrap();
        writer.checkpoint().unwrap();
    }
    // Pages that are in memory need no file; the test of the index's pages shows when a read is refused.
    for number in 0..RUNS {
        match before.snapshot().and_then(|snapshot| snapshot.run(numbered(number))) {
            Ok(found) => assert_eq!(found, known[usize::from(number)], "{number}"),
            Err(Error::IndexChanged) => {}
            Err(error) => panic!("{number}: {error}"),
        }
    }
    let after = reader(&memory, true);
    assert!(after.snapshot().unwrap().run(numbered(RUNS + 3)).unwrap().is_some());
    writer.close().unwrap();
}

#[test]
fn without_a_usable_index_the_whole_log_is_read_and_the_reason_is_noted() {
    let (memory, writer) = half_indexed();
    writer.close().unwrap();
    let expected = {
        let store = reader(&memory, true);
        assert_eq!(store.open_notes().rebuilt, None);
        store.snapshot().unwrap().runs_of(EXPERIMENT).unwrap()
    };
    let series = memory.list("series").unwrap().into_iter().find(|entry| entry.name.ends_with(".ser")).unwrap().name;
    for (path, reason) in [(format!("series/{series}"), ""), ("index.redb".to_owned(), "index.redb is missing")] {
        memory.remove(&path).unwrap();
        let store = reader(&memory, true);
        let why = store.open_notes().rebuilt.clone().expect("it was not possible without");
        assert!(why.contains(reason), "{why}");
        assert_eq!(store.snapshot().unwrap().runs_of(EXPERIMENT).unwrap(), expected, "{path}");
        assert_eq!(values(&store, numbered(3), "loss").len(), 20, "{path}");
    }
}

#[test]
fn the_time_of_the_first_batch_that_is_left_is_told_where_the_log_begins_with_a_gap() {
    let memory = Memory::new();
    let storage: Arc<dyn Storage> = Arc::new(memory.clone());
    let clock = Arc::new(ManualClock::at(TimestampMs(1_000_000)));
    let writer = options(&storage).clock(clock.clone()).segment_bytes(4 << 10, 4 << 10).open().unwrap();
    writer.append(Batch::new().event(experiment(EXPERIMENT, "e")), Durability::Sync).unwrap();
    for number in 0..200 {
        clock.advance_ms(1_000);
        writer.append(Batch::new().event(run(numbered(number))), Durability::Sync).unwrap();
        writer.core().pipeline.log.maintain().unwrap();
    }
    let first = |store: &Store| store.snapshot().unwrap().first_time().unwrap().unwrap();
    let began = first(&writer);
    writer.close().unwrap();
    let mut segments: Vec<String> = storage.list("log").unwrap().into_iter().map(|entry| entry.name).collect();
    segments.sort_unstable();
    assert!(segments.len() > 3, "{segments:?}");
    memory.remove(&format!("log/{}", segments[0])).unwrap();
    let reader = reader(&memory, false);
    assert!(reader.open_notes().missing.len() == 1 && first(&reader) > began, "{:?}", reader.open_notes());
}
