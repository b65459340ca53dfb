//! What a model is handed and what it answers: pandas frames, numpy arrays and Python's values, as columns of Arrow.
//!
//! ```text
//! Input   Frame    named columns of one length (pandas.DataFrame)
//!         Tensor   one array                   (numpy.ndarray)
//!         Tensors  arrays by name              (dict of numpy.ndarray)
//!         Value    anything without columns    (lists, dicts, scalars)
//! ```
//!
//! Invariants:
//! - All columns of a [`Frame`] have the same number of rows.
//! - The array of a [`Cells::Array`] has the Arrow type that [`DType`] names: `Bool` Boolean, `Str` LargeUtf8, `Bytes`
//!   LargeBinary, `Datetime` Timestamp(ns, no zone), the numbers their own.
//! - A missing value of `Float32`, `Float64` and `Datetime` is `NaN` or `NaT` for Python. In an array it is a null, or
//!   the value `NaN`: readers take both.
//! - A null of a `Str` column of a frame is pandas' `NaN` of the dtype `str`. Other types have no nulls.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampNanosecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};

/// What the function `predict` of a model is handed.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A `pandas.DataFrame`.
    Frame(Frame),
    /// A `numpy.ndarray`.
    Tensor(Tensor),
    /// A `dict` of `numpy.ndarray`, in the order given.
    Tensors(Vec<(String, Tensor)>),
    /// A value without columns.
    Value(Value),
}

/// Columns of one length.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Frame {
    /// The columns from left to right.
    pub columns: Vec<Column>,
    /// Rows of every column.
    pub rows_count: usize,
    /// Labels of the rows; none if they are 0, 1, 2... Labels of several levels (pandas' `MultiIndex`) are lists.
    pub index: Option<Cells>,
}

/// A column of a frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// The label.
    pub name: Label,
    /// The values.
    pub cells: Cells,
}

/// The label of a column, as pandas has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Label {
    /// A text.
    Text(Arc<str>),
    /// A number: columns without names are 0, 1, 2...
    Position(i64),
}

/// The values of a column.
#[derive(Debug, Clone, PartialEq)]
pub enum Cells {
    /// Values of one type.
    Array(DType, ArrayRef),
    /// Values of any type: pandas' dtype `object`.
    Objects(Vec<Value>),
}

/// The dtype of a column or a tensor, by its meaning for numpy and pandas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// `bool`
    Bool,
    /// `int8`
    Int8,
    /// `int16`
    Int16,
    /// `int32`
    Int32,
    /// `int64`
    Int64,
    /// `uint8`
    UInt8,
    /// `uint16`
    UInt16,
    /// `uint32`
    UInt32,
    /// `uint64`
    UInt64,
    /// `float16`
    Float16,
    /// `float32`
    Float32,
    /// `float64`
    Float64,
    /// pandas' `str`, numpy's `<U`
    Str,
    /// numpy's `S`: bytes
    Bytes,
    /// `datetime64[ns]`, without a zone
    Datetime,
}

/// An array of numbers or texts with a shape, in C order.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// The length of each dimension; none for a scalar.
    pub shape: Vec<usize>,
    /// The elements: as many as the product of `shape`. `Objects` is numpy's dtype `object`.
    pub elements: Cells,
}

/// A value of Python.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `None`
    None,
    /// `bool`
    Bool(bool),
    /// `int` within 64 bits
    Int(i64),
    /// A longer `int`, as its decimal text
    BigInt(Box<str>),
    /// `float`; NaN and infinities included
    Float(f64),
    /// `str`
    Text(Arc<str>),
    /// `bytes`
    Bytes(Arc<[u8]>),
    /// `datetime.datetime` or `numpy.datetime64[ns]`: nanoseconds since 1970 without a zone; `NaT` is none
    Datetime(Option<i64>),
    /// `datetime.date`: days since 1970
    Date(i32),
    /// `list`
    List(Vec<Value>),
    /// `dict` with texts as keys, in the order given
    Dict(Vec<(Arc<str>, Value)>),
    /// `numpy.ndarray`
    Tensor(Box<Tensor>),
    /// A scalar of numpy, such as `numpy.float64`: its dtype, and the value as Python has it. MLflow leaves them in
    /// objects, in maps and in columns of several types.
    Numpy(DType, Box<Value>),
}

impl Label {
    /// The label of a text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl std::fmt::Display for Label {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => out.write_str(text),
            Self::Position(position) => write!(out, "{position}"),
        }
    }
}

impl Column {
    /// A column with a text as its label.
    #[must_use]
    pub fn new(name: &str, cells: Cells) -> Self {
        Self { name: Label::text(name), cells }
    }
}

impl Frame {
    /// A frame of columns of one length, its rows numbered from 0.
    #[must_use]
    pub fn new(columns: Vec<Column>) -> Self {
        let rows_count = columns.first().map_or(0, |column| column.cells.len());
        debug_assert!(columns.iter().all(|column| column.cells.len() == rows_count), "columns have one length");
        Self { columns, rows_count, index: None }
    }

    /// The first column with this label.
    #[must_use]
    pub fn column(&self, name: &Label) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == *name)
    }
}

impl Cells {
    /// How many cells there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Array(_, array) => array.len(),
            Self::Objects(values) => values.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of the dtype, as numpy and pandas print it.
    #[must_use]
    pub fn dtype_name(&self) -> &'static str {
        match self {
            Self::Array(dtype, _) => dtype.name(),
            Self::Objects(_) => "object",
        }
    }

    /// The cell of a row, as a value of Python.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn value(&self, row: usize) -> Value {
        let (dtype, array) = match self {
            Self::Objects(values) => return values[row].clone(),
            Self::Array(dtype, array) => (*dtype, array),
        };
        if array.is_null(row) {
            return if dtype == DType::Datetime { Value::Datetime(None) } else { Value::Float(f64::NAN) };
        }
        match dtype {
            DType::Bool => Value::Bool(array.as_boolean().value(row)),
            DType::Int8 => Value::Int(array.as_primitive::<Int8Type>().value(row).into()),
            DType::Int16 => Value::Int(array.as_primitive::<Int16Type>().value(row).into()),
            DType::Int32 => Value::Int(array.as_primitive::<Int32Type>().value(row).into()),
            DType::Int64 => Value::Int(array.as_primitive::<Int64Type>().value(row)),
            DType::UInt8 => Value::Int(array.as_primitive::<UInt8Type>().value(row).into()),
            DType::UInt16 => Value::Int(array.as_primitive::<UInt16Type>().value(row).into()),
            DType::UInt32 => Value::Int(array.as_primitive::<UInt32Type>().value(row).into()),
            DType::UInt64 => Value::from(array.as_primitive::<UInt64Type>().value(row)),
            DType::Float16 => Value::Float(array.as_primitive::<Float16Type>().value(row).to_f64()),
            DType::Float32 => Value::Float(array.as_primitive::<Float32Type>().value(row).into()),
            DType::Float64 => Value::Float(array.as_primitive::<Float64Type>().value(row)),
            DType::Str => Value::Text(array.as_string::<i64>().value(row).into()),
            DType::Bytes => Value::Bytes(array.as_binary::<i64>().value(row).into()),
            DType::Datetime => Value::Datetime(Some(array.as_primitive::<TimestampNanosecondType>().value(row))),
        }
    }

    /// All cells as values of Python.
    #[must_use]
    pub fn values(&self) -> Vec<Value> {
        match self {
            Self::Objects(values) => values.clone(),
            Self::Array(..) => (0..self.len()).map(|row| self.value(row)).collect(),
        }
    }
}

impl DType {
    /// The name, as numpy prints it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::UInt8 => "uint8",
            Self::UInt16 => "uint16",
            Self::UInt32 => "uint32",
            Self::UInt64 => "uint64",
            Self::Float16 => "float16",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Str => "str",
            Self::Bytes => "bytes",
            Self::Datetime => "datetime64[ns]",
        }
    }

    /// The dtype of a name such as `float32`.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Bool,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::UInt8,
        Self::UInt16,
        Self::UInt32,
        Self::UInt64,
        Self::Float16,
        Self::Float32,
        Self::Float64,
        Self::Str,
        Self::Bytes,
        Self::Datetime,
    ];
}

impl Tensor {
    /// An array of one dimension.
    #[must_use]
    pub fn flat(elements: Cells) -> Self {
        Self { shape: vec![elements.len()], elements }
    }

    /// Nested lists of the elements, as numpy's `tolist` makes them: a scalar for a shape without dimensions, and
    /// nanoseconds as integers for dates.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let plain = |value| match value {
            Value::Datetime(nanos) => Value::Int(nanos.unwrap_or(i64::MIN)),
            other => other,
        };
        let mut values: Vec<Value> = self.elements.values().into_iter().map(plain).collect();
        for (depth, dimension) in self.shape.iter().enumerate().skip(1).rev() {
            let lists_count = self.shape[..depth].iter().product();
            let mut rest = values.into_iter();
            values = (0..lists_count).map(|_| Value::List(rest.by_ref().take(*dimension).collect())).collect();
        }
        if self.shape.is_empty() { values.pop().unwrap_or(Value::None) } else { Value::List(values) }
    }
}

impl Value {
    /// The value as Python's own types have it.
    #[must_use]
    pub fn into_plain(self) -> Self {
        match self {
            Self::Numpy(_, value) => *value,
            other => other,
        }
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        i64::try_from(number).map_or_else(|_| Self::BigInt(number.to_string().into()), Self::Int)
    }
}
