//! Values of SQLite rows as the types they stand for. SQLite enforces no types: hand-made databases hold numbers as
//! text, text as numbers and anything as NULL.

use std::collections::BTreeMap;

use runlode::{ModelId, RunId, RunStatus, Stage, VersionStatus};
use rusqlite::Row;
use rusqlite::types::ValueRef;
use serde_json::Value;

use super::key::Key;
use super::source::read_failed;
use crate::error::Result;

/// The value in a column.
pub(super) fn value<'r>(row: &'r Row<'_>, column: usize) -> Result<ValueRef<'r>> {
    row.get_ref(column).map_err(|error| read_failed(&error))
}

/// A text; NULL is `None`. Bytes that are not UTF-8 are replaced.
pub(super) fn text(row: &Row<'_>, column: usize) -> Result<Option<String>> {
    Ok(match value(row, column)? {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
    })
}

/// A text; NULL is empty.
pub(super) fn text_or_empty(row: &Row<'_>, column: usize) -> Result<String> {
    Ok(text(row, column)?.unwrap_or_default())
}

/// An integer; `None` for NULL and for anything that is not an integer.
pub(super) fn integer(row: &Row<'_>, column: usize) -> Result<Option<i64>> {
    Ok(integer_of(value(row, column)?))
}

/// As [`integer`].
pub(super) fn integer_of(value: ValueRef<'_>) -> Option<i64> {
    match value {
        ValueRef::Integer(number) => Some(number),
        // Whole numbers within the range where every integer has a double.
        ValueRef::Real(number) if number.fract() == 0.0 && number.abs() < 9e15 => Some(number as i64),
        ValueRef::Text(text) => std::str::from_utf8(text).ok()?.trim().parse().ok(),
        _ => None,
    }
}

/// A number; integers are converted. Text and NULL are `None`.
pub(super) fn number_of(value: ValueRef<'_>) -> Option<f64> {
    match value {
        ValueRef::Integer(number) => Some(number as f64),
        ValueRef::Real(number) => Some(number),
        _ => None,
    }
}

/// A run's id. An id that is not 32 hex digits (hand-made databases have such) is replaced by one derived from it, the
/// same in every import; the second part says so.
pub(super) fn run_id(text: &str) -> (RunId, bool) {
    match text.parse() {
        Ok(id) => (id, true),
        Err(_) => (RunId(Key::new("run-id").text(text).bytes()), false),
    }
}

/// A logged model's id, likewise.
pub(super) fn model_id(text: &str) -> (ModelId, bool) {
    match text.parse() {
        Ok(id) => (id, true),
        Err(_) => (ModelId(Key::new("model-id").text(text).bytes()), false),
    }
}

pub(super) fn run_status(text: &str) -> Option<RunStatus> {
    Some(match text {
        "RUNNING" => RunStatus::Running,
        "SCHEDULED" => RunStatus::Scheduled,
        "FINISHED" => RunStatus::Finished,
        "FAILED" => RunStatus::Failed,
        "KILLED" => RunStatus::Killed,
        _ => return None,
    })
}

/// A version's stage; `Deleted_Internal` is no stage.
pub(super) fn stage(text: &str) -> Option<Stage> {
    [Stage::None, Stage::Staging, Stage::Production, Stage::Archived].into_iter().find(|stage| {
        let name: &str = (*stage).into();
        name.eq_ignore_ascii_case(text)
    })
}

pub(super) fn version_status(text: &str) -> Option<VersionStatus> {
    Some(match text {
        "PENDING_REGISTRATION" => VersionStatus::PendingRegistration,
        "FAILED_REGISTRATION" => VersionStatus::FailedRegistration,
        "READY" => VersionStatus::Ready,
        _ => return None,
    })
}

/// A name of another tracker as a key: characters that MLflow refuses become `_`.
pub(super) fn plain_key(tag: &str) -> String {
    let allowed = |char: char| char.is_alphanumeric() || "_-./: ".contains(char);
    let key: String = tag.chars().map(|char| if allowed(char) { char } else { '_' }).collect();
    let parts: Vec<&str> = key.split('/').filter(|part| !part.is_empty()).collect();
    let parts: Vec<&str> =
        parts.into_iter().map(|part| if part.trim_matches('.').is_empty() { "_" } else { part }).collect();
    if parts.is_empty() { "_".to_owned() } else { parts.join("/") }
}

/// Params of a JSON value: one for each leaf, nested keys joined by dots.
pub(super) fn flatten_json(key: &str, value: &Value, params: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                flatten_json(&format!("{key}.{}", plain_key(name)), value, params);
            }
        }
        Value::String(text) => drop(params.insert(key.to_owned(), text.clone())),
        other => drop(params.insert(key.to_owned(), other.to_string())),
    }
}
