//! Folders for stores under measurement: on a real disk, removed when done.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A folder that goes with its value.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes an empty folder below `root`; what an earlier run left under this name goes first.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn new(root: &Path, name: &str) -> io::Result<Self> {
        let path = root.join(format!("{name}-{}", std::process::id()));
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        Ok(Self { path })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("could not remove {}: {error}", self.path.display());
        }
    }
}

/// Bytes of disk that a file or folder takes (blocks, not lengths).
///
/// # Errors
/// Those of the file system, except that what vanishes meanwhile counts nothing.
pub fn disk_bytes(path: &Path) -> io::Result<u64> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut bytes = meta.blocks() * 512;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            bytes += disk_bytes(&entry?.path())?;
        }
    }
    Ok(bytes)
}

/// What takes the bytes of a folder: each name in it with its MB, largest first; names below 0.05 MB left out.
///
/// # Errors
/// Those of the file system.
pub fn breakdown(path: &Path) -> io::Result<String> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        parts.push((disk_bytes(&entry.path())?, entry.file_name().to_string_lossy().into_owned()));
    }
    parts.sort_by(|a, b| b.cmp(a));
    let large = parts.iter().filter(|(bytes, _)| *bytes >= 50_000);
    let texts: Vec<String> = large.map(|(bytes, name)| format!("{name} {:.1} MB", *bytes as f64 / 1e6)).collect();
    Ok(texts.join(", "))
}
