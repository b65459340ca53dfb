//! What every writer does.

use arrow_array::RecordBatch;

use crate::batch::error::BatchError;

/// Rows of one file, written in order.
pub(crate) trait Rows: Send {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), BatchError>;
    fn finish(self: Box<Self>) -> Result<(), BatchError>;
}

/// Key in a field's metadata: its texts are JSON.
pub(crate) const JSON: &str = "json";

pub(crate) fn cannot_write(path: &str, error: std::io::Error) -> BatchError {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        return BatchError::ClosedPipe;
    }
    BatchError::Write { path: path.to_owned(), why: error.to_string() }
}
