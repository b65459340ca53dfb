//! A store that is open in this process.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use runlode::mlflow::entity::View;
use runlode::mlflow::{ApiResult, EntityName, ErrorCode, RunsQuery};
use runlode::shared::MlflowCalls;
use runlode::{Durability, RunStatus};

use super::calls::Calls;
use super::create::{self, New};
use super::handle::{Failed, Handle, Way};
use super::past::Past;
use super::reader::Reader;
use super::run::Run;
use super::tail::TailReader;
use super::{dicts, durability, errors, find, moment, run_of, tables, texts};
use crate::arrow::Table;
use crate::exit::detached;

/// The newest runs, among which a search that found nothing looks for similar names.
const RUNS_FOR_NAMES: u64 = 1000;

/// A store that is open. `runlode.open` makes it.
#[pyclass(frozen, module = "runlode", name = "Store")]
pub(crate) struct Store {
    handle: Arc<Handle>,
    path: PathBuf,
    durability: Durability,
    artifacts: Option<String>,
    strict: bool,
    read_only: bool,
}

#[pymethods]
impl Store {
    #[new]
    #[pyo3(signature = (path, *, durability=None, artifacts=None, strict=false, read_only=false))]
    fn new(
        py: Python<'_>,
        path: &Bound<'_, PyAny>,
        durability: Option<String>,
        artifacts: Option<&Bound<'_, PyAny>>,
        strict: bool,
        read_only: bool,
    ) -> PyResult<Self> {
        // A path or URI; `~` and options of the URI are Python's to read.
        let place = py.import("runlode._place")?.call_method1("resolve", (path, durability, artifacts))?;
        let (path, durability, artifacts): (PathBuf, String, Option<String>) = place.extract()?;
        let durability = self::durability(&durability)?;
        let opened = detached(py, || -> ApiResult<Way> {
            if read_only {
                return Ok(Way::Reader(Arc::new(Reader::open(&path, artifacts.as_deref())?)));
            }
            let mut options = runlode::Store::options(&path).metric_durability(durability);
            if let Some(root) = &artifacts {
                options = options.artifact_root(root);
            }
            Ok(Way::Shared(options.open()?.mlflow()))
        });
        let way = opened.map_err(|error| errors::raised(py, error))?;
        Ok(Self { handle: Arc::new(Handle::new(way)), path, durability, artifacts, strict, read_only })
    }

    /// Creates a run with status RUNNING, and opens it for logging.
    ///
    /// experiment: name, or id of an existing one; created if it does not exist, once, even if several processes race
    ///     for it. Default: the parent's experiment, else "Default".
    /// name: of the run, need not be unique. Default: a random one.
    /// params, tags: dict of str to anything, stored as its `str`. User, source and git commit become tags as with
    ///     MLflow: `mlflow.user`, `mlflow.source.name`, `mlflow.source.type`, `mlflow.source.git.commit`; yours win.
    /// parent: the run that this one is part of.
    /// strict: whether logging raises when the disk is full. Default: that of the store.
    ///
    /// The run is on disk when this returns. As a context manager it ends itself: FINISHED, or FAILED by an exception.
    ///
    ///     with store.run("digits", name="trial-18", params={"lr": 0.01}) as run:
    ///         run.log({"loss": 0.5})
    #[pyo3(signature = (experiment=None, name=None, tags=None, params=None, *, parent=None, strict=None))]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn run(
        &self,
        py: Python<'_>,
        experiment: Option<&Bound<'_, PyAny>>,
        name: Option<&str>,
        tags: Option<&Bound<'_, PyAny>>,
        params: Option<&Bound<'_, PyAny>>,
        parent: Option<&Bound<'_, PyAny>>,
        strict: Option<bool>,
    ) -> PyResult<Run> {
        let new = New {
            experiment: experiment.map(create::experiment).transpose()?,
            name,
            tags,
            params,
            parent: parent.map(|parent| run_of(&self.handle, parent)).transpose()?,
        };
        let (info, logger) = create::run(py, &self.handle, new)?;
        Ok(Run::opened(&self.handle, info, logger, self.durability, strict.unwrap_or(self.strict), 0))
    }

    /// Opens an existing run for logging, and sets its status to RUNNING. Steps continue after its last one.
    ///
    /// run_id: the run's id, the beginning of its id, or its name.
    #[pyo3(signature = (run_id, *, strict=None))]
    fn resume(&self, py: Python<'_>, run_id: &Bound<'_, PyAny>, strict: Option<bool>) -> PyResult<Run> {
        let run_id = run_of(&self.handle, run_id)?;
        let (run, logger) = self.handle.call(py, |shared| {
            let run = shared.run(&run_id)?;
            let logger = shared.logger(&run_id)?;
            // Also where it says so already: its writer may have died, and this process is its writer from now on.
            shared.update_run(&run_id, Some(RunStatus::Running), None, None)?;
            Ok((run, logger))
        })?;
        let last = run.metrics.iter().map(|metric| metric.step).max();
        let next_step = last.map_or(0, |last| last.saturating_add(1));
        let strict = strict.unwrap_or(self.strict);
        Ok(Run::opened(&self.handle, run.info, logger, self.durability, strict, next_step))
    }

    /// State of the process that logs to a run: as `Run.liveness`.
    ///
    /// run: a Run, its id, the beginning of its id, or its name.
    fn liveness(&self, py: Python<'_>, run: &Bound<'_, PyAny>) -> PyResult<&'static str> {
        let id = run_of(&self.handle, run)?;
        Ok(dicts::liveness(&self.handle.read(py, |shared| shared.run_liveness(&id))?))
    }

    /// A run, by its id, the beginning of its id, or its name: dict with run_id, run_name, experiment_id, user_id, status, lifecycle, start_time_ms,
    /// end_time_ms (None while it runs), artifact_uri, and dicts params, tags, metrics (latest values).
    fn get_run<'py>(&self, py: Python<'py>, run: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        let id = run_of(&self.handle, run)?;
        let run = self.handle.read(py, |shared| shared.run(&id))?;
        dicts::of_run(py, &run)
    }

    /// Finds runs. Returns a Table with a row for each run, and the given columns.
    ///
    /// filter: as in MLflow, with extensions: `metrics.loss < 0.1 and (params.lr < 0.01 or tags.kind = 'ablation')`,
    ///     `metrics.loss.min`, `.max`, `.first`, `.count`.
    /// experiments: names, beginnings of names, or ids, one or several. Default: all active ones.
    /// order_by: `metrics.acc DESC`, one or several. Default: last started first.
    /// limit: maximum number of rows.
    /// columns: run_id, run_name, experiment_id, user_id, status, lifecycle, artifact_uri (string), start_time,
    ///     end_time (timestamp, UTC, ms), metrics.KEY (float64; the latest, or `.min` and so on), params.KEY, tags.KEY
    ///     (string); metrics.*, params.*, tags.* are all keys. Default: all but artifact_uri. Other columns are not
    ///     read. Missing values are null.
    /// deleted: show deleted runs instead of active ones.
    /// parent: only the runs that this run is the parent of.
    #[pyo3(signature = (
        filter="", experiments=None, order_by=None, limit=100_000, columns=None, *, deleted=false, parent=None
    ))]
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
        parent: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Table> {
        let filter = match parent.map(|parent| run_of(&self.handle, parent)).transpose()? {
            None => filter.to_owned(),
            Some(id) if filter.trim().is_empty() => format!("tags.`mlflow.parentRunId` = '{id}'"),
            Some(id) => format!("({filter}) AND tags.`mlflow.parentRunId` = '{id}'"),
        };
        let list = |value: Option<&Bound<'_, PyAny>>| value.filter(|value| !value.is_none()).map(texts).transpose();
        let mut query = RunsQuery {
            experiments: experiments.filter(|given| !given.is_none()).map(create::experiments).transpose()?,
            filter,
            order_by: list(order_by)?.unwrap_or_default(),
            view: if deleted { View::DeletedOnly } else { View::ActiveOnly },
            limit,
            columns: list(columns)?,
        };
        let found = match self.handle.try_read(py, |shared| shared.run_columns(&query)) {
            // One of them is no whole name.
            Err(Failed::Refused(error))
                if error.code == ErrorCode::ResourceDoesNotExist && query.experiments.is_some() =>
            {
                let ids =
                    py.import("runlode._experiments")?.call_method1("ids", (self._calls(), &query.experiments))?;
                query.experiments = Some(ids.extract()?);
                self.handle.read(py, |shared| shared.run_columns(&query))?
            }
            found => found.map_err(|failed| failed.raised(py))?,
        };
        if found.rows == 0 && !query.filter.trim().is_empty() {
            self.warn_of_names(py, query)?;
        }
        tables::of_runs(found)
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
        let id = run_of(&self.handle, run)?;
        if buckets == 0 {
            return Err(errors::invalid("buckets is at least 1".to_owned()));
        }
        let found = self.handle.read(py, |shared| shared.downsampled(&id, key, tables::range(steps), buckets))?;
        if found.counts.is_empty() {
            tables::warn_of_keys(py, &self.handle, &id, &[key.to_owned()])?;
        }
        tables::of_buckets(found)
    }

    /// The changes of an entity since its creation: list of dicts with position, time_ms, actor (None if not given),
    /// event, changes (list of sentences such as `stage: Staging -> Production`).
    ///
    /// entity: a run, its id (or the beginning of it) or its name; `experiment:NAME`; `models:/NAME`,
    ///     `models:/NAME/VERSION`, `models:/NAME@ALIAS`; `m-...` (a logged model).
    fn changes<'py>(&self, py: Python<'py>, entity: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let name = self.entity(py, entity)?;
        let found = self.handle.read(py, |shared| shared.entity_changes(&name))?;
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
        let position = self.handle.read(py, |shared| shared.position_at(at))?;
        Ok(Past::new(self.handle.clone(), position))
    }

    /// Events from a position on: first the existing ones, then new ones. See `runlode.Tail`.
    ///
    /// from_position: first position; 0 is the beginning.
    /// timeout: ends after this many seconds without an event; None never ends, 0 ends once everything is read.
    #[pyo3(signature = (from_position=0, *, timeout=None))]
    fn tail<'py>(&self, py: Python<'py>, from_position: u64, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
        // A closed store says so here and not at the first event.
        self.handle.check_open(py)?;
        let reader = TailReader::new(self.handle.clone(), from_position);
        py.import("runlode._tail")?.getattr("Tail")?.call1((reader, timeout))
    }

    /// Waits until everything that this process logged would survive a power cut.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        if self.read_only {
            return self.handle.check_open(py);
        }
        self.handle.call(py, MlflowCalls::flush)
    }

    /// Closes the store; everything logged is then on disk. Its runs accept nothing more. Other objects of the same
    /// store in this process, and other processes, go on. Closing it again does nothing.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let Some((way, loggers)) = self.handle.take(py) else { return Ok(()) };
        let closed = detached(py, move || {
            drop(loggers);
            match way {
                Way::Shared(shared) => shared.close(),
                Way::Reader(_) => Ok(()),
            }
        });
        closed.map_err(|error| errors::raised(py, error))
    }

    /// State of the store: dict with path, the positions published >= durable >= applied and sealed, holds (whether
    /// this process holds the store for all others), holder_pid, and inbox_bytes (points of other processes that are
    /// on the disk but not merged yet).
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let positions = self.handle.read(py, |shared| shared.positions())?;
        let dict = PyDict::new(py);
        dict.set_item("path", &self.path)?;
        if self.read_only {
            dict.set_item("holds", false)?;
            dict.set_item("holder_pid", py.None())?;
            dict.set_item("inbox_bytes", 0)?;
        } else {
            let status = self.handle.call(py, MlflowCalls::status)?;
            dict.set_item("holds", status.holds)?;
            dict.set_item("holder_pid", status.holder_pid)?;
            dict.set_item("inbox_bytes", status.inbox_bytes)?;
        }
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

    /// Whether the store was opened with `read_only=True`.
    #[getter]
    fn read_only(&self) -> bool {
        self.read_only
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
        let how = if self.read_only { ", read only" } else { "" };
        format!("<runlode.Store {}{how}>", self.path.display())
    }

    /// As arguments of another open: a process that unpickles it opens the store itself.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let open = py.import("runlode._place")?.getattr("reopen")?;
        let path = std::path::absolute(&self.path)?;
        let durability = if self.durability == Durability::Sync { "sync" } else { "buffered" };
        let arguments = (path, durability, &self.artifacts, self.strict, self.read_only).into_pyobject(py)?;
        PyTuple::new(py, [open, arguments.into_any()])
    }

    /// Calls of the methods that are written in Python.
    #[getter]
    fn _calls(&self) -> Calls {
        Calls::new(self.handle.clone())
    }

    /// The id of a run that is given as a Run, its id, the beginning of its id, or its name.
    fn _run_id(&self, run: &Bound<'_, PyAny>) -> PyResult<String> {
        run_of(&self.handle, run)
    }
}

impl Store {
    /// A search found nothing: maybe since its filter has a name wrong.
    #[cold]
    fn warn_of_names(&self, py: Python<'_>, query: RunsQuery) -> PyResult<()> {
        let columns = ["metrics.*", "params.*", "tags.*"].map(str::to_owned).to_vec();
        let all = RunsQuery {
            experiments: query.experiments,
            limit: RUNS_FOR_NAMES,
            columns: Some(columns),
            ..RunsQuery::default()
        };
        let found = self.handle.read(py, |shared| shared.run_columns(&all))?;
        let names: Vec<&str> = found.columns.iter().map(|column| column.name.as_str()).collect();
        py.import("runlode._missing")?.call_method1("in_filter", (query.filter, names))?;
        Ok(())
    }

    fn entity(&self, py: Python<'_>, entity: &Bound<'_, PyAny>) -> PyResult<EntityName> {
        let Some(text) = super::text(entity)? else {
            let kind = entity.get_type().name()?;
            return Err(errors::invalid(format!(
                "a run, its id or the name of another entity was expected, not {kind}"
            )));
        };
        if let Some((model, alias)) = text.strip_prefix("models:/").and_then(|model| model.rsplit_once('@'))
            && !model.contains('/')
        {
            let version = self.handle.read(py, |shared| shared.model_version_by_alias(model, alias))?;
            return Ok(EntityName::ModelVersion(version.name, i64::from(version.version)));
        }
        match EntityName::parse(&text).map_err(|error| errors::raised(py, error))? {
            EntityName::Run(text) => Ok(EntityName::Run(find::run(py, &self.handle, &text)?)),
            other => Ok(other),
        }
    }
}
