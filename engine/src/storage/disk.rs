//! Real files below one folder.
//!
//! - All descriptors are close-on-exec. Paths cannot leave the folder: absolute paths and `..` are refused, and no link
//!   below the root is followed, neither as a file nor as a folder. (The root itself may be a link.)
//! - Only regular files are opened. Anything else with the name (a link, a pipe, a device, a folder) is refused by
//!   [`NotAFile`]; opening it neither waits nor has any effect on it.
//! - A write beyond the process's limit on the size of files (`RLIMIT_FSIZE`, `ulimit -f`) would kill the process by
//!   SIGXFSZ. A library must not change its host's signal handling, so such a write is not tried: it fails as on a full
//!   disk.
//! - New files and folders get the owner of the root: [`crate::storage::owner`].
//! - A read-only [`Disk`] refuses every call that would write, without trying it, so read-only media never see a write.
//! - Stores into maps are allowed on ext2/3/4 and tmpfs only. Elsewhere a store may need space that is not there (a
//!   reflink copy of a live store), and a full disk would then kill the process by SIGBUS. Maps for reading are not
//!   used on network file systems, where another machine may cut the file.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{
    AtFlags, Dir, FallocateFlags, FileType, Mode, OFlags, SeekFrom, fallocate, mkdirat, openat, renameat, seek, statat,
    statfs, statvfs, unlinkat,
};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Resource, getrlimit};

use crate::fork::Guarded;
use crate::storage::lock::{self, FileLock, own_text, raise_epoch, write_lock_text};
use crate::storage::map::FileMap;
use crate::storage::owner::Belonging;
use crate::storage::{
    Entry, FileIdentity, Map, NotAFile, OpenMode, Storage, StorageFile, path_names, read_only_error, write_all_at,
};

/// Flags of every open of a file.
const FILE_FLAGS: OFlags = OFlags::CLOEXEC.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);
/// Flags for a folder on the path to a file.
const WAY_FLAGS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Flags for a folder that is read or synced.
const DIR_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// How often, and at which interval, to try a file on which another program has a lease: that program gives it up.
const LEASE_TRIES: u32 = 200;
const LEASE_PAUSE: Duration = Duration::from_millis(5);

/// What the file system under a store allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystemKind {
    /// ext2, ext3, ext4 or tmpfs: a store into allocated blocks never needs space.
    MapsWritable,
    /// Another local file system: maps for reading only.
    Local,
    /// Several machines may write: no maps, and locks cannot be trusted.
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

    /// Whether to use maps at all. Default: where the file system allows them.
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

    /// Opens the root as a starting point.
    fn root_fd(&self) -> io::Result<OwnedFd> {
        // Links are followed here: a user may have put the store's folder elsewhere.
        let flags = WAY_FLAGS.difference(OFlags::NOFOLLOW);
        Ok(retry_on_intr(|| openat(rustix::fs::CWD, &self.root, flags, Mode::empty()))?)
    }

    /// Walks down to a folder, name by name, through folders only.
    fn walk(&self, names: &[&str]) -> io::Result<OwnedFd> {
        let mut at = self.root_fd()?;
        for (index, name) in names.iter().enumerate() {
            let next = retry_on_intr(|| openat(&at, *name, WAY_FLAGS, Mode::empty()));
            at = next.map_err(|error| self.no_dir(&at, names.get(..=index).unwrap_or(names), error))?;
        }
        Ok(at)
    }

    /// Opens a folder to read its names or sync them.
    fn open_dir(&self, dir: &str) -> io::Result<OwnedFd> {
        let names = path_names(dir)?;
        let at = self.walk(names.get(..names.len().saturating_sub(1)).unwrap_or_default())?;
        match names.last() {
            Some(name) => retry_on_intr(|| openat(&at, *name, DIR_FLAGS, Mode::empty()))
                .map_err(|error| self.no_dir(&at, &names, error)),
            None => Ok(retry_on_intr(|| openat(&at, ".", DIR_FLAGS, Mode::empty()))?),
        }
    }

    /// The folder that a file is in, and the file's name there.
    fn place<'a>(&self, path: &'a str) -> io::Result<(OwnedFd, &'a str)> {
        let names = file_names(path)?;
        match names.split_last() {
            Some((name, parents)) => Ok((self.walk(parents)?, name)),
            None => Err(no_name()),
        }
    }

    /// The reason why a folder could not be opened: most often it is not one.
    fn no_dir(&self, at: impl AsFd, names: &[&str], error: Errno) -> io::Error {
        let name = names.last().copied().unwrap_or(".");
        match statat(at, name, AtFlags::SYMLINK_NOFOLLOW).map(|found| FileType::from_raw_mode(found.st_mode)) {
            Ok(found) if found != FileType::Directory => {
                NotAFile { path: self.display_path(&names.join("/")), found: kind_name(found), wanted: "folder" }.into()
            }
            _ => error.into(),
        }
    }

    /// Opens a file that must be regular.
    fn open_regular(&self, path: &str, flags: OFlags) -> io::Result<File> {
        let (at, name) = self.place(path)?;
        self.open_regular_at(&at, name, path, flags)
    }

    fn open_regular_at(&self, at: &OwnedFd, name: &str, path: &str, flags: OFlags) -> io::Result<File> {
        let refuse = |found| io::Error::from(NotAFile { path: self.display_path(path), found, wanted: "regular file" });
        let mut tries = 0;
        let opened = loop {
            match retry_on_intr(|| openat(at, name, flags | FILE_FLAGS, Mode::from_raw_mode(0o666))) {
                Err(Errno::AGAIN) if tries < LEASE_TRIES => {
                    tries += 1;
                    std::thread::sleep(LEASE_PAUSE);
                }
                opened => break opened,
            }
        };
        let file = match opened {
            Ok(file) => File::from(file),
            // A link, a socket or a device without a driver, or a folder in place of a file.
            Err(error @ (Errno::LOOP | Errno::NXIO | Errno::NODEV | Errno::ISDIR)) => {
                let found = statat(at, name, AtFlags::SYMLINK_NOFOLLOW);
                let found = found.map(|found| FileType::from_raw_mode(found.st_mode));
                return Err(match found {
                    Ok(found) if found != FileType::RegularFile => refuse(kind_name(found)),
                    _ => error.into(),
                });
            }
            Err(error) => return Err(error.into()),
        };
        match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
            FileType::RegularFile => Ok(file),
            found => Err(refuse(kind_name(found))),
        }
    }

    /// Creates a file: complete with owner and mode, or not at all.
    fn create_new(&self, path: &str) -> io::Result<File> {
        let (at, name) = self.place(path)?;
        let belonging = Belonging::of(self.root_fd()?)?;
        let file = self.open_regular_at(&at, name, path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?;
        if let Err(error) = belonging.settle_file(&file) {
            // If this fails too, an empty file stays.
            let _ = unlinkat(&at, name, AtFlags::empty());
            return Err(error);
        }
        Ok(file)
    }

    /// Opens the file of a lock, or creates it.
    fn open_lock(&self, at: &OwnedFd, name: &str, path: &str, belonging: &Belonging) -> io::Result<File> {
        loop {
            let made = match self.open_regular_at(at, name, path, OFlags::RDWR) {
                Ok(file) => {
                    belonging.settle_lock(&file)?;
                    return Ok(file);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | FILE_FLAGS;
                    retry_on_intr(|| openat(at, name, flags, Mode::RUSR | Mode::WUSR))
                }
                Err(error) => return Err(error),
            };
            match made {
                Ok(file) => {
                    if let Err(error) = belonging.settle_lock(&file) {
                        let _ = unlinkat(at, name, AtFlags::empty());
                        return Err(error);
                    }
                    return Ok(File::from(file));
                }
                // Another process was faster.
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.read_only { Err(read_only_error()) } else { Ok(()) }
    }

    fn file(&self, file: File) -> Arc<DiskFile> {
        // If the file system cannot be determined, take the careful answer: no maps.
        let kind =
            if self.maps { self.file_system().unwrap_or(FileSystemKind::Network) } else { FileSystemKind::Network };
        Arc::new(DiskFile { file, kind })
    }

    /// Creates the root and its missing parents, each name durably, because `sync_dir` reaches nothing above the root.
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
        file_names(path)?;
        if mode != OpenMode::Read {
            self.check_writable()?;
        }
        let file = match mode {
            OpenMode::Read => self.open_regular(path, OFlags::RDONLY)?,
            OpenMode::ReadWrite => self.open_regular(path, OFlags::RDWR)?,
            OpenMode::CreateNew => self.create_new(path)?,
        };
        Ok(self.file(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        file_names(from)?;
        file_names(to)?;
        self.check_writable()?;
        let ((from_dir, from), (to_dir, to)) = (self.place(from)?, self.place(to)?);
        Ok(renameat(from_dir, from, to_dir, to)?)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        file_names(path)?;
        self.check_writable()?;
        let (dir, name) = self.place(path)?;
        Ok(unlinkat(dir, name, AtFlags::empty())?)
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        file_names(dir)?;
        self.check_writable()?;
        let (parent, name) = self.place(dir)?;
        Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<Entry>> {
        let folder = self.open_dir(dir)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            let mut kind = entry.file_type();
            if kind == FileType::Unknown {
                kind = match statat(&folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(found) => FileType::from_raw_mode(found.st_mode),
                    // It has been removed meanwhile.
                    Err(Errno::NOENT) => continue,
                    Err(error) => return Err(error.into()),
                };
            }
            // A name that is not UTF-8 is not ours: shown as well as possible, to be reported.
            let name = entry.file_name().to_string_lossy().into_owned();
            entries.push(Entry { name, is_dir: kind == FileType::Directory });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        let names = path_names(dir)?;
        self.check_writable()?;
        self.create_root()?;
        if names.is_empty() {
            // It exists; check that it is a folder.
            return if self.root.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) };
        }
        let mut at = self.root_fd()?;
        let belonging = Belonging::of(&at)?;
        for (index, name) in names.iter().enumerate() {
            let made = match mkdirat(&at, *name, Mode::from_raw_mode(0o777)) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(error) => return Err(error.into()),
            };
            let next = retry_on_intr(|| openat(&at, *name, DIR_FLAGS, Mode::empty()));
            let next = match next {
                // Passing through it needs no right to read it.
                Err(Errno::ACCESS) if !made => retry_on_intr(|| openat(&at, *name, WAY_FLAGS, Mode::empty())),
                next => next,
            };
            let next = next.map_err(|error| self.no_dir(&at, names.get(..=index).unwrap_or(&names), error))?;
            if made && let Err(error) = belonging.settle_dir(&next) {
                let _ = unlinkat(&at, *name, AtFlags::REMOVEDIR);
                return Err(error);
            }
            at = next;
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        path_names(dir)?;
        self.check_writable()?;
        File::from(self.open_dir(dir)?).sync_all()
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        let stat = statvfs(&self.root)?;
        Ok(Some(stat.f_bavail.saturating_mul(stat.f_frsize)))
    }

    fn lock(&self, path: &str, text: &str) -> io::Result<Option<Box<dyn Send + Sync>>> {
        file_names(path)?;
        self.check_writable()?;
        let root = self.root_fd()?;
        let belonging = Belonging::of(&root)?;
        belonging.prove(&root)?;
        let (at, name) = self.place(path)?;
        let Some(lock) = FileLock::take(Guarded::open(|| self.open_lock(&at, name, path, &belonging))?)? else {
            return Ok(None);
        };
        // Another open of the file, so that a child that is being forked does not share the lock.
        let text_file = self.open_regular_at(&at, name, path, OFlags::RDWR)?;
        let text_file = DiskFile { file: text_file, kind: FileSystemKind::Network };
        // The text is for messages only: a full disk must not keep users out of their store.
        match write_lock_text(&text_file, &own_text(text)) {
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
        match self.open_regular(path, OFlags::RDONLY) {
            Ok(file) => {
                let about = file.metadata()?;
                lock::is_copied(&DiskFile { file, kind: FileSystemKind::Network }, &about)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            // Only users who may write the store can open it, and this process only reads.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && self.read_only => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn mark(&self, path: &str) -> io::Result<()> {
        self.check_writable()?;
        let file = self.open_regular(path, OFlags::RDWR)?;
        let about = file.metadata()?;
        lock::mark(&DiskFile { file, kind: FileSystemKind::Network }, &about)
    }

    fn identity(&self, path: &str) -> io::Result<Option<FileIdentity>> {
        if self.file_system()? == FileSystemKind::Network {
            return Ok(None);
        }
        let (at, name) = self.place(path)?;
        FileIdentity::of(&at, name).map(Some)
    }

    fn can_map_writes(&self) -> bool {
        // If the folder cannot be asked, take the careful answer.
        self.maps && !self.read_only && self.file_system().is_ok_and(|kind| kind == FileSystemKind::MapsWritable)
    }

    fn display_path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path.trim_start_matches('/')) }
    }
}

fn no_name() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "a file needs a name")
}

/// As [`path_names`], for a path that cannot be the root.
fn file_names(path: &str) -> io::Result<Vec<&str>> {
    if path.is_empty() { Err(no_name()) } else { path_names(path) }
}

/// The word for messages.
fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a regular file",
        FileType::Directory => "a folder",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "something else",
    }
}

/// One open file of a [`Disk`].
#[derive(Debug)]
struct DiskFile {
    file: File,
    kind: FileSystemKind,
}

/// Zeros to write where a file system cannot allocate.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Fails like a full disk if this process may not have files of this size.
fn check_size_limit(len: u64) -> io::Result<()> {
    match getrlimit(Resource::Fsize).current {
        Some(limit) if len > limit => {
            let why = format!("{len} bytes are more than this process's limit on file sizes of {limit} (ulimit -f)");
            Err(io::Error::new(io::ErrorKind::StorageFull, why))
        }
        _ => Ok(()),
    }
}

impl DiskFile {
    /// Writes zeros after the end. Holes before the end stay holes: other threads may be writing there.
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
        check_size_limit(offset.saturating_add(buf.len() as u64))?;
        self.file.write_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len > self.len()? {
            check_size_limit(len)?;
        }
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        let old_len = self.len()?;
        check_size_limit(len)?;
        let result = loop {
            match fallocate(&self.file, FallocateFlags::empty(), 0, len) {
                Ok(()) => break Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => break self.allocate_by_writing(old_len, len),
                Err(error) => break Err(error.into()),
            }
        };
        if result.is_err() && self.len()? > old_len {
            // Part of it was allocated: give the space back, since it is scarce now.
            self.set_len(old_len)?;
        }
        result
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>> {
        let len = self.len()?;
        if offset >= len {
            return Ok(None);
        }
        // Only on file systems known to report stores into maps as data before they are on disk.
        if self.kind != FileSystemKind::MapsWritable {
            return Ok(Some((offset, len)));
        }
        // This moves the descriptor's own position, which nothing else uses.
        let start = match seek(&self.file, SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            // The file system cannot say where data is: assume data everywhere.
            Err(_) => offset,
        };
        // There is a hole after the end at the latest.
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

#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#[cfg(test)]
mod tests;
