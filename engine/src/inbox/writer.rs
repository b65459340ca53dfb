//! The appender of one inbox: a process that does not hold the store logs points here, by a memory copy.
//!
//! When a call returns, the kernel has the bytes, so they survive the death of the process (`Buffered`); or they are on
//! the disk (`Sync`). The holder merges them at its next look, at the latest before it answers a request.
//!
//! Folder, lock, first segment and note are created at the first append, so a writer that logs nothing leaves nothing.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;

use super::mutant::{self, Rule};
use super::note;
use super::segment::{
    END_AT, END_NOT_KEPT, FIRST_BYTES, FRAMES_AT, INBOX_DIR, LOCK_NAME, NEWS_BYTES, NEWS_PATH, SECOND_BYTES,
    SEGMENT_BYTES_MAX, dir_of, encode_head, path_of,
};
use crate::error::{EntityKind, Error, Result};
use crate::event::batch::{Definition, SectionKind, put_definition, put_section};
use crate::event::section::put_row;
use crate::fork;
use crate::id::{ContextId, KeyId, Lsn, RunId, StoreId, WriterId};
use crate::ingest::batch::Durability;
use crate::ingest::encode::{Encoder, KEYS_PER_BATCH_MAX, KeyedPoint, Planned, check_time};
use crate::ingest::validate::check_metric_key;
use crate::log::format_file::FormatFile;
use crate::log::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FrameBuf, FrameKind, HeadCrc};
use crate::point::Point;
use crate::storage::disk::Disk;
use crate::storage::{Map, OpenMode, Storage, StorageFile, write_all_at};
use crate::time::{Clock, TimestampMs};

/// Finished, unmerged segments may take this much before appends wait.
const LIMIT_BYTES: u64 = 64 << 20;
/// The first and the longest pause of an append that waits.
const PAUSE: Duration = Duration::from_micros(100);
const PAUSE_MAX: Duration = Duration::from_millis(5);
/// Most finished segments kept open for a later sync; beyond, the oldest one is synced at once.
const UNSYNCED_FILES_MAX: usize = 16;
/// How often the folder is created again if a holder takes it for a leftover meanwhile.
const BIRTHS_MAX: usize = 5;
/// Room that a merged frame needs in addition: its origin.
const ORIGIN_BYTES: usize = 4 << 10;
/// Room for the mark or close that ends a segment.
const ENDING_BYTES: u64 = FRAME_HEADER_BYTES as u64;

/// A segment's file, and its map where appends go through one.
type NewSegment = (Arc<dyn StorageFile>, Option<Arc<dyn Map>>);

/// Tells whether a holder is alive, so that waiting for it makes sense.
pub type Patience = Arc<dyn Fn() -> bool + Send + Sync>;

#[derive(Default)]
struct Scratch {
    frame: FrameBuf,
    encoder: Encoder,
    planned: Planned,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[derive(Default)]
struct Keys {
    numbers: FxHashMap<Arc<str>, KeyId>,
    names: Vec<Arc<str>>,
}

/// Logs metric points of one process into an inbox of its own. Shared by [`Arc`]; one per process is enough.
///
/// ```
/// use runlode_engine::event::{ExperimentCreated, RunCreated, RunStatus};
/// use runlode_engine::InboxWriter;
/// use runlode_engine::point::Point;
/// use runlode_engine::{Batch, Durability, ExperimentId, RunId, Store, SystemClock, TimestampMs};
/// use std::sync::Arc;
///
/// let dir = tempfile::tempdir().unwrap();
/// let path = dir.path().join("store");
/// let store = Store::open(&path)?;
/// # let (experiment, run) = (ExperimentId(1), RunId([7; 16]));
/// # let created = ExperimentCreated {
/// #     experiment, name: "e".into(), artifact_location: None, creation_time_ms: 0, last_update_time_ms: 0, tags: vec![],
/// # };
/// # let begun = RunCreated {
/// #     run, experiment, name: "r".into(), user_id: "u".into(), status: RunStatus::Running, start_time_ms: 0,
/// #     artifact_location: None, tags: vec![],
/// # };
/// # store.append(Batch::new().event(created).event(begun), Durability::Sync)?;
/// // Elsewhere:
/// let writer = InboxWriter::create(&path, store.id(), Arc::new(SystemClock::default()))?;
/// let loss = writer.metric_key("loss")?;
/// writer.log_point(run, loss, Point { step: 0, time: TimestampMs(0), value: 0.7 }, Durability::Buffered)?;
/// // The process that holds the store:
/// store.merge_inboxes()?;
/// assert_eq!(store.applied_number(writer.id())?, writer.last_number());
/// assert_eq!(store.snapshot()?.latest(run)?[0].1.last_value, 0.7);
/// writer.close()?;
/// # store.close()?;
/// # Ok::<(), runlode_engine::Error>(())
/// ```
pub struct InboxWriter {
    storage: Arc<dyn Storage>,
    store: StoreId,
    id: WriterId,
    crc: HeadCrc,
    clock: Arc<dyn Clock>,
    keys: RwLock<Keys>,
    limit_bytes: AtomicU64,
    patience: RwLock<Option<Patience>>,
    last: AtomicU64,
    /// A child of the process that made it must not append: see [`fork::generation`].
    generation: u64,
    pid: u32,
    /// The writer is being closed, so nothing waits any more.
    closing: AtomicBool,
    /// Finished segments that are kept open: see [`UNSYNCED_FILES_MAX`].
    unsynced_max: usize,
    state: Mutex<State>,
    /// One sync at a time; threads that wait then find it done.
    syncing: Mutex<()>,
}

enum State {
    /// Nothing was appended yet.
    Unborn,
    Open(Box<Tail>),
    Closed,
    /// A write or sync failed.
    Poisoned(String),
}

/// The end of the inbox.
struct Tail {
    file: Arc<dyn StorageFile>,
    map: Option<Arc<dyn Map>>,
    ordinal: u64,
    capacity_bytes: u64,
    end_bytes: u64,
    /// Number of the next frame.
    next: u64,
    /// Keys that this segment defines.
    defined: Vec<bool>,
    /// Finished segments that still exist, with their sizes.
    older: VecDeque<(u64, u64)>,
    /// Those that no sync covers yet.
    unsynced: Vec<(u64, Arc<dyn StorageFile>)>,
    /// Numbers up to here are durable here.
    synced: u64,
    /// A file was created since the folder was synced.
    names_unsynced: bool,
    /// Held as long as the writer lives. Last, so that it is dropped last.
    _lock: Box<dyn Send + Sync>,
}

impl std::fmt::Debug for InboxWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InboxWriter").field("id", &self.id).field("last_number", &self.last_number()).finish()
    }
}

impl InboxWriter {
    /// A writer with a fresh id for the store in a folder.
    ///
    /// # Errors
    /// `NotFound` if there is no store, `Invalid` if it has another id, `Io`.
    pub fn create(store: &Path, store_id: StoreId, clock: Arc<dyn Clock>) -> Result<Self> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| Error::Internal(format!("no randomness: {error}")))?;
        Self::create_on(Arc::new(Disk::new(store)), store_id, WriterId(id), clock)
    }

    /// As [`InboxWriter::create`], on any storage and with a given id, which must never have been used before.
    ///
    /// # Errors
    /// As [`InboxWriter::create`].
    pub fn create_on(
        storage: Arc<dyn Storage>,
        store_id: StoreId,
        id: WriterId,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let path = || storage.display_path("").display().to_string();
        match FormatFile::read(&*storage)? {
            Some(format) if format.store == store_id => {}
            Some(format) => {
                let why = format!("the store in {} has the id {}, not {store_id}", path(), format.store);
                return Err(Error::invalid("store id", why));
            }
            None => return Err(Error::NotFound { entity: EntityKind::Store, id: path() }),
        }
        Ok(Self {
            crc: HeadCrc::of_writer(store_id, id),
            storage,
            store: store_id,
            id,
            clock,
            keys: RwLock::default(),
            limit_bytes: AtomicU64::new(LIMIT_BYTES),
            patience: RwLock::default(),
            last: AtomicU64::new(0),
            generation: fork::generation(),
            pid: std::process::id(),
            closing: AtomicBool::new(false),
            unsynced_max: UNSYNCED_FILES_MAX,
            state: Mutex::new(State::Unborn),
            syncing: Mutex::default(),
        })
    }

    /// The writer's id.
    pub fn id(&self) -> WriterId {
        self.id
    }

    /// Number of the last frame that was appended; 0 for none.
    pub fn last_number(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    /// Appends wait for the holder once finished, unmerged segments have this many bytes. Default: 64 MiB.
    pub fn set_limit_bytes(&self, bytes: u64) {
        self.limit_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Syncs the oldest segment once more than this many are not synced.
    #[cfg(test)]
    pub(super) fn set_unsynced_max(&mut self, files: usize) {
        self.unsynced_max = files;
    }

    /// Sets the function that says whether waiting for a holder makes sense. A waiting append calls it about every 5
    /// ms. Without it, or if it answers no, appends do not wait. Default: none.
    pub fn set_patience(&self, patience: Patience) {
        *self.patience.write() = Some(patience);
    }

    /// Number of the last frame that is durable here by itself, whatever a holder has merged; 0 for none.
    pub fn synced_number(&self) -> u64 {
        match &*self.state.lock() {
            State::Open(tail) => tail.synced,
            State::Unborn | State::Closed | State::Poisoned(_) => 0,
        }
    }

    fn check_forked(&self) -> Result<()> {
        if self.generation == fork::generation() { Ok(()) } else { Err(Error::Forked) }
    }

    /// The slow paths ask the kernel too: forks are counted only once a lock or socket was opened, and the first append
    /// opens one.
    fn check_process(&self) -> Result<()> {
        self.check_forked()?;
        if std::process::id() == self.pid { Ok(()) } else { Err(Error::Forked) }
    }

    /// The number of a metric key; it is this writer's own.
    ///
    /// # Errors
    /// `Invalid` for a key that is empty, longer than 64 KiB or holds NUL; `Forked`.
    pub fn metric_key(&self, name: &str) -> Result<KeyId> {
        self.check_forked()?;
        if let Some(id) = self.keys.read().numbers.get(name) {
            return Ok(*id);
        }
        check_metric_key(name)?;
        let mut keys = self.keys.write();
        let next = KeyId(u32::try_from(keys.names.len()).unwrap_or(u32::MAX));
        let name: Arc<str> = name.into();
        let id = *keys.numbers.entry(name.clone()).or_insert(next);
        if id == next {
            keys.names.push(name);
        }
        Ok(id)
    }

    /// Logs one point of one key; returns the frame's number.
    ///
    /// # Errors
    /// `Invalid` for a negative time or a key of another writer, `StorageFull`, `Poisoned`, `Closed`, `Forked`. Nothing
    /// is logged then. Whether the run exists is checked when the holder merges.
    pub fn log_point(&self, run: RunId, key: KeyId, point: Point, durability: Durability) -> Result<u64> {
        self.log_row(run, point.step, point.time, &[(key, point.value)], durability)
    }

    /// Logs one step: one value for each of many keys. A key twice in a row is two points.
    ///
    /// # Errors
    /// As [`InboxWriter::log_point`]; also `Invalid` for an empty row, or one of more than 250,000 keys.
    pub fn log_row(
        &self,
        run: RunId,
        step: i64,
        time: TimestampMs,
        values: &[(KeyId, f64)],
        durability: Durability,
    ) -> Result<u64> {
        check_time(0, time)?;
        if values.is_empty() || values.len() > KEYS_PER_BATCH_MAX {
            let why = format!("{} keys; between 1 and {KEYS_PER_BATCH_MAX} fit one row", values.len());
            return Err(Error::invalid("row", why));
        }
        SCRATCH.with_borrow_mut(|Scratch { frame, .. }| {
            frame.clear();
            put_section(frame.payload_mut(), SectionKind::Row, |out| {
                put_row(out, run, ContextId(0), step, time, values)
            });
            self.append(frame, values.iter().map(|(key, _)| *key), durability)
        })
    }

    /// As [`InboxWriter::log_row`], at the time of the writer's clock.
    ///
    /// # Errors
    /// As [`InboxWriter::log_row`].
    pub fn log_row_now(&self, run: RunId, step: i64, values: &[(KeyId, f64)], durability: Durability) -> Result<u64> {
        self.log_row(run, step, self.clock.now(), values, durability)
    }

    /// Logs points of any keys, in the order given; one frame.
    ///
    /// # Errors
    /// As [`InboxWriter::log_point`]; also `Invalid` for no points, or for too many (2,000,000 points, 250,000 keys).
    pub fn log_points(&self, run: RunId, points: &[KeyedPoint], durability: Durability) -> Result<u64> {
        SCRATCH.with_borrow_mut(|Scratch { frame, encoder, planned }| {
            frame.clear();
            planned.clear();
            encoder.encode(run, points, frame.payload_mut(), planned)?;
            self.append(frame, planned.series.iter().map(|series| series.key), durability)
        })
    }

    fn append(
        &self,
        frame: &mut FrameBuf,
        keys: impl Iterator<Item = KeyId> + Clone,
        durability: Durability,
    ) -> Result<u64> {
        self.check_forked()?;
        frame.seal()?;
        let payload_bytes = frame.payload().len();
        let time = self.clock.now();
        let mut state = self.state.lock();
        let tail = self.tail(&mut state)?;
        self.define(tail, frame, keys.clone())?;
        if !tail.has_room(frame) {
            // The next segment must define all keys again.
            tail.defined.clear();
            frame.payload_mut().truncate(FRAME_HEADER_BYTES + payload_bytes);
            self.define(tail, frame, keys.clone())?;
            match self.roll(tail, time, frame.placed_bytes()) {
                Ok(()) => {}
                Err(Failed::Now(error)) => return Err(error),
                Err(Failed::ForGood(error)) => return Err(poison(&mut state, error)),
            }
        }
        let number = tail.next;
        if let Err(error) = tail.place(frame, time, &self.crc) {
            return Err(poison(&mut state, self.io("write", &dir_of(self.id), error)));
        }
        for key in keys {
            if let Some(defined) = tail.defined.get_mut(key.0 as usize) {
                *defined = true;
            }
        }
        self.last.store(number, Ordering::Release);
        drop(state);
        if durability == Durability::Sync {
            self.sync(number)?;
        }
        Ok(number)
    }

    /// Adds the definitions that the segment lacks, and seals.
    #[inline]
    fn define(&self, tail: &mut Tail, frame: &mut FrameBuf, keys: impl Iterator<Item = KeyId> + Clone) -> Result<()> {
        let is_defined = |key: KeyId| tail.defined.get(key.0 as usize).copied().unwrap_or(false);
        if !keys.clone().all(is_defined) {
            let known = self.keys.read();
            tail.defined.resize(known.names.len().max(tail.defined.len()), false);
            let mut missing: Vec<KeyId> =
                keys.filter(|key| !tail.defined.get(key.0 as usize).is_some_and(|d| *d)).collect();
            missing.sort_unstable();
            missing.dedup();
            let mut definitions = Vec::with_capacity(missing.len());
            for key in missing {
                let Some(name) = known.names.get(key.0 as usize) else {
                    return Err(Error::invalid("metric key", "its number is not one of this writer"));
                };
                definitions.push(Definition::Key(key, name));
            }
            put_section(frame.payload_mut(), SectionKind::Dictionary, |out| {
                definitions.iter().for_each(|definition| put_definition(out, definition));
                0
            });
        }
        if frame.payload().len() > FRAME_BYTES_MAX - ORIGIN_BYTES {
            let why = format!("{} bytes encoded; they do not fit one batch: split it", frame.payload().len());
            return Err(Error::invalid("batch", why));
        }
        frame.seal()
    }

    // ---- segments ------------------------------------------------------------------------------------------------

    fn io(&self, op: &'static str, path: &str, error: io::Error) -> Error {
        Error::io(op, self.storage.display_path(path), error)
    }

    #[inline]
    fn tail<'a>(&self, state: &'a mut State) -> Result<&'a mut Tail> {
        if let State::Unborn = state {
            self.check_process()?;
            *state = State::Open(Box::new(self.be_born()?));
        }
        match state {
            State::Open(tail) => Ok(tail),
            State::Poisoned(cause) => Err(Error::Poisoned { cause: cause.clone() }),
            State::Closed | State::Unborn => Err(Error::Closed),
        }
    }

    /// Creates folder, lock, first segment and note; then tells the holder.
    #[cold]
    fn be_born(&self) -> Result<Tail> {
        let dir = dir_of(self.id);
        let lock_path = format!("{dir}/{LOCK_NAME}");
        let text = format!("pid {}", self.pid);
        let mut births = 0;
        loop {
            births += 1;
            let made = (|| {
                self.storage.create_dir(&dir).map_err(|error| ("create", &dir, error))?;
                let lock = self.storage.lock(&lock_path, &text).map_err(|error| ("lock", &lock_path, error))?;
                let lock = lock.ok_or_else(|| ("lock", &lock_path, io::ErrorKind::WouldBlock.into()))?;
                if mutant::left_out(Rule::NoteComesLast) {
                    note::make(&*self.storage, self.id).map_err(|error| ("note", &dir, error))?;
                }
                let made = self.new_segment(1, FIRST_BYTES);
                let (file, map) = made.map_err(|error| ("create a segment in", &dir, error))?;
                // After the segment, or a holder would miss it if this process died between the two.
                let told = note::make(&*self.storage, self.id).and_then(|()| self.tell());
                if let Err(error) = told {
                    // No holder reads it yet: the next append creates it again. The note goes first, for the same
                    // reason.
                    let _ = note::remove(&*self.storage, self.id);
                    let _ = self.storage.remove(&path_of(self.id, 1));
                    return Err(("tell holders of", &dir, error));
                }
                Ok((lock, file, map))
            })();
            match made {
                Ok((lock, file, map)) => {
                    return Ok(Tail {
                        file,
                        map,
                        ordinal: 1,
                        capacity_bytes: FIRST_BYTES,
                        end_bytes: FRAMES_AT,
                        next: 1,
                        defined: Vec::new(),
                        older: VecDeque::new(),
                        unsynced: Vec::new(),
                        synced: 0,
                        names_unsynced: true,
                        _lock: lock,
                    });
                }
                // A holder took the folder for a leftover.
                Err((_, _, error))
                    if births < BIRTHS_MAX
                        && matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::WouldBlock) =>
                {
                    std::thread::sleep(PAUSE);
                }
                Err((op, path, error)) => return Err(self.io(op, path, error)),
            }
        }
    }

    /// Creates a segment; after an error nothing of it is left.
    fn new_segment(&self, ordinal: u64, capacity_bytes: u64) -> io::Result<NewSegment> {
        let path = path_of(self.id, ordinal);
        let file = self.storage.open(&path, OpenMode::CreateNew)?;
        let made = (|| {
            file.allocate(capacity_bytes)?;
            let map = if self.storage.can_map_writes() { file.map(capacity_bytes, true)? } else { None };
            let end = if map.is_some() { FRAMES_AT } else { END_NOT_KEPT };
            write_all_at(&*file, &encode_head(self.store, self.id, ordinal, end), 0)?;
            Ok(map)
        })();
        match made {
            Ok(map) => Ok((file, map)),
            Err(error) => {
                // If this fails too, a holder ignores the empty file.
                let _ = self.storage.remove(&path);
                Err(error)
            }
        }
    }

    /// Changes the word that holders watch. Without maps they list the folder.
    fn tell(&self) -> io::Result<()> {
        if !self.storage.can_map_writes() {
            return Ok(());
        }
        let file = match self.storage.open(NEWS_PATH, OpenMode::CreateNew) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.storage.open(NEWS_PATH, OpenMode::ReadWrite)
            }
            opened => opened,
        }?;
        file.allocate(NEWS_BYTES)?;
        if let Some(map) = file.map(NEWS_BYTES, true)? {
            // Any other value will do, and ids are random.
            let (head, _) = self.id.0.split_at(8);
            let value = head.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
            map.store_u64(0, if value == map.load_u64(0) { value.wrapping_add(1) } else { value });
        }
        Ok(())
    }

    /// Continues in the next segment, which has room for this many bytes of frames.
    #[cold]
    fn roll(&self, tail: &mut Tail, time: TimestampMs, frame_bytes: u64) -> Result<(), Failed> {
        self.check_process()?;
        self.wait_for_holder(tail);
        let doubled = (tail.capacity_bytes * 2).clamp(SECOND_BYTES, SEGMENT_BYTES_MAX);
        let needed = (FRAMES_AT + frame_bytes + ENDING_BYTES).next_multiple_of(4 << 10);
        let (ordinal, capacity) = (tail.ordinal + 1, doubled.max(needed));
        let path = path_of(self.id, ordinal);
        let (file, map) = self.new_segment(ordinal, capacity).map_err(|error| self.io("create", &path, error))?;
        // Last, because a holder that reads the mark looks for the next segment.
        if let Err(error) = tail.place_ending(FrameKind::Mark, time, &self.crc) {
            // Nothing was published: the next append tries again.
            let _ = self.storage.remove(&path);
            return Err(self.io("write", &path_of(self.id, tail.ordinal), error).into());
        }
        tail.older.push_back((tail.ordinal, tail.capacity_bytes));
        let old = std::mem::replace(&mut tail.file, file);
        tail.unsynced.push((tail.ordinal, old));
        tail.map = map;
        tail.ordinal = ordinal;
        tail.capacity_bytes = capacity;
        tail.end_bytes = FRAMES_AT;
        tail.defined.fill(false);
        tail.names_unsynced = true;
        while tail.unsynced.len() > self.unsynced_max
            && let Some((ordinal, oldest)) = tail.unsynced.first()
        {
            // It leaves the list once it is synced, not before. After a failed sync the kernel may have dropped pages
            // that it could not write, and the next sync of the file would succeed without them.
            let synced = oldest.sync_data().map_err(|error| self.io("fsync", &path_of(self.id, *ordinal), error));
            match synced {
                Err(error) if !mutant::left_out(Rule::FailedRollPoisons) => return Err(Failed::ForGood(error)),
                synced => {
                    tail.unsynced.remove(0);
                    synced?;
                }
            }
        }
        Ok(())
    }

    fn wait_for_holder(&self, tail: &mut Tail) {
        self.forget_removed(tail);
        let mut pause = PAUSE;
        let limit = self.limit_bytes.load(Ordering::Relaxed);
        let waiting_bytes = |tail: &Tail| tail.older.iter().map(|(_, bytes)| bytes).sum::<u64>() + tail.capacity_bytes;
        while !tail.older.is_empty() && waiting_bytes(tail) > limit {
            if self.closing.load(Ordering::Acquire) {
                return;
            }
            // Cloned, because the call may take long.
            let patience = self.patience.read().clone();
            if !patience.is_some_and(|patience| patience()) {
                return;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
            self.forget_removed(tail);
        }
    }

    /// Forgets finished segments that the holder has removed: they are durable in the store's log.
    fn forget_removed(&self, tail: &mut Tail) {
        while let Some((ordinal, _)) = tail.older.front() {
            match self.storage.open(&path_of(self.id, *ordinal), OpenMode::Read) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let (ordinal, _) = (*ordinal, tail.older.pop_front());
                    tail.unsynced.retain(|(unsynced, _)| *unsynced != ordinal);
                }
                _ => return,
            }
        }
    }

    // ---- syncs ---------------------------------------------------------------------------------------------------

    /// Makes everything appended so far durable, here.
    ///
    /// # Errors
    /// `Io` if the sync fails: the writer is then poisoned. `Poisoned`, `Closed`, `Forked`.
    pub fn flush(&self) -> Result<()> {
        self.check_process()?;
        self.sync(self.last_number())
    }

    fn sync(&self, number: u64) -> Result<()> {
        if number == 0 {
            return Ok(());
        }
        let _one = self.syncing.lock();
        let (files, last, names) = {
            let mut state = self.state.lock();
            let tail = self.tail(&mut state)?;
            if tail.synced >= number {
                return Ok(());
            }
            let mut files: Vec<(u64, Arc<dyn StorageFile>)> = tail.unsynced.clone();
            if mutant::left_out(Rule::OlderSegments) {
                files.clear();
            }
            files.push((tail.ordinal, tail.file.clone()));
            if let Some(map) = &tail.map {
                // Otherwise the sync would interrupt the appender for every page.
                map.end_stores(0, tail.end_bytes);
            }
            (files, tail.next - 1, std::mem::take(&mut tail.names_unsynced))
        };
        let synced = (|| {
            for (ordinal, file) in &files {
                file.sync_data().map_err(|error| self.io("fsync", &path_of(self.id, *ordinal), error))?;
            }
            let dir = dir_of(self.id);
            for dir in [dir.as_str(), INBOX_DIR, ""].into_iter().take(if names { 3 } else { 0 }) {
                if mutant::left_out(Rule::Folders) {
                    continue;
                }
                self.storage.sync_dir(dir).map_err(|error| self.io("fsync", dir, error))?;
            }
            Ok(())
        })();
        let mut state = self.state.lock();
        if let Err(error) = synced {
            return Err(if mutant::left_out(Rule::FailedSyncPoisons) { error } else { poison(&mut state, error) });
        }
        if let State::Open(tail) = &mut *state {
            tail.synced = tail.synced.max(last);
            // All but the last one were finished, and each was synced completely.
            let finished = files.len() - 1;
            tail.unsynced.retain(|(unsynced, _)| !files.iter().take(finished).any(|(ordinal, _)| ordinal == unsynced));
        }
        Ok(())
    }

    /// Marks the end of the inbox and makes everything durable; the holder then merges the rest and removes the inbox.
    ///
    /// # Errors
    /// `Io` if the sync fails; what was appended is merged all the same, unless the machine dies first.
    pub fn close(self) -> Result<()> {
        self.close_now()
    }

    /// As [`InboxWriter::close`], for a writer that is shared: every later call answers [`Error::Closed`].
    ///
    /// # Errors
    /// As [`InboxWriter::close`].
    pub fn close_now(&self) -> Result<()> {
        self.check_process()?;
        self.closing.store(true, Ordering::Release);
        let mut state = self.state.lock();
        let ended = match &mut *state {
            State::Open(tail) => tail.place_ending(FrameKind::Close, self.clock.now(), &self.crc),
            State::Unborn | State::Closed => {
                *state = State::Closed;
                return Ok(());
            }
            State::Poisoned(cause) => return Err(Error::Poisoned { cause: cause.clone() }),
        };
        drop(state);
        let synced = match ended {
            // Even if everything is synced already: the close frame is new.
            Ok(()) if mutant::left_out(Rule::CloseSyncs) => Ok(()),
            Ok(()) => self.sync_again(),
            Err(error) => Err(self.io("write", &dir_of(self.id), error)),
        };
        *self.state.lock() = State::Closed;
        synced
    }

    fn sync_again(&self) -> Result<()> {
        if let State::Open(tail) = &mut *self.state.lock() {
            tail.synced = 0;
        }
        self.sync(self.last_number())
    }
}

/// Why an append failed to start the next segment.
enum Failed {
    /// Nothing was published: the next append tries again.
    Now(Error),
    /// What was appended before may be lost.
    ForGood(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Now(error)
    }
}

/// Notes the first failure.
fn poison(state: &mut State, error: Error) -> Error {
    if let State::Open(_) = state {
        *state = State::Poisoned(error.to_string());
    }
    error
}

impl Tail {
    #[inline]
    fn has_room(&self, frame: &FrameBuf) -> bool {
        self.end_bytes + frame.placed_bytes() + ENDING_BYTES <= self.capacity_bytes
    }

    /// Stores a frame at the end, and publishes it.
    #[inline]
    fn place(&mut self, frame: &mut FrameBuf, time: TimestampMs, crc: &HeadCrc) -> io::Result<()> {
        self.put(frame, time, crc)?;
        self.next += 1;
        Ok(())
    }

    fn place_ending(&mut self, kind: FrameKind, time: TimestampMs, crc: &HeadCrc) -> io::Result<()> {
        self.put(&mut FrameBuf::empty(kind), time, crc)
    }

    #[inline]
    fn put(&mut self, frame: &mut FrameBuf, time: TimestampMs, crc: &HeadCrc) -> io::Result<()> {
        let bytes = frame.complete(Lsn(self.next), time, Lsn(self.synced), crc);
        let end_bytes = self.end_bytes + bytes.len() as u64;
        match &self.map {
            Some(map) => {
                map.store_at(self.end_bytes, bytes);
                map.store_u64(END_AT, end_bytes);
            }
            None => write_all_at(&*self.file, bytes, self.end_bytes)?,
        }
        self.end_bytes = end_bytes;
        Ok(())
    }
}
