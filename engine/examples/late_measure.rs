//! What old points cost: in order, in any order, and sent again.
//!
//! `cargo run --release -p runlode-engine --example late_measure [POINTS]`

mod common;

use std::error::Error;
use std::time::Instant;

use common::{experiment_created, run_created};
use runlode_engine::point::Point;
use runlode_engine::{Batch, Durability, KeyedPoint, RunId, Store, TimestampMs};

const RUN: RunId = RunId([7; 16]);
/// A time that no clock has passed: such points are never late.
const AHEAD_MS: i64 = 4_000_000_000_000;

/// Steps from 0, each once, in an order that a prime makes.
fn shuffled(count: i64) -> impl Iterator<Item = i64> {
    (0..count).map(move |at| (at * 7_368_787) % count)
}

fn main() -> Result<(), Box<dyn Error>> {
    let count: i64 = std::env::args().nth(1).map_or(Ok(1_000_000), |count| count.parse())?;
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path().join("store"))?;
    store.append(Batch::new().event(experiment_created()).event(run_created(RUN, "r")), Durability::Sync)?;
    let handle = store.run(RUN)?;
    let old = |step: i64| Point { step, time: TimestampMs(1_000_000 + step * 10), value: step as f64 };
    let new = |step: i64| Point { time: TimestampMs(AHEAD_MS), ..old(step) };
    let measure =
        |what: &str, key: &str, work: &dyn Fn() -> runlode_engine::Result<()>| -> runlode_engine::Result<()> {
            let begun = Instant::now();
            work()?;
            let seconds = begun.elapsed().as_secs_f64();
            let stored = store.snapshot()?.count_exact(RUN, key)?;
            println!("{what:40} {:8.0} ns a point, {stored} points", seconds * 1e9 / count as f64);
            Ok(())
        };
    let single = |key: &str, points: &mut dyn Iterator<Item = Point>| -> runlode_engine::Result<()> {
        let key = store.metric_key(key)?;
        for point in points {
            handle.log_point(key, point, Durability::Buffered)?;
        }
        Ok(())
    };
    let batches = |key: &str, points: &mut dyn Iterator<Item = Point>| -> runlode_engine::Result<()> {
        let key = store.metric_key(key)?;
        let points: Vec<KeyedPoint> = points.map(|point| KeyedPoint { key, point }).collect();
        points.chunks(1000).try_for_each(|part| handle.log_points(part, Durability::Buffered).map(drop))
    };
    measure("new, in order, one by one", "a", &|| single("a", &mut (0..count).map(new)))?;
    measure("old, in order, one by one", "b", &|| single("b", &mut (0..count).map(old)))?;
    measure("new, in order, by 1000", "c", &|| batches("c", &mut (0..count).map(new)))?;
    measure("old, in order, by 1000", "d", &|| batches("d", &mut (0..count).map(old)))?;
    measure("old, in any order, by 1000", "e", &|| batches("e", &mut shuffled(count).map(old)))?;
    measure("old, in any order, by 1000, again", "e", &|| batches("e", &mut shuffled(count).map(old)))?;
    measure("old, in order, by 1000, again", "d", &|| batches("d", &mut (0..count).map(old)))?;
    measure("old, in any order, one by one", "f", &|| single("f", &mut shuffled(count).map(old)))?;
    measure("old, in any order, one by one, again", "f", &|| single("f", &mut shuffled(count).map(old)))?;
    Ok(())
}
