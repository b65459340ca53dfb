//! Where models are looked up: a store on this machine, or a tracking server.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use runlode::Stage;
use runlode::mlflow::entity::ModelVersion;
use runlode::mlflow::{ApiError, ErrorCode, LoggedModelOrder, Settings};
use runlode::shared::MlflowCalls;
use runlode_models::uri::{
    Cache, Fetched, HttpStore, Listed, LocalOnly, Located, LoggedModel, ModelStore, ModelUri, Owner, Place, UriError,
    Version, Which, locate,
};

use crate::artifacts::folder_of;
use crate::error::{Error, Result};
use crate::find::store_path;
use crate::json;
use crate::open;
use crate::output::Output;

/// Which store is meant.
#[derive(Debug, Clone, Args)]
pub(crate) struct StoreOption {
    /// Folder of a store, or the URL of a tracking server [default: MLFLOW_REGISTRY_URI, else MLFLOW_TRACKING_URI]
    #[arg(long, value_name = "STORE")]
    pub(crate) store: Option<String>,
}

impl StoreOption {
    fn named(&self) -> Option<String> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        self.store.clone().or_else(|| variable("MLFLOW_REGISTRY_URI")).or_else(|| variable("MLFLOW_TRACKING_URI"))
    }

    /// The store for reading. Without one, only folders are read.
    pub(crate) fn to_read(&self, output: &mut Output) -> Result<Source> {
        let Some(text) = self.named() else { return Ok(Source::Nothing) };
        if is_server(&text) {
            return HttpStore::new(&text).map(Source::Server).map_err(refused);
        }
        let path = store_path(&text).map_err(Error::usage)?;
        let store = open::open_to_read(&path, output)?;
        let settings = Settings::in_process(&store);
        Ok(Source::Store { calls: MlflowCalls::alone(store, settings), path })
    }

    /// The folder of a model on this machine. A model that is a folder needs no store.
    pub(crate) fn folder(&self, uri: &str, output: &mut Output) -> Result<PathBuf> {
        let source = if needs_store(uri) { self.to_read(output)? } else { Source::Nothing };
        let located = source.locate(uri)?;
        Ok(source.fetch(&located)?.folder)
    }

    /// The store for changes.
    pub(crate) fn to_change(&self) -> Result<Source> {
        let Some(text) = self.named() else {
            return Err(Error::usage("which store? Give --store, or set MLFLOW_REGISTRY_URI or MLFLOW_TRACKING_URI"));
        };
        if is_server(&text) {
            return HttpStore::new(&text).map(Source::Server).map_err(refused);
        }
        let path = store_path(&text).map_err(Error::usage)?;
        let store = open::to_change(&path)?;
        Ok(Source::Store { calls: store.mlflow(), path })
    }
}

/// Whether the URI is looked up in a store.
pub(crate) fn needs_store(uri: &str) -> bool {
    uri.starts_with("models:") || uri.starts_with("runs:")
}

fn is_server(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

pub(crate) fn refused(error: UriError) -> Error {
    match error {
        UriError::Wrong { .. } | UriError::Absent(_) => Error::usage(error.to_string()),
        other => Error::Source(other.to_string()),
    }
}

/// A store or a server.
pub(crate) enum Source {
    Store { calls: MlflowCalls, path: PathBuf },
    Server(HttpStore),
    Nothing,
}

impl Source {
    fn models(&self) -> Box<dyn ModelStore + '_> {
        match self {
            Self::Store { calls, path } => Box::new(InProcess { calls, path }),
            Self::Server(server) => Box::new(server.clone()),
            Self::Nothing => Box::new(LocalOnly),
        }
    }

    /// What a URI names.
    pub(crate) fn locate(&self, uri: &str) -> Result<Located> {
        let uri: ModelUri = uri.parse().map_err(refused)?;
        locate(&uri, &*self.models()).map_err(refused)
    }

    /// The folder of a model on this machine; files of other machines are copied into the cache.
    pub(crate) fn fetch(&self, located: &Located) -> Result<Fetched> {
        Cache::of_user().fetch(located, &*self.models()).map_err(refused)
    }
}

/// A store in this process.
struct InProcess<'s> {
    calls: &'s MlflowCalls,
    path: &'s Path,
}

fn of_call(error: ApiError) -> UriError {
    match error.code {
        ErrorCode::ResourceDoesNotExist => UriError::Absent(error.message),
        _ => UriError::Store(error.message),
    }
}

impl InProcess<'_> {
    fn of_version(&self, version: ModelVersion) -> Result<Version, UriError> {
        let number = version.version.to_string();
        let place = self.calls.model_version_download_uri(&version.name, &number).map_err(of_call)?;
        let stage: &str = version.current_stage.into();
        Ok(Version {
            version: number,
            status: json::version_status(version.status).to_owned(),
            model_id: version.model_id.filter(|id| !id.is_empty()),
            source: version.source,
            place,
            run_id: version.run_id.filter(|id| !id.is_empty()),
            stage: Some(stage.to_owned()),
            aliases: version.aliases,
            name: version.name,
        })
    }

    fn of_model(model: runlode::mlflow::entity::LoggedModel) -> LoggedModel {
        LoggedModel {
            id: model.model_id,
            name: model.name,
            run_id: Some(model.source_run_id).filter(|id| !id.is_empty()),
            place: model.artifact_uri,
            status: json::model_status(model.status).to_owned(),
        }
    }
}

impl ModelStore for InProcess<'_> {
    fn version(&self, name: &str, which: &Which) -> Result<Version, UriError> {
        let version = match which {
            Which::Number(number) => self.calls.model_version(name, number).map_err(of_call)?,
            Which::Alias(alias) => self.calls.model_version_by_alias(name, alias).map_err(of_call)?,
            Which::Latest | Which::Stage(_) => {
                let mut versions = Vec::new();
                let filter = format!("name = '{}'", name.replace('\'', "\\'"));
                let mut token = None;
                loop {
                    let page =
                        self.calls.search_model_versions(&filter, PAGE, &[], token.as_deref()).map_err(of_call)?;
                    versions.extend(page.items);
                    token = page.next_page_token.filter(|token| !token.is_empty());
                    if token.is_none() {
                        break;
                    }
                }
                let is_wanted = |version: &ModelVersion| match which {
                    Which::Stage(stage) => {
                        let own: &str = version.current_stage.into();
                        own.eq_ignore_ascii_case(stage)
                    }
                    _ => true,
                };
                // A stage that does not exist is an error of the caller.
                if let Which::Stage(stage) = which
                    && !STAGES.iter().any(|known| <&str>::from(*known).eq_ignore_ascii_case(stage))
                {
                    return Err(UriError::Absent(format!(
                        "{stage} is no stage; there are None, Staging, Production and Archived"
                    )));
                }
                versions.into_iter().filter(is_wanted).max_by_key(|version| version.version).ok_or_else(|| {
                    UriError::Absent(match which {
                        Which::Stage(stage) => format!("{name} has no version in the stage {stage}"),
                        _ => format!("{name} has no version"),
                    })
                })?
            }
        };
        self.of_version(version)
    }

    fn logged_model(&self, id: &str) -> Result<LoggedModel, UriError> {
        self.calls.logged_model(id, false).map(Self::of_model).map_err(of_call)
    }

    fn run_place(&self, run_id: &str) -> Result<String, UriError> {
        self.calls.run(run_id).map(|run| run.info.artifact_uri).map_err(of_call)
    }

    fn logged_model_of_run(&self, run_id: &str, name: &str) -> Result<Option<LoggedModel>, UriError> {
        if name.contains('\'') {
            return Ok(None);
        }
        let experiment = self.calls.run(run_id).map_err(of_call)?.info.experiment_id;
        let filter = format!("name = '{name}' AND source_run_id = '{run_id}'");
        let order: [LoggedModelOrder; 0] = [];
        let found = self.calls.search_logged_models(&[experiment], &filter, &[], 1, &order, None).map_err(of_call)?;
        Ok(found.items.into_iter().next().map(Self::of_model))
    }

    fn folder(&self, place: &Place) -> Option<PathBuf> {
        // A path of the caller's is no place of the store.
        if place.owner == Owner::Nobody
            && let Some(folder) = LocalOnly.folder(place).filter(|folder| folder.is_dir())
        {
            return Some(folder);
        }
        let place = Place { uri: folder_of(self.path, &place.uri)?.to_string_lossy().into_owned(), ..place.clone() };
        LocalOnly.folder(&place)
    }

    fn list(&self, place: &Place) -> Result<Vec<Listed>, UriError> {
        Err(UriError::Unreadable(format!(
            "{uri} is no folder of this machine: download it with `mlflow artifacts download -u {uri}`",
            uri = place.uri
        )))
    }

    fn open(&self, place: &Place, _: &str) -> Result<Box<dyn Read + Send>, UriError> {
        self.list(place).map(|_| Box::new(std::io::empty()) as Box<dyn Read + Send>)
    }
}

/// Versions asked for at once.
const PAGE: i64 = 1000;
const STAGES: [Stage; 4] = [Stage::None, Stage::Staging, Stage::Production, Stage::Archived];
