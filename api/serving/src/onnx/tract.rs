//! ONNX models in pure Rust: for a program of one file, on machines without Python and ONNX Runtime.
//!
//! The crate `tract` has most operators of neural networks and some of `ai.onnx.ml`. A model with another operator is
//! refused when it is loaded, and each one that is missing is named. All arrays are copied in and out.
//!
//! The first dimension of unknown length is the number of rows, one number for all inputs.

use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{ArrayRef, BooleanArray, LargeStringArray, PrimitiveArray};
use runlode_models::{Cells, DType, Input, Tensor, Value};
use tract_onnx::pb::{GraphProto, ValueInfoProto, tensor_shape_proto::dimension, type_proto};
use tract_onnx::prelude::tract_ndarray::{ArrayD, IxDyn};
use tract_onnx::prelude::{
    Datum, DatumType, Framework, InferenceFact, InferenceModelExt, IntoRunnable, IntoTensor, SymbolScope, TDim, TValue,
    TVec, TractResult, TypedRunnableModel,
};

use crate::engine::{Engine, Output, PredictError};
use crate::onnx::answer::{Answer, by_rows, output};
use crate::onnx::error::LoadError;
use crate::onnx::feed::feeds;
use crate::onnx::port::{Kind, Port};

/// A model that `tract` runs.
///
/// # Examples
/// ```no_run
/// use runlode_serving::onnx::{LoadError, TractModel};
///
/// match TractModel::load("model/model.onnx".as_ref()) {
///     Err(LoadError::Operators { operators, .. }) => println!("not in tract: {}", operators.join(", ")),
///     Err(error) => println!("{error}"),
///     Ok(model) => println!("{} inputs", model.inputs().len()),
/// }
/// ```
#[derive(Debug)]
pub struct TractModel {
    plan: Arc<TypedRunnableModel>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

impl TractModel {
    /// Loads a model's file.
    ///
    /// # Errors
    /// The file is no ONNX model, or has operators that `tract` lacks.
    pub fn load(file: &Path) -> Result<Self, LoadError> {
        let refused = |why: String| LoadError::Model { path: file.to_path_buf(), why };
        let onnx = tract_onnx::onnx();
        let proto = onnx.proto_model_for_path(file).map_err(|error| refused(format!("{error:#}")))?;
        let graph = proto.graph.as_ref().ok_or_else(|| refused("it has no graph".into()))?;
        let operators = lacking(&onnx, graph);
        if !operators.is_empty() {
            return Err(LoadError::Operators { path: file.to_path_buf(), operators });
        }
        let is_constant = |name: &str| graph.initializer.iter().any(|tensor| tensor.name == name);
        let inputs: Vec<Port> = graph.input.iter().filter(|input| !is_constant(&input.name)).map(port).collect();
        let outputs: Vec<Port> = graph.output.iter().map(port).collect();
        let plan = plan(&onnx, file, &inputs).map_err(|error| refused(format!("{error:#}")))?;
        Ok(Self { plan, inputs, outputs })
    }

    /// What the graph takes.
    #[must_use]
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// What the graph answers.
    #[must_use]
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn answers(&self, tensors: &[Tensor]) -> Result<Vec<Answer>, PredictError> {
        for (port, tensor) in self.inputs.iter().zip(tensors) {
            fits(port, tensor)?;
        }
        let values: TractResult<TVec<TValue>> = tensors.iter().map(value).collect();
        let outputs = values.and_then(|values| self.plan.run(values)).map_err(|error| raised(format!("{error:#}")))?;
        outputs.iter().zip(&self.outputs).map(|(value, port)| answer(value, port)).collect()
    }
}

impl Engine for TractModel {
    fn predict(&self, input: Input, _params: Option<&[(String, Value)]>) -> Result<Output, PredictError> {
        let feeds = feeds(&self.inputs, input)?;
        output(&self.outputs, self.answers(&feeds.tensors)?, feeds.frame_rows_count)
    }

    fn predict_rows(&self, input: Input, _params: Option<&[(String, Value)]>) -> Result<Output, PredictError> {
        let feeds = feeds(&self.inputs, input)?;
        Ok(by_rows(&self.outputs, self.answers(&feeds.tensors)?))
    }
}

fn raised(why: String) -> PredictError {
    PredictError::Raised {
        status: 400,
        code: "BAD_REQUEST".into(),
        message: format!("tract: {why}"),
        stack_trace: String::new(),
    }
}

/// Operators of the graph that tract does not know, sorted.
fn lacking(onnx: &tract_onnx::Onnx, graph: &GraphProto) -> Vec<String> {
    let mut operators: Vec<String> = graph
        .node
        .iter()
        .filter(|node| !onnx.op_register.0.contains_key(node.op_type.as_str()))
        .map(|node| match node.domain.as_str() {
            "" => node.op_type.clone(),
            domain => format!("{domain}.{}", node.op_type),
        })
        .collect();
    operators.sort();
    operators.dedup();
    operators
}

fn plan(onnx: &tract_onnx::Onnx, file: &Path, inputs: &[Port]) -> TractResult<Arc<TypedRunnableModel>> {
    let mut model = onnx.model_for_path(file)?;
    for (at, port) in inputs.iter().enumerate() {
        if let Kind::Tensor(dtype) = port.kind
            && let Some(datum) = datum(dtype)
        {
            let dims = dims(&model.symbols, at, &port.shape);
            model.set_input_fact(at, InferenceFact::dt_shape(datum, dims))?;
        }
    }
    model.into_optimized()?.into_runnable()
}

/// The lengths of an input's dimensions: symbols where they are not known.
fn dims(symbols: &SymbolScope, input: usize, shape: &[Option<usize>]) -> TVec<TDim> {
    let dim = |(at, length): (usize, &Option<usize>)| match length {
        Some(length) => TDim::from(*length as i64),
        None if at == 0 => symbols.sym("rows").into(),
        None => symbols.sym(&format!("input_{input}_{at}")).into(),
    };
    shape.iter().enumerate().map(dim).collect()
}

fn port(of: &ValueInfoProto) -> Port {
    let tensor = of.r#type.as_ref().and_then(|of| of.value.as_ref()).map(|value| match value {
        type_proto::Value::TensorType(tensor) => tensor,
    });
    let Some(tensor) = tensor else {
        return Port { name: of.name.clone(), kind: Kind::Other("a sequence or a map".into()), shape: Vec::new() };
    };
    let dims = tensor.shape.iter().flat_map(|shape| &shape.dim);
    let shape = dims.map(|dim| match dim.value {
        Some(dimension::Value::DimValue(length)) => usize::try_from(length).ok(),
        _ => None,
    });
    let kind = match dtype_of_code(tensor.elem_type) {
        Some(dtype) => Kind::Tensor(dtype),
        None => Kind::Other(format!("a tensor of the ONNX type {}", tensor.elem_type)),
    };
    Port { name: of.name.clone(), kind, shape: shape.collect() }
}

/// The dtype of a number in `TensorProto.DataType`.
fn dtype_of_code(code: i32) -> Option<DType> {
    Some(match code {
        1 => DType::Float32,
        2 => DType::UInt8,
        3 => DType::Int8,
        4 => DType::UInt16,
        5 => DType::Int16,
        6 => DType::Int32,
        7 => DType::Int64,
        8 => DType::Str,
        9 => DType::Bool,
        10 => DType::Float16,
        11 => DType::Float64,
        12 => DType::UInt32,
        13 => DType::UInt64,
        _ => return None,
    })
}

fn datum(dtype: DType) -> Option<DatumType> {
    Some(match dtype {
        DType::Bool => DatumType::Bool,
        DType::Int8 => DatumType::I8,
        DType::Int16 => DatumType::I16,
        DType::Int32 => DatumType::I32,
        DType::Int64 => DatumType::I64,
        DType::UInt8 => DatumType::U8,
        DType::UInt16 => DatumType::U16,
        DType::UInt32 => DatumType::U32,
        DType::UInt64 => DatumType::U64,
        DType::Float16 => DatumType::F16,
        DType::Float32 => DatumType::F32,
        DType::Float64 => DatumType::F64,
        DType::Str => DatumType::String,
        DType::Bytes | DType::Datetime => return None,
    })
}

/// tract does not check the shape of what it is given against what the graph says.
fn fits(port: &Port, tensor: &Tensor) -> Result<(), PredictError> {
    let is_same = port.shape.len() == tensor.shape.len()
        && port.shape.iter().zip(&tensor.shape).all(|(wanted, found)| wanted.is_none_or(|wanted| wanted == *found));
    if is_same {
        return Ok(());
    }
    let wanted: Vec<String> =
        port.shape.iter().map(|length| length.map_or("any".into(), |length| length.to_string())).collect();
    Err(PredictError::Refused(format!(
        "Got invalid dimensions for input '{}': {:?}, expected ({})",
        port.name,
        tensor.shape,
        wanted.join(", ")
    )))
}

fn value(tensor: &Tensor) -> TractResult<TValue> {
    use tract_onnx::prelude::Tensor as TractTensor;
    let shape = tensor.shape.as_slice();
    let Cells::Array(dtype, values) = &tensor.elements else {
        tract_onnx::prelude::tract_data::internal::bail!("an array of objects is no tensor")
    };
    macro_rules! numbers {
        ($type:ty) => {
            TractTensor::from_shape(shape, &values.as_primitive::<$type>().values()[..])?
        };
    }
    let made = match dtype {
        DType::Bool => TractTensor::from_shape(shape, &values.as_boolean().values().iter().collect::<Vec<bool>>())?,
        DType::Int8 => numbers!(Int8Type),
        DType::Int16 => numbers!(Int16Type),
        DType::Int32 => numbers!(Int32Type),
        DType::Int64 => numbers!(Int64Type),
        DType::UInt8 => numbers!(UInt8Type),
        DType::UInt16 => numbers!(UInt16Type),
        DType::UInt32 => numbers!(UInt32Type),
        DType::UInt64 => numbers!(UInt64Type),
        DType::Float16 => numbers!(Float16Type),
        DType::Float32 => numbers!(Float32Type),
        DType::Float64 => numbers!(Float64Type),
        DType::Str => {
            let texts = values.as_string::<i64>().iter().map(|text| text.unwrap_or_default().to_owned());
            ArrayD::from_shape_vec(IxDyn(shape), texts.collect::<Vec<String>>())?.into()
        }
        DType::Bytes | DType::Datetime => {
            tract_onnx::prelude::tract_data::internal::bail!("bytes and times are no tensors")
        }
    };
    Ok(made.into())
}

fn answer(value: &TValue, port: &Port) -> Result<Answer, PredictError> {
    let unencodable = |why: String| PredictError::Unencodable { reason: format!("output '{}': {why}", port.name) };
    // What is a length inside of tract is a number outside.
    let value = match value.datum_type() {
        DatumType::TDim => value.cast_to::<i64>().map_err(|error| unencodable(format!("{error:#}")))?.into_owned(),
        _ => value.clone().into_tensor(),
    };
    let view = value.try_as_plain_ram().map_err(|error| unencodable(format!("{error:#}")))?;
    fn slice<T: Datum + Clone>(view: &tract_onnx::prelude::tract_data::internal::PlainView<'_>) -> TractResult<Vec<T>> {
        Ok(view.as_slice::<T>()?.to_vec())
    }
    fn numbers<T: ArrowPrimitiveType>(values: Vec<T::Native>) -> ArrayRef {
        Arc::new(PrimitiveArray::<T>::new(values.into(), None))
    }
    let array: TractResult<(DType, ArrayRef)> = match value.datum_type() {
        DatumType::Bool => {
            slice::<bool>(&view).map(|values| (DType::Bool, Arc::new(BooleanArray::from(values)) as ArrayRef))
        }
        DatumType::I8 => slice(&view).map(|values| (DType::Int8, numbers::<Int8Type>(values))),
        DatumType::I16 => slice(&view).map(|values| (DType::Int16, numbers::<Int16Type>(values))),
        DatumType::I32 => slice(&view).map(|values| (DType::Int32, numbers::<Int32Type>(values))),
        DatumType::I64 => slice(&view).map(|values| (DType::Int64, numbers::<Int64Type>(values))),
        DatumType::U8 => slice(&view).map(|values| (DType::UInt8, numbers::<UInt8Type>(values))),
        DatumType::U16 => slice(&view).map(|values| (DType::UInt16, numbers::<UInt16Type>(values))),
        DatumType::U32 => slice(&view).map(|values| (DType::UInt32, numbers::<UInt32Type>(values))),
        DatumType::U64 => slice(&view).map(|values| (DType::UInt64, numbers::<UInt64Type>(values))),
        DatumType::F16 => slice(&view).map(|values| (DType::Float16, numbers::<Float16Type>(values))),
        DatumType::F32 => slice(&view).map(|values| (DType::Float32, numbers::<Float32Type>(values))),
        DatumType::F64 => slice(&view).map(|values| (DType::Float64, numbers::<Float64Type>(values))),
        DatumType::String => slice::<String>(&view)
            .map(|texts| (DType::Str, Arc::new(LargeStringArray::from_iter_values(texts)) as ArrayRef)),
        other => return Err(unencodable(format!("it is {other:?}"))),
    };
    let (dtype, array) = array.map_err(|error| unencodable(format!("{error:#}")))?;
    Ok(Answer::Array(Tensor { shape: value.shape().to_vec(), elements: Cells::Array(dtype, array) }))
}
