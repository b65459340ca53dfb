//! The past: any run, model or metric history as it was at an earlier position, from its own events.
//!
//! An entity that did not change since P is read as it is now. Any other one is a fold of its own events up to P. Points
//! at P are those with an Lsn of at most P, which sealed chunks keep as a column. So both stay exact after raw frames were
//! released. A time is turned into a position by `core::times`. [`PastView::search`] reads every run once; what it read is
//! held for the next question about the same position (`core::past`).

use std::sync::Arc;

use super::branch_series::BranchSeries;
use super::history::EventRecord;
use super::points::{ALL_STEPS, Downsampled, HistoryPage, HistoryQuery, downsample, history, stats_at};
use super::snapshot::Snapshot;
use crate::core::{PastRun, first_time};
use crate::entity::*;
use crate::error::{Error, Result};
use crate::event::payload::Decoded;
use crate::id::{ExperimentId, KeyId, Lsn, ModelId, RegisteredModelId, RunId};
use crate::point::Stats;
use crate::time::TimestampMs;

/// A moment of the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// The state after the batch at this position.
    Position(Lsn),
    /// The state after the last batch whose time is at most this. Clocks may jump: the time only selects a position.
    Time(TimestampMs),
}

/// The store as it was at a position.
#[derive(Debug)]
pub struct PastView<'a> {
    snapshot: &'a Snapshot,
    position: Lsn,
}

struct Nothing;

impl States for Nothing {
    fn get(&self, _: &EntityKey) -> Result<Option<Arc<EntityState>>> {
        Ok(None)
    }
}

impl Snapshot {
    /// When the first batch was appended, by the store's clock; `None` in an empty store. Reads one frame.
    ///
    /// # Errors
    /// `Corrupt`, `MissingFile` or `Io` if the log cannot be read there.
    pub fn first_time(&self) -> Result<Option<TimestampMs>> {
        first_time(&self.core.pipeline.log, self.position())
    }

    /// The store at an earlier moment. For a position above the snapshot's, this is the snapshot itself.
    pub fn as_of(&self, at: AsOf) -> Result<PastView<'_>> {
        let position = match at {
            AsOf::Position(lsn) => lsn.min(self.position()),
            AsOf::Time(time) => self.core.times.position_at(&self.core.pipeline.log, time, self.position())?,
        };
        Ok(PastView { snapshot: self, position })
    }
}

impl PastView<'_> {
    /// The position that this view shows.
    pub fn position(&self) -> Lsn {
        self.position
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        self.snapshot
    }

    /// Folds the events of `keys` up to the position into states.
    fn fold(&self, keys: &[EntityKey]) -> Result<Vec<(EntityKey, Arc<EntityState>)>> {
        let mut records = Vec::new();
        for key in keys {
            records.extend(self.snapshot.events_up_to(key, self.position)?);
        }
        fold(records)
    }
}

/// Applies events, each once and in their order, to nothing.
fn fold(mut records: Vec<EventRecord>) -> Result<Vec<(EntityKey, Arc<EntityState>)>> {
    records.sort_by_key(|record| (record.lsn, record.index));
    records.dedup_by_key(|record| (record.lsn, record.index));
    let mut working = Working::new(&Nothing);
    for record in records {
        if let Decoded::Known(event) = record.event {
            apply(&event, record.lsn, &mut working)?;
        }
    }
    Ok(working.take_changed())
}

/// When an entity was created, if its state says so.
fn created(state: &EntityState) -> Lsn {
    match state {
        EntityState::Experiment(state) => state.created,
        EntityState::Run(state) => state.created,
        EntityState::LoggedModel(state) => state.created,
        EntityState::RegisteredModel(state) => state.created,
        EntityState::ModelVersion(state) => state.created,
        EntityState::ExperimentName(_) | EntityState::ModelName(_) | EntityState::Dataset(_) => Lsn::ZERO,
    }
}

impl PastView<'_> {
    /// An entity by its own events and those of `with`.
    fn entity(&self, key: EntityKey, with: &[EntityKey]) -> Result<Option<Arc<EntityState>>> {
        match self.snapshot.entity(&key)? {
            None => return Ok(None),
            Some(now) if now.last() <= self.position => return Ok(Some(now)),
            Some(now) if created(&now) > self.position => return Ok(None),
            Some(_) => {}
        }
        let mut keys = with.to_vec();
        keys.push(key.clone());
        Ok(self.fold(&keys)?.into_iter().find(|(found, _)| *found == key).map(|(_, state)| state))
    }

    /// An experiment at that moment; `None` if it did not exist yet.
    pub fn experiment(&self, id: ExperimentId) -> Result<Option<ExperimentState>> {
        match self.entity(EntityKey::Experiment(id), &[])?.as_deref() {
            Some(EntityState::Experiment(state)) => Ok(Some(state.clone())),
            _ => Ok(None),
        }
    }

    /// A run at that moment, with its effective lifecycle then; `None` if it did not exist yet.
    ///
    /// # Errors
    /// `Purged` if the run's data is gone.
    pub fn run(&self, id: RunId) -> Result<Option<(RunState, Lifecycle)>> {
        Ok(self.held_run(id)?.map(|(state, lifecycle)| ((*state).clone(), lifecycle)))
    }

    /// The same, held for the next question about this moment.
    fn held_run(&self, id: RunId) -> Result<PastRun> {
        let Some(now) = self.snapshot.run(id)? else { return Ok(None) };
        if now.lifecycle == Lifecycle::Purged {
            return Err(Error::Purged { run: id.to_string() });
        }
        if now.created > self.position {
            return Ok(None);
        }
        let memory = &self.snapshot.core.past;
        if let Some(held) = memory.run(self.position, id) {
            return Ok(held);
        }
        let run = self.read_run(id, &now)?;
        memory.put_run(self.position, id, &run);
        Ok(run)
    }

    fn read_run(&self, id: RunId, now: &Arc<RunState>) -> Result<PastRun> {
        let experiment = EntityKey::Experiment(now.experiment);
        if now.last <= self.position
            && let Some(EntityState::Experiment(experiment)) = self.entity(experiment.clone(), &[])?.as_deref()
        {
            return Ok(Some((now.clone(), now.lifecycle_in(experiment))));
        }
        let states = self.fold(&[experiment.clone(), EntityKey::Run(id)])?;
        let find = |key: &EntityKey| states.iter().find(|(found, _)| found == key).map(|(_, state)| &**state);
        match (find(&EntityKey::Run(id)), find(&experiment)) {
            (Some(EntityState::Run(run)), Some(EntityState::Experiment(experiment))) => {
                Ok(Some((Arc::new(run.clone()), run.lifecycle_in(experiment))))
            }
            _ => Ok(None),
        }
    }

    /// A logged model at that moment; `None` if it did not exist yet.
    pub fn logged_model(&self, id: ModelId) -> Result<Option<LoggedModelState>> {
        let Some(now) = self.snapshot.logged_model(id)? else { return Ok(None) };
        let with = [EntityKey::Experiment(now.experiment)];
        match self.entity(EntityKey::LoggedModel(id), &with)?.as_deref() {
            Some(EntityState::LoggedModel(state)) => Ok(Some(state.clone())),
            _ => Ok(None),
        }
    }

    /// A registered model at that moment, with its aliases; `None` if it did not exist yet.
    pub fn registered_model(&self, id: RegisteredModelId) -> Result<Option<RegisteredModelState>> {
        match self.entity(EntityKey::RegisteredModel(id), &[])?.as_deref() {
            Some(EntityState::RegisteredModel(state)) => Ok(Some(state.clone())),
            _ => Ok(None),
        }
    }

    /// A model version at that moment; `None` if it did not exist yet.
    pub fn model_version(&self, model: RegisteredModelId, version: u32) -> Result<Option<ModelVersionState>> {
        let (key, of) = (EntityKey::ModelVersion(model, version), EntityKey::RegisteredModel(model));
        let now = self.snapshot.entity(&key)?;
        let state = match now {
            None => return Ok(None),
            Some(now) if now.last() <= self.position => Some(now),
            Some(now) if created(&now) > self.position => None,
            Some(_) => {
                // Of its model's events only the creation and the deletion concern it. A deletion is the last one.
                let ends = match self.snapshot.entity(&of)?.as_deref() {
                    Some(EntityState::RegisteredModel(model)) => [model.created, model.last],
                    _ => return Ok(None),
                };
                let mut records = self.snapshot.events_up_to(&key, self.position)?;
                records.extend(self.snapshot.events_among(&of, self.position, |lsn| ends.contains(&lsn))?);
                fold(records)?.into_iter().find(|(found, _)| *found == key).map(|(_, state)| state)
            }
        };
        match state.as_deref() {
            Some(EntityState::ModelVersion(state)) => Ok(Some(state.clone())),
            _ => Ok(None),
        }
    }

    /// All experiments that existed at that moment by id, deleted ones included.
    pub fn experiments(&self) -> Result<Vec<(ExperimentId, ExperimentState)>> {
        let mut list = Vec::new();
        for (id, _) in self.snapshot.experiments()? {
            list.extend(self.experiment(id)?.map(|state| (id, state)));
        }
        Ok(list)
    }

    /// The experiment that had this name at that moment, deleted or not.
    pub fn experiment_by_name(&self, name: &str) -> Result<Option<(ExperimentId, ExperimentState)>> {
        Ok(self.experiments()?.into_iter().find(|(_, state)| state.name == name))
    }

    /// All registered models that existed at that moment by name, those that were deleted since included.
    pub fn registered_models(&self) -> Result<Vec<(RegisteredModelId, RegisteredModelState)>> {
        let mut list = Vec::new();
        for id in self.snapshot.all_registered_models()? {
            list.extend(self.registered_model(id)?.filter(|state| !state.deleted).map(|state| (id, state)));
        }
        list.sort_by(|a, b| a.1.name.cmp(&b.1.name));
        Ok(list)
    }

    /// The registered model that had this name at that moment.
    pub fn registered_model_by_name(&self, name: &str) -> Result<Option<(RegisteredModelId, RegisteredModelState)>> {
        Ok(self.registered_models()?.into_iter().find(|(_, state)| state.name == name))
    }

    /// The logged models of an experiment that existed at that moment by id, deleted ones included.
    pub fn logged_models_of(&self, experiment: ExperimentId) -> Result<Vec<(ModelId, LoggedModelState)>> {
        let mut list = Vec::new();
        for (id, _) in self.snapshot.logged_models_of(experiment)? {
            list.extend(self.logged_model(id)?.map(|state| (id, state)));
        }
        Ok(list)
    }

    /// The events of an entity up to that moment, oldest first.
    ///
    /// # Errors
    /// As [`Snapshot::events`].
    pub fn events(&self, entity: &EntityKey) -> Result<Vec<EventRecord>> {
        self.snapshot.events_up_to(entity, self.position)
    }

    /// As [`Snapshot::downsample`], of a metric at that moment.
    ///
    /// # Errors
    /// `Purged` if the run's data is gone.
    pub fn downsample(&self, run: RunId, key: &str, steps: Option<(i64, i64)>, buckets: usize) -> Result<Downsampled> {
        match self.series(run, key)? {
            Some(series) => {
                let source = self.snapshot.source_of(&series, self.position)?;
                downsample(&source, steps.unwrap_or(ALL_STEPS), buckets, &self.snapshot.core.cache)
            }
            None => Ok(Downsampled::default()),
        }
    }

    /// Of a purged run nothing is read, whatever is still held.
    fn refuse_purged(&self, run: RunId) -> Result<()> {
        match self.snapshot.run(run)? {
            Some(state) if state.lifecycle == Lifecycle::Purged => Err(Error::Purged { run: run.to_string() }),
            _ => Ok(()),
        }
    }

    /// A metric in the branch that was live at that moment.
    fn series(&self, run: RunId, key: &str) -> Result<Option<BranchSeries>> {
        self.refuse_purged(run)?;
        self.snapshot.metric(key).map(|metric| self.snapshot.live_series(run, metric, self.position)).transpose()
    }

    /// A metric's points at that moment.
    pub fn history(&self, run: RunId, key: &str, query: &HistoryQuery) -> Result<HistoryPage> {
        match self.series(run, key)? {
            Some(series) => history(&self.snapshot.source_of(&series, self.position)?, query),
            None => Ok(HistoryPage::default()),
        }
    }

    /// Every metric of a run at that moment, by key, including points that a later rewind hid.
    pub fn latest(&self, run: RunId) -> Result<Vec<(Arc<str>, Stats)>> {
        let mut out = Vec::new();
        for key in self.snapshot.metrics_of(run)? {
            if let Some(stats) = self.stats(run, &key)? {
                out.push((key, stats));
            }
        }
        Ok(out)
    }

    /// A metric's stats at that moment; `None` if it had no points.
    pub fn stats(&self, run: RunId, key: &str) -> Result<Option<Stats>> {
        let Some(metric) = self.snapshot.metric(key) else { return Ok(None) };
        self.refuse_purged(run)?;
        self.stats_of_run(run, metric)
    }

    /// The same of a run that is not purged.
    pub(super) fn stats_of_run(&self, run: RunId, metric: KeyId) -> Result<Option<Stats>> {
        let memory = &self.snapshot.core.past;
        if let Some(held) = memory.stats(self.position, run, metric) {
            return Ok(held);
        }
        let series = self.snapshot.live_series(run, metric, self.position)?;
        let stats = stats_at(&self.snapshot.source_of(&series, self.position)?)?;
        memory.put_stats(self.position, run, metric, stats);
        Ok(stats)
    }
}
