//! The way of a write: prepared outside any lock, placed under the sequencer, published, acknowledged.
//!
//! ```text
//! caller's thread                                   sequencer (one mutex, no I/O)          background
//! validate against newest state  ┐
//! group points, encode, crc      ┘ Prepared ──────► still valid? place ► publish ► unlock
//!                                                   (Buffered: copied into the map)        fdatasync in 100 ms or 8 MiB
//!                                                   (Sync: group_commit gathers, one fdatasync for all)
//! ```
//!
//! Invariants: a batch is visible (`published`) only after its frame is in the log, in the order of positions, and
//! never later than it is acknowledged; what a batch was validated against is checked again under the sequencer, and
//! if any of it changed the batch is prepared anew; lock order is sequencer, then one run's lock at a time.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::batch::Durability;
use super::encode::Planned;
use super::group_commit::GroupCommit;
use super::late::Past;
use super::prepared::{Prepared, Refused};
use super::room::Room;
use super::sequencer::{RowToAppend, Sequencer};
use crate::error::Result;
use crate::hot::points::RunHot;
use crate::id::{KeyId, Lsn};
use crate::index::IndexRead;
use crate::log::{FrameBuf, Log};
use crate::time::{Clock, TimestampMs};

/// Prepares, places and publishes every append of a store.
#[derive(Debug)]
pub(crate) struct Pipeline {
    /// Unique among all pipelines that this process ever made.
    pub(crate) number: u64,
    sequencer: Sequencer,
    /// Makes appends wait for memory and disk.
    pub(crate) room: Room,
    /// Looks late points up in the store; set once, when the store is put together.
    pub(crate) past: OnceLock<Box<dyn Past>>,
    group: GroupCommit,
}

/// The sequencer owns the log and the state that appends change; the pipeline gives access to it.
impl Deref for Pipeline {
    type Target = Sequencer;

    fn deref(&self) -> &Sequencer {
        &self.sequencer
    }
}

/// The parts that a pipeline is given; it makes the others itself.
pub(crate) struct Parts {
    pub(crate) log: Arc<Log>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) index: IndexRead,
    pub(crate) published: Lsn,
    pub(crate) background: bool,
    pub(crate) memory_bytes: u64,
}

impl Pipeline {
    pub(crate) fn new(parts: Parts) -> Self {
        static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);
        let Parts { log, clock, index, published, background, memory_bytes } = parts;
        Self {
            number: NEXT_NUMBER.fetch_add(1, Ordering::Relaxed),
            sequencer: Sequencer::new(log, clock, index, published),
            room: Room::new(background, memory_bytes),
            past: OnceLock::new(),
            group: GroupCommit::default(),
        }
    }

    /// Makes everything appended so far durable. Returns the last durable position.
    pub(crate) fn sync(&self) -> Result<Lsn> {
        self.room.sync(&self.log)
    }

    /// Waits for room.
    ///
    /// # Errors
    /// Those of [`Room::wait_for_room`].
    #[inline]
    pub(crate) fn wait_for_room(&self) -> Result<()> {
        self.room.wait_for_room(&self.sequencer)
    }

    /// Whether [`Pipeline::wait_for_room`] would return at once, without an error.
    pub(crate) fn has_room(&self) -> bool {
        self.room.has_room(&self.sequencer)
    }

    /// Gives a prepared batch its position and publishes it; waits as `durability` says.
    pub(crate) fn commit(&self, mut prepared: Box<Prepared>, durability: Durability) -> Result<Lsn, Refused> {
        match durability {
            Durability::Sync => {
                self.room.wait_for_entities(&self.sequencer)?;
                self.group.submit(&self.sequencer, &self.room, prepared)
            }
            Durability::Buffered => self.commit_buffered(&mut prepared),
        }
    }

    /// Commits a prepared batch as `Buffered`. After a refusal the batch is unchanged.
    pub(crate) fn commit_buffered(&self, prepared: &mut Prepared) -> Result<Lsn, Refused> {
        self.wait_for_room()?;
        let (lsn, new_series) = self.sequencer.append(prepared)?;
        self.room.after_append(&self.sequencer);
        if let Some(points) = prepared.points.first() {
            self.room.pause_after_new_series(&self.sequencer, &points.run, new_series);
        }
        Ok(lsn)
    }

    /// As [`Pipeline::commit_buffered`], without waiting for room. For callers that hold something others need: they
    /// ask [`Pipeline::has_room`], and wait once they hold nothing.
    pub(crate) fn commit_now(&self, prepared: &mut Prepared) -> Result<Lsn, Refused> {
        let (lsn, _) = self.sequencer.append(prepared)?;
        self.room.after_append(&self.sequencer);
        Ok(lsn)
    }

    /// Reads, without a lock, what the index has of series that are about to be appended to. Returns how many were not
    /// in memory.
    pub(crate) fn read_bases(&self, run: &Arc<RunHot>, keys: &[KeyId]) -> Result<usize> {
        run.insert_bases(keys, |keys| self.newest.stats_of(run.id, keys), self.runs.bytes_counter())
    }

    /// As [`Pipeline::read_bases`], for a caller who may pause while memory is sealed: the append that follows pauses.
    pub(crate) fn read_bases_to_append(&self, run: &Arc<RunHot>, keys: &[KeyId]) -> Result<()> {
        let made = self.read_bases(run, keys)?;
        self.room.owe_for_new_series(&self.sequencer, run, made);
        Ok(())
    }

    /// Appends a sealed frame with one row.
    #[inline]
    pub(crate) fn append_row(
        &self,
        run: &Arc<RunHot>,
        frame: &mut FrameBuf,
        row: &RowToAppend<'_>,
    ) -> Result<Lsn, Refused> {
        self.wait_for_room()?;
        self.room.slow_down(&self.sequencer, frame.payload().len());
        let (lsn, new_series) = self.sequencer.append_row(run, frame, row)?;
        self.room.after_append(&self.sequencer);
        self.room.pause_after_new_series(&self.sequencer, run, new_series);
        Ok(lsn)
    }

    /// Appends a sealed frame with sections.
    pub(crate) fn append_points(
        &self,
        run: &Arc<RunHot>,
        frame: &mut FrameBuf,
        planned: &Planned,
        branch: u32,
        now: TimestampMs,
    ) -> Result<Lsn, Refused> {
        self.wait_for_room()?;
        let (lsn, new_series) = self.sequencer.append_points(run, frame, planned, branch, now)?;
        self.room.after_append(&self.sequencer);
        self.room.pause_after_new_series(&self.sequencer, run, new_series);
        Ok(lsn)
    }
}
