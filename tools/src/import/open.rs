//! What an import can come from, and how it is recognised.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::report::without_login;
use super::source::Source;
use super::{ImportOptions, Progress, file_store, postgres, server, tensorboard, trackio, wandb};
use crate::error::{Error, Result};

/// Where an import comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImportSource {
    /// An MLflow SQLite store.
    Sqlite(PathBuf),
    /// MLflow's file store, `mlruns`.
    FileStore(PathBuf),
    /// A folder with TensorBoard's event files.
    TensorBoard(PathBuf),
    /// A folder with offline runs of W&B, or one `.wandb` file.
    Wandb(PathBuf),
    /// A database of trackio: one project.
    Trackio(PathBuf),
    /// A running MLflow server: its address.
    Server(String),
    /// An MLflow SQL store in PostgreSQL: its address.
    Postgres(String),
}

/// A source of an import, open.
pub struct Opened {
    pub(super) source: Source,
    /// How reports call it.
    pub(super) name: String,
    /// The folder that it is, or lies in.
    pub(super) folder: Option<PathBuf>,
    /// The artifacts of a server.
    pub(super) files: Option<Arc<server::Files>>,
}

/// Makes a source of a path.
type OfPath = fn(PathBuf) -> ImportSource;

const WANTED: &str = "give sqlite:///PATH of mlflow.db, postgresql://... of such a database, http(s)://... of an MLflow \
                      server, or a folder (mlruns, or one with TensorBoard's event files or .wandb files)";

impl ImportSource {
    /// Reads a source as users write it: `sqlite:///PATH` as MLflow does (four slashes for an absolute path), or a path.
    /// What a folder is shows its content; `mlruns:PATH`, `tensorboard:PATH`, `trackio:PATH` and
    /// `wandb:PATH` say it.
    ///
    /// ```
    /// use runlode_cli::import::ImportSource;
    /// assert_eq!(ImportSource::parse("sqlite:///mlflow.db")?, ImportSource::Sqlite("mlflow.db".into()));
    /// assert_eq!(ImportSource::parse("sqlite:////srv/mlflow.db")?, ImportSource::Sqlite("/srv/mlflow.db".into()));
    /// assert_eq!(ImportSource::parse("tensorboard:logs")?, ImportSource::TensorBoard("logs".into()));
    /// assert_eq!(ImportSource::parse("http://tracking:5000")?, ImportSource::Server("http://tracking:5000".into()));
    /// assert!(ImportSource::parse("oracle://db/mlflow").is_err());
    /// # Ok::<(), runlode_cli::Error>(())
    /// ```
    ///
    /// # Errors
    /// It is none that can be imported; the error says what to do.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(rest) = text.strip_prefix("sqlite:") {
            let path = rest.strip_prefix("///").filter(|path| !path.is_empty()).ok_or_else(|| {
                Error::usage(format!("`{text}` names no file: write sqlite:///PATH, or sqlite:////PATH from the root"))
            })?;
            return Ok(Self::Sqlite(PathBuf::from(path)));
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            return Ok(Self::Server(text.to_owned()));
        }
        if text.starts_with("postgres") && text.contains("://") {
            return Ok(Self::Postgres(text.to_owned()));
        }
        if text.starts_with("mysql") || text.starts_with("mssql") {
            return Err(Error::usage(
                "MySQL and SQL Server are not read directly: start `mlflow server --backend-store-uri ...` on the \
                 database and import from its http:// address",
            ));
        }
        let kinds: [(&str, OfPath); 4] = [
            ("mlruns:", Self::FileStore),
            ("tensorboard:", Self::TensorBoard),
            ("wandb:", Self::Wandb),
            ("trackio:", Self::Trackio),
        ];
        for (prefix, kind) in kinds {
            if let Some(path) = text.strip_prefix(prefix).filter(|path| !path.is_empty()) {
                return Ok(kind(PathBuf::from(path)));
            }
        }
        let path = Path::new(text.strip_prefix("file://").unwrap_or(text));
        if text.contains("://") && !text.starts_with("file://") || !path.exists() {
            return Err(Error::usage(format!("cannot import from `{text}`: {WANTED}")));
        }
        Self::of_path(path)
    }

    fn of_path(path: &Path) -> Result<Self> {
        if path.is_file() && path.extension().is_some_and(|ending| ending == "wandb") {
            return Ok(Self::Wandb(path.to_owned()));
        }
        if trackio::is_here(path) {
            return Ok(Self::Trackio(path.to_owned()));
        }
        if path.is_file() {
            let is_event_file = path.file_name().is_some_and(|name| name.to_string_lossy().contains("tfevents"));
            return match is_event_file {
                true => Err(Error::usage(format!(
                    "{} is one event file of a run: give the folder that it lies in",
                    path.display()
                ))),
                false => Ok(Self::Sqlite(path.to_owned())),
            };
        }
        if path.join("FORMAT").exists() {
            return Err(Error::usage(format!(
                "{} is a store of Runlode: use `runlode sync {0} STORE`",
                path.display()
            )));
        }
        if path.join(".aim").exists() || path.file_name().is_some_and(|name| name == ".aim") {
            return Err(Error::usage(format!(
                "{} is a repository of Aim, which only Aim itself can read: log its runs again with a script over aim.Repo \
                 and mlflow, with MLFLOW_TRACKING_URI=runlode:///STORE",
                path.display()
            )));
        }
        if file_store::is_here(path) {
            return Ok(Self::FileStore(path.to_owned()));
        }
        let inside = path.join("mlruns");
        if file_store::is_here(&inside) {
            return Ok(Self::FileStore(inside));
        }
        if !wandb::files(path).is_empty() {
            return Ok(Self::Wandb(path.to_owned()));
        }
        if tensorboard::is_here(path) {
            return Ok(Self::TensorBoard(path.to_owned()));
        }
        Err(Error::usage(format!("{} is no folder that can be imported: {WANTED}", path.display())))
    }

    /// Opens the source. Of a server everything is fetched, of files all but the points is read.
    ///
    /// # Errors
    /// It is not what it is said to be, or cannot be read.
    pub fn open(&self, options: &ImportOptions, progress: &mut dyn FnMut(Progress)) -> Result<Opened> {
        match self {
            Self::Sqlite(path) => Opened::sqlite(path),
            Self::FileStore(path) => {
                let source = file_store::stage(path, progress)?;
                Ok(Opened { source, name: path.display().to_string(), folder: Some(path.clone()), files: None })
            }
            Self::TensorBoard(path) => {
                let (source, artifacts) = tensorboard::stage(path, options, progress)?;
                Ok(Opened { source, name: path.display().to_string(), folder: Some(artifacts), files: None })
            }
            Self::Wandb(path) => {
                let source = wandb::stage(path, options, progress)?;
                // The folders of runs lie in it.
                let folder = if path.is_file() { path.parent() } else { Some(path.as_path()) };
                Ok(Opened {
                    source,
                    name: path.display().to_string(),
                    folder: folder.map(Path::to_path_buf),
                    files: None,
                })
            }
            Self::Trackio(path) => {
                let source = trackio::stage(path, progress)?;
                Ok(Opened { source, name: path.display().to_string(), folder: None, files: None })
            }
            Self::Server(url) => {
                let source = server::stage(url, options, progress)?;
                let files = Some(Arc::new(server::Files::new(url)?));
                Ok(Opened { source, name: without_login(url), folder: None, files })
            }
            Self::Postgres(url) => {
                let source = postgres::stage(url, options, progress)?;
                Ok(Opened { source, name: without_login(url), folder: None, files: None })
            }
        }
    }
}

impl Opened {
    pub(super) fn sqlite(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Err(Error::usage(format!("there is no file {}; give sqlite:///PATH of mlflow.db", path.display())));
        }
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        Ok(Self { source: Source::open(path)?, name: path.display().to_string(), folder: Some(folder), files: None })
    }

    /// What it is, in a few words.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.source.kind()
    }
}
