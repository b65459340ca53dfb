//! What every reader gives.

use crate::batch::chunk::Chunk;
use crate::batch::error::{BadRow, BatchError};

/// Rows of one file.
pub(crate) trait Reader: Send {
    /// The columns, from left to right.
    fn names(&self) -> &[String];

    /// All rows of the file, where the file says it.
    fn rows_total(&self) -> Option<u64> {
        None
    }

    /// From now on, only these columns are given. Called before the first rows are read.
    ///
    /// # Errors
    /// The file cannot be read.
    fn narrow(&mut self, columns: &[usize]) -> Result<(), BatchError>;

    /// The next rows, and rows between them that cannot be read. None: the file has ended.
    ///
    /// # Errors
    /// The file cannot be read any further.
    fn next(&mut self) -> Result<Option<Rows>, BatchError>;
}

/// What a reader gives at once.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) chunk: Chunk,
    pub(crate) bad: Vec<BadRow>,
}

pub(crate) fn cannot_read(path: &str, why: &dyn std::fmt::Display) -> BatchError {
    BatchError::Read { path: path.to_owned(), why: why.to_string() }
}
