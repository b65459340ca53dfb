//! A table that any Arrow library reads without a copy, by the Arrow PyCapsule interface.
//!
//! `pyarrow.table(t)`, `polars.DataFrame(t)`, `pandas.DataFrame.from_arrow(t)` and DuckDB's `FROM t` take it as it is;
//! none of them is needed here. NumPy arrays of it share its memory likewise, and are read-only.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::ffi::FFI_ArrowSchema;
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchIterator, RecordBatchOptions};
use arrow_buffer::{Buffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use parking_lot::Mutex;
use pyo3::exceptions::{PyIndexError, PyKeyError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict, PyList, PySlice, PyString, PyTuple};

use crate::similar::similar;
use crate::{optional, plain};

/// Columns that a refusal lists.
const COLUMNS_SHOWN: usize = 40;

/// Columns of equal length. Immutable.
#[pyclass(frozen, module = "runlode", name = "Table")]
pub(crate) struct Table {
    batch: RecordBatch,
}

impl Table {
    /// Of columns of equal length.
    ///
    /// # Errors
    /// When they are not.
    pub(crate) fn new(columns: Vec<(String, ArrayRef)>) -> Result<Self, ArrowError> {
        let fields: Vec<Field> = columns
            .iter()
            .map(|(name, array)| Field::new(name, array.data_type().clone(), array.null_count() > 0))
            .collect();
        let rows = columns.first().map_or(0, |(_, array)| array.len());
        let arrays = columns.into_iter().map(|(_, array)| array).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?;
        Ok(Self { batch })
    }
}

fn broken(error: ArrowError) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}

#[pymethods]
impl Table {
    /// The table as a stream of Arrow's C interface: a capsule `arrow_array_stream`. One batch; nothing is copied. The
    /// schema that is asked for is not looked at.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let _ = requested_schema;
        let reader = RecordBatchIterator::new([Ok(self.batch.clone())], self.batch.schema());
        let stream = FFI_ArrowArrayStream::new(Box::new(reader));
        PyCapsule::new(py, stream, Some(c"arrow_array_stream".to_owned()))
    }

    /// The schema of Arrow's C interface: a capsule `arrow_schema`.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let schema = FFI_ArrowSchema::try_from(&*self.batch.schema()).map_err(broken)?;
        PyCapsule::new(py, schema, Some(c"arrow_schema".to_owned()))
    }

    /// Rows.
    #[getter]
    fn num_rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// Columns.
    #[getter]
    fn num_columns(&self) -> usize {
        self.batch.num_columns()
    }

    /// Names of the columns, in order.
    #[getter]
    fn column_names<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.batch.schema().fields().iter().map(|field| field.name()))
    }

    /// Bytes of the columns in memory.
    #[getter]
    fn nbytes(&self) -> usize {
        self.batch.columns().iter().map(|column| column.get_buffer_memory_size()).sum()
    }

    /// The columns as NumPy arrays: dict of str to array of shape (num_rows,), in order.
    ///
    /// int64, float64 and datetime64[ms] columns share the table's memory and are read-only. Missing values are NaN or
    /// NaT, and cost a copy, as texts do (arrays of objects; missing ones are None).
    fn to_numpy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        optional::needed(py, "numpy", "Table.to_numpy", "`Table.to_dict` for lists")?;
        let dict = PyDict::new(py);
        for (field, column) in self.batch.schema().fields().iter().zip(self.batch.columns()) {
            dict.set_item(field.name(), numpy_of(py, column)?)?;
        }
        Ok(dict)
    }

    /// The rows as plain Python: list of dicts from column name to int, float, str, datetime (UTC), or None where a
    /// value is missing.
    fn to_dicts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.rows(py, 0, self.batch.num_rows())
    }

    /// The columns as plain Python: dict of str to list, in order; values as in `to_dicts`.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (field, column) in self.batch.schema().fields().iter().zip(self.batch.columns()) {
            dict.set_item(field.name(), plain::values(py, column, 0, column.len())?)?;
        }
        Ok(dict)
    }

    /// A column as a list; values as in `to_dicts`. Raises KeyError if there is no such column.
    fn column<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyList>> {
        plain::values(py, self.named(py, name)?, 0, self.batch.num_rows())
    }

    /// `table["value"]` is a column as a NumPy array, as in `to_numpy`; `table[0]` and `table[-1]` are rows, as in
    /// `to_dicts`; `table[10:20]` is a Table of these rows.
    fn __getitem__<'py>(&self, py: Python<'py>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if let Ok(name) = index.cast::<PyString>() {
            let name = name.to_str()?;
            let instead = format!("`table.column({name:?})` for a list");
            let column = self.named(py, name)?;
            optional::needed(py, "numpy", &format!("table[{name:?}]"), &instead)?;
            return numpy_of(py, column);
        }
        let rows = self.batch.num_rows();
        if let Ok(slice) = index.cast::<PySlice>() {
            let part = slice.indices(rows as isize)?;
            let (start, count) = (part.start.max(0) as usize, part.slicelength);
            if part.step == 1 || count == 0 {
                return Ok(Bound::new(py, Self { batch: self.batch.slice(start.min(rows), count) })?.into_any());
            }
            return Err(PyValueError::new_err(
                "a slice of a Table goes up by 1: `table.to_dicts()[::2]` takes any step",
            ));
        }
        let given: isize = index.extract().map_err(|_| {
            let kind = index.get_type();
            PyTypeError::new_err(format!("a Table takes the name of a column, a row number or a slice, not {kind}"))
        })?;
        let row = if given < 0 { given + rows as isize } else { given };
        match usize::try_from(row).ok().filter(|row| *row < rows) {
            Some(row) => self.rows(py, row, 1)?.get_item(0),
            None => Err(PyIndexError::new_err(format!("row {given} of a Table of {rows} rows"))),
        }
    }

    /// The rows one by one, as in `to_dicts`.
    fn __iter__(slf: Bound<'_, Self>) -> Rows {
        Rows { table: slf.unbind(), next: AtomicUsize::new(0), page: Mutex::new(Vec::new()) }
    }

    /// Whether there is a column of this name.
    fn __contains__(&self, name: &Bound<'_, PyAny>) -> bool {
        name.extract::<&str>().is_ok_and(|name| self.batch.column_by_name(name).is_some())
    }

    /// As a `pyarrow.Table`, without a copy.
    fn to_arrow<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        optional::needed(slf.py(), "pyarrow", "Table.to_arrow", "")?.call_method1("table", (slf,))
    }

    /// As a `pandas.DataFrame`. By way of Arrow where pyarrow is installed, else of NumPy.
    fn to_pandas<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let instead = "`Table.to_dicts` for plain rows";
        let frame = optional::needed(py, "pandas", "Table.to_pandas", instead)?.getattr("DataFrame")?;
        match py.import("pyarrow") {
            Ok(arrow) => arrow.call_method1("table", (slf,))?.call_method0("to_pandas"),
            Err(_) => frame.call1((slf.get().to_numpy(py)?,)),
        }
    }

    /// As a `polars.DataFrame`.
    fn to_polars<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        optional::needed(slf.py(), "polars", "Table.to_polars", "")?.getattr("DataFrame")?.call1((slf,))
    }

    fn __len__(&self) -> usize {
        self.batch.num_rows()
    }

    /// The number of rows, the columns and their types, and the first rows.
    fn __repr__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        shown(slf, "text")
    }

    /// The first rows as HTML, for notebooks.
    fn _repr_html_<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        shown(slf, "html")
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a Table does not pickle: send `table.to_dicts()`, `to_arrow()` or `to_pandas()`"))
    }
}

impl Table {
    fn named(&self, py: Python<'_>, name: &str) -> PyResult<&ArrayRef> {
        self.batch.column_by_name(name).ok_or_else(|| {
            let schema = self.batch.schema();
            let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
            match similar(py, name, &names) {
                Ok(similar) if similar.is_empty() => {
                    let dots = if names.len() > COLUMNS_SHOWN { ", ..." } else { "" };
                    let shown = names.iter().take(COLUMNS_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
                    PyKeyError::new_err(format!("no column '{name}'; the columns are {shown}{dots}"))
                }
                Ok(similar) => PyKeyError::new_err(format!("no column '{name}'{similar}")),
                Err(error) => error,
            }
        })
    }

    /// Some rows as a list of dicts.
    fn rows<'py>(&self, py: Python<'py>, start: usize, count: usize) -> PyResult<Bound<'py, PyList>> {
        let rows: Vec<Bound<'py, PyDict>> = (0..count).map(|_| PyDict::new(py)).collect();
        for (field, column) in self.batch.schema().fields().iter().zip(self.batch.columns()) {
            let name = PyString::new(py, field.name());
            for (row, value) in rows.iter().zip(plain::values(py, column, start, count)?) {
                row.set_item(&name, value)?;
            }
        }
        PyList::new(py, rows)
    }
}

fn shown<'py>(table: &Bound<'py, Table>, how: &str) -> PyResult<Bound<'py, PyAny>> {
    let kinds: Vec<&str> = table.get().batch.schema().fields().iter().map(|field| kind(field)).collect();
    table.py().import("runlode._shown")?.getattr(how)?.call1((table, kinds))
}

/// Rows that [`Rows`] makes at a time.
const ROWS_PAGE: usize = 256;

/// The rows of a table, one by one.
#[pyclass(frozen, name = "_Rows")]
struct Rows {
    table: Py<Table>,
    /// Of the next page.
    next: AtomicUsize,
    /// The rest of the current page, last row first.
    page: Mutex<Vec<Py<PyAny>>>,
}

#[pymethods]
impl Rows {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        if let Some(row) = self.page.lock().pop() {
            return Ok(Some(row));
        }
        let table = self.table.get();
        let start = self.next.fetch_add(ROWS_PAGE, Ordering::Relaxed).min(table.batch.num_rows());
        let rows = table.rows(py, start, ROWS_PAGE.min(table.batch.num_rows() - start))?;
        let mut rows: Vec<Py<PyAny>> = rows.iter().rev().map(Bound::unbind).collect();
        let first = rows.pop();
        *self.page.lock() = rows;
        Ok(first)
    }

    fn __length_hint__(&self) -> usize {
        let rows = self.table.get().batch.num_rows();
        rows.saturating_sub(self.next.load(Ordering::Relaxed)) + self.page.lock().len()
    }
}

fn kind(field: &Field) -> &'static str {
    match field.data_type() {
        DataType::Int64 => "int64",
        DataType::Float64 => "float64",
        DataType::Timestamp(..) => "timestamp[ms]",
        DataType::Dictionary(..) => "dictionary",
        _ => "string",
    }
}

/// Memory of a table as NumPy sees it; NumPy's array keeps it alive.
#[pyclass(frozen, name = "_Memory")]
struct Memory {
    buffer: Buffer,
    rows: usize,
    kind: &'static str,
}

#[pymethods]
impl Memory {
    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        dict.set_item("version", 3)?;
        dict.set_item("shape", PyTuple::new(py, [self.rows])?)?;
        dict.set_item("typestr", self.kind)?;
        // The address, and that nobody may write there.
        dict.set_item("data", (self.buffer.as_ptr() as usize, true))?;
        Ok(dict)
    }
}

fn array_of<'py>(py: Python<'py>, buffer: Buffer, rows: usize, kind: &'static str) -> PyResult<Bound<'py, PyAny>> {
    py.import("numpy")?.call_method1("asarray", (Memory { buffer, rows, kind },))
}

fn filled<T: Copy + arrow_buffer::ArrowNativeType>(column: &dyn Array, values: &[T], missing: T) -> Buffer {
    let of = |(row, value): (usize, &T)| if column.is_null(row) { missing } else { *value };
    ScalarBuffer::from(values.iter().enumerate().map(of).collect::<Vec<T>>()).into_inner()
}

fn numpy_of<'py>(py: Python<'py>, column: &ArrayRef) -> PyResult<Bound<'py, PyAny>> {
    let rows = column.len();
    let whole = column.null_count() == 0;
    if let Some(array) = column.as_primitive_opt::<Float64Type>() {
        let values = array.values();
        let buffer = if whole { values.inner().clone() } else { filled(array, values, f64::NAN) };
        return array_of(py, buffer, rows, "<f8");
    }
    if let Some(array) = column.as_primitive_opt::<Int64Type>() {
        if whole {
            return array_of(py, array.values().inner().clone(), rows, "<i8");
        }
        let floats: Vec<f64> = array.values().iter().map(|value| *value as f64).collect();
        return array_of(py, filled(array, &floats, f64::NAN), rows, "<f8");
    }
    if let Some(array) = column.as_primitive_opt::<TimestampMillisecondType>() {
        let values = array.values();
        // NumPy's NaT is the least number.
        let buffer = if whole { values.inner().clone() } else { filled(array, values, i64::MIN) };
        return array_of(py, buffer, rows, "<M8[ms]");
    }
    let numpy = py.import("numpy")?;
    let objects = |texts: Vec<Option<&str>>| -> PyResult<Bound<'py, PyAny>> {
        // Made first and then filled: NumPy would look for more dimensions in what it is given.
        let array = numpy.call_method1("empty", (texts.len(), "O"))?;
        array.set_item(PySlice::full(py), PyList::new(py, texts)?)?;
        Ok(array)
    };
    if let Some(array) = column.as_dictionary_opt::<Int32Type>() {
        let names = objects(array.values().as_string::<i32>().iter().collect())?;
        let numbers = array_of(py, array.keys().values().inner().clone(), rows, "<i4")?;
        return names.get_item(numbers);
    }
    objects(column.as_string::<i64>().iter().collect())
}
