//! Formats numbers, times and bytes for people, and parses times that people type. Makes text from the store harmless.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::OnceLock;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use runlode::{AsOf, Lsn, TimestampMs};

use crate::error::{Error, Result};

/// A value in about 7 characters; `--json` prints all bits.
pub(crate) fn value(value: f64) -> String {
    let size = value.abs();
    if value.is_nan() || value.is_infinite() || value == 0.0 {
        format!("{value}")
    } else if !(1e-4..1e7).contains(&size) {
        format!("{value:.4e}")
    } else {
        let digits = (5 - size.log10().floor() as i32).clamp(0, 8) as usize;
        let text = format!("{value:.digits$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    }
}

/// A count with separators: `35,014`.
pub(crate) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes with a unit: `9.4 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < units.len() {
        size /= 1024.0;
        unit += 1;
    }
    let name = units.get(unit).copied().unwrap_or("B");
    if unit == 0 { format!("{bytes} {name}") } else { format!("{size:.1} {name}") }
}

/// A span of seconds with a unit: `41.2 us`.
pub(crate) fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 1e-6 => format!("{:.0} ns", s * 1e9),
        s if s < 1e-3 => format!("{:.1} us", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}

/// The time zone of the reader: that of `TZ`, else of `/etc/localtime`; UTC if neither names one.
fn zone() -> &'static TimeZone {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    ZONE.get_or_init(|| TimeZone::try_system().unwrap_or(TimeZone::UTC))
}

/// A time in the reader's zone: `2026-11-23 15:36:02`.
pub(crate) fn time(time_ms: i64) -> String {
    time_in(time_ms, zone(), "%Y-%m-%d %H:%M:%S")
}

/// A time in the reader's zone, with the name of the zone: `2026-11-23 16:36:02 CET`.
pub(crate) fn time_and_zone(time_ms: i64) -> String {
    time_in(time_ms, zone(), "%Y-%m-%d %H:%M:%S %Z")
}

/// A time for programs, in UTC: `2026-11-23T15:36:02.117Z`.
pub(crate) fn time_utc(time_ms: i64) -> String {
    time_in(time_ms, &TimeZone::UTC, "%Y-%m-%dT%H:%M:%S.%3fZ")
}

fn time_in(time_ms: i64, zone: &TimeZone, how: &str) -> String {
    match Timestamp::from_millisecond(time_ms) {
        Ok(time) => time.to_zoned(zone.clone()).strftime(how).to_string(),
        Err(_) => format!("{time_ms} ms"),
    }
}

/// How long a run took: `1m 23s`.
pub(crate) fn duration(from_ms: i64, to_ms: i64) -> String {
    let span = SignedDuration::from_millis(to_ms.saturating_sub(from_ms));
    let s = span.as_secs();
    match s {
        s if s < 0 => "-".to_owned(),
        0..10 => format!("{:.1}s", span.as_secs_f64()),
        10..60 => format!("{s}s"),
        60..3600 => format!("{}m {}s", s / 60, s % 60),
        _ => format!("{}h {}m", s / 3600, s / 60 % 60),
    }
}

/// A position (`120034`) or a time: RFC 3339, or `2026-03-03[ 09:00[:00]]` in the reader's zone.
pub(crate) fn as_of(text: &str) -> Result<AsOf> {
    if let Ok(position) = text.parse() {
        return Ok(AsOf::Position(Lsn(position)));
    }
    let time: Option<Timestamp> = text.parse().ok().or_else(|| {
        let civil: DateTime = text.parse().ok()?;
        Some(civil.to_zoned(zone().clone()).ok()?.timestamp())
    });
    match time {
        Some(time) => Ok(AsOf::Time(TimestampMs(time.as_millisecond()))),
        None => Err(Error::usage(format!(
            "`{text}` is neither a position (a number) nor a time (\"2026-03-03 09:00\" in your time zone, or 2026-03-03T09:00:00+01:00)"
        ))),
    }
}

/// A moment as any program reads it: a position, or a time by RFC 3339.
pub(crate) fn moment_text(at: AsOf) -> String {
    match at {
        AsOf::Position(position) => position.to_string(),
        AsOf::Time(TimestampMs(ms)) => {
            Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |t| t.to_string())
        }
    }
}

/// Whether a terminal acts on a character instead of showing it: controls (C0, DEL, C1), and characters that change the
/// direction of text or break a line.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text that is safe to print: characters that a terminal would act on are escaped (`\x1b`, ` `, `\u{202e}`), so that
/// no stored name, tag or path can colour, hide, move or forge output.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        // Writing to a String does not fail.
        let _ = match c {
            '\n' => shown.write_str("\\n"),
            '\r' => shown.write_str("\\r"),
            '\t' => shown.write_str("\\t"),
            c if !acts(c) => shown.write_char(c),
            c if u32::from(c) < 0x100 => write!(shown, "\\x{:02x}", u32::from(c)),
            c => write!(shown, "\\u{{{:x}}}", u32::from(c)),
        };
    }
    Cow::Owned(shown)
}

/// JSON that is safe to print: the same characters become JSON escapes. Outside its strings JSON has none of them
/// except line ends, and inside its strings it has no line ends.
pub(crate) fn shown_json(json: &str) -> Cow<'_, str> {
    let acts = |c: char| acts(c) && c != '\n';
    if !json.contains(acts) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        // Writing to a String does not fail. None of them needs two units of UTF-16.
        let _ = if acts(c) { write!(shown, "\\u{:04x}", u32::from(c)) } else { shown.write_char(c) };
    }
    Cow::Owned(shown)
}

/// Columns that a text takes in a table.
pub(crate) fn width(text: &str) -> usize {
    shown(text).chars().count()
}

/// At most `max` characters; cut text ends in `…`.
pub(crate) fn cut(text: &str, max: usize) -> String {
    let one_line = text.replace(['\n', '\r', '\t'], " ");
    if one_line.chars().count() <= max {
        return one_line;
    }
    let mut short: String = one_line.chars().take(max.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_text_cannot_control_a_terminal() {
        for (text, safe) in [
            ("plain é 日本 👩‍🔬 \\x1b", "plain é 日本 👩‍🔬 \\x1b"),
            ("\x1b[2Jn\x07", "\\x1b[2Jn\\x07"),
            ("a\nb\r\tc\0", "a\\nb\\r\\tc\\x00"),
            ("\u{7f}\u{80}\u{9b}31m\u{9f}\u{a0}", "\\x7f\\x80\\x9b31m\\x9f\u{a0}"),
            ("\u{202e}cba\u{2066}\u{2028}\u{61c}", "\\u{202e}cba\\u{2066}\\u{2028}\\u{61c}"),
        ] {
            assert_eq!(shown(text), safe);
            let value = serde_json::json!({ text: [text] });
            for json in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                let safe = shown_json(&json);
                assert!(!safe.contains(|c| acts(c) && c != '\n'), "{safe}");
                assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
            }
        }
    }

    #[test]
    fn numbers_are_short_and_not_wrong() {
        for (number, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (0.9666666666666667, "0.966667"),
            (2.2915316536403294, "2.29153"),
            (30000.0, "30000"),
            (123456.7, "123457"),
            (1e300, "1.0000e300"),
            (-0.00001, "-1.0000e-5"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(value(number), text);
        }
        assert_eq!(count(35014), "35,014");
        assert_eq!(count(100), "100");
        assert_eq!(bytes(8978432), "8.6 MiB");
    }

    #[test]
    fn positions_and_times_are_distinguished() {
        assert!(matches!(as_of("120034"), Ok(AsOf::Position(Lsn(120034)))));
        for text in ["2026-03-03T09:00:00Z", "2026-03-03T10:00:00+01:00"] {
            match as_of(text) {
                Ok(AsOf::Time(TimestampMs(time_ms))) => assert_eq!(time_ms, 1_772_528_400_000, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        // What is printed in the reader's zone can be typed again.
        match as_of(&time(1_772_528_400_000)) {
            Ok(AsOf::Time(TimestampMs(time_ms))) => assert_eq!(time_ms, 1_772_528_400_000),
            other => panic!("{other:?}"),
        }
        assert!(matches!(as_of("2026-03-03"), Ok(AsOf::Time(_))));
        assert!(as_of("yesterday").is_err());
    }
}
