//! The order of a chunk's points, and the separation of late points from the chunks of new ones.

use super::chunk::Slices;
use super::codec::pairs;
use super::entry::{TIME_SORTED, UNIQUE};
use crate::point::{Columns, value_order};

/// Whether the points are in latest order, with ties by position.
pub(crate) fn in_latest_order(columns: &Columns) -> bool {
    if columns.steps.is_sorted_by(|a, b| a < b) {
        return true;
    }
    (1..columns.len()).all(|next| {
        let order = columns.point(next - 1).latest_order(&columns.point(next));
        order.is_lt() || order.is_eq() && columns.lsns.get(next - 1) <= columns.lsns.get(next)
    })
}

/// Splits points into those that are in latest order as given, starting after `last_step`, and the others; as indexes.
pub(super) fn split_late(columns: &Columns, last_step: Option<i64>) -> (Vec<usize>, Vec<usize>) {
    let (mut new, mut late) = (Vec::with_capacity(columns.len()), Vec::new());
    let mut last: Option<usize> = None;
    for index in 0..columns.len() {
        let rises = match last {
            Some(last) => columns.point(last).latest_order(&columns.point(index)).is_le(),
            None => last_step.is_none_or(|last_step| columns.point(index).step >= last_step),
        };
        if rises {
            new.push(index);
            last = Some(index);
        } else {
            late.push(index);
        }
    }
    (new, late)
}

/// Whether a late point ties with a new one of the same position.
pub(super) fn tie_in_a_batch(columns: &Columns, new: &[usize], late: &Columns) -> bool {
    (0..late.len()).any(|index| {
        let point = late.point(index);
        let at = new.partition_point(|new| columns.point(*new).latest_order(&point).is_lt());
        new.get(at)
            .is_some_and(|new| columns.point(*new).repeats(&point) && columns.lsns.get(*new) == late.lsns.get(index))
    })
}

/// Maximum number of chunks of late points that one push makes.
const LATE_CHUNKS_MAX: usize = 16;

/// Where to cut late points, in latest order, so that their chunks overlap little: at gaps that contain a thousand new
/// points. Returns the ends of the parts, the last one included.
pub(super) fn late_cuts(late: &Columns, columns: &Columns, new: &[usize]) -> Vec<usize> {
    let step = |index: Option<&usize>| index.and_then(|index| columns.steps.get(*index)).copied().unwrap_or(0);
    let span = step(new.last()).wrapping_sub(step(new.first())) as u64;
    let mut gap_min = (span / new.len().max(1) as u64).max(1).saturating_mul(1024);
    loop {
        let is_cut = |(a, b): (&i64, &i64)| b.wrapping_sub(*a) as u64 > gap_min;
        let mut cuts: Vec<usize> =
            pairs(&late.steps).enumerate().filter(|(_, pair)| is_cut(*pair)).map(|(index, _)| index + 1).collect();
        if cuts.len() < LATE_CHUNKS_MAX {
            cuts.push(late.len());
            return cuts;
        }
        gap_min = gap_min.saturating_mul(2);
    }
}

/// Sorts points in latest order, ties by position; points that tie even then keep the given order.
pub(crate) fn sort_latest(columns: &Columns) -> Columns {
    let mut order: Vec<usize> = (0..columns.len()).collect();
    order.sort_by(|a, b| {
        columns.point(*a).latest_order(&columns.point(*b)).then_with(|| columns.lsns.get(*a).cmp(&columns.lsns.get(*b)))
    });
    columns.gather(&order)
}

pub(super) fn flags_of(points: Slices<'_>) -> u8 {
    let rising = points.steps.is_sorted_by(|a, b| a < b);
    let unique = rising
        || points.steps.windows(2).zip(points.times.windows(2)).zip(points.values.windows(2)).all(
            |((s, t), v)| match (s, t, v) {
                ([s0, s1], [t0, t1], [v0, v1]) => s0 != s1 || t0 != t1 || value_order(*v0, *v1).is_ne(),
                _ => true,
            },
        );
    let time_sorted = points.times.is_sorted();
    (if unique { UNIQUE } else { 0 }) | if time_sorted { TIME_SORTED } else { 0 }
}

pub(super) fn stride_of(steps: &[i64]) -> Option<i64> {
    let [first, second, ..] = steps else { return None };
    let stride = second.wrapping_sub(*first);
    let regular = pairs(steps).all(|(a, b)| b.wrapping_sub(*a) == stride);
    regular.then_some(stride)
}
