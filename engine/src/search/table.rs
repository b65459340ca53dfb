//! The runs of one experiment as columns in memory, for search.
//!
//! ```text
//!   row        0    1    2   ...            one row a run; the row of a removed run is used again
//!   runs       id   id   id                 + index id -> row (open addressing)
//!   active     1    0    1                  bits; deleted: bits of the others that exist. Purged runs are in neither
//!   start end  ms   ms   -                  i64
//!   name user_id status artifact_location datasets      codes of a dictionary (text.rs)
//!   params.K tags.K                                     the same, one column a key
//!   metrics.K  latest (always, or from its first use on: `of_asked_metrics`)           f64 (column.rs)
//!              min max first count (from their first use on)                           the same
//! ```
//!
//! Invariants:
//! - After `upsert` a run's row holds exactly the given data, whatever was there before.
//! - Derived data (ranks, parsed numbers, columns of aggregates, exact counts) is made by [`Projection::prepare`] for
//!   the queries that need it; `search` only reads, so several may run at once.
//! - The columns hold what search reads, not the runs: answers are ids. Params and tags of long texts may have none
//!   ([`super::long_texts`]): a query that asks for them must not be answered here.

use std::collections::BTreeMap;

use super::column::{CHUNK_ROWS, Mask, NONE, split};
use super::datasets::pack_datasets;
use super::filter::{Aggregate, NumberKey, NumberTest, Term, TextKey, TextTest};
use super::kept::Kept;
use super::number::{NO_TIME, NumberColumn, TimeColumn};
use super::request::{SearchQuery, View};
use super::row::{RunRow, Source, status_text, time_key};
use super::rows::Rows;
use super::sort::Key;
use super::text::TextColumn;
use crate::entity::{ArchivedRunState, ExperimentState, Lifecycle, RunState};
use crate::error::{Error, Result};
use crate::event::RunStatus;
use crate::id::{ExperimentId, KeyId, RunId};
use crate::point::Stats;

/// The columns of one metric key.
#[derive(Debug, Clone, Default)]
pub(crate) struct MetricColumns {
    pub(crate) latest: NumberColumn,
    /// Min, max, first, count; `None` until first used.
    pub(crate) others: [Option<NumberColumn>; 4],
    /// Number of the last upsert that set it.
    pub(crate) stamp: u64,
}

impl MetricColumns {
    pub(crate) fn column(&self, aggregate: Aggregate) -> Option<&NumberColumn> {
        match aggregate {
            Aggregate::Latest => Some(&self.latest),
            other => self.others[other as usize - 1].as_ref(),
        }
    }

    /// Adds a column of one aggregate; the latest values are always there.
    pub(crate) fn put(&mut self, aggregate: Aggregate, column: NumberColumn) {
        if let Some(place) = (aggregate as usize).checked_sub(1).and_then(|at| self.others.get_mut(at)) {
            *place = Some(column);
        }
    }

    /// Drops all columns but the latest values and those of some aggregates.
    pub(crate) fn keep_others(&mut self, aggregates: &[Aggregate]) {
        for aggregate in [Aggregate::Min, Aggregate::Max, Aggregate::First, Aggregate::Count] {
            if !aggregates.contains(&aggregate) {
                self.others[aggregate as usize - 1] = None;
            }
        }
    }

    pub(crate) fn set(&mut self, row: u32, stats: Option<&Stats>) {
        self.latest.set(row, stats.map(|stats| stats.last_value));
        for aggregate in [Aggregate::Min, Aggregate::Max, Aggregate::First, Aggregate::Count] {
            if let Some(column) = &mut self.others[aggregate as usize - 1] {
                column.set(row, stats.map(|stats| aggregate_of(stats, aggregate)));
            }
        }
    }
}

/// A number of a series.
pub(crate) fn aggregate_of(stats: &Stats, aggregate: Aggregate) -> f64 {
    match aggregate {
        Aggregate::Latest => stats.last_value,
        Aggregate::Min => stats.min,
        Aggregate::Max => stats.max,
        Aggregate::First => stats.first_value,
        Aggregate::Count => stats.count_raw as f64,
    }
}

/// Columns of all runs of one experiment.
#[derive(Debug, Clone, Default)]
pub struct Projection {
    pub(crate) experiment: ExperimentId,
    pub(crate) rows: Rows,
    /// One bit per row, in words of 64.
    pub(crate) active: Vec<u64>,
    /// One bit per row, in words of 64.
    pub(crate) deleted: Vec<u64>,
    pub(crate) start: TimeColumn,
    pub(crate) end: TimeColumn,
    pub(crate) name: TextColumn,
    pub(crate) user_id: TextColumn,
    pub(crate) status: TextColumn,
    pub(crate) artifact_location: TextColumn,
    /// All data sets of a run as one text; see [`pack_datasets`].
    pub(crate) datasets: TextColumn,
    pub(crate) params: BTreeMap<Box<str>, TextColumn>,
    pub(crate) tags: BTreeMap<Box<str>, TextColumn>,
    pub(crate) metrics: BTreeMap<KeyId, MetricColumns>,
    /// Whether only metrics that a query asked for have columns; see [`Projection::of_asked_metrics`].
    pub(crate) asked_only: bool,
    pub(crate) kept_params: Kept,
    pub(crate) kept_tags: Kept,
    /// Bytes that the columns of params and tags may take; see [`Projection::bound_texts`].
    pub(super) texts_bytes_max: Option<usize>,
    /// Bytes of texts added since the columns were measured.
    pub(super) texts_added_bytes: usize,
    stamp: u64,
}

/// Attributes of which a run has one each.
struct Attributes<'a> {
    lifecycle: Lifecycle,
    start_time_ms: i64,
    end_time_ms: Option<i64>,
    name: &'a str,
    user_id: &'a str,
    status: RunStatus,
    artifact_location: Option<&'a str>,
    /// The data sets, packed into one text.
    datasets: Option<&'a str>,
}

/// Sets the columns of a run's params or tags, those that are kept, and stamps them. Returns how many, and the bytes of
/// their texts.
fn put_pairs<'a>(
    columns: &mut BTreeMap<Box<str>, TextColumn>,
    kept: &Kept,
    at: u32,
    stamp: u64,
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(usize, usize)> {
    // Pairs and columns are both in the order of keys, and most runs have most keys: walking both compares one key a
    // pair, where a lookup compares many.
    let (few, _) = pairs.size_hint();
    let mut walk = (columns.len() <= few * WALKED_PER_PAIR).then(|| columns.iter_mut().peekable());
    let mut others = Vec::new();
    let (mut count, mut bytes) = (0, 0);
    for (key, value) in pairs.filter(|(key, _)| kept.has(key)) {
        count += 1;
        bytes += value.len();
        let found = walk.as_mut().and_then(|walk| {
            while walk.next_if(|(column, _)| ***column < *key).is_some() {}
            walk.next_if(|(column, _)| ***column == *key)
        });
        let Some((_, column)) = found else {
            others.push((key, value));
            continue;
        };
        column.set(at, Some(value))?;
        column.stamp = stamp;
    }
    for (key, value) in others {
        let column = match columns.get_mut(key) {
            Some(column) => column,
            None => columns.entry(key.into()).or_default(),
        };
        column.set(at, Some(value))?;
        column.stamp = stamp;
    }
    Ok((count, bytes))
}

/// With more columns than this for each pair of a run, its keys are looked up.
const WALKED_PER_PAIR: usize = 4;

impl Projection {
    /// An empty projection of an experiment.
    pub fn new(experiment: ExperimentId) -> Self {
        Self { experiment, ..Self::default() }
    }

    /// As [`Projection::new`], for runs of very many metrics: only those that a query asks for get columns, made by
    /// [`Projection::prepare`]. A caller that adds or replaces a run gives the stats of [`Projection::asked_metrics`].
    pub fn of_asked_metrics(experiment: ExperimentId) -> Self {
        Self { experiment, asked_only: true, ..Self::default() }
    }

    /// The metrics whose stats a new row must have; `None`: all.
    pub fn asked_metrics(&self) -> Option<Vec<KeyId>> {
        self.asked_only.then(|| self.metrics.keys().copied().collect())
    }

    /// The experiment of its runs.
    pub fn experiment(&self) -> ExperimentId {
        self.experiment
    }

    /// Number of runs, deleted and purged ones included.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no runs.
    #[cfg(any(test, feature = "testing"))]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a run, or replaces all its data.
    ///
    /// # Errors
    /// `Invalid` if the texts of one key outgrow `super::text`. The run is then incomplete: remove it, or drop the
    /// projection.
    pub fn upsert(&mut self, row: RunRow<'_>) -> Result<()> {
        let at = match self.rows.row(row.run) {
            Some(at) => at,
            None => self.rows.insert(row.run),
        };
        self.stamp += 1;
        let state = row.state;
        let packed = (!state.datasets.is_empty()).then(|| pack_datasets(&state.datasets));
        let attributes = Attributes {
            lifecycle: row.lifecycle,
            start_time_ms: state.start_time_ms,
            end_time_ms: state.end_time_ms,
            name: &state.name,
            user_id: &state.user_id,
            status: state.status,
            artifact_location: state.artifact_location.as_deref(),
            datasets: packed.as_deref(),
        };
        self.put_attributes(at, &attributes)?;
        let mut text_bytes = 0;
        let lists =
            [(&mut self.params, &self.kept_params, &state.params), (&mut self.tags, &self.kept_tags, &state.tags)];
        for (columns, kept, list) in lists {
            let pairs = list.iter().map(|(key, value)| (key.as_str(), value.as_str()));
            let (count, bytes) = put_pairs(columns, kept, at, self.stamp, pairs)?;
            text_bytes += bytes;
            if columns.len() > count {
                for column in columns.values_mut().filter(|column| column.stamp != self.stamp) {
                    column.set(at, None)?;
                }
            }
        }
        self.put_stats(at, row.stats);
        if self.metrics.len() > row.stats.len() {
            for column in self.metrics.values_mut().filter(|column| column.stamp != self.stamp) {
                column.set(at, None);
            }
        }
        self.added_texts(text_bytes);
        Ok(())
    }

    /// Adds a run that must not be there yet, from its row in the index.
    ///
    /// # Errors
    /// As [`Projection::upsert`]; `Corrupt` for a row that is not what was written.
    pub(crate) fn insert_archived(
        &mut self,
        run: RunId,
        state: &ArchivedRunState,
        experiment: &ExperimentState,
        stats: &[(KeyId, Stats)],
    ) -> Result<()> {
        let whole = |state| {
            rkyv::deserialize::<RunState, rkyv::rancor::Error>(state)
                .map_err(|error| Error::corrupt("index.redb", 0, "entities", "a run's state", error))
        };
        // Data sets are packed, and rare; the rest is read in place.
        if !state.datasets.is_empty() {
            let state = whole(state)?;
            return self.upsert(RunRow { run, state: &state, lifecycle: state.lifecycle_in(experiment), stats });
        }
        let at = self.rows.insert(run);
        self.stamp += 1;
        let attributes = Attributes {
            lifecycle: state.lifecycle_in(experiment),
            start_time_ms: state.start_time_ms.to_native(),
            end_time_ms: state.end_time_ms.as_ref().map(|time| time.to_native()),
            name: &state.name,
            user_id: &state.user_id,
            status: state.status(),
            artifact_location: state.artifact_location.as_deref(),
            datasets: None,
        };
        self.put_attributes(at, &attributes)?;
        let mut text_bytes = 0;
        let lists =
            [(&mut self.params, &self.kept_params, &state.params), (&mut self.tags, &self.kept_tags, &state.tags)];
        for (columns, kept, list) in lists {
            let pairs = list.iter().map(|pair| (pair.0.as_str(), pair.1.as_str()));
            text_bytes += put_pairs(columns, kept, at, self.stamp, pairs)?.1;
        }
        self.put_stats(at, stats);
        self.added_texts(text_bytes);
        Ok(())
    }

    /// The projection whose row i is this one's row `order[i]`: all rows, none of them free.
    ///
    /// # Errors
    /// As [`Projection::upsert`].
    pub(crate) fn arranged(&self, order: &[u32]) -> Result<Self> {
        let bits = |words: &[u64]| {
            let mut out = vec![0u64; order.len().div_ceil(64)];
            for (row, old) in order.iter().enumerate() {
                let old = *old as usize;
                out[row / 64] |= (words.get(old / 64).copied().unwrap_or(0) >> (old % 64) & 1) << (row % 64);
            }
            out
        };
        let texts = |columns: &BTreeMap<Box<str>, TextColumn>| {
            columns.iter().map(|(key, column)| Ok((key.clone(), column.arranged(order)?))).collect::<Result<_>>()
        };
        let metrics = self.metrics.iter().map(|(key, columns)| {
            (*key, MetricColumns { latest: columns.latest.arranged(order), ..MetricColumns::default() })
        });
        let ids = order.iter().map(|row| self.rows.ids[*row as usize]).collect();
        Ok(Self {
            experiment: self.experiment,
            rows: Rows::from_parts(ids, Vec::new()),
            active: bits(&self.active),
            deleted: bits(&self.deleted),
            start: self.start.arranged(order),
            end: self.end.arranged(order),
            name: self.name.arranged(order)?,
            user_id: self.user_id.arranged(order)?,
            status: self.status.arranged(order)?,
            artifact_location: self.artifact_location.arranged(order)?,
            datasets: self.datasets.arranged(order)?,
            params: texts(&self.params)?,
            tags: texts(&self.tags)?,
            metrics: metrics.collect(),
            asked_only: self.asked_only,
            kept_params: self.kept_params.clone(),
            kept_tags: self.kept_tags.clone(),
            texts_bytes_max: self.texts_bytes_max,
            texts_added_bytes: self.texts_added_bytes,
            stamp: self.stamp,
        })
    }

    fn put_attributes(&mut self, at: u32, attributes: &Attributes<'_>) -> Result<()> {
        self.put_lifecycle(at, Some(attributes.lifecycle));
        self.start.set(at, time_key(attributes.start_time_ms));
        self.end.set(at, attributes.end_time_ms.map_or(NO_TIME, time_key));
        self.name.set(at, Some(attributes.name))?;
        self.user_id.set(at, Some(attributes.user_id))?;
        self.status.set(at, Some(status_text(attributes.status)))?;
        self.artifact_location.set(at, attributes.artifact_location)?;
        self.datasets.set(at, attributes.datasets)
    }

    /// Sets numbers of some metrics of a run and leaves all others; false if the run is missing.
    #[cfg(test)]
    pub fn update_metrics(&mut self, run: RunId, stats: &[(KeyId, Stats)]) -> bool {
        let Some(at) = self.rows.row(run) else { return false };
        self.stamp += 1;
        self.put_stats(at, stats);
        true
    }

    pub(super) fn put_stats(&mut self, at: u32, stats: &[(KeyId, Stats)]) {
        for (key, stats) in stats {
            // A new column with this run alone would hide the values of the others.
            if self.asked_only && !self.metrics.contains_key(key) {
                continue;
            }
            let columns = self.metrics.entry(*key).or_default();
            columns.set(at, Some(stats));
            columns.stamp = self.stamp;
        }
    }

    /// Removes a run; false if it was missing.
    pub fn remove(&mut self, run: RunId) -> bool {
        let Some(at) = self.rows.remove(run) else { return false };
        self.put_lifecycle(at, None);
        self.start.set(at, NO_TIME);
        self.end.set(at, NO_TIME);
        let attributes =
            [&mut self.name, &mut self.user_id, &mut self.status, &mut self.artifact_location, &mut self.datasets];
        for column in attributes.into_iter().chain(self.params.values_mut()).chain(self.tags.values_mut()) {
            // Clearing adds no text, so it cannot fail.
            let cleared = column.set(at, None);
            debug_assert!(cleared.is_ok());
        }
        self.metrics.values_mut().for_each(|columns| columns.set(at, None));
        true
    }

    /// Sets the effective lifecycle of all runs, as deleting or restoring the experiment does. Purged runs stay so.
    pub fn set_lifecycle_all(&mut self, lifecycle: Lifecycle) {
        for (active, deleted) in self.active.iter_mut().zip(&mut self.deleted) {
            let all = *active | *deleted;
            (*active, *deleted) = match lifecycle {
                Lifecycle::Active => (all, 0),
                Lifecycle::Deleted => (0, all),
                Lifecycle::Purged => (0, 0),
            };
        }
    }

    pub(super) fn put_lifecycle(&mut self, at: u32, lifecycle: Option<Lifecycle>) {
        let (word, bit) = (at as usize / 64, 1u64 << (at % 64));
        if self.active.len() <= word {
            self.active.resize(word + 1, 0);
            self.deleted.resize(word + 1, 0);
        }
        for (words, is) in [(&mut self.active, Lifecycle::Active), (&mut self.deleted, Lifecycle::Deleted)] {
            if lifecycle == Some(is) {
                words[word] |= bit;
            } else {
                words[word] &= !bit;
            }
        }
    }

    /// Number of chunks.
    pub(crate) fn chunks(&self) -> usize {
        self.rows.ids.len().div_ceil(CHUNK_ROWS)
    }

    /// The rows of a chunk that a view shows.
    pub(crate) fn shown(&self, chunk: usize, view: View) -> Mask {
        let mut mask = NONE;
        let first = chunk * NONE.len();
        for (i, word) in mask.iter_mut().enumerate() {
            let active = self.active.get(first + i).copied().unwrap_or(0);
            let deleted = self.deleted.get(first + i).copied().unwrap_or(0);
            *word = match view {
                View::ActiveOnly => active,
                View::DeletedOnly => deleted,
                View::All => active | deleted,
            };
        }
        mask
    }

    /// The column of a text key; `None` if no run ever had it, or it is stored in another form.
    pub(crate) fn text_column(&self, key: &TextKey) -> Option<&TextColumn> {
        match key {
            TextKey::Name => Some(&self.name),
            TextKey::Status => Some(&self.status),
            TextKey::UserId => Some(&self.user_id),
            TextKey::Param(key) => self.params.get(key.as_str()),
            TextKey::Tag(key) => self.tags.get(key.as_str()),
            TextKey::DatasetName | TextKey::DatasetDigest | TextKey::DatasetContext => Some(&self.datasets),
            TextKey::RunId | TextKey::ArtifactUri | TextKey::Experiment | TextKey::Lifecycle => None,
        }
    }

    fn text_column_mut(&mut self, key: &TextKey) -> Option<&mut TextColumn> {
        match key {
            TextKey::Name => Some(&mut self.name),
            TextKey::Status => Some(&mut self.status),
            TextKey::UserId => Some(&mut self.user_id),
            TextKey::Param(key) => self.params.get_mut(key.as_str()),
            TextKey::Tag(key) => self.tags.get_mut(key.as_str()),
            _ => None,
        }
    }

    /// Prepares derived data that a query needs: ranks of texts to sort by, parsed numbers, columns of aggregates.
    /// Existing data costs nothing.
    ///
    /// # Errors
    /// `Invalid` ([`SearchQuery::check`]), and those of `source`.
    #[cfg(any(test, feature = "testing"))]
    pub fn prepare(&mut self, query: &SearchQuery, source: &dyn Source) -> Result<()> {
        query.check()?;
        let made = self.make_columns(query, source)?;
        self.put_columns(made);
        self.prepare_texts(query);
        Ok(())
    }

    /// The part of preparing that needs no columns of metrics: it reads nothing but texts in memory.
    pub(crate) fn prepare_texts(&mut self, query: &SearchQuery) {
        for need in needs(query) {
            match need {
                Need::Index(key) => {
                    if let Some(column) = self.text_column_mut(key) {
                        column.dictionary.prepare_index();
                    }
                }
                Need::Ranks(key) => {
                    if let Some(column) = self.text_column_mut(key) {
                        column.prepare_ranks();
                    }
                }
                Need::Number(NumberKey::Param(key)) => {
                    self.params.get_mut(key.as_str()).into_iter().for_each(TextColumn::prepare_numbers);
                }
                Need::Number(NumberKey::Tag(key)) => {
                    self.tags.get_mut(key.as_str()).into_iter().for_each(TextColumn::prepare_numbers);
                }
                Need::Number(NumberKey::Metric { .. } | NumberKey::StartTime | NumberKey::EndTime) => {}
            }
        }
    }

    /// Whether [`Projection::prepare`] has nothing to do for this query.
    ///
    /// # Errors
    /// Those of `source`.
    pub fn is_prepared(&self, query: &SearchQuery, source: &dyn Source) -> Result<bool> {
        for need in needs(query) {
            let column = |key| self.text_column(key).map(|column| &column.dictionary);
            let parsed = |columns: &BTreeMap<Box<str>, TextColumn>, key: &str| {
                columns.get(key).is_none_or(|column| column.dictionary.is_parsed())
            };
            let ready = match need {
                Need::Index(key) => column(key).is_none_or(|dictionary| dictionary.is_indexed()),
                Need::Ranks(key) => column(key).is_none_or(|dictionary| dictionary.is_ranked()),
                Need::Number(NumberKey::Param(key)) => parsed(&self.params, key),
                Need::Number(NumberKey::Tag(key)) => parsed(&self.tags, key),
                Need::Number(NumberKey::Metric { name, aggregate }) => {
                    source.metric_key(name)?.is_none_or(|key| match self.metrics.get(&key) {
                        Some(columns) => columns.column(*aggregate).is_some(),
                        None => !self.asked_only,
                    })
                }
                Need::Number(NumberKey::StartTime | NumberKey::EndTime) => true,
            };
            if !ready {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Bytes in memory, as allocated for columns, dictionaries and index.
    pub fn memory_bytes(&self) -> usize {
        let attributes = [&self.name, &self.user_id, &self.status, &self.artifact_location, &self.datasets];
        let keyed = |columns: &BTreeMap<Box<str>, TextColumn>| -> usize {
            columns.iter().map(|(key, column)| 64 + key.len() + size_of::<TextColumn>() + column.memory_bytes()).sum()
        };
        let metrics = self.metrics.values().map(|columns| {
            let others = columns.others.iter().flatten().map(NumberColumn::memory_bytes).sum::<usize>();
            size_of::<MetricColumns>() + columns.latest.memory_bytes() + others
        });
        size_of::<Self>()
            + self.rows.memory_bytes()
            + (self.active.capacity() + self.deleted.capacity()) * 8
            + self.start.memory_bytes()
            + self.end.memory_bytes()
            + attributes.iter().map(|column| column.memory_bytes()).sum::<usize>()
            + keyed(&self.params)
            + keyed(&self.tags)
            + metrics.sum::<usize>()
    }

    /// Bytes in memory by column, to find out where they went.
    #[cfg(any(test, feature = "testing"))]
    pub fn memory_report(&self) -> Vec<(String, usize)> {
        let rows = self.rows.memory_bytes();
        let mut out = vec![
            ("rows".to_owned(), rows + (self.active.capacity() + self.deleted.capacity()) * 8),
            ("start_time".to_owned(), self.start.memory_bytes()),
            ("end_time".to_owned(), self.end.memory_bytes()),
            ("run_name".to_owned(), self.name.memory_bytes()),
            ("user_id".to_owned(), self.user_id.memory_bytes()),
            ("status".to_owned(), self.status.memory_bytes()),
            ("artifact_location".to_owned(), self.artifact_location.memory_bytes()),
            ("datasets".to_owned(), self.datasets.memory_bytes()),
        ];
        out.extend(self.params.iter().map(|(key, column)| (format!("params.{key}"), column.memory_bytes())));
        out.extend(self.tags.iter().map(|(key, column)| (format!("tags.{key}"), column.memory_bytes())));
        out.extend(self.metrics.iter().map(|(key, columns)| {
            let others = columns.others.iter().flatten().map(NumberColumn::memory_bytes).sum::<usize>();
            (format!("metric {}", key.0), columns.latest.memory_bytes() + others)
        }));
        out
    }
}

/// Derived data that a query needs.
pub(crate) enum Need<'q> {
    /// Lookups of a text.
    Index(&'q TextKey),
    /// Sorted places of a text.
    Ranks(&'q TextKey),
    /// A number.
    Number(&'q NumberKey),
}

pub(crate) fn needs(query: &SearchQuery) -> Vec<Need<'_>> {
    let mut needs = Vec::new();
    if let Some(filter) = &query.filter {
        filter.terms(&mut |term| match term {
            Term::Text { key, test: TextTest::Eq(_) | TextTest::Ne(_) | TextTest::In(_) | TextTest::NotIn(_) } => {
                // Data sets are packed: they are read, never looked up.
                if !matches!(key, TextKey::DatasetName | TextKey::DatasetDigest | TextKey::DatasetContext) {
                    needs.push(Need::Index(key));
                }
            }
            Term::Text { .. } => {}
            Term::Number { key, test: NumberTest::Compare(..) | NumberTest::IsNull | NumberTest::IsNotNull } => {
                needs.push(Need::Number(key));
            }
        });
    }
    for order in &query.order {
        match &order.key {
            Key::Text(key) => needs.push(Need::Ranks(key)),
            Key::Number(key) => needs.push(Need::Number(key)),
        }
    }
    needs
}

/// Chunk, word and bit of a row, for other modules that hold rows.
pub(crate) fn bit_of(row: u32) -> (usize, usize, u64) {
    let (chunk, at) = split(row);
    (chunk, at / 64, 1 << (at % 64))
}
