//! redb on a file without checks; stands in until pages are checked.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::storage::{OpenMode, Storage, StorageFile, read_exact_at, write_all_at};

#[derive(Debug)]
pub(super) struct PageBackend(Arc<dyn StorageFile>);

impl PageBackend {
    pub(super) fn create(storage: Arc<dyn Storage>, path: &str) -> Result<Self> {
        storage.open(path, OpenMode::CreateNew).map(Self).map_err(|error| Error::io("create", path, error))
    }

    pub(super) fn open(storage: Arc<dyn Storage>, path: &str) -> Result<Self> {
        storage.open(path, OpenMode::ReadWrite).map(Self).map_err(|error| Error::io("open", path, error))
    }
}

impl redb::StorageBackend for PageBackend {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        read_exact_at(&*self.0, out, offset)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        write_all_at(&*self.0, data, offset)
    }
}
