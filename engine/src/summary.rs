//! Rollups: what is kept of a group of points so that a chart need not read them.
//!
//! One [`Rollup`] stands for at most 256 neighbours in the order of steps, a [`Summary`] for any number of points. Min
//! and max skip NaN and include infinities (NaN if all are NaN); the sum is over finite values; first and last are by
//! latest order, bit for bit. Sealed chunks keep them in their files (`series`), points that are not sealed yet
//! in memory (`hot`).

/// Points of one rollup of the first level.
pub const ROLLUP_POINTS: usize = 256;

const LANES: usize = 8;

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
        // In lanes: one sum alone would wait for itself. A sum that stays finite saw finite values only.
        let (mut mins, mut maxs, mut sums) = ([f64::INFINITY; LANES], [f64::NEG_INFINITY; LANES], [0.0; LANES]);
        let (groups, rest) = values.as_chunks::<LANES>();
        for group in groups {
            for lane in 0..LANES {
                let value = group[lane];
                mins[lane] = if value < mins[lane] { value } else { mins[lane] };
                maxs[lane] = if value > maxs[lane] { value } else { maxs[lane] };
                sums[lane] += value;
            }
        }
        let mut min = mins.into_iter().fold(f64::INFINITY, |a, b| if b < a { b } else { a });
        let mut max = maxs.into_iter().fold(f64::NEG_INFINITY, |a, b| if b > a { b } else { a });
        let mut sum: f64 = sums.iter().sum();
        for value in rest {
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
        let ends = (steps.first().copied().unwrap_or_default(), steps.last().copied().unwrap_or_default());
        Self::with(ends, &Summary::of(values))
    }

    /// Of a summary of at most [`ROLLUP_POINTS`] points, and the steps of the first and the last of them.
    pub fn with((step_first, step_last): (i64, i64), summary: &Summary) -> Self {
        debug_assert!(summary.count <= ROLLUP_POINTS as u64);
        Self {
            step_first,
            step_last,
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

/// Rollups of points in latest order.
pub(crate) fn rollups(steps: &[i64], values: &[f64]) -> impl Iterator<Item = Rollup> {
    steps.chunks(ROLLUP_POINTS).zip(values.chunks(ROLLUP_POINTS)).map(|(steps, values)| Rollup::of(steps, values))
}

/// As [`rollups`], as a list.
pub(crate) fn roll_up(steps: &[i64], values: &[f64]) -> Vec<Rollup> {
    rollups(steps, values).collect()
}

/// The summary of all of them.
pub(crate) fn sum_up(rollups: &[Rollup]) -> Summary {
    rollups.iter().fold(Summary::default(), |mut all, rollup| {
        all.merge(&rollup.summary());
        all
    })
}
