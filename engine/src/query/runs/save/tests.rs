use super::*;
use crate::compaction::CompactOptions;
use crate::error::Error;
use crate::event::*;
use crate::id::{RunId, StoreId};
use crate::ingest::batch::{Batch, Durability};
use crate::options::Options;
use crate::point::Point;
use crate::search::filter::{metric, param, tag};
use crate::search::reference::search_rows;
use crate::search::request::{SearchQuery, View};
use crate::search::row::RunRow;
use crate::search::saved::{SNAP_PATH, SNAP_TMP_PATH, settle};
use crate::search::{Filter, OrderKey, TextKey};
use crate::storage::memory::Memory;
use crate::storage::sim::{Call, Failure, Fault, PowerCut, SimDisk};
use crate::storage::{OpenMode, Storage};
use crate::store::Store;
use crate::time::{ManualClock, TimestampMs};

const ONE: ExperimentId = ExperimentId(1);
const TWO: ExperimentId = ExperimentId(2);

fn options(storage: &Arc<dyn Storage>) -> Options {
    Store::options("unused")
        .storage(storage.clone())
        .background(false)
        .seed(1)
        .segment_bytes(4096, 16 << 10)
        .search_snap_runs_min(3)
        .clock(Arc::new(ManualClock::at(TimestampMs(1_700_000_000_000))))
}

fn run_id(number: u8) -> RunId {
    // Not in the order of creation.
    RunId([number.wrapping_mul(77); 16])
}

fn create(store: &Store, experiment: ExperimentId, numbers: std::ops::Range<u8>) {
    for number in numbers {
        let run = run_id(number);
        let created = RunCreated {
            run,
            experiment,
            name: format!("run-{number}"),
            user_id: "ann".into(),
            status: RunStatus::Running,
            start_time_ms: i64::from(number),
            artifact_location: (number % 3 == 0).then(|| "s3://b".to_owned()),
            tags: vec![("kind".into(), format!("kind {}", number % 4))],
        };
        let params = vec![("lr".into(), format!("0.{number}"))];
        let point = Point { step: 1, time: TimestampMs(5), value: f64::from(number) / 8.0 };
        let batch = Batch::new().event(created).event(ParamsLogged { run, params });
        store.append(batch.metric(run, "loss", point, None), Durability::Buffered).unwrap();
    }
}

fn experiment(experiment: ExperimentId) -> ExperimentCreated {
    ExperimentCreated {
        experiment,
        name: format!("e{experiment}"),
        artifact_location: None,
        creation_time_ms: 1,
        last_update_time_ms: 1,
        tags: vec![],
    }
}

fn lived_in(storage: &Arc<dyn Storage>) -> Store {
    let store = options(storage).open().unwrap();
    store.append(Batch::new().event(experiment(ONE)).event(experiment(TWO)), Durability::Sync).unwrap();
    create(&store, ONE, 0..20);
    create(&store, TWO, 20..30);
    store
}

fn queries() -> Vec<SearchQuery> {
    let all = || SearchQuery { view: View::All, experiments: vec![ONE, TWO], ..SearchQuery::new(ONE) };
    let by = |filter: Filter, order: OrderKey| SearchQuery { filter: Some(filter), order: vec![order], ..all() };
    vec![
        all(),
        SearchQuery { view: View::ActiveOnly, ..all() },
        SearchQuery { view: View::DeletedOnly, ..all() },
        by(metric("loss").ge(0.5), OrderKey::descending(metric("loss"))),
        by(tag("kind").eq("kind 2"), OrderKey::ascending(param("lr"))),
        by(TextKey::Name.like("run-1%"), OrderKey::ascending(TextKey::Name)),
        by(tag("late").is_not_null(), OrderKey::ascending(TextKey::RunId)),
    ]
}

/// Compares every answer with the one made run by run.
fn check(store: &Store) {
    let snapshot = store.snapshot().unwrap();
    for query in queries() {
        let mut rows = Vec::new();
        for &id in &query.experiments {
            let Some(state) = snapshot.experiment(id).unwrap() else { continue };
            for id in snapshot.runs_of(id).unwrap() {
                let run = snapshot.run(id).unwrap().unwrap();
                let lifecycle = run.lifecycle_in(&state);
                rows.push((id, run, lifecycle, snapshot.stats_of(id).unwrap()));
            }
        }
        let rows =
            rows.iter().map(|(run, state, lifecycle, stats)| RunRow { run: *run, state, lifecycle: *lifecycle, stats });
        let expected = search_rows(&query, rows, &snapshot).unwrap();
        assert_eq!(snapshot.search(&query).unwrap().runs, expected.runs, "{query:?}");
    }
}

/// Whether the projection of an experiment came from the file.
fn was_loaded(store: &Store, experiment: ExperimentId) -> bool {
    let all = store.core().projections.all();
    all.iter().any(|(id, standing)| *id == experiment && standing.read().saved.is_some())
}

fn bytes_of(storage: &Arc<dyn Storage>) -> Option<Vec<u8>> {
    let file = storage.open(SNAP_PATH, OpenMode::Read).ok()?;
    let mut bytes = vec![0; file.len().unwrap() as usize];
    crate::storage::read_exact_at(&*file, &mut bytes, 0).unwrap();
    Some(bytes)
}

fn put(storage: &Arc<dyn Storage>, bytes: &[u8]) {
    let _old = storage.remove(SNAP_PATH);
    let file = storage.open(SNAP_PATH, OpenMode::CreateNew).unwrap();
    crate::storage::write_all_at(&*file, bytes, 0).unwrap();
}

/// A closed store whose searches were saved.
fn saved() -> Arc<dyn Storage> {
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let store = lived_in(&storage);
    check(&store);
    store.close().unwrap();
    assert!(bytes_of(&storage).is_some());
    storage
}

#[test]
fn what_was_searched_is_loaded_by_the_next_life() {
    let storage = saved();
    let first = bytes_of(&storage).unwrap();
    let store = options(&storage).open().unwrap();
    check(&store);
    assert!(was_loaded(&store, ONE) && was_loaded(&store, TWO));
    store.close().unwrap();
    assert!(bytes_of(&storage).unwrap() == first, "nothing changed: it was not to be written again");
    // Only one experiment is searched and changes: the other's part is carried over.
    let store = options(&storage).open().unwrap();
    create(&store, ONE, 30..33);
    let order = vec![OrderKey::ascending(TextKey::Name)];
    store.snapshot().unwrap().search(&SearchQuery { order, ..SearchQuery::new(ONE) }).unwrap();
    store.close().unwrap();
    let store = options(&storage).open().unwrap();
    check(&store);
    assert!(was_loaded(&store, ONE) && was_loaded(&store, TWO));
}

#[test]
fn small_experiments_and_unsearched_ones_leave_no_file() {
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let store = lived_in(&storage);
    store.close().unwrap();
    assert!(bytes_of(&storage).is_none());
    let store = options(&storage).search_snap_runs_min(21).open().unwrap();
    check(&store);
    store.close().unwrap();
    assert!(bytes_of(&storage).is_none());
}

/// Changes runs in every possible way after the file was saved.
fn changes(store: &Store) {
    let sync = |batch: Batch| {
        store.append(batch, Durability::Sync).unwrap();
    };
    let point = |step| Point { step, time: TimestampMs(9), value: 100.0 + step as f64 };
    sync(Batch::new().metric(run_id(3), "loss", point(7), None).metric(run_id(4), "late", point(8), None));
    sync(Batch::new().event(RunTagsSet { run: run_id(5), tags: vec![("late".into(), "yes".into())] }));
    sync(Batch::new().event(RunDeleted { run: run_id(6), at_ms: 1 }).event(RunDeleted { run: run_id(7), at_ms: 1 }));
    sync(Batch::new().event(RunPurged { run: run_id(7) }));
    create(store, ONE, 40..43);
    create(store, TWO, 43..45);
    sync(Batch::new().event(ExperimentDeleted { experiment: TWO, at_ms: 3 }));
    sync(Batch::new().event(RunRestored { run: run_id(21) }));
    let key = store.metric_key("loss").unwrap();
    let row = [(key, 55.0)];
    store.run(run_id(9)).unwrap().log_row(4, TimestampMs(9), &row, Durability::Sync).unwrap();
}

#[test]
fn a_save_catches_up_with_the_log() {
    for (checkpoint, seal) in [(false, false), (true, false), (true, true)] {
        let storage = saved();
        let store = options(&storage).open().unwrap();
        changes(&store);
        if checkpoint {
            store.checkpoint().unwrap();
        }
        if seal {
            store.seal().unwrap();
        }
        // Search before and after, and again after a crash.
        check(&store);
        changes_again(&store);
        check(&store);
        assert!(was_loaded(&store, ONE));
        drop(store);
        let store = options(&storage).open().unwrap();
        changes_again(&store);
        check(&store);
        assert!(was_loaded(&store, ONE) && was_loaded(&store, TWO));
    }
}

fn changes_again(store: &Store) {
    let tags = vec![("late".into(), format!("{}", store.positions().published))];
    store.append(Batch::new().event(RunTagsSet { run: run_id(11), tags }), Durability::Sync).unwrap();
}

#[test]
fn a_compaction_since_sends_the_search_to_the_index() {
    let storage = saved();
    let store = options(&storage).open().unwrap();
    changes(&store);
    store.compact(&CompactOptions::default()).unwrap();
    drop(store);
    let store = options(&storage).open().unwrap();
    check(&store);
    assert!(!was_loaded(&store, ONE));
    store.close().unwrap();
    let store = options(&storage).open().unwrap();
    check(&store);
    assert!(was_loaded(&store, ONE));
}

#[test]
fn a_forgotten_projection_is_loaded_and_brought_forward_again() {
    let storage = saved();
    let store = options(&storage).open().unwrap();
    changes(&store);
    check(&store);
    changes_again(&store);
    // The search before took everything from the list.
    store.core().projections.bound(0);
    check(&store);
    assert!(was_loaded(&store, ONE));
    storage.remove(SNAP_PATH).unwrap();
    changes_again(&store);
    store.core().projections.bound(0);
    check(&store);
    assert!(!was_loaded(&store, ONE));
}

#[test]
fn the_background_saves_what_stands_and_only_what_is_durable() {
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let store = lived_in(&storage);
    check(&store);
    let core = store.core().clone();
    core.save_searches(false).unwrap();
    let parts = |core: &Core| SnapFile::open(&*core.storage, core.store_id).unwrap().unwrap().parts().to_vec();
    assert!(parts(&core).iter().all(|part| part.position <= core.applied()) && parts(&core).len() == 2);
    let first = bytes_of(&storage);
    create(&store, ONE, 30..39);
    core.save_searches(false).unwrap();
    assert!(bytes_of(&storage) == first, "once a minute is enough");
    core.projections.saving.lock().next_ms = 0;
    core.save_searches(false).unwrap();
    assert!(bytes_of(&storage) != first);
    drop(store);
    drop(core);
    let store = options(&storage).open().unwrap();
    check(&store);
    assert!(was_loaded(&store, ONE));
}

#[test]
fn whatever_is_wrong_with_it_the_answers_are_right() {
    let storage = saved();
    let good = bytes_of(&storage).unwrap();
    let mut bad: Vec<Vec<u8>> = (0..good.len()).step_by(23).map(|cut| good[..cut].to_vec()).collect();
    for at in (0..good.len()).step_by(37).chain(good.len() - 36 - 96..good.len()) {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        bad.push(bytes);
    }
    for bytes in bad {
        put(&storage, &bytes);
        let store = options(&storage).open().unwrap();
        check(&store);
        drop(store);
    }
}

#[test]
fn what_is_foreign_or_ahead_of_the_index_is_removed() {
    let storage = saved();
    let good = bytes_of(&storage).unwrap();
    let store = options(&storage).open().unwrap();
    let (id, applied) = (store.id(), store.core().applied());
    drop(store);
    let left = |id: StoreId, applied: Lsn| {
        put(&storage, &good);
        let removed = settle(&*storage, id, applied).unwrap();
        (removed == [SNAP_PATH], bytes_of(&storage).is_some())
    };
    assert_eq!(left(id, applied), (false, true));
    assert_eq!(left(StoreId([9; 16]), applied), (true, false));
    assert_eq!(left(id, Lsn(3)), (true, false));
    // Building a new index removes the file too, and an open removes a leftover.
    put(&storage, &good);
    storage.rename(SNAP_PATH, SNAP_TMP_PATH).unwrap();
    put(&storage, &good);
    storage.remove("index.redb").unwrap();
    let store = options(&storage).open().unwrap();
    assert!(bytes_of(&storage).is_none());
    assert!(storage.open(SNAP_TMP_PATH, OpenMode::Read).is_err());
    check(&store);
}

#[test]
fn a_save_that_fails_costs_nothing() {
    let tmp: [(&[Call], &str); 3] =
        [(&[Call::Write], SNAP_TMP_PATH), (&[Call::Sync], SNAP_TMP_PATH), (&[Call::Rename], SNAP_PATH)];
    for (calls, path) in tmp {
        let disk = SimDisk::new(3);
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let store = lived_in(&storage);
        check(&store);
        store.flush().unwrap();
        store.checkpoint().unwrap();
        disk.inject(Fault::new(calls, Failure::Full).at(path));
        let result = store.core().save_searches(false);
        assert!(matches!(result, Err(Error::StorageFull { .. })), "{calls:?}: {result:?}");
        assert!(bytes_of(&storage).is_none() && storage.open(SNAP_TMP_PATH, OpenMode::Read).is_err());
        check(&store);
        store.close().unwrap();
        let disk = disk.after_power_cut(PowerCut::seeded(4));
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        check(&options(&storage).open().unwrap());
    }
}

#[test]
fn the_bytes_of_the_directory_are_pinned() {
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let mut writer = SnapWriter::create(&*storage).unwrap();
    let part = Part {
        experiment: ExperimentId(7),
        position: Lsn(300),
        lifecycle_lsn: Lsn(2),
        generation: 1,
        offset_bytes: 0,
        len_bytes: 0,
    };
    writer.add(part, |sink| sink(b"part")).unwrap();
    writer.finish(StoreId([5; 16])).unwrap();
    let hex: String = bytes_of(&storage).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = concat!(
        "70617274",
        "0700000000000000",
        "2c01000000000000",
        "0200000000000000",
        "0100000000000000",
        "0000000000000000",
        "0400000000000000",
        "524c534e4150530a",
        "01000000",
        "01000000",
        "05050505050505050505050505050505",
    );
    assert_eq!(hex[..hex.len() - 8], *expected);
}
