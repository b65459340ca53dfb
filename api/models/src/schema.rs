//! The types of a signature: columns, tensors and parameters.
//!
//! ```text
//! Schema      Columns [ColumnSpec]    name?, DataType, required
//!             Tensors [TensorSpec]    name?, TensorType, shape
//! DataType    Scalar | Array(DataType) | Object [Property] | Map(DataType) | Any | SparkVector
//! ParamSchema [ParamSpec]             name, type, default, one value or a list
//! ```
//!
//! Invariants, checked by the reader ([`crate::signature`]): a schema is not empty; all of its inputs are named or none;
//! unnamed columns are required; there is at most one unnamed tensor; an object has properties, sorted by name, each name
//! once.

use std::fmt::{self, Display};
use std::sync::Arc;

use crate::data::{DType, Label, Value};

/// What a model takes and gives.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Signature {
    /// The input; none lets everything in.
    pub inputs: Option<Schema>,
    /// The output, which nobody checks.
    pub outputs: Option<Schema>,
    /// The parameters.
    pub params: Option<ParamSchema>,
}

/// What a model's inputs or outputs look like.
#[derive(Debug, Clone, PartialEq)]
pub enum Schema {
    /// Columns of a frame.
    Columns(Vec<ColumnSpec>),
    /// Arrays.
    Tensors(Vec<TensorSpec>),
}

/// A column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnSpec {
    /// The label; none in a schema without names. A number is the label of a frame whose columns had no names.
    pub name: Option<Label>,
    /// The type of the cells.
    pub kind: DataType,
    /// Whether a frame without the column is refused. A nested type may leave it unsaid, which counts as no.
    pub required: Option<bool>,
}

/// An array.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorSpec {
    /// The name; none for the one array of a schema without names.
    pub name: Option<Label>,
    /// The type of the elements.
    pub kind: TensorType,
    /// The length of each dimension; -1 is any.
    pub shape: Vec<i64>,
}

/// The type of an array's elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TensorType {
    /// One that arrays here can have.
    Known(DType),
    /// `object`: with the shape `(-1,)` anything passes.
    Object,
    /// Another type of numpy, by its name; no array that is read from a request has it.
    Other(Box<str>),
}

/// The type of a column's cells.
#[derive(Debug, Clone, PartialEq)]
pub enum DataType {
    /// One value.
    Scalar(Scalar),
    /// A list.
    Array(Box<DataType>),
    /// A dict with known keys.
    Object(Vec<Property>),
    /// A dict with any keys, and values of one type.
    Map(Box<DataType>),
    /// Anything.
    Any,
    /// A vector of Spark ML: a list of doubles.
    SparkVector,
}

/// A key of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Property {
    /// The key.
    pub name: Arc<str>,
    /// The type of its value.
    pub kind: DataType,
    /// Whether an object without it is refused.
    pub required: bool,
}

/// MLflow's scalar types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// `bool`
    Boolean,
    /// `int32`
    Integer,
    /// `int64`
    Long,
    /// `float32`
    Float,
    /// `float64`
    Double,
    /// `str`
    String,
    /// `bytes`
    Binary,
    /// `datetime64[ns]`, without a zone
    Datetime,
}

/// The parameters that a model takes beside its input.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamSchema(pub Vec<ParamSpec>);

/// A parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamSpec {
    /// The name.
    pub name: Arc<str>,
    /// The type of its value, or of each one in a list.
    pub kind: ParamType,
    /// The value if a request has none.
    pub default: Value,
    /// Whether the value is a list: the shape `(-1,)`.
    pub is_list: bool,
}

/// The type of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum ParamType {
    /// Any scalar but `binary`.
    Scalar(Scalar),
    /// A dict with known keys.
    Object(Vec<Property>),
}

impl Schema {
    /// How many columns or arrays it has.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Columns(columns) => columns.len(),
            Self::Tensors(tensors) => tensors.len(),
        }
    }

    /// Whether it has none; the reader refuses such a schema.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether its columns or arrays have names.
    #[must_use]
    pub fn has_names(&self) -> bool {
        match self {
            Self::Columns(columns) => columns.first().is_some_and(|column| column.name.is_some()),
            Self::Tensors(tensors) => tensors.first().is_some_and(|tensor| tensor.name.is_some()),
        }
    }
}

impl ColumnSpec {
    /// A required column of a scalar type.
    #[must_use]
    pub fn new(name: &str, kind: Scalar) -> Self {
        Self { name: Some(Label::text(name)), kind: DataType::Scalar(kind), required: Some(true) }
    }

    /// Whether a frame without the column is refused.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.required.unwrap_or(matches!(self.kind, DataType::Scalar(_)))
    }
}

impl Scalar {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Boolean,
        Self::Integer,
        Self::Long,
        Self::Float,
        Self::Double,
        Self::String,
        Self::Binary,
        Self::Datetime,
    ];

    /// The name in a signature.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::String => "string",
            Self::Binary => "binary",
            Self::Datetime => "datetime",
        }
    }

    /// The scalar type of a name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scalar| scalar.name() == name)
    }

    /// The dtype that a column or an array of this type has.
    #[must_use]
    pub fn dtype(self) -> DType {
        match self {
            Self::Boolean => DType::Bool,
            Self::Integer => DType::Int32,
            Self::Long => DType::Int64,
            Self::Float => DType::Float32,
            Self::Double => DType::Float64,
            Self::String => DType::Str,
            Self::Binary => DType::Bytes,
            Self::Datetime => DType::Datetime,
        }
    }
}

impl TensorType {
    /// The name, as numpy prints it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Known(dtype) => dtype.name(),
            Self::Object => "object",
            Self::Other(name) => name,
        }
    }
}

impl Display for Scalar {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// As people read it: `array(double)`, `{x: double, y: string?}`, `map(any)`.
impl Display for DataType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(scalar) => scalar.fmt(out),
            Self::Array(items) => write!(out, "array({items})"),
            Self::Object(properties) => fmt_properties(out, properties),
            Self::Map(values) => write!(out, "map({values})"),
            Self::Any => out.write_str("any"),
            Self::SparkVector => out.write_str("sparkml_vector"),
        }
    }
}

impl Display for ParamType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(scalar) => scalar.fmt(out),
            Self::Object(properties) => fmt_properties(out, properties),
        }
    }
}

fn fmt_properties(out: &mut fmt::Formatter<'_>, properties: &[Property]) -> fmt::Result {
    out.write_str("{")?;
    for (index, property) in properties.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        let optional = if property.required { "" } else { "?" };
        write!(out, "{comma}{}: {}{optional}", property.name, property.kind)?;
    }
    out.write_str("}")
}

/// As people read it: `x: double`, `y: string?`.
impl Display for ColumnSpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(out, "{name}: ")?;
        }
        write!(out, "{}{}", self.kind, if self.is_required() { "" } else { "?" })
    }
}

/// As people read it: `x: float32 (-1, 64)`.
impl Display for TensorSpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(out, "{name}: ")?;
        }
        write!(out, "{} {}", self.kind.name(), shape_text(&self.shape))
    }
}

/// A shape as Python prints it: `(-1, 64)`, `(3,)`, `()`.
pub(crate) fn shape_text<T: Display>(shape: &[T]) -> String {
    match shape {
        [one] => format!("({one},)"),
        _ => format!("({})", shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}
