//! The full history of a million sealed points.

use criterion::{Criterion, Throughput};
use runlode_benches::stream::{Stream, Values};
use runlode_benches::{Result, engine};
use runlode_engine::{ColumnSet, HistoryQuery};

const POINTS: usize = 1_000_000;

fn bench(criterion: &mut Criterion) -> Result {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let store = engine::create(&dir.path().join("store"), 1)?;
    let keys = engine::keys(&store, 1)?;
    engine::log_stream(&store.run(engine::run_id(0))?, &keys, &mut Stream::new(Values::Loss, 1), POINTS)?;
    engine::seal_all(&store)?;
    let mut group = criterion.benchmark_group("history of 1 M sealed points");
    group.throughput(Throughput::Elements(POINTS as u64)).sample_size(20);
    for (name, columns) in
        [("step, value", ColumnSet::STEPS.with(ColumnSet::VALUES)), ("step, time, value", ColumnSet::POINTS)]
    {
        let query = HistoryQuery { columns, ..HistoryQuery::default() };
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let snapshot = store.snapshot().expect("a snapshot");
                snapshot.history(engine::run_id(0), &engine::key_name(0), &query).expect("a history")
            });
        });
    }
    group.finish();
    Ok(())
}

fn main() -> Result {
    let mut criterion = Criterion::default().configure_from_args();
    bench(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}
