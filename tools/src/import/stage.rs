//! Tables in MLflow's form, in a temporary SQLite database, for sources of other forms.
//!
//! ```text
//!  folder, server, database --(reader)--> stage: experiments, runs, params, tags, ... --> Source --> import, diff
//!        points in files -----------------------------------------------------------------^
//! ```
//!
//! - The importer and `diff` read every source as such tables, so each has one way to merge and to compare.
//! - `metrics.value` has no type, as SQLite would drop the sign of zero. NaN is 0.0 with `is_nan`, as in MLflow's.
//! - Points of files stay in the files; those of servers are staged, because they come only once over the network.
//! - A stage that the user keeps (`--cache`) remembers which parts of the source it has ([`Stage::has_part`]). A part and
//!   its mark are written in one transaction, so a killed import goes on at the next part.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, ToSql};
use tempfile::TempDir;

use super::source::{Nature, RunPoints, Source};
use crate::error::{Error, Result};

/// The schema's version that the tables follow.
const HEAD: &str = "dc11669786a5";
/// Tables with their columns and key. `stage_parts` and `stage_source` are the stage's own.
const TABLES: &[(&str, &str, &str)] = &[
    ("alembic_version", "version_num TEXT", "version_num"),
    (
        "experiments",
        "experiment_id INTEGER, name TEXT, artifact_location TEXT, lifecycle_stage TEXT, creation_time INTEGER, \
         last_update_time INTEGER",
        "experiment_id",
    ),
    ("experiment_tags", "experiment_id INTEGER, key TEXT, value TEXT", "experiment_id, key"),
    (
        "runs",
        "run_uuid TEXT, name TEXT, user_id TEXT, status TEXT, start_time INTEGER, end_time INTEGER, \
         lifecycle_stage TEXT, artifact_uri TEXT, experiment_id INTEGER, deleted_time INTEGER",
        "run_uuid",
    ),
    ("params", "run_uuid TEXT, key TEXT, value TEXT", "run_uuid, key"),
    ("tags", "run_uuid TEXT, key TEXT, value TEXT", "run_uuid, key"),
    ("metrics", "run_uuid TEXT, key TEXT, value, timestamp INTEGER, step INTEGER, is_nan INTEGER", ""),
    (
        "datasets",
        "dataset_uuid TEXT, experiment_id INTEGER, name TEXT, digest TEXT, dataset_source_type TEXT, \
         dataset_source TEXT, dataset_schema TEXT, dataset_profile TEXT",
        "dataset_uuid",
    ),
    (
        "inputs",
        "input_uuid TEXT, source_type TEXT, source_id TEXT, destination_type TEXT, destination_id TEXT, step INTEGER",
        "source_type, source_id, destination_type, destination_id",
    ),
    ("input_tags", "input_uuid TEXT, name TEXT, value TEXT", "input_uuid, name"),
    (
        "logged_models",
        "model_id TEXT, experiment_id INTEGER, name TEXT, artifact_location TEXT, creation_timestamp_ms INTEGER, \
         last_updated_timestamp_ms INTEGER, status INTEGER, lifecycle_stage TEXT, model_type TEXT, source_run_id TEXT, \
         status_message TEXT",
        "model_id",
    ),
    ("logged_model_params", "model_id TEXT, param_key TEXT, param_value TEXT", "model_id, param_key"),
    ("logged_model_tags", "model_id TEXT, tag_key TEXT, tag_value TEXT", "model_id, tag_key"),
    (
        "logged_model_metrics",
        "model_id TEXT, metric_name TEXT, metric_timestamp_ms INTEGER, metric_step INTEGER, metric_value, run_id TEXT, \
         dataset_name TEXT, dataset_digest TEXT",
        "",
    ),
    ("registered_models", "name TEXT, creation_time INTEGER, last_updated_time INTEGER, description TEXT", "name"),
    ("registered_model_tags", "name TEXT, key TEXT, value TEXT", "name, key"),
    ("registered_model_aliases", "name TEXT, alias TEXT, version INTEGER", "name, alias"),
    (
        "model_versions",
        "name TEXT, version INTEGER, creation_time INTEGER, last_updated_time INTEGER, description TEXT, user_id TEXT, \
         current_stage TEXT, source TEXT, run_id TEXT, status TEXT, status_message TEXT, run_link TEXT, \
         storage_location TEXT",
        "name, version",
    ),
    ("model_version_tags", "name TEXT, version INTEGER, key TEXT, value TEXT", "name, version, key"),
    ("stage_parts", "part TEXT, stamp TEXT", "part"),
    ("stage_source", "source TEXT", "source"),
];

/// The tables of MLflow in a stage, with the names of their columns.
pub(super) fn tables() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    let own = TABLES.iter().filter(|(table, ..)| !table.starts_with("stage_") && *table != "alembic_version");
    own.map(|(table, columns, _)| {
        let names = columns.split(',').filter_map(|column| column.split_whitespace().next());
        (*table, names.collect())
    })
}

/// Tables being filled.
pub(super) struct Stage {
    connection: Connection,
    path: PathBuf,
    folder: Option<TempDir>,
}

impl Stage {
    /// In a temporary folder, which vanishes with the source.
    pub(super) fn temporary(source: &str) -> Result<Self> {
        let folder = TempDir::new().map_err(|error| Error::io("cannot make a temporary folder", error))?;
        let path = folder.path().join("stage.db");
        Self::open(path, Some(folder), source)
    }

    /// In a file that is kept for the next import from this source.
    pub(super) fn kept(path: &Path, source: &str) -> Result<Self> {
        Self::open(path.to_owned(), None, source)
    }

    /// As the options of an import say.
    pub(super) fn begin(cache: Option<&Path>, source: &str) -> Result<Self> {
        match cache {
            Some(path) => Self::kept(path, source),
            None => Self::temporary(source),
        }
    }

    fn open(path: PathBuf, folder: Option<TempDir>, source: &str) -> Result<Self> {
        let cannot = |error: rusqlite::Error| Error::Source(format!("cannot write {}: {error}", path.display()));
        let connection = Connection::open(&path).map_err(cannot)?;
        // A temporary one is read by nobody after a crash; a kept one is made again if it is damaged.
        let sync = if folder.is_some() { "OFF" } else { "NORMAL" };
        let settings = format!("PRAGMA synchronous = {sync}; PRAGMA journal_mode = DELETE; PRAGMA temp_store = FILE;");
        connection.execute_batch(&settings).map_err(cannot)?;
        let tables: i64 =
            connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0)).map_err(cannot)?;
        let stage_of: Option<String> = match tables {
            0 => None,
            _ => connection
                .query_row("SELECT source FROM stage_source", [], |row| row.get(0))
                .optional()
                .ok()
                .flatten()
                .or_else(|| Some("something else".to_owned())),
        };
        if let Some(other) = stage_of.filter(|other| other != source) {
            return Err(Error::usage(format!(
                "--cache {} belongs to {other}, not to {source}; give another file",
                path.display()
            )));
        }
        if tables == 0 {
            let mut sql = "BEGIN;".to_owned();
            for (table, columns, key) in TABLES {
                let key = if key.is_empty() { String::new() } else { format!(", UNIQUE ({key})") };
                sql.push_str(&format!("CREATE TABLE {table} ({columns}{key});"));
            }
            sql.push_str("CREATE INDEX metrics_of_run ON metrics (run_uuid);");
            sql.push_str(&format!("INSERT INTO alembic_version VALUES ('{HEAD}'); COMMIT;"));
            connection.execute_batch(&sql).map_err(cannot)?;
        }
        let stage = Self { connection, path, folder };
        stage.put("stage_source", &[&source])?;
        Ok(stage)
    }

    /// The folder of the tables; a temporary one vanishes with the source.
    pub(super) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    fn failed(&self, error: &rusqlite::Error) -> Error {
        Error::Source(format!("cannot write the temporary tables {}: {error}", self.path.display()))
    }

    fn execute(&self, sql: &str, values: &[&dyn ToSql]) -> Result<()> {
        let statement = self.connection.prepare_cached(sql);
        statement.and_then(|mut statement| statement.execute(values)).map_err(|error| self.failed(&error))?;
        Ok(())
    }

    /// Puts a row, in place of one with the same key. Values come in the order of the columns.
    pub(super) fn put(&self, table: &str, values: &[&dyn ToSql]) -> Result<()> {
        let marks = vec!["?"; values.len()].join(", ");
        self.execute(&format!("INSERT OR REPLACE INTO {table} VALUES ({marks})"), values)
    }

    /// Puts a point.
    pub(super) fn put_point(&self, run: &str, key: &str, value: f64, time_ms: i64, step: i64) -> Result<()> {
        let stored = if value.is_nan() { 0.0 } else { value };
        self.put("metrics", &[&run, &key, &stored, &time_ms, &step, &value.is_nan()])
    }

    /// Removes the rows of a run, or of something else.
    pub(super) fn remove(&self, table: &str, column: &str, value: &dyn ToSql) -> Result<()> {
        self.execute(&format!("DELETE FROM {table} WHERE {column} = ?1"), &[value])
    }

    /// Empties a table.
    pub(super) fn clear(&self, table: &str) -> Result<()> {
        self.execute(&format!("DELETE FROM {table}"), &[])
    }

    /// Begins what is kept or lost as a whole.
    pub(super) fn transaction(&self) -> Result<()> {
        self.execute("BEGIN IMMEDIATE", &[])
    }

    /// Keeps it.
    pub(super) fn commit(&self) -> Result<()> {
        self.execute("COMMIT", &[])
    }

    /// Whether a part of the source is here as it is there; the stamp changes when the part does.
    pub(super) fn has_part(&self, part: &str, stamp: &str) -> Result<bool> {
        let known = self.connection.prepare_cached("SELECT stamp FROM stage_parts WHERE part = ?1");
        let known: Option<String> = known
            .and_then(|mut statement| statement.query_row([part], |row| row.get(0)).optional())
            .map_err(|error| self.failed(&error))?;
        Ok(known.as_deref() == Some(stamp))
    }

    /// Notes that a part is here.
    pub(super) fn put_part(&self, part: &str, stamp: &str) -> Result<()> {
        self.put("stage_parts", &[&part, &stamp])
    }

    /// The source that the tables stand for. `base` is the name that errors and reports use.
    pub(super) fn finish(self, name: &str, nature: Nature, files: Option<Box<dyn RunPoints>>) -> Result<Source> {
        self.connection.close().map_err(|(_, error)| {
            Error::Source(format!("cannot close the temporary tables {}: {error}", self.path.display()))
        })?;
        Source::staged(&self.path, name, nature, files, self.folder)
    }
}
