//! Files of rows, read in chunks: each reader says its columns first, then gives rows in order.

mod arrow;
mod csv;
mod json_lines;
mod parquet;
pub(crate) mod reader;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::batch::error::BatchError;
use crate::batch::form::Form;
use crate::batch::read::reader::{Reader, cannot_read};

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
        Form::Parquet => Box::new(parquet::ParquetReader::new(file, name, rows_max)?),
        Form::Arrow => {
            let mut magic = [0; 6];
            let is_file = file.read_exact(&mut magic).is_ok() && &magic == b"ARROW1";
            file.seek(SeekFrom::Start(0)).map_err(|error| cannot_read(&name, &error))?;
            if is_file {
                Box::new(arrow::arrow_file(file, name, rows_max)?)
            } else {
                Box::new(arrow::arrow_stream(file, name, rows_max)?)
            }
        }
    })
}
