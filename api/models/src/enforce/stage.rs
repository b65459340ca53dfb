//! Stage 2: the input against the signature, as `PyFuncModel.predict` enforces it.

use std::collections::HashSet;
use std::sync::Arc;

use super::error::{EnforceError, Fault, Refusal};
use super::frame::{of_columns, of_elements, of_list, of_row, of_tensor};
use super::nested::enforce_type;
use super::scalar::is_scalar;
use super::series::infer;
use super::tensor::enforce_tensors;
use super::upcast::enforce_column;
use crate::data::{Cells, Column, DType, Frame, Input, Label, Value};
use crate::schema::{ColumnSpec, DataType, Scalar, Schema, Signature};

/// What the model is handed: the columns or arrays of the signature, in its order and types. Additional ones are
/// dropped. Without an input schema everything passes.
///
/// ```
/// use std::sync::Arc;
///
/// use arrow_array::types::{Int32Type, Int64Type};
/// use arrow_array::{PrimitiveArray, cast::AsArray};
/// use runlode_models::enforce::enforce;
/// use runlode_models::signature::{ColumnSpec, Scalar, Schema, Signature};
/// use runlode_models::{Cells, Column, DType, Frame, Input};
///
/// let long = Schema::Columns(vec![ColumnSpec::new("a", Scalar::Long)]);
/// let signature = Signature { inputs: Some(long), ..Signature::default() };
/// let cells = Cells::Array(DType::Int32, Arc::new(PrimitiveArray::<Int32Type>::from(vec![1, 2])));
/// let Input::Frame(frame) = enforce(Input::Frame(Frame::new(vec![Column::new("a", cells)])), &signature)? else {
///     unreachable!()
/// };
/// let Cells::Array(DType::Int64, array) = &frame.columns[0].cells else { unreachable!() };
/// assert_eq!(array.as_primitive::<Int64Type>().values()[..], [1, 2]);
///
/// let error = enforce(Input::Frame(Frame::default()), &signature).unwrap_err();
/// assert_eq!(error.to_string(), "the input lacks a; there are none");
/// # Ok::<(), runlode_models::enforce::EnforceError>(())
/// ```
///
/// # Errors
/// `SCHEMA_ENFORCEMENT_FAILED` names the column, what the signature has and what was found.
pub fn enforce(input: Input, signature: &Signature) -> Result<Input, EnforceError> {
    match &signature.inputs {
        None => Ok(input),
        Some(Schema::Tensors(tensors)) => enforce_tensors(input, tensors),
        Some(schema @ Schema::Columns(columns)) => {
            let frame = frame_of(input, columns)
                .map_err(|fault| fault.error(Refusal::Enforcement, None, "the columns of the signature"))?;
            let frame =
                if schema.has_names() { enforce_named(frame, columns) } else { enforce_unnamed(frame, columns) };
            frame.map(Input::Frame)
        }
    }
}

/// The frame that MLflow makes of an input without columns.
fn frame_of(input: Input, columns: &[ColumnSpec]) -> Result<Frame, Fault> {
    let value = match input {
        Input::Frame(frame) => return Ok(frame),
        Input::Tensor(tensor) if tensor.shape.is_empty() => {
            return Ok(Frame::new(vec![Column { name: Label::Position(0), cells: of_elements(tensor.elements) }]));
        }
        Input::Tensor(tensor) => return of_tensor(tensor),
        Input::Tensors(tensors) => {
            let entry = |(name, tensor): (String, _)| (Arc::from(name), Value::Tensor(Box::new(tensor)));
            Value::Dict(tensors.into_iter().map(entry).collect())
        }
        Input::Value(value) => value,
    };
    match value {
        Value::Dict(entries) => frame_of_dict(entries, columns),
        Value::List(items) => {
            let raw = of_list(items)?;
            let is_named = columns.first().is_some_and(|column| column.name.is_some());
            // With names a value without dimensions is a scalar of numpy, or dropped. Without, it stays an array.
            let cells = |values: Vec<Value>| {
                if !is_named && values.iter().any(is_array) { Cells::Objects(values) } else { infer(values) }
            };
            let rows_count = raw.rows_count;
            let columns = raw.columns.into_iter().map(|(name, values)| Column { name, cells: cells(values) });
            Ok(Frame { columns: columns.collect(), rows_count, index: None })
        }
        Value::None => Err(Fault::found("a frame is expected", "NoneType")),
        scalar => Ok(Frame::new(vec![Column { name: Label::Position(0), cells: infer(vec![scalar]) }])),
    }
}

fn frame_of_dict(entries: Vec<(Arc<str>, Value)>, columns: &[ColumnSpec]) -> Result<Frame, Fault> {
    let has_nested = columns
        .iter()
        .any(|column| matches!(column.kind, DataType::Array(_) | DataType::SparkVector | DataType::Object(_)));
    let is_named =
        |name: &str| columns.iter().any(|column| matches!(&column.name, Some(Label::Text(text)) if **text == *name));
    let is_text_scalar = |value: &Value| match value {
        Value::Tensor(tensor) => tensor.shape.is_empty() && matches!(tensor.elements, Cells::Array(DType::Str, _)),
        _ => false,
    };
    // A column of the signature is a scalar of numpy, any other value an array without dimensions.
    let is_row = |(name, value): &(Arc<str>, Value)| match value {
        Value::Tensor(tensor) => tensor.shape.is_empty() && is_named(name),
        Value::None => true,
        Value::List(items) => items.iter().all(|item| matches!(item, Value::Text(_))),
        other => is_scalar(other),
    };
    if has_nested || entries.iter().all(is_row) || entries.iter().all(|(_, value)| is_text_scalar(value)) {
        return Ok(of_row(entries));
    }
    of_columns(entries)
}

fn enforce_named(mut frame: Frame, specs: &[ColumnSpec]) -> Result<Frame, EnforceError> {
    let there: HashSet<&Label> = frame.columns.iter().map(|column| &column.name).collect();
    let missing: Vec<String> = specs
        .iter()
        .filter(|spec| spec.is_required())
        .filter_map(|spec| spec.name.as_ref())
        .filter(|name| !there.contains(name))
        .map(ToString::to_string)
        .collect();
    if !missing.is_empty() {
        let names: Vec<String> = frame.columns.iter().take(NAMES_MAX).map(|column| column.name.to_string()).collect();
        let more = if frame.columns.len() > NAMES_MAX { ", ..." } else { "" };
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let reason = format!("the input lacks {}; there are {names}{more}", missing.join(", "));
        return Err(EnforceError { column: None, ..EnforceError::enforcement(reason) });
    }
    let mut columns = Vec::with_capacity(specs.len());
    for spec in specs {
        let Some(name) = &spec.name else { continue };
        let mut found = frame.columns.iter_mut().filter(|column| column.name == *name);
        let Some(column) = found.next() else { continue };
        if found.next().is_some() {
            return Err(EnforceError::enforcement("the column is there twice").in_column(name.to_string()));
        }
        let cells = std::mem::replace(&mut column.cells, Cells::Objects(Vec::new()));
        columns.push(enforced(cells, name.clone(), &spec.kind, spec.is_required())?);
    }
    // A frame without columns has no rows.
    let (rows_count, index) = if columns.is_empty() { (0, None) } else { (frame.rows_count, frame.index) };
    Ok(Frame { columns, rows_count, index })
}

/// How many names of columns an error lists.
const NAMES_MAX: usize = 20;

fn enforce_unnamed(frame: Frame, specs: &[ColumnSpec]) -> Result<Frame, EnforceError> {
    if frame.columns.len() < specs.len() {
        return Err(EnforceError::enforcement(
            "columns are missing; the signature has no names, so only their number counts",
        )
        .with(format!("{} columns", specs.len()), format!("{} columns", frame.columns.len())));
    }
    let rows_count = frame.rows_count;
    let columns = frame.columns.into_iter().zip(specs);
    let columns = columns.map(|(column, spec)| enforced(column.cells, column.name, &spec.kind, true));
    Ok(Frame { columns: columns.collect::<Result<_, _>>()?, rows_count, index: frame.index })
}

/// Whether the value is an array without dimensions.
fn is_array(value: &Value) -> bool {
    matches!(value, Value::Tensor(tensor) if tensor.shape.is_empty())
}

fn has_arrays(cells: &Cells) -> bool {
    matches!(cells, Cells::Objects(values) if values.iter().any(is_array))
}

fn enforced(cells: Cells, name: Label, kind: &DataType, required: bool) -> Result<Column, EnforceError> {
    let cells = match kind {
        DataType::Scalar(Scalar::Boolean | Scalar::String | Scalar::Binary) | DataType::Any if has_arrays(&cells) => {
            Ok(cells)
        }
        DataType::Scalar(_) if has_arrays(&cells) => {
            Err(Fault::found("the signature has no names, so records cannot be matched with it", "records"))
        }
        DataType::Scalar(scalar) => enforce_column(cells, *scalar),
        kind => {
            let each = cells.values().into_iter().enumerate().map(|(row, value)| {
                enforce_type(value, kind, required).map_err(|fault| Fault { row: Some(row), ..fault })
            });
            each.collect::<Result<Vec<Value>, Fault>>().map(infer)
        }
    };
    match cells {
        Ok(cells) => Ok(Column { name, cells }),
        Err(fault) => Err(fault.error(Refusal::Enforcement, Some(&name), kind.to_string())),
    }
}
