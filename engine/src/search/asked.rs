//! Columns of metrics that are made when a query first needs them: the latest values of a metric, if only asked metrics
//! have columns, and min, max, first value and count.
//!
//! Making them reads the store, so it needs only `&Projection`: other searches go on meanwhile. They are dropped again
//! if memory is short, and made once more for the next query that needs them.

use std::collections::BTreeMap;

use super::column::CHUNK_ROWS;
use super::filter::{Aggregate, NumberKey};
use super::number::NumberColumn;
use super::request::SearchQuery;
use super::row::Source;
use super::table::{MetricColumns, Need, Projection, needs};
use crate::error::Result;
use crate::id::KeyId;

/// Columns that a projection lacks for a query.
#[derive(Debug, Default)]
pub(crate) struct MadeColumns {
    /// Of metrics without columns.
    metrics: Vec<(KeyId, MetricColumns)>,
    /// Of metrics that have the latest values.
    others: Vec<(KeyId, Aggregate, NumberColumn)>,
}

/// The numbers of metrics that a query needs.
pub(super) fn asked(query: &SearchQuery, source: &dyn Source) -> Result<BTreeMap<KeyId, Vec<Aggregate>>> {
    let mut asked: BTreeMap<KeyId, Vec<Aggregate>> = BTreeMap::new();
    for need in needs(query) {
        if let Need::Number(NumberKey::Metric { name, aggregate }) = need
            && let Some(key) = source.metric_key(name)?
        {
            asked.entry(key).or_default().push(*aggregate);
        }
    }
    Ok(asked)
}

impl Projection {
    /// Makes the columns of metrics that a query needs and that are not there. [`Projection::put_columns`] adds them, if
    /// the rows are still the same.
    ///
    /// # Errors
    /// Those of `source`.
    pub(crate) fn make_columns(&self, query: &SearchQuery, source: &dyn Source) -> Result<MadeColumns> {
        let mut made = MadeColumns::default();
        for (key, aggregates) in asked(query, source)? {
            match self.metrics.get(&key) {
                Some(columns) => {
                    for aggregate in aggregates {
                        let is_made = |(other, such, _): &(KeyId, Aggregate, _)| (*other, *such) == (key, aggregate);
                        if columns.column(aggregate).is_none() && !made.others.iter().any(is_made) {
                            made.others.push((key, aggregate, self.make_other(key, columns, aggregate, source)?));
                        }
                    }
                }
                None if self.asked_only => made.metrics.push((key, self.make_metric(key, &aggregates, source)?)),
                // No run has this metric.
                None => {}
            }
        }
        Ok(made)
    }

    /// Adds columns that were made of the rows as they are.
    pub(crate) fn put_columns(&mut self, made: MadeColumns) {
        self.metrics.extend(made.metrics);
        for (key, aggregate, column) in made.others {
            let columns = self.metrics.get_mut(&key);
            debug_assert!(columns.is_some(), "a metric lost its columns while others were made");
            if let Some(columns) = columns {
                columns.put(aggregate, column);
            }
        }
    }

    fn make_metric(&self, key: KeyId, aggregates: &[Aggregate], source: &dyn Source) -> Result<MetricColumns> {
        let mut columns = MetricColumns::default();
        for aggregate in aggregates {
            columns.put(*aggregate, NumberColumn::default());
        }
        let mut is_free = vec![false; self.rows.ids.len()];
        for row in &self.rows.free {
            if let Some(is_free) = is_free.get_mut(*row as usize) {
                *is_free = true;
            }
        }
        for (row, (run, _)) in self.rows.ids.iter().zip(&is_free).enumerate().filter(|(_, (_, is_free))| !**is_free) {
            if let Some(stats) = source.stats(*run, key)? {
                columns.set(row as u32, Some(&stats));
            }
        }
        Ok(columns)
    }

    fn make_other(
        &self,
        key: KeyId,
        columns: &MetricColumns,
        aggregate: Aggregate,
        source: &dyn Source,
    ) -> Result<NumberColumn> {
        let mut column = NumberColumn::default();
        for chunk in 0..columns.latest.chunks.len() {
            let mut places = Vec::new();
            if let Some(numbers) = columns.latest.chunk(chunk) {
                numbers.values.each(|at, _| places.push(at));
            }
            for at in places {
                let row = chunk * CHUNK_ROWS + at;
                if let Some(stats) = source.stats(self.rows.ids[row], key)? {
                    column.set(row as u32, Some(super::table::aggregate_of(&stats, aggregate)));
                }
            }
        }
        Ok(column)
    }

    /// Drops the columns that [`Projection::make_columns`] can make again, except those that a query needs.
    ///
    /// # Errors
    /// Those of `source`.
    pub(crate) fn drop_columns_but(&mut self, query: &SearchQuery, source: &dyn Source) -> Result<()> {
        let asked = asked(query, source)?;
        if self.asked_only {
            self.metrics.retain(|key, _| asked.contains_key(key));
        }
        for (key, columns) in &mut self.metrics {
            let needed = asked.get(key).map_or(&[][..], Vec::as_slice);
            columns.keep_others(needed);
        }
        Ok(())
    }
}
