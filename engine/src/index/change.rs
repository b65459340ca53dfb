//! The content of one write of the index, and the conversion of redb's errors.
//!
//! An [`IndexChange`] is written completely or not at all: its rows and the positions that they belong to. Rows that
//! would double the memory of a store with many series come as [`Rows`], which are made while they are written.

use std::sync::Arc;

use super::backend::{Damage, engine_error};
use super::rows::PATH;
use crate::entity::{EntityKey, EntityState};
use crate::error::{Error, Result};
use crate::id::{Lsn, RunId, SeriesId};
use crate::point::Stats;
use crate::time::TimestampMs;

/// A definition of the store's dictionary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DictionaryEntry {
    /// Kind of the definition: a metric key or a context, numbered as in the log.
    pub kind: u8,
    /// The defined number.
    pub id: u32,
    /// The name, or the context's encoding.
    pub bytes: Vec<u8>,
}

/// An idempotency key that was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyEntry {
    /// The key, as the caller gave it.
    pub key: Vec<u8>,
    /// Hash of the request that it came with.
    pub request: u64,
    /// Position of the batch that used it.
    pub lsn: Lsn,
    /// Time of that use.
    pub time: TimestampMs,
}

/// The changes of one checkpoint, seal or compaction: all of them or none.
///
/// Lists need no order. Of equal keys within a list the last one wins.
#[derive(Debug, Clone, Default)]
pub struct IndexChange {
    /// Entities, stats, events and dictionary are complete up to here.
    pub applied: Lsn,
    /// Points up to here are in series files.
    pub sealed: Lsn,
    /// Generation of MANIFEST that `files` and `chunks` belong to.
    pub generation: u64,
    /// New states. A purged run is removed from the lists of runs.
    pub entities: Vec<(EntityKey, Arc<EntityState>)>,
    /// New statistics of series, replacing the old ones.
    pub stats: Vec<(SeriesId, Stats)>,
    /// Events of entities since the last write: (position, index in the batch), ascending.
    pub events: Vec<(EntityKey, Vec<(Lsn, u16)>)>,
    /// New definitions.
    pub dictionary: Vec<DictionaryEntry>,
    /// Idempotency keys used.
    pub idempotency: Vec<IdempotencyEntry>,
    /// Idempotency keys older than this are removed, in the order of their positions, up to the first younger one.
    pub idempotency_expired_before: Option<TimestampMs>,
    /// How far the logs of writers are merged: id, and row as made by `rows::writer`.
    pub writers: Vec<(Vec<u8>, Vec<u8>)>,
    /// New rows of chunks: first series, file, number of the first chunk, opaque directory entries.
    pub chunks_added: Vec<(SeriesId, u64, u32, Vec<u8>)>,
    /// Keys of the rows of chunks to remove, which happens before the new ones are added.
    pub chunks_removed: Vec<(SeriesId, u64, u32)>,
    /// New series files: id, opaque row.
    pub files_added: Vec<(u64, Vec<u8>)>,
    /// Files to remove; `chunks_removed` must name their chunks.
    pub files_removed: Vec<u64>,
    /// Events of tags that this build does not know: tag, and by how many the count grows.
    pub unknown_events: Vec<(u16, u64)>,
    /// Purged runs: their statistics, chunks and event lists from earlier writes are removed, and their `stats` in this
    /// change are not written. Their events in this change are.
    pub purged: Vec<RunId>,
}

/// Rows of chunks: each call fills the empty buffer with opaque entries and returns the series, file and chunk of the
/// first one; `None` ends the rows.
pub type ChunkRows<'a> = Box<dyn FnMut(&mut Vec<u8>) -> Option<(SeriesId, u64, u32)> + 'a>;

/// Statistics of series, or the error that prevents them.
pub type StatsRows<'a> = Box<dyn Iterator<Item = Result<(SeriesId, Stats)>> + 'a>;

/// Rows made while they are written, so that those of a million series are never in memory together. They belong to the
/// change that they come with, and are written after its own lists. Keys ascend strictly within each source.
#[derive(Default)]
pub struct Rows<'a> {
    /// As [`IndexChange::stats`]; an error ends the write, and nothing of it is kept.
    pub stats: Option<StatsRows<'a>>,
    /// As [`IndexChange::chunks_added`]; one source per file.
    pub chunks: Vec<ChunkRows<'a>>,
}

impl std::fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}

/// What is done to the index, and what its file met before, if that matters.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) op: &'static str,
    pub(super) met: Option<&'a Damage>,
}

impl From<&'static str> for At<'_> {
    fn from(op: &'static str) -> Self {
        Self { op, met: None }
    }
}

/// Converts redb's errors; damage found by the page backend is returned unchanged.
pub(super) fn redb_error(at: At<'_>, error: impl Into<redb::Error>) -> Error {
    match error.into() {
        error @ (redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::TypeDefinitionChanged { .. }) => {
            Error::corrupt(PATH, 0, "index", "the tables of this schema", error)
        }
        error => engine_error(at.op, PATH, at.met, error),
    }
}

/// Shorthand for `map_err`.
pub(super) trait OrError<T> {
    fn or_error<'a>(self, at: impl Into<At<'a>>) -> Result<T>;
}

impl<T, E: Into<redb::Error>> OrError<T> for std::result::Result<T, E> {
    fn or_error<'a>(self, at: impl Into<At<'a>>) -> Result<T> {
        self.map_err(|error| redb_error(at.into(), error))
    }
}
