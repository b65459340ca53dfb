//! The directories of series files as the index keeps them: entries that lie next to one another, many in a row.
//!
//! ```text
//! row = greatest key minus the first one's u8 | directory items, the first one of the series in the row's key
//! ```
//! Items: see `series::items`. All entries of a row are of one file, one run and one page of keys (see `index::tables`).
//! A row ends at about 1,000 bytes, and where a series ends after 500: a series of many chunks has rows of its own.

use crate::error::{Error, Result};
use crate::id::{KeyId, SeriesId};
use crate::index::{ChunkRows, IndexRead, KEYS_OF_PAGE};
use crate::series::{ChunkEntry, Items, SeriesFileInfo};
use crate::varint::Bytes;

/// A row with this many bytes accepts no more entries.
const ROW_BYTES: usize = 1_000;
/// A row with this many bytes accepts no other series.
const SERIES_BYTES: usize = 500;

/// A chunk of a series file, as the index names it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IndexedChunk {
    pub(crate) series: SeriesId,
    /// Number of the file.
    pub(crate) file: u64,
    /// Number of the chunk in the file.
    pub(crate) chunk: u32,
    pub(crate) entry: ChunkEntry,
}

/// The directory of a newly written file, as rows of the index.
pub(crate) fn chunk_rows(info: &SeriesFileInfo) -> ChunkRows<'_> {
    rows_of(info.file_id, info.entries().zip(0..).map(|((series, entry), chunk)| (series, chunk, entry)))
}

/// Neighbouring entries of a file, as rows of the index.
pub(crate) fn rows_of<'a>(
    file: u64,
    mut entries: impl Iterator<Item = (SeriesId, u32, ChunkEntry)> + 'a,
) -> ChunkRows<'a> {
    let mut held = entries.next();
    Box::new(move |row| {
        let (first, first_chunk, entry) = held.take()?;
        let mut items = Items::of(first);
        let mut last = first;
        row.push(0);
        items.put(first, &entry, row);
        for (series, chunk, entry) in entries.by_ref() {
            let same_page = series.run == first.run && series.key.0 / KEYS_OF_PAGE == first.key.0 / KEYS_OF_PAGE;
            if row.len() >= ROW_BYTES || (series != last && (row.len() >= SERIES_BYTES || !same_page)) {
                held = Some((series, chunk, entry));
                break;
            }
            items.put(series, &entry, row);
            last = series;
        }
        if let Some(span) = row.first_mut() {
            *span = (last.key.0 - first.key.0) as u8;
        }
        Some((first, file, first_chunk))
    })
}

fn malformed(file: u64, chunk: u32) -> Error {
    let found = format!("others from chunk {chunk} of file {file} on");
    Error::corrupt("index.redb", 0, "chunk directory row", "entries of a file's directory", found)
}

/// The greatest key with an entry in the row.
fn last_key(first: SeriesId, row: &[u8]) -> Option<KeyId> {
    Some(KeyId(first.key.0.checked_add(u32::from(*row.first()?))?))
}

/// Calls `each` for the chunks of a row until it answers `false`.
fn for_each_in(
    (first, file, first_chunk, row): (SeriesId, u64, u32, &[u8]),
    mut each: impl FnMut(IndexedChunk) -> bool,
) -> Result<()> {
    let mut bytes = Bytes::new(row.get(1..).unwrap_or_default());
    let mut items = Items::of(first);
    let mut chunk = first_chunk;
    while !bytes.is_empty() {
        let (series, entry) = items.take(&mut bytes).ok_or_else(|| malformed(file, first_chunk))?;
        if !each(IndexedChunk { series, file, chunk, entry }) {
            break;
        }
        chunk = chunk.wrapping_add(1);
    }
    Ok(())
}

/// The chunks of a series, by file and number.
pub(crate) fn chunks_of(read: &IndexRead, series: SeriesId) -> Result<Vec<IndexedChunk>> {
    let mut list = Vec::new();
    read.for_each_chunk_of(series, |first, file, chunk, row| {
        if last_key(first, row).is_none_or(|last| last < series.key) {
            return Ok(());
        }
        for_each_in((first, file, chunk, row), |chunk| {
            if chunk.series == series {
                list.push(chunk);
            }
            chunk.series <= series
        })
    })?;
    list.sort_unstable_by_key(|chunk| (chunk.file, chunk.chunk));
    Ok(list)
}

/// Every chunk, by series, file and number.
pub(crate) fn for_each_chunk(read: &IndexRead, mut each: impl FnMut(IndexedChunk) -> Result<()>) -> Result<()> {
    // Rows come by their first series: sort the chunks of rows whose series overlap together.
    let mut list: Vec<IndexedChunk> = Vec::new();
    let mut last: Option<SeriesId> = None;
    let mut hand_over = |list: &mut Vec<IndexedChunk>| {
        list.sort_by_key(|chunk| (chunk.series, chunk.file, chunk.chunk));
        list.drain(..).try_for_each(&mut each)
    };
    read.for_each_chunk_row(|first, file, chunk, row| {
        if last.is_some_and(|last| first > last) {
            hand_over(&mut list)?;
        }
        let greatest = last_key(first, row).ok_or_else(|| malformed(file, chunk))?;
        last = last.max(Some(SeriesId { run: first.run, key: greatest }));
        for_each_in((first, file, chunk, row), |chunk| {
            list.push(chunk);
            true
        })
    })?;
    hand_over(&mut list)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::id::{Lsn, RunId, StoreId};
    use crate::index::{Index, IndexChange, Rows};
    use crate::storage::Storage;
    use crate::storage::memory::Memory;

    fn entry(number: u32, slot: Option<u8>) -> ChunkEntry {
        let single = ChunkEntry::single(i64::from(number), 5, 7, 0, 0.5, 0);
        match slot {
            Some(_) => ChunkEntry { count: 20, offset: 100, len: 2000, slot, summary: None, ..single },
            None => single,
        }
    }

    type Chunks = BTreeMap<(SeriesId, u64, u32), ChunkEntry>;

    fn found(read: &IndexRead) -> Vec<((SeriesId, u64, u32), ChunkEntry)> {
        let mut list = Vec::new();
        for_each_chunk(read, |chunk| {
            list.push(((chunk.series, chunk.file, chunk.chunk), chunk.entry));
            Ok(())
        })
        .unwrap();
        list
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Files of a few runs, series with few and with many chunks; one file goes again, and so does a run.
        #[test]
        fn chunks_come_back_by_series(
            files in prop::collection::vec(prop::collection::btree_map((0u8..3, 0u32..40),
                prop_oneof![9 => 1u32..3, 1 => 60u32..200], 0..40), 1..4),
        ) {
            let storage: Arc<dyn Storage> = Arc::new(Memory::new());
            let index = Index::create(&storage, StoreId([3; 16]), 4 << 20).unwrap();
            let mut expected = Chunks::new();
            for (number, file) in (1..).zip(&files) {
                let series = file.iter().flat_map(|((run, key), count)| {
                    let id = SeriesId { run: RunId([*run; 16]), key: KeyId(*key) };
                    let slot = (*count == 1).then_some((*key % 64) as u8);
                    (0..*count).map(move |at| (id, entry(at, slot)))
                });
                let all: Vec<_> = series.zip(0..).map(|((id, entry), chunk)| (id, chunk, entry)).collect();
                expected.extend(all.iter().map(|(id, chunk, entry)| ((*id, number, *chunk), *entry)));
                let rows = Rows { chunks: vec![rows_of(number, all.into_iter())], ..Rows::default() };
                let change = IndexChange { applied: Lsn(number), ..IndexChange::default() };
                index.write_rows(&change, rows).unwrap();
            }
            let read = index.read().unwrap();
            prop_assert_eq!(found(&read), expected.clone().into_iter().collect::<Vec<_>>());
            for run in 0..3 {
                for key in 0..40 {
                    let id = SeriesId { run: RunId([run; 16]), key: KeyId(key) };
                    let list: Vec<_> =
                        chunks_of(&read, id).unwrap().iter().map(|c| ((c.series, c.file, c.chunk), c.entry)).collect();
                    let of_series = expected.iter().filter(|((series, ..), _)| *series == id);
                    prop_assert_eq!(list, of_series.map(|(at, entry)| (*at, *entry)).collect::<Vec<_>>());
                }
            }
            let mut change = IndexChange { purged: vec![RunId([1; 16])], ..IndexChange::default() };
            read.for_each_chunk_row(|first, file, chunk, _| {
                if file == 1 {
                    change.chunks_removed.push((first, file, chunk));
                }
                Ok(())
            }).unwrap();
            index.write(&change).unwrap();
            expected.retain(|(series, file, _), _| *file != 1 && series.run != RunId([1; 16]));
            prop_assert_eq!(found(&index.read().unwrap()), expected.into_iter().collect::<Vec<_>>());
        }
    }
}
