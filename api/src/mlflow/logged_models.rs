//! Logged models (MLflow 3): all of MLflow's calls on them but the search.

use std::sync::Arc;

use super::Mlflow;
use super::entity::{LoggedModel, Metric};
use super::error::{ApiError, ApiResult};
use crate::engine::entity::LoggedModelState;
use crate::engine::query::points::HistoryQuery;
use crate::engine::series::ColumnSet;
use crate::{Error, ModelId, Snapshot};

impl Mlflow {
    /// The model of an id as it came from a client.
    pub(super) fn model_id(&self, text: &str) -> ApiResult<ModelId> {
        text.parse().map_err(|_| logged_model_absent(text))
    }

    /// A logged model with every point that was logged with its id, in order of run and key, then time, step, value.
    pub(super) fn logged_model_entity(
        &self,
        snapshot: &Snapshot,
        id: ModelId,
        state: &LoggedModelState,
    ) -> ApiResult<LoggedModel> {
        let model_id = id.to_string();
        let mut metrics = Vec::new();
        for (run, key) in &state.metric_series {
            let columns = ColumnSet::POINTS.with(ColumnSet::CONTEXTS);
            let page = match snapshot.history(*run, key, &HistoryQuery { columns, ..HistoryQuery::default() }) {
                Ok(page) => page,
                // The run's points are gone with it.
                Err(Error::NotFound { .. } | Error::Purged { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            let name: Arc<str> = key.as_str().into();
            let run_id = run.to_string();
            let contexts = &page.columns.contexts;
            for (i, context) in contexts.iter().enumerate() {
                let Some(context) = snapshot.metric_context(crate::engine::ContextId(*context)) else { continue };
                if context.model_id.as_deref() != Some(&model_id) {
                    continue;
                }
                let point = page.columns.point(i);
                metrics.push(Metric {
                    key: name.clone(),
                    value: point.value,
                    timestamp: point.time.0,
                    step: point.step,
                    model_id: Some(model_id.clone()),
                    dataset_name: context.dataset_name.clone(),
                    dataset_digest: context.dataset_digest.clone(),
                    run_id: Some(run_id.clone()),
                });
            }
        }
        let experiment_id = state.experiment.to_string();
        let experiment = self.experiment_state(snapshot, state.experiment)?;
        let artifact_uri = self.places().logged_model(
            &experiment_id,
            experiment.artifact_location.as_deref(),
            &model_id,
            state.artifact_location.as_deref(),
        );
        Ok(LoggedModel {
            model_id,
            experiment_id,
            name: state.name.clone(),
            model_type: state.model_type.clone(),
            source_run_id: state.source_run.clone(),
            artifact_uri,
            status: state.status,
            status_message: state.status_message.clone(),
            creation_timestamp_ms: state.creation_time_ms,
            last_updated_timestamp_ms: state.last_updated_time_ms,
            tags: state.tags.clone(),
            params: state.params.clone(),
            metrics,
        })
    }
}

pub(super) fn logged_model_absent(id: &str) -> ApiError {
    ApiError::absent(format!("Logged model with ID '{id}' not found."))
}
