//! When search projections are saved to `search.snap`: at close, and in the background, never during a write.
//!
//! - Only experiments of many runs ([`Core::search_snap_runs_min`]), or of many texts, are saved: the others are read
//!   from the index in milliseconds. A store without such an experiment has no such file.
//! - In the background a save is due when an experiment was never saved, when more than a tenth of its rows changed
//!   since, or when enough has been logged that catching up from the save would be slow; at most once a minute.
//! - Everything saved was durable and in the index before: see [`crate::search::saved`]. Parts of experiments that were
//!   not searched since the open are carried over.
//! - A save that fails leaves the old file, or none. Nothing depends on it: it is tried again later.

use std::sync::Arc;

use super::base::WAY_BYTES_MAX;
use crate::core::Core;
use crate::error::Result;
use crate::id::{ExperimentId, Lsn};
use crate::query::snapshot::Snapshot;
use crate::search::live::{SavedAt, Standing};
use crate::search::saved::{Part, SnapFile, SnapWriter};
use crate::search::table::Projection;

/// Minimum time between two saves in the background.
const SAVE_EVERY_MS: u64 = 60_000;
/// At close, up to this many changed runs are read to bring a projection up to date; with more it is saved as it is.
const CATCH_UP_MAX: usize = 50_000;
/// A projection of this size is saved however few its runs: a few thousand runs with 200 params and tags each take as
/// long to read as a million runs with one.
const SAVED_BYTES_MIN: usize = 2 << 20;
/// Free disk space that a save must leave.
const FREE_BYTES_KEPT: u64 = 64 << 20;

impl Core {
    /// Saves projections, if a save is due. `closing`: nothing is appended any more.
    ///
    /// # Errors
    /// `Io`, `StorageFull`; nothing is lost.
    pub(crate) fn save_searches(self: &Arc<Self>, closing: bool) -> Result<()> {
        let mut saving = self.projections.saving.lock();
        let now_ms = self.pipeline.clock.monotonic_ms();
        if self.read_only || (!closing && now_ms < saving.next_ms) {
            return Ok(());
        }
        let log_bytes = self.pipeline.log.placed_bytes();
        let way = |saved: SavedAt| log_bytes.saturating_sub(saved.log_bytes);
        let (mut due, mut memory_bytes) = (false, 0);
        for (experiment, standing) in self.projections.all() {
            // It is being built or brought up to date: save later.
            let Some(standing) = standing.try_read() else { return Ok(()) };
            if standing.position.is_none() || standing.torn || !self.is_worth_saving(&standing.projection) {
                continue;
            }
            memory_bytes += standing.projection.memory_bytes() as u64;
            let listed = self.pipeline.runs.changed(experiment).len();
            let changed = standing.changed_since_save(listed);
            let way = standing.saved.map_or(0, way);
            due |= match changed {
                None => true,
                Some(changed) if closing => changed > 0 || way > WAY_BYTES_MAX / 16,
                Some(changed) => changed > standing.projection.len() as u64 / 10 || way > WAY_BYTES_MAX / 2,
            };
        }
        if !due {
            return Ok(());
        }
        saving.next_ms = now_ms.saturating_add(SAVE_EVERY_MS);
        // If the free space is unknown, try: a write that does not fit fails, and nothing is lost.
        let free_bytes = self.storage.free_bytes().ok().flatten();
        if free_bytes.is_some_and(|free| free < memory_bytes.saturating_mul(2).saturating_add(FREE_BYTES_KEPT)) {
            return Ok(());
        }
        self.bring_forward(closing)?;
        self.write_searches()
    }

    /// Whether reading a projection from the index takes noticeably long. One that lacks columns is not saved: the file
    /// says nothing of them.
    fn is_worth_saving(&self, projection: &Projection) -> bool {
        projection.has_all_texts()
            && (projection.len() >= self.search_snap_runs_min || projection.memory_bytes() >= SAVED_BYTES_MIN)
    }

    fn bring_forward(self: &Arc<Self>, closing: bool) -> Result<()> {
        let snapshot = Snapshot::take(self)?;
        for (experiment, standing) in self.projections.all() {
            if closing && self.pipeline.runs.changed(experiment).len() > CATCH_UP_MAX {
                continue;
            }
            let worth = self.is_worth_saving(&standing.read().projection);
            if worth {
                snapshot.catch_up(experiment, &standing)?;
            }
        }
        drop(snapshot);
        // The index must have everything that is saved, and a checkpoint takes everything durable.
        if !closing {
            self.pipeline.sync()?;
            self.checkpoint()?;
        }
        Ok(())
    }

    fn write_searches(&self) -> Result<()> {
        let applied = self.applied();
        let log_bytes = self.pipeline.log.placed_bytes();
        let storage = &*self.storage;
        // An old file that cannot be read has no parts to carry over.
        let old = SnapFile::open(storage, self.store_id).ok().flatten();
        let carried = |experiment: ExperimentId| {
            let part = old.as_ref()?.part(experiment)?;
            // After a compaction this part could not be brought up to date.
            (part.generation == self.pipeline.log.generation()).then_some(part)
        };
        let all = self.projections.all();
        let mut experiments: Vec<ExperimentId> = all.iter().map(|(id, _)| *id).collect();
        experiments.extend(old.iter().flat_map(|old| old.parts()).map(|part| part.experiment));
        experiments.sort_unstable();
        experiments.dedup();
        let mut writer = SnapWriter::create(storage)?;
        let mut marks = Vec::new();
        for experiment in experiments {
            let standing = all.iter().find(|(id, _)| *id == experiment).map(|(_, standing)| standing);
            if let Some(standing) = standing {
                // Searches continue meanwhile; changes to the projection wait for the copy into the page cache.
                let guard = standing.read();
                let position = guard.position.filter(|position| *position <= applied && !guard.torn);
                if let Some(position) = position
                    && self.is_worth_saving(&guard.projection)
                {
                    writer.add(part_of(experiment, position, &guard), |sink| guard.projection.save(position, sink))?;
                    marks.push((standing, SavedAt { changes: guard.changes, log_bytes }));
                    continue;
                }
                if !guard.projection.has_all_texts() {
                    // The part of before would be read only to be cut again.
                    continue;
                }
            }
            if let (Some(part), Some(old)) = (carried(experiment), &old) {
                writer.carry(old, part)?;
            }
        }
        if marks.is_empty() {
            return Ok(());
        }
        writer.finish(self.store_id)?;
        for (standing, mark) in marks {
            standing.write().saved = Some(mark);
        }
        Ok(())
    }
}

fn part_of(experiment: ExperimentId, position: Lsn, standing: &Standing) -> Part {
    Part {
        experiment,
        position,
        lifecycle_lsn: standing.lifecycle_lsn,
        generation: standing.generation,
        offset_bytes: 0,
        len_bytes: 0,
    }
}

#[cfg(test)]
mod tests;
