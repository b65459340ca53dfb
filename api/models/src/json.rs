//! JSON as Python's `json` module reads and writes it, into [`Value`].
//!
//! Differences from the standard, all of them Python's: `NaN`, `Infinity` and `-Infinity` are numbers; integers are
//! exact at any length; UTF-16 and UTF-32 are detected, a byte order mark is skipped; of a repeated key the last value
//! counts, at the place of the first.
//!
//! Bounds, since bodies come from anybody: lists and maps nest at most [`DEPTH_MAX`] deep, integers have at most
//! [`DIGITS_MAX`] digits. Half of a surrogate pair is no text in Rust: it becomes U+FFFD.
//!
//! ```text
//! bytes -> (decode) text -> Parser -> Value -> write -> text
//! ```

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use crate::data::Value;
pub use crate::text::write_float;

/// Most lists and maps inside one another. Python gives up at about a thousand.
pub const DEPTH_MAX: usize = 900;
/// Most digits of an integer: Python refuses to convert more.
pub const DIGITS_MAX: usize = 4300;
/// Objects with more entries than this find repeated keys by a hash map, smaller ones by comparing all.
const KEYS_FEW: usize = 16;

/// A text that is no JSON, or exceeds a bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct JsonError {
    /// Line, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
    /// What is wrong.
    pub reason: String,
}

/// Reads one JSON document from bytes, in the encoding that they have.
///
/// ```
/// use runlode_models::{Value, json};
///
/// let read = json::from_slice(br#"{"a": 18446744073709551616, "b": NaN, "a": [1, 2.5]}"#)?;
/// let Value::Dict(entries) = read else { unreachable!() };
/// assert_eq!(entries[0], ("a".into(), Value::List(vec![Value::Int(1), Value::Float(2.5)])));
/// # Ok::<(), json::JsonError>(())
/// ```
///
/// # Errors
/// [`JsonError`] says where the text stops being JSON.
pub fn from_slice(bytes: &[u8]) -> Result<Value, JsonError> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !bytes.iter().take(4).any(|byte| *byte == 0) => {
            from_str(text.strip_prefix('\u{feff}').unwrap_or(text))
        }
        _ => from_str(&decoded(bytes)?),
    }
}

/// Reads one JSON document.
///
/// # Errors
/// [`JsonError`] says where the text stops being JSON.
pub fn from_str(text: &str) -> Result<Value, JsonError> {
    let mut parser = Parser { bytes: text.as_bytes(), text, at: 0, keys: Vec::new() };
    parser.space();
    let value = parser.value(0)?;
    parser.space();
    if parser.at < parser.bytes.len() {
        return Err(parser.wrong("there is more after the value"));
    }
    Ok(value)
}

/// The text of bytes that are not plain UTF-8, by the rule of Python's `json.detect_encoding`.
fn decoded(bytes: &[u8]) -> Result<Cow<'_, str>, JsonError> {
    let wrong = |reason: &str| JsonError { line: 1, column: 1, reason: reason.to_owned() };
    let at = |index: usize| bytes.get(index).copied();
    let (bytes, unit_bytes, is_big) = match bytes {
        [0, 0, 0xfe, 0xff, rest @ ..] => (rest, 4, true),
        [0xff, 0xfe, 0, 0, rest @ ..] => (rest, 4, false),
        [0xfe, 0xff, rest @ ..] => (rest, 2, true),
        [0xff, 0xfe, rest @ ..] => (rest, 2, false),
        [0xef, 0xbb, 0xbf, rest @ ..] => (rest, 1, false),
        _ if bytes.len() >= 4 => match (at(0), at(1), at(2), at(3)) {
            (Some(0), Some(0), ..) => (bytes, 4, true),
            (Some(0), ..) => (bytes, 2, true),
            (_, Some(0), Some(0), Some(0)) => (bytes, 4, false),
            (_, Some(0), ..) => (bytes, 2, false),
            _ => (bytes, 1, false),
        },
        [0, _] => (bytes, 2, true),
        [_, 0] => (bytes, 2, false),
        _ => (bytes, 1, false),
    };
    let Some(units) = bytes.len().checked_rem(unit_bytes).filter(|rest| *rest == 0).map(|_| bytes) else {
        return Err(wrong("the text ends within a character"));
    };
    let number = |unit: &[u8]| {
        let fold = |number: u32, byte: &u8| number << 8 | u32::from(*byte);
        if is_big { unit.iter().fold(0, fold) } else { unit.iter().rev().fold(0, fold) }
    };
    match unit_bytes {
        4 => {
            let letter = |unit: &[u8]| match number(unit) {
                0xd800..=0xdfff => Ok(char::REPLACEMENT_CHARACTER),
                code => char::from_u32(code).ok_or_else(|| wrong("this is no UTF-32")),
            };
            Ok(Cow::Owned(units.chunks(4).map(letter).collect::<Result<String, _>>()?))
        }
        2 => {
            let units = units.chunks(2).map(|unit| u16::try_from(number(unit)).unwrap_or_default());
            let letters = char::decode_utf16(units).map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER));
            Ok(Cow::Owned(letters.collect()))
        }
        _ => utf8_with_surrogates(bytes).map(Cow::Owned).ok_or_else(|| wrong("this is no UTF-8")),
    }
}

/// UTF-8 in which surrogates may stand, as Python's `surrogatepass` lets in.
fn utf8_with_surrogates(bytes: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        match std::str::from_utf8(rest) {
            Ok(good) => {
                text.push_str(good);
                return Some(text);
            }
            Err(error) => {
                let (good, bad) = rest.split_at(error.valid_up_to());
                text.push_str(std::str::from_utf8(good).ok()?);
                let [0xed, 0xa0..=0xbf, 0x80..=0xbf, after @ ..] = bad else { return None };
                text.push(char::REPLACEMENT_CHARACTER);
                rest = after;
            }
        }
    }
}

struct Parser<'text> {
    bytes: &'text [u8],
    text: &'text str,
    at: usize,
    /// By depth: the keys of the last map there. Records have the same keys in the same order, so a key costs one
    /// comparison and no allocation.
    keys: Vec<Vec<Arc<str>>>,
}

impl<'text> Parser<'text> {
    fn wrong(&self, reason: impl Into<String>) -> JsonError {
        let before = self.text.get(..self.at).unwrap_or(self.text);
        let line = before.rfind('\n').map_or(before, |end| &before[end + 1..]);
        JsonError { line: before.matches('\n').count() + 1, column: line.chars().count() + 1, reason: reason.into() }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn take(&mut self, word: &str) -> bool {
        let is = self.bytes[self.at..].starts_with(word.as_bytes());
        self.at += if is { word.len() } else { 0 };
        is
    }

    fn value(&mut self, depth: usize) -> Result<Value, JsonError> {
        match self.peek() {
            Some(b'"') => self.string().map(|text| Value::Text(text.into())),
            Some(b'{' | b'[') if depth >= DEPTH_MAX => {
                Err(self.wrong(format!("more than {DEPTH_MAX} lists and maps inside one another")))
            }
            Some(b'{') => self.map(depth),
            Some(b'[') => self.list(depth),
            Some(b'0'..=b'9' | b'-') => self.number(),
            Some(b't') if self.take("true") => Ok(Value::Bool(true)),
            Some(b'f') if self.take("false") => Ok(Value::Bool(false)),
            Some(b'n') if self.take("null") => Ok(Value::None),
            Some(b'N') if self.take("NaN") => Ok(Value::Float(f64::NAN)),
            Some(b'I') if self.take("Infinity") => Ok(Value::Float(f64::INFINITY)),
            _ => Err(self.wrong("a value is missing here")),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, JsonError> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::List(items));
                }
                _ => return Err(self.wrong("',' or ']' is missing here")),
            }
            self.space();
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, JsonError> {
        self.at += 1;
        let mut entries: Vec<(Arc<str>, Value)> = Vec::new();
        if self.keys.len() <= depth {
            self.keys.resize_with(depth + 1, Vec::new);
        }
        let mut are_known = true;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Dict(entries));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.wrong("a key in quotes is missing here"));
            }
            let key = self.string()?;
            let key = match self.keys[depth].get(entries.len()) {
                Some(known) if **known == *key => Arc::clone(known),
                _ => {
                    are_known = false;
                    Arc::from(key)
                }
            };
            self.space();
            if self.peek() != Some(b':') {
                return Err(self.wrong("':' is missing here"));
            }
            self.at += 1;
            self.space();
            entries.push((key, self.value(depth + 1)?));
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    break;
                }
                _ => return Err(self.wrong("',' or '}' is missing here")),
            }
            self.space();
        }
        // The keys before were distinct, so a map that only repeats them has no key twice.
        if !are_known {
            without_repeats(&mut entries);
            self.keys[depth] = entries.iter().map(|(key, _)| Arc::clone(key)).collect();
        }
        Ok(Value::Dict(entries))
    }

    fn number(&mut self) -> Result<Value, JsonError> {
        let begin = self.at;
        let is_negative = self.take("-");
        if is_negative && self.take("Infinity") {
            return Ok(Value::Float(f64::NEG_INFINITY));
        }
        let first = self.at;
        self.digits();
        match self.bytes[first..self.at] {
            [] => return Err(self.wrong("a value is missing here")),
            // Python ends the number after a leading zero.
            [b'0', _, ..] => self.at = first + 1,
            _ => {}
        }
        let whole_end = self.at;
        if self.peek() == Some(b'.') && self.bytes.get(self.at + 1).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
            self.digits();
        }
        if let Some(b'e' | b'E') = self.peek() {
            let signs = usize::from(matches!(self.bytes.get(self.at + 1), Some(b'+' | b'-')));
            if self.bytes.get(self.at + 1 + signs).is_some_and(u8::is_ascii_digit) {
                self.at += 1 + signs;
                self.digits();
            }
        }
        let text = &self.text[begin..self.at];
        if self.at > whole_end {
            return text.parse().map(Value::Float).map_err(|_| self.wrong("this is no number"));
        }
        if let Ok(number) = text.parse() {
            return Ok(Value::Int(number));
        }
        if text.len() - usize::from(is_negative) > DIGITS_MAX {
            return Err(self.wrong(format!("an integer of more than {DIGITS_MAX} digits")));
        }
        Ok(Value::BigInt(text.into()))
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    /// The text in quotes that begins here.
    fn string(&mut self) -> Result<Cow<'text, str>, JsonError> {
        let all = self.text;
        self.at += 1;
        let begin = self.at;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let end = self.at;
                    self.at += 1;
                    return Ok(Cow::Borrowed(&all[begin..end]));
                }
                Some(b'\\') => break,
                Some(0x20..) => self.at += 1,
                Some(_) => return Err(self.wrong("a control character in a text; write it as an escape")),
                None => return Err(self.wrong("the text in quotes has no end")),
            }
        }
        let mut text = self.text[begin..self.at].to_owned();
        loop {
            let plain = self.at;
            while self.peek().is_some_and(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
                self.at += 1;
            }
            text.push_str(&self.text[plain..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(text));
                }
                Some(b'\\') => text.push(self.escape()?),
                Some(_) => return Err(self.wrong("a control character in a text; write it as an escape")),
                None => return Err(self.wrong("the text in quotes has no end")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let letter = match self.bytes.get(self.at + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let high = self.unit(self.at + 2).ok_or_else(|| self.wrong("\\u takes four hexadecimal digits"))?;
                self.at += 6;
                if (0xd800..0xdc00).contains(&high)
                    && self.bytes[self.at..].starts_with(b"\\u")
                    && let Some(low @ 0xdc00..=0xdfff) = self.unit(self.at + 2)
                {
                    self.at += 6;
                    let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                    return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                return Ok(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            _ => return Err(self.wrong("JSON has no such escape")),
        };
        self.at += 2;
        Ok(letter)
    }

    /// The number of four hexadecimal digits.
    fn unit(&self, at: usize) -> Option<u32> {
        let digits = self.bytes.get(at..at + 4)?;
        digits.iter().try_fold(0, |number, digit| Some(number << 4 | char::from(*digit).to_digit(16)?))
    }
}

/// Leaves of each key one entry: at the place of the first, with the value of the last.
fn without_repeats(entries: &mut Vec<(Arc<str>, Value)>) {
    let is_repeated = if entries.len() <= KEYS_FEW {
        entries.iter().enumerate().any(|(index, (key, _))| entries[..index].iter().any(|(other, _)| other == key))
    } else {
        let mut keys = std::collections::HashSet::with_capacity(entries.len());
        !entries.iter().all(|(key, _)| keys.insert(&**key))
    };
    if !is_repeated {
        return;
    }
    let mut places: HashMap<Arc<str>, usize> = HashMap::with_capacity(entries.len());
    let mut kept: Vec<(Arc<str>, Value)> = Vec::with_capacity(entries.len());
    for (key, value) in entries.drain(..) {
        match places.get(&key) {
            Some(place) => kept[*place].1 = value,
            None => {
                places.insert(Arc::clone(&key), kept.len());
                kept.push((key, value));
            }
        }
    }
    *entries = kept;
}

/// Writes a value as `json.dumps` does: `", "` and `": "` between, letters beyond ASCII as escapes, `NaN` bare. Bytes are
/// written as MLflow does: base64 with a newline after each 76 characters and at the end; dates in ISO; arrays as lists.
///
/// ```
/// use runlode_models::{Value, json};
///
/// let value = Value::Dict(vec![("é".into(), Value::List(vec![Value::Float(1e16), Value::Float(f64::NAN)]))]);
/// assert_eq!(json::to_string(&value), "{\"\\u00e9\": [1e+16, NaN]}");
/// ```
#[must_use]
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value);
    out
}

/// Appends what [`to_string`] returns.
pub fn write(out: &mut String, value: &Value) {
    match value {
        Value::None => out.push_str("null"),
        Value::Bool(is) => out.push_str(if *is { "true" } else { "false" }),
        Value::Int(number) => {
            let _ = write!(out, "{number}");
        }
        Value::BigInt(digits) => out.push_str(digits),
        Value::Float(number) => write_float(out, *number),
        Value::Text(text) => write_text(out, text),
        Value::Bytes(bytes) => write_text(out, &crate::text::base64_lines(bytes)),
        Value::Datetime(_) | Value::Date(_) => write_text(out, &crate::text::python_str(value)),
        Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                write(out, item);
            }
            out.push(']');
        }
        Value::Dict(entries) => {
            out.push('{');
            for (index, (key, value)) in entries.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                write_text(out, key);
                out.push_str(": ");
                write(out, value);
            }
            out.push('}');
        }
        Value::Tensor(tensor) => write(out, &tensor.to_value()),
        Value::Numpy(_, value) => write(out, value),
    }
}

/// Appends a text in quotes, with ASCII letters only.
pub fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(letter),
            _ => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        from_str(text).map_or_else(|error| error.to_string(), |value| to_string(&value))
    }

    #[test]
    fn python_reads_and_writes_the_same() {
        for (text, written) in [
            (" [1 , 2.5,-0, -0.0]\n", "[1, 2.5, 0, -0.0]"),
            ("[NaN, Infinity, -Infinity, 1e400]", "[NaN, Infinity, -Infinity, Infinity]"),
            (
                "[1e16, 1e15, 1e-4, 1e-5, 123456789012345680.0]",
                "[1e+16, 1000000000000000.0, 0.0001, 1e-05, 1.2345678901234568e+17]",
            ),
            ("18446744073709551616", "18446744073709551616"),
            ("-9223372036854775808", "-9223372036854775808"),
            (r#""\u00e9\ud83d\ude00\/\b""#, r#""\u00e9\ud83d\ude00/\b""#),
            ("\"\u{e9}\"", r#""\u00e9""#),
            (r#""\ud800x""#, r#""\ufffdx""#),
            (r#""\ud800\ud800""#, r#""\ufffd\ufffd""#),
            (r#"{"a": 1, "b": 2, "a": 3}"#, r#"{"a": 3, "b": 2}"#),
            (
                r#"[{"a": 1, "b": 2}, {"a": 1, "a": 2}, {"a": 1, "b": 3}]"#,
                r#"[{"a": 1, "b": 2}, {"a": 2}, {"a": 1, "b": 3}]"#,
            ),
            ("{}", "{}"),
            ("[]", "[]"),
            ("null", "null"),
        ] {
            assert_eq!(read(text), written, "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        for (text, place) in [
            ("", "line 1, column 1"),
            ("{", "line 1, column 2"),
            ("[1,]", "line 1, column 4"),
            ("[01]", "line 1, column 3"),
            ("[1.]", "line 1, column 3"),
            ("[.5]", "line 1, column 2"),
            ("-", "line 1, column 2"),
            ("[1] 2", "line 1, column 5"),
            ("{\"a\"\n: x}", "line 2, column 3"),
            ("\"a\nb\"", "line 1, column 3"),
            ("\"\\x\"", "line 1, column 2"),
            ("\"\\u12g4\"", "line 1, column 2"),
            ("'a'", "line 1, column 1"),
            ("nul", "line 1, column 1"),
            ("{1: 2}", "line 1, column 2"),
        ] {
            let error = from_str(text).unwrap_err();
            assert!(error.to_string().starts_with(place), "{text}: {error}");
        }
        assert!(from_str(&"[".repeat(100_000)).unwrap_err().reason.contains("inside one another"));
        assert!(from_str(&"9".repeat(5000)).unwrap_err().reason.contains("digits"));
        let deep = DEPTH_MAX;
        assert!(from_str(&format!("{}{}", "[".repeat(deep), "]".repeat(deep))).is_ok());
    }

    #[test]
    fn encodings_are_detected() {
        let text = "{\"é\": 1}";
        let utf16 = |big: bool| -> Vec<u8> {
            text.encode_utf16().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
        };
        let utf32: Vec<u8> = text.chars().flat_map(|letter| u32::from(letter).to_le_bytes()).collect();
        let bom = |bom: &[u8], rest: &[u8]| [bom, rest].concat();
        let forms = [
            text.as_bytes().to_vec(),
            bom(b"\xef\xbb\xbf", text.as_bytes()),
            utf16(false),
            utf16(true),
            bom(b"\xff\xfe", &utf16(false)),
            bom(b"\xfe\xff", &utf16(true)),
            utf32.clone(),
            bom(b"\xff\xfe\0\0", &utf32),
        ];
        for form in forms {
            assert_eq!(to_string(&from_slice(&form).unwrap()), r#"{"\u00e9": 1}"#, "{form:?}");
        }
        assert_eq!(from_slice(b"\"\xed\xa0\x80\"").unwrap(), Value::Text("\u{fffd}".into()));
        for bad in [&b"\xff\xfe"[..], b"\xff\xfea", b"\"\xc3\"", b""] {
            assert!(from_slice(bad).is_err(), "{bad:?}");
        }
    }
}
