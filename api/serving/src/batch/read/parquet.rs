//! Parquet: pages of the columns that are needed are read, one at a time.
//!
//! ```text
//! columns a b c | d e f    ->  a thread for each part, in step: the same rows  ->  a b c d e f
//! ```
//!
//! To unpack and decode pages is most of the work of scoring with a small model, so each of the machine's cores takes a
//! part of the columns. All parts give the same number of rows at once, whatever the file's row groups are.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::ArrowError;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::file::reader::{ChunkReader, Length};

use crate::batch::error::BatchError;
use crate::batch::read::reader::{Reader, Rows, cannot_read, names};

/// Threads that read, at most: what is read must be predicted, too.
const PARTS_MAX: usize = 4;
/// Batches of a part that wait for the other parts.
const AHEAD: usize = 1;

/// A file that is read at places: threads share it, which a file's own position forbids.
#[derive(Debug, Clone)]
struct Shared {
    file: Arc<File>,
    bytes: u64,
}

/// A file from a place on.
struct Place {
    file: Arc<File>,
    at: u64,
}

impl Read for Place {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Length for Shared {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for Shared {
    type T = BufReader<Place>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(BufReader::new(Place { file: Arc::clone(&self.file), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        // Lengths are the file's own words.
        if start.checked_add(length as u64).is_none_or(|end| end > self.bytes) {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

/// A Parquet file.
pub(crate) struct ParquetReader {
    file: Shared,
    path: String,
    rows_max: usize,
    metadata: ArrowReaderMetadata,
    names: Vec<String>,
    columns: Vec<usize>,
    parts: Option<Vec<Part>>,
    rows_done: u64,
}

/// Some of the columns, next to one another.
enum Part {
    /// Read by whoever asks.
    Here(Box<ParquetRecordBatchReader>),
    /// Read ahead by a thread, which ends when nobody receives.
    Thread(Receiver<Result<RecordBatch, ArrowError>>),
}

impl Part {
    fn next(&mut self) -> Option<Result<RecordBatch, ArrowError>> {
        match self {
            Self::Here(batches) => batches.next(),
            // A thread that is gone has sent all.
            Self::Thread(batches) => batches.recv().ok(),
        }
    }
}

impl ParquetReader {
    pub(crate) fn new(file: File, path: String, rows_max: usize) -> Result<Self, BatchError> {
        // What pandas has written about its columns in the metadata says nothing that is needed here.
        let bytes = file.metadata().map_err(|error| cannot_read(&path, &error))?.len();
        let file = Shared { file: Arc::new(file), bytes };
        let metadata =
            ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(|error| cannot_read(&path, &error))?;
        let names = names(metadata.schema());
        let columns = (0..names.len()).collect();
        Ok(Self { file, path, rows_max, metadata, names, columns, parts: None, rows_done: 0 })
    }

    fn open(&self) -> Result<Vec<Part>, BatchError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let ranges = balanced(&self.bytes_each(), cores.min(PARTS_MAX));
        if ranges.len() <= 1 {
            return Ok(vec![Part::Here(Box::new(self.reader(&self.columns)?))]);
        }
        ranges.into_iter().map(|range| self.thread(&self.columns[range])).collect()
    }

    /// Bytes of each column in the file.
    fn bytes_each(&self) -> Vec<u64> {
        let schema = self.metadata.parquet_schema();
        let mut bytes = vec![0; self.names.len()];
        for group in self.metadata.metadata().row_groups() {
            for (leaf, chunk) in group.columns().iter().enumerate() {
                bytes[schema.get_column_root_idx(leaf)] += u64::try_from(chunk.compressed_size()).unwrap_or(0);
            }
        }
        self.columns.iter().map(|column| bytes[*column]).collect()
    }

    fn reader(&self, columns: &[usize]) -> Result<ParquetRecordBatchReader, BatchError> {
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.clone(), self.metadata.clone())
            .with_batch_size(self.rows_max);
        let mask = ProjectionMask::roots(builder.parquet_schema(), columns.iter().copied());
        builder.with_projection(mask).build().map_err(|error| cannot_read(&self.path, &error))
    }

    fn thread(&self, columns: &[usize]) -> Result<Part, BatchError> {
        let batches = self.reader(columns)?;
        let (give, take) = sync_channel(AHEAD);
        let work = move || {
            for batch in batches {
                if give.send(batch).is_err() {
                    return;
                }
            }
        };
        let name = "parquet".to_owned();
        std::thread::Builder::new().name(name).spawn(work).map_err(|error| cannot_read(&self.path, &error))?;
        Ok(Part::Thread(take))
    }
}

impl Reader for ParquetReader {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn rows_total(&self) -> Option<u64> {
        u64::try_from(self.metadata.metadata().file_metadata().num_rows()).ok()
    }

    fn narrow(&mut self, columns: &[usize]) -> Result<(), BatchError> {
        self.columns = columns.to_vec();
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Rows>, BatchError> {
        if self.parts.is_none() {
            self.parts = Some(self.open()?);
        }
        let Some(parts) = &mut self.parts else { return Ok(None) };
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        let mut rows_count = None;
        let mut ended = false;
        for part in parts {
            let Some(batch) = part.next() else {
                ended = true;
                continue;
            };
            let batch = batch.map_err(|error| cannot_read(&self.path, &error))?;
            if *rows_count.get_or_insert(batch.num_rows()) != batch.num_rows() {
                return Err(cannot_read(&self.path, &"its columns have different numbers of rows"));
            }
            columns.extend(batch.columns().iter().cloned());
        }
        match rows_count {
            None => Ok(None),
            Some(_) if ended => Err(cannot_read(&self.path, &"some of its columns end before others")),
            Some(rows_count) => {
                let rows = Rows::typed(columns, rows_count, self.rows_done + 1);
                self.rows_done += rows_count as u64;
                Ok(Some(rows))
            }
        }
    }
}

/// Cuts a row of weights into at most `parts_max` ranges of about the same weight; none is empty.
fn balanced(weights: &[u64], parts_max: usize) -> Vec<Range<usize>> {
    let parts = parts_max.min(weights.len()).max(1);
    let total: u64 = weights.iter().sum::<u64>().max(1);
    let mut ranges = Vec::with_capacity(parts);
    let (mut start, mut before) = (0, 0);
    for (at, weight) in weights.iter().enumerate() {
        before += weight;
        let has_its_share = before * parts as u64 >= total * (ranges.len() as u64 + 1);
        // Each later part gets at least one.
        let must_end = weights.len() - at - 1 < parts - ranges.len();
        if ranges.len() + 1 < parts && (has_its_share || must_end) {
            ranges.push(start..at + 1);
            start = at + 1;
        }
    }
    if start < weights.len() || weights.is_empty() {
        ranges.push(start..weights.len());
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_cut_evenly_and_no_part_is_empty() {
        assert_eq!(balanced(&[1; 20], 2), [0..10, 10..20]);
        assert_eq!(balanced(&[1; 20], 3).len(), 3);
        assert_eq!(balanced(&[100, 1, 1], 3), [0..1, 1..2, 2..3]);
        assert_eq!(balanced(&[1, 1, 100], 3), [0..1, 1..2, 2..3]);
        assert_eq!(balanced(&[1, 100], 4), [0..1, 1..2]);
        assert_eq!(balanced(&[0, 0, 0], 2).iter().map(ExactSizeIterator::len).sum::<usize>(), 3);
        assert_eq!(balanced(&[5], 4), *std::slice::from_ref(&(0..1)));
        assert_eq!(balanced(&[], 4), *std::slice::from_ref(&(0..0)));
    }
}
