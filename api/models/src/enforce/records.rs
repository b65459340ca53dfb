//! Stage 1 of `dataframe_records`: a frame as pandas makes it, its columns cast to the schema.

use super::astype::{astype, cast_column, utf8_bytes};
use super::error::{EnforceError, Fault, Refusal};
use super::frame::{of_list, of_records};
use super::nested::{enforce_type, type_name};
use super::series::infer;
use crate::data::{Cells, DType, Frame, Input, Label, Value};
use crate::schema::{ColumnSpec, DataType, Scalar, Schema, TensorSpec, TensorType};

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

pub(super) fn not_a_frame(field: &str, fault: Fault) -> EnforceError {
    let mut error = EnforceError::bad_request(format!("{field} is no data frame: {}", fault.reason));
    (error.row, error.found) = (fault.row, fault.found);
    error
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
        if frame.columns.iter().filter(|other| other.name == name).nth(1).is_some() {
            let twice = |refusal| EnforceError::new(refusal, "the column is there twice").in_column(name.to_string());
            if !is_cast_twice(&spec) {
                return Err(twice(Refusal::BadRequest));
            }
            later.get_or_insert_with(|| twice(Refusal::Enforcement));
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

/// Whether pandas casts two columns of a name as well as one: then only stage 2 sees that there are two.
fn is_cast_twice(spec: &Spec<'_>) -> bool {
    matches!(spec, Spec::Column(spec) if !matches!(spec.kind, DataType::Scalar(Scalar::Datetime | Scalar::String)))
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
