//! A flag that background threads sleep on.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A flag that background threads sleep on.
///
/// Uses the standard library's lock. parking_lot keeps waiters in a process-wide table: a forked child inherits entries
/// for threads that it does not have, and gives their memory to its own threads.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    raised: AtomicBool,
    lock: std::sync::Mutex<()>,
    wake: std::sync::Condvar,
}

impl Signal {
    pub(crate) fn raise(&self) {
        if !self.raised.swap(true, Ordering::AcqRel) {
            // The lock guards nothing that a panic could leave half done.
            let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.wake.notify_all();
        }
    }

    /// As [`Signal::raise`], for causes that last. If the flag is raised already, a thread that does not see the cause
    /// yet may lower it; the next append then reminds again. While the flag is raised, this costs one load.
    #[inline]
    pub(crate) fn remind(&self) {
        if !self.raised.load(Ordering::Relaxed) {
            self.raise();
        }
    }

    /// Waits until the flag is raised, at most this long, and lowers it. Returns whether it was raised.
    pub(crate) fn wait(&self, at_most: Duration) -> bool {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.raised.load(Ordering::Acquire) {
            drop(self.wake.wait_timeout(guard, at_most));
        }
        self.raised.swap(false, Ordering::AcqRel)
    }
}
