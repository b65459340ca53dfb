//! Charts of points that are not sealed, against the plain points.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::ALL_STEPS;
use super::super::tests::check_thinned;
use crate::event::RunStatus;
use crate::event::batch::MetricContext;
use crate::event::{ExperimentCreated, RunCreated};
use crate::id::{ExperimentId, KeyId, RunId};
use crate::ingest::batch::{Batch, Durability};
use crate::ingest::encode::KeyedPoint;
use crate::ingest::run::RunHandle;
use crate::point::Point;
use crate::query::points::{Downsampled, HistoryPage, HistoryQuery, downsample_unsealed};
use crate::query::snapshot::Snapshot;
use crate::series::SeriesCache;
use crate::storage::memory::Memory;
use crate::store::Store;
use crate::summary::Summary;
use crate::time::TimestampMs;

/// Late steps go back before it.
const START_MS: i64 = 1_000_000;
const RUN: RunId = RunId([7; 16]);
const KEYS: [&str; 3] = ["loss", "acc", "lr"];

/// What a writer does next; steps go on from the last one, by `stride`.
#[derive(Debug, Clone)]
enum Act {
    /// A batch of so many points of the first key.
    Batch {
        points: usize,
        stride: i64,
    },
    /// The same over all keys.
    Mixed {
        points: usize,
    },
    /// Points one by one.
    Singles {
        points: usize,
    },
    /// Rows of all keys.
    Rows {
        rows: usize,
    },
    /// A batch whose first step lies so far back.
    Late {
        points: usize,
        back: i64,
    },
    /// Two points of one step in a batch.
    Twice {
        points: usize,
    },
    /// One batch of the first key in two contexts; the points of the second begin `back` steps before those of the first.
    Contexts {
        points: usize,
        back: i64,
    },
    Checkpoint,
    Seal,
    /// A snapshot is taken, and asked at the end.
    Hold,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        5 => (9usize..1_500, 1i64..4).prop_map(|(points, stride)| Act::Batch { points, stride }),
        3 => (27usize..900).prop_map(|points| Act::Mixed { points }),
        2 => (1usize..400).prop_map(|points| Act::Singles { points }),
        2 => (1usize..40).prop_map(|rows| Act::Rows { rows }),
        1 => (9usize..100, 1i64..500).prop_map(|(points, back)| Act::Late { points, back }),
        1 => (9usize..100).prop_map(|points| Act::Twice { points }),
        1 => (9usize..600, 0i64..700).prop_map(|(points, back)| Act::Contexts { points, back }),
        1 => Just(Act::Checkpoint),
        1 => Just(Act::Seal),
        1 => Just(Act::Hold),
    ]
}

/// Values of all kinds, mostly finite; also ones that f32 cannot hold.
fn value(number: u64) -> f64 {
    match number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56 {
        0 => f64::NAN,
        1 => f64::INFINITY,
        2 => f64::NEG_INFINITY,
        3 => -0.0,
        noise => (number as f64 * 0.37).sin() * 1e3 + noise as f64 / 3.0,
    }
}

struct Writer {
    store: Store,
    run: RunHandle,
    keys: Vec<KeyId>,
    step: i64,
    number: u64,
}

impl Writer {
    fn new() -> Self {
        let store = Store::options("store").storage(Arc::new(Memory::default())).background(false).open().unwrap();
        let experiment = ExperimentId(1);
        let created = ExperimentCreated {
            experiment,
            name: "e".into(),
            artifact_location: None,
            creation_time_ms: 0,
            last_update_time_ms: 0,
            tags: Vec::new(),
        };
        let run = RunCreated {
            run: RUN,
            experiment,
            name: "r".into(),
            user_id: String::new(),
            status: RunStatus::Running,
            start_time_ms: 0,
            artifact_location: None,
            tags: Vec::new(),
        };
        store.append(Batch::new().event(created).event(run), Durability::Buffered).unwrap();
        let keys = KEYS.iter().map(|key| store.metric_key(key).unwrap()).collect();
        Self { run: store.run(RUN).unwrap(), store, keys, step: 0, number: 0 }
    }

    fn point(&mut self, key: usize, stride: i64) -> KeyedPoint {
        self.step += stride;
        self.number += 1;
        let point = Point { step: self.step, time: TimestampMs(START_MS + self.step * 10), value: value(self.number) };
        KeyedPoint { key: self.keys[key], point }
    }

    fn log(&self, points: &[KeyedPoint]) {
        self.run.log_points(points, Durability::Buffered).unwrap();
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Batch { points, stride } => {
                let batch: Vec<_> = (0..points).map(|_| self.point(0, stride)).collect();
                self.log(&batch);
            }
            Act::Mixed { points } => {
                let batch: Vec<_> = (0..points).map(|at| self.point(at % 3, 1)).collect();
                self.log(&batch);
            }
            Act::Singles { points } => {
                for _ in 0..points {
                    let point = self.point(0, 1);
                    self.log(&[point]);
                }
            }
            Act::Rows { rows } => {
                for _ in 0..rows {
                    self.step += 1;
                    self.number += 3;
                    let cells: Vec<_> = (0..3).map(|at| (self.keys[at], value(self.number + at as u64))).collect();
                    let time = TimestampMs(START_MS + self.step * 10);
                    self.run.log_row(self.step, time, &cells, Durability::Buffered).unwrap();
                }
            }
            Act::Late { points, back } => {
                let last = self.step;
                self.step -= back;
                let batch: Vec<_> = (0..points).map(|_| self.point(0, 1)).collect();
                self.log(&batch);
                self.step = self.step.max(last);
            }
            Act::Twice { points } => {
                let batch: Vec<_> = (0..points).map(|at| self.point(0, i64::from(at != 1))).collect();
                self.log(&batch);
            }
            Act::Contexts { points, back } => {
                let mut batch = Batch::new();
                for _ in 0..points {
                    let point = self.point(0, 1);
                    batch.push_point_of(RUN, point.key, point.point, None);
                }
                let last = self.step;
                self.step -= back;
                for _ in 0..3 {
                    let point = self.point(0, 1);
                    let context = MetricContext { model_id: Some("m".into()), ..MetricContext::default() };
                    batch.push_point_of(RUN, point.key, point.point, Some(context));
                }
                self.step = self.step.max(last);
                self.store.append(batch, Durability::Buffered).unwrap();
            }
            Act::Checkpoint | Act::Seal | Act::Hold => {}
        }
    }
}

/// The points of a key in latest order.
fn plain(snapshot: &Snapshot, key: &str, steps: (i64, i64)) -> Vec<Point> {
    let query = HistoryQuery { steps, ..HistoryQuery::default() };
    let columns = snapshot.history(RUN, key, &query).unwrap().columns;
    let mut points: Vec<Point> = (0..columns.len()).map(|at| columns.point(at)).collect();
    points.sort_by(Point::latest_order);
    points
}

fn check(snapshot: &Snapshot, key: &str, steps: Option<(i64, i64)>, buckets: usize) -> Result<(), TestCaseError> {
    let within = steps.unwrap_or(ALL_STEPS);
    let points = plain(snapshot, key, within);
    for most in [1, 2, 2 * buckets + 2, 320] {
        check_thinned(&points, &snapshot.thinned(RUN, key, steps, most).unwrap(), most, "unsealed");
    }
    let answer: Downsampled = snapshot.downsample(RUN, key, steps, buckets).unwrap();
    prop_assert_eq!(answer.count, points.len() as u64, "{:?}", steps);
    prop_assert!(answer.buckets.len() <= buckets);
    let mut rest = points.as_slice();
    for bucket in &answer.buckets {
        // Edges may be snapped, but each bucket holds exactly the points of its steps.
        let (inside, behind) = rest.split_at(rest.partition_point(|point| point.step <= bucket.step_last));
        rest = behind;
        let values: Vec<f64> = inside.iter().map(|point| point.value).collect();
        let expected = Summary::of(&values);
        let found = &bucket.summary;
        prop_assert_eq!(inside.first().map(|point| point.step), Some(bucket.step_first));
        prop_assert_eq!(inside.last().map(|point| point.step), Some(bucket.step_last));
        let bits = |s: &Summary| [s.first, s.last].map(f64::to_bits);
        let extremes = |s: &Summary| format!("{:?}", (s.min + 0.0, s.max + 0.0, s.count, s.nan, s.pos_inf, s.neg_inf));
        prop_assert_eq!(bits(found), bits(&expected));
        prop_assert_eq!(extremes(found), extremes(&expected));
        prop_assert!((found.sum - expected.sum).abs() <= 1e-9 * (1.0 + values.len() as f64 * 1e3));
    }
    prop_assert!(rest.is_empty());
    if answer.exact_edges && !points.is_empty() {
        let (first, last) = (points[0].step, points[points.len() - 1].step);
        let index = |step: i64| (step - first) as u128 * buckets as u128 / ((last - first) as u128 + 1);
        for bucket in &answer.buckets {
            prop_assert_eq!(index(bucket.step_first), index(bucket.step_last));
        }
    }
    Ok(())
}

fn windows(step_last: i64) -> Vec<Option<(i64, i64)>> {
    let part = |a: i64, b: i64| Some((step_last * a / 10, step_last * b / 10));
    vec![None, part(0, 10), part(1, 9), part(4, 6), part(9, 12), Some((step_last, step_last)), part(-3, 1)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn charts_of_unsealed_points_are_those_of_the_plain_points(acts in prop::collection::vec(act(), 1..40)) {
        let mut writer = Writer::new();
        let store = writer.store.clone();
        let mut held = Vec::new();
        for act in &acts {
            writer.act(act);
            match act {
                Act::Checkpoint => drop(store.checkpoint().unwrap()),
                Act::Seal => {
                    store.flush().unwrap();
                    store.seal().unwrap();
                    store.checkpoint().unwrap();
                }
                Act::Hold => held.push((store.snapshot().unwrap(), writer.step)),
                _ => {}
            }
        }
        held.push((store.snapshot().unwrap(), writer.step));
        for (snapshot, step_last) in &held {
            for steps in windows(*step_last) {
                for buckets in [1, 3, 50] {
                    check(snapshot, KEYS[0], steps, buckets)?;
                }
                check(snapshot, KEYS[1], steps, 2)?;
            }
        }
    }
}

#[test]
fn a_tail_within_the_steps_of_rollups_is_decoded_with_them() {
    let mut writer = Writer::new();
    // One section with rollups, and then a tail in another context whose steps are among the section's. A window that
    // begins after the tail's steps still meets the rollups' last one, which the tail must not follow.
    writer.act(&Act::Batch { points: 300, stride: 1 });
    let mut batch = Batch::new();
    for step in 1..=3 {
        let point = Point { step, time: TimestampMs(START_MS + 5_000 + step), value: value(1_000 + step as u64) };
        let context = MetricContext { model_id: Some("m".into()), ..MetricContext::default() };
        batch.push_point_of(RUN, writer.keys[0], point, Some(context));
    }
    writer.store.append(batch, Durability::Buffered).unwrap();
    let snapshot = writer.store.snapshot().unwrap();
    for steps in [(270, i64::MAX), (1, 3), (2, 299), (300, 300), ALL_STEPS] {
        for buckets in [1, 10, 1_000] {
            check(&snapshot, KEYS[0], Some(steps), buckets).unwrap();
        }
    }
}

#[test]
fn a_section_of_many_rollups_is_decoded_once_for_a_chart() {
    let mut writer = Writer::new();
    writer.act(&Act::Batch { points: 5_000, stride: 1 });
    writer.act(&Act::Singles { points: 20 });
    let snapshot = writer.store.snapshot().unwrap();
    let series = snapshot.live_series(RUN, writer.keys[0], snapshot.position()).unwrap();
    let cache = SeriesCache::new(1 << 20);
    for (steps, buckets) in [(ALL_STEPS, 5_000), (ALL_STEPS, 700), ((40, 4_900), 2_000), ((300, 310), 3)] {
        let (source, unsealed) = snapshot.rolled_source(&series, steps).unwrap().unwrap();
        let answer = downsample_unsealed(&source, &unsealed, steps, buckets, &cache).unwrap().unwrap();
        let count = (steps.1.min(5_020) - steps.0.max(1) + 1) as u64;
        assert_eq!((answer.count, unsealed.decodes.get()), (count, 1), "{steps:?} in {buckets}");
        check(&snapshot, KEYS[0], Some(steps), buckets).unwrap();
    }
}

#[test]
fn the_memory_of_a_page_is_used_again() {
    let mut writer = Writer::new();
    writer.act(&Act::Batch { points: 3_000, stride: 1 });
    writer.store.seal().unwrap();
    for tail in [0, 5, 2_500] {
        if tail > 0 {
            writer.act(&Act::Batch { points: tail, stride: 1 });
        }
        let mut page = HistoryPage::default();
        let mut places = Vec::new();
        for _ in 0..3 {
            let snapshot = writer.store.snapshot().unwrap();
            snapshot.history_into(RUN, KEYS[0], &HistoryQuery::default(), &mut page).unwrap();
            assert_eq!(page.columns.len() as u64, writer.number);
            places.push([page.columns.steps.as_ptr().cast::<u8>(), page.columns.times.as_ptr().cast()]);
        }
        // Many points that are not sealed need memory beside the page.
        assert!(tail == 2_500 || places[1] == places[2], "{tail} unsealed points: {places:?}");
    }
}
