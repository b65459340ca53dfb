//! Reads a series file: every structure by pread, its crc checked, then parsed. Only the last group of short chunks is
//! kept, because a reader of one of its chunks mostly reads the others next.
//!
//! Nothing is mapped: a media error is an error, and a truncated file is noticed. A file is immutable, so a reader may
//! be shared by threads and kept while another process replaces the name.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::chunk::{BlockRef, ColumnSet, Parts, checked};
use super::codec::Scratch;
use super::directory::{DIRECTORY_BODY_BYTES_MAX, DIRECTORY_HEAD_BYTES, DirectoryBlock};
use super::entry::ChunkEntry;
use super::file::{FOOTER_BYTES, FOOTER_MAGIC, HEADER_BYTES, HEADER_MAGIC, SERIES_FORMAT_VERSION};
use super::group;
use super::rollup::{self, RollupBlock};
use crate::checksum::Crc32;
use crate::error::{Error, Result};
use crate::id::{Lsn, SeriesId, StoreId};
use crate::point::{Columns, Stats};
use crate::storage::{OpenMode, Storage, StorageFile, read_exact_at};
use crate::summary::{ROLLUP_POINTS, Rollup, Summary};
use crate::varint::Bytes;

thread_local! {
    /// Buffers of the readers of this thread: a chunk needs some 100 KB of them.
    static SCRATCH: RefCell<Buffers> = RefCell::default();
}

#[derive(Debug, Default)]
struct Buffers {
    scratch: Scratch,
    block: Vec<u8>,
    group: HeldGroup,
}

/// The group read last, with its crc checked: a reader of one of its chunks mostly reads the others next.
#[derive(Debug, Default)]
struct HeldGroup {
    /// The open file, the group's offset and its length.
    of: Option<(u64, u64, u32)>,
    bytes: Vec<u8>,
}

/// Source of numbers for opened files.
static OPENED: AtomicU64 = AtomicU64::new(0);

/// An open series file.
#[derive(Debug)]
pub struct SeriesFile {
    file: Arc<dyn StorageFile>,
    path: String,
    footer: Footer,
    /// Its number among the files that this process has opened.
    opened: u64,
    /// Whether a read found damage.
    is_damaged: AtomicBool,
    /// Raised when a read finds damage.
    alarm: OnceLock<Arc<AtomicBool>>,
}

/// The content of the footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// Version of the file's format.
    pub version: u32,
    /// The file's number in the store.
    pub file_id: u64,
    /// Offset of the rollups, where the chunks end.
    pub rollups_offset: u64,
    /// Offset of the directory.
    pub directory_offset: u64,
    /// Length of the directory in bytes.
    pub directory_len: u64,
    /// Number of chunks.
    pub chunks: u64,
    /// Number of points.
    pub points: u64,
    /// Positions whose points are in this file: from (exclusive), to (inclusive).
    pub covered: (Lsn, Lsn),
    /// Number of different series.
    pub series: u64,
    /// Number of blocks of the directory.
    pub directory_blocks: u32,
    /// Crc of the footer, which identifies this very file.
    pub crc: Crc32,
}

/// Makes this thread read its last group again, which may be damaged on the disk by now.
pub(crate) fn forget_group() {
    SCRATCH.with_borrow_mut(|buffers| buffers.group.of = None);
}

impl SeriesFile {
    /// Opens a file and checks its header and footer.
    ///
    /// # Errors
    /// `Io` if it cannot be read, `MissingFile` if it is gone, `Corrupt` if it is not a whole series file of this
    /// store, `UnsupportedFormat` if it is of a newer version.
    pub fn open(storage: &dyn Storage, path: &str, store_id: StoreId) -> Result<Arc<Self>> {
        let file = storage.open(path, OpenMode::Read).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::MissingFile { path: path.into(), why: "no such file".into() },
            _ => Error::io("open", path, error),
        })?;
        let len = file.len().map_err(|e| Error::io("stat", path, e))?;
        if len < (HEADER_BYTES + FOOTER_BYTES) as u64 {
            let expected = format!("at least {} bytes", HEADER_BYTES + FOOTER_BYTES);
            return Err(Error::corrupt(path, len, "series file", expected, format!("{len} bytes")));
        }
        let mut header = [0; HEADER_BYTES];
        read_exact_at(&*file, &mut header, 0).map_err(|e| Error::io("read", path, e))?;
        let header_id = check_header(&header, path, store_id)?;
        let footer_offset = len - FOOTER_BYTES as u64;
        let mut bytes = [0; FOOTER_BYTES];
        read_exact_at(&*file, &mut bytes, footer_offset).map_err(|e| Error::io("read", path, e))?;
        let footer = check_footer(&bytes, path, store_id, footer_offset)?;
        if footer.file_id != header_id {
            return Err(Error::corrupt(path, footer_offset, "series footer", header_id, footer.file_id));
        }
        let path = path.to_owned();
        let opened = OPENED.fetch_add(1, Ordering::Relaxed);
        let is_damaged = AtomicBool::new(false);
        Ok(Arc::new(Self { file, path, footer, opened, is_damaged, alarm: OnceLock::new() }))
    }

    /// Sets the flag to raise when a read finds damage.
    pub(crate) fn raise_at_damage(&self, alarm: &Arc<AtomicBool>) {
        // Set once, by the opener, before anybody else has the file.
        let _ = self.alarm.set(alarm.clone());
    }

    /// Whether a read found damage.
    pub(crate) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Acquire)
    }

    /// The content of the footer, read at the open.
    pub fn footer(&self) -> &Footer {
        &self.footer
    }

    /// The file's number in the store.
    pub fn file_id(&self) -> u64 {
        self.footer.file_id
    }

    /// The path it was opened by.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Appends the wanted columns of a chunk's points to `out`, in latest order. Contexts are padded with "none" for
    /// the points before, so ask for them together with another column.
    ///
    /// # Errors
    /// `Io`; `Corrupt` if the bytes are not those that were written. `out` must not be used then.
    pub fn read_chunk(&self, entry: &ChunkEntry, want: ColumnSet, out: &mut Columns) -> Result<()> {
        let before = out.steps.len().max(out.times.len()).max(out.values.len()).max(out.lsns.len());
        if entry.is_inline() {
            push_inline(entry, want, before, out);
            return Ok(());
        }
        SCRATCH.with_borrow_mut(|Buffers { scratch, block, group }| {
            let mut chunk = std::mem::take(&mut scratch.bytes);
            let malformed = || self.corrupt(entry.offset, "chunk", "columns of a known codec and length", "others");
            let read = match entry.slot {
                Some(slot) => self.group(entry, group).map(|bytes| group::parts(bytes, slot)),
                None => {
                    let limit = self.footer.rollups_offset;
                    self.structure("chunk", entry.offset, entry.len, limit, &mut chunk).map(Parts::of)
                }
            };
            let parts = read.and_then(|parts| parts.ok_or_else(malformed));
            let result = parts.and_then(|parts| self.read_into(entry, &parts, want, before, scratch, block, out));
            scratch.bytes = chunk;
            result
        })
    }

    /// The bytes of an entry's group after its crc, which is checked.
    fn group<'b>(&self, entry: &ChunkEntry, held: &'b mut HeldGroup) -> Result<&'b [u8]> {
        let of = Some((self.opened, entry.offset, entry.len));
        if held.of != of {
            held.of = None;
            self.structure("group", entry.offset, entry.len, self.footer.rollups_offset, &mut held.bytes)?;
            held.of = of;
        }
        Ok(held.bytes.get(4..).unwrap_or_default())
    }

    #[expect(clippy::too_many_arguments, reason = "the buffers of one read, used here only")]
    fn read_into(
        &self,
        entry: &ChunkEntry,
        parts: &Parts<'_>,
        want: ColumnSet,
        before: usize,
        scratch: &mut Scratch,
        block_buffer: &mut Vec<u8>,
        out: &mut Columns,
    ) -> Result<()> {
        let malformed = || self.corrupt(entry.offset, "chunk", "columns of a known codec and length", "others");
        if parts.count as u64 != entry.count() {
            return Err(self.corrupt(entry.offset, "chunk", entry.count(), parts.count));
        }
        if want.has(ColumnSet::CONTEXTS) && parts.has_contexts() && out.contexts.len() < before {
            out.contexts.resize(before, 0);
        }
        let block = |at: BlockRef, buffer: &mut Vec<u8>| {
            let len = self.structure("column", at.offset, at.len, self.footer.rollups_offset, buffer)?.len();
            // Move the body to the front, over the crc.
            buffer.copy_within(4.., 0);
            buffer.truncate(len);
            Ok::<_, Error>(())
        };
        parts.read(want, scratch, block_buffer, out, block)?.ok_or_else(malformed)
    }

    /// The summary of a chunk: from its entry, or from its values if it is short.
    pub fn summary(&self, entry: &ChunkEntry) -> Result<Summary> {
        if let Some(summary) = entry.summary {
            return Ok(summary);
        }
        let mut points = Columns::default();
        self.read_chunk(entry, ColumnSet::VALUES, &mut points)?;
        Ok(Summary::of(&points.values))
    }

    /// Statistics of a chunk's points, see [`ChunkEntry::stats`].
    pub fn stats(&self, entry: &ChunkEntry) -> Result<Stats> {
        Ok(entry.stats(&self.summary(entry)?))
    }

    /// Rollups of 256 points of a chunk; one of all its points if it has no more than that.
    pub fn rollups(&self, entry: &ChunkEntry) -> Result<RollupBlock> {
        if entry.rollup_len == 0 {
            let count = u16::try_from(entry.count()).ok().filter(|count| usize::from(*count) <= ROLLUP_POINTS);
            let Some(count) = count else {
                return Err(self.corrupt(entry.offset, "directory entry", "rollups", "none"));
            };
            let s = self.summary(entry)?;
            let rollup = Rollup {
                step_first: entry.step_first,
                step_last: entry.step_last,
                min: s.min,
                max: s.max,
                sum: s.sum,
                first: s.first,
                last: s.last,
                count,
                nan: s.nan as u16,
                pos_inf: s.pos_inf as u16,
                neg_inf: s.neg_inf as u16,
            };
            return RollupBlock::single(&rollup)
                .ok_or_else(|| self.corrupt(entry.offset, "directory entry", "a summary", "another form"));
        }
        let mut all = self.rollups_of(std::slice::from_ref(&entry))?;
        all.pop().ok_or_else(|| self.corrupt(entry.offset, "rollups", "one per 256 points", "none"))
    }

    /// Rollups of chunks whose blocks are neighbours, with one read.
    pub(crate) fn rollups_of(&self, entries: &[&ChunkEntry]) -> Result<Vec<RollupBlock>> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(Vec::new()) };
        let place = |entry: &ChunkEntry| self.footer.rollups_offset.saturating_add(entry.rollup_offset);
        let (start, end) = (place(first), place(last).saturating_add(u64::from(last.rollup_len)));
        if end > self.footer.directory_offset || end < start {
            return Err(self.corrupt(start, "rollups", "to end before the directory", format!("an end at {end}")));
        }
        SCRATCH.with_borrow_mut(|Buffers { block: buffer, .. }| {
            buffer.resize((end - start) as usize, 0);
            read_exact_at(&*self.file, buffer, start).map_err(|e| Error::io("read", &self.path, e))?;
            let mut rest = buffer.as_slice();
            let mut at = start;
            let mut all = Vec::with_capacity(entries.len());
            for entry in entries {
                let wrong = || self.corrupt(at, "rollups", "one per 256 points", "another form");
                if place(entry) != at {
                    return Err(wrong());
                }
                let (block, behind) = rest.split_at_checked(entry.rollup_len as usize).ok_or_else(wrong)?;
                let block = checked(self.footer.file_id, at, block)
                    .map_err(|(expected, found)| self.corrupt(at, "rollups", Crc32(expected), Crc32(found)))?;
                let points = usize::try_from(entry.count()).ok();
                all.push(points.and_then(|points| RollupBlock::of(block, points)).ok_or_else(wrong)?);
                at += u64::from(entry.rollup_len);
                rest = behind;
            }
            Ok(all)
        })
    }

    /// The directory, by series, read block by block. Ends after an error.
    pub fn directory(&self) -> Directory<'_> {
        Directory {
            file: self,
            at: self.footer.directory_offset,
            blocks: 0,
            entries: Vec::new().into_iter(),
            failed: false,
        }
    }

    /// Reads everything from the disk and checks that directory, chunks and rollups agree.
    pub fn verify(&self) -> Result<()> {
        forget_group();
        let (mut chunks, mut points, mut series) = (0u64, 0u64, 0u64);
        let mut last = None;
        let mut columns = Columns::default();
        for item in self.directory() {
            let (id, entry) = item?;
            let disagrees = |what: &str| self.corrupt(entry.offset, "directory entry", what, "other points");
            if last.is_some_and(|last| last > id) {
                return Err(self.corrupt(
                    self.footer.directory_offset,
                    "directory",
                    "series in order",
                    "another order",
                ));
            }
            series += u64::from(last != Some(id));
            last = Some(id);
            columns.clear();
            self.read_chunk(&entry, ColumnSet::ALL, &mut columns)?;
            let ends = |steps: &[i64]| steps.first().copied().zip(steps.last().copied());
            if ends(&columns.steps) != Some((entry.step_first, entry.step_last)) || !columns.steps.is_sorted() {
                return Err(disagrees("its first and last step"));
            }
            if columns.lsns.iter().min() != Some(&entry.lsn_min) || columns.lsns.iter().max() != Some(&entry.lsn_max) {
                return Err(disagrees("its positions"));
            }
            if ends(&columns.times) != Some((entry.time_first_ms, entry.time_last_ms))
                || columns.times.iter().min() != Some(&entry.time_min_ms)
                || columns.times.iter().max() != Some(&entry.time_max_ms)
                || columns.times.is_sorted() != entry.is_time_sorted()
            {
                return Err(disagrees("its times"));
            }
            let rollups = rollup::roll_up(&columns.steps, &columns.values);
            let same = |a: &Summary, b: &Summary| {
                let floats = |s: &Summary| [s.min, s.max, s.sum, s.first, s.last].map(f64::to_bits);
                floats(a) == floats(b)
                    && (a.count, a.nan, a.pos_inf, a.neg_inf) == (b.count, b.nan, b.pos_inf, b.neg_inf)
            };
            // A chunk without a summary has no rollups either: both are made from its values.
            let Some(summary) = entry.summary else {
                chunks += 1;
                points += entry.count();
                continue;
            };
            let stored = self.rollups(&entry)?;
            let agree = stored.len() == rollups.len()
                && stored.iter().zip(&rollups).all(|(a, b)| {
                    (a.step_first, a.step_last) == (b.step_first, b.step_last) && same(&a.summary(), &b.summary())
                });
            if !agree || !same(&rollup::sum_up(&rollups), &summary) {
                return Err(disagrees("its rollups"));
            }
            chunks += 1;
            points += entry.count();
        }
        if (chunks, points, series) != (self.footer.chunks, self.footer.points, self.footer.series) {
            let said = format!("{} chunks, {} points", self.footer.chunks, self.footer.points);
            let found = format!("{chunks} chunks, {points} points");
            return Err(self.corrupt(self.footer.directory_offset, "directory", said, found));
        }
        Ok(())
    }

    /// Reads a structure that begins with its crc and ends at most at `limit`. Returns its bytes after the crc.
    fn structure<'b>(
        &self,
        what: &'static str,
        offset: u64,
        len: u32,
        limit: u64,
        buffer: &'b mut Vec<u8>,
    ) -> Result<&'b [u8]> {
        let within =
            offset >= HEADER_BYTES as u64 && offset.checked_add(u64::from(len)).is_some_and(|end| end <= limit);
        if !within {
            let found = format!("{len} bytes at {offset}");
            return Err(self.corrupt(offset, what, format!("to end before {limit}"), found));
        }
        buffer.resize(len as usize, 0);
        read_exact_at(&*self.file, buffer, offset).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                self.corrupt(offset, what, format!("{len} bytes"), "the end of the file")
            }
            _ => Error::io("read", &self.path, error),
        })?;
        checked(self.footer.file_id, offset, buffer)
            .map_err(|(expected, found)| self.corrupt(offset, what, Crc32(expected), Crc32(found)))
    }

    fn corrupt(&self, offset: u64, what: &'static str, expected: impl ToString, found: impl ToString) -> Error {
        self.is_damaged.store(true, Ordering::Release);
        if let Some(alarm) = self.alarm.get() {
            alarm.store(true, Ordering::Release);
        }
        Error::corrupt(&self.path, offset, what, expected, found)
    }
}

fn push_inline(entry: &ChunkEntry, want: ColumnSet, before: usize, out: &mut Columns) {
    if want.has(ColumnSet::STEPS) {
        out.steps.push(entry.step_first);
    }
    if want.has(ColumnSet::TIMES) {
        out.times.push(entry.time_first_ms);
    }
    if want.has(ColumnSet::VALUES) {
        out.values.push(entry.inline_value());
    }
    if want.has(ColumnSet::LSNS) {
        out.lsns.push(entry.lsn_min);
    }
    if want.has(ColumnSet::CONTEXTS) && (entry.context != 0 || !out.contexts.is_empty()) {
        out.contexts.resize(before, 0);
        out.contexts.push(entry.context);
    }
}

fn check_header(header: &[u8; HEADER_BYTES], path: &str, store_id: StoreId) -> Result<u64> {
    let damaged = |expected: &str| Error::corrupt(path, 0, "series header", expected, "something else");
    let (body, crc) = header.split_last_chunk::<4>().ok_or_else(|| damaged("48 bytes"))?;
    let mut bytes = Bytes::new(body);
    if bytes.array() != Some(HEADER_MAGIC) {
        return Err(damaged("the magic RLSERIES"));
    }
    let version = bytes.u32().unwrap_or(0);
    if Crc32::of(body).0 != u32::from_le_bytes(*crc) {
        return Err(Error::corrupt(path, 0, "series header", Crc32(u32::from_le_bytes(*crc)), Crc32::of(body)));
    }
    check_version(version, path)?;
    let _reserved = bytes.u32();
    let found = bytes.array().map(StoreId).unwrap_or_default();
    if found != store_id {
        return Err(Error::corrupt(path, 0, "series header", format!("store {store_id}"), format!("store {found}")));
    }
    bytes.u64().ok_or_else(|| damaged("a file id"))
}

fn check_version(version: u32, path: &str) -> Result<()> {
    if (1..=SERIES_FORMAT_VERSION).contains(&version) {
        return Ok(());
    }
    Err(Error::UnsupportedFormat { path: path.into(), found: version, supported: SERIES_FORMAT_VERSION })
}

fn check_footer(footer: &[u8; FOOTER_BYTES], path: &str, store_id: StoreId, offset: u64) -> Result<Footer> {
    let damaged = |expected: &str| Error::corrupt(path, offset, "series footer", expected, "something else");
    let (body, crc) = footer.split_last_chunk::<4>().ok_or_else(|| damaged("a crc"))?;
    let crc = Crc32(u32::from_le_bytes(*crc));
    let mut bytes = Bytes::new(body);
    if bytes.array() != Some(FOOTER_MAGIC) {
        return Err(damaged("the magic RLSERFTR: the file is cut"));
    }
    if Crc32::of(body) != crc {
        return Err(Error::corrupt(path, offset, "series footer", crc, Crc32::of(body)));
    }
    let version = bytes.u32().unwrap_or(0);
    check_version(version, path)?;
    let mut parse = || {
        let _reserved = bytes.u32()?;
        let store = StoreId(bytes.array()?);
        let mut numbers = [0u64; 10];
        for number in &mut numbers {
            *number = bytes.u64()?;
        }
        let directory_blocks = bytes.u32()?;
        let [file_id, rollups_offset, directory_offset, directory_len, chunks, points, from, to, own_offset, series] =
            numbers;
        let ordered = HEADER_BYTES as u64 <= rollups_offset
            && rollups_offset <= directory_offset
            && directory_offset.checked_add(directory_len) == Some(own_offset)
            && own_offset == offset
            && bytes.is_empty();
        let covered = (Lsn(from), Lsn(to));
        let footer = Footer {
            version,
            file_id,
            rollups_offset,
            directory_offset,
            directory_len,
            chunks,
            points,
            covered,
            series,
            directory_blocks,
            crc,
        };
        (ordered && store == store_id).then_some(footer)
    };
    parse().ok_or_else(|| damaged("offsets in order, of this store"))
}

/// Iterates over a file's directory, reading a block at a time.
#[derive(Debug)]
pub struct Directory<'a> {
    file: &'a SeriesFile,
    at: u64,
    blocks: u32,
    entries: std::vec::IntoIter<(SeriesId, ChunkEntry)>,
    failed: bool,
}

impl Directory<'_> {
    fn next_block(&mut self) -> Result<bool> {
        let footer = &self.file.footer;
        let end = footer.directory_offset + footer.directory_len;
        let corrupt = |expected: &str| self.file.corrupt(self.at, "directory block", expected, "something else");
        if self.at == end {
            return if self.blocks == footer.directory_blocks { Ok(false) } else { Err(corrupt("another block")) };
        }
        let head_bytes = DIRECTORY_HEAD_BYTES as u32;
        let mut head = [0; DIRECTORY_HEAD_BYTES];
        if end - self.at < u64::from(head_bytes) {
            return Err(corrupt("a whole head"));
        }
        read_exact_at(&*self.file.file, &mut head, self.at).map_err(|e| Error::io("read", &self.file.path, e))?;
        let mut bytes = Bytes::new(&head);
        let (_crc, len, count) = (bytes.u32(), bytes.u32().unwrap_or(0), bytes.u32().unwrap_or(0));
        if len as usize > DIRECTORY_BODY_BYTES_MAX || count > len {
            return Err(corrupt("a length within bounds"));
        }
        let mut buffer = Vec::new();
        let block = self.file.structure("directory block", self.at, head_bytes + len, end, &mut buffer)?;
        let mut entries =
            DirectoryBlock::new(block.get(DIRECTORY_HEAD_BYTES - 4..).unwrap_or_default(), count, footer.version);
        let list: Vec<_> = entries.by_ref().collect();
        if !entries.is_done() {
            return Err(corrupt("well-formed entries"));
        }
        self.entries = list.into_iter();
        self.at += u64::from(head_bytes + len);
        self.blocks += 1;
        Ok(true)
    }
}

impl Iterator for Directory<'_> {
    type Item = Result<(SeriesId, ChunkEntry)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.entries.next() {
                return Some(Ok(entry));
            }
            if self.failed {
                return None;
            }
            match self.next_block() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
    }
}
