//! Time: Unix milliseconds as users log them, and the one way to read a clock.
//!
//! Time is a label, never an order: the order is the [`crate::Lsn`]. Nothing in the engine reads a clock except
//! through [`Clock`], so a simulation owns it.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
    /// The wall clock, as it is read: it may jump.
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
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => TimestampMs(whole_ms(since)),
            Err(before) => TimestampMs(-whole_ms(before.duration())),
        }
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// As `as_millis`, in 64 bits: a division of 128 bits takes a third of reading the clock.
fn whole_ms(duration: Duration) -> i64 {
    let ms = i64::try_from(duration.as_secs()).ok().and_then(|seconds| seconds.checked_mul(1000));
    ms.and_then(|ms| ms.checked_add(i64::from(duration.subsec_millis()))).unwrap_or(i64::MAX)
}

/// A clock that moves only when told to, for tests and simulations.
#[derive(Debug, Default)]
pub struct ManualClock {
    now_ms: AtomicI64,
}

impl ManualClock {
    /// A clock that stands at `now`.
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
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_those_of_as_millis_and_saturate() {
        for duration in [Duration::ZERO, Duration::from_micros(1_999), Duration::new(1_700_000_000, 999_999_999)] {
            assert_eq!(whole_ms(duration) as u128, duration.as_millis());
        }
        assert_eq!(whole_ms(Duration::MAX), i64::MAX);
        assert!(SystemClock::default().now().0 > 1_700_000_000_000);
    }
}
