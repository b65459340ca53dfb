//! A store that this server only reads, whoever writes it: pages of a folder that cannot be written, or beside a process
//! that holds the store and answers nobody.
//!
//! ```text
//!   a request -> the files' times are looked at, a few times a second at most -> changed: the store is opened again
//!   a read that meets a change in the middle -> opened again, and read once more
//! ```
//!
//! An open for reading shows the store as it was then. An open that takes long is made less often.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use runlode::mlflow::{ApiError, ApiResult, Settings};
use runlode::shared::MlflowCalls;
use runlode::{Error, Store};

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// After an open, the next one waits at least this many times as long as the open took.
const OPENS_APART: u32 = 10;

/// Names, times and sizes of the files that writers change.
type Stamp = Vec<(PathBuf, SystemTime, u64)>;

#[derive(Debug)]
struct View {
    calls: MlflowCalls,
    stamp: Stamp,
    looked: Instant,
    open_took: Duration,
}

/// The store, and the view of it that was opened last.
#[derive(Debug)]
pub(crate) struct StoreReader {
    path: PathBuf,
    settings: Settings,
    view: Mutex<View>,
}

/// Whether a read met a change of the store.
pub(crate) fn met_a_change(error: &ApiError) -> bool {
    error.message.contains(&Error::IndexChanged.to_string())
}

/// Files of a folder, not of those below it. A folder that cannot be read has none.
fn files(folder: &Path, stamp: &mut Stamp) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if let Ok(metadata) = entry.metadata()
            && metadata.is_file()
            && let Ok(modified) = metadata.modified()
        {
            stamp.push((entry.path(), modified, metadata.len()));
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    let mut stamp = Stamp::new();
    files(path, &mut stamp);
    files(&path.join("log"), &mut stamp);
    stamp.sort_unstable();
    stamp
}

impl View {
    fn open(path: &Path, settings: &Settings) -> runlode::Result<Self> {
        let begun = Instant::now();
        // Before the open: what changes meanwhile is seen the next time.
        let stamp = stamp(path);
        let store = Store::options(path).open_to_read()?;
        let calls = MlflowCalls::alone(store, settings.clone());
        let now = Instant::now();
        Ok(Self { calls, stamp, looked: now, open_took: now - begun })
    }
}

impl StoreReader {
    /// Opens a store only to read it.
    ///
    /// # Errors
    /// Those of [`runlode::Options::open_to_read`].
    pub(crate) fn open(path: &Path, settings: Settings) -> runlode::Result<Self> {
        let view = Mutex::new(View::open(path, &settings)?);
        Ok(Self { path: path.to_owned(), settings, view })
    }

    /// Calls on the store as it is now, or was a moment ago.
    pub(crate) fn calls(&self) -> MlflowCalls {
        let mut view = self.view.lock();
        if view.looked.elapsed() >= LOOK_EVERY.max(view.open_took * OPENS_APART) {
            view.looked = Instant::now();
            if stamp(&self.path) != view.stamp
                && let Ok(newer) = View::open(&self.path, &self.settings)
            {
                *view = newer;
            }
            // Where it cannot be opened just now, the older view is still right.
        }
        view.calls.clone()
    }

    /// Opens the store again.
    ///
    /// # Errors
    /// As [`StoreReader::open`].
    pub(crate) fn again(&self) -> ApiResult<MlflowCalls> {
        let mut view = self.view.lock();
        *view = View::open(&self.path, &self.settings)?;
        Ok(view.calls.clone())
    }
}
