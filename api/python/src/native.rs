//! Runlode's own Python API: stores, runs, past views; what `runlode.open` gives.
//!
//! ```text
//!   Store --run/resume--> Run: log (one row), log_points / log_batch (columns)      Logger, no copy of a text
//!     |
//!     +-- search, history, downsample --> Table (Arrow)      MlflowCalls
//!     +-- as_of --> Past      +-- tail --> pages of events
//! ```
//!
//! - A mutex or [`gil::GilCell`] of this module is only held by who holds the GIL, and never while Python code runs or the GIL is released:
//!   so neither threads nor a fork find one that nobody will unlock.
//! - Calls that can wait release the GIL. A row of scalars does not: it takes less time than releasing it.

mod batch;
mod calls;
mod columns;
mod create;
mod dicts;
mod errors;
mod find;
mod gil;
mod handle;
mod items;
mod number;
mod past;
mod reader;
mod row;
mod run;
mod store;
mod tables;
mod tail;
mod whole;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use runlode::{AsOf, Durability, Lsn, RunStatus, TimestampMs};

/// Adds the classes to the extension module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<store::Store>()?;
    module.add_class::<run::Run>()?;
    module.add_class::<past::Past>()?;
    module.add_class::<crate::arrow::Table>()?;
    module.add_class::<tail::TailReader>()?;
    module.add_class::<calls::Calls>()?;
    module.add_function(wrap_pyfunction!(bare, module)?)?;
    module.add_function(wrap_pyfunction!(bare_read, module)?)?;
    module.add_function(wrap_pyfunction!(bare_typed, module)?)?;
    Ok(())
}

/// A call that takes what `Run.log` takes and does nothing: what any such call costs.
#[pyfunction]
#[pyo3(name = "_bare", signature = (metrics, step=None))]
fn bare(metrics: &Bound<'_, PyDict>, step: Option<i64>) -> bool {
    let _ = (metrics, step);
    true
}

/// The same, and it looks at every key and value of the dict.
#[pyfunction]
#[pyo3(name = "_bare_read", signature = (metrics, step=None))]
fn bare_read(metrics: &Bound<'_, PyDict>, step: Option<i64>) -> PyResult<bool> {
    let mut sum = step.unwrap_or(0) as f64;
    for (key, value) in metrics.iter() {
        sum += key.cast::<pyo3::types::PyString>()?.to_str()?.len() as f64 + value.extract::<f64>()?;
    }
    Ok(sum != 0.5)
}

/// The same, as one takes a dict without thinking: as a map of Rust's own.
#[pyfunction]
#[pyo3(name = "_bare_typed", signature = (metrics, step=None))]
fn bare_typed(metrics: std::collections::HashMap<String, f64>, step: Option<i64>) -> bool {
    let _ = step;
    !metrics.is_empty()
}

fn durability(text: &str) -> PyResult<Durability> {
    match text {
        "buffered" => Ok(Durability::Buffered),
        "sync" => Ok(Durability::Sync),
        other => Err(errors::invalid(format!("durability is 'buffered' or 'sync', not '{other}'"))),
    }
}

fn status(text: &str) -> PyResult<RunStatus> {
    let all = [RunStatus::Running, RunStatus::Scheduled, RunStatus::Finished, RunStatus::Failed, RunStatus::Killed];
    let named = |status: &RunStatus| {
        let name: &str = (*status).into();
        name.eq_ignore_ascii_case(text)
    };
    all.into_iter().find(named).ok_or_else(|| {
        errors::invalid(format!("status is RUNNING, SCHEDULED, FINISHED, FAILED or KILLED, not '{text}'"))
    })
}

/// A moment of the past, as it is asked for.
fn moment(position: Option<u64>, time_ms: Option<i64>) -> PyResult<AsOf> {
    match (position, time_ms) {
        (Some(position), None) => Ok(AsOf::Position(Lsn(position))),
        (None, Some(time)) => Ok(AsOf::Time(TimestampMs(time))),
        _ => Err(errors::invalid("give either position or time_ms".to_owned())),
    }
}

/// Names of one or several things: a text, or any iterable of texts.
fn texts(value: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    several(value, text, "a text")
}

/// Ids of one or several runs, given as runs, ids, beginnings of ids, or names.
fn runs_of(handle: &handle::Handle, value: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    let one = |value: &Bound<'_, PyAny>| text(value)?.map(|text| find::run(value.py(), handle, &text)).transpose();
    several(value, one, "a run, its id or its name")
}

fn several(
    value: &Bound<'_, PyAny>,
    one: impl Fn(&Bound<'_, PyAny>) -> PyResult<Option<String>>,
    expected: &str,
) -> PyResult<Vec<String>> {
    if let Some(one) = one(value)? {
        return Ok(vec![one]);
    }
    let mut out = Vec::new();
    for item in value.try_iter()? {
        let item = item?;
        match one(&item)? {
            Some(text) => out.push(text),
            None => return Err(errors::invalid(format!("{expected} was expected, not {}", item.get_type().name()?))),
        }
    }
    Ok(out)
}

/// A text, or the id of a run, also of one as `Store.get_run` returns it.
fn text(value: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    if let Ok(text) = value.cast::<pyo3::types::PyString>() {
        return Ok(Some(text.to_str()?.to_owned()));
    }
    if let Ok(run) = value.cast::<run::Run>() {
        return Ok(Some(run.get().run_id().to_owned()));
    }
    if let Ok(dict) = value.cast::<PyDict>()
        && let Some(id) = dict.get_item("run_id")?
    {
        return Ok(Some(id.extract()?));
    }
    Ok(None)
}

/// The id of a run, given as a run, its id, the beginning of its id, or its name.
fn run_of(handle: &handle::Handle, value: &Bound<'_, PyAny>) -> PyResult<String> {
    match text(value)? {
        Some(text) => find::run(value.py(), handle, &text),
        None => {
            Err(errors::invalid(format!("a run, its id or its name was expected, not {}", value.get_type().name()?)))
        }
    }
}

/// Texts of a mapping: values that are none become their `str`.
fn pairs(mapping: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<(String, String)>> {
    let Some(mapping) = mapping.filter(|mapping| !mapping.is_none()) else { return Ok(Vec::new()) };
    let mut out = Vec::new();
    for item in as_dict(mapping)?.items() {
        let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
        out.push((key.str()?.to_str()?.to_owned(), value.str()?.to_str()?.to_owned()));
    }
    Ok(out)
}

/// A mapping, or a frame of columns, as a dict; itself if it is one.
fn as_dict<'py>(mapping: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    if let Ok(dict) = mapping.cast::<PyDict>() {
        return Ok(dict.clone());
    }
    if mapping.hasattr("keys")? && mapping.hasattr("__getitem__")? {
        // Mappings, frames and rows of pandas: as `dict(..)` takes them.
        let dict = PyDict::new(mapping.py());
        dict.call_method1("update", (mapping,))?;
        return Ok(dict);
    }
    // Frames of polars, tables of Arrow.
    for method in ["to_dict", "to_pydict"] {
        if let Ok(method) = mapping.getattr(method)
            && let Ok(dict) = method.call0()?.cast_into::<PyDict>()
        {
            return Ok(dict);
        }
    }
    let kind = mapping.get_type().name()?;
    Err(pyo3::exceptions::PyTypeError::new_err(format!("a dict was expected, not {kind}")))
}
