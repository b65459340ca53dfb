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
    /// Experiments in which decisions about runs must be repeated after this batch: see [`super::repeat`].
    pub(super) again: BTreeSet<ExperimentId>,
}
