//! A store now, or as it was at a moment of the past: what commands read that take `--as-of`.
//!
//! The answer says which position was used: JSON objects have the field `as_of_position`; otherwise standard error has a
//! line.

use std::sync::Arc;

use clap::Args;
use runlode::engine::entity::EntityState;
use runlode::engine::search::filter::TextKey;
use runlode::engine::search::{SearchPage, SearchQuery, View as Shown};
use runlode::engine::{Downsampled, EventRecord};
use runlode::find::{FindError, Named, Wanted, Which};
use runlode::{
    AsOf, EntityKey, ExperimentId, ExperimentState, Lifecycle, LoggedModelState, Lsn, ModelId, ModelVersionState,
    PastView, RegisteredModelId, RegisteredModelState, RunId, RunState, Snapshot, Stage, Stats,
};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::format;
use crate::output::{Output, note};

/// The moment that is asked for.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Moment {
    /// Show it as of a position, or a time in your zone ("2026-03-03 09:00") or by RFC 3339
    #[arg(long, value_name = "POSITION|TIME", value_parser = as_of)]
    as_of: Option<AsOf>,
}

fn as_of(text: &str) -> std::result::Result<AsOf, String> {
    format::as_of(text).map_err(|error| error.to_string())
}

impl Moment {
    /// The moment as a server reads it; `None`: now.
    pub(crate) fn text(&self) -> Option<String> {
        self.as_of.map(format::moment_text)
    }

    /// The store at that moment.
    pub(crate) fn of<'s>(&self, now: &'s Snapshot) -> Result<View<'s>> {
        Ok(View { now, then: self.as_of.map(|at| now.as_of(at)).transpose()? })
    }
}

/// The store now, or as it was.
#[derive(Debug)]
pub(crate) struct View<'s> {
    now: &'s Snapshot,
    then: Option<PastView<'s>>,
}

impl<'s> From<&'s Snapshot> for View<'s> {
    fn from(now: &'s Snapshot) -> Self {
        Self { now, then: None }
    }
}

/// Reads from the past if that is asked for, else from the snapshot.
macro_rules! either {
    ($self:ident, $view:ident => $then:expr, $now:expr) => {
        match &$self.then {
            Some($view) => Ok($then),
            None => Ok($now),
        }
    };
}

impl View<'_> {
    /// Whether it shows the past.
    pub(crate) fn is_past(&self) -> bool {
        self.then.is_some()
    }

    pub(crate) fn position(&self) -> Lsn {
        self.then.as_ref().map_or_else(|| self.now.position(), PastView::position)
    }

    /// The store as it is now.
    pub(crate) fn now(&self) -> &Snapshot {
        self.now
    }

    /// Says on standard error which position is shown, unless JSON says it.
    pub(crate) fn say(&self, output: &Output) {
        if self.is_past() && !output.is_json() {
            note(format!("as of position {}", self.position()));
        }
    }

    /// Adds the position to a document.
    pub(crate) fn mark(&self, document: &mut Value) {
        if let (true, Some(fields)) = (self.is_past(), document.as_object_mut()) {
            fields.insert("as_of_position".to_owned(), self.position().0.into());
        }
    }

    pub(crate) fn run(&self, id: RunId) -> Result<Option<Arc<RunState>>> {
        either!(self, view => view.run(id)?.map(|(state, _)| Arc::new(state)), self.now.run(id)?)
    }

    /// The effective lifecycle of a run.
    pub(crate) fn lifecycle(&self, run: &RunState) -> Result<Lifecycle> {
        let experiment = self.experiment(run.experiment)?;
        Ok(experiment.map_or(run.lifecycle, |experiment| run.lifecycle_in(&experiment)))
    }

    pub(crate) fn experiment(&self, id: ExperimentId) -> Result<Option<Arc<ExperimentState>>> {
        either!(self, view => view.experiment(id)?.map(Arc::new), self.now.experiment(id)?)
    }

    /// All experiments, deleted ones included.
    pub(crate) fn experiments(&self) -> Result<Vec<(ExperimentId, Arc<ExperimentState>)>> {
        either!(self, view => shared(view.experiments()?), self.now.experiments()?)
    }

    /// The metrics of a run, with their stats.
    pub(crate) fn metrics(&self, id: RunId) -> Result<Vec<(Arc<str>, Stats)>> {
        either!(self, view => view.latest(id)?, self.now.latest(id)?)
    }

    pub(crate) fn stats(&self, run: RunId, key: &str) -> Result<Option<Stats>> {
        either!(self, view => view.stats(run, key)?, self.now.stats(run, key)?)
    }

    pub(crate) fn downsample(
        &self,
        run: RunId,
        key: &str,
        steps: Option<(i64, i64)>,
        buckets: usize,
    ) -> Result<Downsampled> {
        either!(self, view => view.downsample(run, key, steps, buckets)?, self.now.downsample(run, key, steps, buckets)?)
    }

    /// Number of runs of an experiment, deleted ones included.
    pub(crate) fn runs_count(&self, experiment: ExperimentId) -> Result<usize> {
        let runs = self.now.runs_of(experiment)?;
        if !self.is_past() {
            return Ok(runs.len());
        }
        let mut count = 0;
        for run in runs {
            count += usize::from(self.now.run(run)?.is_some_and(|state| state.created <= self.position()));
        }
        Ok(count)
    }

    pub(crate) fn search(&self, query: &SearchQuery) -> Result<SearchPage> {
        either!(self, view => view.search(query)?, self.now.search(query)?)
    }

    pub(crate) fn registered_model(&self, id: RegisteredModelId) -> Result<Option<Arc<RegisteredModelState>>> {
        let state = match &self.then {
            Some(view) => view.registered_model(id)?.map(Arc::new),
            None => match self.now.entity(&EntityKey::RegisteredModel(id))?.as_deref() {
                Some(EntityState::RegisteredModel(state)) => Some(Arc::new(state.clone())),
                _ => None,
            },
        };
        Ok(state.filter(|state| !state.deleted))
    }

    /// All registered models by name.
    pub(crate) fn registered_models(&self) -> Result<Vec<(RegisteredModelId, Arc<RegisteredModelState>)>> {
        either!(self, view => shared(view.registered_models()?), self.now.registered_models()?)
    }

    pub(crate) fn model_version(
        &self,
        model: RegisteredModelId,
        version: u32,
    ) -> Result<Option<Arc<ModelVersionState>>> {
        either!(self, view => view.model_version(model, version)?.map(Arc::new), self.now.model_version(model, version)?)
    }

    pub(crate) fn logged_model(&self, id: ModelId) -> Result<Option<Arc<LoggedModelState>>> {
        either!(self, view => view.logged_model(id)?.map(Arc::new), self.now.logged_model(id)?)
    }

    /// The logged models of an experiment, deleted ones included.
    pub(crate) fn logged_models_of(&self, experiment: ExperimentId) -> Result<Vec<(ModelId, Arc<LoggedModelState>)>> {
        either!(self, view => shared(view.logged_models_of(experiment)?), self.now.logged_models_of(experiment)?)
    }

    pub(crate) fn events(&self, entity: &EntityKey) -> Result<Vec<EventRecord>> {
        either!(self, view => view.events(entity)?, self.now.events(entity)?)
    }

    /// The error for an entity that did not exist at that moment.
    pub(crate) fn absent(&self, what: &str) -> Error {
        Error::usage(match self.is_past() {
            false => format!("there is no `{what}` in this store"),
            true => format!("there was no `{what}` at position {}", self.position()),
        })
    }

    // ---- names ---------------------------------------------------------------------------------------------------

    /// The entity that a text names: by its name at that moment, else by the one that it has now.
    pub(crate) fn find(&self, text: &str) -> Result<Named> {
        let wanted = Wanted::parse(text)?;
        let Some(then) = &self.then else { return Ok(wanted.find(self.now)?) };
        let named = match &wanted {
            Wanted::RegisteredModel(name) => {
                then.registered_model_by_name(name)?.map(|(id, _)| Named::RegisteredModel(id, name.clone()))
            }
            Wanted::Version(name, which) => {
                let whole = match which {
                    Which::Alias(alias) => then.registered_model_by_name(&format!("{name}@{alias}"))?,
                    _ => None,
                };
                if let Some((id, state)) = whole {
                    return Ok(Named::RegisteredModel(id, state.name));
                }
                let by_name = match then.registered_model_by_name(name)? {
                    Some(found) => Some(found),
                    None => {
                        let (id, _) = runlode::find::registered_model(self.now, name)?;
                        then.registered_model(id)?.map(|state| (id, state))
                    }
                };
                let (id, state) = by_name.ok_or_else(|| self.absent(text))?;
                let version = self.version(id, &state, which)?.ok_or_else(|| self.absent(text))?;
                return Ok(Named::Version(id, name.clone(), version));
            }
            Wanted::Experiment(name) => then.experiment_by_name(name)?.map(|(id, _)| Named::Experiment(id)),
            Wanted::Any(_) | Wanted::Run(_) | Wanted::LoggedModel(_) => None,
        };
        if let Some(named) = named {
            return Ok(named);
        }
        match (wanted.find(self.now), &wanted) {
            (Err(absent @ FindError::Absent { .. }), Wanted::Any(name)) => {
                self.named_then(then, name)?.ok_or_else(|| absent.into())
            }
            (found, _) => Ok(found?),
        }
    }

    /// An entity that had this name then, and has it no longer.
    fn named_then(&self, then: &PastView<'_>, name: &str) -> Result<Option<Named>> {
        if let Some((id, state)) = then.registered_model_by_name(name)? {
            return Ok(Some(Named::RegisteredModel(id, state.name)));
        }
        if let Some((id, _)) = then.experiment_by_name(name)? {
            return Ok(Some(Named::Experiment(id)));
        }
        let experiments = then.experiments()?.into_iter().map(|(id, _)| id).collect();
        let query = SearchQuery {
            experiments,
            filter: Some(TextKey::Name.eq(name)),
            view: Shown::All,
            limit: 2,
            ..SearchQuery::new(ExperimentId(0))
        };
        match then.search(&query)?.runs.as_slice() {
            [run] => Ok(Some(Named::Run(*run))),
            [] => Ok(None),
            _ => Err(Error::usage(format!("several runs were named `{name}` then; give the id of one"))),
        }
    }

    fn version(&self, id: RegisteredModelId, state: &RegisteredModelState, which: &Which) -> Result<Option<u32>> {
        Ok(match which {
            Which::Number(number) => Some(*number).filter(|number| state.versions.contains(number)),
            Which::Alias(alias) => state.aliases.iter().find(|(known, _)| known == alias).map(|(_, version)| *version),
            Which::Latest => state.versions.iter().max().copied(),
            Which::Stage(stage) => self.in_stage(id, state, *stage)?,
        })
    }

    fn in_stage(&self, id: RegisteredModelId, state: &RegisteredModelState, stage: Stage) -> Result<Option<u32>> {
        for version in state.versions.iter().rev() {
            if self.model_version(id, *version)?.is_some_and(|state| state.stage == stage && !state.deleted) {
                return Ok(Some(*version));
            }
        }
        Ok(None)
    }

    /// The run that a text names.
    pub(crate) fn find_run(&self, text: &str) -> Result<RunId> {
        let Some(then) = &self.then else { return crate::find::run(self.now, text) };
        match runlode::find::run(self.now, text) {
            Err(absent @ FindError::Absent { .. }) => match self.named_then(then, text)? {
                Some(Named::Run(run)) => Ok(run),
                _ => Err(absent.into()),
            },
            found => Ok(found?),
        }
    }

    /// The experiment that a text names.
    pub(crate) fn find_experiment(&self, text: &str) -> Result<ExperimentId> {
        if let Some(then) = &self.then
            && let Some((id, _)) = then.experiment_by_name(text.strip_prefix("experiment:").unwrap_or(text))?
        {
            return Ok(id);
        }
        crate::find::experiment(self.now, text)
    }
}

fn shared<K, V>(list: Vec<(K, V)>) -> Vec<(K, Arc<V>)> {
    list.into_iter().map(|(key, value)| (key, Arc::new(value))).collect()
}
