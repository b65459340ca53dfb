//! Rules of the log that a test can leave out, to check that other tests notice.

/// One rule of recovery or of a write order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code))]
pub(super) enum Rule {
    /// Valid headers after a bad frame count for the proven position.
    LookAhead,
    /// Good frames that are not proven durable are written again at open.
    Rewrite,
    /// Numbering goes on above everything that a lost tail could have held.
    Jump,
    /// MANIFEST's note of what is kept.
    Note,
    /// The note comes after the rewrite.
    NoteAfterRewrite,
    /// After a clean close, a mark is synced before the first append.
    OpeningMark,
    /// A close frame does not vouch for itself.
    CloseVouchesForNothing,
    /// A segment is marked as left when the next one gets frames.
    LeftMark,
    /// The mark comes before the first frame of the next segment, not a frame later.
    LeftMarkFirst,
    /// A sync of frames in the next segment covers the mark.
    LeftMarkSynced,
    /// A sync begins with the older segments.
    OlderSegmentsFirst,
    /// MANIFEST's folder is synced.
    ManifestFolder,
    /// Folders are synced at open.
    FoldersAtOpen,
    /// A rewritten segment is swapped in before the old ones are removed.
    SwapBeforeUnlink,
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

#[cfg(test)]
std::thread_local! {
    static UNSYNCED_MAX: std::cell::Cell<Option<u32>> = const { std::cell::Cell::new(None) };
}

/// Where `unsynced` saturates, if a test says so.
#[cfg(test)]
pub(super) fn unsynced_max() -> Option<u32> {
    UNSYNCED_MAX.get()
}

/// Makes `unsynced` saturate early on this thread, to simulate logs of many millions of frames.
#[cfg(test)]
pub(super) fn saturate_unsynced(max: Option<u32>) {
    UNSYNCED_MAX.set(max);
}

/// Leaves a rule out on this thread.
#[cfg(test)]
pub(super) fn leave_out(rule: Option<Rule>) {
    LEFT_OUT.set(rule);
}
