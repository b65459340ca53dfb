//! Reads the points of series files in the order of their positions, as the log had them before it released its frames.
//!
//! Series files are sorted by series, so the points of one batch lie in as many places as it has series. They are read
//! in *windows*. A window has all points of a range of positions, gathered from the chunks that overlap the range.
//!
//! ```text
//! position ------------------------------------------------------------------>
//! chunks       |--a--|   |---b---|        |-d-|
//!                 |--------c--------|            |--e--|
//! stretch      [------------------------------------]         chunks listed once, by their least position
//! window              [--------]                              b and c are decoded; c again for the next window
//! ```
//!
//! - A window ends when its points reach the budget, so memory is bounded. It never splits a position, whose points fit
//!   one frame of the log. The first window is small and each next one larger, for readers that want a few batches.
//! - Whether points of a run are wanted is asked when a window meets its chunks, not for all chunks of a stretch.
//! - A stretch is the range whose chunks are listed at once; it ends when the list is full. So a directory of any length
//!   is scanned a few times, not once for each window. If more chunks overlap a single position than the list can hold,
//!   each window scans the directory; decoding that many chunks costs far more.
//! - A chunk is decoded once for each window that it overlaps. That is once if series were logged one after the other. If
//!   many long series were logged side by side, each window decodes all chunks that are open there.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::read::SeriesFile;
use super::window::{Gather, Listed, Placed, Window};
use crate::error::Result;
use crate::id::{Lsn, RunId};

/// Limits for the memory used at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    /// Points of a window, about; up to twice as many while it is filled.
    pub(crate) points: usize,
    /// Chunks of a stretch.
    pub(crate) chunks: usize,
}

impl Default for Budget {
    /// 64 MiB for points while a window is filled, and at most 64 MiB for chunks.
    fn default() -> Self {
        Self { points: (32 << 20) / size_of::<Placed>(), chunks: (64 << 20) / size_of::<Listed>() }
    }
}

/// A list of this many chunks is fine even for a small store.
const CHUNKS_MIN: u64 = 1 << 16;
/// About how often a large directory is scanned in all.
const SCANS: u64 = 8;

/// About how many points the first window has.
const FIRST_POINTS: usize = 1 << 14;
/// Runs of a window that are known to be wanted or not; with more, they are asked for again.
const KNOWN_RUNS_MAX: usize = 1 << 16;

/// Says of which runs points are wanted.
pub(crate) type Wanted<'a> = &'a mut dyn FnMut(RunId) -> Result<bool>;

/// What was said of the runs of a window.
struct Asked<'a> {
    wanted: Wanted<'a>,
    known: FxHashMap<RunId, bool>,
}

impl<'a> Asked<'a> {
    fn new(wanted: Wanted<'a>) -> Self {
        Self { wanted, known: FxHashMap::default() }
    }

    fn is_wanted(&mut self, run: RunId) -> Result<bool> {
        if let Some(known) = self.known.get(&run) {
            return Ok(*known);
        }
        if self.known.len() == KNOWN_RUNS_MAX {
            self.known.clear();
        }
        let is_wanted = (self.wanted)(run)?;
        self.known.insert(run, is_wanted);
        Ok(is_wanted)
    }
}

/// Reads some series files by position.
#[derive(Debug)]
pub(crate) struct ByPosition {
    files: Vec<Arc<SeriesFile>>,
    /// Points of the next window, about.
    points: usize,
    points_max: usize,
    chunks_max: usize,
    stretch: Stretch,
}

/// The chunks of some positions.
#[derive(Debug, Default)]
struct Stretch {
    /// Chunks by least position.
    chunks: Vec<Listed>,
    /// Indexes in `chunks` of those that cross the end of the previous window.
    open: Vec<u32>,
    /// Index of the first chunk that begins after the previous window.
    next: usize,
    /// First position of the next window.
    from: u64,
    /// The last position of the stretch; 0 before it is read.
    last: u64,
}

impl ByPosition {
    /// Reads these files, which must not share any point.
    pub(crate) fn new(files: Vec<Arc<SeriesFile>>, budget: Budget) -> Self {
        let all = files.iter().map(|file| file.footer().chunks).sum::<u64>();
        let chunks_max = usize::try_from((all / SCANS).max(CHUNKS_MIN)).unwrap_or(usize::MAX).min(budget.chunks).max(2);
        let points_max = budget.points.max(1);
        let points = points_max.min(FIRST_POINTS);
        Self { files, points, points_max, chunks_max, stretch: Stretch::default() }
    }

    /// The points of the positions from `first` on, up to [`Window::last`], which is at most `last`. It is cheapest to
    /// continue where the previous window ended.
    ///
    /// # Errors
    /// `Io`, `Corrupt`: data that cannot be read is not skipped.
    pub(crate) fn window(&mut self, first: Lsn, last: Lsn, wanted: Wanted<'_>) -> Result<Window> {
        let (first, last) = (first.0, last.0);
        let goes_on = self.stretch.from == first && first <= self.stretch.last;
        let mut asked = Asked::new(wanted);
        let window = if goes_on || self.list(first, last)? {
            self.listed_window(last, &mut asked)
        } else {
            self.scan_window(first, last, &mut asked)
        };
        match &window {
            Ok(_) => self.points = self.points.saturating_mul(2).min(self.points_max),
            // The stretch is partly consumed: the next call begins again.
            Err(_) => self.stretch = Stretch::default(),
        }
        window
    }

    /// Begins a stretch. `false`: too many chunks contain its first position.
    fn list(&mut self, first: u64, last: u64) -> Result<bool> {
        let max = self.chunks_max;
        let mut end = last;
        // Reuse the memory of the previous stretch.
        let mut chunks = std::mem::take(&mut self.stretch).chunks;
        chunks.clear();
        let whole = self.scan(first, &mut end, |chunk, end| {
            chunks.push(chunk);
            if chunks.len() < max {
                return Ok(true);
            }
            let (_, middle, _) = chunks.select_nth_unstable_by_key(max / 2, |chunk| chunk.lsn_min);
            if middle.lsn_min <= first {
                return Ok(false);
            }
            *end = middle.lsn_min - 1;
            chunks.retain(|chunk| chunk.lsn_min <= *end);
            Ok(true)
        })?;
        if whole {
            // A stable sort keeps the order of the files among equal positions, so that files are read forwards.
            chunks.sort_by_key(|chunk| chunk.lsn_min);
            self.stretch = Stretch { chunks, open: Vec::new(), next: 0, from: first, last: end };
        }
        Ok(whole)
    }

    /// Calls `each` with every chunk that has points from `first` to `end`, until it returns `false`. `each` may lower
    /// `end`.
    fn scan(&self, first: u64, end: &mut u64, mut each: impl FnMut(Listed, &mut u64) -> Result<bool>) -> Result<bool> {
        for (number, file) in (0..).zip(&self.files) {
            let (before, to) = file.footer().covered;
            if to.0 < first || before.0 >= *end {
                continue;
            }
            for item in file.directory() {
                let (series, entry) = item?;
                if entry.lsn_max < first || entry.lsn_min > *end {
                    continue;
                }
                if !each(Listed::new(series, number, &entry), end)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// The next window of the stretch.
    fn listed_window(&mut self, last: u64, asked: &mut Asked<'_>) -> Result<Window> {
        let points_max = self.points;
        let Stretch { chunks, open, next, from, last: end } = &mut self.stretch;
        let mut gather = Gather::new(*from, last.min(*end), points_max);
        // Avoid cutting chunks: the window ends before the first chunk that is too many.
        let mut count = 0;
        let fits = chunks.get(*next..).unwrap_or_default().iter().find(|chunk| {
            count += chunk.count();
            count > points_max && chunk.lsn_min > *from
        });
        if let Some(too_many) = fits {
            gather.last = gather.last.min(too_many.lsn_min - 1);
        }
        let mut take = |chunk: &Listed, gather: &mut Gather| match asked.is_wanted(chunk.run())? {
            true => gather.take(&self.files, chunk),
            false => Ok(()),
        };
        for at in open.iter() {
            if let Some(chunk) = chunks.get(*at as usize) {
                take(chunk, &mut gather)?;
            }
        }
        let begun = *next;
        while let Some(chunk) = chunks.get(*next).filter(|chunk| chunk.lsn_min <= gather.last) {
            take(chunk, &mut gather)?;
            *next += 1;
        }
        // The window may have become shorter meanwhile.
        while *next > begun && chunks.get(*next - 1).is_some_and(|chunk| chunk.lsn_min > gather.last) {
            *next -= 1;
        }
        let goes_on = |at: &u32| chunks.get(*at as usize).is_some_and(|chunk| chunk.lsn_max() > gather.last);
        open.retain(goes_on);
        open.extend((begun as u32..*next as u32).filter(goes_on));
        *from = gather.last.saturating_add(1);
        Ok(gather.finish())
    }

    /// Fills a window by scanning the whole directory.
    fn scan_window(&self, first: u64, last: u64, asked: &mut Asked<'_>) -> Result<Window> {
        let mut gather = Gather::new(first, last, self.points);
        let mut end = last;
        self.scan(first, &mut end, |chunk, end| {
            if asked.is_wanted(chunk.run())? {
                gather.take(&self.files, &chunk)?;
            }
            *end = gather.last;
            Ok(true)
        })?;
        Ok(gather.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ContextId, KeyId, SeriesId, StoreId};
    use crate::point::{Columns, Point};
    use crate::series::tests::Random;
    use crate::series::{SeriesFileWriter, ValueHint};
    use crate::storage::Storage;
    use crate::storage::memory::Memory;
    use crate::time::TimestampMs;

    const STORE: StoreId = StoreId([3; 16]);

    /// Series, step, time, bits of the value, context.
    type Row = (SeriesId, i64, i64, u64, u32);

    fn rows(lsn: Lsn, points: &[(SeriesId, Columns)]) -> Vec<(u64, Row)> {
        let of = |(series, columns): &(SeriesId, Columns)| -> Vec<_> {
            let row = |at: usize| {
                assert_eq!(columns.lsns[at], lsn.0);
                let point = columns.point(at);
                (lsn.0, (*series, point.step, point.time.0, point.value.to_bits(), columns.context(at).0))
            };
            (0..columns.len()).map(row).collect()
        };
        points.iter().flat_map(of).collect()
    }

    /// All points from a position on, and how many windows it took.
    fn read(by_position: &mut ByPosition, first: u64, last: u64) -> (Vec<(u64, Row)>, usize) {
        let (mut out, mut windows) = (Vec::new(), 0);
        let mut from = Lsn(first);
        let mut wanted = |run: RunId| Ok(run != RunId([9; 16]));
        while from.0 <= last {
            let mut window = by_position.window(from, Lsn(last), &mut wanted).unwrap();
            assert!(window.covers(from) && window.last().0 <= last);
            windows += 1;
            while let Some(lsn) = window.seek(from) {
                let points = window.take_next();
                assert!(points.is_sorted_by(|a, b| a.0 < b.0));
                out.extend(rows(lsn, &points));
            }
            from = window.last().next();
        }
        (out, windows)
    }

    /// Files with points of random series, and all points by position.
    fn made(seed: u64) -> (Vec<Arc<SeriesFile>>, Vec<(u64, Row)>, u64) {
        let mut random = Random(seed);
        let disk = Memory::new();
        disk.create_dir("series").unwrap();
        let (mut files, mut all) = (Vec::new(), Vec::new());
        let last = 1 + random.below(400);
        for number in 0..1 + random.below(3) {
            let path = format!("series/{number}.ser");
            let mut writer = SeriesFileWriter::create(&disk, &path, STORE, number, (Lsn(0), Lsn(last))).unwrap();
            // Some kinds of series live long, some shortly; some have one point.
            for run in 0..1 + random.below(12) as u8 {
                for key in 0..1 + random.below(3) as u32 {
                    let id = SeriesId { run: RunId([run; 16]), key: KeyId(key) };
                    for _ in 0..1 + random.below(2) {
                        let from = 1 + random.below(last);
                        let most = [1, 20, last][random.below(3) as usize].min(last - from + 1);
                        let span = 1 + random.below(most);
                        let mut columns = Columns::default();
                        for at in 0..1 + random.below(60) {
                            let value = if random.below(9) == 0 { f64::NAN } else { random.below(1 << 40) as f64 };
                            let point = Point { step: at as i64, time: TimestampMs(random.below(5) as i64), value };
                            let lsn = from + random.below(span);
                            columns.push(point, Lsn(lsn), ContextId(random.below(3) as u32 / 2));
                        }
                        writer.push(id, &columns, &mut ValueHint::default()).unwrap();
                        if run != 9 {
                            for at in 0..columns.len() {
                                all.extend(rows(Lsn(columns.lsns[at]), &[(id, columns.gather(&[at]))]));
                            }
                        }
                    }
                }
            }
            writer.finish().unwrap();
            files.push(SeriesFile::open(&disk, &path, STORE).unwrap());
        }
        all.sort_unstable();
        (files, all, last)
    }

    #[test]
    fn windows_of_any_size_give_every_point_once_in_order() {
        for seed in 0..u64::from(crate::series::tests::cases(50)) {
            let (files, all, last) = made(seed);
            let mut random = Random(!seed);
            let budgets = [
                Budget::default(),
                Budget { points: 1, chunks: 2 },
                Budget { points: 1 + random.below(50) as usize, chunks: 2 + random.below(30) as usize },
            ];
            for budget in budgets {
                let mut by_position = ByPosition::new(files.clone(), budget);
                for first in [1, 1 + random.below(last)] {
                    let (mut got, _) = read(&mut by_position, first, last);
                    assert!(got.is_sorted_by_key(|(lsn, (series, ..))| (*lsn, *series)), "seed {seed}, {budget:?}");
                    got.sort_unstable();
                    let expected: Vec<_> = all.iter().filter(|(lsn, _)| *lsn >= first).copied().collect();
                    assert_eq!(got, expected, "seed {seed}, {budget:?}, from {first}");
                }
            }
        }
    }

    #[test]
    fn the_first_batches_are_read_without_the_rest() {
        let disk = Memory::new();
        disk.create_dir("series").unwrap();
        let mut writer = SeriesFileWriter::create(&disk, "series/1.ser", STORE, 1, (Lsn(0), Lsn(1 << 20))).unwrap();
        for run in 0..20_000u64 {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&run.to_be_bytes());
            let mut columns = Columns::default();
            for step in 0..10 {
                columns.push(Point { step, ..Point::default() }, Lsn(1 + run * 10 + step as u64), ContextId(0));
            }
            writer.push(SeriesId { run: RunId(id), key: KeyId(0) }, &columns, &mut ValueHint::default()).unwrap();
        }
        writer.finish().unwrap();
        let file = SeriesFile::open(&disk, "series/1.ser", STORE).unwrap();
        let mut by_position = ByPosition::new(vec![file], Budget::default());
        let mut runs = 0;
        let mut wanted = |_: RunId| {
            runs += 1;
            Ok(true)
        };
        let first = by_position.window(Lsn(1), Lsn(200_000), &mut wanted).unwrap();
        assert!(first.last().0 <= 40_000, "a window up to {}", first.last());
        // A reader that goes on soon has windows as large as its budget.
        let (mut from, mut windows) = (first.last().next(), 1);
        while from <= Lsn(200_000) {
            from = by_position.window(from, Lsn(200_000), &mut |_| Ok(true)).unwrap().last().next();
            windows += 1;
        }
        assert!(windows <= 5, "{windows} windows");
        assert!(runs <= 4_000, "{runs} of 20,000 runs were asked for");
    }

    #[test]
    fn short_series_one_after_the_other_are_each_decoded_once() {
        let disk = Memory::new();
        disk.create_dir("series").unwrap();
        let mut writer = SeriesFileWriter::create(&disk, "series/1.ser", STORE, 1, (Lsn(0), Lsn(1 << 20))).unwrap();
        let mut random = Random(1);
        // As runs with random ids lie in a directory: in no order of positions.
        let mut starts: Vec<u64> = (0..2_000).map(|run| 1 + run * 20).collect();
        (1..starts.len()).rev().for_each(|at| starts.swap(at, random.below(at as u64 + 1) as usize));
        for (run, start) in starts.iter().enumerate() {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&(run as u64).to_be_bytes());
            let mut columns = Columns::default();
            for step in 0..20 {
                columns.push(Point { step, ..Point::default() }, Lsn(start + step as u64), ContextId(0));
            }
            writer.push(SeriesId { run: RunId(id), key: KeyId(0) }, &columns, &mut ValueHint::default()).unwrap();
        }
        writer.finish().unwrap();
        let file = SeriesFile::open(&disk, "series/1.ser", STORE).unwrap();
        let mut by_position = ByPosition::new(vec![file], Budget { points: 500, chunks: 200 });
        let (got, windows) = read(&mut by_position, 1, 40_000);
        assert!(got.len() == 40_000 && got.is_sorted_by_key(|(lsn, _)| *lsn));
        // Windows end between series, so they are as few as their points need.
        assert!(windows <= 100 + 30, "{windows} windows of 40,000 points, 500 each");
    }
}
