//! What the lock file of an inbox says about its segments.
//!
//! A segment that is not there may never have been made, may have been taken by a power cut, or was removed by
//! somebody. This record tells the cases apart.
//!
//! ```text
//! inbox/WRITER/lock, little endian
//!    0  text of the last process that locked it, for messages only
//! 1024  1: the first segment is there, with its header; 2: all is merged, and the inbox is being removed; 0: neither u64
//! 1032  number of the mount on which the writer made it u64; 0: unknown
//! ```
//!
//! Invariants:
//! - *There* is written after the first segment, and before any frame of it is acknowledged. From then on until *merged*
//!   there is at least one segment, and after a mark the next one.
//! - On the same mount no power cut has taken anything. So a missing or short segment was removed or cut by somebody,
//!   and all frames below a published end are whole.

use std::io;

use super::segment::{LOCK_NAME, dir_of};
use crate::id::WriterId;
use crate::storage::lock::LOCK_TEXT_BYTES;
use crate::storage::{OpenMode, Storage, read_exact_at, write_all_at};

const RECORD_BYTES: usize = 16;

/// Whether an inbox has segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Segments {
    /// Unknown: the inbox is being made, or an older version made it.
    Unknown,
    /// There are some, unless somebody or a power cut took them.
    There,
    /// A holder has merged them and removes them.
    Merged,
}

/// Writes the record of an inbox whose lock the caller holds.
pub(super) fn write(storage: &dyn Storage, writer: WriterId, segments: Segments) -> io::Result<()> {
    let state: u64 = match segments {
        Segments::Unknown => 0,
        Segments::There => 1,
        Segments::Merged => 2,
    };
    let mut bytes = [0; RECORD_BYTES];
    bytes[..8].copy_from_slice(&state.to_le_bytes());
    bytes[8..].copy_from_slice(&storage.mount_id().to_le_bytes());
    let file = storage.open(&path(writer), OpenMode::ReadWrite)?;
    write_all_at(&*file, &bytes, LOCK_TEXT_BYTES as u64)
}

/// Reads the record: what is known about segments, and whether the inbox was made on the present mount. A record that
/// cannot be read says nothing.
pub(super) fn read(storage: &dyn Storage, writer: WriterId) -> (Segments, bool) {
    let mut bytes = [0; RECORD_BYTES];
    let file = storage.open(&path(writer), OpenMode::Read);
    if file.and_then(|file| read_exact_at(&*file, &mut bytes, LOCK_TEXT_BYTES as u64)).is_err() {
        return (Segments::Unknown, false);
    }
    let (state, mount) = bytes.split_at(8);
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let segments = match number(state) {
        1 => Segments::There,
        2 => Segments::Merged,
        _ => Segments::Unknown,
    };
    let mount: u64 = number(mount);
    (segments, mount != 0 && mount == storage.mount_id())
}

fn path(writer: WriterId) -> String {
    format!("{}/{LOCK_NAME}", dir_of(writer))
}
