//! One entity event as bytes: the body of an event section.
//!
//! ```text
//! 0        2            4
//! +--------+------------+==================================+
//! | tag u16| version u16| rkyv archive, its root at the end |
//! +--------+------------+==================================+
//! ```
//!
//! - Little endian. rkyv 0.8 with `little_endian`, `unaligned`, `pointer_width_32`: an archive may lie at any offset,
//!   and its pointers are relative, so a section can be moved as a whole.
//! - [`decode`] trusts nothing. rkyv's checked access walks every pointer, length, enum and string before a value is
//!   made, and refuses overlapping parts; so memory is bounded by the length of the input, and nothing panics.
//! - Checked access finds malformed bytes, not changed ones. The frame's crc is checked first.
//! - A tag or version that this build does not know is [`Decoded::Unknown`]: it stays in the log, projections skip and
//!   count it, and histories show its number.

use rkyv::rancor;

use super::{Event, upcast};
use crate::error::{Error, Result};
use crate::varint::Bytes;

/// Length of tag and version.
pub const HEADER_BYTES: usize = 4;

/// What an event section holds.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly every value is the large variant, and lives for a moment")]
pub enum Decoded {
    /// An event of a kind and version that this build reads.
    Known(Event),
    /// An event of a newer build. Its bytes stay as they are.
    Unknown {
        /// Tag.
        tag: u16,
        /// Version.
        version: u16,
        /// The bytes after tag and version.
        bytes: Vec<u8>,
    },
}

impl Decoded {
    /// The event, if it is known.
    pub fn known(self) -> Option<Event> {
        match self {
            Self::Known(event) => Some(event),
            Self::Unknown { .. } => None,
        }
    }
}

/// The error for an archive that does not match its tag. The log adds path and offset.
pub(super) fn malformed(tag: u16, version: u16, why: impl std::fmt::Display) -> Error {
    Error::corrupt("log", 0, "event", format!("an archive of tag {tag}, version {version}"), why)
}

/// Reads one archive into its owned value.
macro_rules! read_archive {
    ($type:ty, $archived:ty, $tag:expr, $version:expr, $bytes:expr) => {
        rkyv::access::<$archived, rancor::Error>($bytes)
            .and_then(|archived| rkyv::deserialize::<$type, rancor::Error>(archived))
            .map_err(|error| $crate::event::payload::malformed($tag, $version, error))
    };
}
#[allow(unused_imports, reason = "rows of `upcast::OLD` use it; there are none but in tests")]
pub(super) use read_archive;

macro_rules! make_codec {
    ($($tag:literal => $name:ident),*) => {
        fn encode_archive(event: &Event, out: &mut Vec<u8>) -> std::result::Result<(), rancor::Error> {
            match event {
                $(Event::$name(event) => rkyv::api::high::to_bytes_in::<_, rancor::Error>(event, out).map(|_| ())),*
            }
        }

        fn decode_current(tag: u16, version: u16, archive: &[u8]) -> Option<Result<Event>> {
            match tag {
                $($tag if version == upcast::current_version($tag) => Some(
                    read_archive!(super::$name, <super::$name as rkyv::Archive>::Archived, tag, version, archive)
                        .map(Event::$name)
                ),)*
                _ => None,
            }
        }
    };
}
super::for_each_event!(make_codec);

/// Appends an event's bytes to `out`, in the version that this build writes.
///
/// # Errors
/// [`Error::Invalid`] if it cannot be archived (a list or string beyond rkyv's 2^30); `out` is then as it was.
pub fn encode(event: &Event, out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    let tag = event.tag();
    out.extend_from_slice(&tag.to_le_bytes());
    out.extend_from_slice(&upcast::current_version(tag).to_le_bytes());
    encode_archive(event, out).map_err(|error| {
        out.truncate(start);
        Error::invalid(event.name(), error.to_string())
    })
}

/// Tag and version, without parsing the archive. `None` if the bytes are too short.
pub fn peek(bytes: &[u8]) -> Option<(u16, u16)> {
    let mut bytes = Bytes::new(bytes);
    Some((bytes.u16()?, bytes.u16()?))
}

/// Reads an event back, old versions included (see `event::upcast`).
///
/// # Errors
/// [`Error::Corrupt`] if the bytes are too short or the archive is not well formed.
pub fn decode(bytes: &[u8]) -> Result<Decoded> {
    let mut reader = Bytes::new(bytes);
    let (Some(tag), Some(version)) = (reader.u16(), reader.u16()) else {
        return Err(Error::corrupt("log", 0, "event", "4 bytes of tag and version", bytes.len()));
    };
    let archive = reader.rest();
    match decode_current(tag, version, archive).or_else(|| upcast::read_old(tag, version, archive)) {
        Some(event) => event.map(Decoded::Known),
        None => Ok(Decoded::Unknown { tag, version, bytes: archive.to_vec() }),
    }
}

#[cfg(test)]
pub(crate) mod tests;
