//! Refusals as `runlode`'s exceptions. Their classes are Python's (`runlode/_errors.py`), looked up once.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use runlode::mlflow::{ApiError, ErrorCode};

/// The class of a code.
fn class_name(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidParameterValue | ErrorCode::BadRequest | ErrorCode::InvalidState => "Invalid",
        ErrorCode::ResourceDoesNotExist => "NotFound",
        ErrorCode::ResourceAlreadyExists => "AlreadyExists",
        ErrorCode::ResourceConflict => "Conflict",
        ErrorCode::ResourceExhausted => "StorageFull",
        ErrorCode::TemporarilyUnavailable => "Unavailable",
        ErrorCode::PermissionDenied => "ReadOnly",
        _ => "Error",
    }
}

fn of_class(py: Python<'_>, name: &'static str, message: String) -> PyErr {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = MODULE.get_or_try_init(py, || py.import("runlode._errors").map(Bound::unbind));
    let class = module.and_then(|module| Ok(module.bind(py).getattr(name)?.cast_into::<PyType>()?));
    match class {
        Ok(class) => PyErr::from_type(class, message),
        Err(error) => error,
    }
}

/// What the store said, as an exception.
pub(crate) fn raised(py: Python<'_>, error: ApiError) -> PyErr {
    of_class(py, class_name(error.code), error.message)
}

/// `runlode.Invalid`.
pub(crate) fn invalid(message: String) -> PyErr {
    Python::attach(|py| of_class(py, "Invalid", message))
}

/// `runlode.Closed`.
pub(crate) fn closed(py: Python<'_>) -> PyErr {
    of_class(py, "Closed", "the store was closed: open it again".to_owned())
}

/// `runlode.ReadOnly`.
pub(crate) fn read_only(py: Python<'_>) -> PyErr {
    of_class(py, "ReadOnly", "the store was opened with read_only=True: open it without to change it".to_owned())
}

/// Whether the store could not take it, though nothing is wrong with what was given: a full disk, a failed one.
pub(crate) fn is_of_the_disk(error: &ApiError) -> bool {
    matches!(error.code, ErrorCode::ResourceExhausted | ErrorCode::TemporarilyUnavailable | ErrorCode::InternalError)
}
