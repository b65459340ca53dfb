//! Very many series: runs of 1,500 metrics and 20 steps each, 150 params and 50 tags a run.
//!
//! `RUNLODE_BENCH_SERIES` says how many series (default 300,000; the promise is for 11,250,000), and
//! `RUNLODE_BENCH_UNSEALED` how many points lie unsealed while charts are drawn (default 30,000,000; the promise is for
//! 300,000,000). Values are random: of each f64, 52 bits cannot be taken away.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use runlode_engine::event::ParamsLogged;
use runlode_engine::search::filter::{self, Filter};
use runlode_engine::search::{OrderKey, SearchQuery};
use runlode_engine::{Batch, Durability, KeyId, RunHandle, Store, TimestampMs};

use crate::Result;
use crate::bars::Context;
use crate::engine::{self, BATCH_POINTS, EXPERIMENT};
use crate::machine::{status_kib, waited_for_core_ns};
use crate::report::Measured;
use crate::rng::Rng;
use crate::scratch::{breakdown, disk_bytes};
use crate::stream::{Stream, Values};
use crate::timing::{Samples, median, repeat};

const KEYS: usize = 1_500;
const STEPS: i64 = 20;
const PARAMS: usize = 150;
const TAGS: usize = 50;
const MILLION: usize = 1_000_000;
/// Points a second that come in while charts are drawn.
const COMING_PER_S: f64 = 15e6;
const LIVE_BUCKETS: usize = 320;
const ZOOM_BUCKETS: usize = 1_000;
/// Windows, as parts of all steps.
const ZOOMS: [f64; 4] = [1.0, 0.3, 0.03, 0.003];
const ZOOM_PLACES: usize = 15;
/// For each size.
const ZOOM_TIME_MAX: Duration = Duration::from_secs(2);

fn number(variable: &str, default: u64) -> Result<u64> {
    match std::env::var(variable) {
        Ok(text) => text.replace('_', "").parse().map_err(|_| format!("{variable} is no number: {text}").into()),
        Err(_) => Ok(default),
    }
}

/// See the module.
pub(crate) fn run(context: &Context<'_>) -> Result {
    let runs = (number("RUNLODE_BENCH_SERIES", 300_000)? / KEYS as u64).max(2);
    let unsealed = number("RUNLODE_BENCH_UNSEALED", 30_000_000)? as usize;
    let (stop, greatest) = (AtomicBool::new(false), AtomicU64::new(0));
    let before = status_kib("RssAnon");
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                greatest.fetch_max(status_kib("RssAnon"), Ordering::AcqRel);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let done = many(context, runs);
        stop.store(true, Ordering::Release);
        done
    });
    let mib = |kib: u64| kib as f64 / 1024.0;
    context.tell(Measured::new("many.memory", mib(greatest.load(Ordering::Acquire))).note(format!(
        "{} series made, sealed, compacted, opened and searched; read every 5 ms; {:.0} MiB before",
        runs * KEYS as u64,
        mib(before)
    )));
    done?;
    live(context)?;
    zoom(context, unsealed)
}

// ---- many series --------------------------------------------------------------------------------------------------

fn many(context: &Context<'_>, runs: u64) -> Result {
    let path = context.dir.join("store");
    let series = runs * KEYS as u64;
    let points = series * STEPS as u64;
    context.progress(&format!("{series} series of {STEPS} points"));
    let store = engine::create(&path, 0)?;
    let keys = engine::keys(&store, KEYS)?;
    let start = Instant::now();
    let (mut samples, mut own) = log_runs(&store, &keys, runs)?;
    let logged_s = start.elapsed().as_secs_f64();
    engine::seal_all(&store)?;
    store.checkpoint()?;
    let sealed_s = start.elapsed().as_secs_f64();
    let rate = points as f64 / samples.sum_s() / 1e6;
    context.tell(Measured::new("many.log_worst", samples.max_ns() / 1e6).note(format!(
        "{} calls of {KEYS} keys; p50 {:.3} ms, p99 {:.2} ms, p99.9 {:.2} ms; without the times that other processes had \
         the core: p99.9 {:.2} ms, worst {:.1} ms; {rate:.1} Mpts/s; logged in {logged_s:.1} s, sealed after {sealed_s:.1} s",
        samples.count(),
        samples.p50_ns() / 1e6,
        samples.quantile_ns(0.99) / 1e6,
        samples.quantile_ns(0.999) / 1e6,
        own.quantile_ns(0.999) / 1e6,
        own.max_ns() / 1e6,
    )));
    let indexed = disk_bytes(&path.join("index.redb"))?;

    context.progress("compact");
    let start = Instant::now();
    engine::compact_and_close(store)?;
    let compacted_s = start.elapsed().as_secs_f64();
    let index = disk_bytes(&path.join("index.redb"))?;
    context.tell(Measured::new("many.series_bytes", index as f64 / series as f64).note(format!(
        "index.redb after compact, entities of the runs included; {:.0} B a series before it",
        indexed as f64 / series as f64
    )));
    context.tell(Measured::new("many.point_bytes", disk_bytes(&path)? as f64 / points as f64).note(format!(
        "{points} points; random values alone take 6.6 B; compacted in {compacted_s:.1} s; {}",
        breakdown(&path)?
    )));
    reopened(context, &path, runs)
}

/// One row a step, one run behind the other. A sample is one call; the second list has them without the time that the
/// thread waited for a core.
fn log_runs(store: &Store, keys: &[KeyId], runs: u64) -> Result<(Samples, Samples)> {
    let mut rng = Rng::new(5);
    let mut samples = Samples::with_capacity((runs * STEPS as u64) as usize);
    let mut own = Samples::with_capacity((runs * STEPS as u64) as usize);
    let mut row: Vec<(KeyId, f64)> = keys.iter().map(|&key| (key, 0.0)).collect();
    for number in 0..runs {
        let mut created = engine::run_created(number, EXPERIMENT);
        created.tags = (0..TAGS).map(|tag| (format!("tag_{tag}"), format!("t-{}", rng.below(100)))).collect();
        let params = (0..PARAMS).map(|param| (format!("param_{param}"), rng.below(1_000).to_string())).collect();
        let logged = ParamsLogged { run: created.run, params };
        let run: RunHandle = {
            store.append(Batch::new().event(created).event(logged), Durability::Buffered)?;
            store.run(engine::run_id(number))?
        };
        for step in 0..STEPS {
            row.iter_mut().for_each(|cell| cell.1 = rng.unit());
            let time = TimestampMs(1_700_000_000_000 + number as i64 + step * 1_000);
            let (waited_ns, start) = (waited_for_core_ns(), Instant::now());
            run.log_row(step, time, &row, Durability::Buffered)?;
            let took = start.elapsed();
            samples.push(took);
            let waited_ns = waited_for_core_ns().saturating_sub(waited_ns);
            own.push(took.saturating_sub(Duration::from_nanos(waited_ns)));
        }
    }
    Ok((samples, own))
}

fn reopened(context: &Context<'_>, path: &Path, runs: u64) -> Result {
    context.progress("open and first search");
    let (mut opens, mut firsts, mut floors) = (Vec::new(), Vec::new(), Vec::new());
    let mut again_ms = 0.0;
    for _ in 0..5 {
        let start = Instant::now();
        let store = Store::open(path)?;
        opens.push(start.elapsed().as_secs_f64() * 1e3);
        let query = SearchQuery {
            filter: Some(Filter::And(vec![filter::metric("metric_7").gt(0.01)])),
            order: vec![OrderKey::descending(filter::metric("metric_7"))],
            limit: 100,
            ..SearchQuery::new(EXPERIMENT)
        };
        let ask = || -> Result {
            let page = store.snapshot()?.search(&query)?;
            let found = page.runs.len() as u64;
            // Nearly all runs match.
            if (1..=100).contains(&found) && found <= runs { Ok(()) } else { Err("no runs found".into()) }
        };
        let start = Instant::now();
        ask()?;
        firsts.push(start.elapsed().as_secs_f64() * 1e3);
        again_ms = repeat(20, Duration::from_millis(100), ask)?.p50_ns() / 1e6;
        store.close()?;
        floors.push(read_ms(&path.join("search.snap"))?);
    }
    let each = |all: &[f64]| all.iter().map(|ms| format!("{ms:.1}")).collect::<Vec<_>>().join(", ");
    context.tell(Measured::new("many.open", median(opens.clone())).note(format!("median of {}", each(&opens))));
    context.tell(Measured::new("many.first_search", median(firsts.clone())).note(format!(
        "median of {}, of which the first has no search.snap; the next ones {again_ms:.2} ms; {runs} runs; {}",
        each(&firsts),
        match median(floors) {
            0.0 => "no search.snap (few runs and texts)".to_owned(),
            ms => format!("a read of all of search.snap {ms:.1} ms"),
        }
    )));
    Ok(())
}

/// How long it takes to read a file, if it is there.
fn read_ms(path: &Path) -> Result<f64> {
    let start = Instant::now();
    let bytes = if path.exists() { std::fs::read(path)? } else { Vec::new() };
    std::hint::black_box(bytes);
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

// ---- charts of points that are not sealed yet ---------------------------------------------------------------------

/// A store that seals nothing, and its one run.
fn unsealed_store(path: &Path) -> Result<(Store, RunHandle)> {
    let store = Store::options(path).background(false).memory_bytes(4 << 30).open()?;
    store.append(Batch::new().event(engine::experiment_created(EXPERIMENT)), Durability::Buffered)?;
    store.append(Batch::new().event(engine::run_created(0, EXPERIMENT)), Durability::Buffered)?;
    let run = store.run(engine::run_id(0))?;
    Ok((store, run))
}

fn draw(store: &Store, steps: Option<(i64, i64)>, buckets: usize, points: u64) -> Result {
    let answer = store.snapshot()?.downsample(engine::run_id(0), &engine::key_name(0), steps, buckets)?;
    if answer.count >= points && (1..=buckets).contains(&answer.buckets.len()) {
        Ok(())
    } else {
        Err(format!("{} points in {} buckets instead of {points}", answer.count, answer.buckets.len()).into())
    }
}

/// A chart of a million points that were logged just now: in batches, and in rows.
fn live(context: &Context<'_>) -> Result {
    context.progress("a live chart");
    let (mut worst_us, mut notes) = (0.0f64, Vec::new());
    for form in ["batches of 1,000 points of one key", "batches over 10 keys", "rows of 5 keys"] {
        let path = context.dir.join("live");
        let (store, run) = unsealed_store(&path)?;
        match form {
            "rows of 5 keys" => {
                let keys = engine::keys(&store, 5)?;
                let mut stream = Stream::new(Values::Loss, 5);
                let mut row = Vec::with_capacity(5);
                for step in 0..MILLION as i64 {
                    row.clear();
                    stream.row(|point| row.push((keys[point.key], point.value)));
                    run.log_row(step, TimestampMs(step * 100), &row, Durability::Buffered)?;
                }
            }
            "batches over 10 keys" => {
                let keys = engine::keys(&store, 10)?;
                engine::log_stream(&run, &keys, &mut Stream::new(Values::Loss, 10), 10 * MILLION)?;
            }
            _ => {
                let keys = engine::keys(&store, 1)?;
                engine::log_stream(&run, &keys, &mut Stream::new(Values::Loss, 1), MILLION)?;
            }
        }
        let start = Instant::now();
        draw(&store, None, LIVE_BUCKETS, MILLION as u64)?;
        let first_us = start.elapsed().as_secs_f64() * 1e6;
        let mut samples = repeat(50, Duration::from_secs(1), || draw(&store, None, LIVE_BUCKETS, MILLION as u64))?;
        let p50_us = samples.p50_ns() / 1e3;
        worst_us = worst_us.max(p50_us);
        notes.push(format!("{form}: {p50_us:.0} us, the first {first_us:.0}"));
        drop((run, store));
        std::fs::remove_dir_all(&path)?;
    }
    context.tell(
        Measured::new("many.live_chart", worst_us / 1e3)
            .note(format!("median of the slowest form, snapshot included; {}", notes.join("; "))),
    );
    Ok(())
}

/// Windows of very many points that are not sealed, while more come in.
fn zoom(context: &Context<'_>, points: usize) -> Result {
    context.progress(&format!("zooms while {points} points are not sealed"));
    let path = context.dir.join("zoom");
    let (store, run) = unsealed_store(&path)?;
    let keys = engine::keys(&store, 1)?;
    let mut stream = Stream::new(Values::Loss, 1);
    let start = Instant::now();
    engine::log_stream(&run, &keys, &mut stream, points)?;
    let logged_s = start.elapsed().as_secs_f64();
    let before = status_kib("RssAnon");
    let stop = AtomicBool::new(false);
    let (mut worst_ms, mut notes) = (0.0f64, Vec::new());
    let came = std::thread::scope(|scope| -> Result<u64> {
        let writer = scope.spawn(|| -> Result<(u64, f64)> {
            let (start, mut came, mut slowest) = (Instant::now(), 0u64, 0.0f64);
            // Bounded: what is not sealed takes memory.
            while !stop.load(Ordering::Acquire) && came < points as u64 {
                let at = Instant::now();
                engine::log_stream(&run, &keys, &mut stream, BATCH_POINTS)?;
                slowest = slowest.max(at.elapsed().as_secs_f64() * 1e3);
                came += BATCH_POINTS as u64;
                let due = Duration::from_secs_f64(came as f64 / COMING_PER_S);
                if let Some(early) = due.checked_sub(start.elapsed()).filter(|early| *early > Duration::from_millis(1))
                {
                    std::thread::sleep(early);
                }
            }
            Ok((came, slowest))
        });
        let asked = (|| -> Result {
            let mut rng = Rng::new(9);
            for part in ZOOMS {
                let size = ((points as f64 * part) as i64).max(2);
                let mut samples = Samples::default();
                let start = Instant::now();
                while samples.count() < 3 || (samples.count() < ZOOM_PLACES && start.elapsed() < ZOOM_TIME_MAX) {
                    let first = rng.below((points as i64 - size + 1) as u64) as i64;
                    let window = Some((first, first + size - 1));
                    samples.time(|| draw(&store, window, ZOOM_BUCKETS, (size as u64).saturating_sub(512)))?;
                }
                let p50_ms = samples.p50_ns() / 1e6;
                worst_ms = worst_ms.max(p50_ms);
                notes.push(format!("{size}: {p50_ms:.2}, worst {:.1}", samples.max_ns() / 1e6));
            }
            Ok(())
        })();
        stop.store(true, Ordering::Release);
        let (came, slowest) = writer.join().map_err(|_| "the writer panicked")??;
        asked?;
        notes.push(format!("slowest call of the writer {slowest:.1} ms"));
        Ok(came)
    })?;
    context.tell(Measured::new("many.zoom_unsealed", worst_ms).note(format!(
        "median of the slowest size of window, up to {ZOOM_PLACES} places each (points: ms): {}; {:.1} M points before, logged in \
         {logged_s:.1} s, {:.1} M more came meanwhile, at most 15 M a second; private memory {:.0} MiB",
        notes.join(", "),
        points as f64 / 1e6,
        came as f64 / 1e6,
        before as f64 / 1024.0
    )));
    drop((run, store));
    std::fs::remove_dir_all(&path)?;
    Ok(())
}
