//! Rewinds a run: from now on it shows its points up to a step, and continues from there.
//!
//! ```text
//! hold the run > snapshot > statistics up to the step > RunRewound, with them (one batch) > go on, in the new branch
//! ```
//!
//! One event, one frame: after a crash the run is rewound or it is not. The event holds the statistics of what the
//! branch continues, so that a reader of the log need not read points. While they are computed, appends of points to
//! the run wait, and then go to the new branch; otherwise such points would be counted in neither branch.
//!
//! Cost: reads the chunk entries of each metric, and one chunk, that of the step; independent of the number of points.

use std::sync::Arc;

use crate::core::Core;
use crate::error::{EntityKind, Error, Result};
use crate::event::{KeptSeries, RunRewound};
use crate::hot::points::RunHot;
use crate::id::{Lsn, RunId};
use crate::ingest::batch::{Batch, Durability};
use crate::ingest::pipeline::Pipeline;
use crate::query::points::stats_at;
use crate::query::snapshot::Snapshot;

/// What a rewind did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewound {
    /// The branch that is live now.
    pub branch: u32,
    /// Points that the run no longer shows.
    pub points_hidden: u64,
    /// Position of the rewind.
    pub lsn: Lsn,
}

/// A run that accepts no points until this is dropped.
struct Held<'a> {
    pipeline: &'a Pipeline,
    run: Arc<RunHot>,
    /// The branch that was live.
    before: u32,
}

impl<'a> Held<'a> {
    fn new(pipeline: &'a Pipeline, id: RunId) -> Result<Self> {
        loop {
            let run = pipeline.load_run(id)?;
            // Under the sequencer, everything placed before is published.
            let sequencer = pipeline.lock();
            if sequencer.is_none() {
                return Err(Error::Closed);
            }
            let is_newest = pipeline.runs.get(id).is_some_and(|newest| Arc::ptr_eq(&newest, &run));
            if is_newest && let Some(before) = run.hold() {
                return Ok(Self { pipeline, run, before });
            }
            drop(sequencer);
            // Another thread rewinds it.
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let _between_appends = self.pipeline.lock();
        // Otherwise it was rewound, and a branch is set.
        if self.run.branch().is_none() {
            self.run.set_branch(self.before);
        }
    }
}

impl Core {
    /// Rewinds a run to a step: points with a greater one are hidden, in a dead branch that stays readable. `Repeated` if
    /// a batch with this idempotency key was appended before.
    pub(crate) fn rewind(self: &Arc<Self>, id: RunId, to_step: i64, batch: Batch) -> Result<Rewound> {
        self.check_writable()?;
        let pipeline = &*self.pipeline;
        let held = Held::new(pipeline, id)?;
        let snapshot = Snapshot::take(self)?;
        let position = snapshot.position();
        let Some(state) = snapshot.run(id)? else {
            return Err(Error::NotFound { entity: EntityKind::Run, id: id.to_string() });
        };
        let mut kept = Vec::new();
        let mut points_hidden = 0;
        for (key, stats) in snapshot.stats_of(id)? {
            let Some(name) = pipeline.dictionary.key_name(key) else { continue };
            if stats.last_step <= to_step {
                kept.push(KeptSeries::new(&name, &stats));
                continue;
            }
            let series = snapshot.live_series(id, key, position)?;
            let all = snapshot.count_of_series(&series)?;
            let source = snapshot.source_of(&series, position)?.up_to_step(to_step);
            let left = match stats_at(&source)? {
                Some(stats) => {
                    kept.push(KeptSeries::new(&name, &stats));
                    stats.count_raw
                }
                None => 0,
            };
            points_hidden += all.saturating_sub(left);
        }
        let branch = state.branch() + 1;
        let at_ms = pipeline.clock.now().0;
        let rewound = RunRewound { run: id, branch, from: state.branch(), to_step, at_ms, kept };
        // No other thread rewinds it, but the entity may change otherwise.
        let batch = batch.event(rewound);
        let receipt = pipeline.append_rewind(&batch, Durability::Sync)?;
        drop(held);
        if receipt.repeated {
            return Err(Error::Repeated { lsn: receipt.lsn.0 });
        }
        Ok(Rewound { branch, points_hidden, lsn: receipt.lsn })
    }
}

#[cfg(test)]
mod tests;
