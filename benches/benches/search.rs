//! The first hundred of 100,000 runs by a metric, among those that match two tests.

use criterion::Criterion;
use runlode_benches::group::search;
use runlode_benches::{Result, engine};
use runlode_engine::{Batch, Durability, ExperimentId, Store};

fn bench(criterion: &mut Criterion) -> Result {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let store = Store::open(dir.path().join("store"))?;
    let experiment = ExperimentId(1);
    store.append(Batch::new().event(engine::experiment_created(experiment)), Durability::Sync)?;
    search::create_runs(&store, experiment, 0, 100_000)?;
    let query = search::named(experiment);
    criterion.bench_function("search 100,000 runs", |bencher| {
        bencher.iter(|| store.snapshot().expect("a snapshot").search(&query).expect("a page"));
    });
    Ok(())
}

fn main() -> Result {
    let mut criterion = Criterion::default().configure_from_args();
    bench(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}
