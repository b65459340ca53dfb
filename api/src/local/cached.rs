//! Reading stores that have no index, by one that is kept elsewhere.
//!
//! ```text
//! CACHE/STORE_ID/building     lock of the process that makes it
//!               /source       which files of the store it was made from: path, length and time of change of each
//!               /files/       index, series files and what else an open for writing changes, on top of the store's files
//! ```
//! A copy of a store, or one on read-only media, may have no index that this version can use: each open for reading then
//! replays the whole log into memory. Here the first one makes an index, as an open for writing would, but beside the
//! store. When any file of the store has changed since, it is made again.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runlode_engine::storage::disk::Disk;
use runlode_engine::storage::layered::Layered;
use runlode_engine::storage::{OpenMode, Storage, read_exact_at};
use runlode_engine::{self as engine, Error, Result};

use super::{LocalOptions, LocalStore};

/// Files of a store that say nothing about what is in it, and folders that hold none of it.
const LEFT_OUT: [&str; 6] = ["LOCK", "sock", "index.redb", "index.bad", "search.snap", "artifacts"];
const LOCK: &str = "building";
const SOURCE: &str = "source";
const FILES: &str = "files";

/// What an open with a cache did.
///
/// ```
/// use runlode::{Cached, Store};
///
/// # let dir = tempfile::tempdir()?;
/// # let (path, cache) = (dir.path().join("exp"), dir.path().join("cache"));
/// Store::open(&path)?.close()?;
/// std::fs::remove_file(path.join("index.redb"))?;
/// let made = Store::options(&path).open_to_read_cached(&cache)?.1;
/// assert!(matches!(made, Cached::Made { .. }));
/// assert!(matches!(Store::options(&path).open_to_read_cached(&cache)?.1, Cached::Used));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cached {
    /// The store has an index of its own.
    NotNeeded,
    /// The cache had an index.
    Used,
    /// An index was made.
    Made {
        /// Why the store's own could not be used.
        why: String,
        /// Batches that were read.
        batches: u64,
        /// Its size on disk, in bytes.
        bytes: u64,
    },
}

fn io(op: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |error| Error::io(op, path, error)
}

/// Opens a store for reading; without an index of its own, by the one in a cache.
pub(crate) fn open(mut how: LocalOptions, cache: &Path) -> Result<(LocalStore, Cached)> {
    how = how.create(false).read_only(true);
    how.engine = how.engine.index_needed(true);
    let why = match how.clone().open() {
        Ok(store) => return Ok((store, Cached::NotNeeded)),
        Err(Error::Unsupported { why }) => why,
        Err(error) => return Err(error),
    };
    let below: Arc<dyn Storage> = Arc::new(Disk::read_only(&how.path));
    let store_id = engine::Store::id_on(&*below)?
        .ok_or_else(|| Error::NotFound { entity: crate::EntityKind::Store, id: how.path.display().to_string() })?;
    let folder = cache.join(store_id.to_string());
    let source = source_of(&how.path)?;
    let is_current = || is_made_from(&folder, &source);
    let over = |above: Disk| {
        let layered = Layered::new(below.clone(), Arc::new(above)).map_err(io("read", &folder))?;
        Ok::<_, Error>(Arc::new(layered))
    };
    let by_cache = || {
        let mut how = how.clone();
        how.engine = how.engine.storage(over(Disk::read_only(folder.join(FILES)))?);
        how.open()
    };
    if is_current()
        && let Ok(store) = by_cache()
    {
        return Ok((store, Cached::Used));
    }
    fs::create_dir_all(&folder).map_err(io("create", &folder))?;
    let lock = Disk::new(&folder).lock(LOCK, "").map_err(io("lock", &folder))?;
    let Some(_lock) = lock else {
        let why = format!("another process just makes the index in {}; wait for it", folder.display());
        return Err(Error::Unavailable { why });
    };
    for stale in [folder.join(SOURCE), folder.join(FILES)] {
        let removed = if stale.is_dir() { fs::remove_dir_all(&stale) } else { fs::remove_file(&stale) };
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(io("remove", &stale)(error)),
            _ => {}
        }
    }
    let files = folder.join(FILES);
    fs::create_dir(&files).map_err(io("create", &files))?;
    let maker = engine::Store::options(&how.path).create(false).background(false);
    let maker = maker.storage(over(Disk::new(&files))?).open()?;
    let batches = maker.open_notes().replay.frames_count;
    maker.flush()?;
    maker.seal()?;
    maker.close()?;
    let source_file = folder.join(SOURCE);
    fs::write(&source_file, &source).map_err(io("write", &source_file))?;
    let bytes = bytes_below(&files).map_err(io("read", &files))?;
    Ok((by_cache()?, Cached::Made { why, batches, bytes }))
}

/// Whether a cache was made from these files. Anything may lie in the place of its list: a pipe is not waited for.
fn is_made_from(folder: &Path, source: &str) -> bool {
    let Ok(file) = Disk::read_only(folder).open(SOURCE, OpenMode::Read) else { return false };
    let mut made_from = vec![0; source.len()];
    file.len().is_ok_and(|bytes| bytes == source.len() as u64)
        && read_exact_at(&*file, &mut made_from, 0).is_ok()
        && made_from == source.as_bytes()
}

/// Path, length and time of change of each file that a store's content is in.
fn source_of(path: &Path) -> Result<String> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let at = path.join(&folder);
        for entry in fs::read_dir(&at).map_err(io("list", &at))? {
            let entry = entry.map_err(io("list", &at))?;
            let name = folder.join(entry.file_name());
            if LEFT_OUT.iter().any(|left_out| name == Path::new(left_out)) {
                continue;
            }
            let found = entry.metadata().map_err(io("read", &at))?;
            if found.is_dir() {
                folders.push(name);
            } else {
                files.push(format!("{} {} {}.{:09}\n", name.display(), found.len(), found.mtime(), found.mtime_nsec()));
            }
        }
    }
    files.sort();
    Ok(files.concat())
}

fn bytes_below(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let found = entry.metadata()?;
        bytes += if found.is_dir() { bytes_below(&entry.path())? } else { found.blocks() * 512 };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_in_the_place_of_the_list_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join(SOURCE);
        fs::write(&list, "a").unwrap();
        assert!(is_made_from(folder.path(), "a"));
        assert!(!is_made_from(folder.path(), "b"));
        fs::remove_file(&list).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&list).status().unwrap().success());
        assert!(!is_made_from(folder.path(), "a"));
    }
}
