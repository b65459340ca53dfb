//! The receiving side: a source's batches become this store's, each once.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::collections::hash_map::Entry;

use rustc_hash::{FxHashMap, FxHashSet};

use super::chunk::{Chunk, SyncBatch, SyncPoints, Version};
use super::decide::{Decided, Decider, Taken, fork_of, rewind_of};
use super::experiments::Experiments;
use super::fields::entity_of;
use super::lines::REPEAT_TAG;
use super::origins::{Extra, Origins};
use super::report::Report;
use super::values::last_of;
use super::versions::Histories;
use crate::engine::entity::EntityKey;
use crate::engine::event::batch::{NoteKind, StoreNote};
use crate::engine::event::{RunForked, RunPurged, SourceForgotten};
use crate::engine::{LookUp, StoreId};
use crate::{
    Batch, Durability, Error, Event, ExperimentId, KeyId, Lifecycle, LocalStore, Lsn, Point, Result, RunId, Snapshot,
    TimestampMs,
};

/// Most positions between a batch and the last one seen of its store; a larger gap is forged or damaged.
const STEP_MAX: u64 = 1 << 32;
/// How often a refused batch is decided again before it is taken event by event.
const REFUSED_MAX: usize = 3;

/// A store that takes what another one has.
///
/// ```
/// use runlode::sync::{Source, Target};
///
/// # let dir = tempfile::tempdir()?;
/// # let here = runlode::LocalStore::open(dir.path().join("here"))?;
/// # let there = runlode::LocalStore::open(dir.path().join("there"))?;
/// here.create_experiment("digits")?;
/// let mut target = Target::new(&there, here.engine().id())?;
/// let mut source = Source::new(&here, target.applied()?, there.engine().id())?;
/// while let Some(chunk) = source.next_chunk()? {
///     assert!(target.apply(&chunk)?.problems.is_empty());
/// }
/// assert!(there.snapshot()?.experiment_by_name("digits")?.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Target {
    pub(super) store: LocalStore,
    source: StoreId,
    pub(super) origins: Origins,
    experiments: Experiments,
    pub(super) histories: Histories,
    /// Experiments in which decisions about runs must be repeated: see [`super::repeat`].
    pub(super) to_repeat: BTreeSet<ExperimentId>,
}

impl Target {
    /// A target for one source.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is the same store; [`Error::Io`] or [`Error::Corrupt`] if the store cannot be read.
    ///
    /// ```
    /// use runlode::sync::Target;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let here = runlode::LocalStore::open(dir.path().join("here"))?;
    /// # let there = runlode::LocalStore::open(dir.path().join("there"))?;
    /// assert!(Target::new(&there, here.engine().id()).is_ok());
    /// assert!(Target::new(&there, there.engine().id()).is_err(), "the same store");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(store: &LocalStore, source: StoreId) -> Result<Self> {
        // What others changed keeps its authors, also where nobody is named.
        let store = &store.of_others(true);
        if store.engine().id() == source {
            return Err(Error::invalid("sync", "source and target are the same store, or copies of it"));
        }
        let snapshot = store.snapshot()?;
        let origins = Origins::new(store, &snapshot)?;
        let experiments = Experiments::new(&snapshot, store.engine().id(), source, origins.copied())?;
        let mut to_repeat = BTreeSet::new();
        for (id, state) in snapshot.experiments_ever()? {
            if state.tags.iter().any(|(key, _)| key == REPEAT_TAG) {
                to_repeat.insert(id);
            }
        }
        let (store, histories) = (store.clone(), Histories::default());
        Ok(Self { store, source, origins, experiments, histories, to_repeat })
    }

    /// The position up to which everything of the source is here.
    ///
    /// # Errors
    /// [`Error::Io`] if the index cannot be read.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let here = runlode::LocalStore::open(dir.path().join("here"))?;
    /// # let there = runlode::LocalStore::open(dir.path().join("there"))?;
    /// let target = runlode::sync::Target::new(&there, here.engine().id())?;
    /// assert_eq!(target.applied()?.0, 0, "nothing of it is here");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn applied(&self) -> Result<Lsn> {
        Ok(Lsn(self.seen(self.source)?))
    }

    fn seen(&self, store: StoreId) -> Result<u64> {
        self.origins.seen(&self.store, store)
    }

    /// The source's experiments with this store's ids, ordered by the source's ids.
    ///
    /// ```
    /// use runlode::sync::{Source, Target};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let here = runlode::LocalStore::open(dir.path().join("here"))?;
    /// # let there = runlode::LocalStore::open(dir.path().join("there"))?;
    /// let digits = here.create_experiment("digits")?;
    /// let mut target = Target::new(&there, here.engine().id())?;
    /// let mut source = Source::new(&here, target.applied()?, there.engine().id())?;
    /// while let Some(chunk) = source.next_chunk()? {
    ///     target.apply(&chunk)?;
    /// }
    /// assert!(target.experiments().any(|(id, _)| id == digits));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn experiments(&self) -> impl Iterator<Item = (ExperimentId, ExperimentId)> {
        self.experiments.all()
    }

    /// Forgets what is noted about the source: its batches are taken again. Existing data is then recognised, and
    /// points that exist exactly stay one. For a store in whose name somebody else has sent.
    ///
    /// # Errors
    /// Those of an append.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let here = runlode::LocalStore::open(dir.path().join("here"))?;
    /// # let there = runlode::LocalStore::open(dir.path().join("there"))?;
    /// let target = runlode::sync::Target::new(&there, here.engine().id())?;
    /// target.forget()?;
    /// assert_eq!(target.applied()?.0, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn forget(&self) -> Result<u64> {
        let seen = self.applied()?.0;
        if seen > 0 {
            let event = SourceForgotten { store: self.source, seen };
            self.store.of_others(false).append(Batch::new().event(event), Durability::Sync)?;
        }
        Ok(seen)
    }

    /// Applies a chunk. Its content is on the disk when this returns.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a chunk of another source, or with impossible positions; [`Error::StorageFull`],
    /// [`Error::Io`], [`Error::Poisoned`]: what was applied before stays, and the same chunk may be applied again.
    ///
    /// ```
    /// use runlode::sync::{Source, Target};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let here = runlode::LocalStore::open(dir.path().join("here"))?;
    /// # let there = runlode::LocalStore::open(dir.path().join("there"))?;
    /// let mut target = Target::new(&there, here.engine().id())?;
    /// let mut source = Source::new(&here, target.applied()?, there.engine().id())?;
    /// while let Some(chunk) = source.next_chunk()? {
    ///     target.apply(&chunk)?;
    ///     target.apply(&chunk)?; // a chunk that comes twice changes nothing
    /// }
    /// assert_eq!(target.applied()?, source.end());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn apply(&mut self, chunk: &Chunk) -> Result<Report> {
        let mut report = Report::default();
        self.apply_into(chunk, &mut report)?;
        Ok(report)
    }

    /// As [`Target::apply`]; after an error, the report says what was applied before.
    pub(super) fn apply_into(&mut self, chunk: &Chunk, report: &mut Report) -> Result<()> {
        if chunk.source != self.source.0 {
            return Err(Error::invalid("sync", "the chunk is of another store"));
        }
        let engine = self.store.engine().clone();
        let keys = chunk.keys.iter().map(|name| engine.metric_key(name)).collect::<Result<Vec<_>>>()?;
        let with = With {
            keys: &keys,
            seen: chunk.seen.iter().map(|seen| (StoreId(seen.store), seen.position)).collect(),
            births: chunk.runs.iter().map(|(run, birth)| (RunId(*run), *birth)).collect(),
        };
        self.resume()?;
        self.experiments.learn(&chunk.experiments);
        for batch in &chunk.batches {
            let store = StoreId(batch.store);
            if store == engine.id() {
                continue;
            }
            let seen = self.seen(store)?;
            if batch.last <= seen {
                continue;
            }
            check_step(store, seen, batch.last)?;
            let mut rest = Cow::Borrowed(batch);
            if batch.first <= seen {
                rest.to_mut().drop_seen(seen);
            }
            // Of joined batches each must stay with its own points, for stores that have seen only some of them. A look-up
            // may leave out points of one and not of another.
            if rest.first < rest.last && self.looks_up(&rest, &with)? {
                for part in rest.apart() {
                    let mut part = Cow::Owned(part);
                    self.leave_out_known(&mut part, &chunk.keys)?;
                    self.apply_batch(&part, &with, report)?;
                }
            } else {
                self.leave_out_known(&mut rest, &chunk.keys)?;
                self.apply_batch(&rest, &with, report)?;
            }
        }
        self.note(chunk)?;
        self.store.flush()?;
        report.through = self.applied()?.0;
        Ok(())
    }

    /// Writes to the log how much of the source is here, and which experiments were matched.
    fn note(&mut self, chunk: &Chunk) -> Result<()> {
        let mut batch = Batch::new();
        for event in self.experiments.notes(&self.store.snapshot()?)? {
            batch.push_event(event);
        }
        if !batch.is_empty() {
            self.store.append(batch.acknowledged(), Durability::Buffered)?;
        }
        let seen = self.applied()?.0;
        if chunk.through > seen {
            check_step(self.source, seen, chunk.through)?;
            let note = StoreNote {
                kind: NoteKind::Seen,
                store: self.source,
                first: seen + 1,
                last: chunk.through,
                time: TimestampMs(0),
                extra: Vec::new(),
            };
            self.store.append(Batch::new().of_store(note), Durability::Buffered)?;
        }
        Ok(())
    }

    fn apply_batch(&mut self, batch: &SyncBatch, with: &With<'_>, report: &mut Report) -> Result<()> {
        if let Some((run, to_step)) = rewind_of(batch)? {
            return self.rewind(batch, run, to_step, report);
        }
        let fork = fork_of(batch)?;
        let mut refused = 0;
        loop {
            let snapshot = self.store.snapshot()?;
            let before = (!batch.events.is_empty()).then(|| self.experiments.clone());
            let (histories, experiments) = (&mut self.histories, &mut self.experiments);
            let decider =
                Decider::new(&snapshot, self.source, &with.seen, &self.origins, histories, experiments, batch);
            let mut decided = decider.decide()?;
            self.tell_purged(batch, with, &mut decided);
            if refused >= REFUSED_MAX {
                self.leave_out(batch, &mut decided)?;
            }
            let points = self.points(&snapshot, batch, with, &mut decided)?;
            let whole = self.whole(&snapshot, batch, &decided, &points, with)?;
            let appended = match self.fork_here(&snapshot, batch, fork.as_ref(), &mut decided)? {
                Some(fork) => {
                    let forked = self.store.engine().fork_as(fork.run, fork.parent, fork.to_step, whole);
                    forked.map(|forked| forked.lsn)
                }
                None => self.store.append(whole, Durability::Buffered).map(|receipt| receipt.lsn),
            };
            match appended {
                Ok(lsn) => {
                    self.remember(&snapshot, batch, &decided, lsn)?;
                    self.to_repeat.append(&mut decided.again);
                    self.resume()?;
                    decided.report.batches_count += 1;
                    decided.report.events_count += decided.events.len() as u64;
                    let counts = points.taken.iter().map(|at| batch.points[*at].steps.len() as u64);
                    decided.report.points_count += counts.sum::<u64>();
                    report.add(decided.report);
                    return Ok(());
                }
                // Another writer changed something in between, or took a name: decide again.
                Err(error) if refuses(&error) && refused < 2 * REFUSED_MAX => {
                    if let Some(before) = before {
                        self.experiments = before;
                    }
                    decided.looked_at.iter().for_each(|key| self.histories.forget(key));
                    refused += usize::from(!matches!(error, Error::Conflict { .. }));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes the events that this store refuses, each by itself; reported.
    fn leave_out(&self, batch: &SyncBatch, decided: &mut Decided) -> Result<()> {
        let mut kept: Vec<Taken> = Vec::new();
        for taken in std::mem::take(&mut decided.events) {
            let events = kept.iter().map(|taken| &taken.event).chain([&taken.event]);
            let trial = events.fold(Batch::new().acknowledged(), |trial, event| trial.event(event.clone()));
            match self.store.engine().would_take(&trial) {
                Ok(()) => kept.push(taken),
                Err(error) if refuses(&error) => {
                    decided.report.problem(batch.last, format!("{}: {error}", taken.event.name()));
                }
                Err(error) => return Err(error),
            }
        }
        decided.events = kept;
        Ok(())
    }

    /// The points to take: those of runs that exist here.
    fn points(&self, snapshot: &Snapshot, batch: &SyncBatch, with: &With<'_>, decided: &mut Decided) -> Result<Points> {
        let mut points = Points::default();
        let mut runs: FxHashMap<RunId, Option<&'static str>> = FxHashMap::default();
        let created: FxHashSet<RunId> = decided
            .events
            .iter()
            .filter_map(|taken| match &taken.event {
                Event::RunCreated(created) => Some(created.run),
                _ => None,
            })
            .collect();
        points.look_up = self.may_come_again(batch)?;
        for (at, of_run) in batch.points.iter().enumerate() {
            let run = RunId(of_run.run);
            if let Entry::Vacant(slot) = runs.entry(run) {
                slot.insert(match snapshot.run(run)? {
                    _ if created.contains(&run) => None,
                    None => Some("is not here"),
                    Some(state) if state.lifecycle == Lifecycle::Purged => Some("was purged here"),
                    Some(_) => {
                        points.look_up |= self.is_of_two(snapshot, batch, run, with)?;
                        None
                    }
                });
            }
            match runs.get(&run).copied().flatten() {
                None => points.taken.push(at),
                Some(why) => {
                    let count = of_run.steps.len();
                    decided.report.problem(batch.last, format!("{count} points of run {run}, which {why}: left out"));
                }
            }
        }
        Ok(points)
    }

    /// The batch as it is appended.
    fn whole(
        &self,
        snapshot: &Snapshot,
        batch: &SyncBatch,
        decided: &Decided,
        points: &Points,
        with: &With<'_>,
    ) -> Result<Batch> {
        let mut extra = Extra::default();
        let mut whole = self.named(batch);
        for (place, taken) in decided.events.iter().enumerate() {
            let place = u16::try_from(place).map_err(|_| Error::invalid("sync chunk", "a batch of too many events"))?;
            if taken.stamp != batch.time_ms {
                extra.stamps.push((place, taken.stamp));
            }
            extra.replaced.extend(taken.replaced.map(|version| (place, version)));
            whole.push_event(taken.event.clone());
        }
        for points in points.taken.iter().map(|at| &batch.points[*at]) {
            push_points(&mut whole, points, with.keys)?;
        }
        if points.look_up {
            whole = whole.look_up(LookUp::All);
        }
        for key in &decided.looked_at {
            whole = whole.expect(key.clone(), last_of(snapshot, key)?);
        }
        let note = StoreNote {
            kind: NoteKind::Holds,
            store: StoreId(batch.store),
            first: batch.first,
            last: batch.last,
            time: TimestampMs(batch.time_ms),
            extra: extra.encode(),
        };
        Ok(whole.of_store(note))
    }

    /// A batch with the source's actor.
    fn named(&self, of: &SyncBatch) -> Batch {
        of.actor.as_ref().map_or_else(Batch::new, |actor| Batch::new().actor(actor))
    }

    /// Adds what was appended to the cached histories.
    fn remember(&mut self, snapshot: &Snapshot, batch: &SyncBatch, decided: &Decided, lsn: Lsn) -> Result<()> {
        let created = decided.created.iter().filter(|key| !matches!(key, EntityKey::ModelVersion(..)));
        for key in created {
            self.histories.begin(key);
        }
        for taken in &decided.events {
            if let Some(key) = entity_of(&taken.event) {
                let before = last_of(snapshot, &key)?;
                self.histories.appended(&key, before, lsn, (&taken.event, batch.version(), taken.stamp));
            }
        }
        Ok(())
    }

    /// Handles runs that the source purged before they came here. If the store that purged a run made it, nobody misses
    /// it. Otherwise a third store made it; what the source has seen of that store counts as seen here, so the run will
    /// not come from there either. That is reported, and the purge is kept in the log, so that it is reported in every
    /// store that is synced from this one.
    fn tell_purged(&self, batch: &SyncBatch, with: &With<'_>, decided: &mut Decided) {
        let (own, by) = (self.store.engine().id(), StoreId(batch.store));
        let has_others = by != self.source || with.seen.keys().any(|store| *store != own && *store != self.source);
        for run in std::mem::take(&mut decided.purged_unknown) {
            let maker = with.births.get(&run).map(|birth| StoreId(birth.store));
            if maker.map_or(!has_others, |maker| maker == by) {
                decided.report.known_count += 1;
                continue;
            }
            let made =
                maker.map_or("if another store made it".into(), |maker| format!("if store {maker}, which made it,"));
            let what = format!("run {run} was purged in store {by} before it came here, so it is not here");
            let help = format!("{made} still has it, `runlode sync --forget` of that store lets it come");
            decided.report.problem(batch.last, format!("{what}; {help}"));
            decided.events.push(Taken { event: RunPurged { run }.into(), stamp: batch.time_ms, replaced: None });
        }
    }

    /// The fork to repeat in this store, if its run is created here now: the event itself holds statistics and a position of
    /// the source.
    fn fork_here<'f>(
        &self,
        snapshot: &Snapshot,
        batch: &SyncBatch,
        fork: Option<&'f RunForked>,
        decided: &mut Decided,
    ) -> Result<Option<&'f RunForked>> {
        let creates = |fork: &&RunForked| {
            let is_it = |taken: &Taken| matches!(&taken.event, Event::RunCreated(created) if created.run == fork.run);
            decided.events.iter().any(is_it)
        };
        let Some(fork) = fork.filter(creates) else { return Ok(None) };
        if snapshot.run(fork.parent)?.is_some_and(|parent| parent.lifecycle != Lifecycle::Purged) {
            return Ok(Some(fork));
        }
        let what = format!("run {} continues run {} up to step {}", fork.run, fork.parent, fork.to_step);
        decided.report.problem(batch.last, format!("{what}, which is not here: it has its own points only"));
        Ok(None)
    }

    /// Repeats a rewind in this store, because the event itself holds statistics of the source's points.
    fn rewind(&self, batch: &SyncBatch, run: RunId, to_step: i64, report: &mut Report) -> Result<()> {
        let note = |kind| StoreNote {
            kind,
            store: StoreId(batch.store),
            first: batch.first,
            last: batch.last,
            time: TimestampMs(batch.time_ms),
            extra: Vec::new(),
        };
        match self.store.engine().rewind_as(run, to_step, self.named(batch).of_store(note(NoteKind::Holds))) {
            Ok(_) => report.events_count += 1,
            Err(error) if refuses(&error) => {
                report.problem(batch.last, format!("a rewind: {error}"));
                self.store.append(Batch::new().of_store(note(NoteKind::Seen)), Durability::Buffered)?;
            }
            Err(error) => return Err(error),
        }
        report.batches_count += 1;
        Ok(())
    }
}

/// What a chunk says about all its batches.
pub(super) struct With<'a> {
    keys: &'a [KeyId],
    /// How much the source has seen.
    seen: FxHashMap<StoreId, u64>,
    /// The batches that created the runs.
    pub(super) births: FxHashMap<RunId, Version>,
}

/// The points of a batch that are taken, by index.
#[derive(Debug, Default)]
struct Points {
    taken: Vec<usize>,
    /// They may exist here already.
    look_up: bool,
}

fn check_step(store: StoreId, seen: u64, position: u64) -> Result<()> {
    if position > seen.saturating_add(STEP_MAX) {
        let why = format!("position {position} is too far behind {seen}, the last one that was seen of that store");
        return Err(Error::invalid(format!("what is sent of store {store}"), why));
    }
    Ok(())
}

fn push_points(batch: &mut Batch, points: &SyncPoints, keys: &[KeyId]) -> Result<()> {
    let Some(&key) = keys.get(points.key as usize) else { return Ok(()) };
    let context = points.metric_context()?;
    for ((step, time), value) in points.steps.iter().zip(&points.times).zip(&points.values) {
        let point = Point { step: *step, time: TimestampMs(*time), value: *value };
        batch.push_point_of(RunId(points.run), key, point, context.clone());
    }
    Ok(())
}

/// Whether the store refused this request, as opposed to being unable to accept anything.
fn refuses(error: &Error) -> bool {
    matches!(
        error,
        Error::Invalid { .. }
            | Error::NotFound { .. }
            | Error::AlreadyExists { .. }
            | Error::Deleted { .. }
            | Error::ParamChanged { .. }
            | Error::Purged { .. }
            | Error::Conflict { .. }
    )
}
