//! The table of runs, and one run.

use axum::http::StatusCode;
use runlode::mlflow::entity::{Metric, ModelVersion, View};
use runlode::mlflow::{ApiError, ApiResult, EntityName, ErrorCode, Liveness, RunColumn, RunsQuery, WindowQuery};
use runlode::mlflow::{ColumnValues, TextColumn};
use serde_json::{Map, Value, json};

use super::at::as_of;
use super::columns::ColumnsAnswer;
use super::json::JsonWriter;
use super::keys;
use super::limit::{ROWS_MAX, positive};
use crate::answer::{Answer, double_value};
use crate::door::Door;
use crate::request::{Fields, Request};

/// Rows without `limit`.
const ROWS: i64 = 200;
/// Most columns that a request names.
const COLUMNS_MAX: usize = 1_000;
/// The column that is computed here.
const LIVENESS: &str = "liveness";

fn view(fields: &Fields<'_>) -> ApiResult<View> {
    match fields.text("view")? {
        None | Some("" | "ACTIVE_ONLY") => Ok(View::ActiveOnly),
        Some("DELETED_ONLY") => Ok(View::DeletedOnly),
        Some("ALL") => Ok(View::All),
        Some(other) => Err(ApiError::invalid(format!("'{other}' is no view; give ACTIVE_ONLY, DELETED_ONLY or ALL."))),
    }
}

/// `alive`, `lost`, `silent`, `unknown`, or nothing for a run that has ended.
fn liveness_word(liveness: &Liveness) -> &'static str {
    match liveness {
        Liveness::Finished => "",
        Liveness::Alive { .. } => "alive",
        Liveness::Lost { .. } => "lost",
        Liveness::Silent { .. } => "silent",
        Liveness::Unknown => "unknown",
    }
}

/// The text of a row; empty where there is none.
pub(super) fn text_at(column: &TextColumn, row: usize) -> &str {
    let place = |at: usize| column.offsets.get(at).and_then(|at| usize::try_from(*at).ok()).unwrap_or(0);
    column.text.get(place(row)..place(row + 1)).unwrap_or_default()
}

pub(super) fn text_column<'a>(columns: &'a [RunColumn], name: &str) -> Option<&'a TextColumn> {
    columns.iter().find(|column| column.name == name).and_then(|column| match &column.values {
        ColumnValues::Text(texts) => Some(texts),
        _ => None,
    })
}

/// Whether processes still log to the runs of a table that are running. A run that is gone meanwhile has none.
fn liveness_column(door: &Door, columns: &[RunColumn], rows: usize) -> ApiResult<RunColumn> {
    let (ids, statuses) = (text_column(columns, "run_id"), text_column(columns, "status"));
    let mut out = TextColumn { offsets: vec![0], text: String::new(), present: Vec::new() };
    for row in 0..rows {
        if let (Some(ids), Some(statuses)) = (ids, statuses)
            && text_at(statuses, row) == "RUNNING"
        {
            match door.mlflow.run_liveness(text_at(ids, row)) {
                Ok(liveness) => out.text.push_str(liveness_word(&liveness)),
                Err(error) if error.code == ErrorCode::ResourceDoesNotExist => {}
                Err(error) => return Err(error),
            }
        }
        out.offsets.push(out.text.len() as i64);
    }
    Ok(RunColumn { name: LIVENESS.to_owned(), values: ColumnValues::Text(out) })
}

fn some(list: Vec<String>) -> Option<Vec<String>> {
    if list.is_empty() { None } else { Some(list) }
}

/// The part of a table that a request asks for.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE` for a view or a moment.
pub(super) fn window_query(
    fields: &Fields<'_>,
    columns: Vec<String>,
    offset: u64,
    limit: u64,
) -> ApiResult<WindowQuery> {
    let table = RunsQuery {
        experiments: some(fields.texts("experiment_id")?),
        filter: fields.text("filter")?.unwrap_or_default().to_owned(),
        order_by: fields.texts("order_by")?,
        view: view(fields)?,
        limit,
        columns: some(columns),
    };
    Ok(WindowQuery { table, offset, at: as_of(fields)? })
}

pub(super) fn table(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let mut columns = fields.texts("column")?;
    if columns.len() > COLUMNS_MAX {
        return Err(ApiError::invalid(format!("A request names at most {COLUMNS_MAX} columns.")));
    }
    let with_liveness = columns.iter().any(|column| column == LIVENESS);
    columns.retain(|column| column != LIVENESS);
    if with_liveness {
        for needed in ["run_id", "status"] {
            if !columns.iter().any(|column| column == needed) {
                columns.push(needed.to_owned());
            }
        }
    }
    let limit = positive(&fields, "limit", ROWS, ROWS_MAX)?;
    let offset = fields.int("offset")?.unwrap_or(0);
    let offset = u64::try_from(offset).map_err(|_| ApiError::invalid("offset must not be negative."))?;
    let common = keys::common_columns(door, &fields)?;
    columns.extend(common.iter().flatten().filter(|name| !columns.contains(name)).cloned().collect::<Vec<_>>());
    let query = window_query(&fields, columns, offset, limit)?;
    let at = query.at;
    let window = match door.mlflow.run_window(&query) {
        Ok(window) => window,
        Err(error) => return refused_filter(&query.table.filter, error),
    };
    let mut header = Map::new();
    header.insert("position".to_owned(), window.table.position.into());
    header.insert("total".to_owned(), window.total.into());
    header.insert("offset".to_owned(), offset.into());
    header.insert("rows".to_owned(), window.table.rows.into());
    if let Some(common) = common {
        header.insert("common".to_owned(), common.into());
    }
    let mut answer = ColumnsAnswer::new(header);
    // Of the past nobody knows which processes were there.
    let liveness = match with_liveness && at.is_none() {
        true => Some(liveness_column(door, &window.table.columns, window.table.rows as usize)?),
        false => None,
    };
    window.table.columns.iter().chain(&liveness).for_each(|column| answer.of_runs(column));
    answer.finish(door)
}

/// The refusal of a filter says at which character it goes wrong, from 0.
pub(super) fn refused_filter(filter: &str, error: ApiError) -> ApiResult<Answer> {
    let Err(wrong) = runlode::filter::parse(filter) else { return Err(error) };
    if filter.trim().is_empty() || error.code != ErrorCode::InvalidParameterValue {
        return Err(error);
    }
    let at = filter.get(..wrong.at()).map_or(0, |before| before.chars().count());
    let body = json!({ "error_code": error.code.name(), "message": wrong.to_string(), "at": at });
    Ok(Answer::Raw(crate::answer::json_answer(StatusCode::BAD_REQUEST, &body)))
}

pub(super) fn metric_json(metric: &Metric) -> Value {
    json!({
        "key": &*metric.key,
        "value": double_value(metric.value),
        "step": metric.step,
        "time_ms": metric.timestamp,
    })
}

fn liveness_json(liveness: &Liveness) -> Value {
    let state = liveness_word(liveness);
    match liveness {
        Liveness::Alive { host, pid } => json!({ "state": state, "host": host, "pid": pid }),
        Liveness::Lost { since_ms } | Liveness::Silent { since_ms } => json!({ "state": state, "since_ms": since_ms }),
        Liveness::Finished | Liveness::Unknown => json!({ "state": state }),
    }
}

pub(super) fn run(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let id = fields.required("run_id")?;
    let at = as_of(&fields)?;
    let (position, run) = match at {
        None => {
            let position = door.mlflow.positions()?.published.0;
            (position, Some(door.mlflow.run(id)?))
        }
        Some(at) => {
            let past = door.mlflow.run_as_of(id, at)?;
            (past.position, past.run)
        }
    };
    let Some(run) = run else {
        return door.answer(&json!({ "position": position, "run": null }));
    };
    let experiment = door.mlflow.experiment(&run.info.experiment_id)?;
    let status: &str = run.info.status.into();
    let mut branches = Vec::new();
    for branch in door.mlflow.run_branches(id)? {
        branches.push(json!({
            "branch": branch.branch,
            "from": branch.from,
            "from_step": branch.from_step,
            "began_ms": branch.began_ms,
            "ended_ms": branch.ended_ms,
            "ended_position": branch.ended_position,
            "metrics": branch.metrics.iter().map(|metric| json!({
                "key": metric.key, "points": metric.points, "last_step": metric.last_step,
                "last_value": double_value(metric.last_value),
            })).collect::<Vec<_>>(),
        }));
    }
    let liveness = if at.is_none() { Some(door.mlflow.run_liveness(id)?) } else { None };
    let versions = door.mlflow.model_versions_of_runs(&[id.to_owned()])?;
    let datasets = run.dataset_inputs.iter().map(|input| {
        let of = &input.dataset;
        json!({
            "name": of.name, "digest": of.digest, "source_type": of.source_type, "source": of.source,
            "schema": of.schema, "profile": of.profile, "tags": input.tags,
        })
    });
    let mut out = JsonWriter::new(door);
    out.begin(b"{")?;
    out.field("position", &position)?;
    out.name("run")?;
    out.begin(b"{")?;
    out.field("run_id", &run.info.run_id)?;
    out.field("name", &run.info.run_name)?;
    out.field("experiment_id", &run.info.experiment_id)?;
    out.field("experiment", &experiment.name)?;
    out.field("user_id", &run.info.user_id)?;
    out.field("status", &status)?;
    out.field("liveness", &liveness.as_ref().map(liveness_json))?;
    out.field("start_ms", &run.info.start_time)?;
    out.field("end_ms", &run.info.end_time)?;
    out.field("deleted", &run.info.deleted)?;
    out.field("artifact_uri", &run.info.artifact_uri)?;
    out.field("params", &run.params)?;
    out.field("tags", &run.tags)?;
    // There may be a million of them.
    out.list("metrics", run.metrics.iter().map(metric_json))?;
    out.list("datasets", datasets)?;
    out.field("model_inputs", &run.model_inputs)?;
    out.field("model_outputs", &run.model_outputs)?;
    out.field("branches", &branches)?;
    let of_version = |version: &ModelVersion| json!({ "name": version.name, "version": version.version });
    out.list("versions", versions.iter().map(of_version))?;
    out.end(b"}")?;
    out.end(b"}")?;
    out.finish()
}

/// The entity that a text names, as people write it.
pub(super) fn find(door: &Door, request: &Request) -> ApiResult<Answer> {
    let fields = request.fields()?;
    let found = match door.mlflow.find(fields.required("text")?)? {
        EntityName::Run(id) => json!({ "kind": "run", "id": id }),
        EntityName::Experiment(id) => json!({ "kind": "experiment", "id": id.to_string() }),
        EntityName::LoggedModel(id) => json!({ "kind": "logged_model", "id": id }),
        EntityName::RegisteredModel(name) => json!({ "kind": "model", "name": name }),
        EntityName::ModelVersion(name, version) => json!({ "kind": "model", "name": name, "version": version }),
        EntityName::ExperimentNamed(name) | EntityName::Named(name) => json!({ "kind": "name", "name": name }),
    };
    door.answer(&found)
}
