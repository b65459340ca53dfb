//! What one write of the index changes, and how redb's errors become ours.
//!
//! An [`IndexChange`] is whole: its rows and the positions that they stand for are written together or not at all. What
//! a store of many series would hold twice over comes as [`Rows`], made while it is written.

use std::sync::Arc;

use super::backend::engine_error;
use super::rows::PATH;
use crate::entity::{EntityKey, EntityState};
use crate::error::{Error, Result};
use crate::id::{Lsn, RunId, SeriesId};
use crate::point::Stats;
use crate::time::TimestampMs;

/// A definition of the store's dictionary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DictionaryEntry {
    /// What is defined: a metric key, a context; the numbers are those of the log's definitions.
    pub kind: u8,
    /// Its number.
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
    /// Where the request was written.
    pub lsn: Lsn,
    /// When.
    pub time: TimestampMs,
}

/// What one checkpoint, seal or compaction changes: all of it or nothing.
///
/// Lists need no order. Of equal keys within a list the last one wins.
#[derive(Debug, Clone, Default)]
pub struct IndexChange {
    /// Entities, stats, events and dictionary stand for everything up to here.
    pub applied: Lsn,
    /// Points up to here are in series files.
    pub sealed: Lsn,
    /// Generation of MANIFEST that `files` and `chunks` belong to.
    pub generation: u64,
    /// New states. A purged run leaves the lists of runs.
    pub entities: Vec<(EntityKey, Arc<EntityState>)>,
    /// New statistics of series, whole (not to be added to the old ones).
    pub stats: Vec<(SeriesId, Stats)>,
    /// Events of entities since the last write: (position, index in the batch), ascending.
    pub events: Vec<(EntityKey, Vec<(Lsn, u16)>)>,
    /// New definitions.
    pub dictionary: Vec<DictionaryEntry>,
    /// Idempotency keys used.
    pub idempotency: Vec<IdempotencyEntry>,
    /// Idempotency keys of before this time go. They go in the order of their positions, up to the first younger one.
    pub idempotency_expired_before: Option<TimestampMs>,
    /// How far the logs of writers are merged: id, and row as `rows::writer` makes it.
    pub writers: Vec<(Vec<u8>, Vec<u8>)>,
    /// New rows of chunks: first series, file, number of the first chunk, opaque directory entries.
    pub chunks_added: Vec<(SeriesId, u64, u32, Vec<u8>)>,
    /// Rows of chunks that are gone, by their keys. Removed before the new ones are added.
    pub chunks_removed: Vec<(SeriesId, u64, u32)>,
    /// New series files: id, opaque row.
    pub files_added: Vec<(u64, Vec<u8>)>,
    /// Files that are gone; their chunks are to be named in `chunks_removed`.
    pub files_removed: Vec<u64>,
    /// Events of tags that this build does not know: how many more.
    pub unknown_events: Vec<(u16, u64)>,
    /// Runs purged: their statistics, chunks and event lists of earlier writes go, and `stats` of this change are
    /// not written. Events of this change are.
    pub purged: Vec<RunId>,
}

/// Rows of chunks: each call puts opaque entries into the empty buffer and answers the first one's series, file and chunk,
/// or ends them.
pub type ChunkRows<'a> = Box<dyn FnMut(&mut Vec<u8>) -> Option<(SeriesId, u64, u32)> + 'a>;

/// Statistics of series, or why they cannot be made.
pub type StatsRows<'a> = Box<dyn Iterator<Item = Result<(SeriesId, Stats)>> + 'a>;

/// Rows that are made while they are written, so that those of a million series are never held together. They belong to
/// the change that they come with, and are written behind its own lists. Keys ascend strictly within each source.
#[derive(Default)]
pub struct Rows<'a> {
    /// As [`IndexChange::stats`]; an error ends the write, of which nothing is kept.
    pub stats: Option<StatsRows<'a>>,
    /// As [`IndexChange::chunks_added`]; one source a file.
    pub chunks: Vec<ChunkRows<'a>>,
}

impl std::fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}

/// Turns redb's errors into ours; damage that the page backend found comes out as it went in.
pub(super) fn redb_error(op: &'static str, error: impl Into<redb::Error>) -> Error {
    match error.into() {
        error @ (redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::TypeDefinitionChanged { .. }) => {
            Error::corrupt(PATH, 0, "index", "the tables of this schema", error)
        }
        error => engine_error(op, PATH, error),
    }
}

/// Shorthand for `map_err`.
pub(super) trait OrError<T> {
    fn or_error(self, op: &'static str) -> Result<T>;
}

impl<T, E: Into<redb::Error>> OrError<T> for std::result::Result<T, E> {
    fn or_error(self, op: &'static str) -> Result<T> {
        self.map_err(|error| redb_error(op, error))
    }
}
