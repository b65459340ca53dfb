//! Rules that a test can leave out, to check that other tests notice.

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code))]
pub(super) enum Rule {
    /// A segment whose sync fails while the writer goes on in the next one poisons the writer.
    FailedRollPoisons,
    /// A failed sync poisons the writer.
    FailedSyncPoisons,
    /// A sync covers finished segments too.
    OlderSegments,
    /// A sync covers the names of new files.
    Folders,
    /// A close syncs.
    CloseSyncs,
    /// The note of an inbox is made after its first segment.
    NoteComesLast,
    /// The note of an inbox is removed before the rest.
    NoteGoesFirst,
}

#[cfg(test)]
std::thread_local! {
    static LEFT_OUT: std::cell::Cell<Option<Rule>> = const { std::cell::Cell::new(None) };
}

/// Whether the test left this rule out.
#[inline]
#[cfg(test)]
pub(super) fn left_out(rule: Rule) -> bool {
    LEFT_OUT.get() == Some(rule)
}

/// Whether the test left this rule out.
#[inline]
#[cfg(not(test))]
pub(super) const fn left_out(_rule: Rule) -> bool {
    false
}

/// Leaves a rule out on this thread.
#[cfg(test)]
pub(super) fn leave_out(rule: Option<Rule>) {
    LEFT_OUT.set(rule);
}
