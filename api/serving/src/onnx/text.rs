//! Cells as the texts that Python's `str` makes of them.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use runlode_models::{Cells, DType, Value};

/// The text of each cell. A missing text or number is `nan`, `None` is `None`.
///
/// # Errors
/// The first cell whose text would be that of a Python object (a list, bytes, a time).
pub(crate) fn texts(cells: &Cells) -> Result<Vec<String>, String> {
    let (dtype, values) = match cells {
        Cells::Objects(values) => return values.iter().enumerate().map(|(at, value)| text(at, value)).collect(),
        Cells::Array(dtype, values) => (*dtype, values),
    };
    macro_rules! all {
        ($values:expr, $text:expr) => {
            Ok($values.iter().map(|value| value.map_or_else(|| "nan".to_owned(), $text)).collect())
        };
    }
    match dtype {
        DType::Str => all!(values.as_string::<i64>(), str::to_owned),
        DType::Bool => all!(values.as_boolean(), |value| truth(value).to_owned()),
        DType::Int8 => all!(values.as_primitive::<Int8Type>(), |value| value.to_string()),
        DType::Int16 => all!(values.as_primitive::<Int16Type>(), |value| value.to_string()),
        DType::Int32 => all!(values.as_primitive::<Int32Type>(), |value| value.to_string()),
        DType::Int64 => all!(values.as_primitive::<Int64Type>(), |value| value.to_string()),
        DType::UInt8 => all!(values.as_primitive::<UInt8Type>(), |value| value.to_string()),
        DType::UInt16 => all!(values.as_primitive::<UInt16Type>(), |value| value.to_string()),
        DType::UInt32 => all!(values.as_primitive::<UInt32Type>(), |value| value.to_string()),
        DType::UInt64 => all!(values.as_primitive::<UInt64Type>(), |value| value.to_string()),
        DType::Float16 => all!(values.as_primitive::<Float16Type>(), |value| float(f64::from(value))),
        DType::Float32 => all!(values.as_primitive::<Float32Type>(), |value| float(f64::from(value))),
        DType::Float64 => all!(values.as_primitive::<Float64Type>(), float),
        DType::Bytes | DType::Datetime => Err("bytes and times are no texts".into()),
    }
}

fn truth(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

fn text(at: usize, value: &Value) -> Result<String, String> {
    match value {
        Value::None => Ok("None".into()),
        Value::Bool(value) => Ok(truth(*value).into()),
        Value::Int(value) => Ok(value.to_string()),
        Value::BigInt(digits) => Ok(digits.to_string()),
        Value::Float(value) => Ok(float(*value)),
        Value::Text(text) => Ok(text.to_string()),
        _ => Err(format!("cell {at} is neither a text nor a number")),
    }
}

/// The shortest text that reads back as the number, in Python's form: `1e+16`, `0.0001`, `1e-05`.
pub(crate) fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf".into() } else { "-inf".into() };
    }
    // Rust's exponent form has the shortest digits: `1.25e-7`.
    let digits = format!("{value:e}");
    let Some((mantissa, exponent)) = digits.split_once('e') else { return digits };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..16).contains(&exponent) {
        let plain = format!("{value}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::float;

    /// Each as `repr` of CPython 3.11 gave it.
    #[test]
    fn floats_have_pythons_text() {
        let table = [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (4.5, "4.5"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e300, "1e+300"),
            (0.1 + 0.2, "0.30000000000000004"),
            (f64::NAN, "nan"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (value, expected) in table {
            assert_eq!(float(value), expected);
        }
    }
}
