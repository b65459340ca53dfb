//! The database file: built beside its place under another name, and moved there when it is complete.
//!
//! ```text
//! /srv/.back.db.unfinished    MLflow's tables, and the table runlode_export: the manifest
//! /srv/back.db                the same, complete
//! ```
//! Invariants: the manifest changes in the transaction of the rows that it speaks of. A database without that table is
//! never touched, nor one whose change counter differs from the manifest's: somebody wrote to it since.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::{Error, Result};
use crate::folder::{refuse_link, work_place};
use crate::manifest::Manifest;

const TABLES: &str = include_str!("tables.sql");
const INDEXES: &str = include_str!("indexes.sql");

/// The schema version of MLflow that [`TABLES`] and [`INDEXES`] are of.
const SCHEMA: &str = "dc11669786a5";

/// Memory for pages, in KiB.
const CACHE_KIB: i64 = 64 << 10;

/// Where a SQLite file counts its changes, a big-endian u32.
const CHANGE_COUNTER_OFFSET: u64 = 24;

/// A database that is being written.
#[derive(Debug)]
pub(crate) struct Database {
    target: PathBuf,
    work: PathBuf,
    connection: Connection,
    pub(crate) manifest: Manifest,
    /// Whether it was begun earlier.
    pub(crate) resumed: bool,
}

/// What there is to do.
#[derive(Debug)]
pub(crate) enum Begun {
    /// Nothing: the target is complete.
    Complete(Box<Manifest>),
    /// To write it.
    Work(Box<Database>),
}

fn failed(path: &Path) -> impl Fn(rusqlite::Error) -> Error {
    move |source| Error::Sqlite { path: path.to_path_buf(), source }
}

/// The manifest in a database; `None` if it has none.
fn read_manifest(connection: &Connection, path: &Path) -> Result<Option<Manifest>> {
    let has_table = connection.prepare("SELECT 1 FROM sqlite_master WHERE name = 'runlode_export'");
    match has_table.and_then(|mut statement| statement.exists([])) {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => return Ok(None),
        Err(error) => return Err(failed(path)(error)),
    }
    let text: String =
        connection.query_row("SELECT state FROM runlode_export", [], |row| row.get(0)).map_err(failed(path))?;
    Manifest::parse(&text, &path.display().to_string()).map(Some)
}

/// Bytes of a file; 0 if there is none.
fn length(path: &Path) -> Result<u64> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// How often a database was changed. No connection to it may be open: closing the file would end the locks of this
/// process.
fn change_counter(path: &Path) -> Result<u32> {
    let mut bytes = [0; 4];
    let mut read = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(CHANGE_COUNTER_OFFSET))?;
        file.read_exact(&mut bytes)
    };
    read().map_err(|error| Error::io("read", path, error))?;
    Ok(u32::from_be_bytes(bytes))
}

/// Checks that a target may be written, and returns the manifest that it has.
fn check_target(target: &Path, wanted: &Manifest) -> Result<Option<Manifest>> {
    if !target.exists() {
        return Ok(None);
    }
    let place = target.display();
    let foreign = || Error::Target(format!("{place} is no database that an export wrote; give a new path"));
    if !target.is_file() {
        return Err(foreign());
    }
    let connection = Connection::open_with_flags(target, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed(target))?;
    let manifest = read_manifest(&connection, target)?.ok_or_else(foreign)?;
    connection.close().map_err(|(_, error)| failed(target)(error))?;
    if manifest.store != wanted.store {
        return Err(Error::Target(format!("{place} is an export of another store; give a new path")));
    }
    if length(&beside(target, "-wal"))? > 0 || manifest.changes != Some(change_counter(target)?) {
        return Err(Error::Target(format!("{place} was changed since it was exported; give a new path, or remove it")));
    }
    Ok(Some(manifest))
}

fn remove_work(work: &Path) -> Result<()> {
    for path in [beside(work, "-journal"), beside(work, "-wal"), work.to_path_buf()] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::io("remove", &path, error)),
            _ => {}
        }
    }
    Ok(())
}

impl Database {
    /// Begins an export, or goes on with one that was cut. If no position is `fixed`, the cut one's is kept.
    pub(crate) fn begin(target: &Path, wanted: Manifest, fixed: bool) -> Result<Begun> {
        let work = work_place(target)?;
        let present = check_target(target, &wanted)?;
        if let Some(parent) = target.parent().filter(|parent| *parent != Path::new("")) {
            fs::create_dir_all(parent).map_err(|error| Error::io("make", parent, error))?;
        }
        if let Some(complete) = present.filter(|present| present.is_same(&wanted)) {
            // What lies beside it is of another position: it was cut, or is written now.
            return Ok(Begun::Complete(Box::new(complete)));
        }
        refuse_link(&work)?;
        let connection = open(&work, target)?;
        let left = read_manifest(&connection, &work)?;
        let parts = connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get::<_, i64>(0));
        if left.is_none() && parts.map_err(failed(&work))? > 0 {
            return Err(Error::Target(format!(
                "{} is no database that an export wrote; remove it, or give another target",
                work.display()
            )));
        }
        let goes_on = |left: &Manifest| {
            !left.finished
                && if fixed { left.is_same(&wanted) } else { left.is_of(&wanted) && left.position <= wanted.position }
        };
        let target = target.to_path_buf();
        if let Some(manifest) = left.filter(goes_on) {
            connection.execute_batch("BEGIN IMMEDIATE").map_err(failed(&work))?;
            return Ok(Begun::Work(Box::new(Self { target, work, connection, manifest, resumed: true })));
        }
        connection.close().map_err(|(_, error)| failed(&work)(error))?;
        remove_work(&work)?;
        let connection = open(&work, &target)?;
        let text = wanted.to_text()?;
        let create = || {
            connection.execute_batch("BEGIN IMMEDIATE; CREATE TABLE runlode_export (state TEXT NOT NULL)")?;
            connection.execute("INSERT INTO runlode_export VALUES (?1)", [text])?;
            connection.execute_batch(TABLES)?;
            connection.execute("INSERT INTO alembic_version VALUES (?1)", [SCHEMA])?;
            connection.execute_batch("COMMIT; BEGIN IMMEDIATE")
        };
        create().map_err(failed(&work))?;
        Ok(Begun::Work(Box::new(Self { target, work, connection, manifest: wanted, resumed: false })))
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn failed(&self, source: rusqlite::Error) -> Error {
        failed(&self.target)(source)
    }

    /// Commits what was written, with the manifest, and begins another transaction.
    pub(crate) fn commit(&self) -> Result<()> {
        let text = self.manifest.to_text()?;
        let commit = || {
            self.connection.prepare_cached("UPDATE runlode_export SET state = ?1")?.execute([text])?;
            self.connection.execute_batch("COMMIT; BEGIN IMMEDIATE")
        };
        commit().map_err(|error| self.failed(error))
    }

    /// Makes the indexes; does nothing to those that are there.
    pub(crate) fn make_indexes(&self) -> Result<()> {
        self.connection.execute_batch(INDEXES).map_err(|error| self.failed(error))
    }

    /// Moves the complete database to its place.
    pub(crate) fn finish(self) -> Result<Manifest> {
        let Self { target, work, connection, mut manifest, .. } = self;
        let failed = failed(&target);
        let close = |connection: Connection| connection.close().map_err(|(_, error)| failed(error));
        connection.execute_batch("COMMIT").map_err(&failed)?;
        close(connection)?;
        manifest.finished = true;
        manifest.report.files = 1;
        manifest.report.bytes = length(&work)?;
        // The change that writes the counter is counted too.
        let changes = change_counter(&work)?.wrapping_add(1);
        manifest.changes = Some(changes);
        let text = manifest.to_text()?;
        let connection = Connection::open_with_flags(&work, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(&failed)?;
        connection.execute("UPDATE runlode_export SET state = ?1", [text]).map_err(&failed)?;
        close(connection)?;
        if change_counter(&work)? != changes {
            return Err(runlode::Error::Internal(format!("{} counts its changes otherwise", work.display())).into());
        }
        let place = || -> std::io::Result<()> {
            File::open(&work)?.sync_all()?;
            fs::rename(&work, &target)?;
            let parent = target.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
            File::open(parent)?.sync_all()
        };
        place().map_err(|error| Error::io("move a database to", &target, error))?;
        Ok(manifest)
    }
}

/// Opens the database that is built. Holds its lock until it is closed.
fn open(work: &Path, target: &Path) -> Result<Connection> {
    let connection = Connection::open(work).map_err(failed(work))?;
    let prepare = || {
        connection.busy_timeout(std::time::Duration::ZERO)?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        // A power cut may not hurt it; that a commit is late does not matter.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.execute_batch("BEGIN EXCLUSIVE; COMMIT")
    };
    match prepare() {
        Ok(()) => Ok(connection),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
            Err(Error::Target(format!("another export is writing to {} now", target.display())))
        }
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => Err(Error::Target(format!(
            "{} is no database that an export wrote; remove it, or give another target",
            work.display()
        ))),
        Err(error) => Err(failed(work)(error)),
    }
}
