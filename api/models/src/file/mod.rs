//! The file `MLmodel`: what a model's folder holds, and how it is loaded.
//!
//! ```text
//! YAML (at most 4 MiB) -> Value, all keys in their order -> ModelFile: what is known, checked; the rest kept
//!                                                       <- to_yaml: what was changed, at its old place
//! ```
//!
//! - Paths are relative, without `..` and other tricks; [`Folder`] opens them, and never leaves the folder.
//! - Reading runs nothing: pickles and code are names here.
//! - A file that was not changed is written as it was, but for comments and layout: as MLflow lays it out.

mod flavor;

use std::path::Path;

use runlode_yaml::{Node, Value, YamlError};

pub use self::flavor::{Onnx, Provider, PythonFunction, SessionOptions};
use crate::folder::{Folder, FolderError, plain_path};
use crate::signature::{ParamSchema, Schema, Signature, SignatureError};

/// Name of the file in a model's folder.
pub const FILE_NAME: &str = "MLmodel";
/// Largest file that is read.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

/// What an `MLmodel` file says.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelFile {
    /// The place of the logged model, or the path in its run; none if it was saved without a run.
    pub artifact_path: Option<String>,
    /// The run that logged the model.
    pub run_id: Option<String>,
    /// The logged model.
    pub model_id: Option<String>,
    /// Its old id.
    pub model_uuid: Option<String>,
    /// When it was saved: `YYYY-MM-DD HH:MM:SS.ffffff` in UTC.
    pub utc_time_created: Option<String>,
    /// The version of MLflow that saved it.
    pub mlflow_version: Option<String>,
    /// Bytes of its files.
    pub model_size_bytes: Option<u64>,
    /// How Python loads it.
    pub python_function: Option<PythonFunction>,
    /// How ONNX Runtime loads it.
    pub onnx: Option<Onnx>,
    /// All flavors by name, with what each says.
    pub flavors: Vec<(String, Value)>,
    /// What it takes and gives.
    pub signature: Option<Signature>,
    /// Whether the signature comes from a type hint; then the model checks its input itself.
    pub is_signature_from_type_hint: bool,
    /// Whether a type hint came from the input example.
    pub is_type_hint_from_example: bool,
    /// The input example.
    pub example: Option<InputExample>,
    /// What the user noted.
    pub metadata: Option<Value>,
    /// Everything, as it was read.
    document: Value,
}

/// The files of an input example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputExample {
    /// The example as it was given.
    pub path: String,
    /// The example as the body of a request.
    pub serving_path: Option<String>,
    /// `dataframe`, `ndarray`, `json_object`, `sparse_matrix_csc` or `sparse_matrix_csr`.
    pub kind: String,
    /// How a data frame is laid out: `split`.
    pub orient: Option<String>,
    /// Whether it holds parameters beside the input.
    pub has_params: bool,
}

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
    /// The folder or the file cannot be opened, or a path leads out of it.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

impl ModelFile {
    /// Reads the file of a model's folder, and checks that the files it names are there, inside the folder.
    ///
    /// # Errors
    /// [`FileError`] says which key of which line is wrong.
    pub fn read(folder: &Path) -> Result<Self, FileError> {
        let folder = Folder::open(folder)?;
        let file = Self::of_folder(&folder)?;
        file.check(&folder)?;
        Ok(file)
    }

    /// Reads the file of an open folder; [`ModelFile::check`] is up to the caller.
    ///
    /// # Errors
    /// [`FileError`] says which key of which line is wrong.
    pub fn of_folder(folder: &Folder) -> Result<Self, FileError> {
        Self::from_yaml(&folder.read_text(FILE_NAME, FILE_BYTES_MAX)?)
    }

    /// Reads the text of a file.
    ///
    /// ```
    /// use runlode_models::file::ModelFile;
    ///
    /// let text = "flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n    model_path: model.pkl\nmine: 1\n";
    /// let file = ModelFile::from_yaml(text)?;
    /// assert_eq!(file.python_function.as_ref().unwrap().data.as_deref(), Some("model.pkl"));
    /// assert_eq!(file.to_yaml(), text);
    ///
    /// let error = ModelFile::from_yaml(&text.replace("model.pkl", "../../etc/passwd")).unwrap_err();
    /// assert!(error.to_string().starts_with("MLmodel, line 4, flavors.python_function"));
    /// # Ok::<(), runlode_models::file::FileError>(())
    /// ```
    ///
    /// # Errors
    /// [`FileError`] says which key of which line is wrong.
    pub fn from_yaml(text: &str) -> Result<Self, FileError> {
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(YamlError { line: 1, reason: format!("more than {FILE_BYTES_MAX} bytes") }.into());
        }
        let root = runlode_yaml::load(text)?;
        let top = Section { node: &root, path: String::new() };
        let Value::Map(_) = &root.value else {
            return Err(top.wrong(format!("the file is a map of keys, not {}", root.value.kind())));
        };
        let flavors = flavors(&top)?;
        let of = |name: &str| top.get("flavors").and_then(|flavors| flavors.get(name));
        Ok(Self {
            artifact_path: top.text("artifact_path")?,
            run_id: top.text("run_id")?,
            model_id: top.text("model_id")?,
            model_uuid: top.text("model_uuid")?,
            utc_time_created: top.printed("utc_time_created"),
            mlflow_version: top.printed("mlflow_version"),
            model_size_bytes: top.count("model_size_bytes")?,
            python_function: of("python_function").map(PythonFunction::of).transpose()?,
            onnx: of("onnx").map(Onnx::of).transpose()?,
            flavors,
            signature: signature(&top)?,
            is_signature_from_type_hint: top.flag("is_signature_from_type_hint")?,
            is_type_hint_from_example: top.flag("type_hint_from_example")?,
            example: example(&top)?,
            metadata: top.get("metadata").map(|node| node.value.clone()).filter(|value| *value != Value::Null),
            document: root.value,
        })
    }

    /// The text that MLflow would write; keys that are not known here stand where they stood.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut document = self.document.clone();
        let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::Text);
        // What was read the same way again is left as it was written.
        let before = Self::from_yaml(&runlode_yaml::dump(&document)).ok();
        let mut put = |key: &str, is_same: bool, value: Value| {
            if !is_same {
                set(&mut document, key, value);
            }
        };
        let is_same = |same: fn(&Self, &Self) -> bool| before.as_ref().is_some_and(|before| same(before, self));
        put("artifact_path", is_same(|a, b| a.artifact_path == b.artifact_path), text(&self.artifact_path));
        put("run_id", is_same(|a, b| a.run_id == b.run_id), text(&self.run_id));
        put("model_id", is_same(|a, b| a.model_id == b.model_id), text(&self.model_id));
        put("model_uuid", is_same(|a, b| a.model_uuid == b.model_uuid), text(&self.model_uuid));
        put("metadata", is_same(|a, b| a.metadata == b.metadata), self.metadata.clone().unwrap_or(Value::Null));
        let signature = self.signature.as_ref().map_or(Value::Null, signature_value);
        put("signature", is_same(|a, b| a.signature == b.signature), signature);
        runlode_yaml::dump(&document)
    }

    /// Checks that every file and folder that is named lies in the model's folder.
    ///
    /// # Errors
    /// [`FileError::Folder`] names the path.
    pub fn check(&self, folder: &Folder) -> Result<(), FileError> {
        let of_onnx = self.onnx.iter().map(|onnx| ("data", onnx.data.as_str()));
        for (key, path) in self.python_function.iter().flat_map(PythonFunction::paths).chain(of_onnx) {
            folder.check(path).map_err(|error| error.named_by(key))?;
        }
        if let Some(example) = &self.example {
            for path in [Some(&example.path), example.serving_path.as_ref()].into_iter().flatten() {
                folder.check(path).map_err(|error| error.named_by("saved_input_example_info"))?;
            }
        }
        Ok(())
    }

    /// The value of any key of the file.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        let Value::Map(entries) = &self.document else { return None };
        entries.iter().find(|(name, _)| name.as_text() == Some(key)).map(|(_, node)| &node.value)
    }

    /// The keys of the file, in their order.
    pub fn keys(&self) -> impl Iterator<Item = String> {
        let entries = if let Value::Map(entries) = &self.document { entries.as_slice() } else { &[] };
        entries.iter().map(|(key, _)| key.value.to_string())
    }
}

/// Sets a key of a map; a new one goes to its place by name.
fn set(document: &mut Value, key: &str, value: Value) {
    let Value::Map(entries) = document else { return };
    let node = Node { value, line: 0 };
    if let Some((_, old)) = entries.iter_mut().find(|(name, _)| name.as_text() == Some(key)) {
        *old = node;
        return;
    }
    let at = entries.iter().position(|(name, _)| name.as_text() > Some(key)).unwrap_or(entries.len());
    entries.insert(at, (Node { value: Value::Text(key.to_owned()), line: 0 }, node));
}

fn signature_value(signature: &Signature) -> Value {
    let node = |value| Node { value, line: 0 };
    let entry = |key: &str, text: Option<String>| {
        (node(Value::Text(key.to_owned())), node(text.map_or(Value::Null, Value::Text)))
    };
    Value::Map(vec![
        entry("inputs", signature.inputs.as_ref().map(Schema::to_json)),
        entry("outputs", signature.outputs.as_ref().map(Schema::to_json)),
        entry("params", signature.params.as_ref().map(ParamSchema::to_json)),
    ])
}

fn flavors(top: &Section<'_>) -> Result<Vec<(String, Value)>, FileError> {
    let Some(node) = top.get("flavors") else { return Err(top.wrong("flavors is missing")) };
    let section = Section::of(node, "")?;
    let Value::Map(entries) = &node.value else { return Err(section.wrong("flavors is no map")) };
    let flavor = |(name, value): &(Node, Node)| match &name.value {
        Value::Text(name) => Ok((name.clone(), value.value.clone())),
        _ => Err(section.wrong("the name of a flavor is no text")),
    };
    entries.iter().map(flavor).collect()
}

fn signature(top: &Section<'_>) -> Result<Option<Signature>, FileError> {
    let node = match top.get("signature") {
        None | Some(Node { value: Value::Null, .. }) => return Ok(None),
        Some(node) => node,
    };
    let section = Section { node, path: "signature".to_owned() };
    let Value::Map(_) = node.value else { return Err(section.wrong("it is no map")) };
    let wrong = |part, source| {
        let line = section.get(part).map_or(node.line, |node| node.line);
        FileError::Signature { line, part, source }
    };
    let schema = |part| -> Result<Option<Schema>, FileError> {
        let text = section.text(part)?.filter(|text| !text.is_empty());
        text.map(|text| Schema::from_json(&text)).transpose().map_err(|source| wrong(part, source))
    };
    let params = section.text("params")?.filter(|text| !text.is_empty());
    let params = params.map(|text| ParamSchema::from_json(&text)).transpose();
    Ok(Some(Signature {
        inputs: schema("inputs")?,
        outputs: schema("outputs")?,
        params: params.map_err(|source| wrong("params", source))?,
    }))
}

fn example(top: &Section<'_>) -> Result<Option<InputExample>, FileError> {
    let node = match top.get("saved_input_example_info") {
        None | Some(Node { value: Value::Null, .. }) => return Ok(None),
        Some(node) => node,
    };
    let section = Section { node, path: "saved_input_example_info".to_owned() };
    let Value::Map(_) = node.value else { return Err(section.wrong("it is no map")) };
    Ok(Some(InputExample {
        path: section.path("artifact_path")?.ok_or_else(|| section.wrong("artifact_path is missing"))?,
        serving_path: section.path("serving_input_path")?,
        kind: section.text("type")?.unwrap_or_default(),
        orient: section.text("pandas_orient")?,
        has_params: section.printed("params").is_some_and(|text| text.eq_ignore_ascii_case("true")),
    }))
}

/// A map of the file, with the keys that lead to it.
struct Section<'n> {
    node: &'n Node,
    path: String,
}

impl<'n> Section<'n> {
    fn of(node: &'n Node, name: &str) -> Result<Self, FileError> {
        let path = if name.is_empty() { "flavors".to_owned() } else { format!("flavors.{name}") };
        let section = Self { node, path };
        match node.value {
            Value::Map(_) => Ok(section),
            _ => Err(section.wrong(format!("it is no map but {}", node.value.kind()))),
        }
    }

    fn get(&self, key: &str) -> Option<&'n Node> {
        self.node.get(key)
    }

    fn wrong(&self, reason: impl Into<String>) -> FileError {
        let key = if self.path.is_empty() { "file".to_owned() } else { self.path.clone() };
        FileError::Wrong { line: self.node.line, key, reason: reason.into() }
    }

    fn wrong_at(&self, key: &str, reason: impl Into<String>) -> FileError {
        let line = self.get(key).map_or(self.node.line, |node| node.line);
        let dot = if self.path.is_empty() { "" } else { "." };
        FileError::Wrong { line, key: format!("{}{dot}{key}", self.path), reason: reason.into() }
    }

    /// A text, if there is one.
    fn text(&self, key: &str) -> Result<Option<String>, FileError> {
        match self.get(key).map(|node| &node.value) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.clone())),
            // A version such as 3.1 that nobody quoted.
            Some(value @ (Value::Float(_) | Value::Int(_))) => Ok(Some(value.to_string())),
            Some(value) => Err(self.wrong_at(key, format!("it is no text but {}", value.kind()))),
        }
    }

    /// The text of any scalar.
    fn printed(&self, key: &str) -> Option<String> {
        self.get(key).map(|node| &node.value).filter(|value| **value != Value::Null).map(ToString::to_string)
    }

    fn flag(&self, key: &str) -> Result<bool, FileError> {
        match self.get(key).map(|node| &node.value) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(is)) => Ok(*is),
            Some(value) => Err(self.wrong_at(key, format!("it is neither true nor false but {}", value.kind()))),
        }
    }

    fn count(&self, key: &str) -> Result<Option<u64>, FileError> {
        match self.get(key).map(|node| &node.value) {
            None | Some(Value::Null) => Ok(None),
            Some(value @ Value::Int(_)) => {
                value.to_string().parse().map(Some).map_err(|_| self.wrong_at(key, "it is no count of bytes"))
            }
            Some(value) => Err(self.wrong_at(key, format!("it is no count but {}", value.kind()))),
        }
    }

    /// A path inside the model's folder.
    fn path(&self, key: &str) -> Result<Option<String>, FileError> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        match plain_path(&text) {
            Some(path) if !path.is_empty() => Ok(Some(path)),
            // `.` is the folder itself.
            Some(_) if !text.is_empty() => Ok(None),
            _ => Err(self.wrong_at(key, format!("{text:?} is no path inside the model's folder"))),
        }
    }

    /// The last part of `model_code_path`: the rest is where the file was when it was logged.
    fn code_path(&self) -> Result<Option<String>, FileError> {
        let Some(text) = self.text("model_code_path")? else { return Ok(None) };
        let name = text.rsplit(['/', '\\']).next().unwrap_or_default();
        match plain_path(name) {
            Some(path) if !path.is_empty() => Ok(Some(path)),
            _ => Err(self.wrong_at("model_code_path", format!("{text:?} names no file"))),
        }
    }
}
