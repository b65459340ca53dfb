//! The inputs and outputs of an ONNX graph, as both engines see them.

use std::fmt;

use runlode_models::DType;

/// An input or an output of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name in the graph.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// The length of each dimension; `None` is any length. Empty for what is no tensor.
    pub shape: Vec<Option<usize>>,
}

/// What a port holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A tensor of one of the types that numpy has too.
    Tensor(DType),
    /// Anything else, in the words of the ONNX standard: `seq(map(int64,tensor(float)))`, `tensor(bfloat16)`.
    Other(String),
}

impl Port {
    /// Whether each row of the port is one value in a dimension of its own: `(n, 1)`.
    pub(crate) fn is_upright(&self) -> bool {
        self.shape.len() == 2 && self.shape[1] == Some(1)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensor(dtype) => f.write_str(onnx_name(*dtype)),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// The ONNX standard's name of a tensor's type.
pub(crate) fn onnx_name(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "tensor(bool)",
        DType::Int8 => "tensor(int8)",
        DType::Int16 => "tensor(int16)",
        DType::Int32 => "tensor(int32)",
        DType::Int64 => "tensor(int64)",
        DType::UInt8 => "tensor(uint8)",
        DType::UInt16 => "tensor(uint16)",
        DType::UInt32 => "tensor(uint32)",
        DType::UInt64 => "tensor(uint64)",
        DType::Float16 => "tensor(float16)",
        DType::Float32 => "tensor(float)",
        DType::Float64 => "tensor(double)",
        DType::Str | DType::Bytes => "tensor(string)",
        DType::Datetime => "datetime64[ns], which ONNX lacks",
    }
}
