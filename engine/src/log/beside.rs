//! Runs the same work on many segments, on several threads if there is enough of it. An open waits for nothing else.
//!
//! A small amount of work is done by the caller, in order: that order is the same in every run, and a thread would cost
//! more than it saves.

use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{Builder, available_parallelism, scope};

use parking_lot::Mutex;

use crate::error::{Error, Result};

/// Fewer bytes than this are not worth a thread.
pub(super) const THREADS_FROM_BYTES: u64 = 8 << 20;
/// Most threads, the caller's included: more would only wait for memory or the disk.
const THREADS_MAX: usize = 4;

/// The result of `work` for each item, in the order of items. `bytes` is how much it reads or writes in all.
///
/// # Errors
/// The first error returned by `work`. Items not yet started are skipped.
pub(super) fn each<T: Sync, R: Send>(items: &[T], bytes: u64, work: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    let threads = available_parallelism().map_or(1, NonZero::get).min(items.len()).min(THREADS_MAX);
    if bytes < THREADS_FROM_BYTES || threads < 2 {
        return items.iter().map(work).collect();
    }
    let done: Vec<Mutex<Option<Result<R>>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let (left, failed) = (AtomicUsize::new(items.len()), AtomicBool::new(false));
    let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).ok();
    let run = || {
        // From the end: the last segments are the largest, so starting with them makes the threads finish at the same
        // time.
        while let Some(slot) = take().filter(|_| !failed.load(Ordering::Relaxed)).map(|left| left - 1) {
            let Some((item, done)) = items.get(slot).zip(done.get(slot)) else { break };
            let made = work(item);
            failed.fetch_or(made.is_err(), Ordering::Relaxed);
            *done.lock() = Some(made);
        }
    };
    scope(|scope| {
        for _ in 1..threads {
            // A thread that cannot be started is no failure: the others do its part.
            let _ = Builder::new().name("runlode-open".into()).spawn_scoped(scope, run);
        }
        run();
    });
    let done: Vec<Option<Result<R>>> = done.into_iter().map(Mutex::into_inner).collect();
    if let Some(error) = done.iter().flatten().find_map(|made| made.as_ref().err()) {
        return Err(error.clone());
    }
    let all: Option<Result<Vec<R>>> = done.into_iter().collect();
    all.unwrap_or_else(|| Err(Error::Internal("work on a segment was left out".into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_the_first_error_wins() {
        let items: Vec<u64> = (0..50).collect();
        for bytes in [0, THREADS_FROM_BYTES] {
            let squares = each(&items, bytes, |item| Ok(item * item)).expect("no work fails");
            assert_eq!(squares, items.iter().map(|item| item * item).collect::<Vec<_>>());
            let failed = each(&items, bytes, |item| match item {
                0..7 => Ok(()),
                item => Err(Error::Internal(format!("at {item}"))),
            });
            assert!(failed.is_err());
            assert!(each(&[0u64; 0], bytes, |_| Ok(())).is_ok_and(|none| none.is_empty()));
        }
    }
}
