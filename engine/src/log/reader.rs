//! Frames in order, or one by its Lsn. Checksums are checked on every read; a bad one is tried again once by pread.

use std::sync::Arc;

use super::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, HeadCrc};
use super::segment::{OwnedFrame, SEGMENT_HEADER_BYTES, Segment, read_header};
use super::{Log, Shape};
use crate::checksum::Crc32;
use crate::error::{Error, Result};
use crate::id::Lsn;
use crate::time::TimestampMs;

/// First size of a read: small for callers who want one frame. It doubles with each read, up to the maximum.
const WINDOW_BYTES_MIN: u64 = 16 << 10;
const WINDOW_BYTES_MAX: u64 = 256 << 10;

/// One frame, borrowed from its reader.
#[derive(Debug)]
pub struct FrameRef<'a> {
    /// Position.
    pub lsn: Lsn,
    /// The clock when it was placed.
    pub time: TimestampMs,
    /// What it is for.
    pub kind: FrameKind,
    /// Its sections; the payload begins `FRAME_HEADER_BYTES` after `offset_bytes`.
    pub payload: &'a [u8],
    /// The segment it lies in.
    pub segment: &'a Arc<Segment>,
    /// Where its header begins there.
    pub offset_bytes: u64,
}

impl FrameRef<'_> {
    /// What stands at an offset of the payload is not what was written, though the frame's checksum is right.
    pub(crate) fn damaged_at(&self, offset: usize, structure: &'static str) -> Error {
        let at = self.offset_bytes + (FRAME_HEADER_BYTES + offset) as u64;
        Error::corrupt(self.segment.path(), at, structure, "what was written", "other bytes")
    }
}

/// Reads frames in order, up to the end of the log when the reader was made.
#[derive(Debug)]
pub struct FrameReader {
    shape: Arc<Shape>,
    crc: HeadCrc,
    from: Lsn,
    to: Lsn,
    segment_index: usize,
    offset_bytes: u64,
    /// Where the frames of the current segment end; 0 before it is entered.
    end_bytes: u64,
    /// The last Lsn that was passed, to see that none is missing.
    last: Option<Lsn>,
    window: Vec<u8>,
    window_at: u64,
    window_bytes: u64,
    failed: Option<Error>,
    /// The failure was a gap before the current segment; the segment itself is good.
    failed_before: bool,
}

impl Log {
    /// Frames `from..=to`, in order, as far as they are published now. `Lsn::MAX` reads to the end.
    ///
    /// # Errors
    /// `Invalid` if `from` is before the first Lsn that is kept.
    pub fn read_from(&self, from: Lsn, to: Lsn) -> Result<FrameReader> {
        let to = to.min(self.published());
        let shape = self.shape();
        let from = from.max(Lsn(1));
        if from < shape.first {
            let why = format!("the log begins at {}; what was before {from} is released", shape.first);
            return Err(Error::invalid("position", why));
        }
        Ok(FrameReader::over(shape, self.ground.crc.clone(), from, to))
    }

    /// One frame. `None`: no frame has this Lsn (it was skipped, compacted away, or is not published).
    ///
    /// # Errors
    /// `Invalid` if it is before the first Lsn that is kept; `Corrupt` or `MissingFile` if it should exist.
    pub fn read_frame(&self, lsn: Lsn) -> Result<Option<OwnedFrame>> {
        if let Some(frame) = self.marked_frame(lsn) {
            return Ok(Some(frame));
        }
        let mut reader = self.read_from(lsn, lsn)?;
        let Some(frame) = reader.next_frame()? else { return Ok(None) };
        let (time, segment, offset_bytes) = (frame.time, frame.segment.clone(), frame.offset_bytes);
        Ok(Some(OwnedFrame { time, payload: frame.payload.to_vec(), segment, offset_bytes }))
    }

    /// One frame by what earlier reads noted; `None` if a reader has to look for it, or to say why it is not there.
    fn marked_frame(&self, lsn: Lsn) -> Option<OwnedFrame> {
        if lsn > self.published() {
            return None;
        }
        let shape = self.shape();
        let at = shape.segments.partition_point(|segment| segment.is_finished() && segment.last() < lsn);
        let segment = shape.segments.get(at).filter(|_| lsn >= shape.first)?;
        self.marks.frame(segment, lsn, &self.ground.crc)
    }
}

impl FrameReader {
    fn over(shape: Arc<Shape>, crc: HeadCrc, from: Lsn, to: Lsn) -> Self {
        let segment_index = shape.segments.partition_point(|segment| segment.is_finished() && segment.last() < from);
        Self {
            shape,
            crc,
            from,
            to,
            segment_index,
            offset_bytes: 0,
            end_bytes: 0,
            last: None,
            window: Vec::new(),
            window_at: 0,
            window_bytes: WINDOW_BYTES_MIN,
            failed: None,
            failed_before: false,
        }
    }

    /// Another reader of the same files, even if they were swapped since.
    pub fn again(&self, from: Lsn, to: Lsn) -> Self {
        Self::over(self.shape.clone(), self.crc.clone(), from, to)
    }

    /// The generation of the files that it reads.
    pub fn generation(&self) -> u64 {
        self.shape.generation
    }

    /// The next range of positions from `from` on whose frames compaction rewrote: first and last position of
    /// neighbouring segments of its. Their points are in series files.
    pub fn released(&self, from: Lsn) -> Option<(Lsn, Lsn)> {
        let segments = &self.shape.segments;
        let at = segments.partition_point(|segment| segment.is_finished() && segment.last() < from);
        let mut rest = segments.iter().skip(at).skip_while(|segment| !segment.is_compacted());
        let first = rest.next()?;
        let last = rest.take_while(|segment| segment.is_compacted()).last().unwrap_or(first);
        Some((first.first(), last.last()))
    }

    /// First and last position of the finished segment whose range holds this one.
    pub fn segment_of(&self, lsn: Lsn) -> Option<(Lsn, Lsn)> {
        let segments = &self.shape.segments;
        let at = segments.partition_point(|segment| segment.is_finished() && segment.last() < lsn);
        let segment = segments.get(at).filter(|segment| segment.is_finished() && segment.first() <= lsn)?;
        Some((segment.first(), segment.last()))
    }

    /// The next frame; `None` at the end.
    ///
    /// # Errors
    /// `Corrupt` at a damaged frame, `MissingFile` at a missing segment, `Io`. The reader stays at its error;
    /// [`FrameReader::skip_damage`] goes on with the next segment.
    pub fn next_frame(&mut self) -> Result<Option<FrameRef<'_>>> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let header = match self.find_next() {
            Ok(Some(header)) => header,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.failed = Some(error.clone());
                return Err(error);
            }
        };
        let offset_bytes = self.offset_bytes;
        self.offset_bytes += header.padded_bytes();
        let start = (offset_bytes - self.window_at) as usize + FRAME_HEADER_BYTES;
        let payload = self.window.get(start..start + header.payload_bytes());
        let (Some(payload), Some(segment)) = (payload, self.shape.segments.get(self.segment_index)) else {
            return Err(Error::Internal("a frame was found outside the bytes that were read".into()));
        };
        Ok(Some(FrameRef { lsn: header.lsn, time: header.time, kind: header.kind, payload, segment, offset_bytes }))
    }

    /// After `Corrupt` or `MissingFile`: goes on with the next segment, and skips the rest of this one.
    pub fn skip_damage(&mut self) {
        if self.failed.take().is_some() {
            self.last = None;
            if !std::mem::take(&mut self.failed_before) {
                self.leave_segment();
            }
        }
    }

    fn leave_segment(&mut self) {
        self.segment_index += 1;
        self.end_bytes = 0;
        self.window.clear();
    }

    /// Steps to the next frame that is asked for; its bytes are in the window.
    fn find_next(&mut self) -> Result<Option<FrameHeader>> {
        let shape = self.shape.clone();
        while let Some(segment) = shape.segments.get(self.segment_index) {
            if self.end_bytes == 0 && !self.enter(segment)? {
                return Ok(None);
            }
            while self.offset_bytes < self.end_bytes {
                let header = self.header(segment)?;
                self.check_order(segment, header.lsn)?;
                if header.lsn > self.to {
                    return Ok(None);
                }
                self.last = Some(header.lsn);
                if header.lsn >= self.from {
                    self.check_payload(segment, &header)?;
                    return Ok(Some(header));
                }
                self.offset_bytes += header.padded_bytes();
            }
            if segment.is_compacted() {
                // Its range covers all positions, with or without frames.
                self.last = Some(segment.last());
            }
            self.leave_segment();
        }
        Ok(None)
    }

    /// Enters a segment. `false`: nothing is left to read.
    fn enter(&mut self, segment: &Segment) -> Result<bool> {
        let first = segment.first();
        if first == Lsn::ZERO || first > self.to {
            return Ok(false);
        }
        if let Some(last) = self.last
            && first != self.after(last)
        {
            self.failed_before = true;
            let path = segment.name().path().into();
            let why = format!("a segment with {}..{first} should come before it", self.after(last));
            return Err(Error::MissingFile { path, why });
        }
        self.end_bytes = segment.end_bytes();
        self.offset_bytes = if first < self.from { segment.seek(self.from) } else { SEGMENT_HEADER_BYTES };
        // Inside a segment the order is checked from the starting point on.
        if self.offset_bytes != SEGMENT_HEADER_BYTES {
            self.last = None;
        }
        self.window.clear();
        Ok(true)
    }

    fn after(&self, lsn: Lsn) -> Lsn {
        self.shape.jumps.iter().rev().find(|jump| jump.kept == lsn).map_or(lsn.next(), |jump| jump.next)
    }

    fn check_order(&self, segment: &Segment, lsn: Lsn) -> Result<()> {
        let fits = match self.last {
            _ if lsn < segment.first() => false,
            None => true,
            Some(last) if segment.is_compacted() => lsn > last,
            Some(last) => lsn == self.after(last),
        };
        if fits {
            return Ok(());
        }
        let expected = format!("the frame behind {}", self.last.unwrap_or_default());
        Err(segment.corrupt(self.offset_bytes, "order of frames", &expected, &format!("frame {lsn}")))
    }

    fn header(&mut self, segment: &Segment) -> Result<FrameHeader> {
        self.fill(segment, FRAME_HEADER_BYTES as u64, false)?;
        let left_bytes = self.end_bytes - self.offset_bytes;
        let start = (self.offset_bytes - self.window_at) as usize;
        let bytes = self.window.get(start..).and_then(|rest| rest.first_chunk::<FRAME_HEADER_BYTES>());
        let header = match bytes.and_then(|bytes| FrameHeader::decode(bytes, &self.crc)) {
            Some(header) => header,
            None => {
                let header = read_header(segment, self.offset_bytes, &self.crc)?;
                self.fill(segment, FRAME_HEADER_BYTES as u64, true)?;
                header
            }
        };
        if header.padded_bytes() > left_bytes {
            let expected = format!("a frame of at most {left_bytes} bytes");
            return Err(segment.corrupt(
                self.offset_bytes,
                "frame length",
                &expected,
                &format!("{} bytes", header.len_bytes),
            ));
        }
        Ok(header)
    }

    fn check_payload(&mut self, segment: &Segment, header: &FrameHeader) -> Result<()> {
        for again in [false, true] {
            self.fill(segment, header.padded_bytes(), again)?;
            let start = (self.offset_bytes - self.window_at) as usize + FRAME_HEADER_BYTES;
            let payload = self.window.get(start..start + header.payload_bytes()).unwrap_or_default();
            if payload.len() == header.payload_bytes() && Crc32::of(payload).0 == header.payload_crc {
                return Ok(());
            }
        }
        let expected = format!("frame {} with crc {}", header.lsn, Crc32(header.payload_crc));
        Err(segment.corrupt(self.offset_bytes, "frame payload", &expected, "other bytes"))
    }

    /// Brings `count` bytes from `offset_bytes` on into the window. `again`: reads them from the file even if they are
    /// there.
    fn fill(&mut self, segment: &Segment, count: u64, again: bool) -> Result<()> {
        let have_end = self.window_at + self.window.len() as u64;
        let have = !self.window.is_empty()
            && self.window_at <= self.offset_bytes
            && have_end >= self.offset_bytes.saturating_add(count);
        if have && !again {
            return Ok(());
        }
        let left_bytes = self.end_bytes.saturating_sub(self.offset_bytes);
        // At most what the file holds, however long a header says the frame is.
        let read_bytes = count.max(self.window_bytes).min(left_bytes);
        self.window_bytes = (self.window_bytes * 2).min(WINDOW_BYTES_MAX);
        if count > left_bytes {
            return Err(segment.corrupt(
                self.offset_bytes,
                "frame",
                &format!("{count} bytes"),
                &format!("{left_bytes} bytes"),
            ));
        }
        self.window.resize(read_bytes as usize, 0);
        self.window_at = self.offset_bytes;
        let read = if again {
            segment.read_unmapped(self.offset_bytes, &mut self.window)
        } else {
            segment.read(self.offset_bytes, &mut self.window)
        };
        if read.is_err() {
            self.window.clear();
        }
        read
    }
}
