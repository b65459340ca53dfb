//! The model registry: registered models, versions, stages and aliases; all of MLflow's calls but the searches.

use super::Mlflow;
use super::entity::{ModelVersion, RegisteredModel};
use super::error::ApiResult;
use crate::engine::entity::{ModelVersionState, RegisteredModelState};
use crate::{RegisteredModelId, Snapshot, Stage};

impl Mlflow {
    /// A registered model with the highest version of each stage, as `get` and searches answer it.
    pub(super) fn registered_model_entity(
        &self,
        snapshot: &Snapshot,
        id: RegisteredModelId,
        state: &RegisteredModelState,
    ) -> ApiResult<RegisteredModel> {
        let mut latest: Vec<ModelVersion> = Vec::new();
        let mut stages: Vec<Stage> = Vec::new();
        for version in state.versions.iter().rev() {
            let Some(found) = snapshot.model_version(id, *version)?.filter(|found| !found.deleted) else { continue };
            if !stages.contains(&found.stage) {
                stages.push(found.stage);
                latest.push(self.version_entity(state, *version, &found, false));
            }
        }
        latest.reverse();
        Ok(RegisteredModel {
            name: state.name.clone(),
            creation_timestamp: state.creation_time_ms,
            last_updated_timestamp: state.last_updated_time_ms,
            description: state.description.clone(),
            latest_versions: latest,
            tags: state.tags.clone(),
            aliases: state.aliases.clone(),
        })
    }

    /// A version; searches and the latest versions of a model leave its aliases out.
    pub(super) fn version_entity(
        &self,
        model: &RegisteredModelState,
        version: u32,
        state: &ModelVersionState,
        with_aliases: bool,
    ) -> ModelVersion {
        let aliases = model.aliases.iter().filter(|(_, named)| with_aliases && *named == version);
        ModelVersion {
            name: model.name.clone(),
            version,
            creation_timestamp: state.creation_time_ms,
            last_updated_timestamp: state.last_updated_time_ms,
            user_id: state.user_id.clone(),
            current_stage: state.stage,
            description: state.description.clone(),
            source: state.source.clone(),
            run_id: state.run_id.clone(),
            run_link: state.run_link.clone(),
            model_id: state.model_id.clone(),
            status: state.status,
            status_message: state.status_message.clone(),
            tags: state.tags.clone(),
            aliases: aliases.map(|(alias, _)| alias.clone()).collect(),
        }
    }
}
