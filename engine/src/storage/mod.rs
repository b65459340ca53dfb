//! Where bytes live: the only way to files, folders, locks, maps and free space.
//!
//! A [`Storage`] is rooted at one store's folder. Every path is relative to it, with `/` between names, so a moved
//! store keeps working and a simulated disk needs no real names. Implementations: [`disk`] (real files), [`memory`],
//! [`layered`] (a folder whose changes go to another one) and, for tests, `sim` (a seeded disk with crashes and faults).
//!
//! Durability is that of POSIX: bytes are durable after [`StorageFile::sync_data`]; a name (create, rename, remove) is
//! durable after [`Storage::sync_dir`] of its folder. Unsynced operations have no order.

pub mod disk;
mod identity;
pub mod layered;
pub mod lock;
pub(crate) mod map;
pub mod memory;
pub(crate) mod overlay;
pub mod owner;
#[cfg(any(test, feature = "testing"))]
pub mod sim;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

pub use crate::error::NotAFile;
pub use identity::FileIdentity;

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// It must exist; only reads.
    Read,
    /// It must exist; reads and writes.
    ReadWrite,
    /// It must not exist (`O_EXCL`); reads and writes.
    CreateNew,
}

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The last component.
    pub name: String,
    /// Whether it is a folder.
    pub is_dir: bool,
}

/// The folder of one store.
pub trait Storage: Send + Sync + Debug + 'static {
    /// Opens or creates a file. The kind of the error distinguishes `NotFound` and `AlreadyExists`.
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>>;
    /// Renames a file over whatever has the new name. Durable after `sync_dir`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. Durable after `sync_dir`.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Removes an empty folder. Durable after `sync_dir` of its parent.
    fn remove_dir(&self, dir: &str) -> io::Result<()>;
    /// The names in a folder, sorted. `""` is the store's own folder.
    fn list(&self, dir: &str) -> io::Result<Vec<Entry>>;
    /// Creates a folder and its parents; does nothing if it exists.
    fn create_dir(&self, dir: &str) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;
    /// Bytes free for this user, if the file system says.
    fn free_bytes(&self) -> io::Result<Option<u64>>;
    /// Takes the exclusive advisory lock of a file, which it creates, for as long as the guard lives. `None`: another
    /// holder has it. `text` is written into the file, for messages only.
    fn lock(&self, path: &str, text: &str) -> io::Result<Option<Box<dyn Send + Sync>>>;
    /// Raises the epoch in the lock file, which the caller holds: see [`lock`]. Does nothing for a storage that no
    /// other process can see.
    fn raise_epoch(&self, _path: &str) -> io::Result<()> {
        Ok(())
    }
    /// Whether the lock file is a copy of one that a holder marked; then all files are copies. `false` if unknown.
    fn is_copied(&self, _path: &str) -> io::Result<bool> {
        Ok(false)
    }
    /// Marks the lock file, which the caller holds, durably, so that copies of it are recognised. Does nothing where
    /// there are no copies.
    fn mark(&self, _path: &str) -> io::Result<()> {
        Ok(())
    }
    /// Which file has this name now. `None`: the storage cannot tell, as on a network file system.
    fn identity(&self, _path: &str) -> io::Result<Option<FileIdentity>> {
        Ok(None)
    }
    /// Whether stores into a mapping of a file on this storage cannot fault once its blocks are allocated (ext4, tmpfs,
    /// memory). If not, appends use `write_at`.
    fn can_map_writes(&self) -> bool;
    /// The path as a user would write it, for messages.
    fn display_path(&self, path: &str) -> PathBuf;
}

/// One open file. All positions are absolute; calls may come from several threads.
pub trait StorageFile: Send + Sync + Debug + 'static {
    /// Reads at most `buf.len()` bytes; 0 at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes at most `buf.len()` bytes.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts, or grows with zeros (sparse).
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Allocates blocks for `..len`, which read as zeros, and grows the file: later writes there need no space.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// The next bytes at or after `offset` that may be other than zeros, as (start, end); `None` if there are none up
    /// to the end of the file. If the file system cannot tell, that is everything from `offset` on.
    ///
    /// Ask before reading: bytes that were read, or read ahead, may count as data.
    fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>> {
        let len = self.len()?;
        Ok((offset < len).then_some((offset, len)))
    }
    /// Makes bytes and length durable (fdatasync).
    fn sync_data(&self) -> io::Result<()>;
    /// Makes bytes, length and attributes durable (fsync).
    fn sync_all(&self) -> io::Result<()>;
    /// Maps `..len`, which must lie within the file. `None` if maps are not to be used.
    fn map(&self, len: u64, writable: bool) -> io::Result<Option<Arc<dyn Map>>>;
}

/// A shared mapping of a file's first bytes. Never a slice: other processes may write the file.
pub trait Map: Send + Sync + Debug + 'static {
    /// Mapped length in bytes.
    fn len(&self) -> u64;
    /// Whether nothing is mapped.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Copies bytes out. Panics if the range is outside the map: the caller knows the published end.
    fn copy_at(&self, offset: u64, out: &mut [u8]);
    /// Stores bytes. Panics if outside, or if the map is read-only. On return the kernel has the bytes: they survive
    /// the death of this process.
    fn store_at(&self, offset: u64, bytes: &[u8]);
    /// Loads a little-endian u64 at a multiple of 8. A reader that sees a value stored by [`Map::store_u64`], here or
    /// in another process, also sees everything stored before it.
    fn load_u64(&self, offset: u64) -> u64 {
        let mut bytes = [0; 8];
        self.copy_at(offset, &mut bytes);
        u64::from_le_bytes(bytes)
    }
    /// Stores a little-endian u64 at a multiple of 8, atomically; see [`Map::load_u64`].
    fn store_u64(&self, offset: u64, value: u64) {
        self.store_at(offset, &value.to_le_bytes());
    }
    /// Says that nothing will be stored into a range again, so that a sync of it need not interrupt the process's other
    /// threads for every page. The bytes stay readable. A hint: does nothing where it has no use.
    fn end_stores(&self, _offset: u64, _count: u64) {}
}

/// The names of a path, if it stays below the root: relative, `/` between names, no empty name, no `.`, `..`, backslash
/// or NUL. `""` has no names: it is the root.
pub(crate) fn path_names(path: &str) -> io::Result<Vec<&str>> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = path.split('/').collect();
    if names.iter().any(|name| name.is_empty() || *name == "." || *name == ".." || name.contains(['\\', '\0'])) {
        let message = format!("`{}` is not a path below the store's folder", path.escape_debug());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(names)
}

/// The error of writes to a storage that was opened read-only.
pub(crate) fn read_only_error() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "this storage was opened read-only")
}

/// Reads exactly `buf.len()` bytes; `UnexpectedEof` if the file ends before.
pub fn read_exact_at(file: &dyn StorageFile, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buf.is_empty() {
        match file.read_at(buf, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                buf = &mut buf[count..];
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes all of `buf`. After an error any part of it may have been written.
pub fn write_all_at(file: &dyn StorageFile, mut buf: &[u8], mut offset: u64) -> io::Result<()> {
    while !buf.is_empty() {
        match file.write_at(buf, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                buf = &buf[count..];
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
