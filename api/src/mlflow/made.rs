//! What a call made, by the batch that it appended: how a call that comes again finds its answer.
//!
//! The log has the events of the batch; what they name is read as it stands now. Two doors answer so, each in its own
//! form: the process that holds a store by a value ([`crate::shared`]), the REST server by the JSON of its own reads.

use super::{ApiError, ApiResult, Mlflow};
use crate::engine::event::payload::Decoded;
use crate::{Event, Lsn, RegisteredModelId};

/// What an event made, and how MLflow's calls name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// An experiment, by its id.
    Experiment(String),
    /// A run.
    Run(String),
    /// A change of a run: the answer is what is known of it beside its data.
    RunUpdate(String),
    /// A logged model, or a change of one.
    LoggedModel(String),
    /// A registered model, or a change of one, by its name now.
    RegisteredModel(String),
    /// A version, or a change of one: name of the model now, and number.
    ModelVersion(String, String),
}

impl Mlflow {
    /// What the batch at a position made, in the order of its events.
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
