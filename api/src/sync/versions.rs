//! Finds the present change of each field and its time, from the events of an entity in the order of the log.
//!
//! A change has a *version* (the store that decided it, and its position there) and a *stamp*: its time by that store's
//! clock, but later than the stamps of everything that it replaced there. So a change by somebody who saw another
//! change always has the later stamp, whatever the clocks say, and a clock that runs ahead affects only what it
//! touched. The stamps of other stores' changes come with them ([`Extra`]); those of a store's own are made here. Deletions
//! of experiments and of their runs replace each other, so their stamps do too (`lines`).

use rustc_hash::{FxHashMap, FxHashSet};

use super::chunk::Version;
use super::fields::{Field, fields_of};
use super::lines::{Lines, Place};
use super::origins::{Extra, Origins};
use crate::engine::checksum::fnv;
use crate::engine::entity::EntityKey;
use crate::engine::event::payload::Decoded;
use crate::{Event, Lsn, Result, Snapshot};

/// The present change of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) version: Version,
    pub(super) stamp: i64,
    /// The change before it, by another batch.
    before: Option<Version>,
}

impl Change {
    /// Changes of one field are ordered by this: the greatest one stays.
    pub(super) fn order(&self) -> (i64, Version) {
        (self.stamp, self.version)
    }
}

/// The changes of an entity, field by field.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    pub(super) fields: FxHashMap<Field, Change>,
    /// The batches that created the versions of a model.
    pub(super) births: FxHashMap<u32, Version>,
    /// Every batch that changed it.
    pub(super) versions: FxHashSet<Version>,
    /// The entity's last change that is in it.
    last: Lsn,
}

impl History {
    /// Reads the events of an entity below a position.
    fn read(snapshot: &Snapshot, key: &EntityKey, below: Lsn, origins: &Origins, lines: &mut Lines) -> Result<Self> {
        let mut history = Self::default();
        for record in snapshot.events(key)?.iter().take_while(|record| record.lsn < below) {
            let Decoded::Known(event) = &record.event else { continue };
            let version = origins.of(record.lsn, record.note.as_deref(), record.merged);
            let stamp = match &record.note {
                Some(note) => Extra::of(note).stamp(record.index, note.time.0),
                None => {
                    let least = lines.least(snapshot, event, (record.lsn, record.index))?;
                    history.next_stamp(event, record.time.0.max(least))
                }
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

/// A new event, with its version and stamp.
pub(super) type New<'a> = (&'a Event, Version, i64);

/// Cache of histories, while there are not too many.
#[derive(Debug, Default)]
pub(super) struct Histories {
    known: FxHashMap<EntityKey, History>,
    lines: Lines,
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
            let history = match is_new {
                true => History::default(),
                false => History::read(snapshot, key, below, origins, &mut self.lines)?,
            };
            self.known.insert(key.clone(), history);
        }
        Ok(self.known.entry(key.clone()).or_default())
    }

    /// The whole history of an entity, of which the snapshot has the last change at `last`.
    pub(super) fn current(
        &mut self,
        snapshot: &Snapshot,
        key: &EntityKey,
        last: Lsn,
        origins: &Origins,
    ) -> Result<&mut History> {
        // Somebody else may have changed it since.
        if self.known.get(key).is_some_and(|known| known.last != last) {
            self.known.remove(key);
        }
        let history = self.of(snapshot, key, snapshot.position().next(), origins, false)?;
        history.last = last;
        Ok(history)
    }

    /// See [`Lines::least`].
    pub(super) fn least(&mut self, snapshot: &Snapshot, event: &Event, place: Place) -> Result<i64> {
        self.lines.least(snapshot, event, place)
    }

    /// Forgets a history that may have changed.
    pub(super) fn forget(&mut self, key: &EntityKey) {
        self.known.remove(key);
    }

    /// Begins the history of an entity that is created now.
    pub(super) fn begin(&mut self, key: &EntityKey) {
        self.known.insert(key.clone(), History::default());
    }

    /// Adds an event that was appended at a position, on top of the entity's last change at `before`, if that is cached.
    pub(super) fn appended(&mut self, key: &EntityKey, before: Lsn, lsn: Lsn, (event, version, stamp): New<'_>) {
        let Some(history) = self.known.get_mut(key) else { return };
        if history.last == before || history.last == lsn {
            history.add(event, version, stamp);
            history.last = lsn;
        } else {
            self.known.remove(key);
        }
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
