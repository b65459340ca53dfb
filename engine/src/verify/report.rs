//! How to verify, and what verification says: findings and counts.

use std::fmt;
use std::path::PathBuf;

use crate::id::Lsn;

/// How to verify.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// Findings that are listed; more are counted only. Default: 1,000.
    pub findings_max: usize,
    /// Whether the log is replayed and the index compared with it. Default: yes. It needs memory for every entity and
    /// series.
    pub compare: bool,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self { findings_max: 1_000, compare: true }
    }
}

/// What is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FindingKind {
    /// A file is missing, cut, or cannot be read.
    File,
    /// A frame of the log cannot be read, or its content does not decode.
    Frame,
    /// A series file's directory, a chunk, or its rollups cannot be read.
    Chunk,
    /// A row of the index's chunk directory differs from the file.
    ChunkRow,
    /// An entity differs from the log.
    Entity,
    /// A list of entities or of an entity's events differs from the log.
    List,
    /// Statistics of a series differ from its points.
    Stats,
    /// A number of the dictionary, or an idempotency key, differs from the log.
    Dictionary,
    /// The log of another writer is damaged, or belongs to another store.
    Inbox,
    /// The comparison was not possible.
    NotCompared,
    /// The index on disk cannot be used.
    Index,
    /// `search.snap` cannot be used.
    SearchSnap,
}

/// One thing that is not as it should be, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// The file.
    pub path: PathBuf,
    /// Offset in the file; 0 for rows of the index.
    pub offset_bytes: u64,
    /// What is wrong, in a sentence.
    pub what: String,
    /// A repair ([`crate::Options::repair`]) can rebuild it from log and series files.
    pub derived: bool,
}

impl Finding {
    /// What repairs it.
    pub fn help(&self) -> &'static str {
        match self.kind {
            _ if self.derived => "`runlode verify --repair` makes it again",
            FindingKind::NotCompared => "see what is damaged first",
            FindingKind::Inbox => {
                "restore the file from a copy, or go on without it: `runlode verify --repair --accept-loss`"
            }
            _ => "restore the file from a copy of the store: nothing else has what was in it",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)
    }
}

/// What a verification read and found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// What is wrong; empty if all is sound.
    pub findings: Vec<Finding>,
    /// Number of further findings.
    pub findings_left_out: u64,
    /// The position that was verified up to.
    pub position: Lsn,
    /// All frames up to here were read and are sound.
    pub sound_up_to: Lsn,
    /// Frames read.
    pub frames_count: u64,
    /// Events applied.
    pub events_count: u64,
    /// Points in frames.
    pub frame_points_count: u64,
    /// Series files read.
    pub files_count: u64,
    /// Chunks read.
    pub chunks_count: u64,
    /// Points in chunks.
    pub chunk_points_count: u64,
    /// Entities compared.
    pub entities_count: u64,
    /// Series compared.
    pub series_count: u64,
    /// Derived files that are missing, which is allowed: the next open for writing rebuilds them.
    pub not_there: Vec<&'static str>,
    /// Inboxes read.
    pub inboxes_count: u64,
    /// Whole frames in them that are not merged yet; not a finding.
    pub inbox_frames_unmerged: u64,
    /// Events of kinds that this build does not know, by tag.
    pub unknown: Vec<(u16, u64)>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    /// Whether a repair can rebuild everything that is wrong.
    pub fn is_repairable(&self) -> bool {
        self.findings_left_out == 0 && self.findings.iter().all(|finding| finding.derived)
    }
}
