//! ONNX models by ONNX Runtime, in this process.
//!
//! Arrays of numbers go in without a copy where their memory lies as ONNX Runtime wants it; booleans and texts are
//! copied. Answers are copied once, into Arrow's memory. Any number of threads predict on one model at once.

use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, BooleanArray, LargeStringArray, PrimitiveArray};
use ort::session::SessionInputValue;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{
    DynValue, IntoTensorElementType, PrimitiveTensorElementType, Tensor as OrtTensor, TensorElementType, TensorRef,
    ValueType,
};
use runlode_models::{Cells, DType, Input, Tensor, Value};

use crate::engine::{Engine, Output, PredictError};
use crate::onnx::answer::{Answer, by_rows, output};
use crate::onnx::error::LoadError;
use crate::onnx::feed::feeds;
use crate::onnx::library::{Search, environment};
use crate::onnx::port::{Kind, Port};
use crate::onnx::settings::{Optimization, Settings};
use crate::onnx::shared::{Outputs, Shared};

/// A model that ONNX Runtime runs.
///
/// # Examples
/// ```no_run
/// use runlode_serving::Engine;
/// use runlode_serving::onnx::{RuntimeModel, Search, Settings};
///
/// let model = RuntimeModel::load("model/model.onnx".as_ref(), &Settings::default(), &Search::from_env(None))?;
/// for port in model.inputs() {
///     println!("{} {}", port.name, port.kind);
/// }
/// # Ok::<(), runlode_serving::onnx::LoadError>(())
/// ```
#[derive(Debug)]
pub struct RuntimeModel {
    shared: Shared,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

impl RuntimeModel {
    /// Loads a model's file. ONNX Runtime is loaded with the first model of the process.
    ///
    /// Providers other than the CPU's are passed over: [`Settings::passed_over`] names them.
    ///
    /// # Errors
    /// There is no ONNX Runtime, the file is no ONNX model, or the graph has an operator that ONNX Runtime lacks.
    pub fn load(file: &Path, settings: &Settings, search: &Search) -> Result<Self, LoadError> {
        let environment = environment(search)?;
        let refused =
            |error: ort::Error| LoadError::Model { path: file.to_path_buf(), why: error.message().to_owned() };
        let mut builder = ort::session::Session::builder(environment).map_err(refused)?;
        // Threads that spin between requests take the processor from other requests.
        builder = builder.with_intra_op_spinning(false).map_err(|error| refused(error.into()))?;
        if let Some(threads) = settings.intra_op_threads {
            builder = builder.with_intra_threads(threads).map_err(|error| refused(error.into()))?;
        }
        if let Some(threads) = settings.inter_op_threads {
            builder = builder.with_inter_threads(threads).map_err(|error| refused(error.into()))?;
        }
        if let Some(is_parallel) = settings.is_parallel {
            builder = builder.with_parallel_execution(is_parallel).map_err(|error| refused(error.into()))?;
        }
        if let Some(level) = settings.optimization {
            let level = match level {
                Optimization::Basic => GraphOptimizationLevel::Level1,
                Optimization::Extended => GraphOptimizationLevel::Level2,
                Optimization::Layout => GraphOptimizationLevel::Level3,
                Optimization::All => GraphOptimizationLevel::All,
            };
            builder = builder.with_optimization_level(level).map_err(|error| refused(error.into()))?;
        }
        for (key, value) in &settings.extra {
            builder = builder.with_config_entry(key, value).map_err(|error| refused(error.into()))?;
        }
        let session = builder.commit_from_file(file).map_err(refused)?;
        let ports = |outlets: &[ort::value::Outlet]| {
            outlets.iter().map(|outlet| port(outlet.name(), outlet.dtype())).collect::<Vec<_>>()
        };
        let (inputs, outputs) = (ports(session.inputs()), ports(session.outputs()));
        Ok(Self { shared: Shared::new(session).map_err(refused)?, inputs, outputs })
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
        let held: Result<Vec<Held<'_>>, PredictError> = tensors.iter().map(Held::of).collect();
        let held = held?;
        let values: ort::Result<Vec<SessionInputValue<'_>>> =
            held.iter().zip(tensors).map(|(held, tensor)| held.value(&tensor.shape)).collect();
        let outputs: Outputs<'_> = self.shared.run(&values.map_err(raised)?).map_err(raised)?;
        outputs.iter().zip(&self.outputs).map(|(value, port)| answer(value, port)).collect()
    }
}

impl Engine for RuntimeModel {
    fn predict(&self, input: Input, _params: Option<&[(String, Value)]>) -> Result<Output, PredictError> {
        let feeds = feeds(&self.inputs, input)?;
        output(&self.outputs, self.answers(&feeds.tensors)?, feeds.frame_rows_count)
    }

    fn predict_rows(&self, input: Input, _params: Option<&[(String, Value)]>) -> Result<Output, PredictError> {
        let feeds = feeds(&self.inputs, input)?;
        Ok(by_rows(&self.outputs, self.answers(&feeds.tensors)?))
    }
}

/// MLflow answers what ONNX Runtime raises so.
fn raised(error: ort::Error) -> PredictError {
    PredictError::Raised {
        status: 400,
        code: "BAD_REQUEST".into(),
        message: format!("ONNX Runtime: {}", error.message()),
        stack_trace: String::new(),
    }
}

fn port(name: &str, of: &ValueType) -> Port {
    match of {
        ValueType::Tensor { ty, shape, .. } => Port {
            name: name.to_owned(),
            kind: dtype(*ty).map_or_else(|| Kind::Other(format!("tensor({ty})")), Kind::Tensor),
            shape: shape.iter().map(|length| usize::try_from(*length).ok()).collect(),
        },
        other => Port { name: name.to_owned(), kind: Kind::Other(other.to_string()), shape: Vec::new() },
    }
}

fn dtype(of: TensorElementType) -> Option<DType> {
    Some(match of {
        TensorElementType::Bool => DType::Bool,
        TensorElementType::Int8 => DType::Int8,
        TensorElementType::Int16 => DType::Int16,
        TensorElementType::Int32 => DType::Int32,
        TensorElementType::Int64 => DType::Int64,
        TensorElementType::Uint8 => DType::UInt8,
        TensorElementType::Uint16 => DType::UInt16,
        TensorElementType::Uint32 => DType::UInt32,
        TensorElementType::Uint64 => DType::UInt64,
        TensorElementType::Float16 => DType::Float16,
        TensorElementType::Float32 => DType::Float32,
        TensorElementType::Float64 => DType::Float64,
        TensorElementType::String => DType::Str,
        _ => return None,
    })
}

/// An array in memory that ONNX Runtime reads.
enum Held<'a> {
    Own(DType, &'a Cells),
    Booleans(Vec<bool>),
    Texts(Vec<String>),
}

impl<'a> Held<'a> {
    fn of(tensor: &'a Tensor) -> Result<Self, PredictError> {
        let Cells::Array(dtype, values) = &tensor.elements else {
            return Err(PredictError::Refused("an array of objects is no tensor".into()));
        };
        Ok(match dtype {
            DType::Bool => Self::Booleans(values.as_boolean().values().iter().collect()),
            DType::Str => {
                let texts = values.as_string::<i64>().iter();
                Self::Texts(texts.map(|text| text.unwrap_or_default().to_owned()).collect())
            }
            _ => Self::Own(*dtype, &tensor.elements),
        })
    }

    fn value<'v>(&'v self, shape: &'v [usize]) -> ort::Result<SessionInputValue<'v>> {
        let (dtype, values) = match self {
            Self::Booleans(values) => return Ok(TensorRef::from_array_view((shape, values.as_slice()))?.into()),
            Self::Texts(values) => return Ok(OrtTensor::from_string_array((shape, values.as_slice()))?.into()),
            Self::Own(dtype, Cells::Array(_, values)) => (dtype, values),
            Self::Own(..) => return Err(ort::Error::new("an array of objects is no tensor")),
        };
        match dtype {
            DType::Int8 => view::<Int8Type>(values, shape),
            DType::Int16 => view::<Int16Type>(values, shape),
            DType::Int32 => view::<Int32Type>(values, shape),
            DType::Int64 => view::<Int64Type>(values, shape),
            DType::UInt8 => view::<UInt8Type>(values, shape),
            DType::UInt16 => view::<UInt16Type>(values, shape),
            DType::UInt32 => view::<UInt32Type>(values, shape),
            DType::UInt64 => view::<UInt64Type>(values, shape),
            DType::Float16 => view::<Float16Type>(values, shape),
            DType::Float32 => view::<Float32Type>(values, shape),
            DType::Float64 => view::<Float64Type>(values, shape),
            DType::Bool | DType::Str | DType::Bytes | DType::Datetime => {
                Err(ort::Error::new("bytes and times are no tensors"))
            }
        }
    }
}

/// The array's own memory as a tensor.
fn view<'a, T>(values: &'a dyn Array, shape: &'a [usize]) -> ort::Result<SessionInputValue<'a>>
where
    T: ArrowPrimitiveType,
    T::Native: PrimitiveTensorElementType + std::fmt::Debug,
{
    let values =
        values.as_primitive_opt::<T>().ok_or_else(|| ort::Error::new("an array has another type than it says"))?;
    Ok(TensorRef::from_array_view((shape, &values.values()[..]))?.into())
}

fn answer(value: &DynValue, port: &Port) -> Result<Answer, PredictError> {
    match value.dtype() {
        ValueType::Tensor { .. } => Ok(Answer::Array(array(value, port)?)),
        ValueType::Sequence(_) => {
            let elements = value.try_extract_sequence::<ort::value::DynValueTypeMarker>().map_err(raised)?;
            let values: Result<Vec<Value>, PredictError> = elements
                .iter()
                .map(|element| match element.dtype() {
                    ValueType::Map { key, value } => map(element, *key, *value, port),
                    ValueType::Tensor { .. } => Ok(Value::Tensor(Box::new(array(element, port)?))),
                    other => Err(no_answer(port, other)),
                })
                .collect();
            Ok(Answer::Sequence(values?))
        }
        other => Err(no_answer(port, other)),
    }
}

fn no_answer(port: &Port, found: &ValueType) -> PredictError {
    PredictError::Unencodable { reason: format!("output '{}' is {found}", port.name) }
}

/// A map as a dictionary. JSON has texts as keys, so numbers become texts, as Python's `json` writes them.
fn map(
    value: &DynValue,
    key_type: TensorElementType,
    value_type: TensorElementType,
    port: &Port,
) -> Result<Value, PredictError> {
    macro_rules! pairs {
        ($key:ty, $of:ty, $make:expr) => {{
            let pairs = value.try_extract_key_values::<$key, $of>().map_err(raised)?;
            Ok(Value::Dict(pairs.into_iter().map(|(key, of)| (key.to_string().into(), $make(of))).collect()))
        }};
    }
    use TensorElementType::{Float32, Float64, Int64, String as Text};
    match (key_type, value_type) {
        (Int64, Float32) => pairs!(i64, f32, |of| Value::Float(f64::from(of))),
        (Int64, Float64) => pairs!(i64, f64, Value::Float),
        (Int64, Int64) => pairs!(i64, i64, Value::Int),
        (Text, Float32) => pairs!(String, f32, |of| Value::Float(f64::from(of))),
        (Text, Float64) => pairs!(String, f64, Value::Float),
        (Text, Int64) => pairs!(String, i64, Value::Int),
        _ => Err(no_answer(port, value.dtype())),
    }
}

fn array(value: &DynValue, port: &Port) -> Result<Tensor, PredictError> {
    let ValueType::Tensor { ty, shape, .. } = value.dtype() else { return Err(no_answer(port, value.dtype())) };
    let shape = shape.iter().map(|length| usize::try_from(*length).unwrap_or_default()).collect();
    let Some(dtype) = dtype(*ty) else { return Err(no_answer(port, value.dtype())) };
    let elements: arrow_array::ArrayRef = match dtype {
        DType::Bool => Arc::new(BooleanArray::from(slice::<bool>(value)?.to_vec())),
        DType::Str => {
            let (_, texts) = value.try_extract_strings().map_err(raised)?;
            Arc::new(LargeStringArray::from_iter_values(texts))
        }
        DType::Int8 => copied::<Int8Type>(value)?,
        DType::Int16 => copied::<Int16Type>(value)?,
        DType::Int32 => copied::<Int32Type>(value)?,
        DType::Int64 => copied::<Int64Type>(value)?,
        DType::UInt8 => copied::<UInt8Type>(value)?,
        DType::UInt16 => copied::<UInt16Type>(value)?,
        DType::UInt32 => copied::<UInt32Type>(value)?,
        DType::UInt64 => copied::<UInt64Type>(value)?,
        DType::Float16 => copied::<Float16Type>(value)?,
        DType::Float32 => copied::<Float32Type>(value)?,
        DType::Float64 => copied::<Float64Type>(value)?,
        DType::Bytes | DType::Datetime => return Err(no_answer(port, value.dtype())),
    };
    Ok(Tensor { shape, elements: Cells::Array(dtype, elements) })
}

fn slice<T: PrimitiveTensorElementType + IntoTensorElementType>(value: &DynValue) -> Result<&[T], PredictError> {
    value.try_extract_tensor::<T>().map(|(_, values)| values).map_err(raised)
}

fn copied<T>(value: &DynValue) -> Result<arrow_array::ArrayRef, PredictError>
where
    T: ArrowPrimitiveType,
    T::Native: PrimitiveTensorElementType,
{
    let values: Vec<T::Native> = slice::<T::Native>(value)?.to_vec();
    Ok(Arc::new(PrimitiveArray::<T>::new(values.into(), None)))
}
