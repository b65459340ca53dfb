//! A group: short chunks of keys that were logged together, with one copy of the columns that they share.
//!
//! ```text
//! group = crc u32 | count varint | slots u8 | descriptor[4] | value descriptor[slots] | bodies in this order
//!         columns that all chunks share: steps, times, positions, contexts; then the values of each slot
//! descriptor, and the crc: as in [`super::chunk`]; all bodies lie here
//! ```
//! A directory entry names the group and the slot. A group ends at 1,024 values, so that reading one chunk stays cheap:
//! a column of steps, times and positions is then paid for by fifty series of 20 points.

use super::chunk::{Body, Parts, Slices, describe, seal_crc};
use super::codec::{ABSENT, IntKind, encode_ints};
use super::entry::SHORT_POINTS;
use super::value::{ValueHint, encode_values};
use crate::error::Result;
use crate::id::SeriesId;
use crate::point::Columns;
use crate::varint::{Bytes, put_u64};

/// Chunks of a group, at most.
const SLOTS_MAX: usize = 64;
/// Values of a group, at most.
const VALUES_MAX: usize = 1024;

/// Short chunks that wait for others with which they share columns.
#[derive(Debug, Default)]
pub(super) struct Pending {
    series: Vec<SeriesId>,
    /// Shared steps, times, positions and contexts; the values of one chunk after the other.
    columns: Columns,
}

impl Pending {
    /// Whether a chunk of a later series shares the columns, and there is room for it.
    pub(super) fn takes(&self, series: SeriesId, points: Slices<'_>) -> bool {
        let Columns { steps, times, values, lsns, contexts } = &self.columns;
        self.series.last().is_none_or(|last| last.run == series.run && *last < series)
            && self.series.len() < SLOTS_MAX
            && values.len() + points.values.len() <= VALUES_MAX
            && (self.series.is_empty()
                || steps == points.steps && times == points.times && lsns == points.lsns && contexts == points.contexts)
    }

    pub(super) fn push(&mut self, series: SeriesId, points: Slices<'_>) {
        if self.series.is_empty() {
            self.columns.steps.extend_from_slice(points.steps);
            self.columns.times.extend_from_slice(points.times);
            self.columns.lsns.extend_from_slice(points.lsns);
            self.columns.contexts.extend_from_slice(points.contexts);
        }
        self.columns.values.extend_from_slice(points.values);
        self.series.push(series);
    }

    pub(super) fn clear(&mut self) {
        self.series.clear();
        self.columns.clear();
    }

    /// The chunks that wait.
    pub(super) fn chunks(&self) -> impl ExactSizeIterator<Item = (SeriesId, Slices<'_>)> {
        let Columns { steps, times, values, lsns, contexts } = &self.columns;
        let count = steps.len();
        self.series.iter().enumerate().map(move |(slot, series)| {
            let values = values.get(slot * count..(slot + 1) * count).unwrap_or_default();
            (*series, Slices { steps, times, values, lsns, contexts })
        })
    }

    /// Appends the group to `out`, which holds the file's bytes from `out_offset` on. Returns offset and length in the
    /// file.
    pub(super) fn encode(&self, file_id: u64, out: &mut Vec<u8>, out_offset: u64) -> Result<(u64, u32)> {
        let (mut head, mut bodies) = (Vec::new(), Vec::new());
        put_u64(&mut head, self.columns.steps.len() as u64);
        head.push(self.series.len() as u8);
        let positions: Vec<i64> = self.columns.lsns.iter().map(|lsn| *lsn as i64).collect();
        let contexts: Vec<i64> = self.columns.contexts.iter().map(|context| i64::from(*context)).collect();
        for (numbers, kind) in [
            (&self.columns.steps, IntKind::Regular),
            (&self.columns.times, IntKind::Times),
            (&positions, IntKind::Regular),
            (&contexts, IntKind::Regular),
        ] {
            let start = bodies.len();
            let codec = encode_ints(numbers, kind, &mut bodies)?;
            describe(&mut head, codec, bodies.len() - start);
        }
        let mut floats = Vec::new();
        for (_, points) in self.chunks() {
            let start = bodies.len();
            let codec = encode_values(points.values, &mut ValueHint::default(), &mut floats, &mut bodies)?;
            describe(&mut head, codec, bodies.len() - start);
        }
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&head);
        out.extend_from_slice(&bodies);
        seal_crc(file_id, out_offset, out, at);
        Ok((out_offset + at as u64, (out.len() - at) as u32))
    }
}

/// One chunk of a group without its crc; `None` if the bytes cannot be one.
pub(super) fn parts(group: &[u8], slot: u8) -> Option<Parts<'_>> {
    let mut bytes = Bytes::new(group);
    let count = usize::try_from(bytes.varint()?).ok().filter(|count| (1..=SHORT_POINTS).contains(count))?;
    let slots = usize::from(bytes.u8()?);
    let wanted = Some(usize::from(slot)).filter(|slot| *slot < slots)?;
    let mut columns = [(ABSENT, Body::Here(&[][..])); 5];
    let mut lens = [0usize; 5];
    let mut before = 0usize;
    let mut behind = 0usize;
    let mut descriptor = || {
        let codec = bytes.u8()?;
        let len = if codec == ABSENT { 0 } else { usize::try_from(bytes.varint()?).ok()? };
        Some((codec, len))
    };
    // Columns of a chunk: steps, times, values, positions, contexts.
    for column in [0, 1, 3, 4] {
        let (codec, len) = descriptor()?;
        columns.get_mut(column)?.0 = codec;
        *lens.get_mut(column)? = len;
    }
    for at in 0..slots {
        let (codec, len) = descriptor()?;
        match at.cmp(&wanted) {
            std::cmp::Ordering::Less => before = before.checked_add(len)?,
            std::cmp::Ordering::Equal => (columns[2].0, lens[2]) = (codec, len),
            std::cmp::Ordering::Greater => behind = behind.checked_add(len)?,
        }
    }
    for column in [0, 1, 3, 4] {
        columns.get_mut(column)?.1 = Body::Here(bytes.take(*lens.get(column)?)?);
    }
    bytes.take(before)?;
    columns[2].1 = Body::Here(bytes.take(lens[2])?);
    bytes.take(behind)?;
    bytes.is_empty().then_some(Parts { count, columns })
}
