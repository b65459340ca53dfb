//! Copies what one store has into another: over any transport, any number of times, while runs go on.
//!
//! ```text
//!   source (its log, from the target's position on)           target
//!   Source::next_chunk ---- Chunk: batches, names resolved ---> Target::apply ---> LocalStore::append
//!          ^                                                        |
//!          +------------- Target::applied (a position) -------------+
//! ```
//!
//! Every event keeps its identity: each batch keeps the store that decided it and its position there, in a note in the
//! frame ([`crate::engine::event::batch::StoreNote`]). A store keeps the highest position seen of every store; nothing
//! up to that is applied again, whichever store sends it.
//!
//! - *Prefix rule*: a source sends in the order of its log, and a target takes in that order. So of every store that it
//!   knows, a store has all batches up to some position, and one number is enough (`versions`).
//! - Ids of runs and models, times, orders and value bits stay. Experiments are matched by their origin, else by name
//!   (`experiments`). A new one keeps its id if that is free.
//! - Data that both have is not an error. If both changed a field since they last met, the later change wins, or for
//!   decisions of the registry the target's own; both are reported (`decide`). A param becomes the tag
//!   `runlode.conflict.KEY`.
//! - Nothing is removed: a run that both have stays if the source purged it. If it was purged before it came, that is
//!   reported in every store that would have got it.

mod calls;
mod chunk;
mod decide;
mod decided;
mod experiments;
mod fields;
mod join;
mod known;
mod lifecycles;
mod lines;
mod numbers;
mod origins;
mod repeat;
mod report;
mod source;
mod target;
mod values;
mod versions;
mod winners;

#[cfg(test)]
mod histories;
#[cfg(test)]
mod import_tests;
#[cfg(test)]
mod lifecycle_tests;
#[cfg(test)]
mod tests;

pub use chunk::{CHUNK_BYTES_MAX, Chunk};
pub use report::{Disagreement, Problem, Report};
pub use source::Source;
pub use target::Target;

/// Prefix of the tag that keeps the other value of a param on which two stores disagree.
pub(crate) const CONFLICT_TAG: &str = "runlode.conflict.";
