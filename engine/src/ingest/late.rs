//! Points that arrive later than their own time: a request sent again, a script that logs old points again.
//!
//! A point logged at its own time is always stored, however many equal ones there are. A point that arrives more than
//! [`super::look_up::LATE_AFTER_MS`] after the time it carries may be a repeat: if the series already has exactly this
//! point (context, step, time, value bit for bit), it is not stored again. This is decided here, at the write; readers,
//! sealing and compaction merge nothing.
//!
//! ```text
//! late?  no ────────────────────────────────────────────► stored
//!        yes: behind the last point of its series, ─────► stored           no look-up: old data in order is as fast
//!             by step, then time?                                          as new
//!             else: looked up where its place is ── not there ──► stored
//!                                                └─ there ──────► left out
//! ```
//!
//! - A batch is decided as if its points came one after the other: of late ones that are equal the first is stored.
//! - What was looked up is checked again under the sequencer, against what came since ([`Looked`]): two retries at the
//!   same time store one point.
//! - Look-ups go by batches: for a series, each chunk that may hold one of the batch's points is read once.

use std::fmt;
use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::base::Newest;
use super::encode::KeyedPoint;
use crate::error::Result;
use crate::hot::points::RunHot;
use crate::id::{ContextId, KeyId, Lsn};
use crate::point::{Columns, PointId};

/// At most this many points are compared under the sequencer, and twice as many at each further try, so that writers to
/// the same series cannot hold up a lookup for ever.
const COMPARED_MAX: usize = 4_096;

/// Finds points among everything that the store has of a run.
pub(crate) trait Past: Send + Sync + fmt::Debug {
    /// For each of these points of a context, whether the live branch has it.
    fn find(&self, run: &Arc<RunHot>, context: ContextId, asked: &[KeyedPoint]) -> Result<Vec<bool>>;
}

/// Points of one run and context that are about to be logged, under the keys of the live branch.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    pub(crate) run: &'a Arc<RunHot>,
    pub(crate) branch: u32,
    pub(crate) context: ContextId,
    pub(crate) points: &'a [KeyedPoint],
}

/// Late points to be stored, and the position up to which they are known to be absent.
#[derive(Debug)]
pub(crate) struct Looked {
    up_to: Lsn,
    tries: u32,
    series: Vec<LookedSeries>,
}

#[derive(Debug)]
struct LookedSeries {
    run: Arc<RunHot>,
    key: KeyId,
    /// [`crate::hot::points::RunSeries::evictions`] at the time of the lookup.
    evictions: u64,
    late: FxHashSet<PointId>,
}

impl Looked {
    /// `up_to`: the position published before the lookups begin.
    pub(crate) fn new(up_to: Lsn, tries: u32) -> Self {
        Self { up_to, tries, series: Vec::new() }
    }

    /// Records late points that will be stored.
    pub(super) fn note(&mut self, run: &Arc<RunHot>, key: KeyId, evictions: u64, late: FxHashSet<PointId>) {
        self.series.push(LookedSeries { run: run.clone(), key, evictions, late });
    }

    /// Under the sequencer: whether none of the points was logged since, as far as a short check can tell.
    pub(crate) fn still_holds(&self, newest: &Newest) -> Result<bool> {
        let limit = COMPARED_MAX.saturating_mul(1 << self.tries.min(20));
        let mut compared = 0;
        for LookedSeries { run, key, evictions, late } in &self.series {
            let points = {
                let series = run.lock();
                if series.evictions() != *evictions {
                    return Ok(false);
                }
                if !series.has_newer(*key, self.up_to) {
                    continue;
                }
                series.points(*key, self.up_to, Lsn(u64::MAX))
            };
            // Points logged since may be in files already.
            if newest.index().sealed() > self.up_to {
                return Ok(false);
            }
            compared += points.count_max();
            if compared > limit {
                return Ok(false);
            }
            let mut columns = Columns::default();
            points.decode(&mut columns)?;
            if (0..columns.len()).flat_map(|index| columns.ids(index)).any(|id| late.contains(&id)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
