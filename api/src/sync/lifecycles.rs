//! Deletions and restorings of experiments and of their runs.
//!
//! A run is deleted or not by the last such decision about it or its experiment, in the order of the log. Decisions of
//! other stores come in another order, so they are compared by stamp (`lines`): one that is earlier than what is here
//! is left out. If one about an experiment is later than the last one about the experiment, but earlier than one about
//! a run of it, the run's is repeated after it ([`super::repeat`]).

use super::chunk::SyncEvent;
use super::decide::Decider;
use super::decided::Taken;
use super::fields::Field;
use super::lines::{REPEAT_TAG, decided_runs};
use super::values::{new_value, value_of};
use super::versions::Change;
use crate::engine::entity::EntityKey;
use crate::engine::event::ExperimentTagsSet;
use crate::{Event, ExperimentId, Result, RunId};

impl Decider<'_> {
    /// Whether a run's deletion or restoring is the latest decision about it, its experiment's included.
    pub(super) fn decides_run(&mut self, sent: &SyncEvent, key: &EntityKey, event: &Event) -> Result<bool> {
        let EntityKey::Run(run) = key else { return Ok(true) };
        let memo = (key.clone(), Field::Lifecycle);
        if let Some(known) = self.fates.get(&memo) {
            return Ok(*known);
        }
        let Some(of) = self.experiment_of(*run)?.map(EntityKey::Experiment) else { return Ok(true) };
        self.out.looked_at.extend([key.clone(), of.clone()]);
        let of_run = self.change(key, &Field::Lifecycle)?;
        let of_experiment = self.change(&of, &Field::Lifecycle)?;
        let by_experiment = of_experiment.is_some_and(|change| of_run.is_none_or(|own| change.order() > own.order()));
        let Some(last) = (if by_experiment { of_experiment } else { of_run }) else { return Ok(true) };
        let taken = (sent.stamp, self.batch.version()) > last.order();
        let lifecycle = |key| value_of(self.snapshot, key, &Field::Lifecycle);
        let (own, others) = (lifecycle(key)?, lifecycle(&of)?);
        let here = if by_experiment { others.clone() } else { own.clone() };
        let coming = new_value(event, &Field::Lifecycle);
        // What stands here: the last decision, and an earlier one that says the same.
        let stands = [(of_run, own), (of_experiment, others)]
            .into_iter()
            .any(|(change, value)| value == here && change.is_some_and(|change| !self.source_saw(change.version)));
        // A run that comes with this batch is new here: nobody has decided about it.
        if here != coming && stands && !self.is_created(key) {
            self.disagree_on_run(key, last, here, sent, coming, taken)?;
        }
        self.fates.insert(memo, taken);
        Ok(taken)
    }

    fn experiment_of(&self, run: RunId) -> Result<Option<ExperimentId>> {
        let created = self.out.events.iter().find_map(|taken| match &taken.event {
            Event::RunCreated(created) if created.run == run => Some(created.experiment),
            _ => None,
        });
        Ok(match created {
            Some(experiment) => Some(experiment),
            None => self.snapshot.run(run)?.map(|state| state.experiment),
        })
    }

    fn disagree_on_run(
        &mut self,
        run: &EntityKey,
        last: Change,
        here: Option<String>,
        sent: &SyncEvent,
        coming: Option<String>,
        taken: bool,
    ) -> Result<()> {
        let (here, there) = ((here, last.stamp), (coming, sent.stamp));
        let (stays, given_up) = if taken { (there, here) } else { (here, there) };
        self.disagree(run, &Field::Lifecycle, stays, given_up, !taken)
    }

    /// Compares an experiment's deletion or restoring with the decisions about its runs. Returns whether one of these is
    /// later, and so must be repeated.
    pub(super) fn leaves_runs(&mut self, sent: &SyncEvent, key: &EntityKey, event: &Event) -> Result<bool> {
        let EntityKey::Experiment(experiment) = key else { return Ok(false) };
        if self.is_created(key) {
            return Ok(false);
        }
        let of_experiment = self.change(key, &Field::Lifecycle)?;
        let here = value_of(self.snapshot, key, &Field::Lifecycle)?;
        let coming = new_value(event, &Field::Lifecycle);
        let mut leaves = false;
        for (run, _) in decided_runs(self.snapshot, *experiment)? {
            let of_run = EntityKey::Run(run);
            let Some(change) = self.change(&of_run, &Field::Lifecycle)? else { continue };
            let own = value_of(self.snapshot, &of_run, &Field::Lifecycle)?;
            let is_last = of_experiment.is_none_or(|of| change.order() > of.order());
            let is_later = change.order() > (sent.stamp, self.batch.version());
            // The run's decision still stands if the experiment's later one says the same.
            if own == coming || !is_last && own != here {
                continue;
            }
            self.out.looked_at.insert(of_run.clone());
            leaves |= is_later;
            if !self.source_saw(change.version) {
                self.disagree_on_run(&of_run, change, own, sent, coming.clone(), !is_later)?;
            }
        }
        Ok(leaves)
    }

    /// Marks the experiment, in this batch: see [`super::repeat`].
    pub(super) fn mark_for_repeats(&mut self, key: &EntityKey) -> Result<()> {
        if let EntityKey::Experiment(experiment) = key {
            let tags = vec![(REPEAT_TAG.to_owned(), String::new())];
            let event = ExperimentTagsSet { experiment: *experiment, tags }.into();
            self.out.events.push(Taken { event, stamp: 0, replaced: None });
            self.out.again.insert(*experiment);
        }
        Ok(())
    }
}
