//! Finds points of a source that are here already, and leaves out those of an import.
//!
//! Two stores may import one source, and it may link a point with a model or a data set in between. It is one point all
//! the same: contexts are not compared, as an import does not compare them when it tops a run up. What is here keeps
//! its context.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::chunk::SyncBatch;
use super::source::birth_of;
use super::target::{Target, With};
use crate::engine::{LATE_AFTER_MS, StoreId};
use crate::experiment::IMPORT_ACTOR;
use crate::imported::is_imported;
use crate::{HistoryQuery, Lifecycle, Point, Result, RunId, Snapshot, TimestampMs};

/// Points of a history that are read at once.
const PAGE_POINTS: usize = 1 << 16;

impl Target {
    /// Whether the points of a batch without events may be here already.
    pub(super) fn looks_up(&self, batch: &SyncBatch, with: &With<'_>) -> Result<bool> {
        if self.may_come_again(batch)? {
            return Ok(true);
        }
        let snapshot = self.store.snapshot()?;
        let runs: BTreeSet<RunId> = batch.points.iter().map(|points| RunId(points.run)).collect();
        for run in runs {
            if snapshot.run(run)?.is_some() && self.is_of_two(&snapshot, batch, run, with)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// If it was forgotten that a batch came, it may come a second time. And points of an import may have come here by
    /// another import: then both know the run, but neither knows the other import.
    pub(super) fn may_come_again(&self, batch: &SyncBatch) -> Result<bool> {
        let is_forgotten = batch.last <= self.store.engine().forgotten(StoreId(batch.store))?;
        Ok(is_forgotten || batch.actor.as_deref() == Some(IMPORT_ACTOR))
    }

    /// Whether points of a batch may be here by another import, because two stores created their run by imports of one
    /// source. Compactions of earlier builds lost which batches are of an import. But batches that name another author are
    /// of none, nor are points that were logged at their own time: those are all kept, however many equal ones there are.
    pub(super) fn is_of_two(
        &self,
        snapshot: &Snapshot,
        batch: &SyncBatch,
        run: RunId,
        with: &With<'_>,
    ) -> Result<bool> {
        let is_late = |time_ms: &i64| *time_ms < batch.time_ms.saturating_sub(LATE_AFTER_MS);
        if batch.actor.is_some() || !batch.points.iter().flat_map(|points| &points.times).any(is_late) {
            return Ok(false);
        }
        let here = birth_of(&self.store, snapshot, &self.origins, run)?;
        Ok(with.births.get(&run).is_some_and(|there| here != Some(*there)))
    }

    /// Takes the points away that are here, whatever their contexts; `keys`: the names of the chunk's keys.
    pub(super) fn leave_out_known(&self, batch: &mut Cow<'_, SyncBatch>, keys: &[String]) -> Result<()> {
        if batch.actor.as_deref() != Some(IMPORT_ACTOR) || batch.points.is_empty() {
            return Ok(());
        }
        let snapshot = self.store.snapshot()?;
        for at in 0..batch.points.len() {
            let points = &batch.points[at];
            let run = RunId(points.run);
            let (Some(name), Some(steps), Some(times_ms)) =
                (keys.get(points.key as usize), range(&points.steps), range(&points.times))
            else {
                continue;
            };
            if snapshot.run(run)?.is_none_or(|state| state.lifecycle == Lifecycle::Purged) {
                continue;
            }
            let mut query = HistoryQuery { steps, times_ms, limit: PAGE_POINTS, ..HistoryQuery::default() };
            let mut lacking: Vec<usize> = (0..points.steps.len()).collect();
            // The range of a few points may hold a long history.
            while !lacking.is_empty() {
                let page = snapshot.history(run, name, &query)?;
                // In history order.
                let known: Vec<Point> = (0..page.columns.len()).map(|at| page.columns.point(at)).collect();
                lacking.retain(|at| {
                    let (step, time_ms, value) = (points.steps[*at], points.times[*at], points.values[*at]);
                    let point = Point { step, time: TimestampMs(time_ms), value };
                    !is_imported(&known, &point)
                });
                if page.next.is_none() {
                    break;
                }
                query.after = page.next;
            }
            if lacking.len() < points.steps.len() {
                let points = &mut batch.to_mut().points[at];
                points.steps = lacking.iter().map(|at| points.steps[*at]).collect();
                points.times = lacking.iter().map(|at| points.times[*at]).collect();
                points.values = lacking.iter().map(|at| points.values[*at]).collect();
            }
        }
        Ok(())
    }
}

fn range(of: &[i64]) -> Option<(i64, i64)> {
    Some((*of.iter().min()?, *of.iter().max()?))
}
