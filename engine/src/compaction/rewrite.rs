//! Log segments written anew: without points that series files have, and without what purged runs said.
//!
//! What stays of a frame, in its own order, at its own position and time:
//!
//! | section | stays |
//! |---|---|
//! | origin | where an event stays, of imports (a sync looks their points up), while its idempotency key is remembered, of each merged writer the last one, and what says of which store a batch is |
//! | dictionary, unknown kinds | always |
//! | event | but those of purged runs (below); one that goes leaves a *gone* section where a later one stays |
//! | series, row | no |
//!
//! A frame of which nothing stays goes as a whole. When it was appended is still needed to find the position of a time:
//! a *clock* section keeps it, at the last frame that stays (or alone, at the position of one that went). It lists
//! only positions that are the last one up to some time, so a fast writer costs one entry a millisecond.
//!
//! Of a purged run stay its creation, emptied (it says where the run was and from when on), the purge, and the data
//! sets that it was the first of its experiment to name.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::pace::Pace;
use crate::entity::{EntityKey, EntityState};
use crate::error::Result;
use crate::event::batch::{
    IMPORT_ACTOR, NoteKind, Origin, SECTION_HEAD_BYTES, SectionKind, put_clock, put_section, read_clock, sections,
};
use crate::event::payload::{Decoded, decode, encode};
use crate::event::{DatasetInput, Event, RunCreated, RunInputsLogged, RunStatus};
use crate::id::{ExperimentId, Lsn, Peer, RunId};
use crate::log::{FrameKind, FrameReader, FrameRef, RewrittenSegment, SegmentRewriter};
use crate::time::TimestampMs;

/// A frame this large gets no clock section appended: it might become too long.
const CLOCK_BESIDE_BYTES_MAX: usize = 16 << 20;
/// About the maximum number of entries in one clock section; the output segment ends there.
const CLOCK_ENTRIES_MAX: usize = 1 << 20;

/// The pace is looked at after this many bytes of frames.
const PACE_EVERY_BYTES: u64 = 256 << 10;

/// Purged runs, with their experiments.
pub(super) type Purged = FxHashMap<RunId, ExperimentId>;

/// Looks up the newest state of an entity.
pub(super) type EntityOf<'a> = &'a dyn Fn(&EntityKey) -> Result<Option<Arc<EntityState>>>;
/// Whether an idempotency key used at a position is still remembered.
pub(super) type Remembered<'a> = &'a dyn Fn(&[u8], Lsn) -> Result<bool>;

/// Whether the number of another log must stay at a position.
pub(super) type KeepsNumber<'a> = &'a dyn Fn(Peer, Lsn) -> Result<bool>;

/// Decides which sections stay.
pub(super) struct Rules<'a> {
    /// The last number of each writer must stay: a merge could otherwise be applied twice after the index is rebuilt.
    /// Batches of another store must stay marked as such: they would otherwise be sent back to it.
    pub(super) keeps_number: KeepsNumber<'a>,
    /// To find the run that named a data set first.
    pub(super) entity: EntityOf<'a>,
    /// Which idempotency keys are remembered.
    pub(super) remembered: Remembered<'a>,
    /// Runs whose events are dropped.
    pub(super) purged: &'a Purged,
    /// Points at most this are dropped.
    pub(super) released: Lsn,
}

enum Fate {
    Stays,
    Becomes(Box<Event>),
    Goes,
}

impl Rules<'_> {
    fn fate(&self, event: &Event, lsn: Lsn) -> Result<Fate> {
        use Event as E;
        let run = match event {
            E::RunCreated(e) => e.run,
            E::RunInputsLogged(e) => e.run,
            E::RunUpdated(e) => e.run,
            E::RunDeleted(e) => e.run,
            E::RunRestored(e) => e.run,
            E::ParamsLogged(e) => e.run,
            E::RunTagsSet(e) => e.run,
            E::RunTagDeleted(e) => e.run,
            E::RunOutputsLogged(e) => e.run,
            E::ArtifactLogged(e) => e.run,
            E::ProjectLaunched(e) => e.run,
            E::RunRewound(e) => e.run,
            E::RunForked(e) => e.run,
            E::RunLeased(e) => e.run,
            _ => return Ok(Fate::Stays),
        };
        let Some(&experiment) = self.purged.get(&run) else { return Ok(Fate::Stays) };
        match event {
            // That a run was deleted, when and by whom, is part of what an audit proves.
            E::RunDeleted(_) | E::RunRestored(_) => Ok(Fate::Stays),
            E::RunCreated(_) => Ok(Fate::Becomes(Box::new(emptied(run, experiment).into()))),
            E::RunInputsLogged(inputs) => {
                let mut datasets = Vec::new();
                for input in &inputs.datasets {
                    let key = EntityKey::Dataset(experiment, input.name.as_str().into(), input.digest.as_str().into());
                    let state = (self.entity)(&key)?;
                    if matches!(state.as_deref(), Some(EntityState::Dataset(state)) if state.last == lsn) {
                        datasets.push(DatasetInput { tags: Vec::new(), ..input.clone() });
                    }
                }
                if datasets.is_empty() {
                    return Ok(Fate::Goes);
                }
                Ok(Fate::Becomes(Box::new(RunInputsLogged { run, datasets, models: Vec::new() }.into())))
            }
            _ => Ok(Fate::Goes),
        }
    }

    /// Whether a frame's origin must stay for what it says about other logs. The store of a batch is always kept: its
    /// points are in series files by now, and sync sends them as that store's.
    fn keeps_note(&self, origin: &Origin, lsn: Lsn) -> Result<bool> {
        if let Some(merged) = origin.merged
            && (self.keeps_number)(Peer::Writer(merged.writer), lsn)?
        {
            return Ok(true);
        }
        match &origin.store {
            Some(note) if note.kind == NoteKind::Seen => (self.keeps_number)(Peer::Store(note.store), lsn),
            note => Ok(note.is_some()),
        }
    }

    /// Writes the sections of a payload that stay to `out`, and clock entries to `clock`. Returns whether any section
    /// stays.
    fn filter(
        &self,
        frame: &FrameRef<'_>,
        rest: &mut Vec<u8>,
        out: &mut Vec<u8>,
        clock: &mut Vec<(Lsn, TimestampMs)>,
    ) -> Result<bool> {
        rest.clear();
        out.clear();
        let lsn = frame.lsn;
        let (mut origin, mut events, mut gone) = (None, false, 0usize);
        for section in sections(frame.payload) {
            let damaged = |offset| frame.damaged_at(offset, "section");
            let section = section.map_err(|bad| damaged(bad.offset))?;
            let bad = || damaged(section.offset);
            let start = section.offset - SECTION_HEAD_BYTES;
            let whole = frame.payload.get(start..section.offset + section.body.len()).ok_or_else(bad)?;
            if section.kind == SectionKind::Origin as u8 {
                origin = Some((whole, Origin::read(section.flags, section.body).ok_or_else(bad)?));
            } else if section.kind == SectionKind::Clock as u8 {
                clock.extend(read_clock(section.body).ok_or_else(bad)?);
            } else if section.kind == SectionKind::Gone as u8 {
                gone += 1;
            } else if section.kind == SectionKind::Event as u8 {
                let fate = match self.purged.is_empty() {
                    true => Fate::Stays,
                    false => match decode(section.body).map_err(|_| bad())? {
                        Decoded::Known(event) => self.fate(&event, lsn)?,
                        Decoded::Unknown { .. } => Fate::Stays,
                    },
                };
                if let Fate::Goes = fate {
                    gone += 1;
                    continue;
                }
                for _ in 0..std::mem::take(&mut gone) {
                    put_section(rest, SectionKind::Gone, |_| 0);
                }
                events = true;
                match fate {
                    Fate::Becomes(event) => {
                        let mut encoded = Ok(());
                        put_section(rest, SectionKind::Event, |out| {
                            encoded = encode(&event, out);
                            0
                        });
                        encoded?;
                    }
                    _ => rest.extend_from_slice(whole),
                }
            } else {
                let points = section.kind == SectionKind::Series as u8 || section.kind == SectionKind::Row as u8;
                if !(points && lsn <= self.released) {
                    rest.extend_from_slice(whole);
                }
            }
        }
        if let Some((whole, origin)) = origin
            && (events
                || origin.actor == IMPORT_ACTOR
                || (!origin.key.is_empty() && (self.remembered)(&origin.key, lsn)?)
                || self.keeps_note(&origin, lsn)?)
        {
            out.extend_from_slice(whole);
        }
        out.extend_from_slice(rest);
        Ok(!out.is_empty())
    }
}

/// The part of a purged run's creation that stays.
fn emptied(run: RunId, experiment: ExperimentId) -> RunCreated {
    RunCreated {
        run,
        experiment,
        name: String::new(),
        user_id: String::new(),
        status: RunStatus::Killed,
        start_time_ms: 0,
        artifact_location: None,
        tags: Vec::new(),
    }
}

/// A frame that stays but is not written yet: a clock section may be added to it.
struct Waiting {
    lsn: Lsn,
    time: TimestampMs,
    payload: Vec<u8>,
}

/// Writes the parts of frames that stay into a segment.
pub(super) struct Writer {
    rewriter: SegmentRewriter,
    waiting: Option<Waiting>,
    /// The last frame that was dropped as a whole.
    gone: Option<(Lsn, TimestampMs)>,
    clock: Vec<(Lsn, TimestampMs)>,
    rest: Vec<u8>,
    /// Bytes of the frames that are not written yet.
    waiting_bytes: u64,
}

impl Writer {
    pub(super) fn new(rewriter: SegmentRewriter) -> Self {
        Self { rewriter, waiting: None, gone: None, clock: Vec::new(), rest: Vec::new(), waiting_bytes: 0 }
    }

    /// Extends the segment's range of positions up to `last`.
    pub(super) fn cover(&mut self, last: Lsn) {
        self.rewriter.cover(last);
    }

    /// Whether the next segment's frames should go into another output.
    pub(super) fn is_full(&self, target_bytes: u64) -> bool {
        self.rewriter.bytes_count() + self.waiting_bytes >= target_bytes || self.clock.len() >= CLOCK_ENTRIES_MAX
    }

    /// Takes all frames of a reader.
    ///
    /// # Errors
    /// `Corrupt` for a frame that cannot be read: its content must not be lost. Those of [`Pace::step`].
    pub(super) fn take_all(&mut self, frames: &mut FrameReader, rules: &Rules<'_>, pace: &Pace<'_>) -> Result<()> {
        let mut read_bytes = 0;
        while let Some(frame) = frames.next_frame()? {
            if frame.kind == FrameKind::Batch {
                self.take(&frame, rules)?;
            }
            read_bytes += frame.payload.len() as u64;
            if read_bytes >= PACE_EVERY_BYTES {
                pace.step(std::mem::take(&mut read_bytes))?;
            }
        }
        pace.step(read_bytes)
    }

    /// Ends the clock at a position, with what frames behind it, in `rest`, say of positions up to there: a clock may
    /// stand in another frame than those next to it.
    pub(super) fn end_clock(&mut self, position: Lsn, rest: &mut FrameReader) -> Result<()> {
        while let Some(frame) = rest.next_frame()? {
            for section in sections(frame.payload) {
                let damaged = |offset| frame.damaged_at(offset, "section");
                let section = section.map_err(|bad| damaged(bad.offset))?;
                if section.kind == SectionKind::Clock as u8 {
                    self.clock.extend(read_clock(section.body).ok_or_else(|| damaged(section.offset))?);
                }
            }
        }
        self.clock.retain(|(lsn, _)| *lsn <= position);
        Ok(())
    }

    /// The time of a position whose frame is gone, if the clock has it.
    pub(super) fn time_of(&self, position: Lsn) -> Option<TimestampMs> {
        self.clock.iter().rev().find(|(lsn, _)| *lsn == position).map(|(_, time)| *time)
    }

    /// Takes one frame.
    pub(super) fn take(&mut self, frame: &FrameRef<'_>, rules: &Rules<'_>) -> Result<()> {
        let mut payload = Vec::new();
        let stays = rules.filter(frame, &mut self.rest, &mut payload, &mut self.clock)?;
        // A position that is not earlier in time than a later one is never the last one up to any time.
        while self.clock.pop_if(|(lsn, time)| *lsn < frame.lsn && *time >= frame.time).is_some() {}
        if stays {
            self.stay(frame.lsn, frame.time, payload)?;
        } else {
            self.clock.push((frame.lsn, frame.time));
            self.gone = Some((frame.lsn, frame.time));
        }
        Ok(())
    }

    /// Appends sections to the frame at a position, which is not before the last one taken. Makes a frame if none
    /// stays.
    pub(super) fn amend(&mut self, lsn: Lsn, time: TimestampMs, sections: &[u8]) -> Result<()> {
        match self.waiting.as_mut().filter(|frame| frame.lsn == lsn) {
            Some(frame) => frame.payload.extend_from_slice(sections),
            None => self.stay(lsn, time, sections.to_vec())?,
        }
        Ok(())
    }

    fn stay(&mut self, lsn: Lsn, time: TimestampMs, payload: Vec<u8>) -> Result<()> {
        if payload.len() > CLOCK_BESIDE_BYTES_MAX {
            self.put_clock_alone()?;
        }
        self.put_waiting()?;
        self.waiting_bytes = payload.len() as u64;
        self.waiting = Some(Waiting { lsn, time, payload });
        Ok(())
    }

    fn put_waiting(&mut self) -> Result<()> {
        match self.waiting.take() {
            Some(frame) => self.rewriter.push(frame.lsn, frame.time, FrameKind::Batch, &frame.payload),
            None => Ok(()),
        }
    }

    fn clock_section(&mut self, out: &mut Vec<u8>) {
        let mut times = std::mem::take(&mut self.clock);
        times.sort_unstable();
        let mut least = i64::MAX;
        let mut last: Vec<_> = times
            .into_iter()
            .rev()
            .filter(|(_, time)| {
                let earlier = time.0 < least;
                least = least.min(time.0);
                earlier
            })
            .collect();
        last.reverse();
        put_section(out, SectionKind::Clock, |out| {
            put_clock(out, &last);
            0
        });
    }

    /// Writes the clock in a frame of its own, at the position of a dropped frame.
    fn put_clock_alone(&mut self) -> Result<()> {
        let behind = self.waiting.as_ref().map_or(Lsn::ZERO, |frame| frame.lsn);
        let Some((lsn, time)) = self.gone.filter(|(lsn, _)| *lsn > behind) else { return Ok(()) };
        if self.clock.is_empty() {
            return Ok(());
        }
        self.put_waiting()?;
        let mut payload = Vec::new();
        self.clock_section(&mut payload);
        self.gone = None;
        self.rewriter.push(lsn, time, FrameKind::Batch, &payload)
    }

    /// Finishes the segment: durable under its name on return.
    pub(super) fn finish(mut self) -> Result<RewrittenSegment> {
        if !self.clock.is_empty() {
            match self.waiting.take_if(|frame| frame.payload.len() <= CLOCK_BESIDE_BYTES_MAX) {
                Some(mut frame) => {
                    self.clock_section(&mut frame.payload);
                    self.waiting = Some(frame);
                }
                None => self.put_clock_alone()?,
            }
        }
        self.put_waiting()?;
        self.rewriter.finish()
    }
}
