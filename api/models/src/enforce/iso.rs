//! Dates of ISO 8601, as numpy reads them: a year and as much of the rest as there is. Nanoseconds since 1970 reach from
//! 1677 to 2262; numpy wraps what is beyond.

use std::time::{SystemTime, UNIX_EPOCH};

use super::error::Why;

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
pub(super) struct Parts {
    pub(super) year: i64,
    pub(super) month: i64,
    pub(super) day: i64,
    pub(super) hour: i64,
    pub(super) minute: i64,
    pub(super) second: i64,
    pub(super) nanos: i64,
    /// Minutes east of UTC, if a zone is named.
    pub(super) zone: Option<i64>,
}

impl Parts {
    fn of_year(year: i64) -> Self {
        Self { year, month: 1, day: 1, ..Self::default() }
    }

    pub(super) fn is_real(&self) -> bool {
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

    pub(super) fn checked(&self) -> Option<i64> {
        let nanos = i128::from(self.days()) * i128::from(DAY_NANOS)
            + i128::from(self.seconds()) * i128::from(SECOND_NANOS)
            + i128::from(self.nanos);
        i64::try_from(nanos).ok()
    }
}

/// Letters that are read from the left.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'text>(pub(super) &'text str);

impl Cursor<'_> {
    pub(super) fn digits(&mut self, min: usize, max: usize) -> Option<i64> {
        let count = self.0.bytes().take(max).take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.0.split_at(count);
        if count < min {
            return None;
        }
        self.0 = rest;
        digits.parse().ok()
    }

    pub(super) fn take(&mut self, letters: &str) -> bool {
        match self.0.strip_prefix(letters) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    /// A fraction of a second as nanoseconds; more digits than nine are cut.
    pub(super) fn fraction(&mut self, digits_max: usize) -> Option<i64> {
        let count = self.0.bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 || count > digits_max {
            return None;
        }
        let (digits, rest) = self.0.split_at(count);
        self.0 = rest;
        format!("{:0<9}", &digits[..count.min(9)]).parse().ok()
    }

    /// `Z`, `+02:00`, `+0200`, `+02`
    pub(super) fn zone(&mut self) -> Option<i64> {
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
pub(super) fn now() -> i64 {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::iso_datetime;

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
}
