//! Stage 2 of a column: a dtype against a scalar type of the schema. Only what loses nothing is converted.
//!
//! ```text
//! int8..int32, uint8, uint16 -> integer (up to int32), long, double      uint32 -> long, double
//! int64 -> float, double if all cells are 0, 1 or missing                float16, float32 -> float, double
//! object -> string, binary, boolean as it is; double, datetime if each cell converts
//! ```

use arrow_array::types::Float64Type;

use super::astype::are_zeros_and_ones;
use super::error::Fault;
use super::scalar::{float_of_field, is_unsigned, to_datetime, to_float};
use super::series::{
    bounds, datetimes, floats, infer, integers, is_float, item_bytes, of_floats, of_integers, primitive,
};
use crate::data::{Cells, DType, Value};
use crate::schema::Scalar;

/// The column as the type asks for it, or why it cannot be.
pub(crate) fn enforce_column(cells: Cells, kind: Scalar) -> Result<Cells, Fault> {
    let cells = match cells {
        Cells::Objects(_) if matches!(kind, Scalar::Binary | Scalar::String) => return Ok(cells),
        Cells::Objects(values) => infer(values),
        array => array,
    };
    match (cells, kind) {
        (cells @ Cells::Array(DType::Str, _), Scalar::String | Scalar::Binary) => Ok(cells),
        (cells @ Cells::Array(DType::Bytes, _), Scalar::Binary) => Ok(cells),
        (Cells::Objects(values), kind) => of_objects(values, kind),
        (cells @ Cells::Array(dtype, _), kind) if dtype == kind.dtype() => Ok(cells),
        (Cells::Array(dtype, array), kind) => {
            let to = kind.dtype();
            if is_wider(dtype, to) {
                let cells = if is_float(to) {
                    floats(dtype, &array).map(|values| of_floats(to, values))
                } else {
                    integers(dtype, &array).map(|values| of_integers(to, values))
                };
                return cells.ok_or_else(|| refused(dtype.name(), kind));
            }
            if dtype == DType::Int64 && is_float(to) && are_zeros_and_ones(&array) {
                return Ok(of_floats(to, floats(dtype, &array).unwrap_or_default()));
            }
            let mut fault = refused(dtype.name(), kind);
            if dtype == DType::Float64 && bounds(to).is_some() {
                let values = floats(dtype, &array).unwrap_or_default();
                if values.iter().any(|value| value.is_nan())
                    && values.iter().all(|value| value.is_nan() || value.fract() == 0.0)
                {
                    fault.reason.push_str(
                        " (whole numbers with missing ones among them are floats: declare the column as double)",
                    );
                }
            }
            Err(fault)
        }
    }
}

fn refused(found: &str, kind: Scalar) -> Fault {
    Fault::found(format!("{found} cannot safely become {}", kind.dtype().name()), found)
}

/// Whether numpy's casting from one dtype to the other loses nothing, as MLflow sees it.
fn is_wider(from: DType, to: DType) -> bool {
    let is_int = |dtype: DType| bounds(dtype).is_some() && !is_unsigned(dtype);
    if is_float(from) && is_float(to) || is_int(from) && is_int(to) {
        return item_bytes(from) <= item_bytes(to);
    }
    if is_unsigned(from) && is_int(to) {
        return item_bytes(from) < item_bytes(to);
    }
    bounds(from).is_some() && to == DType::Float64 && item_bytes(from) <= 4
}

fn of_objects(values: Vec<Value>, kind: Scalar) -> Result<Cells, Fault> {
    let plain = |values: &[Value]| values.iter().map(|value| value.clone().into_plain()).collect::<Vec<_>>();
    match kind {
        Scalar::Boolean => Ok(Cells::Objects(values)),
        Scalar::Double => {
            let mut numbers = Vec::with_capacity(values.len());
            for (row, value) in plain(&values).iter().enumerate() {
                let number = match value {
                    Value::Text(text) if text.is_empty() => Ok(f64::NAN),
                    Value::Text(text) => float_of_field(text).ok_or("the text is no number"),
                    Value::List(items) if items.is_empty() => Ok(f64::NAN),
                    Value::Tensor(tensor) if tensor.elements.is_empty() => Ok(f64::NAN),
                    other => to_float(other),
                };
                numbers.push(number.map_err(|why| Fault::at(row, value, why))?);
            }
            Ok(primitive::<Float64Type>(DType::Float64, numbers))
        }
        Scalar::Datetime => {
            let mut nanos = Vec::with_capacity(values.len());
            for (row, value) in plain(&values).iter().enumerate() {
                let nano = match value {
                    Value::Float(number) if number.is_nan() => Ok(None),
                    Value::Bool(_) => Err("no date"),
                    other => to_datetime(other),
                };
                nanos.push(nano.map_err(|why| Fault::at(row, value, why))?);
            }
            Ok(datetimes(nanos))
        }
        _ => Err(refused("object", kind)),
    }
}
