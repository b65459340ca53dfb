//! Makes frames: of values, as the constructor of `pandas.DataFrame` does, and of batches of Arrow.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::{DataType as ArrowType, TimeUnit};

use super::error::{EnforceError, Fault};
use super::series::{self, concatenated, datetimes, infer, taken, texts};
use crate::data::{Cells, Column, DType, Frame, Label, Tensor, Value};

/// Cells that a request does not hold, and pandas fills: each takes memory that the body did not.
const FILLED_CELLS_MAX: usize = 1 << 23;

/// How many cells were filled. Without a bound, a small body could ask for any number: a wide row and many short ones.
#[derive(Default)]
pub(super) struct Filled(usize);

impl Filled {
    /// Counts cells before they are filled.
    pub(super) fn add(&mut self, cells_count: usize) -> Result<(), Fault> {
        self.0 = self.0.saturating_add(cells_count);
        if self.0 <= FILLED_CELLS_MAX {
            return Ok(());
        }
        Err(Fault::new(format!(
            "more than {FILLED_CELLS_MAX} cells are missing; send rows of one length, with the same keys"
        )))
    }
}

/// Columns of values whose types are not known yet.
pub(crate) struct Raw {
    pub(crate) columns: Vec<(Label, Vec<Value>)>,
    pub(crate) rows_count: usize,
}

impl Raw {
    /// The frame, each column in the dtype that pandas infers.
    pub(crate) fn infer(self) -> Frame {
        let column = |(name, values)| Column { name, cells: infer(values) };
        let columns = self.columns.into_iter().map(column).collect();
        Frame { columns, rows_count: self.rows_count, index: None }
    }
}

/// Records: keys become columns in the order in which they first come; a missing key is NaN.
pub(crate) fn of_records(records: Vec<Value>) -> Result<Raw, Fault> {
    let rows_count = records.len();
    let mut columns: Vec<(Arc<str>, Vec<Value>)> = Vec::new();
    let mut places: HashMap<Arc<str>, usize> = HashMap::new();
    let mut filled = Filled::default();
    for (row, record) in records.into_iter().enumerate() {
        let Value::Dict(entries) = record else {
            return Err(Fault::at(row, &record, "a record is a map of values by column"));
        };
        for (at, (key, value)) in entries.into_iter().enumerate() {
            // Records mostly have the same keys in the same order.
            let place = match columns.get(at) {
                Some((name, _)) if *name == key => at,
                _ => *places.entry(Arc::clone(&key)).or_insert_with(|| {
                    columns.push((Arc::clone(&key), Vec::with_capacity(rows_count)));
                    columns.len() - 1
                }),
            };
            let values = &mut columns[place].1;
            filled.add(row.saturating_sub(values.len()))?;
            values.resize(row, Value::Float(f64::NAN));
            values.push(value);
        }
    }
    for (_, values) in &columns {
        filled.add(rows_count - values.len())?;
    }
    let column = |(name, mut values): (Arc<str>, Vec<Value>)| {
        values.resize(rows_count, Value::Float(f64::NAN));
        (Label::Text(name), values)
    };
    Ok(Raw { columns: columns.into_iter().map(column).collect(), rows_count })
}

/// A list: records, rows, or the cells of one column. Shorter rows end with missing cells.
pub(crate) fn of_list(items: Vec<Value>) -> Result<Raw, Fault> {
    match items.first() {
        None => Ok(Raw { columns: Vec::new(), rows_count: 0 }),
        Some(Value::Dict(_)) => of_records(items),
        Some(Value::List(_) | Value::Tensor(_)) if !items.iter().all(is_scalar_of_numpy) => of_rows(items),
        Some(_) => Ok(Raw { rows_count: items.len(), columns: vec![(Label::Position(0), items)] }),
    }
}

fn is_scalar_of_numpy(value: &Value) -> bool {
    matches!(value, Value::Tensor(tensor) if tensor.shape.is_empty())
}

fn of_rows(rows: Vec<Value>) -> Result<Raw, Fault> {
    let rows_count = rows.len();
    let mut columns: Vec<Vec<Value>> = Vec::new();
    let mut filled = Filled::default();
    for (row, value) in rows.into_iter().enumerate() {
        let value = if let Value::Tensor(tensor) = value { tensor.to_value() } else { value };
        let Value::List(cells) = value else { return Err(Fault::at(row, &value, "a row is a list of cells")) };
        match cells.len().checked_sub(columns.len()) {
            Some(new) => filled.add(new.saturating_mul(row))?,
            None => filled.add(columns.len() - cells.len())?,
        }
        for (at, cell) in cells.into_iter().enumerate() {
            if at == columns.len() {
                columns.push(vec![Value::None; row]);
            }
            columns[at].push(cell);
        }
        for column in &mut columns {
            column.resize(row + 1, Value::None);
        }
    }
    let label = |at| Label::Position(i64::try_from(at).unwrap_or(i64::MAX));
    let columns = columns.into_iter().enumerate().map(|(at, cells)| (label(at), cells)).collect();
    Ok(Raw { columns, rows_count })
}

/// An array of one or two dimensions.
pub(crate) fn of_tensor(tensor: Tensor) -> Result<Frame, Fault> {
    match tensor.shape[..] {
        [_] => Ok(Frame::new(vec![Column { name: Label::Position(0), cells: of_elements(tensor.elements) }])),
        [rows_count, width] => {
            let strided = |at: usize| (0..rows_count).map(move |row| row * width + at);
            let columns = (0..width).map(|at| {
                let cells = of_elements(taken(&tensor.elements, strided(at))?);
                Ok(Column { name: Label::Position(i64::try_from(at).unwrap_or(i64::MAX)), cells })
            });
            Ok(Frame { columns: columns.collect::<Result<_, Fault>>()?, rows_count, index: None })
        }
        _ => Err(Fault::found("an array of one or two dimensions makes a frame", shape_name(&tensor))),
    }
}

fn shape_name(tensor: &Tensor) -> String {
    format!("shape {}", crate::schema::shape_text(&tensor.shape))
}

/// The column of an array's elements: pandas has no dtype for bytes, and looks into objects.
pub(crate) fn of_elements(elements: Cells) -> Cells {
    match elements {
        Cells::Array(DType::Bytes, _) => Cells::Objects(elements.values()),
        Cells::Objects(values) => infer(values),
        array => array,
    }
}

/// `DataFrame([row])` of a dict: one row.
pub(crate) fn of_row(entries: Vec<(Arc<str>, Value)>) -> Frame {
    let column = |(name, value)| Column { name: Label::Text(name), cells: infer(vec![value]) };
    Frame { columns: entries.into_iter().map(column).collect(), rows_count: 1, index: None }
}

/// `DataFrame(columns)` of a dict: lists and arrays of one length, scalars repeated.
pub(crate) fn of_columns(entries: Vec<(Arc<str>, Value)>) -> Result<Frame, Fault> {
    let length = |value: &Value| match value {
        Value::List(items) => Some(items.len()),
        Value::Tensor(tensor) => tensor.shape.first().copied(),
        _ => None,
    };
    if entries.is_empty() {
        return Ok(Frame::default());
    }
    if entries.iter().any(|(_, value)| matches!(value, Value::Dict(_))) {
        return of_maps(entries);
    }
    let Some(rows_count) = entries.iter().find_map(|(_, value)| length(value)) else {
        return Err(Fault::new("all values are scalars or maps; at least one column is a list"));
    };
    let mut columns = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        if let Some(other) = length(&value).filter(|other| *other != rows_count) {
            return Err(Fault::new(format!(
                "all columns have one length, but {name:?} has {other} values and another one {rows_count}"
            )));
        }
        let cells = match value {
            Value::List(items) => infer(items),
            Value::Tensor(tensor) if tensor.shape.len() == 1 => of_elements(tensor.elements),
            Value::Tensor(tensor) if !tensor.shape.is_empty() => match tensor.to_value() {
                Value::List(items) => Cells::Objects(items),
                other => infer(vec![other; rows_count]),
            },
            Value::Tensor(tensor) => repeated(*tensor, rows_count)?,
            scalar => infer(vec![scalar; rows_count]),
        };
        columns.push(Column { name: Label::Text(name), cells });
    }
    Ok(Frame { columns, rows_count, index: None })
}

/// A column of one scalar of numpy in every row.
fn repeated(scalar: Tensor, rows_count: usize) -> Result<Cells, Fault> {
    if matches!(scalar.elements, Cells::Array(DType::Bytes, _)) {
        let value = series::of_numpy(&Value::Tensor(Box::new(scalar)));
        return Ok(Cells::Objects(vec![value; rows_count]));
    }
    Ok(of_elements(taken(&scalar.elements, std::iter::repeat_n(0, rows_count))?))
}

/// Maps as columns: their keys are the labels of the rows. Scalars are repeated; lists are refused beside maps.
fn of_maps(entries: Vec<(Arc<str>, Value)>) -> Result<Frame, Fault> {
    let mut labels: Vec<Arc<str>> = Vec::new();
    for (name, value) in &entries {
        match value {
            Value::Dict(cells) => {
                let known: HashSet<&Arc<str>> = labels.iter().collect();
                let new: Vec<_> =
                    cells.iter().map(|(key, _)| key).filter(|key| !known.contains(key)).cloned().collect();
                labels.extend(new);
            }
            Value::Tensor(tensor) if tensor.shape.is_empty() => {}
            Value::List(_) | Value::Tensor(_) => {
                return Err(Fault::new(format!("{name:?} is a list, and other columns are maps")));
            }
            _ => {}
        }
    }
    let column = |(name, value): (Arc<str>, Value)| {
        let cells = match value {
            Value::Dict(cells) => {
                let mut cells: HashMap<Arc<str>, Value> = cells.into_iter().collect();
                let cell = |label| cells.remove(label).unwrap_or(Value::Float(f64::NAN));
                infer(labels.iter().map(cell).collect())
            }
            Value::Tensor(tensor) => repeated(*tensor, labels.len())?,
            scalar => infer(vec![scalar; labels.len()]),
        };
        Ok(Column { name: Label::Text(name), cells })
    };
    let columns = entries.into_iter().map(column).collect::<Result<_, Fault>>()?;
    let index = Some(texts(labels.iter().map(Some)));
    Ok(Frame { columns, rows_count: labels.len(), index })
}

/// A frame of batches of Arrow, as `pandas.read_parquet` makes one: integers with nulls become floats, booleans with
/// nulls objects, lists arrays in cells, times nanoseconds.
///
/// ```
/// use std::sync::Arc;
///
/// use arrow_array::{ArrayRef, Int32Array, RecordBatch};
/// use runlode_models::enforce::frame_of_batches;
///
/// let column: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None]));
/// let frame = frame_of_batches(&[RecordBatch::try_from_iter([("a", column)])?])?;
/// assert_eq!((frame.rows_count, frame.columns[0].cells.dtype_name()), (2, "float64"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `BAD_REQUEST` for batches of different columns, and for a type that a model cannot be handed.
pub fn frame_of_batches(batches: &[RecordBatch]) -> Result<Frame, EnforceError> {
    let Some(first) = batches.first() else { return Ok(Frame::default()) };
    let rows_count = batches.iter().map(RecordBatch::num_rows).sum();
    let mut columns = Vec::with_capacity(first.num_columns());
    for (at, field) in first.schema().fields().iter().enumerate() {
        let error = |reason: String| EnforceError::bad_request(reason).in_column(field.name());
        let arrays: Vec<&ArrayRef> = batches.iter().map(|batch| batch.column(at)).collect();
        if arrays.iter().any(|array| array.data_type() != field.data_type()) {
            return Err(error("its type differs between batches".to_owned()));
        }
        let cells = of_arrow(&arrays, field.data_type()).map_err(error)?;
        columns.push(Column::new(field.name(), cells));
    }
    Ok(Frame { columns, rows_count, index: None })
}

fn of_arrow(arrays: &[&ArrayRef], kind: &ArrowType) -> Result<Cells, String> {
    let dtype = match kind {
        ArrowType::Boolean => DType::Bool,
        ArrowType::Int8 => DType::Int8,
        ArrowType::Int16 => DType::Int16,
        ArrowType::Int32 => DType::Int32,
        ArrowType::Int64 => DType::Int64,
        ArrowType::UInt8 => DType::UInt8,
        ArrowType::UInt16 => DType::UInt16,
        ArrowType::UInt32 => DType::UInt32,
        ArrowType::UInt64 => DType::UInt64,
        ArrowType::Float16 => DType::Float16,
        ArrowType::Float32 => DType::Float32,
        ArrowType::Float64 => DType::Float64,
        ArrowType::LargeUtf8 => DType::Str,
        ArrowType::Timestamp(TimeUnit::Nanosecond, None) => DType::Datetime,
        _ => return of_other_arrow(arrays, kind),
    };
    let array = concatenated(arrays).map_err(|fault| fault.reason)?;
    if array.null_count() == 0 || matches!(dtype, DType::Str | DType::Datetime) || series::is_float(dtype) {
        return Ok(Cells::Array(dtype, array));
    }
    if dtype == DType::Bool {
        let values: &BooleanArray = array.as_boolean();
        return Ok(Cells::Objects(values.iter().map(|is| is.map_or(Value::None, Value::Bool)).collect()));
    }
    let mut floats = series::floats(dtype, &array).unwrap_or_default();
    for (row, float) in floats.iter_mut().enumerate() {
        if array.is_null(row) {
            *float = f64::NAN;
        }
    }
    Ok(series::of_floats(DType::Float64, floats))
}

fn of_other_arrow(arrays: &[&ArrayRef], kind: &ArrowType) -> Result<Cells, String> {
    use arrow_array::types::{TimestampMicrosecondType, TimestampMillisecondType, TimestampSecondType};
    let nanos = |values: Vec<Option<i64>>, factor: i64| {
        let scaled = values.into_iter().map(|value| match value.map(|value| value.checked_mul(factor)) {
            None => Ok(None),
            Some(Some(nanos)) => Ok(Some(nanos)),
            Some(None) => Err("a time beyond the years 1677 to 2262".to_owned()),
        });
        scaled.collect::<Result<_, _>>().map(datetimes)
    };
    let arrays = arrays.iter();
    match kind {
        ArrowType::Utf8 => Ok(texts(arrays.flat_map(|array| array.as_string::<i32>().iter()))),
        ArrowType::Utf8View => Ok(texts(arrays.flat_map(|array| array.as_string_view().iter()))),
        ArrowType::Binary | ArrowType::LargeBinary => {
            let mut values = Vec::new();
            for array in arrays {
                let all: Vec<Option<&[u8]>> = match kind {
                    ArrowType::Binary => array.as_binary::<i32>().iter().collect(),
                    _ => array.as_binary::<i64>().iter().collect(),
                };
                values
                    .extend(all.into_iter().map(|bytes| bytes.map_or(Value::None, |bytes| Value::Bytes(bytes.into()))));
            }
            Ok(Cells::Objects(values))
        }
        ArrowType::Timestamp(TimeUnit::Second, None) => {
            nanos(arrays.flat_map(|array| array.as_primitive::<TimestampSecondType>().iter()).collect(), 1_000_000_000)
        }
        ArrowType::Timestamp(TimeUnit::Millisecond, None) => {
            nanos(arrays.flat_map(|array| array.as_primitive::<TimestampMillisecondType>().iter()).collect(), 1_000_000)
        }
        ArrowType::Timestamp(TimeUnit::Microsecond, None) => {
            nanos(arrays.flat_map(|array| array.as_primitive::<TimestampMicrosecondType>().iter()).collect(), 1_000)
        }
        ArrowType::Date32 => {
            let days = arrays.flat_map(|array| array.as_primitive::<arrow_array::types::Date32Type>().iter());
            Ok(Cells::Objects(days.map(|day| day.map_or(Value::None, Value::Date)).collect()))
        }
        ArrowType::Null => Ok(Cells::Objects(arrays.flat_map(|array| vec![Value::None; array.len()]).collect())),
        ArrowType::List(item) | ArrowType::LargeList(item) => {
            let mut values = Vec::new();
            for array in arrays {
                for row in 0..array.len() {
                    if array.is_null(row) {
                        values.push(Value::None);
                        continue;
                    }
                    let items = match kind {
                        ArrowType::List(_) => array.as_list::<i32>().value(row),
                        _ => array.as_list::<i64>().value(row),
                    };
                    let elements = of_arrow(&[&items], item.data_type())?;
                    values.push(Value::Tensor(Box::new(Tensor::flat(elements))));
                }
            }
            Ok(Cells::Objects(values))
        }
        ArrowType::Struct(fields) => {
            let mut values = Vec::new();
            for array in arrays {
                let array = array.as_struct();
                let mut inner = Vec::with_capacity(fields.len());
                for (field, column) in fields.iter().zip(array.columns()) {
                    inner.push((Arc::<str>::from(field.name().as_str()), of_arrow(&[column], field.data_type())?));
                }
                values.extend((0..array.len()).map(|row| match array.is_null(row) {
                    true => Value::None,
                    false => {
                        Value::Dict(inner.iter().map(|(name, cells)| (Arc::clone(name), cells.value(row))).collect())
                    }
                }));
            }
            Ok(Cells::Objects(values))
        }
        other => Err(format!("the type {other} of Arrow is not read")),
    }
}
