//! Copies of a log that were made while it was appended to: a piece of each file at a time, each piece as it was then.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::storage::memory::Memory;
use crate::storage::sim::SimRng;
use crate::storage::{OpenMode, read_exact_at, write_all_at};

/// What a reader may see at once: a line of a processor's cache.
const LINE_BYTES: usize = 64;

type Files = BTreeMap<String, Vec<u8>>;
type Batches = Vec<(u64, Vec<u8>)>;

fn options(copied: bool) -> LogOptions {
    LogOptions { segment_bytes_first: 2 << 10, segment_bytes_max: 8 << 10, copied, ..LogOptions::new(StoreId([1; 16])) }
}

fn files(storage: &Memory) -> Files {
    let segments = storage.list(LOG_DIR).unwrap().into_iter().map(|entry| format!("{LOG_DIR}/{}", entry.name));
    let read = |path: String| {
        let file = storage.open(&path, OpenMode::Read).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        read_exact_at(&*file, &mut bytes, 0).unwrap();
        (path, bytes)
    };
    segments.chain([MANIFEST_PATH.to_owned()]).map(read).collect()
}

fn storage_of(files: &Files) -> Arc<Memory> {
    let storage = Memory::new();
    storage.create_dir(LOG_DIR).unwrap();
    for (path, bytes) in files {
        write_all_at(&*storage.open(path, OpenMode::CreateNew).unwrap(), bytes, 0).unwrap();
    }
    Arc::new(storage)
}

/// A log's life, step by step: its files, and the last durable position, after each.
struct Life {
    moments: Vec<(Files, Lsn)>,
    batches: Batches,
}

impl Life {
    fn of(rng: &mut SimRng) -> Self {
        let storage = Arc::new(Memory::new());
        let (log, mut tail) = Log::create(storage.clone(), options(false)).unwrap();
        let (mut moments, mut batches) = (Vec::new(), Vec::new());
        for number in 0..150u64 {
            // Without zeros, so that only what was not written looks like that.
            let payload: Vec<u8> = (0..rng.below(300)).map(|at| (at + number) as u8 | 1).collect();
            let mut frame = FrameBuf::new();
            frame.payload_mut().extend_from_slice(&payload);
            frame.seal().unwrap();
            batches.push((tail.place(&mut frame, TimestampMs(0)).unwrap().lsn.0, payload));
            moments.push((files(&storage), log.durable()));
            if rng.below(3) == 0 {
                log.sync().unwrap();
                moments.push((files(&storage), log.durable()));
            }
            if rng.below(8) == 0 {
                log.maintain().unwrap();
                moments.push((files(&storage), log.durable()));
            }
        }
        Self { moments, batches }
    }

    /// Copies MANIFEST, then the log by name, from a moment on; the next moment comes after a number of lines. The copy,
    /// and the moment of its end.
    fn copy(&self, rng: &mut SimRng, begin: usize) -> (Files, usize) {
        let mut now = begin;
        let pace = 1 + rng.below(40);
        let mut copy = Files::new();
        copy.insert(MANIFEST_PATH.into(), self.moments[now].0[MANIFEST_PATH].clone());
        now = (now + rng.below(3) as usize).min(self.moments.len() - 1);
        let names: Vec<&String> = self.moments[now].0.keys().filter(|path| *path != MANIFEST_PATH).collect();
        for (at, path) in names.iter().enumerate() {
            // Time goes by at the end, where something happens.
            let is_end = at + 2 >= names.len();
            let mut bytes = vec![0; self.moments[now].0[*path].len()];
            for (line, out) in bytes.chunks_mut(LINE_BYTES).enumerate() {
                let source = &self.moments[now].0[*path];
                let from = (line * LINE_BYTES).min(source.len());
                let count = out.len().min(source.len() - from);
                out[..count].copy_from_slice(&source[from..from + count]);
                if is_end && rng.below(pace) == 0 {
                    now = (now + 1 + rng.below(3) as usize).min(self.moments.len() - 1);
                }
            }
            copy.insert((*path).clone(), bytes);
        }
        (copy, now)
    }
}

fn read_all(log: &Log) -> Batches {
    let mut reader = log.read_from(log.first(), Lsn::MAX).unwrap();
    let mut out = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        if frame.kind == FrameKind::Batch {
            out.push((frame.lsn.0, frame.payload.to_vec()));
        }
    }
    out
}

#[test]
fn a_copy_of_a_log_in_use_ends_behind_its_beginning() {
    let lives = std::env::var("RUNLODE_COPY_LIVES").map_or(20, |lives| lives.parse().unwrap());
    let (mut copies_count, mut torn_count) = (0, 0);
    for seed in 0..lives {
        let mut rng = SimRng::new(seed);
        let life = Life::of(&mut rng);
        for _ in 0..40 {
            let begin = rng.below(life.moments.len() as u64) as usize;
            let (copy, _) = life.copy(&mut rng, begin);
            let durable = life.moments[begin].1;
            for access in [Access::ReadOnly, Access::ReadWrite] {
                let storage = storage_of(&copy);
                let opened = Log::open(storage.clone(), options(true), durable, access)
                    .unwrap_or_else(|error| panic!("seed {seed}, from moment {begin}: {error}"));
                let report = &opened.report;
                assert!(
                    report.lost.is_none() && report.missing.is_empty() && opened.end >= durable,
                    "seed {seed}, from moment {begin}, durable {durable}: {} {report:?}",
                    opened.end
                );
                let found = read_all(&opened.log);
                assert_eq!(found, life.batches[..found.len()], "seed {seed}, moment {begin}");
                let Some(mut tail) = opened.tail else {
                    copies_count += 1;
                    torn_count += u64::from(opened.report.torn.is_some());
                    continue;
                };
                // Numbers that the first log gave to others are not used again, and now it is a log like any other.
                let mut frame = FrameBuf::new();
                frame.payload_mut().extend_from_slice(b"more");
                frame.seal().unwrap();
                let lsn = tail.place(&mut frame, TimestampMs(0)).unwrap().lsn;
                assert!(opened.report.torn.is_none_or(|(first, last)| first.0 > found.len() as u64 && lsn > last));
                opened.log.sync().unwrap();
                drop((tail, opened.log));
                let opened = Log::open(storage, options(false), lsn, Access::ReadWrite).unwrap();
                assert_eq!(read_all(&opened.log).len(), found.len() + 1);
            }
        }
    }
    println!("{copies_count} copies of {lives} logs, {torn_count} with a torn end");
    assert!(torn_count * 100 > copies_count, "{torn_count} of {copies_count}");
}

/// The last frame but three of an example becomes what `change` makes of it; its segment's file.
fn changed(change: impl Fn(&mut [u8])) -> (Files, Lsn) {
    let life = Life::of(&mut SimRng::new(1));
    let (mut files, durable) = life.moments.last().unwrap().clone();
    let storage = storage_of(&files);
    let log = Log::open(storage, options(false), durable, Access::ReadOnly).unwrap().log;
    let lsn = Lsn(durable.0 - 3);
    let frame = log.read_frame(lsn).unwrap().unwrap();
    let (path, at) = (frame.segment.name().path(), frame.offset_bytes as usize);
    let count = FRAME_HEADER_BYTES + frame.payload.len();
    change(&mut files.get_mut(&path).unwrap()[at..at + count]);
    (files, lsn)
}

#[test]
fn what_is_damaged_and_not_torn_is_refused_in_copies_too() {
    let flipped = changed(|frame| frame[FRAME_HEADER_BYTES + 1] ^= 4).0;
    let zeros = changed(|frame| frame.fill(0));
    for (files, copied, vouched) in [
        (&flipped, false, Lsn::ZERO),
        (&flipped, true, Lsn::ZERO),
        (&zeros.0, false, Lsn::ZERO),
        (&zeros.0, true, zeros.1),
    ] {
        for access in [Access::ReadWrite, Access::ReadOnly] {
            let opened = Log::open(storage_of(files), options(copied), vouched, access);
            match access {
                Access::ReadOnly => assert!(opened.unwrap().report.lost.is_some()),
                _ => assert!(matches!(opened.unwrap_err(), Error::Corrupt(_))),
            }
        }
    }
    let opened = Log::open(storage_of(&zeros.0), options(true), Lsn(zeros.1.0 - 1), Access::ReadWrite).unwrap();
    assert_eq!(opened.report.torn.unwrap().0, zeros.1);
}
