//! Searches of runs.

use std::vec;

use crate::info::{RunInfo, View};
use crate::shared::{Asks, RunsSearch, Shared};
use crate::{ExperimentId, Result};

/// Maximum number of runs of a page.
const PAGE_RUNS: u64 = 1_000;

/// A search of runs: see [`Store::search_runs`](crate::Store::search_runs). By default it covers all active experiments
/// and active runs, the last started first.
///
/// ```
/// use runlode::{RunSpec, Store};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = Store::open(&path)?;
/// let digits = store.experiment("digits")?;
/// for trial in 0..5 {
///     let run = digits.create_run(RunSpec::named(format!("trial-{trial}")))?;
///     run.log_metrics(0, &[("loss", trial as f64)])?;
/// }
/// let best = store.search_runs("metrics.loss < 3").order_by("metrics.loss").limit(2).find()?;
/// assert_eq!(best.iter().map(|run| &*run.name).collect::<Vec<_>>(), ["trial-0", "trial-1"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a search finds nothing until it is asked"]
pub struct Search {
    shared: Shared,
    search: RunsSearch,
    limit: Option<u64>,
}

impl Search {
    pub(super) fn new(shared: Shared, filter: &str) -> Self {
        let search = RunsSearch {
            experiments: Vec::new(),
            filter: filter.to_owned(),
            order_by: Vec::new(),
            view: View::ActiveOnly,
            limit: PAGE_RUNS,
            after: String::new(),
        };
        Self { shared, search, limit: None }
    }

    /// Restricts the search to this experiment; several calls add more experiments.
    ///
    /// ```
    /// use runlode::RunSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// digits.create_run(RunSpec::new())?;
    /// let letters = store.experiment("letters")?;
    /// let found = store.search_runs("").experiment(digits.id()).experiment(letters.id()).find()?;
    /// assert_eq!(found.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn experiment(mut self, id: ExperimentId) -> Self {
        self.search.experiments.push(id);
        self
    }

    /// Sorts by a key, `metrics.loss` or `attributes.start_time desc`; further calls sort ties.
    ///
    /// ```
    /// use runlode::RunSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// for loss in [0.3, 0.1, 0.2] {
    ///     digits.create_run(RunSpec::new())?.log_metrics(0, &[("loss", loss)])?;
    /// }
    /// let found = store.search_runs("").order_by("metrics.loss desc").find()?;
    /// assert_eq!(found[0].metrics[0].last.value, 0.3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn order_by(mut self, order: impl Into<String>) -> Self {
        self.search.order_by.push(order.into());
        self
    }

    /// Searches deleted runs, or all runs, instead of active ones.
    ///
    /// ```
    /// use runlode::info::View;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
    /// run.delete()?;
    /// assert_eq!(store.search_runs("").find()?.len(), 0);
    /// assert_eq!(store.search_runs("").view(View::All).find()?.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn view(mut self, view: View) -> Self {
        self.search.view = view;
        self
    }

    /// Returns at most this many runs. Default: all.
    ///
    /// ```
    /// use runlode::RunSpec;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let digits = store.experiment("digits")?;
    /// (0..10).try_for_each(|_| digits.create_run(RunSpec::new()).map(drop))?;
    /// assert_eq!(store.search_runs("").limit(3).find()?.len(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The runs, as a list.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for an invalid filter or order.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
    /// run.log_params(&[("lr", "0.1")])?;
    /// let found = store.search_runs("params.lr = '0.1'").find()?;
    /// assert_eq!(found[0].id, run.id());
    /// assert!(store.search_runs("params.lr =").find().is_err(), "no filter");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn find(self) -> Result<Vec<RunInfo>> {
        self.iter().collect()
    }

    /// Iterates over the runs, reading a page at a time.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
    /// for found in store.search_runs("status = 'RUNNING'").iter() {
    ///     assert_eq!(found?.id, run.id());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn iter(self) -> Found {
        let left = self.limit.unwrap_or(u64::MAX);
        Found { shared: self.shared, search: self.search, left, page: Vec::new().into_iter(), is_last: false }
    }
}

/// Iterates over the runs that a search finds: see [`Search::iter`].
///
/// ```
/// use runlode::{RunSpec, Store};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("exp");
/// let store = Store::open(&path)?;
/// store.experiment("digits")?.create_run(RunSpec::new())?;
/// for run in store.search_runs("").iter() {
///     println!("{}", run?.name);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Found {
    shared: Shared,
    search: RunsSearch,
    left: u64,
    page: vec::IntoIter<RunInfo>,
    is_last: bool,
}

impl Iterator for Found {
    type Item = Result<RunInfo>;

    fn next(&mut self) -> Option<Result<RunInfo>> {
        loop {
            if self.left == 0 {
                return None;
            }
            if let Some(run) = self.page.next() {
                self.left -= 1;
                return Some(Ok(run));
            }
            if self.is_last {
                return None;
            }
            self.search.limit = self.left.min(PAGE_RUNS);
            match self.shared.search_runs(&self.search) {
                Ok(found) => {
                    self.is_last = found.next.is_empty();
                    self.search.after = found.next;
                    self.page = found.runs.into_iter();
                }
                Err(error) => {
                    self.is_last = true;
                    return Some(Err(error));
                }
            }
        }
    }
}
