//! The statistics of series at a position. One part is known under the lock of the run; wide rows are read from the log
//! without it and added.

use super::head::HeadPoint;
use super::wide::RowRange;
use crate::error::Result;
use crate::id::{ContextId, KeyId, Lsn};
use crate::point::{Point, Stats};

#[inline]
pub(super) fn push_stats(stats: &mut Option<Stats>, point: Point) {
    match stats {
        Some(stats) => stats.push(point),
        None => *stats = Some(Stats::of(point)),
    }
}

/// What hot memory knows about the stats of a series at a position.
#[derive(Debug, Clone, Copy)]
pub enum StatsAt {
    /// The stats at the position.
    Known(Stats),
    /// The series has no point above the index: the row in the index is right.
    Index,
}

impl StatsAt {
    pub(super) fn known(self) -> Option<Stats> {
        match self {
            Self::Known(stats) => Some(stats),
            Self::Index => None,
        }
    }
}

/// Stats of a series to which some wide rows must still be added.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) key: KeyId,
    pub(super) start: Option<Stats>,
    /// Whether `start` is known to cover more than the index does.
    pub(super) is_known: bool,
    /// `start` covers all points at most this.
    pub(super) after: Lsn,
    /// The points above `after`, without those of wide rows.
    pub(super) points: Vec<HeadPoint>,
}

impl Pending {
    pub(super) fn add(&self, rows: impl Iterator<Item = (Lsn, Point, ContextId)>) -> StatsAt {
        let (mut stats, mut is_known) = (self.start, self.is_known || !self.points.is_empty());
        let mut points = self.points.iter().peekable();
        for (lsn, point, _) in rows.filter(|(lsn, ..)| *lsn > self.after) {
            while let Some(before) = points.next_if(|before| before.lsn < lsn.0) {
                push_stats(&mut stats, before.point());
            }
            push_stats(&mut stats, point);
            is_known = true;
        }
        points.for_each(|point| push_stats(&mut stats, point.point()));
        stats.filter(|_| is_known).map_or(StatsAt::Index, StatsAt::Known)
    }
}

/// Stats of several series, taken under the lock of their run and completed without it.
#[derive(Debug)]
pub(super) struct Taken {
    /// Wide rows up to the position.
    rows: RowRange,
    stats: Vec<(KeyId, StatsAt)>,
    /// The series to which they must be added, each with its place in `stats`.
    pending: Vec<(Pending, usize)>,
}

impl Taken {
    pub(super) fn new(rows: RowRange) -> Self {
        Self { rows, stats: Vec::new(), pending: Vec::new() }
    }

    pub(super) fn push(&mut self, key: KeyId, at: Result<StatsAt, Pending>) {
        let at = at.unwrap_or_else(|pending| {
            self.pending.push((pending, self.stats.len()));
            StatsAt::Index
        });
        self.stats.push((key, at));
    }

    /// Reads the wide rows from the log and adds them.
    pub(super) fn complete(mut self) -> Result<Vec<(KeyId, StatsAt)>> {
        let after = self.pending.iter().map(|(pending, _)| pending.after).min();
        self.rows.skip_to(after.unwrap_or_default());
        self.pending.sort_unstable_by_key(|(pending, _)| pending.key);
        let mut keys: Vec<KeyId> = Vec::new();
        for pending in self.pending.chunks(self.rows.block_keys()) {
            keys.clear();
            keys.extend(pending.iter().map(|(pending, _)| pending.key));
            let block = self.rows.block(&keys)?;
            for (index, (pending, place)) in pending.iter().enumerate() {
                debug_assert!(*place < self.stats.len(), "pending statistics have no place");
                if let Some((_, at)) = self.stats.get_mut(*place) {
                    *at = pending.add(block.points(index));
                }
            }
        }
        Ok(self.stats)
    }
}
