//! Searches of the past: the runs that matched at an earlier position, from their own events and points.
//!
//! There are no columns of the past. Every run of the experiments is folded up to the position (`past_runs`) and tested as
//! a row, so the first search of a moment costs as much as reading all of them; of metrics only those are read that the
//! query names. [`crate::core`] holds what was folded.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::past::PastView;
use crate::entity::{Lifecycle, RunState};
use crate::error::Result;
use crate::id::{ExperimentId, KeyId, RunId};
use crate::point::Stats;
use crate::search::filter::{NumberKey, Term};
use crate::search::reference::search_rows;
use crate::search::request::{SearchPage, SearchQuery};
use crate::search::row::{RunRow, Source};
use crate::search::sort::Key;

type OwnedRow = (RunId, Arc<RunState>, Lifecycle, Vec<(KeyId, Stats)>);

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
    /// The first search of a moment reads the events of every run of the experiments; later ones test what it folded, as
    /// far as that is held in memory. The same search again reads nothing.
    pub fn search(&self, query: &SearchQuery) -> Result<SearchPage> {
        query.check()?;
        let memory = &self.snapshot().core.past;
        if let Some(page) = memory.search(self.position(), query) {
            return self.without_purged(&page);
        }
        let mut metrics = Vec::new();
        for name in metrics_of(query) {
            metrics.extend(self.metric_key(&name)?);
        }
        let mut rows: Vec<OwnedRow> = Vec::new();
        for &experiment in &query.experiments {
            for (id, state, lifecycle) in self.runs_of(experiment)? {
                let mut stats = Vec::with_capacity(metrics.len());
                for &key in &metrics {
                    stats.extend(self.stats_of_run(id, key)?.map(|found| (key, found)));
                }
                rows.push((id, state, lifecycle, stats));
            }
        }
        let rows =
            rows.iter().map(|(run, state, lifecycle, stats)| RunRow { run: *run, state, lifecycle: *lifecycle, stats });
        let page = Arc::new(search_rows(query, rows, self)?);
        memory.put_search(self.position(), query, &page);
        Ok(Arc::unwrap_or_clone(page))
    }

    /// A page that was found before, without runs that were purged since.
    fn without_purged(&self, page: &SearchPage) -> Result<SearchPage> {
        let mut runs = Vec::with_capacity(page.runs.len());
        for &run in &page.runs {
            if self.snapshot().run(run)?.is_some_and(|now| now.lifecycle != Lifecycle::Purged) {
                runs.push(run);
            }
        }
        Ok(SearchPage { runs, next: page.next.clone() })
    }
}
