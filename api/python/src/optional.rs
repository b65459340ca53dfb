//! Libraries that only some methods need. None of them is a dependency of the package.

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

/// The module, or an `ImportError` that says who needs it and how to get it. `instead`: what needs no such library; may be
/// empty.
///
/// # Errors
/// `ImportError`.
pub(crate) fn needed<'py>(py: Python<'py>, module: &str, by: &str, instead: &str) -> PyResult<Bound<'py, PyModule>> {
    py.import(module).map_err(|cause| {
        if !cause.is_instance_of::<PyImportError>(py) {
            return cause;
        }
        let instead = if instead.is_empty() { String::new() } else { format!(", or use {instead}") };
        let error = PyImportError::new_err(format!("{by} needs {module}: `pip install {module}`{instead}"));
        error.set_cause(py, Some(cause));
        error
    })
}
