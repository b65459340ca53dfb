//! A run that is logged to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use pyo3::exceptions::{PyOverflowError, PyRuntimeWarning, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyType};
use runlode::mlflow::ApiError;
use runlode::mlflow::entity::RunInfo;
use runlode::shared::Logger;
use runlode::{Durability, KeyId, RunStatus, TimestampMs};

use super::columns::{self, Datetimes, Given};
use super::create::{self, Experiment, New};
use super::gil::GilCell;
use super::handle::{Failed, Handle, LoggerSlot};
use super::row::{self, Filled, Row};
use super::whole::{Step, Time};
use super::{as_dict, batch, dicts, errors, number, pairs, status, tables};
use crate::arrow::Table;
use crate::exit::detached;

/// Most params or tags of one call to the store.
const PAIRS_PER_CALL: usize = 100;
/// From this many points on a batch takes longer than releasing the GIL does.
const POINTS_HOLDING_GIL: usize = 256;

/// A run for logging. Made by `Store.run` and `Store.resume`.
#[pyclass(frozen, module = "runlode", name = "Run")]
pub(crate) struct Run {
    handle: Arc<Handle>,
    logger: Arc<LoggerSlot>,
    run_id: String,
    experiment_id: String,
    name: String,
    artifact_uri: String,
    durability: Durability,
    strict: bool,
    row: GilCell<Row>,
    /// Step of the next call that gives none.
    next_step: AtomicI64,
    dropped_points: AtomicU64,
    warned: AtomicBool,
}

impl Run {
    /// A run of a store that is open here.
    pub(super) fn opened(
        handle: &Arc<Handle>,
        info: RunInfo,
        logger: Logger,
        durability: Durability,
        strict: bool,
        next_step: i64,
    ) -> Self {
        Self {
            logger: handle.keep(logger),
            handle: handle.clone(),
            run_id: info.run_id,
            experiment_id: info.experiment_id,
            name: info.run_name,
            artifact_uri: info.artifact_uri,
            durability,
            strict,
            row: GilCell::default(),
            next_step: AtomicI64::new(next_step),
            dropped_points: AtomicU64::new(0),
            warned: AtomicBool::new(false),
        }
    }

    /// What is left to do with what a row's or a batch's logging said.
    #[cold]
    fn failed(&self, py: Python<'_>, error: ApiError, points: u64, strict: Option<bool>) -> PyResult<bool> {
        // What was closed meanwhile says so.
        self.handle.shared(py)?;
        if !errors::is_of_the_disk(&error) || strict.unwrap_or(self.strict) {
            return Err(errors::raised(py, error));
        }
        self.dropped_points.fetch_add(points, Ordering::Relaxed);
        self.warn_once(py, &error.message);
        Ok(false)
    }

    fn warn_once(&self, py: Python<'_>, why: &str) {
        if self.warned.swap(true, Ordering::Relaxed) {
            return;
        }
        let text = format!(
            "runlode: run {} cannot log: {why} (training goes on; Run.dropped_points counts what is lost)",
            self.run_id
        );
        let text: String = text.chars().filter(|c| *c != '\0').collect();
        let warned = std::ffi::CString::new(text).map_err(PyErr::from);
        let class = py.get_type::<PyRuntimeWarning>();
        // Where warnings are errors, this one still must not stop a training.
        if let Err(error) = warned.and_then(|text| PyErr::warn(py, &class, &text, 2)) {
            error.write_unraisable(py, None);
        }
    }

    #[inline]
    fn step(&self, step: Option<i64>) -> i64 {
        match step {
            Some(step) => {
                self.next_step.store(step.saturating_add(1), Ordering::Relaxed);
                step
            }
            None => {
                let step = self.next_step.fetch_add(1, Ordering::Relaxed);
                if step == i64::MAX {
                    // It stays at the last step there is.
                    self.next_step.store(step, Ordering::Relaxed);
                }
                step
            }
        }
    }

    /// A row that needed Python code to be read, or whose scratch is taken.
    #[cold]
    fn log_slowly(
        &self,
        metrics: &Bound<'_, PyAny>,
        step: i64,
        time: Option<TimestampMs>,
        strict: Option<bool>,
    ) -> PyResult<bool> {
        let py = metrics.py();
        let logger = self.logger(py)?;
        let mut row: Vec<(KeyId, f64)> = Vec::new();
        let mut asked = Vec::new();
        // A list of its own: code that runs meanwhile may change the dict.
        for item in as_dict(metrics)?.items() {
            let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
            let key = key_text(&key)?;
            let (object, value) = (value.clone(), number::number(&key, &value)?);
            row.push((logger.key(&key).map_err(|error| errors::raised(py, error))?, value));
            asked.push(object);
        }
        for value in &asked {
            if let Some(class) = row::scalar_class(value)? {
                self.row.lock(py).note_scalar(class);
            }
        }
        let logged = match self.durability {
            Durability::Buffered => log_row(&logger, step, time, &row, Durability::Buffered),
            Durability::Sync => detached(py, || log_row(&logger, step, time, &row, Durability::Sync)),
        };
        match logged {
            Ok(()) => Ok(true),
            Err(error) => self.failed(py, error, row.len() as u64, strict),
        }
    }

    /// The run's logger, for one call.
    fn logger(&self, py: Python<'_>) -> PyResult<Logger> {
        let logger = self.logger.lock(py).as_ref().map(|rows| rows.logger().clone());
        logger.ok_or_else(|| errors::closed(py))
    }

    fn log_columns(
        &self,
        py: Python<'_>,
        named: &[(String, Given<'_>)],
        steps: Option<&Bound<'_, PyAny>>,
        timestamps_ms: Option<&Bound<'_, PyAny>>,
        strict: Option<bool>,
    ) -> PyResult<bool> {
        let given = |column: Option<&Bound<'_, PyAny>>| column.is_some_and(|column| !column.is_none());
        let Some((first_key, first)) = named.first() else { return Ok(true) };
        let count = first.view().len().unwrap_or(0);
        let own_steps = !given(steps);
        let steps = match steps {
            Some(column) if given(steps) => columns::whole("steps", column, Datetimes::Refused)?,
            _ => Given::From(self.next_step.load(Ordering::Relaxed)),
        };
        let times = match timestamps_ms {
            Some(column) if given(timestamps_ms) => columns::whole("timestamps_ms", column, Datetimes::AsMs)?,
            _ => Given::Same(now_ms()),
        };
        let others = named.iter().skip(1).map(|(key, column)| (key.as_str(), column));
        let labels = [("steps", &steps), ("timestamps_ms", &times)];
        for (name, column) in others.chain(labels) {
            if let Some(len) = column.view().len()
                && len != count
            {
                return Err(errors::invalid(format!("'{name}' has {len} values, '{first_key}' has {count}")));
            }
        }
        if count == 0 {
            return Ok(true);
        }
        if let Given::From(first) = &steps
            && first.checked_add_unsigned(count as u64 - 1).is_none()
        {
            let why = format!("steps: {count} steps on from {first} are beyond int64; give the steps");
            return Err(PyOverflowError::new_err(why));
        }
        let logger = self.logger(py)?;
        let mut keys = Vec::with_capacity(named.len());
        for (key, column) in named {
            keys.push((logger.key(key).map_err(|error| errors::raised(py, error))?, column.view()));
        }
        let columns = batch::Columns { keys, steps: steps.view(), times: times.view(), count };
        let mut last = Vec::new();
        columns.steps.whole(count - 1, count, &mut last);
        if let Some(last) = last.first() {
            let next = last.saturating_add(1);
            // Another thread may have taken steps of its own since.
            if own_steps {
                self.next_step.fetch_max(next, Ordering::Relaxed);
            } else {
                self.next_step.store(next, Ordering::Relaxed);
            }
        }
        let points = count.saturating_mul(columns.keys.len());
        let logged = if points <= POINTS_HOLDING_GIL && self.durability == Durability::Buffered {
            batch::log(&logger, &columns, self.durability)
        } else {
            detached(py, || batch::log(&logger, &columns, self.durability))
        };
        match logged {
            Ok(()) => Ok(true),
            Err((error, points)) => self.failed(py, error, points, strict),
        }
    }

    fn log_pairs(&self, py: Python<'_>, params: &[(String, String)], tags: &[(String, String)]) -> PyResult<()> {
        let id = &self.run_id;
        self.handle.call(py, |shared| {
            for part in params.chunks(PAIRS_PER_CALL) {
                shared.log_batch(id, &[], part, &[])?;
            }
            for part in tags.chunks(PAIRS_PER_CALL) {
                shared.log_batch(id, &[], &[], part)?;
            }
            Ok(())
        })
    }

    fn end_as(&self, py: Python<'_>, status: RunStatus) -> Result<RunStatus, Failed> {
        let id = &self.run_id;
        self.handle.try_call(py, |shared| shared.end_run(id, status, now_ms()))
    }
}

/// Logs a row, at a time or now; an empty one is none.
#[inline]
fn log_row(
    logger: &Logger,
    step: i64,
    time: Option<TimestampMs>,
    row: &[(KeyId, f64)],
    durability: Durability,
) -> Result<(), ApiError> {
    match time {
        _ if row.is_empty() => Ok(()),
        None => logger.log_row_now(step, row, durability),
        Some(time) => logger.log_row(step, time, row, durability),
    }
}

#[inline]
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() as i64 * 1000 + i64::from(since.subsec_millis())
}

fn key_text(key: &Bound<'_, PyAny>) -> PyResult<String> {
    match key.cast::<PyString>() {
        Ok(key) => Ok(key.to_str()?.to_owned()),
        Err(_) => {
            let kind = key.get_type().name()?;
            Err(PyTypeError::new_err(format!("a metric's key is a str, not {kind}")))
        }
    }
}

#[pymethods]
impl Run {
    /// Logs one step: a number for each of several metrics.
    ///
    /// metrics: dict of str to number. A number is a float, int, bool, NumPy scalar, 0-d array, or tensor of one
    ///     element; NaN and infinities are kept bit for bit. All of the row is logged, or nothing.
    /// step: int64, may be negative. Default: one more than the last step of this object, from 0.
    /// timestamp_ms: Unix milliseconds, not negative, or a datetime. Default: now.
    /// strict: raise when the disk is full. Default: that of the run.
    ///
    /// Returns True once the row is in the store. It then survives a crash of this process. With durability "sync" it
    /// also survives a power cut; with "buffered" it does so about 100 ms later. Returns False if the disk is full or
    /// failed: the points are counted in `dropped_points`, and a RuntimeWarning is issued once.
    ///
    /// Raises TypeError (which names the key), Invalid, NotFound; nothing is logged then.
    #[pyo3(signature = (metrics, step=None, timestamp_ms=None, *, strict=None))]
    fn log(
        &self,
        metrics: &Bound<'_, PyAny>,
        step: Option<Step>,
        timestamp_ms: Option<Time>,
        strict: Option<bool>,
    ) -> PyResult<bool> {
        let py = metrics.py();
        let (step, time) = (step.map(|step| step.0), timestamp_ms.map(|time| TimestampMs(time.0)));
        if self.durability == Durability::Buffered
            && let Ok(dict) = metrics.cast_exact::<PyDict>()
        {
            // No Python code runs while these two are held: see the module.
            let logged = 'held: {
                let mut slot = self.logger.lock(py);
                // Closed: to say so is Python code.
                let Some(rows) = &mut *slot else { break 'held None };
                let mut row = self.row.lock(py);
                match row.fill(rows.logger(), dict) {
                    Ok(Filled::Whole) => {
                        let step = self.step(step);
                        Some(match row.values() {
                            [] => Ok(()),
                            values => rows.log_row(step, time, values, Durability::Buffered),
                        })
                    }
                    Ok(Filled::NeedsPython) => None,
                    Err(error) => Some(Err(error)),
                }
            };
            match logged {
                Some(Ok(())) => return Ok(true),
                Some(Err(error)) => return self.failed(py, error, dict.len() as u64, strict),
                None => {}
            }
        }
        let step = self.step(step);
        self.log_slowly(metrics, step, time, strict)
    }

    /// Logs many points of one metric.
    ///
    /// key: str. values: shape (n,), any numbers; NumPy arrays of float64, float32, int64 and int32 are read in place.
    /// steps: shape (n,) of integers, or one int for all. Default: the n steps after the last one.
    /// timestamps_ms: shape (n,) of Unix milliseconds (or datetime64), or one int for all. Default: now.
    /// strict, result, errors and durability: as `log`. More than 8192 points are several appends: if the disk fills
    /// up in between, the first ones stay.
    #[pyo3(signature = (key, values, steps=None, timestamps_ms=None, *, strict=None))]
    fn log_points(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        values: &Bound<'_, PyAny>,
        steps: Option<&Bound<'_, PyAny>>,
        timestamps_ms: Option<&Bound<'_, PyAny>>,
        strict: Option<bool>,
    ) -> PyResult<bool> {
        let key = key_text(key)?;
        let column = columns::values(&key, values)?;
        self.log_columns(py, &[(key, column)], steps, timestamps_ms, strict)
    }

    /// Logs many steps of several metrics.
    ///
    /// columns: dict of str to column, each of shape (n,); all share `steps` and `timestamps_ms`. Else as `log_points`.
    #[pyo3(signature = (columns, steps=None, timestamps_ms=None, *, strict=None))]
    fn log_batch(
        &self,
        py: Python<'_>,
        columns: &Bound<'_, PyAny>,
        steps: Option<&Bound<'_, PyAny>>,
        timestamps_ms: Option<&Bound<'_, PyAny>>,
        strict: Option<bool>,
    ) -> PyResult<bool> {
        let mut named = Vec::new();
        for item in as_dict(columns)?.items() {
            let (key, column): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
            let key = key_text(&key)?;
            let column = columns::values(&key, &column)?;
            named.push((key, column));
        }
        self.log_columns(py, &named, steps, timestamps_ms, strict)
    }

    /// Logs params: dict of str to anything, stored as its `str`. A param never changes: logging the same value again
    /// is fine, another value raises Invalid. On disk when this returns.
    fn log_params(&self, py: Python<'_>, params: &Bound<'_, PyAny>) -> PyResult<()> {
        self.log_pairs(py, &pairs(Some(params))?, &[])
    }

    /// Sets tags: dict of str to anything, stored as its `str`. On disk when this returns.
    fn set_tags(&self, py: Python<'_>, tags: &Bound<'_, PyAny>) -> PyResult<()> {
        self.log_pairs(py, &[], &pairs(Some(tags))?)
    }

    /// Deletes a tag. Raises NotFound if there is none.
    fn delete_tag(&self, py: Python<'_>, key: &str) -> PyResult<()> {
        let id = &self.run_id;
        self.handle.call(py, |shared| shared.delete_tag(id, key))
    }

    /// Creates a run that is part of this one, in the same experiment. Arguments as of `Store.run`.
    ///
    ///     with run.child("fold-1", params={"fold": 1}) as fold:
    ///         fold.log({"loss": 0.3})
    #[pyo3(signature = (name=None, tags=None, params=None, *, strict=None))]
    fn child(
        &self,
        py: Python<'_>,
        name: Option<&str>,
        tags: Option<&Bound<'_, PyAny>>,
        params: Option<&Bound<'_, PyAny>>,
        strict: Option<bool>,
    ) -> PyResult<Self> {
        let new = New {
            experiment: Some(Experiment::Id(self.experiment_id.clone())),
            name,
            tags,
            params,
            parent: Some(self.run_id.clone()),
        };
        let (info, logger) = create::run(py, &self.handle, new)?;
        Ok(Self::opened(&self.handle, info, logger, self.durability, strict.unwrap_or(self.strict), 0))
    }

    /// Ends the run now: FINISHED, FAILED or KILLED. On disk when this returns, including all its points.
    ///
    /// The first end counts: a run that has ended keeps its status, even if a `with` block fails afterwards. To change
    /// it, use MLflow's `set_terminated`, or `Store.resume`, which sets it to RUNNING again.
    /// Returns the run's status.
    #[pyo3(signature = (status="FINISHED"))]
    fn end(&self, py: Python<'_>, status: &str) -> PyResult<&'static str> {
        let status = self::status(status)?;
        Ok(self.end_as(py, status).map_err(|failed| failed.raised(py))?.into())
    }

    /// 32 hex digits.
    #[getter]
    pub(super) fn run_id(&self) -> &str {
        &self.run_id
    }

    /// Decimal.
    #[getter]
    fn experiment_id(&self) -> &str {
        &self.experiment_id
    }

    /// Its name when this object was made.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// Location of the run's artifacts: a path or URI.
    #[getter]
    fn artifact_uri(&self) -> &str {
        &self.artifact_uri
    }

    /// Points that this object could not log because the disk was full or failed.
    #[getter]
    fn dropped_points(&self) -> u64 {
        self.dropped_points.load(Ordering::Relaxed)
    }

    /// Params in the store: dict of str to str, by key.
    #[getter]
    fn params<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        dicts::of_pairs(py, &self.read(py)?.params)
    }

    /// Tags in the store: dict of str to str, by key.
    #[getter]
    fn tags<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        dicts::of_pairs(py, &self.read(py)?.tags)
    }

    /// Latest value of each metric, as a dict from key (str) to value (float). Latest means at the greatest step.
    #[getter]
    fn metrics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        dicts::of_metrics(py, &self.read(py)?.metrics)
    }

    /// State of the process that logs to the run: "alive"; "lost" if it died without ending the run; "silent" if it is
    /// on another machine and logged nothing for 10 minutes; "finished"; "unknown".
    #[getter]
    fn liveness(&self, py: Python<'_>) -> PyResult<&'static str> {
        let id = &self.run_id;
        Ok(dicts::liveness(&self.handle.call(py, |shared| shared.run_liveness(id))?))
    }

    /// Rewinds the run to a step, for resuming from a checkpoint after a crash: points with a greater step are hidden
    /// from every answer, and points logged next continue the rest as one curve. Nothing is deleted: see `branches`.
    ///
    /// to_step: the last step to keep; calls of `log` without a step continue after it.
    /// Returns the number of hidden points.
    #[pyo3(signature = (to_step))]
    fn rewind(&self, py: Python<'_>, to_step: Step) -> PyResult<u64> {
        let (id, to_step) = (&self.run_id, to_step.0);
        let rewound = self.handle.call(py, |shared| shared.rewind_run(id, to_step))?;
        self.next_step.store(to_step.saturating_add(1), Ordering::Relaxed);
        Ok(rewound.points_hidden)
    }

    /// The branches of the run: those that rewinds left behind, oldest first, then the live one. A list of dicts with
    /// branch, from_branch and from_step (None for the first one), ended_ms (None for the live one), and metrics: dict
    /// of key to dict of points (count), last_step, last_value.
    fn branches<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let id = &self.run_id;
        let found = self.handle.call(py, |shared| shared.run_branches(id))?;
        let list = PyList::empty(py);
        for branch in found {
            list.append(dicts::of_branch(py, &branch)?)?;
        }
        Ok(list)
    }

    /// The history of a metric in a branch, dead or live: a Table of step (int64), timestamp (UTC, ms), value
    /// (float64); in order of time.
    #[pyo3(signature = (branch, key))]
    fn branch_history(&self, py: Python<'_>, branch: u32, key: &str) -> PyResult<Table> {
        let id = &self.run_id;
        tables::of_branch(self.handle.call(py, |shared| shared.branch_history(id, branch, key))?)
    }

    /// RUNNING, SCHEDULED, FINISHED, FAILED or KILLED.
    #[getter]
    fn status(&self, py: Python<'_>) -> PyResult<&'static str> {
        let id = &self.run_id;
        let info = self.handle.call(py, |shared| shared.run_info(id))?;
        Ok(info.status.into())
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (kind, error, _traceback))]
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: Option<&Bound<'_, PyType>>,
        error: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let failed = kind.is_some() || error.is_some();
        match self.end_as(py, if failed { RunStatus::Failed } else { RunStatus::Finished }) {
            Ok(_) => {}
            // What went wrong inside is more than what went wrong here.
            Err(Failed::Closed(_)) if failed => {}
            Err(Failed::Refused(error)) if failed => self.warn_once(py, &error.message),
            Err(Failed::Refused(error)) if errors::is_of_the_disk(&error) && !self.strict => {
                self.warn_once(py, &error.message);
            }
            Err(other) => return Err(other.raised(py)),
        }
        Ok(false)
    }

    fn __repr__(&self) -> String {
        format!("<runlode.Run {} '{}' of experiment {}>", self.run_id, self.name, self.experiment_id)
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(format!(
            "a Run is of one process: send its run_id ('{}') and use runlode.open(path).resume(run_id) there",
            self.run_id
        )))
    }
}

impl Run {
    fn read(&self, py: Python<'_>) -> PyResult<runlode::mlflow::entity::Run> {
        let id = &self.run_id;
        self.handle.call(py, |shared| shared.run(id))
    }
}
