//! Exports of sealed points: Parquet beside a bare decode of the same chunks, and beside the bytes of the store.

use std::time::Instant;

use runlode::LocalStore;
use runlode_engine::point::Columns;
use runlode_engine::{ColumnSet, SeriesId};
use runlode_export::{Options, Target, export};

use crate::Result;
use crate::bars::Context;
use crate::engine::{self, BATCH_KEYS};
use crate::floor::read::Chunks;
use crate::report::Measured;
use crate::scratch::disk_bytes;
use crate::stream::{Stream, Values};
use crate::timing::median;

const RUNS: u64 = 20;
const POINTS_OF_RUN: usize = 2_000_000;
const POINTS: usize = RUNS as usize * POINTS_OF_RUN;
const THREADS: usize = 2;
const ROUNDS: usize = 3;

/// See the module.
pub(crate) fn run(context: &Context<'_>) -> Result {
    context.progress("40 M points, sealed and compacted");
    let path = context.dir.join("store");
    let store = engine::create(&path, RUNS)?;
    let keys = engine::keys(&store, BATCH_KEYS)?;
    for number in 0..RUNS {
        let run = store.run(engine::run_id(number))?;
        engine::log_stream(&run, &keys, &mut Stream::new(Values::Loss, BATCH_KEYS), POINTS_OF_RUN)?;
    }
    engine::compact_and_close(store)?;
    let bytes = disk_bytes(&path)?;

    let store = LocalStore::options(&path).read_only(true).open()?;
    let (mut rates, mut bare) = (Vec::new(), Vec::new());
    let mut written = 0;
    for round in 0..ROUNDS {
        context.progress(&format!("Parquet, round {} of {ROUNDS}", round + 1));
        let out = context.dir.join(format!("tables-{round}"));
        let begin = Instant::now();
        let options = Options::default().threads(THREADS);
        let report = export(&store, &Target::Parquet(out.clone()), &options, &mut |_| {})?;
        rates.push(POINTS as f64 / begin.elapsed().as_secs_f64() / 1e6);
        if report.written.points != POINTS as u64 {
            return Err("not all points".into());
        }
        written = report.bytes;
        std::fs::remove_dir_all(&out)?;

        let mut points = Columns::default();
        let mut decoded = std::time::Duration::ZERO;
        for number in 0..RUNS {
            let run = engine::run_id(number);
            let chunks = Chunks::of(&path, store.engine(), SeriesId { run, key: keys[0] })?;
            let begin = Instant::now();
            chunks.decode(ColumnSet::ALL, POINTS_OF_RUN / BATCH_KEYS, &mut points)?;
            decoded += begin.elapsed();
        }
        bare.push(POINTS as f64 / BATCH_KEYS as f64 / decoded.as_secs_f64() / 1e6);
    }
    let (rate, bare) = (median(rates), median(bare));
    context.tell(Measured::new("export.parquet", rate).note(format!(
        "median of {ROUNDS}, {THREADS} encoders; bare decode of the same chunks, one thread: {bare:.0} Mpts/s"
    )));
    context.tell(
        Measured::new("export.parquet_size", written as f64 / bytes as f64)
            .own(format!("{:.3} B a point", written as f64 / POINTS as f64))
            .beside(format!("store {:.3} B a point", bytes as f64 / POINTS as f64)),
    );
    Ok(())
}
