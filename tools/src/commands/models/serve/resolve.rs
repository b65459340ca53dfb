//! From a model's URI to its folder on this machine.

use std::path::PathBuf;

use runlode_models::uri::HttpStore;

use super::place::{Identity, Place};
use crate::commands::models::source::{Source, needs_store, refused};
use crate::error::Result;

/// A model that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) folder: PathBuf,
    /// What it is in the registry; none for a plain folder.
    pub(crate) identity: Option<Identity>,
}

/// Finds what a URI names, in a place if it needs one. Files of a server are copied to this machine.
pub(crate) fn find(place: Option<&Place>, uri: &str) -> Result<Found> {
    let source = match place {
        Some(Place::Store(store)) if needs_store(uri) => {
            Source::Store { calls: store.mlflow(), path: store.path().to_owned() }
        }
        Some(Place::Server(server)) if needs_store(uri) => {
            Source::Server(HttpStore::new(server.url()).map_err(refused)?)
        }
        // It refuses what needs a store, and says how to name one.
        _ => Source::Nothing,
    };
    let located = source.locate(uri)?;
    let folder = source.fetch(&located)?.folder;
    let version = located.version.as_ref().and_then(|version| {
        Some(Identity::Version { name: version.name.clone(), version: version.version.parse().ok()? })
    });
    Ok(Found { folder, identity: version.or(located.model_id.map(Identity::Logged)) })
}
