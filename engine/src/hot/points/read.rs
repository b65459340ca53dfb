//! Points of one series, taken out under the lock of its run and decoded without it.

use super::entry::{Entry, Place};
use super::head::HeadPoint;
use super::wide::RowRange;
use crate::error::{Error, Result};
use crate::event::section::SeriesSection;
use crate::id::{ContextId, KeyId, Lsn};
use crate::point::{Columns, Stats};

/// References to points of one series, taken under the lock of its run.
#[derive(Debug, Default)]
pub struct HotPoints {
    pub(super) key: KeyId,
    pub(super) rows: RowRange,
    pub(super) entries: Vec<Entry>,
    pub(super) tail: Vec<HeadPoint>,
    pub(super) tail_context: ContextId,
    pub(super) after: Lsn,
    pub(super) up_to: Lsn,
    /// Whether each point was logged after all points before it in step, and not before any of them in time.
    pub(super) in_order: bool,
}

/// The part that a reader needs of a series whose points are in order.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// Least and greatest step.
    pub steps: (i64, i64),
    /// Least and greatest time, Unix ms.
    pub times_ms: (i64, i64),
    /// Only points at this (time, step) or after it.
    pub from: Option<(i64, i64)>,
    /// At least this many points within the bounds, if there are that many.
    pub count: u64,
}

impl HotPoints {
    /// Whether there are certainly no points.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.tail.is_empty() && self.rows.is_empty()
    }

    /// An upper bound for the number of points, roughly: a section counts a point for each byte.
    pub fn count_max(&self) -> usize {
        let count = |entry: &Entry| match &entry.place {
            Place::Block(points) => points.len(),
            Place::Rows(rows, _) => rows.rows_count(),
            Place::Section { len, .. } => *len as usize,
            Place::Mark => 0,
        };
        self.entries.iter().map(count).sum::<usize>() + self.tail.len() + self.rows.count()
    }

    /// Appends the points above `after` and at most `up_to`, in the order of positions.
    pub fn decode(&self, out: &mut Columns) -> Result<()> {
        let start = out.len();
        let mut body = Vec::new();
        for entry in &self.entries {
            self.decode_entry(entry, &mut body, out)?;
        }
        self.push(self.tail.iter().copied(), self.tail_context, out);
        self.rows.decode(self.key, out, start)
    }

    /// As [`HotPoints::decode`], but if the series is in order, whole entries before and after this part are skipped.
    ///
    /// # Complexity
    /// The cost of a page does not depend on the points of the series, even if it has a million.
    pub fn decode_part(&self, part: &Part, out: &mut Columns) -> Result<()> {
        // Points of wide rows lie between those of entries.
        if !self.in_order || !self.rows.is_empty() {
            return self.decode(out);
        }
        // An entry's stats cover the series up to its end or further, so no point of it comes after their last point.
        let before = |entry: &Entry| {
            let Stats { last_step, time_max_ms, .. } = entry.stats;
            last_step < part.steps.0
                || time_max_ms < part.times_ms.0
                || part.from.is_some_and(|from| (time_max_ms, last_step) < from)
        };
        let first = self.entries.partition_point(before);
        let mut found = 0;
        let mut body = Vec::new();
        for entry in self.entries.get(first..).unwrap_or_default() {
            let start = out.len();
            self.decode_entry(entry, &mut body, out)?;
            if part.is_reached(out, start, &mut found) {
                return Ok(());
            }
        }
        self.push(self.tail.iter().copied(), self.tail_context, out);
        Ok(())
    }

    fn decode_entry(&self, entry: &Entry, body: &mut Vec<u8>, out: &mut Columns) -> Result<()> {
        match &entry.place {
            Place::Block(points) => self.push(points.iter().copied(), entry.context, out),
            Place::Rows(rows, column) => self.push(rows.points(*column), entry.context, out),
            Place::Section { source, offset, len, flags } => {
                body.resize(*len as usize, 0);
                source.read(*offset, body)?;
                let Some(section) = SeriesSection::read(*flags, body) else {
                    return Err(Error::Internal(format!("a section at byte {offset} does not decode any more")));
                };
                section.extend(entry.last_lsn, out);
            }
            Place::Mark => {}
        }
        Ok(())
    }

    fn push(&self, points: impl Iterator<Item = HeadPoint>, context: ContextId, out: &mut Columns) {
        for point in points.filter(|point| point.lsn > self.after.0 && point.lsn <= self.up_to.0) {
            out.push(point.point(), Lsn(point.lsn), context);
        }
    }
}

impl Part {
    /// Counts the wanted points from `start` on. Returns whether there are enough, or no later point can be wanted.
    fn is_reached(&self, points: &Columns, start: usize, found: &mut u64) -> bool {
        let new = points.steps.iter().zip(&points.times).skip(start);
        let wanted = |(step, time): &(&i64, &i64)| {
            (self.steps.0..=self.steps.1).contains(*step)
                && (self.times_ms.0..=self.times_ms.1).contains(*time)
                && self.from.is_none_or(|from| (**time, **step) > from)
        };
        *found += new.filter(wanted).count() as u64;
        let last = points.steps.last().zip(points.times.last());
        *found >= self.count || last.is_some_and(|(step, time)| *step > self.steps.1 || *time > self.times_ms.1)
    }
}
