//! Measures inboxes on this machine: an append, and the merge of what other processes logged.
//!
//! `cargo run --release -p runlode-engine --example inbox_measure`, some 10 seconds. The store lies below the folder given
//! as an argument, else in a temporary one.

mod common;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{experiment_created, run_created};
use runlode_engine::point::Point;
use runlode_engine::{Batch, Durability, InboxWriter, KeyId, Result, RunId, Store, SystemClock, TimestampMs};

fn run(number: u8) -> RunId {
    RunId([number; 16])
}

fn create(path: &std::path::Path, runs: u8) -> Result<Store> {
    let store = Store::options(path).background(false).memory_bytes(4 << 30).open()?;
    let mut batch = Batch::new().event(experiment_created());
    for number in 1..=runs {
        batch.push_event(run_created(run(number), "r"));
    }
    store.append(batch, Durability::Sync)?;
    Ok(store)
}

/// `frames` rows of `keys` keys from each of `writers` writers, logged first and merged then.
fn merge(name: &str, root: &std::path::Path, writers: u8, frames: i64, keys: usize) -> Result<()> {
    let path = root.join(name.replace([' ', ','], "-"));
    let store = create(&path, writers)?;
    let keys_count = keys as u64;
    let mut logging = Duration::ZERO;
    for number in 1..=writers {
        let writer = InboxWriter::create(&path, store.id(), Arc::new(SystemClock::default()))?;
        let keys: Vec<KeyId> = (0..keys).map(|key| writer.metric_key(&format!("k{key}"))).collect::<Result<_>>()?;
        let mut row: Vec<(KeyId, f64)> = keys.iter().map(|key| (*key, 0.0)).collect();
        let begun = Instant::now();
        for step in 0..frames {
            row.iter_mut().for_each(|(_, value)| *value = f64::from(1.0f32 / (step as f32 + 1.0)));
            let time = TimestampMs(1_700_000_000_000 + step);
            match row.as_slice() {
                [(key, value)] => {
                    let point = Point { step, time, value: *value };
                    writer.log_point(run(number), *key, point, Durability::Buffered)?;
                }
                row => drop(writer.log_row(run(number), step, time, row, Durability::Buffered)?),
            }
        }
        logging += begun.elapsed();
    }
    let begun = Instant::now();
    let report = store.merge_inboxes()?;
    let took = begun.elapsed();
    let points = report.points_count as f64;
    assert_eq!(report.points_count, u64::from(writers) * frames as u64 * keys_count);
    println!(
        "{name}: append {:.0} ns a frame; merge {:.2} M points/s, {:.2} M frames/s, {} batches, {:.1} B a point in the log",
        logging.as_nanos() as f64 / (f64::from(writers) * frames as f64),
        points / took.as_secs_f64() / 1e6,
        report.frames_count as f64 / took.as_secs_f64() / 1e6,
        report.batches_count,
        log_bytes(&path) as f64 / points,
    );
    let begun = Instant::now();
    let rounds = 10_000;
    for _ in 0..rounds {
        store.merge_inboxes()?;
    }
    println!(
        "  nothing new: {:.0} ns a merge of {writers} inboxes",
        begun.elapsed().as_nanos() as f64 / f64::from(rounds)
    );
    let begun = Instant::now();
    store.flush()?;
    let removed = store.merge_inboxes()?.inboxes_removed;
    println!("  sync and removal of {removed}: {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

fn log_bytes(path: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(path.join("log")).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .map(|meta| std::os::unix::fs::MetadataExt::blocks(&meta) * 512)
        .sum()
}

fn main() -> Result<()> {
    let scratch = std::env::temp_dir().join(format!("inbox-measure-{}", std::process::id()));
    let root = std::env::args().nth(1).map_or(scratch, PathBuf::from);
    merge("single points", &root, 8, 250_000, 1)?;
    merge("rows of 5", &root, 8, 250_000, 5)?;
    merge("rows of 100", &root, 2, 20_000, 100)?;
    merge("rows of 2000", &root, 2, 1_000, 2_000)?;
    merge("many inboxes", &root, 250, 100, 5)?;
    std::fs::remove_dir_all(&root).map_err(|error| runlode_engine::Error::io("remove", &root, error))
}
