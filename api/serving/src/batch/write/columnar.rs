//! Parquet and Arrow IPC.

use std::io::{BufWriter, Write};

use arrow_array::RecordBatch;
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_schema::{ArrowError, SchemaRef};
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{Compression, Type, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::batch::error::BatchError;
use crate::batch::write::rows::{Rows, cannot_write};

/// Rows of a row group: what is held in memory until it is written.
const GROUP_ROWS: usize = 256 << 10;

fn of_arrow(path: &str, error: ArrowError) -> BatchError {
    match error {
        ArrowError::IoError(_, error) => cannot_write(path, error),
        error => BatchError::Write { path: path.to_owned(), why: error.to_string() },
    }
}

fn of_parquet(path: &str, error: ParquetError) -> BatchError {
    match error {
        ParquetError::External(error) => match error.downcast::<std::io::Error>() {
            Ok(error) => cannot_write(path, *error),
            Err(error) => BatchError::Write { path: path.to_owned(), why: error.to_string() },
        },
        error => BatchError::Write { path: path.to_owned(), why: error.to_string() },
    }
}

pub(crate) struct ParquetRows {
    writer: ArrowWriter<Box<dyn Write + Send>>,
    path: String,
}

impl ParquetRows {
    pub(crate) fn new(output: Box<dyn Write + Send>, path: String, schema: &SchemaRef) -> Result<Self, BatchError> {
        // Level 1: predictions are noisy numbers, on which higher levels only take time.
        let level = ZstdLevel::try_new(1).map_err(|error| of_parquet(&path, error))?;
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_statistics_enabled(EnabledStatistics::Chunk);
        // Floats hardly repeat: to look each one up in a dictionary takes longer than to write it.
        let described = ArrowSchemaConverter::new().convert(schema).map_err(|error| of_parquet(&path, error))?;
        for column in described.columns() {
            if matches!(column.physical_type(), Type::FLOAT | Type::DOUBLE) {
                properties = properties.set_column_dictionary_enabled(column.path().clone(), false);
            }
        }
        let writer = ArrowWriter::try_new(output, schema.clone(), Some(properties.build()));
        Ok(Self { writer: writer.map_err(|error| of_parquet(&path, error))?, path })
    }
}

impl Rows for ParquetRows {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), BatchError> {
        self.writer.write(batch).map_err(|error| of_parquet(&self.path, error))
    }

    fn finish(self: Box<Self>) -> Result<(), BatchError> {
        let Self { writer, path } = *self;
        writer.close().map(|_| ()).map_err(|error| of_parquet(&path, error))
    }
}

/// An IPC file, or a stream where nobody can seek.
pub(crate) enum ArrowRows {
    File(FileWriter<BufWriter<Box<dyn Write + Send>>>, String),
    Stream(StreamWriter<BufWriter<Box<dyn Write + Send>>>, String),
}

impl ArrowRows {
    pub(crate) fn file(output: Box<dyn Write + Send>, path: String, schema: &SchemaRef) -> Result<Self, BatchError> {
        let writer = FileWriter::try_new(BufWriter::new(output), schema).map_err(|error| of_arrow(&path, error))?;
        Ok(Self::File(writer, path))
    }

    pub(crate) fn stream(output: Box<dyn Write + Send>, path: String, schema: &SchemaRef) -> Result<Self, BatchError> {
        let writer = StreamWriter::try_new(BufWriter::new(output), schema).map_err(|error| of_arrow(&path, error))?;
        Ok(Self::Stream(writer, path))
    }
}

impl Rows for ArrowRows {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), BatchError> {
        match self {
            Self::File(writer, path) => writer.write(batch).map_err(|error| of_arrow(path, error)),
            Self::Stream(writer, path) => {
                writer.write(batch).and_then(|()| writer.flush()).map_err(|error| of_arrow(path, error))
            }
        }
    }

    fn finish(self: Box<Self>) -> Result<(), BatchError> {
        let (output, path) = match *self {
            Self::File(writer, path) => (writer.into_inner(), path),
            Self::Stream(writer, path) => (writer.into_inner(), path),
        };
        let mut output = output.map_err(|error| of_arrow(&path, error))?;
        output.flush().map_err(|error| cannot_write(&path, error))
    }
}
