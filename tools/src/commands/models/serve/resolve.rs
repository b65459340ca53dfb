//! From a model's URI to its folder on this machine.

use std::path::{Path, PathBuf};

use runlode::{ModelId, RunId, Stage, Store};

use super::place::Identity;
use crate::artifacts::folder_of;
use crate::error::{Error, Result};

/// A model that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) folder: PathBuf,
    /// What it is in the registry; none for a plain folder.
    pub(crate) identity: Option<Identity>,
}

/// Whether the URI is looked up in a store.
pub(crate) fn needs_store(uri: &str) -> bool {
    uri.starts_with("models:") || uri.starts_with("runs:")
}

/// The folder that a path or a `file:` URI names.
pub(crate) fn of_path(uri: &str) -> Result<Found> {
    let folder = match uri.strip_prefix("file:") {
        Some(_) => folder_of(Path::new(""), uri).ok_or_else(|| Error::usage(format!("{uri} is no folder")))?,
        None if uri.contains("://") => {
            return Err(Error::usage(format!("{uri}: models are served from folders, models:/ and runs:/")));
        }
        None => PathBuf::from(uri),
    };
    Ok(Found { folder, identity: None })
}

/// Looks a `models:/` or `runs:/` URI up in a store.
pub(crate) fn in_store(store: &Store, uri: &str) -> Result<Found> {
    let improper = || {
        Error::usage(format!("{uri}: write models:/NAME/VERSION, models:/NAME@ALIAS, models:/m-... or runs:/RUN/PATH"))
    };
    if let Some(rest) = uri.strip_prefix("runs:") {
        let (run, path) = rest.trim_start_matches('/').split_once('/').ok_or_else(improper)?;
        let run: RunId = run.parse().map_err(|_| improper())?;
        let place = store.run(run)?.artifact_place()?;
        return at(store, &format!("{}/{path}", place.trim_end_matches('/')), None);
    }
    let rest = uri.strip_prefix("models:").ok_or_else(improper)?.trim_start_matches('/');
    if let Ok(id) = rest.parse::<ModelId>() {
        return logged(store, id, Some(Identity::Logged(rest.to_owned())));
    }
    let (name, version) = match (rest.rsplit_once('/'), rest.rsplit_once('@')) {
        (Some((name, which)), _) => {
            let model = store.registered_model(name)?;
            let mut versions = model.versions()?;
            versions.sort_by_key(|version| version.version);
            let found = match which.parse::<u32>() {
                Ok(number) => Some(model.version(number)?),
                Err(_) if which.eq_ignore_ascii_case("latest") => versions.pop(),
                Err(_) => {
                    let stage = stage(which).ok_or_else(improper)?;
                    versions.into_iter().rfind(|version| version.stage == stage)
                }
            };
            (name, found.ok_or_else(|| Error::usage(format!("{uri}: there is no such version")))?)
        }
        (None, Some((name, alias))) => (name, store.registered_model(name)?.version_by_alias(alias)?),
        (None, None) => return Err(improper()),
    };
    let identity = Some(Identity::Version { name: name.to_owned(), version: version.version });
    match version.source.strip_prefix("models:").map(|rest| rest.trim_start_matches('/').parse::<ModelId>()) {
        Some(Ok(id)) => logged(store, id, identity),
        _ => at(store, &version.source, identity),
    }
}

fn stage(text: &str) -> Option<Stage> {
    match text.to_ascii_lowercase().as_str() {
        "none" => Some(Stage::None),
        "staging" => Some(Stage::Staging),
        "production" => Some(Stage::Production),
        "archived" => Some(Stage::Archived),
        _ => None,
    }
}

fn logged(store: &Store, id: ModelId, identity: Option<Identity>) -> Result<Found> {
    at(store, &store.logged_model(id)?.artifact_place()?, identity)
}

/// The folder of a location, if it is on this machine.
fn at(store: &Store, location: &str, identity: Option<Identity>) -> Result<Found> {
    let folder = folder_of(store.path(), location).ok_or_else(|| {
        Error::usage(format!("the model's files are at {location}, which is no folder of this machine"))
    })?;
    Ok(Found { folder, identity })
}
