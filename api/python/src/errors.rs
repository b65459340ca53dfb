//! Refused calls as MLflow raises them: `MlflowException(message, error_code=number)`.

use pyo3::PyErr;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use runlode::mlflow::{ApiError, ApiResult};

static EXCEPTION: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// The exception that MLflow's own stores would raise.
pub(crate) fn raised(py: Python<'_>, error: &ApiError) -> PyErr {
    let made = EXCEPTION
        .import(py, "mlflow.exceptions", "MlflowException")
        .and_then(|class| class.call1((error.message.as_str(), error.code.number())));
    match made {
        Ok(exception) => PyErr::from_value(exception),
        Err(why) => why,
    }
}

/// Results of calls, for Python.
pub(crate) trait Raise<T> {
    /// The error as Python's.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> Raise<T> for ApiResult<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| raised(py, &error))
    }
}
