//! Bringing what one store has into another: by any transport, any number of times, while runs go on.
//!
//! ```text
//!   source (its log, from where the target stands)            target
//!   Source::next_chunk ---- Chunk: batches, names resolved ---> Target::apply ---> Store::append
//!          ^                                                        |
//!          +------------- Target::applied (a position) -------------+
//! ```
//!
//! An event is itself wherever it travels: each batch keeps the store that decided it and its position there, in a note
//! in the frame ([`crate::engine::event::batch::StoreNote`]). A store keeps the highest position seen of every store;
//! what is at most that is never applied again, from whomever it comes.
//!
//! - *Prefix rule*: a source sends in the order of its log, and a target takes in that order. So of every store that it
//!   knows of, a store has all batches up to some position, and one number says which ([`versions`]).
//! - Ids of runs and models, times, orders and value bits stay. Experiments are matched by where they come from, else by
//!   name ([`experiments`]). A new one keeps its id where that is free.
//! - What both have is not an error. Where both changed a field since they last met, the later change wins, or, of the
//!   registry's decisions, the target's own; both are told ([`decide`]). A param becomes the tag `runlode.conflict.KEY`.
//! - Nothing is taken away: purges stay where they were made.

mod calls;
mod chunk;
mod decide;
mod experiments;
mod fields;
mod join;
mod report;
mod source;
mod target;
mod values;
mod versions;

#[cfg(test)]
mod histories;
#[cfg(test)]
mod lifecycle_tests;
#[cfg(test)]
mod tests;

pub use chunk::{CHUNK_BYTES_MAX, Chunk};
pub use report::{Disagreement, Problem, Report};
pub use source::Source;
pub use target::Target;

/// How the tag begins that keeps the value of a param on which two stores disagree.
pub(crate) const CONFLICT_TAG: &str = "runlode.conflict.";
