//! [`Mlflow`] reads histories of metrics: that of one run in pages, those of several runs thinned.

use std::sync::Arc;

use super::entity::Metric;
use super::error::{ApiError, ApiResult};
use super::metric_columns::MetricColumns;
use super::{Mlflow, names, page_offset, page_token};
use crate::engine::HistoryQuery;
use crate::{Error, RunId, Snapshot};

/// Most runs that one bulk history reads.
pub const BULK_RUNS_MAX: usize = 100;
/// Most points that one bulk history answers.
pub const BULK_POINTS_MAX: usize = 25_000;
/// Most points a run that a bulk interval answers, and how many without being told.
pub const INTERVAL_POINTS_MAX: i64 = 2500;

/// Points of a long history that are in memory at a time.
const PIECE_POINTS: usize = 32_768;

impl Mlflow {
    /// The history of a metric, in order of time, step, value. With `max_results` a page, else everything.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for a bad page.
    pub fn metric_history(
        &self,
        id: &str,
        key: &str,
        max_results: Option<i64>,
        token: Option<&str>,
    ) -> ApiResult<(MetricColumns, Option<String>)> {
        let mut all = MetricColumns::default();
        let next = self.metric_history_each(id, key, max_results, token, &mut |columns| {
            all.append(columns);
            Ok(())
        })?;
        Ok((all, next))
    }

    /// As [`Mlflow::metric_history`], a piece at a time, so that a long history is never in memory as a whole; the token
    /// of the next page.
    ///
    /// # Errors
    /// As there, and those of `each`.
    pub fn metric_history_each(
        &self,
        id: &str,
        key: &str,
        max_results: Option<i64>,
        token: Option<&str>,
        each: &mut dyn FnMut(&MetricColumns) -> ApiResult<()>,
    ) -> ApiResult<Option<String>> {
        let limit = match max_results {
            None => usize::MAX,
            // A page of nothing, as in MLflow's store; its server refuses it.
            Some(0) => 0,
            Some(limit) => names::positive("max_results", limit)?,
        };
        let offset = page_offset(token)?;
        let Ok(run) = id.parse::<RunId>() else { return Ok(None) };
        let snapshot = self.snapshot_of(run)?;
        let (mut given, mut more) = (0, false);
        // One more than the page tells whether there is another.
        let query = HistoryQuery { offset: offset as u64, limit: limit.saturating_add(1), ..HistoryQuery::default() };
        history_each(&snapshot, run, key, &query, &mut |mut columns| {
            more = columns.steps.len() > limit - given;
            columns.truncate(limit - given);
            given += columns.steps.len();
            each(&columns)
        })?;
        Ok(more.then(|| page_token(offset.saturating_add(limit))))
    }

    /// Histories of one metric in several runs, ordered by run id first; at most `max_results` points in all.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub fn metric_history_bulk(&self, ids: &[String], key: &str, max_results: Option<i64>) -> ApiResult<Vec<Metric>> {
        if ids.len() > BULK_RUNS_MAX {
            return Err(ApiError::invalid(format!(
                "GetMetricHistoryBulk request cannot specify more than {BULK_RUNS_MAX} run_ids. Received {} run_ids.",
                ids.len()
            )));
        }
        let wanted =
            max_results.map_or(BULK_POINTS_MAX, |most| usize::try_from(most).unwrap_or(0).min(BULK_POINTS_MAX));
        let snapshot = self.snapshot()?;
        let name: Arc<str> = key.into();
        let mut out = Vec::new();
        for (run, id) in sorted_runs(ids) {
            self.check_waiting()?;
            let limit = wanted - out.len();
            if limit == 0 {
                break;
            }
            let columns = history(&snapshot, run, key, &HistoryQuery { limit, ..HistoryQuery::default() })?;
            out.extend((0..columns.steps.len()).map(|i| columns.metric(i, &name, Some(&id))));
        }
        Ok(out)
    }

    /// Histories of one metric in several runs, each thinned for itself to at most `max_results` points: its first, its
    /// last, and the least and greatest of parts between, so a chart shows every peak. Answers are ordered by run as
    /// asked, then step, time, value. (MLflow 3.17 also thins each run for itself, but takes points at random heights.)
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub fn metric_history_interval(
        &self,
        ids: &[String],
        key: &str,
        steps: Option<(i64, i64)>,
        max_results: Option<i64>,
    ) -> ApiResult<Vec<Metric>> {
        let name: Arc<str> = key.into();
        let mut out = Vec::new();
        self.metric_history_interval_each(ids, key, steps, max_results, &mut |id, columns| {
            out.extend((0..columns.steps.len()).map(|i| columns.metric(i, &name, Some(id))));
            Ok(())
        })?;
        Ok(out)
    }

    /// As [`Mlflow::metric_history_interval`], one run's points at a time.
    ///
    /// # Errors
    /// As there, and those of `each`.
    pub fn metric_history_interval_each(
        &self,
        ids: &[String],
        key: &str,
        steps: Option<(i64, i64)>,
        max_results: Option<i64>,
        each: &mut dyn FnMut(&str, &MetricColumns) -> ApiResult<()>,
    ) -> ApiResult<()> {
        if ids.len() > BULK_RUNS_MAX {
            return Err(ApiError::invalid(format!(
                "GetMetricHistoryBulkInterval request must specify at most {BULK_RUNS_MAX} run_ids. Received {} run_ids.",
                ids.len()
            )));
        }
        if let Some((start, end)) = steps
            && start > end
        {
            return Err(ApiError::invalid(format!(
                "end_step must be greater than start_step. Found start_step={start} and end_step={end}."
            )));
        }
        let most = max_results.unwrap_or(INTERVAL_POINTS_MAX);
        if !(1..=INTERVAL_POINTS_MAX).contains(&most) {
            return Err(ApiError::invalid(format!("max_results must be between 1 and {INTERVAL_POINTS_MAX}.")));
        }
        self.thinned_each(ids, key, steps, most, each)
    }

    /// As [`Mlflow::metric_history_interval`], for any number of runs and points, as MLflow's store has it.
    ///
    /// # Errors
    /// Those of reading.
    pub fn metric_history_samples(
        &self,
        ids: &[String],
        key: &str,
        steps: Option<(i64, i64)>,
        most: i64,
    ) -> ApiResult<Vec<Metric>> {
        let name: Arc<str> = key.into();
        let mut out = Vec::new();
        self.thinned_each(ids, key, steps, most, &mut |id, columns| {
            out.extend((0..columns.steps.len()).map(|i| columns.metric(i, &name, Some(id))));
            Ok(())
        })?;
        Ok(out)
    }

    fn thinned_each(
        &self,
        ids: &[String],
        key: &str,
        steps: Option<(i64, i64)>,
        most: i64,
        each: &mut dyn FnMut(&str, &MetricColumns) -> ApiResult<()>,
    ) -> ApiResult<()> {
        let most = usize::try_from(most).unwrap_or(0).max(1);
        let snapshot = self.snapshot()?;
        for id in ids {
            self.check_waiting()?;
            let Ok(run) = id.parse::<RunId>() else { continue };
            let points = match snapshot.thinned(run, key, steps, most) {
                Ok(points) => points,
                Err(Error::NotFound { .. } | Error::Purged { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            let mut columns = MetricColumns::default();
            points.iter().for_each(|point| columns.push(point));
            each(id, &columns)?;
        }
        Ok(())
    }
}

/// A history, a piece at a time.
fn history_each(
    snapshot: &Snapshot,
    run: RunId,
    key: &str,
    query: &HistoryQuery,
    each: &mut dyn FnMut(MetricColumns) -> ApiResult<()>,
) -> ApiResult<()> {
    let mut query = *query;
    let mut left = query.limit;
    while left > 0 {
        query.limit = left.min(PIECE_POINTS);
        let columns = history(snapshot, run, key, &query)?;
        let count = columns.timestamps.len();
        // The next piece begins behind this one: at its last time, behind those of this time that were given.
        let last = columns.timestamps.last().copied().unwrap_or_default();
        let of_last = columns.timestamps.iter().rev().take_while(|time| **time == last).count();
        if count > 0 {
            each(columns)?;
        }
        if count < query.limit {
            break;
        }
        left -= count;
        if of_last < count {
            (query.times_ms.0, query.offset) = (last, of_last as u64);
        } else {
            query.offset += count as u64;
        }
    }
    Ok(())
}

fn history(snapshot: &Snapshot, run: RunId, key: &str, query: &HistoryQuery) -> ApiResult<MetricColumns> {
    match snapshot.history(run, key, query) {
        Ok(page) => {
            let columns = page.columns;
            Ok(MetricColumns { steps: columns.steps, timestamps: columns.times, values: columns.values })
        }
        Err(Error::NotFound { .. } | Error::Purged { .. }) => Ok(MetricColumns::default()),
        Err(error) => Err(error.into()),
    }
}

/// Run ids that can be any, sorted as text, each once.
fn sorted_runs(ids: &[String]) -> Vec<(RunId, String)> {
    let mut runs: Vec<(RunId, String)> = ids.iter().filter_map(|id| Some((id.parse().ok()?, id.clone()))).collect();
    runs.sort_by(|a, b| a.1.cmp(&b.1));
    runs.dedup();
    runs
}
