//! FORMAT, MANIFEST and LOCK: docs/format/log.md and socket.md.

use serde_json::{Value, json};

use crate::bytes::{Bytes, crc, hex, u32_at, u64_at};
use crate::fact::Sink;

/// A fact whose crc is checked; `data` includes the crc at its end.
pub(crate) fn checked(mut fact: Value, data: &[u8]) -> Value {
    let found = data.len().checked_sub(4).map(|at| (u32_at(data, at), crc(&[&data[..at]])));
    if let (Some((stored, counted)), Some(fields)) = (found, fact.as_object_mut())
        && stored != counted
    {
        let why = format!("its crc is {stored:08x}, that of its bytes {counted:08x}");
        fields.insert("damaged".to_owned(), why.into());
    }
    fact
}

pub(crate) fn format(data: &[u8], sink: Sink<'_>) -> std::io::Result<()> {
    let Some(whole) = data.get(..64) else {
        return sink(json!({ "what": "FORMAT", "at": 0, "damaged": "it has less than 64 bytes" }));
    };
    let fact = json!({
        "what": "FORMAT",
        "at": 0,
        "version": u32_at(whole, 8),
        "version_min": u32_at(whole, 12),
        "store": hex(&whole[16..32]),
        "created_ms": u64_at(whole, 32) as i64,
    });
    sink(checked(fact, whole))
}

pub(crate) fn manifest(data: &[u8], sink: Sink<'_>) -> std::io::Result<()> {
    let len = u32_at(data, 12) as usize;
    let Some(whole) = data.get(..len).filter(|whole| whole.len() >= 68) else {
        let why = format!("it says that it has {len} bytes, and has {}", data.len());
        return sink(json!({ "what": "MANIFEST", "at": 0, "damaged": why }));
    };
    let counts = [48, 52, 56, 60].map(|at| u32_at(whole, at));
    let fact = json!({
        "what": "MANIFEST",
        "at": 0,
        "version": u32_at(whole, 8),
        "store": hex(&whole[16..32]),
        "generation": u64_at(whole, 32),
        "first_position": u64_at(whole, 40),
        "segments": counts[0],
        "jumps": counts[1],
        "series_files": counts[2],
        "losses": counts[3],
    });
    sink(checked(fact, whole))?;
    let mut bytes = Bytes::new(&whole[64..whole.len() - 4]);
    let read = lists(&mut bytes, counts, sink)?;
    if read.is_none() || !bytes.is_empty() {
        sink(json!({ "what": "MANIFEST", "damaged": "its lists do not fit its length" }))?;
    }
    Ok(())
}

fn lists(bytes: &mut Bytes<'_>, counts: [u32; 4], sink: Sink<'_>) -> std::io::Result<Option<()>> {
    let numbers = |bytes: &mut Bytes<'_>| bytes.u64();
    for _ in 0..counts[0] {
        let mut next = || numbers(bytes);
        let (Some(ordinal), Some(generation), Some(first), Some(last), Some(length)) =
            (next(), next(), next(), next(), next())
        else {
            return Ok(None);
        };
        let (Some(footer), Some(_)) = (bytes.u32(), bytes.u32()) else { return Ok(None) };
        let file = match generation {
            0 => format!("log/{ordinal:08}.seg"),
            generation => format!("log/{ordinal:08}-{generation}.seg"),
        };
        let of = if last == 0 { "tail" } else { "sealed" };
        sink(json!({
            "what": "segment", "file": file, "is": of, "first_position": first, "last_position": last,
            "bytes": length, "footer_crc": format!("{footer:08x}"),
        }))?;
    }
    for _ in 0..counts[1] {
        let (Some(kept), Some(next)) = (bytes.u64(), bytes.u64()) else { return Ok(None) };
        sink(json!({ "what": "jump", "kept": kept, "next": next }))?;
    }
    for _ in 0..counts[2] {
        let (Some(first), Some(last), Some(length)) = (bytes.u64(), bytes.u64(), bytes.u64()) else { return Ok(None) };
        let (Some(footer), Some(name)) = (bytes.u32(), bytes.u32()) else { return Ok(None) };
        let Some(name) = bytes.take(name as usize) else { return Ok(None) };
        sink(json!({
            "what": "series file", "file": String::from_utf8_lossy(name), "first_position": first,
            "last_position": last, "bytes": length, "footer_crc": format!("{footer:08x}"),
        }))?;
    }
    for _ in 0..counts[3] {
        let (Some(first), Some(last)) = (bytes.u64(), bytes.u64()) else { return Ok(None) };
        sink(json!({ "what": "loss", "first_position": first, "last_position": last }))?;
    }
    Ok(Some(()))
}

/// LOCK names the process that holds the store, or held it last.
pub(crate) fn lock(data: &[u8], sink: Sink<'_>) -> std::io::Result<()> {
    let text = data.split(|byte| *byte == 0).next().unwrap_or_default();
    sink(json!({ "what": "LOCK", "at": 0, "text": String::from_utf8_lossy(text).trim() }))
}
