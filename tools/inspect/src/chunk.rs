//! Chunks and groups of a series file: docs/format/series.md.

use crate::bytes::{Bytes, crc, u32_at};
use crate::codec::{integers, values};

/// Most points of a chunk, by the format.
const POINTS_MAX: u64 = 65_536;

/// The points of a chunk, column by column.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Points {
    pub(crate) steps: Vec<i64>,
    pub(crate) times: Vec<i64>,
    pub(crate) values: Vec<f64>,
    pub(crate) positions: Vec<i64>,
    pub(crate) contexts: Vec<i64>,
}

/// A file, with the id that its crcs cover.
#[derive(Debug, Clone, Copy)]
pub(crate) struct File<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) id: u64,
}

impl<'a> File<'a> {
    /// A structure of the file behind its crc, which is checked.
    pub(crate) fn sealed(&self, at: u64, len: u64) -> Result<&'a [u8], String> {
        let range = || {
            let start = usize::try_from(at).ok()?;
            self.data.get(start..start.checked_add(usize::try_from(len).ok()?)?)
        };
        let whole = range().filter(|whole| whole.len() >= 4).ok_or("it lies outside of the file")?;
        let (stored, rest) = (u32_at(whole, 0), &whole[4..]);
        let counted = crc(&[&self.id.to_le_bytes(), &at.to_le_bytes(), rest]);
        if stored == counted {
            Ok(rest)
        } else {
            Err(format!("its crc is {stored:08x}, that of its bytes {counted:08x}"))
        }
    }

    /// The points of a chunk that has bytes of its own.
    pub(crate) fn chunk(&self, at: u64, len: u64) -> Result<Points, String> {
        let body = self.sealed(at, len)?;
        let wrong = || "its head cannot be read".to_owned();
        let mut bytes = Bytes::new(body);
        let count = bytes.varint().filter(|count| *count <= POINTS_MAX).ok_or_else(wrong)? as usize;
        let mut places = Vec::new();
        for _ in 0..5 {
            let codec = bytes.u8().ok_or_else(wrong)?;
            places.push(match codec {
                0 => (0, None, 0),
                codec if codec & 128 != 0 => {
                    let (offset, len) = bytes.varint().zip(bytes.varint()).ok_or_else(wrong)?;
                    (codec & 127, Some(offset), len)
                }
                codec => (codec, None, bytes.varint().ok_or_else(wrong)?),
            });
        }
        let mut bodies = Vec::new();
        for (codec, offset, len) in places {
            let column = match offset {
                // A block of columns: its own crc, then the body.
                Some(offset) => self.sealed(offset, len).map_err(|why| format!("its column at {offset}: {why}"))?,
                None => usize::try_from(len).ok().and_then(|len| bytes.take(len)).ok_or_else(wrong)?,
            };
            bodies.push((codec, column));
        }
        points(&bodies, count)
    }

    /// The points of a slot of a group.
    pub(crate) fn slot(&self, at: u64, len: u64, slot: u8) -> Result<Points, String> {
        let body = self.sealed(at, len)?;
        let wrong = || "its head cannot be read".to_owned();
        let mut bytes = Bytes::new(body);
        let count = bytes.varint().filter(|count| *count <= POINTS_MAX).ok_or_else(wrong)? as usize;
        let slots = usize::from(bytes.u8().ok_or_else(wrong)?);
        let mut places = Vec::new();
        for _ in 0..4 + slots {
            let codec = bytes.u8().ok_or_else(wrong)?;
            let len = if codec == 0 { 0 } else { bytes.varint().ok_or_else(wrong)? };
            places.push((codec, usize::try_from(len).map_err(|_| wrong())?));
        }
        let mut bodies = Vec::new();
        for (codec, len) in places {
            bodies.push((codec, bytes.take(len).ok_or_else(wrong)?));
        }
        let value = bodies.get(4 + usize::from(slot)).filter(|_| usize::from(slot) < slots);
        let value = *value.ok_or_else(|| format!("it has {slots} slots, and none {slot}"))?;
        points(&[bodies[0], bodies[1], value, bodies[2], bodies[3]], count)
    }
}

fn points(bodies: &[(u8, &[u8])], count: usize) -> Result<Points, String> {
    let column = |at: usize, name: &str| {
        let (codec, body) = bodies[at];
        integers(codec, body, count).ok_or_else(|| format!("its {name}, of codec {codec}, cannot be read"))
    };
    let (codec, body) = bodies[2];
    Ok(Points {
        steps: column(0, "steps")?,
        times: column(1, "times")?,
        values: values(codec, body, count).ok_or_else(|| format!("its values, of codec {codec}, cannot be read"))?,
        positions: column(3, "positions")?,
        contexts: column(4, "contexts")?,
    })
}
