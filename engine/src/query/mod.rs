//! Reads: snapshots, series, search, and the past.

pub(crate) mod directories;
pub(crate) mod history;
pub(crate) mod past;
pub mod points;
pub(crate) mod snapshot;
