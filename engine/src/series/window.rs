//! The points of some positions, gathered from the chunks that contain them and sorted by position.

use std::sync::Arc;

use super::chunk::ColumnSet;
use super::entry::ChunkEntry;
use super::read::SeriesFile;
use crate::error::Result;
use crate::id::{ContextId, Lsn, RunId, SeriesId};
use crate::point::{Columns, Point};
use crate::time::TimestampMs;

/// A chunk, with everything needed to read it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listed {
    series: SeriesId,
    file: u32,
    pub(super) lsn_min: u64,
    place: Place,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// A chunk's only point.
    Single { step: i64, time: i64, value: f64, context: u32 },
    /// The place of a longer chunk.
    Chunk { lsn_max: u64, offset: u64, len: u32, count: u32, slot: Option<u8> },
}

impl Listed {
    pub(super) fn new(series: SeriesId, file: u32, entry: &ChunkEntry) -> Self {
        let place = if entry.is_inline() {
            let (step, time, value) = (entry.step_first, entry.time_first_ms, entry.inline_value());
            Place::Single { step, time, value, context: entry.context }
        } else {
            // A chunk holds at most 65,536 points.
            let count = entry.count() as u32;
            Place::Chunk { lsn_max: entry.lsn_max, offset: entry.offset, len: entry.len, count, slot: entry.slot }
        };
        Self { series, file, lsn_min: entry.lsn_min, place }
    }

    pub(super) fn run(&self) -> RunId {
        self.series.run
    }

    pub(super) fn lsn_max(&self) -> u64 {
        match self.place {
            Place::Single { .. } => self.lsn_min,
            Place::Chunk { lsn_max, .. } => lsn_max,
        }
    }

    pub(super) fn count(&self) -> usize {
        match self.place {
            Place::Single { .. } => 1,
            Place::Chunk { count, .. } => count as usize,
        }
    }
}

/// A point of a window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    lsn: u64,
    step: i64,
    time: i64,
    value: f64,
    /// Index in the window's list of series.
    series: u32,
    context: u32,
}

/// A window while it is filled.
pub(super) struct Gather {
    first: u64,
    pub(super) last: u64,
    points: Vec<Placed>,
    series: Vec<SeriesId>,
    points_max: usize,
    /// With more points than this the window is shortened.
    room: usize,
    columns: Columns,
}

impl Gather {
    pub(super) fn new(first: u64, last: u64, points_max: usize) -> Self {
        Self {
            first,
            last,
            points: Vec::new(),
            series: Vec::new(),
            points_max,
            room: points_max.saturating_mul(2),
            columns: Columns::default(),
        }
    }

    /// Adds the points of a chunk whose positions are in the window.
    pub(super) fn take(&mut self, files: &[Arc<SeriesFile>], chunk: &Listed) -> Result<()> {
        let (lsn_max, entry) = match chunk.place {
            Place::Single { step, time, value, context } => {
                if (self.first..=self.last).contains(&chunk.lsn_min) {
                    let series = self.series_of(chunk.series);
                    self.points.push(Placed { lsn: chunk.lsn_min, step, time, value, series, context });
                    self.keep_within();
                }
                return Ok(());
            }
            Place::Chunk { lsn_max, offset, len, count, slot } => {
                let entry = ChunkEntry::single(0, 0, chunk.lsn_min, 0, 0.0, 0);
                (lsn_max, ChunkEntry { offset, len, slot, count: u64::from(count), ..entry })
            }
        };
        if lsn_max < self.first || chunk.lsn_min > self.last {
            return Ok(());
        }
        let Some(file) = files.get(chunk.file as usize) else { return Ok(()) };
        let mut columns = std::mem::take(&mut self.columns);
        columns.clear();
        file.read_chunk(&entry, ColumnSet::ALL, &mut columns)?;
        let series = self.series_of(chunk.series);
        let Columns { steps, times, values, lsns, contexts } = &columns;
        for (at, (((step, time), value), lsn)) in steps.iter().zip(times).zip(values).zip(lsns).enumerate() {
            if (self.first..=self.last).contains(lsn) {
                let context = contexts.get(at).copied().unwrap_or(0);
                self.points.push(Placed { lsn: *lsn, step: *step, time: *time, value: *value, series, context });
            }
        }
        self.columns = columns;
        self.keep_within();
        Ok(())
    }

    fn series_of(&mut self, series: SeriesId) -> u32 {
        if self.series.last() != Some(&series) {
            self.series.push(series);
        }
        (self.series.len() - 1) as u32
    }

    /// Shortens the window if it has too many points: by whole positions, of which the first one stays.
    fn keep_within(&mut self) {
        if self.points.len() <= self.room {
            return;
        }
        let (_, middle, _) = self.points.select_nth_unstable_by_key(self.points_max, |point| point.lsn);
        self.last = if middle.lsn > self.first { middle.lsn - 1 } else { self.first };
        let last = self.last;
        self.points.retain(|point| point.lsn <= last);
        self.room = self.points_max.max(self.points.len()).saturating_mul(2);
    }

    pub(super) fn finish(self) -> Window {
        let Self { first, last, points, series, .. } = self;
        let order = in_order(&points);
        Window { first: Lsn(first), last: Lsn(last), points, order, at: 0, series }
    }
}

/// Indexes of points, by position.
fn in_order(points: &[Placed]) -> Vec<u32> {
    let extent = |(low, high): (u64, u64), point: &Placed| (low.min(point.lsn), high.max(point.lsn));
    let (low, high) = points.iter().fold((u64::MAX, 0), extent);
    let mut order: Vec<u32> = (0..points.len() as u32).collect();
    let span = high.saturating_sub(low);
    if span > points.len() as u64 * 4 {
        order.sort_by_key(|at| points.get(*at as usize).map_or(0, |point| point.lsn));
        return order;
    }
    // Positions are dense, so count them: a sort takes several times as long.
    let mut starts = vec![0u32; span as usize + 2];
    let slot = |point: &Placed| (point.lsn - low) as usize;
    for point in points {
        if let Some(count) = starts.get_mut(slot(point) + 1) {
            *count += 1;
        }
    }
    let mut sum = 0;
    for start in &mut starts {
        sum += *start;
        *start = sum;
    }
    for (at, point) in (0..).zip(points) {
        if let Some(start) = starts.get_mut(slot(point)) {
            if let Some(place) = order.get_mut(*start as usize) {
                *place = at;
            }
            *start += 1;
        }
    }
    order
}

/// The points of some positions.
#[derive(Debug)]
pub(crate) struct Window {
    first: Lsn,
    last: Lsn,
    points: Vec<Placed>,
    /// Indexes in `points`, by position.
    order: Vec<u32>,
    /// How many of them were taken or skipped.
    at: usize,
    series: Vec<SeriesId>,
}

impl Window {
    /// The last position of the window, with or without points.
    pub(crate) fn last(&self) -> Lsn {
        self.last
    }

    /// Whether a position lies in it.
    pub(crate) fn covers(&self, lsn: Lsn) -> bool {
        self.first <= lsn && lsn <= self.last
    }

    fn point(&self, at: usize) -> Option<&Placed> {
        self.order.get(at).and_then(|place| self.points.get(*place as usize))
    }

    /// Skips positions before `from`, and returns the first one from there on that has points.
    pub(crate) fn seek(&mut self, from: Lsn) -> Option<Lsn> {
        if self.point(self.at).is_some_and(|point| point.lsn < from.0) {
            let rest = self.order.get(self.at..).unwrap_or_default();
            let is_before = |place: &u32| self.points.get(*place as usize).is_some_and(|point| point.lsn < from.0);
            self.at += rest.partition_point(is_before);
        }
        self.point(self.at).map(|point| Lsn(point.lsn))
    }

    /// The points of the next position that has any, by series; those of a series in latest order.
    pub(crate) fn take_next(&mut self) -> Vec<(SeriesId, Columns)> {
        let Some(lsn) = self.seek(self.first) else { return Vec::new() };
        let rest = self.order.get(self.at..).unwrap_or_default();
        let points = &self.points;
        let is_here = |place: &&u32| points.get(**place as usize).is_some_and(|point| point.lsn == lsn.0);
        let count = rest.iter().take_while(is_here).count();
        let end = self.at + count;
        let point = |point: &Placed| Point { step: point.step, time: TimestampMs(point.time), value: point.value };
        let mut here: Vec<(SeriesId, Placed)> = Vec::with_capacity(count);
        for place in self.order.get(self.at..end).unwrap_or_default() {
            if let Some(placed) = points.get(*place as usize)
                && let Some(series) = self.series.get(placed.series as usize)
            {
                here.push((*series, *placed));
            }
        }
        self.at = end;
        here.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| point(x).latest_order(&point(y))));
        let mut out: Vec<(SeriesId, Columns)> = Vec::new();
        for (series, placed) in here {
            if out.last().is_none_or(|(last, _)| *last != series) {
                out.push((series, Columns::default()));
            }
            if let Some((_, columns)) = out.last_mut() {
                columns.push(point(&placed), lsn, ContextId(placed.context));
            }
        }
        out
    }
}
