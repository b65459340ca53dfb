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
//!   LargeBinary, `Datetime` Timestamp(ns, no zone), the numbers their own, `List(T)` LargeList of T.
//! - A missing value of `Float32`, `Float64` and `Datetime` is a null of the array and `NaN` or `NaT` for Python.

use std::sync::Arc;

use arrow_array::ArrayRef;

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
    /// Labels of the rows; none if they are 0, 1, 2...
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
    /// `list`
    List(Vec<Value>),
    /// `dict` with texts as keys, in the order given
    Dict(Vec<(Arc<str>, Value)>),
    /// `numpy.ndarray`
    Tensor(Box<Tensor>),
}
