//! How to open a store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::storage::Storage;
use crate::time::{Clock, SystemClock};

/// Settings of an open store; see [`crate::Store::options`].
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// let store = runlode_engine::Store::options(dir.path().join("exp")).memory_bytes(64 << 20).open()?;
/// # store.close()?;
/// # Ok::<(), runlode_engine::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) path: PathBuf,
    pub(crate) create: bool,
    pub(crate) read_only: bool,
    pub(crate) from_index: bool,
    pub(crate) index_needed: bool,
    pub(crate) memory_bytes: u64,
    pub(crate) background: bool,
    pub(crate) mmap: bool,
    pub(crate) accept_loss: bool,
    pub(crate) storage: Option<Arc<dyn Storage>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) seed: Option<u64>,
    pub(crate) segment_bytes: (u64, u64),
    pub(crate) search_snap_runs_min: usize,
}

impl Options {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            create: true,
            read_only: false,
            from_index: false,
            index_needed: false,
            memory_bytes: 256 << 20,
            background: true,
            mmap: true,
            accept_loss: false,
            storage: None,
            clock: Arc::new(SystemClock::default()),
            seed: None,
            segment_bytes: (256 << 10, 64 << 20),
            search_snap_runs_min: 4096,
        }
    }

    /// The same settings for another folder.
    #[must_use]
    pub fn at(mut self, path: impl AsRef<Path>) -> Self {
        self.path = path.as_ref().to_path_buf();
        self
    }

    /// Whether to create the store if it does not exist. Default: yes.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Open for reading: nothing is written, not even a lock. Works beside a writer, and on copies. Default: no.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Whether an open for reading uses the store's index and series files, and replays only the log above them. If it
    /// cannot, because there is no usable index or a file is missing, it replays the whole log into memory. As soon as a
    /// process opens the store for writing, reads may fail with [`Error::IndexChanged`](crate::Error::IndexChanged): open
    /// it again. Not for stores that another host writes. Default: no.
    #[must_use]
    pub fn from_index(mut self, from_index: bool) -> Self {
        self.from_index = from_index;
        self
    }

    /// Whether an open with [`Options::from_index`] that cannot use an index answers `Unsupported` instead of replaying the
    /// whole log. Default: no.
    #[must_use]
    pub fn index_needed(mut self, index_needed: bool) -> Self {
        self.index_needed = index_needed;
        self
    }

    /// Budget for private memory: hot state and caches. Hot state is sealed early once it takes a quarter of it, and
    /// appends wait at half of it; the rest is for sealing and caches. A million series fit: active ones take about 340
    /// B each, and idle ones leave memory. Default: 256 MiB; at least 16 MiB.
    #[must_use]
    pub fn memory_bytes(mut self, bytes: u64) -> Self {
        self.memory_bytes = bytes.max(16 << 20);
        self
    }

    /// Whether threads sync, checkpoint and seal in the background. If not, the caller calls [`crate::Store::flush`],
    /// [`crate::Store::checkpoint`] and [`crate::Store::seal`]. Default: yes.
    #[must_use]
    pub fn background(mut self, background: bool) -> Self {
        self.background = background;
        self
    }

    /// Whether log segments are mapped. If not, appends and reads are system calls, and another program that cuts a
    /// file short cannot kill the process. Default: yes, if the file system allows it.
    #[must_use]
    pub fn mmap(mut self, mmap: bool) -> Self {
        self.mmap = mmap;
        self
    }

    /// Opens a store whose acknowledged end is missing: notes the loss and serves the rest. Only at a user's request.
    #[must_use]
    pub fn accept_loss(mut self, accept: bool) -> Self {
        self.accept_loss = accept;
        self
    }

    /// Stores bytes elsewhere than in a folder: in memory, or on a simulated disk.
    #[must_use]
    pub fn storage(mut self, storage: Arc<dyn Storage>) -> Self {
        self.storage = Some(storage);
        self
    }

    /// Uses another clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// A seed for the store's id, so that a simulation can be repeated.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Size of the first log segment, and where doubling ends. Default: 256 KiB, 64 MiB; at most 2 GiB.
    #[must_use]
    pub fn segment_bytes(mut self, first: u64, max: u64) -> Self {
        let first = first.min(2 << 30);
        self.segment_bytes = (first, max.clamp(first, 2 << 30));
        self
    }

    /// Experiments of at least this many runs save their search columns to `search.snap`, for the first search after an
    /// open, and so do those whose columns take megabytes; smaller ones are read from the index within milliseconds.
    /// Default: 4,096.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn search_snap_runs_min(mut self, runs: usize) -> Self {
        self.search_snap_runs_min = runs.max(1);
        self
    }
}
