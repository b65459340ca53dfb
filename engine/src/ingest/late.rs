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

use rustc_hash::{FxHashMap, FxHashSet};

use super::encode::KeyedPoint;
use super::pipeline::Pipeline;
use super::prepared::Refused;
use crate::error::{Error, Result};
use crate::hot::points::RunHot;
use crate::id::{ContextId, KeyId, Lsn};
use crate::point::{Columns, PointId, Stats};

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
    pub(crate) fn new(pipeline: &Pipeline, tries: u32) -> Self {
        Self { up_to: pipeline.published(), tries, series: Vec::new() }
    }

    /// Under the sequencer: whether none of the points came since.
    pub(crate) fn still_holds(&self, pipeline: &Pipeline) -> Result<(), Refused> {
        let limit = COMPARED_MAX.saturating_mul(1 << self.tries.min(20));
        let mut compared = 0;
        for LookedSeries { run, key, evictions, late } in &self.series {
            let points = {
                let series = run.lock();
                if series.evictions() != *evictions {
                    return Err(Refused::Stale);
                }
                if !series.has_newer(*key, self.up_to) {
                    continue;
                }
                series.points(*key, self.up_to, Lsn(u64::MAX))
            };
            // What came since may be in files already.
            if pipeline.newest.index().sealed() > self.up_to {
                return Err(Refused::Stale);
            }
            compared += points.count_max();
            if compared > limit {
                return Err(Refused::Stale);
            }
            let mut columns = Columns::default();
            points.decode(&mut columns)?;
            if (0..columns.len()).flat_map(|index| columns.ids(index)).any(|id| late.contains(&id)) {
                return Err(Refused::Stale);
            }
        }
        Ok(())
    }
}

/// What is known of a series while a batch is looked through.
#[derive(Default)]
struct Known {
    stats: Option<Stats>,
    /// The batch's own points.
    ids: FxHashSet<PointId>,
    /// Those of them that are late and are stored.
    late: FxHashSet<PointId>,
}

impl Known {
    /// Whether the series, as it was before the batch, may have the point.
    fn may_have(&self, point: &KeyedPoint) -> bool {
        let place = (point.point.step, point.point.time.0);
        self.stats.is_some_and(|stats| {
            place <= (stats.last_step, stats.last_time_ms)
                && place >= (stats.first_step, stats.first_time_ms)
                && place.1 <= stats.time_max_ms
        })
    }
}

impl Pipeline {
    /// Which points are there already: places in `given.points`, ascending. The late ones that are not are noted.
    pub(crate) fn look_up(
        &self,
        given: &Given<'_>,
        is_late: impl Fn(usize, &KeyedPoint) -> bool,
        looked: &mut Looked,
    ) -> Result<Vec<usize>> {
        let Given { run, branch, context, points } = *given;
        let mut keys: Vec<KeyId> =
            points.iter().enumerate().filter(|(at, point)| is_late(*at, point)).map(|(_, point)| point.key).collect();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        keys.sort_unstable();
        keys.dedup();
        let mut known: FxHashMap<KeyId, Known> = FxHashMap::default();
        let evictions = loop {
            self.read_bases(run, &keys)?;
            let series = run.lock();
            // Upkeep may have dropped one again.
            if keys.iter().all(|key| series.slot(*key).is_some()) {
                let of = |key: &KeyId| (*key, Known { stats: series.newest_stats(*key), ..Known::default() });
                known.extend(keys.iter().map(of));
                break series.evictions();
            }
        };
        let mut out = Vec::new();
        let (mut asked, mut places) = (Vec::new(), Vec::new());
        for (at, point) in points.iter().enumerate() {
            let Some(known) = known.get_mut(&point.key) else { continue };
            let is_first = known.ids.insert(PointId::of(&point.point, context));
            if !is_late(at, point) {
                continue;
            }
            if !is_first {
                out.push(at);
            } else if branch != 0 || known.may_have(point) {
                // The statistics of a branch do not cover what it continues.
                asked.push(*point);
                places.push(at);
            } else {
                known.late.insert(PointId::of(&point.point, context));
            }
        }
        if !asked.is_empty() {
            let found = self.past()?.find(run, context, &asked)?;
            for ((point, at), found) in asked.iter().zip(places).zip(found) {
                if found {
                    out.push(at);
                } else if let Some(known) = known.get_mut(&point.key) {
                    known.late.insert(PointId::of(&point.point, context));
                }
            }
            out.sort_unstable();
        }
        let stored = known.into_iter().filter(|(_, known)| !known.late.is_empty());
        let noted = |(key, known): (KeyId, Known)| LookedSeries { run: run.clone(), key, evictions, late: known.late };
        looked.series.extend(stored.map(noted));
        Ok(out)
    }

    fn past(&self) -> Result<&dyn Past> {
        self.past.get().map(|past| &**past).ok_or_else(|| Error::Internal("points cannot be looked up yet".into()))
    }
}
