//! Cells as the type that a model's signature says.
//!
//! A cast keeps the value or is refused, row by row: 1.0 is the integer 1, 1.5 is none, 2147483648 is no `integer`. Only
//! floats lose digits, and what is missing is NaN in a float, NaT in a time and missing in a text. (The server's rules
//! for JSON are MLflow's, which wrap and truncate.)
//!
//! ```text
//!            bool   integer        float          text                 bytes   time
//! boolean    =      0, 1           0.0, 1.0       true, false, 0, 1
//! integer    0, 1   in range       whole numbers  number                              and long
//! float      0, 1   nearest        nearest        number                              and double
//! string            decimal text                  =
//! binary                                          its UTF-8            =
//! datetime                                        ISO 8601                     =      a zone is refused
//! ```

use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, LargeBinaryBuilder, LargeStringBuilder, PrimitiveBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int32Type, Int64Type, TimestampNanosecondType, UInt64Type,
};
use arrow_array::{Array, ArrayRef, PrimitiveArray};
use arrow_schema::{DataType, TimeUnit};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use runlode_models::Value;
use runlode_models::signature::Scalar;

use crate::batch::chunk::Given;

/// A column of the type wanted, and the rows that could not be cast with the reason; their cells are missing.
#[derive(Debug)]
pub(crate) struct Cast {
    pub(crate) array: ArrayRef,
    pub(crate) bad: Vec<(usize, String)>,
}

/// A cell as it is read, before it has the type wanted.
enum Cell<'a> {
    Missing,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    /// Nanoseconds since 1970.
    Time(i64),
    /// What no column of a scalar type holds.
    Other(&'static str),
}

/// Casts a column.
///
/// # Errors
/// No cell of such a column can have the type.
pub(crate) fn cast(given: &Given, to: Scalar) -> Result<Cast, String> {
    match given {
        Given::Values(values) => Ok(by_cells(values.iter().map(of_value), to)),
        Given::Array(array) => {
            if let Some(array) = at_once(array, to) {
                return Ok(Cast { array, bad: Vec::new() });
            }
            of_array(&simple(array)?, to)
        }
    }
}

/// The casts that cannot fail: whole arrays, without a look at each cell.
fn at_once(array: &ArrayRef, to: Scalar) -> Option<ArrayRef> {
    let narrowed = |array: &dyn Array| -> ArrayRef {
        Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float32Type>(|value| value as f32))
    };
    match (array.data_type(), to) {
        (DataType::Float64, Scalar::Double) | (DataType::Float32, Scalar::Float) => Some(Arc::clone(array)),
        (DataType::Float64, Scalar::Float) => Some(narrowed(array)),
        (DataType::Float32, Scalar::Double) => {
            Some(Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float64Type>(f64::from)))
        }
        (DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64, Scalar::Double) => {
            arrow_cast::cast(array, &DataType::Float64).ok()
        }
        (DataType::LargeUtf8, Scalar::String) => Some(Arc::clone(array)),
        (DataType::Int64, Scalar::Long) | (DataType::Int32, Scalar::Integer) | (DataType::Boolean, Scalar::Boolean)
            if array.null_count() == 0 =>
        {
            Some(Arc::clone(array))
        }
        (DataType::LargeBinary, Scalar::Binary) if array.null_count() == 0 => Some(Arc::clone(array)),
        _ => None,
    }
}

/// The same values in one of few types.
fn simple(array: &ArrayRef) -> Result<ArrayRef, String> {
    use DataType as Type;
    let target = match array.data_type() {
        Type::Int8 | Type::Int16 | Type::Int32 | Type::Int64 | Type::UInt8 | Type::UInt16 | Type::UInt32 => Type::Int64,
        Type::UInt64 => Type::UInt64,
        Type::Float16
        | Type::Float32
        | Type::Float64
        | Type::Decimal32(..)
        | Type::Decimal64(..)
        | Type::Decimal128(..)
        | Type::Decimal256(..) => Type::Float64,
        Type::Boolean | Type::Null => array.data_type().clone(),
        Type::Utf8 | Type::LargeUtf8 | Type::Utf8View => Type::LargeUtf8,
        Type::Binary | Type::LargeBinary | Type::BinaryView | Type::FixedSizeBinary(_) => Type::LargeBinary,
        Type::Timestamp(_, None) | Type::Date32 | Type::Date64 => Type::Timestamp(TimeUnit::Nanosecond, None),
        Type::Timestamp(_, Some(_)) => return Err("it holds times with a zone; models take times without one".into()),
        Type::Dictionary(_, values) => {
            let flat = arrow_cast::cast(array, values).map_err(|error| error.to_string())?;
            return simple(&flat);
        }
        other => return Err(format!("it holds {other}, which no column of one value in a row can be made of")),
    };
    if *array.data_type() == target {
        return Ok(Arc::clone(array));
    }
    let options = arrow_cast::CastOptions { safe: false, ..Default::default() };
    arrow_cast::cast_with_options(array, &target, &options).map_err(|error| error.to_string())
}

fn of_array(array: &ArrayRef, to: Scalar) -> Result<Cast, String> {
    fn cells<'a, T: ArrowPrimitiveType>(
        array: &'a PrimitiveArray<T>,
        make: impl Fn(T::Native) -> Cell<'a> + 'a,
    ) -> impl Iterator<Item = Cell<'a>> {
        array.iter().map(move |value| value.map_or(Cell::Missing, &make))
    }
    Ok(match array.data_type() {
        DataType::Null => by_cells((0..array.len()).map(|_| Cell::Missing), to),
        DataType::Boolean => {
            by_cells(array.as_boolean().iter().map(|value| value.map_or(Cell::Missing, Cell::Bool)), to)
        }
        DataType::Int64 => by_cells(cells(array.as_primitive::<Int64Type>(), |value| Cell::Int(i128::from(value))), to),
        DataType::UInt64 => {
            by_cells(cells(array.as_primitive::<UInt64Type>(), |value| Cell::Int(i128::from(value))), to)
        }
        DataType::Float64 => by_cells(cells(array.as_primitive::<Float64Type>(), Cell::Float), to),
        DataType::LargeUtf8 => {
            by_cells(array.as_string::<i64>().iter().map(|text| text.map_or(Cell::Missing, Cell::Text)), to)
        }
        DataType::LargeBinary => {
            by_cells(array.as_binary::<i64>().iter().map(|bytes| bytes.map_or(Cell::Missing, Cell::Bytes)), to)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, None) => {
            by_cells(cells(array.as_primitive::<TimestampNanosecondType>(), Cell::Time), to)
        }
        other => return Err(format!("it holds {other}")),
    })
}

fn of_value(value: &Value) -> Cell<'_> {
    match value {
        Value::None | Value::Datetime(None) => Cell::Missing,
        Value::Bool(value) => Cell::Bool(*value),
        Value::Int(value) => Cell::Int(i128::from(*value)),
        Value::BigInt(digits) => digits.parse().map_or(Cell::Other("an integer beyond 128 bits"), Cell::Int),
        Value::Float(value) => Cell::Float(*value),
        Value::Text(text) => Cell::Text(text),
        Value::Bytes(bytes) => Cell::Bytes(bytes),
        Value::Datetime(Some(at)) => Cell::Time(*at),
        Value::List(_) => Cell::Other("a list"),
        Value::Dict(_) => Cell::Other("an object"),
        _ => Cell::Other("an array"),
    }
}

fn by_cells<'a>(cells: impl Iterator<Item = Cell<'a>>, to: Scalar) -> Cast {
    match to {
        Scalar::Boolean => {
            let (values, bad) = each(cells, to, Need::Value, boolean);
            let mut builder = BooleanBuilder::with_capacity(values.len());
            values.into_iter().for_each(|value| builder.append_option(value));
            Cast { array: Arc::new(builder.finish()), bad }
        }
        Scalar::Integer => numbers::<Int32Type>(cells, to, Need::Value, |cell| {
            integer(cell).and_then(|value| i32::try_from(value).ok())
        }),
        Scalar::Long => numbers::<Int64Type>(cells, to, Need::Value, |cell| {
            integer(cell).and_then(|value| i64::try_from(value).ok())
        }),
        Scalar::Float => numbers::<Float32Type>(cells, to, Need::Nothing, |cell| float(cell).map(|value| value as f32)),
        Scalar::Double => numbers::<Float64Type>(cells, to, Need::Nothing, float),
        Scalar::Datetime => numbers::<TimestampNanosecondType>(cells, to, Need::Nothing, time),
        Scalar::String => {
            let (values, bad) = each(cells, to, Need::Nothing, text);
            let mut builder = LargeStringBuilder::new();
            values.iter().for_each(|value| builder.append_option(value.as_deref()));
            Cast { array: Arc::new(builder.finish()), bad }
        }
        Scalar::Binary => {
            let (values, bad) = each(cells, to, Need::Value, binary);
            let mut builder = LargeBinaryBuilder::new();
            values.iter().for_each(|value| builder.append_option(value.as_deref()));
            Cast { array: Arc::new(builder.finish()), bad }
        }
    }
}

/// Whether a cell of a type must have a value: pandas has no integer, boolean or bytes that is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Value,
    Nothing,
}

/// Each cell as a value, and the rows that cannot be one.
fn each<'a, T>(
    cells: impl Iterator<Item = Cell<'a>>,
    to: Scalar,
    need: Need,
    make: impl Fn(&Cell<'a>) -> Option<T>,
) -> (Vec<Option<T>>, Vec<(usize, String)>) {
    let mut values = Vec::with_capacity(cells.size_hint().0);
    let mut bad = Vec::new();
    for (row, cell) in cells.enumerate() {
        let value = match &cell {
            // An empty field of a CSV file is a missing value, except in a column of texts.
            Cell::Missing | Cell::Text("") if matches!(cell, Cell::Missing) || to != Scalar::String => {
                if need == Need::Value {
                    bad.push((row, format!("a value is missing, and {to} cannot be missing")));
                }
                None
            }
            cell => make(cell).or_else(|| {
                bad.push((row, format!("{} is no {to}", shown(cell))));
                None
            }),
        };
        values.push(value);
    }
    (values, bad)
}

fn numbers<'a, T: ArrowPrimitiveType>(
    cells: impl Iterator<Item = Cell<'a>>,
    to: Scalar,
    need: Need,
    make: impl Fn(&Cell<'a>) -> Option<T::Native>,
) -> Cast {
    let (values, bad) = each(cells, to, need, make);
    let mut builder = PrimitiveBuilder::<T>::with_capacity(values.len());
    values.into_iter().for_each(|value| builder.append_option(value));
    Cast { array: Arc::new(builder.finish()), bad }
}

/// A cell in a message, not too long.
fn shown(cell: &Cell<'_>) -> String {
    const CHARS_MAX: usize = 40;
    match cell {
        Cell::Missing => "a missing value".into(),
        Cell::Bool(value) => value.to_string(),
        Cell::Int(value) => value.to_string(),
        Cell::Float(value) => value.to_string(),
        Cell::Text(text) => {
            let start: String = text.chars().take(CHARS_MAX).collect();
            if start.len() < text.len() { format!("{start:?}...") } else { format!("{start:?}") }
        }
        Cell::Bytes(bytes) => format!("{} bytes", bytes.len()),
        Cell::Time(_) => "a time".into(),
        Cell::Other(what) => (*what).into(),
    }
}

fn boolean(cell: &Cell<'_>) -> Option<bool> {
    match cell {
        Cell::Bool(value) => Some(*value),
        Cell::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => boolean(&Cell::Float(float(cell)?)),
        },
        Cell::Int(value) => match value {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        },
        Cell::Float(value) if *value == 0.0 => Some(false),
        Cell::Float(value) if *value == 1.0 => Some(true),
        _ => None,
    }
}

fn integer(cell: &Cell<'_>) -> Option<i128> {
    /// Beyond it a float's neighbours are more than one apart, and beyond 64 bits no type wants it.
    const WHOLE_MAX: f64 = 18_446_744_073_709_551_616.0;
    match cell {
        Cell::Bool(value) => Some(i128::from(*value)),
        Cell::Int(value) => Some(*value),
        Cell::Float(value) if value.fract() == 0.0 && value.abs() <= WHOLE_MAX => Some(*value as i128),
        Cell::Text(text) => {
            let text = text.trim();
            text.parse::<i128>().ok().or_else(|| integer(&Cell::Float(text.parse().ok()?)))
        }
        _ => None,
    }
}

fn float(cell: &Cell<'_>) -> Option<f64> {
    match cell {
        Cell::Bool(value) => Some(f64::from(u8::from(*value))),
        Cell::Int(value) => Some(*value as f64),
        Cell::Float(value) => Some(*value),
        Cell::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn text(cell: &Cell<'_>) -> Option<String> {
    match cell {
        Cell::Text(text) => Some((*text).to_owned()),
        Cell::Int(value) => Some(value.to_string()),
        _ => None,
    }
}

fn binary(cell: &Cell<'_>) -> Option<Vec<u8>> {
    match cell {
        Cell::Bytes(bytes) => Some(bytes.to_vec()),
        Cell::Text(text) => Some(text.as_bytes().to_vec()),
        _ => None,
    }
}

/// A time without a zone as nanoseconds since 1970: ISO 8601, with a day only or with a time.
fn time(cell: &Cell<'_>) -> Option<i64> {
    match cell {
        Cell::Time(at) => Some(*at),
        Cell::Text(text) => {
            let at: jiff::civil::DateTime = text.trim().parse().ok()?;
            let at = at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
            i64::try_from(at.as_nanosecond()).ok()
        }
        _ => None,
    }
}

/// Bytes that JSON holds as base64.
pub(crate) fn decoded(value: &Value) -> Option<Value> {
    let Value::Text(text) = value else { return None };
    BASE64_STANDARD.decode(text.as_bytes()).ok().map(|bytes| Value::Bytes(bytes.into()))
}

#[cfg(test)]
mod tests {
    use arrow_array::{Float64Array, Int64Array, LargeStringArray, StringArray, UInt64Array};

    use super::*;

    fn cells(cast: &Cast) -> Vec<String> {
        let options = arrow_cast::display::FormatOptions::default().with_null("-");
        let formatter = arrow_cast::display::ArrayFormatter::try_new(&cast.array, &options).unwrap();
        (0..cast.array.len()).map(|row| formatter.value(row).to_string()).collect()
    }

    fn texts(values: &[&str]) -> Given {
        Given::Array(Arc::new(LargeStringArray::from(values.to_vec())))
    }

    #[test]
    fn texts_become_what_they_say_or_are_bad_rows() {
        type Row<'a> = (Scalar, &'a [&'a str], &'a [&'a str], &'a [usize]);
        let table: [Row<'_>; 7] = [
            (
                Scalar::Integer,
                &["7", " 1", "1e3", "1.0", "2147483648", "1.5", "x", ""],
                &["7", "1", "1000", "1", "-", "-", "-", "-"],
                &[4, 5, 6, 7],
            ),
            (
                Scalar::Long,
                &["9223372036854775807", "9223372036854775808", "-3"],
                &["9223372036854775807", "-", "-3"],
                &[1],
            ),
            (Scalar::Double, &["1.5", "", "1e300", "abc", "NaN"], &["1.5", "-", "1e300", "-", "NaN"], &[3]),
            (Scalar::Float, &["1e300", "0.1"], &["inf", "0.1"], &[]),
            (
                Scalar::Boolean,
                &["true", "FALSE", "1", "0.0", "2", "yes", ""],
                &["true", "false", "true", "false", "-", "-", "-"],
                &[4, 5, 6],
            ),
            (Scalar::String, &["", "5"], &["", "5"], &[]),
            (
                Scalar::Datetime,
                &["2024-01-02", "2024-01-02T03:04:05.678", "", "nope", "2024-01-02T03:04:05Z"],
                &["2024-01-02T00:00:00", "2024-01-02T03:04:05.678", "-", "-", "-"],
                &[3, 4],
            ),
        ];
        for (to, given, expected, bad) in table {
            let cast = cast(&texts(given), to).unwrap();
            assert_eq!(cells(&cast), expected, "{to}");
            assert_eq!(cast.bad.iter().map(|(row, _)| *row).collect::<Vec<_>>(), bad, "{to}: {:?}", cast.bad);
        }
    }

    #[test]
    fn numbers_keep_their_value_or_are_bad_rows() {
        let floats =
            Given::Array(Arc::new(Float64Array::from(vec![Some(1.0), Some(1.5), None, Some(1e300), Some(f64::NAN)])));
        let integers = cast(&floats, Scalar::Long).unwrap();
        assert_eq!(cells(&integers), ["1", "-", "-", "-", "-"]);
        assert_eq!(integers.bad[0], (1, "1.5 is no long".into()));
        assert_eq!(integers.bad[1], (2, "a value is missing, and long cannot be missing".into()));
        let big = Given::Array(Arc::new(UInt64Array::from(vec![u64::MAX, 5])));
        assert_eq!(cells(&cast(&big, Scalar::Long).unwrap()), ["-", "5"]);
        assert_eq!(cells(&cast(&big, Scalar::Double).unwrap())[1], "5.0");
        let missing = Given::Array(Arc::new(Int64Array::from(vec![Some(3), None])));
        assert_eq!(cells(&cast(&missing, Scalar::Double).unwrap()), ["3.0", "-"]);
        assert_eq!(cells(&cast(&missing, Scalar::String).unwrap()), ["3", "-"]);
        let text = Given::Array(Arc::new(StringArray::from(vec!["4"])));
        assert_eq!(cells(&cast(&text, Scalar::Long).unwrap()), ["4"]);
    }

    #[test]
    fn columns_that_hold_something_else_are_refused_as_a_whole() {
        let times = arrow_array::TimestampSecondArray::from(vec![1]).with_timezone("+02:00");
        let error = cast(&Given::Array(Arc::new(times)), Scalar::Datetime).unwrap_err();
        assert!(error.contains("zone"), "{error}");
        let list = Given::Values(vec![Value::List(Vec::new()), Value::Int(1)]);
        assert_eq!(cast(&list, Scalar::Long).unwrap().bad, [(0, "a list is no long".into())]);
    }
}
