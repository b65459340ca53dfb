//! Search projections, one per experiment: built at the first search, brought up to the snapshot's position at each.
//!
//! Appends put changed runs on their experiment's list before they publish. A search takes the list, reads those runs
//! at its snapshot, and puts back the runs that may have changed after it. So a projection is exactly at the position
//! of the youngest snapshot that searched it; an older snapshot is answered row by row. [`super::base`] says how a
//! projection is built, [`super::save`] when it is saved, [`super::walk`] and [`super::once`] which searches need none.

use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard};
use rustc_hash::FxHashSet;

use crate::entity::{ExperimentState, Lifecycle, RunState};
use crate::error::{Error, Result};
use crate::id::{ExperimentId, KeyId, RunId};
use crate::point::Stats;
use crate::query::snapshot::Snapshot;
use crate::search::live::Standing;
use crate::search::reference::search_rows;
use crate::search::request::{SearchPage, SearchQuery};
use crate::search::row::{RunRow, Source};
use crate::search::scan::search;
use crate::search::table::Projection;

/// Params and tags may take this part of what projections may, however large the rest is: otherwise a very large
/// experiment would have none, and each filter of a param would read all runs.
const TEXTS_LEAST_PART: u64 = 4;

/// The owned parts from which a [`RunRow`] is made.
type OwnedRow = (RunId, Arc<RunState>, Lifecycle, Vec<(KeyId, Stats)>);

impl Source for Snapshot {
    fn metric_key(&self, name: &str) -> Result<Option<KeyId>> {
        Ok(self.metric(name))
    }

    fn stats(&self, run: RunId, key: KeyId) -> Result<Option<Stats>> {
        self.stats_of_series(&self.live_series(run, key, self.position)?)
    }

    fn artifact_uri(&self, experiment: ExperimentId, run: RunId, explicit: Option<&str>) -> String {
        explicit.map_or_else(|| format!("artifacts/{experiment}/{run}/artifacts"), str::to_owned)
    }
}

/// Renders the artifact location of a run of an experiment. The text is the run's explicit location, if it has one.
pub type RenderPlace<'a> = dyn Fn(ExperimentId, RunId, Option<&str>) -> String + 'a;

/// A snapshot whose artifact locations a given function renders.
struct Rendered<'a>(&'a Snapshot, &'a RenderPlace<'a>);

impl Source for Rendered<'_> {
    fn metric_key(&self, name: &str) -> Result<Option<KeyId>> {
        self.0.metric_key(name)
    }

    fn stats(&self, run: RunId, key: KeyId) -> Result<Option<Stats>> {
        Source::stats(self.0, run, key)
    }

    fn artifact_uri(&self, experiment: ExperimentId, run: RunId, explicit: Option<&str>) -> String {
        (self.1)(experiment, run, explicit)
    }
}

impl Snapshot {
    /// The runs that match, in order, a page at a time.
    ///
    /// # Errors
    /// `Invalid` for a query that cannot be answered: no limit, a token of another query, a filter nested too deep.
    pub fn search(&self, query: &SearchQuery) -> Result<SearchPage> {
        self.search_from(query, self)
    }

    /// As [`Snapshot::search`], with artifact locations rendered by `place`.
    ///
    /// # Errors
    /// Those of [`Snapshot::search`].
    pub fn search_with(&self, query: &SearchQuery, place: &RenderPlace<'_>) -> Result<SearchPage> {
        self.search_from(query, &Rendered(self, place))
    }

    fn search_from(&self, query: &SearchQuery, source: &dyn Source) -> Result<SearchPage> {
        query.check()?;
        let mut experiments = query.experiments.clone();
        // All threads that lock several projections use the same order.
        experiments.sort_unstable();
        experiments.dedup();
        let mut states = Vec::with_capacity(experiments.len());
        for experiment in experiments {
            if let Some(state) = self.experiment(experiment)? {
                states.push((experiment, state));
            }
        }
        if !states.iter().all(|(experiment, _)| self.core.projections.is_built(*experiment)) {
            if let Some(page) = self.walk(query, &states, source)? {
                return Ok(page);
            }
            if let Some(page) = self.search_once(query, &states, source)? {
                return Ok(page);
            }
        }
        let standings: Vec<_> = states
            .iter()
            .map(|(experiment, state)| (*experiment, state, self.core.projections.get(*experiment)))
            .collect();
        let mut ready = Vec::with_capacity(standings.len());
        for (experiment, state, standing) in &standings {
            match self.bring_up(*experiment, state, standing, query)? {
                Some(guard) => ready.push(guard),
                None => {
                    drop(ready);
                    return match self.walk(query, &states, source)? {
                        Some(page) => Ok(page),
                        None => self.search_by_rows(query, source),
                    };
                }
            }
        }
        if ready.iter().any(|standing| standing.projection.lacks(query)) {
            drop(ready);
            return self.search_own(query, &states, source);
        }
        let projections: Vec<&Projection> = ready.iter().map(|standing| &standing.projection).collect();
        search(query, &projections, source)
    }

    /// The projection at this snapshot's position, prepared for the query. `None`: the projection is newer than the
    /// snapshot.
    fn bring_up<'a>(
        &self,
        experiment: ExperimentId,
        state: &ExperimentState,
        standing: &'a RwLock<Standing>,
        query: &SearchQuery,
    ) -> Result<Option<RwLockReadGuard<'a, Standing>>> {
        loop {
            let guard = standing.read();
            if guard.position > Some(self.position()) {
                return Ok(None);
            }
            let current = !guard.is_behind(self.position());
            if current && guard.projection.is_prepared(query, self)? {
                return Ok(Some(guard));
            }
            drop(guard);
            if !current {
                let mut guard = standing.write();
                if guard.position <= Some(self.position()) && guard.is_behind(self.position()) {
                    self.refresh(experiment, state, &mut guard)?;
                }
            }
            // Columns are made while other searches go on; nobody changes the rows meanwhile.
            let guard = standing.upgradable_read();
            if guard.position == Some(self.position()) && !guard.is_behind(self.position()) {
                let made = guard.projection.make_columns(query, self)?;
                let mut guard = RwLockUpgradableReadGuard::upgrade(guard);
                guard.projection.put_columns(made);
                guard.projection.prepare_texts(query);
                self.bound_projections(&mut guard.projection, query)?;
                // Without letting go of the lock: another query might drop the columns for its own.
                return Ok(Some(RwLockWriteGuard::downgrade(guard)));
            }
        }
    }

    /// Frees memory if projections take more than they may: of others first, then columns that this query does not need.
    fn bound_projections(&self, projection: &mut Projection, query: &SearchQuery) -> Result<()> {
        let projections = &self.core.projections;
        let bytes_max = projections.bytes_max();
        let bytes = projection.memory_bytes() as u64;
        projections.bound(bytes_max.saturating_sub(bytes));
        if bytes > bytes_max {
            projection.drop_columns_but(query, self)?;
            // What is left are texts, mostly. The query is answered by columns of its own if it asks for one that goes.
            let rest = (projection.memory_bytes() - projection.texts_memory_bytes()) as u64;
            let texts = bytes_max.saturating_sub(rest).max(bytes_max / TEXTS_LEAST_PART);
            projection.bound_texts(usize::try_from(texts).unwrap_or(usize::MAX));
        }
        Ok(())
    }

    /// Brings a projection up to this snapshot, if it is older.
    pub(super) fn catch_up(&self, experiment: ExperimentId, standing: &RwLock<Standing>) -> Result<()> {
        let Some(state) = self.experiment(experiment)? else { return Ok(()) };
        let mut guard = standing.write();
        if guard.position.is_some_and(|position| position < self.position()) {
            self.refresh(experiment, &state, &mut guard)?;
        }
        Ok(())
    }

    fn refresh(&self, experiment: ExperimentId, state: &ExperimentState, standing: &mut Standing) -> Result<()> {
        let changed = self.core.pipeline.runs.changed(experiment);
        let mut listed: FxHashSet<RunId> = changed.take().into_iter().collect();
        for run in listed.iter().filter_map(|run| self.core.pipeline.runs.get(*run)) {
            run.note_seen();
        }
        let result = (|| {
            if standing.position.is_none() {
                self.core.projections.bound(self.core.projections.bytes_max());
                listed.extend(self.find_base(experiment, state, standing)?);
            }
            if state.lifecycle_lsn != standing.lifecycle_lsn {
                standing.projection.set_lifecycle_all(state.lifecycle);
                standing.changes = standing.changes.saturating_add(standing.projection.len() as u64);
            }
            standing.changes = standing.changes.saturating_add(listed.len() as u64);
            standing.torn = true;
            listed.iter().try_for_each(|run| self.upsert(state, *run, &mut standing.projection))
        })();
        // Runs that failed, or changed after this snapshot, must be read again. Taking the sequencer makes sure that an
        // append which listed a run is published by now.
        let published = {
            let _between_appends = self.core.pipeline.lock();
            self.core.pipeline.published()
        };
        if result.is_err() || published > self.position() {
            for run in listed {
                match self.core.pipeline.runs.get(run) {
                    Some(hot) => hot.note_changed(),
                    None => changed.add(run),
                }
            }
        }
        match result {
            Ok(()) => {
                standing.position = Some(self.position());
                standing.torn = false;
                standing.lifecycle_lsn = state.lifecycle_lsn;
                standing.generation = self.index.generation();
                standing.listed_above = standing.listed_above.max(self.position());
                Ok(())
            }
            // Each row is as it was or newer, and everything that changed since is on the list, so the next snapshot
            // continues from here. A snapshot that was given up while it read a large index has not read in vain.
            Err(Error::SnapshotTooOld) => Err(Error::SnapshotTooOld),
            Err(error) => {
                standing.forget();
                Err(error)
            }
        }
    }

    pub(super) fn upsert(&self, experiment: &ExperimentState, id: RunId, projection: &mut Projection) -> Result<()> {
        let run = self.run(id)?;
        match run.as_ref().map(|run| (run, run.lifecycle_in(experiment))) {
            None | Some((_, Lifecycle::Purged)) => {
                projection.remove(id);
                Ok(())
            }
            // The log names runs of other experiments too.
            Some((run, _)) if run.experiment != projection.experiment() => Ok(()),
            Some((run, lifecycle)) => {
                let stats = match projection.asked_metrics() {
                    None => self.stats_of(id)?,
                    Some(keys) => {
                        let stats = |key| Ok(Source::stats(self, id, key)?.map(|stats| (key, stats)));
                        keys.into_iter().filter_map(|key| stats(key).transpose()).collect::<Result<_>>()?
                    }
                };
                projection.upsert(RunRow { run: id, state: run, lifecycle, stats: &stats })
            }
        }
    }

    /// The same answer without columns, for snapshots older than the projection.
    fn search_by_rows(&self, query: &SearchQuery, source: &dyn Source) -> Result<SearchPage> {
        let mut rows: Vec<OwnedRow> = Vec::new();
        for &experiment in &query.experiments {
            let Some(state) = self.experiment(experiment)? else { continue };
            for id in self.runs_of(experiment)? {
                if let Some(run) = self.run(id)? {
                    let lifecycle = run.lifecycle_in(&state);
                    rows.push((id, run, lifecycle, self.stats_of(id)?));
                }
            }
        }
        let rows =
            rows.iter().map(|(run, state, lifecycle, stats)| RunRow { run: *run, state, lifecycle: *lifecycle, stats });
        search_rows(query, rows, source)
    }
}

#[cfg(test)]
mod long_texts;
#[cfg(test)]
mod tests;
