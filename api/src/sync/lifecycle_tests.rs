//! Experiments and their runs, deleted and restored in stores that meet.

use std::sync::Arc;

use super::{Report, Source, Target};
use crate::engine::ManualClock;
use crate::engine::event::{
    ExperimentCreated, ExperimentDeleted, ExperimentRestored, RunCreated, RunDeleted, RunRestored,
};
use crate::engine::storage::memory::Memory;
use crate::engine::storage::sim::{SimRng, mix};
use crate::{Batch, Durability, ExperimentId, Lifecycle, LocalStore, RunId, RunStatus, TimestampMs};

const RUNS: u64 = 3;

struct Side {
    store: LocalStore,
    clock: Arc<ManualClock>,
}

impl Side {
    fn new(seed: u64, ms: i64) -> Self {
        let clock = Arc::new(ManualClock::at(TimestampMs(ms)));
        let options = LocalStore::options("memory").storage(Arc::new(Memory::new())).background(false);
        Self { store: options.clock(clock.clone()).default_experiment(false).seed(seed).open().unwrap(), clock }
    }

    /// Whether each run is there for users.
    fn says(&self) -> Vec<Lifecycle> {
        let snapshot = self.store.snapshot().unwrap();
        let mut runs = snapshot.runs_of(EXPERIMENT).unwrap();
        runs.sort_unstable();
        runs.iter().map(|run| snapshot.lifecycle(&snapshot.run(*run).unwrap().unwrap()).unwrap()).collect()
    }
}

const EXPERIMENT: ExperimentId = ExperimentId(1);

fn run_id(number: u64) -> RunId {
    let mut id = [7; 16];
    id[0] = number as u8;
    RunId(id)
}

fn sync(from: &Side, to: &Side) -> Report {
    from.store.flush().unwrap();
    let id = from.store.engine().id();
    let applied = Target::new(&to.store, id).unwrap().applied().unwrap();
    let mut source = Source::new(&from.store, applied, to.store.engine().id()).unwrap();
    let mut report = Report::default();
    while let Some(chunk) = source.next_chunk().unwrap() {
        report.add(Target::new(&to.store, id).unwrap().apply(&chunk).unwrap());
    }
    report
}

fn settle(sides: &[Side]) {
    for round in 0.. {
        assert!(round < 6, "they go on and on");
        let mut moved = false;
        for from in 0..sides.len() {
            for to in (0..sides.len()).filter(|to| *to != from) {
                moved |= sync(&sides[from], &sides[to]).batches_count > 0;
            }
        }
        if !moved {
            return;
        }
    }
}

/// One experiment with its runs, which all of some stores have.
fn met(count: u64, seed: u64, clocks: impl Fn(u64) -> i64) -> Vec<Side> {
    let sides: Vec<_> = (0..count).map(|at| Side::new(mix(seed) ^ at, clocks(at))).collect();
    let mut batch = Batch::new().event(ExperimentCreated {
        experiment: EXPERIMENT,
        name: "e".into(),
        artifact_location: None,
        creation_time_ms: 1,
        last_update_time_ms: 1,
        tags: vec![],
    });
    for number in 0..RUNS {
        batch = batch.event(RunCreated {
            run: run_id(number),
            experiment: EXPERIMENT,
            name: format!("run-{number}"),
            user_id: "u".into(),
            status: RunStatus::Running,
            start_time_ms: 1,
            artifact_location: None,
            tags: vec![],
        });
    }
    sides[0].store.append(batch, Durability::Sync).unwrap();
    settle(&sides);
    sides
}

fn change(side: &Side, what: u64) {
    let at_ms = side.store.now().0;
    let run = run_id(what / 2 % RUNS);
    let event: crate::Event = match what {
        0 => ExperimentDeleted { experiment: EXPERIMENT, at_ms }.into(),
        1 => ExperimentRestored { experiment: EXPERIMENT, at_ms }.into(),
        _ if what.is_multiple_of(2) => RunDeleted { run, at_ms }.into(),
        _ => RunRestored { run }.into(),
    };
    // What is deleted already is not deleted again.
    let _refused = side.store.append(Batch::new().event(event), Durability::Buffered);
}

#[test]
fn a_run_that_was_decided_of_later_than_its_experiment_stays_so() {
    let sides = met(2, 1, |_| 1_000);
    let later = |ms| sides.iter().for_each(|side| side.clock.advance_ms(ms));
    change(&sides[0], 0);
    later(10);
    change(&sides[0], 1);
    later(10);
    // The other store knows nothing of that.
    change(&sides[1], 2);
    let told = sync(&sides[0], &sides[1]);
    let [problem] = told.problems.as_slice() else { panic!("{:?}", told.problems) };
    let about = problem.disagreement.as_ref().unwrap();
    assert_eq!((about.field.as_str(), about.own_stays), ("deletion", true));
    assert!(about.entity.contains(&run_id(1).to_string()), "{about:?}");
    settle(&sides);
    for side in &sides {
        assert_eq!(side.says(), [Lifecycle::Active, Lifecycle::Deleted, Lifecycle::Active]);
    }
}

#[test]
fn a_run_that_was_decided_of_before_its_experiment_goes_with_it_and_that_is_told() {
    let sides = met(2, 2, |_| 1_000);
    let later = |ms| sides.iter().for_each(|side| side.clock.advance_ms(ms));
    change(&sides[0], 0);
    later(10);
    change(&sides[1], 2);
    later(10);
    change(&sides[0], 1);
    let told = sync(&sides[1], &sides[0]);
    assert!(told.problems.iter().any(|problem| problem.disagreement.is_some()), "{:?}", told.problems);
    settle(&sides);
    for side in &sides {
        assert_eq!(side.says(), [Lifecycle::Active; 3]);
    }
}

#[test]
fn a_repeated_decision_does_not_beat_a_later_one_that_comes_with_it() {
    let sides = met(2, 3, |_| 1_000);
    let later = |ms| sides.iter().for_each(|side| side.clock.advance_ms(ms));
    change(&sides[0], 0);
    later(10);
    change(&sides[0], 1);
    later(10);
    change(&sides[1], 2);
    later(10);
    change(&sides[0], 2);
    later(10);
    change(&sides[0], 3);
    later(1_000);
    sync(&sides[0], &sides[1]);
    settle(&sides);
    for side in &sides {
        assert_eq!(side.says(), [Lifecycle::Active; 3]);
        assert!(side.store.verify().unwrap().is_sound());
    }
}

#[test]
fn experiments_and_runs_deleted_and_restored_anywhere_end_the_same_everywhere() {
    let count = std::env::var("RUNLODE_SYNC_HISTORIES").ok().and_then(|value| value.parse().ok()).unwrap_or(400);
    for seed in 0..count {
        let mut rng = SimRng::new(mix(seed));
        let count = 2 + rng.below(2);
        let sides = met(count, seed, |_| 1_000_000);
        let mut done = Vec::new();
        for _ in 0..4 + rng.below(12) {
            sides.iter().for_each(|side| side.clock.advance_ms(1 + seed as i64 % 7));
            let at = rng.below(count) as usize;
            if rng.per_mille(250) {
                let to = (at + 1 + rng.below(count - 1) as usize) % count as usize;
                sync(&sides[at], &sides[to]);
                done.push(format!("sync {at} {to}"));
            } else {
                let what = if rng.per_mille(400) { rng.below(2) } else { 2 + rng.below(2 * RUNS) };
                change(&sides[at], what);
                done.push(format!("{at} does {what}"));
            }
        }
        settle(&sides);
        for side in &sides[1..] {
            assert_eq!(side.says(), sides[0].says(), "history {seed}: {done:?}");
        }
    }
}
