//! The Python of a model: the one of this shell, or one with what the model's files list.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use runlode_projects::ProjectError;
use runlode_projects::environment::{self, Conda, PythonEnv, Recipe};
use runlode_projects::launch::Stop;

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
        let by_uv = match self.manager {
            EnvManager::Local => return Ok(self.python.clone().unwrap_or_else(local_python)),
            EnvManager::Uv => true,
            EnvManager::Virtualenv | EnvManager::Conda => false,
        };
        let refused = |error: ProjectError| Error::usage(error.to_string());
        let (pip, conda) = (folder.join("python_env.yaml"), folder.join("conda.yaml"));
        let recipe = if self.manager == EnvManager::Conda {
            Recipe::Conda { conda: Conda::find(&conda).map_err(refused)?, file: conda }
        } else if pip.exists() {
            Recipe::Python { by_uv, env: PythonEnv::read(&pip).map_err(refused)? }
        } else if conda.exists() {
            Recipe::Python { by_uv, env: PythonEnv::of_conda(&conda).map_err(refused)? }
        } else {
            return Err(Error::usage(format!(
                "{} has neither python_env.yaml nor conda.yaml, so its environment is not known; use --env-manager local",
                folder.display()
            )));
        };
        recipe.warnings().iter().for_each(note);
        note("looking for the model's environment; making one takes a minute or more");
        let mut stop = Stop::never().map_err(|error| Error::io("cannot start a child", error))?;
        let made = environment::make(&recipe, folder, &environment::root(), &mut stop, &|said| note(said));
        Ok(made.map_err(refused)?.folder.join("bin/python"))
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
