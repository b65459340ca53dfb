//! Creates and finishes segment files: the steps that recovery, appends and maintenance share.

use std::sync::Arc;

use super::LogOptions;
use super::footer::Footer;
use super::frame::HeadCrc;
use super::manifest::{ListedSegment, SealedRange};
use super::segment::{LOG_DIR, Segment, SegmentName, SegmentParts, encode_header};
use crate::error::{Error, Result};
use crate::storage::{OpenMode, Storage, StorageFile, write_all_at};

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Zeros are written and synced in pieces of this size, so that filling can stop early.
const ZERO_FILL_PIECE_BYTES: u64 = 4 << 20;

/// Whether blocks are written as zeros before use, or only allocated. A store into a page of allocated, never written
/// blocks costs ten times as much, and each sync more. But zeros go through the disk like data.
#[derive(Clone, Copy)]
pub(super) enum ZeroFill<'a> {
    /// An append waits for the segment: fill only a small one.
    Waiting,
    /// In the background, until the segment is needed soon.
    Until(&'a dyn Fn() -> bool),
}

impl ZeroFill<'_> {
    fn goes_on(self, capacity_bytes: u64, waiting_bytes_max: u64) -> bool {
        match self {
            Self::Waiting => capacity_bytes <= waiting_bytes_max,
            Self::Until(needed_soon) => waiting_bytes_max > 0 && !needed_soon(),
        }
    }
}

/// Storage, options and crc, as used by every part of the log.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) options: LogOptions,
    pub(super) crc: HeadCrc,
}

impl Ground {
    pub(super) fn new(storage: Arc<dyn Storage>, options: LogOptions) -> Self {
        let crc = HeadCrc::new(options.store_id);
        Self { storage, options, crc }
    }

    pub(super) fn io(&self, op: &'static str, path: &str, error: std::io::Error) -> Error {
        Error::io(op, self.storage.display_path(path), error)
    }

    pub(super) fn sync_dir(&self, dir: &str) -> Result<()> {
        self.storage.sync_dir(dir).map_err(|error| self.io("fsync", dir, error))
    }

    pub(super) fn sync_log_dir(&self) -> Result<()> {
        self.sync_dir(LOG_DIR)
    }

    /// Whether readers may map segments.
    pub(super) fn maps(&self) -> bool {
        self.options.mmap
    }

    /// Makes an empty segment ready for frames, whatever was there: cut to nothing, grown, header, fsync. Neither its
    /// name nor its place in MANIFEST is durable yet.
    pub(super) fn make_segment(&self, name: SegmentName, capacity_bytes: u64, zeros: ZeroFill<'_>) -> Result<Segment> {
        let path = name.path();
        let file = match self.storage.open(&path, OpenMode::CreateNew) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                self.storage.open(&path, OpenMode::ReadWrite).map_err(|error| self.io("open", &path, error))?
            }
            opened => opened.map_err(|error| self.io("create", &path, error))?,
        };
        let filled = self.fill(file.as_ref(), name, capacity_bytes, zeros);
        if let Err(error) = filled {
            // Gives scarce space back. If that fails too, the next open does it.
            let _ = file.set_len(0);
            return Err(error);
        }
        self.empty_segment(name, file, capacity_bytes)
    }

    /// Makes a segment without frames longer. After an error it is still usable as it was.
    pub(super) fn grow_segment(&self, segment: &Segment, capacity_bytes: u64) -> Result<Segment> {
        let name = segment.name();
        let path = name.path();
        let file = self.storage.open(&path, OpenMode::ReadWrite).map_err(|error| self.io("open", &path, error))?;
        file.allocate(capacity_bytes).map_err(|error| self.io("allocate", &path, error))?;
        file.sync_all().map_err(|error| self.io("fsync", &path, error))?;
        self.empty_segment(name, file, capacity_bytes)
    }

    fn empty_segment(&self, name: SegmentName, file: Arc<dyn StorageFile>, capacity_bytes: u64) -> Result<Segment> {
        let write_map = self.write_map(file.as_ref(), &name.path(), capacity_bytes)?;
        Ok(Segment::new(SegmentParts {
            name,
            storage: self.storage.clone(),
            file: Some(file),
            write_map,
            use_map: self.maps(),
            capacity_bytes,
            content: Footer::none(),
            finished: false,
        }))
    }

    fn fill(&self, file: &dyn StorageFile, name: SegmentName, capacity_bytes: u64, zeros: ZeroFill<'_>) -> Result<()> {
        let path = name.path();
        file.set_len(0).map_err(|error| self.io("cut", &path, error))?;
        // First, so that a full disk is found before anything is written.
        file.allocate(capacity_bytes).map_err(|error| self.io("allocate", &path, error))?;
        let mut at = 0;
        while at < capacity_bytes && zeros.goes_on(capacity_bytes, self.options.zero_fill_bytes_max) {
            let piece_end = (at + ZERO_FILL_PIECE_BYTES).min(capacity_bytes);
            while at < piece_end {
                let count = (piece_end - at).min(ZEROS.len() as u64);
                let zeros = ZEROS.get(..count as usize).unwrap_or(&ZEROS);
                write_all_at(file, zeros, at).map_err(|error| self.io("write", &path, error))?;
                at += count;
            }
            if at < capacity_bytes {
                file.sync_data().map_err(|error| self.io("fdatasync", &path, error))?;
            }
        }
        let header = encode_header(name, self.options.store_id);
        write_all_at(file, &header, 0).map_err(|error| self.io("write", &path, error))?;
        file.sync_all().map_err(|error| self.io("fsync", &path, error))
    }

    /// A map for appends, if a store into it cannot fault: blocks are allocated, the file system keeps them, and space
    /// for two segments is left.
    pub(super) fn write_map(
        &self,
        file: &dyn StorageFile,
        path: &str,
        capacity_bytes: u64,
    ) -> Result<Option<Arc<dyn crate::storage::Map>>> {
        if !self.options.mmap || !self.storage.can_map_writes() {
            return Ok(None);
        }
        let free = self.storage.free_bytes().map_err(|error| self.io("ask for the free space", path, error))?;
        if free.is_some_and(|free| free < capacity_bytes.saturating_mul(2)) {
            return Ok(None);
        }
        file.map(capacity_bytes, true).map_err(|error| self.io("map", path, error))
    }

    /// The size of the segment after one of this size.
    pub(super) fn next_capacity(&self, capacity_bytes: u64) -> u64 {
        let doubled = capacity_bytes.saturating_mul(2);
        doubled.clamp(self.options.segment_bytes_first, self.options.segment_bytes_max)
    }

    /// The size of the first segment after an open: about as much as the log holds, so that many short sessions do not
    /// grow a small store.
    pub(super) fn capacity_for(&self, log_bytes: u64) -> u64 {
        let size = log_bytes.checked_next_power_of_two().map_or(u64::MAX, |above| above / 2);
        size.clamp(self.options.segment_bytes_first, self.options.segment_bytes_max)
    }

    /// Writes the footer of a segment that gets no more appends and whose frames are all durable. Durable on return;
    /// may be repeated.
    pub(super) fn write_footer(&self, segment: &Segment) -> Result<ListedSegment> {
        let content = segment.content();
        let (bytes, footer_crc) = content.encode(segment.id(), self.options.store_id);
        let path = segment.name().path();
        let file = self.storage.open(&path, OpenMode::ReadWrite).map_err(|error| self.io("open", &path, error))?;
        let at = content.frames_end_bytes;
        let len_bytes = at + bytes.len() as u64;
        write_all_at(file.as_ref(), &bytes, at).map_err(|error| self.io("write", &path, error))?;
        file.set_len(len_bytes).map_err(|error| self.io("cut", &path, error))?;
        file.sync_all().map_err(|error| self.io("fsync", &path, error))?;
        let sealed = Some(SealedRange { first: content.first, last: content.last, footer_crc });
        Ok(ListedSegment { name: segment.name(), len_bytes, sealed })
    }
}
