//! The keys that runs of some experiments have: for choosing columns and curves, and for completing filters.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::RunState;
use crate::engine::search::SearchQuery;
use crate::mlflow::Mlflow;
use crate::mlflow::entity::View;
use crate::mlflow::error::ApiResult;

/// The keys of runs, each with the number of runs that have it, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunKeys {
    /// The position that was read.
    pub position: u64,
    /// Number of runs that were read.
    pub runs: u64,
    /// Whether these are all runs; otherwise the newest ones were read.
    pub complete: bool,
    /// Metrics.
    pub metrics: Vec<(String, u64)>,
    /// Params.
    pub params: Vec<(String, u64)>,
    /// Tags.
    pub tags: Vec<(String, u64)>,
}

/// Keys while they are counted. Twenty runs may have ten thousand keys each, so they are put in order only at the end.
#[derive(Debug, Default)]
pub(super) struct Counts {
    metrics: FxHashMap<Arc<str>, u64>,
    params: FxHashMap<String, u64>,
    tags: FxHashMap<String, u64>,
    /// What they take, roughly.
    pub(super) bytes: usize,
}

/// Memory of a key besides its text: its entry in a map, and in the list that is made from the map.
const KEY_BYTES: usize = 100;

/// Counts a key; returns the bytes that a new one takes.
fn count<K: Borrow<str> + Hash + Eq + for<'a> From<&'a str>>(counts: &mut FxHashMap<K, u64>, key: &str) -> usize {
    if let Some(count) = counts.get_mut(key) {
        *count += 1;
        return 0;
    }
    counts.insert(K::from(key), 1);
    KEY_BYTES + key.len()
}

fn by_name<K: Borrow<str> + Hash + Eq>(counts: FxHashMap<K, u64>) -> Vec<(String, u64)> {
    let mut list: Vec<_> = counts.into_iter().map(|(key, count)| (key.borrow().to_owned(), count)).collect();
    list.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    list
}

impl Counts {
    /// Counts the keys of one run.
    pub(super) fn add(&mut self, state: &RunState, metrics: impl Iterator<Item = Arc<str>>) {
        let Self { metrics: of_metrics, params, tags, bytes } = self;
        state.params.iter().for_each(|(key, _)| *bytes += count(params, key));
        state.tags.iter().for_each(|(key, _)| *bytes += count(tags, key));
        metrics.for_each(|key| *bytes += count(of_metrics, &key));
    }

    pub(super) fn keys(self, position: u64, runs: usize, complete: bool) -> RunKeys {
        RunKeys {
            position,
            runs: runs as u64,
            complete,
            metrics: by_name(self.metrics),
            params: by_name(self.params),
            tags: by_name(self.tags),
        }
    }
}

impl Mlflow {
    /// The keys of the newest runs of some experiments, at most `most_runs` runs; without experiments, of all active
    /// ones.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST` for an experiment.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let store = runlode::Store::open(dir.path().join("exp"))?;
    /// let run = store.experiment("digits")?.create_run(runlode::RunSpec::named("a"))?;
    /// run.log_params(&[("lr", "0.1")])?;
    /// run.log_metrics(0, &[("loss", 1.0)])?;
    /// let keys = store.mlflow().run_keys(&[], 100)?;
    /// assert_eq!((keys.metrics[0].0.as_str(), keys.params[0].0.as_str(), keys.complete), ("loss", "lr", true));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run_keys(&self, experiments: &[String], most_runs: u64) -> ApiResult<RunKeys> {
        let snapshot = self.snapshot()?;
        let named = (!experiments.is_empty()).then_some(experiments);
        let experiments = self.named_experiments(&snapshot, named)?;
        let limit = usize::try_from(most_runs).unwrap_or(usize::MAX).max(1);
        let query =
            SearchQuery { experiments, filter: None, order: Vec::new(), view: View::ActiveOnly, limit, after: None };
        let page = snapshot.search(&query)?;
        let mut counts = Counts::default();
        for id in &page.runs {
            self.check_waiting()?;
            let Some(state) = snapshot.run(*id)? else { continue };
            counts.add(&state, snapshot.metric_keys(*id)?.into_iter());
            self.check_room(counts.bytes)?;
        }
        Ok(counts.keys(snapshot.position().0, page.runs.len(), page.next.is_none()))
    }
}
