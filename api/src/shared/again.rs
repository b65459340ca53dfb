//! The answer to a request that was made before: what the first one made, as it stands now. The log has it: the
//! events of the batch that was appended under the request's number.

use crate::engine::event::payload::Decoded;
use crate::mlflow::entity::{LoggedModel, ModelVersion, RegisteredModel, Run, RunInfo};
use crate::mlflow::{ApiError, ApiResult, ErrorCode, Mlflow};
use crate::{Event, Lsn, RegisteredModelId};

/// What a call answers that may be made once only.
pub(super) trait Again: Sized {
    /// The answer to the call whose batch is at a position.
    fn again(mlflow: &Mlflow, lsn: Lsn) -> ApiResult<Self>;
}

impl Again for () {
    fn again(_mlflow: &Mlflow, _lsn: Lsn) -> ApiResult<Self> {
        Ok(())
    }
}

/// Of a compare-and-set: it was set.
impl Again for bool {
    fn again(_mlflow: &Mlflow, _lsn: Lsn) -> ApiResult<Self> {
        Ok(true)
    }
}

/// Of what the first event that says it tells.
fn first<T>(mlflow: &Mlflow, lsn: Lsn, read: impl Fn(Event) -> Option<ApiResult<T>>) -> ApiResult<T> {
    let events = mlflow.store().engine().events_at(lsn)?;
    let known = events.into_iter().filter_map(|record| match record.event {
        Decoded::Known(event) => Some(event),
        _ => None,
    });
    known.into_iter().find_map(read).unwrap_or_else(|| {
        let message = format!("this call was made before, at position {lsn}, but what it made is gone from the log");
        Err(ApiError::new(ErrorCode::InternalError, message))
    })
}

/// The id of an experiment.
impl Again for String {
    fn again(mlflow: &Mlflow, lsn: Lsn) -> ApiResult<Self> {
        first(mlflow, lsn, |event| match event {
            Event::ExperimentCreated(event) => Some(Ok(event.experiment.to_string())),
            _ => None,
        })
    }
}

impl Again for Run {
    fn again(mlflow: &Mlflow, lsn: Lsn) -> ApiResult<Self> {
        first(mlflow, lsn, |event| match event {
            Event::RunCreated(event) => Some(mlflow.run(&event.run.to_string())),
            _ => None,
        })
    }
}

impl Again for RunInfo {
    fn again(mlflow: &Mlflow, lsn: Lsn) -> ApiResult<Self> {
        first(mlflow, lsn, |event| match event {
            Event::RunUpdated(event) => Some(mlflow.run_info(&event.run.to_string())),
            _ => None,
        })
    }
}

impl Again for LoggedModel {
    fn again(mlflow: &Mlflow, lsn: Lsn) -> ApiResult<Self> {
        first(mlflow, lsn, |event| match event {
            Event::LoggedModelCreated(event) => Some(mlflow.logged_model(&event.model.to_string(), true)),
            Event::LoggedModelFinalized(event) => Some(mlflow.logged_model(&event.model.to_string(), true)),
            _ => None,
        })
    }
}

fn name(mlflow: &Mlflow, id: RegisteredModelId) -> ApiResult<String> {
    let found = mlflow.store().snapshot()?.registered_model_by_id(id)?;
    found.map(|model| model.name.clone()).ok_or_else(|| ApiError::absent("the model of this call is gone"))
}

impl Again for RegisteredModel {
    fn again(mlflow: &Mlflow, lsn: Lsn) -> ApiResult<Self> {
        first(mlflow, lsn, |event| {
            let model = match event {
                Event::RegisteredModelCreated(event) => event.model,
                Event::RegisteredModelRenamed(event) => event.model,
                Event::RegisteredModelUpdated(event) => event.model,
                _ => return None,
            };
            Some(name(mlflow, model).and_then(|name| mlflow.registered_model(&name)))
        })
    }
}

impl Again for ModelVersion {
    fn again(mlflow: &Mlflow, lsn: Lsn) -> ApiResult<Self> {
        first(mlflow, lsn, |event| {
            let (model, version) = match event {
                Event::ModelVersionCreated(event) => (event.model, event.version),
                Event::ModelVersionUpdated(event) => (event.model, event.version),
                Event::ModelVersionStageChanged(event) => (event.model, event.version),
                _ => return None,
            };
            Some(name(mlflow, model).and_then(|name| mlflow.model_version(&name, &version.to_string())))
        })
    }
}
