//! What a backup consists of: every file, and the chunks of its content.
//!
//! ```text
//! backups/NAME.json  =  one JSON document, a line end, "sha256:", 64 hexadecimal digits, a line end
//! ```
//! The digits are SHA-256 over everything before `sha256:`, so any change of the file is found before it is parsed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::blob::BlobId;
use crate::error::{Error, Result};

/// The version that this build writes, and the newest that it reads.
pub const VERSION: u32 = 1;
/// The folder of manifests.
pub(crate) const FOLDER: &str = "backups/";
/// The file by which a place of backups is known.
pub(crate) const MARKER: &str = "runlode-backups";
/// Its content.
pub(crate) const MARKER_TEXT: &str = "Backups of Runlode stores, version 1.\n";
/// What lies in a store's folder, and is in a backup.
const TOP: [&str; 5] = ["FORMAT", "MANIFEST", "log", "series", "artifacts"];
const TRAILER: &str = "sha256:";
const TRAILER_BYTES: usize = TRAILER.len() + 64 + 1;

/// A backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the format.
    pub version: u32,
    /// Its name.
    pub name: String,
    /// Id of the store.
    pub store: String,
    /// The position at which it is exact.
    pub position: u64,
    /// When it was begun, Unix ms.
    pub made_ms: i64,
    /// Bytes of a chunk; the last one of a file is shorter.
    pub chunk_bytes: u64,
    /// Bytes of content in all.
    pub bytes: u64,
    /// The files.
    pub files: Vec<BackedFile>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackedFile {
    /// Path in the store, `/` between names.
    pub path: String,
    /// Bytes of content.
    pub bytes: u64,
    /// Length; zeros follow the content.
    pub len: u64,
    /// The target of a symbolic link, which has no content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// What the file looked like, if its bytes do not change while it looks like this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<Stamp>,
    /// Its chunks, in order.
    pub chunks: Vec<BlobId>,
}

/// By what a file is taken for unchanged: a later backup does not read it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Last change of its bytes, Unix ns.
    pub mtime_ns: i64,
    /// Last change of its inode, Unix ns.
    pub ctime_ns: i64,
    /// Inode.
    pub inode: u64,
}

/// Where the manifest of a name lies.
pub(crate) fn path(name: &str) -> String {
    format!("{FOLDER}{name}.json")
}

/// Whether a backup may have this name.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    match begins && name.len() <= 128 && name.bytes().all(is_plain) {
        true => Ok(()),
        false => Err(Error::Name { name: name.to_owned() }),
    }
}

/// Whether a path of a file stays below the store's folder.
pub(crate) fn is_inside(path: &str) -> bool {
    !path.is_empty() && path.split('/').all(|name| !matches!(name, "" | "." | "..") && !name.contains('\0'))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Manifest {
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let json = serde_json::to_vec(self);
        let mut out = json.map_err(|error| Error::damaged(path(&self.name), error.to_string()))?;
        out.push(b'\n');
        let sum = hex(&Sha256::digest(&out));
        out.extend_from_slice(format!("{TRAILER}{sum}\n").as_bytes());
        Ok(out)
    }

    pub(crate) fn decode(path: &str, bytes: &[u8]) -> Result<Self> {
        let bad = |why: &str| Error::damaged(path, why);
        let at = bytes.len().checked_sub(TRAILER_BYTES).ok_or_else(|| bad("it is cut short"))?;
        let (json, trailer) = bytes.split_at(at);
        if trailer != format!("{TRAILER}{}\n", hex(&Sha256::digest(json))).as_bytes() {
            return Err(bad("its bytes do not have the SHA-256 at its end"));
        }
        // The version first: a newer one may have other fields.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let version = serde_json::from_slice::<Versioned>(json).map_err(|error| bad(&error.to_string()))?.version;
        if version > VERSION {
            return Err(Error::Newer { path: path.to_owned(), found: version, reads: VERSION });
        }
        let manifest: Self = serde_json::from_slice(json).map_err(|error| bad(&error.to_string()))?;
        manifest.check().map_err(|why| bad(&why))?;
        Ok(manifest)
    }

    /// Whether this crate could have written it.
    fn check(&self) -> Result<(), String> {
        if self.chunk_bytes == 0 {
            return Err("chunks of no bytes".into());
        }
        let mut paths = BTreeSet::new();
        for file in &self.files {
            if !is_inside(&file.path) {
                return Err(format!("the path `{}` leads out of the store", file.path));
            }
            let top = file.path.split('/').next().unwrap_or_default();
            if !TOP.contains(&top) || file.link.is_some() && !file.path.starts_with("artifacts/") {
                return Err(format!("`{}` is no part of a backup", file.path));
            }
            if !paths.insert(file.path.as_str()) {
                return Err(format!("`{}` is in it twice", file.path));
            }
            if file.len < file.bytes || file.bytes.div_ceil(self.chunk_bytes) != file.chunks.len() as u64 {
                return Err(format!("`{}` has {} chunks for {} bytes", file.path, file.chunks.len(), file.bytes));
            }
        }
        // Else a restore would write through a link that it has just made.
        for file in &self.files {
            let mut above = file.path.match_indices('/').filter_map(|(at, _)| file.path.get(..at));
            if let Some(above) = above.find(|above| paths.contains(above)) {
                return Err(format!("`{}` lies below `{above}`, which is no folder", file.path));
            }
        }
        Ok(())
    }

    /// Bytes of the chunk at a place of a file.
    pub(crate) fn chunk_len(&self, file: &BackedFile, at: usize) -> u64 {
        (file.bytes - at as u64 * self.chunk_bytes).min(self.chunk_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let file = BackedFile {
            path: "log/00000001.seg".into(),
            bytes: 3,
            len: 4096,
            link: None,
            stamp: Some(Stamp { mtime_ns: 1, ctime_ns: -2, inode: 3 }),
            chunks: vec![BlobId::of(b"abc")],
        };
        Manifest {
            version: VERSION,
            name: "first".into(),
            store: "07".repeat(16),
            position: 12,
            made_ms: 1_700_000_000_000,
            chunk_bytes: 1 << 20,
            bytes: 3,
            files: vec![file],
        }
    }

    /// The bytes of version 1, as the first build wrote them.
    const GOLDEN: &str = r#"{"version":1,"name":"first","store":"07070707070707070707070707070707","position":12,"made_ms":1700000000000,"chunk_bytes":1048576,"bytes":3,"files":[{"path":"log/00000001.seg","bytes":3,"len":4096,"stamp":{"mtime_ns":1,"ctime_ns":-2,"inode":3},"chunks":["ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"]}]}"#;

    #[test]
    fn the_format_is_what_it_was() {
        let encoded = manifest().encode().unwrap();
        let text = String::from_utf8(encoded.clone()).unwrap();
        let (json, trailer) = text.split_once('\n').unwrap();
        assert_eq!(json, GOLDEN);
        assert_eq!(trailer, format!("sha256:{}\n", hex(&Sha256::digest(format!("{GOLDEN}\n")))));
        assert_eq!(Manifest::decode("x", &encoded).unwrap(), manifest());
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_found() {
        let encoded = manifest().encode().unwrap();
        for at in 0..encoded.len() {
            let mut changed = encoded.clone();
            changed[at] ^= 1;
            assert!(Manifest::decode("x", &changed).is_err(), "byte {at}");
            assert!(Manifest::decode("x", &encoded[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_newer_version_and_impossible_content_are_refused() {
        let with = |change: &dyn Fn(&mut Manifest)| {
            let mut manifest = manifest();
            change(&mut manifest);
            Manifest::decode("x", &manifest.encode().unwrap())
        };
        assert!(matches!(with(&|m| m.version = 2), Err(Error::Newer { found: 2, .. })));
        for path in ["../x", "/x", "a//b", "", "a/./b", "a/.."] {
            assert!(with(&|m| m.files[0].path = path.into()).is_err(), "{path}");
        }
        for path in ["index.redb", "LOCK", "RUNLODE-RESTORING", "inbox/a"] {
            assert!(with(&|m| m.files[0].path = path.into()).is_err(), "{path}");
        }
        let link = |path: &str| BackedFile {
            path: path.into(),
            bytes: 0,
            len: 0,
            link: Some("/tmp".into()),
            stamp: None,
            chunks: Vec::new(),
        };
        assert!(with(&|m| m.files.push(link("artifacts/a"))).is_ok());
        assert!(with(&|m| m.files.push(link("log/a"))).is_err(), "a link outside of artifacts");
        assert!(with(&|m| m.files.extend([link("artifacts/a"), link("artifacts/a/b")])).is_err(), "through a link");
        assert!(with(&|m| m.files.extend([link("artifacts/a"), link("artifacts/a")])).is_err(), "twice");
        assert!(with(&|m| m.files[0].len = 2).is_err());
        assert!(with(&|m| m.files[0].chunks.clear()).is_err());
        assert!(with(&|m| m.chunk_bytes = 0).is_err());
        for name in ["a", "2026-11-30T21.tag_1"] {
            check_name(name).unwrap();
        }
        for name in ["", ".", "-a", "a/b", "a b", "..", &"x".repeat(129)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
