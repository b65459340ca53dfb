//! A store, open: handles for appends, snapshots and upkeep. Wiring only.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::background::Background;
use crate::compaction::{CompactOptions, CompactReport};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::fork;
use crate::hot::dictionary::Reservation;
use crate::id::{KeyId, Lsn, Peer, RunId, StoreId, WriterId};
use crate::inbox::MergeReport;
use crate::index::Index;
use crate::ingest::batch::{Batch, Durability, Receipt};
use crate::ingest::pipeline::check_metric_key;
use crate::ingest::run::RunHandle;
use crate::log::OpenReport;
use crate::missing::Missing;
use crate::query::history::{EventRecord, read_batch};
use crate::query::snapshot::Snapshot;
use crate::replay::ReplayReport;
use crate::rewind::Rewound;
use crate::storage::lock::LOCK_PATH;
use crate::tail::Tail;
use crate::verify::{VerifyOptions, VerifyReport};
use crate::wiring::Core;

/// Where a store stands; each position is at most the one before it.
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
    /// Why the index was made anew, if it was.
    pub rebuilt: Option<String>,
    /// Leftovers of a crash that were removed.
    pub removed_files: Vec<String>,
    /// Truth that is not there, or is not what MANIFEST says. Only an open for reading goes on without: what was in it is
    /// missing from every answer.
    pub missing: Vec<Missing>,
}

struct Inner {
    core: Arc<Core>,
    background: Mutex<Option<Background>>,
    notes: OpenNotes,
    /// Notes that take the place of `notes`: the store was opened twice.
    earlier: OnceLock<OpenNotes>,
    /// Which process opened it: see [`fork::generation`].
    generation: u64,
    closed: AtomicBool,
    /// Last: the lock goes when everything else has.
    lock: Mutex<Option<Box<dyn Send + Sync>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.generation != fork::generation() {
            // A forked child's copy: its threads do not run here, its locks may be held by them for ever, and the files
            // are the parent's. All of it is left as it is.
            std::mem::forget(self.core.clone());
            if let Some(mut background) = self.background.try_lock() {
                std::mem::forget(background.take());
            }
            return;
        }
        // A drop without close is a crash: nothing is written, what was appended is in the log. Handles that outlive
        // the store must not append: the lock is about to go.
        self.core.pipeline.take_tail();
        if let Some(background) = self.background.lock().take() {
            background.stop();
        }
        // A snapshot keeps the index open, and the lock is about to go.
        if Arc::strong_count(&self.core) > 1 {
            self.core.index.fence();
        }
    }
}

/// An open store. Cheap to clone; all clones are one store. Dropping the last one without [`Store::close`] loses
/// nothing that was appended: the next open recovers.
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
    /// The number of a metric key; it holds while this does, and for good once a point of it was logged.
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
        lock: Option<Box<dyn Send + Sync>>,
        background: Option<Background>,
        notes: OpenNotes,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                core,
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

    /// Refused in a forked child, and behind a close.
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

    /// Everything up to here is there, and in every answer; positions behind may be missing (see [`OpenNotes::missing`]).
    pub fn complete_up_to(&self) -> Lsn {
        let before = self.core().missing().iter().map(Missing::before);
        before.min().unwrap_or(Lsn::MAX).min(self.core().pipeline.log.published())
    }

    /// The refusal of a call that needs everything up to a position, if something of it is missing.
    ///
    /// # Errors
    /// `MissingFile`.
    pub fn check_complete(&self, up_to: Lsn) -> Result<()> {
        self.core().check_complete(up_to)
    }

    /// The same store, with notes of what was done before. Before anybody else has it.
    pub(crate) fn with_notes(self, notes: OpenNotes) -> Self {
        // Set once only: by an open that had to open twice.
        let _ = self.inner.earlier.set(notes);
        self
    }

    /// Where the store stands.
    pub fn positions(&self) -> Positions {
        let core = self.core();
        let (sealed, applied) = (core.sealed(), core.applied());
        Positions { sealed, applied, durable: core.pipeline.settled(), published: core.pipeline.published() }
    }

    /// Where the batch is that was appended under an idempotency key, if there is one; found in constant time.
    ///
    /// # Errors
    /// `KeyReused` if it was another request (by [`Batch::idempotency`]'s hash); `Io` or `Corrupt` of the index.
    pub fn find_idempotency_key(&self, key: &[u8], request_hash: u64) -> Result<Option<Lsn>> {
        self.check_open()?;
        self.core().pipeline.find_key(key, request_hash)
    }

    /// The events of the batch at a position, in order; none if it holds none, or compaction took it out.
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
    /// `Invalid`, `NotFound`, `AlreadyExists`, `Deleted`, `ParamChanged`, `Conflict`, `KeyReused`: the batch is not
    /// what the store allows. `StorageFull`: nothing was kept. `Poisoned`, `Closed`. `OutcomeUnknown`: a sync failed
    /// while this batch waited for it.
    pub fn append(&self, batch: Batch, durability: Durability) -> Result<Receipt> {
        self.check_writable()?;
        let receipt = self.core().pipeline.append(&batch, durability)?;
        if !receipt.repeated && batch.events.iter().any(Event::changes_lifecycle) {
            self.raise_epoch()?;
        }
        Ok(receipt)
    }

    /// Whether a batch could be appended now; nothing is.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub fn would_take(&self, batch: &Batch) -> Result<()> {
        self.check_writable()?;
        self.core().pipeline.would_take(batch)
    }

    /// Closes the index's file for good; an empty index in memory stands in for it.
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

    /// Tells other processes that what they know of a run may have changed.
    fn raise_epoch(&self) -> Result<()> {
        self.core().storage.raise_epoch(LOCK_PATH).map_err(|error| Error::OutcomeUnknown {
            cause: format!("the batch is kept, but {LOCK_PATH} could not be written: {error}"),
        })
    }

    /// The number of a metric key in this store; a new one if it has none. It holds as long as the store is open: see
    /// [`Store::reserve_keys`] for keys of batches that may be refused.
    ///
    /// # Errors
    /// `Invalid` for a key that is empty, longer than 64 KiB or holds NUL.
    pub fn metric_key(&self, name: &str) -> Result<KeyId> {
        self.check_open()?;
        self.core().pipeline.metric_key(name)
    }

    /// Numbers of metric keys for points that are logged while this is held. Keys that are new, and of which no point
    /// was logged by the time it is dropped, are forgotten: their numbers must not be used later.
    ///
    /// # Errors
    /// `Closed`, `Forked`.
    pub fn reserve_keys(&self) -> Result<ReservedKeys> {
        self.check_open()?;
        Ok(ReservedKeys(self.core().pipeline.dictionary.reserve()))
    }

    /// Appends everything published in every inbox of this host, and removes inboxes that are done. What any process
    /// was acknowledged is then visible to snapshots. Inboxes with problems are left alone and reported. Background
    /// threads do it too, every so often.
    ///
    /// # Errors
    /// As [`Store::append`]: what was merged before stays, the rest is merged by a later call. `Io` if an inbox cannot
    /// be read.
    ///
    /// # Complexity
    /// About a cache line for each inbox that has nothing new.
    pub fn merge_inboxes(&self) -> Result<MergeReport> {
        self.check_open()?;
        self.core().merge_inboxes()
    }

    /// Whether inboxes hold points of a run that are not in the log: after a merge that failed (there was no space), so
    /// that questions about other runs can be answered.
    ///
    /// # Errors
    /// `Io` if an inbox cannot be read.
    ///
    /// # Complexity
    /// Of what was published since the last call.
    pub fn has_unmerged_points(&self, run: RunId) -> Result<bool> {
        self.check_open()?;
        self.core().has_unmerged(run)
    }

    /// The number of a writer's last frame that is in the log; 0 for none.
    ///
    /// # Errors
    /// `Io` or `Corrupt` of the index.
    pub fn applied_number(&self, writer: WriterId) -> Result<u64> {
        self.core().pipeline.applied_number(writer)
    }

    /// Up to which position another store's batches are here; 0 for nothing of it.
    ///
    /// # Errors
    /// `Io` or `Corrupt` of the index.
    pub fn seen(&self, store: StoreId) -> Result<u64> {
        self.core().pipeline.number_of(Peer::Store(store))
    }

    /// [`Store::seen`] of every store of which something is here, by id.
    ///
    /// # Errors
    /// As [`Store::seen`].
    pub fn seen_stores(&self) -> Result<Vec<(StoreId, u64)>> {
        let all = self.core().pipeline.numbers()?.into_iter();
        Ok(all
            .filter_map(|(peer, number)| if let Peer::Store(id) = peer { Some((id, number)) } else { None })
            .collect())
    }

    /// The stores whose log this one's was copied from, with the last position of each, ascending: a batch without a note
    /// was decided by the first of them that reaches its position, or, above all of them, by this store.
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

    /// Up to which position another store's batches had been seen when that was forgotten
    /// ([`crate::event::SourceForgotten`]): they may come a second time. 0 where nothing was.
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

    /// Rewinds a run to a step, as after a crash that is resumed from a checkpoint: points with a greater step are
    /// hidden from all answers, and what is logged next continues the rest as one curve. The dead branch stays
    /// readable ([`Snapshot::branches`]). Handles of the run log to the new branch.
    ///
    /// # Errors
    /// `NotFound`, `Deleted`, `Purged` for the run; `Corrupt` if points that are needed are damaged; `StorageFull`,
    /// `Poisoned`, `Closed`. The run is as it was then.
    pub fn rewind(&self, run: RunId, to_step: i64, actor: Option<&str>) -> Result<Rewound> {
        self.rewind_as(run, to_step, Batch::new().actor(actor.unwrap_or_default()))
    }

    /// As [`Store::rewind`], in a batch that says who does it, and of which store it is.
    ///
    /// # Errors
    /// As [`Store::rewind`], and `Conflict` as [`Batch::of_store`].
    pub fn rewind_as(&self, run: RunId, to_step: i64, batch: Batch) -> Result<Rewound> {
        // What was acknowledged before belongs to the branch that ends now.
        self.merge_inboxes()?;
        self.core().rewind(run, to_step, batch)
    }

    /// A consistent view of everything published.
    ///
    /// # Errors
    /// `Io` if the index cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.check_open()?;
        Snapshot::take(self.core())
    }

    /// Every batch from a position on: catch up, then follow. Also those whose points are in series files only.
    ///
    /// # Errors
    /// `Invalid` if the position is no longer kept.
    pub fn tail(&self, from: Lsn) -> Result<Tail> {
        Ok(Tail::new(self.core().clone(), from))
    }

    /// Makes everything appended so far durable. The durable position.
    ///
    /// # Errors
    /// `Io` if the sync fails (the store is then poisoned), `Poisoned`.
    pub fn flush(&self) -> Result<Lsn> {
        self.check_writable()?;
        self.core().pipeline.sync()
    }

    /// Applies everything durable to the index. The position applied up to.
    ///
    /// # Errors
    /// `Io`, `StorageFull`: nothing is lost, the log has it.
    pub fn checkpoint(&self) -> Result<Lsn> {
        self.check_open()?;
        self.core().checkpoint()
    }

    /// Puts all durable points into compressed series files. The position sealed up to.
    ///
    /// # Errors
    /// `Io`, `StorageFull`: nothing is lost, the log has it.
    pub fn seal(&self) -> Result<Lsn> {
        self.check_open()?;
        self.core().seal()
    }

    /// Brings the store into its final, smallest form: points sealed and merged, raw frames released, purged runs gone.
    ///
    /// # Errors
    /// `Io`, `StorageFull`; the store is then as it was before.
    pub fn compact(&self, options: &CompactOptions) -> Result<CompactReport> {
        self.check_writable()?;
        self.core().compact(options)
    }

    /// Reads everything, replays it, and compares the index with what it should be; damage is no error, it stands in
    /// the report.
    ///
    /// # Errors
    /// `Io` if a file cannot be read at all.
    pub fn verify(&self, options: &VerifyOptions) -> Result<VerifyReport> {
        crate::verify::verify(self.core(), options)
    }

    /// A step of the log's own upkeep: prepares and finishes segments. Only needed without background threads.
    ///
    /// # Errors
    /// `Io`, `StorageFull`.
    pub fn maintain(&self) -> Result<()> {
        self.check_writable()?;
        self.core().pipeline.log.maintain()
    }

    /// Merges inboxes, syncs, checkpoints and marks the log as closed: the next open has nothing to do, and nothing of
    /// writers that have ended is left. Other clones of this handle answer [`Error::Closed`] from now on.
    ///
    /// # Errors
    /// `StorageFull` if the disk has no room for the end of the log or for the index: everything acknowledged is durable,
    /// and the next open does what is left. `Poisoned` or `Io` if the last sync fails; what was durable stays so.
    pub fn close(self) -> Result<()> {
        self.check_open()?;
        let core = self.core().clone();
        if let Some(background) = self.inner.background.lock().take() {
            background.stop();
        }
        if core.read_only {
            return Ok(());
        }
        // What fails here is in the inboxes still; a failed log is told by what follows.
        let _merged = core.empty_inboxes();
        let Some(tail) = core.pipeline.take_tail() else { return Err(Error::Closed) };
        self.inner.closed.store(true, Ordering::Relaxed);
        // However it ends: clones of this handle answer `Closed`, so the store is free for others.
        let lock = self.inner.lock.lock().take();
        let finish = || -> Result<()> {
            core.pipeline.log.close(tail, core.pipeline.clock.now())?;
            // The index vouches for everything, the close frame included.
            core.pipeline.set_published(core.pipeline.log.published());
            core.checkpoint()?;
            // Everything is durable and in the index; what this leaves undone the next open does without.
            let _saved = core.save_searches(true);
            Ok(())
        };
        let finished = match (finish(), core.pipeline.log.poisoned()) {
            // The sync itself found no room: what was only acknowledged may be gone.
            (Err(error), Some(cause)) if error.is_full() => Err(Error::Poisoned { cause }),
            (finished, _) => finished,
        };
        // Snapshots and handles may live on: none of them may write the index once another process has the store.
        let released = self.release_index();
        drop(lock);
        finished.and(released)
    }
}

#[cfg(test)]
mod tests;
