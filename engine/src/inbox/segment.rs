//! Name, header and published end of an inbox's segments. [`super`] has the layout.

use std::io;
use std::sync::Arc;

use crate::checksum::Crc32;
use crate::id::{StoreId, WriterId};
use crate::log::FRAME_BYTES_MAX;
use crate::log::segment::{FLAG_INBOX, MAGIC};
use crate::storage::{Map, OpenMode, Storage, StorageFile, read_exact_at};
use crate::varint::Bytes;

/// The folder of all inboxes.
pub(crate) const INBOX_DIR: &str = "inbox";
/// The word that changes when an inbox is created.
pub(super) const NEWS_PATH: &str = "inbox/news";
/// Bytes of the file that holds it.
pub(super) const NEWS_BYTES: u64 = 4 << 10;
/// Name of the lock in an inbox's folder.
pub(super) const LOCK_NAME: &str = "lock";

/// Version of segments of inboxes.
const VERSION: u32 = 1;
/// Bytes of the header.
pub(super) const HEADER_BYTES: usize = 64;
/// Where the published end is: in a cache line of its own, which appender and holder share.
pub(super) const END_AT: u64 = 64;
/// The published end where it is not kept.
pub(super) const END_NOT_KEPT: u64 = u64::MAX;
/// Where the first frame begins.
pub(super) const FRAMES_AT: u64 = 128;

/// The first segment: with folder, lock and note an inbox takes 64 KiB.
pub(super) const FIRST_BYTES: u64 = (64 - 12) << 10;
/// The second one; each next one doubles.
pub(super) const SECOND_BYTES: u64 = 128 << 10;
/// Where doubling ends.
pub(super) const SEGMENT_BYTES_MAX: u64 = 8 << 20;
/// No segment is longer: one that had to be longer than [`SEGMENT_BYTES_MAX`] holds a single frame.
pub(super) const FILE_BYTES_MAX: u64 = FRAME_BYTES_MAX as u64 + (64 << 10);

/// The least bytes that a writer makes a segment with.
pub(super) fn bytes_min(ordinal: u64) -> u64 {
    match ordinal {
        0 | 1 => FIRST_BYTES,
        // It may double a larger one.
        _ => (2..ordinal).fold(SECOND_BYTES, |bytes, _| (bytes * 2).min(SEGMENT_BYTES_MAX)),
    }
}

/// Folder of a writer.
pub(super) fn dir_of(writer: WriterId) -> String {
    format!("{INBOX_DIR}/{writer}")
}

/// Path of a segment.
pub(super) fn path_of(writer: WriterId, ordinal: u64) -> String {
    format!("{INBOX_DIR}/{writer}/{ordinal:08}.seg")
}

/// The ordinal in a file name; only the one form that is printed.
pub(super) fn ordinal_of(name: &str) -> Option<u64> {
    let ordinal: u64 = name.strip_suffix(".seg")?.parse().ok()?;
    (ordinal > 0 && format!("{ordinal:08}.seg") == name).then_some(ordinal)
}

/// The ordinals of the segments in an inbox's folder, ascending.
pub(super) fn list_segments(storage: &dyn Storage, writer: WriterId) -> io::Result<Vec<u64>> {
    let entries = storage.list(&dir_of(writer))?;
    let mut ordinals: Vec<u64> = entries.iter().filter_map(|entry| ordinal_of(&entry.name)).collect();
    ordinals.sort_unstable();
    Ok(ordinals)
}

/// The bytes in front of the first frame.
pub(super) fn encode_head(store: StoreId, writer: WriterId, ordinal: u64, end: u64) -> [u8; FRAMES_AT as usize] {
    let mut out = [0; FRAMES_AT as usize];
    out[0..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_le_bytes());
    out[12..16].copy_from_slice(&FLAG_INBOX.to_le_bytes());
    out[16..32].copy_from_slice(&store.0);
    out[32..40].copy_from_slice(&ordinal.to_le_bytes());
    out[40..56].copy_from_slice(&writer.0);
    let crc = Crc32::of(&out[..60]);
    out[60..64].copy_from_slice(&crc.0.to_le_bytes());
    out[64..72].copy_from_slice(&end.to_le_bytes());
    out
}

/// Result of checking the first bytes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadFound {
    Good,
    /// Not a header: never written whole, or damaged.
    Bad,
    /// Of another store, writer or ordinal.
    Foreign(StoreId, WriterId, u64),
    /// Of a newer version.
    Newer(u32),
}

pub(super) fn check_head(bytes: &[u8; HEADER_BYTES], store: StoreId, writer: WriterId, ordinal: u64) -> HeadFound {
    let mut rest = Bytes::new(bytes);
    let mut read = || {
        if rest.array::<8>()? != MAGIC {
            return None;
        }
        let (version, flags) = (rest.u32()?, rest.u32()?);
        let (of_store, of_ordinal, of_writer) = (StoreId(rest.array()?), rest.u64()?, WriterId(rest.array()?));
        let _zeros = rest.u32()?;
        (rest.u32()? == Crc32::of(&bytes[..60]).0).then_some((version, flags, of_store, of_ordinal, of_writer))
    };
    match read() {
        None => HeadFound::Bad,
        // The crc first: a flipped version is damage, not a newer format.
        Some((version, ..)) if version > VERSION => HeadFound::Newer(version),
        Some((_, flags, of_store, of_ordinal, of_writer)) => {
            let is_ours = flags & FLAG_INBOX != 0 && (of_store, of_ordinal, of_writer) == (store, ordinal, writer);
            if is_ours { HeadFound::Good } else { HeadFound::Foreign(of_store, of_writer, of_ordinal) }
        }
    }
}

/// A segment as a holder reads it.
#[derive(Debug)]
pub(super) enum Source {
    Map(Arc<dyn Map>),
    File(Arc<dyn StorageFile>),
}

impl Source {
    /// Opens a segment; returns it with its length. With a map it keeps no descriptor, because there may be thousands
    /// of inboxes.
    pub(super) fn open(storage: &dyn Storage, path: &str, use_map: bool) -> io::Result<(Self, u64)> {
        let file = storage.open(path, OpenMode::Read)?;
        let len = file.len()?;
        if len > FILE_BYTES_MAX {
            // Whatever it is: searching it for frames could take forever.
            let why = format!("`{path}` has {len} bytes; no segment of an inbox has more than {FILE_BYTES_MAX}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let map = if use_map && len >= FRAMES_AT { file.map(len, false)? } else { None };
        Ok((map.map_or(Self::File(file), Self::Map), len))
    }

    /// Reads bytes within the length.
    pub(super) fn read(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Map(map) => {
                map.copy_at(at, out);
                Ok(())
            }
            Self::File(file) => read_exact_at(&**file, out, at),
        }
    }

    /// The published end.
    #[inline]
    pub(super) fn end(&self) -> io::Result<u64> {
        match self {
            Self::Map(map) => Ok(map.load_u64(END_AT)),
            Self::File(file) => {
                let mut bytes = [0; 8];
                read_exact_at(&**file, &mut bytes, END_AT)?;
                Ok(u64::from_le_bytes(bytes))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_and_every_flip_is_found() {
        let (store, writer) = (StoreId([1; 16]), WriterId([2; 16]));
        let head = encode_head(store, writer, 3, 0x180);
        let hex: String = head.iter().map(|byte| format!("{byte:02x}")).collect();
        let crc = &hex[120..128];
        let expected = format!(
            "524c5345474d0d0a0100000002000000{}0300000000000000{}00000000{crc}8001000000000000{}",
            "01".repeat(16),
            "02".repeat(16),
            "00".repeat(56)
        );
        assert_eq!(hex, expected);
        let bytes: [u8; HEADER_BYTES] = *head.first_chunk().unwrap();
        assert_eq!(check_head(&bytes, store, writer, 3), HeadFound::Good);
        for (store, writer, ordinal) in
            [(StoreId([9; 16]), writer, 3), (store, WriterId([9; 16]), 3), (store, writer, 4)]
        {
            let found = check_head(&bytes, store, writer, ordinal);
            assert_eq!(found, HeadFound::Foreign(StoreId([1; 16]), WriterId([2; 16]), 3));
        }
        for bit in 0..HEADER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(check_head(&flipped, store, writer, 3), HeadFound::Bad, "bit {bit}");
        }
    }

    #[test]
    fn names_come_back_in_one_form_only() {
        assert_eq!(ordinal_of("00000012.seg"), Some(12));
        for bad in ["12.seg", "00000000.seg", "00000001.seg.tmp", "000000001.seg", "x.seg", "lock"] {
            assert_eq!(ordinal_of(bad), None, "{bad}");
        }
    }
}
