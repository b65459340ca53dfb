//! What verification compares the replayed state with.

use std::sync::Arc;

use crate::entity::{EntityKey, EntityState};
use crate::error::Result;
use crate::id::{ExperimentId, RunId, SeriesId};
use crate::index::IndexRead;
use crate::point::Stats;
use crate::query::snapshot::Snapshot;

/// The store's answers, or the index on disk alone.
pub(super) enum Answers<'a> {
    Store(&'a Snapshot),
    Index(&'a IndexRead),
}

impl Answers<'_> {
    pub(super) fn index(&self) -> &IndexRead {
        match self {
            Self::Store(snapshot) => &snapshot.index,
            Self::Index(index) => index,
        }
    }

    pub(super) fn entity(&self, key: &EntityKey) -> Result<Option<Arc<EntityState>>> {
        match self {
            Self::Store(snapshot) => snapshot.entity(key),
            Self::Index(index) => index.entity(key),
        }
    }

    pub(super) fn runs_of(&self, experiment: ExperimentId) -> Result<Vec<RunId>> {
        match self {
            Self::Store(snapshot) => snapshot.runs_of(experiment),
            Self::Index(index) => {
                let mut runs = index.runs_of(experiment)?;
                runs.sort_unstable();
                Ok(runs)
            }
        }
    }

    pub(super) fn stats(&self, series: SeriesId) -> Result<Option<Stats>> {
        match self {
            Self::Store(snapshot) => snapshot.physical_stats(series),
            Self::Index(index) => index.stats(series),
        }
    }
}
