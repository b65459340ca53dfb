//! Parquet and Arrow IPC: files with typed columns.

use std::fs::File;

use arrow_array::RecordBatch;
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::{ArrowError, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use crate::batch::chunk::{Chunk, Given, Numbers};
use crate::batch::error::BatchError;
use crate::batch::read::reader::{Reader, Rows, cannot_read};

fn names(schema: &SchemaRef) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

fn rows(batch: &RecordBatch, first: u64) -> Rows {
    let columns = batch.columns().iter().map(|column| Given::Array(column.clone())).collect();
    Rows { chunk: Chunk { columns, rows_count: batch.num_rows(), numbers: Numbers::from(first) }, bad: Vec::new() }
}

/// A Parquet file. Only pages of the columns that are needed are read, one at a time.
pub(crate) struct ParquetReader {
    file: File,
    path: String,
    rows_max: usize,
    metadata: ArrowReaderMetadata,
    names: Vec<String>,
    columns: Option<Vec<usize>>,
    batches: Option<ParquetRecordBatchReader>,
    rows_done: u64,
}

impl ParquetReader {
    pub(crate) fn new(file: File, path: String, rows_max: usize) -> Result<Self, BatchError> {
        // What pandas has written about its columns in the metadata says nothing that is needed here.
        let metadata =
            ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(|error| cannot_read(&path, &error))?;
        let names = names(metadata.schema());
        Ok(Self { file, path, rows_max, metadata, names, columns: None, batches: None, rows_done: 0 })
    }

    fn open(&self) -> Result<ParquetRecordBatchReader, BatchError> {
        let file = self.file.try_clone().map_err(|error| cannot_read(&self.path, &error))?;
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_batch_size(self.rows_max);
        if let Some(columns) = &self.columns {
            let mask = ProjectionMask::roots(builder.parquet_schema(), columns.iter().copied());
            builder = builder.with_projection(mask);
        }
        builder.build().map_err(|error| cannot_read(&self.path, &error))
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
        self.columns = Some(columns.to_vec());
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Rows>, BatchError> {
        if self.batches.is_none() {
            self.batches = Some(self.open()?);
        }
        let Some(batch) = self.batches.as_mut().and_then(Iterator::next) else { return Ok(None) };
        let batch = batch.map_err(|error| cannot_read(&self.path, &error))?;
        let rows = rows(&batch, self.rows_done + 1);
        self.rows_done += batch.num_rows() as u64;
        Ok(Some(rows))
    }
}

/// Batches of Arrow, as an IPC file or an IPC stream has them.
pub(crate) struct ArrowReader<B> {
    batches: B,
    path: String,
    names: Vec<String>,
    columns: Option<Vec<usize>>,
    /// A batch of the file can be longer than wanted.
    rest: Option<RecordBatch>,
    rows_max: usize,
    rows_done: u64,
}

/// An IPC file.
pub(crate) fn arrow_file(
    file: File,
    path: String,
    rows_max: usize,
) -> Result<ArrowReader<FileReader<std::io::BufReader<File>>>, BatchError> {
    let batches = FileReader::try_new_buffered(file, None).map_err(|error| cannot_read(&path, &error))?;
    let names = names(&batches.schema());
    Ok(ArrowReader { batches, path, names, columns: None, rest: None, rows_max, rows_done: 0 })
}

/// An IPC stream.
pub(crate) fn arrow_stream(
    file: File,
    path: String,
    rows_max: usize,
) -> Result<ArrowReader<StreamReader<std::io::BufReader<File>>>, BatchError> {
    let batches = StreamReader::try_new_buffered(file, None).map_err(|error| cannot_read(&path, &error))?;
    let names = names(&batches.schema());
    Ok(ArrowReader { batches, path, names, columns: None, rest: None, rows_max, rows_done: 0 })
}

impl<B: Iterator<Item = Result<RecordBatch, ArrowError>> + Send> Reader for ArrowReader<B> {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn narrow(&mut self, columns: &[usize]) -> Result<(), BatchError> {
        self.columns = Some(columns.to_vec());
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Rows>, BatchError> {
        let batch = match self.rest.take() {
            Some(batch) => batch,
            None => match self.batches.next() {
                None => return Ok(None),
                Some(batch) => {
                    let batch = batch.map_err(|error| cannot_read(&self.path, &error))?;
                    match &self.columns {
                        Some(columns) => batch.project(columns).map_err(|error| cannot_read(&self.path, &error))?,
                        None => batch,
                    }
                }
            },
        };
        let length = batch.num_rows().min(self.rows_max);
        if length < batch.num_rows() {
            self.rest = Some(batch.slice(length, batch.num_rows() - length));
        }
        let rows = rows(&batch.slice(0, length), self.rows_done + 1);
        self.rows_done += length as u64;
        Ok(Some(rows))
    }
}
