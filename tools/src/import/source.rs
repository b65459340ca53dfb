//! The source: an SQLite database that MLflow wrote, opened read-only, in one transaction.
//!
//! The tables and columns that exist decide what is read, not the version that the database names: an unknown version
//! with known columns is imported. A write-ahead log beside the database belongs to it. If SQLite cannot read the
//! database in place (a hot journal, a folder without write permission), a copy is read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use runlode::Point;
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use tempfile::TempDir;

use super::report::Report;
use crate::error::{Error, Result};

/// Versions of the schema that were checked against this reader, oldest first.
const HEADS_KNOWN: &[&str] = &[
    "97727af70f4d",
    "acf3f17fdcc7",
    "5b0e9adcef9c",
    "0584bdc529eb",
    "bda7b8c39065",
    "71994744cf8e",
    "bf29a5ff90ea",
    "1bd49d398cd23",
    "d3e4f5a6b7c8",
    "1b5f0d9ad7c1",
    "c3d6457b6d8a",
    "7d34483879f0",
    "da6fb0208061",
    "b7e4c1a90f23",
    "6f8d9c3b2a1e",
    "b7e2c1a4d9f3",
    "dc11669786a5",
];

/// Tables that are imported, or that hold nothing of the user's (locks, the schema's version).
pub(super) const TABLES_READ: &[&str] = &[
    "alembic_version",
    "experiments",
    "experiment_tags",
    "runs",
    "metrics",
    "latest_metrics",
    "params",
    "tags",
    "datasets",
    "inputs",
    "input_tags",
    "logged_models",
    "logged_model_params",
    "logged_model_tags",
    "logged_model_metrics",
    "registered_models",
    "model_versions",
    "registered_model_tags",
    "model_version_tags",
    "registered_model_aliases",
    "workspaces",
    "job_locks",
    "scheduler_leases",
];

/// A point of a run, as a file of the source has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunPoint<'p> {
    pub(super) key: &'p str,
    pub(super) point: Point,
    /// Name and digest of the data set that it was measured on.
    pub(super) dataset: Option<(&'p str, &'p str)>,
}

/// Takes the points of a run, one after another.
pub(super) type EachPoint<'e> = dyn FnMut(&RunPoint<'_>) -> Result<()> + 'e;

/// Points that are not in a table: those of a run are read from its files.
pub(super) trait RunPoints {
    /// Calls `each` with the points of a run in the order in which they were logged. What cannot be read is told to
    /// `found`.
    fn read(&self, run: &str, found: &mut Report, each: &mut EachPoint<'_>) -> Result<()>;
}

/// What a foreign format is, and what it cannot hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nature {
    /// In the words of a report.
    pub(super) kind: &'static str,
    /// Whether it keeps infinities, the sign of zero and equal points that were logged twice.
    pub(super) keeps_all_points: bool,
}

/// An open source: an SQLite database of MLflow, or the tables that another source was brought into (see
/// [`super::stage`]).
pub(super) struct Source {
    connection: Connection,
    columns: BTreeMap<String, BTreeSet<String>>,
    /// The schema's version, as the database names it.
    pub(super) head: Option<String>,
    /// Why a copy is read, if so.
    pub(super) copied: Option<&'static str>,
    nature: Option<Nature>,
    files: Option<Box<dyn RunPoints>>,
    /// What was found while a foreign source was brought into tables.
    pub(super) found: Report,
    /// Dropped after the connection to the copy in it.
    _copy: Option<TempDir>,
}

impl Source {
    /// Opens a database and begins the one transaction.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let metadata =
            fs::metadata(path).map_err(|error| Error::io(format!("cannot read {}", path.display()), error))?;
        if !metadata.is_file() {
            return Err(Error::Source(format!("{} is not a file; give the path of mlflow.db", path.display())));
        }
        let journal = fs::metadata(beside(path, "-journal")).is_ok_and(|journal| journal.len() > 0);
        if journal {
            return Self::open_copy(path, "a writer left a hot journal beside it");
        }
        match Self::begin(path, path, OpenFlags::SQLITE_OPEN_READ_ONLY, None, None) {
            Ok(source) => Ok(source),
            Err(Error::Source(_)) if !is_sqlite(path)? => {
                Err(Error::Source(format!("{} is not an SQLite database; give the path of mlflow.db", path.display())))
            }
            // A write-ahead log in a folder without write permission: SQLite needs to create its index file there.
            Err(Error::Source(first)) => match Self::open_copy(path, "SQLite could not read it in place") {
                // The same error as for the original.
                Err(Error::Source(_)) => Err(Error::Source(first)),
                Err(error) => Err(Error::Source(format!("{first}; a copy could not be read either: {error}"))),
                opened => opened,
            },
            Err(error) => Err(error),
        }
    }

    fn open_copy(path: &Path, why: &'static str) -> Result<Self> {
        let copy = TempDir::new().map_err(|error| Error::io("cannot make a temporary folder", error))?;
        let target = copy.path().join("mlflow.db");
        for suffix in ["", "-wal", "-journal"] {
            let (from, to) = (beside(path, suffix), beside(&target, suffix));
            // A pipe in its place would block forever, and a link is not SQLite's.
            if suffix.is_empty() || fs::symlink_metadata(&from).is_ok_and(|beside| beside.is_file()) {
                fs::copy(&from, &to).map_err(|error| Error::io(format!("cannot copy {}", from.display()), error))?;
            }
        }
        // A copied file keeps its mode, but SQLite must be able to roll a journal back.
        make_writable(&target)?;
        Self::begin(&target, path, OpenFlags::SQLITE_OPEN_READ_WRITE, Some(copy), Some(why))
    }

    /// `path` is what the user calls the database, even if `file` is a copy of it.
    fn begin(
        file: &Path,
        path: &Path,
        flags: OpenFlags,
        copy: Option<TempDir>,
        copied: Option<&'static str>,
    ) -> Result<Self> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(file, flags).map_err(|error| cannot_read(path, &error))?;
        let mut source = Self {
            connection,
            columns: BTreeMap::new(),
            head: None,
            copied,
            nature: None,
            files: None,
            found: Report::default(),
            _copy: copy,
        };
        source.read_schema().map_err(|error| cannot_read(path, &error))?;
        source.head = source.read_head().map_err(|error| {
            Error::Source(format!("cannot read {}, the schema's version in alembic_version: {error}", path.display()))
        })?;
        if !source.has("alembic_version") || !source.has("runs") || !source.has("experiments") {
            return Err(Error::usage(format!(
                "{} is an SQLite database, but not an MLflow store (it has no tables alembic_version, experiments and runs)",
                path.display()
            )));
        }
        Ok(source)
    }

    /// Opens the tables that a foreign source was brought into.
    pub(super) fn staged(
        file: &Path,
        name: &str,
        nature: Nature,
        files: Option<Box<dyn RunPoints>>,
        folder: Option<TempDir>,
    ) -> Result<Self> {
        let mut source = Self::begin(file, Path::new(name), OpenFlags::SQLITE_OPEN_READ_ONLY, folder, None)?;
        source.nature = Some(nature);
        source.files = files;
        Ok(source)
    }

    /// Whether it is no SQLite database of MLflow.
    pub(super) fn is_foreign(&self) -> bool {
        self.nature.is_some()
    }

    /// What it is.
    pub(super) fn kind(&self) -> &'static str {
        self.nature.map_or("MLflow's SQLite database", |nature| nature.kind)
    }

    /// Whether it can hold every point as it was logged. MLflow's databases cannot.
    pub(super) fn keeps_all_points(&self) -> bool {
        self.nature.is_some_and(|nature| nature.keeps_all_points)
    }

    /// The files that have its points, if these are in no table.
    pub(super) fn files(&self) -> Option<&dyn RunPoints> {
        self.files.as_deref()
    }

    fn read_schema(&mut self) -> rusqlite::Result<()> {
        self.connection.busy_timeout(Duration::from_secs(30))?;
        // Sort in files, not in memory; nothing is written to the database.
        self.connection.execute_batch("PRAGMA query_only = ON; PRAGMA temp_store = FILE; BEGIN")?;
        let mut statement =
            self.connection.prepare("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")?;
        let tables: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        for table in tables {
            let mut statement = self.connection.prepare("SELECT name FROM pragma_table_info(?1)")?;
            let columns = statement.query_map([&table], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
            self.columns.insert(table, columns);
        }
        Ok(())
    }

    /// `None`: the database names no version. That is no error, because the columns decide what is read.
    fn read_head(&self) -> rusqlite::Result<Option<String>> {
        if !self.has_column("alembic_version", "version_num") {
            return Ok(None);
        }
        let head = self.connection.query_row("SELECT version_num FROM alembic_version", [], |row| row.get(0));
        Ok(head.optional()?.flatten())
    }

    /// Whether a table exists.
    pub(super) fn has(&self, table: &str) -> bool {
        self.columns.contains_key(table)
    }

    /// Whether a table has a column.
    pub(super) fn has_column(&self, table: &str, column: &str) -> bool {
        self.columns.get(table).is_some_and(|columns| columns.contains(column))
    }

    /// Whether the schema's version is one that was checked.
    pub(super) fn head_known(&self) -> bool {
        self.head.as_deref().is_some_and(|head| HEADS_KNOWN.contains(&head))
    }

    /// `SELECT` list of a table's columns; those that this version of the schema lacks read as NULL.
    pub(super) fn list(&self, table: &str, columns: &[&str]) -> String {
        let name = |column: &&str| match self.has_column(table, column) {
            true => format!("{table}.\"{column}\""),
            false => "NULL".to_owned(),
        };
        columns.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    /// `WHERE workspace = ?1`, where the table has workspaces.
    pub(super) fn in_workspace(&self, table: &str) -> &'static str {
        if self.has_column(table, "workspace") { "workspace = ?1" } else { "?1 = ?1" }
    }

    /// Prepares a statement.
    pub(super) fn prepare(&self, sql: &str) -> Result<rusqlite::Statement<'_>> {
        self.connection.prepare(sql).map_err(|error| read_failed(&error))
    }

    /// Rows of a table, counted; 0 when it is not there.
    pub(super) fn count(&self, table: &str) -> Result<u64> {
        if !self.has(table) {
            return Ok(0);
        }
        let sql = format!("SELECT count(*) FROM \"{table}\"");
        let count: i64 = self.connection.query_row(&sql, [], |row| row.get(0)).map_err(|error| read_failed(&error))?;
        Ok(count.unsigned_abs())
    }

    /// About how many rows a table has, without reading it: for progress bars.
    pub(super) fn count_about(&self, table: &str) -> u64 {
        // A view has no rowid, and a bar works without a total. An unreadable database fails later, when it is read.
        let sql = format!("SELECT coalesce(max(rowid), 0) FROM \"{table}\"");
        self.connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).map_or(0, i64::unsigned_abs)
    }

    /// The tables that are not imported and have rows, with the count of these.
    pub(super) fn tables_left_out(&self) -> Result<BTreeMap<String, u64>> {
        let mut left_out = BTreeMap::new();
        for table in self.columns.keys().filter(|table| !TABLES_READ.contains(&table.as_str())) {
            let own = table.starts_with("sqlite_") || (self.is_foreign() && table.starts_with("stage_"));
            let rows = if own { 0 } else { self.count(table)? };
            if rows > 0 {
                left_out.insert(table.clone(), rows);
            }
        }
        Ok(left_out)
    }
}

/// A failed read of the source.
pub(super) fn read_failed(error: &rusqlite::Error) -> Error {
    Error::Source(format!("reading the MLflow database failed: {error}; run the import again once that is fixed"))
}

fn cannot_read(path: &Path, error: &rusqlite::Error) -> Error {
    Error::Source(format!("cannot read {}: {error}", path.display()))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn is_sqlite(path: &Path) -> Result<bool> {
    use std::io::Read;
    let mut magic = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(16).read_to_end(&mut magic))
        .map_err(|error| Error::io(format!("cannot read {}", path.display()), error))?;
    // An empty file is an empty database to SQLite.
    Ok(magic.is_empty() || magic == b"SQLite format 3\0")
}

fn make_writable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .map_err(|error| Error::io(format!("cannot make {} writable", path.display()), error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    /// The smallest database that is taken for an MLflow store, with this in its table of versions.
    fn database(folder: &Path, versions: &str) -> PathBuf {
        let path = folder.join("mlflow.db");
        let connection = Connection::open(&path).unwrap();
        let tables = "CREATE TABLE alembic_version (version_num VARCHAR(32)); CREATE TABLE experiments (name TEXT); \
                      CREATE TABLE runs (run_uuid TEXT);";
        connection.execute_batch(tables).unwrap();
        connection.execute_batch(versions).unwrap();
        path
    }

    #[test]
    fn a_database_without_a_version_is_read() {
        for (versions, head) in [
            ("", None),
            ("INSERT INTO alembic_version VALUES (NULL)", None),
            ("ALTER TABLE alembic_version RENAME COLUMN version_num TO other", None),
            ("INSERT INTO alembic_version VALUES ('dc11669786a5')", Some("dc11669786a5")),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let source = Source::open(&database(folder.path(), versions)).unwrap();
            assert_eq!(source.head.as_deref(), head, "{versions}");
        }
    }

    #[test]
    fn a_version_that_cannot_be_read_is_an_error_that_says_where() {
        let folder = tempfile::tempdir().unwrap();
        let path = database(folder.path(), "INSERT INTO alembic_version VALUES (x'00ff')");
        let of_a_blob = Source::open(&path).err().unwrap();

        let folder = tempfile::tempdir().unwrap();
        let damaged = database(folder.path(), "INSERT INTO alembic_version VALUES ('dc11669786a5')");
        let connection = Connection::open(&damaged).unwrap();
        let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, u32>(0)).unwrap();
        let page = number("SELECT rootpage FROM sqlite_master WHERE name = 'alembic_version'");
        let page_bytes = number("PRAGMA page_size");
        drop(connection);
        let file = fs::OpenOptions::new().write(true).open(&damaged).unwrap();
        file.write_all_at(&vec![0xff; page_bytes as usize], u64::from((page - 1) * page_bytes)).unwrap();
        let of_a_page = Source::open(&damaged).err().unwrap();

        for (error, path) in [(of_a_blob, path), (of_a_page, damaged)] {
            assert!(matches!(error, Error::Source(_)), "{error:?}");
            let text = error.to_string();
            assert!(text.contains("alembic_version") && text.contains(&path.display().to_string()), "{text}");
        }
    }
}
