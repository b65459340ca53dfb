//! One series: its entries, its tail and its running statistics.

use std::sync::Arc;

use super::entry::{Entry, Place, SectionRef};
use super::head::HeadPoint;
use super::read::HotPoints;
use super::rolled::{Rolled, RolledPoints, roll_up_points};
use super::stats::{Pending, StatsAt, push_stats};
use super::wide::{RowRange, WideRows};
use crate::id::{ContextId, KeyId, Lsn};
use crate::point::{Point, Stats};
use crate::summary::Rollup;

/// A tail with this many points is frozen into a block.
const BLOCK_POINTS: usize = 256;
/// A tail grows by at most this many points at a time.
const TAIL_STEP_POINTS: usize = 64;
/// A tail that was evicted keeps room for this many points: its series is likely to be logged to again.
const TAIL_KEPT_POINTS: usize = 8;
/// Sections of at most this many points are copied: a reference would take more memory.
pub const COPY_POINTS_MAX: usize = 8;
/// A series gets rollups once it has this many entries, or one entry with that many points: most series have few
/// points.
const ROLLED_ENTRIES_MIN: usize = 3;
const ROLLED_POINTS_MIN: u64 = 256;

#[derive(Debug, Default)]
pub(super) struct Series {
    pub(super) key: KeyId,
    tail_context: ContextId,
    pub(super) last_lsn: Lsn,
    pub(super) checkpointed: Lsn,
    pub(super) base: Option<Box<Stats>>,
    pub(super) base_lsn: Lsn,
    pub(super) stats: Option<Stats>,
    pub(super) entries: Vec<Entry>,
    pub(super) tail: Vec<HeadPoint>,
    /// Rollups of the points of `entries`.
    rolled: Option<Box<Rolled>>,
}

/// Bytes that a series costs in addition to its points: the struct, its slot in the map, its place in the last row, and
/// the allocator's overhead for its tail.
pub(super) const SERIES_BYTES: usize = size_of::<Series>() + 40;
/// Bytes of a base, with the allocator's overhead.
pub(super) const BASE_BYTES: usize = size_of::<Stats>() + 16;

impl Series {
    /// A series without points in memory. `base`: the stats of its points in index and files.
    pub(super) fn new(key: KeyId, base: Option<Stats>) -> Self {
        Self { key, stats: base, base: base.map(Box::new), ..Self::default() }
    }

    pub(super) fn push(&mut self, point: Point, lsn: Lsn, context: ContextId, grown: &mut usize) {
        if !self.tail.is_empty() && (self.tail.len() >= BLOCK_POINTS || self.tail_context != context) {
            self.freeze(grown);
        }
        if self.tail.len() == self.tail.capacity() {
            // Grow by half, not by doubling: a run of 100,000 keys would hold twice the memory it needs.
            let more = (self.tail.len() / 2).clamp(1, TAIL_STEP_POINTS);
            self.tail.reserve_exact(more);
            *grown += more * size_of::<HeadPoint>();
        }
        self.tail_context = context;
        self.tail.push(HeadPoint { step: point.step, time_ms: point.time.0, value: point.value, lsn: lsn.0 });
        self.count(point, lsn);
    }

    #[inline]
    pub(super) fn count(&mut self, point: Point, lsn: Lsn) {
        push_stats(&mut self.stats, point);
        self.last_lsn = lsn;
    }

    /// Adds a mark: the last point counted in the stats, one of a wide row, is the last one before it.
    pub(super) fn mark(&mut self, grown: &mut usize) {
        // Freezing also records the stats. Freeze first; otherwise later points would be out of order.
        if self.tail.is_empty() {
            let Some(stats) = self.stats else { return };
            let entry = Entry { place: Place::Mark, context: ContextId(0), last_lsn: self.last_lsn, stats };
            self.push_entry(entry, grown);
        } else {
            self.freeze(grown);
        }
    }

    fn push_entry(&mut self, entry: Entry, grown: &mut usize) {
        if self.entries.len() == self.entries.capacity() {
            // Grow by half: every series of a wide run gets a mark, so doubling would waste too much.
            let more = (self.entries.len() / 2).max(1);
            self.entries.reserve_exact(more);
            *grown += more * size_of::<Entry>();
        }
        self.entries.push(entry);
    }

    pub(super) fn freeze(&mut self, grown: &mut usize) {
        if self.tail.is_empty() {
            return;
        }
        let Some(stats) = self.stats else { return };
        let positions = (self.tail.first().map_or(Lsn::ZERO, |point| Lsn(point.lsn)), self.last_tail_lsn());
        if self.is_rolled(self.tail.len() as u64) {
            self.roll(&roll_up_points(&self.tail), positions, grown);
        }
        // Move the tail into the block instead of copying it.
        let place = Place::Block(Arc::new(std::mem::take(&mut self.tail)));
        let entry = Entry { last_lsn: self.last_lsn, place, context: self.tail_context, stats };
        self.push_entry(entry, grown);
    }

    /// Sets the stats from this position on, for a series that has no points here.
    pub(super) fn keep(&mut self, stats: Stats, lsn: Lsn, grown: &mut usize) {
        self.stats = Some(stats);
        self.last_lsn = lsn;
        self.push_entry(Entry { place: Place::Mark, context: ContextId(0), last_lsn: lsn, stats }, grown);
    }

    fn last_tail_lsn(&self) -> Lsn {
        self.tail.last().map_or(Lsn::ZERO, |point| Lsn(point.lsn))
    }

    /// Whether an entry of this many points gets rollups.
    fn is_rolled(&self, points: u64) -> bool {
        self.rolled.is_some() || points >= ROLLED_POINTS_MIN || self.entries.len() >= ROLLED_ENTRIES_MIN
    }

    /// Adds the rollups of the entry that is pushed next. An empty slice: its points are in no rollup.
    fn roll(&mut self, rollups: &[Rollup], positions: (Lsn, Lsn), grown: &mut usize) {
        let rolled = match &mut self.rolled {
            Some(rolled) => rolled,
            none => {
                *grown += size_of::<Rolled>();
                let from = self.entries.last().map_or(Lsn::ZERO, |entry| entry.last_lsn);
                none.insert(Box::new(Rolled::new(from.max(self.base_lsn))))
            }
        };
        rolled.add(rollups, positions, grown);
    }

    pub(super) fn push_section(
        &mut self,
        section: SectionRef,
        (of, rollups): (Stats, &[Rollup]),
        lsn: Lsn,
        context: ContextId,
        grown: &mut usize,
    ) {
        let SectionRef { source, offset, len, flags } = section;
        self.push_place(Place::Section { source, offset, len, flags }, (of, rollups), (lsn, lsn), context, grown);
    }

    /// Adds an entry: points that lie at a place in memory or in the log. `of`: the stats of these points alone.
    /// `rollups`: their rollups, if their steps rise. `positions`: the positions of the first and the last point.
    pub(super) fn push_place(
        &mut self,
        place: Place,
        (of, rollups): (Stats, &[Rollup]),
        positions: (Lsn, Lsn),
        context: ContextId,
        grown: &mut usize,
    ) {
        let lsn = positions.1;
        self.freeze(grown);
        if self.is_rolled(of.count_raw) {
            self.roll(rollups, positions, grown);
        }
        let stats = match self.stats {
            Some(mut stats) => {
                stats.merge(&of);
                stats
            }
            None => of,
        };
        self.stats = Some(stats);
        self.last_lsn = lsn;
        self.push_entry(Entry { place, context, last_lsn: lsn, stats }, grown);
    }

    /// The stats at a position, or what is known of them and the wide rows that must be added.
    #[expect(clippy::result_large_err, reason = "both are of one size, and a hundred thousand are asked for in a row")]
    pub(super) fn stats_at(&self, at: Lsn, rows: &WideRows) -> Result<StatsAt, Pending> {
        if self.last_lsn <= at && self.last_lsn != Lsn::ZERO {
            return Ok(self.stats.map_or(StatsAt::Index, StatsAt::Known));
        }
        let entries = self.entries.partition_point(|entry| entry.last_lsn <= at);
        let last = entries.checked_sub(1).and_then(|last| self.entries.get(last));
        let start = last.map_or(self.base.as_deref().copied(), |last| Some(last.stats));
        let after = last.map_or(self.base_lsn, |last| last.last_lsn.max(self.base_lsn));
        let of_rows: Vec<HeadPoint>;
        let points: &[HeadPoint] = match self.entries.get(entries).map(|entry| &entry.place) {
            Some(Place::Block(points)) => points,
            Some(Place::Rows(rows, column)) => {
                of_rows = rows.points(*column).take_while(|point| point.lsn <= at.0).collect();
                &of_rows
            }
            // A section is one frame, so all of it is above `at`.
            Some(Place::Section { .. } | Place::Mark) => &[],
            None => &self.tail,
        };
        let points = &points[..points.partition_point(|point| point.lsn <= at.0)];
        // Points after the entry count, even those that came with it in one frame, unless the base covers them.
        let points = &points[points.partition_point(|point| point.lsn <= self.base_lsn.0)..];
        let is_known = last.is_some();
        if rows.any_between(after, at) {
            return Err(Pending { key: self.key, start, is_known, after, points: points.to_vec() });
        }
        if !is_known && points.is_empty() {
            return Ok(StatsAt::Index);
        }
        let mut stats = start;
        points.iter().for_each(|point| push_stats(&mut stats, point.point()));
        Ok(stats.map_or(StatsAt::Index, StatsAt::Known))
    }

    /// Points above `after` and at most `up_to`, without those of wide rows.
    pub(super) fn points(&self, after: Lsn, up_to: Lsn) -> HotPoints {
        let first = self.entries.partition_point(|entry| entry.last_lsn <= after);
        let mut entries: Vec<Entry> = Vec::new();
        let mut reached = false;
        for entry in &self.entries[first..] {
            // A block may cross the bound: it is kept. A section that begins beyond it is not.
            reached = entry.last_lsn > up_to;
            let wanted = match entry.place {
                Place::Block(_) | Place::Rows(..) => true,
                Place::Section { .. } => !reached,
                Place::Mark => false,
            };
            if wanted {
                entries.push(entry.clone());
            }
            if reached {
                break;
            }
        }
        let tail = if reached { Vec::new() } else { self.tail.clone() };
        let in_order = self.stats.is_some_and(|stats| !stats.maybe_repeats && !stats.unordered);
        HotPoints {
            key: self.key,
            entries,
            tail,
            tail_context: self.tail_context,
            rows: RowRange::default(),
            after,
            up_to,
            in_order,
        }
    }

    /// The rollups with points in these steps, above `after` and at most `up_to`, and the points that are in no rollup,
    /// whatever their steps. `None` if there are no rollups.
    pub(super) fn rolled(&self, (after, up_to): (Lsn, Lsn), steps: (i64, i64)) -> Option<RolledPoints> {
        let rolled = self.rolled.as_ref().filter(|rolled| !rolled.is_empty())?;
        let from = rolled.from();
        let head = if after < from { self.points(after, from.min(up_to)) } else { HotPoints::default() };
        // All entries above `from` are in rollups.
        let tail = HotPoints {
            key: self.key,
            tail: self.tail.clone(),
            tail_context: self.tail_context,
            after: after.max(from),
            up_to,
            ..HotPoints::default()
        };
        Some(RolledPoints { head, tail, ..rolled.between((after, up_to), steps) })
    }

    pub(super) fn bytes(&self) -> usize {
        let blocks: usize = self
            .entries
            .iter()
            .map(|entry| match &entry.place {
                Place::Block(points) => points.capacity() * size_of::<HeadPoint>(),
                Place::Rows(rows, _) => rows.column_bytes(),
                Place::Section { .. } | Place::Mark => 0,
            })
            .sum();
        SERIES_BYTES
            + self.base.as_ref().map_or(0, |_| BASE_BYTES)
            + self.entries.capacity() * size_of::<Entry>()
            + self.tail.capacity() * size_of::<HeadPoint>()
            + self.rolled.as_ref().map_or(0, |rolled| rolled.bytes())
            + blocks
    }

    /// Drops points at most `up_to`. `rows` is set if wide rows at most `up_to` are about to be dropped: then the stats
    /// at `up_to` become the base. It holds these stats, unless they are the newest ones.
    pub(super) fn evict(&mut self, up_to: Lsn, tight: bool, rows: Option<StatsAt>) {
        let gone = self.entries.partition_point(|entry| entry.last_lsn <= up_to);
        if let Some(at) = rows {
            let base = if self.last_lsn <= up_to { self.stats } else { at.known() };
            if let Some(base) = base {
                self.base = Some(Box::new(base));
            }
            self.base_lsn = self.base_lsn.max(up_to);
        } else if let Some(last) = gone.checked_sub(1) {
            let Entry { stats, last_lsn, .. } = self.entries[last];
            self.base = Some(Box::new(stats));
            let next = match self.entries.get(gone).map(|entry| &entry.place) {
                Some(Place::Block(points)) => points.first().map(|point| Lsn(point.lsn)),
                Some(Place::Rows(rows, _)) => rows.first_lsn(),
                Some(Place::Section { .. } | Place::Mark) => None,
                None => self.tail.first().map(|point| Lsn(point.lsn)),
            };
            // The stats do not cover later points of the same frame (that frame then has no wide row).
            let shared = next.is_some_and(|next| next == last_lsn);
            self.base_lsn = self.base_lsn.max(Lsn(last_lsn.0 - u64::from(shared)));
        }
        if self.rolled.as_mut().is_some_and(|rolled| rolled.drop_to(up_to)) && gone == self.entries.len() {
            self.rolled = None;
        }
        if gone > 0 {
            self.entries.drain(..gone);
            if tight || self.entries.capacity() > 64 {
                self.entries.shrink_to_fit();
            }
        }
        // A tail is dropped only as a whole: its stats are then the series' own, or in the base.
        let tail_gone = self.tail.last().is_some_and(|last| last.lsn <= up_to.0);
        if self.entries.is_empty() && tail_gone && (self.last_lsn <= up_to || rows.is_some()) {
            if rows.is_none() {
                self.base = self.stats.map(Box::new);
                self.base_lsn = self.base_lsn.max(self.last_lsn);
            }
            if tight || self.tail.capacity() > TAIL_KEPT_POINTS {
                self.tail = Vec::new();
            } else {
                self.tail.clear();
            }
        }
    }
}
