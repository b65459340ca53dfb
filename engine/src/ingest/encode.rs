//! Encodes metric points for a frame: rows in, one section per series out; outside any lock.
//!
//! An [`Encoder`] is reused, so that a batch allocates nothing. Points are grouped by a table from key number to group,
//! with one pass to scatter and one to pack. [`Planned`] holds everything to push to hot state after the append, with
//! the stats of each section, so that nothing is computed under the sequencer.

use rustc_hash::FxHashMap;

use super::look_up::NEVER_LATE;
use crate::error::{Error, Result};
use crate::event::batch::{SectionKind, put_section};
use crate::event::section::{self, Extremes, SeriesSection};
use crate::hot::points::COPY_POINTS_MAX;
use crate::id::{ContextId, KeyId, Lsn, RunId, SeriesId};
use crate::point::{Columns, Point, Stats};
use crate::summary::{Rollup, rollups};
use crate::time::TimestampMs;

/// A point and the number of its key.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeyedPoint {
    /// The key's number in this store.
    pub key: KeyId,
    /// The point.
    pub point: Point,
}

/// Keys in one batch, at most.
pub(crate) const KEYS_PER_BATCH_MAX: usize = 250_000;
/// Points in one batch, at most.
pub(crate) const POINTS_PER_BATCH_MAX: usize = 2_000_000;

/// Key numbers below this find their group in a table, others in a map.
const TABLE_KEYS_MAX: usize = 1 << 16;

#[derive(Debug, Default)]
struct Group {
    key: KeyId,
    steps: Vec<i64>,
    times: Vec<i64>,
    values: Vec<f64>,
}

/// Whether some points are late, so that they may be there already; see [`super::late`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Late {
    /// No point is late.
    No,
    /// Some are late; each point comes after the one before it, by step and then time.
    Rising,
    /// Some are late, in any order.
    Mixed,
}

/// One series of a batch, encoded as a section.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlannedSeries {
    pub(crate) key: KeyId,
    pub(crate) late: Late,
    /// Offset of the section's body in the frame, in bytes.
    pub(crate) offset: u64,
    pub(crate) len: u32,
    pub(crate) flags: u8,
    pub(crate) stats: Stats,
    /// Range of its points in `Planned::copies`, if the section is short.
    pub(crate) copies: Option<(u32, u32)>,
    /// Range of its rollups in `Planned::rollups`; empty if the section is short or its steps do not rise.
    pub(crate) rollups: (u32, u32),
}

/// Sections of one run, to be pushed to hot state once the frame has its position.
#[derive(Debug, Default)]
pub(crate) struct Planned {
    pub(crate) series: Vec<PlannedSeries>,
    pub(crate) copies: Vec<Point>,
    pub(crate) rollups: Vec<Rollup>,
    pub(crate) context: ContextId,
}

impl Planned {
    /// The rollups of a section, in order.
    pub(crate) fn rollups_of(&self, section: &PlannedSeries) -> &[Rollup] {
        let (start, end) = section.rollups;
        self.rollups.get(start as usize..end as usize).unwrap_or_default()
    }
}

impl Planned {
    pub(crate) fn clear(&mut self) {
        self.series.clear();
        self.copies.clear();
        self.rollups.clear();
    }
}

/// Reusable memory for grouping points.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    table: Vec<u32>,
    map: FxHashMap<KeyId, u32>,
    groups: Vec<Group>,
    used: usize,
}

/// Refuses a time that no metric may have.
pub(crate) fn check_time(index: usize, time: TimestampMs) -> Result<()> {
    if time.0 < 0 {
        return Err(Error::invalid(
            format!("metrics[{index}].timestamp_ms"),
            format!("{time} is negative; Unix milliseconds are expected"),
        ));
    }
    Ok(())
}

const NONE: u32 = u32::MAX;

impl Encoder {
    #[inline]
    fn group_of(&mut self, key: KeyId) -> usize {
        let at = key.0 as usize;
        if at < TABLE_KEYS_MAX {
            if at >= self.table.len() {
                self.table.resize((at + 1).next_power_of_two(), NONE);
            }
            let group = self.table[at];
            if group != NONE {
                return group as usize;
            }
        } else if let Some(&group) = self.map.get(&key) {
            return group as usize;
        }
        self.new_group(key)
    }

    #[cold]
    fn new_group(&mut self, key: KeyId) -> usize {
        let group = self.used;
        if group == self.groups.len() {
            self.groups.push(Group::default());
        }
        self.used += 1;
        self.groups[group].key = key;
        if (key.0 as usize) < TABLE_KEYS_MAX {
            self.table[key.0 as usize] = group as u32;
        } else {
            self.map.insert(key, group as u32);
        }
        group
    }

    fn reset(&mut self) {
        for group in &mut self.groups[..self.used] {
            // Groups of whole rows are never in the table.
            if let Some(slot) = self.table.get_mut(group.key.0 as usize) {
                *slot = NONE;
            }
            group.steps.clear();
            group.times.clear();
            group.values.clear();
        }
        self.map.clear();
        self.used = 0;
        // Give back the memory of one huge batch.
        if self.groups.len() > 4_096 {
            self.groups.truncate(64);
            self.map = FxHashMap::default();
        }
    }

    /// Appends the sections of these points to a frame, and plans their push to hot state.
    pub(crate) fn encode(
        &mut self,
        run: RunId,
        points: &[KeyedPoint],
        frame: &mut Vec<u8>,
        planned: &mut Planned,
    ) -> Result<()> {
        self.encode_at(run, points, NEVER_LATE, frame, planned)
    }

    /// As [`Encoder::encode`]; points with times before `late_before` are late.
    pub(crate) fn encode_at(
        &mut self,
        run: RunId,
        points: &[KeyedPoint],
        late_before: TimestampMs,
        frame: &mut Vec<u8>,
        planned: &mut Planned,
    ) -> Result<()> {
        let scattered = match rows_of(points) {
            Some(keys_count) => self.transpose(points, keys_count),
            None => self.scatter(points),
        };
        let result = scattered.map(|()| {
            for index in 0..self.used {
                pack(run, &self.groups[index], late_before, frame, planned);
            }
        });
        self.reset();
        result
    }

    /// Turns consecutive rows of the same keys into columns, without lookups: the batch of a training loop.
    fn transpose(&mut self, points: &[KeyedPoint], keys_count: usize) -> Result<()> {
        let rows_count = points.len() / keys_count;
        while self.groups.len() < keys_count {
            self.groups.push(Group::default());
        }
        let mut times_or = 0i64;
        for (index, group) in self.groups.iter_mut().take(keys_count).enumerate() {
            let column = || points.iter().skip(index).step_by(keys_count);
            group.key = points[index].key;
            group.steps.resize(rows_count, 0);
            group.times.resize(rows_count, 0);
            group.values.resize(rows_count, 0.0);
            let slots = group.steps.iter_mut().zip(&mut group.times).zip(&mut group.values);
            for (((step, time), value), KeyedPoint { point, .. }) in slots.zip(column()) {
                *step = point.step;
                *time = point.time.0;
                *value = point.value;
                times_or |= point.time.0;
            }
        }
        self.used = keys_count;
        self.check(points.len(), times_or)
    }

    fn scatter(&mut self, points: &[KeyedPoint]) -> Result<()> {
        // A negative time sets the sign bit of the whole: one check covers all times.
        let mut times_or = 0i64;
        for &KeyedPoint { key, point } in points {
            let group = self.group_of(key);
            let group = &mut self.groups[group];
            group.steps.push(point.step);
            group.times.push(point.time.0);
            group.values.push(point.value);
            times_or |= point.time.0;
        }
        self.check(points.len(), times_or)
    }

    fn check(&self, count: usize, times_or: i64) -> Result<()> {
        if times_or < 0 {
            let bad = self.groups[..self.used].iter().flat_map(|g| &g.times).find(|time| **time < 0);
            return Err(Error::invalid(
                "metric timestamp_ms",
                format!("{} is negative; Unix milliseconds are expected", bad.copied().unwrap_or(times_or)),
            ));
        }
        if count == 0 {
            return Err(Error::invalid("batch", "it is empty; append at least one event or point"));
        }
        if self.used > KEYS_PER_BATCH_MAX {
            return Err(Error::invalid(
                "batch",
                format!("{} keys; at most {KEYS_PER_BATCH_MAX} fit one batch: split it", self.used),
            ));
        }
        if count > POINTS_PER_BATCH_MAX {
            return Err(Error::invalid(
                "batch",
                format!("{count} points; at most {POINTS_PER_BATCH_MAX} fit one batch: split it"),
            ));
        }
        Ok(())
    }
}

/// The number of keys per row, if the points are whole rows of the same distinct keys in the same order.
fn rows_of(points: &[KeyedPoint]) -> Option<usize> {
    /// Longer rows are grouped by the table: comparing their keys in pairs would cost more.
    const KEYS_MAX: usize = 32;
    let first = points.first()?.key;
    let keys_count = points.iter().skip(1).take(KEYS_MAX).position(|point| point.key == first)? + 1;
    let row = &points[..keys_count];
    let different = row.iter().enumerate().all(|(i, a)| row[..i].iter().all(|b| a.key != b.key));
    if !different || !points.len().is_multiple_of(keys_count) {
        return None;
    }
    let repeats = points.iter().zip(&points[keys_count..]).fold(true, |all, (a, b)| all & (a.key == b.key));
    repeats.then_some(keys_count)
}

/// Reads the points only if the statistics do not decide.
fn lateness(group: &Group, stats: &Stats, late_before: TimestampMs) -> Late {
    let is_late = |time: &i64| *time < late_before.0;
    let any = if stats.unordered { group.times.iter().any(is_late) } else { group.times.first().is_some_and(is_late) };
    if !any {
        return Late::No;
    }
    let places = || group.steps.iter().zip(&group.times);
    let rises = !stats.maybe_repeats || places().zip(places().skip(1)).all(|(place, next)| place < next);
    if rises { Late::Rising } else { Late::Mixed }
}

fn pack(run: RunId, group: &Group, late_before: TimestampMs, frame: &mut Vec<u8>, planned: &mut Planned) {
    let series = SeriesId { run, key: group.key };
    let mut head = (0, 0);
    put_section(frame, SectionKind::Series, |out| {
        head.0 = out.len();
        let flags = section::put_series(out, series, planned.context, &group.steps, &group.times, &group.values);
        head.1 = flags;
        flags
    });
    let copies = (group.steps.len() <= COPY_POINTS_MAX).then(|| {
        let start = planned.copies.len() as u32;
        planned.copies.extend((0..group.steps.len()).map(|i| Point {
            step: group.steps[i],
            time: TimestampMs(group.times[i]),
            value: group.values[i],
        }));
        (start, group.steps.len() as u32)
    });
    let stats = stats_with(head.1, &group.steps, &group.times, &group.values);
    let rollups_start = planned.rollups.len() as u32;
    if copies.is_none() && !stats.maybe_repeats {
        planned.rollups.extend(rollups(&group.steps, &group.values));
    }
    planned.series.push(PlannedSeries {
        key: group.key,
        late: lateness(group, &stats, late_before),
        offset: head.0 as u64,
        len: (frame.len() - head.0) as u32,
        flags: head.1,
        stats,
        copies,
        rollups: (rollups_start, planned.rollups.len() as u32),
    });
}

/// Whether steps rise without wrapping, if they are an arithmetic sequence in wrapping arithmetic.
fn stride_rises(steps: &[i64]) -> bool {
    let [first, second, ..] = steps else { return true };
    let stride = i128::from(*second) - i128::from(*first);
    let last = i128::from(steps[steps.len() - 1]);
    stride > 0 && last - i128::from(*first) == stride * (steps.len() as i128 - 1)
}

/// As [`stats_of`], for a section that is read back; `columns` is scratch memory.
pub(crate) fn stats_of_section(section: &SeriesSection<'_>, columns: &mut Columns) -> Stats {
    if let Some(Extremes { first, last, min, max }) = section.extremes() {
        return Stats {
            count_raw: section.count as u64,
            min,
            max,
            last_step: last.step,
            last_time_ms: last.time.0,
            last_value: last.value,
            time_max_ms: last.time.0,
            ..Stats::of(first)
        };
    }
    columns.clear();
    section.extend(Lsn::ZERO, columns);
    stats_of(&columns.steps, &columns.times, &columns.values)
}

/// As [`stats_of`], for columns whose section has these flags, which save a pass over steps and times.
pub(crate) fn stats_with(flags: u8, steps: &[i64], times: &[i64], values: &[f64]) -> Stats {
    if section::has_stride(flags) && section::has_rising_times(flags) && stride_rises(steps) {
        stats_in_order(steps, times, values)
    } else {
        stats_of(steps, times, values)
    }
}

/// Stats of at least one point, in the order of logging; column by column if the points are in order.
pub(crate) fn stats_of(steps: &[i64], times: &[i64], values: &[f64]) -> Stats {
    let in_order = steps.windows(2).fold(true, |all, pair| all & (pair[0] < pair[1]))
        & times.windows(2).fold(true, |all, pair| all & (pair[0] <= pair[1]));
    if in_order {
        return stats_in_order(steps, times, values);
    }
    let point = |i: usize| Point { step: steps[i], time: TimestampMs(times[i]), value: values[i] };
    let mut stats = Stats::of(point(0));
    (1..steps.len()).for_each(|i| stats.push(point(i)));
    stats
}

fn stats_in_order(steps: &[i64], times: &[i64], values: &[f64]) -> Stats {
    let stats = Stats::of(Point { step: steps[0], time: TimestampMs(times[0]), value: values[0] });
    let last = steps.len() - 1;
    let (min, max) = extremes(values);
    Stats {
        count_raw: steps.len() as u64,
        min,
        max,
        last_step: steps[last],
        last_time_ms: times[last],
        last_value: values[last],
        time_max_ms: times[last],
        ..stats
    }
}

/// Least and greatest value, skipping NaN. Uses lanes, because a chain of dependent minima would cost 4 cycles a point.
fn extremes(values: &[f64]) -> (f64, f64) {
    const LANES: usize = 8;
    let (mut low, mut high) = ([f64::NAN; LANES], [f64::NAN; LANES]);
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for lane in 0..LANES {
            // Keep the lane's value unless the new one is better or the lane has none yet.
            low[lane] = if low[lane] <= block[lane] || block[lane].is_nan() { low[lane] } else { block[lane] };
            high[lane] = if high[lane] >= block[lane] || block[lane].is_nan() { high[lane] } else { block[lane] };
        }
    }
    let all =
        |lanes: [f64; LANES], better: fn(f64, f64) -> f64| lanes.iter().chain(rest).copied().fold(f64::NAN, better);
    (all(low, f64::min), all(high, f64::max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stats_by_columns_equal_stats_by_points(
            points in prop::collection::vec((-3i64..50, 0i64..50, 0usize..6), 1..60), sorted: bool,
        ) {
            let mut points = points;
            if sorted {
                points.sort();
                points.dedup_by_key(|point| point.0);
            }
            let pool = [1.5, -2.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0];
            let steps: Vec<_> = points.iter().map(|p| p.0).collect();
            let times: Vec<_> = points.iter().map(|p| p.1).collect();
            let values: Vec<_> = points.iter().map(|p| pool[p.2]).collect();
            let mut expected = Stats::of(Point { step: steps[0], time: TimestampMs(times[0]), value: values[0] });
            for i in 1..steps.len() {
                expected.push(Point { step: steps[i], time: TimestampMs(times[i]), value: values[i] });
            }
            let found = stats_of(&steps, &times, &values);
            prop_assert_eq!(format!("{found:?}"), format!("{expected:?}"));
            let mut body = Vec::new();
            let flags = section::put_series(&mut body, SeriesId::default(), ContextId(0), &steps, &times, &values);
            let found = stats_with(flags, &steps, &times, &values);
            prop_assert_eq!(format!("{found:?}"), format!("{expected:?}"));
            let read = SeriesSection::read(flags, &body).unwrap();
            let found = stats_of_section(&read, &mut Columns::default());
            prop_assert_eq!(format!("{found:?}"), format!("{expected:?}"));
        }
    }

    #[test]
    fn a_stride_that_wraps_does_not_rise() {
        assert!(stride_rises(&[1, 3, 5]) && stride_rises(&[7]));
        assert!(!stride_rises(&[i64::MIN, i64::MAX, i64::MAX - 1]));
        assert!(!stride_rises(&[i64::MAX - 1, i64::MIN, i64::MIN + 2]) && !stride_rises(&[3, 2, 1]));
    }

    #[test]
    fn groups_keep_the_order_of_logging_and_scratch_is_clean_afterwards() {
        let mut encoder = Encoder::default();
        for scattered in [false, true, false, true] {
            let mut frame = Vec::new();
            let mut planned = Planned::default();
            let mut points: Vec<_> = (0..30i64)
                .map(|i| KeyedPoint {
                    key: KeyId(if i % 3 == 2 { 1 << 20 } else { (i % 3) as u32 }),
                    point: Point { step: i, time: TimestampMs(5), value: i as f64 },
                })
                .collect();
            assert_eq!(rows_of(&points), Some(3));
            if scattered {
                points.swap(0, 1);
                assert_eq!(rows_of(&points), None);
            }
            encoder.encode(RunId::default(), &points, &mut frame, &mut planned).unwrap();
            assert_eq!(planned.series.len(), 3);
            assert!(planned.series.iter().all(|s| s.stats.count_raw == 10 && s.copies.is_none()));
            let first = planned.series[0];
            let body = &frame[first.offset as usize..first.offset as usize + first.len as usize];
            let section = SeriesSection::read(first.flags, body).unwrap();
            assert_eq!(section.count, 10);
        }
        assert!(encoder.encode(RunId::default(), &[], &mut Vec::new(), &mut Planned::default()).is_err());
    }
}
