//! Decides who wins on each field of an entity that both stores have: see [`super::decide`].

use super::CONFLICT_TAG;
use super::chunk::{SyncEvent, Version};
use super::decide::Decider;
use super::fields::{Field, fields_of};
use super::report::Disagreement;
use super::values::{entity_text, last_of, new_value, told as told_value, value_of};
use super::versions::{Change, History};
use crate::engine::StoreId;
use crate::engine::entity::{EntityKey, EntityState, RUN_NAME_TAG};
use crate::engine::event::{ParamsLogged, RunTagsSet};
use crate::{Event, Result, RunId, Stage};

impl Decider<'_> {
    /// Tells what stays of two values.
    pub(super) fn disagree(
        &mut self,
        key: &EntityKey,
        field: &Field,
        stays: (Option<String>, i64),
        given_up: (Option<String>, i64),
        own_stays: bool,
    ) -> Result<()> {
        let about = Disagreement {
            entity: entity_text(self.snapshot, key)?,
            field: field.text(),
            stays: told_value(stays.0),
            stays_time_ms: stays.1,
            given_up: told_value(given_up.0),
            given_up_time_ms: given_up.1,
            own_stays,
        };
        self.out.report.disagreement(self.batch.last, about);
        Ok(())
    }

    /// The part of a field-setting event that wins.
    pub(super) fn kept(&mut self, sent: &SyncEvent, key: &EntityKey, mut event: Event) -> Result<Option<Event>> {
        match &mut event {
            Event::ExperimentTagsSet(e) => self.keep_tags(sent, key, &mut e.tags, |tag| Field::Tag(tag.into()))?,
            Event::RunTagsSet(e) => self.keep_tags(sent, key, &mut e.tags, |tag| {
                if tag == RUN_NAME_TAG { Field::Name } else { Field::Tag(tag.into()) }
            })?,
            Event::LoggedModelTagsSet(e) => self.keep_tags(sent, key, &mut e.tags, |tag| Field::Tag(tag.into()))?,
            Event::RegisteredModelTagsSet(e) => self.keep_tags(sent, key, &mut e.tags, |tag| Field::Tag(tag.into()))?,
            Event::ModelVersionTagsSet(e) => {
                let version = e.version;
                self.keep_tags(sent, key, &mut e.tags, |tag| Field::VersionTag(version, tag.into()))?;
            }
            Event::RunUpdated(e) => {
                let whole = Event::from(e.clone());
                if e.name.is_some() && !self.field(sent, key, &Field::Name, &whole)? {
                    e.name = None;
                }
                if e.status.is_some() && !self.field(sent, key, &Field::Status, &whole)? {
                    e.status = None;
                }
                if e.end_time_ms.is_some() && !self.field(sent, key, &Field::EndTime, &whole)? {
                    e.end_time_ms = None;
                }
            }
            Event::ParamsLogged(e) => {
                let params = std::mem::take(&mut e.params);
                e.params = self.keep_params(sent, e.run, params)?;
            }
            Event::RunDeleted(_) | Event::RunRestored(_) => {
                let whole = event.clone();
                if !self.decides_run(sent, key, &whole)? {
                    return Ok(None);
                }
            }
            Event::ExperimentRenamed(e) => {
                let (id, name) = (e.experiment, e.name.clone());
                let taken = self.snapshot.experiment_by_name(&name)?.is_some_and(|(owner, _)| owner != id);
                return self.renamed(sent, key, event, &name, taken);
            }
            Event::RegisteredModelRenamed(e) => {
                let (id, name) = (e.model, e.name.clone());
                let taken = self.snapshot.registered_model(&name)?.is_some_and(|(owner, _)| owner != id);
                return self.renamed(sent, key, event, &name, taken);
            }
            _ => {
                for field in fields_of(&event) {
                    let whole = event.clone();
                    if !self.field(sent, key, &field, &whole)? {
                        return Ok(None);
                    }
                }
            }
        }
        Ok((!is_hollow(&event)).then_some(event))
    }

    fn renamed(
        &mut self,
        sent: &SyncEvent,
        key: &EntityKey,
        event: Event,
        name: &str,
        taken: bool,
    ) -> Result<Option<Event>> {
        if !self.field(sent, key, &Field::Name, &event)? {
            return Ok(None);
        }
        if taken {
            let entity = entity_text(self.snapshot, key)?;
            self.problem(format!(
                "{entity} is called `{name}` there; here another one has that name: it keeps its own"
            ));
            return Ok(None);
        }
        Ok(Some(event))
    }

    fn keep_tags(
        &mut self,
        sent: &SyncEvent,
        key: &EntityKey,
        tags: &mut Vec<(String, String)>,
        field: impl Fn(&str) -> Field,
    ) -> Result<()> {
        let mut kept = Vec::with_capacity(tags.len());
        for (tag, value) in std::mem::take(tags) {
            // An empty name is ignored.
            let value_here = if tag == RUN_NAME_TAG && value.is_empty() { None } else { Some(value.clone()) };
            if self.fate(sent, key, &field(&tag), value_here)? {
                kept.push((tag, value));
            }
        }
        *tags = kept;
        Ok(())
    }

    /// Params never change: if this store has another value, the sent one becomes a tag.
    fn keep_params(
        &mut self,
        sent: &SyncEvent,
        run: RunId,
        params: Vec<(String, String)>,
    ) -> Result<Vec<(String, String)>> {
        let Some(state) = self.snapshot.run(run)? else { return Ok(params) };
        let (mut kept, mut tags) = (Vec::with_capacity(params.len()), Vec::new());
        for (key, value) in params {
            match state.params.binary_search_by(|(have, _)| have.cmp(&key)) {
                Ok(at) if state.params[at].1 != value => {
                    let here = &state.params[at].1;
                    let tag = format!("{CONFLICT_TAG}{key}");
                    self.problem(format!(
                        "param `{key}` of run {run} is `{here}` here and `{value}` there: it stays, theirs is kept as tag `{tag}`"
                    ));
                    tags.push((tag, value));
                }
                Ok(_) => self.out.report.known_count += 1,
                Err(_) => kept.push((key, value)),
            }
        }
        if !tags.is_empty() {
            self.take(sent, RunTagsSet { run, tags }.into());
        }
        Ok(kept)
    }

    pub(super) fn history(&mut self, key: &EntityKey) -> Result<Option<&mut History>> {
        if self.is_created(key) {
            return Ok(None);
        }
        let last = last_of(self.snapshot, key)?;
        self.histories.current(self.snapshot, key, last, self.origins).map(Some)
    }

    pub(super) fn change(&mut self, key: &EntityKey, field: &Field) -> Result<Option<Change>> {
        Ok(self.history(key)?.and_then(|history| history.fields.get(field).copied()))
    }

    /// Whether the source had seen a change.
    pub(super) fn source_saw(&self, version: Version) -> bool {
        let store = StoreId(version.store);
        store == self.source || version.position <= self.seen.get(&store).copied().unwrap_or(0)
    }

    pub(super) fn field(&mut self, sent: &SyncEvent, key: &EntityKey, field: &Field, event: &Event) -> Result<bool> {
        let value = new_value(event, field);
        self.fate(sent, key, field, value)
    }

    /// Whether to take a change; reports it if necessary.
    pub(super) fn fate(
        &mut self,
        sent: &SyncEvent,
        key: &EntityKey,
        field: &Field,
        value: Option<String>,
    ) -> Result<bool> {
        if self.is_created(key) {
            return Ok(true);
        }
        // Several changes of one field in one batch count as one.
        let memo = (key.clone(), field.clone());
        if let Some(known) = self.fates.get(&memo) {
            return Ok(*known);
        }
        self.out.looked_at.insert(key.clone());
        let value = match field {
            Field::Stages => self.stages.get(key).cloned(),
            _ => value,
        };
        let here = value_of(self.snapshot, key, field)?;
        let incoming = self.batch.version();
        let change = self.change(key, field)?;
        let same = here == value;
        let is_later = change.is_none_or(|change| (sent.stamp, incoming) > change.order());
        let (taken, told) = if !field.is_decision() {
            let unseen = change.is_some_and(|change| !self.source_saw(change.version));
            (is_later, unseen && !same)
        } else if same {
            (is_later, false)
        } else {
            let replaces = change.map(|change| change.version) == sent.replaced;
            let taken = replaces && !self.is_in_use(key, field)?;
            (taken, !taken)
        };
        if told && field.is_told() {
            let here = (here, change.map_or(0, |change| change.stamp));
            let there = (value, sent.stamp);
            let (stays, given_up) = if taken { (there, here) } else { (here, there) };
            self.disagree(key, field, stays, given_up, !taken)?;
        }
        self.fates.insert(memo, taken);
        Ok(taken)
    }

    /// Whether a decision here, unknown to the source, needs what is to be deleted.
    fn is_in_use(&mut self, key: &EntityKey, field: &Field) -> Result<bool> {
        let EntityKey::RegisteredModel(id) = key else { return Ok(false) };
        let only = match field {
            Field::VersionDeletion(version) => Some(*version),
            Field::Deletion => None,
            _ => return Ok(false),
        };
        let Some(EntityState::RegisteredModel(state)) = self.snapshot.entity(key)?.as_deref().cloned() else {
            return Ok(false);
        };
        let Some(history) = self.history(key)?.cloned() else { return Ok(false) };
        let unseen = |change: Option<&Change>| change.is_some_and(|change| !self.source_saw(change.version));
        for (alias, version) in &state.aliases {
            if only.is_none_or(|only| only == *version) && unseen(history.fields.get(&Field::Alias(alias.clone()))) {
                return Ok(true);
            }
        }
        let staged = match only {
            Some(version) => self.snapshot.model_version(*id, version)?.is_some_and(|state| state.stage != Stage::None),
            None => true,
        };
        if staged && unseen(history.fields.get(&Field::Stages)) {
            return Ok(true);
        }
        Ok(only.is_none() && history.births.values().any(|version| !self.source_saw(*version)))
    }
}

/// Whether an event has nothing left.
fn is_hollow(event: &Event) -> bool {
    match event {
        Event::ExperimentTagsSet(e) => e.tags.is_empty(),
        Event::RunTagsSet(e) => e.tags.is_empty(),
        Event::LoggedModelTagsSet(e) => e.tags.is_empty(),
        Event::RegisteredModelTagsSet(e) => e.tags.is_empty(),
        Event::ModelVersionTagsSet(e) => e.tags.is_empty(),
        Event::RunUpdated(e) => e.status.is_none() && e.end_time_ms.is_none() && e.name.is_none(),
        Event::ParamsLogged(ParamsLogged { params, .. }) => params.is_empty(),
        _ => false,
    }
}
