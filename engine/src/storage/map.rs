//! Shared memory maps of real files, and advice to the kernel about memory.
//!
//! Unsafe code of the engine is here, in [`crate::fork`] (what a process does around a fork) and in [`crate::checksum`]
//! (a processor instruction for crc32), and nowhere else: the crate denies it, and these modules say why they need it.
//!
//! Bytes are copied in and out through raw pointers; there is never a reference or slice into a mapping, because other
//! threads and processes store into the same pages, and a Rust reference would promise that they do not.
//!
//! Invariants:
//! - `len` bytes were inside the file when it was mapped, and stay mapped until the value is dropped.
//! - Callers order their accesses: a range is stored once, past the published end, and copied out only after the end
//!   was published behind it (release/acquire). So no byte is copied by one thread while another one stores it. Between
//!   processes the end is published in the mapping itself, by `store_u64` and `load_u64`; words that are accessed so
//!   are accessed in no other way while they may change. (An open reads frames while recovery writes the same bytes
//!   over them, by system calls: no store of this process.)
//!
//! Not covered, because no code in this process can: another program that cuts the file while it is mapped. The kernel
//! answers the next access behind the new end with SIGBUS, which ends the process (it is never wrong data or undefined
//! behaviour). `Options::mmap(false)` is for those who fear it.
#![expect(
    unsafe_code,
    reason = "copies into and out of shared mappings need raw pointers, and one call of the allocator; nothing else \
              here is unsafe"
)]

use std::fs::File;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw, UncheckedAdvice};

use crate::storage::Map;

/// The smallest page size in use. Where pages are larger, the kernel widens the advice to whole pages, which is
/// harmless.
const PAGE_BYTES: u64 = 4 << 10;

/// A shared mapping of a file's first bytes.
#[derive(Debug)]
pub struct FileMap {
    raw: MmapRaw,
    len: usize,
    writable: bool,
}

impl FileMap {
    /// Maps the first `len` bytes of a file, which must be at least that long. A writable map needs a file that was
    /// opened for reading and writing.
    pub fn new(file: &File, len: u64, writable: bool) -> io::Result<Self> {
        let file_len = file.metadata()?.len();
        if len > file_len {
            let message = format!("cannot map {len} bytes of a file of {file_len}");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let mut options = MmapOptions::new();
        options.len(len);
        let raw = if writable { options.map_raw(file)? } else { options.map_raw_read_only(file)? };
        assert!(raw.len() >= len, "the mapping is as long as asked for");
        Ok(Self { raw, len, writable })
    }

    /// `offset` as an index, if `offset..offset + count` lies inside the map.
    #[inline]
    fn checked(&self, offset: u64, count: usize) -> usize {
        let len = self.len as u64;
        assert!(
            offset <= len && count as u64 <= len - offset,
            "{count} bytes at {offset} are outside a map of {len} bytes"
        );
        // Fits: it is at most `self.len`, a usize.
        offset as usize
    }
}

impl FileMap {
    /// The whole pages inside a range, as start and length; `None` if there is none.
    fn pages_within(&self, offset: u64, count: u64) -> Option<(usize, usize)> {
        let end = offset.saturating_add(count).min(self.len as u64) / PAGE_BYTES * PAGE_BYTES;
        let start = offset.checked_next_multiple_of(PAGE_BYTES)?;
        // Both fit: they are at most `self.len`, a usize.
        (start < end).then(|| (start as usize, (end - start) as usize))
    }
}

impl Map for FileMap {
    #[inline]
    fn len(&self) -> u64 {
        self.len as u64
    }

    #[inline]
    fn copy_at(&self, offset: u64, out: &mut [u8]) {
        let start = self.checked(offset, out.len());
        // SAFETY: `checked` asserted that `start + out.len() <= self.len`, and `self.raw` keeps `self.len` bytes
        // mapped readable for as long as `self` lives, so source and target are valid for `out.len()` bytes. They do
        // not overlap: `out` is a unique reference to memory of this process, and no reference into the mapping is
        // ever made. u8 has no alignment and no invalid values. Nobody stores into the range meanwhile (module doc).
        unsafe { ptr::copy_nonoverlapping(self.raw.as_ptr().add(start), out.as_mut_ptr(), out.len()) }
    }

    #[inline]
    fn store_at(&self, offset: u64, bytes: &[u8]) {
        assert!(self.writable, "this map is read-only");
        let start = self.checked(offset, bytes.len());
        // SAFETY: `checked` asserted that `start + bytes.len() <= self.len`, and `self.raw` keeps `self.len` bytes
        // mapped writable (asserted just above) for as long as `self` lives. `bytes` cannot overlap the mapping, as no
        // reference into it is ever made. u8 has no alignment. Nobody copies or stores the range meanwhile (module
        // doc), and the mutable pointer comes from `as_mut_ptr`, so writing through it is allowed.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.raw.as_mut_ptr().add(start), bytes.len()) }
    }

    #[inline]
    fn load_u64(&self, offset: u64) -> u64 {
        let start = self.checked(offset, 8);
        assert!(offset.is_multiple_of(8), "a word at {offset} is not aligned");
        // SAFETY: `checked` asserted that the 8 bytes lie within the `self.len` bytes that `self.raw` keeps mapped for
        // as long as `self` lives; a mapping begins at a page, so a multiple of 8 is aligned for a u64. The reference
        // to the atomic lives for this load only, and a mapped word that is loaded so is stored by `store_u64` alone
        // while it may change (module doc). A load works on read-only pages as well.
        let word = unsafe { AtomicU64::from_ptr(self.raw.as_mut_ptr().add(start).cast()) };
        u64::from_le(word.load(Ordering::Acquire))
    }

    #[inline]
    fn store_u64(&self, offset: u64, value: u64) {
        assert!(self.writable, "this map is read-only");
        let start = self.checked(offset, 8);
        assert!(offset.is_multiple_of(8), "a word at {offset} is not aligned");
        // SAFETY: as in `load_u64`; the mapping is writable (asserted just above).
        let word = unsafe { AtomicU64::from_ptr(self.raw.as_mut_ptr().add(start).cast()) };
        word.store(value.to_le(), Ordering::Release);
    }

    fn end_stores(&self, offset: u64, count: u64) {
        if let Some((start, count)) = self.pages_within(offset, count) {
            // SAFETY: `pages_within` gave whole pages inside the `self.len` bytes that `self.raw` keeps mapped. The
            // advice would lose data in private mappings; `self.raw` is a shared one of a file (`map_raw` and
            // `map_raw_read_only` make no others), where it only takes the pages out of this process' page table: what
            // was stored is in the page cache, and the next access maps the same page again. So every byte keeps its
            // value, also under an access by another thread meanwhile. A refusal changes nothing either.
            let _ = unsafe { self.raw.unchecked_advise_range(UncheckedAdvice::DontNeed, start, count) };
        }
    }
}

/// Returns freed memory that the allocator keeps to the system. A hint for idle moments: it looks at the whole heap.
/// Does something with glibc only.
pub fn give_back_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: this is glibc's `int malloc_trim(size_t pad)`; it takes the allocator's own locks, and touches nothing
        // that is allocated. So it may be called from any thread at any time.
        unsafe extern "C" {
            safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // The result does not matter.
        let _given_back = malloc_trim(0);
    }
}

/// Makes the allocator keep little freed memory: for a process that promises a bound on its memory, called before its
/// threads start. Large blocks then come from the system and return to it at once, and threads share a few heaps. Does
/// something with glibc only; a refusal changes nothing.
pub fn keep_little_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::ffi::c_int;
        const M_TRIM_THRESHOLD: c_int = -1;
        const M_MMAP_THRESHOLD: c_int = -3;
        const M_ARENA_MAX: c_int = -8;
        // SAFETY: this is glibc's `int mallopt(int param, int value)`; it takes the allocator's own locks, and changes
        // only how later calls choose where memory comes from.
        unsafe extern "C" {
            safe fn mallopt(param: c_int, value: c_int) -> c_int;
        }
        let _accepted =
            [(M_ARENA_MAX, 4), (M_MMAP_THRESHOLD, 256 << 10), (M_TRIM_THRESHOLD, 1 << 20)].map(|(p, v)| mallopt(p, v));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn stores_are_seen_by_reads_of_the_file_and_by_other_maps() {
        use std::os::unix::fs::FileExt;
        let file = file(&[7; 10_000]);
        let map = FileMap::new(&file, 10_000, true).unwrap();
        let other = FileMap::new(&file, 9_000, false).unwrap();
        map.store_at(4_090, b"across a page");
        let mut out = [0; 13];
        other.copy_at(4_090, &mut out);
        assert_eq!(&out, b"across a page");
        file.read_exact_at(&mut out, 4_090).unwrap();
        assert_eq!(&out, b"across a page");
        map.store_at(9_999, b"e");
        map.store_at(10_000, b"");
        assert_eq!((map.len(), other.len()), (10_000, 9_000));
    }

    #[test]
    fn words_are_published_with_what_was_stored_before_them() {
        let file = file(&[0; 100_000]);
        let map = FileMap::new(&file, 100_000, true).unwrap();
        let reader = FileMap::new(&file, 100_000, false).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for end in (16..99_000).step_by(24) {
                    map.store_at(end, &(end as u32).to_le_bytes());
                    map.store_u64(8, end + 4);
                }
            });
            let mut seen = 0;
            while seen < 98_000 {
                let end = reader.load_u64(8);
                assert!(end >= seen);
                seen = end;
                if end > 0 {
                    let mut bytes = [0; 4];
                    reader.copy_at(end - 4, &mut bytes);
                    assert_eq!(u64::from(u32::from_le_bytes(bytes)), end - 4);
                }
            }
        });
        assert!(std::panic::catch_unwind(|| reader.load_u64(4)).is_err());
    }

    #[test]
    fn hints_change_no_byte_and_take_any_range() {
        let file = file(&[7; 100_000]);
        let (map, reader) = (FileMap::new(&file, 100_000, true).unwrap(), FileMap::new(&file, 100_000, false).unwrap());
        for (offset, count) in [(0, 100_000), (1, 9), (4_096, 4_096), (99_999, u64::MAX), (u64::MAX, u64::MAX)] {
            map.store_at(50_000, b"stored");
            map.end_stores(offset, count);
            reader.end_stores(offset, count);
            map.store_at(60_000, b"afterwards");
            let (mut found, mut expected) = (vec![0; 100_000], vec![7; 100_000]);
            expected[50_000..50_006].copy_from_slice(b"stored");
            expected[60_000..60_010].copy_from_slice(b"afterwards");
            for map in [&map, &reader] {
                map.copy_at(0, &mut found);
                assert!(found == expected, "{offset} {count}");
            }
        }
    }

    #[test]
    fn mapping_more_than_the_file_is_an_error() {
        let file = file(&[1; 100]);
        assert_eq!(FileMap::new(&file, 101, true).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(FileMap::new(&file, 0, false).unwrap().is_empty());
    }

    #[test]
    #[should_panic(expected = "outside a map")]
    fn store_outside_panics() {
        FileMap::new(&file(&[0; 100]), 100, true).unwrap().store_at(98, b"abc");
    }

    #[test]
    #[should_panic(expected = "outside a map")]
    fn copy_at_a_huge_offset_panics() {
        FileMap::new(&file(&[0; 100]), 100, true).unwrap().copy_at(u64::MAX, &mut [0; 2]);
    }

    #[test]
    #[should_panic(expected = "read-only")]
    fn store_into_a_read_only_map_panics() {
        FileMap::new(&file(&[0; 100]), 100, false).unwrap().store_at(0, b"a");
    }
}
