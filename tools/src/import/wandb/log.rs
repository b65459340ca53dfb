//! The log of a `.wandb` file.
//!
//! ```text
//!  file   = ":W&B" | 0xbee1 u16 LE | version u8 = 0 | pieces, in blocks of 32 KiB (the head counts as part of the first)
//!  piece  = CRC-32 of kind and data u32 LE | bytes u16 LE | kind u8 | data
//!  record = one piece of kind 1, or pieces of kinds 2 (first), 3 (middle) ... 4 (last)
//! ```
//!
//! No piece crosses the end of a block; fewer than 7 bytes before it are not used. The form is that of LevelDB's logs,
//! with a plain CRC-32.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

const BLOCK_BYTES: u64 = 32 << 10;
const HEAD_BYTES: u64 = 7;
/// Longest record.
const RECORD_BYTES_MAX: usize = 256 << 20;

/// Why a log ends where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// After a whole record.
    Whole,
    /// Within one: it is being written, or was cut off.
    Cut,
    /// A checksum or kind is wrong: what follows is not trusted.
    Damaged,
    /// It is no log of W&B, or of a later version.
    Foreign,
}

/// Reads records one after another.
pub(super) struct Records<R = BufReader<File>> {
    file: R,
    path: PathBuf,
    record: Vec<u8>,
    /// Bytes read so far.
    pub(super) offset: u64,
    /// Set once there are no more.
    pub(super) end: Option<End>,
}

impl Records {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::io(format!("cannot read {}", path.display()), error))?;
        Self::new(BufReader::with_capacity(1 << 20, file), path)
    }
}

impl<R: Read> Records<R> {
    pub(super) fn new(file: R, path: &Path) -> Result<Self> {
        let mut records = Self { file, path: path.to_owned(), record: Vec::new(), offset: 0, end: None };
        let mut head = [0; HEAD_BYTES as usize];
        if !records.fill(&mut head)? || head != *b":W&B\xe1\xbe\x00" {
            records.end = Some(End::Foreign);
        }
        Ok(records)
    }

    /// Fills a buffer; `false` if the file has fewer bytes.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<bool> {
        let mut read = 0;
        while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match self.file.read(rest) {
                Ok(0) => break,
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(format!("cannot read {}", self.path.display()), error)),
            }
        }
        self.offset += read as u64;
        if read < buffer.len() && read > 0 {
            self.end = Some(End::Cut);
        }
        Ok(read == buffer.len())
    }

    /// The next record.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>> {
        self.record.clear();
        let mut in_record = false;
        while self.end.is_none() {
            let left = BLOCK_BYTES - self.offset % BLOCK_BYTES;
            if left < HEAD_BYTES {
                let mut padding = [0; HEAD_BYTES as usize];
                let padding = padding.get_mut(..left as usize).unwrap_or_default();
                if !self.fill(padding)? {
                    self.end = Some(if in_record { End::Cut } else { End::Whole });
                }
                continue;
            }
            let mut head = [0; HEAD_BYTES as usize];
            if !self.fill(&mut head)? {
                let whole = !in_record && self.end.is_none();
                self.end = Some(if whole { End::Whole } else { End::Cut });
                break;
            }
            let [crc @ .., length0, length1, kind] = head;
            let bytes = usize::from(u16::from_le_bytes([length0, length1]));
            let fits = bytes as u64 <= left - HEAD_BYTES && self.record.len() + bytes <= RECORD_BYTES_MAX;
            let follows = matches!((kind, in_record), (1 | 2, false) | (3 | 4, true));
            if !fits || !follows {
                self.end = Some(End::Damaged);
                break;
            }
            let from = self.record.len();
            let mut record = std::mem::take(&mut self.record);
            record.resize(from + bytes, 0);
            let is_whole = self.fill(record.get_mut(from..).unwrap_or_default())?;
            self.record = record;
            if !is_whole {
                self.end = Some(End::Cut);
                break;
            }
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(&[kind]);
            hasher.update(self.record.get(from..).unwrap_or_default());
            if hasher.finalize().to_le_bytes() != crc {
                self.end = Some(End::Damaged);
                break;
            }
            in_record = true;
            if kind == 1 || kind == 4 {
                return Ok(Some(&self.record));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of records, written as W&B does.
    fn log(records: &[Vec<u8>]) -> Vec<u8> {
        let mut out = b":W&B\xe1\xbe\x00".to_vec();
        for record in records {
            let (mut rest, mut first) = (record.as_slice(), true);
            loop {
                let left = BLOCK_BYTES as usize - out.len() % BLOCK_BYTES as usize;
                if left < 7 {
                    out.resize(out.len() + left, 0);
                    continue;
                }
                let (piece, after) = rest.split_at(rest.len().min(left - 7));
                let kind = match (first, after.is_empty()) {
                    (true, true) => 1,
                    (true, false) => 2,
                    (false, false) => 3,
                    (false, true) => 4,
                };
                let mut hasher = crc32fast::Hasher::new();
                hasher.update(&[kind]);
                hasher.update(piece);
                out.extend(hasher.finalize().to_le_bytes());
                out.extend((piece.len() as u16).to_le_bytes());
                out.push(kind);
                out.extend(piece);
                (rest, first) = (after, false);
                if rest.is_empty() {
                    break;
                }
            }
        }
        out
    }

    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, Option<End>) {
        let mut records = Records::new(bytes, Path::new("run.wandb")).unwrap();
        let mut all = Vec::new();
        while let Some(record) = records.next().unwrap() {
            all.push(record.to_vec());
        }
        (all, records.end)
    }

    #[test]
    fn records_of_any_length_are_read() {
        // One that ends so near to the end of a block that the rest of it is not used.
        let lengths = [0, 5, 32_700, 100_000, 32_768 - 7, 3];
        let records: Vec<Vec<u8>> = lengths.iter().map(|bytes| vec![*bytes as u8; *bytes]).collect();
        assert_eq!(read(&log(&records)), (records, Some(End::Whole)));
    }

    #[test]
    fn cut_and_damaged_logs_end_after_the_last_whole_record() {
        let records = vec![vec![1; 10], vec![2; 50_000]];
        let whole = log(&records);
        let first = 7 + 7 + 10;
        for cut in [whole.len() - 1, first + 3, first + 7, first + 40_000] {
            assert_eq!(read(&whole[..cut]), (vec![records[0].clone()], Some(End::Cut)), "{cut}");
        }
        assert_eq!(read(&whole[..first]), (vec![records[0].clone()], Some(End::Whole)));
        for at in [first, first + 5, first + 6, first + 20, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 8;
            assert_eq!(read(&damaged), (vec![records[0].clone()], Some(End::Damaged)), "{at}");
        }
        assert_eq!(read(b"nothing").1, Some(End::Foreign));
        assert_eq!(read(b"").1, Some(End::Foreign));
    }
}
