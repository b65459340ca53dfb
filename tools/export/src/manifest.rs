//! What an export is, and how far it has got: one JSON document, kept in the target.
//!
//! Two documents with the same `kind`, `store`, `position` and `only` are of the same export.

use runlode::Lsn;
use runlode::engine::StoreId;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::report::Report;

/// Of documents that this build writes and reads.
const FORMAT: u32 = 1;

/// How an export stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    format: u32,
    /// `parquet`, `sqlite` or `tensorboard`.
    pub(crate) kind: String,
    /// Id of the store.
    pub(crate) store: String,
    /// The position that the target shows.
    pub(crate) position: u64,
    /// What of the store is in it; empty: everything.
    pub(crate) only: Vec<String>,
    /// Whether nothing is left to do.
    pub(crate) finished: bool,
    /// Steps that are done.
    pub(crate) done: Vec<String>,
    /// How far the step is that comes next.
    pub(crate) cursor: Option<Cursor>,
    /// Files that are complete, below the target.
    pub(crate) files: Vec<String>,
    /// Of a database: its change counter when the export ended.
    #[serde(default)]
    pub(crate) changes: Option<u32>,
    /// What was written so far.
    pub(crate) report: Report,
}

/// A place in the order of runs, keys and points.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// The run whose points come next, or, without a key, the last run that is done.
    pub(crate) run: String,
    /// The key whose points come next.
    #[serde(default)]
    pub(crate) key: Option<String>,
    /// How many of that key's points are done.
    #[serde(default)]
    pub(crate) points: u64,
}

impl Manifest {
    /// Of an export that begins.
    pub(crate) fn new(kind: &str, store: StoreId, position: Lsn, only: Vec<String>) -> Self {
        let report = Report { position: position.0, ..Report::default() };
        Self {
            format: FORMAT,
            kind: kind.to_owned(),
            store: store.to_string(),
            position: position.0,
            only,
            finished: false,
            done: Vec::new(),
            cursor: None,
            files: Vec::new(),
            changes: None,
            report,
        }
    }

    /// Reads a document. `place` says in errors where it is.
    pub(crate) fn parse(text: &str, place: &str) -> Result<Self> {
        let unknown = |why: String| Error::Target(format!("{place} is no export that this version knows: {why}"));
        let manifest: Self = serde_json::from_str(text).map_err(|error| unknown(error.to_string()))?;
        if manifest.format != FORMAT {
            return Err(unknown(format!("format {}, expected {FORMAT}", manifest.format)));
        }
        Ok(manifest)
    }

    pub(crate) fn to_text(&self) -> Result<String> {
        serde_json::to_string_pretty(self)
            .map_err(|error| runlode::Error::Internal(format!("a manifest cannot be written: {error}")).into())
    }

    /// Whether both are of one store and of the same parts of it.
    pub(crate) fn is_of(&self, other: &Self) -> bool {
        self.kind == other.kind && self.store == other.store && self.only == other.only
    }

    /// Whether both are of the same export.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.is_of(other) && self.position == other.position
    }

    pub(crate) fn is_done(&self, step: &str) -> bool {
        self.done.iter().any(|done| done == step)
    }

    pub(crate) fn set_done(&mut self, step: &str) {
        self.done.push(step.to_owned());
        self.cursor = None;
    }
}
