//! Lists of the newest runs, read from the index run by run instead of from columns.
//!
//! ```text
//!  index: runs of experiment A, newest first ----+
//!         runs of experiment B, newest first ----+-- merge --> view, filter --> page, until it is full
//!  runs that changed above the index, sorted ----+
//! ```
//! A page of the newest runs looks at a few of them, and columns are made from all. So as long as an experiment has no
//! columns, a query in the order of start times is answered like this, with the same page and token.
//!
//! - A run that changed above the index is read at the snapshot, and skipped in the index's list.
//! - A walk gives up after [`LOOKED_AT_MAX`] runs more than the page needs: its filter matches few runs, and columns test
//!   each of them faster.
//! - A walk does not begin if its page needs more runs than it may look at, and the experiments have more.
//! - All walks since the open together look at about as many runs as columns are made from; after that columns are made.
//!   So a process that lists again and again pays at most twice for them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use rustc_hash::FxHashSet;

use crate::entity::{EntityKey, EntityState, ExperimentState, Lifecycle};
use crate::error::Result;
use crate::id::{ExperimentId, KeyId, RunId};
use crate::query::snapshot::Snapshot;
use crate::search::filter::{Filter, NumberKey, Term, TextKey};
use crate::search::page::{PageToken, Start};
use crate::search::reference::matches;
use crate::search::request::{SearchPage, SearchQuery};
use crate::search::row::{RunRow, Source, time_key};
use crate::search::sort::{Key, OrderKey, Place, SortValue};

/// Number of runs, besides those of the page, that a walk looks at before it gives up.
const LOOKED_AT_MAX: u64 = 4096;
/// Walks of an open store may look at this many runs before any columns are made.
const FREE_RUNS: u64 = 16_384;

/// A list of runs that is merged with others: a start time, a run, and the number of the experiment.
type List<'a> = Box<dyn Iterator<Item = Result<(i64, RunId, usize)>> + 'a>;

impl Snapshot {
    /// The answer to a query by walking the index; `None` if columns answer it faster. `experiments` are those of the
    /// query that exist.
    pub(super) fn walk(
        &self,
        query: &SearchQuery,
        experiments: &[(ExperimentId, Arc<ExperimentState>)],
        source: &dyn Source,
    ) -> Result<Option<SearchPage>> {
        let Some((skip, after)) = place_of_start(query) else { return Ok(None) };
        let walked = self.core.projections.walked();
        let mut left = (self.index.runs_count()? / 2).max(FREE_RUNS).saturating_sub(walked);
        let needs = skip.saturating_add(query.limit as u64);
        // Keys are counted without reading any run.
        if needs > left && self.has_more_runs(experiments, after, left)? {
            return Ok(None);
        }
        left = left.min(needs.saturating_add(LOOKED_AT_MAX));
        let budget = left;
        let page = self.walk_within(query, experiments, source, skip, after, &mut left);
        self.core.projections.add_walked(budget - left);
        page
    }

    /// Whether the index lists more runs of these experiments than `most`, from a place on.
    fn has_more_runs(
        &self,
        experiments: &[(ExperimentId, Arc<ExperimentState>)],
        after: Option<(i64, RunId)>,
        most: u64,
    ) -> Result<bool> {
        let mut count = 0;
        for (experiment, _) in experiments {
            for run in self.index.runs_newest_first(*experiment, after)? {
                run?;
                count += 1;
                if count > most {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn walk_within(
        &self,
        query: &SearchQuery,
        experiments: &[(ExperimentId, Arc<ExperimentState>)],
        source: &dyn Source,
        mut skip: u64,
        after: Option<(i64, RunId)>,
        left: &mut u64,
    ) -> Result<Option<SearchPage>> {
        let mut changed = FxHashSet::default();
        let mut above = Vec::new();
        for (number, (experiment, _)) in experiments.iter().enumerate() {
            let runs = self.core.pipeline.newest.hot.runs_of(*experiment);
            if runs.len() as u64 > *left {
                return Ok(None);
            }
            *left -= runs.len() as u64;
            for run in runs {
                changed.insert(run);
                if let Some(EntityState::Run(state)) = self.entity(&EntityKey::Run(run))?.as_deref()
                    && state.lifecycle != Lifecycle::Purged
                {
                    above.push((time_key(state.start_time_ms), run, number));
                }
            }
        }
        let order = |start: i64, run: RunId| (Reverse(start), run);
        above.retain(|(start, run, _)| after.is_none_or(|(s, r)| order(*start, *run) > order(s, r)));
        above.sort_unstable_by_key(|(start, run, _)| order(*start, *run));

        let mut lists: Vec<List<'_>> = vec![Box::new(above.into_iter().map(Ok))];
        for (number, (experiment, _)) in experiments.iter().enumerate() {
            let indexed = self.index.runs_newest_first(*experiment, after)?;
            let unchanged = indexed.filter(|run| run.as_ref().map_or(true, |(_, run)| !changed.contains(run)));
            lists.push(Box::new(unchanged.map(move |run| run.map(|(start, run)| (start, run, number)))));
        }
        let mut next = BinaryHeap::with_capacity(lists.len());
        let mut pull = |list: usize, next: &mut BinaryHeap<_>| {
            let run = lists[list].next().transpose()?;
            next.extend(run.map(|(start, run, number)| (start, Reverse(run), number, list)));
            Ok::<_, crate::error::Error>(())
        };
        (0..=experiments.len()).try_for_each(|list| pull(list, &mut next))?;

        let asked = asked_metrics(query.filter.as_ref(), source)?;
        let mut page = SearchPage::default();
        let mut last = None;
        while let Some((start, Reverse(run), number, list)) = next.pop() {
            pull(list, &mut next)?;
            *left = match left.checked_sub(1) {
                Some(left) => left,
                None => return Ok(None),
            };
            let Some(state) = self.entity(&EntityKey::Run(run))? else { continue };
            let EntityState::Run(state) = &*state else { continue };
            let lifecycle = state.lifecycle_in(&experiments[number].1);
            if !query.view.shows(lifecycle) {
                continue;
            }
            if let Some(filter) = &query.filter {
                let mut stats = Vec::with_capacity(asked.len());
                for key in &asked {
                    stats.extend(Source::stats(self, run, *key)?.map(|stats| (*key, stats)));
                }
                if !matches(filter, &RunRow { run, state, lifecycle, stats: &stats }, source)? {
                    continue;
                }
            }
            if skip > 0 {
                skip -= 1;
            } else if page.runs.len() == query.limit {
                page.next = last.map(|(start, run)| PageToken::after(query.fingerprint(), place(query, start, run)));
                break;
            } else {
                page.runs.push(run);
                last = Some((start, run));
            }
        }
        self.check()?;
        Ok(Some(page))
    }
}

/// How many matching runs are skipped, and the place after which the page begins. `None`: the order is not that of start
/// times.
fn place_of_start(query: &SearchQuery) -> Option<(u64, Option<(i64, RunId)>)> {
    let newest_first = |order: &OrderKey| order.key == Key::Number(NumberKey::StartTime) && !order.ascending;
    let by_id = |order: &OrderKey| order.key == Key::Text(TextKey::RunId) && order.ascending;
    match query.order.as_slice() {
        [] => {}
        [first] if newest_first(first) => {}
        [first, second] if newest_first(first) && by_id(second) => {}
        _ => return None,
    }
    Some(match query.after.as_ref().map(|token| &token.0) {
        None => (0, None),
        Some(Start::Offset(offset)) => (*offset, None),
        Some(Start::After { place, .. }) => (0, Some((place.start_time_ms, place.run))),
    })
}

/// The place of a run in one of the orders of [`place_of_start`].
fn place(query: &SearchQuery, start_time_ms: i64, run: RunId) -> Place {
    let values = query.order.iter().map(|order| match &order.key {
        Key::Number(_) => SortValue::Time(start_time_ms),
        Key::Text(_) => SortValue::Text(run.to_string()),
    });
    Place { values: values.collect(), start_time_ms, run }
}

/// The metrics that a filter tests.
fn asked_metrics(filter: Option<&Filter>, source: &dyn Source) -> Result<Vec<KeyId>> {
    let mut names = Vec::new();
    if let Some(filter) = filter {
        filter.terms(&mut |term| {
            if let Term::Number { key: NumberKey::Metric { name, .. }, .. } = term {
                names.push(name.clone());
            }
        });
    }
    let mut keys = names.iter().filter_map(|name| source.metric_key(name).transpose()).collect::<Result<Vec<_>>>()?;
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

#[cfg(test)]
mod tests;
