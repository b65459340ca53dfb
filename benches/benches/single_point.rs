//! One point a call, `Buffered`: in the log and visible when the call returns.

use criterion::Criterion;
use runlode_benches::stream::{Stream, Values};
use runlode_benches::{Result, engine};
use runlode_engine::Durability;

fn bench(criterion: &mut Criterion) -> Result {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let store = engine::create(&dir.path().join("store"), 1)?;
    let run = store.run(engine::run_id(0))?;
    let keys = engine::keys(&store, 1)?;
    let mut stream = Stream::new(Values::Loss, 1);
    criterion.bench_function("single point, buffered", |bencher| {
        bencher.iter(|| {
            let mut logged = Ok(runlode_engine::Lsn::ZERO);
            stream.row(|point| {
                let point = engine::keyed(point, &keys);
                logged = run.log_point(point.key, point.point, Durability::Buffered);
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
