//! Measures a tail over released positions on this machine, against reading the same points as histories. `cargo run
//! --release --example tail_measure` takes about a minute; the first argument is the number of points in millions.

mod common;

use std::time::{Duration, Instant};

use common::{experiment_created, run_created, run_id};
use runlode_engine::point::Point;
use runlode_engine::{Batch, CompactOptions, Durability, HistoryQuery, KeyedPoint, Lsn, Result, Store, TimestampMs};

/// How a store's points are logged.
struct Shape {
    name: &'static str,
    runs: u64,
    /// Runs that log side by side.
    together: u64,
    keys: u64,
    /// Points of a series that come at once.
    burst: u64,
}

const SHAPES: [Shape; 4] = [
    Shape { name: "10 runs one after the other, bursts", runs: 10, together: 1, keys: 1, burst: 100 },
    Shape { name: "100 series side by side, rows", runs: 10, together: 10, keys: 10, burst: 1 },
    Shape { name: "1,000 series side by side, rows", runs: 100, together: 100, keys: 10, burst: 1 },
    Shape { name: "short series of 20 points, rows", runs: 0, together: 8, keys: 50, burst: 1 },
];

fn fill(store: &Store, shape: &Shape, points: u64) -> Result<u64> {
    store.append(Batch::new().event(experiment_created()), Durability::Buffered)?;
    let keys = (0..shape.keys).map(|key| store.metric_key(&format!("key-{key}"))).collect::<Result<Vec<_>>>()?;
    let runs = if shape.runs == 0 { points / shape.keys / 20 } else { shape.runs };
    let steps = points / runs / shape.keys;
    for first in (0..runs).step_by(shape.together as usize) {
        let mut handles = Vec::new();
        for run in (first..runs.min(first + shape.together)).map(run_id) {
            store.append(Batch::new().event(run_created(run, "r")), Durability::Buffered)?;
            handles.push(store.run(run)?);
        }
        let point = |step: u64| Point {
            step: step as i64,
            time: TimestampMs(1_700_000_000_000 + step as i64 * 97 + (step % 7) as i64),
            value: f64::from(1.0 / (1.0 + step as f32) + (step.wrapping_mul(2_654_435_761) % 1_000) as f32 * 1e-5),
        };
        for step in (0..steps).step_by(shape.burst as usize) {
            for handle in &handles {
                if shape.burst == 1 {
                    let row: Vec<_> = keys.iter().map(|key| (*key, point(step).value)).collect();
                    handle.log_row(step as i64, point(step).time, &row, Durability::Buffered)?;
                } else {
                    let burst = |step| keys.iter().map(move |key| KeyedPoint { key: *key, point: point(step) });
                    let all: Vec<_> = (step..step + shape.burst).flat_map(burst).collect();
                    handle.log_points(&all, Durability::Buffered)?;
                }
            }
        }
    }
    store.flush()?;
    Ok(runs)
}

fn main() -> Result<()> {
    let millions: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(10);
    let points = millions * 1_000_000;
    println!("{:<40} {:>10} {:>10} {:>10} {:>7}", "", "live tail", "histories", "tail", "ratio");
    for shape in SHAPES {
        let dir = tempfile::tempdir().map_err(|error| runlode_engine::Error::Internal(error.to_string()))?;
        let store = Store::options(dir.path().join("store")).open()?;
        let runs = fill(&store, &shape, points)?;
        let tail = |store: &Store| -> Result<(Duration, u64)> {
            let begun = Instant::now();
            let (mut tail, mut count) = (store.tail(Lsn(1))?, 0);
            loop {
                let batches = tail.next(256, Duration::ZERO)?;
                if batches.is_empty() {
                    return Ok((begun.elapsed(), count));
                }
                count +=
                    batches.iter().flat_map(|batch| &batch.points).map(|(_, points)| points.len() as u64).sum::<u64>();
            }
        };
        let live = tail(&store)?;
        store.compact(&CompactOptions::default())?;
        let begun = Instant::now();
        let (snapshot, mut read) = (store.snapshot()?, 0);
        for run in (0..runs).map(run_id) {
            for key in 0..shape.keys {
                read += snapshot.history(run, &format!("key-{key}"), &HistoryQuery::default())?.columns.len() as u64;
            }
        }
        let histories = begun.elapsed();
        drop(snapshot);
        let released = tail(&store)?;
        assert_eq!((live.1, read), (released.1, released.1));
        let nanos = |time: Duration| time.as_nanos() as f64 / read as f64;
        println!(
            "{:<40} {:>7.0} ns {:>7.0} ns {:>7.0} ns {:>7.1}",
            shape.name,
            nanos(live.0),
            nanos(histories),
            nanos(released.0),
            nanos(released.0) / nanos(histories)
        );
    }
    Ok(())
}
