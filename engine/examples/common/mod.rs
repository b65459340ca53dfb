//! What the measurements share: random numbers, ids, and the events that begin a store.
#![allow(dead_code, reason = "each example uses a part")]

use runlode_engine::event::{ExperimentCreated, RunCreated, RunStatus};
use runlode_engine::{ExperimentId, RunId};

pub(crate) const EXPERIMENT: ExperimentId = ExperimentId(1);

pub(crate) fn mix(mut z: u64) -> u64 {
    z = z.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number in [0, 1).
pub(crate) fn unit(number: u64) -> f64 {
    (mix(number) >> 11) as f64 / (1u64 << 53) as f64
}

pub(crate) fn run_id(number: u64) -> RunId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&mix(number).to_be_bytes());
    id[8..].copy_from_slice(&mix(!number).to_be_bytes());
    RunId(id)
}

pub(crate) fn experiment_created() -> ExperimentCreated {
    ExperimentCreated {
        experiment: EXPERIMENT,
        name: "e".into(),
        artifact_location: None,
        creation_time_ms: 0,
        last_update_time_ms: 0,
        tags: Vec::new(),
    }
}

pub(crate) fn run_created(run: RunId, name: impl Into<String>) -> RunCreated {
    RunCreated {
        run,
        experiment: EXPERIMENT,
        name: name.into(),
        user_id: "ann".into(),
        status: RunStatus::Running,
        start_time_ms: 1_700_000_000_000,
        artifact_location: None,
        tags: Vec::new(),
    }
}
