//! Log to index: what was appended up to a durable position becomes rows, in one redb transaction with that position.
//!
//! Invariants: the applied position never exceeds the durable one, since derived files must not be ahead of the log
//! after a power cut. Each touched entity and series is written once a checkpoint, however often it changed. Hot
//! versions are pruned only after readers got the new index.

use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;

use crate::core::{Core, Upkeep};
use crate::entity::{EntityKey, EntityState, Lifecycle};
use crate::error::{Error, Result};
use crate::hot::points::{Evict, RunHot};
use crate::id::{Lsn, RunId, SeriesId};
use crate::index::{DictionaryEntry, IdempotencyEntry, IndexChange, IndexRead, Rows, rows};
use crate::ingest::room::SNAPSHOT_PARTS_MAX;
use crate::point::Stats;
use crate::time::TimestampMs;

/// A snapshot younger than this is never given up, however short memory is; appends wait instead.
const SNAPSHOT_GRACE_MS: u64 = 1_000;
/// Idempotency keys are kept this long.
const IDEMPOTENCY_KEPT_MS: i64 = 7 * 24 * 3_600 * 1_000;

impl Core {
    /// Applies everything durable to the index. Returns the position applied up to.
    pub(crate) fn checkpoint(&self) -> Result<Lsn> {
        self.check_writable()?;
        let mut upkeep = self.upkeep.lock();
        self.heal_index(&mut upkeep)?;
        let up_to = self.pipeline.settled();
        if up_to > self.applied() {
            let change = self.change(&upkeep, up_to);
            let rows = Rows { stats: Some(self.stats_rows(up_to)), ..Rows::default() };
            self.commit(&mut upkeep, change, rows)?;
        }
        Ok(self.applied())
    }

    /// Drops states of entities that others replaced and that no snapshot reads. Cheaper than a checkpoint, after which they
    /// would go too. Returns the estimated bytes that were freed.
    pub(crate) fn drop_replaced(&self) -> usize {
        // While it is held, no checkpoint reads versions below what is settled now.
        let _upkeep = self.upkeep.lock();
        let settled = self.pipeline.settled();
        let freed = self.pipeline.newest.hot.drop_replaced(settled, &self.pins.positions());
        self.pipeline.room.room_made();
        freed
    }

    /// The changes that bring the index to `up_to`, without the statistics of series ([`Core::stats_rows`]).
    pub(crate) fn change(&self, upkeep: &Upkeep, up_to: Lsn) -> IndexChange {
        let pipeline = &self.pipeline;
        let unapplied = pipeline.newest.hot.unapplied(self.applied(), up_to);
        let is_purged =
            |state: &EntityState| matches!(state, EntityState::Run(run) if run.lifecycle == Lifecycle::Purged);
        let purged: Vec<RunId> = unapplied
            .entities
            .iter()
            .filter_map(|(key, state)| match key {
                EntityKey::Run(id) if is_purged(state) => Some(*id),
                _ => None,
            })
            .collect();
        // Of a purged run's history only the purge itself is kept.
        let mut events = unapplied.events;
        for (key, list) in &mut events {
            if matches!(key, EntityKey::Run(id) if purged.contains(id)) {
                list.drain(..list.len().saturating_sub(1));
            }
        }
        let now = pipeline.clock.now();
        IndexChange {
            applied: up_to,
            sealed: self.sealed(),
            generation: upkeep.generation,
            entities: unapplied.entities,
            events,
            purged,
            unknown_events: upkeep.unknown.clone(),
            dictionary: pipeline
                .dictionary
                .fresh(up_to)
                .into_iter()
                .map(|fresh| DictionaryEntry { kind: u8::from(!fresh.is_key), id: fresh.id, bytes: fresh.bytes })
                .collect(),
            idempotency: unapplied
                .keys
                .into_iter()
                .map(|(key, used)| IdempotencyEntry {
                    key: key.into_vec(),
                    request: used.request_hash,
                    lsn: used.lsn,
                    time: TimestampMs(used.time_ms),
                })
                .collect(),
            writers: pipeline
                .writers
                .unapplied(self.applied(), up_to)
                .into_iter()
                .map(|(writer, lsn, number)| (writer.key(), rows::writer(number, lsn)))
                .collect(),
            idempotency_expired_before: Some(TimestampMs(now.0.saturating_sub(IDEMPOTENCY_KEPT_MS))),
            ..IndexChange::default()
        }
    }

    /// Statistics at `up_to` of the series that were logged to since the index last stored theirs, ascending. They are
    /// computed some thousand at a time while appends go on; nothing is evicted before the commit.
    pub(crate) fn stats_rows(&self, up_to: Lsn) -> Box<dyn Iterator<Item = Result<(SeriesId, Stats)>> + '_> {
        Box::new(self.pipeline.runs.all().into_iter().flat_map(move |run| {
            RunHot::touched(&run, up_to).map(move |row| row.map(|(key, stats)| (SeriesId { run: run.id, key }, stats)))
        }))
    }

    /// Commits a change, shows it to readers, and drops hot state that is no longer needed.
    pub(crate) fn commit(&self, upkeep: &mut Upkeep, change: IndexChange, rows: Rows<'_>) -> Result<()> {
        if change.applied > self.pipeline.log.durable() {
            return Err(Error::Internal(format!(
                "a checkpoint at {} is ahead of the durable log at {}",
                change.applied,
                self.pipeline.log.durable()
            )));
        }
        self.index.write_rows(&change, rows)?;
        upkeep.purges += change.purged.len() as u64;
        let read = self.index.read()?;
        self.committed(upkeep, read)
    }

    /// Shows a committed index to readers, and drops hot state that is no longer needed.
    pub(crate) fn committed(&self, upkeep: &mut Upkeep, read: IndexRead) -> Result<()> {
        let (applied, sealed) = (read.applied(), read.sealed());
        upkeep.generation = read.generation();
        upkeep.unknown.clear();
        for run in self.pipeline.runs.all() {
            run.checkpointed(applied);
        }
        self.pipeline.dictionary.forget_fresh(applied);
        self.pipeline.newest.refresh(read);
        let idle = self.sealed();
        self.applied.store(applied.0, Ordering::Release);
        self.sealed.store(sealed.0, Ordering::Release);
        self.evict(idle)
    }

    /// Drops hot state that is in the index and in files and that no snapshot needs. Series that were logged to since
    /// `idle` stay while memory is plenty; if it is short, snapshots that pin too much are given up.
    pub(crate) fn evict(&self, idle: Lsn) -> Result<()> {
        let (applied, sealed) = (self.applied(), self.sealed());
        let part = self.memory_bytes / 16;
        let pinned = self.pins.bounds(applied, sealed);
        self.evict_to(Evict { applied: pinned.0, sealed: pinned.1, idle, tight: false })?;
        if self.pipeline.runs.bytes() as u64 > 3 * part {
            self.evict_to(Evict { applied: pinned.0, sealed: pinned.1, idle: Lsn::MAX, tight: true })?;
        }
        let before_ms = self.pipeline.clock.monotonic_ms().saturating_sub(SNAPSHOT_GRACE_MS);
        if self.pipeline.hot_bytes() > SNAPSHOT_PARTS_MAX * part
            && self.pins.expire_below(applied, sealed, before_ms) > 0
        {
            self.evict_to(Evict { applied, sealed, idle: Lsn::MAX, tight: true })?;
        }
        self.pipeline.room.room_made();
        Ok(())
    }

    fn evict_to(&self, bounds: Evict) -> Result<()> {
        self.pipeline.prune(bounds.applied);
        for run in self.pipeline.runs.all() {
            // Run by run, a large one in pieces, so that appends go on in between: a fair unlock lets them.
            self.pipeline.runs.evict(&run, bounds, |work| {
                let sequencer = self.pipeline.lock();
                work();
                MutexGuard::unlock_fair(sequencer);
            })?;
        }
        Ok(())
    }
}
