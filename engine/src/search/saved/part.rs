//! A projection as bytes, for `search.snap`, so that an open need not read every run.
//!
//! ```text
//! +-------------+-------------+----------------+--------------+--------+-----------------+---------+
//! | magic [8]   | version u32 | experiment u64 | position u64 | body   | body length u64 | crc u32 |
//! +-------------+-------------+----------------+--------------+--------+-----------------+---------+
//! body    = ids list[16] . free list u32 . active list u64 . deleted list u64 . start . end
//!           . name . user_id . status . artifact_location . datasets
//!           . params: count u32, (key slice, text column)* . tags likewise
//!           . metrics: count u32, (key u32, number column of latest)*
//! list    = count u32, then the items                      slice = length u32, then the bytes
//! times   = chunks u32, (min i64, max i64, list i64)*
//! text    = pages u32, (list u32 of ends, slice of texts)*, list u32 of rows by code, chunks u32, codes*
//! codes   = kind u8: 0 none | 1 list u16 of rows, list u32 | 2 list u8 | 3 list u16 | 4 list u32
//! number  = chunks u32, numbers*
//! numbers = kind u8: 0 none | min u64, max u64, then kind 1 list u16 of rows, list u64 | 2 list u32 | 3 two lists u32
//! crc     = crc32 of all before it; little endian, unpadded
//! ```
//! Version 1 has the columns of all metrics, version 2 those of the metrics that were asked for.
//! It is derived: whatever is wrong with it, the caller drops it and builds the projection from the index. The number
//! codes are those of [`crate::search::number`]; a change of them is a new version. Hash indexes, ranks, parsed numbers and
//! columns of aggregates are not kept.

use std::collections::BTreeMap;
use std::path::Path;

use crate::checksum::Crc32;
use crate::error::{Error, Result};
use crate::id::{ExperimentId, KeyId, Lsn, RunId};
use crate::search::column::{CHUNK_ROWS, CodeColumn, Codes};
use crate::search::number::{NumberColumn, Numbers, TimeColumn, Times, Values};
use crate::search::rows::Rows;
use crate::search::table::{MetricColumns, Projection};
use crate::search::text::{Dictionary, PAGE_TEXTS, Page, TextColumn};
use crate::varint::Bytes;

const MAGIC: &[u8; 8] = b"RLSEARCH";
/// Version of the bytes written here, and the newest that is read.
pub(crate) const VERSION: u32 = 2;
/// Version of a projection with columns of all metrics, which every build reads.
const VERSION_ALL_METRICS: u32 = 1;
const HEADER_BYTES: usize = 28;
const TRAILER_BYTES: usize = 12;
/// Bytes are passed on in pieces of about this many.
const PIECE_BYTES: usize = 1 << 20;

/// Receives the encoded bytes, piece by piece.
pub(crate) type Sink<'s> = dyn FnMut(&[u8]) -> Result<()> + 's;

struct Out<'s, 'f> {
    buffer: Vec<u8>,
    crc: crc32fast::Hasher,
    written: u64,
    sink: &'s mut Sink<'f>,
}

impl Out<'_, '_> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.crc.update(&self.buffer);
        self.written += self.buffer.len() as u64;
        (self.sink)(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn count(&mut self, count: usize) -> Result<()> {
        let count = u32::try_from(count).map_err(|_| Error::Internal("a list of a projection is too long".into()))?;
        self.put(&count.to_le_bytes())
    }

    fn list<T: Copy, const N: usize>(&mut self, list: &[T], bytes: impl Fn(T) -> [u8; N]) -> Result<()> {
        self.count(list.len())?;
        for part in list.chunks(PIECE_BYTES / N) {
            self.buffer.extend(part.iter().flat_map(|item| bytes(*item)));
            self.put(&[])?;
        }
        Ok(())
    }

    fn slice(&mut self, bytes: &[u8]) -> Result<()> {
        self.count(bytes.len())?;
        self.put(bytes)
    }

    fn times(&mut self, column: &TimeColumn) -> Result<()> {
        self.count(column.chunks.len())?;
        for times in &column.chunks {
            self.put(&times.min.to_le_bytes())?;
            self.put(&times.max.to_le_bytes())?;
            self.list(&times.values, i64::to_le_bytes)?;
        }
        Ok(())
    }

    fn text(&mut self, column: &TextColumn) -> Result<()> {
        self.count(column.dictionary.pages.len())?;
        for page in &column.dictionary.pages {
            self.list(&page.ends, u32::to_le_bytes)?;
            self.slice(page.texts.as_bytes())?;
        }
        self.list(&column.dictionary.refs, u32::to_le_bytes)?;
        self.count(column.codes.chunks.len())?;
        for chunk in &column.codes.chunks {
            match chunk.as_deref() {
                None => self.put(&[0])?,
                Some(Codes::Sparse { rows, codes }) => {
                    self.put(&[1])?;
                    self.list(rows, u16::to_le_bytes)?;
                    self.list(codes, u32::to_le_bytes)?;
                }
                Some(Codes::Narrow(codes)) => {
                    self.put(&[2])?;
                    self.slice(codes)?;
                }
                Some(Codes::Middle(codes)) => {
                    self.put(&[3])?;
                    self.list(codes, u16::to_le_bytes)?;
                }
                Some(Codes::Wide(codes)) => {
                    self.put(&[4])?;
                    self.list(codes, u32::to_le_bytes)?;
                }
            }
        }
        Ok(())
    }

    fn texts(&mut self, columns: &BTreeMap<Box<str>, TextColumn>) -> Result<()> {
        self.count(columns.len())?;
        for (key, column) in columns {
            self.slice(key.as_bytes())?;
            self.text(column)?;
        }
        Ok(())
    }

    fn numbers(&mut self, column: &NumberColumn) -> Result<()> {
        self.count(column.chunks.len())?;
        for chunk in &column.chunks {
            let Some(numbers) = chunk.as_deref() else {
                self.put(&[0])?;
                continue;
            };
            let kind = match &numbers.values {
                Values::Sparse { .. } => 1,
                Values::Narrow(_) => 2,
                Values::Wide { .. } => 3,
            };
            self.put(&[kind])?;
            self.put(&numbers.min.to_le_bytes())?;
            self.put(&numbers.max.to_le_bytes())?;
            match &numbers.values {
                Values::Sparse { rows, codes } => {
                    self.list(rows, u16::to_le_bytes)?;
                    self.list(codes, u64::to_le_bytes)?;
                }
                Values::Narrow(codes) => self.list(codes, u32::to_le_bytes)?,
                Values::Wide { high, low } => {
                    self.list(high, u32::to_le_bytes)?;
                    self.list(low, u32::to_le_bytes)?;
                }
            }
        }
        Ok(())
    }
}

impl Projection {
    /// Writes the projection as of `position` to `sink`. Equal projections made by the same calls give equal bytes.
    ///
    /// # Errors
    /// Those of `sink`; the bytes written so far are incomplete.
    pub fn save(&self, position: Lsn, sink: &mut Sink<'_>) -> Result<()> {
        let mut out = Out { buffer: Vec::new(), crc: crc32fast::Hasher::new(), written: 0, sink };
        out.put(MAGIC)?;
        let version = if self.asked_only { VERSION } else { VERSION_ALL_METRICS };
        out.put(&version.to_le_bytes())?;
        out.put(&self.experiment.0.to_le_bytes())?;
        out.put(&position.0.to_le_bytes())?;
        out.list(&self.rows.ids, |run| run.0)?;
        out.list(&self.rows.free, u32::to_le_bytes)?;
        out.list(&self.active, u64::to_le_bytes)?;
        out.list(&self.deleted, u64::to_le_bytes)?;
        out.times(&self.start)?;
        out.times(&self.end)?;
        for column in [&self.name, &self.user_id, &self.status, &self.artifact_location, &self.datasets] {
            out.text(column)?;
        }
        out.texts(&self.params)?;
        out.texts(&self.tags)?;
        out.count(self.metrics.len())?;
        for (key, columns) in &self.metrics {
            out.put(&key.0.to_le_bytes())?;
            out.numbers(&columns.latest)?;
        }
        let body_bytes = out.written + out.buffer.len() as u64 - HEADER_BYTES as u64;
        out.put(&body_bytes.to_le_bytes())?;
        out.flush()?;
        let crc = out.crc.clone().finalize();
        (out.sink)(&crc.to_le_bytes())
    }

    /// Reads the bytes that [`Projection::save`] wrote: all of `bytes`, from the file at `path` (for errors only).
    ///
    /// # Errors
    /// `Corrupt` and `UnsupportedFormat`; build the projection from the index then.
    pub fn load(path: &Path, bytes: &[u8]) -> Result<(Self, Lsn)> {
        let damage = |offset: usize, structure, expected: String, found: String| {
            Error::corrupt(path, offset as u64, structure, expected, found)
        };
        let whole = bytes.len();
        let (Some(start), Some((rest, crc))) = (bytes.first_chunk::<HEADER_BYTES>(), bytes.split_last_chunk::<4>())
        else {
            return Err(damage(0, "search projection", format!("{HEADER_BYTES} bytes or more"), whole.to_string()));
        };
        let mut header = Bytes::new(start);
        let header = header.array::<8>().zip(header.u32()).zip(header.u64().zip(header.u64()));
        let Some(((magic, version), (experiment, position))) = header else {
            return Err(damage(0, "search projection", "a header".into(), "less".into()));
        };
        if magic != *MAGIC {
            return Err(damage(0, "search projection", "its magic".into(), format!("{magic:02x?}")));
        }
        if version > VERSION {
            return Err(Error::UnsupportedFormat { path: path.into(), found: version, supported: VERSION });
        }
        let (expected, found) = (Crc32(u32::from_le_bytes(*crc)), Crc32::of(rest));
        if expected != found {
            return Err(damage(whole - 4, "search projection", expected.to_string(), found.to_string()));
        }
        let body = rest.get(HEADER_BYTES..).and_then(|rest| rest.split_last_chunk::<8>());
        let Some((body, length)) = body.filter(|(body, length)| u64::from_le_bytes(**length) == body.len() as u64)
        else {
            return Err(damage(whole - TRAILER_BYTES, "search projection", "its length".into(), whole.to_string()));
        };
        debug_assert_eq!(length.len(), 8);
        let mut input = In { bytes: Bytes::new(body), rows: 0 };
        match input.projection(ExperimentId(experiment)) {
            Some(mut projection) if input.bytes.is_empty() => {
                projection.asked_only = version != VERSION_ALL_METRICS;
                Ok((projection, Lsn(position)))
            }
            _ => {
                let offset = HEADER_BYTES + body.len() - input.bytes.rest().len();
                Err(damage(offset, "search projection", "columns as documented".into(), "others".into()))
            }
        }
    }
}

/// Reads a body; `None` is damage. Allocates no more than the bytes can fill.
struct In<'a> {
    bytes: Bytes<'a>,
    /// Number of rows; no column may hold more.
    rows: usize,
}

impl<'a> In<'a> {
    fn list<T, const N: usize>(&mut self, item: impl Fn([u8; N]) -> T) -> Option<Vec<T>> {
        let bytes = self.slice_of(N)?;
        let (items, _) = bytes.as_chunks::<N>();
        Some(items.iter().map(|bytes| item(*bytes)).collect())
    }

    /// Reads a count, then that many items of `item_bytes` each.
    fn slice_of(&mut self, item_bytes: usize) -> Option<&'a [u8]> {
        let count = self.bytes.u32()? as usize;
        self.bytes.take(count.checked_mul(item_bytes)?)
    }

    /// Reads a count of items that take at least one byte each.
    fn count(&mut self) -> Option<usize> {
        let count = self.bytes.u32()? as usize;
        (count <= self.bytes.rest().len()).then_some(count)
    }

    /// Reads the number of chunks of a column.
    fn chunks(&mut self) -> Option<usize> {
        self.count().filter(|chunks| *chunks <= self.rows.div_ceil(CHUNK_ROWS))
    }

    /// Number of rows that a chunk may hold.
    fn rows_of(&self, chunk: usize) -> usize {
        self.rows.saturating_sub(chunk * CHUNK_ROWS).min(CHUNK_ROWS)
    }

    fn dense<T, const N: usize>(&mut self, chunk: usize, item: impl Fn([u8; N]) -> T) -> Option<Vec<T>> {
        self.list(item).filter(|list| list.len() <= self.rows_of(chunk))
    }

    fn sparse_rows(&mut self, chunk: usize) -> Option<Vec<u16>> {
        let rows = self.list(u16::from_le_bytes)?;
        let last_fits = rows.last().is_none_or(|last| usize::from(*last) < self.rows_of(chunk));
        (last_fits && rows.is_sorted_by(|a, b| a < b)).then_some(rows)
    }

    fn projection(&mut self, experiment: ExperimentId) -> Option<Projection> {
        let ids = self.list(RunId)?;
        self.rows = ids.len();
        let free = self.list(u32::from_le_bytes)?;
        let mut sorted = free.clone();
        sorted.sort_unstable();
        if !sorted.is_sorted_by(|a, b| a < b) || sorted.last().is_some_and(|row| *row as usize >= ids.len()) {
            return None;
        }
        let mut projection = Projection::new(experiment);
        projection.rows = Rows::from_parts(ids, free);
        projection.active = self.words()?;
        projection.deleted = self.words()?;
        if projection.active.len() != projection.deleted.len() {
            return None;
        }
        projection.start = self.times()?;
        projection.end = self.times()?;
        for column in [
            &mut projection.name,
            &mut projection.user_id,
            &mut projection.status,
            &mut projection.artifact_location,
            &mut projection.datasets,
        ] {
            *column = self.text()?;
        }
        projection.params = self.texts()?;
        projection.tags = self.texts()?;
        for _ in 0..self.count()? {
            let key = KeyId(self.bytes.u32()?);
            let latest = self.numbers()?;
            projection.metrics.insert(key, MetricColumns { latest, ..MetricColumns::default() });
        }
        Some(projection)
    }

    /// One bit per row; none after the last row.
    fn words(&mut self) -> Option<Vec<u64>> {
        let words = self.list(u64::from_le_bytes)?;
        let last = words.len().checked_sub(1).map_or(0, |last| {
            let bits = 64 - words[last].leading_zeros() as usize;
            if bits == 0 { 0 } else { last * 64 + bits }
        });
        (last <= self.rows && words.len() <= self.rows.div_ceil(64)).then_some(words)
    }

    fn times(&mut self) -> Option<TimeColumn> {
        let mut column = TimeColumn::default();
        for chunk in 0..self.chunks()? {
            let (min, max) = (self.bytes.i64()?, self.bytes.i64()?);
            column.chunks.push(Times { values: self.dense(chunk, i64::from_le_bytes)?, min, max });
        }
        Some(column)
    }

    fn text(&mut self) -> Option<TextColumn> {
        let mut dictionary = Dictionary::default();
        for _ in 0..self.count()? {
            // Only the last page may be short; otherwise codes would name other texts.
            let full = dictionary.pages.last().is_none_or(|page| page.ends.len() == PAGE_TEXTS);
            let ends = self.list(u32::from_le_bytes)?;
            let texts = std::str::from_utf8(self.slice_of(1)?).ok()?;
            let fits = (1..=PAGE_TEXTS).contains(&ends.len())
                && ends.is_sorted()
                && ends.last().is_some_and(|end| *end as usize == texts.len())
                && ends.iter().all(|end| texts.is_char_boundary(*end as usize));
            if !full || !fits {
                return None;
            }
            dictionary.pages.push(Page { ends, texts: texts.to_owned() });
        }
        dictionary.refs = self.list(u32::from_le_bytes)?;
        dictionary.used = dictionary.refs.iter().filter(|refs| **refs > 0).count();
        if dictionary.refs.len() != dictionary.pages.iter().map(|page| page.ends.len()).sum::<usize>() {
            return None;
        }
        let code_max = dictionary.len() as u32;
        let mut codes = CodeColumn::default();
        for chunk in 0..self.chunks()? {
            let chunk = match self.bytes.u8()? {
                0 => None,
                1 => {
                    let rows = self.sparse_rows(chunk)?;
                    let codes = self.list(u32::from_le_bytes)?;
                    let fits = rows.len() == codes.len() && !codes.contains(&0);
                    Some(Codes::Sparse { rows, codes }).filter(|_| fits).map(Some)?
                }
                2 => Some(Codes::Narrow(self.dense(chunk, u8::from_le_bytes)?)),
                3 => Some(Codes::Middle(self.dense(chunk, u16::from_le_bytes)?)),
                4 => Some(Codes::Wide(self.dense(chunk, u32::from_le_bytes)?)),
                _ => return None,
            };
            let greatest = match &chunk {
                None => 0,
                Some(Codes::Sparse { codes, .. } | Codes::Wide(codes)) => codes.iter().copied().max().unwrap_or(0),
                Some(Codes::Narrow(codes)) => codes.iter().copied().max().unwrap_or(0).into(),
                Some(Codes::Middle(codes)) => codes.iter().copied().max().unwrap_or(0).into(),
            };
            if greatest > code_max {
                return None;
            }
            codes.chunks.push(chunk.map(Box::new));
        }
        Some(TextColumn { dictionary, codes, stamp: 0 })
    }

    fn texts(&mut self) -> Option<BTreeMap<Box<str>, TextColumn>> {
        let mut columns = BTreeMap::new();
        for _ in 0..self.count()? {
            let key = std::str::from_utf8(self.slice_of(1)?).ok()?;
            columns.insert(key.into(), self.text()?);
        }
        Some(columns)
    }

    fn numbers(&mut self) -> Option<NumberColumn> {
        let mut column = NumberColumn::default();
        for chunk in 0..self.chunks()? {
            let kind = self.bytes.u8()?;
            if kind == 0 {
                column.chunks.push(None);
                continue;
            }
            let (min, max) = (self.bytes.u64()?, self.bytes.u64()?);
            let values = match kind {
                1 => {
                    let rows = self.sparse_rows(chunk)?;
                    let codes = self.list(u64::from_le_bytes)?;
                    Some(Values::Sparse { rows, codes }).filter(Values::is_even)?
                }
                2 => Values::Narrow(self.dense(chunk, u32::from_le_bytes)?),
                3 => {
                    let high = self.dense(chunk, u32::from_le_bytes)?;
                    let low = self.dense(chunk, u32::from_le_bytes)?;
                    Some(Values::Wide { high, low }).filter(Values::is_even)?
                }
                _ => return None,
            };
            column.chunks.push(Some(Box::new(Numbers { values, min, max })));
        }
        Some(column)
    }
}

impl Values {
    /// Whether its two lists have the same length.
    fn is_even(&self) -> bool {
        match self {
            Self::Sparse { rows, codes } => rows.len() == codes.len(),
            Self::Narrow(_) => true,
            Self::Wide { high, low } => high.len() == low.len(),
        }
    }
}
