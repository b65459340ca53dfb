//! Real files below one folder.
//!
//! - All descriptors are close-on-exec. Paths cannot leave the folder: absolute paths and `..` are refused.
//! - A read-only [`Disk`] refuses every call that would write, without trying it: read-only media never see a write.
//! - Stores into maps are allowed on ext2/3/4 and tmpfs only: elsewhere a store may need space that is not there (a
//!   reflink copy of a live store), and a full disk would then kill the process by SIGBUS. Maps for reading are not
//!   used on network file systems, where another machine may cut the file.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek, statfs, statvfs};
use rustix::io::Errno;

use crate::fork::Guarded;
use crate::storage::lock::{self, FileLock, raise_epoch, write_lock_text};
use crate::storage::map::FileMap;
use crate::storage::{Entry, Map, OpenMode, Storage, StorageFile, path_names, read_only_error, write_all_at};

/// What the file system under a store allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystemKind {
    /// ext2, ext3, ext4 or tmpfs: a store into allocated blocks never needs space.
    MapsWritable,
    /// Another local file system: maps for reading only.
    Local,
    /// Several machines may write: no maps, and locks are not to be trusted.
    Network,
}

/// Real files below one folder.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    read_only: bool,
    maps: bool,
}

impl Disk {
    /// Files below `root`. The folder need not exist: `create_dir("")` makes it.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), read_only: false, maps: true }
    }

    /// Files below `root`, never written: each call that would write is refused with `ReadOnlyFilesystem`.
    pub fn read_only(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), read_only: true, maps: true }
    }

    /// Whether maps are used at all. Default: where the file system allows them.
    #[must_use]
    pub fn maps(mut self, maps: bool) -> Self {
        self.maps = maps;
        self
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What the file system under the folder allows; an error if the folder is not there.
    pub fn file_system(&self) -> io::Result<FileSystemKind> {
        // The kernel's magic numbers are 32 bits wide; the field's width and sign differ by platform.
        let magic = statfs(&self.root)?.f_type as u32;
        Ok(match magic {
            0xEF53 | 0x0102_1994 => FileSystemKind::MapsWritable,
            // NFS, SMB (three), FUSE, Lustre, 9P, GPFS, Ceph, AFS (two), BeeGFS, OCFS2, GFS2
            0x6969 | 0x517B | 0xFF53_4D42 | 0xFE53_4D42 | 0x6573_5546 | 0x0BD0_0BD0 | 0x0102_1997 | 0x4750_4653
            | 0x00C3_6400 | 0x5346_414F | 0x6B41_4653 | 0x1983_0326 | 0x7461_636F | 0x0116_1970 => {
                FileSystemKind::Network
            }
            _ => FileSystemKind::Local,
        })
    }

    fn resolve(&self, path: &str) -> io::Result<PathBuf> {
        let names = path_names(path)?;
        let mut resolved = self.root.clone();
        resolved.extend(names);
        Ok(resolved)
    }

    fn resolve_file(&self, path: &str) -> io::Result<PathBuf> {
        if path.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a file needs a name"));
        }
        self.resolve(path)
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.read_only { Err(read_only_error()) } else { Ok(()) }
    }

    fn file(&self, file: File) -> Arc<DiskFile> {
        // A file system that cannot be asked gets the careful answer: no maps.
        let kind =
            if self.maps { self.file_system().unwrap_or(FileSystemKind::Network) } else { FileSystemKind::Network };
        Arc::new(DiskFile { file, kind })
    }

    /// Makes the root and its missing parents, each name durable: `sync_dir` reaches nothing above the root.
    fn create_root(&self) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut folder = self.root.as_path();
        while !folder.is_dir() {
            missing.push(folder);
            match folder.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => folder = parent,
                _ => break,
            }
        }
        for folder in missing.into_iter().rev() {
            match fs::create_dir(folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
                other => other?,
            }
            let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(parent)?.sync_all()?;
        }
        Ok(())
    }
}

impl Storage for Disk {
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn StorageFile>> {
        let resolved = self.resolve_file(path)?;
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::ReadWrite => {
                self.check_writable()?;
                options.write(true);
            }
            OpenMode::CreateNew => {
                self.check_writable()?;
                options.write(true).create_new(true);
            }
        }
        let file = options.open(resolved)?;
        if file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(self.file(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.resolve_file(from)?, self.resolve_file(to)?);
        self.check_writable()?;
        fs::rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let resolved = self.resolve_file(path)?;
        self.check_writable()?;
        fs::remove_file(resolved)
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        let resolved = self.resolve_file(dir)?;
        self.check_writable()?;
        fs::remove_dir(resolved)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.resolve(dir)?)? {
            let entry = entry?;
            // A name that is not UTF-8 is none of ours: shown as well as it can be, to be reported.
            let name = entry.file_name().to_string_lossy().into_owned();
            entries.push(Entry { name, is_dir: entry.file_type()?.is_dir() });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        let resolved = self.resolve(dir)?;
        self.check_writable()?;
        self.create_root()?;
        if dir.is_empty() {
            // It is there; but as a folder?
            return if self.root.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) };
        }
        fs::create_dir_all(resolved)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let resolved = self.resolve(dir)?;
        self.check_writable()?;
        File::open(resolved)?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        let stat = statvfs(&self.root)?;
        Ok(Some(stat.f_bavail.saturating_mul(stat.f_frsize)))
    }

    fn lock(&self, path: &str, text: &str) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let resolved = self.resolve_file(path)?;
        self.check_writable()?;
        let open = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&resolved);
        let Some(lock) = FileLock::take(Guarded::open(open)?)? else { return Ok(None) };
        // Another open of the file, so that a child that is forked just now has no part in the lock.
        let text_file = DiskFile { file: open()?, kind: FileSystemKind::Network };
        // The text is for messages only: a full disk must not keep anybody out of his store.
        match write_lock_text(&text_file, text) {
            Err(error) if !matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                Err(error)
            }
            _ => Ok(Some(Box::new(lock))),
        }
    }

    fn raise_epoch(&self, path: &str) -> io::Result<()> {
        raise_epoch(&*self.open(path, OpenMode::ReadWrite)?)
    }

    fn is_copied(&self, path: &str) -> io::Result<bool> {
        match self.open(path, OpenMode::Read) {
            Ok(file) => lock::is_copied(&*file, &fs::metadata(self.resolve_file(path)?)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn mark(&self, path: &str) -> io::Result<()> {
        lock::mark(&*self.open(path, OpenMode::ReadWrite)?, &fs::metadata(self.resolve_file(path)?)?)
    }

    fn can_map_writes(&self) -> bool {
        // A folder that cannot be asked gets the careful answer.
        self.maps && !self.read_only && self.file_system().is_ok_and(|kind| kind == FileSystemKind::MapsWritable)
    }

    fn display_path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path.trim_start_matches('/')) }
    }
}

/// One open file of a [`Disk`].
#[derive(Debug)]
struct DiskFile {
    file: File,
    kind: FileSystemKind,
}

/// Zeros, written where a file system cannot allocate.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

impl DiskFile {
    /// Writes zeros from the end on. Holes before the end stay holes: they may be written by others meanwhile.
    fn allocate_by_writing(&self, old_len: u64, len: u64) -> io::Result<()> {
        let mut offset = old_len;
        while offset < len {
            let count = (len - offset).min(ZEROS.len() as u64) as usize;
            write_all_at(self, &ZEROS[..count], offset)?;
            offset += count as u64;
        }
        Ok(())
    }
}

impl StorageFile for DiskFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        let old_len = self.len()?;
        let result = loop {
            match fallocate(&self.file, FallocateFlags::empty(), 0, len) {
                Ok(()) => break Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => break self.allocate_by_writing(old_len, len),
                Err(error) => break Err(error.into()),
            }
        };
        if result.is_err() && self.len()? > old_len {
            // Part of it was allocated: give the space back, it is scarce just now.
            self.set_len(old_len)?;
        }
        result
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>> {
        let len = self.len()?;
        if offset >= len {
            return Ok(None);
        }
        // Only where it is known that stores into maps which are not on the disk yet count as data.
        if self.kind != FileSystemKind::MapsWritable {
            return Ok(Some((offset, len)));
        }
        // This moves the descriptor's own position, which nobody uses.
        let start = match seek(&self.file, SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            // A file system that cannot say where data is: all of it may be.
            Err(_) => offset,
        };
        // There is a hole behind the end at the latest.
        let end = seek(&self.file, SeekFrom::Hole(start)).unwrap_or(len);
        Ok(Some((start, end)))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn map(&self, len: u64, writable: bool) -> io::Result<Option<Arc<dyn Map>>> {
        let allowed = match self.kind {
            FileSystemKind::MapsWritable => true,
            FileSystemKind::Local => !writable,
            FileSystemKind::Network => false,
        };
        if !allowed {
            return Ok(None);
        }
        Ok(Some(Arc::new(FileMap::new(&self.file, len, writable)?)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;
    use crate::storage::read_exact_at;

    #[test]
    fn where_nothing_can_be_allocated_zeros_are_written() {
        let file = DiskFile { file: tempfile::tempfile().unwrap(), kind: FileSystemKind::Local };
        write_all_at(&file, b"kept", 0).unwrap();
        file.allocate_by_writing(4, 150_000).unwrap();
        file.allocate_by_writing(150_000, 10).unwrap();
        let mut bytes = vec![9; 150_000];
        assert_eq!(file.len().unwrap(), 150_000);
        read_exact_at(&file, &mut bytes, 0).unwrap();
        assert!(bytes.starts_with(b"kept") && bytes[4..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn what_was_stored_is_data_and_allocated_blocks_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path());
        let file = disk.open("a", OpenMode::CreateNew).unwrap();
        file.allocate(1 << 20).unwrap();
        let maps = disk.can_map_writes();
        let is_data = |place: u64| {
            let mut at = 0;
            while let Some((start, end)) = file.next_data(at).unwrap() {
                assert!(start >= at && end > start, "{start}..{end} behind {at}");
                if (start..end).contains(&place) {
                    return true;
                }
                at = end;
            }
            false
        };
        write_all_at(&*file, b"x", 300_000).unwrap();
        assert!(is_data(300_000));
        assert_eq!(is_data(900_000), !maps);
        if let Some(map) = file.map(1 << 20, maps).unwrap().filter(|_| maps) {
            map.store_at(700_000, b"y");
            assert!(is_data(700_000));
        }
        assert_eq!(file.next_data(1 << 20).unwrap(), None);
        assert_eq!(file.next_data(u64::MAX).unwrap(), None);
    }

    #[test]
    fn allocated_bytes_take_space() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path());
        disk.open("a", OpenMode::CreateNew).unwrap().allocate(1 << 20).unwrap();
        assert!(fs::metadata(folder.path().join("a")).unwrap().blocks() * 512 >= 1 << 20);
        assert!(disk.open("a", OpenMode::ReadWrite).unwrap().allocate(1 << 62).is_err());
        assert_eq!(fs::metadata(folder.path().join("a")).unwrap().len(), 1 << 20, "a refused growth leaves nothing");
    }

    #[test]
    fn the_root_is_made_with_its_parents() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(folder.path().join("a/b/c"));
        assert!(disk.list("").is_err());
        disk.create_dir("d/e").unwrap();
        disk.create_dir("").unwrap();
        assert!(folder.path().join("a/b/c/d/e").is_dir());
        assert_eq!(disk.display_path("d/x"), folder.path().join("a/b/c/d/x"));
        fs::write(folder.path().join("file"), b"").unwrap();
        assert!(Disk::new(folder.path().join("file")).create_dir("").is_err());
    }
}
