//! The directory of a file: blocks of entries, written and read.
//!
//! ```text
//! directory block = crc u32 | body len u32 | entries u32 | body (about 32 KiB)      crc as in chunk, from `body len` on
//! body    of version 2: items (see [`super::items`]), the first of which names its run
//!         of version 1, for each entry:   0 | entry                         of the series before it in the block
//!                                         1 | key varint | entry            of the same run and another key
//!                                         2 | run 16 | key varint | entry
//! ```

use super::chunk::seal_crc;
use super::entry::ChunkEntry;
use super::items::Items;
use crate::id::{KeyId, RunId, SeriesId};
use crate::varint::Bytes;

/// Crc, body length and count before a directory block's body.
pub(crate) const DIRECTORY_HEAD_BYTES: usize = 12;
/// A block whose body reaches this is closed.
const DIRECTORY_BODY_BYTES: usize = 32 << 10;
/// Entries of a block as written, so that a reader rarely holds many: the smallest take one byte on disk and 200 in memory.
/// A reader accepts as many as the greatest body has bytes.
const BLOCK_ENTRIES_MAX: u32 = 2048;
/// The greatest body that a reader accepts: a block is closed by the entry that reaches the limit.
pub(crate) const DIRECTORY_BODY_BYTES_MAX: usize = DIRECTORY_BODY_BYTES + 4096;

const SAME_SERIES: u8 = 0;
const SAME_RUN: u8 = 1;
const NEW_RUN: u8 = 2;

#[derive(Debug, Default)]
pub(super) struct DirectoryWriter {
    pub(super) bytes: Vec<u8>,
    /// Offset of the open block in `bytes`.
    block: usize,
    block_entries: u32,
    pub(super) last: Option<SeriesId>,
    items: Items,
    pub(super) chunks: u64,
    pub(super) series: u64,
    pub(super) blocks: u32,
    pub(super) rollup_lens: Vec<u32>,
}

impl DirectoryWriter {
    pub(super) fn push(&mut self, series: SeriesId, entry: &ChunkEntry) {
        if self.block_entries == 0 {
            self.block = self.bytes.len();
            self.bytes.extend_from_slice(&[0; DIRECTORY_HEAD_BYTES]);
        }
        self.items.put(series, entry, &mut self.bytes);
        if self.last != Some(series) {
            self.series += 1;
        }
        self.last = Some(series);
        self.block_entries += 1;
        self.chunks += 1;
        if entry.rollup_len > 0 {
            self.rollup_lens.push(entry.rollup_len);
        }
        if self.bytes.len() - self.block - DIRECTORY_HEAD_BYTES >= DIRECTORY_BODY_BYTES
            || self.block_entries >= BLOCK_ENTRIES_MAX
        {
            self.close_block();
        }
    }

    fn close_block(&mut self) {
        let len = (self.bytes.len() - self.block - DIRECTORY_HEAD_BYTES) as u32;
        if let Some(head) = self.bytes.get_mut(self.block + 4..self.block + DIRECTORY_HEAD_BYTES) {
            head.copy_from_slice(&(u64::from(len) | u64::from(self.block_entries) << 32).to_le_bytes());
        }
        self.block_entries = 0;
        self.items = Items::default();
        self.blocks += 1;
    }

    /// Closes the directory, which will be written at `offset`.
    pub(super) fn finish(&mut self, offset: u64, file_id: u64) -> Self {
        if self.block_entries > 0 {
            self.close_block();
        }
        let mut directory = std::mem::take(self);
        let mut at = 0;
        for _ in 0..directory.blocks {
            let len = directory.bytes.get(at + 4..at + 8).and_then(|len| len.first_chunk()).copied();
            let end = at + DIRECTORY_HEAD_BYTES + len.map_or(0, u32::from_le_bytes) as usize;
            if let Some(block) = directory.bytes.get_mut(at..end) {
                seal_crc(file_id, offset + at as u64, block, 0);
            }
            at = end;
        }
        directory
    }
}

/// The entries of one directory block, whose crc was checked.
#[derive(Debug, Default)]
pub(crate) struct DirectoryBlock<'a> {
    rest: Option<Bytes<'a>>,
    left: u32,
    form: EntryForm,
}

/// How the entries of a block are encoded, and what is known of the entry before.
#[derive(Debug)]
enum EntryForm {
    /// Version 1: the series of the previous entry; `None` at the first.
    Plain { last: Option<SeriesId> },
    /// From version 2 on.
    Items(Items),
}

impl Default for EntryForm {
    fn default() -> Self {
        Self::Items(Items::default())
    }
}

impl<'a> DirectoryBlock<'a> {
    /// A block of a file of this format version.
    pub(crate) fn new(body: &'a [u8], entries: u32, version: u32) -> Self {
        let form = if version < 2 { EntryForm::Plain { last: None } } else { EntryForm::default() };
        Self { rest: Some(Bytes::new(body)), left: entries, form }
    }

    /// Whether all entries were read and no byte is left.
    pub(crate) fn is_done(&self) -> bool {
        self.left == 0 && self.rest.is_none_or(|rest| rest.is_empty())
    }
}

fn take_v1(bytes: &mut Bytes<'_>, last: Option<SeriesId>) -> Option<(SeriesId, ChunkEntry)> {
    let series = match bytes.u8()? {
        SAME_SERIES => last?,
        tag @ (SAME_RUN | NEW_RUN) => {
            let run = if tag == SAME_RUN { last?.run } else { RunId(bytes.array()?) };
            SeriesId { run, key: KeyId(u32::try_from(bytes.varint()?).ok()?) }
        }
        _ => return None,
    };
    Some((series, ChunkEntry::take_v1(bytes)?))
}

impl Iterator for DirectoryBlock<'_> {
    type Item = (SeriesId, ChunkEntry);

    /// The next entry; `None` at the end, or if the bytes cannot be one.
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let bytes = self.rest.as_mut()?;
        let item = match &mut self.form {
            EntryForm::Plain { last } => {
                let item = take_v1(bytes, *last)?;
                *last = Some(item.0);
                item
            }
            EntryForm::Items(items) => items.take(bytes)?,
        };
        self.left -= 1;
        Some(item)
    }
}
