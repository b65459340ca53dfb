//! Where backups lie: named values that are put whole and got whole.

mod folder;
#[cfg(feature = "s3")]
mod object;
#[cfg(test)]
pub(crate) mod unreliable;

use std::fmt::Debug;

pub(crate) use folder::Folder;

use crate::error::{Error, Result};

/// A place of named values. Names have `/` between parts.
pub(crate) trait Target: Send + Sync + Debug {
    /// The place, for messages.
    fn place(&self) -> String;
    /// A value whole; `None` if there is none.
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>>;
    /// Puts a value. A reader gets the old one, none, or the new one whole; after [`Target::settle`] the new one, even
    /// after a power cut.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()>;
    /// Makes everything that was put durable.
    fn settle(&self) -> Result<()>;
    /// Names with this prefix, and the lengths of their values. What a killed process left half is not listed.
    fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>>;
}

/// Most bytes of a value: of a chunk, or of a manifest, which has some hundred bytes for each file.
pub(crate) fn value_bytes_max(name: &str) -> u64 {
    if name.starts_with("blobs/") { 64 << 20 } else { 512 << 20 }
}

/// The target of a folder's path, or of `s3://BUCKET/PREFIX`.
pub(crate) fn open(place: &str) -> Result<Box<dyn Target>> {
    let refuse = |why: &str| Err(Error::Target { place: place.to_owned(), why: why.to_owned() });
    match place.split_once("://") {
        #[cfg(feature = "s3")]
        Some(("s3", _)) => Ok(Box::new(object::Objects::open(place)?)),
        #[cfg(not(feature = "s3"))]
        Some(("s3", _)) => refuse("this build has no object stores; use a folder, or a build with the feature `s3`"),
        Some(("file", path)) if path.starts_with('/') => Ok(Box::new(Folder::new(path))),
        Some(_) => refuse("give a folder, or s3://BUCKET/PREFIX"),
        None if place.is_empty() => refuse("give a folder, or s3://BUCKET/PREFIX"),
        None => Ok(Box::new(Folder::new(place))),
    }
}
