//! Chunks of content, named by their SHA-256: equal chunks are one blob.

use std::fmt::{self, Write};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::target::Target;

/// The folder of blobs.
pub(crate) const FOLDER: &str = "blobs/";

/// The name of a blob: SHA-256 of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(pub [u8; 32]);

impl BlobId {
    /// Of these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Where its blob lies: `blobs/ab/abcdef...`, so that no folder gets too large.
    pub(crate) fn path(self) -> String {
        let hex = self.to_string();
        format!("{FOLDER}{}/{hex}", hex.get(..2).unwrap_or_default())
    }

    /// Of the path of a blob; only the one form.
    pub(crate) fn of_path(path: &str) -> Option<Self> {
        let id: Self = path.rsplit('/').next().and_then(Self::parse)?;
        (id.path() == path).then_some(id)
    }

    fn parse(hex: &str) -> Option<Self> {
        let digits = |at: usize| u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok();
        let mut id = [0; 32];
        for (at, byte) in id.iter_mut().enumerate() {
            *byte = digits(at)?;
        }
        // Upper-case digits and signs do not come back.
        (hex.len() == 64 && Self(id).to_string() == hex).then_some(Self(id))
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hex = String::new();
        write!(hex, "{self}")?;
        f.write_str(&hex)
    }
}

impl Serialize for BlobId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BlobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hex = String::deserialize(deserializer)?;
        Self::parse(&hex).ok_or_else(|| serde::de::Error::custom(format!("`{hex}` is no SHA-256")))
    }
}

/// Reads a blob whole, and checks it.
///
/// # Errors
/// `Damaged` if it is missing, or has other bytes.
pub(crate) fn read(target: &dyn Target, id: BlobId) -> Result<Vec<u8>> {
    let path = id.path();
    let Some(bytes) = target.get(&path)? else { return Err(Error::damaged(path, "it is missing")) };
    match BlobId::of(&bytes) == id {
        true => Ok(bytes),
        false => Err(Error::damaged(path, format!("its {} bytes have another SHA-256", bytes.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_named_by_its_bytes() {
        let id = BlobId::of(b"abc");
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((id.to_string(), id.path()), (hex.to_owned(), format!("blobs/ba/{hex}")));
        assert_eq!(BlobId::of_path(&id.path()), Some(id));
        for other in ["", "blobs/ba/", hex, &format!("blobs/bb/{hex}"), &format!("blobs/ba/{}", hex.to_uppercase())] {
            assert_eq!(BlobId::of_path(other), None, "{other}");
        }
    }
}
