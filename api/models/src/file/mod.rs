//! The file `MLmodel`: what a model's folder holds, and how it is loaded.
//!
//! ```text
//! YAML (at most 4 MiB) -> Value, all keys in their order -> ModelFile: what is known, checked; the rest kept
//!                                                       <- to_yaml: what was changed, at its old place
//! ```
//!
//! - Paths are relative, without `..` and other tricks; [`Folder`](crate::folder::Folder) opens them, and never leaves the folder.
//! - Reading runs nothing: pickles and code are names here.
//! - A file that was not changed is written as it was, but for comments and layout: as MLflow lays it out.

mod flavor;
mod model;
mod section;

pub use self::flavor::{Onnx, Provider, PythonFunction, SessionOptions};
pub use self::model::{FILE_BYTES_MAX, FILE_NAME, InputExample, ModelFile};
pub use self::section::FileError;
