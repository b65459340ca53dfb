//! Damages a small closed store at rest: each byte of each file flipped, each length, each sector zeroed, files
//! swapped, an older file put back. Every time the answers are the same, or there is a typed error, or the index is
//! rebuilt with the same answers. Never a panic, never another answer.
//!
//! index.redb is by far the largest file: of its bytes one in `RUNLODE_FLIP_STRIDE` is flipped (default 11; 1 is all).

#![allow(clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use runlode_engine::Lsn;
use runlode_engine::storage::sim::{SECTOR_BYTES, SimDisk};
use runlode_engine::storage::{OpenMode, Storage};
use runlode_tests::model::{Model, Verdict, class};
use runlode_tests::sim::open;
use runlode_tests::work::Generator;
use runlode_tests::{difference, facts, knob, manual_clock, sim_options};

/// A closed store, an older image of it, and what it answers.
struct Sample {
    disk: SimDisk,
    old: SimDisk,
    facts: Vec<String>,
    /// What it answered after fewer batches.
    earlier: Vec<Vec<String>>,
    last: Lsn,
}

fn sample() -> Sample {
    let disk = SimDisk::new(3);
    let clock = manual_clock();
    let mut store = open(&disk, &clock, 3).unwrap();
    let mut work = Generator::new(12);
    work.limit_points(40);
    let mut model = Model::default();
    let mut old = disk.after_process_crash();
    let mut earlier = vec![facts::of_model(&model)];
    while model.last < Lsn(60) {
        clock.advance_ms(10);
        let head = store.positions().published;
        let write = work.write(&model, head);
        if model.verdict(&write, head) == Verdict::Accepted {
            let now = runlode_engine::Clock::now(&*clock);
            let stores_nothing = write.stores_nothing(&model.stored(&write, now));
            let receipt = write.send(&store).unwrap();
            if stores_nothing {
                continue;
            }
            model.accept(&write, receipt.lsn, now);
            earlier.push(facts::of_model(&model));
            if receipt.lsn.0.is_multiple_of(20) {
                store.seal().unwrap();
                store.maintain().unwrap();
            }
            if receipt.lsn == Lsn(41) {
                store.close().unwrap();
                old = disk.after_process_crash();
                store = open(&disk, &clock, 3).unwrap();
            }
        }
    }
    store.close().unwrap();
    let facts = facts::of_model(&model);
    let sample = Sample { disk, old, facts, earlier, last: model.last };
    assert_eq!(sample.outcome(&sample.disk.after_process_crash(), false, false), Ok("same"));
    assert_eq!(sample.outcome(&sample.disk.after_process_crash(), true, false), Ok("same"));
    sample
}

impl Sample {
    fn files(&self) -> Vec<String> {
        let mut files = vec!["FORMAT".to_owned(), "MANIFEST".to_owned(), "index.redb".to_owned()];
        for dir in ["log", "series"] {
            files.extend(self.disk.list(dir).unwrap().into_iter().map(|entry| format!("{dir}/{}", entry.name)));
        }
        files
    }

    /// What an open of a damaged store comes to.
    fn outcome(&self, disk: &SimDisk, read_only: bool, may_be_shorter: bool) -> Result<&'static str, String> {
        let run = catch_unwind(AssertUnwindSafe(|| {
            let clock = manual_clock();
            let options = sim_options(std::sync::Arc::new(disk.clone()), clock, 3).segment_bytes(4 << 10, 16 << 10);
            let store = match options.read_only(read_only).create(false).open() {
                Ok(store) => store,
                Err(error) => return typed(&error),
            };
            let found = match store.snapshot().and_then(|snapshot| facts::of_snapshot(&snapshot)) {
                Ok(found) => found,
                Err(error) => return typed(&error),
            };
            match difference(&self.facts, &found) {
                // Served without the missing part, and reported.
                Some(_) if read_only && !store.open_notes().missing.is_empty() => Ok("error"),
                // Nothing vouched for the end: a read-only open does not ask the index, and a swap may take both.
                Some(_) if may_be_shorter && self.earlier.contains(&found) => Ok("shorter"),
                Some(difference) => Err(format!("a wrong answer: {difference}")),
                None if !read_only && store.open_notes().rebuilt.is_some() => Ok("rebuilt"),
                None => Ok("same"),
            }
        }));
        run.unwrap_or_else(|_| Err("a panic".into()))
    }

    /// Damages the store in many ways, in parallel. Counts of the outcomes.
    fn each<T: Sync>(&self, what: &str, damages: &[T], damage: impl Fn(&SimDisk, &T) -> String + Sync) {
        let next = AtomicU64::new(0);
        let counts = ["same", "error", "rebuilt", "shorter"].map(|name| (name, AtomicU64::new(0)));
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut failures: Vec<String> = Vec::new();
        std::thread::scope(|scope| {
            let work = || {
                let mut failures = Vec::new();
                while let Some(which) = damages.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let disk = self.disk.after_process_crash();
                    let name = damage(&disk, which);
                    let turn = next.load(Ordering::Relaxed).is_multiple_of(4);
                    match self.outcome(
                        &disk,
                        turn,
                        turn || name.contains("index.redb and log/") || name.contains("and index.redb"),
                    ) {
                        Ok(outcome) => {
                            let count = counts.iter().find(|(name, _)| *name == outcome).unwrap();
                            count.1.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(why) => failures.push(format!("{name}, read-only {turn}: {why}")),
                    }
                }
                failures
            };
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers.into_iter().for_each(|worker| failures.extend(worker.join().unwrap()));
        });
        let some: Vec<&String> = failures.iter().take(6).collect();
        assert!(failures.is_empty(), "{what}: {} of {}: {some:#?}", failures.len(), damages.len());
        println!("{what}: {counts:?}");
    }
}

fn typed(error: &runlode_engine::Error) -> Result<&'static str, String> {
    match class(error) {
        "corrupt" | "missing file" | "format" | "not found" => Ok("error"),
        _ => Err(format!("an error of the wrong kind: {error:?}")),
    }
}

/// Unused parts are zeros: a prepared segment without frames, and the space after the last frame.
fn used_bytes(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

#[test]
fn a_flipped_bit_anywhere_is_harmless_or_reported() {
    let sample = sample();
    let stride = knob("RUNLODE_FLIP_STRIDE", 11) as usize;
    let mut flips: Vec<(String, u64, u8)> = Vec::new();
    for path in sample.files() {
        let bytes = sample.disk.file_bytes(&path).unwrap();
        println!("{path}: {} bytes, {} used", bytes.len(), used_bytes(&bytes));
        let end = (used_bytes(&bytes) + 64).min(bytes.len());
        for at in 0..end {
            let head_or_foot = at < 64 || end - at <= 128;
            match path.as_str() {
                "index.redb" if at >= 512 && at % stride != 0 => {}
                "FORMAT" | "MANIFEST" => (0..8).for_each(|bit| flips.push((path.clone(), at as u64, bit))),
                path if head_or_foot && path != "index.redb" => {
                    (0..8).for_each(|bit| flips.push((path.to_owned(), at as u64, bit)));
                }
                _ => flips.push((path.clone(), at as u64, (at * 5 % 8) as u8)),
            }
        }
    }
    sample.each("flips", &flips, |disk, (path, at, bit)| {
        disk.flip_bit(path, *at, *bit).unwrap();
        format!("{path} byte {at} bit {bit}")
    });
}

#[test]
fn a_cut_file_and_a_lost_sector_are_harmless_or_reported() {
    let sample = sample();
    let (mut cuts, mut sectors) = (Vec::new(), Vec::new());
    for path in sample.files() {
        let bytes = sample.disk.file_bytes(&path).unwrap();
        let step = if path == "index.redb" { 997 } else { 1 };
        cuts.extend((0..used_bytes(&bytes)).step_by(step).map(|len| (path.clone(), len as u64)));
        sectors.extend((0..bytes.len() as u64).step_by(SECTOR_BYTES as usize).map(|at| (path.clone(), at)));
    }
    sample.each("cuts", &cuts, |disk, (path, len)| {
        disk.open(path, OpenMode::ReadWrite).unwrap().set_len(*len).unwrap();
        format!("{path} cut to {len} bytes")
    });
    sample.each("zeroed sectors", &sectors, |disk, (path, at)| {
        disk.zero_sector(path, *at).unwrap();
        format!("{path} zeroed at {at}")
    });
    sample.each("misdirected sectors", &sectors, |disk, (path, at)| {
        disk.copy_sector(path, at + SECTOR_BYTES, *at).unwrap_or(());
        format!("{path} at {at} overwritten by the next sector")
    });
}

#[test]
fn files_that_are_swapped_gone_or_old_are_harmless_or_reported() {
    let sample = sample();
    let files = sample.files();
    let mut pairs: Vec<(String, Option<String>)> = files.iter().map(|path| (path.clone(), None)).collect();
    for (i, a) in files.iter().enumerate() {
        pairs.extend(files[..i].iter().map(|b| (a.clone(), Some(b.clone()))));
    }
    sample.each("swaps", &pairs, |disk, (a, b)| match b {
        Some(b) => {
            for (from, to) in [(a.as_str(), "LOCK"), (b, a), ("LOCK", b)] {
                disk.rename(from, to).unwrap();
            }
            format!("{a} and {b} swapped")
        }
        None => {
            disk.remove(a).unwrap();
            format!("{a} removed")
        }
    });
    let old: Vec<String> = files.iter().filter(|path| sample.old.file_bytes(path).is_ok()).cloned().collect();
    assert!(old.len() >= 4, "{old:?} at {}", sample.last);
    sample.each("old files", &old, |disk, path| {
        let bytes = sample.old.file_bytes(path).unwrap();
        let file = disk.open(path, OpenMode::ReadWrite).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        disk.overwrite_at_rest(path, 0, &bytes).unwrap();
        format!("an old {path}")
    });
}
