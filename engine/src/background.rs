//! The threads of an open store: one syncs, one prepares and finishes segments, one checkpoints and seals, one merges
//! inboxes.
//!
//! They only call what [`crate::Store`] also offers to callers without threads. They hold the store's parts, so
//! dropping a store without close stops them first. A failure that poisons the log ends them, and every later call
//! reports it. Any other failure is tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::core::Core;
use crate::error::Error;
use crate::inbox::StoreInboxes;
use crate::storage::map::give_back_freed_memory;

/// A sync begins at most this long after an append.
const SYNC_EVERY: Duration = Duration::from_millis(100);
/// The pause between two merges of inboxes while points come; without points it doubles up to the second value.
const MERGE_EVERY: Duration = Duration::from_millis(5);
const MERGE_EVERY_MAX: Duration = Duration::from_millis(100);
/// A checkpoint begins at most about this long after an append.
const CHECKPOINT_EVERY_MS: u64 = 5_000;
/// The least time between two checkpoints for large entities, unless they take three sixteenths of the memory budget.
const CHECKPOINT_PAUSE_MS: u64 = 1_000;
/// Log above the applied or sealed position at which work is due.
const WORK_AT_BYTES: u64 = 64 << 20;

/// A store without appends for this long, and with at least this much to seal, seals everything: its memory returns to
/// the system, and the next open has nothing to replay.
const REST_AFTER_MS: u64 = 10_000;
const REST_AT_BYTES: u64 = 4 << 20;

/// Changed entities in memory at which a checkpoint is due; it is also due once they take a sixteenth of the budget.
const ENTITIES_MAX: usize = 20_000;

/// The wait before a failed checkpoint or seal is tried again; doubled each time, up to the second value.
const RETRY_AFTER: Duration = Duration::from_millis(100);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// The same on a full disk.
const RETRY_FULL_AFTER: Duration = Duration::from_secs(1);

/// The body of a thread; it runs until the flag is set.
type Loop = Box<dyn FnOnce(&AtomicBool) + Send>;

/// Running threads.
#[derive(Debug)]
pub(crate) struct Background {
    stop: Arc<AtomicBool>,
    core: Arc<Core>,
    threads: Vec<JoinHandle<()>>,
}

impl Background {
    pub(crate) fn start(core: &Arc<Core>, inboxes: &Arc<StoreInboxes>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        let loops: [(&str, Loop); 4] = [
            ("runlode-sync", of_core(core, sync_loop)),
            ("runlode-log", of_core(core, upkeep_loop)),
            ("runlode-seal", of_core(core, seal_loop)),
            ("runlode-inbox", {
                let (core, inboxes) = (core.clone(), inboxes.clone());
                Box::new(move |stop| inbox_loop(&core, &inboxes, stop))
            }),
        ];
        for (name, work) in loops {
            let stop = stop.clone();
            match Builder::new().name(name.into()).spawn(move || work(&stop)) {
                Ok(thread) => threads.push(thread),
                // Without its threads a store would break its promises.
                Err(error) => core.pipeline.log.poison(&format!("thread {name} could not be started: {error}")),
            }
        }
        Self { stop, core: core.clone(), threads }
    }

    /// Stops the threads and waits for them.
    pub(crate) fn stop(mut self) {
        self.stop_now();
    }

    fn stop_now(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.core.pipeline.room.end_waits();
        self.core.pipeline.room.sync_wanted.raise();
        self.core.pipeline.room.upkeep_wanted.raise();
        self.core.pipeline.room.seal_wanted.raise();
        self.core.pipeline.room.merge_wanted.raise();
        for thread in self.threads.drain(..) {
            // A panic in a background thread poisons nothing by itself: report it instead of going on silently.
            if thread.join().is_err() {
                self.core.pipeline.log.poison("a background thread panicked");
            }
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop_now();
    }
}

fn of_core(core: &Arc<Core>, work: fn(&Arc<Core>, &AtomicBool)) -> Loop {
    let core = core.clone();
    Box::new(move |stop| work(&core, stop))
}

fn running(core: &Core, stop: &AtomicBool) -> bool {
    !stop.load(Ordering::Acquire) && core.pipeline.log.poisoned().is_none()
}

fn sync_loop(core: &Arc<Core>, stop: &AtomicBool) {
    while running(core, stop) {
        core.pipeline.room.sync_wanted.wait(SYNC_EVERY);
        // The failure poisons the log, and every later call reports it.
        if core.pipeline.log.unsynced_bytes() > 0 {
            if core.pipeline.sync().is_err() {
                core.pipeline.room.room_made();
            }
        } else {
            core.pipeline.mark_idle();
        }
    }
}

fn upkeep_loop(core: &Arc<Core>, stop: &AtomicBool) {
    while running(core, stop) {
        core.pipeline.room.upkeep_wanted.wait(SYNC_EVERY);
        match core.pipeline.log.maintain() {
            Ok(()) => {}
            // A full disk: the next append tries again, and gets the error if it lasts.
            Err(Error::StorageFull { .. }) => std::thread::sleep(SYNC_EVERY),
            // A failed write has poisoned the log, which ends the loop. A file that could not be opened (no free
            // descriptor) is tried again; otherwise every append would have to create its own segments from then on.
            Err(_) => wait(core, stop, RETRY_FULL_AFTER),
        }
    }
}

/// Readers that need everything merge by themselves; this thread leaves them little to merge, and gathers many frames
/// at a time.
fn inbox_loop(core: &Core, inboxes: &StoreInboxes, stop: &AtomicBool) {
    let mut pause = MERGE_EVERY_MAX;
    while running(core, stop) {
        pause = match inboxes.merge(core) {
            Ok(report) if report.frames_count > 0 => MERGE_EVERY,
            Ok(_) => (pause * 2).min(MERGE_EVERY_MAX),
            // Nothing is lost: the points stay in the inboxes. A failed log ends the loop.
            Err(_) => RETRY_FULL_AFTER,
        };
        core.pipeline.room.merge_wanted.wait(pause);
    }
}

fn seal_loop(core: &Arc<Core>, stop: &AtomicBool) {
    let clock = core.pipeline.clock.clone();
    let mut checkpointed_ms = clock.monotonic_ms();
    let mut failed = 0u32;
    // Replayed points count as sealed here: if memory gets short, they are sealed in time.
    let mut sealed_bytes = core.pipeline.log.placed_bytes();
    let mut appended = (core.pipeline.published(), clock.monotonic_ms());
    // What hot memory held when the store last became idle: snapshots may keep it there.
    let mut kept_bytes = 0;
    // Of replaced states of entities, since memory was last given back to the system.
    let mut freed_bytes = 0;
    while running(core, stop) {
        core.pipeline.room.seal_wanted.wait(SYNC_EVERY);
        let log_bytes = core.pipeline.log.placed_bytes();
        let unsealed = log_bytes.saturating_sub(sealed_bytes);
        let entities = &core.pipeline.newest.hot;
        let part = core.memory_bytes / 16;
        if entities.bytes() as u64 >= part {
            freed_bytes += core.drop_replaced() as u64;
            if freed_bytes >= 8 * part {
                freed_bytes = 0;
                give_back_freed_memory();
            }
        }
        let memory_full = core.pipeline.hot_bytes() >= core.memory_bytes / 4;
        // A large state is in memory again after its next change: it is not written to the index each time.
        let paused = clock.monotonic_ms().saturating_sub(checkpointed_ms) >= CHECKPOINT_PAUSE_MS;
        let entity_bytes = entities.bytes() as u64;
        let many = entities.len() >= ENTITIES_MAX || entity_bytes >= 3 * part || entity_bytes >= part && paused;
        let due = clock.monotonic_ms().saturating_sub(checkpointed_ms) >= CHECKPOINT_EVERY_MS;
        let published = core.pipeline.published();
        if published != appended.0 {
            appended = (published, clock.monotonic_ms());
        }
        let hot_bytes = core.pipeline.runs.bytes() as u64;
        kept_bytes = hot_bytes.min(kept_bytes);
        let large = unsealed >= REST_AT_BYTES || hot_bytes >= kept_bytes + REST_AT_BYTES;
        let rests = large
            && core.sealed() < core.pipeline.settled()
            && clock.monotonic_ms().saturating_sub(appended.1) >= REST_AFTER_MS;
        let done = if unsealed >= WORK_AT_BYTES || memory_full {
            core.pipeline.sync().and_then(|_| core.seal()).map(|_| sealed_bytes = log_bytes)
        } else if rests {
            // The second call has nothing to seal, but also drops buffers that were kept for the next append.
            core.seal().and_then(|_| core.seal()).map(|_| {
                sealed_bytes = log_bytes;
                kept_bytes = core.pipeline.runs.bytes() as u64;
                core.pipeline.log.leave_memory();
                give_back_freed_memory();
            })
        } else if many {
            core.pipeline.sync().and_then(|_| core.checkpoint()).map(|_| ())
        } else if core.index.failed() || core.files.alarmed() || due && core.applied() < core.pipeline.settled() {
            core.checkpoint().map(|_| ())
        } else {
            if due {
                checkpointed_ms = clock.monotonic_ms();
                if core.past.rest() {
                    core.pipeline.log.forget_marks();
                }
                save_searches(core);
            }
            continue;
        };
        checkpointed_ms = clock.monotonic_ms();
        match done {
            Ok(()) => {
                failed = 0;
                core.pipeline.room.upkeep_works();
                if !(memory_full || many) {
                    save_searches(core);
                }
            }
            // Freeing space is enough. Until then, appends that memory has no room for are refused.
            Err(error @ Error::StorageFull { .. }) => {
                core.pipeline.room.upkeep_failed(error);
                wait(core, stop, RETRY_FULL_AFTER);
            }
            Err(error) => {
                // Derived files failed, not the log: appends go on while memory has room. The next try opens the index
                // again first.
                let cause = format!("index or series files failed: {error}");
                core.pipeline.room.upkeep_failed(Error::Poisoned { cause });
                wait(core, stop, RETRY_AFTER.saturating_mul(1 << failed.min(16)).min(RETRY_AFTER_MAX));
                failed += 1;
            }
        }
    }
}

/// Waits, but not longer than until the store is closed.
fn wait(core: &Core, stop: &AtomicBool, at_most: Duration) {
    let mut left = at_most;
    while running(core, stop) && !left.is_zero() {
        let step = left.min(SYNC_EVERY);
        std::thread::sleep(step);
        left -= step;
    }
}

fn save_searches(core: &Arc<Core>) {
    // Nothing depends on it; a failure is tried again later.
    let _saved = core.save_searches(false);
}
