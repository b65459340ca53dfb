//! When a point is late: it may be one that is there already, and is looked up. See [`super::late`].

use crate::time::TimestampMs;

/// A point that comes more than this after its own time is late.
pub(crate) const LATE_AFTER_MS: i64 = 1_000;
/// No time is before this one.
pub(crate) const NEVER_LATE: TimestampMs = TimestampMs(0);
/// Every time is before this one.
const ALWAYS_LATE: TimestampMs = TimestampMs(i64::MAX);
/// Which points of a batch are looked up before they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LookUp {
    /// Those that come more than a second after their own time.
    #[default]
    Late,
    /// All of them: an import that may run again.
    All,
    /// None: what is applied exactly once by other means.
    Nothing,
}

impl LookUp {
    /// The time before which points are late.
    pub(crate) fn late_before(self, now: TimestampMs) -> TimestampMs {
        match self {
            Self::Late => late_before(now),
            Self::All => ALWAYS_LATE,
            Self::Nothing => NEVER_LATE,
        }
    }
}

/// The time before which points are late that come now.
#[inline]
pub(crate) fn late_before(now: TimestampMs) -> TimestampMs {
    TimestampMs(now.0.saturating_sub(LATE_AFTER_MS))
}
