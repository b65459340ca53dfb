//! Reads several tables side by side, each ordered by the same text in its first column: one pass over each, with
//! memory for one group at a time.

use rusqlite::fallible_streaming_iterator::FallibleStreamingIterator as _;
use rusqlite::{Row, Rows};

use super::decode::text_or_empty;
use super::source::read_failed;
use crate::error::Result;

/// Rows ordered by their first column, taken group by group in ascending order.
pub(super) struct Grouped<'s> {
    rows: Option<Rows<'s>>,
    /// Group of the current row; `None` before the first and after the last row.
    group: Option<String>,
    started: bool,
    /// Rows of groups that were never asked for.
    pub(super) orphans: u64,
}

impl<'s> Grouped<'s> {
    /// Over a query's rows.
    pub(super) fn new(rows: Rows<'s>) -> Self {
        Self { rows: Some(rows), group: None, started: false, orphans: 0 }
    }

    /// Over no rows, for a missing table.
    pub(super) fn empty() -> Self {
        Self { rows: None, group: None, started: true, orphans: 0 }
    }

    fn advance(&mut self) -> Result<()> {
        self.group = match &mut self.rows {
            Some(rows) => match rows.next().map_err(|error| read_failed(&error))? {
                Some(row) => Some(text_or_empty(row, 0)?),
                None => None,
            },
            None => None,
        };
        Ok(())
    }

    /// Calls `each` with every row of a group. Groups must be asked for in ascending order.
    pub(super) fn take(&mut self, group: &str, mut each: impl FnMut(&Row<'_>) -> Result<()>) -> Result<()> {
        if !self.started {
            self.started = true;
            self.advance()?;
        }
        while self.group.as_deref().is_some_and(|at| at < group) {
            self.orphans += 1;
            self.advance()?;
        }
        while self.group.as_deref() == Some(group) {
            if let Some(row) = self.rows.as_ref().and_then(|rows| rows.get()) {
                each(row)?;
            }
            self.advance()?;
        }
        Ok(())
    }

    /// Counts the rows after the last group that was asked for.
    pub(super) fn finish(mut self) -> Result<u64> {
        if !self.started {
            self.advance()?;
        }
        while self.group.is_some() {
            self.orphans += 1;
            self.advance()?;
        }
        Ok(self.orphans)
    }
}
