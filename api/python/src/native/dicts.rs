//! Entities as dicts of Python's plain values.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use runlode::mlflow::entity::{Metric, Run, Tag};

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
