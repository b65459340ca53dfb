//! Versions of a model that two stores know by different numbers: each imported them from one database, and had made
//! other versions of its own before, so the import gave them other numbers.

use super::chunk::SyncEvent;
use super::decide::Decider;
use super::fields::{entity_of, version_of};
use super::values::entity_text;
use super::versions::print_of;
use crate::engine::entity::{EntityKey, EntityState};
use crate::experiment::IMPORT_ACTOR;
use crate::{Event, RegisteredModelId, Result};

impl Decider<'_> {
    /// Gives an event of a version the number that the version has here.
    pub(super) fn renumber(&mut self, sent: &SyncEvent, event: &mut Event) -> Result<()> {
        let (Some(theirs), Some(print)) = (version_of(event), sent.print) else { return Ok(()) };
        let Some(model) = model_of(event) else { return Ok(()) };
        let is_new = matches!(event, Event::ModelVersionCreated(_));
        if is_new && self.batch.actor.as_deref() != Some(IMPORT_ACTOR) {
            return Ok(());
        }
        if print_of(self.snapshot, &EntityKey::ModelVersion(model, theirs))? == Some(print) {
            return Ok(());
        }
        let Some(ours) = self.imported(model, print)? else { return Ok(()) };
        if is_new {
            let model = entity_text(self.snapshot, &EntityKey::RegisteredModel(model))?;
            self.problem(format!(
                "{model}: version {theirs} there is version {ours} here: both came from one database"
            ));
        }
        if let Some(number) = number_of(event) {
            *number = ours;
        }
        Ok(())
    }

    /// The version with a content, if an import made it. Versions that were created here one after the other may look
    /// the same.
    fn imported(&self, model: RegisteredModelId, print: u64) -> Result<Option<u32>> {
        let Some(EntityState::RegisteredModel(state)) =
            self.snapshot.entity(&EntityKey::RegisteredModel(model))?.as_deref().cloned()
        else {
            return Ok(None);
        };
        for number in state.versions {
            let key = EntityKey::ModelVersion(model, number);
            if print_of(self.snapshot, &key)? == Some(print) {
                let made = self.snapshot.events(&key)?.into_iter().next();
                return Ok(made.filter(|made| made.actor.as_deref() == Some(IMPORT_ACTOR)).map(|_| number));
            }
        }
        Ok(None)
    }
}

fn model_of(event: &Event) -> Option<RegisteredModelId> {
    match entity_of(event)? {
        EntityKey::RegisteredModel(model) => Some(model),
        _ => None,
    }
}

fn number_of(event: &mut Event) -> Option<&mut u32> {
    use Event as E;
    match event {
        E::AliasSet(e) => Some(&mut e.version),
        E::ModelVersionCreated(e) => Some(&mut e.version),
        E::ModelVersionUpdated(e) => Some(&mut e.version),
        E::ModelVersionStageChanged(e) => Some(&mut e.version),
        E::ModelVersionTagsSet(e) => Some(&mut e.version),
        E::ModelVersionTagDeleted(e) => Some(&mut e.version),
        E::ModelVersionDeleted(e) => Some(&mut e.version),
        _ => None,
    }
}
