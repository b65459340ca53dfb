//! New runs: what is checked before there is one, its experiment, and what is noted about who made it.

use std::time::{SystemTime, UNIX_EPOCH};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use runlode::mlflow::entity::RunInfo;
use runlode::mlflow::{ApiResult, ErrorCode, NewRun};
use runlode::shared::{Logger, MlflowCalls};

use super::handle::Handle;
use super::{errors, pairs};

/// The tag with the user, which is also an attribute of the run.
const USER: &str = "mlflow.user";

/// A run that is to be made.
pub(super) struct New<'a, 'py> {
    /// `None`: the parent's, else `Default`.
    pub(super) experiment: Option<Experiment>,
    pub(super) name: Option<&'a str>,
    pub(super) tags: Option<&'a Bound<'py, PyAny>>,
    pub(super) params: Option<&'a Bound<'py, PyAny>>,
    /// Id of the run that it is part of.
    pub(super) parent: Option<String>,
}

/// Creates the run, and what logs to it.
pub(super) fn run(py: Python<'_>, handle: &Handle, new: New<'_, '_>) -> PyResult<(RunInfo, Logger)> {
    let New { experiment, name, tags, params, parent } = new;
    let params = pairs(params)?;
    let tags = py.import("runlode._context")?.call_method1("tags", (tags, &parent))?;
    let tags = pairs(Some(&tags))?;
    let user = tags.iter().find(|(key, _)| key == USER).map(|(_, user)| user.as_str());
    let start_time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    handle.call(py, |shared| {
        let user_id = user.unwrap_or_default();
        let new = NewRun { experiment_id: None, user_id, start_time, run_name: name, tags: &tags };
        // Before there is an experiment for it.
        shared.check_new_run(&new, &params)?;
        let parent = parent.map(|id| shared.run_info(&id)).transpose()?;
        let experiment = match (experiment, parent) {
            (Some(Experiment::Id(id)), _) => id,
            (Some(Experiment::Named(name)), _) => experiment_named(shared, &name)?,
            (None, Some(parent)) => parent.experiment_id,
            (None, None) => shared.ensure_experiment("Default")?,
        };
        let run = shared.create_run_with(&NewRun { experiment_id: Some(&experiment), ..new }, &params)?;
        let logger = shared.logger(&run.info.run_id)?;
        Ok((run.info, logger))
    })
}

/// An experiment as it is given.
pub(super) enum Experiment {
    Named(String),
    Id(String),
}

/// A name, or an experiment as `Store.get_experiment` returns it.
pub(super) fn experiment(value: &Bound<'_, PyAny>) -> PyResult<Experiment> {
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(Experiment::Named(text.to_str()?.to_owned()));
    }
    if let Ok(dict) = value.cast::<PyDict>()
        && let Some(id) = dict.get_item("experiment_id")?
    {
        return Ok(Experiment::Id(id.extract()?));
    }
    let kind = value.get_type().name()?;
    Err(errors::invalid(format!("the name of an experiment was expected, not {kind}")))
}

/// The id of the experiment with this name, which is made if there is none; a number is also the id of one that exists.
fn experiment_named(shared: &MlflowCalls, name: &str) -> ApiResult<String> {
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) && shared.experiment_by_name(name)?.is_none()
    {
        match shared.experiment(name) {
            Ok(found) => return Ok(found.experiment_id),
            Err(error) if error.code == ErrorCode::ResourceDoesNotExist => {}
            Err(error) => return Err(error),
        }
    }
    shared.ensure_experiment(name)
}

/// One or several experiments, as names or ids.
pub(super) fn experiments(value: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    let text = |value: &Bound<'_, PyAny>| -> PyResult<String> {
        match experiment(value)? {
            Experiment::Named(text) | Experiment::Id(text) => Ok(text),
        }
    };
    if value.is_instance_of::<PyString>() || value.is_instance_of::<PyDict>() {
        return Ok(vec![text(value)?]);
    }
    value.try_iter()?.map(|item| text(&item?)).collect()
}
