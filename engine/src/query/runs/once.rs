//! A search by columns that are made for it alone.
//!
//! A command opens a store, searches once and ends. To make all columns for that, every key of every run would be read and
//! kept; a query reads a few of them. So the first searches of a store that is open for reading, by its index, make just
//! their own columns, unless `search.snap` has all. Later ones make all columns: who searches again will go on. A query of
//! a param or tag that has no column, because its texts are too long to be kept, is answered like this too.

use std::sync::Arc;

use crate::entity::ExperimentState;
use crate::error::Result;
use crate::id::ExperimentId;
use crate::index::WantedStats;
use crate::query::snapshot::Snapshot;
use crate::search::only::Only;
use crate::search::request::{SearchPage, SearchQuery};
use crate::search::row::Source;
use crate::search::scan::search;
use crate::search::table::Projection;

/// So many searches of an open store make columns of their own.
const SEARCHES: u64 = 2;

impl Snapshot {
    /// The answer to a query by its own columns; `None` if all columns are to be made. `experiments` are those of the query
    /// that exist.
    pub(super) fn search_once(
        &self,
        query: &SearchQuery,
        experiments: &[(ExperimentId, Arc<ExperimentState>)],
        source: &dyn Source,
    ) -> Result<Option<SearchPage>> {
        let core = &self.core;
        let many = experiments.iter().any(|(experiment, _)| self.has_saved(*experiment));
        if !core.read_only || !core.from_index || many || core.projections.count_once() >= SEARCHES {
            return Ok(None);
        }
        self.search_own(query, experiments, source).map(Some)
    }

    /// The answer to a query by columns that are made for it alone.
    pub(super) fn search_own(
        &self,
        query: &SearchQuery,
        experiments: &[(ExperimentId, Arc<ExperimentState>)],
        source: &dyn Source,
    ) -> Result<SearchPage> {
        let core = &self.core;
        // What is above this snapshot's index stays in memory while the snapshot is held.
        let points = core.pipeline.runs.all();
        let only = Only::of(query);
        let mut projections = Vec::with_capacity(experiments.len());
        for (experiment, state) in experiments {
            let mut projection = Projection::of_query(*experiment, query, source)?;
            self.read_only_asked(state, &only, &mut projection)?;
            let mut changed = core.pipeline.newest.hot.runs_of(*experiment);
            changed.extend(points.iter().map(|run| run.id));
            changed.iter().try_for_each(|run| self.upsert(state, *run, &mut projection))?;
            projection.prepare_texts(query);
            projections.push(projection);
        }
        self.check()?;
        search(query, &projections.iter().collect::<Vec<_>>(), source)
    }

    /// Reads the runs of an experiment from the index.
    fn read_only_asked(&self, state: &ExperimentState, only: &Only, projection: &mut Projection) -> Result<()> {
        let dictionary = &self.core.pipeline.dictionary;
        let metrics = projection.asked_metrics().unwrap_or_default();
        let mut ids = self.index.runs_of(projection.experiment())?;
        ids.sort_unstable();
        if !dictionary.has_branches() {
            return self.index.for_each_run_in(&ids, WantedStats::Of(&metrics), |at, row, stats| {
                projection.insert_only(ids[at], row, state, stats, only)
            });
        }
        // A branch of a run has its series under keys of its own.
        let wanted = if metrics.is_empty() { WantedStats::Of(&[]) } else { WantedStats::All };
        self.index.for_each_run_in(&ids, wanted, |at, row, stats| {
            let stats = dictionary.stats_of_branch(row.branch(), stats.to_vec());
            projection.insert_only(ids[at], row, state, &stats, only)
        })
    }
}

#[cfg(test)]
mod tests;
