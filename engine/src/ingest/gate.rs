//! Whether points of a run may be appended now, and the branch for which they are encoded.

use std::time::Duration;

use super::prepared::Refused;
use crate::entity::{ExperimentState, Lifecycle, RunState};
use crate::error::{EntityKind, Error};
use crate::hot::points::{Gate, RunHot};

/// Checks the gate for merged points: they were acknowledged while the run was active, so a deleted run keeps them.
pub(super) fn check_gate_merged(run: &RunHot, branch: u32) -> Result<(), Refused> {
    match run.gate() {
        Gate::Active | Gate::Deleted if run.branch() != Some(branch) => Err(Refused::Stale),
        Gate::Active | Gate::Deleted => Ok(()),
        // The run was purged since the batch was prepared.
        Gate::Purged | Gate::Absent => Err(Refused::Stale),
    }
}

/// Checks whether points encoded for a branch of a run may be appended now.
pub(super) fn check_gate(run: &RunHot, branch: u32) -> Result<(), Refused> {
    match run.gate() {
        // The run was rewound meanwhile or is just being rewound: encode again for the branch that is live then.
        Gate::Active if run.branch() != Some(branch) => Err(Refused::Stale),
        Gate::Active => Ok(()),
        Gate::Deleted => Err(Error::Deleted { entity: EntityKind::Run, id: run.id.to_string() }.into()),
        Gate::Purged => Err(Error::Purged { run: run.id.to_string() }.into()),
        Gate::Absent => Err(Error::NotFound { entity: EntityKind::Run, id: run.id.to_string() }.into()),
    }
}

/// How long an append waits before it checks again whether a run's rewind is done.
const HELD_CHECK_EVERY: Duration = Duration::from_micros(200);

/// The branch for which points of a run must be encoded. Waits while the run is being rewound.
#[inline]
pub(crate) fn branch_to_log(run: &RunHot) -> u32 {
    loop {
        if let Some(branch) = run.branch() {
            return branch;
        }
        std::thread::sleep(HELD_CHECK_EVERY);
    }
}

/// The gate that follows from the states of a run and its experiment.
pub(super) fn gate_of(run: &RunState, experiment: &ExperimentState) -> Gate {
    match run.lifecycle_in(experiment) {
        Lifecycle::Active => Gate::Active,
        Lifecycle::Deleted => Gate::Deleted,
        Lifecycle::Purged => Gate::Purged,
    }
}
