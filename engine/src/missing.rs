//! What an open found missing: files that MANIFEST lists and that are not there, or are not what it says.

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
    /// A segment at the end of the log, of which only its own frames could say what they were.
    TailSegment,
    /// Acknowledged frames at the end of the log.
    End,
    /// A series file whose raw frames are released.
    Series,
    /// The log of another process, of which what is not merged yet cannot be read whole.
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

/// A part of the truth that an open did without. Answers lack what was in it, and perhaps what depends on that.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missing {
    /// The file.
    pub path: PathBuf,
    /// Which part.
    pub kind: MissingKind,
    /// What was found in its place.
    pub why: String,
    /// The first position that was in it; 0 for an inbox, whose frames have none yet.
    pub first: Lsn,
    /// The last one; `None`: nothing says.
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

    /// What makes the store whole again.
    pub fn help(&self) -> &'static str {
        match self.kind {
            MissingKind::Segment | MissingKind::Series | MissingKind::Inbox => {
                "restore the file from a copy of the store: nothing else has what was in it"
            }
            MissingKind::TailSegment | MissingKind::End => {
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

    /// The last position before it: everything up to there is not affected.
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
