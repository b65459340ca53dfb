//! Filters and orders of runs, as the engine's typed expressions.
//!
//! Beyond MLflow, where MLflow refuses the text: a param compared with a bare number compares numbers
//! (`params.lr < 0.01`; text that is no number counts as missing), and `metrics.KEY.min`, `.max`, `.first`, `.count`
//! read that number of the series KEY. A key in quotes or backticks is always a key, and so is one that the searched
//! experiments hold: `has_metric` says so.

use super::clause::{
    NUMBER_COMPARATORS, comparison, invalid_attribute, invalid_comparator, invalid_entity, no_lists, split, text,
    texts, unquoted, without_backticks,
};
use super::order;
use super::parser::{Clause, Expr, Value, parse as parse_clauses};
use crate::engine::search::filter::metric;
use crate::engine::search::{Aggregate, Filter, Key, NumberKey, OrderKey, TextKey, TextTest};
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

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    /// `quoted`: always a key, never an aggregate.
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
    let expr = parse_clauses(text)?.try_map(&mut |clause| term(clause, has_metric))?;
    Ok(match expr {
        Expr::And(all) if all.is_empty() => None,
        expr => Some(filter(expr)),
    })
}

fn filter(expr: Expr<Filter>) -> Filter {
    match expr {
        Expr::And(all) => Filter::And(all.into_iter().map(filter).collect()),
        Expr::Or(any) => Filter::Or(any.into_iter().map(filter).collect()),
        Expr::Not(inner) => Filter::Not(Box::new(filter(*inner))),
        Expr::Clause(term) => term,
    }
}

/// Reads an order.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE` in MLflow's words, and those of `has_metric`.
pub(crate) fn order(entries: &[String], has_metric: &mut HasMetric<'_>) -> ApiResult<Vec<OrderKey>> {
    let mut keys: Vec<OrderKey> = Vec::with_capacity(entries.len());
    for entry in entries {
        let order = order::parse(entry)?;
        let key = match name(order.name, ORDER_ATTRIBUTES)? {
            Name::Metric { key, quoted } => Key::Number(metric_number(key, quoted, has_metric)?),
            Name::Param(key) => Key::Text(TextKey::Param(key)),
            Name::Tag(key) => Key::Text(TextKey::Tag(key)),
            Name::Text(key) => Key::Text(key),
            Name::Number(key) => Key::Number(key),
            Name::Dataset(_) => return Err(ApiError::invalid("Invalid identifier type 'dataset'")),
        };
        if keys.iter().any(|other| other.key == key) {
            return Err(order::duplicate(entries));
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
    Ok(match entity {
        "metric" | "metrics" => Name::Metric { key: owned(), quoted: raw_key.len() != key.len() },
        "param" | "params" | "parameter" | "parameters" => Name::Param(owned()),
        "tag" | "tags" => Name::Tag(owned()),
        "attribute" | "attributes" | "attr" | "run" if !attributes.contains(&key) => {
            return Err(invalid_attribute(key, attributes));
        }
        "attribute" | "attributes" | "attr" | "run" => match key {
            "run_id" => Name::Text(TextKey::RunId),
            "run_name" | "run name" | "Run name" | "Run Name" => Name::Text(TextKey::Name),
            "user_id" => Name::Text(TextKey::UserId),
            "status" => Name::Text(TextKey::Status),
            "artifact_uri" => Name::Text(TextKey::ArtifactUri),
            "end_time" => Name::Number(NumberKey::EndTime),
            _ => Name::Number(NumberKey::StartTime),
        },
        "dataset" | "datasets" => match key {
            "name" => Name::Dataset(TextKey::DatasetName),
            "digest" => Name::Dataset(TextKey::DatasetDigest),
            "context" => Name::Dataset(TextKey::DatasetContext),
            _ => {
                return Err(ApiError::invalid(format!(
                    "Invalid dataset key '{key}' specified. Valid keys are '{{{}}}'",
                    python_texts(DATASET_KEYS)
                )));
            }
        },
        other => return Err(invalid_entity(other, ENTITIES)),
    })
}

/// A metric's latest value, or the aggregate that the end of its key names.
fn metric_number(key: String, quoted: bool, has_metric: &mut HasMetric<'_>) -> ApiResult<NumberKey> {
    let aggregate = match key.rsplit_once('.') {
        Some((series, "min")) => Some((series, Aggregate::Min)),
        Some((series, "max")) => Some((series, Aggregate::Max)),
        Some((series, "first")) => Some((series, Aggregate::First)),
        Some((series, "count")) => Some((series, Aggregate::Count)),
        _ => None,
    };
    match aggregate.filter(|(series, _)| !quoted && !series.is_empty()) {
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

/// The lexer lets only what parses be a number.
fn number(raw: &str) -> f64 {
    raw.parse().unwrap_or(f64::NAN)
}

fn text_test(key: TextKey, comparator: &str, text: &str, valid: &[&str]) -> ApiResult<Filter> {
    Ok(match comparator {
        "=" => key.eq(text),
        "!=" => key.ne(text),
        "LIKE" => key.like(text),
        "ILIKE" => key.ilike(text),
        _ => return Err(invalid_comparator(comparator, valid)),
    })
}

fn list_test(key: TextKey, comparator: &str, list: Vec<String>) -> ApiResult<Filter> {
    let test = match comparator {
        "IN" => TextTest::In(list),
        "NOT IN" => TextTest::NotIn(list),
        _ => return Err(invalid_comparator(comparator, TEXT_COMPARATORS)),
    };
    Ok(Filter::Term(crate::engine::search::Term::Text { key, test }))
}
