//! Versions of registered models: creation, stages, tags, location of their files.
//!
//! ```text
//! source as given            what is kept as storage_location        download URI
//! models:/m-ID               None                                    place of the logged model, as this door renders it
//!   of another store         the place that the caller found         the same
//! models:/NAME/VERSION       that version's storage_location,        the same as that version's
//!                            or its source if it has none
//! anything else              None                                    the source
//! ```

use std::sync::Arc;

use super::Mlflow;
use super::entity::{ModelVersion, Tag};
use super::error::{ApiError, ApiResult};
use super::logged_models::logged_model_absent;
use super::lookup::{self, Found, find_version, version_absent};
use super::model_uri::ModelUri;
use super::names;
use crate::engine::entity::{ModelVersionState, RegisteredModelState};
use crate::engine::event::LoggedModelTagsSet;
use crate::{
    EntityKey, EntityKind, Error, Lifecycle, LocalStore, LoggedModelState, ModelId, RegisteredModelId, Snapshot, Stage,
    VersionSpec,
};

/// The tag of a logged model that lists the versions made from it.
const TAG_MODEL_VERSIONS: &str = "mlflow.modelVersions";

/// Arguments of `create_model_version`. `None` and an empty text mean the same, but are answered differently.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewModelVersion<'a> {
    /// Source of the model. `Mlflow::vet_source` decides beforehand whether a client may name it.
    pub source: &'a str,
    /// Id of the run that produced it; if absent or empty, the run of the logged model, if there is one.
    pub run_id: Option<&'a str>,
    /// Link to the run.
    pub run_link: Option<&'a str>,
    /// Description.
    pub description: Option<&'a str>,
    /// Id of the logged model it is made from.
    pub model_id: Option<&'a str>,
    /// Location of the files of a model in another store. Source and logged model are then not looked up here.
    pub storage_location: Option<&'a str>,
    /// Tags; of equal keys the last one counts.
    pub tags: &'a [Tag],
    /// Whether to add the version to the logged model's tag `mlflow.modelVersions`. MLflow's server does so; in process
    /// the client does.
    pub note_on_model: bool,
}

/// The origin of a new version, as stored.
struct Origin {
    storage_location: Option<String>,
    run_id: Option<String>,
    model_id: Option<String>,
    /// The logged model whose tag must name the version.
    logged: Option<(ModelId, Arc<LoggedModelState>)>,
}

impl Mlflow {
    /// Creates the next version of a registered model: the highest number ever used in it, plus 1.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST` for the model, or for a logged model given by id; `INTERNAL_ERROR` with status 400 for
    /// a `models:/` source that names nothing; `INVALID_PARAMETER_VALUE`.
    pub fn create_model_version(&self, name: &str, new: &NewModelVersion<'_>) -> ApiResult<ModelVersion> {
        names::registered_model_name("name", name)?;
        names::pairs_size("tags", new.tags.len())?;
        new.tags.iter().try_for_each(|(key, value)| names::version_tag(key, value))?;
        // Look up the source before the registered model.
        self.origin(&self.entities()?, new)?;
        let version = self.store().decide(name, |snapshot, model, state| {
            let Origin { storage_location, run_id, model_id, logged } = self.origin(snapshot, new)?;
            let spec = VersionSpec {
                source: new.source.to_owned(),
                run: run_id,
                run_link: new.run_link.map(str::to_owned),
                model: model_id,
                user: None,
                description: new.description.map(str::to_owned),
                storage_location,
                tags: new.tags.to_vec(),
            };
            let (mut batch, version) = self.store().next_version(model, state, spec)?;
            if let Some((id, logged)) = logged {
                let before = logged.tags.iter().find(|(key, _)| key == TAG_MODEL_VERSIONS).map(|(_, value)| value);
                let value = with_version(before.map(String::as_str), name, version);
                batch.push_event(LoggedModelTagsSet { model: id, tags: vec![(TAG_MODEL_VERSIONS.to_owned(), value)] });
                batch = batch.expect(EntityKey::LoggedModel(id), logged.last);
            }
            Ok::<_, ApiError>((batch, version))
        })?;
        self.model_version(name, &version.to_string())
    }

    /// Looks up the origin of a new version.
    fn origin(&self, snapshot: &Snapshot, new: &NewModelVersion<'_>) -> ApiResult<Origin> {
        let unreachable = |error: ApiError| {
            names::internal_as_400(format!(
                "Unable to fetch model from model URI source artifact location '{}'.Error: {}",
                new.source, error.message
            ))
        };
        let no_run = |run_id: &Option<String>| run_id.as_deref().unwrap_or_default().is_empty();
        let run_of = |logged: &LoggedModelState| Some(logged.source_run.clone()).filter(|run| !run.is_empty());
        let mut run_id = new.run_id.map(str::to_owned);
        let model_id = new.model_id.filter(|id| !id.is_empty());
        if let Some(place) = new.storage_location {
            let (storage_location, model_id) = (Some(place.to_owned()), model_id.map(str::to_owned));
            return Ok(Origin { storage_location, run_id, model_id, logged: None });
        }
        let (mut storage_location, mut copied) = (None, None);
        if ModelUri::is_one(new.source) {
            match ModelUri::parse(new.source).map_err(|improper| names::internal_as_400(improper.message))? {
                ModelUri::Logged(id) => {
                    let (_, logged) = self.visible_logged_model(snapshot, &id).map_err(unreachable)?;
                    if no_run(&run_id) {
                        run_id = run_of(&logged);
                    }
                }
                registered => {
                    let (_, _, _, version) = resolve(snapshot, &registered).map_err(unreachable)?;
                    storage_location = Some(version.storage_location.clone().unwrap_or_else(|| version.source.clone()));
                    copied = version.model_id.clone();
                }
            }
        }
        let mut logged = None;
        if let Some(id) = model_id {
            // A copy may outlive the logged model.
            let needs_run = no_run(&run_id) && copied.as_deref() != Some(id);
            if new.note_on_model || needs_run {
                let found = self.visible_logged_model(snapshot, id)?;
                if no_run(&run_id) {
                    run_id = run_of(&found.1);
                }
                logged = Some(found).filter(|_| new.note_on_model);
            }
        }
        Ok(Origin { storage_location, run_id, model_id: model_id.map(str::to_owned), logged })
    }

    /// A version with its aliases.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`; `INVALID_PARAMETER_VALUE` for a version that is not an integer.
    pub fn model_version(&self, name: &str, version: &str) -> ApiResult<ModelVersion> {
        let snapshot = self.entities()?;
        let (_, state, number, version) = find_by_name(&snapshot, name, version)?;
        Ok(self.version_entity(&state, number, &version, true))
    }

    /// Sets a version's description; `None` clears it.
    ///
    /// # Errors
    /// As [`Mlflow::model_version`].
    pub fn update_model_version(
        &self,
        name: &str,
        version: &str,
        description: Option<&str>,
    ) -> ApiResult<ModelVersion> {
        self.on_version(name, version, |store, version| store.describe_version(name, version, description))?;
        self.model_version(name, version)
    }

    /// Moves a version to a stage. With `archive_existing_versions`, every other version of that stage is archived in
    /// the same step.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for an unknown stage; `INTERNAL_ERROR` with status 400 for `archive_existing_versions`
    /// with an inactive stage; as [`Mlflow::model_version`].
    pub fn transition_model_version_stage(
        &self,
        name: &str,
        version: &str,
        stage: &str,
        archive_existing_versions: bool,
    ) -> ApiResult<ModelVersion> {
        let to = names::stage(stage)?;
        if archive_existing_versions && !matches!(to, Stage::Staging | Stage::Production) {
            return Err(names::internal_as_400(format!(
                "Model version transition cannot archive existing model versions because '{stage}' is not an Active \
                 stage. Valid stages are ['Staging', 'Production']"
            )));
        }
        self.on_version(name, version, |store, version| {
            store.transition_stage(name, version, to, archive_existing_versions)
        })?;
        self.model_version(name, version)
    }

    /// Deletes a version and its aliases. Its number stays used.
    ///
    /// # Errors
    /// As [`Mlflow::model_version`].
    pub fn delete_model_version(&self, name: &str, version: &str) -> ApiResult<()> {
        // MLflow looks at the number before the name here.
        number(version)?;
        self.on_version(name, version, |store, version| store.delete_version(name, version))
    }

    /// Location of a version's files.
    ///
    /// # Errors
    /// As [`Mlflow::model_version`].
    pub fn model_version_download_uri(&self, name: &str, version: &str) -> ApiResult<String> {
        let snapshot = self.entities()?;
        let (_, _, _, version) = find_by_name(&snapshot, name, version)?;
        let Some(kept) = &version.storage_location else { return self.place_of_source(&snapshot, &version.source) };
        self.place_of_source(&snapshot, &self.places().rendered(kept))
    }

    fn place_of_source(&self, snapshot: &Snapshot, source: &str) -> ApiResult<String> {
        if ModelUri::is_one(source)
            && let Ok(ModelUri::Logged(id)) = ModelUri::parse(source)
            && let Ok(id) = self.model_id(&id)
            && let Some(logged) = snapshot.logged_model(id)?
        {
            return self.logged_model_place(snapshot, id, &logged);
        }
        Ok(source.to_owned())
    }

    /// Sets a tag of a version.
    ///
    /// # Errors
    /// As [`Mlflow::model_version`].
    pub fn set_model_version_tag(&self, name: &str, version: &str, key: &str, value: &str) -> ApiResult<()> {
        names::registered_model_name("name", name)?;
        number(version)?;
        names::version_tag(key, value)?;
        self.on_version(name, version, |store, version| store.set_version_tags(name, version, &[(key, value)]))
    }

    /// Deletes a tag of a version; a missing one is fine.
    ///
    /// # Errors
    /// As [`Mlflow::model_version`].
    pub fn delete_model_version_tag(&self, name: &str, version: &str, key: &str) -> ApiResult<()> {
        names::registered_model_name("name", name)?;
        number(version)?;
        names::key("key", key)?;
        self.on_version(name, version, |store, version| store.delete_version_tag(name, version, key))
    }

    /// Changes a version named by a client. If the model does not exist, MLflow says that the version does not.
    pub(super) fn on_version(
        &self,
        name: &str,
        version: &str,
        change: impl FnOnce(&LocalStore, u32) -> crate::Result<()>,
    ) -> ApiResult<()> {
        names::registered_model_name("name", name)?;
        let number = number(version)?;
        let version = u32::try_from(number).map_err(|_| version_absent(name, number))?;
        change(self.store(), version).map_err(|error| match error {
            Error::NotFound { entity: EntityKind::RegisteredModel | EntityKind::ModelVersion, .. } => {
                version_absent(name, number)
            }
            error => error.into(),
        })
    }

    /// A logged model that is not deleted.
    pub(super) fn visible_logged_model(
        &self,
        snapshot: &Snapshot,
        id: &str,
    ) -> ApiResult<(ModelId, Arc<LoggedModelState>)> {
        let model = self.model_id(id)?;
        let found = snapshot.logged_model(model)?.filter(|state| state.lifecycle == Lifecycle::Active);
        found.map(|state| (model, state)).ok_or_else(|| logged_model_absent(id))
    }
}

/// A version's number as given by a client. An integer that no version can have is simply not found.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE` if it is not an integer.
pub(super) fn number(text: &str) -> ApiResult<i64> {
    let refused = || ApiError::invalid(format!("Parameter 'version' must be an integer, got '{text}'."));
    let trimmed = text.trim();
    let digits = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refused());
    }
    // Longer numbers are integers too, but of no version.
    Ok(trimmed.parse().unwrap_or(i64::MAX))
}

/// A version and its model, found by names that a client gave.
type FoundVersion = (RegisteredModelId, Arc<RegisteredModelState>, u32, Arc<ModelVersionState>);

/// A version by the name of its model. If the model does not exist, MLflow says that the version does not.
pub(super) fn find_by_name(snapshot: &Snapshot, name: &str, version: &str) -> ApiResult<FoundVersion> {
    names::registered_model_name("name", name)?;
    let number = number(version)?;
    let found: Option<Found> = snapshot.registered_model(name)?;
    let Some((id, state)) = found else { return Err(version_absent(name, number)) };
    let (number, found) = find_version(snapshot, id, &state, number)?;
    Ok((id, state, number, found))
}

/// The version that a `models:/` URI names.
///
/// # Errors
/// `RESOURCE_DOES_NOT_EXIST`; `INVALID_PARAMETER_VALUE` for a missing alias or an unknown stage.
pub(super) fn resolve(snapshot: &Snapshot, uri: &ModelUri) -> ApiResult<FoundVersion> {
    let (name, version) = match uri {
        ModelUri::Logged(id) => return Err(logged_model_absent(id)),
        ModelUri::Version { name, version } => (name, version.clone()),
        ModelUri::Alias { name, alias } => {
            let (_, state) = lookup::find(snapshot, name)?;
            names::alias_form(alias)?;
            (name, lookup::aliased(&state, alias)?.to_string())
        }
        ModelUri::Latest { name } => {
            let (_, state) = lookup::find(snapshot, name)?;
            (name, lookup::aliased(&state, "latest")?.to_string())
        }
        ModelUri::Stage { name, stage } => {
            let (id, state) = lookup::find(snapshot, name)?;
            let wanted = names::stage(stage)?;
            let latest = lookup::highest_versions(snapshot, id, &state)?;
            let found = latest.into_iter().find(|(_, version)| version.stage == wanted);
            let (number, _) = found.ok_or_else(|| {
                ApiError::absent(format!("No versions of model with name '{name}' and stage '{stage}' found"))
            })?;
            (name, number.to_string())
        }
    };
    find_by_name(snapshot, name, &version)
}

/// A JSON list of versions with one more added.
fn with_version(list: Option<&str>, name: &str, version: u32) -> String {
    let entry = format!("{{\"name\": {}, \"version\": {version}}}", names::quoted(name));
    let inner = list.and_then(|list| list.trim().strip_prefix('[')?.strip_suffix(']'));
    match inner.map(str::trim) {
        // The tag is not a list: MLflow fails here, this begins a new list.
        None | Some("") => format!("[{entry}]"),
        Some(inner) if inner.contains(&entry) => format!("[{inner}]"),
        Some(inner) => format!("[{inner}, {entry}]"),
    }
}

#[cfg(test)]
mod tests;
