//! What a plain scalar means: the patterns of YAML 1.1 as PyYAML has them, tried in PyYAML's order.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::Regex;

use crate::value::{Integer, Moment, Value, Zone};

/// Python refuses to print integers of more digits.
const DIGITS_MAX: usize = 4300;

/// The kind of a plain scalar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Float,
    Int,
    Merge,
    Null,
    Timestamp,
    /// `=`: a key in a map, refused elsewhere.
    Default,
    Text,
}

struct Patterns {
    float: Regex,
    int: Regex,
    is_timestamp: Regex,
    timestamp: Regex,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    let regex = |pattern: &str| Regex::new(pattern).expect("the pattern is a literal");
    Patterns {
        float: regex(concat!(
            r"^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?",
            r"|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?",
            r"|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*",
            r"|[-+]?\.(?:inf|Inf|INF)",
            r"|\.(?:nan|NaN|NAN))$",
        )),
        int: regex(concat!(
            r"^(?:[-+]?0b[01_]+",
            r"|[-+]?0[0-7_]+",
            r"|[-+]?(?:0|[1-9][0-9_]*)",
            r"|[-+]?0x[0-9a-fA-F_]+",
            r"|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+)$",
        )),
        is_timestamp: regex(concat!(
            r"^(?:[0-9]{4}-[0-9]{2}-[0-9]{2}",
            r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?",
            r"(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?)$",
        )),
        timestamp: regex(concat!(
            r"^([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})",
            r"(?:(?:[Tt]|[ \t]+)([0-9]{1,2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]*))?",
            r"(?:[ \t]*(Z|([-+])([0-9]{1,2})(?::([0-9]{2}))?))?)?$",
        )),
    }
});

/// The kind of a plain scalar without a tag.
pub(crate) fn kind_of(text: &str) -> Kind {
    match text {
        "yes" | "Yes" | "YES" | "no" | "No" | "NO" | "true" | "True" | "TRUE" | "false" | "False" | "FALSE" | "on"
        | "On" | "ON" | "off" | "Off" | "OFF" => return Kind::Bool,
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "<<" => return Kind::Merge,
        "=" => return Kind::Default,
        _ => {}
    }
    match &*PATTERNS {
        patterns if patterns.float.is_match(text) => Kind::Float,
        patterns if patterns.int.is_match(text) => Kind::Int,
        patterns if patterns.is_timestamp.is_match(text) => Kind::Timestamp,
        _ => Kind::Text,
    }
}

/// The value of a plain scalar, or why Python could not make one.
pub(crate) fn value_of(text: &str) -> Result<Value, String> {
    match kind_of(text) {
        Kind::Bool => bool_of(text),
        Kind::Float => float_of(text),
        Kind::Int => int_of(text),
        Kind::Null => Ok(Value::Null),
        Kind::Timestamp => timestamp_of(text),
        Kind::Merge => Err("'<<' stands for no value; quote it".to_owned()),
        Kind::Default => Err("'=' stands for no value; quote it".to_owned()),
        Kind::Text => Ok(Value::Text(text.to_owned())),
    }
}

/// The value of a scalar with a tag such as `!!int`.
pub(crate) fn tagged(suffix: &str, text: &str) -> Result<Value, String> {
    match suffix {
        "null" => Ok(Value::Null),
        "str" => Ok(Value::Text(text.to_owned())),
        "bool" => bool_of(text),
        "int" => int_of(text),
        "float" => float_of(text),
        "timestamp" => timestamp_of(text),
        "binary" => {
            let packed: String = text.chars().filter(|letter| !letter.is_ascii_whitespace()).collect();
            let bytes = STANDARD.decode(packed).map_err(|error| format!("no base64 data: {error}"))?;
            Ok(Value::Bytes(bytes))
        }
        _ => Err(format!("the tag !!{suffix} is not known; take it away")),
    }
}

fn bool_of(text: &str) -> Result<Value, String> {
    match text.to_lowercase().as_str() {
        "yes" | "true" | "on" => Ok(Value::Bool(true)),
        "no" | "false" | "off" => Ok(Value::Bool(false)),
        _ => Err(format!("{text:?} is no boolean")),
    }
}

/// The sign, and the digits without it and without `_`.
fn unsigned(text: &str) -> (bool, String) {
    let digits = text.replace('_', "");
    match digits.strip_prefix('-') {
        Some(rest) => (true, rest.to_owned()),
        None => (false, digits.strip_prefix('+').unwrap_or(&digits).to_owned()),
    }
}

fn int_of(text: &str) -> Result<Value, String> {
    let (is_negative, digits) = unsigned(text);
    let wrong = || format!("{text:?} is no integer");
    let mut number = Decimal::default();
    if let Some(binary) = digits.strip_prefix("0b") {
        number.push_all(binary, 2).ok_or_else(wrong)?;
    } else if let Some(hex) = digits.strip_prefix("0x") {
        number.push_all(hex, 16).ok_or_else(wrong)?;
    } else if digits != "0" && digits.starts_with('0') {
        // A tag takes Python's own sign of octal digits, too.
        let octal = digits.strip_prefix("0o").or_else(|| digits.strip_prefix("0O")).unwrap_or(&digits[1..]);
        number.push_all(octal, 8).ok_or_else(wrong)?;
    } else {
        for (index, part) in digits.split(':').enumerate() {
            let mut place = Decimal::default();
            place.push_all(part, 10).ok_or_else(wrong)?;
            if index == 0 {
                number = place;
            } else {
                number.push(60, place.small().ok_or_else(wrong)?);
            }
        }
    }
    let digits = number.text();
    if digits.len() > DIGITS_MAX {
        return Err(format!("an integer of more than {DIGITS_MAX} digits"));
    }
    let sign = if is_negative && digits != "0" { "-" } else { "" };
    Ok(Value::Int(Integer(format!("{sign}{digits}"))))
}

fn float_of(text: &str) -> Result<Value, String> {
    let (is_negative, digits) = unsigned(text);
    let digits = digits.to_lowercase();
    let wrong = || format!("{text:?} is no number");
    let size = match digits.as_str() {
        ".inf" => f64::INFINITY,
        ".nan" => f64::NAN,
        _ => {
            let mut sum = 0.0;
            let mut base = 1.0;
            for part in digits.rsplit(':') {
                sum += part.parse::<f64>().map_err(|_| wrong())? * base;
                base *= 60.0;
            }
            sum
        }
    };
    Ok(Value::Float(if is_negative { -size } else { size }))
}

fn timestamp_of(text: &str) -> Result<Value, String> {
    let wrong = || format!("{text:?} is no date; quote it if it is a text");
    let parts = PATTERNS.timestamp.captures(text).ok_or_else(wrong)?;
    let part = |index: usize| parts.get(index).map_or("", |found| found.as_str());
    let number = |index: usize| part(index).parse::<i16>().unwrap_or(0);
    let small = |index: usize| i8::try_from(number(index)).unwrap_or(-1);
    let date = jiff::civil::Date::new(number(1), small(2), small(3)).map_err(|_| wrong())?;
    // Python's years begin at 1.
    if number(1) < 1 {
        return Err(wrong());
    }
    if parts.get(4).is_none() {
        return Ok(Value::Date(date));
    }
    let micros: String = part(7).chars().chain("000000".chars()).take(6).collect();
    let nanos = micros.parse::<i32>().map_err(|_| wrong())? * 1000;
    let time = jiff::civil::Time::new(small(4), small(5), small(6), nanos).map_err(|_| wrong())?;
    let zone = match (part(8), part(9)) {
        ("", _) => Zone::None,
        ("Z", _) => Zone::Utc,
        (_, sign) => {
            let minutes = i32::from(number(10)) * 60 + i32::from(number(11));
            if minutes >= 24 * 60 {
                return Err(wrong());
            }
            // Python has one zone of distance zero, and calls it UTC.
            match minutes {
                0 => Zone::Utc,
                _ => Zone::Offset(if sign == "-" { -minutes } else { minutes }),
            }
        }
    };
    Ok(Value::DateTime(Moment { at: date.to_datetime(time), zone }))
}

/// A number of any size, built digit by digit.
#[derive(Default)]
struct Decimal {
    /// Base 10^9, the lowest first.
    limbs: Vec<u32>,
}

impl Decimal {
    const BASE: u64 = 1_000_000_000;

    /// Multiplies by `base` and adds `digit`.
    fn push(&mut self, base: u32, digit: u32) {
        let mut carry = u64::from(digit);
        for limb in &mut self.limbs {
            let product = u64::from(*limb) * u64::from(base) + carry;
            *limb = u32::try_from(product % Self::BASE).unwrap_or(0);
            carry = product / Self::BASE;
        }
        if carry > 0 {
            self.limbs.push(u32::try_from(carry).unwrap_or(0));
        }
    }

    /// `None` if there is no digit, or one that is none in this base.
    fn push_all(&mut self, digits: &str, base: u32) -> Option<()> {
        if digits.is_empty() {
            return None;
        }
        for digit in digits.chars() {
            self.push(base, digit.to_digit(base)?);
            // Longer ones are refused; reading them would take quadratic time.
            if self.limbs.len() > DIGITS_MAX / 9 + 1 {
                break;
            }
        }
        Some(())
    }

    /// The number, if it has at most nine digits.
    fn small(&self) -> Option<u32> {
        match self.limbs.as_slice() {
            [] => Some(0),
            [one] => Some(*one),
            _ => None,
        }
    }

    fn text(&self) -> String {
        let mut limbs = self.limbs.iter().rev();
        let Some(first) = limbs.next() else { return "0".to_owned() };
        let mut out = first.to_string();
        for limb in limbs {
            out.push_str(&format!("{limb:09}"));
        }
        out
    }
}
