//! MLflow Models: what a model's folder says, what its signature lets in, and where a model URI leads.
//!
//! No server and no engine is inside: nothing here runs a model.
//!
//! ```text
//! json       Python's JSON            data       what a model is handed: frames, tensors, values
//! schema     types of a signature     signature  read and written as MLflow's JSON
//! enforce    JSON, CSV, Arrow -> what predict is handed, or why not
//! folder     files of a model, never outside it         file       MLmodel
//! uri        models:/, runs:/, folders -> a folder of this machine
//! ```
//!
//! Source: <https://mlflow.org/docs/latest/ml/model/>, measured on MLflow 3.17.2.

pub mod data;
pub mod enforce;
pub mod file;
pub mod folder;
pub mod json;
pub mod schema;
pub mod signature;
mod text;
pub mod uri;

pub use data::{Cells, Column, DType, Frame, Input, Label, Tensor, Value};
