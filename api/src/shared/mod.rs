//! A store as its processes share it: one holds it, the others are its clients; to the caller it is one handle.
//!
//! ```text
//!   Shared: the calls of `Mlflow`, and `logger` for points
//!      |
//!      +-- holder:  Mlflow -> Store                      LOCK is ours; merges inboxes, answers on STORE/sock
//!      +-- client:  decisions and reads -> the holder    over STORE/sock
//!                   points -> inbox/WRITER               no round trip
//! ```
//!
//! Which of the two a process is may change with every call: a holder that has gone is followed by one of its clients.

mod calls;

use std::path::{Path, PathBuf};

use crate::mlflow::{ApiResult, Mlflow, Settings};
use crate::{Durability, KeyId, RunHandle, Store, TimestampMs};

/// How a process looks at a store that it shares.
#[derive(Debug, Clone, Default)]
pub struct SharedOptions {
    /// How durable metric points are. Default: [`Durability::Buffered`].
    pub metric_durability: Option<Durability>,
    /// Where default artifact places lie: a URI or an absolute path. Default: `artifacts` below the store.
    pub artifact_root: Option<String>,
}

/// A store that other processes may have open too. Cheap to clone.
///
/// ```
/// use runlode::shared::{Shared, SharedOptions};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let shared = Shared::open(&path, &SharedOptions::default())?;
/// let id = shared.create_experiment("digits", None, &[])?;
/// assert_eq!(shared.experiment(&id)?.name, "digits");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Shared {
    mlflow: Mlflow,
}

impl Shared {
    /// Opens the store in a folder, or makes one. A process has one handle of a store, however often it is opened.
    ///
    /// # Errors
    /// As [`Store::open`]; a store that another process holds is no error.
    pub fn open(path: impl AsRef<Path>, options: &SharedOptions) -> ApiResult<Self> {
        let store = Store::open(path)?;
        let mut settings = Settings::in_process(&store);
        if let Some(root) = &options.artifact_root {
            let directory = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
            settings = Settings::with_root(root, directory);
        }
        if let Some(durability) = options.metric_durability {
            settings.metric_durability = durability;
        }
        Ok(Self { mlflow: Mlflow::new(store, settings) })
    }

    /// A logger of metric points to a run: the hot path.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`, `INVALID_PARAMETER_VALUE` for a run that is deleted.
    pub fn logger(&self, run: &str) -> ApiResult<Logger> {
        let store = self.mlflow.store().clone();
        let id = run.parse().map_err(|_| crate::mlflow::ApiError::absent(format!("Run with id={run} not found")))?;
        Ok(Logger { handle: store.engine().run(id)?, store })
    }

    /// Waits until everything that this process logged would outlive the machine.
    ///
    /// # Errors
    /// When the disk refused a write or sync.
    pub fn flush(&self) -> ApiResult<()> {
        self.mlflow.store().flush()?;
        Ok(())
    }

    /// Closes this process's handle in good order. Other processes go on.
    ///
    /// # Errors
    /// When the last writes did not reach the disk.
    pub fn close(self) -> ApiResult<()> {
        Ok(self.mlflow.store().clone().close()?)
    }
}

/// Logs metric points to one run. Cheap to clone; may be used from several threads.
#[derive(Debug, Clone)]
pub struct Logger {
    handle: RunHandle,
    store: Store,
}

impl Logger {
    /// The number of a metric key, for [`Logger::log_row`]; it holds for this logger.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for a key that cannot be.
    pub fn key(&self, name: &str) -> ApiResult<KeyId> {
        Ok(self.store.engine().metric_key(name)?)
    }

    /// Logs one step: a value for each of many keys.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` for a full disk, `INVALID_PARAMETER_VALUE`; nothing is logged then.
    pub fn log_row(&self, step: i64, time: TimestampMs, row: &[(KeyId, f64)], durability: Durability) -> ApiResult<()> {
        self.handle.log_row(step, time, row, durability)?;
        Ok(())
    }

    /// Logs points of any keys, in the order given; all or nothing.
    ///
    /// # Errors
    /// As [`Logger::log_row`].
    pub fn log_points(&self, points: &[crate::engine::KeyedPoint], durability: Durability) -> ApiResult<()> {
        self.handle.log_points(points, durability)?;
        Ok(())
    }
}
