//! The points of the run that is read, until they are given to the appender.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use runlode::{MetricContext, Point, RawView, RunId, TimestampMs, is_imported};
use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::ImportOptions;
use super::appender::{Appender, PointsBatch};
use super::decode::{self, integer_of, number_of, text, text_or_empty, value};
use super::key::{Key, PointsHash};
use super::merge::Grouped;
use super::report::Report;
use super::runs::Foreign;
use super::sink::IndexedPoint;
use super::source::RunPoint;
use crate::error::Result;

/// Points in a batch.
const POINTS_PER_BATCH: usize = 5_000;

/// A row of a logged model's own metrics, waiting for its point.
struct ModelPoint {
    key: String,
    /// As stored: 0.0 for NaN.
    value: f64,
    context: MetricContext,
    found: bool,
}

/// The run being read.
pub(super) struct Current {
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
    /// Of each key, for the keys of batches.
    key_hashes: Vec<u64>,
    /// The key that came after each key when it came last: rows of a step mostly come in one order.
    followers: Vec<u32>,
    /// The key of the last point.
    last_key: Option<u32>,
    /// Latest point per key, values as stored (NaN as 0.0).
    latest: Vec<Point>,
    /// By time and step.
    model_points: HashMap<(i64, i64), Vec<ModelPoint>>,
    /// `keys`, as the last batch that was given has them.
    keys_given: Arc<[String]>,
    points: Vec<IndexedPoint>,
    rows_in_batch: u64,
    batches: i64,
}

impl Current {
    pub(super) fn begin(
        uuid: String,
        foreign: &Foreign,
        models: &mut Grouped<'_>,
        appender: &Appender<'_>,
    ) -> Result<Self> {
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
            key_hashes: Vec::new(),
            followers: Vec::new(),
            last_key: None,
            latest: Vec::new(),
            model_points,
            keys_given: Arc::default(),
            points: Vec::new(),
            rows_in_batch: 0,
            batches: 0,
        })
    }

    /// Whether the row at hand is of the same run.
    pub(super) fn is_of(&self, row: &Row<'_>) -> Result<bool> {
        Ok(matches!(value(row, 0)?, ValueRef::Text(uuid) if uuid == self.uuid.as_bytes()))
    }

    /// Whether a batch is full.
    pub(super) fn is_full(&self) -> bool {
        self.points.len() >= POINTS_PER_BATCH
    }

    /// Takes a row of `metrics`.
    pub(super) fn add(&mut self, row: &Row<'_>, options: &ImportOptions, report: &mut Report) -> Result<()> {
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
    pub(super) fn add_point(&mut self, of: &RunPoint<'_>, restore_infinities: bool, report: &mut Report) {
        if !self.wanted {
            report.skip("points of runs that are not imported", 1);
            return;
        }
        let RunPoint { key, mut point, dataset } = *of;
        let (step, time_ms) = (point.step, point.time.0);
        // MLflow stores NaN as 0.0, and compares it as that.
        let stored = if point.value.is_nan() { 0.0 } else { point.value };
        let compared = Point { value: stored, ..point };
        let index = self.index_of(key, compared);
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
        let mut contexts = Vec::new();
        if !self.model_points.is_empty() {
            let models = self.model_points.get_mut(&(time_ms, step)).into_iter().flatten();
            for model in models.filter(|model| !model.found && model.key == key && model.value == stored) {
                model.found = true;
                contexts.push(model.context.clone());
            }
            report.imported.model_points += contexts.len() as u64;
        }
        if let Some((name, digest)) = dataset.filter(|_| contexts.is_empty()) {
            contexts.push(MetricContext {
                model_id: None,
                dataset_name: Some(name.to_owned()),
                dataset_digest: Some(digest.to_owned()),
                also: Vec::new(),
            });
        }
        let context = (!contexts.is_empty()).then(|| Arc::new(MetricContext::all(contexts)));
        self.points.push((index, point, context));
        self.rows_in_batch += 1;
    }

    /// The index of a key; that of a new one is the next. `compared` is its point.
    fn index_of(&mut self, key: &str, compared: Point) -> u32 {
        let name = |index: u32| self.keys.get(index as usize).map(String::as_str);
        let follower = self.last_key.and_then(|last| self.followers.get(last as usize)).copied();
        let index = match follower.filter(|follower| name(*follower) == Some(key)) {
            Some(index) => index,
            None => match self.indexes.get(key) {
                Some(index) => *index,
                None => {
                    let index = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
                    self.keys.push(key.to_owned());
                    self.indexes.insert(key.to_owned(), index);
                    self.key_hashes.push(Key::new("metric").text(key).fold());
                    self.followers.push(index);
                    self.latest.push(compared);
                    index
                }
            },
        };
        if let Some(follower) = self.last_key.and_then(|last| self.followers.get_mut(last as usize)) {
            *follower = index;
        }
        self.last_key = Some(index);
        index
    }

    /// The key of the batch that was taken: of its run, number and content.
    fn key(&self) -> Key {
        let mut hash = PointsHash::new();
        let mut key = Key::new("points");
        for (at, (index, point, context)) in (0..).zip(&self.points) {
            let key_hash = self.key_hashes.get(*index as usize).copied().unwrap_or(0);
            let (step, time_ms) = (point.step.cast_unsigned(), point.time.0.cast_unsigned());
            hash.add([key_hash, step, time_ms, point.value.to_bits()]);
            for context in context.iter().flat_map(|context| context.parts()) {
                key.add_number(at);
                key.add_optional(context.model_id.as_deref());
                key.add_optional(context.dataset_name.as_deref());
                key.add_optional(context.dataset_digest.as_deref());
            }
        }
        hash.add_to(&mut key);
        key.text(&self.uuid).number(self.batches)
    }

    /// Gives what was taken to the appender.
    pub(super) fn put(&mut self, appender: &Appender<'_>, report: &mut Report) -> Result<()> {
        if !self.points.is_empty() {
            let mut key = self.key();
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
        self.points.retain(|(index, point, _)| known.get(index).is_none_or(|known| !is_imported(known, point)));
        Ok(())
    }

    /// Counts the rows of logged models that repeat no point of the run.
    pub(super) fn count_lost(&self, report: &mut Report) {
        let lost = self.model_points.values().flatten().filter(|model| !model.found).count() as u64;
        report.skip("metric rows of logged models without a point in their run", lost);
    }

    /// Gives the rest, and compares the latest values with the source's own table of them.
    pub(super) fn finish(
        mut self,
        latest: &mut Grouped<'_>,
        appender: &Appender<'_>,
        report: &mut Report,
    ) -> Result<()> {
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
