//! `Sync` appends that wait at the same time share one fdatasync.
//!
//! Batches queue encoded, without a position. If no thread leads, the caller's does: under the sequencer it checks and
//! places all that wait (one pwrite per 256 KiB), then, outside it, calls fdatasync once. It hands the lead to the next
//! in the queue *before* it wakes the batches it served, so that the next sync runs while they return. There is no
//! timer: with many writers the sync itself gathers batches.
//!
//! Invariants: a batch is answered exactly once; `Ok` only after a sync that covers it; after a failed sync every batch
//! that was placed is answered `OutcomeUnknown`, and the store is poisoned.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::Thread;

use parking_lot::Mutex;
use rustc_hash::FxHashSet;

use super::prepared::{Changes, Prepared, Refused};
use super::room::Room;
use super::sequencer::Sequencer;
use crate::entity::EntityKey;
use crate::error::Error;
use crate::id::Lsn;
use crate::log::{FrameBuf, LogTail};

const WAITING: u8 = 0;
const LEAD: u8 = 1;
const DONE: u8 = 2;

/// Bytes placed per lock of the sequencer: other appends run in between.
const GROUP_BYTES_MAX: usize = 256 << 10;

#[derive(Debug)]
struct Waiter {
    state: AtomicU8,
    prepared: Mutex<Option<Box<Prepared>>>,
    result: Mutex<Option<Result<Lsn, Refused>>>,
    thread: Thread,
}

impl Waiter {
    fn answer(&self, result: Result<Lsn, Refused>) {
        *self.result.lock() = Some(result);
    }

    fn wake(&self, state: u8) {
        // Take the handle first: the waiter may be gone as soon as it sees DONE.
        let thread = self.thread.clone();
        self.state.store(state, Ordering::Release);
        thread.unpark();
    }
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Arc<Waiter>>,
    led: bool,
}

/// The queue of `Sync` appends.
#[derive(Debug, Default)]
pub(crate) struct GroupCommit {
    queue: Mutex<Queue>,
}

impl GroupCommit {
    /// Waits until the batch is durable or refused.
    pub(crate) fn submit(&self, sequencer: &Sequencer, room: &Room, prepared: Box<Prepared>) -> Result<Lsn, Refused> {
        let waiter = Arc::new(Waiter {
            state: AtomicU8::new(WAITING),
            prepared: Mutex::new(Some(prepared)),
            result: Mutex::new(None),
            thread: std::thread::current(),
        });
        let lead = {
            let mut queue = self.queue.lock();
            queue.waiting.push_back(waiter.clone());
            !std::mem::replace(&mut queue.led, true)
        };
        if !lead {
            loop {
                match waiter.state.load(Ordering::Acquire) {
                    WAITING => std::thread::park(),
                    LEAD => break,
                    _ => return take(&waiter),
                }
            }
        }
        self.lead(sequencer, room, &waiter);
        take(&waiter)
    }

    fn lead(&self, sequencer: &Sequencer, room: &Room, own: &Arc<Waiter>) {
        let group = std::mem::take(&mut self.queue.lock().waiting);
        let mut placed = Vec::with_capacity(group.len());
        let mut rest: VecDeque<Arc<Waiter>> = group.iter().cloned().collect();
        while !rest.is_empty() {
            let mut guard = sequencer.lock();
            match guard.as_mut() {
                Some(tail) => place_some(sequencer, tail, &mut rest, &mut placed),
                None => rest.drain(..).for_each(|waiter| waiter.answer(Err(Error::Closed.into()))),
            }
        }
        let synced = if placed.is_empty() { Ok(Lsn::ZERO) } else { room.sync(&sequencer.log) };
        {
            let mut queue = self.queue.lock();
            match queue.waiting.front() {
                Some(next) => next.wake(LEAD),
                None => queue.led = false,
            }
        }
        for (waiter, lsn) in placed {
            waiter.answer(match &synced {
                Ok(_) => Ok(lsn),
                Err(error) => Err(Refused::Failed(Error::OutcomeUnknown { cause: error.to_string() })),
            });
        }
        for waiter in group {
            if !Arc::ptr_eq(&waiter, own) {
                waiter.wake(DONE);
            }
        }
        room.after_append(sequencer);
    }
}

fn take(waiter: &Waiter) -> Result<Lsn, Refused> {
    let result = waiter.result.lock().take();
    result.unwrap_or_else(|| Err(Error::Internal("a batch was woken without an answer".into()).into()))
}

/// Checks and places the first batches of `rest` that do not depend on one another, up to [`GROUP_BYTES_MAX`].
fn place_some(
    sequencer: &Sequencer,
    tail: &mut LogTail,
    rest: &mut VecDeque<Arc<Waiter>>,
    placed: &mut Vec<(Arc<Waiter>, Lsn)>,
) {
    let now = sequencer.clock.now();
    let next = match tail.begin(now) {
        Ok(next) => next,
        Err(error) => {
            rest.drain(..).for_each(|waiter| waiter.answer(Err(error.clone().into())));
            return;
        }
    };
    let mut chosen: Vec<(Arc<Waiter>, Box<Prepared>, Changes)> = Vec::new();
    let mut touched: FxHashSet<EntityKey> = FxHashSet::default();
    let mut keys: FxHashSet<Vec<u8>> = FxHashSet::default();
    let mut bytes = 0usize;
    while let Some(waiter) = rest.front() {
        let Some(prepared) = waiter.prepared.lock().take() else {
            rest.pop_front();
            continue;
        };
        let depends = prepared.read_keys().any(|key| touched.contains(key))
            || prepared.idempotency_key().is_some_and(|key| keys.contains(key))
            || (prepared.has_expectation() && !chosen.is_empty())
            || (prepared.has_late_points() && chosen.iter().any(|(_, chosen, _)| chosen.has_points()));
        let too_much = !chosen.is_empty() && bytes + prepared.frame.payload().len() > GROUP_BYTES_MAX;
        if depends || too_much {
            // It depends on batches that must be published first: leave it for the next part.
            *waiter.prepared.lock() = Some(prepared);
            break;
        }
        let Some(waiter) = rest.pop_front() else { break };
        let lsn = Lsn(next.0 + chosen.len() as u64);
        match sequencer.check(lsn, &prepared) {
            Ok(changes) => {
                bytes += prepared.frame.payload().len();
                touched.extend(changes.entities.iter().map(|(key, _)| key.clone()));
                keys.extend(prepared.idempotency_key().map(<[u8]>::to_vec));
                chosen.push((waiter, prepared, changes));
            }
            Err(refused) => waiter.answer(Err(refused)),
        }
    }
    if chosen.is_empty() {
        return;
    }
    let mut frames: Vec<&mut FrameBuf> = chosen.iter_mut().map(|(_, prepared, _)| &mut prepared.frame).collect();
    let mut places = Vec::with_capacity(frames.len());
    let result = tail.place_group(&mut frames, now, &mut places);
    let mut places = places.into_iter();
    for (waiter, prepared, changes) in chosen {
        match (places.next(), &result) {
            (Some(place), _) => match sequencer.publish(&place, &prepared, changes) {
                Ok(()) => placed.push((waiter, place.lsn)),
                Err(error) => waiter.answer(Err(error.into())),
            },
            (None, Err(error)) => waiter.answer(Err(error.clone().into())),
            (None, Ok(())) => waiter.answer(Err(Error::Internal("a frame was left without a place".into()).into())),
        }
    }
}
