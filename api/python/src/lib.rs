//! Runlode in process from Python: one extension module, `runlode._runlode`.
//!
//! - `mlflow` part: MLflow's tracking and registry stores, below the Python classes of `runlode.mlflow_plugin`.
//! - `native` part: the API for those who do not want MLflow.
//!
//! The GIL is released where a call can wait or takes long; a point is logged without JSON and without a copy.

mod arrow;
mod native;
mod tail;

use pyo3::prelude::*;

#[pymodule]
fn _runlode(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    native::register(module)?;
    Ok(())
}
