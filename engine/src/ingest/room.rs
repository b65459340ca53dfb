//! Room for appends: when they wait for the disk or for memory, and who is woken to make room.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::sequencer::Sequencer;
use super::signal::Signal;
use crate::error::{Error, Result};
use crate::id::Lsn;
use crate::log::Log;

/// Not synced bytes at which a sync is asked for.
const SYNC_AT_BYTES: u64 = 8 << 20;
/// Not synced bytes at which `Buffered` appends wait.
const WAIT_AT_BYTES: u64 = 64 << 20;
/// Rows of at least so many bytes are slowed down before appends must wait: such a writer outruns sealing for long.
const SLOW_ROW_BYTES: usize = 64 << 10;
/// How much, a byte, where appends would soon wait: some more than sealing takes for the 4 bytes of a point.
const SLOW_ROW_NS: f64 = 25.0;
/// How long at most.
const SLOW_ROW_AT_MOST: Duration = Duration::from_millis(25);
/// A row after which hot memory is larger by at least this much, mostly by new series, is followed by a pause while
/// memory is being sealed.
const GROWN_BYTES: usize = 16 << 10;
/// Length of that pause a byte when appends would soon wait: a little more than sealing takes for a new series of 340 B.
const GROWN_NS: f64 = 110.0;
/// The longest such pause.
const GROWN_AT_MOST: Duration = Duration::from_millis(40);
/// How often a waiting append looks again by itself.
const ROOM_CHECK_EVERY: Duration = Duration::from_millis(20);

/// What appends wait for, and the signals that wake those who work on it.
#[derive(Debug)]
pub(crate) struct Room {
    /// A sync is wanted.
    pub(crate) sync_wanted: Signal,
    /// The log wants its next segment prepared, or old ones finished.
    pub(crate) upkeep_wanted: Signal,
    /// Memory or log ask for sealing.
    pub(crate) seal_wanted: Signal,
    /// Inboxes are to be merged now.
    pub(crate) merge_wanted: Signal,
    durable_lock: Mutex<()>,
    durable_moved: Condvar,
    /// Threads work in the background: appends may wait for them.
    background: bool,
    memory_bytes: u64,
    /// Why the last checkpoint or seal failed, if it did: the answer to appends while memory is full.
    upkeep_failure: Mutex<Option<Error>>,
    /// The store is being closed: nobody makes room any more.
    closing: AtomicBool,
}

impl Room {
    pub(super) fn new(background: bool, memory_bytes: u64) -> Self {
        Self {
            sync_wanted: Signal::default(),
            upkeep_wanted: Signal::default(),
            seal_wanted: Signal::default(),
            merge_wanted: Signal::default(),
            durable_lock: Mutex::default(),
            durable_moved: Condvar::default(),
            background,
            memory_bytes,
            upkeep_failure: Mutex::default(),
            closing: AtomicBool::new(false),
        }
    }

    /// Waits while too much is not synced, or half of the memory budget is hot state (the rest is for sealing it and
    /// for caches); only where somebody works on it. Never called under a lock that reads need.
    ///
    /// # Errors
    /// `StorageFull`, `Poisoned` if memory is full, and what would free it fails; `Closed` if the store is closed
    /// meanwhile.
    #[inline]
    pub(crate) fn wait_for_room(&self, sequencer: &Sequencer) -> Result<()> {
        if !self.is_below_limits(sequencer) {
            self.wait_for_room_slowly(sequencer)?;
        }
        Ok(())
    }

    #[inline]
    fn is_below_limits(&self, sequencer: &Sequencer) -> bool {
        sequencer.log.unsynced_bytes() < WAIT_AT_BYTES && sequencer.hot_bytes() < self.memory_bytes / 2
    }

    /// Whether [`Room::wait_for_room`] would return at once, without an error. A poisoned log has room: the append
    /// answers what poisoned it.
    pub(crate) fn has_room(&self, sequencer: &Sequencer) -> bool {
        self.is_below_limits(sequencer) || !self.background || sequencer.log.poisoned().is_some()
    }

    /// Above three eighths of the memory budget a large row is held up the longer, the nearer half of it is: many short
    /// pauses, not one that lasts as long as a seal.
    #[inline]
    pub(super) fn slow_down(&self, sequencer: &Sequencer, row_bytes: usize) {
        if row_bytes >= SLOW_ROW_BYTES && self.background {
            let eighth = (self.memory_bytes / 8).max(1);
            let over = sequencer.hot_bytes().saturating_sub(3 * eighth) as f64 / eighth as f64;
            if over > 0.0 {
                self.seal_wanted.raise();
                let pause = Duration::from_nanos((row_bytes as f64 * SLOW_ROW_NS * over) as u64);
                std::thread::sleep(pause.min(SLOW_ROW_AT_MOST));
            }
        }
    }

    /// As [`Room::slow_down`], for rows that make memory grow, whatever their own size: runs of many new series. Starts at
    /// a quarter of the budget, where sealing begins, so that sealing ends before appends must wait for it.
    #[inline]
    pub(super) fn pause_after_growth(&self, sequencer: &Sequencer, grown_bytes: usize) {
        if grown_bytes >= GROWN_BYTES && self.background {
            let quarter = (self.memory_bytes / 4).max(1);
            let over = sequencer.hot_bytes().saturating_sub(quarter) as f64 / quarter as f64;
            if over > 0.0 {
                // The root: most of the room is left for a seal that takes long.
                let pause = Duration::from_nanos((grown_bytes as f64 * GROWN_NS * over.sqrt()) as u64);
                std::thread::sleep(pause.min(GROWN_AT_MOST));
            }
        }
    }

    #[cold]
    fn wait_for_room_slowly(&self, sequencer: &Sequencer) -> Result<()> {
        if !self.background {
            return Ok(());
        }
        let mut guard = self.durable_lock.lock();
        while sequencer.log.poisoned().is_none() {
            if self.closing.load(Ordering::Acquire) {
                return Err(Error::Closed);
            }
            let memory_full = sequencer.hot_bytes() >= self.memory_bytes / 2;
            if memory_full {
                if let Some(cause) = self.upkeep_failure.lock().clone() {
                    return Err(cause);
                }
                self.seal_wanted.raise();
            } else if sequencer.log.unsynced_bytes() >= WAIT_AT_BYTES {
                self.sync_wanted.raise();
            } else {
                break;
            }
            self.durable_moved.wait_for(&mut guard, ROOM_CHECK_EVERY);
        }
        Ok(())
    }

    /// The last checkpoint or seal failed; it will be tried again. Appends go on while memory has room, and are then
    /// told this error.
    pub(crate) fn upkeep_failed(&self, cause: Error) {
        *self.upkeep_failure.lock() = Some(cause);
        self.room_made();
    }

    /// Ends all waits for room, now and later: those who would make it are being stopped.
    pub(crate) fn end_waits(&self) {
        self.closing.store(true, Ordering::Release);
        self.room_made();
    }

    /// Checkpoints and seals succeed again.
    pub(crate) fn upkeep_works(&self) {
        *self.upkeep_failure.lock() = None;
    }

    /// Wakes whoever must work after an append. Cheap: a few loads.
    #[inline]
    pub(crate) fn after_append(&self, sequencer: &Sequencer) {
        if sequencer.log.unsynced_bytes() >= SYNC_AT_BYTES {
            self.sync_wanted.remind();
        }
        if sequencer.log.wants_maintenance() {
            self.upkeep_wanted.remind();
        }
        // Entities are seen in time without: they are small, or few.
        if sequencer.runs.bytes() as u64 >= self.memory_bytes / 4 {
            self.seal_wanted.remind();
        }
    }

    /// Makes everything that is appended durable.
    pub(crate) fn sync(&self, log: &Log) -> Result<Lsn> {
        let durable = log.sync();
        let _guard = self.durable_lock.lock();
        self.durable_moved.notify_all();
        durable
    }

    /// Wakes appends that wait for room.
    pub(crate) fn room_made(&self) {
        let _guard = self.durable_lock.lock();
        self.durable_moved.notify_all();
    }
}
