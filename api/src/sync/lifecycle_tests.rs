//! Experiments and their runs, deleted and restored in stores that meet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::lines::REPEAT_TAG;
use super::{Report, Source, Target};
use crate::engine::ManualClock;
use crate::engine::event::{
    ExperimentCreated, ExperimentDeleted, ExperimentRestored, RunCreated, RunDeleted, RunRestored,
};
use crate::engine::storage::Storage;
use crate::engine::storage::memory::Memory;
use crate::engine::storage::sim::{Call, Failure, Fault, SimDisk, SimRng, mix};
use crate::{Batch, Durability, ExperimentId, Lifecycle, LocalStore, RunId, RunStatus, TimestampMs};

const HOUR: i64 = 3_600_000;
const RUNS: u64 = 3;
/// More than a history ever has.
const MOST_RUNS: u64 = 64;

struct Side {
    store: LocalStore,
    clock: Arc<ManualClock>,
}

impl Side {
    fn new(seed: u64, ms: i64) -> Self {
        Self::on(Arc::new(Memory::new()), seed, ms)
    }

    fn on(storage: Arc<dyn Storage>, seed: u64, ms: i64) -> Self {
        let clock = Arc::new(ManualClock::at(TimestampMs(ms)));
        let options = LocalStore::options("memory").storage(storage).background(false);
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
    try_sync(from, to).unwrap()
}

fn try_sync(from: &Side, to: &Side) -> crate::Result<Report> {
    let id = from.store.engine().id();
    let mut target = Target::new(&to.store, id)?;
    target.resume()?;
    let mut source = Source::new(&from.store, target.applied()?, to.store.engine().id())?;
    let mut report = Report::default();
    while let Some(chunk) = source.next_chunk()? {
        report.add(Target::new(&to.store, id)?.apply(&chunk)?);
    }
    Ok(report)
}

/// Whether the sync reported a disagreement on a run.
fn tells(report: &Report, number: u64) -> bool {
    let about = report.problems.iter().filter_map(|problem| problem.disagreement.as_ref());
    about.filter(|about| about.field == "deletion").any(|about| about.entity.contains(&run_id(number).to_string()))
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
    let mut batch = Batch::new().event(experiment());
    for number in 0..RUNS {
        batch = batch.event(created(number));
    }
    sides[0].store.append(batch, Durability::Sync).unwrap();
    settle(&sides);
    sides
}

fn experiment() -> ExperimentCreated {
    ExperimentCreated {
        experiment: EXPERIMENT,
        name: "e".into(),
        artifact_location: None,
        creation_time_ms: 1,
        last_update_time_ms: 1,
        tags: vec![],
    }
}

fn created(number: u64) -> RunCreated {
    RunCreated {
        run: run_id(number),
        experiment: EXPERIMENT,
        name: format!("run-{number}"),
        user_id: "u".into(),
        status: RunStatus::Running,
        start_time_ms: 1,
        artifact_location: None,
        tags: vec![],
    }
}

const DELETE_EXPERIMENT: u64 = 0;
const RESTORE_EXPERIMENT: u64 = 1;

fn delete_run(number: u64) -> u64 {
    2 + 2 * number
}

fn restore_run(number: u64) -> u64 {
    3 + 2 * number
}

/// The position of the decision; `None` if the store refuses it, because it is deleted already.
fn change(side: &Side, what: u64) -> Option<u64> {
    let at_ms = side.store.now().0;
    let run = run_id((what / 2).saturating_sub(1));
    let event: crate::Event = match what {
        DELETE_EXPERIMENT => ExperimentDeleted { experiment: EXPERIMENT, at_ms }.into(),
        RESTORE_EXPERIMENT => ExperimentRestored { experiment: EXPERIMENT, at_ms }.into(),
        _ if what.is_multiple_of(2) => RunDeleted { run, at_ms }.into(),
        _ => RunRestored { run }.into(),
    };
    side.store.append(Batch::new().event(event), Durability::Buffered).ok().map(|receipt| receipt.lsn.0)
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
    change(&sides[1], delete_run(1));
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
    change(&sides[1], delete_run(1));
    later(10);
    change(&sides[0], 1);
    let told = sync(&sides[1], &sides[0]);
    assert!(tells(&told, 1), "{:?}", told.problems);
    settle(&sides);
    for side in &sides {
        assert_eq!(side.says(), [Lifecycle::Active; 3]);
    }
}

#[test]
fn it_is_told_too_if_the_experiments_decision_comes_to_the_run() {
    let sides = met(2, 5, |_| 1_000);
    let later = |ms| sides.iter().for_each(|side| side.clock.advance_ms(ms));
    change(&sides[1], delete_run(1));
    later(10);
    change(&sides[0], DELETE_EXPERIMENT);
    change(&sides[0], RESTORE_EXPERIMENT);
    let told = sync(&sides[0], &sides[1]);
    assert!(tells(&told, 1), "{:?}", told.problems);
    assert_eq!(sides[1].says(), [Lifecycle::Active; 3]);
    settle(&sides);
    assert_eq!(sides[0].says(), [Lifecycle::Active; 3]);
}

#[test]
fn a_decision_about_a_run_that_beats_the_experiments_is_told() {
    let sides = met(2, 6, |_| 1_000);
    let later = |ms| sides.iter().for_each(|side| side.clock.advance_ms(ms));
    change(&sides[0], DELETE_EXPERIMENT);
    later(10);
    change(&sides[1], delete_run(2));
    later(10);
    change(&sides[1], restore_run(2));
    let told = sync(&sides[1], &sides[0]);
    assert!(tells(&told, 2), "{:?}", told.problems);
    settle(&sides);
    for side in &sides {
        assert_eq!(side.says(), [Lifecycle::Deleted, Lifecycle::Deleted, Lifecycle::Active]);
    }
}

#[test]
fn a_run_restored_after_its_experiments_deletion_stays_so_though_its_clock_is_behind() {
    // The first store's clock is five hours ahead.
    let sides = met(3, 7, |at| if at == 0 { 10 * HOUR } else { 5 * HOUR });
    change(&sides[0], DELETE_EXPERIMENT);
    sync(&sides[0], &sides[1]);
    change(&sides[1], restore_run(0)).unwrap();
    // The second store knew of the deletion when it restored the run, so there is no conflict to report.
    assert_eq!(sync(&sides[1], &sides[0]).problems, []);
    settle(&sides);
    for side in &sides {
        assert_eq!(side.says(), [Lifecycle::Active, Lifecycle::Deleted, Lifecycle::Deleted]);
    }
}

#[test]
fn an_experiment_restored_after_its_runs_deletion_takes_it_along_though_its_clock_is_behind() {
    let sides = met(3, 8, |at| if at == 0 { 10 * HOUR } else { 5 * HOUR });
    change(&sides[0], delete_run(0));
    sync(&sides[0], &sides[1]);
    change(&sides[1], DELETE_EXPERIMENT).unwrap();
    change(&sides[1], RESTORE_EXPERIMENT).unwrap();
    assert_eq!(sync(&sides[1], &sides[0]).problems, []);
    settle(&sides);
    for side in &sides {
        assert_eq!(side.says(), [Lifecycle::Active; 3]);
    }
}

#[test]
fn a_run_that_came_to_a_deleted_experiment_is_there_again_with_it_in_every_store() {
    let sides = met(3, 9, |_| 1_000);
    let later = |ms| sides.iter().for_each(|side| side.clock.advance_ms(ms));
    sides[0].store.append(Batch::new().event(created(RUNS)), Durability::Buffered).unwrap();
    change(&sides[1], DELETE_EXPERIMENT);
    sync(&sides[1], &sides[2]);
    later(10);
    change(&sides[2], RESTORE_EXPERIMENT).unwrap();
    // The run is deleted with its experiment there, and is sent on from there.
    sync(&sides[0], &sides[1]);
    assert_eq!(sync(&sides[1], &sides[2]).problems, []);
    settle(&sides);
    for side in &sides {
        assert_eq!(side.says(), [Lifecycle::Active; 4]);
    }
}

/// The decisions that a sync must repeat, with a crash at each operation of the disk, and on a disk that is full there.
#[test]
fn decisions_to_repeat_are_repeated_by_the_next_sync() {
    let mut marked = [0; 2];
    for at in 0.. {
        for full in [false, true] {
            let disk = Arc::new(SimDisk::new(at));
            // Then each append is an operation.
            disk.set_maps(false);
            let from = Side::new(1, 5 * HOUR);
            let mut to = Side::on(disk.clone(), 2, 5 * HOUR);
            let batch = (0..RUNS).fold(Batch::new().event(experiment()), |batch, number| batch.event(created(number)));
            from.store.append(batch, Durability::Sync).unwrap();
            sync(&from, &to);
            change(&from, DELETE_EXPERIMENT).unwrap();
            change(&from, RESTORE_EXPERIMENT).unwrap();
            to.clock.advance_ms(HOUR);
            change(&to, delete_run(0)).unwrap();
            change(&to, delete_run(2)).unwrap();
            from.store.flush().unwrap();
            to.store.flush().unwrap();
            let operations = disk.operations();
            match full {
                true => disk.inject(Fault::new(&[Call::Write], Failure::Full).skip(at).for_ever()),
                false => disk.crash_at(operations + 1 + at),
            }
            let outcome = try_sync(&from, &to);
            if outcome.is_ok() && !full && !disk.crashed() {
                assert!(
                    marked[0] > 0 && marked[1] > 0,
                    "nothing came between the decision and its repeats: {marked:?}"
                );
                return;
            }
            if full {
                disk.clear_faults();
            } else {
                let after = Arc::new(disk.after_process_crash());
                drop(to);
                to = Side::on(after, 2, 6 * HOUR);
            }
            let tagged = |side: &Side| {
                let (_, state) = side.store.snapshot().unwrap().experiment_by_name("e").unwrap().unwrap();
                state.tags.iter().any(|(key, _)| key == REPEAT_TAG)
            };
            marked[usize::from(full)] += u32::from(tagged(&to));
            let back = sync(&from, &to);
            assert!(!tagged(&to), "crash {at}: {back:?}");
            assert_eq!(
                to.says(),
                [Lifecycle::Deleted, Lifecycle::Active, Lifecycle::Deleted],
                "crash {at}, full {full}"
            );
            sync(&to, &from);
            assert_eq!(from.says(), to.says(), "crash {at}, full {full}");
            assert!(to.store.verify().unwrap().is_sound());
        }
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
    change(&sides[1], delete_run(1));
    later(10);
    change(&sides[0], delete_run(1));
    later(10);
    change(&sides[0], restore_run(1));
    later(1_000);
    sync(&sides[0], &sides[1]);
    settle(&sides);
    for side in &sides {
        assert_eq!(side.says(), [Lifecycle::Active; 3]);
        assert!(side.store.verify().unwrap().is_sound());
    }
}

// ---- random histories ------------------------------------------------------------------------------------------------

/// A decision, ordered as it counts: by stamp, then by store and position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Decision {
    stamp: i64,
    store: [u8; 16],
    position: u64,
    deletes: bool,
}

/// A batch in a store's log: what it creates, or what it decides about a run or (`None`) the experiment.
#[derive(Debug, Clone, Copy)]
enum Entry {
    Created { run: u64, store: [u8; 16], position: u64 },
    Decided { of: Option<u64>, decision: Decision },
}

impl Entry {
    fn version(&self) -> ([u8; 16], u64) {
        match self {
            Self::Created { store, position, .. } => (*store, *position),
            Self::Decided { decision, .. } => (decision.store, decision.position),
        }
    }
}

/// What a store should say, and report.
#[derive(Debug, Clone, Default)]
struct Model {
    log: Vec<Entry>,
    runs: BTreeSet<u64>,
    /// The latest decision about each run and the experiment.
    latest: BTreeMap<Option<u64>, Decision>,
    seen: BTreeSet<([u8; 16], u64)>,
}

impl Model {
    /// The latest decision that a run shows.
    fn shows(&self, run: u64) -> Option<Decision> {
        self.latest.get(&Some(run)).max(self.latest.get(&None)).copied()
    }

    fn says(&self) -> Vec<Lifecycle> {
        let deleted = |run: &u64| self.shows(*run).is_some_and(|decision| decision.deletes);
        self.runs.iter().map(|run| if deleted(run) { Lifecycle::Deleted } else { Lifecycle::Active }).collect()
    }

    fn log(&mut self, entry: Entry) {
        self.seen.insert(entry.version());
        self.log.push(entry);
        match entry {
            Entry::Created { run, .. } => {
                self.runs.insert(run);
            }
            Entry::Decided { of, decision } => {
                let latest = self.latest.entry(of).or_insert(decision);
                *latest = (*latest).max(decision);
            }
        }
    }

    fn decide(&mut self, of: Option<u64>, store: [u8; 16], position: u64, time: i64, deletes: bool) {
        let before = match of {
            Some(run) => self.shows(run),
            None => self.latest.values().max().copied(),
        };
        let stamp = before.map_or(time, |before| time.max(before.stamp + 1));
        self.log(Entry::Decided { of, decision: Decision { stamp, store, position, deletes } });
    }

    /// Takes what another store has. Returns the runs, or the experiment, on which both disagree.
    fn take(&mut self, source: &Self) -> BTreeSet<Option<u64>> {
        let mut told = BTreeSet::new();
        for entry in &source.log {
            if self.seen.contains(&entry.version()) {
                continue;
            }
            if let Entry::Decided { of, decision } = *entry {
                let here =
                    if of.is_some() { of.and_then(|run| self.shows(run)) } else { self.latest.get(&of).copied() };
                let unseen = |own: &Decision| !source.seen.contains(&(own.store, own.position));
                // What stands here: the last decision, and earlier ones that say the same.
                let stands = |own: &Option<&Decision>, last: Option<Decision>| {
                    own.is_some_and(|own| Some(own.deletes) == last.map(|last| last.deletes) && unseen(own))
                };
                match of {
                    Some(run) if self.shows(run).is_some_and(|last| last.deletes != decision.deletes) => {
                        let owns = [self.latest.get(&of), self.latest.get(&None)];
                        if owns.iter().any(|own| stands(own, here)) {
                            told.insert(of);
                        }
                    }
                    Some(_) => {}
                    None => {
                        if here.is_some_and(|last| last.deletes != decision.deletes && unseen(&last)) {
                            told.insert(of);
                        }
                        if here.is_none_or(|here| decision > here) {
                            for run in &self.runs {
                                let last = self.shows(*run);
                                if last.is_some_and(|last| last.deletes != decision.deletes)
                                    && stands(&self.latest.get(&Some(*run)), last)
                                {
                                    told.insert(Some(*run));
                                }
                            }
                        }
                    }
                }
                if here.is_some_and(|here| decision < here) {
                    // Not in this log, and not sent on from here.
                    self.seen.insert(entry.version());
                    continue;
                }
            }
            self.log(*entry);
        }
        self.seen.extend(&source.seen);
        told
    }
}

/// A history of stores whose clocks are hours apart, as text.
fn history(seed: u64) -> Vec<String> {
    let mut rng = SimRng::new(mix(seed));
    let count = 2 + rng.below(3);
    let apart = if seed.is_multiple_of(4) { 1 } else { HOUR };
    let hours: Vec<i64> = (0..count).map(|_| rng.below(9) as i64).collect();
    let mut sides = met(count, seed, |at| 1_000_000 + hours[at as usize] * apart);
    let runs: Vec<u64> = (0..RUNS).collect();
    let mut models: Vec<Model> =
        sides.iter().map(|_| Model { runs: runs.iter().copied().collect(), ..Model::default() }).collect();
    let (mut done, mut next) = (Vec::new(), RUNS);
    let sync_both = |sides: &[Side], models: &mut [Model], from: usize, to: usize, done: &[String]| {
        let report = sync(&sides[from], &sides[to]);
        let source = models[from].clone();
        let told = models[to].take(&source);
        let context = || format!("history {seed}, from {from} to {to}: {done:#?}");
        assert_eq!(sides[to].says(), models[to].says(), "{}", context());
        let found: BTreeSet<Option<u64>> = report
            .problems
            .iter()
            .map(|problem| {
                let about = problem.disagreement.as_ref().unwrap_or_else(|| panic!("{problem:?} {}", context()));
                (0..MOST_RUNS).find(|run| about.entity.contains(&run_id(*run).to_string()))
            })
            .collect();
        assert_eq!(found, told, "{}", context());
        report.batches_count > 0
    };
    for _ in 0..4 + rng.below(16) {
        for side in &sides {
            // Clocks are set back, too.
            let jump = rng.below(20) == 0;
            side.clock.advance_ms(if jump { rng.below(7) as i64 * apart - 3 * apart } else { 1 + rng.below(5) as i64 });
        }
        let at = rng.below(count) as usize;
        let store = sides[at].store.engine().id().0;
        match rng.below(20) {
            0..6 => {
                let to = (at + 1 + rng.below(count - 1) as usize) % count as usize;
                done.push(format!("sync {at} to {to}"));
                sync_both(&sides, &mut models, at, to, &done);
            }
            6 => {
                let batch = Batch::new().event(created(next));
                if let Ok(receipt) = sides[at].store.append(batch, Durability::Buffered) {
                    done.push(format!("{at} creates run {next}"));
                    models[at].log(Entry::Created { run: next, store, position: receipt.lsn.0 });
                    next += 1;
                }
            }
            7 => {
                done.push(format!("{at} is compacted"));
                sides[at].store.flush().unwrap();
                sides[at].store.compact(&crate::CompactOptions::default()).unwrap();
            }
            kind => {
                let known: Vec<u64> = models[at].runs.iter().copied().collect();
                let of = if kind < 13 { None } else { Some(known[rng.below(known.len() as u64) as usize]) };
                let deletes = rng.below(2) == 0;
                let what = of.map_or(0, |run| 2 + 2 * run) + u64::from(!deletes);
                let time = sides[at].store.now().0;
                if let Some(position) = change(&sides[at], what) {
                    let word = if deletes { "deletes" } else { "restores" };
                    done.push(format!("{at} {word} {of:?} at {time}"));
                    models[at].decide(of, store, position, time, deletes);
                }
            }
        }
        assert_eq!(sides[at].says(), models[at].says(), "history {seed}: {done:#?}");
    }
    done.push("settle".into());
    let order = rng.below(count) as usize;
    sides.rotate_left(order);
    models.rotate_left(order);
    for round in 0.. {
        assert!(round < 6, "they go on and on");
        let mut moved = false;
        for from in 0..sides.len() {
            for to in (0..sides.len()).filter(|to| *to != from) {
                moved |= sync_both(&sides, &mut models, from, to, &done);
            }
        }
        if !moved {
            break;
        }
    }
    let mut all = Model::default();
    models.iter().flat_map(|model| &model.log).for_each(|entry| all.log(*entry));
    all.runs = (0..next).collect();
    for side in &sides {
        assert_eq!(side.says(), all.says(), "history {seed}: {done:#?}");
        assert!(side.store.verify().unwrap().is_sound());
    }
    done
}

#[test]
fn experiments_and_runs_deleted_and_restored_anywhere_end_the_same_everywhere() {
    let knob = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let first = knob("RUNLODE_SYNC_SEED").unwrap_or(0);
    for seed in first..first + knob("RUNLODE_SYNC_HISTORIES").unwrap_or(400) {
        history(seed);
    }
}
