//! Wide rows among narrow ones, sections and single points of the same series, against a list of all points.

use proptest::prelude::*;

use super::*;
use crate::id::KeyId;
use crate::point::Stats;
use crate::query::points::HistoryPage;
use crate::series::ColumnSet;

const KEYS: usize = 12;
const RUN: u8 = 1;

/// Rows by their keys: wide in order, wide in another order, wide with a key twice, narrow.
const SHAPES: [&[usize]; 7] = [
    &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    &[2, 4, 6, 8],
    &[11, 3, 7, 5, 1],
    &[9, 8, 7, 6, 5, 4, 3],
    &[1, 2, 3, 2, 5],
    &[0, 5, 11],
    &[4],
];

#[derive(Debug, Clone)]
enum Step {
    Row { shape: usize, late: i64, value: u8, sync: bool },
    Points { key: usize, count: usize, late: i64, value: u8 },
    Context { key: usize, value: u8 },
    Snapshot,
    Forget,
    Flush,
    Checkpoint,
    Seal,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let late = prop_oneof![4 => Just(0i64), 1 => 0i64..5];
    prop_oneof![
        12 => (0..SHAPES.len(), late.clone(), any::<u8>(), prop::bool::weighted(0.2))
            .prop_map(|(shape, late, value, sync)| Step::Row { shape, late, value, sync }),
        3 => (0..KEYS, 1usize..20, late, any::<u8>())
            .prop_map(|(key, count, late, value)| Step::Points { key, count, late, value }),
        1 => (0..KEYS, any::<u8>()).prop_map(|(key, value)| Step::Context { key, value }),
        2 => Just(Step::Snapshot),
        1 => Just(Step::Forget),
        1 => Just(Step::Flush),
        1 => Just(Step::Checkpoint),
        2 => Just(Step::Seal),
        1 => Just(Step::Reopen),
    ]
}

fn value_of(value: u8) -> f64 {
    match value {
        0..8 => f64::NAN,
        8..16 => 0.1,
        16..24 => f64::INFINITY,
        24..32 => -0.0,
        value => f64::from(value % 5),
    }
}

#[derive(Default)]
struct Model {
    /// Of each key: position, context or not, and what its batch adds to the stats with it.
    points: Vec<Vec<(u64, bool, Point)>>,
    /// Positions of long sections: their stats are merged, not pushed.
    sections: Vec<u64>,
    clock: i64,
    /// All points come late.
    late: bool,
}

impl Model {
    /// Takes a point in, unless it is late and there already. Whether it did.
    fn add(&mut self, key: usize, lsn: Lsn, context: bool, point: Point) -> bool {
        let same = |(_, of, other): &(u64, bool, Point)| {
            let bits = (other.step, other.time, other.value.to_bits());
            // One without a context is also one that came with one.
            (*of == context || !context) && bits == (point.step, point.time, point.value.to_bits())
        };
        let is_new = !self.late || !self.points[key].iter().any(same);
        if is_new {
            self.points[key].push((lsn.0, context, point));
        }
        is_new
    }

    fn visible(&self, key: usize, at: Lsn) -> &[(u64, bool, Point)] {
        let points = &self.points[key];
        &points[..points.partition_point(|(lsn, ..)| *lsn <= at.0)]
    }

    fn history(&self, key: usize, at: Lsn) -> Vec<(i64, i64, u64, u64, bool)> {
        let mut points = self.visible(key, at).to_vec();
        points.sort_by(|a, b| a.2.history_order(&b.2));
        points.iter().map(|(lsn, context, p)| (p.step, p.time.0, p.value.to_bits(), *lsn, *context)).collect()
    }

    fn stats(&self, key: usize, at: Lsn) -> Option<Stats> {
        let mut all: Option<Stats> = None;
        for batch in self.visible(key, at).chunk_by(|a, b| a.0 == b.0) {
            if self.sections.contains(&batch[0].0) {
                let mut of = Stats::of(batch[0].2);
                batch[1..].iter().for_each(|(_, _, point)| of.push(*point));
                match &mut all {
                    Some(all) => all.merge(&of),
                    None => all = Some(of),
                }
                continue;
            }
            for (_, _, point) in batch {
                match &mut all {
                    Some(all) => all.push(*point),
                    None => all = Some(Stats::of(*point)),
                }
            }
        }
        all
    }
}

fn name(key: usize) -> String {
    format!("k{key:02}")
}

fn same_stats(a: &Option<Stats>, b: &Option<Stats>) -> bool {
    // NaN is not equal to itself, but it prints alike.
    format!("{a:?}") == format!("{b:?}")
}

fn rows_of(page: &HistoryPage) -> Vec<(i64, i64, u64, u64, bool)> {
    let c = &page.columns;
    (0..c.len()).map(|i| (c.steps[i], c.times[i], c.values[i].to_bits(), c.lsns[i], c.context(i).0 != 0)).collect()
}

fn check(model: &Model, snapshot: &Snapshot) -> Result<(), TestCaseError> {
    let at = snapshot.position();
    let latest = snapshot.latest(run_id(RUN)).unwrap();
    let query = HistoryQuery { columns: ColumnSet::ALL, ..HistoryQuery::default() };
    for key in 0..KEYS {
        let expected = model.stats(key, at);
        let found = latest.iter().find(|(found, _)| **found == *name(key)).map(|(_, stats)| *stats);
        prop_assert!(same_stats(&found, &expected), "latest of {key} at {at}: {found:?}, expected {expected:?}");
        let found = snapshot.stats(run_id(RUN), &name(key)).unwrap();
        prop_assert!(same_stats(&found, &expected), "stats of {key} at {at}: {found:?}, expected {expected:?}");
        let page = snapshot.history(run_id(RUN), &name(key), &query).unwrap();
        prop_assert_eq!(rows_of(&page), model.history(key, at), "history of {} at {}", key, at);
        let past = Lsn(at.0 / 2 + 1);
        let page = snapshot.as_of(AsOf::Position(past)).unwrap().history(run_id(RUN), &name(key), &query);
        if let Ok(page) = page {
            prop_assert_eq!(rows_of(&page), model.history(key, past), "as of {} of {}", past, key);
        }
    }
    Ok(())
}

fn run_steps(steps: &[Step], memory_bytes: u64, late: bool) -> Result<(), TestCaseError> {
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let now = TimestampMs(if late { 1_700_000_000_000 } else { 0 });
    let open = || options(&storage).clock(Arc::new(ManualClock::at(now))).memory_bytes(memory_bytes).open().unwrap();
    let mut store = open();
    store.append(Batch::new().event(experiment(EXPERIMENT, "e")).event(run(run_id(RUN))), Durability::Sync).unwrap();
    let mut model = Model { points: vec![Vec::new(); KEYS], late, ..Model::default() };
    let mut snapshots: Vec<Snapshot> = Vec::new();
    for step in steps {
        let keys: Vec<KeyId> = (0..KEYS).map(|key| store.metric_key(&name(key)).unwrap()).collect();
        let handle = store.run(run_id(RUN)).unwrap();
        model.clock += 1;
        let clock = model.clock;
        let point = |late: i64, value: u8| point(clock - late, value_of(value));
        match step {
            Step::Row { shape, late, value, sync } => {
                let of = |place: usize| point(*late, value.wrapping_add((place * 37) as u8));
                let row: Vec<_> =
                    SHAPES[*shape].iter().enumerate().map(|(place, &key)| (keys[key], of(place).value)).collect();
                let durability = if *sync { Durability::Sync } else { Durability::Buffered };
                let first = of(0);
                let lsn = handle.log_row(first.step, first.time, &row, durability).unwrap();
                for (place, &key) in SHAPES[*shape].iter().enumerate() {
                    model.add(key, lsn, false, of(place));
                }
            }
            Step::Points { key, count, late, value } => {
                let points: Vec<_> = (0..*count)
                    .map(|i| KeyedPoint { key: keys[*key], point: point(*late, value.wrapping_add(i as u8)) })
                    .collect();
                let lsn = handle.log_points(&points, Durability::Buffered).unwrap();
                let added = points.iter().filter(|p| model.add(*key, lsn, false, p.point)).count();
                if added > crate::hot::points::COPY_POINTS_MAX {
                    model.sections.push(lsn.0);
                }
            }
            Step::Context { key, value } => {
                let context = crate::MetricContext { model_id: Some("m".into()), ..crate::MetricContext::default() };
                let point = point(0, *value);
                let batch = Batch::new().metric(run_id(RUN), &name(*key), point, Some(context));
                let lsn = store.append(batch, Durability::Buffered).unwrap().lsn;
                model.add(*key, lsn, true, point);
            }
            Step::Snapshot => snapshots.push(store.snapshot().unwrap()),
            Step::Forget => snapshots.truncate(1),
            Step::Flush => drop(store.flush().unwrap()),
            Step::Checkpoint => drop(store.checkpoint().unwrap()),
            Step::Seal => {
                store.flush().unwrap();
                store.seal().unwrap();
            }
            Step::Reopen => {
                snapshots.clear();
                drop(handle);
                drop(store);
                store = open();
            }
        }
        for snapshot in snapshots.iter().take(2) {
            check(&model, snapshot)?;
        }
    }
    snapshots.push(store.snapshot().unwrap());
    snapshots.iter().try_for_each(|snapshot| check(&model, snapshot))?;
    prop_assert!(store.verify(&VerifyOptions::default()).unwrap().is_sound());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::series::tests::cases(96)))]
    #[test]
    fn wide_rows_read_like_points(steps in prop::collection::vec(step(), 1..60), tight: bool, late: bool) {
        run_steps(&steps, if tight { 4_096 } else { 256 << 20 }, late)?;
    }
}

/// Rows of other keys that wait for the same sync once got one another's series.
#[test]
fn rows_that_share_a_sync_stay_apart() {
    let (_storage, store) = new_store();
    let keys: Vec<KeyId> = (0..KEYS).map(|key| store.metric_key(&name(key)).unwrap()).collect();
    // Not with the sequencer held: it is taken to bring a run here.
    let handle = store.run(run_id(RUN)).unwrap();
    std::thread::scope(|scope| {
        // The first one waits here, all others for it: they are one group.
        let sequencer = store.core().pipeline.lock();
        for thread in 0..6usize {
            let (handle, keys) = (handle.clone(), &keys);
            scope.spawn(move || {
                let own = (0..2 * thread + 1).map(|key| (key + thread) % KEYS);
                let row: Vec<_> = own.map(|key| (keys[key], key as f64)).collect();
                handle.log_row(thread as i64, TimestampMs(1), &row, Durability::Sync).unwrap();
            });
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        drop(sequencer);
    });
    let mut found = 0;
    for key in 0..KEYS {
        let values = values(&store, run_id(RUN), &name(key));
        assert!(values.iter().all(|value| *value == key as f64), "{key}: {values:?}");
        found += values.len();
    }
    assert_eq!(found, 36);
}

/// Once all series had left memory, a wide row of other keys gave its first key's values to those that were not in it.
#[test]
fn a_wide_row_gives_nothing_to_a_series_that_left_memory() {
    let (_storage, store) = new_store();
    let handle = store.run(run_id(1)).unwrap();
    let log = |step: i64, keys: std::ops::Range<u32>| {
        let row: Vec<_> = keys.map(|key| (store.metric_key(&format!("k{key}")).unwrap(), step as f64)).collect();
        handle.log_row(step, TimestampMs(step), &row, Durability::Buffered).unwrap();
    };
    log(1, 1..6);
    store.compact(&Default::default()).unwrap();
    log(2, 0..4);
    for key in 0..6 {
        let expected: &[f64] = [&[2.0][..], &[1.0, 2.0], &[1.0]][[0, 1, 1, 1, 2, 2][key]];
        assert_eq!(values(&store, run_id(1), &format!("k{key}")), expected, "key {key}");
    }
}
