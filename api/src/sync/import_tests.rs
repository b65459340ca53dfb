//! Runs that several stores imported from one source, in stores that meet.

use std::sync::Arc;

use super::{Chunk, Report, Source, Target};
use crate::engine::ManualClock;
use crate::engine::event::RunCreated;
use crate::engine::event::batch::{NoteKind, StoreNote};
use crate::engine::storage::memory::Memory;
use crate::experiment::IMPORT_ACTOR;
use crate::{
    Batch, CompactOptions, Durability, HistoryQuery, LocalStore, MetricContext, Point, RunId, RunStatus, TimestampMs,
};

const RUN: RunId = RunId([7; 16]);

fn store(seed: u64) -> LocalStore {
    let clock = Arc::new(ManualClock::at(TimestampMs(1_000_000)));
    let options = LocalStore::options("memory").storage(Arc::new(Memory::new())).background(false);
    options.clock(clock).seed(seed).open().unwrap()
}

fn import_run(store: &LocalStore) {
    let event = RunCreated {
        run: RUN,
        experiment: store.get_or_create_experiment("imported").unwrap(),
        name: "imported".into(),
        user_id: "ann".into(),
        status: RunStatus::Running,
        start_time_ms: 7,
        artifact_location: None,
        tags: Vec::new(),
    };
    store.append(Batch::new().actor(IMPORT_ACTOR).event(event), Durability::Sync).unwrap();
}

fn points(batch: Batch, steps: std::ops::Range<i64>) -> Batch {
    steps.fold(batch, |batch, step| {
        batch.metric(RUN, "loss", Point { step, time: TimestampMs(step), value: step as f64 }, None)
    })
}

/// Appends points as an import does, `of_one` in a batch.
fn import_points(store: &LocalStore, steps: std::ops::Range<i64>, of_one: usize) {
    for from in steps.clone().step_by(of_one) {
        let to = (from + of_one as i64).min(steps.end);
        store.append(points(Batch::new().actor(IMPORT_ACTOR), from..to), Durability::Sync).unwrap();
    }
}

fn sync(from: &LocalStore, to: &LocalStore) -> Report {
    from.flush().unwrap();
    let mut target = Target::new(to, from.engine().id()).unwrap();
    let mut source = Source::new(from, target.applied().unwrap(), to.engine().id()).unwrap();
    let mut report = Report::default();
    while let Some(chunk) = source.next_chunk().unwrap() {
        report.add(target.apply(&Chunk::decode(&chunk.encode()).unwrap()).unwrap());
    }
    report
}

fn steps(store: &LocalStore) -> Vec<i64> {
    store.snapshot().unwrap().history(RUN, "loss", &HistoryQuery::default()).unwrap().columns.steps.clone()
}

/// Batches of equal shape are joined on the way. The store in the middle has a point of one of them by its own import:
/// what is left cannot be divided among the batches.
#[test]
fn batches_that_a_middle_store_has_in_part_go_on_to_a_third_one() {
    let [a, b, c] = [store(1), store(2), store(3)];
    [&a, &b].into_iter().for_each(import_run);
    import_points(&a, 0..3, 1);
    import_points(&b, 1..2, 1);
    sync(&a, &b);
    sync(&b, &c);
    for store in [&b, &c] {
        assert_eq!(steps(store), [0, 1, 2]);
    }
    assert_eq!((sync(&a, &c).points_count, sync(&c, &a).points_count), (0, 0));
    assert_eq!(steps(&a), [0, 1, 2]);
}

/// What is left can be divided, but belongs to one of the batches. The third store has seen the other one.
#[test]
fn a_third_store_takes_the_points_of_the_batch_that_it_has_not_seen() {
    let [a, b, c] = [store(1), store(2), store(3)];
    [&a, &b].into_iter().for_each(import_run);
    import_points(&a, 0..2, 2);
    sync(&a, &c);
    import_points(&a, 2..4, 2);
    import_points(&b, 0..2, 2);
    sync(&a, &b);
    sync(&b, &c);
    for store in [&a, &b, &c] {
        assert_eq!(steps(store), [0, 1, 2, 3]);
    }
}

/// An earlier build kept the rest of joined batches as one: it is sent, and taken whole.
#[test]
fn what_an_earlier_build_left_of_joined_batches_is_sent_whole() {
    let [a, b, c] = [store(1), store(2), store(3)];
    import_run(&a);
    import_points(&a, 0..2, 1);
    sync(&a, &b);
    sync(&a, &c);
    let first = b.engine().seen(a.engine().id()).unwrap() + 1;
    for (first, last, steps) in [(first, first + 2, 2..4), (first + 3, first + 4, 4..6)] {
        let note = StoreNote {
            kind: NoteKind::Holds,
            store: a.engine().id(),
            first,
            last,
            time: TimestampMs(1_000_000),
            extra: Vec::new(),
        };
        b.append(points(Batch::new().actor(IMPORT_ACTOR), steps).of_store(note), Durability::Sync).unwrap();
    }
    // C saw the first one of each.
    import_points(&a, 2..3, 1);
    sync(&a, &c);
    sync(&b, &c);
    assert_eq!(steps(&c), (0..6).collect::<Vec<_>>());
}

/// The source linked a point with a model after the first store had imported it.
#[test]
fn a_point_that_the_source_linked_with_a_model_between_two_imports_is_one_point() {
    for first in [0, 1] {
        let sides = [store(1), store(2)];
        let context = MetricContext { model_id: Some("m-1".into()), ..MetricContext::default() };
        for (store, context) in sides.iter().zip([None, Some(context)]) {
            import_run(store);
            let point = |step| Point { step, time: TimestampMs(step), value: f64::NAN };
            let batch = Batch::new().actor(IMPORT_ACTOR).metric(RUN, "loss", point(0), None);
            store.append(batch.metric(RUN, "loss", point(1), context), Durability::Sync).unwrap();
        }
        for (from, to) in [(first, 1 - first), (1 - first, first)] {
            sync(&sides[from], &sides[to]);
        }
        for store in &sides {
            assert_eq!(steps(store), [0, 1], "{first}");
        }
    }
}

/// Points that were logged at their own time are all there, also in a run that both stores imported.
#[test]
fn equal_points_of_a_run_that_two_stores_imported_stay_as_many() {
    for compacts in [false, true] {
        let [a, b] = [store(1), store(2)];
        [&a, &b].into_iter().for_each(import_run);
        for _ in 0..2 {
            let point = Point { step: 1, time: TimestampMs(1_000_000), value: 0.5 };
            a.append(Batch::new().metric(RUN, "loss", point, None), Durability::Sync).unwrap();
        }
        if compacts {
            a.engine().seal().unwrap();
            a.compact(&CompactOptions::default()).unwrap();
        }
        sync(&a, &b);
        assert_eq!((sync(&b, &a).points_count, steps(&a), steps(&b)), (0, vec![1, 1], vec![1, 1]), "{compacts}");
    }
}
