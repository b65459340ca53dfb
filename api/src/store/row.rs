//! Rows of the same keys: the hot path of a training loop.

use crate::shared::{FixedRow, Logger};
use crate::{Durability, Error, KeyId, Result, TimestampMs};

/// Logs rows of the same keys to one run: see [`Run::row`](crate::Run::row). Each thread makes its own.
///
/// The process that holds the store copies a row into its log, any other process into its inbox. A row logged while the
/// process becomes the holder is logged exactly once.
///
/// ```
/// use runlode::{Durability, RunSpec, Store, TimestampMs};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let run = Store::open(&path)?.experiment("digits")?.create_run(RunSpec::new())?;
/// let mut row = run.row(&["loss", "acc"])?;
/// row.log(0, &[2.3, 0.1])?;
/// row.log_at(1, TimestampMs(1_700_000_000_000), &[f64::NAN, 0.2], Durability::Sync)?;
/// assert!(row.log(2, &[2.1]).is_err(), "a value for each key");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Row {
    row: FixedRow,
    durability: Durability,
}

impl Row {
    pub(super) fn new(logger: Logger, keys: Vec<KeyId>, durability: Durability) -> Self {
        Self { row: FixedRow::new(logger, keys), durability }
    }

    /// Logs a value for each key, in the order of the keys, at one step, with the current time.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another number of values; [`Error::Deleted`], [`Error::StorageFull`]. Nothing of the row
    /// is logged then.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
    /// let mut row = run.row(&["loss", "acc"])?;
    /// for step in 0..1000 {
    ///     row.log(step, &[1.0 / (step + 1) as f64, 0.5])?;
    /// }
    /// assert_eq!(run.latest("acc")?.expect("logged above").count, 1000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn log(&mut self, step: i64, values: &[f64]) -> Result<()> {
        self.put(step, None, values, self.durability)
    }

    /// Logs a row with the given time and durability.
    ///
    /// # Errors
    /// As [`Row::log`]; and [`Error::Invalid`] for a negative time.
    ///
    /// ```
    /// use runlode::{Durability, TimestampMs};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
    /// let mut row = run.row(&["loss"])?;
    /// row.log_at(0, TimestampMs(1_700_000_000_000), &[2.3], Durability::Sync)?;
    /// assert_eq!(run.latest("loss")?.expect("logged above").last.time.0, 1_700_000_000_000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn log_at(&mut self, step: i64, time: TimestampMs, values: &[f64], durability: Durability) -> Result<()> {
        self.put(step, Some(time), values, durability)
    }

    #[inline]
    fn put(&mut self, step: i64, time: Option<TimestampMs>, values: &[f64], durability: Durability) -> Result<()> {
        let keys = self.row.keys_count();
        if values.len() != keys {
            return Err(Error::invalid("row", format!("{} values for {keys} keys", values.len())));
        }
        self.row.log(step, time, values, durability)
    }
}
