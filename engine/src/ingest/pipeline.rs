//! The way of a write: prepared outside any lock, placed under the sequencer, published, acknowledged.
//!
//! ```text
//! caller's thread                                   sequencer (one mutex, no I/O)          background
//! validate against newest state  ┐
//! group points, encode, crc      ┘ Prepared ──────► still valid? place ► publish ► unlock
//!                                                   (Buffered: copied into the map)        fdatasync in 100 ms or 8 MiB
//!                                                   (Sync: group_commit gathers, one fdatasync for all)
//! ```
//!
//! Invariants: a batch is visible (`published`) only after its frame is in the log, in the order of positions, and
//! never later than it is acknowledged; what a batch was validated against is checked again under the sequencer, and
//! if any of it changed the batch is prepared anew; lock order is sequencer, then one run's lock at a time.

use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
use rustc_hash::FxHashMap;

use super::base::{Newest, Reads};
use super::batch::{Batch, BatchMetric, Durability, MetricKey, Receipt};
use super::encode::{Encoder, KEYS_PER_BATCH_MAX, KeyedPoint, Late, Planned, check_time};
use super::group_commit::GroupCommit;
use super::late::{Given, Looked, Past};
use super::prepared::{Changes, OwnedDefinition, Prepared, PreparedRow, Refused, RunPoints};
use super::signal::Signal;
use super::validate::validate;
use crate::branch::kept_key;
use crate::entity::{EntityKey, EntityState, ExperimentState, Lifecycle, RunState, Working, apply, touches};
use crate::error::{Error, Result};
use crate::event::batch::{SectionKind, put_definition, put_section};
use crate::event::{Event, RunRewound, payload};
use crate::hot::SectionSource;
use crate::hot::dictionary::Dictionary;
use crate::hot::entities::{HotEntities, KeyUse};
use crate::hot::points::wide::RowPlace;
use crate::hot::points::{Gate, HotRuns, RunHot, RunSeries, SectionRef};
use crate::hot::writers::HotWriters;
use crate::id::{ContextId, ExperimentId, KeyId, Lsn, Peer, RunId, WriterId};
use crate::index::IndexRead;
use crate::log::{FrameBuf, Log, LogTail, Placed, Segment};
use crate::point::Stats;
use crate::time::{Clock, TimestampMs};

/// Not synced bytes at which a sync is asked for.
const SYNC_AT_BYTES: u64 = 8 << 20;
/// Not synced bytes at which `Buffered` appends wait.
const WAIT_AT_BYTES: u64 = 64 << 20;
/// Rows of at least so many bytes are slowed down before appends must wait: such a writer outruns sealing for long.
const SLOW_ROW_BYTES: usize = 64 << 10;
/// How much, a byte, where appends would soon wait: some more than sealing takes for the 4 bytes of a point.
const SLOW_ROW_NS: f64 = 25.0;
/// How long at most.
const SLOW_ROW_AT_MOST: Duration = Duration::from_millis(25);
/// A row that makes hot memory grow by at least so many bytes, by new series above all, is followed by a pause while
/// memory is being sealed.
const GROWN_BYTES: usize = 16 << 10;
/// How long, a byte, where appends would soon wait: some more than sealing takes for a new series of 340 B.
const GROWN_NS: f64 = 80.0;
/// How long at most.
const GROWN_AT_MOST: Duration = Duration::from_millis(30);
/// How often a waiting append looks again by itself.
const ROOM_CHECK_EVERY: Duration = Duration::from_millis(20);
/// Metric keys are at most this long; the api allows less.
const METRIC_KEY_BYTES_MAX: usize = 64 << 10;
/// Idempotency keys are at most this long.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 64;

impl SectionSource for Segment {
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        Segment::read(self, offset, out)
    }
}

/// Everything that appends go through.
#[derive(Debug)]
pub(crate) struct Pipeline {
    /// No other one of this process has it, or had it.
    pub(crate) number: u64,
    pub(crate) log: Arc<Log>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) newest: Newest,
    pub(crate) runs: HotRuns,
    pub(crate) dictionary: Arc<Dictionary>,
    tail: Mutex<Option<LogTail>>,
    published: AtomicU64,
    /// Hot entity versions at most this are gone.
    pruned: AtomicU64,
    /// How far other writers' logs are in this one, above the index.
    pub(crate) writers: HotWriters,
    /// Runs purged in this life: their points are hidden before index and files let go of them.
    purged: RwLock<FxHashMap<RunId, Lsn>>,
    /// Where late points are looked up; given once, when the store is put together.
    pub(crate) past: OnceLock<Box<dyn Past>>,
    group: GroupCommit,
    /// A sync is wanted.
    pub(crate) sync_wanted: Signal,
    /// The log wants its next segment prepared, or old ones finished.
    pub(crate) upkeep_wanted: Signal,
    /// Memory or log ask for sealing.
    pub(crate) seal_wanted: Signal,
    /// Inboxes are to be merged now.
    pub(crate) merge_wanted: Signal,
    durable_lock: Mutex<()>,
    durable_moved: Condvar,
    /// Threads work in the background: appends may wait for them.
    background: bool,
    memory_bytes: u64,
    /// Why the last checkpoint or seal failed, if it did.
    /// What appends are told while memory is full.
    upkeep_failure: Mutex<Option<Error>>,
    /// The store is being closed: nobody makes room any more.
    closing: AtomicBool,
}

fn fnv(bytes: &[u8]) -> u64 {
    // FNV-1a: stored, so it must stay what it is.
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Where a placed frame has the values of its row.
fn row_place(segment: &Arc<Segment>, offset_bytes: u64, (offset, narrow): (u64, bool)) -> RowPlace {
    RowPlace { source: segment.clone(), values_offset: offset_bytes + offset, narrow }
}

/// What every metric key must be.
pub(crate) fn check_metric_key(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid("metric key", "it is empty"));
    }
    if name.len() > METRIC_KEY_BYTES_MAX {
        let why = format!("{} bytes long; at most {METRIC_KEY_BYTES_MAX} are kept", name.len());
        return Err(Error::invalid("metric key", why));
    }
    if name.contains('\0') {
        return Err(Error::invalid("metric key", "it holds a NUL character"));
    }
    Ok(())
}

/// A gate as merged points see it: they were acknowledged while the run was active, so they are kept with it.
fn check_gate_merged(run: &RunHot, branch: u32) -> Result<(), Refused> {
    match run.gate() {
        Gate::Active | Gate::Deleted if run.branch() != Some(branch) => Err(Refused::Stale),
        Gate::Active | Gate::Deleted => Ok(()),
        // Purged since it was looked at.
        Gate::Purged | Gate::Absent => Err(Refused::Stale),
    }
}

/// Whether points that were encoded for a branch of a run may be appended now.
fn check_gate(run: &RunHot, branch: u32) -> Result<(), Refused> {
    match run.gate() {
        // Rewound meanwhile, or just being so: to be encoded for the branch that is live then.
        Gate::Active if run.branch() != Some(branch) => Err(Refused::Stale),
        Gate::Active => Ok(()),
        Gate::Deleted => Err(Error::Deleted { entity: "run", id: run.id.to_string() }.into()),
        Gate::Purged => Err(Error::Purged { run: run.id.to_string() }.into()),
        Gate::Absent => Err(Error::NotFound { entity: "run", id: run.id.to_string() }.into()),
    }
}

/// Whether late points of a run lie behind the last ones of their series, so that none can be there already.
fn are_new(series: &RunSeries, planned: &Planned, branch: u32) -> bool {
    planned.series.iter().all(|section| match section.late {
        Late::No => true,
        Late::Mixed => false,
        // What a branch continues is in other series.
        Late::Rising => {
            let Stats { first_step, first_time_ms, .. } = section.stats;
            let last = series.newest_stats(section.key).map(|stats| (stats.last_step, stats.last_time_ms));
            branch == 0 && last.is_none_or(|last| (first_step, first_time_ms) > last)
        }
    })
}

/// Takes out the points at these rising places.
pub(crate) fn leave_out(points: &mut Vec<KeyedPoint>, places: &[usize]) {
    let (mut places, mut at) = (places.iter().peekable(), 0);
    if places.peek().is_some() {
        points.retain(|_| {
            at += 1;
            places.next_if(|place| **place + 1 == at).is_none()
        });
    }
}

/// How long an append waits before it asks again whether a run's rewind is done.
const HELD_CHECK_EVERY: Duration = Duration::from_micros(200);

/// The branch that points of a run are to be encoded for; waits while the run is being rewound.
#[inline]
pub(crate) fn branch_to_log(run: &RunHot) -> u32 {
    loop {
        if let Some(branch) = run.branch() {
            return branch;
        }
        std::thread::sleep(HELD_CHECK_EVERY);
    }
}

fn gate_of(run: &RunState, experiment: &ExperimentState) -> Gate {
    match run.lifecycle_in(experiment) {
        Lifecycle::Active => Gate::Active,
        Lifecycle::Deleted => Gate::Deleted,
        Lifecycle::Purged => Gate::Purged,
    }
}

/// What the pipeline is made of, besides what it makes itself.
pub(crate) struct Parts {
    pub(crate) log: Arc<Log>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) index: IndexRead,
    pub(crate) published: Lsn,
    pub(crate) background: bool,
    pub(crate) memory_bytes: u64,
}

impl Pipeline {
    pub(crate) fn new(parts: Parts) -> Self {
        let hot = Arc::new(HotEntities::default());
        let pruned = parts.index.applied();
        static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);
        Self {
            number: NEXT_NUMBER.fetch_add(1, Ordering::Relaxed),
            log: parts.log,
            clock: parts.clock,
            newest: Newest::new(hot, parts.index),
            runs: HotRuns::default(),
            dictionary: Arc::default(),
            tail: Mutex::default(),
            published: AtomicU64::new(parts.published.0),
            pruned: AtomicU64::new(pruned.0),
            writers: HotWriters::default(),
            purged: RwLock::default(),
            past: OnceLock::new(),
            group: GroupCommit::default(),
            sync_wanted: Signal::default(),
            upkeep_wanted: Signal::default(),
            seal_wanted: Signal::default(),
            merge_wanted: Signal::default(),
            durable_lock: Mutex::default(),
            durable_moved: Condvar::default(),
            background: parts.background,
            memory_bytes: parts.memory_bytes,
            upkeep_failure: Mutex::default(),
            closing: AtomicBool::new(false),
        }
    }

    /// The last position that readers see.
    pub(crate) fn published(&self) -> Lsn {
        Lsn(self.published.load(Ordering::Acquire))
    }

    /// What the background may work on: durable, and whole in hot state.
    pub(crate) fn settled(&self) -> Lsn {
        // In this order: a batch that a sync covers may still be on its way to hot state.
        let durable = self.log.durable();
        durable.min(self.published())
    }

    /// The sequencer. Whoever holds it stops all appends: microseconds only.
    pub(crate) fn sequencer(&self) -> MutexGuard<'_, Option<LogTail>> {
        self.tail.lock()
    }

    /// Gives it the appender; before, every append answers `Closed`.
    pub(crate) fn put_tail(&self, tail: Option<LogTail>) {
        *self.tail.lock() = tail;
    }

    /// Takes the appender away: every later append answers `Closed`.
    pub(crate) fn take_tail(&self) -> Option<LogTail> {
        self.tail.lock().take()
    }

    /// After a replay: what was read is visible.
    pub(crate) fn set_published(&self, lsn: Lsn) {
        self.published.store(lsn.0, Ordering::Release);
    }

    /// After a replay: opens or closes the gate of a run by the newest state.
    pub(crate) fn refresh_gate(&self, run: &RunHot) -> Result<()> {
        let gate = match self.run_and_experiment(run.id)? {
            Some((state, experiment)) => {
                run.refresh_branch(state.branch());
                gate_of(&state, &experiment)
            }
            None => Gate::Absent,
        };
        run.set_gate(gate);
        Ok(())
    }

    /// Whether a run was purged, as seen from a position.
    pub(crate) fn is_purged(&self, run: RunId, at: Lsn) -> bool {
        self.purged_at(run).is_some_and(|purged| purged <= at)
    }

    /// Where a run was purged in this life.
    pub(crate) fn purged_at(&self, run: RunId) -> Option<Lsn> {
        self.purged.read().get(&run).copied()
    }

    /// Notes a purge.
    pub(crate) fn note_purged(&self, run: RunId, at: Lsn) {
        self.purged.write().insert(run, at);
    }

    /// Hot entities at most `up_to` may go: the index has them, and no snapshot stands below.
    pub(crate) fn prune(&self, up_to: Lsn) {
        self.pruned.store(up_to.0, Ordering::Release);
        self.newest.hot.prune(up_to);
        self.writers.prune(up_to);
    }

    // ---- appends -------------------------------------------------------------------------------------------------

    /// Appends a batch of events and points.
    pub(crate) fn append(&self, batch: &Batch, durability: Durability) -> Result<Receipt> {
        self.append_as(durability, |look_up| self.prepare(batch, look_up))
    }

    /// Whether a batch could be appended now.
    pub(crate) fn would_take(&self, batch: &Batch) -> Result<()> {
        match self.prepare(batch, None) {
            Err(Refused::Failed(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Appends the rewind of a run that is held.
    pub(crate) fn append_rewind(&self, batch: &Batch, durability: Durability) -> Result<Receipt> {
        self.append_as(durability, |look_up| self.prepare_any(batch, look_up))
    }

    fn append_as(
        &self,
        durability: Durability,
        prepare: impl Fn(Option<u32>) -> Result<Box<Prepared>, Refused>,
    ) -> Result<Receipt> {
        // Whether late points are looked up, and how often they were.
        let mut look_up = None;
        loop {
            match prepare(look_up).and_then(|prepared| self.commit(prepared, durability)) {
                Ok(lsn) => return Ok(Receipt { lsn, repeated: false }),
                Err(Refused::Stale) => look_up = look_up.map(|tries: u32| tries.saturating_add(1)),
                Err(Refused::LookUp) => look_up = Some(0),
                Err(Refused::Bases(run, keys)) => self.read_bases(&run, &keys)?,
                Err(Refused::Repeated(lsn)) => return self.repeated(lsn, durability),
                Err(Refused::There(lsn)) => {
                    return Ok(Receipt { repeated: false, ..self.repeated(lsn, durability)? });
                }
                Err(Refused::Failed(error)) => return Err(error),
            }
        }
    }

    /// The answer to a retry: it is as durable as asked for.
    fn repeated(&self, lsn: Lsn, durability: Durability) -> Result<Receipt> {
        if durability == Durability::Sync && self.log.durable() < lsn {
            self.sync()?;
        }
        Ok(Receipt { lsn, repeated: true })
    }

    /// Commits what was prepared.
    pub(crate) fn commit(&self, mut prepared: Box<Prepared>, durability: Durability) -> Result<Lsn, Refused> {
        match durability {
            Durability::Sync => self.group.submit(self, prepared),
            Durability::Buffered => self.commit_buffered(&mut prepared),
        }
    }

    /// Commits what was prepared, `Buffered`. After a refusal it is as it was.
    pub(crate) fn commit_buffered(&self, prepared: &mut Prepared) -> Result<Lsn, Refused> {
        self.wait_for_room()?;
        self.commit_now(prepared)
    }

    /// As [`Pipeline::commit_buffered`], without waiting for room: for callers that hold what others need, who ask
    /// [`Pipeline::has_room`] and wait when they hold nothing.
    pub(crate) fn commit_now(&self, prepared: &mut Prepared) -> Result<Lsn, Refused> {
        let mut guard = self.sequencer();
        let tail = guard.as_mut().ok_or(Refused::Failed(Error::Closed))?;
        let now = self.clock.now();
        let changes = self.check(tail.begin(now)?, prepared)?;
        let placed = tail.place(&mut prepared.frame, now)?;
        self.publish(&placed, prepared, changes)?;
        drop(guard);
        self.after_append();
        Ok(placed.lsn)
    }

    /// Reads, without a lock, what the index knows of series that are to be appended to.
    pub(crate) fn read_bases(&self, run: &Arc<RunHot>, keys: &[KeyId]) -> Result<()> {
        let base = |key| self.newest.stats(crate::id::SeriesId { run: run.id, key });
        run.insert_bases(keys, base, self.runs.bytes_counter())
    }

    /// Estimated bytes of hot points and hot entities. A quarter of the budget asks for a seal.
    #[inline]
    pub(crate) fn hot_bytes(&self) -> u64 {
        (self.runs.bytes() + self.newest.hot.bytes()) as u64
    }

    /// Waits while too much is not synced, or half of the memory budget is hot state (the rest is for sealing it and
    /// for caches); only where somebody works on it. Never called under a lock that reads need.
    ///
    /// # Errors
    /// `StorageFull`, `Poisoned` if memory is full, and what would free it fails; `Closed` if the store is closed
    /// meanwhile.
    #[inline]
    pub(crate) fn wait_for_room(&self) -> Result<()> {
        if !self.is_below_limits() {
            self.wait_for_room_slowly()?;
        }
        Ok(())
    }

    #[inline]
    fn is_below_limits(&self) -> bool {
        self.log.unsynced_bytes() < WAIT_AT_BYTES && self.hot_bytes() < self.memory_bytes / 2
    }

    /// Whether [`Pipeline::wait_for_room`] would return at once, without an error. A poisoned log has room: the append
    /// answers what poisoned it.
    pub(crate) fn has_room(&self) -> bool {
        self.is_below_limits() || !self.background || self.log.poisoned().is_some()
    }

    /// Above three eighths of the memory budget a large row is held up the longer, the nearer half of it is: many short
    /// pauses, not one that lasts as long as a seal.
    #[inline]
    fn slow_down(&self, row_bytes: usize) {
        if row_bytes >= SLOW_ROW_BYTES && self.background {
            let eighth = (self.memory_bytes / 8).max(1);
            let over = self.hot_bytes().saturating_sub(3 * eighth) as f64 / eighth as f64;
            if over > 0.0 {
                self.seal_wanted.raise();
                let pause = Duration::from_nanos((row_bytes as f64 * SLOW_ROW_NS * over) as u64);
                std::thread::sleep(pause.min(SLOW_ROW_AT_MOST));
            }
        }
    }

    /// As [`Pipeline::slow_down`], for rows that make memory grow, whatever their own size: runs of many new series. From a
    /// quarter of the budget on, where sealing begins, so that it ends before appends must wait for it.
    #[inline]
    fn pause_after_growth(&self, grown: usize) {
        if grown >= GROWN_BYTES && self.background {
            let quarter = (self.memory_bytes / 4).max(1);
            let over = self.hot_bytes().saturating_sub(quarter) as f64 / quarter as f64;
            if over > 0.0 {
                let pause = Duration::from_nanos((grown as f64 * GROWN_NS * over) as u64);
                std::thread::sleep(pause.min(GROWN_AT_MOST));
            }
        }
    }

    #[cold]
    fn wait_for_room_slowly(&self) -> Result<()> {
        if !self.background {
            return Ok(());
        }
        let mut guard = self.durable_lock.lock();
        while self.log.poisoned().is_none() {
            if self.closing.load(Ordering::Acquire) {
                return Err(Error::Closed);
            }
            let memory_full = self.hot_bytes() >= self.memory_bytes / 2;
            if memory_full {
                if let Some(cause) = self.upkeep_failure.lock().clone() {
                    return Err(cause);
                }
                self.seal_wanted.raise();
            } else if self.log.unsynced_bytes() >= WAIT_AT_BYTES {
                self.sync_wanted.raise();
            } else {
                break;
            }
            self.durable_moved.wait_for(&mut guard, ROOM_CHECK_EVERY);
        }
        Ok(())
    }

    /// The last checkpoint or seal failed; it will be tried again. Appends go on while memory has room, and are then
    /// told this error.
    pub(crate) fn upkeep_failed(&self, cause: Error) {
        *self.upkeep_failure.lock() = Some(cause);
        self.room_made();
    }

    /// Ends all waits for room, now and later: those who would make it are being stopped.
    pub(crate) fn end_waits(&self) {
        self.closing.store(true, Ordering::Release);
        self.room_made();
    }

    /// Checkpoints and seals succeed again.
    pub(crate) fn upkeep_works(&self) {
        *self.upkeep_failure.lock() = None;
    }

    /// Wakes whoever must work after an append. Cheap: a few loads.
    #[inline]
    pub(crate) fn after_append(&self) {
        if self.log.unsynced_bytes() >= SYNC_AT_BYTES {
            self.sync_wanted.remind();
        }
        if self.log.wants_maintenance() {
            self.upkeep_wanted.remind();
        }
        // Entities are seen in time without: they are small, or few.
        if self.runs.bytes() as u64 >= self.memory_bytes / 4 {
            self.seal_wanted.remind();
        }
    }

    /// Makes everything that is appended durable.
    pub(crate) fn sync(&self) -> Result<Lsn> {
        let durable = self.log.sync();
        let _guard = self.durable_lock.lock();
        self.durable_moved.notify_all();
        durable
    }

    /// The log is idle and synced: a mark says so, if there is none yet, and vouches for the frames before it.
    pub(crate) fn mark_idle(&self) {
        if let Some(tail) = self.sequencer().as_mut() {
            // No promise hangs on it: a failure has poisoned the log, and a full disk is met by the next append.
            let _marked = tail.mark_idle(self.clock.now());
        }
    }

    /// Wakes appends that wait for room.
    pub(crate) fn room_made(&self) {
        let _guard = self.durable_lock.lock();
        self.durable_moved.notify_all();
    }

    // ---- outside the sequencer -----------------------------------------------------------------------------------

    /// Validates and encodes. `look_up`: late points are looked up, after so many tries.
    fn prepare(&self, batch: &Batch, look_up: Option<u32>) -> Result<Box<Prepared>, Refused> {
        if batch.is_empty() && batch.origin.merged.is_none() && batch.origin.store.is_none() {
            return Err(Error::invalid("batch", "it is empty; append at least one event or point").into());
        }
        if batch.events.iter().any(|event| matches!(event, Event::RunRewound(_))) {
            // Its statistics are true only while the run is held: see `crate::rewind`.
            return Err(Error::invalid("batch", "a run is rewound by `Store::rewind`, not by an event").into());
        }
        self.prepare_any(batch, look_up)
    }

    fn prepare_any(&self, batch: &Batch, look_up: Option<u32>) -> Result<Box<Prepared>, Refused> {
        let read_at = self.published();
        let mut prepared = Box::new(Prepared { read_at, ..Prepared::default() });
        let mut body = Vec::new();
        for event in &batch.events {
            put_event(&mut body, event)?;
        }
        let mut origin = batch.origin.clone();
        if !origin.key.is_empty() {
            if origin.key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
                let why = format!("{} bytes; at most {IDEMPOTENCY_KEY_BYTES_MAX} are kept", origin.key.len());
                return Err(Error::invalid("idempotency key", why).into());
            }
            if !batch.hash_given {
                origin.request_hash = fnv(&body) ^ hash_metrics(&batch.metrics);
            }
            if let Some(lsn) = self.find_key(&origin.key, origin.request_hash)? {
                return Err(Refused::Repeated(lsn));
            }
            prepared.key = Some((origin.key.clone(), origin.request_hash));
        }

        prepared.acknowledged = batch.acknowledged;
        if let Some(merged) = origin.merged {
            let last = self.load_writer(Peer::Writer(merged.writer))?;
            if last.checked_add(1) != Some(merged.first) {
                let what = format!("the log of writer {}", merged.writer);
                let expected = merged.first.wrapping_sub(1);
                return Err(Error::Conflict { what, expected, actual: last }.into());
            }
            prepared.merged = Some(merged);
        }
        if let Some(note) = &origin.store {
            if !note.is_plausible() {
                let what = format!("position of store {}", note.store);
                return Err(Error::invalid(what, format!("{} is none that a store has", note.last)).into());
            }
            let seen = self.load_writer(Peer::Store(note.store))?;
            if note.first <= seen {
                let what = format!("what is seen of store {}", note.store);
                return Err(Error::Conflict { what, expected: note.first.wrapping_sub(1), actual: seen }.into());
            }
            prepared.store = Some(note.clone());
        }

        // Validate on the states as they will be one event after the other.
        let reads = Reads::new(&self.newest);
        let mut working = Working::new(&reads);
        for event in &batch.events {
            if let Err(refused) = validate(event, batch.acknowledged, &mut working) {
                // What was decided on an older state may be refused on the newer one; its maker is to decide again.
                self.check_expected(&batch.expect)?;
                return Err(refused.into());
            }
            apply(event, read_at.next(), &mut working)?;
        }
        let mut runs: Vec<Arc<RunHot>> = Vec::new();
        let mut run_of: FxHashMap<RunId, usize> = FxHashMap::default();
        for metric in &batch.metrics {
            if let Entry::Vacant(slot) = run_of.entry(metric.run) {
                slot.insert(runs.len());
                runs.push(self.run_for(metric.run, &mut working)?);
            }
        }
        drop(working);

        let sections = self.encode_metrics(batch, &runs, &run_of, look_up, &mut prepared)?;
        if prepared.points.is_empty() && !batch.metrics.is_empty() && batch.is_nothing_without_points() {
            // All points are there; but a run that takes none refuses these as well.
            for run in &runs {
                let branch = branch_to_log(run);
                if batch.acknowledged { check_gate_merged(run, branch)? } else { check_gate(run, branch)? }
            }
            return Err(Refused::There(self.published()));
        }
        self.define_kept(batch, &mut prepared)?;
        let bytes = prepared.frame.payload_mut();
        origin.put(bytes);
        if !prepared.definitions.is_empty() {
            put_section(bytes, SectionKind::Dictionary, |out| {
                prepared.definitions.iter().for_each(|definition| put_definition(out, &definition.get()));
                0
            });
        }
        bytes.extend_from_slice(&body);
        let shift = bytes.len() as u64;
        bytes.extend_from_slice(&sections);
        for planned in prepared.points.iter_mut().flat_map(|points| &mut points.planned.series) {
            planned.offset += shift;
        }
        prepared.frame.seal()?;
        prepared.seen = reads.into_seen();
        prepared.events.clone_from(&batch.events);
        prepared.expect_head = batch.expect_head;
        prepared.expect.clone_from(&batch.expect);
        Ok(prepared)
    }

    /// The keys of what a new branch continues; one even if that is nothing, as the mark of a store with branches.
    fn define_kept(&self, batch: &Batch, prepared: &mut Prepared) -> Result<()> {
        for event in &batch.events {
            let Event::RunRewound(rewound) = event else { continue };
            let mut keys = Vec::with_capacity(2 * rewound.kept.len() + 1);
            for kept in &rewound.kept {
                keys.push(self.metric_key(&kept.key)?);
                keys.push(self.dictionary.key(&kept_key(&kept.key, rewound.branch)));
            }
            keys.push(self.dictionary.key(&kept_key("", rewound.branch)));
            keys.sort_unstable();
            let definitions = &mut prepared.definitions;
            self.dictionary.unpublished(keys.into_iter(), std::iter::empty(), |definition| {
                definitions.push(OwnedDefinition::of(&definition));
            });
        }
        Ok(())
    }

    /// Whether the last changes of entities are where a batch expects them.
    fn check_expected(&self, expect: &[(EntityKey, Lsn)]) -> Result<()> {
        for (key, expected) in expect {
            let actual = self.newest.get(key)?.map_or(Lsn::ZERO, |state| state.last());
            if actual != *expected {
                let what = format!("{key:?}");
                return Err(Error::Conflict { what, expected: expected.0, actual: actual.0 });
            }
        }
        Ok(())
    }

    /// Encodes the points of a batch, run by run and context by context.
    fn encode_metrics(
        &self,
        batch: &Batch,
        runs: &[Arc<RunHot>],
        run_of: &FxHashMap<RunId, usize>,
        look_up: Option<u32>,
        prepared: &mut Prepared,
    ) -> Result<Vec<u8>, Refused> {
        let mut sections = Vec::new();
        if batch.metrics.is_empty() {
            return Ok(sections);
        }
        // (run, context) in the order of their first point, with the points in the order of logging.
        let mut groups: Vec<(usize, ContextId, Vec<KeyedPoint>)> = Vec::new();
        let mut group_of: FxHashMap<(usize, ContextId), usize> = FxHashMap::default();
        let mut keys: Vec<KeyId> = Vec::new();
        let mut contexts: Vec<ContextId> = Vec::new();
        // Metrics of which a branch has a key: defined with it.
        let mut metrics: Vec<KeyId> = Vec::new();
        let branches: Vec<u32> = runs.iter().map(|run| branch_to_log(run)).collect();
        let mut reserved = self.dictionary.reserve();
        for (index, metric) in batch.metrics.iter().enumerate() {
            check_time(index, metric.point.time)?;
            let key = match &metric.key {
                MetricKey::Name(name) => {
                    check_metric_key(name)?;
                    reserved.key(name)
                }
                MetricKey::Id(id) => *id,
            };
            let context = metric.context.as_ref().map_or(ContextId(0), |context| reserved.context(context));
            let run = run_of.get(&metric.run).copied().unwrap_or_default();
            let key = if branches[run] == 0 {
                key
            } else {
                metrics.push(key);
                self.own_key(key, branches[run])?
            };
            let group = *group_of.entry((run, context)).or_insert_with(|| {
                groups.push((run, context, Vec::new()));
                contexts.push(context);
                groups.len() - 1
            });
            groups[group].2.push(KeyedPoint { key, point: metric.point });
            keys.push(key);
        }
        keys.sort_unstable();
        keys.dedup();
        if keys.len() > KEYS_PER_BATCH_MAX {
            let why = format!("{} metric keys; at most {KEYS_PER_BATCH_MAX} fit one batch: split it", keys.len());
            return Err(Error::invalid("batch", why).into());
        }
        let late_before = batch.looks_up().late_before(self.clock.now());
        if let Some(tries) = look_up {
            let mut looked = Looked::new(self, tries);
            for (run, context, points) in &mut groups {
                let (run, branch) = (&runs[*run], branches[*run]);
                let given = Given { run, branch, context: *context, points };
                let there = self.look_up(&given, |_, point| point.point.time < late_before, &mut looked)?;
                leave_out(points, &there);
            }
            groups.retain(|(.., points)| !points.is_empty());
            prepared.looked = Some(looked);
        }
        keys.append(&mut metrics);
        keys.sort_unstable();
        keys.dedup();
        contexts.sort_unstable();
        contexts.dedup();
        let definitions = &mut prepared.definitions;
        let known = self.dictionary.unpublished(keys.into_iter(), contexts.into_iter(), |definition| {
            definitions.push(OwnedDefinition::of(&definition));
        });
        if !known {
            return Err(Error::invalid("metric key", "its number is not one of this store").into());
        }
        let mut encoder = Encoder::default();
        for (run, context, points) in groups {
            let mut planned = Planned { context, ..Planned::default() };
            let (run, branch) = (runs[run].clone(), branches[run]);
            encoder.encode_at(run.id, &points, late_before, &mut sections, &mut planned)?;
            if look_up.is_none() && planned.series.iter().any(|series| series.late == Late::Mixed) {
                return Err(Refused::LookUp);
            }
            prepared.points.push(RunPoints { run, branch, planned });
        }
        prepared.reserved = Some(reserved);
        Ok(sections)
    }

    /// The key under which a branch has its points of a metric.
    pub(crate) fn own_key(&self, metric: KeyId, branch: u32) -> Result<KeyId> {
        let unknown = || Error::invalid("metric key", "its number is not one of this store");
        self.dictionary.own_key(metric, branch).ok_or_else(unknown)
    }

    /// The number of a metric key; checked.
    pub(crate) fn metric_key(&self, name: &str) -> Result<KeyId> {
        if let Some(id) = self.dictionary.find_key(name) {
            return Ok(id);
        }
        check_metric_key(name)?;
        Ok(self.dictionary.key(name))
    }

    /// A run to log points to, as it will be when the batch's own events are applied.
    fn run_for(&self, id: RunId, working: &mut Working<'_>) -> Result<Arc<RunHot>> {
        let experiment = working.run(id)?.map(|run| run.experiment);
        let Some(experiment) = experiment else {
            return Err(Error::NotFound { entity: "run", id: id.to_string() });
        };
        let exists = self.newest.get(&EntityKey::Run(id))?.is_some();
        if exists {
            return self.load_run(id);
        }
        // Created by this batch: its gate opens when the batch is published.
        Ok(self.runs.get_or_insert(id, experiment, Gate::Absent, true))
    }

    /// A run that exists, with its gate as it stands now.
    pub(crate) fn load_run(&self, id: RunId) -> Result<Arc<RunHot>> {
        if let Some(run) = self.runs.get(id) {
            return Ok(run);
        }
        // Under the sequencer nothing changes: the gate is right when the run appears, and kept right from then on.
        let _guard = self.sequencer();
        let Some((run, experiment)) = self.run_and_experiment(id)? else {
            return Err(Error::NotFound { entity: "run", id: id.to_string() });
        };
        let hot = self.runs.get_or_insert(id, run.experiment, gate_of(&run, &experiment), false);
        hot.refresh_branch(run.branch());
        Ok(hot)
    }

    fn run_and_experiment(&self, id: RunId) -> Result<Option<(RunState, ExperimentState)>> {
        let Some(run) = self.newest.get(&EntityKey::Run(id))? else { return Ok(None) };
        let EntityState::Run(run) = &*run else { return Ok(None) };
        let experiment = self.newest.get(&EntityKey::Experiment(run.experiment))?;
        match experiment.as_deref() {
            Some(EntityState::Experiment(experiment)) => Ok(Some((run.clone(), experiment.clone()))),
            _ => Err(Error::Internal(format!("run {id} has no experiment {}", run.experiment))),
        }
    }

    /// Where an idempotency key is in the log; an error if it was used for something else.
    pub(crate) fn find_key(&self, key: &[u8], request_hash: u64) -> Result<Option<Lsn>> {
        let used = match self.newest.hot.key_use(key) {
            Some(used) => Some(used),
            None => self.newest.index().idempotency(key)?.map(|used| KeyUse {
                request_hash: used.request,
                lsn: used.lsn,
                time_ms: used.time.0,
            }),
        };
        match used {
            Some(used) if used.request_hash == request_hash => Ok(Some(used.lsn)),
            Some(used) => Err(Error::KeyReused { key: String::from_utf8_lossy(key).into_owned(), lsn: used.lsn.0 }),
            None => Ok(None),
        }
    }

    /// The last number of a writer's log that is in this one; 0 for none.
    pub(crate) fn applied_number(&self, writer: WriterId) -> Result<u64> {
        self.number_of(Peer::Writer(writer))
    }

    /// The last number of another log; 0 for none.
    pub(crate) fn number_of(&self, peer: Peer) -> Result<u64> {
        match self.writers.last(peer) {
            Some(number) => Ok(number),
            None => Ok(self.newest.index().writer(&peer.key())?.map_or(0, |(number, _)| number)),
        }
    }

    /// The last number of every other log, in the order of their ids.
    pub(crate) fn numbers(&self) -> Result<std::collections::BTreeMap<Peer, u64>> {
        // The index first: what goes from hot state meanwhile is in a newer one, and was here before.
        let hot = self.writers.newest();
        let mut all = std::collections::BTreeMap::new();
        for (peer, number) in self.newest.index().numbers()? {
            all.insert(peer, number);
        }
        all.extend(hot);
        Ok(all)
    }

    /// As [`Pipeline::number_of`], and keeps it in memory, where the sequencer looks.
    pub(crate) fn load_writer(&self, writer: Peer) -> Result<u64> {
        if let Some(number) = self.writers.last(writer) {
            return Ok(number);
        }
        let (number, lsn) = self.newest.index().writer(&writer.key())?.unwrap_or_default();
        self.writers.load(writer, lsn, number);
        Ok(self.writers.last(writer).unwrap_or(number))
    }

    // ---- under the sequencer ---------------------------------------------------------------------------------------

    /// Checks a prepared batch against the newest state, and says what it changes when it gets this position.
    pub(crate) fn check(&self, lsn: Lsn, prepared: &Prepared) -> Result<Changes, Refused> {
        let pruned = Lsn(self.pruned.load(Ordering::Acquire));
        if !prepared.seen.still_holds(&self.newest.hot, pruned, prepared.read_at) {
            return Err(Refused::Stale);
        }
        if let Some((key, hash)) = &prepared.key
            && let Some(used) = self.newest.hot.key_use(key)
        {
            return Err(if used.request_hash == *hash {
                Refused::Repeated(used.lsn)
            } else {
                Error::KeyReused { key: String::from_utf8_lossy(key).into_owned(), lsn: used.lsn.0 }.into()
            });
        }
        if let Some(expected) = prepared.expect_head {
            let actual = self.published();
            if expected != actual {
                return Err(Error::Conflict { what: "the log".into(), expected: expected.0, actual: actual.0 }.into());
            }
        }
        if let Some(merged) = &prepared.merged
            && self
                .writers
                .last(Peer::Writer(merged.writer))
                .is_none_or(|last| last.checked_add(1) != Some(merged.first))
        {
            // Merged by another thread since, or no longer in memory.
            return Err(Refused::Stale);
        }
        if let Some(note) = &prepared.store
            && self.writers.last(Peer::Store(note.store)).is_none_or(|seen| note.first <= seen)
        {
            return Err(Refused::Stale);
        }
        self.check_expected(&prepared.expect)?;
        let mut working = Working::new(&prepared.seen);
        let mut changes = Changes::default();
        for (index, event) in prepared.events.iter().enumerate() {
            apply(event, lsn, &mut working)?;
            changes.events.extend(touches(event).into_iter().map(|key| (key, index as u16)));
        }
        changes.entities = working.take_changed();
        drop(working);
        let created =
            |id: RunId| changes.entities.iter().any(|(key, _)| matches!(key, EntityKey::Run(run) if *run == id));
        for points in &prepared.points {
            // A run that this very batch creates is still absent.
            if !(points.run.gate() == Gate::Absent && created(points.run.id)) {
                match prepared.merged.is_some() || prepared.acknowledged {
                    true => check_gate_merged(&points.run, points.branch)?,
                    false => check_gate(&points.run, points.branch)?,
                }
            } else if !self.runs.get(points.run.id).is_some_and(|run| Arc::ptr_eq(&run, &points.run)) {
                // A batch that was to create it in another experiment came between.
                return Err(Refused::Stale);
            }
            let mut grown = 0;
            let mut series = points.run.lock();
            let missing: Vec<KeyId> = points
                .planned
                .series
                .iter()
                .filter_map(|planned| series.resolve(planned.key, &mut grown).err())
                .collect();
            let all_new = prepared.looked.is_some() || are_new(&series, &points.planned, points.branch);
            drop(series);
            self.runs.note_grown(grown);
            if !missing.is_empty() {
                return Err(Refused::Bases(points.run.clone(), missing));
            }
            if !all_new {
                return Err(Refused::LookUp);
            }
        }
        if let Some(row) = &prepared.row {
            match prepared.merged {
                Some(_) => check_gate_merged(&row.run, row.branch)?,
                None => check_gate(&row.run, row.branch)?,
            }
            self.resolve_row(row)?;
        }
        if let Some(looked) = &prepared.looked {
            looked.still_holds(self)?;
        }
        Ok(changes)
    }

    fn resolve_row(&self, row: &PreparedRow) -> Result<(), Refused> {
        let mut grown = 0;
        let mut series = row.run.lock_for_row();
        let resolved = series.resolve_row(&row.row, &mut grown);
        let is_new = !row.late || (row.branch == 0 && series.row_is_new(row.step, row.time, &mut grown));
        drop(series);
        self.runs.note_grown(grown);
        resolved.map_err(|_| Refused::Bases(row.run.clone(), row.row.iter().map(|(key, _)| *key).collect()))?;
        if is_new { Ok(()) } else { Err(Refused::LookUp) }
    }

    /// Makes a placed batch visible.
    pub(crate) fn publish(&self, placed: &Placed, prepared: &Prepared, changes: Changes) -> Result<()> {
        let lsn = placed.lsn;
        if !prepared.definitions.is_empty() {
            let definitions: Vec<_> = prepared.definitions.iter().map(OwnedDefinition::get).collect();
            self.dictionary.published(&definitions, lsn)?;
        }
        if let Some((key, request_hash)) = &prepared.key {
            let used = KeyUse { request_hash: *request_hash, lsn, time_ms: self.clock.now().0 };
            self.newest.hot.publish_key(key, used);
        }
        if let Some(merged) = &prepared.merged {
            self.writers.publish(Peer::Writer(merged.writer), lsn, merged.last);
        }
        if let Some(note) = &prepared.store {
            self.writers.publish_note(note, lsn);
        }
        for event in &prepared.events {
            self.writers.note(event, lsn);
        }
        self.publish_entities(lsn, changes);
        for event in &prepared.events {
            if let Event::RunRewound(rewound) = event
                && let Some(run) = self.runs.get(rewound.run)
            {
                self.keep_series(&run, rewound, lsn);
            }
        }
        for points in &prepared.points {
            self.publish_points(placed, &points.run, &points.planned);
        }
        if let Some(row) = &prepared.row {
            self.publish_row(placed, row);
        }
        self.published.store(lsn.0, Ordering::Release);
        Ok(())
    }

    /// Takes over the statistics of what a branch continues.
    pub(crate) fn keep_series(&self, run: &RunHot, rewound: &RunRewound, lsn: Lsn) {
        let mut grown = 0;
        let mut series = run.lock();
        for kept in &rewound.kept {
            // Its own frame defines it.
            let key = self.dictionary.key(&kept_key(&kept.key, rewound.branch));
            series.keep(key, kept.stats(), lsn, &mut grown);
        }
        drop(series);
        self.runs.note_grown(grown);
    }

    /// Publishes entity changes, opens and closes the gates of runs, and tells search.
    pub(crate) fn publish_entities(&self, lsn: Lsn, changes: Changes) {
        if changes.is_empty() {
            return;
        }
        self.newest.hot.publish(lsn, changes.entities.iter().cloned(), changes.events);
        for (key, state) in &changes.entities {
            match (key, &**state) {
                (EntityKey::Run(id), EntityState::Run(run)) => {
                    self.runs.changed(run.experiment).add(*id);
                    if run.created == lsn {
                        self.runs.created(*id, run.experiment);
                    }
                    if run.lifecycle == Lifecycle::Purged {
                        self.note_purged(*id, lsn);
                    }
                    if run.rewinds.last().is_some_and(|rewind| rewind.lsn == lsn)
                        && let Some(hot) = self.runs.get(*id)
                    {
                        hot.set_branch(run.branch());
                    }
                    // Whatever was done to a run last decides: later than its experiment's last change.
                    if run.lifecycle_lsn == lsn
                        && let Some(hot) = self.runs.get(*id)
                    {
                        hot.set_gate(match run.lifecycle {
                            Lifecycle::Active => Gate::Active,
                            Lifecycle::Deleted => Gate::Deleted,
                            Lifecycle::Purged => Gate::Purged,
                        });
                    }
                }
                (EntityKey::Experiment(id), EntityState::Experiment(experiment)) if experiment.lifecycle_lsn == lsn => {
                    self.set_gates(*id, experiment.lifecycle);
                }
                _ => {}
            }
        }
    }

    fn set_gates(&self, experiment: ExperimentId, lifecycle: Lifecycle) {
        let gate = if lifecycle == Lifecycle::Active { Gate::Active } else { Gate::Deleted };
        for run in self.runs.all() {
            if run.experiment == experiment && matches!(run.gate(), Gate::Active | Gate::Deleted) {
                run.set_gate(gate);
            }
        }
    }

    /// Pushes the sections of one run.
    pub(crate) fn publish_points(&self, placed: &Placed, run: &RunHot, planned: &Planned) {
        let mut grown = 0;
        let mut series = run.lock();
        for section in &planned.series {
            let Some(slot) = series.slot(section.key) else { continue };
            match section.copies {
                Some((start, count)) => {
                    for point in &planned.copies[start as usize..(start + count) as usize] {
                        series.push(slot, *point, placed.lsn, planned.context, &mut grown);
                    }
                }
                None => {
                    let place = SectionRef {
                        source: placed.segment.clone(),
                        offset: placed.offset_bytes + section.offset,
                        len: section.len,
                        flags: section.flags,
                    };
                    let of = (section.stats, planned.rollups_of(section));
                    series.push_section(slot, place, of, placed.lsn, planned.context, &mut grown);
                }
            }
        }
        drop(series);
        run.note_changed();
        self.runs.note_grown(grown);
    }

    fn publish_row(&self, placed: &Placed, row: &PreparedRow) {
        let PreparedRow { run, step, time, context, row, values, .. } = row;
        let mut grown = 0;
        let mut series = run.lock_for_row();
        // Again: rows of other keys may have been checked since, in one group. What was found cannot have gone.
        if series.resolve_row(row, &mut grown).is_ok() {
            let place = || row_place(&placed.segment, placed.offset_bytes, *values);
            series.push_row(row, *step, *time, placed.lsn, *context, Some(place), &mut grown);
        }
        drop(series);
        run.note_changed();
        self.runs.note_grown(grown);
    }

    // ---- the hot path: points of one run, Buffered, no allocation --------------------------------------------------

    /// Appends a sealed frame with one row; `values`: where its values are in the frame, and whether they are f32. `late`:
    /// it comes so long after its time that it is refused unless it lies behind all points of its series.
    #[expect(clippy::too_many_arguments, reason = "a row and its place; a struct would only rename them")]
    pub(crate) fn append_row(
        &self,
        run: &Arc<RunHot>,
        frame: &mut FrameBuf,
        values: (u64, bool),
        (step, time, late): (i64, TimestampMs, bool),
        row: &[(KeyId, f64)],
        branch: u32,
        now: TimestampMs,
    ) -> Result<Lsn, Refused> {
        self.wait_for_room()?;
        self.slow_down(frame.payload().len());
        let mut guard = self.sequencer();
        let tail = guard.as_mut().ok_or(Refused::Failed(Error::Closed))?;
        check_gate(run, branch)?;
        let mut grown = 0;
        let mut series = run.lock_for_row();
        if series.resolve_row(row, &mut grown).is_err() {
            return Err(Refused::Bases(run.clone(), row.iter().map(|(key, _)| *key).collect()));
        }
        // What a branch continues is in other series.
        if late && !(branch == 0 && series.row_is_new(step, time, &mut grown)) {
            drop(series);
            self.runs.note_grown(grown);
            return Err(Refused::LookUp);
        }
        let (lsn, offset_bytes) = tail.place_here(frame, now)?;
        let place = || row_place(tail.segment(), offset_bytes, values);
        series.push_row(row, step, time, lsn, ContextId(0), Some(place), &mut grown);
        if late {
            series.note_new_row(step, time);
        }
        drop(series);
        // Before it is visible: a search at this position must find it on the list.
        run.note_changed();
        self.published.store(lsn.0, Ordering::Release);
        drop(guard);
        self.runs.note_grown(grown);
        self.after_append();
        self.pause_after_growth(grown);
        Ok(lsn)
    }

    /// Appends a sealed frame with sections.
    pub(crate) fn append_points(
        &self,
        run: &Arc<RunHot>,
        frame: &mut FrameBuf,
        planned: &Planned,
        branch: u32,
        now: TimestampMs,
    ) -> Result<Lsn, Refused> {
        self.wait_for_room()?;
        let mut guard = self.sequencer();
        let tail = guard.as_mut().ok_or(Refused::Failed(Error::Closed))?;
        check_gate(run, branch)?;
        {
            let mut grown = 0;
            let mut series = run.lock();
            let unresolved = planned.series.iter().any(|section| series.resolve(section.key, &mut grown).is_err());
            let all_new = unresolved || are_new(&series, planned, branch);
            drop(series);
            self.runs.note_grown(grown);
            if unresolved {
                return Err(Refused::Bases(run.clone(), planned.series.iter().map(|s| s.key).collect()));
            }
            if !all_new {
                return Err(Refused::LookUp);
            }
        }
        let placed = tail.place(frame, now)?;
        self.publish_points(&placed, run, planned);
        self.published.store(placed.lsn.0, Ordering::Release);
        drop(guard);
        self.after_append();
        Ok(placed.lsn)
    }
}

fn put_event(out: &mut Vec<u8>, event: &Event) -> Result<()> {
    let mut encoded = Ok(());
    put_section(out, SectionKind::Event, |out| {
        encoded = payload::encode(event, out);
        0
    });
    encoded
}

fn hash_metrics(metrics: &[BatchMetric]) -> u64 {
    let mut bytes = Vec::with_capacity(metrics.len() * 64);
    for metric in metrics {
        bytes.extend_from_slice(&metric.run.0);
        match &metric.key {
            MetricKey::Name(name) => bytes.extend_from_slice(name.as_bytes()),
            MetricKey::Id(id) => bytes.extend_from_slice(&id.0.to_le_bytes()),
        }
        bytes.push(0);
        bytes.extend_from_slice(&metric.point.step.to_le_bytes());
        bytes.extend_from_slice(&metric.point.time.0.to_le_bytes());
        bytes.extend_from_slice(&metric.point.value.to_bits().to_le_bytes());
        if let Some(context) = &metric.context {
            bytes.extend_from_slice(&context.encode());
        }
    }
    fnv(&bytes).rotate_left(1)
}
