//! What an open found missing: files that MANIFEST lists and that are gone or differ.

use std::fmt;
use std::path::PathBuf;

use crate::error::Error;
use crate::id::Lsn;

/// Which part of the truth is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissingKind {
    /// A finished segment of the log.
    Segment,
    /// A segment at the end of the log; only its own frames could say what it held.
    TailSegment,
    /// Acknowledged frames at the end of the log.
    End,
    /// A series file whose raw frames are released.
    Series,
    /// The log of another process; its unmerged part cannot be read completely.
    Inbox,
}

impl MissingKind {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::TailSegment => "tail segment",
            Self::End => "end of the log",
            Self::Series => "series file",
            Self::Inbox => "inbox",
        }
    }
}

/// A file that an open went on without. Answers lack its content, and possibly what depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missing {
    /// The file.
    pub path: PathBuf,
    /// Which kind of file.
    pub kind: MissingKind,
    /// What was found in its place.
    pub why: String,
    /// The first position in it; 0 for an inbox, whose frames have none yet.
    pub first: Lsn,
    /// The last position in it; `None`: unknown.
    pub last: Option<Lsn>,
}

impl Missing {
    pub(crate) fn new(
        path: impl Into<PathBuf>,
        kind: MissingKind,
        why: impl Into<String>,
        first: Lsn,
        last: Option<Lsn>,
    ) -> Self {
        Self { path: path.into(), kind, why: why.into(), first, last }
    }

    /// What makes the store complete again.
    pub fn help(&self) -> &'static str {
        match self.kind {
            MissingKind::Segment | MissingKind::Series => {
                "restore the file from a copy of the store: nothing else has what was in it"
            }
            MissingKind::TailSegment | MissingKind::End | MissingKind::Inbox => {
                "restore the file from a copy, or go on without it: `runlode verify --repair --accept-loss`"
            }
        }
    }

    /// The refusal of a call that needs what is missing.
    pub fn to_error(&self) -> Error {
        let behind = match self.last {
            Some(last) => format!("positions {} to {last} are in it", self.first),
            None => format!("positions from {} on may be in it", self.first),
        };
        Error::MissingFile { path: self.path.clone(), why: format!("{}; {behind}", self.why) }
    }

    /// The last position before it: everything up to there is unaffected.
    pub fn before(&self) -> Lsn {
        Lsn(self.first.0.saturating_sub(1))
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is missing: {}; ", self.path.display(), self.why)?;
        let what = match self.kind {
            MissingKind::Series => "points of positions",
            _ => "positions",
        };
        match self.last {
            _ if self.first == Lsn::ZERO => write!(f, "what it holds is not shown")?,
            Some(last) => write!(f, "{what} {} to {last} were in it", self.first)?,
            None => write!(f, "{what} from {} on may have been in it", self.first)?,
        }
        write!(f, "; {}", self.help())
    }
}
