//! Points taken out of a series, to be decoded without the lock of its run.

use super::entry::{Entry, Place};
use super::head::HeadPoint;
use super::wide::RowRange;
use crate::error::{Error, Result};
use crate::event::section::SeriesSection;
use crate::id::{ContextId, KeyId, Lsn};
use crate::point::{Columns, Stats};

/// Points taken out of a series under its lock, to be decoded without it.
#[derive(Debug, Default)]
pub struct HotPoints {
    pub(super) key: KeyId,
    pub(super) rows: RowRange,
    pub(super) entries: Vec<Entry>,
    pub(super) tail: Vec<HeadPoint>,
    pub(super) tail_context: ContextId,
    pub(super) after: Lsn,
    pub(super) up_to: Lsn,
    /// Each point of the series was logged behind all before it: in step, and not before any in time.
    pub(super) in_order: bool,
}

/// The points that a reader needs of a series that lies in order.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// Least and greatest step.
    pub steps: (i64, i64),
    /// Least and greatest time, Unix ms.
    pub times_ms: (i64, i64),
    /// Only what lies behind this (time, step), or at it.
    pub from: Option<(i64, i64)>,
    /// At least so many within the bounds, if there are.
    pub count: u64,
}

impl HotPoints {
    /// Whether there are none for sure.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.tail.is_empty() && self.rows.is_empty()
    }

    /// About how many there are, at most: a section counts a point for each byte.
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

    /// As [`HotPoints::decode`], but where the series lies in order, what a reader of this part does not need is left
    /// out: by whole entries, in front and behind.
    ///
    /// # Complexity
    /// A page of a million points costs what the page costs.
    pub fn decode_part(&self, part: &Part, out: &mut Columns) -> Result<()> {
        // What wide rows have lies between the points of entries.
        if !self.in_order || !self.rows.is_empty() {
            return self.decode(out);
        }
        // An entry's stats are of the series up to its end, or further: no point of it is behind their last ones.
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
    /// Counts the points from `start` on that are wanted; whether these are enough, or none behind can be.
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
