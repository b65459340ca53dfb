//! Reading: snapshots, the points of a series, which runs match, and the past.

pub(crate) mod branch_series;
pub(crate) mod branches;
mod carried;
pub(crate) mod history;
pub(crate) mod late;
pub(crate) mod logged;
pub(crate) mod past;
mod past_runs;
pub(crate) mod past_search;
pub mod points;
pub(crate) mod runs;
pub(crate) mod snapshot;
