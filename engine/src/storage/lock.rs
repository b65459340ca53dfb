//! The lock of a store: advisory, exclusive, held for life; its text is for messages only.
//!
//! The lock itself is the kernel's (`flock`) or the simulated disk's: a file that is there says nothing, only the lock
//! counts. The file's first [`LOCK_TEXT_BYTES`] hold the text of the last holder, padded with zeros. What lies behind
//! them is never touched here, and the file is never cut: others may have it mapped.

use std::fs::File;
use std::io;

use rustix::fs::{FlockOperation, flock};

use crate::storage::{OpenMode, Storage, StorageFile, write_all_at};

/// Bytes at the beginning of a lock file that belong to its text.
pub const LOCK_TEXT_BYTES: usize = 1_024;

/// A held lock of a real file; dropping it releases the lock.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    pid: u32,
}

impl FileLock {
    /// Takes the lock of an open file. `None`: another open of the file holds it, in this process or another one.
    pub(crate) fn take(file: File) -> io::Result<Option<Self>> {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { file, pid: std::process::id() })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // The lock belongs to the open file, which a forked child shares: closing it here would leave the lock with
        // the child, so it is given back in words; but a child that drops its copy must not unlock its parent. An
        // error needs no answer: the close that follows releases the lock too.
        if self.pid == std::process::id() {
            let _ = flock(&self.file, FlockOperation::Unlock);
        }
    }
}

/// Writes the text of a new holder over that of the last one. Cut at [`LOCK_TEXT_BYTES`].
pub(crate) fn write_lock_text(file: &dyn StorageFile, text: &str) -> io::Result<()> {
    let mut bytes = [0; LOCK_TEXT_BYTES];
    let count = text.floor_char_boundary(LOCK_TEXT_BYTES);
    bytes[..count].copy_from_slice(&text.as_bytes()[..count]);
    write_all_at(file, &bytes, 0)
}

/// The text that the last holder of a lock wrote, for messages; it does not say whether the lock is held now. `None`
/// if there is no such file.
pub fn read_lock_text(storage: &dyn Storage, path: &str) -> io::Result<Option<String>> {
    let file = match storage.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = [0; LOCK_TEXT_BYTES];
    let mut count = 0;
    while count < bytes.len() {
        match file.read_at(&mut bytes[count..], count as u64) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let text = bytes[..count].split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(Some(String::from_utf8_lossy(text).into_owned()))
}
