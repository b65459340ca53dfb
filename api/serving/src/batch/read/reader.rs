//! What every reader gives.

use arrow_array::ArrayRef;
use arrow_schema::SchemaRef;

use crate::batch::chunk::{Chunk, Given, Numbers};
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

impl Rows {
    /// Rows of typed columns, none of them bad; the number of the first one.
    pub(crate) fn typed(columns: Vec<ArrayRef>, rows_count: usize, first: u64) -> Self {
        let columns = columns.into_iter().map(Given::Array).collect();
        Self { chunk: Chunk { columns, rows_count, numbers: Numbers::from(first) }, bad: Vec::new() }
    }
}

/// The names of columns.
pub(crate) fn names(schema: &SchemaRef) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

pub(crate) fn cannot_read(path: &str, why: &dyn std::fmt::Display) -> BatchError {
    BatchError::Read { path: path.to_owned(), why: why.to_string() }
}
