//! The order of results.
//!
//! - Keys in the order given, each ascending or descending; then start time, newest first; then run id, ascending. So
//!   the order is total and the same for every caller.
//! - In both directions missing values come last, with NaN just before them.
//! - Text sorts by code point, -0.0 equals 0.0.

use std::cmp::{Ordering, Reverse};
use std::fmt;

use super::filter::{NumberKey, TextKey};
use crate::error::{Error, Result};
use crate::id::RunId;

/// A key to sort by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A text, except those of data sets, experiment and lifecycle.
    Text(TextKey),
    /// A number, with times.
    Number(NumberKey),
}

/// One key of an order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OrderKey {
    /// The key to sort by.
    pub key: Key,
    /// Whether the least value comes first; else the greatest does.
    pub ascending: bool,
}

impl OrderKey {
    /// Sorts by a key, least value first.
    pub fn ascending(key: impl Into<Key>) -> Self {
        Self { key: key.into(), ascending: true }
    }

    /// Sorts by a key, greatest value first.
    pub fn descending(key: impl Into<Key>) -> Self {
        Self { key: key.into(), ascending: false }
    }

    /// Refuses keys that cannot be sorted by.
    pub(crate) fn check(&self) -> Result<()> {
        match &self.key {
            Key::Text(
                key @ (TextKey::DatasetName
                | TextKey::DatasetDigest
                | TextKey::DatasetContext
                | TextKey::Experiment
                | TextKey::Lifecycle),
            ) => Err(Error::invalid("order", format!("runs cannot be ordered by `{key}`"))),
            _ => Ok(()),
        }
    }
}

impl From<TextKey> for Key {
    fn from(key: TextKey) -> Self {
        Self::Text(key)
    }
}

impl From<NumberKey> for Key {
    fn from(key: NumberKey) -> Self {
        Self::Number(key)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(key) => write!(f, "{key}"),
            // A param sorted as a number has another order than the same param as text.
            Self::Number(key @ (NumberKey::Param(_) | NumberKey::Tag(_))) => write!(f, "number({key})"),
            Self::Number(key) => write!(f, "{key}"),
        }
    }
}

impl fmt::Display for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, if self.ascending { "ASC" } else { "DESC" })
    }
}

/// The value of one sort key of one run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SortValue {
    /// A number, possibly NaN.
    Number(f64),
    /// A time, Unix ms.
    Time(i64),
    /// A text.
    Text(String),
    /// The run has no value for the key.
    Missing,
}

impl SortValue {
    /// A number's value; -0.0 and 0.0 are one place, and so are all NaNs.
    pub(crate) fn number(number: f64) -> Self {
        Self::Number(if number.is_nan() { f64::NAN } else { number + 0.0 })
    }

    /// Compares two values of one key.
    pub(crate) fn compare(&self, other: &Self, ascending: bool) -> Ordering {
        let directed = |order: Ordering| if ascending { order } else { order.reverse() };
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => match (a.is_nan(), b.is_nan()) {
                (false, false) => directed(a.partial_cmp(b).unwrap_or(Ordering::Equal)),
                (a_nan, b_nan) => a_nan.cmp(&b_nan),
            },
            (Self::Time(a), Self::Time(b)) => directed(a.cmp(b)),
            (Self::Text(a), Self::Text(b)) => directed(a.cmp(b)),
            // Values of one key have the same kind, or are missing.
            _ => self.kind().cmp(&other.kind()),
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Number(_) => 0,
            Self::Time(_) => 1,
            Self::Text(_) => 2,
            Self::Missing => 3,
        }
    }
}

/// The place of a run in the order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Place {
    /// The run's values, one per key.
    pub values: Vec<SortValue>,
    /// Start time of the run, Unix ms.
    pub start_time_ms: i64,
    /// Id of the run.
    pub run: RunId,
}

impl Place {
    /// Compares two places in the order of the answer.
    pub(crate) fn compare(&self, other: &Self, order: &[OrderKey]) -> Ordering {
        let pairs = self.values.iter().zip(&other.values).zip(order);
        pairs
            .map(|((a, b), key)| a.compare(b, key.ascending))
            .find(|order| order.is_ne())
            .unwrap_or_else(|| Reverse(self.start_time_ms).cmp(&Reverse(other.start_time_ms)))
            .then_with(|| self.run.cmp(&other.run))
    }
}
