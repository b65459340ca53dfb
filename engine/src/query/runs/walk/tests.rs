//! A walk against the definition of a search, on stores that are partly in the index and partly above it.

use proptest::prelude::*;

use super::*;
use crate::event::*;
use crate::ingest::batch::{Batch, Durability};
use crate::point::Point;
use crate::search::filter::{metric, tag};
use crate::search::reference::search_rows;
use crate::search::request::View;
use crate::storage::memory::Memory;
use crate::store::Store;
use crate::time::TimestampMs;

const EXPERIMENTS: [ExperimentId; 2] = [ExperimentId(1), ExperimentId(2)];

#[derive(Debug, Clone)]
enum Op {
    /// A run of an experiment that started at a time; few times, so that many runs start together.
    Create(bool, i64),
    Delete(prop::sample::Index),
    Restore(prop::sample::Index),
    Purge(prop::sample::Index),
    Point(prop::sample::Index, f64),
    DeleteExperiment,
    RestoreExperiment,
    Checkpoint,
    Keep,
}

fn op() -> impl Strategy<Value = Op> {
    let run = || any::<prop::sample::Index>();
    let start = prop_oneof![4 => 0..4i64, 1 => Just(i64::MIN), 1 => Just(i64::MAX), 1 => -3..0i64];
    prop_oneof![
        8 => (any::<bool>(), start).prop_map(|(of, start)| Op::Create(of, start)),
        2 => run().prop_map(Op::Delete),
        1 => run().prop_map(Op::Restore),
        1 => run().prop_map(Op::Purge),
        3 => (run(), 0..4u8).prop_map(|(run, value)| Op::Point(run, f64::from(value))),
        1 => Just(Op::DeleteExperiment),
        1 => Just(Op::RestoreExperiment),
        2 => Just(Op::Checkpoint),
        1 => Just(Op::Keep),
    ]
}

struct Bench {
    store: Store,
    runs: Vec<RunId>,
    kept: Vec<Snapshot>,
}

impl Bench {
    fn new() -> Self {
        let store = Store::options("store").storage(Arc::new(Memory::default())).background(false).open().unwrap();
        for experiment in EXPERIMENTS {
            let created = ExperimentCreated {
                experiment,
                name: format!("e{experiment}"),
                artifact_location: None,
                creation_time_ms: 0,
                last_update_time_ms: 0,
                tags: Vec::new(),
            };
            store.append(Batch::new().event(created), Durability::Buffered).unwrap();
        }
        Self { store, runs: Vec::new(), kept: Vec::new() }
    }

    fn apply(&mut self, op: &Op) {
        // What was deleted or purged before refuses some.
        let put = |batch: Batch| drop(self.store.append(batch, Durability::Buffered));
        let run = |at: &prop::sample::Index| (!self.runs.is_empty()).then(|| *at.get(&self.runs));
        match op {
            Op::Create(of, start_time_ms) => {
                let number = self.runs.len() as u8;
                // Ids are in no order.
                let run = RunId([number.wrapping_mul(77); 16]);
                put(Batch::new().event(RunCreated {
                    run,
                    experiment: EXPERIMENTS[usize::from(*of)],
                    name: format!("run {number}"),
                    user_id: String::new(),
                    status: RunStatus::Running,
                    start_time_ms: *start_time_ms,
                    artifact_location: None,
                    tags: vec![("kind".into(), (number % 3).to_string())],
                }));
                self.runs.push(run);
            }
            Op::Delete(at) => drop(run(at).map(|run| put(Batch::new().event(RunDeleted { run, at_ms: 1 })))),
            Op::Restore(at) => drop(run(at).map(|run| put(Batch::new().event(RunRestored { run })))),
            Op::Purge(at) => drop(run(at).map(|run| put(Batch::new().event(RunPurged { run })))),
            Op::Point(at, value) => {
                if let Some(run) = run(at) {
                    let point = Point { step: 1, time: TimestampMs(1), value: *value };
                    put(Batch::new().metric(run, "loss", point, None));
                }
            }
            Op::DeleteExperiment => put(Batch::new().event(ExperimentDeleted { experiment: EXPERIMENTS[1], at_ms: 3 })),
            Op::RestoreExperiment => {
                put(Batch::new().event(ExperimentRestored { experiment: EXPERIMENTS[1], at_ms: 4 }))
            }
            Op::Checkpoint => drop(self.store.checkpoint().unwrap()),
            Op::Keep => self.kept.push(self.store.snapshot().unwrap()),
        }
    }
}

fn queries() -> Vec<SearchQuery> {
    let all = || SearchQuery { experiments: EXPERIMENTS.to_vec(), limit: 3, ..SearchQuery::new(EXPERIMENTS[0]) };
    let newest = OrderKey::descending(NumberKey::StartTime);
    vec![
        all(),
        SearchQuery { view: View::All, limit: 1, ..all() },
        SearchQuery { view: View::DeletedOnly, limit: 2, ..all() },
        SearchQuery { experiments: vec![EXPERIMENTS[1]], order: vec![newest.clone()], view: View::All, ..all() },
        SearchQuery { order: vec![newest, OrderKey::ascending(TextKey::RunId)], view: View::All, ..all() },
        SearchQuery { filter: Some(metric("loss").ge(2.0)), view: View::All, ..all() },
        SearchQuery { filter: Some(tag("kind").eq("1") | metric("loss").is_null()), view: View::All, ..all() },
        SearchQuery { after: Some(PageToken::from_offset(2)), view: View::All, ..all() },
    ]
}

/// Reads all pages of a query, each by both ways.
fn compare(snapshot: &Snapshot, mut query: SearchQuery) {
    let mut states = Vec::new();
    let mut rows = Vec::new();
    for &id in &query.experiments {
        let Some(state) = snapshot.experiment(id).unwrap() else { continue };
        for run in snapshot.runs_of(id).unwrap() {
            let of_run = snapshot.run(run).unwrap().unwrap();
            let lifecycle = of_run.lifecycle_in(&state);
            rows.push((run, of_run, lifecycle, snapshot.stats_of(run).unwrap()));
        }
        states.push((id, state));
    }
    loop {
        let rows =
            rows.iter().map(|(run, state, lifecycle, stats)| RunRow { run: *run, state, lifecycle: *lifecycle, stats });
        let expected = search_rows(&query, rows, snapshot).unwrap();
        let walked = snapshot.walk(&query, &states, snapshot).unwrap();
        assert_eq!(walked, Some(expected.clone()), "{query:?}");
        match expected.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
}

proptest! {
    // Each case reads many pages by both ways.
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn walks_answer_as_searches_are_defined(ops in prop::collection::vec(op(), 1..40)) {
        let mut bench = Bench::new();
        for op in &ops {
            bench.apply(op);
        }
        bench.kept.push(bench.store.snapshot().unwrap());
        for snapshot in &bench.kept {
            for query in queries() {
                compare(snapshot, query);
            }
        }
    }
}

#[test]
fn lists_make_columns_only_when_they_have_looked_at_as_many_runs() {
    let mut bench = Bench::new();
    for number in 0..100 {
        bench.apply(&Op::Create(false, number));
    }
    bench.apply(&Op::Checkpoint);
    let built = || bench.store.core().projections.is_built(EXPERIMENTS[0]);
    let list = || bench.store.snapshot().unwrap().search(&SearchQuery::new(EXPERIMENTS[0])).unwrap().runs;
    let newest_first = list();
    assert_eq!(newest_first.len(), 100);
    assert!(!built(), "a list needs no columns");
    let mut lists = 1;
    while !built() {
        assert_eq!(list(), newest_first);
        lists += 1;
        assert!(lists < FREE_RUNS, "many lists cost more than columns");
    }
    // Runs in memory are looked at twice.
    assert!((FREE_RUNS / 200..=FREE_RUNS / 100 + 2).contains(&lists), "{lists}");
    assert_eq!(list(), newest_first);
    // Another order needs them at once.
    let order = vec![OrderKey::descending(NumberKey::EndTime)];
    let query = SearchQuery { order, ..SearchQuery::new(EXPERIMENTS[1]) };
    bench.store.snapshot().unwrap().search(&query).unwrap();
    assert!(bench.store.core().projections.is_built(EXPERIMENTS[1]));
}

#[test]
fn a_filter_that_matches_few_runs_is_left_to_columns() {
    let mut bench = Bench::new();
    for number in 0..10 {
        bench.apply(&Op::Create(false, number));
    }
    let snapshot = bench.store.snapshot().unwrap();
    let query = SearchQuery { filter: Some(tag("kind").eq("9")), limit: 1, ..SearchQuery::new(EXPERIMENTS[0]) };
    let states = [(EXPERIMENTS[0], snapshot.experiment(EXPERIMENTS[0]).unwrap().unwrap())];
    let within = |mut left: u64| snapshot.walk_within(&query, &states, &snapshot, 0, None, &mut left).unwrap();
    assert_eq!(within(20), Some(SearchPage::default()));
    assert_eq!(within(19), None, "ten that changed above the index, each looked at twice");
    assert_eq!(within(9), None);
}

#[test]
fn a_list_of_more_runs_than_may_be_looked_at_reads_none_of_them() {
    let mut bench = Bench::new();
    for number in 0..10 {
        bench.apply(&Op::Create(false, number));
    }
    // Opened again, so that no run is in memory: those are looked at twice.
    let storage = bench.store.core().storage.clone();
    bench.store.close().unwrap();
    let store = Store::options("store").storage(storage).background(false).open().unwrap();
    let projections = &store.core().projections;
    let whole = |experiment| SearchQuery { limit: usize::MAX, ..SearchQuery::new(experiment) };
    projections.add_walked(FREE_RUNS - 9);
    let snapshot = store.snapshot().unwrap();
    let walked = projections.walked();
    let states = [(EXPERIMENTS[0], snapshot.experiment(EXPERIMENTS[0]).unwrap().unwrap())];
    assert_eq!(snapshot.walk(&whole(EXPERIMENTS[0]), &states, &snapshot).unwrap(), None);
    assert_eq!(projections.walked(), walked, "runs were looked at in vain");
    // All of few runs are still listed without columns.
    let states = [(EXPERIMENTS[1], snapshot.experiment(EXPERIMENTS[1]).unwrap().unwrap())];
    assert_eq!(snapshot.walk(&whole(EXPERIMENTS[1]), &states, &snapshot).unwrap(), Some(SearchPage::default()));
    assert_eq!(snapshot.search(&whole(EXPERIMENTS[0])).unwrap().runs.len(), 10);
}
