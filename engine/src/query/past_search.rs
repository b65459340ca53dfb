//! Searches of the past: the runs that matched at an earlier position, from their own events and points.
//!
//! There are no columns of the past. Every run of the experiments is read as it was and tested as a row; of metrics only
//! those are read that the query names. What was read is kept for the next search at that position.

use std::collections::BTreeSet;

use super::past::PastView;
use crate::core::PastRun;
use crate::error::{Error, Result};
use crate::id::{ExperimentId, KeyId, RunId};
use crate::point::Stats;
use crate::search::filter::{NumberKey, Term};
use crate::search::reference::search_rows;
use crate::search::request::{SearchPage, SearchQuery};
use crate::search::row::{RunRow, Source};
use crate::search::sort::Key;

impl Source for PastView<'_> {
    fn metric_key(&self, name: &str) -> Result<Option<KeyId>> {
        self.snapshot().metric_key(name)
    }

    fn stats(&self, run: RunId, key: KeyId) -> Result<Option<Stats>> {
        match self.snapshot().key_name(key) {
            Some(name) => PastView::stats(self, run, &name),
            None => Ok(None),
        }
    }

    fn artifact_uri(&self, experiment: ExperimentId, run: RunId, explicit: Option<&str>) -> String {
        self.snapshot().artifact_uri(experiment, run, explicit)
    }
}

/// The metrics that a query reads.
fn metrics_of(query: &SearchQuery) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut add = |key: &NumberKey| {
        if let NumberKey::Metric { name, .. } = key {
            names.insert(name.to_string());
        }
    };
    if let Some(filter) = &query.filter {
        filter.terms(&mut |term| {
            if let Term::Number { key, .. } = term {
                add(key);
            }
        });
    }
    for order in &query.order {
        if let Key::Number(key) = &order.key {
            add(key);
        }
    }
    names
}

impl PastView<'_> {
    /// The runs that matched at that moment, in the order of that moment, a page at a time. Runs that were purged since
    /// are left out. Artifact locations are those below the store unless a run has its own.
    ///
    /// # Errors
    /// As [`Snapshot::search`](crate::Snapshot::search).
    ///
    /// # Complexity
    /// The first search at a position reads every run of the experiments: those that changed since by their events. The
    /// store keeps them in memory, about 1 KiB each, until another position is searched; searches meanwhile only compare.
    pub fn search(&self, query: &SearchQuery) -> Result<SearchPage> {
        query.check()?;
        let mut metrics: Vec<(KeyId, String)> = Vec::new();
        for name in metrics_of(query) {
            metrics.extend(self.metric_key(&name)?.map(|key| (key, name)));
        }
        let then = self.snapshot().core.past.at(self.position());
        let mut lists = Vec::with_capacity(query.experiments.len());
        for &experiment in &query.experiments {
            lists.push(then.of(experiment, || self.read_runs(experiment))?);
        }
        let mut rows = Vec::new();
        for run in lists.iter().flat_map(|list| list.iter()) {
            if self.snapshot().core.pipeline.is_purged(run.id, self.snapshot().position()) {
                continue;
            }
            let mut stats = Vec::with_capacity(metrics.len());
            for (key, name) in &metrics {
                let read = || PastView::stats(self, run.id, name);
                stats.extend(then.stats((run.id, *key), read)?.map(|stats| (*key, stats)));
            }
            rows.push((run, stats));
        }
        let rows =
            rows.iter().map(|(run, stats)| RunRow { run: run.id, state: &run.state, lifecycle: run.lifecycle, stats });
        search_rows(query, rows, self)
    }

    /// The runs of an experiment that existed at that moment.
    fn read_runs(&self, experiment: ExperimentId) -> Result<Vec<PastRun>> {
        let mut runs = Vec::new();
        for id in self.snapshot().runs_of(experiment)? {
            match self.run(id) {
                Ok(Some((state, lifecycle))) => runs.push(PastRun { id, state, lifecycle }),
                Ok(None) | Err(Error::Purged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(runs)
    }
}
