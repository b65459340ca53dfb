//! Backups in a folder: each value a file.
//!
//! A value is written to `tmp/NAME.PID`, synced, and renamed to its place; then its folder is synced. A killed process
//! leaves a file in `tmp/`, which is no value.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::Target;
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
        let path = self.root.join(name);
        match fs::read(&path) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            bytes => bytes.map(Some).map_err(|error| Error::io("read", path, error)),
        }
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.root.join(name);
        let folder = path.parent().unwrap_or(&self.root).to_owned();
        self.make(&folder)?;
        self.make(&self.root.join(TMP))?;
        let own = format!("{}.{}", name.replace('/', "-"), std::process::id());
        let tmp = self.root.join(TMP).join(own);
        let written = || -> std::io::Result<()> {
            let mut file = File::create(&tmp)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&tmp, &path)
        };
        if let Err(error) = written() {
            // If this fails too, it is no value.
            let _ = fs::remove_file(&tmp);
            return Err(Error::io("write", path, error));
        }
        self.touch(&folder);
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
