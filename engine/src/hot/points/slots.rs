//! The series of one run, in slots, and its rows: the data under the run's lock.

use std::ops::Range;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::entry::{Place, SectionRef};
use super::narrow::NarrowRows;
use super::read::HotPoints;
use super::rolled::RolledPoints;
use super::series::{SERIES_BYTES, Series};
use super::wide::{RowPlace, RowRange, Shape, WIDE_KEYS_MIN, WideRows};
use crate::id::{ContextId, KeyId, Lsn};
use crate::point::{Point, Stats};
use crate::summary::Rollup;
use crate::time::TimestampMs;

/// A series gets a mark after this many wide rows; marks of different series fall into different rows.
const MARK_ROWS: u32 = if cfg!(test) { 3 } else { 128 };
/// Number of series handled while a lock is held.
pub(super) const PIECE_SERIES: usize = if cfg!(test) { 3 } else { 4_096 };
/// Number of key sets a run remembers for its rows: a loop logs one for training, one for validation, and so on.
const PLANS: usize = 4;

/// The keys of a row and their slots.
#[derive(Debug)]
struct Plan {
    keys: Vec<KeyId>,
    slots: Vec<u32>,
    /// Set if rows of these keys are left in the log.
    shape: Option<Arc<Shape>>,
    /// Whether such rows are first collected as rows: they are narrow, and no key is in them twice.
    waits: bool,
    /// No key is in such rows twice.
    distinct: bool,
    /// Greatest (step, time) of the series at the time when the run's last point had this position; see
    /// [`RunSeries::row_is_new`].
    tip: Option<((i64, i64), Lsn)>,
}

impl Plan {
    fn is_of(&self, row: &[(KeyId, f64)]) -> bool {
        self.keys.len() == row.len() && self.keys.iter().zip(row).all(|(known, (key, _))| known == key)
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.keys.len() * size_of::<KeyId>() + self.slots.len() * size_of::<u32>()
    }
}

/// The series in a slot that a plan or a caller found before. Nothing is evicted in between, so it is there.
#[inline]
fn in_slot(slots: &mut [Series], slot: u32) -> Option<&mut Series> {
    let series = slots.get_mut(slot as usize);
    debug_assert!(series.is_some(), "slot {slot} is gone");
    series
}

/// The series of one run; only used under the run's lock.
#[derive(Debug, Default)]
pub struct RunSeries {
    by_key: FxHashMap<KeyId, u32>,
    pub(super) slots: Vec<Series>,
    /// The key sets of the last rows: training loops log the same ones again and again. `plan` is the one resolved
    /// last.
    plans: Vec<Plan>,
    plan: usize,
    /// The last rows of the keys of `plan`. Their series do not have these points yet.
    last_rows: NarrowRows,
    pub(super) wide: WideRows,
    /// Number of wide rows ever pushed, wrapping.
    wide_count: u32,
    /// Position of the point pushed last.
    last_lsn: Lsn,
    /// How often series were dropped; see [`RunHot::insert_bases`].
    pub(super) evictions: u64,
    /// Whether all series of the run are here: it was created in this process and never evicted.
    pub(super) complete: bool,
}

impl RunSeries {
    /// An empty run. `complete`: index and files have no series of it either.
    pub(super) fn new(complete: bool) -> Self {
        Self { complete, ..Self::default() }
    }

    /// Number of series in memory.
    pub fn series_count(&self) -> usize {
        self.slots.len()
    }

    /// The slot of a series; `None` if the series is not in memory.
    pub fn slot(&self, key: KeyId) -> Option<u32> {
        self.by_key.get(&key).copied()
    }

    pub(super) fn insert(&mut self, key: KeyId, base: Option<Stats>) -> u32 {
        *self.by_key.entry(key).or_insert_with(|| {
            let slot = self.slots.len() as u32;
            self.slots.push(Series::new(key, base));
            slot
        })
    }

    /// Makes room for more series, without doubling: slots are most of the memory of many series.
    pub(super) fn reserve(&mut self, more: usize) {
        self.by_key.reserve(more);
        if self.slots.capacity() - self.slots.len() < more {
            self.slots.reserve_exact(more.max(self.slots.len() / 4));
        }
    }

    /// Finds the slots of a row; makes missing ones if the run is complete. `Err`: the first key whose base must be
    /// read first.
    #[inline]
    pub fn resolve_row(&mut self, row: &[(KeyId, f64)], grown: &mut usize) -> Result<(), KeyId> {
        if self.plans.get(self.plan).is_some_and(|plan| plan.is_of(row)) {
            return Ok(());
        }
        self.resolve_other_row(row, grown)
    }

    fn resolve_other_row(&mut self, row: &[(KeyId, f64)], grown: &mut usize) -> Result<(), KeyId> {
        self.settle(grown);
        if let Some(known) = self.plans.iter().position(|plan| plan.is_of(row)) {
            self.plan = known;
            return Ok(());
        }
        if self.complete && self.by_key.is_empty() {
            self.reserve(row.len());
        }
        let mut slots = Vec::with_capacity(row.len());
        for &(key, _) in row {
            slots.push(self.resolve(key, grown)?);
        }
        let keys: Vec<KeyId> = row.iter().map(|(key, _)| *key).collect();
        let shape = if keys.len() >= WIDE_KEYS_MIN { Shape::of(&keys).map(Arc::new) } else { None };
        let mut sorted = slots.clone();
        sorted.sort_unstable();
        let distinct = sorted.is_sorted_by(|a, b| a < b);
        let waits = keys.len() < WIDE_KEYS_MIN && distinct;
        let plan = Plan { keys, slots, shape, waits, distinct, tip: None };
        if self.plans.len() < PLANS {
            *grown += plan.bytes();
            self.plan = self.plans.len();
            self.plans.push(plan);
        } else {
            // Replace the oldest plan: some runs never repeat a row.
            self.plan = (self.plan + 1) % self.plans.len();
            if let Some(slot) = self.plans.get_mut(self.plan) {
                *grown += plan.bytes().saturating_sub(slot.bytes());
                *slot = plan;
            }
        }
        Ok(())
    }

    /// Finds the slot of a key; makes a missing one if the run is complete. `Err`: its base must be read first.
    pub fn resolve(&mut self, key: KeyId, grown: &mut usize) -> Result<u32, KeyId> {
        match self.slot(key) {
            Some(slot) => Ok(slot),
            None if self.complete => {
                *grown += SERIES_BYTES;
                Ok(self.insert(key, None))
            }
            None => Err(key),
        }
    }

    /// Pushes the row resolved last. `place` returns the place of its values in the log, or `None` if its frame has
    /// other points; it is called only if the row stays in the log.
    #[expect(clippy::too_many_arguments, reason = "a row and its place; a struct would only rename them")]
    #[inline]
    pub fn push_row(
        &mut self,
        row: &[(KeyId, f64)],
        step: i64,
        time: TimestampMs,
        lsn: Lsn,
        context: ContextId,
        place: Option<impl FnOnce() -> RowPlace>,
        grown: &mut usize,
    ) {
        self.last_lsn = lsn;
        if self.plans.get(self.plan).is_some_and(|plan| plan.waits) {
            if !self.last_rows.is_empty() && self.last_rows.context != context {
                self.settle(grown);
            }
            self.last_rows.context = context;
            self.last_rows.push(row, step, time, lsn, grown);
            if self.last_rows.is_full() {
                self.settle_rows(grown);
            }
            return;
        }
        let Self { plans, plan, slots: all, wide, wide_count, .. } = self;
        let Some(Plan { slots, shape, .. }) = plans.get(*plan) else {
            debug_assert!(false, "a row is pushed whose keys were not resolved");
            return;
        };
        let Some((shape, place)) = shape.as_ref().zip(place) else {
            for (&slot, &(_, value)) in slots.iter().zip(row) {
                if let Some(series) = in_slot(all, slot) {
                    series.push(Point { step, time, value }, lsn, context, grown);
                }
            }
            return;
        };
        wide.push(shape, place(), context, (step, time, lsn), grown);
        *wide_count = wide_count.wrapping_add(1);
        for (&slot, &(_, value)) in slots.iter().zip(row) {
            if let Some(series) = in_slot(all, slot) {
                series.count(Point { step, time, value }, lsn);
                if slot.wrapping_add(*wide_count).is_multiple_of(MARK_ROWS) {
                    series.mark(grown);
                }
            }
        }
    }

    /// Gives the points of the last rows to their series.
    #[inline]
    pub(super) fn settle(&mut self, grown: &mut usize) {
        if !self.last_rows.is_empty() {
            self.settle_rows(grown);
        }
    }

    #[cold]
    fn settle_rows(&mut self, grown: &mut usize) {
        let Self { plans, plan, slots: all, last_rows, .. } = self;
        // The last rows have the keys of `plan`: it changes only after they are settled.
        debug_assert!(*plan < plans.len(), "the last rows have no plan");
        let slots = plans.get(*plan).map_or(&[][..], |plan| &plan.slots);
        let context = last_rows.context;
        if last_rows.is_worth_a_block() {
            let next = NarrowRows::after(last_rows, grown);
            let rows = Arc::new(std::mem::replace(last_rows, next));
            let positions = (rows.first_lsn().unwrap_or_default(), rows.last_lsn());
            let rollups = rows.rollups();
            for (column, (&slot, of)) in slots.iter().zip(rows.stats()).enumerate() {
                if let Some(series) = in_slot(all, slot) {
                    let place = Place::Rows(rows.clone(), column as u32);
                    let rollups = rollups.get(column).map_or(&[][..], std::slice::from_ref);
                    series.push_place(place, (of, rollups), positions, context, grown);
                }
            }
        } else {
            for (column, point, lsn) in last_rows.rows() {
                debug_assert!(column < slots.len(), "a row has a key that its plan has not");
                if let Some(series) = slots.get(column).and_then(|slot| in_slot(all, *slot)) {
                    series.push(point, lsn, context, grown);
                }
            }
            last_rows.clear();
        }
    }

    /// Whether a row of the keys resolved last comes, by step and then time, after the last point of each of its
    /// series. If so, none of its points can be there already.
    ///
    /// # Complexity
    /// One comparison if the row before was checked too; otherwise a look at each series.
    pub fn row_is_new(&mut self, step: i64, time: TimestampMs, grown: &mut usize) -> bool {
        let Some(plan) = self.plans.get(self.plan).filter(|plan| plan.distinct) else { return false };
        let tip = match plan.tip {
            Some((tip, at)) if at == self.last_lsn => Some(tip),
            _ => {
                self.settle(grown);
                let slots = self.plans.get(self.plan).map_or(&[][..], |plan| &plan.slots);
                let stats = slots.iter().filter_map(|slot| self.slots.get(*slot as usize)?.stats);
                stats.map(|stats| (stats.last_step, stats.last_time_ms)).max()
            }
        };
        tip.is_none_or(|tip| (step, time.0) > tip)
    }

    /// Records that the row pushed last was new by [`Self::row_is_new`], so that the next one is compared with it.
    pub fn note_new_row(&mut self, step: i64, time: TimestampMs) {
        let at = self.last_lsn;
        debug_assert!(self.plan < self.plans.len(), "the row pushed last has no plan");
        if let Some(plan) = self.plans.get_mut(self.plan) {
            plan.tip = Some(((step, time.0), at));
        }
    }

    /// Stats of all points of a series; `None` if the series is not in memory.
    pub fn newest_stats(&self, key: KeyId) -> Option<Stats> {
        self.slot(key).and_then(|slot| self.slots.get(slot as usize)?.stats)
    }

    /// How often series were dropped. If it changed, knowledge about a series may be out of date.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Whether a series got points above a position.
    pub fn has_newer(&self, key: KeyId, than: Lsn) -> bool {
        self.slot(key).and_then(|slot| self.slots.get(slot as usize)).is_some_and(|series| series.last_lsn > than)
    }

    /// Pushes one point to the series in this slot.
    pub fn push(&mut self, slot: u32, point: Point, lsn: Lsn, context: ContextId, grown: &mut usize) {
        self.settle(grown);
        self.last_lsn = lsn;
        if let Some(series) = in_slot(&mut self.slots, slot) {
            series.push(point, lsn, context, grown);
        }
    }

    /// Makes a series without points whose stats from this position on are `stats`.
    pub fn keep(&mut self, key: KeyId, stats: Stats, lsn: Lsn, grown: &mut usize) {
        self.settle(grown);
        self.last_lsn = lsn;
        *grown += if self.slot(key).is_none() { SERIES_BYTES } else { 0 };
        let slot = self.insert(key, None);
        if let Some(series) = in_slot(&mut self.slots, slot) {
            series.keep(stats, lsn, grown);
        }
    }

    /// Pushes a section that stays in the log. `of`: the stats of its points alone, with their rollups if these are
    /// known and the steps rise.
    pub fn push_section(
        &mut self,
        slot: u32,
        section: SectionRef,
        of: (Stats, &[Rollup]),
        lsn: Lsn,
        context: ContextId,
        grown: &mut usize,
    ) {
        self.settle(grown);
        self.last_lsn = lsn;
        if let Some(series) = in_slot(&mut self.slots, slot) {
            series.push_section(section, of, lsn, context, grown);
        }
    }

    /// Resets the stats of all series to their bases, after a replay of points that the bases already cover.
    pub fn reset_stats(&mut self, grown: &mut usize) {
        self.settle(grown);
        for series in &mut self.slots {
            series.freeze(grown);
            if let Some(base) = series.base.as_deref().copied() {
                series.stats = Some(base);
                series.entries.iter_mut().for_each(|entry| entry.stats = base);
                series.checkpointed = series.last_lsn;
                series.base_lsn = series.last_lsn;
            }
        }
    }

    /// Points of one series above `after`, at most `up_to`.
    pub fn points(&self, key: KeyId, after: Lsn, up_to: Lsn) -> HotPoints {
        // Set the key even if the series is unknown; otherwise a wide row would yield another series' points.
        HotPoints { key, rows: self.wide.between(after, up_to), ..self.points_but_rows(key, after, up_to) }
    }

    /// As `points`, without those of wide rows.
    pub fn points_but_rows(&self, key: KeyId, after: Lsn, up_to: Lsn) -> HotPoints {
        self.slot(key)
            .and_then(|slot| self.slots.get(slot as usize))
            .map_or_else(HotPoints::default, |series| series.points(after, up_to))
    }

    /// The rollups of one series with points in these steps, above `after` and at most `up_to`, and the points that are
    /// in no rollup. `None` if there are no rollups, or if wide rows lie between its points.
    pub fn rolled(&self, key: KeyId, (after, up_to): (Lsn, Lsn), steps: (i64, i64)) -> Option<RolledPoints> {
        if self.wide.any_between(after, up_to) {
            return None;
        }
        self.slots.get(self.slot(key)? as usize)?.rolled((after, up_to), steps)
    }

    /// The wide rows above `after` and at most `up_to`.
    pub fn rows(&self, after: Lsn, up_to: Lsn) -> RowRange {
        self.wide.between(after, up_to)
    }

    /// The series of a piece, counted from 0: [`PIECE_SERIES`] neighbouring slots.
    pub(super) fn piece(&self, piece: usize) -> &[Series] {
        let start = (piece * PIECE_SERIES).min(self.slots.len());
        let end = (start + PIECE_SERIES).min(self.slots.len());
        self.slots.get(start..end).unwrap_or_default()
    }

    pub(super) fn piece_mut(&mut self, piece: usize) -> &mut [Series] {
        let start = (piece * PIECE_SERIES).min(self.slots.len());
        let end = (start + PIECE_SERIES).min(self.slots.len());
        self.slots.get_mut(start..end).unwrap_or_default()
    }

    /// Whether nothing in memory needs a series any more.
    fn is_gone(&self, series: &Series, bounds: &Evict) -> bool {
        let idle = bounds.applied.min(bounds.idle);
        let empty = series.entries.is_empty()
            && series.tail.is_empty()
            && self.wide.first_lsn().is_none_or(|first| series.last_lsn < first);
        series.last_lsn <= idle.min(bounds.sealed) || (empty && series.last_lsn <= idle)
    }

    /// Evicts in these slots: the points of the series, if `points`, and every series that the index has completely and
    /// that was not logged to since `idle`. Returns the bytes freed, less those newly used; `gone` gets what is left to
    /// be dropped.
    pub(super) fn evict(&mut self, slots: Range<usize>, bounds: &Evict, points: bool, gone: &mut Gone) -> isize {
        let mut freed = 0isize;
        let before = self.slots.len();
        if slots == (0..before) && self.slots.iter().all(|series| self.is_gone(series, bounds)) {
            freed += self.slots.iter().map(Series::bytes).sum::<usize>() as isize;
            gone.series = std::mem::take(&mut self.slots);
            gone.by_key = std::mem::take(&mut self.by_key);
        }
        for slot in (slots.start..slots.end.min(self.slots.len())).rev() {
            let Some(series) = self.slots.get(slot) else { continue };
            if self.is_gone(series, bounds) {
                freed += series.bytes() as isize;
                gone.series.push(self.remove(slot));
            } else if points && let Some(series) = self.slots.get_mut(slot) {
                let before = series.bytes();
                series.evict(bounds.sealed, bounds.tight, None);
                freed += before as isize - series.bytes() as isize;
            }
        }
        // Sealing is over: the next writer gets new room.
        freed += self.last_rows.bytes() as isize;
        self.last_rows = NarrowRows::default();
        if self.slots.len() < before {
            freed += self.plans.iter().map(Plan::bytes).sum::<usize>() as isize;
            self.plans = Vec::new();
            self.plan = 0;
            self.evictions += 1;
            self.complete = false;
            // Shrink only now and then: each time, the remaining slots are moved.
            if self.slots.len() <= self.slots.capacity() / 2 {
                self.slots.shrink_to_fit();
                self.by_key.shrink_to_fit();
            }
        }
        freed
    }

    /// Removes the series in a slot; the last series moves into it.
    fn remove(&mut self, slot: usize) -> Series {
        let series = self.slots.swap_remove(slot);
        let removed = self.by_key.remove(&series.key);
        debug_assert_eq!(removed, Some(slot as u32), "a series was in another slot than its key says");
        if let Some(moved) = self.slots.get(slot) {
            self.by_key.insert(moved.key, slot as u32);
        }
        series
    }
}

/// Series that an eviction took out, to be dropped without locks.
#[derive(Debug, Default)]
pub(super) struct Gone {
    series: Vec<Series>,
    by_key: FxHashMap<KeyId, u32>,
}

/// Bounds of an eviction.
#[derive(Debug, Clone, Copy)]
pub struct Evict {
    /// The index has the stats up to here, for every snapshot.
    pub applied: Lsn,
    /// Files have the points up to here, for every snapshot.
    pub sealed: Lsn,
    /// Series that were logged to after this are kept, without their points: reading their stats back would cost the
    /// next append more than the memory is worth.
    pub idle: Lsn,
    /// Memory is short: free as much as possible.
    pub tight: bool,
}
