//! Decides who wins where two stores disagree, batch by batch: which of another store's events become this one's.
//!
//! - Tags, names, descriptions, status, deletions of runs and experiments: the later change by stamp; if stamps are
//!   equal, the one of the greater version. So all stores end with the same value, in whatever order they meet.
//! - Decisions of the registry: taken if they replaced the present one; else this store's stays.
//! - Either is reported if the source had not seen the present value, and the values differ.

use rustc_hash::FxHashMap;

use super::CONFLICT_TAG;
use super::chunk::{SyncBatch, SyncEvent, Version};
pub(super) use super::decided::{Decided, Repeat, Taken};
use super::experiments::Experiments;
use super::fields::{Field, entity_of, fields_of, version_of};
use super::report::Disagreement;
use super::values::{changed_stages, entity_text, new_value, told as told_value, value_of};
use super::versions::{Change, Histories, History, Origins, print, print_of};
use crate::engine::StoreId;
use crate::engine::entity::{EntityKey, EntityState, RUN_NAME_TAG};
use crate::engine::event::payload::{self, Decoded};
use crate::engine::event::{
    ExperimentTagsSet, LoggedModelTagsSet, ModelVersionCreated, ModelVersionTagsSet, ParamsLogged,
    RegisteredModelTagsSet, RunDeleted, RunRestored, RunTagsSet, RunUpdated,
};
use crate::{Error, Event, ExperimentId, Lifecycle, Result, RunId, Snapshot, Stage};

/// Decides one batch.
pub(super) struct Decider<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) source: StoreId,
    /// What the source has seen.
    pub(super) seen: &'a FxHashMap<StoreId, u64>,
    pub(super) origins: &'a Origins,
    pub(super) histories: &'a mut Histories,
    pub(super) experiments: &'a mut Experiments,
    pub(super) batch: &'a SyncBatch,
    /// The decision on each field of this batch.
    fates: FxHashMap<(EntityKey, Field), bool>,
    /// Stages as this batch leaves them.
    stages: FxHashMap<EntityKey, String>,
    out: Decided,
}

fn event_of(bytes: &[u8]) -> Result<Decoded> {
    payload::decode(bytes).map_err(|error| Error::invalid("sync chunk", format!("an event that is none: {error}")))
}

/// The run and step of a batch that rewinds: the rewind is repeated in this store.
pub(super) fn rewind_of(batch: &SyncBatch) -> Result<Option<(RunId, i64)>> {
    for event in &batch.events {
        if let Decoded::Known(Event::RunRewound(rewound)) = event_of(&event.bytes)? {
            return Ok(Some((rewound.run, rewound.to_step)));
        }
    }
    Ok(None)
}

impl<'a> Decider<'a> {
    pub(super) fn new(
        snapshot: &'a Snapshot,
        source: StoreId,
        seen: &'a FxHashMap<StoreId, u64>,
        origins: &'a Origins,
        histories: &'a mut Histories,
        experiments: &'a mut Experiments,
        batch: &'a SyncBatch,
    ) -> Self {
        let (fates, stages, out) = (FxHashMap::default(), FxHashMap::default(), Decided::default());
        Self { snapshot, source, seen, origins, histories, experiments, batch, fates, stages, out }
    }

    /// The batch's events for this store.
    pub(super) fn decide(mut self) -> Result<Decided> {
        let mut events = Vec::with_capacity(self.batch.events.len());
        for sent in &self.batch.events {
            match event_of(&sent.bytes)? {
                Decoded::Known(event) => events.push((sent, event)),
                Decoded::Unknown { tag, version, .. } => {
                    let what = format!("an event of kind {tag}, version {version}, which this build does not know");
                    self.problem(format!("{what}: left out; update this side before the next sync"));
                }
            }
        }
        // Stages of all versions are one field: compare the state after the whole batch.
        for (_, event) in &events {
            if let Some(key @ EntityKey::RegisteredModel(model)) = entity_of(event) {
                let changes: Vec<_> = events.iter().filter_map(|(_, event)| stage_of(event, model)).collect();
                if !changes.is_empty() && !self.stages.contains_key(&key) {
                    self.stages.insert(key, changed_stages(self.snapshot, model, &changes)?);
                }
            }
        }
        for (sent, event) in events {
            self.event(sent, event)?;
        }
        Ok(self.out)
    }

    fn problem(&mut self, what: impl Into<String>) {
        self.out.report.problem(self.batch.last, what);
    }

    fn take(&mut self, sent: &SyncEvent, event: Event) {
        self.out.looked_at.extend(entity_of(&event));
        self.out.events.push(Taken { event, stamp: sent.stamp, replaced: sent.replaced });
    }

    fn create(&mut self, sent: &SyncEvent, key: EntityKey, event: Event) {
        self.out.created.insert(key);
        self.take(sent, event);
    }

    fn is_created(&self, key: &EntityKey) -> bool {
        self.out.created.contains(key)
    }

    fn event(&mut self, sent: &SyncEvent, event: Event) -> Result<()> {
        let snapshot = self.snapshot;
        let event = match event {
            Event::ExperimentCreated(created) => {
                let (ours, event) =
                    self.experiments.created(snapshot, created.clone(), &mut self.out, self.batch.last)?;
                if let Some(event) = event {
                    self.create(sent, EntityKey::Experiment(ours), event.into());
                    return Ok(());
                }
                self.out.report.known_count += 1;
                if created.tags.is_empty() {
                    return Ok(());
                }
                ExperimentTagsSet { experiment: ours, tags: created.tags }.into()
            }
            Event::RunCreated(mut created) => {
                let key = EntityKey::Run(created.run);
                if let Some(state) = snapshot.run(created.run)? {
                    self.out.report.known_count += 1;
                    if state.lifecycle == Lifecycle::Purged {
                        return Ok(());
                    }
                    let name = (created.name != state.name).then(|| created.name.clone());
                    let status = (created.status != state.status).then_some(created.status);
                    if name.is_some() || status.is_some() {
                        self.set(sent, RunUpdated { run: created.run, status, end_time_ms: None, name }.into())?;
                    }
                    if created.tags.is_empty() {
                        return Ok(());
                    }
                    return self.set(sent, RunTagsSet { run: created.run, tags: created.tags }.into());
                }
                let Some(ours) = self.ours(created.experiment)? else { return Ok(()) };
                let run = created.run;
                created.experiment = ours;
                self.create(sent, key, created.into());
                // Its creator did not know that the experiment is deleted, so it is deleted with it.
                if let Some(experiment) = snapshot.experiment(ours)?
                    && experiment.lifecycle == Lifecycle::Deleted
                {
                    let change = self.change(&EntityKey::Experiment(ours), &Field::Lifecycle)?;
                    let stamp = change.map_or(sent.stamp, |change| change.stamp);
                    let event = RunDeleted { run, at_ms: experiment.last_update_time_ms }.into();
                    self.out.events.push(Taken { event, stamp, replaced: None });
                }
                return Ok(());
            }
            Event::LoggedModelCreated(mut created) => {
                if snapshot.logged_model(created.model)?.is_some() {
                    self.out.report.known_count += 1;
                    if created.tags.is_empty() {
                        return Ok(());
                    }
                    LoggedModelTagsSet { model: created.model, tags: created.tags }.into()
                } else {
                    let Some(ours) = self.ours(created.experiment)? else { return Ok(()) };
                    created.experiment = ours;
                    self.create(sent, EntityKey::LoggedModel(created.model), created.into());
                    return Ok(());
                }
            }
            Event::RegisteredModelCreated(mut created) => {
                let key = EntityKey::RegisteredModel(created.model);
                if self.snapshot.entity(&key)?.is_some() {
                    self.out.report.known_count += 1;
                    if created.tags.is_empty() {
                        return Ok(());
                    }
                    RegisteredModelTagsSet { model: created.model, tags: created.tags }.into()
                } else {
                    if self.snapshot.registered_model(&created.name)?.is_some() {
                        // Two models are never mixed just because they have the same name.
                        let name = format!("{} ({})", created.name, &StoreId(self.batch.store).to_string()[..8]);
                        self.problem(format!(
                            "registered model `{}` is another one here: theirs is now `{name}`",
                            created.name
                        ));
                        created.name = name;
                    }
                    self.create(sent, key, created.into());
                    return Ok(());
                }
            }
            Event::ExperimentTagsSet(mut e) => {
                let Some(ours) = self.ours(e.experiment)? else { return Ok(()) };
                e.experiment = ours;
                e.into()
            }
            Event::ModelVersionCreated(created) => return self.version_created(sent, created),
            Event::RunPurged(purged) => {
                match snapshot.run(purged.run)? {
                    None => self.out.purged_unknown.push(purged.run),
                    Some(run) if run.lifecycle == Lifecycle::Purged => self.out.report.known_count += 1,
                    Some(_) => self.problem(format!("run {} was purged there; it stays here", purged.run)),
                }
                return Ok(());
            }
            Event::LossAccepted(_) | Event::StoreCopied(_) | Event::SourceForgotten(_) | Event::RunRewound(_) => {
                return Ok(());
            }
            event => event,
        };
        self.set(sent, event)
    }

    /// This store's experiment for one of the source; reported if there is none.
    fn ours(&mut self, theirs: ExperimentId) -> Result<Option<ExperimentId>> {
        let ours = self.experiments.ours(theirs);
        if ours.is_none() {
            self.problem(format!("events of experiment {theirs}, whose creation was not sent: left out"));
        }
        Ok(ours)
    }

    /// A version of a model. Another version may have its number here.
    fn version_created(&mut self, sent: &SyncEvent, mut created: ModelVersionCreated) -> Result<()> {
        let model = EntityKey::RegisteredModel(created.model);
        let key = EntityKey::ModelVersion(created.model, created.version);
        if !self.is_there(&model)? {
            return Ok(());
        }
        if let Some(here) = print_of(self.snapshot, &key)? {
            self.out.report.known_count += 1;
            let theirs = print(
                &created.source,
                created.run_id.as_deref(),
                created.model_id.as_deref(),
                created.creation_time_ms,
            );
            if here != theirs {
                let model = entity_text(self.snapshot, &model)?;
                self.problem(format!("{model}: version {} is another one here: theirs is left out", created.version));
                return Ok(());
            }
            if created.tags.is_empty() {
                return Ok(());
            }
            let (model, version, tags) = (created.model, created.version, created.tags);
            return self.set(sent, ModelVersionTagsSet { model, version, tags }.into());
        }
        if created.stage != Stage::None && !self.fate(sent, &model, &Field::Stages, None)? {
            created.stage = Stage::None;
        }
        self.create(sent, key, created.into());
        Ok(())
    }

    /// Whether the entity of an event exists here and can be changed; reported if not.
    fn is_there(&mut self, key: &EntityKey) -> Result<bool> {
        if self.is_created(key) {
            return Ok(true);
        }
        let snapshot = self.snapshot;
        let why = match key {
            EntityKey::Run(run) => match snapshot.run(*run)? {
                None => "is not here",
                Some(state) if state.lifecycle == Lifecycle::Purged => "was purged here",
                Some(_) => return Ok(true),
            },
            EntityKey::RegisteredModel(_) => match snapshot.entity(key)?.as_deref() {
                Some(EntityState::RegisteredModel(state)) if state.deleted => "was deleted here",
                Some(_) => return Ok(true),
                None => "is not here",
            },
            _ if snapshot.entity(key)?.is_some() => return Ok(true),
            _ => "is not here",
        };
        let entity = entity_text(snapshot, key)?;
        self.problem(format!("{entity} {why}: what came for it is left out"));
        Ok(false)
    }

    /// Whether the version that is meant exists here under its number; reported if not.
    fn is_version_there(&mut self, sent: &SyncEvent, model: &EntityKey, event: &Event) -> Result<bool> {
        let (Some(version), EntityKey::RegisteredModel(id)) = (version_of(event), model) else { return Ok(true) };
        let key = EntityKey::ModelVersion(*id, version);
        if self.is_created(&key) {
            return Ok(true);
        }
        let why = match self.snapshot.model_version(*id, version)? {
            None => "is not here",
            Some(_) if sent.print.is_some() && print_of(self.snapshot, &key)? != sent.print => "is another one here",
            Some(state) if state.deleted && matches!(event, Event::ModelVersionDeleted(_)) => return Ok(false),
            Some(state) if state.deleted => "was deleted here",
            Some(_) => return Ok(true),
        };
        let model = entity_text(self.snapshot, model)?;
        self.problem(format!("{model}: version {version} {why}: what came for it is left out"));
        Ok(false)
    }

    /// An event that sets fields: keeps those that win.
    fn set(&mut self, sent: &SyncEvent, mut event: Event) -> Result<()> {
        let theirs = match &mut event {
            Event::ExperimentRenamed(event) => Some(&mut event.experiment),
            Event::ExperimentTagDeleted(event) => Some(&mut event.experiment),
            Event::ExperimentDeleted(event) => Some(&mut event.experiment),
            Event::ExperimentRestored(event) => Some(&mut event.experiment),
            _ => None,
        };
        if let Some(id) = theirs {
            let Some(ours) = self.ours(*id)? else { return Ok(()) };
            *id = ours;
        }
        let Some(key) = entity_of(&event) else { return Ok(()) };
        if !self.is_there(&key)? || !self.is_version_there(sent, &key, &event)? {
            return Ok(());
        }
        if !self.is_created(&key) {
            let version = self.batch.version();
            if self.history(&key)?.is_some_and(|history| history.versions.contains(&version)) {
                // It comes a second time, because it was forgotten that it came.
                self.out.report.known_count += 1;
                return Ok(());
            }
        }
        let Some(event) = self.kept(sent, &key, event)? else { return Ok(()) };
        if let Event::ExperimentDeleted(_) | Event::ExperimentRestored(_) = event {
            self.later_of_runs(sent, &key, &event)?;
        }
        self.take(sent, event);
        Ok(())
    }

    /// Finds runs of this experiment that were deleted or restored here, later than the experiment was at the source. A
    /// store shows the last of these events in its log. That would now be the experiment's, so the run's own event must
    /// be appended again after it.
    fn later_of_runs(&mut self, sent: &SyncEvent, key: &EntityKey, event: &Event) -> Result<()> {
        let EntityKey::Experiment(experiment) = key else { return Ok(()) };
        if self.is_created(key) {
            return Ok(());
        }
        let snapshot = self.snapshot;
        let coming = new_value(event, &Field::Lifecycle);
        for run in snapshot.runs_of(*experiment)? {
            let Some(state) = snapshot.run(run)? else { continue };
            if state.lifecycle == Lifecycle::Purged || state.lifecycle_lsn == state.created {
                continue;
            }
            let of_run = EntityKey::Run(run);
            let here = value_of(snapshot, &of_run, &Field::Lifecycle)?;
            let Some(change) = self.change(&of_run, &Field::Lifecycle)? else { continue };
            if here == coming || (change.stamp, change.version) < (sent.stamp, self.batch.version()) {
                continue;
            }
            self.out.looked_at.insert(of_run.clone());
            let again = match state.lifecycle {
                Lifecycle::Deleted => {
                    let at_ms = state.deleted_time_ms.unwrap_or(change.stamp);
                    RunDeleted { run, at_ms }.into()
                }
                _ => RunRestored { run }.into(),
            };
            let (version, stamp) = (change.version, change.stamp);
            self.out.again.push(Repeat { run, experiment: *experiment, event: again, version, stamp });
            if !self.source_saw(version) {
                self.disagree(&of_run, &Field::Lifecycle, (here, change.stamp), (coming.clone(), sent.stamp), true)?;
            }
        }
        Ok(())
    }

    /// Tells what stays of two values.
    fn disagree(
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
    fn kept(&mut self, sent: &SyncEvent, key: &EntityKey, mut event: Event) -> Result<Option<Event>> {
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
                if !self.run_lifecycle(sent, key, &whole)? {
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

    fn history(&mut self, key: &EntityKey) -> Result<Option<&mut History>> {
        if self.is_created(key) {
            return Ok(None);
        }
        let below = self.snapshot.position().next();
        self.histories.of(self.snapshot, key, below, self.origins, false).map(Some)
    }

    fn change(&mut self, key: &EntityKey, field: &Field) -> Result<Option<Change>> {
        Ok(self.history(key)?.and_then(|history| history.fields.get(field).copied()))
    }

    /// Whether the source had seen a change.
    fn source_saw(&self, version: Version) -> bool {
        let store = StoreId(version.store);
        store == self.source || version.position <= self.seen.get(&store).copied().unwrap_or(0)
    }

    fn field(&mut self, sent: &SyncEvent, key: &EntityKey, field: &Field, event: &Event) -> Result<bool> {
        let value = new_value(event, field);
        self.fate(sent, key, field, value)
    }

    /// Whether a run's deletion or restoring is the latest such decision on it, its experiment's included.
    fn run_lifecycle(&mut self, sent: &SyncEvent, key: &EntityKey, event: &Event) -> Result<bool> {
        if let EntityKey::Run(run) = key
            && let Some(state) = self.snapshot.run(*run)?
        {
            let experiment = EntityKey::Experiment(state.experiment);
            self.out.looked_at.insert(experiment.clone());
            let later = |change: &Change| (change.stamp, change.version) > (sent.stamp, self.batch.version());
            if let Some(change) = self.change(&experiment, &Field::Lifecycle)?.filter(later) {
                let here = value_of(self.snapshot, &experiment, &Field::Lifecycle)?;
                let coming = new_value(event, &Field::Lifecycle);
                if here != coming && !self.source_saw(change.version) {
                    self.disagree(key, &Field::Lifecycle, (here, change.stamp), (coming, sent.stamp), true)?;
                }
                return Ok(false);
            }
        }
        self.field(sent, key, &Field::Lifecycle, event)
    }

    /// Whether to take a change; reports it if necessary.
    fn fate(&mut self, sent: &SyncEvent, key: &EntityKey, field: &Field, value: Option<String>) -> Result<bool> {
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
        let is_later = change.is_none_or(|change| (sent.stamp, incoming) > (change.stamp, change.version));
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

/// The stage that an event gives a version of a model.
fn stage_of(event: &Event, model: crate::RegisteredModelId) -> Option<(u32, Stage)> {
    match event {
        Event::ModelVersionStageChanged(e) if e.model == model => Some((e.version, e.stage)),
        Event::ModelVersionCreated(e) if e.model == model && e.stage != Stage::None => Some((e.version, e.stage)),
        _ => None,
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
