//! Rollups: summaries of a group of points, so that a chart need not decode them.
//!
//! Two levels: one [`Rollup`] per 256 points of a chunk, and the chunk's own [`Summary`] in its directory entry. Min
//! and max skip NaN and include infinities (NaN if all are NaN); the sum is over finite values; first and last are by
//! latest order, bit for bit. Do not use them to read in an order other than by step, or only the points before some
//! position.
//!
//! ```text
//! rollup block = crc u32 | flags u8 | if 8: scale u8 | steps | min[n] | max[n] | first[n] | last[n] | sum[n] f64 | counts
//!   flags   1: min, max, first and last are f32; 2: any value is not finite; 4: steps are regular; 8: min, max, first
//!           and last are i32 to be divided by 10^scale; neither 1 nor 8: they are f64
//!   steps   regular: first svarint, stride svarint; else per rollup: its first step minus the last step of the one
//!           before svarint, its last step minus its first varint
//!   counts  if flag 2, per rollup: NaN varint, +Inf varint, -Inf varint
//!   n       ceil(points / 256); crc over file id, the block's offset in the file, and the bytes behind the crc
//! ```
//! 24 B per 256 points (0.094 B a point) for values that fit f32 or are decimals, else 40 B.

use std::ops::Range;

use super::codec::{narrow, widen};
use crate::summary::{ROLLUP_POINTS, Rollup, Summary};
pub(crate) use crate::summary::{roll_up, sum_up};
use crate::varint::{Bytes, put_i64, put_u64};

const FLAG_F32: u8 = 1;
const FLAG_NON_FINITE: u8 = 2;
const FLAG_REGULAR: u8 = 4;
type Field = fn(&Rollup) -> f64;
const FIELDS: [Field; 4] = [|r| r.min, |r| r.max, |r| r.first, |r| r.last];

const FLAG_DECIMAL: u8 = 8;
/// Powers of ten for the scales that a block may have; all are exact.
const SCALES: [f64; 10] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// The integer that gives this value bit for bit when divided by `scale`; `None` if there is none.
fn decimal(value: f64, scale: f64) -> Option<i32> {
    let number = (value * scale).round() as i32;
    (from_decimal(number, scale).to_bits() == value.to_bits()).then_some(number)
}

fn from_decimal(number: i32, scale: f64) -> f64 {
    f64::from(number) / scale
}

/// How the fields of a block are stored.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    F32,
    F64,
    /// i32, divided by this number.
    Decimal(f64),
}

impl Form {
    fn width(self) -> usize {
        if self == Self::F64 { 8 } else { 4 }
    }
}

/// Appends the block without its crc. `stride`: the chunk's steps are `step_first + i * stride`.
pub(crate) fn encode(rollups: &[Rollup], stride: Option<i64>, out: &mut Vec<u8>) {
    let all = |fits: &dyn Fn(f64) -> bool| rollups.iter().all(|rollup| FIELDS.iter().all(|field| fits(field(rollup))));
    let narrow_fits = all(&|value| narrow(value).is_some());
    let decimal_scale = || SCALES.iter().position(|scale| all(&|value| decimal(value, *scale).is_some()));
    let scale = if narrow_fits { None } else { decimal_scale() };
    let non_finite = rollups.iter().any(|rollup| rollup.nan | rollup.pos_inf | rollup.neg_inf != 0);
    out.push(
        if narrow_fits { FLAG_F32 } else { 0 }
            | if non_finite { FLAG_NON_FINITE } else { 0 }
            | if stride.is_some() { FLAG_REGULAR } else { 0 }
            | if scale.is_some() { FLAG_DECIMAL } else { 0 },
    );
    out.extend(scale.map(|scale| scale as u8));
    if let Some(stride) = stride {
        put_i64(out, rollups.first().map_or(0, |rollup| rollup.step_first));
        put_i64(out, stride);
    } else {
        let mut before = 0i64;
        for rollup in rollups {
            put_i64(out, rollup.step_first.wrapping_sub(before));
            put_u64(out, rollup.step_last.wrapping_sub(rollup.step_first) as u64);
            before = rollup.step_last;
        }
    }
    for field in FIELDS {
        for rollup in rollups {
            let value = field(rollup);
            let number = scale.and_then(|scale| decimal(value, *SCALES.get(scale)?));
            match (number, narrow(value).filter(|_| narrow_fits)) {
                (Some(number), _) => out.extend_from_slice(&number.to_le_bytes()),
                (None, Some(value)) => out.extend_from_slice(&value.to_bits().to_le_bytes()),
                (None, None) => out.extend_from_slice(&value.to_bits().to_le_bytes()),
            }
        }
    }
    for rollup in rollups {
        out.extend_from_slice(&rollup.sum.to_bits().to_le_bytes());
    }
    if non_finite {
        for rollup in rollups {
            put_u64(out, u64::from(rollup.nan));
            put_u64(out, u64::from(rollup.pos_inf));
            put_u64(out, u64::from(rollup.neg_inf));
        }
    }
}

/// The rollups of one chunk, kept as encoded in the file: 24 B each, and merged without decoding.
#[derive(Debug)]
pub struct RollupBlock {
    points: usize,
    form: Form,
    /// First step and stride, if the steps are regular.
    regular: (i64, i64),
    /// First and last step of each rollup, unless the steps are regular.
    steps: Box<[(i64, i64)]>,
    /// NaN, +Inf and -Inf count of each rollup; empty if all values are finite.
    counts: Box<[[u16; 3]]>,
    /// Offset of the fields in the block.
    fields: usize,
    block: Box<[u8]>,
}

impl RollupBlock {
    /// Parses a block without its crc. `points` is the chunk's number of points, not 0. `None` if the bytes cannot be
    /// one.
    pub(crate) fn of(block: &[u8], points: usize) -> Option<Self> {
        let mut bytes = Bytes::new(block);
        let flags = bytes.u8()?;
        let count = points.div_ceil(ROLLUP_POINTS);
        // Sums alone take 8 bytes each, which bounds the allocation.
        let known = FLAG_F32 | FLAG_NON_FINITE | FLAG_REGULAR | FLAG_DECIMAL;
        if flags & !known != 0 || count == 0 || block.len() < count * 8 {
            return None;
        }
        let form = match flags & (FLAG_F32 | FLAG_DECIMAL) {
            0 => Form::F64,
            FLAG_F32 => Form::F32,
            FLAG_DECIMAL => Form::Decimal(*SCALES.get(usize::from(bytes.u8()?))?),
            _ => return None,
        };
        let mut regular = (0, 0);
        let mut steps = Vec::new();
        if flags & FLAG_REGULAR != 0 {
            regular = (bytes.varint_signed()?, bytes.varint_signed()?);
        } else {
            let mut before = 0i64;
            for _ in 0..count {
                let first = before.wrapping_add(bytes.varint_signed()?);
                before = first.wrapping_add(bytes.varint()? as i64);
                steps.push((first, before));
            }
        }
        let fields = block.len() - bytes.rest().len();
        bytes.take(count * (FIELDS.len() * form.width() + 8))?;
        let mut counts = Vec::new();
        if flags & FLAG_NON_FINITE != 0 {
            for index in 0..count {
                let mut part = || u16::try_from(bytes.varint()?).ok();
                let parts = [part()?, part()?, part()?];
                let sum: usize = parts.iter().map(|part| usize::from(*part)).sum();
                if sum > points_of(points, index) {
                    return None;
                }
                counts.push(parts);
            }
        }
        let (steps, counts) = (steps.into(), counts.into());
        bytes.is_empty().then_some(Self { points, form, regular, steps, counts, fields, block: block.into() })
    }

    /// A block with one rollup, for all of a short chunk.
    pub(crate) fn single(rollup: &Rollup) -> Option<Self> {
        let mut block = Vec::new();
        encode(std::slice::from_ref(rollup), None, &mut block);
        Self::of(&block, usize::from(rollup.count))
    }

    /// Number of rollups.
    pub fn len(&self) -> usize {
        self.points.div_ceil(ROLLUP_POINTS)
    }

    /// Always false: a chunk has points.
    #[cfg(any(test, feature = "testing"))]
    pub fn is_empty(&self) -> bool {
        self.points == 0
    }

    /// Bytes in memory.
    pub(crate) fn len_bytes(&self) -> usize {
        size_of::<Self>() + self.block.len() + size_of_val(&*self.steps) + size_of_val(&*self.counts)
    }

    /// Step of the first point of a rollup.
    #[inline]
    pub fn step_first(&self, index: usize) -> i64 {
        match self.steps.get(index) {
            Some((first, _)) => *first,
            None => self.step(index * ROLLUP_POINTS),
        }
    }

    /// Step of the last point of a rollup.
    #[inline]
    pub fn step_last(&self, index: usize) -> i64 {
        match self.steps.get(index) {
            Some((_, last)) => *last,
            None => self.step(self.points.min((index + 1) * ROLLUP_POINTS).saturating_sub(1)),
        }
    }

    fn step(&self, point: usize) -> i64 {
        self.regular.0.wrapping_add(self.regular.1.wrapping_mul(point as i64))
    }

    /// The bytes of a field (0 min, 1 max, 2 first, 3 last, 4 sum) of these rollups.
    fn field(&self, field: usize, range: Range<usize>) -> &[u8] {
        let width = self.form.width();
        let start = self.fields + field * self.len() * width;
        let width = if field == FIELDS.len() { 8 } else { width };
        self.block.get(start + range.start * width..start + range.end * width).unwrap_or_default()
    }

    fn value(&self, field: usize, index: usize) -> f64 {
        let bytes = self.field(field, index..index + 1);
        match (bytes.first_chunk::<8>(), bytes.first_chunk::<4>(), self.form) {
            (Some(bytes), ..) => f64::from_le_bytes(*bytes),
            (None, Some(bytes), Form::Decimal(scale)) => from_decimal(i32::from_le_bytes(*bytes), scale),
            (None, Some(bytes), _) => widen(f32::from_le_bytes(*bytes)),
            (None, None, _) => f64::NAN,
        }
    }

    /// One rollup. Panics if there are not that many.
    pub fn get(&self, index: usize) -> Rollup {
        assert!(index < self.len(), "rollup {index} of {}", self.len());
        let [nan, pos_inf, neg_inf] = self.counts.get(index).copied().unwrap_or_default();
        Rollup {
            step_first: self.step_first(index),
            step_last: self.step_last(index),
            min: self.value(0, index),
            max: self.value(1, index),
            first: self.value(2, index),
            last: self.value(3, index),
            sum: self.value(4, index),
            count: points_of(self.points, index) as u16,
            nan,
            pos_inf,
            neg_inf,
        }
    }

    /// All rollups, in order.
    pub fn iter(&self) -> impl Iterator<Item = Rollup> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }

    /// The summary of these rollups; the range must not be empty.
    pub(crate) fn sum_up(&self, range: Range<usize>) -> Summary {
        let (Some(last), true) = (range.end.checked_sub(1), range.end <= self.len()) else { return Summary::default() };
        if !self.counts.is_empty() {
            return range.fold(Summary::default(), |mut all, index| {
                all.merge(&self.get(index).summary());
                all
            });
        }
        // All values are finite here, so no field is NaN.
        let (mins, maxs) = (self.field(0, range.clone()), self.field(1, range.clone()));
        let (min, max) = match self.form {
            Form::F32 => {
                let max = -least_of(maxs, |bytes| -f32::from_le_bytes(bytes));
                (f64::from(least_of(mins, f32::from_le_bytes)), f64::from(max))
            }
            Form::F64 => (least_of(mins, f64::from_le_bytes), -least_of(maxs, |bytes| -f64::from_le_bytes(bytes))),
            Form::Decimal(scale) => {
                // Inverting the bits of an i32 reverses its order.
                let max = !least_of(maxs, |bytes| !i32::from_le_bytes(bytes));
                (from_decimal(least_of(mins, i32::from_le_bytes), scale), from_decimal(max, scale))
            }
        };
        let (sums, _) = self.field(4, range.clone()).as_chunks::<8>();
        Summary {
            count: (self.points.min(range.end * ROLLUP_POINTS) - range.start * ROLLUP_POINTS) as u64,
            min,
            max,
            sum: sums.iter().map(|sum| f64::from_le_bytes(*sum)).sum(),
            first: self.value(2, range.start),
            last: self.value(3, last),
            nan: 0,
            pos_inf: 0,
            neg_inf: 0,
        }
    }
}

fn points_of(points: usize, index: usize) -> usize {
    ROLLUP_POINTS.min(points.saturating_sub(index * ROLLUP_POINTS))
}

/// The least of these numbers; at least one, and none is NaN.
#[inline]
fn least_of<const N: usize, T: PartialOrd + Copy + Default>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> T {
    let (numbers, _) = bytes.as_chunks::<N>();
    let Some(first) = numbers.first() else { return T::default() };
    numbers.iter().fold(number(*first), |least, bytes| {
        let number = number(*bytes);
        if number < least { number } else { least }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rollup_is_one_cache_line() {
        assert_eq!(size_of::<Rollup>(), 64);
    }

    #[test]
    fn values_that_are_not_finite_are_counted_apart() {
        let summary = Summary::of(&[f64::NAN, 1.0, f64::INFINITY, f64::NEG_INFINITY, 3.0]);
        assert_eq!((summary.nan, summary.pos_inf, summary.neg_inf, summary.sum), (1, 1, 1, 4.0));
        assert_eq!((summary.min, summary.max, summary.mean()), (f64::NEG_INFINITY, f64::INFINITY, Some(2.0)));
        let huge = Summary::of(&[f64::MAX, f64::MAX, -f64::MAX, -f64::MAX]);
        assert_eq!((huge.count, huge.nan, huge.pos_inf), (4, 0, 0));
        assert!(Summary::of(&[f64::NAN]).min.is_nan() && Summary::of(&[f64::NAN]).mean().is_none());
    }

    fn bits(rollups: &[Rollup]) -> Vec<[u64; 11]> {
        let of = |r: &Rollup| {
            let f = f64::to_bits;
            let small = [r.count, r.nan, r.pos_inf, r.neg_inf].map(u64::from);
            [
                r.step_first as u64,
                r.step_last as u64,
                f(r.min),
                f(r.max),
                f(r.sum),
                f(r.first),
                f(r.last),
                small[0],
                small[1],
                small[2],
                small[3],
            ]
        };
        rollups.iter().map(of).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn blocks_round_trip(mut steps in prop::collection::vec(any::<i64>(), 1..900), seed: u64, special in 0..4) {
            steps.sort();
            let values: Vec<f64> = (0..steps.len() as u64).map(|i| {
                let random = seed.wrapping_add(i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                match special { 0 => f64::from_bits(random), 1 => (random >> 40) as f64, 2 => (random >> 50) as f64 / 1000.0, _ => f64::from_bits(random | 0x7ff0 << 48) }
            }).collect();
            let rollups = roll_up(&steps, &values);
            let mut block = Vec::new();
            encode(&rollups, None, &mut block);
            prop_assert_eq!(bits(&RollupBlock::of(&block, steps.len()).unwrap().iter().collect::<Vec<_>>()), bits(&rollups));
            let regular: Vec<i64> = (0..steps.len() as i64).map(|i| seed as i64 / 4 + i * 3).collect();
            let rollups = roll_up(&regular, &values);
            block.clear();
            encode(&rollups, Some(3), &mut block);
            prop_assert_eq!(bits(&RollupBlock::of(&block, steps.len()).unwrap().iter().collect::<Vec<_>>()), bits(&rollups));
        }

        #[test]
        fn arbitrary_blocks_never_panic(block: Vec<u8>, points in 1usize..600) {
            if let Some(block) = RollupBlock::of(&block, points) {
                block.iter().for_each(drop);
                block.sum_up(0..block.len());
            }
        }
    }
}
