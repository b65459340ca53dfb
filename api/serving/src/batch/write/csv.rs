//! CSV: a line of names, then a line for each row. A column of lists is as many columns: `name.0`, `name.1`...

use std::io::Write;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, SchemaRef};

use crate::batch::error::BatchError;
use crate::batch::write::rows::{Rows, cannot_write};

pub(crate) struct CsvRows {
    writer: csv::Writer<Box<dyn Write + Send>>,
    path: String,
}

impl CsvRows {
    pub(crate) fn new(output: Box<dyn Write + Send>, path: String, schema: &SchemaRef) -> Result<Self, BatchError> {
        let mut writer = csv::WriterBuilder::new().buffer_capacity(1 << 20).from_writer(output);
        let names = schema.fields().iter().flat_map(|field| match field.data_type() {
            DataType::FixedSizeList(_, length) => (0..*length).map(|at| format!("{}.{at}", field.name())).collect(),
            _ => vec![field.name().clone()],
        });
        writer.write_record(names).map_err(|error| of_csv(&path, error))?;
        Ok(Self { writer, path })
    }
}

fn of_csv(path: &str, error: csv::Error) -> BatchError {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => cannot_write(path, error),
        kind => BatchError::Write { path: path.to_owned(), why: format!("{kind:?}") },
    }
}

/// One column of text.
struct Texts<'a> {
    cells: &'a ArrayRef,
    formatter: ArrayFormatter<'a>,
    /// Cells of a row, and which of them this is.
    per_row: usize,
    at: usize,
}

impl Texts<'_> {
    fn text(&self, row: usize) -> String {
        let cell = row * self.per_row + self.at;
        if self.cells.is_null(cell) {
            return String::new();
        }
        // Python reads what it writes itself: `nan`, `inf`.
        let float = match self.cells.data_type() {
            DataType::Float64 => Some(self.cells.as_primitive::<Float64Type>().value(cell)),
            DataType::Float32 => Some(f64::from(self.cells.as_primitive::<Float32Type>().value(cell))),
            DataType::Float16 => Some(f64::from(self.cells.as_primitive::<Float16Type>().value(cell))),
            _ => None,
        };
        match float {
            Some(value) if value.is_nan() => "nan".into(),
            _ => self.formatter.value(cell).to_string(),
        }
    }
}

impl Rows for CsvRows {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), BatchError> {
        let options = FormatOptions::default();
        let wrong =
            |error: arrow_schema::ArrowError| BatchError::Write { path: self.path.clone(), why: error.to_string() };
        let flat: Vec<(ArrayRef, usize)> = batch
            .columns()
            .iter()
            .map(|column| match column.as_fixed_size_list_opt() {
                Some(list) => (list.values().clone(), list.value_length() as usize),
                None => (column.clone(), 1),
            })
            .collect();
        let mut columns = Vec::new();
        for (cells, per_row) in &flat {
            for at in 0..*per_row {
                let formatter = ArrayFormatter::try_new(cells, &options).map_err(wrong)?;
                columns.push(Texts { cells, formatter, per_row: *per_row, at });
            }
        }
        for row in 0..batch.num_rows() {
            let fields = columns.iter().map(|column| column.text(row));
            self.writer.write_record(fields).map_err(|error| of_csv(&self.path, error))?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), BatchError> {
        let Self { mut writer, path } = *self;
        writer.flush().map_err(|error| cannot_write(&path, error))
    }
}
