//! What a call created or changed, from the batch that it appended: so a repeated call finds its answer.
//!
//! The log has the events of the batch; the entities that they name are read in their current state. Two APIs answer
//! from it: the process that holds a store with a value ([`crate::shared`]), the REST server with the JSON of its own
//! reads.

use super::{ApiError, ApiResult, Mlflow};
use crate::engine::event::payload::Decoded;
use crate::{Event, Lsn, RegisteredModelId};

/// An entity that an event created or changed, by the id that MLflow's calls use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// An experiment, by its id.
    Experiment(String),
    /// A run, by its id.
    Run(String),
    /// A change of a run: the answer is its attributes without its data.
    RunUpdate(String),
    /// A logged model, or a change of one.
    LoggedModel(String),
    /// A registered model, or a change of one, by its current name.
    RegisteredModel(String),
    /// A version, or a change of one: current name of the model, and number.
    ModelVersion(String, String),
}

impl Mlflow {
    /// The entities that the batch at a position created or changed, in the order of its events.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST` for a model that has been deleted since; those of reading the log.
    pub fn made_at(&self, lsn: Lsn) -> ApiResult<Vec<Made>> {
        let mut made = Vec::new();
        for record in self.store().engine().events_at(lsn)? {
            let Decoded::Known(event) = record.event else { continue };
            made.push(match event {
                Event::ExperimentCreated(e) => Made::Experiment(e.experiment.to_string()),
                Event::RunCreated(e) => Made::Run(e.run.to_string()),
                Event::RunUpdated(e) => Made::RunUpdate(e.run.to_string()),
                Event::LoggedModelCreated(e) => Made::LoggedModel(e.model.to_string()),
                Event::LoggedModelFinalized(e) => Made::LoggedModel(e.model.to_string()),
                Event::RegisteredModelCreated(e) => Made::RegisteredModel(self.name_now(e.model)?),
                Event::RegisteredModelRenamed(e) => Made::RegisteredModel(self.name_now(e.model)?),
                Event::RegisteredModelUpdated(e) => Made::RegisteredModel(self.name_now(e.model)?),
                Event::ModelVersionCreated(e) => Made::ModelVersion(self.name_now(e.model)?, e.version.to_string()),
                Event::ModelVersionUpdated(e) => Made::ModelVersion(self.name_now(e.model)?, e.version.to_string()),
                Event::ModelVersionStageChanged(e) => {
                    Made::ModelVersion(self.name_now(e.model)?, e.version.to_string())
                }
                _ => continue,
            });
        }
        Ok(made)
    }

    fn name_now(&self, id: RegisteredModelId) -> ApiResult<String> {
        let found = self.snapshot()?.registered_model_by_id(id)?;
        found.map(|model| model.name.clone()).ok_or_else(|| ApiError::absent("the model of this call is gone"))
    }
}
