//! Appends that wait for the disk, beside bare loops that do so too. The sides alternate in short slices, so that a
//! slow moment of the disk meets both.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use runlode_engine::event::ParamsLogged;
use runlode_engine::point::Point;
use runlode_engine::{Batch, Durability, Store, TimestampMs};

use crate::Result;
use crate::bars::Context;
use crate::engine::{self, BATCH_KEYS, BATCH_POINTS};
use crate::floor::Preparation;
use crate::floor::group_commit::BareGroupCommit;
use crate::floor::sync_loop::SyncLoop;
use crate::group::ingest::encoded_frames;
use crate::report::Measured;
use crate::scratch::Scratch;
use crate::stream::{Stream, Values};
use crate::timing::{Samples, median};

pub(crate) const WRITERS: usize = 64;
const GROUP_ROUNDS: usize = 5;
/// Batches of each writer in a round.
const GROUP_BATCHES: usize = 200;
/// Brings the log to segments of full size before anything is timed.
const WARM_UP_POINTS: usize = 12_000_000;
const SLICES: usize = 40;
const SLICE_CALLS: usize = 100;
const CHECKPOINT_PAUSE: Duration = Duration::from_millis(10);
const PARAM_SLICES: usize = 8;
const PARAM_CALLS: usize = 200;
const PARAMS_PER_RUN: usize = 50;
const BESIDE_POINTS_PER_S: f64 = 10e6;
const ONE_POINT_CALLS: usize = 3_000;
const ONE_POINT_CALLS_EACH: usize = 500;

/// See the module.
pub(crate) fn run(context: &Context<'_>) -> Result {
    let path = context.dir.join("store");
    let store = engine::create(&path, 1_000)?;
    let keys = engine::keys(&store, BATCH_KEYS)?;
    let mut stream = Stream::new(Values::Loss, BATCH_KEYS);
    engine::log_stream(&store.run(engine::run_id(999))?, &keys, &mut stream, WARM_UP_POINTS)?;
    engine::seal_all(&store)?;
    let (frames, bytes) = engine::log_frames(&path)?;
    let frame_bytes = ((bytes / frames).div_ceil(16) * 16) as usize;

    group(context, &store, frame_bytes)?;
    engine::seal_all(&store)?;
    one(context, &store)?;
    param(context, &store)?;
    engine::seal_all(&store)?;
    acks(context, &store)?;
    store.close()?;
    Ok(())
}

/// Runs `work(thread, round)` on many threads at once; seconds from the first to the last.
pub(crate) fn at_once(threads: usize, work: impl Fn(usize) -> Result + Sync) -> Result<f64> {
    let barrier = Barrier::new(threads + 1);
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|number| {
                let (barrier, work) = (&barrier, &work);
                scope.spawn(move || {
                    barrier.wait();
                    work(number)
                })
            })
            .collect();
        barrier.wait();
        let start = Instant::now();
        for handle in handles {
            handle.join().map_err(|_| "a writer panicked")??;
        }
        Ok(start.elapsed().as_secs_f64())
    })
}

/// 64 `Sync` writers with `batches` batches of 1,000 points each, every one with a run of its own; seconds.
pub(crate) fn sync_writers(store: &Store, streams: &[parking_lot::Mutex<Stream>], batches: usize) -> Result<f64> {
    let keys = engine::keys(store, BATCH_KEYS)?;
    at_once(streams.len(), |number| {
        let run = store.run(engine::run_id(number as u64))?;
        let mut stream = streams[number].lock();
        let mut batch = Vec::with_capacity(BATCH_POINTS);
        for _ in 0..batches {
            stream.fill(&mut batch, BATCH_POINTS, |point| engine::keyed(point, &keys));
            run.log_points(&batch, Durability::Sync)?;
        }
        Ok(())
    })
}

/// Streams for many writers.
pub(crate) fn streams(count: usize) -> Vec<parking_lot::Mutex<Stream>> {
    // Clones share the tables.
    let stream = Stream::new(Values::Loss, BATCH_KEYS);
    (0..count).map(|_| parking_lot::Mutex::new(stream.clone())).collect()
}

fn group(context: &Context<'_>, store: &Store, frame_bytes: usize) -> Result {
    context.progress("64 writers, batches of 1,000 points");
    let points = (WRITERS * GROUP_BATCHES * BATCH_POINTS) as f64;
    let own_streams = streams(WRITERS);
    let floor_streams = streams(WRITERS);
    let (mut ratios, mut own, mut floors) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..GROUP_ROUNDS {
        let own_s = sync_writers(store, &own_streams, GROUP_BATCHES)?;
        engine::seal_all(store)?;
        let floor_s = bare_group(context, &floor_streams, frame_bytes)?;
        ratios.push(floor_s / own_s);
        own.push(points / own_s / 1e6);
        floors.push(points / floor_s / 1e6);
    }
    let (least, most) = ratios.iter().fold((f64::MAX, 0.0f64), |(a, b), &r| (a.min(r), b.max(r)));
    context.tell(
        Measured::new("sync.group64", median(ratios))
            .own(format!("{:.1} Mpts/s", median(own)))
            .beside(format!("bare group commit {:.1} Mpts/s", median(floors)))
            .note(format!("median of {GROUP_ROUNDS} alternating rounds, ratios {least:.2} to {most:.2}; points are made in the writers on both sides")),
    );
    Ok(())
}

fn bare_group(context: &Context<'_>, streams: &[parking_lot::Mutex<Stream>], frame_bytes: usize) -> Result<f64> {
    let scratch = Scratch::new(context.dir, "group-floor")?;
    let bytes = (WRITERS * GROUP_BATCHES * frame_bytes) as u64;
    let floor = BareGroupCommit::create(scratch.path(), bytes, Preparation::Allocate)?;
    let frames = encoded_frames(&mut Stream::new(Values::Loss, BATCH_KEYS), frame_bytes);
    at_once(WRITERS, |number| {
        let mut stream = streams[number].lock();
        let mut batch = Vec::with_capacity(BATCH_POINTS);
        for round in 0..GROUP_BATCHES {
            stream.fill(&mut batch, BATCH_POINTS, |point| point);
            std::hint::black_box(&batch);
            floor.append(&frames[(number + round) % frames.len()])?;
        }
        Ok(())
    })
}

fn one(context: &Context<'_>, store: &Store) -> Result {
    context.progress("one writer, 100 points, beside checkpoints");
    let run = store.run(engine::run_id(500))?;
    let keys = engine::keys(store, BATCH_KEYS)?;
    let mut stream = Stream::new(Values::Loss, BATCH_KEYS);
    let mut floor = SyncLoop::create(&context.dir.join("zeros"), 64 << 20)?;
    let (mut own, mut alone, mut beside) = (Samples::default(), Samples::default(), Samples::default());
    let (active, stop, checkpoints) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let checkpointer = scope.spawn(|| -> Result {
            while !stop.load(Ordering::Acquire) {
                if active.load(Ordering::Acquire) {
                    store.checkpoint()?;
                    checkpoints.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::sleep(CHECKPOINT_PAUSE);
            }
            Ok(())
        });
        let mut batch = Vec::new();
        let mut slices = || -> Result {
            for slice in 0..SLICES {
                active.store(true, Ordering::Release);
                for _ in 0..SLICE_CALLS {
                    stream.fill(&mut batch, 100, |point| engine::keyed(point, &keys));
                    own.time(|| run.log_points(&batch, Durability::Sync))?;
                }
                // A quarter of the floor's slices keeps the checkpoints, to tell their share from the engine's.
                active.store(slice % 4 == 0, Ordering::Release);
                std::thread::sleep(CHECKPOINT_PAUSE * 2);
                floor.run(SLICE_CALLS, if slice % 4 == 0 { &mut beside } else { &mut alone })?;
            }
            Ok(())
        };
        let done = slices();
        stop.store(true, Ordering::Release);
        checkpointer.join().map_err(|_| "the checkpointing thread panicked")??;
        done
    })?;
    let count = checkpoints.load(Ordering::Relaxed);
    for (name, quantile) in [("sync.one_p50", 0.5), ("sync.one_p99", 0.99)] {
        let (own, alone, beside) =
            (own.quantile_ns(quantile) / 1e3, alone.quantile_ns(quantile) / 1e3, beside.quantile_ns(quantile) / 1e3);
        context.tell(
            Measured::new(name, own / alone)
                .own(format!("{own:.0} us"))
                .beside(format!("bare loop {alone:.0} us"))
                .note(format!("{count} checkpoints beside the appends; the loop beside checkpoints {beside:.0} us")),
        );
    }
    Ok(())
}

fn param(context: &Context<'_>, store: &Store) -> Result {
    context.progress("params, idle and beside 10 M points/s");
    let keys = engine::keys(store, BATCH_KEYS)?;
    let run = store.run(engine::run_id(501))?;
    let mut number = 0;
    let mut log_params = |samples: &mut Samples| -> Result {
        for _ in 0..PARAM_CALLS {
            let id = engine::run_id((number / PARAMS_PER_RUN) as u64);
            let param = (format!("param_{}", number % PARAMS_PER_RUN), "0.001".to_owned());
            let batch = Batch::new().event(ParamsLogged { run: id, params: vec![param] });
            samples.time(|| store.append(batch, Durability::Sync))?;
            number += 1;
        }
        Ok(())
    };
    let (mut idle, mut beside) = (Samples::default(), Samples::default());
    let mut stream = Stream::new(Values::Loss, BATCH_KEYS);
    let mut rates = Vec::new();
    for _ in 0..PARAM_SLICES {
        log_params(&mut idle)?;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let logger = scope.spawn(|| log_paced(&run, &keys, &mut stream, &stop));
            std::thread::sleep(Duration::from_millis(20));
            let done = log_params(&mut beside);
            stop.store(true, Ordering::Release);
            rates.push(logger.join().map_err(|_| "the logging thread panicked")??);
            done
        })?;
        store.flush()?;
    }
    let (idle_us, beside_us) = (idle.p50_ns() / 1e3, beside.p50_ns() / 1e3);
    context.tell(
        Measured::new("sync.param_beside", beside_us / idle_us)
            .own(format!("{beside_us:.0} us"))
            .beside(format!("idle {idle_us:.0} us"))
            .note(format!("beside {:.1} M points/s; p99 {:.1} ms", median(rates), beside.quantile_ns(0.99) / 1e6)),
    );
    Ok(())
}

/// Logs at 10 M points/s until told to stop; M points/s reached.
fn log_paced(
    run: &runlode_engine::RunHandle,
    keys: &[runlode_engine::KeyId],
    stream: &mut Stream,
    stop: &AtomicBool,
) -> Result<f64> {
    let mut batch = Vec::with_capacity(BATCH_POINTS);
    let start = Instant::now();
    let mut points = 0.0;
    while !stop.load(Ordering::Acquire) {
        if points > start.elapsed().as_secs_f64() * BESIDE_POINTS_PER_S {
            std::thread::sleep(Duration::from_micros(100));
            continue;
        }
        stream.fill(&mut batch, BATCH_POINTS, |point| engine::keyed(point, keys));
        run.log_points(&batch, Durability::Buffered)?;
        points += BATCH_POINTS as f64;
    }
    Ok(points / start.elapsed().as_secs_f64() / 1e6)
}

fn acks(context: &Context<'_>, store: &Store) -> Result {
    context.progress("one point a batch, one thread and 64");
    let key = engine::keys(store, 1)?[0];
    let log = |number: usize, calls: usize| -> Result {
        let run = store.run(engine::run_id(number as u64))?;
        for step in 0..calls as i64 {
            let point = Point { step, time: TimestampMs(step), value: 0.5 };
            run.log_point(key, point, Durability::Sync)?;
        }
        Ok(())
    };
    let one_s = at_once(1, |_| log(600, ONE_POINT_CALLS))?;
    let many_s = at_once(WRITERS, |number| log(700 + number, ONE_POINT_CALLS_EACH))?;
    let one = ONE_POINT_CALLS as f64 / one_s;
    let many = (WRITERS * ONE_POINT_CALLS_EACH) as f64 / many_s;
    context.tell(
        Measured::new("sync.acks64", many / one)
            .own(format!("{:.1} k acks/s", many / 1e3))
            .beside(format!("one thread {:.1} k acks/s", one / 1e3)),
    );
    Ok(())
}
