//! Examines the unfinished end of a log: which frames are good, and what proves that there were more. Never writes.

use std::sync::Arc;

use super::beside;
use super::footer::{Footer, push_index};
use super::frame::{FRAME_ALIGN_BYTES, FRAME_HEADER_BYTES, FrameHeader, FrameKind};
use super::ground::Ground;
use super::manifest::{ListedSegment, MANIFEST_PATH, Manifest};
use super::mutant::{self, Rule};
use super::room_bytes;
use super::segment::{
    HeaderFound, LEFT_MARK, SEGMENT_FILE_BYTES_MAX, SEGMENT_HEADER_BYTES, SEGMENT_VERSION, SegmentName,
    VERSION_LEAVES_MARK, check_header, version_of,
};
use crate::checksum::Crc32;
use crate::error::{Error, Result};
use crate::id::Lsn;
use crate::storage::{OpenMode, StorageFile, read_exact_at};

/// Size of a read.
pub(super) const CHUNK_BYTES: usize = 256 << 10;
/// How often a scan begins again because a segment was cut meanwhile.
const SCAN_TRIES: usize = 20;

/// A segment of the tail, scanned.
#[derive(Debug)]
pub(super) struct TailSegment {
    pub(super) listed: ListedSegment,
    pub(super) file: Arc<dyn StorageFile>,
    pub(super) len_bytes: u64,
    pub(super) header_good: bool,
    /// Whoever leaves it leaves a mark, if there is room.
    pub(super) leaves_mark: bool,
    /// Its good frames.
    pub(super) content: Footer,
    /// Kind of the last good frame.
    pub(super) last_kind: Option<FrameKind>,
}

/// What a segment holds, taken by itself.
struct GoodFrames {
    content: Footer,
    last_kind: Option<FrameKind>,
    /// What their headers vouch for.
    vouched: Lsn,
}

/// The whole tail.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) segments: Vec<TailSegment>,
    /// Index of the segment in which the good frames end; `None` if there are none.
    pub(super) end_index: Option<usize>,
    /// `g`.
    pub(super) last_good: Lsn,
    /// `D`.
    pub(super) proven: Lsn,
    /// Only zeros follow the last good frame.
    pub(super) blank_behind: bool,
    /// Only zeros follow the good frames of the last segment, which may have none.
    pub(super) last_blank: bool,
    /// In a copy: what the frames after a place that was read too early vouch for; `proven` leaves it out.
    pub(super) torn: Option<(Lsn, Lsn)>,
    /// Segments that are listed but missing.
    pub(super) gone: Vec<Gone>,
}

/// A missing segment of the tail.
#[derive(Debug)]
pub(super) struct Gone {
    pub(super) listed: ListedSegment,
    /// Number of present tail segments before it.
    pub(super) behind: usize,
}

impl Tail {
    /// Whether a missing segment was prepared and never used.
    pub(super) fn was_unused(&self, gone: &Gone, jumps: bool) -> bool {
        let none_lost = self.is_at_end(gone) && self.proven <= self.last_good;
        none_lost && (self.last_was_not_left() || self.was_closed_before(gone, jumps))
    }

    /// Whether the last segment that is there was never left: there is room for the mark, and no mark. The mark comes
    /// before any frame of a later segment, in the file and in each sync; and a segment without frames is made longer,
    /// never left. A crash that is settled cuts the segment before it goes on in another one, and leaves no such room.
    fn last_was_not_left(&self) -> bool {
        self.segments.last().is_some_and(|last| {
            // An allocation that failed may have left the file longer than its writer knew.
            let writable_bytes = last.len_bytes.min(last.listed.len_bytes);
            let room_bytes = writable_bytes.saturating_sub(last.content.frames_end_bytes);
            last.leaves_mark && self.last_blank && room_bytes >= LEFT_MARK.len() as u64
        })
    }

    /// Whether the log was closed in front of a segment that is not there: the frame that the next life begins with
    /// would lie behind the close frame, if there is room for it; so it did not begin. For segments without the mark.
    fn was_closed_before(&self, gone: &Gone, jumps: bool) -> bool {
        let last = self.segments.last().filter(|_| gone.behind == self.segments.len());
        let ends_here = self.end_index.map(|at| at + 1) == Some(self.segments.len());
        last.is_some_and(|last| {
            let room_bytes = last.len_bytes.saturating_sub(last.content.frames_end_bytes);
            last.last_kind == Some(FrameKind::Close) && room_bytes >= FRAME_HEADER_BYTES as u64
        }) && ends_here
            && self.blank_behind
            && !jumps
    }

    /// Whether a missing segment is the end of the log: no later segment is there.
    pub(super) fn is_at_end(&self, gone: &Gone) -> bool {
        gone.behind == self.segments.len()
    }
}

/// What was seen after the good frames.
pub(super) struct Seen {
    /// Only zeros.
    pub(super) blank: bool,
    /// A valid header above the last good Lsn.
    pub(super) any: bool,
    /// What these headers vouch for.
    pub(super) vouched: Lsn,
}

impl Ground {
    pub(super) fn open_segment(&self, name: SegmentName, mode: OpenMode) -> Result<Arc<dyn StorageFile>> {
        let path = name.path();
        self.storage.open(&path, mode).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::MissingFile {
                path: self.storage.display_path(&path),
                why: "there is no such file, and MANIFEST lists it".into(),
            },
            _ => self.io("open", &path, error),
        })
    }

    pub(super) fn len_of(&self, name: SegmentName, file: &dyn StorageFile) -> Result<u64> {
        let len_bytes = file.len().map_err(|error| self.io("read the length", &name.path(), error))?;
        if len_bytes > SEGMENT_FILE_BYTES_MAX {
            // A sparse file may claim any length; searching it for frames would take forever.
            let path = self.storage.display_path(&name.path());
            let expected = format!("at most {SEGMENT_FILE_BYTES_MAX} bytes");
            return Err(Error::corrupt(path, 0, "length of a segment", expected, format!("{len_bytes} bytes")));
        }
        Ok(len_bytes)
    }

    pub(super) fn chain(&self, name: SegmentName, expected: &str, found: &str) -> Error {
        let path = self.storage.display_path(&name.path());
        Error::corrupt(path, 0, "chain of segments", expected, found)
    }

    /// The version in a segment's header; `None` if it has none. Foreign and newer ones are errors.
    pub(super) fn header_of(&self, name: SegmentName, file: &dyn StorageFile, len_bytes: u64) -> Result<Option<u32>> {
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        if len_bytes < SEGMENT_HEADER_BYTES {
            return Ok(None);
        }
        read_exact_at(file, &mut bytes, 0).map_err(|error| self.io("read", &name.path(), error))?;
        match check_header(&bytes, name, self.options.store_id) {
            HeaderFound::Good => Ok(Some(version_of(&bytes))),
            HeaderFound::Bad => Ok(None),
            HeaderFound::Foreign { store, name: other } => {
                Err(self.chain(name, "the header of this segment", &format!("{other} of store {store}")))
            }
            HeaderFound::Newer(found) => Err(Error::UnsupportedFormat {
                path: self.storage.display_path(&name.path()),
                found,
                supported: SEGMENT_VERSION,
            }),
        }
    }

    /// Scans the tail: good frames, the proven position, what follows. Beside a writer, which cuts a segment when it finishes
    /// it: then again.
    pub(super) fn scan(&self, manifest: &Manifest, vouched: Lsn) -> Result<Tail> {
        for _ in 1..SCAN_TRIES {
            match self.scan_once(manifest, vouched) {
                Err(error) if was_cut(&error) => {}
                scanned => return scanned,
            }
        }
        self.scan_once(manifest, vouched)
    }

    fn scan_once(&self, manifest: &Manifest, vouched: Lsn) -> Result<Tail> {
        let mut last_good = manifest.sealed_last();
        let mut proven = vouched.max(last_good);
        let kept = manifest.jumps.iter().map(|jump| jump.kept);
        let released = manifest.series_files.iter().map(|file| file.last);
        proven = kept.chain(released).fold(proven, Lsn::max);
        let mut sealed_later = Lsn::ZERO;
        let (mut segments, mut gone) = (Vec::new(), Vec::new());
        for listed in manifest.segments.iter().filter(|listed| listed.sealed.is_none()) {
            let name = listed.name;
            let file = match self.open_segment(name, OpenMode::Read) {
                Err(Error::MissingFile { .. }) => {
                    gone.push(Gone { listed: *listed, behind: segments.len() });
                    continue;
                }
                opened => opened?,
            };
            let len_bytes = self.len_of(name, file.as_ref())?;
            let version = self.header_of(name, file.as_ref(), len_bytes)?;
            let header_good = version.is_some();
            let leaves_mark = version >= Some(VERSION_LEAVES_MARK);
            if !header_good && self.look_ahead(name, file.as_ref(), 0, len_bytes, Lsn::ZERO)?.any {
                return Err(self.chain(name, "a segment header over frames", "other bytes"));
            }
            let footer = Footer::read(file.as_ref(), len_bytes, name.id, self.options.store_id)
                .map_err(|error| self.io("read", &name.path(), error))?;
            // A footer is written only after the frames were synced.
            sealed_later = footer.map_or(sealed_later, |(footer, _)| sealed_later.max(footer.last));
            let content = Footer::none();
            let listed = *listed;
            let last_kind = None;
            segments.push(TailSegment { listed, file, len_bytes, header_good, leaves_mark, content, last_kind });
        }
        // Each segment by itself first; then they are joined.
        let bytes = segments.iter().map(|segment| segment.len_bytes).sum();
        let found = beside::each(&segments, bytes, |segment| self.good_frames(manifest, segment))?;
        let (mut end_index, mut broken) = (None, false);
        for (at, (segment, found)) in segments.iter_mut().zip(found).enumerate() {
            broken |= found.content.frames_count == 0 || found.content.first != manifest.after(last_good);
            if broken {
                continue;
            }
            last_good = found.content.last;
            proven = proven.max(found.vouched);
            segment.content = found.content;
            segment.last_kind = found.last_kind;
            end_index = Some(at);
        }
        let (blank_behind, last_blank) = (true, true);
        let mut tail = Tail { segments, end_index, last_good, proven, blank_behind, last_blank, torn: None, gone };
        let behind = self.look_behind(&mut tail)?.max(sealed_later);
        if behind > tail.proven.max(last_good)
            && self.options.copied
            && tail.proven <= last_good
            && self.is_unwritten(&tail)?
        {
            tail.torn = Some((last_good.next(), behind));
        } else {
            tail.proven = tail.proven.max(behind);
        }
        Ok(tail)
    }

    /// The good frames of a segment, if its first one continues the log.
    fn good_frames(&self, manifest: &Manifest, segment: &TailSegment) -> Result<GoodFrames> {
        let mut good = GoodFrames { content: Footer::none(), last_kind: None, vouched: Lsn::ZERO };
        if !segment.header_good {
            return Ok(good);
        }
        let path = segment.listed.name.path();
        let mut chunks = Chunks::new(segment.file.as_ref(), segment.len_bytes);
        let mut at = SEGMENT_HEADER_BYTES;
        while segment.len_bytes.saturating_sub(at) >= FRAME_HEADER_BYTES as u64 {
            let bytes = chunks.read(at, FRAME_HEADER_BYTES).map_err(|error| self.io("read", &path, error))?;
            let header = bytes.first_chunk().and_then(|bytes| FrameHeader::decode(bytes, &self.crc));
            let Some(header) = header else { break };
            let follows = good.content.frames_count == 0 || header.lsn == manifest.after(good.content.last);
            if header.padded_bytes() > segment.len_bytes - at || !follows {
                break;
            }
            let frame = chunks.read(at, header.len_bytes as usize).map_err(|error| self.io("read", &path, error))?;
            let payload = frame.get(FRAME_HEADER_BYTES..).unwrap_or_default();
            if Crc32::of(payload).0 != header.payload_crc {
                break;
            }
            good.vouched = good.vouched.max(header.vouched());
            if mutant::left_out(Rule::CloseVouchesForNothing) && header.kind == FrameKind::Close {
                good.vouched = good.vouched.max(header.lsn);
            }
            let content = &mut good.content;
            if content.frames_count == 0 {
                content.first = header.lsn;
            }
            push_index(&mut content.index, header.lsn, at);
            content.last = header.lsn;
            content.frames_count += 1;
            at += header.padded_bytes();
            content.frames_end_bytes = at;
            good.last_kind = Some(header.kind);
        }
        Ok(good)
    }

    /// Looks for valid headers, and for anything at all, after the good frames. Returns what the headers vouch for.
    fn look_behind(&self, tail: &mut Tail) -> Result<Lsn> {
        let mut vouched = Lsn::ZERO;
        let (mut blank, mut last_blank) = (true, true);
        for (segment, from) in behind(tail) {
            let name = segment.listed.name;
            let seen = self.look_ahead(name, segment.file.as_ref(), from, segment.len_bytes, tail.last_good)?;
            blank &= seen.blank;
            last_blank = seen.blank;
            if !mutant::left_out(Rule::LookAhead) {
                vouched = vouched.max(seen.vouched);
            }
        }
        tail.blank_behind = blank;
        tail.last_blank = last_blank;
        Ok(vouched)
    }

    /// Whether the good frames end at a place that was not written yet: the bytes before the next frame end in a line
    /// of zeros, which is the least that a reader sees at once. Any damage other than zeros is told apart from it.
    fn is_unwritten(&self, tail: &Tail) -> Result<bool> {
        const LINE_BYTES: u64 = 64;
        const STEP_BYTES: u64 = FRAME_ALIGN_BYTES as u64;
        for (segment, from) in behind(tail) {
            let mut chunks = Chunks::new(segment.file.as_ref(), segment.len_bytes);
            let path = segment.listed.name.path();
            // A segment that its writer has left was written to its end.
            if from + LEFT_MARK.len() as u64 <= segment.len_bytes {
                let bytes = chunks.read(from, LEFT_MARK.len()).map_err(|error| self.io("read", &path, error))?;
                if bytes == LEFT_MARK {
                    continue;
                }
            }
            let mut at = from;
            while at + STEP_BYTES <= segment.len_bytes {
                let count = (FRAME_HEADER_BYTES as u64).min(segment.len_bytes - at) as usize;
                let bytes = chunks.read(at, count).map_err(|error| self.io("read", &path, error))?;
                let header = bytes.first_chunk().and_then(|bytes| FrameHeader::decode(bytes, &self.crc));
                if header.is_some_and(|header| header.lsn > tail.last_good.next()) {
                    return Ok(false);
                }
                at += STEP_BYTES;
                if at.is_multiple_of(LINE_BYTES) && bytes.iter().take(FRAME_ALIGN_BYTES).all(|byte| *byte == 0) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Tests each place where a frame could begin. Frames up to `last_good` do not count.
    pub(super) fn look_ahead(
        &self,
        name: SegmentName,
        file: &dyn StorageFile,
        from: u64,
        len_bytes: u64,
        last_good: Lsn,
    ) -> Result<Seen> {
        let mut seen = Seen { blank: true, any: false, vouched: Lsn::ZERO };
        for (start, end) in self.written(name, file, from, len_bytes)? {
            self.look_at(name, file, start..end, last_good, &mut seen)?;
        }
        Ok(seen)
    }

    /// The ranges that may hold other bytes than zeros; they begin where a frame could. A segment that is much larger
    /// than its content consists mostly of blocks that were never written.
    fn written(&self, name: SegmentName, file: &dyn StorageFile, from: u64, len_bytes: u64) -> Result<Vec<(u64, u64)>> {
        const RANGES_MAX: usize = 64;
        let align = FRAME_ALIGN_BYTES as u64;
        let mut ranges = Vec::new();
        let mut at = from;
        while at < len_bytes {
            if ranges.len() == RANGES_MAX {
                ranges.push((at, len_bytes));
                break;
            }
            let data = file.next_data(at).map_err(|error| self.io("seek in", &name.path(), error))?;
            let Some((start, end)) = data.filter(|(start, _)| *start < len_bytes) else { break };
            let start = at + start.saturating_sub(at) / align * align;
            // The end of a header may be zeros.
            let end = end.saturating_add(FRAME_HEADER_BYTES as u64).next_multiple_of(align).min(len_bytes);
            ranges.push((start, end));
            at = end;
        }
        Ok(ranges)
    }

    fn look_at(
        &self,
        name: SegmentName,
        file: &dyn StorageFile,
        range: std::ops::Range<u64>,
        last_good: Lsn,
        seen: &mut Seen,
    ) -> Result<()> {
        let mut buffer = vec![0; CHUNK_BYTES + FRAME_HEADER_BYTES];
        let mut at = range.start;
        while at < range.end {
            let count = (range.end - at).min(buffer.len() as u64) as usize;
            let Some(chunk) = buffer.get_mut(..count) else { break };
            read_exact_at(file, chunk, at).map_err(|error| self.io("read", &name.path(), error))?;
            let step = CHUNK_BYTES.min(count);
            if !is_blank(chunk) {
                seen.blank = false;
                for place in (0..step).step_by(FRAME_ALIGN_BYTES) {
                    let Some(bytes) = chunk.get(place..).and_then(|rest| rest.first_chunk()) else { break };
                    let Some(header) = FrameHeader::decode(bytes, &self.crc) else { continue };
                    if header.lsn > last_good {
                        seen.any = true;
                        seen.vouched = seen.vouched.max(header.vouched());
                    }
                }
            }
            at += step as u64;
        }
        Ok(())
    }

    /// The error for a log whose acknowledged end is missing.
    pub(super) fn lost(&self, tail: &Tail, (first, last): (Lsn, Lsn)) -> Error {
        let (name, at) = match tail.end_index.and_then(|at| tail.segments.get(at)) {
            Some(segment) => (segment.listed.name.path(), segment.content.frames_end_bytes),
            None => {
                let name = tail.segments.first().map_or(MANIFEST_PATH.to_owned(), |first| first.listed.name.path());
                (name, SEGMENT_HEADER_BYTES)
            }
        };
        let path = self.storage.display_path(&name);
        let expected = format!("the acknowledged positions {first} to {last}");
        Error::corrupt(path, at, "end of the log", expected, "no valid frame")
    }

    /// Where the first good frame above a Lsn begins.
    pub(super) fn first_above(&self, segment: &TailSegment, lsn: Lsn) -> Result<u64> {
        let index = &segment.content.index;
        let behind = index.partition_point(|entry| entry.lsn <= lsn);
        let entry = behind.checked_sub(1).and_then(|at| index.get(at));
        let mut at = entry.map_or(SEGMENT_HEADER_BYTES, |entry| entry.offset_bytes);
        while at < segment.content.frames_end_bytes {
            let mut bytes = [0; FRAME_HEADER_BYTES];
            read_exact_at(segment.file.as_ref(), &mut bytes, at)
                .map_err(|error| self.io("read", &segment.listed.name.path(), error))?;
            match FrameHeader::decode(&bytes, &self.crc) {
                Some(header) if header.lsn <= lsn => at += header.padded_bytes(),
                _ => break,
            }
        }
        Ok(at)
    }
}

/// The part after the good frames: segments, and from where on.
fn behind(tail: &Tail) -> impl Iterator<Item = (&TailSegment, u64)> {
    tail.segments.iter().skip(tail.end_index.unwrap_or(0)).map(|segment| {
        let from = match (segment.content.frames_count > 0, segment.header_good) {
            (true, _) => segment.content.frames_end_bytes,
            (false, true) => SEGMENT_HEADER_BYTES,
            (false, false) => 0,
        };
        (segment, from)
    })
}

/// Whether there are only zeros. Works in pieces without a branch inside, because an open reads megabytes of them.
fn is_blank(bytes: &[u8]) -> bool {
    let (pieces, rest) = bytes.as_chunks::<256>();
    pieces.iter().all(|piece| piece.iter().fold(0, |all, byte| all | byte) == 0) && rest.iter().all(|byte| *byte == 0)
}

/// The number to go on with: above every Lsn that the tail could have held, and above every earlier jump.
pub(super) fn number_behind(manifest: &Manifest, tail: &Tail) -> Lsn {
    if mutant::left_out(Rule::Jump) {
        return tail.last_good.next().next();
    }
    let held: u64 = tail
        .segments
        .iter()
        .enumerate()
        .skip(tail.end_index.unwrap_or(0))
        .map(|(at, segment)| {
            let len_bytes = segment.len_bytes.max(segment.listed.len_bytes);
            let ends_here = tail.end_index == Some(at);
            if ends_here { len_bytes.saturating_sub(segment.content.frames_end_bytes) } else { room_bytes(len_bytes) }
        })
        .chain(tail.gone.iter().map(|gone| room_bytes(gone.listed.len_bytes)))
        .fold(0, u64::saturating_add);
    let frames_count = held / FRAME_HEADER_BYTES as u64;
    let noted = manifest.jumps.iter().map(|jump| jump.next).max().unwrap_or_default();
    let torn = tail.torn.map_or(Lsn::ZERO, |(_, last)| last);
    let base = manifest.after(tail.last_good).max(noted).max(tail.proven).max(torn);
    Lsn(base.0.saturating_add(frames_count).saturating_add(1))
}

/// Whether a file ended before its length of a moment ago: its writer finished it.
pub(super) fn was_cut(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::UnexpectedEof)
}

/// Reads a file forwards in large pieces.
struct Chunks<'a> {
    file: &'a dyn StorageFile,
    len_bytes: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
}

impl<'a> Chunks<'a> {
    fn new(file: &'a dyn StorageFile, len_bytes: u64) -> Self {
        Self { file, len_bytes, buffer: Vec::new(), buffer_at: 0 }
    }

    /// `count` bytes at `at`, which must lie within the file's length.
    fn read(&mut self, at: u64, count: usize) -> std::io::Result<&[u8]> {
        let have_end = self.buffer_at + self.buffer.len() as u64;
        if at < self.buffer_at || at + count as u64 > have_end {
            let left_bytes = self.len_bytes.saturating_sub(at);
            let read_bytes = (count.max(CHUNK_BYTES) as u64).min(left_bytes) as usize;
            self.buffer.resize(read_bytes.max(count), 0);
            self.buffer_at = at;
            read_exact_at(self.file, &mut self.buffer, at)?;
        }
        let start = (at - self.buffer_at) as usize;
        Ok(self.buffer.get(start..start + count).unwrap_or_default())
    }
}
