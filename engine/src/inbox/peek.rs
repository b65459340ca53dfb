//! A look at the unmerged points of an inbox, while there is no space to merge them.

use std::io;

use rustc_hash::FxHashSet;

use super::reader::{Look, Reader, Stop, Window};
use crate::event::batch::{Section, SectionKind, sections};
use crate::event::section::{RowSection, SeriesSection};
use crate::id::RunId;
use crate::log::FrameKind;
use crate::storage::Storage;

/// The unmerged points of an inbox, by run.
#[derive(Debug)]
pub(super) struct Peek {
    /// A position of its own, which continues where the last look ended.
    pub(super) reader: Reader,
    pub(super) runs: FxHashSet<RunId>,
    /// A frame did not decode: it may belong to any run.
    pub(super) unknown: bool,
}

impl Peek {
    /// Goes on to the end of what is published.
    pub(super) fn look(&mut self, storage: &dyn Storage, window: &mut Window) -> io::Result<()> {
        while self.reader.stop == Stop::No && self.reader.open(storage)? {
            let bound = self.reader.bound()?;
            let (header, payload) = match self.reader.look(window, bound)? {
                Look::Frame(header, payload) => (header, payload),
                Look::Nothing => return Ok(()),
                Look::Bad => {
                    self.unknown = true;
                    return Ok(());
                }
            };
            match header.kind {
                FrameKind::Batch if header.lsn.0 > self.reader.applied => {
                    for section in sections(payload) {
                        match section.map_or(PointsOf::Unreadable, |section| PointsOf::of(&section)) {
                            PointsOf::Run(run) => drop(self.runs.insert(run)),
                            PointsOf::Nothing => {}
                            PointsOf::Unreadable => self.unknown = true,
                        }
                    }
                }
                FrameKind::Batch => {}
                FrameKind::Mark => {
                    self.reader.advance(&header);
                    self.reader.finish_segment();
                    window.clear();
                    continue;
                }
                FrameKind::Close => return Ok(()),
            }
            self.reader.advance(&header);
        }
        Ok(())
    }
}

/// Whose points a section has.
enum PointsOf {
    Run(RunId),
    /// It is no section of points.
    Nothing,
    Unreadable,
}

impl PointsOf {
    fn of(section: &Section<'_>) -> Self {
        let run = match section.kind {
            kind if kind == SectionKind::Row as u8 => RowSection::read(section.flags, section.body).map(|row| row.run),
            kind if kind == SectionKind::Series as u8 => {
                SeriesSection::read(section.flags, section.body).map(|section| section.series.run)
            }
            _ => return Self::Nothing,
        };
        run.map_or(Self::Unreadable, Self::Run)
    }
}
