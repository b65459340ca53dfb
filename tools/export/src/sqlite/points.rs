//! A run's points as rows of `metrics`, `latest_metrics` and `logged_model_metrics`.
//!
//! | the store has | the tables have |
//! |---|---|
//! | NaN | value 0.0, is_nan 1 |
//! | +-infinity | +-f64::MAX, as MLflow itself writes them |
//! | -0.0 | -0.0 in the file, 0.0 for every reader |
//! | equal points | one row |
//! | points of dead branches | nothing |

use std::collections::HashMap;
use std::sync::Arc;

use runlode::engine::entity::{Rewind, SharedPoint};
use runlode::engine::point::Columns;
use runlode::engine::{ColumnSet, ContextId};
use runlode::{ExperimentId, MetricContext, ModelId, RunId};
use rusqlite::{CachedStatement, Connection, params};

use crate::error::{Error, Result};
use crate::moment::Moment;
use crate::report::Report;
use crate::series::{Blocks, Metric, Wanted};

const INFINITIES: &str = "infinities: kept as +-1.7976931348623157e308, as MLflow writes them";
const ZEROS: &str = "values -0.0: read back as 0.0";
const NANS: &str = "NaNs with bits of their own: kept as NaN";
const REPEATED: &str = "points that repeat another one: kept once";
const DEAD: &str = "points of branches that a rewind left";
const NO_MODEL: &str = "points of logged models that are not exported: kept in the run alone";
const DATASET: &str = "data sets of points without a logged model";
const MODEL_REPEATED: &str = "points of a logged model with equal key, time and step: the first is kept";

/// A number as MLflow's tables have it, with its flag.
pub(super) fn stored(value: f64) -> (f64, bool) {
    match value {
        value if value.is_nan() => (0.0, true),
        value if value.is_infinite() => (f64::MAX.copysign(value), false),
        value => (value, false),
    }
}

/// A row of `logged_model_metrics`.
pub(super) struct ModelPoint<'p> {
    pub(super) model: &'p str,
    pub(super) experiment: i64,
    pub(super) run: &'p str,
    pub(super) key: &'p str,
    pub(super) time_ms: i64,
    pub(super) step: i64,
    pub(super) value: f64,
    pub(super) dataset: (Option<&'p str>, Option<&'p str>),
}

impl<'p> ModelPoint<'p> {
    /// A point that a logged model's state names.
    pub(super) fn shared(model: &'p str, experiment: i64, run: &'p str, point: &'p SharedPoint) -> Self {
        Self {
            model,
            experiment,
            run,
            key: &point.key,
            time_ms: point.time_ms,
            step: point.step,
            value: f64::from_bits(point.value_bits),
            dataset: (point.dataset_name.as_deref(), point.dataset_digest.as_deref()),
        }
    }

    /// Inserts it; notes if the table has no room for it.
    pub(super) fn insert(&self, connection: &Connection, report: &mut Report) -> rusqlite::Result<()> {
        let rows = connection
            .prepare_cached(
                "INSERT OR IGNORE INTO logged_model_metrics(model_id, metric_name, metric_timestamp_ms, metric_step, \
                 metric_value, experiment_id, run_id, dataset_name, dataset_digest) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9)",
            )?
            .execute(params![
                self.model,
                self.key,
                self.time_ms,
                self.step,
                stored(self.value).0,
                self.experiment,
                self.run,
                self.dataset.0,
                self.dataset.1
            ])?;
        if rows == 0 {
            report.lose(MODEL_REPEATED, || format!("{} of {} at step {}", self.key, self.model, self.step));
        }
        Ok(())
    }
}

/// A run whose points are written.
pub(super) struct RunPoints<'r> {
    pub(super) moment: &'r Moment,
    pub(super) run: RunId,
    pub(super) experiment: ExperimentId,
    pub(super) rewinds: &'r [Rewind],
    /// The logged models that are exported, by id.
    pub(super) models: &'r [ModelId],
}

impl RunPoints<'_> {
    /// Writes the points; returns how many rows of `metrics` there are.
    pub(super) fn write(
        &self,
        blocks: &mut Blocks,
        connection: &Connection,
        report: &mut Report,
        failed: &dyn Fn(rusqlite::Error) -> Error,
    ) -> Result<u64> {
        let id = self.run.to_string();
        let mut rows = 0;
        let columns = ColumnSet::POINTS.with(ColumnSet::CONTEXTS);
        let wanted = Wanted { columns, dead: !self.rewinds.is_empty(), from: None };
        let mut insert = connection
            .prepare_cached(
                "INSERT OR IGNORE INTO metrics(key, value, timestamp, run_uuid, step, is_nan) VALUES (?1,?2,?3,?4,?5,?6)",
            )
            .map_err(failed)?;
        let mut contexts = Contexts { moment: self.moment, known: HashMap::new() };
        blocks.of_run(self.moment, self.run, self.rewinds, wanted, &mut |metric, points| {
            if !metric.live {
                report.lose_many(DEAD, points.len() as u64, || format!("{} of run {id}", metric.key));
                return Ok(());
            }
            rows += self.rows(&id, metric, points, &mut insert, report).map_err(failed)?;
            if !points.contexts.is_empty() {
                self.model_rows(&id, metric, points, &mut contexts, connection, report).map_err(failed)?;
            }
            Ok(())
        })?;
        let mut latest = connection
            .prepare_cached(
                "INSERT OR REPLACE INTO latest_metrics(key, value, timestamp, step, is_nan, run_uuid) \
                 VALUES (?1,?2,?3,?4,?5,?6)",
            )
            .map_err(failed)?;
        for (key, stats) in self.moment.metrics(self.run)? {
            let (value, is_nan) = stored(stats.last_value);
            let row = params![&*key, value, stats.last_time_ms, stats.last_step, is_nan, id];
            latest.execute(row).map_err(failed)?;
        }
        Ok(rows)
    }

    fn rows(
        &self,
        id: &str,
        metric: &Metric,
        points: &Columns,
        insert: &mut CachedStatement<'_>,
        report: &mut Report,
    ) -> rusqlite::Result<u64> {
        let mut rows = 0;
        for at in 0..points.len() {
            let (step, time_ms, value) = (points.steps[at], points.times[at], points.values[at]);
            let named = || format!("{} of run {id} at step {step}", metric.key);
            let (number, is_nan) = stored(value);
            if insert.execute(params![&*metric.key, number, time_ms, id, step, is_nan])? == 0 {
                report.lose(REPEATED, named);
                continue;
            }
            rows += 1;
            if value.is_infinite() {
                report.lose(INFINITIES, named);
            } else if value == 0.0 && value.is_sign_negative() {
                report.lose(ZEROS, named);
            } else if is_nan && value.to_bits() != f64::NAN.to_bits() {
                report.lose(NANS, named);
            }
        }
        Ok(rows)
    }

    /// The rows of logged models.
    fn model_rows(
        &self,
        id: &str,
        metric: &Metric,
        points: &Columns,
        contexts: &mut Contexts<'_>,
        connection: &Connection,
        report: &mut Report,
    ) -> rusqlite::Result<()> {
        for at in 0..points.len() {
            let Some(context) = contexts.get(points.context(at)) else { continue };
            let (step, time_ms, value) = (points.steps[at], points.times[at], points.values[at]);
            for part in context.parts() {
                let named = || format!("{} of run {id} at step {step}", metric.key);
                match &part.model_id {
                    Some(model) if model.parse().is_ok_and(|model| self.models.binary_search(&model).is_ok()) => {
                        let dataset = (part.dataset_name.as_deref(), part.dataset_digest.as_deref());
                        let experiment = self.experiment.0.cast_signed();
                        let key = &metric.key;
                        ModelPoint { model, experiment, run: id, key, time_ms, step, value, dataset }
                            .insert(connection, report)?;
                    }
                    Some(_) => report.lose(NO_MODEL, named),
                    None if part.dataset_name.is_some() => report.lose(DATASET, named),
                    None => {}
                }
            }
        }
        Ok(())
    }
}

/// Contexts of points, looked up once.
struct Contexts<'m> {
    moment: &'m Moment,
    known: HashMap<u32, Option<Arc<MetricContext>>>,
}

impl Contexts<'_> {
    fn get(&mut self, id: ContextId) -> Option<Arc<MetricContext>> {
        if id.0 == 0 {
            return None;
        }
        self.known.entry(id.0).or_insert_with(|| self.moment.context(id)).clone()
    }
}
