//! A copy of a store as it was at a position: the same ids, times and positions, in another folder.
//!
//! The copy is made like a compacted store: a log of what stays of each frame, the points in series files that are the
//! truth, and a MANIFEST that lists both; the next open makes the index. Search there is search as of then. Runs that
//! were purged since are purged there too: what they said is gone.
//!
//! An event is itself wherever it travels: the copy's last batch says which store's log it is a copy of (`StoreCopied`), so
//! that what it holds is known again where it comes from, and where it was synced to.
//!
//! Order: FORMAT > series files, segments > MANIFEST. A copy that was cut has no MANIFEST; remove its folder.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::install::truth_of_info;
use super::rewrite::{Purged, Rules, Writer};
use super::series::Output;
use crate::core::Core;
use crate::entity::{EntityKey, EntityState, Lifecycle};
use crate::error::{Error, Result};
use crate::event::batch::{SectionKind, put_section};
use crate::event::payload::encode;
use crate::event::{Event, RunPurged, StoreCopied};
use crate::id::{Lsn, Peer, RunId, SegmentId, SeriesId, StoreId};
use crate::log::format_file::FormatFile;
use crate::log::{FrameKind, Log, LogOptions, SegmentRewriter};
use crate::query::past::AsOf;
use crate::query::snapshot::Snapshot;
use crate::storage::Storage;
use crate::time::TimestampMs;

/// Approximate size of a segment and a series file of a copy.
const SEGMENT_BYTES: u64 = 64 << 20;
const SERIES_FILE_BYTES: u64 = 256 << 20;

/// The result of a replay into another folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplayIntoReport {
    /// The position that the copy shows.
    pub position: Lsn,
    /// Number of batches read.
    pub frames_count: u64,
    /// Number of events applied to the copy's state.
    pub events_count: u64,
    /// Number of points in the copy.
    pub points_count: u64,
    /// Events of kinds that this build does not know, by tag: copied, not applied.
    pub unknown: Vec<(u16, u64)>,
}

/// Runs that are purged now, with the position of their purge and of their creation.
fn purged_runs(snapshot: &Snapshot) -> Result<Vec<(RunId, crate::id::ExperimentId, Lsn, Lsn)>> {
    let mut ids = BTreeSet::new();
    let is_purged = |state: &EntityState| matches!(state, EntityState::Run(run) if run.lifecycle == Lifecycle::Purged);
    snapshot.index.for_each_run(|id, state| {
        if is_purged(&state) {
            ids.insert(id);
        }
        Ok(())
    })?;
    let hot = snapshot.core.pipeline.newest.hot.unapplied(Lsn::ZERO, snapshot.position());
    ids.extend(hot.entities.iter().filter_map(|(key, state)| match key {
        EntityKey::Run(id) if is_purged(state) => Some(*id),
        _ => None,
    }));
    let mut runs = Vec::new();
    for id in ids {
        if let Some(run) = snapshot.run(id)? {
            runs.push((id, run.experiment, run.created, run.lifecycle_lsn));
        }
    }
    Ok(runs)
}

impl Core {
    /// Writes the files of a copy of this store. The open of the copy builds its index; the events applied there are
    /// not in the report yet.
    pub(crate) fn export(
        self: &Arc<Self>,
        storage: &Arc<dyn Storage>,
        store_id: StoreId,
        until: Option<AsOf>,
    ) -> Result<ReplayIntoReport> {
        let snapshot = Snapshot::take(self)?;
        let position = match until {
            Some(at) => snapshot.as_of(at)?.position(),
            None => snapshot.position(),
        };
        // A copy only lists what it has, so a gap, even at the end, could not be noticed later.
        self.check_complete(if until.is_some() { position } else { Lsn::MAX })?;
        FormatFile::new(store_id, self.pipeline.clock.now()).write(&**storage)?;
        let purged = purged_runs(&snapshot)?;
        let mut report = ReplayIntoReport { position, ..ReplayIntoReport::default() };

        let log = Log::begin_copy(storage.clone(), LogOptions::new(store_id), position)?;
        let runs: Purged = purged.iter().map(|(id, experiment, ..)| (*id, *experiment)).collect();
        let rules = Rules {
            entity: &|key| snapshot.entity(key),
            remembered: &|_, _| Ok(true),
            keeps_number: &|_, _| Ok(true),
            purged: &runs,
            released: position,
        };
        let mut segments = Vec::new();
        let mut writer: Option<Writer> = None;
        let mut id = 1;
        let begin = |id, first| SegmentRewriter::new(log.clone(), SegmentId(id), first, first).map(Writer::new);
        let mut frames = self.pipeline.log.read_from(self.pipeline.log.first(), position)?;
        let mut end = (Lsn::ZERO, TimestampMs(0));
        while let Some(frame) = frames.next_frame()? {
            if let Some(mut full) = writer.take_if(|writer| writer.is_full(SEGMENT_BYTES)) {
                full.cover(end.0);
                segments.push(full.finish()?);
            }
            let writer = match &mut writer {
                Some(writer) => writer,
                None => {
                    let made = writer.insert(begin(id, end.0.next())?);
                    id += 1;
                    made
                }
            };
            end = (frame.lsn, frame.time);
            writer.cover(frame.lsn);
            if frame.kind == FrameKind::Batch {
                report.frames_count += 1;
                writer.take(&frame, &rules)?;
            }
        }
        if position > Lsn::ZERO {
            let mut last = match writer {
                Some(writer) => writer,
                None => begin(id, end.0.next())?,
            };
            last.cover(position);
            if let Some((_, end)) = frames.segment_of(position) {
                last.end_clock(position, &mut frames.again(position.next(), end))?;
            }
            // Runs purged since are purged in the copy too.
            let purged = purged.iter().filter(|(_, _, created, at)| *created <= position && *at > position);
            let mut events: Vec<Event> = purged.map(|(run, ..)| RunPurged { run: *run }.into()).collect();
            events.extend(self.origins_of_copy(position)?);
            let mut sections = Vec::new();
            for event in &events {
                let mut encoded = Ok(());
                put_section(&mut sections, SectionKind::Event, |out| {
                    encoded = encode(event, out);
                    0
                });
                encoded?;
            }
            // The frame of the last position may be gone; the clock can still tell its time.
            let time = last.time_of(position).unwrap_or(end.1);
            last.amend(position, time, &sections)?;
            segments.push(last.finish()?);
        }
        let truth = self.copy_points(&snapshot, &**storage, store_id, position, &runs, &mut report)?;
        log.install_copy(&segments, truth)?;
        Ok(report)
    }

    /// The stores that decided the events in a copy of this log up to a position.
    fn origins_of_copy(&self, position: Lsn) -> Result<Vec<Event>> {
        let copied = |(peer, to)| if let Peer::Copied(store) = peer { Some((to, store)) } else { None };
        let mut all: Vec<(u64, StoreId)> = self.pipeline.numbers()?.into_iter().filter_map(copied).collect();
        all.sort_unstable_by_key(|(to, _)| *to);
        all.push((u64::MAX, self.store_id));
        let mut from = 1;
        let mut events = Vec::new();
        for (to, store) in all {
            // The event that says so comes after the copied part.
            if to > position.0 {
                events.push(StoreCopied { store, from, to: position.0 }.into());
            }
            from = to.saturating_add(1);
        }
        Ok(events)
    }

    fn copy_points(
        &self,
        snapshot: &Snapshot,
        storage: &dyn Storage,
        store_id: StoreId,
        position: Lsn,
        purged: &Purged,
        report: &mut ReplayIntoReport,
    ) -> Result<Vec<crate::log::TruthFile>> {
        let mut all: BTreeSet<SeriesId> = BTreeSet::new();
        snapshot.index.for_each_stats(|series, _| {
            all.insert(series);
            Ok(())
        })?;
        for run in self.pipeline.runs.all() {
            let keys = run.keys_above(Lsn::ZERO);
            all.extend(keys.into_iter().map(|key| SeriesId { run: run.id, key }));
        }
        let io = |op, path: &str, error| Error::io(op, storage.display_path(path), error);
        storage.create_dir("series").map_err(|error| io("create", "series", error))?;
        storage.sync_dir("").map_err(|error| io("fsync", "", error))?;
        let mut numbers = 1..u64::MAX;
        let mut output = Output::new(storage, store_id, (Lsn::ZERO, position), SERIES_FILE_BYTES, &mut numbers);
        for series in all.into_iter().filter(|series| !purged.contains_key(&series.run)) {
            let source = snapshot.source(series, position)?;
            output.series(series, source.chunks.refs(), source.hot, position)?;
        }
        output.finish_file()?;
        report.points_count = output.done.iter().map(|info| info.points).sum();
        Ok(output.done.iter().map(truth_of_info).collect())
    }
}
