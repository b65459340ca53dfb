//! Frozen files, written elsewhere, are the store at the frozen position.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::compaction::CompactOptions;
use crate::event::{ExperimentCreated, RunCreated, RunStatus};
use crate::id::{ExperimentId, RunId};
use crate::point::Point;
use crate::query::past::AsOf;
use crate::query::points::HistoryQuery;
use crate::time::TimestampMs;
use crate::verify::VerifyOptions;
use crate::{Batch, Durability, Options, Store};

const RUN: RunId = RunId([7; 16]);

fn options(dir: &Path) -> Options {
    // Small segments, so that the log rolls all the time.
    Store::options(dir).segment_bytes(4 << 10, 32 << 10)
}

fn made(dir: &Path) -> Store {
    let store = options(dir).open().unwrap();
    let experiment = ExperimentId(1);
    let batch = Batch::new()
        .event(ExperimentCreated {
            experiment,
            name: "digits".into(),
            artifact_location: None,
            creation_time_ms: 0,
            last_update_time_ms: 0,
            tags: vec![],
        })
        .event(RunCreated {
            run: RUN,
            experiment,
            name: "trial".into(),
            user_id: String::new(),
            status: RunStatus::Running,
            start_time_ms: 0,
            artifact_location: None,
            tags: vec![],
        });
    store.append(batch, Durability::Sync).unwrap();
    store
}

fn log(store: &Store, step: i64) {
    let mut batch = Batch::new();
    for key in ["loss", "acc", "lr"] {
        batch.push_metric(RUN, key, Point { step, time: TimestampMs(step.max(0)), value: step as f64 }, None);
    }
    store.append(batch, Durability::Buffered).unwrap();
}

/// Writes the files as a restore does.
fn written(frozen: &Frozen, to: &Path) {
    for file in &frozen.files {
        let mut bytes = vec![0; file.content_bytes as usize];
        file.read_at(&mut bytes, 0).unwrap();
        bytes.resize(file.len_bytes as usize, 0);
        let path = to.join(&file.path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

fn steps(store: &Store, at: AsOf) -> Vec<i64> {
    let snapshot = store.snapshot().unwrap();
    let view = snapshot.as_of(at).unwrap();
    let page = view.history(RUN, "loss", &HistoryQuery { limit: usize::MAX, ..HistoryQuery::default() }).unwrap();
    page.columns.steps
}

/// Opens a copy, compares it with the store, and goes on in it.
fn check(store: &Store, frozen: &Frozen) {
    let dir = tempfile::tempdir().unwrap();
    written(frozen, dir.path());
    let reader = options(dir.path()).read_only(true).open().unwrap();
    assert_eq!(reader.positions().published, frozen.position);
    assert!(reader.open_notes().missing.is_empty(), "{:?}", reader.open_notes().missing);
    drop(reader);
    let copy = options(dir.path()).open().unwrap();
    assert_eq!(copy.positions().published, frozen.position);
    let at = AsOf::Position(frozen.position);
    assert_eq!(steps(&copy, at), steps(store, at));
    assert!(copy.verify(&VerifyOptions::default()).unwrap().is_sound());
    log(&copy, -1);
    copy.close().unwrap();
    let copy = options(dir.path()).open().unwrap();
    assert_eq!(steps(&copy, AsOf::Position(Lsn::MAX))[0], -1);
}

#[test]
fn files_frozen_at_any_moment_of_a_log_are_the_store_of_that_moment() {
    let dir = tempfile::tempdir().unwrap();
    let store = made(dir.path());
    for step in 0..400 {
        log(&store, step);
        if step % 40 == 3 {
            store.maintain().unwrap();
        }
        if step % 13 == 0 {
            check(&store, &Frozen::of(dir.path()).unwrap());
        }
        if step == 150 {
            store.compact(&CompactOptions::default()).unwrap();
            check(&store, &Frozen::of(dir.path()).unwrap());
        }
    }
    let before = Frozen::of(dir.path()).unwrap();
    store.compact(&CompactOptions::default()).unwrap();
    // Its files were unlinked, and are still there for who froze them.
    check(&store, &before);
    store.close().unwrap();
    let closed = Frozen::of(dir.path()).unwrap();
    check(&options(dir.path()).open().unwrap(), &closed);
}

#[test]
fn a_store_is_frozen_while_threads_append_and_compact() {
    let dir = tempfile::tempdir().unwrap();
    let store = made(dir.path());
    let stop = AtomicBool::new(false);
    let frozen: Vec<Frozen> = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut step = 0;
            while !stop.load(Ordering::Relaxed) {
                log(&store, step);
                step += 1;
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                store.compact(&CompactOptions::default()).unwrap();
            }
        });
        let frozen = (0..12).map(|_| Frozen::of(dir.path()).unwrap()).collect();
        stop.store(true, Ordering::Relaxed);
        frozen
    });
    assert!(frozen.windows(2).all(|pair| pair[0].position <= pair[1].position));
    for frozen in &frozen {
        check(&store, frozen);
    }
}

/// A writer cuts a segment when it finishes it. Whoever reads it at that moment had a longer file before.
#[test]
fn segments_that_are_cut_while_they_are_read_are_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = made(dir.path());
    (0..40).for_each(|step| log(&store, step));
    store.close().unwrap();
    let segments = std::fs::read_dir(dir.path().join("log")).unwrap().map(|entry| entry.unwrap().path());
    let last = std::fs::File::options().write(true).open(segments.max().unwrap()).unwrap();
    let len_bytes = last.metadata().unwrap().len();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                last.set_len(len_bytes + (64 << 10)).unwrap();
                std::thread::yield_now();
                last.set_len(len_bytes).unwrap();
            }
        });
        let results: Vec<_> = (0..300)
            .map(|_| (Frozen::of(dir.path()).map(|_| ()), options(dir.path()).read_only(true).open().map(|_| ())))
            .collect();
        stop.store(true, Ordering::Relaxed);
        for (frozen, opened) in results {
            frozen.unwrap();
            opened.unwrap();
        }
    });
}

#[test]
fn what_is_missing_or_no_store_is_said() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Frozen::of(dir.path()), Err(Error::NotFound { .. })));
    let store = made(dir.path());
    (0..300).for_each(|step| log(&store, step));
    store.compact(&CompactOptions::default()).unwrap();
    let frozen = Frozen::of(dir.path()).unwrap();
    let sealed = frozen.files.iter().find(|file| file.sealed && file.path.ends_with(".ser")).unwrap();
    std::fs::remove_file(dir.path().join(&sealed.path)).unwrap();
    let error = Frozen::of(dir.path()).unwrap_err();
    assert!(matches!(&error, Error::MissingFile { path, .. } if path.ends_with(&sealed.path)), "{error}");
}
