//! Runs: MLflow's calls on them, all but metrics and the search.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::IgnoredAny;

use super::entity::{Dataset, DatasetInput, Metric, Run, RunInfo, Tag};
use super::error::{ApiError, ApiResult};
use super::{Mlflow, names};
use crate::engine::entity::EntityState;
use crate::engine::event::{
    ParamsLogged, RunCreated, RunDeleted, RunInputsLogged, RunOutputsLogged, RunRestored, RunTagDeleted, RunTagsSet,
    RunUpdated,
};
use crate::{
    Batch, Durability, EntityKey, Error, ExperimentId, ExperimentState, Lifecycle, RunId, RunState, RunStatus,
    Snapshot, TAG_RUN_NAME, new_run_id, run_name,
};

/// Descriptions of the models that a run logged, a JSON list.
const TAG_HISTORY: &str = "mlflow.log-model.history";

fn tag_of<'a>(state: &'a RunState, key: &str) -> Option<&'a str> {
    state.tags.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

/// What `create_run` is given.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewRun<'a> {
    /// `None` or empty: experiment 0.
    pub experiment_id: Option<&'a str>,
    /// Who; may be empty.
    pub user_id: &'a str,
    /// Start, Unix ms.
    pub start_time: i64,
    /// `None` or empty: the tag `mlflow.runName`, else a random name.
    pub run_name: Option<&'a str>,
    /// Tags; not checked at creation, as MLflow does not.
    pub tags: &'a [Tag],
}

impl NewRun<'_> {
    /// Its name by argument or tag, if it is given one.
    fn given_name(&self) -> ApiResult<Option<String>> {
        names::pairs_size("tags", self.tags.len())?;
        names::refuse_doubled("tag", self.tags)?;
        let tagged = self.tags.iter().find(|(key, _)| key == TAG_RUN_NAME).map(|(_, name)| name.clone());
        match (self.run_name.filter(|name| !name.is_empty()), tagged.filter(|name| !name.is_empty())) {
            (Some(name), Some(tag)) if name != tag => Err(ApiError::invalid(format!(
                "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values \
                 (run_name='{name}', mlflow.runName='{tag}')."
            ))),
            (Some(name), _) => Ok(Some(name.to_owned())),
            (None, tag) => Ok(tag),
        }
    }

    /// Whether it can be made and be given these params, as far as that can be told beforehand: a refusal afterwards
    /// would leave a run behind.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`, as the calls themselves.
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
    /// `INVALID_PARAMETER_VALUE` for a deleted experiment, tags that are there twice, or a name unlike the tag
    /// `mlflow.runName`; `RESOURCE_DOES_NOT_EXIST`.
    pub fn create_run(&self, new: &NewRun<'_>) -> ApiResult<Run> {
        let experiment = self.experiment_id(new.experiment_id.filter(|id| !id.is_empty()).unwrap_or("0"))?;
        let name = new.given_name()?.map_or_else(run_name, Ok)?;
        let mut tags = new.tags.to_vec();
        tags.retain(|(key, _)| key != TAG_RUN_NAME);
        tags.push((TAG_RUN_NAME.to_owned(), name.clone()));
        let run = new_run_id()?;
        let event = RunCreated {
            run,
            experiment,
            name,
            user_id: new.user_id.to_owned(),
            status: RunStatus::Running,
            start_time_ms: new.start_time,
            artifact_location: self.lasting_place(experiment, &format!("{run}/artifacts"))?,
            tags,
        };
        // Whether the experiment is there and active is the append's to say: it alone knows.
        let mut batch = Batch::new().event(event);
        if let Some(process) = self.settings().process.clone() {
            batch.push_event(process.lease(run, self.now_ms()));
        }
        self.send(batch, Durability::Sync)?;
        let snapshot = self.snapshot_of(run)?;
        let state = self.run_state(&snapshot, run)?;
        self.run_entity(&snapshot, run, &state)
    }

    /// A run with all that it logged, deleted ones included.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`.
    pub fn run(&self, id: &str) -> ApiResult<Run> {
        let run = self.run_id(id)?;
        let snapshot = self.snapshot_of(run)?;
        let state = self.run_state(&snapshot, run)?;
        self.run_entity(&snapshot, run, &state)
    }

    /// What a run is, without what it logged.
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

    /// Changes status, end and name, each only if it is given; an empty name is none.
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
        let name = name.filter(|name| !name.is_empty()).map(str::to_owned);
        let state = self.active_run(&self.entities()?, run)?;
        let mut batch = Batch::new();
        if status.is_some() || end_time.is_some() || name.is_some() {
            if let Some(name) = &name {
                batch.push_event(RunTagsSet { run, tags: vec![(TAG_RUN_NAME.to_owned(), name.clone())] });
            }
            batch.push_event(RunUpdated { run, status, end_time_ms: end_time, name });
            let resumes = status == Some(RunStatus::Running);
            if let Some(process) = self.settings().process.clone().filter(|_| resumes)
                && !state.lease.as_ref().is_some_and(|lease| process.is_of(lease))
            {
                batch.push_event(process.lease(run, self.now_ms()));
            }
            self.send(batch, Durability::Sync)?;
        }
        self.run_info(id)
    }

    /// Deletes a run; a deleted one stays deleted.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`.
    pub fn delete_run(&self, id: &str) -> ApiResult<()> {
        let run = self.run_id(id)?;
        self.append(RunDeleted { run, at_ms: self.now_ms() }).map(drop)
    }

    /// Restores a run; an active one stays active.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`.
    pub fn restore_run(&self, id: &str) -> ApiResult<()> {
        let run = self.run_id(id)?;
        self.append(RunRestored { run }).map(drop)
    }

    /// Sets a tag. `mlflow.runName` renames the run; with an empty value it does nothing.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`, `RESOURCE_DOES_NOT_EXIST`.
    pub fn set_tag(&self, id: &str, key: &str, value: &str) -> ApiResult<()> {
        names::tag_key("key", key)?;
        let value = names::value("value", value, names::TAG_VALUE_CHARS_MAX, self.settings().long_values)?;
        let run = self.run_id(id)?;
        self.active_run(&self.entities()?, run)?;
        let mut batch = Batch::new();
        push_tags(&mut batch, run, vec![(key.to_owned(), value.to_owned())]);
        self.append_unless_empty(batch)
    }

    /// Deletes a tag; the run keeps its name when that of the name goes.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`, also for a tag that is not there.
    pub fn delete_tag(&self, id: &str, key: &str) -> ApiResult<()> {
        let run = self.run_id(id)?;
        let absent = || ApiError::absent(format!("No tag with name: {key} in run with id {id}"));
        self.active_run(&self.entities()?, run)?;
        match self.submit(Batch::new().event(RunTagDeleted { run, key: key.to_owned() }), Durability::Sync)? {
            Ok(_) => Ok(()),
            Err(Error::NotFound { entity: "tag", .. }) => Err(absent()),
            Err(error) => Err(error.into()),
        }
    }

    /// Logs a param. The same value again is a success.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`, also for another value than it has; `RESOURCE_DOES_NOT_EXIST`.
    pub fn log_param(&self, id: &str, key: &str, value: &str) -> ApiResult<()> {
        names::param_key("key", key)?;
        let value = names::value("Param value", value, names::PARAM_VALUE_CHARS_MAX, self.settings().long_values)?;
        let run = self.run_id(id)?;
        self.active_run(&self.entities()?, run)?;
        self.append(ParamsLogged { run, params: vec![(key.to_owned(), value.to_owned())] }).map(drop)
    }

    /// Logs data sets and models that a run reads. A data set that the run has keeps its first tags.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`, `RESOURCE_DOES_NOT_EXIST`.
    pub fn log_inputs(&self, id: &str, datasets: &[DatasetInput], models: &[String]) -> ApiResult<()> {
        names::run_id(id)?;
        names::inputs_sizes(datasets.len(), models.len())?;
        for input in datasets {
            names::pairs_size("tags", input.tags.len())?;
            names::dataset_input(input)?;
        }
        let run = self.run_id(id)?;
        self.active_run(&self.entities()?, run)?;
        if datasets.is_empty() && models.is_empty() {
            return Ok(());
        }
        let datasets = datasets.iter().map(event_input).collect();
        self.append(RunInputsLogged { run, datasets, models: models.to_vec() }).map(drop)
    }

    /// Logs models that a run made, each with its step. Duplicates are kept.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`, `RESOURCE_DOES_NOT_EXIST`.
    pub fn log_outputs(&self, id: &str, models: &[(String, i64)]) -> ApiResult<()> {
        names::inputs_sizes(0, models.len())?;
        let run = self.run_id(id)?;
        self.active_run(&self.entities()?, run)?;
        if models.is_empty() {
            return Ok(());
        }
        self.append(RunOutputsLogged { run, models: models.to_vec() }).map(drop)
    }

    /// Appends a model's description, JSON text, to the run's tag `mlflow.log-model.history`, a JSON list: one atomic
    /// step.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`, also for a tag that is no such list; `RESOURCE_DOES_NOT_EXIST`.
    pub fn record_logged_model(&self, id: &str, model_json: &str) -> ApiResult<()> {
        loop {
            let before = self.logged_model_history(id)?;
            let after = history_with(before.as_deref(), model_json)?;
            // Where another call changed the tag in between: add to what it left.
            if self.swap_logged_model_history(id, before.as_deref(), &after)? {
                return Ok(());
            }
        }
    }

    /// Whether points may be logged to a run.
    pub(crate) fn check_run(&self, id: &str) -> ApiResult<()> {
        self.active_run(&self.entities()?, self.run_id(id)?).map(drop)
    }

    /// The tag `mlflow.log-model.history` of a run that may be written to.
    pub(crate) fn logged_model_history(&self, id: &str) -> ApiResult<Option<String>> {
        let state = self.active_run(&self.entities()?, self.run_id(id)?)?;
        Ok(tag_of(&state, TAG_HISTORY).map(str::to_owned))
    }

    /// Sets that tag if it still has the value that it had; whether it did.
    pub(crate) fn swap_logged_model_history(&self, id: &str, before: Option<&str>, after: &str) -> ApiResult<bool> {
        let run = self.run_id(id)?;
        loop {
            let state = self.active_run(&self.entities()?, run)?;
            if tag_of(&state, TAG_HISTORY) != before {
                return Ok(false);
            }
            let tags = vec![(TAG_HISTORY.to_owned(), after.to_owned())];
            let batch = Batch::new().event(RunTagsSet { run, tags }).expect(EntityKey::Run(run), state.last);
            match self.submit(batch, Durability::Sync)? {
                Ok(_) => return Ok(true),
                // The run was changed in between, the tag maybe not.
                Err(Error::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(super) fn append_unless_empty(&self, batch: Batch) -> ApiResult<()> {
        if batch.events_count() + batch.points_count() > 0 {
            self.send(batch, Durability::Sync)?;
        }
        Ok(())
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

    /// A run as `get_run` answers it.
    pub(super) fn run_entity(&self, snapshot: &Snapshot, id: RunId, state: &RunState) -> ApiResult<Run> {
        RunReader::new(self, snapshot).read(id, state)
    }
}

/// Reads runs of one snapshot; what they share (experiments, data sets) is read once.
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

    /// A run by its id; `None` if it is not there.
    pub(super) fn read_by_id(&mut self, id: RunId) -> ApiResult<Option<Run>> {
        let Some(entity) = self.snapshot.entity(&EntityKey::Run(id))? else { return Ok(None) };
        // What was read for this call alone is taken as it is, not copied.
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
        let mut metrics: Vec<Metric> = Vec::new();
        for (key, stats) in self.snapshot.latest(id)? {
            let last = stats.last();
            metrics.push(Metric {
                key,
                value: last.value,
                timestamp: last.time.0,
                step: last.step,
                model_id: None,
                dataset_name: None,
                dataset_digest: None,
                run_id: None,
            });
        }
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

/// Adds tags to a batch as MLflow sets them: of equal keys the last one wins, `mlflow.runName` renames the run, and
/// does nothing when it is empty.
pub(super) fn push_tags(batch: &mut Batch, run: RunId, tags: Vec<Tag>) {
    let mut last: Vec<Tag> = Vec::with_capacity(tags.len());
    for (key, value) in tags.into_iter().filter(|(key, value)| key != TAG_RUN_NAME || !value.is_empty()) {
        match last.iter_mut().find(|(known, _)| *known == key) {
            Some(slot) => slot.1 = value,
            None => last.push((key, value)),
        }
    }
    let name = last.iter().find(|(key, _)| key == TAG_RUN_NAME).map(|(_, name)| name.clone());
    if !last.is_empty() {
        batch.push_event(RunTagsSet { run, tags: last });
    }
    if name.is_some() {
        batch.push_event(RunUpdated { run, status: None, end_time_ms: None, name });
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

/// The list of a run's tag `mlflow.log-model.history` with one more model. Both are taken as the text that they are.
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
