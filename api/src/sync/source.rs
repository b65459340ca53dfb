//! The sending side: a store's batches from a position on, each with the store that decided it, and with names instead
//! of this store's own numbers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::chunk::{CHUNK_BYTES_MAX, Chunk, SyncBatch, SyncEvent, SyncExperiment, SyncPoints, Version};
use super::fields::{entity_of, fields_of, version_of};
use super::join::Joiner;
use super::lines::Place;
use super::origins::{Extra, Origins};
use super::versions::{Histories, print_of};
use crate::engine::branch;
use crate::engine::entity::{EntityKey, touches};
use crate::engine::event::batch::NoteKind;
use crate::engine::event::payload::{self, Decoded};
use crate::engine::point::Columns;
use crate::engine::{ContextId, StoreId, Tail, TailBatch};
use crate::experiment::{IMPORT_ACTOR, SOURCE_TAG};
use crate::{Event, ExperimentId, Lifecycle, LocalStore, Lsn, Result, RunId, RunState, Snapshot};

/// Batches read from the log at once.
const BATCHES: usize = 256;

/// What a store has from a position on. The store may be open for reading only, and may be written meanwhile.
///
/// ```
/// use runlode::Lsn;
/// use runlode::sync::Source;
///
/// # let dir = tempfile::tempdir()?;
/// # let here = runlode::LocalStore::open(dir.path().join("here"))?;
/// # let there = runlode::LocalStore::open(dir.path().join("there"))?;
/// here.create_experiment("digits")?;
/// let mut source = Source::new(&here, Lsn(0), there.engine().id())?;
/// while let Some(chunk) = source.next_chunk()? {
///     println!("{} of {}: {} bytes", source.position(), source.end(), chunk.encode().len());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Source {
    store: LocalStore,
    tail: Tail,
    /// The last position that this source sends; later ones are for the next sync.
    end: Lsn,
    read: VecDeque<TailBatch>,
    snapshot: Snapshot,
    /// Batches that came from it are not sent back.
    target: StoreId,
    origins: Origins,
    histories: Histories,
    /// How much this store has seen of others.
    seen: Vec<Version>,
}

/// What a chunk needs beside its batches.
#[derive(Debug, Default)]
struct Beside {
    numbers: FxHashMap<Arc<str>, u32>,
    experiments: BTreeSet<ExperimentId>,
    runs: BTreeMap<RunId, Version>,
}

/// A batch, with the names of its points' keys.
type Named = (SyncBatch, Vec<Arc<str>>);

impl Source {
    /// Everything after the position that a target has, up to the store's present end, except what came from the
    /// target.
    ///
    /// # Errors
    /// [`crate::Error::Io`] or [`crate::Error::Corrupt`] if the store cannot be read.
    ///
    /// ```
    /// use runlode::sync::{Source, Target};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let here = runlode::LocalStore::open(dir.path().join("here"))?;
    /// # let there = runlode::LocalStore::open(dir.path().join("there"))?;
    /// let target = Target::new(&there, here.engine().id())?;
    /// let source = Source::new(&here, target.applied()?, there.engine().id())?;
    /// assert_eq!(source.id(), here.engine().id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(store: &LocalStore, applied: Lsn, target: StoreId) -> Result<Self> {
        let engine = store.engine();
        // Nothing after a gap is sent, nor noted as sent.
        let end = engine.positions().durable.min(engine.complete_up_to());
        let snapshot = store.snapshot()?;
        let origins = Origins::new(store, &snapshot)?;
        let mut seen: Vec<_> = origins
            .seen_all(store)?
            .into_iter()
            .map(|(store, position)| Version { store: store.0, position })
            .collect();
        seen.sort_unstable();
        let tail = engine.tail(applied.next())?;
        let (read, histories) = (VecDeque::new(), Histories::default());
        Ok(Self { store: store.clone(), tail, end, read, snapshot, target, origins, histories, seen })
    }

    /// Sends everything published, durable or not. For a store that will never be opened for writing again: whatever
    /// its machine may lose is then not replaced by anything else.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let here = runlode::LocalStore::open(dir.path().join("here"))?;
    /// # let there = runlode::LocalStore::open(dir.path().join("there"))?;
    /// let source = runlode::sync::Source::new(&here, runlode::Lsn(0), there.engine().id())?.to_published();
    /// assert_eq!(source.end(), here.positions().published);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to_published(mut self) -> Self {
        self.tail = self.tail.to_published();
        self.end = self.store.positions().published.min(self.store.engine().complete_up_to());
        self
    }

    /// The store that is read.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let here = runlode::LocalStore::open(dir.path().join("here"))?;
    /// # let there = runlode::LocalStore::open(dir.path().join("there"))?;
    /// let source = runlode::sync::Source::new(&here, runlode::Lsn(0), there.engine().id())?;
    /// assert_eq!(source.id(), here.engine().id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn id(&self) -> StoreId {
        self.store.engine().id()
    }

    /// Where this source ends.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let here = runlode::LocalStore::open(dir.path().join("here"))?;
    /// # let there = runlode::LocalStore::open(dir.path().join("there"))?;
    /// let source = runlode::sync::Source::new(&here, runlode::Lsn(0), there.engine().id())?;
    /// assert!(source.end() <= here.positions().published);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn end(&self) -> Lsn {
        self.end
    }

    /// Where it reads.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let here = runlode::LocalStore::open(dir.path().join("here"))?;
    /// # let there = runlode::LocalStore::open(dir.path().join("there"))?;
    /// let mut source = runlode::sync::Source::new(&here, runlode::Lsn(0), there.engine().id())?;
    /// while source.next_chunk()?.is_some() {}
    /// assert!(source.position() >= source.end());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn position(&self) -> Lsn {
        self.read.front().map_or(self.tail.position(), |batch| batch.lsn)
    }

    /// The next batches; `None` if there are no more.
    ///
    /// # Errors
    /// [`crate::Error::Io`] or [`crate::Error::Corrupt`] if the store cannot be read.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let here = runlode::LocalStore::open(dir.path().join("here"))?;
    /// # let there = runlode::LocalStore::open(dir.path().join("there"))?;
    /// let mut source = runlode::sync::Source::new(&here, runlode::Lsn(0), there.engine().id())?;
    /// assert!(source.next_chunk()?.is_some(), "the experiment `Default`");
    /// assert!(source.next_chunk()?.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        let mut chunk = Chunk { source: self.id().0, ..Chunk::default() };
        let (mut beside, mut joiner) = (Beside::default(), Joiner::default());
        let mut bytes = 0;
        // A new one each time, because a snapshot that is held for long may be given up.
        self.snapshot = self.store.snapshot()?;
        while bytes < CHUNK_BYTES_MAX {
            let Some(batch) = self.next_read()? else { break };
            let lsn = batch.lsn;
            let is_echo = batch.note.as_ref().is_some_and(|note| note.store == self.target);
            let Some((mut batch, names)) = self.named(batch, &mut beside)? else { continue };
            chunk.through = lsn.0;
            if is_echo || batch.store == self.target.0 {
                continue;
            }
            for (points, name) in batch.points.iter_mut().zip(names) {
                points.key = *beside.numbers.entry(name).or_insert_with_key(|name| {
                    chunk.keys.push(name.to_string());
                    (chunk.keys.len() - 1) as u32
                });
                bytes += 24 * (points.steps.len() + 1);
            }
            bytes += 64 + batch.events.iter().map(|event| event.bytes.len() + 16).sum::<usize>();
            joiner.push(&mut chunk.batches, batch);
        }
        if chunk.is_empty() {
            return Ok(None);
        }
        chunk.seen.clone_from(&self.seen);
        chunk.experiments =
            beside.experiments.iter().filter_map(|id| self.experiment(*id).transpose()).collect::<Result<_>>()?;
        chunk.runs = beside.runs.into_iter().map(|(run, birth)| (run.0, birth)).collect();
        Ok(Some(chunk))
    }

    fn next_read(&mut self) -> Result<Option<TailBatch>> {
        if self.read.is_empty() {
            self.read = self.tail.next(BATCHES, Duration::ZERO)?.into();
        }
        Ok(if self.read.front().is_some_and(|batch| batch.lsn <= self.end) { self.read.pop_front() } else { None })
    }

    /// The ids that other stores use for an experiment.
    fn experiment(&self, id: ExperimentId) -> Result<Option<SyncExperiment>> {
        let Some(state) = self.snapshot.experiment(id)? else { return Ok(None) };
        let mut also = Vec::new();
        for (key, ids) in &state.tags {
            let Some(store) = key.strip_prefix(SOURCE_TAG).and_then(|id| id.parse::<StoreId>().ok()) else { continue };
            also.extend(ids.split(',').filter_map(|id| id.parse().ok()).map(|id| (store.0, id)));
        }
        // Stores that this one is a copy of use the same id.
        let copied = self.origins.copied().iter().filter(|(_, to)| state.created <= *to);
        also.extend(copied.map(|(store, _)| (store.0, id.0)));
        Ok(Some(SyncExperiment { id: id.0, also }))
    }

    /// A batch for sending; `None` if it holds nothing to send.
    fn named(&mut self, batch: TailBatch, beside: &mut Beside) -> Result<Option<Named>> {
        let note = batch.note.as_ref();
        // A repeated event is sent with the batch that it is of.
        if note.is_some_and(|note| note.kind != NoteKind::Holds) {
            return Ok(None);
        }
        let version = self.origins.of(batch.lsn, note, batch.merged);
        let extra = note.map(Extra::of);
        let time = note.map_or(batch.time.0, |note| note.time.0);
        let mut events = Vec::with_capacity(batch.events.len());
        for (index, event) in batch.events.iter().enumerate() {
            if let Decoded::Known(event) = event
                && self.is_of_purged(event)?
            {
                continue;
            }
            let place = batch.places.get(index).copied().unwrap_or(index as u16);
            let mut sent = SyncEvent { stamp: time, ..SyncEvent::default() };
            match event {
                Decoded::Known(event) => {
                    self.stamp(event, (batch.lsn, place), version, batch.time.0, extra.as_ref(), &mut sent)?;
                    // Also for a note that stays here: it may be all that identifies another store's experiment, and
                    // the target may never see the event that created it.
                    beside.experiments.extend(experiment_of(event));
                    if let Event::RunPurged(purged) = event {
                        self.add_birth(purged.run, beside)?;
                    }
                    let Some(event) = travels(event) else { continue };
                    if let (Some(number), Some(EntityKey::RegisteredModel(model))) =
                        (version_of(&event), entity_of(&event))
                    {
                        sent.print = print_of(&self.snapshot, &EntityKey::ModelVersion(model, number))?;
                    }
                    payload::encode(&event, &mut sent.bytes)?;
                }
                Decoded::Unknown { tag, version, bytes: archive } => {
                    sent.bytes.extend_from_slice(&tag.to_le_bytes());
                    sent.bytes.extend_from_slice(&version.to_le_bytes());
                    sent.bytes.extend_from_slice(archive);
                }
            }
            events.push(sent);
        }
        let first = note.map_or(version.position, |note| note.first);
        let (last, actor) = (version.position, batch.actor);
        let out = SyncBatch { store: version.store, first, last, time_ms: time, actor, events, points: Vec::new() };
        let mut named = (out, Vec::new());
        for (series, columns) in batch.points {
            if self.is_purged(series.run)? {
                continue;
            }
            // A key is defined in the frame of its first point, or earlier.
            if let Some(name) = self.snapshot.key_name(series.key).and_then(|name| metric_of(&name)) {
                self.add_birth(series.run, beside)?;
                self.push_points(&mut named, series.run, &name, columns);
            }
        }
        // Earlier builds left points of joined batches out that were here already. Which batch had the others is unknown
        // then: the target must not divide them.
        let batch = &mut named.0;
        if batch.first < batch.last && (batch.actor.as_deref() == Some(IMPORT_ACTOR) || !batch.is_sound()) {
            batch.first = batch.last;
        }
        // A batch of another store may have nothing left here, but the target still learns that it was seen.
        let says = note.is_some() || !named.0.events.is_empty() || !named.0.points.is_empty();
        Ok(says.then_some(named))
    }

    fn add_birth(&self, run: RunId, beside: &mut Beside) -> Result<()> {
        if !beside.runs.contains_key(&run)
            && let Some(birth) = birth_of(&self.store, &self.snapshot, &self.origins, run)?
        {
            beside.runs.insert(run, birth);
        }
        Ok(())
    }

    /// When a change was made, and what it replaced. For another store's change: as it came; for this store's own: from
    /// what was there before.
    fn stamp(
        &mut self,
        event: &Event,
        place: Place,
        version: Version,
        time: i64,
        came: Option<&Extra>,
        sent: &mut SyncEvent,
    ) -> Result<()> {
        let Some(key) = entity_of(event) else { return Ok(()) };
        let is_new = matches!(
            event,
            Event::ExperimentCreated(_)
                | Event::RunCreated(_)
                | Event::LoggedModelCreated(_)
                | Event::RegisteredModelCreated(_)
        );
        let least = if came.is_none() { self.histories.least(&self.snapshot, event, place)? } else { i64::MIN };
        let history = self.histories.of(&self.snapshot, &key, place.0, &self.origins, is_new)?;
        match came {
            Some(extra) => {
                sent.stamp = extra.stamp(place.1, sent.stamp);
                sent.replaced = extra.replaced(place.1);
            }
            None => {
                sent.stamp = history.next_stamp(event, time.max(least));
                let decisions = fields_of(event).into_iter().filter(|field| field.is_decision());
                // Values that this very batch set before are not another decision.
                let mut before = decisions.filter_map(|field| history.decided_before(&field, version));
                sent.replaced = before.next();
            }
        }
        history.add(event, version, sent.stamp);
        Ok(())
    }

    /// Whether a run is purged within what this source sends: then nothing of it is sent, since the target would keep
    /// data that nobody wants.
    fn is_purged(&self, run: RunId) -> Result<bool> {
        let purged = |run: &RunState| run.lifecycle == Lifecycle::Purged && run.lifecycle_lsn <= self.end;
        Ok(self.snapshot.run(run)?.is_some_and(|run| purged(&run)))
    }

    /// Whether an event concerns such a run. Its purge is sent, because the target may have the run from an earlier
    /// sync.
    fn is_of_purged(&self, event: &Event) -> Result<bool> {
        if matches!(event, Event::RunPurged(_)) {
            return Ok(false);
        }
        match touches(event).first() {
            Some(EntityKey::Run(run)) => self.is_purged(*run),
            // Nothing in it is sent any more. A target that has it keeps it.
            Some(EntityKey::Experiment(id)) => {
                let state = self.snapshot.experiment(*id)?;
                Ok(state.is_some_and(|state| state.is_purged() && state.last <= self.end))
            }
            _ => Ok(false),
        }
    }

    /// Adds points: one entry for each stretch of equal contexts.
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
            let context = self.snapshot.metric_context(ContextId(context)).filter(|context| !context.is_empty());
            batch.points.push(SyncPoints {
                run: run.0,
                key: 0,
                context: context.map(|context| context.encode()),
                steps: columns.steps[from..to].to_vec(),
                times: columns.times[from..to].to_vec(),
                values: columns.values[from..to].to_vec(),
            });
            names.push(Arc::clone(key));
            from = to;
        }
    }
}

/// The part of an event for other stores: not what a store notes about its own files and its own sources.
fn travels(event: &Event) -> Option<Event> {
    let mut event = event.clone();
    match &mut event {
        Event::LossAccepted(_)
        | Event::StoreCopied(_)
        | Event::SourceForgotten(_)
        | Event::GarbageCollected(_)
        | Event::ExperimentPurged(_) => return None,
        Event::ExperimentCreated(event) => event.tags.retain(|(key, _)| !key.starts_with(SOURCE_TAG)),
        Event::ExperimentTagsSet(event) => {
            event.tags.retain(|(key, _)| !key.starts_with(SOURCE_TAG));
            if event.tags.is_empty() {
                return None;
            }
        }
        Event::ExperimentTagDeleted(event) if event.key.starts_with(SOURCE_TAG) => return None,
        _ => {}
    }
    Some(event)
}

/// The experiment that an event names.
fn experiment_of(event: &Event) -> Option<ExperimentId> {
    match event {
        Event::ExperimentCreated(event) => Some(event.experiment),
        Event::ExperimentRenamed(event) => Some(event.experiment),
        Event::ExperimentTagsSet(event) => Some(event.experiment),
        Event::ExperimentTagDeleted(event) => Some(event.experiment),
        Event::ExperimentDeleted(event) => Some(event.experiment),
        Event::ExperimentRestored(event) => Some(event.experiment),
        Event::RunCreated(event) => Some(event.experiment),
        Event::LoggedModelCreated(event) => Some(event.experiment),
        _ => None,
    }
}

/// The batch that created a run. `None` if there is no such run, or if a purge removed the batch.
pub(super) fn birth_of(
    store: &LocalStore,
    snapshot: &Snapshot,
    origins: &Origins,
    run: RunId,
) -> Result<Option<Version>> {
    let Some(state) = snapshot.run(run)? else { return Ok(None) };
    let records = store.engine().events_at(state.created)?;
    Ok(records.first().map(|record| origins.of(state.created, record.note.as_deref(), record.merged)))
}

/// The metric of a key: points of a branch are sent by the metric's name, because the target is in the same branch
/// then.
fn metric_of(key: &Arc<str>) -> Option<Arc<str>> {
    let metric = branch::parse(key)?.metric;
    Some(if metric.len() == key.len() { Arc::clone(key) } else { Arc::from(metric) })
}
