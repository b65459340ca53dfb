//! Random histories of stores that meet, beside a model of the rules in plain Rust.
//!
//! A history makes two or three stores and lets them change things, by clocks that are hours off; they sync in any
//! direction, whole or cut, are copied by a replay, and opened again from their logs alone. After each sync the target
//! must say what the model says, and tell what the model tells. In the end all sync with all until nothing moves: then
//! all are equal, but for decisions of the registry that were told, every point is everywhere once, and of every field
//! the latest change stands.
//!
//! `RUNLODE_SYNC_HISTORIES` sets how many (default 10,000), `RUNLODE_SYNC_SEED` the first seed. A failure names its seed,
//! and the shortest beginning of its steps that fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Chunk, Report, Source, Target};
use crate::engine::entity::{EntityKey, EntityState};
use crate::engine::event::*;
use crate::engine::storage::sim::SimRng;
use crate::engine::storage::{Storage, memory::Memory};
use crate::engine::{ManualClock, StoreId};
use crate::{
    Batch, Durability, ExperimentId, HistoryQuery, Lifecycle, Lsn, ModelVersionState, Point, RegisteredModelId, RunId,
    RunStatus, Stage, Store, TimestampMs, VersionStatus,
};

const HOUR: i64 = 3_600_000;

// ---- the model -------------------------------------------------------------------------------------------------------

/// What is changed: by names that are the same in all stores.
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

/// Which batch: of which store, the how manieth of it, at which position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Made {
    store: StoreId,
    position: u64,
    number: u64,
}

#[derive(Debug, Clone, PartialEq)]
enum Act {
    NewExperiment(String),
    NewRun(RunId, String),
    NewModel(RegisteredModelId, String),
    /// With the text that says which one it is.
    NewVersion(RegisteredModelId, u32, String),
    Set(Of, What, Option<String>),
    /// A version, and the text that says which one it is.
    Alias(RegisteredModelId, String, Option<(u32, String)>),
    Stage(RegisteredModelId, Vec<(u32, String, Stage)>),
    Points(RunId, Vec<Point>),
    Param(RunId, String, String),
}

/// An act in a log: as its store did or took it.
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

#[derive(Debug, Clone, Default)]
struct State {
    experiments: BTreeSet<String>,
    runs: BTreeMap<RunId, String>,
    models: BTreeMap<RegisteredModelId, bool>,
    /// Text, stage, deleted.
    versions: BTreeMap<(RegisteredModelId, u32), (String, Stage, bool, Option<Made>)>,
    cells: BTreeMap<(Of, What), Cell>,
    params: BTreeMap<(RunId, String), String>,
    points: BTreeMap<RunId, Vec<u64>>,
    log: Vec<Entry>,
    /// Own batches of each store that are here.
    seen: BTreeMap<StoreId, u64>,
    /// Entries of each store's log that were gone through.
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
            (_, What::Lifecycle) => Some(self.cell(of, what).and_then(|cell| cell.value.clone()).unwrap_or("active".into())),
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

    /// Does what was decided, and writes it into the log.
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

    /// Whether a version is here, and is the one that is meant.
    fn has(&self, model: RegisteredModelId, version: u32, text: Option<&str>) -> bool {
        let known = self.versions.get(&(model, version));
        known.is_some_and(|known| !known.2 && text.is_none_or(|text| known.0 == text))
    }

    fn saw(&self, made: Made) -> bool {
        made.number <= self.seen.get(&made.store).copied().unwrap_or(0)
    }

    /// Takes what another one has, up to an entry of its log; what is told.
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
            // What nothing is left of is seen, and no more.
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
            Act::Stage(model, _) => self.models.get(model) == Some(&false),
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
            let changed: Vec<_> = changed.iter().filter(|(version, text, _)| self.has(*model, *version, Some(text))).cloned().collect();
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
        let staged = only.is_none_or(|only| self.versions.get(&(*model, only)).is_some_and(|known| known.1 != Stage::None));
        let born = only.is_none()
            && self.versions.iter().any(|((of, _), known)| of == model && known.3.is_some_and(|made| !source.saw(made)));
        aliased || staged && unseen(&What::Stages) || born
    }
}
