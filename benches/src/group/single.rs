//! Single points and small rows, by the call that README shows ([`runlode::Row`]), and a run with very many keys.

use std::time::Duration;

use runlode::{Run, RunSpec};
use runlode_engine::point::Point;
use runlode_engine::{Durability, HistoryQuery, KeyId, TimestampMs};

use crate::Result;
use crate::bars::Context;
use crate::engine;
use crate::report::Measured;
use crate::stream::{Stream, Values};
use crate::timing::{Samples, repeat};

const SINGLE_CALLS: usize = 2_000_000;
const ROW_CALLS: usize = 1_000_000;
const ROW_KEYS: usize = 5;
const WIDE_KEYS: usize = 100_000;
const WIDE_CALLS: usize = 100;
const WIDE_HISTORY_POINTS: usize = 1_000;

/// See the module.
pub(crate) fn run(context: &Context<'_>) -> Result {
    let store = runlode::Store::open(context.dir.join("store"))?;
    let experiment = store.experiment("rows")?;
    single(context, &experiment.create_run(RunSpec::new())?)?;
    rows(context, &experiment.create_run(RunSpec::new())?)?;
    drop(experiment);
    store.close()?;
    wide(context)
}

fn single(context: &Context<'_>, run: &Run) -> Result {
    context.progress("single points");
    let mut row = run.row(&[&engine::key_name(0)])?;
    let mut stream = Stream::new(Values::Loss, 1);
    let mut points = Vec::new();
    let mut samples = Samples::with_capacity(SINGLE_CALLS);
    stream.fill(&mut points, SINGLE_CALLS + SINGLE_CALLS / 10, |point| point);
    for (number, &point) in points.iter().enumerate() {
        // The first tenth warms up.
        if number < SINGLE_CALLS / 10 {
            row.log_at(point.step, TimestampMs(point.time_ms), &[point.value], Durability::Buffered)?;
        } else {
            samples
                .time(|| row.log_at(point.step, TimestampMs(point.time_ms), &[point.value], Durability::Buffered))?;
        }
    }
    let note = format!("{SINGLE_CALLS} calls, mean {:.3} us", samples.sum_s() * 1e6 / SINGLE_CALLS as f64);
    context.tell(Measured::new("single.p50", samples.p50_ns() / 1e3).note(note));
    context.tell(Measured::new("single.p99", samples.quantile_ns(0.99) / 1e3));
    let worst = format!("worst {:.1} ms", samples.max_ns() / 1e6);
    context.tell(Measured::new("single.p999", samples.quantile_ns(0.999) / 1e3).note(worst));
    Ok(())
}

fn rows(context: &Context<'_>, run: &Run) -> Result {
    context.progress("rows of 5 keys");
    let names: Vec<String> = (0..ROW_KEYS).map(engine::key_name).collect();
    let mut row = run.row(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
    let mut stream = Stream::new(Values::Loss, ROW_KEYS);
    let mut samples = Samples::with_capacity(ROW_CALLS);
    let mut values = [0.0; ROW_KEYS];
    for number in 0..ROW_CALLS + ROW_CALLS / 10 {
        let (mut step, mut time) = (0, 0);
        stream.row(|point| {
            (step, time) = (point.step, point.time_ms);
            values[point.key] = point.value;
        });
        let mut log = || row.log_at(step, TimestampMs(time), &values, Durability::Buffered);
        if number < ROW_CALLS / 10 {
            log()?;
        } else {
            samples.time(log)?;
        }
    }
    let note = format!("{ROW_CALLS} calls, mean {:.3} us", samples.sum_s() * 1e6 / ROW_CALLS as f64);
    context.tell(Measured::new("row5.p50", samples.p50_ns() / 1e3).note(note));
    let tail = format!("p99.9 {:.1} us", samples.quantile_ns(0.999) / 1e3);
    context.tell(Measured::new("row5.p99", samples.quantile_ns(0.99) / 1e3).note(tail));
    Ok(())
}

fn wide(context: &Context<'_>) -> Result {
    context.progress("rows of 100,000 keys");
    let store = engine::create(&context.dir.join("wide"), 1)?;
    let id = engine::run_id(0);
    let run = store.run(id)?;
    let keys = engine::keys(&store, WIDE_KEYS)?;
    let mut stream = Stream::new(Values::Loss, WIDE_KEYS);
    let mut samples = Samples::with_capacity(WIDE_CALLS);
    let mut row: Vec<(KeyId, f64)> = Vec::with_capacity(WIDE_KEYS);
    let mut first_ms = 0.0;
    let mut time = 0;
    for number in 0..=WIDE_CALLS {
        row.clear();
        stream.row(|point| {
            time = time.max(point.time_ms);
            row.push((keys[point.key], point.value));
        });
        let step = number as i64;
        if number == 0 {
            // It defines the keys: 100,000 names.
            let mut first = Samples::default();
            first.time(|| run.log_row(step, TimestampMs(time), &row, Durability::Buffered))?;
            first_ms = first.max_ns() / 1e6;
        } else {
            samples.time(|| run.log_row(step, TimestampMs(time), &row, Durability::Buffered))?;
        }
    }
    let note = format!("{WIDE_CALLS} calls after the first, which defines the keys and took {first_ms:.0} ms");
    context.tell(Measured::new("wide.p50", samples.p50_ns() / 1e6).note(note));
    context.tell(Measured::new("wide.worst", samples.max_ns() / 1e6));

    let mut latest = repeat(10, Duration::from_secs(2), || {
        let values = store.snapshot()?.latest(id)?;
        if values.len() == WIDE_KEYS { Ok(()) } else { Err(format!("{} keys", values.len()).into()) }
    })
    .map_err(|error: Box<dyn std::error::Error + Send + Sync>| error)?;
    context.tell(
        Measured::new("wide.latest", latest.p50_ns() / 1e6)
            .note(format!("p99 {:.1} ms", latest.quantile_ns(0.99) / 1e6)),
    );

    // One key gets the rest of its thousand points alone: a hundred million of them would measure nothing more.
    let rest = WIDE_HISTORY_POINTS - (WIDE_CALLS + 1);
    for number in 0..rest {
        let step = (WIDE_CALLS + 1 + number) as i64;
        let point = Point { step, time: TimestampMs(time + step), value: 0.5 };
        run.log_point(keys[WIDE_KEYS / 2], point, Durability::Buffered)?;
    }
    let name = engine::key_name(WIDE_KEYS / 2);
    let history = || {
        repeat(1_000, Duration::from_secs(2), || {
            let page = store.snapshot()?.history(id, &name, &HistoryQuery::default())?;
            let found = page.columns.len();
            if found == WIDE_HISTORY_POINTS { Ok(()) } else { Err(format!("{found} points")) }
                .map_err(Box::<dyn std::error::Error + Send + Sync>::from)
        })
    };
    let fresh_us = history()?.p50_ns() / 1e3;
    engine::seal_all(&store)?;
    let sealed_us = history()?.p50_ns() / 1e3;
    context.tell(
        Measured::new("wide.history", fresh_us.max(sealed_us))
            .note(format!("median; just logged {fresh_us:.1} us, sealed {sealed_us:.1} us")),
    );
    store.close()?;
    Ok(())
}
