//! MLflow Models behind HTTP and over files.
//!
//! ```text
//! engine    the trait of everything that predicts
//! ```
//!
//! Source: <https://mlflow.org/docs/latest/ml/deployment/>, measured on MLflow 3.17.2.

pub mod engine;

pub use engine::{Engine, Output, PredictError};
