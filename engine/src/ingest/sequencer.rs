//! Work under the sequencer: one mutex, held for microseconds, under which batches get their positions.
//!
//! A prepared batch is checked against the newest state, placed in the log, and made visible in hot state, in the order
//! of positions. Slow work (validation, encoding, lookups, waits, syncs) is done outside, in [`super::pipeline`].
//!
//! Lock order: the sequencer, then one run's lock at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard, RwLock};
use rustc_hash::FxHashMap;

use super::base::Newest;
use super::batch::Unless;
use super::encode::{Late, Planned};
use super::gate::{check_gate, check_gate_merged};
use super::prepared::{Changes, OwnedDefinition, Prepared, PreparedRow, Refused};
use crate::branch::kept_key;
use crate::entity::{EntityKey, EntityState, Lifecycle, Working, apply, touches};
use crate::error::{Error, Result};
use crate::event::KeptSeries;
use crate::event::batch::{NoteKind, SectionKind, sections};
use crate::event::payload::{Decoded, decode};
use crate::hot::SectionSource;
use crate::hot::dictionary::Dictionary;
use crate::hot::entities::{HotEntities, KeyUse};
use crate::hot::points::wide::RowPlace;
use crate::hot::points::{Gate, HotRuns, RunHot, RunSeries, SectionRef};
use crate::hot::writers::HotWriters;
use crate::id::{ContextId, ExperimentId, KeyId, Lsn, Peer, RunId};
use crate::index::IndexRead;
use crate::log::{FrameBuf, Log, LogTail, Placed, Segment};
use crate::point::Stats;
use crate::time::{Clock, TimestampMs};

impl SectionSource for Segment {
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        Segment::read(self, offset, out)
    }
}

/// The end of the log, and the state that each append changes in the order of positions.
#[derive(Debug)]
pub(crate) struct Sequencer {
    pub(crate) log: Arc<Log>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) newest: Newest,
    pub(crate) runs: HotRuns,
    pub(crate) dictionary: Arc<Dictionary>,
    /// `None`: the store is closed, or not open yet.
    tail: Mutex<Option<LogTail>>,
    published: AtomicU64,
    /// Hot entity versions at most this were dropped.
    pruned: AtomicU64,
    /// Which frames of other logs this log contains, as far as the index does not have it.
    pub(crate) writers: HotWriters,
    /// Runs purged since the open. Their points are hidden at once, before index and files drop them.
    purged: RwLock<FxHashMap<RunId, Lsn>>,
}

/// A row of one run, encoded, that is about to get its position.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowToAppend<'a> {
    pub(super) row: &'a [(KeyId, f64)],
    pub(super) step: i64,
    pub(super) time: TimestampMs,
    /// The row is so late that it is refused unless it comes after all points of its series.
    pub(super) late: bool,
    /// The branch that the row was encoded for.
    pub(super) branch: u32,
    /// Offset of the values in the frame, and whether they are f32.
    pub(super) values: (u64, bool),
    /// The current time.
    pub(super) now: TimestampMs,
}

impl Sequencer {
    /// A sequencer without an appender. `published`: everything up to here is visible.
    pub(super) fn new(log: Arc<Log>, clock: Arc<dyn Clock>, index: IndexRead, published: Lsn) -> Self {
        let pruned = index.applied();
        Self {
            log,
            clock,
            newest: Newest::new(Arc::new(HotEntities::default()), index),
            runs: HotRuns::default(),
            dictionary: Arc::default(),
            tail: Mutex::default(),
            published: AtomicU64::new(published.0),
            pruned: AtomicU64::new(pruned.0),
            writers: HotWriters::default(),
            purged: RwLock::default(),
        }
    }

    /// The last position that readers see.
    pub(crate) fn published(&self) -> Lsn {
        Lsn(self.published.load(Ordering::Acquire))
    }

    /// The last position that the background may work on: durable, and complete in hot state.
    pub(crate) fn settled(&self) -> Lsn {
        // Read in this order: a batch that a sync covers may not be in hot state yet.
        let durable = self.log.durable();
        durable.min(self.published())
    }

    /// Locks the sequencer. All appends wait meanwhile: hold it for microseconds only.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Option<LogTail>> {
        self.tail.lock()
    }

    /// Sets the appender. Before this call, every append answers `Closed`.
    pub(crate) fn put_tail(&self, tail: Option<LogTail>) {
        *self.tail.lock() = tail;
    }

    /// Takes the appender away: every later append answers `Closed`.
    pub(crate) fn take_tail(&self) -> Option<LogTail> {
        self.tail.lock().take()
    }

    /// Makes everything up to this position visible, after a replay.
    pub(crate) fn set_published(&self, lsn: Lsn) {
        self.published.store(lsn.0, Ordering::Release);
    }

    /// Whether a run was purged, as seen from a position.
    pub(crate) fn is_purged(&self, run: RunId, at: Lsn) -> bool {
        self.purged_at(run).is_some_and(|purged| purged <= at)
    }

    /// The position at which a run was purged since the open; `None` if it was not.
    pub(crate) fn purged_at(&self, run: RunId) -> Option<Lsn> {
        self.purged.read().get(&run).copied()
    }

    /// Records that a run was purged at this position.
    pub(crate) fn note_purged(&self, run: RunId, at: Lsn) {
        self.purged.write().insert(run, at);
    }

    /// Drops hot entities at most `up_to`: the index has them, and no snapshot reads below.
    pub(crate) fn prune(&self, up_to: Lsn) {
        self.pruned.store(up_to.0, Ordering::Release);
        self.newest.hot.prune(up_to);
        self.writers.prune(up_to);
    }

    /// Estimated bytes of hot points and hot entities. At a quarter of the memory budget a seal is asked for.
    #[inline]
    pub(crate) fn hot_bytes(&self) -> u64 {
        (self.runs.bytes() + self.newest.hot.bytes()) as u64
    }

    /// Appends a mark if the log is idle and synced and has none yet. The mark confirms the frames before it.
    pub(crate) fn mark_idle(&self) {
        if let Some(tail) = self.lock().as_mut() {
            // Nothing depends on the mark: a failure has poisoned the log, and the next append reports a full disk.
            let _marked = tail.mark_idle(self.clock.now());
        }
    }

    /// Checks a prepared batch against the newest state. Returns what it changes if it gets this position.
    pub(crate) fn check(&self, lsn: Lsn, prepared: &Prepared) -> Result<Changes, Refused> {
        let pruned = Lsn(self.pruned.load(Ordering::Acquire));
        if !prepared.seen.still_holds(&self.newest.hot, pruned, prepared.read_at) {
            return Err(Refused::Stale);
        }
        if let Some((key, hash)) = &prepared.key
            && let Some(used) = self.newest.hot.key_use(key)
        {
            return Err(if used.request_hash == *hash {
                Refused::Repeated(used.lsn)
            } else {
                Error::KeyReused { key: String::from_utf8_lossy(key).into_owned(), lsn: used.lsn.0 }.into()
            });
        }
        if let Some(expected) = prepared.expect_head {
            let actual = self.published();
            if expected != actual {
                return Err(Error::Conflict { what: "the log".into(), expected: expected.0, actual: actual.0 }.into());
            }
        }
        if let Some(merged) = &prepared.merged
            && self
                .writers
                .last(Peer::Writer(merged.writer))
                .is_none_or(|last| last.checked_add(1) != Some(merged.first))
        {
            // Another thread merged it meanwhile, or the number is no longer in memory.
            return Err(Refused::Stale);
        }
        if let Some(note) = &prepared.store
            && note.kind != NoteKind::Again
            && self.writers.last(Peer::Store(note.store)).is_none_or(|seen| note.first <= seen)
        {
            return Err(Refused::Stale);
        }
        self.check_expected(&prepared.expect)?;
        if let Some(unless) = &prepared.unless {
            self.check_unless(unless)?;
        }
        let mut working = Working::new(&prepared.seen);
        let mut changes = Changes::default();
        for (index, event) in prepared.events.iter().enumerate() {
            apply(event, lsn, &mut working)?;
            changes.events.extend(touches(event).into_iter().map(|key| (key, index as u16)));
        }
        changes.entities = working.take_changed();
        drop(working);
        let created =
            |id: RunId| changes.entities.iter().any(|(key, _)| matches!(key, EntityKey::Run(run) if *run == id));
        for points in &prepared.points {
            // A run that this batch itself creates is still absent.
            if !(points.run.gate() == Gate::Absent && created(points.run.id)) {
                match prepared.merged.is_some() || prepared.acknowledged {
                    true => check_gate_merged(&points.run, points.branch)?,
                    false => check_gate(&points.run, points.branch)?,
                }
            } else if !self.runs.get(points.run.id).is_some_and(|run| Arc::ptr_eq(&run, &points.run)) {
                // A batch that would have created the run in another experiment came first.
                return Err(Refused::Stale);
            }
            let mut grown = 0;
            let mut series = points.run.lock();
            let before = series.series_count();
            let missing: Vec<KeyId> = points
                .planned
                .series
                .iter()
                .filter_map(|planned| series.resolve(planned.key, &mut grown).err())
                .collect();
            let all_new = prepared.looked.is_some() || are_new(&series, &points.planned, points.branch);
            changes.new_series += series.series_count() - before;
            drop(series);
            self.runs.note_grown(grown);
            if !missing.is_empty() {
                return Err(Refused::Bases(points.run.clone(), missing));
            }
            if !all_new {
                return Err(Refused::LookUp);
            }
        }
        if let Some(row) = &prepared.row {
            match prepared.merged {
                Some(_) => check_gate_merged(&row.run, row.branch)?,
                None => check_gate(&row.run, row.branch)?,
            }
            self.resolve_row(row)?;
        }
        if let Some(looked) = &prepared.looked
            && !looked.still_holds(&self.newest)?
        {
            return Err(Refused::Stale);
        }
        Ok(changes)
    }

    /// Checks that the last changes of entities are at the positions that a batch expects.
    pub(super) fn check_expected(&self, expect: &[(EntityKey, Lsn)]) -> Result<()> {
        for (key, expected) in expect {
            let actual = self.newest.get(key)?.map_or(Lsn::ZERO, |state| state.last());
            if actual != *expected {
                let what = format!("{key:?}");
                return Err(Error::Conflict { what, expected: expected.0, actual: actual.0 });
            }
        }
        Ok(())
    }

    /// Checks that nothing happened that a batch excludes. Reads the log, which nothing appends to meanwhile.
    fn check_unless(&self, unless: &Unless) -> Result<()> {
        let mut frames = self.log.read_from(unless.since.next(), self.published())?;
        while let Some(frame) = frames.next_frame()? {
            for section in sections(frame.payload).flatten().filter(|section| section.kind == SectionKind::Event as u8)
            {
                // An event that cannot be judged counts.
                let harmless = matches!(decode(section.body), Ok(Decoded::Known(event)) if !(unless.happened)(&event));
                if !harmless {
                    let what = "what the batch depends on".to_owned();
                    return Err(Error::Conflict { what, expected: unless.since.0, actual: frame.lsn.0 });
                }
            }
        }
        Ok(())
    }

    fn resolve_row(&self, row: &PreparedRow) -> Result<(), Refused> {
        let mut grown = 0;
        let mut series = row.run.lock_for_row();
        let resolved = series.resolve_row(&row.row, &mut grown);
        let is_new = !row.late || (row.branch == 0 && series.row_is_new(row.step, row.time, &mut grown));
        drop(series);
        self.runs.note_grown(grown);
        resolved.map_err(|_| Refused::Bases(row.run.clone(), row.row.iter().map(|(key, _)| *key).collect()))?;
        if is_new { Ok(()) } else { Err(Refused::LookUp) }
    }

    /// Makes a placed batch visible to readers.
    pub(crate) fn publish(&self, placed: &Placed, prepared: &Prepared, changes: Changes) -> Result<()> {
        let lsn = placed.lsn;
        debug_assert!(lsn > self.published(), "batches are published in the order of positions");
        if !prepared.definitions.is_empty() {
            let definitions: Vec<_> = prepared.definitions.iter().map(OwnedDefinition::get).collect();
            self.dictionary.published(&definitions, lsn)?;
        }
        if let Some((key, request_hash)) = &prepared.key {
            let used = KeyUse { request_hash: *request_hash, lsn, time_ms: self.clock.now().0 };
            self.newest.hot.publish_key(key, used);
        }
        if let Some(merged) = &prepared.merged {
            self.writers.publish(Peer::Writer(merged.writer), lsn, merged.last);
        }
        if let Some(note) = &prepared.store {
            self.writers.publish_note(note, lsn);
        }
        for event in &prepared.events {
            self.writers.note(event, lsn);
        }
        self.publish_entities(lsn, changes);
        for event in &prepared.events {
            if let Some((id, branch, kept)) = event.begun_branch()
                && let Some(run) = self.runs.get(id)
            {
                self.keep_series(&run, branch, kept, lsn);
            }
        }
        for points in &prepared.points {
            self.publish_points(placed, &points.run, &points.planned)?;
        }
        if let Some(row) = &prepared.row {
            self.publish_row(placed, row)?;
        }
        self.published.store(lsn.0, Ordering::Release);
        Ok(())
    }

    /// Adds the statistics of the series that a new branch continues.
    pub(crate) fn keep_series(&self, run: &RunHot, branch: u32, of_series: &[KeptSeries], lsn: Lsn) {
        let mut grown = 0;
        let mut series = run.lock();
        for kept in of_series {
            // The frame that begins the branch defines this key.
            let key = self.dictionary.key(&kept_key(&kept.key, branch));
            series.keep(key, kept.stats(), lsn, &mut grown);
        }
        drop(series);
        self.runs.note_grown(grown);
    }

    /// Publishes entity changes, opens and closes the gates of runs, and lists changed runs for search.
    pub(crate) fn publish_entities(&self, lsn: Lsn, changes: Changes) {
        if changes.is_empty() {
            return;
        }
        self.newest.hot.publish(lsn, changes.entities.iter().cloned(), changes.events);
        for (key, state) in &changes.entities {
            match (key, &**state) {
                (EntityKey::Run(id), EntityState::Run(run)) => {
                    self.runs.changed(run.experiment).add(*id);
                    if run.created == lsn {
                        self.runs.created(*id, run.experiment);
                    }
                    if run.lifecycle == Lifecycle::Purged {
                        self.note_purged(*id, lsn);
                    }
                    if run.rewinds.last().is_some_and(|rewind| rewind.lsn == lsn)
                        && let Some(hot) = self.runs.get(*id)
                    {
                        hot.set_branch(run.branch());
                    }
                    // The run's own change decides: it is later than the last change of its experiment.
                    if run.lifecycle_lsn == lsn
                        && let Some(hot) = self.runs.get(*id)
                    {
                        hot.set_gate(match run.lifecycle {
                            Lifecycle::Active => Gate::Active,
                            Lifecycle::Deleted => Gate::Deleted,
                            Lifecycle::Purged => Gate::Purged,
                        });
                    }
                }
                (EntityKey::Experiment(id), EntityState::Experiment(experiment)) if experiment.lifecycle_lsn == lsn => {
                    self.set_gates(*id, experiment.lifecycle);
                }
                _ => {}
            }
        }
    }

    fn set_gates(&self, experiment: ExperimentId, lifecycle: Lifecycle) {
        let gate = if lifecycle == Lifecycle::Active { Gate::Active } else { Gate::Deleted };
        for run in self.runs.all() {
            if run.experiment == experiment && matches!(run.gate(), Gate::Active | Gate::Deleted) {
                run.set_gate(gate);
            }
        }
    }

    /// Pushes the sections of one run to hot state.
    fn publish_points(&self, placed: &Placed, run: &RunHot, planned: &Planned) -> Result<()> {
        let mut grown = 0;
        let mut series = run.lock();
        for section in &planned.series {
            // The check found or made the slot, and nothing is evicted while the sequencer is locked.
            let Some(slot) = series.slot(section.key) else {
                return Err(self.broken("a series was gone when its points were published"));
            };
            match section.copies {
                Some((start, count)) => {
                    for point in &planned.copies[start as usize..(start + count) as usize] {
                        series.push(slot, *point, placed.lsn, planned.context, &mut grown);
                    }
                }
                None => {
                    let place = SectionRef {
                        source: placed.segment.clone(),
                        offset: placed.offset_bytes + section.offset,
                        len: section.len,
                        flags: section.flags,
                    };
                    let of = (section.stats, planned.rollups_of(section));
                    series.push_section(slot, place, of, placed.lsn, planned.context, &mut grown);
                }
            }
        }
        drop(series);
        run.note_changed();
        self.runs.note_grown(grown);
        Ok(())
    }

    fn publish_row(&self, placed: &Placed, row: &PreparedRow) -> Result<()> {
        let PreparedRow { run, step, time, context, row, values, .. } = row;
        let mut grown = 0;
        let mut series = run.lock_for_row();
        // Resolve again: in a group, rows of other keys may have been checked since. The series still exist.
        if series.resolve_row(row, &mut grown).is_err() {
            return Err(self.broken("a series was gone when a row was published"));
        }
        let place = || row_place(&placed.segment, placed.offset_bytes, *values);
        series.push_row(row, *step, *time, placed.lsn, *context, Some(place), &mut grown);
        drop(series);
        run.note_changed();
        self.runs.note_grown(grown);
        Ok(())
    }

    /// The error if a placed frame cannot be shown as it was checked, because of a bug here. Poisons the log: its
    /// content is intact, and the next open shows it.
    #[cold]
    fn broken(&self, what: &str) -> Error {
        self.log.poison(what);
        debug_assert!(false, "{what}");
        Error::Internal(what.into())
    }

    /// Appends a prepared batch and makes it visible. Also returns how many series are new in memory. After a refusal the
    /// batch is unchanged.
    pub(super) fn append(&self, prepared: &mut Prepared) -> Result<(Lsn, usize), Refused> {
        let mut guard = self.lock();
        let tail = guard.as_mut().ok_or(Refused::Failed(Error::Closed))?;
        let now = self.clock.now();
        let changes = self.check(tail.begin(now)?, prepared)?;
        let placed = tail.place(&mut prepared.frame, now)?;
        let new_series = changes.new_series;
        self.publish(&placed, prepared, changes)?;
        Ok((placed.lsn, new_series))
    }

    // ---- the hot path: points of one run, Buffered, no allocation --------------------------------------------------

    /// Appends a sealed frame with one row. Also returns how many series are new in memory.
    #[inline]
    pub(super) fn append_row(
        &self,
        run: &Arc<RunHot>,
        frame: &mut FrameBuf,
        row: &RowToAppend<'_>,
    ) -> Result<(Lsn, usize), Refused> {
        let RowToAppend { row, step, time, late, branch, values, now } = *row;
        let mut guard = self.lock();
        let tail = guard.as_mut().ok_or(Refused::Failed(Error::Closed))?;
        check_gate(run, branch)?;
        let mut grown = 0;
        let mut series = run.lock_for_row();
        let before = series.series_count();
        if series.resolve_row(row, &mut grown).is_err() {
            drop(series);
            self.runs.note_grown(grown);
            return Err(Refused::Bases(run.clone(), row.iter().map(|(key, _)| *key).collect()));
        }
        let new_series = series.series_count() - before;
        // The points that a branch continues are in other series, so the statistics do not cover them.
        if late && !(branch == 0 && series.row_is_new(step, time, &mut grown)) {
            drop(series);
            self.runs.note_grown(grown);
            return Err(Refused::LookUp);
        }
        let (lsn, offset_bytes) = match tail.place_here(frame, now) {
            Ok(placed) => placed,
            Err(error) => {
                drop(series);
                self.runs.note_grown(grown);
                return Err(error.into());
            }
        };
        let place = || row_place(tail.segment(), offset_bytes, values);
        series.push_row(row, step, time, lsn, ContextId(0), Some(place), &mut grown);
        if late {
            series.note_new_row(step, time);
        }
        drop(series);
        debug_assert!(lsn > self.published(), "rows are published in the order of positions");
        // List the run before the row is visible: a search at this position must find it on the list.
        run.note_changed();
        self.published.store(lsn.0, Ordering::Release);
        drop(guard);
        self.runs.note_grown(grown);
        Ok((lsn, new_series))
    }

    /// Appends a sealed frame with sections. Also returns how many series are new in memory.
    pub(super) fn append_points(
        &self,
        run: &Arc<RunHot>,
        frame: &mut FrameBuf,
        planned: &Planned,
        branch: u32,
        now: TimestampMs,
    ) -> Result<(Lsn, usize), Refused> {
        let mut guard = self.lock();
        let tail = guard.as_mut().ok_or(Refused::Failed(Error::Closed))?;
        check_gate(run, branch)?;
        let new_series;
        {
            let mut grown = 0;
            let mut series = run.lock();
            let before = series.series_count();
            let unresolved = planned.series.iter().any(|section| series.resolve(section.key, &mut grown).is_err());
            let all_new = unresolved || are_new(&series, planned, branch);
            new_series = series.series_count() - before;
            drop(series);
            self.runs.note_grown(grown);
            if unresolved {
                return Err(Refused::Bases(run.clone(), planned.series.iter().map(|s| s.key).collect()));
            }
            if !all_new {
                return Err(Refused::LookUp);
            }
        }
        let placed = tail.place(frame, now)?;
        self.publish_points(&placed, run, planned)?;
        self.published.store(placed.lsn.0, Ordering::Release);
        Ok((placed.lsn, new_series))
    }
}

/// The place of a row's values in the log, once its frame is placed.
fn row_place(segment: &Arc<Segment>, offset_bytes: u64, (offset, narrow): (u64, bool)) -> RowPlace {
    RowPlace { source: segment.clone(), values_offset: offset_bytes + offset, narrow }
}

/// Whether the late points of a run come after the last points of their series, so that none can be there already.
fn are_new(series: &RunSeries, planned: &Planned, branch: u32) -> bool {
    planned.series.iter().all(|section| match section.late {
        Late::No => true,
        Late::Mixed => false,
        // The points that a branch continues are in other series, so the statistics do not cover them.
        Late::Rising => {
            let Stats { first_step, first_time_ms, .. } = section.stats;
            let last = series.newest_stats(section.key).map(|stats| (stats.last_step, stats.last_time_ms));
            branch == 0 && last.is_none_or(|last| (first_step, first_time_ms) > last)
        }
    })
}
