//! The moment that a request asks for: `as_of`, a position or a time.

use runlode::mlflow::{ApiError, ApiResult};
use runlode::{AsOf, Lsn, TimestampMs};

use crate::request::Fields;

/// The moment in `as_of`: digits are a position, anything else a time by RFC 3339. `None`: now.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE`.
pub(super) fn as_of(fields: &Fields<'_>) -> ApiResult<Option<AsOf>> {
    // In a JSON body a position may be a number.
    if let Ok(Some(position)) = fields.int("as_of") {
        return parse(&position.to_string()).map(Some);
    }
    match fields.text("as_of")?.filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => parse(text).map(Some),
    }
}

fn parse(text: &str) -> ApiResult<AsOf> {
    if text.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(position) = text.parse()
    {
        return Ok(AsOf::Position(Lsn(position)));
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => Ok(AsOf::Time(TimestampMs(time.as_millisecond()))),
        Err(_) => Err(ApiError::invalid(format!(
            "'{text}' is no moment; give a position (1234), or a time with its zone (2026-03-03T09:00:00Z)"
        ))),
    }
}

/// The moment in which a request reads: that of `as_of`, or the newest.
pub(super) fn or_newest(at: Option<AsOf>) -> AsOf {
    at.unwrap_or(AsOf::Position(Lsn(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_and_times() {
        assert_eq!(parse("12").unwrap(), AsOf::Position(Lsn(12)));
        assert_eq!(parse("1970-01-01T01:00:01+01:00").unwrap(), AsOf::Time(TimestampMs(1_000)));
        assert_eq!(parse("1970-01-01T00:00:00.25Z").unwrap(), AsOf::Time(TimestampMs(250)));
        for wrong in ["yesterday", "2026-03-03T09:00:00", "-1", "99999999999999999999999"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
