//! Puts back what compaction took out of the log: points by their positions, times from the clock sections.

use std::sync::Arc;

use crate::compaction::install::open_truth;
use crate::core::Core;
use crate::error::Result;
use crate::event::batch::{SectionKind, read_clock, sections};
use crate::id::{Lsn, SeriesId};
use crate::log::{FrameReader, TruthFile};
use crate::point::Columns;
use crate::series::{Budget, ByPosition, SeriesFile, Window};
use crate::time::TimestampMs;

/// Released positions of one generation of the store's files.
#[derive(Debug)]
pub(super) struct Released {
    generation: u64,
    budget: Budget,
    truth: Vec<TruthFile>,
    /// Indexes in `truth` of the open files, and the files.
    open: Vec<(usize, Arc<SeriesFile>)>,
    points: Option<ByPosition>,
    window: Option<Window>,
    clock: Clock,
}

/// When the batches of a segment were appended whose frames are gone.
#[derive(Debug, Default)]
struct Clock {
    first: Lsn,
    last: Lsn,
    times: Vec<(Lsn, TimestampMs)>,
}

impl Released {
    /// For the files that `frames` reads, or those that replaced them since.
    pub(super) fn new(core: &Core, frames: &FrameReader, budget: Budget) -> Self {
        Self {
            generation: frames.generation(),
            budget,
            truth: core.pipeline.log.truth_files(),
            open: Vec::new(),
            points: None,
            window: None,
            clock: Clock::default(),
        }
    }

    /// Whether it belongs to this generation.
    pub(super) fn is_of(&self, generation: u64) -> bool {
        self.generation == generation
    }

    /// The first position of `from..=to` that has points. Positions up to `last` are released; runs that are purged at
    /// `end` are left out.
    pub(super) fn next_position(
        &mut self,
        core: &Core,
        mut from: Lsn,
        to: Lsn,
        last: Lsn,
        end: Lsn,
    ) -> Result<Option<Lsn>> {
        while from <= to {
            match self.window.as_mut().filter(|window| window.covers(from)) {
                Some(window) => {
                    if let Some(found) = window.seek(from) {
                        return Ok(Some(found).filter(|found| *found <= to));
                    }
                    from = window.last().next();
                }
                None => {
                    // Only one window is kept in memory.
                    self.window = None;
                    self.window = Some(self.read(core, from, last, end)?);
                }
            }
        }
        Ok(None)
    }

    /// The points of the found position.
    pub(super) fn take(&mut self) -> Vec<(SeriesId, Columns)> {
        self.window.as_mut().map(Window::take_next).unwrap_or_default()
    }

    fn read(&mut self, core: &Core, from: Lsn, last: Lsn, end: Lsn) -> Result<Window> {
        // Up to the begin of the next file, so that each file is opened only when needed.
        let begins = self.truth.iter().map(|file| file.first).filter(|first| *first > from).min();
        let last = begins.map_or(last, |first| last.min(Lsn(first.0 - 1)));
        let needed = |file: &TruthFile| file.first <= last && file.last >= from;
        let places: Vec<usize> =
            self.truth.iter().enumerate().filter(|(_, file)| needed(file)).map(|(at, _)| at).collect();
        if self.points.is_none() || !self.open.iter().map(|(at, _)| at).eq(&places) {
            self.points = None;
            let mut open = Vec::with_capacity(places.len());
            for at in places {
                let known = self.open.iter().find(|(known, _)| *known == at).map(|(_, file)| file.clone());
                let file = match (known, self.truth.get(at)) {
                    (Some(file), _) => file,
                    (None, Some(truth)) => match open_file(core, truth) {
                        Ok(file) => file,
                        // An open for reading goes on after what it reported missing.
                        Err(_)
                            if core
                                .missing()
                                .iter()
                                .any(|missing| missing.path == core.storage.display_path(&truth.name)) =>
                        {
                            continue;
                        }
                        Err(error) => return Err(error),
                    },
                    (None, None) => continue,
                };
                open.push((at, file));
            }
            self.open = open;
        }
        let files = &self.open;
        let budget = self.budget;
        let new = || ByPosition::new(files.iter().map(|(_, file)| file.clone()).collect(), budget);
        let points = self.points.get_or_insert_with(new);
        points.window(from, last, &mut |run| Ok(!core.is_purged_at(run, end)?))
    }

    /// When the batch at a position was appended whose frame is gone. `next` is the next one that has a frame.
    pub(super) fn time(
        &mut self,
        frames: &FrameReader,
        lsn: Lsn,
        next: Option<(Lsn, TimestampMs)>,
    ) -> Result<TimestampMs> {
        if let Some((first, last)) = frames.segment_of(lsn)
            && (self.clock.first, self.clock.last) != (first, last)
        {
            self.clock = Clock { first, last, times: read_times(frames.again(first, last))? };
        }
        let at = self.clock.times.partition_point(|(at, _)| *at < lsn);
        let nearest = self.clock.times.get(at).copied().or(next).or_else(|| self.clock.times.last().copied());
        Ok(nearest.map_or(TimestampMs(0), |(_, time)| time))
    }
}

/// Opens every file that may be needed: a store that is open for reading cannot keep files from being removed.
pub(super) fn hold_files(core: &Core) {
    for truth in core.pipeline.log.truth_files() {
        // A read of its positions will report what is wrong with it.
        let _ = open_file(core, &truth);
    }
}

fn open_file(core: &Core, truth: &TruthFile) -> Result<Arc<SeriesFile>> {
    let number = truth.name.strip_prefix("series/").and_then(|name| name.strip_suffix(".ser"));
    if core.read_only
        && let Some(number) = number.and_then(|number| number.parse().ok())
        && let Ok(file) = core.files.get_listed(number, truth.footer_crc)
    {
        return Ok(file);
    }
    open_truth(core, truth)
}

/// What frames and clock sections of a segment say of times: the positions that are the last ones up to some time, in
/// order, so their times rise. A position that is not listed has at least the time of the next listed one.
fn read_times(mut frames: FrameReader) -> Result<Vec<(Lsn, TimestampMs)>> {
    let (mut times, mut of_frames) = (Vec::new(), Vec::new());
    while let Some(frame) = frames.next_frame()? {
        push_last(&mut of_frames, (frame.lsn, frame.time));
        for section in sections(frame.payload) {
            let damaged = |offset| frame.damaged_at(offset, "section");
            let section = section.map_err(|bad| damaged(bad.offset))?;
            if section.kind == SectionKind::Clock as u8 {
                times.extend(read_clock(section.body).ok_or_else(|| damaged(section.offset))?);
            }
        }
    }
    times.append(&mut of_frames);
    times.sort_unstable();
    let mut last = Vec::new();
    times.into_iter().for_each(|entry| push_last(&mut last, entry));
    Ok(last)
}

/// Adds a position. Those before it that were not earlier are not the last ones up to any time.
fn push_last(times: &mut Vec<(Lsn, TimestampMs)>, entry: (Lsn, TimestampMs)) {
    while times.pop_if(|(_, time)| *time >= entry.1).is_some() {}
    times.push(entry);
}
