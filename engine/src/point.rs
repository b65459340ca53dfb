//! A metric point, its orders, and the statistics that are kept of a series beside its points.
//!
//! - Every point that was logged is a point, however many are equal. (A late point may be one that exists already; that
//!   is decided before it is stored.)
//! - *History order* is (time, step, value). This is the order that users read.
//! - *Latest order* is (step, time, value); the latest point is the greatest, the first one the least.
//! - *Value order*: by number, NaN counting as 0; where that ties, -0.0 before 0.0 before NaN.
//! - Points that tie even then are in the order of logging. Of first and latest points that tie (NaNs with different
//!   bits), the one that was logged first counts.
//! - Values are kept bit for bit.

use std::cmp::Ordering;

use rkyv::{Archive, Deserialize, Serialize};

use crate::id::{ContextId, Lsn};
use crate::time::TimestampMs;

/// One point of a series.
#[derive(Debug, Clone, Copy, Default)]
pub struct Point {
    /// Step; any i64.
    pub step: i64,
    /// Unix ms, not negative.
    pub time: TimestampMs,
    /// Value, bit for bit.
    pub value: f64,
}

/// Compares two values by the module's value order.
pub fn value_order(a: f64, b: f64) -> Ordering {
    let number = |v: f64| if v.is_nan() { 0.0 } else { v };
    number(a).total_cmp(&number(b)).then_with(|| a.is_nan().cmp(&b.is_nan()))
}

impl Point {
    /// History order: (time, step, value).
    pub fn history_order(&self, other: &Self) -> Ordering {
        self.time
            .cmp(&other.time)
            .then_with(|| self.step.cmp(&other.step))
            .then_with(|| value_order(self.value, other.value))
    }

    /// Latest order: (step, time, value).
    pub fn latest_order(&self, other: &Self) -> Ordering {
        self.step
            .cmp(&other.step)
            .then_with(|| self.time.cmp(&other.time))
            .then_with(|| value_order(self.value, other.value))
    }

    /// Whether the two tie in all orders.
    pub fn repeats(&self, other: &Self) -> bool {
        self.latest_order(other) == Ordering::Equal
    }
}

/// What two points of a series must have in common to count as the same point, if one may be a repetition of the other.
/// The value is compared bit for bit. A point that names no model and no data set also matches one that was logged with
/// some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PointId {
    step: i64,
    time_ms: i64,
    bits: u64,
    context: u32,
}

impl PointId {
    /// The id of a point with a context.
    pub fn of(point: &Point, context: ContextId) -> Self {
        Self { step: point.step, time_ms: point.time.0, bits: point.value.to_bits(), context: context.0 }
    }

    /// The same without a context.
    fn plain(self) -> Self {
        Self { context: 0, ..self }
    }
}

/// Points of one series by columns of equal length. `lsns` are the positions at which they were logged.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// Steps.
    pub steps: Vec<i64>,
    /// Unix ms.
    pub times: Vec<i64>,
    /// Values.
    pub values: Vec<f64>,
    /// Positions.
    pub lsns: Vec<u64>,
    /// Contexts (model id, data set); empty means "none" for all.
    pub contexts: Vec<u32>,
}

impl Columns {
    /// Number of points.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Appends a point.
    pub fn push(&mut self, point: Point, lsn: Lsn, context: ContextId) {
        if context.0 != 0 && self.contexts.is_empty() {
            self.contexts.resize(self.steps.len(), 0);
        }
        self.steps.push(point.step);
        self.times.push(point.time.0);
        self.values.push(point.value);
        self.lsns.push(lsn.0);
        if context.0 != 0 || !self.contexts.is_empty() {
            self.contexts.push(context.0);
        }
    }

    /// The point at an index. Panics if it is out of range.
    pub fn point(&self, index: usize) -> Point {
        Point { step: self.steps[index], time: TimestampMs(self.times[index]), value: self.values[index] }
    }

    /// The id of the point at an index. Panics if it is out of range.
    pub fn id(&self, index: usize) -> PointId {
        PointId::of(&self.point(index), self.context(index))
    }

    /// All ids that match the point at an index: also the one without its context.
    pub fn ids(&self, index: usize) -> impl Iterator<Item = PointId> + use<> {
        let id = self.id(index);
        std::iter::once(id).chain((id.context != 0).then(|| id.plain()))
    }

    /// Removes all points.
    pub fn clear(&mut self) {
        self.steps.clear();
        self.times.clear();
        self.values.clear();
        self.lsns.clear();
        self.contexts.clear();
    }

    /// The points at these indexes, in their order. Panics if one is out of range.
    #[must_use]
    pub fn gather(&self, indexes: &[usize]) -> Self {
        let contexts = if self.contexts.is_empty() { &[][..] } else { indexes };
        Self {
            steps: indexes.iter().map(|index| self.steps[*index]).collect(),
            times: indexes.iter().map(|index| self.times[*index]).collect(),
            values: indexes.iter().map(|index| self.values[*index]).collect(),
            lsns: indexes.iter().map(|index| self.lsns[*index]).collect(),
            contexts: contexts.iter().map(|index| self.contexts[*index]).collect(),
        }
    }

    /// Appends the points of another, with the columns that it has.
    pub fn append(&mut self, other: &Self) {
        self.append_range(other, 0, other.len(), true);
    }

    /// Appends the points `start..end` of another, with the columns that it has; contexts only if `with_contexts`.
    pub fn append_range(&mut self, other: &Self, start: usize, end: usize, contexts: bool) {
        let before = self.steps.len();
        self.steps.extend_from_slice(other.steps.get(start..end).unwrap_or_default());
        self.times.extend_from_slice(other.times.get(start..end).unwrap_or_default());
        self.values.extend_from_slice(other.values.get(start..end).unwrap_or_default());
        self.lsns.extend_from_slice(other.lsns.get(start..end).unwrap_or_default());
        if contexts && !(self.contexts.is_empty() && other.contexts.is_empty()) {
            self.contexts.resize(before, 0);
            self.contexts.extend_from_slice(other.contexts.get(start..end).unwrap_or_default());
            self.contexts.resize(self.steps.len(), 0);
        }
    }

    /// Keeps the points at these rising indexes, in all columns that are present.
    pub fn keep(&mut self, indexes: &[usize]) {
        fn column<T: Copy>(column: &mut Vec<T>, indexes: &[usize]) {
            if !column.is_empty() {
                *column = indexes.iter().filter_map(|index| column.get(*index).copied()).collect();
            }
        }
        column(&mut self.steps, indexes);
        column(&mut self.times, indexes);
        column(&mut self.values, indexes);
        column(&mut self.lsns, indexes);
        column(&mut self.contexts, indexes);
    }

    /// Keeps the points `start..end`, in all columns that are present.
    pub fn cut(&mut self, start: usize, end: usize) {
        fn column<T>(column: &mut Vec<T>, start: usize, end: usize) {
            column.truncate(end);
            column.drain(..start.min(column.len()));
        }
        column(&mut self.steps, start, end);
        column(&mut self.times, start, end);
        column(&mut self.values, start, end);
        column(&mut self.lsns, start, end);
        column(&mut self.contexts, start, end);
    }

    /// The context at an index.
    pub fn context(&self, index: usize) -> ContextId {
        ContextId(self.contexts.get(index).copied().unwrap_or(0))
    }
}

/// Statistics of a series, kept beside its points; exact, whatever order the points came in.
#[derive(Debug, Clone, Copy, PartialEq, Archive, Serialize, Deserialize)]
pub struct Stats {
    /// Points.
    pub count_raw: u64,
    /// Whether some point's step was not above all earlier ones: two may share a step.
    pub maybe_repeats: bool,
    /// Whether a point was logged before one that precedes it in (time, step).
    pub unordered: bool,
    /// Least value, NaN skipped, infinities included; NaN if all were NaN.
    pub min: f64,
    /// Greatest value, likewise.
    pub max: f64,
    /// First point: least in latest order.
    pub first_step: i64,
    /// Its time.
    pub first_time_ms: i64,
    /// Its value.
    pub first_value: f64,
    /// Latest point: greatest in latest order.
    pub last_step: i64,
    /// Its time.
    pub last_time_ms: i64,
    /// Its value.
    pub last_value: f64,
    /// Greatest time of any point.
    pub time_max_ms: i64,
}

impl Stats {
    /// Statistics of one point.
    pub fn of(point: Point) -> Self {
        Self {
            count_raw: 1,
            maybe_repeats: false,
            unordered: false,
            min: point.value,
            max: point.value,
            first_step: point.step,
            first_time_ms: point.time.0,
            first_value: point.value,
            last_step: point.step,
            last_time_ms: point.time.0,
            last_value: point.value,
            time_max_ms: point.time.0,
        }
    }

    /// First point in latest order.
    pub fn first(&self) -> Point {
        Point { step: self.first_step, time: TimestampMs(self.first_time_ms), value: self.first_value }
    }

    /// Latest point.
    pub fn last(&self) -> Point {
        Point { step: self.last_step, time: TimestampMs(self.last_time_ms), value: self.last_value }
    }

    /// Adds a point that was logged after all of these.
    #[inline]
    pub fn push(&mut self, point: Point) {
        self.count_raw += 1;
        // `min` and `max` of f64 skip NaN, as needed here.
        self.min = self.min.min(point.value);
        self.max = self.max.max(point.value);
        if point.step > self.last_step {
            self.unordered |= point.time.0 < self.time_max_ms;
            self.set_last(point);
        } else {
            self.push_late(point);
        }
        self.time_max_ms = self.time_max_ms.max(point.time.0);
    }

    #[cold]
    fn push_late(&mut self, point: Point) {
        self.maybe_repeats = true;
        let last = self.last();
        // In history order it must come after the last one, and after every time so far.
        self.unordered |= point.time.0 < self.time_max_ms || point.history_order(&last) != Ordering::Greater;
        if point.latest_order(&last) == Ordering::Greater {
            self.set_last(point);
        }
        if point.latest_order(&self.first()) == Ordering::Less {
            self.first_step = point.step;
            self.first_time_ms = point.time.0;
            self.first_value = point.value;
        }
    }

    fn set_last(&mut self, point: Point) {
        self.last_step = point.step;
        self.last_time_ms = point.time.0;
        self.last_value = point.value;
    }

    /// Adds the points of `later`, all logged after these.
    pub fn merge(&mut self, later: &Self) {
        self.maybe_repeats |= later.maybe_repeats || later.first_step <= self.last_step;
        self.unordered |= later.unordered
            || later.first_time_ms < self.time_max_ms
            || later.first().history_order(&self.last()) != Ordering::Greater;
        self.count_raw += later.count_raw;
        self.min = self.min.min(later.min);
        self.max = self.max.max(later.max);
        if later.first().latest_order(&self.first()) == Ordering::Less {
            self.first_step = later.first_step;
            self.first_time_ms = later.first_time_ms;
            self.first_value = later.first_value;
        }
        if later.last().latest_order(&self.last()) == Ordering::Greater {
            self.set_last(later.last());
        }
        self.time_max_ms = self.time_max_ms.max(later.time_max_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_order_is_total_and_nan_counts_as_zero() {
        let sorted = [f64::NEG_INFINITY, -1.0, -0.0, 0.0, f64::NAN, f64::MIN_POSITIVE, 3.0, f64::INFINITY];
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate() {
                assert_eq!(value_order(*a, *b), i.cmp(&j), "{a} {b}");
            }
        }
        assert_eq!(value_order(f64::NAN, -f64::NAN), Ordering::Equal);
    }
}
