//! Stage 1 of `dataframe_split`: `pandas.DataFrame(data, index, columns)`, its columns cast to the schema.
//!
//! | `data` | frame |
//! |---|---|
//! | rows, or the cells of one column | named by `columns`, which are as many |
//! | records | the columns that `columns` names; absent ones are NaN |
//! | map of lists | columns by name; scalars repeated |
//! | map of maps | their keys are the labels of the rows, or are looked up by `index` |
//! | a scalar | repeated in every cell that `index` and `columns` name |
//! | none, `[]` | cells of NaN |

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::error::{EnforceError, Fault};
use super::frame::{Filled, Raw, of_list};
use super::nested::type_name;
use super::records::{cast_frame, not_a_frame};
use super::series::infer;
use crate::data::{Cells, DType, Frame, Input, Label, Value};
use crate::schema::Schema;

const NAN: Value = Value::Float(f64::NAN);

/// `dataframe_split`: a map of `data`, a list of rows, and perhaps `columns` and `index`.
///
/// ```
/// use runlode_models::Input;
/// use runlode_models::enforce::json_split;
/// use runlode_models::json;
///
/// let split = json::from_str(r#"{"columns": ["a"], "index": ["x", "y"], "data": {"a": 5}}"#)?;
/// let Input::Frame(frame) = json_split(split, None)? else { unreachable!() };
/// assert_eq!((frame.rows_count, frame.columns[0].cells.dtype_name()), (2, "int64"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `BAD_REQUEST` if pandas makes no frame of it or a value cannot be cast. `SCHEMA_ENFORCEMENT_FAILED` for dates with a zone.
pub fn json_split(split: Value, schema: Option<&Schema>) -> Result<Input, EnforceError> {
    let Value::Dict(entries) = split else {
        let found = type_name(&split);
        return Err(
            EnforceError::bad_request("dataframe_split is a map of columns, index and data").with("dict", found)
        );
    };
    let (mut data, mut columns, mut index) = (None, Value::None, Value::None);
    for (key, value) in entries {
        match &*key {
            "data" => data = Some(value),
            "columns" => columns = value,
            "index" => index = value,
            _ => {
                let reason = format!("dataframe_split has a key {key:?}; there are columns, index and data");
                return Err(EnforceError::bad_request(reason));
            }
        }
    }
    let Some(data) = data else { return Err(EnforceError::bad_request("dataframe_split has no data")) };
    let frame = frame_of_split(data, columns, index).map_err(|fault| not_a_frame("dataframe_split", fault))?;
    cast_frame(frame, schema).map(Input::Frame)
}

fn frame_of_split(data: Value, columns: Value, index: Value) -> Result<Frame, Fault> {
    let names = match columns {
        Value::None => None,
        Value::List(names) => Some(names.into_iter().map(label).collect::<Result<Vec<Label>, _>>()?),
        // pandas takes the keys.
        Value::Dict(entries) => Some(entries.into_iter().map(|(key, _)| Label::Text(key)).collect()),
        other => return Err(Fault::found("columns is a list", type_name(&other))),
    };
    let labels = match index {
        Value::None => None,
        Value::List(labels) => Some(by_row(labels)?),
        other => return Err(Fault::found("index is a list", type_name(&other))),
    };
    let mut made = match data {
        Value::List(rows) if rows.is_empty() => Made::empty(names.unwrap_or_default()),
        Value::None => Made::empty(names.unwrap_or_default()),
        Value::List(rows) => {
            let is_records = matches!(rows.first(), Some(Value::Dict(_)));
            let raw = of_list(rows)?;
            Made::of(if is_records { selected(raw, names)? } else { named(raw, names)? })
        }
        Value::Dict(entries) => of_map(entries, names, labels.as_deref())?,
        Value::Tensor(_) => return Err(Fault::found("data is a list of rows", "an array")),
        scalar => of_scalar(&scalar, names, labels.as_deref())?,
    };
    if let Some(labels) = &labels {
        // Rows without data are rows of missing cells.
        if made.raw.rows_count == 0 && !labels.is_empty() {
            Filled::default().add(labels.len().saturating_mul(made.raw.columns.len()))?;
            made.raw.rows_count = labels.len();
            for (at, (_, cells)) in made.raw.columns.iter_mut().enumerate() {
                cells.resize(labels.len(), NAN);
                made.untyped.insert(at);
            }
        }
        if labels.len() != made.raw.rows_count {
            let reason = format!("index has {} labels, data has {} rows", labels.len(), made.raw.rows_count);
            return Err(Fault::new(reason));
        }
    }
    let index = labels.or(made.labels).map(infer);
    let mut frame = made.raw.infer();
    for at in made.untyped {
        frame.columns[at].cells = Cells::Objects(frame.columns[at].cells.values());
    }
    frame.index = index.filter(|labels| !is_a_range(labels));
    Ok(frame)
}

/// Columns of values, and what pandas knows of them besides.
struct Made {
    raw: Raw,
    /// Columns of dtype object, whatever they hold.
    untyped: HashSet<usize>,
    /// Labels that the data brings.
    labels: Option<Vec<Value>>,
}

impl Made {
    fn of(raw: Raw) -> Self {
        Self { raw, untyped: HashSet::new(), labels: None }
    }

    /// Columns without rows.
    fn empty(names: Vec<Label>) -> Self {
        Self::of(Raw { columns: names.into_iter().map(|name| (name, Vec::new())).collect(), rows_count: 0 })
    }
}

/// Labels of rows: lists are the levels of labels for pandas, each from the first row to the last.
fn by_row(labels: Vec<Value>) -> Result<Vec<Value>, Fault> {
    let mut levels = Vec::with_capacity(labels.len());
    for label in &labels {
        let Value::List(level) = label else { return Ok(labels) };
        levels.push(level);
    }
    let rows_count = levels.first().map_or(0, |level| level.len());
    if levels.iter().any(|level| level.len() != rows_count) {
        return Err(Fault::new("the levels of index have different lengths"));
    }
    let levels: Vec<Cells> = levels.into_iter().map(|level| infer(level.clone())).collect();
    let cell = |level: &Cells, row: usize| match level.value(row) {
        Value::None => NAN,
        other => other,
    };
    let row = |row: usize| Value::List(levels.iter().map(|level| cell(level, row)).collect());
    Ok((0..rows_count).map(row).collect())
}

fn label(name: Value) -> Result<Label, Fault> {
    match name {
        Value::Text(text) => Ok(Label::Text(text)),
        Value::Int(position) => Ok(Label::Position(position)),
        other => Err(Fault::found("the name of a column is a text or an integer", type_name(&other))),
    }
}

/// Whether the labels are 0, 1, 2...
fn is_a_range(labels: &Cells) -> bool {
    matches!(labels, Cells::Array(DType::Int64, _))
        && (0..labels.len()).all(|row| labels.value(row) == Value::Int(i64::try_from(row).unwrap_or(-1)))
}

fn named(mut raw: Raw, names: Option<Vec<Label>>) -> Result<Raw, Fault> {
    let Some(names) = names else { return Ok(raw) };
    if names.len() != raw.columns.len() {
        let (names, columns) = (names.len(), raw.columns.len());
        return Err(Fault::new(format!("{names} names of columns, but rows of {columns} cells")));
    }
    for ((name, _), given) in raw.columns.iter_mut().zip(names) {
        *name = given;
    }
    Ok(raw)
}

/// The named columns of records; one that no record has is missing cells.
fn selected(raw: Raw, names: Option<Vec<Label>>) -> Result<Raw, Fault> {
    let Some(names) = names else { return Ok(raw) };
    let rows_count = raw.rows_count;
    let given: HashMap<Label, Vec<Value>> = raw.columns.into_iter().collect();
    // Names may come again and again.
    let repeated = names.len().saturating_sub(given.len());
    Filled::default().add(repeated.saturating_mul(rows_count))?;
    let column = |name: Label| {
        let cells = given.get(&name).cloned();
        (name, cells.unwrap_or_else(|| vec![NAN; rows_count]))
    };
    Ok(Raw { columns: names.into_iter().map(column).collect(), rows_count })
}

/// One value in each cell.
fn of_scalar(value: &Value, names: Option<Vec<Label>>, labels: Option<&[Value]>) -> Result<Made, Fault> {
    let (Some(names), Some(labels)) = (names, labels) else {
        return Err(Fault::found("data is a list of rows, or index and columns are given", type_name(value)));
    };
    Filled::default().add(labels.len().saturating_mul(names.len()))?;
    let columns = names.into_iter().map(|name| (name, vec![value.clone(); labels.len()])).collect();
    Ok(Made::of(Raw { columns, rows_count: labels.len() }))
}

/// A map of columns. If names are given, only those count, and one that is absent is NaN of dtype object.
fn of_map(entries: Vec<(Arc<str>, Value)>, names: Option<Vec<Label>>, labels: Option<&[Value]>) -> Result<Made, Fault> {
    // Names may come again and again, with the same cells.
    let length = |value: &Value| match value {
        Value::List(cells) => cells.len(),
        Value::Dict(cells) => cells.len(),
        _ => 0,
    };
    let longest = entries.iter().map(|(_, value)| length(value)).max().unwrap_or_default();
    let lists_count = entries.iter().filter(|(_, value)| matches!(value, Value::List(_))).count();
    let repeated = names.as_ref().map_or(entries.len(), Vec::len).saturating_sub(lists_count);
    Filled::default().add(repeated.saturating_mul(longest))?;
    let columns: Vec<(Label, Option<Value>)> = match names {
        None => entries.into_iter().map(|(name, value)| (Label::Text(name), Some(value))).collect(),
        Some(names) => {
            let given: HashMap<Label, Value> =
                entries.into_iter().map(|(name, value)| (Label::Text(name), value)).collect();
            let value = |name: Label| {
                let value = given.get(&name).cloned();
                (name, value)
            };
            names.into_iter().map(value).collect()
        }
    };
    let (rows_count, of_maps) = rows_of(&columns, labels)?;
    Filled::default().add(repeated.saturating_mul(rows_count))?;
    let mut made = Made::of(Raw { columns: Vec::with_capacity(columns.len()), rows_count });
    for (at, (name, value)) in columns.into_iter().enumerate() {
        let cells = match value {
            None => {
                made.untyped.insert(at);
                vec![NAN; rows_count]
            }
            Some(Value::List(cells)) if cells.len() == rows_count => cells,
            Some(Value::List(cells)) => {
                let reason = format!("the column {name} has {} cells, and there are {rows_count} rows", cells.len());
                return Err(Fault::new(reason));
            }
            Some(Value::Dict(cells)) => {
                let cells: HashMap<Arc<str>, Value> = cells.into_iter().collect();
                let cell = |label: &Value| match label {
                    Value::Text(label) => cells.get(label).cloned().unwrap_or(NAN),
                    _ => NAN,
                };
                labels.or(of_maps.as_deref()).unwrap_or_default().iter().map(cell).collect()
            }
            Some(scalar) => vec![scalar; rows_count],
        };
        made.raw.columns.push((name, cells));
    }
    made.labels = of_maps;
    Ok(made)
}

/// How many rows columns have, and the labels that maps among them bring if none are given.
fn rows_of(columns: &[(Label, Option<Value>)], labels: Option<&[Value]>) -> Result<(usize, Option<Vec<Value>>), Fault> {
    if let Some(labels) = labels {
        return Ok((labels.len(), None));
    }
    let values = || columns.iter().filter_map(|(_, value)| value.as_ref());
    let of_list = values().find_map(|value| if let Value::List(cells) = value { Some(cells.len()) } else { None });
    let has_maps = values().any(|value| matches!(value, Value::Dict(_)));
    match of_list {
        Some(_) if has_maps => Err(Fault::new("some columns are lists, and others are maps")),
        Some(rows_count) => Ok((rows_count, None)),
        None if has_maps => {
            let mut seen = HashSet::new();
            let keys = values().flat_map(|value| if let Value::Dict(cells) = value { &cells[..] } else { &[] });
            let keys = keys.map(|(key, _)| key).filter(|key| seen.insert(Arc::clone(key)));
            let labels: Vec<Value> = keys.map(|key| Value::Text(Arc::clone(key))).collect();
            Ok((labels.len(), Some(labels)))
        }
        None if values().next().is_none() => Ok((0, None)),
        None => Err(Fault::new("all columns are scalars; give an index, or a column that is a list")),
    }
}
