//! What clauses of all kinds have in common: names cut in two, quotes taken off, values checked, and tests of texts and
//! numbers in memory.

use super::parser::{ListError, Value};
use crate::engine::search::Comparison;
use crate::engine::search::like::Pattern;
use crate::mlflow::error::{ApiError, ApiResult};
use crate::mlflow::names::python_texts;

/// Entity and key of a name, split at the first dot; a name without one is an attribute.
pub(crate) fn split(name: &str) -> (Option<&str>, &str) {
    name.split_once('.').map_or((None, name), |(entity, key)| (Some(entity), key))
}

/// Without backticks around it.
pub(crate) fn without_backticks(text: &str) -> &str {
    inside(text, '`').unwrap_or(text)
}

/// Without quotes around it, of any kind.
pub(crate) fn unquoted(text: &str) -> &str {
    without_backticks(inside(text, '\'').or_else(|| inside(text, '"')).unwrap_or(text))
}

fn inside(text: &str, quote: char) -> Option<&str> {
    text.strip_prefix(quote)?.strip_suffix(quote)
}

/// The text of a value; `wanted` says what was expected of a number or list.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE`.
pub(crate) fn text<'t>(value: &Value<'t>, wanted: &str) -> ApiResult<&'t str> {
    match value {
        Value::Text(raw) => inside(raw, '\'').or_else(|| inside(raw, '"')).ok_or_else(|| {
            ApiError::invalid(format!(
                "Parameter value is either not quoted or unidentified quote types used for string value {raw}. Use \
                 either single or double quotes."
            ))
        }),
        other => Err(ApiError::invalid(format!("{wanted} Got value {}", other.raw()))),
    }
}

/// The texts of a list.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE`.
pub(crate) fn texts(items: &Result<Vec<&str>, ListError>, raw: &str) -> ApiResult<Vec<String>> {
    const WHERE: &str = "While parsing a list in the query, expected";
    match items {
        Ok(items) => Ok(items.iter().map(|item| (*item).to_owned()).collect()),
        Err(ListError::Empty) => {
            Err(ApiError::invalid(format!("{WHERE} a non-empty list of string values, but got empty list")))
        }
        Err(ListError::IllFormed) => {
            Err(ApiError::invalid(format!("{WHERE} a non-empty list of string values, but got ill-formed list.")))
        }
        Err(ListError::NotText) => Err(ApiError::invalid(format!(
            "{WHERE} string value, punctuation, or whitespace, but got different type in list: {raw}"
        ))),
    }
}

/// The comparison of numbers that a comparator stands for.
pub(crate) fn comparison(comparator: &str) -> Option<Comparison> {
    Some(match comparator {
        "=" => Comparison::Eq,
        "!=" => Comparison::Ne,
        "<" => Comparison::Lt,
        "<=" => Comparison::Le,
        ">" => Comparison::Gt,
        ">=" => Comparison::Ge,
        _ => return None,
    })
}

/// A comparator that this key does not have.
pub(crate) fn invalid_comparator(comparator: &str, valid: &[&str]) -> ApiError {
    ApiError::invalid(format!("Invalid comparator '{comparator}' not one of '{{{}}}'", python_texts(valid)))
}

/// An entity that this search does not have.
pub(crate) fn invalid_entity(entity: &str, valid: &[&str]) -> ApiError {
    ApiError::invalid(format!("Invalid entity type '{entity}'. Valid values are [{}]", python_texts(valid)))
}

/// An attribute that this search does not have.
pub(crate) fn invalid_attribute(key: &str, valid: &[&str]) -> ApiError {
    ApiError::invalid(format!("Invalid attribute key '{key}' specified. Valid keys are '{{{}}}'", python_texts(valid)))
}

/// An attribute, not among those that have them, is compared with a list.
pub(crate) fn no_lists(valid: &[&str]) -> ApiError {
    ApiError::invalid(format!(
        "Only [{}] attributes support comparison with a list of quoted string values.",
        python_texts(valid)
    ))
}

/// Comparators of numbers.
pub(crate) const NUMBER_COMPARATORS: &[&str] = &["=", "!=", "<", "<=", ">", ">="];

/// A test of one value in memory.
#[derive(Debug, Clone)]
pub(crate) enum Test {
    /// `=`
    Eq(String),
    /// `!=`
    Ne(String),
    /// `LIKE`, `ILIKE`
    Like(Box<Pattern>),
    /// `IN`
    In(Vec<String>),
    /// `NOT IN`
    NotIn(Vec<String>),
    /// `IS NULL`
    Missing,
    /// `IS NOT NULL`
    Present,
    /// Of a number.
    Number(Comparison, f64),
}

impl Test {
    /// Of a text, by a comparator in capitals; `None` if texts have no such comparator.
    pub(crate) fn of_text(comparator: &str, text: &str) -> Option<Self> {
        Some(match comparator {
            "=" => Self::Eq(text.to_owned()),
            "!=" => Self::Ne(text.to_owned()),
            "LIKE" => Self::Like(Box::new(Pattern::like(text))),
            "ILIKE" => Self::Like(Box::new(Pattern::ilike(text))),
            _ => return None,
        })
    }

    /// Of a list.
    pub(crate) fn of_list(comparator: &str, list: Vec<String>) -> Option<Self> {
        match comparator {
            "IN" => Some(Self::In(list)),
            "NOT IN" => Some(Self::NotIn(list)),
            _ => None,
        }
    }

    /// Whether a text passes; a missing one passes `IS NULL` only.
    pub(crate) fn text(&self, text: Option<&str>) -> bool {
        let Some(text) = text else { return matches!(self, Self::Missing) };
        match self {
            Self::Eq(wanted) => text == wanted,
            Self::Ne(other) => text != other,
            Self::Like(pattern) => pattern.matches(text),
            Self::In(list) => list.iter().any(|item| item == text),
            Self::NotIn(list) => list.iter().all(|item| item != text),
            Self::Present => true,
            Self::Missing | Self::Number(..) => false,
        }
    }

    /// Whether an integer passes.
    pub(crate) fn integer(&self, number: i64) -> bool {
        matches!(self, Self::Number(comparison, value) if comparison.holds_integer(number, *value))
    }

    /// Whether a double passes.
    pub(crate) fn double(&self, number: f64) -> bool {
        matches!(self, Self::Number(comparison, value) if comparison.holds(number, *value))
    }
}

/// The value of a key.
pub(crate) fn value_of<'a>(pairs: &'a [(String, String)], key: &str) -> Option<&'a str> {
    pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}
