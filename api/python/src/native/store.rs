//! A store that is open in this process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use runlode::mlflow::entity::{RunInfo, View};
use runlode::mlflow::{EntityName, NewRun, RunsQuery};
use runlode::shared::{Logger, MlflowCalls};
use runlode::{Durability, RunStatus};

use super::handle::Handle;
use super::past::Past;
use super::run::{Opened, Run};
use super::tail::TailReader;
use super::{dicts, durability, errors, moment, pairs, run_of, tables, texts};
use crate::arrow::Table;

/// A store that is open. `runlode.open` makes it.
#[pyclass(frozen, module = "runlode", name = "Store")]
pub(crate) struct Store {
    handle: Arc<Handle>,
    path: PathBuf,
    durability: Durability,
    strict: bool,
}

impl Store {
    fn opened(&self, info: RunInfo, logger: Logger, strict: Option<bool>, next_step: i64) -> Run {
        Run::new(Opened {
            logger: self.handle.keep(logger),
            handle: self.handle.clone(),
            run_id: info.run_id,
            experiment_id: info.experiment_id,
            name: info.run_name,
            durability: self.durability,
            strict: strict.unwrap_or(self.strict),
            next_step,
        })
    }
}

#[pymethods]
impl Store {
    #[new]
    #[pyo3(signature = (path, *, durability="buffered", artifacts=None, strict=false))]
    fn new(py: Python<'_>, path: PathBuf, durability: &str, artifacts: Option<String>, strict: bool) -> PyResult<Self> {
        let durability = self::durability(durability)?;
        let mut options = runlode::Store::options(&path).metric_durability(durability);
        if let Some(root) = artifacts {
            options = options.artifact_root(root);
        }
        let store = py.detach(|| options.open()).map_err(|error| errors::raised(py, error.into()))?;
        Ok(Self { handle: Arc::new(Handle::new(store.mlflow())), path, durability, strict })
    }

    /// Creates a run with status RUNNING, and opens it for logging.
    ///
    /// experiment: name; the experiment is created if it does not exist, once, even if several processes race for it.
    /// name: of the run, need not be unique. Default: a random one.
    /// params, tags: dict of str to anything, stored as its `str`.
    /// strict: whether logging raises when the disk is full. Default: that of the store.
    ///
    /// The run is on disk when this returns. As a context manager it ends itself: FINISHED, or FAILED by an exception.
    #[pyo3(signature = (experiment="Default", name=None, tags=None, params=None, *, strict=None))]
    fn run(
        &self,
        py: Python<'_>,
        experiment: &str,
        name: Option<&str>,
        tags: Option<&Bound<'_, PyAny>>,
        params: Option<&Bound<'_, PyAny>>,
        strict: Option<bool>,
    ) -> PyResult<Run> {
        let (tags, params) = (pairs(tags)?, pairs(params)?);
        let user = ["USER", "LOGNAME", "USERNAME"].iter().find_map(|name| std::env::var(name).ok());
        let start_time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
        let (run, logger) = self.handle.call(py, |shared| {
            let user_id = user.as_deref().unwrap_or_default();
            let new = NewRun { experiment_id: None, user_id, start_time, run_name: name, tags: &tags };
            // Before there is an experiment for it.
            shared.check_new_run(&new, &params)?;
            let experiment = shared.ensure_experiment(experiment)?;
            let run = shared.create_run_with(&NewRun { experiment_id: Some(&experiment), ..new }, &params)?;
            let logger = shared.logger(&run.info.run_id)?;
            Ok((run, logger))
        })?;
        Ok(self.opened(run.info, logger, strict, 0))
    }

    /// Opens an existing run for logging, and sets its status to RUNNING. Steps continue after its last one.
    #[pyo3(signature = (run_id, *, strict=None))]
    fn resume(&self, py: Python<'_>, run_id: &str, strict: Option<bool>) -> PyResult<Run> {
        let (run, logger) = self.handle.call(py, |shared| {
            let run = shared.run(run_id)?;
            let logger = shared.logger(run_id)?;
            // Also where it says so already: its writer may have died, and this process is its writer from now on.
            shared.update_run(run_id, Some(RunStatus::Running), None, None)?;
            Ok((run, logger))
        })?;
        let last = run.metrics.iter().map(|metric| metric.step).max();
        Ok(self.opened(run.info, logger, strict, last.map_or(0, |last| last.saturating_add(1))))
    }

    /// State of the process that logs to a run: as `Run.liveness`.
    ///
    /// run: a Run or its id.
    fn liveness(&self, py: Python<'_>, run: &Bound<'_, PyAny>) -> PyResult<&'static str> {
        let id = run_of(run)?;
        Ok(dicts::liveness(&self.handle.call(py, |shared| shared.run_liveness(&id))?))
    }

    /// A run: dict with run_id, run_name, experiment_id, user_id, status, lifecycle, start_time_ms,
    /// end_time_ms (None while it runs), artifact_uri, and dicts params, tags, metrics (latest values).
    fn get_run<'py>(&self, py: Python<'py>, run: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        let id = run_of(run)?;
        let run = self.handle.call(py, |shared| shared.run(&id))?;
        dicts::of_run(py, &run)
    }

    /// Finds runs. Returns a Table with a row for each run, and the given columns.
    ///
    /// filter: as in MLflow, with extensions: `metrics.loss < 0.1 and (params.lr < 0.01 or tags.kind = 'ablation')`,
    ///     `metrics.loss.min`, `.max`, `.first`, `.count`.
    /// experiments: names or ids, one or several. Default: all active ones.
    /// order_by: `metrics.acc DESC`, one or several. Default: last started first.
    /// limit: maximum number of rows.
    /// columns: run_id, run_name, experiment_id, user_id, status, lifecycle, artifact_uri (string), start_time,
    ///     end_time (timestamp, UTC, ms), metrics.KEY (float64; the latest, or `.min` and so on), params.KEY, tags.KEY
    ///     (string); metrics.*, params.*, tags.* are all keys. Default: all but artifact_uri. Other columns are not
    ///     read. Missing values are null.
    /// deleted: show deleted runs instead of active ones.
    #[pyo3(signature = (filter="", experiments=None, order_by=None, limit=100_000, columns=None, *, deleted=false))]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn search(
        &self,
        py: Python<'_>,
        filter: &str,
        experiments: Option<&Bound<'_, PyAny>>,
        order_by: Option<&Bound<'_, PyAny>>,
        limit: u64,
        columns: Option<&Bound<'_, PyAny>>,
        deleted: bool,
    ) -> PyResult<Table> {
        let list = |value: Option<&Bound<'_, PyAny>>| value.filter(|value| !value.is_none()).map(texts).transpose();
        let query = RunsQuery {
            experiments: list(experiments)?,
            filter: filter.to_owned(),
            order_by: list(order_by)?.unwrap_or_default(),
            view: if deleted { View::DeletedOnly } else { View::ActiveOnly },
            limit,
            columns: list(columns)?,
        };
        tables::of_runs(self.handle.call(py, |shared| shared.run_columns(&query))?)
    }

    /// Metric histories, every point: a Table of run_id, key (dictionary of string), step (int64), timestamp (UTC,
    /// ms), value (float64, bit for bit). Runs and keys are in the given order, points by time, step, value.
    ///
    /// runs: a run, its id, or several. keys: one or several. Default: all keys of each run.
    /// steps: (least, greatest), both included; None is open.
    #[pyo3(signature = (runs, keys=None, *, steps=None))]
    fn history(
        &self,
        py: Python<'_>,
        runs: &Bound<'_, PyAny>,
        keys: Option<&Bound<'_, PyAny>>,
        steps: Option<(Option<i64>, Option<i64>)>,
    ) -> PyResult<Table> {
        tables::histories(py, &self.handle, runs, keys, steps, None)
    }

    /// One series in at most `buckets` parts of equal step width: a Table of step_first, step_last, count (int64), min,
    /// max, mean, first, last (float64), nan, inf (int64). Extremes are true: every point counts in exactly one bucket.
    #[pyo3(signature = (run, key, buckets=320, *, steps=None))]
    fn downsample(
        &self,
        py: Python<'_>,
        run: &Bound<'_, PyAny>,
        key: &str,
        buckets: u64,
        steps: Option<(Option<i64>, Option<i64>)>,
    ) -> PyResult<Table> {
        let id = run_of(run)?;
        if buckets == 0 {
            return Err(errors::invalid("buckets is at least 1".to_owned()));
        }
        tables::of_buckets(self.handle.call(py, |shared| shared.downsampled(&id, key, tables::range(steps), buckets))?)
    }

    /// The changes of an entity since its creation: list of dicts with position, time_ms, actor (None if not given),
    /// event, changes (list of sentences such as `stage: Staging -> Production`).
    ///
    /// entity: a run or its id, `experiment:NAME`, `models:/NAME`, `models:/NAME/VERSION`, or `m-...` (a logged model).
    fn changes<'py>(&self, py: Python<'py>, entity: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let name = EntityName::parse(&run_of(entity)?).map_err(|error| errors::raised(py, error))?;
        let found = self.handle.call(py, |shared| shared.entity_changes(&name))?;
        let list = PyList::empty(py);
        for change in found.changes {
            let dict = PyDict::new(py);
            dict.set_item("position", change.position)?;
            dict.set_item("time_ms", change.time_ms)?;
            dict.set_item("actor", change.actor)?;
            dict.set_item("event", change.event)?;
            dict.set_item("changes", change.changes)?;
            let fields = PyList::empty(py);
            for change in change.fields {
                let field = PyDict::new(py);
                field.set_item("field", change.field)?;
                field.set_item("version", change.version)?;
                field.set_item("from", change.from)?;
                field.set_item("to", change.to)?;
                fields.append(field)?;
            }
            dict.set_item("fields", fields)?;
            list.append(dict)?;
        }
        Ok(list)
    }

    /// The store as of a position (after the batch there), or as of a time (Unix ms; after the last batch until then).
    #[pyo3(signature = (position=None, *, time_ms=None))]
    fn as_of(&self, py: Python<'_>, position: Option<u64>, time_ms: Option<i64>) -> PyResult<Past> {
        let at = moment(position, time_ms)?;
        let position = self.handle.call(py, |shared| shared.position_at(at))?;
        Ok(Past::new(self.handle.clone(), position))
    }

    /// Events from a position on: first the existing ones, then new ones. See `runlode.Tail`.
    ///
    /// from_position: first position; 0 is the beginning.
    /// timeout: ends after this many seconds without an event; None never ends, 0 ends once everything is read.
    #[pyo3(signature = (from_position=0, *, timeout=None))]
    fn tail<'py>(&self, py: Python<'py>, from_position: u64, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
        // A closed store says so here and not at the first event.
        self.handle.shared(py)?;
        let reader = TailReader::new(self.handle.clone(), from_position);
        py.import("runlode._tail")?.getattr("Tail")?.call1((reader, timeout))
    }

    /// Waits until everything that this process logged would survive a power cut.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.call(py, MlflowCalls::flush)
    }

    /// Closes the store; everything logged is then on disk. Its runs accept nothing more. Other objects of the same
    /// store in this process, and other processes, go on. Closing it again does nothing.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let Some((shared, loggers)) = self.handle.take(py) else { return Ok(()) };
        let closed = py.detach(move || {
            drop(loggers);
            shared.close()
        });
        closed.map_err(|error| errors::raised(py, error))
    }

    /// State of the store: dict with path, the positions published >= durable >= applied and sealed, holds (whether
    /// this process holds the store for all others), holder_pid, and inbox_bytes (points of other processes that are
    /// on the disk but not merged yet).
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (positions, status) = self.handle.call(py, |shared| Ok((shared.positions()?, shared.status()?)))?;
        let dict = PyDict::new(py);
        dict.set_item("path", &self.path)?;
        dict.set_item("holds", status.holds)?;
        dict.set_item("holder_pid", status.holder_pid)?;
        dict.set_item("inbox_bytes", status.inbox_bytes)?;
        dict.set_item("published", positions.published.0)?;
        dict.set_item("durable", positions.durable.0)?;
        dict.set_item("applied", positions.applied.0)?;
        dict.set_item("sealed", positions.sealed.0)?;
        Ok(dict)
    }

    /// The folder.
    #[getter]
    fn path(&self) -> &PathBuf {
        &self.path
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_error))]
    fn __exit__(&self, py: Python<'_>, _error: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.close(py)?;
        Ok(false)
    }

    fn __repr__(&self) -> String {
        format!("<runlode.Store {}>", self.path.display())
    }
}
