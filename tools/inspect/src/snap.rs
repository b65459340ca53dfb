//! search.snap: docs/format/index.md.

use serde_json::json;

use crate::bytes::{Bytes, crc, hex, u32_at, u64_at};
use crate::fact::Sink;

/// Bytes of a part in the directory, and of the tail.
const PART: usize = 48;
const TAIL: usize = 36;

pub(crate) fn snap(data: &[u8], sink: Sink<'_>) -> std::io::Result<()> {
    let damaged = |why: &str| json!({ "what": "search.snap", "damaged": why });
    let Some(tail_at) = data.len().checked_sub(TAIL) else { return sink(damaged("it is shorter than its tail")) };
    let tail = &data[tail_at..];
    if &tail[..8] != b"RLSNAPS\n" {
        return sink(damaged("it does not end as such a file does"));
    }
    let parts = u32_at(tail, 12) as usize;
    let Some(directory_at) = parts.checked_mul(PART).and_then(|bytes| tail_at.checked_sub(bytes)) else {
        return sink(damaged("it says that it has more parts than fit"));
    };
    let mut fact = json!({
        "what": "search.snap", "at": directory_at, "version": u32_at(tail, 8), "parts": parts, "store": hex(&tail[16..32]),
    });
    if crc(&[&data[directory_at..data.len() - 4]]) != u32_at(tail, 32)
        && let Some(fields) = fact.as_object_mut()
    {
        fields.insert("damaged".to_owned(), "directory and tail have another crc than the tail says".into());
    }
    sink(fact)?;
    for at in (directory_at..tail_at).step_by(PART) {
        let row = &data[at..at + PART];
        let mut bytes = Bytes::new(row);
        let mut next = || bytes.u64().unwrap_or_default();
        let (experiment, position, lifecycle, generation) = (next(), next(), next(), next());
        let (offset, length) = (next(), next());
        let mut fact = json!({
            "what": "part", "at": offset, "experiment": experiment, "position": position,
            "lifecycle_position": lifecycle, "generation": generation, "bytes": length,
        });
        if let (Some(why), Some(fields)) = (part(data, offset, length), fact.as_object_mut()) {
            fields.insert("damaged".to_owned(), why.into());
        }
        sink(fact)?;
    }
    Ok(())
}

/// What is wrong with a part.
fn part(data: &[u8], offset: u64, length: u64) -> Option<String> {
    let range = || {
        let start = usize::try_from(offset).ok()?;
        data.get(start..start.checked_add(usize::try_from(length).ok()?)?)
    };
    let Some(whole) = range().filter(|whole| whole.len() >= 40) else {
        return Some("it lies outside of the file".to_owned());
    };
    let body = whole.len() - 4;
    match (&whole[..8] == b"RLSEARCH", crc(&[&whole[..body]]) == u32_at(whole, body)) {
        (false, _) => Some("it does not begin as a part does".to_owned()),
        (_, false) => Some("its crc is another than that of its bytes".to_owned()),
        _ if u64_at(whole, body - 8) as usize + 40 != whole.len() => Some("its length is another one".to_owned()),
        _ => None,
    }
}
