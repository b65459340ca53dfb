//! One step of five keys in one call, `Buffered`.

use criterion::Criterion;
use runlode_benches::stream::{Stream, Values};
use runlode_benches::{Result, engine};
use runlode_engine::{Durability, KeyId, TimestampMs};

const KEYS: usize = 5;

fn bench(criterion: &mut Criterion) -> Result {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let store = engine::create(&dir.path().join("store"), 1)?;
    let run = store.run(engine::run_id(0))?;
    let keys = engine::keys(&store, KEYS)?;
    let mut stream = Stream::new(Values::Loss, KEYS);
    criterion.bench_function("row of 5 keys, buffered", |bencher| {
        let mut row: Vec<(KeyId, f64)> = Vec::with_capacity(KEYS);
        bencher.iter(|| {
            let (mut step, mut time_ms) = (0, 0);
            row.clear();
            stream.row(|point| {
                (step, time_ms) = (point.step, point.time_ms);
                row.push((keys[point.key], point.value));
            });
            run.log_row(step, TimestampMs(time_ms), &row, Durability::Buffered).expect("the store takes rows")
        });
    });
    Ok(())
}

fn main() -> Result {
    let mut criterion = Criterion::default().configure_from_args();
    bench(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}
