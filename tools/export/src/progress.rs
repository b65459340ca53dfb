//! How far an export has got, for a progress bar.

/// A step of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What is written: `points`, `runs`, ...
    pub what: &'static str,
    /// How many entities (runs, mostly) are done.
    pub done: u64,
    /// Of how many.
    pub total: u64,
}

/// Calls that tell the caller.
pub(crate) struct Progress<'p>(pub(crate) &'p mut dyn FnMut(Step));

impl Progress<'_> {
    pub(crate) fn at(&mut self, what: &'static str, done: u64, total: u64) {
        (self.0)(Step { what, done, total });
    }
}
