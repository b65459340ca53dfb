//! The files of a log as they are at one position, held open: for a copy of them beside a writer.
//!
//! ```text
//! MANIFEST > open every listed file > scan the tail > MANIFEST again > fdatasync the tail
//! ```
//! - A file that MANIFEST lists is never written again once it is sealed, and stays readable while it is open, though a
//!   compaction unlinks it. If MANIFEST's generation changed in between, files of two generations may be mixed: begin
//!   again.
//! - The tail is cut at its last good frame, and zeros follow: what a crash just after that frame would have left.
//!   Frames that the writer appends meanwhile do not matter.
//! - After the fdatasync everything in the copy is durable here too, whoever wrote it: the copy never knows more than
//!   this log does after a power cut.
//!
//! Writes nothing, and needs no lock.

use std::sync::Arc;

use super::LogOptions;
use super::ground::Ground;
use super::manifest::{MANIFEST_PATH, Manifest};
use super::scan::{Tail, TailSegment, was_cut};
use super::segment::{LEFT_MARK, SEGMENT_HEADER_BYTES};
use crate::error::{Error, Result};
use crate::id::{Lsn, StoreId};
use crate::storage::{OpenMode, Storage, StorageFile, read_exact_at};

/// How often a compaction may come in between.
const TRIES: usize = 20;

/// A file of a log at one position: its first bytes, and what follows them.
#[derive(Debug, Clone)]
pub struct FrozenFile {
    /// Path in the store.
    pub path: String,
    /// Bytes that are copied.
    pub content_bytes: u64,
    /// Length of the copy; zeros follow the content.
    pub len_bytes: u64,
    /// Whether the file was sealed: its bytes never change as long as it has this name.
    pub sealed: bool,
    source: Source,
    display: std::path::PathBuf,
}

#[derive(Debug, Clone)]
enum Source {
    File(Arc<dyn StorageFile>),
    /// The file's first bytes, and then these.
    Ended(Arc<dyn StorageFile>, u64, &'static [u8]),
    Bytes(Arc<[u8]>),
}

impl FrozenFile {
    /// A whole file.
    pub(crate) fn open(storage: &dyn Storage, path: &str, sealed: bool) -> Result<Self> {
        let display = storage.display_path(path);
        let io = |op, error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Error::MissingFile { path: display.clone(), why: "there is no such file, and MANIFEST lists it".into() }
            }
            _ => Error::io(op, &display, error),
        };
        let file = storage.open(path, OpenMode::Read).map_err(|error| io("open", error))?;
        let len_bytes = file.len().map_err(|error| io("read the length", error))?;
        let source = Source::File(file);
        Ok(Self { path: path.to_owned(), content_bytes: len_bytes, len_bytes, sealed, source, display })
    }

    fn of_bytes(storage: &dyn Storage, path: &str, bytes: Vec<u8>) -> Self {
        let len_bytes = bytes.len() as u64;
        let (source, display) = (Source::Bytes(bytes.into()), storage.display_path(path));
        Self { path: path.to_owned(), content_bytes: len_bytes, len_bytes, sealed: false, source, display }
    }

    /// Reads content at an offset.
    ///
    /// # Errors
    /// `Io`. `Invalid` if the range is not within the content.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let end = offset.saturating_add(buf.len() as u64);
        if end > self.content_bytes {
            return Err(Error::invalid(
                "range",
                format!("{end} is behind the {} bytes of content", self.content_bytes),
            ));
        }
        let io = |error| Error::io("read", &self.display, error);
        match &self.source {
            Source::File(file) => read_exact_at(file.as_ref(), buf, offset).map_err(io),
            Source::Bytes(bytes) => {
                let from = offset as usize;
                buf.copy_from_slice(bytes.get(from..from + buf.len()).unwrap_or_default());
                Ok(())
            }
            Source::Ended(file, file_bytes, end) => {
                let of_file = file_bytes.saturating_sub(offset).min(buf.len() as u64) as usize;
                let (head, rest) = buf.split_at_mut(of_file);
                read_exact_at(file.as_ref(), head, offset).map_err(io)?;
                let from = (offset + of_file as u64).saturating_sub(*file_bytes) as usize;
                rest.copy_from_slice(end.get(from..from + rest.len()).unwrap_or_default());
                Ok(())
            }
        }
    }
}

/// The files of a log, and of the series that it released, at a position.
#[derive(Debug, Clone)]
pub struct FrozenLog {
    /// The last position.
    pub position: Lsn,
    /// MANIFEST comes last.
    pub files: Vec<FrozenFile>,
}

/// Freezes the log of a store, whoever writes it.
///
/// # Errors
/// `MissingFile` if a listed file is not there; `Corrupt` if acknowledged frames are missing at the end, or for
/// MANIFEST; `Io`; `Unavailable` if compactions never let it end.
pub(crate) fn freeze(storage: &Arc<dyn Storage>, store: StoreId) -> Result<FrozenLog> {
    let ground = Ground::new(storage.clone(), LogOptions::new(store));
    let mut last = None;
    for _ in 0..TRIES {
        let Some(manifest) = Manifest::load(&**storage, store)? else {
            return Err(Error::MissingFile {
                path: storage.display_path(MANIFEST_PATH),
                why: "there is no such file".into(),
            });
        };
        let frozen = freeze_as(&ground, &manifest);
        let now = Manifest::load(&**storage, store)?;
        if now.is_some_and(|now| now.generation == manifest.generation) {
            match frozen {
                // A file may have been finished or made between the two reads: then the next try finds it.
                Err(error @ (Error::MissingFile { .. } | Error::Corrupt(_))) => last = Some(error),
                Err(error) if was_cut(&error) => last = Some(error),
                frozen => return frozen,
            }
        }
    }
    Err(last.unwrap_or_else(|| Error::Unavailable {
        why: format!("{} was compacted again and again while it was read", storage.display_path("").display()),
    }))
}

fn freeze_as(ground: &Ground, manifest: &Manifest) -> Result<FrozenLog> {
    let storage = &*ground.storage;
    let mut files = Vec::new();
    for segment in manifest.segments.iter().filter(|segment| segment.sealed.is_some()) {
        files.push(checked(FrozenFile::open(storage, &segment.name.path(), true)?, segment.len_bytes)?);
    }
    for listed in &manifest.series_files {
        files.push(checked(FrozenFile::open(storage, &listed.name, true)?, listed.len_bytes)?);
    }
    let tail = scanned(ground, manifest)?;
    for (at, segment) in tail.segments.iter().enumerate() {
        let is_followed = at + 1 < tail.segments.len();
        let continues = tail.end_index.is_none_or(|end| at <= end);
        files.push(tail_file(ground, segment, is_followed, continues)?);
    }
    // What was scanned becomes durable, whoever wrote it.
    for segment in &tail.segments {
        segment.file.sync_data().map_err(|error| ground.io("fdatasync", &segment.listed.name.path(), error))?;
    }
    files.push(FrozenFile::of_bytes(storage, MANIFEST_PATH, manifest.encode()));
    Ok(FrozenLog { position: tail.last_good, files })
}

fn checked(file: FrozenFile, len_bytes: u64) -> Result<FrozenFile> {
    if file.len_bytes == len_bytes {
        return Ok(file);
    }
    Err(Error::MissingFile { path: file.display, why: format!("{} bytes, not {len_bytes}", file.len_bytes) })
}

/// The tail, of which everything is there that a frame in it vouches for.
fn scanned(ground: &Ground, manifest: &Manifest) -> Result<Tail> {
    let mut tail = ground.scan(manifest, Lsn::ZERO)?;
    if tail.proven > tail.last_good {
        // The writer went on during the scan: then what was vouched for is there now.
        let missed = tail.proven;
        tail = ground.scan(manifest, Lsn::ZERO)?;
        if tail.last_good < missed {
            return Err(ground.lost(&tail, (tail.last_good.next(), missed)));
        }
    }
    Ok(tail)
}

/// A segment of the tail, up to its last good frame. The mark of leaving it stays if the next segment is listed too.
fn tail_file(ground: &Ground, segment: &TailSegment, is_followed: bool, continues: bool) -> Result<FrozenFile> {
    let path = segment.listed.name.path();
    let holds = continues && segment.content.frames_count > 0;
    let frames_end = match (segment.header_good, holds) {
        (false, _) => 0,
        (true, false) => SEGMENT_HEADER_BYTES,
        (true, true) => segment.content.frames_end_bytes,
    };
    // A finished one was cut behind its footer.
    let len_bytes = segment.listed.len_bytes.max(frames_end);
    let room = len_bytes - frames_end >= LEFT_MARK.len() as u64;
    let mut next = [0; LEFT_MARK.len()];
    let is_left = is_followed && holds && room && {
        let on_disk = segment.file.len().map_err(|error| ground.io("read the length", &path, error))?;
        on_disk >= frames_end + next.len() as u64
            && read_exact_at(segment.file.as_ref(), &mut next, frames_end)
                .map(|()| next != [0; LEFT_MARK.len()] && !begins_frame(ground, &next, segment, frames_end))
                .map_err(|error| ground.io("read", &path, error))?
    };
    let end: &'static [u8] = if is_left { &LEFT_MARK } else { &[] };
    let source = Source::Ended(segment.file.clone(), frames_end, end);
    let display = ground.storage.display_path(&path);
    let content_bytes = frames_end + end.len() as u64;
    Ok(FrozenFile { path, content_bytes, len_bytes, sealed: false, source, display })
}

/// Whether a frame follows the scanned ones: the writer went on in this segment.
fn begins_frame(ground: &Ground, next: &[u8; LEFT_MARK.len()], segment: &TailSegment, at: u64) -> bool {
    let mut header = [0; super::frame::FRAME_HEADER_BYTES];
    if *next == LEFT_MARK {
        return false;
    }
    read_exact_at(segment.file.as_ref(), &mut header, at).is_ok()
        && super::frame::FrameHeader::decode(&header, &ground.crc).is_some()
}
