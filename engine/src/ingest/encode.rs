//! Metric points on their way into a frame: rows in, one section a series out; outside any lock.
//!
//! [`Encoder`] is scratch that is used again and again, so that a batch costs no allocation. Grouping is by a table
//! from key number to group, one pass to scatter, one to pack. What must be pushed to hot state after the append is
//! left in [`Planned`], with the stats of each section: so nothing is computed under the sequencer.

use rustc_hash::FxHashMap;

use crate::error::{Error, Result};
use crate::event::batch::{SectionKind, put_section};
use crate::event::section;
use crate::hot::points::COPY_POINTS_MAX;
use crate::id::{ContextId, KeyId, RunId, SeriesId};
use crate::point::{Point, Stats};
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

/// Key numbers below this find their group by a table, others by a map.
const TABLE_KEYS_MAX: usize = 1 << 16;

#[derive(Debug, Default)]
struct Group {
    key: KeyId,
    steps: Vec<i64>,
    times: Vec<i64>,
    values: Vec<f64>,
}

/// One series' share of a batch, after encoding.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlannedSeries {
    pub(crate) key: KeyId,
    /// Where the section's body begins in the frame.
    pub(crate) offset: u64,
    pub(crate) len: u32,
    pub(crate) flags: u8,
    pub(crate) stats: Stats,
    /// Its points in `Planned::copies`, if it is short.
    pub(crate) copies: Option<(u32, u32)>,
}

/// What is pushed to hot state once the frame has its place; all of one run.
#[derive(Debug, Default)]
pub(crate) struct Planned {
    pub(crate) series: Vec<PlannedSeries>,
    pub(crate) copies: Vec<Point>,
    pub(crate) context: ContextId,
}

impl Planned {
    pub(crate) fn clear(&mut self) {
        self.series.clear();
        self.copies.clear();
    }
}

/// Scratch for grouping points.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    table: Vec<u32>,
    map: FxHashMap<KeyId, u32>,
    groups: Vec<Group>,
    used: usize,
}

/// A time that metrics may have.
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
            if (group.key.0 as usize) < TABLE_KEYS_MAX {
                self.table[group.key.0 as usize] = NONE;
            }
            group.steps.clear();
            group.times.clear();
            group.values.clear();
        }
        self.map.clear();
        self.used = 0;
        // Scratch of one huge batch is not kept for ever.
        if self.groups.len() > 4_096 {
            self.groups.truncate(64);
            self.map = FxHashMap::default();
        }
    }

    /// Appends the sections of these points to a frame's bytes and plans their push.
    pub(crate) fn encode(
        &mut self,
        run: RunId,
        points: impl Iterator<Item = KeyedPoint>,
        frame: &mut Vec<u8>,
        planned: &mut Planned,
    ) -> Result<()> {
        let scattered = self.scatter(points);
        let result = scattered.map(|()| {
            for index in 0..self.used {
                pack(run, &self.groups[index], frame, planned);
            }
        });
        self.reset();
        result
    }

    fn scatter(&mut self, points: impl Iterator<Item = KeyedPoint>) -> Result<()> {
        // A negative time sets the sign of the whole: one check for all.
        let mut times_or = 0i64;
        let mut count = 0usize;
        for KeyedPoint { key, point } in points {
            let group = self.group_of(key);
            let group = &mut self.groups[group];
            group.steps.push(point.step);
            group.times.push(point.time.0);
            group.values.push(point.value);
            times_or |= point.time.0;
            count += 1;
        }
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

fn pack(run: RunId, group: &Group, frame: &mut Vec<u8>, planned: &mut Planned) {
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
    planned.series.push(PlannedSeries {
        key: group.key,
        offset: head.0 as u64,
        len: (frame.len() - head.0) as u32,
        flags: head.1,
        stats: stats_of(&group.steps, &group.times, &group.values),
        copies,
    });
}

/// Stats of points in the order of logging, at least one; by columns where they are in order.
pub(crate) fn stats_of(steps: &[i64], times: &[i64], values: &[f64]) -> Stats {
    let in_order = steps.windows(2).fold(true, |all, pair| all & (pair[0] < pair[1]))
        & times.windows(2).fold(true, |all, pair| all & (pair[0] <= pair[1]));
    let point = |i: usize| Point { step: steps[i], time: TimestampMs(times[i]), value: values[i] };
    let mut stats = Stats::of(point(0));
    if !in_order {
        (1..steps.len()).for_each(|i| stats.push(point(i)));
        return stats;
    }
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

/// Least and greatest value, NaN skipped; in lanes, as a chain of dependent minima would cost 4 cycles a point.
fn extremes(values: &[f64]) -> (f64, f64) {
    const LANES: usize = 8;
    let (mut low, mut high) = ([f64::NAN; LANES], [f64::NAN; LANES]);
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for lane in 0..LANES {
            // The select keeps the lane's value unless the new one is better, or the lane has none yet.
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
        }
    }

    #[test]
    fn groups_keep_the_order_of_logging_and_scratch_is_clean_afterwards() {
        let mut encoder = Encoder::default();
        for _ in 0..2 {
            let mut frame = Vec::new();
            let mut planned = Planned::default();
            let points = (0..30i64).map(|i| KeyedPoint {
                key: KeyId(if i % 3 == 2 { 1 << 20 } else { (i % 3) as u32 }),
                point: Point { step: i, time: TimestampMs(5), value: i as f64 },
            });
            encoder.encode(RunId::default(), points, &mut frame, &mut planned).unwrap();
            assert_eq!(planned.series.len(), 3);
            assert!(planned.series.iter().all(|s| s.stats.count_raw == 10 && s.copies.is_none()));
            let first = planned.series[0];
            let body = &frame[first.offset as usize..first.offset as usize + first.len as usize];
            let section = section::SeriesSection::read(first.flags, body).unwrap();
            assert_eq!(section.count, 10);
        }
        assert!(
            encoder.encode(RunId::default(), std::iter::empty(), &mut Vec::new(), &mut Planned::default()).is_err()
        );
    }
}
