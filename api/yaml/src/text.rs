//! Values as Python writes them: `str()` for a whole value, `repr()` for what stands in lists and maps.

use std::fmt::{self, Display, Write};

use crate::value::{Integer, Moment, Node, Value, Zone};

/// Python's `str()`.
impl Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => out.write_str(text),
            Self::Date(date) => write!(out, "{date}"),
            Self::DateTime(moment) => str_of_moment(out, moment),
            other => repr(out, other),
        }
    }
}

fn repr(out: &mut fmt::Formatter<'_>, value: &Value) -> fmt::Result {
    match value {
        Value::Null => out.write_str("None"),
        Value::Bool(true) => out.write_str("True"),
        Value::Bool(false) => out.write_str("False"),
        Value::Int(Integer(digits)) => out.write_str(digits),
        Value::Float(number) => out.write_str(&float(*number)),
        Value::Text(text) => repr_of_text(out, text),
        Value::Bytes(bytes) => repr_of_bytes(out, bytes),
        Value::Date(date) => write!(out, "datetime.date({}, {}, {})", date.year(), date.month(), date.day()),
        Value::DateTime(moment) => repr_of_moment(out, moment),
        Value::List(items) => {
            out.write_char('[')?;
            for (index, item) in items.iter().enumerate() {
                out.write_str(if index == 0 { "" } else { ", " })?;
                repr(out, &item.value)?;
            }
            out.write_char(']')
        }
        Value::Map(entries) => {
            out.write_char('{')?;
            for (index, (key, Node { value, .. })) in entries.iter().enumerate() {
                out.write_str(if index == 0 { "" } else { ", " })?;
                repr(out, &key.value)?;
                out.write_str(": ")?;
                repr(out, value)?;
            }
            out.write_char('}')
        }
    }
}

/// Python's `repr` of a float: the shortest digits that give it back, with an exponent below 1e-4 and from 1e16 on.
fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{number}");
        return if plain.contains('.') { plain } else { format!("{plain}.0") };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

fn repr_of_text(out: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.write_char(quote)?;
    for letter in text.chars() {
        match letter {
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            '\\' => out.write_str("\\\\")?,
            _ if letter == quote => write!(out, "\\{letter}")?,
            _ if is_printable(letter) => out.write_char(letter)?,
            _ => match u32::from(letter) {
                code @ ..=0xff => write!(out, "\\x{code:02x}")?,
                code @ ..=0xffff => write!(out, "\\u{code:04x}")?,
                code => write!(out, "\\U{code:08x}")?,
            },
        }
    }
    out.write_char(quote)
}

/// Python's `str.isprintable`: no controls, no separators but the space, no private or unassigned letters. The unassigned
/// ones are taken for printable here.
fn is_printable(letter: char) -> bool {
    let is_format = matches!(letter, '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}');
    letter == ' ' || !(letter.is_control() || letter.is_whitespace() || is_format)
}

fn repr_of_bytes(out: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { '"' } else { '\'' };
    write!(out, "b{quote}")?;
    for &byte in bytes {
        match byte {
            b'\n' => out.write_str("\\n")?,
            b'\r' => out.write_str("\\r")?,
            b'\t' => out.write_str("\\t")?,
            b'\\' => out.write_str("\\\\")?,
            _ if char::from(byte) == quote => write!(out, "\\{quote}")?,
            b' '..=b'~' => out.write_char(char::from(byte))?,
            _ => write!(out, "\\x{byte:02x}")?,
        }
    }
    out.write_char(quote)
}

fn micros(moment: &Moment) -> i32 {
    moment.at.subsec_nanosecond() / 1000
}

fn str_of_moment(out: &mut fmt::Formatter<'_>, moment: &Moment) -> fmt::Result {
    let at = moment.at;
    write!(out, "{} {:02}:{:02}:{:02}", at.date(), at.hour(), at.minute(), at.second())?;
    if micros(moment) != 0 {
        write!(out, ".{:06}", micros(moment))?;
    }
    match moment.zone {
        Zone::None => Ok(()),
        Zone::Utc => out.write_str("+00:00"),
        Zone::Offset(minutes) => {
            let sign = if minutes < 0 { '-' } else { '+' };
            write!(out, "{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
        }
    }
}

fn repr_of_moment(out: &mut fmt::Formatter<'_>, moment: &Moment) -> fmt::Result {
    let at = moment.at;
    write!(out, "datetime.datetime({}, {}, {}, {}, {}", at.year(), at.month(), at.day(), at.hour(), at.minute())?;
    if at.second() != 0 || micros(moment) != 0 {
        write!(out, ", {}", at.second())?;
    }
    if micros(moment) != 0 {
        write!(out, ", {}", micros(moment))?;
    }
    match moment.zone {
        Zone::None => {}
        Zone::Utc => out.write_str(", tzinfo=datetime.timezone.utc")?,
        // Python keeps a negative distance as days and the seconds after them.
        Zone::Offset(minutes @ ..0) => {
            let seconds = 24 * 3600 + minutes * 60;
            write!(out, ", tzinfo=datetime.timezone(datetime.timedelta(days=-1, seconds={seconds}))")?;
        }
        Zone::Offset(minutes) => {
            write!(out, ", tzinfo=datetime.timezone(datetime.timedelta(seconds={}))", minutes * 60)?;
        }
    }
    out.write_char(')')
}
