//! One entry of an order: `name [ASC|DESC]`.

use super::lexer::{Kind, tokens};
use crate::mlflow::error::{ApiError, ApiResult};

/// An entry, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Order<'t> {
    /// As it is written, quotes included.
    pub(crate) name: &'t str,
    /// Least first.
    pub(crate) ascending: bool,
}

/// Reads an entry.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE` in MLflow's words.
pub(crate) fn parse(text: &str) -> ApiResult<Order<'_>> {
    let unreadable = || ApiError::invalid(format!("Invalid order_by clause '{text}'. Could not be parsed."));
    let tokens = tokens(text);
    let is_part =
        |kind: Kind| matches!(kind, Kind::Word | Kind::Backtick | Kind::Double | Kind::Single | Kind::Integer);
    let first = tokens.first().filter(|token| is_part(token.kind)).ok_or_else(unreadable)?;
    if matches!(first.kind, Kind::Single | Kind::Integer) {
        return Err(unreadable());
    }
    let mut parts = 1;
    while tokens.get(parts).is_some_and(|token| token.kind == Kind::Dot)
        && tokens.get(parts + 1).is_some_and(|token| is_part(token.kind))
    {
        parts += 2;
    }
    let end = tokens.get(parts - 1).ok_or_else(unreadable)?.end;
    let name = &text[first.start..end];
    match tokens.get(parts..) {
        None | Some([]) => Ok(Order { name, ascending: true }),
        Some([word]) if word.kind == Kind::Word => match &text[word.start..word.end] {
            word if word.eq_ignore_ascii_case("asc") => Ok(Order { name, ascending: true }),
            word if word.eq_ignore_ascii_case("desc") => Ok(Order { name, ascending: false }),
            _ => Err(ApiError::invalid(format!("Invalid ordering key in order_by clause '{text}'."))),
        },
        Some(_) => Err(unreadable()),
    }
}

/// A key is there twice.
pub(crate) fn duplicate(entries: &[String]) -> ApiError {
    ApiError::invalid(format!("`order_by` contains duplicate fields: {entries:?}"))
}
