//! Metric histories as columns: many series in one answer, and one series in buckets.

use super::spare::{INTS, NUMBERS, POSITIONS};
use crate::engine::HistoryQuery;
use crate::engine::point::Columns;
use crate::mlflow::Mlflow;
use crate::mlflow::error::ApiResult;
use crate::{AsOf, HistoryPage};

/// The histories to read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HistoriesQuery {
    /// Run ids, in the order of the answer.
    pub runs: Vec<String>,
    /// Metric keys, in the order of the answer; `None` is every key of each run, by name.
    pub keys: Option<Vec<String>>,
    /// Least and greatest step.
    pub steps: Option<(i64, i64)>,
    /// Moment of the past to read; `None`: now.
    pub at: Option<AsOf>,
}

/// Points of several series, one series after the other. Within a series: by time, step, value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MetricHistories {
    /// The position that was read.
    pub position: u64,
    /// Names of the keys that `series` numbers.
    pub keys: Vec<String>,
    /// (index in `runs` of the query, index in `keys`, number of points); series without points are left out.
    pub series: Vec<(u32, u32, u64)>,
    /// Steps, one per point.
    pub steps: Vec<i64>,
    /// Times, Unix ms.
    pub timestamps: Vec<i64>,
    /// Values, bit for bit.
    pub values: Vec<f64>,
}

impl MetricHistories {
    /// Adds the points of a page, whose memory stays usable for the next one.
    fn push(&mut self, run: usize, key: usize, page: &mut HistoryPage) {
        let columns = &mut page.columns;
        if columns.is_empty() {
            return;
        }
        self.series.push((run as u32, key as u32, columns.len() as u64));
        if self.steps.is_empty() {
            // Most reads ask for one series: move it instead of copying.
            std::mem::swap(&mut self.steps, &mut columns.steps);
            std::mem::swap(&mut self.timestamps, &mut columns.times);
            std::mem::swap(&mut self.values, &mut columns.values);
        } else {
            self.steps.extend_from_slice(&columns.steps);
            self.timestamps.extend_from_slice(&columns.times);
            self.values.extend_from_slice(&columns.values);
        }
    }

    fn key(&mut self, name: &str) -> usize {
        match self.keys.iter().position(|known| known == name) {
            Some(at) => at,
            None => {
                self.keys.push(name.to_owned());
                self.keys.len() - 1
            }
        }
    }
}

/// A series in buckets, by step, as columns of the same length. Every point counts in exactly one bucket.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Buckets {
    /// The position that was read.
    pub position: u64,
    /// Number of points in the range.
    pub count: u64,
    /// Whether every bucket holds exactly the points within its edges. Otherwise edges were moved by less than 256
    /// points.
    pub exact_edges: bool,
    /// Step of each bucket's first point.
    pub step_first: Vec<i64>,
    /// Step of each bucket's last point.
    pub step_last: Vec<i64>,
    /// Number of points.
    pub counts: Vec<i64>,
    /// Least value, NaN skipped.
    pub min: Vec<f64>,
    /// Greatest value, NaN skipped.
    pub max: Vec<f64>,
    /// Mean of the finite values; NaN if there is none.
    pub mean: Vec<f64>,
    /// Value of the first point.
    pub first: Vec<f64>,
    /// Value of the last point.
    pub last: Vec<f64>,
    /// Number of NaN values.
    pub nan: Vec<i64>,
    /// Number of infinite values.
    pub inf: Vec<i64>,
}

impl Mlflow {
    /// All points of several metrics of several runs.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST` for a run. A key that a run does not have is not an error.
    pub fn histories(&self, query: &HistoriesQuery) -> ApiResult<MetricHistories> {
        let snapshot = self.snapshot()?;
        let past = query.at.map(|at| snapshot.as_of(at)).transpose()?;
        let position = past.as_ref().map_or(snapshot.position(), |past| past.position());
        let mut out = MetricHistories { position: position.0, ..MetricHistories::default() };
        let mut page_of = HistoryQuery::default();
        let columns = Columns {
            steps: INTS.take(),
            times: INTS.take(),
            values: NUMBERS.take(),
            lsns: POSITIONS.take(),
            ..Columns::default()
        };
        let mut page = HistoryPage { columns, next: None };
        page_of.steps = query.steps.unwrap_or(page_of.steps);
        if let Some(keys) = &query.keys {
            out.keys.clone_from(keys);
        }
        for (number, id) in query.runs.iter().enumerate() {
            let run = self.run_id(id)?;
            self.run_state(&snapshot, run)?;
            let all: Vec<_>;
            let keys: Vec<(usize, &str)> = match &query.keys {
                Some(keys) => keys.iter().map(String::as_str).enumerate().collect(),
                None => {
                    all = snapshot.latest(run)?;
                    all.iter().map(|(key, _)| (out.key(key), &**key)).collect()
                }
            };
            for (at, key) in keys {
                match &past {
                    Some(past) => page = past.history(run, key, &page_of)?,
                    None => snapshot.history_into(run, key, &page_of, &mut page)?,
                }
                out.push(number, at, &mut page);
            }
        }
        INTS.give(page.columns.steps);
        INTS.give(page.columns.times);
        NUMBERS.give(page.columns.values);
        POSITIONS.give(page.columns.lsns);
        Ok(out)
    }

    /// A series in at most `buckets` buckets of equal step width, with the true min and max. `steps` includes both
    /// ends.
    ///
    /// # Errors
    /// Those of reading. A missing run or key gives no buckets.
    pub fn downsampled(&self, id: &str, key: &str, steps: Option<(i64, i64)>, buckets: u64) -> ApiResult<Buckets> {
        let run = self.run_id(id)?;
        let snapshot = self.snapshot_of(run)?;
        let found = snapshot.downsample(run, key, steps, usize::try_from(buckets).unwrap_or(usize::MAX))?;
        let mut out = Buckets {
            position: snapshot.position().0,
            count: found.count,
            exact_edges: found.exact_edges,
            ..Buckets::default()
        };
        for bucket in &found.buckets {
            let summary = &bucket.summary;
            let inf = summary.pos_inf + summary.neg_inf;
            let finite = summary.count - summary.nan - inf;
            out.step_first.push(bucket.step_first);
            out.step_last.push(bucket.step_last);
            out.counts.push(summary.count as i64);
            out.min.push(summary.min);
            out.max.push(summary.max);
            out.mean.push(summary.sum / finite as f64);
            out.first.push(summary.first);
            out.last.push(summary.last);
            out.nan.push(summary.nan as i64);
            out.inf.push(inf as i64);
        }
        Ok(out)
    }
}
