//! The Python environment of a project: what its file asks for, and the folder that holds it.
//!
//! ```text
//! ROOT/<key>/            the environment
//!   bin/python, ...
//!   runlode-lock.txt     what is installed (`pip freeze`); written last: without it the environment is not complete
//! ROOT/<key>.lock        held by the process that makes it; others wait
//! ```
//!
//! The key is a digest of what the environment is made from: the tool, the Python version, the dependencies, and the
//! content of every requirements file that they name. So a changed file makes a new environment, two launches at once
//! make it once, and a launch that is killed meanwhile leaves nothing that looks complete.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::error::{ProjectError, Result};
use crate::file::file_error;
use runlode_yaml::{self as yaml, Node, Value};

/// Keys of a python_env.yaml.
const KEYS: [&str; 3] = ["python", "build_dependencies", "dependencies"];
/// Packages of a conda.yaml that a Python environment has as well.
const BUILD_PACKAGES: [&str; 3] = ["pip", "setuptools", "wheel"];
/// The list of what is installed.
const LOCK_FILE: &str = "runlode-lock.txt";

/// What makes the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// `python -m venv` and pip.
    Virtualenv,
    /// `uv`, or as `Virtualenv` where it is not installed.
    Uv,
    /// `conda` or `mamba`.
    Conda,
    /// None: the command runs in the launcher's environment.
    Local,
}

impl Manager {
    /// The tag `mlflow.project.env`; `Local` has none.
    pub fn tag(self) -> Option<&'static str> {
        match self {
            Self::Virtualenv => Some("virtualenv"),
            Self::Uv => Some("uv"),
            Self::Conda => Some("conda"),
            Self::Local => None,
        }
    }
}

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
            out.warnings.push(format!("{}: not installed, since only conda has them: {names}", file.display()));
        }
        Ok(out)
    }

    fn take_conda(&mut self, file: &Path, item: &Node, text: &str, left_out: &mut Vec<String>) -> Result<()> {
        let end = text.find(|letter: char| "=<>! ".contains(letter)).unwrap_or(text.len());
        let (package, rest) = text.split_at(end);
        let rest = rest.trim();
        let operator = &rest[..rest.find(|letter: char| !"=<>!".contains(letter)).unwrap_or(rest.len())];
        let version = rest[operator.len()..].trim();
        if package == "python" && self.python.is_none() {
            let keys = ["dependencies"];
            return match operator {
                "=" | "==" | "<=" | ">=" => {
                    self.python = Some(version.to_owned());
                    Ok(())
                }
                "" => Err(file_error(file, item.line, &keys, "python must be pinned, such as python=3.11")),
                _ => {
                    let reason = format!("python{operator}: use one of =, ==, <=, >=");
                    Err(file_error(file, item.line, &keys, reason))
                }
            };
        }
        if BUILD_PACKAGES.contains(&package) {
            let operator = if operator == "=" { "==" } else { operator };
            self.build_dependencies.push(format!("{package}{operator}{version}"));
        } else {
            left_out.push(text.to_owned());
        }
        Ok(())
    }
}

fn load(file: &Path) -> Result<Node> {
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

/// An environment that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Its folder.
    pub folder: PathBuf,
    /// Put before the entry point's command.
    pub activate: String,
    /// What is installed, as `pip freeze` lists it.
    pub lock: String,
    /// Whether this call made it.
    pub is_new: bool,
}

/// Where environments are kept: `RUNLODE_ENV_ROOT`, else `MLFLOW_ENV_ROOT`, else a folder of the user's cache.
pub fn root() -> PathBuf {
    let named = ["RUNLODE_ENV_ROOT", "MLFLOW_ENV_ROOT"].iter().find_map(std::env::var_os).map(PathBuf::from);
    let cache = || {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        cache.or_else(home).unwrap_or_else(std::env::temp_dir).join("runlode").join("envs")
    };
    named.unwrap_or_else(cache)
}

/// Finds or makes the Python environment of a project, by `uv` or by `python -m venv` and pip.
///
/// # Errors
/// [`ProjectError::Environment`]: no such Python, a package that cannot be installed, with what the tool said.
pub fn make(manager: Manager, env: &PythonEnv, project: &Path, root: &Path) -> Result<Made> {
    let tool = match manager {
        Manager::Uv if is_installed("uv") => "uv",
        _ => "venv",
    };
    let python = find_python(env.python.as_deref())?;
    let key = key(tool, &python, env, project)?;
    let folder = root.join(&key);
    let made = |is_new: bool| -> Result<Made> {
        let lock = fs::read_to_string(folder.join(LOCK_FILE)).map_err(|source| io_error(&folder, source))?;
        let activate = format!("source {}", crate::quote::quote(&folder.join("bin/activate").display().to_string()));
        Ok(Made { activate, lock, is_new, folder: folder.clone() })
    };
    if folder.join(LOCK_FILE).is_file() {
        return made(false);
    }
    fs::create_dir_all(root).map_err(|source| io_error(root, source))?;
    let lock_path = root.join(format!("{key}.lock"));
    let lock = File::create(&lock_path).map_err(|source| io_error(&lock_path, source))?;
    lock.lock().map_err(|source| io_error(&lock_path, source))?;
    // Another launch may have made it while this one waited.
    if folder.join(LOCK_FILE).is_file() {
        return made(false);
    }
    // Left by a launch that was killed; the lock shows that none is at work. Scripts of an environment name its folder,
    // so it is made where it stays, and complete once its list is there.
    match fs::remove_dir_all(&folder) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(io_error(&folder, source)),
        _ => {}
    }
    install(tool, &python, env, project, &folder)?;
    made(true)
}

fn io_error(path: &Path, source: io::Error) -> ProjectError {
    ProjectError::Io { path: path.to_owned(), source }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// A Python of the version: `python3.11`, `python3`, `python`, or one of pyenv; the program and its full version.
fn find_python(version: Option<&str>) -> Result<(PathBuf, String)> {
    let mut candidates: Vec<PathBuf> = Vec::new();
    if let Some(version) = version {
        let short: Vec<_> = version.split('.').take(2).collect();
        candidates.push(format!("python{}", short.join(".")).into());
    }
    candidates.extend(["python3".into(), "python".into()]);
    if let (Some(version), Some(home)) = (version, std::env::var_os("HOME")) {
        let pyenv = std::env::var_os("PYENV_ROOT").map_or_else(|| PathBuf::from(home).join(".pyenv"), PathBuf::from);
        let mut found: Vec<_> = fs::read_dir(pyenv.join("versions"))
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        found
            .retain(|path: &PathBuf| path.file_name().is_some_and(|name| is_version(&name.to_string_lossy(), version)));
        candidates.extend(found.into_iter().map(|path| path.join("bin/python")));
    }
    for candidate in candidates {
        let print = "import sys; print('.'.join(map(str, sys.version_info[:3])), sys.executable)";
        // Skip programs that are not installed, and shims of pyenv that have no version to start.
        let Ok(output) = Command::new(&candidate).args(["-c", print]).output() else { continue };
        let said = String::from_utf8_lossy(&output.stdout);
        if let Some((found, program)) = said.trim().split_once(' ').filter(|_| output.status.success())
            && version.is_none_or(|version| is_version(found, version))
        {
            return Ok((PathBuf::from(program), found.to_owned()));
        }
    }
    let wanted = version.map_or_else(|| "Python".to_owned(), |version| format!("Python {version}"));
    Err(ProjectError::Environment(format!(
        "{wanted} is not installed; install it (pyenv install, uv python install), or launch with --env-manager local"
    )))
}

/// Whether `found`, such as `3.11.4`, is what `wanted`, such as `3.11`, asks for.
fn is_version(found: &str, wanted: &str) -> bool {
    let mut found = found.split('.');
    wanted.split('.').all(|part| found.next() == Some(part))
}

fn key(tool: &str, python: &(PathBuf, String), env: &PythonEnv, project: &Path) -> Result<String> {
    let mut content = format!("1\n{tool}\n{}\n{}\n", python.1, python.0.display());
    for line in env.build_dependencies.iter().chain(&env.dependencies) {
        content.push_str(line);
        content.push('\n');
        for file in named_files(line, project, 0)? {
            content.push_str(&file);
        }
    }
    let sum = Sha256::digest(content.as_bytes());
    let name: String = sum.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("runlode-{name}"))
}

/// The content of the files that a line names by `-r` or `-c`, and of those that these name.
fn named_files(line: &str, project: &Path, depth: usize) -> Result<Vec<String>> {
    let line = line.trim();
    let options = ["-r", "--requirement", "-c", "--constraint"];
    let Some(name) = options.iter().find_map(|option| line.strip_prefix(option)) else { return Ok(Vec::new()) };
    let path = project.join(name.trim_start_matches(['=', ' ']).trim());
    let text = fs::read_to_string(&path).map_err(|source| io_error(&path, source))?;
    let mut out = Vec::new();
    if depth < 8 {
        let folder = path.parent().unwrap_or(project);
        for line in text.lines() {
            out.extend(named_files(line, folder, depth + 1)?);
        }
    }
    out.push(text);
    Ok(out)
}

fn install(tool: &str, python: &(PathBuf, String), env: &PythonEnv, project: &Path, folder: &Path) -> Result<()> {
    let own = folder.join("bin/python");
    match tool {
        "uv" => call(Command::new("uv").args(["venv", "--quiet", "--python"]).arg(&python.0).arg(folder), project)?,
        _ => call(Command::new(&python.0).args(["-m", "venv"]).arg(folder), project)?,
    };
    for dependencies in [&env.build_dependencies, &env.dependencies] {
        if dependencies.is_empty() {
            continue;
        }
        // A file, so that options such as -r and markers are read as in a requirements file.
        let list = tempfile::Builder::new()
            .prefix(".runlode-requirements-")
            .suffix(".txt")
            .tempfile()
            .map_err(|source| io_error(project, source))?;
        let lines: Vec<_> = dependencies.iter().map(|line| absolute_option(line, project)).collect();
        fs::write(list.path(), lines.join("\n")).map_err(|source| io_error(list.path(), source))?;
        match tool {
            "uv" => call(
                Command::new("uv").args(["pip", "install", "--quiet", "--python"]).arg(&own).arg("-r").arg(list.path()),
                project,
            )?,
            _ => call(Command::new(&own).args(["-m", "pip", "install", "--quiet", "-r"]).arg(list.path()), project)?,
        };
    }
    let lock = match tool {
        "uv" => call(Command::new("uv").args(["pip", "freeze", "--python"]).arg(&own), project)?,
        _ => call(Command::new(&own).args(["-m", "pip", "freeze"]), project)?,
    };
    let lock = format!("# Python {}\n{lock}", python.1);
    let path = folder.join(LOCK_FILE);
    fs::write(&path, lock).map_err(|source| io_error(&path, source))
}

/// `-r FILE` with the file's path made absolute.
fn absolute_option(line: &str, project: &Path) -> String {
    let trimmed = line.trim();
    for option in ["--requirement", "--constraint", "-r", "-c", "-e", "--editable"] {
        if let Some(name) = trimmed.strip_prefix(option) {
            let name = name.trim_start_matches(['=', ' ']).trim();
            if !name.contains("://") {
                return format!("{option} {}", project.join(name).display());
            }
        }
    }
    line.to_owned()
}

/// Runs a tool in the project's folder; standard output, or an error with the end of what it said.
fn call(command: &mut Command, project: &Path) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.current_dir(project).output().map_err(|source| io_error(Path::new(&program), source))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let end = lines[lines.len().saturating_sub(12)..].join("\n  ");
    Err(ProjectError::Environment(format!("the environment cannot be made: {program} says\n  {end}")))
}
