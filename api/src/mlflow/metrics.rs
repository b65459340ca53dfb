//! [`Mlflow`] logs points of metrics: one, or a batch with params and tags.

use super::entity::Tag;
use super::error::{ApiError, ApiResult};
use super::{Mlflow, names};
use crate::run::points::{Equal, Refused, RunPoint};
use crate::{MetricContext, Point, RunId, TimestampMs};

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

    fn run_point(&self) -> RunPoint<'_> {
        RunPoint { key: self.key, point: self.point(), context: self.context() }
    }
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
            return self.append_batch(run, std::slice::from_ref(metric), Equal::Another, Vec::new(), Vec::new());
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
        self.append_batch(self.run_id(id)?, metrics, Equal::Linked, checked_params, checked_tags)
    }

    /// Appends checked items: points alone by the run's handle, anything else as one batch.
    fn append_batch(
        &self,
        run: RunId,
        metrics: &[NewMetric<'_>],
        equal: Equal,
        params: Vec<Tag>,
        tags: Vec<Tag>,
    ) -> ApiResult<()> {
        let durability = self.settings().metric_durability;
        let plain = params.is_empty() && tags.is_empty() && !metrics.iter().any(NewMetric::has_context);
        if plain && !metrics.is_empty() {
            let points = metrics.iter().map(|metric| (metric.key, metric.point()));
            self.store().log_plain_points(&self.handle(run)?, points, durability)?;
            return Ok(());
        }
        let points: Vec<RunPoint<'_>> = metrics.iter().map(NewMetric::run_point).collect();
        match self.store().log_run_batch(run, &points, equal, params, tags, durability) {
            Ok(_) => Ok(()),
            Err(refused) => Err(in_words(refused, run)),
        }
    }
}

/// A refused batch in MLflow's words.
fn in_words(refused: Refused, run: RunId) -> ApiError {
    match refused {
        Refused::Store(error) => error.into(),
        Refused::NoModel { model, key } => {
            ApiError::invalid(format!("Logged model with ID '{model}' not found: metric '{key}'"))
        }
        Refused::ParamsChanged(changes) => {
            let changes = changes.iter().map(|change| {
                let [key, old, new] = [&change.key, &change.old, &change.new].map(|text| names::python_text(text));
                format!("{{'key': {key}, 'old_value': {old}, 'new_value': {new}}}")
            });
            ApiError::invalid(format!(
                "Changing param values is not allowed. Params were already logged='[{}]' for run ID='{run}'.",
                changes.collect::<Vec<_>>().join(", ")
            ))
        }
    }
}
