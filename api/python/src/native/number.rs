//! A Python value as a metric's number.

use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt};

/// Floats and ints as they are; NumPy scalars, 0-d arrays and tensors of one element by their `item()`; other numbers
/// (`decimal`, `fractions`, NumPy's longdouble) as the nearest float. May run Python code.
///
/// # Errors
/// `TypeError` that names the key; `OverflowError` for an int beyond all floats.
pub(super) fn number(key: &str, value: &Bound<'_, PyAny>) -> PyResult<f64> {
    if let Some(number) = plain(key, value)? {
        return Ok(number);
    }
    let py = value.py();
    // TensorFlow's tensors have no `item`, but give an array.
    for method in ["item", "numpy"] {
        let Ok(method) = value.getattr(method) else { continue };
        let inner = method.call0().map_err(|cause| refused(py, key, value, Some(cause)))?;
        if let Some(number) = plain(key, &inner)? {
            return Ok(number);
        }
        if let Ok(inner) = inner.call_method0("item")
            && let Some(number) = plain(key, &inner)?
        {
            return Ok(number);
        }
    }
    // Texts and arrays are no numbers, though some have a `__float__`.
    let is_number = py.import("numbers")?.getattr("Number").and_then(|numbers| value.is_instance(&numbers))?;
    if is_number {
        return value.extract().map_err(|cause| refused(py, key, value, Some(cause)));
    }
    Err(refused(py, key, value, None))
}

fn plain(key: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
    if let Ok(float) = value.cast::<PyFloat>() {
        return Ok(Some(float.value()));
    }
    if value.is_instance_of::<PyInt>() {
        // Only an int too large for a float fails.
        let too_large = |_| PyOverflowError::new_err(format!("metric '{key}': this int is larger than any float"));
        return value.extract().map(Some).map_err(too_large);
    }
    Ok(None)
}

fn refused(py: Python<'_>, key: &str, value: &Bound<'_, PyAny>, cause: Option<PyErr>) -> PyErr {
    let kind = value.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
    let error = PyTypeError::new_err(format!("metric '{key}': a number was expected, not {kind}"));
    error.set_cause(py, cause);
    error
}
