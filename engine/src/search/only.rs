//! A projection of the columns that one query reads, for a process that may never search again.
//!
//! Lifecycle and start time are always there, since every search reads them; of the rest only what filter and order name.
//! It answers that query and no other one.

use std::collections::BTreeSet;

use super::asked::asked;
use super::filter::{NumberKey, Term, TextKey};
use super::kept::Kept;
use super::number::{NO_TIME, NumberColumn};
use super::request::SearchQuery;
use super::row::{Source, status_text, time_key};
use super::sort::Key;
use super::table::{MetricColumns, Projection};
use crate::entity::{ArchivedRunState, ExperimentState};
use crate::error::Result;
use crate::id::{ExperimentId, KeyId, RunId};
use crate::point::Stats;

/// The columns of a query, except those of metrics.
#[derive(Debug, Default)]
pub(crate) struct Only {
    name: bool,
    user_id: bool,
    status: bool,
    artifact_location: bool,
    datasets: bool,
    end_time: bool,
    params: BTreeSet<String>,
    tags: BTreeSet<String>,
}

impl Only {
    /// The columns that a query reads.
    pub(crate) fn of(query: &SearchQuery) -> Self {
        let mut only = Self::default();
        if let Some(filter) = &query.filter {
            filter.terms(&mut |term| match term {
                Term::Text { key, .. } => only.add_text(key),
                Term::Number { key, .. } => only.add_number(key),
            });
        }
        for order in &query.order {
            match &order.key {
                Key::Text(key) => only.add_text(key),
                Key::Number(key) => only.add_number(key),
            }
        }
        only
    }

    fn add_text(&mut self, key: &TextKey) {
        match key {
            TextKey::Name => self.name = true,
            TextKey::UserId => self.user_id = true,
            TextKey::Status => self.status = true,
            TextKey::ArtifactUri => self.artifact_location = true,
            TextKey::DatasetName | TextKey::DatasetDigest | TextKey::DatasetContext => self.datasets = true,
            TextKey::Param(key) => drop(self.params.insert(key.clone())),
            TextKey::Tag(key) => drop(self.tags.insert(key.clone())),
            TextKey::RunId | TextKey::Experiment | TextKey::Lifecycle => {}
        }
    }

    fn add_number(&mut self, key: &NumberKey) {
        match key {
            NumberKey::EndTime => self.end_time = true,
            NumberKey::Param(key) => drop(self.params.insert(key.clone())),
            NumberKey::Tag(key) => drop(self.tags.insert(key.clone())),
            NumberKey::StartTime | NumberKey::Metric { .. } => {}
        }
    }
}

impl Projection {
    /// An empty projection with the metrics, params and tags of a query; [`Projection::asked_metrics`] says which stats its rows need.
    ///
    /// # Errors
    /// Those of `source`.
    pub(crate) fn of_query(experiment: ExperimentId, query: &SearchQuery, source: &dyn Source) -> Result<Self> {
        let mut projection = Self::of_asked_metrics(experiment);
        let only = Only::of(query);
        let kept = |keys: BTreeSet<String>| Kept::Only(keys.into_iter().map(String::into_boxed_str).collect());
        (projection.kept_params, projection.kept_tags) = (kept(only.params), kept(only.tags));
        for (key, aggregates) in asked(query, source)? {
            let mut columns = MetricColumns::default();
            for aggregate in aggregates {
                columns.put(aggregate, NumberColumn::default());
            }
            projection.metrics.insert(key, columns);
        }
        Ok(projection)
    }

    /// Adds a run that must not be there yet, from its row in the index, with these columns.
    ///
    /// # Errors
    /// As [`Projection::insert_archived`].
    pub(crate) fn insert_only(
        &mut self,
        run: RunId,
        state: &ArchivedRunState,
        experiment: &ExperimentState,
        stats: &[(KeyId, Stats)],
        only: &Only,
    ) -> Result<()> {
        if only.datasets && !state.datasets.is_empty() {
            return self.insert_archived(run, state, experiment, stats);
        }
        let at = self.rows.insert(run);
        self.put_lifecycle(at, Some(state.lifecycle_in(experiment)));
        self.start.set(at, time_key(state.start_time_ms.to_native()));
        if only.end_time {
            self.end.set(at, state.end_time_ms.as_ref().map_or(NO_TIME, |time| time_key(time.to_native())));
        }
        if only.name {
            self.name.set(at, Some(&state.name))?;
        }
        if only.user_id {
            self.user_id.set(at, Some(&state.user_id))?;
        }
        if only.status {
            self.status.set(at, Some(status_text(state.status())))?;
        }
        if only.artifact_location {
            self.artifact_location.set(at, state.artifact_location.as_deref())?;
        }
        let lists = [(&only.params, &state.params, &mut self.params), (&only.tags, &state.tags, &mut self.tags)];
        for (wanted, pairs, columns) in lists {
            if wanted.is_empty() {
                continue;
            }
            for pair in pairs.iter().filter(|pair| wanted.contains(pair.0.as_str())) {
                let key = pair.0.as_str();
                if !columns.contains_key(key) {
                    columns.insert(key.into(), Default::default());
                }
                if let Some(column) = columns.get_mut(key) {
                    column.set(at, Some(pair.1.as_str()))?;
                }
            }
        }
        self.put_stats(at, stats);
        Ok(())
    }
}
