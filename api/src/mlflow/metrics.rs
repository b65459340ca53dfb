//! Metrics: logging one point or a batch, and reading histories.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::entity::{Metric, Tag};
use super::error::{ApiError, ApiResult};
use super::{Mlflow, names, page_offset, page_token};
use crate::engine::entity::SharedPoint;
use crate::engine::event::{LoggedModelMetricsLogged, LoggedModelPointShared, ParamsLogged};
use crate::engine::query::points::HistoryQuery;
use crate::engine::series::ColumnSet;
use crate::engine::{ContextId, KeyedPoint};
use crate::run::push_tags;
use crate::{Batch, Durability, Error, MetricContext, ModelId, Point, RunId, Snapshot, TimestampMs};

/// Maximum number of runs of one bulk history.
pub const BULK_RUNS_MAX: usize = 100;
/// Maximum number of points of one bulk history.
pub const BULK_POINTS_MAX: usize = 25_000;
/// Maximum and default number of points per run of a bulk interval.
pub const INTERVAL_POINTS_MAX: i64 = 2500;

/// Points of a long history in memory at a time.
const PIECE_POINTS: usize = 32_768;
/// Up to this many points of one run, a bulk interval sorts them itself.
const ROWS_MAX: usize = 262_144;
/// Maximum number of step ranges in a bulk interval, those of two runs together.
const STEP_RANGES_MAX: usize = 1 << 21;

/// A point to log.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewMetric<'a> {
    /// Key of the metric.
    pub key: &'a str,
    /// Value; stored bit for bit.
    pub value: f64,
    /// Time, Unix ms, not negative.
    pub timestamp: i64,
    /// Step; may be negative.
    pub step: i64,
    /// Id of a logged model to which the point belongs too.
    pub model_id: Option<&'a str>,
    /// Name of the data set it was measured on.
    pub dataset_name: Option<&'a str>,
    /// Digest of that data set.
    pub dataset_digest: Option<&'a str>,
}

impl NewMetric<'_> {
    pub(crate) fn point(&self) -> Point {
        Point { step: self.step, time: TimestampMs(self.timestamp), value: self.value }
    }

    /// Whether the point belongs to a logged model or data set too.
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
            also: Vec::new(),
        };
        (!context.is_empty()).then_some(context)
    }
}

/// A point this much later than its own time may have been sent before; the same value as in the engine.
const LATE_AFTER_MS: i64 = 1_000;

fn same_part(a: &MetricContext, b: &MetricContext) -> bool {
    (&a.model_id, &a.dataset_name, &a.dataset_digest) == (&b.model_id, &b.dataset_name, &b.dataset_digest)
}

fn is_late(now: TimestampMs, time: TimestampMs) -> bool {
    now.0.saturating_sub(time.0) > LATE_AFTER_MS
}

/// The points to log, each with its context. Equal points with different models are one point of all these models.
/// Equal points with the same model are two points, or, if late, one point sent twice.
fn with_contexts<'m>(
    metrics: &'m [NewMetric<'m>],
    now: TimestampMs,
) -> Vec<(&'m NewMetric<'m>, Option<MetricContext>)> {
    let mut places: FxHashMap<(&str, i64, i64, u64), usize> = FxHashMap::default();
    let mut points: Vec<(&NewMetric<'_>, Option<MetricContext>)> = Vec::with_capacity(metrics.len());
    for metric in metrics {
        let context = metric.context();
        if let Some(part) = &context {
            let same = (metric.key, metric.step, metric.timestamp, metric.value.to_bits());
            let place = *places.entry(same).or_insert(points.len());
            if let Some((_, Some(known))) = points.get_mut(place) {
                if known.parts().all(|known| !same_part(known, part)) {
                    known.also.push(part.clone());
                    continue;
                }
                if is_late(now, metric.point().time) {
                    continue;
                }
            }
        }
        points.push((metric, context));
    }
    points
}

/// Points of a series as columns, which take less memory than [`Metric`]s.
#[derive(Debug, Clone, Default)]
pub struct MetricColumns {
    /// Steps, one per point.
    pub steps: Vec<i64>,
    /// Times, Unix ms.
    pub timestamps: Vec<i64>,
    /// Values, bit for bit.
    pub values: Vec<f64>,
}

/// Checks keys and times of the points of a batch.
pub(crate) fn check_points(metrics: &[NewMetric<'_>]) -> ApiResult<()> {
    for (i, given) in metrics.iter().enumerate() {
        // The path is only needed for a message.
        if names::metric("", given.key, given.value, given.timestamp).is_err() {
            names::metric(&format!("metrics[{i}]"), given.key, given.value, given.timestamp)?;
        }
    }
    Ok(())
}

impl Mlflow {
    /// Logs a point with the durability of this API's settings.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`, `RESOURCE_DOES_NOT_EXIST`.
    pub fn log_metric(&self, id: &str, metric: &NewMetric<'_>) -> ApiResult<()> {
        names::metric("", metric.key, metric.value, metric.timestamp)?;
        let run = self.run_id(id)?;
        if metric.context().is_some() {
            return self.append_batch(run, std::slice::from_ref(metric), Vec::new(), Vec::new());
        }
        let handle = self.handle(run)?;
        let mut keys = self.store().engine().reserve_keys()?;
        handle.log_point(keys.metric_key(metric.key)?, metric.point(), self.settings().metric_durability)?;
        Ok(())
    }

    /// Logs metrics, params and tags: all of them or nothing.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`, `RESOURCE_DOES_NOT_EXIST`.
    pub fn log_batch(&self, id: &str, metrics: &[NewMetric<'_>], params: &[Tag], tags: &[Tag]) -> ApiResult<()> {
        names::run_id(id)?;
        check_points(metrics)?;
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

    /// Appends checked items: points alone by the run's handle, anything else as one batch.
    fn append_batch(&self, run: RunId, metrics: &[NewMetric<'_>], params: Vec<Tag>, tags: Vec<Tag>) -> ApiResult<()> {
        let plain = params.is_empty() && tags.is_empty() && metrics.iter().all(|metric| metric.context().is_none());
        if plain && !metrics.is_empty() {
            let handle = self.handle(run)?;
            // New keys are dropped again if the points are refused.
            let mut keys = self.store().engine().reserve_keys()?;
            let mut points = Vec::with_capacity(metrics.len());
            for metric in metrics {
                points.push(KeyedPoint { key: keys.metric_key(metric.key)?, point: metric.point() });
            }
            handle.log_points(&points, self.settings().metric_durability)?;
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
        // Existing points are read only if some may be shared.
        let has_models = metrics.iter().any(NewMetric::has_context);
        let points = if has_models { Some(self.snapshot_of(run)?) } else { None };
        for (metric, context) in with_contexts(metrics, self.store().now()) {
            if let (Some(context), Some(points)) = (&context, &points)
                && self.shares(points, run, metric, context, &mut batch)?
            {
                continue;
            }
            batch.push_metric(run, metric.key, metric.point(), context);
        }
        // A shared point is recorded as an event.
        let durability = if batch.events_count() == 0 { durability } else { Durability::Sync };
        if batch.events_count() + batch.points_count() > 0 {
            self.store().append(batch, durability)?;
        }
        Ok(())
    }

    /// Whether the run has the point already, and only a model is new to it: MLflow's clients log a point that several
    /// models share once for each of them. Adds an event for each such model. A point without a model that was logged
    /// just now is a point of its own.
    fn shares(
        &self,
        snapshot: &Snapshot,
        run: RunId,
        metric: &NewMetric<'_>,
        context: &MetricContext,
        batch: &mut Batch,
    ) -> ApiResult<bool> {
        let point = metric.point();
        let last = match snapshot.stats(run, metric.key) {
            Ok(stats) => stats.map(|stats| (stats.last_step, stats.last_time_ms)),
            Err(Error::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        // A point after the last one is new.
        if last.is_none_or(|last| (point.step, point.time.0) > last) {
            return Ok(false);
        }
        let query = HistoryQuery {
            steps: (point.step, point.step),
            times_ms: (point.time.0, point.time.0),
            columns: ColumnSet::POINTS.with(ColumnSet::CONTEXTS),
            ..HistoryQuery::default()
        };
        let columns = match snapshot.history(run, metric.key, &query) {
            Ok(page) => page.columns,
            Err(Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let is_late = is_late(self.store().now(), point.time);
        let equal: Vec<u32> = (0..columns.len())
            .filter(|&at| columns.point(at).value.to_bits() == point.value.to_bits())
            .map(|at| columns.context(at).0)
            .filter(|context| is_late || *context != 0)
            .collect();
        if equal.is_empty() {
            return Ok(false);
        }
        let mut shared = Vec::new();
        for part in context.parts() {
            let Some(Ok(model)) = part.model_id.as_deref().map(str::parse::<ModelId>) else { return Ok(false) };
            let with = SharedPoint {
                run,
                key: metric.key.to_owned(),
                step: point.step,
                time_ms: point.time.0,
                value_bits: point.value.to_bits(),
                dataset_name: part.dataset_name.clone(),
                dataset_digest: part.dataset_digest.clone(),
            };
            let names = |of: &&u32| {
                let known = snapshot.metric_context(ContextId(**of));
                known.is_some_and(|known| known.parts().any(|known| same_part(known, part)))
            };
            let state = snapshot.logged_model(model)?;
            let is_shared = state.is_some_and(|state| state.shared_points.binary_search(&with).is_ok());
            match equal.iter().filter(names).count() + usize::from(is_shared) {
                0 => shared.push((model, with)),
                // The same point, sent again.
                _ if is_late => {}
                // Another, equal point.
                _ => return Ok(false),
            }
        }
        for (model, point) in shared {
            let SharedPoint { run, key, step, time_ms, value_bits, dataset_name, dataset_digest } = point;
            let shared =
                LoggedModelPointShared { model, run, key, step, time_ms, value_bits, dataset_name, dataset_digest };
            batch.push_event(shared);
        }
        Ok(true)
    }

    /// Records on each logged model which series begin to hold points of it.
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
            Some(limit) => names::positive("max_results", limit)?,
        };
        let offset = page_offset(token)?;
        let Ok(run) = id.parse::<RunId>() else { return Ok(None) };
        let snapshot = self.snapshot_of(run)?;
        let (mut given, mut more) = (0, false);
        // One more than the page shows whether there is another page.
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

    /// Histories of one metric in several runs, thinned to at most about `max_results` steps: of the distinct steps of
    /// all runs together, evenly spread ones, the last one, and each run's first and last; every point at these steps.
    /// Answers are ordered by run as asked, then step, time, value; a run that is asked for twice is answered once. (The
    /// rule of MLflow 3.11.)
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`, also where the distinct steps are too many to choose from.
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

    /// As [`Mlflow::metric_history_interval`], a piece of one run's points at a time.
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
        let most = most as usize;
        let snapshot = self.snapshot()?;
        let query = HistoryQuery { steps: steps.unwrap_or((i64::MIN, i64::MAX)), ..HistoryQuery::default() };
        let mut runs: Vec<(&String, RunId)> = Vec::new();
        let (mut all, mut ends) = (StepSet::default(), Vec::new());
        for id in ids {
            self.check_waiting()?;
            let Ok(run) = id.parse::<RunId>() else { continue };
            if runs.iter().any(|(_, known)| *known == run) {
                continue;
            }
            let mut own = StepSet::default();
            let query = HistoryQuery { columns: ColumnSet::STEPS.with(ColumnSet::TIMES), ..query };
            history_each(&snapshot, run, key, &query, &mut |columns| own.extend(&columns.steps))?;
            own.settle();
            if let Some(span) = own.span() {
                ends.push(span);
                runs.push((id, run));
                all.merge(own)?;
            }
        }
        let chosen = all.sampled(&ends, most);
        for (id, run) in runs {
            let mut rows = MetricColumns::default();
            let read = history_each(&snapshot, run, key, &query, &mut |columns| {
                match &chosen {
                    None => rows.append(&columns),
                    Some(chosen) => rows.append(&columns.gather(&chosen.rows_of(&columns.steps))),
                }
                if rows.steps.len() <= ROWS_MAX { Ok(()) } else { Err(too_many_points()) }
            });
            match read {
                Ok(()) => each(id, &rows.by_step())?,
                // Many points at few steps: read one step after the other, each in the order of its history.
                Err(_) if rows.steps.len() > ROWS_MAX => {
                    drop(rows);
                    let steps = match &chosen {
                        None => all.iter().collect(),
                        Some(chosen) => chosen.0.clone(),
                    };
                    for step in steps {
                        let query = HistoryQuery { steps: (step, step), ..query };
                        history_each(&snapshot, run, key, &query, &mut |columns| each(id, &columns))?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
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
            self.check_waiting()?;
            let Ok(run) = id.parse::<RunId>() else { continue };
            let columns = history(&snapshot, run, key, &query)?;
            out.extend(columns.samples(most).into_iter().map(|i| columns.metric(i, &name, Some(id))));
        }
        Ok(out)
    }
}

impl MetricColumns {
    fn append(&mut self, other: &Self) {
        self.steps.extend_from_slice(&other.steps);
        self.timestamps.extend_from_slice(&other.timestamps);
        self.values.extend_from_slice(&other.values);
    }

    fn truncate(&mut self, count: usize) {
        self.steps.truncate(count);
        self.timestamps.truncate(count);
        self.values.truncate(count);
    }

    fn gather(&self, rows: &[usize]) -> Self {
        Self {
            steps: rows.iter().map(|i| self.steps[*i]).collect(),
            timestamps: rows.iter().map(|i| self.timestamps[*i]).collect(),
            values: rows.iter().map(|i| self.values[*i]).collect(),
        }
    }

    /// Sorts by step, time, value.
    fn by_step(self) -> Self {
        let at = |i: usize| (self.steps[i], self.timestamps[i]);
        if (1..self.steps.len()).all(|i| at(i - 1) <= at(i)) {
            return self;
        }
        let mut rows: Vec<usize> = (0..self.steps.len()).collect();
        rows.sort_by(|&a, &b| at(a).cmp(&at(b)).then_with(|| self.values[a].total_cmp(&self.values[b])));
        self.gather(&rows)
    }

    /// Indexes of at most `most` points that represent all.
    fn samples(&self, most: usize) -> Vec<usize> {
        let count = self.steps.len();
        let mut rows: Vec<usize> = (0..count).collect();
        // NaN sorts as 0, as in every order of points.
        let value = |i: usize| if self.values[i].is_nan() { 0.0 } else { self.values[i] };
        rows.sort_by(|&a, &b| {
            let order = (self.steps[a], self.timestamps[a]).cmp(&(self.steps[b], self.timestamps[b]));
            order.then_with(|| value(a).total_cmp(&value(b)))
        });
        if count <= most {
            return rows;
        }
        // Parts as equal as possible, the longer ones first; take the first point of each.
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

/// Steps that an interval returns.
struct Sampled(Vec<i64>);

impl Sampled {
    fn rows_of(&self, steps: &[i64]) -> Vec<usize> {
        if steps.is_sorted() {
            // Few steps of many points: search each step instead of scanning all points.
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

/// A set of steps, as ranges without gaps: those of a run are mostly one range.
#[derive(Debug, Default)]
struct StepSet {
    /// First and last step of each; once settled, ascending and disjoint.
    ranges: Vec<(i64, i64)>,
}

impl StepSet {
    /// Adds steps in any order.
    fn extend(&mut self, steps: &[i64]) -> ApiResult<()> {
        for step in steps {
            match self.ranges.last_mut() {
                Some((first, last)) if *first <= *step && *step <= last.saturating_add(1) => *last = (*last).max(*step),
                _ => self.ranges.push((*step, *step)),
            }
        }
        if self.ranges.len() > STEP_RANGES_MAX {
            self.settle();
            self.check()?;
        }
        Ok(())
    }

    fn check(&self) -> ApiResult<()> {
        if self.ranges.len() > STEP_RANGES_MAX / 2 { Err(too_many_points()) } else { Ok(()) }
    }

    /// Sorts and joins the ranges.
    fn settle(&mut self) {
        if !self.ranges.is_sorted() {
            self.ranges.sort_unstable();
        }
        self.ranges.dedup_by(|next, range| {
            let touches = next.0 <= range.1.saturating_add(1);
            if touches {
                range.1 = range.1.max(next.1);
            }
            touches
        });
    }

    /// First and last step of the set.
    fn span(&self) -> Option<(i64, i64)> {
        Some((self.ranges.first()?.0, self.ranges.last()?.1))
    }

    /// Adds the steps of another run; both sets must be settled.
    fn merge(&mut self, other: Self) -> ApiResult<()> {
        if self.ranges != other.ranges {
            self.ranges.extend(other.ranges);
            self.settle();
        }
        self.check()
    }

    fn iter(&self) -> impl Iterator<Item = i64> {
        self.ranges.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// Chooses steps by the rule of MLflow 3.11, for runs with these first and last steps. `None`: there are at most
    /// `most` distinct steps, so all are returned.
    fn sampled(&self, ends: &[(i64, i64)], most: usize) -> Option<Sampled> {
        let length = |(first, last): &(i64, i64)| (i128::from(*last) - i128::from(*first) + 1) as u128;
        let count: u128 = self.ranges.iter().map(length).sum();
        if count <= most as u128 {
            return None;
        }
        let mut chosen = Vec::with_capacity(most + 1 + 2 * ends.len());
        let (mut at, mut before) = (0, 0);
        for i in 0..most as u128 {
            let wanted = i * count / most as u128;
            while let Some(range) = self.ranges.get(at)
                && before + length(range) <= wanted
            {
                before += length(range);
                at += 1;
            }
            let first = self.ranges.get(at).map_or(0, |range| range.0);
            // Within the range, so it is a step.
            chosen.push((i128::from(first) + (wanted - before) as i128) as i64);
        }
        chosen.extend(self.span().map(|(_, last)| last));
        chosen.extend(ends.iter().flat_map(|(first, last)| [*first, *last]));
        chosen.sort_unstable();
        chosen.dedup();
        Some(Sampled(chosen))
    }
}

fn too_many_points() -> ApiError {
    let message = "The steps of these runs are too many to choose from: ask for fewer runs, or for a range of steps.";
    // Clients would repeat a 429, and get the same answer.
    ApiError::invalid(message)
}

/// Reads a history, a piece at a time.
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
        // The next piece begins at the last time of this one, after the points of this time that were returned.
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

/// The valid run ids, sorted as text, without duplicates.
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

    fn sampled(runs: &[&[i64]], most: usize) -> Option<Sampled> {
        let (mut all, mut ends) = (StepSet::default(), Vec::new());
        for steps in runs {
            let mut own = StepSet::default();
            own.extend(steps).unwrap();
            own.settle();
            ends.extend(own.span());
            all.merge(own).unwrap();
        }
        all.sampled(&ends, most)
    }

    #[test]
    fn intervals_sample_distinct_steps() {
        let steps: Vec<i64> = (0..10).collect();
        assert_eq!(sampled(&[&steps], 5).unwrap().0, [0, 2, 4, 6, 8, 9]);
        assert!(sampled(&[&steps], 10).is_none());
        let other = [-5, 3, 20];
        let chosen = sampled(&[&steps, &other], 2).unwrap();
        // Distinct steps: -5, 0..=9, 20; evenly spread ones -5 and 5; the last; each run's first and last.
        assert_eq!(chosen.0, [-5, 0, 5, 9, 20]);
        assert_eq!(chosen.rows_of(&other), [0, 2]);
        assert_eq!(chosen.rows_of(&[9, 0, 5, 5]), [0, 1, 2, 3]);
        let far = [i64::MIN, i64::MAX, 7, 7, 3, 5, 4];
        assert_eq!(sampled(&[&far, &far, &steps], 1).unwrap().0, [i64::MIN, 0, 9, i64::MAX]);
    }

    #[test]
    fn steps_are_chosen_as_from_a_list_of_all() {
        let mut state = 7u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for _ in 0..300 {
            let runs: Vec<Vec<i64>> =
                (0..1 + random(4)).map(|_| (0..1 + random(60)).map(|_| random(80) as i64 - 20).collect()).collect();
            let most = 1 + random(40) as usize;
            let runs: Vec<&[i64]> = runs.iter().map(Vec::as_slice).collect();
            let mut all = runs.concat();
            all.sort_unstable();
            all.dedup();
            let expected = (all.len() > most).then(|| {
                let mut chosen: Vec<i64> = (0..most).map(|i| all[i * all.len() / most]).collect();
                chosen.extend(all.last());
                chosen.extend(runs.iter().flat_map(|steps| steps.iter().min().into_iter().chain(steps.iter().max())));
                chosen.sort_unstable();
                chosen.dedup();
                chosen
            });
            assert_eq!(sampled(&runs, most).map(|chosen| chosen.0), expected, "{runs:?}, {most}");
        }
    }
}
