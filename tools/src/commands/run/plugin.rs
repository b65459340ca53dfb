//! Backends of MLflow's plugins: the launch is handed to the installed mlflow, with the store to record it in.

use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use runlode::Store;

use super::Target;
use super::serving::{Serving, holds_wheel};
use crate::error::{Error, Result};
use crate::open;

/// Prints the names of the installed plugins.
const LIST: &str =
    "import importlib.metadata as m; print(*sorted({e.name for e in m.entry_points(group='mlflow.project_backend')}))";
/// Backends that MLflow has besides its plugins and those that are launched here.
const OWN: [&str; 1] = ["databricks"];

/// The mlflow of the search path.
struct Installed {
    /// The folder whose `bin` has it.
    prefix: PathBuf,
}

impl Installed {
    fn find(backend: &str) -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path)
            .find(|folder| folder.join("mlflow").is_file())
            .and_then(|folder| Some(folder.parent()?.to_owned()));
        match found {
            Some(prefix) => Ok(Self { prefix }),
            None => Err(Error::usage(format!(
                "the backend {backend:?} is a plugin of MLflow, and no mlflow is installed here; backends of runlode are \
                 local and kubernetes"
            ))),
        }
    }

    /// Refuses a backend that MLflow does not know, for which it would leave a run that never ends.
    fn check(&self, backend: &str) -> Result<()> {
        if OWN.contains(&backend) {
            return Ok(());
        }
        let python = self.prefix.join("bin/python");
        let io = |source| Error::io(format!("cannot start {}", python.display()), source);
        let output = Command::new(&python).args(["-c", LIST]).output().map_err(io)?;
        let said = String::from_utf8_lossy(&output.stdout);
        if said.split_whitespace().any(|name| name == backend) {
            return Ok(());
        }
        let known = if said.trim().is_empty() { "none".to_owned() } else { said.trim().replace(' ', ", ") };
        Err(Error::usage(format!(
            "there is no backend {backend:?}: it is neither local nor kubernetes, and the plugins of the installed mlflow are: \
             {known}"
        )))
    }
}

/// Runs `mlflow run` with these arguments.
pub(super) fn run(backend: &str, target: &Target, arguments: &[String]) -> Result<ExitStatus> {
    let installed = Installed::find(backend)?;
    installed.check(backend)?;
    let mut served: Option<(Store, Serving)> = None;
    let uri = match target {
        Target::Server(uri) => uri.clone(),
        Target::Store(path) => {
            let path = std::path::absolute(path).map_err(|source| Error::io(path.display().to_string(), source))?;
            match holds_wheel(&installed.prefix) {
                true => format!("runlode://{}", path.display()),
                false => {
                    let store = open::to_serve(&path, super::MEMORY_BYTES)?;
                    let serving = Serving::start(&store)?;
                    let uri = serving.uri();
                    served = Some((store, serving));
                    uri
                }
            }
        }
    };
    let program = installed.prefix.join("bin/mlflow");
    let mut command = Command::new(&program);
    command.arg("run").args(arguments).env("MLFLOW_TRACKING_URI", uri);
    let status = command.status().map_err(|source| Error::io(format!("cannot start {}", program.display()), source));
    if let Some((store, serving)) = served {
        drop(serving);
        store.close()?;
    }
    status
}
