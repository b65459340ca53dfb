//! A file whose changes stay in memory: the file below is read, never written.
//!
//! For opening a store read-only: recovery of its index after a crash then writes nothing to disk. The file below must
//! not change meanwhile.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::storage::{Map, StorageFile, read_exact_at};

/// Size of the pages that are copied.
const PAGE_BYTES: u64 = 4_096;

/// A file with changes on top, in memory.
#[derive(Debug)]
pub struct Overlay {
    below: Arc<dyn StorageFile>,
    changes: Mutex<Changes>,
}

/// Invariant: bytes of a page after `len` are zero; only the first `below_len` bytes of the file below count.
#[derive(Debug)]
struct Changes {
    len: u64,
    below_len: u64,
    pages: BTreeMap<u64, Box<[u8; PAGE_BYTES as usize]>>,
}

impl Overlay {
    /// No changes yet, on top of a file that is only read.
    pub fn new(below: Arc<dyn StorageFile>) -> io::Result<Self> {
        let len = below.len()?;
        Ok(Self { below, changes: Mutex::new(Changes { len, below_len: len, pages: BTreeMap::new() }) })
    }

    /// A page of the file below.
    fn page_below(&self, page: u64, below_len: u64) -> io::Result<Box<[u8; PAGE_BYTES as usize]>> {
        let mut bytes = Box::new([0; PAGE_BYTES as usize]);
        let start = page * PAGE_BYTES;
        let count = below_len.saturating_sub(start).min(PAGE_BYTES) as usize;
        read_exact_at(&*self.below, &mut bytes[..count], start)?;
        Ok(bytes)
    }
}

impl StorageFile for Overlay {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let changes = self.changes.lock();
        let count = changes.len.saturating_sub(offset).min(buf.len() as u64) as usize;
        let mut done = 0;
        while done < count {
            let at = offset + done as u64;
            let (page, start) = (at / PAGE_BYTES, (at % PAGE_BYTES) as usize);
            let part = (PAGE_BYTES as usize - start).min(count - done);
            let target = &mut buf[done..done + part];
            match changes.pages.get(&page) {
                Some(bytes) => target.copy_from_slice(&bytes[start..start + part]),
                None => {
                    let below = changes.below_len.saturating_sub(at).min(part as u64) as usize;
                    read_exact_at(&*self.below, &mut target[..below], at)?;
                    target[below..].fill(0);
                }
            }
            done += part;
        }
        Ok(count)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let end = offset.checked_add(buf.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        if buf.is_empty() {
            return Ok(0);
        }
        let mut changes = self.changes.lock();
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let (page, start) = (at / PAGE_BYTES, (at % PAGE_BYTES) as usize);
            let part = (PAGE_BYTES as usize - start).min(buf.len() - done);
            if !changes.pages.contains_key(&page) {
                let below = self.page_below(page, changes.below_len)?;
                changes.pages.insert(page, below);
            }
            if let Some(bytes) = changes.pages.get_mut(&page) {
                bytes[start..start + part].copy_from_slice(&buf[done..done + part]);
            }
            done += part;
        }
        changes.len = changes.len.max(end);
        Ok(buf.len())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.changes.lock().len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut changes = self.changes.lock();
        if len < changes.len {
            changes.below_len = changes.below_len.min(len);
            changes.pages.split_off(&len.div_ceil(PAGE_BYTES));
            if let Some(bytes) = changes.pages.get_mut(&(len / PAGE_BYTES)) {
                bytes[(len % PAGE_BYTES) as usize..].fill(0);
            }
        }
        changes.len = len;
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut changes = self.changes.lock();
        changes.len = changes.len.max(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }

    fn map(&self, _len: u64, _writable: bool) -> io::Result<Option<Arc<dyn Map>>> {
        Ok(None)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;
    use crate::storage::memory::Memory;
    use crate::storage::sim::SimRng;
    use crate::storage::{OpenMode, Storage, write_all_at};

    #[test]
    fn an_overlay_is_like_a_copy_of_the_file() {
        for seed in 0..30 {
            let mut rng = SimRng::new(seed);
            let memory = Memory::new();
            let old: Vec<u8> = (0..rng.below(20_000)).map(|at| at as u8 | 1).collect();
            let (below, copy) = (memory.open("a", OpenMode::CreateNew), memory.open("b", OpenMode::CreateNew));
            let (below, copy) = (below.unwrap(), copy.unwrap());
            write_all_at(&*below, &old, 0).unwrap();
            write_all_at(&*copy, &old, 0).unwrap();
            let overlay = Overlay::new(memory.open("a", OpenMode::Read).unwrap()).unwrap();
            for round in 0..40 {
                let at = rng.below(25_000);
                let bytes = vec![round; rng.below(9_000) as usize];
                for file in [&overlay as &dyn StorageFile, &*copy] {
                    match round % 4 {
                        0 => file.set_len(at).unwrap(),
                        1 => file.allocate(at).unwrap(),
                        _ => write_all_at(file, &bytes, at).unwrap(),
                    }
                }
                let len = copy.len().unwrap();
                assert_eq!(overlay.len().unwrap(), len);
                let (mut a, mut b) = (vec![1; len as usize], vec![2; len as usize]);
                read_exact_at(&overlay, &mut a, 0).unwrap();
                read_exact_at(&*copy, &mut b, 0).unwrap();
                assert!(a == b, "seed {seed}, round {round}");
            }
            let mut below_now = vec![0; old.len()];
            read_exact_at(&*below, &mut below_now, 0).unwrap();
            assert_eq!((below_now, below.len().unwrap()), (old.clone(), old.len() as u64));
        }
    }
}
