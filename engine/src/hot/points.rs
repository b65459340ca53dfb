//! Metric points above the sealed position, and the running state of every series touched since.
//!
//! Per run one lock; per series a list of entries in the order of positions, and a tail:
//!
//! ```text
//! series: base stats | entry entry entry ... | tail of packed points | running stats
//! entry = a section in a log frame (source, offset, length)   long sections: nothing is copied
//!       | a frozen block of packed points                     short sections, and narrow rows that were read at once
//!       | a column of a block of rows                         narrow rows: see [`super::narrow`]
//!       | a mark                                              no points: the stats after some wide rows
//! run:    wide rows, in the log ([`super::rows`])             of these a series has nothing but its running stats
//!         last rows, narrow ones                              of these a series knows nothing yet
//! ```
//!
//! Invariants: entries and tail are in the order of Lsn; each entry keeps the stats of the series at its `last_lsn`
//! (all its points and wide rows up to there included), so "stats at P" is the last entry at most P plus a fold over
//! less than a block and so many wide rows as lie between two marks; `stats` covers all points ever logged to the
//! series, those in the index and in sealed files included; `base` is what was there at `base_lsn`.
//! The last rows are given to their series before anybody reads or changes these: [`RunHot::lock`] does it.
//! Whoever appends holds the sequencer from the lookup of a series to the push, and so does eviction, some thousand
//! series at a time: it cannot come between. Only upkeep evicts, one at a time.
//! The lock of a run is held for the work of some thousand series at most, and never while the log is read.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard, RwLock};
use rustc_hash::FxHashMap;

use super::SectionSource;
use super::narrow::NarrowRows;
use super::past::RunPast;
use super::rows::{RowPlace, RowRange, Shape, WIDE_KEYS_MIN, WideRows};
use crate::error::{Error, Result};
use crate::event::section::SeriesSection;
use crate::id::{ContextId, ExperimentId, KeyId, Lsn, RunId};
use crate::point::{Columns, Point, PointId, Stats};
use crate::time::TimestampMs;

/// Points of a tail before it is frozen into a block.
const BLOCK_POINTS: usize = 256;
/// A tail grows by at most so many points at a time.
const TAIL_STEP_POINTS: usize = 64;
/// A tail that was evicted keeps room for this many points: its series is likely to be logged to again.
const TAIL_KEPT_POINTS: usize = 8;
/// Sections of at most this many points are copied: a reference would be larger.
pub const COPY_POINTS_MAX: usize = 8;
/// A series gets a mark every so many wide rows, not all series in the same row.
const MARK_ROWS: u32 = if cfg!(test) { 3 } else { 128 };
/// Series that are worked on under one lock.
const PIECE_SERIES: usize = if cfg!(test) { 3 } else { 4_096 };
/// Rows of different keys that a run remembers: a loop logs one for training, one for validation, and so on.
const PLANS: usize = 4;

/// One point in a head.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadPoint {
    pub(super) step: i64,
    pub(super) time_ms: i64,
    pub(super) value: f64,
    pub(super) lsn: u64,
}

impl HeadPoint {
    fn point(&self) -> Point {
        Point { step: self.step, time: TimestampMs(self.time_ms), value: self.value }
    }
}

#[derive(Debug, Clone)]
enum Place {
    Section {
        source: Arc<dyn SectionSource>,
        offset: u64,
        len: u32,
        flags: u8,
    },
    Block(Arc<Vec<HeadPoint>>),
    /// A column of a block that other series share.
    Rows(Arc<NarrowRows>, u32),
    Mark,
}

/// Points that were logged together, in place.
#[derive(Debug, Clone)]
struct Entry {
    place: Place,
    context: ContextId,
    /// Of the series' newest point when the entry was made: of a block's last one, or of a wide row behind it.
    last_lsn: Lsn,
    /// Of the whole series up to `last_lsn`.
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
    base_lsn: Lsn,
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
        self.count(point, lsn);
    }

    #[inline]
    fn count(&mut self, point: Point, lsn: Lsn) {
        push_stats(&mut self.stats, point);
        self.last_lsn = lsn;
    }

    /// The point of a wide row that was counted last is the last one before a mark.
    fn mark(&mut self, grown: &mut usize) {
        // What is frozen keeps the stats as well, and what is behind it is in order only if it is frozen first.
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
            // Not by doubling, and not from four on: all series of a wide run get one.
            let more = (self.entries.len() / 2).max(1);
            self.entries.reserve_exact(more);
            *grown += more * size_of::<Entry>();
        }
        self.entries.push(entry);
    }

    fn freeze(&mut self, grown: &mut usize) {
        if self.tail.is_empty() {
            return;
        }
        let Some(stats) = self.stats else { return };
        // The tail itself, not a copy of it.
        let place = Place::Block(Arc::new(std::mem::take(&mut self.tail)));
        let entry = Entry { last_lsn: self.last_lsn, place, context: self.tail_context, stats };
        self.push_entry(entry, grown);
    }

    /// These are the stats from here on, and there are no points.
    fn keep(&mut self, stats: Stats, lsn: Lsn, grown: &mut usize) {
        self.stats = Some(stats);
        self.last_lsn = lsn;
        self.push_entry(Entry { place: Place::Mark, context: ContextId(0), last_lsn: lsn, stats }, grown);
    }

    fn push_section(&mut self, section: SectionRef, of: Stats, lsn: Lsn, context: ContextId, grown: &mut usize) {
        let SectionRef { source, offset, len, flags } = section;
        self.push_place(Place::Section { source, offset, len, flags }, of, lsn, context, grown);
    }

    /// Adds points that lie somewhere; `of` are their stats alone, `lsn` is that of the last one.
    fn push_place(&mut self, place: Place, of: Stats, lsn: Lsn, context: ContextId, grown: &mut usize) {
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
        self.push_entry(Entry { place, context, last_lsn: lsn, stats }, grown);
    }

    /// What is known of the stats at a position, and what must be added to know them.
    #[expect(clippy::result_large_err, reason = "both are of one size, and a hundred thousand are asked for in a row")]
    fn stats_at(&self, at: Lsn, rows: &WideRows) -> Result<StatsAt, Pending> {
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
            // A section is one frame: it is above `at` as a whole.
            Some(Place::Section { .. } | Place::Mark) => &[],
            None => &self.tail,
        };
        let points = &points[..points.partition_point(|point| point.lsn <= at.0)];
        // Behind the entry, also those that came with it in one frame; but not what the base covers.
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

    /// But for wide rows.
    fn points(&self, after: Lsn, up_to: Lsn) -> HotPoints {
        let first = self.entries.partition_point(|entry| entry.last_lsn <= after);
        let mut entries: Vec<Entry> = Vec::new();
        let mut reached = false;
        for entry in &self.entries[first..] {
            // A block may straddle the bound; a section beyond it may not.
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

    fn bytes(&self) -> usize {
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
            + blocks
    }

    /// Drops points at most `up_to`. Before wide rows at most there may be dropped, `rows`: the stats at `up_to` become
    /// the base; `at` are these stats, where they are not the newest ones.
    fn evict(&mut self, up_to: Lsn, tight: bool, rows: Option<StatsAt>) {
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
            // Points of the same frame that came behind are not in it (then no wide row is in that frame).
            let shared = next.is_some_and(|next| next == last_lsn);
            self.base_lsn = self.base_lsn.max(Lsn(last_lsn.0 - u64::from(shared)));
        }
        if gone > 0 {
            self.entries.drain(..gone);
            if tight || self.entries.capacity() > 64 {
                self.entries.shrink_to_fit();
            }
        }
        // The tail goes only as a whole: then its stats are the series' own, or the base has them.
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

#[inline]
fn push_stats(stats: &mut Option<Stats>, point: Point) {
    match stats {
        Some(stats) => stats.push(point),
        None => *stats = Some(Stats::of(point)),
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

impl StatsAt {
    fn known(self) -> Option<Stats> {
        match self {
            Self::Known(stats) => Some(stats),
            Self::Index => None,
        }
    }
}

/// Stats of a series that some wide rows must be added to.
#[derive(Debug)]
struct Pending {
    key: KeyId,
    start: Option<Stats>,
    /// `start` is known to be more than the index has.
    is_known: bool,
    /// What `start` covers.
    after: Lsn,
    /// Above that, but for wide rows.
    points: Vec<HeadPoint>,
}

impl Pending {
    fn add(&self, rows: impl Iterator<Item = (Lsn, Point, ContextId)>) -> StatsAt {
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

/// Stats of series taken under the lock of their run, to be completed without it.
#[derive(Debug)]
struct Taken {
    /// Wide rows up to the position.
    rows: RowRange,
    stats: Vec<(KeyId, StatsAt)>,
    /// And their places in `stats`.
    pending: Vec<(Pending, usize)>,
}

impl Taken {
    fn new(rows: RowRange) -> Self {
        Self { rows, stats: Vec::new(), pending: Vec::new() }
    }

    fn push(&mut self, key: KeyId, at: Result<StatsAt, Pending>) {
        let at = at.unwrap_or_else(|pending| {
            self.pending.push((pending, self.stats.len()));
            StatsAt::Index
        });
        self.stats.push((key, at));
    }

    /// Adds the wide rows.
    fn complete(mut self) -> Result<Vec<(KeyId, StatsAt)>> {
        let after = self.pending.iter().map(|(pending, _)| pending.after).min();
        self.rows.skip_to(after.unwrap_or_default());
        self.pending.sort_unstable_by_key(|(pending, _)| pending.key);
        let mut keys: Vec<KeyId> = Vec::new();
        for pending in self.pending.chunks(self.rows.block_keys()) {
            keys.clear();
            keys.extend(pending.iter().map(|(pending, _)| pending.key));
            let block = self.rows.block(&keys)?;
            for (index, (pending, place)) in pending.iter().enumerate() {
                if let Some((_, at)) = self.stats.get_mut(*place) {
                    *at = pending.add(block.points(index));
                }
            }
        }
        Ok(self.stats)
    }
}

/// Points taken out of a series under its lock, to be decoded without it.
#[derive(Debug, Default)]
pub struct HotPoints {
    key: KeyId,
    rows: RowRange,
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

/// The keys of a row and their slots.
#[derive(Debug)]
struct Plan {
    keys: Vec<KeyId>,
    slots: Vec<u32>,
    /// If such rows are left in the log.
    shape: Option<Arc<Shape>>,
    /// Such rows are kept as rows for a while: they are narrow, and no key is in them twice.
    waits: bool,
    /// No key is in such rows twice.
    distinct: bool,
    /// Greatest (step, time) of the series, when the run's last point had this position: see
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

/// The series of one run, under its lock.
#[derive(Debug, Default)]
pub struct RunSeries {
    by_key: FxHashMap<KeyId, u32>,
    slots: Vec<Series>,
    /// Rows that came last: training loops log the same ones again and again. `plan` is the one resolved last.
    plans: Vec<Plan>,
    plan: usize,
    /// The last rows, of the keys of `plan`: their series have nothing of them yet.
    last_rows: NarrowRows,
    wide: WideRows,
    /// Wide rows ever pushed, wrapping.
    wide_count: u32,
    /// Position of the point that was pushed last.
    last_lsn: Lsn,
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
            // The oldest, where rows never come again.
            self.plan = (self.plan + 1) % self.plans.len();
            if let Some(slot) = self.plans.get_mut(self.plan) {
                *grown += plan.bytes().saturating_sub(slot.bytes());
                *slot = plan;
            }
        }
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

    /// Pushes the row that was resolved last. `place`: where its values are in the log, if nothing else in its frame
    /// is a point; called only if the row stays there.
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
        let Some(Plan { slots, shape, .. }) = plans.get(*plan) else { return };
        let Some((shape, place)) = shape.as_ref().zip(place) else {
            for (&slot, &(_, value)) in slots.iter().zip(row) {
                if let Some(series) = all.get_mut(slot as usize) {
                    series.push(Point { step, time, value }, lsn, context, grown);
                }
            }
            return;
        };
        wide.push(shape, place(), context, (step, time, lsn), grown);
        *wide_count = wide_count.wrapping_add(1);
        for (&slot, &(_, value)) in slots.iter().zip(row) {
            if let Some(series) = all.get_mut(slot as usize) {
                series.count(Point { step, time, value }, lsn);
                if slot.wrapping_add(*wide_count).is_multiple_of(MARK_ROWS) {
                    series.mark(grown);
                }
            }
        }
    }

    /// Gives the last rows to their series.
    #[inline]
    fn settle(&mut self, grown: &mut usize) {
        if !self.last_rows.is_empty() {
            self.settle_rows(grown);
        }
    }

    #[cold]
    fn settle_rows(&mut self, grown: &mut usize) {
        let Self { plans, plan, slots: all, last_rows, .. } = self;
        // They are of its keys: it changes only behind a settling.
        let slots = plans.get(*plan).map_or(&[][..], |plan| &plan.slots);
        let context = last_rows.context;
        if last_rows.is_worth_a_block() {
            let next = NarrowRows::after(last_rows, grown);
            let rows = Arc::new(std::mem::replace(last_rows, next));
            for (column, (&slot, of)) in slots.iter().zip(rows.stats()).enumerate() {
                if let Some(series) = all.get_mut(slot as usize) {
                    let place = Place::Rows(rows.clone(), column as u32);
                    series.push_place(place, of, rows.last_lsn(), context, grown);
                }
            }
        } else {
            for (column, point, lsn) in last_rows.rows() {
                if let Some(series) = slots.get(column).and_then(|slot| all.get_mut(*slot as usize)) {
                    series.push(point, lsn, context, grown);
                }
            }
            last_rows.clear();
        }
    }

    /// Whether a row of the keys that were resolved last lies, by step and then time, behind the last point of each of
    /// its series: then none of its points can be there already.
    ///
    /// # Complexity
    /// A compare where the row before was asked for too; else a look at each series.
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

    /// The row that was pushed last was new by [`Self::row_is_new`]: the next one is compared with it.
    pub fn note_new_row(&mut self, step: i64, time: TimestampMs) {
        let at = self.last_lsn;
        if let Some(plan) = self.plans.get_mut(self.plan) {
            plan.tip = Some(((step, time.0), at));
        }
    }

    /// Stats of all points of a series that is here.
    pub fn newest_stats(&self, key: KeyId) -> Option<Stats> {
        self.slot(key).and_then(|slot| self.slots.get(slot as usize)?.stats)
    }

    /// How often series were dropped: what was known of one since may be gone.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Whether a series got points above a position.
    pub fn has_newer(&self, key: KeyId, than: Lsn) -> bool {
        self.slot(key).and_then(|slot| self.slots.get(slot as usize)).is_some_and(|series| series.last_lsn > than)
    }

    /// Pushes one point.
    pub fn push(&mut self, slot: u32, point: Point, lsn: Lsn, context: ContextId, grown: &mut usize) {
        self.settle(grown);
        self.last_lsn = lsn;
        if let Some(series) = self.slots.get_mut(slot as usize) {
            series.push(point, lsn, context, grown);
        }
    }

    /// Makes a series without points that has these stats from a position on.
    pub fn keep(&mut self, key: KeyId, stats: Stats, lsn: Lsn, grown: &mut usize) {
        self.settle(grown);
        self.last_lsn = lsn;
        *grown += if self.slot(key).is_none() { SERIES_BYTES } else { 0 };
        let slot = self.insert(key, None);
        if let Some(series) = self.slots.get_mut(slot as usize) {
            series.keep(stats, lsn, grown);
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
        self.settle(grown);
        self.last_lsn = lsn;
        if let Some(series) = self.slots.get_mut(slot as usize) {
            series.push_section(section, of, lsn, context, grown);
        }
    }

    /// Takes the stats of all series back to their bases, after a replay of points that the bases cover already.
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
        // The key also where the run has no such series: else the rows would give another one's points.
        HotPoints { key, rows: self.wide.between(after, up_to), ..self.points_but_rows(key, after, up_to) }
    }

    /// As `points`, without those of wide rows.
    pub fn points_but_rows(&self, key: KeyId, after: Lsn, up_to: Lsn) -> HotPoints {
        self.slot(key)
            .and_then(|slot| self.slots.get(slot as usize))
            .map_or_else(HotPoints::default, |series| series.points(after, up_to))
    }

    /// The wide rows above `after` and at most `up_to`.
    pub fn rows(&self, after: Lsn, up_to: Lsn) -> RowRange {
        self.wide.between(after, up_to)
    }

    /// Series whose slots are a piece, counted from 0.
    fn piece(&self, piece: usize) -> &[Series] {
        let start = (piece * PIECE_SERIES).min(self.slots.len());
        let end = (start + PIECE_SERIES).min(self.slots.len());
        self.slots.get(start..end).unwrap_or_default()
    }

    fn piece_mut(&mut self, piece: usize) -> &mut [Series] {
        let start = (piece * PIECE_SERIES).min(self.slots.len());
        let end = (start + PIECE_SERIES).min(self.slots.len());
        self.slots.get_mut(start..end).unwrap_or_default()
    }

    /// Whether a series has nothing that is needed here.
    fn is_gone(&self, series: &Series, bounds: &Evict) -> bool {
        let idle = bounds.applied.min(bounds.idle);
        let empty = series.entries.is_empty()
            && series.tail.is_empty()
            && self.wide.first_lsn().is_none_or(|first| series.last_lsn < first);
        series.last_lsn <= idle.min(bounds.sealed) || (empty && series.last_lsn <= idle)
    }

    /// Drops points of the series in these slots, if `points`, and those that are wholly in the index and were not
    /// logged to since `idle`. Returns how many bytes were freed, less what was taken.
    fn evict(&mut self, slots: Range<usize>, bounds: &Evict, points: bool) -> isize {
        let mut freed = 0isize;
        let before = self.slots.len();
        for slot in slots.rev() {
            let Some(series) = self.slots.get(slot) else { continue };
            if self.is_gone(series, bounds) {
                freed += series.bytes() as isize;
                self.remove(slot);
            } else if points && let Some(series) = self.slots.get_mut(slot) {
                let before = series.bytes();
                series.evict(bounds.sealed, bounds.tight, None);
                freed += before as isize - series.bytes() as isize;
            }
        }
        // Sealing is over: who logs again gets new room.
        freed += self.last_rows.bytes() as isize;
        self.last_rows = NarrowRows::default();
        if self.slots.len() < before {
            freed += self.plans.iter().map(Plan::bytes).sum::<usize>() as isize;
            self.plans = Vec::new();
            self.plan = 0;
            self.evictions += 1;
            self.complete = false;
            // Not at every piece: the rest is moved.
            if self.slots.len() <= self.slots.capacity() / 2 {
                self.slots.shrink_to_fit();
                self.by_key.shrink_to_fit();
            }
        }
        freed
    }

    /// Removes the series of a slot; the last one comes to its place.
    fn remove(&mut self, slot: usize) {
        let series = self.slots.swap_remove(slot);
        self.by_key.remove(&series.key);
        if let Some(moved) = self.slots.get(slot) {
            self.by_key.insert(moved.key, slot as u32);
        }
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

/// Instead of a branch: the run is being rewound, and appends of points wait.
const HELD: u32 = u32::MAX;

/// A run with hot points, or with a handle in somebody's hands.
#[derive(Debug)]
pub struct RunHot {
    /// Its id.
    pub id: RunId,
    /// Its experiment.
    pub experiment: ExperimentId,
    gate: AtomicU8,
    /// The branch that is live, or [`HELD`].
    branch: AtomicU32,
    series: Mutex<RunSeries>,
    /// What late points were compared with. Taken before `series`, never after.
    past: Mutex<RunPast>,
    /// [`HotRuns::bytes`].
    bytes: Arc<AtomicUsize>,
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

    /// The branch that points are logged to; `None` while the run is being rewound.
    #[inline]
    pub fn branch(&self) -> Option<u32> {
        Some(self.branch.load(Ordering::Acquire)).filter(|branch| *branch != HELD)
    }

    /// Sets the live branch; ends a hold. Only under the sequencer, as all that follows.
    pub fn set_branch(&self, branch: u32) {
        self.branch.store(branch, Ordering::Release);
    }

    /// As [`RunHot::set_branch`], but a run that is held stays so.
    pub fn refresh_branch(&self, branch: u32) {
        if self.branch().is_some() {
            self.set_branch(branch);
        }
    }

    /// Makes appends of points wait until a branch is set; the one that was live. `None`: somebody else holds it.
    pub fn hold(&self) -> Option<u32> {
        Some(self.branch.swap(HELD, Ordering::AcqRel)).filter(|branch| *branch != HELD)
    }

    /// The run's series, which have all points.
    pub fn lock(&self) -> MutexGuard<'_, RunSeries> {
        let mut series = self.series.lock();
        let mut grown = 0;
        series.settle(&mut grown);
        if grown > 0 {
            self.bytes.fetch_add(grown, Ordering::Relaxed);
        }
        series
    }

    /// To append a row: the last rows may wait on. Nothing else is to be asked of the series.
    #[inline]
    pub fn lock_for_row(&self) -> MutexGuard<'_, RunSeries> {
        self.series.lock()
    }

    /// Whether no series of the run is anywhere but here, and keys and stats at a position of all series that are.
    ///
    /// # Errors
    /// `Io` if wide rows cannot be read from the log.
    pub fn stats_at(&self, at: Lsn) -> Result<(bool, Vec<(KeyId, StatsAt)>)> {
        'again: loop {
            // The rows first: what a base came to cover meanwhile may be dropped, and is not asked for then.
            let (rows, evictions) = {
                let series = self.lock();
                (series.wide.between(Lsn::ZERO, at), series.evictions)
            };
            let mut taken = Taken::new(rows);
            for piece in 0.. {
                let series = self.lock();
                if series.evictions != evictions {
                    continue 'again;
                }
                let some = series.piece(piece);
                if some.is_empty() {
                    let complete = series.complete;
                    drop(series);
                    return Ok((complete, taken.complete()?));
                }
                some.iter().for_each(|one| taken.push(one.key, one.stats_at(at, &series.wide)));
            }
        }
    }

    /// Stats of one series at a position.
    ///
    /// # Errors
    /// `Io` if wide rows cannot be read from the log.
    pub fn series_stats_at(&self, key: KeyId, at: Lsn) -> Result<StatsAt> {
        let series = self.lock();
        let Some(one) = series.slot(key).and_then(|slot| series.slots.get(slot as usize)) else {
            return Ok(StatsAt::Index);
        };
        match one.stats_at(at, &series.wide) {
            Ok(stats) => Ok(stats),
            Err(pending) => {
                let rows = series.wide.between(pending.after, at);
                drop(series);
                Ok(pending.add(rows.block(&[key])?.points(0)))
            }
        }
    }

    /// Keys of series that have, or had, points above `after`, ascending.
    pub fn keys_above(&self, after: Lsn) -> Vec<KeyId> {
        let mut keys: Vec<KeyId> = {
            let series = self.lock();
            series.slots.iter().filter(|one| one.last_lsn > after).map(|one| one.key).collect()
        };
        keys.sort_unstable();
        keys
    }

    /// Stats at `at` of all series touched since [`Self::checkpointed`], ascending by key. Only for upkeep, which alone
    /// evicts. Taken some thousand at a time; an error (`Io`, if wide rows cannot be read from the log) is one item.
    pub fn touched(run: &Arc<Self>, at: Lsn) -> impl Iterator<Item = Result<(KeyId, Stats)>> + use<> {
        let run = run.clone();
        let mut keys: Vec<KeyId> = {
            let series = run.lock();
            series.slots.iter().filter(|one| one.last_lsn > one.checkpointed).map(|one| one.key).collect()
        };
        keys.sort_unstable();
        (0..keys.len()).step_by(PIECE_SERIES).flat_map(move |start| {
            let end = (start + PIECE_SERIES).min(keys.len());
            let (found, failed) = match run.stats_of(keys.get(start..end).unwrap_or_default(), at) {
                Ok(found) => (found, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            let known = found.into_iter().filter_map(|(key, at)| at.known().map(|stats| Ok((key, stats))));
            known.chain(failed)
        })
    }

    fn stats_of(&self, keys: &[KeyId], at: Lsn) -> Result<Vec<(KeyId, StatsAt)>> {
        let series = self.lock();
        let mut taken = Taken::new(series.wide.between(Lsn::ZERO, at));
        for &key in keys {
            if let Some(one) = series.slot(key).and_then(|slot| series.slots.get(slot as usize)) {
                taken.push(key, one.stats_at(at, &series.wide));
            }
        }
        drop(series);
        taken.complete()
    }

    /// Notes that the index has the stats at `at`.
    pub fn checkpointed(&self, at: Lsn) {
        for piece in 0.. {
            let mut series = self.lock();
            let some = series.piece_mut(piece);
            if some.is_empty() {
                break;
            }
            some.iter_mut().for_each(|one| one.checkpointed = one.checkpointed.max(at));
        }
    }

    /// Makes the stats at `sealed` the bases of all series, and drops the wide rows up to there and all other points
    /// that can go. Only for upkeep. Returns how many bytes were freed, less what was taken.
    fn evict_rows(&self, bounds: &Evict) -> Result<isize> {
        let mut freed = 0isize;
        for piece in 0.. {
            let mut taken;
            {
                let series = self.lock();
                taken = Taken::new(series.wide.between(Lsn::ZERO, bounds.sealed));
                let some = series.piece(piece);
                if some.is_empty() {
                    break;
                }
                some.iter().for_each(|one| taken.push(one.key, one.stats_at(bounds.sealed, &series.wide)));
            }
            // What they were at a position never changes; who comes meanwhile has all its points above.
            let stats = taken.complete()?;
            let mut series = self.lock();
            let stats = stats.into_iter().map(|(_, at)| at).chain(std::iter::repeat(StatsAt::Index));
            for (one, at) in series.piece_mut(piece).iter_mut().zip(stats) {
                let before = one.bytes();
                one.evict(bounds.sealed, bounds.tight, Some(at));
                freed += before as isize - one.bytes() as isize;
            }
        }
        let mut series = self.lock();
        let before = series.wide.bytes();
        series.wide.drop_to(bounds.sealed);
        Ok(freed + before as isize - series.wide.bytes() as isize)
    }

    /// Which of these points a series has above `sealed`, at most `up_to`: sets their places in `found`. Returns the
    /// position above which all points were looked at: `sealed`, or one before it.
    ///
    /// # Errors
    /// `Io` if the log cannot be read.
    ///
    /// # Complexity
    /// The first times all points of the series above `sealed`; then those that came since the last time.
    pub fn find_points(
        &self,
        key: KeyId,
        (sealed, up_to): (Lsn, Lsn),
        asked: &[PointId],
        found: &mut [bool],
    ) -> Result<Lsn> {
        let mut columns = Columns::default();
        let mut past = self.past.lock();
        if !past.series.contains_key(&key) && self.lock().points(key, sealed, up_to).is_empty() {
            return Ok(sealed);
        }
        let evicted = past.evicted;
        let one = past.series.entry(key).or_default();
        let before = one.bytes();
        let from = match one.set_above(sealed, evicted) {
            Some((from, to, set)) => {
                let points = self.lock().points(key, *to, up_to);
                points.decode(&mut columns)?;
                set.extend((0..columns.len()).flat_map(|index| columns.ids(index)));
                *to = up_to.max(*to);
                for (found, id) in found.iter_mut().zip(asked) {
                    *found |= set.contains(id);
                }
                *from
            }
            None => {
                let points = self.lock().points(key, sealed, up_to);
                points.decode(&mut columns)?;
                let mut places: FxHashMap<PointId, usize> = FxHashMap::default();
                places.extend(asked.iter().copied().zip(0..));
                for index in 0..columns.len() {
                    for id in columns.ids(index) {
                        if let Some(found) = places.get(&id).and_then(|place| found.get_mut(*place)) {
                            *found = true;
                        }
                    }
                }
                sealed
            }
        };
        let grown = one.bytes().saturating_sub(before);
        past.counted += grown;
        self.bytes.fetch_add(grown, Ordering::Relaxed);
        Ok(from)
    }

    /// Points are about to be evicted: forgets what late points were compared with, as far as it is not worth keeping.
    /// How many bytes were freed, less what was taken.
    fn forget_past(&self, bounds: &Evict) -> isize {
        let mut past = self.past.lock();
        past.evicted = past.evicted.max(bounds.sealed);
        past.forget(bounds.tight, |key, to, set| {
            let mut columns = Columns::default();
            let points = self.lock().points(key, *to, Lsn::MAX);
            let decoded = points.decode(&mut columns).is_ok();
            set.extend((0..columns.len()).flat_map(|index| columns.ids(index)));
            *to = columns.lsns.last().map_or(*to, |last| Lsn(*last)).max(*to).max(bounds.sealed);
            decoded
        });
        let bytes = past.bytes();
        let freed = past.counted as isize - bytes as isize;
        past.counted = bytes;
        freed
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
            if self.insert(&bases, evictions, bytes) {
                return Ok(());
            }
        }
    }

    /// Whether nothing was dropped since.
    fn insert(&self, bases: &[(KeyId, Option<Stats>)], evictions: u64, bytes: &AtomicUsize) -> bool {
        for piece in bases.chunks(PIECE_SERIES) {
            let mut series = self.lock();
            // A series that was made, logged to and dropped meanwhile has a newer row in the index: read again.
            if series.evictions != evictions {
                return false;
            }
            series.reserve(piece.len());
            for &(key, base) in piece {
                series.insert(key, base);
                bytes.fetch_add(SERIES_BYTES + base.map_or(0, |_| BASE_BYTES), Ordering::Relaxed);
            }
        }
        true
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
    bytes: Arc<AtomicUsize>,
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
                    branch: AtomicU32::new(0),
                    series: Mutex::new(RunSeries { complete, ..RunSeries::default() }),
                    past: Mutex::default(),
                    bytes: self.bytes.clone(),
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
    /// `sequencer` is taken for the work of some thousand series at a time.
    ///
    /// # Errors
    /// `Io` if wide rows cannot be read from the log; what was not dropped stays as it was.
    pub fn evict<G>(&self, run: &Arc<RunHot>, bounds: Evict, sequencer: impl Fn() -> G) -> Result<()> {
        self.note_freed(run.forget_past(&bounds));
        let rows_go = run.lock().wide.first_lsn().is_some_and(|first| first <= bounds.sealed);
        if rows_go {
            self.note_freed(run.evict_rows(&bounds)?);
        }
        // From the last piece on: what comes to the place of a series that goes was looked at.
        let mut piece = usize::MAX;
        while piece > 0 {
            let _sequencer = sequencer();
            let mut series = run.lock();
            piece = piece.min(series.slots.len().div_ceil(PIECE_SERIES)).saturating_sub(1);
            let slots = piece * PIECE_SERIES..((piece + 1) * PIECE_SERIES).min(series.slots.len());
            let freed = series.evict(slots, &bounds, !rows_go);
            let empty = piece == 0 && series.slots.is_empty();
            drop(series);
            self.note_freed(freed);
            if empty {
                let mut runs = self.runs.write();
                // Held by the map and by the caller alone: nobody else can log to it any more.
                if runs.get(&run.id).is_some_and(|run| Arc::strong_count(run) <= 2) {
                    runs.remove(&run.id);
                }
            }
        }
        Ok(())
    }

    fn note_freed(&self, freed: isize) {
        // An estimate: growth is counted as it is asked for, what is freed as it is found (less what new bases take).
        let change = |bytes: usize| Some(bytes.saturating_add_signed(-freed));
        let _previous = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }
}
