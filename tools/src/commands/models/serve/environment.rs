//! The Python of a model: the one of this shell, or one with what the model's files list.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use runlode_projects::environment::{self, Manager, PythonEnv};

use crate::error::{Error, Result};
use crate::output::note;

/// Which Python runs a model.
#[derive(Debug, Clone, Args)]
pub(crate) struct Environment {
    /// What makes the model's environment
    #[arg(long = "env-manager", value_enum, default_value_t = EnvManager::Virtualenv)]
    manager: EnvManager,
    /// Interpreter of the environment for --env-manager local [default: `python` on the search path]
    #[arg(long, value_name = "PATH")]
    pub(crate) python: Option<PathBuf>,
    /// What predicts [default: onnx for ONNX models, python for others]
    #[arg(long, value_enum)]
    pub(crate) engine: Option<Kind>,
}

/// What predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The model's own Python, in a process of its own
    Python,
    /// ONNX Runtime in this process; tract where there is none and it is built in
    Onnx,
    /// ONNX Runtime in this process
    Onnxruntime,
    /// tract in this process, if it is built in
    Tract,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EnvManager {
    /// A virtual environment by `python -m venv` and pip, of what the model's files list
    Virtualenv,
    /// The same by uv
    Uv,
    /// By conda or mamba
    Conda,
    /// None: the interpreter of this shell
    Local,
}

impl Environment {
    /// Whether an ONNX model runs in this process.
    pub(crate) fn takes_onnx(&self) -> bool {
        self.engine != Some(Kind::Python)
    }

    /// Whether a model may run in a Python of its own.
    pub(crate) fn takes_python(&self) -> bool {
        matches!(self.engine, None | Some(Kind::Python))
    }

    /// The interpreter of the model's environment, which is made if there is none yet.
    pub(crate) fn python(&self, folder: &Path) -> Result<PathBuf> {
        let manager = match self.manager {
            EnvManager::Local => return Ok(self.python.clone().unwrap_or_else(local_python)),
            EnvManager::Virtualenv => Manager::Virtualenv,
            EnvManager::Uv => Manager::Uv,
            EnvManager::Conda => {
                return Err(Error::usage(
                    "environments of conda are not made; use --env-manager virtualenv, or activate the environment and use \
                 --env-manager local",
                ));
            }
        };
        let (pip, conda) = (folder.join("python_env.yaml"), folder.join("conda.yaml"));
        let described = if pip.exists() {
            PythonEnv::read(&pip)
        } else if conda.exists() {
            PythonEnv::of_conda(&conda)
        } else {
            return Err(Error::usage(format!(
                "{} has neither python_env.yaml nor conda.yaml, so its environment is not known; use --env-manager local",
                folder.display()
            )));
        };
        let described = described.map_err(|error| Error::usage(error.to_string()))?;
        described.warnings.iter().for_each(note);
        note("looking for the model's environment; making one takes a minute or more");
        let made = environment::make(manager, &described, folder, &environment::root());
        Ok(made.map_err(|error| Error::usage(error.to_string()))?.folder.join("bin/python"))
    }
}

/// The interpreter that `python` means in this shell.
fn local_python() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = ["python", "python3"]
        .iter()
        .find_map(|name| std::env::split_paths(&path).map(|folder| folder.join(name)).find(|place| place.is_file()));
    found.unwrap_or_else(|| "python3".into())
}
