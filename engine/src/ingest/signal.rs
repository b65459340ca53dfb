//! A flag that background threads sleep on.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A flag that background threads sleep on.
///
/// The standard library's lock: who sleeps on one of parking_lot's stands in a table of the whole process, which a
/// forked child inherits, with threads that it does not have and whose memory its own threads get.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    raised: AtomicBool,
    lock: std::sync::Mutex<()>,
    wake: std::sync::Condvar,
}

impl Signal {
    pub(crate) fn raise(&self) {
        if !self.raised.swap(true, Ordering::AcqRel) {
            // It guards nothing that a panic could leave half done.
            let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.wake.notify_all();
        }
    }

    /// As [`Signal::raise`], but if it is raised already it may be lowered by who does not see the cause yet: for
    /// causes that last, where the next append tells again. While they last it costs a load.
    #[inline]
    pub(crate) fn remind(&self) {
        if !self.raised.load(Ordering::Relaxed) {
            self.raise();
        }
    }

    /// Waits until it is raised, at most this long, and lowers it. Whether it was raised.
    pub(crate) fn wait(&self, at_most: Duration) -> bool {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.raised.load(Ordering::Acquire) {
            drop(self.wake.wait_timeout(guard, at_most));
        }
        self.raised.swap(false, Ordering::AcqRel)
    }
}
