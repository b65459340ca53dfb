//! Measures where the bytes of a store of many short series lie, after a compaction, by kind.
//!
//! ```text
//! cargo run --release -p runlode-engine --example many_measure -- FOLDER [runs = 200] [metrics = 1500] [steps = 20]
//! ```
//! Makes the store in `FOLDER` if there is none: every run logs a row of all metrics at each step, values that are
//! random in all their bits. Prints bytes a series and bytes a point: index.redb table by table, series files, the log.
//! Then reads it back: the latest values of runs, and whole histories.

mod common;

use std::path::Path;
use std::time::Instant;

use common::{experiment_created, mix, run_created, run_id, unit};
use runlode_engine::index::Index;
use runlode_engine::series::SeriesFile;
use runlode_engine::storage::disk::Disk;
use runlode_engine::{Batch, CompactOptions, Durability, HistoryQuery, Store, StoreId, TimestampMs};

/// Runs, metrics of each, steps of each.
#[derive(Clone, Copy)]
struct Shape {
    runs: u64,
    metrics: u64,
    steps: u64,
}

fn make(store: &Store, shape: Shape) -> Result<(), Box<dyn std::error::Error>> {
    store.append(Batch::new().event(experiment_created()), Durability::Sync)?;
    let keys =
        (0..shape.metrics).map(|key| store.metric_key(&format!("metric_{key}"))).collect::<Result<Vec<_>, _>>()?;
    for number in 0..shape.runs {
        let run = run_id(number);
        let created = run_created(run, format!("run-{number}"));
        store.append(Batch::new().event(created), Durability::Buffered)?;
        let handle = store.run(run)?;
        let mut time = 1_700_000_000_000 + number as i64 * 1_000;
        for step in 0..shape.steps {
            time += 80 + (mix(number * 1_000 + step) % 83) as i64;
            let at = |metric: usize| unit((number * shape.steps + step) * shape.metrics + metric as u64);
            let row: Vec<_> = keys.iter().enumerate().map(|(metric, key)| (*key, at(metric))).collect();
            handle.log_row(step as i64, TimestampMs(time), &row, Durability::Buffered)?;
        }
    }
    Ok(())
}

fn timed<T, E>(what: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let start = Instant::now();
    let done = work()?;
    println!("{what:<46} {:9.1} ms", start.elapsed().as_secs_f64() * 1e3);
    Ok(done)
}

struct Lines {
    series: f64,
    points: f64,
}

impl Lines {
    fn print(&self, what: &str, bytes: u64) {
        let (a_series, a_point) = (bytes as f64 / self.series, bytes as f64 / self.points);
        println!("{what:<40} {bytes:>14} B {a_series:9.2} B/series {a_point:8.3} B/point");
    }
}

fn folder_bytes(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() { folder_bytes(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}

fn sizes(folder: &Path, id: StoreId, shape: Shape) -> Result<(), Box<dyn std::error::Error>> {
    let disk = Disk::new(folder);
    let series = shape.runs * shape.metrics;
    let lines = Lines { series: series as f64, points: (series * shape.steps) as f64 };
    let index = Index::look(&disk, id).ok_or("the index cannot be read")?;
    for table in index.sizes()? {
        lines.print(&format!("index {} rows of {}", table.rows, table.name), table.stored_bytes);
        lines.print("    pages' own bytes", table.metadata_bytes);
        lines.print("    free in pages", table.fragmented_bytes);
    }
    lines.print("index.redb", std::fs::metadata(folder.join("index.redb"))?.len());
    let (mut chunks, mut rollups, mut directory, mut rest) = (0, 0, 0, 0);
    for entry in std::fs::read_dir(folder.join("series"))? {
        let entry = entry?;
        let file = SeriesFile::open(&disk, &format!("series/{}", entry.file_name().to_string_lossy()), id)?;
        let footer = file.footer();
        chunks += footer.rollups_offset;
        rollups += footer.directory_offset - footer.rollups_offset;
        directory += footer.directory_len;
        rest += entry.metadata()?.len() - footer.directory_offset - footer.directory_len;
        println!("{}: {} chunks, {} series", file.path(), footer.chunks, footer.series);
    }
    lines.print("series: chunks and column blocks", chunks);
    lines.print("series: rollups", rollups);
    lines.print("series: directory", directory);
    lines.print("series: footer", rest);
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        let bytes = if meta.is_dir() { folder_bytes(&entry.path())? } else { meta.len() };
        lines.print(&entry.file_name().to_string_lossy(), bytes);
    }
    lines.print("the whole store", folder_bytes(folder)?);
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, rest @ ..] = &arguments[..] else { return Err("a folder, then runs, metrics and steps".into()) };
    let number = |at: usize, default: u64| rest.get(at).map_or(Ok(default), |text| text.parse());
    let shape = Shape { runs: number(0, 200)?, metrics: number(1, 1_500)?, steps: number(2, 20)? };
    let folder = Path::new(folder);
    if !folder.exists() {
        let store = Store::open(folder)?;
        timed("log", || make(&store, shape))?;
        timed("seal", || store.seal())?;
        timed("compact", || store.compact(&CompactOptions::default()))?;
        timed("close", || store.close())?;
    }
    let store = timed("open", || Store::open(folder))?;
    let id = store.id();
    let runs = shape.runs.min(50);
    timed(&format!("latest values of {runs} runs"), || {
        (0..runs).try_for_each(|run| store.snapshot()?.latest(run_id(run)).map(drop))
    })?;
    timed(&format!("history of one series of {runs} runs"), || {
        (0..runs)
            .try_for_each(|run| store.snapshot()?.history(run_id(run), "metric_7", &HistoryQuery::default()).map(drop))
    })?;
    let keys: Vec<String> = (0..shape.metrics).map(|key| format!("metric_{key}")).collect();
    timed("history of each series of 5 runs", || {
        (0..runs.min(5)).try_for_each(|run| {
            let snapshot = store.snapshot()?;
            keys.iter().try_for_each(|key| snapshot.history(run_id(run), key, &HistoryQuery::default()).map(drop))
        })
    })?;
    timed("100 buckets of each series of 5 more runs", || {
        (5..runs.min(10)).try_for_each(|run| {
            let snapshot = store.snapshot()?;
            keys.iter().try_for_each(|key| snapshot.downsample(run_id(run), key, None, 100).map(drop))
        })
    })?;
    timed("close", || store.close())?;
    sizes(folder, id, shape)
}
