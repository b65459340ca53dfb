//! A compaction beside a writer at full speed and a reader of histories, against the same without it.
//!
//! `RUNLODE_BENCH_COMPACT` says how many points lie in the store when the compaction begins (default 40,000,000).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use runlode::{CompactOptions, LocalStore};
use runlode_engine::{HistoryQuery, KeyId, Store};

use crate::Result;
use crate::bars::Context;
use crate::engine::{self, BATCH_KEYS, BATCH_POINTS, key_name, run_id};
use crate::report::Measured;
use crate::scratch::disk_bytes;
use crate::stream::{Stream, Values};
use crate::timing::Samples;

/// Runs that lie in the store. Two more are logged to, one after the other: points that were logged before would be
/// looked up, each.
const RUNS: u64 = 40;
/// Points of a page of history.
const PAGE_POINTS: usize = 10_000;
/// How long both go on without a compaction.
const ALONE: Duration = Duration::from_secs(10);
/// Between two reads.
const PAUSE: Duration = Duration::from_millis(5);

/// What a writer and a reader did for some time.
struct Seen {
    points: u64,
    elapsed_s: f64,
    reads: Samples,
}

/// See the module.
pub(crate) fn run(context: &Context<'_>) -> Result {
    let points = match std::env::var("RUNLODE_BENCH_COMPACT") {
        Ok(text) => text.replace('_', "").parse().map_err(|_| format!("RUNLODE_BENCH_COMPACT is no number: {text}"))?,
        Err(_) => 40_000_000usize,
    };
    let path = context.dir.join("store");
    engine::create(&path, RUNS + 2)?.close()?;
    let local = LocalStore::options(&path).default_experiment(false).open()?;
    let store = local.engine().clone();
    let keys = engine::keys(&store, BATCH_KEYS)?;
    context.progress(&format!("{points} points of {RUNS} runs"));
    for number in 0..RUNS {
        // Every run begins at step 0.
        let mut stream = Stream::new(Values::Loss, BATCH_KEYS);
        engine::log_stream(&store.run(run_id(number))?, &keys, &mut stream, points / RUNS as usize)?;
    }
    engine::seal_all(&store)?;
    let before = disk_bytes(&path)?;

    context.progress("a writer and a reader");
    let steps = points as i64 / RUNS as i64 / BATCH_KEYS as i64;
    let mut alone = beside(&store, RUNS, &keys, steps, || {
        std::thread::sleep(ALONE);
        Ok(())
    })?;
    context.progress("the same beside a compaction");
    let mut busy = beside(&store, RUNS + 1, &keys, steps, || {
        local.compact(&CompactOptions::default())?;
        Ok(())
    })?;
    let after = disk_bytes(&path)?;
    let rate = |seen: &Seen| seen.points as f64 / seen.elapsed_s / 1e6;
    context.tell(
        Measured::new("compact.ingest", rate(&busy) / rate(&alone))
            .own(format!("{:.1} Mpts/s", rate(&busy)))
            .beside(format!("alone {:.1} Mpts/s", rate(&alone)))
            .note(format!(
                "compacted {:.0} MiB in {:.1} s beside them; {:.0} MiB after it, what was logged meanwhile included",
                before as f64 / (1 << 20) as f64,
                busy.elapsed_s,
                after as f64 / (1 << 20) as f64,
            )),
    );
    let (p99, p99_alone) = (busy.reads.quantile_ns(0.99), alone.reads.quantile_ns(0.99));
    context.tell(
        Measured::new("compact.history", p99 / p99_alone)
            .own(format!("{:.2} ms", p99 / 1e6))
            .beside(format!("alone {:.2} ms", p99_alone / 1e6))
            .note(format!("{} and {} reads of {PAGE_POINTS} points", busy.reads.count(), alone.reads.count())),
    );
    drop(store);
    local.close()?;
    Ok(())
}

/// While `work` runs: logs to a run at full speed, and reads pages of history of the others, `steps` steps each.
fn beside(store: &Store, logged: u64, keys: &[KeyId], steps: i64, work: impl FnOnce() -> Result) -> Result<Seen> {
    let (stop, points) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| -> Result<()> {
            let run = store.run(run_id(logged))?;
            let mut stream = Stream::new(Values::Loss, BATCH_KEYS);
            while !stop.load(Ordering::Acquire) {
                engine::log_stream(&run, keys, &mut stream, BATCH_POINTS)?;
                points.fetch_add(BATCH_POINTS as u64, Ordering::Relaxed);
            }
            Ok(())
        });
        let reader = scope.spawn(|| -> Result<Samples> {
            let mut reads = Samples::with_capacity(100_000);
            let mut number = 0;
            while !stop.load(Ordering::Acquire) {
                let first = (number * 7_919) % (steps - PAGE_POINTS as i64).max(1);
                let steps = (first, first + PAGE_POINTS as i64 - 1);
                let query = HistoryQuery { steps, limit: PAGE_POINTS, ..HistoryQuery::default() };
                let key = key_name(number as usize % BATCH_KEYS);
                let run = run_id(number as u64 % RUNS);
                let page = reads.time(|| store.snapshot()?.history(run, &key, &query))?;
                if page.columns.is_empty() {
                    return Err("a page of history is empty".into());
                }
                number += 1;
                std::thread::sleep(PAUSE);
            }
            Ok(reads)
        });
        let worked = work();
        let elapsed_s = start.elapsed().as_secs_f64();
        let points = points.load(Ordering::Relaxed);
        stop.store(true, Ordering::Release);
        let panicked = || "a thread panicked";
        writer.join().map_err(|_| panicked())??;
        let reads = reader.join().map_err(|_| panicked())??;
        worked?;
        Ok(Seen { points, elapsed_s, reads })
    })
}
