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

use rustc_hash::FxHashMap;

use crate::engine::search::{Aggregate, SearchQuery};
use crate::mlflow::Mlflow;
use crate::mlflow::entity::{Tag, View};
use crate::mlflow::error::{ApiError, ApiResult};
use crate::mlflow::search::holds_metric;
use crate::{AsOf, ExperimentId, ExperimentState, Lifecycle, PastView, Result, RunId, RunState, Snapshot, Stats};

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

/// Texts of a column, stored without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextColumn {
    /// Start of each text in `text`, then the end of the last: one more than there are rows.
    pub offsets: Vec<i64>,
    /// All texts, joined.
    pub text: String,
    /// Whether each row has a text; empty: all have.
    pub present: Vec<bool>,
}

/// Values of a column, one per row; 0 or empty in rows without one.
#[derive(Debug, Clone, PartialEq)]
pub enum ColumnValues {
    /// Texts.
    Text(TextColumn),
    /// Unix ms, and whether a row has one (empty: all have).
    Time(Vec<i64>, Vec<bool>),
    /// Numbers, and whether a row has one (empty: all have).
    Number(Vec<f64>, Vec<bool>),
    /// Whole numbers, and whether a row has one (empty: all have).
    Count(Vec<i64>, Vec<bool>),
}

/// A column.
#[derive(Debug, Clone, PartialEq)]
pub struct RunColumn {
    /// Name, as in the module's table.
    pub name: String,
    /// One value per row.
    pub values: ColumnValues,
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

/// A reader of runs: the store now, or as it was.
trait Rows {
    fn run(&self, id: RunId) -> Result<Option<(Arc<RunState>, Option<Lifecycle>)>>;
    fn stats(&self, id: RunId, key: &str) -> Result<Option<Stats>>;
    fn count(&self, id: RunId, key: &str) -> Result<u64>;
    fn latest(&self, id: RunId) -> Result<Vec<(Arc<str>, Stats)>>;
}

impl Rows for Snapshot {
    fn run(&self, id: RunId) -> Result<Option<(Arc<RunState>, Option<Lifecycle>)>> {
        Ok(Self::run(self, id)?.map(|state| (state, None)))
    }

    fn stats(&self, id: RunId, key: &str) -> Result<Option<Stats>> {
        Self::stats(self, id, key)
    }

    fn count(&self, id: RunId, key: &str) -> Result<u64> {
        self.count_exact(id, key)
    }

    fn latest(&self, id: RunId) -> Result<Vec<(Arc<str>, Stats)>> {
        Self::latest(self, id)
    }
}

impl Rows for PastView<'_> {
    fn run(&self, id: RunId) -> Result<Option<(Arc<RunState>, Option<Lifecycle>)>> {
        Ok(PastView::run(self, id)?.map(|(state, lifecycle)| (Arc::new(state), Some(lifecycle))))
    }

    fn stats(&self, id: RunId, key: &str) -> Result<Option<Stats>> {
        PastView::stats(self, id, key)
    }

    fn count(&self, id: RunId, key: &str) -> Result<u64> {
        Ok(PastView::stats(self, id, key)?.map_or(0, |stats| stats.count_raw))
    }

    fn latest(&self, id: RunId) -> Result<Vec<(Arc<str>, Stats)>> {
        PastView::latest(self, id)
    }
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

/// Columns discovered while reading, by key.
#[derive(Debug, Default)]
struct Every(FxHashMap<Arc<str>, usize>);

impl Every {
    fn column(&mut self, key: &Arc<str>, building: &mut Vec<Building>, kind: &str, make: fn() -> Cells) -> usize {
        if let Some(at) = self.0.get(key) {
            return *at;
        }
        building.push(Building { name: format!("{kind}.{key}"), cells: make() });
        self.0.insert(key.clone(), building.len() - 1);
        building.len() - 1
    }

    fn text(&mut self, key: &str, building: &mut Vec<Building>, kind: &str) -> usize {
        if let Some(at) = self.0.get(key) {
            return *at;
        }
        self.column(&Arc::from(key), building, kind, Cells::text)
    }
}

#[derive(Debug)]
enum Cells {
    Text(TextColumn),
    Time(Vec<i64>, Vec<bool>),
    Number(Vec<f64>, Vec<bool>),
    Count(Vec<i64>, Vec<bool>),
}

impl Cells {
    fn text() -> Self {
        Self::Text(TextColumn { offsets: vec![0], text: String::new(), present: Vec::new() })
    }

    fn number() -> Self {
        Self::Number(Vec::new(), Vec::new())
    }

    /// Number of rows so far.
    fn len(&self) -> usize {
        match self {
            Self::Text(column) => column.present.len(),
            Self::Time(_, present) | Self::Number(_, present) | Self::Count(_, present) => present.len(),
        }
    }

    /// Adds rows without a value, up to `rows`.
    fn fill(&mut self, rows: usize) {
        match self {
            Self::Text(column) => {
                column.offsets.resize(rows + 1, column.text.len() as i64);
                column.present.resize(rows, false);
            }
            Self::Time(values, present) | Self::Count(values, present) => {
                values.resize(rows, 0);
                present.resize(rows, false);
            }
            Self::Number(values, present) => {
                values.resize(rows, 0.0);
                present.resize(rows, false);
            }
        }
    }
}

#[derive(Debug)]
struct Building {
    name: String,
    cells: Cells,
}

impl Building {
    fn put_text(&mut self, row: usize, value: &str) {
        self.cells.fill(row);
        if let Cells::Text(column) = &mut self.cells {
            column.text.push_str(value);
            column.offsets.push(column.text.len() as i64);
            column.present.push(true);
        }
    }

    fn put_number(&mut self, row: usize, value: f64) {
        self.cells.fill(row);
        if let Cells::Number(values, present) = &mut self.cells {
            values.push(value);
            present.push(true);
        }
    }

    fn put_whole(&mut self, row: usize, value: i64) {
        self.cells.fill(row);
        if let Cells::Time(values, present) | Cells::Count(values, present) = &mut self.cells {
            values.push(value);
            present.push(true);
        }
    }

    fn finish(mut self, rows: usize) -> RunColumn {
        if self.cells.len() < rows {
            self.cells.fill(rows);
        }
        let bare = |present: Vec<bool>| if present.iter().all(|there| *there) { Vec::new() } else { present };
        let values = match self.cells {
            Cells::Text(column) => ColumnValues::Text(TextColumn { present: bare(column.present), ..column }),
            Cells::Time(values, present) => ColumnValues::Time(values, bare(present)),
            Cells::Number(values, present) => ColumnValues::Number(values, bare(present)),
            Cells::Count(values, present) => ColumnValues::Count(values, bare(present)),
        };
        RunColumn { name: self.name, values }
    }
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
        let search = self.search_of(&snapshot, &experiments, query, limit)?;
        let runs = self.search_page(&snapshot, &search)?.runs;
        self.columns_of(&snapshot, &snapshot, &experiments, &runs, query, snapshot.position().0)
    }

    /// Some rows of the table of runs, now or at a moment of the past, and the number of all rows.
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
        let search = self.search_of(&snapshot, &experiments, table, usize::MAX)?;
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

    fn search_of(
        &self,
        snapshot: &Snapshot,
        experiments: &[ExperimentId],
        query: &RunsQuery,
        limit: usize,
    ) -> ApiResult<SearchQuery> {
        self.runs_query(snapshot, experiments.to_vec(), &query.filter, &query.order_by, query.view, limit)
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
        let mut row = 0;
        for &id in runs {
            self.check_waiting()?;
            let Some((state, lifecycle)) = rows.run(id)? else { continue };
            let experiment = match known.entry(state.experiment) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(slot) => slot.insert(self.experiment_state(snapshot, state.experiment)?),
            };
            let lifecycle = lifecycle.unwrap_or_else(|| state.lifecycle_in(experiment));
            self.put_row(rows, (id, &*state, &**experiment, lifecycle), row, &mut wants, &mut building)?;
            row += 1;
        }
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
