//! Decides who wins where two stores disagree, batch by batch: which of another store's events become this one's.
//!
//! - Tags, names, descriptions, status, deletions of runs and experiments: the later change by stamp; if stamps are
//!   equal, the one of the greater version. So all stores end with the same value, in whatever order they meet.
//! - Decisions of the registry: taken if they replaced the present one; else this store's stays.
//! - Either is reported if the source had not seen the present value, and the values differ.
//!
//! This file takes events apart and creates entities; `winners` decides on fields, `lifecycles` on deletions of
//! experiments and their runs; `numbers` knows versions that have another number here.

use rustc_hash::FxHashMap;

use super::chunk::{SyncBatch, SyncEvent};
pub(super) use super::decided::{Decided, Taken};
use super::experiments::Experiments;
use super::fields::{Field, entity_of, version_of};
use super::origins::Origins;
use super::values::{changed_stages, entity_text};
use super::versions::{Histories, print, print_of};
use crate::engine::StoreId;
use crate::engine::entity::{EntityKey, EntityState};
use crate::engine::event::payload::{self, Decoded};
use crate::engine::event::{
    ExperimentTagsSet, LoggedModelTagsSet, ModelVersionCreated, ModelVersionTagsSet, ModelVersionUpdated,
    RegisteredModelTagsSet, RegisteredModelUpdated, RunDeleted, RunForked, RunTagsSet, RunUpdated,
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
    pub(super) fates: FxHashMap<(EntityKey, Field), bool>,
    /// Stages as this batch leaves them.
    pub(super) stages: FxHashMap<EntityKey, String>,
    pub(super) out: Decided,
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

/// The fork that a batch makes: it is repeated in this store, with the parent's points that are here.
pub(super) fn fork_of(batch: &SyncBatch) -> Result<Option<RunForked>> {
    for event in &batch.events {
        if let Decoded::Known(Event::RunForked(forked)) = event_of(&event.bytes)? {
            return Ok(Some(forked));
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
                Decoded::Known(mut event) => {
                    self.renumber(sent, &mut event)?;
                    events.push((sent, event));
                }
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

    pub(super) fn problem(&mut self, what: impl Into<String>) {
        self.out.report.problem(self.batch.last, what);
    }

    pub(super) fn take(&mut self, sent: &SyncEvent, event: Event) {
        self.out.looked_at.extend(entity_of(&event));
        self.out.events.push(Taken { event, stamp: sent.stamp, replaced: sent.replaced });
    }

    fn create(&mut self, sent: &SyncEvent, key: EntityKey, event: Event) {
        self.out.created.insert(key);
        self.take(sent, event);
    }

    pub(super) fn is_created(&self, key: &EntityKey) -> bool {
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
                    // Also if they are the same here: then their stamp may be later, and decides against other stores.
                    let (name, status) = (Some(created.name.clone()), Some(created.status));
                    self.set(sent, RunUpdated { run: created.run, status, end_time_ms: None, name }.into())?;
                    if created.tags.is_empty() {
                        return Ok(());
                    }
                    return self.set(sent, RunTagsSet { run: created.run, tags: created.tags }.into());
                }
                let Some(ours) = self.ours(created.experiment)? else { return Ok(()) };
                let run = created.run;
                created.experiment = ours;
                self.create(sent, key, created.into());
                // Its creator did not know that the experiment is deleted, so it is deleted with it. The stamp is
                // before the experiment's, so that this is never another decision.
                if let Some(experiment) = snapshot.experiment(ours)?
                    && experiment.lifecycle == Lifecycle::Deleted
                {
                    let change = self.change(&EntityKey::Experiment(ours), &Field::Lifecycle)?;
                    let stamp = change.map_or(sent.stamp, |change| change.stamp.saturating_sub(1));
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
                    if let Some(description) = created.description {
                        let (model, at_ms) = (created.model, created.last_updated_time_ms);
                        let event = RegisteredModelUpdated { model, description: Some(description), at_ms };
                        self.set(sent, event.into())?;
                    }
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
            Event::LossAccepted(_)
            | Event::StoreCopied(_)
            | Event::SourceForgotten(_)
            | Event::GarbageCollected(_)
            | Event::ExperimentPurged(_)
            | Event::RunRewound(_)
            | Event::RunForked(_) => return Ok(()),
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
            if let Some(description) = created.description {
                let (model, version, at_ms) = (created.model, created.version, created.last_updated_time_ms);
                let event = ModelVersionUpdated { model, version, description: Some(description), at_ms };
                self.set(sent, event.into())?;
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
        let decides = matches!(event, Event::ExperimentDeleted(_) | Event::ExperimentRestored(_));
        if decides && self.leaves_runs(sent, &key, &event)? {
            self.take(sent, event);
            return self.mark_for_repeats(&key);
        }
        self.take(sent, event);
        Ok(())
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
