//! Rows on their way from a file to the model.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray};
use arrow_select::filter::filter;
use runlode_models::Value;

/// Some rows of a file, in order.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    /// A column for each name that the reader gives.
    pub(crate) columns: Vec<Given>,
    pub(crate) rows_count: usize,
    pub(crate) numbers: Numbers,
}

/// A column as a file gives it.
#[derive(Debug, Clone)]
pub(crate) enum Given {
    /// Columns of Parquet and Arrow have types; those of CSV are texts.
    Array(ArrayRef),
    /// Values of JSON; one that is missing is `None`.
    Values(Vec<Value>),
}

/// A row's number in the file and the line that it begins on, if the form has lines.
type Place = (u64, Option<u64>);

/// Which rows of the file these are.
#[derive(Debug, Clone)]
pub(crate) struct Numbers {
    /// The number of the first one; they count from 1.
    first: u64,
    /// The number and the line of each, where some of the file's rows are left out or lines are no rows.
    each: Option<Arc<[Place]>>,
}

impl Numbers {
    /// Rows without gaps.
    pub(crate) fn from(first: u64) -> Self {
        Self { first, each: None }
    }

    /// Rows by their number and line.
    pub(crate) fn of_each(each: Vec<(u64, Option<u64>)>) -> Self {
        Self { first: each.first().map_or(1, |(row, _)| *row), each: Some(each.into()) }
    }

    /// The number of a row, and its line.
    pub(crate) fn get(&self, row: usize) -> (u64, Option<u64>) {
        match &self.each {
            Some(each) => each.get(row).copied().unwrap_or((self.first, None)),
            None => (self.first + row as u64, None),
        }
    }

    fn kept(&self, keep: &[bool]) -> Self {
        let kept = (0..keep.len()).filter(|row| keep[*row]).map(|row| self.get(row));
        Self::of_each(kept.collect())
    }
}

impl Given {
    /// Cells of a column.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Array(values) => values.len(),
            Self::Values(values) => values.len(),
        }
    }

    fn kept(&self, keep: &[bool], mask: &BooleanArray) -> Self {
        match self {
            // A mask as long as the array cannot fail.
            Self::Array(values) => Self::Array(filter(values, mask).unwrap_or_else(|_| Arc::clone(values))),
            Self::Values(values) => Self::Values(
                values.iter().zip(keep).filter(|(_, keep)| **keep).map(|(value, _)| value.clone()).collect(),
            ),
        }
    }

    fn part(&self, start: usize, length: usize) -> Self {
        match self {
            Self::Array(values) => Self::Array(values.slice(start, length)),
            Self::Values(values) => Self::Values(values[start..start + length].to_vec()),
        }
    }
}

impl Chunk {
    /// The rows for which `keep` is true.
    pub(crate) fn kept(&self, keep: &[bool]) -> Self {
        debug_assert_eq!(keep.len(), self.rows_count);
        let mask = BooleanArray::from(keep.to_vec());
        Self {
            columns: self.columns.iter().map(|column| column.kept(keep, &mask)).collect(),
            rows_count: mask.true_count(),
            numbers: self.numbers.kept(keep),
        }
    }

    /// Rows from `start` on.
    pub(crate) fn part(&self, start: usize, length: usize) -> Self {
        let numbers = match &self.numbers.each {
            None => Numbers::from(self.numbers.first + start as u64),
            Some(each) => Numbers::of_each(each[start..start + length].to_vec()),
        };
        Self {
            columns: self.columns.iter().map(|column| column.part(start, length)).collect(),
            rows_count: length,
            numbers,
        }
    }
}
