//! MLflow's calls on runs, except metrics and the search.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::IgnoredAny;

use super::entity::{Dataset, DatasetInput, Metric, Run, RunInfo, Tag};
use super::error::{ApiError, ApiResult};
use super::{Mlflow, names};
use crate::engine::entity::EntityState;
use crate::run::{NamesDiffer, RunChange, given_name, tag_of};
use crate::{
    EntityKey, EntityKind, Error, ExperimentId, ExperimentState, Lifecycle, RunId, RunSpec, RunState, RunStatus,
    Snapshot, TimestampMs,
};

/// The tag with the descriptions of the models that a run logged, a JSON list.
const TAG_HISTORY: &str = "mlflow.log-model.history";

/// Arguments of `create_run`.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewRun<'a> {
    /// Experiment id; `None` or empty: experiment 0.
    pub experiment_id: Option<&'a str>,
    /// The user; may be empty.
    pub user_id: &'a str,
    /// Start time, Unix ms.
    pub start_time: i64,
    /// Name; `None` or empty: the tag `mlflow.runName`, else a random name.
    pub run_name: Option<&'a str>,
    /// Tags; like MLflow, the creation does not check them.
    pub tags: &'a [Tag],
}

impl NewRun<'_> {
    /// The name given by argument or tag, if any.
    fn given_name(&self) -> ApiResult<Option<String>> {
        names::pairs_size("tags", self.tags.len())?;
        names::refuse_doubled("tag", self.tags)?;
        given_name(self.run_name, self.tags).map_err(|NamesDiffer { name, tag }| {
            ApiError::invalid(format!(
                "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values \
                 (run_name='{name}', mlflow.runName='{tag}')."
            ))
        })
    }

    /// Checks that the run can be created and given these params, as far as this is known beforehand: a later refusal
    /// would leave a run behind.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`, as the calls themselves.
    ///
    /// ```
    /// use runlode::mlflow::{LongValues, NewRun};
    ///
    /// let new = NewRun::default();
    /// assert!(new.check(&[("lr".to_owned(), "0.1".to_owned())], LongValues::Keep).is_ok());
    /// assert!(new.check(&[("a//b".to_owned(), "0.1".to_owned())], LongValues::Keep).is_err());
    /// ```
    pub fn check(&self, params: &[Tag], long: names::LongValues) -> ApiResult<()> {
        self.given_name()?;
        for (i, (key, value)) in params.iter().enumerate() {
            names::param_key(&format!("params[{i}].key"), key)?;
            names::value("Param value", value, names::PARAM_VALUE_CHARS_MAX, long)?;
        }
        names::refuse_doubled("param", params)
    }
}

impl Mlflow {
    /// Creates a run.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for a deleted experiment, duplicate tags, or a name other than the tag
    /// `mlflow.runName`; `RESOURCE_DOES_NOT_EXIST`.
    pub fn create_run(&self, new: &NewRun<'_>) -> ApiResult<Run> {
        let experiment = self.experiment_id(new.experiment_id.filter(|id| !id.is_empty()).unwrap_or("0"))?;
        new.given_name()?;
        let spec = RunSpec {
            name: new.run_name.map(str::to_owned),
            user: new.user_id.to_owned(),
            tags: new.tags.to_vec(),
            start_time: Some(TimestampMs(new.start_time)),
            ..RunSpec::default()
        };
        let run = self.store().begin_run(experiment, spec, self.settings().process.clone())?;
        let snapshot = self.snapshot_of(run)?;
        let state = self.run_state(&snapshot, run)?;
        self.run_entity(&snapshot, run, &state)
    }

    /// A run with everything it logged; deleted runs included.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`.
    pub fn run(&self, id: &str) -> ApiResult<Run> {
        let run = self.run_id(id)?;
        let snapshot = self.snapshot_of(run)?;
        let state = self.run_state(&snapshot, run)?;
        self.run_entity(&snapshot, run, &state)
    }

    /// The attributes of a run, without the data it logged.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`.
    pub fn run_info(&self, id: &str) -> ApiResult<RunInfo> {
        let run = self.run_id(id)?;
        let snapshot = self.entities()?;
        let state = self.run_state(&snapshot, run)?;
        let experiment = self.experiment_state(&snapshot, state.experiment)?;
        Ok(self.info(run, &state, &experiment))
    }

    /// Changes status, end and name, each only if given; an empty name counts as not given.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for a deleted run, `RESOURCE_DOES_NOT_EXIST`.
    pub fn update_run(
        &self,
        id: &str,
        status: Option<RunStatus>,
        end_time: Option<i64>,
        name: Option<&str>,
    ) -> ApiResult<RunInfo> {
        let run = self.run_id(id)?;
        self.active_run(&self.entities()?, run)?;
        let change = RunChange { status, end_time_ms: end_time, name: name.map(str::to_owned) };
        self.store().update_run(run, change, self.settings().process.clone())?;
        self.run_info(id)
    }

    /// Deletes a run; a deleted one stays deleted.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`.
    pub fn delete_run(&self, id: &str) -> ApiResult<()> {
        let run = self.run_id(id)?;
        self.store().delete_run(run)?;
        Ok(())
    }

    /// Restores a run; an active one stays active.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`.
    pub fn restore_run(&self, id: &str) -> ApiResult<()> {
        let run = self.run_id(id)?;
        self.store().restore_run(run)?;
        Ok(())
    }

    /// Sets a tag. `mlflow.runName` renames the run; an empty value of it is ignored.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`, `RESOURCE_DOES_NOT_EXIST`.
    pub fn set_tag(&self, id: &str, key: &str, value: &str) -> ApiResult<()> {
        names::tag_key("key", key)?;
        let value = names::value("value", value, names::TAG_VALUE_CHARS_MAX, self.settings().long_values)?;
        let run = self.run_id(id)?;
        self.active_run(&self.entities()?, run)?;
        self.store().set_run_tags(run, &[(key, value)])?;
        Ok(())
    }

    /// Deletes a tag. Deleting `mlflow.runName` does not change the run's name.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`, also for a missing tag.
    pub fn delete_tag(&self, id: &str, key: &str) -> ApiResult<()> {
        let run = self.run_id(id)?;
        let absent = || ApiError::absent(format!("No tag with name: {key} in run with id {id}"));
        self.active_run(&self.entities()?, run)?;
        match self.store().delete_run_tag(run, key) {
            Ok(_) => Ok(()),
            Err(Error::NotFound { entity: EntityKind::Tag, .. }) => Err(absent()),
            Err(error) => Err(error.into()),
        }
    }

    /// Logs a param. Logging it again with the same value is fine.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`, also if it has another value; `RESOURCE_DOES_NOT_EXIST`.
    pub fn log_param(&self, id: &str, key: &str, value: &str) -> ApiResult<()> {
        names::param_key("key", key)?;
        let value = names::value("Param value", value, names::PARAM_VALUE_CHARS_MAX, self.settings().long_values)?;
        let run = self.run_id(id)?;
        self.active_run(&self.entities()?, run)?;
        self.store().log_run_params(run, &[(key, value)])?;
        Ok(())
    }

    /// Logs any number of data sets and models that a run reads. A data set that the run already has keeps its first
    /// tags.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`, `RESOURCE_DOES_NOT_EXIST`.
    pub fn log_inputs(&self, id: &str, datasets: &[DatasetInput], models: &[String]) -> ApiResult<()> {
        names::run_id(id)?;
        for input in datasets {
            names::pairs_size("tags", input.tags.len())?;
            names::dataset_input(input)?;
        }
        let run = self.run_id(id)?;
        self.active_run(&self.entities()?, run)?;
        if datasets.is_empty() && models.is_empty() {
            return Ok(());
        }
        let datasets: Vec<_> = datasets.iter().map(event_input).collect();
        self.store().log_run_inputs(run, &datasets, models)?;
        Ok(())
    }

    /// Logs models that a run produced, each with its step. Duplicates are kept.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`, `RESOURCE_DOES_NOT_EXIST`.
    pub fn log_outputs(&self, id: &str, models: &[(String, i64)]) -> ApiResult<()> {
        let run = self.run_id(id)?;
        self.active_run(&self.entities()?, run)?;
        if models.is_empty() {
            return Ok(());
        }
        self.store().log_run_outputs(run, models)?;
        Ok(())
    }

    /// Appends a model's description, JSON text, to the run's tag `mlflow.log-model.history`, a JSON list, in one
    /// atomic step.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`, also if the tag is not such a list; `RESOURCE_DOES_NOT_EXIST`.
    pub fn record_logged_model(&self, id: &str, model_json: &str) -> ApiResult<()> {
        loop {
            let before = self.logged_model_history(id)?;
            let after = history_with(before.as_deref(), model_json)?;
            // If another call changed the tag meanwhile, add to its result.
            if self.swap_logged_model_history(id, before.as_deref(), &after)? {
                return Ok(());
            }
        }
    }

    /// Checks that points may be logged to a run.
    pub(crate) fn check_run(&self, id: &str) -> ApiResult<()> {
        self.active_run(&self.entities()?, self.run_id(id)?).map(drop)
    }

    /// The tag `mlflow.log-model.history` of a run that may be written to.
    pub(crate) fn logged_model_history(&self, id: &str) -> ApiResult<Option<String>> {
        let state = self.active_run(&self.entities()?, self.run_id(id)?)?;
        Ok(tag_of(&state, TAG_HISTORY).map(str::to_owned))
    }

    /// Sets that tag if it still has the value `before`. Returns whether it had.
    pub(crate) fn swap_logged_model_history(&self, id: &str, before: Option<&str>, after: &str) -> ApiResult<bool> {
        let run = self.run_id(id)?;
        self.active_run(&self.entities()?, run)?;
        Ok(self.store().swap_run_tag(run, TAG_HISTORY, before, after)?)
    }

    pub(super) fn info(&self, id: RunId, state: &RunState, experiment: &ExperimentState) -> RunInfo {
        let (run_id, experiment_id) = (id.to_string(), state.experiment.to_string());
        let artifact_uri = self.places().run(
            &experiment_id,
            experiment.artifact_location.as_deref(),
            &run_id,
            state.artifact_location.as_deref(),
        );
        RunInfo {
            run_id,
            run_name: state.name.clone(),
            experiment_id,
            user_id: state.user_id.clone(),
            status: state.status,
            start_time: state.start_time_ms,
            end_time: state.end_time_ms,
            artifact_uri,
            deleted: state.lifecycle_in(experiment) != Lifecycle::Active,
        }
    }

    /// A run as `get_run` returns it.
    pub(super) fn run_entity(&self, snapshot: &Snapshot, id: RunId, state: &RunState) -> ApiResult<Run> {
        RunReader::new(self, snapshot).read(id, state)
    }
}

/// Reads runs of one snapshot; shared entities (experiments, data sets) are read once.
pub(super) struct RunReader<'a> {
    mlflow: &'a Mlflow,
    snapshot: &'a Snapshot,
    experiments: BTreeMap<ExperimentId, Arc<ExperimentState>>,
    datasets: BTreeMap<(ExperimentId, String, String), Dataset>,
}

impl<'a> RunReader<'a> {
    pub(super) fn new(mlflow: &'a Mlflow, snapshot: &'a Snapshot) -> Self {
        Self { mlflow, snapshot, experiments: BTreeMap::new(), datasets: BTreeMap::new() }
    }

    /// A run by its id; `None` if it does not exist.
    pub(super) fn read_by_id(&mut self, id: RunId) -> ApiResult<Option<Run>> {
        let Some(entity) = self.snapshot.entity(&EntityKey::Run(id))? else { return Ok(None) };
        // An entity read for this call alone is moved, not copied.
        match Arc::try_unwrap(entity) {
            Ok(EntityState::Run(state)) => self.read_owned(id, state).map(Some),
            Err(entity) => match &*entity {
                EntityState::Run(state) => self.read_owned(id, state.clone()).map(Some),
                _ => Ok(None),
            },
            Ok(_) => Ok(None),
        }
    }

    pub(super) fn read(&mut self, id: RunId, state: &RunState) -> ApiResult<Run> {
        self.read_owned(id, state.clone())
    }

    fn read_owned(&mut self, id: RunId, state: RunState) -> ApiResult<Run> {
        let experiment = match self.experiments.get(&state.experiment) {
            Some(experiment) => experiment.clone(),
            None => {
                let experiment = self.mlflow.experiment_state(self.snapshot, state.experiment)?;
                self.experiments.insert(state.experiment, experiment.clone());
                experiment
            }
        };
        let metrics = self.snapshot.latest(id)?.into_iter().map(|(key, stats)| Metric::last(key, &stats)).collect();
        let mut dataset_inputs = Vec::with_capacity(state.datasets.len());
        for input in &state.datasets {
            let dataset = self.dataset(state.experiment, &input.name, &input.digest)?;
            dataset_inputs.push(DatasetInput { tags: input.tags.clone(), dataset });
        }
        Ok(Run {
            info: self.mlflow.info(id, &state, &experiment),
            metrics,
            params: state.params,
            tags: state.tags,
            dataset_inputs,
            model_inputs: state.model_inputs,
            model_outputs: state.model_outputs,
        })
    }

    fn dataset(&mut self, experiment: ExperimentId, name: &str, digest: &str) -> ApiResult<Dataset> {
        let key = (experiment, name.to_owned(), digest.to_owned());
        if let Some(dataset) = self.datasets.get(&key) {
            return Ok(dataset.clone());
        }
        let mut dataset = Dataset { name: name.to_owned(), digest: digest.to_owned(), ..Dataset::default() };
        if let Some(state) = self.snapshot.dataset(experiment, name, digest)? {
            dataset.source_type = state.source_type.clone();
            dataset.source = state.source.clone();
            dataset.schema = state.schema.clone();
            dataset.profile = state.profile.clone();
        }
        self.datasets.insert(key, dataset.clone());
        Ok(dataset)
    }
}

fn event_input(input: &DatasetInput) -> crate::DatasetInput {
    let dataset = input.dataset.clone();
    crate::DatasetInput {
        name: dataset.name,
        digest: dataset.digest,
        source_type: dataset.source_type,
        source: dataset.source,
        schema: dataset.schema,
        profile: dataset.profile,
        tags: input.tags.clone(),
    }
}

/// The list in a run's tag `mlflow.log-model.history` with one more model. Both texts are used unchanged.
pub(crate) fn history_with(before: Option<&str>, model_json: &str) -> ApiResult<String> {
    let Some(before) = before.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(format!("[{model_json}]"));
    };
    let not_a_list = |why: String| {
        ApiError::invalid(format!(
            "The tag '{TAG_HISTORY}' of this run is no JSON list, so no model can be added to it ({why}); delete the \
             tag, then log the model again."
        ))
    };
    let models: Vec<IgnoredAny> = serde_json::from_str(before).map_err(|error| not_a_list(error.to_string()))?;
    let list = before.strip_suffix(']').ok_or_else(|| not_a_list("it has no end".to_owned()))?;
    if models.is_empty() {
        return Ok(format!("[{model_json}]"));
    }
    Ok(format!("{list}, {model_json}]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_added_to_what_is_a_list_and_nothing_else_is_overwritten() {
        assert_eq!(history_with(None, "{}").unwrap(), "[{}]");
        assert_eq!(history_with(Some(" "), "{}").unwrap(), "[{}]");
        assert_eq!(history_with(Some("[ ]"), "{}").unwrap(), "[{}]");
        assert_eq!(history_with(Some(" [{\"a\":1.0}]\n"), "{}").unwrap(), "[{\"a\":1.0}, {}]");
        for other in ["{}", "[1", "mine", "[] []"] {
            let error = history_with(Some(other), "{}").unwrap_err();
            assert!(error.message.contains("mlflow.log-model.history"), "{other}: {}", error.message);
        }
    }
}
