//! [`MetricColumns`] holds the points of a metric as columns.

use std::sync::Arc;

use super::entity::Metric;
use crate::Point;

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

impl MetricColumns {
    pub(super) fn append(&mut self, other: &Self) {
        self.steps.extend_from_slice(&other.steps);
        self.timestamps.extend_from_slice(&other.timestamps);
        self.values.extend_from_slice(&other.values);
    }

    pub(super) fn truncate(&mut self, count: usize) {
        self.steps.truncate(count);
        self.timestamps.truncate(count);
        self.values.truncate(count);
    }

    pub(super) fn push(&mut self, point: &Point) {
        self.steps.push(point.step);
        self.timestamps.push(point.time.0);
        self.values.push(point.value);
    }

    /// One of the points as an entity.
    ///
    /// ```
    /// use runlode::mlflow::MetricColumns;
    ///
    /// let columns = MetricColumns { steps: vec![7], timestamps: vec![1_700_000_000_000], values: vec![0.3] };
    /// assert_eq!(columns.metric(0, &"loss".into(), None).step, 7);
    /// ```
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
