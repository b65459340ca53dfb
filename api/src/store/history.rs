//! The points of a metric, as an iterator.

use std::ops::{Bound, RangeBounds};

use crate::mlflow::MetricColumns;
use crate::shared::{Asks, Shared};
use crate::{Point, Result, RunId, TimestampMs};

/// Number of points read at a time.
const PART_POINTS: u64 = 32_768;
/// Number of points of the first read: most readers want few.
const FIRST_POINTS: u64 = 1_024;

/// Iterates over the points of a metric: see [`Run::history`](crate::Run::history). Points logged meanwhile are
/// included if they come after the last point read.
///
/// ```
/// use runlode::{RunSpec, Store};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let run = Store::open(&path)?.experiment("digits")?.create_run(RunSpec::new())?;
/// for step in 0..10 {
///     run.log_metrics(step, &[("loss", 1.0)])?;
/// }
/// for point in run.history("loss")?.steps(5..) {
///     assert!(point?.step >= 5);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "an iterator reads nothing until it is used"]
pub struct History {
    shared: Shared,
    run: RunId,
    key: String,
    steps: (i64, i64),
    part: MetricColumns,
    at: usize,
    /// Where the next read begins.
    next: Next,
}

#[derive(Debug)]
enum Next {
    Beginning,
    Behind(Vec<u8>),
    End,
}

impl History {
    pub(super) fn begin(shared: Shared, run: RunId, key: &str) -> Result<Self> {
        // Report a missing run now, not at the first point.
        shared.metric_info(run, key)?;
        let (key, part) = (key.to_owned(), MetricColumns::default());
        Ok(Self { shared, run, key, steps: (i64::MIN, i64::MAX), part, at: 0, next: Next::Beginning })
    }

    /// Restricts the iteration to these steps, and begins again.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
    /// for step in 0..10 {
    ///     run.log_metrics(step, &[("loss", step as f64)])?;
    /// }
    /// let first: Vec<f64> =
    ///     run.history("loss")?.steps(..=2).map(|point| Ok(point?.value)).collect::<runlode::Result<_>>()?;
    /// assert_eq!(first, [0.0, 1.0, 2.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn steps(mut self, steps: impl RangeBounds<i64>) -> Self {
        let first = match steps.start_bound() {
            Bound::Included(first) => Some(*first),
            Bound::Excluded(before) => before.checked_add(1),
            Bound::Unbounded => Some(i64::MIN),
        };
        let last = match steps.end_bound() {
            Bound::Included(last) => Some(*last),
            Bound::Excluded(behind) => behind.checked_sub(1),
            Bound::Unbounded => Some(i64::MAX),
        };
        (self.part, self.at) = (MetricColumns::default(), 0);
        self.next = match (first, last) {
            (Some(first), Some(last)) if first <= last => {
                self.steps = (first, last);
                Next::Beginning
            }
            _ => Next::End,
        };
        self
    }

    /// Reads more points; false at the end.
    fn read(&mut self) -> Result<bool> {
        let (after, limit) = match &self.next {
            Next::Beginning => (&[][..], FIRST_POINTS),
            Next::Behind(place) => (&place[..], PART_POINTS),
            Next::End => return Ok(false),
        };
        let (first, last) = self.steps;
        let part = self.shared.history(self.run, &self.key, first, last, after, limit)?;
        self.next = if part.next.is_empty() { Next::End } else { Next::Behind(part.next) };
        (self.part, self.at) = (part.points, 0);
        Ok(true)
    }
}

impl Iterator for History {
    type Item = Result<Point>;

    fn next(&mut self) -> Option<Result<Point>> {
        loop {
            let MetricColumns { steps, timestamps, values } = &self.part;
            if let (Some(step), Some(time), Some(value)) =
                (steps.get(self.at), timestamps.get(self.at), values.get(self.at))
            {
                self.at += 1;
                return Some(Ok(Point { step: *step, time: TimestampMs(*time), value: *value }));
            }
            match self.read() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.next = Next::End;
                    return Some(Err(error));
                }
            }
        }
    }
}
