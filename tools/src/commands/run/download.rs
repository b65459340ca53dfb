//! What a launch downloads: zip files, values of parameters, projects among the artifacts of a run.

use std::path::{Path, PathBuf};
use std::process::Command;

use runlode::Store;
use runlode_projects::local;

use super::artifacts;
use super::remote::Reader;
use crate::error::{Error, Result};

/// The largest file that is downloaded.
const DOWNLOAD_BYTES_MAX: u64 = 16 << 30;

/// Where artifacts of runs are looked for.
pub(super) enum Runs<'a> {
    Store(&'a Store),
    Server(&'a str),
}

impl Runs<'_> {
    /// Copies artifacts of a run to a place that does not exist.
    fn copy(&self, run: &str, path: &str, into: &Path) -> Result<()> {
        artifacts::check_inside(Path::new(path))?;
        match self {
            Self::Server(uri) => Reader::new(uri)?.download(run, path, into),
            Self::Store(store) => artifacts::copy(&folder(store, run)?.join(path), into),
        }
    }

    /// Id of a run's experiment.
    pub(super) fn experiment(&self, run: &str) -> Result<String> {
        match self {
            Self::Server(uri) => Reader::new(uri)?.experiment(run),
            Self::Store(store) => Ok(store.mlflow().run_info(run)?.experiment_id),
        }
    }

    /// A file that the launch of a run kept; `None` if there is none.
    pub(super) fn kept(&self, run: &str, name: &str) -> Result<Option<Vec<u8>>> {
        let path = format!("{}/{name}", super::LAUNCH_DIR);
        match self {
            Self::Server(uri) => {
                let reader = Reader::new(uri)?;
                reader.file(&reader.artifacts(run)?, &path)
            }
            Self::Store(store) => artifacts::read(&folder(store, run)?.join(path)),
        }
    }
}

fn folder(store: &Store, run: &str) -> Result<PathBuf> {
    let place = store.mlflow().run_artifacts(run)?;
    let folder = local::folder(&place).filter(|folder| folder.is_absolute());
    folder.ok_or_else(|| Error::Source(format!("artifacts at {place} are not read here")))
}

/// Fetches a URI to a path.
pub(super) fn download(runs: &Runs<'_>, uri: &str, path: &Path) -> Result<(), String> {
    if uri.starts_with("http://") || uri.starts_with("https://") {
        return runlode_client::download(uri, path, DOWNLOAD_BYTES_MAX).map_err(|error| format!("{uri}: {error}"));
    }
    if let Some(rest) = uri.strip_prefix("runs:/") {
        let (run, below) = rest.trim_matches('/').split_once('/').unwrap_or((rest.trim_matches('/'), ""));
        return runs.copy(run, below, path).map_err(|error| error.to_string());
    }
    by_mlflow(uri, path)
}

/// Lets the installed mlflow fetch what only it knows: object stores, models.
fn by_mlflow(uri: &str, path: &Path) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut command = Command::new("mlflow");
    command.args(["artifacts", "download", "--artifact-uri", uri, "--dst-path"]).arg(folder.path());
    let output = command.output().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!(
            "{uri} is downloaded by MLflow, which is not installed here; http, https and runs:/ URIs are downloaded without it"
        ),
        _ => format!("mlflow: {error}"),
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{uri}: mlflow says: {}", said.lines().next_back().unwrap_or_default().trim()));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let made = PathBuf::from(said.lines().next_back().unwrap_or_default().trim());
    artifacts::copy(&made, path).map_err(|error| error.to_string())
}
