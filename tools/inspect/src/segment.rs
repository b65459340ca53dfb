//! Segments of the log and of inboxes: docs/format/log.md and inbox.md.

use serde_json::{Value, json};

use crate::bytes::{crc, hex, u32_at, u64_at};
use crate::fact::{Detail, Sink};
use crate::file::checked;
use crate::payload::{Names, sections};

const HEADER: usize = 64;
const FRAME_HEADER: usize = 32;
const FRAME_MAX: usize = 64 << 20;
const COMPACTED: u32 = 1;
const INBOX: u32 = 2;
const LEFT: &[u8; 16] = b"RUNLODE SEG LEFT";

pub(crate) fn segment(data: &[u8], detail: Detail, sink: Sink<'_>) -> std::io::Result<()> {
    let Some(header) = data.get(..HEADER) else {
        return sink(json!({ "what": "segment", "at": 0, "damaged": "it has less than 64 bytes" }));
    };
    let flags = u32_at(header, 12);
    let is_inbox = flags & INBOX != 0;
    let mut fact = json!({
        "what": "segment", "at": 0, "version": u32_at(header, 8), "store": hex(&header[16..32]),
        "ordinal": u64_at(header, 32), "compacted": flags & COMPACTED != 0, "inbox": is_inbox,
    });
    if let Some(fields) = fact.as_object_mut() {
        if is_inbox {
            fields.insert("writer".to_owned(), hex(&header[40..56]).into());
        } else {
            fields.insert("generation".to_owned(), u64_at(header, 40).into());
        }
    }
    sink(checked(fact, header))?;
    // What the crc of a frame's head begins with.
    let mut id = header[16..32].to_vec();
    if is_inbox {
        id.extend_from_slice(&header[40..56]);
    }
    let footer = if is_inbox { None } else { footer(data, &header[16..32]) };
    let end = footer.as_ref().map_or(data.len(), |(end, _)| *end);
    let at = frames(data, if is_inbox { 2 * HEADER } else { HEADER }, end, &id, detail, sink)?;
    match footer {
        Some((end, fact)) => {
            if at != end {
                let why = format!("the frames end at {at}, and the footer says {end}");
                sink(json!({ "what": "frames", "at": at, "damaged": why }))?;
            }
            sink(fact)
        }
        None => rest(data, at, sink),
    }
}

/// What follows the last frame of a segment without a footer.
fn rest(data: &[u8], at: usize, sink: Sink<'_>) -> std::io::Result<()> {
    let rest = data.get(at..).unwrap_or_default();
    if rest.starts_with(LEFT) {
        return sink(json!({ "what": "left", "at": at, "about": "the log goes on in the next segment" }));
    }
    let zeros = rest.iter().all(|byte| *byte == 0);
    let about = if zeros { "zeros, prepared for more" } else { "bytes of frames that were never whole: a torn end" };
    sink(json!({ "what": "end", "at": at, "bytes": rest.len(), "about": about }))
}

/// Where the frames end by the footer, and the footer; `None` if there is none.
fn footer(data: &[u8], store: &[u8]) -> Option<(usize, Value)> {
    let tail = data.get(data.len().checked_sub(64)?..)?;
    if &tail[56..] != b"\r\nRLSEGF" {
        return None;
    }
    let entries = u32_at(tail, 40) as usize;
    let at = data.len().checked_sub(64)?.checked_sub(entries.checked_mul(16)?)?;
    let mut fact = json!({
        "what": "footer", "at": at, "first_position": u64_at(tail, 0), "last_position": u64_at(tail, 8),
        "frames": u64_at(tail, 16), "frames_end": u64_at(tail, 24), "ordinal": u64_at(tail, 32),
        "index_entries": entries, "version": u32_at(tail, 44),
    });
    let (stored, counted) = (u32_at(tail, 52), crc(&[store, &data[at..data.len() - 64], &tail[..52]]));
    let end = usize::try_from(u64_at(tail, 24)).ok()?;
    let why = match (stored == counted, end == at) {
        (false, _) => Some(format!("its crc is {stored:08x}, that of its bytes {counted:08x}")),
        (true, false) => Some(format!("it says that its index begins at {end}, and it begins at {at}")),
        (true, true) => None,
    };
    if let (Some(why), Some(fields)) = (why, fact.as_object_mut()) {
        fields.insert("damaged".to_owned(), why.into());
    }
    Some((at, fact))
}

/// Reads frames up to the first place without one, and returns it.
fn frames(data: &[u8], begin: usize, end: usize, id: &[u8], detail: Detail, sink: Sink<'_>) -> std::io::Result<usize> {
    let mut at = begin;
    let mut names = Names::default();
    while let Some(header) = data.get(at..at + FRAME_HEADER).filter(|_| at + FRAME_HEADER <= end) {
        let len = u32_at(header, 0) as usize;
        let good = (FRAME_HEADER..=FRAME_MAX).contains(&len)
            && matches!(header[28], 1..=3)
            && u64_at(header, 8) > 0
            && crc(&[id, &header[..4], &header[8..]]) == u32_at(header, 4);
        let whole = data.get(at..at + len).filter(|_| good && at + len <= end);
        let Some(frame) = whole else { break };
        let payload = &frame[FRAME_HEADER..];
        let kind = match header[28] {
            1 => "batch",
            2 => "mark",
            _ => "close",
        };
        let unsynced = u32::from_le_bytes([header[29], header[30], header[31], 0]);
        let mut fact = json!({
            "what": "frame", "at": at, "position": u64_at(header, 8), "time_ms": u64_at(header, 16) as i64,
            "kind": kind, "bytes": len, "unsynced": unsynced,
        });
        if let Some(fields) = fact.as_object_mut() {
            if crc(&[payload]) != u32_at(header, 24) {
                fields.insert("damaged".to_owned(), "its payload has another crc than its head says".into());
            } else if kind == "batch" {
                let (facts, wrong) = sections(payload, &mut names, detail);
                fields.insert("sections".to_owned(), facts.into());
                if let Some(wrong) = wrong {
                    fields.insert("damaged".to_owned(), wrong.into());
                }
            }
        }
        sink(fact)?;
        at += len.next_multiple_of(16);
    }
    Ok(at)
}
