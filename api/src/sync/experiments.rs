//! Matches a source's experiments with this store's: by their known origin, else by name.
//!
//! A store notes in tags, `runlode.source.STORE`, which ids others use for its experiments. These tags are each store's
//! own and are not sent. With each chunk the source says which ids other stores use for the experiments in it, so that
//! two stores find what they have in common even when they meet for the first time.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::Deserialize;

use super::chunk::SyncExperiment;
use super::decided::{Decided, Taken};
use crate::engine::StoreId;
use crate::engine::entity::EntityKey;
use crate::engine::event::{ExperimentCreated, ExperimentTagsSet, KeyValue};
use crate::experiment::{IMPORT_TAG, SOURCE_TAG, source_tag};
use crate::{ExperimentId, ExperimentSpec, ExperimentState, Lifecycle, Lsn, Result, Snapshot};

/// An experiment in a database that it was imported from.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Imported {
    /// Which database.
    #[serde(skip)]
    of: String,
    id: Option<i64>,
    created_ms: Option<i64>,
}

/// What imports noted about an experiment. Clients can set such tags too; malformed ones are ignored.
fn imported(tags: &[KeyValue]) -> Vec<Imported> {
    let notes = tags.iter().filter_map(|(key, value)| Some((key.strip_prefix(IMPORT_TAG)?, value)));
    let entries = notes.flat_map(|(of, value)| {
        let entries: Vec<Imported> = serde_json::from_str(value).unwrap_or_default();
        entries.into_iter().map(|entry| Imported { of: of.to_owned(), ..entry })
    });
    entries.collect()
}

/// Whether two experiments of one name may be the same. Those of different databases are different, except for the
/// first one, which every database and store has. Two stores may have given one database two names, so these names
/// prove nothing here.
fn may_be_one(theirs: &[Imported], ours: &[Imported], id: ExperimentId) -> bool {
    let alike = |a: &Imported, b: &Imported| {
        a.id == b.id && (a.created_ms == b.created_ms || a.created_ms.is_none() || b.created_ms.is_none())
    };
    id.0 == 0
        || theirs.is_empty()
        || ours.is_empty()
        || theirs.iter().any(|theirs| ours.iter().any(|ours| alike(theirs, ours)))
}

/// The experiments of a source.
#[derive(Debug, Clone)]
pub(super) struct Experiments {
    source: StoreId,
    copied: Vec<(StoreId, Lsn)>,
    /// This store's ids for them.
    here: FxHashMap<ExperimentId, ExperimentId>,
    /// By the ids of any store.
    known: FxHashMap<(StoreId, ExperimentId), ExperimentId>,
    /// The ids that other stores use for the source's experiments, according to the source.
    also: FxHashMap<ExperimentId, Vec<(StoreId, ExperimentId)>>,
    /// Those of which not all may be noted.
    found: BTreeSet<ExperimentId>,
}

impl Experiments {
    pub(super) fn new(snapshot: &Snapshot, own: StoreId, source: StoreId, copied: &[(StoreId, Lsn)]) -> Result<Self> {
        let (mut here, mut known) = (FxHashMap::default(), FxHashMap::default());
        for (id, state) in snapshot.experiments_ever()? {
            known.insert((own, id), id);
            for (store, _) in copied.iter().filter(|(_, to)| state.created <= *to) {
                known.insert((*store, id), id);
            }
            for (key, ids) in &state.tags {
                let Some(store) = key.strip_prefix(SOURCE_TAG).and_then(|id| id.parse::<StoreId>().ok()) else {
                    continue;
                };
                // Users can set this tag too: what is no id in it names no experiment.
                for theirs in ids.split(',').filter_map(|id| id.parse().ok()).map(ExperimentId) {
                    known.insert((store, theirs), id);
                    if store == source {
                        here.insert(theirs, id);
                    }
                }
            }
        }
        Ok(Self { source, copied: copied.to_vec(), here, known, also: FxHashMap::default(), found: BTreeSet::new() })
    }

    /// The source's experiments and what they are here.
    pub(super) fn all(&self) -> impl Iterator<Item = (ExperimentId, ExperimentId)> {
        let copied = self.known.iter().filter(|((store, _), _)| *store == self.source && self.is_copy());
        let copied = copied.map(|((_, theirs), ours)| (*theirs, *ours));
        let mut all: Vec<_> = self.here.iter().map(|(theirs, ours)| (*theirs, *ours)).chain(copied).collect();
        all.sort_unstable();
        all.dedup();
        all.into_iter()
    }

    fn is_copy(&self) -> bool {
        self.copied.iter().any(|(store, _)| *store == self.source)
    }

    /// This store's id for an experiment of the source.
    pub(super) fn ours(&self, theirs: ExperimentId) -> Option<ExperimentId> {
        self.here.get(&theirs).or_else(|| self.known.get(&(self.source, theirs))).copied()
    }

    /// Learns which ids others use for the experiments of a chunk.
    pub(super) fn learn(&mut self, experiments: &[SyncExperiment]) {
        for SyncExperiment { id, also } in experiments {
            let theirs = ExperimentId(*id);
            let also: Vec<_> = also.iter().map(|(store, id)| (StoreId(*store), ExperimentId(*id))).collect();
            let known = also.iter().find_map(|name| self.known.get(name).copied());
            self.also.insert(theirs, also);
            if let Some(ours) = self.ours(theirs).or(known) {
                self.here.insert(theirs, ours);
                self.found.insert(theirs);
            }
        }
    }

    /// The notes to write about what was matched.
    pub(super) fn notes(&mut self, snapshot: &Snapshot) -> Result<Vec<ExperimentTagsSet>> {
        let mut notes = Vec::new();
        for theirs in std::mem::take(&mut self.found) {
            let Some(ours) = self.ours(theirs) else { continue };
            let Some(state) = snapshot.experiment(ours)? else { continue };
            let tags = self.note(&state.tags, theirs, ours);
            if !tags.is_empty() {
                notes.push(ExperimentTagsSet { experiment: ours, tags });
            }
        }
        Ok(notes)
    }

    /// The missing tags that note which ids the source, and the stores that it knows, use for an experiment.
    fn note(&mut self, tags: &[KeyValue], theirs: ExperimentId, ours: ExperimentId) -> Vec<KeyValue> {
        let mut names = self.also.get(&theirs).cloned().unwrap_or_default();
        names.push((self.source, theirs));
        names.sort_unstable();
        names.dedup();
        let mut new: Vec<KeyValue> = Vec::new();
        for (store, id) in names {
            if self.known.contains_key(&(store, id)) {
                continue;
            }
            self.known.insert((store, id), ours);
            let tag = source_tag(store);
            match new.iter_mut().find(|(key, _)| *key == tag) {
                Some((_, ids)) => *ids = format!("{ids},{id}"),
                None => {
                    let others = tags.iter().find(|(key, ids)| *key == tag && !ids.is_empty());
                    new.push((tag, others.map_or(id.to_string(), |(_, ids)| format!("{ids},{id}"))));
                }
            }
        }
        new
    }

    /// The experiment that an import brought from the same origin, else one of the same name.
    fn alike(snapshot: &Snapshot, name: &str, of: &[Imported]) -> Result<Option<(ExperimentId, Arc<ExperimentState>)>> {
        if !of.is_empty() {
            let is_it = |state: &ExperimentState| imported(&state.tags).iter().any(|entry| of.contains(entry));
            let mut all = snapshot.experiments()?.into_iter();
            let found = all.find(|(_, state)| state.lifecycle == Lifecycle::Active && is_it(state));
            if found.is_some() {
                return Ok(found);
            }
        }
        snapshot.experiment_by_name(name)
    }

    /// A free name for an experiment whose name is taken.
    fn other_name(&self, snapshot: &Snapshot, name: &str) -> Result<String> {
        let store = self.source.to_string();
        let mut other = format!("{name} ({})", &store[..8]);
        let mut number = 2;
        while snapshot.experiment_by_name(&other)?.is_some() {
            other = format!("{name} ({}, {number})", &store[..8]);
            number += 1;
        }
        Ok(other)
    }

    /// Finds or creates this store's experiment for one of the source. Returns the event that creates it, if it is new;
    /// notes go to `out`.
    pub(super) fn created(
        &mut self,
        snapshot: &Snapshot,
        mut created: ExperimentCreated,
        out: &mut Decided,
        at: u64,
    ) -> Result<(ExperimentId, Option<ExperimentCreated>)> {
        let theirs = created.experiment;
        if let Some(ours) = self.ours(theirs) {
            return Ok((ours, None));
        }
        let of = imported(&created.tags);
        if let Some((ours, state)) = Self::alike(snapshot, &created.name, &of)? {
            let is_it = state.name != created.name || may_be_one(&of, &imported(&state.tags), theirs);
            if state.lifecycle == Lifecycle::Active && is_it {
                let tags = self.note(&state.tags, theirs, ours);
                out.looked_at.insert(EntityKey::Experiment(ours));
                if !tags.is_empty() {
                    let event = ExperimentTagsSet { experiment: ours, tags }.into();
                    out.events.push(Taken { event, stamp: 0, replaced: None });
                }
                self.here.insert(theirs, ours);
                return Ok((ours, None));
            }
            let name = self.other_name(snapshot, &created.name)?;
            let why = if is_it { "is deleted here" } else { "came from another database here" };
            out.report.problem(at, format!("experiment `{}` {why}: theirs is now `{name}`", created.name));
            created.name = name;
        }
        let taken: FxHashSet<_> = out
            .created
            .iter()
            .filter_map(|key| if let EntityKey::Experiment(id) = key { Some(*id) } else { None })
            .collect();
        let mut ours = theirs;
        if snapshot.experiment(ours)?.is_some() || taken.contains(&ours) {
            ours = ExperimentSpec::next_id(snapshot)?;
            while taken.contains(&ours) {
                ours.0 += 1;
            }
        }
        created.experiment = ours;
        let notes = self.note(&[], theirs, ours);
        created.tags.extend(notes);
        self.here.insert(theirs, ours);
        Ok((ours, Some(created)))
    }
}
