//! Finds the present change of each field and its time, from the events of an entity in the order of the log.
//!
//! A change has a *version* (the store that decided it, and its position there) and a *stamp*: its time by that store's
//! clock, but later than the stamps of everything that it replaced there. So a change by somebody who saw another
//! change always has the later stamp, whatever the clocks say, and a clock that runs ahead affects only what it
//! touched. The stamps of other stores' changes come with them ([`Extra`]); those of a store's own are made here.

use rustc_hash::{FxHashMap, FxHashSet};

use super::chunk::Version;
use super::fields::{Field, fields_of};
use crate::engine::checksum::fnv;
use crate::engine::entity::EntityKey;
use crate::engine::event::batch::{Merged, StoreNote};
use crate::engine::event::payload::Decoded;
use crate::engine::varint::Bytes;
use crate::engine::{StoreId, WriterId};
use crate::experiment::SOURCE_TAG;
use crate::wire::{Put, Take, structs};
use crate::{Event, LocalStore, Lsn, Result, Snapshot};

/// What a batch of another store carries beside its origin, in [`StoreNote::extra`]. Usually empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Extra {
    /// By index of the event: its stamp, if that is not the batch's time.
    pub(super) stamps: Vec<(u16, i64)>,
    /// By index of the event: what a decision of the registry replaced.
    pub(super) replaced: Vec<(u16, Version)>,
}

structs! {
    Extra { stamps, replaced }
}

impl Extra {
    pub(super) fn of(note: &StoreNote) -> Self {
        Self::read(&note.extra)
    }

    /// Bytes of another form were written by a later build: they are ignored.
    pub(super) fn read(bytes: &[u8]) -> Self {
        Self::take(&mut Bytes::new(bytes)).unwrap_or_default()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if *self != Self::default() {
            self.put(&mut out);
        }
        out
    }

    pub(super) fn stamp(&self, place: u16, time: i64) -> i64 {
        self.stamps.iter().find(|(at, _)| *at == place).map_or(time, |(_, stamp)| *stamp)
    }

    pub(super) fn replaced(&self, place: u16) -> Option<Version> {
        self.replaced.iter().find(|(at, _)| *at == place).map(|(_, version)| *version)
    }
}

/// Says which store decided what a log holds.
#[derive(Debug, Clone)]
pub(super) struct Origins {
    own: StoreId,
    copied: Vec<(StoreId, Lsn)>,
    /// Stores that batches came from before there were notes.
    legacy: FxHashSet<StoreId>,
}

impl Origins {
    pub(super) fn new(store: &LocalStore, snapshot: &Snapshot) -> Result<Self> {
        let mut legacy = FxHashSet::default();
        for (_, state) in snapshot.experiments()? {
            let ids = state.tags.iter().filter_map(|(key, _)| key.strip_prefix(SOURCE_TAG)?.parse::<StoreId>().ok());
            legacy.extend(ids);
        }
        let engine = store.engine();
        Ok(Self { own: engine.id(), copied: engine.copied_from()?, legacy })
    }

    /// The store that decided the batch at a position without a note.
    pub(super) fn unnoted(&self, lsn: Lsn) -> StoreId {
        self.copied.iter().find(|(_, to)| lsn <= *to).map_or(self.own, |(store, _)| *store)
    }

    pub(super) fn of(&self, lsn: Lsn, note: Option<&StoreNote>, merged: Option<Merged>) -> Version {
        let version = |store: StoreId, position| Version { store: store.0, position };
        if let Some(note) = note {
            return version(note.store, note.last);
        }
        if let Some(merged) = merged.filter(|merged| self.legacy.contains(&StoreId(merged.writer.0))) {
            return version(StoreId(merged.writer.0), merged.last);
        }
        version(self.unnoted(lsn), lsn.0)
    }

    /// Stores that this store's log was copied from.
    pub(super) fn copied(&self) -> &[(StoreId, Lsn)] {
        &self.copied
    }

    /// The position up to which a store's batches are seen.
    pub(super) fn seen(&self, store: &LocalStore, other: StoreId) -> Result<u64> {
        let engine = store.engine();
        let seen = engine.seen(other)?;
        if self.legacy.contains(&other) && engine.forgotten(other)? == 0 {
            return Ok(seen.max(engine.applied_number(WriterId(other.0))?));
        }
        Ok(seen)
    }

    /// How much is seen of every store.
    pub(super) fn seen_all(&self, store: &LocalStore) -> Result<FxHashMap<StoreId, u64>> {
        let mut all: FxHashMap<StoreId, u64> = store.engine().seen_stores()?.into_iter().collect();
        for other in &self.legacy {
            let seen = self.seen(store, *other)?;
            if seen > 0 {
                all.insert(*other, seen);
            }
        }
        Ok(all)
    }
}

/// The present change of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) version: Version,
    pub(super) stamp: i64,
    /// The change before it, by another batch.
    before: Option<Version>,
}

/// The changes of an entity, field by field.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    pub(super) fields: FxHashMap<Field, Change>,
    /// The batches that created the versions of a model.
    pub(super) births: FxHashMap<u32, Version>,
    /// Every batch that changed it.
    pub(super) versions: FxHashSet<Version>,
}

impl History {
    /// Reads the events of an entity below a position.
    pub(super) fn read(snapshot: &Snapshot, key: &EntityKey, below: Lsn, origins: &Origins) -> Result<Self> {
        let mut history = Self::default();
        for record in snapshot.events(key)?.iter().take_while(|record| record.lsn < below) {
            let Decoded::Known(event) = &record.event else { continue };
            let version = origins.of(record.lsn, record.note.as_deref(), record.merged);
            let stamp = match &record.note {
                Some(note) => Extra::of(note).stamp(record.index, note.time.0),
                None => history.next_stamp(event, record.time.0),
            };
            history.add(event, version, stamp);
        }
        Ok(history)
    }

    /// The stamp of a change that is made now, on top of these.
    pub(super) fn next_stamp(&self, event: &Event, time: i64) -> i64 {
        let before =
            fields_of(event).iter().filter_map(|field| self.fields.get(field)).map(|change| change.stamp).max();
        before.map_or(time, |before| time.max(before.saturating_add(1)))
    }

    /// The change of a field before a batch.
    pub(super) fn decided_before(&self, field: &Field, batch: Version) -> Option<Version> {
        let change = self.fields.get(field)?;
        if change.version == batch { change.before } else { Some(change.version) }
    }

    pub(super) fn add(&mut self, event: &Event, version: Version, stamp: i64) {
        self.versions.insert(version);
        for field in fields_of(event) {
            let before = self.decided_before(&field, version);
            self.fields.insert(field, Change { version, stamp, before });
        }
        if let Event::ModelVersionCreated(created) = event {
            self.births.insert(created.version, version);
        }
    }
}

/// Cache of histories, while there are not too many.
#[derive(Debug, Default)]
pub(super) struct Histories {
    known: FxHashMap<EntityKey, History>,
}

/// This many entities may take some tens of MiB.
const HISTORIES_MAX: usize = 20_000;

impl Histories {
    /// The history of an entity below a position; `is_new`: it has none, so the index need not be read.
    pub(super) fn of(
        &mut self,
        snapshot: &Snapshot,
        key: &EntityKey,
        below: Lsn,
        origins: &Origins,
        is_new: bool,
    ) -> Result<&mut History> {
        if self.known.len() >= HISTORIES_MAX && !self.known.contains_key(key) {
            self.known.clear();
        }
        if !self.known.contains_key(key) {
            let history = if is_new { History::default() } else { History::read(snapshot, key, below, origins)? };
            self.known.insert(key.clone(), history);
        }
        Ok(self.known.entry(key.clone()).or_default())
    }

    /// Forgets a history that may have changed.
    pub(super) fn forget(&mut self, key: &EntityKey) {
        self.known.remove(key);
    }

    /// Begins the history of an entity that is created now.
    pub(super) fn begin(&mut self, key: &EntityKey) {
        self.known.insert(key.clone(), History::default());
    }

    /// A cached history.
    pub(super) fn known(&mut self, key: &EntityKey) -> Option<&mut History> {
        self.known.get_mut(key)
    }
}

/// Identifies the content of a model version: two versions created separately may have the same number, but not the
/// same content.
pub(super) fn print_of(snapshot: &Snapshot, key: &EntityKey) -> Result<Option<u64>> {
    let EntityKey::ModelVersion(model, version) = key else { return Ok(None) };
    let Some(state) = snapshot.model_version(*model, *version)? else { return Ok(None) };
    Ok(Some(print(&state.source, state.run_id.as_deref(), state.model_id.as_deref(), state.creation_time_ms)))
}

pub(super) fn print(source: &str, run: Option<&str>, model: Option<&str>, created_ms: i64) -> u64 {
    // It is sent to other stores, so it must never change.
    let texts = [source.as_bytes(), run.unwrap_or("").as_bytes(), model.unwrap_or("").as_bytes()];
    let created = created_ms.to_le_bytes();
    fnv(texts.into_iter().chain([&created[..]]).flat_map(|part| part.iter().copied().chain([0xff])))
}
