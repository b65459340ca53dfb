//! Which position a time means: the last batch that was appended at or before it.
//!
//! Clocks jump, so times do not ascend with positions, and no bisection over the log is exact. The first question reads
//! the log once, and keeps for each block of some hundred frames its positions and its earliest time; later questions
//! read only what came since, and the one or two blocks that matter.
//!
//! ```text
//! blocks   first..last  lsn_max  time_min        a frame may tell times of batches that compaction removed
//!          1..256       256      10:00
//!          257..512     512      10:07     <---  asked for 10:09: the last block whose `time_min` is not above it
//!          513..768     768      10:12
//! ```
//!
//! Cost: 32 bytes of memory a block. A compaction, which changes what frames are there, begins the list again.

use parking_lot::Mutex;

use crate::error::Result;
use crate::event::batch::{SectionKind, read_clock, sections};
use crate::id::Lsn;
use crate::log::{FrameKind, FrameReader, FrameRef, Log};
use crate::time::TimestampMs;

/// Frames of a block.
const BLOCK_FRAMES: usize = 256;

/// Some frames that follow one another.
#[derive(Debug, Clone, Copy)]
struct Block {
    first: Lsn,
    last: Lsn,
    /// The greatest position whose time the frames tell.
    lsn_max: Lsn,
    /// The earliest time that they tell.
    time_min: TimestampMs,
}

#[derive(Debug, Default)]
struct Known {
    /// The generation of the files that were read.
    generation: u64,
    blocks: Vec<Block>,
    /// Everything up to here is in a block.
    through: Lsn,
}

/// The times of the log, as far as they were asked for.
#[derive(Debug, Default)]
pub(crate) struct Times {
    known: Mutex<Known>,
}

impl Times {
    /// The last position up to `end` whose batch was appended at or before `time`; 0 if there is none.
    pub(crate) fn position_at(&self, log: &Log, time: TimestampMs, end: Lsn) -> Result<Lsn> {
        let mut known = self.known.lock();
        known.read(log, end)?;
        let mut found = Lsn::ZERO;
        for (index, block) in known.blocks.iter().enumerate().rev() {
            if block.time_min > time || block.first > end || block.lsn_max <= found {
                continue;
            }
            found = found.max(last_at(log, block.first, block.last.min(end), time, end)?);
            let before = known.blocks.get(..index).unwrap_or_default();
            if before.iter().all(|before| before.lsn_max <= found) {
                break;
            }
        }
        Ok(found)
    }
}

/// When the first batch was appended, as far as the log tells: the time that its first frame tells for the lowest
/// position. `None` if nothing was appended up to `end`. If the first segments are missing, it is that of the first frame
/// that is left.
pub(crate) fn first_time(log: &Log, end: Lsn) -> Result<Option<TimestampMs>> {
    let mut frames = log.read_from(log.first(), end)?;
    let mut first: Option<(Lsn, TimestampMs)> = None;
    while first.is_none()
        && let Some(frame) = frames.next_frame()?
    {
        for_each_time(&frame, |lsn, time| {
            if first.is_none_or(|(before, _)| lsn < before) {
                first = Some((lsn, time));
            }
        })?;
    }
    Ok(first.map(|(_, time)| time))
}

impl Known {
    /// Reads what was appended since.
    fn read(&mut self, log: &Log, end: Lsn) -> Result<()> {
        let mut frames = log.read_from(log.first().max(self.through.next()), end)?;
        if frames.generation() != self.generation {
            *self = Self { generation: frames.generation(), ..Self::default() };
            frames = frames.again(log.first(), end);
        }
        let mut frames_count = BLOCK_FRAMES;
        while let Some(frame) = frames.next_frame()? {
            if frames_count == BLOCK_FRAMES {
                let none =
                    Block { first: frame.lsn, last: frame.lsn, lsn_max: Lsn::ZERO, time_min: TimestampMs(i64::MAX) };
                self.blocks.push(none);
                frames_count = 0;
            }
            frames_count += 1;
            if let Some(block) = self.blocks.last_mut() {
                block.last = frame.lsn;
                for_each_time(&frame, |lsn, time| {
                    block.lsn_max = block.lsn_max.max(lsn);
                    block.time_min = block.time_min.min(time);
                })?;
            }
            self.through = frame.lsn;
        }
        Ok(())
    }
}

/// The last position up to `end` that frames `from..=to` tell to be at or before `time`.
fn last_at(log: &Log, from: Lsn, to: Lsn, time: TimestampMs, end: Lsn) -> Result<Lsn> {
    let mut found = Lsn::ZERO;
    let mut frames: FrameReader = log.read_from(from, to)?;
    while let Some(frame) = frames.next_frame()? {
        for_each_time(&frame, |lsn, at| {
            if at <= time && lsn <= end {
                found = found.max(lsn);
            }
        })?;
    }
    Ok(found)
}

/// The times that a frame tells: its own, and those of batches whose frames compaction removed.
fn for_each_time(frame: &FrameRef<'_>, mut each: impl FnMut(Lsn, TimestampMs)) -> Result<()> {
    // Marks belong to no batch, and compaction removes them.
    if frame.kind == FrameKind::Batch {
        each(frame.lsn, frame.time);
    }
    if !frame.segment.is_compacted() {
        return Ok(());
    }
    for section in sections(frame.payload) {
        let section = section.map_err(|bad| frame.damaged_at(bad.offset, "section"))?;
        if section.kind == SectionKind::Clock as u8 {
            let times = read_clock(section.body).ok_or_else(|| frame.damaged_at(section.offset, "section"))?;
            times.iter().for_each(|(lsn, time)| each(*lsn, *time));
        }
    }
    Ok(())
}
