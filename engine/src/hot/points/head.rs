//! A point in memory, as it was logged.

use crate::point::Point;
use crate::time::TimestampMs;

/// One point with its position and context, as a tail or block holds it.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadPoint {
    pub(super) step: i64,
    pub(super) time_ms: i64,
    pub(super) value: f64,
    pub(super) lsn: u64,
}

impl HeadPoint {
    pub(super) fn point(&self) -> Point {
        Point { step: self.step, time: TimestampMs(self.time_ms), value: self.value }
    }
}
