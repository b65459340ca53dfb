//! A Python value as a step or a time: a whole number that an int64 holds.

use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt};

/// A step.
pub(super) struct Step(pub(super) i64);

/// A time, Unix ms.
pub(super) struct Time(pub(super) i64);

impl<'py> FromPyObject<'_, 'py> for Step {
    type Error = PyErr;

    #[inline]
    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        plain(&value).map_or_else(|| of("step", &value).map_err(|error| unnamed(value.py(), error)), Ok).map(Self)
    }
}

impl<'py> FromPyObject<'_, 'py> for Time {
    type Error = PyErr;

    #[inline]
    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let slowly = || time("timestamp_ms", &value).map_err(|error| unnamed(value.py(), error));
        plain(&value).map_or_else(slowly, Ok).map(Self)
    }
}

/// Of an int that is nothing else and fits.
#[inline]
fn plain(value: &Bound<'_, PyAny>) -> Option<i64> {
    if value.is_exact_instance_of::<PyInt>() { value.extract().ok() } else { None }
}

/// PyO3 puts the name of the argument before a `TypeError`, which would then be there twice.
#[cold]
fn unnamed(py: Python<'_>, error: PyErr) -> PyErr {
    if !error.is_instance_of::<PyTypeError>(py) {
        return error;
    }
    let text = error.value(py).to_string();
    let without = PyTypeError::new_err(text.split_once(": ").map_or(text.clone(), |(_, rest)| rest.to_owned()));
    without.set_cause(py, error.cause(py));
    without
}

/// A time: a whole number of Unix milliseconds, or a datetime of Python, pandas or NumPy. One without a time zone is
/// local, as ever in Python; NumPy's are UTC.
///
/// # Errors
/// As [`of`]; `ValueError` for NaT.
pub(super) fn time(name: &str, value: &Bound<'_, PyAny>) -> PyResult<i64> {
    datetime(name, value)?.map_or_else(|| of(name, value), Ok)
}

/// The Unix milliseconds of a datetime; `None` if it is none.
///
/// # Errors
/// `ValueError` for NaT.
pub(super) fn datetime(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<i64>> {
    value.py().import("runlode._times")?.call_method1("ms_of", (name, value))?.extract()
}

/// Ints, integers of NumPy, tensors of one, whatever says that it is a whole number (`__index__`); no booleans, and no
/// durations, which NumPy calls integers.
///
/// # Errors
/// `TypeError` for what is none, `OverflowError` for what an int64 does not hold; both name the parameter.
pub(super) fn of(name: &str, value: &Bound<'_, PyAny>) -> PyResult<i64> {
    let kind = value.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
    let no_number =
        value.is_instance_of::<PyBool>() || matches!(kind.as_str(), "bool" | "bool_" | "timedelta64" | "datetime64");
    let refused = || {
        let hint = "convert it by int(..) if that is what it means";
        PyTypeError::new_err(format!("{name}: a whole number was expected, not {kind}; {hint}"))
    };
    if no_number {
        return Err(refused());
    }
    value.extract::<i64>().map_err(|error| {
        if error.is_instance_of::<PyOverflowError>(value.py()) {
            return PyOverflowError::new_err(format!("{name}: {value} is beyond int64 (-2**63 to 2**63 - 1)"));
        }
        let refused = refused();
        refused.set_cause(value.py(), Some(error));
        refused
    })
}
