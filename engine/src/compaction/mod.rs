//! Compaction: points sealed and merged, raw frames released, purged runs removed.
//!
//! Once points are in a series file, the log holds them a second time. Compaction rewrites finished segments without
//! them (`rewrite`) and makes the series files the only source of these points. It drops chunks of purged runs and
//! merges small ones (`series`); then both replace the old files at once (`install`). [`policy`] chooses what is
//! worth rewriting.
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
pub mod policy;
mod rewrite;
mod series;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use rustc_hash::FxHashSet;

use crate::core::{Core, Upkeep, chunk_rows, file_row, series_path};
use crate::entity::{EntityState, Lifecycle};
use crate::error::{Error, Result};
use crate::id::{Lsn, Peer, RunId, WriterId};
use crate::index::{IndexChange, IndexRead, Rows};
use crate::log::{Log, RewrittenSegment, Segment, SegmentInfo, SegmentRewriter, SwapPlan};
use crate::storage::OpenMode;
use install::{truth_of_file, truth_of_info};
use policy::SegmentSize;
use rewrite::{Purged, Rules, Writer};

/// How to compact.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CompactOptions {
    /// Approximate size of a rewritten segment, in bytes. Default: 64 MiB.
    pub segment_bytes: u64,
    /// Approximate size of a rewritten series file, in bytes. Default: 256 MiB.
    pub series_file_bytes: u64,
}

impl Default for CompactOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, series_file_bytes: 256 << 20 }
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

impl Core {
    /// Puts all durable points into series files, and rewrites the files for which it is worth it.
    pub(crate) fn compact(&self, options: &CompactOptions) -> Result<CompactReport> {
        self.check_writable()?;
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
        let upkeep = &mut *upkeep;
        if log.generation() != upkeep.generation {
            // MANIFEST lists files that this index does not know; the next open repairs that.
            return Err(Error::Internal("the index could not learn of an earlier compaction: reopen the store".into()));
        }
        self.unlink_retired(upkeep);
        let generation = log.generation();
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
        let chosen = policy::choose_files(&sizes, options.series_file_bytes);
        let chosen: Vec<&series::Listed> = chosen.into_iter().filter_map(|at| files.get(at)).collect();
        report.points_purged =
            chosen.iter().map(|listed| listed.size.points - listed.size.live_points.min(listed.size.points)).sum();

        let new_files = match chosen.is_empty() {
            true => series::Rewritten::default(),
            false => series::rewrite(self, upkeep, &read, &chosen, options.series_file_bytes)?,
        };
        let sources = sources(&read)?;
        let rules = Rules {
            entity: &|key| read.entity(key),
            remembered: &|key, lsn| Ok(read.idempotency(key)?.is_some_and(|entry| entry.lsn == lsn)),
            keeps_number: &|peer, lsn| {
                let is_source = matches!(peer, Peer::Writer(writer) if sources.contains(&writer));
                Ok(is_source || read.writer(&peer.key())?.is_none_or(|(_, last)| last <= lsn))
            },
            purged: &purged.runs,
            released: released.unwrap_or_default(),
        };
        let raw_first = finished.iter().find(|segment| segment.name.generation == 0).map(|segment| segment.first);
        report.runs_purged =
            purged.spans.iter().filter(|(_, at)| raw_first.is_some_and(|raw| *at >= raw)).count() as u64;
        let segments = self.rewrite_segments(&finished, &purged, &rules, bound, options.segment_bytes);
        let done = segments.and_then(|segments| {
            if segments.add.is_empty() && chosen.is_empty() {
                return Ok(());
            }
            self.swap(upkeep, &files, &chosen, &new_files, segments, &mut report)
        });
        if let Err(error) = done {
            // Only if MANIFEST certainly does not list them. (The index's generation does not tell: it follows the
            // swap, and a failed unlink of an old file after that must not remove the new ones.)
            if self.pipeline.log.poisoned().is_none() && log.generation() == generation {
                for info in &new_files.added {
                    let _ = self.storage.remove(&info.path);
                }
            }
            return Err(error);
        }
        report.released = released.unwrap_or_default();
        Ok(report)
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
        finished: &[SegmentInfo],
        purged: &PurgedRuns,
        rules: &Rules<'_>,
        bound: Lsn,
        target_bytes: u64,
    ) -> Result<NewSegments> {
        let log = &self.pipeline.log;
        let eligible: Vec<&SegmentInfo> = finished.iter().take_while(|segment| segment.last <= bound).collect();
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
                writer.take_all(&mut log.read_from(segment.first, segment.last)?, rules)?;
                new.remove.push(**segment);
            }
            if let Some(last) = writer {
                new.add.push(last.finish()?);
            }
        }
        Ok(new)
    }

    /// Swaps the files: MANIFEST, index, unlink.
    fn swap(
        &self,
        upkeep: &mut Upkeep,
        files: &[series::Listed],
        chosen: &[&series::Listed],
        new_files: &series::Rewritten,
        segments: NewSegments,
        report: &mut CompactReport,
    ) -> Result<()> {
        let log: &Arc<Log> = &self.pipeline.log;
        let goes = |number: u64| chosen.iter().any(|listed| listed.number == number);
        let truth = log.truth_files();
        let mut plan = SwapPlan {
            remove: segments.remove.iter().map(|segment| segment.name).collect(),
            add: segments.add.clone(),
            series_add: new_files.added.iter().map(truth_of_info).collect(),
            series_remove: chosen.iter().map(|listed| series_path(listed.number)).collect(),
        };
        for listed in files.iter().filter(|listed| !goes(listed.number)) {
            let path = series_path(listed.number);
            if !truth.iter().any(|file| file.name == path) {
                // From now on this file alone has its points: find damage while they can still be rebuilt.
                listed.file.verify()?;
                plan.series_add.push(truth_of_file(&path, &listed.file, listed.size.bytes));
            }
        }
        let mut old_bytes: u64 = chosen.iter().map(|listed| listed.size.bytes).sum();
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
            files_removed: chosen.iter().map(|listed| listed.number).collect(),
            unknown_events: upkeep.unknown.clone(),
            ..IndexChange::default()
        };
        let added = new_files.added.iter();
        change.files_added = added.clone().map(|info| (info.file_id, file_row(&info.path, info.footer_crc))).collect();
        self.commit(upkeep, change, Rows { chunks: added.map(chunk_rows).collect(), ..Rows::default() })?;
        self.directories.clear();

        let mark = self.pins.mark();
        upkeep.retired.extend(chosen.iter().map(|listed| (listed.number, mark)));
        log.unlink(&gone)?;
        report.pinned_bytes = self.unlink_retired(upkeep);
        // Only this list holds it: nobody reads it any more.
        let held = gone.iter().filter(|segment| Arc::strong_count(segment) > 1);
        report.pinned_bytes += held.map(|segment| segment.end_bytes()).sum::<u64>();
        report.freed_bytes = old_bytes.saturating_sub(new_bytes);
        report.segments_after = report.segments_before - segments.remove.len() as u64 + segments.add.len() as u64;
        report.series_files_after = report.series_files_before - chosen.len() as u64 + new_files.added.len() as u64;
        Ok(())
    }
}

/// Runs to remove, and the positions of their creation and purge.
#[derive(Debug, Default)]
struct PurgedRuns {
    runs: Purged,
    spans: Vec<(Lsn, Lsn)>,
}
