//! Columns that Python gives: NumPy arrays as they lie in memory, anything else by way of NumPy or of Python's numbers.
//!
//! An array is read in place when its type is one of those below and its elements lie at whole strides; NumPy converts
//! the rest (one copy). The module works without NumPy: what is no array then is iterated.

use numpy::ndarray::ArrayView1;
use numpy::{PyArray1, PyArrayMethods, PyReadonlyArray1, PyUntypedArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyList, PyTuple};

use super::errors;
use super::number::number;
use super::whole;

/// A column that was given.
pub(super) enum Given<'py> {
    F64(PyReadonlyArray1<'py, f64>),
    F32(PyReadonlyArray1<'py, f32>),
    I64(PyReadonlyArray1<'py, i64>),
    I32(PyReadonlyArray1<'py, i32>),
    Floats(Vec<f64>),
    Whole(Vec<i64>),
    /// The same for all points.
    Same(i64),
    /// One more for each point.
    From(i64),
}

/// The same, to be read by who does not hold the GIL.
#[derive(Clone, Copy)]
pub(super) enum View<'a> {
    F64(ArrayView1<'a, f64>),
    F32(ArrayView1<'a, f32>),
    I64(ArrayView1<'a, i64>),
    I32(ArrayView1<'a, i32>),
    Same(i64),
    From(i64),
}

impl Given<'_> {
    pub(super) fn view(&self) -> View<'_> {
        match self {
            Self::F64(array) => View::F64(array.as_array()),
            Self::F32(array) => View::F32(array.as_array()),
            Self::I64(array) => View::I64(array.as_array()),
            Self::I32(array) => View::I32(array.as_array()),
            Self::Floats(values) => View::F64(ArrayView1::from(values.as_slice())),
            Self::Whole(values) => View::I64(ArrayView1::from(values.as_slice())),
            Self::Same(value) => View::Same(*value),
            Self::From(first) => View::From(*first),
        }
    }
}

impl View<'_> {
    /// How many, if it is not the same for any number.
    pub(super) fn len(&self) -> Option<usize> {
        match self {
            Self::F64(view) => Some(view.len()),
            Self::F32(view) => Some(view.len()),
            Self::I64(view) => Some(view.len()),
            Self::I32(view) => Some(view.len()),
            Self::Same(_) | Self::From(_) => None,
        }
    }

    /// The part `start..end` as whole numbers, in `out`.
    pub(super) fn whole(&self, start: usize, end: usize, out: &mut Vec<i64>) {
        out.clear();
        let part = numpy::ndarray::s![start..end];
        match self {
            Self::I64(view) => match view.as_slice().and_then(|all| all.get(start..end)) {
                Some(slice) => out.extend_from_slice(slice),
                None => out.extend(view.slice(part)),
            },
            Self::I32(view) => out.extend(view.slice(part).iter().map(|value| i64::from(*value))),
            Self::F64(view) => out.extend(view.slice(part).iter().map(|value| *value as i64)),
            Self::F32(view) => out.extend(view.slice(part).iter().map(|value| *value as i64)),
            Self::Same(value) => out.resize(end - start, *value),
            Self::From(first) => {
                let first = first.wrapping_add(start as i64);
                out.extend((0..(end - start) as i64).map(|i| first.wrapping_add(i)));
            }
        }
    }

    /// The part `start..end` as floats: where they lie, or in `out`.
    pub(super) fn floats<'s>(&'s self, start: usize, end: usize, out: &'s mut Vec<f64>) -> &'s [f64] {
        out.clear();
        let part = numpy::ndarray::s![start..end];
        match self {
            Self::F64(view) => match view.as_slice().and_then(|all| all.get(start..end)) {
                Some(slice) => return slice,
                None => out.extend(view.slice(part)),
            },
            Self::F32(view) => out.extend(view.slice(part).iter().map(|value| f64::from(*value))),
            Self::I64(view) => out.extend(view.slice(part).iter().map(|value| *value as f64)),
            Self::I32(view) => out.extend(view.slice(part).iter().map(|value| f64::from(*value))),
            Self::Same(value) | Self::From(value) => out.resize(end - start, *value as f64),
        }
        out
    }
}

/// A column of values.
///
/// # Errors
/// `TypeError` that names the key, for what holds no numbers.
pub(super) fn values<'py>(key: &str, column: &Bound<'py, PyAny>) -> PyResult<Given<'py>> {
    refuse_masked(key, column)?;
    if let Some(given) = in_place(column, true)? {
        return Ok(given);
    }
    if !is_list(column)
        && let Some(numpy) = numpy_for(column)
    {
        let array = numpy.call_method1("ascontiguousarray", (column,))?;
        let array = flat(key, &array)?;
        if let Some(given) = in_place(&array, true)? {
            return Ok(given);
        }
        if "biuf".contains(&kind(&array)?) {
            let array = array.call_method1("astype", ("float64",))?;
            return in_place(&array, true)?.ok_or_else(|| not_numbers(key, column));
        }
        return Err(not_numbers(key, column));
    }
    let mut out = Vec::with_capacity(column.len().unwrap_or(0));
    let items = column.try_iter().map_err(|_| not_numbers(key, column))?;
    for item in items {
        out.push(number(key, &item?)?);
    }
    Ok(Given::Floats(out))
}

/// What datetimes are in a column of whole numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Datetimes {
    /// Unix milliseconds.
    AsMs,
    Refused,
}

/// A column of steps or times: whole numbers, or one for all of them.
///
/// # Errors
/// `TypeError` for what holds no whole numbers (booleans, fractions, durations), `OverflowError` for numbers beyond
/// int64, `ValueError` for datetimes that are none.
pub(super) fn whole<'py>(name: &str, column: &Bound<'py, PyAny>, datetimes: Datetimes) -> PyResult<Given<'py>> {
    if column.is_instance_of::<PyInt>() {
        return Ok(Given::Same(whole::of(name, column)?));
    }
    if datetimes == Datetimes::AsMs
        && let Some(time) = whole::datetime(name, column)?
    {
        return Ok(Given::Same(time));
    }
    refuse_masked(name, column)?;
    if let Some(given) = in_place(column, false)? {
        return Ok(given);
    }
    if !is_list(column)
        && let Some(numpy) = numpy_for(column)
    {
        let array = numpy.call_method1("asarray", (column,))?;
        if array.getattr("ndim")?.extract::<usize>()? == 0 {
            // A scalar: one for all.
            return match kind(&array)?.as_str() {
                "i" | "u" => Ok(Given::Same(whole::of(name, &array.call_method0("item")?)?)),
                "M" if datetimes == Datetimes::AsMs => {
                    let array = milliseconds(name, &numpy, &array)?;
                    Ok(Given::Same(array.call_method0("item")?.extract()?))
                }
                _ => Err(not_whole(name, column, &array)),
            };
        }
        let mut array = flat(name, &numpy.call_method1("ascontiguousarray", (array,))?)?;
        match kind(&array)?.as_str() {
            "i" => {}
            "u" => refuse_beyond(name, &array)?,
            "M" if datetimes == Datetimes::AsMs => array = milliseconds(name, &numpy, &array)?,
            // What no type of NumPy holds: nullable integers of pandas, ints that are too large, datetimes with zones.
            "O" => return listed(name, &array, datetimes),
            _ => return Err(not_whole(name, column, &array)),
        }
        let whole = array.call_method1("astype", ("int64",))?;
        return in_place(&whole, false)?.ok_or_else(|| not_whole(name, column, &array));
    }
    listed(name, column, datetimes)
}

/// Python's numbers, or datetimes.
fn listed<'py>(name: &str, column: &Bound<'py, PyAny>, datetimes: Datetimes) -> PyResult<Given<'py>> {
    let mut out = Vec::with_capacity(column.len().unwrap_or(0));
    for item in column.try_iter().map_err(|_| not_whole(name, column, column))? {
        let item = item?;
        out.push(match datetimes {
            Datetimes::AsMs if !item.is_instance_of::<PyInt>() => whole::time(name, &item)?,
            _ => whole::of(name, &item)?,
        });
    }
    Ok(Given::Whole(out))
}

/// An array of unsigned integers that an int64 cannot hold would wrap around.
fn refuse_beyond(name: &str, array: &Bound<'_, PyAny>) -> PyResult<()> {
    if array.len()? == 0 {
        return Ok(());
    }
    whole::of(name, &array.call_method0("max")?.call_method0("item")?).map(drop)
}

/// Datetimes as Unix milliseconds.
fn milliseconds<'py>(
    name: &str,
    numpy: &Bound<'py, PyModule>,
    array: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    if numpy.call_method1("isnat", (array,))?.call_method0("any")?.is_truthy()? {
        return Err(errors::invalid(format!("{name}: NaT is no time")));
    }
    array.call_method1("astype", ("datetime64[ms]",))?.call_method1("astype", ("int64",))
}

/// Lists and tuples hold Python's numbers: NumPy would only make them an array first.
fn is_list(column: &Bound<'_, PyAny>) -> bool {
    column.is_instance_of::<PyList>() || column.is_instance_of::<PyTuple>()
}

/// An array that can be read where it lies.
fn in_place<'py>(column: &Bound<'py, PyAny>, floats: bool) -> PyResult<Option<Given<'py>>> {
    if loaded_numpy(column.py())?.is_none() {
        return Ok(None);
    }
    macro_rules! try_as {
        ($($type:ty => $variant:ident),*) => { $(
            if let Ok(array) = column.cast::<PyArray1<$type>>() {
                let width = size_of::<$type>() as isize;
                let lies_well = array.strides().iter().all(|stride| stride % width == 0)
                    && column.getattr("flags")?.getattr("aligned")?.is_truthy()?;
                if !lies_well {
                    return Ok(None);
                }
                let array = array.try_readonly().map_err(|error| errors::invalid(error.to_string()))?;
                return Ok(Some(Given::$variant(array)));
            }
        )* };
    }
    if floats {
        try_as!(f64 => F64, f32 => F32);
    }
    try_as!(i64 => I64, i32 => I32);
    Ok(None)
}

/// NumPy, if anybody has loaded it: without it nothing is an array.
fn loaded_numpy(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    let modules = py.import("sys")?.getattr("modules")?.cast_into::<PyDict>()?;
    Ok(modules.get_item("numpy")?.filter(|numpy| !numpy.is_none()))
}

/// NumPy for what it can read better than by iteration: arrays, buffers, tensors, series. `None` also where it is not
/// installed, or the column cannot be asked: iteration then reads it, or says what is wrong.
fn numpy_for<'py>(column: &Bound<'py, PyAny>) -> Option<Bound<'py, PyModule>> {
    let py = column.py();
    let converts = column.hasattr("__array__").unwrap_or(false)
        || column.hasattr("__array_interface__").unwrap_or(false)
        || ["memoryview", "array", "bytearray"]
            .iter()
            .any(|name| column.get_type().name().is_ok_and(|kind| kind.to_str().is_ok_and(|kind| kind == *name)));
    if converts { py.import("numpy").ok() } else { None }
}

/// Below a mask there are numbers that nobody means.
fn refuse_masked(name: &str, column: &Bound<'_, PyAny>) -> PyResult<()> {
    if column.get_type().name()?.to_str()? != "MaskedArray" {
        return Ok(());
    }
    let hint = "give `array.filled(numpy.nan)`, or `array.compressed()` with the steps that it has";
    Err(PyTypeError::new_err(format!("'{name}': a masked array is no column; {hint}")))
}

fn flat<'py>(name: &str, array: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let dimensions: usize = array.getattr("ndim")?.extract()?;
    if dimensions == 1 {
        return Ok(array.clone());
    }
    Err(errors::invalid(format!("'{name}': one dimension was expected, not {dimensions}")))
}

fn kind(array: &Bound<'_, PyAny>) -> PyResult<String> {
    array.getattr("dtype")?.getattr("kind")?.extract()
}

fn not_numbers(key: &str, column: &Bound<'_, PyAny>) -> PyErr {
    let kind = column.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!("metric '{key}': an array of numbers was expected, not {kind}"))
}

/// `array`: what it is to NumPy.
fn not_whole(name: &str, column: &Bound<'_, PyAny>, array: &Bound<'_, PyAny>) -> PyErr {
    let kind = column.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
    let of = array.getattr("dtype").map_or_else(|_| String::new(), |kind| format!(" of {kind}"));
    PyTypeError::new_err(format!(
        "{name}: whole numbers were expected, not {kind}{of}; convert them to int64 if that is what they mean"
    ))
}
