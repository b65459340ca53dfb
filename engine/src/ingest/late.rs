//! Points that come later than their own time: a request that is sent again, a script that logs old points again.
//!
//! A point that is logged now is a point, always, however many equal ones there are. One that comes more than
//! [`super::look_up::LATE_AFTER_MS`] after the time that it carries may be one that is there already: if the series has exactly this
//! point (context, step, time, value bit for bit), it is the same one and is not stored again. This is decided here, at
//! the write; readers, sealing and compaction merge nothing.
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

/// Points that are compared under the sequencer, at most; at each further try twice as many, so that writers of the
/// same series cannot hold up a look-up for ever.
const COMPARED_MAX: usize = 4_096;

/// Finds points in everything that the store has of a run.
pub(crate) trait Past: Send + Sync + fmt::Debug {
    /// Whether each of these points of a context is there, in the branch that is live.
    fn find(&self, run: &Arc<RunHot>, context: ContextId, asked: &[KeyedPoint]) -> Result<Vec<bool>>;
}

/// Points of one run and context on their way, under the keys of the live branch.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    pub(crate) run: &'a Arc<RunHot>,
    pub(crate) branch: u32,
    pub(crate) context: ContextId,
    pub(crate) points: &'a [KeyedPoint],
}

/// Late points that are to be stored, and up to where it is known that they are not there.
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
    /// [`crate::hot::points::RunSeries::evictions`] of then.
    evictions: u64,
    late: FxHashSet<PointId>,
}

impl Looked {
    /// `up_to`: what is published before the look-ups begin.
    pub(crate) fn new(up_to: Lsn, tries: u32) -> Self {
        Self { up_to, tries, series: Vec::new() }
    }

    /// Notes late points that are to be stored.
    pub(super) fn note(&mut self, run: &Arc<RunHot>, key: KeyId, evictions: u64, late: FxHashSet<PointId>) {
        self.series.push(LookedSeries { run: run.clone(), key, evictions, late });
    }

    /// Under the sequencer: whether none of the points came since, as far as this can be told in a moment.
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
            // What came since may be in files already.
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
