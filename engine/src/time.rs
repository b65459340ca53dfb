//! Time: Unix milliseconds as users log them, and the one interface for reading a clock.
//!
//! Time is a label and orders nothing: the order is the [`crate::Lsn`]. The engine reads clocks only through [`Clock`],
//! so that a simulation controls them.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TimestampMs(pub i64);

impl fmt::Display for TimestampMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The only way to read the time.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// The wall clock, unchanged: it may jump.
    fn now(&self) -> TimestampMs;

    /// Milliseconds of a clock that never runs backwards, for timeouts and intervals.
    fn monotonic_ms(&self) -> u64;
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> TimestampMs {
        // `SystemTime` would take a third longer, because it computes its milliseconds in 128 bits.
        let now = clock_gettime(ClockId::Realtime);
        TimestampMs(now.tv_sec.saturating_mul(1_000).saturating_add(now.tv_nsec / 1_000_000))
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A clock that moves only when a test moves it.
#[derive(Debug, Default)]
pub struct ManualClock {
    now_ms: AtomicI64,
}

impl ManualClock {
    /// A clock that shows `now`.
    pub fn at(now: TimestampMs) -> Self {
        Self { now_ms: AtomicI64::new(now.0) }
    }

    /// Sets the time; it may go backwards.
    pub fn set(&self, now: TimestampMs) {
        self.now_ms.store(now.0, Ordering::SeqCst);
    }

    /// Moves the time on.
    pub fn advance_ms(&self, by_ms: i64) {
        self.now_ms.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> TimestampMs {
        TimestampMs(self.now_ms.load(Ordering::SeqCst))
    }

    fn monotonic_ms(&self) -> u64 {
        self.now_ms.load(Ordering::SeqCst).max(0).unsigned_abs()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_is_that_of_the_standard_library() {
        let other = || std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
        let (before, now, after) = (other(), SystemClock::default().now().0, other());
        assert!((before..=after).contains(&now), "{before} {now} {after}");
    }
}
