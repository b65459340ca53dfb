//! The log as a whole, on memory and on real files.

use std::sync::Arc;

use super::*;
use crate::checksum::Crc32;
use crate::storage::OpenMode;
use crate::storage::memory::Memory;
use crate::storage::sim::{Call, Failure, Fault, PowerCut, SimDisk};

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
    batches(&mut log.read_from(log.first(), Lsn::MAX).unwrap()).unwrap()
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
        assert_eq!((opened.end, opened.log.durable()), (Lsn(101), Lsn(101)));
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
fn a_segment_that_was_waited_for_makes_the_next_one_larger() {
    let options = LogOptions { segment_bytes_max: 64 << 10, ..options() };
    for outrun in [false, true] {
        let (log, mut tail) = Log::create(Arc::new(Memory::new()), options.clone()).unwrap();
        let first = log.shape().segments.last().unwrap().capacity_bytes;
        log.outrun.store(outrun, Ordering::Release);
        while log.next.lock().is_none() {
            tail.place(&mut frame(&payload(3)), TimestampMs(0)).unwrap();
            log.maintain().unwrap();
        }
        let next = log.next.lock().as_ref().unwrap().capacity_bytes;
        assert_eq!(next, if outrun { 8 * first } else { 2 * first });
        assert!(!log.outrun.load(Ordering::Acquire));
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
    assert_eq!((opened.end, opened.log.durable()), (Lsn(6), Lsn(6)));
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

fn batches(reader: &mut FrameReader) -> Result<Vec<(u64, Vec<u8>)>> {
    let mut out = Vec::new();
    while let Some(frame) = reader.next_frame()? {
        if frame.kind == FrameKind::Batch {
            out.push((frame.lsn.0, frame.payload.to_vec()));
        }
    }
    Ok(out)
}

/// What an open shows, or its error.
/// Positions and payloads.
type Batches = Vec<(u64, Vec<u8>)>;

fn open_and_read(disk: &SimDisk, vouched: Lsn) -> Result<(OpenReport, Batches)> {
    let opened = Log::open(Arc::new(disk.clone()), options(), vouched, Access::ReadWrite)?;
    let found = batches(&mut opened.log.read_from(opened.log.first(), Lsn::MAX)?)?;
    Ok((opened.report, found))
}

/// Three lives: one that crashed after rolls, one that was merged, one that was closed. The last Lsn, and all batches.
fn example_disk() -> (SimDisk, Lsn, Vec<(u64, Vec<u8>)>) {
    let disk = SimDisk::new(1);
    let (log, mut tail) = Log::create(Arc::new(disk.clone()), options()).unwrap();
    let mut all = Vec::new();
    let mut put = |log: &Log, tail: &mut LogTail, from: u64, to: u64| {
        for number in from..to {
            let lsn = tail.place(&mut frame(&payload(number)), TimestampMs(0)).unwrap().lsn;
            all.push((lsn.0, payload(number)));
            if number % 5 == 0 {
                log.sync().unwrap();
                log.maintain().unwrap();
            }
        }
    };
    put(&log, &mut tail, 0, 30);
    drop((log, tail));
    let opened = Log::open(Arc::new(disk.clone()), options(), Lsn(10), Access::ReadWrite).unwrap();
    let (log, mut tail) = (opened.log, opened.tail.unwrap());
    put(&log, &mut tail, 30, 70);
    let gone = merge(&log, 0, 2);
    log.unlink(&gone).unwrap();
    log.close(tail, TimestampMs(0)).unwrap();
    (disk, log.published(), all)
}

/// Merges the sealed segments `from..to` of the list into one without marks.
fn merge(log: &Arc<Log>, from: usize, to: usize) -> Vec<Arc<Segment>> {
    let run: Vec<_> = log.segments()[from..to].to_vec();
    let (first, last) = (run[0].first, run[run.len() - 1].last);
    let mut writer = SegmentRewriter::new(log.clone(), run[0].name.id, first, last).unwrap();
    let mut reader = log.read_from(first, last).unwrap();
    while let Some(frame) = reader.next_frame().unwrap() {
        if frame.kind == FrameKind::Batch {
            writer.push(frame.lsn, frame.time, frame.kind, frame.payload).unwrap();
        }
    }
    let remove = run.iter().map(|segment| segment.name).collect();
    let plan = SwapPlan { remove, add: vec![writer.finish().unwrap()], ..SwapPlan::default() };
    log.install(&plan).unwrap()
}

fn files(disk: &SimDisk) -> Vec<String> {
    let segments = disk.list("log").unwrap().into_iter().map(|entry| format!("log/{}", entry.name));
    segments.chain(["MANIFEST".to_owned()]).collect()
}

#[test]
fn every_flipped_byte_is_refused_found_or_harmless() {
    let (disk, end, all) = example_disk();
    let (mut refused, mut found_on_read, mut harmless, mut shorter) = (0, 0, 0, 0);
    for file in files(&disk) {
        let bytes = disk.file_bytes(&file).unwrap();
        for (at, byte) in bytes.iter().enumerate() {
            // The index speaks of all, or of nothing.
            for vouched in [end, Lsn::ZERO] {
                let damaged = disk.after_process_crash();
                damaged.overwrite_at_rest(&file, at as u64, &[byte ^ (1 << (at % 8))]).unwrap();
                match Log::open(Arc::new(damaged.clone()), options(), vouched, Access::ReadWrite) {
                    Err(_) => {
                        refused += 1;
                        // Nothing was written: the same damage is found again.
                        let before: Vec<_> =
                            files(&damaged).iter().map(|file| damaged.file_bytes(file)).map(|b| b.unwrap()).collect();
                        assert!(open_and_read(&damaged, vouched).is_err());
                        let after: Vec<_> =
                            files(&damaged).iter().map(|file| damaged.file_bytes(file)).map(|b| b.unwrap()).collect();
                        assert_eq!(before, after);
                    }
                    Ok(opened) => match batches(&mut opened.log.read_from(opened.log.first(), Lsn::MAX).unwrap()) {
                        Err(Error::Corrupt(_)) => found_on_read += 1,
                        Err(error) => panic!("{file} at {at}: {error}"),
                        Ok(found) if found == all => harmless += 1,
                        Ok(found) => {
                            assert_eq!(vouched, Lsn::ZERO, "{file} at {at}: lost what the index speaks of");
                            assert!(all.starts_with(&found), "{file} at {at}: {found:?}");
                            shorter += 1;
                        }
                    },
                }
            }
        }
    }
    println!("refused {refused}, found on read {found_on_read}, harmless {harmless}, took the last frame {shorter}");
    assert!(refused > 0 && found_on_read > 0);
    assert_eq!(shorter, 0, "the close frame, or the last batch in front of it, vouches for all batches");
}

#[test]
fn every_length_of_every_file_is_refused_or_harmless() {
    let (disk, end, all) = example_disk();
    for file in files(&disk) {
        let len = disk.file_bytes(&file).unwrap().len();
        for cut in (0..len).step_by(7) {
            let damaged = disk.after_process_crash();
            damaged.open(&file, OpenMode::ReadWrite).unwrap().set_len(cut as u64).unwrap();
            match open_and_read(&damaged, end) {
                Err(_) => {}
                Ok((_, found)) => assert_eq!(found, all, "{file} cut to {cut}"),
            }
        }
    }
}

#[test]
fn a_crash_at_each_operation_keeps_a_prefix_with_all_that_was_synced() {
    let disk = SimDisk::new(3);
    disk.record();
    let options = LogOptions { zero_fill_bytes_max: 0, ..options() };
    let (log, mut tail) = Log::create(Arc::new(disk.clone()), options.clone()).unwrap();
    // Operations so far; what is acknowledged and what is durable from there on.
    let mut known = vec![(0, 0, 0)];
    let mut all = Vec::new();
    let mut number = 0;
    let mut steps = |log: &Arc<Log>, tail: &mut LogTail, count: u64| {
        for _ in 0..count {
            number += 1;
            let lsn = tail.place(&mut frame(&payload(number)), TimestampMs(0)).unwrap().lsn.0;
            all.push((lsn, payload(number)));
            if number % 4 == 0 {
                log.sync().unwrap();
            }
            if number % 6 == 0 {
                log.maintain().unwrap();
            }
            known.push((disk.operations(), lsn, log.durable().0));
        }
    };
    steps(&log, &mut tail, 20);
    let gone = merge(&log, 0, 1);
    log.unlink(&gone).unwrap();
    log.close(tail, TimestampMs(0)).unwrap();
    let opened = Log::open(Arc::new(disk.clone()), options.clone(), log.durable(), Access::ReadWrite).unwrap();
    let mut tail = opened.tail.unwrap();
    steps(&opened.log, &mut tail, 6);
    drop(tail);
    let opened = Log::open(Arc::new(disk.clone()), options.clone(), Lsn::ZERO, Access::ReadWrite).unwrap();
    let mut tail = opened.tail.unwrap();
    steps(&opened.log, &mut tail, 6);
    let recording = disk.recording().unwrap();

    let check = |disk: SimDisk, at_least: u64, what: &str| {
        let opened = Log::open(Arc::new(disk), options.clone(), Lsn::ZERO, Access::ReadWrite);
        let opened = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = read_all(&opened.log);
        assert!(all.starts_with(&found), "{what}: {found:?}");
        let end = found.last().map_or(0, |(lsn, _)| *lsn);
        assert!(end >= at_least, "{what}: ends at {end}, not {at_least}");
    };
    for (number, crashed) in recording.crashes(7) {
        let (_, acknowledged, durable) = known[known.partition_point(|(operations, ..)| *operations < number) - 1];
        check(crashed.after_process_crash(), acknowledged.min(all.last().unwrap().0), &format!("process at {number}"));
        for cut in PowerCut::one_of_each(number) {
            let what = format!("{cut:?} at {number}");
            let image = crashed.after_power_cut(cut);
            // A durable position may be that of a mark or close frame.
            let at_least = all.iter().rev().map(|(lsn, _)| *lsn).find(|lsn| *lsn <= durable).unwrap_or(0);
            if number % 16 == 0 {
                image.record();
                check(image.clone(), at_least, &what);
                for (inner, crashed) in image.recording().unwrap().crashes(number) {
                    let what = format!("{what}, then at {inner} of its recovery");
                    check(crashed.after_process_crash(), at_least, &what);
                    check(crashed.after_power_cut(PowerCut::seeded(number * 1_000 + inner)), at_least, &what);
                }
            } else {
                check(image, at_least, &what);
            }
        }
    }
}

#[test]
fn foreign_files_are_distinguished() {
    let (disk, end, all) = example_disk();
    let open = |change: &dyn Fn(&SimDisk)| {
        let disk = disk.after_process_crash();
        change(&disk);
        open_and_read(&disk, end)
    };
    let names = files(&disk);
    let sealed = names[0].clone();
    let last = names[names.len() - 2].clone();

    assert!(matches!(open(&|disk| disk.remove("MANIFEST").unwrap()), Err(Error::MissingFile { .. })));
    assert!(matches!(open(&|disk| disk.remove(&sealed).unwrap()), Err(Error::MissingFile { .. })));
    assert!(matches!(open(&|disk| disk.remove(&last).unwrap()), Err(Error::MissingFile { .. })));
    let swapped = open(&|disk| {
        disk.rename(&sealed, "log/x").unwrap();
        disk.rename(&last, &sealed).unwrap();
        disk.rename("log/x", &last).unwrap();
    });
    assert!(swapped.is_err());

    let (report, found) = open(&|disk| {
        for name in ["log/00000099.seg.tmp", "MANIFEST.tmp", "log/notes.txt", "log/00000009.seg"] {
            let file = disk.open(name, OpenMode::CreateNew).unwrap();
            crate::storage::write_all_at(file.as_ref(), &[0; 100], 0).unwrap();
        }
    })
    .unwrap();
    assert_eq!(found, all);
    assert_eq!(report.ignored, ["log/notes.txt"]);
    assert_eq!(report.removed, ["log/00000009.seg", "log/00000099.seg.tmp"]);

    let foreign = open(&|disk| {
        let header = segment::encode_header(SegmentName::parse(&last[4..]).unwrap(), StoreId([2; 16]));
        disk.overwrite_at_rest(&last, 0, &header).unwrap();
    });
    assert!(matches!(foreign, Err(Error::Corrupt(_))), "{foreign:?}");

    // An old MANIFEST beside newer segments: they are kept.
    let old = SimDisk::new(2);
    let (log, mut tail) = Log::create(Arc::new(old.clone()), options()).unwrap();
    let manifest = old.file_bytes("MANIFEST").unwrap();
    for number in 0..60 {
        tail.place(&mut frame(&payload(number)), TimestampMs(0)).unwrap();
    }
    log.sync().unwrap();
    let expected = read_all(&log);
    assert!(log.segments().len() > 2);
    let file = old.open("MANIFEST", OpenMode::ReadWrite).unwrap();
    file.set_len(0).unwrap();
    crate::storage::write_all_at(file.as_ref(), &manifest, 0).unwrap();
    assert_eq!(open_and_read(&old.after_process_crash(), Lsn(60)).unwrap().1, expected);
    // Without any, a log that is complete from its first frame is taken as it is.
    old.remove("MANIFEST").unwrap();
    assert_eq!(open_and_read(&old, Lsn(60)).unwrap().1, expected);
}

#[test]
fn a_read_only_open_writes_nothing_and_serves_what_is_there() {
    let (disk, end, all) = example_disk();
    let sealed = files(&disk)[0].clone();
    disk.remove(&sealed).unwrap();
    let before = disk.operations();
    let opened = Log::open(Arc::new(disk.clone()), options(), end, Access::ReadOnly).unwrap();
    let [missing] = opened.report.missing.as_slice() else { panic!("{:?}", opened.report) };
    assert!(
        missing.path.to_str().unwrap().ends_with(&sealed) && missing.first == Lsn(1) && missing.last.is_some(),
        "{missing:?}"
    );
    assert!(opened.tail.is_none());
    let mut reader = opened.log.read_from(Lsn(1), Lsn::MAX).unwrap();
    let found = batches(&mut reader).unwrap();
    assert!(!found.is_empty() && all.ends_with(&found));
    assert!(matches!(opened.log.maintain(), Err(Error::ReadOnly)));

    // Frames that were promised are gone from the end: it serves the others, and says so.
    let opened = Log::open(Arc::new(disk.clone()), options(), Lsn(end.0 + 5), Access::ReadOnly).unwrap();
    assert_eq!(opened.report.lost, Some((Lsn(end.0 + 1), Lsn(end.0 + 5))));
    assert_eq!(disk.operations(), before);
}

/// A log with a prepared next segment, which nobody used; its name and the log's end.
fn with_a_prepared_segment(close: bool) -> (SimDisk, String, Lsn) {
    let disk = SimDisk::new(2);
    let (log, mut tail) = Log::create(Arc::new(disk.clone()), options()).unwrap();
    let mut number = 0;
    let segments = || files(&disk).into_iter().filter(|file| file.starts_with("log/")).collect::<Vec<_>>();
    while segments().len() < 2 {
        tail.place(&mut frame(&payload(number)), TimestampMs(0)).unwrap();
        log.maintain().unwrap();
        number += 1;
    }
    log.sync().unwrap();
    if close {
        log.close(tail, TimestampMs(0)).unwrap();
    }
    let prepared = segments().pop().unwrap();
    (disk, prepared, log.durable())
}

/// Gives the first segment the header of version 1, whose writers leave no mark.
fn without_marks(disk: &SimDisk) {
    let mut header = segment::encode_header(SegmentName::appended(SegmentId(1)), options().store_id);
    header[8] = 1;
    let crc = Crc32::of(&header[..60]).0.to_le_bytes();
    header[60..].copy_from_slice(&crc);
    disk.overwrite_at_rest("log/00000001.seg", 0, &header).unwrap();
}

#[test]
fn a_prepared_segment_that_is_gone_refuses_nobody() {
    for (close, old) in [(true, false), (true, true), (false, false)] {
        let (disk, prepared, end) = with_a_prepared_segment(close);
        if old {
            without_marks(&disk);
        }
        missing_is_no_loss(disk, &prepared, end, close);
    }
}

#[test]
fn numbers_that_a_missing_segment_could_have_held_are_left_out_wherever_the_open_is_cut() {
    let (killed, prepared, end) = with_a_prepared_segment(false);
    let could_hold = killed.file_bytes(&prepared).unwrap().len() as u64 / FRAME_HEADER_BYTES as u64 - 2;
    let mut cut = 0;
    for operation in 1..100 {
        let disk = killed.after_process_crash();
        disk.remove(&prepared).unwrap();
        disk.crash_at(disk.operations() + operation);
        drop(Log::open(Arc::new(disk.clone()), options(), end, Access::ReadWrite));
        cut += u64::from(disk.crashed());
        let disk = disk.after_process_crash();
        let opened = Log::open(Arc::new(disk), options(), end, Access::ReadWrite).unwrap();
        let next = opened.tail.unwrap().next_lsn();
        assert!(next.0 > end.0 + could_hold, "operation {operation}: {next} behind {end}");
    }
    assert!((10..100).contains(&cut), "{cut} opens were cut");
}

#[test]
fn a_segment_is_marked_as_left_before_the_next_one_is_used() {
    let (disk, prepared, _) = with_a_prepared_segment(true);
    let opened = Log::open(Arc::new(disk.clone()), options(), Lsn::ZERO, Access::ReadWrite).unwrap();
    let mut tail = opened.tail.unwrap();
    tail.begin(TimestampMs(0)).unwrap();
    let at = tail.segment().end_bytes() as usize;
    let first = disk.file_bytes("log/00000001.seg").unwrap();
    assert_eq!(first[8..12], [2, 0, 0, 0]);
    assert!(first[at..].iter().all(|byte| *byte == 0));
    tail.place(&mut frame(&[7; 3000]), TimestampMs(0)).unwrap();
    assert_eq!(tail.segment().name().path(), prepared);
    let first = disk.file_bytes("log/00000001.seg").unwrap();
    // Part of the format: docs/format/log.md.
    assert_eq!(first[at..at + 16], *b"RUNLODE SEG LEFT");
    assert!(first[at + 16..].iter().all(|byte| *byte == 0));
    // The footer takes its place, and says what footers of version 1 say.
    opened.log.maintain().unwrap();
    let first = disk.file_bytes("log/00000001.seg").unwrap();
    assert_eq!(first[at..at + 16], [&1_u64.to_le_bytes()[..], &64_u64.to_le_bytes()].concat());
    assert_eq!(first[first.len() - 20..first.len() - 16], [1, 0, 0, 0]);
}

#[test]
fn a_segment_of_a_newer_version_is_refused_by_name() {
    let (disk, _, _) = with_a_prepared_segment(true);
    let mut header = segment::encode_header(SegmentName::appended(SegmentId(1)), options().store_id);
    header[8] = 3;
    let crc = Crc32::of(&header[..60]).0.to_le_bytes();
    header[60..].copy_from_slice(&crc);
    disk.overwrite_at_rest("log/00000001.seg", 0, &header).unwrap();
    for access in [Access::ReadOnly, Access::ReadWrite] {
        let refused = Log::open(Arc::new(disk.clone()), options(), Lsn::ZERO, access);
        assert!(matches!(refused, Err(Error::UnsupportedFormat { found: 3, supported: 2, .. })), "{refused:?}");
    }
}

/// Everybody goes on without a file that was never used.
fn missing_is_no_loss(disk: SimDisk, prepared: &str, end: Lsn, closed: bool) {
    disk.remove(prepared).unwrap();
    let reader = Log::open(Arc::new(disk.clone()), options(), Lsn::ZERO, Access::ReadOnly).unwrap();
    assert_eq!(reader.report.missing, []);
    let opened = Log::open(Arc::new(disk.clone()), options(), end, Access::ReadWrite).unwrap();
    // After a close it is listed no more, so that a crash behind an append changes nothing. After a crash it is made again.
    let listed = Manifest::load(&disk, options().store_id).unwrap().unwrap().segments;
    assert_eq!(listed.iter().any(|segment| segment.name.path() == prepared), !closed);
    assert_eq!(disk.list("log").unwrap().len(), listed.len());
    let mut tail = opened.tail.unwrap();
    tail.place(&mut frame(b"on"), TimestampMs(0)).unwrap();
    opened.log.sync().unwrap();
    drop((opened.log, tail));
    let opened = Log::open(Arc::new(disk.clone()), options(), end, Access::ReadWrite).unwrap();
    let mut tail = opened.tail.unwrap();
    for number in 0..60 {
        tail.place(&mut frame(&payload(number)), TimestampMs(0)).unwrap();
        opened.log.maintain().unwrap();
    }
    opened.log.sync().unwrap();
    assert_eq!(
        open_and_read(&disk.after_power_cut(PowerCut::seeded(1)), opened.log.durable()).unwrap().1,
        read_all(&opened.log)
    );
}

#[test]
fn a_missing_last_segment_that_may_have_been_used_is_reported() {
    // Killed in segments without marks, so that nothing says whether the last one was begun; or begun by the writer after
    // the close, which died at once.
    for (begun, old) in [(false, true), (true, false), (true, true)] {
        let (disk, last, end) = with_a_prepared_segment(begun);
        if old {
            without_marks(&disk);
        }
        if begun {
            let opened = Log::open(Arc::new(disk.clone()), options(), end, Access::ReadWrite).unwrap();
            let mut tail = opened.tail.unwrap();
            tail.place(&mut frame(&[7; 3000]), TimestampMs(0)).unwrap();
            assert_eq!(tail.segment().name().path(), last);
            opened.log.sync().unwrap();
        }
        disk.remove(&last).unwrap();
        // Nothing outside the log vouches for it.
        let opened = Log::open(Arc::new(disk.clone()), options(), Lsn::ZERO, Access::ReadOnly).unwrap();
        let [missing] = opened.report.missing.as_slice() else { panic!("{:?}", opened.report) };
        assert!(
            missing.path.to_str().unwrap().ends_with(&last) && missing.before() == opened.end && missing.last.is_none()
        );
        let refused = Log::open(Arc::new(disk.clone()), options(), Lsn::ZERO, Access::ReadWrite);
        assert!(matches!(refused, Err(Error::MissingFile { .. })), "{refused:?}");
        let opened = Log::open(Arc::new(disk.clone()), options(), Lsn::ZERO, Access::AcceptLoss).unwrap();
        let (first, accepted) = opened.report.lost.unwrap();
        assert_eq!(first, opened.end.next());
        let mut tail = opened.tail.unwrap();
        assert!(tail.place(&mut frame(b"on"), TimestampMs(0)).unwrap().lsn > accepted);
        opened.log.sync().unwrap();
        Log::open(Arc::new(disk.clone()), options(), Lsn::ZERO, Access::ReadWrite).unwrap();
    }
}

#[test]
fn a_loss_is_accepted_only_on_request_and_its_numbers_are_not_used_again() {
    let (disk, end, all) = example_disk();
    let promised = Lsn(end.0 + 1_000);
    let storage = || Arc::new(disk.clone());
    let refused = Log::open(storage(), options(), promised, Access::ReadWrite);
    assert!(matches!(refused, Err(Error::Corrupt(_))));
    let opened = Log::open(storage(), options(), promised, Access::AcceptLoss).unwrap();
    assert_eq!(opened.report.lost, Some((end.next(), promised)));
    let mut tail = opened.tail.unwrap();
    assert!(tail.place(&mut frame(b"on"), TimestampMs(0)).unwrap().lsn > promised);
    opened.log.close(tail, TimestampMs(0)).unwrap();
    let opened = Log::open(storage(), options(), opened.log.durable(), Access::ReadWrite).unwrap();
    let found = read_all(&opened.log);
    assert_eq!(found.len(), all.len() + 1);
    assert!(opened.report.closed_cleanly);
}

#[test]
fn a_full_disk_refuses_keeps_nothing_and_goes_on_when_there_is_space() {
    for maps in [true, false] {
        let disk = SimDisk::new(4);
        disk.set_maps(maps);
        let options = LogOptions { segment_bytes_first: 8 << 10, segment_bytes_max: 8 << 10, ..options() };
        let (log, mut tail) = Log::create(Arc::new(disk.clone()), options.clone()).unwrap();
        disk.set_space(Some(disk.used_bytes() + 13_000));
        let mut expected = Vec::new();
        let mut refused = 0;
        for number in 0..400 {
            match tail.place(&mut frame(&payload(number)), TimestampMs(0)) {
                Ok(placed) => expected.push((placed.lsn.0, payload(number))),
                Err(Error::StorageFull { .. }) => refused += 1,
                Err(error) => panic!("{error}"),
            }
            match log.maintain() {
                Ok(()) | Err(Error::StorageFull { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert!(refused > 0);
        assert_eq!(log.poisoned(), None);
        log.sync().unwrap();
        assert_eq!(read_all(&log), expected);
        disk.set_space(None);
        let placed = tail.place(&mut frame(b"again"), TimestampMs(0)).unwrap();
        expected.push((placed.lsn.0, b"again".to_vec()));
        log.maintain().unwrap();
        log.close(tail, TimestampMs(0)).unwrap();
        let opened = Log::open(Arc::new(disk), options, log.durable(), Access::ReadWrite).unwrap();
        assert!(opened.report.closed_cleanly);
        assert_eq!(read_all(&opened.log), expected);
    }
}

#[test]
fn a_failed_write_or_sync_poisons_with_the_first_cause() {
    for (calls, maps) in [(&[Call::Sync][..], true), (&[Call::Write][..], false)] {
        let disk = SimDisk::new(5);
        disk.set_maps(maps);
        let (log, mut tail) = Log::create(Arc::new(disk.clone()), options()).unwrap();
        tail.place(&mut frame(b"kept"), TimestampMs(0)).unwrap();
        log.sync().unwrap();
        disk.inject(Fault::new(calls, Failure::Io).at("log/"));
        let first = tail.place(&mut frame(b"x"), TimestampMs(0)).and_then(|_| log.sync()).unwrap_err();
        assert!(matches!(first, Error::Io { .. }));
        let Err(Error::Poisoned { cause }) = tail.place(&mut frame(b"y"), TimestampMs(0)) else { panic!() };
        assert_eq!(cause, first.to_string());
        assert_eq!(log.durable(), Lsn(1));
        assert_eq!(read_all(&log)[0], (1, b"kept".to_vec()));
        assert!(matches!(log.close(tail, TimestampMs(0)), Err(Error::Poisoned { .. })));
    }
}

#[test]
fn merged_segments_answer_for_the_same_positions() {
    let (disk, end, all) = example_disk();
    let opened = Log::open(Arc::new(disk.clone()), options(), end, Access::ReadWrite).unwrap();
    let log = opened.log;
    let sealed = log.segments().iter().filter(|segment| segment.finished).count();
    let mut old_reader = log.read_from(Lsn(1), Lsn::MAX).unwrap();
    let (generation, jumps) = (log.generation(), log.jumps().len());
    let gone = merge(&log, 0, sealed);
    assert_eq!((log.generation(), log.jumps().len()), (generation + 1, jumps - 1));
    log.unlink(&gone).unwrap();
    drop(gone);
    assert_eq!(read_all(&log), all);
    assert_eq!(batches(&mut old_reader).unwrap(), all, "a reader that began before goes on");
    for (lsn, payload) in &all {
        assert_eq!(log.read_frame(Lsn(*lsn)).unwrap().unwrap().payload, *payload);
    }
    let plan = SwapPlan { remove: vec![log.segments()[1].name], ..SwapPlan::default() };
    assert!(log.install(&plan).is_err(), "the open segment stays");

    // A release of the oldest: what was before is answered by name.
    let truth = TruthFile {
        name: "series/1-1.ser".into(),
        len_bytes: 10,
        footer_crc: Crc32(1),
        first: Lsn(1),
        last: log.segments()[0].last,
    };
    let remove = vec![log.segments()[0].name];
    let plan = SwapPlan { remove, series_add: vec![truth.clone()], ..SwapPlan::default() };
    let gone = log.install(&plan).unwrap();
    log.unlink(&gone).unwrap();
    assert!(matches!(log.read_from(Lsn(1), Lsn::MAX), Err(Error::Invalid { .. })));
    drop(log);
    let opened = Log::open(Arc::new(disk), options(), end, Access::ReadWrite).unwrap();
    assert_eq!(opened.log.truth_files(), [truth]);
    assert!(all.ends_with(&read_all(&opened.log)));
}

#[test]
fn appends_syncs_background_work_and_readers_go_on_together() {
    let storage = Arc::new(Memory::new());
    let options = LogOptions { segment_bytes_max: 16 << 10, ..options() };
    let (log, mut tail) = Log::create(storage.clone(), options.clone()).unwrap();
    let count = 20_000;
    let done = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|worker| {
                let log = log.clone();
                scope.spawn(move || {
                    while !done.load(Ordering::Acquire) {
                        match worker {
                            0 if log.wants_maintenance() => log.maintain().unwrap(),
                            0 => std::thread::yield_now(),
                            1 => assert!(log.sync().unwrap() <= log.published()),
                            _ => {
                                let published = log.published();
                                let from = Lsn(published.0.saturating_sub(50).max(1));
                                let mut reader = log.read_from(from, Lsn::MAX).unwrap();
                                let mut next = from;
                                while let Some(frame) = reader.next_frame().unwrap() {
                                    assert_eq!((frame.lsn, frame.payload), (next, &*payload(next.0)));
                                    next = next.next();
                                }
                                assert!(next > published);
                            }
                        }
                    }
                })
            })
            .collect();
        for number in 1..=count {
            tail.place(&mut frame(&payload(number)), TimestampMs(0)).unwrap();
        }
        done.store(true, Ordering::Release);
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
    log.close(tail, TimestampMs(0)).unwrap();
    let opened = Log::open(storage, options, log.durable(), Access::ReadWrite).unwrap();
    assert_eq!(read_all(&opened.log).len() as u64, count);
}

#[test]
fn read_only_opens_beside_a_live_writer_see_a_prefix() {
    let storage = Arc::new(Memory::new());
    let options = LogOptions { segment_bytes_max: 16 << 10, ..options() };
    let (log, mut tail) = Log::create(storage.clone(), options.clone()).unwrap();
    let opens = &AtomicU64::new(0);
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut last = 0;
            while opens.fetch_add(1, Ordering::AcqRel) < 50 {
                let storage = Arc::new(storage.read_only());
                let opened = Log::open(storage, options.clone(), Lsn(last), Access::ReadOnly).unwrap();
                assert_eq!((opened.report.lost, opened.report.missing.len()), (None, 0));
                let found = read_all(&opened.log);
                assert!(found.len() as u64 >= last);
                assert!(found.iter().enumerate().all(|(at, (lsn, _))| *lsn == at as u64 + 1));
                last = opened.log.durable().0;
            }
        });
        let mut number = 0;
        while !reader.is_finished() {
            number += 1;
            tail.place(&mut frame(&payload(number)), TimestampMs(0)).unwrap();
            if number % 50 == 0 {
                log.sync().unwrap();
                log.maintain().unwrap();
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            if number % 1_000 == 0 {
                let gone = merge(&log, 0, 2);
                log.unlink(&gone).unwrap();
            }
        }
        reader.join().unwrap();
    });
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

/// Positions, and what the frames there hold.
type Payloads = Vec<(u64, Vec<u8>)>;

/// 12,000 small frames in segments of 512 KiB; all that they hold.
fn many_small(storage: Arc<dyn Storage>) -> (Arc<Log>, LogTail, Payloads) {
    let (log, mut tail) = Log::create(storage, wide_options()).unwrap();
    for number in 0..12_000 {
        tail.place(&mut frame(&payload(number)), TimestampMs(number as i64)).unwrap();
        if number % 1_000 == 0 {
            log.maintain().unwrap();
        }
    }
    log.sync().unwrap();
    log.maintain().unwrap();
    assert!(log.segments().iter().filter(|segment| segment.finished).count() >= 2);
    let all = read_all(&log);
    (log, tail, all)
}

fn wide_options() -> LogOptions {
    LogOptions { segment_bytes_first: 512 << 10, segment_bytes_max: 512 << 10, ..options() }
}

#[test]
fn single_frames_are_found_by_marks_as_readers_find_them() {
    let (log, _tail, all) = many_small(Arc::new(Memory::new()));
    let read = |log: &Log| {
        for (lsn, payload) in all.iter().rev() {
            let got = log.read_frame(Lsn(*lsn)).unwrap().unwrap();
            let mut reader = log.read_from(Lsn(*lsn), Lsn(*lsn)).unwrap();
            let other = reader.next_frame().unwrap().unwrap();
            assert_eq!((&got.payload, got.time), (payload, other.time));
            assert_eq!((got.segment.name(), got.offset_bytes), (other.segment.name(), other.offset_bytes));
        }
    };
    read(&log);
    let noted = log.marks.count();
    assert!((1_000..2_000).contains(&noted), "one for each KiB of 1.6 MB, except where the log still grows: {noted}");
    let gone = merge(&log, 0, 2);
    log.unlink(&gone).unwrap();
    drop(gone);
    read(&log);
    assert!(log.marks.count() > noted, "the merged segment has its own");
    assert!(log.read_frame(Lsn(all.len() as u64 + 1)).unwrap().is_none());
    log.forget_marks();
    assert_eq!(log.marks.count(), 0);
    read(&log);
}

#[test]
fn a_damaged_frame_is_reported_whether_it_has_marks_or_not() {
    let disk = SimDisk::new(11);
    let (log, tail, all) = many_small(Arc::new(disk.clone()));
    let lsn = Lsn(700);
    let found = log.read_frame(lsn).unwrap().unwrap();
    let (path, offset_bytes) = (found.segment.name().path(), found.offset_bytes);
    drop((log, tail, found));
    // Of a header: no walk gets past it. Of a payload: only this frame is lost.
    for (at, behind_is_read) in [(9, false), (FRAME_HEADER_BYTES as u64 + 3, true)] {
        let damaged = disk.after_process_crash();
        damaged.overwrite_at_rest(&path, offset_bytes + at, &[0xee]).unwrap();
        let opened = Log::open(Arc::new(damaged), wide_options(), Lsn(all.len() as u64), Access::ReadWrite).unwrap();
        for _ in 0..2 {
            assert!(opened.log.read_frame(Lsn(lsn.0 - 1)).unwrap().is_some());
            assert!(matches!(opened.log.read_frame(lsn), Err(Error::Corrupt(_))), "byte {at}");
            assert_eq!(opened.log.read_frame(lsn.next()).is_ok(), behind_is_read, "byte {at}");
        }
    }
}
