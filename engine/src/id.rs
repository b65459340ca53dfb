//! Newtypes for ids and positions, so that no two of them can be mixed up.
//!
//! Run and model ids are 128 bits, printed as MLflow prints them (32 hex digits; `m-` before a model's). They are made
//! before the append and stored in the event: replay never makes one up.

use std::fmt;
use std::str::FromStr;

use rkyv::{Archive, Deserialize, Serialize};

use crate::error::{Error, Result};

/// Log sequence number: a batch's place in the store's one total order, from 1. Users see it as "position".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Archive, Serialize, Deserialize)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Before the first batch.
    pub const ZERO: Self = Self(0);
    /// Above every batch.
    pub const MAX: Self = Self(u64::MAX);

    /// The next number.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn parse_hex_16(text: &str) -> Option<[u8; 16]> {
    let digits = text.as_bytes();
    if digits.len() != 32 {
        return None;
    }
    let mut out = [0; 16];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        // Upper case is refused, so that an id has only one printed form.
        if high.is_ascii_uppercase() || low.is_ascii_uppercase() {
            return None;
        }
        *byte = ((*high as char).to_digit(16)? as u8) << 4 | (*low as char).to_digit(16)? as u8;
    }
    Some(out)
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

macro_rules! id_128 {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Archive, Serialize, Deserialize)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                text.strip_prefix($prefix).and_then(parse_hex_16).map(Self).ok_or_else(|| {
                    Error::invalid($what, format!("`{text}` is not {}32 lower-case hex digits",
                        if $prefix.is_empty() { String::new() } else { format!("`{}` and ", $prefix) }))
                })
            }
        }
    };
}

id_128!(
    /// A run; printed as 32 lower-case hex digits.
    ///
    /// ```
    /// # use runlode_engine::RunId;
    /// let id: RunId = "0123456789abcdef0123456789abcdef".parse()?;
    /// assert_eq!(id.to_string(), "0123456789abcdef0123456789abcdef");
    /// # Ok::<(), runlode_engine::Error>(())
    /// ```
    RunId, "", "run id"
);
id_128!(
    /// A logged model; printed as `m-` and 32 lower-case hex digits.
    ModelId, "m-", "model id"
);
id_128!(
    /// A store; made at creation, and part of every frame's checksum.
    StoreId, "", "store id"
);
id_128!(
    /// The log of a process that does not hold the store, which is merged into the store's log. Random, and never used
    /// again.
    WriterId, "", "writer id"
);

/// Whose number it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// Frames of a process's log that are merged.
    Writer(WriterId),
    /// Positions of another store that are seen.
    Store(StoreId),
    /// Positions of a store that this log was copied from.
    Copied(StoreId),
    /// Positions of a store that were seen, and then forgotten.
    Forgotten(StoreId),
}

impl Peer {
    /// The key of its row in the index.
    pub(crate) fn key(&self) -> Vec<u8> {
        let store = |kind: u8, id: &StoreId| [&[kind][..], &id.0].concat();
        match self {
            Self::Writer(id) => id.0.to_vec(),
            Self::Store(id) => store(b's', id),
            Self::Copied(id) => store(b'c', id),
            Self::Forgotten(id) => store(b'f', id),
        }
    }

    /// The inverse of [`Peer::key`]; `None` for a kind of a newer build.
    pub(crate) fn of_key(key: &[u8]) -> Option<Self> {
        if let Ok(id) = key.try_into() {
            return Some(Self::Writer(WriterId(id)));
        }
        let (kind, id) = key.split_first()?;
        let id = StoreId(id.try_into().ok()?);
        match kind {
            b's' => Some(Self::Store(id)),
            b'c' => Some(Self::Copied(id)),
            b'f' => Some(Self::Forgotten(id)),
            _ => None,
        }
    }
}

/// An experiment: a decimal integer, 0 for `Default`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Archive, Serialize, Deserialize)]
pub struct ExperimentId(pub u64);

impl fmt::Display for ExperimentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ExperimentId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        number.map(Self).ok_or_else(|| Error::invalid("experiment id", format!("`{text}` is not a decimal integer")))
    }
}

/// A metric key's number in the store's dictionary. Small, dense, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Archive, Serialize, Deserialize)]
pub struct KeyId(pub u32);

/// The number of a context (model id and data set of a metric point) in the store's dictionary; 0 is "none".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Archive, Serialize, Deserialize)]
pub struct ContextId(pub u32);

/// One metric of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Archive, Serialize, Deserialize)]
pub struct SeriesId {
    /// The run.
    pub run: RunId,
    /// The metric's key.
    pub key: KeyId,
}

/// A registered model's number. Random; the model's name may change, the number never does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Archive, Serialize, Deserialize)]
pub struct RegisteredModelId(pub u64);

/// Ordinal of a log segment, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Archive, Serialize, Deserialize)]
pub struct SegmentId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_and_parse_in_one_form_only() {
        let text = "00ff0123456789abcdef0123456789ab";
        assert_eq!(text.parse::<RunId>().unwrap().to_string(), text);
        assert_eq!(format!("m-{text}").parse::<ModelId>().unwrap().to_string(), format!("m-{text}"));
        for bad in ["", "00", "00FF0123456789abcdef0123456789ab", "zz", "é0ff0123456789abcdef0123456789a"] {
            assert!(bad.parse::<RunId>().is_err(), "{bad}");
        }
        assert!("+1".parse::<ExperimentId>().is_err());
        assert!("".parse::<ExperimentId>().is_err());
    }
}
