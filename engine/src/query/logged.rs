//! Events of some kinds in the order of the log, as their bytes: for readers that look at all of a store's history.

use super::snapshot::Snapshot;
use crate::error::Result;
use crate::event::batch::{Origin, SectionKind, sections};
use crate::event::payload::peek;
use crate::id::Lsn;
use crate::log::FrameKind;
use crate::time::TimestampMs;

/// An event as it lies in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoggedEvent<'a> {
    /// Position of its batch.
    pub lsn: Lsn,
    /// Its index among the events of the batch, as it was appended.
    pub index: u16,
    /// When the batch was appended, by the store's clock.
    pub time: TimestampMs,
    /// Author of the batch; empty if it named none.
    pub actor: &'a str,
    /// Its kind.
    pub tag: u16,
    /// Kind, version and content; [`crate::event::payload::decode`] reads them.
    pub bytes: &'a [u8],
}

impl Snapshot {
    /// Calls `each` with the events of the wanted kinds up to this position, oldest first.
    ///
    /// # Errors
    /// `Corrupt`, `MissingFile` if the log is damaged; those of `each`.
    ///
    /// # Complexity
    /// Reads the whole log; events of other kinds, and points, are passed over.
    pub fn for_each_logged(
        &self,
        wanted: impl Fn(u16) -> bool,
        mut each: impl FnMut(&LoggedEvent<'_>) -> Result<()>,
    ) -> Result<()> {
        let log = &self.core.pipeline.log;
        let mut frames = log.read_from(log.first(), self.position)?;
        while let Some(frame) = frames.next_frame()? {
            if frame.kind != FrameKind::Batch {
                continue;
            }
            let mut actor = String::new();
            let mut index = 0u16;
            for section in sections(frame.payload) {
                let section = section.map_err(|bad| frame.damaged_at(bad.offset, "section"))?;
                let bad = |structure| frame.damaged_at(section.offset, structure);
                if section.kind == SectionKind::Origin as u8 {
                    actor = Origin::read(section.flags, section.body).ok_or_else(|| bad("origin section"))?.actor;
                } else if section.kind == SectionKind::Event as u8 {
                    let (tag, _) = peek(section.body).ok_or_else(|| bad("event"))?;
                    if wanted(tag) {
                        let (lsn, time, bytes) = (frame.lsn, frame.time, section.body);
                        each(&LoggedEvent { lsn, index, time, actor: &actor, tag, bytes })?;
                    }
                    index = index.saturating_add(1);
                } else if section.kind == SectionKind::Gone as u8 {
                    index = index.saturating_add(1);
                }
            }
        }
        Ok(())
    }
}
