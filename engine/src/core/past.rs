//! What was read of the last moment of the past: folded runs, statistics, and the results of searches.
//!
//! ```text
//!   position -> runs         folded from their events
//!               stats        of the metrics that were asked for
//!               searches     the last few, whole: a page of a long table is a part of one
//! ```
//!
//! - Nothing of a position ever changes, so what is here stays right; a run that was purged since is left out by whoever
//!   reads it.
//! - At most `bytes_max` are held, a fifth of it for searches, so that pages of a long table cost nothing even where its runs
//!   have no room. What has none is folded again each time.
//! - Another position, or a minute without a question ([`PastMemory::rest`] comes every five seconds), empties it. The runs
//!   of the position before leave a few at a question, since freeing all of them takes longer than an answer.

use std::collections::VecDeque;
use std::collections::hash_map::IntoIter;
use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::entity::{Lifecycle, RunState};
use crate::id::{KeyId, Lsn, RunId};
use crate::point::Stats;
use crate::search::request::{SearchPage, SearchQuery};

/// A run at a position, with its effective lifecycle; `None`: it did not exist yet.
pub(crate) type PastRun = Option<(Arc<RunState>, Lifecycle)>;

/// Searches that are held, and their part of the memory.
const SEARCHES_MAX: usize = 4;
const SEARCHES_PART: usize = 5;
/// The part of the memory budget: one in this many bytes, and at most so many.
const PART: u64 = 4;
const BYTES_MAX: u64 = 128 << 20;
/// Runs of earlier positions that leave at a question: many more than one question adds.
const LEAVE_AT_ONCE: usize = 64;
/// Rests without a question after which everything is let go.
const RESTS_MAX: u32 = 12;

#[derive(Debug, Default)]
struct Held {
    position: Lsn,
    /// Of runs and statistics.
    bytes: usize,
    searches_bytes: usize,
    runs: FxHashMap<RunId, PastRun>,
    stats: FxHashMap<(RunId, KeyId), Option<Stats>>,
    searches: VecDeque<(SearchQuery, Arc<SearchPage>, usize)>,
    /// Runs of earlier positions.
    leaving: VecDeque<IntoIter<RunId, PastRun>>,
    /// Rests since the last question.
    rests: u32,
}

/// What is held of the last moment that was read.
#[derive(Debug)]
pub(crate) struct PastMemory {
    held: Mutex<Held>,
    bytes_max: usize,
    searches_bytes_max: usize,
}

/// About the bytes that a run takes.
fn bytes_of(run: &PastRun) -> usize {
    const SLOT: usize = 64;
    let Some((state, _)) = run else { return SLOT };
    let pairs = |pairs: &[(String, String)]| {
        pairs.iter().map(|(key, value)| key.len() + value.len() + 2 * size_of::<String>()).sum::<usize>()
    };
    let others = state.artifacts.len() + state.datasets.len() + state.model_inputs.len() + state.model_outputs.len();
    SLOT + size_of::<RunState>()
        + state.name.len()
        + state.user_id.len()
        + pairs(&state.params)
        + pairs(&state.tags)
        + others * 2 * SLOT
}

impl PastMemory {
    pub(crate) fn new(memory_bytes: u64) -> Self {
        let bytes = usize::try_from((memory_bytes / PART).min(BYTES_MAX)).unwrap_or(usize::MAX);
        let searches_bytes_max = bytes / SEARCHES_PART;
        Self { held: Mutex::default(), bytes_max: bytes - searches_bytes_max, searches_bytes_max }
    }

    /// Looks at what is held of a position.
    fn at<T>(&self, position: Lsn, look: impl FnOnce(&mut Held) -> T) -> T {
        // Freed behind the lock.
        let mut gone = Vec::new();
        let mut held = self.held.lock();
        if held.position != position {
            let before = std::mem::replace(&mut *held, Held { position, ..Held::default() });
            held.leaving = before.leaving;
            held.leaving.push_back(before.runs.into_iter());
        }
        while let Some(leaving) = held.leaving.front_mut() {
            gone.extend(leaving.by_ref().take(LEAVE_AT_ONCE - gone.len()));
            if leaving.len() > 0 {
                break;
            }
            held.leaving.pop_front();
        }
        held.rests = 0;
        let found = look(&mut held);
        drop(held);
        found
    }

    /// A run, if it was folded.
    pub(crate) fn run(&self, position: Lsn, id: RunId) -> Option<PastRun> {
        self.at(position, |held| held.runs.get(&id).cloned())
    }

    pub(crate) fn put_run(&self, position: Lsn, id: RunId, run: &PastRun) {
        self.at(position, |held| {
            let bytes = bytes_of(run);
            if held.bytes + bytes <= self.bytes_max && held.runs.insert(id, run.clone()).is_none() {
                held.bytes += bytes;
            }
        });
    }

    /// The statistics of a metric, if they were read.
    #[expect(clippy::option_option, reason = "not read yet, and no points, differ")]
    pub(crate) fn stats(&self, position: Lsn, run: RunId, key: KeyId) -> Option<Option<Stats>> {
        self.at(position, |held| held.stats.get(&(run, key)).copied())
    }

    pub(crate) fn put_stats(&self, position: Lsn, run: RunId, key: KeyId, stats: Option<Stats>) {
        let bytes = 2 * size_of::<Stats>();
        self.at(position, |held| {
            if held.bytes + bytes <= self.bytes_max && held.stats.insert((run, key), stats).is_none() {
                held.bytes += bytes;
            }
        });
    }

    /// The result of a search, if it is one of the last.
    pub(crate) fn search(&self, position: Lsn, query: &SearchQuery) -> Option<Arc<SearchPage>> {
        self.at(position, |held| {
            held.searches.iter().find(|(known, ..)| known == query).map(|(_, page, _)| page.clone())
        })
    }

    pub(crate) fn put_search(&self, position: Lsn, query: &SearchQuery, page: &Arc<SearchPage>) {
        let bytes = page.runs.len() * size_of::<RunId>();
        self.at(position, |held| {
            if bytes > self.searches_bytes_max {
                return;
            }
            let full = |held: &Held| {
                held.searches.len() >= SEARCHES_MAX || held.searches_bytes + bytes > self.searches_bytes_max
            };
            while full(held)
                && let Some((.., bytes)) = held.searches.pop_front()
            {
                held.searches_bytes -= bytes;
            }
            held.searches_bytes += bytes;
            held.searches.push_back((query.clone(), page.clone(), bytes));
        });
    }

    /// Lets go of everything if nobody has asked for long; returns whether it did so just now.
    pub(crate) fn rest(&self) -> bool {
        let mut held = self.held.lock();
        held.rests = held.rests.saturating_add(1);
        held.leaving.clear();
        let long = held.rests == RESTS_MAX;
        if long {
            *held = Held::default();
        }
        long
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ExperimentId;

    #[test]
    fn another_position_empties_it_and_the_bound_holds() {
        let memory = PastMemory { held: Mutex::default(), bytes_max: 200, searches_bytes_max: 40 };
        let id = |number: u128| RunId(number.to_be_bytes());
        for number in 0..10 {
            memory.put_run(Lsn(7), id(number), &None);
        }
        let held = (0..10).filter(|number| memory.run(Lsn(7), id(*number)).is_some()).count();
        assert_eq!(held, 3, "64 bytes each");
        let query = |limit| SearchQuery { limit, ..SearchQuery::new(ExperimentId(1)) };
        let page = Arc::new(SearchPage { runs: vec![id(1), id(2)], next: None });
        memory.put_search(Lsn(7), &query(1), &page);
        assert!(memory.search(Lsn(7), &query(1)).is_some(), "runs that fill their part leave room for searches");
        memory.put_search(Lsn(7), &query(2), &page);
        assert!(memory.search(Lsn(7), &query(1)).is_none(), "the oldest search makes room");
        assert!(memory.search(Lsn(7), &query(2)).is_some());
        assert!(memory.run(Lsn(8), id(0)).is_none());
        assert!(memory.run(Lsn(7), id(0)).is_none(), "only the last position is held");
    }

    #[test]
    fn runs_of_earlier_positions_leave_bit_by_bit() {
        let memory = PastMemory { held: Mutex::default(), bytes_max: 1 << 20, searches_bytes_max: 0 };
        let many = 5 * LEAVE_AT_ONCE as u128;
        let id = |number: u128| RunId(number.to_be_bytes());
        let left = |memory: &PastMemory| memory.held.lock().leaving.iter().map(ExactSizeIterator::len).sum::<usize>();
        for position in [Lsn(7), Lsn(8)] {
            (0..many).for_each(|number| memory.put_run(position, id(number), &None));
        }
        assert_eq!(left(&memory), 0, "each question took some of them");
        assert!(memory.run(Lsn(9), id(0)).is_none());
        assert_eq!(left(&memory), 4 * LEAVE_AT_ONCE);
        assert!(memory.run(Lsn(7), id(0)).is_none());
        assert_eq!(left(&memory), 3 * LEAVE_AT_ONCE, "none of it comes back");
        memory.rest();
        assert_eq!(left(&memory), 0);
    }
}
