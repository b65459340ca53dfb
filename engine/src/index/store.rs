//! Opens, creates and writes `index.redb`.
//!
//! - [`Index::create`]: `index.redb.tmp`, first commit > rename > sync of the folder. A crash leaves the old index or
//!   none, and a `.tmp` that the next creation removes.
//! - [`Index::write`]: one transaction, durable on return (two-phase with quick repair: a crash is repaired in a
//!   millisecond, not by a walk over the file). Keys are sorted first: rows behind a table's last key are appended
//!   through a cursor, a bulk load is nothing else. Rows of series come one by one ([`Rows`]), and redb writes pages
//!   out as its cache fills: a transaction takes no more memory for a million series than for one.
//! - [`Index::open`] answers [`Opened::Rebuild`] to whatever cannot be used; it never panics.
//!
//! After any error but `Invalid`, redb refuses everything (`PreviousIo`): drop the [`Index`] and every read of it, and
//! open again, which may say that it must be rebuilt.

use std::io;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::RwLock;
use redb::{Database, Durability, Key, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table, Value};

use super::backend::{Damage, PageBackend, engine_error};
use super::keys;
use super::read::IndexRead;
use super::rows::{self, PATH};
use super::tables::*;
use crate::entity::{EntityKey, EntityState, Lifecycle};
use crate::error::{Corruption, Error, Result};
use crate::id::{KeyId, Lsn, RunId, SeriesId, StoreId};
use crate::point::Stats;
use crate::storage::{OpenMode, Storage, read_exact_at};
use crate::time::TimestampMs;

/// Idempotency keys kept; beyond that the oldest go, whatever their age.
pub const IDEMPOTENCY_COUNT_MAX: u64 = 1_000_000;

const PATH_TMP: &str = "index.redb.tmp";

/// A definition of the store's dictionary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DictionaryEntry {
    /// What is defined: a metric key, a context; the numbers are those of the log's definitions.
    pub kind: u8,
    /// Its number.
    pub id: u32,
    /// The name, or the context's encoding.
    pub bytes: Vec<u8>,
}

/// An idempotency key that was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyEntry {
    /// The key, as the caller gave it.
    pub key: Vec<u8>,
    /// Hash of the request that it came with.
    pub request: u64,
    /// Where the request was written.
    pub lsn: Lsn,
    /// When.
    pub time: TimestampMs,
}

/// What one checkpoint, seal or compaction changes: all of it or nothing.
///
/// Lists need no order. Of equal keys within a list the last one wins.
#[derive(Debug, Clone, Default)]
pub struct IndexChange {
    /// Entities, stats, events and dictionary stand for everything up to here.
    pub applied: Lsn,
    /// Points up to here are in series files.
    pub sealed: Lsn,
    /// Generation of MANIFEST that `files` and `chunks` belong to.
    pub generation: u64,
    /// New states. A purged run leaves the lists of runs.
    pub entities: Vec<(EntityKey, Arc<EntityState>)>,
    /// New statistics of series, whole (not to be added to the old ones).
    pub stats: Vec<(SeriesId, Stats)>,
    /// Events of entities since the last write: (position, index in the batch), ascending.
    pub events: Vec<(EntityKey, Vec<(Lsn, u16)>)>,
    /// New definitions.
    pub dictionary: Vec<DictionaryEntry>,
    /// Idempotency keys used.
    pub idempotency: Vec<IdempotencyEntry>,
    /// Idempotency keys of before this time go. They go in the order of their positions, up to the first younger one.
    pub idempotency_expired_before: Option<TimestampMs>,
    /// How far the logs of writers are merged: id, and row as `rows::writer` makes it.
    pub writers: Vec<(Vec<u8>, Vec<u8>)>,
    /// New chunks: series, file, number, opaque directory entry.
    pub chunks_added: Vec<(SeriesId, u64, u32, Vec<u8>)>,
    /// Chunks that are gone. Removed before the new ones are added.
    pub chunks_removed: Vec<(SeriesId, u64, u32)>,
    /// New series files: id, opaque row.
    pub files_added: Vec<(u64, Vec<u8>)>,
    /// Files that are gone; their chunks are to be named in `chunks_removed`.
    pub files_removed: Vec<u64>,
    /// Events of tags that this build does not know: how many more.
    pub unknown_events: Vec<(u16, u64)>,
    /// Runs purged: their statistics, chunks and event lists of earlier writes go, and `stats` of this change are
    /// not written. Events of this change are.
    pub purged: Vec<RunId>,
}

/// Chunk rows: each call puts the opaque entry into the empty buffer and answers series, file and chunk, or ends them.
pub type ChunkRows<'a> = Box<dyn FnMut(&mut Vec<u8>) -> Option<(SeriesId, u64, u32)> + 'a>;

/// Statistics of series, or why they cannot be made.
pub type StatsRows<'a> = Box<dyn Iterator<Item = Result<(SeriesId, Stats)>> + 'a>;

/// Rows that are made while they are written, so that those of a million series are never held together. They belong to
/// the change that they come with, and are written behind its own lists. Keys ascend strictly within each source.
#[derive(Default)]
pub struct Rows<'a> {
    /// As [`IndexChange::stats`]; an error ends the write, of which nothing is kept.
    pub stats: Option<StatsRows<'a>>,
    /// As [`IndexChange::chunks_added`]; one source a file.
    pub chunks: Vec<ChunkRows<'a>>,
}

impl std::fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}

/// What became of an open.
#[derive(Debug)]
pub enum Opened {
    /// It can be used.
    Ready(Index),
    /// It cannot be used: create it again and fill it from the log and the series files.
    Rebuild {
        /// Why, for the operator.
        why: String,
    },
}

/// What a look at the whole index on disk found.
#[derive(Debug)]
pub enum Judged {
    /// There is none.
    Missing,
    /// An open for writing would make it again.
    Unusable {
        /// Why, for the operator.
        why: String,
    },
    /// Every page that it uses is what was written.
    Usable {
        /// What it says.
        read: Box<IndexRead>,
    },
}

/// Cache of an index that is read through once.
const JUDGE_CACHE_BYTES: u64 = 4 << 20;

/// `index.redb`, open.
///
/// A handle: clones share the database, also the one that [`Index::replace`] puts in its place.
#[derive(Clone)]
pub struct Index {
    open: Arc<RwLock<OpenDatabase>>,
}

#[derive(Clone)]
struct OpenDatabase {
    database: Arc<Database>,
    damage: Damage,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").finish_non_exhaustive()
    }
}

/// Turns redb's errors into ours; damage that the page backend found comes out as it went in.
fn redb_error(op: &'static str, error: impl Into<redb::Error>) -> Error {
    match error.into() {
        error @ (redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::TypeDefinitionChanged { .. }) => {
            Error::corrupt(PATH, 0, "index", "the tables of this schema", error)
        }
        error => engine_error(op, PATH, error),
    }
}

/// Shorthand for `map_err`.
pub(super) trait OrError<T> {
    fn or_error(self, op: &'static str) -> Result<T>;
}

impl<T, E: Into<redb::Error>> OrError<T> for std::result::Result<T, E> {
    fn or_error(self, op: &'static str) -> Result<T> {
        self.map_err(|error| redb_error(op, error))
    }
}

fn database(backend: impl redb::StorageBackend, cache_bytes: u64) -> Result<Database> {
    let cache_bytes = usize::try_from(cache_bytes).unwrap_or(usize::MAX);
    Database::builder().set_cache_size(cache_bytes).create_with_backend(backend).or_error("open")
}

impl Index {
    /// Makes an empty index in place of whatever is there, and opens it.
    ///
    /// `cache_bytes` bounds redb's cache of pages, clean and written.
    ///
    /// # Errors
    /// Io errors and a full disk; the old index, if any, may then be there or gone.
    pub fn create(storage: &Arc<dyn Storage>, store: StoreId, cache_bytes: u64) -> Result<Self> {
        match storage.remove(PATH_TMP) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", PATH_TMP, error)),
            _ => {}
        }
        let backend = PageBackend::create(&**storage, PATH_TMP)?;
        let damage = backend.damage();
        let index = Self::fill(database(backend, cache_bytes)?, damage, store)?;
        storage.rename(PATH_TMP, PATH).map_err(|error| Error::io("rename", PATH_TMP, error))?;
        storage.sync_dir("").map_err(|error| Error::io("fsync", "", error))?;
        Ok(index)
    }

    /// An empty index in memory, for stores that are opened without the right to write.
    ///
    /// # Errors
    /// None that are known.
    pub fn memory(store: StoreId, cache_bytes: u64) -> Result<Self> {
        Self::fill(database(redb::backends::InMemoryBackend::new(), cache_bytes)?, Damage::default(), store)
    }

    /// Opens the index of a store, if it can be used.
    ///
    /// # Errors
    /// Only what would stop a rebuild as well: a full disk, no permission.
    pub fn open(storage: &Arc<dyn Storage>, store: StoreId, cache_bytes: u64) -> Result<Opened> {
        match Self::try_open(storage, store, cache_bytes) {
            Ok(opened) => Ok(opened),
            Err(error) if error.is_full() => Err(error),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(Opened::Rebuild { why: format!("{PATH} is missing") })
            }
            Err(Error::Io { op, path, source }) if source.kind() == io::ErrorKind::PermissionDenied => {
                Err(Error::Io { op, path, source })
            }
            Err(error) => Ok(Opened::Rebuild { why: error.to_string() }),
        }
    }

    /// As [`Index::open`], but a failing disk is an error of its own, and not a reason for a rebuild.
    ///
    /// # Errors
    /// `Io`, `StorageFull`, `Corrupt`.
    pub fn try_open(storage: &Arc<dyn Storage>, store: StoreId, cache_bytes: u64) -> Result<Opened> {
        let backend = PageBackend::open(&**storage, PATH)?;
        let damage = backend.damage();
        Self::check(database(backend, cache_bytes)?, damage, store)
    }

    /// The position that the index on disk was applied up to, read without writing; 0 if it does not tell.
    ///
    /// The log was durable up to there when it was written, so a log that ends before has lost its end.
    pub fn vouches_for(storage: &dyn Storage, store: StoreId) -> Lsn {
        // An index that cannot be read vouches for nothing; the open goes on without it.
        Self::look(storage, store).map_or(Lsn::ZERO, |read| read.applied())
    }

    /// What the index on disk says, read without writing; `None` if it cannot be used.
    pub fn look(storage: &dyn Storage, store: StoreId) -> Option<IndexRead> {
        let look = || -> Result<Option<IndexRead>> {
            let backend = PageBackend::open_read_only(storage, PATH)?;
            let damage = backend.damage();
            match Self::check(database(backend, 1 << 20)?, damage, store)? {
                Opened::Ready(index) => Ok(Some(index.read()?)),
                Opened::Rebuild { .. } => Ok(None),
            }
        };
        look().ok().flatten()
    }

    /// The index on disk, read as a whole without writing: every page that it uses is checked. A file that is changed
    /// meanwhile may seem damaged.
    ///
    /// # Errors
    /// `Io` if it cannot be read; that it cannot be used is no error.
    pub fn judge(storage: &dyn Storage, store: StoreId) -> Result<Judged> {
        let unusable = |error: Error| match error {
            Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => Judged::Missing,
            error => Judged::Unusable { why: error.to_string() },
        };
        let backend = match PageBackend::open_read_only(storage, PATH) {
            Ok(backend) => backend,
            Err(error) => return Ok(unusable(error)),
        };
        let damage = backend.damage();
        let mut database = match database(backend, JUDGE_CACHE_BYTES) {
            Ok(database) => database,
            Err(error) => return Ok(unusable(error)),
        };
        // Whether redb had to mend something in its own books says nothing; damage does.
        let _mended = database.check_integrity();
        if let Some(found) = damage.get() {
            return Ok(Judged::Unusable { why: Error::from(found.clone()).to_string() });
        }
        match Self::check(database, damage, store) {
            Ok(Opened::Ready(index)) => Ok(Judged::Usable { read: Box::new(index.read()?) }),
            Ok(Opened::Rebuild { why }) => Ok(Judged::Unusable { why }),
            Err(error) => Ok(unusable(error)),
        }
    }

    /// The first page of the file: every commit changes it.
    pub fn first_page(storage: &dyn Storage) -> Option<Vec<u8>> {
        let file = storage.open(PATH, OpenMode::Read).ok()?;
        let mut page = vec![0; 4096];
        read_exact_at(&*file, &mut page, 0).ok()?;
        Some(page)
    }

    /// Writes the first rows into an empty database, and makes every table.
    fn fill(database: Database, damage: Damage, store: StoreId) -> Result<Self> {
        let index = Self::of(database, damage);
        index.transaction(|transaction| {
            let mut meta = transaction.open_table(META).or_error("create")?;
            let row = [&SCHEMA.to_le_bytes()[..], &store.0].concat();
            meta.insert(META_STORE, row.as_slice()).or_error("create")?;
            meta.insert(META_POSITIONS, rows::three([0; 3]).as_slice()).or_error("create")?;
            transaction.open_table(ENTITIES).or_error("create")?;
            transaction.open_table(RUNS).or_error("create")?;
            transaction.open_table(LOGGED_MODELS).or_error("create")?;
            transaction.open_table(STATS).or_error("create")?;
            transaction.open_table(CHUNKS).or_error("create")?;
            transaction.open_table(FILES).or_error("create")?;
            transaction.open_table(EVENTS).or_error("create")?;
            transaction.open_table(DICTIONARY).or_error("create")?;
            transaction.open_table(IDEMPOTENCY).or_error("create")?;
            transaction.open_table(IDEMPOTENCY_AGE).or_error("create")?;
            transaction.open_table(WRITERS).or_error("create")?;
            transaction.open_table(UNKNOWN).or_error("create")?;
            Ok(())
        })?;
        Ok(index)
    }

    fn check(database: Database, damage: Damage, store: StoreId) -> Result<Opened> {
        let rebuild = |why: String| Ok(Opened::Rebuild { why });
        {
            let transaction = database.begin_read().or_error("open")?;
            let meta = match transaction.open_table(META) {
                Ok(meta) => meta,
                Err(redb::TableError::TableDoesNotExist(_)) => return rebuild(format!("{PATH} is not finished")),
                Err(error) => return Err(redb_error("open", error)),
            };
            let Some(row) = meta.get(META_STORE).or_error("open")? else {
                return rebuild(format!("{PATH} is not finished"));
            };
            let Some((schema, id)) = row.value().split_first_chunk::<4>() else {
                return rebuild(format!("{PATH} does not name its schema"));
            };
            let schema = u32::from_le_bytes(*schema);
            if schema != SCHEMA {
                return rebuild(format!("{PATH} has schema {schema}, this version writes {SCHEMA}"));
            }
            if id != store.0 {
                return rebuild(format!("{PATH} belongs to another store"));
            }
        }
        let index = Self::of(database, damage);
        // Opens every table: one that is missing shows here and not in the middle of a read.
        index.read()?;
        Ok(Opened::Ready(index))
    }

    /// A consistent view of what was last written. Costs microseconds (it opens all tables): share one between the
    /// readers of a position. While it lives, pages that it sees are not used again.
    ///
    /// # Errors
    /// [`Error::Corrupt`] (rebuild), io errors.
    pub fn read(&self) -> Result<IndexRead> {
        IndexRead::new(self.database())
    }

    /// The first damage that was found in the file since it was opened: it must be created again.
    pub fn damage(&self) -> Option<Corruption> {
        self.open.read().damage.get().cloned()
    }

    /// Whether a call on the file has failed: redb may refuse everything from now on, so it must be opened again.
    pub fn failed(&self) -> bool {
        self.open.read().damage.failed()
    }

    /// Ends this database's writes, before another one opens the file. Reads of it may live on, and fail.
    pub fn fence(&self) {
        self.open.read().damage.fence();
    }

    /// Puts another database in the place of this one, for all clones. Reads that were taken before stay with the old
    /// one.
    pub fn replace(&self, by: &Self) {
        let new = by.open.read().clone();
        *self.open.write() = new;
    }

    /// Puts another database in the place of this one, which is closed in good order; where reads keep it open, it ends
    /// without. Either way it writes nothing from now on: another process may open the file.
    pub fn release(&self, by: &Self) {
        let new = by.open.read().clone();
        let old = std::mem::replace(&mut *self.open.write(), new);
        drop(old.database);
        old.damage.fence();
    }

    fn of(database: Database, damage: Damage) -> Self {
        Self { open: Arc::new(RwLock::new(OpenDatabase { database: Arc::new(database), damage })) }
    }

    fn database(&self) -> Arc<Database> {
        self.open.read().database.clone()
    }

    fn transaction(&self, change: impl FnOnce(&redb::WriteTransaction) -> Result<()>) -> Result<()> {
        let write = || {
            let mut transaction = self.database().begin_write().or_error("write")?;
            transaction.set_durability(Durability::Immediate).or_error("write")?;
            transaction.set_quick_repair(true);
            change(&transaction)?;
            transaction.commit().or_error("commit")
        };
        let written = write();
        if let Err(Error::Corrupt(damage)) = &written {
            self.open.read().damage.report(damage);
        }
        written
    }

    /// Writes a change, whole and durable, or not at all.
    ///
    /// # Errors
    /// See the module's text; after a failed commit the change may or may not be there.
    pub fn write(&self, change: &IndexChange) -> Result<()> {
        self.write_rows(change, Rows::default())
    }

    /// As [`Index::write`], with rows that are made meanwhile.
    ///
    /// # Errors
    /// As [`Index::write`]; `Internal`, and nothing is written, if rows come out of order.
    pub fn write_rows(&self, change: &IndexChange, rows: Rows<'_>) -> Result<()> {
        self.transaction(|transaction| {
            for run in &change.purged {
                let (first, last) = run_bounds(*run);
                let (from, to) = (keys::series(first), keys::series(last));
                let mut stats = transaction.open_table(STATS).or_error("write")?;
                stats.retain_in::<&[u8; 20], _>(&from..=&to, |_, _| false).or_error("write")?;
                let (from, to) = (keys::chunk(first, 0, 0), keys::chunk(last, u64::MAX, u32::MAX));
                let mut chunks = transaction.open_table(CHUNKS).or_error("write")?;
                chunks.retain_in::<&[u8; 32], _>(&from..=&to, |_, _| false).or_error("write")?;
                let entity = keys::entity(&EntityKey::Run(*run));
                let (from, to) = (keys::event_list(&entity, Lsn::ZERO), keys::event_list(&entity, Lsn::MAX));
                let mut events = transaction.open_table(EVENTS).or_error("write")?;
                events.retain_in::<&[u8], _>(from.as_slice()..=to.as_slice(), |_, _| false).or_error("write")?;
            }
            write_entities(transaction, change)?;
            write_points(transaction, change, rows)?;
            let events = sorted(&change.events, |(key, list)| {
                let first = list.first().map_or(Lsn::ZERO, |(lsn, _)| *lsn);
                keys::event_list(&keys::entity(key), first)
            });
            let mut table = transaction.open_table(EVENTS).or_error("write")?;
            put(
                &mut table,
                &events,
                |(key, _), out| out.extend_from_slice(key),
                |(_, (_, list)), out| {
                    rows::put_event_list(list, out);
                    Ok(())
                },
            )?;
            drop(table);
            write_rest(transaction, change)?;
            let mut meta = transaction.open_table(META).or_error("write")?;
            let positions = rows::three([change.applied.0, change.sealed.0, change.generation]);
            meta.insert(META_POSITIONS, positions.as_slice()).or_error("write")?;
            Ok(())
        })
    }
}

fn run_bounds(run: RunId) -> (SeriesId, SeriesId) {
    (SeriesId { run, key: KeyId(0) }, SeriesId { run, key: KeyId(u32::MAX) })
}

/// References sorted by key; of equal keys the last one.
fn sorted<T, K: Ord>(items: &[T], key: impl Fn(&T) -> K) -> Vec<(K, &T)> {
    let mut refs: Vec<(K, &T)> = items.iter().map(|item| (key(item), item)).collect();
    if !refs.is_sorted_by(|a, b| a.0 < b.0) {
        refs.sort_by(|a, b| a.0.cmp(&b.0));
        refs.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                earlier.1 = later.1;
            }
            same
        });
    }
    refs
}

/// New keys in a row after which a gap between two keys of the table is taken to be worth a cursor.
const FRESH_MIN: u32 = 4;

/// Puts rows whose keys ascend strictly.
///
/// Rows behind the table's last key, and rows that all fall between two of its keys (the series of a new run), go
/// through a cursor: it fills pages instead of looking each key up, three times as fast.
fn put<K: Key + 'static, V: Value + 'static, T>(
    table: &mut Table<'_, K, V>,
    items: &[T],
    key: impl Fn(&T, &mut Vec<u8>),
    row: impl Fn(&T, &mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    let mut items = items.iter();
    put_each(table, |key_bytes, row_bytes| match items.next() {
        Some(item) => {
            key(item, key_bytes);
            row(item, row_bytes)?;
            Ok(true)
        }
        None => Ok(false),
    })
}

/// Puts rows whose keys ascend strictly. `next` puts key and row into empty buffers, or answers that there is none.
fn put_each<K: Key + 'static, V: Value + 'static>(
    table: &mut Table<'_, K, V>,
    mut next: impl FnMut(&mut Vec<u8>, &mut Vec<u8>) -> Result<bool>,
) -> Result<()> {
    let owned = |guard: &redb::AccessGuard<'_, K>| K::as_bytes(&guard.value()).as_ref().to_vec();
    let last = table.last().or_error("write")?.map(|(key, _)| owned(&key));
    let (mut key, mut row, mut before) = (Vec::new(), Vec::new(), Vec::new());
    let mut pull = |key: &mut Vec<u8>, row: &mut Vec<u8>| {
        std::mem::swap(key, &mut before);
        key.clear();
        row.clear();
        let more = next(key, row)?;
        if more && !before.is_empty() && K::compare(key, &before).is_le() {
            return Err(Error::Internal("rows for the index came out of order".into()));
        }
        Ok(more)
    };
    let mut more = pull(&mut key, &mut row)?;
    let mut fresh = 0;
    while more {
        let behind = last.as_ref().is_none_or(|last| K::compare(&key, last).is_gt());
        if !behind && fresh < FRESH_MIN {
            let old = table.insert(K::from_bytes(&key), V::from_bytes(&row)).or_error("write")?.is_some();
            fresh = if old { 0 } else { fresh + 1 };
            more = pull(&mut key, &mut row)?;
            continue;
        }
        let mut cursor = if behind {
            table.upper_bound_mut(Bound::<K::SelfType<'_>>::Unbounded).or_error("write")?
        } else {
            table.lower_bound_mut(Bound::Included(K::from_bytes(&key))).or_error("write")?
        };
        let end = cursor.peek_next().or_error("write")?.map(|(key, _)| owned(&key));
        let mut count = 0;
        while more && end.as_ref().is_none_or(|end| K::compare(&key, end).is_lt()) {
            cursor.insert_before(K::from_bytes(&key), V::from_bytes(&row)).or_error("write")?;
            count += 1;
            more = pull(&mut key, &mut row)?;
        }
        cursor.close().or_error("write")?;
        // A gap that was not worth it (or a key that is there): look keys up for a while.
        fresh = if count > FRESH_MIN { FRESH_MIN - 1 } else { 0 };
    }
    Ok(())
}

fn write_entities(transaction: &redb::WriteTransaction, change: &IndexChange) -> Result<()> {
    let entities = sorted(&change.entities, |(key, _)| keys::entity(key));
    let mut table = transaction.open_table(ENTITIES).or_error("write")?;
    put(
        &mut table,
        &entities,
        |(key, _), out| out.extend_from_slice(key),
        |(_, (_, state)), out| rows::put_entity(state, out),
    )?;
    drop(table);

    let mut runs = Vec::new();
    let mut purged = Vec::new();
    let mut models = Vec::new();
    for (_, (key, state)) in &entities {
        match (key, &**state) {
            (EntityKey::Run(id), EntityState::Run(state)) => {
                let key = keys::member(state.experiment, state.created, id.0);
                if state.lifecycle == Lifecycle::Purged { purged.push(key) } else { runs.push(key) }
            }
            (EntityKey::LoggedModel(id), EntityState::LoggedModel(state)) => {
                models.push(keys::member(state.experiment, state.created, id.0));
            }
            _ => {}
        }
    }
    let mut table = transaction.open_table(RUNS).or_error("write")?;
    put_members(&mut table, runs)?;
    for key in purged {
        table.remove(&key).or_error("write")?;
    }
    drop(table);
    put_members(&mut transaction.open_table(LOGGED_MODELS).or_error("write")?, models)
}

/// Adds those that are not there yet: most changes are of entities that are, and a page that is not written is free.
fn put_members(table: &mut Table<'_, &'static [u8; 32], ()>, mut members: Vec<[u8; 32]>) -> Result<()> {
    members.sort_unstable();
    let mut fresh = Vec::with_capacity(members.len());
    for key in members {
        if table.get(&key).or_error("write")?.is_none() {
            fresh.push(key);
        }
    }
    put(table, &fresh, |key, out| out.extend_from_slice(key), |_, _| Ok(()))
}

fn write_points(transaction: &redb::WriteTransaction, change: &IndexChange, more: Rows<'_>) -> Result<()> {
    let mut purged = change.purged.clone();
    purged.sort_unstable();
    let is_purged = |series: &SeriesId| !purged.is_empty() && purged.binary_search(&series.run).is_ok();
    let mut stats = sorted(&change.stats, |(series, _)| *series);
    stats.retain(|(series, _)| !is_purged(series));
    let mut table = transaction.open_table(STATS).or_error("write")?;
    put(
        &mut table,
        &stats,
        |(series, _), out| out.extend_from_slice(&keys::series(*series)),
        |(_, (_, stats)), out| {
            out.extend_from_slice(&rows::stats(stats));
            Ok(())
        },
    )?;
    if let Some(stats) = more.stats {
        let mut stats = stats.filter(|row| row.as_ref().map_or(true, |(series, _)| !is_purged(series)));
        put_each(&mut table, |key, row| {
            let Some((series, stats)) = stats.next().transpose()? else { return Ok(false) };
            key.extend_from_slice(&keys::series(series));
            row.extend_from_slice(&rows::stats(&stats));
            Ok(true)
        })?;
    }
    drop(table);

    let mut table = transaction.open_table(CHUNKS).or_error("write")?;
    let removed = sorted(&change.chunks_removed, |(series, file, chunk)| keys::chunk(*series, *file, *chunk));
    for (key, _) in &removed {
        table.remove(key).or_error("write")?;
    }
    let added = sorted(&change.chunks_added, |(series, file, chunk, _)| keys::chunk(*series, *file, *chunk));
    put(
        &mut table,
        &added,
        |(key, _), out| out.extend_from_slice(key),
        |(_, (.., entry)), out| {
            out.extend_from_slice(entry);
            Ok(())
        },
    )?;
    for mut chunks in more.chunks {
        put_each(&mut table, |key, row| {
            let Some((series, file, chunk)) = chunks(row) else { return Ok(false) };
            key.extend_from_slice(&keys::chunk(series, file, chunk));
            Ok(true)
        })?;
    }
    drop(table);

    let mut table = transaction.open_table(FILES).or_error("write")?;
    for file in &change.files_removed {
        table.remove(file).or_error("write")?;
    }
    for (file, row) in &change.files_added {
        table.insert(file, row.as_slice()).or_error("write")?;
    }
    Ok(())
}

fn write_rest(transaction: &redb::WriteTransaction, change: &IndexChange) -> Result<()> {
    let mut table = transaction.open_table(DICTIONARY).or_error("write")?;
    let entries = sorted(&change.dictionary, |entry| keys::dictionary(entry.kind, entry.id));
    put(
        &mut table,
        &entries,
        |(key, _), out| out.extend_from_slice(key),
        |(_, entry), out| {
            out.extend_from_slice(&entry.bytes);
            Ok(())
        },
    )?;
    drop(table);

    let mut used = transaction.open_table(IDEMPOTENCY).or_error("write")?;
    let mut ages = transaction.open_table(IDEMPOTENCY_AGE).or_error("write")?;
    for entry in &change.idempotency {
        let row = rows::three([entry.request, entry.lsn.0, entry.time.0 as u64]);
        used.insert(entry.key.as_slice(), &row).or_error("write")?;
        ages.insert(entry.lsn.0, entry.key.as_slice()).or_error("write")?;
    }
    expire(&mut used, &mut ages, change.idempotency_expired_before)?;
    drop((used, ages));

    let mut table = transaction.open_table(WRITERS).or_error("write")?;
    for (writer, row) in &change.writers {
        table.insert(writer.as_slice(), row.as_slice()).or_error("write")?;
    }
    drop(table);
    let mut table = transaction.open_table(UNKNOWN).or_error("write")?;
    for (tag, more) in &change.unknown_events {
        let count = table.get(tag).or_error("write")?.map_or(0, |count| count.value());
        table.insert(tag, count.saturating_add(*more)).or_error("write")?;
    }
    Ok(())
}

/// Takes the oldest keys out while they are too old or too many.
fn expire(
    used: &mut Table<'_, &'static [u8], &'static [u8; 24]>,
    ages: &mut Table<'_, u64, &'static [u8]>,
    before: Option<TimestampMs>,
) -> Result<()> {
    loop {
        let Some((lsn, key)) = ages.first().or_error("write")?.map(|(lsn, key)| (lsn.value(), key.value().to_vec()))
        else {
            return Ok(());
        };
        let row = used.get(key.as_slice()).or_error("write")?.and_then(|row| rows::read_three(row.value()));
        // A key that was used again since has a younger entry of its own.
        let current = row.filter(|[_, at, _]| *at == lsn);
        if let Some([.., time]) = current {
            let old = before.is_some_and(|before| (time as i64) < before.0);
            if !old && ages.len().or_error("write")? <= IDEMPOTENCY_COUNT_MAX {
                return Ok(());
            }
            used.remove(key.as_slice()).or_error("write")?;
        }
        ages.remove(lsn).or_error("write")?;
    }
}

#[cfg(test)]
mod tests;
