//! Every error that the engine returns, grouped by what the caller can do about it.
//!
//! Invariants: an error says what went wrong, where (file, offset, position, entity) and what to do next. After any
//! error except `Poisoned` and `OutcomeUnknown` the store is exactly as it was before the call.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Result of an engine call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What an error is about; prints in MLflow's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EntityKind {
    /// A store.
    Store,
    /// The log of a store.
    Log,
    /// An experiment.
    Experiment,
    /// An experiment that is active: only such a one can be deleted.
    ActiveExperiment,
    /// An experiment that is deleted: only such a one can be restored.
    DeletedExperiment,
    /// A run.
    Run,
    /// A branch of a run that was rewound.
    Branch,
    /// A tag of any entity.
    Tag,
    /// A logged model.
    LoggedModel,
    /// A param of a logged model.
    LoggedModelParam,
    /// A registered model.
    RegisteredModel,
    /// A version of a registered model.
    ModelVersion,
    /// An alias of a registered model.
    Alias,
}

impl fmt::Display for EntityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Store => "store",
            Self::Log => "log",
            Self::Experiment => "experiment",
            Self::ActiveExperiment => "active experiment",
            Self::DeletedExperiment => "deleted experiment",
            Self::Run => "run",
            Self::Branch => "branch",
            Self::Tag => "tag",
            Self::LoggedModel => "logged model",
            Self::LoggedModelParam => "logged model param",
            Self::RegisteredModel => "registered model",
            Self::ModelVersion => "model version",
            Self::Alias => "alias",
        })
    }
}

/// What went wrong. Grouped by what the caller can do.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The call itself is wrong: fix the call. Nothing was written.
    #[error("invalid {what}: {why}")]
    Invalid {
        /// The argument or field, e.g. `metric key` or `metrics[3].timestamp_ms`.
        what: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// The named entity does not exist.
    #[error("{entity} `{id}` does not exist")]
    NotFound {
        /// Kind of entity.
        entity: EntityKind,
        /// Its id or name.
        id: String,
    },
    /// The name or id is taken.
    #[error("{entity} `{id}` already exists")]
    AlreadyExists {
        /// Kind of entity.
        entity: EntityKind,
        /// Its id or name.
        id: String,
    },
    /// The entity is deleted, and the call needs an active one.
    #[error("{entity} `{id}` is deleted; restore it first")]
    Deleted {
        /// Kind of entity.
        entity: EntityKind,
        /// Its id or name.
        id: String,
    },
    /// A param was logged before with another value; params never change.
    #[error("param `{key}` of run `{run}` is `{old}` and cannot be changed to `{new}`")]
    ParamChanged {
        /// The run.
        run: String,
        /// Key of the param.
        key: String,
        /// The value it keeps.
        old: String,
        /// The value that was refused.
        new: String,
    },
    /// The run was purged: its data is gone, even for `as_of`.
    #[error("run `{run}` was purged")]
    Purged {
        /// The run.
        run: String,
    },
    /// An expected position did not hold: read again, then decide again.
    #[error("{what} was expected at position {expected}, but is at {actual}")]
    Conflict {
        /// The entity, or `the log`.
        what: String,
        /// The position that the caller gave.
        expected: u64,
        /// The position it is at.
        actual: u64,
    },
    /// The idempotency key was used before with other content.
    #[error("idempotency key `{key}` was used at position {lsn} for another request; use a fresh key")]
    KeyReused {
        /// The key, printable.
        key: String,
        /// Where it was used.
        lsn: u64,
    },
    /// An operation on a file failed. Retry, or check the disk.
    #[error("{op} of {} failed: {source}", path.display())]
    Io {
        /// The operation: `write`, `fsync`, `rename`, ...
        op: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: Arc<io::Error>,
    },
    /// A link, pipe, device or folder has the name of one of the store's files, or something else that of one of its
    /// folders. It was neither followed nor changed. Restore the right file.
    #[error(
        "{} is {found}, not a {wanted}: it was not opened; put back the {wanted} of the store that belongs there",
        path.display()
    )]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is: `a symbolic link`, `a pipe`, ...
        found: &'static str,
        /// What should be there: `regular file` or `folder`.
        wanted: &'static str,
    },
    /// The disk (or quota) is full. Reads, deletes and compaction still work; free space and retry.
    #[error("no space left for {}: free some and try again; everything acknowledged is kept", path.display())]
    StorageFull {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// Bytes on disk are not what was written. Restore a copy, or run `runlode verify`.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
    /// A file that the store's MANIFEST lists is missing or has another length.
    #[error("{} is missing or cut ({why}); restore it from a copy, or run {}", path.display(), remedy_for(path))]
    MissingFile {
        /// The file.
        path: PathBuf,
        /// What was found instead.
        why: String,
    },
    /// Files of a newer version: use a newer Runlode.
    #[error("{} has format {found}; this version reads up to {supported}: use a newer Runlode", path.display())]
    UnsupportedFormat {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest that this build reads.
        supported: u32,
    },
    /// Another process holds the store.
    #[error("{} is in use by {holder}; close it there, or open read-only", path.display())]
    Locked {
        /// The store.
        path: PathBuf,
        /// Host and pid as the lock file names them.
        holder: String,
    },
    /// An earlier write or sync failed. Nothing more is written; snapshots still work. Reopen the store.
    #[error("the store no longer accepts writes, because {cause}; reopen it")]
    Poisoned {
        /// The first failure.
        cause: String,
    },
    /// A sync failed while this batch was waiting for it: it may or may not be kept. Reopen and retry with the same
    /// idempotency key.
    #[error("outcome unknown: {cause}; reopen the store and retry with the same idempotency key")]
    OutcomeUnknown {
        /// The failure.
        cause: String,
    },
    /// The handle was closed.
    #[error("the store is closed")]
    Closed,
    /// The handle was opened by a parent process; open the store again in this one.
    #[error("this handle belongs to the parent process; open the store again after fork")]
    Forked,
    /// The store was opened read-only.
    #[error("the store was opened read-only")]
    ReadOnly,
    /// The process that holds the store does not answer. Nothing is known to have been done: try again.
    #[error("{why}")]
    Unavailable {
        /// Who does not answer, and what to do.
        why: String,
    },
    /// Not possible as the store is opened here, or with the versions at hand.
    #[error("{why}")]
    Unsupported {
        /// What is not possible, and what to do instead.
        why: String,
    },
    /// The process that holds the store refused the call for a reason that has no variant here.
    #[error("{why}")]
    Refused {
        /// Its text.
        why: String,
    },
    /// The call was made before under its idempotency key, and was not made again.
    #[error("this call was made before, at position {lsn}")]
    Repeated {
        /// The position of the batch that it made.
        lsn: u64,
    },
    /// The snapshot pinned more memory than allowed; take a new one.
    #[error("the snapshot is too old; take a new one")]
    SnapshotTooOld,
    /// Another process opened the store for writing, so the index that was open for reading is no longer the store's.
    #[error("another process has begun to write the store that was open for reading; open it again")]
    IndexChanged,
    /// A broken invariant that was caught before it could do harm; please report it.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

/// Damage: which bytes of which file are not what was written.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "{} is damaged at byte {offset_bytes}: {structure}: expected {expected}, found {found}; restore a copy or run {}",
    path.display(),
    self.remedy()
)]
pub struct Corruption {
    /// The file, relative to the store.
    pub path: PathBuf,
    /// Where in the file.
    pub offset_bytes: u64,
    /// The structure that was being read: `frame header`, `chunk`, `footer`, ...
    pub structure: &'static str,
    /// What should have been there.
    pub expected: String,
    /// What was there.
    pub found: String,
}

/// A path holds something other than the regular file, or folder, that the store expects. Used as the source of an
/// [`io::Error`], which [`Error::io`] turns into [`Error::NotAFile`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is {found}, not a {wanted}", path.display())]
pub struct NotAFile {
    /// The path.
    pub path: PathBuf,
    /// What it is: `a symbolic link`, `a pipe`, ...
    pub found: &'static str,
    /// What should be there: `regular file` or `folder`.
    pub wanted: &'static str,
}

impl From<NotAFile> for io::Error {
    fn from(error: NotAFile) -> Self {
        let kind = match (error.found, error.wanted) {
            ("a folder", _) => io::ErrorKind::IsADirectory,
            (_, "folder") => io::ErrorKind::NotADirectory,
            _ => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}

/// The command that rebuilds the file, or that shows what is damaged.
fn remedy_for(path: &Path) -> &'static str {
    let path = path.to_string_lossy();
    let derived = ["FORMAT", "MANIFEST"].iter().any(|name| path.ends_with(name));
    if derived { "`runlode verify --repair`" } else { "`runlode verify`" }
}

impl Corruption {
    /// What a user can run.
    fn remedy(&self) -> &'static str {
        match self.structure {
            // The user must accept the loss.
            "end of the log" => "`runlode verify --repair --accept-loss`",
            _ => remedy_for(&self.path),
        }
    }
}

/// Whether an io error says that the disk is full, or the file as large as it may become.
pub(crate) fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

impl Error {
    /// `Invalid` from anything printable.
    pub fn invalid(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), why: why.into() }
    }

    /// An io error at a path. A full disk becomes [`Error::StorageFull`], a path that is not a file
    /// [`Error::NotAFile`].
    pub fn io(op: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        if let Some(NotAFile { path, found, wanted }) = source.get_ref().and_then(|inner| inner.downcast_ref()) {
            return Self::NotAFile { path: path.clone(), found, wanted };
        }
        let path = path.as_ref().to_path_buf();
        match is_full(source.kind()) {
            true => Self::StorageFull { path },
            false => Self::Io { op, path, source: Arc::new(source) },
        }
    }

    /// Damage at a place of a file.
    pub fn corrupt(
        path: impl AsRef<Path>,
        offset_bytes: u64,
        structure: &'static str,
        expected: impl ToString,
        found: impl ToString,
    ) -> Self {
        Self::Corrupt(Corruption {
            path: path.as_ref().to_path_buf(),
            offset_bytes,
            structure,
            expected: expected.to_string(),
            found: found.to_string(),
        })
    }

    /// Whether this is a full disk.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::StorageFull { .. })
    }
}
