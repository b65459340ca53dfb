//! Private memory while very many series are written. The process holds nothing else.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use runlode_engine::{Durability, KeyId, TimestampMs};

use crate::Result;
use crate::bars::Context;
use crate::engine;
use crate::machine::status_kib;
use crate::report::Measured;

const RUNS: u64 = 10_000;
const KEYS: usize = 100;

/// What one process measured of itself; memory in KiB.
struct Written {
    took_s: f64,
    after_rounds: [u64; 2],
    at_rest: u64,
}

/// See the module.
pub(crate) fn run(context: &Context<'_>) -> Result {
    let before = status_kib("RssAnon");
    let (stop, greatest) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                greatest.fetch_max(status_kib("RssAnon"), Ordering::AcqRel);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let done = write(context);
        stop.store(true, Ordering::Release);
        let Written { took_s, after_rounds: [first, second], at_rest } = done?;
        let mib = |kib: u64| kib as f64 / 1024.0;
        context.tell(Measured::new("memory.series_1m", mib(greatest.load(Ordering::Acquire))).note(format!(
            "{RUNS} runs of {KEYS} keys, read every 5 ms until all is sealed and applied; {:.0} MiB before, {:.0} after \
             the first round, {:.0} after the second, {:.0} at rest; written in {took_s:.1} s",
            mib(before),
            mib(first),
            mib(second),
            mib(at_rest)
        )));
        Ok(())
    })
}

fn write(context: &Context<'_>) -> Result<Written> {
    let store = engine::create(&context.dir.join("store"), RUNS)?;
    let keys = engine::keys(&store, KEYS)?;
    let mut row: Vec<(KeyId, f64)> = keys.iter().map(|&key| (key, 0.0)).collect();
    let start = Instant::now();
    let mut after_rounds = [0; 2];
    for (step, after) in after_rounds.iter_mut().enumerate() {
        context.progress(&format!("round {} of 2", step + 1));
        for number in 0..RUNS {
            row.iter_mut().enumerate().for_each(|(index, cell)| cell.1 = (number + index as u64) as f64 * 0.5);
            let run = store.run(engine::run_id(number))?;
            run.log_row(step as i64, TimestampMs(step as i64 * 100), &row, Durability::Buffered)?;
        }
        *after = status_kib("RssAnon");
    }
    let took_s = start.elapsed().as_secs_f64();
    engine::seal_all(&store)?;
    store.checkpoint()?;
    let at_rest = status_kib("RssAnon");
    let snapshot = store.snapshot()?;
    for number in [0, RUNS - 1] {
        let latest = snapshot.latest(engine::run_id(number))?;
        if latest.len() != KEYS || latest.iter().any(|(_, stats)| stats.count_raw != 2) {
            return Err(format!("run {number} does not hold what was written").into());
        }
    }
    drop(snapshot);
    store.close()?;
    Ok(Written { took_s, after_rounds, at_rest })
}
