//! A few points of a series that stand for all of them: the first, the last, and the extremes between.
//!
//! The range is cut by number of points, not by steps, so a series whose points all have one step is cut too. Each part
//! gives its least and its greatest point (NaN counts only if there is nothing else); evenly spread points fill what is
//! left of the number asked for. As in [`super::downsample`] the
//! edges are snapped to rollups where a part has three or more of them: the parts then differ in length by less than two
//! rollups. Summaries tell where the extremes are; only the chunks that hold one are decoded.

use std::borrow::Cow;
use std::ops::Range;

use super::unsealed::Unsealed;
use super::{Piece, SeriesSource, pieces, visible_points};
use crate::error::Result;
use crate::id::Lsn;
use crate::point::{Columns, Point};
use crate::series::{ColumnSet, ROLLUP_POINTS, SeriesCache, Summary};

/// With fewer points per part than this, edges are not snapped: everything is decoded.
const SNAP_POINTS_MIN: u64 = 3 * ROLLUP_POINTS as u64;

/// At most `most` points with steps in `steps` (both ends included), in latest order: all of them if there are no more.
/// One point is the last one.
pub fn thinned(source: &SeriesSource, steps: (i64, i64), most: usize, cache: &SeriesCache) -> Result<Vec<Point>> {
    if most == 0 || steps.0 > steps.1 {
        return Ok(Vec::new());
    }
    Thinning { pieces: &pieces(source, steps, ColumnSet::POINTS)?, unsealed: None, steps, cache }.points(most)
}

/// As [`thinned`], for unsealed points with rollups; see [`super::downsample_unsealed`].
pub(crate) fn thinned_unsealed(
    source: &SeriesSource,
    unsealed: &Unsealed,
    steps: (i64, i64),
    most: usize,
    cache: &SeriesCache,
) -> Result<Option<Vec<Point>>> {
    if most == 0 || steps.0 > steps.1 {
        return Ok(None);
    }
    let Some(pieces) = unsealed.pieces(source, steps, ColumnSet::POINTS)? else { return Ok(None) };
    Thinning { pieces: &pieces, unsealed: Some(unsealed), steps, cache }.points(most).map(Some)
}

/// Neighbouring points of one piece: by their numbers in the piece, and in a piece of rollups by the numbers of these.
#[derive(Debug, Clone)]
struct Place {
    piece: usize,
    points: Range<usize>,
    rollups: Range<usize>,
}

/// The point of a place that is wanted.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    First,
    Last,
    /// The first one with this value.
    Value(f64),
    /// The first one that is no number.
    Nan,
}

/// The extremes of one part of the range.
#[derive(Debug, Default)]
struct Part {
    least: Option<(f64, Place)>,
    greatest: Option<(f64, Place)>,
    nan: Option<Place>,
}

impl Part {
    fn add(&mut self, least: f64, greatest: f64, place: impl Fn() -> Place) {
        if least.is_nan() {
            if self.nan.is_none() {
                self.nan = Some(place());
            }
            return;
        }
        if self.least.as_ref().is_none_or(|(value, _)| least < *value) {
            self.least = Some((least, place()));
        }
        if self.greatest.as_ref().is_none_or(|(value, _)| greatest > *value) {
            self.greatest = Some((greatest, place()));
        }
    }

    fn wanted(self, out: &mut Vec<(Place, Wanted)>) {
        match (self.least, self.greatest) {
            (Some((least, at)), Some((greatest, there))) => {
                out.extend([(at, Wanted::Value(least)), (there, Wanted::Value(greatest))]);
            }
            _ => out.extend(self.nan.map(|place| (place, Wanted::Nan))),
        }
    }
}

struct Thinning<'a> {
    pieces: &'a [Piece<'a>],
    /// Of the pieces of rollups.
    unsealed: Option<&'a Unsealed>,
    steps: (i64, i64),
    cache: &'a SeriesCache,
}

impl Thinning<'_> {
    fn points(&self, most: usize) -> Result<Vec<Point>> {
        let total: u64 = self.pieces.iter().map(Piece::count).sum();
        if total <= most as u64 {
            let mut all = Vec::with_capacity(total as usize);
            for piece in 0..self.pieces.len() {
                let columns = self.decoded(piece, &(0..usize::MAX))?;
                all.extend((0..columns.len()).map(|at| columns.point(at)));
            }
            return Ok(all);
        }
        let mut wanted = Vec::with_capacity(most);
        let ends = [(0, Wanted::First), (self.pieces.len() - 1, Wanted::Last)];
        for (piece, which) in ends.into_iter().skip(usize::from(most == 1)) {
            wanted.push((self.end_of(piece, which), which));
        }
        let parts = most.saturating_sub(ends.len()) / 2;
        if parts > 0 {
            self.extremes(total, parts as u64, &mut wanted)?;
        }
        let mut found = self.found(wanted)?;
        if found.len() < most {
            let more = self.found(self.between(&found, total, most))?;
            found.extend(more);
            found.sort_by_key(|(place, _)| *place);
        }
        Ok(found.into_iter().map(|(_, point)| point).collect())
    }

    /// Evenly spread points that are not found yet, for what is left of `most`: of a series that only rises or falls the
    /// answer is then spread as evenly as one without extremes.
    fn between(&self, found: &[((usize, usize), Point)], total: u64, most: usize) -> Vec<(Place, Wanted)> {
        let mut begins = Vec::with_capacity(self.pieces.len());
        let mut next = 0;
        for piece in self.pieces {
            begins.push(next);
            next += piece.count();
        }
        let ranks: Vec<u64> = found.iter().map(|((piece, at), _)| begins[*piece] + *at as u64).collect();
        // Parts as equal as can be, the longer ones first; the first point of each.
        let (short, longer) = (total / most as u64, total % most as u64);
        let spread = (0..most as u64).map(|part| part * short + part.min(longer));
        let missing: Vec<u64> = spread.filter(|rank| ranks.binary_search(rank).is_err()).collect();
        let left = (most - found.len()).min(missing.len());
        let chosen = (0..left).map(|at| missing[at * missing.len() / left]);
        let place = |rank: u64| {
            let piece = begins.partition_point(|begin| *begin <= rank).saturating_sub(1);
            let at = (rank - begins[piece]) as usize;
            let rollups = match &self.pieces[piece] {
                Piece::Rollups(part) => {
                    let from = part.range.start;
                    let ends_before = |rollup: &usize| part.list.count(from..from + rollup + 1) as usize <= at;
                    let rollup = (0..part.range.len()).take_while(ends_before).count();
                    rollup..rollup + 1
                }
                Piece::Points(_) | Piece::Chunk(_) => 0..0,
            };
            Place { piece, points: at..at + 1, rollups }
        };
        chosen.map(|rank| (place(rank), Wanted::First)).collect()
    }

    /// The first or the last rollup of a piece, or all of the piece.
    fn end_of(&self, piece: usize, which: Wanted) -> Place {
        match &self.pieces[piece] {
            Piece::Rollups(part) => {
                let at = if matches!(which, Wanted::First) { 0 } else { part.range.len() - 1 };
                self.of_rollups(piece, at..at + 1)
            }
            whole => Place { piece, points: 0..whole.count() as usize, rollups: 0..0 },
        }
    }

    /// The place of some rollups of a piece of rollups, counted from the first one of the piece.
    fn of_rollups(&self, piece: usize, rollups: Range<usize>) -> Place {
        let Piece::Rollups(part) = &self.pieces[piece] else { return Place { piece, points: 0..0, rollups } };
        let count = |range: Range<usize>| part.list.count(range) as usize;
        let from = part.range.start;
        let before = count(from..from + rollups.start);
        let points = before..before + count(from + rollups.start..from + rollups.end);
        Place { piece, points, rollups }
    }

    /// Adds the extremes of each of `parts` parts.
    fn extremes(&self, total: u64, parts: u64, wanted: &mut Vec<(Place, Wanted)>) -> Result<()> {
        let snap = total / parts >= SNAP_POINTS_MIN;
        let part_of = |rank: u64| (u128::from(rank) * u128::from(parts) / u128::from(total)) as u64;
        // The rank of the first point of a part.
        let begin_of = |part: u64| (u128::from(part) * u128::from(total)).div_ceil(u128::from(parts)) as u64;
        let (mut part, mut number) = (Part::default(), 0);
        let mut add = |rank: u64, summary: (f64, f64), place: &dyn Fn() -> Place| {
            let now = part_of(rank);
            if now != number {
                std::mem::take(&mut part).wanted(wanted);
                number = now;
            }
            part.add(summary.0, summary.1, place);
        };
        let mut rank = 0;
        for (piece, found) in self.pieces.iter().enumerate() {
            let count = found.count();
            let in_one_part = part_of(rank) == part_of(rank + count - 1);
            // Rollups of this piece, if they are to be taken as wholes: their number.
            let mut summaries: Vec<(f64, f64, u64)> = Vec::new();
            let of = |summary: Summary, count: u64| (summary.min, summary.max, count);
            match found {
                Piece::Rollups(rolled) if snap => {
                    let range = rolled.range.clone();
                    summaries.extend(range.map(|at| of(rolled.list.sum_up(at..at + 1), rolled.list.count(at..at + 1))));
                }
                Piece::Chunk(chunk) if in_one_part => {
                    let summary = chunk.file.summary(&chunk.entry)?;
                    add(rank, (summary.min, summary.max), &|| Place {
                        piece,
                        points: 0..count as usize,
                        rollups: 0..0,
                    });
                    rank += count;
                    continue;
                }
                Piece::Chunk(chunk) if snap => {
                    let behind = self.pieces[piece + 1..].iter().map_while(|piece| match piece {
                        Piece::Chunk(chunk) => Some((chunk.file.file_id(), &chunk.entry)),
                        Piece::Points(_) | Piece::Rollups(_) => None,
                    });
                    let rollups = self.cache.rollups(&chunk.file, &chunk.entry, behind)?;
                    let length = |at: usize| (count - (at * ROLLUP_POINTS) as u64).min(ROLLUP_POINTS as u64);
                    summaries.extend((0..rollups.len()).map(|at| of(rollups.sum_up(at..at + 1), length(at))));
                }
                _ => {}
            }
            if summaries.is_empty() {
                let columns = self.decoded(piece, &(0..usize::MAX))?;
                let mut at = 0;
                while at < columns.len() {
                    // The points of one part at once.
                    let end = begin_of(part_of(rank + at as u64) + 1) - rank;
                    let end = columns.len().min(end as usize);
                    let summary = Summary::of(&columns.values[at..end]);
                    let rollups = if matches!(found, Piece::Rollups(_)) { 0..usize::MAX } else { 0..0 };
                    add(rank + at as u64, (summary.min, summary.max), &|| Place {
                        piece,
                        points: at..end,
                        rollups: rollups.clone(),
                    });
                    at = end;
                }
            }
            let mut before = 0;
            for (at, (least, greatest, count)) in summaries.into_iter().enumerate() {
                let place = || match found {
                    Piece::Rollups(_) => self.of_rollups(piece, at..at + 1),
                    _ => Place { piece, points: before as usize..(before + count) as usize, rollups: 0..0 },
                };
                add(rank + before, (least, greatest), &place);
                before += count;
            }
            rank += count;
        }
        part.wanted(wanted);
        Ok(())
    }

    /// The points that are wanted, each once, in latest order, with piece and number in it.
    fn found(&self, mut wanted: Vec<(Place, Wanted)>) -> Result<Vec<((usize, usize), Point)>> {
        // One decoding for all that is wanted of a place.
        wanted.sort_by_key(|(place, _)| (place.piece, place.rollups.start, place.rollups.end));
        let mut out: Vec<((usize, usize), Point)> = Vec::with_capacity(wanted.len());
        let mut open: Option<(usize, Range<usize>, Cow<'_, Columns>)> = None;
        for (place, which) in wanted {
            let is_open =
                matches!(&open, Some((piece, rollups, _)) if (*piece, rollups) == (place.piece, &place.rollups));
            if !is_open {
                open = Some((place.piece, place.rollups.clone(), self.decoded(place.piece, &place.rollups)?));
            }
            let Some((_, rollups, columns)) = &open else { continue };
            // Of rollups only those that are wanted were decoded.
            let decoded_from = match &self.pieces[place.piece] {
                Piece::Rollups(part) if rollups.end != usize::MAX => {
                    part.list.count(part.range.start..part.range.start + rollups.start) as usize
                }
                _ => 0,
            };
            let points = place.points.start - decoded_from..(place.points.end - decoded_from).min(columns.len());
            let found = match which {
                Wanted::First => points.clone().next(),
                Wanted::Last => points.clone().next_back(),
                Wanted::Value(value) => points.clone().find(|at| columns.values[*at] == value),
                Wanted::Nan => points.clone().find(|at| columns.values[*at].is_nan()),
            };
            debug_assert!(found.is_some(), "a summary is of the points it stands for");
            out.extend(found.map(|at| ((place.piece, decoded_from + at), columns.point(at))));
        }
        out.sort_by_key(|(place, _)| *place);
        out.dedup_by_key(|(place, _)| *place);
        Ok(out)
    }

    /// The points of a piece; of one of rollups those of these rollups, counted from its first.
    fn decoded(&self, piece: usize, rollups: &Range<usize>) -> Result<Cow<'_, Columns>> {
        let columns = match (&self.pieces[piece], self.unsealed) {
            (Piece::Points(points), _) => return Ok(Cow::Borrowed(&***points)),
            (Piece::Chunk(chunk), _) => visible_points(chunk, Lsn::MAX, super::ALL_STEPS, ColumnSet::POINTS)?,
            (Piece::Rollups(part), Some(unsealed)) => {
                let (from, end) = (part.range.start, part.range.end);
                let range = from + rollups.start..end.min(from.saturating_add(rollups.end));
                unsealed.decode(&part.list, range, self.steps)?
            }
            (Piece::Rollups(_), None) => Columns::default(),
        };
        Ok(Cow::Owned(columns))
    }
}
