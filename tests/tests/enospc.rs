//! A disk that fails once, or is full for a while, at every operation in turn: a typed error, nothing wrong afterwards,
//! and the work can be done again.
//!
//! - *Full* from operation N on, then freed: nothing of a refused batch is kept, reads go on.
//! - *EIO* at operation N, once.
//! - *A sync that fails and loses its data*, with and without the cached pages: what the next life serves outlives a
//!   power cut.
//!
//! `RUNLODE_SIM_SCALE` multiplies the lives, `RUNLODE_SIM_SEED` is the first seed.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use runlode_engine::storage::Storage;
use runlode_engine::storage::sim::{Call, Failure, Fault, PowerCut, SimDisk, SimRng, mix};
use runlode_engine::{CompactOptions, Durability, Error, Lsn, ManualClock, Store, TimestampMs};
use runlode_tests::model::{Model, Verdict, class};
use runlode_tests::sim::{DISK_ERRORS, Step, leftovers, next_step, open};
use runlode_tests::work::Generator;
use runlode_tests::write::Write;
use runlode_tests::{difference, facts, knob, manual_clock};

const STEPS: u64 = 45;
const LIVES: u64 = 2;

/// How the disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    Full(u64),
    Budget(u64),
    Io(u64),
    LostSync(u64, bool),
}

struct Life {
    disk: SimDisk,
    clock: Arc<ManualClock>,
    seed: u64,
    store: Option<Store>,
    model: Model,
    accepted: Vec<(Write, Lsn, TimestampMs)>,
    /// So many outlive a power cut, and a sync that failed and made the cache forget.
    promised: usize,
    forgets: bool,
    /// A batch whose outcome is unknown.
    unknown: Option<Write>,
    troubles: u64,
}

impl Life {
    fn new(seed: u64, trouble: Trouble) -> Self {
        let disk = SimDisk::new(seed);
        disk.set_maps(seed.is_multiple_of(2));
        match trouble {
            Trouble::None => {}
            Trouble::Full(number) => disk.inject(
                Fault::new(
                    &[Call::Create, Call::Write, Call::SetLen, Call::Allocate, Call::Rename, Call::CreateDir],
                    Failure::Full,
                )
                .skip(number)
                .for_ever(),
            ),
            Trouble::Budget(bytes) => disk.set_space(Some(bytes)),
            Trouble::Io(number) => disk.inject(Fault::new(Call::OPERATIONS, Failure::Io).skip(number)),
            Trouble::LostSync(number, drop_pages) => {
                disk.inject(Fault::new(&[Call::Sync], Failure::LostSync { drop_pages }).skip(number));
            }
        }
        Self {
            disk,
            clock: manual_clock(),
            seed,
            store: None,
            model: Model::default(),
            accepted: Vec::new(),
            promised: 0,
            forgets: matches!(trouble, Trouble::LostSync(_, true)),
            unknown: None,
            troubles: 0,
        }
    }

    /// After an error: it is of a kind that a disk may cause, and the disk works again.
    fn trouble(&mut self, what: &str, error: &Error) -> Result<(), String> {
        if !DISK_ERRORS.contains(&class(error)) {
            return Err(format!("{what} fails with {error:?}"));
        }
        self.troubles += 1;
        if self.troubles > 3 {
            return Err(format!("{what} fails still when the disk works again: {error}"));
        }
        self.disk.clear_faults();
        self.disk.set_space(None);
        Ok(())
    }

    fn open(&mut self) -> Result<(), String> {
        self.store = None;
        let store = loop {
            match open(&self.disk, &self.clock, self.seed) {
                Ok(store) => break store,
                Err(error) => self.trouble("an open", &error)?,
            }
        };
        let batches = store.tail(Lsn(1)).and_then(|mut tail| tail.next(usize::MAX, Duration::ZERO));
        let batches = batches.map_err(|error| format!("the tail fails: {error}"))?;
        let last = batches.last().map_or(Lsn::ZERO, |batch| batch.lsn);
        let found = self.accepted.iter().filter(|(_, lsn, _)| *lsn <= last).count();
        if self.forgets && self.troubles > 0 && (self.promised..self.accepted.len()).contains(&found) {
            // As a power cut: what no sync had covered is gone, and nothing else.
            self.accepted.truncate(found);
            self.model = Model::default();
            self.accepted.iter().for_each(|(write, lsn, time)| self.model.accept(write, *lsn, *time));
        }
        if let (Some(write), Some(batch)) =
            (self.unknown.take(), batches.iter().find(|batch| batch.lsn > self.model.last))
        {
            self.model.accept(&write, batch.lsn, batch.time);
            self.accepted.push((write, batch.lsn, batch.time));
        }
        // A compaction may have taken whole frames of points out of the log; the facts tell more then.
        let all_there =
            if self.seed.is_multiple_of(2) { last <= self.model.last } else { batches.len() == self.accepted.len() };
        if !all_there {
            let (found, acked) = (batches.len(), self.accepted.len());
            return Err(format!("{found} batches are there, {acked} were acknowledged, {} synced", self.promised));
        }
        self.promised = self.accepted.len();
        self.store = Some(store);
        self.same("after an open")
    }

    fn same(&self, when: &str) -> Result<(), String> {
        let store = self.store.as_ref().ok_or("no store")?;
        let found = store.snapshot().and_then(|snapshot| facts::of_snapshot(&snapshot));
        let found = found.map_err(|error| format!("{when} reads fail: {error}"))?;
        match difference(&facts::of_model(&self.model), &found) {
            Some(difference) => Err(format!("{when} the store answers wrongly: {difference}")),
            None => Ok(()),
        }
    }

    fn write(&mut self, write: &Write, time: TimestampMs) -> Result<(), String> {
        for _ in 0..4 {
            let store = self.store.as_ref().ok_or("no store")?;
            let head = store.positions().published;
            let verdict = self.model.verdict(write, head);
            let stores_nothing = write.stores_nothing(&self.model.stored(write, time));
            let answer = write.send(store);
            match (&verdict, &answer) {
                (Verdict::Accepted, Ok(_)) if stores_nothing => return Ok(()),
                (Verdict::Accepted, Ok(receipt)) => {
                    self.model.accept(write, receipt.lsn, time);
                    self.accepted.push((write.clone(), receipt.lsn, time));
                    if write.durability == Durability::Sync {
                        self.promised = self.accepted.len();
                    }
                    return Ok(());
                }
                (Verdict::Repeated(lsn), Ok(receipt)) if receipt.lsn == *lsn => return Ok(()),
                (Verdict::Refused(expected), Err(error)) if class(error) == *expected => return Ok(()),
                (_, Err(error)) if DISK_ERRORS.contains(&class(error)) => {
                    let error = error.clone();
                    if error.is_full() {
                        // Nothing is kept of it, and reads go on, also while the disk is full.
                        self.same("on a full disk")?;
                    }
                    self.trouble("an append", &error)?;
                    if !error.is_full() {
                        self.unknown = matches!(verdict, Verdict::Accepted).then(|| write.clone());
                        self.open()?;
                        if self.accepted.last().is_some_and(|(last, _, _)| last.content() == write.content()) {
                            return Ok(());
                        }
                    }
                }
                _ => return Err(format!("{verdict:?} expected, {answer:?} found, for {write:?}")),
            }
        }
        Err("an append is refused again and again".into())
    }

    fn run(mut self) -> Result<(u64, u64, u64), String> {
        let mut rng = SimRng::new(mix(self.seed));
        let mut work = Generator::new(self.seed);
        work.limit_points(20);
        self.open()?;
        for number in 0..STEPS {
            let time = TimestampMs(1_700_000_000_000 + number as i64 * 10);
            self.clock.set(time);
            let step = next_step(&mut rng);
            let Some(store) = self.store.as_ref() else { return Err("no store".into()) };
            let done = match step {
                Step::Flush => store.flush().map(|_| self.promised = self.accepted.len()),
                Step::Checkpoint => store.checkpoint().map(drop),
                Step::Seal => store.seal().map(drop),
                Step::Maintain => store.maintain(),
                Step::Compact if self.seed.is_multiple_of(2) => store.compact(&CompactOptions::default()).map(drop),
                Step::Compact => Ok(()),
                Step::Close | Step::Drop => {
                    let store = self.store.take().ok_or("no store")?;
                    let closed = match step {
                        Step::Close => store.close(),
                        _ => {
                            drop(store);
                            Ok(())
                        }
                    };
                    if let Err(error) = closed {
                        self.trouble("a close", &error)?;
                    }
                    self.open()?;
                    Ok(())
                }
                Step::Write => {
                    let head = store.positions().published;
                    let write = work.write(&self.model, head);
                    self.write(&write, time)?;
                    Ok(())
                }
            };
            if let Err(error) = done {
                self.same(&format!("after {step:?} failed ({error})"))?;
                self.trouble("a step of upkeep", &error)?;
                // The index takes no more commits after an error of its file, until the store is opened again.
                self.open()?;
            }
        }
        self.same("at the end")?;
        let store = self.store.take().ok_or("no store")?;
        let flushed = store.flush().and_then(|_| store.checkpoint()).and_then(|_| store.seal());
        if let Err(error) = flushed {
            self.trouble("the last flush", &error)?;
            drop(store);
            self.open()?;
            let store = self.store.as_ref().ok_or("no store")?;
            store.flush().and_then(|_| store.checkpoint()).map_err(|error| format!("a rerun fails: {error}"))?;
        } else {
            drop(store);
        }
        self.store = None;
        let (operations, syncs) = (self.disk.operations(), self.troubles);
        // What was served and flushed outlives a power cut.
        self.disk = self.disk.after_power_cut(PowerCut::seeded(self.seed));
        self.open()?;
        // A damaged index is set aside and kept.
        match self.disk.remove("index.bad") {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.to_string()),
            _ => leftovers(&self.disk)?,
        }
        let used = self.disk.used_bytes();
        Ok((operations, syncs, used))
    }
}

/// Lives in parallel; how many, and what went wrong.
fn all(lives: Vec<(u64, Trouble)>) -> u64 {
    let next = AtomicU64::new(0);
    let troubled = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut failures: Vec<String> = Vec::new();
    std::thread::scope(|scope| {
        let work = || {
            let mut failures = Vec::new();
            while let Some((seed, trouble)) = lives.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                let run = std::panic::catch_unwind(|| Life::new(*seed, *trouble).run());
                match run {
                    Ok(Ok((_, troubles, _))) => drop(troubled.fetch_add(troubles.min(1), Ordering::Relaxed)),
                    Ok(Err(why)) => failures.push(format!("RUNLODE_SIM_SEED={seed} {trouble:?}: {why}")),
                    Err(_) => failures.push(format!("RUNLODE_SIM_SEED={seed} {trouble:?}: a panic")),
                }
            }
            failures
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().for_each(|worker| failures.extend(worker.join().unwrap()));
    });
    let some: Vec<&String> = failures.iter().take(5).collect();
    assert!(failures.is_empty(), "{} of {} lives went wrong: {some:#?}", failures.len(), lives.len());
    troubled.into_inner()
}

fn seeds() -> std::ops::Range<u64> {
    let first = knob("RUNLODE_SIM_SEED", 1);
    first..first + LIVES * knob("RUNLODE_SIM_SCALE", 1)
}

fn quiet(seed: u64) -> (u64, u64, u64) {
    Life::new(seed, Trouble::None).run().unwrap_or_else(|why| panic!("RUNLODE_SIM_SEED={seed}: {why}"))
}

#[test]
fn a_full_disk_at_any_operation_refuses_and_goes_on_when_freed() {
    let mut lives = Vec::new();
    for seed in seeds() {
        let (operations, _, used) = quiet(seed);
        lives.extend((0..operations).map(|number| (seed, Trouble::Full(number))));
        lives.extend((0..used / 4096).step_by(2).map(|pages| (seed, Trouble::Budget(pages * 4096))));
    }
    let troubled = all(lives.clone());
    println!("{troubled} of {} lives met a full disk", lives.len());
    assert!(troubled > lives.len() as u64 / 4);
}

#[test]
fn an_error_at_any_operation_is_reported_and_nothing_is_lost() {
    let lives: Vec<_> =
        seeds().flat_map(|seed| (0..quiet(seed).0).map(move |number| (seed, Trouble::Io(number)))).collect();
    let troubled = all(lives.clone());
    println!("{troubled} of {} lives met an error", lives.len());
    assert!(troubled > lives.len() as u64 / 2);
}

#[test]
fn a_sync_that_fails_and_forgets_loses_nothing_that_was_acknowledged() {
    let mut lives = Vec::new();
    for seed in seeds() {
        let syncs = quiet(seed).0 / 3;
        lives.extend((0..syncs).flat_map(|n| [false, true].map(|drop_pages| (seed, Trouble::LostSync(n, drop_pages)))));
    }
    let troubled = all(lives.clone());
    println!("{troubled} of {} lives met a failed sync", lives.len());
    assert!(troubled > lives.len() as u64 / 4);
}
