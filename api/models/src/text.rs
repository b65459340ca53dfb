//! Values as Python's texts: `str`, `repr`, base64 in lines, dates in ISO.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::civil;

use crate::data::{DType, Value};

/// Bytes of one line of Python's `base64.encodebytes`: 76 letters.
const LINE_BYTES: usize = 57;

/// Python's `base64.encodebytes`: a newline after each 76 letters and at the end.
pub(crate) fn base64_lines(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 4 / 3 + 8);
    for line in bytes.chunks(LINE_BYTES) {
        STANDARD.encode_string(line, &mut text);
        text.push('\n');
    }
    text
}

/// Python's `str()` of a value.
pub(crate) fn python_str(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        Value::Datetime(nanos) => iso_datetime(*nanos),
        Value::Date(days) => iso_date(*days),
        Value::Numpy(_, value) => python_str(value),
        other => python_repr(other),
    }
}

/// The class of a dtype's scalars.
fn scalar_name(dtype: DType) -> &'static str {
    match dtype {
        DType::Str => "str_",
        DType::Bytes => "bytes_",
        other => other.name(),
    }
}

/// Python's `repr()` of a value.
pub(crate) fn python_repr(value: &Value) -> String {
    match value {
        Value::None => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::BigInt(digits) => digits.to_string(),
        Value::Float(number) => float(*number),
        Value::Text(text) => scalar_repr(runlode_yaml::Value::Text(text.to_string())),
        Value::Bytes(bytes) => scalar_repr(runlode_yaml::Value::Bytes(bytes.to_vec())),
        Value::Datetime(nanos) => format!("Timestamp('{}')", iso_datetime(*nanos)),
        Value::Date(days) => match civil_date(*days) {
            Some(date) => format!("datetime.date({}, {}, {})", date.year(), date.month(), date.day()),
            None => "NaT".to_owned(),
        },
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(python_repr).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Dict(entries) => {
            let text = |key: &str| scalar_repr(runlode_yaml::Value::Text(key.to_owned()));
            let entries: Vec<String> =
                entries.iter().map(|(key, value)| format!("{}: {}", text(key), python_repr(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Tensor(tensor) => format!("array({})", python_repr(&tensor.to_value())),
        Value::Numpy(_, value) if matches!(**value, Value::Bool(_)) => format!("np.{}_", python_repr(value)),
        Value::Numpy(dtype, value) => format!("np.{}({})", scalar_name(*dtype), python_repr(value)),
    }
}

/// Appends a float in Python's shortest form, as `json.dumps` writes it.
pub fn write_float(out: &mut String, number: f64) {
    if number.is_nan() {
        return out.push_str("NaN");
    }
    if number.is_infinite() {
        return out.push_str(if number > 0.0 { "Infinity" } else { "-Infinity" });
    }
    let begin = out.len();
    let _ = write!(out, "{number:?}");
    // Rust changes to exponents at the same places as Python, but writes `1e16` and `1e-7`.
    let Some(exponent) = out[begin..].find('e').map(|at| begin + at + 1) else { return };
    let (sign, digits) = match out[exponent..].strip_prefix('-') {
        Some(digits) => ('-', digits.to_owned()),
        None => ('+', out[exponent..].to_owned()),
    };
    out.truncate(exponent);
    let _ = write!(out, "{sign}{digits:0>2}");
}

/// Python's `repr()` of a float.
pub(crate) fn float(number: f64) -> String {
    let mut text = String::new();
    write_float(&mut text, number);
    match text.as_str() {
        "NaN" => "nan".to_owned(),
        "Infinity" => "inf".to_owned(),
        "-Infinity" => "-inf".to_owned(),
        _ => text,
    }
}

/// The `repr` of a scalar, which the YAML crate knows for what stands in lists.
fn scalar_repr(value: runlode_yaml::Value) -> String {
    let list = runlode_yaml::Value::List(vec![runlode_yaml::Node { value, line: 0 }]).to_string();
    list.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(&list).to_owned()
}

/// The day, if the calendar has it.
pub(crate) fn civil_date(days: i32) -> Option<civil::Date> {
    civil::date(1970, 1, 1).checked_add(jiff::Span::new().try_days(i64::from(days)).ok()?).ok()
}

/// `2024-01-02`
pub(crate) fn iso_date(days: i32) -> String {
    civil_date(days).map_or_else(|| "NaT".to_owned(), |date| date.to_string())
}

/// `2024-01-02T03:04:05[.000006[789]]`, as `isoformat` of a pandas Timestamp; `NaT` for none.
pub(crate) fn iso_datetime(nanos: Option<i64>) -> String {
    let Some(nanos) = nanos else { return "NaT".to_owned() };
    let at = jiff::Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let at = at.to_zoned(jiff::tz::TimeZone::UTC).datetime();
    let mut text = format!("{}T{:02}:{:02}:{:02}", at.date(), at.hour(), at.minute(), at.second());
    let fraction = nanos.rem_euclid(1_000_000_000);
    if fraction % 1000 != 0 {
        let _ = write!(text, ".{fraction:09}");
    } else if fraction != 0 {
        let _ = write!(text, ".{:06}", fraction / 1000);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_texts() {
        let value = Value::Dict(vec![
            (
                "a".into(),
                Value::List(vec![Value::None, Value::Bool(true), Value::Float(1e-7), Value::Text("it's".into())]),
            ),
            ("b".into(), Value::Bytes(b"\0x".as_slice().into())),
        ]);
        assert_eq!(python_str(&value), r#"{'a': [None, True, 1e-07, "it's"], 'b': b'\x00x'}"#);
        assert_eq!(python_str(&Value::Text("x".into())), "x");
        assert_eq!(iso_datetime(Some(1_700_000_000_000)), "1970-01-01T00:28:20");
        assert_eq!(iso_datetime(Some(-1)), "1969-12-31T23:59:59.999999999");
        assert_eq!(iso_datetime(Some(1_000)), "1970-01-01T00:00:00.000001");
        assert_eq!(iso_date(19_849), "2024-05-06");
        let lines = base64_lines(&[0; 60]);
        assert_eq!((lines.len(), lines.find('\n')), (82, Some(76)));
    }
}
