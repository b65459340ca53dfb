//! The events that make an experiment and a run of which a test only wants that they are there.

use runlode_engine::event::{ExperimentCreated, RunCreated, RunStatus};
use runlode_engine::{ExperimentId, RunId};

/// An experiment without tags.
pub fn experiment(experiment: ExperimentId, name: &str) -> ExperimentCreated {
    ExperimentCreated {
        experiment,
        name: name.into(),
        artifact_location: None,
        creation_time_ms: 0,
        last_update_time_ms: 0,
        tags: vec![],
    }
}

/// A run that goes on.
pub fn run(run: RunId, experiment: ExperimentId) -> RunCreated {
    RunCreated {
        run,
        experiment,
        name: "r".into(),
        user_id: String::new(),
        status: RunStatus::Running,
        start_time_ms: 0,
        artifact_location: None,
        tags: vec![],
    }
}
