//! What the file of a Python environment asks for.
//!
//! Source: MLflow 3.17.2, measured: a `conda.yaml` gives its Python, `pip`, `setuptools`, `wheel` and the list `pip`; what
//! else it names, or pins in another form, is left out with a warning.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;
use runlode_yaml::{self as yaml, Node, Value};

use crate::error::{ProjectError, Result};
use crate::file::file_error;

/// Keys of a python_env.yaml.
const KEYS: [&str; 3] = ["python", "build_dependencies", "dependencies"];

/// What is taken of a conda.yaml's packages, in one of the forms that pip knows as well.
static PINNED: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"^(python|pip|setuptools|wheel)(<=|>=|==|!=|<|>|=)?([\d.]+)?$";
    Regex::new(pattern).unwrap_or_else(|error| unreachable!("the pattern is fixed: {error}"))
});

/// What a Python environment consists of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PythonEnv {
    /// Version of Python, such as `3.11` or `3.11.4`; none takes the `python3` of the search path.
    pub python: Option<String>,
    /// Installed first.
    pub build_dependencies: Vec<String>,
    /// Installed then; `-r FILE` is relative to the project.
    pub dependencies: Vec<String>,
    /// What of the file is not installed, a sentence each.
    pub warnings: Vec<String>,
}

impl PythonEnv {
    /// Reads a `python_env.yaml`.
    ///
    /// ```
    /// use runlode_projects::environment::PythonEnv;
    ///
    /// let folder = tempfile::tempdir().unwrap();
    /// let file = folder.path().join("python_env.yaml");
    /// std::fs::write(&file, "python: '3.11'\ndependencies: [numpy]\n").unwrap();
    /// assert_eq!(PythonEnv::read(&file).unwrap().python.as_deref(), Some("3.11"));
    /// std::fs::write(&file, "python: 3.10\n").unwrap();
    /// assert!(PythonEnv::read(&file).unwrap_err().to_string().contains("quote the version"));
    /// ```
    ///
    /// # Errors
    /// [`ProjectError::File`] with line and key.
    pub fn read(file: &Path) -> Result<Self> {
        let top = load(file)?;
        let Value::Map(entries) = &top.value else {
            if top.value == Value::Null {
                return Ok(Self::default());
            }
            return Err(file_error(file, top.line, &[], format!("{} where a map is expected", top.value.kind())));
        };
        for (key, _) in entries {
            let name = key.value.to_string();
            if !KEYS.contains(&name.as_str()) {
                let reason = format!("not known; known are {}", KEYS.join(", "));
                return Err(file_error(file, key.line, &[&name], reason));
            }
        }
        let python = match top.get("python").filter(|python| !python.is_falsy()) {
            None => None,
            Some(node) => match node.as_text() {
                Some(version) => Some(version.to_owned()),
                None => {
                    let reason = format!("{}: quote the version, since 3.10 is the number 3.1", node.value.kind());
                    return Err(file_error(file, node.line, &["python"], reason));
                }
            },
        };
        let list = |key: &str| match top.get(key) {
            Some(node) if !node.is_falsy() => texts(file, node, &[key]),
            _ => Ok(Vec::new()),
        };
        Ok(Self {
            python,
            build_dependencies: list("build_dependencies")?,
            dependencies: list("dependencies")?,
            warnings: Vec::new(),
        })
    }

    /// Takes the Python environment out of a `conda.yaml`: Python, pip, setuptools, wheel and the list `pip`.
    ///
    /// # Errors
    /// [`ProjectError::File`] with line and key; among them a version of Python that is not pinned.
    pub fn of_conda(file: &Path) -> Result<Self> {
        let top = load(file)?;
        if !matches!(top.value, Value::Map(_)) {
            return Err(file_error(file, top.line, &[], format!("{} where a map is expected", top.value.kind())));
        }
        let mut out = Self::default();
        let Some(list) = top.get("dependencies").filter(|list| !list.is_falsy()) else {
            out.warnings.push(format!("{}: no version of Python is named; the current one is used", file.display()));
            return Ok(out);
        };
        let keys = ["dependencies"];
        let Value::List(items) = &list.value else {
            return Err(file_error(file, list.line, &keys, format!("{} where a list is expected", list.value.kind())));
        };
        let mut left_out = Vec::new();
        for item in items {
            match (&item.value, item.get("pip")) {
                (Value::Text(text), _) => out.take_conda(file, item, text, &mut left_out)?,
                (Value::Map(_), Some(pip)) if pip.is_falsy() => out.dependencies.clear(),
                (Value::Map(_), Some(pip)) => out.dependencies = texts(file, pip, &["dependencies", "pip"])?,
                (other, _) => {
                    let reason = format!("{} where a package or {{pip: [...]}} is expected", other.kind());
                    return Err(file_error(file, item.line, &keys, reason));
                }
            }
        }
        if out.python.is_none() {
            out.warnings.push(format!("{}: no version of Python is named; the current one is used", file.display()));
        }
        if !left_out.is_empty() {
            let names = left_out.join(", ");
            out.warnings.push(format!("{}: not installed, since only conda understands them: {names}", file.display()));
        }
        Ok(out)
    }

    fn take_conda(&mut self, file: &Path, item: &Node, text: &str, left_out: &mut Vec<String>) -> Result<()> {
        let Some(found) = PINNED.captures(text) else {
            left_out.push(text.to_owned());
            return Ok(());
        };
        let part = |index: usize| found.get(index).map_or("", |part| part.as_str());
        let (package, operator, version) = (part(1), part(2), part(3));
        if package == "python" && self.python.is_none() {
            let keys = ["dependencies"];
            return match operator {
                "=" | "==" | "<=" | ">=" => {
                    self.python = Some(version.to_owned()).filter(|version| !version.is_empty());
                    Ok(())
                }
                "" => Err(file_error(file, item.line, &keys, "python must be pinned, such as python=3.11")),
                _ => {
                    let reason = format!("python{operator}: use one of =, ==, <=, >=");
                    Err(file_error(file, item.line, &keys, reason))
                }
            };
        }
        let operator = if operator == "=" { "==" } else { operator };
        self.build_dependencies.push(format!("{package}{operator}{version}"));
        Ok(())
    }
}

pub(super) fn load(file: &Path) -> Result<Node> {
    let bytes = fs::read(file).map_err(|source| ProjectError::Io { path: file.to_owned(), source })?;
    let text = String::from_utf8(bytes).map_err(|_| file_error(file, 1, &[], "not UTF-8; save the file as UTF-8"))?;
    yaml::load(&text).map_err(|error| file_error(file, error.line, &[], error.reason))
}

fn texts(file: &Path, node: &Node, keys: &[&str]) -> Result<Vec<String>> {
    let Value::List(items) = &node.value else {
        return Err(file_error(file, node.line, keys, format!("{} where a list is expected", node.value.kind())));
    };
    let text = |item: &Node| match item.as_text() {
        Some(text) if !text.contains('\n') => Ok(text.to_owned()),
        _ => Err(file_error(file, item.line, keys, format!("{} where a package is expected", item.value.kind()))),
    };
    items.iter().map(text).collect()
}
