//! Rewrites series files: drops chunks of purged runs, merges small and overlapping ones.
//!
//! The chunks of a series come in the order of their first points and are merged by a sweep: points before the first
//! point of the next chunk are complete, and are written. So memory holds the overlap, not the series. Points keep
//! position, value bits and context, so reads at any position are unchanged.

use std::ops::Range;
use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::pace::Pace;
use super::policy::FileSize;
use crate::core::{Core, IndexedChunk, for_each_chunk, series_path};
use crate::error::{Error, Result};
use crate::id::{Lsn, SeriesId, StoreId};
use crate::index::IndexRead;
use crate::point::Columns;
use crate::series::{
    CHUNK_POINTS, ChunkEntry, ChunkRef, ColumnSet, SeriesFile, SeriesFileInfo, SeriesFileWriter, ValueHint,
    in_latest_order, sort_latest,
};
use crate::storage::Storage;

/// Number of points gathered before they are written, unless the series ends.
const GATHER_POINTS: usize = 8 * CHUNK_POINTS;

/// A series file that the index names.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) number: u64,
    pub(super) file: Arc<SeriesFile>,
    pub(super) size: FileSize,
}

/// All series files that the index names, with the state of their chunks.
pub(super) fn list(core: &Core, read: &IndexRead) -> Result<Vec<Listed>> {
    let mut files = Vec::new();
    for (number, _) in read.files()? {
        let file = core.files.get(number, read)?;
        let path = series_path(number);
        let opened = core.storage.open(&path, crate::storage::OpenMode::Read);
        let bytes = opened.and_then(|file| file.len()).map_err(|error| Error::io("read the length", &path, error))?;
        let size = FileSize { bytes, points: file.footer().points, ..FileSize::default() };
        files.push(Listed { number, file, size });
    }
    let mut series: Vec<(usize, ChunkEntry)> = Vec::new();
    let mut before = None;
    for_each_chunk(read, |IndexedChunk { series: id, file, entry, .. }| {
        if before != Some(id) {
            count(&mut files, &mut series);
            before = Some(id);
        }
        let at = files.binary_search_by_key(&file, |file| file.number).map_err(|_| no_file(file))?;
        series.push((at, entry));
        Ok(())
    })?;
    count(&mut files, &mut series);
    Ok(files)
}

fn no_file(number: u64) -> Error {
    Error::corrupt("index.redb", 0, "chunk directory row", "a file that is listed", format!("file {number}"))
}

/// Step and time of the first point in latest order.
fn first(entry: &ChunkEntry) -> (i64, i64) {
    (entry.step_first, entry.time_first_ms)
}

/// Step and time of the last point in latest order.
fn last(entry: &ChunkEntry) -> (i64, i64) {
    (entry.step_last, entry.time_last_ms)
}

/// Adds the chunks of one series to their files' sizes.
fn count(files: &mut [Listed], chunks: &mut Vec<(usize, ChunkEntry)>) {
    chunks.sort_unstable_by_key(|(_, entry)| (first(entry), last(entry)));
    let points: u64 = chunks.iter().map(|(_, entry)| entry.count()).sum();
    let enough = points.div_ceil(CHUNK_POINTS as u64);
    let many = chunks.len() as u64 > enough + enough / 2;
    let mut reach: Option<(i64, i64)> = None;
    let mut before: Option<usize> = None;
    let mut scattered = vec![false; chunks.len()];
    for (at, (_, entry)) in chunks.iter().enumerate() {
        let overlaps = reach.is_some_and(|reach| first(entry) < reach);
        let small = many && entry.count() < CHUNK_POINTS as u64 / 2;
        if let (true, Some(slot)) = (overlaps, before.and_then(|before| scattered.get_mut(before))) {
            *slot = true;
        }
        if let Some(slot) = scattered.get_mut(at) {
            *slot = overlaps || small;
        }
        if reach.is_none_or(|reach| last(entry) > reach) {
            (reach, before) = (Some(last(entry)), Some(at));
        }
    }
    for ((file, entry), scattered) in chunks.drain(..).zip(scattered) {
        if let Some(file) = files.get_mut(file) {
            file.size.live_points += entry.count();
            file.size.scattered_points += if scattered { entry.count() } else { 0 };
        }
    }
}

/// The new files that replace old ones.
#[derive(Debug, Default)]
pub(super) struct Rewritten {
    pub(super) added: Vec<SeriesFileInfo>,
    /// Keys of the index rows of the old chunks.
    pub(super) removed: Vec<(SeriesId, u64, u32)>,
}

/// Rewrites the chunks of some files into new ones.
pub(super) fn rewrite(
    core: &Core,
    mut numbers: Range<u64>,
    read: &IndexRead,
    files: &[&Listed],
    target_bytes: u64,
    pace: &Pace<'_>,
) -> Result<Rewritten> {
    let rewritten: FxHashSet<u64> = files.iter().map(|listed| listed.number).collect();
    let covered = files.iter().map(|listed| listed.file.footer().covered);
    let covered = covered.fold((Lsn::MAX, Lsn::ZERO), |all, (from, to)| (all.0.min(from), all.1.max(to)));
    let mut output = Output::new(&*core.storage, core.store_id, covered, target_bytes, &mut numbers);
    let mut removed = Vec::new();
    let mut chunks: Vec<ChunkRef> = Vec::new();
    let (mut current, mut read_bytes) = (None, 0);
    read.for_each_chunk_row(|first, number, chunk, _| {
        if rewritten.contains(&number) {
            removed.push((first, number, chunk));
        }
        Ok(())
    })?;
    let written = for_each_chunk(read, |IndexedChunk { series: id, file, entry, .. }| {
        if current != Some(id) {
            if let Some(current) = current {
                output.series(current, &std::mem::take(&mut chunks), Columns::default(), Lsn::MAX)?;
                pace.step(std::mem::take(&mut read_bytes))?;
            }
            current = Some(id);
        }
        if rewritten.contains(&file) {
            read_bytes += u64::from(entry.len);
            chunks.push(ChunkRef::new(core.files.get(file, read)?, entry));
        }
        Ok(())
    });
    let written = written.and_then(|()| match current {
        Some(current) => output.series(current, &chunks, Columns::default(), Lsn::MAX),
        None => Ok(()),
    });
    match written.and_then(|()| output.finish_file()) {
        Ok(()) => Ok(Rewritten { added: output.done, removed }),
        Err(error) => {
            // If this fails too, the next open removes the files.
            for info in &output.done {
                let _ = core.storage.remove(&info.path);
            }
            Err(error)
        }
    }
}

/// Writes series in order, cut into files.
pub(super) struct Output<'a> {
    storage: &'a dyn Storage,
    store_id: StoreId,
    covered: (Lsn, Lsn),
    target_bytes: u64,
    numbers: &'a mut Range<u64>,
    writer: Option<SeriesFileWriter<'a>>,
    pub(super) done: Vec<SeriesFileInfo>,
}

impl<'a> Output<'a> {
    pub(super) fn new(
        storage: &'a dyn Storage,
        store_id: StoreId,
        covered: (Lsn, Lsn),
        target_bytes: u64,
        numbers: &'a mut Range<u64>,
    ) -> Self {
        Self { storage, store_id, covered, target_bytes, numbers, writer: None, done: Vec::new() }
    }

    /// Writes the points of a series, from chunks and `others`, if their positions are at most `up_to`.
    pub(super) fn series(&mut self, id: SeriesId, chunks: &[ChunkRef], others: Columns, up_to: Lsn) -> Result<()> {
        let mut chunks: Vec<&ChunkRef> = chunks.iter().filter(|chunk| chunk.entry.lsn_min <= up_to.0).collect();
        chunks.sort_by_key(|chunk| (first(&chunk.entry), last(&chunk.entry), chunk.entry.lsn_min));
        let mut hint = ValueHint::default();
        let mut gathered = others;
        retain(&mut gathered, up_to);
        let mut next = chunks.iter().map(|chunk| first(&chunk.entry)).skip(1);
        for ChunkRef { file, entry, .. } in &chunks {
            let mut points = Columns::default();
            file.read_chunk(entry, ColumnSet::ALL, &mut points)?;
            retain(&mut points, up_to);
            gathered.append(&points);
            let bound = next.next();
            if gathered.len() >= GATHER_POINTS && bound.is_some() {
                gathered = sorted(gathered);
                let place = |at: usize| (gathered.steps.get(at).copied(), gathered.times.get(at).copied());
                let safe = match bound {
                    Some((step, time)) => partition(gathered.len(), |at| place(at) < (Some(step), Some(time))),
                    None => 0,
                };
                // Write whole chunks only: the rest waits for the points that follow.
                let count = safe / CHUNK_POINTS * CHUNK_POINTS;
                if count > 0 {
                    let mut ready = Columns::default();
                    ready.append_range(&gathered, 0, count, true);
                    gathered.cut(count, gathered.len());
                    self.push(id, &ready, &mut hint)?;
                }
            }
        }
        if !gathered.is_empty() {
            self.push(id, &sorted(gathered), &mut hint)?;
        }
        Ok(())
    }

    fn push(&mut self, id: SeriesId, columns: &Columns, hint: &mut ValueHint) -> Result<()> {
        if self.writer.as_ref().is_some_and(|writer| writer.len_bytes() >= self.target_bytes) {
            self.finish_file()?;
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => {
                let Some(number) = self.numbers.next() else {
                    return Err(Error::Internal("a merge makes more series files than it reads".into()));
                };
                let path = series_path(number);
                self.writer.insert(SeriesFileWriter::create(self.storage, &path, self.store_id, number, self.covered)?)
            }
        };
        writer.push(id, columns, hint)
    }

    /// Ends the last file.
    pub(super) fn finish_file(&mut self) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            self.done.push(writer.finish()?);
        }
        Ok(())
    }
}

/// Keeps the points at most `up_to`.
fn retain(points: &mut Columns, up_to: Lsn) {
    if points.lsns.iter().any(|lsn| *lsn > up_to.0) {
        let keep: Vec<usize> =
            points.lsns.iter().enumerate().filter(|(_, lsn)| **lsn <= up_to.0).map(|(at, _)| at).collect();
        points.keep(&keep);
    }
}

/// The first index for which `before` no longer holds.
fn partition(len: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

/// Sorts points in latest order.
pub(super) fn sorted(columns: Columns) -> Columns {
    if in_latest_order(&columns) { columns } else { sort_latest(&columns) }
}
