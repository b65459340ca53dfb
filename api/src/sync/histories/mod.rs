//! Random histories of stores that sync with each other, compared with a model of the rules in plain Rust.
//!
//! A history has two to five stores that change things, with clocks that are hours off, and now and then weeks ahead.
//! They sync in any direction, completely or interrupted; they are copied by a replay, compacted, and reopened from
//! their logs alone. They import one or two sources that grow (`played`), completely or interrupted; so several
//! stores have the same runs, and top them up. A store, or a copy of its files, is merged into another one, and removed
//! if all of it was taken. During a sync or a merge, files of the source may vanish, as on a file system of several
//! machines: then it is refused, or copies what is before the gap and notes nothing after it. After each sync the
//! target must answer as the model does (`model`), and report what the model reports. At the end all stores sync with each
//! other until nothing changes. Then they must be equal, except for reported decisions of the registry; every point must
//! be in each store once, and every field must have its latest change.
//!
//! `RUNLODE_SYNC_HISTORIES` sets how many (default 10,000), `RUNLODE_SYNC_SEED` the first seed. A failure names its
//! seed, and the shortest prefix of its steps that fails.

mod changes;
mod model;
mod played;
mod side;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use world::World;

/// A history of `steps` steps. Returns what was done.
fn run(seed: u64, steps: u64, trace: bool) -> Vec<String> {
    let mut world = World::new(seed);
    let mut done = Vec::new();
    for _ in 0..steps {
        let step = world.step();
        if trace && !step.is_empty() {
            println!("{step}");
        }
        done.push(step);
    }
    world.settle();
    done
}

fn knob(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[test]
fn stores_end_equal_whatever_order_they_sync_in() {
    let count = knob("RUNLODE_SYNC_HISTORIES", 10_000);
    let first = knob("RUNLODE_SYNC_SEED", 1);
    let fails = |seed: u64, steps: u64| std::panic::catch_unwind(|| run(seed, steps, false)).is_err();
    let steps = |seed: u64| 10 + seed % 50;
    let next = AtomicU64::new(first);
    let failed = AtomicU64::new(u64::MAX);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            scope.spawn(|| {
                while failed.load(Ordering::Relaxed) == u64::MAX {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    if fails(seed, steps(seed)) {
                        failed.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let seed = failed.into_inner();
    if seed != u64::MAX {
        let shortest = (1..=steps(seed)).find(|steps| fails(seed, *steps)).unwrap_or(steps(seed));
        println!(
            "RUNLODE_SYNC_SEED={seed} RUNLODE_SYNC_HISTORIES=1: fails with the first {shortest} of {} steps:",
            steps(seed)
        );
        run(seed, shortest, true);
        panic!("seed {seed} fails");
    }
    println!("{count} histories from seed {first} on");
}
