//! Standard output of a command: text, or one JSON document; its notes on standard error; and what the store that it
//! reads lacks.
//!
//! Every line, cell and document goes through [`format::shown`]: what others stored is shown and does nothing to the
//! terminal. A line is one line, whatever stands in it.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use runlode::engine::Missing;
use serde::Serialize;
use serde_json::Value;

use crate::error::Result;
use crate::{format, json};

/// What a command found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Done, or yes.
    Yes,
    /// The answer is no: damage was found.
    No,
}

/// Where a command prints to.
#[derive(Debug)]
pub struct Output {
    out: BufWriter<Stdout>,
    json: bool,
    width: Option<u16>,
    /// What the store that is read lacks, as JSON.
    missing: Vec<Value>,
    /// Whether a document has named it.
    told: bool,
}

impl Output {
    /// Standard output.
    pub(crate) fn stdout(json: bool) -> Self {
        let out = BufWriter::new(io::stdout());
        Self { out, json, width: terminal_columns(), missing: Vec::new(), told: false }
    }

    /// Whether JSON was asked for.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Says on standard error what a store that is read lacks. The command's status is then 1, and its JSON names it.
    pub(crate) fn say_missing(&mut self, missing: &[Missing]) {
        for part in missing {
            eprintln!("runlode: {part}");
        }
        self.missing.extend(missing.iter().map(json::missing));
    }

    /// Whether a store that was read lacks something.
    pub(crate) fn lacks_something(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Names what is missing where no document did: in one of its own.
    pub(crate) fn finish(&mut self) -> Result<()> {
        if self.json && self.lacks_something() && !self.told {
            self.told = true;
            let missing = std::mem::take(&mut self.missing);
            return self.document_line(&serde_json::json!({ "missing": missing }));
        }
        self.flush()
    }

    /// A document with what is missing: an object has it as `missing`, a list as its last element.
    fn with_missing(&mut self, value: &impl Serialize) -> Result<Value> {
        let mut value = serde_json::to_value(value)?;
        let missing = Value::from(self.missing.clone());
        match &mut value {
            Value::Object(fields) => drop(fields.insert("missing".to_owned(), missing)),
            Value::Array(list) => list.push(serde_json::json!({ "missing": missing })),
            _ => return Ok(value),
        }
        self.told = true;
        Ok(value)
    }

    /// Columns of the terminal; 120 where there is none.
    pub(crate) fn columns(&self) -> u16 {
        self.width.unwrap_or(120)
    }

    /// Prints a line.
    pub(crate) fn line(&mut self, line: impl Display) -> Result<()> {
        writeln!(self.out, "{}", format::shown(&line.to_string()))?;
        Ok(())
    }

    /// Prints a line and sends it at once.
    pub(crate) fn line_now(&mut self, line: impl Display) -> Result<()> {
        self.line(line)?;
        self.flush()
    }

    /// Prints a JSON document, indented where somebody reads it.
    pub(crate) fn document(&mut self, value: &impl Serialize) -> Result<()> {
        if self.lacks_something() && !self.told {
            let value = self.with_missing(value)?;
            return self.document(&value);
        }
        let json =
            if self.width.is_some() { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
        writeln!(self.out, "{}", format::shown_json(&json?))?;
        Ok(())
    }

    /// Prints a JSON document in one line and sends it at once.
    pub(crate) fn document_line(&mut self, value: &impl Serialize) -> Result<()> {
        writeln!(self.out, "{}", format::shown_json(&serde_json::to_string(value)?))?;
        self.flush()
    }

    /// Prints a table; a column is set to the right when its head begins with `>`.
    pub(crate) fn table(&mut self, heads: &[&str], rows: Vec<Vec<String>>) -> Result<()> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if !heads.is_empty() {
            table.set_header(heads.iter().map(|head| head.trim_start_matches('>')));
        }
        for row in rows {
            table.add_row(row.iter().map(|cell| format::shown(cell)));
        }
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, 2));
            if heads.get(index).is_some_and(|head| head.starts_with('>')) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for line in table.lines() {
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// Sends what was printed.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.out.flush()?;
        Ok(())
    }
}

/// Says something beside the answer, on standard error.
pub(crate) fn note(text: impl Display) {
    eprintln!("runlode: {}", format::shown(&text.to_string()));
}

/// Columns of the terminal on standard output, if it is one.
fn terminal_columns() -> Option<u16> {
    let out = io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let told = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let asked = || rustix::termios::tcgetwinsize(&out).ok().map(|size| size.ws_col).filter(|columns| *columns > 0);
    told.or_else(asked).or(Some(100))
}
