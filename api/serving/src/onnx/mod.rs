//! Models of the flavor `onnx`, in this process: no Python runs.
//!
//! ```text
//! model's input -> feed: an array for each input of the graph -> engine -> answer: columns or arrays -> model's output
//!                                                       runtime: ONNX Runtime, loaded at run time
//!                                                       tract: pure Rust, a build feature
//! ```
//!
//! - An engine is handed what the model's signature has let in and answers what MLflow's ONNX flavor answers
//!   (measured on MLflow 3.17.2 with ONNX Runtime 1.32); [`Engine::predict_rows`] keeps
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

use std::path::Path;

use runlode_models::file::Onnx;

use crate::engine::Engine;

pub use error::LoadError;
pub use library::{LibraryError, Search, loaded};
pub use port::{Kind, Port};
pub use runtime::RuntimeModel;
pub use settings::{Optimization, Settings, SettingsError};
#[cfg(feature = "tract")]
pub use tract::TractModel;

/// What runs a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// ONNX Runtime; where there is none, tract if this program has it.
    #[default]
    Any,
    /// ONNX Runtime.
    Runtime,
    /// tract.
    Tract,
}

/// Loads the model of a folder whose MLmodel file has the flavor `onnx`. `threads` is how many threads an operator has
/// where the flavor does not say it; none is one for each core.
///
/// # Errors
/// [`LoadError`]: there is no engine, or it refuses the model.
pub fn load(
    folder: &Path,
    flavor: &Onnx,
    choice: Choice,
    threads: Option<usize>,
    search: &Search,
) -> Result<Box<dyn Engine>, LoadError> {
    let file = folder.join(&flavor.data);
    let mut settings = Settings::of_flavor(flavor)?;
    settings.intra_op_threads = settings.intra_op_threads.or(threads);
    if choice != Choice::Tract {
        match RuntimeModel::load(&file, &settings, search) {
            Err(LoadError::Library(LibraryError::Absent { .. }))
                if choice == Choice::Any && cfg!(feature = "tract") => {}
            loaded => return loaded.map(|model| Box::new(model) as Box<dyn Engine>),
        }
    }
    by_tract(&file)
}

#[cfg(feature = "tract")]
fn by_tract(file: &Path) -> Result<Box<dyn Engine>, LoadError> {
    TractModel::load(file).map(|model| Box::new(model) as Box<dyn Engine>)
}

#[cfg(not(feature = "tract"))]
fn by_tract(file: &Path) -> Result<Box<dyn Engine>, LoadError> {
    Err(LoadError::WithoutTract { path: file.to_path_buf() })
}
