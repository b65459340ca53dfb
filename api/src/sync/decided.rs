//! What is decided about a batch: the events that this store appends, and what was looked at for it.

use std::collections::BTreeSet;

use rustc_hash::FxHashSet;

use super::chunk::Version;
use super::report::Report;
use crate::engine::entity::EntityKey;
use crate::{Event, RunId};

/// An event as it is appended to this store.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub(super) event: Event,
    pub(super) stamp: i64,
    pub(super) replaced: Option<Version>,
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
    /// Own decisions that are taken again in a batch of their own after this one: see `Decider::later_of_runs`.
    pub(super) again: Vec<(RunId, Event)>,
}
