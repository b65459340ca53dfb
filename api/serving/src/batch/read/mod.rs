//! Files of rows, read in chunks: each reader says its columns first, then gives rows in order.

mod columnar;
mod csv;
mod json_lines;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::batch::chunk::Chunk;
use crate::batch::error::{BadRow, BatchError};
use crate::batch::form::Form;

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

/// Opens a file.
///
/// # Errors
/// It is not there, or it is not of this form.
pub(crate) fn open(path: &Path, form: Form, rows_max: usize) -> Result<Box<dyn Reader>, BatchError> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| cannot_read(&name, &error))?;
    of_file(file, name, form, rows_max)
}

/// Opens standard input.
///
/// # Errors
/// It is not of this form.
pub(crate) fn open_stdin(form: Form, rows_max: usize) -> Result<Box<dyn Reader>, BatchError> {
    let name = "standard input".to_owned();
    match form {
        Form::Csv => Ok(Box::new(csv::CsvReader::new(std::io::stdin(), name, rows_max)?)),
        Form::JsonLines => Ok(Box::new(json_lines::JsonReader::new(std::io::stdin(), name, rows_max)?)),
        // A Parquet file is read from its end, and so is an Arrow file.
        Form::Parquet | Form::Arrow => {
            let mut file = tempfile::tempfile().map_err(|error| cannot_read(&name, &error))?;
            std::io::copy(&mut std::io::stdin(), &mut file).map_err(|error| cannot_read(&name, &error))?;
            file.seek(SeekFrom::Start(0)).map_err(|error| cannot_read(&name, &error))?;
            of_file(file, name, form, rows_max)
        }
    }
}

fn of_file(mut file: File, name: String, form: Form, rows_max: usize) -> Result<Box<dyn Reader>, BatchError> {
    Ok(match form {
        Form::Csv => Box::new(csv::CsvReader::new(file, name, rows_max)?),
        Form::JsonLines => Box::new(json_lines::JsonReader::new(file, name, rows_max)?),
        Form::Parquet => Box::new(columnar::ParquetReader::new(file, name, rows_max)?),
        Form::Arrow => {
            let mut magic = [0; 6];
            let is_file = file.read_exact(&mut magic).is_ok() && &magic == b"ARROW1";
            file.seek(SeekFrom::Start(0)).map_err(|error| cannot_read(&name, &error))?;
            if is_file {
                Box::new(columnar::arrow_file(file, name, rows_max)?)
            } else {
                Box::new(columnar::arrow_stream(file, name, rows_max)?)
            }
        }
    })
}

fn cannot_read(path: &str, why: &dyn std::fmt::Display) -> BatchError {
    BatchError::Read { path: path.to_owned(), why: why.to_string() }
}
