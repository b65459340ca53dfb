//! What is decided about a batch: the events that this store appends, and what was looked at for it.

use std::collections::BTreeSet;

use rustc_hash::FxHashSet;

use super::chunk::Version;
use super::report::Report;
use crate::engine::entity::EntityKey;
use crate::{Event, ExperimentId, RunId};

/// An event as it is appended to this store.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub(super) event: Event,
    pub(super) stamp: i64,
    pub(super) replaced: Option<Version>,
}

/// An event that this log has, and that must come again after a later batch.
#[derive(Debug, Clone)]
pub(super) struct Repeat {
    pub(super) run: RunId,
    pub(super) experiment: ExperimentId,
    pub(super) event: Event,
    /// Which batch it is of, and its stamp there.
    pub(super) version: Version,
    pub(super) stamp: i64,
}

/// The result for a batch.
#[derive(Debug, Default)]
pub(super) struct Decided {
    pub(super) events: Vec<Taken>,
    /// Every entity that was looked at. If one changes before the append, the batch is decided again.
    pub(super) looked_at: BTreeSet<EntityKey>,
    pub(super) report: Report,
    /// Entities that the batch creates.
    pub(super) created: FxHashSet<EntityKey>,
    /// Runs that the source purged, and that never came here.
    pub(super) purged_unknown: Vec<RunId>,
    /// Events that must be repeated after this batch: see `Decider::later_of_runs`.
    pub(super) again: Vec<Repeat>,
}
