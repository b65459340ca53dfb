//! The records of an event file.
//!
//! ```text
//!  record = length u64 LE | masked CRC-32C of these 8 bytes u32 LE | payload | masked CRC-32C of the payload u32 LE
//!  masked = rotate right by 15, plus 0xa282ead8
//! ```
//!
//! The length is used only once its checksum is right. A file that ends within a record is being written, or was cut off.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 1 << 20;
/// Longest payload: an image or a sound.
const PAYLOAD_BYTES_MAX: u64 = 1 << 30;
const HEAD_BYTES: usize = 12;
const TAIL_BYTES: usize = 4;

/// Why a file ends where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// After a whole record.
    Whole,
    /// Within one.
    Cut,
    /// A checksum is wrong: what follows cannot be found.
    Damaged,
}

/// Reads records one after another.
pub(super) struct Records<R = File> {
    file: R,
    path: PathBuf,
    buffer: Vec<u8>,
    /// First byte in the buffer that is not used.
    at: usize,
    /// Offset of it in the file.
    pub(super) offset: u64,
    /// Set once there are no more.
    pub(super) end: Option<End>,
}

impl Records {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::io(format!("cannot read {}", path.display()), error))?;
        Ok(Self::new(file, path))
    }
}

impl<R: Read> Records<R> {
    pub(super) fn new(file: R, path: &Path) -> Self {
        Self { file, path: path.to_owned(), buffer: Vec::new(), at: 0, offset: 0, end: None }
    }

    /// The next payload.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>> {
        if self.end.is_some() {
            return Ok(None);
        }
        if !self.fill(HEAD_BYTES)? {
            let end = if self.buffer.len() == self.at { End::Whole } else { End::Cut };
            return Ok(self.stop(end));
        }
        let head = &self.buffer[self.at..self.at + HEAD_BYTES];
        let (length, crc) = head.split_at(8);
        let is_right = masked(length).to_le_bytes() == *crc;
        let bytes = u64::from_le_bytes(length.try_into().unwrap_or_default());
        if !is_right || bytes > PAYLOAD_BYTES_MAX {
            return Ok(self.stop(End::Damaged));
        }
        let bytes = bytes as usize;
        if !self.fill(HEAD_BYTES + bytes + TAIL_BYTES)? {
            return Ok(self.stop(End::Cut));
        }
        let from = self.at + HEAD_BYTES;
        let (payload, crc) = self.buffer[from..from + bytes + TAIL_BYTES].split_at(bytes);
        if masked(payload).to_le_bytes() != *crc {
            return Ok(self.stop(End::Damaged));
        }
        let whole = HEAD_BYTES + bytes + TAIL_BYTES;
        self.at += whole;
        self.offset += whole as u64;
        Ok(Some(&self.buffer[from..from + bytes]))
    }

    fn stop(&mut self, end: End) -> Option<&'static [u8]> {
        self.end = Some(end);
        None
    }

    /// Reads until the buffer has so many unused bytes; `false` if the file has no more.
    fn fill(&mut self, bytes: usize) -> Result<bool> {
        while self.buffer.len() - self.at < bytes {
            if self.at > 0 {
                self.buffer.drain(..self.at);
                self.at = 0;
            }
            // Piece by piece: a length that is wrong costs no more memory than the file is long.
            let read = (&mut self.file).take(PIECE_BYTES as u64).read_to_end(&mut self.buffer);
            let read = read.map_err(|error| Error::io(format!("cannot read {}", self.path.display()), error))?;
            if read == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The checksum of some bytes, as event files have it.
pub(super) fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli). Source: RFC 3720, appendix B.4.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| (crc >> 8) ^ CRC_TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize])
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut crc = at as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn record(payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u64).to_le_bytes();
        [&length[..], &masked(&length).to_le_bytes(), payload, &masked(payload).to_le_bytes()].concat()
    }

    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, Option<End>, u64) {
        let mut records = Records::new(bytes, Path::new("events"));
        let mut payloads = Vec::new();
        while let Some(payload) = records.next().unwrap() {
            payloads.push(payload.to_vec());
        }
        (payloads, records.end, records.offset)
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        // RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn whole_cut_and_damaged_files_are_told_apart() {
        let (one, two) = (record(b"first"), record(&[7; 3_000_000]));
        let both = [&one[..], &two].concat();
        assert_eq!(read(&both), (vec![b"first".to_vec(), vec![7; 3_000_000]], Some(End::Whole), both.len() as u64));
        for cut in [both.len() - 1, one.len() + 3, one.len() + 13] {
            assert_eq!(read(&both[..cut]), (vec![b"first".to_vec()], Some(End::Cut), one.len() as u64));
        }
        for at in 0..one.len() {
            let mut damaged = both.clone();
            damaged[one.len() + at] ^= 4;
            assert_eq!(read(&damaged), (vec![b"first".to_vec()], Some(End::Damaged), one.len() as u64), "{at}");
        }
        assert_eq!(read(&[]), (vec![], Some(End::Whole), 0));
    }
}
