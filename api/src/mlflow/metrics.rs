//! Metrics: logging one point or a batch, and reading histories.

use std::sync::Arc;

use super::entity::{Metric, Tag};
use super::error::{ApiError, ApiResult};
use super::runs::push_tags;
use super::{Mlflow, names, page_offset, page_token};
use crate::engine::KeyedPoint;
use crate::engine::event::{LoggedModelMetricsLogged, ParamsLogged};
use crate::engine::query::points::HistoryQuery;
use crate::{Batch, Durability, Error, MetricContext, ModelId, Point, RunId, Snapshot, TimestampMs};

/// Most runs that one bulk history reads.
pub const BULK_RUNS_MAX: usize = 100;
/// Most points that one bulk history answers.
pub const BULK_POINTS_MAX: usize = 25_000;
/// Most points a run that a bulk interval answers, and how many without being told.
pub const INTERVAL_POINTS_MAX: i64 = 2500;

/// A point to log.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewMetric<'a> {
    /// Key.
    pub key: &'a str,
    /// Kept bit for bit.
    pub value: f64,
    /// Unix ms, not negative.
    pub timestamp: i64,
    /// May be negative.
    pub step: i64,
    /// Logged model that the point is also a metric of.
    pub model_id: Option<&'a str>,
    /// Data set that it was measured on.
    pub dataset_name: Option<&'a str>,
    /// Its digest.
    pub dataset_digest: Option<&'a str>,
}

impl NewMetric<'_> {
    pub(crate) fn point(&self) -> Point {
        Point { step: self.step, time: TimestampMs(self.timestamp), value: self.value }
    }

    /// Whether it is a point of a logged model or data set too.
    pub(crate) fn has_context(&self) -> bool {
        let given = |text: Option<&str>| text.is_some_and(|text| !text.is_empty());
        given(self.model_id) || given(self.dataset_name) || given(self.dataset_digest)
    }

    fn context(&self) -> Option<MetricContext> {
        let given = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        let context = MetricContext {
            model_id: given(self.model_id),
            dataset_name: given(self.dataset_name),
            dataset_digest: given(self.dataset_digest),
        };
        (!context.is_empty()).then_some(context)
    }
}

/// Points of a series as columns; what [`Metric`]s would say with less memory.
#[derive(Debug, Clone, Default)]
pub struct MetricColumns {
    /// Steps.
    pub steps: Vec<i64>,
    /// Unix ms.
    pub timestamps: Vec<i64>,
    /// Values.
    pub values: Vec<f64>,
}

impl Mlflow {
    /// Logs a point, as durable as this door's setting says.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`, `RESOURCE_DOES_NOT_EXIST`.
    pub fn log_metric(&self, id: &str, metric: &NewMetric<'_>) -> ApiResult<()> {
        names::metric("", metric.key, metric.value, metric.timestamp)?;
        let run = self.run_id(id)?;
        if metric.context().is_some() {
            return self.append_batch(run, std::slice::from_ref(metric), Vec::new(), Vec::new());
        }
        let key = self.store().engine().metric_key(metric.key)?;
        let handle = self.handle(run)?;
        handle.log_point(key, metric.point(), self.settings().metric_durability)?;
        Ok(())
    }

    /// Logs metrics, params and tags: all of them or nothing.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`, `RESOURCE_DOES_NOT_EXIST`.
    pub fn log_batch(&self, id: &str, metrics: &[NewMetric<'_>], params: &[Tag], tags: &[Tag]) -> ApiResult<()> {
        names::run_id(id)?;
        names::metrics(metrics)?;
        let long = self.settings().long_values;
        let mut checked_params = Vec::with_capacity(params.len());
        for (i, (key, value)) in params.iter().enumerate() {
            names::param_key(&format!("params[{i}].key"), key)?;
            let value = names::value("Param value", value, names::PARAM_VALUE_CHARS_MAX, long)?;
            checked_params.push((key.clone(), value.to_owned()));
        }
        let mut checked_tags = Vec::with_capacity(tags.len());
        for (i, (key, value)) in tags.iter().enumerate() {
            names::tag_key(&format!("tags[{i}].key"), key)?;
            let value = names::value(&format!("tags[{i}].value"), value, names::TAG_VALUE_CHARS_MAX, long)?;
            checked_tags.push((key.clone(), value.to_owned()));
        }
        names::batch_sizes(metrics.len(), params.len(), tags.len())?;
        let mut doubled: Vec<&str> = Vec::new();
        for (i, (key, _)) in params.iter().enumerate() {
            if params[..i].iter().any(|(other, _)| other == key) {
                doubled.push(key);
            }
        }
        if !doubled.is_empty() {
            return Err(ApiError::invalid(format!(
                "Duplicate parameter keys have been submitted: [{}]. Please ensure the request contains only one param \
                 value per param key.",
                names::python_texts(doubled)
            )));
        }
        self.append_batch(self.run_id(id)?, metrics, checked_params, checked_tags)
    }

    /// Appends what was found right: points alone by the run's handle, all else as one batch.
    fn append_batch(&self, run: RunId, metrics: &[NewMetric<'_>], params: Vec<Tag>, tags: Vec<Tag>) -> ApiResult<()> {
        let plain = params.is_empty() && tags.is_empty() && metrics.iter().all(|metric| metric.context().is_none());
        if plain && !metrics.is_empty() {
            let engine = self.store().engine();
            let mut points = Vec::with_capacity(metrics.len());
            for metric in metrics {
                points.push(KeyedPoint { key: engine.metric_key(metric.key)?, point: metric.point() });
            }
            self.handle(run)?.log_points(&points, self.settings().metric_durability)?;
            return Ok(());
        }
        let snapshot = self.entities()?;
        let state = self.active_run(&snapshot, run)?;
        let mut batch = Batch::new();
        let changed: Vec<String> = params
            .iter()
            .filter_map(|(key, value)| {
                let (_, old) = state.params.iter().find(|(known, old)| known == key && old != value)?;
                let [key, old, value] = [key, old, value].map(|text| names::python_text(text));
                Some(format!("{{'key': {key}, 'old_value': {old}, 'new_value': {value}}}"))
            })
            .collect();
        if !changed.is_empty() {
            return Err(ApiError::invalid(format!(
                "Changing param values is not allowed. Params were already logged='[{}]' for run ID='{run}'.",
                changed.join(", ")
            )));
        }
        if !params.is_empty() {
            batch.push_event(ParamsLogged { run, params });
        }
        push_tags(&mut batch, run, tags);
        self.link_models(&snapshot, &mut batch, run, metrics)?;
        let durability = if batch.events_count() == 0 { self.settings().metric_durability } else { Durability::Sync };
        for metric in metrics {
            batch.push_metric(run, metric.key, metric.point(), metric.context());
        }
        if batch.events_count() + batch.points_count() > 0 {
            self.send(batch, durability)?;
        }
        Ok(())
    }

    /// Notes on each logged model which series begin to hold points of it.
    fn link_models(
        &self,
        snapshot: &Snapshot,
        batch: &mut Batch,
        run: RunId,
        metrics: &[NewMetric<'_>],
    ) -> ApiResult<()> {
        let mut linked: Vec<(ModelId, Vec<String>)> = Vec::new();
        for metric in metrics {
            let Some(text) = metric.model_id.filter(|text| !text.is_empty()) else { continue };
            let unknown =
                || ApiError::invalid(format!("Logged model with ID '{text}' not found: metric '{}'", metric.key));
            let model: ModelId = text.parse().map_err(|_| unknown())?;
            let slot = match linked.iter().position(|(known, _)| *known == model) {
                Some(slot) => slot,
                None => {
                    snapshot.logged_model(model)?.ok_or_else(unknown)?;
                    linked.push((model, Vec::new()));
                    linked.len() - 1
                }
            };
            let keys = &mut linked[slot].1;
            if !keys.iter().any(|key| key == metric.key) {
                keys.push(metric.key.to_owned());
            }
        }
        for (model, mut keys) in linked {
            if let Some(state) = snapshot.logged_model(model)? {
                keys.retain(|key| state.metric_series.binary_search(&(run, key.clone())).is_err());
            }
            if !keys.is_empty() {
                batch.push_event(LoggedModelMetricsLogged { model, run, keys });
            }
        }
        Ok(())
    }

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
        let limit = match max_results {
            None => usize::MAX,
            Some(limit) => names::positive("max_results", limit)?,
        };
        let offset = page_offset(token)?;
        let Ok(run) = id.parse::<RunId>() else { return Ok((MetricColumns::default(), None)) };
        let snapshot = self.snapshot_of(run)?;
        // One more than the page tells whether there is another.
        let query = HistoryQuery { offset: offset as u64, limit: limit.saturating_add(1), ..HistoryQuery::default() };
        let mut columns = history(&snapshot, run, key, &query)?;
        let more = columns.steps.len() > limit;
        if more {
            columns.steps.truncate(limit);
            columns.timestamps.truncate(limit);
            columns.values.truncate(limit);
        }
        Ok((columns, more.then(|| page_token(offset.saturating_add(limit)))))
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
            let limit = wanted - out.len();
            if limit == 0 {
                break;
            }
            let columns = history(&snapshot, run, key, &HistoryQuery { limit, ..HistoryQuery::default() })?;
            out.extend((0..columns.steps.len()).map(|i| columns.metric(i, &name, Some(&id))));
        }
        Ok(out)
    }

    /// Histories of one metric in several runs, thinned to at most about `max_results` steps: of the distinct steps of
    /// all runs together, evenly spread ones, the last one, and each run's first and last; every point at these steps.
    /// Answers are ordered by run as asked, then step, time, value. (The rule of MLflow 3.11.)
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
        let most = most as usize;
        let snapshot = self.snapshot()?;
        let range = steps.unwrap_or((i64::MIN, i64::MAX));
        let mut histories: Vec<(&String, MetricColumns)> = Vec::new();
        for id in ids {
            let Ok(run) = id.parse::<RunId>() else { continue };
            let query = HistoryQuery { steps: range, ..HistoryQuery::default() };
            let columns = history(&snapshot, run, key, &query)?;
            if !columns.steps.is_empty() {
                histories.push((id, columns));
            }
        }
        let chosen = sampled_steps(histories.iter().map(|(_, columns)| &columns.steps[..]), most);
        let name: Arc<str> = key.into();
        let mut out = Vec::new();
        for (id, columns) in &histories {
            let mut rows: Vec<usize> = match &chosen {
                None => (0..columns.steps.len()).collect(),
                Some(chosen) => chosen.rows_of(&columns.steps),
            };
            let order = |i: &usize| (columns.steps[*i], columns.timestamps[*i]);
            if !rows.is_sorted_by_key(order) {
                rows.sort_by(|a, b| {
                    order(a).cmp(&order(b)).then_with(|| columns.values[*a].total_cmp(&columns.values[*b]))
                });
            }
            out.extend(rows.into_iter().map(|i| columns.metric(i, &name, Some(id))));
        }
        Ok(out)
    }
}

impl Mlflow {
    /// Histories of one metric in several runs, each thinned to at most `most` points, spread evenly over its points in
    /// order of step, time, value, with the first one and the last one among them; of one point the last. Answers are
    /// ordered by run as asked. (The rule of MLflow 3.17.)
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
        let most = usize::try_from(most).unwrap_or(0).max(1);
        let snapshot = self.snapshot()?;
        let query = HistoryQuery { steps: steps.unwrap_or((i64::MIN, i64::MAX)), ..HistoryQuery::default() };
        let name: Arc<str> = key.into();
        let mut out = Vec::new();
        for id in ids {
            let Ok(run) = id.parse::<RunId>() else { continue };
            let columns = history(&snapshot, run, key, &query)?;
            out.extend(columns.samples(most).into_iter().map(|i| columns.metric(i, &name, Some(id))));
        }
        Ok(out)
    }
}

impl MetricColumns {
    /// Which points stand for all of them, at most `most`.
    fn samples(&self, most: usize) -> Vec<usize> {
        let count = self.steps.len();
        let mut rows: Vec<usize> = (0..count).collect();
        // NaN counts as 0, as everywhere.
        let value = |i: usize| if self.values[i].is_nan() { 0.0 } else { self.values[i] };
        rows.sort_by(|&a, &b| {
            let order = (self.steps[a], self.timestamps[a]).cmp(&(self.steps[b], self.timestamps[b]));
            order.then_with(|| value(a).total_cmp(&value(b)))
        });
        if count <= most {
            return rows;
        }
        // Parts as equal as can be, the longer ones first; the first point of each.
        let (short, longer) = (count / most, count % most);
        let mut sampled: Vec<usize> = (0..most).map(|part| rows[part * short + part.min(longer)]).collect();
        if let (Some(slot), Some(last)) = (sampled.last_mut(), rows.last()) {
            *slot = *last;
        }
        sampled
    }

    /// One of the points as an entity.
    pub fn metric(&self, index: usize, key: &Arc<str>, run: Option<&str>) -> Metric {
        Metric {
            key: key.clone(),
            value: self.values[index],
            timestamp: self.timestamps[index],
            step: self.steps[index],
            model_id: None,
            dataset_name: None,
            dataset_digest: None,
            run_id: run.map(str::to_owned),
        }
    }
}

/// Steps that an interval answers.
struct Sampled(Vec<i64>);

impl Sampled {
    fn rows_of(&self, steps: &[i64]) -> Vec<usize> {
        if steps.is_sorted() {
            // Few steps of many points: find each instead of looking at all.
            let mut rows = Vec::with_capacity(self.0.len());
            let mut from = 0;
            for step in &self.0 {
                from += steps[from..].partition_point(|other| other < step);
                while steps.get(from) == Some(step) {
                    rows.push(from);
                    from += 1;
                }
            }
            return rows;
        }
        (0..steps.len()).filter(|i| self.0.binary_search(&steps[*i]).is_ok()).collect()
    }
}

/// The rule of MLflow 3.11; `None`: there are no more than `most` distinct steps, so all are answered.
fn sampled_steps<'a>(runs: impl Iterator<Item = &'a [i64]> + Clone, most: usize) -> Option<Sampled> {
    let mut all: Vec<i64> = Vec::new();
    for steps in runs.clone() {
        all.extend_from_slice(steps);
    }
    if !all.is_sorted() {
        all.sort_unstable();
    }
    all.dedup();
    let count = all.len();
    if count <= most {
        return None;
    }
    let mut chosen: Vec<i64> = (0..most).map(|i| all[(i as u128 * count as u128 / most as u128) as usize]).collect();
    chosen.extend(all.last());
    for steps in runs {
        chosen.extend(steps.iter().min());
        chosen.extend(steps.iter().max());
    }
    chosen.sort_unstable();
    chosen.dedup();
    Some(Sampled(chosen))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_spread_over_points() {
        let columns = |count: i64| MetricColumns {
            steps: (0..count).rev().collect(),
            timestamps: vec![0; count as usize],
            values: vec![1.0; count as usize],
        };
        let steps = |count, most| {
            let columns = columns(count);
            columns.samples(most).into_iter().map(|row| columns.steps[row]).collect::<Vec<_>>()
        };
        assert_eq!(steps(10, 5), [0, 2, 4, 6, 9]);
        assert_eq!(steps(10, 4), [0, 3, 6, 9]);
        assert_eq!(steps(10, 1), [9]);
        assert_eq!(steps(3, 5), [0, 1, 2]);
        assert!(steps(0, 5).is_empty());
    }

    #[test]
    fn intervals_sample_distinct_steps() {
        let steps: Vec<i64> = (0..10).collect();
        let chosen = sampled_steps([&steps[..]].into_iter(), 5).unwrap();
        assert_eq!(chosen.0, [0, 2, 4, 6, 8, 9]);
        assert!(sampled_steps([&steps[..]].into_iter(), 10).is_none());
        let other = [-5, 3, 20];
        let chosen = sampled_steps([&steps[..], &other[..]].into_iter(), 2).unwrap();
        // Distinct steps: -5, 0..=9, 20; evenly spread ones -5 and 5; the last; each run's first and last.
        assert_eq!(chosen.0, [-5, 0, 5, 9, 20]);
        assert_eq!(chosen.rows_of(&other), [0, 2]);
        assert_eq!(chosen.rows_of(&[9, 0, 5, 5]), [0, 1, 2, 3]);
    }
}
