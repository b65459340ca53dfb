//! Options for opening a store.

use std::path::Path;
use std::sync::Arc;

use super::Store;
use crate::shared::{How, Shared};
use crate::{Cached, Clock, Durability, LocalOptions, LocalStore, Result};

/// How to open a store. Every setting has a default that suits training runs. Engine settings only take effect in the
/// process that holds the store.
///
/// ```
/// use runlode::Store;
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = Store::options(&path).memory_bytes(64 << 20).open()?;
/// assert!(store.holds()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "options do nothing until `open` is called"]
pub struct Options {
    local: LocalOptions,
    how: How,
}

impl From<LocalOptions> for Options {
    /// Wraps engine settings, which only a holder uses.
    fn from(local: LocalOptions) -> Self {
        Self { local, how: How::default() }
    }
}

impl Options {
    pub(super) fn new(path: &Path) -> Self {
        LocalStore::options(path).into()
    }

    /// Whether a missing store is created. Default: true.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// assert!(runlode::Store::options(&path).create(false).open().is_err(), "there is no store yet");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(mut self, create: bool) -> Self {
        self.local = self.local.create(create);
        self
    }

    /// How much memory the store may use for data that is not yet on disk and for caches. Default: 256 MiB.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = runlode::Store::options(&path).memory_bytes(64 << 20).open()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn memory_bytes(mut self, bytes: u64) -> Self {
        self.local = self.local.memory_bytes(bytes);
        self
    }

    /// Whether checkpoints, sealing and compaction run in the background. Default: true.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = runlode::Store::options(&path).background(false).open()?;
    /// store.local()?.engine().checkpoint()?; // by hand
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn background(mut self, background: bool) -> Self {
        self.local = self.local.background(background);
        self
    }

    /// The clock from which the store reads times. Default: the machine's.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use runlode::TimestampMs;
    /// use runlode::engine::ManualClock;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let clock = Arc::new(ManualClock::at(TimestampMs(1_700_000_000_000)));
    /// let store = runlode::Store::options(&path).clock(clock).open()?;
    /// assert_eq!(store.experiment("digits")?.info()?.created.0, 1_700_000_000_000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.local = self.local.clock(clock);
        self
    }

    /// Durability of metric points if a call names none. Default: [`Durability::Buffered`].
    ///
    /// ```
    /// use runlode::{Durability, RunSpec, Store};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = Store::options(&path).metric_durability(Durability::Sync).open()?;
    /// let run = store.experiment("digits")?.create_run(RunSpec::new())?;
    /// run.log_metrics(0, &[("loss", 2.3)])?; // survives a power cut
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn metric_durability(mut self, durability: Durability) -> Self {
        self.how.metric_durability = Some(durability);
        self
    }

    /// Root of default artifact locations: a URI or an absolute path. Default: `artifacts` below the store.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = runlode::Store::options(&path).artifact_root("s3://team").open()?;
    /// assert_eq!(store.experiment("digits")?.artifact_place()?, "s3://team/1");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn artifact_root(mut self, root: impl Into<String>) -> Self {
        self.how.artifact_root = Some(root.into());
        self
    }

    /// The author of changes, in the history of everything they change; `None`: nobody is named, as a server does whose
    /// clients say who they are. Default: the user of this process, as Python's `getpass.getuser` names it.
    ///
    /// ```
    /// use runlode::{EntityKey, RunSpec, Store};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let store = Store::options(dir.path().join("exp")).author(Some("ann")).open()?;
    /// let run = store.experiment("digits")?.create_run(RunSpec::named("r"))?;
    /// let events = store.local()?.snapshot()?.events(&EntityKey::Run(run.id()))?;
    /// assert_eq!(events[0].actor.as_deref(), Some("ann"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn author(mut self, author: Option<&str>) -> Self {
        self.local = self.local.author(author);
        self
    }

    /// Whether runs belong to other processes, as a server's do: then this process takes no leases of them. Default:
    /// no.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = runlode::Store::options(&path).serves_others(true).hold()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn serves_others(mut self, serves: bool) -> Self {
        self.how.serves_others = serves;
        self
    }

    /// Whether this process logs into a store of its own, which `runlode merge` merges later. Default: the variable
    /// `RUNLODE_OFFLINE` (1, 0); if unset, offline if the store is on a network file system, or another host holds it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = runlode::Store::options(&path).offline(true).open()?;
    /// assert!(store.status()?.offline);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn offline(mut self, offline: bool) -> Self {
        self.how.offline = Some(offline);
        self
    }

    /// Opens the store: as its holder, as a client of the process that holds it, or offline.
    ///
    /// # Errors
    /// Those of [`Store::open`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = runlode::Store::options(&path).open()?;
    /// let same = runlode::Store::options(&path).open()?;
    /// store.experiment("digits")?;
    /// assert!(same.find_experiment("digits")?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(self) -> Result<Store> {
        Ok(Store { shared: Shared::open(self.local, &self.how)? })
    }

    /// Opens the store as its holder, as a server must.
    ///
    /// # Errors
    /// [`Error::Locked`](crate::Error::Locked) names the process that holds it; otherwise those of [`Store::open`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = runlode::Store::options(&path).hold()?;
    /// assert!(store.holds()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn hold(self) -> Result<Store> {
        Ok(Store { shared: Shared::hold(self.local, &self.how)? })
    }

    /// Opens the store only for reading, in this process: nothing is written, whoever holds the store, and folders that
    /// cannot be written are opened too. Index and files of the store are used where they can be; a process that holds
    /// the store brings them up to date first.
    ///
    /// # Errors
    /// As [`LocalOptions::open`]; reads fail with [`Error::IndexChanged`](crate::Error::IndexChanged) once another
    /// process writes the store: open it again.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = runlode::Store::open(&path)?;
    /// store.experiment("digits")?;
    /// let reader = runlode::Store::options(&path).open_to_read()?;
    /// assert!(reader.snapshot()?.experiment_by_name("digits")?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_to_read(self) -> Result<LocalStore> {
        Shared::open_to_read(self.local)
    }

    /// As [`Options::open_to_read`], with a folder that keeps an index for a store that has none: a copy, or one on
    /// read-only media. The first open makes it, at the cost of reading the whole log; it takes as much room as the index
    /// and files of the store would. When the store has changed since, it is made again.
    ///
    /// # Errors
    /// Those of [`Options::open_to_read`]; [`Error::StorageFull`](crate::Error::StorageFull) and
    /// [`Error::Io`](crate::Error::Io) of the folder; [`Error::Unavailable`](crate::Error::Unavailable) while another
    /// process makes the index.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let (path, cache) = (dir.path().join("exp"), dir.path().join("cache"));
    /// let store = runlode::Store::open(&path)?;
    /// let (reader, cached) = runlode::Store::options(&path).open_to_read_cached(&cache)?;
    /// assert!(reader.snapshot()?.experiment_by_name("Default")?.is_some());
    /// assert_eq!(cached, runlode::Cached::NotNeeded);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_to_read_cached(self, cache: impl AsRef<Path>) -> Result<(LocalStore, Cached)> {
        Shared::open_to_read_cached(self.local, cache.as_ref())
    }

    /// Opens the store as if in another process: nothing is shared with the store that this process has open. For tests
    /// and measurements.
    ///
    /// # Errors
    /// Those of [`Store::open`].
    #[doc(hidden)]
    pub fn open_apart(self) -> Result<Store> {
        Ok(Store { shared: Shared::open_apart(self.local, &self.how)? })
    }
}
