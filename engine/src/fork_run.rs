//! Forks a run: a new run begins with the curves of another one, up to a step, and goes on by itself.
//!
//! ```text
//! parent  o--o--o--o--o--x--x--x      x: after the step, or logged after the fork
//! fork              '--n--n--n        what the fork shows: o up to `to_step`, and n
//! ```
//!
//! No point is copied. The fork's branch 0 is empty, and its branch 1 continues a branch of the parent ([`crate::branch`]).
//! Other than a dead branch, the parent may go on; so a position bounds what is shared, too. The event holds the
//! statistics of the shared part, which are thus known without reading points.
//!
//! The fork is created in the same batch, so after a crash it is there with its beginning, or not at all. Cost: as a
//! rewind. If the parent is purged later, the shared points are gone: histories of the fork then answer `Purged`.

use std::sync::Arc;

use crate::core::Core;
use crate::entity::Lifecycle;
use crate::error::{EntityKind, Error, Result};
use crate::event::{Event, KeptSeries, RunForked};
use crate::hot::points::Gate;
use crate::id::{Lsn, RunId};
use crate::ingest::batch::{Batch, Durability};
use crate::query::points::stats_at;
use crate::query::snapshot::Snapshot;

/// What a fork did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forked {
    /// Points that the new run shares with its parent.
    pub points_shared: u64,
    /// Position of the fork.
    pub lsn: Lsn,
}

impl Core {
    /// Appends a batch that creates `run`, and makes it continue `parent` up to a step. `Repeated` if a batch with this
    /// idempotency key was appended before.
    pub(crate) fn fork_run(self: &Arc<Self>, run: RunId, parent: RunId, to_step: i64, batch: Batch) -> Result<Forked> {
        self.check_writable()?;
        let created = batch.events.iter().find_map(|event| match event {
            Event::RunCreated(created) if created.run == run => Some(created.experiment),
            _ => None,
        });
        let Some(experiment) = created else {
            return Err(Error::invalid("fork", "the batch must create the run"));
        };
        let pipeline = &*self.pipeline;
        let snapshot = Snapshot::take(self)?;
        let position = snapshot.position();
        let absent = || Error::NotFound { entity: EntityKind::Run, id: parent.to_string() };
        let state = snapshot.run(parent)?.ok_or_else(absent)?;
        if state.lifecycle == Lifecycle::Purged {
            return Err(Error::Purged { run: parent.to_string() });
        }
        let mut kept = Vec::new();
        let mut points_shared = 0;
        for (key, stats) in snapshot.stats_of(parent)? {
            let Some(name) = pipeline.dictionary.key_name(key) else { continue };
            let shared = if stats.last_step <= to_step {
                Some(stats)
            } else {
                let series = snapshot.live_series(parent, key, position)?;
                stats_at(&snapshot.source_of(&series, position)?.up_to_step(to_step))?
            };
            if let Some(stats) = shared {
                points_shared += stats.count_raw;
                kept.push(KeptSeries::new(&name, &stats));
            }
        }
        let (at_ms, parent_branch) = (pipeline.clock.now().0, state.branch());
        let forked = RunForked { run, parent, parent_branch, up_to: position.0, to_step, at_ms, kept };
        // The statistics of the shared part need the run in memory when they are published.
        let _hot = pipeline.runs.get_or_insert(run, experiment, Gate::Absent, true);
        let receipt = pipeline.append_rewind(&batch.event(forked), Durability::Sync)?;
        if receipt.repeated {
            return Err(Error::Repeated { lsn: receipt.lsn.0 });
        }
        Ok(Forked { points_shared, lsn: receipt.lsn })
    }
}

#[cfg(test)]
mod tests;
