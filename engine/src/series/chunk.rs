//! A chunk: up to 65,536 points of one series by columns, in latest order (step, time, value), ties by position.
//!
//! ```text
//! chunk  = crc u32 | count varint | descriptor[5] | bodies of the columns that lie here, in order
//!          columns: steps, times, values, positions, contexts
//! descriptor = codec u8 | len varint              the body lies in the chunk (ABSENT has no len: it has no body)
//!            | codec u8 + 128 | offset varint | len varint     the body is in a column block of the same file
//! block  = crc u32 | body                         a column that several series share: keys logged together
//! crc    = crc32(file id u64, offset of the structure in the file u64, bytes behind the crc)
//! ```
//! The crc covers file and place, so a structure that was read from the wrong place is never taken. Codecs: see
//! [`super::codec`]. Worst case: 8.1 B a point and column; one point takes no chunk, its entry says all.

use rustc_hash::FxHashMap;
use std::collections::VecDeque;

use super::codec::{self, ABSENT, IntKind, Scratch};
use super::entry::CHUNK_POINTS_MAX;
use super::value::{ValueHint, encode_values};
use crate::checksum::Crc32;
use crate::error::Result;
use crate::point::Columns;
use crate::varint::{Bytes, put_u64};

/// A set of columns to read. Other columns of the output are left unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnSet(u8);

impl ColumnSet {
    /// Steps.
    pub const STEPS: Self = Self(1);
    /// Times.
    pub const TIMES: Self = Self(2);
    /// Values.
    pub const VALUES: Self = Self(4);
    /// Positions.
    pub const LSNS: Self = Self(8);
    /// Contexts.
    pub const CONTEXTS: Self = Self(16);
    /// Steps, times and values: a point.
    pub const POINTS: Self = Self(7);
    /// All of them.
    pub const ALL: Self = Self(31);

    /// The columns of either set.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether this set has all columns of the other.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

const EXTERNAL: u8 = 128;
/// A column of fewer bytes is not worth a block of its own: reference and crc take up to 14 bytes.
const SHARED_BYTES_MIN: usize = 64;
/// Encoded bytes of columns that a writer remembers: at 1 B a point enough for 8 M points per key.
const SHARED_BYTES_MAX: usize = 8 << 20;

/// The crc of a structure at a place of a file.
pub(crate) fn placed_crc(file_id: u64, offset: u64, bytes: &[u8]) -> u32 {
    Crc32::of_parts(&[&file_id.to_le_bytes(), &offset.to_le_bytes(), bytes]).0
}

/// Splits a structure into its crc and its bytes, if they agree.
pub(crate) fn checked(file_id: u64, offset: u64, structure: &[u8]) -> Result<&[u8], (u32, u32)> {
    let Some((crc, bytes)) = structure.split_first_chunk::<4>() else { return Err((0, 0)) };
    let (expected, found) = (u32::from_le_bytes(*crc), placed_crc(file_id, offset, bytes));
    if expected == found { Ok(bytes) } else { Err((expected, found)) }
}

// ---- columns that series share ------------------------------------------------------------------------------------

/// A column block, by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockRef {
    pub(crate) offset: u64,
    pub(crate) len: u32,
}

#[derive(Debug)]
struct Shared {
    hash: u64,
    at: BlockRef,
    codec: u8,
    body: Vec<u8>,
}

/// Columns already in this file. A hash finds a candidate; only decoding it decides.
#[derive(Debug, Default)]
pub(crate) struct SharedColumns {
    by_hash: FxHashMap<u64, u64>,
    /// The oldest first; `first` is the number of the oldest.
    columns: VecDeque<Shared>,
    first: u64,
    bytes: usize,
}

/// A hash of every eighth number and the length. It only finds candidates, so it may be weak and must be fast.
fn hash_of(numbers: &[i64]) -> u64 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, number: u64| (hash ^ number).wrapping_mul(K).rotate_left(29);
    numbers.iter().step_by(8).chain(numbers.last()).fold(numbers.len() as u64, |hash, number| mix(hash, *number as u64))
}

impl SharedColumns {
    fn find(&self, numbers: &[i64], hash: u64, scratch: &mut Vec<i64>) -> Option<(u8, BlockRef)> {
        let number = self.by_hash.get(&hash)?.checked_sub(self.first)?;
        let shared = self.columns.get(usize::try_from(number).ok()?)?;
        scratch.clear();
        codec::decode_ints(shared.codec, &shared.body, numbers.len(), scratch)?;
        (scratch.as_slice() == numbers).then_some((shared.codec, shared.at))
    }

    fn keep(&mut self, shared: Shared) {
        self.bytes += shared.body.len();
        self.by_hash.insert(shared.hash, self.first + self.columns.len() as u64);
        self.columns.push_back(shared);
        while self.bytes > SHARED_BYTES_MAX
            && let Some(oldest) = self.columns.pop_front()
        {
            self.bytes -= oldest.body.len();
            if self.by_hash.get(&oldest.hash) == Some(&self.first) {
                self.by_hash.remove(&oldest.hash);
            }
            self.first += 1;
        }
    }
}

// ---- encode -------------------------------------------------------------------------------------------------------

/// Slices of one chunk's columns, all of the same length (contexts may be empty).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slices<'a> {
    pub(crate) steps: &'a [i64],
    pub(crate) times: &'a [i64],
    pub(crate) values: &'a [f64],
    pub(crate) lsns: &'a [u64],
    pub(crate) contexts: &'a [u32],
}

/// State that encoding keeps from chunk to chunk.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    shared: SharedColumns,
    scratch: Vec<i64>,
    ints: Vec<i64>,
    floats: Vec<f32>,
    bodies: Vec<u8>,
}

impl Encoder {
    /// Appends a chunk to `out`, which holds the file's bytes from `out_offset` on, preceded by column blocks if
    /// needed. Returns offset and length of the chunk in the file.
    pub(crate) fn encode(
        &mut self,
        file_id: u64,
        points: Slices<'_>,
        hint: &mut ValueHint,
        out: &mut Vec<u8>,
        out_offset: u64,
    ) -> Result<(u64, u32)> {
        let mut head = Vec::with_capacity(48);
        put_u64(&mut head, points.steps.len() as u64);
        self.bodies.clear();
        let mut bodies = std::mem::take(&mut self.bodies);

        let start = bodies.len();
        let codec = codec::encode_ints(points.steps, IntKind::Regular, &mut bodies)?;
        describe(&mut head, codec, bodies.len() - start);

        self.encode_shared(file_id, points.times, IntKind::Times, &mut head, &mut bodies, out, out_offset)?;

        let start = bodies.len();
        let codec = encode_values(points.values, hint, &mut self.floats, &mut bodies)?;
        describe(&mut head, codec, bodies.len() - start);

        let mut ints = std::mem::take(&mut self.ints);
        ints.clear();
        ints.extend(points.lsns.iter().map(|lsn| *lsn as i64));
        self.encode_shared(file_id, &ints, IntKind::Regular, &mut head, &mut bodies, out, out_offset)?;
        ints.clear();
        ints.extend(points.contexts.iter().map(|context| i64::from(*context)));
        self.encode_shared(file_id, &ints, IntKind::Regular, &mut head, &mut bodies, out, out_offset)?;
        self.ints = ints;

        let offset = out_offset + out.len() as u64;
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&head);
        out.extend_from_slice(&bodies);
        self.bodies = bodies;
        seal_crc(file_id, out_offset, out, at);
        Ok((offset, (out.len() - at) as u32))
    }

    #[expect(clippy::too_many_arguments, reason = "the state of one encoding, used here only")]
    fn encode_shared(
        &mut self,
        file_id: u64,
        numbers: &[i64],
        kind: IntKind,
        head: &mut Vec<u8>,
        bodies: &mut Vec<u8>,
        out: &mut Vec<u8>,
        out_offset: u64,
    ) -> Result<()> {
        // A short column cannot become a block: save the hashing.
        let hash = (numbers.len() >= SHARED_BYTES_MIN).then(|| hash_of(numbers));
        if let Some(hash) = hash
            && let Some((codec, at)) = self.shared.find(numbers, hash, &mut self.scratch)
        {
            refer(head, codec, at);
            return Ok(());
        }
        let start = bodies.len();
        let codec = codec::encode_ints(numbers, kind, bodies)?;
        let len = bodies.len() - start;
        let Some(hash) = hash.filter(|_| len >= SHARED_BYTES_MIN) else {
            describe(head, codec, len);
            return Ok(());
        };
        let body = bodies.split_off(start);
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&body);
        seal_crc(file_id, out_offset, out, at);
        let at = BlockRef { offset: out_offset + at as u64, len: (body.len() + 4) as u32 };
        refer(head, codec, at);
        self.shared.keep(Shared { hash, at, codec, body });
        Ok(())
    }
}

pub(super) fn describe(head: &mut Vec<u8>, codec: u8, len: usize) {
    head.push(codec);
    if codec != ABSENT {
        put_u64(head, len as u64);
    }
}

fn refer(head: &mut Vec<u8>, codec: u8, at: BlockRef) {
    head.push(codec | EXTERNAL);
    put_u64(head, at.offset);
    put_u64(head, u64::from(at.len));
}

/// Writes the crc of the structure that begins at `at` of `out` and ends with it.
pub(crate) fn seal_crc(file_id: u64, out_offset: u64, out: &mut [u8], at: usize) {
    if let Some((crc, bytes)) = out.get_mut(at..).and_then(|s| s.split_first_chunk_mut::<4>()) {
        *crc = placed_crc(file_id, out_offset + at as u64, bytes).to_le_bytes();
    }
}

// ---- decode -------------------------------------------------------------------------------------------------------

/// The place of a column's body.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Body<'a> {
    Here(&'a [u8]),
    Block(BlockRef),
}

/// A parsed chunk whose crc was checked.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) count: usize,
    /// Codec and body of steps, times, values, positions, contexts.
    pub(crate) columns: [(u8, Body<'a>); 5],
}

impl<'a> Parts<'a> {
    /// Parses a chunk without its crc; `None` if the bytes cannot be one.
    pub(crate) fn of(chunk: &'a [u8]) -> Option<Self> {
        let mut bytes = Bytes::new(chunk);
        let count = bytes.varint().filter(|count| (1..=CHUNK_POINTS_MAX).contains(count))?;
        let mut columns = [(ABSENT, Body::Here(&[][..])); 5];
        let mut lens = [0usize; 5];
        for ((codec, body), len) in columns.iter_mut().zip(&mut lens) {
            let tag = bytes.u8()?;
            *codec = tag & !EXTERNAL;
            if tag & EXTERNAL != 0 {
                let offset = bytes.varint()?;
                let len = u32::try_from(bytes.varint()?).ok()?;
                *body = Body::Block(BlockRef { offset, len });
            } else if tag != ABSENT {
                *len = usize::try_from(bytes.varint()?).ok()?;
            }
        }
        for ((_, body), len) in columns.iter_mut().zip(lens) {
            if let Body::Here(body) = body {
                *body = bytes.take(len)?;
            }
        }
        bytes.is_empty().then_some(Self { count: usize::try_from(count).ok()?, columns })
    }

    /// Whether any point has a context.
    pub(crate) fn has_contexts(&self) -> bool {
        let [.., (codec, _)] = self.columns;
        codec != ABSENT
    }

    /// Appends the wanted columns to `out`. `block` reads a column block's body, crc checked, into its buffer.
    pub(crate) fn read<E>(
        &self,
        want: ColumnSet,
        scratch: &mut Scratch,
        block_buffer: &mut Vec<u8>,
        out: &mut Columns,
        mut block: impl FnMut(BlockRef, &mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Option<()>, E> {
        let [steps, times, values, lsns, contexts] = &self.columns;
        macro_rules! body {
            ($column:expr) => {
                match $column.1 {
                    Body::Here(body) => body,
                    Body::Block(at) => {
                        block(at, block_buffer)?;
                        block_buffer.as_slice()
                    }
                }
            };
        }
        macro_rules! some {
            ($option:expr) => {
                match $option {
                    Some(done) => done,
                    None => return Ok(None),
                }
            };
        }
        if want.has(ColumnSet::STEPS) {
            some!(codec::decode_ints(steps.0, body!(steps), self.count, &mut out.steps));
        }
        if want.has(ColumnSet::TIMES) {
            some!(codec::decode_ints(times.0, body!(times), self.count, &mut out.times));
        }
        if want.has(ColumnSet::VALUES) {
            some!(codec::decode_values(values.0, body!(values), self.count, scratch, &mut out.values));
        }
        if want.has(ColumnSet::LSNS) {
            let mut ints = std::mem::take(&mut scratch.ints);
            ints.clear();
            let decoded = codec::decode_ints(lsns.0, body!(lsns), self.count, &mut ints);
            out.lsns.extend(ints.iter().map(|lsn| *lsn as u64));
            scratch.ints = ints;
            some!(decoded);
        }
        if want.has(ColumnSet::CONTEXTS) && (contexts.0 != ABSENT || !out.contexts.is_empty()) {
            let mut ints = std::mem::take(&mut scratch.ints);
            ints.clear();
            let decoded = codec::decode_ints(contexts.0, body!(contexts), self.count, &mut ints);
            let fits = ints.iter().all(|context| u32::try_from(*context).is_ok());
            out.contexts.extend(ints.iter().map(|context| *context as u32));
            scratch.ints = ints;
            some!(decoded.filter(|()| fits));
        }
        Ok(Some(()))
    }
}
