//! Points are appended on a thread of their own, while the next ones are read.
//!
//! ```text
//! rows or files -> reader (keys, checks, idempotency key) -> a few batches waiting -> writer: Sink::put_points
//! ```
//! - Batches reach the store in the order in which they were given: a killed import has a prefix of them.
//! - The writer's error ends the reading; it is the error of the import.
//! - A reader that looks at what the store has of the run it reads waits first until nothing is waiting.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use runlode::{RawStore, RunId};

use super::key::Key;
use super::report::Report;
use super::sink::{IndexedPoint, Sink};
use crate::error::{Error, Result};

/// Batches that were read and wait for the writer.
const BATCHES_WAITING_MAX: usize = 4;

/// Points of one run, and how many rows of the source they stand for.
pub(super) struct PointsBatch {
    pub(super) key: Key,
    pub(super) run: RunId,
    pub(super) keys: Arc<[String]>,
    pub(super) points: Vec<IndexedPoint>,
    pub(super) rows: u64,
}

enum Job {
    Points(PointsBatch),
    /// All points of a batch were known already.
    Known,
    /// Answered when all jobs before it are done.
    Wait(SyncSender<()>),
}

/// Where a reader gives its batches.
pub(super) struct Appender<'s> {
    jobs: SyncSender<Job>,
    store: &'s RawStore,
}

impl<'s> Appender<'s> {
    /// The store, perhaps without the batches that wait.
    pub(super) fn store(&self) -> &'s RawStore {
        self.store
    }

    /// Gives a batch; waits while too many are waiting.
    pub(super) fn put(&self, batch: PointsBatch) -> Result<()> {
        self.give(Job::Points(batch))
    }

    /// Counts a batch of which the store has every point.
    pub(super) fn count_known(&self) -> Result<()> {
        self.give(Job::Known)
    }

    /// Returns when the store has every batch that was given.
    pub(super) fn wait(&self) -> Result<()> {
        let (done, finished) = sync_channel(1);
        self.give(Job::Wait(done))?;
        finished.recv().map_err(|_| ended())
    }

    fn give(&self, job: Job) -> Result<()> {
        self.jobs.send(job).map_err(|_| ended())
    }
}

/// The reader's view of a writer that failed. [`beside`] returns the writer's own error instead.
fn ended() -> Error {
    Error::Source("no more points can be appended".into())
}

/// Runs `read` with an appender, and returns when all that it gave is in the store. What became of the batches is
/// added to the report.
pub(super) fn beside<T>(
    sink: &mut Sink<'_>,
    report: &mut Report,
    read: impl FnOnce(&Appender<'_>, &mut Report) -> Result<T>,
) -> Result<T> {
    let store = sink.store();
    let (jobs, given) = sync_channel(BATCHES_WAITING_MAX);
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || write(sink, &given));
        let read = {
            let appender = Appender { jobs, store };
            read(&appender, report)
        };
        let written = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        report.imported.points += written.imported.points;
        report.absorb(written);
        read
    })
}

/// Appends what is given until the reader is done. Returns what was appended and what was refused.
fn write(sink: &mut Sink<'_>, given: &Receiver<Job>) -> Result<Report> {
    let mut report = Report::default();
    for job in given {
        match job {
            Job::Points(batch) => {
                let PointsBatch { key, run, keys, points, rows } = batch;
                let kept = sink.put_points(&key, run, &keys, &points, &mut report)?;
                report.imported.points += rows.saturating_sub(points.len() as u64 - kept);
            }
            Job::Known => sink.batches_known += 1,
            // A reader that failed meanwhile waits no more.
            Job::Wait(done) => drop(done.send(())),
        }
    }
    Ok(report)
}
