//! The law: what a store says does not change by a compaction, however it is read afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::entity::{EntityKey, touches};
use crate::event::batch::Merged;
use crate::event::payload::Decoded;
use crate::event::*;
use crate::id::{ExperimentId, KeyId, StoreId};
use crate::ingest::encode::KeyedPoint;
use crate::options::Options;
use crate::point::Point;
use crate::query::past::AsOf;
use crate::query::points::HistoryQuery;
use crate::series::{Budget, ColumnSet};
use crate::storage::Storage;
use crate::storage::memory::Memory;
use crate::storage::sim::{PowerCut, SimDisk};
use crate::time::{Clock, ManualClock, TimestampMs};
use crate::verify::VerifyOptions;
use crate::{Batch, Durability, MetricContext, Snapshot, Store};

const EXPERIMENT: ExperimentId = ExperimentId(1);
const RUNS: u8 = 4;
const KEYS: [&str; 3] = ["loss", "acc", "lr"];

fn run_id(number: u8) -> RunId {
    RunId([number; 16])
}

fn options(storage: &Arc<dyn Storage>, clock: &Arc<ManualClock>) -> Options {
    Store::options("unused")
        .storage(storage.clone())
        .background(false)
        .seed(1)
        .segment_bytes(4096, 16 << 10)
        .clock(clock.clone())
}

struct Bench {
    storage: Arc<dyn Storage>,
    clock: Arc<ManualClock>,
    store: Option<Store>,
    /// Times at which something was appended, for `as_of`.
    times: Vec<TimestampMs>,
}

impl Bench {
    fn new(storage: Arc<dyn Storage>) -> Self {
        let clock = Arc::new(ManualClock::at(TimestampMs(1_000_000)));
        let store = options(&storage, &clock).open().unwrap();
        let created = ExperimentCreated {
            experiment: EXPERIMENT,
            name: "e".into(),
            artifact_location: None,
            creation_time_ms: 1,
            last_update_time_ms: 1,
            tags: vec![],
        };
        let mut batch = Batch::new().event(created);
        for number in 0..RUNS {
            batch = batch.event(RunCreated {
                run: run_id(number),
                experiment: EXPERIMENT,
                name: format!("run-{number}"),
                user_id: "ann".into(),
                status: RunStatus::Running,
                start_time_ms: 5,
                artifact_location: None,
                tags: vec![("made".into(), "by-ann".into())],
            });
        }
        store.append(batch, Durability::Sync).unwrap();
        Self { storage, clock, store: Some(store), times: vec![TimestampMs(1_000_000)] }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn append(&self, batch: Batch) {
        // What is refused (a deleted run, a changed param) is refused: the history goes on.
        let _ = self.store().append(batch, Durability::Buffered);
    }

    fn reopen(&mut self, close: bool, drop_index: bool) {
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
        self.store = Some(options(&self.storage, &self.clock).open().unwrap());
    }

    fn compact(&self) -> CompactReport {
        self.store().compact(&CompactOptions::default()).unwrap()
    }

    fn check_sound(&self) {
        let report = self.store().verify(&VerifyOptions::default()).unwrap();
        assert!(report.is_sound(), "{:#?}", report.findings);
    }
}

fn is_purged(snapshot: &Snapshot, run: RunId) -> bool {
    snapshot.run(run).unwrap().is_some_and(|run| run.lifecycle == Lifecycle::Purged)
}

fn full_history(out: &mut Vec<String>, what: &str, columns: &crate::point::Columns) {
    let bits: Vec<u64> = columns.values.iter().map(|value| value.to_bits()).collect();
    let contexts = if columns.contexts.iter().all(|c| *c == 0) { &[][..] } else { &columns.contexts };
    out.push(format!("{what} {:?} {:?} {bits:?} {:?} {contexts:?}", columns.steps, columns.times, columns.lsns));
}

/// All that a store says, as lines. `positions`: moments of the past.
fn picture(store: &Store, times: &[TimestampMs]) -> Vec<String> {
    let snapshot = store.snapshot().unwrap();
    let all = HistoryQuery { columns: ColumnSet::ALL, ..HistoryQuery::default() };
    let mut out = Vec::new();
    out.push(format!("{:?}", snapshot.experiments().unwrap()));
    out.push(format!("{:?}", snapshot.runs_of(EXPERIMENT).unwrap()));
    out.push(format!("{:?}", snapshot.events(&EntityKey::Experiment(EXPERIMENT)).unwrap()));
    for name in ["a", "b"] {
        out.push(format!("{:?}", snapshot.dataset(EXPERIMENT, name, "1").unwrap()));
    }
    for number in 0..RUNS {
        let run = run_id(number);
        out.push(format!("{:?}", snapshot.run(run).unwrap()));
        if is_purged(&snapshot, run) {
            continue;
        }
        out.push(format!("{:?}", snapshot.events(&EntityKey::Run(run)).unwrap()));
        for key in KEYS {
            let stats = snapshot.stats(run, key).unwrap();
            if let Some(s) = stats {
                let zero = |v: f64| {
                    if v == 0.0 {
                        0.0
                    } else if v.is_nan() {
                        f64::NAN
                    } else {
                        v
                    }
                };
                out.push(format!(
                    "{run} {key} {:?} {:?} {} {} {:?} {:?}",
                    zero(s.min),
                    zero(s.max),
                    s.first_step,
                    s.first_time_ms,
                    (s.last_step, s.last_time_ms),
                    s.time_max_ms
                ));
            }
            out.push(format!("{run} {key} count {}", snapshot.count_exact(run, key).unwrap()));
            full_history(&mut out, key, &snapshot.history(run, key, &all).unwrap().columns);
            let down = snapshot.downsample(run, key, None, 3).unwrap();
            // Where edges snap to depends on chunks; what is between them in all does not.
            let count: u64 = down.buckets.iter().map(|bucket| bucket.summary.count).sum();
            out.push(format!("{count} {:?}", down.buckets.first().map(|bucket| bucket.step_first)));
        }
    }
    for key in 0u8..8 {
        let name = [b'k', key];
        let used = match store.core().pipeline.newest.hot.key_use(&name) {
            Some(used) => Some((used.lsn, used.request_hash)),
            None => snapshot.index.idempotency(&name).unwrap().map(|entry| (entry.lsn, entry.request)),
        };
        out.push(format!("{used:?}"));
    }
    for time in times {
        let at = snapshot.as_of(AsOf::Time(*time)).unwrap().position();
        out.push(format!("at {time:?}: {at}"));
    }
    out
}

/// What the past was at some positions.
fn past(store: &Store, positions: &[Lsn]) -> Vec<String> {
    let snapshot = store.snapshot().unwrap();
    let all = HistoryQuery { columns: ColumnSet::ALL, ..HistoryQuery::default() };
    let mut out = Vec::new();
    for &position in positions {
        let view = snapshot.as_of(AsOf::Position(position)).unwrap();
        out.push(format!("{position} {:?}", view.experiment(EXPERIMENT).unwrap()));
        for number in (0..RUNS).filter(|number| !is_purged(&snapshot, run_id(*number))) {
            out.push(format!("{:?}", view.run(run_id(number)).unwrap()));
            for key in KEYS {
                let history = view.history(run_id(number), key, &all).unwrap();
                full_history(&mut out, key, &history.columns);
                let stats = view.stats(run_id(number), key).unwrap();
                out.push(format!("{:?}", stats.map(|s| (s.first_step, s.last_step, s.last_time_ms, s.time_max_ms))));
            }
        }
    }
    out
}

// ---- batches from a position on ------------------------------------------------------------------------------------

/// Step, time, bits of the value, context.
type Row = (i64, i64, u64, u32);

/// A batch as two tails can be compared: points by run and metric, in no order.
#[derive(Debug, Clone, Default, PartialEq)]
struct Said {
    time: i64,
    events: Vec<String>,
    who: Option<(Option<String>, Option<Merged>)>,
    points: BTreeMap<(RunId, Arc<str>), Vec<Row>>,
}

/// All that a tail says, but of the runs that are purged now; `most` batches at once.
fn tail(store: &Store, budget: Budget, most: usize) -> BTreeMap<Lsn, Said> {
    let snapshot = store.snapshot().unwrap();
    let mut tail = store.tail(Lsn(1)).unwrap().with_budget(budget);
    let mut out = BTreeMap::new();
    loop {
        let batches = tail.next(most, Duration::ZERO).unwrap();
        if batches.is_empty() {
            return out;
        }
        assert!(batches.len() <= most && out.last_key_value().is_none_or(|(last, _)| *last < batches[0].lsn));
        for batch in batches {
            let mut said = Said { time: batch.time.0, ..Said::default() };
            for event in &batch.events {
                let Decoded::Known(known) = event else { panic!("{event:?}") };
                let purged = |key: &EntityKey| matches!(key, EntityKey::Run(run) if is_purged(&snapshot, *run));
                // A copy says of itself that it is one.
                if matches!(known, Event::StoreCopied(_)) {
                    continue;
                }
                if !touches(known).iter().any(purged) {
                    said.events.push(format!("{known:?}"));
                }
            }
            if !said.events.is_empty() {
                said.who = Some((batch.actor, batch.merged));
            }
            for (series, columns) in batch.points.into_iter().filter(|(series, _)| !is_purged(&snapshot, series.run)) {
                let name = snapshot.key_name(series.key).unwrap();
                let rows = said.points.entry((series.run, name)).or_default();
                for at in 0..columns.len() {
                    assert_eq!(columns.lsns[at], batch.lsn.0);
                    let point = columns.point(at);
                    rows.push((point.step, point.time.0, point.value.to_bits(), columns.context(at).0));
                }
            }
            said.points.values_mut().for_each(|rows| rows.sort_unstable());
            if !(said.events.is_empty() && said.points.is_empty()) {
                assert_eq!(out.insert(batch.lsn, said), None);
            }
        }
    }
}

/// The times of all batches after a position.
fn times_after(store: &Store, position: Lsn) -> Vec<i64> {
    let mut tail = store.tail(position.next()).unwrap();
    let mut times = Vec::new();
    loop {
        let batches = tail.next(usize::MAX, Duration::ZERO).unwrap();
        if batches.is_empty() {
            return times;
        }
        times.extend(batches.iter().map(|batch| batch.time.0));
    }
}

/// A compacted store's tail is the one from before.
fn same_tail(after: &BTreeMap<Lsn, Said>, before: &BTreeMap<Lsn, Said>) {
    for (lsn, before) in before {
        let nothing = Said { time: before.time, ..Said::default() };
        let after = after.get(lsn).unwrap_or(&nothing);
        assert_eq!((&after.events, &after.who), (&before.events, &before.who), "{lsn}");
        // What clocks that went back said of a batch that is gone is not kept.
        assert!(after.time <= before.time, "{lsn}: {} is after {}", after.time, before.time);
        assert!(after.points.keys().all(|series| before.points.contains_key(series)), "{lsn}");
        for (series, rows) in &before.points {
            let mut left = after.points.get(series).cloned().unwrap_or_default();
            for row in rows {
                let Some(at) = left.iter().position(|left| left == row) else {
                    panic!("{lsn} has lost {row:?} of {series:?}");
                };
                left.remove(at);
            }
            assert_eq!(left, [], "{lsn} {series:?}");
        }
    }
    let more: Vec<_> = after.keys().filter(|lsn| !before.contains_key(lsn)).collect();
    assert!(more.is_empty(), "{more:?}");
}

/// Tails that read in windows of all sizes.
fn check_tails(store: &Store, before: &BTreeMap<Lsn, Said>, seed: u64) {
    let mix = |number: u64, bound: u64| (crate::storage::sim::mix(seed ^ number) % bound) as usize + 1;
    same_tail(&tail(store, Budget::default(), usize::MAX), before);
    same_tail(&tail(store, Budget { points: mix(1, 40), chunks: mix(2, 8) }, mix(3, 20)), before);
    same_tail(&tail(store, Budget { points: mix(4, 3), chunks: 2 }, 1), before);
}

// ---- random histories ---------------------------------------------------------------------------------------------

#[derive(Debug, Clone)]
enum Op {
    Points { run: u8, key: usize, points: Vec<(i64, i64, u8)>, context: bool },
    Row { run: u8, step: i64, value: u8 },
    Param { run: u8, value: u8 },
    Tag { run: u8, value: u8 },
    Inputs { run: u8, name: bool },
    Keyed { run: u8, key: u8, point: bool },
    Delete(u8),
    Restore(u8),
    Purge(u8),
    Rewind { run: u8, to_step: i64 },
    Clock(i64),
    Seal,
    Checkpoint,
    Compact,
    Reopen { close: bool, drop_index: bool },
}

const VALUES: [f64; 8] = [0.0, -0.0, 1.5, 0.1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 3e300];

fn any_op() -> impl Strategy<Value = Op> {
    let run = || 0..RUNS;
    let step = || prop_oneof![6 => 0i64..20, 1 => Just(i64::MIN), 1 => Just(i64::MAX), 1 => -5i64..5];
    prop_oneof![
        8 => (run(), 0usize..3, prop::collection::vec((step(), 0i64..6, any::<u8>()), 1..30), any::<bool>())
            .prop_map(|(run, key, points, context)| Op::Points { run, key, points, context }),
        3 => (run(), step(), any::<u8>()).prop_map(|(run, step, value)| Op::Row { run, step, value }),
        2 => (run(), any::<u8>()).prop_map(|(run, value)| Op::Param { run, value }),
        3 => (run(), any::<u8>()).prop_map(|(run, value)| Op::Tag { run, value }),
        2 => (run(), any::<bool>()).prop_map(|(run, name)| Op::Inputs { run, name }),
        2 => (run(), 0u8..8, any::<bool>()).prop_map(|(run, key, point)| Op::Keyed { run, key, point }),
        2 => run().prop_map(Op::Delete),
        1 => run().prop_map(Op::Restore),
        1 => run().prop_map(Op::Purge),
        2 => (run(), step()).prop_map(|(run, to_step)| Op::Rewind { run, to_step }),
        3 => (-3i64..10).prop_map(Op::Clock),
        2 => Just(Op::Seal),
        2 => Just(Op::Checkpoint),
        2 => Just(Op::Compact),
        2 => (any::<bool>(), prop::bool::weighted(0.3)).prop_map(|(close, drop_index)| Op::Reopen { close, drop_index }),
    ]
}

fn value(byte: u8) -> f64 {
    VALUES.get(byte as usize).copied().unwrap_or(f64::from(byte) * 0.01)
}

impl Bench {
    fn apply(&mut self, op: &Op) {
        let mut now = self.clock.now();
        match op {
            Op::Points { run, key, points, context } => {
                let context = context.then(|| MetricContext { model_id: Some("m".into()), ..MetricContext::default() });
                let mut batch = Batch::new();
                for (step, time, byte) in points {
                    let point = Point { step: *step, time: TimestampMs(*time), value: value(*byte) };
                    batch.push_metric(run_id(*run), KEYS[*key], point, context.clone());
                }
                self.append(batch);
            }
            Op::Row { run, step, value: byte } => {
                let keys: Vec<_> =
                    KEYS.iter().map(|key| (self.store().metric_key(key).unwrap(), value(*byte))).collect();
                if let Ok(handle) = self.store().run(run_id(*run)) {
                    let _ = handle.log_row(*step, TimestampMs(3), &keys, Durability::Buffered);
                }
            }
            Op::Param { run, value } => {
                let params = vec![(format!("p{}", value % 4), value.to_string())];
                self.append(Batch::new().event(ParamsLogged { run: run_id(*run), params }));
            }
            Op::Tag { run, value } => {
                let tags = |value: u8| vec![(format!("t{}", value % 4), value.to_string())];
                let both = Batch::new()
                    .event(RunTagsSet { run: run_id(*run), tags: tags(*value) })
                    .event(ExperimentTagsSet { experiment: EXPERIMENT, tags: tags(value.wrapping_add(1)) })
                    .event(RunTagsSet { run: run_id((*run + 1) % RUNS), tags: tags(*value) });
                self.append(both.actor("bob"));
            }
            Op::Inputs { run, name } => {
                let input = DatasetInput {
                    name: if *name { "a" } else { "b" }.into(),
                    digest: "1".into(),
                    source_type: "local".into(),
                    source: format!("from run {run}"),
                    schema: None,
                    profile: None,
                    tags: vec![("secret".into(), "of-run".into())],
                };
                self.append(Batch::new().event(RunInputsLogged {
                    run: run_id(*run),
                    datasets: vec![input],
                    models: vec![],
                }));
            }
            Op::Keyed { run, key, point } => {
                let mut batch = Batch::new().idempotency_key([b'k', *key]).actor("carl");
                if *point {
                    let point = Point { step: i64::from(*key), time: TimestampMs(7), value: 1.0 };
                    batch.push_metric(run_id(*run), "loss", point, None);
                } else {
                    let tags = vec![("keyed".into(), key.to_string())];
                    batch.push_event(RunTagsSet { run: run_id(*run), tags });
                }
                self.append(batch);
            }
            Op::Delete(run) => self.append(Batch::new().event(RunDeleted { run: run_id(*run), at_ms: 9 })),
            Op::Restore(run) => self.append(Batch::new().event(RunRestored { run: run_id(*run) })),
            Op::Purge(run) => self.append(Batch::new().event(RunPurged { run: run_id(*run) })),
            Op::Rewind { run, to_step } => {
                // What is refused (a deleted run) is refused.
                let _ = self.store().rewind(run_id(*run), *to_step, None);
            }
            Op::Clock(by) => {
                now = TimestampMs(now.0 + by);
                self.clock.set(now);
                self.times.push(now);
            }
            Op::Seal => {
                self.store().flush().unwrap();
                self.store().seal().unwrap();
            }
            Op::Checkpoint => {
                self.store().flush().unwrap();
                self.store().checkpoint().unwrap();
            }
            Op::Compact => {
                let before = picture(self.store(), &self.times);
                self.compact();
                same(&picture(self.store(), &self.times), &before);
            }
            Op::Reopen { close, drop_index } => self.reopen(*close, *drop_index),
        }
    }
}

fn same(after: &[String], before: &[String]) {
    for (after, before) in after.iter().zip(before) {
        assert_eq!(after, before);
    }
    assert_eq!(after.len(), before.len());
}

fn law(ops: &[Op], seed: u64) {
    let mut bench = Bench::new(Arc::new(Memory::new()));
    for op in ops {
        bench.apply(op);
    }
    bench.store().flush().unwrap();
    bench.check_sound();
    let end = bench.store().positions().published.0;
    let positions: Vec<Lsn> = (0..4).map(|i| Lsn(crate::storage::sim::mix(seed ^ i) % (end + 1))).collect();
    let before = (picture(bench.store(), &bench.times), past(bench.store(), &positions));
    let batches = tail(bench.store(), Budget::default(), usize::MAX);
    let check = |bench: &Bench| {
        same(&picture(bench.store(), &bench.times), &before.0);
        same(&past(bench.store(), &positions), &before.1);
        check_tails(bench.store(), &batches, seed);
        bench.check_sound();
    };
    let old = bench.store().snapshot().unwrap();
    let old_lines = history_lines(&old);
    bench.compact();
    assert_eq!(history_lines(&old), old_lines, "a snapshot from before");
    drop(old);
    check(&bench);
    let again = bench.compact();
    assert_eq!((again.segments_before, again.freed_bytes), (again.segments_after, 0), "nothing is left to do");
    check(&bench);
    bench.reopen(true, true);
    check(&bench);
    bench.reopen(false, false);
    check(&bench);
    for &position in &positions {
        copy_is_the_past(&bench, position);
    }
}

fn history_lines(snapshot: &Snapshot) -> Vec<String> {
    let mut out = Vec::new();
    for number in (0..RUNS).filter(|number| !is_purged(snapshot, run_id(*number))) {
        for key in KEYS {
            let page = snapshot.history(run_id(number), key, &HistoryQuery::default()).unwrap();
            full_history(&mut out, key, &page.columns);
        }
        out.push(format!("{:?}", snapshot.events(&EntityKey::Run(run_id(number))).unwrap()));
    }
    out
}

fn copy_is_the_past(bench: &Bench, position: Lsn) {
    let target: Arc<dyn Storage> = Arc::new(Memory::new());
    let until = Some(AsOf::Position(position));
    let report = bench.store().replay_to(&target, StoreId([9; 16]), options(&target, &bench.clock), until).unwrap();
    assert_eq!(report.position, position);
    let copy = options(&target, &bench.clock).open().unwrap();
    let verified = copy.verify(&VerifyOptions::default()).unwrap();
    assert!(verified.is_sound(), "{:#?}", verified.findings);
    let (now, then) = (bench.store().snapshot().unwrap(), copy.snapshot().unwrap());
    let mut batches = tail(bench.store(), Budget::default(), usize::MAX);
    // Of a batch that is gone the clock keeps the last position of its time. Where that lies behind the copy's end (the
    // clock went back), nothing is known of the time but that it was before that of the next batch, which may be one of a
    // purged run.
    let later = times_after(bench.store(), position).into_iter().min().unwrap_or(i64::MAX);
    for said in batches.values_mut().filter(|said| said.time >= later) {
        said.time = i64::MAX;
    }
    batches.retain(|lsn, _| *lsn <= position);
    same_tail(&tail(&copy, Budget::default(), 7), &batches);
    let view = now.as_of(AsOf::Position(position)).unwrap();
    let all = HistoryQuery { columns: ColumnSet::ALL, ..HistoryQuery::default() };
    for number in 0..RUNS {
        let run = run_id(number);
        if is_purged(&now, run) {
            assert!(then.run(run).unwrap().is_none_or(|run| run.lifecycle == Lifecycle::Purged));
            continue;
        }
        let copied = then.run(run).unwrap().map(|run| (*run).clone());
        assert_eq!(copied, view.run(run).unwrap().map(|(run, _)| run));
        for key in KEYS {
            let mut lines = Vec::new();
            full_history(&mut lines, key, &then.history(run, key, &all).unwrap().columns);
            full_history(&mut lines, key, &view.history(run, key, &all).unwrap().columns);
            assert_eq!(lines[0], lines[1]);
        }
    }
}

fn cases(default: u32) -> u32 {
    std::env::var("RUNLODE_COMPACTION_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(24), ..ProptestConfig::default() })]

    #[test]
    fn a_compacted_store_says_what_it_said(ops in prop::collection::vec(any_op(), 1..60), seed: u64) {
        law(&ops, seed);
    }
}

// ---- crashes ------------------------------------------------------------------------------------------------------

/// A store with points in and out of order, repeats, several lives, a purged run; durable, and not yet compacted.
fn lived_in(storage: Arc<dyn Storage>) -> Bench {
    let mut bench = Bench::new(storage);
    for life in 0..3u8 {
        for batch in 0..6i64 {
            let points = (0..20).map(|i| (batch * 10 + i, i % 3, (i as u8).wrapping_mul(7))).collect();
            bench.apply(&Op::Points { run: batch as u8 % 3, key: batch as usize % 3, points, context: life == 1 });
            bench.apply(&Op::Tag { run: life, value: batch as u8 });
            bench.apply(&Op::Clock(2));
        }
        bench.apply(&Op::Inputs { run: 2, name: life == 0 });
        bench.apply(&Op::Seal);
        if life < 2 {
            bench.apply(&Op::Reopen { close: life == 0, drop_index: false });
        }
    }
    bench.apply(&Op::Keyed { run: 0, key: 3, point: true });
    bench.apply(&Op::Delete(2));
    bench.apply(&Op::Purge(2));
    bench.store().flush().unwrap();
    bench
}

#[test]
fn a_crash_at_any_operation_of_a_compaction_changes_nothing() {
    let disk = SimDisk::new(7);
    let bench = lived_in(Arc::new(disk.clone()));
    let end = bench.store().positions().published;
    let positions = [Lsn(5), Lsn(end.0 / 2), end];
    let before = (picture(bench.store(), &bench.times), past(bench.store(), &positions));
    disk.record();
    bench.compact();
    let recording = disk.recording().unwrap();
    let (times, clock) = (bench.times.clone(), bench.clock.clone());
    drop(bench);
    let (every, seed) = (cases(0) > 0, 3);
    let mut count = 0u64;
    for (number, crashed) in recording.crashes(seed) {
        // Each operation with one kind of power cut, or as the death of the process leaves it; all kinds if asked for.
        let mut disks = vec![match number % 2 {
            0 => crashed.after_process_crash(),
            _ => crashed.after_power_cut(PowerCut::seeded(seed ^ number)),
        }];
        if every {
            disks.push(crashed.after_process_crash());
            disks.extend(PowerCut::one_of_each(number).map(|cut| crashed.after_power_cut(cut)));
        }
        for disk in disks {
            count += 1;
            let storage: Arc<dyn Storage> = Arc::new(disk);
            let store = options(&storage, &clock).open().unwrap_or_else(|error| panic!("operation {number}: {error}"));
            same(&picture(&store, &times), &before.0);
            same(&past(&store, &positions), &before.1);
            if number % 8 == 0 {
                let report = store.verify(&VerifyOptions::default()).unwrap();
                assert!(report.is_sound(), "operation {number}: {:#?}", report.findings);
                store.compact(&CompactOptions::default()).unwrap();
                same(&picture(&store, &times), &before.0);
            }
        }
    }
    assert!(count > 20, "{count} crashes");
}

#[test]
fn a_crash_of_an_index_rebuild_over_a_compacted_store_is_made_good() {
    let disk = SimDisk::new(8);
    let bench = lived_in(Arc::new(disk.clone()));
    let before = picture(bench.store(), &bench.times);
    bench.compact();
    let (times, clock) = (bench.times.clone(), bench.clock.clone());
    drop(bench);
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    storage.remove("index.redb").unwrap();
    disk.record();
    let store = options(&storage, &clock).open().unwrap();
    store.checkpoint().unwrap();
    drop(store);
    let recording = disk.recording().unwrap();
    for (number, crashed) in recording.crashes(5).filter(|(number, _)| number % 3 == 0) {
        let storage: Arc<dyn Storage> = Arc::new(crashed.after_power_cut(PowerCut::seeded(number)));
        let store = options(&storage, &clock).open().unwrap_or_else(|error| panic!("operation {number}: {error}"));
        same(&picture(&store, &times), &before);
    }
}

// ---- cases --------------------------------------------------------------------------------------------------------

fn bytes_of(storage: &Arc<dyn Storage>, dir: &str) -> u64 {
    let entries = storage.list(dir).unwrap();
    entries
        .iter()
        .filter(|entry| !entry.is_dir)
        .map(|entry| {
            let path = if dir.is_empty() { entry.name.clone() } else { format!("{dir}/{}", entry.name) };
            storage.open(&path, OpenMode::Read).unwrap().len().unwrap()
        })
        .sum()
}

#[test]
fn points_leave_the_log_and_small_chunks_become_few() {
    let bench = Bench::new(Arc::new(Memory::new()));
    let key = bench.store().metric_key("loss").unwrap();
    let handle = bench.store().run(run_id(0)).unwrap();
    let mut logged = 0;
    for part in 0..20i64 {
        let points: Vec<_> = (0..500)
            .map(|i| {
                let step = part * 500 + i;
                let value = f64::from((step as f32 * 0.01).sin());
                KeyedPoint { key, point: Point { step, time: TimestampMs(1_000 + step * 3), value } }
            })
            .collect();
        handle.log_points(&points, Durability::Buffered).unwrap();
        logged += points.len() as u64;
        bench.store().flush().unwrap();
        bench.store().seal().unwrap();
    }
    let log_before = bytes_of(&bench.storage, "log");
    let before = picture(bench.store(), &bench.times);
    let report = bench.compact();
    same(&picture(bench.store(), &bench.times), &before);
    assert_eq!((report.series_files_before, report.series_files_after), (20, 1));
    assert_eq!(report.segments_after, 1);
    assert!(report.freed_bytes > 0 && report.pinned_bytes == 0, "{report:?}");
    assert!(bytes_of(&bench.storage, "log") < 8192 && log_before > 40_000, "{log_before}");
    assert!(bytes_of(&bench.storage, "series") < 4 * logged + 1_000);
    let read = bench.store().core().index.read().unwrap();
    let chunks = crate::core::chunks_of(&read, crate::id::SeriesId { run: run_id(0), key }).unwrap();
    assert_eq!(chunks.len(), 1);
    bench.check_sound();
}

/// Points that tie and differ in the bits of their NaN, in files that a compaction leaves as they are: the last of them
/// became the series' last value when the index was made anew.
#[test]
fn a_rebuild_keeps_the_bits_of_the_nan_that_was_logged_first() {
    let bits = |low: u64| f64::from_bits(f64::NAN.to_bits() | low);
    for (order, merge) in [([1, 2, 3], false), ([3, 2, 1], false), ([2, 3, 1], true)] {
        let mut bench = Bench::new(Arc::new(Memory::new()));
        let key = bench.store().metric_key("loss").unwrap();
        let handle = bench.store().run(run_id(0)).unwrap();
        let log = |values: &[(i64, f64)]| {
            let point = |&(step, value)| KeyedPoint { key, point: Point { step, time: TimestampMs(9), value } };
            let points: Vec<_> = values.iter().map(point).collect();
            handle.log_points(&points, Durability::Buffered).unwrap();
        };
        for low in order {
            // Each file has repeats in itself, and of the others.
            log(&[(0, bits(low)), (5, 1.0), (9, bits(low))]);
            log(&[(0, bits(low + 8)), (9, bits(low + 8))]);
            if !merge {
                bench.store().flush().unwrap();
                bench.store().seal().unwrap();
            }
        }
        let first = bits(order[0]).to_bits();
        let ends = |bench: &Bench| {
            let stats = bench.store().snapshot().unwrap().stats(run_id(0), "loss").unwrap().unwrap();
            (stats.first_value.to_bits(), stats.last_value.to_bits())
        };
        assert_eq!(ends(&bench), (first, first));
        bench.compact();
        assert_eq!(ends(&bench), (first, first));
        bench.reopen(true, true);
        assert_eq!(ends(&bench), (first, first), "logged in the order {order:?}");
        bench.check_sound();
    }
}

#[test]
fn a_purged_run_leaves_the_disk_once_no_older_snapshot_is_held() {
    let secret = b"of-run".as_slice();
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let mut bench = Bench::new(storage.clone());
    bench.apply(&Op::Inputs { run: 1, name: true });
    bench.apply(&Op::Points { run: 1, key: 0, points: (0..30).map(|i| (i, i, 2)).collect(), context: false });
    bench.apply(&Op::Points { run: 0, key: 0, points: (0..30).map(|i| (i, i, 2)).collect(), context: false });
    bench.compact();
    let holds = |what: &[u8]| {
        storage.list("log").unwrap().iter().any(|entry| {
            let file = storage.open(&format!("log/{}", entry.name), OpenMode::Read).unwrap();
            let mut bytes = vec![0; file.len().unwrap() as usize];
            crate::storage::read_exact_at(&*file, &mut bytes, 0).unwrap();
            bytes.windows(what.len()).any(|window| window == what)
        })
    };
    assert!(holds(secret) && holds(b"run-1"));
    let old = bench.store().snapshot().unwrap();
    let lines = history_lines(&old);
    bench.apply(&Op::Delete(1));
    bench.apply(&Op::Purge(1));
    let report = bench.compact();
    assert_eq!((report.runs_pinned, report.runs_purged), (1, 0));
    assert!(holds(secret));
    assert_eq!(history_lines(&old), lines);
    drop(old);
    let report = bench.compact();
    assert_eq!((report.runs_pinned, report.runs_purged), (0, 1));
    assert!(!holds(secret) && !holds(b"run-1") && holds(b"run-2"));
    let snapshot = bench.store().snapshot().unwrap();
    assert!(snapshot.dataset(EXPERIMENT, "a", "1").unwrap().is_some(), "the experiment's own");
    drop(snapshot);
    let before = picture(bench.store(), &bench.times);
    bench.check_sound();
    bench.reopen(true, true);
    same(&picture(bench.store(), &bench.times), &before);
    bench.check_sound();
    let index = bench.store().core().index.read().unwrap();
    let points_of = |number: &u64| bench.store().core().files.get(*number, &index).unwrap().footer().points;
    let points: u64 = index.files().unwrap().iter().map(|(number, _)| points_of(number)).sum();
    assert_eq!(points, 30);
}

#[test]
fn appends_and_reads_go_on_while_it_compacts() {
    let mut bench = Bench::new(Arc::new(Memory::new()));
    let store = bench.store();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let key = store.metric_key("loss").unwrap();
            let handle = store.run(run_id(0)).unwrap();
            for step in 0..2_000 {
                let point = Point { step, time: TimestampMs(step), value: step as f64 };
                handle.log_point(key, point, Durability::Buffered).unwrap();
                if step % 100 == 0 {
                    let tags = vec![("step".into(), step.to_string())];
                    store.append(Batch::new().event(RunTagsSet { run: run_id(0), tags }), Durability::Sync).unwrap();
                }
            }
        });
        scope.spawn(|| {
            let mut seen = 0;
            while !done.load(Ordering::Acquire) {
                let snapshot = store.snapshot().unwrap();
                for _ in 0..2 {
                    let steps = snapshot.history(run_id(0), "loss", &HistoryQuery::default()).unwrap().columns.steps;
                    assert!(steps.iter().copied().eq(0..steps.len() as i64));
                    assert!(steps.len() >= seen);
                    seen = steps.len();
                }
                let _events = snapshot.events(&EntityKey::Run(run_id(0))).unwrap();
            }
        });
        for _ in 0..10 {
            bench.compact();
        }
        writer.join().unwrap();
        bench.compact();
        done.store(true, Ordering::Release);
    });
    let report = bench.compact();
    assert_eq!(report.pinned_bytes, 0);
    bench.check_sound();
    let before = picture(bench.store(), &bench.times);
    bench.reopen(false, true);
    same(&picture(bench.store(), &bench.times), &before);
    assert_eq!(bench.store().snapshot().unwrap().count_exact(run_id(0), "loss").unwrap(), 2_000);
}

#[test]
fn many_short_lives_leave_few_files() {
    let mut bench = Bench::new(Arc::new(Memory::new()));
    for life in 0..20u8 {
        bench.apply(&Op::Tag { run: life % RUNS, value: life });
        bench.apply(&Op::Reopen { close: false, drop_index: false });
    }
    let before = picture(bench.store(), &bench.times);
    assert!(bench.storage.list("log").unwrap().len() > 15);
    bench.compact();
    assert!(bench.storage.list("log").unwrap().len() <= 2);
    same(&picture(bench.store(), &bench.times), &before);
}

#[test]
fn verify_names_what_is_damaged_and_reads_on() {
    let disk = SimDisk::new(9);
    let bench = lived_in(Arc::new(disk.clone()));
    bench.compact();
    let (clock, sound) = (bench.clock.clone(), bench.store().verify(&VerifyOptions::default()).unwrap());
    assert!(sound.is_sound() && sound.frames_count > 10, "{sound:#?}");
    assert!(sound.chunks_count > 1 && sound.chunk_points_count > 50 && sound.entities_count > 5, "{sound:#?}");
    assert_eq!(sound.sound_up_to, sound.position);
    bench.store.unwrap().close().unwrap();
    let names = |dir: &str| -> Vec<String> {
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        storage.list(dir).unwrap().into_iter().map(|entry| format!("{dir}/{}", entry.name)).collect()
    };
    let segment = names("log").into_iter().find(|name| name.contains('-')).unwrap();
    let file = names("series").remove(0);
    for (path, offset) in [(segment, 200), (file, 60)] {
        let damaged = disk.after_process_crash();
        damaged.flip_bit(&path, offset, 3).unwrap();
        let storage: Arc<dyn Storage> = Arc::new(damaged);
        let store = match options(&storage, &clock).open() {
            Ok(store) => store,
            Err(error) => panic!("{path}: {error}"),
        };
        let report = store.verify(&VerifyOptions::default()).unwrap();
        assert!(report.findings.iter().any(|finding| finding.path.to_string_lossy().contains(&path)), "{report:#?}");
    }
}

#[test]
fn verify_finds_rows_that_are_not_what_the_log_says() {
    let bench = lived_in(Arc::new(Memory::new()));
    bench.compact();
    let core = bench.store().core();
    let read = core.index.read().unwrap();
    let mut state = None;
    read.for_each_run(|id, run| {
        state.get_or_insert((id, run));
        Ok(())
    })
    .unwrap();
    let (id, run) = state.unwrap();
    let EntityState::Run(run) = &*run else { panic!("a run") };
    let mut changed = run.clone();
    changed.name = "another".into();
    let series = crate::id::SeriesId { run: id, key: KeyId(0) };
    let mut stats = read.stats(series).unwrap().unwrap();
    stats.max = 77.0;
    let change = IndexChange {
        applied: read.applied(),
        sealed: read.sealed(),
        generation: read.generation(),
        entities: vec![(EntityKey::Run(id), Arc::new(EntityState::Run(changed)))],
        stats: vec![(series, stats)],
        events: vec![(EntityKey::Run(id), vec![(Lsn(1), 9)])],
        ..IndexChange::default()
    };
    core.index.write(&change).unwrap();
    core.pipeline.newest.refresh(core.index.read().unwrap());
    let report = bench.store().verify(&VerifyOptions::default()).unwrap();
    let kinds: Vec<_> = report.findings.iter().map(|finding| finding.kind).collect();
    use crate::verify::FindingKind;
    for kind in [FindingKind::Entity, FindingKind::Stats, FindingKind::List] {
        assert!(kinds.contains(&kind), "{report:#?}");
    }
}

/// Appends, checkpoints, seals, reads and purges go on during a compaction, which ends with the same answers.
#[test]
fn a_compaction_blocks_nobody_and_purges_during_it_are_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::options(dir.path()).segment_bytes(4096, 64 << 10).open().unwrap();
    let created = ExperimentCreated {
        experiment: EXPERIMENT,
        name: "e".into(),
        artifact_location: None,
        creation_time_ms: 1,
        last_update_time_ms: 1,
        tags: vec![],
    };
    store.append(Batch::new().event(created), Durability::Sync).unwrap();
    let create = |number: u8| {
        let created = RunCreated {
            run: run_id(number),
            experiment: EXPERIMENT,
            name: format!("run-{number}"),
            user_id: String::new(),
            status: RunStatus::Running,
            start_time_ms: 5,
            artifact_location: None,
            tags: vec![],
        };
        store.append(Batch::new().event(created), Durability::Sync).unwrap();
    };
    let log = |number: u8, steps: Range<i64>| {
        for step in steps {
            let mut batch = Batch::new();
            for key in KEYS {
                batch.push_metric(run_id(number), key, Point { step, time: TimestampMs(step), value: 0.5 }, None);
            }
            store.append(batch, Durability::Buffered).unwrap();
        }
    };
    for number in 1..=40 {
        create(number);
        log(number, 0..30);
    }
    // So slow that the others get in between.
    let slowly = CompactOptions { bytes_per_second: Some(256 << 10), ..CompactOptions::default() };
    let seen = std::thread::scope(|scope| {
        let compaction = scope.spawn(|| store.compact(&slowly).unwrap());
        let mut seen = false;
        while !compaction.is_finished() {
            if store.compaction_progress().is_some() && !seen {
                seen = true;
                log(2, 30..60);
                store.append(Batch::new().event(RunDeleted { run: run_id(1), at_ms: 9 }), Durability::Sync).unwrap();
                store.append(Batch::new().event(RunPurged { run: run_id(1) }), Durability::Sync).unwrap();
                store.checkpoint().unwrap();
                store.seal().unwrap();
            }
            std::thread::yield_now();
        }
        compaction.join().unwrap();
        seen
    });
    assert!(seen);
    let counts = |store: &Store| -> Vec<u64> {
        let snapshot = store.snapshot().unwrap();
        (1..=40).map(|number| snapshot.count_exact(run_id(number), "loss").unwrap()).collect()
    };
    let mut expected = vec![30; 40];
    (expected[0], expected[1]) = (0, 60);
    assert_eq!(counts(&store), expected);
    assert!(store.verify(&VerifyOptions::default()).unwrap().is_sound());
    store.compact(&CompactOptions::default()).unwrap();
    store.close().unwrap();
    std::fs::remove_file(dir.path().join("index.redb")).unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(counts(&store), expected);
    assert!(store.verify(&VerifyOptions::default()).unwrap().is_sound());
}

#[test]
fn a_close_ends_a_slow_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Store::options(dir.path()).segment_bytes(4096, 16 << 10).open().unwrap();
    let key = vec![("note".to_owned(), "x".repeat(9_000))];
    for number in 1..20 {
        let tags = key.clone();
        let created = ExperimentCreated {
            experiment: ExperimentId(number),
            name: number.to_string(),
            artifact_location: None,
            creation_time_ms: 1,
            last_update_time_ms: 1,
            tags,
        };
        bench.append(Batch::new().event(created), Durability::Sync).unwrap();
    }
    let crawling = CompactOptions { bytes_per_second: Some(1), ..CompactOptions::default() };
    let other = bench.clone();
    let compaction = std::thread::spawn(move || other.compact(&crawling));
    while bench.compaction_progress().is_none() {
        std::thread::yield_now();
    }
    bench.close().unwrap();
    assert!(matches!(compaction.join().unwrap(), Err(Error::Closed)));
    assert!(Store::open(dir.path()).unwrap().verify(&VerifyOptions::default()).unwrap().is_sound());
}
