//! What snapshots may still read: the oldest applied and sealed positions, and the files, that a snapshot holds.
//!
//! Invariant: hot state above the least pinned (applied, sealed) pair is kept. A snapshot registers under the mutex
//! under which it reads the index's positions, and eviction asks for its bounds under the same mutex. So no snapshot
//! can begin unseen between a commit of the index and the eviction that follows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::error::Result;
use crate::id::Lsn;

#[derive(Debug, Default)]
struct Held {
    next: u64,
    pins: BTreeMap<u64, Pinned>,
}

#[derive(Debug)]
struct Pinned {
    applied: Lsn,
    sealed: Lsn,
    position: Lsn,
    taken_ms: u64,
    expired: Arc<AtomicBool>,
}

/// All pins of a store.
#[derive(Debug, Default)]
pub struct Pins {
    held: Mutex<Held>,
}

/// One snapshot's pin; released on drop.
#[derive(Debug)]
pub struct Pin {
    pins: Arc<Pins>,
    number: u64,
    expired: Arc<AtomicBool>,
}

impl Pin {
    /// Whether its pinned state was given up because memory ran out.
    pub fn expired(&self) -> bool {
        self.expired.load(Ordering::Acquire)
    }
}

impl Pins {
    /// Begins a snapshot: `begin` opens the index's read transaction and returns its positions, and the position of the
    /// snapshot. They are pinned before anything can be evicted.
    pub fn pin<T>(
        self: &Arc<Self>,
        now_ms: u64,
        begin: impl FnOnce() -> Result<(T, Lsn, Lsn, Lsn)>,
    ) -> Result<(T, Pin)> {
        let mut held = self.held.lock();
        let (value, applied, sealed, position) = begin()?;
        let number = held.next;
        held.next += 1;
        let expired = Arc::new(AtomicBool::new(false));
        held.pins.insert(number, Pinned { applied, sealed, position, taken_ms: now_ms, expired: expired.clone() });
        drop(held);
        Ok((value, Pin { pins: self.clone(), number, expired }))
    }

    /// Up to where hot entities and points may be evicted: the minimum of the index's own positions and of all pins.
    pub fn bounds(&self, applied: Lsn, sealed: Lsn) -> (Lsn, Lsn) {
        let held = self.held.lock();
        held.pins.values().fold((applied, sealed), |least, pin| (least.0.min(pin.applied), least.1.min(pin.sealed)))
    }

    /// Gives up the pins that were taken before `before_ms` and hold anything below these positions: their snapshots
    /// are too old from now on. Returns how many.
    pub fn expire_below(&self, applied: Lsn, sealed: Lsn, before_ms: u64) -> usize {
        let mut held = self.held.lock();
        let before = held.pins.len();
        held.pins.retain(|_, pin| {
            let keep = (pin.applied >= applied && pin.sealed >= sealed) || pin.taken_ms >= before_ms;
            if !keep {
                pin.expired.store(true, Ordering::Release);
            }
            keep
        });
        before - held.pins.len()
    }

    /// The position of the oldest snapshot.
    pub fn oldest(&self) -> Option<Lsn> {
        self.held.lock().pins.values().map(|pin| pin.position).min()
    }

    /// The positions that snapshots show, ascending. One that begins later shows what is published by then.
    pub fn positions(&self) -> Vec<Lsn> {
        let mut positions: Vec<Lsn> = self.held.lock().pins.values().map(|pin| pin.position).collect();
        positions.sort_unstable();
        positions.dedup();
        positions
    }

    /// A mark in time: snapshots that begin from now on come after it.
    pub fn mark(&self) -> u64 {
        self.held.lock().next
    }

    /// Whether a snapshot is held that began before a mark.
    pub fn held_before(&self, mark: u64) -> bool {
        self.held.lock().pins.first_key_value().is_some_and(|(number, _)| *number < mark)
    }

    /// Number of snapshots held.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.held.lock().pins.len()
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.pins.held.lock().pins.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_pin_bounds_eviction_until_it_is_dropped() {
        let pins = Arc::new(Pins::default());
        let ((), old) = pins.pin(1, || Ok(((), Lsn(5), Lsn(3), Lsn(9)))).unwrap();
        let ((), new) = pins.pin(1, || Ok(((), Lsn(8), Lsn(8), Lsn(12)))).unwrap();
        assert_eq!(pins.bounds(Lsn(10), Lsn(9)), (Lsn(5), Lsn(3)));
        assert_eq!((pins.oldest(), pins.count()), (Some(Lsn(9)), 2));
        let mark = pins.mark();
        assert!(pins.held_before(mark) && !pins.held_before(0));
        drop(old);
        assert_eq!(pins.bounds(Lsn(10), Lsn(9)), (Lsn(8), Lsn(8)));
        assert!(!new.expired());
        assert_eq!((pins.expire_below(Lsn(8), Lsn(8), 2), pins.expire_below(Lsn(10), Lsn(9), 1)), (0, 0));
        assert_eq!(pins.expire_below(Lsn(10), Lsn(9), 2), 1);
        assert!(new.expired() && pins.count() == 0);
    }
}
