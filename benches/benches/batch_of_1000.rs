//! A batch of 1,000 points over 10 keys, rows in, `Buffered`.

use criterion::{Criterion, Throughput};
use runlode_benches::Result;
use runlode_benches::engine::{self, BATCH_KEYS, BATCH_POINTS};
use runlode_benches::stream::{Stream, Values};
use runlode_engine::Durability;

fn bench(criterion: &mut Criterion) -> Result {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let store = engine::create(&dir.path().join("store"), 1)?;
    let run = store.run(engine::run_id(0))?;
    let keys = engine::keys(&store, BATCH_KEYS)?;
    let mut stream = Stream::new(Values::Loss, BATCH_KEYS);
    let mut group = criterion.benchmark_group("batch of 1,000 points, buffered");
    group.throughput(Throughput::Elements(BATCH_POINTS as u64));
    group.bench_function("10 keys", |bencher| {
        let mut batch = Vec::with_capacity(BATCH_POINTS);
        bencher.iter(|| {
            stream.fill(&mut batch, BATCH_POINTS, |point| engine::keyed(point, &keys));
            run.log_points(&batch, Durability::Buffered).expect("the store takes batches")
        });
    });
    group.finish();
    Ok(())
}

fn main() -> Result {
    let mut criterion = Criterion::default().configure_from_args();
    bench(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}
