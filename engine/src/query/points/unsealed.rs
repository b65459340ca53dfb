//! The unsealed points of one series, as rollups if hot memory has them.
//!
//! They come after all sealed points, and their steps rise; otherwise everything is decoded instead.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use super::{Piece, SeriesSource, pieces, push_points};
use crate::error::Result;
use crate::hot::points::{RolledPoints, RollupList, RunHot};
use crate::id::{KeyId, Lsn};
use crate::point::Columns;
use crate::series::{ColumnSet, ROLLUP_POINTS, in_latest_order, sort_latest};

/// The unsealed points of one series, taken from hot memory.
#[derive(Debug)]
pub(crate) struct Unsealed {
    /// Run of the series.
    pub(crate) run: Arc<RunHot>,
    /// Key of the series.
    pub(crate) key: KeyId,
    /// Only points above the first position and at most the second count.
    pub(crate) positions: (Lsn, Lsn),
    /// The rollups, and the points that are in no rollup.
    pub(crate) rolled: RolledPoints,
    /// The section that was decoded last, if it has many rollups: the next ones that a chart decodes are likely its own.
    held: RefCell<Option<Held>>,
    /// How often points were decoded.
    #[cfg(test)]
    decodes: std::cell::Cell<usize>,
}

/// The points between two positions, in order of steps.
#[derive(Debug)]
struct Held {
    positions: (Lsn, Lsn),
    points: Columns,
}

/// Sections of fewer points are not held.
const HELD_POINTS_MIN: usize = 2 * ROLLUP_POINTS;

/// Neighbouring rollups of one list.
#[derive(Debug)]
pub(super) struct Rollups {
    pub(super) list: Arc<RollupList>,
    pub(super) range: Range<usize>,
}

impl Rollups {
    /// Step of the first point.
    pub(super) fn step_first(&self) -> i64 {
        self.list.step_first(self.range.start)
    }

    /// Step of the last point.
    pub(super) fn step_last(&self) -> i64 {
        self.list.step_last(self.range.end.saturating_sub(1))
    }
}

impl Unsealed {
    /// The points of a series between two positions that hot memory has as `rolled`.
    pub(crate) fn new(run: Arc<RunHot>, key: KeyId, positions: (Lsn, Lsn), rolled: RolledPoints) -> Self {
        Self {
            run,
            key,
            positions,
            rolled,
            held: RefCell::default(),
            #[cfg(test)]
            decodes: Default::default(),
        }
    }

    /// All points of the range, as pieces in order of steps. `source` has the sealed points and those logged before the
    /// points of the rollups. `None`: the parts overlap in steps.
    pub(super) fn pieces<'a>(
        &self,
        source: &'a SeriesSource,
        steps: (i64, i64),
        want: ColumnSet,
    ) -> Result<Option<Vec<Piece<'a>>>> {
        let mut tail = Columns::default();
        self.rolled.tail.decode(&mut tail)?;
        // Checked first: points of the tail may have the position of the last rollup, in another context.
        if tail.steps.iter().any(|step| self.rolled.step_last.is_some_and(|last| *step <= last)) {
            return Ok(None);
        }
        let mut out = pieces(source, steps, want)?;
        let before = out.last().map(Piece::step_last);
        let rolled_from = out.len();
        for list in &self.rolled.lists {
            self.push_list(list, steps, &mut out)?;
        }
        let first = out.get(rolled_from).map(Piece::step_first);
        let first = first.or_else(|| tail.steps.iter().min().copied());
        if before.zip(first).is_some_and(|(before, first)| first <= before) {
            return Ok(None);
        }
        if !in_latest_order(&tail) {
            tail = sort_latest(&tail);
        }
        cut_to(&mut tail, steps);
        push_points(&mut out, tail);
        Ok(Some(out))
    }

    fn push_list(&self, list: &Arc<RollupList>, steps: (i64, i64), out: &mut Vec<Piece<'_>>) -> Result<()> {
        let (after, up_to) = self.positions;
        let place = |such: &dyn Fn(usize) -> bool| partition(list.len(), such);
        let lsns = |index: usize| list.positions(index..index + 1);
        let mut start = place(&|index| list.step_last(index) < steps.0 || lsns(index).1 <= after);
        let mut end = place(&|index| list.step_first(index) <= steps.1 && lsns(index).0 <= up_to).max(start);
        let is_whole = |index: usize| {
            let (lsn_first, lsn_last) = lsns(index);
            let within = list.step_first(index) >= steps.0 && list.step_last(index) <= steps.1;
            within && lsn_first > after && lsn_last <= up_to
        };
        let last = end;
        while start < end && !is_whole(start) {
            push_points(out, self.decode(list, start..start + 1, steps)?);
            start += 1;
        }
        while end > start && !is_whole(end - 1) {
            end -= 1;
        }
        if start < end {
            out.push(Piece::Rollups(Rollups { list: list.clone(), range: start..end }));
        }
        for index in end..last {
            push_points(out, self.decode(list, index..index + 1, steps)?);
        }
        Ok(())
    }

    /// The points of some rollups whose steps are in this range.
    pub(super) fn decode(&self, list: &RollupList, range: Range<usize>, steps: (i64, i64)) -> Result<Columns> {
        let mut points = Columns::default();
        let Some(last) = range.end.checked_sub(1).filter(|last| *last >= range.start) else { return Ok(points) };
        // Neighbours may share positions, but not steps.
        let within = (list.step_first(range.start).max(steps.0), list.step_last(last).min(steps.1));
        let (lsn_first, lsn_last) = list.positions(range);
        let (after, up_to) = self.positions;
        let positions = (after.max(Lsn(lsn_first.0.saturating_sub(1))), up_to.min(lsn_last));
        if let Some(held) = &*self.held.borrow()
            && held.positions == positions
        {
            let (start, end) = between(&held.points, within);
            points.append_range(&held.points, start, end, true);
            return Ok(points);
        }
        self.run.lock().points_but_rows(self.key, positions.0, positions.1).decode(&mut points)?;
        #[cfg(test)]
        self.decodes.set(self.decodes.get() + 1);
        if points.len() >= HELD_POINTS_MIN {
            let (start, end) = between(&points, within);
            let mut part = Columns::default();
            part.append_range(&points, start, end, true);
            *self.held.borrow_mut() = Some(Held { positions, points });
            return Ok(part);
        }
        cut_to(&mut points, within);
        Ok(points)
    }
}

/// Keeps the points with these steps, of points in order of steps.
fn cut_to(points: &mut Columns, steps: (i64, i64)) {
    let (start, end) = between(points, steps);
    points.cut(start, end);
}

/// Where the points with these steps begin and end, of points in order of steps.
fn between(points: &Columns, steps: (i64, i64)) -> (usize, usize) {
    let start = points.steps.partition_point(|step| *step < steps.0);
    let end = points.steps.partition_point(|step| *step <= steps.1);
    (start, end.max(start))
}

/// The first index for which `such` no longer holds.
fn partition(len: usize, such: &dyn Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        if such(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests;
