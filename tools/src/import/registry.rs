//! Registered models: each with its versions, stages, aliases and tags in one batch.
//!
//! A row of stage `Deleted_Internal` is a deleted version whose number stays used: it is created and deleted again.

use std::collections::BTreeMap;

use runlode::engine::event::{
    AliasSet, KeyValue, ModelVersionCreated, ModelVersionDeleted, ModelVersionStageChanged, ModelVersionTagsSet,
    RegisteredModelCreated, RegisteredModelTagsSet, RegisteredModelUpdated,
};
use runlode::{EntityKey, Event, ExperimentId, RegisteredModelId, Stage, VersionStatus};
use rusqlite::Row;

use super::ImportOptions;
use super::artifacts::Places;
use super::decode::{self, integer, text, text_or_empty};
use super::experiments::Experiments;
use super::key::Key;
use super::report::Report;
use super::sink::{Put, Sink};
use super::source::{Source, read_failed};
use crate::error::Result;

/// A version as the source has it.
struct Version {
    event: ModelVersionCreated,
    deleted: bool,
}

/// Lists by the name of the model.
type ByName<T> = BTreeMap<String, Vec<T>>;

pub(super) fn import(
    source: &Source,
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
        let creation_time_ms = integer(row, 1)?.unwrap_or(0);
        let source_model = SourceModel {
            creation_time_ms,
            last_updated_time_ms: integer(row, 2)?.unwrap_or(creation_time_ms),
            description: text(row, 3)?,
            tags: tags.remove(&name).unwrap_or_default(),
            aliases: aliases.remove(&name).unwrap_or_default(),
            versions: versions.remove(&name).unwrap_or_default(),
            name,
        };
        source_model.put(sink, report)?;
    }
    Ok(())
}

struct SourceModel {
    name: String,
    creation_time_ms: i64,
    last_updated_time_ms: i64,
    description: Option<String>,
    tags: Vec<KeyValue>,
    aliases: Vec<(String, u32)>,
    versions: Vec<Version>,
}

impl SourceModel {
    fn key(&self) -> Key {
        let mut key = Key::new("registered-model").text(&self.name).number(self.creation_time_ms);
        key.add_number(self.last_updated_time_ms);
        key.add_optional(self.description.as_deref());
        key.add_pairs(&self.tags);
        for (alias, version) in &self.aliases {
            key.add_text(alias);
            key.add_number(i64::from(*version));
        }
        for Version { event, deleted } in &self.versions {
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

    fn put(self, sink: &mut Sink<'_>, report: &mut Report) -> Result<()> {
        let key = self.key();
        let alive = self.versions.iter().filter(|version| !version.deleted).count() as u64;
        let (deleted, aliases) = (self.versions.len() as u64 - alive, self.aliases.len() as u64);
        let snapshot = sink.store().snapshot()?;
        let put = match snapshot.registered_model(&self.name)? {
            None => {
                // The same number in every import, so that a repeated batch is the same batch.
                let number = Key::new("registered-model-id").text(&self.name).number(self.creation_time_ms).fold();
                sink.put_events(&key, self.creation(RegisteredModelId(number)), report)?
            }
            Some((model, state)) => {
                let mut present = BTreeMap::new();
                for version in &state.versions {
                    if let Some(state) = snapshot.model_version(model, *version)? {
                        present.insert(*version, (state.stage, state.tags.clone()));
                    }
                }
                let events = self.changes(model, &state, &present);
                sink.put_changes(&key, &EntityKey::RegisteredModel(model), events, report)?
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

    fn creation(self, model: RegisteredModelId) -> Vec<Event> {
        let description = self.description.clone();
        let mut events: Vec<Event> = vec![
            RegisteredModelCreated {
                model,
                name: self.name,
                description: self.description,
                creation_time_ms: self.creation_time_ms,
                last_updated_time_ms: self.last_updated_time_ms,
                tags: self.tags,
            }
            .into(),
        ];
        for Version { event, deleted } in self.versions {
            let (version, at_ms) = (event.version, event.last_updated_time_ms);
            events.push(ModelVersionCreated { model, ..event }.into());
            if deleted {
                events.push(ModelVersionDeleted { model, version, at_ms }.into());
            }
        }
        for (alias, version) in self.aliases {
            events.push(AliasSet { model, alias, version }.into());
        }
        // Versions touch the model's time: set it again, last.
        events.push(RegisteredModelUpdated { model, description, at_ms: self.last_updated_time_ms }.into());
        events
    }

    /// What the source has since: later versions, other stages, aliases, tags.
    fn changes(
        self,
        model: RegisteredModelId,
        state: &runlode::RegisteredModelState,
        present: &BTreeMap<u32, (Stage, Vec<KeyValue>)>,
    ) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        let tags: Vec<KeyValue> = self.tags.into_iter().filter(|tag| !state.tags.contains(tag)).collect();
        if !tags.is_empty() {
            events.push(RegisteredModelTagsSet { model, tags }.into());
        }
        for Version { event, deleted } in self.versions {
            let (version, at_ms) = (event.version, event.last_updated_time_ms);
            match present.get(&version) {
                Some(_) if deleted => events.push(ModelVersionDeleted { model, version, at_ms }.into()),
                Some((stage, known)) => {
                    if *stage != event.stage {
                        let stage = event.stage;
                        events.push(ModelVersionStageChanged { model, version, stage, at_ms }.into());
                    }
                    let tags: Vec<KeyValue> = event.tags.into_iter().filter(|tag| !known.contains(tag)).collect();
                    if !tags.is_empty() {
                        events.push(ModelVersionTagsSet { model, version, tags }.into());
                    }
                }
                None if version > state.version_last => {
                    events.push(ModelVersionCreated { model, ..event }.into());
                    if deleted {
                        events.push(ModelVersionDeleted { model, version, at_ms }.into());
                    }
                }
                // Deleted in the store.
                None => {}
            }
        }
        for (alias, version) in self.aliases.into_iter().filter(|alias| !state.aliases.contains(alias)) {
            events.push(AliasSet { model, alias, version }.into());
        }
        events
    }
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
        // The only link of a version to its logged model.
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
        versions.entry(name).or_insert_with(Vec::new).push(Version { event, deleted });
        Ok(())
    })?;
    Ok(versions)
}

/// Where the places that versions name are in the store: those of their runs, and of all logged models.
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
