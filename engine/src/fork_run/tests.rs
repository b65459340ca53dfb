//! A fork shows what a list of its parent's points says, up to the step and the moment of the fork, wherever these points
//! lie, and whatever the parent does afterwards.

use std::sync::Arc;

use proptest::prelude::*;

use crate::event::*;
use crate::id::{ExperimentId, Lsn, RunId};
use crate::options::Options;
use crate::point::Point;
use crate::query::past::AsOf;
use crate::query::points::HistoryQuery;
use crate::search::SearchQuery;
use crate::search::filter::{Aggregate, Comparison, Filter, NumberKey, NumberTest, Term};
use crate::storage::Storage;
use crate::storage::memory::Memory;
use crate::time::{ManualClock, TimestampMs};
use crate::verify::VerifyOptions;
use crate::{Batch, CompactOptions, Durability, Error, Store};

const EXPERIMENT: ExperimentId = ExperimentId(1);

fn options(storage: &Arc<dyn Storage>) -> Options {
    Store::options("unused")
        .storage(storage.clone())
        .background(false)
        .seed(1)
        .segment_bytes(4096, 16 << 10)
        .search_snap_runs_min(0)
        .clock(Arc::new(ManualClock::at(TimestampMs(1_700_000_000_000))))
}

fn created(run: RunId) -> RunCreated {
    RunCreated {
        run,
        experiment: EXPERIMENT,
        name: "r".into(),
        user_id: "u".into(),
        status: RunStatus::Running,
        start_time_ms: 5,
        artifact_location: None,
        tags: vec![],
    }
}

fn new_store(storage: &Arc<dyn Storage>) -> Store {
    let store = options(storage).open().unwrap();
    let experiment = ExperimentCreated {
        experiment: EXPERIMENT,
        name: "e".into(),
        artifact_location: None,
        creation_time_ms: 1,
        last_update_time_ms: 1,
        tags: vec![],
    };
    store.append(Batch::new().event(experiment).event(created(run_id(0))), Durability::Sync).unwrap();
    store
}

fn run_id(number: usize) -> RunId {
    RunId([number as u8 + 1; 16])
}

/// The points of a run as (step, value, position), in the order of logging.
#[derive(Debug, Clone, Default)]
struct Curve(Vec<(i64, f64, Lsn)>);

#[derive(Debug, Clone, Copy)]
enum Step {
    Log { run: usize, step: i64 },
    Fork { parent: usize, to_step: i64 },
    Rewind { run: usize, to_step: i64 },
    Seal,
    Checkpoint,
    Compact,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0usize..4, 0i64..40).prop_map(|(run, step)| Step::Log { run, step }),
        3 => (0usize..4, -1i64..40).prop_map(|(parent, to_step)| Step::Fork { parent, to_step }),
        1 => (0usize..4, -1i64..40).prop_map(|(run, to_step)| Step::Rewind { run, to_step }),
        2 => Just(Step::Seal),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Compact),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..60)
}

/// Everything that answers say of a run agrees with its curve.
fn check(store: &Store, curves: &[Curve], pasts: &[(Lsn, Vec<Curve>)]) {
    let snapshot = store.snapshot().unwrap();
    for (number, Curve(points)) in curves.iter().enumerate() {
        let run = run_id(number);
        let mut expected = points.clone();
        expected.sort_by_key(|point| (point.0, point.1.to_bits()));
        let read = |found: &crate::HistoryPage| {
            let columns = &found.columns;
            let mut list: Vec<_> = (0..columns.len()).map(|i| (columns.steps[i], columns.values[i])).collect();
            list.sort_by_key(|point| (point.0, point.1.to_bits()));
            list
        };
        let plain = |points: &[(i64, f64, Lsn)]| points.iter().map(|point| (point.0, point.1)).collect::<Vec<_>>();
        let page = snapshot.history(run, "loss", &HistoryQuery::default()).unwrap();
        assert_eq!(read(&page), plain(&expected), "history of run {number}");
        assert_eq!(snapshot.count_exact(run, "loss").unwrap(), expected.len() as u64, "count of run {number}");
        let drawn = snapshot.downsample(run, "loss", None, 7).unwrap();
        assert_eq!(drawn.count, expected.len() as u64, "chart of run {number}");
        let min = expected.iter().map(|point| point.1).reduce(f64::min);
        assert_eq!(snapshot.stats(run, "loss").unwrap().map(|stats| stats.min), min, "least of run {number}");
        let last = expected.iter().map(|point| point.0).max();
        assert_eq!(snapshot.stats(run, "loss").unwrap().map(|stats| stats.last_step), last, "last of run {number}");
    }
    let loss = |value| {
        let key = NumberKey::Metric { name: "loss".into(), aggregate: Aggregate::Min };
        Filter::Term(Term::Number { key, test: NumberTest::Compare(Comparison::Lt, value) })
    };
    let query = SearchQuery { filter: Some(loss(500.0)), limit: 100, ..SearchQuery::new(EXPERIMENT) };
    let mut found = snapshot.search(&query).unwrap().runs;
    found.sort_unstable();
    let expected = (0..curves.len()).filter(|number| curves[*number].0.iter().any(|point| point.1 < 500.0));
    assert_eq!(found, expected.map(run_id).collect::<Vec<_>>(), "search");
    for (position, curves) in pasts {
        let past = snapshot.as_of(AsOf::Position(*position)).unwrap();
        for (number, Curve(points)) in curves.iter().enumerate() {
            let stats = past.stats(run_id(number), "loss").unwrap();
            assert_eq!(stats.map_or(0, |stats| stats.count_raw), points.len() as u64, "run {number} at {position}");
        }
        assert_eq!(past.run(run_id(curves.len())).unwrap(), None, "not forked yet at {position}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn forks_share_what_their_parents_had(steps in steps()) {
        let storage: Arc<dyn Storage> = Arc::new(Memory::new());
        let mut store = new_store(&storage);
        let mut curves = vec![Curve::default()];
        let mut pasts = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Log { run, step } => {
                    let run = run % curves.len();
                    // No two points are equal, and some values are above the search's bound.
                    let value = (number * 37 % 1_000) as f64 + run as f64 / 8.0;
                    let point = Point { step, time: TimestampMs(1_000 + step), value };
                    let batch = Batch::new().metric(run_id(run), "loss", point, None);
                    let lsn = store.append(batch, Durability::Buffered).unwrap().lsn;
                    curves[run].0.push((step, value, lsn));
                }
                Step::Fork { parent, to_step } if curves.len() < 6 => {
                    let parent = parent % curves.len();
                    let child = curves.len();
                    let batch = Batch::new().event(created(run_id(child)));
                    let forked = store.fork_as(run_id(child), run_id(parent), to_step, batch).unwrap();
                    let shared: Vec<_> = curves[parent].0.iter().filter(|point| point.0 <= to_step).copied().collect();
                    prop_assert_eq!(forked.points_shared, shared.len() as u64);
                    pasts.push((Lsn(forked.lsn.0 - 1), curves.clone()));
                    curves.push(Curve(shared));
                }
                Step::Fork { .. } => {}
                Step::Rewind { run, to_step } => {
                    let run = run % curves.len();
                    store.rewind(run_id(run), to_step, None).unwrap();
                    curves[run].0.retain(|point| point.0 <= to_step);
                }
                Step::Seal => drop(store.seal().unwrap()),
                Step::Checkpoint => drop(store.checkpoint().unwrap()),
                Step::Compact => drop(store.compact(&CompactOptions::default()).unwrap()),
                Step::Reopen => {
                    store.close().unwrap();
                    store = options(&storage).open().unwrap();
                }
            }
        }
        check(&store, &curves, &pasts);
        let report = store.verify(&VerifyOptions::default()).unwrap();
        prop_assert!(report.is_sound(), "{:?}", report.findings);
        // An index made from the log says the same.
        store.close().unwrap();
        storage.remove("index.redb").unwrap();
        let store = options(&storage).open().unwrap();
        check(&store, &curves, &pasts);
    }
}

#[test]
fn a_fork_is_refused_without_a_parent_and_without_its_creation() {
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let store = new_store(&storage);
    let batch = || Batch::new().event(created(run_id(1)));
    let before = store.positions().published;
    assert!(matches!(store.fork_as(run_id(1), run_id(7), 0, batch()), Err(Error::NotFound { .. })));
    assert!(matches!(store.fork_as(run_id(2), run_id(0), 0, batch()), Err(Error::Invalid { .. })));
    assert!(store.fork_as(run_id(0), run_id(0), 0, Batch::new().event(created(run_id(0)))).is_err());
    assert_eq!(store.positions().published, before, "nothing was appended");
}

#[test]
fn the_history_of_a_fork_says_purged_when_its_parent_is() {
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let store = new_store(&storage);
    let point = |step| Point { step, time: TimestampMs(step), value: 1.0 };
    let batch = Batch::new().metric(run_id(0), "loss", point(1), None);
    store.append(batch, Durability::Sync).unwrap();
    store.fork_as(run_id(1), run_id(0), 5, Batch::new().event(created(run_id(1)))).unwrap();
    let deleted = Batch::new().event(RunDeleted { run: run_id(0), at_ms: 9 });
    store.append(deleted, Durability::Sync).unwrap();
    let purged = Batch::new().event(RunPurged { run: run_id(0) });
    store.append(purged, Durability::Sync).unwrap();
    let snapshot = store.snapshot().unwrap();
    let history = snapshot.history(run_id(1), "loss", &HistoryQuery::default());
    assert!(matches!(history, Err(Error::Purged { run }) if run == run_id(0).to_string()));
}
