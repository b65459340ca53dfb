//! The receiving side: a source's batches become this store's, each once.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::CONFLICT_TAG;
use super::chunk::{Chunk, SyncBatch, SyncPoints};
use crate::engine::event::batch::Merged;
use crate::engine::event::payload::{self, Decoded};
use crate::engine::event::{ExperimentCreated, ExperimentTagsSet, ParamsLogged, RunTagsSet};
use crate::engine::{StoreId, WriterId};
use crate::experiment::{SEQUENTIAL_END, SOURCE_TAG, source_tag};
use crate::{
    Batch, Durability, Error, Event, ExperimentId, ExperimentSpec, ExperimentState, KeyId, Lifecycle, Lsn, Point,
    Result, RunId, RunState, Snapshot, Store, TimestampMs,
};

/// Most problems that a report names one by one.
const PROBLEMS_MAX: usize = 1_000;

/// What a sync did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// Batches of the source that were applied.
    pub batches_count: u64,
    /// Events that were appended.
    pub events_count: u64,
    /// Points that were appended.
    pub points_count: u64,
    /// Events that said what the target had already.
    pub known_count: u64,
    /// What was not taken as it was. At most 1,000 are kept; the count counts all.
    pub problems: Vec<Problem>,
    /// How many there were.
    pub problems_count: u64,
    /// Everything of the source up to here is in the target.
    pub through: u64,
}

/// Something that was not taken as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Position in the source; 0 where it is not known.
    pub position: u64,
    /// What, and what became of it.
    pub what: String,
}

impl Report {
    fn problem(&mut self, position: u64, what: impl Into<String>) {
        self.problems_count += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { position, what: what.into() });
        }
    }

    /// Adds what another one says.
    pub fn add(&mut self, other: Self) {
        self.batches_count += other.batches_count;
        self.events_count += other.events_count;
        self.points_count += other.points_count;
        self.known_count += other.known_count;
        self.problems_count += other.problems_count;
        self.problems.extend(other.problems);
        self.problems.truncate(PROBLEMS_MAX);
        self.through = self.through.max(other.through);
    }
}

/// A store that takes what another one has.
#[derive(Debug)]
pub struct Target {
    store: Store,
    source: StoreId,
    /// The source's experiments, and what they are here.
    experiments: FxHashMap<ExperimentId, ExperimentId>,
}

impl Target {
    /// For one source.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is the same store; [`Error::Io`] or [`Error::Corrupt`] when the store cannot be read.
    pub fn new(store: &Store, source: StoreId) -> Result<Self> {
        if store.engine().id() == source {
            return Err(Error::invalid("sync", "source and target are the same store, or copies of it"));
        }
        let tag = source_tag(source);
        let mut experiments = FxHashMap::default();
        for (id, state) in store.snapshot()?.experiments()? {
            let known = state.tags.iter().filter(|(key, _)| *key == tag);
            // Users can set this tag too: what is no id in it names no experiment.
            for theirs in known.flat_map(|(_, ids)| ids.split(',')).filter_map(|id| id.parse().ok()) {
                experiments.insert(ExperimentId(theirs), id);
            }
        }
        Ok(Self { store: store.clone(), source, experiments })
    }

    fn writer(&self) -> WriterId {
        WriterId(self.source.0)
    }

    /// Everything of the source up to this position is here.
    ///
    /// # Errors
    /// [`Error::Io`] when the index cannot be read.
    pub fn applied(&self) -> Result<Lsn> {
        Ok(Lsn(self.store.engine().applied_number(self.writer())?))
    }

    /// The source's experiments and what they are here, in the order of the source's ids.
    pub fn experiments(&self) -> impl Iterator<Item = (ExperimentId, ExperimentId)> {
        let mut all: Vec<_> = self.experiments.iter().map(|(theirs, ours)| (*theirs, *ours)).collect();
        all.sort_unstable();
        all.into_iter()
    }

    /// Applies a chunk. What it holds is on the disk when this returns.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a chunk of another source; [`Error::StorageFull`], [`Error::Io`], [`Error::Poisoned`]:
    /// what was applied before stays, and the same chunk may be given again.
    pub fn apply(&mut self, chunk: &Chunk) -> Result<Report> {
        if chunk.source != self.source.0 {
            return Err(Error::invalid("sync", "the chunk is of another store"));
        }
        let mut report = Report::default();
        let engine = self.store.engine().clone();
        let keys = chunk.keys.iter().map(|name| engine.metric_key(name)).collect::<Result<Vec<_>>>()?;
        for batch in &chunk.batches {
            if batch.through > 0 && batch.through <= self.applied()?.0 {
                continue;
            }
            self.apply_batch(batch, &keys, &mut report)?;
        }
        self.store.flush()?;
        report.through = self.applied()?.0;
        Ok(report)
    }

    fn apply_batch(&mut self, batch: &SyncBatch, keys: &[KeyId], report: &mut Report) -> Result<()> {
        let at = batch.through;
        if self.rewinds(batch, report)? {
            if at > 0 {
                self.store.append(self.batch(batch, true)?, Durability::Buffered)?;
            }
            report.batches_count += 1;
            return Ok(());
        }
        let events = loop {
            let (before, mut notes) = (self.experiments.clone(), Report::default());
            let events = self.translated(batch, &mut notes)?;
            let mut whole = self.batch(batch, true)?;
            for event in &events {
                whole.push_event(event.clone());
            }
            for points in &batch.points {
                push_points(&mut whole, points, keys);
            }
            match self.store.append(whole, Durability::Buffered) {
                Ok(_) => {
                    notes.batches_count += 1;
                    notes.events_count += events.len() as u64;
                    notes.points_count += batch.points.iter().map(|points| points.steps.len() as u64).sum::<u64>();
                    report.add(notes);
                    return Ok(());
                }
                // Somebody took the name or the number in between: look again which.
                Err(Error::AlreadyExists { entity: "experiment", .. }) => self.experiments = before,
                Err(error) if refuses(&error) => {
                    report.add(notes);
                    break events;
                }
                Err(error) => return Err(error),
            }
        };
        // Somewhere the two stores disagree: what can be taken is taken, part by part.
        for event in events {
            self.apply_event(batch, event, report)?;
        }
        for points in &batch.points {
            let mut part = self.batch(batch, false)?;
            push_points(&mut part, points, keys);
            match self.store.append(part, Durability::Buffered) {
                Ok(_) => report.points_count += points.steps.len() as u64,
                Err(error) if refuses(&error) => {
                    let run = RunId(points.run);
                    report.problem(at, format!("{} points of run {run}: {error}", points.steps.len()));
                }
                Err(error) => return Err(error),
            }
        }
        report.batches_count += 1;
        if at > 0 {
            self.store.append(self.batch(batch, true)?, Durability::Buffered)?;
        }
        Ok(())
    }

    /// The events of a batch as they are here.
    fn translated(&mut self, batch: &SyncBatch, report: &mut Report) -> Result<Vec<Event>> {
        let mut events = Vec::with_capacity(batch.events.len());
        if batch.events.is_empty() {
            return Ok(events);
        }
        let snapshot = self.store.snapshot()?;
        for bytes in &batch.events {
            match event_of(bytes)? {
                Decoded::Known(event) => self.translate(&snapshot, batch.through, event, &mut events, report)?,
                Decoded::Unknown { tag, version, .. } => {
                    let what = format!("an event of kind {tag}, version {version}, which this build does not know");
                    report.problem(batch.through, format!("{what}: left out; update this side before the next sync"));
                }
            }
        }
        Ok(events)
    }

    /// Whether the batch is a rewind, which is done here as it was done there: the event itself holds statistics of the
    /// points that were there. Done twice, after a crash, it hides nothing more.
    fn rewinds(&self, batch: &SyncBatch, report: &mut Report) -> Result<bool> {
        for bytes in &batch.events {
            let Decoded::Known(Event::RunRewound(rewound)) = event_of(bytes)? else { continue };
            match self.store.engine().rewind(rewound.run, rewound.to_step, batch.actor.as_deref()) {
                Ok(_) => report.events_count += 1,
                Err(error) if refuses(&error) => report.problem(batch.through, format!("a rewind: {error}")),
                Err(error) => return Err(error),
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// A batch in the name of who appended it at the source; with `through`, the one that says how far the source is in.
    fn batch(&self, of: &SyncBatch, through: bool) -> Result<Batch> {
        let mut batch = Batch::new().acknowledged();
        if let Some(actor) = &of.actor {
            batch = batch.actor(actor);
        }
        if through && of.through > 0 {
            let time = TimestampMs(of.time_ms);
            batch = batch.merged(Merged {
                writer: self.writer(),
                first: self.applied()?.0 + 1,
                last: of.through,
                time_first: time,
                time_last: time,
            });
        }
        Ok(batch)
    }

    fn apply_event(&self, of: &SyncBatch, event: Event, report: &mut Report) -> Result<()> {
        let at = of.through;
        match self.store.append(self.batch(of, false)?.event(event.clone()), Durability::Buffered) {
            Ok(_) => report.events_count += 1,
            Err(Error::ParamChanged { .. }) => {
                if let Event::ParamsLogged(ParamsLogged { run, params }) = event {
                    self.keep_params(of, run, params, report)?;
                }
            }
            Err(error) if refuses(&error) => report.problem(at, format!("{}: {error}", event.name())),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Params of which some are otherwise here: the others are logged, those become tags.
    fn keep_params(
        &self,
        of: &SyncBatch,
        run: RunId,
        params: Vec<(String, String)>,
        report: &mut Report,
    ) -> Result<()> {
        for (key, value) in params {
            let event = ParamsLogged { run, params: vec![(key.clone(), value.clone())] };
            match self.store.append(self.batch(of, false)?.event(event), Durability::Buffered) {
                Ok(_) => report.events_count += 1,
                Err(error @ Error::ParamChanged { .. }) => {
                    let tag = format!("{CONFLICT_TAG}{key}");
                    report.problem(of.through, format!("{error}; kept as tag `{tag}`"));
                    let event = RunTagsSet { run, tags: vec![(tag, value)] };
                    match self.store.append(self.batch(of, false)?.event(event), Durability::Buffered) {
                        Ok(_) => report.events_count += 1,
                        Err(error) if refuses(&error) => {
                            report.problem(of.through, format!("tag of run {run}: {error}"))
                        }
                        Err(error) => return Err(error),
                    }
                }
                Err(error) if refuses(&error) => report.problem(of.through, format!("param of run {run}: {error}")),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The event with this store's ids; nothing of it where this store has it already.
    fn translate(
        &mut self,
        snapshot: &Snapshot,
        at: u64,
        mut event: Event,
        out: &mut Vec<Event>,
        report: &mut Report,
    ) -> Result<()> {
        let known = match &event {
            Event::ExperimentCreated(created) => {
                return self.experiment_created(snapshot, at, created.clone(), out, report);
            }
            Event::RunCreated(created) => snapshot.run(created.run)?.is_some(),
            Event::LoggedModelCreated(created) => snapshot.logged_model(created.model)?.is_some(),
            Event::RegisteredModelCreated(created) => {
                snapshot.registered_model(&created.name)?.is_some_and(|(id, _)| id == created.model)
            }
            Event::ModelVersionCreated(created) => snapshot.model_version(created.model, created.version)?.is_some(),
            Event::RunPurged(purged) => {
                let is_here = |run: &RunState| run.lifecycle != Lifecycle::Purged;
                if snapshot.run(purged.run)?.is_some_and(|run| is_here(&run)) {
                    report.problem(at, format!("run {} was purged there; it stays here", purged.run));
                    return Ok(());
                }
                true
            }
            // Of the source's own files.
            Event::LossAccepted(_) => return Ok(()),
            _ => false,
        };
        if known {
            report.known_count += 1;
            return Ok(());
        }
        let theirs = match &mut event {
            Event::ExperimentRenamed(event) => Some(&mut event.experiment),
            Event::ExperimentTagsSet(event) => {
                // What the source notes of its own sources is not this store's.
                event.tags.retain(|(key, _)| !key.starts_with(SOURCE_TAG));
                if event.tags.is_empty() {
                    return Ok(());
                }
                Some(&mut event.experiment)
            }
            Event::ExperimentTagDeleted(event) => Some(&mut event.experiment),
            Event::ExperimentDeleted(event) => Some(&mut event.experiment),
            Event::ExperimentRestored(event) => Some(&mut event.experiment),
            Event::RunCreated(event) => Some(&mut event.experiment),
            Event::LoggedModelCreated(event) => Some(&mut event.experiment),
            _ => None,
        };
        if let Some(id) = theirs {
            let Some(ours) = self.experiments.get(id) else {
                report.problem(at, format!("an event of experiment {id}, whose creation was not sent: left out"));
                return Ok(());
            };
            *id = *ours;
        }
        out.push(event);
        Ok(())
    }

    /// This store's own experiment that the source made a copy of, whatever its name is by now.
    fn meant(
        &self,
        snapshot: &Snapshot,
        created: &ExperimentCreated,
    ) -> Result<Option<(ExperimentId, Arc<ExperimentState>)>> {
        let tag = source_tag(self.store.engine().id());
        let ids = created.tags.iter().filter(|(key, _)| *key == tag).flat_map(|(_, ids)| ids.split(','));
        for id in ids.filter_map(|id| id.parse().ok()).map(ExperimentId) {
            if let Some(state) = snapshot.experiment(id)?.filter(|state| state.lifecycle == Lifecycle::Active) {
                return Ok(Some((id, state)));
            }
        }
        Ok(None)
    }

    /// Finds or makes what an experiment of the source is here, and notes it in the log.
    fn experiment_created(
        &mut self,
        snapshot: &Snapshot,
        at: u64,
        mut created: ExperimentCreated,
        out: &mut Vec<Event>,
        report: &mut Report,
    ) -> Result<()> {
        let theirs = created.experiment;
        if self.experiments.contains_key(&theirs) {
            report.known_count += 1;
            return Ok(());
        }
        let meant = self.meant(snapshot, &created)?;
        created.tags.retain(|(key, _)| !key.starts_with(SOURCE_TAG));
        let tag = source_tag(self.source);
        let found = if meant.is_some() { meant } else { snapshot.experiment_by_name(&created.name)? };
        if let Some((ours, state)) = found {
            if state.lifecycle == Lifecycle::Active {
                let others = state.tags.iter().find(|(key, _)| *key == tag).map(|(_, ids)| format!("{ids},"));
                let ids = format!("{}{theirs}", others.unwrap_or_default());
                out.push(ExperimentTagsSet { experiment: ours, tags: vec![(tag, ids)] }.into());
                report.known_count += 1;
                self.experiments.insert(theirs, ours);
                return Ok(());
            }
            let name = format!("{} ({})", created.name, &self.source.to_string()[..8]);
            report.problem(at, format!("experiment `{}` is deleted here: theirs is now `{name}`", created.name));
            created.name = name;
        }
        let taken = |out: &[Event], id| {
            out.iter().any(|event| matches!(event, Event::ExperimentCreated(other) if other.experiment == id))
        };
        let mut ours = theirs;
        if snapshot.experiment(ours)?.is_some() || (ours.0 < SEQUENTIAL_END && taken(out, ours)) {
            ours = ExperimentSpec::next_id(snapshot)?;
            while taken(out, ours) {
                ours.0 += 1;
            }
        }
        created.experiment = ours;
        created.tags.push((tag, theirs.to_string()));
        self.experiments.insert(theirs, ours);
        out.push(created.into());
        Ok(())
    }
}

fn event_of(bytes: &[u8]) -> Result<Decoded> {
    payload::decode(bytes).map_err(|error| Error::invalid("sync chunk", format!("an event that is none: {error}")))
}

fn push_points(batch: &mut Batch, points: &SyncPoints, keys: &[KeyId]) {
    let Some(&key) = keys.get(points.key as usize) else { return };
    let context = points.metric_context();
    for ((step, time), value) in points.steps.iter().zip(&points.times).zip(&points.values) {
        let point = Point { step: *step, time: TimestampMs(*time), value: *value };
        batch.push_point_of(RunId(points.run), key, point, context.clone());
    }
}

/// Whether the store refused what it was asked, as against being unable to take anything.
fn refuses(error: &Error) -> bool {
    matches!(
        error,
        Error::Invalid { .. }
            | Error::NotFound { .. }
            | Error::AlreadyExists { .. }
            | Error::Deleted { .. }
            | Error::ParamChanged { .. }
            | Error::Purged { .. }
    )
}
