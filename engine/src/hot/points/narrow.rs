//! Narrow rows above the sealed position: steps of a run with few keys, as they were logged.
//!
//! A loop logs rows of the same keys again and again. Giving their points to the series one by one would write step,
//! time and position once per key, and touch the statistics of each series. Instead a row is added to the last rows,
//! and some hundred rows become a block that their series share.
//!
//! ```text
//! heads   step time lsn | step time lsn | ...
//! values  v0 v1 .. vk   | v0 v1 .. vk   | ...       one column a series
//! ```
//!
//! Invariants: rows are in the order of Lsn; all have the same keys, no key twice, and the same context; a block is
//! never changed.

use super::head::HeadPoint;
use crate::id::{ContextId, KeyId, Lsn};
use crate::point::{Point, Stats};
use crate::summary::{ROLLUP_POINTS, Rollup, Summary};
use crate::time::TimestampMs;

/// Rows of a block, at most.
const BLOCK_ROWS: usize = if cfg!(test) { 5 } else { 256 };
/// Values of a block, at most: rows of many keys become blocks sooner.
const BLOCK_VALUES: usize = if cfg!(test) { 12 } else { 16 << 10 };
/// Fewer rows than this become points of the series, because a block costs each series an entry.
const SHARED_ROWS_MIN: usize = if cfg!(test) { 3 } else { 48 };
/// Initial room in values, unless one row needs more: most runs of a hyperparameter search have few rows.
const FIRST_VALUES: usize = 20;

/// Step, time and position of a row.
#[derive(Debug, Clone, Copy)]
struct Head {
    step: i64,
    time_ms: i64,
    lsn: u64,
}

/// Rows that all have the same keys.
#[derive(Debug, Default)]
pub(super) struct NarrowRows {
    pub(super) context: ContextId,
    heads: Vec<Head>,
    values: Vec<f64>,
    /// Number of keys of a row.
    width: usize,
}

impl NarrowRows {
    /// Empty, with room for as many rows as `block` has: the next block will likely be as long.
    pub(super) fn after(block: &Self, grown: &mut usize) -> Self {
        let rows = block.heads.len().next_power_of_two().min(block.rows_max());
        let room = Self {
            heads: Vec::with_capacity(rows),
            values: Vec::with_capacity(rows * block.width),
            width: block.width,
            ..Self::default()
        };
        *grown += room.bytes();
        room
    }

    /// Adds a row. All rows have the same number of keys.
    #[inline]
    pub(super) fn push(&mut self, row: &[(KeyId, f64)], step: i64, time: TimestampMs, lsn: Lsn, grown: &mut usize) {
        if self.heads.len() == self.heads.capacity() || self.width != row.len() {
            self.make_room(row.len(), grown);
        }
        self.heads.push(Head { step, time_ms: time.0, lsn: lsn.0 });
        self.values.extend(row.iter().map(|(_, value)| *value));
    }

    #[cold]
    fn make_room(&mut self, width: usize, grown: &mut usize) {
        let before = self.bytes();
        self.width = width;
        let first_rows = (FIRST_VALUES / width.max(1)).max(1);
        let rows = (self.heads.len() * 2).clamp(first_rows, self.rows_max().max(first_rows));
        self.heads.reserve_exact(rows.saturating_sub(self.heads.len()));
        self.values.reserve_exact((rows * width).saturating_sub(self.values.len()));
        *grown += self.bytes().saturating_sub(before);
    }

    fn rows_max(&self) -> usize {
        (BLOCK_VALUES / self.width.max(1)).clamp(1, BLOCK_ROWS)
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Whether the rows must become a block now.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.heads.len() >= BLOCK_ROWS || self.values.len() + self.width > BLOCK_VALUES
    }

    /// Whether there are enough rows to make a block when a reader asks for them.
    pub(super) fn is_worth_a_block(&self) -> bool {
        self.heads.len() >= SHARED_ROWS_MIN || self.is_full()
    }

    /// Removes the rows and keeps their room.
    pub(super) fn clear(&mut self) {
        self.heads.clear();
        self.values.clear();
    }

    pub(super) fn rows_count(&self) -> usize {
        self.heads.len()
    }

    pub(super) fn first_lsn(&self) -> Option<Lsn> {
        self.heads.first().map(|head| Lsn(head.lsn))
    }

    pub(super) fn last_lsn(&self) -> Lsn {
        self.heads.last().map_or(Lsn::ZERO, |head| Lsn(head.lsn))
    }

    /// The points of one series, in the order of positions.
    pub(super) fn points(&self, column: u32) -> impl Iterator<Item = HeadPoint> + '_ {
        let values = self.values.get(column as usize..).unwrap_or_default().iter().step_by(self.width.max(1));
        self.heads.iter().zip(values).map(|(head, value)| HeadPoint {
            step: head.step,
            time_ms: head.time_ms,
            value: *value,
            lsn: head.lsn,
        })
    }

    /// All points, row by row: column, point, position.
    pub(super) fn rows(&self) -> impl Iterator<Item = (usize, Point, Lsn)> + '_ {
        self.heads.iter().zip(self.values.chunks(self.width.max(1))).flat_map(|(head, values)| {
            let time = TimestampMs(head.time_ms);
            values
                .iter()
                .enumerate()
                .map(move |(column, value)| (column, Point { step: head.step, time, value: *value }, Lsn(head.lsn)))
        })
    }

    /// The statistics of each series in these rows alone.
    pub(super) fn stats(&self) -> Vec<Stats> {
        let mut rows = self.heads.iter().zip(self.values.chunks(self.width.max(1)));
        let Some((first, values)) = rows.next() else { return Vec::new() };
        let point = |head: &Head, value: f64| Point { step: head.step, time: TimestampMs(head.time_ms), value };
        let mut stats: Vec<Stats> = values.iter().map(|value| Stats::of(point(first, *value))).collect();
        let mut heads = self.heads.iter().zip(self.heads.iter().skip(1));
        let in_order = heads.all(|(a, b)| a.step < b.step && a.time_ms <= b.time_ms);
        let Some((last, last_values)) = self.heads.last().zip(self.values.chunks(self.width.max(1)).last()) else {
            return stats;
        };
        if in_order {
            for (_, values) in rows {
                for (stats, value) in stats.iter_mut().zip(values) {
                    // `min` and `max` skip NaN.
                    stats.min = stats.min.min(*value);
                    stats.max = stats.max.max(*value);
                }
            }
            for (stats, value) in stats.iter_mut().zip(last_values) {
                stats.count_raw = self.heads.len() as u64;
                stats.last_step = last.step;
                stats.last_time_ms = last.time_ms;
                stats.last_value = *value;
                stats.time_max_ms = last.time_ms;
            }
        } else {
            for (head, values) in rows {
                stats.iter_mut().zip(values).for_each(|(stats, value)| stats.push(point(head, *value)));
            }
        }
        stats
    }

    /// One rollup of each series' points in these rows; empty if steps do not rise.
    pub(super) fn rollups(&self) -> Vec<Rollup> {
        let (Some(first), Some(last)) = (self.heads.first(), self.heads.last()) else { return Vec::new() };
        if !self.heads.is_sorted_by(|a, b| a.step < b.step) || self.heads.len() > ROLLUP_POINTS {
            return Vec::new();
        }
        let mut column = Vec::with_capacity(self.heads.len());
        let rollup = |at: usize| {
            column.clear();
            column.extend(self.values.iter().skip(at).step_by(self.width.max(1)));
            Rollup::with((first.step, last.step), &Summary::of(&column))
        };
        (0..self.width).map(rollup).collect()
    }

    /// Estimated bytes of private memory.
    pub(super) fn bytes(&self) -> usize {
        self.heads.capacity() * size_of::<Head>() + self.values.capacity() * size_of::<f64>()
    }

    /// Each series' share of [`Self::bytes`].
    pub(super) fn column_bytes(&self) -> usize {
        self.bytes() / self.width.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stats_and_points_are_those_of_the_points_one_by_one(
            rows in prop::collection::vec((0i64..4, 0i64..4, [0usize..5, 0..5, 0..5]), 1..5), rising: bool,
        ) {
            let pool = [1.5, -2.0, f64::NAN, f64::INFINITY, -0.0];
            let (mut narrow, mut expected, mut grown) = (NarrowRows::default(), Vec::new(), 0);
            for (number, (step, time, values)) in rows.iter().enumerate() {
                let (mut step, mut time) = (*step, *time);
                if rising {
                    (step, time) = (number as i64, number as i64 / 3);
                }
                let row: Vec<_> = values.iter().map(|index| (KeyId(7), pool[*index])).collect();
                narrow.push(&row, step, TimestampMs(time), Lsn(number as u64 + 1), &mut grown);
                expected.push((step, time, number as u64 + 1, row));
            }
            prop_assert_eq!(grown, narrow.bytes());
            for (column, stats) in narrow.stats().into_iter().enumerate() {
                let of = |(step, time, _, row): &(i64, i64, u64, Vec<(KeyId, f64)>)| {
                    Point { step: *step, time: TimestampMs(*time), value: row[column].1 }
                };
                let mut by_point = Stats::of(of(&expected[0]));
                expected.iter().skip(1).for_each(|row| by_point.push(of(row)));
                prop_assert_eq!(format!("{stats:?}"), format!("{by_point:?}"));
                let found: Vec<_> = narrow.points(column as u32).map(|p| format!("{p:?}")).collect();
                let points = expected.iter().map(|row| HeadPoint {
                    step: row.0, time_ms: row.1, value: row.3[column].1, lsn: row.2,
                });
                prop_assert_eq!(found, points.map(|p| format!("{p:?}")).collect::<Vec<_>>());
            }
            prop_assert_eq!(narrow.rows().count(), rows.len() * 3);
        }
    }
}
