//! Columns whose values repeat for many rows, encoded by stretch instead of by row: what run, key, branch and the like
//! cost does not depend on the number of points.
//!
//! ```text
//! dictionary page   each value once, PLAIN                                     (texts and numbers)
//! data page         [u32 LE length, levels]  only if a value may be missing: 1 where there is one
//!                   u8 bits of an index, indexes                               (texts and numbers)
//!                   u32 LE length, values                                      (booleans)
//! ```
//! Levels, indexes and booleans are runs: a LEB128 of twice the count, then the value in whole bytes. That is the half of
//! Parquet's RLE hybrid that repeats; readers take any mixture. The pages are not compressed: they are short.

use bytes::Bytes;
use parquet::basic::{Compression, Encoding};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

/// An encoded column of a row group.
pub(super) struct Ready {
    pub(super) bytes: Bytes,
    pub(super) close: ColumnCloseResult,
}

/// Rows that follow one another and have the same value; `None`: they have none.
pub(super) type Stretch = (Option<u32>, usize);

/// Joins stretches of equal values.
pub(super) fn joined(stretches: impl Iterator<Item = Stretch>) -> Vec<Stretch> {
    let mut out: Vec<Stretch> = Vec::new();
    for (value, rows) in stretches.filter(|(_, rows)| *rows > 0) {
        match out.last_mut() {
            Some((last, count)) if *last == value => *count += rows,
            _ => out.push((value, rows)),
        }
    }
    out
}

fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Runs of values of this many bits.
fn runs(stretches: impl Iterator<Item = (u32, usize)>, bits: u32) -> Vec<u8> {
    let mut out = Vec::new();
    for (value, rows) in stretches {
        put_varint(&mut out, rows << 1);
        out.extend_from_slice(&value.to_le_bytes()[..bits.div_ceil(8) as usize]);
    }
    out
}

fn put_with_length(out: &mut Vec<u8>, runs: &[u8]) {
    out.extend_from_slice(&(runs.len() as u32).to_le_bytes());
    out.extend_from_slice(runs);
}

/// A column of texts: the index of each in `values`. `sparse`: a value may be missing.
pub(super) fn texts(
    column: ColumnDescPtr,
    values: &[&str],
    stretches: &[Stretch],
    sparse: bool,
) -> Result<Ready, ParquetError> {
    let mut dictionary = Vec::new();
    for text in values {
        dictionary.extend_from_slice(&(text.len() as u32).to_le_bytes());
        dictionary.extend_from_slice(text.as_bytes());
    }
    let bytes = |text: Option<&&str>| text.map(|text| ByteArray::from(*text));
    let nulls = missing(stretches);
    let statistics =
        Statistics::byte_array(bytes(values.iter().min()), bytes(values.iter().max()), None, Some(nulls), false);
    indexed(column, (dictionary, values.len()), stretches, sparse, statistics)
}

/// A column of numbers: the index of each in `values`.
pub(super) fn numbers(column: ColumnDescPtr, values: &[i32], stretches: &[Stretch]) -> Result<Ready, ParquetError> {
    let dictionary = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let (least, greatest) = (values.iter().min().copied(), values.iter().max().copied());
    let statistics = Statistics::int32(least, greatest, None, Some(0), false);
    indexed(column, (dictionary, values.len()), stretches, false, statistics)
}

/// A column of booleans: 0 or 1 for each stretch.
pub(super) fn flags(column: ColumnDescPtr, stretches: &[Stretch]) -> Result<Ready, ParquetError> {
    let mut body = Vec::new();
    put_with_length(&mut body, &runs(stretches.iter().map(|(value, rows)| (value.unwrap_or(0), *rows)), 1));
    let values = || stretches.iter().map(|(value, _)| *value == Some(1));
    let statistics = Statistics::boolean(values().min(), values().max(), None, Some(0), false);
    let rows = stretches.iter().map(|(_, rows)| rows).sum();
    finish(column, None, body, Encoding::RLE, rows, statistics)
}

fn missing(stretches: &[Stretch]) -> u64 {
    stretches.iter().filter(|(value, _)| value.is_none()).map(|(_, rows)| *rows as u64).sum()
}

fn indexed(
    column: ColumnDescPtr,
    dictionary: (Vec<u8>, usize),
    stretches: &[Stretch],
    sparse: bool,
    statistics: Statistics,
) -> Result<Ready, ParquetError> {
    let mut body = Vec::new();
    if sparse {
        let levels = joined(stretches.iter().map(|(value, rows)| (Some(u32::from(value.is_some())), *rows)));
        put_with_length(&mut body, &runs(levels.iter().map(|(value, rows)| (value.unwrap_or(0), *rows)), 1));
    }
    // So many bits that the last index has room.
    let bits = u32::BITS - (dictionary.1.saturating_sub(1) as u32).leading_zeros();
    body.push(bits as u8);
    body.extend(runs(stretches.iter().filter_map(|(value, rows)| Some(((*value)?, *rows))), bits));
    let rows = stretches.iter().map(|(_, rows)| rows).sum();
    finish(column, Some(dictionary), body, Encoding::RLE_DICTIONARY, rows, statistics)
}

/// Writes the pages.
fn finish(
    column: ColumnDescPtr,
    dictionary: Option<(Vec<u8>, usize)>,
    body: Vec<u8>,
    encoding: Encoding,
    rows: usize,
    statistics: Statistics,
) -> Result<Ready, ParquetError> {
    let mut out = TrackedWrite::new(Vec::new());
    let mut pages = SerializedPageWriter::new(&mut out);
    let mut uncompressed = 0;
    let mut encodings = vec![Encoding::RLE];
    let has_dictionary = dictionary.is_some();
    if let Some((bytes, count)) = dictionary {
        let length = bytes.len();
        let (buf, num_values) = (Bytes::from(bytes), count as u32);
        let page = Page::DictionaryPage { buf, num_values, encoding: Encoding::PLAIN, is_sorted: false };
        uncompressed += pages.write_page(CompressedPage::new(page, length))?.uncompressed_size;
        encodings.extend([Encoding::PLAIN, Encoding::RLE_DICTIONARY]);
    }
    let length = body.len();
    let page = Page::DataPage {
        buf: Bytes::from(body),
        num_values: rows as u32,
        encoding,
        def_level_encoding: Encoding::RLE,
        rep_level_encoding: Encoding::RLE,
        statistics: None,
    };
    let data = pages.write_page(CompressedPage::new(page, length))?;
    uncompressed += data.uncompressed_size;
    pages.close()?;
    let bytes = Bytes::from(out.into_inner()?);
    let metadata = ColumnChunkMetaData::builder(column)
        .set_compression(Compression::UNCOMPRESSED)
        .set_encodings(encodings)
        .set_total_compressed_size(bytes.len() as i64)
        .set_total_uncompressed_size(uncompressed as i64)
        .set_num_values(rows as i64)
        .set_data_page_offset(data.offset as i64)
        .set_dictionary_page_offset(has_dictionary.then_some(0))
        .set_statistics(statistics)
        .build()?;
    let close = ColumnCloseResult {
        bytes_written: bytes.len() as u64,
        rows_written: rows as u64,
        metadata,
        bloom_filter: None,
        column_index: None,
        offset_index: None,
    };
    Ok(Ready { bytes, close })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_counts_and_values() {
        assert_eq!(runs([(1, 3), (0, 200)].into_iter(), 1), [6, 1, 0x90, 3, 0]);
        assert_eq!(runs([(0x0102, 1)].into_iter(), 9), [2, 2, 1]);
        assert_eq!(runs([(0, 5)].into_iter(), 0), [10], "one value needs no bits");
    }

    #[test]
    fn stretches_of_one_value_are_joined() {
        let stretches = [(Some(1), 2), (Some(1), 3), (None, 1), (None, 0), (None, 4), (Some(1), 1)];
        assert_eq!(joined(stretches.into_iter()), [(Some(1), 5), (None, 5), (Some(1), 1)]);
    }
}
