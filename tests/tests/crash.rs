//! A crash at every storage operation, and a check of what the next open finds.
//!
//! Each seed records mixed work on the simulated disk. Then the disk is restored to how it was when each of its
//! operations crashed: once for a dying process, several times for a power cut (nothing, everything, torn sectors,
//! reordered or dropped operations, lengths without bytes and bytes without lengths). One in twenty crashes again, at
//! several operations of its recovery. [`runlode_tests::sim`] checks what must hold.
//!
//! `RUNLODE_SIM_SCALE` multiplies the number of recordings (default 1: more than 20,000 crashes), `RUNLODE_SIM_SEED` is
//! the first seed. A failure names seed, operation and kind; running with that seed repeats it.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use runlode_engine::storage::sim::{Keep, PowerCut, SimDisk, mix};
use runlode_tests::knob;
use runlode_tests::sim::{History, open};

/// Steps of a life.
const STEPS: u64 = 90;
/// Lives at scale 1.
const LIVES: u64 = 10;
/// Power cuts for each operation.
const POWER_CUTS: u64 = 3;

/// What a crash leaves.
#[derive(Debug, Clone, Copy)]
enum Crash {
    Process,
    Power(PowerCut),
}

impl Crash {
    fn left(self, disk: &SimDisk) -> SimDisk {
        match self {
            Self::Process => disk.after_process_crash(),
            Self::Power(cut) => disk.after_power_cut(cut),
        }
    }

    fn is_power_cut(self) -> bool {
        matches!(self, Self::Power(_))
    }
}

/// The crashes at one operation: a process's, and power cuts of other kinds each time.
fn crashes(seed: u64, number: u64) -> Vec<Crash> {
    let mut all = vec![Crash::Process];
    for i in 0..POWER_CUTS {
        let keep = Keep::ALL[((number * POWER_CUTS + i) % Keep::ALL.len() as u64) as usize];
        all.push(Crash::Power(PowerCut { keep, seed: mix(seed ^ mix(number ^ i << 32)) }));
    }
    all
}

/// Crashes a life everywhere. The number of crashes, or what went wrong.
fn enumerate(history: &History) -> Result<u64, String> {
    let seed = history.seed;
    let mut count = 0;
    for (number, disk) in history.recording.crashes(seed) {
        for (kind, crash) in crashes(seed, number).into_iter().enumerate() {
            let expected = history.expected(number, crash.is_power_cut());
            let failed = |what: &str, why: String| {
                format!("RUNLODE_SIM_SEED={seed}, operation {number}, {crash:?}{what}: {why}")
            };
            let thorough = mix(seed ^ number) % 4 == kind as u64;
            count += 1;
            history.check(&crash.left(&disk), expected, thorough).map_err(|why| failed("", why))?;
            if mix(seed ^ mix(number) ^ kind as u64).is_multiple_of(20) {
                count += again(history, &crash.left(&disk), expected, number, crash)
                    .map_err(|why| failed(" and again", why))?;
            }
        }
    }
    Ok(count)
}

/// Crashes in the recovery of a crash.
fn again(
    history: &History,
    disk: &SimDisk,
    (least, most): (usize, usize),
    number: u64,
    first: Crash,
) -> Result<u64, String> {
    let clock = runlode_tests::manual_clock();
    disk.record();
    // Once it is served, it is promised.
    drop(open(disk, &clock, history.seed).map_err(|error| format!("the open fails: {error}"))?);
    let recovery = disk.recording().unwrap();
    let mut count = 0;
    for (inner, disk) in recovery.crashes(mix(number)) {
        if !mix(number ^ mix(inner)).is_multiple_of(8) && inner <= recovery.last() {
            continue;
        }
        for crash in [Crash::Process, Crash::Power(PowerCut::seeded(mix(number ^ inner)))] {
            // A process crash loses nothing that the first crash left; only a power cut does.
            let least = if first.is_power_cut() || crash.is_power_cut() {
                least.min(power_least(history, number))
            } else {
                least
            };
            count += 1;
            history
                .check(&crash.left(&disk), (least, most), false)
                .map_err(|why| format!("at operation {inner} of the recovery, {crash:?}: {why}"))?;
        }
    }
    Ok(count)
}

fn power_least(history: &History, number: u64) -> usize {
    history.expected(number, true).0
}

#[test]
fn a_crash_at_any_operation_loses_nothing_that_was_promised() {
    let scale = knob("RUNLODE_SIM_SCALE", 1);
    let first = knob("RUNLODE_SIM_SEED", 1);
    println!("RUNLODE_SIM_SEED={first} RUNLODE_SIM_SCALE={scale}");
    let start = Instant::now();
    let (next, crashes, batches) = (AtomicU64::new(first), AtomicU64::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut failures: Vec<String> = Vec::new();
    std::thread::scope(|scope| {
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + LIVES * scale {
                    return Ok(());
                }
                let history = History::record(seed, STEPS, false);
                batches.fetch_add(history.acked.len() as u64, Ordering::Relaxed);
                crashes.fetch_add(enumerate(&history)?, Ordering::Relaxed);
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        failures.extend(workers.into_iter().filter_map(|worker| worker.join().unwrap().err()));
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let crashes = crashes.into_inner();
    println!(
        "{crashes} crashes of {} lives with {} batches in {:.1} s",
        LIVES * scale,
        batches.into_inner(),
        start.elapsed().as_secs_f64()
    );
    assert!(scale < 1 || crashes >= 20_000, "{crashes} crashes are too few");
}

#[test]
fn a_seed_means_the_same_life_every_time() {
    let (a, b) = (History::record(5, STEPS, false), History::record(5, STEPS, false));
    assert_eq!(a.recording.last(), b.recording.last());
    assert_eq!(
        a.acked.iter().map(|acked| (acked.lsn, acked.at)).collect::<Vec<_>>(),
        b.acked.iter().map(|acked| (acked.lsn, acked.at)).collect::<Vec<_>>()
    );
    let image = |history: &History| {
        let (_, disk) = history.recording.crashes(1).last().unwrap();
        let disk = disk.after_process_crash();
        ["FORMAT", "MANIFEST", "index.redb", "log/00000001.seg"].map(|path| disk.file_bytes(path).ok())
    };
    assert_eq!(image(&a), image(&b));
}

/// The checker sees a disk whose syncs only pretend: else it would see nothing.
#[test]
fn a_disk_that_lies_is_noticed() {
    let noticed = (1..=4).any(|seed| {
        let history = History::record(seed, STEPS, true);
        history.recording.crashes(seed).any(|(number, disk)| {
            let cut = Crash::Power(PowerCut { keep: Keep::Nothing, seed: 1 });
            history.check(&cut.left(&disk), history.expected(number, true), false).is_err()
        })
    });
    assert!(noticed);
}
