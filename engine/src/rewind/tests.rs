//! A run that was rewound shows what a list of its points says, wherever these lie, and whenever it is asked.

use std::sync::Arc;

use proptest::prelude::*;

use crate::branch::line;
use crate::entity::{EntityKey, Rewind};
use crate::event::*;
use crate::id::{ExperimentId, Lsn, RunId, StoreId};
use crate::ingest::encode::KeyedPoint;
use crate::options::Options;
use crate::point::{Columns, Point};
use crate::query::past::AsOf;
use crate::query::points::HistoryQuery;
use crate::search::filter::{Aggregate, Comparison, Filter, NumberKey, NumberTest, Term};
use crate::search::{OrderKey, SearchQuery};
use crate::series::ColumnSet;
use crate::storage::Storage;
use crate::storage::memory::Memory;
use crate::storage::sim::{PowerCut, SimDisk};
use crate::time::{ManualClock, TimestampMs};
use crate::verify::VerifyOptions;
use crate::{Batch, CompactOptions, Durability, Error, RunHandle, Snapshot, Store};

const EXPERIMENT: ExperimentId = ExperimentId(1);
const RUNS: u8 = 2;
/// With five keys in a row, rows are wide in tests.
const KEYS: [&str; 5] = ["loss", "acc", "lr", "norm", "tokens"];
const VALUES: [f64; 6] = [0.5, -1.0, f64::NAN, 7.25, f64::INFINITY, 0.0];

fn run_id(number: u8) -> RunId {
    RunId([number + 1; 16])
}

fn options(storage: &Arc<dyn Storage>) -> Options {
    Store::options("unused")
        .storage(storage.clone())
        .background(false)
        .seed(1)
        .segment_bytes(4096, 16 << 10)
        .search_snap_runs_min(0)
        .clock(Arc::new(ManualClock::at(TimestampMs(1_700_000_000_000))))
}

fn new_store(storage: &Arc<dyn Storage>) -> Store {
    let store = options(storage).open().unwrap();
    let mut batch = Batch::new().event(ExperimentCreated {
        experiment: EXPERIMENT,
        name: "e".into(),
        artifact_location: None,
        creation_time_ms: 1,
        last_update_time_ms: 1,
        tags: vec![],
    });
    for number in 0..RUNS {
        batch.push_event(RunCreated {
            run: run_id(number),
            experiment: EXPERIMENT,
            name: "r".into(),
            user_id: "u".into(),
            status: RunStatus::Running,
            start_time_ms: 5,
            artifact_location: None,
            tags: vec![],
        });
    }
    store.append(batch, Durability::Sync).unwrap();
    store
}

// ---- the model ----------------------------------------------------------------------------------------------------

#[derive(Debug, Clone, Copy)]
struct Logged {
    branch: u32,
    lsn: Lsn,
    key: usize,
    point: Point,
}

#[derive(Debug, Clone, Default)]
struct Model {
    runs: [(Vec<Rewind>, Vec<Logged>); RUNS as usize],
}

impl Model {
    fn live(&self, run: u8, at: Lsn) -> u32 {
        self.runs[run as usize].0.iter().filter(|rewind| rewind.lsn <= at).count() as u32
    }

    /// The points of a metric that a branch shows, in the order of logging.
    fn points(&self, run: u8, branch: u32, key: usize, at: Lsn) -> Vec<Logged> {
        let (rewinds, points) = &self.runs[run as usize];
        let line = line(rewinds, branch);
        let shown = |logged: &&Logged| {
            logged.key == key
                && logged.lsn <= at
                && line.iter().any(|(part, bound)| *part == logged.branch && logged.point.step <= *bound)
        };
        points.iter().filter(shown).copied().collect()
    }

    /// In history order; all points come late, so equal ones are one.
    fn history(&self, run: u8, branch: u32, key: usize, at: Lsn) -> Vec<Logged> {
        let mut points = self.points(run, branch, key, at);
        points.sort_by(|a, b| a.point.history_order(&b.point).then(a.lsn.cmp(&b.lsn)));
        points.dedup_by(|a, b| a.point.repeats(&b.point));
        points
    }

    fn check_columns(&self, run: u8, branch: u32, key: usize, at: Lsn, columns: &Columns, what: &str) {
        let expected = self.history(run, branch, key, at);
        let line = |point: Point, lsn: u64| (point.step, point.time.0, point.value.to_bits(), lsn);
        let expected: Vec<_> = expected.iter().map(|logged| line(logged.point, logged.lsn.0)).collect();
        let found: Vec<_> = (0..columns.len()).map(|i| line(columns.point(i), columns.lsns[i])).collect();
        assert_eq!(found, expected, "{what}: run {run} branch {branch} {}", KEYS[key]);
    }

    fn check(&self, snapshot: &Snapshot) {
        self.check_at(snapshot, snapshot.position());
    }

    /// `at`: up to where the snapshot's store has what this one has.
    fn check_at(&self, snapshot: &Snapshot, at: Lsn) {
        let all = HistoryQuery { columns: ColumnSet::ALL, ..HistoryQuery::default() };
        for run in 0..RUNS {
            let (id, live) = (run_id(run), self.live(run, at));
            let branches = snapshot.branches(id).unwrap();
            assert_eq!(branches.len() as u32, live + 1);
            assert!(branches.iter().all(|branch| branch.ended.is_none() == (branch.number == live)));
            for branch in 0..=live {
                let latest = snapshot.branch_latest(id, branch).unwrap();
                let with_points = (0..KEYS.len()).filter(|key| !self.points(run, branch, *key, at).is_empty()).count();
                assert_eq!(latest.len(), with_points, "run {run} branch {branch}: {latest:?}");
                for (key, name) in KEYS.into_iter().enumerate() {
                    let page = snapshot.branch_history(id, branch, name, &all).unwrap();
                    self.check_columns(run, branch, key, at, &page.columns, "branch");
                    let count = snapshot.branch_count(id, branch, name).unwrap();
                    assert_eq!(count as usize, page.columns.len());
                    let points = self.points(run, branch, key, at);
                    let Some(last) = points.iter().map(|l| l.point).max_by(|a, b| a.latest_order(b)) else { continue };
                    let stats = latest.iter().find(|(key, _)| &**key == name).map(|(_, stats)| *stats).unwrap();
                    assert!(stats.last().repeats(&last), "{stats:?} {last:?}");
                    let min = points.iter().map(|l| l.point.value).fold(f64::NAN, f64::min);
                    let max = points.iter().map(|l| l.point.value).fold(f64::NAN, f64::max);
                    assert_eq!((stats.min.to_bits(), stats.max.to_bits()), (min.to_bits(), max.to_bits()));
                    assert!(stats.count_raw as usize <= points.len() && stats.count_raw >= count);
                }
            }
            assert!(snapshot.branch_history(id, live + 1, "loss", &all).is_err());
            for (key, name) in KEYS.into_iter().enumerate() {
                let page = snapshot.history(id, name, &all).unwrap();
                self.check_columns(run, live, key, at, &page.columns, "live");
                self.check_pages(snapshot, run, name, &page.columns);
                let count = page.columns.len() as u64;
                assert_eq!(snapshot.count_exact(id, name).unwrap(), count);
                let down = snapshot.downsample(id, name, None, 4).unwrap();
                assert_eq!(down.count, count);
                let steps = &page.columns.steps;
                let edges = (down.buckets.first().map(|b| b.step_first), down.buckets.last().map(|b| b.step_last));
                assert_eq!(edges, (steps.iter().min().copied(), steps.iter().max().copied()));
            }
            assert_eq!(format!("{:?}", snapshot.latest(id)), format!("{:?}", snapshot.branch_latest(id, live)));
        }
        self.check_search(snapshot, at);
    }

    fn check_pages(&self, snapshot: &Snapshot, run: u8, key: &str, whole: &Columns) {
        let mut found = Columns::default();
        let mut query = HistoryQuery { limit: 7, columns: ColumnSet::ALL, ..HistoryQuery::default() };
        loop {
            let page = snapshot.history(run_id(run), key, &query).unwrap();
            found.append(&page.columns);
            match page.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
        assert_eq!((&found.steps, &found.lsns), (&whole.steps, &whole.lsns));
        // A range of steps, in which some branch may end.
        let query = HistoryQuery { steps: (3, 12), limit: 5, ..HistoryQuery::default() };
        let part = snapshot.history(run_id(run), key, &query).unwrap().columns.steps;
        let expected: Vec<i64> = whole.steps.iter().copied().filter(|step| (3..=12).contains(step)).take(5).collect();
        assert_eq!(part, expected);
    }

    /// Every number that search knows of a metric is that of the live branch.
    fn check_search(&self, snapshot: &Snapshot, at: Lsn) {
        for (key, name) in KEYS.iter().take(2).enumerate() {
            for run in 0..RUNS {
                let points = self.points(run, self.live(run, at), key, at);
                let last = points.iter().map(|l| l.point).max_by(|a, b| a.latest_order(b));
                let count = self.history(run, self.live(run, at), key, at).len() as f64;
                let test = match last {
                    Some(point) if point.value.is_nan() => continue,
                    Some(point) => (Aggregate::Latest, NumberTest::Compare(Comparison::Eq, point.value)),
                    None => (Aggregate::Latest, NumberTest::IsNull),
                };
                let counted = (Aggregate::Count, NumberTest::Compare(Comparison::Eq, count));
                for (aggregate, test) in [test, counted].into_iter().take(if last.is_some() { 2 } else { 1 }) {
                    let number = NumberKey::Metric { name: (*name).into(), aggregate };
                    let mut query = SearchQuery::new(EXPERIMENT);
                    query.filter = Some(Filter::Term(Term::Number { key: number.clone(), test }));
                    query.order = vec![OrderKey::descending(number)];
                    let page = snapshot.search(&query).unwrap();
                    assert!(page.runs.contains(&run_id(run)), "{run} {name} {query:?}");
                }
            }
        }
    }

    fn check_past(&self, snapshot: &Snapshot, position: Lsn) {
        let view = snapshot.as_of(AsOf::Position(position)).unwrap();
        let all = HistoryQuery { columns: ColumnSet::ALL, ..HistoryQuery::default() };
        for run in 0..RUNS {
            let live = self.live(run, position);
            for (key, name) in KEYS.into_iter().enumerate() {
                let page = view.history(run_id(run), name, &all).unwrap();
                self.check_columns(run, live, key, position, &page.columns, "past");
                let stats = view.stats(run_id(run), name).unwrap();
                let last = self.points(run, live, key, position).into_iter().map(|l| l.point);
                let last = last.max_by(|a, b| a.latest_order(b));
                assert_eq!(stats.map(|s| s.last_step), last.map(|point| point.step));
            }
        }
    }
}

// ---- the store beside it ------------------------------------------------------------------------------------------

#[derive(Debug, Clone)]
enum Op {
    Row { run: u8, keys: u8, step: i64, value: usize, sync: bool },
    Points { run: u8, key: usize, from: i64, count: i64 },
    Batch { run: u8, key: usize, step: i64, value: usize },
    Rewind { run: u8, to_step: i64 },
    Seal,
    Checkpoint,
    Compact,
    Reopen { close: bool, drop_index: bool },
    Look,
}

fn op() -> impl Strategy<Value = Op> {
    let run = || 0..RUNS;
    let sync = any::<bool>();
    prop_oneof![
        6 => (run(), 1u8..32, -1i64..20, 0..VALUES.len(), sync)
            .prop_map(|(run, keys, step, value, sync)| Op::Row { run, keys, step, value, sync }),
        4 => (run(), 0..KEYS.len(), -1i64..20, 1i64..30)
            .prop_map(|(run, key, from, count)| Op::Points { run, key, from, count }),
        2 => (run(), 0..KEYS.len(), -1i64..20, 0..VALUES.len())
            .prop_map(|(run, key, step, value)| Op::Batch { run, key, step, value }),
        4 => (run(), -2i64..24).prop_map(|(run, to_step)| Op::Rewind { run, to_step }),
        2 => Just(Op::Seal),
        1 => Just(Op::Checkpoint),
        1 => Just(Op::Compact),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(close, drop_index)| Op::Reopen { close, drop_index }),
        1 => Just(Op::Look),
    ]
}

struct Bench {
    storage: Arc<dyn Storage>,
    store: Option<Store>,
    handles: Vec<RunHandle>,
    model: Model,
    positions: Vec<Lsn>,
}

impl Bench {
    fn new(storage: Arc<dyn Storage>) -> Self {
        let store = new_store(&storage);
        let mut bench =
            Self { storage, store: None, handles: Vec::new(), model: Model::default(), positions: Vec::new() };
        bench.take(store);
        bench
    }

    fn take(&mut self, store: Store) {
        // Handles outlive every rewind of their run.
        self.handles = (0..RUNS).map(|run| store.run(run_id(run)).unwrap()).collect();
        self.store = Some(store);
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn note(&mut self, run: u8, lsn: Lsn, points: impl IntoIterator<Item = (usize, Point)>) {
        let branch = self.model.live(run, Lsn::MAX);
        let points = points.into_iter().map(|(key, point)| Logged { branch, lsn, key, point });
        self.model.runs[run as usize].1.extend(points);
    }

    fn point(step: i64, value: usize) -> Point {
        Point { step, time: TimestampMs(1_000 + step.max(0) / 2), value: VALUES[value % VALUES.len()] }
    }

    fn rewind(&mut self, run: u8, to_step: i64) {
        let before = self.model.live(run, Lsn::MAX);
        let rewound = self.store().rewind(run_id(run), to_step, Some("ann")).unwrap();
        assert_eq!(rewound.branch, before + 1);
        let rewind = Rewind { from: before, to_step, lsn: rewound.lsn, at_ms: 0 };
        let count = |model: &Model, branch| -> usize {
            (0..KEYS.len()).map(|key| model.history(run, branch, key, Lsn::MAX).len()).sum()
        };
        let shown = count(&self.model, before);
        self.model.runs[run as usize].0.push(rewind);
        assert_eq!(rewound.points_hidden as usize, shown - count(&self.model, before + 1));
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Row { run, keys, step, value, sync } => {
                let chosen: Vec<usize> = (0..KEYS.len()).filter(|key| keys >> key & 1 == 1).collect();
                let row: Vec<_> = chosen
                    .iter()
                    .map(|key| (self.store().metric_key(KEYS[*key]).unwrap(), VALUES[(value + key) % VALUES.len()]))
                    .collect();
                let point = Self::point(*step, 0);
                let durability = if *sync { Durability::Sync } else { Durability::Buffered };
                let lsn = self.handles[*run as usize].log_row(*step, point.time, &row, durability).unwrap();
                let points = chosen.iter().zip(&row).map(|(key, (_, value))| (*key, Point { value: *value, ..point }));
                let points: Vec<_> = points.collect();
                self.note(*run, lsn, points);
            }
            Op::Points { run, key, from, count } => {
                let id = self.store().metric_key(KEYS[*key]).unwrap();
                let points: Vec<Point> = (0..*count).map(|i| Self::point(from + i, i as usize)).collect();
                let keyed: Vec<KeyedPoint> = points.iter().map(|point| KeyedPoint { key: id, point: *point }).collect();
                let lsn = self.handles[*run as usize].log_points(&keyed, Durability::Buffered).unwrap();
                self.note(*run, lsn, points.into_iter().map(|point| (*key, point)));
            }
            Op::Batch { run, key, step, value } => {
                let point = Self::point(*step, *value);
                let batch = Batch::new()
                    .event(RunTagsSet { run: run_id(*run), tags: vec![("a".into(), step.to_string())] })
                    .metric(run_id(*run), KEYS[*key], point, None);
                let lsn = self.store().append(batch, Durability::Buffered).unwrap().lsn;
                self.note(*run, lsn, [(*key, point)]);
            }
            Op::Rewind { run, to_step } => self.rewind(*run, *to_step),
            Op::Seal => {
                self.store().flush().unwrap();
                self.store().seal().unwrap();
            }
            Op::Checkpoint => {
                self.store().flush().unwrap();
                self.store().checkpoint().unwrap();
            }
            Op::Compact => drop(self.store().compact(&CompactOptions::default()).unwrap()),
            Op::Reopen { close, drop_index } => self.reopen(*close, *drop_index),
            Op::Look => self.look(),
        }
        self.positions.push(self.store().positions().published);
    }

    fn reopen(&mut self, close: bool, drop_index: bool) {
        self.handles.clear();
        let store = self.store.take().unwrap();
        if close {
            store.close().unwrap();
        } else {
            store.flush().unwrap();
            drop(store);
        }
        if drop_index {
            self.storage.remove("index.redb").unwrap();
        }
        let store = options(&self.storage).open().unwrap();
        self.take(store);
    }

    fn look(&self) {
        self.model.check(&self.store().snapshot().unwrap());
    }

    fn check_sound(&self) {
        let report = self.store().verify(&VerifyOptions::default()).unwrap();
        assert!(report.is_sound(), "{:#?}", report.findings);
    }
}

fn cases(default: u32) -> u32 {
    std::env::var("RUNLODE_REWIND_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(40)))]

    #[test]
    fn a_rewound_run_shows_what_the_model_shows(ops in prop::collection::vec(op(), 1..40), held in 0usize..40) {
        let mut bench = Bench::new(Arc::new(Memory::new()));
        let mut old = None;
        for (at, op) in ops.iter().enumerate() {
            if matches!(op, Op::Reopen { .. }) {
                old = None;
            }
            bench.apply(op);
            if at == held {
                old = Some((bench.store().snapshot().unwrap(), bench.model.clone()));
            }
        }
        bench.look();
        if let Some((snapshot, model)) = old {
            model.check(&snapshot);
        }
        bench.store().flush().unwrap();
        bench.check_sound();
        let positions: Vec<Lsn> = bench.positions.iter().step_by(5).copied().collect();
        let past = |bench: &Bench| {
            let snapshot = bench.store().snapshot().unwrap();
            positions.iter().for_each(|position| bench.model.check_past(&snapshot, *position));
        };
        past(&bench);
        bench.apply(&Op::Compact);
        bench.look();
        past(&bench);
        bench.check_sound();
        bench.reopen(false, true);
        bench.look();
        past(&bench);
        bench.check_sound();
        bench.reopen(true, false);
        bench.look();
        if let Some(position) = positions.get(positions.len() / 2) {
            let target: Arc<dyn Storage> = Arc::new(Memory::new());
            let until = Some(AsOf::Position(*position));
            bench.store().replay_to(&target, StoreId([9; 16]), options(&target), until).unwrap();
            let copy = options(&target).open().unwrap();
            let report = copy.verify(&VerifyOptions::default()).unwrap();
            prop_assert!(report.is_sound(), "{:#?}", report.findings);
            bench.model.check_at(&copy.snapshot().unwrap(), *position);
            bench.look();
        }
    }
}

/// Two branches, points in files and in memory, an index behind the log.
fn lived_in(storage: Arc<dyn Storage>) -> Bench {
    let mut bench = Bench::new(storage);
    for op in [
        Op::Points { run: 0, key: 0, from: 0, count: 29 },
        Op::Row { run: 0, keys: 31, step: 30, value: 1, sync: false },
        Op::Seal,
        Op::Points { run: 0, key: 1, from: 0, count: 20 },
        Op::Rewind { run: 0, to_step: 14 },
        Op::Points { run: 0, key: 0, from: 15, count: 9 },
        Op::Checkpoint,
        Op::Row { run: 0, keys: 31, step: 24, value: 2, sync: true },
    ] {
        bench.apply(&op);
    }
    bench
}

#[test]
fn a_crash_at_any_operation_finds_the_run_rewound_or_not() {
    let disk = SimDisk::new(11);
    let mut bench = lived_in(Arc::new(disk.clone()));
    bench.store().flush().unwrap();
    let before = bench.model.clone();
    disk.record();
    bench.apply(&Op::Rewind { run: 0, to_step: 9 });
    let rewound = bench.model.clone();
    bench.apply(&Op::Row { run: 0, keys: 3, step: 10, value: 3, sync: true });
    let logged = bench.model.clone();
    bench.apply(&Op::Seal);
    bench.apply(&Op::Compact);
    let recording = disk.recording().unwrap();
    let (mut seen, mut acknowledged) = ([0; 3], 0usize);
    for (number, crashed) in recording.crashes(5) {
        let disks = match number % 2 {
            0 => crashed.after_process_crash(),
            _ => crashed.after_power_cut(PowerCut::seeded(number)),
        };
        let storage: Arc<dyn Storage> = Arc::new(disks);
        let store = options(&storage).open().unwrap_or_else(|error| panic!("operation {number}: {error}"));
        let snapshot = store.snapshot().unwrap();
        let position = snapshot.position();
        let rewinds = snapshot.branches(run_id(0)).unwrap().len() - 1;
        let is_logged = logged.runs[0].1.last().is_some_and(|last| last.lsn <= position);
        let (at, model): (usize, _) = match (rewinds, is_logged) {
            (1, _) => (0, &before),
            (_, false) => (1, &rewound),
            _ => (2, &logged),
        };
        // What was there once does not go again.
        assert!(at >= acknowledged, "operation {number}");
        acknowledged = acknowledged.max(at.saturating_sub(1));
        seen[at] += 1;
        model.check(&snapshot);
        drop(snapshot);
        if number % 4 == 0 {
            let report = store.verify(&VerifyOptions::default()).unwrap();
            assert!(report.is_sound(), "operation {number}: {:#?}", report.findings);
            // It goes on from there.
            store.rewind(run_id(0), 5, None).unwrap();
            assert_eq!(store.snapshot().unwrap().branches(run_id(0)).unwrap().len(), rewinds + 2);
        }
    }
    assert!(seen[0] > 0 && seen[2] > 0, "{seen:?}");
}

#[test]
fn a_handle_goes_on_in_the_new_branch_and_the_dead_one_stays() {
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let store = new_store(&storage);
    let loss = store.metric_key("loss").unwrap();
    let handle = store.run(run_id(0)).unwrap();
    let point = |step: i64, value| Point { step, time: TimestampMs(1_000 + step), value };
    for step in 0..10 {
        handle.log_point(loss, point(step, 1.0), Durability::Buffered).unwrap();
    }
    let rewound = store.rewind(run_id(0), 4, None).unwrap();
    assert_eq!((rewound.branch, rewound.points_hidden), (1, 5));
    for step in 5..8 {
        handle.log_point(loss, point(step, 2.0), Durability::Buffered).unwrap();
    }
    // A metric that the first branch does not know, by a name that no frame has defined yet.
    let new = store.metric_key("new").unwrap();
    handle.log_point(new, point(9, 3.0), Durability::Sync).unwrap();
    let check = |store: &Store| {
        let snapshot = store.snapshot().unwrap();
        let values = snapshot.history(run_id(0), "loss", &HistoryQuery::default()).unwrap().columns.values;
        assert_eq!(values, [1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
        let dead = snapshot.branch_history(run_id(0), 0, "loss", &HistoryQuery::default()).unwrap().columns.values;
        assert_eq!(dead, [1.0; 10]);
        assert_eq!(snapshot.history(run_id(0), "new", &HistoryQuery::default()).unwrap().columns.values, [3.0]);
        let latest = snapshot.latest(run_id(0)).unwrap();
        let latest: Vec<_> = latest.iter().map(|(key, stats)| (&**key, stats.count_raw, stats.last_step)).collect();
        assert_eq!(latest, [("loss", 8, 7), ("new", 1, 9)]);
        assert!(snapshot.history(run_id(0), "loss\x001", &HistoryQuery::default()).unwrap().columns.is_empty());
    };
    check(&store);
    // The run's own history says so, and what follows the log sees metrics, not branches.
    let events = store.snapshot().unwrap().events(&EntityKey::Run(run_id(0))).unwrap();
    assert_eq!(events.len(), 2);
    let batches = store.tail(Lsn(1)).unwrap().next(100, std::time::Duration::ZERO).unwrap();
    assert!(batches.iter().flat_map(|batch| &batch.points).all(|(series, _)| series.key == loss || series.key == new));
    drop((handle, store));
    check(&options(&storage).open().unwrap());
}

#[test]
fn a_refused_rewind_changes_nothing() {
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let store = new_store(&storage);
    assert!(matches!(store.rewind(RunId([77; 16]), 1, None), Err(Error::NotFound { .. })));
    let forged = RunRewound { run: run_id(0), branch: 1, from: 0, to_step: 1, at_ms: 0, kept: vec![] };
    assert!(matches!(store.append(Batch::new().event(forged), Durability::Sync), Err(Error::Invalid { .. })));
    store.append(Batch::new().event(RunDeleted { run: run_id(0), at_ms: 1 }), Durability::Sync).unwrap();
    assert!(matches!(store.rewind(run_id(0), 1, None), Err(Error::Deleted { .. })));
    store.append(Batch::new().event(RunRestored { run: run_id(0) }), Durability::Sync).unwrap();
    let loss = store.metric_key("loss").unwrap();
    let point = Point { step: 3, time: TimestampMs(1), value: 1.0 };
    store.run(run_id(0)).unwrap().log_point(loss, point, Durability::Sync).unwrap();
    // All of it: the run is as if new.
    assert_eq!(store.rewind(run_id(0), i64::MIN, None).unwrap().points_hidden, 1);
    assert!(store.snapshot().unwrap().latest(run_id(0)).unwrap().is_empty());
    // Nothing of it.
    store.run(run_id(0)).unwrap().log_point(loss, point, Durability::Sync).unwrap();
    assert_eq!(store.rewind(run_id(0), i64::MAX, None).unwrap().points_hidden, 0);
    assert_eq!(store.snapshot().unwrap().count_exact(run_id(0), "loss").unwrap(), 1);
    // A purge takes the branches with it.
    store.append(Batch::new().event(RunDeleted { run: run_id(0), at_ms: 1 }), Durability::Sync).unwrap();
    store.append(Batch::new().event(RunPurged { run: run_id(0) }), Durability::Sync).unwrap();
    store.compact(&CompactOptions::default()).unwrap();
    let snapshot = store.snapshot().unwrap();
    assert!(snapshot.branch_latest(run_id(0), 0).unwrap().is_empty());
    assert!(store.verify(&VerifyOptions::default()).unwrap().is_sound());
}

#[test]
fn writers_during_a_rewind_lose_nothing() {
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let store = new_store(&storage);
    let loss = store.metric_key("loss").unwrap();
    const POINTS: i64 = 2_000;
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let store = store.clone();
            scope.spawn(move || {
                let handle = store.run(run_id(0)).unwrap();
                for step in 0..POINTS {
                    let point = Point { step, time: TimestampMs(step), value: f64::from(writer) };
                    handle.log_point(loss, point, Durability::Buffered).unwrap();
                }
            });
        }
        for _ in 0..20 {
            store.rewind(run_id(0), i64::MAX, None).unwrap();
        }
    });
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.count_exact(run_id(0), "loss").unwrap(), 2 * POINTS as u64);
    assert_eq!(snapshot.stats(run_id(0), "loss").unwrap().unwrap().count_raw, 2 * POINTS as u64);
    store.flush().unwrap();
    assert!(store.verify(&VerifyOptions::default()).unwrap().is_sound());
}
