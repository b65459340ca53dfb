//! Points that are equal, in time and late, by every way into the store.

use proptest::prelude::*;

use super::*;
use crate::id::KeyId;
use crate::ingest::look_up::LookUp;
use crate::query::points::HistoryPosition;
use crate::{CompactOptions, MetricContext, VerifyOptions};

const NOW: i64 = 1_700_000_000_000;
const RUN: u8 = 1;

fn at(step: i64, time: i64, value: f64) -> Point {
    Point { step, time: TimestampMs(time), value }
}

fn count(store: &Store, key: &str) -> u64 {
    let snapshot = store.snapshot().unwrap();
    let page = snapshot.history(run_id(RUN), key, &HistoryQuery::default()).unwrap();
    let counted = snapshot.count_exact(run_id(RUN), key).unwrap();
    assert_eq!(page.columns.len() as u64, counted, "{key}");
    let stats = snapshot.stats(run_id(RUN), key).unwrap();
    assert_eq!(stats.map_or(0, |stats| stats.count_raw), counted, "{key}");
    counted
}

fn is_sound(store: &Store) {
    store.flush().unwrap();
    let report = store.verify(&VerifyOptions::default()).unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
}

/// The ways in which a point may come.
const WAYS: [&str; 6] = ["point", "row", "wide row", "points", "batch", "sync row"];

/// Logs the same point of `k0` so many times.
fn log(store: &Store, way: &str, point: Point, times: usize) {
    let keys: Vec<KeyId> = (0..6).map(|key| store.metric_key(&format!("k{key}")).unwrap()).collect();
    let handle = store.run(run_id(RUN)).unwrap();
    let row = |width: usize| keys[..width].iter().map(|key| (*key, point.value)).collect::<Vec<_>>();
    for _ in 0..times {
        let _lsn = match way {
            "point" => handle.log_point(keys[0], point, Durability::Buffered).unwrap(),
            "row" => handle.log_row(point.step, point.time, &row(2), Durability::Buffered).unwrap(),
            "wide row" => handle.log_row(point.step, point.time, &row(6), Durability::Buffered).unwrap(),
            "sync row" => handle.log_row(point.step, point.time, &row(3), Durability::Sync).unwrap(),
            "points" => {
                let points = [KeyedPoint { key: keys[0], point }];
                handle.log_points(&points, Durability::Buffered).unwrap()
            }
            _ => {
                let batch = Batch::new().metric(run_id(RUN), "k0", point, None);
                store.append(batch, Durability::Buffered).unwrap().lsn
            }
        };
    }
}

/// 1,000 calls within a millisecond, of 0 or 1 and without a step: their mean was 0.5 instead of 0.8.
#[test]
fn equal_points_that_are_logged_now_are_points_by_every_way() {
    for way in WAYS {
        let (storage, store) = new_store();
        log(&store, way, at(0, NOW, 1.0), 30);
        log(&store, way, at(0, NOW, 0.0), 10);
        assert_eq!(count(&store, "k0"), 40, "{way}");
        let keys = [("k0", 0.0), ("k0", 1.0)]
            .map(|(_, value)| KeyedPoint { key: store.metric_key("k0").unwrap(), point: at(0, NOW, value) });
        // Also in one batch.
        let many: Vec<_> = (0..50).map(|i| keys[usize::from(i % 5 != 0)]).collect();
        store.run(run_id(RUN)).unwrap().log_points(&many, Durability::Sync).unwrap();
        assert_eq!(count(&store, "k0"), 90, "{way}");
        store.seal().unwrap();
        assert_eq!(count(&store, "k0"), 90, "{way}");
        log(&store, way, at(0, NOW, 1.0), 3);
        store.flush().unwrap();
        store.compact(&CompactOptions::default()).unwrap();
        assert_eq!(count(&store, "k0"), 93, "{way}");
        is_sound(&store);
        drop(store);
        let store = options(&storage).open().unwrap();
        assert_eq!(count(&store, "k0"), 93, "{way}");
        let history = values(&store, run_id(RUN), "k0");
        assert_eq!(history.iter().sum::<f64>(), 73.0, "{way}");
        // The line is drawn a second after the time of the point.
        let late = || at(0, NOW - 1_000, 1.0);
        log(&store, way, late(), 2);
        assert_eq!(count(&store, "k0"), 95, "{way}");
    }
}

#[test]
fn pages_of_points_that_tie_have_each_of_them_once() {
    let (_storage, store) = new_store();
    log(&store, "point", at(0, NOW, 1.0), 7);
    store.flush().unwrap();
    store.seal().unwrap();
    log(&store, "point", at(0, NOW, 1.0), 6);
    log(&store, "point", at(1, NOW, 1.0), 2);
    let snapshot = store.snapshot().unwrap();
    for limit in 1..16 {
        let (mut steps, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let query = HistoryQuery { limit, after, ..HistoryQuery::default() };
            let page = snapshot.history(run_id(RUN), "k0", &query).unwrap();
            steps.extend(page.columns.steps);
            pages += 1;
            assert!(pages < 20);
            match page.next {
                Some(next) => after = HistoryPosition::from_bytes(&next.to_bytes()),
                None => break,
            }
        }
        assert_eq!(steps, [[0].repeat(13), vec![1, 1]].concat(), "limit {limit}");
    }
    // Tokens of earlier versions are behind all that tie.
    let query = HistoryQuery { limit: 1, ..HistoryQuery::default() };
    let token = snapshot.history(run_id(RUN), "k0", &query).unwrap().next.unwrap().to_bytes();
    let query = HistoryQuery { after: HistoryPosition::from_bytes(&token[..24]), ..HistoryQuery::default() };
    assert_eq!(snapshot.history(run_id(RUN), "k0", &query).unwrap().columns.steps, [1, 1]);
}

/// A retried request, or a script that runs again, changes nothing.
#[test]
fn a_late_point_that_is_there_is_not_stored_again_by_any_way() {
    let old = |step: i64| at(step, NOW - 1_001 - (10 - step), 0.5);
    for way in WAYS {
        for again in WAYS {
            let (storage, mut store) = new_store();
            (0..10).for_each(|step| log(&store, way, old(step), 1));
            for stage in 0..4 {
                match stage {
                    0 => {}
                    1 => {
                        store.flush().unwrap();
                        store.seal().unwrap();
                    }
                    2 => drop(store.compact(&CompactOptions::default()).unwrap()),
                    _ => {
                        drop(store);
                        store = options(&storage).open().unwrap();
                    }
                }
                // Backwards: out of order, and not only the last one.
                (0..10).rev().for_each(|step| log(&store, again, old(step), 2));
                assert_eq!(count(&store, "k0"), 10, "{way}, then {again}, stage {stage}");
            }
            // What differs in anything is another point.
            log(&store, again, at(3, old(3).time.0, 0.25), 2);
            log(&store, again, at(3, old(3).time.0 - 5, 0.5), 2);
            assert_eq!(count(&store, "k0"), 12, "{way}, then {again}");
            is_sound(&store);
        }
    }
}

#[test]
fn a_batch_is_decided_as_if_its_points_came_one_after_the_other() {
    let (_storage, store) = new_store();
    let context = |model: &str| Some(MetricContext { model_id: Some(model.into()), ..MetricContext::default() });
    let (old, other_nan) = (NOW - 5_000, f64::from_bits(f64::NAN.to_bits() | 1));
    let batch = || {
        let mut batch = Batch::new();
        for _ in 0..3 {
            batch.push_metric(run_id(RUN), "a", at(0, old, 1.0), None);
            batch.push_metric(run_id(RUN), "a", at(0, old, 1.0), context("m"));
            batch.push_metric(run_id(RUN), "a", at(0, old, 1.0), context("n"));
            batch.push_metric(run_id(RUN), "a", at(0, old, f64::NAN), None);
            batch.push_metric(run_id(RUN), "a", at(0, old, other_nan), None);
            batch.push_metric(run_id(RUN), "a", at(0, old, 0.0), None);
            batch.push_metric(run_id(RUN), "a", at(0, old, -0.0), None);
            batch.push_metric(run_id(RUN), "b", at(0, NOW, 1.0), None);
        }
        batch
    };
    let first = store.append(batch(), Durability::Buffered).unwrap().lsn;
    assert_eq!((count(&store, "a"), count(&store, "b")), (7, 3));
    store.append(batch(), Durability::Buffered).unwrap();
    assert_eq!((count(&store, "a"), count(&store, "b")), (7, 6));
    // Nothing is left of a batch of points that are there: nothing is appended.
    let again = || Batch::new().metric(run_id(RUN), "a", at(0, old, 1.0), None);
    let head = store.positions().published;
    let receipt = store.append(again(), Durability::Sync).unwrap();
    assert_eq!((store.positions().published, receipt.repeated), (head, false));
    assert!(receipt.lsn >= first && store.positions().durable >= receipt.lsn);
    // With a key it is: the key must be known afterwards.
    let receipt = store.append(again().idempotency_key("k"), Durability::Buffered).unwrap();
    assert_eq!((receipt.lsn, receipt.repeated), (head.next(), false));
    assert!(store.append(again().idempotency_key("k"), Durability::Buffered).unwrap().repeated);
    assert_eq!(count(&store, "a"), 7);
    // Who asks for it gets all points looked up, or none.
    let b = || Batch::new().metric(run_id(RUN), "b", at(0, NOW, 1.0), None);
    store.append(b().look_up(LookUp::All), Durability::Buffered).unwrap();
    assert_eq!(count(&store, "b"), 6);
    store.append(again().look_up(LookUp::Nothing), Durability::Buffered).unwrap();
    assert_eq!(count(&store, "a"), 8);
    // Conditions hold, and runs that take no points refuse these as well.
    let conflict = store.append(again().expect_head(first), Durability::Buffered).unwrap_err();
    assert!(matches!(conflict, Error::Conflict { .. }), "{conflict}");
    let deleted = RunDeleted { run: run_id(RUN), at_ms: 1 };
    store.append(Batch::new().event(deleted), Durability::Buffered).unwrap();
    let refused = store.append(again(), Durability::Buffered).unwrap_err();
    assert!(matches!(refused, Error::Deleted { .. }), "{refused}");
}

/// What a branch continues counts as its own.
#[test]
fn a_late_point_of_a_rewound_run_is_found_in_what_it_continues() {
    let (_storage, store) = new_store();
    let old = |step: i64| at(step, NOW - 100_000 + step, 1.0);
    (0..10).for_each(|step| log(&store, "row", old(step), 1));
    store.flush().unwrap();
    store.seal().unwrap();
    (10..20).for_each(|step| log(&store, "row", old(step), 1));
    store.rewind(run_id(RUN), 14, None).unwrap();
    assert_eq!(count(&store, "k0"), 15);
    // 15 to 19 are of the dead branch: not there any more.
    (0..20).for_each(|step| log(&store, "row", old(step), 2));
    assert_eq!(count(&store, "k0"), 20);
    (0..20).rev().for_each(|step| log(&store, "points", old(step), 1));
    assert_eq!(count(&store, "k0"), 20);
}

#[test]
fn retries_at_the_same_time_store_each_point_once() {
    let (_storage, store) = new_store();
    for durability in [Durability::Buffered, Durability::Sync] {
        let key = if durability == Durability::Sync { "sync" } else { "buffered" };
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let store = store.clone();
                scope.spawn(move || {
                    for round in 0..40 {
                        // Every other one is new at the end, the others lie among those that are there.
                        let step = if round % 2 == 0 { round } else { -round };
                        let mut batch = Batch::new();
                        batch.push_metric(run_id(RUN), key, at(step, NOW - 9_000 + step, 1.0), None);
                        store.append(batch, durability).unwrap();
                        // Writers that are in time hold nobody up.
                        let now = Batch::new().metric(run_id(RUN), key, at(1_000, NOW, f64::from(thread)), None);
                        store.append(now, durability).unwrap();
                    }
                });
            }
        });
        assert_eq!(count(&store, key), 40 + 160, "{key}");
    }
    is_sound(&store);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::series::tests::cases(64)))]
    /// Batches of few different points in any order, some in time, with seals and evictions in between, against a list.
    #[test]
    fn stored_is_what_is_in_time_or_not_there(
        batches in prop::collection::vec((prop::collection::vec((0i64..6, 0i64..4, 0u8..3), 1..12), 0u8..8), 1..30),
        tight: bool,
    ) {
        let storage: Arc<dyn Storage> = Arc::new(Memory::new());
        let memory_bytes = if tight { 4_096 } else { 256 << 20 };
        let store = options(&storage).memory_bytes(memory_bytes).open().unwrap();
        let created = Batch::new().event(experiment(EXPERIMENT, "e")).event(run(run_id(RUN)));
        store.append(created, Durability::Sync).unwrap();
        let key = store.metric_key("k0").unwrap();
        let handle = store.run(run_id(RUN)).unwrap();
        let mut expected: Vec<(i64, i64, u64)> = Vec::new();
        for (points, then) in batches {
            let points: Vec<Point> = points
                .iter()
                // Two times are late, two are not.
                .map(|(step, time, value)| at(*step, NOW - 999 - 2 + time, f64::from(*value)))
                .collect();
            for point in &points {
                let id = (point.time.0, point.step, point.value.to_bits());
                if point.time.0 >= NOW - 1_000 || !expected.contains(&id) {
                    expected.push(id);
                }
            }
            let keyed: Vec<_> = points.iter().map(|point| KeyedPoint { key, point: *point }).collect();
            match then {
                0 => {
                    for point in &points {
                        handle.log_point(key, *point, Durability::Buffered).unwrap();
                    }
                }
                1 => {
                    handle.log_points(&keyed, Durability::Sync).unwrap();
                }
                2 => {
                    let mut batch = Batch::new();
                    points.iter().for_each(|p| batch.push_metric(run_id(RUN), "k0", *p, None));
                    store.append(batch, Durability::Buffered).unwrap();
                }
                _ => {
                    handle.log_points(&keyed, Durability::Buffered).unwrap();
                }
            }
            if then > 5 {
                store.flush().unwrap();
                if then == 6 { store.seal().unwrap() } else { store.checkpoint().unwrap() };
            }
        }
        expected.sort_by(|a, b| (a.0, a.1, f64::from_bits(a.2)).partial_cmp(&(b.0, b.1, f64::from_bits(b.2))).unwrap());
        let page = store.snapshot().unwrap().history(run_id(RUN), "k0", &HistoryQuery::default()).unwrap().columns;
        let found: Vec<_> = (0..page.len()).map(|i| (page.times[i], page.steps[i], page.values[i].to_bits())).collect();
        prop_assert_eq!(found, expected);
        is_sound(&store);
    }
}
