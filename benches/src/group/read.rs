//! Reading series: whole, in parts, and the latest values.

use std::time::{Duration, Instant};

use runlode_engine::{ColumnSet, Durability, HistoryPage, HistoryQuery, RunId, SeriesId, Store, TimestampMs};

use crate::Result;
use crate::bars::Context;
use crate::engine;
use crate::floor::read::{self as floor, Chunks};
use crate::report::Measured;
use crate::rng::Rng;
use crate::stream::{Stream, Values};
use crate::timing::{Samples, repeat};

const MILLION: usize = 1_000_000;
const LONG_POINTS: usize = 100_000_000;
const METRICS: usize = 1_000;
/// Sizes of windows, each measured at many places.
const SMALL_WINDOWS: [i64; 6] = [2_000, 20_000, 200_000, 500_000, 1_000_000, 1_990_000];
const LARGE_WINDOWS: [i64; 5] = [2_000_000, 5_000_000, 20_000_000, 60_000_000, 100_000_000];
const WINDOW_PLACES: usize = 40;

const ONE: u64 = 0;
const LONG: u64 = 1;
const MANY: u64 = 2;

/// See the module.
pub(crate) fn run(context: &Context<'_>) -> Result {
    let path = context.dir.join("store");
    let store = engine::create(&path, 3)?;
    let keys = engine::keys(&store, 1)?;
    let run = store.run(engine::run_id(ONE))?;
    engine::log_stream(&run, &keys, &mut Stream::new(Values::Loss, 1), MILLION)?;
    engine::seal_all(&store)?;

    context.progress("history and downsample of 1 M points");
    let one = engine::run_id(ONE);
    let chunks = Chunks::of(&path, &store, SeriesId { run: one, key: keys[0] })?;
    for (name, columns) in
        [("read.two_columns", ColumnSet::STEPS.with(ColumnSet::VALUES)), ("read.three_columns", ColumnSet::POINTS)]
    {
        let query = HistoryQuery { columns, ..HistoryQuery::default() };
        // Read again and again, as a page of charts does: into memory that is there. In turns with the floor, since what
        // else runs on the machine changes from second to second.
        let mut page = HistoryPage::default();
        let (mut samples, mut bare) = (Samples::default(), Samples::default());
        let begin = Instant::now();
        while samples.count() < 20 || begin.elapsed() < Duration::from_secs(3) {
            samples.time(|| store.snapshot()?.history_into(one, &engine::key_name(0), &query, &mut page))?;
            if page.columns.values.len() != MILLION {
                return Err("not all points".into());
            }
            bare.time(|| chunks.decode(columns, MILLION, &mut page.columns))?;
        }
        let rate = |p50_ns: f64| MILLION as f64 / p50_ns * 1e3;
        let (own, beside) = (rate(samples.p50_ns()), rate(bare.p50_ns()));
        let note = format!("median of {}: {:.2} ms", samples.count(), samples.p50_ns() / 1e6);
        context.tell(
            Measured::new(name, own / beside)
                .own(format!("{own:.0} Mpts/s"))
                .beside(format!("bare decode of the same chunks {beside:.0} Mpts/s"))
                .note(note),
        );
    }
    let mut samples = repeat(1_000, Duration::from_secs(2), || downsample(&store, one, None, 320, MILLION as u64))?;
    let p99 = format!("p99 {:.0} us; snapshot included", samples.quantile_ns(0.99) / 1e3);
    context.tell(Measured::new("downsample.320", samples.p50_ns() / 1e3).note(p99));

    windows(context, &store)?;
    latest(context, store)
}

fn downsample(store: &Store, run: RunId, steps: Option<(i64, i64)>, buckets: usize, points: u64) -> Result {
    let answer = store.snapshot()?.downsample(run, &engine::key_name(0), steps, buckets)?;
    // Edges may be moved to the rollups' by less than their width.
    let close = answer.count.abs_diff(points) <= 2 * 65_536 && !answer.buckets.is_empty();
    if close && answer.buckets.len() <= buckets {
        Ok(())
    } else {
        Err(format!("{} points in {} buckets instead of {points}", answer.count, answer.buckets.len()).into())
    }
}

fn windows(context: &Context<'_>, store: &Store) -> Result {
    context.progress("100 M points in one series");
    let id = engine::run_id(LONG);
    let keys = engine::keys(store, 1)?;
    engine::log_stream(&store.run(id)?, &keys, &mut Stream::new(Values::Loss, 1), LONG_POINTS)?;
    engine::seal_all(store)?;
    context.progress("windows of it");
    let mut rng = Rng::new(3);
    for (name, sizes) in [("window.small", &SMALL_WINDOWS[..]), ("window.large", &LARGE_WINDOWS[..])] {
        let mut worst_ms = 0.0f64;
        let mut each = Vec::new();
        for &size in sizes {
            let mut samples = Samples::default();
            for place in 0..=WINDOW_PLACES {
                let first = rng.below((LONG_POINTS as i64 - size + 1) as u64) as i64;
                let window = Some((first, first + size - 1));
                let ask = || downsample(store, id, window, 1_000, size as u64);
                // The first one reads the directory.
                if place == 0 { ask()? } else { samples.time(ask)? }
            }
            let p50_ms = samples.p50_ns() / 1e6;
            worst_ms = worst_ms.max(p50_ms);
            each.push(format!("{size}: {p50_ms:.2}"));
            if size == MILLION as i64 {
                let note = format!("{WINDOW_PLACES} places; p99 {:.2} ms", samples.quantile_ns(0.99) / 1e6);
                context.tell(Measured::new("window.million", p50_ms).note(note));
            }
        }
        context.tell(Measured::new(name, worst_ms).note(format!(
            "median of the slowest size of window, {WINDOW_PLACES} places each (points: ms): {}",
            each.join(", ")
        )));
    }
    Ok(())
}

fn latest(context: &Context<'_>, store: Store) -> Result {
    context.progress("latest values of 1,000 metrics");
    let id = engine::run_id(MANY);
    let keys = engine::keys(&store, METRICS)?;
    let run = store.run(id)?;
    for step in 0..10i64 {
        let row: Vec<_> = keys.iter().enumerate().map(|(index, &key)| (key, index as f64 + step as f64)).collect();
        run.log_row(step, TimestampMs(step), &row, Durability::Buffered)?;
    }
    drop(run);
    let ask = |store: &Store| {
        repeat(1_000, Duration::from_secs(2), || -> Result {
            let values = store.snapshot()?.latest(id)?;
            if values.len() == METRICS { Ok(()) } else { Err("not all metrics".into()) }
        })
    };
    let mut hot = ask(&store)?;
    let answer = store.snapshot()?.latest(id)?;
    let tell = |name: &str, samples: &mut Samples| {
        let mut bare = floor::copy(&answer);
        context.tell(
            Measured::new(name, samples.p50_ns() / bare.p50_ns())
                .own(format!("{:.0} us", samples.p50_ns() / 1e3))
                .beside(format!("a copy of the same answer {:.1} us", bare.p50_ns() / 1e3))
                .note(format!("p99 {:.0} us", samples.quantile_ns(0.99) / 1e3)),
        );
    };
    tell("latest.hot", &mut hot);
    store.checkpoint()?;
    store.close()?;
    let store = Store::open(context.dir.join("store"))?;
    let mut reopened = ask(&store)?;
    tell("latest.reopened", &mut reopened);
    store.close()?;
    Ok(())
}
