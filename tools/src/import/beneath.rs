//! Opens folders whose content others made: no symlink is followed, and nothing but regular files is read.
//!
//! [`runlode::beneath`] resolves every path below the folder without following links. A pipe or device is opened
//! without waiting, and closed once it turns out to be one.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use runlode::beneath::{self, Links, Opened};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

/// A folder, open.
#[derive(Debug)]
pub(super) struct Folder(OwnedFd);

/// The kind of an entry in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Folder,
    File,
    /// A link, pipe, device or socket.
    Other,
}

impl Folder {
    /// Opens a folder that the caller named; links on the way to it are the caller's choice.
    pub(super) fn open(path: &Path) -> Result<Self, Errno> {
        beneath::open_root(path).map(Self)
    }

    /// Which folder it is, whatever its path.
    pub(super) fn id(&self) -> Result<(u64, u64), Errno> {
        let stat = rustix::fs::fstat(&self.0)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// Opens a folder below this one; `ELOOP` if a link is on the way.
    pub(super) fn folder(&self, path: &str) -> Result<Self, Errno> {
        beneath::open(self.0.as_fd(), path, OFlags::RDONLY | OFlags::DIRECTORY, Links::Never).map(Self)
    }

    /// Opens a folder below this one, and creates what is missing, durably.
    pub(super) fn make(&self, path: &str) -> Result<Self, Errno> {
        let mut folder = self.folder("")?;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            match rustix::fs::mkdirat(&folder.0, part, Mode::from_raw_mode(0o777)) {
                Ok(()) => rustix::fs::fsync(&folder.0)?,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            folder = folder.folder(part)?;
        }
        Ok(folder)
    }

    /// Opens a regular file in this folder; `None` if it is something else.
    pub(super) fn file(&self, name: &str) -> Result<Option<File>, Errno> {
        match beneath::open_file(self.0.as_fd(), name, Links::Never) {
            Ok(Opened::File(file)) => Ok(Some(file)),
            // A link, or something else, has replaced the file.
            Ok(Opened::Folder | Opened::Special) | Err(Errno::LOOP | Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates a file in this folder, in place of an unfinished one.
    pub(super) fn create(&self, name: &str) -> Result<File, Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o666);
        match rustix::fs::openat(&self.0, name, flags, mode) {
            Err(Errno::EXIST) => {
                rustix::fs::unlinkat(&self.0, name, AtFlags::empty())?;
                rustix::fs::openat(&self.0, name, flags, mode).map(File::from)
            }
            file => file.map(File::from),
        }
    }

    /// Renames a file within this folder.
    pub(super) fn rename(&self, old: &str, new: &str) -> Result<(), Errno> {
        rustix::fs::renameat(&self.0, old, &self.0, new)
    }

    /// Removes a file of this folder.
    pub(super) fn remove(&self, name: &str) -> Result<(), Errno> {
        rustix::fs::unlinkat(&self.0, name, AtFlags::empty())
    }

    /// Makes the names in it durable.
    pub(super) fn sync(&self) -> Result<(), Errno> {
        rustix::fs::fsync(&self.0)
    }

    /// Its entries, by name.
    pub(super) fn list(&self) -> Result<Vec<(OsString, Kind)>, Errno> {
        let mut entries = Vec::new();
        for name in beneath::names(&self.0)? {
            let kind = match rustix::fs::statat(&self.0, name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory => Kind::Folder,
                    FileType::RegularFile => Kind::File,
                    _ => Kind::Other,
                },
                // It has been removed meanwhile.
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error),
            };
            entries.push((name, kind));
        }
        entries.sort();
        Ok(entries)
    }

    /// The length of a regular file in this folder, if there is one.
    pub(super) fn file_bytes(&self, name: &str) -> Option<u64> {
        let stat = rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        is_file.then(|| u64::try_from(stat.st_size).unwrap_or(0))
    }
}

impl PartialOrd for Kind {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kind {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (*self as u8).cmp(&(*other as u8))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_link_is_followed_and_no_pipe_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        std::fs::write(dir.path().join("outside/secret"), "s").unwrap();
        std::fs::write(root.join("a/b/file"), "f").unwrap();
        symlink(dir.path().join("outside"), root.join("out")).unwrap();
        symlink("b", root.join("a/inside")).unwrap();
        symlink(dir.path().join("outside/secret"), root.join("a/link")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, root.join("a/pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let folder = Folder::open(&root).unwrap();
        assert!(folder.folder("a/b").unwrap().file("file").unwrap().is_some());
        for path in ["out", "a/inside", "a/../..", "/etc"] {
            assert!(folder.folder(path).is_err(), "{path}");
        }
        let a = folder.folder("a").unwrap();
        assert!(a.file("link").unwrap().is_none());
        assert!(a.file("pipe").unwrap().is_none());
        let kinds: Vec<_> = a.list().unwrap().into_iter().map(|(_, kind)| kind).collect();
        assert_eq!(kinds, [Kind::Folder, Kind::Other, Kind::Other, Kind::Other]);
        assert!(folder.make("out/new").is_err());
        folder.make("new/x/y").unwrap();
        assert!(root.join("new/x/y").is_dir());
    }
}
