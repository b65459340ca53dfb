//! The audit of an entity: who changed it, when, and the values before and after.

use crate::changes::{self, Change};
use crate::find::{self, Named, Wanted, Which};
use crate::mlflow::Mlflow;
use crate::mlflow::error::{ApiError, ApiResult};
use crate::{EntityKey, ExperimentId, ModelId, RegisteredModelId, RunId, Snapshot};

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
    /// Any entity, as people name it: see [`crate::find`].
    Named(String),
}

impl EntityName {
    /// Reads what people type: see [`crate::find`].
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
        Ok(match Wanted::parse(text)? {
            Wanted::Experiment(name) => Self::ExperimentNamed(name),
            Wanted::RegisteredModel(name) => Self::RegisteredModel(name),
            Wanted::Version(name, Which::Number(version)) => Self::ModelVersion(name, version.into()),
            Wanted::LoggedModel(id) | Wanted::Any(id) if id.parse::<ModelId>().is_ok() => Self::LoggedModel(id),
            Wanted::Run(id) | Wanted::Any(id) if id.parse::<RunId>().is_ok() => Self::Run(id),
            _ => Self::Named(text.to_owned()),
        })
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
            Self::Named(text) => match find::entity(snapshot, text)? {
                Named::Run(id) => EntityKey::Run(id),
                Named::Experiment(id) => EntityKey::Experiment(id),
                Named::LoggedModel(id) => EntityKey::LoggedModel(id),
                Named::RegisteredModel(id, _) => EntityKey::RegisteredModel(id),
                Named::Version(id, _, version) => EntityKey::ModelVersion(id, version),
            },
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
    /// The entity that a text names, by its whole id or name: see [`crate::find`].
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST` with the nearest names; `INVALID_PARAMETER_VALUE` if several fit, or the text cannot
    /// name anything.
    ///
    /// ```
    /// use runlode::mlflow::EntityName;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let calls = runlode::Store::open(dir.path().join("exp"))?.mlflow();
    /// assert_eq!(calls.find("Default")?, EntityName::Experiment(0));
    /// assert!(calls.find("Defualt").unwrap_err().message.contains("did you mean `Default`?"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn find(&self, text: &str) -> ApiResult<EntityName> {
        Ok(match find::entity(&self.entities()?, text)? {
            Named::Run(id) => EntityName::Run(id.to_string()),
            Named::Experiment(id) => EntityName::Experiment(i64::try_from(id.0).unwrap_or(i64::MAX)),
            Named::LoggedModel(id) => EntityName::LoggedModel(id.to_string()),
            Named::RegisteredModel(_, name) => EntityName::RegisteredModel(name),
            Named::Version(_, name, version) => EntityName::ModelVersion(name, version.into()),
        })
    }

    /// A sentence for each key of a filter and an order that no run has, with the nearest keys: see
    /// [`find::unknown_keys`].
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for a filter or order that cannot be read.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let calls = runlode::Store::open(dir.path().join("exp"))?.mlflow();
    /// assert_eq!(calls.unknown_keys("metrics.loss < 1", &[])?, ["no run has a metric `loss`"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn unknown_keys(&self, filter: &str, order_by: &[String]) -> ApiResult<Vec<String>> {
        let invalid = |error: crate::filter::FilterError| ApiError::invalid(error.to_string());
        let parsed = if filter.trim().is_empty() { None } else { Some(crate::filter::parse(filter).map_err(invalid)?) };
        let order = order_by.iter().map(|key| crate::filter::parse_order(key).map_err(invalid));
        let order = order.collect::<ApiResult<Vec<_>>>()?;
        let unknown = find::unknown_keys(&self.entities()?, parsed.as_ref(), &order)?;
        Ok(unknown.iter().map(ToString::to_string).collect())
    }

    /// The metrics of a run whose keys are nearest to one that it lacks, best first; none if it has this one.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST` for a run that does not exist.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let store = runlode::Store::open(dir.path().join("exp"))?;
    /// let run = store.experiment("digits")?.create_run(runlode::RunSpec::named("r"))?;
    /// run.log_metrics(0, &[("loss", 1.0)])?;
    /// assert_eq!(store.mlflow().nearest_metrics(&run.id().to_string(), "los")?, ["loss"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn nearest_metrics(&self, id: &str, key: &str) -> ApiResult<Vec<String>> {
        let run = self.run_id(id)?;
        let snapshot = self.snapshot_of(run)?;
        self.run_state(&snapshot, run)?;
        let all = snapshot.latest(run)?;
        if all.iter().any(|(known, _)| **known == *key) {
            return Ok(Vec::new());
        }
        Ok(find::near(key, all.iter().map(|(known, _)| &**known)))
    }

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
