//! Columns of a table as Python's own values: what a table gives without NumPy.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, ArrayRef};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyAny, PyList};

/// The values of a column, from row `start` on: int, float, str, datetime (UTC), None for missing ones.
///
/// # Errors
/// Those of Python.
pub(crate) fn values<'py>(
    py: Python<'py>,
    column: &ArrayRef,
    start: usize,
    count: usize,
) -> PyResult<Bound<'py, PyList>> {
    let column = column.slice(start, count);
    if let Some(array) = column.as_primitive_opt::<Float64Type>() {
        return PyList::new(py, array.iter().collect::<Vec<_>>());
    }
    if let Some(array) = column.as_primitive_opt::<Int64Type>() {
        return PyList::new(py, array.iter().collect::<Vec<_>>());
    }
    if let Some(array) = column.as_primitive_opt::<TimestampMillisecondType>() {
        let times: PyResult<Vec<_>> = array.iter().map(|ms| ms.map(|ms| datetime(py, ms)).transpose()).collect();
        return PyList::new(py, times?);
    }
    if let Some(array) = column.as_dictionary_opt::<Int32Type>() {
        // One object for all rows with this text.
        let texts = PyList::new(py, array.values().as_string::<i32>().iter().collect::<Vec<_>>())?;
        let texts: Vec<Bound<'py, PyAny>> = texts.iter().collect();
        let of = |number: Option<i32>| number.and_then(|number| texts.get(usize::try_from(number).ok()?));
        return PyList::new(py, array.keys().iter().map(of).collect::<Vec<_>>());
    }
    PyList::new(py, column.as_string::<i64>().iter().collect::<Vec<_>>())
}

/// Unix ms as a datetime; as the number itself where there is no such datetime.
fn datetime(py: Python<'_>, ms: i64) -> PyResult<Bound<'_, PyAny>> {
    static FROM: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let from =
        FROM.get_or_try_init(py, || py.import("runlode._times")?.getattr("datetime_of_ms").map(Bound::unbind))?;
    from.bind(py).call1((ms,))
}
