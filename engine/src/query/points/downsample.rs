//! A series in N buckets, with the true min and max of each.
//!
//! Buckets have equal step width over the steps that the range really holds; empty ones are left out. Every point of
//! the range is in exactly one bucket, and a bucket's numbers are exactly those of its points. If buckets hold at least
//! three rollups on average, their edges are snapped: a rollup of 256 points (or a short chunk) counts as a whole in
//! the bucket of its first step, so an edge moves by less than 256 points, and `step_first` and `step_last` say where
//! it ended up. A rollup that would fill more than two buckets (steps are sparse there) is decoded instead.

use std::ops::Range;

use super::unsealed::{Rollups, Unsealed};
use super::{Piece, SeriesSource, pieces, visible_points};
use crate::error::Result;
use crate::hot::points::RollupList;
use crate::id::Lsn;
use crate::point::Columns;
use crate::series::{ColumnSet, ROLLUP_POINTS, RollupBlock, SeriesCache, Summary};

/// With fewer points per bucket than this, edges are not snapped: everything is decoded.
const SNAP_POINTS_MIN: u64 = 3 * ROLLUP_POINTS as u64;

/// One bucket, with at least one point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Step of its first point.
    pub step_first: i64,
    /// Step of its last point.
    pub step_last: i64,
    /// Summary of its points.
    pub summary: Summary,
}

/// A series in buckets.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Downsampled {
    /// Buckets by step; at most as many as asked for.
    pub buckets: Vec<Bucket>,
    /// Whether every bucket holds exactly the points within its edges, because no edge was snapped.
    pub exact_edges: bool,
    /// Number of points in the range.
    pub count: u64,
}

/// The columns that buckets are made of.
const COLUMNS: ColumnSet = ColumnSet::STEPS.with(ColumnSet::VALUES);

/// Reads the points with steps in `steps` (both ends included) as at most `buckets` buckets.
pub fn downsample(
    source: &SeriesSource,
    steps: (i64, i64),
    buckets: usize,
    cache: &SeriesCache,
) -> Result<Downsampled> {
    if buckets == 0 || steps.0 > steps.1 {
        return Ok(Downsampled { exact_edges: true, ..Downsampled::default() });
    }
    let none = |_: &Rollups, _: Range<usize>| Ok(Columns::default());
    in_buckets(&pieces(source, steps, COLUMNS)?, buckets, cache, none)
}

/// As [`downsample`], for unsealed points with rollups. Of the unsealed points, `source` has only those that are in no
/// rollup and were logged first. `None`: the parts overlap in steps and must be decoded.
pub(crate) fn downsample_unsealed(
    source: &SeriesSource,
    unsealed: &Unsealed,
    steps: (i64, i64),
    buckets: usize,
    cache: &SeriesCache,
) -> Result<Option<Downsampled>> {
    if buckets == 0 || steps.0 > steps.1 {
        return Ok(None);
    }
    let Some(pieces) = unsealed.pieces(source, steps, COLUMNS)? else { return Ok(None) };
    in_buckets(&pieces, buckets, cache, |part, range| unsealed.decode(&part.list, range, steps)).map(Some)
}

/// Fills the buckets. `decode` returns the points of some rollups of a piece.
fn in_buckets(
    pieces: &[Piece<'_>],
    buckets: usize,
    cache: &SeriesCache,
    decode_rollups: impl Fn(&Rollups, Range<usize>) -> Result<Columns>,
) -> Result<Downsampled> {
    let mut out = Downsampled { buckets: Vec::new(), exact_edges: true, count: 0 };
    let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return Ok(out) };
    out.count = pieces.iter().map(Piece::count).sum();
    let snap = out.count / buckets as u64 >= SNAP_POINTS_MIN;
    let mut filler = Filler::new(first.step_first(), last.step_last(), buckets);
    for (place, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Points(points) => filler.points(&points.steps, &points.values),
            Piece::Rollups(part) => {
                let range = part.range.clone();
                if filler.bucket_holds(part.step_first(), part.step_last()) {
                    filler.whole(part.step_first(), part.step_last(), &part.list.sum_up(range));
                    continue;
                }
                let mut index = range.start;
                while index < range.end {
                    let taken = if snap { filler.rollups(&*part.list, index..range.end) } else { 0 };
                    if taken == 0 {
                        let end = if snap { index + 1 } else { range.end };
                        let points = decode_rollups(part, index..end)?;
                        filler.points(&points.steps, &points.values);
                        index = end;
                    }
                    index += taken;
                }
            }
            Piece::Chunk(chunk) => {
                let entry = &chunk.entry;
                if filler.bucket_holds(entry.step_first, entry.step_last) {
                    filler.whole(entry.step_first, entry.step_last, &chunk.file.summary(entry)?);
                    continue;
                }
                let decode = || visible_points(chunk, Lsn::MAX, super::ALL_STEPS, COLUMNS);
                if !snap {
                    let points = decode()?;
                    filler.points(&points.steps, &points.values);
                    continue;
                }
                let rollups = {
                    let behind = pieces.get(place + 1..).unwrap_or_default().iter().map_while(|piece| match piece {
                        Piece::Chunk(chunk) => Some((chunk.file.file_id(), &chunk.entry)),
                        Piece::Points(_) | Piece::Rollups(_) => None,
                    });
                    cache.rollups(&chunk.file, entry, behind)?
                };
                let mut points = None;
                let mut index = 0;
                while index < rollups.len() {
                    let taken = filler.rollups(&*rollups, index..rollups.len());
                    if taken > 0 {
                        index += taken;
                        continue;
                    }
                    if points.is_none() {
                        points = Some(decode()?);
                    }
                    let Some(points) = &points else { continue };
                    let range = index * ROLLUP_POINTS..points.len().min((index + 1) * ROLLUP_POINTS);
                    let (steps, values) = (points.steps.get(range.clone()), points.values.get(range));
                    filler.points(steps.unwrap_or_default(), values.unwrap_or_default());
                    index += 1;
                }
            }
        }
    }
    out.exact_edges = filler.exact;
    out.buckets = filler.finish();
    Ok(out)
}

/// Rollups in order of steps, in a chunk or in hot memory.
trait RollupsInOrder {
    fn step_first(&self, index: usize) -> i64;
    fn step_last(&self, index: usize) -> i64;
    fn sum_up(&self, range: Range<usize>) -> Summary;
}

impl RollupsInOrder for RollupBlock {
    fn step_first(&self, index: usize) -> i64 {
        self.step_first(index)
    }

    fn step_last(&self, index: usize) -> i64 {
        self.step_last(index)
    }

    fn sum_up(&self, range: Range<usize>) -> Summary {
        self.sum_up(range)
    }
}

impl RollupsInOrder for RollupList {
    fn step_first(&self, index: usize) -> i64 {
        self.step_first(index)
    }

    fn step_last(&self, index: usize) -> i64 {
        self.step_last(index)
    }

    fn sum_up(&self, range: Range<usize>) -> Summary {
        self.sum_up(range)
    }
}

/// Fills buckets from points that come in order of steps.
struct Filler {
    step_first: i64,
    /// Number of steps from the first to the last, both included, and the number of buckets they are cut into.
    span: u128,
    buckets: u128,
    done: Vec<Bucket>,
    open: Option<Bucket>,
    /// Number of the open bucket, its last step, and the last step of the next bucket.
    index: u128,
    end: i64,
    next_end: i64,
    exact: bool,
}

impl Filler {
    fn new(step_first: i64, step_last: i64, buckets: usize) -> Self {
        let span = u128::from(step_last.wrapping_sub(step_first) as u64) + 1;
        let mut filler = Self {
            step_first,
            span,
            buckets: buckets as u128,
            done: Vec::with_capacity(buckets.min(4096)),
            open: None,
            index: 0,
            end: 0,
            next_end: 0,
            exact: true,
        };
        filler.end = filler.last_step_of(0);
        filler.next_end = filler.last_step_of(1);
        filler
    }

    /// The number of the bucket for a step.
    fn index_of(&self, step: i64) -> u128 {
        divide(u128::from(step.wrapping_sub(self.step_first) as u64) * self.buckets, self.span)
    }

    /// The last step of a bucket; for a number that is too high, of the last bucket.
    fn last_step_of(&self, index: u128) -> i64 {
        // The greatest step whose index is at most `index`: ceil((index + 1) * span / buckets) - 1 from the first.
        let steps = divide((index + 1) * self.span - 1, self.buckets);
        self.step_first.wrapping_add(steps.min(self.span - 1) as u64 as i64)
    }

    /// Opens the bucket of this step. Steps never decrease between calls.
    #[inline]
    fn open_for(&mut self, step: i64) {
        if step > self.end {
            self.done.extend(self.open.take());
            if step <= self.next_end {
                self.index += 1;
                self.end = self.next_end;
            } else {
                self.index = self.index_of(step);
                self.end = self.last_step_of(self.index);
            }
            self.next_end = self.last_step_of(self.index + 1);
        }
    }

    /// Whether one bucket holds all these steps.
    fn bucket_holds(&self, first: i64, last: i64) -> bool {
        last <= self.end || (first > self.end && self.index_of(first) == self.index_of(last))
    }

    fn whole(&mut self, first: i64, last: i64, summary: &Summary) {
        self.open_for(first);
        self.exact &= last <= self.end;
        match &mut self.open {
            Some(bucket) => {
                bucket.step_last = last;
                bucket.summary.merge(summary);
            }
            None => self.open = Some(Bucket { step_first: first, step_last: last, summary: *summary }),
        }
    }

    /// Adds the first rollups of a range that belong to one bucket, and returns their number. 0: the first one would
    /// fill more than the rest of its bucket and the next.
    fn rollups(&mut self, rollups: &impl RollupsInOrder, range: Range<usize>) -> usize {
        let index = range.start;
        let first = rollups.step_first(index);
        self.open_for(first);
        let (mut low, mut high) = (index + 1, range.end);
        while low < high {
            let middle = low + (high - low) / 2;
            if rollups.step_first(middle) <= self.end {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        // Only the last rollup can reach beyond the bucket.
        let end = if rollups.step_last(low - 1) > self.next_end { low - 1 } else { low };
        if end > index {
            self.whole(first, rollups.step_last(end - 1), &rollups.sum_up(index..end));
        }
        end - index
    }

    fn points(&mut self, mut steps: &[i64], mut values: &[f64]) {
        while let Some(first) = steps.first().copied() {
            self.open_for(first);
            let end = self.end;
            let count = match steps.last() {
                Some(last) if *last <= end => steps.len(),
                _ => steps.partition_point(|step| *step <= end),
            };
            let (inside, rest) = steps.split_at(count);
            let (inside_values, rest_values) = values.split_at(count);
            self.whole(first, inside.last().copied().unwrap_or(first), &Summary::of(inside_values));
            (steps, values) = (rest, rest_values);
        }
    }

    fn finish(mut self) -> Vec<Bucket> {
        self.done.extend(self.open.take());
        self.done
    }
}

/// Division that is four times as fast for numbers that fit 64 bits, as most do.
#[inline]
fn divide(number: u128, by: u128) -> u128 {
    match (u64::try_from(number), u64::try_from(by)) {
        (Ok(number), Ok(by)) => u128::from(number / by),
        _ => number / by,
    }
}
