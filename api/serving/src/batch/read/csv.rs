//! CSV: a line of names, then a line for each row. All cells are texts; the plan casts them.

use std::io::Read;
use std::sync::Arc;

use arrow_array::builder::LargeStringBuilder;
use csv::ByteRecord;

use crate::batch::chunk::{Chunk, Given, Numbers};
use crate::batch::error::{BadRow, BatchError};
use crate::batch::read::reader::{Reader, Rows, cannot_read};

pub(crate) struct CsvReader<R> {
    records: csv::Reader<R>,
    path: String,
    names: Vec<String>,
    columns: Vec<usize>,
    width: usize,
    rows_max: usize,
    rows_done: u64,
    record: ByteRecord,
}

impl<R: Read + Send> CsvReader<R> {
    pub(crate) fn new(input: R, path: String, rows_max: usize) -> Result<Self, BatchError> {
        let mut records = csv::ReaderBuilder::new().flexible(true).buffer_capacity(1 << 20).from_reader(input);
        let header = records.byte_headers().map_err(|error| cannot_read(&path, &error))?;
        let names: Result<Vec<String>, BatchError> = header
            .iter()
            .enumerate()
            .map(|(at, name)| {
                let name = std::str::from_utf8(name)
                    .map_err(|_| cannot_read(&path, &format!("the name of column {} is no UTF-8", at + 1)))?;
                // Spreadsheets write a mark before the first name.
                Ok(if at == 0 { name.trim_start_matches('\u{feff}') } else { name }.to_owned())
            })
            .collect();
        let names = names?;
        if names.is_empty() {
            return Err(cannot_read(&path, &"it is empty; the first line of a CSV file has the names of the columns"));
        }
        for (at, name) in names.iter().enumerate() {
            if names[..at].contains(name) {
                return Err(cannot_read(&path, &format!("two columns have the name '{name}'")));
            }
        }
        let width = names.len();
        let columns = (0..width).collect();
        Ok(Self { records, path, names, columns, width, rows_max, rows_done: 0, record: ByteRecord::new() })
    }
}

impl<R: Read + Send> Reader for CsvReader<R> {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn narrow(&mut self, columns: &[usize]) -> Result<(), BatchError> {
        self.columns = columns.to_vec();
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Rows>, BatchError> {
        let mut builders: Vec<LargeStringBuilder> = self.columns.iter().map(|_| LargeStringBuilder::new()).collect();
        let mut bad = Vec::new();
        let mut numbers = Vec::new();
        let mut has_more = true;
        while numbers.len() < self.rows_max {
            has_more =
                self.records.read_byte_record(&mut self.record).map_err(|error| cannot_read(&self.path, &error))?;
            if !has_more {
                break;
            }
            self.rows_done += 1;
            let line = self.record.position().map(csv::Position::line);
            let (row, width) = (self.rows_done, self.width);
            if self.record.len() != width {
                let why = format!("{} fields, expected {width}", self.record.len());
                bad.push(BadRow { row, line, column: None, why });
                continue;
            }
            let fields: Result<Vec<&str>, usize> = self
                .columns
                .iter()
                .map(|column| std::str::from_utf8(self.record.get(*column).unwrap_or_default()).map_err(|_| *column))
                .collect();
            match fields {
                Ok(fields) => {
                    builders.iter_mut().zip(fields).for_each(|(builder, field)| builder.append_value(field));
                    numbers.push((row, line));
                }
                Err(column) => {
                    let column = self.names.get(column).cloned();
                    bad.push(BadRow { row, line, column, why: "no UTF-8".into() });
                }
            }
        }
        if !has_more && numbers.is_empty() && bad.is_empty() {
            return Ok(None);
        }
        let rows_count = numbers.len();
        let columns = builders.iter_mut().map(|builder| Given::Array(Arc::new(builder.finish()))).collect();
        Ok(Some(Rows { chunk: Chunk { columns, rows_count, numbers: Numbers::of_each(numbers) }, bad }))
    }
}
