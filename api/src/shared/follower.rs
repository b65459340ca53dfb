//! Reads a store's log as it grows, without taking part in the store.
//!
//! ```text
//!   own view, to its end -> the holder's answers, as long as there is one -> a new view, when it has gone -> ...
//! ```
//! - The own view is an open for reading: it ends where the log ended when it was opened.
//! - A process that holds the store answers for what came since. A follower that outlives it opens the store again.
//! - Where no holder is in reach, the files that every writer changes when it opens the store are watched.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use super::Shared;
use super::client::Guest;
use super::wire::Put;
use crate::engine::storage::lock::LOCK_PATH;
use crate::mlflow::{ApiResult, Mlflow, Settings, TailPage};
use crate::{LocalStore, Result};

/// The number of `tail` in the table of calls.
const TAIL: u16 = 88;
/// The longest wait of one question: a stopped holder must not stop the follower for good.
const WAIT_MS_MAX: u64 = 10_000;
/// How long a holder may take for an answer, besides the wait that it was asked for.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// How long a store is opened again and again after its holder went.
const ENDING: Duration = Duration::from_secs(2);
/// How often files are looked at when nobody holds the store.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Follows the log of a store, whatever process holds it. It writes nothing.
///
/// ```
/// use runlode::{Follower, RunSpec, Store};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = Store::open(&path)?;
/// let mut follower = Follower::open(&path)?;
/// let mut from = follower.next(0, 1000, 0)?.next;
/// let run = store.experiment("digits")?.create_run(RunSpec::named("trial-17"))?;
/// let mut seen = Vec::new();
/// while !seen.iter().any(|event| event == "RunCreated") {
///     let page = follower.next(from, 1000, 1000)?;
///     from = page.next;
///     seen.extend(page.events.into_iter().map(|event| event.event));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Follower {
    view: LocalStore,
    calls: Mlflow,
    guest: Option<Guest>,
    /// What the files said when the view was opened.
    stamp: Stamp,
    /// A holder went: it may have logged what neither its last answer nor the view has, and may still be writing it out.
    stale_until: Option<Instant>,
}

/// When the files were changed that a writer changes at each open (LOCK) and at its end (the index), and a compaction at
/// each swap.
type Stamp = [Option<SystemTime>; 3];

fn stamp(path: &Path) -> Stamp {
    [LOCK_PATH, "MANIFEST", "index.redb"].map(|name| path.join(name).metadata().and_then(|found| found.modified()).ok())
}

impl Follower {
    /// Opens the store for reading, as [`Options::open_to_read`](crate::Options::open_to_read) does.
    ///
    /// # Errors
    /// Those of it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        // Read before: a writer that opens the store meanwhile leaves a later time.
        let stamp = stamp(path.as_ref());
        let view = Shared::open_to_read(LocalStore::options(path.as_ref()))?;
        let calls = Mlflow::new(view.clone(), Settings::in_process(&view));
        Ok(Self { view, calls, guest: None, stamp, stale_until: None })
    }

    /// The store as it was when it was last opened for reading.
    pub fn view(&self) -> &LocalStore {
        &self.view
    }

    /// Batches from a position on, at most `batches`, as [`Mlflow::tail`] answers. If there are none yet, it waits about
    /// `wait_ms` for the first.
    ///
    /// # Errors
    /// Those of [`Mlflow::tail`], and of opening the store again.
    pub fn next(&mut self, from: u64, batches: u64, wait_ms: u64) -> ApiResult<TailPage> {
        let mut left = Duration::from_millis(wait_ms);
        loop {
            if let Some(page) = self.ask(from, batches, left)? {
                return Ok(page);
            }
            let is_stale = self.stale_until.is_some_and(|until| Instant::now() < until);
            if is_stale || stamp(self.view.path()) != self.stamp {
                self.look_again()?;
            }
            let page = match self.calls.tail(from, batches, 0) {
                Ok(page) => page,
                // The files that the view has were replaced.
                Err(error) => match self.look_again() {
                    Ok(()) => self.calls.tail(from, batches, 0)?,
                    Err(_) => return Err(error),
                },
            };
            if page.next > from.max(1) || left.is_zero() {
                return Ok(page);
            }
            if self.guest.is_none() {
                self.guest = self.arrive();
            }
            if self.guest.is_none() {
                let nap = LOOK_EVERY.min(left);
                std::thread::sleep(nap);
                left -= nap;
            }
        }
    }

    /// The holder's answer; `None` if there is no holder.
    fn ask(&mut self, from: u64, batches: u64, wait: Duration) -> ApiResult<Option<TailPage>> {
        let Some(guest) = &mut self.guest else { return Ok(None) };
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).min(WAIT_MS_MAX);
        let put = |request: &mut Vec<u8>| {
            from.put(request);
            batches.put(request);
            wait_ms.put(request);
        };
        match guest.ask(TAIL, put) {
            Ok(answer) => answer.map(Some),
            Err(_) => {
                self.guest = None;
                self.stale_until = Some(Instant::now() + ENDING);
                Ok(None)
            }
        }
    }

    fn arrive(&self) -> Option<Guest> {
        let wait = Duration::from_millis(WAIT_MS_MAX) + ANSWER_WAIT;
        // No holder, or one that cannot be reached: the files are watched instead.
        Guest::arrive(self.view.path(), wait).unwrap_or_else(|_: io::Error| None)
    }

    /// Opens the store again.
    fn look_again(&mut self) -> Result<()> {
        let again = Self::open(self.view.path())?;
        *self = Self { guest: self.guest.take(), stale_until: self.stale_until, ..again };
        Ok(())
    }
}
