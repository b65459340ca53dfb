//! One point a call, `Buffered`: in the log and visible when the call returns.

use criterion::Criterion;
use runlode::RunSpec;
use runlode_benches::stream::{Stream, Values};
use runlode_benches::{Result, engine};
use runlode_engine::{Durability, TimestampMs};

fn bench(criterion: &mut Criterion) -> Result {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let store = runlode::Store::open(dir.path().join("store"))?;
    let run = store.experiment("points")?.create_run(RunSpec::new())?;
    let mut row = run.row(&[&engine::key_name(0)])?;
    let mut stream = Stream::new(Values::Loss, 1);
    criterion.bench_function("single point, buffered", |bencher| {
        bencher.iter(|| {
            let mut logged = Ok(());
            stream.row(|point| {
                logged = row.log_at(point.step, TimestampMs(point.time_ms), &[point.value], Durability::Buffered);
            });
            logged.expect("the store takes points")
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
