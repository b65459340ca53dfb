//! How fast a store is exported, and how large the result is.
//!
//! ```sh
//! cargo run --release -p runlode-export --example measure -- SCRATCH 20000000
//! ```

use std::path::Path;
use std::time::Instant;

use runlode::engine::KeyedPoint;
use runlode::{CompactOptions, LocalStore, Point, RunSpec, TimestampMs};
use runlode_export::{Options, Target, export};

const RUNS: u64 = 10;
const KEYS: usize = 10;

/// Values like a falling loss in f32, with times that jitter.
fn fill(store: &LocalStore, points: u64) -> Result<(), Box<dyn std::error::Error>> {
    let experiment = store.create_experiment("measured")?;
    let mut state = 7u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(1u32 << 31)
    };
    let keys =
        (0..KEYS).map(|key| store.engine().metric_key(&format!("metric_{key}"))).collect::<Result<Vec<_>, _>>()?;
    for number in 0..RUNS {
        let run = store.create_run(experiment, RunSpec::named(format!("run-{number}")))?;
        let mut times = [1_700_000_000_000i64; KEYS];
        let mut batch = Vec::new();
        for step in 0..(points / RUNS / KEYS as u64).cast_signed() {
            for (key, time_ms) in keys.iter().zip(&mut times) {
                *time_ms += 60 + (random() * 40.0 + random() * 40.0) as i64;
                let value = (1.0 / (1.0 + step as f64 / 1000.0) * (0.84 + 0.32 * random())) as f32;
                batch.push(KeyedPoint {
                    key: *key,
                    point: Point { step, time: TimestampMs(*time_ms), value: f64::from(value) },
                });
            }
            if batch.len() >= 1_000 {
                run.handle().log_points(&batch, runlode::Durability::Buffered)?;
                batch.clear();
            }
        }
        if !batch.is_empty() {
            run.handle().log_points(&batch, runlode::Durability::Buffered)?;
        }
    }
    Ok(())
}

fn bytes(folder: &Path) -> std::io::Result<u64> {
    std::fs::read_dir(folder)?.try_fold(0, |sum, entry| {
        let entry = entry?;
        let metadata = entry.metadata()?;
        Ok(sum + if metadata.is_dir() { bytes(&entry.path())? } else { metadata.len() })
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(scratch), Some(points)) = (words.next(), words.next()) else {
        return Err("usage: measure SCRATCH POINTS".into());
    };
    let (scratch, points): (&Path, u64) = (scratch.as_ref(), points.parse()?);
    let path = scratch.join("store");
    if !path.exists() {
        let store = LocalStore::open(&path)?;
        fill(&store, points)?;
        store.flush()?;
        store.engine().seal()?;
        store.compact(&CompactOptions::default())?;
        store.close()?;
    }
    let store = LocalStore::options(&path).read_only(true).open()?;
    println!("store: {:.3} B a point", bytes(&path.join("series"))? as f64 / points as f64);
    for (name, target) in [
        ("parquet", Target::Parquet(scratch.join("tables"))),
        ("tensorboard", Target::TensorBoard(scratch.join("logs"))),
        ("sqlite", Target::Sqlite(scratch.join("back.db"))),
    ] {
        let begin = Instant::now();
        let report = export(&store, &target, &Options::default().threads(2), &mut |_| {})?;
        let seconds = begin.elapsed().as_secs_f64();
        let cpu = cpu_seconds();
        println!(
            "{name}: {:.2} Mpts/s, {:.3} B a point; so far {cpu:.1} s of CPU, at most {} of memory",
            report.written.points as f64 / seconds / 1e6,
            report.bytes as f64 / points as f64,
            memory_max().trim()
        );
    }
    Ok(())
}

/// The most memory that this process has had.
fn memory_max() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown").to_owned()
}

/// CPU time of this process.
fn cpu_seconds() -> f64 {
    std::fs::read_to_string("/proc/self/stat").ok().map_or(0.0, |stat| {
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        (ticks(11) + ticks(12)) / 100.0
    })
}
