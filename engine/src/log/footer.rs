//! The footer of a finished segment: its range of Lsns and a sparse index of its frames. [`super::segment`] has the
//! layout.

use super::layout::SEGMENT_HEADER_BYTES;
use crate::checksum::Crc32;
use crate::id::{Lsn, SegmentId, StoreId};
use crate::storage::{StorageFile, read_exact_at};
use crate::varint::Bytes;

/// The sparse index has one entry for this many bytes.
pub(super) const INDEX_EVERY_BYTES: u64 = 64 << 10;

const FOOTER_VERSION: u32 = 1;
const FOOTER_MAGIC: [u8; 8] = *b"\r\nRLSEGF";
const FOOTER_TAIL_BYTES: usize = 64;

/// One entry of a sparse index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub(super) lsn: Lsn,
    pub(super) offset_bytes: u64,
}

/// What a finished segment says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) first: Lsn,
    pub(super) last: Lsn,
    pub(super) frames_count: u64,
    pub(super) frames_end_bytes: u64,
    pub(super) index: Vec<IndexEntry>,
}

impl Footer {
    /// For a segment without frames.
    pub(super) fn none() -> Self {
        let frames_end_bytes = SEGMENT_HEADER_BYTES;
        Self { first: Lsn::ZERO, last: Lsn::ZERO, frames_count: 0, frames_end_bytes, index: Vec::new() }
    }

    /// The bytes to put at `frames_end_bytes`, and their crc.
    pub(super) fn encode(&self, id: SegmentId, store: StoreId) -> (Vec<u8>, Crc32) {
        let mut out = Vec::with_capacity(self.index.len() * 16 + FOOTER_TAIL_BYTES);
        for entry in &self.index {
            out.extend_from_slice(&entry.lsn.0.to_le_bytes());
            out.extend_from_slice(&entry.offset_bytes.to_le_bytes());
        }
        for number in [self.first.0, self.last.0, self.frames_count, self.frames_end_bytes, id.0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&(self.index.len() as u32).to_le_bytes());
        out.extend_from_slice(&FOOTER_VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        let crc = Crc32::of_parts(&[&store.0, &out]);
        out.extend_from_slice(&crc.0.to_le_bytes());
        out.extend_from_slice(&FOOTER_MAGIC);
        (out, crc)
    }

    /// Reads the footer that ends a file of `len_bytes`. `None`: there is no valid one.
    pub(super) fn read(
        file: &dyn StorageFile,
        len_bytes: u64,
        id: SegmentId,
        store: StoreId,
    ) -> std::io::Result<Option<(Self, Crc32)>> {
        let Some(tail_at) = len_bytes.checked_sub(FOOTER_TAIL_BYTES as u64) else { return Ok(None) };
        if tail_at < SEGMENT_HEADER_BYTES {
            return Ok(None);
        }
        let mut tail = [0; FOOTER_TAIL_BYTES];
        read_exact_at(file, &mut tail, tail_at)?;
        if tail[56..] != FOOTER_MAGIC {
            return Ok(None);
        }
        let index_count = u32::from_le_bytes([tail[40], tail[41], tail[42], tail[43]]);
        let index_bytes = u64::from(index_count) * 16;
        // Our segments have at most one entry for each stretch of frames, however long a (sparse) file claims to be.
        if u64::from(index_count) > len_bytes / INDEX_EVERY_BYTES + 1 {
            return Ok(None);
        }
        let Some(index_at) = tail_at.checked_sub(index_bytes).filter(|at| *at >= SEGMENT_HEADER_BYTES) else {
            return Ok(None);
        };
        // Bounded by the file's length, checked just above.
        let mut bytes = vec![0; (len_bytes - index_at) as usize];
        read_exact_at(file, &mut bytes, index_at)?;
        Ok(Self::decode(&bytes, index_at, id, store))
    }

    fn decode(bytes: &[u8], index_at: u64, id: SegmentId, store: StoreId) -> Option<(Self, Crc32)> {
        let (covered, end) = bytes.split_at_checked(bytes.len().checked_sub(12)?)?;
        let mut end = Bytes::new(end);
        let crc = Crc32::of_parts(&[&store.0, covered]);
        if end.u32()? != crc.0 || end.array::<8>()? != FOOTER_MAGIC {
            return None;
        }
        let (index_bytes, tail) = covered.split_at_checked(bytes.len().checked_sub(FOOTER_TAIL_BYTES)?)?;
        let mut tail = Bytes::new(tail);
        let (first, last) = (Lsn(tail.u64()?), Lsn(tail.u64()?));
        let (frames_count, frames_end_bytes) = (tail.u64()?, tail.u64()?);
        if tail.u64()? != id.0 || tail.u32()? as usize * 16 != index_bytes.len() || frames_end_bytes != index_at {
            return None;
        }
        let mut rest = Bytes::new(index_bytes);
        let mut index = Vec::with_capacity(index_bytes.len() / 16);
        while let (Some(lsn), Some(offset_bytes)) = (rest.u64(), rest.u64()) {
            index.push(IndexEntry { lsn: Lsn(lsn), offset_bytes });
        }
        Some((Self { first, last, frames_count, frames_end_bytes, index }, crc))
    }
}

/// Adds a frame to a sparse index if it is the first one, or the first after another 64 KiB.
pub(super) fn push_index(index: &mut Vec<IndexEntry>, lsn: Lsn, offset_bytes: u64) {
    let due = index.last().is_none_or(|last| offset_bytes - last.offset_bytes >= INDEX_EVERY_BYTES);
    if due {
        index.push(IndexEntry { lsn, offset_bytes });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn footers_come_back_and_every_flip_is_found() {
        let (id, store) = (SegmentId(3), StoreId([9; 16]));
        let index =
            vec![IndexEntry { lsn: Lsn(10), offset_bytes: 64 }, IndexEntry { lsn: Lsn(12), offset_bytes: 65_600 }];
        let footer = Footer { first: Lsn(10), last: Lsn(12), frames_count: 3, frames_end_bytes: 70_000, index };
        let (bytes, crc) = footer.encode(id, store);
        assert_eq!(Footer::decode(&bytes, 70_000, id, store), Some((footer.clone(), crc)));
        assert_eq!(Footer::decode(&bytes, 70_016, id, store), None);
        assert_eq!(Footer::decode(&bytes, 70_000, SegmentId(4), store), None);
        assert_eq!(Footer::decode(&bytes, 70_000, id, StoreId([8; 16])), None);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Footer::decode(&flipped, 70_000, id, store), None, "bit {bit}");
        }
    }
}
