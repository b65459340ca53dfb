//! The payload of a frame: docs/format/events.md.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::bytes::{Bytes, hex};
use crate::fact::Detail;

/// Names that dictionary sections gave to numbers.
#[derive(Debug, Default)]
pub(crate) struct Names {
    keys: BTreeMap<u32, String>,
    contexts: BTreeMap<u32, String>,
}

impl Names {
    /// The name of a metric key; its number if the dictionary is in an earlier file.
    fn key(&self, number: u32) -> Value {
        self.keys.get(&number).map_or_else(|| json!(number), |name| json!(name))
    }
}

/// The kinds of events by their tags.
const EVENTS: [(u16, &str); 48] = [
    (1, "ExperimentCreated"),
    (2, "ExperimentRenamed"),
    (3, "ExperimentTagsSet"),
    (4, "ExperimentTagDeleted"),
    (5, "ExperimentDeleted"),
    (6, "ExperimentRestored"),
    (7, "ExperimentPurged"),
    (10, "RunCreated"),
    (11, "RunUpdated"),
    (12, "RunDeleted"),
    (13, "RunRestored"),
    (14, "RunPurged"),
    (15, "ParamsLogged"),
    (16, "RunTagsSet"),
    (17, "RunTagDeleted"),
    (18, "RunInputsLogged"),
    (19, "RunOutputsLogged"),
    (20, "ArtifactLogged"),
    (21, "RunRewound"),
    (22, "RunLeased"),
    (23, "RunForked"),
    (30, "LoggedModelCreated"),
    (31, "LoggedModelFinalized"),
    (32, "LoggedModelTagsSet"),
    (33, "LoggedModelTagDeleted"),
    (34, "LoggedModelParamsLogged"),
    (35, "LoggedModelDeleted"),
    (36, "LoggedModelMetricsLogged"),
    (37, "LoggedModelPointShared"),
    (40, "RegisteredModelCreated"),
    (41, "RegisteredModelUpdated"),
    (42, "RegisteredModelRenamed"),
    (43, "RegisteredModelTagsSet"),
    (44, "RegisteredModelTagDeleted"),
    (45, "RegisteredModelDeleted"),
    (46, "AliasSet"),
    (47, "AliasDeleted"),
    (50, "ModelVersionCreated"),
    (51, "ModelVersionUpdated"),
    (52, "ModelVersionStageChanged"),
    (53, "ModelVersionTagsSet"),
    (54, "ModelVersionTagDeleted"),
    (55, "ModelVersionDeleted"),
    (60, "ProjectLaunched"),
    (70, "LossAccepted"),
    (71, "StoreCopied"),
    (72, "SourceForgotten"),
    (0, ""),
];

/// Shorter texts of an archive are taken for numbers.
const TEXT_BYTES_MIN: usize = 3;

/// The sections of a payload as facts; the second value says what is wrong, if anything is.
pub(crate) fn sections(payload: &[u8], names: &mut Names, detail: Detail) -> (Vec<Value>, Option<String>) {
    let mut bytes = Bytes::new(payload);
    let mut facts = Vec::new();
    while !bytes.is_empty() {
        let at = payload.len() - bytes.rest().len();
        let head = (|| Some((bytes.u8()?, bytes.u8()?, bytes.u16()?, bytes.u32()?)))();
        let Some((kind, flags, _, len)) = head else {
            return (facts, Some(format!("the section at {at} of the payload has no whole head")));
        };
        let Some(body) = bytes.take(len as usize) else {
            return (facts, Some(format!("the section at {at} of the payload is longer than the payload")));
        };
        let fact = match kind {
            1 => origin(flags, body),
            2 => dictionary(body, names),
            3 => event(body),
            4 => series(flags, body, names, detail),
            5 => row(flags, body, names, detail),
            6 => Some(json!({ "section": "gone" })),
            7 => clock(body),
            kind => Some(json!({ "section": kind, "bytes": body.len() })),
        };
        match fact {
            Some(fact) => facts.push(fact),
            None => return (facts, Some(format!("the section of kind {kind} at {at} of the payload cannot be read"))),
        }
    }
    (facts, None)
}

fn text(bytes: &mut Bytes<'_>) -> Option<String> {
    bytes.slice().map(|text| String::from_utf8_lossy(text).into_owned())
}

fn origin(flags: u8, body: &[u8]) -> Option<Value> {
    let mut bytes = Bytes::new(body);
    let mut fact = Map::new();
    fact.insert("section".to_owned(), "origin".into());
    fact.insert("actor".to_owned(), text(&mut bytes)?.into());
    let key = bytes.slice()?;
    if !key.is_empty() {
        fact.insert("idempotency_key".to_owned(), hex(key).into());
    }
    fact.insert("request_hash".to_owned(), format!("{:016x}", bytes.u64()?).into());
    if flags & 1 != 0 {
        let writer = hex(bytes.take(16)?);
        let first = bytes.varint()?;
        let last = first.checked_add(bytes.varint()?)?;
        let earliest = bytes.svarint()?;
        let latest = earliest.wrapping_add(bytes.svarint()?);
        let merged = json!({
            "writer": writer, "first_number": first, "last_number": last, "earliest_ms": earliest, "latest_ms": latest,
        });
        fact.insert("merged".to_owned(), merged);
    }
    if flags & 2 != 0 {
        let kind = bytes.u8()?;
        let store = hex(bytes.take(16)?);
        let first = bytes.varint()?;
        let last = first.checked_add(bytes.varint()?)?;
        let time = bytes.svarint()?;
        let extra = bytes.slice()?.len();
        let note = json!({
            "kind": kind, "store": store, "first_position": first, "last_position": last, "time_ms": time,
            "extra_bytes": extra,
        });
        fact.insert("decided_by".to_owned(), note);
    }
    Some(fact.into())
}

/// The three texts of each triple: model id, data set, digest.
fn context(body: &[u8]) -> Option<String> {
    let mut bytes = Bytes::new(body);
    let mut texts = Vec::new();
    while !bytes.is_empty() {
        texts.push(match bytes.u8()? {
            0 => "-".to_owned(),
            1 => text(&mut bytes)?,
            _ => return None,
        });
    }
    Some(texts.join(" "))
}

fn dictionary(body: &[u8], names: &mut Names) -> Option<Value> {
    let mut bytes = Bytes::new(body);
    let mut defined = Vec::new();
    while !bytes.is_empty() {
        let (kind, number, name) = (bytes.u8()?, bytes.u32()?, bytes.slice()?);
        // The NUL that a branch's key has is shown as it is.
        let (kind, name) = match kind {
            0 => ("key", String::from_utf8_lossy(name).into_owned()),
            1 => ("context", context(name)?),
            _ => ("unknown", hex(name)),
        };
        match kind {
            "key" => drop(names.keys.insert(number, name.clone())),
            "context" => drop(names.contexts.insert(number, name.clone())),
            _ => {}
        }
        defined.push(json!({ "kind": kind, "number": number, "name": name }));
    }
    Some(json!({ "section": "dictionary", "defines": defined }))
}

/// The archive of an event is rkyv's, of a struct that has no description in itself: its texts are told, not its fields.
fn event(body: &[u8]) -> Option<Value> {
    let mut bytes = Bytes::new(body);
    let (tag, version) = (bytes.u16()?, bytes.u16()?);
    let archive = bytes.rest();
    let named = EVENTS.iter().find(|(known, _)| *known == tag && tag != 0);
    let event = named.map_or_else(|| json!(tag), |(_, name)| json!(name));
    Some(json!({
        "section": "event", "event": event, "version": version, "archive_bytes": archive.len(), "texts": texts(archive),
    }))
}

/// Texts in bytes: what reads as UTF-8 without control characters.
fn texts(archive: &[u8]) -> Vec<String> {
    let lossy = String::from_utf8_lossy(archive);
    let stops = |c: char| c.is_control() || c == '\u{fffd}';
    let found = lossy.split(stops).filter(|text| text.len() >= TEXT_BYTES_MIN);
    let is_word = |text: &&str| text.chars().filter(|c| c.is_alphanumeric()).count() >= TEXT_BYTES_MIN;
    found.filter(is_word).map(str::to_owned).collect()
}

const STRIDE: u8 = 2;
const F32: u8 = 1;
const KEYS_U16: u8 = 16;

fn values(bytes: &mut Bytes<'_>, flags: u8, count: usize) -> Option<Vec<f64>> {
    let read = |bytes: &mut Bytes<'_>| match flags & F32 {
        0 => bytes.f64(),
        _ => bytes.u32().map(|bits| widened(f32::from_bits(bits))),
    };
    (0..count).map(|_| read(bytes)).collect()
}

/// An f32 as f64, with the bits of a NaN kept.
pub(crate) fn widened(value: f32) -> f64 {
    if !value.is_nan() {
        return f64::from(value);
    }
    let bits = u64::from(value.to_bits());
    f64::from_bits((bits >> 31) << 63 | 0x7ff << 52 | (bits & 0x007f_ffff) << 29)
}

/// A number as JSON: what JSON lacks is a text.
pub(crate) fn number(value: f64) -> Value {
    match serde_json::Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None => json!(if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        }),
    }
}

/// A count that the bytes can have at all: each point has at least a byte or is regular.
fn count(bytes: &mut Bytes<'_>) -> Option<usize> {
    usize::try_from(bytes.varint()?).ok().filter(|count| *count <= 64 << 20)
}

fn series(flags: u8, body: &[u8], names: &Names, detail: Detail) -> Option<Value> {
    let mut bytes = Bytes::new(body);
    let run = hex(bytes.take(16)?);
    let key = bytes.u32()?;
    let context = bytes.varint()?;
    let count = count(&mut bytes)?;
    let steps: Vec<i64> = if flags & STRIDE != 0 {
        let (first, stride) = (bytes.svarint()?, bytes.svarint()?);
        // Values follow, so a count that lies ends below.
        (0..count.min(body.len())).map(|at| first.wrapping_add(stride.wrapping_mul(at as i64))).collect()
    } else {
        (0..count).map(|_| bytes.i64()).collect::<Option<_>>()?
    };
    let bits = flags >> 2 & 3;
    let times: Vec<i64> = match bits {
        3 => (0..count).map(|_| bytes.i64()).collect::<Option<_>>()?,
        bits => {
            let mut time = bytes.svarint()?;
            let mut times = vec![time];
            for _ in 1..count {
                let delta = match bits {
                    0 => 0,
                    1 => i64::from(bytes.u16()?),
                    _ => i64::from(bytes.u32()?),
                };
                time = time.wrapping_add(delta);
                times.push(time);
                if bits == 0 && times.len() > body.len() {
                    return None;
                }
            }
            times
        }
    };
    let values = values(&mut bytes, flags, count)?;
    let mut fact = json!({
        "section": "series", "run": run, "key": names.key(key), "context": context, "points": count,
        "first_step": steps.first(), "last_step": steps.last(),
    });
    if let (true, Some(fields)) = (detail.points, fact.as_object_mut()) {
        fields.insert("steps".to_owned(), json!(steps));
        fields.insert("times_ms".to_owned(), json!(times));
        fields.insert("values".to_owned(), values.into_iter().map(number).collect());
    }
    bytes.is_empty().then_some(fact)
}

fn row(flags: u8, body: &[u8], names: &Names, detail: Detail) -> Option<Value> {
    let mut bytes = Bytes::new(body);
    let run = hex(bytes.take(16)?);
    let (context, step, time) = (bytes.varint()?, bytes.svarint()?, bytes.svarint()?);
    let count = count(&mut bytes)?;
    let key = |bytes: &mut Bytes<'_>| if flags & KEYS_U16 != 0 { bytes.u16().map(u32::from) } else { bytes.u32() };
    let keys: Vec<u32> = (0..count).map(|_| key(&mut bytes)).collect::<Option<_>>()?;
    let values = values(&mut bytes, flags, count)?;
    let mut fact = json!({
        "section": "row", "run": run, "context": context, "step": step, "time_ms": time, "points": count,
    });
    if let (true, Some(fields)) = (detail.points, fact.as_object_mut()) {
        let named = keys.iter().zip(values).map(|(key, value)| json!([names.key(*key), number(value)]));
        fields.insert("values".to_owned(), named.collect());
    }
    bytes.is_empty().then_some(fact)
}

fn clock(body: &[u8]) -> Option<Value> {
    let mut bytes = Bytes::new(body);
    let (mut position, mut time) = (0u64, 0i64);
    let mut times = Vec::new();
    while !bytes.is_empty() {
        position = position.wrapping_add(bytes.varint()?);
        time = time.wrapping_add(bytes.svarint()?);
        times.push(json!([position, time]));
    }
    Some(json!({ "section": "clock", "times": times }))
}
