//! Dates of a column, as `pandas.to_datetime` reads them.
//!
//! pandas guesses a format from the first text of a column, and every other one must have it. [`Format`] is such a
//! guess: fields and the letters between them. What nanoseconds do not reach is refused.

use arrow_array::cast::AsArray;

use super::error::Fault;
use super::iso::{Cursor, DAY_NANOS, Parts, now};
use super::series::{datetimes, floats, integers, is_float};
use crate::data::{Cells, DType, Value};
use crate::text::python_str;

/// `pandas.to_datetime(series)`, in nanoseconds.
pub(crate) fn to_datetime(cells: Cells) -> Result<Cells, Fault> {
    match &cells {
        Cells::Array(DType::Datetime, _) => Ok(cells),
        Cells::Array(DType::Bool, _) => Err(Fault::found("booleans are no dates", "bool")),
        Cells::Array(DType::Str, array) => of_texts(array.as_string::<i64>().iter()),
        Cells::Array(dtype, array) if is_float(*dtype) => {
            let nanos = |value: f64| {
                let is_in = value >= i64::MIN as f64 && value < i64::MAX as f64;
                (is_in && value as i64 != i64::MIN).then_some(value as i64)
            };
            Ok(datetimes(floats(*dtype, array).unwrap_or_default().into_iter().map(nanos).collect()))
        }
        Cells::Array(DType::UInt64, array) => {
            let values = integers(DType::UInt64, array).unwrap_or_default();
            match values.iter().position(|value| *value < 0) {
                Some(row) => Err(Fault::at(row, &cells.value(row), "beyond the year 2262")),
                None => Ok(datetimes(values.into_iter().map(Some).collect())),
            }
        }
        Cells::Array(dtype, array) => match integers(*dtype, array) {
            Some(values) => {
                Ok(datetimes(values.into_iter().map(|value| (value != i64::MIN).then_some(value)).collect()))
            }
            None => Err(Fault::found("no dates", cells.dtype_name())),
        },
        Cells::Objects(values) => of_objects(values),
    }
}

fn of_objects(values: &[Value]) -> Result<Cells, Fault> {
    let is_missing = |value: &&Value| match value {
        Value::None | Value::Datetime(None) => true,
        Value::Float(number) => number.is_nan(),
        Value::Text(text) => is_nat(text),
        _ => false,
    };
    // If a text comes first, its format counts for all, and numbers are texts too. Otherwise each is read for itself.
    let first = match values.iter().find(|value| !is_missing(value)) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    };
    let mut format =
        first.and_then(|text| Format::guess(text)).and_then(|(format, _)| format.is_strict.then_some(format));
    let mut out = Vec::with_capacity(values.len());
    for (row, value) in values.iter().enumerate() {
        let fault = |why: &str| Fault::at(row, value, why);
        out.push(match value {
            Value::None => None,
            Value::Datetime(nanos) => *nanos,
            Value::Date(days) => i64::from(*days).checked_mul(DAY_NANOS),
            Value::Float(number) if number.is_nan() => None,
            Value::Int(_) | Value::Float(_) if first.is_some() => {
                of_text(&python_str(value), &mut format).map_err(fault)?.0
            }
            Value::Int(nanos) => Some(*nanos),
            Value::Float(number) if number.abs() < i64::MAX as f64 => Some(*number as i64),
            Value::Float(_) => return Err(fault("beyond the years 1677 to 2262, which nanoseconds reach")),
            Value::Text(text) => {
                if first.is_none() {
                    format = None;
                }
                of_text(text, &mut format).map_err(fault)?.0
            }
            _ => return Err(fault("no date")),
        });
    }
    Ok(datetimes(out))
}

fn is_nat(text: &str) -> bool {
    matches!(text, "" | "NaT" | "nat" | "NAT" | "nan" | "NaN" | "NAN")
}

fn of_texts<'t>(texts: impl Iterator<Item = Option<&'t str>>) -> Result<Cells, Fault> {
    let mut format = None;
    let mut zones = Vec::new();
    let mut out = Vec::new();
    for (row, text) in texts.enumerate() {
        let Some(text) = text else {
            out.push(None);
            continue;
        };
        let (nanos, has_zone) =
            of_text(text, &mut format).map_err(|why| Fault::at(row, &Value::Text(text.into()), why))?;
        if nanos.is_some() {
            zones.push((row, has_zone));
        }
        out.push(nanos);
    }
    match zones.iter().find(|(_, has_zone)| *has_zone) {
        Some((_, true)) if zones.iter().any(|(_, has_zone)| !has_zone) => {
            Err(Fault::new("some dates have a zone and some have none"))
        }
        Some((row, _)) => Err(Fault {
            row: Some(*row),
            is_enforcement: true,
            ..Fault::new("a date with a zone; the signature's dates have none")
        }),
        None => Ok(datetimes(out)),
    }
}

/// A date in the format of the texts before, or one that is guessed; and whether it has a zone.
fn of_text(text: &str, format: &mut Option<Format>) -> Result<(Option<i64>, bool), &'static str> {
    match text {
        text if is_nat(text) => return Ok((None, false)),
        "now" => return Ok((Some(now()), false)),
        "today" => return Ok((Some(now()), false)),
        _ => {}
    }
    let parts = match format {
        Some(format) => format.read(text).ok_or("the date has another format than the first one")?,
        None => {
            let (guess, parts) = Format::guess(text).ok_or("the text is no date")?;
            *format = guess.is_strict.then_some(guess);
            parts
        }
    };
    match parts.checked() {
        Some(nanos) if nanos != i64::MIN => Ok((Some(nanos), parts.zone.is_some())),
        _ => Err("beyond the years 1677 to 2262, which nanoseconds reach"),
    }
}

/// Fields of a date, and the letters between them.
#[derive(Debug, Clone, PartialEq)]
struct Format {
    date: DateOrder,
    /// Between the parts of the date: `-`, `/`, `.`, or nothing.
    separator: &'static str,
    time: Option<TimeForm>,
    /// Whether texts without leading zeros came; then each one is read for itself.
    is_strict: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum DateOrder {
    Year,
    YearMonth,
    YearMonthDay,
    MonthDayYear,
    DayMonthYear,
    /// `Jan 2, 2024`
    NameDayYear,
    /// `2 Jan 2024`
    DayNameYear,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct TimeForm {
    /// `T` or a space before it.
    is_t: bool,
    seconds: bool,
    fraction: bool,
    zone: bool,
}

const SEPARATORS: [&str; 4] = ["-", "/", ".", ""];

impl Format {
    fn guess(text: &str) -> Option<(Self, Parts)> {
        use DateOrder::{DayMonthYear, DayNameYear, MonthDayYear, NameDayYear, Year, YearMonth, YearMonthDay};
        let orders = [YearMonthDay, YearMonth, Year, MonthDayYear, DayMonthYear, NameDayYear, DayNameYear];
        for date in orders {
            for separator in SEPARATORS {
                let mut cursor = Cursor(text);
                let mut parts = Parts::default();
                let Some(padded) = read_date(&mut cursor, &mut parts, date, separator) else { continue };
                let Some(time) = guess_time(&mut cursor, &mut parts) else { continue };
                if cursor.0.is_empty() && parts.is_real() {
                    return Some((Self { date, separator, time, is_strict: padded }, parts));
                }
            }
        }
        None
    }

    fn read(&self, text: &str) -> Option<Parts> {
        let mut cursor = Cursor(text);
        let mut parts = Parts::default();
        read_date(&mut cursor, &mut parts, self.date, self.separator)?;
        let time = guess_time(&mut cursor, &mut parts)?;
        (cursor.0.is_empty() && time == self.time && parts.is_real()).then_some(parts)
    }
}

/// Reads a date; whether its numbers have their leading zeros.
fn read_date(cursor: &mut Cursor<'_>, parts: &mut Parts, order: DateOrder, separator: &str) -> Option<bool> {
    let mut padded = true;
    let min = if separator.is_empty() { 2 } else { 1 };
    let mut two = |cursor: &mut Cursor<'_>| {
        let before = cursor.0.len();
        let number = cursor.digits(min, 2);
        padded &= before - cursor.0.len() == 2;
        number
    };
    let between = |cursor: &mut Cursor<'_>| cursor.take(separator).then_some(());
    (parts.month, parts.day) = (1, 1);
    match order {
        DateOrder::Year => parts.year = cursor.digits(4, 4)?,
        DateOrder::YearMonth if separator.is_empty() => return None,
        DateOrder::YearMonth => {
            parts.year = cursor.digits(4, 4)?;
            between(cursor)?;
            parts.month = two(cursor)?;
        }
        DateOrder::YearMonthDay => {
            parts.year = cursor.digits(4, 4)?;
            between(cursor)?;
            parts.month = two(cursor)?;
            between(cursor)?;
            parts.day = two(cursor)?;
        }
        DateOrder::MonthDayYear | DateOrder::DayMonthYear => {
            if separator.is_empty() {
                return None;
            }
            let first = two(cursor)?;
            between(cursor)?;
            let second = two(cursor)?;
            between(cursor)?;
            parts.year = cursor.digits(4, 4)?;
            (parts.month, parts.day) = if order == DateOrder::MonthDayYear { (first, second) } else { (second, first) };
        }
        DateOrder::NameDayYear => {
            parts.month = month_name(cursor)?;
            cursor.take(" ").then_some(())?;
            parts.day = cursor.digits(1, 2)?;
            cursor.take(",");
            cursor.take(" ").then_some(())?;
            parts.year = cursor.digits(4, 4)?;
        }
        DateOrder::DayNameYear => {
            parts.day = cursor.digits(1, 2)?;
            (cursor.take(" ") || cursor.take("-")).then_some(())?;
            parts.month = month_name(cursor)?;
            (cursor.take(" ") || cursor.take("-")).then_some(())?;
            parts.year = cursor.digits(4, 4)?;
        }
    }
    Some(padded)
}

fn month_name(cursor: &mut Cursor<'_>) -> Option<i64> {
    const NAMES: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let letters = cursor.0.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (word, rest) = cursor.0.split_at(letters);
    let is = |name: &str| name.eq_ignore_ascii_case(word) || name[..3].eq_ignore_ascii_case(word);
    let month = NAMES.iter().position(|name| is(name))?;
    cursor.0 = rest;
    i64::try_from(month + 1).ok()
}

/// The time that follows a date, if one does. `None` if what follows is no time.
fn guess_time(cursor: &mut Cursor<'_>, parts: &mut Parts) -> Option<Option<TimeForm>> {
    if cursor.0.is_empty() {
        return Some(None);
    }
    let is_t = cursor.take("T");
    if !is_t && !cursor.take(" ") {
        return None;
    }
    let mut form = TimeForm { is_t, seconds: false, fraction: false, zone: false };
    parts.hour = cursor.digits(2, 2)?;
    if cursor.take(":") {
        parts.minute = cursor.digits(2, 2)?;
        if cursor.take(":") {
            form.seconds = true;
            parts.second = cursor.digits(2, 2)?;
            if cursor.take(".") {
                form.fraction = true;
                parts.nanos = cursor.fraction(9)?;
            }
        }
    }
    if !cursor.0.is_empty() {
        form.zone = true;
        parts.zone = Some(cursor.zone()?);
    }
    Some(Some(form))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::iso_datetime;

    fn pandas(text: &str) -> String {
        of_text(text, &mut None).map_or_else(|why| why.to_owned(), |(nanos, _)| iso_datetime(nanos))
    }

    #[test]
    fn pandas_guesses() {
        for (text, read) in [
            ("2024-01-02", "2024-01-02T00:00:00"),
            ("20240102", "2024-01-02T00:00:00"),
            ("2024", "2024-01-01T00:00:00"),
            ("01/02/2024", "2024-01-02T00:00:00"),
            ("13/01/2024", "2024-01-13T00:00:00"),
            ("02.01.2024", "2024-02-01T00:00:00"),
            ("Jan 2, 2024", "2024-01-02T00:00:00"),
            ("2 January 2024", "2024-01-02T00:00:00"),
            ("2024-01-02T03:04:05.678901234", "2024-01-02T03:04:05.678901234"),
            ("", "NaT"),
        ] {
            assert_eq!(pandas(text), read, "{text}");
        }
        for text in ["nope", "2024-W01", "1500-01-01", "9999-01-01", "1", "2024-02-30"] {
            assert!(of_text(text, &mut None).is_err(), "{text}");
        }
    }
}
