//! The row of each run.

use crate::id::RunId;

/// The rows of runs, by id: open addressing, u32 slots (row + 1; 0 is free), ids compared in `ids`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    pub(crate) ids: Vec<RunId>,
    slots: Vec<u32>,
    /// Rows without a run, to be reused.
    pub(crate) free: Vec<u32>,
}

impl Rows {
    fn home(&self, run: RunId) -> usize {
        use std::hash::{Hash, Hasher};
        let mut hasher = rustc_hash::FxHasher::default();
        run.hash(&mut hasher);
        hasher.finish() as usize & (self.slots.len() - 1)
    }

    /// The slot of a run, or the free one where it belongs.
    fn slot(&self, run: RunId) -> usize {
        let mut slot = self.home(run);
        while let Some(row) = self.slots[slot].checked_sub(1) {
            if self.ids[row as usize] == run {
                break;
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        slot
    }

    pub(crate) fn row(&self, run: RunId) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        self.slots[self.slot(run)].checked_sub(1)
    }

    /// Number of runs.
    pub(crate) fn len(&self) -> usize {
        self.ids.len() - self.free.len()
    }

    /// Estimated bytes of private memory.
    pub(super) fn memory_bytes(&self) -> usize {
        self.ids.capacity() * 16 + (self.slots.capacity() + self.free.capacity()) * 4
    }

    pub(super) fn insert(&mut self, run: RunId) -> u32 {
        if (self.len() + 1) * 4 > self.slots.len() * 3 {
            let live: Vec<u32> = self.slots.iter().copied().filter(|slot| *slot != 0).collect();
            self.rehash(live, (self.len() + 1) * 2);
        }
        let row = match self.free.pop() {
            Some(row) => {
                self.ids[row as usize] = run;
                row
            }
            None => {
                self.ids.push(run);
                self.ids.len() as u32 - 1
            }
        };
        let slot = self.slot(run);
        self.slots[slot] = row + 1;
        row
    }

    fn rehash(&mut self, live: impl IntoIterator<Item = u32>, runs: usize) {
        self.slots = vec![0; (runs * 4 / 3 + 1).next_power_of_two().max(8)];
        for value in live {
            let mut slot = self.home(self.ids[value as usize - 1]);
            while self.slots[slot] != 0 {
                slot = (slot + 1) & (self.slots.len() - 1);
            }
            self.slots[slot] = value;
        }
    }

    pub(super) fn remove(&mut self, run: RunId) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut hole = self.slot(run);
        let row = self.slots[hole].checked_sub(1)?;
        // Backward shift: entries after the hole that may be in it move into it.
        let mut next = (hole + 1) & mask;
        while let Some(other) = self.slots[next].checked_sub(1) {
            let home = self.home(self.ids[other as usize]);
            if next.wrapping_sub(home) & mask >= next.wrapping_sub(hole) & mask {
                self.slots[hole] = self.slots[next];
                hole = next;
            }
            next = (next + 1) & mask;
        }
        self.slots[hole] = 0;
        self.free.push(row);
        Some(row)
    }

    /// Rebuilds it from ids and the rows that have no run.
    pub(crate) fn from_parts(ids: Vec<RunId>, free: Vec<u32>) -> Self {
        let mut unused = free.clone();
        unused.sort_unstable();
        let mut rows = Self { ids, slots: Vec::new(), free };
        let used = (0..rows.ids.len() as u32).filter(|row| unused.binary_search(row).is_err());
        let live: Vec<u32> = used.map(|row| row + 1).collect();
        let runs = live.len();
        rows.rehash(live, runs);
        rows
    }
}
