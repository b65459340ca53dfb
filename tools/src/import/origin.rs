//! Which database this is, and which entities of the store came from it.
//!
//! A database carries no id of its own. It is recognised by what never changes in it: the numbers and creation times of
//! its experiments, the creation times of its registered models, and the ids of its runs, which are random. Enough of
//! that survives a copy, a move, a rename, a migration and `mlflow gc`. The store keeps an [`Entry`] as JSON in the tag
//! `runlode.import.SOURCE` of each experiment and registered model: which one of the database SOURCE it is. Names,
//! numbers and paths alone never decide.
//!
//! - Runs in common decide. If the store has runs of a source and the database has none of them, it is another
//!   database, however similar both are.
//! - Otherwise creation times decide, unless both have versions of registered models and none of them is the same.
//! - Entities without such tags (from an older import, or from a sync with a store that imported the same database) are
//!   found by their runs, and tagged.

use std::collections::{BTreeMap, BTreeSet};

use runlode::{
    EntityKey, ExperimentId, ExperimentState, IMPORT_TAG, Lifecycle, ModelVersionState, RawView, RegisteredModelId,
    RunId,
};
use serde::{Deserialize, Serialize};

use super::ImportOptions;
use super::base::created_by_import;
use super::decode::{self, integer, text, text_or_empty};
use super::key::Key;
use super::source::{Source, read_failed};
use crate::error::Result;

/// Most runs of the store that are checked for being in the source.
const RUNS_LOOKED_AT_MAX: usize = 64;

/// What an experiment or registered model is in a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The experiment's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<i64>,
    /// When it was created, Unix ms; old databases do not record it.
    #[serde(default)]
    pub(super) created_ms: Option<i64>,
    /// Its name there, when it was last imported.
    pub(super) name: String,
}

/// A version's creation, in the terms of both sides.
#[derive(Debug, Clone)]
pub(super) struct VersionFacts {
    pub(super) created_ms: i64,
    pub(super) run_id: Option<String>,
    /// Its other facts are lost.
    pub(super) deleted: bool,
    pub(super) source: String,
}

impl VersionFacts {
    /// Whether a version of the store is this one.
    pub(super) fn is(&self, state: &ModelVersionState) -> bool {
        // Copied files have another location in the store, so only remote locations are compared.
        let remote = |text: &str| text.contains("://") && !text.starts_with("file:");
        let other_place = remote(&self.source) && remote(&state.source) && self.source != state.source;
        self.created_ms == state.creation_time_ms
            && (self.deleted || (self.run_id.as_deref() == state.run_id.as_deref() && !other_place))
    }
}

#[derive(Debug)]
struct Experiment {
    id: i64,
    created_ms: Option<i64>,
    location: String,
}

#[derive(Debug)]
struct Model {
    name: String,
    created_ms: Option<i64>,
}

/// What never changes in a database.
#[derive(Debug, Default)]
struct Facts {
    experiments: Vec<Experiment>,
    models: Vec<Model>,
    versions: BTreeMap<(String, u32), VersionFacts>,
    /// Runs: start, id, experiment.
    runs: Vec<(i64, RunId, i64)>,
}

impl Facts {
    fn read(source: &Source, options: &ImportOptions) -> Result<Self> {
        let mut facts = Self::default();
        let columns = source.list("experiments", &["experiment_id", "creation_time", "artifact_location"]);
        let here = source.in_workspace("experiments");
        let sql = format!("SELECT {columns} FROM experiments WHERE {here} ORDER BY experiment_id");
        let mut statement = source.prepare(&sql)?;
        let mut rows = statement.query([&options.workspace]).map_err(|error| read_failed(&error))?;
        while let Some(row) = rows.next().map_err(|error| read_failed(&error))? {
            if let Some(id) = integer(row, 0)? {
                let (created_ms, location) = (integer(row, 1)?, text_or_empty(row, 2)?);
                facts.experiments.push(Experiment { id, created_ms, location });
            }
        }
        if source.has("registered_models") {
            let (columns, here) = (
                source.list("registered_models", &["name", "creation_time"]),
                source.in_workspace("registered_models"),
            );
            let sql = format!("SELECT {columns} FROM registered_models WHERE {here} ORDER BY name");
            let mut statement = source.prepare(&sql)?;
            let mut rows = statement.query([&options.workspace]).map_err(|error| read_failed(&error))?;
            while let Some(row) = rows.next().map_err(|error| read_failed(&error))? {
                facts.models.push(Model { name: text_or_empty(row, 0)?, created_ms: integer(row, 1)? });
            }
        }
        if source.has("model_versions") {
            let columns = source
                .list("model_versions", &["name", "version", "creation_time", "run_id", "current_stage", "source"]);
            let here = source.in_workspace("model_versions");
            let mut statement = source.prepare(&format!("SELECT {columns} FROM model_versions WHERE {here}"))?;
            let mut rows = statement.query([&options.workspace]).map_err(|error| read_failed(&error))?;
            while let Some(row) = rows.next().map_err(|error| read_failed(&error))? {
                let Some(version) = integer(row, 1)?.and_then(|version| u32::try_from(version).ok()) else { continue };
                let version_facts = VersionFacts {
                    created_ms: integer(row, 2)?.unwrap_or(0),
                    run_id: text(row, 3)?,
                    deleted: text(row, 4)?.as_deref() == Some("Deleted_Internal"),
                    source: text_or_empty(row, 5)?,
                };
                facts.versions.insert((text_or_empty(row, 0)?, version), version_facts);
            }
        }
        let experiments: BTreeSet<i64> = facts.experiments.iter().map(|experiment| experiment.id).collect();
        let columns = source.list("runs", &["run_uuid", "experiment_id", "start_time"]);
        let mut statement = source.prepare(&format!("SELECT {columns} FROM runs"))?;
        let mut rows = statement.query([]).map_err(|error| read_failed(&error))?;
        while let Some(row) = rows.next().map_err(|error| read_failed(&error))? {
            let Some(experiment) = integer(row, 1)? else { continue };
            if experiments.contains(&experiment) {
                let id = decode::run_id(&text_or_empty(row, 0)?).0;
                facts.runs.push((integer(row, 2)?.unwrap_or(0), id, experiment));
            }
        }
        facts.runs.sort_unstable_by_key(|(start, id, _)| (*start, id.0));
        Ok(facts)
    }

    fn birth_ms(&self) -> Option<i64> {
        self.experiments.iter().find(|experiment| experiment.id == 0).and_then(|experiment| experiment.created_ms)
    }

    /// An id for a database that the store does not know. It is derived from the database's oldest entities, so that
    /// every store that meets the database in its present state gives the same id.
    fn source(&self) -> String {
        let mut key = Key::new("source").number(self.birth_ms().unwrap_or(-1));
        if let Some(first) = self.experiments.iter().find(|experiment| experiment.id != 0) {
            key = key.number(first.id).number(first.created_ms.unwrap_or(-1));
        }
        if let Some((_, run, _)) = self.runs.first() {
            key = key.text(&run.to_string());
        }
        if let Some(first) = self.models.iter().min_by_key(|model| (model.created_ms, &model.name)) {
            key = key.number(first.created_ms.unwrap_or(-1));
            if let Some(version) = self.versions.get(&(first.name.clone(), 1)) {
                key = key.number(version.created_ms).text(&version.source);
            }
        }
        hex(&key)
    }
}

fn hex(key: &Key) -> String {
    key.bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the store has of one source.
#[derive(Debug, Default)]
struct Known {
    experiments: Vec<(ExperimentId, Entry)>,
    models: Vec<(RegisteredModelId, Entry)>,
}

impl Known {
    /// Whether creation times show that it is this database.
    fn speaks_for(&self, facts: &Facts, snapshot: &RawView) -> Result<bool> {
        let (mut own, mut matched, mut defaults) = (0, 0, 0);
        for (id, entry) in &self.experiments {
            let there = facts.experiments.iter().find(|experiment| Some(experiment.id) == entry.id);
            let same = there.is_some_and(|there| there.created_ms.is_some() && there.created_ms == entry.created_ms);
            if entry.id == Some(0) {
                if there.is_some_and(|there| there.created_ms.is_some()) && entry.created_ms.is_some() && !same {
                    return Ok(false);
                }
                defaults += u32::from(same);
                continue;
            }
            own += 1;
            let kept = snapshot.experiment(*id)?.and_then(|state| state.artifact_location.clone());
            let moved = matches!((&kept, there), (Some(kept), Some(there)) if *kept != there.location);
            matched += u32::from(same && !moved);
        }
        let (mut versions, mut versions_same) = (0, 0);
        for (id, entry) in &self.models {
            own += 1;
            let same = |model: &&Model| model.created_ms.is_some() && model.created_ms == entry.created_ms;
            let Some(model) = facts.models.iter().find(same) else { continue };
            matched += 1;
            let of_model = (model.name.clone(), 0)..=(model.name.clone(), u32::MAX);
            for ((_, version), facts) in facts.versions.range(of_model) {
                if let Some(state) = snapshot.model_version(*id, *version)? {
                    versions += 1;
                    versions_same += u32::from(facts.is(&state));
                }
            }
        }
        if versions > 0 && versions_same == 0 {
            return Ok(false);
        }
        // Databases made from one empty template have only `Default` in common.
        let has_own = facts.experiments.iter().any(|experiment| experiment.id != 0) || !facts.models.is_empty();
        Ok(matched > 0 || (defaults > 0 && (own == 0 || !has_own)))
    }

    /// Whether the store has runs that came from it.
    fn has_runs(&self, snapshot: &RawView) -> Result<bool> {
        for (experiment, _) in &self.experiments {
            for run in snapshot.runs_of(*experiment)?.into_iter().take(RUNS_LOOKED_AT_MAX) {
                if created_by_import(snapshot, &EntityKey::Run(run))? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// The database's entities in the store.
#[derive(Debug)]
pub(super) struct Origin {
    /// Names the database: 32 hex digits.
    source: String,
    birth_ms: Option<i64>,
    known: Known,
    models: Vec<Model>,
    /// By number in the database: the store's experiments that hold its runs, those with most runs first.
    runs_at: BTreeMap<i64, Vec<ExperimentId>>,
}

impl Origin {
    /// Looks the database up in the store.
    pub(super) fn find(source: &Source, options: &ImportOptions, snapshot: &RawView) -> Result<Self> {
        let facts = Facts::read(source, options)?;
        let mut all: BTreeMap<String, Known> = BTreeMap::new();
        for (id, state) in snapshot.experiments()? {
            for (of, entry) in entries(&state.tags) {
                all.entry(of).or_default().experiments.push((id, entry));
            }
        }
        for (id, state) in snapshot.registered_models()? {
            for (of, entry) in entries(&state.tags) {
                all.entry(of).or_default().models.push((id, entry));
            }
        }
        let mut at: BTreeMap<i64, BTreeMap<ExperimentId, u64>> = BTreeMap::new();
        for (start_ms, run, number) in &facts.runs {
            let state = snapshot.run(*run)?;
            if let Some(state) = state.filter(|state| is_same_run(*start_ms, state)) {
                *at.entry(*number).or_default().entry(state.experiment).or_default() += 1;
            }
        }
        let has = |known: &Known, id: &ExperimentId| known.experiments.iter().any(|(experiment, _)| experiment == id);
        // In an experiment that several databases share, such as `Default`, runs do not show whose they are.
        let is_shared = |id: &ExperimentId| all.values().filter(|known| has(known, id)).count() > 1;
        let common = |known: &Known| -> (u64, u64) {
            let runs = || at.values().flatten().filter(|(id, _)| has(known, id));
            let own = runs().filter(|(id, _)| !is_shared(id));
            (own.map(|(_, count)| count).sum(), runs().map(|(_, count)| count).sum())
        };
        let mut best: Option<((u64, bool, u64), &String)> = None;
        for (name, known) in &all {
            let (own, runs) = common(known);
            let refuted = runs == 0 && !facts.runs.is_empty() && known.has_runs(snapshot)?;
            let speaks = (own == 0 && !refuted) && known.speaks_for(&facts, snapshot)?;
            if runs == 0 && !speaks {
                continue;
            }
            let weight = (own, speaks, runs);
            if best.is_none_or(|(most, _)| weight > most) {
                best = Some((weight, name));
            }
        }
        let source = match best {
            Some((_, name)) => name.clone(),
            None => {
                let mut name = facts.source();
                while all.contains_key(&name) {
                    name = hex(&Key::new("source").text(&name));
                }
                name
            }
        };
        let runs_at = at.into_iter().map(|(number, counts)| {
            let mut counts: Vec<_> = counts.into_iter().collect();
            counts.sort_unstable_by_key(|(_, count)| std::cmp::Reverse(*count));
            (number, counts.into_iter().map(|(id, _)| id).collect())
        });
        let runs_at = runs_at.collect();
        let (birth_ms, known) = (facts.birth_ms(), all.remove(&source).unwrap_or_default());
        Ok(Self { source, birth_ms, known, models: facts.models, runs_at })
    }

    /// Names the database.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// The tag that records what an entity is in the database.
    pub(super) fn tag(&self) -> String {
        format!("{IMPORT_TAG}{}", self.source)
    }

    /// Another name for an entity whose name is taken.
    pub(super) fn other_name(&self, name: &str, is_free: impl Fn(&str) -> Result<bool>) -> Result<String> {
        let short = self.source.get(..8).unwrap_or(&self.source);
        let mut other = format!("{name} ({short})");
        let mut number = 2;
        while !is_free(&other)? {
            other = format!("{name} ({short}, {number})");
            number += 1;
        }
        Ok(other)
    }

    /// The store's experiment for an experiment of the database.
    pub(super) fn experiment(&self, snapshot: &RawView, row: &Entry) -> Result<Option<ExperimentId>> {
        let here = self.row(row).map(Vec::as_slice).unwrap_or_default();
        let is_it = |(id, entry): &&(ExperimentId, Entry)| {
            let alike = entry.id == row.id && entry.created_ms == row.created_ms;
            alike && (row.created_ms.is_some() || entry.name == row.name || here.contains(id))
        };
        if let Some((id, _)) = self.known.experiments.iter().find(is_it) {
            return Ok(Some(*id));
        }
        if let Some(id) = here.first() {
            return Ok(Some(*id));
        }
        // An older import without such tags left it, without runs.
        let named = snapshot.experiment_by_name(&row.name)?.filter(|(_, state)| {
            row.created_ms == Some(state.creation_time_ms) && entries(&state.tags).next().is_none()
        });
        match named {
            Some((id, _)) if created_by_import(snapshot, &EntityKey::Experiment(id))? => Ok(Some(id)),
            _ => Ok(None),
        }
    }

    fn row(&self, row: &Entry) -> Option<&Vec<ExperimentId>> {
        self.runs_at.get(&row.id?)
    }

    /// The store's model for a registered model of the database, deleted ones included.
    pub(super) fn model(&self, snapshot: &RawView, row: &Entry) -> Result<Option<RegisteredModelId>> {
        let same = |entry: &Entry| {
            // Models with the same creation time are told apart by their names, if these are still there.
            let alone = self.models.iter().filter(|model| model.created_ms == row.created_ms).count() == 1;
            let renamed = alone || !self.models.iter().any(|model| model.name == entry.name);
            entry.created_ms == row.created_ms && (entry.name == row.name || (row.created_ms.is_some() && renamed))
        };
        let mut known: Vec<_> = self.known.models.iter().filter(|(_, entry)| same(entry)).collect();
        known.sort_by_key(|(_, entry)| entry.name != row.name);
        if let Some((id, _)) = known.first() {
            return Ok(Some(*id));
        }
        // Deleted models, and those without tags, are found by their numbers only.
        let older = Key::new("registered-model-id").text(&row.name).number(row.created_ms.unwrap_or(0)).fold();
        for id in self.model_numbers(row).into_iter().chain([RegisteredModelId(older)]) {
            let Some(state) = snapshot.registered_model_by_id(id)? else { continue };
            let mut of = entries(&state.tags).peekable();
            if of.peek().is_none() || of.any(|(of, entry)| of == self.source && same(&entry)) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// Numbers for a new registered model. The first depends on nothing that may change, so that two stores that import
    /// one database give the same number; the second is for databases with the same creation times.
    fn model_numbers(&self, row: &Entry) -> [RegisteredModelId; 2] {
        let created_ms = row.created_ms.unwrap_or(0);
        let first = Key::new("registered-model").number(self.birth_ms.unwrap_or(-1)).number(created_ms);
        let first = if row.created_ms.is_some() { first } else { first.text(&row.name) };
        let second = Key::new("registered-model").text(&self.source).number(created_ms).text(&row.name);
        [RegisteredModelId(first.fold()), RegisteredModelId(second.fold())]
    }

    /// A free number for a new registered model.
    pub(super) fn new_model_number(&self, snapshot: &RawView, row: &Entry) -> Result<RegisteredModelId> {
        let mut number = self.model_numbers(row)[0];
        if snapshot.registered_model_by_id(number)?.is_some() {
            number = self.model_numbers(row)[1];
        }
        while snapshot.registered_model_by_id(number)?.is_some() {
            number = RegisteredModelId(Key::new("registered-model").number(number.0.cast_signed()).fold());
        }
        Ok(number)
    }

    /// The origin tag that an entity still lacks. `tags` are those it has.
    pub(super) fn missing_tag(&self, tags: &[(String, String)], row: &Entry) -> Option<(String, String)> {
        let mut entries: Vec<Entry> =
            entries(tags).filter(|(of, _)| *of == self.source).map(|(_, entry)| entry).collect();
        match entries.iter_mut().find(|entry| entry.id == row.id && entry.created_ms == row.created_ms) {
            Some(entry) if entry.name == row.name => return None,
            // Registered models have a single entry.
            Some(entry) => entry.name.clone_from(&row.name),
            None => entries.push(row.clone()),
        }
        Some((self.tag(), text_of(&entries)))
    }

    /// The tag of a new entity.
    pub(super) fn new_tag(&self, row: &Entry) -> (String, String) {
        (self.tag(), text_of(std::slice::from_ref(row)))
    }

    /// The name that an entity had in the database when it was last imported.
    pub(super) fn last_name(&self, tags: &[(String, String)], row: &Entry) -> Option<String> {
        let same = |entry: &Entry| entry.id == row.id && entry.created_ms == row.created_ms;
        entries(tags).find(|(of, entry)| *of == self.source && same(entry)).map(|(_, entry)| entry.name)
    }

    /// Whether other databases share an experiment.
    pub(super) fn is_shared(&self, state: &ExperimentState) -> bool {
        entries(&state.tags).any(|(of, _)| of != self.source)
    }
}

/// Whether a run of the store is the database's. Ids are random, but a client can choose any.
pub(super) fn is_same_run(start_ms: i64, state: &runlode::RunState) -> bool {
    state.lifecycle != Lifecycle::Purged && state.start_time_ms == start_ms
}

/// What imports noted in tags: source and entry. Clients can set such tags too; malformed ones are ignored.
fn entries(tags: &[(String, String)]) -> impl Iterator<Item = (String, Entry)> {
    tags.iter().filter_map(|(key, value)| Some((key.strip_prefix(IMPORT_TAG)?, value))).flat_map(|(of, value)| {
        let entries: Vec<Entry> = serde_json::from_str(value).unwrap_or_default();
        entries.into_iter().map(|entry| (of.to_owned(), entry))
    })
}

fn text_of(entries: &[Entry]) -> String {
    serde_json::to_string(entries).unwrap_or_default()
}
