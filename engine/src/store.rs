//! An open store: handles for appends, snapshots and maintenance. Wiring only.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::background::Background;
use crate::compaction::policy::Due;
use crate::compaction::{CompactOptions, CompactReport};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::fork;
use crate::fork_run::Forked;
use crate::hot::dictionary::Reservation;
use crate::id::{KeyId, Lsn, Peer, RunId, StoreId, WriterId};
use crate::inbox::{MergeReport, StoreInboxes};
use crate::index::Index;
use crate::ingest::batch::{Batch, Durability, Receipt};
use crate::ingest::run::RunHandle;
use crate::ingest::validate::check_metric_key;
use crate::log::OpenReport;
use crate::missing::Missing;
use crate::query::history::{EventRecord, read_batch};
use crate::query::snapshot::Snapshot;
use crate::replay::ReplayReport;
use crate::rewind::Rewound;
use crate::storage::lock::LOCK_PATH;
use crate::tail::Tail;
use crate::verify::{VerifyOptions, VerifyReport};

/// How far a store has got; each position is at most the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Positions {
    /// In the log and visible.
    pub published: Lsn,
    /// On the disk.
    pub durable: Lsn,
    /// In the index.
    pub applied: Lsn,
    /// Points in series files.
    pub sealed: Lsn,
}

/// What an open found and did.
#[derive(Debug, Clone, Default)]
pub struct OpenNotes {
    /// The log's recovery.
    pub log: OpenReport,
    /// The replay above index and files.
    pub replay: ReplayReport,
    /// What an open for reading took from inboxes. (A holder merges them later: see [`Store::merge_inboxes`].)
    pub inboxes: MergeReport,
    /// Why the index was rebuilt, if it was.
    pub rebuilt: Option<String>,
    /// Leftovers of a crash that were removed.
    pub removed_files: Vec<String>,
    /// Files that cannot be rebuilt and that are missing or differ from MANIFEST. Only an open for reading goes on
    /// without them; every answer lacks their content. An open for writing that rebuilds the index names series files
    /// here of which some chunks are damaged; reads of these chunks fail.
    pub missing: Vec<Missing>,
}

struct Inner {
    core: Arc<Core>,
    /// The inboxes: points that other processes of this host log.
    inboxes: Arc<StoreInboxes>,
    background: Mutex<Option<Background>>,
    notes: OpenNotes,
    /// Notes that replace `notes`, because the store was opened twice.
    earlier: OnceLock<OpenNotes>,
    /// The process that opened it: see [`fork::generation`].
    generation: u64,
    closed: AtomicBool,
    /// Last, so that the lock is released after everything else.
    lock: Mutex<Option<Box<dyn Send + Sync>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.generation != fork::generation() {
            // A forked child's copy: the threads do not run in the child, they may hold its locks forever, and the
            // files are the parent's. Leave everything as it is.
            std::mem::forget((self.core.clone(), self.inboxes.clone()));
            if let Some(mut background) = self.background.try_lock() {
                std::mem::forget(background.take());
            }
            return;
        }
        // A drop without close is a crash: nothing is written; what was appended is in the log. Handles that outlive
        // the store must not append, since the lock is about to be released.
        self.core.pipeline.take_tail();
        if let Some(background) = self.background.lock().take() {
            background.stop();
        }
        // A snapshot keeps the index open, and the lock is about to be released.
        if Arc::strong_count(&self.core) > 1 {
            self.core.index.fence();
        }
    }
}

/// Bytes of points above the files that a reader may replay.
const READERS_REPLAY_BYTES: u64 = 4 << 20;
/// Entities above the index that a reader may replay.
const READERS_REPLAY_ENTITIES: usize = 2000;

/// An open store. Cheap to clone; all clones are one store. Dropping the last one without [`Store::close`] is like a
/// crash of the process: nothing that was appended is lost, and the next open recovers.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("id", &self.id()).field("positions", &self.positions()).finish()
    }
}

/// Numbers of metric keys for points that may be refused: see [`Store::reserve_keys`].
#[derive(Debug)]
pub struct ReservedKeys(Reservation);

impl ReservedKeys {
    /// The number of a metric key. Valid while this value lives, and for good once a point of it was logged.
    ///
    /// # Errors
    /// `Invalid` for a key that is empty, longer than 64 KiB or holds NUL.
    pub fn metric_key(&mut self, name: &str) -> Result<KeyId> {
        check_metric_key(name)?;
        Ok(self.0.key(name))
    }
}

impl Store {
    pub(crate) fn new(
        core: Arc<Core>,
        inboxes: Arc<StoreInboxes>,
        lock: Option<Box<dyn Send + Sync>>,
        background: Option<Background>,
        notes: OpenNotes,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                core,
                inboxes,
                background: Mutex::new(background),
                notes,
                earlier: OnceLock::new(),
                generation: fork::generation(),
                closed: AtomicBool::new(false),
                lock: Mutex::new(lock),
            }),
        }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.inner.core
    }

    /// Refuses calls in a forked child, and after a close.
    #[inline]
    fn check_open(&self) -> Result<()> {
        if self.inner.generation != fork::generation() {
            return Err(Error::Forked);
        }
        if self.inner.closed.load(Ordering::Relaxed) { Err(Error::Closed) } else { Ok(()) }
    }

    fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        self.core().check_writable()
    }

    /// The store's id, made at its creation.
    pub fn id(&self) -> StoreId {
        self.core().store_id
    }

    /// What the open found and did.
    pub fn open_notes(&self) -> &OpenNotes {
        self.inner.earlier.get().unwrap_or(&self.inner.notes)
    }

    /// Up to here everything is there, and in every answer; later positions may be missing (see
    /// [`OpenNotes::missing`]).
    pub fn complete_up_to(&self) -> Lsn {
        let before = self.core().missing().iter().map(Missing::before);
        before.min().unwrap_or(Lsn::MAX).min(self.core().pipeline.log.published())
    }

    /// An error if anything up to a position is missing, for calls that need all of it.
    ///
    /// # Errors
    /// `MissingFile`.
    pub fn check_complete(&self, up_to: Lsn) -> Result<()> {
        self.core().check_complete(up_to)
    }

    /// The same store, with the notes of an earlier open. Before it is handed out.
    pub(crate) fn with_notes(self, notes: OpenNotes) -> Self {
        // Set only once: by an open that had to open twice.
        let _ = self.inner.earlier.set(notes);
        self
    }

    /// How far the store has got.
    pub fn positions(&self) -> Positions {
        let core = self.core();
        let (sealed, applied) = (core.sealed(), core.applied());
        Positions { sealed, applied, durable: core.pipeline.settled(), published: core.pipeline.published() }
    }

    /// The position of the batch with an idempotency key, if there is one; found in constant time.
    ///
    /// # Errors
    /// `KeyReused` if it was another request (by [`Batch::idempotency`]'s hash); `Io` or `Corrupt` of the index.
    pub fn find_idempotency_key(&self, key: &[u8], request_hash: u64) -> Result<Option<Lsn>> {
        self.check_open()?;
        self.core().pipeline.find_key(key, request_hash)
    }

    /// The events of the batch at a position, in order; empty if it has none, or compaction removed it.
    ///
    /// # Errors
    /// `Corrupt` if the frame is damaged.
    pub fn events_at(&self, lsn: Lsn) -> Result<Vec<EventRecord>> {
        let mut out = Vec::new();
        read_batch(&self.core().pipeline.log, lsn, |_| true, &mut out)?;
        Ok(out)
    }

    /// Appends a batch: all of it or nothing.
    ///
    /// # Errors
    /// `Invalid`, `NotFound`, `AlreadyExists`, `Deleted`, `ParamChanged`, `Conflict`, `KeyReused`: the store does not
    /// allow the batch. `StorageFull`: nothing was kept. `Poisoned`, `Closed`. `OutcomeUnknown`: a sync failed while
    /// this batch waited for it.
    pub fn append(&self, batch: Batch, durability: Durability) -> Result<Receipt> {
        self.check_writable()?;
        let receipt = self.core().pipeline.append(&batch, durability)?;
        if !receipt.repeated && batch.events.iter().any(Event::changes_lifecycle) {
            self.raise_epoch()?;
        }
        Ok(receipt)
    }

    /// Whether a batch could be appended now. Appends nothing.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub fn would_take(&self, batch: &Batch) -> Result<()> {
        self.check_writable()?;
        self.core().pipeline.would_take(batch)
    }

    /// Closes the index's file for good, and replaces the index by an empty one in memory.
    fn release_index(&self) -> Result<()> {
        let core = self.core();
        let stand_in = Index::memory(core.store_id, 1 << 20).and_then(|index| Ok((index.read()?, index)));
        match stand_in {
            Ok((read, index)) => {
                core.pipeline.newest.refresh(read);
                core.index.release(&index);
                Ok(())
            }
            Err(error) => {
                core.index.fence();
                Err(error)
            }
        }
    }

    /// Tells other processes to check again whether their runs accept points.
    fn raise_epoch(&self) -> Result<()> {
        self.core().storage.raise_epoch(LOCK_PATH).map_err(|error| Error::OutcomeUnknown {
            cause: format!("the batch is kept, but {LOCK_PATH} could not be written: {error}"),
        })
    }

    /// The number of a metric key in this store; a new one if it has none. Valid as long as the store is open. For keys
    /// of batches that may be refused see [`Store::reserve_keys`].
    ///
    /// # Errors
    /// `Invalid` for a key that is empty, longer than 64 KiB or holds NUL.
    pub fn metric_key(&self, name: &str) -> Result<KeyId> {
        self.check_open()?;
        self.core().pipeline.metric_key(name)
    }

    /// Numbers of metric keys for points that are logged while the returned value lives. New keys without a logged
    /// point are forgotten when it is dropped: do not use their numbers afterwards.
    ///
    /// # Errors
    /// `Closed`, `Forked`.
    pub fn reserve_keys(&self) -> Result<ReservedKeys> {
        self.check_open()?;
        Ok(ReservedKeys(self.core().pipeline.dictionary.reserve()))
    }

    /// Appends everything published in every inbox of this host, and removes finished inboxes. Snapshots then show
    /// everything that was acknowledged to any process. Inboxes with problems are left alone and reported. Background
    /// threads call this regularly.
    ///
    /// # Errors
    /// As [`Store::append`]: what was merged before stays, a later call merges the rest. `Io` if an inbox cannot be
    /// read.
    ///
    /// # Complexity
    /// About a cache line for each inbox without news.
    pub fn merge_inboxes(&self) -> Result<MergeReport> {
        self.check_open()?;
        self.inner.inboxes.merge(self.core())
    }

    /// Whether inboxes hold points of a run that are not in the log. After a failed merge (no space), this shows which
    /// runs can still be answered.
    ///
    /// # Errors
    /// `Io` if an inbox cannot be read.
    ///
    /// # Complexity
    /// Reads what was published since the last call.
    pub fn has_unmerged_points(&self, run: RunId) -> Result<bool> {
        self.check_open()?;
        self.inner.inboxes.has_unmerged(self.core(), run)
    }

    /// The number of a writer's last frame that is in the log; 0 for none.
    ///
    /// # Errors
    /// `Io` or `Corrupt` of the index.
    pub fn applied_number(&self, writer: WriterId) -> Result<u64> {
        self.core().pipeline.applied_number(writer)
    }

    /// The position up to which another store's batches are here; 0 for none.
    ///
    /// # Errors
    /// `Io` or `Corrupt` of the index.
    pub fn seen(&self, store: StoreId) -> Result<u64> {
        self.core().pipeline.number_of(Peer::Store(store))
    }

    /// [`Store::seen`] for every store of which something is here, by id.
    ///
    /// # Errors
    /// As [`Store::seen`].
    pub fn seen_stores(&self) -> Result<Vec<(StoreId, u64)>> {
        let all = self.core().pipeline.numbers()?.into_iter();
        Ok(all
            .filter_map(|(peer, number)| if let Peer::Store(id) = peer { Some((id, number)) } else { None })
            .collect())
    }

    /// The stores that this store's log was copied from, with the last position of each, ascending. A batch without a
    /// note was decided by the first of them that reaches its position, or, above all of them, by this store.
    ///
    /// # Errors
    /// As [`Store::seen`].
    pub fn copied_from(&self) -> Result<Vec<(StoreId, Lsn)>> {
        let all = self.core().pipeline.numbers()?.into_iter();
        let copied = |(peer, to)| if let Peer::Copied(id) = peer { Some((id, Lsn(to))) } else { None };
        let mut copied: Vec<_> = all.filter_map(copied).collect();
        copied.sort_unstable_by_key(|(_, to)| *to);
        Ok(copied)
    }

    /// The position up to which another store's batches had been seen when that was forgotten
    /// ([`crate::event::SourceForgotten`]): they may come a second time. 0 if nothing was forgotten.
    ///
    /// # Errors
    /// As [`Store::seen`].
    pub fn forgotten(&self, store: StoreId) -> Result<u64> {
        self.core().pipeline.number_of(Peer::Forgotten(store))
    }

    /// A handle that logs points to a run.
    ///
    /// # Errors
    /// `NotFound` if there is no such run.
    pub fn run(&self, run: RunId) -> Result<RunHandle> {
        self.check_writable()?;
        let pipeline = &self.core().pipeline;
        Ok(RunHandle::new(pipeline.clone(), pipeline.load_run(run)?))
    }

    /// Rewinds a run to a step, for resuming from a checkpoint after a crash: points with a greater step are hidden
    /// from all answers, and points logged next continue the rest as one curve. The dead branch stays readable
    /// ([`Snapshot::branches`]). Handles of the run log to the new branch.
    ///
    /// # Errors
    /// `NotFound`, `Deleted`, `Purged` for the run; `Corrupt` if needed points are damaged; `StorageFull`, `Poisoned`,
    /// `Closed`. The run is then unchanged.
    pub fn rewind(&self, run: RunId, to_step: i64, actor: Option<&str>) -> Result<Rewound> {
        self.rewind_as(run, to_step, Batch::new().actor(actor.unwrap_or_default()))
    }

    /// As [`Store::rewind`], with a batch that names the actor, the store, or the idempotency key.
    ///
    /// # Errors
    /// As [`Store::rewind`]; `Conflict` as [`Batch::of_store`]; `Repeated` if the key is known.
    pub fn rewind_as(&self, run: RunId, to_step: i64, batch: Batch) -> Result<Rewound> {
        // Points acknowledged so far belong to the branch that ends now.
        self.merge_inboxes()?;
        self.core().rewind(run, to_step, batch)
    }

    /// Appends a batch that creates `run`, as a fork of `parent`: its metrics begin with the parent's points up to a step,
    /// as they are now, without a copy. The parent and the fork go on independently.
    ///
    /// # Errors
    /// `NotFound`, `Purged` for the parent; `Invalid` if the batch does not create the run; those of
    /// [`Store::append`]; `Repeated` if the idempotency key is known. Nothing is appended then.
    pub fn fork_as(&self, run: RunId, parent: RunId, to_step: i64, batch: Batch) -> Result<Forked> {
        // Points acknowledged so far belong to the parent as it is now.
        self.merge_inboxes()?;
        self.core().fork_run(run, parent, to_step, batch)
    }

    /// A consistent view of everything published.
    ///
    /// # Errors
    /// `Io` if the index cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.check_open()?;
        Snapshot::take(self.core())
    }

    /// Every batch from a position on: first the existing ones, then new ones. Includes batches whose points are only
    /// in series files.
    ///
    /// # Errors
    /// `Invalid` if the position is no longer kept.
    pub fn tail(&self, from: Lsn) -> Result<Tail> {
        Ok(Tail::new(self.core().clone(), from))
    }

    /// Makes everything appended so far durable. Returns the durable position.
    ///
    /// # Errors
    /// `Io` if the sync fails (the store is then poisoned), `Poisoned`.
    pub fn flush(&self) -> Result<Lsn> {
        self.check_writable()?;
        self.core().pipeline.sync()
    }

    /// Applies everything durable to the index. Returns the position applied up to.
    ///
    /// # Errors
    /// `Io`, `StorageFull`: nothing is lost, the log has it.
    pub fn checkpoint(&self) -> Result<Lsn> {
        self.check_open()?;
        self.core().checkpoint()
    }

    /// Puts all durable points into compressed series files. Returns the position sealed up to.
    ///
    /// # Errors
    /// `Io`, `StorageFull`: nothing is lost, the log has it.
    pub fn seal(&self) -> Result<Lsn> {
        self.check_open()?;
        self.core().seal()
    }

    /// Brings index and files up to date if much is logged above them, so that a process that opens them for reading has
    /// little to replay.
    ///
    /// # Errors
    /// As [`Store::seal`].
    pub fn settle_for_readers(&self) -> Result<()> {
        self.check_writable()?;
        let core = self.core();
        if core.pipeline.hot_bytes() >= READERS_REPLAY_BYTES {
            core.pipeline.sync()?;
            core.seal()?;
        } else if core.pipeline.newest.hot.len() >= READERS_REPLAY_ENTITIES {
            core.pipeline.sync()?;
            core.checkpoint()?;
        }
        Ok(())
    }

    /// Brings the store into its smallest form: points sealed and merged, raw frames released, purged runs removed.
    ///
    /// # Errors
    /// `Io`, `StorageFull`; the store is then as it was before.
    pub fn compact(&self, options: &CompactOptions) -> Result<CompactReport> {
        self.check_writable()?;
        self.core().compact(options)
    }

    /// How far the compaction that runs now has got: bytes read, and bytes to read; `None` if none runs.
    pub fn compaction_progress(&self) -> Option<(u64, u64)> {
        let keeping = &self.core().keeping;
        let total_bytes = keeping.total_bytes.load(Ordering::Relaxed);
        (total_bytes > 0).then(|| (keeping.done_bytes.load(Ordering::Relaxed).min(total_bytes), total_bytes))
    }

    /// Why a compaction would be worth it now, if nothing was appended for `idle_ms`; `None`: it would not be.
    ///
    /// # Errors
    /// `Io` if the index cannot be read.
    pub fn compaction_due(&self, idle_ms: u64) -> Result<Option<Due>> {
        self.check_writable()?;
        self.core().compaction_due(idle_ms)
    }

    /// Reads everything, replays it, and compares the index with the result. Damage is not an error: the report lists
    /// it.
    ///
    /// # Errors
    /// `Io` if a file cannot be read at all.
    pub fn verify(&self, options: &VerifyOptions) -> Result<VerifyReport> {
        let core = self.core();
        if core.from_index {
            // What the index says is judged by a replay of everything, which this store did not do.
            let storage = core.storage.clone();
            let whole = Self::options(core.storage.display_path("")).storage(storage).read_only(true).open()?;
            return crate::verify::verify(whole.core(), &whole.inner.inboxes, options);
        }
        crate::verify::verify(self.core(), &self.inner.inboxes, options)
    }

    /// One step of the log's maintenance: prepares and finishes segments. Only needed without background threads.
    ///
    /// # Errors
    /// `Io`, `StorageFull`.
    pub fn maintain(&self) -> Result<()> {
        self.check_writable()?;
        self.core().pipeline.log.maintain()
    }

    /// Merges inboxes, syncs, checkpoints and marks the log as closed: the next open has nothing to do, and no inbox of
    /// an ended writer is left. Other clones of this handle answer [`Error::Closed`] from now on.
    ///
    /// # Errors
    /// `StorageFull` if the disk has no room for the end of the log or for the index: everything acknowledged is durable,
    /// and the next open does what is left. `Poisoned` or `Io` if the last sync fails; what was durable stays so.
    pub fn close(self) -> Result<()> {
        self.check_open()?;
        let core = self.core().clone();
        // A compaction of another thread ends at its next step; none begins any more.
        core.keeping.closes.store(true, Ordering::Release);
        let _compacting = core.keeping.compacting.lock();
        if let Some(background) = self.inner.background.lock().take() {
            background.stop();
        }
        if core.read_only {
            return Ok(());
        }
        // Points that fail to merge stay in the inboxes. A failed log is reported by the next steps.
        let _merged = self.inner.inboxes.empty(&core);
        let Some(tail) = core.pipeline.take_tail() else { return Err(Error::Closed) };
        self.inner.closed.store(true, Ordering::Relaxed);
        // Release the lock even on failure; clones already return `Closed`.
        let lock = self.inner.lock.lock().take();
        let finish = || -> Result<()> {
            core.pipeline.log.close(tail, core.pipeline.clock.now())?;
            // The index vouches for everything, the close frame included.
            core.pipeline.set_published(core.pipeline.log.published());
            core.checkpoint()?;
            // Everything is durable and in the index; the next open can do without the saved searches.
            let _saved = core.save_searches(true);
            Ok(())
        };
        let finished = match (finish(), core.pipeline.log.poisoned()) {
            // The sync itself found no room: what was only acknowledged may be gone.
            (Err(error), Some(cause)) if error.is_full() => Err(Error::Poisoned { cause }),
            (finished, _) => finished,
        };
        // Snapshots and handles may outlive the store, but must not write the index once another process has the store.
        let released = self.release_index();
        drop(lock);
        finished.and(released)
    }
}

#[cfg(test)]
mod tests;
