//! The one appender of a log. It lives inside the sequencer's mutex and is not shared.
//!
//! What is true when a call returns:
//! - `place`, `place_group`: the kernel has the bytes (copied into the shared mapping, or written), so they survive the
//!   death of the process, but not necessarily a power cut. They are published: readers see them.
//! - [`Log::sync`]: everything placed before the call began is durable.
//! - After a failed write or sync the log is poisoned: nothing is placed any more. A full disk is not a failure, unless
//!   part of the frame stays in the file.
//!
//! Bytes reach the file in the order of their places. So a process killed in the middle of a copy leaves no hole before
//! a frame that was acknowledged.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Log;
use super::frame::{FrameBuf, FrameKind};
use super::mutant::{self, Rule};
use super::segment::{LEFT_MARK, SEGMENT_HEADER_BYTES, Segment};
use crate::error::{Error, Result};
use crate::id::{Lsn, SegmentId};
use crate::storage::Map;
use crate::time::TimestampMs;

/// Most bytes of one write, so that the sequencer is not held for long.
const GROUP_BYTES_MAX: usize = 256 << 10;

/// Where a frame lies.
#[derive(Debug, Clone)]
pub struct Placed {
    /// Its position.
    pub lsn: Lsn,
    /// The segment.
    pub segment: Arc<Segment>,
    /// Where its header begins there.
    pub offset_bytes: u64,
}

/// The end of the log: the only appender.
#[derive(Debug)]
pub struct LogTail {
    log: Arc<Log>,
    open: Arc<Segment>,
    /// The open segment's map, if appends go through it.
    map: Option<Arc<dyn Map>>,
    end_bytes: u64,
    next: Lsn,
    /// The log was closed cleanly and nothing was appended since: a synced mark must come first.
    opening_mark_due: bool,
    last_kind: FrameKind,
    scratch: Vec<u8>,
}

impl LogTail {
    pub(super) fn new(log: Arc<Log>, open: Arc<Segment>, next: Lsn, closed_cleanly: bool) -> Result<Self> {
        let map = if open.store_by_map { open.map()?.cloned() } else { None };
        let end_bytes = open.end_bytes();
        Ok(Self {
            log,
            open,
            map,
            end_bytes,
            next,
            opening_mark_due: closed_cleanly,
            last_kind: FrameKind::Mark,
            scratch: Vec::new(),
        })
    }

    /// The Lsn of the next batch. The first append after a clean close takes one more for its mark; if the exact number
    /// matters, call [`LogTail::begin`] first.
    #[cfg(test)]
    pub fn next_lsn(&self) -> Lsn {
        self.next
    }

    /// Writes and syncs the mark that must precede the first batch after a clean close; otherwise does nothing. `place`
    /// and `place_group` call it themselves.
    ///
    /// # Errors
    /// As `place`.
    pub fn begin(&mut self, time: TimestampMs) -> Result<Lsn> {
        if self.opening_mark_due {
            self.opening_mark_due = false;
            if !mutant::left_out(Rule::OpeningMark) {
                let mut mark = FrameBuf::empty(FrameKind::Mark);
                let done = self.place_run(&mut [&mut mark], time, &mut Vec::new()).and_then(|_| self.log.sync());
                if let Err(error) = done {
                    self.opening_mark_due = true;
                    return Err(error);
                }
                self.last_kind = FrameKind::Mark;
            }
        }
        Ok(self.next)
    }

    /// Places one frame, `Buffered`: gives it its Lsn and copies it to the end of the open segment. Makes no system
    /// call if the segment is mapped. Starts the next segment when this one is full.
    ///
    /// # Errors
    /// `Invalid` if the frame is too long, `StorageFull` if there is no room (nothing of it is kept, and the next call
    /// may work), `Poisoned` after any failed write or sync, `Io` at the first one.
    pub fn place(&mut self, frame: &mut FrameBuf, time: TimestampMs) -> Result<Placed> {
        let (lsn, offset_bytes) = self.place_here(frame, time)?;
        Ok(Placed { lsn, segment: self.open.clone(), offset_bytes })
    }

    /// As `place`, but returns only position and offset; callers that need the segment use [`LogTail::segment`].
    ///
    /// # Errors
    /// As `place`.
    #[inline]
    pub fn place_here(&mut self, frame: &mut FrameBuf, time: TimestampMs) -> Result<(Lsn, u64)> {
        frame.seal()?;
        let bytes_count = frame.placed_bytes();
        if self.opening_mark_due {
            self.begin(time)?;
        }
        self.make_room(bytes_count)?;
        let (lsn, offset_bytes) = (self.next, self.end_bytes);
        let bytes = frame.complete(lsn, time, self.log.durable(), &self.log.ground.crc);
        match &self.map {
            Some(map) => map.store_at(offset_bytes, bytes),
            None => write_run(&self.log, &self.open, bytes, offset_bytes)?,
        }
        self.last_kind = FrameKind::Batch;
        self.publish(lsn, offset_bytes, bytes_count);
        Ok((lsn, offset_bytes))
    }

    /// The segment of the last frame.
    pub fn segment(&self) -> &Arc<Segment> {
        &self.open
    }

    /// Places the frames of a `Sync` group, in order, by one write for each 256 KiB. Pass at most as much as may hold
    /// up the sequencer. `placed` gets one entry for each placed frame; after an error the remaining frames have none.
    ///
    /// # Errors
    /// As `place`.
    pub fn place_group(
        &mut self,
        frames: &mut [&mut FrameBuf],
        time: TimestampMs,
        placed: &mut Vec<Placed>,
    ) -> Result<()> {
        for frame in frames.iter_mut() {
            frame.seal()?;
        }
        self.begin(time)?;
        let mut done = 0;
        while let Some(rest) = frames.get_mut(done..).filter(|rest| !rest.is_empty()) {
            done += self.place_run(rest, time, placed)?;
            self.last_kind = FrameKind::Batch;
        }
        Ok(())
    }

    /// Writes as many frames as fit one write, at least one. Returns how many.
    fn place_run(
        &mut self,
        frames: &mut [&mut FrameBuf],
        time: TimestampMs,
        placed: &mut Vec<Placed>,
    ) -> Result<usize> {
        let Some(first) = frames.first() else { return Ok(0) };
        self.make_room(first.placed_bytes())?;
        let room_bytes = self.open.capacity_bytes - self.end_bytes;
        let durable = self.log.durable();
        let offset_bytes = self.end_bytes;
        self.scratch.clear();
        let (mut count, mut lsn) = (0, self.next);
        for frame in frames.iter_mut() {
            let total = self.scratch.len() as u64 + frame.placed_bytes();
            if count > 0 && (total > room_bytes || total > GROUP_BYTES_MAX as u64) {
                break;
            }
            self.scratch.extend_from_slice(frame.complete(lsn, time, durable, &self.log.ground.crc));
            lsn = lsn.next();
            count += 1;
        }
        write_run(&self.log, &self.open, &self.scratch, offset_bytes)?;
        for frame in frames.iter().take(count) {
            let (lsn, offset_bytes) = (self.next, self.end_bytes);
            self.publish(lsn, offset_bytes, frame.placed_bytes());
            placed.push(Placed { lsn, segment: self.open.clone(), offset_bytes });
        }
        if self.scratch.capacity() > GROUP_BYTES_MAX * 2 {
            self.scratch = Vec::new();
        }
        Ok(count)
    }

    #[inline]
    fn publish(&mut self, lsn: Lsn, offset_bytes: u64, bytes_count: u64) {
        self.end_bytes = offset_bytes + bytes_count;
        // Once a segment: when its end passes the half.
        let half_bytes = self.open.capacity_bytes / 2;
        if offset_bytes < half_bytes && self.end_bytes >= half_bytes {
            self.log.upkeep_due.store(true, Ordering::Release);
        }
        self.next = lsn.next();
        self.open.publish(lsn, offset_bytes, self.end_bytes);
        self.log.note_placed(lsn, bytes_count);
        if mutant::left_out(Rule::LeftMarkFirst) && self.open.frames_count() == 2 {
            self.mark_one_before();
        }
    }

    /// Writes a mark if the log has been synced and only batches came since the last mark, so that they are vouched
    /// for. Needs no sync of its own. `None`: none was needed.
    ///
    /// # Errors
    /// As `place`.
    pub fn mark_idle(&mut self, time: TimestampMs) -> Result<Option<Lsn>> {
        let synced = self.log.durable().next() >= self.next;
        if self.opening_mark_due || self.last_kind != FrameKind::Batch || !synced {
            return Ok(None);
        }
        let mut mark = FrameBuf::empty(FrameKind::Mark);
        let placed = self.place(&mut mark, time)?;
        self.last_kind = FrameKind::Mark;
        self.log.forgive_bytes(mark.placed_bytes());
        Ok(Some(placed.lsn))
    }

    /// The close frame, after everything that was synced.
    pub(super) fn place_close(&mut self, time: TimestampMs) -> Result<()> {
        if self.opening_mark_due {
            // Already closed, and nothing was appended since: that close frame still ends the log.
            return Ok(());
        }
        let mut close = FrameBuf::empty(FrameKind::Close);
        self.place_run(&mut [&mut close], time, &mut Vec::new())?;
        Ok(())
    }

    #[inline]
    fn make_room(&mut self, bytes_count: u64) -> Result<()> {
        self.log.check_poison()?;
        if self.end_bytes + bytes_count <= self.open.capacity_bytes {
            return Ok(());
        }
        self.roll(SEGMENT_HEADER_BYTES + bytes_count)
    }

    /// Starts the next segment if this one has frames, so that it can be finished and compacted. Does not wait if
    /// [`Log::prepare_small`] was called before.
    ///
    /// # Errors
    /// As `place`.
    pub fn leave_segment(&mut self) -> Result<()> {
        self.log.check_poison()?;
        if self.open.frames_count() == 0 { Ok(()) } else { self.roll(SEGMENT_HEADER_BYTES) }
    }

    /// Continues in the next segment. The old one's sync and footer follow in the background.
    #[cold]
    fn roll(&mut self, needed_bytes: u64) -> Result<()> {
        let next = if self.open.frames_count() == 0 {
            // This segment is still empty, but too small for the frame: make it longer instead.
            self.log.grow_open(&self.open, needed_bytes)?
        } else {
            self.mark_left()?;
            let id = SegmentId(self.open.id().0 + 1);
            self.log.take_next(id, self.open.capacity_bytes, needed_bytes)?
        };
        self.map = if next.store_by_map { next.map()?.cloned() } else { None };
        self.end_bytes = next.end_bytes();
        self.open = next;
        self.log.upkeep_due.store(true, Ordering::Release);
        Ok(())
    }

    /// Marks the open segment as left, before the next one gets its first frame. A segment with room and without a
    /// mark so proves that the next one was never used. If the next one cannot be made, a smaller frame goes over the
    /// mark, which is no longer than any frame.
    fn mark_left(&self) -> Result<()> {
        let late = mutant::left_out(Rule::LeftMark) || mutant::left_out(Rule::LeftMarkFirst);
        if late { Ok(()) } else { self.write_left_mark(&self.open) }
    }

    fn write_left_mark(&self, segment: &Segment) -> Result<()> {
        let (at, left_end_bytes) = (segment.end_bytes(), segment.end_bytes() + LEFT_MARK.len() as u64);
        if left_end_bytes > segment.capacity_bytes {
            return Ok(());
        }
        match segment.map()?.filter(|_| segment.store_by_map) {
            Some(map) => map.store_at(at, &LEFT_MARK),
            None => write_run(&self.log, segment, &LEFT_MARK, at)?,
        }
        if !mutant::left_out(Rule::LeftMarkSynced) {
            segment.note_left(left_end_bytes);
        }
        Ok(())
    }

    /// What a broken variant does too late.
    fn mark_one_before(&self) {
        let before = self.open.id().0.checked_sub(1).and_then(|id| self.log.segment(SegmentId(id)));
        if let Some(segment) = before.filter(|segment| !segment.is_finished()) {
            let _ = self.write_left_mark(&segment);
        }
    }

    pub(super) fn log(&self) -> &Arc<Log> {
        &self.log
    }
}

/// Writes all bytes after the published end. On a full disk none of them stays; any other error poisons.
fn write_run(log: &Log, segment: &Segment, bytes: &[u8], offset_bytes: u64) -> Result<()> {
    let file = segment.file()?;
    let mut landed = 0;
    while let Some(rest) = bytes.get(landed..).filter(|rest| !rest.is_empty()) {
        let error = match file.write_at(rest, offset_bytes + landed as u64) {
            Ok(0) => std::io::ErrorKind::WriteZero.into(),
            Ok(count) => {
                landed += count;
                continue;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => error,
        };
        let error = segment.io("write", error);
        if error.is_full() && take_back(segment, landed, offset_bytes) {
            return Err(error);
        }
        log.poison(&error.to_string());
        return Err(error);
    }
    Ok(())
}

/// Zeros the written part of a frame that is not kept; otherwise it could reappear after a later one. Returns whether
/// that worked.
fn take_back(segment: &Segment, landed: usize, offset_bytes: u64) -> bool {
    landed == 0
        || segment
            .file()
            .is_ok_and(|file| crate::storage::write_all_at(file.as_ref(), &vec![0; landed], offset_bytes).is_ok())
}

impl From<super::manifest::ReplaceError> for Error {
    fn from(error: super::manifest::ReplaceError) -> Self {
        error.into_error()
    }
}
