//! Runlode in process from Python: one extension module, `runlode._runlode`.
//!
//! - `mlflow` part: MLflow's tracking and registry stores, below the Python classes of `runlode.mlflow_plugin`.
//! - `native` part: the API for those who do not want MLflow.
//!
//! ```text
//!   mlflow.* classes     Tracking, Registry        calls of MLflow's stores, by MLflow's argument names
//!                          |          |
//!        arguments: Python objects -> plain values     entities: plain values -> mlflow.entities.*
//!                          |          |
//!                          v          v
//!                       runlode::shared::MlflowCalls        one handle per store and process
//! ```
//!
//! The GIL is released where a call can wait or takes long; a point is logged without JSON and without a copy.

mod arguments;
mod arrow;
mod entities;
mod errors;
mod exit;
mod native;
mod open;
mod optional;
mod plain;
mod registry;
mod similar;
mod tracking;

use pyo3::prelude::*;

#[pymodule]
fn _runlode(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<tracking::Tracking>()?;
    module.add_class::<registry::Registry>()?;
    native::register(module)?;
    exit::register(module)?;
    Ok(())
}
