//! Artifacts of runs as files of this machine.

use std::fs;
use std::io;
use std::path::{Component, Path};

use crate::error::{Error, Result};

/// Folders in folders, at most.
const DEPTH_MAX: usize = 64;
/// Files of one copy, at most.
const FILES_MAX: usize = 1_000_000;

/// A file's content; `None` if there is none.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(format!("cannot read {}", path.display()), error)),
    }
}

/// Refuses a path that leads out of the folder that it is in.
pub(super) fn check_inside(path: &Path) -> Result<()> {
    match path.components().all(|part| matches!(part, Component::Normal(_))) {
        true => Ok(()),
        false => Err(Error::Source(format!("{:?} leads out of the run's artifacts", path.display().to_string()))),
    }
}

/// Copies a file or a folder to a place that does not exist. Links are refused: whoever logs artifacts could name any
/// file by them.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    copy_tree(from, to, 0, &mut 0)
}

fn copy_tree(from: &Path, to: &Path, depth: usize, files: &mut usize) -> Result<()> {
    let io = |source| Error::io(format!("cannot copy {}", from.display()), source);
    let facts = fs::symlink_metadata(from).map_err(io)?;
    *files += 1;
    if depth > DEPTH_MAX || *files > FILES_MAX {
        return Err(Error::Source(format!("{}: too many files or folders", from.display())));
    }
    if facts.is_file() {
        return fs::copy(from, to).map(drop).map_err(io);
    }
    if !facts.is_dir() {
        return Err(Error::Source(format!("{} is neither a file nor a folder", from.display())));
    }
    fs::create_dir_all(to).map_err(io)?;
    for entry in fs::read_dir(from).map_err(io)? {
        let entry = entry.map_err(io)?;
        copy_tree(&entry.path(), &to.join(entry.file_name()), depth + 1, files)?;
    }
    Ok(())
}
