//! Notes of inboxes, outside of them: what is missing there can be told from what never was.
//!
//! ```text
//! STORE/writers/
//!   WRITER        24 bytes, little endian, of the inbox with this name:
//!      0  inode of this file u64
//!      8  when this file was made u64, Unix ns; 0: the file system does not tell
//!     16  number of the mount that it was made on u64; 0: unknown
//! ```
//!
//! | the note | then | what is missing in the inbox |
//! |---|---|---|
//! | says what the file system says of it | it lies where its writer made it, and no power was cut since | was removed or cut by somebody |
//! | is of another file | it is a copy, maybe of a store in use | at the end: was made while the store was copied. Elsewhere: is lost |
//! | is of another mount, or there is none | the machine was started since, or an older version made the inbox | may have been lost in a power cut |
//!
//! Invariants:
//! - A note is made after the first segment, and before any frame is acknowledged. So where there is a note, there was
//!   a segment.
//! - A holder removes the note before it removes the rest of a merged inbox. From the note's making to its removal
//!   there is always a segment, and after a mark the next one.
//! - Nothing waits for a note to be durable: after a power cut it says nothing.

use std::io;

use super::report::{InboxProblem, InboxProblemKind};
use super::segment::{dir_of, list_segments};
use crate::id::WriterId;
use crate::storage::{FileIdentity, OpenMode, Storage, read_exact_at, write_all_at};

/// The folder of all notes.
pub(crate) const NOTES_DIR: &str = "writers";
const NOTE_BYTES: usize = 24;

/// What a note says about its inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is where its writer made it, on the same mount.
    Here,
    /// It is a copy.
    Copied,
    /// Nothing is known.
    Unknown,
}

/// Makes the note of an inbox whose lock the caller holds. After an error there is none.
pub(super) fn make(storage: &dyn Storage, writer: WriterId) -> io::Result<()> {
    storage.create_dir(NOTES_DIR)?;
    let path = path_of(writer);
    // One may be left of an attempt whose removal failed.
    let file = match storage.open(&path, OpenMode::CreateNew) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => storage.open(&path, OpenMode::ReadWrite),
        opened => opened,
    }?;
    let made = storage.identity(&path).and_then(|identity| match identity {
        Some(identity) => write_all_at(&*file, &encode(identity), 0).map(|()| true),
        None => Ok(false),
    });
    match made {
        Ok(true) => Ok(()),
        Ok(false) => storage.remove(&path),
        Err(error) => {
            // The first error counts.
            let _ = storage.remove(&path);
            Err(error)
        }
    }
}

/// Removes a note, if there is one.
pub(super) fn remove(storage: &dyn Storage, writer: WriterId) -> io::Result<()> {
    match storage.remove(&path_of(writer)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// The writers that have a note.
pub(super) fn list(storage: &dyn Storage) -> io::Result<Vec<WriterId>> {
    match storage.list(NOTES_DIR) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => Ok(entries?.into_iter().filter_map(|entry| entry.name.parse().ok()).collect()),
    }
}

/// What the note of an inbox says. One that cannot be read says nothing.
pub(super) fn standing(storage: &dyn Storage, writer: WriterId) -> Standing {
    let path = path_of(writer);
    let mut noted = [0; NOTE_BYTES];
    let read = storage.open(&path, OpenMode::Read).and_then(|file| read_exact_at(&*file, &mut noted, 0));
    let (Ok(()), Ok(Some(now))) = (read, storage.identity(&path)) else { return Standing::Unknown };
    if noted == [0; NOTE_BYTES] {
        // Its writer died just then.
        return Standing::Unknown;
    }
    match encode(now) {
        same if same == noted && now.mount != 0 => Standing::Here,
        same if same[..16] == noted[..16] => Standing::Unknown,
        _ => Standing::Copied,
    }
}

/// Whether an inbox that must have a segment has none.
pub(super) fn misses_all(storage: &dyn Storage, writer: WriterId) -> io::Result<bool> {
    let is_here = || standing(storage, writer) == Standing::Here;
    // The note is made after the first segment and removed before the last one, and never made again. So there was a
    // segment at each moment between two looks that find the note.
    Ok(is_here() && has_no_segment(storage, writer)? && is_here())
}

/// The problem of such an inbox.
pub(super) fn missed(storage: &dyn Storage, writer: WriterId) -> InboxProblem {
    let path = storage.display_path(&dir_of(writer));
    let what = format!("{} has no segment: what its writer logged and was not merged is missing", path.display());
    InboxProblem { writer: Some(writer), kind: InboxProblemKind::Gap, what }
}

fn has_no_segment(storage: &dyn Storage, writer: WriterId) -> io::Result<bool> {
    match list_segments(storage, writer) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        ordinals => Ok(ordinals?.is_empty()),
    }
}

fn path_of(writer: WriterId) -> String {
    format!("{NOTES_DIR}/{writer}")
}

fn encode(identity: FileIdentity) -> [u8; NOTE_BYTES] {
    let mut out = [0; NOTE_BYTES];
    out[..8].copy_from_slice(&identity.inode.to_le_bytes());
    out[8..16].copy_from_slice(&identity.made_ns.to_le_bytes());
    out[16..].copy_from_slice(&identity.mount.to_le_bytes());
    out
}

/// Makes the notes of a copied store say that its inboxes lie where they were made, for tests that damage copies.
///
/// # Errors
/// If the notes cannot be listed or written.
#[cfg(any(test, feature = "testing"))]
pub fn note_again(storage: &dyn Storage) -> io::Result<()> {
    for writer in list(storage)? {
        remove(storage, writer)?;
        make(storage, writer)?;
    }
    Ok(())
}
