//! Arrow IPC, as files and as streams.

use std::fs::File;

use arrow_array::RecordBatch;
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::ArrowError;

use crate::batch::error::BatchError;
use crate::batch::read::reader::{Reader, Rows, cannot_read, names};

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
        let rows = Rows::typed(batch.slice(0, length).columns().to_vec(), length, self.rows_done + 1);
        self.rows_done += length as u64;
        Ok(Some(rows))
    }
}
