//! Projections in `search.snap`: the bytes of one (`part`), and the file ([`file`]).

mod file;
mod part;

pub use file::{Part, SNAP_FILE_VERSION, SNAP_PATH, SNAP_TMP_PATH, SnapFile, SnapWriter, forget, settle};
