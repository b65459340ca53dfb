//! The stores of a history and the steps that it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::model::{Act, Changed, HOUR, Of, Stamped, Told, What};
use super::played::Database;
use super::side::{Sent, Side, aside, copy_of, open, show_files};
use crate::engine::storage::sim::SimRng;
use crate::engine::storage::{Storage, memory::Memory};
use crate::engine::{ManualClock, StoreId};
use crate::sync::{Chunk, Report, Source, Target};
use crate::{CompactOptions, Point, RegisteredModelId, RunId};

pub(super) struct World {
    pub(super) rng: SimRng,
    pub(super) sides: Vec<Side>,
    /// Copies of the files of stores, to be merged later.
    copies: Vec<Side>,
    /// What is imported from.
    databases: Vec<Database>,
    pub(super) next: u64,
    /// Models with a reported difference that no other store takes over: decisions, and version numbers given by two
    /// stores.
    pub(super) told: BTreeSet<RegisteredModelId>,
    /// The changes made, except those of models.
    pub(super) made: BTreeMap<(Of, What), Vec<Changed>>,
    pub(super) points: BTreeMap<RunId, BTreeSet<u64>>,
    /// Params for which stores keep different values.
    pub(super) params_told: bool,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = SimRng::new(seed);
        let count = 2 + rng.below(4);
        let sides = (0..count).map(|at| Side::new(seed ^ (at + 1) << 32, rng.below(9) as i64 - 4)).collect();
        let (told, made, points) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        let databases = (0..1 + rng.below(2)).map(|_| Database::default()).collect();
        Self { rng, sides, copies: Vec::new(), databases, next: 1, told, made, points, params_told: false }
    }

    pub(super) fn below(&mut self, below: usize) -> usize {
        self.rng.below(below.max(1) as u64) as usize
    }

    pub(super) fn pick<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        if all.is_empty() { None } else { Some(all[self.below(all.len())].clone()) }
    }

    pub(super) fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn step(&mut self) -> String {
        let at = self.below(self.sides.len());
        let jump = self.rng.below(10);
        let by = if jump == 0 { self.rng.below(7) as i64 * HOUR - 3 * HOUR } else { self.rng.below(3_000) as i64 };
        self.sides[at].clock.advance_ms(by);
        match self.rng.below(100) {
            0..62 => self.change(at),
            62..70 => self.import(at),
            70..89 => {
                let to = self.below(self.sides.len());
                let cut = self.rng.below(4) == 0;
                if at == to {
                    return String::new();
                }
                self.sync(at, to, cut);
                format!("sync {at} to {to}, cut {cut}")
            }
            89..91 => self.sync_with_files_gone(at),
            91 => self.copy(at),
            92..94 => self.merge(at),
            96..100 => {
                let weeks = self.rng.below(3) == 0;
                if weeks {
                    // Idempotency keys are forgotten at the next change.
                    self.sides[at].clock.advance_ms(8 * 24 * HOUR);
                    self.change(at);
                }
                self.compact(at);
                format!("compact {at}, later {weeks}")
            }
            94 if self.sides.len() < 5 => {
                self.replay(at);
                format!("replay of {at}")
            }
            _ => {
                self.reopen(at);
                format!("reopen {at}")
            }
        }
    }

    /// Notes what a store's last batch did: it must be there in the end.
    pub(super) fn note(&mut self, at: usize) {
        let side = &self.sides[at];
        let entry = side.state.log.last().unwrap();
        for Stamped { act, stamp, .. } in &entry.acts {
            if let Act::Points(run, points) = act {
                self.points.entry(*run).or_default().extend(points.iter().map(|point| point.value.to_bits()));
            }
            for (of, what, value) in side.state.changes(act) {
                if !matches!(of, Of::Model(_)) {
                    let change = (*stamp, entry.made.store.0, entry.made.position, value);
                    self.made.entry((of, what)).or_default().push(change);
                }
            }
        }
    }

    /// A source grows, or not, and a store imports it, or a beginning of what it lacks.
    fn import(&mut self, at: usize) -> String {
        let which = self.below(self.databases.len());
        let mut grown = Vec::new();
        for _ in 0..self.below(3) {
            let number = self.fresh();
            grown.push(self.databases[which].grow(number, &mut self.rng));
        }
        let cut = (self.rng.below(4) == 0).then(|| self.below(4));
        let batches = self.databases[which].import(&self.sides[at].store, cut);
        let count = batches.len();
        for batch in batches {
            let side = &mut self.sides[at];
            side.state.own(side.id(), batch.lsn.0, batch.time_ms, batch.events);
            self.note(at);
        }
        let side = &self.sides[at];
        assert_eq!(side.says(), side.should_say(), "store {at} after an import");
        if cut.is_none() {
            for run in &self.databases[which].runs {
                let here = side.state.points.get(&run.id);
                let lacks = |point: &&Point| here.is_none_or(|here| !here.contains(&point.value.to_bits()));
                assert!(run.points.iter().find(lacks).is_none(), "run {} in store {at} after an import", run.id);
            }
            assert!(self.databases[which].import(&side.store, None).is_empty(), "a second import finds something");
        }
        format!("import of source {which} ({grown:?}) into {at}: {count} batches, cut {cut:?}")
    }

    /// Copies the files of a store, as a backup does.
    fn copy(&mut self, at: usize) -> String {
        let side = &self.sides[at];
        side.store.flush().unwrap();
        let storage = copy_of(&side.storage);
        let clock = Arc::new(ManualClock::at(side.store.now()));
        let store = open(&storage, &clock, side.seed);
        assert_eq!(store.engine().id(), side.id());
        let copy = Side { storage, clock, store, state: side.state.clone(), seed: side.seed };
        assert_eq!(copy.says(), copy.should_say(), "a copy of store {at}");
        self.copies.push(copy);
        format!("copy of {at}")
    }

    /// Merges a store, or a copy of one, into another store, and removes it if all of it was taken as it was.
    fn merge(&mut self, at: usize) -> String {
        let to = self.below(self.sides.len());
        let copy = (!self.copies.is_empty() && self.rng.below(2) == 0).then(|| self.below(self.copies.len()));
        let id = copy.map_or(self.sides[at].id(), |copy| self.copies[copy].id());
        if self.sides[to].id() == id || copy.is_none() && self.sides.len() < 3 {
            return String::new();
        }
        let from = match copy {
            Some(copy) => self.copies.remove(copy),
            None => self.sides.remove(at),
        };
        let to = if copy.is_none() && to > at { to - 1 } else { to };
        from.store.flush().unwrap();
        let gone = if self.rng.below(3) == 0 { self.hide_files(&from) } else { BTreeSet::new() };
        let sent = from.send_what_is_there(&self.sides[to], true);
        show_files(&from.storage, &gone);
        let (mut removed, mut outcome) = (false, "refused".to_owned());
        if let Some(sent) = sent {
            let target = &mut self.sides[to];
            let target_id = target.id();
            let told = target.state.take(target_id, id, &from.state.that_saw(id, &sent.seen), sent.end);
            self.synced(&sent.report, told, target_id);
            // What `runlode merge --remove` asks for.
            removed = sent.is_whole && sent.report.problems_count == 0 && sent.through <= sent.source_end;
            outcome = format!("sent {} entries, up to {}", sent.end, sent.through);
        }
        if removed {
            let target = &self.sides[to].state;
            for entry in &from.state.log {
                assert!(entry.made.store == self.sides[to].id() || target.saw(entry.made), "{entry:?} is removed");
            }
        } else if copy.is_some() {
            self.copies.push(from);
        } else {
            self.sides.push(from);
        }
        format!("merge of {id} (copy {copy:?}) into {to} without {gone:?}: {outcome}, removed {removed}")
    }

    /// Renames some files of a store, so that a reader does not find them.
    fn hide_files(&mut self, side: &Side) -> BTreeSet<String> {
        let storage = &side.storage;
        let in_dir = |dir: &str| -> Vec<String> {
            let entries = storage.list(dir).unwrap_or_default();
            entries.into_iter().filter(|entry| !entry.is_dir).map(|entry| format!("{dir}/{}", entry.name)).collect()
        };
        let (log, series) = (in_dir("log"), in_dir("series"));
        let gone: BTreeSet<String> = (0..1 + self.below(2))
            .filter_map(|_| {
                let from_log = series.is_empty() || self.rng.below(3) == 0;
                self.pick(if from_log { &log } else { &series })
            })
            .collect();
        for path in &gone {
            storage.rename(path, &aside(path)).unwrap();
        }
        gone
    }

    pub(super) fn pair(&mut self, from: usize, to: usize) -> (&mut Side, &mut Side) {
        let [from, to] = self.sides.get_disjoint_mut([from, to]).unwrap();
        (from, to)
    }

    pub(super) fn sync(&mut self, from: usize, to: usize, cut: bool) -> bool {
        let cut_at = self.rng.below(6) as usize;
        let (from, to) = self.pair(from, to);
        from.store.flush().unwrap();
        let source_id = from.id();
        let applied = Target::new(&to.store, source_id).unwrap().applied().unwrap();
        let mut source = Source::new(&from.store, applied, to.id()).unwrap();
        let mut report = Report::default();
        let mut end = from.state.log.len();
        while let Some(mut chunk) = source.next_chunk().unwrap() {
            if cut && chunk.batches.len() > cut_at {
                chunk.batches.truncate(cut_at);
                chunk.through = 0;
                let known = to.state.through.get(&source_id).copied().unwrap_or(0);
                end = from.state.through(chunk.batches.last(), known);
            }
            let was_cut = chunk.through == 0;
            let bytes = chunk.encode();
            let chunk = Chunk::decode(&bytes).unwrap_or_else(|error| panic!("{error}: {chunk:?}"));
            report.add(Target::new(&to.store, source_id).unwrap().apply(&chunk).unwrap());
            if was_cut {
                break;
            }
        }
        let to_id = to.id();
        let told = to.state.take(to_id, source_id, &from.state, end);
        self.synced(&report, told, to_id);
        report.batches_count > 0
    }

    /// Compares a sync's report, and the target's answers afterwards, with the model.
    pub(super) fn synced(&mut self, report: &Report, told: Told, to_id: StoreId) {
        if report.problems.iter().any(|problem| problem.what.starts_with("param `")) {
            self.params_told = true;
        }
        self.check(report, &told, to_id);
        let decisions = told.into_iter().filter(|(_, what)| what.is_decision());
        self.told.extend(decisions.filter_map(|(of, _)| if let Of::Model(model) = of { Some(model) } else { None }));
        for problem in report.problems.iter().filter(|problem| problem.disagreement.is_none()) {
            let number = problem.what.strip_prefix("registered model `model").and_then(|rest| rest.split('`').next());
            self.told.extend(number.and_then(|number| number.parse().ok()).map(RegisteredModelId));
        }
    }

    pub(super) fn compact(&self, at: usize) {
        let store = &self.sides[at].store;
        store.flush().unwrap();
        store.engine().seal().unwrap();
        store.compact(&CompactOptions::default()).unwrap();
    }

    /// Some files of a source are missing when a sync opens it, and are back afterwards. The holder of the source does
    /// not notice.
    pub(super) fn sync_with_files_gone(&mut self, from: usize) -> String {
        let to = self.below(self.sides.len());
        if from == to {
            return String::new();
        }
        if self.rng.below(2) == 0 {
            // Then points are only in series files.
            self.compact(from);
        }
        self.sides[from].store.flush().unwrap();
        let side = self.sides.remove(from);
        let gone = self.hide_files(&side);
        self.sides.insert(from, side);
        let end = {
            let (from, to) = self.pair(from, to);
            from.send_what_is_there(to, false)
        };
        show_files(&self.sides[from].storage, &gone);
        let outcome = match end {
            None => "refused".to_owned(),
            Some(Sent { report, seen, end, through, .. }) => {
                let (from, to) = self.pair(from, to);
                let (source_id, to_id) = (from.id(), to.id());
                let told = to.state.take(to_id, source_id, &from.state.that_saw(source_id, &seen), end);
                self.synced(&report, told, to_id);
                format!("sent {end} entries, up to {through}")
            }
        };
        format!("sync {from} to {to} without {gone:?}: {outcome}")
    }

    /// Compares a target's report and its answers.
    pub(super) fn check(&self, report: &Report, told: &Told, id: StoreId) {
        let side = self.sides.iter().find(|side| side.id() == id).unwrap();
        let (says, should_say) = (side.says(), side.should_say());
        for (says, should_say) in says.iter().zip(&should_say) {
            assert_eq!(says, should_say, "store {id}; told {:#?}", report.problems);
        }
        assert_eq!(says.len(), should_say.len());
        let fields = report.problems.iter().filter_map(|problem| problem.disagreement.as_ref());
        let found: BTreeSet<String> = fields.map(|about| about.field.clone()).collect();
        let expected: BTreeSet<String> = told.iter().map(|(_, what)| words(what)).collect();
        assert_eq!(found, expected, "store {id} tells {:#?}", report.problems);
    }

    pub(super) fn replay(&mut self, at: usize) {
        let seed = self.fresh() << 40;
        let side = &self.sides[at];
        side.store.flush().unwrap();
        let storage = Memory::new();
        let clock = Arc::new(ManualClock::at(side.store.now()));
        let mut id = [9; 16];
        id[..8].copy_from_slice(&seed.to_le_bytes());
        let options = crate::engine::Store::options("simulated").background(false).clock(clock.clone());
        let to: Arc<dyn Storage> = Arc::new(storage.clone());
        side.store.engine().replay_to(&to, StoreId(id), options, None).unwrap();
        let store = open(&storage, &clock, seed);
        let mut state = side.state.clone();
        // All of the other's log is here, and nothing of its own.
        state.through.insert(side.id(), state.log.len());
        state.number = 0;
        let side = Side { storage, clock, store, state, seed };
        assert_eq!(side.says(), side.should_say(), "a copy of store {at}");
        self.sides.push(side);
    }

    pub(super) fn reopen(&mut self, at: usize) {
        let from_log = self.rng.below(2) == 0;
        let side = self.sides.remove(at);
        let Side { storage, clock, store, state, seed } = side;
        store.close().unwrap();
        if from_log {
            storage.remove("index.redb").unwrap();
        }
        let store = open(&storage, &clock, seed);
        self.sides.insert(at, Side { storage, clock, store, state, seed });
    }

    /// All stores sync with each other until nothing changes; then they must be equal.
    pub(super) fn settle(&mut self) {
        for round in 0.. {
            let mut moved = false;
            for from in 0..self.sides.len() {
                for to in 0..self.sides.len() {
                    moved |= from != to && self.sync(from, to, false);
                }
            }
            if !moved {
                break;
            }
            assert!(round < 5, "they go on and on");
        }
        let told: Vec<String> = self.told.iter().map(|model| format!("{model:?} ")).collect();
        let all_agree = |side: &Side| {
            let mut lines = side.says();
            lines.retain(|line| !told.iter().any(|model| line.starts_with(model)));
            if self.params_told {
                // Each store keeps its own value of a param.
                let is_run = |line: &&mut String| line.contains(" false (") || line.contains(" true (");
                lines.iter_mut().filter(is_run).for_each(|line| {
                    line.truncate(line.rfind(" Some(").or_else(|| line.rfind(" None")).unwrap_or(line.len()));
                });
            }
            lines
        };
        let first = all_agree(&self.sides[0]);
        for side in &self.sides[1..] {
            assert_eq!(first, all_agree(side), "{} and {}", self.sides[0].id(), side.id());
        }
        for side in &self.sides {
            for ((of, what), changes) in &self.made {
                let latest = changes.iter().max().unwrap();
                assert_eq!(side.state.value(of, what), latest.3, "{of:?} {what:?} in {}", side.id());
            }
            for (run, points) in &self.points {
                let points: Vec<u64> = points.iter().copied().collect();
                let line = format!("{run} {} points {points:x?}", points.len());
                assert!(side.says().contains(&line), "{line} in {}", side.id());
            }
        }
    }
}

pub(super) fn words(what: &What) -> String {
    match what {
        What::Tag(key) => format!("tag `{key}`"),
        What::Name => "name".into(),
        What::Status => "status".into(),
        What::Lifecycle | What::Deletion => "deletion".into(),
        What::Description => "description".into(),
        What::Alias(alias) => format!("alias `{alias}`"),
        What::Stages => "stages".into(),
        What::VersionTag(version, key) => format!("tag `{key}` of version {version}"),
        What::VersionDeletion(version) => format!("deletion of version {version}"),
    }
}
