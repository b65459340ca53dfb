//! All runs with hot points, and the memory that they take.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use super::run::{Changed, Gate, RunHot};
use super::slots::{Evict, Gone, PIECE_SERIES};
use crate::error::Result;
use crate::id::{ExperimentId, RunId};

/// All runs with points or a handle in memory.
#[derive(Debug, Default)]
pub struct HotRuns {
    runs: RwLock<FxHashMap<RunId, Arc<RunHot>>>,
    changed: RwLock<FxHashMap<ExperimentId, Arc<Changed>>>,
    bytes: Arc<AtomicUsize>,
}

impl HotRuns {
    /// The run; `None` if it is not in memory.
    pub fn get(&self, run: RunId) -> Option<Arc<RunHot>> {
        self.runs.read().get(&run).cloned()
    }

    /// The run; made with this gate if it is not in memory. `complete`: index and files have nothing of it.
    pub fn get_or_insert(&self, run: RunId, experiment: ExperimentId, gate: Gate, complete: bool) -> Arc<RunHot> {
        if let Some(run) = self.get(run).filter(|run| !run.is_left_over(experiment)) {
            return run;
        }
        let changed = self.changed(experiment);
        let mut runs = self.runs.write();
        if runs.get(&run).is_some_and(|run| run.is_left_over(experiment)) {
            runs.remove(&run);
        }
        runs.entry(run)
            .or_insert_with(|| Arc::new(RunHot::new((run, experiment), gate, complete, self.bytes.clone(), changed)))
            .clone()
    }

    /// Records that the run was created in this experiment, and removes what a refused creation in another one left.
    pub fn created(&self, run: RunId, experiment: ExperimentId) {
        if self.get(run).is_some_and(|run| run.is_left_over(experiment)) {
            self.runs.write().remove(&run);
        }
    }

    /// The experiment's list of changed runs, for search.
    pub fn changed(&self, experiment: ExperimentId) -> Arc<Changed> {
        if let Some(changed) = self.changed.read().get(&experiment) {
            return changed.clone();
        }
        self.changed.write().entry(experiment).or_default().clone()
    }

    /// All runs, ascending by id.
    pub fn all(&self) -> Vec<Arc<RunHot>> {
        let mut all: Vec<_> = self.runs.read().values().cloned().collect();
        all.sort_unstable_by_key(|run| run.id);
        all
    }

    /// Estimated bytes of private memory.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The counter that [`HotRuns::bytes`] reads.
    pub fn bytes_counter(&self) -> &AtomicUsize {
        &self.bytes
    }

    /// Adds bytes to the memory estimate.
    #[inline]
    pub fn note_grown(&self, bytes: usize) {
        if bytes > 0 {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Drops points and series of a run that are within the bounds, and the run itself if nothing is left and nobody
    /// holds it. `alone` does its work under the sequencer, and is called for some thousand series at a time.
    ///
    /// # Errors
    /// `Io` if wide rows cannot be read from the log; what was not dropped stays as it was.
    pub fn evict(&self, run: &Arc<RunHot>, bounds: Evict, alone: impl Fn(&mut dyn FnMut())) -> Result<()> {
        self.note_freed(run.forget_past(&bounds));
        let rows_go = run.lock().wide.first_lsn().is_some_and(|first| first <= bounds.sealed);
        if rows_go {
            self.note_freed(run.evict_rows(&bounds)?);
        }
        // From the last piece to the first: a removed series is replaced by the last one, which was handled already.
        let mut piece = usize::MAX;
        while piece > 0 {
            let mut gone = Gone::default();
            alone(&mut || {
                let mut series = run.lock();
                piece = piece.min(series.slots.len().div_ceil(PIECE_SERIES)).saturating_sub(1);
                let slots = piece * PIECE_SERIES..((piece + 1) * PIECE_SERIES).min(series.slots.len());
                let freed = series.evict(slots, &bounds, !rows_go, &mut gone);
                let empty = piece == 0 && series.slots.is_empty();
                drop(series);
                self.note_freed(freed);
                if empty {
                    let mut runs = self.runs.write();
                    // Only the map and the caller hold it: nobody else can log to it any more.
                    if runs.get(&run.id).is_some_and(|run| Arc::strong_count(run) <= 2) {
                        runs.remove(&run.id);
                    }
                }
            });
            // Freeing their memory takes longer than taking them out: appends need not wait for it.
            drop(gone);
        }
        Ok(())
    }

    fn note_freed(&self, freed: isize) {
        // An estimate: growth is counted as requested, frees as found (less what new bases take).
        let change = |bytes: usize| Some(bytes.saturating_add_signed(-freed));
        let _previous = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }
}
