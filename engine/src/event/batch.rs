//! The payload of a frame: a list of sections, each with a head of 8 bytes.
//!
//! ```text
//! 0      1       2           4        8
//! +------+-------+-----------+--------+------------+
//! | kind | flags | reserved  | len    | body (len) |     little endian, not padded; reserved is 0
//! +------+-------+-----------+--------+------------+
//!
//! kind 1 origin      who wrote the batch: actor text, idempotency key slice, request hash u64
//!                    flag 1, merged from an inbox: writer id [16], first number LEB128, last minus first LEB128,
//!                            earliest time zigzag, latest minus earliest time zigzag
//!                    flag 2, decided by another store (after the fields of flag 1): kind u8, store id [16],
//!                            first position there LEB128, last minus first position LEB128, time zigzag, extra slice
//!      2 dictionary  { kind u8 (0 metric key, 1 context), id u32, slice }*
//!      3 event       one entity event
//!      4 series      many points of one series
//!      5 row         one step of many keys
//!      6 gone        no body: compaction removed the event that was here; later events keep their places
//!      7 clock       append times of batches that compaction removed whole: { lsn LEB128, time zigzag }*, each minus
//!                    the one before
//!
//! slice = length LEB128, bytes     text = a slice of UTF-8     zigzag = zigzag LEB128
//! ```
//!
//! A reader skips and reports a kind of section that it does not know. An event is identified by the frame's Lsn and
//! its place among the frame's event sections.

use crate::id::{ContextId, KeyId, Lsn, StoreId, WriterId};
use crate::time::TimestampMs;
use crate::varint::{Bytes, put_i64, put_slice, put_u64};

/// Bytes of a section's head.
pub const SECTION_HEAD_BYTES: usize = 8;

/// What a section is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum SectionKind {
    /// Actor and idempotency key.
    Origin = 1,
    /// Numbers of metric keys and contexts.
    Dictionary = 2,
    /// One entity event.
    Event = 3,
    /// Points of one series.
    Series = 4,
    /// One step of many keys.
    Row = 5,
    /// The place of a removed event.
    Gone = 6,
    /// Times of removed batches.
    Clock = 7,
}

/// One section; its body is not parsed yet.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    /// The kind as stored; see [`SectionKind`].
    pub kind: u8,
    /// Flags of the kind.
    pub flags: u8,
    /// The body.
    pub body: &'a [u8],
    /// Where the body starts in the payload.
    pub offset: usize,
}

/// The sections of a payload. Ends with one `Err` if the rest is not a section.
#[derive(Debug, Clone)]
pub struct Sections<'a> {
    bytes: Bytes<'a>,
    len: usize,
}

/// The payload is not made of sections: where parsing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadPayload {
    /// Offset in the payload.
    pub offset: usize,
}

/// The sections of a payload, in order.
pub fn sections(payload: &[u8]) -> Sections<'_> {
    Sections { bytes: Bytes::new(payload), len: payload.len() }
}

impl<'a> Iterator for Sections<'a> {
    type Item = Result<Section<'a>, BadPayload>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let start = self.len - self.bytes.rest().len();
        let mut read = || {
            let [kind, flags, 0, 0] = self.bytes.array()? else { return None };
            let len = usize::try_from(self.bytes.u32()?).ok()?;
            let body = self.bytes.take(len)?;
            Some(Section { kind, flags, body, offset: start + SECTION_HEAD_BYTES })
        };
        let section = read();
        if section.is_none() {
            self.bytes = Bytes::new(&[]);
        }
        Some(section.ok_or(BadPayload { offset: start }))
    }
}

/// Appends a section: `body` appends its bytes and returns the flags.
pub fn put_section(out: &mut Vec<u8>, kind: SectionKind, body: impl FnOnce(&mut Vec<u8>) -> u8) {
    let start = out.len();
    out.extend_from_slice(&[kind as u8, 0, 0, 0, 0, 0, 0, 0]);
    let flags = body(out);
    // A frame is at most 64 MiB, so a body's length fits 32 bits; the frame's limit is checked when it is sealed.
    let len = (out.len() - start - SECTION_HEAD_BYTES) as u32;
    out[start + 1] = flags;
    out[start + 4..start + 8].copy_from_slice(&len.to_le_bytes());
}

/// Flag of an origin section: the batch holds frames of another log.
const ORIGIN_MERGED: u8 = 1;
/// Flag of an origin section: another store decided the batch.
const ORIGIN_STORE: u8 = 2;

/// No store's log gets this far; a higher position is forged or damaged.
pub const POSITION_MAX: u64 = 1 << 48;

/// The frames of another writer's log that a batch holds: a range of its numbers without a gap. Dropped frames (points
/// of purged runs) count as held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merged {
    /// Whose log.
    pub writer: WriterId,
    /// Number of the first frame, from 1.
    pub first: u64,
    /// Number of the last one.
    pub last: u64,
    /// Earliest time of a frame, as the writer's clock was read.
    pub time_first: TimestampMs,
    /// Latest time of a frame.
    pub time_last: TimestampMs,
}

impl Merged {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.writer.0);
        put_u64(out, self.first);
        put_u64(out, self.last.wrapping_sub(self.first));
        put_i64(out, self.time_first.0);
        put_i64(out, self.time_last.0.wrapping_sub(self.time_first.0));
    }

    fn read(bytes: &mut Bytes<'_>) -> Option<Self> {
        let writer = WriterId(bytes.array()?);
        let first = bytes.varint()?;
        let last = first.checked_add(bytes.varint()?)?;
        let time_first = bytes.varint_signed()?;
        let time_last = time_first.wrapping_add(bytes.varint_signed()?);
        (first > 0).then_some(Self {
            writer,
            first,
            last,
            time_first: TimestampMs(time_first),
            time_last: TimestampMs(time_last),
        })
    }
}

/// What a [`StoreNote`] says about the other store's batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum NoteKind {
    /// They are here, as this batch.
    Holds = 1,
    /// Everything of that store up to the last position is here; the batch holds nothing itself.
    Seen = 2,
    /// The batch repeats events of that batch, which is here already, because their order in this log matters. It says
    /// nothing about what is here of that store, and is not sent to other stores.
    Again = 3,
}

/// The origin of a batch that another store decided. The note stays with the batch wherever it is copied, so that a
/// store that has seen the batch recognises it. A batch without a note was decided by the store in whose log it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreNote {
    /// The kind of note.
    pub kind: NoteKind,
    /// The store that decided it.
    pub store: StoreId,
    /// Its first position there, from 1.
    pub first: u64,
    /// Its last position. Several batches of equal shape may be one here: each position has an equal part of each
    /// series.
    pub last: u64,
    /// When it was appended there.
    pub time: TimestampMs,
    /// Data of the layer above; the engine only stores it.
    pub extra: Vec<u8>,
}

impl StoreNote {
    /// Whether a real store can have these positions.
    pub fn is_plausible(&self) -> bool {
        self.first > 0 && self.first <= self.last && self.last <= POSITION_MAX
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.push(self.kind as u8);
        out.extend_from_slice(&self.store.0);
        put_u64(out, self.first);
        put_u64(out, self.last.wrapping_sub(self.first));
        put_i64(out, self.time.0);
        put_slice(out, &self.extra);
    }

    fn read(bytes: &mut Bytes<'_>) -> Option<Self> {
        let kind = match bytes.u8()? {
            1 => NoteKind::Holds,
            2 => NoteKind::Seen,
            3 => NoteKind::Again,
            _ => return None,
        };
        let store = StoreId(bytes.array()?);
        let first = bytes.varint()?;
        let last = first.checked_add(bytes.varint()?)?;
        let time = TimestampMs(bytes.varint_signed()?);
        let note = Self { kind, store, first, last, time, extra: bytes.slice()?.to_vec() };
        note.is_plausible().then_some(note)
    }
}

/// The actor of batches that bring in another tracker's data. Two stores may have imported the same, so compaction keeps
/// which points came like this, and a sync looks them up.
pub const IMPORT_ACTOR: &str = "import";

/// Who appended a batch, and with which idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// The actor; empty if unknown.
    pub actor: String,
    /// Idempotency key; empty for none.
    pub key: Vec<u8>,
    /// Hash of the request as it was given.
    pub request_hash: u64,
    /// The frames of another log that the batch holds.
    pub merged: Option<Merged>,
    /// The store that decided it, unless it is the one whose log this is.
    pub store: Option<StoreNote>,
}

impl Origin {
    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.actor.is_empty() && self.key.is_empty() && self.merged.is_none() && self.store.is_none()
    }

    /// Appends the section, if there is anything to store.
    pub fn put(&self, out: &mut Vec<u8>) {
        if !self.is_empty() {
            put_section(out, SectionKind::Origin, |out| {
                put_slice(out, self.actor.as_bytes());
                put_slice(out, &self.key);
                out.extend_from_slice(&self.request_hash.to_le_bytes());
                let mut flags = 0;
                if let Some(merged) = &self.merged {
                    merged.put(out);
                    flags |= ORIGIN_MERGED;
                }
                if let Some(note) = &self.store {
                    note.put(out);
                    flags |= ORIGIN_STORE;
                }
                flags
            });
        }
    }

    /// Reads a body. Fields of unknown flags are ignored.
    pub fn read(flags: u8, body: &[u8]) -> Option<Self> {
        let mut bytes = Bytes::new(body);
        let actor = bytes.text()?.to_owned();
        let key = bytes.slice()?.to_vec();
        let request_hash = bytes.u64()?;
        let merged = if flags & ORIGIN_MERGED != 0 { Some(Merged::read(&mut bytes)?) } else { None };
        let store = if flags & ORIGIN_STORE != 0 { Some(StoreNote::read(&mut bytes)?) } else { None };
        Some(Self { actor, key, request_hash, merged, store })
    }
}

/// Appends the body of a clock section: positions ascending, each with its time.
pub fn put_clock(out: &mut Vec<u8>, times: &[(Lsn, TimestampMs)]) {
    let mut before = (0u64, 0i64);
    for (lsn, time) in times {
        put_u64(out, lsn.0.wrapping_sub(before.0));
        put_i64(out, time.0.wrapping_sub(before.1));
        before = (lsn.0, time.0);
    }
}

/// Reads the body of a clock section. `None`: malformed.
pub fn read_clock(body: &[u8]) -> Option<Vec<(Lsn, TimestampMs)>> {
    let mut bytes = Bytes::new(body);
    let mut out = Vec::with_capacity(body.len() / 4);
    let mut at = (0u64, 0i64);
    while !bytes.is_empty() {
        at = (at.0.checked_add(bytes.varint()?)?, at.1.wrapping_add(bytes.varint_signed()?));
        out.push((Lsn(at.0), TimestampMs(at.1)));
    }
    Some(out)
}

/// One definition of the store's dictionary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Definition<'a> {
    /// A metric key.
    Key(KeyId, &'a str),
    /// A context, as [`MetricContext::encode`] has it.
    Context(ContextId, &'a [u8]),
}

/// Appends one definition to a dictionary section's body.
pub fn put_definition(out: &mut Vec<u8>, definition: &Definition<'_>) {
    let (kind, id, bytes) = match definition {
        Definition::Key(id, name) => (0, id.0, name.as_bytes()),
        Definition::Context(id, bytes) => (1, id.0, *bytes),
    };
    out.push(kind);
    out.extend_from_slice(&id.to_le_bytes());
    put_slice(out, bytes);
}

/// The definitions in a dictionary section's body. `None`: malformed.
pub fn definitions(body: &[u8]) -> Option<Vec<Definition<'_>>> {
    let mut bytes = Bytes::new(body);
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let kind = bytes.u8()?;
        let id = bytes.u32()?;
        out.push(match kind {
            0 => Definition::Key(KeyId(id), bytes.text()?),
            1 => Definition::Context(ContextId(id), bytes.slice()?),
            _ => return None,
        });
    }
    Some(out)
}

/// Model and data set of a metric point, as MLflow 3 logs them.
///
/// A point that is a metric of several models (in MLflow's tables one row of the run, and one row of each model) is one
/// point: the models after the first one stand in `also`.
///
/// ```
/// use runlode_engine::MetricContext;
///
/// let of = |model: &str| MetricContext { model_id: Some(model.into()), ..MetricContext::default() };
/// let both = MetricContext::all([of("m-1"), of("m-2")]);
/// assert_eq!(both.parts().filter_map(|part| part.model_id.as_deref()).collect::<Vec<_>>(), ["m-1", "m-2"]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct MetricContext {
    /// Logged model that the point is also a metric of.
    pub model_id: Option<String>,
    /// Name of the data set that the point was measured on.
    pub dataset_name: Option<String>,
    /// Digest of that data set.
    pub dataset_digest: Option<String>,
    /// Further models and data sets of the same point. Their own `also` is empty.
    pub also: Vec<MetricContext>,
}

impl MetricContext {
    /// Whether it is empty: context 0.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Combines several contexts into one; no parts give the empty one.
    pub fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut parts = parts.into_iter();
        let first = parts.next().unwrap_or_default();
        Self { also: parts.collect(), ..first }
    }

    /// The context itself, and those in `also`.
    pub fn parts(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.also)
    }

    /// The bytes in the dictionary: for each field a 0, or a 1 and the text; then the same for each context in `also`,
    /// which older readers skip.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for field in self.parts().flat_map(|part| [&part.model_id, &part.dataset_name, &part.dataset_digest]) {
            out.push(u8::from(field.is_some()));
            if let Some(text) = field {
                put_slice(&mut out, text.as_bytes());
            }
        }
        out
    }

    /// The inverse of [`MetricContext::encode`].
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut bytes = Bytes::new(bytes);
        let mut context = Self::decode_part(&mut bytes)?;
        while !bytes.is_empty() {
            context.also.push(Self::decode_part(&mut bytes)?);
        }
        Some(context)
    }

    fn decode_part(bytes: &mut Bytes<'_>) -> Option<Self> {
        let mut field = || match bytes.u8()? {
            0 => Some(None),
            1 => bytes.text().map(|text| Some(text.to_owned())),
            _ => None,
        };
        Some(Self { model_id: field()?, dataset_name: field()?, dataset_digest: field()?, also: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn clocks_come_back(mut times: Vec<(u64, i64)>) {
            times.sort_unstable();
            let times: Vec<_> = times.into_iter().map(|(lsn, time)| (Lsn(lsn), TimestampMs(time))).collect();
            let mut body = Vec::new();
            put_clock(&mut body, &times);
            prop_assert_eq!(read_clock(&body), Some(times));
        }

        #[test]
        fn arbitrary_payloads_never_panic(payload: Vec<u8>) {
            for section in sections(&payload).flatten() {
                let _ = (Origin::read(section.flags, section.body), definitions(section.body), MetricContext::decode(section.body));
                let _ = read_clock(section.body);
            }
        }

        #[test]
        fn origins_and_definitions_come_back(
            actor: String, key: Vec<u8>, request_hash: u64, id: u32, name: String,
            of_log: Option<([u8; 16], u32, u32, i64, i64)>,
            of_store: Option<([u8; 16], u32, u32, i64, Vec<u8>)>,
        ) {
            let merged = of_log.map(|(writer, first, more, time_first, time_last)| Merged {
                writer: WriterId(writer),
                first: u64::from(first) + 1,
                last: u64::from(first) + 1 + u64::from(more),
                time_first: TimestampMs(time_first),
                time_last: TimestampMs(time_last),
            });
            let store = of_store.map(|(store, first, more, time, extra)| StoreNote {
                kind: [NoteKind::Holds, NoteKind::Seen, NoteKind::Again][extra.len() % 3],
                store: StoreId(store),
                first: u64::from(first) + 1,
                last: u64::from(first) + 1 + u64::from(more),
                time: TimestampMs(time),
                extra,
            });
            let (is_noted, flags) = (store.is_some(), u8::from(merged.is_some()) | u8::from(store.is_some()) << 1);
            let origin = Origin { actor: format!("{actor}."), key, request_hash, merged, store };
            let context = MetricContext { model_id: Some(name.clone()), dataset_digest: Some(actor), ..MetricContext::default() };
            let context = MetricContext::all(std::iter::repeat_n(context, 1 + name.len() % 3));
            let encoded = context.encode();
            let all = vec![Definition::Key(KeyId(id), &name), Definition::Context(ContextId(id), &encoded)];
            let mut payload = Vec::new();
            origin.put(&mut payload);
            put_section(&mut payload, SectionKind::Dictionary, |out| {
                all.iter().for_each(|definition| put_definition(out, definition));
                0
            });
            let read: Vec<_> = sections(&payload).collect::<Result<_, _>>().unwrap();
            let cut = Origin::read(flags, &read[0].body[..read[0].body.len() - 1]);
            prop_assert!(!((merged.is_some() || is_noted) && cut.is_some()));
            prop_assert_eq!(Origin::read(read[0].flags, read[0].body), Some(origin));
            prop_assert_eq!(definitions(read[1].body), Some(all));
            prop_assert_eq!(MetricContext::decode(&encoded), Some(context));
        }
    }

    #[test]
    fn a_cut_payload_ends_with_one_error() {
        let mut payload = Vec::new();
        put_section(&mut payload, SectionKind::Event, |out| {
            out.extend_from_slice(b"abc");
            0
        });
        let good = payload.len();
        put_section(&mut payload, SectionKind::Event, |out| {
            out.push(1);
            0
        });
        payload.pop();
        let read: Vec<_> = sections(&payload).collect();
        assert_eq!(read.len(), 2);
        assert_eq!(read[1].as_ref().err(), Some(&BadPayload { offset: good }));
    }
}
