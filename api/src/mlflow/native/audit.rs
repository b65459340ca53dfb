//! The audit of an entity: who changed it, when, and the values before and after.

use crate::changes::{self, Change};
use crate::mlflow::Mlflow;
use crate::mlflow::error::{ApiError, ApiResult};
use crate::{EntityKey, ExperimentId, RegisteredModelId, Snapshot};

/// An entity, in the form in which callers name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntityName {
    /// A run by its id.
    Run(String),
    /// An experiment by its number.
    Experiment(i64),
    /// An experiment by its name, or else by its number.
    ExperimentNamed(String),
    /// A logged model by its id.
    LoggedModel(String),
    /// A registered model by its name.
    RegisteredModel(String),
    /// A version by the model's name and its number.
    ModelVersion(String, i64),
}

impl EntityName {
    /// Reads `RUN_ID`, `m-MODEL_ID`, `experiment:NAME`, `models:/NAME`, `models:/NAME/VERSION`.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    ///
    /// ```
    /// use runlode::mlflow::EntityName;
    ///
    /// assert_eq!(EntityName::parse("models:/fraud/7")?, EntityName::ModelVersion("fraud".into(), 7));
    /// # Ok::<(), runlode::mlflow::ApiError>(())
    /// ```
    pub fn parse(text: &str) -> ApiResult<Self> {
        if let Some(name) = text.strip_prefix("experiment:") {
            return Ok(Self::ExperimentNamed(name.to_owned()));
        }
        if text.starts_with("m-") {
            return Ok(Self::LoggedModel(text.to_owned()));
        }
        let Some(model) = text.strip_prefix("models:/") else { return Ok(Self::Run(text.to_owned())) };
        match model.split_once('/') {
            None if !model.is_empty() => Ok(Self::RegisteredModel(model.to_owned())),
            Some((name, version)) if !name.is_empty() => match version.parse() {
                Ok(version) => Ok(Self::ModelVersion(name.to_owned(), version)),
                Err(_) => Err(ApiError::invalid(format!("'{version}' is no version number; write models:/{name}/1"))),
            },
            _ => {
                let text = format!("'{text}' names no model; write models:/NAME or models:/NAME/VERSION");
                Err(ApiError::invalid(text))
            }
        }
    }

    fn key(&self, snapshot: &Snapshot) -> ApiResult<EntityKey> {
        let model = |name: &str| -> ApiResult<RegisteredModelId> {
            let absent = || ApiError::absent(format!("Registered Model with name={name} not found"));
            Ok(snapshot.registered_model(name)?.ok_or_else(absent)?.0)
        };
        Ok(match self {
            Self::Run(id) => EntityKey::Run(id.parse().map_err(|_| super::super::run_absent(id))?),
            Self::Experiment(id) => {
                let absent = |_| ApiError::absent(format!("No Experiment with id={id} exists"));
                EntityKey::Experiment(ExperimentId(u64::try_from(*id).map_err(absent)?))
            }
            Self::ExperimentNamed(text) => EntityKey::Experiment(super::experiment_named(snapshot, text)?),
            Self::LoggedModel(id) => {
                let absent = |_| ApiError::absent(format!("Logged model with ID '{id}' not found."));
                EntityKey::LoggedModel(id.parse().map_err(absent)?)
            }
            Self::RegisteredModel(name) => EntityKey::RegisteredModel(model(name)?),
            Self::ModelVersion(name, version) => {
                let absent = |_| ApiError::absent(format!("Model Version (name={name}, version={version}) not found"));
                EntityKey::ModelVersion(model(name)?, u32::try_from(*version).map_err(absent)?)
            }
        })
    }
}

/// The changes of an entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityChanges {
    /// The position that was read.
    pub position: u64,
    /// Changes, oldest first.
    pub changes: Vec<Change>,
}

impl Mlflow {
    /// Every change of an entity since its creation: author, time, values before and after.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST` for an entity that never existed.
    pub fn entity_changes(&self, entity: &EntityName) -> ApiResult<EntityChanges> {
        let snapshot = self.snapshot()?;
        let key = entity.key(&snapshot)?;
        let events = snapshot.events(&key)?;
        if events.is_empty() && snapshot.entity(&key)?.is_none() {
            return Err(ApiError::absent("There is no such entity, and never was."));
        }
        Ok(EntityChanges { position: snapshot.position().0, changes: changes::of(&events, |ms| format!("{ms} ms")) })
    }
}
