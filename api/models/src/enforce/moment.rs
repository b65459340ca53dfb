//! Dates out of texts: numpy's ISO 8601, and the formats that `pandas.to_datetime` guesses.
//!
//! pandas guesses a format from the first text of a column, and every other one must have it. [`Format`] is such a
//! guess: fields and the letters between them. Dates are nanoseconds since 1970, which reach from 1677 to 2262: numpy
//! wraps what is beyond, pandas refuses it.

use std::time::{SystemTime, UNIX_EPOCH};

use arrow_array::cast::AsArray;

use super::error::Fault;
use super::scalar::Why;
use super::series::{datetimes, floats, integers, is_float};
use crate::data::{Cells, DType, Value};

/// Nanoseconds of a day.
pub(crate) const DAY_NANOS: i64 = 86_400_000_000_000;
const SECOND_NANOS: i64 = 1_000_000_000;

/// Days from 1970 to the first of a month, in the Gregorian calendar of any year.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let years = year - 1;
    let leaps = years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400);
    let since_one = years.wrapping_mul(365).wrapping_add(leaps);
    let this_leap = i64::from(month > 2 && is_leap(year));
    let month = usize::try_from(month - 1).unwrap_or_default().min(11);
    since_one + BEFORE[month] + this_leap + day - 1 - 719_162
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// A moment in parts.
#[derive(Debug, Clone, Copy, Default)]
struct Parts {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    nanos: i64,
    /// Minutes east of UTC, if a zone is named.
    zone: Option<i64>,
}

impl Parts {
    fn of_year(year: i64) -> Self {
        Self { year, month: 1, day: 1, ..Self::default() }
    }

    fn is_real(&self) -> bool {
        let days = match self.month {
            4 | 6 | 9 | 11 => 30,
            2 => 28 + i64::from(is_leap(self.year)),
            1..=12 => 31,
            _ => return false,
        };
        (1..=days).contains(&self.day) && self.hour < 24 && self.minute < 60 && self.second < 60
    }

    fn days(&self) -> i64 {
        days_of(self.year, self.month, self.day)
    }

    /// Seconds of the day in UTC, and a part of a second.
    fn seconds(&self) -> i64 {
        (self.hour * 60 + self.minute - self.zone.unwrap_or(0)) * 60 + self.second
    }

    fn wrapped(&self) -> i64 {
        let day = self.days().wrapping_mul(DAY_NANOS);
        day.wrapping_add(self.seconds().wrapping_mul(SECOND_NANOS)).wrapping_add(self.nanos)
    }

    fn checked(&self) -> Option<i64> {
        let nanos = i128::from(self.days()) * i128::from(DAY_NANOS)
            + i128::from(self.seconds()) * i128::from(SECOND_NANOS)
            + i128::from(self.nanos);
        i64::try_from(nanos).ok()
    }
}

/// Letters that are read from the left.
#[derive(Clone, Copy)]
struct Cursor<'text>(&'text str);

impl Cursor<'_> {
    fn digits(&mut self, min: usize, max: usize) -> Option<i64> {
        let count = self.0.bytes().take(max).take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.0.split_at(count);
        if count < min {
            return None;
        }
        self.0 = rest;
        digits.parse().ok()
    }

    fn take(&mut self, letters: &str) -> bool {
        match self.0.strip_prefix(letters) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    /// A fraction of a second as nanoseconds; more digits than nine are cut.
    fn fraction(&mut self, digits_max: usize) -> Option<i64> {
        let count = self.0.bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 || count > digits_max {
            return None;
        }
        let (digits, rest) = self.0.split_at(count);
        self.0 = rest;
        format!("{:0<9}", &digits[..count.min(9)]).parse().ok()
    }

    /// `Z`, `+02:00`, `+0200`, `+02`
    fn zone(&mut self) -> Option<i64> {
        if self.take("Z") {
            return Some(0);
        }
        let sign = if self.take("+") {
            1
        } else if self.take("-") {
            -1
        } else {
            return None;
        };
        let hours = self.digits(2, 2)?;
        self.take(":");
        let minutes = if self.0.starts_with(|c: char| c.is_ascii_digit()) { self.digits(2, 2)? } else { 0 };
        Some(sign * (hours * 60 + minutes))
    }
}

/// What the clock says, for the texts `now` and `today`.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

/// A moment as `numpy.datetime64(text)` reads it, with the unit that the text has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Iso {
    /// Nanoseconds since 1970; beyond their range they have wrapped. `NaT` is none.
    pub(crate) nanos: Option<i64>,
    /// Days since 1970.
    pub(crate) days: i64,
    /// The year.
    pub(crate) year: i64,
    /// Whether the text says no more than a day.
    pub(crate) is_date: bool,
    /// Digits of the fraction of a second.
    pub(crate) fraction_digits: usize,
}

/// Nanoseconds since 1970 of numpy's `datetime64[ns]`.
pub(crate) fn of_iso(text: &str) -> Result<Option<i64>, Why> {
    iso(text).map(|iso| iso.nanos)
}

/// Reads what numpy reads: a year and as much of the rest of `-MM-DDThh:mm:ss.f±hh:mm` as there is, `now`, `today`, `NaT`.
pub(crate) fn iso(text: &str) -> Result<Iso, Why> {
    let wrong = "the text is no date in ISO 8601";
    let text = text.trim_start_matches(|c: char| c.is_ascii_whitespace());
    let none = Iso { nanos: None, days: 0, year: 0, is_date: true, fraction_digits: 0 };
    if text.is_empty() || text.eq_ignore_ascii_case("nat") {
        return Ok(none);
    }
    if text.eq_ignore_ascii_case("today") || text.eq_ignore_ascii_case("now") {
        let (now, is_date) = (now(), text.eq_ignore_ascii_case("today"));
        let days = now.div_euclid(DAY_NANOS);
        let nanos = if is_date { days * DAY_NANOS } else { now / SECOND_NANOS * SECOND_NANOS };
        return Ok(Iso { nanos: Some(nanos), days, year: 1970 + days / 365, is_date, ..none });
    }
    let mut cursor = Cursor(text);
    let is_negative = cursor.take("-");
    if !is_negative {
        cursor.take("+");
    }
    let year = cursor.digits(1, 18).ok_or(wrong)?;
    let mut parts = Parts::of_year(if is_negative { -year } else { year });
    let mut fraction_digits = 0;
    let is_date = date_and_time(&mut cursor, &mut parts, &mut fraction_digits).ok_or(wrong)?;
    if !cursor.0.trim_end_matches(|c: char| c.is_ascii_whitespace()).is_empty() || !parts.is_real() {
        return Err(wrong);
    }
    let nanos = parts.wrapped();
    let nanos = (nanos != i64::MIN).then_some(nanos);
    Ok(Iso { nanos, days: parts.days(), year: parts.year, is_date, fraction_digits })
}

/// What follows the year; whether it has no time.
fn date_and_time(cursor: &mut Cursor<'_>, parts: &mut Parts, fraction_digits: &mut usize) -> Option<bool> {
    if cursor.0.is_empty() {
        return Some(true);
    }
    if !cursor.take("-") {
        return None;
    }
    parts.month = cursor.digits(2, 2)?;
    if cursor.0.is_empty() {
        return Some(true);
    }
    if !cursor.take("-") {
        return None;
    }
    parts.day = cursor.digits(2, 2)?;
    if cursor.0.is_empty() {
        return Some(true);
    }
    if !(cursor.take("T") || cursor.take(" ")) {
        return None;
    }
    parts.hour = cursor.digits(1, 2)?;
    if cursor.take(":") {
        parts.minute = cursor.digits(1, 2)?;
        if cursor.take(":") {
            parts.second = cursor.digits(1, 2)?;
            if cursor.take(".") {
                let before = cursor.0.len();
                parts.nanos = cursor.fraction(18)?;
                *fraction_digits = before - cursor.0.len();
            }
        }
    }
    if cursor.0.starts_with(['Z', '+', '-']) {
        parts.zone = Some(cursor.zone()?);
    }
    Some(false)
}

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
    let mut format = None;
    let mut out = Vec::with_capacity(values.len());
    for (row, value) in values.iter().enumerate() {
        let fault = |why: &str| Fault::at(row, value, why);
        out.push(match value {
            Value::None => None,
            Value::Datetime(nanos) => *nanos,
            Value::Date(days) => i64::from(*days).checked_mul(DAY_NANOS),
            Value::Int(nanos) => Some(*nanos),
            Value::Float(number) if number.is_finite() => Some(*number as i64),
            Value::Float(_) => None,
            Value::Text(text) => of_text(text, &mut format).map_err(fault)?.0,
            _ => return Err(fault("no date")),
        });
    }
    Ok(datetimes(out))
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
        "" | "NaT" | "nat" | "NAT" | "nan" | "NaN" | "NAN" => return Ok((None, false)),
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
    let is = |name: &&str| name.eq_ignore_ascii_case(word) || name[..3].eq_ignore_ascii_case(word);
    let month = NAMES.iter().position(|name| is(&name))?;
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
    fn numpy_reads_iso() {
        for (text, read) in [
            ("2024-01-02", "2024-01-02T00:00:00"),
            ("2024-05", "2024-05-01T00:00:00"),
            ("2024", "2024-01-01T00:00:00"),
            ("1", "1754-08-30T22:43:41.128654848"),
            ("2024-01-02T03:04:05.678901234", "2024-01-02T03:04:05.678901234"),
            ("2024-01-02 03:04", "2024-01-02T03:04:00"),
            ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05"),
            ("2024-01-02T03:04:05+02:00", "2024-01-02T01:04:05"),
            ("", "NaT"),
            ("nat", "NaT"),
        ] {
            assert_eq!(iso_datetime(of_iso(text).unwrap()), read, "{text}");
        }
        for text in ["x", "2024-1-2", "2024-13-01", "2024-02-30", "01/02/2024", "2024-01-02T24:00", "1.5", "NaN"] {
            assert!(of_iso(text).is_err(), "{text}");
        }
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
