//! The sending side: a store's batches from a position on, with names in place of its own numbers. They come in the
//! order of its log, whether it was compacted or not, so a position says all of what a target has.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::chunk::{CHUNK_BYTES_MAX, Chunk, SyncBatch, SyncPoints};
use crate::engine::branch;
use crate::engine::entity::{EntityKey, touches};
use crate::engine::event::payload::{self, Decoded};
use crate::engine::point::Columns;
use crate::engine::{ContextId, StoreId, Tail, TailBatch};
use crate::{Event, Lifecycle, Lsn, MetricContext, Result, RunId, RunState, Snapshot, Store};

/// Batches read from the log at once.
const BATCHES: usize = 256;
/// Points of batches that are joined.
const JOINED_POINTS: usize = 100_000;
/// Series of batches that are joined.
const JOINED_SERIES: usize = 1_000;

/// What a store has, from a position on. The store may be open for reading only, and may be written meanwhile.
#[derive(Debug)]
pub struct Source {
    store: Store,
    tail: Tail,
    /// The last position that this source sends; what comes later is the next sync's.
    end: Lsn,
    read: VecDeque<TailBatch>,
    snapshot: Snapshot,
    /// What came from there is not sent back.
    target: StoreId,
}

/// The last batch of a chunk, as long as it holds nothing but points: those of the next one may join it. A loop that
/// logs row by row makes a batch of every row; joined, each series of them is one part of one batch.
#[derive(Debug, Default)]
struct Last {
    /// Where its series are; only those without a context.
    places: FxHashMap<(RunId, u32), usize>,
    points_count: usize,
}

impl Last {
    /// Adds a batch, or its points to the last one; how many parts there are more.
    fn push(&mut self, batches: &mut Vec<SyncBatch>, batch: SyncBatch) -> usize {
        let count = batch.points.iter().map(|points| points.steps.len()).sum::<usize>();
        let parts = batch.points.len();
        let joins = |last: &&mut SyncBatch| {
            last.events.is_empty()
                && batch.events.is_empty()
                && last.through > 0
                && batch.through > 0
                && last.actor == batch.actor
                && last.points.len() + parts <= JOINED_SERIES
                && self.points_count + count <= JOINED_POINTS
        };
        let Some(last) = batches.last_mut().filter(joins) else {
            self.places = places_of(&batch).collect();
            self.points_count = count;
            batches.push(batch);
            return parts;
        };
        (last.through, last.time_ms) = (batch.through, batch.time_ms);
        self.points_count += count;
        let before = last.points.len();
        for points in batch.points {
            let place = (RunId(points.run), points.key);
            let known = self.places.get(&place).filter(|_| points.context.is_none());
            if let Some(known) = known.and_then(|at| last.points.get_mut(*at)) {
                known.steps.extend(points.steps);
                known.times.extend(points.times);
                known.values.extend(points.values);
                continue;
            }
            if points.context.is_none() {
                self.places.insert(place, last.points.len());
            }
            last.points.push(points);
        }
        last.points.len() - before
    }
}

fn places_of(batch: &SyncBatch) -> impl Iterator<Item = ((RunId, u32), usize)> {
    let plain = batch.points.iter().enumerate().filter(|(_, points)| points.context.is_none());
    plain.map(|(at, points)| ((RunId(points.run), points.key), at))
}

/// A batch, and the names of the keys of its points.
type Named = (SyncBatch, Vec<Arc<str>>);

impl Source {
    /// Everything behind the position that a target has, up to where the store stands now, but for what came from it.
    ///
    /// # Errors
    /// [`crate::Error::Io`] or [`crate::Error::Corrupt`] when the store cannot be read.
    pub fn new(store: &Store, applied: Lsn, target: StoreId) -> Result<Self> {
        let engine = store.engine();
        let end = engine.positions().durable;
        let snapshot = store.snapshot()?;
        let tail = engine.tail(applied.next())?;
        Ok(Self { store: store.clone(), tail, end, read: VecDeque::new(), snapshot, target })
    }

    /// Up to what is published, durable or not: of a store that nobody ever opens for writing again, so that what its
    /// machine loses after all is not replaced by anything else.
    #[must_use]
    pub fn to_published(mut self) -> Self {
        self.tail = self.tail.to_published();
        self.end = self.store.positions().published;
        self
    }

    /// The store that is read.
    pub fn id(&self) -> StoreId {
        self.store.engine().id()
    }

    /// Where this source ends.
    pub fn end(&self) -> Lsn {
        self.end
    }

    /// Where it reads.
    pub fn position(&self) -> Lsn {
        self.read.front().map_or(self.tail.position(), |batch| batch.lsn)
    }

    /// The next batches; `None` when there are no more.
    ///
    /// # Errors
    /// [`crate::Error::Io`] or [`crate::Error::Corrupt`] when the store cannot be read.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        let mut chunk = Chunk { source: self.id().0, ..Chunk::default() };
        let mut numbers: FxHashMap<Arc<str>, u32> = FxHashMap::default();
        let mut last = Last::default();
        let mut bytes = 0;
        while bytes < CHUNK_BYTES_MAX {
            let Some((mut batch, names)) = self.next_batch()? else { break };
            for (points, name) in batch.points.iter_mut().zip(names) {
                points.key = *numbers.entry(name).or_insert_with_key(|name| {
                    chunk.keys.push(name.to_string());
                    (chunk.keys.len() - 1) as u32
                });
                bytes += 24 * points.steps.len();
            }
            bytes += 32 + batch.events.iter().map(Vec::len).sum::<usize>();
            bytes += 24 * last.push(&mut chunk.batches, batch);
        }
        Ok((!chunk.is_empty()).then_some(chunk))
    }

    fn next_batch(&mut self) -> Result<Option<Named>> {
        loop {
            if self.read.is_empty() {
                self.read = self.tail.next(BATCHES, Duration::ZERO)?.into();
            }
            let Some(batch) = self.read.pop_front_if(|batch| batch.lsn <= self.end) else { return Ok(None) };
            if batch.merged.is_some_and(|merged| merged.writer.0 == self.target.0) {
                continue;
            }
            return Ok(Some(self.named(batch)?));
        }
    }

    fn named(&self, batch: TailBatch) -> Result<Named> {
        let through = batch.lsn.0;
        let mut events = Vec::with_capacity(batch.events.len());
        for event in &batch.events {
            if let Decoded::Known(event) = event
                && self.is_of_purged(event)?
            {
                continue;
            }
            let mut bytes = Vec::new();
            match event {
                Decoded::Known(event) => payload::encode(event, &mut bytes)?,
                Decoded::Unknown { tag, version, bytes: archive } => {
                    bytes.extend_from_slice(&tag.to_le_bytes());
                    bytes.extend_from_slice(&version.to_le_bytes());
                    bytes.extend_from_slice(archive);
                }
            }
            events.push(bytes);
        }
        let out = SyncBatch { through, time_ms: batch.time.0, actor: batch.actor, events, points: Vec::new() };
        let mut named = (out, Vec::new());
        for (series, columns) in batch.points {
            if self.is_purged(series.run)? {
                continue;
            }
            // A key is defined in the frame of its first point, or before.
            if let Some(name) = self.snapshot.key_name(series.key).and_then(|name| metric_of(&name)) {
                self.push_points(&mut named, series.run, &name, columns);
            }
        }
        Ok(named)
    }

    /// Whether a run is purged by what this source sends: then nothing of it is sent, since the target would have to keep
    /// what nobody wants.
    fn is_purged(&self, run: RunId) -> Result<bool> {
        let purged = |run: &RunState| run.lifecycle == Lifecycle::Purged && run.lifecycle_lsn <= self.end;
        Ok(self.snapshot.run(run)?.is_some_and(|run| purged(&run)))
    }

    /// Whether an event is about such a run. Its purge is sent: the target may have the run from an earlier sync.
    fn is_of_purged(&self, event: &Event) -> Result<bool> {
        if matches!(event, Event::RunPurged(_)) {
            return Ok(false);
        }
        match touches(event).first() {
            Some(EntityKey::Run(run)) => self.is_purged(*run),
            _ => Ok(false),
        }
    }

    /// Adds points: one entry for each run of equal contexts.
    fn push_points(&self, (batch, names): &mut Named, run: RunId, key: &Arc<str>, columns: Columns) {
        if columns.contexts.iter().all(|context| *context == 0) {
            let Columns { steps, times, values, .. } = columns;
            batch.points.push(SyncPoints { run: run.0, key: 0, context: None, steps, times, values });
            names.push(Arc::clone(key));
            return;
        }
        let context_at = |index: usize| columns.contexts.get(index).copied().unwrap_or(0);
        let mut from = 0;
        while from < columns.len() {
            let context = context_at(from);
            let to = (from..columns.len()).find(|&index| context_at(index) != context).unwrap_or(columns.len());
            let context = self.snapshot.metric_context(ContextId(context)).map(|context| {
                let MetricContext { model_id, dataset_name, dataset_digest } = (*context).clone();
                (model_id, dataset_name, dataset_digest)
            });
            batch.points.push(SyncPoints {
                run: run.0,
                key: 0,
                context: context.filter(|context| *context != (None, None, None)),
                steps: columns.steps[from..to].to_vec(),
                times: columns.times[from..to].to_vec(),
                values: columns.values[from..to].to_vec(),
            });
            names.push(Arc::clone(key));
            from = to;
        }
    }
}

/// The metric of a key: points of a branch are sent by the metric's name, since the target is in the same branch then.
fn metric_of(key: &Arc<str>) -> Option<Arc<str>> {
    let metric = branch::parse(key)?.metric;
    Some(if metric.len() == key.len() { Arc::clone(key) } else { Arc::from(metric) })
}
