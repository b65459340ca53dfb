//! The answer to a repeated request: what the first one made ([`Made`]), as the value that its call returns.

use crate::engine::event::payload::Decoded;
use crate::mlflow::entity::{LoggedModel, ModelVersion, RegisteredModel, Run, RunInfo};
use crate::mlflow::{ApiError, ApiResult, ErrorCode, Made, Mlflow, Rewound};
use crate::{Event, Lsn, Promotion, Rollback};

/// A result of a call that may be made only once.
pub(super) trait Again: Sized {
    /// The result of the call whose batch is at this position.
    fn again(mlflow: &Mlflow, lsn: Lsn) -> ApiResult<Self>;
}

impl Again for () {
    fn again(_mlflow: &Mlflow, _lsn: Lsn) -> ApiResult<Self> {
        Ok(())
    }
}

/// The result of a compare-and-set: it was set.
impl Again for bool {
    fn again(_mlflow: &Mlflow, _lsn: Lsn) -> ApiResult<Self> {
        Ok(true)
    }
}

/// The first wanted result among what the batch made.
fn first<T>(mlflow: &Mlflow, lsn: Lsn, read: impl Fn(Made) -> Option<ApiResult<T>>) -> ApiResult<T> {
    mlflow.made_at(lsn)?.into_iter().find_map(read).unwrap_or_else(|| {
        let message = format!("this call was made before, at position {lsn}, but what it made is gone from the log");
        Err(ApiError::new(ErrorCode::InternalError, message))
    })
}

/// The id of an experiment.
impl Again for String {
    fn again(mlflow: &Mlflow, lsn: Lsn) -> ApiResult<Self> {
        first(mlflow, lsn, |made| match made {
            Made::Experiment(id) => Some(Ok(id)),
            _ => None,
        })
    }
}

impl Again for Promotion {
    fn again(mlflow: &Mlflow, lsn: Lsn) -> ApiResult<Self> {
        Ok(mlflow.store().promoted_at(lsn)?)
    }
}

impl Again for Rollback {
    fn again(mlflow: &Mlflow, lsn: Lsn) -> ApiResult<Self> {
        Ok(mlflow.store().rolled_back_at(lsn)?)
    }
}

impl Again for Rewound {
    fn again(mlflow: &Mlflow, lsn: Lsn) -> ApiResult<Self> {
        Ok(mlflow.store().rewound_at(lsn)?.into())
    }
}

/// The position up to which a store was seen, before that was forgotten.
impl Again for u64 {
    fn again(mlflow: &Mlflow, lsn: Lsn) -> ApiResult<Self> {
        let events = mlflow.store().engine().events_at(lsn)?;
        let seen = events.into_iter().find_map(|record| match record.event {
            Decoded::Known(Event::SourceForgotten(event)) => Some(event.seen),
            _ => None,
        });
        Ok(seen.unwrap_or(0))
    }
}

impl Again for Run {
    fn again(mlflow: &Mlflow, lsn: Lsn) -> ApiResult<Self> {
        first(mlflow, lsn, |made| match made {
            Made::Run(id) => Some(mlflow.run(&id)),
            _ => None,
        })
    }
}

impl Again for RunInfo {
    fn again(mlflow: &Mlflow, lsn: Lsn) -> ApiResult<Self> {
        first(mlflow, lsn, |made| match made {
            Made::RunUpdate(id) => Some(mlflow.run_info(&id)),
            _ => None,
        })
    }
}

impl Again for LoggedModel {
    fn again(mlflow: &Mlflow, lsn: Lsn) -> ApiResult<Self> {
        first(mlflow, lsn, |made| match made {
            Made::LoggedModel(id) => Some(mlflow.logged_model(&id, true)),
            _ => None,
        })
    }
}

impl Again for RegisteredModel {
    fn again(mlflow: &Mlflow, lsn: Lsn) -> ApiResult<Self> {
        first(mlflow, lsn, |made| match made {
            Made::RegisteredModel(name) => Some(mlflow.registered_model(&name)),
            _ => None,
        })
    }
}

impl Again for ModelVersion {
    fn again(mlflow: &Mlflow, lsn: Lsn) -> ApiResult<Self> {
        first(mlflow, lsn, |made| match made {
            Made::ModelVersion(name, version) => Some(mlflow.model_version(&name, &version)),
            _ => None,
        })
    }
}
