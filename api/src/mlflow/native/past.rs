//! Runs, metrics and the registry at a moment of the past.

use std::sync::Arc;

use super::past_lists::{ENTITY_BYTES, bytes_of_pairs};
use crate::engine::HistoryQuery;
use crate::experiment::own_tags;
use crate::mlflow::entity::{Dataset, DatasetInput, Metric, ModelVersion, RegisteredModel, Run};
use crate::mlflow::error::ApiResult;
use crate::mlflow::{MetricColumns, Mlflow};
use crate::{AsOf, Lifecycle};

/// A run as it was at a position.
#[derive(Debug, Clone, PartialEq)]
pub struct PastRun {
    /// The position.
    pub position: u64,
    /// The run; `None` if it did not exist. Of its data sets only names, digests and tags are known.
    pub run: Option<Run>,
}

/// A page of a metric's history as it was at a position.
#[derive(Debug, Clone, Default)]
pub struct PastHistory {
    /// The position.
    pub position: u64,
    /// Points, by time, step, value.
    pub columns: MetricColumns,
    /// Whether there are more points after the page.
    pub more: bool,
}

/// The registry as it was at a position.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PastRegistry {
    /// The position.
    pub position: u64,
    /// Models by name, without their versions.
    pub models: Vec<RegisteredModel>,
    /// Their versions with aliases, by model and number.
    pub versions: Vec<ModelVersion>,
}

impl Mlflow {
    /// The registry at a moment of the past: all models, or those of one name at that moment. Models and versions that
    /// were deleted since are there; those that did not exist yet are not.
    ///
    /// # Errors
    /// Those of reading.
    ///
    /// ```
    /// use runlode::{AsOf, VersionSpec};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let store = runlode::Store::open(dir.path().join("exp"))?;
    /// let fraud = store.create_registered_model("fraud")?;
    /// fraud.create_version(VersionSpec::from_source("s3://models/a"))?;
    /// let calls = store.mlflow();
    /// let before = calls.positions()?.published;
    /// calls.set_registered_model_alias("fraud", "champion", "1")?;
    /// let past = calls.registry_as_of(Some("fraud"), AsOf::Position(before))?;
    /// assert_eq!((past.models[0].aliases.len(), past.versions.len()), (0, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn registry_as_of(&self, name: Option<&str>, at: AsOf) -> ApiResult<PastRegistry> {
        let snapshot = self.entities()?;
        let past = snapshot.as_of(at)?;
        let mut out = PastRegistry { position: past.position().0, ..PastRegistry::default() };
        let named_now = name.map(|name| snapshot.registered_model(name)).transpose()?.flatten().map(|(id, _)| id);
        let mut bytes = 0;
        for (id, state) in past.registered_models()? {
            self.check_waiting()?;
            if name.is_some_and(|name| name != state.name) && named_now != Some(id) {
                continue;
            }
            let description = state.description.as_ref().map_or(0, String::len);
            bytes += ENTITY_BYTES + description + bytes_of_pairs(&state.tags);
            out.models.push(RegisteredModel {
                name: state.name.clone(),
                creation_timestamp: state.creation_time_ms,
                last_updated_timestamp: state.last_updated_time_ms,
                description: state.description.clone(),
                latest_versions: Vec::new(),
                tags: own_tags(&state.tags),
                aliases: state.aliases.clone(),
            });
            self.check_room(bytes)?;
            for &number in &state.versions {
                if let Some(version) = past.model_version(id, number)?.filter(|version| !version.deleted) {
                    let description = version.description.as_ref().map_or(0, String::len);
                    bytes += ENTITY_BYTES + description + version.source.len() + bytes_of_pairs(&version.tags);
                    self.check_room(bytes)?;
                    out.versions.push(self.version_entity(&state, number, &version, true));
                }
            }
        }
        Ok(out)
    }

    /// A run at a moment of the past, deleted ones included.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST` for an invalid id, or a run that was purged.
    pub fn run_as_of(&self, id: &str, at: AsOf) -> ApiResult<PastRun> {
        let run = self.run_id(id)?;
        let snapshot = self.snapshot()?;
        let past = snapshot.as_of(at)?;
        let position = past.position().0;
        let Some((state, lifecycle)) = past.run(run)? else { return Ok(PastRun { position, run: None }) };
        let experiment = match past.experiment(state.experiment)? {
            Some(experiment) => Arc::new(experiment),
            None => self.experiment_state(&snapshot, state.experiment)?,
        };
        let mut info = self.info(run, &state, &experiment);
        info.deleted = lifecycle != Lifecycle::Active;
        let metrics = past.latest(run)?.into_iter().map(|(key, stats)| Metric::last(key, &stats)).collect();
        let dataset_inputs = state.datasets.into_iter().map(|input| DatasetInput {
            tags: input.tags,
            dataset: Dataset { name: input.name, digest: input.digest, ..Dataset::default() },
        });
        let run = Run {
            info,
            metrics,
            params: state.params,
            tags: state.tags,
            dataset_inputs: dataset_inputs.collect(),
            model_inputs: state.model_inputs,
            model_outputs: state.model_outputs,
        };
        Ok(PastRun { position, run: Some(run) })
    }

    /// A page of a metric's history at a moment of the past: `limit` points after the first `offset`.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST` for an invalid id, or a run that was purged.
    pub fn metric_history_as_of(
        &self,
        id: &str,
        key: &str,
        at: AsOf,
        offset: u64,
        limit: u64,
    ) -> ApiResult<PastHistory> {
        let run = self.run_id(id)?;
        let snapshot = self.snapshot()?;
        let past = snapshot.as_of(at)?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let query = HistoryQuery { offset, limit: limit.saturating_add(1), ..HistoryQuery::default() };
        let mut found = past.history(run, key, &query)?.columns;
        let more = found.len() > limit;
        if more {
            found.cut(0, limit);
        }
        let columns = MetricColumns { steps: found.steps, timestamps: found.times, values: found.values };
        Ok(PastHistory { position: past.position().0, columns, more })
    }
}
