//! Lives of a store and its inboxes on the simulated disk, with a crash at every operation.
//!
//! Each seed is a life: writers log, sync, close and die; the holder merges, syncs, checkpoints, seals, compacts and is
//! opened again. Then the disk is made as it was when each of its operations crashed: for dying processes, and for
//! power cuts of all kinds. What the next holder finds after a merge:
//! - after the death of all processes each point that was acknowledged, after a power cut each one that was promised;
//! - no point twice, and none that was never logged;
//! - no inbox with a problem; once all is durable, no inbox at all;
//! - after the death of all processes, if somebody then removes a segment or an inbox: what was in it, or a problem.
//!
//! `RUNLODE_SIM_SCALE` multiplies the lives, `RUNLODE_SIM_SEED` runs that one alone.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::sync::Arc;

use super::mutant::{self, Rule};
use super::tests::{World, run_id};
use super::*;
use crate::event::RunDeleted;
use crate::ingest::batch::{Batch, Durability};
use crate::ingest::encode::KeyedPoint;
use crate::point::Point;
use crate::storage::Storage;
use crate::storage::sim::{Keep, PowerCut, SimDisk, SimRng, mix};
use crate::store::Store;
use crate::time::TimestampMs;
use crate::{CompactOptions, KeyId, VerifyOptions, WriterId};

const LIVES: u64 = 6;
const STEPS: u64 = 45;
/// Files are taken away after every crash with such a number.
const TAKEN_EVERY: u64 = 19;

/// A point that was logged: its value is its number among all.
struct Logged {
    writer: WriterId,
    number: u64,
    /// Operations of the disk when it was acknowledged.
    acked_at: u64,
    /// And when it was promised to outlive a power cut.
    promised_at: Option<u64>,
}

struct Life {
    disk: Arc<SimDisk>,
    world: World,
    store: Option<Store>,
    writers: Vec<(InboxWriter, KeyId)>,
    made: u8,
    logged: Vec<Logged>,
}

impl Life {
    fn new(seed: u64, rng: &mut SimRng) -> Self {
        let disk = Arc::new(SimDisk::new(rng.next()));
        disk.set_maps(!seed.is_multiple_of(3));
        let (world, store) = World::create(disk.clone(), 2);
        store.flush().unwrap();
        disk.record();
        let mut life = Self { disk, world, store: Some(store), writers: Vec::new(), made: 0, logged: Vec::new() };
        life.new_writer();
        life.new_writer();
        life
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn new_writer(&mut self) {
        self.made += 1;
        let writer = self.world.writer(self.store(), self.made);
        // Some numbers that are not the store's.
        for key in 0..self.made {
            writer.metric_key(&format!("other {key}")).unwrap();
        }
        let key = writer.metric_key("m").unwrap();
        self.writers.push((writer, key));
    }

    fn log(&mut self, at: usize, rng: &mut SimRng) {
        let (writer, key) = &self.writers[at];
        let durability = if rng.below(6) == 0 { Durability::Sync } else { Durability::Buffered };
        let first = self.logged.len();
        let point = |id: usize| Point { step: id as i64, time: TimestampMs(id as i64), value: id as f64 };
        let run = run_id(1 + rng.below(2) as u8);
        let count = [1, 1, 1, 2, 30, 600][rng.below(6) as usize];
        let number = match count {
            1 => writer.log_point(run, *key, point(first), durability).unwrap(),
            _ => {
                let points: Vec<_> = (0..count).map(|i| KeyedPoint { key: *key, point: point(first + i) }).collect();
                writer.log_points(run, &points, durability).unwrap()
            }
        };
        let (writer, acked_at) = (writer.id(), self.disk.operations());
        self.logged.extend((0..count).map(|_| Logged { writer, number, acked_at, promised_at: None }));
        if durability == Durability::Sync {
            self.promise(writer, number);
        }
    }

    /// All of a writer up to this number is durable.
    fn promise(&mut self, writer: WriterId, number: u64) {
        let now = self.disk.operations();
        for logged in self.logged.iter_mut().filter(|logged| logged.writer == writer && logged.number <= number) {
            logged.promised_at.get_or_insert(now);
        }
    }

    fn flush(&mut self) {
        let writers: Vec<WriterId> = (1..=self.made).map(|number| WriterId([number; 16])).collect();
        let applied: Vec<_> = writers.iter().map(|id| (*id, self.store().applied_number(*id).unwrap())).collect();
        self.store().flush().unwrap();
        applied.into_iter().for_each(|(id, number)| self.promise(id, number));
    }

    fn step(&mut self, rng: &mut SimRng) {
        let at = rng.below(self.writers.len() as u64) as usize;
        match rng.below(40) {
            0..=19 => self.log(at, rng),
            20..=26 => {
                let report = self.store().merge_inboxes().unwrap();
                assert_eq!(report.problems, []);
            }
            27..=29 => self.flush(),
            30 => drop(self.store().checkpoint().unwrap()),
            31 => drop(self.store().seal().unwrap()),
            32 => drop(self.store().compact(&CompactOptions::default()).unwrap()),
            33 => self.store().maintain().unwrap(),
            34 | 35 => {
                // The holder dies, writers go on.
                self.store = None;
                self.store = Some(self.world.open());
            }
            36 => {
                let (writer, _) = &self.writers[at];
                writer.flush().unwrap();
                let (id, last) = (writer.id(), writer.last_number());
                self.promise(id, last);
            }
            37 => {
                let (writer, _) = self.writers.swap_remove(at);
                let (id, last) = (writer.id(), writer.last_number());
                writer.close().unwrap();
                self.promise(id, last);
                self.new_writer();
                self.world.later();
            }
            38 => {
                drop(self.writers.swap_remove(at));
                self.new_writer();
                self.world.later();
            }
            _ => {
                let gone = RunDeleted { run: run_id(2), at_ms: 1 };
                // The second time it is deleted already.
                let _ = self.store().append(Batch::new().event(gone), Durability::Sync);
            }
        }
    }
}

/// How often each point is there.
fn found(store: &Store) -> BTreeMap<usize, u64> {
    let snapshot = store.snapshot().unwrap();
    let mut out = BTreeMap::new();
    for run in [1, 2] {
        let query = crate::HistoryQuery::default();
        let values = snapshot.history(run_id(run), "m", &query).unwrap().columns.values;
        let raw = snapshot.stats(run_id(run), "m").unwrap().map_or(0, |stats| stats.count_raw);
        assert_eq!(raw, values.len() as u64, "points of run {run} came twice");
        for value in values {
            *out.entry(value as usize).or_insert(0) += 1;
        }
    }
    out
}

fn check(what: &str, disk: SimDisk, logged: &[Logged], must: impl Fn(&Logged) -> bool, may: impl Fn(&Logged) -> bool) {
    let world = World::on(Arc::new(disk));
    let store = world.try_open().unwrap_or_else(|error| panic!("{what}: {error}"));
    let report = store.merge_inboxes().unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(report.problems, [], "{what}");
    let first = found(&store);
    for (id, logged) in logged.iter().enumerate() {
        let count = first.get(&id).copied().unwrap_or(0);
        assert!(count <= 1, "{what}: point {id} is there {count} times");
        assert!(count == 1 || !must(logged), "{what}: point {id}, number {}, is lost", logged.number);
        assert!(count == 0 || may(logged), "{what}: point {id} was never logged");
    }
    assert!(first.keys().all(|id| *id < logged.len()), "{what}: a point that was never logged");
    store.flush().unwrap();
    let report = store.merge_inboxes().unwrap();
    assert_eq!((report.frames_count, report.inboxes_open), (0, 0), "{what}: {report:?}");
    drop(store);
    let store = world.open();
    assert_eq!(store.merge_inboxes().unwrap().frames_count, 0, "{what}");
    assert_eq!(found(&store), first, "{what}");
}

/// Removes a segment, or a whole inbox, after all processes have died: what was acknowledged is there, or it is told
/// that something is missing.
fn check_taken(what: &str, crashed: &SimDisk, logged: &[Logged], acked: impl Fn(&Logged) -> bool) -> u64 {
    let mut told = 0;
    for inbox in World::on(Arc::new(crashed.after_process_crash())).inboxes() {
        let dir = format!("{INBOX_DIR}/{inbox}");
        let names = |disk: &SimDisk| disk.list(&dir).unwrap().into_iter().map(|entry| entry.name);
        let segments = names(&crashed.after_process_crash()).filter(|name| name.ends_with(".seg"));
        for taken in segments.map(Some).chain([None]) {
            let disk = Arc::new(crashed.after_process_crash());
            match &taken {
                Some(name) => disk.remove(&format!("{dir}/{name}")).unwrap(),
                None => {
                    names(&disk).for_each(|name| disk.remove(&format!("{dir}/{name}")).unwrap());
                    disk.remove_dir(&dir).unwrap();
                }
            }
            let store = World::on(disk).open();
            let report = store.merge_inboxes().unwrap();
            let found = found(&store);
            let lost = logged.iter().enumerate().find(|(id, logged)| acked(logged) && !found.contains_key(id));
            if let Some((id, _)) = lost {
                let told_by = store.verify(&VerifyOptions::default()).unwrap().findings;
                let taken = taken.as_deref().unwrap_or("everything");
                assert!(
                    !report.problems.is_empty() && !told_by.is_empty(),
                    "{what}, without {taken} of {inbox}: point {id} is lost, untold"
                );
                told += 1;
            }
        }
    }
    told
}

fn live(seed: u64) -> u64 {
    let mut rng = SimRng::new(mix(seed));
    let mut life = Life::new(seed, &mut rng);
    for _ in 0..STEPS {
        life.step(&mut rng);
    }
    let recording = life.disk.recording().unwrap();
    let logged = life.logged;
    let (mut crashes, mut told) = (0, 0);
    for (number, disk) in recording.crashes(seed) {
        let acked = |logged: &Logged| logged.acked_at < number;
        // The operation that crashed may be the one that a call ended with.
        let begun = |_: &Logged| true;
        let what = format!("seed {seed}, process crash at {number}");
        check(&what, disk.after_process_crash(), &logged, acked, begun);
        if number % TAKEN_EVERY == seed % TAKEN_EVERY {
            told += check_taken(&what, &disk, &logged, acked);
        }
        let promised = |logged: &Logged| logged.promised_at.is_some_and(|at| at < number);
        let keep = Keep::ALL[((seed + number) % Keep::ALL.len() as u64) as usize];
        let cut = PowerCut { keep, seed: mix(seed ^ number) };
        let what = format!("seed {seed}, power cut at {number}, {keep:?}");
        check(&what, disk.after_power_cut(cut), &logged, promised, begun);
        crashes += 2;
    }
    assert!(told > 0, "seed {seed}: nothing that was taken is missed");
    crashes
}

#[test]
fn every_point_is_merged_once_whatever_crashes() {
    let knob = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    if let Some(seed) = knob("RUNLODE_SIM_SEED") {
        live(seed);
        return;
    }
    let lives = LIVES * knob("RUNLODE_SIM_SCALE").unwrap_or(1);
    let crashes: u64 = (0..lives).map(live).sum();
    assert!(crashes > 300 * lives, "only {crashes} crashes");
}

#[test]
fn the_order_of_notes_matters() {
    for rule in [Rule::NoteComesLast, Rule::NoteGoesFirst] {
        mutant::leave_out(Some(rule));
        let went_wrong = (0..LIVES).any(|seed| std::panic::catch_unwind(|| live(seed)).is_err());
        mutant::leave_out(None);
        assert!(went_wrong, "nothing goes wrong without {rule:?}");
    }
}
