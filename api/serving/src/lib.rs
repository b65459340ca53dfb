//! MLflow Models behind HTTP and over files.
//!
//! ```text
//! engine    the trait of everything that predicts
//! onnx      ONNX models, in this process
//! batch     files of rows through an engine
//! worker    an engine: models of every flavor, in processes of Python
//! gather    rows of several inputs as one, and back
//! server    the scoring protocol
//! ```
//!
//! Source: <https://mlflow.org/docs/latest/ml/deployment/>, measured on MLflow 3.17.2.

pub mod batch;
pub mod engine;
mod gather;
pub mod onnx;
pub mod server;
pub mod worker;

pub use engine::{Engine, Output, PredictError, Together, Untyped, UntypedForm};
pub use server::{Model, Server, ServerOptions};
pub use worker::{PythonEngine, PythonOptions};
