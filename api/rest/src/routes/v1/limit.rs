//! How much a request may ask for.

use runlode::mlflow::{ApiError, ApiResult};

use crate::request::Fields;

/// Most rows of an answer, and most runs that are read for one.
pub(super) const ROWS_MAX: i64 = 100_000;

/// A number of at least 1 in a request; larger ones mean `most`.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE`.
pub(super) fn positive(fields: &Fields<'_>, name: &str, default: i64, most: i64) -> ApiResult<u64> {
    let given = fields.int(name)?.unwrap_or(default);
    match u64::try_from(given) {
        Ok(number) if number > 0 => Ok(number.min(most.unsigned_abs())),
        _ => Err(ApiError::invalid(format!("{name} must be at least 1."))),
    }
}
