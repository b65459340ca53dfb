//! Measures the first search after an open: from the index, from `search.snap`, and from one that is behind.
//!
//! ```text
//! cargo run --release -p runlode-engine --example search_open -- make FOLDER [runs = 1000000]
//! cargo run --release -p runlode-engine --example search_open -- search FOLDER [changes = 0]
//! ```
//! `make` leaves a closed store that nobody searched. `search` opens it, searches twice, logs `changes` points to as
//! many runs, searches again, and closes; with `drop` as a third argument it does not close.

mod common;

use std::path::Path;
use std::time::Instant;

use common::{EXPERIMENT, experiment_created, mix, run_created, run_id, unit};
use runlode_engine::event::{ParamsLogged, RunCreated};
use runlode_engine::point::Point;
use runlode_engine::search::filter::{metric, param};
use runlode_engine::search::{OrderKey, SearchQuery};
use runlode_engine::{Batch, Durability, Store, TimestampMs};

fn make(store: &Store, runs: u64) -> Result<(), Box<dyn std::error::Error>> {
    store.append(Batch::new().event(experiment_created()), Durability::Sync)?;
    let keys = (0..5).map(|key| store.metric_key(&format!("m{key}"))).collect::<Result<Vec<_>, _>>()?;
    for first in (0..runs).step_by(100) {
        let mut batch = Batch::new();
        for number in first..runs.min(first + 100) {
            let run = run_id(number);
            let below = |salt: u64, end: u64| mix(number * 31 + salt) % end;
            batch.push_event(RunCreated {
                start_time_ms: 1_700_000_000_000 + number as i64,
                tags: vec![
                    ("team".into(), format!("team-{}", below(1, 20))),
                    ("host".into(), format!("host-{}", below(2, 1000))),
                    ("note".into(), format!("note {}", below(3, 10_000_000))),
                ],
                ..run_created(run, format!("run-{number}"))
            });
            let params = vec![
                ("p0".into(), format!("{:.4}", unit(number))),
                ("p1".into(), below(4, 10).to_string()),
                ("p2".into(), ["sgd", "adam", "adamw", "lion"][below(5, 4) as usize].into()),
                ("p3".into(), (1 << below(6, 10)).to_string()),
                ("p4".into(), format!("model-{}", below(7, 100_000))),
            ];
            batch.push_event(ParamsLogged { run, params });
            for (salt, key) in (0..).zip(&keys) {
                let value = unit(number * 7 + salt);
                batch.push_point(run, *key, Point { step: 100, time: TimestampMs(1_700_000_000_000), value });
            }
        }
        store.append(batch, Durability::Buffered)?;
    }
    Ok(())
}

fn timed<T>(what: &str, work: impl FnOnce() -> Result<T, runlode_engine::Error>) -> Result<T, runlode_engine::Error> {
    let start = Instant::now();
    let done = work()?;
    println!("{what:40} {:10.2} ms", start.elapsed().as_secs_f64() * 1e3);
    Ok(done)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [work, folder, rest @ ..] = &arguments[..] else { return Err("make or search, and a folder".into()) };
    let number = |default: u64| rest.first().map_or(Ok(default), |text| text.parse());
    let folder = Path::new(folder);
    if work == "make" {
        let store = Store::options(folder).memory_bytes(2 << 30).open()?;
        make(&store, number(1_000_000)?)?;
        timed("close", || store.close())?;
        return Ok(());
    }
    let store = timed("open", || Store::open(folder))?;
    let filter = metric("m0").gt(0.9) & param("p1").eq("3");
    let order = vec![OrderKey::descending(metric("m0"))];
    let query = SearchQuery { filter: Some(filter), order, limit: 100, ..SearchQuery::new(EXPERIMENT) };
    let search = || store.snapshot()?.search(&query);
    let first = timed("first search", search)?;
    assert_eq!(timed("second search", search)?, first);
    let changes = number(0)?;
    if changes > 0 {
        for change in 0..changes {
            let point = Point { step: 101, time: TimestampMs(1_700_000_001_000), value: unit(!change) };
            store.append(Batch::new().metric(run_id(change), "m0", point, None), Durability::Buffered)?;
        }
        store.flush()?;
        timed("search after changes", search)?;
    }
    if rest.get(1).is_some_and(|last| last == "drop") {
        drop(store);
    } else {
        timed("close", || store.close())?;
    }
    for name in ["index.redb", "search.snap"] {
        let bytes = std::fs::metadata(folder.join(name)).map_or(0, |file| file.len());
        println!("{name:40} {:10.1} MB", bytes as f64 / 1e6);
    }
    Ok(())
}
