//! crc32 (IEEE, as crc32fast computes it) of everything that is read back from disk.
//!
//! It finds accidents, not attackers. The crc of nothing is 0, so every structure must also fail by its length.

use std::fmt;

/// A crc32; prints as `0x0badf00d`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Crc32(pub u32);

impl Crc32 {
    /// The crc of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(crc32fast::hash(bytes))
    }

    /// The crc of several pieces, one behind the other.
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut hasher = crc32fast::Hasher::new();
        for part in parts {
            hasher.update(part);
        }
        Self(hasher.finalize())
    }
}

impl fmt::Debug for Crc32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:08x}", self.0)
    }
}

impl fmt::Display for Crc32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
