//! MLflow's calls on experiments, except the search.

use super::entity::{Experiment, Tag};
use super::error::{ApiError, ApiResult, ErrorCode};
use super::{Mlflow, names};
use crate::experiment::own_tags;
use crate::{EntityKind, Error, ExperimentId, ExperimentSpec, ExperimentState, Lifecycle};

impl Mlflow {
    /// Creates an experiment and returns its id.
    ///
    /// # Errors
    /// `RESOURCE_ALREADY_EXISTS` if the name is taken, even by a deleted experiment; `INVALID_PARAMETER_VALUE`.
    pub fn create_experiment(&self, name: &str, artifact_location: Option<&str>, tags: &[Tag]) -> ApiResult<String> {
        names::experiment_name(name)?;
        names::pairs_size("tags", tags.len())?;
        for (key, value) in tags {
            names::experiment_tag(key, value)?;
        }
        names::refuse_doubled("tag", tags)?;
        let mut spec = ExperimentSpec::named(name);
        if let Some(location) = artifact_location.filter(|location| !location.is_empty()) {
            spec = spec.artifact_location(self.places().given(location)?);
        }
        for (key, value) in tags {
            spec = spec.tag(key, value);
        }
        Ok(self.store().create_experiment(spec)?.to_string())
    }

    /// An experiment by id, deleted ones included.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`; `INVALID_PARAMETER_VALUE` for an id that is not an integer.
    pub fn experiment(&self, id: &str) -> ApiResult<Experiment> {
        let id = self.experiment_id(id)?;
        let snapshot = self.entities()?;
        Ok(self.experiment_entity(id, &*self.experiment_state(&snapshot, id)?))
    }

    /// An experiment by name, deleted ones included; `None` if there is none.
    ///
    /// # Errors
    /// Those of reading.
    pub fn experiment_by_name(&self, name: &str) -> ApiResult<Option<Experiment>> {
        let found = self.entities()?.experiment_by_name(name)?;
        Ok(found.map(|(id, state)| self.experiment_entity(id, &state)))
    }

    /// Deletes an experiment and all its runs.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`, also if it is deleted already.
    pub fn delete_experiment(&self, id: &str) -> ApiResult<()> {
        let experiment = self.experiment_id(id)?;
        self.store().delete_experiment(experiment).map_err(|error| absent_as(error.into(), id))?;
        Ok(())
    }

    /// Restores a deleted experiment and **all** its runs, including those deleted one by one before.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`, also if it is active.
    pub fn restore_experiment(&self, id: &str) -> ApiResult<()> {
        let experiment = self.experiment_id(id)?;
        self.store().restore_experiment(experiment).map_err(|error| absent_as(error.into(), id))?;
        Ok(())
    }

    /// Renames an experiment.
    ///
    /// # Errors
    /// `RESOURCE_ALREADY_EXISTS`, `INVALID_STATE` for a deleted experiment, `RESOURCE_DOES_NOT_EXIST`.
    pub fn rename_experiment(&self, id: &str, name: &str) -> ApiResult<()> {
        let experiment = self.experiment_id(id)?;
        names::experiment_name(name)?;
        let state = self.experiment_state(&self.entities()?, experiment)?;
        if state.lifecycle != Lifecycle::Active {
            return Err(ApiError::new(ErrorCode::InvalidState, "Cannot rename a non-active experiment."));
        }
        self.store().rename_experiment(experiment, name)?;
        Ok(())
    }

    /// Sets a tag.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`, also for a deleted experiment; `RESOURCE_DOES_NOT_EXIST`.
    pub fn set_experiment_tag(&self, id: &str, key: &str, value: &str) -> ApiResult<()> {
        names::experiment_tag(key, value)?;
        let experiment = self.experiment_id(id)?;
        self.active_experiment(&self.entities()?, experiment)?;
        self.store().set_experiment_tags(experiment, &[(key, value)])?;
        Ok(())
    }

    /// Deletes a tag.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`, also for a missing tag; `INVALID_PARAMETER_VALUE` for a deleted experiment.
    pub fn delete_experiment_tag(&self, id: &str, key: &str) -> ApiResult<()> {
        let experiment = self.experiment_id(id)?;
        let state = self.active_experiment(&self.entities()?, experiment)?;
        let absent = || ApiError::absent(format!("No tag with name: {key} in experiment with id {id}"));
        if !state.tags.iter().any(|(name, _)| name == key) {
            return Err(absent());
        }
        match self.store().delete_experiment_tag(experiment, key) {
            Ok(_) => Ok(()),
            Err(Error::NotFound { entity: EntityKind::Tag, .. }) => Err(absent()),
            Err(error) => Err(error.into()),
        }
    }

    /// The experiment as MLflow returns it.
    pub(super) fn experiment_entity(&self, id: ExperimentId, state: &ExperimentState) -> Experiment {
        let experiment_id = id.to_string();
        Experiment {
            artifact_location: self.places().experiment(&experiment_id, state.artifact_location.as_deref()),
            experiment_id,
            name: state.name.clone(),
            deleted: state.lifecycle != Lifecycle::Active,
            creation_time: state.creation_time_ms,
            last_update_time: state.last_update_time_ms,
            tags: own_tags(&state.tags),
        }
    }
}

/// The error for an experiment that does not exist or is in the wrong state: MLflow does not distinguish them.
fn absent_as(error: ApiError, id: &str) -> ApiError {
    if error.code == ErrorCode::ResourceDoesNotExist { super::experiment_absent(id) } else { error }
}
