//! Which store decided what a log holds, and what comes with the batches of other stores.

use rustc_hash::{FxHashMap, FxHashSet};

use super::chunk::Version;
use crate::engine::event::batch::{Merged, StoreNote};
use crate::engine::varint::Bytes;
use crate::engine::{StoreId, WriterId};
use crate::experiment::SOURCE_TAG;
use crate::wire::{Put, Take, structs};
use crate::{LocalStore, Lsn, Result, Snapshot};

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
        for (_, state) in snapshot.experiments_ever()? {
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
