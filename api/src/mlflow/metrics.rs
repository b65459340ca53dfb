//! [`Mlflow`] logs points of metrics: one, or a batch with params and tags.

use rustc_hash::FxHashMap;

use super::entity::Tag;
use super::error::{ApiError, ApiResult};
use super::{Mlflow, names};
use crate::engine::entity::SharedPoint;
use crate::engine::event::{LoggedModelMetricsLogged, LoggedModelPointShared, ParamsLogged};
use crate::engine::{ColumnSet, ContextId, HistoryQuery, KeyedPoint};
use crate::run::push_tags;
use crate::{Batch, Durability, Error, MetricContext, ModelId, Point, RunId, Snapshot, TimestampMs};

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

/// Keys and times of the points of a batch.
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

    /// Records on each logged model the series that get its first points in this batch.
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
}
