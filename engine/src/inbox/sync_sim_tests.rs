//! What a writer says is durable is so, whichever of its syncs fails.
//!
//! Each seed is the life of a writer on the simulated disk: it logs, goes on in further segments, flushes, logs with
//! `Sync`, and is closed or dies. It is lived once for each sync of a file or folder in it, which then fails: its data
//! never become durable, though later syncs of the same file succeed, as on Linux. Then the power is cut. All points
//! that a call which succeeded had promised must be there.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::sync::Arc;

use super::mutant::{self, Rule};
use super::tests::{World, run_id};
use crate::Error;
use crate::ingest::batch::Durability;
use crate::ingest::encode::KeyedPoint;
use crate::point::Point;
use crate::query::points::HistoryQuery;
use crate::storage::sim::{Call, Failure, Fault, Keep, PowerCut, SimDisk, SimRng, mix};
use crate::time::TimestampMs;

const SEEDS: u64 = 4;
const STEPS: u64 = 14;
/// Points of a batch of which a few fill a segment.
const MANY: u64 = 2_500;

struct Life {
    disk: Arc<SimDisk>,
    /// The points that were acknowledged, by step.
    acked: Vec<i64>,
    /// So many of them were promised.
    promised: usize,
    errors: Vec<Error>,
}

impl Life {
    fn note<T>(&mut self, result: Result<T, Error>) -> bool {
        match result {
            Ok(_) => true,
            Err(error) => {
                self.errors.push(error);
                false
            }
        }
    }

    fn promise(&mut self, result: Result<(), Error>) {
        if self.note(result) {
            self.promised = self.acked.len();
        }
    }
}

/// Lives a life in which the sync with this number, from 0, fails.
fn live(seed: u64, failure: Failure, fails: u64) -> Life {
    let mut rng = SimRng::new(mix(seed));
    let disk = Arc::new(SimDisk::new(rng.next()));
    disk.set_maps(seed.is_multiple_of(2));
    let (world, store) = World::create(disk.clone(), 1);
    store.flush().unwrap();
    // From here on only the writer syncs.
    disk.inject(Fault::new(&[Call::Sync, Call::SyncDir], failure).skip(fails));
    let mut writer = world.writer(&store, 1);
    writer.set_unsynced_max(1);
    let key = writer.metric_key("m").unwrap();
    let mut life = Life { disk, acked: Vec::new(), promised: 0, errors: Vec::new() };
    let mut next = 0;
    for _ in 0..STEPS {
        let what = rng.below(10);
        if what < 2 {
            let flushed = writer.flush();
            life.promise(flushed);
            continue;
        }
        let count = if what < 4 { 1 } else { MANY };
        let steps: Vec<i64> = (next..next + count as i64).collect();
        next += count as i64;
        let point = |step| Point { step, time: TimestampMs(step), value: f64::from_bits(rng.next() >> 2) };
        let points: Vec<_> = steps.iter().copied().map(point).map(|point| KeyedPoint { key, point }).collect();
        let durability = if what == 2 || what == 9 { Durability::Sync } else { Durability::Buffered };
        let logged = writer.log_points(run_id(1), &points, durability);
        if life.note(logged) {
            life.acked.extend(steps);
            if durability == Durability::Sync {
                life.promised = life.acked.len();
            }
        }
    }
    if !seed.is_multiple_of(3) {
        let closed = writer.close();
        life.promise(closed);
    }
    life
}

/// How often a promise was broken, and how many lives were lived.
fn broken(seed: u64) -> (u64, u64) {
    let (mut wrong, mut lives) = (0, 0);
    for failure in [Failure::LostSync { drop_pages: false }, Failure::Io] {
        for fails in 0.. {
            let life = live(seed, failure, fails);
            lives += 1;
            let another = Keep::ALL[((seed + fails) % Keep::ALL.len() as u64) as usize];
            for keep in [Keep::Nothing, another] {
                let cut = life.disk.after_power_cut(PowerCut { keep, seed: mix(seed ^ fails) });
                let store = World::on(Arc::new(cut)).open();
                store.merge_inboxes().unwrap();
                let history = store.snapshot().unwrap().history(run_id(1), "m", &HistoryQuery::default()).unwrap();
                let found: BTreeSet<i64> = history.columns.steps.iter().copied().collect();
                let lost = life.acked[..life.promised].iter().find(|step| !found.contains(step));
                if let Some(step) = lost {
                    let first = life.errors.first();
                    println!("seed {seed}, sync {fails} fails ({failure:?}), {keep:?}: lost {step}; told {first:?}");
                    wrong += 1;
                }
            }
            if life.errors.is_empty() {
                // There are no more syncs in it.
                break;
            }
        }
    }
    (wrong, lives)
}

#[test]
fn promised_points_survive_whichever_sync_fails() {
    let (mut wrong, mut lives) = (0, 0);
    for seed in 1..=SEEDS {
        let (of_seed, lived) = broken(seed);
        wrong += of_seed;
        lives += lived;
    }
    assert_eq!(wrong, 0, "in {lives} lives");
    assert!(lives > 20 * SEEDS, "only {lives} lives");
}

#[test]
fn every_rule_left_out_is_noticed() {
    let rules =
        [Rule::FailedRollPoisons, Rule::FailedSyncPoisons, Rule::OlderSegments, Rule::Folders, Rule::CloseSyncs];
    for rule in rules {
        mutant::leave_out(Some(rule));
        let wrong = (1..=4 * SEEDS).map(|seed| broken(seed).0).find(|wrong| *wrong > 0);
        mutant::leave_out(None);
        assert!(wrong.is_some(), "nothing goes wrong without {rule:?}");
    }
}

#[test]
fn a_failed_sync_of_a_finished_segment_fails_every_later_call() {
    for maps in [true, false] {
        let disk = Arc::new(SimDisk::new(1));
        disk.set_maps(maps);
        let (world, store) = World::create(disk.clone(), 1);
        let mut writer = world.writer(&store, 1);
        writer.set_unsynced_max(1);
        let key = writer.metric_key("m").unwrap();
        let lost = Failure::LostSync { drop_pages: false };
        disk.inject(Fault::new(&[Call::Sync], lost).at("inbox/"));
        let mut step = 0;
        let error = loop {
            let point = |i: u64| Point { step: i as i64, time: TimestampMs(1), value: f64::from_bits(mix(i) >> 2) };
            let points: Vec<_> = (step..step + MANY).map(|i| KeyedPoint { key, point: point(i) }).collect();
            step += MANY;
            assert!(step < 100 * MANY, "no segment was synced");
            if let Err(error) = writer.log_points(run_id(1), &points, Durability::Buffered) {
                break error;
            }
        };
        assert!(matches!(error, Error::Io { op: "fsync", .. }), "{error}");
        let again =
            writer.log_point(run_id(1), key, Point { step: 0, time: TimestampMs(0), value: 0.0 }, Durability::Sync);
        assert!(matches!(again, Err(Error::Poisoned { .. })), "{again:?}");
        assert!(matches!(writer.flush(), Err(Error::Poisoned { .. })));
        assert!(matches!(writer.close(), Err(Error::Poisoned { .. })));
    }
}
