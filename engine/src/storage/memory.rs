//! Files in memory with the semantics of real ones; for tests, and for indexes that a read-only open rebuilds.
//!
//! A clone is the same storage. Everything is durable at once; `storage::sim` simulates crashes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::storage::lock::write_lock_text;
use crate::storage::{Entry, FileIdentity, Map, OpenMode, Storage, StorageFile, path_names, read_only_error};

/// Files in memory. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    tree: Arc<Mutex<Tree>>,
    read_only: bool,
}

/// Names of files and folders. The root is always there and has no name.
#[derive(Debug, Default)]
struct Tree {
    files: BTreeMap<String, Arc<Bytes>>,
    dirs: BTreeSet<String>,
}

/// The bytes of one file. They live as long as a name, a handle or a map needs them.
#[derive(Debug, Default)]
struct Bytes {
    bytes: RwLock<Vec<u8>>,
    locked: Mutex<bool>,
}

impl Memory {
    /// An empty storage.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same files, read-only through this value.
    #[must_use]
    pub fn read_only(&self) -> Self {
        Self { tree: self.tree.clone(), read_only: true }
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.read_only { Err(read_only_error()) } else { Ok(()) }
    }
}

impl Tree {
    fn check_parent(&self, path: &str) -> io::Result<()> {
        match path.rsplit_once('/') {
            Some((parent, _)) if !self.dirs.contains(parent) => Err(io::ErrorKind::NotFound.into()),
            _ => Ok(()),
        }
    }
}

/// Checks a path that must name a file.
fn check_file_path(path: &str) -> io::Result<()> {
    if path_names(path)?.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a file needs a name"));
    }
    Ok(())
}

impl Storage for Memory {
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        check_file_path(path)?;
        if mode != OpenMode::Read {
            self.check_writable()?;
        }
        let mut tree = self.tree.lock();
        if tree.dirs.contains(path) {
            let create = mode == OpenMode::CreateNew;
            return Err(if create { io::ErrorKind::AlreadyExists } else { io::ErrorKind::IsADirectory }.into());
        }
        let bytes = match (tree.files.get(path), mode) {
            (Some(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(bytes), _) => bytes.clone(),
            (None, OpenMode::CreateNew) => {
                tree.check_parent(path)?;
                let bytes = Arc::new(Bytes::default());
                tree.files.insert(path.to_owned(), bytes.clone());
                bytes
            }
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Arc::new(MemoryFile { bytes, writable: mode != OpenMode::Read }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_file_path(from)?;
        check_file_path(to)?;
        self.check_writable()?;
        let mut tree = self.tree.lock();
        tree.check_parent(to)?;
        if tree.dirs.contains(to) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let bytes = tree.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        tree.files.insert(to.to_owned(), bytes);
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        check_file_path(path)?;
        self.check_writable()?;
        let removed = self.tree.lock().files.remove(path);
        removed.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        check_file_path(dir)?;
        self.check_writable()?;
        let mut tree = self.tree.lock();
        let prefix = format!("{dir}/");
        if tree.files.keys().chain(&tree.dirs).any(|path| path.starts_with(&prefix)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        if tree.dirs.remove(dir) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn list(&self, dir: &str) -> io::Result<Vec<Entry>> {
        path_names(dir)?;
        let tree = self.tree.lock();
        if !dir.is_empty() && !tree.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let name_in = |path: &str| {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            (parent == dir).then(|| name.to_owned())
        };
        let files = tree.files.keys().filter_map(|path| Some(Entry { name: name_in(path)?, is_dir: false }));
        let dirs = tree.dirs.iter().filter_map(|path| Some(Entry { name: name_in(path)?, is_dir: true }));
        let mut entries: Vec<Entry> = files.chain(dirs).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        let names = path_names(dir)?;
        self.check_writable()?;
        let mut tree = self.tree.lock();
        for count in 1..=names.len() {
            let path = names[..count].join("/");
            if tree.files.contains_key(&path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            tree.dirs.insert(path);
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        path_names(dir)?;
        self.check_writable()?;
        if dir.is_empty() || self.tree.lock().dirs.contains(dir) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }

    fn lock(&self, path: &str, text: &str) -> io::Result<Option<Box<dyn Send + Sync>>> {
        check_file_path(path)?;
        self.check_writable()?;
        let bytes = {
            let mut tree = self.tree.lock();
            tree.check_parent(path)?;
            tree.files.entry(path.to_owned()).or_default().clone()
        };
        if std::mem::replace(&mut *bytes.locked.lock(), true) {
            return Ok(None);
        }
        let guard = MemoryLock(bytes.clone());
        write_lock_text(&MemoryFile { bytes, writable: true }, text)?;
        Ok(Some(Box::new(guard)))
    }

    fn identity(&self, _path: &str) -> io::Result<Option<FileIdentity>> {
        // Neither copied nor mounted again.
        Ok(Some(FileIdentity { inode: 1, made_ns: 0, mount: 1 }))
    }

    fn can_map_writes(&self) -> bool {
        !self.read_only
    }

    fn display_path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("memory:{path}"))
    }
}

/// A held lock; dropping it releases the lock.
struct MemoryLock(Arc<Bytes>);

impl Drop for MemoryLock {
    fn drop(&mut self) {
        *self.0.locked.lock() = false;
    }
}

/// One open file of a [`Memory`].
#[derive(Debug)]
struct MemoryFile {
    bytes: Arc<Bytes>,
    writable: bool,
}

impl MemoryFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

/// A position or length as an index into memory.
fn index(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

impl StorageFile for MemoryFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.bytes.bytes.read();
        let tail = bytes.get(index(offset)?..).unwrap_or_default();
        let count = tail.len().min(buf.len());
        buf[..count].copy_from_slice(&tail[..count]);
        Ok(count)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.check_writable()?;
        if buf.is_empty() {
            return Ok(0);
        }
        let start = index(offset)?;
        let end = start.checked_add(buf.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        let mut bytes = self.bytes.bytes.write();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(buf);
        Ok(buf.len())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.bytes.read().len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let len = index(len)?;
        self.bytes.bytes.write().resize(len, 0);
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let len = index(len)?;
        let mut bytes = self.bytes.bytes.write();
        if bytes.len() < len {
            bytes.resize(len, 0);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }

    fn map(&self, len: u64, writable: bool) -> io::Result<Option<Arc<dyn Map>>> {
        if writable {
            self.check_writable()?;
        }
        if len > self.len()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some(Arc::new(MemoryMap { bytes: self.bytes.clone(), len: index(len)?, writable })))
    }
}

/// Shared access to a file's first bytes.
#[derive(Debug)]
struct MemoryMap {
    bytes: Arc<Bytes>,
    len: usize,
    writable: bool,
}

impl MemoryMap {
    fn checked(&self, offset: u64, count: usize) -> std::ops::Range<usize> {
        let len = self.len as u64;
        assert!(
            offset <= len && count as u64 <= len - offset,
            "{count} bytes at {offset} are outside a map of {len} bytes"
        );
        offset as usize..offset as usize + count
    }
}

impl Map for MemoryMap {
    fn len(&self) -> u64 {
        self.len as u64
    }

    fn copy_at(&self, offset: u64, out: &mut [u8]) {
        let range = self.checked(offset, out.len());
        let bytes = self.bytes.bytes.read();
        out.copy_from_slice(bytes.get(range).expect("the mapped file was cut: on a real disk this is SIGBUS"));
    }

    fn store_at(&self, offset: u64, stored: &[u8]) {
        assert!(self.writable, "this map is read-only");
        let range = self.checked(offset, stored.len());
        let mut bytes = self.bytes.bytes.write();
        bytes.get_mut(range).expect("the mapped file was cut: on a real disk this is SIGBUS").copy_from_slice(stored);
    }
}
