//! Stores redb's pages in a file of ours, each with a checksum, because redb does not check the pages that it reads.
//!
//! ```text
//! byte 0      4,096    4,104                8,200    8,204    8,208
//!      +------+--------+--------------------+--------+--------+---- ...
//!      | page | zero   | page 1             | crc32  | mark   | page 2 ...
//!      | 0    | (8)    | (4,096)            | u32 le | u32 le |
//!      +------+--------+--------------------+--------+--------+---- ...
//!      |<- block 0  ->|<------------- block 1 ------------->|
//! ```
//!
//! - Page `n` begins at byte `n * 4,104`. Its crc covers `n` (u64 le) and its 4,096 bytes, so a page that was written to
//!   the wrong place fails its check. The mark shows that the page was written at all. redb only reads pages that it has
//!   written, so a block of zeros, as growth leaves it, is damage if it is read.
//! - Page 0 is redb's header: two commit slots with checksums of their own, replaced in place one at a time. It has no
//!   check here.
//! - One call writes several blocks, each page followed by its check. A torn block fails its check, but redb never reads
//!   it: redb overwrites no page that the last commit uses, and syncs all pages of a commit before the header that points
//!   to them. If two blocks share a sector, a write of one leaves the bytes of the other as they are.
//! - After a failed sync the cache may show a header that the disk does not have. A commit on top of it would overwrite
//!   pages that the disk's header still needs. redb writes and syncs its header at each open for writing, before any
//!   page; a test pins this.
//!
//! All this holds for commits with `Durability::Immediate` and quick repair, and while only one process has the file
//! open, which the store's LOCK ensures. After an error redb answers every call with `PreviousIo`, so drop the database.
//! [`Damage`] tells whether the file is bad (rebuild it, since it is derived) or only the call failed (open it again).

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::checksum::Crc32;
use crate::error::{Corruption, Error, Result, is_full};
use crate::storage::overlay::Overlay;
use crate::storage::{OpenMode, Storage, StorageFile, read_exact_at, write_all_at};

/// Bytes of a page of redb.
const PAGE_BYTES: usize = 4_096;
/// Bytes of a page and its check: 4,096 + 4 + 4.
const BLOCK_BYTES: usize = PAGE_BYTES + 8;
/// The part of page 0 that redb uses.
const HEADER_BYTES: usize = 512;
/// Follows the crc of each page that was ever written.
const WRITTEN_MARK: [u8; 4] = *b"pg01";

/// A file of checked pages, for redb.
#[derive(Debug)]
pub struct PageBackend {
    file: Arc<dyn StorageFile>,
    path: PathBuf,
    damage: Damage,
    /// For a file that is only read.
    header: Option<Header>,
}

/// redb's header as it was when the file was opened for reading.
///
/// redb writes it when it opens the file for writing, and with each commit, and never writes a page that the last commit
/// uses. So as long as the header is the same, every page read belongs to its commit.
#[derive(Debug)]
struct Header {
    file: Arc<dyn StorageFile>,
    bytes: Box<[u8; HEADER_BYTES]>,
}

impl Header {
    fn read(file: &Arc<dyn StorageFile>) -> io::Result<Self> {
        let mut bytes = Box::new([0; HEADER_BYTES]);
        read_exact_at(&**file, &mut *bytes, 0)?;
        Ok(Self { file: file.clone(), bytes })
    }

    fn check(&self) -> io::Result<()> {
        let mut now = [0; HEADER_BYTES];
        read_exact_at(&*self.file, &mut now, 0)?;
        if now == *self.bytes { Ok(()) } else { Err(io::Error::other(Changed)) }
    }
}

/// Another process writes the file that is open for reading here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another process writes the index")]
pub struct Changed;

/// Failures and damage that a backend met; stays readable after redb has closed the backend.
#[derive(Debug, Clone, Default)]
pub struct Damage(Arc<Met>);

#[derive(Debug, Default)]
struct Met {
    damage: OnceLock<Corruption>,
    /// Whether a call has failed: redb may answer `PreviousIo` from then on.
    failed: AtomicBool,
    /// Whether one failed because the disk is full.
    full: AtomicBool,
    /// Whether one failed because another process writes the file.
    changed: AtomicBool,
    /// Whether the file has another owner: this backend then writes nothing any more.
    fenced: AtomicBool,
}

impl Damage {
    /// The damage, if there was any: the file must be rebuilt.
    pub fn get(&self) -> Option<&Corruption> {
        self.0.damage.get()
    }

    /// Whether any call has failed: the database must be opened again.
    pub fn failed(&self) -> bool {
        self.0.failed.load(Ordering::Acquire)
    }

    /// Ends the backend's writes: another one is about to open the file, and readers of this one may still exist.
    pub fn fence(&self) {
        self.0.fenced.store(true, Ordering::Release);
    }

    /// Records damage that redb found itself.
    pub fn report(&self, damage: &Corruption) {
        self.0.damage.get_or_init(|| damage.clone());
        self.0.failed.store(true, Ordering::Release);
    }

    /// Whether another process writes the file, so that it must be opened again.
    fn is_changed(&self) -> bool {
        self.0.changed.load(Ordering::Acquire)
    }

    fn is_full(&self) -> bool {
        self.0.full.load(Ordering::Acquire)
    }

    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            let is_changed = error.get_ref().is_some_and(|inner| inner.is::<Changed>());
            self.0.changed.fetch_or(is_changed, Ordering::AcqRel);
            self.0.full.fetch_or(is_full(error.kind()), Ordering::AcqRel);
            self.0.failed.store(true, Ordering::Release);
        }
        result
    }

    fn check_fence(&self) -> io::Result<()> {
        match self.0.fenced.load(Ordering::Acquire) {
            true => Err(io::Error::other("the index was opened again")),
            false => Ok(()),
        }
    }
}

impl PageBackend {
    /// Creates an empty file; `AlreadyExists` if there is one. The caller creates it under a temporary name and renames
    /// it when the database is complete: a crash while redb creates it leaves a file that does not open.
    pub fn create(storage: &dyn Storage, path: &str) -> Result<Self> {
        Self::with_mode(storage, path, OpenMode::CreateNew, "create")
    }

    /// Opens an existing file for reading and writing.
    pub fn open(storage: &dyn Storage, path: &str) -> Result<Self> {
        let backend = Self::with_mode(storage, path, OpenMode::ReadWrite, "open")?;
        backend.check_length()?;
        Ok(backend)
    }

    /// Opens an existing file only for reading: redb's writes, including its recovery, stay in memory. Once another
    /// process opens the file for writing, or commits, reads fail with [`Changed`].
    pub fn open_read_only(storage: &dyn Storage, path: &str) -> Result<Self> {
        let mut backend = Self::with_mode(storage, path, OpenMode::Read, "open")?;
        backend.check_length()?;
        let header = Header::read(&backend.file).map_err(|error| Error::io("read", path, error))?;
        backend.header = Some(header);
        backend.file = Arc::new(Overlay::new(backend.file).map_err(|error| Error::io("read", path, error))?);
        Ok(backend)
    }

    fn with_mode(storage: &dyn Storage, path: &str, mode: OpenMode, op: &'static str) -> Result<Self> {
        let file = storage.open(path, mode).map_err(|error| Error::io(op, path, error))?;
        Ok(Self { file, path: PathBuf::from(path), damage: Damage::default(), header: None })
    }

    /// A handle to the damage that this backend finds. Take it before redb takes the backend.
    pub fn damage(&self) -> Damage {
        self.damage.clone()
    }

    /// Checks that the file consists of whole blocks: page 0 and more.
    fn check_length(&self) -> Result<()> {
        let len = self.file.len().map_err(|error| Error::io("read", &self.path, error))?;
        if len < 2 * BLOCK_BYTES as u64 || !len.is_multiple_of(BLOCK_BYTES as u64) {
            let expected = format!("two or more blocks of {BLOCK_BYTES} bytes");
            return Err(self.found(len, "file length", expected, format!("{len} bytes")).into());
        }
        Ok(())
    }

    /// Records damage and returns it.
    fn found(&self, offset_bytes: u64, structure: &'static str, expected: String, found: String) -> Corruption {
        let corruption = Corruption { path: self.path.clone(), offset_bytes, structure, expected, found };
        self.damage.0.damage.get_or_init(|| corruption.clone());
        corruption
    }

    /// Reads and checks whole blocks, from the one of page `first` on.
    fn read_blocks(&self, first: u64, blocks: &mut [u8]) -> io::Result<()> {
        let start = first * BLOCK_BYTES as u64;
        match read_exact_at(&*self.file, blocks, start) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let found = format!("the end of the file at {}", self.file.len()?);
                return Err(io::Error::other(self.found(start, "index page", "a page".to_owned(), found)));
            }
            other => other?,
        }
        // Before the pages' own checks: one that is just being written may fail them.
        self.check_header()?;
        for (page, block) in (first..).zip(blocks.chunks_exact_mut(BLOCK_BYTES)) {
            if check(page, block).is_ok() {
                continue;
            }
            // Read again: the bytes on disk may be right and only the transfer was bad.
            let offset = page * BLOCK_BYTES as u64;
            read_exact_at(&*self.file, block, offset)?;
            if let Err((expected, found)) = check(page, block) {
                return Err(io::Error::other(self.found(offset, "index page", expected, found)));
            }
        }
        Ok(())
    }

    /// Whether what was read is still the commit that was opened.
    fn check_header(&self) -> io::Result<()> {
        self.header.as_ref().map_or(Ok(()), Header::check)
    }
}

/// The crc over a page's number and bytes.
fn page_crc(page: u64, bytes: &[u8]) -> Crc32 {
    Crc32::of_parts(&[&page.to_le_bytes(), bytes])
}

/// Checks that a block holds this page. The error says what was expected and what was found.
fn check(page: u64, block: &[u8]) -> Result<(), (String, String)> {
    let Some((bytes, [c0, c1, c2, c3, mark @ ..])) = block.split_at_checked(PAGE_BYTES) else {
        return Err((format!("{BLOCK_BYTES} bytes"), format!("{} bytes", block.len())));
    };
    if mark != WRITTEN_MARK {
        return Err(("a page that was written".to_owned(), format!("mark {mark:02x?}")));
    }
    let expected = Crc32(u32::from_le_bytes([*c0, *c1, *c2, *c3]));
    let found = page_crc(page, bytes);
    if expected != found {
        return Err((format!("crc {expected} for page {page}"), format!("crc {found}")));
    }
    Ok(())
}

/// Writes a page and its check into a block.
fn fill(page: u64, bytes: &[u8], block: &mut [u8]) {
    let (body, check) = block.split_at_mut(PAGE_BYTES);
    body.copy_from_slice(bytes);
    check[..4].copy_from_slice(&page_crc(page, bytes).0.to_le_bytes());
    check[4..].copy_from_slice(&WRITTEN_MARK);
}

/// A buffer for blocks. The usual size, one block, needs no allocation.
struct Room {
    one: [u8; BLOCK_BYTES],
    many: Vec<u8>,
}

impl Room {
    fn new() -> Self {
        Self { one: [0; BLOCK_BYTES], many: Vec::new() }
    }

    fn blocks(&mut self, count: usize) -> &mut [u8] {
        if count <= 1 {
            return &mut self.one[..count * BLOCK_BYTES];
        }
        self.many.resize(count * BLOCK_BYTES, 0);
        &mut self.many
    }
}

/// The first page and the number of pages of a range after page 0, which redb reads and writes by whole pages.
fn pages_of(offset: u64, len: usize) -> io::Result<(u64, usize)> {
    if !offset.is_multiple_of(PAGE_BYTES as u64) || !len.is_multiple_of(PAGE_BYTES) {
        let message = format!("{len} bytes at {offset} are not whole pages");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok((offset / PAGE_BYTES as u64, len / PAGE_BYTES))
}

/// How many of the `len` bytes at `offset` belong to page 0.
fn in_page_0(offset: u64, len: usize) -> usize {
    (PAGE_BYTES as u64).saturating_sub(offset).min(len as u64) as usize
}

impl PageBackend {
    fn pages_len(&self) -> io::Result<u64> {
        Ok(self.file.len()? / BLOCK_BYTES as u64 * PAGE_BYTES as u64)
    }

    fn read_pages(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (header, out) = out.split_at_mut(in_page_0(offset, out.len()));
        read_exact_at(&*self.file, header, offset)?;
        if out.is_empty() {
            return Ok(());
        }
        let (first, count) = pages_of(offset + header.len() as u64, out.len())?;
        let mut room = Room::new();
        let blocks = room.blocks(count);
        self.read_blocks(first, blocks)?;
        for (page, block) in out.chunks_exact_mut(PAGE_BYTES).zip(blocks.chunks_exact(BLOCK_BYTES)) {
            page.copy_from_slice(&block[..PAGE_BYTES]);
        }
        Ok(())
    }

    fn set_pages_len(&self, len: u64) -> io::Result<()> {
        if !len.is_multiple_of(PAGE_BYTES as u64) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{len} bytes are not whole pages")));
        }
        self.file.set_len(len / PAGE_BYTES as u64 * BLOCK_BYTES as u64)
    }

    fn write_pages(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (header, data) = data.split_at(in_page_0(offset, data.len()));
        write_all_at(&*self.file, header, offset)?;
        if data.is_empty() {
            return Ok(());
        }
        let (first, count) = pages_of(offset + header.len() as u64, data.len())?;
        let mut room = Room::new();
        let blocks = room.blocks(count);
        for (page, (bytes, block)) in
            (first..).zip(data.chunks_exact(PAGE_BYTES).zip(blocks.chunks_exact_mut(BLOCK_BYTES)))
        {
            fill(page, bytes, block);
        }
        write_all_at(&*self.file, blocks, first * BLOCK_BYTES as u64)
    }
}

impl redb::StorageBackend for PageBackend {
    fn len(&self) -> io::Result<u64> {
        self.damage.note(self.pages_len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.damage.note(self.read_pages(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.damage.check_fence()?;
        self.damage.note(self.set_pages_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.damage.check_fence()?;
        self.damage.note(self.file.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.damage.check_fence()?;
        self.damage.note(self.write_pages(offset, data))
    }
}

/// The damage inside an io error of this backend, if it is one.
pub fn damage_in(error: &io::Error) -> Option<&Corruption> {
    error.get_ref()?.downcast_ref()
}

/// Converts redb's error: damage found by this backend or by redb is `Corrupt`, a full disk `StorageFull`, another
/// failure of a file `Io`. `path` is the index's file; `met` says what failed before, if that is known.
pub fn engine_error(op: &'static str, path: &str, met: Option<&Damage>, error: impl Into<redb::Error>) -> Error {
    match error.into() {
        redb::Error::Io(source) => match damage_in(&source) {
            Some(corruption) => corruption.clone().into(),
            None if source.get_ref().is_some_and(|inner| inner.is::<Changed>()) => Error::IndexChanged,
            None => Error::io(op, path, source),
        },
        redb::Error::Corrupted(found) => Error::corrupt(path, 0, "index", "a consistent tree", found),
        error @ (redb::Error::UpgradeRequired(_) | redb::Error::RepairAborted) => {
            Error::corrupt(path, 0, "index", "a database that opens", error)
        }
        redb::Error::PreviousIo if met.is_some_and(Damage::is_changed) => Error::IndexChanged,
        redb::Error::PreviousIo if met.is_some_and(Damage::is_full) => Error::StorageFull { path: path.into() },
        redb::Error::PreviousIo => {
            let why = "an earlier access failed; the index is opened again when the disk allows it";
            Error::io(op, path, io::Error::other(why))
        }
        error => Error::Internal(format!("{op} of {path}: {error}")),
    }
}

#[cfg(test)]
mod tests;
