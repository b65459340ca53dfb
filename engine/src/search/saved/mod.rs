//! Projections in `search.snap`: the bytes of one (`part`), and the file ([`file`]).

mod file;
mod part;

#[cfg(test)]
pub(crate) use file::SNAP_TMP_PATH;
pub use file::{Part, SNAP_PATH, SnapFile, SnapWriter, forget, settle};
