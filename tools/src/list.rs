//! Lists of entities: a table that fits the terminal, CSV, or JSON of chosen columns.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::output::Output;
use crate::{format, json};

/// Most columns that are named as left out.
const NAMED_MAX: usize = 12;

/// How to print a list.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Form {
    /// Columns to print, separated by commas
    #[arg(long, value_name = "COLUMN,...")]
    columns: Vec<String>,
    /// Print CSV: times in UTC, numbers in full
    #[arg(long)]
    csv: bool,
}

impl Form {
    /// Whether CSV was asked for.
    pub(crate) fn is_csv(&self) -> bool {
        self.csv
    }

    /// The columns that were asked for; `None`: the usual ones. A key with a comma stands in backquotes, as in filters:
    /// metrics.`a,b`.
    pub(crate) fn asked(&self) -> Option<Vec<String>> {
        if self.columns.is_empty() {
            return None;
        }
        let mut names = vec![String::new()];
        let mut quoted = false;
        for c in self.columns.join(",").chars() {
            match (c, names.last_mut()) {
                ('`', _) => quoted = !quoted,
                (',', _) if !quoted => names.push(String::new()),
                (c, Some(name)) => name.push(c),
                (_, None) => {}
            }
        }
        Some(names.iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect())
    }
}

/// One value of a list.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Nothing,
    Text(String),
    Number(f64),
    Count(u64),
    Integer(i64),
    /// Unix ms.
    Time(i64),
    /// From one time to another, Unix ms.
    Span(i64, i64),
}

impl Cell {
    pub(crate) fn text(text: Option<&str>) -> Self {
        text.map_or(Self::Nothing, |text| Self::Text(text.to_owned()))
    }

    /// For a person.
    fn shown(&self, width: usize) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Text(text) => format::cut(text, width),
            Self::Number(number) => format::value(*number),
            Self::Count(count) => format::count(*count),
            Self::Integer(number) => number.to_string(),
            Self::Time(time_ms) => format::time(*time_ms),
            Self::Span(from, to) => format::duration(*from, *to),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Nothing => Value::Null,
            Self::Text(text) => json!(text),
            Self::Number(number) => json::number(*number),
            Self::Count(count) => json!(count),
            Self::Integer(number) => json!(number),
            Self::Time(time_ms) => json!(time_ms),
            Self::Span(from, to) => json!(to.saturating_sub(*from)),
        }
    }

    fn csv(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Time(time_ms) => format::time_utc(*time_ms),
            other => match other.json() {
                Value::Null => String::new(),
                Value::String(text) => text,
                value => value.to_string(),
            },
        }
    }
}

/// A field of CSV as RFC 4180 has it.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// A row of CSV.
pub(crate) fn csv_line(cells: &[Cell]) -> String {
    cells.iter().map(Cell::csv).collect::<Vec<_>>().join(",")
}

/// A column of a list.
#[derive(Debug)]
pub(crate) struct Column {
    /// What `--columns` calls it.
    pub(crate) name: String,
    /// Its head in a table.
    pub(crate) head: String,
    /// Most characters of a text in a table; 0: it is in no table unless it was asked for.
    pub(crate) width: usize,
    /// One for each row.
    pub(crate) cells: Vec<Cell>,
}

impl Column {
    pub(crate) fn new(name: impl Into<String>, cells: Vec<Cell>) -> Self {
        let name = name.into();
        Self { head: name.clone(), name, width: 40, cells }
    }

    /// With another head in a table, and at most so many characters of a text there.
    pub(crate) fn shown_as(self, head: impl Into<String>, width: usize) -> Self {
        Self { head: head.into(), width, ..self }
    }

    fn is_numeric(&self) -> bool {
        let number =
            |cell: &&Cell| matches!(cell, Cell::Number(_) | Cell::Count(_) | Cell::Integer(_) | Cell::Span(..));
        self.cells.iter().find(|cell| **cell != Cell::Nothing).as_ref().is_some_and(number)
    }
}

/// Prints a list in the columns that were asked for, or in all. In a table without asked columns, those that do not fit
/// are left out from the right, and named below.
pub(crate) fn print(columns: &[Column], rows: usize, form: &Form, output: &mut Output) -> Result<()> {
    if form.is_csv() && output.is_json() {
        return Err(Error::usage("--csv and --json exclude each other; give one of them"));
    }
    if form.is_csv() {
        let heads = columns.iter().map(|column| quoted(&column.name));
        output.raw_line(&heads.collect::<Vec<_>>().join(","))?;
        for row in 0..rows {
            let fields = columns.iter().map(|column| column.cells.get(row).map_or_else(String::new, Cell::csv));
            output.raw_line(&fields.collect::<Vec<_>>().join(","))?;
        }
        return Ok(());
    }
    if output.is_json() {
        let row = |row: usize| {
            let fields = columns
                .iter()
                .map(|column| (column.name.clone(), column.cells.get(row).map_or(Value::Null, Cell::json)));
            Value::Object(fields.collect::<Map<_, _>>())
        };
        return output.document(&(0..rows).map(row).collect::<Vec<_>>());
    }
    let mut room = if form.asked().is_some() { usize::MAX } else { usize::from(output.columns()) };
    let mut heads = Vec::new();
    let mut texts = Vec::new();
    let mut left_out = Vec::new();
    for column in columns {
        if column.width == 0 && form.asked().is_none() {
            left_out.push(column.name.as_str());
            continue;
        }
        let width = if form.asked().is_some() { usize::MAX } else { column.width };
        let cells: Vec<String> = column.cells.iter().map(|cell| cell.shown(width)).collect();
        let head = format::cut(&column.head, width.max(14));
        let needed = cells.iter().map(|cell| format::width(cell)).chain([format::width(&head)]).max().unwrap_or(0);
        if needed > room {
            left_out.push(column.name.as_str());
            continue;
        }
        room = room.saturating_sub(needed + 2);
        heads.push(if column.is_numeric() { format!(">{head}") } else { head });
        texts.push(cells);
    }
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let lines = (0..rows).map(|row| texts.iter().map(|cells| cells.get(row).cloned().unwrap_or_default()).collect());
    output.table(&heads, lines.collect())?;
    if !left_out.is_empty() {
        let more = match left_out.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        left_out.truncate(NAMED_MAX);
        let names = left_out.join(", ");
        output.line(format!("(columns left out: {names}{more}; choose with --columns, or see all with --csv)"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_fields_are_quoted_where_they_must_be() {
        for (text, field) in [
            ("plain é", "plain é"),
            ("a,b", "\"a,b\""),
            ("say \"so\"", "\"say \"\"so\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("cr\r", "\"cr\r\""),
            ("", ""),
        ] {
            assert_eq!(quoted(text), field);
        }
        assert_eq!(Cell::Number(0.1).csv(), "0.1");
        assert_eq!(Cell::Number(f64::NAN).csv(), "NaN");
        assert_eq!(Cell::Number(-0.0).csv(), "-0.0");
        assert_eq!(Cell::Time(1_772_528_400_007).csv(), "2026-03-03T09:00:00.007Z");
        assert_eq!(Cell::Nothing.csv(), "");
    }

    #[test]
    fn names_of_columns_may_contain_commas_in_backquotes() {
        let form = Form { columns: vec!["run_id, metrics.`a,b`".to_owned(), "params.lr".to_owned()], csv: false };
        assert_eq!(form.asked().unwrap(), ["run_id", "metrics.a,b", "params.lr"]);
        assert_eq!(Form::default().asked(), None);
    }
}
