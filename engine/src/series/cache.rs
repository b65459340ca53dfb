//! Decoded rollups that were read lately, bounded in bytes.
//!
//! Keyed by file and place: files are immutable, so an entry never becomes wrong, and one of a file that is gone is
//! merely never asked for again. Replacement is by clock (an entry that was used since the hand passed stays).

use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::entry::ChunkEntry;
use super::read::SeriesFile;
use super::rollup::Rollup;
use crate::error::Result;

/// A cache of rollups; cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct SeriesCache {
    state: Mutex<State>,
    bytes_max: usize,
}

type Key = (u64, u64);

#[derive(Debug, Default)]
struct State {
    places: FxHashMap<Key, usize>,
    slots: Vec<Slot>,
    hand: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Slot {
    key: Key,
    rollups: Arc<[Rollup]>,
    used: bool,
}

/// Beside the rollups: slot, place in the table, allocation.
const SLOT_BYTES: usize = 96;

fn bytes_of(rollups: &[Rollup]) -> usize {
    size_of_val(rollups) + SLOT_BYTES
}

impl SeriesCache {
    /// A cache that holds about `bytes_max` bytes; 64 B are 256 points.
    pub fn new(bytes_max: usize) -> Self {
        Self { state: Mutex::default(), bytes_max }
    }

    /// Bytes held now.
    pub fn len_bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// The rollups of a chunk, from here or from its file.
    pub fn rollups(&self, file: &SeriesFile, entry: &ChunkEntry) -> Result<Arc<[Rollup]>> {
        let key = (file.file_id(), entry.rollup_offset);
        if entry.rollup_len > 0
            && let Some(rollups) = self.state.lock().get(key)
        {
            return Ok(rollups);
        }
        let rollups: Arc<[Rollup]> = file.rollups(entry)?.into();
        if entry.rollup_len > 0 {
            self.state.lock().put(key, Arc::clone(&rollups), self.bytes_max);
        }
        Ok(rollups)
    }

    /// Forgets everything.
    pub fn clear(&self) {
        *self.state.lock() = State::default();
    }
}

impl State {
    fn get(&mut self, key: Key) -> Option<Arc<[Rollup]>> {
        let slot = self.slots.get_mut(*self.places.get(&key)?)?;
        slot.used = true;
        Some(Arc::clone(&slot.rollups))
    }

    fn put(&mut self, key: Key, rollups: Arc<[Rollup]>, bytes_max: usize) {
        let bytes = bytes_of(&rollups);
        if bytes > bytes_max || self.places.contains_key(&key) {
            return;
        }
        while self.bytes + bytes > bytes_max && !self.slots.is_empty() {
            self.evict();
        }
        self.bytes += bytes;
        self.places.insert(key, self.slots.len());
        self.slots.push(Slot { key, rollups, used: false });
    }

    fn evict(&mut self) {
        loop {
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
            let Some(slot) = self.slots.get_mut(self.hand) else { return };
            if !slot.used {
                break;
            }
            slot.used = false;
            self.hand += 1;
        }
        let slot = self.slots.swap_remove(self.hand);
        self.bytes -= bytes_of(&slot.rollups);
        self.places.remove(&slot.key);
        if let Some(moved) = self.slots.get(self.hand) {
            self.places.insert(moved.key, self.hand);
        }
    }
}
