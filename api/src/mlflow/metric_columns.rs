//! [`MetricColumns`] holds the points of a metric as columns, and chooses those that stand for all of them.

use std::sync::Arc;

use super::entity::Metric;

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

    pub(super) fn gather(&self, rows: &[usize]) -> Self {
        Self {
            steps: rows.iter().map(|i| self.steps[*i]).collect(),
            timestamps: rows.iter().map(|i| self.timestamps[*i]).collect(),
            values: rows.iter().map(|i| self.values[*i]).collect(),
        }
    }

    /// Ordered by step, time, value.
    pub(super) fn by_step(self) -> Self {
        let at = |i: usize| (self.steps[i], self.timestamps[i]);
        if (1..self.steps.len()).all(|i| at(i - 1) <= at(i)) {
            return self;
        }
        let mut rows: Vec<usize> = (0..self.steps.len()).collect();
        rows.sort_by(|&a, &b| at(a).cmp(&at(b)).then_with(|| self.values[a].total_cmp(&self.values[b])));
        self.gather(&rows)
    }

    /// Which points stand for all of them, at most `most`.
    pub(super) fn samples(&self, most: usize) -> Vec<usize> {
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
}
