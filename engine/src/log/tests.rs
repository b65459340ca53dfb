//! The log as a whole, on memory and on real files.

use std::sync::Arc;

use super::*;
use crate::storage::memory::Memory;

fn options() -> LogOptions {
    LogOptions { segment_bytes_first: 1 << 10, segment_bytes_max: 4 << 10, ..LogOptions::new(StoreId([1; 16])) }
}

fn frame(payload: &[u8]) -> FrameBuf {
    let mut frame = FrameBuf::new();
    frame.payload_mut().extend_from_slice(payload);
    frame.seal().unwrap();
    frame
}

fn payload(number: u64) -> Vec<u8> {
    (0..number * 37 % 200).map(|at| (at + number) as u8).collect()
}

fn read_all(log: &Log) -> Vec<(u64, Vec<u8>)> {
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
fn what_is_placed_is_read_and_survives_close_and_crash() {
    for mmap in [false, true] {
        let storage = Arc::new(Memory::new());
        let options = LogOptions { mmap, ..options() };
        let (log, mut tail) = Log::create(storage.clone(), options.clone()).unwrap();
        let mut expected = Vec::new();
        for number in 0..100 {
            let placed = tail.place(&mut frame(&payload(number)), TimestampMs(number as i64)).unwrap();
            expected.push((placed.lsn.0, payload(number)));
            if number % 7 == 0 {
                log.maintain().unwrap();
            }
        }
        assert_eq!(read_all(&log), expected);
        let got = log.read_frame(Lsn(50)).unwrap().unwrap();
        assert_eq!((got.time, got.payload), (TimestampMs(49), payload(49)));
        assert!(log.read_frame(Lsn(101)).unwrap().is_none());
        assert_eq!(log.durable() < Lsn(100), log.unsynced_bytes() > 0);
        log.sync().unwrap();
        assert_eq!((log.durable(), log.unsynced_bytes()), (Lsn(100), 0));
        log.close(tail, TimestampMs(100)).unwrap();

        let opened = Log::open(storage.clone(), options.clone(), Lsn(101), Access::ReadWrite).unwrap();
        assert!(opened.report.closed_cleanly);
        assert_eq!((opened.end, opened.durable), (Lsn(101), Lsn(101)));
        assert_eq!(read_all(&opened.log), expected);
        let mut tail = opened.tail.unwrap();
        let placed = tail.place(&mut frame(b"more"), TimestampMs(0)).unwrap();
        assert_eq!(placed.lsn, Lsn(103), "a mark comes first");
        expected.push((103, b"more".to_vec()));
        drop((tail, opened.log));

        let opened = Log::open(storage.clone(), options.clone(), Lsn(101), Access::ReadWrite).unwrap();
        assert!(!opened.report.closed_cleanly);
        assert_eq!(opened.end, Lsn(103));
        assert_eq!(read_all(&opened.log), expected);
        let mut tail = opened.tail.unwrap();
        let next = opened.report.jump.unwrap().next;
        assert_eq!(tail.place(&mut frame(b"x"), TimestampMs(0)).unwrap().lsn, next);
        expected.push((next.0, b"x".to_vec()));
        assert_eq!(read_all(&opened.log), expected);
        opened.log.close(tail, TimestampMs(0)).unwrap();
        let opened = Log::open(storage, options, Lsn(101), Access::ReadOnly).unwrap();
        assert!(opened.tail.is_none());
        assert_eq!(read_all(&opened.log), expected);
    }
}

#[test]
fn groups_roll_and_large_frames_get_large_segments() {
    let storage = Arc::new(Memory::new());
    let (log, mut tail) = Log::create(storage.clone(), options()).unwrap();
    let mut frames: Vec<_> = [5_000, 3, 900, 0, 20_000, 1].iter().map(|len| frame(&vec![7; *len])).collect();
    let mut group: Vec<_> = frames.iter_mut().collect();
    let mut placed = Vec::new();
    tail.place_group(&mut group, TimestampMs(5), &mut placed).unwrap();
    assert_eq!(placed.iter().map(|placed| placed.lsn.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    log.sync().unwrap();
    log.maintain().unwrap();
    assert!(log.segments().len() > 1);
    assert!(log.segments().iter().rev().skip(1).all(|segment| segment.finished));
    let lengths: Vec<_> = read_all(&log).iter().map(|(_, payload)| payload.len()).collect();
    assert_eq!(lengths, [5_000, 3, 900, 0, 20_000, 1]);
    drop(tail);
    let opened = Log::open(storage, options(), Lsn(6), Access::ReadWrite).unwrap();
    assert_eq!((opened.end, opened.durable), (Lsn(6), Lsn(6)));
}

#[test]
fn idle_marks_are_written_once_and_ask_for_no_sync() {
    let storage = Arc::new(Memory::new());
    let (log, mut tail) = Log::create(storage, options()).unwrap();
    tail.place(&mut frame(b"a"), TimestampMs(0)).unwrap();
    assert_eq!(tail.mark_idle(TimestampMs(0)).unwrap(), None, "not synced");
    log.sync().unwrap();
    assert_eq!(tail.mark_idle(TimestampMs(0)).unwrap(), Some(Lsn(2)));
    assert_eq!(tail.mark_idle(TimestampMs(0)).unwrap(), None, "just done");
    assert_eq!(log.unsynced_bytes(), 0);
}

/// Time that this thread has run, so that other work on the machine does not count.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

#[test]
#[ignore = "a measurement: cargo test --release -p runlode-engine --lib log::tests::cost -- --ignored --nocapture"]
fn cost_of_an_append() {
    use crate::storage::disk::Disk;
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    for (mmap, zero_fill_bytes_max) in [(true, 64 << 20), (true, 0), (false, 64 << 20)] {
        for payload_bytes in [64, 7_000] {
            let storage =
                Arc::new(Disk::new(folder.path().join(format!("{mmap}{zero_fill_bytes_max}-{payload_bytes}"))));
            storage.create_dir("").unwrap();
            let store_id = StoreId([1; 16]);
            let options =
                LogOptions { mmap, segment_bytes_first: 64 << 20, zero_fill_bytes_max, ..LogOptions::new(store_id) };
            let (log, mut tail) = Log::create(storage, options).unwrap();
            let mut frame = frame(&vec![7; payload_bytes]);
            let count = (24 << 20) / (payload_bytes + 32) as u64;
            for round in 0..4 {
                let started = cpu_ns();
                for _ in 0..count {
                    tail.place(&mut frame, TimestampMs(1)).unwrap();
                }
                let each_ns = (cpu_ns() - started) / count;
                let started = std::time::Instant::now();
                log.sync().unwrap();
                let synced = started.elapsed();
                let started = std::time::Instant::now();
                log.maintain().unwrap();
                let maintained = started.elapsed();
                println!(
                    "map {mmap}, zeros {zero_fill_bytes_max}, {payload_bytes} B, round {round}: {each_ns} ns a frame; \
                     sync {synced:?}, maintain {maintained:?}"
                );
            }
        }
    }
}

#[test]
#[ignore = "a measurement, as above"]
fn cost_of_an_append_without_page_faults() {
    let options = LogOptions { segment_bytes_first: 64 << 20, ..options() };
    let (log, mut tail) = Log::create(Arc::new(Memory::new()), options).unwrap();
    for payload_bytes in [64, 7_000] {
        let mut frame = frame(&vec![7; payload_bytes]);
        let count = (24 << 20) / (payload_bytes + 32) as u64;
        let started = cpu_ns();
        for _ in 0..count {
            tail.place(&mut frame, TimestampMs(1)).unwrap();
        }
        println!("{payload_bytes} B in memory: {} ns a frame", (cpu_ns() - started) / count);
    }
    log.sync().unwrap();
}
