//! Opens, creates and writes `index.redb`.
//!
//! - [`Index::create`]: `index.redb.tmp`, first commit > rename > sync of the folder. A crash leaves the old index or
//!   none, and a `.tmp` that the next creation removes.
//! - [`Index::write`]: one transaction, durable on return (two-phase with quick repair: a crash is repaired in a
//!   millisecond, not by a walk over the file); `super::write` puts the rows.
//! - [`Index::open`] answers [`Opened::Rebuild`] to whatever cannot be used; it never panics.
//!
//! After any error but `Invalid`, redb refuses everything (`PreviousIo`): drop the [`Index`] and every read of it, and
//! open again, which may say that it must be rebuilt.

use std::io;
use std::sync::Arc;

use parking_lot::RwLock;
use redb::{Database, Durability, ReadableDatabase};

use super::backend::{Damage, PageBackend};
use super::change::{At, IndexChange, OrError, Rows, redb_error};
use super::read::IndexRead;
use super::rows::{self, PATH};
use super::tables::*;
use super::write;
use crate::error::{Corruption, Error, Result};
use crate::id::{Lsn, StoreId};
use crate::storage::{OpenMode, Storage, read_exact_at};

const PATH_TMP: &str = "index.redb.tmp";

/// The result of opening an index.
#[derive(Debug)]
pub enum Opened {
    /// It can be used.
    Ready(Index),
    /// It cannot be used: create it again and fill it from the log and the series files.
    Rebuild {
        /// The reason, for the operator.
        why: String,
    },
}

/// The result of checking the whole index on disk.
#[derive(Debug)]
pub enum Judged {
    /// There is no index.
    Missing,
    /// An open for writing would rebuild it.
    Unusable {
        /// The reason, for the operator.
        why: String,
    },
    /// Every page that it uses has the bytes that were written.
    Usable {
        /// The content of the index.
        read: Box<IndexRead>,
    },
}

/// Cache for an index that is read once.
const JUDGE_CACHE_BYTES: u64 = 4 << 20;

/// `index.redb`, open.
///
/// A handle: clones share the database, and also the one that [`Index::replace`] exchanges it for.
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

fn database(backend: impl redb::StorageBackend, cache_bytes: u64) -> Result<Database> {
    let cache_bytes = usize::try_from(cache_bytes).unwrap_or(usize::MAX);
    Database::builder().set_cache_size(cache_bytes).create_with_backend(backend).or_error("open")
}

impl Index {
    /// Creates an empty index, replacing any other, and opens it.
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

    /// An empty index in memory, for stores opened without write access.
    ///
    /// # Errors
    /// None are known.
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

    /// Opens the index of a store without writing: recovery and changes stay in memory.
    ///
    /// # Errors
    /// [`Error::IndexChanged`] if another process writes it just now.
    pub fn open_read_only(storage: &dyn Storage, store: StoreId, cache_bytes: u64) -> Result<Opened> {
        let open = || -> Result<Opened> {
            let backend = PageBackend::open_read_only(storage, PATH)?;
            let damage = backend.damage();
            Self::check(database(backend, cache_bytes)?, damage, store)
        };
        match open() {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(Opened::Rebuild { why: format!("{PATH} is missing") })
            }
            Ok(opened) => Ok(opened),
            Err(Error::IndexChanged) => Err(Error::IndexChanged),
            Err(error) => Ok(Opened::Rebuild { why: error.to_string() }),
        }
    }

    /// As [`Index::open`], but a failing disk is an error, not a reason to rebuild.
    ///
    /// # Errors
    /// `Io`, `StorageFull`, `Corrupt`.
    pub fn try_open(storage: &Arc<dyn Storage>, store: StoreId, cache_bytes: u64) -> Result<Opened> {
        let backend = PageBackend::open(&**storage, PATH)?;
        let damage = backend.damage();
        Self::check(database(backend, cache_bytes)?, damage, store)
    }

    /// The applied position of the index on disk, read without writing; 0 if it cannot be read.
    ///
    /// The log was durable up to there when the index was written, so a log that ends before has lost its end.
    pub fn vouches_for(storage: &dyn Storage, store: StoreId) -> Lsn {
        // An index that cannot be read confirms nothing; the open continues without it.
        Self::look(storage, store).map_or(Lsn::ZERO, |read| read.applied())
    }

    /// The index on disk, opened without writing; `None` if it cannot be used.
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

    /// Reads the whole index on disk without writing, and checks every page that it uses. A file that changes meanwhile
    /// may seem damaged.
    ///
    /// # Errors
    /// `Io` if it cannot be read. An index that cannot be used is a result, not an error.
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
        // Whether redb repaired its own bookkeeping does not matter; damage does.
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

    /// Creates every table and writes the first rows into an empty database.
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
                Err(error) => return Err(redb_error("open".into(), error)),
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
        // Open every table now: a missing one must not show up in the middle of a read.
        index.read()?;
        Ok(Opened::Ready(index))
    }

    /// A consistent view of what was last written. Costs microseconds (it opens all tables): share one between the
    /// readers of a position. While it lives, pages that it sees are not used again.
    ///
    /// # Errors
    /// [`Error::Corrupt`] (rebuild), io errors.
    pub fn read(&self) -> Result<IndexRead> {
        let OpenDatabase { database, damage } = self.open.read().clone();
        IndexRead::new(database, damage)
    }

    /// The first damage found in the file since it was opened. If there is any, the index must be created again.
    pub fn damage(&self) -> Option<Corruption> {
        self.open.read().damage.get().cloned()
    }

    /// Whether a call on the file has failed: redb may refuse everything from then on, so the index must be opened
    /// again.
    pub fn failed(&self) -> bool {
        self.open.read().damage.failed()
    }

    /// Ends this database's writes, before another one opens the file. Its readers may continue, and may fail.
    pub fn fence(&self) {
        self.open.read().damage.fence();
    }

    /// Replaces this database by another one, for all clones. Reads taken before stay with the old one.
    pub fn replace(&self, by: &Self) {
        let new = by.open.read().clone();
        *self.open.write() = new;
    }

    /// Replaces this database by another one and closes it cleanly, unless reads keep it open. Either way it writes
    /// nothing from now on, so another process may open the file.
    pub fn release(&self, by: &Self) {
        let new = by.open.read().clone();
        let old = std::mem::replace(&mut *self.open.write(), new);
        drop(old.database);
        old.damage.fence();
    }

    fn of(database: Database, damage: Damage) -> Self {
        Self { open: Arc::new(RwLock::new(OpenDatabase { database: Arc::new(database), damage })) }
    }

    fn transaction(&self, change: impl FnOnce(&redb::WriteTransaction) -> Result<()>) -> Result<()> {
        let write = || {
            let OpenDatabase { database, damage } = self.open.read().clone();
            let mut transaction = database.begin_write().or_error(At { op: "write", met: Some(&damage) })?;
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

    /// As [`Index::write`], with rows made while they are written.
    ///
    /// # Errors
    /// As [`Index::write`]; `Internal` if rows come out of order, and then nothing is written.
    pub fn write_rows(&self, change: &IndexChange, rows: Rows<'_>) -> Result<()> {
        self.transaction(|transaction| write::write_all(transaction, change, rows))
    }
}

#[cfg(test)]
mod tests;
