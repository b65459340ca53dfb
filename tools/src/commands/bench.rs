//! `runlode bench DIR`: measures ingestion and queries, with floors from the same run.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use runlode::{CompactOptions, Durability, HistoryQuery, LocalStore, Point, RunSpec};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::find::folder_path;
use crate::measure::{self, repeat};
use crate::output::Output;
use crate::workload::{KEYS, Training};
use crate::{Answer, disk, format, interrupt};

/// Steps in a batch of 1,000 points.
const STEPS_PER_BATCH: usize = 100;
/// Appends that are timed one by one.
const SINGLES: usize = 200_000;
/// Syncs that are timed one by one.
const SYNCS: usize = 300;

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// Scratch folder; a store is created in it and removed at the end
    #[arg(value_parser = folder_path)]
    folder: PathBuf,
    /// Points to load
    #[arg(long, default_value_t = 20_000_000, value_parser = clap::value_parser!(u64).range(1_000_000..))]
    points: u64,
}

/// One line of the answer.
#[derive(Debug, Serialize)]
struct Line {
    what: &'static str,
    measured: f64,
    unit: &'static str,
    /// The same work done by a bare loop, if that makes sense.
    floor: Option<f64>,
}

impl Bench {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let cannot = |error| Error::io(format!("cannot use {}", self.folder.display()), error);
        std::fs::create_dir_all(&self.folder).map_err(cannot)?;
        let scratch = tempfile::Builder::new().prefix("runlode-bench").tempdir_in(&self.folder).map_err(cannot)?;
        interrupt::remove_at_interrupt(scratch.path())?;
        let mut lines = Vec::new();
        measure_all(&scratch.path().join("store"), scratch.path(), self.points, &mut |line: Line| {
            if !output.is_json() {
                let floor =
                    line.floor.map_or_else(String::new, |floor| format!("   (bare: {})", show(floor, line.unit)));
                output.line_now(format!("{:44} {:>16}{floor}", line.what, show(line.measured, line.unit)))?;
            }
            lines.push(line);
            Ok(())
        })?;
        if output.is_json() {
            output.document(&lines)?;
        }
        Ok(Answer::Yes)
    }
}

fn show(measured: f64, unit: &str) -> String {
    match unit {
        "s" => format::seconds(measured),
        "points/s" => format!("{:.1} M points/s", measured / 1e6),
        unit => format!("{measured:.2} {unit}"),
    }
}

fn measure_all(folder: &Path, scratch: &Path, points: u64, say: &mut dyn FnMut(Line) -> Result<()>) -> Result<()> {
    let store = LocalStore::open(folder)?;
    let experiment = store.get_or_create_experiment("bench")?;
    let run = store.create_run(experiment, RunSpec::named("load"))?;
    let mut stream = Training::begin(&run, 7)?;
    let mut batch = Vec::new();
    let batches = points / (STEPS_PER_BATCH * KEYS.len()) as u64;
    let points = batches * (STEPS_PER_BATCH * KEYS.len()) as u64;

    let mut times = Vec::new();
    for _ in 0..batches {
        stream.fill(STEPS_PER_BATCH, &mut batch);
        let at = Instant::now();
        run.handle().log_points(&batch, Durability::Buffered)?;
        times.push(at.elapsed().as_secs_f64());
    }
    let append_s: f64 = times.iter().sum();
    let log_bytes = disk::written_bytes_of(&folder.join("log"))?;
    let floor_s = write_floor(scratch, log_bytes, log_bytes / batches.max(1))?;
    say(Line {
        what: "append, Buffered, batches of 1,000",
        measured: points as f64 / append_s,
        unit: "points/s",
        floor: Some(points as f64 / floor_s),
    })?;
    say(Line { what: "  worst call", measured: measure::of(&mut times).worst_s, unit: "s", floor: None })?;
    say(Line { what: "  in the log", measured: log_bytes as f64 / points as f64, unit: "bytes/point", floor: None })?;

    let single = store.create_run(experiment, RunSpec::named("single"))?;
    let key = store.engine().metric_key("loss")?;
    let mut times = Vec::with_capacity(SINGLES);
    for step in 0..SINGLES as i64 {
        let point = Point { step, time: store.now(), value: step as f64 };
        let at = Instant::now();
        single.handle().log_point(key, point, Durability::Buffered)?;
        times.push(at.elapsed().as_secs_f64());
    }
    let singles = measure::of(&mut times);
    say(Line { what: "append, Buffered, one point (p50)", measured: singles.p50_s, unit: "s", floor: None })?;
    say(Line { what: "append, Buffered, one point (p99)", measured: singles.p99_s, unit: "s", floor: None })?;

    let floor = sync_floor(scratch)?;
    let mut times = Vec::with_capacity(SYNCS);
    for step in 0..SYNCS as i64 {
        let point = Point { step: SINGLES as i64 + step, time: store.now(), value: step as f64 };
        let at = Instant::now();
        single.handle().log_point(key, point, Durability::Sync)?;
        times.push(at.elapsed().as_secs_f64());
    }
    let sync = measure::of(&mut times);
    say(Line { what: "append, Sync, one point (p50)", measured: sync.p50_s, unit: "s", floor: Some(floor) })?;

    let begin = Instant::now();
    store.compact(&CompactOptions::default())?;
    say(Line { what: "compact", measured: begin.elapsed().as_secs_f64(), unit: "s", floor: None })?;
    let store_bytes = disk::bytes_of(folder)? as f64;
    let in_store = points as f64 + (SINGLES + SYNCS) as f64;
    say(Line { what: "  the whole store", measured: store_bytes / in_store, unit: "bytes/point", floor: Some(24.0) })?;

    let snapshot = store.snapshot()?;
    let limit = Duration::from_secs(1);
    let (_, latest) = repeat(500, limit, || snapshot.latest(run.id()))?;
    say(Line { what: "latest of 10 metrics (p50)", measured: latest.p50_s, unit: "s", floor: None })?;
    let (_, down) = repeat(500, limit, || snapshot.downsample(run.id(), KEYS[0], None, 320))?;
    say(Line { what: "downsample to 320 buckets (p50)", measured: down.p50_s, unit: "s", floor: None })?;
    let query = HistoryQuery::default();
    let (page, history) = repeat(50, limit, || snapshot.history(run.id(), KEYS[0], &query))?;
    let rate = page.columns.len() as f64 / history.p50_s;
    say(Line { what: "history with step, time, value", measured: rate, unit: "points/s", floor: None })?;
    drop(snapshot);
    drop((run, single));
    store.close()?;
    Ok(())
}

/// Seconds to write `bytes` to a file in pieces of `piece_bytes`, without a sync.
fn write_floor(scratch: &Path, bytes: u64, piece_bytes: u64) -> Result<f64> {
    let path = scratch.join("floor");
    let cannot = |error| Error::io(format!("cannot write {}", path.display()), error);
    let piece = vec![0x5a_u8; usize::try_from(piece_bytes).unwrap_or(1).max(1)];
    let mut file = File::create(&path).map_err(cannot)?;
    let begin = Instant::now();
    let mut written = 0;
    while written < bytes {
        file.write_all(&piece).map_err(cannot)?;
        written += piece.len() as u64;
    }
    let seconds = begin.elapsed().as_secs_f64();
    std::fs::remove_file(&path).map_err(cannot)?;
    Ok(seconds)
}

/// Median seconds of a 4 KiB write and fdatasync on an existing file.
fn sync_floor(scratch: &Path) -> Result<f64> {
    let path = scratch.join("floor");
    let cannot = |error| Error::io(format!("cannot write {}", path.display()), error);
    let file = File::create(&path).map_err(cannot)?;
    let page = [0x5a_u8; 4096];
    file.write_all_at(&vec![0; 4096 * SYNCS], 0).map_err(cannot)?;
    file.sync_all().map_err(cannot)?;
    let mut times = Vec::with_capacity(SYNCS);
    for index in 0..SYNCS as u64 {
        let at = Instant::now();
        file.write_all_at(&page, index * 4096).map_err(cannot)?;
        file.sync_data().map_err(cannot)?;
        times.push(at.elapsed().as_secs_f64());
    }
    std::fs::remove_file(&path).map_err(cannot)?;
    Ok(measure::of(&mut times).p50_s)
}
