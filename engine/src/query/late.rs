//! Looks late points up among all points of the store; see [`crate::ingest::late`].
//!
//! Only those chunks of a series are read whose steps and times could contain one of the points, each once per batch.
//! Chunks whose points a set in memory has are skipped ([`crate::hot::points::RunHot::find_points`]).

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::points::{is_whole, visible_points};
use super::snapshot::Snapshot;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::hot::points::RunHot;
use crate::id::{ContextId, KeyId, Lsn, SeriesId};
use crate::ingest::encode::KeyedPoint;
use crate::ingest::late::Past;
use crate::point::{Columns, Point, PointId};
use crate::series::{ChunkRef, ColumnSet};

/// Number of chunks kept after a read: old points that come one by one are often close to one another.
const CHUNKS_KEPT: usize = 8;

/// File, offset and slot of a chunk: the chunks of a group share its offset.
type ChunkKey = (u64, u64, Option<u8>);

/// Looks points up in a store while it is open.
#[derive(Debug)]
pub(crate) struct StorePast {
    core: Weak<Core>,
    chunks: Mutex<VecDeque<(ChunkKey, Arc<Columns>)>>,
}

/// Points of one series to look up, in the order of steps.
struct Asked {
    points: Vec<Point>,
    ids: Vec<PointId>,
    /// Their indexes in the caller's list.
    places: Vec<usize>,
    found: Vec<bool>,
}

impl Asked {
    fn of(asked: &[KeyedPoint], mut places: Vec<usize>, context: ContextId) -> Self {
        let point = |place: &usize| asked.get(*place).map_or_else(Point::default, |asked| asked.point);
        places.sort_by(|a, b| point(a).latest_order(&point(b)));
        let points: Vec<Point> = places.iter().map(point).collect();
        let ids = points.iter().map(|point| PointId::of(point, context)).collect();
        Self { found: vec![false; points.len()], points, ids, places }
    }

    /// Indexes of the points that are not found yet and that the chunk could contain.
    fn within(&self, chunk: &ChunkRef) -> Vec<usize> {
        let entry = &chunk.entry;
        let last = entry.step_last.min(chunk.step_bound);
        let start = self.points.partition_point(|point| point.step < entry.step_first);
        let points = self.points.iter().enumerate().skip(start).take_while(|(_, point)| point.step <= last);
        let times = entry.time_min_ms..=entry.time_max_ms;
        let open = points.filter(|(at, point)| !self.found[*at] && times.contains(&point.time.0));
        open.map(|(at, _)| at).collect()
    }

    /// Looks for the points at these indexes, in points in latest order.
    fn look_in(&mut self, columns: &Columns, at: &[usize]) {
        for &at in at {
            let (point, id) = (self.points[at], self.ids[at]);
            let (mut low, mut high) = (0, columns.len());
            while low < high {
                let middle = low + (high - low) / 2;
                if columns.point(middle).latest_order(&point).is_lt() { low = middle + 1 } else { high = middle }
            }
            // Points that tie may have different contexts, and NaNs different bits.
            let mut ties = (low..columns.len()).take_while(|tie| columns.point(*tie).latest_order(&point).is_eq());
            self.found[at] = ties.any(|tie| columns.ids(tie).any(|known| known == id));
        }
    }
}

impl StorePast {
    pub(crate) fn new(core: &Arc<Core>) -> Self {
        Self { core: Arc::downgrade(core), chunks: Mutex::default() }
    }

    /// All visible points of a chunk.
    fn points(&self, chunk: &ChunkRef, up_to: Lsn) -> Result<Arc<Columns>> {
        let steps = super::points::ALL_STEPS;
        let key = (chunk.file.file_id(), chunk.entry.offset, chunk.entry.slot);
        // A single point is in the entry, and a part of a chunk is only useful to one reader.
        let keeps = chunk.entry.count() > 1 && is_whole(chunk, up_to, steps);
        if keeps && let Some((_, points)) = self.chunks.lock().iter().find(|(kept, _)| *kept == key) {
            return Ok(points.clone());
        }
        let points = Arc::new(visible_points(chunk, up_to, steps, ColumnSet::ALL)?);
        if keeps {
            let mut chunks = self.chunks.lock();
            chunks.push_front((key, points.clone()));
            chunks.truncate(CHUNKS_KEPT);
        }
        Ok(points)
    }

    /// Looks in one series, up to a step.
    fn find_in(
        &self,
        snapshot: &Snapshot,
        run: &Arc<RunHot>,
        (key, bound): (KeyId, i64),
        asked: &mut Asked,
    ) -> Result<()> {
        let count = asked.points.partition_point(|point| point.step <= bound);
        debug_assert!(asked.ids.len() == asked.points.len() && asked.found.len() == asked.points.len());
        let (ids, found) = (asked.ids.get(..count), asked.found.get_mut(..count));
        let Some((ids, found)) = ids.zip(found).filter(|(ids, _)| !ids.is_empty()) else { return Ok(()) };
        let up_to = snapshot.position();
        let from = run.find_points(key, (snapshot.index.sealed(), up_to), ids, found)?;
        let list = snapshot.chunks(SeriesId { run: run.id, key })?;
        let ends = asked.points.first().zip(asked.points.get(..count).and_then(<[Point]>::last));
        let Some(steps) = ends.map(|(first, last)| (first.step, last.step)) else { return Ok(()) };
        for chunk in list.with_steps(steps) {
            // Points above `from` were compared in memory.
            if chunk.entry.lsn_min > up_to.0 || chunk.entry.lsn_min > from.0 {
                continue;
            }
            let Some(chunk) = chunk.up_to_step(bound) else { continue };
            let at = asked.within(&chunk);
            if !at.is_empty() {
                let points = self.points(&chunk, up_to)?;
                asked.look_in(&points, &at);
            }
        }
        Ok(())
    }
}

impl Past for StorePast {
    fn find(&self, run: &Arc<RunHot>, context: ContextId, asked: &[KeyedPoint]) -> Result<Vec<bool>> {
        loop {
            match self.try_find(run, context, asked) {
                // Memory was short during the read.
                Err(Error::SnapshotTooOld) => {}
                result => return result,
            }
        }
    }
}

impl StorePast {
    fn try_find(&self, run: &Arc<RunHot>, context: ContextId, asked: &[KeyedPoint]) -> Result<Vec<bool>> {
        let core = self.core.upgrade().ok_or(Error::Closed)?;
        let snapshot = Snapshot::take(&core)?;
        let mut found = vec![false; asked.len()];
        let mut by_key: FxHashMap<KeyId, Vec<usize>> = FxHashMap::default();
        for (place, point) in asked.iter().enumerate() {
            by_key.entry(point.key).or_default().push(place);
        }
        for (key, places) in by_key {
            let mut asked = Asked::of(asked, places, context);
            let series = snapshot.live_series(run.id, core.pipeline.dictionary.metric_of(key), snapshot.position())?;
            // Also look under the given key, in case its branch began after this snapshot.
            self.find_in(&snapshot, run, (key, i64::MAX), &mut asked)?;
            // A point that a parent has is another one: its run logged it.
            for part in series.parts().filter(|part| part.run == run.id && part.key != key) {
                self.find_in(&snapshot, run, (part.key, part.step_last), &mut asked)?;
            }
            for (place, is_there) in asked.places.iter().zip(&asked.found) {
                let found = found.get_mut(*place);
                *found.ok_or_else(|| Error::Internal(format!("late point {place} was not asked for")))? = *is_there;
            }
        }
        snapshot.check()?;
        Ok(found)
    }
}
