//! MLflow Models behind HTTP and over files.
//!
//! ```text
//! engine    the trait of everything that predicts
//! onnx      ONNX models, in this process
//! batch     files of rows through an engine
//! ```
//!
//! Source: <https://mlflow.org/docs/latest/ml/deployment/>, measured on MLflow 3.17.2.

pub mod batch;
pub mod engine;
pub mod onnx;

pub use engine::{Engine, Output, PredictError};
