//! The environment of a project: what its file asks for, and the folder that holds it.
//!
//! ```text
//! ROOT/<key>/            the environment
//!   bin/python, ...
//!   runlode-lock.txt     what is installed; written last: without it the environment is not complete
//! ROOT/<key>.lock        held by the process that makes it; others wait
//! ROOT/pythons.json      versions of this machine's Pythons
//! ```
//!
//! The key is a digest of what the environment is made from: the tool, the Python version, the dependencies, and the
//! content of every requirements file that they name. So a changed file makes a new environment, two launches at once
//! make it once, and a launch that is killed meanwhile leaves nothing that looks complete.

mod conda;
mod python_env;
mod pythons;
mod venv;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::error::{ProjectError, Result};
use crate::file::{Environment, Project};
use crate::launch::Stop;
use crate::tool::{self, io_error};

pub use conda::Conda;
pub use python_env::PythonEnv;

/// The list of what is installed.
const LOCK_FILE: &str = "runlode-lock.txt";
/// How often a process that waits for another one looks.
const LOOK: Duration = Duration::from_millis(50);

/// What makes the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// `python -m venv` and pip.
    Virtualenv,
    /// `uv`, or as `Virtualenv` where it is not installed.
    Uv,
    /// `conda`, `mamba` or `micromamba`.
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

    /// What makes the environment of a project: as asked for, else by the project's file.
    ///
    /// # Errors
    /// [`ProjectError::Environment`] if conda is asked for, and the project is not one of conda.
    pub fn of(project: &Project, asked: Option<Self>) -> Result<Self> {
        match (&project.environment, asked) {
            (Environment::Python(file), Some(Self::Conda)) => {
                let what = match file {
                    Some(file) => format!("{} is no environment of conda", file.display()),
                    None => "the project names no environment of conda (conda_env, or a conda.yaml)".to_owned(),
                };
                Err(ProjectError::Environment(format!("{what}; launch with --env-manager virtualenv, uv or local")))
            }
            (_, Some(manager)) => Ok(manager),
            (Environment::Conda(_), None) => Ok(Self::Conda),
            (Environment::Python(_), None) => Ok(Self::Virtualenv),
            (Environment::Docker(_), None) => Ok(Self::Local),
        }
    }
}

/// What an environment is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipe {
    /// By `uv` if it is asked for and installed, else by `python -m venv` and pip.
    Python {
        /// Whether uv is asked for.
        by_uv: bool,
        /// What it consists of.
        env: PythonEnv,
    },
    /// By conda.
    Conda {
        /// The programs.
        conda: Conda,
        /// The project's file.
        file: PathBuf,
    },
}

impl Recipe {
    /// What a manager makes the project's environment from; `None` for the launcher's own.
    ///
    /// # Errors
    /// [`ProjectError::File`] for a file of the environment, [`ProjectError::Environment`] if there is no conda.
    pub fn of(manager: Manager, project: &Project) -> Result<Option<Self>> {
        let env = match (manager, &project.environment) {
            (Manager::Local, _) => return Ok(None),
            (Manager::Conda, Environment::Conda(file)) => {
                // Read, since conda's own errors name no line.
                python_env::load(file)?;
                return Ok(Some(Self::Conda { conda: Conda::find(file)?, file: file.clone() }));
            }
            (_, Environment::Python(Some(file))) => PythonEnv::read(file)?,
            (_, Environment::Conda(file)) => PythonEnv::of_conda(file)?,
            (_, Environment::Python(None) | Environment::Docker(_)) => PythonEnv::default(),
        };
        Ok(Some(Self::Python { by_uv: manager == Manager::Uv, env }))
    }

    /// The recipe for the environment that a list of installed packages stands for.
    ///
    /// # Errors
    /// [`ProjectError::Environment`] for a list that no Python environment left.
    pub fn of_list(by_uv: bool, list: &str) -> Result<Self> {
        Ok(Self::Python { by_uv, env: venv::of_list(list)? })
    }

    /// What of the project's file is not installed, a sentence each.
    pub fn warnings(&self) -> &[String] {
        match self {
            Self::Python { env, .. } => &env.warnings,
            Self::Conda { .. } => &[],
        }
    }
}

/// An environment that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Its folder.
    pub folder: PathBuf,
    /// Put before the entry point's command.
    pub activate: String,
    /// What is installed: a requirements file, or conda's list of packages.
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
    // Scripts of an environment name its folder, which must not depend on where they are started.
    let root = named.unwrap_or_else(cache);
    std::path::absolute(&root).unwrap_or(root)
}

/// What is installed, once the tool is chosen.
enum Plan<'a> {
    Python { tool: venv::Tool, python: pythons::Python, env: &'a PythonEnv },
    Conda { conda: &'a Conda, file: &'a Path },
}

impl<'a> Plan<'a> {
    fn of(recipe: &'a Recipe, root: &Path, stop: &mut Stop, say: &dyn Fn(&str)) -> Result<Self> {
        Ok(match recipe {
            Recipe::Conda { conda, file } => Self::Conda { conda, file },
            Recipe::Python { by_uv, env } => {
                let tool = match *by_uv && tool::find("uv").is_some() {
                    true => venv::Tool::Uv,
                    false => venv::Tool::Pip,
                };
                let python = pythons::find(env.python.as_deref(), tool == venv::Tool::Uv, root, stop, say)?;
                Self::Python { tool, python, env }
            }
        })
    }

    fn key(&self, project: &Path) -> Result<String> {
        let content = match self {
            Self::Python { tool, python, env } => venv::content(*tool, python, env, project)?,
            Self::Conda { conda, file } => conda.content(file)?,
        };
        let sum = Sha256::digest(content.as_bytes());
        let name: String = sum.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("runlode-{name}"))
    }

    fn install(&self, project: &Path, folder: &Path, stop: &mut Stop) -> Result<String> {
        match self {
            Self::Python { tool, python, env } => venv::install(*tool, python, env, project, folder, stop),
            Self::Conda { conda, file } => conda.install(file, folder, stop),
        }
    }

    fn activate(&self, folder: &Path) -> String {
        match self {
            Self::Python { .. } => {
                format!("source {}", crate::quote::quote(&folder.join("bin/activate").display().to_string()))
            }
            Self::Conda { conda, .. } => conda.activate(folder),
        }
    }
}

/// Finds or makes the environment of a project below `root`.
///
/// # Errors
/// [`ProjectError::Environment`]: no such Python, a package that cannot be installed, with what the tool said;
/// [`ProjectError::Interrupted`] if a signal came meanwhile.
pub fn make(recipe: &Recipe, project: &Path, root: &Path, stop: &mut Stop, say: &dyn Fn(&str)) -> Result<Made> {
    let plan = Plan::of(recipe, root, stop, say)?;
    let key = plan.key(project)?;
    let folder = root.join(&key);
    let made = |is_new: bool| -> Result<Made> {
        let lock = fs::read_to_string(folder.join(LOCK_FILE)).map_err(|source| io_error(&folder, source))?;
        Ok(Made { activate: plan.activate(&folder), lock, is_new, folder: folder.clone() })
    };
    if folder.join(LOCK_FILE).is_file() {
        return made(false);
    }
    fs::create_dir_all(root).map_err(|source| io_error(root, source))?;
    let lock_path = root.join(format!("{key}.lock"));
    let lock = File::create(&lock_path).map_err(|source| io_error(&lock_path, source))?;
    wait_for(&lock, &lock_path, stop, say)?;
    // Another launch may have made it while this one waited.
    if folder.join(LOCK_FILE).is_file() {
        return made(false);
    }
    // Left by a launch that was killed; the lock shows that none is at work. Scripts of an environment name its folder,
    // so it is made where it stays, and complete once its list is there.
    remove(&folder)?;
    say(&format!("making the environment {}", folder.display()));
    let list = match plan.install(project, &folder, stop) {
        Ok(list) => list,
        Err(error) => {
            // What is left would only take space: the next launch begins anew.
            let _left = remove(&folder);
            return Err(error);
        }
    };
    let path = folder.join(LOCK_FILE);
    fs::write(&path, list).map_err(|source| io_error(&path, source))?;
    made(true)
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(io_error(folder, source)),
        _ => Ok(()),
    }
}

fn wait_for(lock: &File, path: &Path, stop: &mut Stop, say: &dyn Fn(&str)) -> Result<()> {
    let mut is_told = false;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => return Err(io_error(path, source)),
        }
        if !is_told {
            is_told = true;
            say("waiting for another launch, which makes the environment");
        }
        if let Some(signal) = stop.came() {
            return Err(ProjectError::Interrupted { signal });
        }
        std::thread::sleep(LOOK);
    }
}
