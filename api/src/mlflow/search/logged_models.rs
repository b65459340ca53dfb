//! The search of logged models.
//!
//! Points are read only if a filter, an order or a choice of data sets needs them: only of the metrics named there, and
//! only of models that pass everything else. The models of the page are then read completely. The token is MLflow's:
//! base64 of `{"experiment_ids", "filter_string", "order_by", "offset"}`, and all but the offset must match the query.

use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{directed, limit};
use crate::ModelId;
use crate::engine::entity::LoggedModelState;
use crate::mlflow::Mlflow;
use crate::mlflow::entity::{LoggedModel, Metric, Paged};
use crate::mlflow::error::{ApiError, ApiResult};
use crate::mlflow::filter::logged_models::{Field, Term, given, order_field, parse};
use crate::mlflow::page_token::{page_text, python_value, text_token};

/// One key of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedModelOrder {
    /// An attribute, or `metrics.KEY`.
    pub field_name: String,
    /// Whether the least value comes first.
    pub ascending: bool,
    /// For a metric: only points on this data set.
    pub dataset_name: Option<String>,
    /// For a metric: only points on data sets with this digest.
    pub dataset_digest: Option<String>,
}

impl LoggedModelOrder {
    /// Sorts by a field, least value first.
    pub fn ascending(field_name: impl Into<String>) -> Self {
        Self { field_name: field_name.into(), ascending: true, dataset_name: None, dataset_digest: None }
    }

    /// Sorts by a field, greatest value first.
    pub fn descending(field_name: impl Into<String>) -> Self {
        Self { ascending: false, ..Self::ascending(field_name) }
    }

    fn chooses(&self, metric: &Metric) -> bool {
        let same = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        same(&self.dataset_name, &metric.dataset_name) && same(&self.dataset_digest, &metric.dataset_digest)
    }
}

/// A model that matches, with the values it is sorted by.
struct Candidate {
    id: ModelId,
    state: Arc<LoggedModelState>,
    /// The newest value of each metric in the order.
    values: Vec<Option<f64>>,
    /// The place of its files, if it is sorted by that.
    location: String,
}

impl Mlflow {
    /// Logged models that match a filter, in an order, a page at a time; by default the newest first. With `datasets`
    /// (name, and a digest or any), tests of metrics read only points on these, and there must be at least one.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub fn search_logged_models(
        &self,
        experiment_ids: &[String],
        filter: &str,
        datasets: &[(String, Option<String>)],
        max_results: i64,
        order_by: &[LoggedModelOrder],
        page_token: Option<&str>,
    ) -> ApiResult<Paged<LoggedModel>> {
        if datasets.iter().any(|(name, _)| name.is_empty()) {
            return Err(ApiError::invalid("`dataset_name` in the `datasets` clause must be specified."));
        }
        let limit = limit(max_results, i64::MAX)?;
        let offset = match page_token.filter(|token| !token.is_empty()) {
            Some(token) => token_offset(token, experiment_ids, filter, order_by)?,
            None => 0,
        };
        let terms = parse(filter)?;
        let (metric_terms, terms): (Vec<_>, Vec<_>) =
            terms.into_iter().partition(|term| matches!(term.field, Field::Metric(_)));
        let mut keys: Vec<(Field, &LoggedModelOrder)> = Vec::with_capacity(order_by.len());
        for order in order_by {
            let field = order_field(&order.field_name)?;
            // Sorting by the same key again changes nothing.
            let is_there = keys.iter().any(|(known, other)| {
                *known == field
                    && (&other.dataset_name, &other.dataset_digest) == (&order.dataset_name, &order.dataset_digest)
            });
            if !is_there {
                keys.push((field, order));
            }
        }
        let reads_points =
            !metric_terms.is_empty() || !datasets.is_empty() || keys.iter().any(|(f, _)| matches!(f, Field::Metric(_)));
        let by_location = keys.iter().any(|(field, _)| *field == Field::Location);
        // The series to read: all, if points on any data set count.
        let fields = metric_terms.iter().map(|term| &term.field).chain(keys.iter().map(|(field, _)| field));
        let names: Vec<&str> = fields.filter_map(metric_name).collect();
        let wanted = |key: &str| !datasets.is_empty() || names.contains(&key);
        let on_datasets = |metric: &Metric| {
            datasets.is_empty()
                || datasets.iter().any(|(name, digest)| {
                    metric.dataset_name.as_ref() == Some(name) && (digest.is_none() || metric.dataset_digest == *digest)
                })
        };
        let snapshot = self.snapshot()?;
        let mut found = Vec::new();
        for experiment in self.searched_experiments(experiment_ids)? {
            for (id, state) in snapshot.logged_models_of(experiment)? {
                self.check_waiting()?;
                let shown = state.lifecycle == crate::Lifecycle::Active;
                let location = || self.logged_model_place(&snapshot, id, &state);
                if !shown || !passes(&terms, id, &state, &location)? {
                    continue;
                }
                let location = if by_location { location()? } else { String::new() };
                let mut candidate = Candidate { id, state, values: Vec::new(), location };
                if reads_points {
                    let points = self.logged_model_points(&snapshot, id, &candidate.state, wanted)?;
                    let in_metrics = metric_terms.iter().all(|term| {
                        let Some(name) = metric_name(&term.field) else { return true };
                        let mut points = points.iter().filter(|metric| *metric.key == *name);
                        points.any(|metric| term.test.double(metric.value) && on_datasets(metric))
                    });
                    if !in_metrics || !(datasets.is_empty() || points.iter().any(on_datasets)) {
                        continue;
                    }
                    candidate.values = keys.iter().map(|(field, order)| newest(&points, field, order)).collect();
                }
                found.push(candidate);
            }
        }
        found.sort_by(|a, b| {
            let by_key = keys.iter().enumerate().map(|(at, (field, order))| compare(a, b, at, field, order.ascending));
            let by_key = by_key.fold(Ordering::Equal, Ordering::then);
            // Ids are random, so they sort as texts, which is the order of their bytes.
            by_key.then(b.state.creation_time_ms.cmp(&a.state.creation_time_ms)).then_with(|| a.id.cmp(&b.id))
        });
        let end = offset.saturating_add(limit);
        let next_page_token = (found.len() > end).then(|| token(experiment_ids, filter, order_by, end));
        let mut items = Vec::new();
        for candidate in found.into_iter().skip(offset).take(limit) {
            items.push(self.logged_model_entity(&snapshot, candidate.id, &candidate.state)?);
        }
        Ok(Paged { items, next_page_token })
    }
}

/// Whether a model passes all tests, metrics aside.
fn passes(
    terms: &[Term],
    id: ModelId,
    state: &LoggedModelState,
    location: &dyn Fn() -> ApiResult<String>,
) -> ApiResult<bool> {
    for term in terms {
        if !term.matches(id, state, location)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn metric_name(field: &Field) -> Option<&str> {
    match field {
        Field::Metric(name) => Some(name),
        _ => None,
    }
}

/// The value of a metric's newest point, by time, then step, then run; `None` for other fields.
fn newest(points: &[Metric], field: &Field, order: &LoggedModelOrder) -> Option<f64> {
    let name = metric_name(field)?;
    let points = points.iter().filter(|metric| *metric.key == *name && order.chooses(metric));
    points
        .max_by(|a, b| (a.timestamp, a.step, &b.run_id).cmp(&(b.timestamp, b.step, &a.run_id)))
        .map(|metric| metric.value)
}

/// Compares texts; missing ones come last in both directions.
fn missing_last(a: &str, b: &str, ascending: bool) -> Ordering {
    let (a, b) = (given(a), given(b));
    a.is_none().cmp(&b.is_none()).then_with(|| directed(a.cmp(&b), ascending))
}

fn compare(a: &Candidate, b: &Candidate, at: usize, field: &Field, ascending: bool) -> Ordering {
    let order = match field {
        Field::Name => a.state.name.cmp(&b.state.name),
        Field::ModelId => a.id.cmp(&b.id),
        Field::Experiment => a.state.experiment.cmp(&b.state.experiment),
        Field::ModelType => return missing_last(&a.state.model_type, &b.state.model_type, ascending),
        Field::SourceRun => return missing_last(&a.state.source_run, &b.state.source_run, ascending),
        Field::Status => (a.state.status as u8).cmp(&(b.state.status as u8)),
        Field::Created => a.state.creation_time_ms.cmp(&b.state.creation_time_ms),
        Field::LastUpdated => a.state.last_updated_time_ms.cmp(&b.state.last_updated_time_ms),
        Field::Metric(_) => {
            let value = |candidate: &Candidate| candidate.values.get(at).copied().flatten();
            return match (value(a), value(b)) {
                (Some(a), Some(b)) => a
                    .is_nan()
                    .cmp(&b.is_nan())
                    .then_with(|| directed(a.partial_cmp(&b).unwrap_or(Ordering::Equal), ascending)),
                // Missing values come last in both directions.
                (a, b) => a.is_none().cmp(&b.is_none()),
            };
        }
        Field::Location => a.location.cmp(&b.location),
        Field::Lifecycle | Field::StatusMessage | Field::Param(_) | Field::Tag(_) => Ordering::Equal,
    };
    directed(order, ascending)
}

fn order_json(order_by: &[LoggedModelOrder]) -> Value {
    let entry = |order: &LoggedModelOrder| {
        json!({
            "field_name": order.field_name,
            "ascending": order.ascending,
            "dataset_name": order.dataset_name,
            "dataset_digest": order.dataset_digest,
        })
    };
    if order_by.is_empty() { Value::Null } else { order_by.iter().map(entry).collect() }
}

fn token(experiment_ids: &[String], filter: &str, order_by: &[LoggedModelOrder], offset: usize) -> String {
    let filter = (!filter.is_empty()).then_some(filter);
    let order_by = order_json(order_by);
    let value = json!({
        "experiment_ids": experiment_ids, "filter_string": filter, "order_by": order_by, "offset": offset,
    });
    text_token(&value.to_string())
}

fn token_offset(
    token: &str,
    experiment_ids: &[String],
    filter: &str,
    order_by: &[LoggedModelOrder],
) -> ApiResult<usize> {
    let text = page_text(token)?;
    let unreadable = || ApiError::invalid(format!("Invalid page token: {token}."));
    let value: Value = serde_json::from_str(&text).map_err(|_| unreadable())?;
    let Value::Object(fields) = value else { return Err(unreadable()) };
    let field = |name: &str| fields.get(name).unwrap_or(&Value::Null);
    let mismatch = |what: &str, asked: &str, expected: String, found: &Value| {
        ApiError::invalid(format!(
            "{what} in the page token do{} not match the requested {asked}. Expected: {expected}. Found: {}",
            if what.ends_with("IDs") { "" } else { "es" },
            python_value(found)
        ))
    };
    if *field("experiment_ids") != json!(experiment_ids) {
        let found = field("experiment_ids");
        return Err(mismatch("Experiment IDs", "experiment IDs", python_value(&json!(experiment_ids)), found));
    }
    if field("filter_string").as_str().unwrap_or_default() != filter {
        return Err(mismatch("Filter string", "filter string", filter.to_owned(), field("filter_string")));
    }
    let text_of = |value: &Value| value.as_str().map(str::to_owned);
    let entry = |value: &Value| {
        Some(LoggedModelOrder {
            field_name: text_of(value.get("field_name")?)?,
            ascending: value.get("ascending").and_then(Value::as_bool).unwrap_or(true),
            dataset_name: value.get("dataset_name").and_then(text_of),
            dataset_digest: value.get("dataset_digest").and_then(text_of),
        })
    };
    let order: Option<Vec<LoggedModelOrder>> = match field("order_by") {
        Value::Null => Some(Vec::new()),
        Value::Array(entries) => entries.iter().map(entry).collect(),
        _ => None,
    };
    if order.as_deref() != Some(order_by) {
        return Err(mismatch("Order by", "order by", python_value(&order_json(order_by)), field("order_by")));
    }
    match field("offset") {
        Value::Null => Ok(0),
        offset => offset.as_u64().and_then(|offset| usize::try_from(offset).ok()).ok_or_else(unreadable),
    }
}
