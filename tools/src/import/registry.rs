//! Registered models: each with its versions, stages, aliases and tags in one batch.
//!
//! - A model is found by its origin (see [`super::origin`]), never by its name alone: two databases may each have a
//!   `fraud`. The second one gets another name, so that an alias never names a version of the other.
//! - A version is found by its number, creation time and run. If the store has created a version of that number since,
//!   the source's version gets the next number, and that is reported.
//! - A row with stage `Deleted_Internal` is a deleted version whose number stays used: it is created and deleted again.

use std::collections::BTreeMap;
use std::sync::Arc;

use runlode::engine::event::{
    AliasDeleted, AliasSet, KeyValue, ModelVersionCreated, ModelVersionDeleted, ModelVersionStageChanged,
    ModelVersionTagDeleted, ModelVersionTagsSet, ModelVersionUpdated, RegisteredModelCreated, RegisteredModelRenamed,
    RegisteredModelTagDeleted, RegisteredModelTagsSet, RegisteredModelUpdated,
};
use runlode::{
    EntityKey, Event, ExperimentId, ModelVersionState, RawView, RegisteredModelId, RegisteredModelState, Stage,
    VersionStatus,
};
use rusqlite::Row;

use super::ImportOptions;
use super::artifacts::Places;
use super::base::{Lazy, alias_field, only_imported, stage_text};
use super::decode::{self, integer, text, text_or_empty};
use super::experiments::Experiments;
use super::key::Key;
use super::origin::{Entry, Origin, VersionFacts};
use super::report::Report;
use super::sink::{Put, Sink};
use super::source::{Source, read_failed};
use crate::error::Result;

/// Highest number up to which versions that the store deleted are looked up one by one.
const DELETED_LOOKED_FOR_MAX: u32 = 100_000;

/// A version as the source has it.
struct Version {
    event: ModelVersionCreated,
    facts: VersionFacts,
    deleted: bool,
}

/// Lists by the name of the model.
type ByName<T> = BTreeMap<String, Vec<T>>;

pub(super) fn import(
    source: &Source,
    origin: &Origin,
    experiments: &Experiments,
    places: &Places,
    options: &ImportOptions,
    sink: &mut Sink<'_>,
    report: &mut Report,
) -> Result<()> {
    if !source.has("registered_models") {
        return Ok(());
    }
    let mut tags = model_tags(source, options)?;
    let mut aliases = aliases(source, options, report)?;
    let mut versions = versions(source, experiments, places, options, report)?;
    let columns = source.list("registered_models", &["name", "creation_time", "last_updated_time", "description"]);
    let here = source.in_workspace("registered_models");
    let mut statement =
        source.prepare(&format!("SELECT {columns} FROM registered_models WHERE {here} ORDER BY name"))?;
    let mut rows = statement.query([&options.workspace]).map_err(|error| read_failed(&error))?;
    while let Some(row) = rows.next().map_err(|error| read_failed(&error))? {
        let name = text_or_empty(row, 0)?;
        let created_ms = integer(row, 1)?;
        let source_model = SourceModel {
            creation_time_ms: created_ms.unwrap_or(0),
            last_updated_time_ms: integer(row, 2)?.or(created_ms).unwrap_or(0),
            description: text(row, 3)?,
            tags: tags.remove(&name).unwrap_or_default(),
            aliases: aliases.remove(&name).unwrap_or_default(),
            versions: versions.remove(&name).unwrap_or_default(),
            entry: Entry { id: None, created_ms, name },
        };
        source_model.put(origin, sink, report)?;
    }
    Ok(())
}

struct SourceModel {
    entry: Entry,
    creation_time_ms: i64,
    last_updated_time_ms: i64,
    description: Option<String>,
    tags: Vec<KeyValue>,
    aliases: Vec<(String, u32)>,
    versions: Vec<Version>,
}

/// Where a version of the source goes.
enum Place {
    /// It exists.
    Here(u32, Arc<ModelVersionState>),
    /// It is new, with this number.
    New(u32),
    /// It is deleted in the store.
    Deleted(u32),
    /// It does not exist, and is deleted in the source.
    Nowhere,
}

impl Place {
    /// The version's number, if it can have an alias.
    fn number(&self) -> Option<u32> {
        match self {
            Self::Here(number, _) | Self::New(number) => Some(*number),
            Self::Deleted(_) | Self::Nowhere => None,
        }
    }
}

impl SourceModel {
    fn key(&self, origin: &Origin) -> Key {
        let mut key = Key::new("registered-model").text(origin.source()).text(&self.entry.name);
        key.add_number(self.creation_time_ms);
        key.add_number(self.last_updated_time_ms);
        key.add_optional(self.description.as_deref());
        key.add_pairs(&self.tags);
        for (alias, version) in &self.aliases {
            key.add_text(alias);
            key.add_number(i64::from(*version));
        }
        for Version { event, deleted, .. } in &self.versions {
            key.add_number(i64::from(event.version));
            key.add_number(i64::from(*deleted));
            key.add_number(event.last_updated_time_ms);
            key.add_text(event.stage.into());
            key.add_text(&event.source);
            key.add_optional(event.description.as_deref());
            key.add_pairs(&event.tags);
        }
        key
    }

    fn put(self, origin: &Origin, sink: &mut Sink<'_>, report: &mut Report) -> Result<()> {
        let key = self.key(origin);
        let alive = self.versions.iter().filter(|version| !version.deleted).count() as u64;
        let (deleted, aliases) = (self.versions.len() as u64 - alive, self.aliases.len() as u64);
        let snapshot = sink.store().view()?;
        let found = match origin.model(&snapshot, &self.entry)? {
            Some(model) => snapshot.registered_model_by_id(model)?.map(|state| (model, state)),
            None => None,
        };
        let put = match found {
            None => {
                let events = self.creation(origin, &snapshot, report)?;
                sink.put_events(&key, events, report)?
            }
            Some((_, state)) if state.deleted => {
                report.skip("registered models that were deleted in the store, and stay so", 1);
                report.problem(format!(
                    "registered model `{}` was deleted in the store and stays so; the database's `{}` is left out",
                    state.name, self.entry.name
                ));
                return Ok(());
            }
            Some((model, state)) => {
                let last = state.last;
                let events = self.changes(model, &state, origin, &snapshot, report)?;
                sink.put_changes(&key, last, events, report)?
            }
        };
        if put == Put::Refused {
            return Ok(());
        }
        let imported = &mut report.imported;
        imported.registered_models += 1;
        imported.model_versions += alive;
        imported.aliases += aliases;
        report.version_numbers_kept += deleted;
        Ok(())
    }

    fn creation(self, origin: &Origin, snapshot: &RawView, report: &mut Report) -> Result<Vec<Event>> {
        let model = origin.new_model_number(snapshot, &self.entry)?;
        let name = free_name(&self.entry.name, origin, snapshot)?;
        if name != self.entry.name {
            report.problem(format!(
                "registered model `{}` is now `{name}`: the store has another one of that name",
                self.entry.name
            ));
        }
        let description = self.description.clone();
        let mut tags = self.tags;
        tags.push(origin.new_tag(&self.entry));
        let mut events: Vec<Event> = vec![
            RegisteredModelCreated {
                model,
                name,
                description: self.description,
                creation_time_ms: self.creation_time_ms,
                last_updated_time_ms: self.last_updated_time_ms,
                tags,
            }
            .into(),
        ];
        for Version { event, deleted, .. } in self.versions {
            let (version, at_ms) = (event.version, event.last_updated_time_ms);
            events.push(ModelVersionCreated { model, ..event }.into());
            if deleted {
                events.push(ModelVersionDeleted { model, version, at_ms }.into());
            }
        }
        for (alias, version) in self.aliases {
            events.push(AliasSet { model, alias, version }.into());
        }
        // Events of versions change the model's time: set it again at the end.
        events.push(RegisteredModelUpdated { model, description, at_ms: self.last_updated_time_ms }.into());
        Ok(events)
    }

    /// The source's changes since: later versions, other stages, aliases, tags, descriptions, another name.
    fn changes(
        self,
        model: RegisteredModelId,
        state: &RegisteredModelState,
        origin: &Origin,
        snapshot: &RawView,
        report: &mut Report,
    ) -> Result<Vec<Event>> {
        let mut events: Vec<Event> = Vec::new();
        let places = place(&self.versions, model, state, snapshot)?;
        let at_ms = self.last_updated_time_ms;
        let mut history =
            Lazy::new(snapshot, EntityKey::RegisteredModel(model), format!("registered model `{}`", state.name));
        let entry = renamed(self.entry, model, at_ms, state, origin, snapshot, &mut history, &mut events, report)?;
        let (mut set, removed) = history.tags(self.tags, &state.tags, report)?;
        set.extend(origin.missing_tag(&state.tags, &entry));
        if !set.is_empty() {
            events.push(RegisteredModelTagsSet { model, tags: set }.into());
        }
        events.extend(removed.into_iter().map(|key| RegisteredModelTagDeleted { model, key }.into()));
        let theirs = self.description.as_deref().filter(|text| !text.is_empty());
        let ours = state.description.as_deref().filter(|text| !text.is_empty());
        if history.takes("description", theirs, ours, report)? {
            let description = self.description.clone();
            events.push(RegisteredModelUpdated { model, description, at_ms }.into());
        }
        let mut numbers: BTreeMap<u32, Option<u32>> = BTreeMap::new();
        for (Version { event, deleted, .. }, place) in self.versions.into_iter().zip(places) {
            let theirs = event.version;
            numbers.insert(theirs, place.number());
            match place {
                Place::Here(number, known) if deleted => {
                    if only_imported(snapshot, &EntityKey::ModelVersion(model, number))? {
                        numbers.insert(theirs, None);
                        let at_ms = event.last_updated_time_ms;
                        events.push(ModelVersionDeleted { model, version: number, at_ms }.into());
                    } else {
                        report.keep("versions that are deleted in the database, not in the store", 1);
                        report.note(format!(
                            "version {number} of `{}` ({}) is deleted in the database; it was changed in the store \
                             since, which keeps it",
                            state.name,
                            stage_text(known.stage)
                        ));
                    }
                }
                Place::Here(number, known) => {
                    changes_of_version(event, model, number, &known, state, snapshot, &mut events, report)?;
                }
                Place::New(number) => {
                    if number != theirs {
                        report.problem(format!(
                            "version {theirs} of `{}` in the database is version {number} of `{}`: the store has \
                             another version {theirs}",
                            entry.name, state.name
                        ));
                    }
                    let at_ms = event.last_updated_time_ms;
                    events.push(ModelVersionCreated { model, version: number, ..event }.into());
                    if deleted {
                        events.push(ModelVersionDeleted { model, version: number, at_ms }.into());
                    }
                }
                Place::Deleted(_) if deleted => {}
                Place::Deleted(number) => {
                    report.skip("model versions that were deleted in the store, and stay so", 1);
                    report.note(format!("version {number} of `{}` was deleted in the store and stays so", state.name));
                }
                Place::Nowhere => {}
            }
        }
        let mut theirs: BTreeMap<String, Option<u32>> = BTreeMap::new();
        for (alias, version) in self.aliases {
            theirs.insert(alias, numbers.get(&version).copied().flatten());
        }
        for (alias, version) in &state.aliases {
            let field = alias_field(alias);
            // An alias that is removed with its version needs no event of its own.
            let goes = !theirs.contains_key(alias) && numbers.values().any(|number| *number == Some(*version));
            if goes && history.takes(&field, None, Some(&version.to_string()), report)? {
                events.push(AliasDeleted { model, alias: alias.clone() }.into());
            }
        }
        for (alias, version) in theirs {
            let ours = state.aliases.iter().find(|(known, _)| *known == alias).map(|(_, version)| version.to_string());
            let Some(version) = version else {
                // Its version was deleted here; that is reported, and the alias goes with it.
                if ours.is_some() {
                    report.problem(format!(
                        "alias `{alias}` of `{}` stays as the store has it: the version that it names in the database \
                         is not in the store",
                        state.name
                    ));
                }
                continue;
            };
            if history.takes(&alias_field(&alias), Some(&version.to_string()), ours.as_deref(), report)? {
                events.push(AliasSet { model, alias, version }.into());
            }
        }
        Ok(events)
    }
}

/// Gives a model the name that it got in the source since, unless it was renamed in the store.
#[expect(clippy::too_many_arguments, reason = "a part of `changes` with a name of its own")]
fn renamed(
    mut entry: Entry,
    model: RegisteredModelId,
    at_ms: i64,
    state: &RegisteredModelState,
    origin: &Origin,
    snapshot: &RawView,
    history: &mut Lazy<'_>,
    events: &mut Vec<Event>,
    report: &mut Report,
) -> Result<Entry> {
    let Some(last) = origin.last_name(&state.tags, &entry) else { return Ok(entry) };
    if state.name == entry.name {
        return Ok(entry);
    }
    let given = history.base()?.get("name").map(str::to_owned);
    let ours = given.as_deref() != Some(state.name.as_str());
    if last == entry.name {
        if ours {
            report.keep("names that were given in the store", 1);
            report.note(format!("registered model `{last}` is `{}` in the store since, and stays so", state.name));
        }
    } else if ours {
        report.problem(format!(
            "registered model `{last}` is `{}` in the store and stays so; in the database it is `{}` since",
            state.name, entry.name
        ));
        entry.name = last;
    } else {
        let name = free_name(&entry.name, origin, snapshot)?;
        if name != entry.name {
            report.problem(format!(
                "registered model `{last}`, now `{}` in the database, is `{name}`: the store has another one of that name",
                entry.name
            ));
        }
        events.push(RegisteredModelRenamed { model, name, at_ms }.into());
    }
    Ok(entry)
}

/// The source's changes since to one version.
#[expect(clippy::too_many_arguments, reason = "a part of `changes` with a name of its own")]
fn changes_of_version(
    event: ModelVersionCreated,
    model: RegisteredModelId,
    version: u32,
    known: &ModelVersionState,
    of: &RegisteredModelState,
    snapshot: &RawView,
    events: &mut Vec<Event>,
    report: &mut Report,
) -> Result<()> {
    let at_ms = event.last_updated_time_ms;
    let name = format!("version {version} of `{}`", of.name);
    let mut history = Lazy::new(snapshot, EntityKey::ModelVersion(model, version), &name);
    if history.takes("stage", Some(stage_text(event.stage)), Some(stage_text(known.stage)), report)? {
        events.push(ModelVersionStageChanged { model, version, stage: event.stage, at_ms }.into());
    }
    let theirs = event.description.as_deref().filter(|text| !text.is_empty());
    let ours = known.description.as_deref().filter(|text| !text.is_empty());
    if history.takes("description", theirs, ours, report)? {
        let description = event.description.clone();
        events.push(ModelVersionUpdated { model, version, description, at_ms }.into());
    }
    if event.status != known.status {
        report.problem(format!("the status of {name} has changed in the database; the store keeps what was imported"));
    }
    let (tags, removed) = history.tags(event.tags, &known.tags, report)?;
    if !tags.is_empty() {
        events.push(ModelVersionTagsSet { model, version, tags }.into());
    }
    events.extend(removed.into_iter().map(|key| ModelVersionTagDeleted { model, version, key }.into()));
    Ok(())
}

/// Finds each version of the source in the store.
fn place(
    versions: &[Version],
    model: RegisteredModelId,
    state: &RegisteredModelState,
    snapshot: &RawView,
) -> Result<Vec<Place>> {
    // By number there; those that kept their number first.
    let mut kept: BTreeMap<u32, Arc<ModelVersionState>> = BTreeMap::new();
    for Version { event, facts, .. } in versions {
        if let Some(known) = snapshot.model_version(model, event.version)?
            && facts.is(&known)
        {
            kept.insert(event.version, known);
        }
    }
    let mut others: Option<BTreeMap<u32, Arc<ModelVersionState>>> = None;
    let (mut last, mut places) = (state.version_last, Vec::with_capacity(versions.len()));
    for Version { event, facts, deleted } in versions {
        let mut found = kept.get(&event.version).map(|known| (event.version, known.clone()));
        if found.is_none() && event.version <= state.version_last {
            if others.is_none() {
                others = Some(numbered_otherwise(&kept, model, state, snapshot)?);
            }
            let others = others.get_or_insert_default();
            let number = others.iter().find(|(_, known)| facts.is(known)).map(|(number, _)| *number);
            found = number.and_then(|number| others.remove_entry(&number));
        }
        places.push(match found {
            Some((number, known)) if known.deleted => Place::Deleted(number),
            Some((number, known)) => Place::Here(number, known),
            None if *deleted && event.version <= last => Place::Nowhere,
            None => {
                last = event.version.max(last + 1);
                Place::New(last)
            }
        });
    }
    Ok(places)
}

/// Versions of the store whose number means another version in the source.
fn numbered_otherwise(
    kept: &BTreeMap<u32, Arc<ModelVersionState>>,
    model: RegisteredModelId,
    state: &RegisteredModelState,
    snapshot: &RawView,
) -> Result<BTreeMap<u32, Arc<ModelVersionState>>> {
    let mut others = BTreeMap::new();
    let deleted = 1..=state.version_last.min(DELETED_LOOKED_FOR_MAX);
    let alive = state.versions.iter().copied().filter(|number| *number > DELETED_LOOKED_FOR_MAX);
    for number in deleted.chain(alive).filter(|number| !kept.contains_key(number)) {
        if let Some(known) = snapshot.model_version(model, number)? {
            others.insert(number, known);
        }
    }
    Ok(others)
}

/// The name itself, or one derived from it if another model has it.
fn free_name(name: &str, origin: &Origin, snapshot: &RawView) -> Result<String> {
    let is_free = |name: &str| Ok(snapshot.registered_model(name)?.is_none());
    if is_free(name)? { Ok(name.to_owned()) } else { origin.other_name(name, is_free) }
}

fn model_tags(source: &Source, options: &ImportOptions) -> Result<ByName<KeyValue>> {
    let mut tags = ByName::new();
    each(source, "registered_model_tags", &["name", "key", "value"], "name, key", options, |row| {
        let tag = (text_or_empty(row, 1)?, text_or_empty(row, 2)?);
        tags.entry(text_or_empty(row, 0)?).or_insert_with(Vec::new).push(tag);
        Ok(())
    })?;
    Ok(tags)
}

fn aliases(source: &Source, options: &ImportOptions, report: &mut Report) -> Result<ByName<(String, u32)>> {
    let mut aliases = ByName::new();
    each(source, "registered_model_aliases", &["name", "alias", "version"], "name, alias", options, |row| {
        let (name, alias) = (text_or_empty(row, 0)?, text_or_empty(row, 1)?);
        match integer(row, 2)?.and_then(|version| u32::try_from(version).ok()) {
            Some(version) => aliases.entry(name).or_insert_with(Vec::new).push((alias, version)),
            None => {
                report.note(format!("alias `{alias}` of `{name}` is of no version number"));
                report.skip("aliases without a proper version", 1);
            }
        }
        Ok(())
    })?;
    Ok(aliases)
}

fn versions(
    source: &Source,
    experiments: &Experiments,
    places: &Places,
    options: &ImportOptions,
    report: &mut Report,
) -> Result<ByName<Version>> {
    let mut tags: BTreeMap<(String, i64), Vec<KeyValue>> = BTreeMap::new();
    let columns = ["name", "version", "key", "value"];
    each(source, "model_version_tags", &columns, "name, version, key", options, |row| {
        let version = (text_or_empty(row, 0)?, integer(row, 1)?.unwrap_or(0));
        tags.entry(version).or_default().push((text_or_empty(row, 2)?, text_or_empty(row, 3)?));
        Ok(())
    })?;
    let homes = homes(source, experiments, places)?;
    let mut versions = ByName::new();
    let columns = [
        "name",
        "version",
        "creation_time",
        "last_updated_time",
        "description",
        "user_id",
        "current_stage",
        "source",
        "run_id",
        "status",
        "status_message",
        "run_link",
        "storage_location",
    ];
    each(source, "model_versions", &columns, "name, version", options, |row| {
        let name = text_or_empty(row, 0)?;
        let number = integer(row, 1)?.unwrap_or(0);
        let Some(version) = u32::try_from(number).ok().filter(|version| *version > 0) else {
            report.note(format!("version {number} of `{name}` is no version number"));
            report.skip("model versions without a proper number", 1);
            return Ok(());
        };
        let stage_text = text_or_empty(row, 6)?;
        let deleted = stage_text == "Deleted_Internal";
        let stage = decode::stage(&stage_text).unwrap_or_else(|| {
            if !deleted && !stage_text.is_empty() {
                report.note(format!("version {number} of `{name}` has stage `{stage_text}`, which is none"));
            }
            Stage::None
        });
        let status_text = text_or_empty(row, 9)?;
        let status = decode::version_status(&status_text).unwrap_or_else(|| {
            if !status_text.is_empty() {
                report.note(format!("version {number} of `{name}` has status `{status_text}`, which is none: READY"));
            }
            VersionStatus::Ready
        });
        let origin = text_or_empty(row, 7)?;
        let creation_time_ms = integer(row, 2)?.unwrap_or(0);
        // The only link from a version to its logged model.
        let model_id = origin.strip_prefix("models:/").filter(|id| id.parse::<runlode::ModelId>().is_ok());
        let event = ModelVersionCreated {
            model: RegisteredModelId(0),
            version,
            storage_location: text(row, 12)?.map(|place| places.relocate(&place, &homes)),
            run_id: text(row, 8)?,
            run_link: text(row, 11)?,
            model_id: model_id.map(str::to_owned),
            source: places.relocate(&origin, &homes),
            user_id: text(row, 5)?,
            description: text(row, 4)?,
            stage,
            status,
            status_message: text(row, 10)?,
            creation_time_ms,
            last_updated_time_ms: integer(row, 3)?.unwrap_or(creation_time_ms),
            tags: tags.remove(&(name.clone(), number)).unwrap_or_default(),
        };
        let facts =
            VersionFacts { created_ms: creation_time_ms, run_id: event.run_id.clone(), deleted, source: origin };
        versions.entry(name).or_insert_with(Vec::new).push(Version { event, facts, deleted });
        Ok(())
    })?;
    Ok(versions)
}

/// Where the locations that versions name are in the store: those of their runs, and of all logged models.
fn homes(source: &Source, experiments: &Experiments, places: &Places) -> Result<BTreeMap<String, String>> {
    let mut homes = BTreeMap::new();
    let mut add = |sql: &str, home: &dyn Fn(ExperimentId, &str) -> String| -> Result<()> {
        let mut statement = source.prepare(sql)?;
        let mut rows = statement.query([]).map_err(|error| read_failed(&error))?;
        while let Some(row) = rows.next().map_err(|error| read_failed(&error))? {
            let place = text_or_empty(row, 2)?;
            let experiment = integer(row, 0)?.and_then(|number| experiments.get(&number));
            if let Some(mapped) = experiment.filter(|_| !place.is_empty() && places.is_here(&place)) {
                let home = home(mapped.id, &text_or_empty(row, 1)?);
                homes.insert(place.trim_end_matches('/').to_owned(), home);
            }
        }
        Ok(())
    };
    if source.has("model_versions") {
        add(
            "SELECT experiment_id, run_uuid, artifact_uri FROM runs \
             WHERE run_uuid IN (SELECT run_id FROM model_versions)",
            &|experiment, run| format!("artifacts/{experiment}/{}/artifacts", decode::run_id(run).0),
        )?;
    }
    if source.has("logged_models") {
        add("SELECT experiment_id, model_id, artifact_location FROM logged_models", &|experiment, model| {
            format!("artifacts/{experiment}/models/{}/artifacts", decode::model_id(model).0)
        })?;
    }
    Ok(homes)
}

/// Every row of a registry table, of this workspace.
fn each(
    source: &Source,
    table: &str,
    columns: &[&str],
    order: &str,
    options: &ImportOptions,
    mut each: impl FnMut(&Row<'_>) -> Result<()>,
) -> Result<()> {
    if !source.has(table) {
        return Ok(());
    }
    let (columns, here) = (source.list(table, columns), source.in_workspace(table));
    let mut statement = source.prepare(&format!("SELECT {columns} FROM {table} WHERE {here} ORDER BY {order}"))?;
    let mut rows = statement.query([&options.workspace]).map_err(|error| read_failed(&error))?;
    while let Some(row) = rows.next().map_err(|error| read_failed(&error))? {
        each(row)?;
    }
    Ok(())
}
