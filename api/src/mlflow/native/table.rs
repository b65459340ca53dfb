//! Runs as a table: those that a search finds, one row each, in the columns that are asked for.
//!
//! | Column | Holds |
//! |---|---|
//! | `run_id`, `run_name`, `experiment_id`, `user_id`, `status`, `lifecycle`, `artifact_uri` | text |
//! | `start_time`, `end_time` | Unix ms |
//! | `metrics.KEY` | latest value; `.min`, `.max`, `.first`, `.count` after the key are those of the series, unless a metric has that very name |
//! | `params.KEY`, `tags.KEY` | text |
//! | `metrics.*`, `params.*`, `tags.*` | all keys that the found runs have, by name |
//!
//! [`Mlflow::run_window`] answers some rows of a long table, now or at a moment of the past.
//!
//! What is not asked for is not read: without a `metrics` column no series is looked at.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::table_columns::{Building, Cells, Every, RunColumn};
use super::table_rows::Rows;
use crate::engine::search::{Aggregate, SearchQuery};
use crate::filter;
use crate::mlflow::Mlflow;
use crate::mlflow::entity::{Tag, View};
use crate::mlflow::error::{ApiError, ApiResult};
use crate::mlflow::search::holds_metric;
use crate::{AsOf, ExperimentId, ExperimentState, Lifecycle, RunId, RunState, Snapshot, Stats};

/// A search for runs, and the columns to return.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunsQuery {
    /// Names or ids of experiments; `None`: all active ones.
    pub experiments: Option<Vec<String>>,
    /// Filter in the search grammar; empty: all runs.
    pub filter: String,
    /// Sort keys in the search grammar.
    pub order_by: Vec<String>,
    /// Which runs are shown, by lifecycle.
    pub view: View,
    /// Maximum number of rows, at least 1.
    pub limit: u64,
    /// Columns of the answer, in this order; `None` is all but `artifact_uri`.
    pub columns: Option<Vec<String>>,
}

/// Rows after which the size of a table is looked at.
const ROWS_PER_LOOK: usize = 16;

/// Bytes that columns will hold at least, once they have this many rows.
fn bytes_of(columns: &[Building], rows: usize) -> usize {
    columns.iter().map(|column| column.bytes(rows)).sum()
}

/// Runs as a table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunColumns {
    /// The position that was read.
    pub position: u64,
    /// Number of runs found.
    pub rows: u64,
    /// Columns of that many rows.
    pub columns: Vec<RunColumn>,
}

/// Some rows of a table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WindowQuery {
    /// The table; its limit is the number of rows.
    pub table: RunsQuery,
    /// Rows before the first one.
    pub offset: u64,
    /// Moment of the past to read; `None`: now.
    pub at: Option<AsOf>,
}

/// Some rows of a table, and the length of the whole table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunWindow {
    /// Number of runs that match.
    pub total: u64,
    /// The rows.
    pub table: RunColumns,
}

const ALL: &[&str] = &[
    "run_id",
    "run_name",
    "experiment_id",
    "user_id",
    "status",
    "lifecycle",
    "start_time",
    "end_time",
    "metrics.*",
    "params.*",
    "tags.*",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attribute {
    RunId,
    RunName,
    ExperimentId,
    UserId,
    Status,
    Lifecycle,
    ArtifactUri,
    StartTime,
    EndTime,
}

/// The source of a column's values.
#[derive(Debug)]
enum Want {
    Attribute(Attribute, usize),
    Metric { key: String, aggregate: Option<Aggregate>, at: usize },
    Param(String, usize),
    Tag(String, usize),
    EveryMetric(Every),
    EveryParam(Every),
    EveryTag(Every),
}

fn attribute(name: &str) -> Option<Attribute> {
    Some(match name {
        "run_id" => Attribute::RunId,
        "run_name" => Attribute::RunName,
        "experiment_id" => Attribute::ExperimentId,
        "user_id" => Attribute::UserId,
        "status" => Attribute::Status,
        "lifecycle" => Attribute::Lifecycle,
        "artifact_uri" => Attribute::ArtifactUri,
        "start_time" => Attribute::StartTime,
        "end_time" => Attribute::EndTime,
        _ => return None,
    })
}

/// Splits a metric column into key and aggregate, if no metric has the whole name.
fn aggregate(key: &str) -> Option<(&str, Aggregate)> {
    let (series, end) = key.rsplit_once('.').filter(|(series, _)| !series.is_empty())?;
    Some((
        series,
        match end {
            "min" => Aggregate::Min,
            "max" => Aggregate::Max,
            "first" => Aggregate::First,
            "count" => Aggregate::Count,
            _ => return None,
        },
    ))
}

/// What the columns are, in their order, and the columns that are known before reading.
fn plan(names: &[String], snapshot: &Snapshot, experiments: &[ExperimentId]) -> ApiResult<(Vec<Want>, Vec<Building>)> {
    let (mut wants, mut building) = (Vec::with_capacity(names.len()), Vec::new());
    for name in names {
        let mut add = |cells| {
            building.push(Building { name: name.clone(), cells });
            building.len() - 1
        };
        wants.push(match name.split_once('.') {
            None => match attribute(name) {
                Some(kind @ (Attribute::StartTime | Attribute::EndTime)) => {
                    Want::Attribute(kind, add(Cells::Time(Vec::new(), Vec::new())))
                }
                Some(kind) => Want::Attribute(kind, add(Cells::text())),
                None => return Err(no_column(name)),
            },
            Some(("metrics", "*")) => Want::EveryMetric(Every::default()),
            Some(("params", "*")) => Want::EveryParam(Every::default()),
            Some(("tags", "*")) => Want::EveryTag(Every::default()),
            Some(("metrics", key)) => match aggregate(key) {
                Some((series, aggregate)) if !holds_metric(snapshot, experiments, key)? => {
                    let counts = aggregate == Aggregate::Count;
                    let cells = if counts { Cells::Count(Vec::new(), Vec::new()) } else { Cells::number() };
                    Want::Metric { key: series.to_owned(), aggregate: Some(aggregate), at: add(cells) }
                }
                _ => Want::Metric { key: key.to_owned(), aggregate: None, at: add(Cells::number()) },
            },
            Some(("params", key)) => Want::Param(key.to_owned(), add(Cells::text())),
            Some(("tags", key)) => Want::Tag(key.to_owned(), add(Cells::text())),
            Some(_) => return Err(no_column(name)),
        });
    }
    Ok((wants, building))
}

fn no_column(name: &str) -> ApiError {
    ApiError::invalid(format!(
        "There is no column '{name}': write run_id, run_name, experiment_id, user_id, status, lifecycle, artifact_uri, \
         start_time, end_time, metrics.KEY, params.KEY or tags.KEY"
    ))
}

fn find<'a>(pairs: &'a [Tag], key: &str) -> Option<&'a str> {
    let at = pairs.binary_search_by(|(known, _)| known.as_str().cmp(key)).ok()?;
    pairs.get(at).map(|(_, value)| value.as_str())
}

/// The columns in their order: those discovered while reading replace their star, sorted by name.
fn in_order(wants: Vec<Want>, building: Vec<Building>, rows: usize) -> Vec<RunColumn> {
    let mut slots: Vec<Option<Building>> = building.into_iter().map(Some).collect();
    let mut out = Vec::with_capacity(slots.len());
    for want in wants {
        let places: Vec<usize> = match want {
            Want::Attribute(_, at) | Want::Metric { at, .. } | Want::Param(_, at) | Want::Tag(_, at) => vec![at],
            Want::EveryMetric(every) | Want::EveryParam(every) | Want::EveryTag(every) => {
                every.0.into_iter().collect::<BTreeMap<_, _>>().into_values().collect()
            }
        };
        let taken = places.into_iter().filter_map(|at| slots.get_mut(at)?.take());
        out.extend(taken.map(|column| column.finish(rows)));
    }
    out
}

impl Mlflow {
    /// Runs that match a filter, in an order, as columns.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for a filter, order or column; `RESOURCE_DOES_NOT_EXIST` for an experiment.
    pub fn run_columns(&self, query: &RunsQuery) -> ApiResult<RunColumns> {
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        if limit == 0 {
            return Err(ApiError::invalid("The limit of a search is at least 1"));
        }
        let snapshot = self.snapshot()?;
        let experiments = self.named_experiments(&snapshot, query.experiments.as_deref())?;
        let search: SearchQuery =
            self.runs_query(&snapshot, experiments.clone(), &query.filter, &query.order_by, query.view, limit)?;
        let runs = self.search_page(&snapshot, &search)?.runs;
        self.columns_of(&snapshot, &snapshot, &experiments, &runs, query, snapshot.position().0)
    }

    /// Some rows of the table of runs, now or at a moment of the past, and the number of all rows. Filter and order are
    /// in the grammar of [`crate::filter`].
    ///
    /// # Errors
    /// As [`Mlflow::run_columns`].
    ///
    /// ```
    /// use runlode::mlflow::{RunsQuery, WindowQuery};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let store = runlode::Store::open(dir.path().join("exp"))?;
    /// for name in ["a", "b", "c"] {
    ///     store.experiment("digits")?.create_run(runlode::RunSpec::named(name))?;
    /// }
    /// let table = RunsQuery { limit: 1, order_by: vec!["name".into()], ..RunsQuery::default() };
    /// let window = store.mlflow().run_window(&WindowQuery { table, offset: 1, at: None })?;
    /// assert_eq!((window.total, window.table.rows), (3, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run_window(&self, query: &WindowQuery) -> ApiResult<RunWindow> {
        let snapshot = self.snapshot()?;
        let table = &query.table;
        let experiments = self.named_experiments(&snapshot, table.experiments.as_deref())?;
        let invalid = |error: filter::FilterError| ApiError::invalid(error.to_string());
        let filter = match table.filter.trim() {
            "" => None,
            text => Some(filter::parse(text).map_err(invalid)?),
        };
        let order = table.order_by.iter().map(|key| filter::parse_order(key).map_err(invalid));
        let order = order.collect::<ApiResult<Vec<_>>>()?;
        let search = SearchQuery {
            experiments: experiments.clone(),
            filter,
            order,
            view: table.view,
            limit: usize::MAX,
            after: None,
        };
        let past = query.at.map(|at| snapshot.as_of(at)).transpose()?;
        let runs = match &past {
            Some(past) => past.search(&search)?.runs,
            None => self.search_page(&snapshot, &search)?.runs,
        };
        let start = usize::try_from(query.offset).unwrap_or(usize::MAX).min(runs.len());
        let rows = usize::try_from(table.limit).unwrap_or(usize::MAX).min(runs.len() - start);
        let shown = &runs[start..start + rows];
        let table = match &past {
            Some(past) => self.columns_of(&snapshot, past, &experiments, shown, table, past.position().0)?,
            None => self.columns_of(&snapshot, &snapshot, &experiments, shown, table, snapshot.position().0)?,
        };
        Ok(RunWindow { total: runs.len() as u64, table })
    }

    /// The asked columns of these runs, as `rows` reads them.
    fn columns_of(
        &self,
        snapshot: &Snapshot,
        rows: &dyn Rows,
        experiments: &[ExperimentId],
        runs: &[RunId],
        query: &RunsQuery,
        position: u64,
    ) -> ApiResult<RunColumns> {
        let all: Vec<String>;
        let names = match &query.columns {
            Some(names) => names,
            None => {
                all = ALL.iter().map(|name| (*name).to_owned()).collect();
                &all
            }
        };
        let (mut wants, mut building) = plan(names, snapshot, experiments)?;
        let mut known: BTreeMap<ExperimentId, Arc<ExperimentState>> = BTreeMap::new();
        let mut row = 0usize;
        for &id in runs {
            self.check_waiting()?;
            if row.is_multiple_of(ROWS_PER_LOOK) {
                self.check_room(bytes_of(&building, runs.len()))?;
            }
            let Some((state, lifecycle)) = rows.run(id)? else { continue };
            let experiment = match known.entry(state.experiment) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(slot) => slot.insert(self.experiment_state(snapshot, state.experiment)?),
            };
            let lifecycle = lifecycle.unwrap_or_else(|| state.lifecycle_in(experiment));
            self.put_row(rows, (id, &*state, &**experiment, lifecycle), row, &mut wants, &mut building)?;
            row += 1;
        }
        self.check_room(bytes_of(&building, row))?;
        Ok(RunColumns { position, rows: row as u64, columns: in_order(wants, building, row) })
    }

    fn put_row(
        &self,
        rows: &dyn Rows,
        (id, state, experiment, lifecycle): (RunId, &RunState, &ExperimentState, Lifecycle),
        row: usize,
        wants: &mut [Want],
        building: &mut Vec<Building>,
    ) -> ApiResult<()> {
        for want in wants {
            match want {
                Want::Attribute(kind, at) => {
                    if let Some(column) = building.get_mut(*at) {
                        self.put_attribute(*kind, (id, state, experiment, lifecycle), row, column);
                    }
                }
                Want::Metric { key, aggregate, at } => {
                    if let (Some(stats), Some(column)) = (rows.stats(id, key)?, building.get_mut(*at)) {
                        if *aggregate == Some(Aggregate::Count) {
                            column.put_whole(row, rows.count(id, key)? as i64);
                        } else {
                            put_metric(&stats, *aggregate, row, column);
                        }
                    }
                }
                Want::Param(key, at) => {
                    if let (Some(value), Some(column)) = (find(&state.params, key), building.get_mut(*at)) {
                        column.put_text(row, value);
                    }
                }
                Want::Tag(key, at) => {
                    if let (Some(value), Some(column)) = (find(&state.tags, key), building.get_mut(*at)) {
                        column.put_text(row, value);
                    }
                }
                Want::EveryMetric(every) => {
                    for (key, stats) in rows.latest(id)? {
                        let at = every.column(&key, building, "metrics", Cells::number);
                        if let Some(column) = building.get_mut(at) {
                            put_metric(&stats, None, row, column);
                        }
                    }
                }
                Want::EveryParam(every) => {
                    for (key, value) in &state.params {
                        let at = every.text(key, building, "params");
                        if let Some(column) = building.get_mut(at) {
                            column.put_text(row, value);
                        }
                    }
                }
                Want::EveryTag(every) => {
                    for (key, value) in &state.tags {
                        let at = every.text(key, building, "tags");
                        if let Some(column) = building.get_mut(at) {
                            column.put_text(row, value);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn put_attribute(
        &self,
        kind: Attribute,
        (id, state, experiment, lifecycle): (RunId, &RunState, &ExperimentState, Lifecycle),
        row: usize,
        column: &mut Building,
    ) {
        match kind {
            Attribute::RunId => column.put_text(row, &id.to_string()),
            Attribute::RunName => column.put_text(row, &state.name),
            Attribute::ExperimentId => column.put_text(row, &state.experiment.to_string()),
            Attribute::UserId => column.put_text(row, &state.user_id),
            Attribute::Status => column.put_text(row, state.status.into()),
            Attribute::Lifecycle => {
                column.put_text(row, if lifecycle == Lifecycle::Active { "active" } else { "deleted" });
            }
            Attribute::ArtifactUri => column.put_text(row, &self.info(id, state, experiment).artifact_uri),
            Attribute::StartTime => column.put_whole(row, state.start_time_ms),
            Attribute::EndTime => {
                if let Some(end) = state.end_time_ms {
                    column.put_whole(row, end);
                }
            }
        }
    }
}

fn put_metric(stats: &Stats, aggregate: Option<Aggregate>, row: usize, column: &mut Building) {
    match aggregate {
        None => column.put_number(row, stats.last_value),
        Some(Aggregate::Min) => column.put_number(row, stats.min),
        Some(Aggregate::Max) => column.put_number(row, stats.max),
        Some(Aggregate::First) => column.put_number(row, stats.first_value),
        Some(_) => {}
    }
}
