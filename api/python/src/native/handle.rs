//! What a store, its runs and its tails share: the way to the store, until it is closed.
//!
//! A process gives a store up only when nothing of it is held any more. So runs do not hold it by themselves: a close
//! takes it from all of them, and they say that it is closed.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use pyo3::prelude::*;
use runlode::mlflow::{ApiError, ApiResult};
use runlode::shared::{Logger, MlflowCalls, RowLogger};

use super::errors;
use super::gil::GilCell;
use super::reader::{Reader, Reads};
use crate::exit::detached;

/// A logger that a close takes away.
pub(crate) type LoggerSlot = GilCell<Option<RowLogger>>;

/// The way to a store.
pub(crate) struct Handle {
    /// `None` once it is closed.
    way: Mutex<Option<Way>>,
    loggers: Mutex<Vec<Weak<LoggerSlot>>>,
}

/// How a store is open here.
#[derive(Clone)]
pub(crate) enum Way {
    Shared(MlflowCalls),
    Reader(Arc<Reader>),
}

/// Why a call was not done.
pub(super) enum Failed {
    /// The store was closed before.
    Closed(PyErr),
    /// The store says why.
    Refused(ApiError),
}

impl Failed {
    /// As Python raises it.
    pub(super) fn raised(self, py: Python<'_>) -> PyErr {
        match self {
            Self::Closed(error) => error,
            Self::Refused(error) => errors::raised(py, error),
        }
    }
}

impl Handle {
    pub(crate) fn new(way: Way) -> Self {
        Self { way: Mutex::new(Some(way)), loggers: Mutex::default() }
    }

    fn way(&self, py: Python<'_>) -> PyResult<Way> {
        self.way.lock().clone().ok_or_else(|| errors::closed(py))
    }

    /// Refuses a store that was closed.
    ///
    /// # Errors
    /// `Closed`.
    pub(crate) fn check_open(&self, py: Python<'_>) -> PyResult<()> {
        self.way(py).map(drop)
    }

    /// The store, for one call that changes it.
    ///
    /// # Errors
    /// `Closed`, `ReadOnly`.
    pub(crate) fn shared(&self, py: Python<'_>) -> PyResult<MlflowCalls> {
        match self.way(py)? {
            Way::Shared(shared) => Ok(shared),
            Way::Reader(_) => Err(errors::read_only(py)),
        }
    }

    /// A call that reads: without the GIL.
    ///
    /// # Errors
    /// `Closed`, and those of the call.
    pub(super) fn read<T: Send>(
        &self,
        py: Python<'_>,
        call: impl Fn(&dyn Reads) -> ApiResult<T> + Send + Sync,
    ) -> PyResult<T> {
        self.try_read(py, call).map_err(|failed| failed.raised(py))
    }

    /// As [`Handle::read`], for callers that look at why it failed.
    ///
    /// # Errors
    /// [`Failed`].
    pub(super) fn try_read<T: Send>(
        &self,
        py: Python<'_>,
        call: impl Fn(&dyn Reads) -> ApiResult<T> + Send + Sync,
    ) -> Result<T, Failed> {
        let answer = match self.way(py).map_err(Failed::Closed)? {
            Way::Shared(shared) => detached(py, move || call(&shared)),
            Way::Reader(reader) => reader.call(py, call),
        };
        answer.map_err(Failed::Refused)
    }

    /// A call that may wait: without the GIL.
    ///
    /// # Errors
    /// `Closed`, and those of the call.
    pub(crate) fn call<T: Send>(
        &self,
        py: Python<'_>,
        call: impl FnOnce(&MlflowCalls) -> ApiResult<T> + Send,
    ) -> PyResult<T> {
        self.try_call(py, call).map_err(|failed| failed.raised(py))
    }

    /// As [`Handle::call`], for callers that look at why it failed.
    ///
    /// # Errors
    /// [`Failed`].
    pub(super) fn try_call<T: Send>(
        &self,
        py: Python<'_>,
        call: impl FnOnce(&MlflowCalls) -> ApiResult<T> + Send,
    ) -> Result<T, Failed> {
        let shared = self.shared(py).map_err(Failed::Closed)?;
        detached(py, move || call(&shared)).map_err(Failed::Refused)
    }

    /// A place for a run's logger.
    pub(super) fn keep(&self, logger: Logger) -> Arc<LoggerSlot> {
        let slot = Arc::new(GilCell::new(Some(RowLogger::new(logger))));
        let mut loggers = self.loggers.lock();
        if loggers.len() == loggers.capacity() {
            loggers.retain(|slot| slot.strong_count() > 0);
        }
        loggers.push(Arc::downgrade(&slot));
        slot
    }

    /// Takes the store from all that use it; `None`: it was closed before.
    pub(super) fn take(&self, py: Python<'_>) -> Option<(Way, Vec<RowLogger>)> {
        let way = self.way.lock().take()?;
        let slots = std::mem::take(&mut *self.loggers.lock());
        Some((way, slots.iter().filter_map(Weak::upgrade).filter_map(|slot| slot.lock(py).take()).collect()))
    }
}
