//! Random histories of stores that sync with each other, compared with a model of the rules in plain Rust.
//!
//! A history has two to five stores that change things, with clocks that are hours off. They sync in any direction,
//! completely or interrupted; they are copied by a replay, compacted, and reopened from their logs alone. During a
//! sync, files of the source may vanish, as on a file system of several machines: then the sync is refused, or copies
//! what is before the gap and notes nothing after it. After each sync the target must answer as the model does, and
//! report what the model reports. At the end all stores sync with each other until nothing changes. Then they must be
//! equal, except for reported decisions of the registry; every point must be in each store once, and every field must
//! have its latest change.
//!
//! `RUNLODE_SYNC_HISTORIES` sets how many (default 10,000), `RUNLODE_SYNC_SEED` the first seed. A failure names its
//! seed, and the shortest prefix of its steps that fails.
//!
//! Long, because the model of the rules and the histories that check it are read side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::chunk::{SyncBatch, Version};
use super::{Chunk, Report, Source, Target};
use crate::engine::entity::{EntityKey, EntityState};
use crate::engine::event::*;
use crate::engine::storage::sim::SimRng;
use crate::engine::storage::{Storage, memory::Memory};
use crate::engine::{ManualClock, StoreId};
use crate::{
    Batch, CompactOptions, Durability, Error, ExperimentId, HistoryQuery, Lifecycle, LocalStore, Lsn,
    ModelVersionState, Point, RegisteredModelId, RunId, RunStatus, Stage, TimestampMs, VersionStatus,
};

const HOUR: i64 = 3_600_000;

// ---- the model -------------------------------------------------------------------------------------------------------

/// What is changed, by names that are the same in all stores.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Of {
    Experiment(String),
    Run(RunId),
    Model(RegisteredModelId),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum What {
    Tag(String),
    Name,
    Status,
    Lifecycle,
    Description,
    Alias(String),
    Stages,
    VersionTag(u32, String),
    VersionDeletion(u32),
    Deletion,
}

impl What {
    fn is_decision(&self) -> bool {
        matches!(self, Self::Alias(_) | Self::Stages | Self::VersionDeletion(_) | Self::Deletion)
    }

    fn version(&self) -> Option<u32> {
        match self {
            Self::VersionTag(version, _) | Self::VersionDeletion(version) => Some(*version),
            _ => None,
        }
    }
}

/// A batch: its store, its ordinal there, and its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Made {
    store: StoreId,
    position: u64,
    number: u64,
}

#[derive(Debug, Clone)]
enum Act {
    NewExperiment(String),
    NewRun(RunId, String),
    NewModel(RegisteredModelId, String),
    /// With the text that identifies it.
    NewVersion(RegisteredModelId, u32, String),
    Set(Of, What, Option<String>),
    /// A version, and the text that identifies it.
    Alias(RegisteredModelId, String, Option<(u32, String)>),
    Stage(RegisteredModelId, Vec<(u32, String, Stage)>),
    Points(RunId, Vec<Point>),
    Param(RunId, String, String),
}

/// An act in a log, as the store did it or took it.
#[derive(Debug, Clone)]
struct Entry {
    made: Made,
    stamp: i64,
    replaced: Option<Made>,
    acts: Vec<Act>,
}

#[derive(Debug, Clone)]
struct Cell {
    value: Option<String>,
    made: Made,
    stamp: i64,
}

/// A version of a model: text, stage, deleted, and the batch that created it.
type Known = (String, Stage, bool, Option<Made>);

/// A change of a field: stamp, store, position, value.
type Changed = (i64, [u8; 16], u64, Option<String>);

#[derive(Debug, Clone, Default)]
struct State {
    experiments: BTreeSet<String>,
    runs: BTreeMap<RunId, String>,
    models: BTreeMap<RegisteredModelId, bool>,
    versions: BTreeMap<(RegisteredModelId, u32), Known>,
    cells: BTreeMap<(Of, What), Cell>,
    params: BTreeMap<(RunId, String), String>,
    points: BTreeMap<RunId, Vec<u64>>,
    log: Vec<Entry>,
    /// Batches of each store that are here.
    seen: BTreeMap<StoreId, u64>,
    /// Entries of each store's log that were processed.
    through: BTreeMap<StoreId, usize>,
    number: u64,
}

type Told = BTreeSet<(Of, What)>;

impl State {
    fn cell(&self, of: &Of, what: &What) -> Option<&Cell> {
        self.cells.get(&(of.clone(), what.clone()))
    }

    fn value(&self, of: &Of, what: &What) -> Option<String> {
        match (of, what) {
            (Of::Model(model), What::Alias(_)) => {
                let value = self.cell(of, what)?.value.clone()?;
                let version = value.parse().ok()?;
                self.versions.get(&(*model, version)).filter(|version| !version.2).map(|_| value)
            }
            (Of::Model(model), What::Stages) => Some(self.stages(*model, &[])),
            (Of::Model(model), What::VersionDeletion(version)) => {
                let deleted = self.versions.get(&(*model, *version)).is_some_and(|version| version.2);
                Some(if deleted { "deleted" } else { "active" }.into())
            }
            (Of::Model(model), What::Deletion) => {
                Some(if self.models.get(model) == Some(&true) { "deleted" } else { "active" }.into())
            }
            (_, What::Lifecycle) => {
                Some(self.cell(of, what).and_then(|cell| cell.value.clone()).unwrap_or("active".into()))
            }
            _ => self.cell(of, what).and_then(|cell| cell.value.clone()),
        }
    }

    fn stages(&self, model: RegisteredModelId, changed: &[(u32, Stage)]) -> String {
        let mut all: BTreeMap<u32, Stage> = BTreeMap::new();
        for ((of, version), (_, stage, deleted, _)) in &self.versions {
            if *of == model && !deleted {
                all.insert(*version, *stage);
            }
        }
        all.extend(changed.iter().copied());
        format!("{:?}", all.into_iter().filter(|(_, stage)| *stage != Stage::None).collect::<Vec<_>>())
    }

    /// The fields that an act changes, with their new values.
    fn changes(&self, act: &Act) -> Vec<(Of, What, Option<String>)> {
        match act {
            Act::Set(of, what, value) => vec![(of.clone(), what.clone(), value.clone())],
            Act::Alias(model, alias, version) => {
                let value = version.as_ref().map(|(version, _)| version.to_string());
                vec![(Of::Model(*model), What::Alias(alias.clone()), value)]
            }
            Act::Stage(model, changed) => {
                let changed: Vec<_> = changed.iter().map(|(version, _, stage)| (*version, *stage)).collect();
                vec![(Of::Model(*model), What::Stages, Some(self.stages(*model, &changed)))]
            }
            Act::NewRun(run, name) => vec![
                (Of::Run(*run), What::Name, Some(name.clone())),
                (Of::Run(*run), What::Status, Some("RUNNING".into())),
            ],
            _ => Vec::new(),
        }
    }

    /// Applies a decision, and writes it to the log.
    fn put(&mut self, entry: Entry) {
        for act in &entry.acts {
            for (of, what, value) in self.changes(act) {
                let cell = Cell { value, made: entry.made, stamp: entry.stamp };
                self.cells.insert((of, what), cell);
            }
            match act {
                Act::NewExperiment(name) => {
                    self.experiments.insert(name.clone());
                }
                Act::NewRun(run, _) => {
                    self.runs.insert(*run, String::new());
                }
                Act::NewModel(model, _) => {
                    self.models.insert(*model, false);
                }
                Act::NewVersion(model, version, text) => {
                    self.versions.insert((*model, *version), (text.clone(), Stage::None, false, Some(entry.made)));
                }
                Act::Set(Of::Model(model), What::VersionDeletion(version), _) => {
                    if let Some(version) = self.versions.get_mut(&(*model, *version)) {
                        version.2 = true;
                    }
                }
                Act::Set(Of::Model(model), What::Deletion, _) => {
                    self.models.insert(*model, true);
                    for ((of, _), version) in &mut self.versions {
                        version.2 |= of == model;
                    }
                }
                Act::Stage(model, changed) => {
                    for (version, _, stage) in changed {
                        if let Some(version) = self.versions.get_mut(&(*model, *version)) {
                            version.1 = *stage;
                        }
                    }
                }
                Act::Points(run, points) => {
                    self.points.entry(*run).or_default().extend(points.iter().map(|point| point.value.to_bits()));
                }
                Act::Param(run, key, value) => {
                    self.params.entry((*run, key.clone())).or_insert_with(|| value.clone());
                }
                _ => {}
            }
        }
        self.log.push(entry);
    }

    /// A change of the store's own.
    fn own(&mut self, store: StoreId, position: u64, time: i64, acts: Vec<Act>) {
        self.number += 1;
        let made = Made { store, position, number: self.number };
        let (mut stamp, mut replaced) = (time, None);
        for (of, what, _) in acts.iter().flat_map(|act| self.changes(act)) {
            if let Some(cell) = self.cell(&of, &what) {
                stamp = stamp.max(cell.stamp + 1);
                if what.is_decision() {
                    replaced = Some(cell.made);
                }
            }
        }
        self.put(Entry { made, stamp, replaced, acts });
        self.seen.insert(store, self.number);
    }

    /// Whether a version exists and is the one that is meant.
    fn has(&self, model: RegisteredModelId, version: u32, text: Option<&str>) -> bool {
        let known = self.versions.get(&(model, version));
        known.is_some_and(|known| !known.2 && text.is_none_or(|text| known.0 == text))
    }

    /// How many entries of this log a sync processed if this was its last batch; `known` if it sent none.
    fn through(&self, last: Option<&SyncBatch>, known: usize) -> usize {
        let place = |last: &SyncBatch| {
            let is_it = |made: Made| made.store.0 == last.store && made.position >= last.last;
            self.log.iter().position(|entry| is_it(entry.made))
        };
        last.and_then(place).map_or(known, |at| at + 1)
    }

    /// The same store, but with only this much seen of the others.
    fn that_saw(&self, own: StoreId, seen: &[Version]) -> Self {
        let mut state = self.clone();
        state.seen.retain(|store, _| *store == own);
        for seen in seen.iter().filter(|seen| seen.store != own.0) {
            let of = self.log.iter().map(|entry| entry.made);
            let numbers = of.filter(|made| made.store.0 == seen.store && made.position <= seen.position);
            state.seen.extend(numbers.map(|made| made.number).max().map(|number| (StoreId(seen.store), number)));
        }
        state
    }

    fn saw(&self, made: Made) -> bool {
        made.number <= self.seen.get(&made.store).copied().unwrap_or(0)
    }

    /// Takes another store's content, up to an entry of its log. Returns what is reported.
    fn take(&mut self, own: StoreId, other: StoreId, source: &Self, to: usize) -> Told {
        let mut told = Told::new();
        let from = self.through.get(&other).copied().unwrap_or(0);
        for entry in source.log.get(from..to).unwrap_or_default() {
            if entry.made.store == own || self.saw(entry.made) {
                continue;
            }
            let mut acts = Vec::new();
            for act in &entry.acts {
                if let Some(act) = self.decide(act, entry, source, &mut told) {
                    acts.push(act);
                }
            }
            self.seen.insert(entry.made.store, entry.made.number);
            // An entry with nothing left counts as seen.
            self.put(Entry { acts, ..entry.clone() });
        }
        let known = self.through.entry(other).or_default();
        *known = (*known).max(to);
        told
    }

    fn decide(&self, act: &Act, entry: &Entry, source: &Self, told: &mut Told) -> Option<Act> {
        let there = match act {
            Act::NewExperiment(name) => !self.experiments.contains(name),
            Act::NewRun(..) | Act::NewModel(..) | Act::Points(..) => true,
            Act::NewVersion(model, version, _) => {
                self.models.get(model) == Some(&false) && !self.versions.contains_key(&(*model, *version))
            }
            Act::Param(run, key, value) => {
                let key = (*run, key.clone());
                return (self.params.get(&key).is_none_or(|here| here == value)).then(|| act.clone());
            }
            Act::Set(Of::Model(model), what, _) => {
                let text = what.version().and_then(|version| source.versions.get(&(*model, version)));
                self.models.get(model) == Some(&false)
                    && what.version().is_none_or(|version| self.has(*model, version, text.map(|text| &*text.0)))
            }
            Act::Set(..) => true,
            Act::Alias(model, _, version) => {
                self.models.get(model) == Some(&false)
                    && version.as_ref().is_none_or(|(version, text)| self.has(*model, *version, Some(text)))
            }
            Act::Stage(model, changed) => {
                self.models.get(model) == Some(&false)
                    && changed.iter().any(|(version, text, _)| self.has(*model, *version, Some(text)))
            }
        };
        if !there {
            return None;
        }
        let mut takes = true;
        for (of, what, value) in self.changes(act) {
            if matches!(act, Act::NewRun(..)) {
                break;
            }
            let cell = self.cell(&of, &what);
            let same = self.value(&of, &what) == value;
            let key = |made: Made, stamp| (stamp, made.store.0, made.position);
            let later = cell.is_none_or(|cell| key(entry.made, entry.stamp) > key(cell.made, cell.stamp));
            let saw = |made: Made| source.saw(made);
            let (taken, tells) = if !what.is_decision() {
                (later, !same && cell.is_some_and(|cell| !saw(cell.made)))
            } else if same {
                (later, false)
            } else {
                let taken = cell.map(|cell| cell.made) == entry.replaced && !self.in_use(&of, &what, source);
                (taken, !taken)
            };
            if tells {
                told.insert((of, what));
            }
            takes &= taken;
        }
        if !takes {
            return None;
        }
        if let Act::Stage(model, changed) = act {
            let changed: Vec<_> =
                changed.iter().filter(|(version, text, _)| self.has(*model, *version, Some(text))).cloned().collect();
            return (!changed.is_empty()).then_some(Act::Stage(*model, changed));
        }
        Some(act.clone())
    }

    fn in_use(&self, of: &Of, what: &What, source: &Self) -> bool {
        let Of::Model(model) = of else { return false };
        let only = match what {
            What::VersionDeletion(version) => Some(*version),
            What::Deletion => None,
            _ => return false,
        };
        let unseen = |what: &What| self.cell(of, what).is_some_and(|cell| !source.saw(cell.made));
        let aliased = self.cells.keys().any(|(other, what)| {
            let alias = matches!(what, What::Alias(_)) && other == of;
            let to = self.value(other, what).and_then(|value| value.parse::<u32>().ok());
            alias && to.is_some_and(|to| only.is_none_or(|only| only == to)) && unseen(what)
        });
        let staged =
            only.is_none_or(|only| self.versions.get(&(*model, only)).is_some_and(|known| known.1 != Stage::None));
        let born = only.is_none()
            && self
                .versions
                .iter()
                .any(|((of, _), known)| of == model && known.3.is_some_and(|made| !source.saw(made)));
        aliased || staged && unseen(&What::Stages) || born
    }
}

// ---- the stores ------------------------------------------------------------------------------------------------------

struct Side {
    storage: Memory,
    clock: Arc<ManualClock>,
    store: LocalStore,
    state: State,
    seed: u64,
}

/// Small segments, so that one can be missing.
const SEGMENT_BYTES: u64 = 256;

fn options(storage: Memory, clock: &Arc<ManualClock>) -> crate::LocalOptions {
    let options = LocalStore::options("simulated").background(false).clock(clock.clone()).default_experiment(false);
    options.storage(Arc::new(storage)).segment_bytes(SEGMENT_BYTES, SEGMENT_BYTES)
}

fn open(storage: &Memory, clock: &Arc<ManualClock>, seed: u64) -> LocalStore {
    options(storage.clone(), clock).seed(seed).open().unwrap()
}

impl Side {
    fn new(seed: u64, hours: i64) -> Self {
        let storage = Memory::new();
        let clock = Arc::new(ManualClock::at(TimestampMs(1_000 * HOUR + hours * HOUR)));
        let store = open(&storage, &clock, seed);
        Self { storage, clock, store, state: State::default(), seed }
    }

    fn id(&self) -> StoreId {
        self.store.engine().id()
    }

    fn experiment(&self, name: &str) -> ExperimentId {
        self.store.snapshot().unwrap().experiment_by_name(name).unwrap().unwrap().0
    }

    /// Appends acts as one batch of the store's own.
    fn own(&mut self, acts: Vec<Act>) {
        let now = self.store.now().0;
        let mut batch = Batch::new();
        for act in &acts {
            batch = self.with(batch, act, now);
        }
        let receipt = self.store.append(batch, Durability::Buffered).unwrap();
        self.state.own(self.id(), receipt.lsn.0, now, acts);
    }

    fn with(&self, mut batch: Batch, act: &Act, at_ms: i64) -> Batch {
        let event: Event = match act.clone() {
            Act::NewExperiment(name) => {
                let experiment = crate::ExperimentSpec::next_id(&self.store.snapshot().unwrap()).unwrap();
                ExperimentCreated {
                    experiment,
                    name,
                    artifact_location: None,
                    creation_time_ms: at_ms,
                    last_update_time_ms: at_ms,
                    tags: Vec::new(),
                }
                .into()
            }
            Act::NewRun(run, name) => RunCreated {
                run,
                experiment: self.experiment(self.state.experiments.first().unwrap()),
                name,
                user_id: String::new(),
                status: RunStatus::Running,
                start_time_ms: at_ms,
                artifact_location: None,
                tags: Vec::new(),
            }
            .into(),
            Act::NewModel(model, name) => RegisteredModelCreated {
                model,
                name,
                description: None,
                creation_time_ms: at_ms,
                last_updated_time_ms: at_ms,
                tags: Vec::new(),
            }
            .into(),
            Act::NewVersion(model, version, source) => ModelVersionCreated {
                model,
                version,
                source,
                storage_location: None,
                run_id: None,
                run_link: None,
                model_id: None,
                user_id: None,
                description: None,
                stage: Stage::None,
                status: VersionStatus::Ready,
                status_message: None,
                creation_time_ms: at_ms,
                last_updated_time_ms: at_ms,
                tags: Vec::new(),
            }
            .into(),
            Act::Set(Of::Experiment(name), What::Tag(key), value) => {
                let experiment = self.experiment(&name);
                match value {
                    Some(value) => ExperimentTagsSet { experiment, tags: vec![(key, value)] }.into(),
                    None => ExperimentTagDeleted { experiment, key }.into(),
                }
            }
            Act::Set(Of::Run(run), What::Tag(key), value) => match value {
                Some(value) => RunTagsSet { run, tags: vec![(key, value)] }.into(),
                None => RunTagDeleted { run, key }.into(),
            },
            Act::Set(Of::Run(run), What::Name, name) => {
                RunUpdated { run, status: None, end_time_ms: None, name }.into()
            }
            Act::Set(Of::Run(run), What::Status, status) => {
                let status =
                    Some(if status.as_deref() == Some("FAILED") { RunStatus::Failed } else { RunStatus::Finished });
                RunUpdated { run, status, end_time_ms: None, name: None }.into()
            }
            Act::Set(Of::Run(run), What::Lifecycle, value) => match value.as_deref() {
                Some("deleted") => RunDeleted { run, at_ms }.into(),
                _ => RunRestored { run }.into(),
            },
            Act::Set(Of::Model(model), What::Description, description) => {
                RegisteredModelUpdated { model, description, at_ms }.into()
            }
            Act::Set(Of::Model(model), What::Tag(key), value) => match value {
                Some(value) => RegisteredModelTagsSet { model, tags: vec![(key, value)] }.into(),
                None => RegisteredModelTagDeleted { model, key }.into(),
            },
            Act::Set(Of::Model(model), What::VersionTag(version, key), value) => match value {
                Some(value) => ModelVersionTagsSet { model, version, tags: vec![(key, value)] }.into(),
                None => ModelVersionTagDeleted { model, version, key }.into(),
            },
            Act::Set(Of::Model(model), What::VersionDeletion(version), _) => {
                ModelVersionDeleted { model, version, at_ms }.into()
            }
            Act::Set(Of::Model(model), What::Deletion, _) => RegisteredModelDeleted { model }.into(),
            Act::Set(of, what, _) => unreachable!("{of:?} {what:?}"),
            Act::Alias(model, alias, version) => match version {
                Some((version, _)) => AliasSet { model, alias, version }.into(),
                None => AliasDeleted { model, alias }.into(),
            },
            Act::Stage(model, changed) => {
                for (version, _, stage) in changed {
                    batch.push_event(ModelVersionStageChanged { model, version, stage, at_ms });
                }
                return batch;
            }
            Act::Points(run, points) => {
                for point in points {
                    batch.push_metric(run, "loss", point, None);
                }
                return batch;
            }
            Act::Param(run, key, value) => ParamsLogged { run, params: vec![(key, value)] }.into(),
        };
        batch.event(event)
    }

    /// Sends what can be sent while files are missing: as a reader that opens this store for reading only, knows
    /// nothing about its holder, and learns what is missing. Returns what was reported, what the source had seen of
    /// others, how many entries of its log the sync processed, and up to which position. `None`: the source was
    /// refused.
    fn send_what_is_there(&self, to: &Self) -> Option<(Report, Vec<Version>, usize, Lsn)> {
        let is_damage = |error: &Error| matches!(error, Error::MissingFile { .. } | Error::Corrupt(_));
        let reader = match options(self.storage.read_only(), &self.clock).read_only(true).create(false).open() {
            Ok(reader) => reader,
            Err(error) => {
                assert!(is_damage(&error), "the open: {error}");
                return None;
            }
        };
        let source_id = self.id();
        let applied = || Target::new(&to.store, source_id).unwrap().applied().unwrap();
        let before = applied();
        let complete = reader.engine().complete_up_to();
        let is_whole = reader.missing().is_empty();
        if !is_whole {
            // A copy would be indistinguishable from a complete store.
            let copy: Arc<dyn Storage> = Arc::new(Memory::new());
            let options = crate::engine::Store::options("copy").background(false).clock(self.clock.clone());
            let error = reader.engine().replay_to(&copy, StoreId([3; 16]), options, None).unwrap_err();
            assert!(is_damage(&error), "the copy: {error}");
        }
        let mut source = match Source::new(&reader, before, to.id()) {
            Ok(source) => source,
            Err(error) => {
                assert!(!is_whole && is_damage(&error), "the source: {error}");
                return None;
            }
        };
        let (mut report, mut seen, mut last) = (Report::default(), Vec::new(), None);
        while let Some(chunk) = source.next_chunk().unwrap() {
            report.add(Target::new(&to.store, source_id).unwrap().apply(&chunk).unwrap());
            last = chunk.batches.last().cloned().or(last);
            seen = chunk.seen;
        }
        let through = applied();
        assert!(through <= before.max(complete), "noted up to {through}, but there is no more than up to {complete}");
        let known = to.state.through.get(&source_id).copied().unwrap_or(0);
        let end = if is_whole { self.state.log.len() } else { self.state.through(last.as_ref(), known) };
        Some((report, seen, end, through))
    }

    /// The store's answers for everything that the model knows, as lines.
    fn says(&self) -> Vec<String> {
        let snapshot = self.store.snapshot().unwrap();
        let mut lines = Vec::new();
        let tag =
            |tags: &[KeyValue], key: &str| tags.iter().find(|(have, _)| have == key).map(|(_, value)| value.clone());
        for name in &self.state.experiments {
            let (_, state) = snapshot.experiment_by_name(name).unwrap().unwrap();
            lines.push(format!("{name} t: {:?}", tag(&state.tags, "t")));
        }
        for run in self.state.runs.keys() {
            let state = snapshot.run(*run).unwrap().unwrap();
            lines.push(format!(
                "{run} {} {:?} {:?} {:?} {:?}",
                state.name,
                state.status,
                state.lifecycle == Lifecycle::Deleted,
                (tag(&state.tags, "t"), tag(&state.tags, "u")),
                tag(&state.params, "p")
            ));
            let mut points = Vec::new();
            let mut after = None;
            loop {
                let query = HistoryQuery { after, ..HistoryQuery::default() };
                let page = snapshot.history(*run, "loss", &query).unwrap();
                points.extend(page.columns.values.iter().map(|value| value.to_bits()));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            points.sort_unstable();
            let count = snapshot.stats(*run, "loss").unwrap().map_or(0, |stats| stats.count_raw);
            lines.push(format!("{run} {count} points {points:x?}"));
        }
        for model in self.state.models.keys() {
            let key = EntityKey::RegisteredModel(*model);
            let entity = snapshot.entity(&key).unwrap().unwrap();
            let EntityState::RegisteredModel(state) = &*entity else { unreachable!() };
            if state.deleted {
                lines.push(format!("{model:?} deleted"));
                continue;
            }
            let (t, aliases) = (tag(&state.tags, "t"), &state.aliases);
            lines.push(format!("{model:?} {:?} {t:?} {aliases:?}", state.description));
            for version in &state.versions {
                let state: ModelVersionState = (*snapshot.model_version(*model, *version).unwrap().unwrap()).clone();
                lines.push(format!(
                    "{model:?} {version} {} {:?} {:?}",
                    state.source,
                    state.stage,
                    tag(&state.tags, "t")
                ));
            }
        }
        lines
    }

    /// The model's answers, as lines.
    fn should_say(&self) -> Vec<String> {
        let state = &self.state;
        let tag = |of: &Of, key: &str| state.value(of, &What::Tag(key.into()));
        let mut lines = Vec::new();
        for name in &state.experiments {
            lines.push(format!("{name} t: {:?}", tag(&Of::Experiment(name.clone()), "t")));
        }
        for run in state.runs.keys() {
            let of = Of::Run(*run);
            let status = match state.value(&of, &What::Status).as_deref() {
                Some("FAILED") => RunStatus::Failed,
                Some("FINISHED") => RunStatus::Finished,
                _ => RunStatus::Running,
            };
            let deleted = state.value(&of, &What::Lifecycle).as_deref() == Some("deleted");
            let (name, tags) = (state.value(&of, &What::Name).unwrap(), (tag(&of, "t"), tag(&of, "u")));
            lines.push(format!(
                "{run} {name} {status:?} {deleted:?} {tags:?} {:?}",
                state.params.get(&(*run, "p".into()))
            ));
            let mut points = state.points.get(run).cloned().unwrap_or_default();
            points.sort_unstable();
            lines.push(format!("{run} {} points {points:x?}", points.len()));
        }
        for (model, deleted) in &state.models {
            if *deleted {
                lines.push(format!("{model:?} deleted"));
                continue;
            }
            let of = Of::Model(*model);
            let aliases: Vec<(String, u32)> = ["a", "b"]
                .into_iter()
                .filter_map(|alias| {
                    Some((alias.into(), state.value(&of, &What::Alias(alias.into()))?.parse().unwrap()))
                })
                .collect();
            lines.push(format!("{model:?} {:?} {:?} {aliases:?}", state.value(&of, &What::Description), tag(&of, "t")));
            for ((other, version), (text, stage, deleted, _)) in &state.versions {
                if other == model && !deleted {
                    let tag = state.value(&of, &What::VersionTag(*version, "t".into()));
                    lines.push(format!("{model:?} {version} {text} {stage:?} {tag:?}"));
                }
            }
        }
        lines
    }
}

// ---- histories -------------------------------------------------------------------------------------------------------

struct World {
    rng: SimRng,
    sides: Vec<Side>,
    next: u64,
    /// Models with a reported difference that no other store takes over: decisions, and version numbers given by two
    /// stores.
    told: BTreeSet<RegisteredModelId>,
    /// The changes made, except those of models.
    made: BTreeMap<(Of, What), Vec<Changed>>,
    points: BTreeMap<RunId, Vec<u64>>,
    /// Params for which stores keep different values.
    params_told: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = SimRng::new(seed);
        let count = 2 + rng.below(4);
        let sides = (0..count).map(|at| Side::new(seed ^ (at + 1) << 32, rng.below(9) as i64 - 4)).collect();
        let (told, made, points) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        Self { rng, sides, next: 1, told, made, points, params_told: false }
    }

    fn below(&mut self, below: usize) -> usize {
        self.rng.below(below.max(1) as u64) as usize
    }

    fn pick<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        if all.is_empty() { None } else { Some(all[self.below(all.len())].clone()) }
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn step(&mut self) -> String {
        let at = self.below(self.sides.len());
        let jump = self.rng.below(10);
        let by = if jump == 0 { self.rng.below(7) as i64 * HOUR - 3 * HOUR } else { self.rng.below(3_000) as i64 };
        self.sides[at].clock.advance_ms(by);
        match self.rng.below(100) {
            0..70 => self.change(at),
            70..91 => {
                let to = self.below(self.sides.len());
                let cut = self.rng.below(4) == 0;
                if at == to {
                    return String::new();
                }
                self.sync(at, to, cut);
                format!("sync {at} to {to}, cut {cut}")
            }
            91..94 => self.sync_with_files_gone(at),
            96..100 => {
                self.compact(at);
                format!("compact {at}")
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

    fn act(&mut self, at: usize) -> Option<Act> {
        let kind = self.rng.below(24);
        let number = self.fresh();
        let value = Some(format!("v{number}"));
        let side = &self.sides[at].state;
        let runs: Vec<RunId> = side.runs.keys().copied().collect();
        let active: Vec<RunId> = runs
            .iter()
            .copied()
            .filter(|run| side.value(&Of::Run(*run), &What::Lifecycle).as_deref() == Some("active"))
            .collect();
        let models: Vec<_> = side.models.iter().filter(|(_, deleted)| !**deleted).map(|(model, _)| *model).collect();
        let versions: Vec<_> =
            side.versions.iter().filter(|(_, known)| !known.2).map(|(key, known)| (*key, known.0.clone())).collect();
        let experiments: Vec<_> = side.experiments.iter().cloned().collect();
        let deletes = self.rng.below(4) == 0;
        Some(match kind {
            0 => {
                let name = format!("e{}", self.below(2));
                (!experiments.contains(&name)).then_some(Act::NewExperiment(name))?
            }
            1..3 => {
                experiments.first()?;
                let mut id = [7; 16];
                id[..8].copy_from_slice(&number.to_le_bytes());
                Act::NewRun(RunId(id), format!("run{number}"))
            }
            3..5 => {
                let name = self.pick(&experiments)?;
                let of = Of::Experiment(name);
                let has = self.sides[at].state.value(&of, &What::Tag("t".into())).is_some();
                Act::Set(of, What::Tag("t".into()), if deletes && has { None } else { value })
            }
            5..8 => {
                let (run, key) = (self.pick(&active)?, self.pick(&["t", "u"])?);
                let what = What::Tag(key.into());
                let has = self.sides[at].state.value(&Of::Run(run), &what).is_some();
                Act::Set(Of::Run(run), what, if deletes && has { None } else { value })
            }
            8 => Act::Set(Of::Run(self.pick(&active)?), What::Name, value),
            9 => {
                let status = if deletes { "FAILED" } else { "FINISHED" };
                Act::Set(Of::Run(self.pick(&active)?), What::Status, Some(status.into()))
            }
            10 => {
                let run = self.pick(&runs)?;
                let word = if active.contains(&run) { "deleted" } else { "active" };
                Act::Set(Of::Run(run), What::Lifecycle, Some(word.into()))
            }
            11..14 => {
                let run = self.pick(&active)?;
                let count = 1 + self.below(3);
                let time = 1_000 * HOUR + number as i64;
                let point = |step: usize| Point {
                    step: number as i64,
                    time: TimestampMs(time + step as i64),
                    value: number as f64 + step as f64 / 8.0,
                };
                Act::Points(run, (0..count).map(point).collect())
            }
            14 => {
                let run = self.pick(&active)?;
                let side = &self.sides[at].state;
                let key = (run, "p".to_owned());
                (!side.params.contains_key(&key)).then(|| Act::Param(run, "p".into(), format!("v{number}")))?
            }
            15 => Act::NewModel(RegisteredModelId(number), format!("model{number}")),
            16..18 => {
                let model = self.pick(&models)?;
                let all = self.sides[at].state.versions.keys().filter(|(of, _)| *of == model);
                Act::NewVersion(model, all.map(|(_, version)| *version).max().unwrap_or(0) + 1, format!("s{number}"))
            }
            18 => Act::Set(Of::Model(self.pick(&models)?), What::Description, value),
            19..21 => {
                let ((model, version), text) = self.pick(&versions)?;
                let alias = self.pick(&["a", "b"])?;
                let has = self.sides[at].state.value(&Of::Model(model), &What::Alias(alias.into())).is_some();
                Act::Alias(model, alias.into(), if deletes && has { None } else { Some((version, text)) })
            }
            21 => {
                let ((model, version), text) = self.pick(&versions)?;
                let production = |known: &Known| known.1 == Stage::Production && !known.2;
                let others = self.sides[at]
                    .state
                    .versions
                    .iter()
                    .filter(|((of, other), known)| *of == model && *other != version && production(known));
                let mut changed: Vec<_> =
                    others.map(|((_, other), known)| (*other, known.0.clone(), Stage::Archived)).collect();
                changed.insert(0, (version, text, Stage::Production));
                Act::Stage(model, changed)
            }
            22 => {
                let ((model, version), _) = self.pick(&versions)?;
                Act::Set(Of::Model(model), What::VersionTag(version, "t".into()), value)
            }
            _ if deletes => match self.rng.below(3) {
                0 => Act::Set(Of::Model(self.pick(&models)?), What::Deletion, Some("deleted".into())),
                _ => {
                    let ((model, version), _) = self.pick(&versions)?;
                    Act::Set(Of::Model(model), What::VersionDeletion(version), Some("deleted".into()))
                }
            },
            _ => Act::Set(Of::Model(self.pick(&models)?), What::Tag("t".into()), value),
        })
    }

    fn change(&mut self, at: usize) -> String {
        // Most need something to change.
        let Some(act) = (0..6).find_map(|_| self.act(at)) else { return String::new() };
        let text = format!("{at}: {act:?}");
        self.sides[at].own(vec![act.clone()]);
        if let Act::Points(run, points) = &act {
            self.points.entry(*run).or_default().extend(points.iter().map(|point| point.value.to_bits()));
        }
        let side = &self.sides[at];
        let entry = side.state.log.last().unwrap();
        for (of, what, value) in side.state.changes(&act) {
            if !matches!(of, Of::Model(_)) {
                let change = (entry.stamp, entry.made.store.0, entry.made.position, value);
                self.made.entry((of, what)).or_default().push(change);
            }
        }
        text
    }

    fn pair(&mut self, from: usize, to: usize) -> (&mut Side, &mut Side) {
        let [from, to] = self.sides.get_disjoint_mut([from, to]).unwrap();
        (from, to)
    }

    fn sync(&mut self, from: usize, to: usize, cut: bool) -> bool {
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
            let chunk = Chunk::decode(&bytes).unwrap();
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
    fn synced(&mut self, report: &Report, told: Told, to_id: StoreId) {
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

    fn compact(&self, at: usize) {
        let store = &self.sides[at].store;
        store.flush().unwrap();
        store.engine().seal().unwrap();
        store.compact(&CompactOptions::default()).unwrap();
    }

    /// Some files of a source are missing when a sync opens it, and are back afterwards. The holder of the source does
    /// not notice.
    fn sync_with_files_gone(&mut self, from: usize) -> String {
        let to = self.below(self.sides.len());
        if from == to {
            return String::new();
        }
        let storage = self.sides[from].storage.clone();
        if self.rng.below(2) == 0 {
            // Then points are only in series files.
            self.compact(from);
        }
        self.sides[from].store.flush().unwrap();
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
        let aside = |path: &String| format!("gone-{}", path.replace('/', "-"));
        for path in &gone {
            storage.rename(path, &aside(path)).unwrap();
        }
        let end = {
            let (from, to) = self.pair(from, to);
            from.send_what_is_there(to)
        };
        for path in &gone {
            storage.rename(&aside(path), path).unwrap();
        }
        let outcome = match end {
            None => "refused".to_owned(),
            Some((report, seen, end, through)) => {
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
    fn check(&self, report: &Report, told: &Told, id: StoreId) {
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

    fn replay(&mut self, at: usize) {
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

    fn reopen(&mut self, at: usize) {
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
    fn settle(&mut self) {
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
                let mut points = points.clone();
                points.sort_unstable();
                let line = format!("{run} {} points {points:x?}", points.len());
                assert!(side.says().contains(&line), "{line} in {}", side.id());
            }
        }
    }
}

fn words(what: &What) -> String {
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

/// A history of `steps` steps. Returns what was done.
fn run(seed: u64, steps: u64, trace: bool) -> Vec<String> {
    let mut world = World::new(seed);
    let mut done = Vec::new();
    for _ in 0..steps {
        let step = world.step();
        if trace && !step.is_empty() {
            println!("{step}");
        }
        done.push(step);
    }
    world.settle();
    done
}

fn knob(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[test]
fn stores_end_equal_whatever_order_they_sync_in() {
    let count = knob("RUNLODE_SYNC_HISTORIES", 10_000);
    let first = knob("RUNLODE_SYNC_SEED", 1);
    let fails = |seed: u64, steps: u64| std::panic::catch_unwind(|| run(seed, steps, false)).is_err();
    let steps = |seed: u64| 10 + seed % 50;
    let next = AtomicU64::new(first);
    let failed = AtomicU64::new(u64::MAX);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            scope.spawn(|| {
                while failed.load(Ordering::Relaxed) == u64::MAX {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    if fails(seed, steps(seed)) {
                        failed.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let seed = failed.into_inner();
    if seed != u64::MAX {
        let shortest = (1..=steps(seed)).find(|steps| fails(seed, *steps)).unwrap_or(steps(seed));
        println!(
            "RUNLODE_SYNC_SEED={seed} RUNLODE_SYNC_HISTORIES=1: fails with the first {shortest} of {} steps:",
            steps(seed)
        );
        run(seed, shortest, true);
        panic!("seed {seed} fails");
    }
    println!("{count} histories from seed {first} on");
}
