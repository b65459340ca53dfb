//! The handle that a store object of MLflow's has. A process has one of each folder, which `runlode::Store` sees to; forked
//! children make their own.

use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use runlode::shared::MlflowCalls;
use runlode::{Durability, Store};

use runlode::mlflow::ApiError;

use crate::errors::Raise;
use crate::exit::detached;

/// A handle, and whether metric points go to the disk before a call returns.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) shared: MlflowCalls,
    pub(crate) sync: bool,
}

/// Opens a store, or makes it. `durability` is `buffered`, `sync`, or nothing; `artifacts` the root of default
/// places; `serves_others`: it is a server that opens it.
///
/// # Errors
/// Python's, of what the store says.
pub(crate) fn open(
    py: Python<'_>,
    path: PathBuf,
    durability: Option<&str>,
    artifacts: Option<String>,
    serves_others: bool,
) -> PyResult<Opened> {
    let metric_durability = match durability {
        None => None,
        Some("buffered") => Some(Durability::Buffered),
        Some("sync") => Some(Durability::Sync),
        Some(other) => return Err(PyValueError::new_err(format!("durability is buffered or sync, not {other:?}"))),
    };
    let mut options = Store::options(path).serves_others(serves_others);
    if let Some(durability) = metric_durability {
        options = options.metric_durability(durability);
    }
    if let Some(root) = artifacts {
        options = options.artifact_root(root);
    }
    let shared = detached(py, || options.open()).map_err(ApiError::from).or_raise(py)?.mlflow();
    Ok(Opened { shared, sync: metric_durability == Some(Durability::Sync) })
}
