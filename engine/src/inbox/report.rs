//! What a merge of inboxes did, and what is wrong with those that it left.

use std::fmt;

use crate::id::WriterId;

/// What is wrong with an inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InboxProblemKind {
    /// A file or folder that is not an inbox of this store.
    Foreign,
    /// Bytes that are not what was written.
    Damage,
    /// Numbers are missing before its first frame: part of it was not copied, or the store is an older copy.
    Gap,
    /// It logs to a run that the store does not know.
    UnknownRun,
    /// The disk refuses to read or remove it; tried again at each merge.
    Unreadable,
    /// It is merged, but could not be removed.
    NotRemoved,
}

/// An inbox whose merge has stopped. It is left as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxProblem {
    /// Whose inbox, if the name says it.
    pub writer: Option<WriterId>,
    /// What kind of problem.
    pub kind: InboxProblemKind,
    /// What is wrong and where, in a sentence.
    pub what: String,
}

impl fmt::Display for InboxProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// What a merge did, and what it found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MergeReport {
    /// Points added to the store's log.
    pub points_count: u64,
    /// Dropped points of purged runs.
    pub points_dropped: u64,
    /// Frames that a power cut took before they were synced, although later ones exist.
    pub frames_lost: u64,
    /// Merged frames of inboxes.
    pub frames_count: u64,
    /// Batches of the store's log that hold them.
    pub batches_count: u64,
    /// Inboxes that exist now.
    pub inboxes_open: u64,
    /// Removed inboxes: merged to their end, durable, and their writers gone.
    pub inboxes_removed: u64,
    /// Inboxes whose merge has stopped: all of them at each merge, not only new ones.
    pub problems: Vec<InboxProblem>,
}
