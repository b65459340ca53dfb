//! How fast a compaction goes: counts what it has read, waits where a rate is set, and ends it when the store is closed.
//!
//! No lock is held during a wait, so appends, checkpoints and seals go on.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::core::Core;
use crate::error::{Error, Result};

/// Longest wait without a look at whether the store is being closed.
const WAIT_MS_MAX: u64 = 50;

/// The pace of one compaction.
pub(super) struct Pace<'a> {
    core: &'a Core,
    bytes_per_second: Option<u64>,
    begun_ms: u64,
    done_bytes: Cell<u64>,
}

impl<'a> Pace<'a> {
    /// A compaction that reads about `total_bytes`.
    pub(super) fn begin(core: &'a Core, bytes_per_second: Option<u64>, total_bytes: u64) -> Self {
        core.keeping.done_bytes.store(0, Ordering::Relaxed);
        core.keeping.total_bytes.store(total_bytes, Ordering::Relaxed);
        let begun_ms = core.pipeline.clock.monotonic_ms();
        Self { core, bytes_per_second, begun_ms, done_bytes: Cell::new(0) }
    }

    /// Notes bytes that were read; returns when it is time to read more.
    ///
    /// # Errors
    /// `Closed` if the store is being closed: nothing was changed.
    pub(super) fn step(&self, bytes: u64) -> Result<()> {
        self.done_bytes.set(self.done_bytes.get() + bytes);
        self.core.keeping.done_bytes.store(self.done_bytes.get(), Ordering::Relaxed);
        loop {
            if self.core.keeping.closes.load(Ordering::Acquire) {
                return Err(Error::Closed);
            }
            let Some(rate) = self.bytes_per_second else { return Ok(()) };
            let due_ms = wait_until_ms(self.done_bytes.get(), rate);
            let elapsed_ms = self.core.pipeline.clock.monotonic_ms().saturating_sub(self.begun_ms);
            if elapsed_ms >= due_ms {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis((due_ms - elapsed_ms).min(WAIT_MS_MAX)));
        }
    }
}

impl Drop for Pace<'_> {
    fn drop(&mut self) {
        self.core.keeping.total_bytes.store(0, Ordering::Relaxed);
        self.core.keeping.done_bytes.store(0, Ordering::Relaxed);
    }
}

/// How long after its begin a compaction at this rate may have read `done_bytes`, in ms.
fn wait_until_ms(done_bytes: u64, bytes_per_second: u64) -> u64 {
    let ms = u128::from(done_bytes) * 1_000 / u128::from(bytes_per_second.max(1));
    u64::try_from(ms).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::wait_until_ms;

    #[test]
    fn a_rate_says_when_bytes_may_have_been_read() {
        assert_eq!(wait_until_ms(0, 10), 0);
        assert_eq!(wait_until_ms(5 << 20, 10 << 20), 500);
        assert_eq!(wait_until_ms(u64::MAX, 1), u64::MAX);
        assert_eq!(wait_until_ms(7, 0), 7_000, "no rate is the least rate");
    }
}
