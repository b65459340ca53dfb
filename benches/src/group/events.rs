//! Many small events: the slowest log to build an index from.

use std::fs;
use std::time::Instant;

use runlode_engine::event::{Event, ParamsLogged, RunStatus, RunTagsSet, RunUpdated};
use runlode_engine::point::Point;
use runlode_engine::{Batch, Durability, RunHandle, Store, TimestampMs};

use crate::Result;
use crate::bars::Context;
use crate::engine::{self, EXPERIMENT};
use crate::report::Measured;
use crate::scratch::disk_bytes;

const RUNS: u64 = 100_000;
/// Of each run: its creation, 4 params, 4 tags, a change of status, and one-point batches of 5 keys.
const POINTS_PER_RUN: u64 = 270;
const EVENTS_PER_RUN: u64 = 10;
const KEYS: usize = 5;
/// Runs that log at the same time.
const RUNS_AT_ONCE: u64 = 100;

/// See the module.
pub(crate) fn run(context: &Context<'_>) -> Result {
    let path = context.dir.join("store");
    let store = engine::create(&path, 0)?;
    let events = RUNS * (POINTS_PER_RUN + EVENTS_PER_RUN);
    context.progress(&format!("{:.0} M small events", events as f64 / 1e6));
    let start = Instant::now();
    for first in (0..RUNS).step_by(RUNS_AT_ONCE as usize) {
        log_runs(&store, first)?;
    }
    let logged_s = start.elapsed().as_secs_f64();
    let probes = [0, RUNS / 2, RUNS - 1].map(engine::run_id);
    let before: Vec<_> = probes.iter().map(|&run| answers(&store, run)).collect::<Result<_>>()?;
    let frames = store.positions().published.0;
    store.close()?;
    let log_bytes = disk_bytes(&path.join("log"))?;

    context.progress(&format!("logged in {logged_s:.0} s; rebuild"));
    for name in ["index.redb", "search.snap"] {
        if path.join(name).exists() {
            fs::remove_file(path.join(name))?;
        }
    }
    for entry in fs::read_dir(path.join("series"))? {
        fs::remove_file(entry?.path())?;
    }
    let start = Instant::now();
    let store = Store::open(&path)?;
    let opened_s = start.elapsed().as_secs_f64();
    engine::seal_all(&store)?;
    store.checkpoint()?;
    let done_s = start.elapsed().as_secs_f64();
    let after: Vec<_> = probes.iter().map(|&run| answers(&store, run)).collect::<Result<_>>()?;
    if before != after {
        return Err("a run differs after the rebuild".into());
    }
    store.close()?;
    context.tell(Measured::new("rebuild.events_28m", done_s).note(format!(
        "{frames} frames, {:.2} GB of log, {:.1} M frames/s when logged; open returned after {opened_s:.1} s",
        log_bytes as f64 / 1e9,
        frames as f64 / logged_s / 1e6
    )));
    Ok(())
}

fn answers(store: &Store, run: runlode_engine::RunId) -> Result<String> {
    let snapshot = store.snapshot()?;
    let latest: Vec<_> = snapshot.latest(run)?.into_iter().map(|(key, s)| (key, s.count_raw, s.last_step)).collect();
    Ok(format!("{:?} {latest:?}", snapshot.run(run)?))
}

fn log_runs(store: &Store, first: u64) -> Result {
    let keys = engine::keys(store, KEYS)?;
    let append = |event: Event| store.append(Batch::new().event(event), Durability::Buffered);
    for number in first..first + RUNS_AT_ONCE {
        append(engine::run_created(number, EXPERIMENT).into())?;
    }
    for place in 0..4 {
        for number in first..first + RUNS_AT_ONCE {
            let run = engine::run_id(number);
            let value = (number * 7 + place).to_string();
            append(ParamsLogged { run, params: vec![(format!("param_{place}"), value.clone())] }.into())?;
            append(RunTagsSet { run, tags: vec![(format!("tag_{place}"), value)] }.into())?;
        }
    }
    let runs: Vec<RunHandle> =
        (first..first + RUNS_AT_ONCE).map(|number| Ok(store.run(engine::run_id(number))?)).collect::<Result<_>>()?;
    for number in 0..POINTS_PER_RUN {
        let step = (number / KEYS as u64) as i64;
        let point = Point { step, time: TimestampMs(1_700_000_000_000 + step * 100), value: 1.0 / (step + 1) as f64 };
        for run in &runs {
            run.log_point(keys[number as usize % KEYS], point, Durability::Buffered)?;
        }
    }
    for number in first..first + RUNS_AT_ONCE {
        let run = engine::run_id(number);
        let end = Some(1_700_000_100_000);
        append(RunUpdated { run, status: Some(RunStatus::Finished), end_time_ms: end, name: None }.into())?;
    }
    Ok(())
}
