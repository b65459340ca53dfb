//! Records work on a store on the simulated disk, and checks what is left after a crash in it.
//!
//! [`History`] does seeded work. For each batch it remembers the operation of the disk at which it was acknowledged,
//! and the operation from which on it must survive a power cut. [`History::check`] opens what a crash left and compares
//! everything.

use std::sync::Arc;
use std::time::Duration;

use runlode_engine::event::ExperimentTagsSet;
use runlode_engine::storage::Storage;
use runlode_engine::storage::sim::{Recording, SimDisk, SimRng, mix};
use runlode_engine::{CompactOptions, Durability, Error, ExperimentId, Lsn, ManualClock, Store, TimestampMs};

use crate::model::{Class, Model, Verdict, class};
use crate::work::Generator;
use crate::write::Write;
use crate::{difference, facts, manual_clock, sim_options};

/// A batch that was acknowledged.
#[derive(Debug, Clone)]
pub struct Acked {
    /// The write.
    pub write: Write,
    /// Its position.
    pub lsn: Lsn,
    /// The time of the clock.
    pub time: TimestampMs,
    /// Number of disk operations when the call returned.
    pub at: u64,
}

/// Steps of the work, besides writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// An append.
    Write,
    /// `flush`.
    Flush,
    /// `checkpoint`.
    Checkpoint,
    /// `seal`.
    Seal,
    /// `maintain`.
    Maintain,
    /// `close`, and open again.
    Close,
    /// Drop, and open again.
    Drop,
    /// `compact`.
    Compact,
}

/// Chooses the next step.
pub fn next_step(rng: &mut SimRng) -> Step {
    match rng.below(100) {
        0..=5 => Step::Flush,
        6..=13 => Step::Checkpoint,
        14..=18 => Step::Seal,
        19..=26 => Step::Maintain,
        27 | 28 => Step::Close,
        29..=31 => Step::Drop,
        32..=35 => Step::Compact,
        _ => Step::Write,
    }
}

/// The recorded work, starting from an empty disk.
#[derive(Debug)]
pub struct History {
    /// Its seed.
    pub seed: u64,
    /// The recorded operations of the disk.
    pub recording: Recording,
    /// All batches that got a position.
    pub acked: Vec<Acked>,
    /// From an operation on, this many batches survive a power cut.
    pub promised: Vec<(u64, usize)>,
    /// The facts after each number of batches.
    pub facts: Vec<Arc<Vec<String>>>,
    /// Whether it compacted; then the log may lack frames whose points are in files.
    pub compacts: bool,
    /// The model after each number of batches.
    pub models: Vec<Arc<Model>>,
}

/// Opens a store on a disk.
///
/// # Errors
/// Those of the engine.
pub fn open(disk: &SimDisk, clock: &Arc<ManualClock>, seed: u64) -> Result<Store, Error> {
    sim_options(Arc::new(disk.clone()), clock.clone(), seed).segment_bytes(4 << 10, 16 << 10).open()
}

impl History {
    /// Does `steps` steps of the seed's work.
    pub fn record(seed: u64, steps: u64, lie: bool) -> Self {
        let disk = SimDisk::new(seed);
        disk.set_maps(!seed.is_multiple_of(3));
        disk.set_lie(lie);
        disk.record();
        let clock = manual_clock();
        let mut rng = SimRng::new(mix(seed));
        let mut work = Generator::new(seed);
        work.limit_points(20);
        let mut model = Model::default();
        let compacts = seed.is_multiple_of(2);
        let mut history = Self {
            seed,
            compacts,
            recording: disk.recording().unwrap(),
            acked: Vec::new(),
            promised: Vec::new(),
            facts: vec![Arc::new(facts::of_model(&model))],
            models: vec![Arc::new(model.clone())],
        };
        disk.record();
        let mut store = open(&disk, &clock, seed).unwrap();
        for number in 0..steps {
            let time = TimestampMs(1_700_000_000_000 + number as i64 * 10);
            clock.set(time);
            match next_step(&mut rng) {
                Step::Flush => {
                    store.flush().unwrap();
                    history.promised.push((disk.operations(), history.acked.len()));
                }
                Step::Checkpoint => drop(store.checkpoint().unwrap()),
                Step::Seal => drop(store.seal().unwrap()),
                Step::Maintain => store.maintain().unwrap(),
                Step::Compact if compacts => drop(store.compact(&CompactOptions::default()).unwrap()),
                Step::Compact => {}
                Step::Close => {
                    // Saves the searched columns.
                    facts::of_snapshot(&store.snapshot().unwrap()).unwrap();
                    store.close().unwrap();
                    history.promised.push((disk.operations(), history.acked.len()));
                    store = open(&disk, &clock, seed).unwrap();
                }
                Step::Drop => {
                    drop(store);
                    store = open(&disk, &clock, seed).unwrap();
                    // Everything that an open served is durable.
                    history.promised.push((disk.operations(), history.acked.len()));
                }
                Step::Write => {
                    let head = store.positions().published;
                    let write = work.write(&model, head);
                    let verdict = model.verdict(&write, head);
                    let stores_nothing = write.stores_nothing(&model.stored(&write, time));
                    let answer = write.send(&store);
                    match (&verdict, &answer) {
                        (Verdict::Accepted, Ok(receipt)) if stores_nothing => {
                            assert_eq!(store.positions().published, head, "seed {seed}: {write:?}");
                            assert!(receipt.lsn <= head);
                        }
                        (Verdict::Accepted, Ok(receipt)) => {
                            model.accept(&write, receipt.lsn, time);
                            history.facts.push(Arc::new(facts::of_model(&model)));
                            history.models.push(Arc::new(model.clone()));
                            let (durability, at) = (write.durability, disk.operations());
                            history.acked.push(Acked { write, lsn: receipt.lsn, time, at });
                            if durability == Durability::Sync {
                                history.promised.push((at, history.acked.len()));
                            }
                        }
                        (Verdict::Repeated(lsn), Ok(receipt)) if receipt.lsn == *lsn => {
                            if write.durability == Durability::Sync {
                                let count = history.acked.iter().filter(|acked| acked.lsn <= *lsn).count();
                                history.promised.push((disk.operations(), count));
                            }
                        }
                        (Verdict::Refused(expected), Err(error)) if class(error) == *expected => {}
                        _ => panic!("seed {seed}: {verdict:?} expected, {answer:?} found, for {write:?}"),
                    }
                }
            }
        }
        drop(store);
        history.recording = disk.recording().unwrap();
        history
    }

    /// How many batches must exist after a crash at an operation: at least, at most.
    pub fn expected(&self, crash: u64, power_cut: bool) -> (usize, usize) {
        let acked = self.acked.iter().filter(|acked| acked.at < crash).count();
        let promised = self.promised.iter().filter(|(at, _)| *at < crash).map(|(_, count)| *count).max().unwrap_or(0);
        // The next one may have been in progress.
        let most = (acked + 1).min(self.acked.len());
        (if power_cut { promised } else { acked }, most)
    }

    /// Opens what a crash left and compares everything; returns the number of batches found.
    ///
    /// # Errors
    /// A description of what is wrong.
    pub fn check(&self, disk: &SimDisk, (least, most): (usize, usize), thorough: bool) -> Result<usize, String> {
        let clock = manual_clock();
        clock.set(TimestampMs(1_800_000_000_000));
        let store = open(disk, &clock, self.seed).map_err(|error| format!("the open fails: {error}"))?;
        let count = self.found(&store, (least, most))?;
        let removed = &store.open_notes().removed_files;
        if let Some(rebuilt) = &store.open_notes().rebuilt
            && !rebuilt.contains("missing")
            && !rebuilt.contains("no index")
        {
            return Err(format!("the index was rebuilt though nothing was damaged: {rebuilt}; removed {removed:?}"));
        }
        let positions = store.positions();
        if positions.sealed > positions.applied || positions.applied > positions.durable {
            return Err(format!("the positions are out of order: {positions:?}"));
        }
        leftovers(disk)?;
        if thorough {
            // Index equals replay: a read-only open replays the log into an index of its own, and writes nothing.
            let before = disk.operations();
            let replayed = sim_options(Arc::new(disk.clone()), clock.clone(), self.seed)
                .read_only(true)
                .open()
                .map_err(|error| format!("the read-only open fails: {error}"))?;
            self.same("the replay", count, &replayed)?;
            if disk.operations() != before {
                return Err("the read-only open wrote".into());
            }
            drop((replayed, store));
            // A second open changes nothing.
            let again = open(disk, &clock, self.seed).map_err(|error| format!("the second open fails: {error}"))?;
            self.found(&again, (count, count)).map_err(|why| format!("after a second open: {why}"))?;
            self.go_on(&again, disk, &clock, count, most)?;
        } else {
            self.go_on(&store, disk, &clock, count, most)?;
        }
        Ok(count)
    }

    /// The batches of a store: checks that they are a prefix of the recorded ones, with the same facts.
    fn found(&self, store: &Store, (least, most): (usize, usize)) -> Result<usize, String> {
        if self.compacts {
            let snapshot = store.snapshot().map_err(|error| format!("no snapshot: {error}"))?;
            let found = facts::of_snapshot(&snapshot).map_err(|error| format!("no answer: {error}"))?;
            return match (least..=most).rev().find(|count| *self.facts[*count] == found) {
                Some(count) => Ok(count),
                None => {
                    let closest = (0..self.facts.len())
                        .min_by_key(|count| {
                            self.facts[*count].len().abs_diff(found.len())
                                + self.facts[*count].iter().zip(&found).filter(|(a, b)| a != b).count()
                        })
                        .unwrap_or(0);
                    let difference = difference(&self.facts[closest], &found).unwrap_or_default();
                    Err(format!("no prefix of {least} to {most} batches; closest is {closest}: {difference}"))
                }
            };
        }
        let batches = store.tail(Lsn(1)).and_then(|mut tail| tail.next(usize::MAX, Duration::ZERO));
        let batches = batches.map_err(|error| format!("the tail fails: {error}"))?;
        let count = batches.len();
        let (found, expected): (Vec<Lsn>, Vec<Lsn>) =
            (batches.iter().map(|b| b.lsn).collect(), self.acked.iter().take(count).map(|a| a.lsn).collect());
        if found != expected {
            return Err(format!("positions {found:?} are no prefix of {expected:?}"));
        }
        if !(least..=most).contains(&count) {
            return Err(format!(
                "{count} batches are there; at least {least} were promised, at most {most} were begun"
            ));
        }
        self.same("the store", count, store)?;
        Ok(count)
    }

    fn same(&self, what: &str, count: usize, store: &Store) -> Result<(), String> {
        let snapshot = store.snapshot().map_err(|error| format!("no snapshot of {what}: {error}"))?;
        let found = facts::of_snapshot(&snapshot).map_err(|error| format!("{what} fails to answer: {error}"))?;
        match difference(&self.facts[count], &found) {
            Some(difference) => Err(format!("{what} with {count} batches answers wrongly: {difference}")),
            None => Ok(()),
        }
    }

    /// Checks that retried keys are recognised, and that writes and reads go on, also after another open.
    fn go_on(
        &self,
        store: &Store,
        disk: &SimDisk,
        clock: &Arc<ManualClock>,
        count: usize,
        most: usize,
    ) -> Result<(), String> {
        if let Some(keyed) = self.acked[..count].iter().rev().find(|acked| acked.write.key.is_some()) {
            let receipt = keyed.write.send(store).map_err(|error| format!("a retry fails: {error}"))?;
            if !receipt.repeated || receipt.lsn != keyed.lsn {
                return Err(format!("a retry of the batch at {} is taken for a new one: {receipt:?}", keyed.lsn));
            }
        }
        let Some(experiment) = active_experiment(&self.models[count]) else { return Ok(()) };
        let tags = vec![("after".to_owned(), "the crash".to_owned())];
        let write = Write::of(vec![ExperimentTagsSet { experiment, tags }.into()], Durability::Sync);
        let receipt = write.send(store).map_err(|error| format!("a write after it fails: {error}"))?;
        // No position is given out twice, not even one that a power cut took.
        let highest = self.acked[..most].last().map_or(Lsn::ZERO, |acked| acked.lsn);
        let highest_acked = self.acked[..most.saturating_sub(1).max(count)].last().map_or(Lsn::ZERO, |acked| acked.lsn);
        if receipt.lsn <= highest_acked {
            return Err(format!("position {} is given out again (up to {highest} was)", receipt.lsn));
        }
        let mut model = (*self.models[count]).clone();
        model.accept(&write, receipt.lsn, TimestampMs(1_800_000_000_000));
        let cut = disk.after_power_cut(runlode_engine::storage::sim::PowerCut::seeded(self.seed ^ count as u64));
        let next = open(&cut, clock, self.seed).map_err(|error| format!("the open after it fails: {error}"))?;
        let snapshot = next.snapshot().map_err(|error| error.to_string())?;
        let found = facts::of_snapshot(&snapshot).map_err(|error| error.to_string())?;
        match difference(&facts::of_model(&model), &found) {
            Some(difference) => Err(format!("the life after it answers wrongly: {difference}")),
            None => Ok(()),
        }
    }
}

/// Some active experiment.
pub fn active_experiment(model: &Model) -> Option<ExperimentId> {
    let active =
        |state: &runlode_engine::entity::ExperimentState| state.lifecycle == runlode_engine::entity::Lifecycle::Active;
    model.experiments.iter().find(|(_, state)| active(state)).map(|(id, _)| *id)
}

/// Files that an open should have removed.
///
/// # Errors
/// Their names.
pub fn leftovers(disk: &SimDisk) -> Result<(), String> {
    let names = |dir: &str| -> Vec<String> {
        let entries = disk.list(dir).unwrap_or_default();
        entries.into_iter().map(|entry| entry.name).collect()
    };
    let known = ["FORMAT", "LOCK", "MANIFEST", "index.redb", "log", "search.snap", "series"];
    let mut left: Vec<String> = names("").into_iter().filter(|name| !known.contains(&name.as_str())).collect();
    left.extend(names("log").into_iter().filter(|name| !name.ends_with(".seg")));
    left.extend(names("series").into_iter().filter(|name| !name.ends_with(".ser")));
    if left.is_empty() { Ok(()) } else { Err(format!("files are left over: {left:?}")) }
}

/// Kinds of errors that a failing disk may cause.
pub const DISK_ERRORS: [Class; 4] = ["io", "full", "poisoned", "unknown"];
