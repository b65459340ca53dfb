//! Paging tokens: where the next page begins.
//!
//! - `After` holds the sort values and the id of the last run of a page (keyset paging): runs that are added or removed
//!   meanwhile shift nothing, and a deep page costs as much as the first one. It belongs to one query, by a hash of
//!   experiments, filter, order and view (not of the limit); with another query it is refused.
//! - `Offset` is a plain count that any query accepts, as MLflow's own tokens are.
//!
//! As text: base64 (URL alphabet, unpadded) of
//! ```text
//! +------------+---------+--------------------------------------------------------------+---------+
//! | version u8 | kind u8 | kind 0: offset varint                                        | crc u32 |
//! |            |         | kind 1: query u64, start_time i64, run [16], count varint,   |         |
//! |            |         |   values: 0 number f64 | 1 time i64 | 2 text slice | 3 none  |         |
//! +------------+---------+--------------------------------------------------------------+---------+
//! crc = crc32 of all before it; little endian; a slice is its length as varint, then its bytes
//! ```

use std::fmt;
use std::str::FromStr;

use super::sort::{Place, SortValue};
use crate::checksum::Crc32;
use crate::error::{Error, Result};
use crate::id::RunId;
use crate::varint::{Bytes, put_slice, put_u64};

const VERSION: u8 = 1;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The position where the next page begins. `Display` writes it as text, and `parse` reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct PageToken(pub(crate) Start);

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Start {
    /// After this many runs.
    Offset(u64),
    /// After this place of this query.
    After { query: u64, place: Place },
}

impl PageToken {
    /// A token for the page after the first `offset` runs, for any query.
    pub fn from_offset(offset: u64) -> Self {
        Self(Start::Offset(offset))
    }

    pub(crate) fn after(query: u64, place: Place) -> Self {
        Self(Start::After { query, place })
    }

    /// Encodes the token; the module says how.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        match &self.0 {
            Start::Offset(offset) => {
                out.push(0);
                put_u64(&mut out, *offset);
            }
            Start::After { query, place } => {
                out.push(1);
                out.extend_from_slice(&query.to_le_bytes());
                out.extend_from_slice(&place.start_time_ms.to_le_bytes());
                out.extend_from_slice(&place.run.0);
                put_u64(&mut out, place.values.len() as u64);
                for value in &place.values {
                    match value {
                        SortValue::Number(number) => {
                            out.push(0);
                            out.extend_from_slice(&number.to_le_bytes());
                        }
                        SortValue::Time(time_ms) => {
                            out.push(1);
                            out.extend_from_slice(&time_ms.to_le_bytes());
                        }
                        SortValue::Text(text) => {
                            out.push(2);
                            put_slice(&mut out, text.as_bytes());
                        }
                        SortValue::Missing => out.push(3),
                    }
                }
            }
        }
        let crc = Crc32::of(&out);
        out.extend_from_slice(&crc.0.to_le_bytes());
        out
    }

    /// Decodes bytes of [`PageToken::encode`].
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or_else(|| refused("it is too short"))?;
        if Crc32::of(body).0 != u32::from_le_bytes(*crc) {
            return Err(refused("its checksum is wrong"));
        }
        let mut bytes = Bytes::new(body);
        match bytes.u8() {
            Some(VERSION) => {}
            _ => return Err(refused("it was made by another version")),
        }
        let start = Self::decode_start(&mut bytes).ok_or_else(|| refused("it is not a token of a search"))?;
        if bytes.is_empty() { Ok(Self(start)) } else { Err(refused("it is too long")) }
    }

    fn decode_start(bytes: &mut Bytes<'_>) -> Option<Start> {
        match bytes.u8()? {
            0 => bytes.varint().map(Start::Offset),
            1 => {
                let query = bytes.u64()?;
                let start_time_ms = bytes.i64()?;
                let run = RunId(bytes.array()?);
                let count = bytes.varint()?;
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(match bytes.u8()? {
                        0 => SortValue::Number(bytes.f64()?),
                        1 => SortValue::Time(bytes.i64()?),
                        2 => SortValue::Text(bytes.text()?.to_owned()),
                        3 => SortValue::Missing,
                        _ => return None,
                    });
                }
                Some(Start::After { query, place: Place { values, start_time_ms, run } })
            }
            _ => None,
        }
    }
}

fn refused(why: &str) -> Error {
    Error::invalid("page token", format!("{why}; start again without a token"))
}

/// The error for a token of another query.
pub(crate) fn foreign() -> Error {
    refused("it belongs to a search with other experiments, filter, order or view")
}

impl fmt::Display for PageToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for group in self.encode().chunks(3) {
            let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
            for i in 0..=group.len() {
                let digit = (bits >> (18 - 6 * i)) & 63;
                write!(f, "{}", char::from(ALPHABET[digit as usize]))?;
            }
        }
        Ok(())
    }
}

impl FromStr for PageToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
        for group in text.as_bytes().chunks(4) {
            if group.len() == 1 {
                return Err(refused("it is cut"));
            }
            let mut bits = 0u32;
            for digit in group {
                let value = ALPHABET.iter().position(|letter| letter == digit);
                bits = bits << 6 | value.ok_or_else(|| refused("it is not base64"))? as u32;
            }
            bits <<= 6 * (4 - group.len());
            bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
        }
        Self::decode(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = SortValue> {
        prop_oneof![
            prop_oneof![any::<f64>(), Just(f64::INFINITY)].prop_map(SortValue::Number),
            any::<i64>().prop_map(SortValue::Time),
            ".{0,12}".prop_map(SortValue::Text),
            Just(SortValue::Missing),
        ]
    }

    proptest! {
        #[test]
        fn tokens_come_back(values in prop::collection::vec(value(), 0..4), query: u64, start_time_ms: i64, run: [u8; 16], offset: u64) {
            let place = Place { values, start_time_ms, run: RunId(run) };
            for token in [PageToken::after(query, place), PageToken::from_offset(offset)] {
                let text = token.to_string();
                prop_assert_eq!(text.parse::<PageToken>().unwrap(), token);
                // Any truncation, and any changed letter, is refused.
                prop_assert!(text[..text.len() - 1].parse::<PageToken>().is_err());
                let other = if text.starts_with('B') { 'C' } else { 'B' };
                let changed = format!("{other}{}", &text[1..]);
                prop_assert!(changed.parse::<PageToken>().is_err());
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text: String, bytes: Vec<u8>) {
            let _ = text.parse::<PageToken>();
            let _ = PageToken::decode(&bytes);
        }
    }
}
