//! Disk use of a folder: allocated blocks rather than lengths, because files are prepared ahead and may have holes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::{Error, Result};

/// Bytes on disk of a folder's files, subfolders included. Files that vanish meanwhile count as 0.
pub(crate) fn bytes_of(folder: &Path) -> Result<u64> {
    let cannot = |error| Error::io(format!("cannot list {}", folder.display()), error);
    let mut bytes = 0;
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        entries => entries.map_err(cannot)?,
    };
    for entry in entries {
        let entry = entry.map_err(cannot)?;
        let metadata = match fs::symlink_metadata(entry.path()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            metadata => metadata.map_err(cannot)?,
        };
        bytes += if metadata.is_dir() { bytes_of(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}

/// Bytes on disk of a file, or of a folder; 0 if it is not there.
pub(crate) fn bytes_of_file(path: &Path) -> Result<u64> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Error::io(format!("cannot look at {}", path.display()), error)),
        Ok(found) if found.is_dir() => bytes_of(path),
        Ok(found) => Ok(found.blocks() * 512),
    }
}

/// Bytes written to the files of a folder: each file counts up to its last byte that is not zero, so prepared space is
/// left out.
pub(crate) fn written_bytes_of(folder: &Path) -> Result<u64> {
    let cannot = |error| Error::io(format!("cannot read {}", folder.display()), error);
    let mut bytes = 0;
    for entry in fs::read_dir(folder).map_err(cannot)? {
        let content = fs::read(entry.map_err(cannot)?.path()).map_err(cannot)?;
        bytes += content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
    }
    Ok(bytes)
}
