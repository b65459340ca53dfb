//! JSON lines: an object on each line, numbers as MLflow writes them.

use std::fmt::Write as _;
use std::io::{BufWriter, Write};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Float64Type, Int64Type, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::DataType;
use runlode_models::json::{write_float, write_text};

use crate::batch::error::BatchError;
use crate::batch::write::rows::{JSON, Rows, cannot_write};

pub(crate) struct JsonRows {
    output: BufWriter<Box<dyn Write + Send>>,
    path: String,
}

impl JsonRows {
    pub(crate) fn new(output: Box<dyn Write + Send>, path: String) -> Self {
        Self { output: BufWriter::with_capacity(1 << 20, output), path }
    }
}

/// Appends a cell as JSON.
fn write_cell(out: &mut String, cells: &ArrayRef, row: usize, is_json: bool) -> Result<(), String> {
    if cells.is_null(row) {
        out.push_str("null");
        return Ok(());
    }
    match cells.data_type() {
        DataType::Float64 => write_float(out, cells.as_primitive::<Float64Type>().value(row)),
        DataType::Float32 => write_float(out, f64::from(cells.as_primitive::<Float32Type>().value(row))),
        DataType::Float16 => write_float(out, f64::from(cells.as_primitive::<Float16Type>().value(row))),
        DataType::Boolean => out.push_str(if cells.as_boolean().value(row) { "true" } else { "false" }),
        DataType::LargeUtf8 if is_json => out.push_str(cells.as_string::<i64>().value(row)),
        DataType::LargeUtf8 => write_text(out, cells.as_string::<i64>().value(row)),
        DataType::Utf8 => write_text(out, cells.as_string::<i32>().value(row)),
        DataType::Int64 => {
            let _ = write!(out, "{}", cells.as_primitive::<Int64Type>().value(row));
        }
        DataType::UInt64 => {
            let _ = write!(out, "{}", cells.as_primitive::<UInt64Type>().value(row));
        }
        DataType::FixedSizeList(..) => {
            let list = cells.as_fixed_size_list().value(row);
            out.push('[');
            for at in 0..list.len() {
                if at > 0 {
                    out.push_str(", ");
                }
                write_cell(out, &list, at, false)?;
            }
            out.push(']');
        }
        kind => {
            let formatter =
                ArrayFormatter::try_new(cells, &FormatOptions::default()).map_err(|error| error.to_string())?;
            let text = formatter.value(row).to_string();
            if kind.is_integer() { out.push_str(&text) } else { write_text(out, &text) }
        }
    }
    Ok(())
}

impl Rows for JsonRows {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), BatchError> {
        let schema = batch.schema();
        let columns: Vec<(String, bool, &ArrayRef)> = schema
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, cells)| {
                let mut name = String::new();
                write_text(&mut name, field.name());
                (name, field.metadata().contains_key(JSON), cells)
            })
            .collect();
        let mut line = String::new();
        for row in 0..batch.num_rows() {
            line.clear();
            for (at, (name, is_json, cells)) in columns.iter().enumerate() {
                line.push_str(if at == 0 { "{" } else { ", " });
                line.push_str(name);
                line.push_str(": ");
                write_cell(&mut line, cells, row, *is_json)
                    .map_err(|why| BatchError::Write { path: self.path.clone(), why })?;
            }
            line.push_str("}\n");
            self.output.write_all(line.as_bytes()).map_err(|error| cannot_write(&self.path, error))?;
        }
        self.output.flush().map_err(|error| cannot_write(&self.path, error))
    }

    fn finish(self: Box<Self>) -> Result<(), BatchError> {
        let Self { mut output, path } = *self;
        output.flush().map_err(|error| cannot_write(&path, error))
    }
}
