//! Measurements of what Runlode promises, each beside a floor or a peer that runs in the same minute.
//!
//! ```text
//! bars        the promises: one line each, with the number that must be reached
//! group/      how each is measured, one file a theme; a group runs in a process of its own
//! floor/      bare loops: the least that any such store must do (copy, pwrite, fdatasync)
//! peer/       other software with the same task: SQLite, pco alone
//! stream      what is logged: training-shaped, the same in every run
//! report      results as lines, JSON and a table
//! ```
//!
//! A *floor* is what remains when all that makes a store useful is taken away; a *peer* does the same job. Numbers
//! alone depend on the machine, the ratio to a floor of the same minute does not.

pub mod bar;
pub mod bars;
pub mod engine;
pub mod floor;
pub mod group;
pub mod machine;
pub mod peer;
pub mod report;
pub mod rng;
pub mod scratch;
pub mod stream;
pub mod timing;

/// What a measurement answers. Any failure makes its bars `short`.
pub type Result<T = (), E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;
