//! MLflow Models: what a model's folder says, what its signature lets in, and where a model URI leads.
//!
//! No server and no engine is inside: nothing here runs a model.
//!
//! ```text
//! data      what a model is handed: frames, tensors, values
//! ```
//!
//! Source: <https://mlflow.org/docs/latest/ml/model/>, measured on MLflow 3.17.2.

pub mod data;

pub use data::{Cells, Column, DType, Frame, Input, Label, Tensor, Value};
