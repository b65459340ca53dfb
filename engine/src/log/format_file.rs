//! FORMAT: which store this is, and which builds may open it. Written once, when the store is created.
//!
//! ```text
//! FORMAT, 64 bytes, little endian
//!   0  magic "RUNLODE\n"
//!   8  version u32 of the build that made the store
//!  12  lowest version u32 of a build that may open it
//!  16  store id [16]
//!  32  created i64, Unix ms
//!  40  zeros [20]
//!  60  crc32 of bytes 0..60
//! ```
//!
//! Order of writes: `FORMAT.tmp` > fsync > rename > fsync of the store's folder.
//!
//! A build opens a store if its own [`FORMAT_VERSION`] is at least the lowest version in FORMAT. Every other kind of
//! file has a version of its own.

use crate::checksum::Crc32;
use crate::error::{Error, Result};
use crate::id::StoreId;
use crate::storage::{OpenMode, Storage, read_exact_at, write_all_at};
use crate::time::TimestampMs;
use crate::varint::Bytes;

/// Path of the FORMAT file.
pub const FORMAT_PATH: &str = "FORMAT";
/// Its name while it is written. If it is left over, a creation was interrupted.
pub const FORMAT_TMP_PATH: &str = "FORMAT.tmp";
/// Version of stores that this build makes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"RUNLODE\n";
const FORMAT_BYTES: usize = 64;

/// The FORMAT file, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormatFile {
    /// The store.
    pub store: StoreId,
    /// Version of the build that made it.
    pub version: u32,
    /// The lowest version that may open it.
    pub reader_version_min: u32,
    /// When it was made.
    pub created: TimestampMs,
}

impl FormatFile {
    /// FORMAT of a new store of this build.
    pub fn new(store: StoreId, created: TimestampMs) -> Self {
        Self { store, version: FORMAT_VERSION, reader_version_min: FORMAT_VERSION, created }
    }

    fn encode(&self) -> [u8; FORMAT_BYTES] {
        let mut out = [0; FORMAT_BYTES];
        out[0..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&self.version.to_le_bytes());
        out[12..16].copy_from_slice(&self.reader_version_min.to_le_bytes());
        out[16..32].copy_from_slice(&self.store.0);
        out[32..40].copy_from_slice(&self.created.0.to_le_bytes());
        let crc = Crc32::of(&out[..60]);
        out[60..64].copy_from_slice(&crc.0.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let covered = bytes.get(..60)?;
        let mut rest = Bytes::new(bytes);
        if rest.array::<8>()? != MAGIC {
            return None;
        }
        let (version, reader_version_min) = (rest.u32()?, rest.u32()?);
        let (store, created) = (StoreId(rest.array()?), TimestampMs(rest.i64()?));
        let _zeros = rest.take(20)?;
        let crc_fits = rest.u32()? == Crc32::of(covered).0 && rest.is_empty();
        crc_fits.then_some(Self { store, version, reader_version_min, created })
    }

    /// Writes it; durable on return. The store's folder must exist.
    ///
    /// # Errors
    /// `Io`, `StorageFull`: there is no file named FORMAT then, or a whole one.
    pub fn write(&self, storage: &dyn Storage) -> Result<()> {
        let io = |op: &'static str, path: &str, error| Error::io(op, storage.display_path(path), error);
        match storage.remove(FORMAT_TMP_PATH) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io("remove", FORMAT_TMP_PATH, error));
            }
            _ => {}
        }
        let file =
            storage.open(FORMAT_TMP_PATH, OpenMode::CreateNew).map_err(|error| io("create", FORMAT_TMP_PATH, error))?;
        write_all_at(file.as_ref(), &self.encode(), 0).map_err(|error| io("write", FORMAT_TMP_PATH, error))?;
        file.sync_all().map_err(|error| io("fsync", FORMAT_TMP_PATH, error))?;
        storage.rename(FORMAT_TMP_PATH, FORMAT_PATH).map_err(|error| io("rename", FORMAT_TMP_PATH, error))?;
        storage.sync_dir("").map_err(|error| io("fsync", "", error))
    }

    /// Reads it. `None`: there is no such file.
    ///
    /// # Errors
    /// `Corrupt` if it is damaged, `UnsupportedFormat` if this build is too old for the store.
    pub fn read(storage: &dyn Storage) -> Result<Option<Self>> {
        let path = storage.display_path(FORMAT_PATH);
        let file = match storage.open(FORMAT_PATH, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open", path, error)),
        };
        let len_bytes = file.len().map_err(|error| Error::io("read the length", &path, error))?;
        let bad = |found: String| Error::corrupt(&path, 0, "FORMAT", "64 bytes with a good crc", found);
        if len_bytes != FORMAT_BYTES as u64 {
            return Err(bad(format!("{len_bytes} bytes")));
        }
        let mut bytes = [0; FORMAT_BYTES];
        read_exact_at(file.as_ref(), &mut bytes, 0).map_err(|error| Error::io("read", &path, error))?;
        let format = Self::decode(&bytes).ok_or_else(|| bad("other bytes".into()))?;
        if format.reader_version_min > FORMAT_VERSION {
            let (found, supported) = (format.reader_version_min, FORMAT_VERSION);
            return Err(Error::UnsupportedFormat { path, found, supported });
        }
        Ok(Some(format))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::Memory;

    #[test]
    fn it_comes_back_and_every_flip_is_found() {
        let storage = Memory::new();
        assert_eq!(FormatFile::read(&storage).unwrap(), None);
        let format = FormatFile::new(StoreId([3; 16]), TimestampMs(1_700_000_000_000));
        format.write(&storage).unwrap();
        assert_eq!(FormatFile::read(&storage).unwrap(), Some(format));
        let bytes = format.encode();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FormatFile::decode(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn a_newer_store_is_refused_by_name() {
        let storage = Memory::new();
        let mut format = FormatFile::new(StoreId([3; 16]), TimestampMs(0));
        format.reader_version_min = FORMAT_VERSION + 1;
        format.write(&storage).unwrap();
        assert!(matches!(FormatFile::read(&storage), Err(Error::UnsupportedFormat { found: 2, supported: 1, .. })));
    }
}
