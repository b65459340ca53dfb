//! Exact reads of one series over its sealed chunks and its hot tail.
//!
//! A [`SeriesSource`] names chunks, points that are in no chunk yet, and a bound of positions: points above the bound
//! do not exist for the reader. Equal points all count; points that tie in an order come in the order in which they
//! were logged. A query takes three steps:
//!
//! 1. *Select* the chunks that overlap the query, by their entries.
//! 2. *Group* them into runs that overlap in latest order. A run of one chunk stands for itself: it may be answered by
//!    its summary or rollups. Any other run is decoded and sorted: slower, equally exact. Chunks that meet within a step
//!    do not overlap if their times say what comes first, so a series whose points all have one step is not decoded.
//! 3. Answer: [`history`], [`downsample`], [`thinned`], [`stats_at`].

mod downsample;
mod history;
#[cfg(test)]
mod tests;
mod thinned;
mod unsealed;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

pub(crate) use downsample::downsample_unsealed;
pub use downsample::{Bucket, Downsampled, downsample};
pub(crate) use history::whole_answer;
pub use history::{HistoryPage, HistoryPosition, HistoryQuery, history, history_into};
pub use thinned::thinned;
pub(crate) use thinned::thinned_unsealed;
pub(crate) use unsealed::Unsealed;

use crate::error::Result;
use crate::id::Lsn;
use crate::point::{Columns, Point, Stats, value_order};
use crate::series::{ChunkList, ChunkRef, ColumnSet, greatest, in_latest_order, least, sort_latest};
use crate::time::TimestampMs;

/// All points of one series that a snapshot can read.
#[derive(Debug, Clone)]
pub struct SeriesSource {
    /// Sealed chunks.
    pub chunks: Arc<ChunkList>,
    /// Points that are in no chunk, in order of position; their steps may be in any order.
    pub hot: Columns,
    /// The last position that is visible.
    pub up_to: Lsn,
}

impl SeriesSource {
    /// The points up to a step.
    #[must_use]
    pub fn up_to_step(&self, bound: i64) -> Self {
        let refs = self.chunks.refs().iter().filter_map(|chunk| chunk.up_to_step(bound)).collect();
        let hot = retain(&self.hot, |index| self.hot.steps[index] <= bound);
        Self { chunks: Arc::new(ChunkList::new(refs)), hot, up_to: self.up_to }
    }
}

/// The range that contains all steps.
pub const ALL_STEPS: (i64, i64) = (i64::MIN, i64::MAX);

// ---- pieces -------------------------------------------------------------------------------------------------------

/// A part of a series. The pieces of a selection are in latest order; neighbours may share a step.
#[derive(Debug)]
enum Piece<'a> {
    /// A chunk that is wholly visible and in range.
    Chunk(&'a ChunkRef),
    /// Points in latest order, at least one. Boxed, so that a piece is small.
    Points(Box<Cow<'a, Columns>>),
    /// Unsealed points, all of them visible and in range.
    Rollups(unsealed::Rollups),
}

impl Piece<'_> {
    fn step_first(&self) -> i64 {
        match self {
            Self::Chunk(chunk) => chunk.entry.step_first,
            Self::Points(points) => points.steps.first().copied().unwrap_or_default(),
            Self::Rollups(rollups) => rollups.step_first(),
        }
    }

    fn step_last(&self) -> i64 {
        match self {
            Self::Chunk(chunk) => chunk.step_last(),
            Self::Points(points) => points.steps.last().copied().unwrap_or_default(),
            Self::Rollups(rollups) => rollups.step_last(),
        }
    }

    fn count(&self) -> u64 {
        match self {
            Self::Chunk(chunk) => chunk.entry.count(),
            Self::Points(points) => points.len() as u64,
            Self::Rollups(rollups) => rollups.list.count(rollups.range.clone()),
        }
    }
}

/// Whether all of a chunk's points are visible and within these steps.
pub(super) fn is_whole(chunk: &ChunkRef, up_to: Lsn, (first, last): (i64, i64)) -> bool {
    let entry = &chunk.entry;
    let last = last.min(chunk.step_bound);
    entry.lsn_max <= up_to.min(chunk.lsn_bound).0 && entry.step_first >= first && entry.step_last <= last
}

/// A place in latest order, as far as entries tell it: step and time.
type Edge = (i64, i64);

fn begin_of(chunk: &ChunkRef) -> Edge {
    (chunk.entry.step_first, chunk.entry.time_first_ms)
}

/// An upper bound for the visible points of a chunk.
fn end_of(chunk: &ChunkRef) -> Edge {
    let whole = chunk.step_bound >= chunk.entry.step_last;
    (chunk.step_last(), if whole { chunk.entry.time_last_ms } else { i64::MAX })
}

/// Whether all of a chunk comes before the chunks that follow it in the list. The values decide between points of one step
/// and time, and then the positions, where entries have them.
fn precedes(chunk: &ChunkRef, rest: &[&ChunkRef]) -> bool {
    let [next, after @ ..] = rest else { return true };
    match end_of(chunk).cmp(&begin_of(next)) {
        Ordering::Less => true,
        Ordering::Greater => false,
        // Chunks that begin at one place are in no order of values.
        Ordering::Equal if after.first().is_some_and(|after| begin_of(after) == begin_of(next)) => false,
        Ordering::Equal => match (&chunk.entry.summary, &next.entry.summary) {
            (Some(of), Some(of_next)) => match value_order(of.last, of_next.first) {
                Ordering::Less => true,
                Ordering::Equal => chunk.entry.lsn_max <= next.entry.lsn_min,
                Ordering::Greater => false,
            },
            _ => false,
        },
    }
}

/// The points of the range, as pieces in latest order. Pieces of points have at least these columns.
fn pieces<'a>(source: &'a SeriesSource, steps: (i64, i64), want: ColumnSet) -> Result<Vec<Piece<'a>>> {
    let mut hot = hot_points(source, steps);
    if !in_latest_order(&hot) {
        hot = Cow::Owned(sort_latest(&hot));
    }
    let candidates = source.chunks.with_steps(steps);
    let mut out = Vec::with_capacity(candidates.len() + 2);
    let selected: Vec<&ChunkRef> =
        candidates.iter().filter(|r| r.step_last() >= steps.0 && r.entry.lsn_min <= source.up_to.0).collect();
    let mut rest = &selected[..];
    // Hot points before this index are in `out`; each point goes where its own step belongs.
    let mut hot_start = 0;
    while let Some((chunk, others)) = rest.split_first() {
        rest = others;
        let mut last = end_of(chunk);
        let hot_before = behind(&hot, hot_start, |edge| edge < begin_of(chunk));
        push_points(&mut out, range_of(&hot, hot_start, hot_before));
        hot_start = hot_before;
        let hot_among = |last: Edge| behind(&hot, hot_before, |edge| edge <= last);
        // The common case, thousands of times in a row: nothing else lies between the chunk's ends.
        let alone = precedes(chunk, rest) && hot_among(last) == hot_before;
        if alone {
            if is_whole(chunk, source.up_to, steps) {
                out.push(Piece::Chunk(chunk));
            } else {
                push_points(&mut out, visible_points(chunk, source.up_to, steps, want)?);
            }
            continue;
        }
        let mut all = visible_points(chunk, source.up_to, steps, ColumnSet::ALL)?;
        while let Some((next, others)) = rest.split_first().filter(|(next, _)| begin_of(next) <= last) {
            rest = others;
            last = last.max(end_of(next));
            all.append(&visible_points(next, source.up_to, steps, ColumnSet::ALL)?);
        }
        hot_start = hot_among(last);
        all.append_range(&hot, hot_before, hot_start, true);
        push_points(&mut out, sort_latest(&all));
    }
    if hot_start == 0 && !hot.is_empty() {
        out.push(Piece::Points(Box::new(hot)));
    } else {
        push_points(&mut out, range_of(&hot, hot_start, hot.len()));
    }
    Ok(out)
}

/// The first point from `start` on whose place does not fulfil `such`, of points in latest order.
fn behind(points: &Columns, start: usize, such: impl Fn(Edge) -> bool) -> usize {
    let (mut low, mut high) = (start, points.len());
    while low < high {
        let middle = low + (high - low) / 2;
        if such((points.steps[middle], points.times[middle])) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

fn range_of(points: &Columns, start: usize, end: usize) -> Columns {
    let mut out = Columns::default();
    out.append_range(points, start, end, true);
    out
}

fn push_points(out: &mut Vec<Piece<'_>>, points: Columns) {
    debug_assert!(points.steps.is_sorted(), "the points of a piece are in the order of steps");
    if !points.is_empty() {
        out.push(Piece::Points(Box::new(Cow::Owned(points))));
    }
}

fn hot_points(source: &SeriesSource, steps: (i64, i64)) -> Cow<'_, Columns> {
    let hot = &source.hot;
    let all_visible = hot.lsns.last().is_none_or(|last| *last <= source.up_to.0);
    if all_visible && steps == ALL_STEPS {
        return Cow::Borrowed(hot);
    }
    Cow::Owned(retain(hot, |i| hot.lsns[i] <= source.up_to.0 && (steps.0..=steps.1).contains(&hot.steps[i])))
}

/// The points of a chunk that are visible and within the steps, with these columns.
pub(super) fn visible_points(chunk: &ChunkRef, up_to: Lsn, steps: (i64, i64), want: ColumnSet) -> Result<Columns> {
    let mut points = Columns::default();
    let entry = &chunk.entry;
    let (steps, up_to) = ((steps.0, steps.1.min(chunk.step_bound)), up_to.min(chunk.lsn_bound));
    let bounded = entry.lsn_max > up_to.0;
    let want = if bounded { want.with(ColumnSet::LSNS) } else { want };
    chunk.file.read_chunk(entry, want.with(ColumnSet::STEPS), &mut points)?;
    if bounded {
        let lsns = std::mem::take(&mut points.lsns);
        let keep: Vec<usize> = (0..points.len()).filter(|i| lsns[*i] <= up_to.0).collect();
        points.lsns = lsns;
        points.keep(&keep);
    }
    if entry.step_first < steps.0 || entry.step_last > steps.1 {
        let start = points.steps.partition_point(|step| *step < steps.0);
        let end = points.steps.partition_point(|step| *step <= steps.1);
        points.cut(start, end.max(start));
    }
    Ok(points)
}

fn retain(points: &Columns, keep: impl Fn(usize) -> bool) -> Columns {
    let indexes: Vec<usize> = (0..points.len()).filter(|index| keep(*index)).collect();
    points.gather(&indexes)
}

// ---- counts -------------------------------------------------------------------------------------------------------

/// Number of points of the series.
///
/// # Complexity
/// Looks at each chunk's entry; reads the chunks that are only partly visible.
#[cfg(test)]
pub fn count_exact(source: &SeriesSource) -> Result<u64> {
    let mut count = source.hot.lsns.iter().filter(|lsn| **lsn <= source.up_to.0).count() as u64;
    for chunk in source.chunks.refs().iter().filter(|chunk| chunk.entry.lsn_min <= source.up_to.0) {
        count += match is_whole(chunk, source.up_to, ALL_STEPS) {
            true => chunk.entry.count(),
            false => visible_points(chunk, source.up_to, ALL_STEPS, ColumnSet::STEPS)?.len() as u64,
        };
    }
    Ok(count)
}

/// The statistics of the series as of `source.up_to`; `None` if it has no points by then.
///
/// `unordered` says whether latest order and history order differ. The order in which points were logged, and repeated
/// steps, are not checked.
pub fn stats_at(source: &SeriesSource) -> Result<Option<Stats>> {
    let mut stats: Option<Stats> = None;
    let mut add = |of: Stats| match &mut stats {
        Some(all) => merge_unordered(all, &of),
        None => stats = Some(of),
    };
    for chunk in source.chunks.refs().iter().filter(|r| r.entry.lsn_min <= source.up_to.0) {
        if is_whole(chunk, source.up_to, ALL_STEPS) {
            add(chunk.file.stats(&chunk.entry)?);
        } else {
            let points = visible_points(chunk, source.up_to, ALL_STEPS, ColumnSet::POINTS)?;
            (0..points.len()).for_each(|i| add(Stats::of(points.point(i))));
        }
    }
    let hot = &source.hot;
    for i in (0..hot.len()).filter(|i| hot.lsns[*i] <= source.up_to.0) {
        add(Stats::of(hot.point(i)));
    }
    let Some(mut stats) = stats else { return Ok(None) };
    // If NaNs tie, the one logged first counts; chunks are in no such order.
    for end in [stats.first(), stats.last()].into_iter().filter(|end| end.value.is_nan()) {
        if let Some(value) = logged_first(source, &end)? {
            let is_first = end.repeats(&stats.first());
            stats.first_value = if is_first { value } else { stats.first_value };
            stats.last_value = if end.repeats(&stats.last()) { value } else { stats.last_value };
        }
    }
    stats.maybe_repeats = stats.count_raw > 1;
    stats.unordered = !history::lies_in_order(source)?;
    Ok(Some(stats))
}

/// The value of the point logged first among those that tie with `tie`.
fn logged_first(source: &SeriesSource, tie: &Point) -> Result<Option<f64>> {
    let steps = (tie.step, tie.step);
    let mut points = hot_points(source, steps).into_owned();
    let chunks = source.chunks.with_steps(steps).iter();
    for chunk in chunks.filter(|chunk| chunk.step_last() >= tie.step && chunk.entry.lsn_min <= source.up_to.0) {
        points.append(&visible_points(chunk, source.up_to, steps, ColumnSet::ALL)?);
    }
    let ties = (0..points.len()).filter(|at| points.point(*at).repeats(tie));
    Ok(ties.min_by_key(|at| points.lsns.get(*at).copied()).map(|at| points.point(at).value))
}

/// Adds counts and extremes; the caller sets the two flags.
fn merge_unordered(all: &mut Stats, of: &Stats) {
    all.count_raw += of.count_raw;
    all.min = least(all.min, of.min);
    all.max = greatest(all.max, of.max);
    all.time_max_ms = all.time_max_ms.max(of.time_max_ms);
    let point = |step, time, value| Point { step, time: TimestampMs(time), value };
    let first = point(of.first_step, of.first_time_ms, of.first_value);
    if first.latest_order(&all.first()).is_lt() {
        (all.first_step, all.first_time_ms, all.first_value) = (of.first_step, of.first_time_ms, of.first_value);
    }
    let last = point(of.last_step, of.last_time_ms, of.last_value);
    if last.latest_order(&all.last()).is_gt() {
        (all.last_step, all.last_time_ms, all.last_value) = (of.last_step, of.last_time_ms, of.last_value);
    }
}
