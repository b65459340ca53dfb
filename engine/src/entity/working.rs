//! States while events are applied: a layer over states that stay untouched.
//!
//! A state that only this layer holds is changed in place; one that is shared (with a snapshot) is copied once. Each
//! read from the base is remembered with its position: an optimistic writer compares these when its events get their
//! place.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::state::*;
use crate::error::Result;
use crate::id::{ExperimentId, Lsn, ModelId, RegisteredModelId, RunId};

/// What an event did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Every entity whose state changed, in the order of the changes; a key may come twice.
    pub touched: Vec<EntityKey>,
    /// The event found nothing to act on, and changed nothing.
    pub ignored: bool,
}

impl Applied {
    pub(super) fn ignored() -> Result<Self> {
        Ok(Self { touched: Vec::new(), ignored: true })
    }

    pub(super) fn one(key: EntityKey) -> Result<Self> {
        Ok(Self { touched: vec![key], ignored: false })
    }
}

/// The source of unchanged states: a snapshot, hot state above an index, or nothing.
pub trait States {
    /// The state of an entity; `None` if it never existed.
    fn get(&self, key: &EntityKey) -> Result<Option<Arc<EntityState>>>;
}

/// No entities at all: the start of a replay from the first position.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

impl States for Nothing {
    fn get(&self, _: &EntityKey) -> Result<Option<Arc<EntityState>>> {
        Ok(None)
    }
}

#[derive(Debug)]
pub(super) struct Slot {
    /// `last` of the base's state when it was first read; `None` if the base had none.
    base_last: Option<Lsn>,
    pub(super) state: Option<Arc<EntityState>>,
    changed: bool,
}

/// States while events are applied: what was read from the base, and what changed since.
///
/// A state that only this value holds is changed in place; one that is shared (with a snapshot) is copied once.
pub struct Working<'a> {
    base: &'a dyn States,
    slots: FxHashMap<EntityKey, Slot>,
}

impl std::fmt::Debug for Working<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Working").field("slots", &self.slots.len()).finish_non_exhaustive()
    }
}

macro_rules! slot_states {
    ($($variant:ident $state:ty, $get:ident, $change:ident;)*) => {
        impl Slot {
            $(
                pub(super) fn $get(&self) -> Option<&$state> {
                    match self.state.as_deref() {
                        Some(EntityState::$variant(state)) => Some(state),
                        _ => None,
                    }
                }

                pub(super) fn $change(&mut self) -> Option<&mut $state> {
                    self.$get()?;
                    self.changed = true;
                    match Arc::make_mut(self.state.as_mut()?) {
                        EntityState::$variant(state) => Some(state),
                        _ => None,
                    }
                }
            )*

            pub(super) fn put(&mut self, state: EntityState) {
                self.state = Some(Arc::new(state));
                self.changed = true;
            }
        }
    };
}

slot_states! {
    Experiment ExperimentState, experiment, experiment_mut;
    ExperimentName NameState, experiment_name, experiment_name_mut;
    Run RunState, run, run_mut;
    LoggedModel LoggedModelState, logged_model, logged_model_mut;
    RegisteredModel RegisteredModelState, registered_model, registered_model_mut;
    ModelName NameState, model_name, model_name_mut;
    ModelVersion ModelVersionState, model_version, model_version_mut;
}

impl<'a> Working<'a> {
    /// Nothing changed yet, on top of `base`.
    pub fn new(base: &'a dyn States) -> Self {
        Self { base, slots: FxHashMap::default() }
    }

    pub(super) fn slot(&mut self, key: EntityKey) -> Result<&mut Slot> {
        match self.slots.entry(key) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let state = self.base.get(entry.key())?;
                let base_last = state.as_ref().map(|state| state.last());
                Ok(entry.insert(Slot { base_last, state, changed: false }))
            }
        }
    }

    /// The current state of an entity.
    #[cfg(test)]
    pub fn get(&mut self, key: &EntityKey) -> Result<Option<&Arc<EntityState>>> {
        Ok(self.slot(key.clone())?.state.as_ref())
    }

    /// The current state of an experiment.
    pub fn experiment(&mut self, id: ExperimentId) -> Result<Option<&ExperimentState>> {
        Ok(self.slot(EntityKey::Experiment(id))?.experiment())
    }

    /// The current state of a run, even a purged one.
    pub fn run(&mut self, id: RunId) -> Result<Option<&RunState>> {
        Ok(self.slot(EntityKey::Run(id))?.run())
    }

    /// The current state of a logged model.
    pub fn logged_model(&mut self, id: ModelId) -> Result<Option<&LoggedModelState>> {
        Ok(self.slot(EntityKey::LoggedModel(id))?.logged_model())
    }

    /// The current state of a registered model, even a deleted one.
    pub fn registered_model(&mut self, id: RegisteredModelId) -> Result<Option<&RegisteredModelState>> {
        Ok(self.slot(EntityKey::RegisteredModel(id))?.registered_model())
    }

    /// The current state of a model version, even a deleted one.
    pub fn model_version(&mut self, id: RegisteredModelId, version: u32) -> Result<Option<&ModelVersionState>> {
        Ok(self.slot(EntityKey::ModelVersion(id, version))?.model_version())
    }

    /// The current owner of an experiment's name.
    pub fn experiment_name_owner(&mut self, name: &str) -> Result<Option<ExperimentId>> {
        let slot = self.slot(EntityKey::ExperimentName(name.into()))?;
        Ok(slot.experiment_name().and_then(|state| state.owner).map(ExperimentId))
    }

    /// The current owner of a registered model's name.
    pub fn model_name_owner(&mut self, name: &str) -> Result<Option<RegisteredModelId>> {
        let slot = self.slot(EntityKey::ModelName(name.into()))?;
        Ok(slot.model_name().and_then(|state| state.owner).map(RegisteredModelId))
    }

    /// Whether an experiment was created, deleted or restored since the base.
    pub(crate) fn lifecycle_moved(&mut self, id: ExperimentId) -> Result<bool> {
        let slot = self.slot(EntityKey::Experiment(id))?;
        Ok(slot.changed && slot.experiment().is_some_and(|state| Some(state.lifecycle_lsn) > slot.base_last))
    }

    /// Every entity that was read, with the `last` that it had in the base (`None`: it did not exist). These must still
    /// hold when the events get their position. Sorted by key.
    #[cfg(test)]
    pub fn reads(&self) -> Vec<(EntityKey, Option<Lsn>)> {
        let mut reads: Vec<_> = self.slots.iter().map(|(key, slot)| (key.clone(), slot.base_last)).collect();
        reads.sort_unstable();
        reads
    }

    /// The changed states, sorted by key. They stay shared with this value until it is dropped.
    #[cfg(test)]
    pub fn changed(&self) -> Vec<(EntityKey, Arc<EntityState>)> {
        let changed = self.slots.iter().filter(|(_, slot)| slot.changed);
        let mut out: Vec<_> = changed.filter_map(|(key, slot)| Some((key.clone(), slot.state.clone()?))).collect();
        out.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        out
    }

    /// The changed states, sorted by key. Forgets everything, so that the next read asks the base again: for a replay
    /// that stores its states in parts. The base must have them by then.
    pub fn take_changed(&mut self) -> Vec<(EntityKey, Arc<EntityState>)> {
        let changed = self.slots.drain().filter(|(_, slot)| slot.changed);
        let mut out: Vec<_> = changed.filter_map(|(key, slot)| Some((key, slot.state?))).collect();
        out.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        out
    }

    /// Number of entities held: read or changed.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Gives a name to an owner if it is free; otherwise the present owner keeps it.
    pub(super) fn take_name(
        &mut self,
        key: EntityKey,
        owner: u64,
        lsn: Lsn,
        touched: &mut Vec<EntityKey>,
    ) -> Result<()> {
        let wrap = match key {
            EntityKey::ModelName(_) => EntityState::ModelName,
            _ => EntityState::ExperimentName,
        };
        let slot = self.slot(key.clone())?;
        let held = slot.experiment_name().or(slot.model_name()).and_then(|state| state.owner);
        if held.is_none() {
            slot.put(wrap(NameState { owner: Some(owner), last: lsn }));
            touched.push(key);
        }
        Ok(())
    }

    /// Releases a name, if `owner` has it.
    pub(super) fn free_name(
        &mut self,
        key: EntityKey,
        owner: u64,
        lsn: Lsn,
        touched: &mut Vec<EntityKey>,
    ) -> Result<()> {
        let slot = self.slot(key.clone())?;
        let held = slot.experiment_name().or(slot.model_name()).and_then(|state| state.owner);
        if held != Some(owner) {
            return Ok(());
        }
        let state = if slot.model_name().is_some() { slot.model_name_mut() } else { slot.experiment_name_mut() };
        if let Some(state) = state {
            *state = NameState { owner: None, last: lsn };
            touched.push(key);
        }
        Ok(())
    }
}
