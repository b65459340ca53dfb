//! Random work on a store and on a naive model of it, step by step: every answer must be that of the model.
//!
//! `RUNLODE_MODEL_OPS` sets how many operations (default 6,000), `RUNLODE_MODEL_SEED` the first seed. A failure names
//! the seed of its episode; running with that seed repeats it at once.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use runlode_engine::event::payload::Decoded;
use runlode_engine::point::Point;
use runlode_engine::storage::sim::SimRng;
use runlode_engine::storage::{Storage, memory::Memory};
use runlode_engine::{
    AsOf, CompactOptions, Durability, HistoryQuery, Lsn, ManualClock, Snapshot, Store, TimestampMs, VerifyOptions,
};
use runlode_tests::model::{Model, Verdict, class};
use runlode_tests::work::{Generator, METRICS, RUNS, run_id};
use runlode_tests::write::Write;
use runlode_tests::{difference, facts, knob, manual_clock, sim_options};

/// Operations on one store before a fresh one is taken.
const EPISODE_OPS: u64 = 300;

struct Episode {
    seed: u64,
    storage: Arc<dyn Storage>,
    clock: Arc<ManualClock>,
    store: Option<Store>,
    rng: SimRng,
    work: Generator,
    model: Model,
    accepted: Vec<(Write, Lsn, TimestampMs)>,
    held: Vec<(Snapshot, Model)>,
    /// Once compacted, frames of points may be gone.
    compacted: bool,
    op: u64,
}

impl Episode {
    fn new(seed: u64) -> Self {
        let storage: Arc<dyn Storage> = Arc::new(Memory::new());
        let clock = manual_clock();
        let store = sim_options(storage.clone(), clock.clone(), seed).open().unwrap();
        Self {
            seed,
            storage,
            clock,
            store: Some(store),
            rng: SimRng::new(seed ^ 1),
            work: Generator::new(seed),
            model: Model::default(),
            accepted: Vec::new(),
            held: Vec::new(),
            compacted: false,
            op: 0,
        }
    }

    fn place(&self) -> String {
        format!("RUNLODE_MODEL_SEED={} at operation {}", self.seed, self.op)
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn same(&self, what: &str, expected: &[String], found: &[String]) {
        if let Some(difference) = difference(expected, found) {
            let context: Vec<_> = expected.iter().filter(|l| l.starts_with("stats") || l.starts_with("run ")).collect();
            panic!("{what} differ, {}: {difference}\n{context:#?}", self.place());
        }
    }

    fn compare(&self) {
        let snapshot = self.store().snapshot().unwrap();
        let found = facts::of_snapshot(&snapshot).unwrap_or_else(|error| panic!("{}: {error}", self.place()));
        self.same("facts", &facts::of_model(&self.model), &found);
    }

    fn compare_one_series(&mut self) {
        let run = run_id(self.rng.below(u64::from(RUNS)) as u8);
        if self.model.runs.get(&run).is_none_or(|r| r.lifecycle == runlode_engine::entity::Lifecycle::Purged) {
            return;
        }
        let key = METRICS[self.rng.below(METRICS.len() as u64) as usize];
        let snapshot = self.store().snapshot().unwrap();
        let choice = self.rng.next() >> 8;
        let faults = facts::series_faults(&snapshot, &self.model, run, key, choice).unwrap();
        assert!(faults.is_empty(), "{}: {}", self.place(), faults.join("; "));
    }

    fn compare_past(&mut self) {
        if self.accepted.is_empty() {
            return;
        }
        let count = self.rng.below(self.accepted.len() as u64) as usize + 1;
        let mut then = Model::default();
        self.accepted[..count].iter().for_each(|(write, lsn, time)| then.accept(write, *lsn, *time));
        let (_, lsn, time) = &self.accepted[count - 1];
        let snapshot = self.store().snapshot().unwrap();
        let expected = facts::of_past_model(&then, &self.model);
        let view = snapshot.as_of(AsOf::Position(*lsn)).unwrap();
        self.same("facts of the past", &expected, &facts::of_past(&view).unwrap());
        let by_time = snapshot.as_of(AsOf::Time(*time)).unwrap();
        self.same("facts of a time in the past", &expected, &facts::of_past(&by_time).unwrap());
    }

    /// What is on the disk is sound, and index equals replay.
    fn verify(&self) {
        self.store().flush().unwrap();
        let report = self.store().verify(&VerifyOptions::default()).unwrap();
        assert!(report.is_sound(), "{}: {:?}", self.place(), report.findings);
    }

    /// The store as it was, written into a folder of its own, answers as it did then.
    fn compare_replay(&self) {
        self.store().flush().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("store");
        self.store().replay_into(&made, None).unwrap_or_else(|error| panic!("{}: {error}", self.place()));
        let target = Store::options(&made).background(false).open().unwrap();
        let found = facts::of_snapshot(&target.snapshot().unwrap()).unwrap();
        self.same("facts of the replay", &facts::of_model(&self.model), &found);
    }

    fn compare_tail(&self) {
        if self.compacted {
            return;
        }
        let from = Lsn(1);
        let durable = self.store().flush().unwrap();
        let batches = self.store().tail(from).unwrap().next(usize::MAX, Duration::ZERO).unwrap();
        let found: Vec<_> = batches
            .iter()
            .map(|b| {
                let events: Vec<_> = b.events.iter().cloned().filter_map(Decoded::known).collect();
                (b.lsn, b.time, b.actor.clone(), events, b.points.iter().map(|(_, c)| c.len()).sum::<usize>())
            })
            .collect();
        let expected: Vec<_> = self
            .accepted
            .iter()
            .map(|(w, lsn, time)| (*lsn, *time, w.actor.clone(), w.events.clone(), w.points.len()))
            .collect();
        assert_eq!(found, expected, "{}, durable {durable}", self.place());
    }

    fn check_held(&mut self, drop_all: bool) {
        let keep = if drop_all { 0 } else { 2 };
        while self.held.len() > keep {
            let (snapshot, model) = self.held.remove(0);
            let expected = facts::of_model(&model);
            let found = facts::of_snapshot(&snapshot).unwrap();
            self.same("facts of a held snapshot", &expected, &found);
        }
    }

    fn write(&mut self) {
        self.clock.advance_ms(1 + self.rng.below(50) as i64);
        let now = TimestampMs(1_700_000_000_000 + self.op as i64 * 100);
        self.clock.set(now);
        let head = self.store().positions().published;
        let write = self.work.write(&self.model, head);
        let verdict = self.model.verdict(&write, head);
        let stored = self.model.stored(&write, now);
        let stores_nothing = write.stores_nothing(&stored);
        let answer = write.send(self.store());
        let as_expected = match (&verdict, &answer) {
            (Verdict::Accepted, Ok(receipt)) if stores_nothing => !receipt.repeated && receipt.lsn <= head,
            (Verdict::Accepted, Ok(receipt)) => !receipt.repeated && receipt.lsn > head,
            (Verdict::Repeated(lsn), Ok(receipt)) => receipt.repeated && receipt.lsn == *lsn,
            (Verdict::Refused(expected), Err(error)) => class(error) == *expected,
            _ => false,
        };
        assert!(as_expected, "{}: {verdict:?} expected, {answer:?} found, for {write:#?}", self.place());
        match (verdict, answer) {
            (Verdict::Accepted, Ok(receipt)) if !stores_nothing => {
                self.model.accept(&write, receipt.lsn, now);
                self.accepted.push((stored, receipt.lsn, now));
            }
            (Verdict::Refused(_) | Verdict::Accepted, _) => {
                assert_eq!(self.store().positions().published, head, "{}", self.place())
            }
            _ => {}
        }
    }

    /// Takes a run back to a step, or meets what the model says.
    fn rewind(&mut self) {
        let run = run_id(self.rng.below(u64::from(RUNS)) as u8);
        let to_step = self.rng.below(1_000) as i64 - 10;
        let head = self.store().positions().published;
        let now = TimestampMs(1_700_000_000_000 + self.op as i64 * 100);
        self.clock.set(now);
        match (self.model.may_rewind(run), self.store().rewind(run, to_step, Some("ann"))) {
            (Ok(()), Ok(rewound)) => {
                assert_eq!(rewound.points_hidden, self.model.hidden_by(run, to_step), "{}", self.place());
                let events = self.store().events_at(rewound.lsn).unwrap();
                let events = events.into_iter().filter_map(|record| record.event.known()).collect();
                let write = Write { actor: Some("ann".into()), ..Write::of(events, Durability::Sync) };
                self.model.accept(&write, rewound.lsn, now);
                self.accepted.push((write, rewound.lsn, now));
            }
            (Err(expected), Err(error)) => {
                assert_eq!(class(&error), expected, "{}", self.place());
                assert_eq!(self.store().positions().published, head, "{}", self.place());
            }
            (verdict, answer) => panic!("{}: {verdict:?} expected, {answer:?} found", self.place()),
        }
    }

    /// Dead branches show what they showed when they were left.
    fn compare_dead(&self) {
        let snapshot = self.store().snapshot().unwrap();
        let bits = |point: &Point| (point.time.0, point.step, point.value.to_bits());
        for ((run, branch), metrics) in &self.model.dead {
            if self.model.runs[run].lifecycle == runlode_engine::entity::Lifecycle::Purged {
                continue;
            }
            assert_eq!(snapshot.branch_latest(*run, *branch).unwrap().len(), metrics.len(), "{}", self.place());
            for (key, points) in metrics {
                let page = snapshot.branch_history(*run, *branch, key, &HistoryQuery::default()).unwrap();
                let found: Vec<_> = (0..page.columns.len()).map(|i| bits(&page.columns.point(i))).collect();
                let expected: Vec<_> = Model::in_order(points).iter().map(|logged| bits(&logged.point)).collect();
                assert_eq!(found, expected, "{}: branch {branch} of {run}, {key}", self.place());
            }
        }
    }

    fn reopen(&mut self, clean: bool, without_index: bool) {
        self.check_held(true);
        let store = self.store.take().unwrap();
        if clean {
            store.close().unwrap();
        } else {
            drop(store);
        }
        if without_index {
            self.storage.remove("index.redb").unwrap();
        }
        let options = sim_options(self.storage.clone(), self.clock.clone(), self.seed);
        self.store = Some(options.open().unwrap_or_else(|error| panic!("{}: {error}", self.place())));
        self.compare();
    }

    fn step(&mut self) {
        self.op += 1;
        match self.rng.below(1_000) {
            0..=14 => drop(self.store().flush().unwrap()),
            15..=44 => drop(self.store().checkpoint().unwrap()),
            45..=64 => drop(self.store().seal().unwrap()),
            65..=79 => self.store().maintain().unwrap(),
            80..=84 if self.seed.is_multiple_of(2) => {
                self.store().compact(&CompactOptions::default()).unwrap();
                self.compacted = true;
            }
            80..=84 => {}
            85..=92 => self.reopen(true, false),
            93..=102 => self.reopen(false, false),
            103..=107 => self.reopen(false, true),
            108..=112 => self.reopen(true, true),
            113..=132 => {
                let snapshot = self.store().snapshot().unwrap();
                self.held.push((snapshot, self.model.clone()));
                self.check_held(false);
            }
            133..=152 => self.compare(),
            153..=172 => self.compare_past(),
            173..=177 => self.compare_tail(),
            240..=244 => self.verify(),
            245 => self.compare_replay(),
            178..=237 => self.compare_one_series(),
            246..=252 => self.rewind(),
            253..=256 => self.compare_dead(),
            _ => self.write(),
        }
    }
}

#[test]
fn every_answer_is_the_models() {
    let ops = knob("RUNLODE_MODEL_OPS", 6_000);
    let first = knob("RUNLODE_MODEL_SEED", 1);
    println!("RUNLODE_MODEL_SEED={first} RUNLODE_MODEL_OPS={ops}");
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let episodes = ops.div_ceil(EPISODE_OPS);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for seed in (first + thread..first + episodes).step_by(threads as usize) {
                    let mut episode = Episode::new(seed);
                    for _ in 0..EPISODE_OPS {
                        episode.step();
                    }
                    episode.reopen(true, true);
                    episode.compare_dead();
                }
            });
        }
    });
}
