//! Maps of the file, whose values are read with their line and key at hand.

use runlode_yaml::{Node, Value, YamlError};

use crate::folder::{FolderError, plain_path};
use crate::signature::SignatureError;

/// An `MLmodel` file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is no YAML, or too large or deep.
    #[error("MLmodel, {0}")]
    Yaml(#[from] YamlError),
    /// A key has a wrong value.
    #[error("MLmodel, line {line}, {key}: {reason}")]
    Wrong {
        /// Line, from 1.
        line: usize,
        /// The key, with those above it: `flavors.onnx`.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// The signature cannot be read.
    #[error("MLmodel, line {line}, signature.{part}: {source}")]
    Signature {
        /// Line, from 1.
        line: usize,
        /// `inputs`, `outputs` or `params`.
        part: &'static str,
        /// What is wrong.
        source: SignatureError,
    },
    /// The model's folder or its `MLmodel` cannot be opened, or a path that the file names leads out of the folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

/// A map of the file, with the keys that lead to it.
pub(super) struct Section<'n> {
    pub(super) node: &'n Node,
    pub(super) path: String,
}

impl<'n> Section<'n> {
    pub(super) fn of(node: &'n Node, name: &str) -> Result<Self, FileError> {
        let path = if name.is_empty() { "flavors".to_owned() } else { format!("flavors.{name}") };
        let section = Self { node, path };
        match node.value {
            Value::Map(_) => Ok(section),
            _ => Err(section.wrong(format!("it is no map but {}", node.value.kind()))),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        self.node.get(key)
    }

    pub(super) fn wrong(&self, reason: impl Into<String>) -> FileError {
        let key = if self.path.is_empty() { "file".to_owned() } else { self.path.clone() };
        FileError::Wrong { line: self.node.line, key, reason: reason.into() }
    }

    pub(super) fn wrong_at(&self, key: &str, reason: impl Into<String>) -> FileError {
        let line = self.get(key).map_or(self.node.line, |node| node.line);
        let dot = if self.path.is_empty() { "" } else { "." };
        FileError::Wrong { line, key: format!("{}{dot}{key}", self.path), reason: reason.into() }
    }

    /// A text, if there is one.
    pub(super) fn text(&self, key: &str) -> Result<Option<String>, FileError> {
        match self.get(key).map(|node| &node.value) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.clone())),
            // A version such as 3.1 that nobody quoted.
            Some(value @ (Value::Float(_) | Value::Int(_))) => Ok(Some(value.to_string())),
            Some(value) => Err(self.wrong_at(key, format!("it is no text but {}", value.kind()))),
        }
    }

    /// The text of any scalar.
    pub(super) fn printed(&self, key: &str) -> Option<String> {
        self.get(key).map(|node| &node.value).filter(|value| **value != Value::Null).map(ToString::to_string)
    }

    pub(super) fn flag(&self, key: &str) -> Result<bool, FileError> {
        match self.get(key).map(|node| &node.value) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(is)) => Ok(*is),
            Some(value) => Err(self.wrong_at(key, format!("it is neither true nor false but {}", value.kind()))),
        }
    }

    pub(super) fn count(&self, key: &str) -> Result<Option<u64>, FileError> {
        match self.get(key).map(|node| &node.value) {
            None | Some(Value::Null) => Ok(None),
            Some(value @ Value::Int(_)) => {
                value.to_string().parse().map(Some).map_err(|_| self.wrong_at(key, "it is no count of bytes"))
            }
            Some(value) => Err(self.wrong_at(key, format!("it is no count but {}", value.kind()))),
        }
    }

    /// A path inside the model's folder.
    pub(super) fn path(&self, key: &str) -> Result<Option<String>, FileError> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        match plain_path(&text) {
            Some(path) if !path.is_empty() => Ok(Some(path)),
            // `.` is the folder itself.
            Some(_) if !text.is_empty() => Ok(None),
            _ => Err(self.wrong_at(key, format!("{text:?} is no path inside the model's folder"))),
        }
    }

    /// The last part of `model_code_path`: the rest is where the file was when it was logged.
    pub(super) fn code_path(&self) -> Result<Option<String>, FileError> {
        let Some(text) = self.text("model_code_path")? else { return Ok(None) };
        let name = text.rsplit(['/', '\\']).next().unwrap_or_default();
        match plain_path(name) {
            Some(path) if !path.is_empty() => Ok(Some(path)),
            _ => Err(self.wrong_at("model_code_path", format!("{text:?} names no file"))),
        }
    }
}
