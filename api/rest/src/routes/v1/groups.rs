//! Runs in groups: those with the same values of some fields, counted, with what each group's metrics are.
//!
//! ```text
//!   runs that match -> rows of the fields and metrics -> one group for each tuple of values -> JSON
//! ```
//!
//! The answer is short however many runs there are. The runs of a group are those of the table with one more filter.

use std::collections::HashMap;

use runlode::mlflow::{ApiError, ApiResult, ColumnValues, RunColumn};
use serde_json::{Value, json};

use super::limit::positive;
use super::runs::{refused_filter, text_at, text_column, window_query};
use crate::answer::{Answer, double_value};
use crate::door::Door;
use crate::request::Request;

/// Most fields, and metrics.
const BY_MAX: usize = 4;
const METRICS_MAX: usize = 20;
/// Runs that are grouped; of more only these.
const RUNS_MAX: i64 = 1_000_000;
/// Most groups of an answer, and groups without `limit`.
const GROUPS_MAX: i64 = 10_000;
/// Rows after which the memory that groups take is counted again.
const ROWS_BETWEEN_CHECKS: usize = 4_096;
/// Fields of text besides params and tags.
const FIELDS: &[&str] = &["status", "user_id", "experiment_id", "lifecycle", "run_name"];

/// What a metric is in a group. Values that are not finite are counted, and have no part in the rest.
#[derive(Debug, Clone, Copy)]
struct Range {
    count: u64,
    finite: u64,
    min: f64,
    max: f64,
    sum: f64,
}

impl Range {
    const NOTHING: Self = Self { count: 0, finite: 0, min: f64::INFINITY, max: f64::NEG_INFINITY, sum: 0.0 };

    fn add(&mut self, value: f64) {
        self.count += 1;
        if value.is_finite() {
            self.finite += 1;
            self.min = self.min.min(value);
            self.max = self.max.max(value);
            self.sum += value;
        }
    }

    fn json(self) -> Value {
        if self.finite == 0 {
            return json!({ "count": self.count });
        }
        json!({
            "count": self.count,
            "min": double_value(self.min),
            "max": double_value(self.max),
            "mean": double_value(self.sum / self.finite as f64),
        })
    }
}

/// A field of text, row by row.
struct Texts<'a>(Option<&'a runlode::mlflow::TextColumn>);

impl<'a> Texts<'a> {
    fn at(&self, row: usize) -> Option<&'a str> {
        let column = self.0?;
        let is_there = column.present.get(row).copied().unwrap_or(column.present.is_empty());
        is_there.then(|| text_at(column, row))
    }
}

/// A metric, row by row.
fn number_at(column: Option<&RunColumn>, row: usize) -> Option<f64> {
    match &column?.values {
        ColumnValues::Number(values, present) if present.get(row).copied().unwrap_or(present.is_empty()) => {
            values.get(row).copied()
        }
        _ => None,
    }
}

/// What a column takes in memory.
fn bytes_of(column: &RunColumn) -> usize {
    match &column.values {
        ColumnValues::Text(texts) => texts.text.len() + texts.offsets.len() * 8 + texts.present.len(),
        ColumnValues::Number(values, present) => values.len() * 8 + present.len(),
        ColumnValues::Time(values, present) | ColumnValues::Count(values, present) => values.len() * 8 + present.len(),
    }
}

/// What a group takes in memory, with its places in the map and in the list that is sorted.
fn bytes_of_group(fields: usize, metrics: usize) -> usize {
    150 + 2 * fields * size_of::<Option<&str>>() + metrics * size_of::<Range>()
}

fn is_text(name: &str) -> bool {
    let key = name.strip_prefix("params.").or_else(|| name.strip_prefix("tags."));
    FIELDS.contains(&name) || key.is_some_and(|key| !key.is_empty() && key != "*")
}

pub(super) fn groups(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let (by, metrics) = (fields.texts("by")?, fields.texts("column")?);
    if by.is_empty() || by.len() > BY_MAX || metrics.len() > METRICS_MAX {
        return Err(ApiError::invalid(format!(
            "Give 1 to {BY_MAX} fields to group by (by=params.lr), and at most {METRICS_MAX} metrics (column=metrics.loss)."
        )));
    }
    if let Some(wrong) = by.iter().find(|name| !is_text(name)) {
        return Err(ApiError::invalid(format!(
            "Runs are not grouped by '{wrong}': write params.KEY, tags.KEY, {}.",
            FIELDS.join(", ")
        )));
    }
    if let Some(wrong) = metrics.iter().find(|name| !name.starts_with("metrics.") || *name == "metrics.*") {
        return Err(ApiError::invalid(format!("'{wrong}' is no metric: write metrics.KEY.")));
    }
    let limit = positive(&fields, "limit", GROUPS_MAX, GROUPS_MAX)? as usize;
    let columns = by.iter().chain(&metrics).cloned().collect();
    let query = window_query(&fields, columns, 0, RUNS_MAX.unsigned_abs())?;
    let window = match door.mlflow.run_window(&query) {
        Ok(window) => window,
        Err(error) => return refused_filter(&query.table.filter, error),
    };
    let columns = &window.table.columns;
    let texts: Vec<Texts<'_>> = by.iter().map(|name| Texts(text_column(columns, name))).collect();
    let numbers: Vec<Option<&RunColumn>> =
        metrics.iter().map(|name| columns.iter().find(|column| column.name == *name)).collect();
    let mut places: HashMap<Vec<Option<&str>>, usize> = HashMap::new();
    let mut found: Vec<(u64, Vec<Range>)> = Vec::new();
    let (of_columns, of_group) = (columns.iter().map(bytes_of).sum::<usize>(), bytes_of_group(by.len(), metrics.len()));
    for row in 0..window.table.rows as usize {
        if row % ROWS_BETWEEN_CHECKS == 0 {
            door.mlflow.check_waiting()?;
            door.mlflow.check_room(of_columns + found.len() * of_group)?;
        }
        let values: Vec<Option<&str>> = texts.iter().map(|texts| texts.at(row)).collect();
        let place = *places.entry(values).or_insert_with(|| {
            found.push((0, vec![Range::NOTHING; metrics.len()]));
            found.len() - 1
        });
        let Some((runs, ranges)) = found.get_mut(place) else { continue };
        *runs += 1;
        for (range, column) in ranges.iter_mut().zip(&numbers) {
            if let Some(value) = number_at(*column, row) {
                range.add(value);
            }
        }
    }
    let mut list: Vec<(Vec<Option<&str>>, usize)> = places.into_iter().collect();
    let groups = list.len();
    // The largest are kept where there are too many; groups of one size stand in the order of their values.
    list.sort_unstable_by(|(a, at), (b, bt)| found[*bt].0.cmp(&found[*at].0).then_with(|| a.cmp(b)));
    list.truncate(limit);
    let list = list.iter().map(|(values, place)| {
        let (runs, ranges) = &found[*place];
        json!({ "values": values, "runs": runs, "metrics": ranges.iter().map(|range| range.json()).collect::<Vec<_>>() })
    });
    door.answer(&json!({
        "position": window.table.position,
        "total": window.total,
        "runs": window.table.rows,
        "groups_total": groups,
        "groups": list.collect::<Vec<_>>(),
    }))
}
