//! Second part: loads 10 million points of a training-shaped stream into one store, and measures writing and reading.

use std::path::Path;
use std::time::{Duration, Instant};

use runlode::engine::search::SearchQuery;
use runlode::filter;
use runlode::{CompactOptions, HistoryQuery, LocalStore, RunSpec, RunStatus};
use serde::Serialize;

use crate::error::Result;
use crate::measure::{Times, repeat};
use crate::output::Output;
use crate::workload::{KEYS, Training};
use crate::{disk, format};

/// Steps in a batch: with 10 keys a batch has 1,000 points.
const STEPS_PER_BATCH: usize = 100;

/// Numbers of this part.
#[derive(Debug, Serialize)]
pub struct Load {
    points: u64,
    append_s: f64,
    points_per_s: f64,
    batch: Times,
    log_bytes_per_point: f64,
    compact_s: f64,
    store_bytes: u64,
    store_bytes_per_point: f64,
    /// Log space that is prepared for later appends, part of `store_bytes`.
    prepared_bytes: u64,
    /// Without that space.
    kept_bytes_per_point: f64,
    latest: Times,
    downsample_320: Times,
    history: Times,
    history_points_per_s: f64,
    search: Times,
}

/// Runs this part.
pub fn run(points: u64, folder: &Path, output: &mut Output) -> Result<Load> {
    let quiet = output.is_json();
    let store = LocalStore::open(folder)?;
    let experiment = store.get_or_create_experiment("load")?;
    let run = store.create_run(experiment, RunSpec::named("ten-million").tag("kind", "demo"))?;
    let id = run.id();
    run.log_params(&[("lr", "0.001"), ("batch", "32")])?;

    let mut stream = Training::begin(&run, 1)?;
    let mut batch = Vec::new();
    let batches = points.div_ceil((STEPS_PER_BATCH * KEYS.len()) as u64);
    let points = batches * (STEPS_PER_BATCH * KEYS.len()) as u64;
    let mut times = Vec::with_capacity(usize::try_from(batches).unwrap_or(0));
    for _ in 0..batches {
        stream.fill(STEPS_PER_BATCH, &mut batch);
        let at = Instant::now();
        run.handle().log_points(&batch, runlode::Durability::Buffered)?;
        times.push(at.elapsed().as_secs_f64());
    }
    let append_s: f64 = times.iter().sum();
    let batch_times = crate::measure::of(&mut times);
    run.end(RunStatus::Finished)?;
    let log_bytes_per_point = disk::written_bytes_of(&folder.join("log"))? as f64 / points as f64;
    if !quiet {
        output.line("")?;
        output.line_now(format!(
            "appended {} points in batches of 1,000: {}, {} M points/s; a batch takes {} (p50), {} (p99), {} (worst)",
            format::count(points),
            format::seconds(append_s),
            format::value((points as f64 / append_s / 1e4).round() / 100.0),
            format::seconds(batch_times.p50_s),
            format::seconds(batch_times.p99_s),
            format::seconds(batch_times.worst_s),
        ))?;
        output.line_now(format!("in the log: {log_bytes_per_point:.2} bytes a point"))?;
    }

    let begin = Instant::now();
    store.compact(&CompactOptions::default())?;
    let compact_s = begin.elapsed().as_secs_f64();
    let store_bytes = disk::bytes_of(folder)?;
    let log = folder.join("log");
    let prepared_bytes = disk::bytes_of(&log)?.saturating_sub(disk::written_bytes_of(&log)?);
    let store_bytes_per_point = store_bytes as f64 / points as f64;
    let kept_bytes_per_point = store_bytes.saturating_sub(prepared_bytes) as f64 / points as f64;
    if !quiet {
        output.line_now(format!(
            "compacted in {}: the whole store takes {}, of it {} of empty log for what comes; {kept_bytes_per_point:.2} \
             bytes a point without that, {store_bytes_per_point:.2} with it",
            format::seconds(compact_s),
            format::bytes(store_bytes),
            format::bytes(prepared_bytes)
        ))?;
    }

    let snapshot = store.snapshot()?;
    let limit = Duration::from_millis(500);
    let (_, latest) = repeat(200, limit, || snapshot.latest(id))?;
    let (series, downsample_320) = repeat(200, limit, || snapshot.downsample(id, KEYS[0], None, 320))?;
    let query = HistoryQuery::default();
    let (page, history) = repeat(20, limit, || snapshot.history(id, KEYS[0], &query))?;
    let read = page.columns.len() as u64;
    let search = SearchQuery {
        filter: Some(filter::parse("metrics.`train/loss`.min < 1 and params.lr < 0.01")?),
        ..SearchQuery::new(experiment)
    };
    let (found, search) = repeat(200, limit, || snapshot.search(&search))?;
    let history_points_per_s = read as f64 / history.p50_s;
    if !quiet {
        output.line(format!("latest values of {} metrics: {}", KEYS.len(), format::seconds(latest.p50_s)))?;
        output.line(format!(
            "{} points to {} buckets with true extremes: {}",
            format::count(series.count),
            series.buckets.len(),
            format::seconds(downsample_320.p50_s)
        ))?;
        output.line(format!(
            "whole history, {} points with step, time and value: {}, {:.0} M points/s",
            format::count(read),
            format::seconds(history.p50_s),
            history_points_per_s / 1e6
        ))?;
        output.line_now(format!("search, {} found: {}", found.runs.len(), format::seconds(search.p50_s)))?;
    }
    drop(snapshot);
    drop(run);
    store.close()?;
    Ok(Load {
        points,
        append_s,
        points_per_s: points as f64 / append_s,
        batch: batch_times,
        log_bytes_per_point,
        compact_s,
        store_bytes,
        store_bytes_per_point,
        prepared_bytes,
        kept_bytes_per_point,
        latest,
        downsample_320,
        history,
        history_points_per_s,
        search,
    })
}
