//! Rollups: what is kept of a group of points so that a chart need not decode them.
//!
//! Two levels: one [`Rollup`] per 256 points of a chunk, and the chunk's own [`Summary`] in its directory entry. Min
//! and max skip NaN and include infinities (NaN if all are NaN); the sum is over finite values; first and last are by
//! latest order, bit for bit. A reader who needs an order other than by step, or the points that came before some
//! position, may not use them.
//!
//! ```text
//! rollup block = crc u32 | flags u8 | steps | min[n] | max[n] | first[n] | last[n] | sum[n] f64 | counts
//!   flags   1: min, max, first and last are f32 (else f64); 2: any value is not finite; 4: steps are regular
//!   steps   regular: first svarint, stride svarint; else per rollup: its first step minus the last step of the one
//!           before svarint, its last step minus its first varint
//!   counts  if flag 2, per rollup: NaN varint, +Inf varint, -Inf varint
//!   n       ceil(points / 256); crc over file id, the block's offset in the file, and the bytes behind the crc
//! ```
//! 24 B per 256 points (0.094 B a point) for values that fit f32, else 40 B.

use super::codec::{narrow, widen};
use crate::varint::{Bytes, put_i64, put_u64};

/// Points of one rollup of the first level.
pub const ROLLUP_POINTS: usize = 256;

/// What is kept of any number of points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Points.
    pub count: u64,
    /// Least value, NaN skipped; NaN if there is no other.
    pub min: f64,
    /// Greatest value, likewise.
    pub max: f64,
    /// Sum of the finite values.
    pub sum: f64,
    /// Value of the first point in latest order.
    pub first: f64,
    /// Value of the last point in latest order.
    pub last: f64,
    /// Values that are NaN.
    pub nan: u64,
    /// Values that are +Inf.
    pub pos_inf: u64,
    /// Values that are -Inf.
    pub neg_inf: u64,
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            count: 0,
            min: f64::NAN,
            max: f64::NAN,
            sum: 0.0,
            first: f64::NAN,
            last: f64::NAN,
            nan: 0,
            pos_inf: 0,
            neg_inf: 0,
        }
    }
}

/// The lesser of two, NaN skipped; the first if they are equal.
#[inline]
pub(crate) fn least(a: f64, b: f64) -> f64 {
    if b < a || a.is_nan() { b } else { a }
}

/// The greater of two, NaN skipped; the first if they are equal.
#[inline]
pub(crate) fn greatest(a: f64, b: f64) -> f64 {
    if b > a || a.is_nan() { b } else { a }
}

impl Summary {
    /// Of values in latest order.
    pub fn of(values: &[f64]) -> Self {
        let mut summary = Self::default();
        let (Some(first), Some(last)) = (values.first(), values.last()) else { return summary };
        summary.first = *first;
        summary.last = *last;
        summary.count = values.len() as u64;
        // A sum that stays finite saw finite values only; else count what is not.
        let (mut min, mut max, mut sum) = (f64::INFINITY, f64::NEG_INFINITY, 0.0);
        for value in values {
            min = if *value < min { *value } else { min };
            max = if *value > max { *value } else { max };
            sum += *value;
        }
        if f64::is_finite(sum) {
            (summary.min, summary.max, summary.sum) = (min, max, sum);
            return summary;
        }
        for value in values {
            summary.min = least(summary.min, *value);
            summary.max = greatest(summary.max, *value);
            summary.add_to_sum(*value);
        }
        summary
    }

    fn add_to_sum(&mut self, value: f64) {
        if value.is_finite() {
            self.sum += value;
        } else if value.is_nan() {
            self.nan += 1;
        } else if value > 0.0 {
            self.pos_inf += 1;
        } else {
            self.neg_inf += 1;
        }
    }

    /// Adds a point that is later in latest order than all of these.
    pub fn push(&mut self, value: f64) {
        if self.count == 0 {
            self.first = value;
        }
        self.last = value;
        self.count += 1;
        self.min = least(self.min, value);
        self.max = greatest(self.max, value);
        self.add_to_sum(value);
    }

    /// Adds points that are all later in latest order than these.
    #[inline]
    pub fn merge(&mut self, later: &Self) {
        if self.count == 0 {
            self.first = later.first;
        }
        if later.count > 0 {
            self.last = later.last;
        }
        self.count += later.count;
        self.min = least(self.min, later.min);
        self.max = greatest(self.max, later.max);
        self.sum += later.sum;
        self.nan += later.nan;
        self.pos_inf += later.pos_inf;
        self.neg_inf += later.neg_inf;
    }

    /// Values that are finite.
    pub fn finite(&self) -> u64 {
        self.count - self.nan - self.pos_inf - self.neg_inf
    }

    /// Mean of the finite values, if there are any.
    pub fn mean(&self) -> Option<f64> {
        (self.finite() > 0).then(|| self.sum / self.finite() as f64)
    }
}

/// The first level: at most 256 neighbours of one chunk. One cache line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rollup {
    /// Step of the first point.
    pub step_first: i64,
    /// Step of the last point.
    pub step_last: i64,
    /// See [`Summary::min`].
    pub min: f64,
    /// See [`Summary::max`].
    pub max: f64,
    /// See [`Summary::sum`].
    pub sum: f64,
    /// See [`Summary::first`].
    pub first: f64,
    /// See [`Summary::last`].
    pub last: f64,
    /// Points, at most 256.
    pub count: u16,
    /// Values that are NaN.
    pub nan: u16,
    /// Values that are +Inf.
    pub pos_inf: u16,
    /// Values that are -Inf.
    pub neg_inf: u16,
}

impl Rollup {
    fn of(steps: &[i64], values: &[f64]) -> Self {
        let summary = Summary::of(values);
        Self {
            step_first: steps.first().copied().unwrap_or_default(),
            step_last: steps.last().copied().unwrap_or_default(),
            min: summary.min,
            max: summary.max,
            sum: summary.sum,
            first: summary.first,
            last: summary.last,
            // At most ROLLUP_POINTS each.
            count: summary.count as u16,
            nan: summary.nan as u16,
            pos_inf: summary.pos_inf as u16,
            neg_inf: summary.neg_inf as u16,
        }
    }

    /// As a summary.
    #[inline]
    pub fn summary(&self) -> Summary {
        Summary {
            count: u64::from(self.count),
            min: self.min,
            max: self.max,
            sum: self.sum,
            first: self.first,
            last: self.last,
            nan: u64::from(self.nan),
            pos_inf: u64::from(self.pos_inf),
            neg_inf: u64::from(self.neg_inf),
        }
    }
}

/// Rollups of a chunk's points, which lie in latest order.
pub(crate) fn roll_up(steps: &[i64], values: &[f64]) -> Vec<Rollup> {
    steps.chunks(ROLLUP_POINTS).zip(values.chunks(ROLLUP_POINTS)).map(|(s, v)| Rollup::of(s, v)).collect()
}

/// The summary of all of them.
pub(crate) fn sum_up(rollups: &[Rollup]) -> Summary {
    rollups.iter().fold(Summary::default(), |mut all, rollup| {
        all.merge(&rollup.summary());
        all
    })
}

const FLAG_F32: u8 = 1;
const FLAG_NON_FINITE: u8 = 2;
const FLAG_REGULAR: u8 = 4;
type Field = fn(&Rollup) -> f64;
const FIELDS: [Field; 4] = [|r| r.min, |r| r.max, |r| r.first, |r| r.last];

/// Appends the block without its crc. `stride`: the chunk's steps are `step_first + i * stride`.
pub(crate) fn encode(rollups: &[Rollup], stride: Option<i64>, out: &mut Vec<u8>) {
    let narrow_fits = rollups.iter().all(|rollup| FIELDS.iter().all(|field| narrow(field(rollup)).is_some()));
    let non_finite = rollups.iter().any(|rollup| rollup.nan | rollup.pos_inf | rollup.neg_inf != 0);
    out.push(
        if narrow_fits { FLAG_F32 } else { 0 }
            | if non_finite { FLAG_NON_FINITE } else { 0 }
            | if stride.is_some() { FLAG_REGULAR } else { 0 },
    );
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
            match narrow(field(rollup)).filter(|_| narrow_fits) {
                Some(value) => out.extend_from_slice(&value.to_bits().to_le_bytes()),
                None => out.extend_from_slice(&field(rollup).to_bits().to_le_bytes()),
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

/// Reads a block without its crc; `points` of the chunk.
pub(crate) fn decode(block: &[u8], points: usize) -> Option<Vec<Rollup>> {
    let mut bytes = Bytes::new(block);
    let flags = bytes.u8()?;
    let count = points.div_ceil(ROLLUP_POINTS);
    // Sums alone take 8 bytes each: bounds the allocation.
    if flags & !(FLAG_F32 | FLAG_NON_FINITE | FLAG_REGULAR) != 0 || block.len() < count * 8 {
        return None;
    }
    let points_of = |index: usize| ROLLUP_POINTS.min(points - index * ROLLUP_POINTS);
    let empty = Rollup::of(&[], &[]);
    let mut rollups: Vec<Rollup> = (0..count).map(|index| Rollup { count: points_of(index) as u16, ..empty }).collect();
    if flags & FLAG_REGULAR != 0 {
        let first = bytes.varint_signed()?;
        let stride = bytes.varint_signed()?;
        let step = |index: usize| first.wrapping_add(stride.wrapping_mul(index as i64));
        for (index, rollup) in rollups.iter_mut().enumerate() {
            rollup.step_first = step(index * ROLLUP_POINTS);
            rollup.step_last = step(index * ROLLUP_POINTS + points_of(index) - 1);
        }
    } else {
        let mut before = 0i64;
        for rollup in &mut rollups {
            rollup.step_first = before.wrapping_add(bytes.varint_signed()?);
            rollup.step_last = rollup.step_first.wrapping_add(bytes.varint()? as i64);
            before = rollup.step_last;
        }
    }
    let mut field = |set: fn(&mut Rollup, f64)| {
        for rollup in &mut rollups {
            let value = if flags & FLAG_F32 != 0 { widen(f32::from_bits(bytes.u32()?)) } else { bytes.f64()? };
            set(rollup, value);
        }
        Some(())
    };
    field(|rollup, value| rollup.min = value)?;
    field(|rollup, value| rollup.max = value)?;
    field(|rollup, value| rollup.first = value)?;
    field(|rollup, value| rollup.last = value)?;
    for rollup in &mut rollups {
        rollup.sum = bytes.f64()?;
    }
    if flags & FLAG_NON_FINITE != 0 {
        for rollup in &mut rollups {
            let mut part = || u16::try_from(bytes.varint()?).ok();
            (rollup.nan, rollup.pos_inf, rollup.neg_inf) = (part()?, part()?, part()?);
            let parts = u32::from(rollup.nan) + u32::from(rollup.pos_inf) + u32::from(rollup.neg_inf);
            if parts > u32::from(rollup.count) {
                return None;
            }
        }
    }
    bytes.is_empty().then_some(rollups)
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
        fn blocks_round_trip(mut steps in prop::collection::vec(any::<i64>(), 1..900), seed: u64, special in 0..3) {
            steps.sort();
            let values: Vec<f64> = (0..steps.len() as u64).map(|i| {
                let random = seed.wrapping_add(i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                match special { 0 => f64::from_bits(random), 1 => (random >> 40) as f64, _ => f64::from_bits(random | 0x7ff0 << 48) }
            }).collect();
            let rollups = roll_up(&steps, &values);
            let mut block = Vec::new();
            encode(&rollups, None, &mut block);
            prop_assert_eq!(bits(&decode(&block, steps.len()).unwrap()), bits(&rollups));
            let regular: Vec<i64> = (0..steps.len() as i64).map(|i| seed as i64 / 4 + i * 3).collect();
            let rollups = roll_up(&regular, &values);
            block.clear();
            encode(&rollups, Some(3), &mut block);
            prop_assert_eq!(bits(&decode(&block, steps.len()).unwrap()), bits(&rollups));
        }

        #[test]
        fn arbitrary_blocks_never_panic(block: Vec<u8>, points in 1usize..600) {
            let _ = decode(&block, points);
        }
    }
}
