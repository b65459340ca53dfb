//! A disk that fails once, or is full for a while, at every operation in turn: a typed error, nothing wrong afterwards,
//! and the work can be done again.
//!
//! - *Full* from operation N on, then freed: nothing of a refused batch is kept, reads go on.
//! - *EIO* at operation N, once.
//! - *A sync that fails and loses its data*, with and without the cached pages: what the next life serves outlives a
//!   power cut.
//! - *Full, with processes beside the holder*: every batch that was acknowledged is there, whole and once, when there is
//!   space again and the store is opened anew.
//!
//! `RUNLODE_SIM_SCALE` multiplies the lives, `RUNLODE_SIM_SEED` is the first seed.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use runlode_engine::point::Point;
use runlode_engine::storage::Storage;
use runlode_engine::storage::sim::{Call, Failure, Fault, PowerCut, SimDisk, SimRng, mix};
use runlode_engine::{
    Batch, Clock, CompactOptions, Durability, Error, ExperimentId, HistoryQuery, InboxWriter, KeyedPoint, Lsn,
    ManualClock, RunId, Store, TimestampMs, VerifyOptions, WriterId,
};
use runlode_tests::model::{Model, Verdict, class};
use runlode_tests::sim::{DISK_ERRORS, Step, leftovers, next_step, open};
use runlode_tests::work::Generator;
use runlode_tests::write::Write;
use runlode_tests::{create, difference, facts, knob, manual_clock, sim_options};

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

// ---- local clients ---------------------------------------------------------------------------------------------------

const RUN: RunId = RunId([1; 16]);
/// Points of a batch.
const POINTS: i64 = 100;

/// Batches of one process, each with points of its own.
struct Batches {
    key: &'static str,
    tried: i64,
    acked: Vec<i64>,
    refused: u64,
}

impl Batches {
    fn new(key: &'static str) -> Self {
        Self { key, tried: 0, acked: Vec::new(), refused: 0 }
    }

    /// Logs the next one: acknowledged, or refused because the disk is full.
    fn log(&mut self, time: TimestampMs, log: impl FnOnce(&str, Vec<Point>) -> Result<(), Error>) {
        let batch = self.tried;
        self.tried += 1;
        let point = |step: i64| Point { step, time, value: f64::from_bits(mix(step as u64) >> 2) };
        match log(self.key, (batch * POINTS..(batch + 1) * POINTS).map(point).collect()) {
            Ok(()) => self.acked.push(batch),
            Err(error) => {
                assert!(error.is_full(), "{}: batch {batch} fails: {error}", self.key);
                self.refused += 1;
            }
        }
    }

    /// Checks that every acknowledged batch is there whole and once, and nothing of a refused one.
    fn check(&self, store: &Store, when: &str) {
        let query = HistoryQuery { limit: 1_000_000, ..HistoryQuery::default() };
        let columns = store.snapshot().unwrap().history(RUN, self.key, &query).unwrap().columns;
        let mut found: BTreeMap<i64, Vec<(i64, u64)>> = BTreeMap::new();
        for (step, value) in columns.steps.iter().zip(&columns.values) {
            found.entry(step.div_euclid(POINTS)).or_default().push((*step, value.to_bits()));
        }
        for batch in &self.acked {
            let expected = batch * POINTS..(batch + 1) * POINTS;
            let expected: Vec<_> = expected.map(|step| (step, mix(step as u64) >> 2)).collect();
            assert_eq!(found.remove(batch), Some(expected), "{when}: batch {batch} of {}", self.key);
        }
        assert!(found.is_empty(), "{when}: {:?} of {} were refused", found.keys(), self.key);
    }
}

/// A holder and two processes beside it log while the disk is full. Then there is space again, and the store is opened
/// anew, at once or after all went on. Returns how many batches were acknowledged while it was full, and refused.
fn clients_on_a_full_disk(seed: u64) -> (u64, u64) {
    let mut rng = SimRng::new(mix(seed));
    let disk = SimDisk::new(seed);
    disk.set_maps(seed.is_multiple_of(2));
    let clock = manual_clock();
    let storage = || Arc::new(disk.clone());
    let open = || sim_options(storage(), clock.clone(), seed).open().unwrap();
    let mut store = open();
    let experiment = ExperimentId(1);
    let batch = Batch::new().event(create::experiment(experiment, "full")).event(create::run(RUN, experiment));
    store.append(batch, Durability::Sync).unwrap();
    let writer = |id: u8| InboxWriter::create_on(storage(), store.id(), WriterId([id; 16]), clock.clone()).unwrap();
    let mut writers = vec![(writer(1), Batches::new("a")), (writer(2), Batches::new("b"))];
    let mut own = Batches::new("own");
    let step = |store: &Store, writers: &mut Vec<(InboxWriter, Batches)>, own: &mut Batches, rng: &mut SimRng| {
        clock.advance_ms(rng.below(400) as i64);
        match rng.below(10) {
            0..6 => {
                let (writer, batches) = &mut writers[rng.below(2) as usize];
                batches.log(clock.now(), |key, points| {
                    let key = writer.metric_key(key)?;
                    let points: Vec<_> = points.into_iter().map(|point| KeyedPoint { key, point }).collect();
                    writer.log_points(RUN, &points, Durability::Buffered).map(drop)
                });
            }
            6..8 => own.log(clock.now(), |key, points| {
                let batch = points.into_iter().fold(Batch::new(), |batch, point| batch.metric(RUN, key, point, None));
                store.append(batch, Durability::Buffered).map(drop)
            }),
            8 => match store.merge_inboxes() {
                Ok(report) => assert_eq!(report.problems, []),
                Err(error) => assert!(error.is_full(), "a merge fails: {error}"),
            },
            _ => match store.flush() {
                Ok(_) => {}
                Err(error) => assert!(error.is_full(), "a flush fails: {error}"),
            },
        }
    };
    for _ in 0..40 {
        step(&store, &mut writers, &mut own, &mut rng);
    }
    disk.set_space(Some(disk.used_bytes() + rng.below(64 << 10)));
    let before = own.acked.len() + writers.iter().map(|(_, batches)| batches.acked.len()).sum::<usize>();
    for _ in 0..120 {
        step(&store, &mut writers, &mut own, &mut rng);
    }
    let acked = own.acked.len() + writers.iter().map(|(_, batches)| batches.acked.len()).sum::<usize>() - before;
    // Some are killed meanwhile, or all of them.
    let dies = rng.below(3);
    let mut of_dead = Vec::new();
    if dies > 0 {
        of_dead.push(writers.pop().unwrap().1);
    }
    if dies > 1 {
        of_dead.push(writers.pop().unwrap().1);
        drop(store);
        disk.set_space(None);
        store = open();
    } else {
        disk.set_space(None);
        for _ in 0..if dies == 0 { 60 } else { 0 } {
            step(&store, &mut writers, &mut own, &mut rng);
        }
    }
    let all = |store: &Store, when: &str, writers: &[(InboxWriter, Batches)], own: &Batches, of_dead: &[Batches]| {
        assert_eq!(store.merge_inboxes().unwrap().problems, [], "{when}");
        own.check(store, when);
        of_dead.iter().chain(writers.iter().map(|(_, batches)| batches)).for_each(|batches| batches.check(store, when));
    };
    all(&store, "once there is space", &writers, &own, &of_dead);
    drop(store);
    let store = open();
    all(&store, "opened again", &writers, &own, &of_dead);
    let refused = own.refused + writers.iter().map(|(_, batches)| batches.refused).sum::<u64>();
    of_dead.extend(writers.drain(..).map(|(_, batches)| batches));
    store.flush().unwrap();
    clock.advance_ms(2_000);
    all(&store, "without the others", &[], &own, &of_dead);
    let report = store.verify(&VerifyOptions::default()).unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
    store.close().unwrap();
    let (store, refused) = (open(), refused + of_dead.iter().map(|batches| batches.refused).sum::<u64>());
    all(&store, "closed and opened", &[], &own, &of_dead);
    (acked as u64, refused)
}

#[test]
fn what_any_process_acknowledged_is_there_after_a_full_disk_batch_by_batch() {
    let first = knob("RUNLODE_SIM_SEED", 1);
    let (mut acked, mut refused) = (0, 0);
    for seed in first..first + 4 * knob("RUNLODE_SIM_SCALE", 1) {
        println!("RUNLODE_SIM_SEED={seed}");
        let (more_acked, more_refused) = clients_on_a_full_disk(seed);
        (acked, refused) = (acked + more_acked, refused + more_refused);
    }
    assert!(acked > 0 && refused > 0, "{acked} batches were acknowledged on a full disk, {refused} refused");
}
