//! Bursts and a steady stream of batches, beside a bare loop of the same frames.

use std::path::Path;
use std::time::{Duration, Instant};

use runlode_engine::{Durability, KeyId, RunHandle, Store};

use crate::Result;
use crate::bars::Context;
use crate::engine::{self, BATCH_KEYS, BATCH_POINTS};
use crate::floor::Preparation;
use crate::floor::segments::BareSegments;
use crate::report::Measured;
use crate::scratch::Scratch;
use crate::stream::{Stream, Values};
use crate::timing::{Samples, median};

const BURST_POINTS: usize = 20_000_000;
const BURST_ROUNDS: usize = 5;
/// Brings the log to segments of full size before anything is timed.
const WARM_UP_POINTS: usize = 12_000_000;
const PACE_POINTS_PER_S: u64 = 10_000_000;
const PACE_S: u64 = 5;

struct Writer {
    store: Store,
    run: RunHandle,
    keys: Vec<KeyId>,
    stream: Stream,
}

/// See the module.
pub(crate) fn run(context: &Context<'_>) -> Result {
    let path = context.dir.join("store");
    let store = engine::create(&path, 1)?;
    let keys = engine::keys(&store, BATCH_KEYS)?;
    let run = store.run(engine::run_id(0))?;
    let mut writer = Writer { store, run, keys, stream: Stream::new(Values::Loss, BATCH_KEYS) };
    engine::log_stream(&writer.run, &writer.keys, &mut writer.stream, WARM_UP_POINTS)?;
    engine::seal_all(&writer.store)?;
    let (frames, bytes) = engine::log_frames(&path)?;
    // All but a few frames of the store's beginning are of one size.
    let frame_bytes = ((bytes / frames).div_ceil(16) * 16) as usize;

    let (mut ratios, mut engine_rates, mut floor_rates, mut prepared, mut shares) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..BURST_ROUNDS {
        context.progress(&format!("burst {} of {BURST_ROUNDS}", round + 1));
        let mut samples = engine_burst(&mut writer)?;
        engine::seal_all(&writer.store)?;
        let floor = floor_burst(context.dir, frame_bytes)?;
        let rate = |samples: &Samples| BURST_POINTS as f64 / samples.sum_s() / 1e6;
        ratios.push(rate(&samples) / rate(&floor));
        engine_rates.push(rate(&samples));
        floor_rates.push(rate(&floor));
        // Rolls and waits for the disk stand out: they take far longer than ten usual calls.
        let usual_ns = samples.p50_ns();
        let (sum_s, count) = samples.sum_s_within(10.0 * usual_ns);
        prepared.push((count * BATCH_POINTS) as f64 / sum_s / 1e6);
        shares.push((samples.count() - count) as f64 / samples.count() as f64 * 100.0);
    }
    let (spread_min, spread_max) = ratios.iter().fold((f64::MAX, 0.0f64), |(a, b), &r| (a.min(r), b.max(r)));
    context.tell(
        Measured::new("ingest.burst", median(ratios))
            .own(format!("{:.1} Mpts/s", median(engine_rates)))
            .beside(format!("bare copy {:.1} Mpts/s, frames of {frame_bytes} B", median(floor_rates)))
            .note(format!(
                "time inside the calls; median of {BURST_ROUNDS} alternating rounds, ratios {spread_min:.2} to {spread_max:.2}"
            )),
    );
    context.tell(
        Measured::new("ingest.prepared", median(prepared))
            .note(format!("calls above ten medians left out: {:.2} % of them", median(shares))),
    );
    paced(context, &mut writer)
}

fn engine_burst(writer: &mut Writer) -> Result<Samples> {
    let mut samples = Samples::with_capacity(BURST_POINTS / BATCH_POINTS);
    let mut batch = Vec::with_capacity(BATCH_POINTS);
    for _ in 0..BURST_POINTS / BATCH_POINTS {
        writer.stream.fill(&mut batch, BATCH_POINTS, |point| engine::keyed(point, &writer.keys));
        samples.time(|| writer.run.log_points(&batch, Durability::Buffered))?;
    }
    Ok(samples)
}

/// The same number of frames, as large, with the same pauses in which points are made.
pub(crate) fn floor_burst(dir: &Path, frame_bytes: usize) -> Result<Samples> {
    let scratch = Scratch::new(dir, "floor")?;
    let mut floor = BareSegments::create(scratch.path(), Preparation::Allocate, Preparation::Allocate)?;
    let mut stream = Stream::new(Values::Loss, BATCH_KEYS);
    let frames = encoded_frames(&mut stream, frame_bytes);
    let mut samples = Samples::with_capacity(BURST_POINTS / BATCH_POINTS);
    let mut batch = Vec::with_capacity(BATCH_POINTS);
    for number in 0..BURST_POINTS / BATCH_POINTS {
        stream.fill(&mut batch, BATCH_POINTS, |point| point);
        std::hint::black_box(&batch);
        samples.time(|| floor.append(&frames[number % frames.len()]))?;
    }
    floor.close()?;
    Ok(samples)
}

/// Some frames of the size that the engine's have; like those just encoded, they lie in the cache.
pub(crate) fn encoded_frames(stream: &mut Stream, frame_bytes: usize) -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    (0..16)
        .map(|_| {
            while bytes.len() < frame_bytes {
                stream.row(|point| bytes.extend_from_slice(&point.value.to_le_bytes()));
            }
            bytes.drain(..frame_bytes).collect()
        })
        .collect()
}

fn paced(context: &Context<'_>, writer: &mut Writer) -> Result {
    context.progress("steady stream of 10 M points/s");
    let batches = PACE_POINTS_PER_S * PACE_S / BATCH_POINTS as u64;
    let mut samples = Samples::with_capacity(batches as usize);
    let mut batch = Vec::with_capacity(BATCH_POINTS);
    let start = Instant::now();
    let mut sent = 0;
    while sent < batches {
        let due = (start.elapsed().as_secs_f64() * PACE_POINTS_PER_S as f64 / BATCH_POINTS as f64) as u64;
        if sent >= due {
            std::thread::sleep(Duration::from_micros(100));
            continue;
        }
        writer.stream.fill(&mut batch, BATCH_POINTS, |point| engine::keyed(point, &writer.keys));
        samples.time(|| writer.run.log_points(&batch, Durability::Buffered))?;
        sent += 1;
    }
    let reached = (sent * BATCH_POINTS as u64) as f64 / start.elapsed().as_secs_f64() / 1e6;
    let (p50, p999) = (samples.p50_ns() / 1e3, samples.quantile_ns(0.999) / 1e3);
    context.tell(Measured::new("ingest.paced_worst", samples.max_ns() / 1e6).note(format!(
        "{PACE_S} s at {reached:.1} M points/s, batches of {BATCH_POINTS}; p50 {p50:.1} us, p99.9 {p999:.0} us"
    )));
    Ok(())
}
