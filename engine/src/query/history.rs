//! The history of one entity: its events, read back from the log by position.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::event::batch::{Merged, Origin, SectionKind, StoreNote, sections};
use crate::event::payload::{Decoded, decode};
use crate::id::Lsn;
use crate::log::{FRAME_HEADER_BYTES, Log};
use crate::time::TimestampMs;

/// One event of an entity's history.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRecord {
    /// Position of the batch that holds the event.
    pub lsn: Lsn,
    /// Index among the events of the batch.
    pub index: u16,
    /// When it was appended, by the store's clock.
    pub time: TimestampMs,
    /// Author, if the batch named one.
    pub actor: Option<String>,
    /// The frames of a process's log that the batch holds, if any.
    pub merged: Option<Merged>,
    /// The store that decided the event, if another one did.
    pub note: Option<Arc<StoreNote>>,
    /// The event itself.
    pub event: Decoded,
}

/// Reads events by (position, index); both must ascend.
pub(crate) fn read_events(log: &Log, places: &[(Lsn, u16)]) -> Result<Vec<EventRecord>> {
    let mut out = Vec::with_capacity(places.len());
    for of_one_frame in places.chunk_by(|a, b| a.0 == b.0) {
        let Some(&(lsn, _)) = of_one_frame.first() else { continue };
        read_batch(log, lsn, |index| of_one_frame.binary_search(&(lsn, index)).is_ok(), &mut out)?;
    }
    Ok(out)
}

/// Reads the events of one batch whose index is wanted.
pub(crate) fn read_batch(log: &Log, lsn: Lsn, wanted: impl Fn(u16) -> bool, out: &mut Vec<EventRecord>) -> Result<()> {
    // Compaction removed the frame with its purged run. If a frame is missing for another reason, the log returns an
    // error.
    let Some(frame) = log.read_frame(lsn)? else { return Ok(()) };
    let (mut actor, mut merged, mut note) = (None, None, None);
    let mut index = 0u16;
    for section in sections(&frame.payload) {
        let damaged = |offset: usize, structure| {
            let at = frame.offset_bytes + (FRAME_HEADER_BYTES + offset) as u64;
            Error::corrupt(frame.segment.path(), at, structure, "what was written", "other bytes")
        };
        let section = section.map_err(|bad| damaged(bad.offset, "section"))?;
        if section.kind == SectionKind::Origin as u8 {
            if let Some(origin) = Origin::read(section.flags, section.body) {
                actor = Some(origin.actor).filter(|actor| !actor.is_empty());
                (merged, note) = (origin.merged, origin.store.map(Arc::new));
            }
        } else if section.kind == SectionKind::Event as u8 {
            if wanted(index) {
                let event = decode(section.body).map_err(|_| damaged(section.offset, "event"))?;
                let (actor, note) = (actor.clone(), note.clone());
                out.push(EventRecord { lsn, index, time: frame.time, actor, merged, note, event });
            }
            index = index.saturating_add(1);
        } else if section.kind == SectionKind::Gone as u8 {
            index = index.saturating_add(1);
        }
    }
    Ok(())
}
