//! The bytes of one simulated file. Copies share pages, so that copying a whole disk is cheap.

use std::sync::Arc;

/// Bytes of a page, the unit of sharing and of space.
pub(super) const PAGE_BYTES: usize = 4_096;

type Page = Arc<[u8; PAGE_BYTES]>;

/// Bytes with holes. Invariant: bytes of a page after `len` are zero.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    pages: Vec<Option<Page>>,
    len: u64,
}

/// Position of a byte: its page, and its place there.
fn place(offset: u64) -> (usize, usize) {
    ((offset / PAGE_BYTES as u64) as usize, (offset % PAGE_BYTES as u64) as usize)
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Pages that take space.
    pub(super) fn pages_used(&self) -> u64 {
        self.pages.iter().filter(|page| page.is_some()).count() as u64
    }

    /// How many of `count` bytes at `offset` can be written with this many new pages.
    pub(super) fn bytes_that_fit(&self, offset: u64, count: usize, mut free_pages: u64) -> usize {
        let mut fits = 0;
        while fits < count {
            let (page, start) = place(offset + fits as u64);
            if self.pages.get(page).is_none_or(Option::is_none) {
                if free_pages == 0 {
                    break;
                }
                free_pages -= 1;
            }
            fits = (fits + PAGE_BYTES - start).min(count);
        }
        fits
    }

    /// Copies the bytes that exist; returns their count, 0 at the end.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        let count = self.len.saturating_sub(offset).min(buf.len() as u64) as usize;
        let mut done = 0;
        while done < count {
            let (page, start) = place(offset + done as u64);
            let part = (PAGE_BYTES - start).min(count - done);
            let target = &mut buf[done..done + part];
            match self.pages.get(page) {
                Some(Some(page)) => target.copy_from_slice(&page[start..start + part]),
                _ => target.fill(0),
            }
            done += part;
        }
        count
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        let end = offset + data.len() as u64;
        if data.is_empty() {
            return;
        }
        self.cover(end);
        let mut done = 0;
        while done < data.len() {
            let (page, start) = place(offset + done as u64);
            let part = (PAGE_BYTES - start).min(data.len() - done);
            let page = self.pages[page].get_or_insert_with(|| Arc::new([0; PAGE_BYTES]));
            Arc::make_mut(page)[start..start + part].copy_from_slice(&data[done..done + part]);
            done += part;
        }
        self.len = self.len.max(end);
    }

    /// Room in the page table for this many bytes.
    fn cover(&mut self, len: u64) {
        let pages = len.div_ceil(PAGE_BYTES as u64) as usize;
        if self.pages.len() < pages {
            self.pages.resize(pages, None);
        }
    }

    /// Cuts, or grows by a hole.
    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.pages.truncate(len.div_ceil(PAGE_BYTES as u64) as usize);
            let (page, start) = place(len);
            if let Some(Some(page)) = self.pages.get_mut(page) {
                Arc::make_mut(page)[start..].fill(0);
            }
        }
        self.cover(len);
        self.len = len;
    }

    /// Fills holes in `..len` with pages of zeros, and grows to it.
    pub(super) fn allocate(&mut self, len: u64) {
        self.cover(len);
        let zeros: Page = Arc::new([0; PAGE_BYTES]);
        for page in &mut self.pages[..len.div_ceil(PAGE_BYTES as u64) as usize] {
            page.get_or_insert_with(|| zeros.clone());
        }
        self.len = self.len.max(len);
    }

    /// Zeros `start..end`, as far as there are bytes.
    pub(super) fn zero(&mut self, start: u64, end: u64) {
        let end = end.min(self.len);
        if start < end {
            self.write(start, &vec![0; (end - start) as usize]);
        }
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        self.read(0, &mut bytes);
        bytes
    }
}
