//! Stage 1 of `dataframe_records` and `dataframe_split`: a frame as pandas makes it, its columns cast to the schema.

use super::astype::{astype, cast_column, utf8_bytes};
use super::error::{EnforceError, Fault, Refusal};
use super::frame::{Raw, of_list, of_records};
use super::nested::{enforce_type, type_name};
use super::series::infer;
use crate::data::{Cells, DType, Frame, Input, Label, Value};
use crate::schema::{ColumnSpec, DataType, Schema, TensorSpec, TensorType};

/// `dataframe_records`: a list of maps of values by column.
///
/// ```
/// use runlode_models::Input;
/// use runlode_models::enforce::json_records;
/// use runlode_models::json;
/// use runlode_models::signature::Schema;
///
/// let schema = Schema::from_json(r#"[{"type": "integer", "name": "a"}]"#)?;
/// let records = json::from_str(r#"[{"a": 1.0}, {"a": "x"}]"#)?;
/// let error = json_records(records.clone(), Some(&schema)).unwrap_err();
/// assert_eq!((error.refusal.code(), error.column.as_deref(), error.row), ("BAD_REQUEST", Some("a"), Some(1)));
/// let Input::Frame(frame) = json_records(records, None)? else { unreachable!() };
/// assert_eq!(frame.rows_count, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `BAD_REQUEST` if it is no list of records or a value cannot be cast. `SCHEMA_ENFORCEMENT_FAILED` for dates with a zone.
pub fn json_records(records: Value, schema: Option<&Schema>) -> Result<Input, EnforceError> {
    let Value::List(records) = records else {
        let found = type_name(&records);
        return Err(EnforceError::bad_request("dataframe_records is a list of records").with("list", found));
    };
    let raw = if let Some(Value::Dict(_)) = records.first() { of_records(records) } else { of_list(records) };
    let raw = raw.map_err(|fault| not_a_frame("dataframe_records", fault))?;
    cast_frame(raw.infer(), schema).map(Input::Frame)
}

fn not_a_frame(field: &str, fault: Fault) -> EnforceError {
    let mut error = EnforceError::bad_request(format!("{field} is no data frame: {}", fault.reason));
    (error.row, error.found) = (fault.row, fault.found);
    error
}

/// `dataframe_split`: a map of `data`, a list of rows, and perhaps `columns` and `index`.
///
/// # Errors
/// As [`json_records`].
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
    let mut raw = match data {
        Value::List(rows) if rows.is_empty() => {
            let names = names.clone().unwrap_or_default();
            Raw { columns: names.into_iter().map(|name| (name, Vec::new())).collect(), rows_count: 0 }
        }
        Value::List(rows) => {
            let is_records = matches!(rows.first(), Some(Value::Dict(_)));
            let raw = of_list(rows)?;
            if is_records { selected(raw, names.as_deref()) } else { named(raw, names)? }
        }
        Value::Dict(entries) => selected(of_dict(entries)?, names.as_deref()),
        Value::None => {
            let names = names.clone().unwrap_or_default();
            Raw { columns: names.into_iter().map(|name| (name, Vec::new())).collect(), rows_count: 0 }
        }
        other => return Err(Fault::found("data is a list of rows", type_name(&other))),
    };
    let mut are_missing = false;
    let index = match index {
        Value::None => None,
        Value::List(labels) if raw.rows_count == 0 && !labels.is_empty() => {
            // Rows without data are rows of missing cells.
            are_missing = true;
            raw.rows_count = labels.len();
            for (_, cells) in &mut raw.columns {
                cells.resize(labels.len(), Value::Float(f64::NAN));
            }
            Some(infer(labels))
        }
        Value::List(labels) if labels.len() == raw.rows_count => Some(infer(labels)),
        Value::List(labels) => {
            return Err(Fault::new(format!("index has {} labels, data has {} rows", labels.len(), raw.rows_count)));
        }
        other => return Err(Fault::found("index is a list", type_name(&other))),
    };
    let mut frame = raw.infer();
    for column in frame.columns.iter_mut().filter(|_| are_missing) {
        column.cells = Cells::Objects(column.cells.values());
    }
    frame.index = index.filter(|labels| !is_a_range(labels));
    Ok(frame)
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
fn selected(mut raw: Raw, names: Option<&[Label]>) -> Raw {
    let Some(names) = names else { return raw };
    let column = |name: &Label| {
        let cells = raw.columns.iter_mut().find(|(other, _)| other == name).map(|(_, cells)| cells.clone());
        (name.clone(), cells.unwrap_or_else(|| vec![Value::Float(f64::NAN); raw.rows_count]))
    };
    let columns = names.iter().map(column).collect();
    Raw { columns, rows_count: raw.rows_count }
}

fn of_dict(entries: Vec<(std::sync::Arc<str>, Value)>) -> Result<Raw, Fault> {
    let mut columns = Vec::with_capacity(entries.len());
    let mut rows_count = None;
    for (name, value) in entries {
        let Value::List(cells) = value else {
            return Err(Fault::found(format!("the column {name:?} is a list of cells"), type_name(&value)));
        };
        if *rows_count.get_or_insert(cells.len()) != cells.len() {
            return Err(Fault::new("all columns have one length"));
        }
        columns.push((Label::Text(name), cells));
    }
    Ok(Raw { columns, rows_count: rows_count.unwrap_or(0) })
}

/// One column's part of a schema.
enum Spec<'s> {
    Column(&'s ColumnSpec),
    Tensor(&'s TensorSpec),
}

/// Casts the columns that the schema names. Those of a schema without names go by position.
pub(crate) fn cast_frame(mut frame: Frame, schema: Option<&Schema>) -> Result<Frame, EnforceError> {
    let Some(schema) = schema else { return Ok(frame) };
    let mut later = None;
    for at in 0..frame.columns.len() {
        let name = frame.columns[at].name.clone();
        let Some(spec) = spec_of(schema, &name, at) else { continue };
        if frame.columns[..at].iter().any(|other| other.name == name) {
            return Err(EnforceError::bad_request("the column is there twice").in_column(name.to_string()));
        }
        let cells = std::mem::replace(&mut frame.columns[at].cells, Cells::Objects(Vec::new()));
        let (cells, expected) = match spec {
            Spec::Column(spec) => {
                // Without names a column is required by its position only.
                let is_required = spec.is_required()
                    && (spec.name.is_some() || name == Label::Position(i64::try_from(at).unwrap_or(-1)));
                (cast_to_column(cells, spec, is_required), spec.kind.to_string())
            }
            Spec::Tensor(spec) => (cast_to_tensor(cells, spec), spec.kind.name().to_owned()),
        };
        match cells {
            Ok(cells) => frame.columns[at].cells = cells,
            Err(fault) if fault.is_enforcement => {
                later.get_or_insert(fault.error(Refusal::Enforcement, Some(&name), expected));
            }
            Err(fault) => return Err(fault.error(Refusal::BadRequest, Some(&name), expected)),
        }
    }
    later.map_or(Ok(frame), Err)
}

fn spec_of<'s>(schema: &'s Schema, name: &Label, at: usize) -> Option<Spec<'s>> {
    match schema {
        Schema::Columns(columns) if schema.has_names() => {
            columns.iter().find(|column| column.name.as_ref() == Some(name)).map(Spec::Column)
        }
        Schema::Columns(columns) => columns.get(at).map(Spec::Column),
        Schema::Tensors(tensors) if schema.has_names() => {
            tensors.iter().find(|tensor| tensor.name.as_ref() == Some(name)).map(Spec::Tensor)
        }
        Schema::Tensors(tensors) => tensors.first().map(Spec::Tensor),
    }
}

fn cast_to_column(cells: Cells, spec: &ColumnSpec, is_required: bool) -> Result<Cells, Fault> {
    match &spec.kind {
        DataType::Scalar(scalar) => cast_column(cells, *scalar),
        DataType::Any => Ok(cells),
        kind => {
            let each = cells.values().into_iter().enumerate().map(|(row, value)| {
                enforce_type(value, kind, is_required).map_err(|fault| Fault { row: Some(row), ..fault })
            });
            each.collect::<Result<Vec<Value>, Fault>>().map(infer)
        }
    }
}

fn cast_to_tensor(cells: Cells, spec: &TensorSpec) -> Result<Cells, Fault> {
    if spec.kind == TensorType::Known(DType::Bytes) {
        return utf8_bytes(&cells);
    }
    if cells.is_empty() {
        return Err(Fault::new("a tensor takes at least one row"));
    }
    if matches!(cells.value(0), Value::List(_)) {
        // The shape says later what becomes of lists.
        return Ok(cells);
    }
    match &spec.kind {
        TensorType::Known(DType::Str) if matches!(cells, Cells::Array(DType::Str, _)) => Ok(cells),
        TensorType::Known(dtype) => astype(cells, *dtype),
        TensorType::Object => Ok(Cells::Objects(cells.values())),
        TensorType::Other(name) => Err(Fault::new(format!("no array of the dtype {name} can be made of JSON"))),
    }
}
