//! A series file: immutable, written once, footer last.
//!
//! ```text
//! +--------+------------------------------------+---------+------------------+--------+
//! | header | chunks, groups and column blocks   | rollups | directory blocks | footer |
//! +--------+------------------------------------+---------+------------------+--------+
//! header (48)    magic 8 "RLSERIES" | version u32 | 0 u32 | store id 16 | file id u64 | 0 u32 | crc u32
//! footer (120)   magic 8 "RLSERFTR" | version u32 | 0 u32 | store id 16 | file id u64
//!                | rollups offset u64 | directory offset u64 | directory len u64 | chunks u64 | points u64
//!                | covered from u64 (exclusive) | covered to u64 (inclusive) | footer offset u64
//!                | series u64 | directory blocks u32 | crc u32
//! ```
//! Little endian; nothing is padded, and every byte lies under a crc. Entries are sorted by series; within a series
//! they are in the order that they were pushed in. The file is written as `NAME.tmp`, synced, then renamed: a name
//! without `.tmp` is a whole file.
//!
//! Version 2 has groups, entries without a summary, items in the directory and the codec FIXED; version 1 is read.

use std::sync::Arc;

use super::chunk::{Encoder, Slices, seal_crc};
use super::directory::{DirectoryBlock, DirectoryWriter};
use super::entry::{CHUNK_POINTS_MAX, ChunkEntry, SHORT_POINTS, TIME_SORTED, UNIQUE};
use super::group::Pending;
use super::order::{flags_of, in_latest_order, late_cuts, sort_latest, split_late, stride_of, tie_in_a_batch};
use super::rollup;
use super::value::ValueHint;
use crate::checksum::Crc32;
use crate::error::{Error, Result};
use crate::id::{Lsn, SeriesId, StoreId};
use crate::point::Columns;
use crate::storage::{OpenMode, Storage, StorageFile, write_all_at};
use crate::varint::Bytes;

pub(crate) const HEADER_MAGIC: [u8; 8] = *b"RLSERIES";
pub(crate) const FOOTER_MAGIC: [u8; 8] = *b"RLSERFTR";
/// Version of the format that is written, and the newest that is read.
pub const SERIES_FORMAT_VERSION: u32 = 2;
pub(crate) const HEADER_BYTES: usize = 8 + 4 + 4 + 16 + 8 + 4 + 4;
pub(crate) const FOOTER_BYTES: usize = 8 + 4 + 4 + 16 + 10 * 8 + 4 + 4;
/// Points of a chunk. At 4,096 noisy f32 takes the same bytes and decodes 6 % slower; at 16,384 it decodes 4 % faster,
/// but twice as much is decoded at the edges of a range. The last chunk of a push takes up to half as many more, to
/// avoid a small one.
pub const CHUNK_POINTS: usize = 8192;
const WRITE_BYTES: usize = 1 << 20;

/// The file that [`SeriesFileWriter::finish`] wrote.
#[derive(Debug, Clone)]
pub struct SeriesFileInfo {
    /// Path of the file.
    pub path: String,
    /// Number of the file, as given.
    pub file_id: u64,
    /// Length in bytes.
    pub len_bytes: u64,
    /// Crc of the footer, by which MANIFEST identifies this very file.
    pub footer_crc: Crc32,
    /// Number of points.
    pub points: u64,
    /// Positions whose points are in this file: from (exclusive), to (inclusive).
    pub covered: (Lsn, Lsn),
    directory: Arc<Vec<u8>>,
}

impl SeriesFileInfo {
    /// The directory, by series. Kept encoded (about 40 B a chunk), so that a million entries are not 200 MB.
    pub fn entries(&self) -> impl Iterator<Item = (SeriesId, ChunkEntry)> + '_ {
        let mut rest = Bytes::new(&self.directory);
        let mut block = DirectoryBlock::default();
        std::iter::from_fn(move || {
            loop {
                if let Some(entry) = block.next() {
                    return Some(entry);
                }
                let _crc = rest.u32()?;
                let len = rest.u32()? as usize;
                let count = rest.u32()?;
                block = DirectoryBlock::new(rest.take(len)?, count, SERIES_FORMAT_VERSION);
            }
        })
    }
}

/// Writes one series file. If it is dropped without [`Self::finish`], it leaves a `.tmp` file that is ignored.
#[derive(Debug)]
pub struct SeriesFileWriter<'a> {
    storage: &'a dyn Storage,
    file: Arc<dyn StorageFile>,
    path: String,
    tmp_path: String,
    store_id: StoreId,
    file_id: u64,
    covered: (Lsn, Lsn),
    encoder: Encoder,
    /// Bytes of the file from `written` on.
    buffer: Vec<u8>,
    written: u64,
    rollups: Vec<u8>,
    directory: DirectoryWriter,
    /// Short chunks that are not yet in `buffer` and `directory`.
    pending: Pending,
    last: Option<SeriesId>,
    points: u64,
}

impl<'a> SeriesFileWriter<'a> {
    /// Begins `path` (as `path.tmp`; one left by a crash is removed). `file_id` is a number that no other series file
    /// of this store has or had; `covered` are the positions whose points the file will hold, (from, to].
    pub fn create(
        storage: &'a dyn Storage,
        path: &str,
        store_id: StoreId,
        file_id: u64,
        covered: (Lsn, Lsn),
    ) -> Result<Self> {
        let tmp_path = format!("{path}.tmp");
        let file = match storage.open(&tmp_path, OpenMode::CreateNew) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                storage.remove(&tmp_path).map_err(|e| Error::io("remove", &tmp_path, e))?;
                storage.open(&tmp_path, OpenMode::CreateNew)
            }
            opened => opened,
        }
        .map_err(|e| Error::io("create", &tmp_path, e))?;
        let mut buffer = Vec::with_capacity(WRITE_BYTES + (WRITE_BYTES >> 2));
        buffer.extend_from_slice(&HEADER_MAGIC);
        buffer.extend_from_slice(&SERIES_FORMAT_VERSION.to_le_bytes());
        buffer.extend_from_slice(&[0; 4]);
        buffer.extend_from_slice(&store_id.0);
        buffer.extend_from_slice(&file_id.to_le_bytes());
        buffer.extend_from_slice(&[0; 4]);
        let crc = Crc32::of(&buffer);
        buffer.extend_from_slice(&crc.0.to_le_bytes());
        Ok(Self {
            storage,
            file,
            path: path.to_owned(),
            tmp_path,
            store_id,
            file_id,
            covered,
            encoder: Encoder::default(),
            buffer,
            written: 0,
            rollups: Vec::new(),
            directory: DirectoryWriter::default(),
            pending: Pending::default(),
            last: None,
            points: 0,
        })
    }

    /// Bytes written or buffered so far.
    pub fn len_bytes(&self) -> u64 {
        self.written + (self.buffer.len() + self.rollups.len() + self.directory.bytes.len() + FOOTER_BYTES) as u64
    }

    /// Adds points of one series, in any order, and cuts them into chunks. Series must come in ascending order; one may
    /// come several times in a row. The caller keeps `hint` from file to file; a fresh one costs time only.
    ///
    /// # Errors
    /// `Io` or `StorageFull`: the file cannot be used then. `Internal` if series or columns do not fit.
    pub fn push(&mut self, series: SeriesId, columns: &Columns, hint: &mut ValueHint) -> Result<()> {
        let count = columns.len();
        let contexts_fit = columns.contexts.is_empty() || columns.contexts.len() == count;
        if columns.times.len() != count || columns.values.len() != count || columns.lsns.len() != count || !contexts_fit
        {
            return Err(Error::Internal("columns of different lengths were given to a series file".into()));
        }
        if self.last.is_some_and(|last| last > series) {
            return Err(Error::Internal("series were given to a series file out of order".into()));
        }
        self.last = Some(series);
        let last_step = hint.last_step();
        if let Some(greatest) = columns.steps.iter().max() {
            hint.saw_step(*greatest);
        }
        let behind = |step: Option<&i64>| last_step.is_none_or(|last| step.is_none_or(|step| *step >= last));
        if in_latest_order(columns) && behind(columns.steps.first()) {
            return self.push_run(series, columns, 0, count, hint);
        }
        // In a chunk of new points, a late point would make that chunk overlap all between: it gets a chunk of its own.
        let (new, late) = split_late(columns, last_step);
        let late = columns.gather(&late);
        // No order at all, one step for all points, or ties within one batch, which must stay in order: do not split.
        if late.len() > new.len() || tie_in_a_batch(columns, &new, &late) {
            return self.push_run(series, &sort_latest(columns), 0, count, hint);
        }
        let late = sort_latest(&late);
        let mut start = 0;
        for end in late_cuts(&late, columns, &new) {
            self.push_run(series, &late, start, end, hint)?;
            start = end;
        }
        let new = columns.gather(&new);
        self.push_run(series, &new, 0, new.len(), hint)
    }

    /// Cuts points in latest order into chunks.
    fn push_run(
        &mut self,
        series: SeriesId,
        columns: &Columns,
        mut start: usize,
        run_end: usize,
        hint: &mut ValueHint,
    ) -> Result<()> {
        while start < run_end {
            let left = run_end - start;
            let mut end = if left <= CHUNK_POINTS + CHUNK_POINTS / 2 { run_end } else { start + CHUNK_POINTS };
            // Keep points that tie in one chunk, so that they are read together.
            while end < run_end
                && end - start < CHUNK_POINTS_MAX as usize
                && columns.point(end).repeats(&columns.point(end - 1))
            {
                end += 1;
            }
            self.push_chunk(series, columns, start, end, hint)?;
            start = end;
        }
        Ok(())
    }

    fn push_chunk(
        &mut self,
        series: SeriesId,
        columns: &Columns,
        start: usize,
        end: usize,
        hint: &mut ValueHint,
    ) -> Result<()> {
        let points = Slices {
            steps: columns.steps.get(start..end).unwrap_or_default(),
            times: columns.times.get(start..end).unwrap_or_default(),
            values: columns.values.get(start..end).unwrap_or_default(),
            lsns: columns.lsns.get(start..end).unwrap_or_default(),
            contexts: columns.contexts.get(start..end).unwrap_or_default(),
        };
        self.points += points.steps.len() as u64;
        if points.steps.len() > 1 && points.steps.len() <= SHORT_POINTS {
            if !self.pending.takes(series, points) {
                self.put_pending()?;
            }
            self.pending.push(series, points);
            return Ok(());
        }
        self.put_pending()?;
        if let ([step], [time], [value], [lsn]) = (points.steps, points.times, points.values, points.lsns) {
            let context = points.contexts.first().copied().unwrap_or(0);
            let entry = ChunkEntry::single(*step, *time, *lsn, context, *value, UNIQUE | TIME_SORTED);
            self.directory.push(series, &entry);
            return Ok(());
        }
        let entry = self.encode_chunk(points, hint)?;
        self.directory.push(series, &entry);
        self.flush_if_large()
    }

    /// Writes the pending short chunks: several as a group, a single one by itself.
    fn put_pending(&mut self) -> Result<()> {
        let mut pending = std::mem::take(&mut self.pending);
        if pending.chunks().len() > 1 {
            let (offset, len) = pending.encode(self.file_id, &mut self.buffer, self.written)?;
            for (slot, (series, points)) in (0..).zip(pending.chunks()) {
                let entry = ChunkEntry { offset, len, slot: Some(slot), ..entry_of(points)? };
                self.directory.push(series, &entry);
            }
        } else {
            for (series, points) in pending.chunks() {
                let entry = self.encode_chunk(points, &mut ValueHint::default())?;
                self.directory.push(series, &entry);
            }
        }
        pending.clear();
        self.pending = pending;
        self.flush_if_large()
    }

    fn encode_chunk(&mut self, points: Slices<'_>, hint: &mut ValueHint) -> Result<ChunkEntry> {
        let mut entry = entry_of(points)?;
        if points.steps.len() > SHORT_POINTS {
            let rollups = rollup::roll_up(points.steps, points.values);
            if rollups.len() > 1 {
                entry.rollup_offset = self.rollups.len() as u64;
                self.rollups.extend_from_slice(&[0; 4]);
                rollup::encode(&rollups, stride_of(points.steps), &mut self.rollups);
                entry.rollup_len = (self.rollups.len() as u64 - entry.rollup_offset) as u32;
            }
            entry.summary = Some(rollup::sum_up(&rollups));
        }
        (entry.offset, entry.len) = self.encoder.encode(self.file_id, points, hint, &mut self.buffer, self.written)?;
        Ok(entry)
    }

    fn flush_if_large(&mut self) -> Result<()> {
        if self.buffer.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        write_all_at(&*self.file, &self.buffer, self.written).map_err(|e| Error::io("write", &self.tmp_path, e))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes rollups, directory and footer, syncs the file, renames it, and syncs the folder: on return the file is
    /// durable.
    ///
    /// # Errors
    /// `Io` or `StorageFull`. The name may or may not exist then, but never for an incomplete file.
    pub fn finish(mut self) -> Result<SeriesFileInfo> {
        self.put_pending()?;
        let rollups_offset = self.written + self.buffer.len() as u64;
        let mut rollups = std::mem::take(&mut self.rollups);
        let directory = self.directory.finish(rollups_offset + rollups.len() as u64, self.file_id);
        // The place of a rollup was not known before, and its crc covers the place.
        let mut at = 0;
        for len in directory.rollup_lens.iter().map(|len| *len as usize) {
            if let Some(block) = rollups.get_mut(at..at + len) {
                seal_crc(self.file_id, rollups_offset + at as u64, block, 0);
            }
            at += len;
        }
        self.flush()?;
        self.buffer = rollups;
        self.flush()?;
        let directory_offset = self.written;
        self.buffer.extend_from_slice(&directory.bytes);
        self.flush()?;
        let footer_offset = self.written;
        let mut footer = Vec::with_capacity(FOOTER_BYTES);
        footer.extend_from_slice(&FOOTER_MAGIC);
        footer.extend_from_slice(&SERIES_FORMAT_VERSION.to_le_bytes());
        footer.extend_from_slice(&[0; 4]);
        footer.extend_from_slice(&self.store_id.0);
        for number in [
            self.file_id,
            rollups_offset,
            directory_offset,
            directory.bytes.len() as u64,
            directory.chunks,
            self.points,
            self.covered.0.0,
            self.covered.1.0,
            footer_offset,
            directory.series,
        ] {
            footer.extend_from_slice(&number.to_le_bytes());
        }
        footer.extend_from_slice(&directory.blocks.to_le_bytes());
        let footer_crc = Crc32::of(&footer);
        footer.extend_from_slice(&footer_crc.0.to_le_bytes());
        self.buffer.extend_from_slice(&footer);
        self.flush()?;
        self.file.sync_all().map_err(|e| Error::io("fsync", &self.tmp_path, e))?;
        self.storage.rename(&self.tmp_path, &self.path).map_err(|e| Error::io("rename", &self.tmp_path, e))?;
        let dir = self.path.rsplit_once('/').map_or("", |(dir, _)| dir);
        self.storage.sync_dir(dir).map_err(|e| Error::io("fsync", dir, e))?;
        Ok(SeriesFileInfo {
            path: self.path,
            file_id: self.file_id,
            len_bytes: self.written,
            footer_crc,
            points: self.points,
            covered: self.covered,
            directory: Arc::new(directory.bytes),
        })
    }

    /// Gives up, and removes the written file.
    #[cfg(test)]
    pub fn abort(self) -> Result<()> {
        self.storage.remove(&self.tmp_path).map_err(|e| Error::io("remove", &self.tmp_path, e))
    }
}

/// A chunk's entry without place and summary.
fn entry_of(points: Slices<'_>) -> Result<ChunkEntry> {
    let empty = || Error::Internal("an empty chunk was given to a series file".into());
    let (&step_first, &step_last) = points.steps.first().zip(points.steps.last()).ok_or_else(empty)?;
    let (&time_first_ms, &time_last_ms) = points.times.first().zip(points.times.last()).ok_or_else(empty)?;
    let extent = |(low, high): (i64, i64), time: &i64| (low.min(*time), high.max(*time));
    let (time_min_ms, time_max_ms) = points.times.iter().fold((i64::MAX, i64::MIN), extent);
    let extent = |(low, high): (u64, u64), lsn: &u64| (low.min(*lsn), high.max(*lsn));
    let (lsn_min, lsn_max) = points.lsns.iter().fold((u64::MAX, 0), extent);
    Ok(ChunkEntry {
        flags: flags_of(points),
        count: points.steps.len() as u64,
        step_first,
        step_last,
        time_first_ms,
        time_last_ms,
        time_min_ms,
        time_max_ms,
        lsn_min,
        lsn_max,
        offset: 0,
        len: 0,
        slot: None,
        rollup_offset: 0,
        rollup_len: 0,
        context: 0,
        summary: None,
    })
}
