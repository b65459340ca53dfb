//! Why an export fails.

use std::io;
use std::path::{Path, PathBuf};

/// Result of an export.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an export fails. What was written by then stays, and the same export run again goes on from there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store cannot be read. [`runlode::Error::IndexChanged`] and [`runlode::Error::SnapshotTooOld`] mean that it
    /// was written meanwhile: open it again.
    #[error(transparent)]
    Store(#[from] runlode::Error),
    /// The target cannot be written as asked; the text says why, and what to do.
    #[error("{0}")]
    Target(String),
    /// What was chosen with [`Only`](crate::Only) is not in the store.
    #[error("{0}")]
    Absent(String),
    /// A file of the target.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, with the path.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// A Parquet file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: parquet::errors::ParquetError,
    },
    /// A database cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// The cause.
        source: rusqlite::Error,
    },
}

impl Error {
    pub(crate) fn io(doing: &str, path: &Path, source: io::Error) -> Self {
        Self::Io { what: format!("cannot {doing} {}", path.display()), source }
    }
}
