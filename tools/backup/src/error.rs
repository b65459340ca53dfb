//! What can go wrong, each a sentence.

use std::io;
use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a backup, a check or a restore failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] runlode::Error),
    /// A file or folder.
    #[error("cannot {op} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        op: &'static str,
        /// Where.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The object store does not do what it was asked, or there is none.
    #[error("{place}: {why}")]
    Target {
        /// The place of backups.
        place: String,
        /// Why not.
        why: String,
    },
    /// The place holds something else.
    #[error("{place} is not empty, and holds no backups: give another place, or one of an earlier backup")]
    NoTarget {
        /// The place.
        place: String,
    },
    /// A part of a backup is missing or changed.
    #[error("{path} is damaged: {why}; `runlode backup check` names all damage")]
    Damaged {
        /// Where in the target.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A newer version wrote it.
    #[error("{path} has version {found} and this build reads {reads}: use a newer one")]
    Newer {
        /// Where in the target.
        path: String,
        /// Its version.
        found: u32,
        /// The newest version that this build reads.
        reads: u32,
    },
    /// There is no such backup.
    #[error("there is no backup {wanted}; there are: {there}")]
    NoBackup {
        /// What was asked for.
        wanted: String,
        /// What there is.
        there: String,
    },
    /// The folder for a restore is in use.
    #[error("{path} is not empty: restore into a folder that does not exist", path = path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// There is a backup of this name already.
    #[error("there is a backup {name} already: give another name")]
    Exists {
        /// The name.
        name: String,
    },
    /// A name that cannot be a file's.
    #[error("`{name}` cannot name a backup: use letters, digits, `-`, `_` and `.`, and begin with a letter or digit")]
    Name {
        /// The name.
        name: String,
    },
    /// A size of chunks that is not allowed.
    #[error("chunks of {bytes} bytes: use {least} to {most}")]
    Chunk {
        /// The size.
        bytes: u64,
        /// The least one.
        least: u64,
        /// The greatest one.
        most: u64,
    },
}

impl Error {
    pub(crate) fn io(op: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { op, path: path.into(), source }
    }

    pub(crate) fn damaged(path: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Damaged { path: path.into(), why: why.into() }
    }
}
