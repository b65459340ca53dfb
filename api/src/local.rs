//! The store as users hold it: opening and creating, and what belongs to no single experiment, run or model.

mod experiments;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use runlode_engine as engine;
use runlode_engine::event::Event;
use runlode_engine::{
    Batch, Clock, CompactOptions, CompactReport, Durability, EntityKind, Error, ExperimentId, Lsn, Missing, Positions,
    Receipt, Result, Rewound, RunId, Snapshot, SystemClock, TimestampMs, VerifyOptions, VerifyReport,
};

use crate::ExperimentSpec;
use crate::random::SEQUENTIAL_END;
use crate::uri::{ARTIFACTS_DIR, below};

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
    /// Of what is written through this value.
    call: Option<Arc<Call>>,
}

/// What one call brings beside its arguments: see [`LocalStore::for_call`].
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// Who, for the history of what is changed; may be empty.
    pub actor: String,
    /// At most 64 bytes; empty for none. A call under a key that was used is not made again.
    pub idempotency_key: Vec<u8>,
    /// Hash of the request as it came: the same key with another request is refused.
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
}

impl LocalOptions {
    /// Whether a missing store is created. Default: true.
    pub fn create(mut self, create: bool) -> Self {
        self.engine = self.engine.create(create);
        self.create = create;
        self
    }

    /// Whether to open only for reading: nothing is written, and other processes may hold the store. Default: false.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.engine = self.engine.read_only(read_only);
        self.read_only = read_only;
        self
    }

    /// How much memory the store may use for what is not yet on disk and for caches. Default: 256 MiB.
    pub fn memory_bytes(mut self, bytes: u64) -> Self {
        self.engine = self.engine.memory_bytes(bytes);
        self
    }

    /// Whether checkpoints, sealing and compaction run in the background. Default: true.
    pub fn background(mut self, background: bool) -> Self {
        self.engine = self.engine.background(background);
        self
    }

    /// The clock that times are read from. Default: the machine's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.engine = self.engine.clock(Arc::clone(&clock));
        self.clock = clock;
        self
    }

    /// Where its files are, if not in a folder.
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

    /// The seed of what is random in the engine.
    #[cfg(test)]
    pub(crate) fn seed(mut self, seed: u64) -> Self {
        self.engine = self.engine.seed(seed);
        self
    }

    /// Whether a store without experiments gets the experiment `Default` with id 0. Default: true. An importer that
    /// brings its own says false.
    pub fn default_experiment(mut self, default_experiment: bool) -> Self {
        self.default_experiment = default_experiment;
        self
    }

    /// Whether new experiments get random ids of 18 digits, for a store that will come into another one: there they keep
    /// them. Runs and logged models in them then carry their artifact places, which may be other ones there. Default:
    /// false.
    pub fn random_experiment_ids(mut self, random: bool) -> Self {
        self.random_experiment_ids = random;
        self
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The same in a folder that is called otherwise.
    pub(crate) fn at(mut self, path: &Path) -> Self {
        self.path = path.to_path_buf();
        self.engine = self.engine.at(path);
        self
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
    /// [`Error::Locked`] when another process holds it, [`Error::NotFound`] when it is missing and may not be created,
    /// [`Error::Corrupt`] when its files are damaged where a reopen cannot decide what was written.
    pub fn open(self) -> Result<LocalStore> {
        let store = LocalStore {
            engine: self.engine.open()?,
            clock: self.clock,
            path: self.path,
            merging: false,
            random_experiment_ids: self.random_experiment_ids,
            call: None,
        };
        if self.default_experiment && !self.read_only {
            store.ensure_default_experiment()?;
        }
        Ok(store)
    }
}

impl LocalStore {
    /// Opens the store in a folder; creates it when it is not there.
    ///
    /// # Errors
    /// As [`LocalOptions::open`].
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

    /// LocalOptions for opening the store in a folder.
    pub fn options(path: impl AsRef<Path>) -> LocalOptions {
        LocalOptions {
            path: path.as_ref().to_path_buf(),
            engine: engine::Store::options(path),
            clock: Arc::new(SystemClock::default()),
            create: true,
            read_only: false,
            default_experiment: true,
            random_experiment_ids: false,
        }
    }

    /// The artifact place of what is made in an experiment that another store may know by another id, or keep at another
    /// place: files must be found there too. `None`: the default one.
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

    /// The engine below: batches of one's own making, hot-path handles, tail.
    pub fn engine(&self) -> &engine::Store {
        &self.engine
    }

    /// Files that are the truth and that this open, for reading, did without: what was in them is missing from every
    /// answer. An open for writing refuses instead.
    pub fn missing(&self) -> &[Missing] {
        &self.engine.open_notes().missing
    }

    /// The folder it was opened at.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The store's clock, read now.
    pub fn now(&self) -> TimestampMs {
        self.clock.now()
    }

    /// A view of everything that was acknowledged before this call. Later writes do not change it.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Corrupt`] when the index cannot be read. [`Error::StorageFull`] when other processes were
    /// acknowledged points that there is no space for: they are in their inboxes, and a view without them would lack them
    /// in silence.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.merge_inboxes()?;
        self.engine.snapshot()
    }

    /// A view for questions about one run: another run's points that there is no space for do not matter.
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

    /// A view for questions about entities alone. Points that there is no space for may be missing in it; what other
    /// processes have in inboxes are points only.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Corrupt`] when the index cannot be read.
    pub(crate) fn snapshot_of_entities(&self) -> Result<Snapshot> {
        match self.merge_inboxes() {
            Err(error) if !error.is_full() => return Err(error),
            _ => {}
        }
        self.engine.snapshot()
    }

    /// The same store, of which other processes are clients: what they were acknowledged is merged before every
    /// snapshot.
    pub(crate) fn merging_inboxes(mut self) -> Self {
        self.merging = true;
        self
    }

    /// Merges what other processes logged, where others may: see [`crate::shared`].
    pub(crate) fn merge_inboxes(&self) -> Result<()> {
        if !self.merging {
            return Ok(());
        }
        self.engine.merge_inboxes().map(drop)
    }

    /// The same store for one call: who makes it, and under which idempotency key.
    ///
    /// # Errors
    /// [`Error::Repeated`] when the call was made before under its key: nothing is to be done.
    pub fn for_call(&self, call: Call) -> Result<Self> {
        if !call.idempotency_key.is_empty()
            && let Some(lsn) = self.engine.find_idempotency_key(&call.idempotency_key, call.request_hash)?
        {
            return Err(Error::Repeated { lsn: lsn.0 });
        }
        Ok(Self { call: Some(Arc::new(call)), ..self.clone() })
    }

    /// Appends a batch: all of it or nothing.
    ///
    /// # Errors
    /// What the batch's events are refused for; see [`Error`]. Of a store [for a call](LocalStore::for_call)
    /// [`Error::Repeated`], if the same call came twice at once and the other one was faster.
    pub fn append(&self, mut batch: Batch, durability: Durability) -> Result<Receipt> {
        let Some(call) = &self.call else { return self.engine.append(batch, durability) };
        batch = batch.actor(&call.actor);
        if !call.idempotency_key.is_empty() {
            batch = batch.idempotency(&call.idempotency_key, call.request_hash);
        }
        let receipt = self.engine.append(batch, durability)?;
        if receipt.repeated { Err(Error::Repeated { lsn: receipt.lsn.0 }) } else { Ok(receipt) }
    }

    /// Rewinds a run: see [`LocalRun::rewind`](crate::LocalRun::rewind).
    ///
    /// # Errors
    /// As there.
    pub fn rewind_run(&self, run: RunId, to_step: i64) -> Result<Rewound> {
        self.engine.rewind(run, to_step, self.call.as_ref().map(|call| call.actor.as_str()))
    }

    /// Waits until everything acknowledged so far would outlive the machine; the position that this holds up to.
    ///
    /// # Errors
    /// [`Error::Poisoned`] when the disk refused a write or sync.
    pub fn flush(&self) -> Result<Lsn> {
        self.engine.flush()
    }

    /// Brings points into their final compressed form and gives back what deleted and purged data holds.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::StorageFull`]; the store is then as it was before.
    pub fn compact(&self, options: &CompactOptions) -> Result<CompactReport> {
        self.engine.compact(options)
    }

    /// Checks every checksum, and that the indexes say what the log says.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read. Damage is no error: it stands in the report.
    pub fn verify(&self) -> Result<VerifyReport> {
        self.engine.verify(&VerifyOptions::default())
    }

    /// How far the store has got: published, durable, applied, sealed.
    pub fn positions(&self) -> Positions {
        self.engine.positions()
    }

    /// Writes everything to disk and closes the store. Without it, dropping the last clone is like a crash: what was
    /// logged without a sync survives the process but not a power cut, and the next open recovers the log.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::Io`] when the last writes did not reach the disk.
    pub fn close(self) -> Result<()> {
        self.engine.close()
    }

    /// Gives the store experiment 0, `Default`, when it has none of this id; true when it was made.
    ///
    /// # Errors
    /// As any append. Losing a race for it is no error.
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
