//! The rules of a sync in plain Rust: what a store holds, what it takes from another one, and what is reported.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::StoreId;
use crate::sync::chunk::{SyncBatch, Version};
use crate::{Point, RegisteredModelId, RunId, Stage};

pub(super) const HOUR: i64 = 3_600_000;

/// What is changed, by names that are the same in all stores.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Of {
    Experiment(String),
    Run(RunId),
    Model(RegisteredModelId),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum What {
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
    pub(super) fn is_decision(&self) -> bool {
        matches!(self, Self::Alias(_) | Self::Stages | Self::VersionDeletion(_) | Self::Deletion)
    }

    pub(super) fn version(&self) -> Option<u32> {
        match self {
            Self::VersionTag(version, _) | Self::VersionDeletion(version) => Some(*version),
            _ => None,
        }
    }
}

/// A batch: its store, its ordinal there, and its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Made {
    pub(super) store: StoreId,
    pub(super) position: u64,
    pub(super) number: u64,
}

#[derive(Debug, Clone)]
pub(super) enum Act {
    NewExperiment(String),
    /// With its name and status.
    NewRun(RunId, String, String),
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

/// An act, with the stamp of its event and what that replaced.
#[derive(Debug, Clone)]
pub(super) struct Stamped {
    pub(super) act: Act,
    pub(super) stamp: i64,
    pub(super) replaced: Option<Made>,
}

/// A batch in a log, as the store made it or took it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) made: Made,
    pub(super) acts: Vec<Stamped>,
}

#[derive(Debug, Clone)]
pub(super) struct Cell {
    pub(super) value: Option<String>,
    pub(super) made: Made,
    pub(super) stamp: i64,
}

/// A version of a model: text, stage, deleted, and the batch that created it.
pub(super) type Known = (String, Stage, bool, Option<Made>);

/// A change of a field: stamp, store, position, value.
pub(super) type Changed = (i64, [u8; 16], u64, Option<String>);

#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) experiments: BTreeSet<String>,
    pub(super) runs: BTreeMap<RunId, String>,
    pub(super) models: BTreeMap<RegisteredModelId, bool>,
    pub(super) versions: BTreeMap<(RegisteredModelId, u32), Known>,
    pub(super) cells: BTreeMap<(Of, What), Cell>,
    pub(super) params: BTreeMap<(RunId, String), String>,
    pub(super) points: BTreeMap<RunId, BTreeSet<u64>>,
    pub(super) log: Vec<Entry>,
    /// Batches of each store that are here.
    pub(super) seen: BTreeMap<StoreId, u64>,
    /// Entries of each store's log that were processed.
    pub(super) through: BTreeMap<StoreId, usize>,
    pub(super) number: u64,
}

pub(super) type Told = BTreeSet<(Of, What)>;

impl State {
    pub(super) fn cell(&self, of: &Of, what: &What) -> Option<&Cell> {
        self.cells.get(&(of.clone(), what.clone()))
    }

    pub(super) fn value(&self, of: &Of, what: &What) -> Option<String> {
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

    pub(super) fn stages(&self, model: RegisteredModelId, changed: &[(u32, Stage)]) -> String {
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
    pub(super) fn changes(&self, act: &Act) -> Vec<(Of, What, Option<String>)> {
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
            Act::NewRun(run, name, status) => vec![
                (Of::Run(*run), What::Name, Some(name.clone())),
                (Of::Run(*run), What::Status, Some(status.clone())),
            ],
            _ => Vec::new(),
        }
    }

    /// Applies a decision, and writes it to the log.
    pub(super) fn put(&mut self, entry: Entry) {
        for Stamped { act, stamp, .. } in &entry.acts {
            for (of, what, value) in self.changes(act) {
                let cell = Cell { value, made: entry.made, stamp: *stamp };
                self.cells.insert((of, what), cell);
            }
            match act {
                Act::NewExperiment(name) => {
                    self.experiments.insert(name.clone());
                }
                Act::NewRun(run, ..) => {
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
                    // All points are different: one that is here came by another import of its source.
                    let here = self.points.entry(*run).or_default();
                    here.extend(points.iter().map(|point| point.value.to_bits()));
                }
                Act::Param(run, key, value) => {
                    self.params.entry((*run, key.clone())).or_insert_with(|| value.clone());
                }
                _ => {}
            }
        }
        self.log.push(entry);
    }

    /// A batch of the store's own: its events, each with its acts.
    pub(super) fn own(&mut self, store: StoreId, position: u64, time: i64, events: Vec<Vec<Act>>) {
        self.number += 1;
        let made = Made { store, position, number: self.number };
        let mut stamped = Vec::new();
        for acts in events {
            let (mut stamp, mut replaced) = (time, None);
            for (of, what, _) in acts.iter().flat_map(|act| self.changes(act)) {
                if let Some(cell) = self.cell(&of, &what) {
                    stamp = stamp.max(cell.stamp + 1);
                    if what.is_decision() {
                        replaced = Some(cell.made);
                    }
                }
            }
            stamped.extend(acts.into_iter().map(|act| Stamped { act, stamp, replaced }));
        }
        self.put(Entry { made, acts: stamped });
        self.seen.insert(store, self.number);
    }

    /// Whether a version exists and is the one that is meant.
    pub(super) fn has(&self, model: RegisteredModelId, version: u32, text: Option<&str>) -> bool {
        let known = self.versions.get(&(model, version));
        known.is_some_and(|known| !known.2 && text.is_none_or(|text| known.0 == text))
    }

    /// How many entries of this log a sync processed if this was its last batch; `known` if it sent none.
    pub(super) fn through(&self, last: Option<&SyncBatch>, known: usize) -> usize {
        let place = |last: &SyncBatch| {
            let is_it = |made: Made| made.store.0 == last.store && made.position >= last.last;
            self.log.iter().position(|entry| is_it(entry.made))
        };
        last.and_then(place).map_or(known, |at| at + 1)
    }

    /// The same store, but with only this much seen of the others.
    pub(super) fn that_saw(&self, own: StoreId, seen: &[Version]) -> Self {
        let mut state = self.clone();
        state.seen.retain(|store, _| *store == own);
        for seen in seen.iter().filter(|seen| seen.store != own.0) {
            let of = self.log.iter().map(|entry| entry.made);
            let numbers = of.filter(|made| made.store.0 == seen.store && made.position <= seen.position);
            state.seen.extend(numbers.map(|made| made.number).max().map(|number| (StoreId(seen.store), number)));
        }
        state
    }

    pub(super) fn saw(&self, made: Made) -> bool {
        made.number <= self.seen.get(&made.store).copied().unwrap_or(0)
    }

    /// Takes another store's content, up to an entry of its log. Returns what is reported.
    pub(super) fn take(&mut self, own: StoreId, other: StoreId, source: &Self, to: usize) -> Told {
        let mut told = Told::new();
        let from = self.through.get(&other).copied().unwrap_or(0);
        for entry in source.log.get(from..to).unwrap_or_default() {
            if entry.made.store == own || self.saw(entry.made) {
                continue;
            }
            let mut acts = Vec::new();
            for stamped in &entry.acts {
                // A run that two stores imported: its fields are decided one by one.
                let again = match &stamped.act {
                    act @ Act::NewRun(run, ..) if self.runs.contains_key(run) => self.changes(act),
                    _ => Vec::new(),
                };
                let again: Vec<Act> = again.into_iter().map(|(of, what, value)| Act::Set(of, what, value)).collect();
                let sent = if again.is_empty() { vec![stamped.act.clone()] } else { again };
                for act in sent {
                    let stamped = Stamped { act, ..stamped.clone() };
                    acts.extend(self.decide(&stamped, entry.made, source, &mut told));
                }
            }
            self.seen.insert(entry.made.store, entry.made.number);
            // An entry with nothing left counts as seen.
            self.put(Entry { made: entry.made, acts });
        }
        let known = self.through.entry(other).or_default();
        *known = (*known).max(to);
        told
    }

    fn decide(&self, stamped: &Stamped, made: Made, source: &Self, told: &mut Told) -> Option<Stamped> {
        let act = self.decide_act(stamped, made, source, told)?;
        Some(Stamped { act, ..stamped.clone() })
    }

    fn decide_act(&self, stamped: &Stamped, made: Made, source: &Self, told: &mut Told) -> Option<Act> {
        let act = &stamped.act;
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
            let later = cell.is_none_or(|cell| key(made, stamped.stamp) > key(cell.made, cell.stamp));
            let saw = |made: Made| source.saw(made);
            let (taken, tells) = if !what.is_decision() {
                (later, !same && cell.is_some_and(|cell| !saw(cell.made)))
            } else if same {
                (later, false)
            } else {
                let taken = cell.map(|cell| cell.made) == stamped.replaced && !self.in_use(&of, &what, source);
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

    pub(super) fn in_use(&self, of: &Of, what: &What, source: &Self) -> bool {
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
