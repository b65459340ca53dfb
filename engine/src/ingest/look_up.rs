//! When a point is late: it may be there already, so it is looked up. See [`super::late`].

use crate::time::TimestampMs;

/// A point that arrives more than this after its own time is late.
pub const LATE_AFTER_MS: i64 = 1_000;
/// No time is before this one.
pub(crate) const NEVER_LATE: TimestampMs = TimestampMs(0);
/// Every time is before this one.
const ALWAYS_LATE: TimestampMs = TimestampMs(i64::MAX);
/// Which points of a batch are looked up before they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LookUp {
    /// Points that arrive more than a second after their own time.
    #[default]
    Late,
    /// All points, for an import that may run again.
    All,
    /// No points, because something else makes sure that they are stored exactly once.
    Nothing,
}

impl LookUp {
    /// Points with times before this one are late, if they arrive at `now`.
    pub(crate) fn late_before(self, now: TimestampMs) -> TimestampMs {
        match self {
            Self::Late => late_before(now),
            Self::All => ALWAYS_LATE,
            Self::Nothing => NEVER_LATE,
        }
    }
}

/// Points with times before this one are late, if they arrive at `now`.
#[inline]
pub(crate) fn late_before(now: TimestampMs) -> TimestampMs {
    TimestampMs(now.0.saturating_sub(LATE_AFTER_MS))
}
