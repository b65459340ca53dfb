//! Columns of metrics that are made on demand, and the memory that they may take.

use std::sync::Arc;

use super::*;
use crate::event::{ExperimentCreated, RunCreated, RunStatus};
use crate::ingest::batch::{Batch, Durability};
use crate::search::OrderKey;
use crate::search::filter::metric;
use crate::storage::memory::Memory;
use crate::store::Store;
use crate::time::TimestampMs;

const EXPERIMENT: ExperimentId = ExperimentId(1);
const RUNS: u8 = 40;
const METRICS: usize = 60;

fn run_id(number: u8) -> RunId {
    RunId([number; 16])
}

fn name(metric: usize) -> String {
    format!("metric_{metric}")
}

/// Points of [`METRICS`] metrics in each run, in the index.
fn store() -> Store {
    let store = Store::options("store").storage(Arc::new(Memory::default())).background(false).open().unwrap();
    let created = ExperimentCreated {
        experiment: EXPERIMENT,
        name: "e".into(),
        artifact_location: None,
        creation_time_ms: 0,
        last_update_time_ms: 0,
        tags: Vec::new(),
    };
    store.append(Batch::new().event(created), Durability::Buffered).unwrap();
    let keys: Vec<KeyId> = (0..METRICS).map(|metric| store.metric_key(&name(metric)).unwrap()).collect();
    for number in 0..RUNS {
        let created = RunCreated {
            run: run_id(number),
            experiment: EXPERIMENT,
            name: "r".into(),
            user_id: String::new(),
            status: RunStatus::Running,
            start_time_ms: 0,
            artifact_location: None,
            tags: Vec::new(),
        };
        store.append(Batch::new().event(created), Durability::Buffered).unwrap();
        let run = store.run(run_id(number)).unwrap();
        for step in 0..3 {
            let row: Vec<_> = keys.iter().zip(0..).map(|(key, at)| (*key, value(number, at, step))).collect();
            run.log_row(step, TimestampMs(1_000 + step), &row, Durability::Buffered).unwrap();
        }
    }
    store.flush().unwrap();
    store.seal().unwrap();
    store
}

fn value(run: u8, metric: usize, step: i64) -> f64 {
    f64::from(run) * (metric as f64 - 20.0) + step as f64
}

/// The runs whose `metric` is greatest, by its latest value or its least.
fn best(store: &Store, metric_number: usize, least: bool) -> Vec<RunId> {
    let key = metric(name(metric_number));
    let key = if least { key.min() } else { key };
    let query = SearchQuery { order: vec![OrderKey::descending(key)], limit: 3, ..SearchQuery::new(EXPERIMENT) };
    store.snapshot().unwrap().search(&query).unwrap().runs
}

fn columns(store: &Store) -> (usize, u64) {
    let standing = store.core().projections.get(EXPERIMENT);
    let standing = standing.read();
    (standing.projection.metrics.len(), standing.projection.memory_bytes() as u64)
}

#[test]
fn columns_that_searches_asked_for_stay_within_the_memory_for_projections() {
    let store = store();
    let expected = |metric_number: usize| {
        let mut runs: Vec<u8> = (0..RUNS).collect();
        runs.sort_by(|a, b| value(*b, metric_number, 2).total_cmp(&value(*a, metric_number, 2)));
        runs.into_iter().take(3).map(run_id).collect::<Vec<_>>()
    };
    assert_eq!(best(&store, 0, false), expected(0));
    let (one, first_bytes) = columns(&store);
    assert_eq!(one, 1, "only what was asked for has columns");
    // Without a bound, every metric that was ever asked for keeps its columns.
    for metric_number in 0..METRICS {
        best(&store, metric_number, metric_number % 2 == 0);
    }
    let (all, all_bytes) = columns(&store);
    assert_eq!(all, METRICS);
    let a_metric = (all_bytes - first_bytes) / (all as u64 - 1);
    let bytes_max = first_bytes + 5 * a_metric;
    store.core().projections.set_bytes_max(bytes_max);
    // The next column that is made makes room.
    best(&store, 1, true);
    for round in 0..3 {
        for metric_number in 0..METRICS {
            let runs = best(&store, metric_number, (metric_number + round) % 2 == 0);
            if metric_number != 20 {
                assert_eq!(runs, expected(metric_number), "metric {metric_number}");
            }
            let (kept, bytes) = columns(&store);
            assert!(bytes <= bytes_max + 2 * a_metric && kept < METRICS, "{kept} metrics, {bytes} of {bytes_max} B");
        }
    }
    // No room at all: each query still has what it needs.
    store.core().projections.set_bytes_max(0);
    assert_eq!(best(&store, 7, false), expected(7));
    assert_eq!(columns(&store).0, 1);
}

#[test]
fn a_search_whose_columns_are_there_does_not_wait_for_one_that_makes_some() {
    let store = store();
    let runs = best(&store, 7, false);
    let standing = store.core().projections.get(EXPERIMENT);
    // As one that makes columns does.
    let making = standing.upgradable_read();
    assert_eq!(best(&store, 7, false), runs);
    drop(making);
}
