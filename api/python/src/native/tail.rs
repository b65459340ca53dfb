//! The store's log for Python: a page of events at a time; `runlode/_tail.py` makes an iterator of it, also for asyncio.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use runlode::mlflow::{Field, TailEvent, TailPoints};

use super::handle::Handle;

/// Reads the log page by page.
#[pyclass(frozen, name = "_TailReader")]
pub(crate) struct TailReader {
    handle: Arc<Handle>,
    next: AtomicU64,
}

impl TailReader {
    pub(crate) fn new(handle: Arc<Handle>, from: u64) -> Self {
        Self { handle, next: AtomicU64::new(from) }
    }
}

#[pymethods]
impl TailReader {
    /// Events of at most `batches` batches; waits up to `wait_ms` for the first. Empty if none came. The GIL is
    /// released while it waits.
    fn read<'py>(&self, py: Python<'py>, batches: u64, wait_ms: u64) -> PyResult<Bound<'py, PyList>> {
        let from = self.next.load(Ordering::Relaxed);
        let page = self.handle.read(py, |shared| shared.tail(from, batches, wait_ms))?;
        let list = PyList::empty(py);
        let mut points = page.points.iter().peekable();
        for event in &page.events {
            while let Some(points) = points.next_if(|points| points.position < event.position) {
                list.append(points_dict(py, points)?)?;
            }
            list.append(event_dict(py, event)?)?;
        }
        for points in points {
            list.append(points_dict(py, points)?)?;
        }
        // Only what was given out is behind us.
        self.next.store(page.next, Ordering::Relaxed);
        Ok(list)
    }

    /// Where the next page begins.
    #[getter]
    fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }
}

fn event_dict<'py>(py: Python<'py>, event: &TailEvent) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("position", event.position)?;
    dict.set_item("time_ms", event.time_ms)?;
    dict.set_item("actor", &event.actor)?;
    dict.set_item("event", &event.event)?;
    for (name, field) in &event.fields {
        match field {
            Field::Nothing => dict.set_item(name, py.None())?,
            Field::Text(text) => dict.set_item(name, text)?,
            Field::Int(number) => dict.set_item(name, number)?,
            Field::Texts(texts) => dict.set_item(name, PyList::new(py, texts)?)?,
            Field::Pairs(pairs) => {
                let inner = PyDict::new(py);
                for (key, value) in pairs {
                    inner.set_item(key, value)?;
                }
                dict.set_item(name, inner)?;
            }
        }
    }
    Ok(dict)
}

fn points_dict<'py>(py: Python<'py>, points: &TailPoints) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("position", points.position)?;
    dict.set_item("time_ms", points.time_ms)?;
    dict.set_item("actor", py.None())?;
    dict.set_item("event", "PointsLogged")?;
    dict.set_item("run_id", &points.run_id)?;
    dict.set_item("key", &points.key)?;
    dict.set_item("steps", PyList::new(py, &points.steps)?)?;
    dict.set_item("timestamps_ms", PyList::new(py, &points.timestamps)?)?;
    dict.set_item("values", PyList::new(py, &points.values)?)?;
    Ok(dict)
}
