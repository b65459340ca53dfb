//! The request and the answer of a search.

use super::filter::Filter;
use super::page::{PageToken, Start, foreign};
use super::sort::OrderKey;
use crate::checksum::fnv;
use crate::entity::Lifecycle;
use crate::error::{Error, Result};
use crate::id::{ExperimentId, RunId};

/// Which runs are shown, by their effective lifecycle. Purged ones never are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum View {
    /// Active runs only.
    #[default]
    ActiveOnly,
    /// Deleted runs only.
    DeletedOnly,
    /// Active and deleted runs.
    All,
}

impl View {
    /// Whether runs of this lifecycle are shown.
    pub fn shows(self, lifecycle: Lifecycle) -> bool {
        match lifecycle {
            Lifecycle::Active => self != Self::DeletedOnly,
            Lifecycle::Deleted => self != Self::ActiveOnly,
            Lifecycle::Purged => false,
        }
    }
}

/// A search for runs.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchQuery {
    /// Experiments whose runs are searched; if empty, no run is found.
    pub experiments: Vec<ExperimentId>,
    /// Runs must match this; `None`: all runs.
    pub filter: Option<Filter>,
    /// Sort keys, the first one first; start time (newest first) and run id always follow.
    pub order: Vec<OrderKey>,
    /// Which runs are shown, by lifecycle.
    pub view: View,
    /// Maximum number of runs of a page; at least 1.
    pub limit: usize,
    /// Continue after the page that returned this token.
    pub after: Option<PageToken>,
}

impl SearchQuery {
    /// All active runs of an experiment, newest first, 1,000 a page.
    pub fn new(experiment: ExperimentId) -> Self {
        Self {
            experiments: vec![experiment],
            filter: None,
            order: Vec::new(),
            view: View::default(),
            limit: 1000,
            after: None,
        }
    }

    /// Refuses a query that cannot be answered.
    ///
    /// # Errors
    /// `Invalid`: limit 0, a key without an order or given twice, a filter that is too large, a token of another query.
    pub fn check(&self) -> Result<()> {
        if self.limit == 0 {
            return Err(Error::invalid("limit", "it is 0; a page holds at least one run"));
        }
        for (i, order) in self.order.iter().enumerate() {
            order.check()?;
            if self.order[..i].iter().any(|other| other.key == order.key) {
                return Err(Error::invalid("order", format!("`{}` is there twice", order.key)));
            }
        }
        self.filter.as_ref().map_or(Ok(()), Filter::check)?;
        match self.after.as_ref().map(|token| &token.0) {
            Some(Start::After { query, place }) => {
                if *query != self.fingerprint() || place.values.len() != self.order.len() {
                    return Err(foreign());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A hash of everything that a token is bound to: all but limit and token, in their debug form.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut experiments = self.experiments.clone();
        experiments.sort_unstable();
        experiments.dedup();
        let text = format!("{experiments:?}{:?}{:?}{:?}", self.filter, self.order, self.view);
        fnv(text.bytes())
    }
}

/// A page of runs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SearchPage {
    /// Ids of the runs, in order.
    pub runs: Vec<RunId>,
    /// Token of the next page; `None` on the last one.
    pub next: Option<PageToken>,
}
