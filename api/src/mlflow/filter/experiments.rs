//! Filters and orders of experiments.

use super::clause::{
    self, NUMBER_COMPARATORS, Test, clauses, comparison, invalid_attribute, invalid_comparator, no_lists, split, text,
    texts, unquoted, value_of,
};
use crate::filter::parser::{Clause, Expr, Value};
use crate::mlflow::error::{ApiError, ApiResult};
use crate::mlflow::names::python_texts;
use crate::{ExperimentId, ExperimentState};

const ENTITIES: &[&str] = &["attribute", "tag", "tags"];
const ATTRIBUTES: &[&str] = &["name", "experiment_id", "creation_time", "last_update_time"];
/// The comparators that MLflow's message names; lists are refused before.
const TEXT_COMPARATORS: &[&str] = &["=", "!=", "LIKE", "ILIKE", "IN", "NOT IN"];

/// A field to test or sort by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Field {
    Name,
    Id,
    CreationTime,
    LastUpdateTime,
    Tag(String),
}

/// A test of one field.
#[derive(Debug, Clone)]
pub(crate) struct Term {
    field: Field,
    test: Test,
}

impl Term {
    /// Whether an experiment passes.
    pub(crate) fn matches(&self, id: ExperimentId, state: &ExperimentState) -> bool {
        match &self.field {
            Field::Name => self.test.text(Some(&state.name)),
            Field::Id => self.test.text(Some(&id.to_string())),
            Field::CreationTime => self.test.integer(state.creation_time_ms),
            Field::LastUpdateTime => self.test.integer(state.last_update_time_ms),
            Field::Tag(key) => self.test.text(value_of(&state.tags, key)),
        }
    }
}

fn field(raw: &str) -> ApiResult<Field> {
    let (entity, key) = split(raw);
    let key = unquoted(key);
    match entity.unwrap_or("attribute") {
        "tag" | "tags" => Ok(Field::Tag(key.to_owned())),
        "attribute" => match key {
            "name" => Ok(Field::Name),
            "experiment_id" => Ok(Field::Id),
            "creation_time" => Ok(Field::CreationTime),
            "last_update_time" => Ok(Field::LastUpdateTime),
            _ => Err(invalid_attribute(key, ATTRIBUTES)),
        },
        other => Err(ApiError::invalid(format!(
            "Invalid entity type '{other}'. Valid entity types are ({})",
            python_texts(ENTITIES)
        ))),
    }
}

/// Reads a filter.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE` in MLflow's words.
pub(crate) fn parse(text: &str) -> ApiResult<Expr<Term>> {
    clauses(text)?.try_map(&mut term)
}

/// For experiments, MLflow accepts LIKE, ILIKE and IN in capitals only.
fn term(clause: &Clause<'_>) -> ApiResult<Term> {
    let comparator = clause.comparator.as_str();
    let field = field(clause.name)?;
    let invalid = |what: &str| ApiError::invalid(format!("Invalid comparator for {what}: {comparator}"));
    let test = match (&field, &clause.value) {
        (Field::Tag(_), Value::Nothing) => {
            if comparator == "IS NULL" {
                Test::Missing
            } else {
                Test::Present
            }
        }
        (_, Value::Nothing) => {
            let key = unquoted(split(clause.name).1);
            return Err(ApiError::invalid(format!(
                "IS NULL / IS NOT NULL is only supported for tags, not for attribute '{key}'"
            )));
        }
        (Field::CreationTime | Field::LastUpdateTime, value) => {
            let key = unquoted(split(clause.name).1);
            let Value::Number { raw, integer } = value else {
                return Err(ApiError::invalid(format!(
                    "Expected numeric value type for numeric attribute: {key}. Found {}",
                    value.raw()
                )));
            };
            let comparison =
                comparison(comparator).ok_or_else(|| invalid_comparator(comparator, NUMBER_COMPARATORS))?;
            match raw.parse().ok().filter(|_| *integer) {
                Some(number) => Test::Number(comparison, number),
                None => {
                    return Err(ApiError::invalid(format!("Invalid value for numeric attribute '{key}': '{raw}'")));
                }
            }
        }
        (Field::Id, Value::List { items, raw }) => {
            let mut ids = texts(items, raw)?;
            ids.iter_mut().try_for_each(normal_id)?;
            Test::of_list(comparator, ids).ok_or_else(|| invalid("experiment_id"))?
        }
        (Field::Name, Value::List { .. }) => {
            return Err(no_lists(&["experiment_id"]));
        }
        (Field::Id, value) => {
            let mut id = text(value, "Expected a quoted string value for attributes.")?.to_owned();
            if !matches!(comparator, "=" | "!=") {
                return Err(invalid("experiment_id"));
            }
            normal_id(&mut id)?;
            if comparator == "=" { Test::Eq(id) } else { Test::Ne(id) }
        }
        (Field::Name, value) => {
            let text = text(value, "Expected a quoted string value for attributes.")?;
            Test::of_text(comparator, text).ok_or_else(|| invalid_comparator(comparator, TEXT_COMPARATORS))?
        }
        (Field::Tag(_), value) => {
            let text = text(value, "Expected a quoted string value for tag (e.g. 'my-value').")?;
            Test::of_text(comparator, text).ok_or_else(|| invalid("tag"))?
        }
    };
    Ok(Term { field, test })
}

/// Normalises an id as it is printed: `007` becomes `7`.
fn normal_id(id: &mut String) -> ApiResult<()> {
    let number: i64 = id.trim().parse().map_err(|_| {
        ApiError::invalid(format!("Invalid experiment ID '{id}'. Experiment ID must be a valid integer."))
    })?;
    *id = number.to_string();
    Ok(())
}

/// Reads an order: keys, and whether each ascends.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE` in MLflow's words.
pub(crate) fn order(entries: &[String]) -> ApiResult<Vec<(Field, bool)>> {
    let key = |entry: &String| {
        let order = clause::order(entry)?;
        match field(order.name)? {
            Field::Tag(_) => Err(ApiError::invalid("Invalid order_by entity: tag")),
            field => Ok((field, order.ascending)),
        }
    };
    let mut keys: Vec<(Field, bool)> = Vec::with_capacity(entries.len());
    for entry in entries {
        let next = key(entry)?;
        // Sorting by the same key again changes nothing, as in SQL.
        if keys.iter().all(|(field, _)| *field != next.0) {
            keys.push(next);
        }
    }
    Ok(keys)
}
