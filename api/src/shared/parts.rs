//! Calls whose answers may be long: the holder sends them in parts, so that neither process has the whole in memory.
//!
//! All parts of an answer come from one snapshot. If the holder goes away after the first part, the call ends with
//! [`ApiError::cut_short`], and the caller begins again.

use super::calls::MlflowCalls;
use super::protocol::{PART, Request, answered, new_part, read_answer};
use super::request::unknown;
use super::wire::{Put, Take};
use crate::engine::varint::{Bytes, put_u64};
use crate::mlflow::entity::{Run, View};
use crate::mlflow::{ApiResult, MetricColumns, Mlflow};

/// Numbers of the calls.
const METRIC_HISTORY: u16 = 950;
const METRIC_HISTORY_INTERVAL: u16 = 951;
const SEARCH_RUNS: u16 = 952;

/// Bytes of runs in a part.
const PART_BYTES: usize = 64 << 10;

/// What takes the parts of an answer: whole frames, their lengths still to be filled in.
pub(super) type Parts<'a> = &'a mut dyn FnMut(Vec<u8>) -> ApiResult<()>;

/// A part, taken out of its frame after the length. `None`: the frame is the last one.
pub(super) fn part_of(frame: &[u8]) -> Option<Bytes<'_>> {
    match frame.split_first() {
        Some((&PART, part)) => Some(Bytes::new(part)),
        _ => None,
    }
}

impl MlflowCalls {
    /// As [`Mlflow::metric_history_each`].
    ///
    /// # Errors
    /// As there, and [`ApiError::cut_short`](crate::mlflow::ApiError::cut_short).
    pub fn metric_history_each(
        &self,
        id: &str,
        key: &str,
        max_results: Option<i64>,
        token: Option<&str>,
        each: &mut dyn FnMut(&MetricColumns) -> ApiResult<()>,
    ) -> ApiResult<Option<String>> {
        let seat = self.shared.seat()?;
        if let Some(offline) = seat.offline()? {
            let (columns, next) = offline.read_run(seat.settings(), id.parse().ok(), |mlflow| {
                mlflow.metric_history(id, key, max_results, token)
            })?;
            return each(&columns).map(|()| next);
        }
        if let Some(mlflow) = seat.mlflow()? {
            return self.caller.on(mlflow).metric_history_each(id, key, max_results, token, each);
        }
        let mut request = self.caller.request(seat.next_request(), METRIC_HISTORY);
        id.put(&mut request);
        key.put(&mut request);
        max_results.put(&mut request);
        token.put(&mut request);
        seat.ask_for_parts(&self.caller, request, &mut |columns: MetricColumns| each(&columns))
    }

    /// As [`Mlflow::metric_history_interval_each`].
    ///
    /// # Errors
    /// As there, and [`ApiError::cut_short`](crate::mlflow::ApiError::cut_short).
    pub fn metric_history_interval_each(
        &self,
        ids: &[String],
        key: &str,
        steps: Option<(i64, i64)>,
        max_results: Option<i64>,
        each: &mut dyn FnMut(&str, &MetricColumns) -> ApiResult<()>,
    ) -> ApiResult<()> {
        let seat = self.shared.seat()?;
        if let Some(offline) = seat.offline()? {
            let mut found = Vec::new();
            offline
                .read(seat.settings(), |mlflow| {
                    let mut parts = Vec::new();
                    mlflow.metric_history_interval_each(ids, key, steps, max_results, &mut |run, columns| {
                        parts.push((run.to_owned(), columns.clone()));
                        Ok(())
                    })?;
                    Ok::<_, crate::mlflow::ApiError>(parts)
                })
                .map(|parts| found = parts)?;
            return found.iter().try_for_each(|(run, columns)| each(run, columns));
        }
        if let Some(mlflow) = seat.mlflow()? {
            return self.caller.on(mlflow).metric_history_interval_each(ids, key, steps, max_results, each);
        }
        let mut request = self.caller.request(seat.next_request(), METRIC_HISTORY_INTERVAL);
        ids.put(&mut request);
        key.put(&mut request);
        steps.put(&mut request);
        max_results.put(&mut request);
        let mut take = |(run, columns): (String, MetricColumns)| each(&run, &columns);
        seat.ask_for_parts(&self.caller, request, &mut take)
    }

    /// As [`Mlflow::search_runs_each`].
    ///
    /// # Errors
    /// As there, and [`ApiError::cut_short`](crate::mlflow::ApiError::cut_short).
    #[expect(clippy::too_many_arguments, reason = "those of the search, and what takes its answer")]
    pub fn search_runs_each(
        &self,
        experiment_ids: &[String],
        filter: &str,
        view: View,
        max_results: i64,
        order_by: &[String],
        page_token: Option<&str>,
        each: &mut dyn FnMut(Run) -> ApiResult<()>,
    ) -> ApiResult<Option<String>> {
        let seat = self.shared.seat()?;
        if seat.offline()?.is_some() {
            let page = self.search_runs(experiment_ids, filter, view, max_results, order_by, page_token)?;
            page.items.into_iter().try_for_each(each)?;
            return Ok(page.next_page_token);
        }
        if let Some(mlflow) = seat.mlflow()? {
            let mlflow = self.caller.on(mlflow);
            return mlflow.search_runs_each(experiment_ids, filter, view, max_results, order_by, page_token, each);
        }
        let mut request = self.caller.request(seat.next_request(), SEARCH_RUNS);
        experiment_ids.put(&mut request);
        filter.put(&mut request);
        view.put(&mut request);
        max_results.put(&mut request);
        order_by.put(&mut request);
        page_token.put(&mut request);
        let mut take = |runs: Vec<Run>| runs.into_iter().try_for_each(&mut *each);
        seat.ask_for_parts(&self.caller, request, &mut take)
    }
}

/// Does what a request asks for, and hands out the parts of its answer but the last. `None`: it cannot be read.
pub(super) fn dispatch(mlflow: &Mlflow, request: &mut Request<'_>, parts: Parts<'_>) -> Option<Vec<u8>> {
    let from = &mut request.arguments;
    Some(match request.call {
        METRIC_HISTORY => {
            let (id, key): (&str, &str) = (Take::take(from)?, Take::take(from)?);
            let (max_results, token) = (Take::take(from)?, Take::take(from)?);
            from.is_empty().then_some(())?;
            answered(mlflow.metric_history_each(id, key, max_results, token, &mut |columns| {
                let mut part = new_part();
                columns.put(&mut part);
                parts(part)
            }))
        }
        METRIC_HISTORY_INTERVAL => {
            let (ids, key): (Vec<String>, &str) = (Take::take(from)?, Take::take(from)?);
            let (steps, max_results) = (Take::take(from)?, Take::take(from)?);
            from.is_empty().then_some(())?;
            answered(mlflow.metric_history_interval_each(&ids, key, steps, max_results, &mut |run, columns| {
                let mut part = new_part();
                run.put(&mut part);
                columns.put(&mut part);
                parts(part)
            }))
        }
        SEARCH_RUNS => {
            let (experiments, filter): (Vec<String>, &str) = (Take::take(from)?, Take::take(from)?);
            let (view, max_results) = (Take::take(from)?, Take::take(from)?);
            let (order_by, token): (Vec<String>, Option<&str>) = (Take::take(from)?, Take::take(from)?);
            from.is_empty().then_some(())?;
            let mut runs = RunsPart { count: 0, bytes: Vec::new() };
            let found =
                mlflow.search_runs_each(&experiments, filter, view, max_results, &order_by, token, &mut |run| {
                    runs.count += 1;
                    run.put(&mut runs.bytes);
                    if runs.bytes.len() < PART_BYTES { Ok(()) } else { parts(runs.take()) }
                });
            answered(found.and_then(|next| if runs.count == 0 { Ok(next) } else { parts(runs.take()).map(|()| next) }))
        }
        call => super::protocol::refused(&unknown(call)),
    })
}

/// Runs that were not sent yet.
struct RunsPart {
    count: u64,
    bytes: Vec<u8>,
}

impl RunsPart {
    fn take(&mut self) -> Vec<u8> {
        let mut part = new_part();
        put_u64(&mut part, std::mem::take(&mut self.count));
        part.append(&mut self.bytes);
        part
    }
}

/// Whether a call's answer has parts.
pub(super) fn has_parts(call: u16) -> bool {
    matches!(call, METRIC_HISTORY | METRIC_HISTORY_INTERVAL | SEARCH_RUNS)
}

/// The result in an answer that this process made itself.
pub(super) fn own_answer<T: for<'a> Take<'a>>(answer: Option<Vec<u8>>) -> ApiResult<T> {
    read_answer(answer.as_deref().and_then(|answer| answer.get(4..)).unwrap_or_default())
}
