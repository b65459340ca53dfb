//! The model registry: registered models, their tags and aliases. Versions are in `model_versions`, searches in
//! `search`.

use super::entity::{ModelVersion, RegisteredModel, Tag};
use super::error::{ApiError, ApiResult};
use super::lookup::{aliased, find, find_version, highest_versions};
use super::{Mlflow, names};
use crate::engine::entity::{ModelVersionState, RegisteredModelState};
use crate::experiment::own_tags;
use crate::{Error, RegisteredModelId, RegisteredModelSpec, Snapshot};

/// The tag that makes a registered model, or a version, a prompt.
pub const TAG_IS_PROMPT: &str = "mlflow.prompt.is_prompt";

impl Mlflow {
    /// Creates a registered model.
    ///
    /// # Errors
    /// `RESOURCE_ALREADY_EXISTS`, saying whether a model or a prompt has the name; `INVALID_PARAMETER_VALUE`.
    pub fn create_registered_model(
        &self,
        name: &str,
        tags: &[Tag],
        description: Option<&str>,
    ) -> ApiResult<RegisteredModel> {
        names::registered_model_name("name", name)?;
        names::pairs_size("tags", tags.len())?;
        tags.iter().try_for_each(|(key, value)| names::registry_tag(key, value))?;
        let spec = RegisteredModelSpec {
            name: name.to_owned(),
            description: description.map(str::to_owned),
            tags: tags.to_vec(),
        };
        match self.store().create_registered_model(spec) {
            Ok(_) => self.registered_model(name),
            Err(Error::AlreadyExists { .. }) => Err(self.name_taken(name, has_prompt_tag(tags))?),
            Err(error) => Err(error.into()),
        }
    }

    /// The error of a creation if the name is taken.
    fn name_taken(&self, name: &str, new_is_prompt: bool) -> ApiResult<ApiError> {
        // If it is gone by now, the general text is right as well.
        let found = self.entities()?.registered_model(name)?;
        let old_is_prompt = found.map_or(new_is_prompt, |(_, state)| has_prompt_tag(&state.tags));
        let kind = |is_prompt| if is_prompt { "Prompt" } else { "Registered Model" };
        if old_is_prompt == new_is_prompt {
            return Ok(ApiError::exists(format!("{} (name={name}) already exists.", kind(new_is_prompt))));
        }
        Ok(ApiError::exists(format!(
            "Tried to create a {} with name '{name}', but the name is already taken by a {}. MLflow does not allow \
             creating a model and a prompt with the same name.",
            kind(new_is_prompt).to_lowercase(),
            kind(old_is_prompt).to_lowercase(),
        )))
    }

    /// A registered model with the highest version of each stage.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`, `INVALID_PARAMETER_VALUE` for an invalid name.
    pub fn registered_model(&self, name: &str) -> ApiResult<RegisteredModel> {
        let snapshot = self.entities()?;
        let (id, state) = find(&snapshot, name)?;
        self.registered_model_entity(&snapshot, id, &state)
    }

    /// Sets the description; `None` clears it.
    ///
    /// # Errors
    /// As [`Mlflow::registered_model`].
    pub fn update_registered_model(&self, name: &str, description: Option<&str>) -> ApiResult<RegisteredModel> {
        names::registered_model_name("name", name)?;
        self.store().describe_registered_model(name, description)?;
        self.registered_model(name)
    }

    /// Renames a registered model; versions, tags and aliases follow.
    ///
    /// # Errors
    /// `RESOURCE_ALREADY_EXISTS`; as [`Mlflow::registered_model`].
    pub fn rename_registered_model(&self, name: &str, new_name: &str) -> ApiResult<RegisteredModel> {
        names::registered_model_name("new_name", new_name)?;
        names::registered_model_name("name", name)?;
        self.store().rename_registered_model(name, new_name)?;
        self.registered_model(new_name)
    }

    /// Deletes a registered model with its versions. Its name is then free again.
    ///
    /// # Errors
    /// As [`Mlflow::registered_model`].
    pub fn delete_registered_model(&self, name: &str) -> ApiResult<()> {
        names::registered_model_name("name", name)?;
        Ok(self.store().delete_registered_model(name)?)
    }

    /// The highest version of each of these stages, by version; no stages means all of them.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for an unknown stage; as [`Mlflow::registered_model`].
    pub fn latest_versions<S: AsRef<str>>(&self, name: &str, stages: &[S]) -> ApiResult<Vec<ModelVersion>> {
        let snapshot = self.entities()?;
        let (id, state) = find(&snapshot, name)?;
        let stages = stages.iter().map(|stage| names::stage(stage.as_ref())).collect::<ApiResult<Vec<_>>>()?;
        let latest = highest_versions(&snapshot, id, &state)?;
        let wanted = latest.iter().filter(|(_, version)| stages.is_empty() || stages.contains(&version.stage));
        Ok(wanted.map(|(number, version)| self.version_entity(&state, *number, version, true)).collect())
    }

    /// Sets a tag of a registered model.
    ///
    /// # Errors
    /// As [`Mlflow::registered_model`].
    pub fn set_registered_model_tag(&self, name: &str, key: &str, value: &str) -> ApiResult<()> {
        names::registered_model_name("name", name)?;
        names::registry_tag(key, value)?;
        Ok(self.store().set_registered_model_tags(name, &[(key, value)])?)
    }

    /// Deletes a tag of a registered model; a missing one is fine.
    ///
    /// # Errors
    /// As [`Mlflow::registered_model`].
    pub fn delete_registered_model_tag(&self, name: &str, key: &str) -> ApiResult<()> {
        names::registered_model_name("name", name)?;
        names::key("key", key)?;
        Ok(self.store().delete_registered_model_tag(name, key)?)
    }

    /// Sets an alias, or moves it to another version.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for an invalid or reserved alias; `RESOURCE_DOES_NOT_EXIST`.
    pub fn set_registered_model_alias(&self, name: &str, alias: &str, version: &str) -> ApiResult<()> {
        names::registered_model_name("name", name)?;
        names::alias(alias)?;
        self.on_version(name, version, |store, version| store.set_alias(name, alias, version))
    }

    /// Deletes an alias; a missing one is fine.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for an invalid alias; `RESOURCE_DOES_NOT_EXIST` for the model.
    pub fn delete_registered_model_alias(&self, name: &str, alias: &str) -> ApiResult<()> {
        names::registered_model_name("name", name)?;
        names::alias_form(alias)?;
        Ok(self.store().delete_alias(name, alias)?)
    }

    /// The version that an alias names; `latest`, in any case, is the highest one.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for an alias that does not exist (as in MLflow); `RESOURCE_DOES_NOT_EXIST` for the
    /// model, or for `latest` of a model without versions.
    pub fn model_version_by_alias(&self, name: &str, alias: &str) -> ApiResult<ModelVersion> {
        names::registered_model_name("name", name)?;
        names::alias_form(alias)?;
        let snapshot = self.entities()?;
        let (id, state) = find(&snapshot, name)?;
        let number = aliased(&state, alias)?;
        let (number, version) = find_version(&snapshot, id, &state, i64::from(number))?;
        Ok(self.version_entity(&state, number, &version, true))
    }

    /// A registered model with the highest version of each stage, as `get` and searches return it.
    pub(super) fn registered_model_entity(
        &self,
        snapshot: &Snapshot,
        id: RegisteredModelId,
        state: &RegisteredModelState,
    ) -> ApiResult<RegisteredModel> {
        let latest = highest_versions(snapshot, id, state)?;
        let latest = latest.iter().map(|(number, version)| self.version_entity(state, *number, version, false));
        Ok(RegisteredModel {
            name: state.name.clone(),
            creation_timestamp: state.creation_time_ms,
            last_updated_timestamp: state.last_updated_time_ms,
            description: state.description.clone(),
            latest_versions: latest.collect(),
            tags: own_tags(&state.tags),
            aliases: state.aliases.clone(),
        })
    }

    /// A version. Searches and the latest versions of a model leave its aliases out.
    pub(in crate::mlflow) fn version_entity(
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

/// Whether tags make a prompt: if a name is taken, MLflow checks only for the key, whatever its value.
fn has_prompt_tag(tags: &[Tag]) -> bool {
    tags.iter().any(|(key, _)| key == TAG_IS_PROMPT)
}

#[cfg(test)]
pub(super) mod tests;
