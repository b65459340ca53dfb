//! From a model's URI to its folder on this machine.

use std::path::PathBuf;

use runlode::{ModelId, RunId, Stage, Store};
use runlode_models::uri::{Cache, HttpStore, LocalOnly, ModelStore, UriError, locate};

use super::place::{Identity, Place};
use crate::artifacts::folder_of;
use crate::error::{Error, Result};

/// A model that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) folder: PathBuf,
    /// What it is in the registry; none for a plain folder.
    pub(super) identity: Option<Identity>,
}

/// Whether the URI is looked up in a store.
pub(super) fn needs_store(uri: &str) -> bool {
    uri.starts_with("models:") || uri.starts_with("runs:")
}

/// Finds what a URI names, in a place if it needs one. Files of a server are copied to this machine.
pub(super) fn find(place: Option<&Place>, uri: &str) -> Result<Found> {
    match place {
        Some(Place::Store(store)) if needs_store(uri) => in_store(store, uri),
        Some(Place::Server { base, .. }) if needs_store(uri) => {
            through(&HttpStore::new(base).map_err(|error| Error::usage(error.to_string()))?, uri)
        }
        // It refuses what needs a store, and says how to name one.
        _ => through(&LocalOnly, uri),
    }
}

fn through(store: &dyn ModelStore, uri: &str) -> Result<Found> {
    let cannot = |error: UriError| Error::usage(error.to_string());
    let located = locate(&uri.parse().map_err(cannot)?, store).map_err(cannot)?;
    let fetched = Cache::of_user().fetch(&located, store).map_err(cannot)?;
    let version = located.version.as_ref().and_then(|version| {
        Some(Identity::Version { name: version.name.clone(), version: version.version.parse().ok()? })
    });
    Ok(Found { folder: fetched.folder, identity: version.or(located.model_id.map(Identity::Logged)) })
}

/// Looks a `models:/` or `runs:/` URI up in a store.
fn in_store(store: &Store, uri: &str) -> Result<Found> {
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
        _ if version.source.starts_with("runs:") => Ok(Found { identity, ..in_store(store, &version.source)? }),
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
