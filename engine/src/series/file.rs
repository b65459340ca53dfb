//! A series file: immutable, written once, footer last.
//!
//! ```text
//! +--------+----------------------------+---------+------------------+--------+
//! | header | chunks and column blocks   | rollups | directory blocks | footer |
//! +--------+----------------------------+---------+------------------+--------+
//! header (48)    magic 8 "RLSERIES" | version u32 | 0 u32 | store id 16 | file id u64 | 0 u32 | crc u32
//! directory block  crc u32 | body len u32 | entries u32 | body       crc as in chunk, from `body len` on
//!   entry        0          | entry      of the series before it in the block
//!                1 | key varint | entry  of the same run and another key
//!                2 | run 16 | key varint | entry
//! footer (120)   magic 8 "RLSERFTR" | version u32 | 0 u32 | store id 16 | file id u64
//!                | rollups offset u64 | directory offset u64 | directory len u64 | chunks u64 | points u64
//!                | covered from u64 (exclusive) | covered to u64 (inclusive) | footer offset u64
//!                | series u64 | directory blocks u32 | crc u32
//! ```
//! Little endian; nothing is padded, and every byte lies under a crc. Entries are sorted by series; within a series
//! they are in the order that they were pushed in. The file is written as `NAME.tmp`, synced, then renamed: a name
//! without `.tmp` is a whole file.

use std::sync::Arc;

use super::chunk::{Encoder, Slices, seal_crc};
use super::codec::pairs;
use super::entry::{CHUNK_POINTS_MAX, ChunkEntry, TIME_SORTED, UNIQUE};
use super::rollup;
use super::value::ValueHint;
use crate::checksum::Crc32;
use crate::error::{Error, Result};
use crate::id::{KeyId, Lsn, RunId, SeriesId, StoreId};
use crate::point::{Columns, value_order};
use crate::storage::{OpenMode, Storage, StorageFile, write_all_at};
use crate::varint::{Bytes, put_u64};

pub(crate) const HEADER_MAGIC: [u8; 8] = *b"RLSERIES";
pub(crate) const FOOTER_MAGIC: [u8; 8] = *b"RLSERFTR";
/// Version of the format that is written, and the newest that is read.
pub const SERIES_FORMAT_VERSION: u32 = 1;
pub(crate) const HEADER_BYTES: usize = 8 + 4 + 4 + 16 + 8 + 4 + 4;
pub(crate) const FOOTER_BYTES: usize = 8 + 4 + 4 + 16 + 10 * 8 + 4 + 4;
/// Crc, body length and count before a directory block's body.
pub(crate) const DIRECTORY_HEAD_BYTES: usize = 12;
/// A block is closed once its body reaches this.
const DIRECTORY_BODY_BYTES: usize = 32 << 10;
/// The greatest body that a reader accepts: a block is closed by the entry that reaches the limit.
pub(crate) const DIRECTORY_BODY_BYTES_MAX: usize = DIRECTORY_BODY_BYTES + 4096;
/// Points of a chunk. At 4,096 noisy f32 takes the same bytes and decodes 6 % slower; at 16,384 it decodes 4 % faster,
/// but twice as much is decoded at the edges of a range. The last chunk of a push takes up to half as many more, rather
/// than leaving a small one.
pub const CHUNK_POINTS: usize = 8192;
const WRITE_BYTES: usize = 1 << 20;

/// What [`SeriesFileWriter::finish`] made.
#[derive(Debug, Clone)]
pub struct SeriesFileInfo {
    /// The path it now has.
    pub path: String,
    /// The number that was given.
    pub file_id: u64,
    /// Length in bytes.
    pub len_bytes: u64,
    /// Crc of the footer: names this very file, for MANIFEST.
    pub footer_crc: Crc32,
    /// Chunks.
    pub chunks: u64,
    /// Points.
    pub points: u64,
    /// Different series.
    pub series: u64,
    /// Positions whose points lie here: from (exclusive), to (inclusive).
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
                block = DirectoryBlock::new(rest.take(len)?, count);
            }
        })
    }
}

/// Writes one series file. Dropped without [`Self::finish`], it leaves a `.tmp` file that means nothing.
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
    points: u64,
}

impl<'a> SeriesFileWriter<'a> {
    /// Begins `path` (as `path.tmp`; one that a crash left is removed). `file_id` is a number that no other series
    /// file of this store has or had; `covered` are the positions whose points will lie here, (from, to].
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
            points: 0,
        })
    }

    /// Bytes so far, as the file would be if it ended here.
    pub fn len_bytes(&self) -> u64 {
        self.written + (self.buffer.len() + self.rollups.len() + self.directory.bytes.len() + FOOTER_BYTES) as u64
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.points == 0
    }

    /// Adds points of one series, in any order, and cuts them into chunks. Series must come in ascending order; one
    /// may come several times in a row. `hint` is kept by the caller from file to file; a fresh one costs time only.
    ///
    /// # Errors
    /// `Io` or `StorageFull`: the file is of no use then. `Internal` if series or columns do not fit.
    pub fn push(&mut self, series: SeriesId, columns: &Columns, hint: &mut ValueHint) -> Result<()> {
        let count = columns.len();
        let contexts_fit = columns.contexts.is_empty() || columns.contexts.len() == count;
        if columns.times.len() != count || columns.values.len() != count || columns.lsns.len() != count || !contexts_fit
        {
            return Err(Error::Internal("columns of different lengths were given to a series file".into()));
        }
        if self.directory.last.is_some_and(|last| last > series) {
            return Err(Error::Internal("series were given to a series file out of order".into()));
        }
        let last_step = hint.last_step();
        if let Some(greatest) = columns.steps.iter().max() {
            hint.saw_step(*greatest);
        }
        let behind = |step: Option<&i64>| last_step.is_none_or(|last| step.is_none_or(|step| *step >= last));
        if in_latest_order(columns) && behind(columns.steps.first()) {
            return self.push_run(series, columns, 0, count, hint);
        }
        // A late point in a chunk of new ones would make that chunk overlap all between: it gets a chunk of its own.
        let (new, late) = split_late(columns, last_step);
        let late = columns.gather(&late);
        // In no order at all, or one step for all points, or points that tie in one batch, which must stay in order.
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
            // Points that tie stay together: then they are read together.
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
        if let ([step], [time], [value], [lsn]) = (points.steps, points.times, points.values, points.lsns) {
            let context = points.contexts.first().copied().unwrap_or(0);
            let entry = ChunkEntry::single(*step, *time, *lsn, context, *value, UNIQUE | TIME_SORTED);
            self.directory.push(series, &entry);
            return Ok(());
        }
        let entry = self.encode_chunk(points, hint)?;
        self.directory.push(series, &entry);
        if self.buffer.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn encode_chunk(&mut self, points: Slices<'_>, hint: &mut ValueHint) -> Result<ChunkEntry> {
        let empty = || Error::Internal("an empty chunk was given to a series file".into());
        let (&step_first, &step_last) = points.steps.first().zip(points.steps.last()).ok_or_else(empty)?;
        let (&time_first_ms, &time_last_ms) = points.times.first().zip(points.times.last()).ok_or_else(empty)?;
        let extent = |(low, high): (i64, i64), time: &i64| (low.min(*time), high.max(*time));
        let (time_min_ms, time_max_ms) = points.times.iter().fold((i64::MAX, i64::MIN), extent);
        let extent = |(low, high): (u64, u64), lsn: &u64| (low.min(*lsn), high.max(*lsn));
        let (lsn_min, lsn_max) = points.lsns.iter().fold((u64::MAX, 0), extent);

        let rollups = rollup::roll_up(points.steps, points.values);
        let mut rollup_offset = 0;
        if rollups.len() > 1 {
            rollup_offset = self.rollups.len() as u64;
            self.rollups.extend_from_slice(&[0; 4]);
            rollup::encode(&rollups, stride_of(points.steps), &mut self.rollups);
        }
        let rollup_len = (self.rollups.len() as u64 - rollup_offset) as u32;
        let (offset, len) = self.encoder.encode(self.file_id, points, hint, &mut self.buffer, self.written)?;
        Ok(ChunkEntry {
            flags: flags_of(points),
            step_first,
            step_last,
            time_first_ms,
            time_last_ms,
            time_min_ms,
            time_max_ms,
            lsn_min,
            lsn_max,
            offset,
            len,
            rollup_offset,
            rollup_len: if rollups.len() > 1 { rollup_len } else { 0 },
            context: 0,
            summary: rollup::sum_up(&rollups),
        })
    }

    fn flush(&mut self) -> Result<()> {
        write_all_at(&*self.file, &self.buffer, self.written).map_err(|e| Error::io("write", &self.tmp_path, e))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes rollups, directory and footer, syncs the file, gives it its name, and syncs the folder: on return the
    /// file is durable.
    ///
    /// # Errors
    /// `Io` or `StorageFull`; the name may or may not be there then, but never over half a file.
    pub fn finish(mut self) -> Result<SeriesFileInfo> {
        let rollups_offset = self.written + self.buffer.len() as u64;
        let mut rollups = std::mem::take(&mut self.rollups);
        let directory = self.directory.finish(rollups_offset + rollups.len() as u64, self.file_id);
        // A rollup's place was not known before: its crc covers it, so it is made here.
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
            chunks: directory.chunks,
            points: self.points,
            series: directory.series,
            covered: self.covered,
            directory: Arc::new(directory.bytes),
        })
    }

    /// Gives the file up and removes what was written.
    pub fn abort(self) -> Result<()> {
        self.storage.remove(&self.tmp_path).map_err(|e| Error::io("remove", &self.tmp_path, e))
    }
}

// ---- order --------------------------------------------------------------------------------------------------------

/// Whether the points lie in latest order, those that tie by position.
pub(crate) fn in_latest_order(columns: &Columns) -> bool {
    if columns.steps.is_sorted_by(|a, b| a < b) {
        return true;
    }
    (1..columns.len()).all(|next| {
        let order = columns.point(next - 1).latest_order(&columns.point(next));
        order.is_lt() || order.is_eq() && columns.lsns.get(next - 1) <= columns.lsns.get(next)
    })
}

/// Indexes of the points that come in latest order as they are given, beginning behind `last_step`; and of the others.
fn split_late(columns: &Columns, last_step: Option<i64>) -> (Vec<usize>, Vec<usize>) {
    let (mut new, mut late) = (Vec::with_capacity(columns.len()), Vec::new());
    let mut last: Option<usize> = None;
    for index in 0..columns.len() {
        let rises = match last {
            Some(last) => columns.point(last).latest_order(&columns.point(index)).is_le(),
            None => last_step.is_none_or(|last_step| columns.point(index).step >= last_step),
        };
        if rises {
            new.push(index);
            last = Some(index);
        } else {
            late.push(index);
        }
    }
    (new, late)
}

/// Whether a late point ties with a new one of the same position.
fn tie_in_a_batch(columns: &Columns, new: &[usize], late: &Columns) -> bool {
    (0..late.len()).any(|index| {
        let point = late.point(index);
        let at = new.partition_point(|new| columns.point(*new).latest_order(&point).is_lt());
        new.get(at)
            .is_some_and(|new| columns.point(*new).repeats(&point) && columns.lsns.get(*new) == late.lsns.get(index))
    })
}

/// Most chunks of late points that one push makes.
const LATE_CHUNKS_MAX: usize = 16;

/// Where late points, in latest order, are cut so that their chunks overlap little: at gaps that the new points would
/// take a thousand points to cross. The ends of the runs, the last one included.
fn late_cuts(late: &Columns, columns: &Columns, new: &[usize]) -> Vec<usize> {
    let step = |index: Option<&usize>| index.and_then(|index| columns.steps.get(*index)).copied().unwrap_or(0);
    let span = step(new.last()).wrapping_sub(step(new.first())) as u64;
    let mut gap_min = (span / new.len().max(1) as u64).max(1).saturating_mul(1024);
    loop {
        let is_cut = |(a, b): (&i64, &i64)| b.wrapping_sub(*a) as u64 > gap_min;
        let mut cuts: Vec<usize> =
            pairs(&late.steps).enumerate().filter(|(_, pair)| is_cut(*pair)).map(|(index, _)| index + 1).collect();
        if cuts.len() < LATE_CHUNKS_MAX {
            cuts.push(late.len());
            return cuts;
        }
        gap_min = gap_min.saturating_mul(2);
    }
}

/// The points in latest order, those that tie by position; what ties even then stays as it was given.
pub(crate) fn sort_latest(columns: &Columns) -> Columns {
    let mut order: Vec<usize> = (0..columns.len()).collect();
    order.sort_by(|a, b| {
        columns.point(*a).latest_order(&columns.point(*b)).then_with(|| columns.lsns.get(*a).cmp(&columns.lsns.get(*b)))
    });
    columns.gather(&order)
}

fn flags_of(points: Slices<'_>) -> u8 {
    let rising = points.steps.is_sorted_by(|a, b| a < b);
    let unique = rising
        || points.steps.windows(2).zip(points.times.windows(2)).zip(points.values.windows(2)).all(
            |((s, t), v)| match (s, t, v) {
                ([s0, s1], [t0, t1], [v0, v1]) => s0 != s1 || t0 != t1 || value_order(*v0, *v1).is_ne(),
                _ => true,
            },
        );
    let time_sorted = points.times.is_sorted();
    (if unique { UNIQUE } else { 0 }) | if time_sorted { TIME_SORTED } else { 0 }
}

fn stride_of(steps: &[i64]) -> Option<i64> {
    let [first, second, ..] = steps else { return None };
    let stride = second.wrapping_sub(*first);
    let regular = pairs(steps).all(|(a, b)| b.wrapping_sub(*a) == stride);
    regular.then_some(stride)
}

// ---- directory ----------------------------------------------------------------------------------------------------

const SAME_SERIES: u8 = 0;
const SAME_RUN: u8 = 1;
const NEW_RUN: u8 = 2;

#[derive(Debug, Default)]
struct DirectoryWriter {
    bytes: Vec<u8>,
    /// Where the open block begins in `bytes`.
    block: usize,
    block_entries: u32,
    last: Option<SeriesId>,
    last_in_block: Option<SeriesId>,
    chunks: u64,
    series: u64,
    blocks: u32,
    rollup_lens: Vec<u32>,
}

impl DirectoryWriter {
    fn push(&mut self, series: SeriesId, entry: &ChunkEntry) {
        if self.block_entries == 0 {
            self.block = self.bytes.len();
            self.bytes.extend_from_slice(&[0; DIRECTORY_HEAD_BYTES]);
        }
        match self.last_in_block {
            Some(last) if last == series => self.bytes.push(SAME_SERIES),
            Some(last) if last.run == series.run => self.bytes.push(SAME_RUN),
            _ => {
                self.bytes.push(NEW_RUN);
                self.bytes.extend_from_slice(&series.run.0);
            }
        }
        if self.last_in_block != Some(series) {
            put_u64(&mut self.bytes, u64::from(series.key.0));
        }
        entry.encode(&mut self.bytes);
        if self.last != Some(series) {
            self.series += 1;
        }
        self.last = Some(series);
        self.last_in_block = Some(series);
        self.block_entries += 1;
        self.chunks += 1;
        if entry.rollup_len > 0 {
            self.rollup_lens.push(entry.rollup_len);
        }
        if self.bytes.len() - self.block - DIRECTORY_HEAD_BYTES >= DIRECTORY_BODY_BYTES {
            self.close_block();
        }
    }

    fn close_block(&mut self) {
        let len = (self.bytes.len() - self.block - DIRECTORY_HEAD_BYTES) as u32;
        if let Some(head) = self.bytes.get_mut(self.block + 4..self.block + DIRECTORY_HEAD_BYTES) {
            head.copy_from_slice(&(u64::from(len) | u64::from(self.block_entries) << 32).to_le_bytes());
        }
        self.block_entries = 0;
        self.last_in_block = None;
        self.blocks += 1;
    }

    /// Closes the directory, which will lie at `offset`.
    fn finish(&mut self, offset: u64, file_id: u64) -> Self {
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

/// The entries of one directory block whose crc was checked.
#[derive(Debug, Default)]
pub(crate) struct DirectoryBlock<'a> {
    rest: Option<Bytes<'a>>,
    left: u32,
    last: Option<SeriesId>,
}

impl<'a> DirectoryBlock<'a> {
    pub(crate) fn new(body: &'a [u8], entries: u32) -> Self {
        Self { rest: Some(Bytes::new(body)), left: entries, last: None }
    }

    /// Whether all entries were read and no byte is left over.
    pub(crate) fn is_done(&self) -> bool {
        self.left == 0 && self.rest.is_none_or(|rest| rest.is_empty())
    }
}

impl Iterator for DirectoryBlock<'_> {
    type Item = (SeriesId, ChunkEntry);

    /// The next entry; `None` at the end or where the bytes cannot be one.
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let bytes = self.rest.as_mut()?;
        let series = match bytes.u8()? {
            SAME_SERIES => self.last?,
            tag @ (SAME_RUN | NEW_RUN) => {
                let run = if tag == SAME_RUN { self.last?.run } else { RunId(bytes.array()?) };
                SeriesId { run, key: KeyId(u32::try_from(bytes.varint()?).ok()?) }
            }
            _ => return None,
        };
        let entry = ChunkEntry::take(bytes)?;
        self.last = Some(series);
        self.left -= 1;
        Some((series, entry))
    }
}
