//! Filters and orders of registered models and of versions.
//!
//! Prompts are models with a tag. A search means prompts if its first clause on that tag says `= 'true'` or
//! `!= 'false'`; else it means models, and clauses on that tag count as true.

use super::clause::{self, Test, clauses, comparison, split, text, texts, unquoted, value_of};
use crate::ModelVersionState;
use crate::engine::entity::RegisteredModelState;
use crate::filter::parser::{Clause, Expr, Value};
use crate::mlflow::error::{ApiError, ApiResult};
use crate::mlflow::names;

/// The tag that makes a model or version a prompt.
pub(crate) const TAG_IS_PROMPT: &str = "mlflow.prompt.is_prompt";

const MODEL_ATTRIBUTES: &[&str] = &["name"];
const VERSION_ATTRIBUTES: &[&str] = &["name", "version_number", "run_id", "source_path"];
const VERSION_ORDER_KEYS: &[&str] = &["name", "version_number", "creation_timestamp", "last_updated_timestamp"];
const MODEL_ORDER_KEYS: &[&str] = &["name", "timestamp"];

/// A field to test or sort by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Field {
    Name,
    Version,
    RunId,
    Source,
    Created,
    LastUpdated,
    Tag(String),
}

/// A test of one field.
#[derive(Debug, Clone)]
pub(crate) struct Term {
    field: Field,
    test: Test,
    /// Whether the term is always true, because it tests a tag that the search ignores.
    always: bool,
}

/// A filter, with whether it searches prompts.
#[derive(Debug, Clone)]
pub(crate) struct RegistryFilter {
    expr: Expr<Term>,
    /// Whether it searches prompts; else models.
    pub(crate) prompts: bool,
}

impl RegistryFilter {
    /// Whether a model passes.
    pub(crate) fn matches_model(&self, state: &RegisteredModelState) -> bool {
        self.expr.holds(&mut |term| match &term.field {
            _ if term.always => true,
            Field::Name => term.test.text(Some(&state.name)),
            Field::Tag(key) => term.test.text(value_of(&state.tags, key)),
            _ => false,
        })
    }

    /// Whether a version passes.
    pub(crate) fn matches_version(&self, name: &str, version: u32, state: &ModelVersionState) -> bool {
        self.expr.holds(&mut |term| match &term.field {
            _ if term.always => true,
            Field::Name => term.test.text(Some(name)),
            Field::RunId => term.test.text(state.run_id.as_deref()),
            Field::Source => term.test.text(Some(&state.source)),
            Field::Version => term.test.integer(i64::from(version)),
            Field::Tag(key) => term.test.text(value_of(&state.tags, key)),
            Field::Created | Field::LastUpdated => false,
        })
    }

    /// The only name that can match, if a clause that must hold fixes it.
    pub(crate) fn only_name(&self) -> Option<&str> {
        let name = |expr: &Expr<Term>| matches!(expr, Expr::Clause(Term { field: Field::Name, test: Test::Eq(_), .. }));
        let found = match &self.expr {
            Expr::And(all) => all.iter().find(|expr| name(expr))?,
            expr if name(expr) => expr,
            _ => return None,
        };
        match found {
            Expr::Clause(Term { test: Test::Eq(name), .. }) => Some(name),
            _ => None,
        }
    }
}

/// Reads a filter of registered models.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE` in MLflow's words.
pub(crate) fn parse_models(text: &str) -> ApiResult<RegistryFilter> {
    let attribute = |key: &str| (key == "name").then_some(Field::Name);
    finish(clauses(text)?.try_map(&mut |clause| term(clause, MODEL_ATTRIBUTES, &attribute))?)
}

/// Reads a filter of versions.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE` in MLflow's words.
pub(crate) fn parse_versions(text: &str) -> ApiResult<RegistryFilter> {
    let attribute = |key: &str| match key {
        "name" => Some(Field::Name),
        "version_number" => Some(Field::Version),
        "run_id" => Some(Field::RunId),
        "source_path" => Some(Field::Source),
        _ => None,
    };
    finish(clauses(text)?.try_map(&mut |clause| term(clause, VERSION_ATTRIBUTES, &attribute))?)
}

fn finish(expr: Expr<Term>) -> ApiResult<RegistryFilter> {
    let mut prompts = None;
    expr.each(&mut |term| {
        if matches!(&term.field, Field::Tag(key) if key == TAG_IS_PROMPT) && prompts.is_none() {
            prompts = Some(match &term.test {
                Test::Eq(text) => text.eq_ignore_ascii_case("true"),
                Test::Ne(text) => text.eq_ignore_ascii_case("false"),
                _ => false,
            });
        }
    });
    let prompts = prompts.unwrap_or(false);
    let expr = expr.try_map(&mut |term| {
        let always = !prompts && matches!(&term.field, Field::Tag(key) if key == TAG_IS_PROMPT);
        Ok::<_, ApiError>(Term { always, ..term.clone() })
    })?;
    Ok(RegistryFilter { expr, prompts })
}

fn term(clause: &Clause<'_>, attributes: &[&str], attribute: &dyn Fn(&str) -> Option<Field>) -> ApiResult<Term> {
    let comparator = clause.comparator.to_ascii_uppercase();
    let (entity, raw_key) = split(clause.name);
    let field = match entity.unwrap_or("attribute") {
        "tag" | "tags" => Field::Tag(unquoted(raw_key).to_owned()),
        // Attributes are compared with their quotes: `name` in backticks is not one.
        "attribute" => attribute(raw_key).ok_or_else(|| invalid_attribute(raw_key, attributes))?,
        other => return Err(invalid_entity(other)),
    };
    let test = match (&field, &clause.value) {
        (_, Value::Nothing) => {
            return Err(ApiError::invalid(format!(
                "IS NULL / IS NOT NULL is not supported in the model registry: '{}'",
                clause.name
            )));
        }
        (Field::Tag(_), value) => {
            let text = text(value, "Expected a quoted string value for tag (e.g. 'my-value').")?;
            Test::of_text(&comparator, text)
                .ok_or_else(|| ApiError::invalid(format!("Invalid comparator for tag: {comparator}")))?
        }
        (Field::Version, value) => {
            let invalid =
                |raw: &str| ApiError::invalid(format!("Invalid value for numeric attribute 'version_number': {raw}"));
            let number: i64 = match value {
                Value::Number { raw, integer: true } => raw.parse().map_err(|_| invalid(raw))?,
                Value::Number { raw, .. } => return Err(invalid(raw)),
                Value::List { .. } => return Err(no_list(attributes)),
                value => {
                    let text = text(value, WANTED)?;
                    text.trim().parse().map_err(|_| invalid(value.raw()))?
                }
            };
            let comparison = comparison(&comparator).ok_or_else(|| {
                ApiError::invalid(format!("Invalid comparator for attribute version_number: {comparator}"))
            })?;
            Test::Number(comparison, number as f64)
        }
        (Field::Name | Field::RunId, Value::List { items, raw }) => {
            Test::of_list(&comparator, texts(items, raw)?).ok_or_else(|| invalid_text_comparator(&comparator))?
        }
        (_, Value::List { .. }) => return Err(no_list(attributes)),
        (_, Value::Number { .. }) if attributes.len() > 1 => {
            return Err(ApiError::invalid(format!(
                "Only the '{}' attributes support comparison with numeric values.",
                python_set(&["version_number", "creation_timestamp", "last_updated_timestamp"])
            )));
        }
        (_, value) => {
            let text = text(value, WANTED)?;
            Test::of_text(&comparator, text).ok_or_else(|| invalid_text_comparator(&comparator))?
        }
    };
    Ok(Term { field, test, always: false })
}

const WANTED: &str = "Expected a quoted string value or a list of quoted string values for attributes.";

fn invalid_text_comparator(comparator: &str) -> ApiError {
    ApiError::invalid(format!("Invalid comparator for attribute: {comparator}"))
}

fn invalid_entity(entity: &str) -> ApiError {
    ApiError::invalid(format!("Invalid entity type '{entity}'. Valid entity types are ('attribute', 'tag', 'tags')"))
}

fn invalid_attribute(key: &str, valid: &[&str]) -> ApiError {
    ApiError::invalid(format!("Invalid attribute key '{key}' specified. Valid keys are '{}'", python_set(valid)))
}

/// Keys as MLflow's messages list them.
fn python_set(keys: &[&str]) -> String {
    format!("{{'{}'}}", keys.join("', '"))
}

fn no_list(attributes: &[&str]) -> ApiError {
    let keys = if attributes.len() > 1 { "['name', 'run_id']" } else { "['name']" };
    ApiError::invalid(format!("Only {keys} attributes support comparison with a list of quoted string values."))
}

/// Reads an order of registered models: keys, and whether each ascends.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE` in MLflow's words.
pub(crate) fn order_models(entries: &[String]) -> ApiResult<Vec<(Field, bool)>> {
    keys(entries, |name| match name {
        "name" => Ok(Field::Name),
        "timestamp" | "last_updated_timestamp" => Ok(Field::LastUpdated),
        other => Err(ApiError::invalid(format!(
            "Invalid order by key '{other}' specified. Valid keys are '{}'",
            python_set(MODEL_ORDER_KEYS)
        ))),
    })
}

/// Reads an order of versions: keys, and whether each ascends.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE` in MLflow's words.
pub(crate) fn order_versions(entries: &[String]) -> ApiResult<Vec<(Field, bool)>> {
    keys(entries, |name| {
        let (entity, key) = split(name);
        let key = unquoted(key);
        match (entity.unwrap_or("attribute"), key) {
            ("attribute", "name") => Ok(Field::Name),
            ("attribute", "version_number") => Ok(Field::Version),
            ("attribute", "creation_timestamp") => Ok(Field::Created),
            ("attribute", "last_updated_timestamp") => Ok(Field::LastUpdated),
            ("attribute", other) => Err(invalid_attribute(other, VERSION_ORDER_KEYS)),
            ("tag" | "tags", other) => Err(ApiError::invalid(format!(
                "Invalid order by key '{other}' specified. Valid keys are {}",
                python_set(VERSION_ORDER_KEYS)
            ))),
            (other, _) => Err(invalid_entity(other)),
        }
    })
}

fn keys(entries: &[String], field: impl Fn(&str) -> ApiResult<Field>) -> ApiResult<Vec<(Field, bool)>> {
    let mut keys: Vec<(Field, bool)> = Vec::with_capacity(entries.len());
    for entry in entries {
        let order = clause::order(entry)?;
        let field = field(order.name)?;
        if keys.iter().any(|(other, _)| *other == field) {
            // MLflow gives no code here.
            return Err(names::internal_as_400(format!(
                "`order_by` contains duplicate fields: ['{}']",
                entries.join("', '")
            )));
        }
        keys.push((field, order.ascending));
    }
    Ok(keys)
}
