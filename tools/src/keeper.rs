//! A thread of a server that compacts its store at rest, and says what is wrong with inboxes of other processes, while this
//! process holds it.
//!
//! When a compaction pays is the engine's decision ([`Store::compaction_due`](runlode::engine::Store::compaction_due)); this thread
//! only knows for how long nothing was written.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use runlode::{CompactOptions, Error as StoreError, LocalStore, Lsn, Store};

use crate::error::{Error, Result};
use crate::output::note;

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// After a failure it waits this long.
const RETRY_AFTER: Duration = Duration::from_secs(600);
/// Its rate: a store of 10 GB takes some minutes, and a disk has most of its time for others.
const BYTES_PER_SECOND: u64 = 64 << 20;

/// The running thread; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts it. `compacts`: whether it compacts the store.
    pub(crate) fn start(store: &Store, compacts: bool) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (store, stops) = (store.clone(), stop.clone());
        let thread = Builder::new().name("runlode-keeper".into()).spawn(move || keep(&store, compacts, &stops));
        let thread = thread.map_err(|error| Error::io("cannot start the thread that compacts", error))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic was printed by its own thread; the server ends all the same.
            let _ = thread.join();
        }
    }
}

fn keep(store: &Store, compacts: bool, stop: &AtomicBool) {
    let mut last = (Lsn::ZERO, Instant::now());
    let mut told = BTreeSet::new();
    let mut wait = LOOK_EVERY;
    loop {
        let until = Instant::now() + wait;
        while Instant::now() < until && !stop.load(Ordering::Acquire) {
            std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
        }
        if stop.load(Ordering::Acquire) {
            return;
        }
        // Another process holds the store: it is that one's business.
        let Ok(local) = store.local() else { continue };
        tell(&local, &mut told);
        wait = match if compacts { look(&local, &mut last) } else { Ok(()) } {
            Ok(()) => LOOK_EVERY,
            Err(StoreError::Closed) => return,
            Err(error) => {
                note(format!("the store was not compacted: {error}; it is tried again in ten minutes"));
                RETRY_AFTER
            }
        };
    }
}

/// Says what keeps an inbox from being read to its end, once for each problem.
fn tell(local: &LocalStore, told: &mut BTreeSet<String>) {
    // Every read answers with an error of the merge.
    let Ok(report) = local.engine().merge_inboxes() else { return };
    let now: BTreeSet<String> = report.problems.into_iter().map(|problem| problem.what).collect();
    for what in now.difference(told) {
        note(format!("an inbox is not read to its end: {what}"));
    }
    *told = now;
}

/// Compacts, if it is time.
fn look(local: &LocalStore, last: &mut (Lsn, Instant)) -> std::result::Result<(), StoreError> {
    let published = local.positions().published;
    if published != last.0 {
        *last = (published, Instant::now());
        return Ok(());
    }
    let idle_ms = u64::try_from(last.1.elapsed().as_millis()).unwrap_or(u64::MAX);
    if local.engine().compaction_due(idle_ms)?.is_none() {
        return Ok(());
    }
    let mut options = CompactOptions::default();
    options.bytes_per_second = Some(BYTES_PER_SECOND);
    local.compact(&options)?;
    *last = (local.positions().published, Instant::now());
    Ok(())
}
