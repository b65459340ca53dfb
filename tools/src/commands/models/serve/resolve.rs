//! From a model's URI to its folder on this machine.

use std::path::PathBuf;

use runlode_models::uri::{HttpStore, Located};

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

/// What a URI leads to now; its files are not touched.
pub(crate) struct Target {
    source: Source,
    located: Located,
}

impl Target {
    /// Looks a URI up, in a place if it needs one.
    pub(crate) fn look_up(place: Option<&Place>, uri: &str) -> Result<Self> {
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
        Ok(Self { source, located })
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        let version = self.located.version.as_ref().and_then(|version| {
            Some(Identity::Version { name: version.name.clone(), version: version.version.parse().ok()? })
        });
        version.or_else(|| self.located.model_id.clone().map(Identity::Logged))
    }

    /// The folder; files of a server are copied to this machine.
    pub(crate) fn fetch(&self) -> Result<Found> {
        Ok(Found { folder: self.source.fetch(&self.located)?.folder, identity: self.identity() })
    }
}

/// Finds what a URI names, in a place if it needs one.
pub(crate) fn find(place: Option<&Place>, uri: &str) -> Result<Found> {
    Target::look_up(place, uri)?.fetch()
}
