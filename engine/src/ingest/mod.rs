//! From a caller's batch to a frame in the log, visible and acknowledged.

pub(crate) mod base;
pub(crate) mod batch;
pub(crate) mod encode;
pub(crate) mod group_commit;
pub(crate) mod late;
pub(crate) mod look_up;
pub(crate) mod pipeline;
pub(crate) mod prepared;
pub(crate) mod run;
pub(crate) mod signal;
pub mod validate;
