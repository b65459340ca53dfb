//! Series files: docs/format/series.md.

use serde_json::{Map, Value, json};

use crate::bytes::{Bytes, hex, u32_at, u64_at};
use crate::chunk::File;
use crate::fact::{Detail, Sink};
use crate::file::checked;
use crate::payload::{number, widened};

const HEADER: usize = 48;
const FOOTER: usize = 120;

const F32: u8 = 4;
const NON_FINITE: u8 = 8;
const SINGLE: u8 = 16;
const ROLLUPS: u8 = 32;
const TIMES: u8 = 64;
const SHORT: u8 = 128;

pub(crate) fn series(data: &[u8], detail: Detail, sink: Sink<'_>) -> std::io::Result<()> {
    let (Some(header), Some(footer_at)) = (data.get(..HEADER), data.len().checked_sub(FOOTER)) else {
        return sink(json!({ "what": "series file", "at": 0, "damaged": "it is shorter than header and footer" }));
    };
    let (version, id) = (u32_at(header, 8), u64_at(header, 32));
    let fact = json!({
        "what": "series file", "at": 0, "version": version, "store": hex(&header[16..32]), "file_id": id,
    });
    sink(checked(fact, header))?;
    let footer = &data[footer_at..];
    if &footer[..8] != b"RLSERFTR" {
        return sink(json!({ "what": "footer", "at": footer_at, "damaged": "it does not begin as a footer does" }));
    }
    let (rollups, directory, length) = (u64_at(footer, 40), u64_at(footer, 48), u64_at(footer, 56));
    let mut file_footer = checked(
        json!({
            "what": "footer", "at": footer_at, "rollups_at": rollups, "directory_at": directory,
            "directory_bytes": length, "chunks": u64_at(footer, 64), "points": u64_at(footer, 72),
            "covers_after": u64_at(footer, 80), "covers_to": u64_at(footer, 88), "series": u64_at(footer, 104),
            "directory_blocks": u32_at(footer, 112),
        }),
        footer,
    );
    let file = File { data, id };
    let range = || {
        let start = usize::try_from(directory).ok()?;
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        (end <= footer_at).then_some((start, end))
    };
    let mut totals = Totals::default();
    match range() {
        Some((start, end)) => blocks(file, (start, end), (version, rollups), detail, &mut totals, sink)?,
        None => {
            sink(json!({ "what": "directory", "at": directory, "damaged": "it lies outside of the file" }))?;
        }
    }
    let said = (u64_at(footer, 64), u64_at(footer, 72));
    if (totals.chunks, totals.points) != said
        && let Some(fields) = file_footer.as_object_mut()
    {
        let why = format!("its directory has {} chunks with {} points", totals.chunks, totals.points);
        fields.entry("damaged").or_insert(why.into());
    }
    sink(file_footer)
}

#[derive(Default)]
struct Totals {
    chunks: u64,
    points: u64,
}

fn blocks(
    file: File<'_>,
    (start, end): (usize, usize),
    (version, rollups): (u32, u64),
    detail: Detail,
    totals: &mut Totals,
    sink: Sink<'_>,
) -> std::io::Result<()> {
    let mut at = start;
    while at < end {
        let body_bytes = u64::from(u32_at(file.data, at + 4));
        let entries = u32_at(file.data, at + 8);
        let body = match file.sealed(at as u64, 12 + body_bytes) {
            Ok(sealed) => &sealed[8..],
            Err(why) => return sink(json!({ "what": "directory block", "at": at, "damaged": why })),
        };
        let mut reader = Reader { version, rollups, ..Reader::default() };
        let mut bytes = Bytes::new(body);
        for number in 0..entries {
            let Some(entry) = reader.entry(&mut bytes) else {
                let why = format!("its entry {number} cannot be read");
                return sink(json!({ "what": "directory block", "at": at, "damaged": why }));
            };
            totals.chunks += 1;
            totals.points += entry.count;
            sink(chunk(file, &entry, detail))?;
        }
        if !bytes.is_empty() {
            let why = format!("{} bytes follow its last entry", bytes.rest().len());
            sink(json!({ "what": "directory block", "at": at, "damaged": why }))?;
        }
        at += 12 + body_bytes as usize;
    }
    Ok(())
}

/// A chunk as a fact, with its points read to see that they are there.
fn chunk(file: File<'_>, entry: &Entry, detail: Detail) -> Value {
    let mut fact = Map::new();
    let mut add = |name: &str, value: Value| drop(fact.insert(name.to_owned(), value));
    add("what", if entry.slot.is_some() { "slot of a group" } else { "chunk" }.into());
    if entry.len > 0 {
        add("at", entry.offset.into());
        add("bytes", entry.len.into());
    }
    if let Some(slot) = entry.slot {
        add("slot", slot.into());
    }
    add("run", hex(&entry.run).into());
    add("key", entry.key.into());
    add("points", entry.count.into());
    add("first_step", entry.step_first.into());
    add("last_step", entry.step_last.into());
    add("first_position", entry.lsn_min.into());
    add("last_position", entry.lsn_max.into());
    if let Some([min, max, ..]) = entry.summary {
        add("min", number(min));
        add("max", number(max));
    }
    if entry.len == 0 {
        if detail.points {
            add("steps", json!([entry.step_first]));
            add("times_ms", json!([entry.time_first]));
            add("values", entry.summary.iter().map(|summary| number(summary[2])).collect());
        }
        return fact.into();
    }
    let read = match entry.slot {
        Some(slot) => file.slot(entry.offset, entry.len, slot),
        None => file.chunk(entry.offset, entry.len),
    };
    match read {
        Ok(points) => {
            let ends = (points.steps.first().copied(), points.steps.last().copied(), points.steps.len() as u64);
            if ends != (Some(entry.step_first), Some(entry.step_last), entry.count) {
                add("damaged", format!("its steps are {ends:?}, and its entry says others").into());
            }
            if detail.points {
                add("steps", json!(points.steps));
                add("times_ms", json!(points.times));
                add("positions", json!(points.positions));
                add("contexts", json!(points.contexts));
                add("values", points.values.into_iter().map(number).collect());
            }
        }
        Err(why) => add("damaged", why.into()),
    }
    fact.into()
}

/// An entry of a directory.
#[derive(Debug, Clone, Default)]
struct Entry {
    run: [u8; 16],
    key: u32,
    slot: Option<u8>,
    count: u64,
    step_first: i64,
    step_last: i64,
    time_first: i64,
    time_last: i64,
    lsn_min: u64,
    lsn_max: u64,
    offset: u64,
    /// 0: a single point, which has no chunk.
    len: u64,
    /// Min, max, first and last; none of a short chunk.
    summary: Option<[f64; 4]>,
}

/// What an entry of a directory builds on.
#[derive(Debug, Default)]
struct Reader {
    version: u32,
    rollups: u64,
    before: Option<Entry>,
    chunk_end: u64,
    rollups_end: u64,
}

impl Reader {
    fn entry(&mut self, bytes: &mut Bytes<'_>) -> Option<Entry> {
        let entry = if self.version == 1 { self.entry_v1(bytes)? } else { self.item(bytes)? };
        if entry.len > 0 {
            self.chunk_end = entry.offset.wrapping_add(entry.len);
        }
        self.before = Some(entry.clone());
        Some(entry)
    }

    fn entry_v1(&mut self, bytes: &mut Bytes<'_>) -> Option<Entry> {
        let (run, key) = match bytes.u8()? {
            0 => self.before.as_ref().map(|before| (before.run, before.key))?,
            1 => (self.before.as_ref()?.run, u32::try_from(bytes.varint()?).ok()?),
            2 => (bytes.array()?, u32::try_from(bytes.varint()?).ok()?),
            _ => return None,
        };
        let flags = bytes.u8()?;
        self.body(bytes, flags, Entry { run, key, ..Entry::default() }, None)
    }

    fn item(&mut self, bytes: &mut Bytes<'_>) -> Option<Entry> {
        let what = bytes.u8()?;
        if what & !15 != 0 {
            return None;
        }
        let before = self.before.clone();
        let (run, key) = match what & 3 {
            0 => before.as_ref().map(|before| (before.run, before.key))?,
            1 => before.as_ref().and_then(|before| Some((before.run, before.key.checked_add(1)?)))?,
            2 => (before.as_ref()?.run, u32::try_from(bytes.varint()?).ok()?),
            _ => (bytes.array()?, u32::try_from(bytes.varint()?).ok()?),
        };
        if what & 4 != 0 {
            let before = before?;
            return Some(Entry { run, key, slot: Some(before.slot?.checked_add(1)?), ..before });
        }
        let flags = bytes.u8()?;
        let slot = if what & 8 != 0 { Some(bytes.u8()?) } else { None };
        // Numbers are differences to the entry before.
        let base = before.map_or((0, 0, 0), |before| match (before.run, before.key) == (run, key) {
            true => (before.step_last, before.time_last, before.lsn_min),
            false => (before.step_first, before.time_first, before.lsn_min),
        });
        self.body(bytes, flags, Entry { run, key, slot, ..Entry::default() }, Some(base))
    }

    /// The rest of an entry; without `base` it is one of version 1, whose numbers stand alone.
    fn body(
        &mut self,
        bytes: &mut Bytes<'_>,
        flags: u8,
        mut entry: Entry,
        base: Option<(i64, i64, u64)>,
    ) -> Option<Entry> {
        let (step, time, position) = base.unwrap_or_default();
        let value = |bytes: &mut Bytes<'_>| match flags & F32 {
            0 => bytes.f64(),
            _ => bytes.u32().map(|bits| widened(f32::from_bits(bits))),
        };
        let plus = |from: u64, bytes: &mut Bytes<'_>| match base {
            Some(_) => bytes.svarint().map(|difference| from.wrapping_add(difference as u64)),
            None => bytes.varint(),
        };
        if flags & SINGLE != 0 {
            entry.count = 1;
            entry.step_first = step.wrapping_add(bytes.svarint()?);
            entry.time_first = time.wrapping_add(bytes.svarint()?);
            entry.lsn_min = plus(position, bytes)?;
            let _context = bytes.varint()?;
            let only = value(bytes)?;
            (entry.step_last, entry.time_last, entry.lsn_max) = (entry.step_first, entry.time_first, entry.lsn_min);
            entry.summary = Some([only; 4]);
            return Some(entry);
        }
        entry.count = bytes.varint()?;
        entry.step_first = step.wrapping_add(bytes.svarint()?);
        entry.step_last = entry.step_first.wrapping_add(bytes.varint()? as i64);
        entry.time_first = time.wrapping_add(bytes.svarint()?);
        entry.time_last = entry.time_first.wrapping_add(bytes.svarint()?);
        if flags & TIMES != 0 {
            let _least_and_greatest = (bytes.varint()?, bytes.varint()?);
        }
        entry.lsn_min = plus(position, bytes)?;
        entry.lsn_max = entry.lsn_min.checked_add(bytes.varint()?)?;
        entry.offset = plus(self.chunk_end, bytes)?;
        entry.len = bytes.varint()?;
        if flags & ROLLUPS != 0 {
            let offset = plus(self.rollups_end, bytes)?;
            let len = bytes.varint()?;
            self.rollups_end = offset.wrapping_add(len);
            self.rollups.checked_add(offset)?;
        }
        if flags & NON_FINITE != 0 {
            let _counts = (bytes.varint()?, bytes.varint()?, bytes.varint()?);
        }
        if base.is_none() || flags & SHORT == 0 {
            let all = [value(bytes)?, value(bytes)?, value(bytes)?, value(bytes)?];
            let _sum = bytes.f64()?;
            entry.summary = Some(all);
        }
        Some(entry)
    }
}
