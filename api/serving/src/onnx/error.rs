//! Why an ONNX model cannot be loaded.

use std::path::PathBuf;

use crate::onnx::library::LibraryError;
use crate::onnx::settings::SettingsError;

/// Why an ONNX model cannot be loaded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// There is no ONNX Runtime that can be used.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// What the model's MLmodel file says of its session cannot be followed.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The model's file is refused.
    #[error("{} cannot be loaded: {why}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What the engine says.
        why: String,
    },
    /// This program has no tract.
    #[error(
        "{} cannot be loaded by tract: this runlode is built without it; build it with `--features tract`", path.display()
    )]
    WithoutTract {
        /// The file.
        path: PathBuf,
    },
    /// The graph has operators that the engine lacks.
    #[error(
        "{} has operators that the engine `tract` lacks: {}. ONNX Runtime has them: use a runlode that is built without \
         the feature `tract`, and `pip install onnxruntime`", path.display(), operators.join(", ")
    )]
    Operators {
        /// The file.
        path: PathBuf,
        /// Their names, each once.
        operators: Vec<String>,
    },
}
