//! Where frames lie between the entries of a segment's index, so that one frame is found by its Lsn without a long walk.
//!
//! ```text
//! index of the segment   |------------- 64 KiB or more ------------|        in the file, for each segment
//! marks of a stretch     |--|--|--|--|--|--|--|--|--|--|--|--|--|--|        here, for stretches that were asked for
//! ```
//!
//! The index leads to the beginning of a stretch, which holds up to 2,000 frames of single events. The first question about
//! a stretch walks over its headers once and notes every frame that begins [`MARK_EVERY_BYTES`] or more after the last
//! noted one; later questions walk from there. Appends note nothing, no file changes, and nothing of it is kept.
//!
//! - A stretch has marks only if it grows no more: an entry of the index follows it, or its segment is finished.
//! - Only frames whose checksums are right are returned. For anything else the answer is `None`, and a
//!   [`FrameReader`](super::FrameReader) says what is wrong.
//! - At most [`BYTES_MAX`] are held; when they are full, all are dropped.

use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::frame::{FRAME_HEADER_BYTES, FrameHeader, HeadCrc};
use super::segment::{OwnedFrame, Segment, SegmentName, Stretch};
use crate::checksum::Crc32;
use crate::id::Lsn;

const MARK_EVERY_BYTES: u64 = 1 << 10;
/// Enough for 1 GiB of single events.
const BYTES_MAX: usize = 8 << 20;

/// A frame of a stretch, counted from the stretch's first.
#[derive(Debug, Clone, Copy)]
struct Mark {
    lsn_ahead: u32,
    offset_ahead: u32,
}

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    /// By segment, and by the offset of the stretch there.
    stretches: FxHashMap<(SegmentName, u64), Arc<[Mark]>>,
}

/// What earlier reads noted.
#[derive(Debug, Default)]
pub(super) struct Marks {
    held: Mutex<Held>,
}

/// Headers in a row.
struct Walk<'a> {
    segment: &'a Segment,
    crc: &'a HeadCrc,
    at_bytes: u64,
    end_bytes: u64,
}

impl Walk<'_> {
    /// The next header and where it begins; `None` at the end, and at anything that is no valid header.
    fn next(&mut self) -> Option<(u64, FrameHeader)> {
        if self.at_bytes + FRAME_HEADER_BYTES as u64 > self.end_bytes {
            return None;
        }
        let mut bytes = [0; FRAME_HEADER_BYTES];
        self.segment.read(self.at_bytes, &mut bytes).ok()?;
        let header = FrameHeader::decode(&bytes, self.crc)?;
        let at_bytes = self.at_bytes;
        if header.padded_bytes() > self.end_bytes - at_bytes {
            return None;
        }
        self.at_bytes += header.padded_bytes();
        Some((at_bytes, header))
    }
}

impl Marks {
    /// The frame with this Lsn. `None`: there is none, its place cannot be noted, or something is wrong.
    pub(super) fn frame(&self, segment: &Arc<Segment>, lsn: Lsn, crc: &HeadCrc) -> Option<OwnedFrame> {
        let stretch = segment.stretch(lsn)?;
        let marks = self.of(segment, &stretch, crc)?;
        let behind = marks.partition_point(|mark| stretch.first.0 + u64::from(mark.lsn_ahead) <= lsn.0);
        let mark = marks.get(behind.checked_sub(1)?)?;
        let at_bytes = stretch.begin_bytes + u64::from(mark.offset_ahead);
        let mut walk = Walk { segment, crc, at_bytes, end_bytes: stretch.end_bytes };
        let (offset_bytes, header) = loop {
            let (offset_bytes, header) = walk.next()?;
            if header.lsn >= lsn {
                break (offset_bytes, header);
            }
        };
        if header.lsn != lsn {
            return None;
        }
        // Bounded: the walk saw that the frame ends within the stretch.
        let mut payload = vec![0; header.payload_bytes()];
        segment.read(offset_bytes + FRAME_HEADER_BYTES as u64, &mut payload).ok()?;
        let good = Crc32::of(&payload).0 == header.payload_crc;
        good.then(|| OwnedFrame { time: header.time, payload, segment: segment.clone(), offset_bytes })
    }

    fn of(&self, segment: &Segment, stretch: &Stretch, crc: &HeadCrc) -> Option<Arc<[Mark]>> {
        let key = (segment.name(), stretch.begin_bytes);
        if let Some(marks) = self.held.lock().stretches.get(&key) {
            return Some(marks.clone());
        }
        let marks: Arc<[Mark]> = walk_over(segment, stretch, crc)?.into();
        let bytes = size_of_val(&*marks) + 2 * size_of::<((SegmentName, u64), Arc<[Mark]>)>();
        let mut held = self.held.lock();
        if held.bytes + bytes > BYTES_MAX {
            *held = Held::default();
        }
        if held.stretches.insert(key, marks.clone()).is_none() {
            held.bytes += bytes;
        }
        Some(marks)
    }

    /// Drops all of them.
    pub(super) fn forget(&self) {
        *self.held.lock() = Held::default();
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.held.lock().stretches.values().map(|marks| marks.len()).sum()
    }
}

/// Notes the frames of a stretch. `None` if it does not end as it should.
fn walk_over(segment: &Segment, stretch: &Stretch, crc: &HeadCrc) -> Option<Vec<Mark>> {
    // Without a map each header would be a read of its own.
    segment.map().ok()??;
    let mut walk = Walk { segment, crc, at_bytes: stretch.begin_bytes, end_bytes: stretch.end_bytes };
    let mut marks: Vec<Mark> = Vec::new();
    let (mut last, mut due_bytes) = (Lsn::ZERO, 0);
    while let Some((offset_bytes, header)) = walk.next() {
        if header.lsn <= last || header.lsn < stretch.first {
            return None;
        }
        last = header.lsn;
        let offset_ahead = offset_bytes - stretch.begin_bytes;
        if offset_ahead >= due_bytes {
            let lsn_ahead = u32::try_from(header.lsn.0 - stretch.first.0).ok()?;
            marks.push(Mark { lsn_ahead, offset_ahead: u32::try_from(offset_ahead).ok()? });
            due_bytes = offset_ahead + MARK_EVERY_BYTES;
        }
    }
    (walk.at_bytes == stretch.end_bytes).then_some(marks)
}
