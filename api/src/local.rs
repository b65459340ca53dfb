//! A store whose engine is in this process: opening and creating it, and calls that concern the store as a whole.

mod author;
pub(crate) mod cached;
mod experiments;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use runlode_engine as engine;
use runlode_engine::event::Event;
use runlode_engine::event::payload::Decoded;
use runlode_engine::{
    Batch, Clock, CompactOptions, CompactReport, Durability, EntityKind, Error, ExperimentId, Forked, Lsn, Missing,
    Positions, Receipt, Result, Rewound, RunId, Snapshot, SystemClock, TimestampMs, VerifyOptions, VerifyReport,
};

use crate::ExperimentSpec;
use crate::os_user::os_user;
use crate::random::SEQUENTIAL_END;
use crate::uri::{ARTIFACTS_DIR, below};

/// How much a compaction gives way to other threads of the machine, as `nice` counts.
const COMPACT_NICE: i32 = 10;

/// An open store. Cloning is cheap; clones share everything and may be used from many threads.
///
/// ```
/// use runlode::LocalStore;
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = LocalStore::open(&path)?;
/// let (id, experiment) = store.snapshot()?.experiment_by_name("Default")?.expect("a new store has it");
/// assert_eq!((id.0, experiment.name.as_str()), (0, "Default"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct LocalStore {
    engine: engine::Store,
    clock: Arc<dyn Clock>,
    path: PathBuf,
    merging: bool,
    random_experiment_ids: bool,
    /// Set if all writes through this value belong to one call.
    call: Option<Arc<Call>>,
    /// The author of changes, unless a call or a batch names another one.
    author: Option<Arc<str>>,
    /// Set if what is appended was changed elsewhere: it keeps its authors, also where nobody is named.
    of_others: bool,
}

/// Author and idempotency key of one call: see [`LocalStore::for_call`].
///
/// ```
/// use runlode::{Call, EntityKey, ExperimentId};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
/// let call = Call { actor: "ada".into(), ..Call::default() };
/// store.for_call(call)?.rename_experiment(ExperimentId(0), "digits")?;
/// let events = store.snapshot()?.events(&EntityKey::Experiment(ExperimentId(0)))?;
/// assert_eq!(events[1].actor.as_deref(), Some("ada"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// The author, for the history of everything the call changes; may be empty.
    pub actor: String,
    /// At most 64 bytes; empty for none. A call with a key that was used before is not made again.
    pub idempotency_key: Vec<u8>,
    /// Hash of the original request: the same key with another request is refused.
    pub request_hash: u64,
}

/// How to open a store. Every setting has a default that suits training runs.
///
/// ```
/// use runlode::LocalStore;
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = LocalStore::options(&path).memory_bytes(64 << 20).open()?;
/// drop(store);
/// let reader = LocalStore::options(&path).read_only(true).open()?;
/// assert!(reader.create_experiment("x").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "options do nothing until `open` is called"]
pub struct LocalOptions {
    path: PathBuf,
    engine: engine::Options,
    clock: Arc<dyn Clock>,
    create: bool,
    read_only: bool,
    default_experiment: bool,
    random_experiment_ids: bool,
    author: Option<Arc<str>>,
}

impl LocalOptions {
    /// Whether a missing store is created. Default: true.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// assert!(runlode::LocalStore::options(&path).create(false).open().is_err(), "there is no store yet");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(mut self, create: bool) -> Self {
        self.engine = self.engine.create(create);
        self.create = create;
        self
    }

    /// Whether to open only for reading: nothing is written, and other processes may hold the store. Index and files of
    /// the store are used where they can be, with the log above them. Once a process begins to write the store, reads
    /// may fail with [`Error::IndexChanged`]: open it again. Default: false.
    ///
    /// ```
    /// use runlode::{ExperimentId, LocalStore};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let writer = LocalStore::open(&path)?;
    /// let reader = LocalStore::options(&path).read_only(true).open()?;
    /// assert!(reader.rename_experiment(ExperimentId(0), "digits").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.engine = self.engine.read_only(read_only).from_index(read_only);
        self.read_only = read_only;
        self
    }

    /// Whether an open for reading replays the whole log into memory instead of using the store's index: for stores that
    /// another host writes, and to read the log alone. Default: false.
    ///
    /// ```
    /// use runlode::{ExperimentId, LocalStore};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// drop(LocalStore::open(&path)?);
    /// let reader = LocalStore::options(&path).read_only(true).whole_log(true).open()?;
    /// assert!(reader.snapshot()?.experiment(ExperimentId(0))?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn whole_log(mut self, whole: bool) -> Self {
        self.engine = self.engine.from_index(!whole && self.read_only);
        self
    }

    /// How much memory the store may use for data that is not yet on disk and for caches. Default: 256 MiB.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = runlode::LocalStore::options(&path).memory_bytes(64 << 20).open()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn memory_bytes(mut self, bytes: u64) -> Self {
        self.engine = self.engine.memory_bytes(bytes);
        self
    }

    /// Whether checkpoints, sealing and compaction run in the background. Default: true.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = runlode::LocalStore::options(&path).background(false).open()?;
    /// store.engine().checkpoint()?; // by hand
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn background(mut self, background: bool) -> Self {
        self.engine = self.engine.background(background);
        self
    }

    /// The clock from which the store reads times. Default: the machine's.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use runlode::engine::ManualClock;
    /// use runlode::{LocalStore, TimestampMs};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = LocalStore::options(&path).clock(Arc::new(ManualClock::at(TimestampMs(1_700_000_000_000)))).open()?;
    /// assert_eq!(store.now().0, 1_700_000_000_000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.engine = self.engine.clock(Arc::clone(&clock));
        self.clock = clock;
        self
    }

    /// Storage for the files, if they are not in a folder.
    #[cfg(test)]
    pub(crate) fn storage(mut self, storage: Arc<dyn engine::storage::Storage>) -> Self {
        self.engine = self.engine.storage(storage).memory_bytes(16 << 20).segment_bytes(8 << 10, 32 << 10);
        self
    }

    /// Size of the first log segment, and of the largest.
    #[cfg(test)]
    pub(crate) fn segment_bytes(mut self, first: u64, max: u64) -> Self {
        self.engine = self.engine.segment_bytes(first, max);
        self
    }

    /// Seed of the engine's random numbers.
    #[cfg(test)]
    pub(crate) fn seed(mut self, seed: u64) -> Self {
        self.engine = self.engine.seed(seed);
        self
    }

    /// Whether a store without experiments gets the experiment `Default` with id 0. Default: true. An importer that
    /// brings its own experiments sets false.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = runlode::LocalStore::options(&path).default_experiment(false).open()?;
    /// assert!(store.snapshot()?.experiments()?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn default_experiment(mut self, default_experiment: bool) -> Self {
        self.default_experiment = default_experiment;
        self
    }

    /// Whether new experiments get random ids of 18 digits, for a store that will be synced into another one and keep
    /// its ids there. Its runs and logged models then record their artifact locations, because the other store may use
    /// other ones. Default: false.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = runlode::LocalStore::options(&path).random_experiment_ids(true).open()?;
    /// assert_eq!(store.create_experiment("digits")?.to_string().len(), 18);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn random_experiment_ids(mut self, random: bool) -> Self {
        self.random_experiment_ids = random;
        self
    }

    /// The author of changes, in the history of everything they change; `None`: nobody is named. Default: the user of
    /// this process, as Python's `getpass.getuser` names it.
    ///
    /// ```
    /// use runlode::{EntityKey, ExperimentId, LocalStore};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = LocalStore::options(&path).author(Some("ann")).open()?;
    /// let events = store.snapshot()?.events(&EntityKey::Experiment(ExperimentId(0)))?;
    /// assert_eq!(events[0].actor.as_deref(), Some("ann"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn author(mut self, author: Option<&str>) -> Self {
        self.author = author.map(Into::into);
        self
    }

    /// The folder of the store.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The same options for another folder.
    pub(crate) fn at(mut self, path: &Path) -> Self {
        self.path = path.to_path_buf();
        self.engine = self.engine.at(path);
        self
    }

    pub(crate) fn author_used(&self) -> Option<&str> {
        self.author.as_deref()
    }

    pub(crate) fn creates(&self) -> bool {
        self.create && !self.read_only
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    pub(crate) fn clock_used(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// Opens the store.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process holds it, [`Error::NotFound`] if it is missing and may not be created,
    /// [`Error::Corrupt`] if its files are damaged so that an open cannot tell what was written.
    ///
    /// ```
    /// use runlode::{Error, LocalStore};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = LocalStore::options(&path).open()?;
    /// assert!(matches!(LocalStore::options(&path).open(), Err(Error::Locked { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(self) -> Result<LocalStore> {
        let store = LocalStore {
            engine: self.engine.open()?,
            clock: self.clock,
            path: self.path,
            merging: false,
            random_experiment_ids: self.random_experiment_ids,
            call: None,
            author: self.author,
            of_others: false,
        };
        if self.default_experiment && !self.read_only {
            store.ensure_default_experiment()?;
        }
        Ok(store)
    }
}

impl LocalStore {
    /// Opens the store in a folder; creates it if there is none.
    ///
    /// # Errors
    /// As [`LocalOptions::open`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = runlode::LocalStore::open(&path)?;
    /// assert!(store.verify()?.is_sound());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::options(path).open()
    }

    /// Creates a store in a folder that holds none.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] when there is a store already; else as [`LocalOptions::open`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// drop(runlode::LocalStore::create(&path)?);
    /// assert!(runlode::LocalStore::create(&path).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if path.join("FORMAT").exists() {
            return Err(Error::AlreadyExists { entity: EntityKind::Store, id: path.display().to_string() });
        }
        Self::open(path)
    }

    /// Options to open the store in a folder.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("exp");
    /// let store = runlode::LocalStore::options(&path).memory_bytes(64 << 20).open()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn options(path: impl AsRef<Path>) -> LocalOptions {
        LocalOptions {
            path: path.as_ref().to_path_buf(),
            engine: engine::Store::options(path),
            clock: Arc::new(SystemClock::default()),
            create: true,
            read_only: false,
            default_experiment: true,
            random_experiment_ids: false,
            author: Some(os_user().into()),
        }
    }

    /// The artifact location to record for something new in an experiment, if another store may know the experiment by
    /// another id or keep it elsewhere: its files must be found there too. `None`: the default location.
    pub(crate) fn lasting_place(&self, experiment: ExperimentId, path: &str) -> Result<Option<String>> {
        if !self.random_experiment_ids || experiment.0 < SEQUENTIAL_END {
            return Ok(None);
        }
        let state = self.snapshot_of_entities()?.experiment(experiment)?;
        let location = state.and_then(|state| state.artifact_location.clone());
        Ok(Some(below(&location.unwrap_or_else(|| format!("{ARTIFACTS_DIR}/{experiment}")), path)))
    }

    /// The id of the next experiment.
    pub(crate) fn next_experiment_id(&self, snapshot: &Snapshot) -> Result<ExperimentId> {
        if self.random_experiment_ids { ExperimentSpec::random_id() } else { ExperimentSpec::next_id(snapshot) }
    }

    /// The engine: for batches, hot-path handles and the tail.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// let mut tail = store.engine().tail(runlode::Lsn(1))?;
    /// let batches = tail.next(10, Duration::from_secs(1))?;
    /// assert!(!batches.is_empty(), "the creation of the experiment `Default`");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn engine(&self) -> &engine::Store {
        &self.engine
    }

    /// Files that this open for reading did without, although only they hold their data: it is missing from every
    /// answer. An open for writing refuses instead.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// assert!(store.missing().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn missing(&self) -> &[Missing] {
        &self.engine.open_notes().missing
    }

    /// The folder that was opened.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// assert_eq!(store.path(), dir.path().join("exp"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The current time of the store's clock.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// let created = store.snapshot()?.experiment(runlode::ExperimentId(0))?.expect("made at the open");
    /// assert!(created.creation_time_ms <= store.now().0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn now(&self) -> TimestampMs {
        self.clock.now()
    }

    /// A view of everything acknowledged before this call. Later writes do not change it.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Corrupt`] if the index cannot be read. [`Error::StorageFull`] if there is no space for
    /// points acknowledged to other processes: they are still in their inboxes, and a view without them would silently
    /// be incomplete.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// let before = store.snapshot()?;
    /// run.log_metrics(0, &[("loss", 2.3)])?;
    /// assert!(before.latest(run.id())?.is_empty());
    /// assert_eq!(store.snapshot()?.latest(run.id())?[0].1.last_value, 2.3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.merge_inboxes()?;
        self.engine.snapshot()
    }

    /// A view for reads of one run: it does not fail if there is no space for other runs' points.
    ///
    /// # Errors
    /// As [`LocalStore::snapshot`].
    pub(crate) fn snapshot_of_run(&self, run: RunId) -> Result<Snapshot> {
        match self.merge_inboxes() {
            Err(error) if error.is_full() && !self.engine.has_unmerged_points(run)? => {}
            merged => merged?,
        }
        self.engine.snapshot()
    }

    /// A view for reads of entities only. It may lack points for which there is no space; inboxes of other processes
    /// hold points only.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Corrupt`] if the index cannot be read.
    pub(crate) fn snapshot_of_entities(&self) -> Result<Snapshot> {
        match self.merge_inboxes() {
            Err(error) if !error.is_full() => return Err(error),
            _ => {}
        }
        self.engine.snapshot()
    }

    /// The same store, shared with client processes: their acknowledged points are merged before every snapshot.
    pub(crate) fn merging_inboxes(mut self) -> Self {
        self.merging = true;
        self
    }

    /// Merges the points that other processes logged, if there may be any: see [`crate::shared`].
    pub(crate) fn merge_inboxes(&self) -> Result<()> {
        if !self.merging {
            return Ok(());
        }
        self.engine.merge_inboxes().map(drop)
    }

    /// The same store for one call, with its author and idempotency key.
    ///
    /// # Errors
    /// [`Error::Repeated`] if the call was made before under its key: nothing needs to be done.
    ///
    /// ```
    /// use runlode::{Call, Error};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// let call = Call { actor: "ada".into(), idempotency_key: b"retag-1".to_vec(), request_hash: 7 };
    /// store.for_call(call.clone())?.run(run.id())?.set_tag("note", "checked")?;
    /// assert!(matches!(store.for_call(call), Err(Error::Repeated { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn for_call(&self, call: Call) -> Result<Self> {
        if !call.idempotency_key.is_empty()
            && let Some(lsn) = self.engine.find_idempotency_key(&call.idempotency_key, call.request_hash)?
        {
            return Err(Error::Repeated { lsn: lsn.0 });
        }
        Ok(Self { call: Some(Arc::new(call)), ..self.clone() })
    }

    /// The same store for one call, which may have been made before.
    pub(crate) fn in_call(&self, call: Arc<Call>) -> Self {
        Self { call: Some(call), ..self.clone() }
    }

    /// Appends a batch: all of it or nothing.
    ///
    /// # Errors
    /// The reason why an event is refused; see [`Error`]. For a store [for a call](LocalStore::for_call)
    /// [`Error::Repeated`], if the same call was made twice at once and the other one was faster.
    ///
    /// ```
    /// use runlode::engine::event::{KeyValue, RunTagsSet};
    /// use runlode::{Batch, Durability};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// let tags = vec![("note".to_owned(), "checked".to_owned())];
    /// let receipt = store.append(Batch::new().event(RunTagsSet { run: run.id(), tags }), Durability::Sync)?;
    /// assert_eq!(receipt.lsn, store.positions().published);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn append(&self, batch: Batch, durability: Durability) -> Result<Receipt> {
        let batch = self.with_author(batch);
        if self.call.is_none() {
            return self.engine.append(batch, durability);
        }
        let receipt = self.engine.append(self.of_call(batch), durability)?;
        if receipt.repeated { Err(Error::Repeated { lsn: receipt.lsn.0 }) } else { Ok(receipt) }
    }

    /// Appends a batch that creates `run`, as a fork of `parent`.
    pub(crate) fn append_fork(&self, run: RunId, parent: RunId, to_step: i64, batch: Batch) -> Result<Forked> {
        self.engine.fork_as(run, parent, to_step, self.of_call(self.with_author(batch)))
    }

    /// The batch with the call's key.
    fn of_call(&self, mut batch: Batch) -> Batch {
        let Some(call) = &self.call else { return batch };
        if !call.idempotency_key.is_empty() {
            batch = batch.idempotency(&call.idempotency_key, call.request_hash);
        }
        batch
    }

    /// Appends a part of a call that needs several batches. The call's key comes with its last batch, by
    /// [`LocalStore::append`].
    pub(crate) fn append_part(&self, batch: Batch, durability: Durability) -> Result<Receipt> {
        self.engine.append(self.with_author(batch), durability)
    }

    /// Rewinds a run: see [`LocalRun::rewind`](crate::LocalRun::rewind).
    ///
    /// # Errors
    /// Those of [`LocalRun::rewind`](crate::LocalRun::rewind); [`Error::Repeated`] as [`LocalStore::append`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// (0..10).try_for_each(|step| run.log_metrics(step, &[("loss", 2.3)]).map(drop))?;
    /// assert_eq!(store.rewind_run(run.id(), 6)?.points_hidden, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rewind_run(&self, run: RunId, to_step: i64) -> Result<Rewound> {
        let batch = self.author().map_or_else(Batch::new, |author| Batch::new().actor(author));
        self.engine.rewind_as(run, to_step, self.of_call(batch))
    }

    /// What the rewind at a position did.
    pub(crate) fn rewound_at(&self, lsn: Lsn) -> Result<Rewound> {
        let rewound = self.engine.events_at(lsn)?.into_iter().find_map(|record| match record.event {
            Decoded::Known(Event::RunRewound(event)) => Some(event),
            _ => None,
        });
        let Some(event) = rewound else { return Err(Error::Internal(format!("the batch at {lsn} is no rewind"))) };
        // The branch that ended gets no more points.
        let all = self.snapshot()?.branch_latest(event.run, event.from)?;
        let count: u64 = all.iter().map(|(_, stats)| stats.count_raw).sum();
        let kept: u64 = event.kept.iter().map(|series| series.count).sum();
        Ok(Rewound { branch: event.branch, points_hidden: count.saturating_sub(kept), lsn })
    }

    /// Waits until everything acknowledged so far would survive a power cut. Returns the position up to which this
    /// holds.
    ///
    /// # Errors
    /// [`Error::Poisoned`] if a write or sync failed.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// run.log_metrics(0, &[("loss", 2.3)])?;
    /// assert_eq!(store.flush()?, store.positions().durable);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn flush(&self) -> Result<Lsn> {
        self.engine.flush()
    }

    /// Brings points into their final compressed form and frees the space of deleted and purged data.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::StorageFull`]; the store is then as it was before.
    ///
    /// ```
    /// use runlode::CompactOptions;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// run.log_metrics(0, &[("loss", 2.3)])?;
    /// store.compact(&CompactOptions::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn compact(&self, options: &CompactOptions) -> Result<CompactReport> {
        // On a thread that gives way to all others; a thread cannot take its priority back.
        std::thread::scope(|scope| {
            let work = || {
                // Refused or not, the work is the same.
                let _lowered = rustix::process::setpriority_process(None, COMPACT_NICE);
                self.engine.compact(options)
            };
            match std::thread::Builder::new().name("runlode-compact".into()).spawn_scoped(scope, work) {
                Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(_) => self.engine.compact(options),
            }
        })
    }

    /// Checks every checksum, and that the indexes agree with the log.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be read. Damage is not an error: the report lists it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// let report = store.verify()?;
    /// assert!(report.is_sound(), "{report:?}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn verify(&self) -> Result<VerifyReport> {
        self.engine.verify(&VerifyOptions::default())
    }

    /// The last published, durable, applied and sealed positions.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let experiment = store.get_or_create_experiment("digits")?;
    /// # let run = store.create_run(experiment, runlode::RunSpec::new())?;
    /// let before = store.positions().published;
    /// run.log_metrics(0, &[("loss", 2.3)])?;
    /// assert!(store.positions().published > before);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn positions(&self) -> Positions {
        self.engine.positions()
    }

    /// Writes everything to disk and closes the store. Dropping the last clone instead is like a crash: data logged
    /// without a sync survives the process but not a power cut, and the next open recovers the log.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::Io`] if the last writes did not reach the disk.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// store.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close(self) -> Result<()> {
        self.engine.close()
    }

    /// Creates experiment 0, `Default`, if the store has none with this id. Returns whether it was created.
    ///
    /// # Errors
    /// Those of any append. Losing a race to create it is not an error.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// assert!(!store.ensure_default_experiment()?, "made at the open");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ensure_default_experiment(&self) -> Result<bool> {
        if self.snapshot_of_entities()?.experiment(ExperimentId(0))?.is_some() {
            return Ok(false);
        }
        let event = ExperimentSpec::named("Default").into_event(ExperimentId(0), self.now());
        match self.append_event(event) {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn append_event(&self, event: impl Into<Event>) -> Result<Lsn> {
        Ok(self.append(Batch::new().event(event), Durability::Sync)?.lsn)
    }
}
