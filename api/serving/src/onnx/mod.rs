//! Models of the flavor `onnx`, in this process: no Python runs.
//!
//! ```text
//! model's input -> feed: an array for each input of the graph -> engine -> answer: columns or arrays -> model's output
//!                                                       runtime: ONNX Runtime, loaded at run time
//!                                                       tract: pure Rust, a build feature
//! ```
//!
//! - An engine is handed what the model's signature has let in and answers what MLflow's ONNX flavor answers
//!   (measured on MLflow 3.17.2 with ONNX Runtime 1.32); [`Engine::predict_rows`](crate::Engine::predict_rows) keeps
//!   matrices that MLflow would refuse to make columns of.
//! - A loaded model is immutable: any number of threads predict at once, none waits for another.
//!
//! Source: <https://onnx.ai/onnx/intro/concepts.html>, <https://mlflow.org/docs/latest/ml/deep-learning/onnx/>.

mod answer;
mod error;
mod feed;
mod library;
pub(crate) mod matrix;
mod port;
mod promote;
mod runtime;
mod settings;
mod shared;
mod text;
#[cfg(feature = "tract")]
mod tract;

pub use error::LoadError;
pub use library::{LibraryError, Search, loaded};
pub use port::{Kind, Port};
pub use runtime::RuntimeModel;
pub use settings::{Optimization, Settings, SettingsError};
#[cfg(feature = "tract")]
pub use tract::TractModel;
