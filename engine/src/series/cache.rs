//! Decoded rollups that were read recently, bounded in bytes.
//!
//! Keyed by file and place: files are immutable, so an entry never becomes wrong, and one of a removed file is simply
//! never asked for again. Replacement is by clock (an entry used since the hand passed stays).

use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::entry::ChunkEntry;
use super::read::SeriesFile;
use super::rollup::RollupBlock;
use crate::error::{Error, Result};

/// A cache of rollups; cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct SeriesCache {
    state: Mutex<State>,
    bytes_max: usize,
}

/// Chunks whose rollups are read together with a missing one: 6 KB more, some 2 us; the next window finds them here.
const READ_AHEAD: usize = 7;

type Key = (u64, u64);

#[derive(Debug, Default)]
struct State {
    held: FxHashMap<Key, Held>,
    /// The clock: keys of all entries, in any order.
    keys: Vec<Key>,
    hand: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Held {
    rollups: Arc<RollupBlock>,
    used: bool,
}

/// Bytes of an entry in addition to its rollups: places in table and clock, allocations.
const HELD_BYTES: usize = 128;

fn bytes_of(rollups: &RollupBlock) -> usize {
    rollups.len_bytes() + HELD_BYTES
}

impl SeriesCache {
    /// A cache that holds about `bytes_max` bytes; 32 B are 256 points (of values that fit f32; else 48).
    pub fn new(bytes_max: usize) -> Self {
        Self { state: Mutex::default(), bytes_max }
    }

    /// Bytes held now.
    #[cfg(test)]
    pub fn len_bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// The rollups of a chunk, from the cache or from its file. `behind` are chunks that may be asked for soon: if they
    /// follow in the file, a miss reads up to `READ_AHEAD` of them too.
    pub fn rollups<'a>(
        &self,
        file: &SeriesFile,
        entry: &'a ChunkEntry,
        behind: impl Iterator<Item = (u64, &'a ChunkEntry)>,
    ) -> Result<Arc<RollupBlock>> {
        if entry.rollup_len == 0 {
            return Ok(Arc::new(file.rollups(entry)?));
        }
        let key = |entry: &ChunkEntry| (file.file_id(), entry.rollup_offset);
        if let Some(rollups) = self.state.lock().get(key(entry)) {
            return Ok(rollups);
        }
        let mut batch = vec![entry];
        let mut end = entry.rollup_offset.saturating_add(u64::from(entry.rollup_len));
        for (file_id, next) in behind.take(READ_AHEAD) {
            if file_id != file.file_id() || next.rollup_len == 0 || next.rollup_offset != end {
                break;
            }
            end = end.saturating_add(u64::from(next.rollup_len));
            batch.push(next);
        }
        let mut first = None;
        let all = file.rollups_of(&batch)?;
        let mut state = self.state.lock();
        for (entry, rollups) in batch.iter().zip(all) {
            let rollups = Arc::new(rollups);
            first.get_or_insert_with(|| Arc::clone(&rollups));
            state.put(key(entry), rollups, self.bytes_max);
        }
        first.ok_or_else(|| Error::Internal("a read of rollups gave none".into()))
    }
}

impl State {
    fn get(&mut self, key: Key) -> Option<Arc<RollupBlock>> {
        let held = self.held.get_mut(&key)?;
        held.used = true;
        Some(Arc::clone(&held.rollups))
    }

    fn put(&mut self, key: Key, rollups: Arc<RollupBlock>, bytes_max: usize) {
        let bytes = bytes_of(&rollups);
        if bytes > bytes_max || self.held.contains_key(&key) {
            return;
        }
        while self.bytes + bytes > bytes_max && !self.keys.is_empty() {
            self.evict();
        }
        self.bytes += bytes;
        self.keys.push(key);
        self.held.insert(key, Held { rollups, used: false });
    }

    fn evict(&mut self) {
        loop {
            if self.hand >= self.keys.len() {
                self.hand = 0;
            }
            let Some(key) = self.keys.get(self.hand) else { return };
            match self.held.get_mut(key) {
                Some(held) if held.used => held.used = false,
                _ => break,
            }
            self.hand += 1;
        }
        let key = self.keys.swap_remove(self.hand);
        if let Some(held) = self.held.remove(&key) {
            self.bytes -= bytes_of(&held.rollups);
        }
    }
}
