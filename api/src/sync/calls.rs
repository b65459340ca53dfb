//! Syncing as calls of a store: what a server, or the process that holds a store, does for a sender.
//!
//! A sender that got no answer sends its chunk again. Nothing is left to apply then, so a report of that alone would hide
//! what the first one found: the last reports are kept, and a chunk that changes nothing gets the report of its first
//! coming. They are kept in memory: if the process that applied the chunk is gone, its report is too.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::{Chunk, Report, Target};
use crate::Error;
use crate::engine::StoreId;
use crate::engine::checksum::fnv;
use crate::mlflow::{ApiError, ApiResult, Mlflow};

/// Number of reports that are kept.
const REPORTS_KEPT: usize = 16;

/// Chunks are applied one at a time, because each continues where the one before ended.
static APPLYING: Mutex<Answered> = Mutex::new(Answered(VecDeque::new()));

/// The reports of the chunks that came last, the newest at the end.
struct Answered(VecDeque<(Asked, Report)>);

/// A chunk for a store: the store's id, and hash and length of the chunk as it was sent.
type Asked = (StoreId, u64, usize);

impl Answered {
    fn take(&mut self, asked: Asked) -> Option<Report> {
        let at = self.0.iter().position(|(other, _)| *other == asked)?;
        self.0.remove(at).map(|(_, report)| report)
    }

    fn put(&mut self, asked: Asked, report: Report) {
        if self.0.len() >= REPORTS_KEPT {
            self.0.pop_front();
        }
        self.0.push_back((asked, report));
    }
}

fn store_id(text: &str) -> ApiResult<StoreId> {
    text.parse().map_err(|_| ApiError::invalid(format!("Invalid store id '{text}': 32 hex digits are expected.")))
}

impl Mlflow {
    /// The store's id, made at its creation; it names the store as the source of a sync.
    ///
    /// # Errors
    /// None of its own.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// assert_eq!(store.mlflow().store_id()?, store.local()?.engine().id().to_string());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn store_id(&self) -> ApiResult<String> {
        Ok(self.store().engine().id().to_string())
    }

    /// The position up to which everything of another store is in this one; 0 for nothing.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for a malformed id, or this store's own.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// let other = "0123456789abcdef0123456789abcdef"; // another store's id
    /// assert_eq!(store.mlflow().sync_position(other)?, 0, "nothing of it is here");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sync_position(&self, source: &str) -> ApiResult<u64> {
        let mut target = Target::new(self.store(), store_id(source)?)?;
        match target.resume() {
            // A reader may ask, too.
            Err(Error::ReadOnly) => {}
            resumed => resumed?,
        }
        Ok(target.applied()?.0)
    }

    /// Applies an encoded [`Chunk`]. Its content is on the disk when this returns; a chunk that comes twice changes
    /// nothing, and gets the report of its first coming as long as this process has it.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for bytes that are not a chunk or are damaged; `RESOURCE_EXHAUSTED` for a full disk.
    ///
    /// ```
    /// use runlode::sync::Source;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let other = runlode::LocalStore::open(dir.path().join("other"))?;
    /// let mlflow = store.mlflow();
    /// let mut source = Source::new(&other, runlode::Lsn(0), mlflow.store_id()?.parse()?)?;
    /// while let Some(chunk) = source.next_chunk()? {
    ///     assert_eq!(mlflow.sync_apply(&chunk.encode())?.problems_count, 0);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sync_apply(&self, chunk: &[u8]) -> ApiResult<Report> {
        let asked = (self.store().engine().id(), fnv(chunk.iter().copied()), chunk.len());
        let chunk = Chunk::decode(chunk)?;
        let mut one_at_a_time = APPLYING.lock();
        let before = one_at_a_time.take(asked);
        let mut report = Report::default();
        let applied = Target::new(self.store(), chunk.source_id())?.apply_into(&chunk, &mut report);
        // Of a chunk that failed midway, the rest is applied when it comes again.
        if let Some(before) = before {
            let rest = std::mem::replace(&mut report, before);
            report.add(rest);
        }
        one_at_a_time.put(asked, report.clone());
        applied?;
        Ok(report)
    }

    /// Forgets what is noted about another store: see [`Target::forget`]. Returns the position up to which it was noted
    /// as seen.
    ///
    /// # Errors
    /// As [`Mlflow::sync_position`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// let other = "0123456789abcdef0123456789abcdef"; // another store's id
    /// assert_eq!(store.mlflow().sync_forget(other)?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sync_forget(&self, source: &str) -> ApiResult<u64> {
        let mut one_at_a_time = APPLYING.lock();
        // What comes again is looked at again.
        let own = self.store().engine().id();
        one_at_a_time.0.retain(|((target, ..), _)| *target != own);
        Ok(Target::new(self.store(), store_id(source)?)?.forget()?)
    }

    /// The experiments of another store that are in this one: their ids there and here.
    ///
    /// # Errors
    /// As [`Mlflow::sync_position`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// let other = "0123456789abcdef0123456789abcdef"; // another store's id
    /// assert!(store.mlflow().sync_experiments(other)?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sync_experiments(&self, source: &str) -> ApiResult<Vec<(String, String)>> {
        let target = Target::new(self.store(), store_id(source)?)?;
        Ok(target.experiments().map(|(theirs, ours)| (theirs.to_string(), ours.to_string())).collect())
    }
}
