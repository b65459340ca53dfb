//! Metric points: millions of rows, streamed in the order (run, row), in batches of one run.
//!
//! Points of files (MLflow's file store, event files) never become rows: they are read from the files, run by run.
//!
//! - A batch holds up to [`POINTS_PER_BATCH`] points of one run; its key is derived from the run, its number and its
//!   content. If the store already has points of the run, those of a batch that exist are left out.
//! - A logged model's own metrics (`logged_model_metrics`) repeat rows of `metrics`: the model and data set are
//!   attached to the point of the same run, name, time, step and value. A point that belongs to several models is
//!   logged once for each, and is still one point.
//! - `is_nan` says whether a point is NaN, never the value.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use runlode::{MetricContext, Point, RawView, RunId, TimestampMs};
use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::appender::{self, Appender, PointsBatch};
use super::decode::{self, integer_of, number_of, text, text_or_empty, value};
use super::key::Key;
use super::merge::Grouped;
use super::report::Report;
use super::runs::Foreign;
use super::sink::{IndexedPoint, Sink};
use super::source::{RunPoint, RunPoints, Source, read_failed};
use super::{ImportOptions, Progress};
use crate::error::Result;

/// Points in a batch.
const POINTS_PER_BATCH: usize = 5_000;
/// Rows between two calls of the progress function.
const ROWS_PER_PROGRESS: u64 = 8_192;

/// A row of a logged model's own metrics, waiting for its point.
struct ModelPoint {
    key: String,
    /// As stored: 0.0 for NaN.
    value: f64,
    context: MetricContext,
    found: bool,
}

/// The run being read.
struct Current {
    uuid: String,
    run: RunId,
    /// Whether the store has the run; if not, its points are counted and left out.
    wanted: bool,
    /// Whether the store already has points of the run; then each batch is compared with them.
    has_points: bool,
    /// The lowest step to which the run was rewound in the store.
    rewound_to: Option<i64>,
    keys: Vec<String>,
    indexes: HashMap<String, u32>,
    /// Latest point per key, values as stored (NaN as 0.0).
    latest: Vec<Point>,
    /// By time and step.
    model_points: HashMap<(i64, i64), Vec<ModelPoint>>,
    /// `keys`, as the last batch that was given has them.
    keys_given: Arc<[String]>,
    points: Vec<IndexedPoint>,
    rows_in_batch: u64,
    batches: i64,
    hash: Key,
}

pub(super) fn import(
    source: &Source,
    options: &ImportOptions,
    foreign: &Foreign,
    sink: &mut Sink<'_>,
    report: &mut Report,
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    appender::beside(sink, report, |appender, report| read(source, options, foreign, appender, report, progress))
}

fn read(
    source: &Source,
    options: &ImportOptions,
    foreign: &Foreign,
    appender: &Appender<'_>,
    report: &mut Report,
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    report.infinities_restored = options.restore_infinities;
    if !source.has("metrics") {
        return Ok(());
    }
    let mut model_statement = source
        .has("logged_model_metrics")
        .then(|| {
            let columns = source.list(
                "logged_model_metrics",
                &[
                    "run_id",
                    "metric_name",
                    "metric_timestamp_ms",
                    "metric_step",
                    "metric_value",
                    "model_id",
                    "dataset_name",
                    "dataset_digest",
                ],
            );
            source.prepare(&format!("SELECT {columns} FROM logged_model_metrics ORDER BY run_id, model_id"))
        })
        .transpose()?;
    let mut models = match &mut model_statement {
        Some(statement) => Grouped::new(statement.query([]).map_err(|error| read_failed(&error))?),
        None => Grouped::empty(),
    };
    let mut latest_statement = source
        .has("latest_metrics")
        .then(|| {
            let columns = source.list("latest_metrics", &["run_uuid", "key", "value", "timestamp", "step"]);
            source.prepare(&format!("SELECT {columns} FROM latest_metrics ORDER BY run_uuid"))
        })
        .transpose()?;
    let mut latest = match &mut latest_statement {
        Some(statement) => Grouped::new(statement.query([]).map_err(|error| read_failed(&error))?),
        None => Grouped::empty(),
    };

    if let Some(files) = source.files() {
        let restore_infinities = options.restore_infinities && !source.keeps_all_points();
        let from = Files { source, files, restore_infinities, foreign };
        from.import(&mut models, appender, report, progress)?;
        report.skip("metric rows of logged models whose run has no points", models.finish()?);
        return Ok(());
    }
    let columns = source.list("metrics", &["run_uuid", "key", "value", "timestamp", "step", "is_nan"]);
    let mut statement = source.prepare(&format!("SELECT {columns} FROM metrics ORDER BY run_uuid, rowid"))?;
    let mut rows = statement.query([]).map_err(|error| read_failed(&error))?;
    let total = source.count_about("metrics");
    let mut done = 0;
    let mut current: Option<Current> = None;
    while let Some(row) = rows.next().map_err(|error| read_failed(&error))? {
        if done % ROWS_PER_PROGRESS == 0 {
            progress(Progress { phase: "points", done, total });
        }
        done += 1;
        let same = matches!((value(row, 0)?, &current), (ValueRef::Text(uuid), Some(at)) if uuid == at.uuid.as_bytes());
        if !same {
            if let Some(finished) = current.take() {
                finished.finish(&mut latest, appender, report)?;
            }
            current = Some(Current::begin(text_or_empty(row, 0)?, foreign, &mut models, appender)?);
        }
        if let Some(current) = &mut current {
            current.add(row, options, report)?;
            if current.points.len() >= POINTS_PER_BATCH {
                current.put(appender, report)?;
            }
        }
    }
    if let Some(finished) = current.take() {
        finished.finish(&mut latest, appender, report)?;
    }
    report.skip("metric rows of logged models whose run has no points", models.finish()?);
    progress(Progress { phase: "points", done, total: done });
    Ok(())
}

/// A source that has its points in files.
struct Files<'s> {
    source: &'s Source,
    files: &'s dyn RunPoints,
    restore_infinities: bool,
    foreign: &'s Foreign,
}

impl Files<'_> {
    fn import(
        &self,
        models: &mut Grouped<'_>,
        appender: &Appender<'_>,
        report: &mut Report,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let total = self.source.count("runs")?;
        let mut statement = self.source.prepare("SELECT run_uuid FROM runs ORDER BY run_uuid")?;
        let mut rows = statement.query([]).map_err(|error| read_failed(&error))?;
        let mut done = 0;
        while let Some(row) = rows.next().map_err(|error| read_failed(&error))? {
            progress(Progress { phase: "runs with points", done, total });
            done += 1;
            let uuid = text_or_empty(row, 0)?;
            let mut current = Current::begin(uuid.clone(), self.foreign, models, appender)?;
            let mut found = Report::default();
            self.files.read(&uuid, &mut found, &mut |point| {
                current.add_point(point, self.restore_infinities, report);
                if current.points.len() >= POINTS_PER_BATCH {
                    current.put(appender, report)?;
                }
                Ok(())
            })?;
            current.put(appender, report)?;
            current.count_lost(report);
            report.absorb(found);
        }
        progress(Progress { phase: "runs with points", done, total });
        Ok(())
    }
}

impl Current {
    fn begin(uuid: String, foreign: &Foreign, models: &mut Grouped<'_>, appender: &Appender<'_>) -> Result<Self> {
        let (run, _) = decode::run_id(&uuid);
        let snapshot = appender.store().view()?;
        let state = snapshot.run(run)?;
        let has_points = state.is_some() && snapshot.has_points(run)?;
        let rewound_to = state.as_ref().and_then(|state| state.rewinds.iter().map(|rewind| rewind.to_step).min());
        let wanted =
            state.is_some_and(|state| state.lifecycle != runlode::Lifecycle::Purged) && !foreign.contains(&run);
        let mut model_points: HashMap<(i64, i64), Vec<ModelPoint>> = HashMap::new();
        models.take(&uuid, |row| {
            let at = (integer_of(value(row, 2)?).unwrap_or(0), integer_of(value(row, 3)?).unwrap_or(0));
            model_points.entry(at).or_default().push(ModelPoint {
                key: text_or_empty(row, 1)?,
                value: number_of(value(row, 4)?).unwrap_or(0.0),
                context: MetricContext {
                    model_id: Some(decode::model_id(&text_or_empty(row, 5)?).0.to_string()),
                    dataset_name: text(row, 6)?,
                    dataset_digest: text(row, 7)?,
                    also: Vec::new(),
                },
                found: false,
            });
            Ok(())
        })?;
        Ok(Self {
            uuid,
            run,
            wanted,
            has_points,
            rewound_to,
            keys: Vec::new(),
            indexes: HashMap::new(),
            latest: Vec::new(),
            model_points,
            keys_given: Arc::default(),
            points: Vec::new(),
            rows_in_batch: 0,
            batches: 0,
            hash: Key::new("points"),
        })
    }

    /// Takes a row of `metrics`.
    fn add(&mut self, row: &Row<'_>, options: &ImportOptions, report: &mut Report) -> Result<()> {
        if !self.wanted {
            report.skip("points of runs that are not imported", 1);
            return Ok(());
        }
        let key = match value(row, 1)? {
            ValueRef::Text(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        };
        let Some(key) = key else {
            report.note(format!("a point of run {} has no text as its key", self.uuid));
            report.skip("points without a proper key", 1);
            return Ok(());
        };
        let Some(stored) = number_of(value(row, 2)?) else {
            report.note(format!("metric {key} of run {} has a value that is no number", self.uuid));
            report.skip("points whose value is no number", 1);
            return Ok(());
        };
        let Some(time_ms) = integer_of(value(row, 3)?) else {
            report.note(format!("metric {key} of run {} has a time that is no integer", self.uuid));
            report.skip("points whose time is no integer", 1);
            return Ok(());
        };
        // Old schemas have no steps.
        let step = match value(row, 4)? {
            ValueRef::Null => Some(0),
            step => integer_of(step),
        };
        let Some(step) = step else {
            report.note(format!("metric {key} of run {} has a step that is no integer", self.uuid));
            report.skip("points whose step is no integer", 1);
            return Ok(());
        };
        let is_nan = integer_of(value(row, 5)?).is_some_and(|flag| flag != 0);

        let value = if is_nan { f64::NAN } else { stored };
        let point = Point { step, time: TimestampMs(time_ms), value };
        self.add_point(&RunPoint { key, point, dataset: None }, options.restore_infinities, report);
        Ok(())
    }

    /// Takes a point.
    fn add_point(&mut self, of: &RunPoint<'_>, restore_infinities: bool, report: &mut Report) {
        if !self.wanted {
            report.skip("points of runs that are not imported", 1);
            return;
        }
        let RunPoint { key, mut point, dataset } = *of;
        let (step, time_ms) = (point.step, point.time.0);
        // MLflow stores NaN as 0.0, and compares it as that.
        let stored = if point.value.is_nan() { 0.0 } else { point.value };
        let compared = Point { value: stored, ..point };
        let index = match self.indexes.get(key) {
            Some(index) => *index,
            None => {
                let index = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
                self.keys.push(key.to_owned());
                self.indexes.insert(key.to_owned(), index);
                self.latest.push(compared);
                index
            }
        };
        if let Some(latest) = self.latest.get_mut(index as usize)
            && compared.latest_order(latest) == Ordering::Greater
        {
            *latest = compared;
        }
        if point.value.is_nan() {
            report.nan_points += 1;
        } else if stored.abs() == f64::MAX {
            report.infinities += 1;
            if restore_infinities {
                point.value = f64::INFINITY.copysign(stored);
            }
        }
        self.hash.add_text(key);
        self.hash.add_number(step);
        self.hash.add_number(time_ms);
        self.hash.add_number(point.value.to_bits().cast_signed());

        let mut contexts = Vec::new();
        if !self.model_points.is_empty() {
            let models = self.model_points.get_mut(&(time_ms, step)).into_iter().flatten();
            for model in models.filter(|model| !model.found && model.key == key && model.value == stored) {
                model.found = true;
                self.hash.add_optional(model.context.model_id.as_deref());
                self.hash.add_optional(model.context.dataset_name.as_deref());
                self.hash.add_optional(model.context.dataset_digest.as_deref());
                contexts.push(model.context.clone());
            }
            report.imported.model_points += contexts.len() as u64;
        }
        if let Some((name, digest)) = dataset.filter(|_| contexts.is_empty()) {
            self.hash.add_text(name);
            self.hash.add_text(digest);
            contexts.push(MetricContext {
                model_id: None,
                dataset_name: Some(name.to_owned()),
                dataset_digest: Some(digest.to_owned()),
                also: Vec::new(),
            });
        }
        let context = (!contexts.is_empty()).then(|| MetricContext::all(contexts));
        self.points.push((index, point, context));
        self.rows_in_batch += 1;
    }

    /// Gives what was taken to the appender.
    fn put(&mut self, appender: &Appender<'_>, report: &mut Report) -> Result<()> {
        let hash = std::mem::replace(&mut self.hash, Key::new("points"));
        if !self.points.is_empty() {
            let mut key = hash.text(&self.uuid).number(self.batches);
            let all = self.points.len();
            if self.has_points {
                // Earlier batches of the same run count as known, too.
                appender.wait()?;
                self.leave_out_known(&appender.store().view()?)?;
            }
            if let Some(to_step) = self.rewound_to {
                // The run continued differently in the store: points after that step must not come back.
                let before = self.points.len();
                self.points.retain(|(_, point, _)| point.step <= to_step);
                let left_out = (before - self.points.len()) as u64;
                report.skip("points after the step to which their run was rewound in the store", left_out);
                self.rows_in_batch = self.rows_in_batch.saturating_sub(left_out);
            }
            let (run, rows) = (self.run, self.rows_in_batch);
            if self.points.is_empty() {
                report.imported.points += rows;
                appender.count_known()?;
            } else {
                if self.points.len() < all {
                    key = key.text("rest").number(self.points.len() as i64);
                }
                if self.keys_given.len() < self.keys.len() {
                    self.keys_given = self.keys.as_slice().into();
                }
                let points = std::mem::replace(&mut self.points, Vec::with_capacity(all));
                appender.put(PointsBatch { key, run, keys: Arc::clone(&self.keys_given), points, rows })?;
            }
        }
        self.points.clear();
        self.rows_in_batch = 0;
        self.batches += 1;
        Ok(())
    }

    /// Leaves out the points that the store has. Of each key it reads those within the batch's steps and times.
    fn leave_out_known(&mut self, view: &RawView) -> Result<()> {
        /// The least and greatest step, and time.
        type Ranges = ((i64, i64), (i64, i64));
        let mut ranges: HashMap<u32, Ranges> = HashMap::new();
        for (index, point, _) in &self.points {
            let (step, time_ms) = (point.step, point.time.0);
            let (steps, times_ms) = ranges.entry(*index).or_insert(((step, step), (time_ms, time_ms)));
            *steps = (steps.0.min(step), steps.1.max(step));
            *times_ms = (times_ms.0.min(time_ms), times_ms.1.max(time_ms));
        }
        let mut known = HashMap::new();
        for (index, (steps, times_ms)) in ranges {
            let key = self.keys.get(index as usize).map_or("", String::as_str);
            known.insert(index, view.points(self.run, key, steps, times_ms)?);
        }
        // History is ordered by time, step and value.
        self.points.retain(|(index, point, _)| {
            known.get(index).is_none_or(|known| known.binary_search_by(|other| other.history_order(point)).is_err())
        });
        Ok(())
    }

    /// Counts the rows of logged models that repeat no point of the run.
    fn count_lost(&self, report: &mut Report) {
        let lost = self.model_points.values().flatten().filter(|model| !model.found).count() as u64;
        report.skip("metric rows of logged models without a point in their run", lost);
    }

    /// Gives the rest, and compares the latest values with the source's own table of them.
    fn finish(mut self, latest: &mut Grouped<'_>, appender: &Appender<'_>, report: &mut Report) -> Result<()> {
        self.put(appender, report)?;
        self.count_lost(report);
        if !self.wanted {
            return Ok(());
        }
        latest.take(&self.uuid.clone(), |row| {
            let key = text_or_empty(row, 1)?;
            let stored = number_of(value(row, 2)?).unwrap_or(0.0);
            let step = integer_of(value(row, 4)?).unwrap_or(0);
            let ours = self.indexes.get(&key).and_then(|index| self.latest.get(*index as usize));
            match ours {
                Some(ours) if ours.value == stored && ours.step == step => {}
                Some(ours) => report.difference(format!(
                    "latest {key} of run {}: the points say {} at step {}, the table of latest values {stored} at step {step}",
                    self.uuid, ours.value, ours.step
                )),
                None => report.difference(format!(
                    "latest {key} of run {}: the table of latest values has {stored}, but there are no points",
                    self.uuid
                )),
            }
            Ok(())
        })
    }
}
