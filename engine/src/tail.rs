//! Follows the log: every batch from a position on, first the existing ones, then new ones.
//!
//! A tail reads durable positions only, unless asked otherwise, so that a copy of what it returns is never ahead of the
//! log after a power cut.
//!
//! Compaction moves points from the log to series files, each with its position. A tail puts them back:
//!
//! ```text
//! log         e1   e2        e5   e6 ...          frames that stay, with their events
//! series           p2 p3 p4  p5                   points by position (`released`)
//! tail        e1 e2p2 p3 p4 e5p5  e6 ...          batches
//! ```
//! So a batch has its events and points whether its store was compacted or not. Two things of a batch without events
//! are lost: who appended it, unless an import did, and the order of its points within a series. Points of runs that were
//! purged since are gone too.

mod released;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use crate::core::Core;
use crate::error::{Error, Result};
use crate::event::batch::{Merged, Origin, SectionKind, StoreNote, sections};
use crate::event::payload::{Decoded, decode};
use crate::event::section::{RowSection, SeriesSection};
use crate::id::{ContextId, Lsn, SeriesId};
use crate::log::{FrameKind, FrameReader, FrameRef};
use crate::point::Columns;
use crate::series::Budget;
use crate::time::TimestampMs;
use released::Released;

/// About how many released points are returned at once; a caller that asks for many batches gets fewer.
const RELEASED_POINTS_MAX: usize = 1 << 18;

/// One batch as it was appended.
#[derive(Debug, Clone, Default)]
pub struct TailBatch {
    /// Its position.
    pub lsn: Lsn,
    /// When it was appended, by the store's clock.
    pub time: TimestampMs,
    /// The actor, if given.
    pub actor: Option<String>,
    /// The frames of another writer's log that it holds, if any.
    pub merged: Option<Merged>,
    /// The store that decided it, if it is another one.
    pub note: Option<StoreNote>,
    /// Its events, in order.
    pub events: Vec<Decoded>,
    /// The index of each event in the batch as it was appended.
    pub places: Vec<u16>,
    /// Its points, by series: run and metric. After a rewind of the run they belong to its new branch. A series may
    /// appear several times, as it was logged.
    pub points: Vec<(SeriesId, Columns)>,
}

/// A subscription.
#[derive(Debug)]
pub struct Tail {
    core: Arc<Core>,
    next: Lsn,
    to_published: bool,
    /// The points in series files for the next positions.
    released: Option<Box<Released>>,
    /// A batch of the log that was read early, and the generation of the files at that time.
    ahead: Option<(u64, TailBatch)>,
    budget: Budget,
}

impl Tail {
    pub(crate) fn new(core: Arc<Core>, from: Lsn) -> Self {
        if core.read_only {
            released::hold_files(&core);
        }
        Self {
            core,
            next: from.max(Lsn(1)),
            to_published: false,
            released: None,
            ahead: None,
            budget: Budget::default(),
        }
    }

    #[cfg(test)]
    pub(crate) fn with_budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// Reads everything published, durable or not. For a store that will never be opened for writing again: whatever
    /// its machine may lose is then not replaced by anything else.
    #[must_use]
    pub fn to_published(mut self) -> Self {
        self.to_published = true;
        self
    }

    /// The next position to read: continue from here after a restart.
    pub fn position(&self) -> Lsn {
        self.next
    }

    /// The next batches, at most `limit`; waits up to `at_most` for the first. Empty if none came in that time.
    ///
    /// # Errors
    /// `Invalid` if the position is no longer kept, `Corrupt`, `Closed`.
    pub fn next(&mut self, limit: usize, at_most: Duration) -> Result<Vec<TailBatch>> {
        let mut waited = Duration::ZERO;
        loop {
            let pipeline = &self.core.pipeline;
            let end =
                if self.to_published { pipeline.log.published().min(pipeline.published()) } else { pipeline.settled() };
            if end >= self.next {
                let batches = self.read(end, limit)?;
                if !batches.is_empty() {
                    return Ok(batches);
                }
            }
            if waited >= at_most {
                return Ok(Vec::new());
            }
            let step = Duration::from_millis(5).min(at_most - waited);
            std::thread::sleep(step);
            waited += step;
        }
    }

    fn read(&mut self, to: Lsn, limit: usize) -> Result<Vec<TailBatch>> {
        loop {
            let mut out = Vec::new();
            let Err(error) = self.read_files(to, limit, &mut out) else { return Ok(out) };
            self.ahead = None;
            let released = self.released.take();
            let generation = self.core.pipeline.log.generation();
            let is_swapped = released.is_some_and(|released| !released.is_of(generation));
            if !out.is_empty() {
                // Batches before the failure are good; the next call gets to the failure again.
                return Ok(out);
            }
            // The files were swapped meanwhile; the new ones have the same content.
            if !(is_swapped && matches!(error, Error::MissingFile { .. })) {
                return Err(error);
            }
        }
    }

    fn read_files(&mut self, to: Lsn, limit: usize, out: &mut Vec<TailBatch>) -> Result<()> {
        let core = self.core.clone();
        let log = &core.pipeline.log;
        let mut frames = log.read_from(self.next, to)?;
        // Read again only after a compaction: frames that had their points may have lost them since.
        let generation = frames.generation();
        let mut ahead = self.ahead.take().filter(|(of, _)| *of == generation).map(|(_, batch)| batch);
        if let Some(batch) = &ahead {
            frames = frames.again(batch.lsn.next(), to);
        }
        let mut range = frames.released(self.next).filter(|(first, _)| *first <= to);
        if self.released.as_ref().is_some_and(|released| range.is_none() || !released.is_of(generation)) {
            self.released = None;
        }
        let mut points_count = 0;
        while out.len() < limit && points_count < RELEASED_POINTS_MAX {
            if ahead.is_none() {
                ahead = next_batch(&core, &mut frames)?;
            }
            let until = ahead.as_ref().map_or(to, |batch| batch.lsn);
            let mut found = None;
            while let Some((first, last)) = range.filter(|(first, _)| *first <= until) {
                let released =
                    self.released.get_or_insert_with(|| Box::new(Released::new(&core, &frames, self.budget)));
                found = released.next_position(&core, self.next.max(first), until.min(last), last, to)?;
                if found.is_some() || last >= until {
                    break;
                }
                range = frames.released(last.next()).filter(|(first, _)| *first <= to);
            }
            let mut batch = match (ahead.take(), found) {
                (Some(batch), Some(lsn)) if lsn < batch.lsn => {
                    let next = Some((batch.lsn, batch.time));
                    ahead = Some(batch);
                    self.gone(&frames, lsn, next)?
                }
                (Some(batch), _) => batch,
                (None, Some(lsn)) => self.gone(&frames, lsn, None)?,
                (None, None) => {
                    self.next = to.next();
                    break;
                }
            };
            if let (Some(_), Some(released)) = (found, &mut self.released) {
                let points = released.take();
                points_count += points.iter().map(|(_, columns)| columns.len()).sum::<usize>();
                let metric =
                    |series: SeriesId| SeriesId { key: core.pipeline.dictionary.metric_of(series.key), ..series };
                batch.points.extend(points.into_iter().map(|(series, columns)| (metric(series), columns)));
            }
            self.next = batch.lsn.next();
            out.push(batch);
        }
        self.ahead = ahead.map(|batch| (generation, batch));
        Ok(())
    }

    /// A batch whose frame is gone, without its points yet. `next` is the next one that has a frame.
    fn gone(&mut self, frames: &FrameReader, lsn: Lsn, next: Option<(Lsn, TimestampMs)>) -> Result<TailBatch> {
        let time = self.released.as_mut().map(|released| released.time(frames, lsn, next)).transpose()?;
        Ok(TailBatch { lsn, time: time.unwrap_or_default(), ..TailBatch::default() })
    }
}

/// The next batch in the log.
fn next_batch(core: &Core, frames: &mut FrameReader) -> Result<Option<TailBatch>> {
    loop {
        match frames.next_frame() {
            Ok(None) => return Ok(None),
            Ok(Some(frame)) if frame.kind == FrameKind::Batch => return decode_batch(core, &frame).map(Some),
            Ok(Some(_)) => {}
            // An open for reading goes on after what it reported missing.
            Err(Error::MissingFile { .. }) if !core.missing().is_empty() => frames.skip_damage(),
            Err(error) => return Err(error),
        }
    }
}

fn decode_batch(core: &Core, frame: &FrameRef<'_>) -> Result<TailBatch> {
    let metric = |key| core.pipeline.dictionary.metric_of(key);
    let mut place = 0u16;
    let mut batch = TailBatch { lsn: frame.lsn, time: frame.time, ..TailBatch::default() };
    for section in sections(frame.payload) {
        let damaged = |offset| frame.damaged_at(offset, "section");
        let section = section.map_err(|bad| damaged(bad.offset))?;
        let bad = || damaged(section.offset);
        if section.kind == SectionKind::Origin as u8 {
            let origin = Origin::read(section.flags, section.body).ok_or_else(bad)?;
            batch.merged = origin.merged;
            batch.note = origin.store;
            batch.actor = Some(origin.actor).filter(|actor| !actor.is_empty());
        } else if section.kind == SectionKind::Event as u8 {
            batch.events.push(decode(section.body).map_err(|_| bad())?);
            batch.places.push(place);
            place = place.saturating_add(1);
        } else if section.kind == SectionKind::Gone as u8 {
            place = place.saturating_add(1);
        } else if section.kind == SectionKind::Series as u8 {
            let read = SeriesSection::read(section.flags, section.body).ok_or_else(bad)?;
            let mut columns = Columns::default();
            read.extend(frame.lsn, &mut columns);
            let key = metric(read.series.key);
            batch.points.push((SeriesId { key, ..read.series }, columns));
        } else if section.kind == SectionKind::Row as u8 {
            let read = RowSection::read(section.flags, section.body).ok_or_else(bad)?;
            read.for_each(|key, point| {
                let mut columns = Columns::default();
                columns.push(point, frame.lsn, ContextId(read.context.0));
                batch.points.push((SeriesId { run: read.run, key: metric(key) }, columns));
            });
        }
    }
    Ok(batch)
}
