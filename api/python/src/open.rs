//! One handle per store and process, however often and by whatever path the store is opened.
//!
//! A handle lives as long as somebody holds it: MLflow keeps stores for the life of a process.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Weak};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use runlode::Durability;
use runlode::mlflow::ApiResult;
use runlode::shared::{Shared, SharedOptions};

use crate::errors::Raise;

/// What makes a handle: the same store with other settings is another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    device: u64,
    inode: u64,
    sync: bool,
    artifacts: Option<String>,
}

/// A handle, and whether metric points go to the disk before a call returns.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) shared: Shared,
    pub(crate) sync: bool,
}

static OPENED: LazyLock<std::sync::Mutex<HashMap<Key, Weak<Opened>>>> = LazyLock::new(Default::default);

/// The handle of a store; made if it is not there. `durability` is `buffered`, `sync`, or nothing.
///
/// # Errors
/// Python's, of what the store says.
pub(crate) fn open(
    py: Python<'_>,
    path: PathBuf,
    durability: Option<&str>,
    artifacts: Option<String>,
) -> PyResult<Arc<Opened>> {
    let durability = match durability {
        None => None,
        Some("buffered") => Some(Durability::Buffered),
        Some("sync") => Some(Durability::Sync),
        Some(other) => return Err(PyValueError::new_err(format!("durability is buffered or sync, not {other:?}"))),
    };
    py.detach(|| open_with(&path, durability, artifacts)).or_raise(py)
}

fn open_with(path: &Path, durability: Option<Durability>, artifacts: Option<String>) -> ApiResult<Arc<Opened>> {
    let sync = durability == Some(Durability::Sync);
    let key = |path: &Path| {
        let found = std::fs::metadata(path).ok()?;
        Some(Key { device: found.dev(), inode: found.ino(), sync, artifacts: artifacts.clone() })
    };
    let mut opened = OPENED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(found) = key(path).and_then(|key| opened.get(&key)).and_then(Weak::upgrade) {
        return Ok(found);
    }
    let options = SharedOptions { metric_durability: durability, artifact_root: artifacts.clone() };
    let made = Arc::new(Opened { shared: Shared::open(path, &options)?, sync });
    opened.retain(|_, handle| handle.strong_count() > 0);
    if let Some(key) = key(path) {
        opened.insert(key, Arc::downgrade(&made));
    }
    Ok(made)
}
