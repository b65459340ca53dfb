//! SQLite as a metric store, as fast as its own means allow: integer ids, `WITHOUT ROWID`, one row a point, one
//! prepared statement, many rows a transaction, write-ahead log.

use std::path::Path;

use rusqlite::{Connection, params};

use crate::stream::StreamPoint;

/// How far a commit waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synchronous {
    /// A commit survives the process; the log is synced at checkpoints.
    Normal,
    /// A commit is on the disk.
    Full,
}

/// A database with one table of points.
#[derive(Debug)]
pub struct SqlitePoints {
    connection: Connection,
}

impl SqlitePoints {
    /// Makes the database.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn create(path: &Path, synchronous: Synchronous) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        let synchronous = if synchronous == Synchronous::Full { "FULL" } else { "NORMAL" };
        connection.execute_batch(&format!(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous}; PRAGMA cache_size=-65536;
             PRAGMA temp_store=MEMORY;
             CREATE TABLE points(
                run INTEGER NOT NULL, key INTEGER NOT NULL, step INTEGER NOT NULL, time INTEGER NOT NULL,
                value REAL, PRIMARY KEY(run, key, step, time)) WITHOUT ROWID;"
        ))?;
        Ok(Self { connection })
    }

    /// Inserts points of run 1 in one transaction.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn insert(&mut self, points: &[StreamPoint]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO points VALUES(1, ?1, ?2, ?3, ?4)")?;
            for point in points {
                insert.execute(params![point.key as i64, point.step, point.time_ms, point.value])?;
            }
        }
        transaction.commit()
    }

    /// Empties the write-ahead log into the database and closes it.
    ///
    /// # Errors
    /// Those of SQLite.
    pub fn close(self) -> rusqlite::Result<()> {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        self.connection.close().map_err(|(_, error)| error)
    }
}
