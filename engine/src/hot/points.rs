//! Metric points above the sealed position, and the running state of every series touched since.
//!
//! Per run one lock; per series a list of entries in the order of positions, and a tail:
//!
//! ```text
//! series: base stats | entry entry entry ... | tail of packed points | running stats
//! entry = a section in a log frame (source, offset, length)   long sections: nothing is copied
//!       | a frozen block of packed points                     rows and short sections
//! ```
//!
//! Invariants: entries and tail are in the order of Lsn; each entry keeps the stats of the series up to its end, so
//! "stats at P" is the last entry at most P plus a fold over less than a block; `stats` covers all points ever logged
//! to the series, those in the index and in sealed files included (`base` is what was there before the first entry).
//! Whoever appends holds the sequencer from the lookup of a series to the push, and so does eviction, run by run:
//! it cannot come between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard, RwLock};
use rustc_hash::FxHashMap;

use super::SectionSource;
use crate::error::{Error, Result};
use crate::event::section::SeriesSection;
use crate::id::{ContextId, ExperimentId, KeyId, Lsn, RunId};
use crate::point::{Columns, Point, Stats};
use crate::time::TimestampMs;

/// Points of a tail before it is frozen into a block.
const BLOCK_POINTS: usize = 256;
/// A tail grows by at most so many points at a time.
const TAIL_STEP_POINTS: usize = 64;
/// A tail that was evicted keeps room for this many points: its series is likely to be logged to again.
const TAIL_KEPT_POINTS: usize = 8;
/// Sections of at most this many points are copied: a reference would be larger.
pub const COPY_POINTS_MAX: usize = 8;

/// One point in a head.
#[derive(Debug, Clone, Copy)]
struct HeadPoint {
    step: i64,
    time_ms: i64,
    value: f64,
    lsn: u64,
}

impl HeadPoint {
    fn point(&self) -> Point {
        Point { step: self.step, time: TimestampMs(self.time_ms), value: self.value }
    }
}

#[derive(Debug, Clone)]
enum Place {
    Section { source: Arc<dyn SectionSource>, offset: u64, len: u32, flags: u8 },
    Block(Arc<Vec<HeadPoint>>),
}

/// Points that were logged together, in place.
#[derive(Debug, Clone)]
struct Entry {
    place: Place,
    context: ContextId,
    last_lsn: Lsn,
    /// Of the whole series up to this entry's end.
    stats: Stats,
}

/// Where a series section lies: its body in a source.
#[derive(Debug, Clone)]
pub struct SectionRef {
    /// The segment.
    pub source: Arc<dyn SectionSource>,
    /// Offset of the body in it.
    pub offset: u64,
    /// Length of the body in bytes.
    pub len: u32,
    /// Flags of the section.
    pub flags: u8,
}

#[derive(Debug, Default)]
struct Series {
    key: KeyId,
    tail_context: ContextId,
    last_lsn: Lsn,
    checkpointed: Lsn,
    base: Option<Box<Stats>>,
    stats: Option<Stats>,
    entries: Vec<Entry>,
    tail: Vec<HeadPoint>,
}

/// Bytes that a series costs beside its points: the struct, its slot in the map, its place in the last row, and what
/// the allocator adds to its tail.
const SERIES_BYTES: usize = size_of::<Series>() + 40;
/// Bytes of a base, with what the allocator adds.
const BASE_BYTES: usize = size_of::<Stats>() + 16;

impl Series {
    fn push(&mut self, point: Point, lsn: Lsn, context: ContextId, grown: &mut usize) {
        if !self.tail.is_empty() && (self.tail.len() >= BLOCK_POINTS || self.tail_context != context) {
            self.freeze(grown);
        }
        if self.tail.len() == self.tail.capacity() {
            // Not by doubling: a run of 100,000 keys would hold twice what it needs.
            let more = (self.tail.len() / 2).clamp(1, TAIL_STEP_POINTS);
            self.tail.reserve_exact(more);
            *grown += more * size_of::<HeadPoint>();
        }
        self.tail_context = context;
        self.tail.push(HeadPoint { step: point.step, time_ms: point.time.0, value: point.value, lsn: lsn.0 });
        match &mut self.stats {
            Some(stats) => stats.push(point),
            None => self.stats = Some(Stats::of(point)),
        }
        self.last_lsn = lsn;
    }

    fn freeze(&mut self, grown: &mut usize) {
        let Some((last, stats)) = self.tail.last().zip(self.stats) else { return };
        let entry = Entry {
            last_lsn: Lsn(last.lsn),
            // The tail itself, not a copy of it.
            place: Place::Block(Arc::new(std::mem::take(&mut self.tail))),
            context: self.tail_context,
            stats,
        };
        *grown += size_of::<Entry>();
        self.entries.push(entry);
    }

    fn push_section(&mut self, section: SectionRef, of: Stats, lsn: Lsn, context: ContextId, grown: &mut usize) {
        self.freeze(grown);
        let stats = match self.stats {
            Some(mut stats) => {
                stats.merge(&of);
                stats
            }
            None => of,
        };
        self.stats = Some(stats);
        self.last_lsn = lsn;
        let SectionRef { source, offset, len, flags } = section;
        if self.entries.len() == self.entries.capacity() {
            *grown += self.entries.len().max(4) * size_of::<Entry>();
        }
        self.entries.push(Entry {
            place: Place::Section { source, offset, len, flags },
            context,
            last_lsn: lsn,
            stats,
        });
    }

    fn stats_at(&self, at: Lsn) -> StatsAt {
        if self.last_lsn <= at && self.last_lsn != Lsn::ZERO {
            return self.stats.map_or(StatsAt::Index, StatsAt::Known);
        }
        let entries = self.entries.partition_point(|entry| entry.last_lsn <= at);
        let before = match entries.checked_sub(1) {
            Some(last) => Some(self.entries[last].stats),
            None => self.base.as_deref().copied(),
        };
        let points: &[HeadPoint] = match self.entries.get(entries).map(|entry| &entry.place) {
            Some(Place::Block(points)) => points,
            // A section is one frame: it is above `at` as a whole.
            Some(Place::Section { .. }) => &[],
            None => &self.tail,
        };
        let points = &points[..points.partition_point(|point| point.lsn <= at.0)];
        if entries == 0 && points.is_empty() {
            return StatsAt::Index;
        }
        let stats = points.iter().fold(before, |stats, point| match stats {
            Some(mut stats) => {
                stats.push(point.point());
                Some(stats)
            }
            None => Some(Stats::of(point.point())),
        });
        stats.map_or(StatsAt::Index, StatsAt::Known)
    }

    fn points(&self, after: Lsn, up_to: Lsn) -> HotPoints {
        let first = self.entries.partition_point(|entry| entry.last_lsn <= after);
        let mut entries: Vec<Entry> = Vec::new();
        let mut reached = false;
        for entry in &self.entries[first..] {
            // A block may straddle the bound; a section beyond it may not.
            if entry.last_lsn > up_to {
                if let Place::Block(_) = entry.place {
                    entries.push(entry.clone());
                }
                reached = true;
                break;
            }
            entries.push(entry.clone());
        }
        let tail = if reached { Vec::new() } else { self.tail.clone() };
        let in_order = self.stats.is_some_and(|stats| !stats.maybe_repeats && !stats.unordered);
        HotPoints { entries, tail, tail_context: self.tail_context, after, up_to, in_order }
    }

    fn bytes(&self) -> usize {
        let blocks: usize = self
            .entries
            .iter()
            .map(|entry| match &entry.place {
                Place::Block(points) => points.capacity() * size_of::<HeadPoint>(),
                Place::Section { .. } => 0,
            })
            .sum();
        SERIES_BYTES
            + self.base.as_ref().map_or(0, |_| BASE_BYTES)
            + self.entries.capacity() * size_of::<Entry>()
            + self.tail.capacity() * size_of::<HeadPoint>()
            + blocks
    }

    fn evict(&mut self, up_to: Lsn, tight: bool) {
        let gone = self.entries.partition_point(|entry| entry.last_lsn <= up_to);
        if let Some(last) = gone.checked_sub(1) {
            self.base = Some(Box::new(self.entries[last].stats));
            self.entries.drain(..gone);
            if tight || self.entries.capacity() > 64 {
                self.entries.shrink_to_fit();
            }
        }
        // The tail goes only as a whole: then its stats are the series' own.
        if self.entries.is_empty() && self.last_lsn <= up_to && !self.tail.is_empty() {
            self.base = self.stats.map(Box::new);
            if tight || self.tail.capacity() > TAIL_KEPT_POINTS {
                self.tail = Vec::new();
            } else {
                self.tail.clear();
            }
        }
    }
}

/// What hot memory knows of a series' stats at a position.
#[derive(Debug, Clone, Copy)]
pub enum StatsAt {
    /// These.
    Known(Stats),
    /// No point of it is above the index: the index's row is right.
    Index,
}

/// Points taken out of a series under its lock, to be decoded without it.
#[derive(Debug, Default)]
pub struct HotPoints {
    entries: Vec<Entry>,
    tail: Vec<HeadPoint>,
    tail_context: ContextId,
    after: Lsn,
    up_to: Lsn,
    /// Each point of the series was logged behind all before it: in step, and not before any in time.
    in_order: bool,
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
        self.entries.is_empty() && self.tail.is_empty()
    }

    /// Appends the points above `after` and at most `up_to`, in the order of positions.
    pub fn decode(&self, out: &mut Columns) -> Result<()> {
        let mut body = Vec::new();
        for entry in &self.entries {
            self.decode_entry(entry, &mut body, out)?;
        }
        self.push(&self.tail, self.tail_context, out);
        Ok(())
    }

    /// As [`HotPoints::decode`], but where the series lies in order, what a reader of this part does not need is left
    /// out: by whole entries, in front and behind.
    ///
    /// # Complexity
    /// A page of a million points costs what the page costs.
    pub fn decode_part(&self, part: &Part, out: &mut Columns) -> Result<()> {
        if !self.in_order {
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
        self.push(&self.tail, self.tail_context, out);
        Ok(())
    }

    fn decode_entry(&self, entry: &Entry, body: &mut Vec<u8>, out: &mut Columns) -> Result<()> {
        match &entry.place {
            Place::Block(points) => self.push(points, entry.context, out),
            Place::Section { source, offset, len, flags } => {
                body.resize(*len as usize, 0);
                source.read(*offset, body)?;
                let Some(section) = SeriesSection::read(*flags, body) else {
                    return Err(Error::Internal(format!("a section at byte {offset} does not decode any more")));
                };
                section.extend(entry.last_lsn, out);
            }
        }
        Ok(())
    }

    fn push(&self, points: &[HeadPoint], context: ContextId, out: &mut Columns) {
        for point in points.iter().filter(|point| point.lsn > self.after.0 && point.lsn <= self.up_to.0) {
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

/// The series of one run, under its lock.
#[derive(Debug, Default)]
pub struct RunSeries {
    by_key: FxHashMap<KeyId, u32>,
    slots: Vec<Series>,
    /// The keys of the last row and their slots: training loops log the same row again and again.
    row_keys: Vec<KeyId>,
    row_slots: Vec<u32>,
    /// How often series were dropped; see [`RunHot::insert_bases`].
    evictions: u64,
    /// No series of this run is anywhere but here: it was created in this process and never evicted.
    complete: bool,
}

impl RunSeries {
    /// The series' slot, if it is here.
    pub fn slot(&self, key: KeyId) -> Option<u32> {
        self.by_key.get(&key).copied()
    }

    fn insert(&mut self, key: KeyId, base: Option<Stats>) -> u32 {
        *self.by_key.entry(key).or_insert_with(|| {
            let slot = self.slots.len() as u32;
            self.slots.push(Series { key, stats: base, base: base.map(Box::new), ..Series::default() });
            slot
        })
    }

    /// Makes room for more series. Not by doubling: slots are most of what many series take.
    fn reserve(&mut self, more: usize) {
        self.by_key.reserve(more);
        if self.slots.capacity() - self.slots.len() < more {
            self.slots.reserve_exact(more.max(self.slots.len() / 4));
        }
    }

    /// Finds, or for a complete run makes, the slots of a row. `Err`: the first key whose base must be read first.
    pub fn resolve_row(&mut self, row: &[(KeyId, f64)], grown: &mut usize) -> Result<(), KeyId> {
        if self.row_keys.len() == row.len() && self.row_keys.iter().zip(row).all(|(known, (key, _))| known == key) {
            return Ok(());
        }
        self.row_keys.clear();
        self.row_slots.clear();
        if self.complete && self.by_key.is_empty() {
            self.reserve(row.len());
        }
        for &(key, _) in row {
            match self.resolve(key, grown) {
                Ok(slot) => self.row_slots.push(slot),
                Err(missing) => {
                    self.row_slots.clear();
                    return Err(missing);
                }
            }
        }
        self.row_keys.extend(row.iter().map(|(key, _)| *key));
        Ok(())
    }

    /// Finds, or for a complete run makes, the slot of a key. `Err`: its base must be read first.
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

    /// Pushes the row that was resolved last.
    pub fn push_row(
        &mut self,
        row: &[(KeyId, f64)],
        step: i64,
        time: TimestampMs,
        lsn: Lsn,
        context: ContextId,
        grown: &mut usize,
    ) {
        for (&slot, &(_, value)) in self.row_slots.iter().zip(row) {
            if let Some(series) = self.slots.get_mut(slot as usize) {
                series.push(Point { step, time, value }, lsn, context, grown);
            }
        }
    }

    /// Pushes one point.
    pub fn push(&mut self, slot: u32, point: Point, lsn: Lsn, context: ContextId, grown: &mut usize) {
        if let Some(series) = self.slots.get_mut(slot as usize) {
            series.push(point, lsn, context, grown);
        }
    }

    /// Pushes a section that stays in the log; `of` are the stats of its points alone.
    pub fn push_section(
        &mut self,
        slot: u32,
        section: SectionRef,
        of: Stats,
        lsn: Lsn,
        context: ContextId,
        grown: &mut usize,
    ) {
        if let Some(series) = self.slots.get_mut(slot as usize) {
            series.push_section(section, of, lsn, context, grown);
        }
    }

    /// Takes the stats of all series back to their bases, after a replay of points that the bases cover already.
    pub fn reset_stats(&mut self, grown: &mut usize) {
        for series in &mut self.slots {
            series.freeze(grown);
            if let Some(base) = series.base.as_deref().copied() {
                series.stats = Some(base);
                series.entries.iter_mut().for_each(|entry| entry.stats = base);
                series.checkpointed = series.last_lsn;
            }
        }
    }

    /// Keys and stats at a position of all series that are here.
    pub fn stats_at(&self, at: Lsn) -> impl Iterator<Item = (KeyId, StatsAt)> + '_ {
        self.slots.iter().map(move |series| (series.key, series.stats_at(at)))
    }

    /// Stats of one series at a position.
    pub fn series_stats_at(&self, key: KeyId, at: Lsn) -> StatsAt {
        self.slot(key).and_then(|slot| self.slots.get(slot as usize)).map_or(StatsAt::Index, |s| s.stats_at(at))
    }

    /// Points of one series above `after`, at most `up_to`.
    pub fn points(&self, key: KeyId, after: Lsn, up_to: Lsn) -> HotPoints {
        self.slot(key)
            .and_then(|slot| self.slots.get(slot as usize))
            .map_or_else(HotPoints::default, |series| series.points(after, up_to))
    }

    /// Whether no series of the run is anywhere but here.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Keys of series that have, or had, points above `after`, ascending.
    pub fn keys_above(&self, after: Lsn) -> Vec<KeyId> {
        let touched = self.slots.iter().filter(|series| series.last_lsn > after);
        let mut keys: Vec<KeyId> = touched.map(|series| series.key).collect();
        keys.sort_unstable();
        keys
    }

    /// Keys of series that were logged to since [`RunSeries::checkpointed`], ascending.
    pub fn keys_touched(&self) -> Vec<KeyId> {
        let touched = self.slots.iter().filter(|series| series.last_lsn > series.checkpointed);
        let mut keys: Vec<KeyId> = touched.map(|series| series.key).collect();
        keys.sort_unstable();
        keys
    }

    /// Notes that the index has the stats at `at`.
    pub fn checkpointed(&mut self, at: Lsn) {
        for series in &mut self.slots {
            series.checkpointed = series.checkpointed.max(at);
        }
    }

    /// Drops points at most `sealed`, and series that are wholly in the index and were not logged to since `idle`.
    /// Returns whether nothing is left.
    fn evict(&mut self, bounds: Evict) -> bool {
        let idle = bounds.applied.min(bounds.idle).min(bounds.sealed);
        let gone = |series: &Series| {
            let empty = series.entries.is_empty() && series.tail.is_empty();
            series.last_lsn <= idle || (empty && series.last_lsn <= bounds.applied.min(bounds.idle))
        };
        for series in self.slots.iter_mut().filter(|series| !gone(series)) {
            series.evict(bounds.sealed, bounds.tight);
        }
        if self.slots.iter().any(gone) {
            self.slots.retain(|series| !gone(series));
            self.slots.shrink_to_fit();
            self.by_key = self.slots.iter().enumerate().map(|(slot, series)| (series.key, slot as u32)).collect();
            self.row_keys = Vec::new();
            self.row_slots = Vec::new();
            self.evictions += 1;
            self.complete = false;
        }
        self.slots.is_empty()
    }
}

/// Whether points may be logged to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Gate {
    /// Not (yet) created.
    Absent = 0,
    /// Active.
    Active = 1,
    /// Deleted.
    Deleted = 2,
    /// Purged.
    Purged = 3,
}

/// One experiment's list of runs that changed since its search projection was brought up to date.
#[derive(Debug, Default)]
pub struct Changed {
    runs: Mutex<Vec<RunId>>,
}

impl Changed {
    /// Takes the list.
    pub fn take(&self) -> Vec<RunId> {
        std::mem::take(&mut self.runs.lock())
    }

    /// Entries of the list; a run may have several.
    pub fn len(&self) -> usize {
        self.runs.lock().len()
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a run.
    pub fn add(&self, run: RunId) {
        self.runs.lock().push(run);
    }
}

/// A run with hot points, or with a handle in somebody's hands.
#[derive(Debug)]
pub struct RunHot {
    /// Its id.
    pub id: RunId,
    /// Its experiment.
    pub experiment: ExperimentId,
    gate: AtomicU8,
    series: Mutex<RunSeries>,
    changed: Arc<Changed>,
    /// Whether it is on the experiment's list.
    listed: AtomicBool,
}

impl RunHot {
    /// Whether points may be logged.
    pub fn gate(&self) -> Gate {
        match self.gate.load(Ordering::Acquire) {
            1 => Gate::Active,
            2 => Gate::Deleted,
            3 => Gate::Purged,
            _ => Gate::Absent,
        }
    }

    /// Whether it was made for a batch that was to create the run in another experiment than this, and was refused.
    fn is_left_over(&self, experiment: ExperimentId) -> bool {
        self.experiment != experiment && self.gate() == Gate::Absent
    }

    /// Opens or closes it; only under the sequencer.
    pub fn set_gate(&self, gate: Gate) {
        self.gate.store(gate as u8, Ordering::Release);
    }

    /// The run's series.
    pub fn lock(&self) -> MutexGuard<'_, RunSeries> {
        self.series.lock()
    }

    /// Notes that search must look at the run again.
    #[inline]
    pub fn note_changed(&self) {
        if !self.listed.load(Ordering::Relaxed) && !self.listed.swap(true, Ordering::AcqRel) {
            self.changed.add(self.id);
        }
    }

    /// Search looks at the run now: later changes list it again.
    pub fn note_seen(&self) {
        self.listed.store(false, Ordering::Release);
    }

    /// Makes slots for series that are not here, their stats so far read by `base` without any lock held.
    pub fn insert_bases(
        &self,
        keys: &[KeyId],
        base: impl Fn(KeyId) -> Result<Option<Stats>>,
        bytes: &AtomicUsize,
    ) -> Result<()> {
        loop {
            let (missing, evictions): (Vec<KeyId>, u64) = {
                let series = self.lock();
                (keys.iter().copied().filter(|key| series.slot(*key).is_none()).collect(), series.evictions)
            };
            let bases: Vec<_> = missing.iter().map(|&key| Ok((key, base(key)?))).collect::<Result<_>>()?;
            let mut series = self.lock();
            // A series that was made, logged to and dropped meanwhile has a newer row in the index: read again.
            if series.evictions == evictions {
                series.reserve(bases.len());
                for (key, base) in bases {
                    bytes.fetch_add(SERIES_BYTES + base.map_or(0, |_| BASE_BYTES), Ordering::Relaxed);
                    series.insert(key, base);
                }
                return Ok(());
            }
        }
    }
}

/// What may be evicted.
#[derive(Debug, Clone, Copy)]
pub struct Evict {
    /// Stats up to here are in the index, for every snapshot.
    pub applied: Lsn,
    /// Points up to here are in files, for every snapshot.
    pub sealed: Lsn,
    /// Series that were logged to after this stay, without their points: reading their stats back would cost the next
    /// append more than the memory is worth.
    pub idle: Lsn,
    /// Memory is short: give back all that can be.
    pub tight: bool,
}

/// All runs with hot points.
#[derive(Debug, Default)]
pub struct HotRuns {
    runs: RwLock<FxHashMap<RunId, Arc<RunHot>>>,
    changed: RwLock<FxHashMap<ExperimentId, Arc<Changed>>>,
    bytes: AtomicUsize,
}

impl HotRuns {
    /// The run, if it is here.
    pub fn get(&self, run: RunId) -> Option<Arc<RunHot>> {
        self.runs.read().get(&run).cloned()
    }

    /// The run; made here if it is not, with this gate. `complete`: nothing of it is in index or files.
    pub fn get_or_insert(&self, run: RunId, experiment: ExperimentId, gate: Gate, complete: bool) -> Arc<RunHot> {
        if let Some(run) = self.get(run).filter(|run| !run.is_left_over(experiment)) {
            return run;
        }
        let changed = self.changed(experiment);
        let mut runs = self.runs.write();
        if runs.get(&run).is_some_and(|run| run.is_left_over(experiment)) {
            runs.remove(&run);
        }
        runs.entry(run)
            .or_insert_with(|| {
                Arc::new(RunHot {
                    id: run,
                    experiment,
                    gate: AtomicU8::new(gate as u8),
                    series: Mutex::new(RunSeries { complete, ..RunSeries::default() }),
                    changed,
                    listed: AtomicBool::new(false),
                })
            })
            .clone()
    }

    /// The run was created in this experiment: what a refused creation in another one left goes.
    pub fn created(&self, run: RunId, experiment: ExperimentId) {
        if self.get(run).is_some_and(|run| run.is_left_over(experiment)) {
            self.runs.write().remove(&run);
        }
    }

    /// The experiment's list of changed runs.
    pub fn changed(&self, experiment: ExperimentId) -> Arc<Changed> {
        if let Some(changed) = self.changed.read().get(&experiment) {
            return changed.clone();
        }
        self.changed.write().entry(experiment).or_default().clone()
    }

    /// All runs, ascending by id.
    pub fn all(&self) -> Vec<Arc<RunHot>> {
        let mut all: Vec<_> = self.runs.read().values().cloned().collect();
        all.sort_unstable_by_key(|run| run.id);
        all
    }

    /// Estimated bytes of private memory.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The counter behind [`HotRuns::bytes`].
    pub fn bytes_counter(&self) -> &AtomicUsize {
        &self.bytes
    }

    /// Adds to the estimate.
    #[inline]
    pub fn note_grown(&self, bytes: usize) {
        if bytes > 0 {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Drops points and series of a run that are within the bounds; the run too if nothing is left and nobody holds it.
    /// Only under the sequencer.
    pub fn evict(&self, run: &Arc<RunHot>, bounds: Evict) {
        let mut series = run.lock();
        let before: usize = series.slots.iter().map(Series::bytes).sum();
        let empty = series.evict(bounds);
        let after: usize = series.slots.iter().map(Series::bytes).sum();
        drop(series);
        // An estimate: growth is counted as it is asked for, what is freed as it is found (less what new bases take).
        let change = |bytes: usize| Some((bytes + after).saturating_sub(before));
        let _previous = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
        if empty {
            let mut runs = self.runs.write();
            // Held by the map and by the caller alone: nobody else can log to it any more.
            if runs.get(&run.id).is_some_and(|run| Arc::strong_count(run) <= 2) {
                runs.remove(&run.id);
            }
        }
    }
}
