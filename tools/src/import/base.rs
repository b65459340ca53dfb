//! What earlier imports said of an entity, to tell the database's own changes from those made in the store.
//!
//! Every batch of an import names `import` as its actor, and the store keeps the history of each entity. So the value
//! that an import last gave to a field is known without a list of our own. Three values decide:
//!
//! | the database | the store | then |
//! |---|---|---|
//! | has the store's value | | nothing |
//! | changed since the last import | as that import left it | take the database's value |
//! | unchanged | was changed | keep the store's value, and report it |
//! | changed | was changed differently | keep the store's value, report it, and exit with 1 |

use std::collections::BTreeMap;

use runlode::engine::event::KeyValue;
use runlode::engine::event::payload::Decoded;
use runlode::{EntityKey, Event, ExperimentState, Lsn, RawEvent, RawView, RunId, RunState};

use super::report::Report;
use super::sink::ACTOR;
use crate::error::Result;

/// What to do with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// Both have the same value, or the field is the store's own.
    Nothing,
    /// Take the database's value; `None` removes the store's.
    Take,
    /// The store's value was set after the import of the database's: keep it.
    Keep,
    /// Both were changed: keep the store's value.
    Conflict,
}

/// The values that imports gave to the fields of one entity. `None` as a value: an import removed it.
#[derive(Debug, Default)]
pub(super) struct Base(BTreeMap<String, Option<String>>);

impl Base {
    /// Reads an entity's history.
    pub(super) fn of(snapshot: &RawView, entity: &EntityKey) -> Result<Self> {
        let mut base = Self::default();
        for event in imported(&snapshot.events(entity)?) {
            base.take(event, entity);
        }
        Ok(base)
    }

    fn set(&mut self, field: impl Into<String>, value: Option<String>) {
        self.0.insert(field.into(), value);
    }

    fn tags(&mut self, tags: &[(String, String)]) {
        for (key, value) in tags {
            self.set(tag_field(key), Some(value.clone()));
        }
    }

    /// Notes what an event of an import says of the entity. Events of a version concern its model too.
    fn take(&mut self, event: &Event, entity: &EntityKey) {
        let of_model = matches!(entity, EntityKey::RegisteredModel(_));
        match event {
            Event::ExperimentCreated(e) => {
                self.set("name", Some(e.name.clone()));
                self.tags(&e.tags);
            }
            Event::ExperimentRenamed(e) => self.set("name", Some(e.name.clone())),
            Event::ExperimentTagsSet(e) => self.tags(&e.tags),
            Event::ExperimentTagDeleted(e) => self.set(tag_field(&e.key), None),
            Event::RunCreated(e) => {
                self.set("name", Some(e.name.clone()));
                self.set("status", Some(status_text(e.status).to_owned()));
                self.tags(&e.tags);
            }
            Event::RunUpdated(e) => {
                for (field, value) in [
                    ("name", e.name.clone()),
                    ("status", e.status.map(|status| status_text(status).to_owned())),
                    ("end", e.end_time_ms.map(|end| end.to_string())),
                ] {
                    if value.is_some() {
                        self.set(field, value);
                    }
                }
            }
            Event::RunTagsSet(e) => self.tags(&e.tags),
            Event::RunTagDeleted(e) => self.set(tag_field(&e.key), None),
            Event::LoggedModelCreated(e) => {
                self.set("status", Some((e.status as u8).to_string()));
                self.tags(&e.tags);
            }
            Event::LoggedModelFinalized(e) => self.set("status", Some((e.status as u8).to_string())),
            Event::LoggedModelTagsSet(e) => self.tags(&e.tags),
            Event::LoggedModelTagDeleted(e) => self.set(tag_field(&e.key), None),
            Event::RegisteredModelCreated(e) if of_model => {
                self.set("name", Some(e.name.clone()));
                self.set("description", e.description.clone());
                self.tags(&e.tags);
            }
            Event::RegisteredModelUpdated(e) if of_model => self.set("description", e.description.clone()),
            Event::RegisteredModelRenamed(e) if of_model => self.set("name", Some(e.name.clone())),
            Event::RegisteredModelTagsSet(e) if of_model => self.tags(&e.tags),
            Event::RegisteredModelTagDeleted(e) if of_model => self.set(tag_field(&e.key), None),
            Event::AliasSet(e) if of_model => self.set(alias_field(&e.alias), Some(e.version.to_string())),
            Event::AliasDeleted(e) if of_model => self.set(alias_field(&e.alias), None),
            Event::ModelVersionCreated(e) if !of_model => {
                self.set("description", e.description.clone());
                self.set("stage", Some(stage_text(e.stage).to_owned()));
                self.tags(&e.tags);
            }
            Event::ModelVersionUpdated(e) if !of_model => self.set("description", e.description.clone()),
            Event::ModelVersionStageChanged(e) if !of_model => {
                self.set("stage", Some(stage_text(e.stage).to_owned()));
            }
            Event::ModelVersionTagsSet(e) if !of_model => self.tags(&e.tags),
            Event::ModelVersionTagDeleted(e) if !of_model => self.set(tag_field(&e.key), None),
            _ => {}
        }
    }

    /// The text that an import last gave to a field; `None` where it took one away, or never gave any.
    pub(super) fn get(&self, field: &str) -> Option<&str> {
        self.0.get(field)?.as_deref()
    }

    /// Decides on a field.
    pub(super) fn choose(&self, field: &str, source: Option<&str>, store: Option<&str>) -> Choice {
        if source == store {
            return Choice::Nothing;
        }
        match self.0.get(field).map(Option::as_deref) {
            Some(base) if base == store => Choice::Take,
            Some(base) if base == source => Choice::Keep,
            Some(_) => Choice::Conflict,
            None if store.is_none() => Choice::Take,
            None if source.is_none() => Choice::Nothing,
            None => Choice::Conflict,
        }
    }
}

/// The name of a tag's field.
pub(super) fn tag_field(key: &str) -> String {
    format!("tag {key}")
}

/// The name of an alias' field.
pub(super) fn alias_field(alias: &str) -> String {
    format!("alias {alias}")
}

pub(super) fn status_text(status: runlode::RunStatus) -> &'static str {
    status.into()
}

pub(super) fn stage_text(stage: runlode::Stage) -> &'static str {
    stage.into()
}

/// A history that is read only when a difference is found, since most entities have none.
pub(super) struct Lazy<'s> {
    snapshot: &'s RawView,
    entity: EntityKey,
    /// The entity's name in notes.
    name: String,
    /// Whether several databases share the entity; then nothing of it is replaced.
    shared: bool,
    base: Option<Base>,
}

impl<'s> Lazy<'s> {
    pub(super) fn new(snapshot: &'s RawView, entity: EntityKey, name: impl Into<String>) -> Self {
        Self { snapshot, entity, name: name.into(), shared: false, base: None }
    }

    /// Marks an entity that several databases share: missing values are added, nothing is replaced or removed.
    pub(super) fn shared(mut self, shared: bool) -> Self {
        self.shared = shared;
        self
    }

    /// What imports said of it.
    pub(super) fn base(&mut self) -> Result<&Base> {
        let base = match self.base.take() {
            Some(base) => base,
            None => Base::of(self.snapshot, &self.entity)?,
        };
        Ok(self.base.insert(base))
    }

    /// Whether to take the database's value of a field. A value that the store keeps is reported.
    pub(super) fn takes(
        &mut self,
        field: &str,
        source: Option<&str>,
        store: Option<&str>,
        report: &mut Report,
    ) -> Result<bool> {
        if source == store {
            return Ok(false);
        }
        let choice = match self.shared {
            true if store.is_none() => Choice::Take,
            true if source.is_none() => Choice::Nothing,
            true => Choice::Conflict,
            false => self.base()?.choose(field, source, store),
        };
        let said = |value: Option<&str>| value.map_or("nothing".to_owned(), |value| format!("`{}`", cut(value)));
        match choice {
            Choice::Nothing => {}
            Choice::Take => return Ok(true),
            Choice::Keep => {
                report.keep("values that were changed in the store since they were imported", 1);
                let (ours, theirs) = (said(store), said(source));
                report.note(format!(
                    "{field} of {} is {ours} in the store since, and stays so ({theirs} there)",
                    self.name
                ));
            }
            Choice::Conflict => {
                let (ours, theirs) = (said(store), said(source));
                report.problem(format!(
                    "{field} of {} is {ours} in the store and stays so; the database says {theirs}",
                    self.name
                ));
            }
        }
        Ok(false)
    }

    /// The tags to set, and those to remove.
    pub(super) fn tags(
        &mut self,
        source: Vec<KeyValue>,
        store: &[KeyValue],
        report: &mut Report,
    ) -> Result<(Vec<KeyValue>, Vec<String>)> {
        let ours: BTreeMap<&str, &str> = store.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let theirs: BTreeMap<&str, &str> = source.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let mut removed = Vec::new();
        for (key, value) in &ours {
            // Tags that begin with `runlode.` are the store's own notes.
            if !theirs.contains_key(key)
                && !key.starts_with("runlode.")
                && self.takes(&tag_field(key), None, Some(value), report)?
            {
                removed.push((*key).to_owned());
            }
        }
        let mut set = Vec::new();
        for (key, value) in &source {
            if self.takes(&tag_field(key), Some(value), ours.get(key.as_str()).copied(), report)? {
                set.push((key.clone(), value.clone()));
            }
        }
        Ok((set, removed))
    }
}

/// A value, shortened for a note.
fn cut(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The events that imports appended.
fn imported(events: &[RawEvent]) -> impl Iterator<Item = &Event> {
    events.iter().filter(|event| event.actor.as_deref() == Some(ACTOR)).filter_map(|event| match &event.event {
        Decoded::Known(event) => Some(event),
        Decoded::Unknown { .. } => None,
    })
}

/// Whether an import created an entity.
pub(super) fn created_by_import(snapshot: &RawView, entity: &EntityKey) -> Result<bool> {
    Ok(snapshot.events(entity)?.first().is_some_and(|event| event.actor.as_deref() == Some(ACTOR)))
}

/// Whether only imports changed a version. Renaming its model does not count.
pub(super) fn only_imported(snapshot: &RawView, version: &EntityKey) -> Result<bool> {
    let own = |event: &&RawEvent| !matches!(event.event, Decoded::Known(Event::RegisteredModelRenamed(_)));
    Ok(snapshot.events(version)?.iter().filter(own).all(|event| event.actor.as_deref() == Some(ACTOR)))
}

/// Whether an import moved an experiment to the lifecycle that it has.
pub(super) fn experiment_moved_by_import(snapshot: &RawView, id: runlode::ExperimentId) -> Result<bool> {
    let events = snapshot.events(&EntityKey::Experiment(id))?;
    let moves = |event: &&RawEvent| {
        matches!(
            event.event,
            Decoded::Known(Event::ExperimentCreated(_) | Event::ExperimentDeleted(_) | Event::ExperimentRestored(_))
        )
    };
    Ok(events.iter().rfind(moves).is_some_and(|event| event.actor.as_deref() == Some(ACTOR)))
}

/// Whether an import gave a run its lifecycle: the last change of the run's, or of its experiment's.
pub(super) fn run_moved_by_import(
    snapshot: &RawView,
    id: RunId,
    state: &RunState,
    experiment: &ExperimentState,
) -> Result<bool> {
    if state.lifecycle_lsn <= experiment.lifecycle_lsn {
        return experiment_moved_by_import(snapshot, state.experiment);
    }
    let at: Lsn = state.lifecycle_lsn;
    let events = snapshot.events(&EntityKey::Run(id))?;
    Ok(events.iter().any(|event| event.lsn == at && event.actor.as_deref() == Some(ACTOR)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_merged_from_three_values() {
        let mut base = Base::default();
        base.set("alias prod", Some("1".to_owned()));
        base.set("alias old", None);
        let choose = |field: &str, source, store| base.choose(&alias_field(field), source, store);
        assert_eq!(choose("prod", Some("2"), Some("2")), Choice::Nothing);
        assert_eq!(choose("prod", Some("2"), Some("1")), Choice::Take);
        assert_eq!(choose("prod", None, Some("1")), Choice::Take);
        assert_eq!(choose("prod", Some("1"), Some("3")), Choice::Keep);
        assert_eq!(choose("prod", Some("1"), None), Choice::Keep, "deleted in the store");
        assert_eq!(choose("prod", Some("2"), Some("3")), Choice::Conflict);
        assert_eq!(choose("prod", Some("2"), None), Choice::Conflict);
        assert_eq!(choose("old", Some("2"), None), Choice::Take);
        assert_eq!(choose("new", Some("2"), None), Choice::Take);
        assert_eq!(choose("new", None, Some("2")), Choice::Nothing, "the store's own");
        assert_eq!(choose("new", Some("1"), Some("2")), Choice::Conflict);
    }
}
