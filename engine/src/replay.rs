//! Log to state: what an open does with frames that the index and files lack, and how an index is rebuilt.
//!
//! It is one pass over the frames above the smaller of the applied and the sealed position.
//! - Entity events up to the applied position are in the index already. Points up to there are in its stats but not in
//!   files, so they go to hot state without being counted again.
//! - Points up to the sealed position are in files, and their stats are in the index. (If an index was rebuilt from the
//!   files of a compacted store, the sealed position is above the applied one.)
//! - Everything above is applied by the same pure step as in a live store. If memory fills up (in a rebuild), a
//!   checkpoint is written and points are sealed, by the same code as live.
//!
//! Nothing is made up here: ids and times are in the events.

use std::sync::Arc;

use crate::core::Core;
use crate::entity::{EntityKey, EntityState, Working, apply, touches};
use crate::error::{Error, Result};
use crate::event::batch::{Origin, SectionKind, definitions, sections};
use crate::event::payload::{Decoded, decode};
use crate::event::section::{RowSection, SeriesSection, row_values};
use crate::hot::entities::KeyUse;
use crate::hot::points::wide::{RowPlace, WIDE_KEYS_MIN};
use crate::hot::points::{Gate, RunHot, SectionRef};
use crate::id::{ExperimentId, KeyId, Lsn, Peer, RunId, SeriesId};
use crate::ingest::base::Reads;
use crate::ingest::encode::stats_of_section;
use crate::log::{FrameKind, FrameReader, FrameRef, Segment};
use crate::point::{Columns, Point};

/// What a replay met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// Frames read.
    pub frames_count: u64,
    /// Events applied.
    pub events_count: u64,
    /// Points taken in.
    pub points_count: u64,
    /// Events of kinds that this build does not know, by tag: kept in the log, not applied.
    pub unknown: Vec<(u16, u64)>,
    /// Events whose entity was purged or missing; they change nothing.
    pub ignored_count: u64,
}

/// Entities touched between two checkpoints of a rebuild, at most.
const TOUCHED_MAX: usize = 200_000;

/// Whether a frame has points in one section only; a row may then stay there.
fn has_one_of_points(payload: &[u8]) -> bool {
    let is_points = |kind: u8| [SectionKind::Series as u8, SectionKind::Row as u8].contains(&kind);
    sections(payload).filter(|section| section.as_ref().is_ok_and(|section| is_points(section.kind))).count() == 1
}

pub(crate) struct Replayer<'a> {
    core: &'a Core,
    report: ReplayReport,
    /// The frames left to read, once begun.
    frames: Option<FrameReader>,
    /// The last frame that was replayed.
    last: Lsn,
    /// It stopped because memory is full.
    full: bool,
    /// The applied position of the index at the beginning.
    applied: Lsn,
    /// Points up to here are in files.
    sealed: Lsn,
    /// The run of the last section, because runs come in bursts.
    last_run: Option<Arc<RunHot>>,
    columns: Columns,
    row: Vec<(KeyId, f64)>,
    /// Events of unknown kinds that the index has not counted.
    unindexed: Vec<(u16, u64)>,
}

impl<'a> Replayer<'a> {
    pub(crate) fn new(core: &'a Core) -> Self {
        Self {
            core,
            report: ReplayReport::default(),
            frames: None,
            last: Lsn::ZERO,
            full: false,
            applied: Lsn::ZERO,
            sealed: Lsn::ZERO,
            last_run: None,
            columns: Columns::default(),
            row: Vec::new(),
            unindexed: Vec::new(),
        }
    }

    /// Replays everything above the applied or sealed position, as far as memory allows; writes nothing.
    pub(crate) fn begin(&mut self, end: Lsn) -> Result<()> {
        self.round(end, true)
    }

    /// Replays everything, or the rest, and publishes it.
    pub(crate) fn run(mut self, end: Lsn, may_write: bool) -> Result<ReplayReport> {
        let core = self.core;
        if self.frames.is_none() {
            self.round(end, may_write)?;
        }
        while self.full {
            // Points up to the sealed position are in files already, so only entities fill the memory.
            if self.last < core.sealed() {
                core.checkpoint()?
            } else {
                core.seal()?
            };
            self.round(end, may_write)?;
        }
        core.pipeline.set_published(end);
        self.report.unknown.sort_unstable();
        Ok(self.report)
    }

    /// Replays and publishes frames until the end; if it may stop, until memory is full.
    fn round(&mut self, end: Lsn, may_stop: bool) -> Result<()> {
        let core = self.core;
        let mut frames = match self.frames.take() {
            Some(frames) => frames,
            None => {
                (self.applied, self.sealed) = (core.applied(), core.sealed());
                self.last = self.applied.min(self.sealed);
                core.pipeline.log.read_from(self.last.next(), end)?
            }
        };
        let applied = self.applied;
        let reads = Reads::new(&core.pipeline.newest);
        let mut working = Working::new(&reads);
        let mut events: Vec<(Lsn, EntityKey, u16)> = Vec::new();
        self.full = false;
        loop {
            let frame = match frames.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                // An open for reading goes on after what it reported missing.
                Err(Error::MissingFile { .. }) if !core.missing().is_empty() => {
                    frames.skip_damage();
                    continue;
                }
                Err(error) => return Err(error),
            };
            if self.last <= applied && frame.lsn > applied {
                self.reset_stats();
            }
            self.last = frame.lsn;
            self.report.frames_count += 1;
            if frame.kind == FrameKind::Batch {
                self.frame(&frame, frame.lsn > applied, &mut working, &mut events)?;
            }
            self.full = may_stop
                && (working.len() >= TOUCHED_MAX
                    || core.pipeline.hot_bytes() >= core.memory_bytes / 4
                    || events.len() >= 8 * TOUCHED_MAX);
            if self.full {
                break;
            }
        }
        if self.last <= applied {
            self.reset_stats();
        }
        let changed = working.take_changed();
        drop(working);
        core.upkeep.lock().unknown.append(&mut self.unindexed);
        self.publish(self.last, changed, events)?;
        core.pipeline.set_published(self.last);
        self.frames = Some(frames);
        Ok(())
    }

    fn reset_stats(&self) {
        let mut grown = 0;
        for run in self.core.pipeline.runs.all() {
            run.lock().reset_stats(&mut grown);
        }
        self.core.pipeline.runs.note_grown(grown);
    }

    fn publish(
        &self,
        last: Lsn,
        changed: Vec<(EntityKey, Arc<EntityState>)>,
        events: Vec<(Lsn, EntityKey, u16)>,
    ) -> Result<()> {
        let hot = &self.core.pipeline.newest.hot;
        for (key, state) in &changed {
            if let (EntityKey::Run(id), EntityState::Run(run)) = (key, &**state)
                && run.lifecycle == crate::entity::Lifecycle::Purged
            {
                self.core.pipeline.note_purged(*id, run.last);
            }
            let lsn = state.last().min(last);
            hot.publish(lsn, [(key.clone(), state.clone())], []);
        }
        hot.publish_events(events);
        for run in self.core.pipeline.runs.all() {
            self.core.pipeline.refresh_gate(&run)?;
        }
        Ok(())
    }

    fn damage(&self, frame: &FrameRef<'_>, offset: usize, structure: &'static str) -> Error {
        Error::corrupt(
            frame.segment.path(),
            frame.offset_bytes + offset as u64,
            structure,
            "what was written",
            format!("bytes that do not decode, in the frame at position {}", frame.lsn),
        )
    }

    fn frame(
        &mut self,
        frame: &FrameRef<'_>,
        above: bool,
        working: &mut Working<'_>,
        events: &mut Vec<(Lsn, EntityKey, u16)>,
    ) -> Result<()> {
        let lsn = frame.lsn;
        let header = crate::log::FRAME_HEADER_BYTES as u64;
        let mut index = 0u16;
        for section in sections(frame.payload) {
            let section = section.map_err(|bad| self.damage(frame, bad.offset, "section"))?;
            let at = frame.offset_bytes + header + section.offset as u64;
            let bad = |structure| self.damage(frame, section.offset + header as usize, structure);
            match section.kind {
                kind if kind == SectionKind::Origin as u8 => {
                    let origin = Origin::read(section.flags, section.body).ok_or_else(|| bad("origin section"))?;
                    if above && !origin.key.is_empty() {
                        let used = KeyUse { request_hash: origin.request_hash, lsn, time_ms: frame.time.0 };
                        self.core.pipeline.newest.hot.publish_key(&origin.key, used);
                    }
                    if let Some(merged) = origin.merged.filter(|_| above) {
                        self.core.pipeline.writers.publish(Peer::Writer(merged.writer), lsn, merged.last);
                    }
                    if let Some(note) = origin.store.filter(|_| above) {
                        self.core.pipeline.writers.publish_note(&note, lsn);
                    }
                }
                kind if kind == SectionKind::Dictionary as u8 => {
                    let definitions = definitions(section.body).ok_or_else(|| bad("dictionary section"))?;
                    if above {
                        self.core.pipeline.dictionary.published(&definitions, lsn)?;
                    } else {
                        self.core.pipeline.dictionary.load(&definitions)?;
                    }
                }
                kind if kind == SectionKind::Event as u8 => {
                    if above {
                        match decode(section.body).map_err(|_| bad("event"))? {
                            Decoded::Known(event) => {
                                let applied = apply(&event, lsn, working)?;
                                self.core.pipeline.writers.note(&event, lsn);
                                if let (Some((id, branch, kept)), false) = (event.begun_branch(), applied.ignored)
                                    && let Some(run) = self.run_hot(id, working)?
                                {
                                    self.core.pipeline.keep_series(&run, branch, kept, lsn);
                                }
                                self.report.events_count += 1;
                                self.report.ignored_count += u64::from(applied.ignored);
                                events.extend(touches(&event).into_iter().map(|key| (lsn, key, index)));
                            }
                            Decoded::Unknown { tag, .. } => {
                                self.note_unknown(tag);
                                self.unindexed.push((tag, 1));
                            }
                        }
                    }
                    index = index.saturating_add(1);
                }
                kind if kind == SectionKind::Gone as u8 => index = index.saturating_add(1),
                kind if kind == SectionKind::Clock as u8 => {}
                kind if lsn <= self.sealed && [SectionKind::Series as u8, SectionKind::Row as u8].contains(&kind) => {}
                kind if kind == SectionKind::Series as u8 => {
                    let read = SeriesSection::read(section.flags, section.body).ok_or_else(|| bad("series section"))?;
                    self.series(&read, section.flags, section.body.len(), at, lsn, frame.segment, working)?;
                }
                kind if kind == SectionKind::Row as u8 => {
                    let read = RowSection::read(section.flags, section.body).ok_or_else(|| bad("row section"))?;
                    let (values, narrow) = row_values(section.flags, section.body.len(), read.count());
                    let alone = read.count() >= WIDE_KEYS_MIN && has_one_of_points(frame.payload);
                    let place = || RowPlace { source: frame.segment.clone(), values_offset: at + values, narrow };
                    self.row(&read, lsn, alone.then_some(place), working)?;
                }
                kind => self.note_unknown(u16::from(kind)),
            }
        }
        Ok(())
    }

    fn note_unknown(&mut self, tag: u16) {
        match self.report.unknown.iter_mut().find(|(known, _)| *known == tag) {
            Some((_, count)) => *count += 1,
            None => self.report.unknown.push((tag, 1)),
        }
    }

    /// The run to push to; `None` if it is unknown or purged, and its points are dropped.
    fn run_hot(&mut self, id: RunId, working: &mut Working<'_>) -> Result<Option<Arc<RunHot>>> {
        if let Some(run) = self.last_run.as_ref().filter(|run| run.id == id) {
            return Ok(Some(run.clone()));
        }
        let Some(experiment) = self.experiment_of(id, working)? else { return Ok(None) };
        let run = self.core.pipeline.runs.get_or_insert(id, experiment, Gate::Absent, false);
        self.last_run = Some(run.clone());
        Ok(Some(run))
    }

    fn experiment_of(&self, id: RunId, working: &mut Working<'_>) -> Result<Option<ExperimentId>> {
        let run = working.run(id)?;
        Ok(run.filter(|run| run.lifecycle != crate::entity::Lifecycle::Purged).map(|run| run.experiment))
    }

    #[expect(clippy::too_many_arguments, reason = "a section and its place; a struct would only rename them")]
    fn series(
        &mut self,
        section: &SeriesSection<'_>,
        flags: u8,
        len: usize,
        offset: u64,
        lsn: Lsn,
        segment: &Arc<Segment>,
        working: &mut Working<'_>,
    ) -> Result<()> {
        let Some(run) = self.run_hot(section.series.run, working)? else { return Ok(()) };
        self.report.points_count += section.count as u64;
        let slot = self.slot(&run, section.series)?;
        let mut grown = 0;
        let mut series = run.lock();
        if section.count <= crate::hot::points::COPY_POINTS_MAX {
            self.columns.clear();
            section.extend(lsn, &mut self.columns);
            for index in 0..self.columns.len() {
                series.push(slot, self.columns.point(index), lsn, section.context, &mut grown);
            }
        } else {
            let place = SectionRef { source: segment.clone(), offset, len: len as u32, flags };
            let stats = stats_of_section(section, &mut self.columns);
            // No rollups: an open waits for the replay. A chart decodes these points until they are sealed.
            series.push_section(slot, place, (stats, &[]), lsn, section.context, &mut grown);
        }
        drop(series);
        self.core.pipeline.runs.note_grown(grown);
        Ok(())
    }

    fn row(
        &mut self,
        section: &RowSection<'_>,
        lsn: Lsn,
        place: Option<impl FnOnce() -> RowPlace>,
        working: &mut Working<'_>,
    ) -> Result<()> {
        let Some(run) = self.run_hot(section.run, working)? else { return Ok(()) };
        let mut row = std::mem::take(&mut self.row);
        row.clear();
        section.for_each(|key, point: Point| row.push((key, point.value)));
        self.report.points_count += row.len() as u64;
        let mut grown = 0;
        loop {
            let mut series = run.lock_for_row();
            if series.resolve_row(&row, &mut grown).is_ok() {
                series.push_row(&row, section.step, section.time, lsn, section.context, place, &mut grown);
                break;
            }
            drop(series);
            let keys: Vec<KeyId> = row.iter().map(|(key, _)| *key).collect();
            self.core.pipeline.read_bases(&run, &keys)?;
        }
        self.core.pipeline.runs.note_grown(grown);
        self.row = row;
        Ok(())
    }

    fn slot(&self, run: &Arc<RunHot>, series: SeriesId) -> Result<u32> {
        loop {
            if let Some(slot) = run.lock().slot(series.key) {
                return Ok(slot);
            }
            self.core.pipeline.read_bases(run, &[series.key])?;
        }
    }
}
