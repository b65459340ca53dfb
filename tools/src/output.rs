//! Output of a command: text or JSON on standard output, notes on standard error, and what the store lacks.
//!
//! Every line, cell and document goes through [`format::shown`], so that text from the store cannot control the
//! terminal. One line of output is always one line on the terminal.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use runlode::engine::Missing;
use serde::Serialize;
use serde_json::Value;

use crate::error::Result;
use crate::{format, json};

/// What is printed is sent in pieces of about this many bytes.
const BUFFER_BYTES: usize = 64 << 10;

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
    /// Bytes printed so far.
    printed: usize,
    json: bool,
    is_terminal: bool,
    width: u16,
    /// What the store lacks, as JSON.
    missing: Vec<Value>,
    /// Whether a document has named what is missing.
    told: bool,
}

impl Output {
    /// Standard output.
    pub(crate) fn stdout(json: bool) -> Self {
        let out = BufWriter::with_capacity(BUFFER_BYTES, io::stdout());
        let is_terminal = io::stdout().is_terminal();
        Self { out, printed: 0, json, is_terminal, width: columns(), missing: Vec::new(), told: false }
    }

    /// Takes back what was printed; false if some of it was sent already.
    pub(crate) fn forget(&mut self) -> bool {
        if self.out.buffer().len() != self.printed {
            return false;
        }
        let new = BufWriter::with_capacity(BUFFER_BYTES, io::stdout());
        // Taken apart, it does not send its buffer.
        let _unsent = std::mem::replace(&mut self.out, new).into_parts();
        self.printed = 0;
        self.missing.clear();
        self.told = false;
        true
    }

    fn print(&mut self, line: &str) -> Result<()> {
        self.printed += line.len() + 1;
        writeln!(self.out, "{line}")?;
        Ok(())
    }

    /// Whether JSON was asked for.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Names on standard error what the store lacks. The exit status becomes 1, and JSON output names it too.
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

    /// Names what is missing in a document of its own, unless another document did.
    pub(crate) fn finish(&mut self) -> Result<()> {
        if self.json && self.lacks_something() && !self.told {
            self.told = true;
            let missing = std::mem::take(&mut self.missing);
            return self.document_line(&serde_json::json!({ "missing": missing }));
        }
        self.flush()
    }

    /// Adds what is missing to a document: to an object as `missing`, to a list as its last element.
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

    /// Columns of the terminal; 120 where there is none and `COLUMNS` does not say it.
    pub(crate) fn columns(&self) -> u16 {
        self.width
    }

    /// Most characters of a line: those of the terminal; without one nothing is cut.
    pub(crate) fn line_columns(&self) -> usize {
        if self.is_terminal { usize::from(self.width) } else { usize::MAX }
    }

    /// Prints a line.
    pub(crate) fn line(&mut self, line: impl Display) -> Result<()> {
        self.print(&format::shown(&line.to_string()))
    }

    /// Prints a line and sends it at once.
    pub(crate) fn line_now(&mut self, line: impl Display) -> Result<()> {
        self.line(line)?;
        self.flush()
    }

    /// Prints a line of our own text, for a program that reads it: nothing of a store is in it.
    pub(crate) fn own_line(&mut self, line: &str) -> Result<()> {
        self.print(line)
    }

    /// Prints a line of CSV. A file gets it as it is; on a terminal it is made harmless.
    pub(crate) fn raw_line(&mut self, line: &str) -> Result<()> {
        if self.is_terminal {
            return self.line(line);
        }
        self.print(line)
    }

    /// Prints a JSON document, indented if the output is a terminal.
    pub(crate) fn document(&mut self, value: &impl Serialize) -> Result<()> {
        if self.lacks_something() && !self.told {
            let value = self.with_missing(value)?;
            return self.document(&value);
        }
        let json = if self.is_terminal { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
        self.print(&format::shown_json(&json?))
    }

    /// Prints a JSON document in one line, one of many.
    pub(crate) fn document_row(&mut self, value: &impl Serialize) -> Result<()> {
        self.print(&format::shown_json(&serde_json::to_string(value)?))
    }

    /// Prints a JSON document in one line and sends it at once.
    pub(crate) fn document_line(&mut self, value: &impl Serialize) -> Result<()> {
        self.print(&format::shown_json(&serde_json::to_string(value)?))?;
        self.flush()
    }

    /// Prints a table. A head that begins with `>` aligns its column to the right.
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

/// Prints a note on standard error.
pub(crate) fn note(text: impl Display) {
    eprintln!("runlode: {}", format::shown(&text.to_string()));
}

/// Columns of the terminal on standard output: `COLUMNS`, else what the terminal says, else 120.
fn columns() -> u16 {
    let told = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let out = io::stdout();
    let asked = || rustix::termios::tcgetwinsize(&out).ok().map(|size| size.ws_col);
    told.or_else(asked).filter(|columns| *columns > 0).unwrap_or(120)
}
