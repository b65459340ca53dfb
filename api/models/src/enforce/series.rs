//! Columns out of Python's values: which dtype pandas gives them, and their Arrow arrays.
//!
//! | cells | dtype |
//! |---|---|
//! | bool; int; int up to 2^64; float; str | bool; int64; uint64; float64; str |
//! | int or float with missing | float64 |
//! | str with missing | str |
//! | all missing, any other mix (bool with missing or numbers, negative with over 2^63) | object |

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, BooleanArray, LargeBinaryArray, LargeStringArray, PrimitiveArray, UInt64Array};

use super::error::Fault;
use crate::data::{Cells, DType, Value};

/// Cells of a primitive type without nulls.
pub(crate) fn primitive<T: ArrowPrimitiveType>(dtype: DType, values: Vec<T::Native>) -> Cells {
    Cells::Array(dtype, Arc::new(PrimitiveArray::<T>::new(values.into(), None)))
}

pub(crate) fn bools(values: Vec<bool>) -> Cells {
    Cells::Array(DType::Bool, Arc::new(BooleanArray::from(values)))
}

pub(crate) fn texts(values: impl Iterator<Item = Option<impl AsRef<str>>>) -> Cells {
    Cells::Array(DType::Str, Arc::new(LargeStringArray::from_iter(values)))
}

pub(crate) fn bytes(values: impl Iterator<Item = Option<impl AsRef<[u8]>>>) -> Cells {
    Cells::Array(DType::Bytes, Arc::new(LargeBinaryArray::from_iter(values)))
}

pub(crate) fn datetimes(values: Vec<Option<i64>>) -> Cells {
    Cells::Array(DType::Datetime, Arc::new(PrimitiveArray::<TimestampNanosecondType>::from(values)))
}

/// What kinds of values were seen.
#[derive(Default)]
struct Seen {
    bools: usize,
    ints: usize,
    /// Of `ints`: beyond 63 bits, within 64.
    bigs: usize,
    negatives: usize,
    floats: usize,
    texts: usize,
    nans: usize,
    nones: usize,
    dates: usize,
    others: usize,
}

/// The number of an integer beyond 63 bits that fits into 64.
pub(crate) fn big(digits: &str) -> Option<u64> {
    digits.parse().ok()
}

/// Whether pandas counts the value as missing.
pub(crate) fn is_missing(value: &Value) -> bool {
    match value {
        Value::None | Value::Datetime(None) => true,
        Value::Float(number) => number.is_nan(),
        Value::Numpy(_, value) => is_missing(value),
        _ => false,
    }
}

/// The column that pandas makes of a list of Python's values.
pub(crate) fn infer(values: Vec<Value>) -> Cells {
    if let Some(cells) = infer_scalars_of_numpy(&values) {
        return cells;
    }
    let mut seen = Seen::default();
    for value in &values {
        match value {
            Value::Float(number) => {
                seen.nans += usize::from(number.is_nan());
                seen.floats += 1;
            }
            Value::Int(number) => {
                seen.ints += 1;
                seen.negatives += usize::from(*number < 0);
            }
            Value::Text(_) => seen.texts += 1,
            Value::Bool(_) => seen.bools += 1,
            Value::None => seen.nones += 1,
            Value::BigInt(digits) if big(digits).is_some() => {
                seen.ints += 1;
                seen.bigs += 1;
            }
            Value::Datetime(_) => seen.dates += 1,
            _ => seen.others += 1,
        }
        if seen.others > 0 {
            return Cells::Objects(values);
        }
    }
    let count = values.len();
    if count > 0 && seen.bools == count {
        return bools(values.iter().map(|value| *value == Value::Bool(true)).collect());
    }
    if count > 0 && seen.ints == count && seen.bigs == 0 {
        return primitive::<Int64Type>(DType::Int64, values.iter().map(int_or_zero).collect());
    }
    if count > 0 && seen.ints == count && seen.negatives == 0 {
        return primitive::<UInt64Type>(DType::UInt64, values.iter().map(unsigned_or_zero).collect());
    }
    let numbers = seen.ints + seen.floats + seen.nones == count && seen.ints + seen.floats > 0;
    // Beside a number below zero, one beyond int64 makes pandas keep Python's values.
    if numbers && (seen.negatives == 0 || seen.bigs == 0) {
        return primitive::<Float64Type>(DType::Float64, values.iter().map(float_or_nan).collect());
    }
    if seen.texts > 0 && seen.texts + seen.nans + seen.nones == count {
        return texts(values.iter().map(|value| if let Value::Text(text) = value { Some(&**text) } else { None }));
    }
    let dates = seen.dates + seen.nones + seen.nans;
    if seen.dates > 0 && dates == count {
        return datetimes(
            values.iter().map(|value| if let Value::Datetime(at) = value { *at } else { None }).collect(),
        );
    }
    Cells::Objects(values)
}

fn int_or_zero(value: &Value) -> i64 {
    if let Value::Int(number) = value { *number } else { 0 }
}

fn unsigned_or_zero(value: &Value) -> u64 {
    match value {
        Value::Int(number) => number.unsigned_abs(),
        Value::BigInt(digits) => big(digits).unwrap_or_default(),
        _ => 0,
    }
}

fn float_or_nan(value: &Value) -> f64 {
    match value {
        Value::Float(number) => *number,
        Value::Int(number) => *number as f64,
        Value::BigInt(digits) => digits.parse().unwrap_or(f64::NAN),
        _ => f64::NAN,
    }
}

/// Scalars of numpy, all of one dtype, make a column of it. Beside other values they count as Python's, and stay scalars
/// of numpy where the column is one of objects.
fn infer_scalars_of_numpy(values: &[Value]) -> Option<Cells> {
    let scalar = |value: &Value| match value {
        Value::Tensor(tensor) if tensor.shape.is_empty() => match &tensor.elements {
            Cells::Array(dtype, array) => Some((*dtype, Arc::clone(array))),
            Cells::Objects(_) => None,
        },
        _ => None,
    };
    if !values.iter().any(|value| scalar(value).is_some()) {
        return None;
    }
    let scalars: Option<Vec<(DType, ArrayRef)>> = values.iter().map(scalar).collect();
    let plain = || {
        let plain = |value: &Value| match value {
            Value::Tensor(tensor) if tensor.shape.is_empty() => tensor.elements.value(0),
            other => other.clone(),
        };
        match infer(values.iter().map(plain).collect()) {
            Cells::Objects(_) => Cells::Objects(values.iter().map(of_numpy).collect()),
            array => array,
        }
    };
    let Some(scalars) = scalars else { return Some(plain()) };
    let dtype = scalars.first()?.0;
    if scalars.iter().any(|(other, _)| *other != dtype) {
        return Some(plain());
    }
    if dtype == DType::Bytes {
        return Some(Cells::Objects(values.iter().map(of_numpy).collect()));
    }
    let arrays: Vec<&ArrayRef> = scalars.iter().map(|(_, array)| array).collect();
    // Arrays of one dtype have one type, and few cells each.
    concatenated(&arrays).map(|array| Cells::Array(dtype, array)).ok()
}

/// An array without dimensions as the scalar of numpy that it stands for. Dates are pandas' own.
pub(crate) fn of_numpy(value: &Value) -> Value {
    match value {
        Value::Tensor(tensor) if tensor.shape.is_empty() => match &tensor.elements {
            Cells::Array(DType::Datetime, _) | Cells::Objects(_) => tensor.elements.value(0),
            Cells::Array(dtype, _) => Value::Numpy(*dtype, Box::new(tensor.elements.value(0))),
        },
        other => other.clone(),
    }
}

/// One array of arrays of one type.
pub(crate) fn concatenated(arrays: &[&ArrayRef]) -> Result<ArrayRef, Fault> {
    if let [one] = arrays {
        return Ok(Arc::clone(one));
    }
    let arrays: Vec<&dyn Array> = arrays.iter().map(|array| &***array).collect();
    arrow_select::concat::concat(&arrays).map_err(|error| Fault::new(error.to_string()))
}

/// The cells of some rows.
pub(crate) fn taken(cells: &Cells, rows: impl Iterator<Item = usize>) -> Result<Cells, Fault> {
    match cells {
        Cells::Objects(values) => Ok(Cells::Objects(rows.map(|row| values[row].clone()).collect())),
        Cells::Array(dtype, array) => {
            let rows = UInt64Array::from_iter_values(rows.map(|row| row as u64));
            let taken = arrow_select::take::take(array, &rows, None).map_err(|error| Fault::new(error.to_string()))?;
            Ok(Cells::Array(*dtype, taken))
        }
    }
}

/// Floats of any float or integer array; a null is NaN.
pub(crate) fn floats(dtype: DType, array: &ArrayRef) -> Option<Vec<f64>> {
    fn all<T: ArrowPrimitiveType>(array: &ArrayRef, to: impl Fn(T::Native) -> f64) -> Vec<f64> {
        let array = array.as_primitive::<T>();
        if array.null_count() == 0 {
            return array.values().iter().map(|value| to(*value)).collect();
        }
        array.iter().map(|value| value.map_or(f64::NAN, &to)).collect()
    }
    Some(match dtype {
        DType::Bool => array.as_boolean().iter().map(|is| if is == Some(true) { 1.0 } else { 0.0 }).collect(),
        DType::Int8 => all::<Int8Type>(array, f64::from),
        DType::Int16 => all::<Int16Type>(array, f64::from),
        DType::Int32 => all::<Int32Type>(array, f64::from),
        DType::Int64 => all::<Int64Type>(array, |value| value as f64),
        DType::UInt8 => all::<UInt8Type>(array, f64::from),
        DType::UInt16 => all::<UInt16Type>(array, f64::from),
        DType::UInt32 => all::<UInt32Type>(array, f64::from),
        DType::UInt64 => all::<UInt64Type>(array, |value| value as f64),
        DType::Float16 => all::<Float16Type>(array, |value| value.to_f64()),
        DType::Float32 => all::<Float32Type>(array, f64::from),
        DType::Float64 => all::<Float64Type>(array, |value| value),
        DType::Str | DType::Bytes | DType::Datetime => return None,
    })
}

/// The integers of any integer array, and of bool, as 64 bits that wrap.
pub(crate) fn integers(dtype: DType, array: &ArrayRef) -> Option<Vec<i64>> {
    fn all<T: ArrowPrimitiveType>(array: &ArrayRef, to: impl Fn(T::Native) -> i64) -> Vec<i64> {
        array.as_primitive::<T>().values().iter().map(|value| to(*value)).collect()
    }
    Some(match dtype {
        DType::Bool => array.as_boolean().iter().map(|is| i64::from(is == Some(true))).collect(),
        DType::Int8 => all::<Int8Type>(array, i64::from),
        DType::Int16 => all::<Int16Type>(array, i64::from),
        DType::Int32 => all::<Int32Type>(array, i64::from),
        DType::Int64 => all::<Int64Type>(array, |value| value),
        DType::UInt8 => all::<UInt8Type>(array, i64::from),
        DType::UInt16 => all::<UInt16Type>(array, i64::from),
        DType::UInt32 => all::<UInt32Type>(array, i64::from),
        DType::UInt64 => all::<UInt64Type>(array, |value| value as i64),
        _ => return None,
    })
}

/// Cells of an integer dtype, of integers that wrap.
pub(crate) fn of_integers(dtype: DType, values: Vec<i64>) -> Cells {
    match dtype {
        DType::Int8 => primitive::<Int8Type>(dtype, values.into_iter().map(|value| value as i8).collect()),
        DType::Int16 => primitive::<Int16Type>(dtype, values.into_iter().map(|value| value as i16).collect()),
        DType::Int32 => primitive::<Int32Type>(dtype, values.into_iter().map(|value| value as i32).collect()),
        DType::UInt8 => primitive::<UInt8Type>(dtype, values.into_iter().map(|value| value as u8).collect()),
        DType::UInt16 => primitive::<UInt16Type>(dtype, values.into_iter().map(|value| value as u16).collect()),
        DType::UInt32 => primitive::<UInt32Type>(dtype, values.into_iter().map(|value| value as u32).collect()),
        DType::UInt64 => primitive::<UInt64Type>(dtype, values.into_iter().map(|value| value as u64).collect()),
        DType::Bool => bools(values.into_iter().map(|value| value != 0).collect()),
        DType::Datetime => datetimes(values.into_iter().map(|value| (value != i64::MIN).then_some(value)).collect()),
        _ => primitive::<Int64Type>(DType::Int64, values),
    }
}

/// Cells of a float dtype.
pub(crate) fn of_floats(dtype: DType, values: Vec<f64>) -> Cells {
    match dtype {
        DType::Float16 => primitive::<Float16Type>(dtype, values.into_iter().map(half::f16::from_f64).collect()),
        DType::Float32 => primitive::<Float32Type>(dtype, values.into_iter().map(|value| value as f32).collect()),
        _ => primitive::<Float64Type>(DType::Float64, values),
    }
}

/// The bounds of an integer dtype.
pub(crate) fn bounds(dtype: DType) -> Option<(i128, i128)> {
    Some(match dtype {
        DType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        DType::Int64 => (i64::MIN.into(), i64::MAX.into()),
        DType::UInt8 => (0, u8::MAX.into()),
        DType::UInt16 => (0, u16::MAX.into()),
        DType::UInt32 => (0, u32::MAX.into()),
        DType::UInt64 => (0, u64::MAX.into()),
        _ => return None,
    })
}

pub(crate) fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::Float16 | DType::Float32 | DType::Float64)
}

/// Bytes of an element; 0 for texts.
pub(crate) fn item_bytes(dtype: DType) -> usize {
    match dtype {
        DType::Bool | DType::Int8 | DType::UInt8 => 1,
        DType::Int16 | DType::UInt16 | DType::Float16 => 2,
        DType::Int32 | DType::UInt32 | DType::Float32 => 4,
        DType::Int64 | DType::UInt64 | DType::Float64 | DType::Datetime => 8,
        DType::Str | DType::Bytes => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_on_both_sides_of_int64_stay_values_of_python() {
        let big = || Value::BigInt("9223372036854775808".into());
        // As `pandas.Series(values).dtype` of pandas 3.1.1.
        for (values, is_object) in [
            (vec![big(), Value::None, Value::Int(-1)], true),
            (vec![big(), Value::Int(-1), Value::Float(1.5)], true),
            (vec![big(), Value::Int(-1)], true),
            (vec![big(), Value::None], false),
            (vec![big(), Value::Float(1.5)], false),
            (vec![Value::Int(-1), Value::Float(1.5), Value::None], false),
        ] {
            let cells = infer(values.clone());
            assert_eq!(matches!(cells, Cells::Objects(_)), is_object, "{values:?}");
        }
    }
}
