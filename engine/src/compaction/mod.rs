//! Compaction: points sealed and merged, raw frames released, purged runs removed.
//!
//! Once points are in a series file, the log holds them a second time. Compaction rewrites finished segments without
//! them (`rewrite`) and makes the series files the only source of these points. It drops chunks of purged runs and
//! merges small ones (`series`); then both replace the old files at once (`install`). [`policy`] chooses what is
//! worth rewriting, and when.
//!
//! ```text
//! choose (seal, list)  >  rewrite: new series files, new segments  >  swap
//!   upkeep locked             nothing locked; at a rate ([`pace`])      upkeep locked
//! ```
//! Old files never change, so appends, checkpoints and seals go on during the rewrite. What it began with must still
//! hold at the swap: no run was purged in the index, and the index was not made anew. Else the new files are dropped, and
//! it begins again; the last try keeps the lock.
//!
//! Laws:
//! - *State*: a replay of the compacted log and its series files gives the state that a replay before gave: entities,
//!   histories, dictionary, idempotency keys, event lists, and points as of any position.
//! - *Release*: points leave the log only if they are durable in a series file that a durable index row names, and
//!   MANIFEST lists that file in the same step.
//! - *Readers*: whoever holds an older snapshot reads on. Segments and series files are unlinked when open; a series
//!   file that an older snapshot may still come to by its number stays until that snapshot is dropped. What was said of
//!   a run before its purge stays while a snapshot from before the purge is held.

#[cfg(test)]
mod damaged_tests;
pub(crate) mod export;
pub(crate) mod install;
mod pace;
pub mod policy;
mod rewrite;
mod series;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;
use rustc_hash::FxHashSet;

use crate::core::{Core, Upkeep, chunk_rows, file_row, series_path};
use crate::entity::{EntityState, Lifecycle};
use crate::error::{Error, Result};
use crate::id::{Lsn, Peer, RunId, WriterId};
use crate::index::{IndexChange, IndexRead, Rows};
use crate::log::{Log, RewrittenSegment, Segment, SegmentInfo, SegmentRewriter, SwapPlan, TruthFile};
use crate::storage::OpenMode;
use install::{truth_of_file, truth_of_info};
use pace::Pace;
use policy::{Due, SegmentSize, Standing};
use rewrite::{Purged, Rules, Writer};

/// How to compact.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CompactOptions {
    /// Approximate size of a rewritten segment, in bytes. Default: 64 MiB.
    pub segment_bytes: u64,
    /// Approximate size of a rewritten series file, in bytes. Default: 256 MiB.
    pub series_file_bytes: u64,
    /// Bytes of old files that are read a second, so that the disk and the processor are left to others. Default: as
    /// many as it can.
    pub bytes_per_second: Option<u64>,
}

impl Default for CompactOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, series_file_bytes: 256 << 20, bytes_per_second: None }
    }
}

/// The result of a compaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactReport {
    /// Bytes by which log and series files shrank, including bytes that are still held.
    pub freed_bytes: u64,
    /// Part of these bytes that snapshots or handles on old files still hold; free once these are dropped.
    pub pinned_bytes: u64,
    /// Number of finished segments before.
    pub segments_before: u64,
    /// Number of finished segments after.
    pub segments_after: u64,
    /// Number of series files before.
    pub series_files_before: u64,
    /// Number of series files after.
    pub series_files_after: u64,
    /// Number of purged runs whose last bytes, if any, were removed from log and series files.
    pub runs_purged: u64,
    /// Number of purged runs that an older snapshot still needs; a later compaction removes them.
    pub runs_pinned: u64,
    /// Number of points of purged runs removed from series files.
    pub points_purged: u64,
    /// Raw frames at most this position are released.
    pub released: Lsn,
}

/// Prefix of the tags by which an experiment names the stores it came from; the store's id follows.
const SOURCE_TAG: &str = "runlode.source.";

/// Stores that were synced into this one, as the writers named in their batches.
fn sources(read: &IndexRead) -> Result<FxHashSet<WriterId>> {
    let mut sources = FxHashSet::default();
    for (_, state) in read.experiments()? {
        if let EntityState::Experiment(experiment) = &*state {
            let ids = experiment.tags.iter().filter_map(|(key, _)| key.strip_prefix(SOURCE_TAG));
            sources.extend(ids.filter_map(|id| id.parse::<WriterId>().ok()));
        }
    }
    Ok(sources)
}

/// The new segments of a swap, for each run of neighbours.
#[derive(Default)]
struct NewSegments {
    remove: Vec<SegmentInfo>,
    add: Vec<RewrittenSegment>,
}

/// How often a rewrite may be in vain before one keeps the lock.
const TRIES: usize = 3;

/// What a compaction rewrites, and what must still hold when it is done.
struct Chosen {
    read: IndexRead,
    generation: u64,
    purges: u64,
    rebuilds: u64,
    files: Vec<series::Listed>,
    /// Places in `files`.
    rewritten: Vec<usize>,
    /// Numbers of new series files.
    numbers: Range<u64>,
    finished: Vec<SegmentInfo>,
    purged: PurgedRuns,
    bound: Lsn,
    released: Lsn,
    report: CompactReport,
}

impl Chosen {
    fn files_rewritten(&self) -> Vec<&series::Listed> {
        self.rewritten.iter().filter_map(|at| self.files.get(*at)).collect()
    }

    /// Whether everything that it was chosen by still holds.
    fn holds(&self, core: &Core, upkeep: &Upkeep) -> bool {
        core.pipeline.log.generation() == self.generation
            && (upkeep.purges, upkeep.rebuilds) == (self.purges, self.rebuilds)
    }
}

/// New files that are not in place yet.
struct Rewritten {
    series: series::Rewritten,
    segments: NewSegments,
    /// Series files that stay, and that alone will hold their points.
    kept: Vec<TruthFile>,
}

impl Rewritten {
    fn is_empty(&self) -> bool {
        self.segments.remove.is_empty() && self.series.added.is_empty() && self.series.removed.is_empty()
    }
}

impl Core {
    /// Puts all durable points into series files, and rewrites the files for which it is worth it.
    pub(crate) fn compact(&self, options: &CompactOptions) -> Result<CompactReport> {
        self.check_writable()?;
        let _compacting = self.keeping.compacting.lock();
        if self.keeping.closes.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        for attempt in 1..=TRIES {
            let (upkeep, chosen) = self.choose(options)?;
            // The last try keeps the lock, so nothing can come in between.
            let kept = (attempt == TRIES).then_some(upkeep);
            let new = self.rewrite(options, &chosen)?;
            let mut upkeep = kept.unwrap_or_else(|| self.upkeep.lock());
            if !chosen.holds(self, &upkeep) {
                self.drop_new(&new.series, chosen.generation);
                continue;
            }
            let mut report = chosen.report.clone();
            let done = match new.is_empty() && chosen.rewritten.is_empty() {
                true => Ok(()),
                false => self.swap(&mut upkeep, &chosen, &new, &mut report),
            };
            if let Err(error) = done {
                self.drop_new(&new.series, chosen.generation);
                return Err(error);
            }
            upkeep.purges_compacted = chosen.purges;
            report.released = chosen.released;
            return Ok(report);
        }
        Err(Error::Internal("a compaction that kept the lock was disturbed".into()))
    }

    /// Why a compaction would be worth it now; see [`policy::due`].
    pub(crate) fn compaction_due(&self, idle_ms: u64) -> Result<Option<Due>> {
        let segments = self.pipeline.log.segments();
        let bytes = |raw: bool| -> u64 {
            let wanted = segments.iter().filter(|segment| segment.finished && (!raw || segment.name.generation == 0));
            wanted.map(|segment| segment.end_bytes).sum()
        };
        let (mut series_bytes, mut small_files) = (0, 0);
        for (number, _) in self.index.read()?.files()? {
            let path = series_path(number);
            let file = self.storage.open(&path, OpenMode::Read).and_then(|file| file.len());
            let bytes = file.map_err(|error| Error::io("read the length", self.storage.display_path(&path), error))?;
            series_bytes += bytes;
            small_files += usize::from(policy::is_small(bytes, CompactOptions::default().series_file_bytes));
        }
        let purged_runs = {
            let upkeep = self.upkeep.lock();
            upkeep.purges - upkeep.purges_compacted
        };
        let total_bytes = bytes(false) + series_bytes;
        Ok(policy::due(&Standing { idle_ms, raw_bytes: bytes(true), total_bytes, small_files, purged_runs }))
    }

    /// Removes new series files, if MANIFEST certainly does not list them. (The index's generation does not tell: it
    /// follows the swap, and a failed unlink of an old file after that must not remove the new ones.)
    fn drop_new(&self, new_files: &series::Rewritten, generation: u64) {
        let log = &self.pipeline.log;
        if log.poisoned().is_none() && log.generation() == generation {
            for info in &new_files.added {
                // If this fails, the next open removes them.
                let _ = self.storage.remove(&info.path);
            }
        }
    }

    /// Seals everything, and decides what is worth rewriting.
    fn choose(&self, options: &CompactOptions) -> Result<(MutexGuard<'_, Upkeep>, Chosen)> {
        let log = &self.pipeline.log;
        let roll = log.prepare_small()?;
        let (batches, frames) = {
            let mut sequencer = self.pipeline.lock();
            if let Some(tail) = sequencer.as_mut().filter(|_| roll) {
                tail.leave_segment()?;
            }
            // Nobody appends meanwhile: only marks can lie between the two.
            (self.pipeline.published(), log.published())
        };
        self.pipeline.sync()?;
        self.seal()?;
        // A rebuilt index may have all points but few entities yet.
        self.checkpoint()?;
        log.maintain()?;
        let mut upkeep = self.upkeep.lock();
        if log.generation() != upkeep.generation {
            // MANIFEST lists files that this index does not know; the next open repairs that.
            return Err(Error::Internal("the index could not learn of an earlier compaction: reopen the store".into()));
        }
        self.unlink_retired(&mut upkeep);
        let read = self.index.read()?;
        let mut report = CompactReport::default();
        let settled = self.applied().min(self.sealed());
        let settled = if settled >= batches { settled.max(frames) } else { settled };
        let (purged, bound) = self.purged_runs(&read, settled, &mut report)?;
        let finished: Vec<SegmentInfo> = log.segments().into_iter().filter(|segment| segment.finished).collect();
        report.segments_before = finished.len() as u64;
        report.segments_after = report.segments_before;
        let released = finished.iter().map(|segment| segment.last).take_while(|last| *last <= bound).max();
        let files = series::list(self, &read)?;
        report.series_files_before = files.len() as u64;
        report.series_files_after = report.series_files_before;
        let sizes: Vec<_> = files.iter().map(|listed| listed.size).collect();
        let rewritten = policy::choose_files(&sizes, options.series_file_bytes);
        let rewritten_sizes = rewritten.iter().filter_map(|at| sizes.get(*at));
        report.points_purged = rewritten_sizes.map(|size| size.points - size.live_points.min(size.points)).sum();
        let numbers = {
            // More than there can be: merging never makes two files of one.
            let of_bytes = rewritten.iter().filter_map(|at| sizes.get(*at)).map(|size| size.bytes).sum::<u64>();
            let count = 2 * of_bytes / options.series_file_bytes.max(1) + rewritten.len() as u64;
            let first = upkeep.next_file;
            upkeep.next_file += count;
            first..upkeep.next_file
        };
        let raw_first = finished.iter().find(|segment| segment.name.generation == 0).map(|segment| segment.first);
        report.runs_purged =
            purged.spans.iter().filter(|(_, at)| raw_first.is_some_and(|raw| *at >= raw)).count() as u64;
        let chosen = Chosen {
            generation: log.generation(),
            purges: upkeep.purges,
            rebuilds: upkeep.rebuilds,
            read,
            files,
            rewritten,
            numbers,
            finished,
            purged,
            bound,
            released: released.unwrap_or_default(),
            report,
        };
        Ok((upkeep, chosen))
    }

    /// Writes the new files. Nothing is locked, unless the caller locked it.
    fn rewrite(&self, options: &CompactOptions, chosen: &Chosen) -> Result<Rewritten> {
        let read = &chosen.read;
        let files = chosen.files_rewritten();
        let of_segments = chosen.finished.iter().map(|segment| segment.end_bytes);
        let total_bytes = of_segments.chain(files.iter().map(|listed| listed.size.bytes)).sum();
        let pace = Pace::begin(self, options.bytes_per_second, total_bytes);
        let series = match files.is_empty() {
            true => series::Rewritten::default(),
            false => series::rewrite(self, chosen.numbers.clone(), read, &files, options.series_file_bytes, &pace)?,
        };
        let rest = || {
            let sources = sources(read)?;
            let rules = Rules {
                entity: &|key| read.entity(key),
                remembered: &|key, lsn| Ok(read.idempotency(key)?.is_some_and(|entry| entry.lsn == lsn)),
                keeps_number: &|peer, lsn| {
                    let is_source = matches!(peer, Peer::Writer(writer) if sources.contains(&writer));
                    Ok(is_source || read.writer(&peer.key())?.is_none_or(|(_, last)| last <= lsn))
                },
                purged: &chosen.purged.runs,
                released: chosen.released,
            };
            let segments = self.rewrite_segments(chosen, &rules, options.segment_bytes, &pace)?;
            let mut kept = Vec::new();
            if !(segments.remove.is_empty() && files.is_empty()) {
                let truth = self.pipeline.log.truth_files();
                let goes = |number: u64| files.iter().any(|listed| listed.number == number);
                for listed in chosen.files.iter().filter(|listed| !goes(listed.number)) {
                    let path = series_path(listed.number);
                    if !truth.iter().any(|file| file.name == path) {
                        // From now on this file alone has its points: find damage while they can still be rebuilt.
                        listed.file.verify()?;
                        pace.step(listed.size.bytes)?;
                        kept.push(truth_of_file(&path, &listed.file, listed.size.bytes));
                    }
                }
            }
            Ok((segments, kept))
        };
        match rest() {
            Ok((segments, kept)) => Ok(Rewritten { series, segments, kept }),
            Err(error) => {
                self.drop_new(&series, chosen.generation);
                Err(error)
            }
        }
    }

    /// Purged runs that no snapshot from before the purge needs, and the position up to which frames may be released.
    fn purged_runs(&self, read: &IndexRead, done: Lsn, report: &mut CompactReport) -> Result<(PurgedRuns, Lsn)> {
        let mut bound = done;
        let oldest = self.pins.oldest().unwrap_or(Lsn::MAX);
        let mut all: Vec<(RunId, crate::id::ExperimentId, Lsn, Lsn)> = Vec::new();
        read.for_each_run(|id, state| {
            if let EntityState::Run(run) = &*state
                && run.lifecycle == Lifecycle::Purged
            {
                all.push((id, run.experiment, run.created, run.lifecycle_lsn));
            }
            Ok(())
        })?;
        if let Some(pinned) = all.iter().map(|(.., at)| *at).filter(|at| *at > oldest).min() {
            // Frames after this stay raw, so that the next compaction handles them.
            bound = bound.min(Lsn(pinned.0 - 1));
        }
        let mut purged = PurgedRuns::default();
        for (id, experiment, created, at) in all {
            if at <= bound {
                purged.runs.insert(id, experiment);
                purged.spans.push((created, at));
            } else if at > oldest {
                report.runs_pinned += 1;
            }
        }
        Ok((purged, bound))
    }

    fn rewrite_segments(
        &self,
        chosen: &Chosen,
        rules: &Rules<'_>,
        target_bytes: u64,
        pace: &Pace<'_>,
    ) -> Result<NewSegments> {
        let log = &self.pipeline.log;
        let purged = &chosen.purged;
        let eligible: Vec<&SegmentInfo> =
            chosen.finished.iter().take_while(|segment| segment.last <= chosen.bound).collect();
        let raw_from = eligible.iter().find(|segment| segment.name.generation == 0).map(|segment| segment.first);
        let sizes: Vec<SegmentSize> = eligible
            .iter()
            .map(|segment| SegmentSize {
                bytes: segment.end_bytes,
                raw: segment.name.generation == 0,
                // A purge that is not compacted yet is in a raw segment; the data it removes may be before it.
                dirty: purged.spans.iter().any(|(created, at)| {
                    *created <= segment.last && *at >= segment.first && raw_from.is_some_and(|raw| *at >= raw)
                }),
            })
            .collect();
        let mut new = NewSegments::default();
        for range in policy::choose_segments(&sizes, target_bytes) {
            let mut writer: Option<Writer> = None;
            for segment in eligible.get(range).unwrap_or_default() {
                if let Some(full) = writer.take_if(|writer| writer.is_full(target_bytes)) {
                    new.add.push(full.finish()?);
                }
                let writer = match &mut writer {
                    Some(writer) => writer,
                    None => {
                        let begun = SegmentRewriter::new(log.clone(), segment.name.id, segment.first, segment.last)?;
                        writer.insert(Writer::new(begun))
                    }
                };
                writer.cover(segment.last);
                writer.take_all(&mut log.read_from(segment.first, segment.last)?, rules, pace)?;
                new.remove.push(**segment);
            }
            if let Some(last) = writer {
                new.add.push(last.finish()?);
            }
        }
        Ok(new)
    }

    /// Swaps the files: MANIFEST, index, unlink.
    fn swap(&self, upkeep: &mut Upkeep, chosen: &Chosen, new: &Rewritten, report: &mut CompactReport) -> Result<()> {
        let log: &Arc<Log> = &self.pipeline.log;
        let files = chosen.files_rewritten();
        let (segments, new_files) = (&new.segments, &new.series);
        let mut plan = SwapPlan {
            remove: segments.remove.iter().map(|segment| segment.name).collect(),
            add: segments.add.clone(),
            series_add: new_files.added.iter().map(truth_of_info).collect(),
            series_remove: files.iter().map(|listed| series_path(listed.number)).collect(),
        };
        plan.series_add.extend(new.kept.iter().cloned());
        let mut old_bytes: u64 = files.iter().map(|listed| listed.size.bytes).sum();
        for segment in &segments.remove {
            let path = segment.name.path();
            let file = self.storage.open(&path, OpenMode::Read).and_then(|file| file.len());
            old_bytes += file.map_err(|error| Error::io("read the length", &path, error))?;
        }
        let new_bytes = segments.add.iter().map(RewrittenSegment::len_bytes).sum::<u64>()
            + new_files.added.iter().map(|info| info.len_bytes).sum::<u64>();

        let gone: Vec<Arc<Segment>> = log.install(&plan)?;
        let mut change = IndexChange {
            applied: self.applied(),
            sealed: self.sealed(),
            generation: log.generation(),
            chunks_removed: new_files.removed.clone(),
            files_removed: files.iter().map(|listed| listed.number).collect(),
            unknown_events: upkeep.unknown.clone(),
            ..IndexChange::default()
        };
        let added = new_files.added.iter();
        change.files_added = added.clone().map(|info| (info.file_id, file_row(&info.path, info.footer_crc))).collect();
        // Nobody took the numbers that are left.
        if upkeep.next_file == chosen.numbers.end {
            upkeep.next_file = chosen.numbers.start + new_files.added.len() as u64;
        }
        self.commit(upkeep, change, Rows { chunks: added.map(chunk_rows).collect(), ..Rows::default() })?;
        self.directories.clear();

        let mark = self.pins.mark();
        upkeep.retired.extend(files.iter().map(|listed| (listed.number, mark)));
        log.unlink(&gone)?;
        report.pinned_bytes = self.unlink_retired(upkeep);
        // Only this list holds it: nobody reads it any more.
        let held = gone.iter().filter(|segment| Arc::strong_count(segment) > 1);
        report.pinned_bytes += held.map(|segment| segment.end_bytes()).sum::<u64>();
        report.freed_bytes = old_bytes.saturating_sub(new_bytes);
        report.segments_after = report.segments_before - segments.remove.len() as u64 + segments.add.len() as u64;
        report.series_files_after = report.series_files_before - files.len() as u64 + new_files.added.len() as u64;
        Ok(())
    }
}

/// Runs to remove, and the positions of their creation and purge.
#[derive(Debug, Default)]
struct PurgedRuns {
    runs: Purged,
    spans: Vec<(Lsn, Lsn)>,
}
