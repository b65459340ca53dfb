//! Rules of the log that a test can leave out, to see that the checkers notice.

/// One rule of recovery or of a write order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code))]
pub(super) enum Rule {
    /// Valid headers behind a bad frame count for the proven position.
    LookAhead,
    /// Good frames that nothing proves durable are written again at open.
    Rewrite,
    /// Numbers go on above all that a lost tail could have held.
    Jump,
    /// MANIFEST's note of what is kept.
    Note,
    /// The note comes after the rewrite.
    NoteAfterRewrite,
    /// What lies behind the last good frame is cut.
    Cut,
    /// The first append after a clean close is preceded by a synced mark.
    OpeningMark,
    /// A close frame says nothing of itself.
    CloseVouchesForNothing,
    /// A sync begins with the older segments.
    OlderSegmentsFirst,
    /// MANIFEST's folder is synced.
    ManifestFolder,
    /// Folders are synced at open.
    FoldersAtOpen,
    /// A rewritten segment is swapped in before the old ones are removed.
    SwapBeforeUnlink,
    /// A tail with a noted jump behind it was not closed cleanly.
    JumpIsUnclean,
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
