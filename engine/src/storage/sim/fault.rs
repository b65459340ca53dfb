//! Faults that tests order: which calls fail, how often, and how.

use std::io;

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// Opening a file that exists.
    Open,
    /// `read_at`.
    Read,
    /// `len`, `list`, `free_bytes`.
    Look,
    /// `map`.
    Map,
    /// Creating a file.
    Create,
    /// `write_at`.
    Write,
    /// `store_at` of a map. Faults never affect it, but a crash may cut it.
    Store,
    /// `set_len`.
    SetLen,
    /// `allocate`.
    Allocate,
    /// `sync_data` or `sync_all`.
    Sync,
    /// `rename`.
    Rename,
    /// `remove`, `remove_dir`.
    Remove,
    /// `create_dir`, for each folder that was not there.
    CreateDir,
    /// `sync_dir`.
    SyncDir,
    /// `lock`.
    Lock,
}

impl Call {
    /// The calls that count as operations: those that may change what a crash leaves.
    pub const OPERATIONS: &'static [Self] = &[
        Self::Create,
        Self::Write,
        Self::Store,
        Self::SetLen,
        Self::Allocate,
        Self::Sync,
        Self::Rename,
        Self::Remove,
        Self::CreateDir,
        Self::SyncDir,
    ];
    /// The calls that only read.
    pub const READS: &'static [Self] = &[Self::Open, Self::Read, Self::Look, Self::Map];

    /// Whether this is one of [`Call::OPERATIONS`].
    pub fn is_operation(self) -> bool {
        Self::OPERATIONS.contains(&self)
    }
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Input/output error; nothing was done. A sync that fails so keeps its data pending.
    Io,
    /// No space left; nothing was done.
    Full,
    /// Interrupted by a signal; nothing was done.
    Interrupted,
    /// A sync fails, its data never becomes durable, and later syncs succeed. Readers still see the data, unless
    /// `drop_pages`: then the cache has lost it too.
    LostSync {
        /// Whether the cache loses the data too.
        drop_pages: bool,
    },
    /// A read returns one wrong bit; the bytes on disk are right.
    WrongBit,
}

impl Failure {
    pub(super) fn error(self) -> io::Error {
        match self {
            // The numbers of EIO and ENOSPC on Linux.
            Self::Io | Self::LostSync { .. } | Self::WrongBit => io::Error::from_raw_os_error(5),
            Self::Full => io::Error::from_raw_os_error(28),
            Self::Interrupted => io::ErrorKind::Interrupted.into(),
        }
    }
}

/// An order to fail: `Fault::new(&[Call::Sync], Failure::Io).at("log/").skip(3).for_ever()`.
#[derive(Debug, Clone)]
pub struct Fault {
    calls: &'static [Call],
    path: String,
    skip: u64,
    times: u64,
    failure: Failure,
}

impl Fault {
    /// The next call of one of these kinds fails, once.
    pub fn new(calls: &'static [Call], failure: Failure) -> Self {
        Self { calls, path: String::new(), skip: 0, times: 1, failure }
    }

    /// Only calls on paths that contain this. Default: all.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// The first `count` calls succeed. Default 0.
    #[must_use]
    pub fn skip(mut self, count: u64) -> Self {
        self.skip = count;
        self
    }

    /// This many calls in a row fail. Default 1.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.times = count;
        self
    }

    /// All calls fail from then on.
    #[must_use]
    pub fn for_ever(self) -> Self {
        self.times(u64::MAX)
    }

    /// Whether this call fails, and how.
    pub(super) fn strike(&mut self, call: Call, path: &str) -> Option<Failure> {
        if self.times == 0 || !self.calls.contains(&call) || !path.contains(&self.path) {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        if self.times != u64::MAX {
            self.times -= 1;
        }
        Some(self.failure)
    }
}
