//! Artifacts of a server that hands them out itself: places `mlflow-artifacts:/...`.

use std::fs::File;
use std::io::{self, Read, Write};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::client::{Client, Refusal};
use super::next;
use crate::error::{Error, Result};
use crate::http::escaped;

/// Most entries of a folder.
const ENTRIES_MAX: usize = 100_000;
/// Longest name of a file, as Linux has it.
const NAME_BYTES_MAX: usize = 255;
const PIECE_BYTES: usize = 256 << 10;
const PROXY: &str = "mlflow-artifacts/artifacts";

/// The artifacts of a server.
pub(in crate::import) struct Files {
    client: Client,
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::import) struct Entry {
    /// Its name: one part of a path.
    pub(in crate::import) name: String,
    /// Its length; `None` for a folder.
    pub(in crate::import) bytes: Option<u64>,
}

/// A folder's entries, or why the server does not show them.
pub(in crate::import) enum Listing {
    Entries {
        entries: Vec<Entry>,
        /// Names that no file of a folder can have.
        unusable: u64,
    },
    Refused(Error),
}

/// What a download brought.
pub(in crate::import) enum Download {
    /// All of the file; its SHA-256.
    Whole([u8; 32]),
    Refused(Error),
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    files: Vec<Listed>,
    #[serde(default)]
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    path: String,
    #[serde(default)]
    is_dir: bool,
    /// Empty files come without one.
    #[serde(default)]
    file_size: Option<u64>,
}

impl Files {
    /// Of the server with this address.
    pub(in crate::import) fn new(url: &str) -> Result<Self> {
        Ok(Self { client: Client::new(url)? })
    }

    /// The path of a place behind this server's proxy; `None` if it is elsewhere.
    pub(in crate::import) fn path_of(&self, place: &str) -> Option<String> {
        proxied(place, self.client.host())
    }

    /// The entries of a folder, by name. A folder that is not there has none.
    ///
    /// # Errors
    /// The server does not answer.
    pub(in crate::import) fn list(&self, folder: &str) -> Result<Listing> {
        let (mut entries, mut unusable, mut token) = (Vec::new(), 0, String::new());
        loop {
            let mut query = vec![("path", folder)];
            if !token.is_empty() {
                query.push(("page_token", &token));
            }
            let page: Page = match self.client.get_of(PROXY, &query) {
                Ok(page) => page,
                Err(Refusal::Absent) => Page { files: Vec::new(), next_page_token: None },
                Err(Refusal::No(error)) => return Ok(Listing::Refused(error)),
                Err(Refusal::Broken(error)) => return Err(error),
            };
            for listed in page.files {
                // Some servers give paths below the root.
                let name = listed.path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
                if matches!(name, "" | "." | "..") || name.contains('\0') || name.len() > NAME_BYTES_MAX {
                    unusable += 1;
                    continue;
                }
                let bytes = (!listed.is_dir).then(|| listed.file_size.unwrap_or(0));
                entries.push(Entry { name: name.to_owned(), bytes });
            }
            if entries.len() > ENTRIES_MAX {
                let why = format!("{folder} has more than {ENTRIES_MAX} entries");
                return Ok(Listing::Refused(Error::Source(why)));
            }
            match next(&token, page.next_page_token.unwrap_or_default(), PROXY)? {
                Some(next) => token = next,
                None => break,
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries.dedup_by(|a, b| a.name == b.name);
        Ok(Listing::Entries { entries, unusable })
    }

    /// Writes a file of the server, of `bytes` bytes as its folder says, to an empty one.
    ///
    /// # Errors
    /// The server does not answer, or gives another length than it said; `to` cannot be written.
    pub(in crate::import) fn download(&self, path: &str, bytes: u64, to: &mut File) -> Result<Download> {
        let parts: Vec<String> = path.split('/').map(escaped).collect();
        let url = format!("{PROXY}/{}", parts.join("/"));
        let mut unwritten = None;
        let got = self.client.download(&url, bytes, bytes.saturating_add(1), |body| {
            to.set_len(0)?;
            io::Seek::rewind(to)?;
            match copy(body, to, bytes) {
                Ok(got) => Ok(Some(got)),
                Err(Broken::Read(error)) => Err(error),
                // The server is not to blame: not tried again.
                Err(Broken::Write(error)) => {
                    unwritten = Some(error);
                    Ok(None)
                }
            }
        });
        match got {
            Ok(Some((length, digest))) if length == bytes => Ok(Download::Whole(digest)),
            Ok(Some((length, _))) => Err(Error::Source(format!(
                "{path} has {bytes} bytes, as its folder says, and {length} came; run the import again"
            ))),
            Ok(None) => Err(Error::io("cannot write an artifact", unwritten.unwrap_or_else(|| io::Error::other("?")))),
            Err(refusal @ (Refusal::Absent | Refusal::No(_))) => Ok(Download::Refused(refusal.into())),
            Err(Refusal::Broken(error)) => Err(error),
        }
    }
}

enum Broken {
    Read(io::Error),
    Write(io::Error),
}

/// Copies a body, at most one byte more than it should have.
fn copy(body: &mut dyn Read, to: &mut File, bytes: u64) -> Result<(u64, [u8; 32]), Broken> {
    let (mut done, mut digest, mut piece) = (0, Sha256::new(), vec![0; PIECE_BYTES]);
    while done <= bytes {
        let count = body.read(&mut piece).map_err(Broken::Read)?;
        let read = piece.get(..count).unwrap_or_default();
        if read.is_empty() {
            break;
        }
        to.write_all(read).map_err(Broken::Write)?;
        digest.update(read);
        done += count as u64;
    }
    Ok((done, digest.finalize().into()))
}

/// The path of a place behind the proxy of the server at `host`.
fn proxied(place: &str, host: &str) -> Option<String> {
    let rest = place.strip_prefix("mlflow-artifacts:")?;
    let path = match rest.strip_prefix("//") {
        Some(rest) => {
            let (of, path) = rest.split_once('/')?;
            if !of.is_empty() && !of.eq_ignore_ascii_case(host) {
                return None;
            }
            path
        }
        None => rest,
    };
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    (!parts.contains(&"..")).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_places_of_this_server_are_fetched() {
        let host = "tracking:5000";
        assert_eq!(proxied("mlflow-artifacts:/1/r/artifacts", host).as_deref(), Some("1/r/artifacts"));
        assert_eq!(proxied("mlflow-artifacts://tracking:5000/1/./r", host).as_deref(), Some("1/r"));
        assert_eq!(proxied("mlflow-artifacts:///1/r", host).as_deref(), Some("1/r"));
        for elsewhere in ["mlflow-artifacts://other/1/r", "mlflow-artifacts:/1/../../etc", "s3://bucket/1", "/srv/1"] {
            assert_eq!(proxied(elsewhere, host), None, "{elsewhere}");
        }
    }

    #[test]
    fn a_body_that_goes_on_is_cut_off() {
        let mut to = tempfile::tempfile().unwrap();
        let Ok((bytes, _)) = copy(&mut io::repeat(7), &mut to, 10) else { panic!("it can be written") };
        assert!(bytes > 10 && bytes <= PIECE_BYTES as u64);
        let Ok((bytes, digest)) = copy(&mut &b"abc"[..], &mut to, 3) else { panic!("it can be written") };
        assert_eq!((bytes, digest[..4].to_vec()), (3, vec![0xba, 0x78, 0x16, 0xbf]));
    }
}
