//! Compares the late points of a batch with the store, before the batch is encoded.

use rustc_hash::{FxHashMap, FxHashSet};

use super::encode::KeyedPoint;
use super::late::{Given, Looked, Past};
use super::pipeline::Pipeline;
use crate::error::{Error, Result};
use crate::id::KeyId;
use crate::point::{PointId, Stats};

/// Knowledge about a series while a batch is compared.
#[derive(Default)]
struct Known {
    stats: Option<Stats>,
    /// Points of the batch itself.
    ids: FxHashSet<PointId>,
    /// Late points of the batch that are stored.
    late: FxHashSet<PointId>,
}

impl Known {
    /// Whether the series may have had this point before the batch.
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
    /// Finds the points that are there already: their places in `given.points`, ascending. Notes the late ones that are
    /// not in `looked`.
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
            // Upkeep may have dropped a series again.
            if keys.iter().all(|key| series.slot(*key).is_some()) {
                let of = |key: &KeyId| (*key, Known { stats: series.newest_stats(*key), ..Known::default() });
                known.extend(keys.iter().map(of));
                break series.evictions();
            }
        };
        let mut out = Vec::new();
        let (mut asked, mut places) = (Vec::new(), Vec::new());
        for (at, point) in points.iter().enumerate() {
            // This key has no late points.
            let Some(known) = known.get_mut(&point.key) else { continue };
            let is_first = known.ids.insert(PointId::of(&point.point, context));
            if !is_late(at, point) {
                continue;
            }
            if !is_first {
                out.push(at);
            } else if branch != 0 || known.may_have(point) {
                // The statistics of a branch do not cover the points it continues.
                asked.push(*point);
                places.push(at);
            } else {
                known.late.insert(PointId::of(&point.point, context));
            }
        }
        if !asked.is_empty() {
            let found = self.past()?.find(run, context, &asked)?;
            if found.len() != asked.len() {
                return Err(Error::Internal(format!("{} answers for {} late points", found.len(), asked.len())));
            }
            for ((point, at), found) in asked.iter().zip(places).zip(found) {
                if found {
                    out.push(at);
                    continue;
                }
                let known = known.get_mut(&point.key);
                let known =
                    known.ok_or_else(|| Error::Internal(format!("key {} is late, and unknown", point.key.0)))?;
                known.late.insert(PointId::of(&point.point, context));
            }
            out.sort_unstable();
        }
        for (key, known) in known.into_iter().filter(|(_, known)| !known.late.is_empty()) {
            looked.note(run, key, evictions, known.late);
        }
        Ok(out)
    }

    fn past(&self) -> Result<&dyn Past> {
        self.past.get().map(|past| &**past).ok_or_else(|| Error::Internal("points cannot be looked up yet".into()))
    }
}
