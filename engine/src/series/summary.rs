//! What is kept of any number of points: extremes, sum, first and last value.

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
