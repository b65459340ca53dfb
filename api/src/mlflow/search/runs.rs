//! The search of runs.
//!
//! Our token is MLflow's, `{"offset": n}`, with the engine's own added: `{"offset": n, "at": "..."}`. The latter
//! continues after the last run returned, even if runs came or went since, and costs the same at any depth; it is valid
//! only for the query that made it. With another query, or with one of MLflow's tokens, the offset counts.

use super::{RUNS_PAGE_MAX, limit};
use crate::engine::search::{Filter, Key, PageToken, SearchPage, SearchQuery, Term, TextKey};
use crate::mlflow::Mlflow;
use crate::mlflow::entity::{Paged, Run, View};
use crate::mlflow::error::{ApiError, ApiResult};
use crate::mlflow::filter::runs;
use crate::mlflow::page_token::{page_offset, page_text, text_token};
use crate::mlflow::runs::RunReader;
use crate::{ExperimentId, RunId, Snapshot};

use crate::engine::search::filter::metric;

impl Mlflow {
    /// Runs that match a filter, in an order, a page at a time; by default the last started first.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub fn search_runs(
        &self,
        experiment_ids: &[String],
        filter: &str,
        view: View,
        max_results: i64,
        order_by: &[String],
        page_token: Option<&str>,
    ) -> ApiResult<Paged<Run>> {
        let mut items = Vec::new();
        let mut take = |run| {
            items.push(run);
            Ok(())
        };
        let next_page_token =
            self.search_runs_each(experiment_ids, filter, view, max_results, order_by, page_token, &mut take)?;
        Ok(Paged { items, next_page_token })
    }

    /// As [`Mlflow::search_runs`], passing one run after the other to `each`, so that a large page is never in memory
    /// as a whole. Returns the token of the next page.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`, before the first run; then those of reading, and of `each`.
    #[expect(clippy::too_many_arguments, reason = "those of the search, and what takes its answer")]
    pub fn search_runs_each(
        &self,
        experiment_ids: &[String],
        filter: &str,
        view: View,
        max_results: i64,
        order_by: &[String],
        page_token: Option<&str>,
        each: &mut dyn FnMut(Run) -> ApiResult<()>,
    ) -> ApiResult<Option<String>> {
        let limit = limit(max_results, RUNS_PAGE_MAX)?;
        let experiments = self.searched_experiments(experiment_ids)?;
        let snapshot = self.snapshot()?;
        let mut query = self.runs_query(&snapshot, experiments, filter, order_by, view, limit)?;
        let offset = page_offset(page_token)?;
        query.after = match page_token.map(own_token).transpose()?.flatten() {
            Some(own) => Some(own),
            None if offset > 0 => Some(PageToken::from_offset(offset as u64)),
            None => None,
        };
        if offset > 0 && query.check().is_err() {
            // The token is of another query, or not ours.
            query.after = Some(PageToken::from_offset(offset as u64));
        }
        let page = self.search_page(&snapshot, &query)?;
        let mut reader = RunReader::new(self, &snapshot);
        for run in &page.runs {
            self.check_waiting()?;
            if let Some(run) = reader.read_by_id(*run)? {
                each(run)?;
            }
        }
        let end = offset.saturating_add(page.runs.len());
        Ok(page.next.map(|at| text_token(&format!("{{\"offset\": {end}, \"at\": \"{at}\"}}"))))
    }

    /// Parses filter and order into a search, from its first page.
    pub(crate) fn runs_query(
        &self,
        snapshot: &Snapshot,
        experiments: Vec<ExperimentId>,
        filter: &str,
        order_by: &[String],
        view: View,
        limit: usize,
    ) -> ApiResult<SearchQuery> {
        let mut has_metric = |key: &str| holds_metric(snapshot, &experiments, key);
        let filter = runs::parse(filter, &mut has_metric)?;
        let order = runs::order(order_by, &mut has_metric)?;
        Ok(SearchQuery { experiments, filter, order, view, limit, after: None })
    }

    /// A page of a search; artifact locations are rendered only if the query reads them.
    pub(crate) fn search_page(&self, snapshot: &Snapshot, query: &SearchQuery) -> ApiResult<SearchPage> {
        if reads_places(query) {
            let places = self.place_of_runs(snapshot, &query.experiments)?;
            return Ok(snapshot.search_with(query, &places)?);
        }
        Ok(snapshot.search(query)?)
    }

    /// The experiments of a search, as a client names them; invalid ids are left out.
    pub(super) fn searched_experiments(&self, ids: &[String]) -> ApiResult<Vec<ExperimentId>> {
        let mut experiments = Vec::with_capacity(ids.len());
        for id in ids {
            let number: i64 = id.trim().parse().map_err(|_| {
                ApiError::invalid(format!("Invalid experiment ID '{id}'. Experiment ID must be a valid integer."))
            })?;
            if number >= 0 {
                experiments.push(self.experiment_id(id.trim())?);
            }
        }
        experiments.sort_unstable();
        experiments.dedup();
        Ok(experiments)
    }

    /// Renders the artifact locations of runs of some experiments.
    fn place_of_runs<'a>(
        &'a self,
        snapshot: &Snapshot,
        experiments: &[ExperimentId],
    ) -> ApiResult<impl Fn(ExperimentId, RunId, Option<&str>) -> String + use<'a>> {
        let mut known = Vec::with_capacity(experiments.len());
        for id in experiments {
            let location = snapshot.experiment(*id)?.and_then(|state| state.artifact_location.clone());
            known.push((*id, location));
        }
        Ok(move |experiment: ExperimentId, run: RunId, own: Option<&str>| {
            let at = known.binary_search_by_key(&experiment, |(id, _)| *id);
            let location = at.ok().and_then(|at| known[at].1.as_deref());
            self.places().run(&experiment.to_string(), location, &run.to_string(), own)
        })
    }
}

/// The engine's token inside one of ours; `None` if it has none.
fn own_token(token: &str) -> ApiResult<Option<PageToken>> {
    if token.is_empty() {
        return Ok(None);
    }
    let text = page_text(token)?;
    let own = text.split_once("\"at\": \"").and_then(|(_, rest)| rest.split_once('"'));
    Ok(own.and_then(|(own, _)| own.parse().ok()))
}

/// Whether any run of the experiments, deleted ones included, has a metric of this key.
pub(in crate::mlflow) fn holds_metric(snapshot: &Snapshot, experiments: &[ExperimentId], key: &str) -> ApiResult<bool> {
    let filter = Some(metric(key).is_not_null());
    let experiments = experiments.to_vec();
    let query = SearchQuery { experiments, filter, order: Vec::new(), view: View::All, limit: 1, after: None };
    Ok(!snapshot.search(&query)?.runs.is_empty())
}

/// Whether a query reads artifact locations.
fn reads_places(query: &SearchQuery) -> bool {
    let mut reads = query.order.iter().any(|order| order.key == Key::Text(TextKey::ArtifactUri));
    query.filter.iter().for_each(|filter: &Filter| {
        filter.terms(&mut |term| reads |= matches!(term, Term::Text { key: TextKey::ArtifactUri, .. }));
    });
    reads
}
