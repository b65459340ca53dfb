//! Following the log: every batch from a position on, first what is there, then what comes.
//!
//! A tail reads durable positions only, unless it is told otherwise: whoever copies what it gives away never knows more
//! than the log does after a power cut. Of batches that compaction released it shows what stays of them in the log:
//! their points are in series files now, and are read as histories.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::event::batch::{Merged, Origin, SectionKind, StoreNote, sections};
use crate::event::payload::{Decoded, decode};
use crate::event::section::{RowSection, SeriesSection};
use crate::id::{ContextId, Lsn, SeriesId};
use crate::log::{FRAME_HEADER_BYTES, FrameKind};
use crate::point::Columns;
use crate::time::TimestampMs;
use crate::wiring::Core;

/// One batch as it was appended.
#[derive(Debug, Clone, Default)]
pub struct TailBatch {
    /// Its position.
    pub lsn: Lsn,
    /// When it was appended, by the store's clock.
    pub time: TimestampMs,
    /// Who, if it was said.
    pub actor: Option<String>,
    /// The frames of another writer's log that it holds, if it does.
    pub merged: Option<Merged>,
    /// The store that decided it, if that is not this one.
    pub note: Option<StoreNote>,
    /// Its events, in order.
    pub events: Vec<Decoded>,
    /// The place of each among the events that the batch was appended with.
    pub places: Vec<u16>,
    /// Its points, by series: run and metric. Behind a rewind of the run they are those of its new branch.
    pub points: Vec<(SeriesId, Columns)>,
}

/// A subscription.
#[derive(Debug)]
pub struct Tail {
    core: Arc<Core>,
    next: Lsn,
    to_published: bool,
}

impl Tail {
    pub(crate) fn new(core: Arc<Core>, from: Lsn) -> Self {
        Self { core, next: from.max(Lsn(1)), to_published: false }
    }

    /// Reads what is published, durable or not: of a store that nobody ever opens for writing again, so that what its
    /// machine loses after all is not replaced by anything else.
    #[must_use]
    pub fn to_published(mut self) -> Self {
        self.to_published = true;
        self
    }

    /// The position that is read next: where to go on after a restart.
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
        let mut frames = self.core.pipeline.log.read_from(self.next, to)?;
        let metric = |key| self.core.pipeline.dictionary.metric_of(key);
        let mut out = Vec::new();
        while out.len() < limit {
            let Some(frame) = frames.next_frame()? else {
                self.next = to.next();
                break;
            };
            self.next = frame.lsn.next();
            if frame.kind != FrameKind::Batch {
                continue;
            }
            let mut place = 0u16;
            let mut batch = TailBatch { lsn: frame.lsn, time: frame.time, ..TailBatch::default() };
            for section in sections(frame.payload) {
                let damaged = |offset: usize| {
                    let at = frame.offset_bytes + (FRAME_HEADER_BYTES + offset) as u64;
                    Error::corrupt(frame.segment.path(), at, "section", "what was written", "other bytes")
                };
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
            out.push(batch);
        }
        Ok(out)
    }
}
