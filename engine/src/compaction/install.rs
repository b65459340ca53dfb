//! Putting new files in place of old ones, and bringing an index up to what a cut compaction left.
//!
//! ```text
//! new series files  >  new segments  >  MANIFEST(G+1)  >  index commit (G+1)  >  unlink
//!        1                  2               3                    4                5
//! ```
//! A crash before 3: the new files are not listed anywhere, the next open deletes them. Between 3 and 4: the index
//! stands at G; the next open takes the files that MANIFEST lists for the whole directory ([`adopt`]), and what is
//! sealed above them is sealed again. After 4: the old files are not listed anywhere, the next open deletes them.
//!
//! In a compacted store MANIFEST's series files are the truth for all points at most the last position that they
//! cover; every chunk in them counts (a run purged since is taken out of the index by its own event).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustc_hash::FxHashMap;

use crate::core::{Core, Upkeep, file_row, rows_of, series_number, series_path};
use crate::error::{Error, Result};
use crate::id::SeriesId;
use crate::index::IndexChange;
use crate::log::TruthFile;
use crate::missing::{Missing, MissingKind};
use crate::point::{Columns, Point, Stats};
use crate::series::{ChunkEntry, ColumnSet, SeriesFile, SeriesFileInfo, greatest, least};
use crate::storage::OpenMode;

/// The MANIFEST entry of a file that was just written.
pub(super) fn truth_of_info(info: &SeriesFileInfo) -> TruthFile {
    TruthFile {
        name: info.path.clone(),
        len_bytes: info.len_bytes,
        footer_crc: info.footer_crc,
        first: info.covered.0.next(),
        last: info.covered.1,
    }
}

/// The MANIFEST entry of an existing file.
pub(super) fn truth_of_file(path: &str, file: &SeriesFile, len_bytes: u64) -> TruthFile {
    let footer = file.footer();
    TruthFile {
        name: path.to_owned(),
        len_bytes,
        footer_crc: footer.crc,
        first: footer.covered.0.next(),
        last: footer.covered.1,
    }
}

/// Opens a file that MANIFEST lists, if it is the very one.
pub(crate) fn open_truth(core: &Core, truth: &TruthFile) -> Result<Arc<SeriesFile>> {
    let path = || core.storage.display_path(&truth.name);
    let missing = |why: String| Error::MissingFile { path: path(), why };
    let file = core.storage.open(&truth.name, OpenMode::Read).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => missing("there is no such file, and MANIFEST lists it".into()),
        _ => Error::io("open", path(), error),
    })?;
    let len_bytes = file.len().map_err(|error| Error::io("read the length", path(), error))?;
    if len_bytes != truth.len_bytes {
        return Err(missing(format!("{len_bytes} bytes, not {}", truth.len_bytes)));
    }
    let file = SeriesFile::open(&*core.storage, &truth.name, core.store_id)?;
    if series_number(&truth.name) != Some(file.file_id()) {
        let found = format!("file {}", file.file_id());
        return Err(Error::corrupt(path(), 0, "series file", "the file of this number", found));
    }
    if file.footer().crc != truth.footer_crc {
        let found = format!("the footer of another file, crc {}", file.footer().crc);
        let expected = format!("crc {}", truth.footer_crc);
        return Err(Error::corrupt(path(), len_bytes, "series footer", expected, found));
    }
    Ok(file)
}

/// Checks that the series files in MANIFEST exist and are the very ones listed.
///
/// # Errors
/// `MissingFile`, `Corrupt`: their points are lost.
pub(crate) fn check_truth(core: &Core) -> Result<()> {
    core.pipeline.log.truth_files().iter().try_for_each(|truth| open_truth(core, truth).map(drop))
}

/// Makes MANIFEST's series files the index's whole directory, for an index that is new or older than MANIFEST.
///
/// Also returns the files of which chunks are damaged whose values must be read for their statistics: their series are
/// listed, with NaN for the values, and whoever reads their points gets the error.
///
/// # Errors
/// `MissingFile`, `Corrupt` for a whole file or its directory. A store opened for reading only is served without such
/// files, which are returned.
pub(crate) fn adopt(core: &Core) -> Result<Vec<Missing>> {
    let mut upkeep = core.upkeep.lock();
    let read = core.index.read()?;
    let truth = core.pipeline.log.truth_files();
    let mut change =
        IndexChange { applied: read.applied(), generation: core.pipeline.log.generation(), ..IndexChange::default() };
    let known = read.files()?;
    let kept = |number: u64| {
        let path = series_path(number);
        truth.iter().any(|file| file.name == path)
    };
    change.files_removed = known.iter().map(|(number, _)| *number).filter(|number| !kept(*number)).collect();
    if !change.files_removed.is_empty() {
        read.for_each_chunk_row(|series, number, chunk, _| {
            if !kept(number) {
                change.chunks_removed.push((series, number, chunk));
            }
            Ok(())
        })?;
    }
    // Stats are needed only above those of the index.
    let mut stats: FxHashMap<SeriesId, Summed> = FxHashMap::default();
    let mut opened = Vec::with_capacity(truth.len());
    let mut missing = Vec::new();
    for listed in &truth {
        match open_truth(core, listed) {
            Ok(file) => {
                if core.read_only {
                    core.files.put(&file);
                }
                opened.push((file, listed));
            }
            Err(error @ Error::UnsupportedFormat { .. }) => return Err(error),
            Err(error) if core.read_only => missing.push(missing_truth(core, listed, error)),
            Err(error) => return Err(error),
        }
    }
    change.sealed = opened.iter().map(|(file, _)| file.footer().covered.1).max().unwrap_or_default();
    let sum_up = read.applied() < change.sealed;
    for (file, listed) in &opened {
        let number = file.file_id();
        let is_known = known.iter().any(|(known, _)| *known == number);
        if is_known && !sum_up {
            continue;
        }
        let (mut entries, mut damage) = (Vec::new(), None);
        for (entry, chunk) in file.directory().zip(0..) {
            let (series, entry) = entry?;
            if sum_up {
                // The values of a short chunk must be read.
                let of = match file.stats(&entry) {
                    Ok(of) => of,
                    // The other series of the file are readable, and this one's points are all that is lost.
                    Err(error @ Error::Corrupt(_)) => {
                        damage.get_or_insert(error);
                        entry.stats_without_values()
                    }
                    Err(error) => return Err(error),
                };
                match stats.get_mut(&series) {
                    Some(summed) => summed.add(of),
                    None => drop(stats.insert(series, Summed { stats: of })),
                }
            }
            if !is_known {
                entries.push((series, chunk, entry));
            }
            if entries.len() >= ENTRIES_AT_ONCE {
                add_rows(&mut change, number, &mut entries);
            }
        }
        add_rows(&mut change, number, &mut entries);
        missing.extend(damage.map(|error| missing_truth(core, listed, error)));
        if !is_known {
            change.files_added.push((number, file_row(&listed.name, listed.footer_crc)));
        }
    }
    settle_ends(&opened.iter().map(|(file, _)| file.clone()).collect::<Vec<_>>(), &mut stats)?;
    change.stats = stats.into_iter().map(|(series, summed)| (series, summed.stats)).collect();
    // One write: the stats and the directory belong to the same position.
    core.index.write(&change)?;
    upkeep.generation = change.generation;
    core.sealed.store(change.sealed.0, Ordering::Release);
    core.pipeline.newest.refresh(core.index.read()?);
    Ok(missing)
}

/// Number of a file's entries converted to rows at a time.
const ENTRIES_AT_ONCE: usize = 4096;

/// Adds rows for entries of a file.
fn add_rows(change: &mut IndexChange, file: u64, entries: &mut Vec<(SeriesId, u32, ChunkEntry)>) {
    let mut rows = rows_of(file, entries.drain(..));
    let mut row = Vec::new();
    while let Some((series, file, chunk)) = rows(&mut row) {
        change.chunks_added.push((series, file, chunk, std::mem::take(&mut row)));
    }
}

/// The report of a listed file that cannot be used.
fn missing_truth(core: &Core, listed: &TruthFile, error: Error) -> Missing {
    let why = match error {
        Error::MissingFile { why, .. } => why,
        Error::Corrupt(damage) => format!("it is damaged ({}: {})", damage.structure, damage.found),
        Error::NotAFile { found, .. } => format!("it is {found}"),
        error => error.to_string(),
    };
    let path = core.storage.display_path(&listed.name);
    Missing::new(path, MissingKind::Series, why, listed.first, Some(listed.last))
}

/// Makes first and last values exact if they are NaN. Points that tie differ only in the bits of a NaN, and the point
/// logged first counts. Entries do not say when their points were logged, so the points are read.
fn settle_ends(files: &[Arc<SeriesFile>], stats: &mut FxHashMap<SeriesId, Summed>) -> Result<()> {
    let is_open = |stats: &Stats| stats.maybe_repeats && (stats.first_value.is_nan() || stats.last_value.is_nan());
    if !stats.values().any(|summed| is_open(&summed.stats)) {
        return Ok(());
    }
    // Positions of the points that the first and last values come from.
    let mut found: FxHashMap<SeriesId, [u64; 2]> = FxHashMap::default();
    let mut points = Columns::default();
    for file in files {
        for item in file.directory() {
            let (series, entry) = item?;
            let Some(Summed { stats }) = stats.get_mut(&series).filter(|summed| is_open(&summed.stats)) else {
                continue;
            };
            let of = match file.stats(&entry) {
                Ok(of) => of,
                // The damage was reported above.
                Err(Error::Corrupt(_)) if entry.summary.is_none() => continue,
                Err(error) => return Err(error),
            };
            let ends = [stats.first(), stats.last()];
            let shares = |end: &Point| end.value.is_nan() && (end.repeats(&of.first()) || end.repeats(&of.last()));
            if !ends.iter().any(shares) {
                continue;
            }
            points.clear();
            match file.read_chunk(&entry, ColumnSet::ALL, &mut points) {
                Ok(()) => {}
                // A reader of these points gets the error; statistics are no reason to refuse all others.
                Err(Error::Corrupt(_)) => continue,
                Err(error) => return Err(error),
            }
            let [first_at, last_at] = found.entry(series).or_insert([u64::MAX; 2]);
            for (index, lsn) in points.lsns.iter().enumerate() {
                let point = points.point(index);
                if *lsn < *first_at && point.repeats(&ends[0]) {
                    (*first_at, stats.first_value) = (*lsn, point.value);
                }
                if *lsn < *last_at && point.repeats(&ends[1]) {
                    (*last_at, stats.last_value) = (*lsn, point.value);
                }
            }
        }
    }
    Ok(())
}

/// Statistics of a series, summed from those of its chunks. Exact except for the bits of NaNs and the two flags, which
/// are set unless the entries show that no steps repeat, and that all points came in order.
#[derive(Debug)]
pub(crate) struct Summed {
    pub(crate) stats: Stats,
}

impl Summed {
    /// Adds a chunk, in any order. `merge` expects the later one second, so the two are ordered by their steps.
    pub(crate) fn add(&mut self, of: Stats) {
        let (mut low, mut high) = (self.stats, of);
        if high.first_step < low.first_step {
            std::mem::swap(&mut low, &mut high);
        }
        let (min, max) = (least(low.min, high.min), greatest(low.max, high.max));
        low.merge(&high);
        // Chunks come in no order: one within the range of the others may repeat any of their steps.
        (low.min, low.max) = (min, max);
        self.stats = low;
    }
}

impl Core {
    /// Unlinks series files that no snapshot can read any more; the others are kept and tried again later. Returns the
    /// bytes that are still held.
    pub(crate) fn unlink_retired(&self, upkeep: &mut Upkeep) -> u64 {
        let mut held_bytes = 0;
        let before = upkeep.retired.len();
        upkeep.retired.retain(|(number, mark)| {
            let path = series_path(*number);
            if self.pins.held_before(*mark) {
                // For the report only: a file that cannot be opened counts as 0.
                held_bytes += self.storage.open(&path, OpenMode::Read).and_then(|file| file.len()).unwrap_or(0);
                return true;
            }
            self.files.forget(*number);
            match self.storage.remove(&path) {
                Ok(()) => false,
                // The next compaction tries again; the next open removes unlisted files.
                Err(error) => error.kind() != std::io::ErrorKind::NotFound,
            }
        });
        if upkeep.retired.len() < before {
            // If this fails, names come back after a power cut, and the next open removes them.
            let _ = self.storage.sync_dir("series");
        }
        held_bytes
    }
}
