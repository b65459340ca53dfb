//! A chunk's directory entry: its place, its content, and its summary.
//!
//! Files of version 1 store each entry by itself, as below; since version 2 entries are items, see [`super::items`].
//! The index stores the same items. A chunk of one point is stored in its entry and nowhere else.
//!
//! ```text
//! entry of version 1 = flags u8 | body
//!   flags   1 UNIQUE: no two points tie   2 TIME_SORTED: times never fall, so points lie in history order too
//!           4 F32: values of the entry are f32, else f64      8 NON_FINITE: counts follow
//!          16 SINGLE                                         32 ROLLUPS: a block of rollups exists
//!          64 TIMES: least and greatest time are not those of the first and last point
//! SINGLE:  step svarint | time svarint | lsn varint | context varint | value
//! else:    count varint | step_first svarint | step_last - step_first varint
//!          | time_first svarint | time_last - time_first svarint
//!          | if TIMES: time_first - time_min varint | time_max - time_first varint
//!          | lsn_min varint | lsn_max - lsn_min varint | offset varint | len varint
//!          | if ROLLUPS: offset from the file's rollups varint, len varint
//!          | if NON_FINITE: NaN varint, +Inf varint, -Inf varint | min | max | first | last | sum f64
//! ```

use crate::point::Stats;
use crate::summary::Summary;

/// No two of the chunk's points tie in step, time and value. Statistics of a series use it.
pub const UNIQUE: u8 = 1;
/// Times never decrease from point to point, so the points are in history order too.
pub const TIME_SORTED: u8 = 2;
pub(super) const F32: u8 = 4;
pub(super) const NON_FINITE: u8 = 8;
pub(super) const SINGLE: u8 = 16;
pub(super) const ROLLUPS: u8 = 32;
pub(super) const TIMES: u8 = 64;

/// Most points that a chunk may hold; bounds what a decoder allocates.
pub const CHUNK_POINTS_MAX: u64 = 1 << 16;

/// A chunk of at most this many points is short: its entry has no summary, and it may share a group with others.
pub(crate) const SHORT_POINTS: usize = 64;

/// The directory's description of one chunk. Firsts and lasts are by latest order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChunkEntry {
    /// Bits of `UNIQUE` and `TIME_SORTED`.
    pub flags: u8,
    /// Number of points.
    pub count: u64,
    /// Step of the first point: the least.
    pub step_first: i64,
    /// Step of the last point: the greatest.
    pub step_last: i64,
    /// Time of the first point.
    pub time_first_ms: i64,
    /// Time of the last point.
    pub time_last_ms: i64,
    /// Least time.
    pub time_min_ms: i64,
    /// Greatest time.
    pub time_max_ms: i64,
    /// Least position.
    pub lsn_min: u64,
    /// Greatest position.
    pub lsn_max: u64,
    /// Offset of the chunk in its file; 0 if it is stored in this entry.
    pub offset: u64,
    /// Length in bytes; 0 if the chunk is stored in this entry.
    pub len: u32,
    /// Slot of the chunk in its group; offset and length are then those of the group. `None`: it is in no group.
    pub slot: Option<u8>,
    /// Offset of its rollups, from the start of the file's rollups.
    pub rollup_offset: u64,
    /// Length of its rollups in bytes; 0 if there are none, because the chunk is not longer than one rollup.
    pub rollup_len: u32,
    /// Context of a chunk that is stored in this entry; else 0.
    pub context: u32,
    /// Count, extremes, sum, first and last value, counts of values that are not finite. A short chunk has none, as
    /// reading it takes no longer, see `SeriesFile::summary`.
    pub summary: Option<Summary>,
}

impl ChunkEntry {
    /// Number of points.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Statistics of the chunk's points, from the entry and its summary. `maybe_repeats` is set unless the entry
    /// shows that no two points tie, `unordered` unless it shows that times never decrease.
    pub fn stats(&self, summary: &Summary) -> Stats {
        Stats {
            count_raw: self.count,
            maybe_repeats: !self.is_unique(),
            unordered: !self.is_time_sorted(),
            min: summary.min,
            max: summary.max,
            first_step: self.step_first,
            first_time_ms: self.time_first_ms,
            first_value: summary.first,
            last_step: self.step_last,
            last_time_ms: self.time_last_ms,
            last_value: summary.last,
            time_max_ms: self.time_max_ms,
        }
    }

    /// As [`Self::stats`] of a chunk whose values cannot be read: they count as NaN. Steps, times and the number of points
    /// are right, so that the series can be continued.
    pub(crate) fn stats_without_values(&self) -> Stats {
        self.stats(&Summary::of(&[f64::NAN]))
    }

    /// The value of the only point of a chunk that lies in its entry.
    pub(crate) fn inline_value(&self) -> f64 {
        debug_assert!(self.is_inline() && self.summary.is_some(), "a chunk lies elsewhere: {self:?}");
        self.summary.map_or(f64::NAN, |summary| summary.first)
    }

    /// Whether no two of its points tie.
    pub fn is_unique(&self) -> bool {
        self.flags & UNIQUE != 0
    }

    /// Whether its points are in history order.
    pub fn is_time_sorted(&self) -> bool {
        self.flags & TIME_SORTED != 0
    }

    /// Whether it has one point, stored in the entry.
    pub fn is_inline(&self) -> bool {
        self.len == 0
    }

    /// The entry for a chunk of one point.
    pub(crate) fn single(step: i64, time_ms: i64, lsn: u64, context: u32, value: f64, flags: u8) -> Self {
        Self {
            flags,
            count: 1,
            step_first: step,
            step_last: step,
            time_first_ms: time_ms,
            time_last_ms: time_ms,
            time_min_ms: time_ms,
            time_max_ms: time_ms,
            lsn_min: lsn,
            lsn_max: lsn,
            offset: 0,
            len: 0,
            slot: None,
            rollup_offset: 0,
            rollup_len: 0,
            context,
            summary: Some(Summary::of(&[value])),
        }
    }
}
