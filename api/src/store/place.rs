//! Handles of experiments, runs and models ask here where artifacts of an experiment lie.

use crate::mlflow::below;
use crate::shared::{Asks, Shared};
use crate::{ExperimentId, Result};

/// Where artifacts of an experiment lie.
pub(super) fn of_experiment(shared: &Shared, id: ExperimentId) -> Result<String> {
    let own = shared.experiment_info(id)?.artifact_location;
    Ok(shared.settings().places.experiment(&id.to_string(), own.as_deref()))
}

/// A place below that of an experiment.
pub(super) fn below_experiment(shared: &Shared, id: ExperimentId, path: &str) -> Result<String> {
    Ok(below(&of_experiment(shared, id)?, path))
}
