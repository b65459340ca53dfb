//! Directory entries in a row: what an entry shares with the one before it is not written again.
//!
//! The blocks of a file's directory, and rows of the index, hold the same items. Keys that were logged together differ in
//! nothing but the key and the place in their group: such an entry takes one byte.
//!
//! ```text
//! item = what u8 | [run 16] | [key varint] | body
//!   what   0 same series as before   1 the next key of the run   2 another key of it   3 another run: run and key follow
//!          4 SLOT: the next slot of the same group, all else as before; no body follows
//!          8 GROUPED: it lies in a group; its slot follows the flags
//! body = flags u8 | [slot u8] | then
//!   flags  1 UNIQUE   2 TIME_SORTED   4 F32: values are f32, else f64   8 NON_FINITE: counts follow   16 SINGLE: no chunk
//!          32 ROLLUPS: a block of rollups exists   64 TIMES: the least and greatest time are not the first and last one's
//!          128 SHORT: no summary follows
//!   SINGLE step | time | position | context varint | value
//!   else   count varint | first step | last - first step varint | time of the first | of the last one, minus that svarint
//!          | if TIMES: first - least time varint, greatest - first time varint
//!          | least position | greatest - least position varint | offset | length varint
//!          | if ROLLUPS: offset from the rollups' start | length varint
//!          | if NON_FINITE: NaN varint, +Inf varint, -Inf varint | unless SHORT: min | max | first | last | sum f64
//! ```
//! A step or a time without a type is an svarint, minus the last one of the entry before if that is of the same series,
//! else minus its first one; a position is an svarint, minus the least one of the entry before; an offset is an svarint,
//! minus the end of the last chunk (or block of rollups) that was named. Before the first entry all are 0.

use super::codec::{narrow, widen};
use super::entry::{CHUNK_POINTS_MAX, ChunkEntry, F32, NON_FINITE, ROLLUPS, SINGLE, TIME_SORTED, TIMES, UNIQUE};
use crate::id::{KeyId, RunId, SeriesId};
use crate::summary::Summary;
use crate::varint::{Bytes, put_i64, put_u64};

const NEXT_KEY: u8 = 1;
const OTHER_KEY: u8 = 2;
const OTHER_RUN: u8 = 3;
const SLOT: u8 = 4;
const GROUPED: u8 = 8;
const SHORT: u8 = 128;

/// State from the previous items.
#[derive(Debug, Clone, Default)]
pub(crate) struct Items {
    series: Option<SeriesId>,
    before: Option<ChunkEntry>,
    chunk_end: u64,
    rollups_end: u64,
}

/// The numbers relative to which the next entry is stored.
#[derive(Default)]
struct Base {
    step: i64,
    time: i64,
    position: u64,
}

/// A placeholder series, for an entry stored alone.
const NOBODY: SeriesId = SeriesId { run: RunId([0; 16]), key: KeyId(0) };

impl ChunkEntry {
    /// Appends the entry's bytes, as an item without a neighbour.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Items::of(NOBODY).put(NOBODY, self, out);
    }

    /// Reads an entry of a version 1 file from the front of `bytes`.
    pub(crate) fn take_v1(bytes: &mut Bytes<'_>) -> Option<Self> {
        Items::default().take_body::<true>(Base::default(), false, bytes)
    }

    /// Reads what [`Self::encode`] wrote; `None` if the bytes cannot be an entry.
    #[cfg(any(test, feature = "testing"))]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut bytes = Bytes::new(bytes);
        let (series, entry) = Items::of(NOBODY).take(&mut bytes)?;
        (series == NOBODY && bytes.is_empty()).then_some(entry)
    }
}

impl Items {
    /// Items whose first one belongs to this series without naming it.
    pub(crate) fn of(series: SeriesId) -> Self {
        Self { series: Some(series), ..Self::default() }
    }

    fn base(&self, same_series: bool) -> Base {
        match &self.before {
            Some(before) if same_series => {
                Base { step: before.step_last, time: before.time_last_ms, position: before.lsn_min }
            }
            Some(before) => Base { step: before.step_first, time: before.time_first_ms, position: before.lsn_min },
            None => Base::default(),
        }
    }

    fn follows(&mut self, series: SeriesId, entry: &ChunkEntry) {
        if !entry.is_inline() {
            self.chunk_end = entry.offset.wrapping_add(u64::from(entry.len));
        }
        if entry.rollup_len > 0 {
            self.rollups_end = entry.rollup_offset.wrapping_add(u64::from(entry.rollup_len));
        }
        self.series = Some(series);
        self.before = Some(*entry);
    }

    /// The entry for the next slot of the previous entry's group, if nothing else differs.
    fn next_slot(&self) -> Option<ChunkEntry> {
        let before = self.before?;
        Some(ChunkEntry { slot: Some(before.slot?.checked_add(1)?), ..before })
    }

    /// Appends an item.
    pub(crate) fn put(&mut self, series: SeriesId, entry: &ChunkEntry, out: &mut Vec<u8>) {
        let same_series = self.series == Some(series);
        let who = match self.series {
            Some(before) if before == series => 0,
            Some(before) if before.run != series.run => OTHER_RUN,
            Some(before) if before.key.0.checked_add(1) == Some(series.key.0) => NEXT_KEY,
            Some(_) => OTHER_KEY,
            None => OTHER_RUN,
        };
        let slot = !same_series && self.next_slot().as_ref() == Some(entry);
        let grouped = if entry.slot.is_some() { GROUPED } else { 0 };
        out.push(who | if slot { SLOT } else { grouped });
        if who == OTHER_RUN {
            out.extend_from_slice(&series.run.0);
        }
        if who >= OTHER_KEY {
            put_u64(out, u64::from(series.key.0));
        }
        if !slot {
            self.put_body(entry, same_series, out);
        }
        self.follows(series, entry);
    }

    fn put_body(&self, entry: &ChunkEntry, same_series: bool, out: &mut Vec<u8>) {
        let base = self.base(same_series);
        let single = entry.is_inline();
        let summary = entry.summary.as_ref();
        let values = summary.map_or([0.0; 4], |s| [s.min, s.max, s.first, s.last]);
        let f32_fits = values.iter().all(|value| narrow(*value).is_some());
        let put_value = |value: f64, out: &mut Vec<u8>| match narrow(value).filter(|_| f32_fits) {
            Some(value) => out.extend_from_slice(&value.to_bits().to_le_bytes()),
            None => out.extend_from_slice(&value.to_bits().to_le_bytes()),
        };
        let counts = summary.map_or([0; 3], |s| [s.nan, s.pos_inf, s.neg_inf]);
        let non_finite = !single && counts != [0; 3];
        let times = entry.time_min_ms != entry.time_first_ms || entry.time_max_ms != entry.time_last_ms;
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        out.push(
            entry.flags & (UNIQUE | TIME_SORTED)
                | flag(summary.is_some() && f32_fits, F32)
                | flag(non_finite, NON_FINITE)
                | flag(single, SINGLE)
                | flag(!single && entry.rollup_len > 0, ROLLUPS)
                | flag(!single && times, TIMES)
                | flag(summary.is_none(), SHORT),
        );
        out.extend(entry.slot);
        let minus = |number: u64, base: u64| number.wrapping_sub(base) as i64;
        if single {
            put_i64(out, entry.step_first.wrapping_sub(base.step));
            put_i64(out, entry.time_first_ms.wrapping_sub(base.time));
            put_i64(out, minus(entry.lsn_min, base.position));
            put_u64(out, u64::from(entry.context));
            put_value(values[2], out);
            return;
        }
        put_u64(out, entry.count);
        put_i64(out, entry.step_first.wrapping_sub(base.step));
        put_u64(out, entry.step_last.wrapping_sub(entry.step_first) as u64);
        put_i64(out, entry.time_first_ms.wrapping_sub(base.time));
        put_i64(out, entry.time_last_ms.wrapping_sub(entry.time_first_ms));
        if times {
            put_u64(out, entry.time_first_ms.wrapping_sub(entry.time_min_ms) as u64);
            put_u64(out, entry.time_max_ms.wrapping_sub(entry.time_first_ms) as u64);
        }
        put_i64(out, minus(entry.lsn_min, base.position));
        put_u64(out, entry.lsn_max.wrapping_sub(entry.lsn_min));
        put_i64(out, minus(entry.offset, self.chunk_end));
        put_u64(out, u64::from(entry.len));
        if entry.rollup_len > 0 {
            put_i64(out, minus(entry.rollup_offset, self.rollups_end));
            put_u64(out, u64::from(entry.rollup_len));
        }
        if non_finite {
            counts.iter().for_each(|count| put_u64(out, *count));
        }
        if let Some(summary) = summary {
            values.iter().for_each(|value| put_value(*value, out));
            out.extend_from_slice(&summary.sum.to_bits().to_le_bytes());
        }
    }

    /// Reads an item from the front of `bytes`; `None` if they cannot be one.
    pub(crate) fn take(&mut self, bytes: &mut Bytes<'_>) -> Option<(SeriesId, ChunkEntry)> {
        let what = bytes.u8()?;
        if what & !(3 | SLOT | GROUPED) != 0 {
            return None;
        }
        let key = |bytes: &mut Bytes<'_>| Some(KeyId(u32::try_from(bytes.varint()?).ok()?));
        let series = match what & 3 {
            NEXT_KEY => {
                let before = self.series?;
                SeriesId { run: before.run, key: KeyId(before.key.0.checked_add(1)?) }
            }
            OTHER_KEY => SeriesId { run: self.series?.run, key: key(bytes)? },
            OTHER_RUN => SeriesId { run: RunId(bytes.array()?), key: key(bytes)? },
            _ => self.series?,
        };
        let entry = match what & SLOT {
            0 => self.take_body::<false>(self.base(self.series == Some(series)), what & GROUPED != 0, bytes)?,
            _ => self.next_slot()?,
        };
        self.follows(series, &entry);
        Some((series, entry))
    }

    /// Reads the rest of an item. `ALONE` is the form of version 1: entries do not build on one another, so positions
    /// and offsets have no sign, and there are no groups and no short entries.
    fn take_body<const ALONE: bool>(&self, base: Base, grouped: bool, bytes: &mut Bytes<'_>) -> Option<ChunkEntry> {
        let all = bytes.u8()?;
        if ALONE && all & !(UNIQUE | TIME_SORTED | F32 | NON_FINITE | SINGLE | ROLLUPS | TIMES) != 0 {
            return None;
        }
        let flags = all & (UNIQUE | TIME_SORTED);
        let slot = if grouped { Some(bytes.u8()?) } else { None };
        let value = |bytes: &mut Bytes<'_>| {
            if all & F32 != 0 { bytes.u32().map(|bits| widen(f32::from_bits(bits))) } else { bytes.f64() }
        };
        let plus = |base: u64, bytes: &mut Bytes<'_>| match ALONE {
            true => bytes.varint(),
            false => Some(base.wrapping_add(bytes.varint_signed()? as u64)),
        };
        if all & SINGLE != 0 {
            if grouped || all & (NON_FINITE | ROLLUPS | TIMES | SHORT) != 0 {
                return None;
            }
            let step = base.step.wrapping_add(bytes.varint_signed()?);
            let time = base.time.wrapping_add(bytes.varint_signed()?);
            let position = plus(base.position, bytes)?;
            let context = u32::try_from(bytes.varint()?).ok()?;
            return Some(ChunkEntry::single(step, time, position, context, value(bytes)?, flags));
        }
        let count = bytes.varint().filter(|count| (1..=CHUNK_POINTS_MAX).contains(count))?;
        let step_first = base.step.wrapping_add(bytes.varint_signed()?);
        let step_last = step_first.wrapping_add(bytes.varint()? as i64);
        let time_first_ms = base.time.wrapping_add(bytes.varint_signed()?);
        let time_last_ms = time_first_ms.wrapping_add(bytes.varint_signed()?);
        let (mut time_min_ms, mut time_max_ms) = (time_first_ms, time_last_ms);
        if all & TIMES != 0 {
            time_min_ms = time_first_ms.wrapping_sub(bytes.varint()? as i64);
            time_max_ms = time_first_ms.wrapping_add(bytes.varint()? as i64);
        }
        let lsn_min = plus(base.position, bytes)?;
        let lsn_max = lsn_min.checked_add(bytes.varint()?)?;
        let offset = plus(self.chunk_end, bytes)?;
        let len = u32::try_from(bytes.varint()?).ok().filter(|len| *len > 0)?;
        let (mut rollup_offset, mut rollup_len) = (0, 0);
        if all & ROLLUPS != 0 {
            rollup_offset = plus(self.rollups_end, bytes)?;
            rollup_len = u32::try_from(bytes.varint()?).ok().filter(|len| ALONE || *len > 0)?;
        }
        let (mut nan, mut pos_inf, mut neg_inf) = (0u64, 0u64, 0u64);
        if all & NON_FINITE != 0 {
            (nan, pos_inf, neg_inf) = (bytes.varint()?, bytes.varint()?, bytes.varint()?);
            nan.checked_add(pos_inf)?.checked_add(neg_inf).filter(|sum| *sum <= count)?;
        }
        let mut summary = None;
        if all & SHORT == 0 {
            let (min, max, first, last) = (value(bytes)?, value(bytes)?, value(bytes)?, value(bytes)?);
            summary = Some(Summary { count, min, max, sum: bytes.f64()?, first, last, nan, pos_inf, neg_inf });
        }
        if step_last < step_first || time_max_ms < time_min_ms {
            return None;
        }
        Some(ChunkEntry {
            flags,
            count,
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
            slot,
            rollup_offset,
            rollup_len,
            context: 0,
            summary,
        })
    }
}
