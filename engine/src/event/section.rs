//! Metric points inside a frame: packed byte by byte, and decoded as fast as plain columns.
//!
//! There are two layouts. A *series section* holds many points of one run and key. A *row section* holds many keys of a
//! run at one step and time, which is what a training loop logs.
//!
//! ```text
//! series = run [16], key u32, context v, count v, steps, times, values
//! row    = run [16], context v, step z, time z, count v, keys, values
//!
//! steps   flag STRIDE: first z, stride z           else count x i64
//! times   first z, then by TIME_BITS               0: all equal    1: (count - 1) x u16 deltas
//!                                                  2: (count - 1) x u32 deltas
//!                                                  3: no first, but count x i64
//! keys    flag KEYS_U16: count x u16               else count x u32
//! values  flag F32: count x f32                    else count x f64
//!
//! flags   bit 0 F32, bit 1 STRIDE, bits 2-3 TIME_BITS, bit 4 KEYS_U16; other bits are 0
//! v = LEB128, z = zigzag LEB128; all else little endian
//! ```
//!
//! Invariants: `F32` is set only if every value survives the conversion to f32 and back bit for bit, NaN payloads
//! included; `count` is at least 1; decoding gives exactly what was encoded, bit for bit.

use crate::id::{ContextId, KeyId, Lsn, RunId, SeriesId};
use crate::point::{Columns, Point};
use crate::time::TimestampMs;
use crate::varint::{Bytes, put_i64, put_u64};

const F32: u8 = 1;
const STRIDE: u8 = 2;
const TIME_SHIFT: u8 = 2;
const TIME_MASK: u8 = 0b1100;
const KEYS_U16: u8 = 16;

fn lossless_f32(value: f64) -> bool {
    f64::from(value as f32).to_bits() == value.to_bits()
}

fn put_values(out: &mut Vec<u8>, values: &[f64]) -> u8 {
    // One pass that the compiler can vectorise: no early exit.
    let narrow = values.iter().fold(true, |all, &value| all & lossless_f32(value));
    if narrow {
        out.reserve(values.len() * 4);
        out.extend(values.iter().flat_map(|&value| (value as f32).to_le_bytes()));
        F32
    } else {
        out.reserve(values.len() * 8);
        out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        0
    }
}

fn put_steps(out: &mut Vec<u8>, steps: &[i64]) -> u8 {
    let first = steps[0];
    let stride = steps.get(1).map_or(0, |second| second.wrapping_sub(first));
    let regular = steps.windows(2).fold(true, |all, pair| all & (pair[1].wrapping_sub(pair[0]) == stride));
    if regular {
        put_i64(out, first);
        put_i64(out, stride);
        STRIDE
    } else {
        out.reserve(steps.len() * 8);
        out.extend(steps.iter().flat_map(|step| step.to_le_bytes()));
        0
    }
}

fn put_times(out: &mut Vec<u8>, times: &[i64]) -> u8 {
    // As u64, a negative or overflowing delta is large: one comparison decides.
    let widest = times.windows(2).fold(0u64, |all, pair| all | pair[1].wrapping_sub(pair[0]) as u64);
    let kind = match widest {
        0 => 0,
        1..=0xffff => 1,
        0x1_0000..=0xffff_ffff => 2,
        _ => 3,
    };
    if kind < 3 {
        put_i64(out, times[0]);
    }
    match kind {
        0 => {}
        1 => {
            out.reserve(times.len() * 2);
            out.extend(times.windows(2).flat_map(|pair| (pair[1].wrapping_sub(pair[0]) as u16).to_le_bytes()));
        }
        2 => {
            out.reserve(times.len() * 4);
            out.extend(times.windows(2).flat_map(|pair| (pair[1].wrapping_sub(pair[0]) as u32).to_le_bytes()));
        }
        _ => {
            out.reserve(times.len() * 8);
            out.extend(times.iter().flat_map(|time| time.to_le_bytes()));
        }
    }
    kind << TIME_SHIFT
}

/// Whether the steps of a section with these flags are an arithmetic sequence (in wrapping arithmetic).
pub fn has_stride(flags: u8) -> bool {
    flags & STRIDE != 0
}

/// Whether the times of a section with these flags never fall, if none of them is negative.
pub fn has_rising_times(flags: u8) -> bool {
    (flags & TIME_MASK) >> TIME_SHIFT < 3
}

/// Appends the body of a series section and returns its flags. The three columns have one length, at least 1.
pub fn put_series(
    out: &mut Vec<u8>,
    series: SeriesId,
    context: ContextId,
    steps: &[i64],
    times: &[i64],
    values: &[f64],
) -> u8 {
    out.extend_from_slice(&series.run.0);
    out.extend_from_slice(&series.key.0.to_le_bytes());
    put_u64(out, u64::from(context.0));
    put_u64(out, steps.len() as u64);
    put_steps(out, steps) | put_times(out, times) | put_values(out, values)
}

/// Appends the body of a row section and returns its flags. `row` is not empty.
pub fn put_row(
    out: &mut Vec<u8>,
    run: RunId,
    context: ContextId,
    step: i64,
    time: TimestampMs,
    row: &[(KeyId, f64)],
) -> u8 {
    // Head and columns at their longest: what follows does not grow it.
    out.reserve(16 + 4 * 10 + 8 + row.len() * (4 + 8));
    out.extend_from_slice(&run.0);
    put_u64(out, u64::from(context.0));
    put_i64(out, step);
    put_i64(out, time.0);
    put_u64(out, row.len() as u64);
    let (mut keys_or, mut narrow) = (0u32, true);
    for &(key, value) in row {
        keys_or |= key.0;
        narrow &= lossless_f32(value);
    }
    let mut flags = 0;
    if keys_or <= 0xffff {
        out.extend(row.iter().flat_map(|(key, _)| (key.0 as u16).to_le_bytes()));
        flags |= KEYS_U16;
    } else {
        out.extend(row.iter().flat_map(|(key, _)| key.0.to_le_bytes()));
    }
    if narrow {
        out.extend(row.iter().flat_map(|&(_, value)| (value as f32).to_le_bytes()));
        flags |= F32;
    } else {
        out.extend(row.iter().flat_map(|(_, value)| value.to_le_bytes()));
    }
    flags
}

/// Where the values begin in the body of a row section with these flags, and whether they are f32: they are its end.
pub fn row_values(flags: u8, body_bytes: usize, count: usize) -> (u64, bool) {
    let narrow = flags & F32 != 0;
    (body_bytes.saturating_sub(count * if narrow { 4 } else { 8 }) as u64, narrow)
}

/// A series section whose head was read and whose columns are known to be there.
#[derive(Debug, Clone, Copy)]
pub struct SeriesSection<'a> {
    /// The series.
    pub series: SeriesId,
    /// Model and data set of the points.
    pub context: ContextId,
    /// Number of points, at least 1.
    pub count: usize,
    steps: Steps<'a>,
    times: Times<'a>,
    values: Values<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Steps<'a> {
    Stride { first: i64, stride: i64 },
    Plain(&'a [u8]),
}

#[derive(Debug, Clone, Copy)]
enum Times<'a> {
    Equal(i64),
    U16(i64, &'a [u8]),
    U32(i64, &'a [u8]),
    Plain(&'a [u8]),
}

#[derive(Debug, Clone, Copy)]
enum Values<'a> {
    F32(&'a [u8]),
    F64(&'a [u8]),
}

fn chunks<const N: usize>(bytes: &[u8]) -> impl ExactSizeIterator<Item = [u8; N]> + Clone + '_ {
    bytes.as_chunks::<N>().0.iter().copied()
}

impl<'a> Values<'a> {
    fn read(bytes: &mut Bytes<'a>, count: usize, narrow: bool) -> Option<Self> {
        Some(if narrow {
            Self::F32(bytes.take(count.checked_mul(4)?)?)
        } else {
            Self::F64(bytes.take(count.checked_mul(8)?)?)
        })
    }

    fn extend(&self, out: &mut Vec<f64>) {
        match self {
            Self::F32(bytes) => out.extend(chunks(bytes).map(|b| f64::from(f32::from_le_bytes(b)))),
            Self::F64(bytes) => out.extend(chunks(bytes).map(f64::from_le_bytes)),
        }
    }
}

impl<'a> SeriesSection<'a> {
    /// Reads a body. `None`: these bytes are not a series section.
    pub fn read(flags: u8, body: &'a [u8]) -> Option<Self> {
        if flags & !(F32 | STRIDE | TIME_MASK) != 0 {
            return None;
        }
        let mut bytes = Bytes::new(body);
        let series = SeriesId { run: RunId(bytes.array()?), key: KeyId(bytes.u32()?) };
        let context = ContextId(u32::try_from(bytes.varint()?).ok()?);
        let count = usize::try_from(bytes.varint()?).ok().filter(|&count| count > 0)?;
        let steps = if flags & STRIDE != 0 {
            // A stride needs no bytes a point, so the values' bytes are what bounds the count.
            Steps::Stride { first: bytes.varint_signed()?, stride: bytes.varint_signed()? }
        } else {
            Steps::Plain(bytes.take(count.checked_mul(8)?)?)
        };
        let times = match (flags & TIME_MASK) >> TIME_SHIFT {
            0 => Times::Equal(bytes.varint_signed()?),
            1 => Times::U16(bytes.varint_signed()?, bytes.take((count - 1).checked_mul(2)?)?),
            2 => Times::U32(bytes.varint_signed()?, bytes.take((count - 1).checked_mul(4)?)?),
            _ => Times::Plain(bytes.take(count.checked_mul(8)?)?),
        };
        let values = Values::read(&mut bytes, count, flags & F32 != 0)?;
        bytes.is_empty().then_some(Self { series, context, count, steps, times, values })
    }

    /// Appends all points, as they were logged, to `out`.
    pub fn extend(&self, lsn: Lsn, out: &mut Columns) {
        match self.steps {
            Steps::Stride { first, stride } => {
                out.steps.extend((0..self.count as i64).map(|i| first.wrapping_add(stride.wrapping_mul(i))));
            }
            Steps::Plain(bytes) => out.steps.extend(chunks(bytes).map(i64::from_le_bytes)),
        }
        match self.times {
            Times::Equal(first) => out.times.extend(std::iter::repeat_n(first, self.count)),
            Times::U16(first, deltas) => {
                extend_deltas(&mut out.times, first, chunks(deltas).map(u16::from_le_bytes).map(i64::from))
            }
            Times::U32(first, deltas) => {
                extend_deltas(&mut out.times, first, chunks(deltas).map(u32::from_le_bytes).map(i64::from))
            }
            Times::Plain(bytes) => out.times.extend(chunks(bytes).map(i64::from_le_bytes)),
        }
        let before = out.values.len();
        self.values.extend(&mut out.values);
        out.lsns.extend(std::iter::repeat_n(lsn.0, self.count));
        if self.context.0 != 0 && out.contexts.is_empty() {
            out.contexts.resize(before, 0);
        }
        if self.context.0 != 0 || !out.contexts.is_empty() {
            out.contexts.extend(std::iter::repeat_n(self.context.0, self.count));
        }
    }
}

/// What a section in order says of its points without being unpacked.
#[derive(Debug, Clone, Copy)]
pub struct Extremes {
    /// First point.
    pub first: Point,
    /// Last point.
    pub last: Point,
    /// Least value, NaN skipped.
    pub min: f64,
    /// Greatest value, NaN skipped.
    pub max: f64,
}

impl SeriesSection<'_> {
    /// First and last point and the extremes, if the columns tell that steps rise and times never fall; else unpack.
    ///
    /// # Complexity
    /// A tenth of unpacking: a replay of thousands of frames waits for it.
    pub fn extremes(&self) -> Option<Extremes> {
        let Steps::Stride { first: first_step, stride } = self.steps else { return None };
        let last_step = i128::from(first_step) + i128::from(stride) * (self.count as i128 - 1);
        let last_step = i64::try_from(last_step).ok().filter(|_| stride > 0 || self.count == 1)?;
        let (first_time, span) = match self.times {
            Times::Equal(first) => (first, 0),
            Times::U16(first, deltas) => (first, sum_u16(deltas)),
            Times::U32(first, deltas) => (first, chunks(deltas).map(|b| u64::from(u32::from_le_bytes(b))).sum::<u64>()),
            Times::Plain(_) => return None,
        };
        let last_time = i64::try_from(span).ok().and_then(|span| first_time.checked_add(span))?;
        let (first_value, last_value, min, max) = match self.values {
            Values::F32(bytes) => {
                let (first, last) = (*bytes.first_chunk()?, *bytes.last_chunk()?);
                let (min, max) = lanes(bytes, f32::from_le_bytes, f32::NAN, f32::is_nan);
                let wide = |value: [u8; 4]| f64::from(f32::from_le_bytes(value));
                (wide(first), wide(last), f64::from(min), f64::from(max))
            }
            Values::F64(bytes) => {
                let (first, last) = (*bytes.first_chunk()?, *bytes.last_chunk()?);
                let (min, max) = lanes(bytes, f64::from_le_bytes, f64::NAN, f64::is_nan);
                (f64::from_le_bytes(first), f64::from_le_bytes(last), min, max)
            }
        };
        Some(Extremes {
            first: Point { step: first_step, time: TimestampMs(first_time), value: first_value },
            last: Point { step: last_step, time: TimestampMs(last_time), value: last_value },
            min,
            max,
        })
    }
}

/// The sum of many u16: in u32 by pieces that cannot overflow, which takes half as many vector operations as u64.
fn sum_u16(bytes: &[u8]) -> u64 {
    let piece = |piece: &[[u8; 2]]| u64::from(piece.iter().map(|b| u32::from(u16::from_le_bytes(*b))).sum::<u32>());
    bytes.as_chunks::<2>().0.chunks(1 << 16).map(piece).sum()
}

/// Least and greatest, NaN skipped; in lanes, and by selects that the compiler vectorises.
fn lanes<const N: usize, T: Copy + PartialOrd>(
    bytes: &[u8],
    read: impl Fn([u8; N]) -> T,
    none: T,
    is_nan: impl Fn(T) -> bool,
) -> (T, T) {
    const LANES: usize = 8;
    // A lane without a value is NaN, to which nothing compares: the first value replaces it.
    let least = |low: T, value: T| if low <= value || is_nan(value) { low } else { value };
    let greatest = |high: T, value: T| if high >= value || is_nan(value) { high } else { value };
    let (mut low, mut high) = ([none; LANES], [none; LANES]);
    let (blocks, rest) = bytes.as_chunks::<N>().0.as_chunks::<LANES>();
    for block in blocks {
        for ((bytes, low), high) in block.iter().zip(&mut low).zip(&mut high) {
            let value = read(*bytes);
            *low = least(*low, value);
            *high = greatest(*high, value);
        }
    }
    let rest = || rest.iter().map(|bytes| read(*bytes));
    let min = low.into_iter().chain(rest()).fold(none, least);
    let max = high.into_iter().chain(rest()).fold(none, greatest);
    (min, max)
}

fn extend_deltas(out: &mut Vec<i64>, first: i64, deltas: impl Iterator<Item = i64>) {
    out.push(first);
    let mut time = first;
    out.extend(deltas.map(|delta| {
        time = time.wrapping_add(delta);
        time
    }));
}

/// A row section whose head was read and whose columns are known to be there.
#[derive(Debug, Clone, Copy)]
pub struct RowSection<'a> {
    /// The run.
    pub run: RunId,
    /// Model and data set of the points.
    pub context: ContextId,
    /// Step of all points.
    pub step: i64,
    /// Time of all points.
    pub time: TimestampMs,
    keys: &'a [u8],
    narrow_keys: bool,
    values: Values<'a>,
}

impl<'a> RowSection<'a> {
    /// Reads a body. `None`: these bytes are not a row section.
    pub fn read(flags: u8, body: &'a [u8]) -> Option<Self> {
        if flags & !(F32 | KEYS_U16) != 0 {
            return None;
        }
        let mut bytes = Bytes::new(body);
        let run = RunId(bytes.array()?);
        let context = ContextId(u32::try_from(bytes.varint()?).ok()?);
        let step = bytes.varint_signed()?;
        let time = TimestampMs(bytes.varint_signed()?);
        let count = usize::try_from(bytes.varint()?).ok().filter(|&count| count > 0)?;
        let narrow_keys = flags & KEYS_U16 != 0;
        let keys = bytes.take(count.checked_mul(if narrow_keys { 2 } else { 4 })?)?;
        let values = Values::read(&mut bytes, count, flags & F32 != 0)?;
        bytes.is_empty().then_some(Self { run, context, step, time, keys, narrow_keys, values })
    }

    /// How many keys.
    pub fn count(&self) -> usize {
        self.keys.len() / if self.narrow_keys { 2 } else { 4 }
    }

    /// Calls `each` with every key and value, in the order of the row.
    pub fn for_each(&self, mut each: impl FnMut(KeyId, Point)) {
        let mut with = |index: usize, value: f64| {
            let key = if self.narrow_keys {
                self.keys.as_chunks::<2>().0.get(index).map(|&b| u32::from(u16::from_le_bytes(b)))
            } else {
                self.keys.as_chunks::<4>().0.get(index).map(|&b| u32::from_le_bytes(b))
            };
            if let Some(key) = key {
                each(KeyId(key), Point { step: self.step, time: self.time, value });
            }
        };
        match self.values {
            Values::F32(bytes) => {
                chunks(bytes).enumerate().for_each(|(i, b)| with(i, f64::from(f32::from_le_bytes(b))));
            }
            Values::F64(bytes) => chunks(bytes).enumerate().for_each(|(i, b)| with(i, f64::from_le_bytes(b))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn series_round_trip(steps: &[i64], times: &[i64], values: &[f64], context: u32) -> Columns {
        let mut body = Vec::new();
        let series = SeriesId { run: RunId([7; 16]), key: KeyId(70_000) };
        let flags = put_series(&mut body, series, ContextId(context), steps, times, values);
        let section = SeriesSection::read(flags, &body).expect("just encoded");
        assert_eq!((section.series, section.count), (series, steps.len()));
        let mut out = Columns::default();
        section.extend(Lsn(3), &mut out);
        for cut in 0..body.len() {
            assert!(SeriesSection::read(flags, &body[..cut]).is_none(), "cut to {cut}");
        }
        out
    }

    fn bits(values: &[f64]) -> Vec<u64> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    proptest! {
        #[test]
        fn any_points_come_back_bit_for_bit(
            points in prop::collection::vec((any::<i64>(), any::<i64>(), any::<u64>()), 1..40),
            regular in any::<bool>(), narrow in any::<bool>(), context in 0u32..3,
        ) {
            let steps: Vec<i64> = points.iter().enumerate()
                .map(|(i, p)| if regular { (points[0].0).wrapping_add(points[0].1.wrapping_mul(i as i64)) } else { p.0 }).collect();
            let times: Vec<i64> = points.iter().scan(points[0].1, |t, p| {
                *t = t.wrapping_add(if regular { p.0 & 0xffff } else { p.1 }); Some(*t)
            }).collect();
            let values: Vec<f64> = points.iter()
                .map(|p| if narrow { f64::from(f32::from_bits(p.2 as u32)) } else { f64::from_bits(p.2) }).collect();
            let out = series_round_trip(&steps, &times, &values, context);
            prop_assert_eq!(out.steps, steps);
            prop_assert_eq!(out.times, times);
            prop_assert_eq!(bits(&out.values), bits(&values));
            prop_assert_eq!(out.contexts.len(), if context == 0 { 0 } else { points.len() });
        }

        #[test]
        fn rows_come_back(
            step: i64, time: i64, context: u32,
            row in prop::collection::vec((any::<u32>(), any::<u64>()), 1..20), small in any::<bool>(),
        ) {
            let row: Vec<(KeyId, f64)> = row.iter()
                .map(|&(k, v)| (KeyId(if small { k & 0xffff } else { k }), f64::from_bits(v))).collect();
            let mut body = Vec::new();
            let flags = put_row(&mut body, RunId([1; 16]), ContextId(context), step, TimestampMs(time), &row);
            let section = RowSection::read(flags, &body).expect("just encoded");
            prop_assert_eq!((section.step, section.time.0, section.context.0), (step, time, context));
            let mut back = Vec::new();
            section.for_each(|key, point| back.push((key, point.value.to_bits())));
            prop_assert_eq!(back, row.iter().map(|&(k, v)| (k, v.to_bits())).collect::<Vec<_>>());
            for cut in 0..body.len() {
                prop_assert!(RowSection::read(flags, &body[..cut]).is_none());
            }
        }

        #[test]
        fn arbitrary_bodies_never_panic(flags: u8, body: Vec<u8>) {
            if let Some(section) = SeriesSection::read(flags, &body) {
                let mut out = Columns::default();
                section.extend(Lsn(1), &mut out);
                prop_assert_eq!(out.len(), section.count);
            }
            if let Some(section) = RowSection::read(flags, &body) {
                section.for_each(|_, _| {});
            }
        }
    }

    #[test]
    fn a_training_loss_takes_six_and_a_half_bytes_a_point() {
        let steps: Vec<i64> = (0..100).collect();
        let times: Vec<i64> = (0..100).map(|i| 1_700_000_000_000 + i * 100 + i % 7).collect();
        let values: Vec<f64> = (0..100).map(|i| f64::from(1.0f32 / (i as f32 + 1.0))).collect();
        let mut body = Vec::new();
        put_series(&mut body, SeriesId::default(), ContextId(0), &steps, &times, &values);
        assert!(body.len() <= 640, "{}", body.len());
    }
}
