//! The project file: what MLproject says, read whole before anything is launched.
//!
//! Found by its name in any case of letters; a folder without one is a project without entry points of its own. What
//! MLflow accepts is accepted, with a warning where it surely means something else; where MLflow crashes in the middle of
//! a launch, [`Project::load`] refuses the file with its line and key.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{ProjectError, Result};
use crate::quote::quote;
use runlode_yaml::{self as yaml, Node, Value};

/// Keys of a project file that choose an environment.
const ENVIRONMENTS: [&str; 3] = ["python_env", "conda_env", "docker_env"];
/// Types that parameters are given in practice; MLflow acts on `path` and `uri` only.
const TYPES: [&str; 10] = ["string", "str", "float", "path", "uri", "int", "integer", "bool", "boolean", "number"];
/// The largest project file that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A project: its folder, and what its file says.
#[derive(Debug, Clone)]
pub struct Project {
    /// The folder.
    pub root: PathBuf,
    /// The project file, if there is one.
    pub file: Option<PathBuf>,
    /// `name` of the file.
    pub name: Option<String>,
    /// Where its commands run.
    pub environment: Environment,
    /// In the order of the file.
    pub entry_points: Vec<EntryPoint>,
    /// What is probably meant otherwise: one sentence each, with file and line.
    pub warnings: Vec<String>,
}

/// Where the commands of a project run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Environment {
    /// A Python environment of a `python_env.yaml`; without a file, one of the current Python without packages.
    Python(Option<PathBuf>),
    /// A conda environment of a `conda.yaml`.
    Conda(PathBuf),
    /// A container.
    Docker(Docker),
}

/// `docker_env` of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Docker {
    /// Base image.
    pub image: String,
    /// Each for an option `-v`.
    pub volumes: Vec<String>,
    /// Variables of the container: a name with its value, or one that is copied from the launcher.
    pub variables: Vec<(String, Option<String>)>,
}

/// An entry point of a project.
#[derive(Debug, Clone)]
pub struct EntryPoint {
    /// Its name.
    pub name: String,
    /// Declared parameters, in the order of the file.
    pub parameters: Vec<Parameter>,
    /// The command; an entry point that has none can't be launched.
    pub command: Option<Node>,
    /// Its line in the file, from 1.
    pub line: usize,
}

/// A declared parameter.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Its name, as Python's text.
    pub name: String,
    /// Its type, as Python's text: `path` and `uri` are acted on, any other is a text.
    pub kind: String,
    /// The default, as Python's text. Without one the parameter needs a value.
    pub default: Option<String>,
    /// Its line in the file, from 1.
    pub line: usize,
}

impl Project {
    /// Reads the project in a folder.
    ///
    /// ```
    /// use runlode_projects::Project;
    ///
    /// let folder = tempfile::tempdir().unwrap();
    /// std::fs::write(
    ///     folder.path().join("MLproject"),
    ///     "name: demo\nentry_points:\n  main:\n    parameters:\n      lr: {type: float, default: 0.10}\n    command: python train.py {lr}\n",
    /// )
    /// .unwrap();
    ///
    /// let project = Project::load(folder.path()).unwrap();
    /// let main = project.entry_point("main").unwrap();
    /// assert_eq!(main.parameters[0].default.as_deref(), Some("0.1"));
    /// ```
    ///
    /// # Errors
    /// [`ProjectError::File`] for a file that no launch can use, [`ProjectError::Io`] for one that cannot be read.
    pub fn load(root: &Path) -> Result<Self> {
        let Some(file) = find(root)? else {
            let environment = environment_of_folder(root);
            return Ok(Self {
                root: root.to_owned(),
                file: None,
                name: None,
                environment,
                entry_points: Vec::new(),
                warnings: Vec::new(),
            });
        };
        let bytes = read(&file)?;
        let Ok(text) = std::str::from_utf8(&bytes) else {
            let line = 1 + bytes.iter().take_while(|byte| byte.is_ascii()).filter(|byte| **byte == b'\n').count();
            return Err(file_error(&file, line, &[], "not UTF-8; save the file as UTF-8"));
        };
        let top = yaml::load(text.strip_prefix('\u{feff}').unwrap_or(text))
            .map_err(|error| file_error(&file, error.line, &[], error.reason))?;
        Reader { root, file: &file, warnings: Vec::new() }.project(&top)
    }

    /// The entry point of this name: one of the file, else a script of the project. A launch runs `.py` by `python` and
    /// `.sh` by `$SHELL`, or bash if that is not set.
    ///
    /// # Errors
    /// [`ProjectError::NoEntryPoint`].
    pub fn entry_point(&self, name: &str) -> Result<EntryPoint> {
        if let Some(found) = self.entry_points.iter().find(|entry| entry.name == name) {
            return Ok(found.clone());
        }
        let shell = || std::env::var("SHELL").unwrap_or_else(|_| "bash".to_owned());
        let program = match Path::new(name).extension().and_then(|extension| extension.to_str()) {
            Some("py") => "python".to_owned(),
            Some("sh") => shell(),
            _ => {
                let names: Vec<_> = self.entry_points.iter().map(|entry| entry.name.as_str()).collect();
                let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                return Err(ProjectError::NoEntryPoint { name: name.to_owned(), root: self.root.clone(), known });
            }
        };
        // The command is a template: braces of the name stand for themselves.
        let script = quote(name).replace('{', "{{").replace('}', "}}");
        let command = Node { value: Value::Text(format!("{program} {script}")), line: 1 };
        Ok(EntryPoint { name: name.to_owned(), parameters: Vec::new(), command: Some(command), line: 1 })
    }

    /// The file that errors name: the project file, or the folder without one.
    pub(crate) fn place(&self) -> PathBuf {
        self.file.clone().unwrap_or_else(|| self.root.clone())
    }
}

/// The project file of a folder. Where several differ in case only, `MLproject` comes first, then the order of names.
fn find(root: &Path) -> Result<Option<PathBuf>> {
    let io = |source| ProjectError::Io { path: root.to_owned(), source };
    let mut found: Vec<_> = fs::read_dir(root)
        .map_err(io)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(io)?;
    found.retain(|name| name.to_str().is_some_and(|name| name.eq_ignore_ascii_case("mlproject")));
    found.sort_by_key(|name| (name != "MLproject", name.clone()));
    Ok(found.first().map(|name| root.join(name)))
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let io = |source| ProjectError::Io { path: file.to_owned(), source };
    let facts = fs::metadata(file).map_err(io)?;
    if !facts.is_file() {
        return Err(file_error(file, 1, &[], "not a regular file"));
    }
    if facts.len() > FILE_BYTES_MAX {
        return Err(file_error(file, 1, &[], format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    fs::read(file).map_err(io)
}

fn environment_of_folder(root: &Path) -> Environment {
    let existing = |name: &str| Some(root.join(name)).filter(|path| path.exists());
    match (existing("python_env.yaml"), existing("conda.yaml")) {
        (Some(file), _) => Environment::Python(Some(file)),
        (None, Some(file)) => Environment::Conda(file),
        (None, None) => Environment::Python(None),
    }
}

pub(crate) fn file_error(file: &Path, line: usize, keys: &[&str], reason: impl Into<String>) -> ProjectError {
    let key = if keys.is_empty() {
        file.file_name().unwrap_or_default().to_string_lossy().into_owned()
    } else {
        keys.join(".")
    };
    ProjectError::File { file: file.to_owned(), line, key, reason: reason.into() }
}

struct Reader<'a> {
    root: &'a Path,
    file: &'a Path,
    warnings: Vec<String>,
}

impl Reader<'_> {
    fn refused(&self, node: &Node, keys: &[&str], reason: impl Into<String>) -> ProjectError {
        file_error(self.file, node.line, keys, reason)
    }

    fn warn(&mut self, line: usize, keys: &[&str], what: &str) {
        self.warnings.push(format!("{}:{line}: {}: {what}", self.file.display(), keys.join(".")));
    }

    fn project(mut self, top: &Node) -> Result<Project> {
        match &top.value {
            Value::Map(_) => {}
            Value::Null => {
                return Err(self.refused(top, &[], "empty; write at least entry_points, or delete the file"));
            }
            other => return Err(self.refused(top, &[], format!("{} where a map of keys is expected", other.kind()))),
        }
        if let Some(job) = top.get("databricks_spark_job").filter(|job| !job.is_falsy()) {
            return Err(self.refused(job, &["databricks_spark_job"], "not supported; launch it with mlflow run"));
        }
        let entry_points = self.entry_points(top)?;
        let environment = self.environment(top)?;
        let name = top.get("name").filter(|name| name.value != Value::Null).map(|name| name.value.to_string());
        Ok(Project {
            root: self.root.to_owned(),
            file: Some(self.file.to_owned()),
            name,
            environment,
            entry_points,
            warnings: self.warnings,
        })
    }

    fn map<'node>(&self, node: &'node Node, keys: &[&str], hint: &str) -> Result<&'node [(Node, Node)]> {
        match &node.value {
            Value::Map(entries) => Ok(entries),
            other => Err(self.refused(node, keys, format!("{} where a map is expected; {hint}", other.kind()))),
        }
    }

    fn entry_points(&mut self, top: &Node) -> Result<Vec<EntryPoint>> {
        let Some(node) = top.get("entry_points") else { return Ok(Vec::new()) };
        let keys = ["entry_points"];
        let entries = self.map(node, &keys, "write NAME: {command: ...}, or take the key away")?;
        let mut out: Vec<EntryPoint> = Vec::new();
        for (key, entry) in entries {
            let name = key.value.to_string();
            out.push(self.entry_point(name, key.line, entry)?);
        }
        Ok(out)
    }

    fn entry_point(&mut self, name: String, line: usize, entry: &Node) -> Result<EntryPoint> {
        let keys = ["entry_points", name.as_str()];
        self.map(entry, &keys, "write {parameters: ..., command: ...}")?;
        let mut parameters = Vec::new();
        if let Some(node) = entry.get("parameters") {
            let keys = ["entry_points", name.as_str(), "parameters"];
            let hint = "write NAME: {type: ..., default: ...}, or take the key away";
            for (key, parameter) in self.map(node, &keys, hint)? {
                parameters.push(self.parameter(&name, key, parameter)?);
            }
        }
        Ok(EntryPoint { parameters, command: entry.get("command").cloned(), line, name })
    }

    fn parameter(&mut self, entry_point: &str, key: &Node, node: &Node) -> Result<Parameter> {
        let name = key.value.to_string();
        let keys = ["entry_points", entry_point, "parameters", name.as_str()];
        let line = key.line;
        if let Value::Text(kind) = &node.value {
            if !TYPES.contains(&kind.as_str()) {
                let what = match kind.split_once(':') {
                    Some(("type", kind)) => {
                        format!("\"type:{kind}\" is one word, so the parameter has no default; write type: {kind}")
                    }
                    _ => format!("{kind:?} is no type, and the parameter has no default; write {{default: {kind}}}"),
                };
                self.warn(node.line, &keys, &what);
            }
            return Ok(Parameter { name, kind: kind.clone(), default: None, line });
        }
        let hint = "write a type such as float, or {type: float, default: 0.1}";
        for (field, _) in self.map(node, &keys, hint)? {
            let field_name = field.value.to_string();
            if !["type", "default"].contains(&field_name.as_str()) {
                let what = format!("key {field_name:?} is not known and has no effect; known are type and default");
                self.warn(field.line, &keys, &what);
            }
        }
        let kind = node.get("type").map_or_else(|| "string".to_owned(), |kind| kind.value.to_string());
        let default = node.get("default").filter(|default| default.value != Value::Null);
        let default = default.map(|default| default.value.to_string());
        if let Some(default) = default.as_deref().filter(|_| kind == "path") {
            self.warn_of_relative_path(node.line, &keys, default);
        }
        Ok(Parameter { name, kind, default, line })
    }

    /// MLflow looks for the default of a `path` where the launcher stands, not in the project.
    fn warn_of_relative_path(&mut self, line: usize, keys: &[&str], default: &str) {
        let path = Path::new(default);
        if !default.contains("://") && path.is_relative() && self.root.join(path).exists() && !path.exists() {
            let what = format!(
                "the default path {default:?} is in the project, but paths are looked for from the folder where the launch is started"
            );
            self.warn(line, keys, &what);
        }
    }

    fn environment(&self, top: &Node) -> Result<Environment> {
        let chosen: Vec<_> = ENVIRONMENTS.into_iter().filter_map(|key| Some((key, top.get(key)?))).collect();
        if let [.., (key, node)] = chosen.as_slice()
            && chosen.len() > 1
        {
            let names: Vec<_> = chosen.iter().map(|(key, _)| *key).collect();
            let reason = format!("a project has one environment, this one has {}", names.join(" and "));
            return Err(self.refused(node, &[key], reason));
        }
        match chosen.first() {
            Some((_, node)) if node.is_falsy() => Ok(environment_of_folder(self.root)),
            Some((key @ "docker_env", node)) => Ok(Environment::Docker(self.docker(key, node)?)),
            Some((key @ "python_env", node)) => Ok(Environment::Python(Some(self.environment_file(key, node)?))),
            Some((key, node)) => Ok(Environment::Conda(self.environment_file(key, node)?)),
            None => Ok(environment_of_folder(self.root)),
        }
    }

    fn environment_file(&self, key: &str, node: &Node) -> Result<PathBuf> {
        let Some(name) = node.as_text() else {
            let reason = format!("{} where the name of a file is expected", node.value.kind());
            return Err(self.refused(node, &[key], reason));
        };
        let path = self.root.join(name);
        if !path.exists() {
            return Err(self.refused(node, &[key], format!("there is no file {}", path.display())));
        }
        Ok(path)
    }

    fn docker(&self, key: &str, node: &Node) -> Result<Docker> {
        self.map(node, &[key], "write {image: NAME}")?;
        let Some(image) = node.get("image").filter(|image| !image.is_falsy()) else {
            return Err(self.refused(node, &[key, "image"], "missing; name the image to run in"));
        };
        let list = |field: &str, hint: &str| match node.get(field) {
            Some(list) if !list.is_falsy() => match &list.value {
                Value::List(items) => Ok(items.clone()),
                other => {
                    let reason = format!("{} where a list is expected; {hint}", other.kind());
                    Err(self.refused(list, &[key, field], reason))
                }
            },
            _ => Ok(Vec::new()),
        };
        let hint = "write [\"/host:/container\"]";
        let mut volumes = Vec::new();
        for item in list("volumes", hint)? {
            let Some(volume) = item.as_text() else {
                let reason = format!("{} where a text is expected; {hint}", item.value.kind());
                return Err(self.refused(&item, &[key, "volumes"], reason));
            };
            volumes.push(volume.to_owned());
        }
        let hint = "write [NAME, [NAME, VALUE]]: the first is copied from the launcher";
        let mut variables = Vec::new();
        for item in list("environment", hint)? {
            variables.push(match &item.value {
                Value::Text(name) => (name.clone(), None),
                Value::List(pair) => match pair.as_slice() {
                    [name, value] => (name.value.to_string(), Some(value.value.to_string())),
                    _ => {
                        let reason = format!("a list of {} where a name and a value are expected; {hint}", pair.len());
                        return Err(self.refused(&item, &[key, "environment"], reason));
                    }
                },
                other => {
                    let reason = format!("{} where a name or a pair is expected; {hint}", other.kind());
                    return Err(self.refused(&item, &[key, "environment"], reason));
                }
            });
        }
        Ok(Docker { image: image.value.to_string(), volumes, variables })
    }
}
