//! Lists as they were at a moment of the past: experiments, logged models, and the keys that runs had.
//!
//! Each entity is a fold of its own events, so a list costs as many events as its entities have.

use std::sync::Arc;

use super::run_keys::{Counts, RunKeys};
use crate::engine::search::SearchQuery;
use crate::engine::{ColumnSet, HistoryQuery};
use crate::mlflow::Mlflow;
use crate::mlflow::entity::{Experiment, LoggedModel, View};
use crate::mlflow::error::ApiResult;
use crate::{AsOf, Error, Lifecycle, ModelId, PastView, Snapshot};

/// An entity of a list without its texts.
pub(super) const ENTITY_BYTES: usize = 400;

/// What tags take, roughly.
pub(super) fn bytes_of_pairs(pairs: &[(String, String)]) -> usize {
    pairs.iter().map(|(key, value)| key.len() + value.len() + 64).sum()
}

/// Experiments as they were at a position.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PastExperiments {
    /// The position.
    pub position: u64,
    /// Experiments by id, deleted ones included.
    pub experiments: Vec<Experiment>,
}

/// Logged models as they were at a position.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PastLoggedModels {
    /// The position.
    pub position: u64,
    /// Number of models, of which the newest are there.
    pub total: u64,
    /// Models, newest first. Each has the points that were logged on it by then.
    pub models: Vec<LoggedModel>,
}

impl Mlflow {
    /// All experiments at a moment of the past, deleted ones included.
    ///
    /// # Errors
    /// Those of reading.
    ///
    /// ```
    /// use runlode::AsOf;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let store = runlode::Store::open(dir.path().join("exp"))?;
    /// let calls = store.mlflow();
    /// let before = calls.positions()?.published;
    /// store.experiment("digits")?;
    /// let names = |at| -> runlode::mlflow::ApiResult<Vec<String>> {
    ///     Ok(calls.experiments_as_of(AsOf::Position(at))?.experiments.into_iter().map(|one| one.name).collect())
    /// };
    /// assert_eq!((names(before)?.len(), names(calls.positions()?.published)?.len()), (1, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn experiments_as_of(&self, at: AsOf) -> ApiResult<PastExperiments> {
        let snapshot = self.entities()?;
        let past = snapshot.as_of(at)?;
        let (mut experiments, mut bytes) = (Vec::new(), 0);
        for (id, _) in snapshot.experiments()? {
            self.check_waiting()?;
            if let Some(state) = past.experiment(id)? {
                bytes += ENTITY_BYTES + state.name.len() + bytes_of_pairs(&state.tags);
                self.check_room(bytes)?;
                experiments.push(self.experiment_entity(id, &state));
            }
        }
        Ok(PastExperiments { position: past.position().0, experiments })
    }

    /// The newest logged models of some experiments at a moment of the past, without deleted ones; without experiments,
    /// those of all that are active now.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST` for an experiment.
    ///
    /// ```
    /// use runlode::{AsOf, LoggedModelSpec};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let store = runlode::Store::open(dir.path().join("exp"))?;
    /// let digits = store.experiment("digits")?;
    /// let before = store.mlflow().positions()?.published;
    /// digits.create_logged_model(LoggedModelSpec::named("mlp"))?;
    /// let now = store.mlflow().positions()?.published;
    /// let total = |at| store.mlflow().logged_models_as_of(&[], 10, AsOf::Position(at)).map(|found| found.total);
    /// assert_eq!((total(before)?, total(now)?), (0, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn logged_models_as_of(&self, experiments: &[String], limit: u64, at: AsOf) -> ApiResult<PastLoggedModels> {
        let snapshot = self.snapshot()?;
        let past = snapshot.as_of(at)?;
        let named = (!experiments.is_empty()).then_some(experiments);
        let mut found = Vec::new();
        for experiment in self.named_experiments(&snapshot, named)? {
            for (id, _) in snapshot.logged_models_of(experiment)? {
                self.check_waiting()?;
                let state = past.logged_model(id)?.filter(|state| state.lifecycle == Lifecycle::Active);
                found.extend(state.map(|state| (state.creation_time_ms, id)));
            }
        }
        found.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut models = Vec::new();
        for &(_, id) in found.iter().take(limit) {
            models.extend(self.past_logged_model(&snapshot, &past, id)?);
        }
        Ok(PastLoggedModels { position: past.position().0, total: found.len() as u64, models })
    }

    /// One logged model at a moment of the past, deleted ones included; no model if it did not exist yet.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST` for an invalid id.
    ///
    /// ```
    /// use runlode::{AsOf, LoggedModelSpec};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let store = runlode::Store::open(dir.path().join("exp"))?;
    /// let before = store.mlflow().positions()?.published;
    /// let model = store.experiment("digits")?.create_logged_model(LoggedModelSpec::named("mlp"))?;
    /// let found = store.mlflow().logged_model_as_of(&model.id().to_string(), AsOf::Position(before))?;
    /// assert!(found.models.is_empty(), "it was created later");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn logged_model_as_of(&self, id: &str, at: AsOf) -> ApiResult<PastLoggedModels> {
        let model = self.model_id(id)?;
        let snapshot = self.snapshot()?;
        let past = snapshot.as_of(at)?;
        let models: Vec<LoggedModel> = self.past_logged_model(&snapshot, &past, model)?.into_iter().collect();
        Ok(PastLoggedModels { position: past.position().0, total: models.len() as u64, models })
    }

    fn past_logged_model(
        &self,
        snapshot: &Snapshot,
        past: &PastView<'_>,
        id: ModelId,
    ) -> ApiResult<Option<LoggedModel>> {
        self.check_waiting()?;
        let Some(mut state) = past.logged_model(id)? else { return Ok(None) };
        let series = std::mem::take(&mut state.metric_series);
        let mut model = self.logged_model_entity(snapshot, id, &state)?;
        for (run, key) in series {
            let columns = ColumnSet::POINTS.with(ColumnSet::CONTEXTS);
            match past.history(run, &key, &HistoryQuery { columns, ..HistoryQuery::default() }) {
                Ok(page) => model.metrics.extend(self.points_of_model(snapshot, id, (run, &key), &page)),
                // The points are gone with their run.
                Err(Error::NotFound { .. } | Error::Purged { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(model))
    }

    /// The keys that runs of some experiments had at a moment of the past, as [`Mlflow::run_keys`] says those of now.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST` for an experiment.
    ///
    /// ```
    /// use runlode::{AsOf, RunSpec};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let store = runlode::Store::open(dir.path().join("exp"))?;
    /// let run = store.experiment("digits")?.create_run(RunSpec::named("trial"))?;
    /// let before = store.mlflow().positions()?.published;
    /// run.log_params(&[("lr", "0.1")])?;
    /// let keys = store.mlflow().run_keys_as_of(&[], 100, AsOf::Position(before))?;
    /// assert_eq!((keys.runs, keys.params.len()), (1, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run_keys_as_of(&self, experiments: &[String], most_runs: u64, at: AsOf) -> ApiResult<RunKeys> {
        let snapshot = self.snapshot()?;
        let past = snapshot.as_of(at)?;
        let named = (!experiments.is_empty()).then_some(experiments);
        let experiments = self.named_experiments(&snapshot, named)?;
        let limit = usize::try_from(most_runs).unwrap_or(usize::MAX).max(1);
        let query =
            SearchQuery { experiments, filter: None, order: Vec::new(), view: View::ActiveOnly, limit, after: None };
        let page = past.search(&query)?;
        let mut counts = Counts::default();
        for &id in &page.runs {
            self.check_waiting()?;
            let Some((state, _)) = past.run(id)? else { continue };
            counts.add(&state, past.latest(id)?.iter().map(|(key, _)| Arc::clone(key)));
            self.check_room(counts.bytes)?;
        }
        Ok(counts.keys(past.position().0, page.runs.len(), page.next.is_none()))
    }
}
