//! Bringing what one store has into another: by any transport, any number of times, while runs go on.
//!
//! ```text
//!   source (its log, from where the target stands)            target
//!   Source::next_chunk ---- Chunk: batches, names resolved ---> Target::apply ---> Store::append
//!          ^                                                        |
//!          +------------- Target::applied (a position) -------------+
//! ```
//!
//! - Ids of runs and models, times, orders and value bits stay. The source's store id is the writer, its position the
//!   number: the target's log says of each batch which positions of the source it holds, so none is applied twice, and
//!   a sync that was cut goes on where it stopped.
//! - Experiments meet by name. The target says under which id the source knows its experiment in the tag
//!   `runlode.source.SOURCE` of it. A new one keeps its id where that is free.
//! - What both have is not an error. Where they disagree the target keeps what it has, and the other value too where
//!   it can be kept (a param becomes the tag `runlode.conflict.KEY`); each case stands in the report.
//! - Nothing is taken away: purges stay where they were made.
//! - Where the source was compacted its early points are no longer in its log; they are sent as histories. Points are
//!   a set, so what the target has of them already changes nothing.

mod calls;
mod chunk;
mod source;
mod target;

#[cfg(test)]
mod tests;

pub use chunk::{CHUNK_BYTES_MAX, Chunk};
pub use source::Source;
pub use target::{Problem, Report, Target};

/// How the tag begins that keeps the value of a param on which two stores disagree.
pub(crate) const CONFLICT_TAG: &str = "runlode.conflict.";
