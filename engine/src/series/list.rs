//! The chunks of one series, in all files.

use std::sync::Arc;

use super::entry::ChunkEntry;
use super::read::SeriesFile;
use crate::id::Lsn;

/// A chunk and its file.
#[derive(Debug, Clone)]
pub struct ChunkRef {
    /// The file.
    pub file: Arc<SeriesFile>,
    /// The chunk.
    pub entry: ChunkEntry,
    /// Points with a step above this belong to a dead branch only: readers do not see them.
    pub step_bound: i64,
    /// Points above this position were logged after the run was forked: readers of the fork do not see them.
    pub lsn_bound: Lsn,
}

impl ChunkRef {
    /// A whole chunk.
    pub fn new(file: Arc<SeriesFile>, entry: ChunkEntry) -> Self {
        Self { file, entry, step_bound: i64::MAX, lsn_bound: Lsn::MAX }
    }

    /// The part of a chunk up to a step; `None` if it has no such points.
    #[must_use]
    pub fn up_to_step(&self, bound: i64) -> Option<Self> {
        let step_bound = self.step_bound.min(bound);
        (self.entry.step_first <= step_bound).then(|| Self { step_bound, ..self.clone() })
    }

    /// The part of a chunk that a fork shares: up to a position, and up to a step.
    #[must_use]
    pub fn up_to(&self, lsn: Lsn, step: i64) -> Option<Self> {
        let lsn_bound = self.lsn_bound.min(lsn);
        let part = self.up_to_step(step)?;
        (part.entry.lsn_min <= lsn_bound.0).then_some(Self { lsn_bound, ..part })
    }

    /// An upper bound for the steps of visible points.
    pub(crate) fn step_last(&self) -> i64 {
        self.entry.step_last.min(self.step_bound)
    }
}

/// The chunks of one series, sorted by their first points. Immutable: make it once, share it, keep it.
#[derive(Debug, Default)]
pub struct ChunkList {
    refs: Vec<ChunkRef>,
    /// Whether no two chunks share a step. Their last steps then ascend as well, so a range is found by bisection.
    disjoint: bool,
}

impl ChunkList {
    /// A list of chunks given in any order.
    pub fn new(mut refs: Vec<ChunkRef>) -> Self {
        refs.sort_by_key(|r| {
            let entry = &r.entry;
            (entry.step_first, entry.time_first_ms, r.step_last(), entry.lsn_min, r.file.file_id(), entry.offset)
        });
        let disjoint = refs.iter().zip(refs.iter().skip(1)).all(|(a, b)| a.step_last() < b.entry.step_first);
        Self { refs, disjoint }
    }

    /// The chunks, by first step and its time.
    pub fn refs(&self) -> &[ChunkRef] {
        &self.refs
    }

    /// Chunks that may hold points with these steps.
    pub(crate) fn with_steps(&self, (first, last): (i64, i64)) -> &[ChunkRef] {
        let end = self.refs.partition_point(|r| r.entry.step_first <= last);
        let start = if self.disjoint { self.refs.partition_point(|r| r.step_last() < first) } else { 0 };
        self.refs.get(start..end.max(start)).unwrap_or_default()
    }
}
