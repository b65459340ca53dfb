//! The past: any run, model or metric history as it was at an earlier position, from its own events.
//!
//! An entity at P is a fold of its own events up to P. Points at P are those with an Lsn of at most P, which sealed
//! chunks keep as a column. So both stay exact after raw frames were released. [`PastView::search`] reads every run once; what
//! it folded is held for the next question about the same position.

use std::sync::Arc;

use super::branch_series::BranchSeries;
use super::points::{HistoryPage, HistoryQuery, history, stats_at};
use super::snapshot::Snapshot;
use crate::core::PastRun;
use crate::entity::*;
use crate::error::{Error, Result};
use crate::event::batch::{SectionKind, read_clock, sections};
use crate::event::payload::Decoded;
use crate::id::{ExperimentId, Lsn, ModelId, RegisteredModelId, RunId};
use crate::log::{FRAME_HEADER_BYTES, FrameKind};
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
    /// The store at an earlier moment. For a position above the snapshot's, this is the snapshot itself.
    pub fn as_of(&self, at: AsOf) -> Result<PastView<'_>> {
        let position = match at {
            AsOf::Position(lsn) => lsn.min(self.position()),
            AsOf::Time(time) => self.position_at(time)?,
        };
        Ok(PastView { snapshot: self, position })
    }

    /// The last position whose frame's time is at most `time`.
    fn position_at(&self, time: TimestampMs) -> Result<Lsn> {
        let mut found = Lsn::ZERO;
        let mut frames = self.core.pipeline.log.read_from(self.core.pipeline.log.first(), self.position())?;
        while let Some(frame) = frames.next_frame()? {
            // Marks belong to no batch, and compaction removes them.
            if frame.kind == FrameKind::Batch && frame.time <= time {
                found = found.max(frame.lsn);
            }
            if frame.segment.is_compacted() {
                // Batches whose frames are gone still have their times here.
                for section in sections(frame.payload) {
                    let damaged = |offset: usize| {
                        let at = frame.offset_bytes + (FRAME_HEADER_BYTES + offset) as u64;
                        Error::corrupt(frame.segment.path(), at, "section", "what was written", "other bytes")
                    };
                    let section = section.map_err(|bad| damaged(bad.offset))?;
                    if section.kind != SectionKind::Clock as u8 {
                        continue;
                    }
                    let times = read_clock(section.body).ok_or_else(|| damaged(section.offset))?;
                    let last = times.iter().rev().find(|(lsn, at)| *at <= time && *lsn <= self.position());
                    found = found.max(last.map_or(Lsn::ZERO, |(lsn, _)| *lsn));
                }
            }
        }
        Ok(found)
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
            records.extend(self.snapshot.events(key)?);
        }
        records.sort_by_key(|record| (record.lsn, record.index));
        records.dedup_by_key(|record| (record.lsn, record.index));
        let mut working = Working::new(&Nothing);
        for record in records.into_iter().filter(|record| record.lsn <= self.position) {
            if let Decoded::Known(event) = record.event {
                apply(&event, record.lsn, &mut working)?;
            }
        }
        Ok(working.take_changed())
    }

    fn entity(&self, key: EntityKey, with: &[EntityKey]) -> Result<Option<Arc<EntityState>>> {
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
    pub(super) fn held_run(&self, id: RunId) -> Result<PastRun> {
        let Some(now) = self.snapshot.run(id)? else { return Ok(None) };
        if now.lifecycle == Lifecycle::Purged {
            return Err(Error::Purged { run: id.to_string() });
        }
        let memory = &self.snapshot.core.past;
        if let Some(held) = memory.run(self.position, id) {
            return Ok(held);
        }
        let run = self.fold_run(id, &now)?;
        memory.put_run(self.position, id, &run);
        Ok(run)
    }

    fn fold_run(&self, id: RunId, now: &RunState) -> Result<PastRun> {
        let experiment = EntityKey::Experiment(now.experiment);
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
        let with = [EntityKey::RegisteredModel(model)];
        match self.entity(EntityKey::ModelVersion(model, version), &with)?.as_deref() {
            Some(EntityState::ModelVersion(state)) => Ok(Some(state.clone())),
            _ => Ok(None),
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
        let memory = &self.snapshot.core.past;
        if let Some(held) = memory.stats(self.position, run, metric) {
            return Ok(held);
        }
        let stats = match self.series(run, key)? {
            Some(series) => stats_at(&self.snapshot.source_of(&series, self.position)?)?,
            None => None,
        };
        memory.put_stats(self.position, run, metric, stats);
        Ok(stats)
    }
}
