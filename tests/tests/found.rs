//! Bugs that the simulations and the model test found, each as the shortest example that shows it.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use runlode_engine::event::{Event, ExperimentDeleted};
use runlode_engine::point::Point;
use runlode_engine::search::{SearchQuery, View};
use runlode_engine::storage::memory::Memory;
use runlode_engine::{Batch, Durability, Error, ExperimentId, Lsn, RunId, Store, TimestampMs};
use runlode_tests::{create, manual_clock, sim_options};

const RUN: RunId = RunId([1; 16]);

fn created(run: RunId, experiment: ExperimentId) -> Event {
    create::run(run, experiment).into()
}

fn point(step: i64) -> Point {
    Point { step, time: TimestampMs(step), value: 0.5 }
}

fn store() -> Store {
    let store = sim_options(Arc::new(Memory::new()), manual_clock(), 1).open().unwrap();
    for number in 1..=2 {
        let event = create::experiment(ExperimentId(number), &format!("experiment {number}"));
        store.append(Batch::new().event(event), Durability::Sync).unwrap();
    }
    store
}

/// A refused batch left the run behind as one of the experiment that it had named. Created elsewhere later, the run
/// was found twice by a search over both, and took points while its experiment was deleted.
#[test]
fn a_refused_creation_leaves_nothing_of_its_experiment() {
    let store = store();
    let search = |experiments: &[u64]| {
        let mut query = SearchQuery::new(ExperimentId(0));
        (query.experiments, query.view) = (experiments.iter().copied().map(ExperimentId).collect(), View::All);
        store.snapshot().unwrap().search(&query).unwrap().runs
    };
    assert!(search(&[1, 2]).is_empty());
    let refused =
        Batch::new().event(created(RUN, ExperimentId(1))).metric(RUN, "loss", point(0), None).expect_head(Lsn(1));
    assert!(matches!(store.append(refused, Durability::Sync), Err(Error::Conflict { .. })));
    store.append(Batch::new().event(created(RUN, ExperimentId(2))), Durability::Sync).unwrap();
    store.append(Batch::new().metric(RUN, "loss", point(1), None), Durability::Buffered).unwrap();
    assert_eq!((search(&[1]), search(&[1, 2])), (vec![], vec![RUN]));
    let deleted = ExperimentDeleted { experiment: ExperimentId(2), at_ms: 1 };
    store.append(Batch::new().event(deleted), Durability::Sync).unwrap();
    let late = Batch::new().metric(RUN, "loss", point(2), None);
    assert!(matches!(store.append(late, Durability::Sync), Err(Error::Deleted { .. })));
}

/// Sealed, and logged to again: the stats in memory were of later points only, and a snapshot from between did not
/// look at the index, because the run had been created by this process and was taken to be nowhere else.
#[test]
fn a_held_snapshot_keeps_the_stats_of_points_sealed_before_it() {
    let store = store();
    store.append(Batch::new().event(created(RUN, ExperimentId(1))), Durability::Sync).unwrap();
    store.append(Batch::new().metric(RUN, "loss", point(0), None), Durability::Sync).unwrap();
    store.seal().unwrap();
    let held = store.snapshot().unwrap();
    for step in 1..4 {
        store.append(Batch::new().metric(RUN, "loss", point(step), None), Durability::Sync).unwrap();
        store.seal().unwrap();
        let latest = held.latest(RUN).unwrap();
        assert_eq!(latest.iter().map(|(key, stats)| (&**key, stats.count_raw)).collect::<Vec<_>>(), [("loss", 1)]);
    }
}
