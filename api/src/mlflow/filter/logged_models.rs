//! Filters and orders of logged models.
//!
//! Entities are `attributes`, `metrics`, `params` and `tags`; clauses are joined by AND only. Texts need no quotes. A
//! metric's clause holds if any point passes.

use super::clause::{NUMBER_COMPARATORS, Test, clauses, comparison, texts, unquoted, value_of};
use crate::engine::entity::LoggedModelState;
use crate::filter::parser::{Clause, Expr, ListError, Value};
use crate::mlflow::error::{ApiError, ApiResult};
use crate::mlflow::names::{python_text, python_texts};
use crate::{LoggedModelStatus, ModelId};

const ENTITIES: &[&str] = &["attributes", "metrics", "params", "tags"];
const TEXT_COMPARATORS: &[&str] = &["=", "!=", "LIKE", "ILIKE", "IN", "NOT IN"];

/// A field to test or sort by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Field {
    Name,
    ModelId,
    Experiment,
    ModelType,
    SourceRun,
    Status,
    Created,
    LastUpdated,
    /// Where its files are; depends on the API that asks.
    Location,
    /// `active`: deleted models are not searched.
    Lifecycle,
    /// Never given.
    StatusMessage,
    Param(String),
    Tag(String),
    Metric(String),
}

/// A test of one field.
#[derive(Debug, Clone)]
pub(crate) struct Term {
    /// The field to test.
    pub(crate) field: Field,
    /// The test.
    pub(crate) test: Test,
}

impl Term {
    /// Whether a model passes; tests of metrics are skipped, as if they passed. `location` gives the place of its files.
    pub(crate) fn matches(
        &self,
        id: ModelId,
        state: &LoggedModelState,
        location: impl FnOnce() -> ApiResult<String>,
    ) -> ApiResult<bool> {
        let test = &self.test;
        Ok(match &self.field {
            Field::Location => test.text(Some(&location()?)),
            Field::Lifecycle => test.text(Some("active")),
            Field::StatusMessage => test.text(None),
            Field::Name => test.text(Some(&state.name)),
            Field::ModelId => test.text(Some(&id.to_string())),
            Field::Experiment => test.text(Some(&state.experiment.to_string())),
            Field::ModelType => test.text(given(&state.model_type)),
            Field::SourceRun => test.text(given(&state.source_run)),
            Field::Status => {
                let mut names = status_names(state.status).into_iter();
                match test {
                    Test::Ne(_) | Test::NotIn(_) => names.all(|name| test.text(Some(name))),
                    _ => names.any(|name| test.text(Some(name))),
                }
            }
            Field::Created => test.integer(state.creation_time_ms),
            Field::LastUpdated => test.integer(state.last_updated_time_ms),
            Field::Param(key) => test.text(value_of(&state.params, key)),
            Field::Tag(key) => test.text(value_of(&state.tags, key)),
            Field::Metric(_) => true,
        })
    }
}

/// A text that is stored as empty if absent; `None` if it is.
pub(crate) fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Names of a status: number, name on the wire, name in Python.
fn status_names(status: LoggedModelStatus) -> [&'static str; 3] {
    match status {
        LoggedModelStatus::Unspecified => ["0", "LOGGED_MODEL_STATUS_UNSPECIFIED", "UNSPECIFIED"],
        LoggedModelStatus::Pending => ["1", "LOGGED_MODEL_PENDING", "PENDING"],
        LoggedModelStatus::Ready => ["2", "LOGGED_MODEL_READY", "READY"],
        LoggedModelStatus::UploadFailed => ["3", "LOGGED_MODEL_UPLOAD_FAILED", "FAILED"],
    }
}

/// An attribute by its name in filters and orders.
pub(crate) fn attribute(key: &str) -> Option<Field> {
    Some(match key {
        "name" => Field::Name,
        "model_id" => Field::ModelId,
        "experiment_id" => Field::Experiment,
        "model_type" => Field::ModelType,
        "source_run_id" => Field::SourceRun,
        "status" => Field::Status,
        "artifact_location" => Field::Location,
        "lifecycle_stage" => Field::Lifecycle,
        "status_message" => Field::StatusMessage,
        "creation_timestamp" | "creation_time" | "creation_timestamp_ms" => Field::Created,
        "last_updated_timestamp" | "last_updated_time" | "last_updated_timestamp_ms" => Field::LastUpdated,
        _ => return None,
    })
}

/// Reads a filter: all of its tests must hold.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE` in MLflow's words.
pub(crate) fn parse(text: &str) -> ApiResult<Vec<Term>> {
    let refused = || {
        ApiError::invalid(format!(
            "Invalid filter string: {}. Expected a list of comparisons separated by 'AND' (e.g. 'metrics.loss > 0.1 AND \
             params.lr = 0.01').",
            python_text(text)
        ))
    };
    if !text.is_empty() && text.trim().is_empty() {
        let what = python_text(text);
        return Err(ApiError::invalid(format!("Invalid filter string: {what}. Expected a single SQL expression.")));
    }
    let clauses = match clauses(text).map_err(|_| refused())? {
        Expr::And(all) => all,
        one => vec![one],
    };
    // Joined clauses of another kind are in parentheses, or use OR and NOT.
    if clauses.iter().any(|expr| !matches!(expr, Expr::Clause(_))) || has_group(text) {
        return Err(refused());
    }
    let clause = |expr: &Expr<Clause<'_>>| match expr {
        Expr::Clause(clause) => term(clause),
        _ => Err(refused()),
    };
    clauses.iter().map(clause).collect()
}

/// Whether a parenthesis opens where no list can be: around one clause, or around all.
fn has_group(text: &str) -> bool {
    use crate::filter::Dialect;
    use crate::filter::lexer::{Kind, tokens};
    let tokens = tokens(text, Dialect::Mlflow);
    let is_in = |at: usize| text[tokens[at].start..tokens[at].end].eq_ignore_ascii_case("IN");
    let opens = tokens.iter().enumerate().filter(|(_, token)| token.kind == Kind::Open);
    opens.into_iter().any(|(at, _)| at == 0 || !(is_in(at - 1) || tokens[at - 1].kind == Kind::Compare))
}

fn term(clause: &Clause<'_>) -> ApiResult<Term> {
    let field = field(clause.name)?;
    let comparator = clause.comparator.to_ascii_uppercase();
    let invalid = |valid: &[&str]| {
        ApiError::invalid(format!(
            "Invalid comparison operator for {}: '{comparator}'. Expected one of ({}).",
            shown(clause.name),
            python_texts(valid)
        ))
    };
    if clause.value == Value::Nothing {
        return Err(ApiError::invalid(format!(
            "Invalid comparison: {} {comparator}. Expected a comparison with 3 tokens.",
            clause.name
        )));
    }
    let test = if matches!(field, Field::Metric(_) | Field::Created | Field::LastUpdated) {
        let comparison = comparison(&comparator).ok_or_else(|| invalid(NUMBER_COMPARATORS))?;
        let number = match &clause.value {
            Value::Number { raw, .. } => raw.parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| {
            ApiError::invalid(format!("Expected numeric value for {}. Found {}", clause.name, clause.value.raw()))
        })?;
        Test::Number(comparison, number)
    } else {
        if !TEXT_COMPARATORS.contains(&comparator.as_str()) {
            return Err(invalid(TEXT_COMPARATORS));
        }
        match &clause.value {
            Value::List { items, raw } => {
                // Only here a list may be empty, as in MLflow.
                let list = match items {
                    Err(ListError::Empty) => Vec::new(),
                    items => texts(items, raw)?,
                };
                Test::of_list(&comparator, list).ok_or_else(|| invalid(TEXT_COMPARATORS))?
            }
            value => Test::of_text(&comparator, unquoted(value.raw())).ok_or_else(|| invalid(TEXT_COMPARATORS))?,
        }
    };
    Ok(Term { field, test })
}

/// A name as messages show it.
fn shown(name: &str) -> String {
    let (entity, key) = name.split_once('.').unwrap_or(("attributes", name));
    let key = match unquoted(key) {
        "creation_timestamp" | "creation_time" if entity == "attributes" => "creation_timestamp_ms",
        "last_updated_timestamp" if entity == "attributes" => "last_updated_timestamp_ms",
        key => key,
    };
    format!("{entity}.{key}")
}

fn field(name: &str) -> ApiResult<Field> {
    let entity = name.split_once('.').filter(|(entity, key)| {
        !entity.is_empty() && entity.bytes().all(|byte| byte.is_ascii_lowercase()) && !key.is_empty()
    });
    let Some((entity, key)) = entity else { return attribute_of(unquoted(name)) };
    let key = unquoted(key);
    match entity {
        "attributes" => attribute_of(key),
        "metrics" => Ok(Field::Metric(key.to_owned())),
        "params" => Ok(Field::Param(key.to_owned())),
        "tags" => Ok(Field::Tag(key.to_owned())),
        other => Err(ApiError::invalid(format!(
            "Invalid entity type: '{other}'. Expected one of [{}].",
            python_texts(ENTITIES)
        ))),
    }
}

fn attribute_of(key: &str) -> ApiResult<Field> {
    attribute(key).ok_or_else(|| ApiError::invalid(format!("Invalid attribute key '{key}' specified.")))
}

/// The field of an order by its `field_name`.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE` in MLflow's words.
pub(crate) fn order_field(field_name: &str) -> ApiResult<Field> {
    match field_name.split_once('.') {
        Some(("metrics", key)) => Ok(Field::Metric(key.to_owned())),
        Some(_) => {
            Err(ApiError::invalid(format!("Invalid order by field name: {field_name}. Only metrics are supported.")))
        }
        None => {
            attribute(field_name).ok_or_else(|| ApiError::invalid(format!("Invalid order by field name: {field_name}")))
        }
    }
}
