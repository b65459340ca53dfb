//! The run that a text names: by its id, by the beginning of its id, or by its name.

use pyo3::prelude::*;
use runlode::mlflow::entity::View;
use runlode::mlflow::{ApiError, ApiResult, ColumnValues, RunColumns, RunsQuery};

use super::errors;
use super::handle::Handle;
use super::reader::Reads;
use crate::similar::similar;

/// Hex digits of a run's id.
const ID_LEN: usize = 32;
/// The least that is taken for the beginning of an id.
const PREFIX_MIN: usize = 4;
/// Runs that a refusal lists.
const SHOWN: usize = 5;
/// The newest runs, among which a refusal looks for similar names.
const NAMES_MAX: u64 = 2000;

/// The id of the run. Whole ids are not looked up: the call that needs the run says if there is none.
///
/// # Errors
/// `NotFound`, with similar names; `Invalid` for a text that several runs fit.
pub(super) fn run(py: Python<'_>, handle: &Handle, text: &str) -> PyResult<String> {
    if is_hex(text) && text.len() == ID_LEN {
        return Ok(text.to_owned());
    }
    let found = handle.read(py, |calls| candidates(calls, text))?;
    let [found, names] = found.map_or_else(|names| [Vec::new(), names], |found| [found, Vec::new()]);
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => {
            let similar = similar(py, text, &names)?;
            let why =
                format!("There is no run '{text}': no id begins so, and no run of an active experiment has this name");
            Err(errors::raised(py, ApiError::absent(format!("{why}{similar}"))))
        }
        many => {
            let dots = if many.len() > SHOWN { ", ..." } else { "" };
            let ids = many.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
            Err(errors::invalid(format!("'{text}' fits several runs, give more of the id: {ids}{dots}")))
        }
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Ids of the runs that a text fits, a name before the beginning of an id; if there is none, `Err` with the names of runs.
fn candidates(calls: &dyn Reads, text: &str) -> ApiResult<Result<Vec<String>, Vec<String>>> {
    let most = SHOWN as u64 + 1;
    let quoted = match (text.contains('\''), text.contains('"')) {
        (false, _) => Some(format!("'{text}'")),
        (true, false) => Some(format!("\"{text}\"")),
        (true, true) => None,
    };
    if let Some(quoted) = quoted {
        let found = column(calls, format!("attributes.run_name = {quoted}"), most, "run_id")?;
        if !found.is_empty() {
            return Ok(Ok(found));
        }
    }
    if is_hex(text) && (PREFIX_MIN..ID_LEN).contains(&text.len()) {
        let found = column(calls, format!("attributes.run_id LIKE '{text}%'"), most, "run_id")?;
        if !found.is_empty() {
            return Ok(Ok(found));
        }
    }
    column(calls, String::new(), NAMES_MAX, "run_name").map(Err)
}

/// A text column of the runs of active experiments that a filter finds; active runs before deleted ones.
fn column(calls: &dyn Reads, filter: String, limit: u64, name: &str) -> ApiResult<Vec<String>> {
    for view in [View::ActiveOnly, View::DeletedOnly] {
        let columns = Some(vec![name.to_owned()]);
        let query = RunsQuery { filter: filter.clone(), view, limit, columns, ..RunsQuery::default() };
        let found = calls.run_columns(&query)?;
        if found.rows > 0 {
            return Ok(texts(&found));
        }
    }
    Ok(Vec::new())
}

fn texts(found: &RunColumns) -> Vec<String> {
    let Some(ColumnValues::Text(column)) = found.columns.first().map(|column| &column.values) else {
        return Vec::new();
    };
    let ends = column.offsets.windows(2).filter_map(|ends| match ends {
        [start, end] => column.text.get(*start as usize..*end as usize),
        _ => None,
    });
    ends.map(str::to_owned).collect()
}
