//! Many runs of the past at once, for searches: one pass over their events in the order of the log.
//!
//! Folding run by run reads the log in as many places as there are events, and a batch of several runs several times. Here
//! the places of all events are looked up first and sorted, so each batch is read and checked once, in order.
//!
//! - A run's fold does not depend on other runs, and of its experiment only on whether it exists. So the runs share one
//!   [`Working`], over a base that knows that experiment and nothing else.
//! - Runs are folded in the order of their creation, [`GROUP`] at a time: runs of one time have their events near each
//!   other, and the places and states of a group are all that is held besides the result.

use std::sync::Arc;

use super::history::read_batch;
use super::past::PastView;
use crate::core::PastRun;
use crate::entity::*;
use crate::error::Result;
use crate::event::payload::Decoded;
use crate::id::{ExperimentId, Lsn, RunId};

/// Runs that are folded together.
const GROUP: usize = 8_192;

/// One experiment, as the base of a fold.
struct OneExperiment {
    key: EntityKey,
    state: Arc<EntityState>,
}

impl States for OneExperiment {
    fn get(&self, key: &EntityKey) -> Result<Option<Arc<EntityState>>> {
        Ok((*key == self.key).then(|| self.state.clone()))
    }
}

/// A run that existed at the moment, with its state and effective lifecycle then.
pub(super) type RunThen = (RunId, Arc<RunState>, Lifecycle);

impl PastView<'_> {
    /// The runs of an experiment that existed at that moment, purged ones left out, in no order.
    pub(super) fn runs_of(&self, experiment: ExperimentId) -> Result<Vec<RunThen>> {
        let Some(of) = self.experiment(experiment)? else { return Ok(Vec::new()) };
        let (snapshot, memory) = (self.snapshot(), &self.snapshot().core.past);
        let mut found = Vec::new();
        let mut changed: Vec<(Lsn, RunId)> = Vec::new();
        let mut take = |id: RunId, run: PastRun| found.extend(run.map(|(state, lifecycle)| (id, state, lifecycle)));
        for id in snapshot.runs_of(experiment)? {
            let now = snapshot.entity(&EntityKey::Run(id))?;
            let Some(EntityState::Run(now)) = now.as_deref() else { continue };
            if now.lifecycle == Lifecycle::Purged || now.created > self.position() {
                continue;
            }
            if let Some(held) = memory.run(self.position(), id) {
                take(id, held);
            } else if now.last <= self.position() {
                let run = Some((Arc::new(now.clone()), now.lifecycle_in(&of)));
                memory.put_run(self.position(), id, &run);
                take(id, run);
            } else {
                changed.push((now.created, id));
            }
        }
        changed.sort_unstable();
        let base = OneExperiment {
            key: EntityKey::Experiment(experiment),
            state: Arc::new(EntityState::Experiment(of.clone())),
        };
        for group in changed.chunks(GROUP) {
            for (id, state) in self.fold_runs(group.iter().map(|(_, id)| *id), &base)? {
                let lifecycle = state.lifecycle_in(&of);
                let run = Some((state, lifecycle));
                memory.put_run(self.position(), id, &run);
                take(id, run);
            }
        }
        Ok(found)
    }

    fn fold_runs(
        &self,
        runs: impl Iterator<Item = RunId>,
        base: &OneExperiment,
    ) -> Result<Vec<(RunId, Arc<RunState>)>> {
        let mut places = Vec::new();
        for run in runs {
            places.extend(self.snapshot().places_up_to(&EntityKey::Run(run), self.position())?);
        }
        places.sort_unstable();
        places.dedup();
        let mut working = Working::new(base);
        let mut records = Vec::new();
        for of_one_batch in places.chunk_by(|a, b| a.0 == b.0) {
            let Some(&(lsn, _)) = of_one_batch.first() else { continue };
            let wanted = |index| of_one_batch.binary_search(&(lsn, index)).is_ok();
            read_batch(&self.snapshot().core.pipeline.log, lsn, wanted, &mut records)?;
            for record in records.drain(..) {
                if let Decoded::Known(event) = record.event {
                    apply(&event, lsn, &mut working)?;
                }
            }
        }
        let changed = working.take_changed().into_iter();
        Ok(changed
            .filter_map(|(key, state)| match (key, Arc::unwrap_or_clone(state)) {
                (EntityKey::Run(id), EntityState::Run(state)) => Some((id, Arc::new(state))),
                _ => None,
            })
            .collect())
    }
}
