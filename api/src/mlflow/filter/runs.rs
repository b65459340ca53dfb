//! Filters and orders of runs, as the engine's typed expressions.
//!
//! Beyond MLflow, where MLflow refuses the text: a param compared with a bare number compares numbers
//! (`params.lr < 0.01`; text that is no number counts as missing), and `metrics.KEY.min`, `.max`, `.first`, `.count`
//! read that number of the series KEY. A key in quotes or backticks is always a key, and so is one that the searched
//! experiments hold: `has_metric` says so.

use super::clause::{
    self, NUMBER_COMPARATORS, clauses_of_runs, comparison, invalid_attribute, invalid_comparator, invalid_entity,
    no_lists, split, text, texts, unquoted, without_backticks,
};
use crate::engine::search::filter::metric;
use crate::engine::search::{Aggregate, Filter, Key, NumberKey, OrderKey, TextKey};
use crate::filter;
use crate::filter::key::{Family, aggregate, attribute, dataset};
use crate::filter::parser::{Clause, Expr, Value};
use crate::mlflow::error::{ApiError, ApiResult};
use crate::mlflow::names::python_texts;

/// Whether a metric of exactly this key is in the searched experiments.
pub(crate) type HasMetric<'a> = dyn FnMut(&str) -> ApiResult<bool> + 'a;

const ENTITIES: &[&str] = &["metric", "parameter", "tag", "attribute", "dataset"];
const ATTRIBUTES: &[&str] = &[
    "run_id",
    "run_name",
    "user_id",
    "status",
    "start_time",
    "end_time",
    "artifact_uri",
    "created",
    "Created",
    "run name",
    "Run name",
    "Run Name",
];
const ORDER_ATTRIBUTES: &[&str] =
    &["run_id", "run_name", "user_id", "status", "start_time", "end_time", "artifact_uri", "created", "Created"];
const DATASET_KEYS: &[&str] = &["name", "digest", "context"];
const PARAM_COMPARATORS: &[&str] = &["=", "!=", "LIKE", "ILIKE", "IS NULL", "IS NOT NULL"];
const TEXT_COMPARATORS: &[&str] = &["=", "!=", "LIKE", "ILIKE", "IN", "NOT IN"];

/// The meaning of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    /// A metric. `quoted`: always a key, never an aggregate.
    Metric {
        key: String,
        quoted: bool,
    },
    Param(String),
    Tag(String),
    /// Text and number attributes.
    Text(TextKey),
    Number(NumberKey),
    Dataset(TextKey),
}

/// Reads a filter; `None` matches everything.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE` in MLflow's words, and those of `has_metric`.
pub(crate) fn parse(text: &str, has_metric: &mut HasMetric<'_>) -> ApiResult<Option<Filter>> {
    let expr = clauses_of_runs(text)?.try_map(&mut |clause| term(clause, has_metric))?;
    Ok(match expr {
        Expr::And(all) if all.is_empty() => None,
        expr => Some(expr.into_filter()),
    })
}

/// Reads an order.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE` in MLflow's words, and those of `has_metric`.
pub(crate) fn order(entries: &[String], has_metric: &mut HasMetric<'_>) -> ApiResult<Vec<OrderKey>> {
    let mut keys: Vec<OrderKey> = Vec::with_capacity(entries.len());
    for entry in entries {
        let order = clause::order(entry)?;
        let key = match name(order.name, ORDER_ATTRIBUTES)? {
            Name::Metric { key, quoted } => Key::Number(metric_number(key, quoted, has_metric)?),
            Name::Param(key) => Key::Text(TextKey::Param(key)),
            Name::Tag(key) => Key::Text(TextKey::Tag(key)),
            Name::Text(key) => Key::Text(key),
            Name::Number(key) => Key::Number(key),
            Name::Dataset(_) => return Err(ApiError::invalid("Invalid identifier type 'dataset'")),
        };
        if keys.iter().any(|other| other.key == key) {
            return Err(clause::duplicate_order(entries));
        }
        keys.push(OrderKey { key, ascending: order.ascending });
    }
    Ok(keys)
}

fn name(raw: &str, attributes: &[&str]) -> ApiResult<Name> {
    let (entity, key) = split(raw);
    let entity = entity.map_or("attribute", without_backticks);
    let (raw_key, key) = (key, unquoted(key));
    let owned = || key.to_owned();
    Ok(match Family::named(entity) {
        Some(Family::Metric) => Name::Metric { key: owned(), quoted: raw_key.len() != key.len() },
        Some(Family::Param) => Name::Param(owned()),
        Some(Family::Tag) => Name::Tag(owned()),
        Some(Family::Attribute) => match attribute(key).filter(|_| attributes.contains(&key)) {
            Some(Key::Text(key)) => Name::Text(key),
            Some(Key::Number(key)) => Name::Number(key),
            None => return Err(invalid_attribute(key, attributes)),
        },
        Some(Family::Dataset) => Name::Dataset(dataset(key).ok_or_else(|| {
            ApiError::invalid(format!(
                "Invalid dataset key '{key}' specified. Valid keys are '{{{}}}'",
                python_texts(DATASET_KEYS)
            ))
        })?),
        None => return Err(invalid_entity(entity, ENTITIES)),
    })
}

/// A metric's latest value, or the aggregate that its key's suffix names.
fn metric_number(key: String, quoted: bool, has_metric: &mut HasMetric<'_>) -> ApiResult<NumberKey> {
    let is_ours = |(series, aggregate): &(&str, Aggregate)| *aggregate != Aggregate::Latest && !series.is_empty();
    match aggregate(&key).filter(|found| !quoted && is_ours(found)) {
        Some((series, aggregate)) if !has_metric(&key)? => Ok(metric(unquoted(series)).aggregate(aggregate)),
        _ => Ok(metric(key)),
    }
}

fn term(clause: &Clause<'_>, has_metric: &mut HasMetric<'_>) -> ApiResult<Filter> {
    let comparator = clause.comparator.to_ascii_uppercase();
    let name = name(clause.name, ATTRIBUTES)?;
    if clause.value == Value::Nothing {
        let key = match name {
            Name::Param(key) => TextKey::Param(key),
            Name::Tag(key) => TextKey::Tag(key),
            Name::Metric { .. } => return Err(no_null("metric", clause)),
            Name::Dataset(_) => return Err(no_null("dataset", clause)),
            Name::Text(_) | Name::Number(_) => return Err(no_null("attribute", clause)),
        };
        return Ok(if comparator == "IS NULL" { key.is_null() } else { key.is_not_null() });
    }
    match name {
        Name::Metric { key, quoted } => {
            let Value::Number { raw, .. } = clause.value else {
                let found = clause.value.raw();
                return Err(ApiError::invalid(format!("Expected numeric value type for metric. Found {found}")));
            };
            let comparison =
                comparison(&comparator).ok_or_else(|| invalid_comparator(&comparator, NUMBER_COMPARATORS))?;
            Ok(metric_number(key, quoted, has_metric)?.compare(comparison, number(raw)))
        }
        Name::Number(key) => {
            let Value::Number { raw, .. } = clause.value else {
                return Err(ApiError::invalid(format!(
                    "Expected numeric value type for numeric attribute: {}. Found {}",
                    unquoted(split(clause.name).1),
                    clause.value.raw()
                )));
            };
            let comparison =
                comparison(&comparator).ok_or_else(|| invalid_comparator(&comparator, NUMBER_COMPARATORS))?;
            Ok(key.compare(comparison, number(raw)))
        }
        Name::Param(key) => match (&clause.value, comparison(&comparator)) {
            (Value::Number { raw, .. }, Some(comparison)) => Ok(NumberKey::Param(key).compare(comparison, number(raw))),
            (value, _) => {
                let text = text(value, "Expected a quoted string value for parameter (e.g. 'my-value').")?;
                text_test(TextKey::Param(key), &comparator, text, PARAM_COMPARATORS)
            }
        },
        Name::Tag(key) => {
            let text = text(&clause.value, "Expected a quoted string value for tag (e.g. 'my-value').")?;
            text_test(TextKey::Tag(key), &comparator, text, PARAM_COMPARATORS)
        }
        Name::Text(key) => match &clause.value {
            Value::List { items, raw } => {
                if key != TextKey::RunId {
                    return Err(no_lists(&["run_id"]));
                }
                list_test(key, &comparator, texts(items, raw)?)
            }
            value => {
                let text = text(value, "Expected a quoted string value for attributes.")?;
                text_test(key, &comparator, text, TEXT_COMPARATORS)
            }
        },
        Name::Dataset(key) => match &clause.value {
            Value::List { items, raw } => list_test(key, &comparator, texts(items, raw)?),
            value => {
                let text = text(value, "Expected a quoted string value for dataset attributes.")?;
                text_test(key, &comparator, text, TEXT_COMPARATORS)
            }
        },
    }
}

fn no_null(entity: &str, clause: &Clause<'_>) -> ApiError {
    let key = unquoted(split(clause.name).1);
    ApiError::invalid(format!(
        "IS NULL / IS NOT NULL is only supported for tags and params, not for '{entity}' '{key}'"
    ))
}

/// The lexer only makes numbers of texts that parse.
fn number(raw: &str) -> f64 {
    raw.parse().unwrap_or(f64::NAN)
}

fn text_test(key: TextKey, comparator: &str, text: &str, valid: &[&str]) -> ApiResult<Filter> {
    filter::text_test(key, comparator, text).ok_or_else(|| invalid_comparator(comparator, valid))
}

fn list_test(key: TextKey, comparator: &str, list: Vec<String>) -> ApiResult<Filter> {
    filter::list_test(key, comparator, list).ok_or_else(|| invalid_comparator(comparator, TEXT_COMPARATORS))
}
