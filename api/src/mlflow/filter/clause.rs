//! Parts that clauses of all kinds share: parsing texts and refusing them in MLflow's words, splitting names, removing
//! quotes, checking values, and testing texts and numbers in memory.

use crate::engine::search::Comparison;
use crate::engine::search::like::Pattern;
use crate::filter::Dialect;
pub(crate) use crate::filter::comparison;
use crate::filter::parser::{
    CLAUSES_MAX, Clause, DEPTH_MAX, Expr, Fault, FaultKind, ListError, Order, Value, foreign, inside, parse,
    parse_order,
};
use crate::mlflow::error::{ApiError, ApiResult};
use crate::mlflow::names::{python_text, python_texts};

/// Reads a filter; an empty one matches everything.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE` in MLflow's words.
pub(crate) fn clauses(text: &str) -> ApiResult<Expr<Clause<'_>>> {
    parse(text, Dialect::Mlflow).map_err(|fault| refused(text, fault, ""))
}

/// As [`clauses`], for runs: there MLflow puts the parts that it refuses in quotes.
///
/// # Errors
/// As there.
pub(crate) fn clauses_of_runs(text: &str) -> ApiResult<Expr<Clause<'_>>> {
    parse(text, Dialect::Mlflow).map_err(|fault| refused(text, fault, "'"))
}

/// Reads an entry of an order: `name [ASC|DESC]`.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE` in MLflow's words.
pub(crate) fn order(text: &str) -> ApiResult<Order<'_>> {
    parse_order(text, Dialect::Mlflow).map_err(|fault| {
        ApiError::invalid(match fault.kind {
            FaultKind::Direction => format!("Invalid ordering key in order_by clause '{text}'."),
            _ => format!("Invalid order_by clause '{text}'. Could not be parsed."),
        })
    })
}

/// The error for a duplicate key in an order.
pub(crate) fn duplicate_order(entries: &[String]) -> ApiError {
    ApiError::invalid(format!("`order_by` contains duplicate fields: {entries:?}"))
}

fn refused(text: &str, fault: Fault<'_>, quote: &str) -> ApiError {
    let part = fault.part;
    let of_clause = matches!(fault.kind, FaultKind::Expected(_) | FaultKind::Direction | FaultKind::NoName);
    // MLflow looks for what is no comparison before it looks into any of them.
    let mut parts = if of_clause { foreign(text) } else { Vec::new() };
    if parts.is_empty() && of_clause && fault.kind != FaultKind::NoName {
        parts.push(part);
    }
    if !parts.is_empty() {
        let parts: Vec<String> = parts.into_iter().map(|part| format!("{quote}{part}{quote}")).collect();
        return ApiError::invalid(format!("Invalid clause(s) in filter string: {}", parts.join(", ")));
    }
    ApiError::invalid(match fault.kind {
        FaultKind::Expected(_) | FaultKind::Direction | FaultKind::NoName => {
            format!("Invalid comparison clause. Expected 'Identifier' found '{part}'")
        }
        FaultKind::Blank => format!("Invalid filter '{part}'. Could not be parsed."),
        FaultKind::Several => format!(
            "Search filter contained multiple expression {}. Provide AND-ed expression list.",
            python_text(part)
        ),
        FaultKind::TooDeep => format!("Invalid filter: it is nested deeper than {DEPTH_MAX}."),
        FaultKind::TooManyClauses => format!("Invalid filter: it has more than {CLAUSES_MAX} clauses."),
    })
}

/// Splits a name at the first dot into entity and key; a name without a dot is an attribute.
pub(crate) fn split(name: &str) -> (Option<&str>, &str) {
    name.split_once('.').map_or((None, name), |(entity, key)| (Some(entity), key))
}

/// The text without surrounding backticks.
pub(crate) fn without_backticks(text: &str) -> &str {
    inside(text, '`').unwrap_or(text)
}

/// The text without surrounding quotes of any kind.
pub(crate) fn unquoted(text: &str) -> &str {
    without_backticks(inside(text, '\'').or_else(|| inside(text, '"')).unwrap_or(text))
}

/// The text of a value. `wanted` names what the error for a number or list says was expected.
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

/// The error for a comparator that this key does not have.
pub(crate) fn invalid_comparator(comparator: &str, valid: &[&str]) -> ApiError {
    ApiError::invalid(format!("Invalid comparator '{comparator}' not one of '{{{}}}'", python_texts(valid)))
}

/// The error for an entity that this search does not have.
pub(crate) fn invalid_entity(entity: &str, valid: &[&str]) -> ApiError {
    ApiError::invalid(format!("Invalid entity type '{entity}'. Valid values are [{}]", python_texts(valid)))
}

/// The error for an attribute that this search does not have.
pub(crate) fn invalid_attribute(key: &str, valid: &[&str]) -> ApiError {
    ApiError::invalid(format!("Invalid attribute key '{key}' specified. Valid keys are '{{{}}}'", python_texts(valid)))
}

/// The error for an attribute compared with a list, although only `valid` ones can be.
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
    /// A comparison with a number.
    Number(Comparison, f64),
}

impl Test {
    /// A test of a text, with the comparator in capitals; `None` if texts have no such comparator.
    pub(crate) fn of_text(comparator: &str, text: &str) -> Option<Self> {
        Some(match comparator {
            "=" => Self::Eq(text.to_owned()),
            "!=" => Self::Ne(text.to_owned()),
            "LIKE" => Self::Like(Box::new(Pattern::like(text))),
            "ILIKE" => Self::Like(Box::new(Pattern::ilike(text))),
            _ => return None,
        })
    }

    /// A test with a list; `None` if lists have no such comparator.
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

/// The value of a key; `None` if it is missing.
pub(crate) fn value_of<'a>(pairs: &'a [(String, String)], key: &str) -> Option<&'a str> {
    pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}
