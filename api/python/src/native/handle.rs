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

/// A logger that a close takes away.
pub(crate) type LoggerSlot = GilCell<Option<RowLogger>>;

/// The way to a store.
pub(crate) struct Handle {
    /// `None` once it is closed.
    shared: Mutex<Option<MlflowCalls>>,
    loggers: Mutex<Vec<Weak<LoggerSlot>>>,
}

impl Handle {
    pub(super) fn new(shared: MlflowCalls) -> Self {
        Self { shared: Mutex::new(Some(shared)), loggers: Mutex::default() }
    }

    /// The store, for one call.
    ///
    /// # Errors
    /// `Closed`.
    pub(crate) fn shared(&self, py: Python<'_>) -> PyResult<MlflowCalls> {
        self.shared.lock().clone().ok_or_else(|| errors::closed(py))
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
        self.try_call(py, call)?.map_err(|error| errors::raised(py, error))
    }

    /// As [`Handle::call`], for who looks at what the store says.
    ///
    /// # Errors
    /// `Closed`.
    pub(super) fn try_call<T: Send>(
        &self,
        py: Python<'_>,
        call: impl FnOnce(&MlflowCalls) -> ApiResult<T> + Send,
    ) -> PyResult<Result<T, ApiError>> {
        let shared = self.shared(py)?;
        Ok(py.detach(move || call(&shared)))
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
    pub(super) fn take(&self, py: Python<'_>) -> Option<(MlflowCalls, Vec<RowLogger>)> {
        let shared = self.shared.lock().take()?;
        let slots = std::mem::take(&mut *self.loggers.lock());
        Some((shared, slots.iter().filter_map(Weak::upgrade).filter_map(|slot| slot.lock(py).take()).collect()))
    }
}
