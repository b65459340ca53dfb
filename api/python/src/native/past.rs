//! The store as it was.

use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use runlode::{AsOf, Lsn};

use super::handle::Handle;
use super::{dicts, run_of, tables};
use crate::arrow::Table;

/// The store as of a position. Made by `Store.as_of`.
#[pyclass(frozen, module = "runlode", name = "Past")]
pub(crate) struct Past {
    handle: Arc<Handle>,
    position: u64,
}

impl Past {
    pub(super) fn new(handle: Arc<Handle>, position: u64) -> Self {
        Self { handle, position }
    }

    fn at(&self) -> AsOf {
        AsOf::Position(Lsn(self.position))
    }
}

#[pymethods]
impl Past {
    /// The position of this view.
    #[getter]
    fn position(&self) -> u64 {
        self.position
    }

    /// A run as it was, in the form of `Store.get_run`; None if it did not exist.
    fn run<'py>(&self, py: Python<'py>, run: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let (id, at) = (run_of(&self.handle, run)?, self.at());
        let found = self.handle.read(py, |shared| shared.run_as_of(&id, at))?;
        found.run.map(|run| dicts::of_run(py, &run)).transpose()
    }

    /// Metric histories as they were, in the form of `Store.history`.
    #[pyo3(signature = (runs, keys=None, *, steps=None))]
    fn history(
        &self,
        py: Python<'_>,
        runs: &Bound<'_, PyAny>,
        keys: Option<&Bound<'_, PyAny>>,
        steps: Option<(Option<i64>, Option<i64>)>,
    ) -> PyResult<Table> {
        tables::histories(py, &self.handle, runs, keys, steps, Some(self.at()))
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(format!(
            "a Past is of one process: send its position ({}) and use runlode.open(path).as_of(position) there",
            self.position
        )))
    }

    fn __repr__(&self) -> String {
        format!("<runlode.Past at position {}>", self.position)
    }
}
