//! The artifact location of one entity, rendered for the API that asks; nothing else of the entity is read.

use super::Mlflow;
use super::error::ApiResult;
use super::logged_models::logged_model_absent;
use crate::Lifecycle;

impl Mlflow {
    /// Artifact location of a run.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`.
    pub fn run_artifacts(&self, id: &str) -> ApiResult<String> {
        Ok(self.run_info(id)?.artifact_uri)
    }

    /// Location of a logged model's files; a deleted model counts as missing.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`.
    pub fn logged_model_artifacts(&self, id: &str) -> ApiResult<String> {
        let model = self.model_id(id)?;
        let snapshot = self.entities()?;
        let active = snapshot.logged_model(model)?.filter(|state| state.lifecycle == Lifecycle::Active);
        let state = active.ok_or_else(|| logged_model_absent(id))?;
        self.logged_model_place(&snapshot, model, &state)
    }
}
