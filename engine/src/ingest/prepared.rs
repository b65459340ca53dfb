//! A batch that was prepared outside any lock: encoded, with the entities it was validated against; and why it may be
//! refused.

use std::sync::Arc;

use super::base::Seen;
use super::batch::Unless;
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

/// Encoded points of one run.
#[derive(Debug)]
pub(crate) struct RunPoints {
    pub(crate) run: Arc<RunHot>,
    /// The branch that the points were encoded for.
    pub(crate) branch: u32,
    pub(crate) planned: Planned,
}

/// A batch that was validated and encoded, and waits for its position.
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
    /// The frames of another log that the batch holds. Deleted runs accept points of merged frames.
    pub(crate) merged: Option<Merged>,
    /// The batches of another store that this batch comes from.
    pub(super) store: Option<StoreNote>,
    /// Whether deleted runs accept its points, as they accept merged frames.
    pub(super) acknowledged: bool,
    pub(super) expect_head: Option<Lsn>,
    pub(super) expect: Vec<(EntityKey, Lsn)>,
    pub(super) unless: Option<Unless>,
    /// The result of looking its late points up; `None` if they were not looked up.
    pub(crate) looked: Option<Looked>,
    /// The new keys and contexts of its points. Their numbers are final once the batch is published.
    pub(super) reserved: Option<Reservation>,
}

impl Prepared {
    /// Keys of the entities that the batch was validated against.
    pub(crate) fn read_keys(&self) -> impl Iterator<Item = &EntityKey> {
        self.seen.keys()
    }

    /// Whether the batch expects a position that an earlier batch of its group would change.
    pub(crate) fn has_expectation(&self) -> bool {
        self.expect_head.is_some() || !self.expect.is_empty() || self.unless.is_some()
    }

    /// Whether the batch has points.
    pub(crate) fn has_points(&self) -> bool {
        !self.points.is_empty() || self.row.is_some()
    }

    /// Whether its late points must be compared with the points of earlier batches in its group.
    pub(crate) fn has_late_points(&self) -> bool {
        let is_late = |points: &RunPoints| points.planned.series.iter().any(|series| series.late != Late::No);
        self.points.iter().any(is_late) || self.row.as_ref().is_some_and(|row| row.late)
    }

    /// The idempotency key; `None` if it has none.
    pub(crate) fn idempotency_key(&self) -> Option<&[u8]> {
        self.key.as_ref().map(|(key, _)| key.as_slice())
    }
}

/// One step of a run with many keys.
#[derive(Debug)]
pub(crate) struct PreparedRow {
    pub(crate) run: Arc<RunHot>,
    /// The branch that the row was encoded for.
    pub(crate) branch: u32,
    pub(crate) step: i64,
    pub(crate) time: TimestampMs,
    /// Whether the row is so late that its points may be there already.
    pub(crate) late: bool,
    pub(crate) context: ContextId,
    pub(crate) row: Vec<(KeyId, f64)>,
    /// Offset of the values in the frame, and whether they are f32.
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

/// Why a prepared batch got no position.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Something changed that the batch was validated against: prepare it again.
    Stale,
    /// The index must first be read for these series of a run.
    Bases(Arc<RunHot>, Vec<KeyId>),
    /// Late points must first be looked up: they may be there already.
    LookUp,
    /// The idempotency key was used by the batch at this position.
    Repeated(Lsn),
    /// The batch has only late points, and all are there already at this position.
    There(Lsn),
    /// The batch is refused for good.
    Failed(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The changes that a batch makes to entities, and how much its check added to memory.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) entities: Vec<(EntityKey, Arc<EntityState>)>,
    pub(crate) events: Vec<(EntityKey, u16)>,
    /// Number of series that the check made.
    pub(crate) new_series: usize,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.entities.is_empty() && self.events.is_empty()
    }
}
