mod late;
mod readers;
mod rows;

use std::sync::Arc;

use super::*;
use crate::entity::{EntityKey, Lifecycle};
use crate::event::*;
use crate::id::{ExperimentId, RunId};
use crate::ingest::encode::KeyedPoint;
use crate::options::Options;
use crate::point::Point;
use crate::query::past::AsOf;
use crate::query::points::HistoryQuery;
use crate::storage::Storage;
use crate::storage::memory::Memory;
use crate::time::{ManualClock, TimestampMs};

const EXPERIMENT: ExperimentId = ExperimentId(1);

fn run_id(number: u8) -> RunId {
    RunId([number; 16])
}

fn point(step: i64, value: f64) -> Point {
    Point { step, time: TimestampMs(1_000 + step.max(0)), value }
}

fn experiment(id: ExperimentId, name: &str) -> ExperimentCreated {
    ExperimentCreated {
        experiment: id,
        name: name.into(),
        artifact_location: None,
        creation_time_ms: 1,
        last_update_time_ms: 1,
        tags: vec![],
    }
}

fn run(id: RunId) -> RunCreated {
    RunCreated {
        run: id,
        experiment: EXPERIMENT,
        name: "r".into(),
        user_id: "u".into(),
        status: RunStatus::Running,
        start_time_ms: 5,
        artifact_location: None,
        tags: vec![],
    }
}

fn options(storage: &Arc<dyn Storage>) -> Options {
    Store::options("unused")
        .storage(storage.clone())
        .background(false)
        .seed(1)
        .clock(Arc::new(ManualClock::at(TimestampMs(1_700_000_000_000))))
}

fn new_store() -> (Arc<dyn Storage>, Store) {
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let store = options(&storage).open().unwrap();
    store.append(Batch::new().event(experiment(EXPERIMENT, "e")).event(run(run_id(1))), Durability::Sync).unwrap();
    (storage, store)
}

fn values(store: &Store, run: RunId, key: &str) -> Vec<f64> {
    store.snapshot().unwrap().history(run, key, &HistoryQuery::default()).unwrap().columns.values
}

#[test]
fn what_is_appended_is_read_back_hot_sealed_and_after_a_reopen() {
    let (storage, store) = new_store();
    let loss = store.metric_key("loss").unwrap();
    let handle = store.run(run_id(1)).unwrap();
    for step in 0..20 {
        handle.log_point(loss, point(step, step as f64), Durability::Buffered).unwrap();
    }
    let points: Vec<_> = (20..60).map(|step| KeyedPoint { key: loss, point: point(step, step as f64) }).collect();
    handle.log_points(&points, Durability::Sync).unwrap();
    let expected: Vec<f64> = (0..60).map(f64::from).collect();
    assert_eq!(values(&store, run_id(1), "loss"), expected);
    assert_eq!(store.seal().unwrap(), store.positions().durable);
    assert_eq!(values(&store, run_id(1), "loss"), expected);
    handle.log_point(loss, point(60, 60.0), Durability::Buffered).unwrap();
    let stats = store.snapshot().unwrap().latest(run_id(1)).unwrap();
    assert_eq!((stats[0].1.count_raw, stats[0].1.min, stats[0].1.max), (61, 0.0, 60.0));
    drop(store);
    for close in [false, true, false] {
        if close {
            store_of(&storage).close().unwrap();
        }
        let store = store_of(&storage);
        assert_eq!(values(&store, run_id(1), "loss").len(), 61);
        let stats = store.snapshot().unwrap().latest(run_id(1)).unwrap();
        assert_eq!((stats[0].1.count_raw, stats[0].1.last_value), (61, 60.0), "close {close}");
        assert!(!stats[0].1.maybe_repeats);
    }
}

#[test]
fn a_batch_is_refused_if_what_it_excludes_happened_since() {
    let (_storage, store) = new_store();
    let id = run_id(1);
    let since = store.snapshot().unwrap().position();
    let renamed = |since| {
        let update = RunUpdated { run: id, status: None, end_time_ms: None, name: Some("x".into()) };
        Batch::new().event(update).expect_no(since, |event| matches!(event, Event::RunTagsSet(_)))
    };
    store.append(Batch::new().event(ParamsLogged { run: id, params: vec![] }), Durability::Buffered).unwrap();
    store.append(Batch::new().metric(id, "m", point(0, 1.0), None), Durability::Buffered).unwrap();
    store.append(renamed(since), Durability::Sync).unwrap();
    let tags = RunTagsSet { run: id, tags: vec![("a".into(), "b".into())] };
    let tagged = store.append(Batch::new().event(tags), Durability::Sync).unwrap().lsn;
    let refused = store.append(renamed(since), Durability::Sync);
    assert!(matches!(refused, Err(Error::Conflict { actual, .. }) if actual == tagged.0), "{refused:?}");
    store.append(renamed(tagged), Durability::Sync).unwrap();
    assert!(renamed(tagged).to_bytes().is_err(), "another process cannot judge it");
}

fn store_of(storage: &Arc<dyn Storage>) -> Store {
    options(storage).open().unwrap()
}

/// Of one metric, a section that stays in the log and points that are copied may come in one frame.
#[test]
fn points_of_one_frame_all_count_wherever_they_are_kept() {
    let (storage, store) = new_store();
    let context = |model: &str| Some(crate::MetricContext { model_id: Some(model.into()), ..Default::default() });
    let mut batch = Batch::new();
    (0..20).for_each(|step| batch.push_metric(run_id(1), "loss", point(step, 1.0), context("a")));
    (20..23).for_each(|step| batch.push_metric(run_id(1), "loss", point(step, 1.0), context("b")));
    store.append(batch, Durability::Sync).unwrap();
    let held = store.snapshot().unwrap();
    let count = |snapshot: &Snapshot| snapshot.stats(run_id(1), "loss").unwrap().unwrap().count_raw;
    let more = |store: &Store, step| {
        let batch = Batch::new().metric(run_id(1), "loss", point(step, 1.0), None);
        store.append(batch, Durability::Buffered).unwrap();
    };
    // The checkpoint stands between the two frames.
    more(&store, 23);
    store.checkpoint().unwrap();
    assert_eq!((count(&held), count(&store.snapshot().unwrap())), (23, 24));
    drop((held, store));
    let store = store_of(&storage);
    assert_eq!(count(&store.snapshot().unwrap()), 24);
    // So does a seal.
    store.flush().unwrap();
    more(&store, 24);
    let held = store.snapshot().unwrap();
    more(&store, 25);
    store.seal().unwrap();
    assert_eq!((count(&held), count(&store.snapshot().unwrap())), (25, 26));
    drop((held, store));
    assert_eq!(count(&store_of(&storage).snapshot().unwrap()), 26);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(60))]

    /// What a page leaves undecoded is nothing that it holds: it is the page that all points together would give.
    #[test]
    fn a_page_of_hot_points_is_a_page_of_all_points(
        batches in proptest::collection::vec((1i64..30, 0i64..3, 0u8..12), 1..12),
        late in 0usize..30,
        queries in proptest::collection::vec(
            (-5i64..200, 0i64..200, 990i64..1_400, 0i64..400, 0u64..20, 1usize..40), 1..12),
    ) {
        let (storage, mut store) = new_store();
        let mut step = 0;
        let mut clock = 1_000;
        for (at, (count, pace, then)) in batches.into_iter().enumerate() {
            // Once, perhaps, points come again that were there before.
            step -= if at == late { 3 } else { 0 };
            let points: Vec<KeyedPoint> = (0..count)
                .map(|_| {
                    step += 1;
                    clock += pace;
                    let point = Point { step, time: TimestampMs(clock), value: step as f64 };
                    KeyedPoint { key: store.metric_key("m").unwrap(), point }
                })
                .collect();
            store.run(run_id(1)).unwrap().log_points(&points, Durability::Sync).unwrap();
            match then {
                0 => drop(store.seal().unwrap()),
                1 => drop(store.checkpoint().unwrap()),
                2 => {
                    drop(store);
                    store = store_of(&storage);
                }
                _ => {}
            }
        }
        let snapshot = store.snapshot().unwrap();
        let series = crate::id::SeriesId { run: run_id(1), key: store.metric_key("m").unwrap() };
        let whole = snapshot.source(series, snapshot.position()).unwrap();
        for (first, width, from_ms, span_ms, offset, limit) in queries {
            let all = HistoryQuery { limit, offset, columns: crate::series::ColumnSet::ALL, ..HistoryQuery::default() };
            let steps = HistoryQuery { steps: (first, first + width), ..all };
            let times = HistoryQuery { times_ms: (from_ms, from_ms + span_ms), ..all };
            for query in [all, steps, times, HistoryQuery { limit: usize::MAX, ..steps }] {
                let mut query = query;
                for _ in 0..4 {
                    let expected = crate::query::points::history(&whole, &query).unwrap();
                    let page = snapshot.history(run_id(1), "m", &query).unwrap();
                    proptest::prop_assert_eq!(&page.columns.steps, &expected.columns.steps);
                    proptest::prop_assert_eq!(&page.columns.times, &expected.columns.times);
                    proptest::prop_assert_eq!(&page.columns.values, &expected.columns.values);
                    proptest::prop_assert_eq!(&page.columns.lsns, &expected.columns.lsns);
                    proptest::prop_assert_eq!(page.next, expected.next);
                    let Some(next) = page.next else { break };
                    query = HistoryQuery { after: Some(next), offset: 0, ..query };
                }
            }
        }
    }
}

#[test]
fn a_long_log_is_replayed_while_it_is_written_again() {
    // With little memory the replay stops on its way, to seal.
    for memory_bytes in [256 << 20, 1 << 16] {
        let (storage, store) = new_store();
        let loss = store.metric_key("loss").unwrap();
        let handle = store.run(run_id(1)).unwrap();
        let mut logged = 0;
        // Times and values that take 12 bytes a point, and more than are written again without a thread.
        while logged < 800_000 {
            let points: Vec<KeyedPoint> = (logged..logged + 5_000)
                .map(|step| {
                    let point = Point { step, time: TimestampMs(1_000 + step * 70_000), value: step as f64 * 0.1 };
                    KeyedPoint { key: loss, point }
                })
                .collect();
            handle.log_points(&points, Durability::Buffered).unwrap();
            logged += 5_000;
        }
        drop(handle);
        drop(store);
        let store = options(&storage).memory_bytes(memory_bytes).open().unwrap();
        let rewritten_bytes = store.open_notes().log.rewritten_bytes;
        assert!(rewritten_bytes > 8 << 20, "{rewritten_bytes} bytes");
        let snapshot = store.snapshot().unwrap();
        assert_eq!(snapshot.count_exact(run_id(1), "loss").unwrap(), logged as u64);
        let page = snapshot.history(run_id(1), "loss", &HistoryQuery { limit: 10, ..HistoryQuery::default() }).unwrap();
        assert_eq!(page.columns.steps, (0..10).collect::<Vec<_>>());
        drop(snapshot);
        store.run(run_id(1)).unwrap().log_point(loss, point(logged, 1.0), Durability::Sync).unwrap();
    }
}

#[test]
fn a_refused_batch_leaves_the_store_as_it_was() {
    let (_storage, store) = new_store();
    let before = store.positions();
    let params = |value: &str| ParamsLogged { run: run_id(1), params: vec![("lr".into(), value.into())] };
    store.append(Batch::new().event(params("0.1")), Durability::Sync).unwrap();
    store.append(Batch::new().event(params("0.1")), Durability::Sync).unwrap();
    let mixed = Batch::new().event(params("0.2")).metric(run_id(1), "m", point(0, 1.0), None);
    assert!(matches!(store.append(mixed, Durability::Sync), Err(Error::ParamChanged { .. })));
    let unknown = Batch::new().metric(run_id(9), "m", point(0, 1.0), None);
    assert!(matches!(store.append(unknown, Durability::Sync), Err(Error::NotFound { .. })));
    let negative = Batch::new().metric(run_id(1), "m", Point { time: TimestampMs(-1), ..point(0, 1.0) }, None);
    assert!(matches!(store.append(negative, Durability::Sync), Err(Error::Invalid { .. })));
    let taken = Batch::new().event(experiment(ExperimentId(2), "e"));
    assert!(matches!(store.append(taken, Durability::Sync), Err(Error::AlreadyExists { .. })));
    assert!(store.append(Batch::new(), Durability::Sync).is_err());
    assert_eq!(store.positions().published.0, before.published.0 + 2);
    assert!(store.snapshot().unwrap().latest(run_id(1)).unwrap().is_empty());

    store.append(Batch::new().event(RunDeleted { run: run_id(1), at_ms: 9 }), Durability::Sync).unwrap();
    let deleted = Batch::new().metric(run_id(1), "m", point(0, 1.0), None);
    assert!(matches!(store.append(deleted, Durability::Buffered), Err(Error::Deleted { .. })));
    let handle = store.run(run_id(1)).unwrap();
    let key = store.metric_key("m").unwrap();
    assert!(matches!(handle.log_point(key, point(0, 1.0), Durability::Buffered), Err(Error::Deleted { .. })));
    store.append(Batch::new().event(RunRestored { run: run_id(1) }), Durability::Sync).unwrap();
    handle.log_point(key, point(0, 1.0), Durability::Buffered).unwrap();
    let gone = ExperimentDeleted { experiment: EXPERIMENT, at_ms: 1 };
    store.append(Batch::new().event(gone), Durability::Sync).unwrap();
    assert!(matches!(handle.log_point(key, point(1, 1.0), Durability::Buffered), Err(Error::Deleted { .. })));
}

#[test]
fn a_retried_batch_is_recognised_also_after_checkpoint_and_reopen() {
    let (storage, store) = new_store();
    let batch =
        |value: f64| Batch::new().metric(run_id(1), "m", point(0, value), None).idempotency_key(b"key-1").actor("ann");
    let first = store.append(batch(1.0), Durability::Buffered).unwrap();
    assert!(!first.repeated);
    let again = store.append(batch(1.0), Durability::Sync).unwrap();
    assert_eq!((again.lsn, again.repeated), (first.lsn, true));
    assert!(matches!(store.append(batch(2.0), Durability::Sync), Err(Error::KeyReused { .. })));
    store.checkpoint().unwrap();
    assert!(store.append(batch(1.0), Durability::Sync).unwrap().repeated);
    drop(store);
    let store = store_of(&storage);
    assert_eq!(store.append(batch(1.0), Durability::Sync).unwrap().lsn, first.lsn);
    assert!(matches!(store.append(batch(2.0), Durability::Sync), Err(Error::KeyReused { .. })));
}

#[test]
fn expected_positions_guard_against_lost_updates() {
    let (_storage, store) = new_store();
    let key = EntityKey::Run(run_id(1));
    let at = store.snapshot().unwrap().run(run_id(1)).unwrap().unwrap().last;
    let tags = |value: &str| RunTagsSet { run: run_id(1), tags: vec![("t".into(), value.into())] };
    store.append(Batch::new().event(tags("a")).expect(key.clone(), at), Durability::Sync).unwrap();
    let stale = store.append(Batch::new().event(tags("b")).expect(key, at), Durability::Sync);
    assert!(matches!(stale, Err(Error::Conflict { .. })));
    let head = store.positions().published;
    store.append(Batch::new().event(tags("c")).expect_head(head), Durability::Sync).unwrap();
    let stale = store.append(Batch::new().event(tags("d")).expect_head(head), Durability::Sync);
    assert!(matches!(stale, Err(Error::Conflict { .. })));
}

/// More entities than may be in memory come while a snapshot holds all of them: the snapshot is given up, and nobody waits
/// for ever.
#[test]
fn sync_appends_do_not_wait_for_a_snapshot_that_is_kept() {
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let store = Arc::new(Store::options("unused").storage(storage).seed(1).memory_bytes(16 << 20).open().unwrap());
    store.append(Batch::new().event(experiment(EXPERIMENT, "e")).event(run(run_id(1))), Durability::Sync).unwrap();
    let kept = store.snapshot().unwrap();
    let (done, ended) = std::sync::mpsc::channel();
    let writer = store.clone();
    std::thread::spawn(move || {
        for number in 0..200 {
            let tags = vec![("note".into(), "n".repeat(64 << 10))];
            let created = RunCreated { tags, ..run(run_id(number + 2)) };
            done.send(writer.append(Batch::new().event(created), Durability::Sync).map(|_| ())).unwrap();
        }
    });
    for number in 0..200 {
        let appended = ended.recv_timeout(std::time::Duration::from_secs(60));
        appended.unwrap_or_else(|_| panic!("append {number} waits for ever")).unwrap();
    }
    assert!(kept.run(run_id(1)).is_err(), "the snapshot should have been given up");
}

#[test]
fn a_snapshot_stands_still_and_the_past_can_be_asked() {
    let (_storage, store) = new_store();
    let set = |value: &str| {
        let tags = RunTagsSet { run: run_id(1), tags: vec![("t".into(), value.into())] };
        store.append(Batch::new().event(tags).actor("ann"), Durability::Sync).unwrap().lsn
    };
    let tag = |state: &crate::entity::RunState| state.tags.iter().find(|(key, _)| key == "t").unwrap().1.clone();
    let key = store.metric_key("m").unwrap();
    let handle = store.run(run_id(1)).unwrap();
    let first = set("one");
    handle.log_point(key, point(0, 1.0), Durability::Buffered).unwrap();
    let old = store.snapshot().unwrap();
    set("two");
    for step in 1..600 {
        handle.log_point(key, point(step, -1.0), Durability::Buffered).unwrap();
    }
    store.flush().unwrap();
    let check = |old: &Snapshot| {
        assert_eq!(tag(&old.run(run_id(1)).unwrap().unwrap()), "one");
        assert_eq!(old.latest(run_id(1)).unwrap()[0].1.count_raw, 1);
        assert_eq!(old.history(run_id(1), "m", &HistoryQuery::default()).unwrap().columns.values, [1.0]);
    };
    check(&old);
    store.checkpoint().unwrap();
    check(&old);
    store.seal().unwrap();
    check(&old);
    drop(old);
    store.checkpoint().unwrap();

    let now = store.snapshot().unwrap();
    let past = now.as_of(AsOf::Position(first)).unwrap();
    assert_eq!(tag(&past.run(run_id(1)).unwrap().unwrap().0), "one");
    assert_eq!(past.stats(run_id(1), "m").unwrap(), None);
    let past = now.as_of(AsOf::Position(Lsn(first.0 + 10))).unwrap();
    assert_eq!(past.stats(run_id(1), "m").unwrap().unwrap().count_raw, 9);
    let events = now.events(&EntityKey::Run(run_id(1))).unwrap();
    assert_eq!(events.len(), 3);
    assert_eq!(events[1].actor.as_deref(), Some("ann"));
}

#[test]
fn the_time_of_the_first_batch_stays_what_it_was() {
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let clock = Arc::new(ManualClock::at(TimestampMs(1_700_000_000_000)));
    let store = options(&storage).clock(clock.clone()).open().unwrap();
    let first = |store: &Store| store.snapshot().unwrap().first_time().unwrap();
    assert_eq!(first(&store), None);
    let key = store.metric_key("m").unwrap();
    store.append(Batch::new().event(experiment(EXPERIMENT, "e")).event(run(run_id(1))), Durability::Sync).unwrap();
    let began = first(&store);
    assert_eq!(began.unwrap().0 / 1_000, 1_700_000_000);
    for step in 0..100 {
        clock.advance_ms(1_000);
        store.run(run_id(1)).unwrap().log_point(key, point(step, 1.0), Durability::Buffered).unwrap();
    }
    assert_eq!(first(&store), began);
    store.compact(&CompactOptions::default()).unwrap();
    assert_eq!(first(&store), began);
    drop(store);
    assert_eq!(first(&store_of(&storage)), began);
}

#[test]
fn an_index_that_is_deleted_comes_back_equal() {
    let (storage, store) = new_store();
    let mut batch = Batch::new().event(ParamsLogged { run: run_id(1), params: vec![("a".into(), "b".into())] });
    for step in 0..500 {
        batch.push_metric(run_id(1), "loss", point(step, (step as f64).sin()), None);
        batch.push_metric(run_id(1), "acc", point(-step, f64::NAN), None);
    }
    store.append(batch, Durability::Sync).unwrap();
    store.seal().unwrap();
    let before = (store.snapshot().unwrap().run(run_id(1)).unwrap(), values(&store, run_id(1), "loss"));
    let stats = format!("{:?}", store.snapshot().unwrap().latest(run_id(1)).unwrap());
    store.close().unwrap();
    storage.remove("index.redb").unwrap();
    let store = store_of(&storage);
    assert!(store.open_notes().rebuilt.is_some());
    assert_eq!((store.snapshot().unwrap().run(run_id(1)).unwrap(), values(&store, run_id(1), "loss")), before);
    assert_eq!(format!("{:?}", store.snapshot().unwrap().latest(run_id(1)).unwrap()), stats);
}

#[test]
fn many_writers_share_syncs_and_none_is_lost() {
    let (storage, store) = new_store();
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let store = &store;
            scope.spawn(move || {
                let handle = store.run(run_id(1)).unwrap();
                let key = store.metric_key(&format!("m{thread}")).unwrap();
                for step in 0..50 {
                    handle.log_point(key, point(step, 0.5), Durability::Sync).unwrap();
                    let tags = vec![(format!("t{thread}"), step.to_string())];
                    store.append(Batch::new().event(RunTagsSet { run: run_id(1), tags }), Durability::Sync).unwrap();
                }
            });
        }
    });
    drop(store);
    let store = store_of(&storage);
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.latest(run_id(1)).unwrap().iter().map(|(_, s)| s.count_raw).sum::<u64>(), 400);
    assert_eq!(snapshot.run(run_id(1)).unwrap().unwrap().tags.iter().filter(|(_, v)| v == "49").count(), 8);
}

#[test]
fn deleting_and_restoring_an_experiment_does_so_to_its_runs() {
    let (_storage, store) = new_store();
    let lifecycle = || {
        let snapshot = store.snapshot().unwrap();
        snapshot.lifecycle(&snapshot.run(run_id(1)).unwrap().unwrap()).unwrap()
    };
    assert_eq!(lifecycle(), Lifecycle::Active);
    let append = |batch: Batch| store.append(batch, Durability::Sync).unwrap();
    append(Batch::new().event(RunDeleted { run: run_id(1), at_ms: 1 }));
    append(Batch::new().event(ExperimentDeleted { experiment: EXPERIMENT, at_ms: 1 }));
    assert_eq!(lifecycle(), Lifecycle::Deleted);
    append(Batch::new().event(ExperimentRestored { experiment: EXPERIMENT, at_ms: 1 }));
    assert_eq!(lifecycle(), Lifecycle::Active);
}

#[test]
fn a_tail_catches_up_and_follows() {
    let (_storage, store) = new_store();
    let mut tail = store.tail(Lsn(1)).unwrap();
    let batches = tail.next(10, std::time::Duration::ZERO).unwrap();
    assert_eq!((batches.len(), batches[0].events.len()), (1, 2));
    let key = store.metric_key("m").unwrap();
    let handle = store.run(run_id(1)).unwrap();
    handle.log_row(3, TimestampMs(9), &[(key, 1.5)], Durability::Buffered).unwrap();
    assert!(tail.next(10, std::time::Duration::ZERO).unwrap().is_empty(), "not durable yet");
    store.flush().unwrap();
    let batches = tail.next(10, std::time::Duration::ZERO).unwrap();
    assert_eq!(batches[0].points[0].1.values, [1.5]);
}

#[test]
fn a_search_sees_what_was_just_appended_and_an_old_snapshot_does_not() {
    use crate::search::{SearchQuery, filter};
    let (_storage, store) = new_store();
    let key = store.metric_key("loss").unwrap();
    let handle = store.run(run_id(1)).unwrap();
    let query = SearchQuery { filter: Some(filter::metric("loss").lt(0.5)), ..SearchQuery::new(EXPERIMENT) };
    let found = |snapshot: &Snapshot| snapshot.search(&query).unwrap().runs;
    assert!(found(&store.snapshot().unwrap()).is_empty());
    handle.log_point(key, point(0, 0.9), Durability::Buffered).unwrap();
    assert!(found(&store.snapshot().unwrap()).is_empty());
    let old = store.snapshot().unwrap();
    handle.log_point(key, point(1, 0.4), Durability::Buffered).unwrap();
    assert_eq!(found(&store.snapshot().unwrap()), [run_id(1)]);
    assert!(found(&old).is_empty());
    store.flush().unwrap();
    store.seal().unwrap();
    store
        .append(Batch::new().event(run(run_id(2))).metric(run_id(2), "loss", point(0, 0.1), None), Durability::Sync)
        .unwrap();
    assert_eq!(found(&store.snapshot().unwrap()).len(), 2);
    store.append(Batch::new().event(ExperimentDeleted { experiment: EXPERIMENT, at_ms: 1 }), Durability::Sync).unwrap();
    assert!(found(&store.snapshot().unwrap()).is_empty());
    store.append(Batch::new().event(RunRestored { run: run_id(2) }), Durability::Sync).unwrap();
    assert_eq!(found(&store.snapshot().unwrap()), [run_id(2)]);
    assert!(found(&old).is_empty());
}

#[test]
fn a_store_that_rests_seals_what_it_has() {
    let clock = Arc::new(ManualClock::at(TimestampMs(1_700_000_000_000)));
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let store = options(&storage).background(true).clock(clock.clone()).open().unwrap();
    let batch = Batch::new().event(experiment(ExperimentId(1), "e")).event(run(run_id(1)));
    store.append(batch, Durability::Sync).unwrap();
    let handle = store.run(run_id(1)).unwrap();
    // Many short series: what costs memory, and time at the next open.
    for step in 0..60 {
        let keys = (0..2_000).map(|key| store.metric_key(&format!("k{key}")).unwrap());
        let points: Vec<_> = keys.map(|key| KeyedPoint { key, point: point(step, 0.5) }).collect();
        for some in points.chunks(100) {
            handle.log_points(some, Durability::Buffered).unwrap();
        }
    }
    store.flush().unwrap();
    let hot_bytes = || store.core().pipeline.runs.bytes();
    assert!(hot_bytes() > 4 << 20, "{}", hot_bytes());
    assert_eq!(store.positions().sealed, Lsn::ZERO);
    for _ in 0..200 {
        clock.advance_ms(1_000);
        std::thread::sleep(std::time::Duration::from_millis(25));
        if store.positions().sealed == store.positions().published && hot_bytes() < 1 << 20 {
            break;
        }
    }
    assert_eq!(store.positions().sealed, store.positions().published);
    assert!(hot_bytes() < 1 << 20, "{}", hot_bytes());
    assert_eq!(values(&store, run_id(1), "k7").len(), 60);
}
