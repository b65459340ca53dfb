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
    /// Files that could not be opened, or were not the ones that the index knows.
    bad: Mutex<BTreeSet<u64>>,
    /// There are some, or a read has met damage in one that is open.
    alarm: Arc<AtomicBool>,
}

/// Where the series file of a number lies.
pub(crate) fn series_path(number: u64) -> String {
    format!("series/{number:08}.ser")
}

/// The number of a series file, by its path.
pub(crate) fn series_number(path: &str) -> Option<u64> {
    path.strip_prefix("series/")?.strip_suffix(".ser")?.parse().ok().filter(|number| series_path(*number) == path)
}

/// What the index keeps of a series file: its path, a zero, and the crc of its footer, which names this very file.
pub(crate) fn file_row(path: &str, footer_crc: Crc32) -> Vec<u8> {
    [path.as_bytes(), &[0], &footer_crc.0.to_le_bytes()].concat()
}

/// The footer's crc in such a row; older builds kept none.
fn footer_crc_in(row: &[u8]) -> Option<Crc32> {
    let (rest, crc) = row.split_last_chunk::<4>()?;
    (rest.last() == Some(&0)).then(|| Crc32(u32::from_le_bytes(*crc)))
}

/// Whether an error of a file lies in the file, and not in what this process may open or in the disk of the moment.
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

    /// The file of a number, if it is the one that the index knows.
    pub(crate) fn get(&self, number: u64, index: &IndexRead) -> Result<Arc<SeriesFile>> {
        if let Some(file) = self.open.read().get(&number) {
            return Ok(file.clone());
        }
        let file = self.open_known(number, index)?;
        Ok(self.open.write().entry(number).or_insert(file).clone())
    }

    /// The file of a number, if it is the one with the footer that MANIFEST lists.
    pub(crate) fn get_listed(&self, number: u64, footer_crc: Crc32) -> Result<Arc<SeriesFile>> {
        if let Some(file) = self.open.read().get(&number).filter(|file| file.footer().crc == footer_crc) {
            return Ok(file.clone());
        }
        let file = self.open_as(number, || Ok(Some(footer_crc)))?;
        Ok(self.open.write().entry(number).or_insert(file).clone())
    }

    /// As `get`; the file is not kept open. One that cannot be used is remembered as such.
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

    /// Whether a file could not be used since this was last settled.
    pub(crate) fn alarmed(&self) -> bool {
        self.alarm.load(Ordering::Acquire)
    }

    /// Files that could not be used; they are forgotten, and opened again when somebody asks for them.
    pub(crate) fn take_bad(&self) -> BTreeSet<u64> {
        self.alarm.store(false, Ordering::Release);
        let mut bad = std::mem::take(&mut *self.bad.lock());
        let mut open = self.open.write();
        bad.extend(open.iter().filter(|(_, file)| file.is_damaged()).map(|(number, _)| *number));
        open.retain(|number, _| !bad.contains(number));
        bad
    }

    /// Remembers files that are still to be made again.
    pub(crate) fn add_bad(&self, bad: BTreeSet<u64>) {
        self.bad.lock().extend(bad);
        self.alarm.store(true, Ordering::Release);
    }

    /// Keeps a file that is open already: a store that is opened for reading has no say in when files go.
    pub(crate) fn put(&self, file: &Arc<SeriesFile>) {
        self.open.write().insert(file.file_id(), file.clone());
    }

    pub(crate) fn forget(&self, number: u64) {
        self.open.write().remove(&number);
    }
}
