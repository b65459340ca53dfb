//! MLflow's calls on logged models (MLflow 3), except the search.

use std::sync::Arc;

use super::entity::{LoggedModel, Metric, Tag};
use super::error::{ApiError, ApiResult};
use super::{Mlflow, names};
use crate::engine::entity::LoggedModelState;
use crate::engine::{ColumnSet, HistoryPage, HistoryQuery};
use crate::{EntityKind, Error, Lifecycle, LoggedModelSpec, LoggedModelStatus, ModelId, RunId, Snapshot};

/// Arguments of `create_logged_model`.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewLoggedModel<'a> {
    /// Id of the experiment.
    pub experiment_id: &'a str,
    /// Name; `None`: a random one.
    pub name: Option<&'a str>,
    /// Type, free text; may be empty.
    pub model_type: &'a str,
    /// Id of the run that produces it; may be empty, and need not exist.
    pub source_run_id: &'a str,
    /// Params; a duplicate key is an error.
    pub params: &'a [Tag],
    /// Tags; a duplicate key is an error.
    pub tags: &'a [Tag],
}

impl Mlflow {
    /// Creates a logged model with status pending.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for an invalid name, a duplicate key, or a deleted experiment;
    /// `RESOURCE_DOES_NOT_EXIST` for the experiment.
    pub fn create_logged_model(&self, new: &NewLoggedModel<'_>) -> ApiResult<LoggedModel> {
        new.name.map_or(Ok(()), names::logged_model_name)?;
        names::pairs_size("params", new.params.len())?;
        names::pairs_size("tags", new.tags.len())?;
        let experiment = self.experiment_id(new.experiment_id)?;
        // Check before the keys, as MLflow does; the append checks again.
        self.active_experiment(&self.snapshot()?, experiment)?;
        names::refuse_doubled("param", new.params)?;
        names::refuse_doubled("tag", new.tags)?;
        let spec = LoggedModelSpec {
            name: new.name.map(str::to_owned),
            model_type: new.model_type.to_owned(),
            source_run: new.source_run_id.to_owned(),
            artifact_location: None,
            params: new.params.to_vec(),
            tags: new.tags.to_vec(),
        };
        let model = self.store().create_logged_model(experiment, spec)?;
        self.logged_model(&model.to_string(), true)
    }

    /// A logged model; a deleted one only if `allow_deleted`.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`.
    pub fn logged_model(&self, id: &str, allow_deleted: bool) -> ApiResult<LoggedModel> {
        let model = self.model_id(id)?;
        let snapshot = self.snapshot()?;
        let visible = |state: &Arc<LoggedModelState>| allow_deleted || state.lifecycle == Lifecycle::Active;
        let state = snapshot.logged_model(model)?.filter(visible).ok_or_else(|| logged_model_absent(id))?;
        self.logged_model_entity(&snapshot, model, &state)
    }

    /// Sets the status, also of a deleted model.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`.
    pub fn finalize_logged_model(&self, id: &str, status: LoggedModelStatus) -> ApiResult<LoggedModel> {
        let model = self.model_id(id)?;
        self.store().finalize_logged_model(model, status)?;
        self.logged_model(id, true)
    }

    /// Deletes a logged model; a deleted one stays deleted. Its files stay.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`.
    pub fn delete_logged_model(&self, id: &str) -> ApiResult<()> {
        let model = self.model_id(id)?;
        self.store().delete_logged_model(model)?;
        Ok(())
    }

    /// Adds params, also to a deleted model.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for a key that it already has, even with the same value, or a duplicate one;
    /// `RESOURCE_DOES_NOT_EXIST`.
    pub fn log_logged_model_params(&self, id: &str, params: &[Tag]) -> ApiResult<()> {
        names::pairs_size("params", params.len())?;
        let model = self.known_model(id)?;
        names::refuse_doubled("param", params)?;
        if params.is_empty() {
            return Ok(());
        }
        match self.store().log_logged_model_params(model, params) {
            Ok(_) => Ok(()),
            Err(Error::AlreadyExists { id: key, .. }) => Err(ApiError::invalid(format!(
                "Changing param values is not allowed. Param with key='{key}' was already logged for model ID='{id}'."
            ))),
            Err(error) => Err(error.into()),
        }
    }

    /// Sets tags, also of a deleted model; of equal keys the last one counts.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`; `INVALID_PARAMETER_VALUE` for overlong tags.
    pub fn set_logged_model_tags(&self, id: &str, tags: &[Tag]) -> ApiResult<()> {
        names::pairs_size("tags", tags.len())?;
        let model = self.known_model(id)?;
        if tags.is_empty() {
            return Ok(());
        }
        self.store().set_logged_model_tags(model, tags)?;
        Ok(())
    }

    /// Deletes a tag, also of a deleted model.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`, also for a missing tag.
    pub fn delete_logged_model_tag(&self, id: &str, key: &str) -> ApiResult<()> {
        let model = self.known_model(id)?;
        match self.store().delete_logged_model_tag(model, key) {
            Ok(_) => Ok(()),
            Err(Error::NotFound { entity: EntityKind::Tag, .. }) => Err(ApiError::absent(format!(
                "No tag with key {} found for model with ID {}.",
                names::python_text(key),
                names::python_text(id)
            ))),
            Err(error) => Err(error.into()),
        }
    }

    /// The id of an existing model, deleted or not.
    fn known_model(&self, id: &str) -> ApiResult<ModelId> {
        let model = self.model_id(id)?;
        self.snapshot()?.logged_model(model)?.map(|_| model).ok_or_else(|| logged_model_absent(id))
    }

    /// Location of a logged model's files, rendered for this API.
    pub(super) fn logged_model_place(
        &self,
        snapshot: &Snapshot,
        id: ModelId,
        state: &LoggedModelState,
    ) -> ApiResult<String> {
        let experiment = self.experiment_state(snapshot, state.experiment)?;
        Ok(self.places().logged_model(
            &state.experiment.to_string(),
            experiment.artifact_location.as_deref(),
            &id.to_string(),
            state.artifact_location.as_deref(),
        ))
    }

    /// Parses a model id given by a client.
    pub(super) fn model_id(&self, text: &str) -> ApiResult<ModelId> {
        text.parse().map_err(|_| logged_model_absent(text))
    }

    /// Every point logged with a model's id, for `wanted` keys only, in order of run and key, then time, step, value.
    pub(super) fn logged_model_points(
        &self,
        snapshot: &Snapshot,
        id: ModelId,
        state: &LoggedModelState,
        wanted: impl Fn(&str) -> bool,
    ) -> ApiResult<Vec<Metric>> {
        let model_id = id.to_string();
        let mut metrics = Vec::new();
        for (run, key) in state.metric_series.iter().filter(|(_, key)| wanted(key)) {
            let columns = ColumnSet::POINTS.with(ColumnSet::CONTEXTS);
            let page = match snapshot.history(*run, key, &HistoryQuery { columns, ..HistoryQuery::default() }) {
                Ok(page) => page,
                // The points are gone with their run.
                Err(Error::NotFound { .. } | Error::Purged { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            metrics.extend(self.points_of_model(snapshot, id, (*run, key), &page));
        }
        for shared in state.shared_points.iter().filter(|shared| wanted(&shared.key)) {
            // The metric is gone with its run.
            if snapshot.run(shared.run)?.is_none_or(|run| run.lifecycle == Lifecycle::Purged) {
                continue;
            }
            metrics.push(Metric {
                key: shared.key.as_str().into(),
                value: f64::from_bits(shared.value_bits),
                timestamp: shared.time_ms,
                step: shared.step,
                model_id: Some(model_id.clone()),
                dataset_name: shared.dataset_name.clone(),
                dataset_digest: shared.dataset_digest.clone(),
                run_id: Some(shared.run.to_string()),
            });
        }
        Ok(metrics)
    }

    /// The points of a page of a run's history that were logged with a model's id.
    pub(super) fn points_of_model(
        &self,
        snapshot: &Snapshot,
        id: ModelId,
        (run, key): (RunId, &str),
        page: &HistoryPage,
    ) -> Vec<Metric> {
        let name: Arc<str> = key.into();
        let (model_id, run_id) = (id.to_string(), run.to_string());
        let mut metrics = Vec::new();
        for (i, context) in page.columns.contexts.iter().enumerate() {
            let Some(context) = snapshot.metric_context(crate::engine::ContextId(*context)) else { continue };
            let point = page.columns.point(i);
            let parts = context.parts().filter(|part| part.model_id.as_deref() == Some(&model_id));
            metrics.extend(parts.map(|part| Metric {
                key: name.clone(),
                value: point.value,
                timestamp: point.time.0,
                step: point.step,
                model_id: Some(model_id.clone()),
                dataset_name: part.dataset_name.clone(),
                dataset_digest: part.dataset_digest.clone(),
                run_id: Some(run_id.clone()),
            }));
        }
        metrics
    }

    /// A logged model with all its points.
    pub(super) fn logged_model_entity(
        &self,
        snapshot: &Snapshot,
        id: ModelId,
        state: &LoggedModelState,
    ) -> ApiResult<LoggedModel> {
        let metrics = self.logged_model_points(snapshot, id, state, |_| true)?;
        let model_id = id.to_string();
        let experiment_id = state.experiment.to_string();
        let artifact_uri = self.logged_model_place(snapshot, id, state)?;
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

#[cfg(test)]
mod tests;
