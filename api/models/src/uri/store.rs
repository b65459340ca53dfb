//! What a store says of a model, and where its files are.

use std::io::Read;
use std::path::{Path, PathBuf};

use runlode_client::local;

use super::name::{ModelUri, UriError, Which};

/// A version of a registered model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Version {
    /// The registered model.
    pub name: String,
    /// Its number.
    pub version: String,
    /// `READY`, or why not.
    pub status: String,
    /// What it was made of: a URI of a logged model, of a run's files, or of a folder.
    pub source: String,
    /// The folder of its files.
    pub place: String,
    /// The run that made it.
    pub run_id: Option<String>,
    /// The logged model that it is.
    pub model_id: Option<String>,
    /// Its stage.
    pub stage: Option<String>,
    /// Its aliases.
    pub aliases: Vec<String>,
}

/// A logged model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoggedModel {
    /// Its id: `m-` and 32 hex digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The run that logged it.
    pub run_id: Option<String>,
    /// The folder of its files.
    pub place: String,
    /// `READY`, or why not.
    pub status: String,
}

/// A folder of artifacts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its URI or path.
    pub uri: String,
    /// Whose files they are, by which a server is asked for them.
    pub owner: Owner,
    /// The model's folder below `uri`; empty if `uri` is that folder.
    pub below: String,
}

/// Whose files a place holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A run's.
    Run(String),
    /// A logged model's.
    LoggedModel(String),
    /// A version's.
    Version(String, String),
    /// Nobody's in particular.
    Nobody,
}

/// A file of a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its path below the place.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

/// A model that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The URI, with what may move (an alias, a stage, the latest) as the version that it names now.
    pub uri: String,
    /// Where its files are: several places whose files lie over one another, the last one's on top.
    pub places: Vec<Place>,
    /// The version, if it is a registered one.
    pub version: Option<Version>,
    /// The id of the logged model, if it is one.
    pub model_id: Option<String>,
    /// The run that it came from, if that is known.
    pub run_id: Option<String>,
}

/// What is asked of a store: a Runlode store in this process, or a server.
pub trait ModelStore {
    /// A version of a registered model.
    ///
    /// # Errors
    /// [`UriError::Absent`] if there is none.
    fn version(&self, name: &str, which: &Which) -> Result<Version, UriError>;

    /// A logged model by its id.
    ///
    /// # Errors
    /// [`UriError::Absent`] if there is none.
    fn logged_model(&self, id: &str) -> Result<LoggedModel, UriError>;

    /// The place of a run's artifacts.
    ///
    /// # Errors
    /// [`UriError::Absent`] if there is no such run.
    fn run_place(&self, run_id: &str) -> Result<String, UriError>;

    /// The newest logged model of a run with this name.
    ///
    /// # Errors
    /// Those of the store.
    fn logged_model_of_run(&self, run_id: &str, name: &str) -> Result<Option<LoggedModel>, UriError>;

    /// The folder of a place on this machine, if it is one.
    fn folder(&self, place: &Place) -> Option<PathBuf>;

    /// The files of a place that is no folder of this machine.
    ///
    /// # Errors
    /// Those of the store.
    fn list(&self, place: &Place) -> Result<Vec<Listed>, UriError>;

    /// Opens a file of such a place, by its path below the place.
    ///
    /// # Errors
    /// Those of the store.
    fn open(&self, place: &Place, path: &str) -> Result<Box<dyn Read + Send>, UriError>;
}

/// Finds what a URI names.
///
/// # Errors
/// [`UriError::Absent`] names what the store does not have; a version that is not `READY` is refused.
pub fn locate(uri: &ModelUri, store: &dyn ModelStore) -> Result<Located, UriError> {
    match uri {
        ModelUri::LoggedModel(id) => {
            let model = store.logged_model(id)?;
            let place = Place { uri: model.place, owner: Owner::LoggedModel(model.id.clone()), below: String::new() };
            Ok(Located {
                uri: format!("models:/{}", model.id),
                places: vec![place],
                version: None,
                model_id: Some(model.id),
                run_id: model.run_id,
            })
        }
        ModelUri::Version { name, which } => {
            let version = store.version(name, which)?;
            let (name, number, status) = (&version.name, &version.version, &version.status);
            if !matches!(status.as_str(), "READY" | "") {
                return Err(UriError::Absent(format!("models:/{name}/{number} is not ready: its status is {status}")));
            }
            let owner = match version.model_id.clone().filter(|_| version.source.starts_with("models:/m-")) {
                Some(id) => Owner::LoggedModel(id),
                None => Owner::Version(name.clone(), number.clone()),
            };
            // A version made from files of a run keeps the run's URI. A version that names another one is not followed:
            // two could name one another.
            let places = match version.place.parse() {
                Ok(source @ ModelUri::Run { .. }) => locate(&source, store)?.places,
                _ => vec![Place { uri: version.place.clone(), owner, below: String::new() }],
            };
            Ok(Located {
                uri: format!("models:/{name}/{number}"),
                places,
                model_id: version.model_id.clone(),
                run_id: version.run_id.clone(),
                version: Some(version),
            })
        }
        ModelUri::Run { run_id, path } => {
            let own = Place { uri: store.run_place(run_id)?, owner: Owner::Run(run_id.clone()), below: path.clone() };
            let (first, rest) = path.split_once('/').unwrap_or((path, ""));
            let model = if first.is_empty() { None } else { store.logged_model_of_run(run_id, first)? };
            let mut places = vec![own];
            places.extend(model.as_ref().map(|model| Place {
                uri: model.place.clone(),
                owner: Owner::LoggedModel(model.id.clone()),
                below: rest.to_owned(),
            }));
            let model_id = model.map(|model| model.id);
            Ok(Located { uri: uri.to_string(), places, version: None, model_id, run_id: Some(run_id.clone()) })
        }
        ModelUri::Folder(folder) => {
            let place = Place { uri: folder.clone(), owner: Owner::Nobody, below: String::new() };
            Ok(Located { uri: folder.clone(), places: vec![place], version: None, model_id: None, run_id: None })
        }
    }
}

/// The folder below a place.
pub(crate) fn folder_below(folder: &Path, below: &str) -> Option<PathBuf> {
    crate::folder::plain_path(below).map(|below| if below.is_empty() { folder.to_owned() } else { folder.join(below) })
}

/// Folders of this machine, and no store: names and runs are refused.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalOnly;

impl LocalOnly {
    fn refused<T>(what: &str) -> Result<T, UriError> {
        Err(UriError::Absent(format!(
            "{what} needs a store: name one with --store, or set MLFLOW_TRACKING_URI or MLFLOW_REGISTRY_URI"
        )))
    }
}

impl ModelStore for LocalOnly {
    fn version(&self, name: &str, _: &Which) -> Result<Version, UriError> {
        Self::refused(&format!("the registered model {name}"))
    }

    fn logged_model(&self, id: &str) -> Result<LoggedModel, UriError> {
        Self::refused(&format!("the logged model {id}"))
    }

    fn run_place(&self, run_id: &str) -> Result<String, UriError> {
        Self::refused(&format!("the run {run_id}"))
    }

    fn logged_model_of_run(&self, run_id: &str, _: &str) -> Result<Option<LoggedModel>, UriError> {
        Self::refused(&format!("the run {run_id}"))
    }

    fn folder(&self, place: &Place) -> Option<PathBuf> {
        local::folder(&place.uri).and_then(|folder| folder_below(&folder, &place.below))
    }

    fn list(&self, place: &Place) -> Result<Vec<Listed>, UriError> {
        Err(UriError::Unreadable(format!("{} is no folder of this machine", place.uri)))
    }

    fn open(&self, place: &Place, _: &str) -> Result<Box<dyn Read + Send>, UriError> {
        self.list(place).map(|_| Box::new(std::io::empty()) as Box<dyn Read + Send>)
    }
}
