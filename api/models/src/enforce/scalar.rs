//! One value of Python as another type, by the rules of `int()`, `float()`, `bool()` and `str()`: what numpy does with
//! the elements of a list, and pandas with cells of dtype object.

use super::error::Why;
use super::iso;
use crate::data::{DType, Value};
use crate::text::python_str;

/// `int()` within bounds, as 64 bits that wrap for `uint64`.
pub(crate) fn to_int(value: &Value, bounds: (i128, i128)) -> Result<i64, Why> {
    let number = match value {
        Value::Bool(is) => i128::from(*is),
        Value::Int(number) => i128::from(*number),
        Value::BigInt(digits) => digits.parse().map_err(|_| "out of the type's bounds")?,
        Value::Float(number) if number.is_nan() => return Err("NaN is no integer"),
        Value::Float(number) if number.is_infinite() => return Err("infinity is no integer"),
        // Saturates far beyond all bounds.
        Value::Float(number) => *number as i128,
        Value::Text(text) => int_of_text(text).ok_or("the text is no integer")?,
        Value::None => return Err("missing, and integers cannot be"),
        Value::Tensor(tensor) if tensor.shape.is_empty() => return to_int(&tensor.elements.value(0), bounds),
        Value::Numpy(_, value) => return to_int(value, bounds),
        _ => return Err("no scalar"),
    };
    if number < bounds.0 || number > bounds.1 {
        return Err("out of the type's bounds");
    }
    Ok(number as i64)
}

/// Python's `int(text)`: spaces around, a sign, digits of any script, single `_` between digits.
fn int_of_text(text: &str) -> Option<i128> {
    plain_digits(text.trim())?.parse().ok()
}

/// The text with digits in ASCII and without `_`, if each stands between digits.
fn plain_digits(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut was_digit = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let digit = digit_of(letter);
        if letter == '_' {
            if !(was_digit && letters.peek().copied().and_then(digit_of).is_some()) {
                return None;
            }
            continue;
        }
        was_digit = digit.is_some();
        plain.push(digit.unwrap_or(letter));
    }
    Some(plain)
}

/// A decimal digit of any script as one of ASCII. The scripts listed are those whose digits stand in one row from zero.
fn digit_of(letter: char) -> Option<char> {
    const ZEROS: [u32; 16] = [
        0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xe50, 0xed0, 0xf20, 0xff10,
    ];
    if letter.is_ascii() {
        return letter.is_ascii_digit().then_some(letter);
    }
    let code = u32::from(letter);
    let zero = ZEROS.into_iter().find(|zero| (*zero..zero + 10).contains(&code))?;
    char::from_digit(code - zero, 10)
}

/// Python's `float(text)`: spaces around, `_` between digits, `inf`, `infinity` and `nan` in any case.
pub(crate) fn float_of_text(text: &str) -> Option<f64> {
    let plain = plain_digits(text.trim())?;
    let letters = plain.trim_start_matches(['+', '-']);
    if letters.len() + 1 < plain.len() {
        return None;
    }
    // Rust takes the same words and forms, but for `infinit` and the like, which it refuses too.
    plain.parse().ok()
}

/// What C counts as a space.
pub(crate) fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t'..='\r')
}

/// A float as pandas' reader makes it: the nearest one, by any number of digits. NaN is a missing field, and none here.
pub(crate) fn float_of_field(field: &str) -> Option<f64> {
    // Spaces may stand around digits only.
    let word = field.strip_prefix(['-', '+']).unwrap_or(field);
    let is_infinite = word.eq_ignore_ascii_case("inf") || word.eq_ignore_ascii_case("infinity");
    let field = field.trim_matches(is_space);
    let unsigned = field.strip_prefix(['-', '+']).unwrap_or(field);
    if !is_infinite && !unsigned.starts_with(|letter: char| letter == '.' || letter.is_ascii_digit()) {
        return None;
    }
    // Rust takes the same forms of numbers.
    field.parse().ok()
}

/// `float()`; a missing value is NaN.
pub(crate) fn to_float(value: &Value) -> Result<f64, Why> {
    match value {
        Value::Float(number) => Ok(*number),
        Value::Int(number) => Ok(*number as f64),
        Value::Bool(is) => Ok(f64::from(u8::from(*is))),
        Value::None | Value::Datetime(None) => Ok(f64::NAN),
        Value::Text(text) => float_of_text(text).ok_or("the text is no number"),
        Value::BigInt(digits) => match digits.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err("too large for a float"),
        },
        Value::Tensor(tensor) if tensor.shape.is_empty() => to_float(&tensor.elements.value(0)),
        Value::Numpy(_, value) => to_float(value),
        _ => Err("no scalar"),
    }
}

/// `bool()`: whether Python counts the value as true.
pub(crate) fn to_bool(value: &Value) -> bool {
    match value {
        Value::None => false,
        Value::Bool(is) => *is,
        Value::Int(number) => *number != 0,
        Value::Float(number) => *number != 0.0,
        Value::Text(text) => !text.is_empty(),
        Value::Bytes(bytes) => !bytes.is_empty(),
        Value::List(items) => !items.is_empty(),
        Value::Dict(entries) => !entries.is_empty(),
        Value::Tensor(tensor) if tensor.shape.is_empty() => to_bool(&tensor.elements.value(0)),
        Value::Tensor(tensor) => !tensor.elements.is_empty(),
        Value::Numpy(_, value) => to_bool(value),
        Value::BigInt(_) | Value::Datetime(_) | Value::Date(_) => true,
    }
}

/// `str()`.
pub(crate) fn to_text(value: &Value) -> String {
    match value {
        Value::Tensor(tensor) if tensor.shape.is_empty() => python_str(&tensor.elements.value(0)),
        other => python_str(other),
    }
}

/// `str()` in ASCII.
pub(crate) fn to_bytes(value: &Value) -> Result<Vec<u8>, Why> {
    match value {
        Value::Bytes(bytes) => return Ok(bytes.to_vec()),
        Value::Numpy(DType::Bytes, value) => return to_bytes(value),
        _ => {}
    }
    let text = to_text(value);
    if text.is_ascii() { Ok(text.into_bytes()) } else { Err("the text has letters beyond ASCII") }
}

/// Nanoseconds since 1970 by numpy: integers are that count, texts are ISO, a missing value is `NaT`.
pub(crate) fn to_datetime(value: &Value) -> Result<Option<i64>, Why> {
    match value {
        Value::None => Ok(None),
        Value::Datetime(nanos) => Ok(*nanos),
        Value::Date(days) => i64::from(*days).checked_mul(iso::DAY_NANOS).map(Some).ok_or("out of bounds"),
        Value::Int(i64::MIN) => Ok(None),
        Value::Int(nanos) => Ok(Some(*nanos)),
        Value::Bool(is) => Ok(Some(i64::from(*is))),
        Value::Text(text) => iso::of_iso(text),
        Value::BigInt(_) => Err("out of the type's bounds"),
        Value::Tensor(tensor) if tensor.shape.is_empty() => to_datetime(&tensor.elements.value(0)),
        Value::Numpy(_, value) => to_datetime(value),
        _ => Err("no date"),
    }
}

/// The kind of scalars of a dtype.
pub(crate) fn is_scalar(value: &Value) -> bool {
    match value {
        Value::List(_) | Value::Dict(_) | Value::None => false,
        Value::Tensor(tensor) => tensor.shape.is_empty(),
        _ => true,
    }
}

/// Whether the dtype is `uint8` to `uint64`.
pub(crate) fn is_unsigned(dtype: DType) -> bool {
    matches!(dtype, DType::UInt8 | DType::UInt16 | DType::UInt32 | DType::UInt64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_numbers_as_in_python() {
        let bounds = (i128::from(i64::MIN), i128::from(i64::MAX));
        for (text, number) in [("7", 7), (" 7 ", 7), ("1_0", 10), ("-7", -7), ("+7", 7), ("٣", 3), ("007", 7)] {
            assert_eq!(to_int(&Value::Text(text.into()), bounds), Ok(number), "{text}");
        }
        for text in ["", "1.5", "0x10", "_1", "1__0", "1_", "- 7", "nan", "9223372036854775808"] {
            assert!(to_int(&Value::Text(text.into()), bounds).is_err(), "{text}");
        }
        for (text, number) in
            [("1.5", 1.5), (" 1e3 ", 1000.0), ("-inf", f64::NEG_INFINITY), ("1_0.5", 10.5), (".5", 0.5), ("5.", 5.0)]
        {
            assert_eq!(float_of_text(text), Some(number), "{text}");
        }
        assert!(float_of_text("NaN").is_some_and(f64::is_nan));
        for text in ["-0.24836162209524854", "2.2457544318860108", "1.7976931348623157e308", " 5e-324 ", "1E5", "1e400"]
        {
            assert_eq!(float_of_field(text), text.trim().parse().ok(), "{text}");
        }
        for text in ["", ".", "1e", "+-1", "1_0", "0x10", "nan", "1 e5", " inf", "inf "] {
            assert_eq!(float_of_field(text), None, "{text}");
        }
        for text in ["", "x", "0x10", "1e", "1_.5", "--1", "+-1", "1 2"] {
            assert_eq!(float_of_text(text), None, "{text}");
        }
    }
}
