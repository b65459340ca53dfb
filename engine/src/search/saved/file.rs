//! `search.snap`: the search projections of a store, so that the first search after an open need not read every run.
//!
//! ```text
//! part*       what `Projection::save` made (part.rs), one behind the other; each has a crc of its own
//! directory   a part: experiment u64, position u64, position of the experiment's lifecycle u64, generation u64,
//!             offset u64, length u64
//! tail        magic "RLSNAPS\n" 8, version u32, parts u32, store id 16, crc32 of directory and tail before it u32
//! ```
//! Little endian. Written as `search.snap.tmp` > fsync > rename > fsync of the store's folder.
//!
//! It is derived twice over: from the index, which is derived from the log. Invariants:
//! - A part's position is at most the applied position of the index that was committed before the file got its name:
//!   so it never knows more than the index, and the index never more than the durable log. An open that finds it
//!   otherwise (files of different times were mixed), or cannot read the directory, removes the file.
//! - An index that is made anew takes the file with it, before.
//! - `generation` is that of the index at the part's position: compactions up to it took nothing from frames above.

use std::io::ErrorKind;
use std::sync::Arc;

use super::part::Sink;
use crate::checksum::Crc32;
use crate::error::{Error, Result};
use crate::id::{ExperimentId, Lsn, StoreId};
use crate::search::table::Projection;
use crate::storage::{OpenMode, Storage, StorageFile, read_exact_at, write_all_at};
use crate::varint::Bytes;

/// Path of the file in the store's folder.
pub const SNAP_PATH: &str = "search.snap";
/// Path to which it is written before it is renamed.
pub const SNAP_TMP_PATH: &str = "search.snap.tmp";
const MAGIC: &[u8; 8] = b"RLSNAPS\n";
/// Version of the container; parts have one of their own.
pub const SNAP_FILE_VERSION: u32 = 1;
const TAIL_BYTES: usize = 36;
const ENTRY_BYTES: usize = 48;
/// Parts are copied in pieces of this size.
const COPY_BYTES: usize = 1 << 20;

/// One projection in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Experiment of the projection.
    pub experiment: ExperimentId,
    /// Position that the projection shows.
    pub position: Lsn,
    /// Position of the experiment's lifecycle that it shows.
    pub lifecycle_lsn: Lsn,
    /// Generation of the index at its position.
    pub generation: u64,
    /// Offset in the file, in bytes.
    pub offset_bytes: u64,
    /// Length in bytes.
    pub len_bytes: u64,
}

fn io(storage: &dyn Storage, op: &'static str, path: &str, error: std::io::Error) -> Error {
    Error::io(op, storage.display_path(path), error)
}

/// The file, open, with its directory.
#[derive(Debug)]
pub struct SnapFile {
    file: Arc<dyn StorageFile>,
    path: std::path::PathBuf,
    parts: Vec<Part>,
}

impl SnapFile {
    /// Opens the file; `None` if there is none.
    ///
    /// # Errors
    /// `Corrupt`, `UnsupportedFormat`, `Io`: the file cannot be used.
    pub fn open(storage: &dyn Storage, store: StoreId) -> Result<Option<Self>> {
        let file = match storage.open(SNAP_PATH, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(storage, "open", SNAP_PATH, error)),
        };
        let path = storage.display_path(SNAP_PATH);
        let len = file.len().map_err(|error| io(storage, "size", SNAP_PATH, error))?;
        let damage = |expected: &str, found: String| Error::corrupt(&path, len, "search.snap", expected, found);
        let Some(tail_at) = len.checked_sub(TAIL_BYTES as u64) else {
            return Err(damage("a tail", format!("{len} bytes")));
        };
        let mut tail = [0; TAIL_BYTES];
        let read = |buf: &mut [u8], at: u64| {
            read_exact_at(&*file, buf, at).map_err(|error| io(storage, "read", SNAP_PATH, error))
        };
        read(&mut tail, tail_at)?;
        let mut bytes = Bytes::new(&tail);
        let header = (bytes.array::<8>(), bytes.u32(), bytes.u32(), bytes.array::<16>());
        let (Some(magic), Some(version), Some(count), Some(id)) = header else {
            return Err(damage("a tail", "less".into()));
        };
        if magic != *MAGIC {
            return Err(damage("its magic", format!("{magic:02x?}")));
        }
        if version > SNAP_FILE_VERSION {
            return Err(Error::UnsupportedFormat { path, found: version, supported: SNAP_FILE_VERSION });
        }
        // Check against the file's length before anything is allocated.
        let Some(directory_at) = tail_at.checked_sub(u64::from(count) * ENTRY_BYTES as u64) else {
            return Err(damage("a directory", format!("{count} parts in {len} bytes")));
        };
        let mut directory = vec![0; count as usize * ENTRY_BYTES];
        read(&mut directory, directory_at)?;
        let mut covered = directory.clone();
        covered.extend_from_slice(&tail[..TAIL_BYTES - 4]);
        let (found, expected) = (Crc32::of(&covered), bytes.u32().map(Crc32));
        if expected != Some(found) {
            return Err(damage("its checksum", found.to_string()));
        }
        if id != store.0 {
            return Err(damage("parts of this store", "those of another".into()));
        }
        let parts = read_directory(&directory, directory_at)
            .ok_or_else(|| damage("parts one behind the other", "others".into()))?;
        Ok(Some(Self { file, path, parts }))
    }

    /// All parts, in the order of experiments.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The part of an experiment; `None` if it has none.
    pub fn part(&self, experiment: ExperimentId) -> Option<Part> {
        self.parts.iter().find(|part| part.experiment == experiment).copied()
    }

    /// Reads a part.
    ///
    /// # Errors
    /// `Corrupt`, `UnsupportedFormat`, `Io`: build the projection from the index.
    pub fn load(&self, part: &Part) -> Result<Projection> {
        let len = usize::try_from(part.len_bytes)
            .map_err(|_| Error::corrupt(&self.path, part.offset_bytes, "search.snap", "a part", "one beyond memory"))?;
        let mut bytes = vec![0; len];
        read_exact_at(&*self.file, &mut bytes, part.offset_bytes)
            .map_err(|error| Error::io("read", &self.path, error))?;
        let (projection, position) = Projection::load(&self.path, &bytes)?;
        if (projection.experiment(), position) != (part.experiment, part.position) {
            let found = format!("{} at {position}", projection.experiment());
            return Err(Error::corrupt(&self.path, part.offset_bytes, "search.snap", "the part that is listed", found));
        }
        Ok(projection)
    }
}

fn read_directory(bytes: &[u8], end: u64) -> Option<Vec<Part>> {
    let mut bytes = Bytes::new(bytes);
    let mut parts: Vec<Part> = Vec::new();
    let mut offset = 0u64;
    while !bytes.is_empty() {
        let part = Part {
            experiment: ExperimentId(bytes.u64()?),
            position: Lsn(bytes.u64()?),
            lifecycle_lsn: Lsn(bytes.u64()?),
            generation: bytes.u64()?,
            offset_bytes: bytes.u64()?,
            len_bytes: bytes.u64()?,
        };
        let ascends = parts.last().is_none_or(|last| last.experiment < part.experiment);
        if part.offset_bytes != offset || !ascends {
            return None;
        }
        offset = offset.checked_add(part.len_bytes)?;
        parts.push(part);
    }
    (offset == end).then_some(parts)
}

/// Writes a new file next to the old one. If dropped unfinished, it removes what it wrote.
pub struct SnapWriter<'a> {
    storage: &'a dyn Storage,
    file: Arc<dyn StorageFile>,
    written_bytes: u64,
    parts: Vec<Part>,
    finished: bool,
}

impl std::fmt::Debug for SnapWriter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapWriter").field("parts", &self.parts).finish_non_exhaustive()
    }
}

impl Drop for SnapWriter<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // A leftover is removed by the next open or save.
            let _removed = self.storage.remove(SNAP_TMP_PATH);
        }
    }
}

impl<'a> SnapWriter<'a> {
    /// Begins.
    ///
    /// # Errors
    /// `Io`, `StorageFull`.
    pub fn create(storage: &'a dyn Storage) -> Result<Self> {
        remove(storage, SNAP_TMP_PATH)?;
        let file = storage
            .open(SNAP_TMP_PATH, OpenMode::CreateNew)
            .map_err(|error| io(storage, "create", SNAP_TMP_PATH, error))?;
        Ok(Self { storage, file, written_bytes: 0, parts: Vec::new(), finished: false })
    }

    /// Adds a part; experiments must ascend. `part` describes it; its place is set here.
    ///
    /// # Errors
    /// `Io`, `StorageFull`: drop the writer.
    pub fn add(&mut self, part: Part, fill: impl FnOnce(&mut Sink<'_>) -> Result<()>) -> Result<()> {
        let offset_bytes = self.written_bytes;
        let (storage, file, at) = (self.storage, &self.file, &mut self.written_bytes);
        fill(&mut |piece: &[u8]| {
            write_all_at(&**file, piece, *at).map_err(|error| io(storage, "write", SNAP_TMP_PATH, error))?;
            *at += piece.len() as u64;
            Ok(())
        })?;
        self.parts.push(Part { offset_bytes, len_bytes: self.written_bytes - offset_bytes, ..part });
        Ok(())
    }

    /// Copies a part of an older file unchanged, with its own crc.
    ///
    /// # Errors
    /// `Io`, `StorageFull`: drop the writer.
    pub fn carry(&mut self, old: &SnapFile, part: Part) -> Result<()> {
        self.add(part, |sink| {
            let mut buffer = Vec::new();
            let mut done = 0;
            while done < part.len_bytes {
                buffer.resize((part.len_bytes - done).min(COPY_BYTES as u64) as usize, 0);
                read_exact_at(&*old.file, &mut buffer, part.offset_bytes + done)
                    .map_err(|error| Error::io("read", &old.path, error))?;
                sink(&buffer)?;
                done += buffer.len() as u64;
            }
            Ok(())
        })
    }

    /// Replaces the old file; durable on return.
    ///
    /// # Errors
    /// `Io`, `StorageFull`: afterwards there is the old file, the new one, or none.
    pub fn finish(mut self, store: StoreId) -> Result<()> {
        let mut out = Vec::new();
        for part in &self.parts {
            let position = [part.position.0, part.lifecycle_lsn.0, part.generation, part.offset_bytes, part.len_bytes];
            for number in [part.experiment.0].into_iter().chain(position) {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&SNAP_FILE_VERSION.to_le_bytes());
        out.extend_from_slice(&(self.parts.len() as u32).to_le_bytes());
        out.extend_from_slice(&store.0);
        let crc = Crc32::of(&out);
        out.extend_from_slice(&crc.0.to_le_bytes());
        let storage = self.storage;
        write_all_at(&*self.file, &out, self.written_bytes)
            .map_err(|error| io(storage, "write", SNAP_TMP_PATH, error))?;
        self.file.sync_data().map_err(|error| io(storage, "fsync", SNAP_TMP_PATH, error))?;
        storage.rename(SNAP_TMP_PATH, SNAP_PATH).map_err(|error| io(storage, "rename", SNAP_TMP_PATH, error))?;
        self.finished = true;
        storage.sync_dir("").map_err(|error| io(storage, "fsync", "", error))
    }
}

fn remove(storage: &dyn Storage, path: &str) -> Result<bool> {
    match storage.remove(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io(storage, "remove", path, error)),
    }
}

/// Removes the file, before the index is rebuilt.
///
/// # Errors
/// `Io`.
pub fn forget(storage: &dyn Storage) -> Result<()> {
    remove(storage, SNAP_PATH).map(drop)
}

/// Cleans up at an open for writing: removes leftovers, and a file that is damaged, belongs to another store, or is
/// newer than the index at `applied`. Returns the removed paths.
///
/// # Errors
/// `Io` if a file cannot be removed.
pub fn settle(storage: &dyn Storage, store: StoreId, applied: Lsn) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    if remove(storage, SNAP_TMP_PATH)? {
        removed.push(SNAP_TMP_PATH.to_owned());
    }
    // Any error is fine: the index has the same data.
    let good = match SnapFile::open(storage, store) {
        Ok(None) => true,
        Ok(Some(snap)) => snap.parts().iter().all(|part| part.position <= applied),
        Err(_) => false,
    };
    if !good && remove(storage, SNAP_PATH)? {
        removed.push(SNAP_PATH.to_owned());
    }
    Ok(removed)
}
