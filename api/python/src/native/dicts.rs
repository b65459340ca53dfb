//! Entities as dicts of Python's plain values.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use runlode::mlflow::entity::{Metric, Run, Tag};
use runlode::mlflow::{Liveness, RunBranch};

pub(super) fn of_pairs<'py>(py: Python<'py>, pairs: &[Tag]) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (key, value) in pairs {
        dict.set_item(key, value)?;
    }
    Ok(dict)
}

pub(super) fn of_metrics<'py>(py: Python<'py>, metrics: &[Metric]) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for metric in metrics {
        dict.set_item(&*metric.key, metric.value)?;
    }
    Ok(dict)
}

pub(super) fn of_run<'py>(py: Python<'py>, run: &Run) -> PyResult<Bound<'py, PyDict>> {
    let info = &run.info;
    let status: &str = info.status.into();
    let dict = PyDict::new(py);
    dict.set_item("run_id", &info.run_id)?;
    dict.set_item("run_name", &info.run_name)?;
    dict.set_item("experiment_id", &info.experiment_id)?;
    dict.set_item("user_id", &info.user_id)?;
    dict.set_item("status", status)?;
    dict.set_item("lifecycle", if info.deleted { "deleted" } else { "active" })?;
    dict.set_item("start_time_ms", info.start_time)?;
    dict.set_item("end_time_ms", info.end_time)?;
    dict.set_item("artifact_uri", &info.artifact_uri)?;
    dict.set_item("params", of_pairs(py, &run.params)?)?;
    dict.set_item("tags", of_pairs(py, &run.tags)?)?;
    dict.set_item("metrics", of_metrics(py, &run.metrics)?)?;
    Ok(dict)
}

pub(super) fn of_branch<'py>(py: Python<'py>, branch: &RunBranch) -> PyResult<Bound<'py, PyDict>> {
    let metrics = PyDict::new(py);
    for metric in &branch.metrics {
        let about = PyDict::new(py);
        about.set_item("points", metric.points)?;
        about.set_item("last_step", metric.last_step)?;
        about.set_item("last_value", metric.last_value)?;
        metrics.set_item(&metric.key, about)?;
    }
    let dict = PyDict::new(py);
    dict.set_item("branch", branch.branch)?;
    dict.set_item("from_branch", branch.from)?;
    dict.set_item("from_step", branch.from_step)?;
    dict.set_item("ended_ms", branch.ended_ms)?;
    dict.set_item("metrics", metrics)?;
    Ok(dict)
}

pub(super) fn liveness(found: &Liveness) -> &'static str {
    match found {
        Liveness::Finished => "finished",
        Liveness::Alive { .. } => "alive",
        Liveness::Lost { .. } => "lost",
        Liveness::Silent { .. } => "silent",
        Liveness::Unknown => "unknown",
    }
}
