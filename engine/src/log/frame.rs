//! One batch as bytes: a header of 32 bytes, the payload, and zeros up to the next multiple of 16. Little endian.
//!
//! ```text
//!  0        4          8         16         24            28     29           32
//! +--------+----------+---------+----------+-------------+------+------------+==========+-----+
//! | len u32| head_crc | lsn u64 | time i64 | payload_crc | kind | unsynced u24| payload | pad |
//! +--------+----------+---------+----------+-------------+------+------------+==========+-----+
//! ```
//!
//! - `len` counts header and payload, not the padding. `time` is Unix milliseconds, as the clock was read.
//! - `head_crc` = crc32(store id ++ `len` ++ bytes 8..32). The store id keeps frames of another store out, the lsn
//!   keeps stale blocks out.
//! - `payload_crc` = crc32(payload). It is computed outside any lock; the header is completed once the Lsn is known.
//! - `kind`: 1 batch; 2 mark (no payload); 3 close (no payload), the last frame of a log that was closed cleanly.
//! - `unsynced` = Lsn minus the last durable Lsn when the frame was placed. It saturates; the largest value means
//!   "unknown". Recovery uses it to tell a torn tail from damage: every frame says how far the log was synced before
//!   it. A frame says nothing about its own sync.
//!
//! A header is valid if and only if `32 <= len <= FRAME_BYTES_MAX`, `lsn >= 1`, `kind` is known and `head_crc` is
//! right. (The crc of nothing is 0, but a header of zeros already fails by `len`.) A frame is valid if its header is
//! valid, the frame ends within the file, and `payload_crc` is right.

use crate::checksum::Crc32;
use crate::error::{Error, Result};
use crate::id::{Lsn, StoreId, WriterId};
use crate::time::TimestampMs;

/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 32;
/// Every frame begins and ends at a multiple of this.
pub const FRAME_ALIGN_BYTES: usize = 16;
/// The longest frame, header and payload.
pub const FRAME_BYTES_MAX: usize = 64 << 20;
/// `unsynced` at its largest: nothing is known.
pub(super) const UNSYNCED_UNKNOWN: u32 = (1 << 24) - 1;

/// `len` with its padding.
pub(super) const fn padded(len_bytes: u64) -> u64 {
    len_bytes.next_multiple_of(FRAME_ALIGN_BYTES as u64)
}

/// What a frame is for. Each takes a Lsn of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// One batch of events.
    Batch = 1,
    /// No events; says how far the log was synced.
    Mark = 2,
    /// No events; the log was closed after it.
    Close = 3,
}

impl FrameKind {
    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Batch),
            2 => Some(Self::Mark),
            3 => Some(Self::Close),
            _ => None,
        }
    }
}

/// The crc of headers, with the store's id already in it.
#[derive(Debug, Clone)]
pub struct HeadCrc {
    store: Crc32,
}

impl HeadCrc {
    /// For frames of a store's own log.
    pub fn new(store: StoreId) -> Self {
        Self { store: Crc32::of(&store.0) }
    }

    /// For frames of a log that belongs to this store and has a writer of its own.
    pub fn of_writer(store: StoreId, writer: WriterId) -> Self {
        Self { store: Crc32::of(&store.0).and(&writer.0) }
    }

    /// The crc of a header: its first 4 bytes, and those from the 8th on.
    #[inline]
    fn of(&self, len_bytes: u32, rest: [u64; 3]) -> u32 {
        self.store.and_words(len_bytes, rest).0
    }
}

/// A frame's header, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Header and payload, without padding.
    pub len_bytes: u32,
    /// Position in the store's order.
    pub lsn: Lsn,
    /// The clock when it was placed.
    pub time: TimestampMs,
    /// crc32 of the payload.
    pub payload_crc: u32,
    /// What it is for.
    pub kind: FrameKind,
    /// Lsn minus the last durable one when it was placed (24 bits, saturating).
    pub unsynced: u32,
}

impl FrameHeader {
    /// The 32 bytes.
    #[inline]
    pub fn encode(&self, crc: &HeadCrc) -> [u8; FRAME_HEADER_BYTES] {
        let last = u32::from(self.kind as u8) | (self.unsynced.min(UNSYNCED_UNKNOWN) << 8);
        let rest = [self.lsn.0, self.time.0 as u64, u64::from(self.payload_crc) | (u64::from(last) << 32)];
        let head_crc = crc.of(self.len_bytes, rest);
        let mut out = [0; FRAME_HEADER_BYTES];
        out[0..8].copy_from_slice(&(u64::from(self.len_bytes) | (u64::from(head_crc) << 32)).to_le_bytes());
        out[8..16].copy_from_slice(&rest[0].to_le_bytes());
        out[16..24].copy_from_slice(&rest[1].to_le_bytes());
        out[24..32].copy_from_slice(&rest[2].to_le_bytes());
        out
    }

    /// The header, if these bytes are a valid one. The caller must check that the frame fits the remaining bytes before
    /// it allocates anything.
    #[inline]
    pub fn decode(bytes: &[u8; FRAME_HEADER_BYTES], crc: &HeadCrc) -> Option<Self> {
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | (u64::from(u32_at(at + 4)) << 32);
        let len_bytes = u32_at(0);
        if (len_bytes as usize) < FRAME_HEADER_BYTES || len_bytes as usize > FRAME_BYTES_MAX {
            return None;
        }
        let kind = FrameKind::from_byte(bytes[28])?;
        let lsn = Lsn(u64_at(8));
        if lsn == Lsn::ZERO || crc.of(len_bytes, [u64_at(8), u64_at(16), u64_at(24)]) != u32_at(4) {
            return None;
        }
        Some(Self {
            len_bytes,
            lsn,
            time: TimestampMs(u64_at(16) as i64),
            payload_crc: u32_at(24),
            kind,
            unsynced: u32_at(28) >> 8,
        })
    }

    /// The position that the frame says was durable when it was placed; `Lsn::ZERO` if unknown.
    pub fn vouched(&self) -> Lsn {
        if self.unsynced >= unsynced_max() {
            return Lsn::ZERO;
        }
        Lsn(self.lsn.0.saturating_sub(u64::from(self.unsynced)))
    }

    /// Bytes of the payload.
    pub fn payload_bytes(&self) -> usize {
        (self.len_bytes as usize).saturating_sub(FRAME_HEADER_BYTES)
    }

    /// Bytes in the file, padding included.
    pub fn padded_bytes(&self) -> u64 {
        padded(u64::from(self.len_bytes))
    }
}

/// A frame being made: room for the header, then the payload. Reusable.
#[derive(Debug, Clone)]
pub struct FrameBuf {
    bytes: Vec<u8>,
    kind: FrameKind,
    payload_crc: u32,
    /// Header and payload without padding; 0 while not sealed.
    len_bytes: usize,
}

impl Default for FrameBuf {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameBuf {
    /// An empty batch.
    pub fn new() -> Self {
        Self { bytes: vec![0; FRAME_HEADER_BYTES], kind: FrameKind::Batch, payload_crc: 0, len_bytes: 0 }
    }

    /// A frame without payload.
    pub(crate) fn empty(kind: FrameKind) -> Self {
        Self { kind, len_bytes: FRAME_HEADER_BYTES, ..Self::new() }
    }

    /// Makes it an empty batch again; keeps the allocation.
    pub fn clear(&mut self) {
        self.begin(FrameKind::Batch);
    }

    /// An empty frame of this kind.
    pub(super) fn begin(&mut self, kind: FrameKind) {
        self.bytes.truncate(FRAME_HEADER_BYTES);
        self.kind = kind;
        self.len_bytes = 0;
    }

    /// The buffer to append the payload to. Its first [`FRAME_HEADER_BYTES`] bytes belong to the header.
    pub fn payload_mut(&mut self) -> &mut Vec<u8> {
        if self.len_bytes != 0 {
            self.bytes.truncate(self.len_bytes);
            self.len_bytes = 0;
        }
        &mut self.bytes
    }

    /// The payload so far.
    pub fn payload(&self) -> &[u8] {
        let end = if self.len_bytes == 0 { self.bytes.len() } else { self.len_bytes };
        self.bytes.get(FRAME_HEADER_BYTES..end).unwrap_or_default()
    }

    /// Pads, and computes the payload's crc. That is the expensive part: do it outside any lock. May be repeated.
    ///
    /// # Errors
    /// `Invalid` if the frame is longer than [`FRAME_BYTES_MAX`].
    pub fn seal(&mut self) -> Result<()> {
        if self.len_bytes != 0 {
            return Ok(());
        }
        let len_bytes = self.bytes.len();
        if len_bytes > FRAME_BYTES_MAX {
            let why = format!("{len_bytes} bytes encoded; at most {FRAME_BYTES_MAX} fit one batch: split it");
            return Err(Error::invalid("batch", why));
        }
        let Some(payload) = self.bytes.get(FRAME_HEADER_BYTES..) else {
            return Err(Error::Internal("a frame lost the room of its header".into()));
        };
        self.payload_crc = Crc32::of(payload).0;
        self.bytes.resize(len_bytes.next_multiple_of(FRAME_ALIGN_BYTES), 0);
        self.len_bytes = len_bytes;
        Ok(())
    }

    /// Its length in the file. Sealed frames only.
    pub(crate) fn placed_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Completes the header; returns the whole frame as it goes to the file.
    #[inline]
    pub(crate) fn complete(&mut self, lsn: Lsn, time: TimestampMs, durable: Lsn, crc: &HeadCrc) -> &[u8] {
        let unsynced = lsn.0.saturating_sub(durable.0).min(u64::from(unsynced_max())) as u32;
        let header = FrameHeader {
            len_bytes: self.len_bytes as u32,
            lsn,
            time,
            payload_crc: self.payload_crc,
            kind: self.kind,
            unsynced,
        };
        if let Some(room) = self.bytes.first_chunk_mut::<FRAME_HEADER_BYTES>() {
            *room = header.encode(crc);
        }
        &self.bytes
    }
}

/// Where `unsynced` saturates.
#[inline]
fn unsynced_max() -> u32 {
    #[cfg(test)]
    if let Some(max) = super::mutant::unsynced_max() {
        return max;
    }
    UNSYNCED_UNKNOWN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crc() -> HeadCrc {
        HeadCrc::new(StoreId([7; 16]))
    }

    #[test]
    fn golden_bytes() {
        let mut frame = FrameBuf::new();
        frame.payload_mut().extend_from_slice(b"hello");
        frame.seal().unwrap();
        let bytes = frame.complete(Lsn(0x0102), TimestampMs(-1), Lsn(0x0100), &crc());
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let crc_hex = &hex[8..16];
        let expected =
            format!("25000000{crc_hex}0201000000000000ffffffffffffffff86a610360102000068656c6c6f{}", "0".repeat(22));
        assert_eq!(hex, expected);
        let mut covered = [7u8; 16].to_vec();
        covered.extend_from_slice(&bytes[..4]);
        covered.extend_from_slice(&bytes[8..32]);
        assert_eq!(Crc32::of(&covered).0.to_le_bytes(), bytes[4..8]);
    }

    #[test]
    fn headers_come_back_and_every_flip_is_found() {
        let header = FrameHeader {
            len_bytes: 1000,
            lsn: Lsn(77),
            time: TimestampMs(1_700_000_000_000),
            payload_crc: 0xdead_beef,
            kind: FrameKind::Mark,
            unsynced: 70,
        };
        let bytes = header.encode(&crc());
        assert_eq!(FrameHeader::decode(&bytes, &crc()), Some(header));
        assert_eq!(header.vouched(), Lsn(7));
        assert_eq!(FrameHeader::decode(&bytes, &HeadCrc::new(StoreId([8; 16]))), None);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FrameHeader::decode(&flipped, &crc()), None, "bit {bit}");
        }
        assert_eq!(FrameHeader::decode(&[0; 32], &crc()), None);
    }

    #[test]
    fn unsynced_saturates_to_unknown() {
        let mut frame = FrameBuf::empty(FrameKind::Mark);
        let bytes = frame.complete(Lsn(1 << 40), TimestampMs(0), Lsn(1), &crc());
        let header = FrameHeader::decode(bytes.first_chunk().unwrap(), &crc()).unwrap();
        assert_eq!((header.unsynced, header.vouched()), (UNSYNCED_UNKNOWN, Lsn::ZERO));
    }

    #[test]
    fn a_buffer_can_be_reused_and_appended_to_after_sealing() {
        let mut frame = FrameBuf::new();
        frame.payload_mut().push(1);
        frame.seal().unwrap();
        assert_eq!((frame.payload(), frame.placed_bytes()), (&[1][..], 48));
        frame.payload_mut().push(2);
        assert_eq!(frame.payload(), [1, 2]);
        frame.seal().unwrap();
        assert_eq!(frame.payload(), [1, 2]);
        frame.clear();
        assert!(frame.payload().is_empty());
        frame.payload_mut().resize(FRAME_BYTES_MAX + 1, 0);
        assert!(matches!(frame.seal(), Err(Error::Invalid { .. })));
    }
}
