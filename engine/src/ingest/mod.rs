//! From a caller's batch to a frame in the log, visible and acknowledged.
//!
//! ```text
//! run, append                       what a caller calls: rows and points of one run; batches
//! prepare, compare                  outside any lock: validate, look late points up, encode
//! pipeline                          commit what was prepared
//! group_commit | room               `Sync` appends share a sync; waits for memory and disk
//! sequencer, known, gate            under the sequencer: check, place, publish
//! prepared  late  base              what is handed over, and what it was decided on
//! batch  carried  validate  encode  look_up  signal
//! ```

mod append;
pub(crate) mod base;
pub(crate) mod batch;
mod carried;
mod compare;
pub(crate) mod encode;
pub(crate) mod gate;
pub(crate) mod group_commit;
pub(crate) mod known;
pub(crate) mod late;
pub(crate) mod look_up;
pub(crate) mod pipeline;
pub(crate) mod prepare;
pub(crate) mod prepared;
pub(crate) mod room;
pub(crate) mod run;
pub(crate) mod sequencer;
pub(crate) mod signal;
pub mod validate;
