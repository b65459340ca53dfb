//! A million sealed points to 320 buckets, with true extremes.

use criterion::Criterion;
use runlode_benches::stream::{Stream, Values};
use runlode_benches::{Result, engine};

const POINTS: usize = 1_000_000;

fn bench(criterion: &mut Criterion) -> Result {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let store = engine::create(&dir.path().join("store"), 1)?;
    let keys = engine::keys(&store, 1)?;
    engine::log_stream(&store.run(engine::run_id(0))?, &keys, &mut Stream::new(Values::Loss, 1), POINTS)?;
    engine::seal_all(&store)?;
    criterion.bench_function("downsample 1 M points to 320 buckets", |bencher| {
        bencher.iter(|| {
            let snapshot = store.snapshot().expect("a snapshot");
            snapshot.downsample(engine::run_id(0), &engine::key_name(0), None, 320).expect("buckets")
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
