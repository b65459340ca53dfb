//! Open series files, by number, and the rows that the index keeps of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;

use crate::checksum::Crc32;
use crate::error::{Error, Result};
use crate::id::StoreId;
use crate::index::IndexRead;
use crate::series::SeriesFile;
use crate::storage::Storage;

/// Open series files, by number.
#[derive(Debug)]
pub(crate) struct SeriesFiles {
    storage: Arc<dyn Storage>,
    store_id: StoreId,
    open: RwLock<FxHashMap<u64, Arc<SeriesFile>>>,
    /// Files that could not be opened, or were not the ones that the index names.
    bad: Mutex<BTreeSet<u64>>,
    /// Set if there are bad files, or a read found damage in an open one.
    alarm: Arc<AtomicBool>,
}

/// Path of the series file with this number.
pub(crate) fn series_path(number: u64) -> String {
    format!("series/{number:08}.ser")
}

/// The number of a series file; `None` if the path is not one.
pub(crate) fn series_number(path: &str) -> Option<u64> {
    path.strip_prefix("series/")?.strip_suffix(".ser")?.parse().ok().filter(|number| series_path(*number) == path)
}

/// The row of a series file in the index: its path, a zero, and the crc of its footer, which identifies this very file.
pub(crate) fn file_row(path: &str, footer_crc: Crc32) -> Vec<u8> {
    [path.as_bytes(), &[0], &footer_crc.0.to_le_bytes()].concat()
}

/// The footer's crc in such a row; `None` in rows of older builds.
fn footer_crc_in(row: &[u8]) -> Option<Crc32> {
    let (rest, crc) = row.split_last_chunk::<4>()?;
    (rest.last() == Some(&0)).then(|| Crc32(u32::from_le_bytes(*crc)))
}

/// Whether an error is caused by the file itself, not by permissions or a passing problem of the disk.
fn stays(error: &Error) -> bool {
    const OF_THE_MOMENT: [i32; 5] = [5, 12, 13, 23, 24]; // EIO, ENOMEM, EACCES, ENFILE, EMFILE
    match error {
        Error::Corrupt(damage) => damage.path.starts_with("series"),
        Error::MissingFile { .. } | Error::NotAFile { .. } => true,
        Error::Io { source, .. } => !source.raw_os_error().is_some_and(|code| OF_THE_MOMENT.contains(&code)),
        _ => false,
    }
}

impl SeriesFiles {
    pub(crate) fn new(storage: Arc<dyn Storage>, store_id: StoreId) -> Self {
        Self { storage, store_id, open: RwLock::default(), bad: Mutex::default(), alarm: Arc::default() }
    }

    /// The file with this number, if it is the one that the index names.
    pub(crate) fn get(&self, number: u64, index: &IndexRead) -> Result<Arc<SeriesFile>> {
        if let Some(file) = self.open.read().get(&number) {
            return Ok(file.clone());
        }
        let file = self.open_known(number, index)?;
        Ok(self.open.write().entry(number).or_insert(file).clone())
    }

    /// The file with this number, if it has the footer that MANIFEST lists.
    pub(crate) fn get_listed(&self, number: u64, footer_crc: Crc32) -> Result<Arc<SeriesFile>> {
        if let Some(file) = self.open.read().get(&number).filter(|file| file.footer().crc == footer_crc) {
            return Ok(file.clone());
        }
        let file = self.open_as(number, || Ok(Some(footer_crc)))?;
        // It replaces another file of this number, if one is open.
        self.open.write().insert(number, file.clone());
        Ok(file)
    }

    /// As `get`, without keeping the file open. Remembers a file that cannot be used.
    pub(crate) fn open_known(&self, number: u64, index: &IndexRead) -> Result<Arc<SeriesFile>> {
        let opened = self.open_as(number, || Ok(index.file(number)?.as_deref().and_then(footer_crc_in)));
        if opened.as_ref().is_err_and(stays) {
            self.bad.lock().insert(number);
            self.alarm.store(true, Ordering::Release);
        }
        opened
    }

    fn open_as(&self, number: u64, known: impl FnOnce() -> Result<Option<Crc32>>) -> Result<Arc<SeriesFile>> {
        let path = series_path(number);
        let file = SeriesFile::open(&*self.storage, &path, self.store_id)?;
        let damage = |expected: String, found: String| Error::corrupt(&path, 0, "series file", expected, found);
        if file.file_id() != number {
            return Err(damage(format!("file {number}"), format!("file {}", file.file_id())));
        }
        let crc = file.footer().crc;
        if let Some(known) = known()?.filter(|known| *known != crc) {
            return Err(damage(format!("the file with footer crc {known}"), format!("one with {crc}")));
        }
        file.raise_at_damage(&self.alarm);
        Ok(file)
    }

    /// Whether some file could not be used since the last [`Self::take_bad`].
    pub(crate) fn alarmed(&self) -> bool {
        self.alarm.load(Ordering::Acquire)
    }

    /// Takes the list of files that could not be used. They are opened again at the next read.
    pub(crate) fn take_bad(&self) -> BTreeSet<u64> {
        self.alarm.store(false, Ordering::Release);
        let mut bad = std::mem::take(&mut *self.bad.lock());
        let mut open = self.open.write();
        bad.extend(open.iter().filter(|(_, file)| file.is_damaged()).map(|(number, _)| *number));
        open.retain(|number, _| !bad.contains(number));
        bad
    }

    /// Remembers files that must still be rebuilt.
    pub(crate) fn add_bad(&self, bad: BTreeSet<u64>) {
        self.bad.lock().extend(bad);
        self.alarm.store(true, Ordering::Release);
    }

    /// Keeps a file that is already open: a store opened for reading cannot delay the removal of files.
    pub(crate) fn put(&self, file: &Arc<SeriesFile>) {
        self.open.write().insert(file.file_id(), file.clone());
    }

    pub(crate) fn forget(&self, number: u64) {
        self.open.write().remove(&number);
    }
}
