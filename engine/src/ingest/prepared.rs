//! A batch that was prepared outside any lock: encoded, with what it was validated against; and why it may get no place.

use std::sync::Arc;

use super::base::Seen;
use super::encode::{Late, Planned};
use super::late::Looked;
use crate::entity::{EntityKey, EntityState};
use crate::error::Error;
use crate::event::Event;
use crate::event::batch::{Definition, Merged, StoreNote};
use crate::hot::dictionary::Reservation;
use crate::hot::points::RunHot;
use crate::id::{ContextId, KeyId, Lsn};
use crate::log::FrameBuf;
use crate::time::TimestampMs;

/// Points of one run, encoded.
#[derive(Debug)]
pub(crate) struct RunPoints {
    pub(crate) run: Arc<RunHot>,
    /// The branch that they were encoded for.
    pub(crate) branch: u32,
    pub(crate) planned: Planned,
}

/// A batch that was validated and encoded, and waits for its place.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    pub(crate) frame: FrameBuf,
    pub(crate) points: Vec<RunPoints>,
    pub(crate) row: Option<PreparedRow>,
    pub(super) events: Vec<Event>,
    pub(super) seen: Seen,
    pub(super) read_at: Lsn,
    pub(crate) definitions: Vec<OwnedDefinition>,
    pub(super) key: Option<(Vec<u8>, u64)>,
    /// The frames of another log that it holds; points of deleted runs are welcome then.
    pub(crate) merged: Option<Merged>,
    /// The batches of another store that it is of.
    pub(super) store: Option<StoreNote>,
    /// Points of deleted runs are welcome, as they are in merged frames.
    pub(super) acknowledged: bool,
    pub(super) expect_head: Option<Lsn>,
    pub(super) expect: Vec<(EntityKey, Lsn)>,
    /// Its late points were looked up.
    pub(crate) looked: Option<Looked>,
    /// The new keys and contexts of its points: known for good once it is published.
    pub(super) reserved: Option<Reservation>,
}

impl Prepared {
    /// The keys it was validated against.
    pub(crate) fn read_keys(&self) -> impl Iterator<Item = &EntityKey> {
        self.seen.keys()
    }

    /// Whether it expects a position, which a batch before it in a group would move.
    pub(crate) fn has_expectation(&self) -> bool {
        self.expect_head.is_some() || !self.expect.is_empty()
    }

    /// Whether it has points of a series.
    pub(crate) fn has_points(&self) -> bool {
        !self.points.is_empty() || self.row.is_some()
    }

    /// Whether what it may do depends on the points of batches before it.
    pub(crate) fn has_late_points(&self) -> bool {
        let is_late = |points: &RunPoints| points.planned.series.iter().any(|series| series.late != Late::No);
        self.points.iter().any(is_late) || self.row.as_ref().is_some_and(|row| row.late)
    }

    /// Its idempotency key.
    pub(crate) fn idempotency_key(&self) -> Option<&[u8]> {
        self.key.as_ref().map(|(key, _)| key.as_slice())
    }
}

/// One step of a run with many keys.
#[derive(Debug)]
pub(crate) struct PreparedRow {
    pub(crate) run: Arc<RunHot>,
    /// The branch that it was encoded for.
    pub(crate) branch: u32,
    pub(crate) step: i64,
    pub(crate) time: TimestampMs,
    /// It comes so long after its time that its points may be there already.
    pub(crate) late: bool,
    pub(crate) context: ContextId,
    pub(crate) row: Vec<(KeyId, f64)>,
    /// Where the values are in the frame, and whether they are f32.
    pub(crate) values: (u64, bool),
}

#[derive(Debug)]
pub(crate) enum OwnedDefinition {
    Key(KeyId, Box<str>),
    Context(ContextId, Vec<u8>),
}

impl OwnedDefinition {
    pub(crate) fn of(definition: &Definition<'_>) -> Self {
        match definition {
            Definition::Key(id, name) => Self::Key(*id, (*name).into()),
            Definition::Context(id, bytes) => Self::Context(*id, bytes.to_vec()),
        }
    }

    pub(crate) fn get(&self) -> Definition<'_> {
        match self {
            Self::Key(id, name) => Definition::Key(*id, name),
            Self::Context(id, bytes) => Definition::Context(*id, bytes),
        }
    }
}

/// Why a prepared batch got no place.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Something that it was validated against has changed: prepare it anew.
    Stale,
    /// These series of a run must be looked up in the index first.
    Bases(Arc<RunHot>, Vec<KeyId>),
    /// Late points are to be looked up first: they may be there already.
    LookUp,
    /// The idempotency key is in the log.
    Repeated(Lsn),
    /// There is nothing in it but late points, and all are there at this position.
    There(Lsn),
    /// An error.
    Failed(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What a batch does to entities.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) entities: Vec<(EntityKey, Arc<EntityState>)>,
    pub(crate) events: Vec<(EntityKey, u16)>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.entities.is_empty() && self.events.is_empty()
    }
}
