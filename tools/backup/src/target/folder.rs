//! Backups in a folder: each value a file.
//!
//! A value is written to `tmp/NAME.PID`, synced, and renamed to its place; then its folder is synced. A killed process
//! leaves a file in `tmp/`, which is no value.
//!
//! Others may write to the folder too. Below it no link is followed, for reading or writing, and a value is a regular file
//! of bounded length: a pipe, a device or an endless file is damage.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use runlode::beneath::{self, Links, Opened};
use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::{Target, value_bytes_max};
use crate::error::{Error, Result};

/// The folder of values that are being written.
const TMP: &str = "tmp";

/// A folder.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    /// Folders with names that may not be durable.
    touched: Mutex<BTreeSet<PathBuf>>,
}

impl Folder {
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), touched: Mutex::default() }
    }

    fn touch(&self, folder: &Path) {
        // A poisoned list is as good as any: nothing panics while it is locked.
        self.touched.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(folder.to_owned());
    }

    /// Makes a folder, and notes those whose names are new.
    fn make(&self, folder: &Path) -> Result<()> {
        let mut missing = Vec::new();
        let mut at = folder;
        while !at.exists() {
            missing.push(at.to_owned());
            match at.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                Some(parent) => at = parent,
                None => break,
            }
        }
        fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, error))?;
        for made in missing {
            self.touch(made.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")));
        }
        Ok(())
    }

    fn walk(&self, folder: &Path, below: &str, prefix: &str, out: &mut Vec<(String, u64)>) -> Result<()> {
        let io = |error| Error::io("list", folder, error);
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(io)?,
        };
        for entry in entries {
            let entry = entry.map_err(io)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if below.is_empty() && name == TMP {
                continue;
            }
            let name = if below.is_empty() { name } else { format!("{below}/{name}") };
            if entry.file_type().map_err(io)?.is_dir() {
                // Only folders that can hold names with the prefix.
                let inside = format!("{name}/");
                if inside.starts_with(prefix) || prefix.starts_with(&inside) {
                    self.walk(&entry.path(), &name, prefix, out)?;
                }
            } else if name.starts_with(prefix) {
                out.push((name, entry.metadata().map_err(io)?.len()));
            }
        }
        Ok(())
    }
}

impl Target for Folder {
    fn place(&self) -> String {
        self.root.display().to_string()
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let io = |error: io::Error| Error::io("read", self.root.join(name), error);
        let root = match beneath::open_root(&self.root) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            root => root.map_err(|error| io(error.into()))?,
        };
        let file = match beneath::open_file(root.as_fd(), name, Links::Never) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Ok(Opened::File(file)) => file,
            Ok(Opened::Folder | Opened::Special) => return Err(Error::damaged(name, "it is no regular file")),
            Err(Errno::LOOP) => return Err(Error::damaged(name, "a link leads to it, and links are not followed")),
            Err(error) => return Err(io(error.into())),
        };
        let (len, most) = (file.metadata().map_err(io)?.len(), value_bytes_max(name));
        if len > most {
            return Err(Error::damaged(name, format!("it has {len} bytes, more than any value ({most})")));
        }
        let mut bytes = Vec::with_capacity(len as usize);
        file.take(most).read_to_end(&mut bytes).map_err(io)?;
        Ok(Some(bytes))
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.root.join(name);
        let io = |error: Errno| Error::io("write", &path, error.into());
        self.make(&self.root)?;
        let root = beneath::open_root(&self.root).map_err(io)?;
        let (below, last) = name.rsplit_once('/').unwrap_or(("", name));
        let folder = beneath::make_folders(root.as_fd(), below, Links::Never).map_err(io)?;
        let tmp = beneath::make_folders(root.as_fd(), TMP, Links::Never).map_err(io)?;
        let own = format!("{}.{}", name.replace('/', "-"), std::process::id());
        let written = || -> io::Result<()> {
            // What a process of the same number left.
            match unlinkat(&tmp, &own, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(openat(&tmp, &own, flags, Mode::from_raw_mode(0o666))?);
            file.write_all(bytes)?;
            file.sync_all()?;
            Ok(renameat(&tmp, &own, &folder, last)?)
        };
        if let Err(error) = written() {
            // If this fails too, it is no value.
            let _ = unlinkat(&tmp, &own, AtFlags::empty());
            return Err(Error::io("write", path, error));
        }
        self.touch(path.parent().unwrap_or(&self.root));
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        let touched = std::mem::take(&mut *self.touched.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for folder in &touched {
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            if let Err(error) = synced {
                self.touched.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(touched.iter().cloned());
                return Err(Error::io("sync", folder, error));
            }
        }
        Ok(())
    }

    fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>> {
        let mut out = Vec::new();
        self.walk(&self.root, "", prefix, &mut out)?;
        out.sort();
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_is_read_or_written_and_nothing_waits() {
        use rustix::fs::{CWD, FileType, mknodat};
        use std::os::unix::fs::symlink;

        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("place"), dir.path().join("outside"));
        let folder = Folder::new(&root);
        folder.put("blobs/ab/abc", b"1").unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "s").unwrap();
        symlink(outside.join("secret"), root.join("linked")).unwrap();
        symlink(&outside, root.join("blobs/cd")).unwrap();
        mknodat(CWD, root.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        File::create(root.join("blobs/ab/endless")).unwrap().set_len(1 << 40).unwrap();
        for name in ["linked", "blobs/cd/secret", "pipe", "blobs/ab/endless", "blobs/ab"] {
            let got = folder.get(name);
            assert!(matches!(got, Err(Error::Damaged { .. })), "{name}: {got:?}");
        }
        assert!(folder.put("blobs/cd/new", b"x").is_err());
        // The name of the next value's temporary file can be guessed.
        let own = format!("blobs-ab-next.{}", std::process::id());
        symlink(outside.join("secret"), root.join("tmp").join(own)).unwrap();
        folder.put("blobs/ab/next", b"2").unwrap();
        assert_eq!(folder.get("blobs/ab/next").unwrap().unwrap(), b"2");
        fs::remove_dir_all(root.join("tmp")).unwrap();
        symlink(&outside, root.join("tmp")).unwrap();
        assert!(folder.put("blobs/ab/last", b"3").is_err());
        assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "s");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    }

    #[test]
    fn values_are_put_got_and_listed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().join("a/b"));
        assert_eq!((folder.get("x").unwrap(), folder.list("").unwrap()), (None, vec![]));
        folder.put("blobs/ab/abc", b"1").unwrap();
        folder.put("blobs/ab/abc", b"22").unwrap();
        folder.put("mark", b"").unwrap();
        folder.settle().unwrap();
        // Half a value of a killed process.
        fs::write(dir.path().join("a/b/tmp/half.1"), "x").unwrap();
        assert_eq!(folder.get("blobs/ab/abc").unwrap().unwrap(), b"22");
        assert_eq!(folder.get("mark/x").unwrap(), None);
        let all = [("blobs/ab/abc".to_owned(), 2), ("mark".to_owned(), 0)];
        assert_eq!(folder.list("").unwrap(), all);
        assert_eq!(folder.list("blobs/").unwrap(), all[..1]);
        assert_eq!(folder.list("blobs/ab/abc").unwrap(), all[..1]);
        assert_eq!(folder.list("blobs/b").unwrap(), []);
    }
}
