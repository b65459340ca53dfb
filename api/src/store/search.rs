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
    pub fn experiment(mut self, id: ExperimentId) -> Self {
        self.search.experiments.push(id);
        self
    }

    /// Sorts by a key, `metrics.loss` or `attributes.start_time desc`; further calls sort ties.
    pub fn order_by(mut self, order: impl Into<String>) -> Self {
        self.search.order_by.push(order.into());
        self
    }

    /// Searches deleted runs, or all runs, instead of active ones.
    pub fn view(mut self, view: View) -> Self {
        self.search.view = view;
        self
    }

    /// Returns at most this many runs. Default: all.
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The runs, as a list.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for an invalid filter or order.
    pub fn find(self) -> Result<Vec<RunInfo>> {
        self.iter().collect()
    }

    /// Iterates over the runs, reading a page at a time.
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
