//! Answers that may be long: written while they are made, kept in memory while small, else in a file.
//!
//! A client that takes its answer slowly keeps one piece of it in memory, not the whole, and no snapshot of the store.
//! The file has no name: it disappears with the answer, or with the process. All files together take at most
//! [`FILES_BYTES_MAX`], and none is made if the disk is nearly full. An answer then stays in memory as far as its share
//! goes, and is refused beyond that.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::StatusCode;
use bytes::Bytes;
use futures_util::stream;
use runlode::mlflow::{ApiError, ApiResult, ErrorCode};
use rustix::fs::{Mode, OFlags};
use serde::Serialize;

use crate::memory::Reader;

/// Bytes of an answer that need no share.
const FREE_BYTES: usize = 16 << 10;
/// Bytes written to a file at a time.
const PIECE_BYTES: usize = 256 << 10;
/// Most bytes of all answer files together.
const FILES_BYTES_MAX: u64 = 4 << 30;
/// Free disk space that answers leave to the store.
const DISK_BYTES_LEFT: u64 = 128 << 20;
/// Bytes between two checks of the free disk space.
const LOOK_EVERY_BYTES: u64 = 16 << 20;
/// Longest answer that another part of the server reads back.
const READ_BACK_BYTES_MAX: u64 = 16 << 20;

/// The resources that long answers share.
#[derive(Debug)]
pub(crate) struct LongAnswers {
    /// Folders for files.
    folders: [PathBuf; 2],
    memory_bytes_max: usize,
    memory_bytes: AtomicUsize,
    files_bytes: AtomicU64,
}

/// Bytes taken from memory or from files, until this is dropped.
#[derive(Debug)]
struct Share {
    of: Arc<LongAnswers>,
    memory_bytes: usize,
    file_bytes: u64,
}

/// An answer that is being written.
#[derive(Debug)]
pub(crate) struct Writer {
    share: Share,
    /// The answer so far, or its part that is not in the file yet.
    bytes: Vec<u8>,
    /// Length of `bytes` at which more memory or a file is needed.
    full_at: usize,
    file: Option<File>,
    refused: Option<ApiError>,
}

/// A finished answer.
#[derive(Debug)]
pub(crate) enum Written {
    /// Needs no share.
    Short(Vec<u8>),
    Long(Long),
}

/// An answer with a share of memory, or of files.
#[derive(Debug)]
pub(crate) struct Long(Kept);

#[derive(Debug)]
enum Kept {
    Memory(Held),
    File(File, Share),
}

#[derive(Debug)]
struct Held {
    bytes: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl LongAnswers {
    /// Files are made in the store's folder, else in the system's folder for temporary files.
    pub(crate) fn new(store: &Path, memory_bytes_max: usize) -> Self {
        Self {
            folders: [store.to_owned(), std::env::temp_dir()],
            memory_bytes_max,
            memory_bytes: AtomicUsize::new(0),
            files_bytes: AtomicU64::new(0),
        }
    }

    /// An unnamed file, in the first folder where one can be made and there is room for it.
    fn file(&self) -> Option<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let open = |folder: &PathBuf| rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR).ok().map(File::from);
        self.folders.iter().filter_map(open).find(has_room)
    }
}

impl Share {
    fn none(of: Arc<LongAnswers>) -> Self {
        Self { of, memory_bytes: 0, file_bytes: 0 }
    }

    /// Takes more memory; returns whether there was room.
    fn grow_in_memory(&mut self, bytes: usize) -> bool {
        let taken = self.of.memory_bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        self.memory_bytes += bytes;
        taken <= self.of.memory_bytes_max && self.memory_bytes <= self.of.memory_bytes_max / 2
    }

    /// Whether an answer may stay in memory because no file can be made. One answer may then use the whole budget.
    fn stays_in_memory(&self) -> bool {
        self.of.memory_bytes.load(Ordering::Acquire) <= self.of.memory_bytes_max
    }

    fn leave_memory(&mut self) {
        self.of.memory_bytes.fetch_sub(std::mem::take(&mut self.memory_bytes), Ordering::AcqRel);
    }

    fn grow_in_files(&mut self, bytes: u64) -> bool {
        let taken = self.of.files_bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        self.file_bytes += bytes;
        taken <= FILES_BYTES_MAX
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.leave_memory();
        self.of.files_bytes.fetch_sub(self.file_bytes, Ordering::AcqRel);
    }
}

impl Writer {
    pub(crate) fn new(answers: &Arc<LongAnswers>) -> Self {
        let share = Share::none(answers.clone());
        Self { share, bytes: Vec::with_capacity(1024), full_at: FREE_BYTES, file: None, refused: None }
    }

    /// Whether nothing was written.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.file.is_none()
    }

    /// Appends the JSON of a value.
    ///
    /// # Errors
    /// 429 `RESOURCE_EXHAUSTED` where there is no room for the answer.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> ApiResult<()> {
        let written = serde_json::to_writer(&mut *self, value);
        written.map_err(|error| {
            let internal =
                || ApiError::new(ErrorCode::InternalError, format!("the answer cannot be encoded as JSON: {error}"));
            self.refused.take().unwrap_or_else(internal)
        })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// As [`Writer::json`].
    pub(crate) fn put(&mut self, bytes: &[u8]) -> ApiResult<()> {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() >= self.full_at { self.make_room() } else { Ok(()) }
    }

    /// Gets more memory, or the file.
    fn make_room(&mut self) -> ApiResult<()> {
        if self.file.is_none() {
            let more = self.bytes.len().max(FREE_BYTES);
            let in_memory = self.share.grow_in_memory(more) || {
                self.file = self.share.of.file();
                self.file.is_none() && self.share.stays_in_memory()
            };
            if in_memory {
                self.full_at = self.bytes.len() + more;
                return Ok(());
            }
        }
        self.spill()?;
        self.share.leave_memory();
        self.full_at = PIECE_BYTES;
        Ok(())
    }

    fn spill(&mut self) -> ApiResult<()> {
        let before = self.share.file_bytes;
        if !self.share.grow_in_files(self.bytes.len() as u64) {
            return Err(no_room());
        }
        let file = self.file.as_mut().ok_or_else(no_room)?;
        if before / LOOK_EVERY_BYTES != self.share.file_bytes / LOOK_EVERY_BYTES && !has_room(file) {
            return Err(no_room());
        }
        file.write_all(&self.bytes).map_err(|_| no_room())?;
        self.bytes.clear();
        // The large buffer is not kept.
        self.bytes.shrink_to(PIECE_BYTES);
        Ok(())
    }

    /// The answer.
    ///
    /// # Errors
    /// As [`Writer::json`].
    pub(crate) fn finish(mut self) -> ApiResult<Written> {
        if self.file.is_some() {
            self.spill()?;
        }
        let Self { share, bytes, file, .. } = self;
        Ok(match file {
            Some(file) => Written::Long(Long(Kept::File(file, share))),
            None if bytes.len() <= FREE_BYTES => Written::Short(bytes),
            None => Written::Long(Long(Kept::Memory(Held { bytes, _share: share }))),
        })
    }
}

fn no_room() -> ApiError {
    let message = "There is no room to keep so long an answer until it is taken: ask for less at a time, in pages \
                   (max_results), or again later.";
    ApiError::new(ErrorCode::ResourceExhausted, message).with_status(StatusCode::TOO_MANY_REQUESTS.as_u16())
}

/// Whether a file's disk has room for answers, beside the space left to the store.
fn has_room(file: &File) -> bool {
    rustix::fs::fstatvfs(file).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) >= DISK_BYTES_LEFT)
}

impl Write for Writer {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() >= self.full_at {
            self.make_room().map_err(|error| {
                self.refused = Some(error);
                io::Error::from(io::ErrorKind::StorageFull)
            })?;
        }
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(bytes).map(drop)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Long {
    /// The answer as a body, and its length.
    pub(crate) fn into_body(self, reader: Reader) -> (Body, u64) {
        match self.0 {
            Kept::Memory(held) => {
                let bytes = Bytes::from_owner(held);
                let length = bytes.len() as u64;
                (Body::from(bytes), length)
            }
            Kept::File(file, share) => {
                let length = share.file_bytes;
                (file_body(file, 0, length, (reader, share)), length)
            }
        }
    }

    /// The whole answer, for another part of the server.
    ///
    /// # Errors
    /// 429 `RESOURCE_EXHAUSTED` if it is too long for that.
    pub(crate) fn into_bytes(self) -> ApiResult<Vec<u8>> {
        match self.0 {
            Kept::Memory(mut held) => Ok(std::mem::take(&mut held.bytes)),
            Kept::File(_, share) if share.file_bytes > READ_BACK_BYTES_MAX => {
                let message = "The answer is too long: ask for less at a time.";
                let status = StatusCode::TOO_MANY_REQUESTS.as_u16();
                Err(ApiError::new(ErrorCode::ResourceExhausted, message).with_status(status))
            }
            Kept::File(file, share) => {
                let mut bytes = vec![0; usize::try_from(share.file_bytes).unwrap_or(0)];
                file.read_exact_at(&mut bytes, 0).map_err(|error| {
                    ApiError::new(ErrorCode::InternalError, format!("an answer could not be read back: {error}"))
                })?;
                Ok(bytes)
            }
        }
    }
}

/// The bytes `start..end` of a file, piece by piece. The value given with the reader is kept until everything is read.
pub(crate) fn file_body<T: Send + 'static>(file: File, start: u64, end: u64, kept: (Reader, T)) -> Body {
    let file = Arc::new(file);
    let pieces = stream::unfold((start, kept), move |(at, kept)| {
        let file = file.clone();
        async move {
            if at >= end {
                return None;
            }
            let length = (end - at).min(kept.0.piece_bytes() as u64);
            let read = tokio::task::spawn_blocking(move || {
                let mut piece = vec![0; usize::try_from(length).unwrap_or(0)];
                file.read_exact_at(&mut piece, at).map(|()| Bytes::from(piece))
            });
            // If the file has become shorter the connection ends, so that the client sees that its answer is
            // incomplete.
            let piece = read.await.unwrap_or_else(|error| Err(io::Error::other(error)));
            let next = if piece.is_ok() { at + length } else { end };
            Some((piece, (next, kept)))
        }
    });
    Body::from_stream(pieces)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::memory::Memory;

    #[test]
    fn a_long_answer_is_in_a_file_and_comes_back_whole() {
        let dir = tempfile::tempdir().unwrap();
        let answers = Arc::new(LongAnswers::new(dir.path(), 1 << 20));
        let memory = Memory::new(48 << 20);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for count in [10usize, 5_000, 100_000, 1_000_000] {
            let numbers: Vec<usize> = (0..count).collect();
            let mut writer = Writer::new(&answers);
            writer.json(&numbers).unwrap();
            let expected = serde_json::to_vec(&numbers).unwrap();
            assert!(writer.bytes.capacity() <= 2 << 20);
            let body = match writer.finish().unwrap() {
                Written::Short(bytes) => Bytes::from(bytes),
                Written::Long(long) => {
                    let in_file = matches!(&long, Long(Kept::File(..)));
                    assert_eq!(in_file, count >= 100_000, "{count}");
                    let (body, length) = long.into_body(memory.reader());
                    assert_eq!(length, expected.len() as u64);
                    runtime.block_on(body.collect()).unwrap().to_bytes()
                }
            };
            assert!(body == expected, "{count}");
        }
        assert_eq!((answers.memory_bytes.load(Ordering::Relaxed), answers.files_bytes.load(Ordering::Relaxed)), (0, 0));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    /// As on a full disk, where reads still work.
    #[test]
    fn where_no_file_can_be_made_an_answer_stays_in_memory_as_far_as_that_goes() {
        let dir = tempfile::tempdir().unwrap();
        let answers = Arc::new(LongAnswers::new(&dir.path().join("gone"), 1 << 20));
        let folders = [dir.path().join("gone"), dir.path().join("gone too")];
        let answers = Arc::new(LongAnswers { folders, ..Arc::into_inner(answers).unwrap() });
        let mut writer = Writer::new(&answers);
        writer.json(&"x".repeat(900_000)).unwrap();
        assert!(matches!(writer.finish().unwrap(), Written::Long(Long(Kept::Memory(_)))));
        let mut writer = Writer::new(&answers);
        assert_eq!(writer.json(&"x".repeat(9_000_000)).unwrap_err().code, ErrorCode::ResourceExhausted);
        drop(writer);
        assert_eq!(answers.memory_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn where_memory_is_taken_even_a_short_answer_goes_to_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let answers = Arc::new(LongAnswers::new(dir.path(), 256 << 10));
        let text = "x".repeat(100_000);
        let written = |_| {
            let mut writer = Writer::new(&answers);
            writer.json(&text).unwrap();
            writer.finish().unwrap()
        };
        let all: Vec<Written> = (0..20).map(written).collect();
        let files = all.iter().filter(|answer| matches!(answer, Written::Long(Long(Kept::File(..))))).count();
        assert!(files >= 17, "{files}");
        assert!(answers.memory_bytes.load(Ordering::Relaxed) <= 256 << 10);
    }
}
