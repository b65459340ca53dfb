//! Reads any file of a store, for people who want to see its bytes, and as a check of the description of the format: this
//! crate was written from `docs/format` and shares no code with the engine. (Pages of pco, which is a format of its own,
//! are read by the crate that pins it.)
//!
//! ```text
//! fact            where facts go, and how many
//! bytes           numbers at the front of a slice; crcs
//! file            FORMAT, MANIFEST, LOCK
//! payload         sections of a frame: origin, dictionary, events, points
//! segment         segments of the log and of inboxes: header, frames, footer
//! codec, chunk    columns of series files
//! series          series files: header, directory, chunks, footer
//! snap            search.snap
//! ```
//!
//! A file becomes a list of facts, each a JSON object with `what` and, where it has one, `at`, its offset in bytes. What
//! is damaged is a fact too, with `damaged`; reading goes on as far as the format allows.

mod bytes;
mod chunk;
mod codec;
mod fact;
mod file;
mod payload;
mod segment;
mod series;
mod snap;

use std::path::Path;

pub use fact::Detail;
use fact::Sink;
use serde_json::{Value, json};

/// Why a file cannot be inspected at all.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be read.
    Io(std::io::Error),
    /// It is none of a store's files; the text says what it looks like.
    Unknown(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Unknown(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads a file and calls `each` with its facts, in the order of the file. Returns whether everything in it is sound.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, or from `each`; [`Error::Unknown`] if it is none of a store's files.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("FORMAT");
/// std::fs::write(&path, b"RUNLODE\n")?; // cut after its magic
/// let mut facts = Vec::new();
/// let sound = runlode_inspect::inspect(&path, Default::default(), &mut |fact| Ok(facts.push(fact)))?;
/// assert!(!sound && facts[0]["damaged"].is_string());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn inspect(path: &Path, detail: Detail, each: Sink<'_>) -> Result<bool, Error> {
    let data = std::fs::read(path)?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut sound = true;
    let mut sink = |fact: Value| {
        sound &= fact.get("damaged").is_none();
        each(fact)
    };
    inspect_bytes(&name, &data, detail, &mut sink)?;
    Ok(sound)
}

/// As [`inspect`], for bytes in memory; `name` is the file's.
fn inspect_bytes(name: &str, data: &[u8], detail: Detail, sink: Sink<'_>) -> Result<(), Error> {
    match data.get(..8) {
        Some(b"RUNLODE\n") => file::format(data, sink)?,
        Some(b"RLMANIF\n") => file::manifest(data, sink)?,
        Some(b"RLSEGM\r\n") => segment::segment(data, detail, sink)?,
        Some(b"RLSERIES") => series::series(data, detail, sink)?,
        _ if data.ends_with(b"RLSNAPS\n") || name == "search.snap" => snap::snap(data, sink)?,
        Some([b'r', b'e', b'd', b'b', ..]) => sink(json!({
            "what": "index", "bytes": data.len(),
            "about": "a redb database that is made from the other files; the other commands read it",
        }))?,
        _ if name == "LOCK" => file::lock(data, sink)?,
        _ if name == "FORMAT" || name == "MANIFEST" || name.ends_with(".seg") || name.ends_with(".ser") => {
            sink(
                json!({ "what": "file", "at": 0, "damaged": format!("it does not begin as a file named {name} does") }),
            )?;
        }
        _ => return Err(Error::Unknown(format!("{name} is none of a store's files, by its name and first bytes"))),
    }
    Ok(())
}
