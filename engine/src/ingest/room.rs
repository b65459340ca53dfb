//! Room for appends: when they wait for disk or memory, and which threads are woken to make room.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::sequencer::Sequencer;
use super::signal::Signal;
use crate::error::{Error, Result};
use crate::hot::points::RunHot;
use crate::id::Lsn;
use crate::log::Log;

/// At this many unsynced bytes a sync is asked for.
const SYNC_AT_BYTES: u64 = 8 << 20;
/// At this many unsynced bytes `Buffered` appends wait.
const WAIT_AT_BYTES: u64 = 64 << 20;
/// Rows of at least this many bytes are slowed down before appends must wait: such a writer outruns sealing for long.
const SLOW_ROW_BYTES: usize = 64 << 10;
/// The pause per byte when appends would soon wait: somewhat more than sealing takes for the 4 bytes of a point.
const SLOW_ROW_NS: f64 = 25.0;
/// The longest pause for one such row.
const SLOW_ROW_AT_MOST: Duration = Duration::from_millis(25);
/// A call that makes at least this many series is followed by a pause while memory is sealed.
const NEW_SERIES: usize = 48;
/// About as many bytes of hot memory as a new series takes, with what is kept of its first points.
const NEW_SERIES_BYTES: f64 = 256.0;
/// The longest pause of one call; the rest is left to the next calls of the same run.
const NEW_SERIES_AT_MOST: Duration = Duration::from_millis(25);
/// More than this is never left.
const OWED_AT_MOST: Duration = Duration::from_secs(2);
/// How long sealing takes per byte of hot memory, until the first seal shows it; then it is kept between these bounds.
const SEAL_NS: u64 = 60;
const SEAL_NS_BOUNDS: (u64, u64) = (4, 10_000);
/// Seals of less than this part of the memory budget say little about the time per byte.
const SEAL_TIMED_PART: u64 = 8;
/// Above this many sixteenths of the memory budget, snapshots that hold hot memory are given up.
pub(crate) const SNAPSHOT_PARTS_MAX: u64 = 6;
/// At this many, `Sync` appends wait for states of entities. A snapshot that is kept is given up before.
const ENTITY_PARTS_MAX: u64 = SNAPSHOT_PARTS_MAX + 1;
/// How often a waiting append checks for room without being woken.
const ROOM_CHECK_EVERY: Duration = Duration::from_millis(20);

/// What an append waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lacks {
    Memory,
    Sync,
}

/// The conditions that appends wait for, and the signals that wake the threads which make room.
#[derive(Debug)]
pub(crate) struct Room {
    /// Raised when a sync is wanted.
    pub(crate) sync_wanted: Signal,
    /// Raised when the log needs its next segment prepared, or old ones finished.
    pub(crate) upkeep_wanted: Signal,
    /// Raised when memory or log need sealing.
    pub(crate) seal_wanted: Signal,
    /// Raised when inboxes must be merged now.
    pub(crate) merge_wanted: Signal,
    durable_lock: Mutex<()>,
    durable_moved: Condvar,
    /// Whether background threads work for this store. Without them appends never wait.
    background: bool,
    memory_bytes: u64,
    /// Why the last checkpoint or seal failed, if it did. Appends return this error while memory is full.
    upkeep_failure: Mutex<Option<Error>>,
    /// The store is being closed: room is no longer made.
    closing: AtomicBool,
    /// How long sealing took lately, per byte of hot memory.
    seal_ns: AtomicU64,
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
            seal_ns: AtomicU64::new(SEAL_NS),
        }
    }

    /// Waits while too much is unsynced, or hot state takes half of the memory budget (the rest is for sealing it and
    /// for caches). Waits only if background threads make room. Never called under a lock that reads need.
    ///
    /// # Errors
    /// `StorageFull`, `Poisoned` if memory is full and freeing it fails; `Closed` if the store is closed meanwhile.
    #[inline]
    pub(crate) fn wait_for_room(&self, sequencer: &Sequencer) -> Result<()> {
        if !self.is_below_limits(sequencer) {
            self.wait_for_room_slowly(sequencer)?;
        }
        Ok(())
    }

    /// Waits while states of entities take [`ENTITY_PARTS_MAX`] sixteenths of the memory budget. For `Sync` appends, which
    /// wait for the disk anyway: points that are to be sealed do not delay them.
    ///
    /// # Errors
    /// Those of [`Room::wait_for_room`].
    #[inline]
    pub(super) fn wait_for_entities(&self, sequencer: &Sequencer) -> Result<()> {
        if self.has_many_entities(sequencer) && self.background {
            self.wait_while(sequencer, |room, sequencer| room.has_many_entities(sequencer).then_some(Lacks::Memory))?;
        }
        Ok(())
    }

    fn has_many_entities(&self, sequencer: &Sequencer) -> bool {
        sequencer.newest.hot.bytes() as u64 >= self.memory_bytes / 16 * ENTITY_PARTS_MAX
    }

    #[inline]
    fn is_below_limits(&self, sequencer: &Sequencer) -> bool {
        sequencer.log.unsynced_bytes() < WAIT_AT_BYTES && sequencer.hot_bytes() < self.memory_bytes / 2
    }

    /// Whether [`Room::wait_for_room`] would return at once, without an error. A poisoned log has room: the append
    /// returns the cause of the poisoning.
    pub(crate) fn has_room(&self, sequencer: &Sequencer) -> bool {
        self.is_below_limits(sequencer) || !self.background || sequencer.log.poisoned().is_some()
    }

    /// Slows large rows down above three eighths of the memory budget, the more the nearer hot state is to half of it.
    /// Many short pauses are better than one as long as a seal.
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

    /// Pauses a run that makes many series while memory is sealed. Memory comes back only when a seal ends, so the pause
    /// per byte depends on how long the last seals took per byte, and grows without bound towards half of the budget:
    /// appends then wait for a seal only if it takes ten times as long as the last ones. One call pauses a short while;
    /// the next calls of the run pause for the rest.
    #[inline]
    pub(super) fn pause_after_new_series(&self, sequencer: &Sequencer, run: &RunHot, new_series: usize) {
        if (new_series >= NEW_SERIES || run.owed_ns() > 0) && self.background {
            self.pause_slowly(sequencer, run, new_series);
        }
    }

    /// As [`Room::pause_after_new_series`], but leaves the whole pause to the next calls of the run: this one is going to
    /// append to it.
    pub(super) fn owe_for_new_series(&self, sequencer: &Sequencer, run: &RunHot, new_series: usize) {
        if new_series >= NEW_SERIES && self.background {
            run.set_owed_ns(self.owed(sequencer, run, new_series).as_nanos() as u64);
        }
    }

    fn owed(&self, sequencer: &Sequencer, run: &RunHot, new_series: usize) -> Duration {
        let owed = match owed_per_byte(sequencer.hot_bytes(), self.memory_bytes) {
            // Sealing has not begun, or is over.
            None => 0.0,
            Some(per_byte) => {
                let seal_ns = self.seal_ns.load(Ordering::Relaxed) as f64;
                run.owed_ns() as f64 + new_series as f64 * NEW_SERIES_BYTES * seal_ns * per_byte
            }
        };
        Duration::from_nanos(owed as u64).min(OWED_AT_MOST)
    }

    #[cold]
    fn pause_slowly(&self, sequencer: &Sequencer, run: &RunHot, new_series: usize) {
        let owed = self.owed(sequencer, run, new_series);
        let pause = owed.min(NEW_SERIES_AT_MOST);
        run.set_owed_ns((owed - pause).as_nanos() as u64);
        if !pause.is_zero() {
            self.seal_wanted.raise();
            std::thread::sleep(pause);
        }
    }

    /// Records how long a seal took; `hot_bytes` is the hot memory in use when it began.
    pub(crate) fn sealed_in(&self, hot_bytes: u64, time: Duration) {
        if hot_bytes >= self.memory_bytes / SEAL_TIMED_PART {
            let now = time.as_nanos() as u64 / hot_bytes.max(1);
            let before = self.seal_ns.load(Ordering::Relaxed);
            let (least, most) = SEAL_NS_BOUNDS;
            self.seal_ns.store((before.midpoint(now)).clamp(least, most), Ordering::Relaxed);
        }
    }

    #[cold]
    fn wait_for_room_slowly(&self, sequencer: &Sequencer) -> Result<()> {
        if !self.background {
            return Ok(());
        }
        self.wait_while(sequencer, |room, sequencer| {
            if sequencer.hot_bytes() >= room.memory_bytes / 2 {
                Some(Lacks::Memory)
            } else if sequencer.log.unsynced_bytes() >= WAIT_AT_BYTES {
                Some(Lacks::Sync)
            } else {
                None
            }
        })
    }

    /// Asks for what is lacking until nothing is.
    #[cold]
    fn wait_while(&self, sequencer: &Sequencer, lacks: impl Fn(&Self, &Sequencer) -> Option<Lacks>) -> Result<()> {
        let mut guard = self.durable_lock.lock();
        while sequencer.log.poisoned().is_none() {
            if self.closing.load(Ordering::Acquire) {
                return Err(Error::Closed);
            }
            match lacks(self, sequencer) {
                Some(Lacks::Memory) => {
                    if let Some(cause) = self.upkeep_failure.lock().clone() {
                        return Err(cause);
                    }
                    self.seal_wanted.raise();
                }
                Some(Lacks::Sync) => self.sync_wanted.raise(),
                None => break,
            }
            self.durable_moved.wait_for(&mut guard, ROOM_CHECK_EVERY);
        }
        Ok(())
    }

    /// Records that a checkpoint or seal failed; it will be tried again. Appends continue while memory has room, and
    /// then return this error.
    pub(crate) fn upkeep_failed(&self, cause: Error) {
        *self.upkeep_failure.lock() = Some(cause);
        self.room_made();
    }

    /// Ends all waits for room, now and later: the threads that make room are being stopped.
    pub(crate) fn end_waits(&self) {
        self.closing.store(true, Ordering::Release);
        self.room_made();
    }

    /// Records that checkpoints and seals succeed again.
    pub(crate) fn upkeep_works(&self) {
        *self.upkeep_failure.lock() = None;
    }

    /// Wakes the threads that have work after an append. Cheap: a few loads.
    #[inline]
    pub(crate) fn after_append(&self, sequencer: &Sequencer) {
        if sequencer.log.unsynced_bytes() >= SYNC_AT_BYTES {
            self.sync_wanted.remind();
        }
        if sequencer.log.wants_maintenance() {
            self.upkeep_wanted.remind();
        }
        // Below an eighth, the seal thread looks often enough.
        if sequencer.runs.bytes() as u64 >= self.memory_bytes / 4
            || sequencer.newest.hot.bytes() as u64 >= self.memory_bytes / 8
        {
            self.seal_wanted.remind();
        }
    }

    /// Makes everything appended so far durable. Returns the last durable position.
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

/// The pause for each byte of new series, in times that sealing takes for a byte. `None` below a quarter of the memory
/// budget, where sealing begins. If sealing is as fast as before, it ends while two thirds of the way from there to half
/// of the budget are filled.
fn owed_per_byte(hot_bytes: u64, memory_bytes: u64) -> Option<f64> {
    let quarter = (memory_bytes / 4).max(1);
    let over = hot_bytes.checked_sub(quarter)? as f64 / quarter as f64;
    Some(2.0 * over / (1.0 - over).max(0.001))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: u64 = 256 << 20;

    /// Hot bytes when a seal ends that began at a quarter of the budget and is this many times slower than the last
    /// ones, if all that comes meanwhile is new series.
    fn hot_at_end(slower: f64) -> u64 {
        let mut hot = MEMORY / 4;
        // In times that sealing takes for a byte.
        let mut left = hot as f64 * slower;
        while left > 0.0 && hot < MEMORY / 2 {
            let run = 1_500 * NEW_SERIES_BYTES as u64;
            left -= owed_per_byte(hot, MEMORY).unwrap() * run as f64;
            hot += run;
        }
        hot
    }

    #[test]
    fn new_series_are_paused_so_that_appends_need_not_wait_for_a_seal() {
        assert!(owed_per_byte(MEMORY / 4 - 1, MEMORY).is_none());
        assert_eq!(owed_per_byte(MEMORY / 4, MEMORY), Some(0.0));
        let rising: Vec<f64> = (64..=130).map(|mib| owed_per_byte(mib << 20, MEMORY).unwrap()).collect();
        assert!(rising.is_sorted() && rising.iter().all(|owed| owed.is_finite()), "{rising:?}");
        assert!(hot_at_end(1.0) < MEMORY / 16 * 7, "{}", hot_at_end(1.0));
        assert!(hot_at_end(5.0) < MEMORY / 2, "{}", hot_at_end(5.0));
    }
}
