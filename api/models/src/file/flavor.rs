//! The flavors that something here loads: `python_function` and `onnx`. Others are kept as values.

use runlode_yaml::{Node, Value};

use super::{FileError, Section};

/// How Python loads the model: import `loader_module`, call its `_load_pyfunc` with the data's path, then `predict_fn`.
#[derive(Debug, Clone, PartialEq)]
pub struct PythonFunction {
    /// The Python module with `_load_pyfunc(path)`.
    pub loader_module: String,
    /// File or folder that it is called with, in the model's folder; none is the folder itself.
    pub data: Option<String>,
    /// Folder of Python modules that is put first on `sys.path`.
    pub code: Option<String>,
    /// conda file.
    pub conda_env: Option<String>,
    /// python_env file.
    pub python_env: Option<String>,
    /// Version of the Python that logged the model.
    pub python_version: Option<String>,
    /// Name of the method that predicts.
    pub predict_fn: String,
    /// The model's configuration, handed to `_load_pyfunc` as `model_config`.
    pub config: Option<Value>,
    /// Whether the model has `predict_stream`.
    pub is_streamable: bool,
    /// The pickled Python model, if it is one.
    pub python_model: Option<String>,
    /// The file of a model that is code, in the model's folder.
    pub model_code_path: Option<String>,
}

/// An ONNX model.
#[derive(Debug, Clone, PartialEq)]
pub struct Onnx {
    /// The model's file, in the model's folder.
    pub data: String,
    /// Version of the Python package that wrote it.
    pub onnx_version: Option<String>,
    /// Execution providers in the order of preference, with their options.
    pub providers: Vec<Provider>,
    /// Options of the session.
    pub session: SessionOptions,
}

/// An execution provider of ONNX Runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Its name, such as `CPUExecutionProvider`.
    pub name: String,
    /// Its options.
    pub options: Vec<(String, String)>,
}

/// Options of a session of ONNX Runtime; none is the runtime's default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionOptions {
    /// Threads that run parts of the graph side by side.
    pub inter_op_num_threads: Option<u32>,
    /// Threads of one operator.
    pub intra_op_num_threads: Option<u32>,
    /// `sequential` or `parallel`.
    pub execution_mode: Option<String>,
    /// 0, 1, 2 or 99.
    pub graph_optimization_level: Option<u32>,
    /// Further entries of the session's configuration.
    pub extra: Vec<(String, String)>,
}

impl PythonFunction {
    pub(super) fn of(node: &Node) -> Result<Self, FileError> {
        let section = Section::of(node, "python_function")?;
        let Some(loader_module) = section.text("loader_module")? else {
            return Err(section.wrong("loader_module is missing"));
        };
        if !loader_module.split('.').all(is_python_name) {
            return Err(section.wrong(format!("loader_module {loader_module:?} is no name of a Python module")));
        }
        let predict_fn = section.text("predict_fn")?.unwrap_or_else(|| "predict".to_owned());
        if !is_python_name(&predict_fn) {
            return Err(section.wrong(format!("predict_fn {predict_fn:?} is no name in Python")));
        }
        let data = match section.path("data")? {
            Some(data) => Some(data),
            None => section.path("model_path")?,
        };
        let (conda_env, python_env) = environments(&section)?;
        Ok(Self {
            loader_module,
            data,
            code: section.path("code")?,
            conda_env,
            python_env,
            python_version: section.text("python_version")?,
            predict_fn,
            config: section.get("config").map(|node| node.value.clone()).filter(|value| *value != Value::Null),
            is_streamable: section.flag("streamable")?,
            python_model: section.path("python_model")?,
            model_code_path: section.code_path()?,
        })
    }

    /// The files and folders that it names, below the model's folder.
    pub(crate) fn paths(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("data", &self.data),
            ("code", &self.code),
            ("env", &self.conda_env),
            ("env", &self.python_env),
            ("python_model", &self.python_model),
            ("model_code_path", &self.model_code_path),
        ]
        .into_iter()
        .filter_map(|(key, path)| path.as_deref().map(|path| (key, path)))
    }
}

/// Whether Python takes the text as a name.
fn is_python_name(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(|letter| letter == '_' || letter.is_alphabetic())
        && letters.all(|letter| letter == '_' || letter.is_alphanumeric())
}

/// The files of `env`: a map since 2.0, a text with the conda file before.
fn environments(section: &Section<'_>) -> Result<(Option<String>, Option<String>), FileError> {
    match section.get("env") {
        None => Ok((None, None)),
        Some(Node { value: Value::Null, .. }) => Ok((None, None)),
        Some(Node { value: Value::Text(_), .. }) => Ok((section.path("env")?, None)),
        Some(node) => {
            let env = Section::of(node, "python_function.env")?;
            Ok((env.path("conda")?, env.path("virtualenv")?))
        }
    }
}

impl Onnx {
    pub(super) fn of(node: &Node) -> Result<Self, FileError> {
        let section = Section::of(node, "onnx")?;
        let Some(data) = section.path("data")? else { return Err(section.wrong("data is missing")) };
        Ok(Self {
            data,
            onnx_version: section.text("onnx_version")?,
            providers: providers(&section)?,
            session: session(&section)?,
        })
    }
}

fn providers(section: &Section<'_>) -> Result<Vec<Provider>, FileError> {
    let items = match section.get("providers").map(|node| &node.value) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::List(items)) => items,
        Some(_) => return Err(section.wrong("providers is no list")),
    };
    let provider = |item: &Node| match &item.value {
        Value::Text(name) => Some(Provider { name: name.clone(), options: Vec::new() }),
        Value::List(pair) => match &pair[..] {
            [Node { value: Value::Text(name), .. }, Node { value: Value::Map(options), .. }] => {
                Some(Provider { name: name.clone(), options: texts(options) })
            }
            _ => None,
        },
        _ => None,
    };
    let wrong = || section.wrong("a provider is a name, or a list of a name and a map of options");
    items.iter().map(|item| provider(item).ok_or_else(wrong)).collect()
}

fn texts(entries: &[(Node, Node)]) -> Vec<(String, String)> {
    entries.iter().map(|(key, value)| (key.value.to_string(), value.value.to_string())).collect()
}

fn session(section: &Section<'_>) -> Result<SessionOptions, FileError> {
    let node = match section.get("onnx_session_options") {
        None | Some(Node { value: Value::Null, .. }) => return Ok(SessionOptions::default()),
        Some(node) => node,
    };
    let options = Section::of(node, "onnx.onnx_session_options")?;
    let number = |key: &str| -> Result<Option<u32>, FileError> {
        match options.get(key).map(|node| &node.value) {
            None | Some(Value::Null) => Ok(None),
            Some(value @ Value::Int(_)) => {
                value.to_string().parse().map(Some).map_err(|_| options.wrong(format!("{key} is no count")))
            }
            Some(_) => Err(options.wrong(format!("{key} is no count"))),
        }
    };
    let extra = match options.get("extra_session_config").map(|node| &node.value) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Map(entries)) => texts(entries),
        Some(_) => return Err(options.wrong("extra_session_config is no map")),
    };
    Ok(SessionOptions {
        inter_op_num_threads: number("inter_op_num_threads")?,
        intra_op_num_threads: number("intra_op_num_threads")?,
        execution_mode: options.text("execution_mode")?,
        graph_optimization_level: number("graph_optimization_level")?,
        extra,
    })
}
