//! Repeats decisions about runs after an earlier one about their experiment, because the later one in the log counts.
//!
//! The experiment's batch and the repeats cannot be one batch: within one, the experiment's decision counts. So the
//! experiment gets a tag with that batch, and loses it after the last repeat. Whoever finds the tag, after a crash or a
//! full disk, repeats what is missing. A repeated decision keeps its version and stamp, so it is still the same change.

use super::fields::Field;
use super::lines::{REPEAT_TAG, decided_runs};
use super::target::Target;
use super::values::{last_of, value_of};
use crate::engine::StoreId;
use crate::engine::entity::EntityKey;
use crate::engine::event::batch::{NoteKind, StoreNote};
use crate::engine::event::{ExperimentTagDeleted, RunDeleted, RunRestored};
use crate::{Batch, Durability, Error, Event, ExperimentId, Lifecycle, Result, RunId, TimestampMs};

impl Target {
    /// Repeats what must be repeated; called after each batch, and at the beginning for what an interrupted sync left.
    /// [`Target::apply`] does it too.
    ///
    /// # Errors
    /// Those of an append. The next call goes on.
    pub(crate) fn resume(&mut self) -> Result<()> {
        while let Some(experiment) = self.to_repeat.first().copied() {
            let snapshot = self.store.snapshot()?;
            for (run, _) in decided_runs(&snapshot, experiment)? {
                while !self.repeat(experiment, run)? {}
            }
            if let Some(state) = self.store.snapshot()?.experiment(experiment)?
                && state.tags.iter().any(|(key, _)| key == REPEAT_TAG)
            {
                let event = ExperimentTagDeleted { experiment, key: REPEAT_TAG.into() };
                self.store.append(Batch::new().acknowledged().event(event), Durability::Buffered)?;
            }
            self.to_repeat.remove(&experiment);
        }
        Ok(())
    }

    /// Repeats the last decision about a run, if it is later than the experiment's and comes before it in the log.
    /// `false`: somebody changed one of them in this moment.
    fn repeat(&mut self, experiment: ExperimentId, run: RunId) -> Result<bool> {
        let snapshot = self.store.snapshot()?;
        let (key, of) = (EntityKey::Run(run), EntityKey::Experiment(experiment));
        let (Some(state), Some(experiment)) = (snapshot.run(run)?, snapshot.experiment(experiment)?) else {
            return Ok(true);
        };
        if state.lifecycle == Lifecycle::Purged || state.lifecycle_lsn > experiment.lifecycle_lsn {
            return Ok(true);
        }
        let mut last = |key: &EntityKey| {
            let history = self.histories.current(&snapshot, key, last_of(&snapshot, key)?, &self.origins)?;
            Ok::<_, Error>(history.fields.get(&Field::Lifecycle).copied())
        };
        let (Some(change), Some(before)) = (last(&key)?, last(&of)?) else { return Ok(true) };
        let lifecycle = |key| value_of(&snapshot, key, &Field::Lifecycle);
        if change.order() < before.order() || lifecycle(&key)? == lifecycle(&of)? {
            return Ok(true);
        }
        let event: Event = match state.lifecycle {
            Lifecycle::Deleted => RunDeleted { run, at_ms: state.deleted_time_ms.unwrap_or(change.stamp) }.into(),
            _ => RunRestored { run }.into(),
        };
        let note = StoreNote {
            kind: NoteKind::Again,
            store: StoreId(change.version.store),
            first: change.version.position,
            last: change.version.position,
            time: TimestampMs(change.stamp),
            extra: Vec::new(),
        };
        let batch = Batch::new().acknowledged().event(event).of_store(note);
        match self.store.append(batch.expect(key, state.last).expect(of, experiment.last), Durability::Buffered) {
            Err(Error::Conflict { .. }) => Ok(false),
            Err(Error::Purged { .. }) => Ok(true),
            appended => appended.map(|_| true),
        }
    }
}
