//! What a tail says of positions that compaction was at. (Random histories: `compaction::tests`.)

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::event::*;
use crate::id::{ExperimentId, RunId, WriterId};
use crate::ingest::encode::KeyedPoint;
use crate::point::Point;
use crate::storage::Storage;
use crate::storage::memory::Memory;
use crate::time::ManualClock;
use crate::{Batch, CompactOptions, Durability, MetricContext, Store};

const RUN: RunId = RunId([1; 16]);

struct Bench {
    storage: Arc<dyn Storage>,
    clock: Arc<ManualClock>,
    store: Store,
}

impl Bench {
    fn new() -> Self {
        let storage: Arc<dyn Storage> = Arc::new(Memory::new());
        let clock = Arc::new(ManualClock::at(TimestampMs(1_000)));
        let store = Self::open(&storage, &clock, false);
        let created = ExperimentCreated {
            experiment: ExperimentId(1),
            name: "e".into(),
            artifact_location: None,
            creation_time_ms: 1,
            last_update_time_ms: 1,
            tags: vec![],
        };
        let bench = Self { storage, clock, store };
        bench.append(Batch::new().event(created));
        bench.run(RUN);
        bench
    }

    fn open(storage: &Arc<dyn Storage>, clock: &Arc<ManualClock>, read_only: bool) -> Store {
        let options = Store::options("unused").storage(storage.clone()).background(false).seed(1);
        options.segment_bytes(4096, 16 << 10).clock(clock.clone()).read_only(read_only).open().unwrap()
    }

    fn run(&self, run: RunId) {
        self.append(Batch::new().event(RunCreated {
            run,
            experiment: ExperimentId(1),
            name: "r".into(),
            user_id: "ann".into(),
            status: RunStatus::Running,
            start_time_ms: 5,
            artifact_location: None,
            tags: vec![],
        }));
    }

    fn append(&self, batch: Batch) -> Lsn {
        self.store.append(batch, Durability::Buffered).unwrap().lsn
    }

    fn point(&self, key: &str, step: i64) -> Lsn {
        self.append(Batch::new().metric(RUN, key, point(step), None))
    }

    fn all(&self) -> Vec<TailBatch> {
        self.store.flush().unwrap();
        all(self.store.tail(Lsn(1)).unwrap(), 3)
    }

    fn compact(&self) {
        self.store.compact(&CompactOptions::default()).unwrap();
    }
}

fn point(step: i64) -> Point {
    Point { step, time: TimestampMs(10_000 + step * 10), value: step as f64 * 0.1 }
}

fn all(mut tail: Tail, most: usize) -> Vec<TailBatch> {
    let mut out = Vec::new();
    loop {
        let batches = tail.next(most, Duration::ZERO).unwrap();
        if batches.is_empty() {
            return out;
        }
        out.extend(batches);
    }
}

/// Points of a batch, one by one: series, step, bits of the value, context.
fn points(batch: &TailBatch) -> Vec<(SeriesId, i64, u64, u32)> {
    let of = |(series, columns): &(SeriesId, Columns)| -> Vec<_> {
        (0..columns.len())
            .map(|at| (*series, columns.steps[at], columns.values[at].to_bits(), columns.context(at).0))
            .collect()
    };
    let mut points: Vec<_> = batch.points.iter().flat_map(of).collect();
    points.sort_unstable();
    points
}

fn same(after: &[TailBatch], before: &[TailBatch]) {
    for (after, before) in after.iter().zip(before) {
        assert_eq!((after.lsn, after.time), (before.lsn, before.time));
        assert_eq!(format!("{:?}", after.events), format!("{:?}", before.events), "{}", before.lsn);
        assert_eq!(points(after), points(before), "{}", before.lsn);
    }
    assert_eq!(after.len(), before.len());
}

#[test]
fn a_compacted_store_gives_each_batch_its_points_and_time() {
    let bench = Bench::new();
    let keys: Vec<_> = (0..70).map(|key| bench.store.metric_key(&format!("k{key}")).unwrap()).collect();
    let handle = bench.store.run(RUN).unwrap();
    let context = MetricContext { model_id: Some("m".into()), ..MetricContext::default() };
    for step in 0..120 {
        bench.clock.set(TimestampMs(2_000 + step * 7));
        match step % 6 {
            0 => _ = bench.point("loss", step),
            1 => {
                // A wide row, and a narrow one.
                let row: Vec<_> = keys.iter().map(|key| (*key, step as f64)).collect();
                handle.log_row(step, TimestampMs(3), &row, Durability::Buffered).unwrap();
                handle.log_row(step, TimestampMs(4), &row[..2], Durability::Buffered).unwrap();
            }
            2 => {
                // Late points, in no order, with and without context; an event among them.
                let mut batch =
                    Batch::new().event(RunTagsSet { run: RUN, tags: vec![("at".into(), step.to_string())] });
                for late in [step, step - 40, step - 3] {
                    batch.push_metric(RUN, "late", point(late), (late % 2 == 0).then(|| context.clone()));
                    batch.push_metric(RUN, "acc", point(late + 1_000), None);
                }
                bench.append(batch);
            }
            3 => {
                let points: Vec<_> =
                    (0..30).map(|i| KeyedPoint { key: keys[0], point: point(step * 100 + i) }).collect();
                handle.log_points(&points, Durability::Buffered).unwrap();
            }
            4 if step % 4 == 0 => drop(bench.store.rewind(RUN, step - 6, None).unwrap()),
            4 => {
                // Two batches within a millisecond.
                bench.point("loss", step + 10_000);
                bench.point("loss", step + 20_000);
            }
            _ => _ = bench.append(Batch::new().event(RunTagsSet { run: RUN, tags: vec![("b".into(), "c".into())] })),
        }
        if step % 50 == 49 {
            bench.store.flush().unwrap();
            bench.store.seal().unwrap();
        }
    }
    let before = bench.all();
    assert!(before.iter().map(|batch| points(batch).len()).sum::<usize>() > 2_000);
    bench.compact();
    same(&bench.all(), &before);
    bench.compact();
    same(&bench.all(), &before);
    // A run that goes on; its points are in the log, and then in files of their own.
    for step in 200..260 {
        bench.clock.set(TimestampMs(9_000 + step));
        bench.point("loss", step);
    }
    let before = bench.all();
    bench.compact();
    same(&bench.all(), &before);
    for from in (1..=before.last().unwrap().lsn.0).step_by(13) {
        let rest: Vec<_> = before.iter().filter(|batch| batch.lsn.0 >= from).cloned().collect();
        same(&all(bench.store.tail(Lsn(from)).unwrap(), 100), &rest);
    }
    drop(bench.store);
    same(&all(Bench::open(&bench.storage, &bench.clock, true).tail(Lsn(1)).unwrap(), 100), &before);
}

#[test]
fn a_tail_goes_on_over_compactions_that_come_meanwhile() {
    let bench = Bench::new();
    for step in 0..100 {
        bench.point("loss", step);
    }
    let before = bench.all();
    let mut tail = bench.store.tail(Lsn(1)).unwrap();
    let mut got = Vec::new();
    for round in 0u8..100 {
        let batches = tail.next(9, Duration::ZERO).unwrap();
        if batches.is_empty() {
            break;
        }
        got.extend(batches);
        if round < 10 {
            // Other files come in place of those that the tail was reading.
            bench.run(RunId([10 + round; 16]));
            bench.append(Batch::new().metric(RunId([10 + round; 16]), "loss", point(1), None));
            bench.compact();
        }
    }
    same(&got[..before.len()], &before);
    same(&got, &bench.all());
}

#[test]
fn where_a_merged_batch_came_from_stays_with_its_points() {
    let bench = Bench::new();
    let (source, process) = (WriterId([7; 16]), WriterId([8; 16]));
    let tags = vec![(format!("runlode.source.{source}"), "1".into())];
    bench.append(Batch::new().event(ExperimentTagsSet { experiment: ExperimentId(1), tags }));
    for number in 1..=20 {
        for writer in [source, process] {
            let time = TimestampMs(5);
            let merged = Merged { writer, first: number, last: number, time_first: time, time_last: time };
            let key = if writer == source { "a" } else { "b" };
            bench.append(Batch::new().merged(merged).metric(RUN, key, point(number as i64), None));
        }
    }
    let before = bench.all();
    bench.compact();
    let after = bench.all();
    same(&after, &before);
    let notes = |batches: &[TailBatch], writer| -> Vec<u64> {
        let of = |batch: &TailBatch| batch.merged.filter(|merged| merged.writer == writer).map(|merged| merged.last);
        batches.iter().filter_map(of).collect()
    };
    // A store's points are not sent back to it; a process's are this store's own.
    assert_eq!(notes(&after, source), (1..=20).collect::<Vec<u64>>());
    assert_eq!(notes(&after, process), [20]);
    assert_eq!(bench.store.applied_number(source).unwrap(), 20);
}

#[test]
fn points_of_purged_runs_are_left_out_and_a_damaged_file_is_an_error_that_stays() {
    let bench = Bench::new();
    let purged = RunId([2; 16]);
    bench.run(purged);
    for step in 0..20 {
        bench.append(Batch::new().metric(purged, "loss", point(step), None));
        bench.point("loss", step);
    }
    bench.compact();
    let count = |batches: &[TailBatch]| batches.iter().map(|batch| points(batch).len()).sum::<usize>();
    assert_eq!(count(&bench.all()), 40);
    bench.append(Batch::new().event(RunDeleted { run: purged, at_ms: 1 }));
    bench.append(Batch::new().event(RunPurged { run: purged }));
    assert_eq!(count(&bench.all()), 20, "its chunks are in the file still");
    bench.compact();
    let before = bench.all();
    assert_eq!(count(&before), 20);

    let name = bench.store.core().pipeline.log.truth_files()[0].name.clone();
    let mut tail = bench.store.tail(Lsn(1)).unwrap();
    bench.storage.rename(&name, "series/away").unwrap();
    for _ in 0..2 {
        assert!(matches!(tail.next(100, Duration::ZERO), Err(Error::MissingFile { .. })));
        assert_eq!(tail.position(), Lsn(1), "nothing was passed over");
    }
    bench.storage.rename("series/away", &name).unwrap();
    same(&all(tail, 4), &before);
    // What is before a file that is gone is given away.
    for step in 100..110 {
        bench.point("acc", step);
    }
    // No file is small for this one, so the new points stay in a file of their own.
    let options = CompactOptions { series_file_bytes: 8, ..CompactOptions::default() };
    bench.store.compact(&options).unwrap();
    let more = bench.all();
    let files = bench.store.core().pipeline.log.truth_files();
    let last = files.iter().max_by_key(|file| file.first).unwrap();
    assert!(files.len() > 1 && last.first > Lsn(1), "{files:?}");
    bench.storage.remove(&last.name).unwrap();
    let mut tail = bench.store.tail(Lsn(1)).unwrap();
    let mut got = Vec::new();
    let error = loop {
        match tail.next(1_000, Duration::ZERO) {
            Ok(batches) => got.extend(batches),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::MissingFile { .. }), "{error}");
    same(&got, &more[..got.len()]);
    assert!(got.len() >= before.len() && tail.position() == got.last().unwrap().lsn.next());
}
