//! What of a store is exported: all of it, or what [`Only`] names with what that refers to.
//!
//! | named | exported |
//! |---|---|
//! | an experiment | it, its runs, its logged models |
//! | a run | it, the logged models that it made, read or wrote; of its experiment only the experiment itself |
//! | a registered model | it, its versions and aliases, and the runs and logged models that its versions name |
//!
//! Runs are in the order of their ids, so that an export that was cut knows what is left.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use runlode::{
    ExperimentId, ExperimentState, LoggedModelState, ModelId, RegisteredModelId, RegisteredModelState, RunId,
};

use crate::error::{Error, Result};
use crate::moment::Moment;

/// A part of a store.
///
/// ```
/// use runlode_export::Only;
///
/// assert_eq!("experiment:digits".parse::<Only>()?, Only::Experiment("digits".into()));
/// assert_eq!("models:/fraud".parse::<Only>()?, Only::RegisteredModel("fraud".into()));
/// assert!("run:x".parse::<Only>().is_err(), "a run is named by its whole id");
/// # Ok::<(), runlode_export::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Only {
    /// The experiment of this name, or of this id if none has the name.
    Experiment(String),
    /// A run.
    Run(RunId),
    /// The registered model of this name.
    RegisteredModel(String),
}

impl FromStr for Only {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            Error::Absent(format!(
                "`{text}` names no part of a store; write experiment:NAME, run:ID (32 hex digits) or models:/NAME"
            ))
        };
        if let Some(name) = text.strip_prefix("experiment:").filter(|name| !name.is_empty()) {
            return Ok(Self::Experiment(name.to_owned()));
        }
        if let Some(id) = text.strip_prefix("run:") {
            return id.parse().map(Self::Run).map_err(|_| wrong());
        }
        match text.strip_prefix("models:/").filter(|name| !name.is_empty()) {
            Some(name) => Ok(Self::RegisteredModel(name.to_owned())),
            None => Err(wrong()),
        }
    }
}

impl fmt::Display for Only {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Experiment(name) => write!(f, "experiment:{name}"),
            Self::Run(id) => write!(f, "run:{id}"),
            Self::RegisteredModel(name) => write!(f, "models:/{name}"),
        }
    }
}

/// What is exported.
#[derive(Debug)]
pub(crate) struct Selected {
    /// By id.
    pub(crate) experiments: BTreeMap<ExperimentId, Arc<ExperimentState>>,
    /// By id, with their experiments.
    pub(crate) runs: Vec<(RunId, ExperimentId)>,
    /// By id.
    pub(crate) logged_models: Vec<ModelId>,
    /// By name; deleted ones among them.
    pub(crate) registered_models: Vec<(RegisteredModelId, Arc<RegisteredModelState>)>,
}

impl Selected {
    pub(crate) fn of(moment: &Moment, only: &[Only]) -> Result<Self> {
        let all = moment.experiments()?;
        let models = moment.registered_models()?;
        if only.is_empty() {
            let mut selected = Self {
                experiments: all.into_iter().collect(),
                runs: Vec::new(),
                logged_models: Vec::new(),
                registered_models: models,
            };
            for id in selected.experiments.keys() {
                selected.runs.extend(moment.runs_of(*id)?.into_iter().map(|run| (run, *id)));
                selected.logged_models.extend(moment.logged_models_of(*id)?);
            }
            selected.runs.sort_unstable();
            selected.logged_models.sort_unstable();
            return Ok(selected);
        }
        let mut parts = Parts::default();
        for part in only {
            match part {
                Only::Experiment(name) => {
                    let named = all.iter().find(|(_, state)| state.name == *name);
                    let found = named.or_else(|| all.iter().find(|(id, _)| id.to_string() == *name));
                    let Some((id, _)) = found else {
                        return Err(Error::Absent(format!("there is no experiment `{name}` at that position")));
                    };
                    parts.runs.extend(moment.runs_of(*id)?);
                    parts.logged_models.extend(moment.logged_models_of(*id)?);
                    parts.experiments.insert(*id);
                }
                Only::Run(id) => {
                    if !parts.take_run(moment, *id)? {
                        return Err(Error::Absent(format!("there is no run {id} at that position")));
                    }
                }
                Only::RegisteredModel(name) => {
                    let found = models.iter().find(|(_, state)| state.name == *name && !state.deleted);
                    let Some((id, state)) = found else {
                        return Err(Error::Absent(format!("there is no registered model `{name}` at that position")));
                    };
                    parts.take_registered(moment, *id, state)?;
                }
            }
        }
        parts.finish(moment, all, models)
    }
}

/// What was named, and what that refers to.
#[derive(Debug, Default)]
struct Parts {
    experiments: BTreeSet<ExperimentId>,
    runs: BTreeSet<RunId>,
    logged_models: BTreeSet<ModelId>,
    registered_models: BTreeSet<RegisteredModelId>,
}

impl Parts {
    /// Adds a run and its logged models; false if it does not exist.
    fn take_run(&mut self, moment: &Moment, id: RunId) -> Result<bool> {
        let Some((state, _)) = moment.run(id)? else { return Ok(false) };
        self.runs.insert(id);
        let linked = state.model_inputs.iter().chain(state.model_outputs.iter().map(|(model, _)| model));
        for model in linked.filter_map(|text| text.parse::<ModelId>().ok()) {
            if moment.logged_model(model)?.is_some() {
                self.logged_models.insert(model);
            }
        }
        for model in moment.logged_models_of(state.experiment)? {
            let is_own = |state: Arc<LoggedModelState>| state.source_run.parse().ok() == Some(id);
            if moment.logged_model(model)?.is_some_and(is_own) {
                self.logged_models.insert(model);
            }
        }
        Ok(true)
    }

    fn take_registered(&mut self, moment: &Moment, id: RegisteredModelId, state: &RegisteredModelState) -> Result<()> {
        self.registered_models.insert(id);
        for number in &state.versions {
            let Some(version) = moment.version(id, *number)? else { continue };
            if let Some(run) = version.run_id.as_ref().and_then(|text| text.parse().ok()) {
                // The run may be gone; the version stays.
                self.take_run(moment, run)?;
            }
            let named = version.model_id.as_deref().or_else(|| version.source.strip_prefix("models:/"));
            if let Some(model) = named.and_then(|text| text.parse().ok())
                && moment.logged_model(model)?.is_some()
            {
                self.logged_models.insert(model);
            }
        }
        Ok(())
    }

    fn finish(
        mut self,
        moment: &Moment,
        all: Vec<(ExperimentId, Arc<ExperimentState>)>,
        models: Vec<(RegisteredModelId, Arc<RegisteredModelState>)>,
    ) -> Result<Selected> {
        let mut runs = Vec::new();
        for id in self.runs {
            if let Some((state, _)) = moment.run(id)? {
                self.experiments.insert(state.experiment);
                runs.push((id, state.experiment));
            }
        }
        for id in &self.logged_models {
            if let Some(state) = moment.logged_model(*id)? {
                self.experiments.insert(state.experiment);
            }
        }
        Ok(Selected {
            experiments: all.into_iter().filter(|(id, _)| self.experiments.contains(id)).collect(),
            runs,
            logged_models: self.logged_models.into_iter().collect(),
            registered_models: models.into_iter().filter(|(id, _)| self.registered_models.contains(id)).collect(),
        })
    }
}
