//! Values of nested types: arrays, objects, maps. Each scalar inside is enforced as a column of one cell, each list of
//! scalars as a column; so 1 is refused for a double and 0 is not, as MLflow has it.

use std::sync::Arc;

use super::error::Fault;
use super::scalar::{is_scalar, to_bool, to_bytes, to_text};
use super::series::{infer, is_missing};
use super::upcast::enforce_column;
use crate::data::{Cells, DType, Tensor, Value};
use crate::schema::{DataType, Property, Scalar};

/// Python's name of a value's type.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::None => "NoneType",
        Value::Bool(_) => "bool",
        Value::Int(_) | Value::BigInt(_) => "int",
        Value::Float(_) => "float",
        Value::Text(_) => "str",
        Value::Bytes(_) => "bytes",
        Value::Datetime(_) => "datetime",
        Value::Date(_) => "date",
        Value::List(_) => "list",
        Value::Dict(_) => "dict",
        Value::Tensor(_) => "ndarray",
        Value::Numpy(dtype, _) => dtype.name(),
    }
}

/// The value as a nested type asks for it.
pub(crate) fn enforce_type(value: Value, kind: &DataType, required: bool) -> Result<Value, Fault> {
    match kind {
        DataType::Scalar(scalar) => enforce_scalar(value, *scalar, required),
        DataType::Array(items) => enforce_array(value, items, required),
        DataType::SparkVector => enforce_array(value, &DataType::Scalar(Scalar::Double), required),
        DataType::Object(properties) => enforce_object(value, properties, required),
        DataType::Map(values) => enforce_map(value, values, required),
        DataType::Any => Ok(value),
    }
}

fn enforce_scalar(value: Value, kind: Scalar, required: bool) -> Result<Value, Fault> {
    if !required && is_missing(&value) {
        return Ok(Value::None);
    }
    match (&value, kind) {
        (Value::Text(_), Scalar::String | Scalar::Binary) => return Ok(value),
        (Value::Float(_), Scalar::Double) | (Value::Int(_), Scalar::Long) | (Value::Bool(_), Scalar::Boolean) => {
            return Ok(Value::Numpy(kind.dtype(), Box::new(value)));
        }
        (Value::Numpy(dtype, _), _) if *dtype == kind.dtype() => return Ok(value),
        _ if !is_scalar(&value) => {
            return Err(Fault::found(format!("a scalar of type {kind} is expected"), type_name(&value)));
        }
        _ => {}
    }
    let cells = enforce_column(infer(vec![value.into_plain()]), kind)?;
    // The cell of a series: a scalar of numpy, or pandas' time.
    Ok(match &cells {
        Cells::Array(DType::Str | DType::Bytes | DType::Datetime, _) | Cells::Objects(_) => cells.value(0),
        Cells::Array(dtype, _) => Value::Numpy(*dtype, Box::new(cells.value(0))),
    })
}

fn enforce_array(value: Value, items: &DataType, required: bool) -> Result<Value, Fault> {
    let is_empty = match &value {
        Value::List(list) => list.is_empty(),
        Value::Tensor(tensor) => tensor.shape.first() == Some(&0),
        Value::None => true,
        _ => false,
    };
    if is_empty && (!required || *items == DataType::Any) {
        return Ok(value);
    }
    let (list, is_tensor) = match value {
        Value::List(list) if list.is_empty() => return Ok(Value::List(list)),
        Value::List(list) => (list, false),
        Value::Tensor(tensor) if !tensor.shape.is_empty() => {
            if is_empty {
                return Ok(Value::Tensor(tensor));
            }
            if let (DataType::Scalar(kind), [_]) = (items, &tensor.shape[..]) {
                let cells = enforce_column(tensor.elements, *kind)?;
                return Ok(Value::Tensor(Box::new(Tensor::flat(as_dtype(cells, *kind)?))));
            }
            if let DataType::Scalar(_) = items {
                return Err(Fault::found("a list of scalars is expected", "an array of several dimensions"));
            }
            match tensor.to_value() {
                Value::List(list) => (list, true),
                _ => return Err(Fault::found("a list is expected", "ndarray")),
            }
        }
        other => return Err(Fault::found("a list is expected", type_name(&other))),
    };
    let list = match items {
        DataType::Scalar(kind) => values_of(&as_dtype(enforce_column(infer(list), *kind)?, *kind)?),
        _ => list.into_iter().map(|item| enforce_type(item, items, required)).collect::<Result<_, _>>()?,
    };
    if is_tensor {
        return super::numpy::array(Value::List(list)).map(|tensor| Value::Tensor(Box::new(tensor)));
    }
    Ok(Value::List(list))
}

/// `tolist()` of an array: dates become nanoseconds. A missing text stays missing, where numpy would write `nan`.
fn values_of(cells: &Cells) -> Vec<Value> {
    let plain = |value| match value {
        Value::Datetime(nanos) => nanos.map_or(Value::None, Value::Int),
        other => other,
    };
    match cells {
        Cells::Array(DType::Str, array) => {
            use arrow_array::cast::AsArray;
            array
                .as_string::<i64>()
                .iter()
                .map(|text| text.map_or(Value::None, |text| Value::Text(text.into())))
                .collect()
        }
        cells => cells.values().into_iter().map(plain).collect(),
    }
}

/// `to_numpy(dtype)` of what enforcement let through.
fn as_dtype(cells: Cells, kind: Scalar) -> Result<Cells, Fault> {
    let convert = |value: &Value| -> Result<Value, &'static str> {
        if kind != Scalar::Boolean && matches!(value, Value::List(_) | Value::Tensor(_)) {
            return Err("a list inside a list of scalars");
        }
        Ok(match kind {
            Scalar::Boolean => Value::Bool(to_bool(value)),
            Scalar::Binary => Value::Bytes(to_bytes(value)?.into()),
            _ => Value::Text(to_text(value).into()),
        })
    };
    let values = match cells {
        Cells::Array(dtype, array) if kind != Scalar::Binary || dtype != DType::Str => {
            return Ok(Cells::Array(dtype, array));
        }
        other => other.values(),
    };
    let each = values.iter().enumerate();
    let values: Result<Vec<Value>, Fault> =
        each.map(|(row, value)| convert(value).map_err(|why| Fault::at(row, value, why))).collect();
    values.map(Cells::Objects)
}

pub(crate) fn enforce_object(value: Value, properties: &[Property], required: bool) -> Result<Value, Fault> {
    if !required && matches!(&value, Value::None) {
        return Ok(value);
    }
    let Value::Dict(entries) = value else {
        return Err(Fault::found("an object is expected", type_name(&value)));
    };
    if !required && entries.is_empty() {
        return Ok(Value::Dict(entries));
    }
    let missing: Vec<&str> = properties
        .iter()
        .filter(|property| property.required && !entries.iter().any(|(key, _)| *key == property.name))
        .map(|property| &*property.name)
        .collect();
    if !missing.is_empty() {
        return Err(Fault::new(format!("the object lacks the properties {missing:?}")));
    }
    let mut out: Vec<(Arc<str>, Value)> = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let Some(property) = properties.iter().find(|property| property.name == key) else {
            return Err(Fault::new(format!("the object has a property {key:?}, which the signature does not have")));
        };
        let value = enforce_type(value, &property.kind, property.required)
            .map_err(|fault| Fault { reason: format!("property {key:?}: {}", fault.reason), ..fault })?;
        out.push((key, value));
    }
    Ok(Value::Dict(out))
}

fn enforce_map(value: Value, values: &DataType, required: bool) -> Result<Value, Fault> {
    let is_empty = matches!(&value, Value::None) || matches!(&value, Value::Dict(entries) if entries.is_empty());
    if is_empty && (!required || *values == DataType::Any) {
        return Ok(value);
    }
    let Value::Dict(entries) = value else {
        return Err(Fault::found("a map is expected", type_name(&value)));
    };
    let entry = |(key, value): (Arc<str>, Value)| {
        let value = enforce_type(value, values, required)
            .map_err(|fault| Fault { reason: format!("key {key:?}: {}", fault.reason), ..fault })?;
        Ok((key, value))
    };
    entries.into_iter().map(entry).collect::<Result<_, _>>().map(Value::Dict)
}
