//! Stage 1 of columns: pandas' `astype` from the inferred dtype to the one of the schema.
//!
//! Numbers wrap and truncate (2^31 for int32 is -2^31, 1.9 is 1), missing integers are refused, any text but the empty
//! one is true. Cells of dtype object are converted one by one, by the rules of Python.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::error::Fault;
use super::scalar::is_unsigned;
use super::series::{self, bools, bounds, bytes, integers, is_float};
use super::{moment, numpy};
use crate::data::{Cells, DType, Value};
use crate::schema::Scalar;

/// Casts a column of JSON to a scalar type of a schema.
pub(crate) fn cast_column(cells: Cells, kind: Scalar) -> Result<Cells, Fault> {
    match kind {
        // Texts stay; other values stay what they are.
        Scalar::String if matches!(cells, Cells::Array(DType::Str, _)) => Ok(cells),
        Scalar::String => Ok(Cells::Objects(cells.values())),
        Scalar::Binary => decoded(&cells),
        Scalar::Datetime => moment::to_datetime(cells),
        _ => astype(cells, kind.dtype()),
    }
}

/// `Series.astype(dtype)`
pub(crate) fn astype(cells: Cells, dtype: DType) -> Result<Cells, Fault> {
    let (from, array) = match cells {
        Cells::Objects(values) => return numpy::cast(values, dtype),
        Cells::Array(from, _) if from == dtype => return Ok(cells),
        Cells::Array(from, array) => (from, array),
    };
    match (from, dtype) {
        (DType::Str, DType::Bool) => {
            let texts = array.as_string::<i64>();
            // NaN is true.
            Ok(bools(texts.iter().map(|text| text != Some("")).collect()))
        }
        (DType::Str | DType::Bytes | DType::Datetime, _) | (_, DType::Str | DType::Bytes) => {
            numpy::cast(Cells::Array(from, array).values(), dtype)
        }
        (_, DType::Bool) => match series::floats(from, &array) {
            Some(values) => Ok(bools(values.into_iter().map(|value| value != 0.0).collect())),
            None => numpy::cast(Cells::Array(from, array).values(), dtype),
        },
        (_, to) if is_float(to) => match series::floats(from, &array) {
            Some(values) => Ok(series::of_floats(to, values)),
            None => numpy::cast(Cells::Array(from, array).values(), dtype),
        },
        (from, to) if is_float(from) => {
            let values = series::floats(from, &array).unwrap_or_default();
            truncated(values, to)
        }
        (_, to) => match integers(from, &array) {
            Some(values) => Ok(series::of_integers(to, values)),
            None => numpy::cast(Cells::Array(from, array).values(), dtype),
        },
    }
}

/// Floats without their fractions. What is out of bounds becomes the minimum, as the processor has it.
fn truncated(values: Vec<f64>, to: DType) -> Result<Cells, Fault> {
    if let Some(row) = values.iter().position(|value| !value.is_finite()) {
        let reason = "missing values, NaN and infinity are no integers";
        return Err(Fault::at(row, &Value::Float(values[row]), reason));
    }
    if let Some(row) = values.iter().position(|value| is_unsigned(to) && *value < 0.0) {
        return Err(Fault::at(row, &Value::Float(values[row]), "a negative number"));
    }
    Ok(cut(values, to))
}

/// `numpy.ndarray.astype(dtype)` of an array: as [`astype`], and floats become integers without a look at them.
pub(crate) fn numpy_astype(cells: Cells, dtype: DType) -> Result<Cells, Fault> {
    match &cells {
        Cells::Array(from, array) if is_float(*from) && bounds(dtype).is_some() => {
            Ok(cut(series::floats(*from, array).unwrap_or_default(), dtype))
        }
        _ => astype(cells, dtype),
    }
}

/// Floats as integers by the instructions of x86-64 that numpy uses one by one: into 64 bits or, for small types, 32, the
/// lowest number for what has no place there, and then the lower bits.
fn cut(values: Vec<f64>, to: DType) -> Cells {
    const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
    const TWO_TO_31: f64 = 2_147_483_648.0;
    let in_64 = |value: f64| if (-TWO_TO_63..TWO_TO_63).contains(&value) { value as i64 } else { i64::MIN };
    let in_32 = |value: f64| {
        if value > -TWO_TO_31 - 1.0 && value < TWO_TO_31 { i64::from(value as i32) } else { i64::from(i32::MIN) }
    };
    let int = |value: f64| match to {
        DType::UInt64 if value >= TWO_TO_63 => in_64(value - TWO_TO_63) ^ i64::MIN,
        DType::UInt64 | DType::Int64 | DType::UInt32 => in_64(value),
        _ => in_32(value),
    };
    series::of_integers(to, values.into_iter().map(int).collect())
}

/// Letters outside the alphabet are dropped, and nothing after the padding is read, as Python's `base64.decodebytes`.
fn decoded(cells: &Cells) -> Result<Cells, Fault> {
    let mut out = Vec::with_capacity(cells.len());
    for (row, value) in cells.values().iter().enumerate() {
        let Value::Text(text) = value else {
            return Err(Fault::at(row, value, "binary values are base64 texts"));
        };
        let decoded = decode(text).ok_or_else(|| Fault::at(row, value, "the padding of the base64 text is wrong"))?;
        out.push(Value::Bytes(decoded.into()));
    }
    // pandas has no dtype for bytes.
    Ok(Cells::Objects(out))
}

/// Python's `binascii.a2b_base64`.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut letters = String::with_capacity(text.len());
    let mut pads = 0;
    for letter in text.chars() {
        match letter {
            '=' => {
                pads += 1;
                // A quantum is complete.
                if letters.len() % 4 >= 2 && letters.len() % 4 + pads >= 4 {
                    break;
                }
            }
            'A'..='Z' | 'a'..='z' | '0'..='9' | '+' | '/' => {
                pads = 0;
                letters.push(letter);
            }
            _ => {}
        }
    }
    let rest = letters.len() % 4;
    if rest == 1 || rest > 1 && rest + pads < 4 {
        return None;
    }
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(&STANDARD, config).decode(letters).ok()
}

/// Whether every cell is zero, one or missing.
pub(crate) fn are_zeros_and_ones(array: &dyn Array) -> bool {
    let array = array.as_primitive::<arrow_array::types::Int64Type>();
    array.iter().all(|value| matches!(value, None | Some(0 | 1)))
}

/// Cells of bytes for a tensor: texts in UTF-8.
pub(crate) fn utf8_bytes(cells: &Cells) -> Result<Cells, Fault> {
    let mut out = Vec::with_capacity(cells.len());
    for (row, value) in cells.values().iter().enumerate() {
        let Value::Text(text) = value else { return Err(Fault::at(row, value, "bytes are made of texts")) };
        out.push(Some(text.as_bytes().to_vec()));
    }
    Ok(bytes(out.into_iter()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_cut_as_by_numpy() {
        let values = vec![3e9, -1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e10, 300.7, 1.8e19, -5e9];
        let cells = Cells::Array(DType::Float64, std::sync::Arc::new(arrow_array::Float64Array::from(values)));
        let table: [(DType, [&str; 9]); 4] = [
            (DType::UInt8, ["0", "255", "0", "0", "0", "0", "44", "0", "0"]),
            (
                DType::Int32,
                [
                    "-2147483648",
                    "-1",
                    "-2147483648",
                    "-2147483648",
                    "-2147483648",
                    "-2147483648",
                    "300",
                    "-2147483648",
                    "-2147483648",
                ],
            ),
            (DType::UInt32, ["3000000000", "4294967295", "0", "0", "0", "1410065408", "300", "0", "3589934592"]),
            (
                DType::UInt64,
                [
                    "3000000000",
                    "18446744073709551615",
                    "9223372036854775808",
                    "0",
                    "9223372036854775808",
                    "10000000000",
                    "300",
                    "18000000000000000000",
                    "18446744068709551616",
                ],
            ),
        ];
        for (to, expected) in table {
            let made = numpy_astype(cells.clone(), to).unwrap();
            let found: Vec<String> = made.values().iter().map(crate::text::python_str).collect();
            assert_eq!(found, expected, "{}", to.name());
        }
    }

    #[test]
    fn base64_as_python_reads_it() {
        for (text, bytes) in [
            ("AQID", Some("010203")),
            ("!!", Some("")),
            ("AQI", None),
            ("AQI=", Some("0102")),
            ("AQ==ID", Some("01")),
            ("2024-01-02", Some("db4db8d35d36")),
            ("ä", Some("")),
            ("-_8=", None),
            ("A", None),
            ("=", Some("")),
            ("AQ=I", None),
        ] {
            let hex = decode(text).map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
            assert_eq!(hex.as_deref(), bytes, "{text}");
        }
    }
}
