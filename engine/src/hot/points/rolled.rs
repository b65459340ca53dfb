//! Rollups of the points of a series above the sealed position, so that a chart need not decode the points.
//!
//! ```text
//!      from
//! entries | list of 128 rollups | list | list | open list | tail
//! ```
//! Points up to the position `from` and those of the tail are in no rollup: a reader decodes them.
//!
//! Invariants: steps rise strictly from point to point, over all rollups. Points come in the order of positions, so
//! positions never fall. Every point of an entry above `from` is in exactly one rollup, and no other point is. A full
//! list is never changed: a reader takes it without a copy.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::head::HeadPoint;
use super::read::HotPoints;
use crate::id::Lsn;
use crate::summary::{ROLLUP_POINTS, Rollup, Summary};

/// Rollups of a list. Few, so that the edges of a bucket cost little; many, so that a series has few lists.
const LIST_ROLLUPS: usize = if cfg!(test) { 3 } else { 128 };

/// A rollup, and the positions of its first and its last point.
#[derive(Debug, Clone, Copy)]
struct Part {
    rollup: Rollup,
    lsn_first: Lsn,
    lsn_last: Lsn,
}

/// Neighbouring rollups; there is at least one.
#[derive(Debug, Clone, Default)]
pub struct RollupList {
    parts: Vec<Part>,
    /// Summary of the whole list; set once it is full.
    whole: Option<Summary>,
}

impl RollupList {
    /// Number of rollups.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Step of the first point of a rollup.
    #[inline]
    pub fn step_first(&self, index: usize) -> i64 {
        self.parts.get(index).map_or(i64::MAX, |part| part.rollup.step_first)
    }

    /// Step of the last point of a rollup.
    #[inline]
    pub fn step_last(&self, index: usize) -> i64 {
        self.parts.get(index).map_or(i64::MAX, |part| part.rollup.step_last)
    }

    /// Number of points in some rollups.
    pub fn count(&self, range: Range<usize>) -> u64 {
        if let Some(whole) = self.whole.filter(|_| range == (0..self.len())) {
            return whole.count;
        }
        self.parts.get(range).unwrap_or_default().iter().map(|part| u64::from(part.rollup.count)).sum()
    }

    /// Summary of all points of some rollups.
    pub fn sum_up(&self, range: Range<usize>) -> Summary {
        if let Some(whole) = self.whole.filter(|_| range == (0..self.len())) {
            return whole;
        }
        let parts = self.parts.get(range).unwrap_or_default();
        parts.iter().fold(Summary::default(), |mut all, part| {
            all.merge(&part.rollup.summary());
            all
        })
    }

    /// Positions of the first and the last point of some rollups; a neighbour may have the same positions.
    pub fn positions(&self, range: Range<usize>) -> (Lsn, Lsn) {
        let parts = self.parts.get(range).unwrap_or_default();
        let first = parts.first().map_or(Lsn::MAX, |part| part.lsn_first);
        (first, parts.last().map_or(Lsn::ZERO, |part| part.lsn_last))
    }
}

/// The rollups of one series; see the module.
#[derive(Debug, Default)]
pub(super) struct Rolled {
    /// Points up to here are in no rollup.
    from: Lsn,
    full: VecDeque<Arc<RollupList>>,
    open: RollupList,
    /// Bytes of lists that a restart dropped. They were counted as growth, and only an eviction takes bytes off again.
    dropped_bytes: usize,
}

/// Estimated bytes of one rollup in a list.
const PART_BYTES: usize = size_of::<Part>();

impl Rolled {
    /// No rollups yet; points up to `from` will be in none.
    pub(super) fn new(from: Lsn) -> Self {
        Self { from, ..Self::default() }
    }

    fn last(&self) -> Option<&Part> {
        self.open.parts.last().or_else(|| self.full.back().and_then(|list| list.parts.last()))
    }

    /// Adds an entry's points. If their steps do not rise, or do not continue above all steps before, these points and
    /// all before them are in no rollup from now on.
    pub(super) fn add(&mut self, rollups: &[Rollup], (first, last): (Lsn, Lsn), grown: &mut usize) {
        let Some(head) = rollups.first() else { return self.restart(last) };
        // If some points of a frame are in no rollup, no other point of that frame can be.
        let rises = self.last().is_none_or(|before| before.rollup.step_last < head.step_first) && first > self.from;
        if !rises {
            return self.restart(last);
        }
        for rollup in rollups {
            // Only the positions at the ends of an entry are known; a range that is too wide is fine within it.
            match self.open.parts.last_mut() {
                Some(open) if usize::from(open.rollup.count) + usize::from(rollup.count) <= ROLLUP_POINTS => {
                    let mut summary = open.rollup.summary();
                    summary.merge(&rollup.summary());
                    open.rollup = Rollup::with((open.rollup.step_first, rollup.step_last), &summary);
                    open.lsn_last = last;
                }
                _ => {
                    if self.open.parts.len() >= LIST_ROLLUPS {
                        let mut full = std::mem::take(&mut self.open);
                        full.whole = Some(full.sum_up(0..full.len()));
                        self.full.push_back(Arc::new(full));
                    }
                    if self.open.parts.len() == self.open.parts.capacity() {
                        let len = self.open.parts.len();
                        let more = len.clamp(1, LIST_ROLLUPS - len);
                        self.open.parts.reserve_exact(more);
                        *grown += more * PART_BYTES;
                    }
                    self.open.parts.push(Part { rollup: *rollup, lsn_first: first, lsn_last: last });
                }
            }
        }
    }

    fn restart(&mut self, from: Lsn) {
        let dropped_bytes = self.dropped_bytes + self.lists_bytes();
        *self = Self { dropped_bytes, ..Self::new(from.max(self.from)) };
    }

    /// Drops whole blocks that have no point above a position, for an eviction. Returns whether nothing is left.
    pub(super) fn drop_to(&mut self, up_to: Lsn) -> bool {
        self.dropped_bytes = 0;
        let is_gone = |list: &RollupList| list.parts.last().is_none_or(|last| last.lsn_last <= up_to);
        while self.full.front().is_some_and(|list| is_gone(list)) {
            self.full.pop_front();
        }
        self.full.is_empty() && is_gone(&self.open)
    }

    fn lists_bytes(&self) -> usize {
        (self.full.len() * LIST_ROLLUPS + self.open.parts.capacity()) * PART_BYTES
    }

    /// Estimated bytes of private memory that are counted.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.lists_bytes() + self.dropped_bytes
    }

    /// Whether there are any rollups.
    pub(super) fn is_empty(&self) -> bool {
        self.full.is_empty() && self.open.is_empty()
    }

    /// The rollups with points in these steps, above `after` and at most `up_to`.
    pub(super) fn between(&self, (after, up_to): (Lsn, Lsn), (first, last): (i64, i64)) -> RolledPoints {
        let wanted = |list: &RollupList| {
            let Some(end) = list.len().checked_sub(1) else { return false };
            let (lsn_first, lsn_last) = list.positions(0..list.len());
            list.step_last(end) >= first && list.step_first(0) <= last && lsn_last > after && lsn_first <= up_to
        };
        let start = self.full.partition_point(|list| list.step_last(list.len().saturating_sub(1)) < first);
        let lists = self.full.range(start..).take_while(|list| list.step_first(0) <= last);
        let mut lists: Vec<Arc<RollupList>> = lists.filter(|list| wanted(list)).cloned().collect();
        if wanted(&self.open) {
            lists.push(Arc::new(self.open.clone()));
        }
        let step_last = self.last().map(|last| last.rollup.step_last);
        RolledPoints { lists, step_last, head: HotPoints::default(), tail: HotPoints::default() }
    }

    /// The position up to which points are in no rollup.
    pub(super) fn from(&self) -> Lsn {
        self.from
    }
}

/// Rollups taken out of a series under the lock of its run, with the points that are in no rollup.
#[derive(Debug)]
pub struct RolledPoints {
    /// Lists in the order of steps and positions.
    pub lists: Vec<Arc<RollupList>>,
    /// The last step of all rollups of the series.
    pub step_last: Option<i64>,
    /// Points that were logged before those of the rollups.
    pub head: HotPoints,
    /// Points that were logged after those of the rollups.
    pub tail: HotPoints,
}

/// Rollups of the points of a tail; empty if their steps do not rise.
pub(super) fn roll_up_points(points: &[HeadPoint]) -> Vec<Rollup> {
    if !points.is_sorted_by(|a, b| a.step < b.step) {
        return Vec::new();
    }
    let mut values = Vec::with_capacity(points.len().min(ROLLUP_POINTS));
    let rollup = |part: &[HeadPoint]| {
        values.clear();
        values.extend(part.iter().map(|point| point.value));
        let steps = (part.first().map_or(0, |point| point.step), part.last().map_or(0, |point| point.step));
        Rollup::with(steps, &Summary::of(&values))
    };
    points.chunks(ROLLUP_POINTS).map(rollup).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_and_the_bytes_that_are_counted_agree_whatever_restarts() {
        let (mut rolled, mut grown, mut lsn) = (Rolled::new(Lsn::ZERO), size_of::<Rolled>(), 0);
        for number in 0..60u64 {
            // Every seventh batch begins at step 0 again, as an epoch does.
            let step = (number % 7) as i64 * 1_000;
            let rollups: Vec<Rollup> = (0..1 + number % 4)
                .map(|at| Rollup::with((step + at as i64 * 10, step + at as i64 * 10 + 9), &Summary::of(&[0.5; 200])))
                .collect();
            lsn += 1;
            rolled.add(&rollups, (Lsn(lsn), Lsn(lsn)), &mut grown);
            assert_eq!(rolled.bytes(), grown, "after batch {number}");
        }
        assert!(rolled.dropped_bytes > 0);
        rolled.drop_to(Lsn::ZERO);
        assert_eq!(rolled.bytes(), size_of::<Rolled>() + rolled.lists_bytes());
    }
}
