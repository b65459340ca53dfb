//! Columns of a table of runs, and how they are filled row by row.

use std::sync::Arc;

use rustc_hash::FxHashMap;

/// Texts of a column, stored without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextColumn {
    /// Start of each text in `text`, then the end of the last: one more than there are rows.
    pub offsets: Vec<i64>,
    /// All texts, joined.
    pub text: String,
    /// Whether each row has a text; empty: all have.
    pub present: Vec<bool>,
}

/// Values of a column, one per row; 0 or empty in rows without one.
#[derive(Debug, Clone, PartialEq)]
pub enum ColumnValues {
    /// Texts.
    Text(TextColumn),
    /// Unix ms, and whether a row has one (empty: all have).
    Time(Vec<i64>, Vec<bool>),
    /// Numbers, and whether a row has one (empty: all have).
    Number(Vec<f64>, Vec<bool>),
    /// Whole numbers, and whether a row has one (empty: all have).
    Count(Vec<i64>, Vec<bool>),
}

/// A column.
#[derive(Debug, Clone, PartialEq)]
pub struct RunColumn {
    /// Name, as in the module's table.
    pub name: String,
    /// One value per row.
    pub values: ColumnValues,
}

/// Columns discovered while reading, by key.
#[derive(Debug, Default)]
pub(super) struct Every(pub(super) FxHashMap<Arc<str>, usize>);

impl Every {
    pub(super) fn column(
        &mut self,
        key: &Arc<str>,
        building: &mut Vec<Building>,
        kind: &str,
        make: fn() -> Cells,
    ) -> usize {
        if let Some(at) = self.0.get(key) {
            return *at;
        }
        building.push(Building { name: format!("{kind}.{key}"), cells: make() });
        self.0.insert(key.clone(), building.len() - 1);
        building.len() - 1
    }

    pub(super) fn text(&mut self, key: &str, building: &mut Vec<Building>, kind: &str) -> usize {
        if let Some(at) = self.0.get(key) {
            return *at;
        }
        self.column(&Arc::from(key), building, kind, Cells::text)
    }
}

#[derive(Debug)]
pub(super) enum Cells {
    Text(TextColumn),
    Time(Vec<i64>, Vec<bool>),
    Number(Vec<f64>, Vec<bool>),
    Count(Vec<i64>, Vec<bool>),
}

impl Cells {
    pub(super) fn text() -> Self {
        Self::Text(TextColumn { offsets: vec![0], text: String::new(), present: Vec::new() })
    }

    pub(super) fn number() -> Self {
        Self::Number(Vec::new(), Vec::new())
    }

    /// Number of rows so far.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(column) => column.present.len(),
            Self::Time(_, present) | Self::Number(_, present) | Self::Count(_, present) => present.len(),
        }
    }

    /// Adds rows without a value, up to `rows`.
    pub(super) fn fill(&mut self, rows: usize) {
        match self {
            Self::Text(column) => {
                column.offsets.resize(rows + 1, column.text.len() as i64);
                column.present.resize(rows, false);
            }
            Self::Time(values, present) | Self::Count(values, present) => {
                values.resize(rows, 0);
                present.resize(rows, false);
            }
            Self::Number(values, present) => {
                values.resize(rows, 0.0);
                present.resize(rows, false);
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Building {
    pub(super) name: String,
    pub(super) cells: Cells,
}

impl Building {
    /// Bytes that it will hold at least, once it has this many rows.
    pub(super) fn bytes(&self, rows: usize) -> usize {
        let texts = if let Cells::Text(column) = &self.cells { column.text.len() } else { 0 };
        texts + 9 * rows
    }

    pub(super) fn put_text(&mut self, row: usize, value: &str) {
        self.cells.fill(row);
        if let Cells::Text(column) = &mut self.cells {
            column.text.push_str(value);
            column.offsets.push(column.text.len() as i64);
            column.present.push(true);
        }
    }

    pub(super) fn put_number(&mut self, row: usize, value: f64) {
        self.cells.fill(row);
        if let Cells::Number(values, present) = &mut self.cells {
            values.push(value);
            present.push(true);
        }
    }

    pub(super) fn put_whole(&mut self, row: usize, value: i64) {
        self.cells.fill(row);
        if let Cells::Time(values, present) | Cells::Count(values, present) = &mut self.cells {
            values.push(value);
            present.push(true);
        }
    }

    pub(super) fn finish(mut self, rows: usize) -> RunColumn {
        if self.cells.len() < rows {
            self.cells.fill(rows);
        }
        let bare = |present: Vec<bool>| if present.iter().all(|there| *there) { Vec::new() } else { present };
        let values = match self.cells {
            Cells::Text(column) => ColumnValues::Text(TextColumn { present: bare(column.present), ..column }),
            Cells::Time(values, present) => ColumnValues::Time(values, bare(present)),
            Cells::Number(values, present) => ColumnValues::Number(values, bare(present)),
            Cells::Count(values, present) => ColumnValues::Count(values, bare(present)),
        };
        RunColumn { name: self.name, values }
    }
}
