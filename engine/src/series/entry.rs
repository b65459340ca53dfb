//! A chunk's directory entry: where it lies, what it holds, and its summary.
//!
//! The same bytes stand in the file's directory and, as an opaque value, in the index. A chunk of one point lies in
//! its entry and nowhere else.
//!
//! ```text
//! entry = flags u8 | body
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
//! 20 to 30 B for a single point, 40 to 70 B for more, at most 140 B.

use super::codec::{narrow, widen};
use crate::point::Stats;
use crate::summary::Summary;
use crate::varint::{Bytes, put_i64, put_u64};

/// No two of the chunk's points tie. Readers of today do not ask.
pub const UNIQUE: u8 = 1;
/// Times never fall from point to point: they lie in history order as well.
pub const TIME_SORTED: u8 = 2;
const F32: u8 = 4;
const NON_FINITE: u8 = 8;
const SINGLE: u8 = 16;
const ROLLUPS: u8 = 32;
const TIMES: u8 = 64;

/// Most points that a chunk may hold; bounds what a decoder allocates.
pub const CHUNK_POINTS_MAX: u64 = 1 << 16;

/// What the directory says of one chunk. Firsts and lasts are by latest order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChunkEntry {
    /// [`UNIQUE`] and [`TIME_SORTED`].
    pub flags: u8,
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
    /// Where the chunk begins in its file; 0 if it lies in this entry.
    pub offset: u64,
    /// Its length in bytes; 0 if it lies in this entry.
    pub len: u32,
    /// Where its rollups begin, from the file's rollups on.
    pub rollup_offset: u64,
    /// Their length in bytes; 0 if there are none, because the chunk is not longer than one rollup.
    pub rollup_len: u32,
    /// Context of a chunk that lies in this entry; else 0.
    pub context: u32,
    /// Count, extremes, sum, first and last value, counts of values that are not finite.
    pub summary: Summary,
}

impl ChunkEntry {
    /// Points.
    pub fn count(&self) -> u64 {
        self.summary.count
    }

    /// What the entry says of its points, as statistics of a series. The two flags are set where the entry cannot show
    /// that no two share a step, or that all are in order.
    pub fn stats(&self) -> Stats {
        Stats {
            count_raw: self.count(),
            maybe_repeats: !self.is_unique(),
            unordered: !self.is_time_sorted(),
            min: self.summary.min,
            max: self.summary.max,
            first_step: self.step_first,
            first_time_ms: self.time_first_ms,
            first_value: self.summary.first,
            last_step: self.step_last,
            last_time_ms: self.time_last_ms,
            last_value: self.summary.last,
            time_max_ms: self.time_max_ms,
        }
    }

    /// Whether no two of its points are one.
    pub fn is_unique(&self) -> bool {
        self.flags & UNIQUE != 0
    }

    /// Whether its points lie in history order.
    pub fn is_time_sorted(&self) -> bool {
        self.flags & TIME_SORTED != 0
    }

    /// Whether its only point lies in the entry.
    pub fn is_inline(&self) -> bool {
        self.len == 0
    }

    /// Appends the entry's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let s = &self.summary;
        let values = [s.min, s.max, s.first, s.last];
        let f32_fits = values.iter().all(|value| narrow(*value).is_some());
        let put_value = |value: f64, out: &mut Vec<u8>| match narrow(value).filter(|_| f32_fits) {
            Some(value) => out.extend_from_slice(&value.to_bits().to_le_bytes()),
            None => out.extend_from_slice(&value.to_bits().to_le_bytes()),
        };
        let times = self.time_min_ms != self.time_first_ms || self.time_max_ms != self.time_last_ms;
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let single = self.is_inline();
        out.push(
            self.flags & (UNIQUE | TIME_SORTED)
                | flag(f32_fits, F32)
                | flag(!single && s.nan + s.pos_inf + s.neg_inf > 0, NON_FINITE)
                | flag(single, SINGLE)
                | flag(!single && self.rollup_len > 0, ROLLUPS)
                | flag(!single && times, TIMES),
        );
        if single {
            put_i64(out, self.step_first);
            put_i64(out, self.time_first_ms);
            put_u64(out, self.lsn_min);
            put_u64(out, u64::from(self.context));
            put_value(s.first, out);
            return;
        }
        put_u64(out, s.count);
        put_i64(out, self.step_first);
        put_u64(out, self.step_last.wrapping_sub(self.step_first) as u64);
        put_i64(out, self.time_first_ms);
        put_i64(out, self.time_last_ms.wrapping_sub(self.time_first_ms));
        if times {
            put_u64(out, self.time_first_ms.wrapping_sub(self.time_min_ms) as u64);
            put_u64(out, self.time_max_ms.wrapping_sub(self.time_first_ms) as u64);
        }
        put_u64(out, self.lsn_min);
        put_u64(out, self.lsn_max.wrapping_sub(self.lsn_min));
        put_u64(out, self.offset);
        put_u64(out, u64::from(self.len));
        if self.rollup_len > 0 {
            put_u64(out, self.rollup_offset);
            put_u64(out, u64::from(self.rollup_len));
        }
        if s.nan + s.pos_inf + s.neg_inf > 0 {
            put_u64(out, s.nan);
            put_u64(out, s.pos_inf);
            put_u64(out, s.neg_inf);
        }
        for value in values {
            put_value(value, out);
        }
        out.extend_from_slice(&s.sum.to_bits().to_le_bytes());
    }

    /// Reads an entry; `None` if the bytes cannot be one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut bytes = Bytes::new(bytes);
        let entry = Self::take(&mut bytes)?;
        bytes.is_empty().then_some(entry)
    }

    /// Reads an entry from the front of more.
    pub fn take(bytes: &mut Bytes<'_>) -> Option<Self> {
        let all = bytes.u8()?;
        if all & !(UNIQUE | TIME_SORTED | F32 | NON_FINITE | SINGLE | ROLLUPS | TIMES) != 0 {
            return None;
        }
        let flags = all & (UNIQUE | TIME_SORTED);
        let value = |bytes: &mut Bytes<'_>| {
            if all & F32 != 0 { bytes.u32().map(|bits| widen(f32::from_bits(bits))) } else { bytes.f64() }
        };
        if all & SINGLE != 0 {
            if all & (NON_FINITE | ROLLUPS | TIMES) != 0 {
                return None;
            }
            let (step, time, lsn) = (bytes.varint_signed()?, bytes.varint_signed()?, bytes.varint()?);
            let context = u32::try_from(bytes.varint()?).ok()?;
            return Some(Self::single(step, time, lsn, context, value(bytes)?, flags));
        }
        let count = bytes.varint().filter(|count| (1..=CHUNK_POINTS_MAX).contains(count))?;
        let step_first = bytes.varint_signed()?;
        let step_last = step_first.wrapping_add(bytes.varint()? as i64);
        let time_first_ms = bytes.varint_signed()?;
        let time_last_ms = time_first_ms.wrapping_add(bytes.varint_signed()?);
        let (mut time_min_ms, mut time_max_ms) = (time_first_ms, time_last_ms);
        if all & TIMES != 0 {
            time_min_ms = time_first_ms.wrapping_sub(bytes.varint()? as i64);
            time_max_ms = time_first_ms.wrapping_add(bytes.varint()? as i64);
        }
        let lsn_min = bytes.varint()?;
        let lsn_max = lsn_min.checked_add(bytes.varint()?)?;
        let offset = bytes.varint()?;
        let len = u32::try_from(bytes.varint()?).ok().filter(|len| *len > 0)?;
        let (mut rollup_offset, mut rollup_len) = (0, 0);
        if all & ROLLUPS != 0 {
            rollup_offset = bytes.varint()?;
            rollup_len = u32::try_from(bytes.varint()?).ok()?;
        }
        let (mut nan, mut pos_inf, mut neg_inf) = (0u64, 0u64, 0u64);
        if all & NON_FINITE != 0 {
            (nan, pos_inf, neg_inf) = (bytes.varint()?, bytes.varint()?, bytes.varint()?);
            nan.checked_add(pos_inf)?.checked_add(neg_inf).filter(|sum| *sum <= count)?;
        }
        let (min, max, first, last) = (value(bytes)?, value(bytes)?, value(bytes)?, value(bytes)?);
        let sum = bytes.f64()?;
        if step_last < step_first || time_max_ms < time_min_ms {
            return None;
        }
        let summary = Summary { count, min, max, sum, first, last, nan, pos_inf, neg_inf };
        Some(Self {
            flags,
            step_first,
            step_last,
            time_first_ms,
            time_last_ms,
            time_min_ms,
            time_max_ms,
            lsn_min,
            lsn_max,
            offset,
            len,
            rollup_offset,
            rollup_len,
            context: 0,
            summary,
        })
    }

    /// The entry that is a chunk of one point.
    pub(crate) fn single(step: i64, time_ms: i64, lsn: u64, context: u32, value: f64, flags: u8) -> Self {
        Self {
            flags,
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
            rollup_offset: 0,
            rollup_len: 0,
            context,
            summary: Summary::of(&[value]),
        }
    }
}
