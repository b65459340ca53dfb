//! Search row by row, without columns: the definition that the projection is tested against, and the search of a
//! snapshot that is older than the projection.

use super::filter::{Aggregate, Filter, NumberKey, NumberTest, Term, TextKey, TextMatcher, TextTest};
use super::page::{PageToken, Start};
use super::request::{SearchPage, SearchQuery};
use super::row::{DATASET_CONTEXT_TAG, RunRow, Source, lifecycle_text, number_of_text, status_text, time_key};
use super::sort::{Key, Place, SortValue};
use crate::error::Result;
use crate::event::KeyValue;

/// Whether a run matches.
///
/// # Errors
/// Those of `source`.
pub(crate) fn matches(filter: &Filter, row: &RunRow<'_>, source: &dyn Source) -> Result<bool> {
    Ok(match filter {
        Filter::And(inner) => {
            for filter in inner {
                if !matches(filter, row, source)? {
                    return Ok(false);
                }
            }
            true
        }
        Filter::Or(inner) => {
            for filter in inner {
                if matches(filter, row, source)? {
                    return Ok(true);
                }
            }
            false
        }
        Filter::Not(inner) => !matches(inner, row, source)?,
        Filter::Term(Term::Text { key, test }) => {
            let texts = texts_of(row, key, source);
            match test {
                TextTest::IsNull => texts.is_empty(),
                test => {
                    let matcher = TextMatcher::new(test);
                    texts.iter().any(|text| matcher.matches(text))
                }
            }
        }
        Filter::Term(Term::Number { key, test }) => match (number_of(row, key, source)?, test) {
            (None, NumberTest::IsNull) | (Some(_), NumberTest::IsNotNull) => true,
            (Some(Number::Time(time)), NumberTest::Compare(comparison, value)) => {
                comparison.holds_integer(time, *value)
            }
            (Some(Number::Value(number)), NumberTest::Compare(comparison, value)) => comparison.holds(number, *value),
            _ => false,
        },
    })
}

/// A page of the matching runs among `rows`, which may be in any order and of any experiments.
///
/// # Errors
/// `Invalid` for a query that [`super::scan::search`] refuses too; those of `source`.
///
/// # Complexity
/// Reads every row, and sorts those that match.
pub(crate) fn search_rows<'a>(
    query: &SearchQuery,
    rows: impl IntoIterator<Item = RunRow<'a>>,
    source: &dyn Source,
) -> Result<SearchPage> {
    query.check()?;
    let mut places = Vec::new();
    for row in rows {
        if query.experiments.contains(&row.state.experiment)
            && query.view.shows(row.lifecycle)
            && query.filter.as_ref().map_or(Ok(true), |filter| matches(filter, &row, source))?
        {
            places.push(place_of(query, &row, source)?);
        }
    }
    places.sort_by(|a, b| a.compare(b, &query.order));
    let start = match query.after.as_ref().map(|token| &token.0) {
        None => 0,
        Some(Start::Offset(offset)) => usize::try_from(*offset).unwrap_or(usize::MAX),
        Some(Start::After { place, .. }) => places.partition_point(|p| p.compare(place, &query.order).is_le()),
    };
    let mut places = places.split_off(start.min(places.len()));
    let more = places.len() > query.limit;
    places.truncate(query.limit);
    let runs = places.iter().map(|place| place.run).collect();
    let last = places.pop().filter(|_| more);
    Ok(SearchPage { runs, next: last.map(|place| PageToken::after(query.fingerprint(), place)) })
}

/// The place of a run in the order of the query.
fn place_of(query: &SearchQuery, row: &RunRow<'_>, source: &dyn Source) -> Result<Place> {
    let mut values = Vec::with_capacity(query.order.len());
    for order in &query.order {
        values.push(match &order.key {
            Key::Text(key) => texts_of(row, key, source).pop().map_or(SortValue::Missing, SortValue::Text),
            Key::Number(key) => match number_of(row, key, source)? {
                None => SortValue::Missing,
                Some(Number::Time(time)) => SortValue::Time(time),
                Some(Number::Value(number)) => SortValue::number(number),
            },
        });
    }
    Ok(Place { values, start_time_ms: time_key(row.state.start_time_ms), run: row.run })
}

fn value_of<'a>(list: &'a [KeyValue], key: &str) -> Option<&'a str> {
    list.iter().find(|entry| entry.0 == key).map(|entry| entry.1.as_str())
}

/// All texts of a key: none if it is missing, several only for data sets.
fn texts_of(row: &RunRow<'_>, key: &TextKey, source: &dyn Source) -> Vec<String> {
    let state = row.state;
    let one = |text: &str| vec![text.to_owned()];
    match key {
        TextKey::RunId => one(&row.run.to_string()),
        TextKey::Name => one(&state.name),
        TextKey::Status => one(status_text(state.status)),
        TextKey::UserId => one(&state.user_id),
        TextKey::ArtifactUri => {
            vec![source.artifact_uri(state.experiment, row.run, state.artifact_location.as_deref())]
        }
        TextKey::Experiment => one(&state.experiment.to_string()),
        TextKey::Lifecycle => one(lifecycle_text(row.lifecycle)),
        TextKey::Param(key) => value_of(&state.params, key).map(one).unwrap_or_default(),
        TextKey::Tag(key) => value_of(&state.tags, key).map(one).unwrap_or_default(),
        TextKey::DatasetName => state.datasets.iter().map(|dataset| dataset.name.clone()).collect(),
        TextKey::DatasetDigest => state.datasets.iter().map(|dataset| dataset.digest.clone()).collect(),
        TextKey::DatasetContext => state
            .datasets
            .iter()
            .filter_map(|dataset| value_of(&dataset.tags, DATASET_CONTEXT_TAG).map(str::to_owned))
            .collect(),
    }
}

enum Number {
    Time(i64),
    Value(f64),
}

fn number_of(row: &RunRow<'_>, key: &NumberKey, source: &dyn Source) -> Result<Option<Number>> {
    let state = row.state;
    Ok(match key {
        NumberKey::StartTime => Some(Number::Time(time_key(state.start_time_ms))),
        NumberKey::EndTime => state.end_time_ms.map(|time| Number::Time(time_key(time))),
        NumberKey::Param(key) => value_of(&state.params, key).and_then(number_of_text).map(Number::Value),
        NumberKey::Tag(key) => value_of(&state.tags, key).and_then(number_of_text).map(Number::Value),
        NumberKey::Metric { name, aggregate } => {
            let key = source.metric_key(name)?;
            let found = row.stats.iter().find(|(other, _)| Some(*other) == key);
            let Some((_, stats)) = found else { return Ok(None) };
            Some(Number::Value(match aggregate {
                Aggregate::Latest => stats.last_value,
                Aggregate::Min => stats.min,
                Aggregate::Max => stats.max,
                Aggregate::First => stats.first_value,
                Aggregate::Count => stats.count_raw as f64,
            }))
        }
    })
}
