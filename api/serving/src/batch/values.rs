//! Columns of a file as values and types of pandas, where no cast is asked for.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampNanosecondType, UInt64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType as ArrowType, TimeUnit};
use runlode_models::{Cells, DType, Value};

use crate::batch::chunk::Given;

/// The type of an array that holds a dtype.
pub(crate) fn arrow_type(dtype: DType) -> ArrowType {
    match dtype {
        DType::Bool => ArrowType::Boolean,
        DType::Int8 => ArrowType::Int8,
        DType::Int16 => ArrowType::Int16,
        DType::Int32 => ArrowType::Int32,
        DType::Int64 => ArrowType::Int64,
        DType::UInt8 => ArrowType::UInt8,
        DType::UInt16 => ArrowType::UInt16,
        DType::UInt32 => ArrowType::UInt32,
        DType::UInt64 => ArrowType::UInt64,
        DType::Float16 => ArrowType::Float16,
        DType::Float32 => ArrowType::Float32,
        DType::Float64 => ArrowType::Float64,
        DType::Str => ArrowType::LargeUtf8,
        DType::Bytes => ArrowType::LargeBinary,
        DType::Datetime => ArrowType::Timestamp(TimeUnit::Nanosecond, None),
    }
}

/// A column for a model that has no signature.
pub(crate) fn free(given: &Given) -> Result<Cells, String> {
    let array = match given {
        Given::Values(values) => return Ok(Cells::Objects(values.clone())),
        Given::Array(array) => array,
    };
    let dtype = match array.data_type() {
        // pandas has no missing integer or boolean in a plain column.
        ArrowType::Boolean if array.null_count() == 0 => DType::Bool,
        ArrowType::Int8 if array.null_count() == 0 => DType::Int8,
        ArrowType::Int16 if array.null_count() == 0 => DType::Int16,
        ArrowType::Int32 if array.null_count() == 0 => DType::Int32,
        ArrowType::Int64 if array.null_count() == 0 => DType::Int64,
        ArrowType::UInt8 if array.null_count() == 0 => DType::UInt8,
        ArrowType::UInt16 if array.null_count() == 0 => DType::UInt16,
        ArrowType::UInt32 if array.null_count() == 0 => DType::UInt32,
        ArrowType::UInt64 if array.null_count() == 0 => DType::UInt64,
        ArrowType::Float16 => DType::Float16,
        ArrowType::Float32 => DType::Float32,
        ArrowType::Float64 => DType::Float64,
        ArrowType::Utf8 | ArrowType::LargeUtf8 | ArrowType::Utf8View => DType::Str,
        ArrowType::Timestamp(_, None) | ArrowType::Date32 | ArrowType::Date64 => DType::Datetime,
        other if other.is_integer() => DType::Float64,
        _ => return values(given).map(Cells::Objects),
    };
    let array = arrow_cast::cast(array, &arrow_type(dtype)).map_err(|error| error.to_string())?;
    Ok(Cells::Array(dtype, array))
}

/// The cells of a column as values.
pub(crate) fn values(given: &Given) -> Result<Vec<Value>, String> {
    match given {
        Given::Values(values) => Ok(values.clone()),
        Given::Array(array) => (0..array.len()).map(|row| value(array, row)).collect(),
    }
}

/// One cell as a value: lists, structs and maps of the types that have one.
fn value(array: &ArrayRef, row: usize) -> Result<Value, String> {
    if array.is_null(row) {
        return Ok(Value::None);
    }
    let all = |list: ArrayRef| -> Result<Value, String> {
        (0..list.len()).map(|at| value(&list, at)).collect::<Result<_, _>>().map(Value::List)
    };
    let one = || array.slice(row, 1);
    let cast = |to: &ArrowType| arrow_cast::cast(&one(), to).map_err(|error| error.to_string());
    Ok(match array.data_type() {
        ArrowType::List(_) => all(array.as_list::<i32>().value(row))?,
        ArrowType::LargeList(_) => all(array.as_list::<i64>().value(row))?,
        ArrowType::FixedSizeList(..) => all(array.as_fixed_size_list().value(row))?,
        ArrowType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let pairs = fields
                .iter()
                .zip(columns)
                .map(|(field, column)| Ok((field.name().as_str().into(), value(column, row)?)));
            Value::Dict(pairs.collect::<Result<_, String>>()?)
        }
        ArrowType::Map(..) => {
            let entries = array.as_map().value(row);
            let keys = arrow_cast::cast(entries.column(0), &ArrowType::LargeUtf8).map_err(|error| error.to_string())?;
            let keys = keys.as_string::<i64>();
            let pairs = (0..entries.len()).map(|at| Ok((keys.value(at).into(), value(entries.column(1), at)?)));
            Value::Dict(pairs.collect::<Result<_, String>>()?)
        }
        ArrowType::Boolean => Value::Bool(array.as_boolean().value(row)),
        ArrowType::Utf8 | ArrowType::LargeUtf8 | ArrowType::Utf8View => {
            Value::Text(cast(&ArrowType::LargeUtf8)?.as_string::<i64>().value(0).into())
        }
        ArrowType::Binary | ArrowType::LargeBinary | ArrowType::BinaryView | ArrowType::FixedSizeBinary(_) => {
            Value::Bytes(cast(&ArrowType::LargeBinary)?.as_binary::<i64>().value(0).into())
        }
        ArrowType::Timestamp(_, None) | ArrowType::Date32 | ArrowType::Date64 => {
            let at = cast(&ArrowType::Timestamp(TimeUnit::Nanosecond, None))?;
            Value::Datetime(Some(at.as_primitive::<TimestampNanosecondType>().value(0)))
        }
        ArrowType::UInt64 => {
            let at = array.as_primitive::<UInt64Type>().value(row);
            i64::try_from(at).map_or_else(|_| Value::BigInt(at.to_string().into()), Value::Int)
        }
        other if other.is_integer() => Value::Int(cast(&ArrowType::Int64)?.as_primitive::<Int64Type>().value(0)),
        other if other.is_numeric() => Value::Float(cast(&ArrowType::Float64)?.as_primitive::<Float64Type>().value(0)),
        other => return Err(format!("it holds {other}, which no model takes")),
    })
}
