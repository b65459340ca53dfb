//! What a graph is fed: a model's input as one array for each input of the graph.
//!
//! ```text
//! Tensor     graph of one input      that array
//! Tensors    arrays by name          those arrays; none missing, none unknown
//! Frame      graph of one input      all columns side by side: (rows, columns)
//!            several inputs          a column each, by name
//! ```
//!
//! As MLflow's own ONNX flavor does, `float64` becomes `float32` where the graph has `tensor(float)`; nothing else is
//! cast. Two things are served that MLflow refuses: text columns of several inputs, and `(n, 1)` inputs fed by columns.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, LargeStringArray, PrimitiveArray};
use arrow_schema::DataType;
use half::f16;
use runlode_models::{Cells, DType, Frame, Input, Label, Tensor};

use crate::engine::PredictError;
use crate::onnx::matrix::side_by_side;
use crate::onnx::port::{Kind, Port, onnx_name};
use crate::onnx::promote::common;
use crate::onnx::text::texts;

/// The arrays for a graph's inputs, in the order of its ports. Elements have the port's type and none is missing.
#[derive(Debug)]
pub(crate) struct Feeds {
    pub(crate) tensors: Vec<Tensor>,
    /// Rows of the frame; none if the model was handed arrays.
    pub(crate) frame_rows_count: Option<usize>,
}

/// Makes the arrays for the graph's inputs.
///
/// # Errors
/// `Refused` names the input, the type expected and the one found. What MLflow raises as an exception of its own is
/// `Raised`, with its status.
pub(crate) fn feeds(ports: &[Port], input: Input) -> Result<Feeds, PredictError> {
    match input {
        Input::Tensor(tensor) => match ports {
            [port] => Ok(Feeds { tensors: vec![fit(port, tensor)?], frame_rows_count: None }),
            _ => Err(no_single_input(ports)),
        },
        Input::Tensors(tensors) => Ok(Feeds { tensors: by_name(ports, tensors)?, frame_rows_count: None }),
        Input::Frame(frame) => {
            let frame_rows_count = Some(frame.rows_count);
            let tensors = match ports {
                [port] => vec![matrix(port, &frame)?],
                _ => ports.iter().map(|port| column(port, &frame)).collect::<Result<_, _>>()?,
            };
            Ok(Feeds { tensors, frame_rows_count })
        }
        Input::Value(_) => Err(PredictError::Refused(
            "an ONNX model takes an array, a dictionary of arrays or columns; it was given a value without columns"
                .into(),
        )),
    }
}

fn no_single_input(ports: &[Port]) -> PredictError {
    PredictError::Raised {
        status: 500,
        code: "INTERNAL_ERROR".into(),
        message: format!(
            "Unable to map an array to the inputs of the model: it has {} inputs. Pass a dictionary or columns with \
             these: {}.",
            ports.len(),
            quoted(ports.iter().map(|port| port.name.as_str()))
        ),
        stack_trace: String::new(),
    }
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("'{name}'")).collect();
    format!("[{}]", names.join(", "))
}

fn by_name(ports: &[Port], mut tensors: Vec<(String, Tensor)>) -> Result<Vec<Tensor>, PredictError> {
    let has = |name: &str| tensors.iter().any(|(given, _)| given == name);
    let missing: Vec<&str> = ports.iter().map(|port| port.name.as_str()).filter(|name| !has(name)).collect();
    if !missing.is_empty() {
        return Err(PredictError::Refused(format!(
            "Required inputs ({}) are missing from input feed ({}).",
            quoted(missing.into_iter()),
            quoted(tensors.iter().map(|(name, _)| name.as_str()))
        )));
    }
    if let Some((name, _)) = tensors.iter().find(|(name, _)| ports.iter().all(|port| port.name != *name)) {
        return Err(PredictError::Refused(format!("Invalid input name: {name}")));
    }
    let mut fed = Vec::with_capacity(ports.len());
    for port in ports {
        if let Some(at) = tensors.iter().position(|(name, _)| *name == port.name) {
            fed.push(fit(port, tensors.swap_remove(at).1)?);
        }
    }
    Ok(fed)
}

/// Gives an array the port's type, if that loses nothing but the precision of a `float64`.
fn fit(port: &Port, tensor: Tensor) -> Result<Tensor, PredictError> {
    let Tensor { shape, elements } = tensor;
    let wanted = wanted(port)?;
    let elements = match (elements, wanted) {
        (Cells::Array(DType::Float64, values), DType::Float32) => Cells::Array(DType::Float32, narrowed(&values)),
        (Cells::Array(DType::Str, values), DType::Str) if values.null_count() == 0 => Cells::Array(DType::Str, values),
        (Cells::Array(dtype, values), wanted) if dtype == wanted && wanted != DType::Str => {
            Cells::Array(dtype, whole(port, values)?)
        }
        (cells @ (Cells::Objects(_) | Cells::Array(DType::Str, _)), DType::Str) => {
            let texts = texts(&cells).map_err(|why| PredictError::Refused(format!("input '{}': {why}", port.name)))?;
            Cells::Array(DType::Str, Arc::new(LargeStringArray::from_iter_values(texts)))
        }
        (Cells::Array(dtype, _), _) => return Err(other_type(port, onnx_name(dtype))),
        (Cells::Objects(_), _) => return Err(other_type(port, onnx_name(DType::Str))),
    };
    Ok(Tensor { shape, elements })
}

/// All columns side by side.
fn matrix(port: &Port, frame: &Frame) -> Result<Tensor, PredictError> {
    let wanted = wanted(port)?;
    let shape = vec![frame.rows_count, frame.columns.len()];
    let dtypes = frame.columns.iter().map(|column| match &column.cells {
        // A boolean or an integer that is missing makes pandas' column one of objects.
        Cells::Array(dtype, values) if values.null_count() == 0 || has_missing(*dtype) => Some(*dtype),
        _ => None,
    });
    let common = dtypes.collect::<Option<Vec<DType>>>().and_then(common);
    let Some(common) = common else {
        // An array of objects: ONNX Runtime takes it as one of texts.
        if wanted != DType::Str {
            return Err(other_type(port, onnx_name(DType::Str)));
        }
        return Ok(Tensor { shape, elements: Cells::Array(DType::Str, text_matrix(port, frame)?) });
    };
    let target = if common == DType::Float64 && wanted == DType::Float32 { DType::Float32 } else { common };
    if target != wanted {
        return Err(other_type(port, onnx_name(common)));
    }
    let columns: Vec<ArrayRef> = frame
        .columns
        .iter()
        .filter_map(|column| match &column.cells {
            Cells::Array(_, values) => Some(Arc::clone(values)),
            Cells::Objects(_) => None,
        })
        .collect();
    let values = side_by_side(&columns, frame.rows_count, target)
        .ok_or_else(|| other_type(port, "a column whose array has another type than it says"))?;
    Ok(Tensor { shape, elements: Cells::Array(target, values) })
}

fn has_missing(dtype: DType) -> bool {
    matches!(dtype, DType::Float16 | DType::Float32 | DType::Float64 | DType::Str | DType::Datetime)
}

fn text_matrix(port: &Port, frame: &Frame) -> Result<ArrayRef, PredictError> {
    let columns: Result<Vec<Vec<String>>, String> = frame.columns.iter().map(|column| texts(&column.cells)).collect();
    let columns = columns.map_err(|why| PredictError::Refused(format!("input '{}': {why}", port.name)))?;
    let cells = (0..frame.rows_count).flat_map(|row| columns.iter().map(move |column| column[row].as_str()));
    Ok(Arc::new(LargeStringArray::from_iter_values(cells)))
}

/// The column of the port's name.
fn column(port: &Port, frame: &Frame) -> Result<Tensor, PredictError> {
    let is_it = |label: &Label| matches!(label, Label::Text(name) if **name == *port.name);
    let column =
        frame.columns.iter().find(|column| is_it(&column.name)).ok_or_else(|| {
            PredictError::Refused(format!("the model's input '{}' is no column of the data", port.name))
        })?;
    let shape = if port.is_upright() { vec![frame.rows_count, 1] } else { vec![frame.rows_count] };
    fit(port, Tensor { shape, elements: column.cells.clone() })
}

fn wanted(port: &Port) -> Result<DType, PredictError> {
    match &port.kind {
        Kind::Tensor(dtype) => Ok(*dtype),
        Kind::Other(text) => Err(PredictError::Refused(format!(
            "the model's input '{}' is {text}: neither columns nor arrays of numbers or texts can be that",
            port.name
        ))),
    }
}

fn other_type(port: &Port, found: &str) -> PredictError {
    PredictError::Refused(format!(
        "Unexpected input data type for input '{}'. Actual: ({found}) , expected: ({})",
        port.name, port.kind
    ))
}

fn narrowed(values: &ArrayRef) -> ArrayRef {
    let values = values.as_primitive::<Float64Type>();
    Arc::new(filled(&values.unary::<_, Float32Type>(|value| value as f32), f32::NAN))
}

/// The values with NaN in the place of missing ones.
fn whole(port: &Port, values: ArrayRef) -> Result<ArrayRef, PredictError> {
    if values.null_count() == 0 {
        return Ok(values);
    }
    Ok(match values.data_type() {
        DataType::Float16 => Arc::new(filled(values.as_primitive::<Float16Type>(), f16::NAN)),
        DataType::Float32 => Arc::new(filled(values.as_primitive::<Float32Type>(), f32::NAN)),
        DataType::Float64 => Arc::new(filled(values.as_primitive::<Float64Type>(), f64::NAN)),
        _ => return Err(other_type(port, onnx_name(DType::Str))),
    })
}

fn filled<T: ArrowPrimitiveType>(values: &PrimitiveArray<T>, missing: T::Native) -> PrimitiveArray<T> {
    match values.nulls() {
        Some(nulls) if nulls.null_count() > 0 => {
            let cells = values.values().iter().enumerate();
            let cells = cells.map(|(at, value)| if nulls.is_null(at) { missing } else { *value });
            PrimitiveArray::new(cells.collect(), None)
        }
        _ => PrimitiveArray::new(values.values().clone(), None),
    }
}
