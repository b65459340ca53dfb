//! A series' points in history order (time, step, value), in pages.
//!
//! The selected chunks are grouped into runs that overlap in (time, step). A run of one chunk that is in order, with no
//! hot point in its range, already is that part of the history; another run is decoded and sorted. Only the runs that a
//! page needs are decoded.

use super::{SeriesSource, visible_points};
use crate::error::Result;
use crate::hot::points::Part;
use crate::point::{Columns, Point};
use crate::series::{ChunkEntry, ChunkRef, ColumnSet};
use crate::time::TimestampMs;
use crate::varint::Bytes;

/// Which points of a history to read. Ranges include both ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HistoryQuery {
    /// Least and greatest step.
    pub steps: (i64, i64),
    /// Least and greatest time, Unix ms.
    pub times_ms: (i64, i64),
    /// Points to skip, counted from `after` or the beginning.
    pub offset: u64,
    /// Maximum number of points in a page.
    pub limit: usize,
    /// Begin after this position, which the previous page returned.
    pub after: Option<HistoryPosition>,
    /// The columns to read; the others come back empty.
    pub columns: ColumnSet,
}

impl Default for HistoryQuery {
    /// All points in one page, with all columns except contexts and positions.
    fn default() -> Self {
        Self {
            steps: super::ALL_STEPS,
            times_ms: super::ALL_STEPS,
            offset: 0,
            limit: usize::MAX,
            after: None,
            columns: ColumnSet::POINTS,
        }
    }
}

impl HistoryQuery {
    /// The part that a page of this query can contain, for points that come after all others in history order.
    pub(crate) fn part(&self) -> Part {
        Part {
            steps: self.steps,
            times_ms: self.times_ms,
            from: self.after.map(|position| (position.point.time.0, position.point.step)),
            count: self.offset.saturating_add(self.limit as u64),
        }
    }
}

/// A position in a history: just after the point that it names. It stays valid when points are added.
#[derive(Debug, Clone, Copy)]
pub struct HistoryPosition {
    point: Point,
    /// Number of equal points up to the position, its own point included.
    ties: u64,
}

impl PartialEq for HistoryPosition {
    fn eq(&self, other: &Self) -> bool {
        self.point.repeats(&other.point) && self.ties == other.ties
    }
}

impl HistoryPosition {
    /// Encodes the position, for a page token.
    pub fn to_bytes(self) -> [u8; 32] {
        let Point { step, time, value } = self.point;
        let mut out = [0; 32];
        let numbers =
            [time.0.to_le_bytes(), step.to_le_bytes(), value.to_bits().to_le_bytes(), self.ties.to_le_bytes()];
        for (slot, number) in out.chunks_exact_mut(8).zip(numbers) {
            slot.copy_from_slice(&number);
        }
        out
    }

    /// Decodes a position; `None` if the bytes are none. One of 24 bytes, as earlier versions wrote, is after all
    /// points that are equal to its own.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut bytes = Bytes::new(bytes);
        let (time, step, value) = (bytes.i64()?, bytes.i64()?, bytes.f64()?);
        let ties = if bytes.is_empty() { u64::MAX } else { bytes.u64()? };
        bytes.is_empty().then_some(Self { point: Point { step, time: TimestampMs(time), value }, ties })
    }
}

/// A page of a history.
#[derive(Debug, Clone, Default)]
pub struct HistoryPage {
    /// The columns asked for.
    pub columns: Columns,
    /// Position of the next page, if the limit ended this one and there may be more points.
    pub next: Option<HistoryPosition>,
}

/// Reads a page of a history.
pub fn history(source: &SeriesSource, query: &HistoryQuery) -> Result<HistoryPage> {
    let mut page = HistoryPage::default();
    history_into(source, query, &mut page)?;
    Ok(page)
}

/// As [`history`], into a page whose columns are reused. Saves allocations if you read page after page, or the same
/// million points again and again: fresh memory costs more than decoding into it.
pub fn history_into(source: &SeriesSource, query: &HistoryQuery, page: &mut HistoryPage) -> Result<()> {
    let mut columns = std::mem::take(&mut page.columns);
    columns.clear();
    page.next = None;
    if query.limit > 0 && query.steps.0 <= query.steps.1 && query.times_ms.0 <= query.times_ms.1 {
        *page = Selection::of(source, query.steps, query.times_ms).page(query, columns)?;
    }
    Ok(())
}

/// The answer to a query for all of a series that has no chunk yet and is in order: its points, moved out of the source
/// without a copy.
pub(crate) fn whole_answer(source: &mut SeriesSource, query: &HistoryQuery) -> Option<HistoryPage> {
    let hot = &source.hot;
    let everything = query.steps == super::ALL_STEPS && query.times_ms == super::ALL_STEPS;
    // With a limit, only the points that a page needs were decoded.
    let whole = everything && query.offset == 0 && query.after.is_none() && query.limit == usize::MAX;
    let visible = || hot.lsns.iter().all(|lsn| *lsn <= source.up_to.0);
    let in_order = || (1..hot.len()).all(|at| hot.point(at - 1).history_order(&hot.point(at)).is_le());
    if !whole || !source.chunks.refs().is_empty() || !visible() || !in_order() {
        return None;
    }
    let mut columns = std::mem::take(&mut source.hot);
    let has = |column| query.columns.has(column);
    // Clear, do not drop: the caller that gave the memory uses it again.
    if !has(ColumnSet::STEPS) {
        columns.steps.clear();
    }
    if !has(ColumnSet::TIMES) {
        columns.times.clear();
    }
    if !has(ColumnSet::VALUES) {
        columns.values.clear();
    }
    if !has(ColumnSet::LSNS) {
        columns.lsns.clear();
    }
    if !has(ColumnSet::CONTEXTS) {
        columns.contexts.clear();
    }
    Some(HistoryPage { columns, next: None })
}

/// Whether latest order and history order are the same for all visible points.
pub(super) fn lies_in_order(source: &SeriesSource) -> Result<bool> {
    if Selection::of(source, super::ALL_STEPS, super::ALL_STEPS).lies_in_order() {
        return Ok(true);
    }
    let mut last = None;
    let mut ordered = true;
    let query = HistoryQuery::default();
    let page = Selection::of(source, super::ALL_STEPS, super::ALL_STEPS).page(&query, Columns::default())?;
    for i in 0..page.columns.len() {
        let point = page.columns.point(i);
        ordered &= last.is_none_or(|last: Point| last.latest_order(&point).is_le());
        last = Some(point);
    }
    Ok(ordered)
}

/// The chunks and hot points that overlap a query.
struct Selection<'a> {
    source: &'a SeriesSource,
    steps: (i64, i64),
    times: (i64, i64),
    chunks: Vec<&'a ChunkRef>,
    /// Indexes of the visible hot points in the ranges, in order of position.
    hot: Vec<usize>,
}

impl<'a> Selection<'a> {
    fn of(source: &'a SeriesSource, steps: (i64, i64), times: (i64, i64)) -> Self {
        let overlaps = |chunk: &ChunkRef| {
            let entry = &chunk.entry;
            chunk.step_last() >= steps.0
                && entry.lsn_min <= source.up_to.0
                && entry.time_max_ms >= times.0
                && entry.time_min_ms <= times.1
        };
        let hot = &source.hot;
        let in_range = |i: &usize| {
            hot.lsns[*i] <= source.up_to.0
                && (steps.0..=steps.1).contains(&hot.steps[*i])
                && (times.0..=times.1).contains(&hot.times[*i])
        };
        Self {
            source,
            steps,
            times,
            chunks: source.chunks.with_steps(steps).iter().filter(|r| overlaps(r)).collect(),
            hot: (0..hot.len()).filter(in_range).collect(),
        }
    }

    /// Whether the points are in history order as stored. May be false although they are.
    fn lies_in_order(&self) -> bool {
        let mut last: Option<(i64, i64)> = None;
        for entry in self.chunks.iter().map(|r| &r.entry) {
            let behind = last.is_none_or(|(step, time)| step < entry.step_first && time <= entry.time_first_ms);
            if !behind || !entry.is_time_sorted() {
                return false;
            }
            last = Some((entry.step_last, entry.time_last_ms));
        }
        let hot = &self.source.hot;
        for index in &self.hot {
            let (step, time) = (hot.steps[*index], hot.times[*index]);
            if last.is_some_and(|(last_step, last_time)| step <= last_step || time < last_time) {
                return false;
            }
            last = Some((step, time));
        }
        true
    }

    /// Reads the page. `out` must be empty; its memory is used.
    fn page(mut self, query: &HistoryQuery, out: Columns) -> Result<HistoryPage> {
        let hot = &self.source.hot;
        // They come in the order of positions, and a stable sort keeps equal points in that order.
        if !self.hot.is_sorted_by(|a, b| hot.point(*a).history_order(&hot.point(*b)).is_le()) {
            self.hot.sort_by(|a, b| hot.point(*a).history_order(&hot.point(*b)));
        }
        let start_of = |entry: &ChunkEntry| (entry.time_min_ms, entry.step_first);
        let end_of = |entry: &ChunkEntry| (entry.time_max_ms, entry.step_last);
        self.chunks.sort_by_key(|chunk| start_of(&chunk.entry));

        let mut page = Page { out, left: query.limit, skip: query.offset, next: None };
        let most: u64 = self.chunks.iter().map(|chunk| chunk.entry.count()).sum::<u64>() + self.hot.len() as u64;
        page.out.reserve(query.limit.min(usize::try_from(most).unwrap_or(0)), query.columns);
        let after = query.after.map(|position| (position.point.time.0, position.point.step));
        let mut rest = self.chunks.as_slice();
        let mut hot_rest = self.hot.as_slice();
        let mut hot_until = |before: &dyn Fn((i64, i64)) -> bool| {
            let count = hot_rest.partition_point(|index| before((hot.times[*index], hot.steps[*index])));
            let (taken, behind) = hot_rest.split_at(count);
            hot_rest = behind;
            taken
        };
        while let Some(first) = rest.first() {
            let mut end = end_of(&first.entry);
            let mut count = 1;
            while let Some(next) = rest.get(count).filter(|next| start_of(&next.entry) <= end) {
                end = end.max(end_of(&next.entry));
                count += 1;
            }
            let (run, behind) = rest.split_at(count);
            rest = behind;
            let hot_before = hot_until(&|at| at < start_of(&first.entry));
            let hot_among = hot_until(&|at| at <= end);
            self.take_mixed(&[], hot_before, query, &mut page)?;
            if page.left == 0 {
                break;
            }
            if after.is_some_and(|after| end < after) {
                continue;
            }
            match run {
                [only] if hot_among.is_empty() && only.entry.is_time_sorted() => {
                    self.take_in_order(only, query, &mut page)?;
                }
                run => self.take_mixed(run, hot_among, query, &mut page)?,
            }
        }
        self.take_mixed(&[], hot_until(&|_| true), query, &mut page)?;
        Ok(page.finish(query.columns))
    }

    /// Adds a chunk whose points are a contiguous part of the history.
    fn take_in_order(&self, chunk: &ChunkRef, query: &HistoryQuery, page: &mut Page) -> Result<()> {
        let entry = &chunk.entry;
        let bounded_time = entry.time_min_ms < self.times.0 || entry.time_max_ms > self.times.1;
        let is_behind =
            |after: HistoryPosition| (entry.time_first_ms, entry.step_first) > (after.point.time.0, after.point.step);
        let whole = super::is_whole(chunk, self.source.up_to, self.steps) && !bounded_time;
        if whole && query.after.is_none_or(is_behind) {
            if page.skip >= entry.count() {
                page.skip -= entry.count();
                return Ok(());
            }
            if page.skip == 0 && page.left as u64 > entry.count() {
                // The common case: decode straight into the answer.
                chunk.file.read_chunk(entry, query.columns.with(ColumnSet::STEPS), &mut page.out)?;
                page.left -= entry.count() as usize;
                return Ok(());
            }
        }
        let want = query.columns.with(ColumnSet::POINTS);
        let mut points = visible_points(chunk, self.source.up_to, self.steps, want)?;
        if bounded_time {
            let start = points.times.partition_point(|time| *time < self.times.0);
            let end = points.times.partition_point(|time| *time <= self.times.1);
            points.cut(start, end.max(start));
        }
        page.take(&points, query.after, query.columns);
        Ok(())
    }

    /// Adds chunks and hot points (by index, in history order) that overlap: decodes and sorts them.
    fn take_mixed(&self, chunks: &[&ChunkRef], hot: &[usize], query: &HistoryQuery, page: &mut Page) -> Result<()> {
        if page.left == 0 || (chunks.is_empty() && hot.is_empty()) {
            return Ok(());
        }
        let mut all = Columns::default();
        for chunk in chunks {
            all.append(&visible_points(chunk, self.source.up_to, self.steps, ColumnSet::ALL)?);
        }
        all.append(&self.source.hot.gather(hot));
        if !chunks.is_empty() {
            let in_range = |i: &usize| (self.times.0..=self.times.1).contains(&all.times[*i]);
            let mut order: Vec<usize> = (0..all.len()).filter(in_range).collect();
            order.sort_by(|a, b| {
                all.point(*a).history_order(&all.point(*b)).then_with(|| all.lsns[*a].cmp(&all.lsns[*b]))
            });
            all = all.gather(&order);
        }
        page.take(&all, query.after, query.columns);
        Ok(())
    }
}

impl Columns {
    /// Reserves memory for the points of a page.
    fn reserve(&mut self, points: usize, columns: ColumnSet) {
        self.steps.reserve(points);
        if columns.has(ColumnSet::TIMES) {
            self.times.reserve(points);
        }
        if columns.has(ColumnSet::VALUES) {
            self.values.reserve(points);
        }
        if columns.has(ColumnSet::LSNS) {
            self.lsns.reserve(points);
        }
    }
}

struct Page {
    out: Columns,
    left: usize,
    skip: u64,
    next: Option<HistoryPosition>,
}

impl Page {
    /// Adds as many points as the page still needs, from points in history order. They include all that are equal to
    /// one of them.
    fn take(&mut self, points: &Columns, after: Option<HistoryPosition>, columns: ColumnSet) {
        let start = after.map_or(0, |after| {
            let first = partition(points.len(), |i| points.point(i).history_order(&after.point).is_lt());
            let end = partition(points.len(), |i| points.point(i).history_order(&after.point).is_le());
            first.saturating_add(usize::try_from(after.ties).unwrap_or(usize::MAX)).min(end)
        });
        let skipped = self.skip.min((points.len() - start) as u64);
        self.skip -= skipped;
        let start = start + skipped as usize;
        let end = points.len().min(start.saturating_add(self.left));
        if start >= end {
            return;
        }
        self.out.append_range(points, start, end, columns.has(ColumnSet::CONTEXTS));
        self.left -= end - start;
        if self.left == 0 {
            let point = points.point(end - 1);
            let first = partition(points.len(), |i| points.point(i).history_order(&point).is_lt());
            self.next = Some(HistoryPosition { point, ties: (end - first) as u64 });
        }
    }

    fn finish(self, columns: ColumnSet) -> HistoryPage {
        let mut out = self.out;
        if !columns.has(ColumnSet::STEPS) {
            out.steps = Vec::new();
        }
        if !columns.has(ColumnSet::TIMES) {
            out.times = Vec::new();
        }
        if !columns.has(ColumnSet::VALUES) {
            out.values = Vec::new();
        }
        if !columns.has(ColumnSet::LSNS) {
            out.lsns = Vec::new();
        }
        HistoryPage { columns: out, next: self.next }
    }
}

/// The first index for which `before` no longer holds.
fn partition(len: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
