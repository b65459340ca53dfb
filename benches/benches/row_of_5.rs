//! One step of five keys in one call, `Buffered`.

use criterion::Criterion;
use runlode::RunSpec;
use runlode_benches::stream::{Stream, Values};
use runlode_benches::{Result, engine};
use runlode_engine::{Durability, TimestampMs};

const KEYS: usize = 5;

fn bench(criterion: &mut Criterion) -> Result {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let store = runlode::Store::open(dir.path().join("store"))?;
    let run = store.experiment("rows")?.create_run(RunSpec::new())?;
    let names: Vec<String> = (0..KEYS).map(engine::key_name).collect();
    let mut row = run.row(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
    let mut stream = Stream::new(Values::Loss, KEYS);
    criterion.bench_function("row of 5 keys, buffered", |bencher| {
        let mut values = [0.0; KEYS];
        bencher.iter(|| {
            let (mut step, mut time_ms) = (0, 0);
            stream.row(|point| {
                (step, time_ms) = (point.step, point.time_ms);
                values[point.key] = point.value;
            });
            row.log_at(step, TimestampMs(time_ms), &values, Durability::Buffered).expect("the store takes rows")
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
