//! One file of frames: its name, its header and footer, and reads from it.
//!
//! A segment is named `log/<ordinal>.seg` (8 digits or more) as appended. Compaction writes
//! `log/<ordinal>-<generation>.seg` and takes the ordinal of the first segment that it replaces.
//!
//! ```text
//! 0        64                      frames end             file end
//! +--------+-------+-----+---------+-------+--------------+
//! | header | frame | ... | frame   | index | footer tail  |      finished: the footer follows the frames
//! +--------+-------+-----+---------+-------+--------------+
//! | header | frame | ... | frame   | zeros ...            |      open, or prepared for later: zeros up to the end
//! +--------+-------+-----+---------+------+---------------+
//! | header | frame | ... | frame   | left | zeros ...     |      left for the next one: the footer replaces the mark
//! +--------+-------+-----+---------+------+---------------+
//!
//! header, 64 bytes                             footer tail, the last 64 bytes
//!   0  magic "RLSEGM\r\n"                         0  first lsn u64
//!   8  version u32                                8  last lsn u64
//!  12  flags u32: 1 = written by compaction,     16  frames u64
//!      2 = of an inbox                           24  where the frames end and the index begins u64
//!  16  store id [16]                             32  ordinal u64
//!  32  ordinal u64                               40  entries of the index u32
//!  40  generation in the name u64, or 0          44  version u32
//!  48  zeros [12]                                48  zeros [4]
//!  60  crc32 of bytes 0..60                      52  crc32(store id ++ index ++ bytes 0..52)
//!                                                56  magic "\r\nRLSEGF"
//!
//! left  = "RUNLODE SEG LEFT", 16 bytes, if there is room
//! index = (lsn u64, offset u64) for the first frame, then for the first frame after each 64 KiB
//! ```
//!
//! Lsns of an appended segment have no gap. Lsns of a compacted segment only grow: the segment stands for the whole
//! range `first..=last` of its footer, whether it has frames for it or not. A finished segment is never written again.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};

use super::footer::{Footer, INDEX_EVERY_BYTES, IndexEntry, push_index};
use super::frame::{FRAME_HEADER_BYTES, FrameHeader, HeadCrc};
pub use super::layout::{SEGMENT_HEADER_BYTES, SEGMENT_VERSION};
use crate::checksum::Crc32;
use crate::error::{Error, Result};
use crate::id::{Lsn, SegmentId, StoreId};
use crate::storage::{Map, OpenMode, Storage, StorageFile, read_exact_at};
use crate::time::TimestampMs;
use crate::varint::Bytes;

/// The folder of segments.
pub const LOG_DIR: &str = "log";
/// Longest file of a segment; [`crate::Options::segment_bytes`] never asks for more.
pub(crate) const SEGMENT_FILE_BYTES_MAX: u64 = 4 << 30;
/// From this version on, every writer that leaves a segment puts [`LEFT_MARK`] after its last frame.
pub(super) const VERSION_LEAVES_MARK: u32 = 2;
/// Version of segments that compaction writes: nothing is appended to them, so they are never left.
const VERSION_COMPACTED: u32 = 1;
/// Says that the appender left this segment. It is no frame header: as a length, its first four bytes are too large.
/// A reader asks only whether anything lies there, so that half a mark says the same as a whole one.
pub(super) const LEFT_MARK: [u8; 16] = *b"RUNLODE SEG LEFT";

pub(crate) const MAGIC: [u8; 8] = *b"RLSEGM\r\n";
const FLAG_COMPACTED: u32 = 1;
/// Flag of segments that are not of the store's own log: see [`crate::inbox`], not imported here.
pub(crate) const FLAG_INBOX: u32 = 2;

/// Which file a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// Its place in the order of segments.
    pub id: SegmentId,
    /// 0 as appended, else the generation of the MANIFEST that added it.
    pub generation: u64,
}

impl SegmentName {
    /// The name of a segment as appended.
    pub fn appended(id: SegmentId) -> Self {
        Self { id, generation: 0 }
    }

    /// Path in the store.
    pub fn path(&self) -> String {
        format!("{LOG_DIR}/{self}")
    }

    /// Parses a file name; only the one form that is printed.
    pub fn parse(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(".seg")?;
        let (ordinal, generation) = stem.split_once('-').unwrap_or((stem, "0"));
        let parsed = Self { id: SegmentId(ordinal.parse().ok()?), generation: generation.parse().ok()? };
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.generation {
            0 => write!(f, "{:08}.seg", self.id.0),
            generation => write!(f, "{:08}-{generation}.seg", self.id.0),
        }
    }
}

/// The bytes of a segment's header. A segment as appended is never flagged as compacted.
pub(super) fn encode_header(name: SegmentName, store: StoreId) -> [u8; SEGMENT_HEADER_BYTES as usize] {
    let mut out = [0; SEGMENT_HEADER_BYTES as usize];
    out[0..8].copy_from_slice(&MAGIC);
    let (version, flags) =
        if name.generation == 0 { (SEGMENT_VERSION, 0) } else { (VERSION_COMPACTED, FLAG_COMPACTED) };
    out[8..12].copy_from_slice(&version.to_le_bytes());
    out[12..16].copy_from_slice(&flags.to_le_bytes());
    out[16..32].copy_from_slice(&store.0);
    out[32..40].copy_from_slice(&name.id.0.to_le_bytes());
    out[40..48].copy_from_slice(&name.generation.to_le_bytes());
    let crc = Crc32::of(&out[..60]);
    out[60..64].copy_from_slice(&crc.0.to_le_bytes());
    out
}

/// Result of checking a segment's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderFound {
    /// The header of this segment.
    Good,
    /// Not a header: never written whole, or damaged.
    Bad,
    /// A header, but of another segment or store.
    Foreign { store: StoreId, name: SegmentName },
    /// Written by a newer version.
    Newer(u32),
}

/// Judges the first bytes of a segment.
pub(super) fn check_header(bytes: &[u8], name: SegmentName, store: StoreId) -> HeaderFound {
    match decode_header(bytes) {
        None => HeaderFound::Bad,
        Some(Err(version)) => HeaderFound::Newer(version),
        Some(Ok((found_store, found_name))) if found_store == store && found_name == name => HeaderFound::Good,
        Some(Ok((store, name))) => HeaderFound::Foreign { store, name },
    }
}

/// The version in the bytes of a good header.
pub(super) fn version_of(header: &[u8; SEGMENT_HEADER_BYTES as usize]) -> u32 {
    u32::from_le_bytes([header[8], header[9], header[10], header[11]])
}

/// Store and name in a header; `Err` is a newer version.
pub(super) fn decode_header(bytes: &[u8]) -> Option<Result<(StoreId, SegmentName), u32>> {
    let covered = bytes.get(..60)?;
    let mut rest = Bytes::new(bytes);
    if rest.array::<8>()? != MAGIC {
        return None;
    }
    let version = rest.u32()?;
    let _flags = rest.u32()?;
    let store = StoreId(rest.array()?);
    let name = SegmentName { id: SegmentId(rest.u64()?), generation: rest.u64()? };
    let _zeros = rest.take(12)?;
    if rest.u32()? != Crc32::of(covered).0 {
        return None;
    }
    // The crc first: a flipped version is damage, not a newer format.
    Some(if version > SEGMENT_VERSION { Err(version) } else { Ok((store, name)) })
}

/// One segment, shared by the writer and readers. Dropping the last handle closes it.
pub struct Segment {
    name: SegmentName,
    storage: Arc<dyn Storage>,
    /// Opened when needed, and closed once a finished segment is mapped: a store may have more segments than a process
    /// may have open files.
    file: RwLock<Option<Arc<dyn StorageFile>>>,
    map: OnceLock<Option<Arc<dyn Map>>>,
    use_map: bool,
    /// Frames end here at the latest.
    pub(super) capacity_bytes: u64,
    /// Whether appends go through the map.
    pub(super) store_by_map: bool,
    end_bytes: AtomicU64,
    /// Where the mark of leaving it ends; 0 if there is none.
    left_end_bytes: AtomicU64,
    synced_bytes: AtomicU64,
    first: AtomicU64,
    last: AtomicU64,
    frames_count: AtomicU64,
    index: Mutex<Vec<IndexEntry>>,
    finished: AtomicBool,
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Segment({} {}..={} end {})", self.name, self.first(), self.last(), self.end_bytes())
    }
}

/// What `Segment::new` needs.
pub(super) struct SegmentParts {
    pub(super) name: SegmentName,
    pub(super) storage: Arc<dyn Storage>,
    pub(super) file: Option<Arc<dyn StorageFile>>,
    /// A writable map, where appends go through it.
    pub(super) write_map: Option<Arc<dyn Map>>,
    pub(super) use_map: bool,
    pub(super) capacity_bytes: u64,
    pub(super) content: Footer,
    pub(super) finished: bool,
}

impl Segment {
    pub(super) fn new(parts: SegmentParts) -> Self {
        let map = OnceLock::new();
        let store_by_map = parts.write_map.is_some();
        if store_by_map {
            let _ = map.set(parts.write_map);
        }
        let content = parts.content;
        Self {
            name: parts.name,
            storage: parts.storage,
            file: RwLock::new(parts.file),
            map,
            use_map: parts.use_map,
            capacity_bytes: parts.capacity_bytes,
            store_by_map,
            end_bytes: AtomicU64::new(content.frames_end_bytes),
            left_end_bytes: AtomicU64::new(0),
            synced_bytes: AtomicU64::new(content.frames_end_bytes),
            first: AtomicU64::new(content.first.0),
            last: AtomicU64::new(content.last.0),
            frames_count: AtomicU64::new(content.frames_count),
            index: Mutex::new(content.index),
            finished: AtomicBool::new(parts.finished),
        }
    }

    /// Ordinal.
    pub fn id(&self) -> SegmentId {
        self.name.id
    }

    /// Which file it is.
    pub fn name(&self) -> SegmentName {
        self.name
    }

    /// First Lsn; 0 if it has no frame yet.
    pub fn first(&self) -> Lsn {
        Lsn(self.first.load(Ordering::Acquire))
    }

    /// Last published Lsn; 0 if it has no frame yet.
    pub fn last(&self) -> Lsn {
        Lsn(self.last.load(Ordering::Acquire))
    }

    /// Where the published frames end.
    #[inline]
    pub fn end_bytes(&self) -> u64 {
        self.end_bytes.load(Ordering::Acquire)
    }

    /// Frames in it.
    pub fn frames_count(&self) -> u64 {
        self.frames_count.load(Ordering::Acquire)
    }

    /// Whether its footer is written: it never changes again.
    pub fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    /// Whether compaction wrote it: it may lack Lsns.
    pub fn is_compacted(&self) -> bool {
        self.name.generation != 0
    }

    /// Reads published bytes: from the map if there is one, else by pread.
    ///
    /// # Errors
    /// `Internal` past the published end; `Io` if the file cannot be read.
    #[inline]
    pub fn read(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        self.check_published(offset_bytes, out.len())?;
        match self.map()? {
            Some(map) => {
                map.copy_at(offset_bytes, out);
                Ok(())
            }
            None => self.read_from_file(offset_bytes, out),
        }
    }

    /// As `read`, but never from the map: the second try after a bad crc.
    pub fn read_unmapped(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        self.check_published(offset_bytes, out.len())?;
        self.read_from_file(offset_bytes, out)
    }

    #[inline]
    fn check_published(&self, offset_bytes: u64, count: usize) -> Result<()> {
        let end = offset_bytes.checked_add(count as u64);
        if end.is_some_and(|end| end <= self.end_bytes()) {
            return Ok(());
        }
        let path = self.name.path();
        Err(Error::Internal(format!("read of {count} bytes at {offset_bytes} of {path}, past its published end")))
    }

    fn read_from_file(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        read_exact_at(self.file()?.as_ref(), out, offset_bytes).map_err(|error| self.io("read", error))
    }

    /// Its path, for messages.
    pub fn path(&self) -> std::path::PathBuf {
        self.storage.display_path(&self.name.path())
    }

    pub(super) fn io(&self, op: &'static str, error: std::io::Error) -> Error {
        Error::io(op, self.storage.display_path(&self.name.path()), error)
    }

    pub(super) fn corrupt(&self, offset_bytes: u64, what: &'static str, expected: &str, found: &str) -> Error {
        Error::corrupt(self.storage.display_path(&self.name.path()), offset_bytes, what, expected, found)
    }

    pub(super) fn file(&self) -> Result<Arc<dyn StorageFile>> {
        if let Some(file) = &*self.file.read() {
            return Ok(file.clone());
        }
        let mut file = self.file.write();
        if let Some(file) = &*file {
            return Ok(file.clone());
        }
        // Only segments without appends are opened late.
        let opened = self.storage.open(&self.name.path(), OpenMode::Read).map_err(|error| self.io("open", error))?;
        *file = Some(opened.clone());
        Ok(opened)
    }

    /// Closes the descriptor, if reads do not need it.
    fn release_file(&self) {
        if self.is_finished() && matches!(self.map.get(), Some(Some(_))) {
            *self.file.write() = None;
        }
    }

    #[inline]
    pub(super) fn map(&self) -> Result<Option<&Arc<dyn Map>>> {
        if let Some(map) = self.map.get() {
            return Ok(map.as_ref());
        }
        self.map_now()
    }

    #[cold]
    fn map_now(&self) -> Result<Option<&Arc<dyn Map>>> {
        let map = if self.use_map {
            let file = self.file()?;
            // Pages past the end of a cut file would kill the process: check the length before mapping.
            let len_bytes = file.len().map_err(|error| self.io("read the length", error))?;
            if len_bytes < self.end_bytes() {
                let path = self.storage.display_path(&self.name.path());
                return Err(Error::MissingFile { path, why: format!("it is cut to {len_bytes} bytes") });
            }
            match file.map(self.capacity_bytes.min(len_bytes), false) {
                // It was finished just now, and cut after its frames.
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => file.map(self.end_bytes(), false),
                mapped => mapped,
            }
            .map_err(|error| self.io("map", error))?
        } else {
            None
        };
        let map = self.map.get_or_init(|| map).as_ref();
        self.release_file();
        Ok(map)
    }

    /// Keeps it readable as long as this handle lives, even if its name is removed.
    pub(super) fn hold(&self) -> Result<()> {
        match self.map()? {
            Some(_) => Ok(()),
            None => self.file().map(drop),
        }
    }

    /// Makes frames up to `end_bytes` visible. Only the appender calls this.
    #[inline]
    pub(super) fn publish(&self, lsn: Lsn, offset_bytes: u64, end_bytes: u64) {
        let frames = self.frames_count.load(Ordering::Relaxed);
        if frames == 0 {
            self.first.store(lsn.0, Ordering::Release);
        }
        if frames == 0 || offset_bytes / INDEX_EVERY_BYTES != end_bytes / INDEX_EVERY_BYTES {
            self.note_index(lsn, offset_bytes);
        }
        self.frames_count.store(frames + 1, Ordering::Release);
        self.last.store(lsn.0, Ordering::Release);
        self.end_bytes.store(end_bytes, Ordering::Release);
    }

    #[cold]
    fn note_index(&self, lsn: Lsn, offset_bytes: u64) {
        push_index(&mut self.index.lock(), lsn, offset_bytes);
    }

    /// The mark of leaving it is written, up to here. A sync of what comes in the next segment covers it first.
    pub(super) fn note_left(&self, left_end_bytes: u64) {
        self.left_end_bytes.store(left_end_bytes, Ordering::Release);
    }

    /// Bytes that a sync would cover; `None` if everything is durable.
    pub(super) fn unsynced_end(&self) -> Option<u64> {
        let end = self.end_bytes().max(self.left_end_bytes.load(Ordering::Acquire));
        (self.synced_bytes.load(Ordering::Acquire) < end).then_some(end)
    }

    /// Called before a sync: everything up to `end_bytes` is stored. Otherwise the sync would interrupt the appender
    /// for every page, to write-protect it.
    pub(super) fn end_stores(&self, end_bytes: u64) {
        let synced_bytes = self.synced_bytes.load(Ordering::Acquire);
        if let Some(Some(map)) = self.map.get().filter(|_| self.store_by_map) {
            map.end_stores(synced_bytes, end_bytes.saturating_sub(synced_bytes));
        }
    }

    /// Unmaps its pages from this process's memory; the kernel keeps the pages, or reads them again.
    pub(super) fn leave_memory(&self) {
        if let Some(Some(map)) = self.map.get() {
            map.end_stores(0, map.len());
        }
    }

    pub(super) fn set_synced(&self, end_bytes: u64) {
        self.synced_bytes.fetch_max(end_bytes, Ordering::AcqRel);
    }

    /// The content of its footer, for a segment without further appends.
    pub(super) fn content(&self) -> Footer {
        Footer {
            first: self.first(),
            last: self.last(),
            frames_count: self.frames_count(),
            frames_end_bytes: self.end_bytes(),
            index: self.index.lock().clone(),
        }
    }

    pub(super) fn set_finished(&self) {
        self.finished.store(true, Ordering::Release);
        self.release_file();
    }

    /// The frames from one index entry to the next that may hold this Lsn; `None` if there are none, or if frames may
    /// be added to them.
    pub(super) fn stretch(&self, lsn: Lsn) -> Option<Stretch> {
        let finished = self.is_finished();
        let index = self.index.lock();
        let behind = index.partition_point(|entry| entry.lsn <= lsn);
        let entry = index.get(behind.checked_sub(1)?)?;
        let end_bytes = match index.get(behind) {
            Some(next) => next.offset_bytes,
            None if finished => self.end_bytes(),
            None => return None,
        };
        Some(Stretch { first: entry.lsn, begin_bytes: entry.offset_bytes, end_bytes })
    }

    /// Where to start looking for a frame: at the last index entry that is not after it.
    pub(super) fn seek(&self, lsn: Lsn) -> u64 {
        let index = self.index.lock();
        let behind = index.partition_point(|entry| entry.lsn <= lsn);
        let entry = behind.checked_sub(1).and_then(|at| index.get(at));
        entry.map_or(SEGMENT_HEADER_BYTES, |entry| entry.offset_bytes)
    }
}

/// Whole frames that lie between two entries of a segment's index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    /// Lsn of the first of them.
    pub(super) first: Lsn,
    pub(super) begin_bytes: u64,
    pub(super) end_bytes: u64,
}

/// A frame in memory, and its origin.
#[derive(Debug, Clone)]
pub struct OwnedFrame {
    /// The clock when it was placed.
    pub time: TimestampMs,
    /// Its sections.
    pub payload: Vec<u8>,
    /// The segment it lies in.
    pub segment: Arc<Segment>,
    /// Where its header begins there.
    pub offset_bytes: u64,
}

/// Reads one header of a segment; if the map gives an invalid one, reads it again from the file.
pub(super) fn read_header(segment: &Segment, offset_bytes: u64, crc: &HeadCrc) -> Result<FrameHeader> {
    let mut bytes = [0; FRAME_HEADER_BYTES];
    segment.read(offset_bytes, &mut bytes)?;
    if let Some(header) = FrameHeader::decode(&bytes, crc) {
        return Ok(header);
    }
    segment.read_unmapped(offset_bytes, &mut bytes)?;
    FrameHeader::decode(&bytes, crc)
        .ok_or_else(|| segment.corrupt(offset_bytes, "frame header", "a valid header", "a bad length, kind or crc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_form() {
        for (text, id, generation) in
            [("00000001.seg", 1, 0), ("00000012-7.seg", 12, 7), ("123456789.seg", 123_456_789, 0)]
        {
            let name = SegmentName { id: SegmentId(id), generation };
            assert_eq!(SegmentName::parse(text), Some(name));
            assert_eq!(name.to_string(), text);
        }
        for bad in ["1.seg", "00000001.seg.tmp", "00000001-0.seg", "00000001-07.seg", "000000001.seg", "+0000001.seg"] {
            assert_eq!(SegmentName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn golden_header_and_every_flip_is_found() {
        let store = StoreId([9; 16]);
        let name = SegmentName { id: SegmentId(3), generation: 2 };
        let bytes = encode_header(name, store);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = format!(
            "524c5345474d0d0a0100000001000000{}03000000000000000200000000000000{}",
            "09".repeat(16),
            "00".repeat(12)
        );
        assert_eq!(hex[..120], expected);
        assert_eq!(check_header(&bytes, name, store), HeaderFound::Good);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(check_header(&flipped, name, store), HeaderFound::Bad, "bit {bit}");
        }
        let other = SegmentName::appended(SegmentId(3));
        assert!(matches!(check_header(&bytes, other, store), HeaderFound::Foreign { .. }));
        assert_eq!(check_header(&bytes[..50], name, store), HeaderFound::Bad);
    }
}
