//! A shared writable mapping of one file, for the floors.
#![expect(unsafe_code, reason = "a floor of mapped appends has to store into a mapping")]

use std::fs::File;
use std::io;

use memmap2::{MmapOptions, MmapRaw};

/// A mapped file.
#[derive(Debug)]
pub struct Mapped {
    map: MmapRaw,
}

impl Mapped {
    /// Maps the whole file for writing.
    ///
    /// # Errors
    /// Those of `mmap`.
    pub fn new(file: &File) -> io::Result<Self> {
        Ok(Self { map: MmapOptions::new().map_raw(file)? })
    }

    /// Stores bytes. Panics if they do not lie within the file.
    #[inline]
    pub fn store_at(&self, offset: usize, bytes: &[u8]) {
        assert!(offset.checked_add(bytes.len()).is_some_and(|end| end <= self.map.len()), "outside the mapping");
        // SAFETY: the range was checked to lie within the mapping; nobody holds a reference into it (the type gives
        // none out), and `bytes`, a Rust reference, cannot overlap it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.map.as_mut_ptr().add(offset), bytes.len()) }
    }
}
