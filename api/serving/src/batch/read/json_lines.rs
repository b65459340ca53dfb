//! JSON lines: an object on each line, its keys are the columns. Empty lines are no rows.
//!
//! The columns are the keys of the first rows (one chunk of them); later keys are passed over, as unknown columns are.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;

use runlode_models::{Value, json};

use crate::batch::chunk::{Chunk, Given, Numbers};
use crate::batch::error::{BadRow, BatchError};
use crate::batch::read::reader::{Reader, Rows, cannot_read};

/// A longer line is no row of a table: memory is bounded.
const LINE_BYTES_MAX: u64 = 64 << 20;

pub(crate) struct JsonReader<R> {
    input: BufReader<R>,
    path: String,
    names: Vec<String>,
    columns: Vec<usize>,
    rows_max: usize,
    rows_done: u64,
    lines_done: u64,
    /// Rows that were read to find the names.
    first: Option<Parsed>,
}

struct Parsed {
    rows: Vec<Vec<(Arc<str>, Value)>>,
    numbers: Vec<(u64, Option<u64>)>,
    bad: Vec<BadRow>,
}

impl<R: Read + Send> JsonReader<R> {
    pub(crate) fn new(input: R, path: String, rows_max: usize) -> Result<Self, BatchError> {
        let input = BufReader::with_capacity(1 << 20, input);
        let mut reader = Self {
            input,
            path,
            names: Vec::new(),
            columns: Vec::new(),
            rows_max,
            rows_done: 0,
            lines_done: 0,
            first: None,
        };
        let first = reader.parse()?;
        let mut known = HashMap::new();
        for (key, _) in first.rows.iter().flatten() {
            if !known.contains_key(key) {
                known.insert(Arc::clone(key), ());
                reader.names.push(key.to_string());
            }
        }
        reader.columns = (0..reader.names.len()).collect();
        reader.first = Some(first);
        Ok(reader)
    }

    fn parse(&mut self) -> Result<Parsed, BatchError> {
        let mut parsed = Parsed { rows: Vec::new(), numbers: Vec::new(), bad: Vec::new() };
        let mut text = Vec::new();
        while parsed.rows.len() < self.rows_max {
            text.clear();
            let mut limited = (&mut self.input).take(LINE_BYTES_MAX);
            let length = limited.read_until(b'\n', &mut text).map_err(|error| cannot_read(&self.path, &error))?;
            if length == 0 {
                break;
            }
            self.lines_done += 1;
            let line = self.lines_done;
            if length as u64 == LINE_BYTES_MAX && text.last() != Some(&b'\n') {
                return Err(cannot_read(&self.path, &format!("line {line} is longer than {LINE_BYTES_MAX} bytes")));
            }
            if text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            self.rows_done += 1;
            let row = self.rows_done;
            match json::from_slice(&text) {
                Ok(Value::Dict(pairs)) => {
                    parsed.rows.push(pairs);
                    parsed.numbers.push((row, Some(line)));
                }
                Ok(_) => {
                    let why = "a row is an object of JSON with columns as keys".into();
                    parsed.bad.push(BadRow { row, line: Some(line), column: None, why });
                }
                Err(error) => {
                    let why = format!("column {} of the line: {}", error.column, error.reason);
                    parsed.bad.push(BadRow { row, line: Some(line), column: None, why });
                }
            }
        }
        Ok(parsed)
    }
}

impl<R: Read + Send> Reader for JsonReader<R> {
    fn names(&self) -> &[String] {
        &self.names
    }

    fn narrow(&mut self, columns: &[usize]) -> Result<(), BatchError> {
        self.columns = columns.to_vec();
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Rows>, BatchError> {
        let parsed = match self.first.take() {
            Some(parsed) => parsed,
            None => self.parse()?,
        };
        if parsed.rows.is_empty() && parsed.bad.is_empty() {
            return Ok(None);
        }
        let rows_count = parsed.rows.len();
        let mut columns: Vec<Vec<Value>> = self.columns.iter().map(|_| Vec::with_capacity(rows_count)).collect();
        for mut row in parsed.rows {
            for (column, cells) in self.columns.iter().zip(&mut columns) {
                let name = self.names[*column].as_str();
                // Rows mostly have their keys in one order.
                let at = match row.get(*column) {
                    Some((key, _)) if **key == *name => Some(*column),
                    _ => row.iter().position(|(key, _)| **key == *name),
                };
                let value = at.and_then(|at| row.get_mut(at)).map(|(_, value)| std::mem::replace(value, Value::None));
                cells.push(value.unwrap_or(Value::None));
            }
        }
        let columns = columns.into_iter().map(Given::Values).collect();
        let numbers = Numbers::of_each(parsed.numbers);
        Ok(Some(Rows { chunk: Chunk { columns, rows_count, numbers }, bad: parsed.bad }))
    }
}
